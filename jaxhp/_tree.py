"""The names and conditions of a space: nested mappings, parents before children, and the arrays that the kernel reads.

A condition `when={"optimizer": ["sgd", "adam"]}` makes a parameter active where its one parent is and has one of these values,
so several levels are a chain. Conditions are brought into one form here: the parent's full name, values in the order of its levels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jaxhp._axis import Axis, encoded
from jaxhp._parameters import Parameter, condition, with_condition
from jaxhp._types import Dims, Kind
from jaxhp.errors import SpaceError

MOST_PARENT_LEVELS = 1024  # the kernel holds a row of flags per dim


def flattened(parameters: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Parameter]]:
    """(full name, parameter) of nested mappings.

    Raises:
        SpaceError: a bad name, or what is not a parameter.
    """
    for name, value in parameters.items():
        if not isinstance(name, str) or not name or "." in name:
            raise SpaceError(f"parameter name {name!r}: use a non-empty string without dots; nest mappings for dotted names")
        if isinstance(value, Mapping):
            if not value:
                raise SpaceError(f"{prefix + name!r} is an empty mapping; give it parameters or leave it out")
            yield from flattened(value, f"{prefix}{name}.")
        elif isinstance(value, Parameter):
            yield prefix + name, value
        else:
            raise SpaceError(f"{prefix + name!r} is {value!r}; expected Float, Int, Ordinal, Categorical or a nested mapping of them")


def resolved(parameters: dict[str, Parameter]) -> dict[str, Parameter]:
    """The parameters in a stable order with parents before children, their conditions in one form.

    Raises:
        SpaceError: a condition that names no parameter, goes round in a circle or can never hold.
    """
    linked = {name: _linked(name, p, parameters) for name, p in parameters.items()}
    ordered: dict[str, Parameter] = {}

    def place(name: str, below: tuple[str, ...]) -> None:
        if name in below:
            raise SpaceError(f"{name!r}: its condition goes round in a circle: {' -> '.join((*below, name))}; break it")
        if name not in ordered:
            parameter = linked[name]
            above, values = condition(parameter)
            if above is not None:
                place(above, (*below, name))
                active = _activating(name, parameter, above, values, ordered[above])
                parameter = with_condition(parameter, {above: active[0] if len(active) == 1 else active})
            ordered[name] = parameter

    for name in linked:
        place(name, ())
    return ordered


def dims(parameters: dict[str, Parameter], axes: tuple[Axis, ...]) -> Dims:
    """The arrays of resolved parameters."""
    names = list(parameters)
    conditions = [condition(p) for p in parameters.values()]
    parent = [-1 if above is None else names.index(above) for above, _ in conditions]
    allowed = np.zeros((len(names), max([1, *(axes[p].levels for p in parent if p >= 0)])), np.bool_)
    for j, (_, values) in enumerate(conditions):
        allowed[j, [int(axes[parent[j]].plain(v) or 0) for v in values]] = True
    return Dims(
        np.array([a.kind for a in axes], np.int8),
        np.array([a.low for a in axes]),
        np.array([a.high for a in axes]),
        np.array([a.levels for a in axes], np.int64),
        np.array(parent, np.int32),
        allowed,
    )


def _linked(name: str, parameter: Parameter, parameters: dict[str, Parameter]) -> Parameter:
    """The parameter with the full name of its parent, which may be named as from within its own group."""
    when = parameter.when
    if when is None:
        return parameter
    remedy = "list several values, and chain several levels through the parents"
    if not isinstance(when, Mapping) or len(when) != 1 or not all(isinstance(k, str) for k in when):
        raise SpaceError(f"{name!r}: when={when!r} must name one parent, such as {{'optimizer': 'sgd'}}; {remedy}")
    (above, values), *_ = when.items()
    group = name.split(".")[:-1]
    for depth in range(len(group), -1, -1):
        full = ".".join([*group[:depth], above])
        if full in parameters:
            if full == name:
                break
            return with_condition(parameter, {full: values})
    others = ", ".join(n for n in parameters if n != name) or "none"
    raise SpaceError(f"{name!r}: when={when!r} names no other parameter; the others are: {others}")


def _activating(name: str, parameter: Parameter, above: str, values: list[Any], parent: Parameter) -> list[Any]:
    """The parent's values that activate a parameter, in the order of its levels."""
    axis = encoded(above, parent)
    told = f"{name!r}: when={parameter.when!r}"
    if axis.table is None or axis.kind == Kind.GRID_LOG:
        what = "continuous" if axis.table is None else "an Int on a log scale"
        raise SpaceError(f"{told}: {above!r} is {what}; a parent is an Int, a Float with step, an Ordinal or a Categorical")
    if axis.levels > MOST_PARENT_LEVELS:
        raise SpaceError(f"{told}: {above!r} has {axis.levels} levels; a parent has at most {MOST_PARENT_LEVELS}, so use a coarser step")
    if not values:
        raise SpaceError(f"{told} can never hold; give a value of {above!r}")
    levels = set()
    for value in values:
        level = axis.plain(value)
        if level is None:
            raise SpaceError(f"{told} can never hold: {above}={value!r} {axis.refusal(value)}")
        levels.add(int(level))
    return [axis.table[level] for level in sorted(levels)]
