"""Gradients in units of the encoded space: dy/du = dy/dx dx/du (docs/architecture.md, "The encoded space")."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxhp._types import Kind
from jaxhp.errors import TrainableError
from jaxhp.space import Space


def unit_gradient(space: Space, params: Mapping[str, Any], gradient: Mapping[str, Any]) -> dict[str, jax.Array]:
    """dy/du by name, for the continuous parameters of a space, from dy/dx at `params`; arrays of values work elementwise.

    x = low + u (high - low) gives dx/du = high - low; on a log scale dx/du = x log(high / low).

    Raises:
        TrainableError: a name is discrete, or has no value in `params`.
        SpaceError: a name is not in the space.

    >>> from jaxhp.space import Float
    >>> space = Space({"rate": Float(0.01, 1.0, log=True), "momentum": Float(0.0, 0.5)})
    >>> told = unit_gradient(space, {"rate": 0.1, "momentum": 0.2}, {"rate": 1.0, "momentum": 1.0})
    >>> {name: round(float(g), 3) for name, g in told.items()}
    {'rate': 0.461, 'momentum': 0.5}
    """
    result = {}
    for name, slope in gradient.items():
        axis = space.axes[space.index_of(name)]
        if axis.kind not in (Kind.FLOAT, Kind.FLOAT_LOG):
            raise TrainableError(f"gradient: {name!r} is {space.parameters[name]!r}, which is discrete and has no gradient; leave it out")
        if name not in params:
            raise TrainableError(f"params: the gradient has {name!r}, but no value is given for it; give the point it was computed at")
        stretch = jnp.asarray(params[name]) * math.log(axis.high / axis.low) if axis.kind == Kind.FLOAT_LOG else axis.high - axis.low
        result[name] = jnp.asarray(slope) * stretch
    return result
