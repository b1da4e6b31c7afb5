"""Rungs: the steps at which trials are compared, r_i = min_steps * eta^i, and how a trial climbs them by its reports.

The last rung is the end of a full run: nothing is compared there. A report is counted at the last rung that it crossed since
the one before, at most once per rung and trial. A value is minimised; one that is not finite ranks behind all others.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from jaxhp._arguments import is_whole
from jaxhp._types import ENDED, Floats, Problem, Status, Trials
from jaxhp.errors import SchedulerError
from jaxhp.schedulers._events import events

Key: TypeAlias = tuple[float, int]  # value and number: the smaller is the better, ties go to the earlier trial
_FAR = 1 << 53  # no step of a float counts further


class Ladder(NamedTuple):
    """The rungs of one study."""

    steps: tuple[int, ...]  # rising; the last one is the end of a run where `last` is known
    judged: int  # how many of them compare trials: all but the last
    last: int | None  # step at which a trial ends; None: a black box of unknown length


def check_integer(name: str, argument: str, value: Any, least: int) -> None:
    """Raises SchedulerError unless value is an integer of at least `least`."""
    if not is_whole(value) or value < least:
        raise SchedulerError(f"{name}: {argument}: expected an integer of at least {least}, got {value!r}")


def check_arguments(name: str, eta: Any, min_steps: Any, max_steps: Any) -> None:
    """Raises SchedulerError unless eta >= 2 and 1 <= min_steps <= max_steps are integers."""
    check_integer(name, "eta", eta, 2)
    check_integer(name, "min_steps", min_steps, 1)
    if max_steps is None:
        return
    if not is_whole(max_steps):
        raise SchedulerError(f"{name}: max_steps: expected an integer or None, got {max_steps!r}")
    if max_steps < min_steps:
        raise SchedulerError(f"{name}: max_steps={max_steps} must not be below min_steps={min_steps}; did you swap them?")


def check_length(name: str, problem: Problem, min_steps: int, max_steps: int | None = None) -> None:
    """Raises SchedulerError where min_steps or max_steps is above the steps of a full run."""
    if problem.steps is None:
        return
    for argument, value in (("min_steps", min_steps), ("max_steps", max_steps)):
        if value is not None and value > problem.steps:
            raise SchedulerError(
                f"{name}: {argument}={value} is above the {problem.steps} steps of a full run; lower it, or train for more steps"
            )


def ladder(name: str, problem: Problem, eta: int, min_steps: int, max_steps: int | None) -> Ladder:
    """The rungs below `max_steps`, or below the length of a run; then the end of the run.

    Raises:
        SchedulerError: min_steps or max_steps is above the steps of a full run.
    """
    check_length(name, problem, min_steps, max_steps)
    last = problem.steps if problem.steps is not None else max_steps
    top = max_steps if max_steps is not None else last
    steps = [min_steps]
    while steps[-1] < (top if top is not None else _FAR):
        steps.append(steps[-1] * eta)
    judged = len(steps) - 1
    return Ladder((*steps[:-1], last), judged, last) if last is not None else Ladder(tuple(steps), judged, None)


@dataclass(slots=True)
class Climb:
    """Where one trial stands."""

    u: Floats  # (d,) its point
    step: float = 0.0  # of its last report
    rung: int = -1  # the highest one that it entered
    entered: float = 0.0  # at this step,
    value: float = math.inf  # with this value
    at_rung: bool = False  # its last report is the one that entered, or the same step once more
    final: bool = False

    def past(self, rung: int) -> bool:
        """Whether it was seen beyond a rung that it entered: then it was let on."""
        return self.rung > rung or self.step > self.entered

    def report(self, steps: tuple[int, ...], step: float, y: float) -> bool:
        """Takes in a report; True when it enters a rung.

        A trial that was started again reports rungs a second time: its first value there stays, and only at its highest rung, where
        nobody may have answered it yet, does it stand for judgement again.
        """
        rung = bisect_right(steps, step) - 1
        enters = rung > self.rung
        if enters:
            self.rung, self.entered, self.value = rung, step, y if math.isfinite(y) else math.inf
        self.at_rung = enters or (rung == self.rung and step == self.entered)
        self.step = step
        return enters


def fold_rows(
    trials: dict[int, Climb],
    rows: Trials,
    asked: Callable[[int], None],
    reported: Callable[[int, Climb, float, float], None],  # number, trial, step, first metric
    finished: Callable[[int, Climb, int], None],  # number, trial, status; once per trial
) -> None:
    """Calls back for each row of this study's own trials, in order."""
    for i, number, status, step, y in events(rows):
        trial = trials.get(number)
        if trial is None:
            trial = trials[number] = Climb(rows.u[i].copy())
            asked(number)
        if status == Status.REPORTED:
            reported(number, trial, step, y)
        elif status in ENDED and not trial.final:
            finished(number, trial, status)


def insert(keys: list[Any], key: Any) -> None:
    """Into a sorted list."""
    insort(keys, key)


def remove(keys: list[Any], key: Any) -> None:
    """Out of a sorted list, where it is in it."""
    i = bisect_left(keys, key)
    if i < len(keys) and keys[i] == key:
        del keys[i]


def among_the_best(seen: list[Key], key: Key, eta: int) -> bool:
    """Whether a key of this sorted list is among its best one in eta, at least one, and finite."""
    return key[0] < math.inf and bisect_left(seen, key) < max(1, len(seen) // eta)
