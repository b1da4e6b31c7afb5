"""`study.forecast()` and `jaxhp.enough()`: known answers, laws of scale and sign, errors at the door, and studies that stop by it."""

from __future__ import annotations

import json
import math
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import jaxhp
from jaxhp import Categorical, Float, Int, Space, Study, StudyError, Trial
from jaxhp.analysis._forecast import history, learns
from jaxhp.analysis._prospect import LEVELS, TICKS, WEIGHTS, features, prospect, spread
from jaxhp.cli import app

LINE = Space({"x": Float(0.0, 1.0)})
SQUARE = Space({"x": Float(-1.0, 1.0), "y": Float(-1.0, 1.0)})


def bowl(trial: Trial) -> float:
    return trial["x"] ** 2 + trial["y"] ** 2


def told(values: list[float], sampler: Any = None, **more: Any) -> Study:
    """A study that was told these values."""
    study = Study(LINE, **({"sampler": sampler or jaxhp.bayes()} | more))
    for i, value in enumerate(values):
        study.add({"x": (i + 0.5) / len(values)}, value)
    return study


def falling(n: int, seed: int = 0) -> list[float]:
    """Results of a search that learns."""
    draw = np.random.default_rng(seed)
    return (np.exp(-np.arange(n) / 8.0) * draw.uniform(0.5, 2.0, n)).tolist()


# --- known answers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "more"), [(10, 10), (20, 50), (50, 50), (200, 25)])
def test_random_search_gains_at_all_with_the_chance_of_a_record(n: int, more: int) -> None:
    y = np.random.default_rng(n).uniform(size=n)
    assert prospect(y, 3, more, learns=False).exceeds(0.0) == pytest.approx(more / (n + more), rel=1e-12)


def test_forecasts_of_random_search_come_true_on_independent_draws() -> None:
    draw = np.random.default_rng(1)
    tails = {"an edge": draw.uniform, "a bowl": lambda size: draw.chisquare(4, size), "no bound": draw.normal}
    for tail, n, more in (("an edge", 30, 50), ("a bowl", 60, 50), ("no bound", 100, 25)):
        said, came, inside, gains, expected = [], [], [], [], []
        for _ in range(400):
            y = tails[tail](size=n + more)
            found, unit = prospect(y[:n], 3, more, learns=False), spread(y[:n])
            gain = (y[:n].min() - y.min()) / unit
            said.append(found.exceeds(0.01))
            came.append(gain > 0.01)
            inside.append(found.quantile(0.1) <= gain <= found.quantile(0.9))
            gains.append(gain)
            expected.append(found.mean())
        assert np.mean(said) == pytest.approx(np.mean(came), abs=0.07)
        assert 0.75 <= np.mean(inside) <= 0.97
        assert 0.4 < np.mean(expected) / np.mean(gains) < 2.5, tail


def test_a_search_that_still_falls_is_given_more_than_one_that_stands_still() -> None:
    fast = told(falling(60))
    still = told(falling(20) + [1.0 + 0.01 * i for i in range(40)])
    assert fast.forecast().chance > 2.0 * still.forecast().chance
    assert fast.forecast().relative_gain > still.forecast().relative_gain


def test_a_search_that_converged_to_one_value_expects_next_to_nothing() -> None:
    study = told(falling(20) + [0.04 + 1e-7 * (i % 7) for i in range(80)])
    assert study.forecast().relative_gain < 0.02


def test_the_sampler_in_charge_decides_which_law_holds() -> None:
    values = np.random.default_rng(0).uniform(size=40).tolist()
    blind, learning = told(values, jaxhp.random_search()), told(values, jaxhp.bayes())
    n, more = 40, 20
    assert blind.forecast(more).chance <= more / (n + more)
    y = history(blind)
    assert blind.forecast(more).chance == prospect(y, 1, more, learns=False).exceeds(0.01)
    assert learning.forecast(more).chance == prospect(y, 1, more, learns=True).exceeds(0.01)


@pytest.mark.parametrize(
    ("sampler", "looks"),
    [
        (jaxhp.random_search(), False),
        (jaxhp.sobol(), False),
        (jaxhp.sequence((jaxhp.sobol(), 16), (jaxhp.random_search(), None)), False),
        (jaxhp.sequence((jaxhp.sobol(), 16), (jaxhp.bayes(), None)), True),
        (jaxhp.bayes(), True),
        (jaxhp.auto(), True),
    ],
)
def test_a_samplers_name_says_whether_it_looks_at_results(sampler: Any, looks: bool) -> None:
    assert learns(sampler.name) == looks


