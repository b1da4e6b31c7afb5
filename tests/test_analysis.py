"""`study.explain()`: known answers, slow twins, and that it changes nothing."""

from __future__ import annotations

import json
import math
import re
import threading
from pathlib import Path
from typing import Any

import gp_reference
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxhp
from jaxhp import Categorical, Float, Int, Ordinal, Space, SpaceError, Study, StudyError, Trial, _kernel
from jaxhp.analysis import Explanation
from jaxhp.analysis._scale import scaled
from jaxhp.samplers._model import Model

SQUARE = Space({"x": Float(-1.0, 1.0), "y": Float(-1.0, 1.0)})
MIXED = Space(
    {
        "idle": Float(0.0, 1.0),
        "rate": Float(1e-4, 1.0, log=True),
        "width": Int(16, 256, log=True),
        "size": Ordinal([32, 64, 128]),
        "kind": Categorical(["a", "b", "c"]),
        "m": Float(0.1, 1.0, when={"kind": "b"}),
    }
)


def bowl(trial: Trial) -> float:
    return trial["x"] ** 2 + trial["y"] ** 2


def mixed(trial: Trial) -> float:
    loss = {"a": 0.0, "b": 0.5, "c": 3.0}[trial["kind"]] + abs(math.log10(trial["rate"]) + 2.0)
    return loss + trial.params.get("m", 0.0)


def noisy(sd: float, seed: int, sign: float = 1.0) -> Any:
    draw = np.random.default_rng(seed)
    return lambda trial: sign * (bowl(trial) + sd * draw.normal())


def searched(space: Space, objective: Any, trials: int, **more: Any) -> Study:
    return Study(space, **({"sampler": jaxhp.sobol(), "seed": 3} | more)).optimize(objective, trials=trials, max_failed=1.0)


def relevance(explanation: Explanation) -> dict[str, float]:
    return {p.name: p.relevance for p in explanation.parameters}


def model_of(explanation: Explanation) -> tuple[np.ndarray[Any, Any], ...]:
    posterior, n = explanation.surrogate.posterior, explanation.surrogate.posterior.n
    return posterior.X[:, :n].T, posterior.noise[:n] - posterior.theta[-1], posterior.kind, posterior.theta


# --- known answers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", [jaxhp.sobol(), jaxhp.random_search(), jaxhp.bayes()], ids=lambda s: s.name)
def test_the_only_parameter_that_matters_ranks_first_by_far(sampler: Any) -> None:
    space = Space({"a": Float(0.0, 1.0), "b": Float(1e-5, 1.0, log=True), "c": Int(1, 50)})
    found = searched(space, lambda t: (math.log10(t["b"]) + 2.0) ** 2, 40, sampler=sampler).explain()
    first, second, third = found.parameters
    assert first.name == "b" and first.relevance > 0.75
    assert first.relevance > 5.0 * second.relevance >= 5.0 * third.relevance
    assert first.length_scale < min(second.length_scale, third.length_scale)
    assert found.leave_one_out.improvement > 2.0 * found.leave_one_out.error
    if sampler.name != "bayes('logei')":  # which leaves most of the space unseen
        assert first.relevance > 0.95 and second.relevance < 0.05 and found.leave_one_out.r2 > 0.8


def test_relevance_is_the_share_of_variance() -> None:
    space = Space({"a": Float(0.0, 1.0), "b": Float(0.0, 1.0), "kind": Categorical(["low", "high"])})
    found = searched(space, lambda t: t["a"] + 2.0 * t["b"] + (t["kind"] == "high"), 256).explain()
    shares = {"a": 1 / 12, "b": 4 / 12, "kind": 1 / 4}  # variances of the three terms; the transform bends them a little
    for name, share in relevance(found).items():
        assert share == pytest.approx(shares[name] / sum(shares.values()), abs=0.07)


