"""What do structural hyperparameters in one batch cost, and are they exact?  python bench/structure.py [--quick] [--only exact,widths]

exact    A masked network (width 48 of 256, depth 2 of 4, batches of 24 of 64) against the truly small one, 200 steps on digits from
         the same keys on the same examples, under AdamW, Lion, LAMB and clipping: the difference of their validation losses.
         Wanted: <= 1e-5.
widths   A study over widths 16 to 256 (log-uniform integers) and learning rates, 512 trials of 600 steps: wall time, compilations and
         planning included, of the planned buckets ("plan"), of one program for every width that occurs ("each"), and of one for all
         ("pad"). Each way runs in a process and with caches of its own. Wanted: plan / each <= 0.8, plan / pad <= 0.6, one program a
         bucket.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import rows
from lanes_throughput import cross_entropy, digits

import jaxhp
from jaxhp import masks
from jaxhp.train._shuffle import scattered

OPTIMIZERS: dict[str, Callable[[], optax.GradientTransformation]] = {
    "adamw": lambda: optax.adamw(1e-3, weight_decay=1e-3),
    "lion": lambda: optax.lion(1e-4, weight_decay=1e-3),
    "lamb": lambda: optax.lamb(2e-3, weight_decay=1e-3),
    "clip, adamw": lambda: optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(1e-3)),
    "clip, sgd": lambda: optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.1, momentum=0.9)),
}
LARGEST = {"width": 256, "layers": 4}
BATCH = 64
SPACE = jaxhp.Space({"learning_rate": jaxhp.Float(1e-4, 1e-2, log=True), "width": jaxhp.Int(16, 256, log=True)})
WAYS = ("plan", "each", "pad")


def masked(optimizer: Any) -> jaxhp.Trainable:
    """An MLP on digits padded to the largest width and depth, whose batch size varies, too."""

    def make(width: int, layers: int) -> jaxhp.Trainable:
        module = masks.MLP(10, width=("width", width), layers=("layers", layers))
        return jaxhp.supervised(module, cross_entropy, digits(), optimizer=optimizer, batch_size="batch_size", largest_batch=BATCH)

    return jaxhp.padded(make, **LARGEST)


def small_batches(trainable: jaxhp.Trainable, size: int) -> Callable[..., jax.Array]:
    """The examples that a batch of this size weighs, of those that the largest gathers."""

    def drawn(key: jax.Array, t: jax.Array) -> jax.Array:
        assert trainable.rows is not None
        place = (jnp.arange(BATCH) + scattered(t, BATCH)) % BATCH
        return trainable.rows(key, t)[jnp.argsort(place)[:size]]

    return drawn


def exactness(sizes: dict[str, int], size: int, steps: int) -> list[dict[str, Any]]:
    found = []
    for name, optimizer in OPTIMIZERS.items():
        padded = masked(lambda h, made=optimizer: made())
        module = masks.MLP(10, width=sizes["width"], layers=sizes["layers"])
        truly = jaxhp.supervised(module, cross_entropy, digits(), optimizer=lambda h, made=optimizer: made(), batch_size=size)
        truly = truly._replace(rows=small_batches(padded, size), epoch=padded.epoch)
        losses = []
        for trainable in (padded, truly):
            h = {**sizes, "batch_size": size} if trainable is padded else {"width": sizes["width"]}
            columns = {n: np.int32([x]) for n, x in h.items()}
            lanes = jaxhp.Lanes(trainable, {n: np.int32(x) for n, x in h.items()}, 1, segment=steps)
            _, metrics = lanes.run(lanes.refill(lanes.init(), [0], [0], columns, steps))
            losses.append(float(metrics["loss"][0]))
        off = abs(losses[0] - losses[1])
        found.append({"question": "exact", "optimizer": name, **sizes, "batch_size": size, "steps": steps, "loss": losses[1], "off": off})
        print(f"{name:<14} loss {losses[1]:.7f}, masked {losses[0]:.7f}, off {off:.1e}", flush=True)
    return found


def widths(way: str, trials: int, steps: int) -> dict[str, Any]:
    """One way to train the study, in this process."""

    def make(width: int) -> jaxhp.Trainable:
        module = masks.MLP(10, width=("width", width), layers=2)
        return jaxhp.supervised(module, cross_entropy, digits(), optimizer=lambda h: optax.adamw(h["learning_rate"]), batch_size=BATCH)

    trainable = jaxhp.padded(make, width=256)
    asked = jaxhp.Study(SPACE, metric="loss", sampler=jaxhp.random_search(), seed=1).ask(trials)
    known = sorted({trial.params["width"] for trial in asked} | {256})
    buckets: Any = {"plan": "auto", "each": known, "pad": 1}[way]
    study = jaxhp.Study(SPACE, metric="loss", sampler=jaxhp.random_search(), seed=1)
    begun = time.perf_counter()
    study.train(
        trainable, trials, steps=steps, evaluate_every=-(-steps // 4), buckets=buckets, lanes=64 if way == "each" else "auto"
    )  # a width of every program is not worth measuring
    seconds = time.perf_counter() - begun
    training = study._training
    assert training is not None and study.plan is not None
    compiled = [dock.compiled for dock in training.stage.docks]
    return {
        "question": "widths",
        "way": way,
        "trials": trials,
        "steps": steps,
        "seconds": seconds,
        "programs": sum(compiled),
        "most programs of a bucket": max(compiled),
        "buckets": [[b.sizes["width"], b.lanes] for b in study.plan.buckets] if way != "each" else len(known),
        "expected": None if way != "plan" else study.plan.seconds,
        "best": study.best.value,
    }


def apart(way: str, trials: int, steps: int) -> dict[str, Any]:
    """`widths` in a process with an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--way", way, "--trials", str(trials), "--steps", str(steps)]
        done = subprocess.run(command, env={**os.environ, "JAXHP_CACHE": folder}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--trials", type=int, default=512)
    p.add_argument("--steps", type=int, default=600)
    p.add_argument("--only", default="exact,widths")
    p.add_argument("--quick", action="store_true", help="small, and no rows")
    p.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.way:
        print(json.dumps(widths(a.way, a.trials, a.steps)))
        return 0
    trials, steps = (24, 40) if a.quick else (a.trials, a.steps)
    found = exactness({"width": 48, "layers": 2}, 24, 20 if a.quick else 200) if "exact" in a.only.split(",") else []
    if "widths" in a.only.split(","):
        ways = {}
        for way in WAYS:
            ways[way] = apart(way, trials, steps)
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in ways[way].items()}, flush=True)
        for other in ("each", "pad"):
            ways["plan"][f"over {other}"] = ways["plan"]["seconds"] / ways[other]["seconds"]
            print(f"plan / {other}: {ways['plan'][f'over {other}']:.2f}", flush=True)
        found += ways.values()
    for row in found if not a.quick else []:
        rows.append("structure", {"device": jax.devices()[0].device_kind} | row)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
