"""How many configurations a second do lanes train?  python bench/lanes_throughput.py [--rounds 7] [--steps 256] [--only 16,cnn]

The work: a network on scikit-learn's digits, AdamW with its learning rate and weight decay, batches of 64, one evaluation on 400
examples after `steps` steps. Four ways to train configurations on equal batches:

    jit each     a new jit per configuration, the hyperparameters Python numbers in it: the usual loop
    sequential   one jitted function with traced hyperparameters, called once per configuration
    by hand      jit(vmap(scan)) of the same step, written for this purpose, as wide as the lanes
    lanes        jaxhp.Lanes, at the width that `lanes="auto"` measures, and at others

Rounds interleave the ways; medians of wall time. Compilation is left out, but for the first way, whose nature it is, and reported apart.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import rows
from flax import linen
from sklearn.datasets import load_digits

from jaxhp.train import Lanes, supervised
from jaxhp.train._autotune import best_width
from jaxhp.train._shuffle import shuffled

BATCH = 64
KEY = np.zeros(2, np.uint32)  # the data of a key: a key would start JAX before its devices are chosen


class MLP(linen.Module):
    widths: tuple[int, ...]

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for width in self.widths:
            x = linen.relu(linen.Dense(width)(x))
        return linen.Dense(10)(x)


class CNN(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.reshape(-1, 8, 8, 1)
        for channels in (8, 16):
            x = linen.relu(linen.Conv(channels, (3, 3))(x))
            x = linen.avg_pool(x, (2, 2), (2, 2))
        return linen.Dense(10)(x.reshape(len(x), -1))


NETWORKS: dict[str, linen.Module] = {
    "16": MLP((16,)),
    "32": MLP((32,)),
    "64": MLP((64,)),
    "64-64-64": MLP((64, 64, 64)),
    "128": MLP((128,)),
    "256": MLP((256,)),
    "512": MLP((512,)),
    "cnn": CNN(),
}


def spread(devices: int) -> Any:
    """A mesh of so many CPU devices, one a core; to be called before JAX is used. None for one."""
    if devices == 1:
        return None
    jax.config.update("jax_num_cpu_devices", devices)
    return jax.make_mesh((devices,), ("lanes",), axis_types=(jax.sharding.AxisType.Auto,))


def digits() -> dict[str, tuple[jax.Array, jax.Array]]:
    images, labels = load_digits(return_X_y=True)
    x, y = jnp.asarray(images / 16, jnp.float32), jnp.asarray(labels, jnp.int32)
    return {"train": (x[:997], y[:997]), "validation": (x[997:1397], y[997:1397])}


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


class ByHand(NamedTuple):
    """The same training, written out: `train(key, lr, wd) -> loss` for one configuration."""

    module: linen.Module
    data: dict[str, tuple[jax.Array, jax.Array]]
    steps: int

    def train(self, key: jax.Array, lr: Any, wd: Any) -> jax.Array:
        x, y = self.data["train"]
        optimizer = optax.adamw(lr, weight_decay=wd)
        params = self.module.init(key, x[:1])
        n = len(x)
        per_epoch = -(-n // BATCH)
        t = jnp.arange(self.steps)
        epochs = jax.vmap(lambda e: jax.random.fold_in(jax.random.wrap_key_data(KEY), e))(t // per_epoch)
        order = jax.vmap(lambda key, t: shuffled(key, (t % per_epoch * BATCH + jnp.arange(BATCH)) % n, n))(epochs, t)

        def step(carry: Any, chosen: jax.Array) -> tuple[Any, jax.Array]:
            params, state = carry
            loss, gradient = jax.value_and_grad(lambda p: cross_entropy(self.module.apply(p, x[chosen]), y[chosen]).mean())(params)
            updates, state = optimizer.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), loss

        (params, _), losses = jax.lax.scan(step, (params, optimizer.init(params)), order)
        xv, yv = self.data["validation"]
        return cross_entropy(self.module.apply(params, xv), yv).mean() + 0 * losses.mean()


def timed(function: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - begun


def jit_each(hand: ByHand, configurations: list[tuple[float, float]]) -> float:
    """Seconds a configuration."""
    return timed(
        lambda: [float(jax.jit(lambda key, lr=lr, wd=wd: hand.train(key, lr, wd))(jax.random.key(0))) for lr, wd in configurations]
    ) / len(configurations)


class Way(NamedTuple):
    configurations: int  # a call
    call: Callable[[], Any]
    compiling: float  # seconds, once


def sequential(hand: ByHand) -> Way:
    function = jax.jit(hand.train)
    compiling = timed(lambda: function(jax.random.key(0), 1e-3, 1e-4))
    return Way(1, lambda: function(jax.random.key(0), 1e-3, 1e-4), compiling)


def vmapped(hand: ByHand, width: int) -> Way:
    function = jax.jit(jax.vmap(hand.train))
    keys, lr, wd = jax.random.split(jax.random.key(0), width), jnp.geomspace(1e-4, 1e-2, width), jnp.geomspace(1e-6, 1e-2, width)
    compiling = timed(lambda: function(keys, lr, wd))
    return Way(width, lambda: function(keys, lr, wd), compiling)


def in_lanes(lanes: Lanes) -> Way:
    """Refill and one segment, as a study has them."""
    width = lanes.width
    hparams = {"lr": np.geomspace(1e-4, 1e-2, width, dtype=np.float32), "wd": np.geomspace(1e-6, 1e-2, width, dtype=np.float32)}
    idle = [lanes.init()]

    def call() -> Any:
        state = lanes.refill(idle[0], range(width), range(width), hparams, lanes.segment)
        idle[0], metrics = lanes.run(state)
        return metrics

    return Way(width, call, timed(call))


def measured(name: str, steps: int, rounds: int, widths: list[int], each: int, mesh: Any) -> dict[str, Any]:
    module, data = NETWORKS[name], digits()
    hand = ByHand(module, data, steps)
    trainable = supervised(module, cross_entropy, data, optimizer=lambda h: optax.adamw(h["lr"], weight_decay=h["wd"]), batch_size=BATCH)
    example = {"lr": np.float32(1e-3), "wd": np.float32(1e-4)}

    def make(width: int) -> Lanes:
        return Lanes(trainable, example, width, segment=steps, mesh=mesh)

    auto = best_width(make, 512, 1e9, 1 if mesh is None else mesh.size).width
    ways = {"sequential": sequential(hand)}
    for width in sorted({*widths, auto}):
        ways[f"lanes {width}"] = in_lanes(make(width))
        ways[f"by hand {width}"] = vmapped(hand, width)
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, (configurations, call, _) in ways.items():
            times[way].append(timed(call) / configurations)
    seconds = {way: float(np.median(t)) for way, t in times.items()}
    slow = [jit_each(hand, [(10.0**-e, 1e-4)]) for e in np.linspace(2, 4, each)]
    ours = seconds[f"lanes {auto}"]
    return {
        "network": name,
        "steps": steps,
        "auto": auto,
        "jit_each_ms": 1e3 * float(np.median(slow)),
        "ms": {way: round(1e3 * s, 3) for way, s in seconds.items()},
        "compile_s": {way: round(w.compiling, 2) for way, w in ways.items()},
        "over_jit_each": float(np.median(slow)) / ours,
        "over_sequential": seconds["sequential"] / ours,
        "over_by_hand": {w: seconds[f"by hand {w}"] / seconds[f"lanes {w}"] for w in sorted({*widths, auto})},
    }


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--steps", type=int, default=256)
    p.add_argument("--widths", default="8", help="lanes to compare beside the measured number")
    p.add_argument("--each", type=int, default=3, help="configurations that the usual loop trains")
    p.add_argument("--only", help="networks, of " + ", ".join(NETWORKS))
    p.add_argument("--devices", type=int, default=1, help="CPU devices that the lanes are spread over; the other ways use one")
    p.add_argument("--dry", action="store_true", help="no row")
    arguments = p.parse_args()
    mesh = spread(arguments.devices)
    print(f"{'network':>10} {'auto':>5} {'ms a configuration':>20} {'jit each':>9} {'sequential':>10}  by hand (width: ratio)")
    for name in arguments.only.split(",") if arguments.only else NETWORKS:
        row = measured(name, arguments.steps, arguments.rounds, [int(w) for w in arguments.widths.split(",")], arguments.each, mesh)
        by_hand = ", ".join(f"{w}: {ratio:.2f}" for w, ratio in row["over_by_hand"].items())
        ours = row["ms"][f"lanes {row['auto']}"]
        print(
            f"{name:>10} {row['auto']:>5} {ours:>20.2f} {row['over_jit_each']:>8.0f}x {row['over_sequential']:>9.2f}x  {by_hand}",
            flush=True,
        )
        if not arguments.dry:
            rows.append("lanes_throughput", {"device": jax.devices()[0].device_kind, "devices": arguments.devices} | row)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
