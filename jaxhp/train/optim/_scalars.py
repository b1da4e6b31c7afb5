"""What an optimiser's arguments may be: numbers, checked at the door, or traced scalars, which have no value yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxhp.errors import TrainableError

Scalar = jax.typing.ArrayLike  # shape ()


def number(name: str, value: Any, valid: Callable[[float], bool], expected: str) -> jax.Array:
    """A scalar as an array of the default float type.

    Raises:
        TrainableError: it is no scalar, or it is known already and not `valid`.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number, np.ndarray, jax.Array)):
        raise TrainableError(f"{name}={value!r}: expected {expected}, or a traced scalar")
    if jnp.shape(value) != ():
        raise TrainableError(f"{name}: expected a scalar, got an array of shape {list(jnp.shape(value))}; lanes give each trial its own")
    if not isinstance(value, jax.core.Tracer) and not valid(float(value)):
        raise TrainableError(f"{name}={value!r}: expected {expected}")
    return jnp.asarray(value, jnp.result_type(float))


def choice(name: str, value: Any, known: Sequence[str], offered: Sequence[str]) -> int | jax.Array:
    """Which of the `offered` names a name or an index means; a traced index stays one.

    Raises:
        TrainableError: no such name or index, or `offered` has a name that is not `known`.
    """
    for kind in offered:
        if kind not in known:
            raise TrainableError(f"{name}s: {kind!r} is unknown; choose among {', '.join(map(repr, known))}")
    if isinstance(value, str):
        if value not in offered:
            raise TrainableError(f"{name}={value!r} is unknown; choose among {', '.join(map(repr, offered))}")
        return list(offered).index(value)
    integral = isinstance(value, (int, np.integer, np.ndarray, jax.Array)) and not isinstance(value, bool)
    if not integral or jnp.shape(value) != () or not jnp.issubdtype(jnp.result_type(value), jnp.integer):
        raise TrainableError(f"{name}={value!r}: expected one of {', '.join(map(repr, offered))}, or its index")
    if isinstance(value, jax.core.Tracer):
        return value
    if not 0 <= int(value) < len(offered):
        raise TrainableError(f"{name}={value!r}: an index among {len(offered)} is expected: {', '.join(map(repr, offered))}")
    return int(value)
