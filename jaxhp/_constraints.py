"""Input constraints: which configurations of a space may be tried at all.

A **linear** constraint is written as a comparison, `"2 * width + depth <= 300"`; it is checked for many points at once, and a
contradiction can be proved from the bounds. A **predicate** is any function of a configuration. Either counts only where all
parameters that it names are active.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from jaxhp._types import Bools, Floats, Params
from jaxhp.errors import SpaceError

Spans: TypeAlias = Mapping[str, tuple[float, float] | None]  # least and greatest value by name; None for what is no number

_OPERATORS = {ast.LtE: (1.0, False), ast.Lt: (1.0, True), ast.GtE: (-1.0, False), ast.Gt: (-1.0, True)}
_ALLOWED = (
    "write one comparison (<=, <, >=, >) of sums of numeric parameters times constants, such as '2 * width + depth <= 300'; "
    "pass a function for anything else"
)


class Linear(NamedTuple):
    """sum coefficient * value <= bound (or < when strict)."""

    text: str
    terms: dict[str, float]
    bound: float
    strict: bool

    def excess(self, values: Mapping[str, Floats]) -> Floats:
        """How far each row (n,) is beyond the bound, relative to the size of its terms; NaN where a parameter is inactive."""
        parts = [c * values[name] for name, c in self.terms.items()]
        size = abs(self.bound) + np.sum(np.abs(parts), axis=0) + 1e-300
        beyond: Floats = (np.sum(parts, axis=0) - self.bound) / size
        return beyond

    def satisfied(self, values: Mapping[str, Floats]) -> Bools:
        excess = self.excess(values)
        met = excess < -1e-12 if self.strict else excess <= 1e-12  # rounding of the sum must not decide
        result: Bools = met | np.isnan(excess)
        return result

    def holds(self, params: Params) -> bool:
        """Whether a configuration meets it."""
        return bool(self.satisfied({name: np.array([float(params.get(name, math.nan))]) for name in self.terms})[0])

    def lowest(self, spans: Spans) -> float:
        """The least value of the sum over the box."""
        return math.fsum(c * span[0 if c > 0 else 1] for name, c in self.terms.items() if (span := spans[name]) is not None)

    def __str__(self) -> str:
        return self.text


class Predicate(NamedTuple):
    """A function of the active parameters; None when it was read from a log, which cannot hold functions."""

    name: str
    function: Callable[[Params], bool] | None

    def satisfied(self, params: Params, names: tuple[str, ...]) -> bool:
        """Whether params meet it; asking for an inactive one of `names` means that it does not count here."""
        if self.function is None:
            raise SpaceError(f"constraint {self.name!r} is a function, which a log cannot hold; open the study with the space itself")
        try:
            value = self.function(params)
        except KeyError as e:
            if e.args and e.args[0] in names:
                return True
            raise SpaceError(f"constraint {self.name!r} asked for {e}, which is not a parameter; there are {', '.join(names)}") from e
        except Exception as e:
            raise SpaceError(f"constraint {self.name!r} raised {type(e).__name__}: {e} at {params!r}; mend the function") from e
        if not isinstance(value, (bool, np.bool_)):
            raise SpaceError(f"constraint {self.name!r} returned {value!r} at {params!r}; return True or False")
        return bool(value)

    def __str__(self) -> str:
        return self.name


Constraint = Linear | Predicate


def linear(text: str, spans: Spans) -> Linear:
    """Parses a comparison.

    Raises:
        SpaceError: with what is allowed.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError) as e:
        raise SpaceError(f"where({text!r}): {e.args[0]}; {_ALLOWED}") from e
    except (MemoryError, RecursionError) as e:  # of the parser's own stack
        raise SpaceError(f"where({text[:60]!r}...): it is nested too deeply; {_ALLOWED}") from e
    if not isinstance(tree, ast.Compare) or len(tree.ops) != 1 or type(tree.ops[0]) not in _OPERATORS:
        raise SpaceError(f"where({text!r}): {_ALLOWED}")
    sign, strict = _OPERATORS[type(tree.ops[0])]
    left, right = _affine(tree.left, text, spans), _affine(tree.comparators[0], text, spans)
    terms = {name: sign * (left.get(name, 0.0) - right.get(name, 0.0)) for name in (left | right) if name}
    terms = {name: c for name, c in terms.items() if c != 0.0}
    if not terms:
        raise SpaceError(f"where({text!r}): no parameter is left in it; {_ALLOWED}")
    bound = sign * (right.get("", 0.0) - left.get("", 0.0))
    largest = abs(bound) + sum(abs(c) * max(map(abs, spans[name] or ())) for name, c in terms.items())
    if not math.isfinite(largest):
        raise SpaceError(f"where({text!r}): the sum can be larger than a float; scale it down, or narrow the bounds")
    return Linear(text, terms, bound, strict)


def _affine(node: ast.expr, text: str, spans: Spans) -> dict[str, float]:
    """Coefficient by name; the constant under ""."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        return {"": _constant(node.value, text)}
    if isinstance(node, (ast.Name, ast.Attribute)):
        name = ast.unparse(node)
        if name not in spans:
            raise SpaceError(f"where({text!r}): {name!r} is not a parameter; there are {', '.join(spans)}")
        if spans[name] is None:
            raise SpaceError(f"where({text!r}): {name!r} is not a number; {_ALLOWED}")
        return {name: 1.0}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        return _scaled(_affine(node.operand, text, spans), -1.0 if isinstance(node.op, ast.USub) else 1.0)
    if isinstance(node, ast.BinOp):
        a, b = _affine(node.left, text, spans), _affine(node.right, text, spans)
        if isinstance(node.op, (ast.Add, ast.Sub)):
            b = _scaled(b, -1.0 if isinstance(node.op, ast.Sub) else 1.0)
            return {name: a.get(name, 0.0) + b.get(name, 0.0) for name in a | b}
        if isinstance(node.op, ast.Mult) and (set(a) == {""} or set(b) == {""}):
            return _scaled(b, a[""]) if set(a) == {""} else _scaled(a, b[""])
        if isinstance(node.op, ast.Div) and set(b) == {""} and b[""] != 0.0:
            return _scaled(a, 1.0 / b[""])
    raise SpaceError(f"where({text!r}): {ast.unparse(node)!r} is not linear; {_ALLOWED}")


def _constant(value: float, text: str) -> float:
    try:
        return float(value)
    except OverflowError as e:
        raise SpaceError(f"where({text!r}): the constant {str(value)[:8]}... is larger than a float; scale it down") from e


def _scaled(terms: dict[str, float], factor: float) -> dict[str, float]:
    return {name: factor * c for name, c in terms.items()}


def to_json(constraint: Constraint) -> dict[str, Any]:
    """The constraint as JSON values; a function is only named."""
    return {"linear": constraint.text} if isinstance(constraint, Linear) else {"predicate": constraint.name}


def from_json(fields: Mapping[str, Any], spans: Spans) -> Constraint:
    """What `to_json` wrote; a function is unknown until its space is given again."""
    return linear(fields["linear"], spans) if "linear" in fields else Predicate(fields["predicate"], None)
