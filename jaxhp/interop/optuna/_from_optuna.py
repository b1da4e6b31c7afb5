"""From an Optuna study to ours: its trials become the records of a log.

Optuna records no space. It is the union of the distributions: the widest bounds where they changed, constants left out. A parameter that
only some trials have becomes conditional on a choice whose values tell exactly which trials have it (`_structure.py`).
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Final

import optuna
from optuna.trial import FrozenTrial, TrialState

from jaxhp._header import check_arguments
from jaxhp._parameters import with_condition
from jaxhp._session import listed
from jaxhp._types import Floats, Outcome, Params, Record, Sampler, Scheduler
from jaxhp.errors import SpaceError, StudyError
from jaxhp.interop.optuna._distributions import space_of, widest
from jaxhp.interop.optuna._history import objectives, seconds
from jaxhp.interop.optuna._structure import Structure
from jaxhp.space import Space
from jaxhp.storage import Log
from jaxhp.study import Study

KEY: Final = "jaxhp"  # user attribute of a study that `to_optuna` wrote: what Optuna has no words for
_SHOWN: Final = 5  # numbers of trials that a message names


def from_optuna(
    study: optuna.Study,
    *,
    space: Space | None = None,
    storage: str | Log | None = None,
    name: str | None = None,
    sampler: Sampler | None = None,
    scheduler: Scheduler | None = None,
    seed: int | None = None,
) -> Study:
    """A jaxhp study with the trials of an Optuna study: parameters, values, reports, constraints, times, failures.

    Pruned trials are STOPPED ones; running trials stay running, and waiting ones run first. Numbers stay, unless trials are left out: those
    that were pruned, failed, run or wait and lack parameters. A complete trial whose value is infinite or lacks a constraint counts as
    failed. Numeric user attributes are told beside the metrics; others stay behind. What `to_optuna` wrote comes back as it was.

    Args:
        study: an `optuna.Study`, from `optuna.load_study`, say.
        space: what may vary; by default the union of the distributions. A trial that does not fit is an error.
        storage, name, sampler, scheduler, seed: of the new study, as for `jaxhp.Study`; the name is that of the old one by default.

    Raises:
        StudyError: not an Optuna study, or there is a study of this name with trials in the storage.
        SpaceError: there is no trial to infer the space from, it cannot be inferred, or a trial does not fit in it.

    >>> import optuna
    >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
    >>> theirs = optuna.create_study()
    >>> theirs.optimize(lambda trial: trial.suggest_float("x", 0.0, 1.0), n_trials=4)
    >>> ours = from_optuna(theirs)
    >>> ours.best.value == theirs.best_value, ours.space.parameters
    (True, {'x': Float(0.0, 1.0)})
    """
    if not isinstance(study, optuna.Study):
        raise StudyError(f"from_optuna({study!r}): expected an optuna.Study")
    trials = study.get_trials(deepcopy=False)
    ours = _written(study)
    if space is None:
        space = ours["space"] if ours else _inferred(trials)
    check_arguments(space, sampler, scheduler, study.study_name if name is None else name, seed, None)
    points = _points(space, trials)  # before anything is founded
    outcomes: tuple[Outcome, ...] = ours["outcomes"] if ours else _outcomes(study, trials)
    new = Study(
        space,
        sampler=sampler,
        scheduler=scheduler,
        directions={o.name: o.direction for o in outcomes if o.threshold is None},
        constraints={o.name: f"{'<=' if o.direction == 'minimize' else '>='} {o.threshold!r}" for o in outcomes if o.threshold is not None},
        storage=storage,
        name=study.study_name if name is None else name,
        seed=seed if seed is not None else ours.get("seed"),
        stochastic=bool(ours.get("stochastic", False)),
    )
    if new._fold.asked:
        raise StudyError(f"from_optuna: study {new.name!r} in {new.storage} has trials; give another name=, or another storage=")
    records = [record for number, (trial, u) in enumerate(points) for record in _records(new, number, trial, u)]
    if records and not new._session.claim(records):
        raise StudyError(f"from_optuna: somebody else writes to study {new.name!r} in {new.storage}; give another name=")
    return new


def _written(study: optuna.Study) -> dict[str, Any]:
    """What `to_optuna` wrote about a study; {} where another tool wrote it.

    Raises:
        StudyError: it cannot be read.
    """
    found = study.user_attrs.get(KEY)
    if not isinstance(found, dict) or not {"space", "outcomes"} <= found.keys():
        return {}
    try:
        return found | {"space": Space.from_json(found["space"]), "outcomes": tuple(Outcome(*o) for o in found["outcomes"])}
    except (AttributeError, KeyError, TypeError, ValueError) as e:  # SpaceError among them
        raise StudyError(
            f"from_optuna: user_attrs[{KEY!r}], which to_optuna writes, cannot be read ({e}); delete it, and give space="
        ) from e


# -- the space -------------------------------------------------------------------------------------------------------


def _inferred(trials: Sequence[FrozenTrial]) -> Space:
    """The union of the distributions, parents before children."""
    ended = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    complete = [t for t in ended if t.state == TrialState.COMPLETE]
    try:
        return _inferred_from(ended or [t for t in trials if t.distributions])
    except SpaceError:
        if len(complete) in (0, len(ended)):
            raise
        return _inferred_from(complete)  # trials may be pruned before they have all of their parameters


def _inferred_from(known: Sequence[FrozenTrial]) -> Space:
    structure = Structure()
    distributions: dict[str, list[Any]] = {}
    for trial in known:
        structure.take(trial)
        for name, distribution in trial.distributions.items():
            seen = distributions.setdefault(name, [])
            if distribution not in seen:
                seen.append(distribution)
    widths = {name: widest(name, seen) for name, seen in distributions.items()}
    parameters = {name: p for name, p in widths.items() if p is not None}
    if not parameters:
        raise SpaceError("from_optuna: no trial has a parameter that varies, so there is no space; give space=")
    placed, conditions = structure.placed(parameters)
    for name in parameters:
        if name not in placed:
            lacking = [t.number for t in known if name not in t.params]
            raise SpaceError(
                f"from_optuna: {name!r} is missing in {_numbers(lacking)}, and no choice tells when; give space= with a condition (when=)"
            )
    for name, (above, levels) in conditions.items():
        values = [distributions[above][0].choices[level] for level in levels]
        parameters[name] = with_condition(parameters[name], {above: values[0] if len(values) == 1 else values})
    return space_of({name: parameters[name] for name in placed})


def _outcomes(study: optuna.Study, trials: Sequence[FrozenTrial]) -> tuple[Outcome, ...]:
    names = study.metric_names
    described = objectives(study)
    if names is not None:
        if len(set(names)) != len(names):
            raise StudyError(f"from_optuna: the metrics {names} share a name; rename one with study.set_metric_names")
        described = tuple(o._replace(name=name) for o, name in zip(described, names, strict=True))
    keys = dict.fromkeys(key for trial in trials for key in trial.constraints)
    return described + tuple(Outcome(_constraint(key), "minimize", 0.0) for key in keys)


def _constraint(key: str) -> str:
    """The name of a constraint as a metric: those of `constraints_func` are numbered."""
    return f"constraint_{key}" if key.isdigit() else key


# -- the trials ------------------------------------------------------------------------------------------------------


def _points(space: Space, trials: Sequence[FrozenTrial]) -> list[tuple[FrozenTrial, Floats]]:
    """The trials with their points (d,), those left out that never got all of their parameters."""
    found: list[tuple[FrozenTrial, Floats]] = []
    left_out: list[int] = []
    for trial in trials:
        try:
            found.append((trial, space.point(_params(space, trial))))
        except SpaceError as e:
            whole = trial.state == TrialState.PRUNED and all(name in trial.params for name in space.names)
            if whole or trial.state == TrialState.COMPLETE:
                raise SpaceError(f"from_optuna: trial {trial.number} is no point of the space: {e}") from e
            left_out.append(trial.number)
    if left_out:
        warnings.warn(
            f"from_optuna: {_numbers(left_out)} did not get all parameters and {'is' if len(left_out) == 1 else 'are'} left out;"
            " later numbers move down",
            UserWarning,
            stacklevel=3,
        )
    return found


def _params(space: Space, trial: FrozenTrial) -> Params:
    """A trial's parameters that the space has; of one that waits, those that it shall run with."""
    params = trial.system_attrs.get("fixed_params", {}) if trial.state == TrialState.WAITING else trial.params
    return {name: value for name, value in params.items() if name in space}


