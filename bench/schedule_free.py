"""Do early losses say who wins?  python bench/schedule_free.py [--seeds 10] [--network 32]

An MLP on scikit-learn's digits, AdamW, steps of 64 examples (15 an epoch); 30 random configurations of peak rate, weight decay and
warm-up, the same for every kind of learning rate, each trained to the end in lanes. For short runs and for long ones, on which networks
overfit; for the loss on the validation set, and for the one on the training set, which tells how far optimisation has come. Means over
seeds of

    rank at 1/9, 1/3    Spearman correlation of the loss at that share of the steps with the one at the end
    of the better half  the same among the 15 that end best: halving has to tell good ones from one another
    lost                final loss of the best who survives 30 -> 10 at 1/9 -> 3 at 1/3, over that of the best of the 30
    best                the final loss of the best of the 30
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import optax
import rows
from lanes_throughput import BATCH, NETWORKS, cross_entropy, digits
from scipy.stats import spearmanr

import jaxhp

TRIALS, SHARES = 30, (9, 3)
SPACE = jaxhp.Space(
    {
        "rate": jaxhp.Float(1e-4, 0.3, log=True),
        "decay": jaxhp.Float(1e-6, 1e-1, log=True),
        "warmup": jaxhp.Float(0.0, 0.1),
    }
)
KINDS = ("cosine", "linear", "inverse_sqrt", "constant", "schedule-free")


def optimizer(kind: str, steps: int, h: dict[str, Any]) -> optax.GradientTransformation:
    if kind == "schedule-free":
        rate = jaxhp.optim.schedule(steps, h["rate"], warmup=h["warmup"], kind="constant")
        return optax.contrib.schedule_free_adamw(rate, weight_decay=h["decay"])
    return optax.adamw(jaxhp.optim.schedule(steps, h["rate"], warmup=h["warmup"], kind=kind), weight_decay=h["decay"])


def losses(study: jaxhp.Study, steps: int) -> list[np.ndarray[Any, Any]]:
    """Losses (30,) at 1/9 and 1/3 of the steps and at the end; infinite from where a trial failed."""
    curves = study.curves
    table = {step: np.full(TRIALS, np.inf) for step in (*(steps // share for share in SHARES), steps)}
    for number, step, loss in zip(curves["number"], curves["step"], curves["loss"], strict=True):
        if step in table and np.isfinite(loss):
            table[step][number] = loss
    return list(table.values())


def measured(at: list[np.ndarray[Any, Any]]) -> dict[str, float]:
    *early, end = at
    better = np.argsort(end, kind="stable")[: TRIALS // 2]
    row = {f"rank_{share}": float(spearmanr(loss, end).statistic) for share, loss in zip(SHARES, early, strict=True)}
    row |= {f"better_{share}": float(spearmanr(loss[better], end[better]).statistic) for share, loss in zip(SHARES, early, strict=True)}
    left = np.arange(TRIALS)
    for loss in early:
        left = left[np.argsort(loss[left], kind="stable")[: len(left) // 3]]
    return row | {"lost": float(end[left].min() / end.min()), "best": float(end.min())}


def over_seeds(kind: str, steps: int, data: Any, network: str, seeds: int) -> dict[str, float]:
    """Means, and their standard errors."""
    trainable = jaxhp.supervised(NETWORKS[network], cross_entropy, data, optimizer=lambda h: optimizer(kind, steps, h), batch_size=BATCH)
    lanes: Any = TRIALS
    found = []
    for seed in range(seeds):
        study = jaxhp.Study(SPACE, metric="loss", sampler=jaxhp.random_search(), seed=seed)
        study.train(trainable, TRIALS, steps=steps, lanes=lanes, evaluate_every=steps // SHARES[0])
        lanes = study.lanes
        found.append(measured(losses(study, steps)))
    mean = {name: float(np.mean([row[name] for row in found])) for name in found[0]}
    return mean | {f"{name}_se": float(np.std([row[name] for row in found], ddof=1) / seeds**0.5) for name in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--network", default="32", choices=list(NETWORKS))
    options = parser.parse_args()
    data = digits()
    for steps in (90, 900):
        for on in ("validation", "train"):
            print(f"\n{steps} steps, {on} loss\n{'':<14}{'rank at 1/9':>12}{'1/3':>6}{'better half':>14}{'1/3':>6}{'lost':>8}{'best':>10}")
            for kind in KINDS:
                row = over_seeds(kind, steps, {"train": data["train"], "validation": data[on]}, options.network, options.seeds)
                facts = {"kind": kind, "steps": steps, "on": on, "network": options.network, "seeds": options.seeds, "trials": TRIALS}
                rows.append("schedule_free", facts | row)
                ranks = f"{row['rank_9']:>12.2f}{row['rank_3']:>6.2f}{row['better_9']:>14.2f}{row['better_3']:>6.2f}"
                print(f"{kind:<14}{ranks}{row['lost']:>8.3f}{row['best']:>10.2g}", flush=True)


if __name__ == "__main__":
    main()
