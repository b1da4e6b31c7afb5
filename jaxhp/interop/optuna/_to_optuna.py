"""From our study to an Optuna one: its trials as frozen trials, and what Optuna has no words for in a user attribute of the study."""

from __future__ import annotations

import datetime
import math
import time
import warnings
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState, create_trial

from jaxhp._types import Outcome, Status
from jaxhp.errors import StudyError
from jaxhp.interop.optuna._distributions import distribution_of
from jaxhp.interop.optuna._from_optuna import KEY
from jaxhp.storage import Log
from jaxhp.study import Study
from jaxhp.trial import Trial

_STATES = {Status.COMPLETE: TrialState.COMPLETE, Status.STOPPED: TrialState.PRUNED, Status.FAILED: TrialState.FAIL}


def to_optuna(study: Study, *, storage: Any = None, name: str | None = None) -> optuna.Study:
    """An Optuna study with the trials of a jaxhp study: for `optuna.visualization`, `optuna.importance` and optuna-dashboard.

    Stopped trials are pruned ones; running trials run, and those given back or enqueued wait. Reports are of the first metric, at the whole
    part of their steps. A constraint is the distance to its threshold, feasible where <= 0. Other metrics and errors are user attributes of
    a trial; space, metrics and seed are one of the study, from which `from_optuna` restores them. Constraints of the space stay behind.

    Args:
        study: a `jaxhp.Study`.
        storage: of the new study, as for `optuna.create_study`: None is in memory, `"sqlite:///optuna.db"` a file that the dashboard reads.
        name: of the new study; that of the old one by default.

    Raises:
        StudyError: not a jaxhp study, or its own storage. optuna.exceptions.DuplicatedStudyError: the storage has a study of this name.

    >>> import jaxhp, optuna
    >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
    >>> study = jaxhp.Study(jaxhp.Space({"x": jaxhp.Float(0.0, 1.0)}), sampler=jaxhp.sobol())
    >>> theirs = to_optuna(study.optimize(lambda trial: trial["x"], trials=8))
    >>> len(theirs.trials), theirs.best_params == study.best.params
    (8, True)
    """
    if not isinstance(study, Study):
        raise StudyError(f"to_optuna({study!r}): expected a jaxhp.Study")
    if isinstance(storage, Log) or (storage == study.storage and study.storage.startswith("sqlite:")):
        raise StudyError(f"to_optuna(storage={storage!r}): that holds jaxhp's own tables; name another file, such as 'sqlite:///optuna.db'")
    finished, running = study.finished, study.running
    fold = study._fold
    outcomes = study.outcomes
    goals = [o for o in outcomes if o.threshold is None]
    new = optuna.create_study(study_name=study.name if name is None else name, storage=storage, directions=[o.direction for o in goals])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # names of metrics are one of Optuna's experiments
        new.set_metric_names([o.name for o in goals])
    described = {
        "space": study.space.to_json(),
        "outcomes": [list(o) for o in outcomes],
        "seed": study.seed,
        "stochastic": fold.stochastic,
    }
    new.set_user_attr(KEY, described)
    times = _times(study)
    reports = _reports(study)
    for trial in sorted([*finished, *running], key=lambda t: t.number):
        frozen = _frozen(trial, outcomes, reports.get(trial.number, {}), waiting=trial.number in fold.released)
        _date(frozen, *times.get(trial.number, (None, None)))
        new.add_trial(frozen)
    for queued in fold.queue:
        new.enqueue_trial(queued.params)
    return new


def _frozen(trial: Trial, outcomes: tuple[Outcome, ...], reports: dict[int, float], waiting: bool) -> FrozenTrial:
    if waiting:
        return create_trial(state=TrialState.WAITING, system_attrs={"fixed_params": trial.params}, intermediate_values=reports)
    state = _STATES.get(trial.status, TrialState.RUNNING)
    values = [trial.values.get(o.name, math.nan) for o in outcomes if o.threshold is None]
    told = state in (TrialState.COMPLETE, TrialState.PRUNED)
    constraints = {
        o.name: o.sign * (trial.values[o.name] - o.threshold) for o in outcomes if o.threshold is not None and o.name in trial.values
    }
    goals = [o.name for o in outcomes if o.threshold is None]
    more: dict[str, Any] = {name: value for name, value in trial.values.items() if name not in goals}
    return create_trial(
        state=state,
        values=values if told else None,
        params=trial.params,
        distributions={name: distribution_of(trial._space.parameters[name]) for name in trial.params},
        user_attrs=more | ({} if trial.error is None else {"error": trial.error}),
        intermediate_values=reports,
        constraints={name: c for name, c in constraints.items() if not math.isnan(c)},
    )


def _reports(study: Study) -> dict[int, dict[int, float]]:
    """Number -> step -> the first metric, as it was told."""
    fold = study._fold
    table, sign = fold.rows.table, study.outcomes[0].sign
    found: dict[int, dict[int, float]] = {}
    for number, rows in fold.tell_rows.items():
        reported = [row for row in rows if table.status[row] == Status.REPORTED]
        found[number] = {int(table.fidelity[row]): float(sign * table.y[row, 0]) for row in reported}
    return found


def _times(study: Study) -> dict[int, tuple[float | None, float | None]]:
    """Number -> when it was asked, and told, in seconds since 1970."""
    asked: dict[int, float] = {}
    told: dict[int, float] = {}
    for record in study._log.read(study.name):
        if record["kind"] == "ask":
            asked[record["number"]] = record["time"]
        elif record["kind"] == "tell":
            told.setdefault(record["number"], record["time"])
        elif record["kind"] == "segment":
            told |= {int(number): record["time"] for number in record["ended"]}
        elif record["kind"] == "decision" and "stopped" in record:
            told |= {int(number): record["time"] for number in record["stopped"]}
    return {number: (start, told.get(number)) for number, start in asked.items()}


def _date(trial: FrozenTrial, start: float | None, end: float | None) -> None:
    """Gives a frozen trial its times in place of those of its creation."""
    if trial.state != TrialState.WAITING and start is not None:
        trial.datetime_start = datetime.datetime.fromtimestamp(start)
    if trial.state.is_finished():
        trial.datetime_complete = datetime.datetime.fromtimestamp(time.time() if end is None else end)
