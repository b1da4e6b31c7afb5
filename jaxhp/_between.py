"""From one space to another: with some parameters held, or extended by values and parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxhp._constraints import Constraint, Linear, Predicate
from jaxhp._parameters import Categorical, Float, Int, Ordinal, Parameter, When, condition, listed, with_condition
from jaxhp._types import Bools, Floats, Params
from jaxhp.errors import SpaceError

if TYPE_CHECKING:
    from jaxhp.space import Space

Lift = Callable[[Floats], Floats]
Lower = Callable[[Floats], tuple[Bools, Floats]]


def fixed(space: Space, values: Params) -> tuple[dict[str, Parameter], tuple[Constraint, ...]]:
    """What is left of a space, parameters and constraints, when some parameters are held.

    A parameter below a held one inherits the condition of the latter: it is active where that is.
    """
    plain = {name: _plain(space, name, value) for name, value in values.items()}
    off: set[str] = set()
    kept: dict[str, Parameter] = {}
    for name, parameter in space.parameters.items():
        above, _ = condition(parameter)
        if above is not None and (above in off or (above in values and not _activates(space, name, plain[above]))):
            off.add(name)
            if name in values:
                raise SpaceError(f"{name!r} is inactive when {above!r} is {values.get(above)!r}; do not fix it")
        elif name not in values:
            kept[name] = with_condition(parameter, _inherited(space, name, values))
    if not kept:
        raise SpaceError(f"fixing {values!r} leaves nothing to search; leave a parameter free")
    sometimes = {name: when for name in values if (when := _inherited(space, name, values)) is not None}
    left = (_substituted(c, values, sometimes, off) for c in space.constraints)
    return kept, tuple(c for c in left if c is not None)


def maps(space: Space, reduced: Space, values: Params) -> tuple[Lift, Lower]:
    """Points of the reduced space as points of the space, and back where they have the held values."""
    held = np.array([space.index[name] for name in values], dtype=np.int64)
    columns = np.array([space.index[name] for name in reduced.names], dtype=np.int64)
    x = np.full((1, space.d), math.nan)
    x[0, held] = [_plain(space, name, value) for name, value in values.items()]
    u_held = space.encoded.encode(x)[0, held]

    def lift(u: Floats) -> Floats:
        full = np.full((len(u), space.d), 0.5)
        full[:, held] = u_held
        full[:, columns] = u
        return space.snap(full)

    def lower(u: Floats) -> tuple[Bools, Floats]:
        same: Bools = ((u[:, held] == u_held) | np.isnan(u[:, held])).all(axis=1)
        return same, np.ascontiguousarray(u[same][:, columns])

    return lift, lower


def check_extension(old: Space, new: Space) -> None:
    """Raises a SpaceError where a configuration of `old` is not one of `new`, or its points cannot be completed."""
    for name, was in old.parameters.items():
        now = new.parameters.get(name)
        if now is None:
            raise SpaceError(f"extend: {name!r} is gone; keep every parameter, wider or as it was")
        if not (_wider(was, now, new) and _condition_wider(was, now, old)):
            kept = "its type, scale and condition, and every old value"
            raise SpaceError(f"extend: {name!r} was {was!r} and {now!r} is not wider; keep {kept}")
    for name, now in new.parameters.items():
        if name not in old.parameters and now.default is None:
            raise SpaceError(f"extend: the new {name!r} needs a default, which the trials so far are taken to have used")
    known = {str(c) for c in old.constraints}
    for constraint in new.constraints:
        if str(constraint) not in known:
            raise SpaceError(f"extend: the constraint {str(constraint)!r} is new and may exclude trials that were made; leave it out")


def converted(old: Space, u: Floats, new: Space) -> Floats:
    """Points (n, d) of a space as points (n, d') of an extension of it; new coordinates are at their defaults."""
    plain = old.encoded.decode(u)
    target = np.tile(new.defaults_everywhere(), (len(u), 1))
    x = np.full_like(target, math.nan)
    for name in old.names:
        axis, was = new.axes[new.index[name]], old.axes[old.index[name]]
        column = plain[:, old.index[name]]
        x[:, new.index[name]], _ = axis.plain_column(was.column(column, conditional=True))
    u_new = new.encoded.encode(x)
    return new.snap(np.where(np.isnan(u_new), target, u_new))


def _plain(space: Space, name: str, value: Any) -> float:
    axis = space.axes[space.index_of(name)]
    plain = axis.plain(value)
    if plain is None:
        raise SpaceError(f"{name}={value!r} {axis.refusal(value)}")
    return plain


def _activates(space: Space, name: str, level: float) -> bool:
    return bool(space.dims.allowed[space.index[name], int(level)])


def _inherited(space: Space, name: str, values: Params) -> When:
    """The condition of a parameter on those that are not held, given that all held ones above it are active."""
    parameter = space.parameters[name]
    while (above := condition(parameter)[0]) is not None and above in values:
        parameter = space.parameters[above]
    return parameter.when


def _substituted(constraint: Constraint, values: Params, sometimes: dict[str, Mapping[str, Any]], off: set[str]) -> Constraint | None:
    """The constraint on what is free; None where it no longer says anything. A contradiction is a SpaceError."""

    def whole(params: Params) -> Params:
        def is_active(name: str) -> bool:
            return all(above in params and params[above] in listed(active) for above, active in sometimes.get(name, {}).items())

        return {name: value for name, value in values.items() if is_active(name)} | params

    if isinstance(constraint, Predicate):
        function = constraint.function
        return Predicate(constraint.name, None if function is None else lambda params: function(whole(params)))
    if off & constraint.terms.keys():
        return None
    if sometimes.keys() & constraint.terms.keys():
        return Predicate(constraint.text, lambda params: constraint.holds(whole(params)))
    terms = {name: c for name, c in constraint.terms.items() if name not in values}
    if not terms:
        if not constraint.holds(values):
            raise SpaceError(f"the fixed values {values!r} break the constraint {constraint.text!r}; fix others")
        return None
    bound = constraint.bound - math.fsum(c * float(values[name]) for name, c in constraint.terms.items() if name in values)
    return Linear(constraint.text, terms, bound, constraint.strict)


def _wider(old: Parameter, now: Parameter, new: Space) -> bool:
    if isinstance(old, (Float, Int)) and isinstance(now, (Float, Int)):
        axis = next(a for a, p in zip(new.axes, new.parameters.values(), strict=True) if p is now)
        same = type(now) is type(old) and old.log == now.log and old.step == now.step
        return same and axis.plain(old.low) is not None and axis.plain(old.high) is not None
    if isinstance(old, (Ordinal, Categorical)) and isinstance(now, (Ordinal, Categorical)):
        return type(now) is type(old) and all(c in now.choices for c in old.choices)
    return False


def _condition_wider(was: Parameter, now: Parameter, old: Space) -> bool:
    """The same condition; it may add values that the parent did not have before, for which no trial lacks this parameter."""
    above, values = condition(was)
    now_above, now_values = condition(now)
    if above is None or now_above is None:
        return above is now_above
    parent = old.axes[old.index[above]]
    added = [v for v in now_values if v not in values]
    return above == now_above and all(v in now_values for v in values) and all(parent.plain(v) is None for v in added)
