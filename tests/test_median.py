"""The median stopping rule: worked examples, a slow twin, lanes, and values that overflow."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scheduler_reference import BlackBox, problem, reports

from jaxhp import Status
from jaxhp.schedulers import median_stopping, patience
from jaxhp.testing import simulated


def test_a_trial_is_stopped_when_its_best_is_worse_than_the_median_of_the_averages_of_the_others() -> None:
    """Averages over the first two reports: 2, 3, 4 of trials 0, 1, 2; their median is 3."""
    box = BlackBox(median_stopping(after=3))
    for number, curve in enumerate([[3.0, 1.0], [3.0, 3.0], [2.0, 6.0]]):
        assert all(box.report(number, step, y) for step, y in enumerate(curve, 1))
    for number, curve, goes_on in ((3, [9.0, 3.5], False), (4, [3.25, 9.0], True), (5, [9.0, 3.25], True)):
        box.report(number, 1, curve[0])
        assert box.report(number, 2, curve[1]) == goes_on, number


def test_a_tie_with_the_median_goes_on() -> None:
    box = BlackBox(median_stopping(after=1))
    assert all(box.report(number, step, 0.1) for number in range(4) for step in range(1, 8))


def test_nobody_is_stopped_before_min_steps_nor_before_enough_others_came_as_far() -> None:
    box = BlackBox(median_stopping(min_steps=3, after=2))
    for number in range(3):
        assert all(box.report(number, step, float(number)) for step in (1, 2))
    assert [box.report(number, 3, float(number)) for number in (2, 1, 0)] == [True, True, True]  # the others are 0, 1, then 2
    assert box.report(3, 2, 9.0) and not box.report(3, 3, 9.0)
    assert box.report(4, 4, 9.0)  # nobody else is at 4


def test_reports_beyond_the_step_are_not_compared() -> None:
    """What others reported later does not count, and who began to report later is not there."""
    box = BlackBox(median_stopping(after=1))
    for step, y in ((2, 5.0), (4, -100.0)):
        box.report(0, step, y)
    assert box.report(1, 2, 4.0) and box.report(2, 1, 50.0)
    assert box.report(3, 3, 5.0) and not box.report(3, 4, 5.0)  # at 3 against 0 alone: its average is 5; at 4, -47.5


def test_trials_that_ended_are_compared_with_as_far_as_they_came() -> None:
    box = BlackBox(median_stopping(after=2))
    for number, how in ((0, Status.STOPPED), (1, Status.FAILED), (2, Status.COMPLETE)):
        for step in range(1, 3 + number):
            box.report(number, step, float(number))
        box.tell(number, how, 2 + number, float(number))
    assert [box.report(3, step, 1.5) for step in (2, 3, 4)] == [False, True, True]  # medians 1; 1.5; and 2 alone


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_the_worst(bad: float) -> None:
    box = BlackBox(median_stopping(after=1))
    assert box.report(0, 1, 1.0) and not box.report(1, 1, bad)
    others = BlackBox(median_stopping(after=1))
    assert others.report(0, 1, bad) and others.report(1, 1, bad) and others.report(2, 1, 1e308)


def test_values_that_are_too_large_to_add_are_compared() -> None:
    box = BlackBox(median_stopping(after=2))
    for number in (0, 1):
        assert all(box.report(number, step, 1.7e308) for step in (1, 2, 3))
    assert all(box.report(2, step, -1.7e308 if step % 2 else 1.7e308) for step in (1, 2, 3))
    assert box.report(3, 3, 1.7e308) and not box.report(3, 3, 1.75e308)


def test_a_trial_that_starts_again_takes_its_later_reports_back() -> None:
    box = BlackBox(median_stopping(after=1))
    assert all(box.report(0, step, 1.0) for step in (1, 2, 3))
    assert box.report(0, 1, 1.0)
    assert box.report(1, 3, 9.0)  # 0 is at 1 again
    assert not box.report(1, 1, 9.0)


def slow_rule(stream: list[tuple[int, int, float]], least: int, after: int) -> bool:
    """The rule for the last of all reports, from the definition."""
    curves: dict[int, dict[int, float]] = {}
    for number, step, y in stream:
        curve = curves.setdefault(number, {})
        for later in [s for s in curve if s >= step]:
            del curve[later]
        curve[step] = y if math.isfinite(y) else math.inf
    number, step, _ = stream[-1]
    averages = []
    for other, curve in curves.items():
        before = [y for s, y in curve.items() if s <= step]
        if other != number and before and max(curve) >= step:
            averages.append(sum(before) / len(before))
    if step < least or len(averages) < after:
        return True
    averages.sort()
    n = len(averages)
    median = averages[n // 2] if n % 2 else (averages[n // 2 - 1] + averages[n // 2]) / 2
    return min(curves[number].values()) <= median


WHOLE = st.one_of(st.integers(-3, 3).map(lambda i: 60.0 * i), st.sampled_from([math.nan, math.inf, -math.inf]))  # averages of six are exact
STREAM = st.lists(st.tuples(st.integers(0, 7), st.integers(1, 6), WHOLE), min_size=1, max_size=60)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), STREAM)
def test_it_stops_whom_its_slow_twin_stops(least: int, after: int, stream: list[tuple[int, int, float]]) -> None:
    box = BlackBox(median_stopping(min_steps=least, after=after))
    for i, (number, step, y) in enumerate(stream):
        assert box.report(number, step, y) == slow_rule(stream[: i + 1], least, after)


def test_lanes_stop_at_reports_and_nobody_at_the_end() -> None:
    """The first trials set the median; later ones that are worse stop at 13 of 27 steps, half of the way to their `until`."""
    run = simulated(median_stopping(after=3), problem(27), 0, lambda n, step: float(n), 20, 2)
    assert {until for moment in run.moments for until in moment.decision.until[moment.decision.number >= 0].tolist()} == {27}
    ended = {status: set(run.rows.number[run.rows.status == status].tolist()) for status in (Status.STOPPED, Status.COMPLETE)}
    assert ended[Status.COMPLETE] == {0, 1, 2, 3} - ended[Status.STOPPED] and ended[Status.STOPPED] >= set(range(4, 20))
    assert {step for n, step in reports(run) if n in ended[Status.STOPPED]} == {13}


def test_the_wish_for_reports_is_its_every_and_combines_with_patience() -> None:
    assert median_stopping().every is None and median_stopping(every=7).every == 7
    assert patience(3, scheduler=median_stopping(every=7)).every == 7
    box = BlackBox(patience(1, scheduler=median_stopping(after=1)))
    assert box.report(0, 1, 1.0) and not box.report(1, 1, 2.0) and not box.report(0, 2, 1.0)


def test_many_are_judged_at_once_as_one_by_one() -> None:
    box = BlackBox(median_stopping(after=2))
    for number in range(30):
        for step in range(1, 2 + number % 4):
            box.report(number, step, float((7 * number + step) % 11))
    numbers = np.arange(30)
    kept = box.scheduler.keep(box.state, numbers)
    assert kept.tolist() == [box.keep(n) for n in numbers.tolist()] and 5 < kept.sum() < 25
