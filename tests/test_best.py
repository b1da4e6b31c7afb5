"""`study.best` of a stochastic study: what the surrogate trusts, not what was lucky."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jaxhp
from jaxhp import Float, Space, Status, Study, Trial
from jaxhp.analysis import _best, _model
from jaxhp.report._columns import columns
from jaxhp.samplers._model import Model

SQUARE = Space({"x": Float(-1.0, 1.0), "y": Float(-1.0, 1.0)})


def bowl(trial: Trial) -> float:
    return trial["x"] ** 2 + trial["y"] ** 2


def noisy(sd: float, seed: int, sign: float = 1.0) -> Any:
    draw = np.random.default_rng(seed)
    return lambda trial: sign * (bowl(trial) + sd * draw.normal())


def searched(objective: Any, trials: int = 30, **more: Any) -> Study:
    arguments = {"sampler": jaxhp.sobol(), "seed": 3, "stochastic": True} | more
    return Study(SQUARE, **arguments).optimize(objective, trials=trials, max_failed=1.0)


def test_best_is_truly_better_than_the_luckiest_result() -> None:
    trusted, lucky = [], []
    for seed in range(20):
        study = searched(noisy(0.5, seed), 80, seed=seed)
        trusted.append(bowl(study.best))
        lucky.append(bowl(study.best_observed))
    assert np.mean(trusted) < 0.5 * np.mean(lucky) and np.median(trusted) < 0.5 * np.median(lucky)


def test_best_has_the_lowest_mean_plus_deviation_of_the_surrogate() -> None:
    study = searched(noisy(0.5, seed=4), seed=4)
    again = study.finished[7]
    for value in (bowl(again), bowl(again) + 0.1):
        study.add(again.params, value)
    fitted = _model.modelled(study).posterior()
    assert fitted is not None
    mean, variance = jaxhp.gp.predict(fitted[0], np.array([t.u for t in study.finished]))
    assert study.best.number == np.argmin(np.round(mean + _best.CAUTION * np.sqrt(variance), 9))


def test_maximising_mirrors_minimising() -> None:
    for seed in range(5):
        down = searched(noisy(0.5, seed), seed=seed)
        up = searched(noisy(0.5, seed, sign=-1.0), seed=seed, direction="maximize")
        assert up.best.number == down.best.number and up.best.value == -down.best.value


def test_a_lucky_outlier_does_not_win() -> None:
    study = searched(noisy(0.1, seed=0))
    outlier = study.add({"x": 1.0, "y": 1.0}, -0.5)
    assert study.best_observed.number == outlier.number and bowl(study.best) < 0.3


def test_a_study_that_is_not_stochastic_returns_what_it_saw() -> None:
    study = searched(noisy(0.5, seed=2), stochastic=False)
    assert study.best.number == study.best_observed.number
    assert searched(noisy(0.5, seed=2)).best.number != study.best.number


def test_the_first_of_repeats_is_returned() -> None:
    study = searched(noisy(0.1, seed=1))
    first = study.best
    for _ in range(5):
        study.add(first.params, first.value - 1.0)
    assert study.best.number == first.number and study.best_observed.number == 30


def test_a_failure_is_never_best() -> None:
    measured = noisy(0.3, seed=5)

    def objective(trial: Trial) -> float:
        return measured(trial) if bowl(trial) > 0.3 else math.nan

    study = searched(objective, 40)
    assert study.best.status == Status.COMPLETE and bowl(study.best) > 0.3


def test_best_meets_the_constraints_of_a_stochastic_study() -> None:
    measured = noisy(0.3, seed=6)
    study = searched(lambda t: {"value": measured(t), "size": t["x"]}, 40, constraints={"size": ">= 0.4"})
    assert study.best["x"] >= 0.4 and bowl(study.best) < 0.5


@pytest.mark.parametrize("lag", [None, 2])
def test_a_resumed_study_has_the_same_best(tmp_path: Path, lag: int | None) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    study = searched(noisy(0.5, seed=7), storage=storage, sampler=jaxhp.bayes(), lag=lag)
    assert Study.open(storage).best.number == study.best.number
    waiting = [study.ask(), study.ask()]
    for trial in reversed(waiting):  # told out of order, which a lag puts right
        study.tell(trial, bowl(trial))
    assert Study.open(storage).best.number == study.best.number


def test_reading_best_changes_no_later_suggestion() -> None:
    read, unread = Study(SQUARE, stochastic=True, seed=1), Study(SQUARE, stochastic=True, seed=1)
    for number in range(25):
        first, second = read.ask(), unread.ask()
        assert first.params == second.params
        value = bowl(first) + math.sin(number)
        read.tell(first, value)
        unread.tell(second, value)
        assert read.best.number <= number


def test_the_surrogate_is_fitted_once_until_the_study_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    study = searched(noisy(0.5, seed=2))
    made = []
    monkeypatch.setattr(_model, "Model", lambda *arguments, **named: made.append(arguments) or Model(*arguments, **named))
    first, found = study.best.number, study.explain()
    assert study.best.number == first == found.best and len(made) == 1
    study.add({"x": 0.9, "y": 0.9}, 3.0)
    _ = study.best
    assert len(made) == 2


def test_without_a_model_the_best_mean_over_repeats_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(SQUARE, sampler=jaxhp.sobol(), stochastic=True)
    for x, value in ((0.1, 0.0), (0.1, 4.0), (0.2, 1.2), (0.2, 1.0), (0.3, 3.0)):
        study.add({"x": x, "y": 0.0}, value)
    monkeypatch.setattr(Model, "posterior", lambda self: None)
    assert study.best_observed.number == 0 and study.best.number == 2


def test_a_long_study_compares_its_best_results() -> None:
    draw = np.random.default_rng(0)
    study = Study(SQUARE, sampler=jaxhp.sobol(), stochastic=True)
    for x, y in draw.uniform(-1.0, 1.0, size=(600, 2)).tolist():
        study.add({"x": x, "y": y}, x * x + y * y + 0.3 * draw.normal())
    assert bowl(study.best) < 0.02 < bowl(study.best_observed)


def test_the_report_and_a_confirmation_begin_with_the_best() -> None:
    study = searched(noisy(0.5, seed=2))
    assert study.best.number != study.best_observed.number
    shown = columns(study)
    assert [shown.trials[i].number for i in shown.ranked[:2]] == [study.best.number, study.best_observed.number]
    assert [c.number for c in study.confirm(bowl, top=1, repeats=1)] == [study.best.number]
    assert {c.number for c in study.confirm(bowl, top=2, repeats=1)} == {study.best.number, study.best_observed.number}