@pytest.mark.parametrize("sd", [0.03, 0.1])
def test_the_noise_of_a_quadratic_is_found(sd: float) -> None:
    found = [searched(SQUARE, noisy(sd, seed), 80, seed=seed).explain().noise for seed in range(6)]
    ratios = np.array(found, dtype=np.float64) / sd
    assert (ratios > 0.5).all() and (ratios < 2.0).all()
    assert 0.7 < np.exp(np.log(ratios).mean()) < 1.4


def test_noise_is_in_the_metrics_units() -> None:
    one = searched(SQUARE, noisy(0.1, 1), 50).explain()
    thousand = searched(SQUARE, noisy(0.1, 1, sign=1024.0), 50).explain()
    assert one.noise is not None and thousand.noise == pytest.approx(1024.0 * one.noise, rel=1e-6)
    assert thousand.noise_share == pytest.approx(one.noise_share, rel=1e-6)


def test_held_out_results_lie_in_the_predicted_intervals_as_often_as_promised() -> None:
    found = searched(SQUARE, noisy(0.1, 5), 80).explain()
    draw = np.random.default_rng(6)
    inside = []
    for x, y in draw.uniform(-1.0, 1.0, (300, 2)).tolist():
        low, high = found.quantiles({"x": x, "y": y}, q=(0.1, 0.9))
        inside.append(low <= x * x + y * y + 0.1 * draw.normal() <= high)
    assert 0.65 < np.mean(inside) < 0.95


def test_predicted_medians_follow_the_objective() -> None:
    found = searched(SQUARE, bowl, 80).explain()
    for x, y in [(0.0, 0.0), (0.5, 0.5), (-0.7, 0.1), (0.9, -0.9)]:
        low, median, high = found.quantiles({"x": x, "y": y}, q=(0.001, 0.5, 0.999))
        assert low < median < high
        assert median == pytest.approx(x * x + y * y, abs=0.1)


def test_an_objective_without_structure_is_called_so() -> None:
    said = 0
    for seed in range(8):
        draw = np.random.default_rng(seed)
        found = searched(SQUARE, lambda t, draw=draw: draw.normal(), 50, seed=seed).explain()
        assert any("better than a constant" in note for note in found.notes)
        assert not any("bound" in note for note in found.notes)
        said += any("no better than a constant" in note for note in found.notes)
        assert (found.leave_one_out.r2 <= 0.0) == any("no better than a constant" in note for note in found.notes)
    assert said >= 6


def test_a_good_model_is_not_called_useless() -> None:
    assert searched(SQUARE, bowl, 50).explain().notes == ()


def test_a_constant_metric_is_said_to_be_one() -> None:
    found = searched(SQUARE, lambda t: 2.5, 12).explain()
    assert "all completed results are equal" in found.notes[0]
    assert found.noise is None and relevance(found) == {"x": 0.0, "y": 0.0}
    assert found.quantiles({"x": 0.3, "y": 0.3}).tolist() == [2.5] * 3


# --- twins --------------------------------------------------------------------------------------------------------------------


def test_leave_one_out_equals_refitting_without_each_row() -> None:
    def objective(trial: Trial) -> float:
        return math.nan if trial.number % 9 == 4 else mixed(trial)

    study = searched(MIXED, objective, 40)
    found = study.explain()
    y = study.trials.y[:, 0]
    z = _kernel.transform(y)
    X, extra, kind, theta = model_of(found)
    np.testing.assert_array_equal(X, np.where(np.isnan(study.trials.u), 0.5, study.trials.u))
    mean, variance = gp_reference.leave_one_out(X, z, extra, kind, theta)
    done = np.isfinite(y)
    error, z, deviation = (z - mean)[done], z[done], np.sqrt(variance[done])
    others = np.array([np.delete(z, i).mean() for i in range(len(z))])
    loo = found.leave_one_out
    assert loo.n == done.sum() == 36
    assert loo.rmse == pytest.approx(math.sqrt(np.mean(error**2)), rel=1e-8)
    assert loo.r2 == pytest.approx(1.0 - np.sum(error**2) / np.sum((z - others) ** 2), rel=1e-8)
    assert loo.coverage80 == np.mean(np.abs(error) <= 1.2815515655446004 * deviation)
    assert loo.coverage95 == np.mean(np.abs(error) <= 1.959963984540054 * deviation)
    gain = (z - others) ** 2 - error**2
    assert (loo.improvement, loo.error) == pytest.approx((gain.mean(), gain.std(ddof=1) / 6.0), rel=1e-8)


