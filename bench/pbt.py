"""What do populations cost, and what do they find?  python bench/pbt.py [cost] [filter] [digits] [--seeds 10]

cost      `pbt` against the same trials that nobody changes, in the same compiled lanes: digits, 20 members and lanes, rounds of 100 steps.
          Runs alternate; wall seconds, medians. And the programs compiled.
filter    A task with a known optimum: v <- (1 - r)^2 v + r^2 is the variance of a running mean with the rate r. The best rate is
          r_t = 1 / (t + 2) from v = 1 on, and gives v = 1 / (T + 1); a constant one cannot come near it.
digits    An MLP trained by SGD in batches of 8 on scikit-learn's digits, whose best rate falls; loss and accuracy on 500 validation
          examples.

For both tasks, over seeds, at the cost of 100 full runs: the best constant rate of 100 random trials, `pbt` and `pb2` with 100 trials;
then what each found, a schedule or a constant rate, trained again from scratch by fresh trials (median of 9). The best of many noisy
losses flatters whoever chose it, so what is trained again is the fair comparison where there is noise.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import rows
from lanes_throughput import BATCH, NETWORKS, cross_entropy, digits
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import jaxhp

TRIALS = 100
RATE = jaxhp.Space({"rate": jaxhp.Float(1e-3, 1.0, log=True)})


def variance() -> jaxhp.Trainable:
    """The task `filter`."""

    def step(v: Any, h: Any, batch: Any, key: Any, t: Any) -> Any:
        return (1 - h["rate"]) ** 2 * v + h["rate"] ** 2, {}

    nothing = np.zeros(1, np.float32)
    return jaxhp.Trainable(
        init=lambda key, h: jnp.ones(()),
        step=step,
        evaluate=lambda v, h, split, key: {"loss": v},
        data={"train": nothing, "validation": nothing, "test": nothing},
    )


def falling(seed: int) -> jaxhp.Trainable:
    """The task `digits`: split anew for each seed."""
    images, labels = load_digits(return_X_y=True)
    images, labels = (images / 16).astype(np.float32), labels.astype(np.int32)
    x, x_test, y, y_test = train_test_split(images, labels, test_size=400, stratify=labels, random_state=seed)
    x, x_validation, y, y_validation = train_test_split(x, y, test_size=500, stratify=y, random_state=seed)
    return jaxhp.supervised(
        NETWORKS["32"],
        cross_entropy,
        {"train": (x, y), "validation": (x_validation, y_validation), "test": (x_test, y_test)},
        optimizer=lambda h: optax.sgd(h["rate"]),
        batch_size=8,
        metrics={"accuracy": lambda outputs, y: outputs.argmax(-1) == y},
    )


TASKS: dict[str, tuple[Any, int, int]] = {"filter": (lambda seed: variance(), 1000, 20), "digits": (falling, 2000, 100)}  # steps, a round


def found(task: str, seed: int, trials: int) -> list[dict[str, Any]]:
    """What each way finds."""
    make, steps, every = TASKS[task]
    trainable = make(seed)
    lanes: Any = min(trials, 100)
    told = []
    ways: dict[str, Any] = {
        "constant": jaxhp.schedulers.to_the_end(),
        "pbt": jaxhp.pbt(every, min(trials, 50)),
        "pb2": jaxhp.pb2(every, min(trials, 50)),
    }
    for way, scheduler in ways.items():
        study = jaxhp.Study(RATE, metric="loss", sampler=jaxhp.random_search(), seed=seed)
        begun = time.perf_counter()
        study.train(trainable, trials, steps=steps, evaluate_every=every, lanes=lanes, scheduler=scheduler)
        row = {"seconds": time.perf_counter() - begun, "loss": study.best.value, "accuracy": study.best.values.get("accuracy")}
        lanes, schedule = study.lanes, study.schedule()
        again = jaxhp.Study(RATE, metric="loss", sampler=jaxhp.random_search(), seed=seed + 1000)
        again.train(trainable, 9, steps=steps, evaluate_every=every, lanes=lanes, scheduler=jaxhp.replay(schedule))
        row |= {"replayed": float(np.median([t.value for t in again.finished])), "changes": len(schedule.steps) - 1}
        if row["accuracy"] is not None:
            row["replayed_accuracy"] = float(np.median([t.values["accuracy"] for t in again.finished]))
        if task == "filter":
            row["optimum"] = 1 / (steps + 1)
        told.append({"task": task, "way": way, "seed": seed, "trials": trials, "steps": steps, "every": every} | row)
    return told


def cost(repeats: int) -> dict[str, Any]:
    """Wall seconds of both, and what was compiled."""
    trainable = jaxhp.supervised(NETWORKS["32"], cross_entropy, digits(), optimizer=lambda h: optax.adamw(h["rate"]), batch_size=BATCH)
    lanes: Any = 20
    seconds: dict[str, list[float]] = {"plain": [], "pbt": []}
    for repeat in range(repeats + 1):
        for name, scheduler in (("plain", jaxhp.schedulers.to_the_end()), ("pbt", jaxhp.pbt(100, 20))):
            study = jaxhp.Study(RATE, metric="loss", sampler=jaxhp.random_search(), seed=repeat)
            begun = time.perf_counter()
            study.train(trainable, 20, steps=2000, evaluate_every=100, lanes=lanes, scheduler=scheduler)
            if repeat:  # the first compiles
                seconds[name].append(time.perf_counter() - begun)
            lanes = study.lanes
    plain, pbt = float(np.median(seconds["plain"])), float(np.median(seconds["pbt"]))
    return {"task": "cost", "repeats": repeats, "plain_s": plain, "pbt_s": pbt, "share": pbt / plain - 1, "programs": lanes.compiled}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=["cost", "filter", "digits"], choices=["cost", "filter", "digits"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--dry", action="store_true", help="write no rows")
    asked = parser.parse_args()
    for task in asked.tasks:
        for seed in range(1 if task == "cost" else asked.seeds):
            for row in [cost(asked.repeats)] if task == "cost" else found(task, seed, asked.trials):
                print({name: float(f"{x:.5g}") if isinstance(x, float) else x for name, x in row.items()}, flush=True)
                if not asked.dry:
                    rows.append("pbt", row)


if __name__ == "__main__":
    main()
