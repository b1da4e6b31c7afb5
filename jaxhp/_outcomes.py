"""Outcomes: the metrics that a study is about, how users write them, and how told values are checked against them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxhp._types import Direction, Outcome, Record
from jaxhp.errors import StudyError

_NO_NUMBERS = (bool, np.bool_, str, complex, np.complexfloating)  # though some have a __float__


def described(
    direction: Direction, metric: str, directions: Mapping[str, Direction] | None, constraints: Mapping[str, str] | None
) -> list[list[Any]]:
    """The arguments of `Study` as [name, direction, threshold] lists, as the header records them: objectives first."""
    if directions is not None and (not isinstance(directions, Mapping) or not directions):
        raise StudyError(f"directions: expected one metric or more, such as {{'loss': 'minimize'}}, got {directions!r}")
    if constraints is not None and not isinstance(constraints, Mapping):
        raise StudyError(f"constraints: expected bounds on metrics, such as {{'memory': '<= 8e9'}}, got {constraints!r}")
    if directions is None and not isinstance(metric, str):
        raise StudyError(f"metric: expected a non-empty string, got {metric!r}; several metrics are directions={{'loss': 'minimize', ...}}")
    outcomes: list[list[Any]] = []
    for name, way in (directions if directions is not None else {metric: direction}).items():
        if not isinstance(name, str) or not name:
            raise StudyError(f"metric: expected a non-empty string, got {name!r}")
        if way not in ("minimize", "maximize"):
            raise StudyError(f"direction of {name!r}: expected 'minimize' or 'maximize', got {way!r}")
        outcomes.append([name, way, None])
    for name, bound in (constraints or {}).items():
        match = re.fullmatch(r"\s*(<=|>=)\s*(\S+)\s*", bound) if isinstance(bound, str) else None
        threshold = _finite(match[2]) if match else None
        if not isinstance(name, str) or not name:
            raise StudyError(f"constraints: expected the names of metrics, got {name!r}")
        if match is None or threshold is None:
            raise StudyError(f"constraints[{name!r}]: expected '<= number' or '>= number', got {bound!r}")
        if any(name == o[0] for o in outcomes):
            raise StudyError(f"constraints[{name!r}]: this metric is already an outcome; constrain another one")
        outcomes.append([name, "minimize" if match[1] == "<=" else "maximize", threshold])
    return outcomes


def satisfied(outcomes: Sequence[Outcome], values: Mapping[str, float]) -> bool:
    """Whether told values meet every constraint."""
    return all(o.threshold is None or o.sign * values[o.name] <= o.sign * o.threshold for o in outcomes)


def metrics(outcomes: Sequence[Outcome], value: Any, what: str) -> dict[str, float]:
    """A told value as {metric: float} with every outcome present; non-finite numbers pass.

    Raises:
        StudyError: naming `what`, the metric and the value.
    """
    if type(value) is float and len(outcomes) == 1:  # by far the most common
        return {outcomes[0].name: value}
    if isinstance(value, Mapping):
        missing = [o.name for o in outcomes if o.name not in value]
        if missing:
            told = ", ".join(map(repr, value)) or "none"
            raise StudyError(f"{what}: metric {missing[0]!r} is missing; got {told}. Tell it, or name another one in the study (metric=)")
        return {_name(key, what): scalar(v, f"{what}: metric {key!r}") for key, v in value.items()}
    if len(outcomes) > 1:
        names = ", ".join(o.name for o in outcomes)
        raise StudyError(f"{what}: expected a dict with the metrics {names}, got {value!r}")
    return {outcomes[0].name: scalar(value, what)}


def result(outcomes: Sequence[Outcome], number: int, value: Any, error: str | None, noise: Any, cost: float | None) -> Record:
    """What is told of a trial, as a record without its step and time; a value that is not finite is a failure.

    Raises:
        StudyError: there is neither value nor error, a metric, the noise or the cost is missing or not a number, noise is negative or not
            finite, or the error is no text.
    """
    if error is not None and not isinstance(error, str):
        raise StudyError(f"tell(trial {number}): error: expected text, such as error=repr(e), got {error!r}")
    values = {} if value is None else metrics(outcomes, value, f"trial {number}")
    if value is None and error is None:
        raise StudyError(f"tell(trial {number}): a value is missing; tell a number, or error='why there is none'")
    record: Record = {"kind": "tell", "number": number, "status": "complete", "values": values}
    bad = [k for k, v in values.items() if not math.isfinite(v)]
    if error is not None or bad:
        record["status"] = "failed"
        record["error"] = error if error is not None else f"{bad[0]} is {values[bad[0]]}"
    if noise is not None:
        record["noise"] = metrics(outcomes, noise, f"noise of trial {number}")
        if any(v < 0 or not math.isfinite(v) for v in record["noise"].values()):
            raise StudyError(f"tell(trial {number}): noise {noise!r} must be finite and not negative")
    if cost is not None:
        record["cost"] = scalar(cost, f"cost of trial {number}")
    return record


def _name(key: Any, what: str) -> str:
    if not isinstance(key, str):
        raise StudyError(f"{what}: a metric's name is a string, got {key!r}")
    return key


def scalar(value: Any, what: str) -> float:
    """A Python, NumPy or JAX number as a float; infinite where it is beyond all floats.

    Raises:
        StudyError: something else, with what it was given for.
    """
    if type(value) is float:
        return value
    try:
        if not isinstance(value, _NO_NUMBERS) and hasattr(value, "__float__") and np.ndim(value) == 0:
            return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except (TypeError, ValueError):  # a date, a complex array, a traced one
        pass
    raise StudyError(f"{what}: expected a number, got {value!r} ({type(value).__name__})")


def _finite(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
