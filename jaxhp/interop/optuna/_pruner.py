"""A scheduler of ours as an `optuna.pruners.BasePruner`: it is told what all trials report, and asked whether one may go on.

Trials of Optuna cannot pause, so this is `Scheduler.keep`, which black boxes of a jaxhp study ask as well.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial

from jaxhp._types import Problem, Scheduler
from jaxhp.errors import SchedulerError
from jaxhp.interop.optuna._history import ByStudy, History, objectives
from jaxhp.space import Float, Space

_ANYWHERE = Space({"x": Float(0.0, 1.0)})  # schedulers that only stop look at reports, not at configurations
_POINT = np.array([0.5])


class Pruner(BasePruner):
    """A jaxhp scheduler for `optuna.create_study(pruner=...)`.

    `asha`, `successive_halving`, `hyperband(max_steps=)`, `median_stopping` and `patience` make sense for single trials. Steps are those
    that trials report; a step counts once, and only if it is beyond the last one.

    Args:
        scheduler: such as `jaxhp.asha(max_steps=27)`.

    Raises:
        SchedulerError: not a scheduler, one that changes running trials (`pbt`, `pb2`, `replay`), or one that must know how long a run is.

    >>> import jaxhp, optuna
    >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
    >>> def objective(trial):
    ...     x = trial.suggest_float("x", -1.0, 1.0)
    ...     for epoch in range(1, 28):
    ...         trial.report(x**2 + 1 / epoch, epoch)
    ...         if trial.should_prune():
    ...             raise optuna.TrialPruned
    ...     return x**2
    >>> study = optuna.create_study(pruner=Pruner(jaxhp.asha(max_steps=27)), sampler=optuna.samplers.RandomSampler(seed=0))
    >>> study.optimize(objective, n_trials=27)
    >>> sum(trial.state == optuna.trial.TrialState.PRUNED for trial in study.trials) > 13
    True
    """

    def __init__(self, scheduler: Scheduler) -> None:
        if not isinstance(scheduler, Scheduler):
            raise SchedulerError(f"Pruner({scheduler!r}): expected a scheduler such as jaxhp.asha(); is a pair of parentheses missing?")
        if scheduler.mutates:
            raise SchedulerError(
                f"Pruner({scheduler.name}): it changes trials while they run, which Optuna cannot; use it with study.train or"
                " study.optimize_in_parts, or prune with jaxhp.asha()"
            )
        scheduler.keep(scheduler.init(Problem(_ANYWHERE, _ANYWHERE.dims, ()), 0), np.empty(0, np.int64))  # may miss max_steps
        self._scheduler = scheduler
        self._start()

    def _start(self) -> None:
        self._lock = threading.RLock()
        self._studies: ByStudy[_Reports] = ByStudy()

    def __getstate__(self) -> dict[str, Any]:
        return {"_scheduler": self._scheduler}  # what was told is told again

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the trial shall end after its last report; never before the first one."""
        if not trial.intermediate_values:
            return False
        with self._lock:
            return self._studies.of(study, lambda: _Reports(self._scheduler, study)).ends(study, trial.number)


class _Reports:
    """A scheduler's state over one study."""

    def __init__(self, scheduler: Scheduler, study: optuna.Study) -> None:
        outcomes = objectives(study)
        self._scheduler = scheduler
        self._state = scheduler.init(Problem(_ANYWHERE, _ANYWHERE.dims, outcomes), 0)
        self._history = History(1, outcomes, lambda params: _POINT)

    def ends(self, study: optuna.Study, number: int) -> bool:
        rows = self._history.read(study.get_trials(deepcopy=False))
        if len(rows.number):
            self._state = self._scheduler.tell(self._state, rows)
        return not bool(self._scheduler.keep(self._state, np.array([number], dtype=np.int64))[0])
