"""Parameters: what one hyperparameter may be, checked, and how its values map to the kernel's plain values.

A plain value (docs/architecture.md) is the number itself for a continuous parameter and the index of a level for a
discrete one. `Axis` holds the map of one parameter; `space.py` puts the axes of a space together.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from decimal import Decimal
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from jaxhp._types import Floats, Kind
from jaxhp.errors import SpaceError

MOST_LEVELS = 2**53  # a float64 names every level
MOST_LOG_INT = 2**40  # beyond, exp and log no longer tell neighbours apart

When: TypeAlias = Mapping[str, Any] | None


@dataclass(frozen=True)
class Float:
    """A real number in [low, high]; `log` searches its logarithm, `step` makes it a grid with both ends.

    >>> Float(1e-4, 1.0, log=True)
    Float(0.0001, 1.0, log=True)
    """

    low: float
    high: float
    _: KW_ONLY
    log: bool = False
    step: float | None = None
    default: float | None = None
    when: When = None

    def __repr__(self) -> str:
        return _shown(self, "low", "high")


@dataclass(frozen=True)
class Int:
    """An integer low, low + step, ..., high; `log` searches its logarithm.

    >>> Int(16, 256, log=True)
    Int(16, 256, log=True)
    """

    low: int
    high: int
    _: KW_ONLY
    log: bool = False
    step: int = 1
    default: int | None = None
    when: When = None

    def __repr__(self) -> str:
        return _shown(self, "low", "high")


@dataclass(frozen=True)
class Ordinal:
    """One of several values whose order means something, such as batch sizes.

    >>> Ordinal([16, 32, 64])
    Ordinal([16, 32, 64])
    """

    choices: Sequence[Any]
    _: KW_ONLY
    default: Any = None
    when: When = None

    def __repr__(self) -> str:
        return _shown(self, "choices")


@dataclass(frozen=True)
class Categorical:
    """One of several values without an order.

    >>> Categorical(["sgd", "adam"], default="adam")
    Categorical(['sgd', 'adam'], default='adam')
    """

    choices: Sequence[Any]
    _: KW_ONLY
    default: Any = None
    when: When = None

    def __repr__(self) -> str:
        return _shown(self, "choices")


Parameter: TypeAlias = Float | Int | Ordinal | Categorical
PARAMETERS = {cls.__name__: cls for cls in (Float, Int, Ordinal, Categorical)}


def _shown(parameter: Parameter, *positional: str) -> str:
    cls = type(parameter)
    fields = {name: getattr(parameter, name) for name in cls.__dataclass_fields__ if name != "_"}
    named = (f"{k}={v!r}" for k, v in fields.items() if k not in positional and v != cls.__dataclass_fields__[k].default)
    return f"{cls.__name__}({', '.join([*(repr(fields[k]) for k in positional), *named])})"


class Grid:
    """Equally spaced numbers by level: (base + i increment) / divisor, in integers where the user's decimals are short, so that level 3 of 0.1 steps is 0.3."""

    __slots__ = ("base", "divisor", "increment", "n")

    def __init__(self, low: float, step: float, n: int) -> None:
        exact_low, exact_step = Decimal(repr(low)), Decimal(repr(step))
        digits = max(0, *(-int(v.normalize().as_tuple().exponent) for v in (exact_low, exact_step)))
        scale = Decimal(10) ** digits
        base, increment = int(exact_low * scale), int(exact_step * scale)
        self.n = n
        if digits <= 22 and abs(base) + increment * n < MOST_LEVELS:
            self.base, self.increment, self.divisor = float(base), float(increment), float(scale)
        else:
            self.base, self.increment, self.divisor = low, step, 1.0

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, level: int) -> float:
        return (self.base + level * self.increment) / self.divisor


