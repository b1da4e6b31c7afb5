"""Successive halving: Jamieson and Talwalkar, Non-stochastic best arm identification and hyperparameter optimization (AISTATS 2016).

A bracket is n trials with consecutive numbers. All of them train for r_0 steps, then the best floor(n / eta) of them for r_1, and so
on, until one reaches the end: 27, 9, 3, 1 trials at 1, 3, 9, 27 steps for n = 27, eta = 3. A rung closes when each of its
trials was compared there or is finished; only then is anybody promoted from it. Meanwhile free lanes begin the next bracket.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np

from jaxhp._arguments import changed, is_whole, plain_arguments
from jaxhp._types import Bools, Decision, Ints, Problem, Scheduler, Slots, Trials
from jaxhp.errors import SchedulerError
from jaxhp.schedulers._cycle import Cycle, cycle
from jaxhp.schedulers._placement import Job, fresh_jobs, place
from jaxhp.schedulers._rungs import Climb, Key, Ladder, among_the_best, check_arguments, fold_rows, insert, ladder, remove

_ALL = 1 << 62  # trials: one bracket for every number
Ready: TypeAlias = tuple[int, int, float, int]  # rungs left, bracket, value, number: the highest rung, the earlier bracket, the best first


@dataclass(slots=True)
class Bracket:
    """Sorted lists, which grow in place."""

    ladder: Ladder
    rungs: list[list[Key]]  # every trial that was compared there, or never will be (inf)
    n: int  # trials of the lowest open rung, n_i of the paper,
    due: int  # and how many of them are still to be expected or there: fewer where trials failed
    closed: int = 0  # rungs from which the best were promoted
    promoted: set[int] = field(default_factory=set)  # from the highest of these


class HalvingState(NamedTuple):
    problem: Problem
    cycle: Cycle  # of brackets of one kind, or of those of Hyperband
    trials: dict[int, Climb]
    brackets: dict[int, Bracket]  # by their place in the order of numbers
    unfinished: dict[int, Bracket]  # those with a rung to close
    ready: list[Ready]  # sorted: who was promoted and not seen since


@plain_arguments
def successive_halving(eta: int = 3, min_steps: int = 1, max_steps: int | None = None, trials: int | None = None) -> Scheduler:
    """Synchronous successive halving: brackets of trials start together, and at each rung the best one in `eta` go on.

    Trials are compared at min_steps * eta^i, below `max_steps`, by the first metric; a result that is not finite ranks last and never goes
    on, and so does a trial that ended before its rung. The best max(1, floor(n / eta)) of a rung are promoted when all of its n trials were
    compared. Free lanes begin the next bracket meanwhile; when no trial is left to start and none runs, an incomplete bracket is promoted
    as it stands. A black box cannot wait for others: it is stopped at a rung unless it is among the best max(1, floor(n / eta)) that its
    bracket showed there so far, as under `asha`.

    Args:
        eta: one in eta goes on.
        min_steps: the first rung; in the unit of the steps that trials report. Lanes evaluate all trials this often: with 1, after every
            step.
        max_steps: nobody is compared from here on; by default the steps of a full run, where the study trains.
        trials: of a bracket, in the order of their numbers; by default eta^(number of rungs - 1), so that one of them reaches the end.
            A black box without max_steps has no number of rungs: all of its trials are one bracket.

    Raises:
        SchedulerError: eta below 2, min_steps below 1 or above max_steps, no trials; when training starts: above the steps of a full run.

    >>> successive_halving(eta=4, max_steps=64).name
    'successive_halving(eta=4, min_steps=1, max_steps=64)'
    """
    shown = changed({"max_steps": (max_steps, None), "trials": (trials, None)})
    name = f"successive_halving({', '.join([f'eta={eta!r}', f'min_steps={min_steps!r}', *shown])})"
    check_arguments(name, eta, min_steps, max_steps)
    if trials is not None and (not is_whole(trials) or trials < 1):
        raise SchedulerError(f"{name}: trials: expected a positive number of trials for a bracket, or None, got {trials!r}")

    def plan(problem: Problem) -> Cycle:
        rungs = ladder(name, problem, eta, min_steps, max_steps)
        return cycle((rungs,), (trials if trials is not None else _ALL if rungs.last is None else eta**rungs.judged,))

    return synchronous_brackets(name, eta, min_steps, plan)


def synchronous_brackets(name: str, eta: int, every: int, plan: Callable[[Problem], Cycle]) -> Scheduler:
    """Successive halving in each bracket of a plan, over and over."""

    def init(problem: Problem, seed: int) -> HalvingState:
        return HalvingState(problem, plan(problem), {}, {}, {}, [])

    def tell(state: HalvingState, rows: Trials) -> HalvingState:
        _tell(state, rows, eta)
        return state

    def keep(state: HalvingState, numbers: Ints) -> Bools:
        return np.array([_goes_on(state, n, eta) for n in numbers.tolist()], dtype=np.bool_)

    def decide(state: HalvingState, slots: Slots) -> Decision:
        steps = state.cycle.ladders[0].steps  # of the longest; the others are its upper ends
        if state.cycle.ladders[0].last is None:
            raise SchedulerError(f"{name}.decide: how long is a full run? Give max_steps=, or a problem with steps")
        room = len(slots.held)
        elsewhere = {*slots.running.tolist(), *slots.fresh.tolist()}
        jobs: list[Job] = []
        for left, _, _, number in state.ready:
            if len(jobs) == room:
                break
            if number not in elsewhere:
                jobs.append(Job(number, steps[-left], False))
        jobs += fresh_jobs(name, state.trials, slots, room - len(jobs), lambda number: state.cycle.ladder(number).steps[0])
        if not jobs and not len(slots.running):
            jobs = [Job(number, steps[-left], False) for left, _, _, number in _as_it_stands(state, elsewhere, eta)[:room]]
        return place(slots, jobs, state.trials, state.problem.space.d)

    return Scheduler(init, tell, keep, decide, name, every)


def _best(keys: list[Key], n: int, eta: int) -> list[Key]:
    """The finite ones among the best floor(n / eta) of n trials, at least one."""
    return [key for key in keys[: max(1, n // eta)] if key[0] < math.inf]


def _tell(state: HalvingState, rows: Trials, eta: int) -> None:

    def asked(number: int) -> None:
        b = _bracket_of(state, number)
        if b not in state.brackets:
            ladder, size = state.cycle.ladder(number), state.cycle.sizes[state.cycle.of(number)[1]]
            state.brackets[b] = Bracket(ladder, [[] for _ in range(ladder.judged)], size, size)
            if ladder.judged:
                state.unfinished[b] = state.brackets[b]

    def reported(number: int, trial: Climb, step: float, y: float) -> None:
        b, rung, value = _bracket_of(state, number), trial.rung, trial.value
        ladder = state.brackets[b].ladder
        enters = trial.report(ladder.steps, step, y)
        if rung >= 0 and trial.past(rung):
            remove(state.ready, (ladder.judged - rung, b, value, number))
        if enters and trial.rung < ladder.judged and not trial.final:
            enter(b, trial.rung, (trial.value, number))

    def finished(number: int, trial: Climb, status: int) -> None:
        trial.final = True
        b = _bracket_of(state, number)
        bracket = state.brackets[b]
        remove(state.ready, (bracket.ladder.judged - trial.rung, b, trial.value, number))
        left_out = trial.rung < 0 or (trial.rung == bracket.closed - 1 and number in bracket.promoted)
        if left_out and trial.rung + 1 < bracket.ladder.judged:  # the rung on its way need not wait for it
            enter(b, trial.rung + 1, (math.inf, number))

    def enter(b: int, i: int, key: Key) -> None:
        bracket = state.brackets[b]
        insert(bracket.rungs[i], key)
        while b in state.unfinished and len(bracket.rungs[bracket.closed]) >= bracket.due:
            close(b, bracket)

    def close(b: int, bracket: Bracket) -> None:
        """Promotes the best of the lowest open rung, when all of its trials are there."""
        i, judged = bracket.closed, bracket.ladder.judged
        alive = [key for key in _best(bracket.rungs[i], bracket.n, eta) if not state.trials[key[1]].final]
        bracket.closed, bracket.n, bracket.promoted = i + 1, bracket.n // eta, {number for _, number in alive}
        for value, number in alive:
            if not state.trials[number].past(i):
                insert(state.ready, (judged - i, b, value, number))
        if bracket.closed < judged:
            bracket.due = len(bracket.promoted | {number for _, number in bracket.rungs[i + 1]})
        if bracket.closed == judged or not bracket.due:
            del state.unfinished[b]

    fold_rows(state.trials, rows, asked, reported, finished)


def _bracket_of(state: HalvingState, number: int) -> int:
    turn, j = state.cycle.of(number)
    return turn * len(state.cycle.sizes) + j


def _goes_on(state: HalvingState, number: int, eta: int) -> bool:
    trial = state.trials.get(number)
    if trial is None or not trial.at_rung or state.problem.steps is not None:
        return True  # lanes pause at rungs, and `decide` answers there
    bracket = state.brackets[_bracket_of(state, number)]
    if trial.rung >= bracket.ladder.judged:
        return True
    return among_the_best(bracket.rungs[trial.rung], (trial.value, number), eta)


def _as_it_stands(state: HalvingState, elsewhere: set[int], eta: int) -> list[Ready]:
    """Whom the open rungs would promote if nobody else came, in the order of `ready`."""
    found: list[Ready] = []
    for b, bracket in state.unfinished.items():
        i, rungs = bracket.closed, bracket.rungs
        n = bracket.n if i else len(rungs[0])
        while i < len(rungs) and rungs[i]:
            waiting = [key for key in _best(rungs[i], n, eta) if not (state.trials[key[1]].final or state.trials[key[1]].past(i))]
            found += [(bracket.ladder.judged - i, b, value, number) for value, number in waiting if number not in elsewhere]
            if waiting:
                break
            i, n = i + 1, n // eta
    return sorted(found)