def test_an_unknown_sampler_is_taken_to_learn() -> None:
    assert learns("custom")


# --- the distribution ---------------------------------------------------------------------------------------------------------

RESULTS = st.lists(st.floats(-100.0, 100.0).map(lambda v: round(v, 3)), min_size=10, max_size=60).map(np.array)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(RESULTS, st.integers(1, 30), st.booleans())
def test_a_prospect_is_a_distribution_that_grows_with_the_trials(y: Any, d: int, learning: bool) -> None:
    if spread(y) == 0.0:
        return
    few, many = prospect(y, d, 10, learning), prospect(y, d, 50, learning)
    thresholds = [0.0, *np.geomspace(1e-4, 20.0, 30).tolist()]
    chances = [many.exceeds(t) for t in thresholds]
    assert all(0.0 <= c <= 1.0 for c in chances)
    assert all(a >= b for a, b in pairwise(chances))
    assert all(few.exceeds(t) <= many.exceeds(t) for t in thresholds)
    assert 0.0 <= few.mean() <= many.mean()
    assert many.quantile(0.1) <= many.quantile(0.5) <= many.quantile(0.9)
    for p in (0.1, 0.5, 0.9):
        if TICKS[0] < many.quantile(p) < TICKS[-1]:
            assert many.exceeds(many.quantile(p)) == pytest.approx(1.0 - p, abs=1e-9)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(RESULTS, st.sampled_from([2.0**-20, 8.0, 2.0**30]))
def test_features_depend_neither_on_scale_nor_on_shift(y: Any, scale: float) -> None:
    y = np.round(y * 8.0) / 8.0  # then every operation below is exact
    if spread(y) == 0.0:
        return
    np.testing.assert_array_equal(features(y * scale, 4, 50), features(y, 4, 50))
    np.testing.assert_array_equal(features(y + 64.0, 4, 50), features(y, 4, 50))
    assert spread(scale * y) == scale * spread(y)


def test_the_mean_is_the_integral_of_the_chances() -> None:
    for learning in (False, True):
        found = prospect(np.array(falling(30)), 2, 50, learning)
        t = np.concatenate([[0.0], np.geomspace(1e-6, 50.0, 20_000)])
        chances = np.array([found.exceeds(v) for v in t])
        assert found.mean() == pytest.approx(float(np.trapezoid(chances, t)), rel=2e-2)


def test_the_fitted_numbers_descend_and_more_trials_help() -> None:
    assert all(a > b for a, b in pairwise(LEVELS)) and all(a < b for a, b in pairwise(TICKS))
    assert len(LEVELS) == len(TICKS) and len(WEIGHTS) == 11
    assert WEIGHTS[0] > 0.0


def test_a_blow_up_is_no_measure_of_the_spread() -> None:
    values = [4.0, 2.0, 6.0, 1.0, 3.0]
    assert spread(np.array([*values, *[1e30] * 20])) <= 5.0
    assert spread(np.array([*values, 1.7e308, -0.0])) <= 6.0


def test_blow_ups_beside_few_good_results_give_no_hope_of_more() -> None:
    y = np.array([1e30, 3.0, 1e30, 1.0, 1e30, 2.0, 4.0, *[1e30] * 43])
    assert prospect(y, 2, 50, learns=False).mean() < 3.0
    assert prospect(y, 2, 50, learns=True).mean() < 3.0


def test_the_spread_of_a_plateau_at_the_best_is_that_of_what_lies_above_it() -> None:
    assert spread(np.array([1.0] * 15 + [3.0] * 5)) == 2.0
    assert spread(np.array([1.0] * 25 + [5.0])) == 4.0
    assert spread(np.ones(12)) == 0.0


# --- studies ------------------------------------------------------------------------------------------------------------------


def test_maximising_mirrors_minimising() -> None:
    values = falling(40)
    down = told(values).forecast()
    up = told([-v for v in values], direction="maximize").forecast()
    assert (up.chance, up.gain, up.spread) == (down.chance, down.gain, down.spread)
    assert up.best == -down.best and up.interval == (-down.interval[1], -down.interval[0])
    assert down.interval[0] <= down.interval[1] <= down.best