class Axis(NamedTuple):
    """One parameter, encoded."""

    kind: Kind
    low: float
    high: float
    levels: int  # 0 when continuous
    table: Sequence[Any] | None  # user value by level; None when continuous
    index: dict[Any, int] | None  # level by choice; None for numbers
    numbers: Floats | None  # choices as numbers where all are; None otherwise

    def plain(self, value: Any) -> float | None:
        """The plain value of a user value; None where it is not one of the parameter's."""
        if self.index is not None:
            try:
                return self.index.get(value)
            except TypeError:  # unhashable
                return None
        if isinstance(value, (bool, np.bool_, str)) or not hasattr(value, "__float__"):
            return None
        x = float(value)
        if not self.low <= x <= self.high:
            return None
        if self.table is None:
            return x
        if isinstance(self.table, range):
            return float(self.table.index(int(x))) if x == int(x) and int(x) in self.table else None
        level = round((x - self.low) / (self.high - self.low) * (self.levels - 1))
        return float(level) if math.isclose(self.table[level], x, rel_tol=1e-12, abs_tol=1e-12 * (self.high - self.low)) else None

    def values(self, plain: Floats) -> Floats:
        """Numbers (n,) of plain values (n,), NaN where NaN; NaN throughout for choices that are not numbers."""
        if self.table is None:
            return plain
        if isinstance(self.table, range):
            return self.table.start + self.table.step * plain
        if isinstance(self.table, Grid):
            out: Floats = (self.table.base + plain * self.table.increment) / self.table.divisor
            return out
        if self.numbers is None:
            return np.full_like(plain, math.nan)
        active = ~np.isnan(plain)
        result = np.full_like(plain, math.nan)
        result[active] = self.numbers[plain[active].astype(np.int64)]
        return result


def axis(name: str, parameter: Parameter) -> Axis:
    """Checks a parameter and encodes it.

    Raises:
        SpaceError: naming the parameter, the value and the remedy.
    """
    if isinstance(parameter, Float):
        return _float_axis(name, parameter)
    if isinstance(parameter, Int):
        return _int_axis(name, parameter)
    return _choice_axis(name, parameter)


def _fail(name: str, parameter: Parameter, what: str) -> SpaceError:
    shown = repr(parameter)
    inside = shown[shown.index("(") + 1 :]
    return SpaceError(f"{type(parameter).__name__}({name!r}, {inside}: {what}")


def _bounds(name: str, p: Float | Int, number: str, types: tuple[type, ...]) -> None:
    for field in ("low", "high", "step", "default"):
        value = getattr(p, field)
        if value is None and field in ("step", "default") and not (isinstance(p, Int) and field == "step"):
            continue
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, types):
            raise _fail(name, p, f"{field} is {value!r} ({type(value).__name__}); give {number}")
        if not math.isfinite(value):
            raise _fail(name, p, f"{field} is {value}; give a finite number")
    if not p.low < p.high:
        remedy = "did you swap them?" if p.low > p.high else "a constant needs no parameter"
        raise _fail(name, p, f"low must be below high; {remedy}")
    if not isinstance(p.log, (bool, np.bool_)):
        raise _fail(name, p, f"log is {p.log!r}; give True or False")
    if p.log and p.low <= 0:
        raise _fail(name, p, "a log scale needs low above 0; raise low or drop log=True")
    if p.step is not None and p.step <= 0:
        raise _fail(name, p, f"step is {p.step}; give a positive one")
    if p.default is not None and not p.low <= p.default <= p.high:
        raise _fail(name, p, f"default {p.default!r} is outside [{p.low}, {p.high}]; move it or widen the bounds")


def _float_axis(name: str, p: Float) -> Axis:
    _bounds(name, p, "a number", (int, float, np.integer, np.floating))
    low, high = float(p.low), float(p.high)
    if not math.isfinite(high - low):
        raise _fail(name, p, "the range is too wide for a float; narrow it, or use log=True with low above 0")
    if p.step is None:
        return Axis(Kind.FLOAT_LOG if p.log else Kind.FLOAT, low, high, 0, None, None, None)
    if p.log:
        raise _fail(name, p, "log and step exclude each other; drop one, or list the values in an Ordinal")
    levels = _steps(name, p, Decimal(repr(low)), Decimal(repr(high)), Decimal(repr(float(p.step))))
    result = Axis(Kind.GRID, low, high, levels, Grid(low, float(p.step), levels), None, None)
    _check_default(name, p, result)
    return result


