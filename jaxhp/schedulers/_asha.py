"""ASHA: asynchronous successive halving, Li et al., A system for massively parallel hyperparameter tuning (MLSys 2020).

Notation of the paper: rung i compares trials that trained for r_i = r eta^i steps (r: `min_steps`); R is the last step.
Lanes use its promotion variant (Algorithm 2): a free lane takes a trial that is among the best one in eta of its rung and was not
promoted yet, from the highest rung that has one, else a new trial at the bottom. Nobody ever waits.
Black boxes cannot pause, so they use the stopping variant: at a rung, who is not among the best one in eta of those that
the rung has seen so far is stopped.
Several brackets, whose lowest rungs differ, share the lanes: their rungs are apart, and "the highest rung" is the one nearest to R.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from jaxhp._arguments import plain_arguments
from jaxhp._types import Bools, Decision, Ints, Problem, Scheduler, Slots, Status, Trials
from jaxhp.errors import SchedulerError
from jaxhp.schedulers._cycle import Cycle, cycle
from jaxhp.schedulers._placement import Job, fresh_jobs, place
from jaxhp.schedulers._rungs import Climb, Key, among_the_best, check_arguments, fold_rows, insert, ladder, remove


@dataclass(slots=True)
class Rung:
    """Sorted lists, which grow in place."""

    seen: list[Key] = field(default_factory=list)  # every trial that was compared here
    open: list[Key] = field(default_factory=list)  # those that stand here: finite, not seen further, not finished


class AshaState(NamedTuple):
    problem: Problem
    cycle: Cycle  # of one bracket, or of those of Hyperband
    trials: dict[int, Climb]
    rungs: tuple[tuple[Rung, ...], ...]  # per bracket, one per step of its ladder


@plain_arguments
def asha(eta: int = 3, min_steps: int = 1, max_steps: int | None = None) -> Scheduler:
    """Asynchronous successive halving: of those that reach a rung, the best one in `eta` go on, and nobody waits for others.

    Trials are compared at min_steps * eta^i, below `max_steps`, by the first metric; a result that is not finite ranks last and never goes
    on, and a trial that fails counts as such at the rung that it did not reach. In lanes, trials pause at a rung and are promoted when
    they are among its best floor(n / eta); should nothing be left to do before a trial got past the highest rung, its best one goes on, so
    that small studies end with a full run. A black box that reports is stopped at a rung unless it is among the best
    max(1, floor(n / eta)) seen there so far; a report between rungs counts at the last one that it passed.

    Args:
        eta: one in eta goes on.
        min_steps: the first rung; in the unit of the steps that trials report. Lanes evaluate all trials this often: with 1, after every
            step, which costs far more than the training. Between a tenth and a thirtieth of a run is a fair start.
        max_steps: nobody is compared from here on; by default the steps of a full run, where the study trains.

    Raises:
        SchedulerError: eta below 2, min_steps below 1 or above max_steps; when training starts: above the steps of a full run.

    >>> import jaxhp
    >>> def objective(trial):
    ...     for epoch in range(1, 28):
    ...         loss = trial["x"] ** 2 + 1 / epoch
    ...         if trial.report(epoch, loss):
    ...             break
    ...     return loss
    >>> space = jaxhp.Space({"x": jaxhp.Float(-1.0, 1.0)})
    >>> study = jaxhp.Study(space, sampler=jaxhp.sobol(), scheduler=jaxhp.asha(max_steps=27), seed=0)
    >>> sum(trial.status == jaxhp.Status.STOPPED for trial in study.optimize(objective, trials=27).finished) > 13
    True
    """
    name = f"asha(eta={eta!r}, min_steps={min_steps!r}{'' if max_steps is None else f', max_steps={max_steps!r}'})"
    check_arguments(name, eta, min_steps, max_steps)

    def plan(problem: Problem) -> Cycle:
        return cycle((ladder(name, problem, eta, min_steps, max_steps),), (1,))

    return asynchronous_brackets(name, eta, min_steps, plan)


def asynchronous_brackets(name: str, eta: int, every: int, plan: Callable[[Problem], Cycle]) -> Scheduler:
    """ASHA in each bracket of a plan."""

    def init(problem: Problem, seed: int) -> AshaState:
        brackets = plan(problem)
        return AshaState(problem, brackets, {}, tuple(tuple(Rung() for _ in rungs.steps) for rungs in brackets.ladders))

    def keep(state: AshaState, numbers: Ints) -> Bools:
        return np.array([_goes_on(state, n, eta) for n in numbers.tolist()], dtype=np.bool_)

    def decide(state: AshaState, slots: Slots) -> Decision:
        if state.cycle.ladders[0].last is None:
            raise SchedulerError(f"{name}.decide: how long is a full run? Give max_steps=, or a problem with steps")
        room = len(slots.held)
        elsewhere = {*slots.running.tolist(), *slots.fresh.tolist()}
        jobs = _promotions(state, elsewhere, room, eta)
        jobs += fresh_jobs(name, state.trials, slots, room - len(jobs), lambda number: state.cycle.ladder(number).steps[0])
        if not jobs and room and not len(slots.running):
            jobs = _last_resort(state, elsewhere)
        return place(slots, jobs, state.trials, state.problem.space.d)

    return Scheduler(init, _tell, keep, decide, name, every)


def _tell(state: AshaState, rows: Trials) -> AshaState:
    cycle = state.cycle

    def reported(number: int, trial: Climb, step: float, y: float) -> None:
        j = cycle.of(number)[1]
        rungs, steps, judged = state.rungs[j], cycle.ladders[j].steps, cycle.ladders[j].judged
        before, key = trial.rung, (trial.value, number)
        enters = trial.report(steps, step, y)
        if before >= 0 and trial.past(before):
            remove(rungs[before].open, key)
        if enters:
            key = (trial.value, number)
            insert(rungs[trial.rung].seen, key)
            if trial.rung < judged and trial.value < math.inf and not trial.final:
                insert(rungs[trial.rung].open, key)

    def finished(number: int, trial: Climb, status: int) -> None:
        trial.final = True
        rungs = state.rungs[cycle.of(number)[1]]
        if trial.rung >= 0:
            remove(rungs[trial.rung].open, (trial.value, number))
        if status == Status.FAILED and trial.rung + 1 < len(rungs):
            trial.rung, trial.value = trial.rung + 1, math.inf
            insert(rungs[trial.rung].seen, (math.inf, number))

    fold_rows(state.trials, rows, lambda number: None, reported, finished)
    return state


def _goes_on(state: AshaState, number: int, eta: int) -> bool:
    trial = state.trials.get(number)
    j = state.cycle.of(number)[1]
    if trial is None or not trial.at_rung or trial.rung >= state.cycle.ladders[j].judged or state.problem.steps is not None:
        return True  # lanes pause at rungs, and `decide` answers there
    return among_the_best(state.rungs[j][trial.rung].seen, (trial.value, number), eta)


def _levels(state: AshaState) -> list[list[tuple[Rung, int]]]:
    """The rungs that lie k rungs below the end, k = 0, 1, ..., each with the step to which it promotes."""
    ladders = state.cycle.ladders
    levels: list[list[tuple[Rung, int]]] = [[] for _ in range(max(rungs.judged for rungs in ladders) + 1)]
    for rungs, (steps, judged, _) in zip(state.rungs, ladders, strict=True):
        for i, rung in enumerate(rungs):
            levels[judged - i].append((rung, steps[min(i + 1, judged)]))
    return levels


def _promotions(state: AshaState, elsewhere: set[int], room: int, eta: int) -> list[Job]:
    """Algorithm 2, get_job, for `room` lanes: from the highest rung down, the best first."""
    jobs: list[Job] = []
    for level in _levels(state)[1:]:
        for rung, until in level:
            count = len(rung.seen) // eta
            if not count:
                continue
            worst = rung.seen[count - 1]
            for key in rung.open:
                if key > worst or len(jobs) == room:
                    break
                if key[1] not in elsewhere:
                    jobs.append(Job(key[1], until, False))
    return jobs


def _last_resort(state: AshaState, elsewhere: set[int]) -> list[Job]:
    """The best trial of the highest rungs that saw a finite value, unless that is the end of a run."""
    for level in _levels(state):
        if any(rung.seen and rung.seen[0][0] < math.inf for rung, _ in level):
            waiting = [(key, until) for rung, until in level for key in rung.open if key[1] not in elsewhere]
            return [Job(number, until, False) for (_, number), until in sorted(waiting)[:1]]
    return []
