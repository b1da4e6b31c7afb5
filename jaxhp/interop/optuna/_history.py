"""An Optuna study's trials as the rows that a jaxhp study tells its sampler or scheduler, in the order in which they became known.

| Optuna | row |
|---|---|
| a running trial, all of its parameters known | PENDING, then a REPORTED one per intermediate value, by rising steps |
| COMPLETE, every value finite | COMPLETE |
| PRUNED with a finite last value | STOPPED, at its last step |
| FAIL, or a value that is missing, NaN or infinite | FAILED |

Numbers are the trials' own. Trials that do not fit (a parameter is missing, a value is out of range) are left out; those that wait are not
seen before they run. A constraint c <= 0 is an outcome.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from jaxhp._rows import Rows
from jaxhp._types import Floats, Outcome, Params, Status, Trials

CONSTRAINT = "constraint "  # before the name that a constraint has in Optuna

T = TypeVar("T")


class Ended:
    """Which trials of a growing list have ended and need no further look."""

    def __init__(self) -> None:
        self.numbers: set[int] = set()
        self._settled = 0  # so many at the start of the whole list are among them

    def others(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """The trials that are not among them. The list may be part of the study: a pruner of Optuna's shows such ones."""
        settled = self._settled
        while settled < len(trials) and settled in self.numbers and trials[settled].number == settled:
            settled += 1
        if settled and (len(trials) < settled or trials[settled - 1].number != settled - 1):
            return [t for t in trials if t.number not in self.numbers]
        self._settled = settled
        return [t for t in trials[settled:] if t.number not in self.numbers]


class History:
    """Rows, read from a growing list of trials."""

    def __init__(self, d: int, outcomes: Sequence[Outcome], point: Callable[[Mapping[str, Any]], Floats | None]) -> None:
        self._outcomes = outcomes
        self._point = point
        self._rows = Rows(d, len(outcomes))
        self._told = 0  # rows that were handed out
        self._running: dict[int, tuple[Floats, Params]] = {}  # number -> what it was given
        self._last_step: dict[int, int] = {}  # of the reports of a running trial that were read
        self._ended = Ended()

    def ask(self, number: int, u: Floats, params: Params) -> None:
        """A trial was given this point (d,)."""
        self._running[number] = u, params
        self._rows.append(number, u, Status.PENDING)

    def read(self, trials: Sequence[FrozenTrial]) -> Trials:
        """The rows that became known since the last call; borrowed until the next."""
        for trial in self._ended.others(trials):
            if trial.state != TrialState.WAITING:
                self._take(trial.number, trial)
        told, self._told = self._told, self._rows.n
        return self._rows.view(told, self._told)

    def _take(self, number: int, trial: FrozenTrial) -> None:
        finished = trial.state.is_finished()
        given = self._running.get(number)
        if given is None:
            u = self._point(trial.params)
            if u is not None:
                self.ask(number, u, {})
        else:
            u = given[0]  # the point itself, where decoding and encoding again would round
            if finished and any(name not in trial.params or trial.params[name] != value for name, value in given[1].items()):
                u = self._point(trial.params)
        if u is not None:
            self._report(number, u, trial)
        if not finished:
            return
        self._ended.numbers.add(number)
        self._running.pop(number, None)
        last = self._last_step.pop(number, None)
        if u is not None:
            step = math.nan if last is None else float(last)
            self._rows.append(number, u, *self._result(trial), fidelity=step, cost=seconds(trial))
        elif given is not None:  # it never used what it was given
            self._rows.append(number, given[0], Status.FAILED)

    def _report(self, number: int, u: Floats, trial: FrozenTrial) -> None:
        rest = [math.nan] * (len(self._outcomes) - 1)
        for step in sorted(trial.intermediate_values):
            if step > self._last_step.get(number, -math.inf):
                y = self._outcomes[0].sign * trial.intermediate_values[step]
                self._rows.append(number, u, Status.REPORTED, [y, *rest], fidelity=float(step))
                self._last_step[number] = step

    def _result(self, trial: FrozenTrial) -> tuple[Status, list[float]]:
        """Status and y (m,) of a trial that ended."""
        values = iter(trial.values or ())
        constraints = trial.constraints if len(self._outcomes) > 1 else {}
        y = [
            o.sign * next(values, math.nan) if o.threshold is None else constraints.get(o.name.removeprefix(CONSTRAINT), math.nan)
            for o in self._outcomes
        ]
        if trial.state == TrialState.FAIL or not np.isfinite(y).all():
            return Status.FAILED, y
        return (Status.COMPLETE if trial.state == TrialState.COMPLETE else Status.STOPPED), y


class ByStudy(Generic[T]):
    """What is kept for each study that an adapter meets; it goes with the study's storage."""

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[Any, dict[int, T]] = WeakKeyDictionary()

    def of(self, study: optuna.Study, make: Callable[[], T]) -> T:
        """What was made for this study, or is made now."""
        kept = self._kept.setdefault(study._storage, {})  # Optuna has no public name for a study that is unique between storages
        if study._study_id not in kept:
            kept[study._study_id] = make()
        return kept[study._study_id]


def objectives(study: optuna.Study) -> tuple[Outcome, ...]:
    """One outcome per direction of the study."""
    names = ["value"] if len(study.directions) == 1 else [f"value_{i}" for i in range(len(study.directions))]
    return tuple(
        Outcome(name, "maximize" if direction == StudyDirection.MAXIMIZE else "minimize")
        for name, direction in zip(names, study.directions, strict=True)
    )


def seconds(trial: FrozenTrial) -> float:
    """How long a trial took; NaN where that is not known."""
    duration = trial.duration
    return math.nan if duration is None else duration.total_seconds()
