"""No early stopping: every trial runs to the end. What `study.train` does when it is given no scheduler."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxhp._types import Bools, Decision, Ints, Problem, Scheduler, Slots, Trials
from jaxhp.errors import SchedulerError
from jaxhp.schedulers._placement import Job, fresh_jobs, place
from jaxhp.schedulers._rungs import Climb, fold_rows


class PlainState(NamedTuple):
    problem: Problem
    trials: dict[int, Climb]


def to_the_end() -> Scheduler:
    """Each trial runs for all the steps of the study.

    >>> to_the_end().name
    'to_the_end()'
    """
    name = "to_the_end()"

    def init(problem: Problem, seed: int) -> PlainState:
        return PlainState(problem, {})

    def tell(state: PlainState, rows: Trials) -> PlainState:
        def reported(number: int, trial: Climb, step: float, y: float) -> None:
            trial.report((), step, y)

        def finished(number: int, trial: Climb, status: int) -> None:
            trial.final = True

        fold_rows(state.trials, rows, lambda number: None, reported, finished)
        return state

    def keep(state: PlainState, numbers: Ints) -> Bools:
        return np.ones(len(numbers), dtype=np.bool_)

    def decide(state: PlainState, slots: Slots) -> Decision:
        steps, trials = state.problem.steps, state.trials
        if steps is None:
            raise SchedulerError(f"{name}.decide: the problem has no steps; a black box runs until its function returns")
        held = [n for n in sorted(slots.held.tolist()) if n >= 0 and not trials[n].final and trials[n].step < steps]
        jobs = [Job(number, steps, False) for number in held]
        jobs += fresh_jobs(name, trials, slots, len(slots.held) - len(jobs), lambda number: steps)
        return place(slots, jobs, trials, state.problem.space.d)

    return Scheduler(init, tell, keep, decide, name)