def test_gains_scale_with_the_metric_and_chances_do_not() -> None:
    values = falling(40)
    one, other = told(values).forecast(), told([4.0 * v - 3.0 for v in values]).forecast()
    assert other.chance == pytest.approx(one.chance, rel=1e-9)
    assert other.gain == pytest.approx(4.0 * one.gain, rel=1e-9)
    assert np.allclose(other.interval, 4.0 * np.array(one.interval) - 3.0, rtol=1e-9)


def test_failures_count_as_trials_without_a_gain() -> None:
    study = told(np.random.default_rng(0).uniform(size=20).tolist(), jaxhp.random_search())
    before = study.forecast(20)
    for value in (math.nan, math.inf, -math.inf):
        study.tell(study.ask(), value)
    study.tell(study.ask(), error="no memory")
    after = study.forecast(20)
    assert after.results == 24 and after.best == before.best
    assert after.chance < before.chance


def test_results_that_break_a_constraint_are_never_best() -> None:
    study = Study(LINE, metric="loss", constraints={"memory": "<= 8"}, sampler=jaxhp.random_search())
    for i in range(24):
        study.add({"x": i / 24}, {"loss": float(i), "memory": 9.0 if i < 4 else 1.0})
    assert study.forecast().best == 4.0 and study.forecast().results == 24


def test_running_trials_and_reports_are_not_results() -> None:
    study = told(falling(20))
    before = study.forecast()
    trial = study.ask()
    trial.report(1, -100.0)
    assert study.forecast() == before


def test_a_stochastic_study_says_that_its_best_is_partly_luck() -> None:
    study = told(falling(20), stochastic=True)
    assert "luck" in str(study.forecast()) and "luck" not in str(told(falling(20)).forecast())


def test_a_finite_space_has_only_what_is_left() -> None:
    space = Space({"a": Int(1, 6), "b": Categorical(["x", "y"])})
    study = Study(space, sampler=jaxhp.bayes())
    study.optimize(lambda t: t["a"] + (t["b"] == "x"), trials=10)
    assert study.forecast(50).more == 2
    assert study.forecast(50).chance == study.forecast(2).chance
    study.optimize(lambda t: t["a"] + (t["b"] == "x"), more=5)
    done = study.forecast(50)
    assert (done.more, done.chance, done.gain, done.interval) == (0, 0.0, 0.0, (done.best, done.best))


def test_equal_logs_give_equal_forecasts_and_reading_changes_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = Study(SQUARE, storage=url, seed=3).optimize(bowl, trials=25)
    found = study.forecast()
    assert Study.open(url).forecast() == found == study.forecast()
    end = len(study._log.read(study.name))
    other = Study(SQUARE, seed=3).optimize(bowl, trials=25)
    assert (study.ask().params, end) == (other.ask().params, len(other._log.read(other.name)) - 1)


def test_the_text_tells_chance_gain_and_interval() -> None:
    found = told(falling(30)).forecast(40)
    text = str(found)
    assert f"{found.chance:.0%}" in text and f"{found.interval[0]:.6g}, {found.interval[1]:.6g}" in text and "40 more" in text


@pytest.mark.parametrize("more", [0, -1, 2.5, True, "many"])
def test_an_impossible_number_of_trials_is_refused(more: Any) -> None:
    with pytest.raises(StudyError, match="expected a positive number"):
        told(falling(20)).forecast(more)


def test_too_few_results_are_refused_with_how_many_are_missing() -> None:
    study = told(falling(7))
    for _ in range(5):
        study.tell(study.ask(), math.nan)
    with pytest.raises(StudyError, match=r"has 7; tell at least 3 more"):
        study.forecast()


def test_results_without_a_difference_and_several_objectives_are_refused() -> None:
    with pytest.raises(StudyError, match="all 12 completed results are equal"):
        told([1.0] * 12).forecast()
    with pytest.raises(StudyError, match="one objective"):
        Study(LINE, directions={"a": "minimize", "b": "minimize"}).forecast()


# --- stopping -----------------------------------------------------------------------------------------------------------------


def test_a_search_stops_once_further_trials_are_not_worth_it() -> None:
    study = Study(SQUARE, seed=1).optimize(bowl, trials=300, until=jaxhp.enough())
    assert 20 <= len(study.finished) < 150 and not study.running
    assert study.forecast().relative_gain < 0.01
    assert study.best.value is not None and study.best.value < 1e-3


def test_a_smaller_gain_is_waited_for_longer() -> None:
    lengths = [len(Study(SQUARE, seed=1).optimize(bowl, trials=150, until=jaxhp.enough(gain)).finished) for gain in (0.3, 0.03, 0.003)]
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1]


