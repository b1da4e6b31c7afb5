"""A random permutation of 0 ... n - 1, evaluated at the indices one needs: no table, no sort, any n.

The swap-or-not shuffle (Hoang, Morris, Rogaway: An Enciphering Scheme Based on a Card Shuffle, CRYPTO 2012): in each round i is
paired with k - i mod n, and the pair is swapped when a random bit of its larger member says so. So a minibatch of a shuffled
epoch is gathered inside a compiled step, and epoch e has an order of its own.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

ROUNDS = 24  # more than 4 log2(n) / 3 for n up to 2^18; beyond, the order is still a permutation and far from sorted


def shuffled(key: jax.Array, indices: jax.Array, n: int) -> jax.Array:
    """The places of `indices` (b,) int32 in a permutation of range(n) that the key names: (b,) int32.

    >>> sorted(shuffled(jax.random.key(0), jnp.arange(10), 10).tolist()) == list(range(10))
    True
    """
    if n < 2:
        return jnp.zeros_like(indices)
    words = jax.random.key_data(key).ravel()[:2]
    rounds = _mixed(words + _mixed(jnp.arange(1, 2 * ROUNDS + 1, dtype=jnp.uint32).reshape(ROUNDS, 2)))

    def swap(i: jax.Array, bits: jax.Array) -> tuple[jax.Array, None]:
        partner = (bits[0] % jnp.uint32(n) + jnp.uint32(n) - i) % jnp.uint32(n)
        return jnp.where(_mixed(jnp.maximum(i, partner) ^ bits[1]) >> 31, partner, i), None

    places, _ = jax.lax.scan(swap, indices.astype(jnp.uint32), rounds)
    return places.astype(jnp.int32)


def scattered(t: jax.Array, n: int) -> jax.Array:
    """A number in [0, n) int32 for each integer, without a pattern."""
    place: jax.Array = _mixed(jnp.asarray(t, jnp.uint32) * jnp.uint32(0x9E3779B9) + jnp.uint32(1)) % jnp.uint32(n)
    return place.astype(jnp.int32)


def _mixed(x: jax.Array) -> jax.Array:
    """The finaliser of MurmurHash3: every bit depends on every other."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
