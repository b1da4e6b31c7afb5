"""The second look of `bayes`: a box around the best results, and a surrogate of what is in it."""

from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from second_looks import asked, modelled

import jaxhp
from jaxhp import _kernel, gp
from jaxhp._types import Floats
from jaxhp.samplers import _bayes, _neighbourhood
from jaxhp.samplers._neighbourhood import AFTER, ELITE, EVERY, FEWEST, NARROWEST, REACH, ROWS, neighbourhood
from jaxhp.storage import open_log
from jaxhp.testing import check_study

FLOATS = np.ones(3, bool)


def bowl(n: int, seed: int = 0) -> tuple[Floats, Floats]:
    u = np.random.default_rng(seed).random((n, 3))
    return u, ((u - [0.3, 0.5, 0.9]) ** 2).sum(axis=1)


def test_the_box_is_two_deviations_of_the_best_thirty_around_the_best_and_stays_in_the_cube() -> None:
    u, y = bowl(100)
    near = neighbourhood(*modelled(u, y), FLOATS)
    assert near is not None
    order = np.argsort(y)
    half = REACH * u[order[:ELITE]].std(axis=0)
    assert np.allclose(near.box.low, np.maximum(u[order[0]] - half, 0.0), rtol=0, atol=1e-15)
    assert np.allclose(near.box.low + near.box.width, np.minimum(u[order[0]] + half, 1.0), rtol=0, atol=1e-15)


def test_the_box_shrinks_as_the_best_gather_but_never_to_a_point() -> None:
    u, y = bowl(60)
    close = u[np.argmin(y)] + 1e-5 * np.random.default_rng(1).normal(size=(40, 3))
    wide = neighbourhood(*modelled(u, y), FLOATS)
    narrow = neighbourhood(*modelled(np.concatenate([u, close]), np.concatenate([y, np.linspace(-1.0, -2.0, 40)])), FLOATS)
    assert wide is not None and narrow is not None
    assert (narrow.box.width < 0.5 * wide.box.width).all()
    assert np.allclose(narrow.box.width, 2 * NARROWEST, rtol=0, atol=1e-12)


def test_its_surrogate_is_fitted_to_the_nearest_rows_in_the_coordinates_of_the_box() -> None:
    u, y = bowl(150)
    near = neighbourhood(*modelled(u, y), FLOATS)
    assert near is not None
    v = (u - near.box.low) / near.box.width
    beside = np.array([max(0.0, *(-point), *(point - 1.0)) for point in v])
    rows = np.array(sorted(sorted(range(150), key=lambda i: (beside[i], y[i]))[:ROWS]))
    rows = rows[beside[rows] <= 1.0]
    assert FEWEST <= len(rows) <= ROWS
    assert np.array_equal(near.v, v[rows])
    z = _kernel.transform(y[rows])
    assert np.array_equal(near.z, z)
    theta = gp.fit(v[rows], z, np.zeros(len(rows)), [0, 0, 0], None, _neighbourhood.ITERATIONS)
    again = gp.factor(v[rows], z, np.zeros(len(rows)), [0, 0, 0], theta)
    assert again is not None
    assert np.array_equal(again.theta, near.posterior.theta)
    assert np.array_equal(again.alpha[: again.n], near.posterior.alpha[: again.n])


def test_discrete_and_inactive_coordinates_keep_their_whole_range() -> None:
    u, y = bowl(80)
    u[:, 1] = (np.floor(u[:, 1] * 4) + 0.5) / 4
    u[np.argmin(y), 2] = np.nan
    near = neighbourhood(*modelled(u, y, (1,)), np.array([True, False, True]))
    assert near is not None
    assert near.box.low[1:].tolist() == [0.0, 0.0]
    assert near.box.width[1:].tolist() == [1.0, 1.0]
    assert near.box.width[0] < 1.0
    assert np.isnan(near.v[:, 2]).sum() == 1  # the best one


def test_the_best_row_is_always_among_its_rows() -> None:
    u, y = bowl(60)
    crowd = np.clip(u[np.argmin(y)] + 0.05 * np.random.default_rng(4).normal(size=(200, 3)), 0.0, 1.0)
    values = ((crowd - [0.3, 0.5, 0.9]) ** 2).sum(axis=1)
    values[-1] = -1.0
    near = neighbourhood(*modelled(np.concatenate([u, crowd]), np.concatenate([y, values])), FLOATS)
    assert near is not None
    assert len(near.z) == ROWS
    assert np.allclose(near.box.outward(near.v[np.argmin(near.z)]), crowd[-1], rtol=0, atol=1e-12)


def test_there_is_none_around_a_best_row_without_an_active_float() -> None:
    u, y = bowl(80)
    u[np.argmin(y), :2] = np.nan
    model, quality = modelled(u, y)
    assert neighbourhood(model, quality, np.array([True, True, False])) is None
    assert neighbourhood(model, quality, FLOATS) is not None


def test_coordinates_go_into_the_box_and_back() -> None:
    u, y = bowl(80)
    near = neighbourhood(*modelled(u, y), FLOATS)
    assert near is not None
    inside = near.box.low + near.box.width * np.random.default_rng(2).random((50, 3))
    assert np.allclose(near.box.outward(near.box.inward(inside)), inside, rtol=0, atol=1e-15)
    assert near.box.beside(near.box.inward(inside)).max() == 0.0
    assert near.box.beside(np.array([[0.5, 1.25, np.nan], [-0.5, 0.5, 1.25]])).tolist() == [0.25, 0.5]
    assert near.box.outward(np.array([9.0, -9.0, np.nan]))[:2].tolist() == [1.0, 0.0]


