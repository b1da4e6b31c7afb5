"""One parameter, checked and encoded: the map between its values and the kernel's plain values.

A plain value (docs/architecture.md) is the number itself for a continuous parameter and the index of a level for a
discrete one; NaN where the parameter is inactive. `space.py` puts the axes of a space together.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from jaxhp._parameters import Categorical, Float, Int, Ordinal, Parameter
from jaxhp._types import Bools, Floats, Kind
from jaxhp.errors import SpaceError

MOST_LEVELS = 2**50  # the centre (i + 1/2) / levels of every level is a float64 of its own, and lies within its cell
MOST_INT = 2**53  # a float64 names every integer up to here
MOST_LOG_INT = 2**40  # beyond, exp and log no longer tell neighbours apart
_CLOSE = 1e-12  # a value this near (of the range) to a level of a grid is that level
_FEW_CHOICES = 32  # up to here a comparison with each is faster than a dictionary


class Grid:
    """Equally spaced numbers by level: (base + i increment) / divisor, in integers where the user's decimals are short.

    So level 3 of 0.1 steps is 0.3.
    """

    __slots__ = ("base", "divisor", "high", "increment")

    def __init__(self, low: float, high: float, step: float, n: int) -> None:
        exact_low, exact_step = Decimal(repr(low)), Decimal(repr(step))
        digits = max(0, *(-int(v.normalize().as_tuple().exponent) for v in (exact_low, exact_step)))
        scale = Decimal(10) ** digits
        base, increment = int(exact_low * scale), int(exact_step * scale)
        self.high = high
        if digits <= 22 and abs(base) + increment * n < MOST_INT and base + increment * (n - 1) == Decimal(repr(high)) * scale:
            self.base, self.increment, self.divisor = float(base), float(increment), float(scale)
        else:
            self.base, self.increment, self.divisor = low, (high - low) / (n - 1), 1.0

    def __getitem__(self, level: int) -> float:
        return min((self.base + level * self.increment) / self.divisor, self.high)

    def at(self, levels: Floats) -> Floats:
        """Values (n,) of levels (n,); NaN where NaN."""
        values: Floats = np.minimum((self.base + levels * self.increment) / self.divisor, self.high)
        return values


class Axis(NamedTuple):
    """One parameter, encoded."""

    kind: Kind
    low: float
    high: float
    levels: int  # 0 when continuous
    table: Sequence[Any] | Grid | None  # user value by level; None when continuous
    level_of: dict[Any, int] | None  # level by choice; None for numbers
    numbers: Floats | None  # choices as numbers where all are; None otherwise

    @property
    def span(self) -> tuple[float, float] | None:
        """The least and the greatest value; None where the values are not numbers."""
        if self.level_of is None:
            return self.low, self.high
        return None if self.numbers is None else (float(self.numbers.min()), float(self.numbers.max()))

    def plain(self, value: Any) -> float | None:
        """The plain value of a user value; None where it is not one of the parameter's."""
        if self.level_of is not None:
            try:
                return self.level_of.get(value)
            except TypeError:  # unhashable
                return None
        x = _number(value)
        if x is None or not self.low <= x <= self.high:
            return None
        if self.table is None:
            return x
        level = _level(self, np.array([x]))[0]
        return None if math.isnan(level) else float(level)

    def user(self, value: Any) -> Any:
        """One of the parameter's values in the type that a trial has it in, whatever library's number it is."""
        if self.level_of is not None:
            return self.table[self.level_of[value]]  # type: ignore[index]
        return int(value) if isinstance(self.table, range) else float(value)

    def nearest(self, x: float) -> list[float]:
        """Plain values of the numbers around x, clamped to the range: one when continuous, else the levels on either side."""
        if self.numbers is not None:
            below, above = np.where(self.numbers <= x, self.numbers, -math.inf), np.where(self.numbers >= x, self.numbers, math.inf)
            return sorted(
                {float(level) for level, value in ((below.argmax(), below.max()), (above.argmin(), above.min())) if abs(value) < math.inf}
            )
        x = min(max(x, self.low), self.high)
        if self.levels == 0:
            return [x]
        level = (x - self.low) / (self.high - self.low) * (self.levels - 1)
        return sorted({float(math.floor(level)), float(math.ceil(level))})

    def values(self, plain: Floats) -> Floats:
        """Numbers (n,) of plain values (n,), NaN where NaN; NaN throughout for choices that are not numbers."""
        if self.table is None:
            return plain
        if isinstance(self.table, range):
            return self.table.start + self.table.step * plain
        if isinstance(self.table, Grid):
            return self.table.at(plain)
        result = np.full_like(plain, math.nan)
        if self.numbers is not None:
            active = ~np.isnan(plain)
            result[active] = self.numbers[plain[active].astype(np.int64)]
        return result

    def column(self, plain: Floats, conditional: bool) -> npt.NDArray[Any]:
        """User values (n,) of plain values (n,); inactive entries are NaN for floats, else None in an object array."""
        if self.table is None or isinstance(self.table, Grid):
            return self.values(plain)
        active = ~np.isnan(plain) if conditional else slice(None)
        levels = plain[active].astype(np.int64)
        if isinstance(self.table, range):
            values = self.table.start + self.table.step * levels
        else:
            same = len({type(c) for c in self.table}) == 1
            values = np.array(self.table, dtype=None if same else object)[levels]
        if not conditional:
            return values
        column = np.full(len(plain), None, dtype=object)
        column[active] = values.tolist()
        return column

    def plain_column(self, column: npt.NDArray[Any]) -> tuple[Floats, Bools]:
        """Plain values (n,) of user values (n,), and which are not the parameter's. None, unless it is a choice, and NaN are absent."""
        if self.level_of is not None:
            return self._plain_choices(column, self.level_of)
        if column.dtype.kind in "fiu":
            values = column.astype(np.float64)
        else:
            numbers = [math.nan if v is None else _number(v) for v in column.tolist()]
            values = np.array([math.inf if x is None else x for x in numbers])  # infinity is beyond every range
        inside = (values >= self.low) & (values <= self.high)
        plain = np.where(inside, values if self.table is None else _level(self, values), math.nan)
        return plain, np.isnan(plain) & ~np.isnan(values)

    def _plain_choices(self, column: npt.NDArray[Any], index: dict[Any, int]) -> tuple[Floats, Bools]:
        text = column.dtype.kind == "U" and all(isinstance(c, str) for c in index)
        if len(index) <= _FEW_CHOICES and (text or (column.dtype.kind in "fiu" and self.numbers is not None)):
            plain = np.full(len(column), math.nan)
            for choice, level in index.items():
                plain[column == choice] = level
        else:
            plain = np.array([math.nan if (x := self.plain(v)) is None else x for v in column.tolist()], np.float64)
        bad = np.isnan(plain)
        if bad.any() and column.dtype.kind in "fO":
            bad &= np.array([not (v is None or v != v) for v in column.tolist()])
        return plain, bad

    def refusal(self, value: Any) -> str:
        """Why a value is not one of the parameter's, and what would be."""
        if self.level_of is not None:
            close = difflib.get_close_matches(str(value), [str(c) for c in self.level_of], 1)
            meant = next((c for c in self.level_of if close and str(c) == close[0]), None)
            return f"is not among the choices {list(self.level_of)}; {f'did you mean {meant!r}?' if close else 'choose one of them'}"
        x = _number(value)
        if x is None:
            return f"is no number but {type(value).__name__}; give a number from {self.low:g} to {self.high:g}"
        if not math.isfinite(x):
            return f"is not finite; give a number from {self.low:g} to {self.high:g}"
        if not self.low <= x <= self.high or self.table is None:
            return f"is outside [{self.low:g}, {self.high:g}]; move it, or widen the bounds"
        return f"is between the levels; the nearest are {' and '.join(repr(self.table[int(level)]) for level in self.nearest(x))}"


