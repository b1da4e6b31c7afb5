"""Draws that are keyed by unit: entry (i, j) of an array depends on the key, i and j, not on the array's shape.

`jax.random` numbers the entries of an array in its own order, so a (64, 64) draw is no corner of a (256, 256) one, and a padded network
would start elsewhere than the small one and drop out other units. Here the counter of an entry is made of its indices: Threefry-2x32
(Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011) of up to four indices, 16 bits each where two share a word.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias
from zlib import crc32

import jax
import jax.numpy as jnp
from jax.extend.random import threefry_2x32

from jaxhp.errors import TrainableError
from jaxhp.train.masks._units import Width

Distribution: TypeAlias = Literal["truncated_normal", "normal", "uniform"]

_PACKED = 1 << 16  # indices that share a 32-bit word are below this
_TRUNCATED = 0.87962566103423978  # standard deviation of a standard normal cut off at +-2


def named(key: jax.Array, name: str) -> jax.Array:
    """The key of a part of a network, whatever other parts there are.

    >>> bool(named(jax.random.key(0), "head") == named(jax.random.key(0), "head"))
    True
    """
    return jax.random.fold_in(key, crc32(name.encode()))


def unit_bits(key: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Random 32-bit words (uint32) of up to four axes, each entry a function of its indices.

    Raises:
        TrainableError: more than four axes, or, from three axes on, an axis of 65,536 or more that shares a word with another.

    >>> bool((unit_bits(jax.random.key(0), (9, 7))[:2, :3] == unit_bits(jax.random.key(0), (2, 3))).all())
    True
    """
    axes = tuple(shape)
    if len(axes) > 4:
        raise TrainableError(f"unit_bits: shape {axes} has more than four axes; reshape first")
    axes = (1,) * (4 - len(axes)) + axes if len(axes) != 2 else (1, axes[0], 1, axes[1])
    for first, second in ((axes[0], axes[1]), (axes[2], axes[3])):
        if first > 1 and max(first, second) >= _PACKED:
            raise TrainableError(f"unit_bits: shape {tuple(shape)} has an axis of {_PACKED:,} or more; draw it in pieces with other keys")
    a, b, c, d = (jax.lax.broadcasted_iota(jnp.uint32, axes, i) for i in range(4))
    words = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    words = words.ravel()[-2:]  # all of a threefry key; what differs in others
    counters = jnp.concatenate([((a << 16) | b).ravel(), ((c << 16) | d).ravel()])
    bits: jax.Array = threefry_2x32((words[0], words[1]), counters)
    return bits[: math.prod(axes)].reshape(tuple(shape))


def unit_uniform(key: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Uniform float32 in (0, 1), each entry a function of its indices."""
    return ((unit_bits(key, shape) >> 9).astype(jnp.float32) + 0.5) * 2.0**-23


def unit_normal(key: jax.Array, shape: Sequence[int], cut: float | None = None) -> jax.Array:
    """Standard normal float32, each entry a function of its indices; cut off at +-`cut`, where given."""
    edge = 1.0 if cut is None else math.erf(cut / math.sqrt(2))
    return math.sqrt(2) * jax.lax.erf_inv(edge * (2 * unit_uniform(key, shape) - 1))


def variance_scaling(
    key: jax.Array, shape: Sequence[int], fan: Width | float, *, scale: float = 1.0, distribution: Distribution = "truncated_normal"
) -> jax.Array:
    """Entries of variance scale / fan, each a function of its indices: the corner of a large array is the small array.

    Args:
        key: of this array.
        shape: padded to the largest.
        fan: the *true* number of inputs of a unit (of outputs, or their mean, as the method says), a number or traced.
        scale: 1 is LeCun's method, 2 is He's.
        distribution: "truncated_normal" (at two standard deviations, as flax does), "normal" or "uniform".

    Raises:
        TrainableError: another distribution, or a shape that `unit_bits` refuses.

    >>> wide = variance_scaling(jax.random.key(0), (256, 256), 64)
    >>> narrow = variance_scaling(jax.random.key(0), (64, 64), 64)
    >>> bool((wide[:64, :64] == narrow).all())
    True
    """
    deviation = jnp.sqrt(scale / jnp.asarray(fan, jnp.float32))
    if distribution == "truncated_normal":
        return unit_normal(key, shape, cut=2.0) * (deviation / _TRUNCATED)
    if distribution == "normal":
        return unit_normal(key, shape) * deviation
    if distribution == "uniform":
        return (2 * unit_uniform(key, shape) - 1) * (deviation * math.sqrt(3))
    raise TrainableError(f"distribution: expected 'truncated_normal', 'normal' or 'uniform', got {distribution!r}")


def dropout(key: jax.Array, x: jax.Array, rate: float | jax.Array) -> jax.Array:
    """x with each entry dropped with probability `rate` (traced or not) and the others scaled by 1 / (1 - rate).

    Whether an entry is dropped depends on its indices alone, so a narrower network drops the same units.

    >>> x = jnp.ones((3, 8))
    >>> bool((dropout(jax.random.key(0), x, 0.5)[:, :4] == dropout(jax.random.key(0), x[:, :4], 0.5)).all())
    True
    """
    if isinstance(rate, (int, float)) and rate == 0:
        return x
    kept = unit_uniform(key, x.shape) >= rate
    share = 1 - jnp.asarray(rate, x.dtype)
    share = jnp.where(share > 0, share, 1)  # at rate 1 nothing is kept; neither values nor gradients divide by 0
    return jnp.where(kept, x / share, jnp.zeros((), x.dtype))
