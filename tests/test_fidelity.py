"""What values of unfinished trials say of the end: a slow twin, and what bayes and its model make of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxhp
from jaxhp._types import Floats, Outcome, Problem, Status, Trials
from jaxhp.analysis._model import modelled
from jaxhp.samplers._fidelity import END, Fidelity
from jaxhp.samplers._model import Model
from jaxhp.testing import rows, simulated
from jaxhp.testing._histories import joined

Told = tuple[int, int, float, float]  # number, status, step, y
STANDING = (Status.PAUSED, Status.STOPPED)


def twin(history: list[Told]) -> dict[float, tuple[float, float]]:
    """(shift, spread) of each level, from the whole history at once."""
    curves: dict[int, dict[float, float]] = {}
    ends, levels = {}, set()
    for number, status, step, y in history:
        if status == Status.COMPLETE:
            ends[number] = y
        elif status == Status.REPORTED or (status in STANDING and math.isfinite(y) and max(curves.get(number, {}), default=None) != step):
            curve = curves.setdefault(number, {})
            for later in [s for s in curve if s >= step]:
                del curve[later]
            curve[step] = y
        if status in STANDING and math.isfinite(y):
            levels.add(step)
    seen = [
        {n: curve[max(s for s in curve if s <= level)] for n, curve in curves.items() if min(curve) <= level <= max(curve)}
        for level in sorted(levels)
    ]
    found = {}
    shift = variance = 0.0
    for level, here, further in reversed(list(zip(sorted(levels), seen, [*seen, ends][1:], strict=True))):
        d = sorted(further[n] - here[n] for n in here if n in further and math.isfinite(further[n] - here[n]))
        if d:
            middle = float(np.median(d))
            shift += middle
            variance += (1.4826 * float(np.median([abs(x - middle) for x in d]))) ** 2
        found[level] = shift, math.sqrt(variance)
    return found


STATUS = st.sampled_from([Status.REPORTED, Status.REPORTED, Status.PAUSED, Status.STOPPED, Status.COMPLETE, Status.FAILED])
VALUE = st.one_of(st.floats(-9.0, 9.0), st.sampled_from([math.nan, math.inf, -math.inf]))
HISTORY = st.lists(st.tuples(st.integers(-2, 6), STATUS, st.sampled_from([1.0, 2.0, 3.0, 5.0, 9.0]), VALUE), max_size=60)


@settings(derandomize=True, max_examples=400, deadline=None)
@given(HISTORY, st.integers(0, 60))
def test_values_are_brought_to_the_end_as_by_the_slow_twin(history: list[Told], asked: int) -> None:
    """Whatever was asked in between, trials begun again, levels that come late, values that are not finite."""
    curves = Fidelity()
    for i, (number, status, step, y) in enumerate(history):
        stands = curves.tell(number, status, step, y)
        if status != Status.REPORTED:
            assert stands == (step if status in STANDING and math.isfinite(y) else END)
        if i == asked:
            for level in twin(history[: i + 1]):
                curves.brought(level)
    for level, (shift, spread) in twin(history).items():
        assert curves.brought(level) == (pytest.approx(shift, abs=1e-9), pytest.approx(spread, abs=1e-9))
    assert curves.brought(END) == (0.0, 0.0)


def test_huge_values_are_brought_without_a_warning() -> None:
    curves = Fidelity()
    for number, (early, late) in enumerate([(1e308, -1e308), (1e308, -1e307), (-1e308, 1.7e308), (1.0, 1.7e308), (2.0, 1.7e308)]):
        curves.tell(number, Status.PAUSED, 1.0, early)
        curves.tell(number, Status.COMPLETE, 9.0, late)
    shift, spread = curves.brought(1.0)
    assert not math.isnan(shift) and not math.isnan(spread)


def test_a_stopped_trial_without_a_step_stands_at_its_last_report_and_at_the_end_if_it_never_reported() -> None:
    curves = Fidelity()
    curves.tell(0, Status.REPORTED, 4.0, 1.0)
    assert curves.tell(0, Status.STOPPED, math.nan, 1.0) == 4.0
    assert curves.tell(1, Status.STOPPED, math.nan, 1.0) == END


# -- the model -----------------------------------------------------------------------------------------------------------


def told(fidelity: Fidelity, model: Model, number: int, early: float, late: float | None) -> None:
    u = np.array([(number * 0.618) % 1.0])
    row = model.n
    model.tell(u, early, 0.0, fidelity.tell(number, Status.PAUSED, 1.0, early))
    if late is not None:
        model.revise(row, u, late, 0.0, fidelity.tell(number, Status.COMPLETE, 9.0, late))


def test_rows_of_a_model_stand_at_the_end_with_the_noise_of_getting_there() -> None:
    fidelity = Fidelity()
    model = Model(np.zeros(1, np.int8), 0, 4, fidelity=fidelity)
    for number, (early, late) in enumerate([(5.0, 1.0), (6.0, 3.0), (7.0, 2.0), (4.0, None), (9.0, None)]):
        told(fidelity, model, number, early, late)
    shift, spread = fidelity.brought(1.0)  # differences -4, -3, -5
    assert (shift, spread) == (-4.0, pytest.approx(1.4826))
    np.testing.assert_allclose(model.y[:5], [1.0, 3.0, 2.0, 0.0, 5.0])
    np.testing.assert_allclose(model.noise[:5], [0.0, 0.0, 0.0, spread, spread])
    told(fidelity, model, 5, 8.0, 0.0)  # a difference of -8 changes what the others are brought to
    np.testing.assert_allclose(model.y[:6], [1.0, 3.0, 2.0, -0.5, 4.5, 0.0])
    assert set(model.short) == {3, 4}


# -- bayes ---------------------------------------------------------------------------------------------------------------

SPACE = jaxhp.Space({"x": jaxhp.Float(0.0, 1.0), "y": jaxhp.Float(0.0, 1.0)})
PROBLEM = Problem(SPACE, SPACE.dims, (Outcome("loss"),))


def asked(history: Trials, n: int = 4) -> Floats:
    sampler = jaxhp.bayes()
    first = int(history.number.max()) + 1
    return sampler.ask(sampler.tell(sampler.init(PROBLEM, 0), history), np.arange(first, first + n, dtype=np.int64))


def finished(n: int, status: int = Status.COMPLETE) -> tuple[Floats, Floats, Trials]:
    u = SPACE.snap(np.random.default_rng(0).random((n, 2)))
    y = ((u - 0.3) ** 2).sum(axis=1, keepdims=True)
    return u, y, rows(np.arange(n), u, y, status)


def test_reports_change_nothing_where_every_trial_runs_to_its_end() -> None:
    u, y, complete = finished(20)
    reports = [rows(np.arange(20), u, y + 9.0 / step, Status.REPORTED)._replace(fidelity=np.full(20, step)) for step in (1.0, 3.0)]
    assert asked(joined([*reports, complete])).tobytes() == asked(complete).tobytes()
    assert asked(complete._replace(fidelity=np.arange(20) % 3 + 1.0)).tobytes() == asked(complete).tobytes()  # complete is complete


def test_stopped_trials_of_one_step_are_compared_with_each_other_as_complete_ones_are() -> None:
    """Nobody went further, so nothing is added to a value, and all stand on one level."""
    _, _, stopped = finished(20, Status.STOPPED)
    assert asked(stopped._replace(fidelity=np.full(20, 3.0)))[1].tobytes() != asked(stopped)[0].tobytes()
    sampler = jaxhp.bayes()
    state = sampler.tell(sampler.init(PROBLEM, 0), stopped._replace(fidelity=np.full(20, 3.0)))
    assert not state.model.noise[:20].any() and state.model.y[:20].tolist() == stopped.y[:, 0].tolist()


@pytest.mark.parametrize("early", [-50.0, 50.0])
def test_early_values_do_not_pass_for_ends_whether_they_are_lower_or_higher(early: float) -> None:
    """Half of the trials stop at step 1 with values that lie 50 off: suggestions are those of a study in which all ran to the end."""
    n = 30
    u, y, complete = finished(n)
    half = np.arange(n) % 2 == 1
    reports = rows(np.arange(n), u, y + early, Status.REPORTED)._replace(fidelity=np.ones(n))
    status = np.where(half, Status.STOPPED, Status.COMPLETE).astype(np.int8)
    mixed = rows(np.arange(n), u, np.where(half[:, None], y + early, y), status)._replace(fidelity=np.where(half, 1.0, 9.0))
    sampler = jaxhp.bayes()
    state = sampler.tell(sampler.init(PROBLEM, 0), joined([reports, mixed]))
    np.testing.assert_allclose(state.model.y[:n], y[:, 0], atol=1e-9)
    assert np.abs(asked(joined([reports, mixed]), 1) - asked(complete, 1)).max() < 0.05


@pytest.mark.parametrize("make", [jaxhp.asha, jaxhp.hyperband, jaxhp.median_stopping], ids=lambda m: m.__name__)
def test_bayes_finds_the_end_of_curves_under_any_scheduler(make: Any) -> None:
    """Rows as lanes tell them: what the model holds is the twin's, told at once or one by one, whoever asks in between."""
    problem = PROBLEM._replace(steps=27)
    run = simulated(make(), problem, 0, lambda n, step: float((n * 7) % 11) + 27.0 / step, trials=70)
    told_rows = run.rows
    history = list(
        zip(told_rows.number.tolist(), told_rows.status.tolist(), told_rows.fidelity.tolist(), told_rows.y[:, 0].tolist(), strict=True)
    )
    sampler = jaxhp.bayes()
    state, single = sampler.init(PROBLEM, 0), sampler.init(PROBLEM, 0)
    state = sampler.tell(state, told_rows)
    for i in range(len(history)):
        single = sampler.tell(single, Trials._make(column[i : i + 1] for column in told_rows))
        if i % 3 == 0 or i > len(history) - 9:
            sampler.ask(single, np.array([98, 99], np.int64))  # 99 looks at the neighbourhood
    for number in (98, 99):
        number = np.array([number], np.int64)
        assert sampler.ask(state, number).tobytes() == sampler.ask(single, number).tobytes()
    for level, brought in twin([row for row in history if row[1] != Status.PENDING]).items():
        assert state.fidelity.brought(level) == pytest.approx(brought)


