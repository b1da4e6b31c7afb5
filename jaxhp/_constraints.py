"""Input constraints: which configurations of a space may be tried at all.

A **linear** constraint is written as a comparison, `"2 * width + depth <= 300"`; it is checked for many points at once, and a
contradiction can be proved from the bounds. A **predicate** is any function of a configuration. Either counts only where all
parameters that it names are active.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxhp._types import Bools, Floats, Params
from jaxhp.errors import SpaceError

_OPERATORS = {ast.LtE: (1.0, False), ast.Lt: (1.0, True), ast.GtE: (-1.0, False), ast.Gt: (-1.0, True)}
_ALLOWED = "write one comparison (<=, <, >=, >) of sums of numeric parameters times constants, such as '2 * width + depth <= 300'; pass a function for anything else"


class Linear(NamedTuple):
    """sum coefficient * value <= bound (or < when strict)."""

    text: str
    terms: dict[str, float]
    bound: float
    strict: bool

    def excess(self, values: Mapping[str, Floats]) -> Floats:
        """How far each row (n,) is beyond the bound, relative to the size of its terms; NaN where a parameter is inactive."""
        parts = [c * values[name] for name, c in self.terms.items()]
        size = abs(self.bound) + sum(np.abs(part) for part in parts) + 1e-300
        beyond: Floats = (sum(parts) - self.bound) / size
        return beyond

    def satisfied(self, values: Mapping[str, Floats]) -> Bools:
        excess = self.excess(values)
        met = excess < -1e-12 if self.strict else excess <= 1e-12  # rounding of the sum must not decide
        result: Bools = met | np.isnan(excess)
        return result

    def lowest(self, bounds: Mapping[str, tuple[float, float]]) -> float:
        """The least value of the sum over the box."""
        return math.fsum(c * bounds[name][0 if c > 0 else 1] for name, c in self.terms.items())

    def __str__(self) -> str:
        return self.text


class Predicate(NamedTuple):
    """A function of the active parameters; None when it was read from a log, which cannot hold functions."""

    name: str
    function: Callable[[Params], bool] | None

    def satisfied(self, params: Params, names: tuple[str, ...]) -> bool:
        """Whether params meet it; asking for an inactive one of `names` means that it does not count here."""
        if self.function is None:
            raise SpaceError(f"constraint {self.name!r} is a function, which a log cannot hold: open the study with the space that defines it")
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


def linear(text: str, numeric: Mapping[str, bool]) -> Linear:
    """Parses a comparison; `numeric` tells of every parameter whether it is a number.

    Raises:
        SpaceError: with what is allowed.
    """
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError as e:
        raise SpaceError(f"where({text!r}): {e.msg}; {_ALLOWED}") from e
    if not isinstance(tree, ast.Compare) or len(tree.ops) != 1 or type(tree.ops[0]) not in _OPERATORS:
        raise SpaceError(f"where({text!r}): {_ALLOWED}")
    sign, strict = _OPERATORS[type(tree.ops[0])]
    left, right = _affine(tree.left, text, numeric), _affine(tree.comparators[0], text, numeric)
    terms = {name: sign * (left.get(name, 0.0) - right.get(name, 0.0)) for name in (left | right) if name}
    terms = {name: c for name, c in terms.items() if c != 0.0}
    if not terms:
        raise SpaceError(f"where({text!r}): no parameter is left in it; {_ALLOWED}")
    return Linear(text, terms, sign * (right.get("", 0.0) - left.get("", 0.0)), strict)


def _affine(node: ast.expr, text: str, numeric: Mapping[str, bool]) -> dict[str, float]:
    """Coefficient by name; the constant under ""."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        return {"": float(node.value)}
    if isinstance(node, (ast.Name, ast.Attribute)):
        name = ast.unparse(node)
        if name not in numeric:
            raise SpaceError(f"where({text!r}): {name!r} is not a parameter; there are {', '.join(numeric)}")
        if not numeric[name]:
            raise SpaceError(f"where({text!r}): {name!r} is not a number; {_ALLOWED}")
        return {name: 1.0}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        return _scaled(_affine(node.operand, text, numeric), -1.0 if isinstance(node.op, ast.USub) else 1.0)
    if isinstance(node, ast.BinOp):
        a, b = _affine(node.left, text, numeric), _affine(node.right, text, numeric)
        if isinstance(node.op, (ast.Add, ast.Sub)):
            b = _scaled(b, -1.0 if isinstance(node.op, ast.Sub) else 1.0)
            return {name: a.get(name, 0.0) + b.get(name, 0.0) for name in a | b}
        if isinstance(node.op, ast.Mult) and (set(a) == {""} or set(b) == {""}):
            return _scaled(b, a[""]) if set(a) == {""} else _scaled(a, b[""])
        if isinstance(node.op, ast.Div) and set(b) == {""} and b[""] != 0.0:
            return _scaled(a, 1.0 / b[""])
    raise SpaceError(f"where({text!r}): {ast.unparse(node)!r} is not linear; {_ALLOWED}")


def _scaled(terms: dict[str, float], factor: float) -> dict[str, float]:
    return {name: factor * c for name, c in terms.items()}


def substituted(constraint: Constraint, fixed: Params, inactive: frozenset[str]) -> Constraint | None:
    """The constraint with some parameters fixed; None where it no longer says anything. A contradiction is a SpaceError."""
    if isinstance(constraint, Predicate):
        function = constraint.function
        return Predicate(constraint.name, None if function is None else lambda params: function(fixed | params))
    if any(name in inactive for name in constraint.terms):
        return None
    bound = constraint.bound - math.fsum(c * float(fixed[name]) for name, c in constraint.terms.items() if name in fixed)
    terms = {name: c for name, c in constraint.terms.items() if name not in fixed}
    if terms:
        return Linear(constraint.text, terms, bound, constraint.strict)
    if (bound <= 0.0) if constraint.strict else (bound < -1e-12 * abs(constraint.bound)):
        raise SpaceError(f"the fixed values {fixed!r} break the constraint {constraint.text!r}; fix others")
    return None


def to_json(constraint: Constraint) -> dict[str, Any]:
    """The constraint as JSON values; a function is only named."""
    return {"linear": constraint.text} if isinstance(constraint, Linear) else {"predicate": constraint.name}
