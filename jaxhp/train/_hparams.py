"""Configurations as the arrays that a compiled program reads.

A number stays a number (float32, or int32 for integers); a choice whose values are all numbers is its value; any other choice is
its index in the space, for `jax.lax.switch`. A parameter that is inactive has its default (or centre): it is never NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from jaxhp._types import Floats
from jaxhp.errors import TrainableError
from jaxhp.space import Float, Space


def traced(space: Space, u: Floats) -> dict[str, npt.NDArray[Any]]:
    """Columns (n,) of canonical points u (n, d).

    Raises:
        TrainableError: an integer does not fit in 32 bits.

    >>> from jaxhp.space import Categorical
    >>> space = Space({"rate": Float(0.0, 1.0), "optimizer": Categorical(["sgd", "adam"])})
    >>> {name: x.tolist() for name, x in traced(space, np.array([[0.5, 0.75]])).items()}
    {'rate': [0.5], 'optimizer': [1]}
    """
    plain = space.encoded.decode(np.where(np.isnan(u), space.defaults_everywhere(), u))
    return {name: _column(space, j, plain[:, j]) for j, name in enumerate(space.names)}


def _column(space: Space, j: int, plain: Floats) -> npt.NDArray[Any]:
    axis, name = space.axes[j], space.names[j]
    if axis.span is None:
        return plain.astype(np.int32)
    values = axis.values(plain)
    if isinstance(space.parameters[name], Float) or not all(float(x).is_integer() for x in (() if axis.numbers is None else axis.numbers)):
        return values.astype(np.float32)
    if max(map(abs, axis.span)) > np.iinfo(np.int32).max:
        raise TrainableError(f"{name}: {max(map(abs, axis.span)):.0f} does not fit in 32 bits; a compiled program has no larger integer")
    return values.astype(np.int32)
