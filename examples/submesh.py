"""Lanes of models that do not fit on one device:  python examples/submesh.py

The mesh has two axes: the lanes are spread over the first, each model over the second. `Trainable.spec` says how one state lies there;
XLA puts in the communication within a model, and between lanes there is none. Here a network of two wide layers is cut along its
hidden units. Without accelerators the example makes eight CPU devices of its own: four groups, two devices a model.
"""

from __future__ import annotations

import os

if "XLA_FLAGS" not in os.environ and not os.path.exists("/dev/nvidia0"):
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from sklearn.datasets import load_digits

import jaxhp

HIDDEN = 512

space = jaxhp.Space({"learning_rate": jaxhp.Float(1e-4, 1.0, log=True), "weight_decay": jaxhp.Float(1e-6, 1.0, log=True)})


def trainable() -> jaxhp.Trainable:
    """The network, and how its state lies: whatever has an axis of hidden units is cut along it, the optimiser's moments too."""
    x, y = load_digits(return_X_y=True)
    x, y = (x / 16).astype(np.float32), y.astype(np.int32)

    def init(key: jax.Array) -> dict[str, jax.Array]:
        a, b = jax.random.split(key)
        return {"in": jax.random.normal(a, (64, HIDDEN)) / 8, "out": jax.random.normal(b, (HIDDEN, 10)) / HIDDEN**0.5}

    def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        return jax.nn.relu(x @ params["in"]) @ params["out"]

    made = jaxhp.supervised(
        (init, apply),
        optax.softmax_cross_entropy_with_integer_labels,
        {"train": (x[:1297], y[:1297]), "validation": (x[1297:], y[1297:])},
        optimizer=lambda h: optax.adamw(h["learning_rate"], weight_decay=h["weight_decay"]),
        batch_size=64,
    )
    state = jax.eval_shape(made.init, jax.random.key(0), {"learning_rate": jnp.float32(0), "weight_decay": jnp.float32(0)})
    return made._replace(spec=jax.tree.map(lambda leaf: P(*("model" if n == HIDDEN else None for n in leaf.shape)), state))


def main() -> None:
    devices = len(jax.devices())
    each = 2 if devices % 2 == 0 else 1  # devices of one model
    mesh = jax.make_mesh((devices // each, each), ("lanes", "model"), axis_types=(AxisType.Auto, AxisType.Auto))
    study = jaxhp.Study(space, metric="loss", seed=0)
    study.train(trainable(), trials=16, steps=120, lanes=max(8, devices // each), scheduler=jaxhp.asha(eta=2, min_steps=40), mesh=mesh)
    print(f"{devices} devices, {each} for each model: best of {len(study.finished)} trials has loss {study.best.value:.4f}")


if __name__ == "__main__":
    main()
