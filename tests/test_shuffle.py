"""The shuffle that is evaluated index by index: permutations, uniform, new for every key."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxhp.train._shuffle import shuffled

_at = jax.jit(shuffled, static_argnums=2)
_keys = jax.jit(jax.vmap(shuffled, (0, None, None)), static_argnums=2)


def order(seed: int, n: int) -> np.ndarray:
    return np.asarray(_at(jax.random.key(seed), jnp.arange(n), n))


@settings(max_examples=25)
@given(st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_every_index_occurs_once(n: int, seed: int) -> None:
    assert sorted(order(seed, n)) == list(range(n))


def test_large_sets_are_permuted_too() -> None:
    for n in (1000, 60_000, 2**20 + 1):
        places = order(3, n)
        assert places.dtype == np.int32 and len(np.unique(places)) == n and places.min() == 0 and places.max() == n - 1
        assert abs(np.corrcoef(places, np.arange(n))[0, 1]) < 4 / np.sqrt(n)


def test_any_subset_of_indices_is_that_part_of_the_whole_order() -> None:
    whole = order(5, 97)
    some = jnp.array([3, 96, 0, 3, 50])
    assert np.array_equal(_at(jax.random.key(5), some, 97), whole[np.asarray(some)])


def test_keys_give_other_orders_and_every_kind_of_key_will_do() -> None:
    orders = {order(seed, 50).tobytes() for seed in range(50)}
    assert len(orders) == 50
    assert sorted(np.asarray(_at(jax.random.key(1, impl="rbg"), jnp.arange(9), 9)).tolist()) == list(range(9))


def test_places_are_uniform() -> None:
    """Chi-square of a 12 x 12 table over 4000 keys: (n - 1)^2 degrees of freedom, six standard deviations allowed; and of all 4! orders."""
    n, draws = 12, 4000
    places = np.asarray(_keys(jax.random.split(jax.random.key(0), draws), jnp.arange(n), n))
    counts = np.stack([np.bincount(places[:, i], minlength=n) for i in range(n)])
    free = (n - 1) ** 2
    assert ((counts - draws / n) ** 2 / (draws / n)).sum() < free + 6 * np.sqrt(2 * free)
    four = np.asarray(_keys(jax.random.split(jax.random.key(1), draws), jnp.arange(4), 4)) @ np.array([64, 16, 4, 1])
    seen = np.unique(four, return_counts=True)[1]
    assert len(seen) == 24 and ((seen - draws / 24) ** 2 / (draws / 24)).sum() < 23 + 6 * np.sqrt(46)