def test_an_ask_before_a_paused_trial_goes_on_changes_nothing_afterwards() -> None:
    """What was computed for the old value of the trial is not used again: neither the neighbourhood's surrogate nor believers."""
    n = 70
    u, y, paused = finished(n, Status.PAUSED)
    best = int(y[:, 0].argmin())
    late = rows(np.array([best]), u[[best]], np.array([[2.0]]), Status.COMPLETE)
    waiting = rows(np.array([n]), SPACE.snap(np.array([[0.9, 0.9]])))
    sampler = jaxhp.bayes()
    early = joined([paused._replace(fidelity=np.full(n, 3.0)), waiting])
    at_once, interrupted = (sampler.tell(sampler.init(PROBLEM, 0), early) for _ in range(2))
    numbers = [np.array([number], np.int64) for number in (98, 99)]  # 99 looks at the neighbourhood
    for number in numbers:
        sampler.ask(interrupted, number)
    at_once, interrupted = sampler.tell(at_once, late), sampler.tell(interrupted, late)
    for number in numbers:
        assert sampler.ask(at_once, number).tobytes() == sampler.ask(interrupted, number).tobytes()


def test_what_is_explained_of_a_study_with_stops_stands_at_the_end_of_its_trials() -> None:
    def objective(trial: jaxhp.Trial) -> float:
        loss = math.nan
        for epoch in range(1, 10):
            loss = (trial["x"] - 0.3) ** 2 + 9.0 / epoch
            if trial.report(epoch, loss):
                break
        return loss

    study = jaxhp.Study(SPACE, sampler=jaxhp.bayes(), scheduler=jaxhp.asha(max_steps=9), seed=0).optimize(objective, trials=40)
    model = modelled(study)
    assert sum(t.status == Status.STOPPED for t in study.finished) == len(model.short) > 10
    np.testing.assert_allclose(model.y[: model.n], (model.u[: model.n, 0] - 0.3) ** 2 + 1.0, atol=1e-9)
    assert study.explain().failed == 0