def test_quantiles_equal_the_textbook_prediction() -> None:
    study = searched(MIXED, mixed, 30)
    found = study.explain()
    X, extra, kind, theta = model_of(found)
    y = study.trials.y[:, 0]
    z = _kernel.transform(y)
    params = {"idle": 0.2, "rate": 0.01, "width": 32, "size": 64, "kind": "b", "m": 0.3}
    mean, cov = gp_reference.predict(X, z, extra, kind, theta, MIXED.point(params)[None])
    for noise, variance in ((True, cov[0, 0] + theta[-1]), (False, cov[0, 0])):
        at = mean[0] + math.sqrt(variance) * np.array([-0.6744897501960817, 0.0, 0.6744897501960817])
        expected = np.interp(at, np.sort(z), np.sort(y))
        assert (at > z.min()).all() and (at < z.max()).all()
        np.testing.assert_allclose(found.quantiles(params, q=(0.25, 0.5, 0.75), noise=noise), expected, rtol=1e-6)


def test_the_model_is_the_one_behind_the_suggestions_of_bayes() -> None:
    study = searched(MIXED, mixed, 30, sampler=jaxhp.bayes())
    study.ask()
    model = study._session._state.model
    posterior, _ = model.posterior()
    found = study.explain()
    ours, n = found.surrogate.posterior, posterior.n
    assert (found.fits, ours.n) == (model.fits, n)
    for a, b in ((ours.theta, posterior.theta), (ours.alpha[:n], posterior.alpha[:n]), (ours.Linv[:n, :n], posterior.Linv[:n, :n])):
        np.testing.assert_array_equal(a, b)


VALUES = st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64), min_size=2, max_size=40)


@given(values=VALUES, failed=st.integers(0, 3))
def test_the_way_back_from_z_recovers_told_values_and_is_monotone(values: list[float], failed: int) -> None:
    y = np.array([*values, *[math.nan] * failed])
    z = _kernel.transform(y)
    done = np.isfinite(y)
    scale = scaled(y[done], z[done])
    np.testing.assert_allclose(scale.inverse(scale.z), scale.y, rtol=0.0, atol=1e-307)  # subnormal numbers lose digits
    grid = np.linspace(-6.0, 6.0, 200)
    back = scale.inverse(grid)
    assert np.isfinite(back).all()
    assert (back[1:] >= back[:-1]).all()
    assert back.max() <= y[done].max()


def test_beyond_the_best_the_slope_of_the_good_half_goes_on_and_beyond_the_worst_nothing() -> None:
    y = np.concatenate([np.linspace(1.0, 2.0, 11), [50.0, 60.0, 70.0, 1e9, 1e10, 80.0, 90.0, 95.0, 99.0]])
    z = _kernel.transform(y)
    scale = scaled(y, z)
    slope = (y[9] - y[0]) / (z[9] - z[0])
    assert scale.slope == pytest.approx(slope, rel=1e-9)
    np.testing.assert_allclose(scale.inverse(z[0] - np.array([0.1, 1.0])), y[0] - np.array([0.1, 1.0]) * slope, rtol=1e-9)
    assert scale.inverse(np.array([z.max() + 5.0]))[0] == 1e10


# --- direction ----------------------------------------------------------------------------------------------------------------


