"""Tune on several hosts:  python examples/several_hosts.py --hosts 2

Each host has a study of its own and trains in lanes over its own devices; after every round the hosts exchange their finished
trials through `jax.distributed` and add what the others found to their own study, so that all samplers learn from all results. A study
is trained by one process at a time, and no host waits for another within a round: a lane is never idle because of the network.

As it stands this starts two processes on this machine, with two CPU devices each. On a cluster start it once per host:
    python examples/several_hosts.py --hosts 4 --host 0 --coordinator node0:9876      (and --host 1, 2, 3)
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils
from sklearn.datasets import load_digits

import jaxhp

TRIALS, STEPS = 16, 160  # per host and round

space = jaxhp.Space(
    {
        "learning_rate": jaxhp.Float(1e-4, 1.0, log=True),
        "weight_decay": jaxhp.Float(1e-6, 1.0, log=True),
        "b1": jaxhp.Float(0.0, 0.99),
    }
)


def trainable() -> jaxhp.Trainable:
    """A small network on handwritten digits."""
    x, y = load_digits(return_X_y=True)
    x, y = (x / 16).astype(np.float32), y.astype(np.int32)

    def init(key: jax.Array) -> dict[str, jax.Array]:
        a, b = jax.random.split(key)
        return {"in": jax.random.normal(a, (64, 32)) / 8, "out": jax.random.normal(b, (32, 10)) / 6}

    def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        return jnp.tanh(x @ params["in"]) @ params["out"]

    return jaxhp.supervised(
        (init, apply),
        optax.softmax_cross_entropy_with_integer_labels,
        {"train": (x[:1297], y[:1297]), "validation": (x[1297:], y[1297:])},
        optimizer=lambda h: optax.adamw(h["learning_rate"], b1=h["b1"], weight_decay=h["weight_decay"]),
        batch_size=64,
    )


def exchanged(trials: list[jaxhp.Trial], most: int) -> np.ndarray:
    """Every host's (u..., value) of completed trials: (hosts, most, d + 1), filled up with NaN. Every host must call it."""
    own = np.full((most, space.d + 1), np.nan)
    for i, trial in enumerate(trials):
        own[i] = [*trial.u, trial.value]
    bits = own.view(np.uint32)  # a device would round float64
    return np.asarray(multihost_utils.process_allgather(bits)).reshape(-1, *bits.shape).view(np.float64)


def tune(rounds: int) -> None:
    """What each host does."""
    host, hosts = jax.process_index(), jax.process_count()
    mesh = jax.make_mesh((jax.local_device_count(),), ("lanes",), devices=jax.local_devices(), axis_types=(jax.sharding.AxisType.Auto,))
    network = trainable()
    study = jaxhp.Study(space, metric="loss", seed=host)  # another seed: other suggestions
    known = 0
    for i in range(rounds):
        study.train(network, len(study.finished) + TRIALS, steps=STEPS, lanes=8, scheduler=jaxhp.asha(min_steps=40), mesh=mesh)
        fresh = [t for t in study.finished[known:] if t.status == jaxhp.Status.COMPLETE]
        for other, rows in enumerate(exchanged(fresh, TRIALS)):
            for row in rows[~np.isnan(rows[:, -1])] if other != host else ():
                study.add(space.params(row[:-1]), float(row[-1]))
        known = len(study.finished)
        print(f"host {host} of {hosts}, round {i + 1}: {known} trials known, best loss {study.best.value:.4f}", flush=True)


def try_here(hosts: int, rounds: int) -> None:
    """All hosts as processes of this machine."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    devices = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    environment = os.environ | {"XLA_FLAGS": devices, "JAX_PLATFORMS": "cpu"}
    options = ["--hosts", str(hosts), "--rounds", str(rounds), "--coordinator", f"localhost:{port}"]
    running = [subprocess.Popen([sys.executable, __file__, *options, "--host", str(i)], env=environment) for i in range(hosts)]
    if any([process.wait() for process in running]):
        raise SystemExit("a host failed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=2)
    parser.add_argument("--host", type=int, help="which of them this is; all of them, here, by default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--coordinator", default="localhost:9876", help="address and port of host 0")
    arguments = parser.parse_args()
    if arguments.host is None:
        try_here(arguments.hosts, arguments.rounds)
        return
    jax.distributed.initialize(arguments.coordinator, arguments.hosts, arguments.host)
    tune(arguments.rounds)


if __name__ == "__main__":
    main()
