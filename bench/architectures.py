"""Which tuner finds the best architecture of NAS-Bench-201 with the same number of queries?

    python bench/architectures.py                       # the committed rows: regret after 50, 100, 150 and 200 queries
    python bench/architectures.py --quick               # 2 seeds of each tuner, keeps no rows: half a minute
    python bench/architectures.py --run --seeds 0:50    # runs what is missing

The 15,625 cells of NAS-Bench-201 on CIFAR-10 (Dong & Yang, ICLR 2020), six choices of five operations each. A query tells the mean
validation accuracy of a cell over its training seeds; regret is the best such accuracy of the table less the best found, in points of
accuracy. Choices get opaque labels in an order drawn per seed (bench/tables.py). Settings of ours were chosen with seeds from 100 on.
"""

# ruff: noqa: E402  (thread pools read their sizes when they are loaded)

from __future__ import annotations

import os

for _pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_pool, "1")

import argparse
import json
import math
import sys
import time
from typing import Any

import numpy as np
import rows
from problems import problems
from tables import Unavailable, installed
from tuners import TUNERS, Task, Tuner, optuna, ours

import jaxhp

PROBLEM = "nasbench201_cifar10"
QUERIES = 200
SHOWN = (50, 100, 150, 200)
OURS = "regularized_evolution"
ENTRANTS: dict[str, Tuner] = {
    OURS: Tuner("jaxhp", ours(jaxhp.regularized_evolution)),
    "random": TUNERS["random"],
    "optuna-tpe": TUNERS["optuna-tpe"],
    "optuna-nsga2": Tuner("optuna", optuna("NSGAIISampler")),
}


def play(tuner: Tuner, seed: int) -> dict[str, Any]:
    """The regret after SHOWN queries, and milliseconds of ask + tell a query."""
    instance = problems()[PROBLEM].instance(seed)
    peer = tuner.build(Task(instance.dims, seed, QUERIES, noisy=False))
    lowest, seconds, regret = math.inf, 0.0, []
    for query in range(1, QUERIES + 1):
        start = time.thread_time()
        handle, params = peer.ask()
        seconds += time.thread_time() - start
        y = instance.value(params)
        start = time.thread_time()
        peer.tell(handle, y)
        seconds += time.thread_time() - start
        lowest = min(lowest, y)
        if query in SHOWN:
            regret.append(round(lowest - instance.best, 5))
    return {"regret": regret, "ms": float(f"{seconds / QUERIES * 1e3:.3g}")}


def load() -> dict[tuple[str, str, int], dict[str, Any]]:
    path = rows.RESULTS / "architectures.jsonl"
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {(row["tuner"], row["version"], row["seed"]): row for row in found}


def version(name: str, code: str) -> str:
    return code if name == OURS else installed(ENTRANTS[name].package)


def run(seeds: range, keep: bool) -> dict[tuple[str, str, int], dict[str, Any]]:
    found = load() if keep else {}
    code = rows.code()
    for seed in seeds:
        for name, tuner in ENTRANTS.items():
            try:
                key = (name, version(name, code), seed)
                if key in found:
                    continue
                found[key] = {"tuner": name, "version": key[1], "seed": seed} | play(tuner, seed)
            except Unavailable as e:
                print(f"skipped {name}: {e}")
                continue
            if keep:
                rows.append("architectures", found[key])
    return found


def show(found: dict[tuple[str, str, int], dict[str, Any]]) -> None:
    """Mean regret a tuner, and its difference to the newest ours on the same seeds with a 95 % bootstrap interval."""
    per: dict[tuple[str, str], dict[int, list[float]]] = {}
    for (name, known, seed), row in found.items():
        per.setdefault((name, known), {})[seed] = row["regret"]
    mine = next((values for (name, _), values in reversed(per.items()) if name == OURS), {})
    print(f"{'tuner':24s}{'version':12s}{'seeds':>6s}" + "".join(f"{q:>8d}" for q in SHOWN) + f"   less ours after {SHOWN[-1]}")
    for (name, known), values in per.items():
        both = sorted(set(values) & set(mine))
        means = np.array(list(values.values())).mean(axis=0)
        versus = ""
        if name != OURS and both:
            difference = np.array([values[seed][-1] - mine[seed][-1] for seed in both])
            draws = np.random.default_rng(0).integers(0, len(both), (10_000, len(both)))
            low, high = np.percentile(difference[draws].mean(axis=1), (2.5, 97.5))
            versus = f"{difference.mean():+.3f} [{low:+.3f}, {high:+.3f}]"
        print(f"{name:24s}{known:12s}{len(values):6d}" + "".join(f"{x:8.3f}" for x in means) + f"   {versus}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="store_true", help="run what is missing")
    parser.add_argument("--quick", action="store_true", help="2 seeds, keeps no rows")
    parser.add_argument("--seeds", default="0:50", help="FIRST:END")
    options = parser.parse_args()
    first, _, end = options.seeds.partition(":")
    if options.quick:
        show(run(range(2), keep=False))
    else:
        show(run(range(int(first), int(end)), keep=True) if options.run else load())
    return 0


if __name__ == "__main__":
    sys.exit(main())