def test_a_maximised_study_mirrors_the_minimised_one_exactly() -> None:
    down = searched(SQUARE, noisy(0.1, 2), 30).explain()
    up = searched(SQUARE, noisy(0.1, 2, sign=-1.0), 30, direction="maximize").explain()
    assert (up.parameters, up.leave_one_out, up.noise, up.best, up.notes) == (
        down.parameters,
        down.leave_one_out,
        down.noise,
        down.best,
        down.notes,
    )
    assert up.best_value is not None and down.best_value is not None and up.best_value == -down.best_value
    q = (0.125, 0.25, 0.5, 0.75, 0.875)
    for x, y in [(0.0, 0.0), (0.9, 0.9), (-0.4, 0.7)]:
        quantiles = up.quantiles({"x": x, "y": y}, q=q)
        np.testing.assert_array_equal(quantiles, -down.quantiles({"x": x, "y": y}, q=q)[::-1])
        assert (np.diff(quantiles) >= 0.0).all()
    np.testing.assert_array_equal(up.slice("x", q).quantiles, -down.slice("x", q).quantiles[:, ::-1])


@given(x=st.floats(-1.0, 1.0), y=st.floats(-1.0, 1.0), q=st.lists(st.floats(1e-9, 1.0 - 1e-9), min_size=1, max_size=9))
def test_quantiles_ascend_with_q(x: float, y: float, q: list[float]) -> None:
    for found in ASCENDING:
        assert (np.diff(found.quantiles({"x": x, "y": y}, q=sorted(q))) >= 0.0).all()


ASCENDING = [searched(SQUARE, noisy(0.1, 2), 30).explain(), searched(SQUARE, noisy(0.1, 2), 30, direction="maximize").explain()]


# --- bounds -------------------------------------------------------------------------------------------------------------------


def slope(trial: Trial) -> float:
    return 3.0 * math.log10(trial["learning_rate"]) - trial["depth"] - trial["size"] / 8.0 + (trial["kind"] == "a") + 0.001 * trial["idle"]


def sloped(high: int, sizes: list[int], low: float) -> Space:
    return Space(
        {
            "learning_rate": Float(low, 1.0, log=True),
            "depth": Int(1, high),
            "size": Ordinal(sizes),
            "kind": Categorical(["a", "b"]),
            "idle": Float(0.0, 1.0),
            "flag": Ordinal([False, True]),
        }
    )


def test_a_best_at_the_bound_is_told_until_the_space_is_extended() -> None:
    study = Study(sloped(4, [8, 16, 32], 0.01), sampler=jaxhp.sobol(), seed=0)
    study.enqueue({"learning_rate": 0.01, "depth": 4, "size": 32, "kind": "b", "idle": 0.0, "flag": True})
    study.optimize(slope, trials=60)
    assert [note for note in study.explain().notes if "best at" in note] == [
        "best at the lower bound of learning_rate (0.01): widen it with study.extend",
        "best at the upper bound of depth (4): widen it with study.extend",
        "best at the last choice of size (32): add further ones with study.extend",
    ]
    study.extend(sloped(8, [8, 16, 32, 64], 1e-4))
    assert not [note for note in study.explain().notes if "best at" in note]


def test_a_bound_that_does_nothing_is_not_complained_of() -> None:
    asked = 0
    for seed in range(10):
        draw = np.random.default_rng(seed)
        study = Study(Space({"x": Float(-1.0, 1.0), "idle": Float(0.0, 1.0)}), sampler=jaxhp.sobol(), seed=seed)
        study.optimize(lambda t, draw=draw: t["x"] ** 2 + 0.01 * draw.normal(), trials=30)
        study.add({"x": 0.0, "idle": 0.0}, -0.05)
        assert study.explain().best_params == {"x": 0.0, "idle": 0.0}
        asked += any("bound" in note for note in study.explain().notes)
    assert asked == 0


def test_a_best_near_the_bound_is_at_it() -> None:
    def at(x: float) -> list[str]:
        study = searched(SQUARE, lambda t: (t["x"] - 1.0) ** 2 + t["y"] ** 2, 40)
        study.add({"x": x, "y": 0.0}, -0.1)
        return [note for note in study.explain().notes if "upper bound of x (1)" in note]

    assert at(0.99) and at(1.0) and not at(0.95)


