"""What a record of each kind holds: checked at the door of the fold, before a record that another process wrote means anything.

A log may be damaged or forged. Types come from a table; what a record refers to (trials, lanes, earlier records) is checked against the
fold that it would enter. Points are checked many at once: in the cube, at their levels' centres, NaN where conditions make them inactive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias

import numpy as np

from jaxhp._types import Floats, Outcome, Record
from jaxhp.errors import StorageError
from jaxhp.space import Space

if TYPE_CHECKING:
    from jaxhp._fold import Fold

Types: TypeAlias = frozenset[type]
Further: TypeAlias = Callable[["Fold", Record], str | None]  # why a record of the right types does not fit, if it does not

FINAL = ("complete", "failed", "stopped")
POINTED = ("ask", "enqueue")  # kinds with a point `u`
_CLOSE = 1e-9  # between a logged point and its canonical form: the rounding of another machine's logarithm, and less than any level
_MOST = 1 << 53
_SHOWN = 60
_NONE = type(None)
_INT: Types = frozenset({int})
_TEXT: Types = frozenset({str})
_LIST: Types = frozenset({list})
_DICT: Types = frozenset({dict})
_BOOL: Types = frozenset({bool})
_NUMBER: Types = frozenset({int, float})
_TOLD: Types = frozenset({int, float, str})  # a number that may be "nan", "inf" or "-inf"
_NAME: Types = frozenset({str, _NONE})
_WHOLE: Types = frozenset({int, str})
_MAYBE_INT: Types = frozenset({int, _NONE})
_MAYBE_DICT: Types = frozenset({dict, _NONE})
_COORDINATES = {float, int, _NONE}
_SCALARS = (str, int, float, bool, _NONE)


class _Kind(NamedTuple):
    required: frozenset[str]
    types: Mapping[str, Types]
    further: Further | None


def check(fold: Fold, record: Record) -> None:
    """Raises StorageError, naming the record and the field, unless the record can be the next one of this fold."""
    kind = record.get("kind")
    known = _KINDS.get(kind) if isinstance(kind, str) else None
    if known is None or not isinstance(kind, str):
        raise StorageError(
            f"record {fold.position} has the unknown kind {shown(kind)}: was it written by a newer jaxhp? Upgrade to read it"
        )
    types = known.types
    for name, value in record.items():
        if name in types and type(value) not in types[name]:
            allowed = types[name]
            refuse(fold.position, kind, f"{name} is {shown(value)}, not {_named(allowed)}")
    if not known.required <= record.keys():
        refuse(fold.position, kind, f"{sorted(known.required - record.keys())[0]} is missing")
    if known.further is not None:
        fault = known.further(fold, record)
        if fault is not None:
            refuse(fold.position, kind, fault)


def check_first(record: Record) -> None:
    """Raises StorageError unless this can be record 0 of a study; the space is checked where it is built."""
    if record.get("kind") != "study":
        raise StorageError(f"record 0 is of kind {shown(record.get('kind'))}, not the study that every log begins with: restore a copy")
    for name, allowed in _HEADER.items():
        if name not in record:
            refuse(0, "study", f"{name} is missing")
        if type(record[name]) not in allowed:
            refuse(0, "study", f"{name} is {shown(record[name])}, not {_named(allowed)}")
    if not 0 <= record["seed"] < 1 << 63 or (record["lag"] is not None and not 1 <= record["lag"] < _MOST):
        refuse(0, "study", f"seed {shown(record['seed'])} or lag {shown(record['lag'])} is out of range")
    names: list[str] = []
    for outcome in record["outcomes"]:
        if not isinstance(outcome, (list, tuple)) or len(outcome) != 3 or not isinstance(outcome[0], str):
            refuse(0, "study", f"an outcome is {shown(outcome)}, not a name, a direction and a threshold")
        name, direction, threshold = outcome
        bounded = threshold is None or (type(threshold) in _NUMBER and abs(threshold) <= 1.7e308)
        if direction not in ("minimize", "maximize") or not bounded or name in names:
            refuse(0, "study", f"the outcome {shown(outcome)} is not valid")
        names.append(name)
    if not any(outcome[2] is None for outcome in record["outcomes"]):
        refuse(0, "study", "no outcome is an objective")


def points(records: Sequence[Record], first: int, space: Space) -> Floats:
    """The canonical points (k, d) of those of these records that have one; `first`: position of the first record.

    Raises:
        StorageError: one is not a canonical point of the space.
    """
    where = [i for i, record in enumerate(records) if record.get("kind") in POINTED]
    columns = [records[i].get("u") for i in where]
    d = space.d
    if all(type(u) is list and len(u) == d for u in columns) and set(map(type, chain.from_iterable(columns))) <= _COORDINATES:  # type: ignore[arg-type]
        with suppress(OverflowError):  # of an integer
            u = np.array(columns, dtype=np.float64).reshape(len(columns), d)
            if _canonical(u, space).all():
                return u
    wrong = next(i for i, column in zip(where, columns, strict=True) if not is_point(column, space))
    refuse(first + wrong, records[wrong]["kind"], f"u is {shown(records[wrong].get('u'))}, not a point of the space of {d} parameters")


def is_point(u: Any, space: Space) -> bool:
    """Whether this is the list of a canonical point's coordinates."""
    if type(u) is not list or len(u) != space.d or not set(map(type, u)) <= _COORDINATES:
        return False
    try:
        return bool(_canonical(np.array([u], dtype=np.float64), space)[0])
    except OverflowError:
        return False