def _number(value: Any) -> float | None:
    """A number as a float, beyond all floats as infinity; None for anything else, booleans and text among it."""
    if isinstance(value, (bool, np.bool_, str, bytes)) or not hasattr(value, "__float__"):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, 1.0 if value > 0 else -1.0)
    except (TypeError, ValueError):  # an array, or a lazy value
        return None


def _level(axis: Axis, values: Floats) -> Floats:
    """Levels (n,) of numbers (n,) on the axis of an Int or a Float with step; NaN where there is none."""
    if isinstance(axis.table, range):
        level = (values - axis.table.start) / axis.table.step
        return np.where(level == np.rint(level), level, math.nan)
    with np.errstate(invalid="ignore"):  # infinities are no level
        level = np.rint((values - axis.low) / (axis.high - axis.low) * (axis.levels - 1))
        near = np.abs(axis.values(level) - values) <= _CLOSE * (np.abs(values) + axis.high - axis.low)
    return np.where(near, level, math.nan)


def encoded(name: str, parameter: Parameter) -> Axis:
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
        if value is None and (field == "default" or (field == "step" and isinstance(p, Float))):
            continue
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, types):
            raise _fail(name, p, f"{field} is {value!r} ({type(value).__name__}); give {number}")
        if not math.isfinite(_number(value) or 0.0):
            raise _fail(name, p, f"{field} is not finite as a float; give a finite number")
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
    if not low < high:
        raise _fail(name, p, "low and high are the same float; move them apart")
    if p.step is None:
        return Axis(Kind.FLOAT_LOG if p.log else Kind.FLOAT, low, high, 0, None, None, None)
    if p.log:
        raise _fail(name, p, "log and step exclude each other; drop one, or list the values in an Ordinal")
    step = float(p.step)
    levels = _steps(name, p, Decimal(repr(low)), Decimal(repr(high)), Decimal(repr(step)))
    result = Axis(Kind.GRID, low, high, levels, Grid(low, high, step, levels), None, None)
    _check_default(name, p, result)
    return result