# --- every kind of study ------------------------------------------------------------------------------------------------------


def test_conditions_and_categories_are_explained() -> None:
    found = searched(MIXED, mixed, 80).explain()
    shares = relevance(found)
    assert [*shares][:2] == ["kind", "rate"]
    parts = {p.name: p for p in found.parameters}
    assert parts["m"].when == "kind is b" and parts["kind"].when == "" and parts["kind"].categorical and not parts["m"].categorical
    assert found.quantiles({"idle": 0.5, "rate": 0.01, "width": 64, "size": 64, "kind": "c"}, q=[0.5])[0] > 2.5
    assert found.quantiles({"idle": 0.5, "rate": 0.01, "width": 64, "size": 64, "kind": "a"}, q=[0.5])[0] < 0.3


def test_failures_of_every_sort_survive() -> None:
    odd: dict[int, Any] = {2: math.nan, 5: math.inf, 7: -math.inf, 11: 1e300, 12: -1e300, 13: 1.7e308}

    def objective(trial: Trial) -> float:
        if trial.number == 20:
            raise ValueError
        return float(odd.get(trial.number, bowl(trial)))

    found = searched(SQUARE, objective, 40).explain()
    assert (found.results, found.failed, found.leave_one_out.n) == (40, 4, 36)
    assert np.isfinite(found.quantiles({"x": 0.0, "y": 0.0}, q=(1e-6, 0.5, 1 - 1e-6))).all()
    assert np.isfinite(found.slice("x").quantiles).all()
    assert "nan" not in json.dumps(found.to_json()).lower() and "inf" not in json.dumps(found.to_json()).lower()


def test_running_and_reported_trials_are_no_results_yet() -> None:
    study = searched(SQUARE, bowl, 20)
    before = study.explain()
    study.ask().report(1, 0.5)
    study.ask()
    assert study.explain() == before


def test_told_noise_makes_a_result_count_less() -> None:
    def told(noise: float | None) -> Explanation:
        study = searched(SQUARE, bowl, 30)
        study.add({"x": 0.0, "y": 0.0}, 1.5, noise=noise)
        return study.explain()

    assert told(1.0).quantiles({"x": 0.0, "y": 0.0}, q=[0.5])[0] < told(None).quantiles({"x": 0.0, "y": 0.0}, q=[0.5])[0] - 0.1


def test_constraints_on_metrics_and_on_the_space_are_respected() -> None:
    space = SQUARE.where("x + y <= 0.5")
    study = Study(space, sampler=jaxhp.sobol(), metric="loss", constraints={"size": "<= 0.3"}, seed=1)
    found = study.optimize(lambda t: {"loss": bowl(t), "size": t["x"]}, trials=40).explain()
    assert found.best == study.best.number and found.metric == "loss" and found.best_params is not None
    along = found.slice("x")
    inside = np.array(along.values) + found.best_params["y"] <= 0.5
    assert inside.any() and not inside.all()
    np.testing.assert_array_equal(np.isnan(along.quantiles).any(axis=1), ~inside)
    never = Study(SQUARE, sampler=jaxhp.sobol(), constraints={"size": "<= -5"})
    nothing = never.optimize(lambda t: {"value": bowl(t), "size": 0.0}, trials=9).explain()
    assert nothing.best is None and nothing.to_json()["best"] is None
    with pytest.raises(StudyError, match="no completed trial meets the constraints"):
        nothing.slice("x")


def test_a_stochastic_study_is_explained_around_its_best_trial() -> None:
    study = searched(SQUARE, noisy(0.5, seed=2), 30, stochastic=True)
    found = study.explain()
    assert study.best.number != study.best_observed.number
    assert found.best == study.best.number and found.best_params == study.best.params