def cube(d: int) -> jaxhp.Space:
    return jaxhp.Space({f"x{j}": jaxhp.Float(0.0, 1.0) for j in range(d)})


def distance(trial: jaxhp.Trial) -> float:
    return float(sum((x - 0.3) ** 2 for x in trial.params.values()))


def test_every_fourth_suggestion_looks_near_once_there_are_enough_results() -> None:
    _, numbers = asked("_suggest_near", cube(4), distance, AFTER + 21)
    assert numbers == [n for n in range(AFTER, AFTER + 21) if n % EVERY == EVERY - 1]


def test_spaces_without_floats_are_never_looked_at_closely() -> None:
    space = jaxhp.Space({f"k{j}": jaxhp.Int(0, 40) for j in range(4)})
    _, numbers = asked("_suggest_near", space, lambda trial: float(sum(trial.params.values())), AFTER + 12)
    assert numbers == []


def test_few_near_rows_leave_the_suggestion_to_the_surrogate_of_all() -> None:
    u = np.random.default_rng(3).random((60, 3))
    u[0] = [0.02, 0.02, 0.98]
    model, _ = modelled(u, np.linspace(0.0, 1.0, 60))
    rows = model.u[:60]
    lonely = np.abs(rows - rows[0]).max(axis=1)
    quality = np.where(lonely < 1e-9, -1.0, 0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_neighbourhood, "REACH", 0.0)  # the narrowest box, in which the best row is alone
        assert (lonely[1:] > 3 * 2 * NARROWEST).sum() > 60 - FEWEST
        assert neighbourhood(model, quality, FLOATS) is None


def test_a_batch_of_near_suggestions_spreads() -> None:
    study, _ = asked("_suggest_near", cube(4), distance, AFTER + 10)
    batch = np.array([trial.u for trial in study.ask(16)])
    apart = np.abs(batch[:, None] - batch).max(axis=2)[~np.eye(16, dtype=bool)]
    assert apart.min() > 1e-6


def test_near_suggestions_meet_constraints_and_conditions() -> None:
    space = jaxhp.Space(
        {
            "kind": jaxhp.Categorical(["a", "b"]),
            "x": jaxhp.Float(0.0, 1.0),
            "y": jaxhp.Float(0.0, 1.0, when={"kind": "a"}),
            "z": jaxhp.Float(0.0, 1.0, when={"kind": "b"}),
        }
    ).where("x + y <= 1.0")

    def objective(trial: jaxhp.Trial) -> float:
        p = trial.params
        return (p["x"] - 0.6) ** 2 + ((p["y"] - 0.2) ** 2 if p["kind"] == "a" else 0.1 + (p["z"] - 0.2) ** 2)

    study, numbers = asked("_suggest_near", space, objective, AFTER + 40)
    assert len(numbers) >= 5
    for trial in study.finished:
        assert space.feasible(trial.u[None])[0]
        assert np.array_equal(space.snap(trial.u[None])[0], trial.u, equal_nan=True)


@pytest.mark.parametrize("stochastic", [False, True])
def test_studies_keep_the_laws_where_suggestions_look_near(stochastic: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = jaxhp.Space(
        {
            "kind": jaxhp.Categorical(["a", "b"]),
            "x": jaxhp.Float(0.0, 1.0),
            "y": jaxhp.Float(0.0, 1.0, when={"kind": "a"}),
            "n": jaxhp.Int(1, 40, log=True),
        }
    )
    found: list[bool] = []
    suggest_near = _bayes._suggest_near

    def spy(*arguments: Any) -> Floats | None:
        u = suggest_near(*arguments)
        found.append(u is not None)
        return u

    def begun(**arguments: Any) -> jaxhp.Study:
        """A study with so many results that the neighbourhood is looked at."""
        study = jaxhp.Study(space, sampler=jaxhp.bayes(), seed=5, stochastic=stochastic, **arguments)
        draw = np.random.default_rng(0)
        for i in range(0 if study.finished else AFTER):
            params = {"kind": "ab"[i % 2], "x": draw.random(), "n": int(draw.integers(1, 41))} | ({} if i % 2 else {"y": draw.random()})
            study.add(params, (params["x"] - 0.3) ** 2 + params["n"] / 40 + params.get("y", 0.5))
        return study

    monkeypatch.setattr(_bayes, "_suggest_near", spy)
    numbers = count()
    check_study(begun, lambda: open_log(f"sqlite:///{tmp_path}/{next(numbers)}.db"), trials=AFTER + 20)
    assert sum(found) > 100  # else the laws were about other suggestions


def test_ackley_in_ten_dims_does_not_stop_improving() -> None:
    def ackley(trial: jaxhp.Trial) -> float:
        x = 32.768 * (2.0 * (np.fromiter(trial.params.values(), float) - 0.1) - 1.0)
        return float(-20 * np.exp(-0.2 * np.sqrt((x * x).mean())) - np.exp(np.cos(2 * np.pi * x).mean()) + 20 + np.e)

    def regrets(every: int) -> list[float]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_bayes, "EVERY", every)
            return [jaxhp.Study(cube(10), sampler=jaxhp.bayes(), seed=seed).optimize(ackley, trials=250).best.value for seed in range(5)]

    with_it, without = np.median(regrets(EVERY)), np.median(regrets(10**9))
    assert with_it < 2.5
    assert without > 4.0  # else the test says nothing
