"""Gradients over two devices, which the host pretends to have: compiled, mapped and sharded they are those of single calls."""

from __future__ import annotations

from typing import Any

import pytest
from elsewhere import observed_with_devices

import jaxhp


def observed() -> dict[str, Any]:
    """What the process with two devices sees."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec
    from tiny import RATES, bowl

    from jaxhp import Guarded, Reverse, lane_key, value_and_hypergrad

    mesh = Mesh(np.array(jax.devices()), ("lanes",))
    rates = np.float32([0.02, 0.05, 0.1, 0.3])
    keys = [lane_key(1, i) for i in range(4)]
    function = value_and_hypergrad(bowl(), 12, "rate", adjoint=Reverse(), guard=False, seed=1, segment=6)
    singles = [function({"rate": rate}, key) for rate, key in zip(rates, keys, strict=True)]
    expected = np.array([[value, gradient["rate"]] for value, gradient, _ in singles])

    def apart(told: Any) -> float:
        value, gradient, info = told
        assert info.growth.shape == (4,)
        return float(np.abs(np.stack([value, gradient["rate"]], axis=1) / expected - 1).max())

    seen: dict[str, Any] = {"devices": jax.device_count()}
    compiled = jax.jit(function)({"rate": rates[0]}, keys[0])
    seen["compiled"] = float(np.abs(np.array([compiled[0], compiled[1]["rate"]]) / expected[0] - 1).max())
    mapped, many = jax.jit(jax.vmap(function)), ({"rate": rates}, jnp.stack(keys))
    seen["mapped"] = apart(mapped(*many))
    spread = mapped(*jax.device_put(many, NamedSharding(mesh, PartitionSpec("lanes"))))
    seen["sharded"], seen["shards"] = apart(spread), len(spread[1]["rate"].sharding.device_set)
    each = jax.shard_map(jax.vmap(function), mesh=mesh, in_specs=PartitionSpec("lanes"), out_specs=PartitionSpec("lanes"), check_vma=False)
    seen["in a shard_map"] = apart(jax.jit(each)(*many))

    study = jaxhp.Study(RATES, metric="loss", sampler=jaxhp.hypergradient_descent(starts=4), seed=1)
    study.train(bowl(), trials=8, steps=12, evaluate_every=6, lanes=4, adjoint=Guarded(Reverse(), when="never"), mesh=mesh)
    alone = [function({"rate": np.float32(t["rate"])}, lane_key(1, t.number)) for t in study.finished]
    told = np.array([[t.value, t.gradient["rate"]] for t in study.finished])
    seen["study"] = float(np.abs(told / [[value, gradient["rate"]] for value, gradient, _ in alone] - 1).max())
    return seen


@pytest.fixture(scope="module")
def seen() -> Any:
    return observed_with_devices(__file__, 2)


@pytest.mark.parametrize("way", ["compiled", "mapped", "sharded", "in a shard_map"])
def test_gradients_are_those_of_single_calls(way: str, seen: Any) -> None:
    assert seen["devices"] == seen["shards"] == 2
    assert seen[way] < 1e-5


def test_a_study_over_a_mesh_is_told_the_gradients_of_one_device(seen: Any) -> None:
    assert seen["study"] < 1e-4