def test_a_long_study_stands_on_its_active_set() -> None:
    found = searched(SQUARE, bowl, 600).explain()
    assert found.results == 600 and 512 <= found.rows < 600
    assert found.leave_one_out.n == found.rows and "in the model" in str(found)


def test_few_results_are_explained_with_a_warning_and_fewer_not_at_all() -> None:
    found = searched(MIXED, mixed, 4).explain()
    assert any("4 completed results are few for 6 parameters" in note for note in found.notes)
    study = Study(SQUARE, sampler=jaxhp.sobol())
    for n in range(3):
        with pytest.raises(StudyError, match=rf"needs 3 distinct completed trials and study 'study' has {n}; tell at least {3 - n} more"):
            study.explain()
        study.tell(study.ask(), math.nan)
        study.add({"x": 0.1 * n, "y": 0.0}, float(n))
        study.add({"x": 0.1 * n, "y": 0.0}, float(n))
    assert study.explain().failed == 3


def test_several_objectives_are_refused() -> None:
    study = Study(SQUARE, sampler=jaxhp.sobol(), directions={"loss": "minimize", "speed": "maximize"})
    study.optimize(lambda t: {"loss": bowl(t), "speed": t["x"]}, trials=8)
    with pytest.raises(StudyError, match="needs one objective and this study has 2"):
        study.explain()


# --- purity -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lag", [None, 2])
def test_explaining_changes_no_later_suggestion(lag: int | None) -> None:
    asked, quiet = (Study(MIXED, sampler=jaxhp.bayes(), seed=4, lag=lag) for _ in range(2))
    for n in (6, 11, 12, 20, 30):
        for study in (asked, quiet):
            study.optimize(mixed, trials=n)
        asked.explain()
        assert asked.explain() == asked.explain()
    np.testing.assert_array_equal(asked.trials.u, quiet.trials.u)
    assert asked.explain() == quiet.explain()


def test_threads_that_explain_one_study_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    study = searched(MIXED, mixed, 20)
    waits = []
    posterior = Model.posterior

    def spy(model: Model) -> Any:
        def other() -> None:
            free = study._lock.acquire(blocking=False)
            if free:
                study._lock.release()
            waits.append(not free)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        return posterior(model)

    monkeypatch.setattr(Model, "posterior", spy)
    study.explain()
    assert waits and all(waits)