def test_a_resumed_search_stops_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    whole = Study(SQUARE, seed=2).optimize(bowl, trials=200, until=jaxhp.enough())
    Study(SQUARE, seed=2, storage=url).optimize(bowl, trials=15)
    resumed = Study(SQUARE, seed=2, storage=url).optimize(bowl, trials=200, until=jaxhp.enough())
    assert [t.params for t in resumed.finished] == [t.params for t in whole.finished]
    again = Study(SQUARE, seed=2, storage=url).optimize(bowl, trials=200, until=jaxhp.enough())
    assert len(again.finished) == len(whole.finished)


def test_until_is_asked_after_every_trial_and_not_before_the_first() -> None:
    asked = []

    def until(study: Study) -> bool:
        asked.append(len(study.finished))
        return len(study.finished) >= 6

    Study(LINE, sampler=jaxhp.sobol()).optimize(lambda t: t["x"], trials=20, until=until)
    assert asked == [1, 2, 3, 4, 5, 6]


def test_a_failed_trial_is_asked_about_too() -> None:
    def broken(trial: Trial) -> float:
        raise ValueError("no")

    study = Study(LINE, sampler=jaxhp.sobol()).optimize(broken, trials=20, until=lambda s: len(s.finished) >= 3)
    assert len(study.finished) == 3


def test_running_trials_finish_once_it_is_enough() -> None:
    together = threading.Barrier(3, timeout=30)

    def objective(trial: Trial) -> float:
        if trial.number < 3:
            together.wait()
        return trial["x"]

    study = Study(LINE, sampler=jaxhp.sobol()).optimize(objective, trials=20, workers=3, until=lambda s: True)
    assert [t.number for t in study.finished] == [0, 1, 2] and not study.running


def test_until_must_be_a_function() -> None:
    with pytest.raises(StudyError, match="until: expected a function of the study"):
        Study(LINE).optimize(lambda t: t["x"], trials=1, until=0.01)  # type: ignore[arg-type]


def test_it_is_never_enough_where_there_is_no_forecast() -> None:
    rule = jaxhp.enough(at_least=0)
    assert not rule(told(falling(9)))
    assert not rule(told([1.0] * 30))
    assert not jaxhp.enough(100.0)(told(falling(19))) and jaxhp.enough(100.0)(told(falling(20)))


def test_an_exhausted_space_is_enough() -> None:
    study = Study(Space({"a": Int(1, 20)}), sampler=jaxhp.bayes()).optimize(lambda t: t["a"], trials=20)
    assert jaxhp.enough(1e-9)(study)


@pytest.mark.parametrize("arguments", [{"gain": 0.0}, {"gain": math.nan}, {"gain": "little"}, {"more": 0}, {"at_least": -1}, {"more": 1.5}])
def test_impossible_arguments_of_enough_are_refused(arguments: Any) -> None:
    with pytest.raises(StudyError, match=r"enough\("):
        jaxhp.enough(**arguments)


def test_enough_of_several_objectives_is_refused_when_it_is_asked() -> None:
    study = Study(LINE, directions={"a": "minimize", "b": "minimize"}, sampler=jaxhp.sobol())
    with pytest.raises(StudyError, match="one objective"):
        study.optimize(lambda t: {"a": t["x"], "b": -t["x"]}, trials=20, until=jaxhp.enough())


# --- the command and the report -----------------------------------------------------------------------------------------------


def test_the_command_prints_what_the_study_says(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    study = Study(SQUARE, storage=f"sqlite:///{path}", metric="loss").optimize(bowl, trials=25)
    shown = CliRunner().invoke(app, ["forecast", str(path), "--more", "30"])
    assert shown.exit_code == 0
    for text in study.forecast(30).facts().values():
        assert text in shown.output
    read = json.loads(CliRunner().invoke(app, ["forecast", str(path), "--json"]).output)
    assert read["chance"] == study.forecast().chance and read["more"] == 50


def test_the_command_explains_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    Study(SQUARE, storage=f"sqlite:///{path}").optimize(bowl, trials=3)
    result = CliRunner().invoke(app, ["forecast", str(path)])
    assert result.exit_code == 2 and "tell at least 7 more" in result.stderr


def test_the_report_has_the_forecast_where_there_is_one() -> None:
    study = told(falling(30))
    assert f"{study.forecast().chance:.0%} that value improves" in jaxhp.report.html(study)
    assert "more trials</h2>" not in jaxhp.report.html(told(falling(5)))
