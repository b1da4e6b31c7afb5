"""Patience: a trial that has stopped improving is stopped (early stopping on a plateau; Prechelt, Early stopping - but when?, 1998).

It looks at one trial at a time and combines with a scheduler that compares trials.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from jaxhp._arguments import is_real, is_whole, plain_arguments
from jaxhp._types import ENDED, Bools, Decision, Ints, Problem, Scheduler, Slots, Status, Trials
from jaxhp.errors import SchedulerError
from jaxhp.schedulers._curve import Curve
from jaxhp.schedulers._events import events
from jaxhp.schedulers._plain import to_the_end


class PatienceState(NamedTuple):
    inner: Any
    curves: dict[int, Curve]


@plain_arguments
def patience(reports: int, min_delta: float = 0.0, scheduler: Scheduler | None = None) -> Scheduler:
    """Stops a trial whose last `reports` reports brought no improvement over its best before.

    Args:
        reports: how many reports in a row may disappoint (a number of reports, not of steps).
        min_delta: an improvement of the first metric counts when it is larger than this.
        scheduler: who compares trials with each other; both must let a trial go on. None: nobody.

    Raises:
        SchedulerError: reports below 1, a min_delta that is negative or not finite, or something else than a scheduler.

    >>> patience(5, scheduler=to_the_end()).name
    'patience(5, min_delta=0.0, scheduler=to_the_end())'
    """
    if scheduler is not None and not isinstance(scheduler, Scheduler):
        raise SchedulerError(f"patience: scheduler: expected a jaxhp scheduler, got {scheduler!r}; is a pair of parentheses missing?")
    inner = scheduler if scheduler is not None else to_the_end()
    name = f"patience({reports!r}, min_delta={min_delta!r}, scheduler={inner.name})"
    if not is_whole(reports) or reports < 1:
        raise SchedulerError(f"{name}: reports: expected an integer of at least 1, got {reports!r}")
    if not is_real(min_delta) or not 0 <= min_delta < math.inf:
        raise SchedulerError(f"{name}: min_delta: expected a finite number of at least 0, got {min_delta!r}")

    def init(problem: Problem, seed: int) -> PatienceState:
        return PatienceState(inner.init(problem, seed), {})

    def tell(state: PatienceState, rows: Trials) -> PatienceState:
        for _, number, status, step, y in events(rows):
            if status == Status.REPORTED:
                state.curves.setdefault(number, Curve()).report(step, y)
            elif status in ENDED:
                state.curves.pop(number, None)
        return state._replace(inner=inner.tell(state.inner, rows))

    def improves(curve: Curve | None) -> bool:
        if curve is None or len(curve.values) <= reports:
            return True
        return min(curve.values[-reports:]) < curve.best[-reports - 1] - min_delta

    def keep(state: PatienceState, numbers: Ints) -> Bools:
        own = np.array([improves(state.curves.get(n)) for n in numbers.tolist()], dtype=np.bool_)
        return own & inner.keep(state.inner, numbers)

    def decide(state: PatienceState, slots: Slots) -> Decision:
        return inner.decide(state.inner, slots)

    return Scheduler(init, tell, keep, decide, name, inner.every)
