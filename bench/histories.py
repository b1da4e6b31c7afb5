"""Told values of whole searches, trial by trial: what forecasts are fitted on (tuning half) and judged on (judging half).

    python bench/histories.py            # what is missing in out/histories, about half an hour of one core

One file a tuner and problem, `y (seeds, TRIALS)` minimised, NaN where a run failed; `true` is the value without its noise. Problems and
seeds are those of bench/quality.py. Ours are Bayesian, random and Sobol; Optuna's TPE and CMA-ES stand for ways to search that are not
ours.
"""

# ruff: noqa: E402  (thread pools read their sizes when they are loaded)

from __future__ import annotations

import os

for _pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_pool, "1")

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from peers import Params, active
from problems import Problem, problems
from tables import Unavailable
from tuners import TUNERS, Task, expression

FOLDER = Path(__file__).parents[1] / "out" / "histories"
TRIALS = 350
SEEDS = {"bayes": 10, "random_search": 10, "sobol": 4, "optuna-tpe": 4, "optuna-cmaes": 4}

Floats = npt.NDArray[np.float64]


class History(NamedTuple):
    """One search."""

    tuner: str
    problem: Problem
    seed: int
    d: int
    y: Floats  # (TRIALS,) told, NaN where failed
    true: Floats  # (TRIALS,) without noise


def search(tuner: str, problem: Problem, seed: int) -> tuple[Floats, Floats]:
    """Told and true values of TRIALS trials."""
    instance, noise = problem.instance(seed), problem.noise(seed)
    task = Task(instance.dims, seed, TRIALS, instance.observe is not None)
    peer = (TUNERS[tuner].build if tuner in TUNERS else expression(f"jaxhp.{tuner}()"))(task)
    y, true = np.full(TRIALS, np.nan), np.full(TRIALS, np.nan)
    for t in range(TRIALS):
        handle, suggested = peer.ask()
        params: Params = {}
        for dim in instance.dims:
            if active(dim, params):
                params[dim.name] = suggested[dim.name]
        true[t] = instance.value(params)
        y[t] = instance.observe(params, noise) if instance.observe else true[t]
        peer.tell(handle, float(y[t]))
    y[~np.isfinite(y)] = np.nan
    return y, true


def record(tuner: str, problem: Problem) -> None:
    path = FOLDER / tuner / f"{problem.name}.npz"
    if path.exists():
        return
    told = [search(tuner, problem, seed) for seed in range(SEEDS[tuner])]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, y=[y for y, _ in told], true=[true for _, true in told], d=len(problem.instance(0).dims))
    partial.replace(path)


def histories(split: str) -> list[History]:
    """What is recorded of a half.

    Raises:
        SystemExit: nothing is.
    """
    found = []
    for path in sorted(FOLDER.glob("*/*.npz")):
        problem = problems().get(path.stem)
        if problem is None or problem.split != split:
            continue
        with np.load(path) as file:
            runs = zip(file["y"], file["true"], strict=True)
            found += [History(path.parent.name, problem, seed, int(file["d"]), y, true) for seed, (y, true) in enumerate(runs)]
    if not found:
        raise SystemExit(f"no histories in {FOLDER}; make them: python bench/histories.py")
    return found


def main() -> int:
    for tuner in sys.argv[1:] or SEEDS:
        for problem in problems().values():
            try:
                record(tuner, problem)
            except Unavailable as e:
                print(f"skipped {tuner} on {problem.name}: {e}")
        print(f"{tuner} is recorded", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
