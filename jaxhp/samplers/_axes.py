"""One coordinate of a space at a time, whether or not conditions make it active."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxhp import _kernel
from jaxhp._types import Floats, Kind
from jaxhp.errors import SpaceError
from jaxhp.space import Space


def unconditional(space: Space) -> _kernel.EncodedDims:
    """The dims without their conditions."""
    dims = space.dims
    roots, always = np.full(space.d, -1, dtype=np.int32), np.ones((space.d, 1), dtype=np.bool_)
    return _kernel.EncodedDims(dims.kind, dims.low, dims.high, dims.levels, roots, always)


def is_categorical(space: Space, j: int) -> bool:
    """Whether a dim has no order."""
    return bool(space.dims.kind[j] == Kind.CATEGORICAL)


def encoded(space: Space, j: int, plain: Floats) -> Floats:
    """(k,) u of plain values (k,) of dim j: numbers, or levels."""
    x = np.full((len(plain), space.d), np.nan)
    x[:, j] = plain
    return np.ascontiguousarray(unconditional(space).encode(x)[:, j])


def every_level(space: Space, j: int) -> Floats:
    """(levels,) u of all levels of a discrete dim."""
    return encoded(space, j, np.arange(float(space.dims.levels[j])))


def nearest_levels(space: Space, j: int, u: Floats) -> Floats:
    """(k,) levels of a discrete dim in whose cells the u (k,) lie."""
    rows = np.full((len(u), space.d), np.nan)
    rows[:, j] = u
    return np.ascontiguousarray(unconditional(space).decode(rows)[:, j])


def encoded_value(space: Space, j: int, value: Any) -> float:
    """The u of a user's value.

    Raises:
        SpaceError: it is not a value of the parameter.
    """
    name = space.names[j]
    plain = space.axes[j].plain(value)
    if plain is None:
        raise SpaceError(f"{name}={value!r} is not a value of {space.parameters[name]!r}; choose one that is")
    return float(encoded(space, j, np.array([plain]))[0])