def _records(study: Study, number: int, trial: FrozenTrial, u: Floats) -> Iterable[Record]:
    """The log of one trial."""
    space = study.space
    start = _stamp(trial.datetime_start)
    params = {name: value for name, value in _params(space, trial).items()}
    yield study._session.ask_record(number, u, params=params, source="add") | {"time": start, "u": listed(u)}
    if trial.state == TrialState.WAITING:
        yield {"kind": "release", "number": number, "reason": "it waited in Optuna", "time": start}
    first = study.outcomes[0].name
    for step, value in sorted(trial.intermediate_values.items()):
        yield {"kind": "report", "number": number, "step": step, "values": {first: float(value)}, "time": start}
    if trial.state.is_finished():
        yield _tell(study.outcomes, number, trial)


def _tell(outcomes: Sequence[Outcome], number: int, trial: FrozenTrial) -> Record:
    more = {key: float(v) for key, v in trial.user_attrs.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    values = iter(trial.values or ())
    told = {o.name: value for o in outcomes if o.threshold is None for value in [next(values, None)] if value is not None}
    told |= {_constraint(key): value for key, value in trial.constraints.items()} | more  # a constraint's own metric, where it was told
    record: Record = {
        "kind": "tell",
        "number": number,
        "status": "complete" if trial.state == TrialState.COMPLETE else "stopped",
        "values": told,
        "time": _stamp(trial.datetime_complete),
        "cost": seconds(trial),
    }
    if trial.last_step is not None:
        record["step"] = float(trial.last_step)
    bad = next((o.name for o in outcomes if not math.isfinite(told.get(o.name, math.nan))), None)
    if trial.state == TrialState.FAIL or bad is not None:
        why = trial.user_attrs.get("error")
        reason = "it failed in Optuna" if trial.state == TrialState.FAIL else f"{bad} is {told.get(str(bad), 'missing')}"
        record |= {"status": "failed", "error": why if isinstance(why, str) else reason}
    return record


def _stamp(when: Any) -> float:
    return time.time() if when is None else float(when.timestamp())


def _numbers(trials: Sequence[int]) -> str:
    """Trials as a message names them."""
    shown = ", ".join(map(str, trials[:_SHOWN]))
    return f"trial{'' if len(trials) == 1 else 's'} {shown}" + (f" and {len(trials) - _SHOWN} more" if len(trials) > _SHOWN else "")