def _int_axis(name: str, p: Int) -> Axis:
    _bounds(name, p, "an integer", (int, np.integer))
    low, high, step = int(p.low), int(p.high), int(p.step)
    if p.log and step != 1:
        raise _fail(name, p, "a log scale takes step=1; drop one of them, or list the values in an Ordinal")
    if p.log and high > MOST_LOG_INT:
        raise _fail(name, p, f"a log scale reaches to 2**40 = {MOST_LOG_INT}; lower high, or search the exponent")
    if max(abs(low), abs(high)) > MOST_INT:
        raise _fail(name, p, "integers reach to 2**53; narrow the range, or search the exponent")
    levels = high - low + 1 if p.log else _steps(name, p, Decimal(low), Decimal(high), Decimal(step))
    result = Axis(Kind.GRID_LOG if p.log else Kind.GRID, float(low), float(high), levels, range(low, high + 1, step), None, None)
    _check_default(name, p, result)
    return result


def _steps(name: str, p: Float | Int, low: Decimal, high: Decimal, step: Decimal) -> int:
    ratio = (high - low) / step
    if ratio >= MOST_LEVELS:
        raise _fail(name, p, "more than 2**50 levels; use a larger step")
    count = round(ratio)
    if count == 0 or abs(ratio - count) > Decimal("1e-9"):  # a step such as 1/3 is rounded itself
        below = low + int(ratio) * step
        fits = f"high={below + step}" if below == low else f"high={below} or high={below + step}"
        raise _fail(name, p, f"high is not low + a multiple of step={step}; use {fits}")
    return count + 1


def _check_default(name: str, p: Float | Int, encoded: Axis) -> None:
    if p.default is not None and encoded.plain(p.default) is None:
        raise _fail(name, p, f"default {p.default!r} {encoded.refusal(p.default)}")


def _choice_axis(name: str, p: Ordinal | Categorical) -> Axis:
    if not isinstance(p.choices, tuple):
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
    numeric = all(isinstance(c, (int, float)) and not isinstance(c, bool) for c in choices)
    numbers = np.array([_number(c) for c in choices], dtype=np.float64) if numeric else None
    kind = Kind.ORDINAL if isinstance(p, Ordinal) else Kind.CATEGORICAL
    result = Axis(kind, 0.0, 0.0, len(choices), choices, index, numbers)
    if p.default is not None and result.plain(p.default) is None:
        raise _fail(name, p, f"default {p.default!r} {result.refusal(p.default)}")
    return result


def _json_scalar(name: str, p: Ordinal | Categorical, choice: Any) -> Any:
    if isinstance(choice, np.generic):
        choice = choice.item()
    if choice is not None and not isinstance(choice, (str, int, float, bool)):
        what = type(choice).__name__
        raise _fail(name, p, f"choice {choice!r} is a {what}; use strings, numbers, booleans or None, and look objects up by name")
    if isinstance(choice, (int, float)) and not math.isfinite(_number(choice) or 0.0):
        raise _fail(name, p, f"choice {choice!r} is not finite as a float; name it with a string")
    return choice
