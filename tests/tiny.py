"""Small things to train, for tests of lanes: seconds of compilation are what such tests cost, so they share few programs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxhp
from jaxhp import Float, Int, Space, Trainable, padded, supervised

RATES = Space({"rate": Float(1e-3, 1.0, log=True)})


def bowl(**changes: Any) -> Trainable:
    """Descent on |w - 3|^2 with noise: keys, steps and batches all matter. The state has a key, an integer, and floats."""

    def init(key: jax.Array, hparams: Any) -> Any:
        return {"w": jax.random.normal(key, (3,)), "seen": jnp.zeros((), jnp.int32), "key": jax.random.fold_in(key, 1)}

    def step(state: Any, hparams: Any, batch: Any, key: jax.Array, t: jax.Array) -> Any:
        noise = 0.01 * (jax.random.normal(key, (3,)) + jax.random.normal(jax.random.fold_in(state["key"], t), (3,)))
        w = state["w"] - hparams["rate"] * 2 * (state["w"] - batch + noise)
        return {"w": w, "seen": state["seen"] + 1, "key": state["key"]}, {"loss": ((state["w"] - batch) ** 2).mean(), "step": t}

    def evaluate(state: Any, hparams: Any, split: Any, key: jax.Array) -> Any:
        return {"loss": ((state["w"] - split) ** 2).mean(), "draw": jax.random.uniform(key), "seen": state["seen"]}

    def batch(data: Any, key: jax.Array, t: jax.Array) -> Any:
        return data[t % len(data)]

    data = {"train": 3 + np.linspace(-0.5, 0.5, 15, dtype=np.float32).reshape(5, 3), "validation": np.full(3, 3, np.float32)}
    return Trainable(init, step, evaluate, data, batch, epoch=5)._replace(**changes)


def classes(n: int, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """n examples of three linearly separable classes in six dimensions."""
    teacher = np.random.default_rng(0).normal(size=(6, 3))
    x = np.random.default_rng(seed).normal(size=(n, 6)).astype(np.float32)
    return x, (x @ teacher).argmax(1).astype(np.int32)


DATA = {"train": classes(40, 1), "validation": classes(30, 2), "test": classes(20, 3)}
cross_entropy = optax.softmax_cross_entropy_with_integer_labels


def accuracy(outputs: jax.Array, y: jax.Array) -> jax.Array:
    return outputs.argmax(-1) == y


def mlp_init(key: jax.Array) -> Any:
    a, b = jax.random.split(key)
    return {"in": jax.random.normal(a, (6, 8)) / 2, "out": jax.random.normal(b, (8, 3)) / 3}


def mlp(params: Any, x: jax.Array) -> jax.Array:
    return jnp.tanh(x @ params["in"]) @ params["out"]


def classifier(module: Any = (mlp_init, mlp), **changes: Any) -> Trainable:
    """Three classes, 40 examples in batches of 8, Adam."""
    arguments: dict[str, Any] = {
        "optimizer": lambda h: optax.adam(h["rate"]),
        "batch_size": 8,
        "metrics": {"accuracy": accuracy},
        "data": DATA,
        "loss": cross_entropy,
    }
    return supervised(module, **(arguments | changes))


def same(a: Any, b: Any) -> bool:
    """Whether two pytrees hold the same bits."""
    left, right = jax.tree.leaves(a), jax.tree.leaves(b)
    return len(left) == len(right) and all(np.array_equal(bits(x), bits(y)) for x, y in zip(left, right, strict=True))


def bits(x: Any) -> np.ndarray[Any, Any]:
    x = np.asarray(jax.random.key_data(x) if jax.dtypes.issubdtype(getattr(x, "dtype", None), jax.dtypes.prng_key) else x)
    return np.frombuffer(x.tobytes(), np.uint8)


def rates(values: Any) -> dict[str, np.ndarray[Any, Any]]:
    return {"rate": np.asarray(values, np.float32)}


def results(study: jaxhp.Study) -> list[Any]:
    """What a study knows of each finished trial, times left out."""
    return [(t.number, t.status.name, t.params, t.values, t.error) for t in study.finished]


def reports(study: jaxhp.Study) -> dict[tuple[int, int], float]:
    """The loss by number and step."""
    curves = study.curves
    return dict(zip(zip(curves["number"].tolist(), curves["step"].tolist(), strict=True), curves["loss"].tolist(), strict=True))


WIDTHS = Space({"rate": Float(1e-3, 0.1, log=True), "width": Int(1, 8)})


def widening(**changes: Any) -> Trainable:
    """The classifier at widths up to 8. Units that are not there have zero weights, and under Adam they keep them."""

    def make(width: int) -> Trainable:
        def unit(key: jax.Array, hparams: Any, n: int, scale: Any) -> jax.Array:
            keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(width))
            there = (jnp.arange(width) < hparams["width"])[:, None]
            return jnp.where(there, jax.vmap(lambda k: jax.random.normal(k, (n,)))(keys) * scale, 0.0)

        def init(key: jax.Array, hparams: Any) -> Any:
            a, b = jax.random.split(key)
            return {"in": unit(a, hparams, 6, 0.4), "out": unit(b, hparams, 3, jax.lax.rsqrt(jnp.float32(hparams["width"])))}

        def apply(params: Any, x: jax.Array) -> jax.Array:
            return jnp.tanh(x @ params["in"].T) @ params["out"]

        return classifier((init, apply), **changes)

    return padded(make, width=8)
