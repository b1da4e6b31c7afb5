"""The median stopping rule: Golovin et al., Google Vizier: a service for black-box optimization (KDD 2017), section 3.2.2.

A trial is stopped at step s when its best value up to s is worse than the median of the running averages, up to s, of the others.
It assumes no form of curve, needs no rungs, and stops about the worse half at most; it combines with `patience`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any, NamedTuple

import numpy as np

from jaxhp._arguments import is_whole, plain_arguments
from jaxhp._types import Bools, Decision, Ints, Problem, Scheduler, Slots, Status, Trials
from jaxhp.errors import SchedulerError
from jaxhp.schedulers._curve import Curve
from jaxhp.schedulers._events import events
from jaxhp.schedulers._plain import to_the_end
from jaxhp.schedulers._rungs import check_integer, check_length


class MedianState(NamedTuple):
    steps: int | None  # of a full run
    plain: Any  # state of `to_the_end`, which fills the lanes
    curves: dict[int, Curve]  # of all trials that reported, also of those that ended


@plain_arguments
def median_stopping(min_steps: int = 1, every: int | None = None, after: int = 5) -> Scheduler:
    """Stops a trial whose best value so far is worse than the median of the others' running averages up to the same step.

    It is asked at every report. The others are all trials that reported at this step or beyond it, whether they run, are finished or were
    stopped later (Vizier: those that completed); the average of each is over its reports up to this step. A report that is not finite
    makes an average infinite. In lanes, trials start in order and run to the end unless they are stopped at a report.

    Args:
        min_steps: nobody is stopped before this step; in the unit of the steps that trials report.
        every: the steps between two reports that lanes shall make; None: as the study has it.
        after: nobody is stopped before this many others have come as far.

    Raises:
        SchedulerError: an argument below 1; when training starts: min_steps above the steps of a full run.

    >>> median_stopping(min_steps=10).name
    'median_stopping(min_steps=10, after=5)'
    """
    name = f"median_stopping(min_steps={min_steps!r}{'' if every is None else f', every={every!r}'}, after={after!r})"
    check_integer(name, "min_steps", min_steps, 1)
    check_integer(name, "after", after, 1)
    if every is not None and (not is_whole(every) or every < 1):
        raise SchedulerError(f"{name}: every: expected a positive number of steps between reports, or None, got {every!r}")
    plain = to_the_end()

    def init(problem: Problem, seed: int) -> MedianState:
        check_length(name, problem, min_steps)
        return MedianState(problem.steps, plain.init(problem, seed), {})

    def tell(state: MedianState, rows: Trials) -> MedianState:
        for _, number, status, step, y in events(rows):
            if status == Status.REPORTED:
                state.curves.setdefault(number, Curve()).report(step, y)
        return state._replace(plain=plain.tell(state.plain, rows))

    def keep(state: MedianState, numbers: Ints) -> Bools:
        at: dict[float, list[float]] = {}  # running averages of who came as far as a step, sorted; lanes stand at few different ones
        kept = np.ones(len(numbers), dtype=np.bool_)
        for i, number in enumerate(numbers.tolist()):
            curve = state.curves.get(number)
            if curve is None or curve.steps[-1] < min_steps or (state.steps is not None and curve.steps[-1] >= state.steps):
                continue
            step = curve.steps[-1]
            if step not in at:
                at[step] = _averages(state.curves, step)
            if len(at[step]) > after:  # itself is one of them
                kept[i] = curve.best[-1] <= _median_without(at[step], curve.mean[-1])
        return kept

    def decide(state: MedianState, slots: Slots) -> Decision:
        return plain.decide(state.plain, slots)

    return Scheduler(init, tell, keep, decide, name, every)


def _averages(curves: dict[int, Curve], step: float) -> list[float]:
    """Of those that reported at a step or beyond it, and at it or before it."""
    far = (curve for curve in curves.values() if curve.steps[0] <= step <= curve.steps[-1])
    return sorted(curve.mean[bisect_right(curve.steps, step) - 1] for curve in far)


def _median_without(values: list[float], left_out: float) -> float:
    """The median of a sorted list without one of its members, halved before it is added so that it cannot overflow."""
    gone, n = bisect_left(values, left_out), len(values) - 1
    low, high = (values[i + (i >= gone)] for i in ((n - 1) // 2, n // 2))
    return low if low == high else low / 2 + high / 2