def _int_axis(name: str, p: Int) -> Axis:
    _bounds(name, p, "an integer", (int, np.integer))
    low, high, step = int(p.low), int(p.high), int(p.step)
    if p.log and step != 1:
        raise _fail(name, p, "a log scale takes step=1; drop one of them, or list the values in an Ordinal")
    if p.log and high > MOST_LOG_INT:
        raise _fail(name, p, f"a log scale reaches to 2**40 = {MOST_LOG_INT}; lower high, or search the exponent")
    if max(abs(low), abs(high)) >= MOST_LEVELS:
        raise _fail(name, p, "integers reach to 2**53; narrow the range, or search the exponent")
    levels = high - low + 1 if p.log else _steps(name, p, Decimal(low), Decimal(high), Decimal(step))
    result = Axis(Kind.GRID_LOG if p.log else Kind.GRID, float(low), float(high), levels, range(low, high + 1, step), None, None)
    _check_default(name, p, result)
    return result


def _steps(name: str, p: Float | Int, low: Decimal, high: Decimal, step: Decimal) -> int:
    count, rest = divmod(high - low, step)
    if rest:
        below = low + count * step
        fits = f"high={below + step}" if count == 0 else f"high={below} or high={below + step}"
        raise _fail(name, p, f"high is not low + a multiple of step={step}; use {fits}")
    if count >= MOST_LEVELS:
        raise _fail(name, p, "more than 2**53 levels; use a larger step")
    return int(count) + 1


def _check_default(name: str, p: Float | Int, encoded: Axis) -> None:
    if p.default is not None and encoded.plain(p.default) is None:
        raise _fail(name, p, f"default {p.default!r} is not on the grid low + k * step; move it")


def _choice_axis(name: str, p: Ordinal | Categorical) -> Axis:
    if isinstance(p.choices, (str, bytes)) or not isinstance(p.choices, Sequence):
        raise _fail(name, p, f"choices must be a list, got {type(p.choices).__name__}; put them in brackets")
    choices = [_json_scalar(name, p, c) for c in p.choices]
    if len(choices) < 2:
        raise _fail(name, p, f"{len(choices)} choice(s); give at least two, a constant needs no parameter")
    index: dict[Any, int] = {}
    for i, choice in enumerate(choices):
        if choice in index:
            other = choices[index[choice]]
            why = "" if repr(other) == repr(choice) else f" ({other!r} == {choice!r} in Python)"
            raise _fail(name, p, f"choice {choice!r} occurs twice{why}; remove one")
        index[choice] = i
    if p.default is not None and p.default not in index:
        raise _fail(name, p, f"default {p.default!r} is not among the choices; add it or choose another")
    numeric = all(isinstance(c, (int, float)) and not isinstance(c, bool) for c in choices)
    numbers = np.array(choices, dtype=np.float64) if numeric else None
    kind = Kind.ORDINAL if isinstance(p, Ordinal) else Kind.CATEGORICAL
    return Axis(kind, 0.0, 0.0, len(choices), choices, index, numbers)


def _json_scalar(name: str, p: Ordinal | Categorical, choice: Any) -> Any:
    if isinstance(choice, np.generic):
        choice = choice.item()
    if choice is not None and not isinstance(choice, (str, int, float, bool)):
        raise _fail(name, p, f"choice {choice!r} is a {type(choice).__name__}; use strings, numbers, booleans or None, and look objects up by name")
    if isinstance(choice, float) and not math.isfinite(choice):
        raise _fail(name, p, f"choice {choice!r} is not finite; name it with a string")
    return choice


def to_json(parameter: Parameter) -> dict[str, Any]:
    """The parameter as JSON values."""
    fields = {k: getattr(parameter, k) for k in type(parameter).__dataclass_fields__ if k != "_"}
    if fields.get("when") is not None:
        fields["when"] = {k: list(v) if isinstance(v, (list, tuple, set, frozenset)) else v for k, v in fields["when"].items()}
    if "choices" in fields:
        fields["choices"] = list(fields["choices"])
    kept = {k: v for k, v in fields.items() if v is not None and v is not False}
    result: dict[str, Any] = json.loads(json.dumps({"type": type(parameter).__name__} | kept, default=_item))
    return result


def from_json(fields: Mapping[str, Any]) -> Parameter:
    """What `to_json` wrote."""
    rest = dict(fields)
    cls = PARAMETERS[rest.pop("type")]
    return cls(**rest)


def _item(value: npt.NDArray[Any] | np.generic) -> Any:
    return value.item()