def test_a_resumed_study_explains_bitwise_equally(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    made = searched(MIXED, mixed, 40, sampler=jaxhp.bayes(), storage=url)
    before = made.explain()
    for resumed in (Study.open(url), Study(MIXED, sampler=jaxhp.random_search(), storage=url)):
        after = resumed.explain()
        assert after == before
        assert after.suggestions == {} != before.suggestions
        for name in MIXED.names:
            if name in (before.best_params or {}):
                np.testing.assert_array_equal(after.slice(name).quantiles, before.slice(name).quantiles)


def test_with_a_lag_it_does_not_matter_who_told_first() -> None:
    def told(backwards: bool) -> Explanation:
        study = Study(SQUARE, sampler=jaxhp.sobol(), lag=4)
        for _ in range(5):
            trials = study.ask(4)
            for trial in reversed(trials) if backwards else trials:
                study.tell(trial, bowl(trial))
        return study.explain()

    assert told(True) == told(False)


def test_suggestions_are_counted_through_combinations() -> None:
    sampler = jaxhp.sequence((jaxhp.sobol(), 5), (jaxhp.bayes(), None))
    found = searched(MIXED, mixed, 20, sampler=sampler).explain()
    assert sum(found.suggestions.values()) == 13  # bayes waits for 7 results in 6 dims
    assert "suggestions by this process" in str(found)
    assert searched(MIXED, mixed, 20).explain().suggestions == {}


# --- what it returns ----------------------------------------------------------------------------------------------------------


def test_slices_are_quantiles_at_the_best_with_one_parameter_moved() -> None:
    study = searched(MIXED, mixed, 60)
    found = study.explain()
    for name, values in (
        ("size", [32, 64, 128]),
        ("kind", ["a", "b", "c"]),
    ):
        assert found.slice(name).values == values
    rate = found.slice("rate", points=5)
    np.testing.assert_allclose(rate.values, [1e-4, 1e-3, 1e-2, 1e-1, 1.0], rtol=1e-12)
    assert (rate.values[0], rate.values[-1]) == (1e-4, 1.0)
    width = found.slice("width", points=20).values
    assert width[0] == 16 and width[-1] == 256 and len(width) == 20 and width == sorted(set(width))
    assert found.slice("width", points=1000).values == list(range(16, 257))
    assert found.best_params is not None
    for value, row in zip(rate.values, rate.quantiles, strict=True):
        np.testing.assert_allclose(row, found.quantiles(found.best_params | {"rate": value}), rtol=1e-9)
    assert found.best_params["kind"] == "a"
    with_child = found.best_params | {"kind": "b", "m": MIXED.default_params().get("m", 0.55)}
    np.testing.assert_allclose(found.slice("kind").quantiles[1], found.quantiles(with_child), rtol=1e-9)


def test_wrong_arguments_are_explained() -> None:
    found = searched(MIXED, mixed, 60).explain()
    whole = found.best_params or {}
    for q in ((0.0, 0.5), (1.0,), (math.nan,), (-1.0,)):
        with pytest.raises(StudyError, match="probabilities between 0 and 1"):
            found.quantiles(whole, q=q)
    with pytest.raises(SpaceError, match="'rate' is missing"):
        found.quantiles({k: v for k, v in whole.items() if k != "rate"})
    with pytest.raises(SpaceError, match="did you mean 'width'"):
        found.slice("widht")
    with pytest.raises(StudyError, match="inactive in the best configuration"):
        found.slice("m")
    with pytest.raises(StudyError, match="points=1"):
        found.slice("rate", points=1)


def test_the_pages_example_says_what_the_page_shows(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[1] / "docs" / "explain.md").read_text()
    code, shown = re.findall(r"^```\w*\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    exec(compile(code, "explain.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    digits = re.compile(r"\d[\d.e-]*")  # the last of them may differ between instruction sets
    assert [digits.sub("0", line).split() for line in printed] == [digits.sub("0", line).split() for line in shown.splitlines()]


def test_it_prints_as_a_table_and_is_json() -> None:
    found = searched(MIXED, mixed, 60, name="mine", metric="loss").explain()
    text = repr(found)
    assert text == str(found) and text.startswith("mine: what its results say about loss (minimize)")
    lines = text.splitlines()
    assert lines[2].split() == ["parameter", "relevance", "length", "scale", "active", "when"]
    assert lines[3].startswith("kind ") and [line.split()[0] for line in lines[3:9]] == [p.name for p in found.parameters]
    assert any(line.startswith("m ") and line.endswith("kind is b") for line in lines)
    for label in ("best", "results", "noise", "left out", "fits"):
        assert any(line.startswith(label) for line in lines)
    parsed = json.loads(json.dumps(found.to_json()))
    assert parsed["parameters"][0]["name"] == "kind" and parsed["leave_one_out"]["n"] == 60 and parsed["noise"] == found.noise


@pytest.mark.parametrize("q", ["a", (), None, (0.0,), (0.5, 1.0), (math.nan,), ((0.1, 0.9),)])
def test_what_is_no_probability_is_refused_by_name(q: Any) -> None:
    space = jaxhp.Space({"x": jaxhp.Float(0.0, 1.0)})
    explanation = jaxhp.Study(space, sampler=jaxhp.sobol()).optimize(lambda trial: (trial["x"] - 0.3) ** 2, trials=8).explain()
    with pytest.raises(StudyError, match=r"^q=.*: expected probabilities between 0 and 1, such as"):
        explanation.quantiles({"x": 0.5}, q=q)