def refuse(position: int, kind: str, fault: str, cause: BaseException | None = None) -> NoReturn:
    """Raises StorageError with the place and the remedy."""
    raise StorageError(
        f"record {position} ({kind}) cannot be: {fault}; the log is damaged or was not written by jaxhp: restore a copy, "
        "or look with `jaxhp verify`"
    ) from cause


def shown(value: Any) -> str:
    """A value from a log, short and in ASCII: it may be long, deep or hold what a terminal obeys."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 200:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, (dict, list)):
        what = f"a {type(value).__name__} of {len(value)}"
        return what if len(value) > 8 or any(isinstance(v, (dict, list, str, int)) for v in value) else ascii(value)
    text = ascii(value[:_SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= 4 * _SHOWN else f"{text[:_SHOWN]}..."


def _named(types: Types) -> str:
    return " or ".join(sorted("null" if t is _NONE else t.__name__ for t in types))


def _canonical(u: Floats, space: Space) -> Any:
    """(n,) whether each row of u (n, d) is where `snap` would put it."""
    absent = np.isnan(u)
    filled = np.where(absent, 0.5, u)
    inside = ((filled >= 0.0) & (filled <= 1.0)).all(axis=1)
    snapped = space.snap(np.clip(filled, 0.0, 1.0))
    close = (np.isnan(snapped) == absent) & ~(np.abs(snapped - u) > _CLOSE)
    return inside & close.all(axis=1)


# -- what the kinds refer to -----------------------------------------------------------------------------------------


def _asked(fold: Fold, number: Any) -> bool:
    return type(number) is int and 0 <= number < fold.asked


def _of_a_trial(fold: Fold, record: Record) -> str | None:
    number = record["number"]
    return None if 0 <= number < len(fold.ask_row) else f"trial {shown(number)} was never asked ({fold.asked} are)"


def _ask(fold: Fold, record: Record) -> str | None:
    if record["number"] != len(fold.ask_row):
        return f"it asks trial {shown(record['number'])}, but {fold.asked} comes next"
    if not 0 <= record["seen"] <= fold.position:
        return f"seen is {shown(record['seen'])}, beyond the record itself"
    return _params(fold, record["params"]) if "params" in record else None


def _enqueue(fold: Fold, record: Record) -> str | None:
    retry = record.get("retry")
    if retry is not None and not 0 <= retry < fold.asked:
        return f"trial {shown(retry)}, which it repeats, was never asked"
    return _params(fold, record["params"])


def _params(fold: Fold, params: Mapping[str, Any]) -> str | None:
    for name, value in params.items():
        j = fold.space.index.get(name)
        if j is None or type(value) not in _SCALARS or fold.space.axes[j].plain(value) is None:
            return f"params: {shown(name)} is {shown(value)}, which is nothing of the space"
    return None


def _report(fold: Fold, record: Record) -> str | None:
    if not abs(record["step"]) <= _MOST:
        return f"step is {shown(record['step'])}"
    return _of_a_trial(fold, record) or _numbers("values", record["values"])


def _tell(fold: Fold, record: Record) -> str | None:
    status, values = record["status"], record["values"]
    if status not in FINAL:
        return f"status is {shown(status)}, not one of {', '.join(FINAL)}"
    if "step" in record and abs(float(record["step"])) > _MOST:  # NaN where it never reported
        return f"step is {shown(record['step'])}"
    fault = _numbers("values", values)
    for name in ("noise", "gradient"):
        if fault is None and name in record:
            fault = _numbers(name, record[name])
    if fault is None and status != "failed" and not _finite(fold.outcomes, values):
        return f"a trial that is {status} has no finite {' and '.join(shown(o.name) for o in fold.outcomes)}"
    return fault or _of_a_trial(fold, record)


def _finite(outcomes: Sequence[Outcome], values: Mapping[str, Any]) -> bool:
    """Whether every outcome was told as a finite number."""
    for outcome in outcomes:
        value = values.get(outcome.name)
        if value is None or not math.isfinite(value if type(value) is float else float(value)):
            return False
    return True


def _numbers(what: str, values: Mapping[str, Any]) -> str | None:
    """Why these are not numbers by name."""
    for name, value in values.items():
        if type(value) is not float and not _is_number(value):
            return f"{what}: {shown(name)} is {shown(value)}, not a number"
    return None


def _is_number(value: Any) -> bool:
    return value in ("nan", "inf", "-inf") if type(value) is str else type(value) is int and abs(value) < 1 << 1000


def _decision(fold: Fold, record: Record) -> str | None:
    if "lanes" not in record:
        slots, number = record.get("slots"), record["number"]
        right = type(slots) is list and len(slots) == len(number) and all(_asked(fold, n) for n in slots) and all(n == -1 for n in number)
        return None if right else f"slots {shown(slots)} and number {shown(number)} name no trials that were ended"
    columns = [record.get(name) for name in ("lanes", "number", "parent", "t", "until")]
    lanes = record["lanes"]
    if any(type(c) is not list or len(c) != len(lanes) or not set(map(type, c)) <= {int} for c in columns):
        return "lanes, number, parent, t and until are not columns of integers of one length"
    if len(set(lanes)) != len(lanes) or not all(0 <= lane < len(fold.course.number) for lane in lanes):
        return f"lanes is {shown(lanes)}, of {len(fold.course.number)} lanes"
    if not all(n == -1 or _asked(fold, n) for n in chain(record["number"], record["parent"])):
        return "number or parent names a trial that was never asked"
    if not all(0 <= t < 1 << 31 for t in chain(record["t"], record["until"])):
        return "t or until is no step"
    stopped = record.get("stopped")
    if type(stopped) is not list or not all(_asked(fold, n) for n in stopped):
        return f"stopped is {shown(stopped)}"
    for number, u in record.get("u", {}).items():
        if number not in map(str, record["number"]) or not is_point(u, fold.space):
            return f"u of trial {shown(number)} is {shown(u)}, not a point of the space for a trial of these lanes"
    return None


def _train(fold: Fold, record: Record) -> str | None:
    for name in ("steps", "segment", "seeds", "lanes"):
        if not 1 <= record[name] < 1 << (20 if name == "lanes" else 31):
            return f"{name} is {shown(record[name])}"
    plan = record.get("plan")
    return None if plan is None or _is_plan(plan) else "plan is no plan of buckets"


def _is_plan(plan: Mapping[str, Any]) -> bool:
    fields = ("steps", "exact", "programs", "padded")
    if not all(type(plan.get(name)) in _TOLD for name in fields) or type(plan.get("buckets")) is not list:
        return False
    return all(
        type(b) is dict and type(b.get("sizes")) is dict and all(type(b.get(n)) in _TOLD for n in b.keys() - {"sizes"})
        for b in plan["buckets"]
    )


def _segment(fold: Fold, record: Record) -> str | None:
    course = fold.course
    if course.run is None:
        return "nobody trains"
    numbers, ended = record["numbers"], record["ended"]
    if numbers != course.number[course.busy].tolist():
        return f"numbers {shown(numbers)} are not those that stand in busy lanes"
    if len(record["step"]) != len(numbers) or not all(type(t) is int and 0 <= t < 1 << 31 for t in record["step"]):
        return f"step is {shown(record['step'])}"
    for name in ("values", "noise"):
        for metric, column in record.get(name, {}).items():
            if type(column) is not list or len(column) != len(numbers):
                return f"{name}: {shown(metric)} is {shown(column)}, not a column of {len(numbers)}"
            fault = _numbers(f"{name} of {metric}", dict(enumerate(column)))  # type: ignore[arg-type]
            if fault is not None:
                return fault
    for number, end in ended.items():
        what = type(end) in (list, tuple) and len(end) == 2 and end[0] in FINAL and isinstance(end[1], str | None)
        if not what or number not in map(str, numbers):
            return f"ended: trial {shown(number)} is {shown(end)}"
        i = [str(n) for n in numbers].index(number)
        if end[0] == "complete" and not _finite(fold.outcomes, {name: column[i] for name, column in record["values"].items()}):
            return f"ended: trial {shown(number)} is complete without a finite value"
    for name in ("gradient", "guard"):
        for number, of_trial in record.get(name, {}).items():
            if number not in ended or type(of_trial) is not dict:
                return f"{name}: {shown(number)} is {shown(of_trial)}"
            fault = _numbers(name, of_trial) if name == "gradient" else _texts(name, of_trial)
            if fault is not None:
                return fault
    return None


def _texts(what: str, values: Mapping[str, Any]) -> str | None:
    wrong = next((name for name, value in values.items() if type(value) is not str), None)
    return None if wrong is None else f"{what}: {shown(wrong)} is {shown(values[wrong])}, not text"


def _confirm(fold: Fold, record: Record) -> str | None:
    if not 1 <= record["replicate"] < 1 << 31:
        return f"replicate is {shown(record['replicate'])}"
    return _numbers("value", {"value": record["value"]}) or _of_a_trial(fold, record)


def _test(fold: Fold, record: Record) -> str | None:
    if record["number"] is not None and not _asked(fold, record["number"]):
        return _of_a_trial(fold, record)
    params = record.get("params")
    return _numbers("values", record["values"]) or (None if params is None else _params(fold, params))


def _kind(further: Further | None = None, optional: Mapping[str, Types] | None = None, **required: Types) -> _Kind:
    return _Kind(frozenset(required), required | dict(optional or {}), further)


_WHO: Mapping[str, Types] = {"lease": _INT, "lost": _BOOL}
_KINDS: Mapping[str, _Kind] = {
    "ask": _kind(_ask, {"params": _DICT, "queue": _INT, "source": _TEXT}, number=_INT, u=_LIST, seen=_INT, owner=_TEXT, time=_NUMBER),
    "lease": _kind(_of_a_trial, number=_INT, owner=_TEXT, time=_NUMBER),
    "release": _kind(_of_a_trial, _WHO, number=_INT, reason=_TEXT, time=_NUMBER),
    "report": _kind(_report, _WHO, number=_INT, step=_NUMBER, values=_DICT, time=_NUMBER),
    "tell": _kind(
        _tell,
        {**_WHO, "noise": _DICT, "error": _NAME, "cost": _TOLD, "step": _TOLD, "gradient": _DICT},
        number=_INT,
        status=_TEXT,
        values=_DICT,
        time=_NUMBER,
    ),
    "enqueue": _kind(_enqueue, {"retry": _MAYBE_INT}, u=_LIST, params=_DICT, time=_NUMBER),
    "extend": _kind(space=_DICT, time=_NUMBER),
    "sampler": _kind(sampler=_TEXT, time=_NUMBER),
    "scheduler": _kind(scheduler=_NAME, time=_NUMBER),
    "decision": _kind(_decision, {"lanes": _LIST, "u": _DICT, "more": _BOOL}, number=_LIST, time=_NUMBER),
    "train": _kind(
        _train,
        {"plan": _DICT},
        **dict.fromkeys(("steps", "segment", "seeds", "lanes"), _INT),
        given=_WHOLE,
        scheduler=_TEXT,
        shapes=_TEXT,
        owner=_TEXT,
        time=_NUMBER,
    ),
    "segment": _kind(
        _segment,
        dict.fromkeys(("noise", "gradient", "guard"), _DICT),
        numbers=_LIST,
        step=_LIST,
        values=_DICT,
        ended=_DICT,
        seconds=_NUMBER,
        time=_NUMBER,
    ),
    "stop": _kind(time=_NUMBER),
    "pause": _kind(time=_NUMBER),
    "resume": _kind(time=_NUMBER),
    "confirm": _kind(_confirm, number=_INT, replicate=_INT, label=_TEXT, value=_TOLD, time=_NUMBER),
    "test": _kind(_test, {"params": _MAYBE_DICT}, number=_MAYBE_INT, split=_TEXT, repeats=_INT, values=_DICT, time=_NUMBER),
}
_HEADER: Mapping[str, Types] = {
    **dict.fromkeys(("version", "isa", "sampler"), _TEXT),
    "space": _DICT,
    "outcomes": _LIST,
    "seed": _INT,
    "lag": _MAYBE_INT,
    "stochastic": _BOOL,
}
