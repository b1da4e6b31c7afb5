"""A study of each sampler, run by processes that share a folder of SQLite files and may be killed.

python every_sampler.py FOLDER TRIALS [--lag W] [--workers N] [--killed]
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jaxhp
from jaxhp import Categorical, Float, Int, Ordinal, Sampler, Space, Study, Trial
from jaxhp.samplers._named import NAMED

SPACE = Space(
    {
        "x": Float(-1.0, 1.0),
        "rate": Float(1e-4, 1.0, log=True),
        "n": Int(1, 8),
        "size": Ordinal([16, 32, 64]),
        "kind": Categorical(["a", "b", "c"]),
        "m": Float(0.1, 1.0, when={"kind": "b"}),
    }
)


def other() -> Study:
    """Another study, whose trials a sampler may start from."""
    return Study(SPACE, sampler=jaxhp.sobol(), seed=8).optimize(objective, trials=12)


SAMPLERS: dict[str, Callable[[], Sampler]] = {name: getattr(jaxhp, name) for name in NAMED} | {
    "nsga2": partial(jaxhp.nsga2, 6),  # so that all breed within few trials
    "differential_evolution": partial(jaxhp.differential_evolution, population=6),
    "regularized_evolution": partial(jaxhp.regularized_evolution, 6, 3),
    "hypergradient_descent": partial(jaxhp.hypergradient_descent, starts=4, patience=3),
    "sequence": lambda: jaxhp.sequence((jaxhp.sobol(), 6), (jaxhp.tpe(), 6), (jaxhp.cma_es(popsize=4), None)),
    "mixture": lambda: jaxhp.mixture((jaxhp.bayes(), 1), (jaxhp.random_search(), 1), (jaxhp.coarse_to_fine(2, 2), 1)),
    "freeze": lambda: jaxhp.freeze(jaxhp.cma_es(popsize=5), {"size": 32}),
    "warm_start": lambda: jaxhp.warm_start(jaxhp.bayes(), other()),
}


def objective(trial: Trial) -> tuple[float, dict[str, float]]:
    """A value, its slope along x, and a failure now and then."""
    if trial.number % 7 == 5:
        raise RuntimeError("this one fails")
    x, rate = trial["x"], trial["rate"]
    value = (x - 0.3) ** 2 + abs(rate - 0.01) + 0.01 * trial["n"] + 0.1 * (trial["kind"] == "c") + 16 / trial["size"]
    return value + (trial["m"] if trial["kind"] == "b" else 0.0), {"x": 2 * (x - 0.3)}


def study_of(name: str, folder: Path, **more: Any) -> Study:
    return Study(SPACE, sampler=SAMPLERS[name](), seed=3, storage=f"sqlite:///{folder}/{name}.db", **more)


def trials_of(study: Study) -> list[tuple[int, bytes, float | None]]:
    """The bits of every finished trial, in the order of their numbers."""
    return sorted((trial.number, trial.u.tobytes(), trial.value) for trial in study.finished)


def run(folder: Path, trials: int, lag: int | None, workers: int) -> None:
    """Finishes so many trials of every study, as one of any number of processes."""
    for name in SAMPLERS:
        study_of(name, folder, lag=lag).optimize(objective, trials=trials, workers=workers, max_failed=1.0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("trials", type=int)
    parser.add_argument("--lag", type=int)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--killed", action="store_true")
    options = parser.parse_args()
    run(options.folder, options.trials, options.lag, options.workers)
    if options.killed:  # while one more trial of every study runs
        running = [study_of(name, options.folder).ask() for name in SAMPLERS]
        print(len(running), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
