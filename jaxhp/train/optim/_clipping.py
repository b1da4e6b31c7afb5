"""Gradient clipping with a traced limit, of a traced kind.

    norm        g * min(1, limit / |g|), |g| over all parameters                     Pascanu et al., 2013, algorithm 1
    value       every entry into [-limit, limit]
    adaptive    g_i * min(1, limit * max(|w_i|, 1e-3) / |g_i|) for each unit i       Brock et al., 2021, eq. 3

optax has all three and takes traced limits; but derivatives through its norms are NaN where a norm is zero, as that of a dead or masked
unit's gradient is, and at an infinite limit, which clips nothing. Here they are finite, which hypergradients need.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxhp.errors import TrainableError
from jaxhp.train.optim._scalars import Scalar, choice, number

CLIPPINGS = ("norm", "value", "adaptive")

_SMALLEST_WEIGHT = 1e-3  # norm that a unit of zeros is given, so that it can leave them


def clip(limit: Scalar, kind: Any = "norm", *, kinds: Sequence[str] = CLIPPINGS) -> optax.GradientTransformation:
    """Bounds gradients; put it first in an `optax.chain`. An infinite limit is none.

    Args:
        limit: of the norm of all gradients together ("norm"), of each entry ("value"), or of a unit's gradient as a share of its weights'
            norm ("adaptive").
        kind: one of `kinds`, or a traced index of it.
        kinds: what indices mean; with a traced index all of them are computed.

    Raises:
        TrainableError: an argument is known (not traced) and not valid.

    >>> import jax.numpy as jnp
    >>> transform = clip(1.0)
    >>> [round(float(g), 3) for g in transform.update(jnp.array([3.0, 4.0]), transform.init(None))[0]]
    [0.6, 0.8]
    """
    bound = number("limit", limit, lambda x: x > 0, "a positive number, infinite for none")
    which = choice("kind", kind, CLIPPINGS, kinds)

    def update(gradient: optax.Updates, state: optax.EmptyState, params: optax.Params | None = None) -> tuple[Any, optax.EmptyState]:
        if params is None and "adaptive" in (kinds if not isinstance(which, int) else (kinds[which],)):
            raise TrainableError("clip: kind 'adaptive' compares gradients with weights; call update(gradient, state, params)")
        if isinstance(which, int):
            return _CLIPPED[kinds[which]](gradient, params, bound), state
        return jax.lax.switch(which, [_CLIPPED[name] for name in kinds], gradient, params, bound), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _by_norm(gradient: Any, params: Any, limit: jax.Array) -> Any:
    del params
    factor = _share(limit, sum(jnp.sum(jnp.abs(g) ** 2) for g in jax.tree.leaves(gradient)))
    return jax.tree.map(lambda g: (g * factor).astype(g.dtype), gradient)


def _by_value(gradient: Any, params: Any, limit: jax.Array) -> Any:
    del params
    return jax.tree.map(lambda g: jnp.clip(g, -limit, limit).astype(g.dtype), gradient)


def _by_weight(gradient: Any, params: Any, limit: jax.Array) -> Any:
    def clipped(g: jax.Array, w: jax.Array) -> jax.Array:
        axes = _unit(g.shape)
        weight = _root(jnp.sum(jnp.abs(w) ** 2, axes, keepdims=True))
        squared = jnp.sum(jnp.abs(g) ** 2, axes, keepdims=True)
        return (g * _share(limit * jnp.maximum(weight, _SMALLEST_WEIGHT), squared)).astype(g.dtype)

    return jax.tree.map(clipped, gradient, params)


_CLIPPED: dict[str, Callable[[Any, Any, jax.Array], Any]] = {"norm": _by_norm, "value": _by_value, "adaptive": _by_weight}


def _unit(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of one unit, which is what one output sees, as optax has them: a column of a matrix, a filter; a vector is one unit."""
    if sum(size > 1 for size in shape) < 2:
        return tuple(range(len(shape)))
    return (0,) if len(shape) == 3 else tuple(range(len(shape) - 1))  # three axes: the heads of an attention


def _root(squared: jax.Array) -> jax.Array:
    """Square root whose derivative at 0 is 0."""
    return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1.0)), 0.0)


def _share(limit: jax.Array, squared: Any) -> jax.Array:
    """min(1, limit / norm); NaN where the norm is."""
    over = squared > limit**2
    return jnp.where(over, limit / jnp.sqrt(jnp.where(over, squared, 1.0)), jnp.where(jnp.isnan(squared), squared, 1.0))
