"""Normalisation over units that are there: means divide by the true width.

LayerNorm: Ba, Kiros, Hinton, 2016. RMSNorm: Zhang, Sennrich, 2019. BatchNorm: Ioffe, Szegedy, 2015; it is per channel, so padded channels
are none of its business, but padded *examples* are: where the batch size is a hyperparameter, each example has a weight.
Scales and biases are zero in the padding, and so are outputs. Statistics of half-precision inputs are computed in float32.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxhp.train.masks._units import Width, masked


def layer_norm(
    x: jax.Array, scale: jax.Array | None = None, bias: jax.Array | None = None, *, width: Width, epsilon: float = 1e-6
) -> jax.Array:
    """Units of x (..., size) with mean 0 and variance 1 over the first `width`; times scale (size,), plus bias (size,).

    >>> layer_norm(jnp.array([1.0, 3.0, 0.0, 0.0]), width=2).round(3).tolist()
    [-1.0, 1.0, 0.0, 0.0]
    """
    full = _full(x)
    mean = masked(full, width).sum(-1, keepdims=True) / width
    centred = masked(full - mean, width)
    variance = (centred**2).sum(-1, keepdims=True) / width
    return _affine(centred * jax.lax.rsqrt(variance + epsilon), scale, bias).astype(x.dtype)


def rms_norm(x: jax.Array, scale: jax.Array | None = None, *, width: Width, epsilon: float = 1e-6) -> jax.Array:
    """Units of x (..., size) with mean square 1 over the first `width`; times scale (size,).

    >>> [round(float(u), 3) for u in rms_norm(jnp.array([3.0, 4.0, 0.0]), width=2)]
    [0.849, 1.131, 0.0]
    """
    full = masked(_full(x), width)
    return _affine(full * jax.lax.rsqrt((full**2).sum(-1, keepdims=True) / width + epsilon), scale, None).astype(x.dtype)


def batch_norm(
    x: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    mean: jax.Array,
    variance: jax.Array,
    *,
    train: bool,
    weight: jax.Array | None = None,
    momentum: float = 0.9,
    epsilon: float = 1e-5,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Channels of x (n, ..., size) with the batch's mean 0 and variance 1, or the running ones when not training.

    Args:
        x: the batch.
        scale, bias: (size,).
        mean, variance: the running statistics (size,).
        train: normalise with the batch's statistics, and move the running ones towards them by `1 - momentum`.
        weight: (n,) of each example, such as 1 / b for the first b and 0 for the rest; None weighs all alike.
        momentum, epsilon: of the running statistics; added to the variance.

    Returns:
        The outputs and the new running mean and variance.
    """
    full = _full(x)
    if train:
        if weight is None:
            weight = jnp.ones(x.shape[0], full.dtype)
        total = weight.sum()
        share = jnp.where(total > 0, weight / jnp.where(total > 0, total, 1), 0).reshape(-1, *[1] * (x.ndim - 1))
        positions = x[0, ..., 0].size
        axes = tuple(range(x.ndim - 1))
        now = (share * full).sum(axes) / positions
        spread = (share * (full - now) ** 2).sum(axes) / positions
        keep = jnp.where(total > 0, momentum, 1.0)  # a microbatch may hold no example of a small batch
        new_mean, new_variance = keep * mean + (1 - keep) * now, keep * variance + (1 - keep) * spread
    else:
        now, spread, new_mean, new_variance = mean, variance, mean, variance
    y = (full - now) * (jax.lax.rsqrt(spread + epsilon) * scale) + bias
    return y.astype(x.dtype), new_mean, new_variance


def _full(x: jax.Array) -> jax.Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _affine(x: jax.Array, scale: jax.Array | None, bias: jax.Array | None) -> jax.Array:
    x = x if scale is None else x * scale
    return x if bias is None else x + bias
