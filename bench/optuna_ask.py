"""What does a trial cost inside Optuna's studies with our samplers, beside Optuna's own samplers?

    python bench/optuna_ask.py [--quick]

ask + ten suggestions + tell through `optuna.Study` in memory, d = 10 floats, one thread, thread CPU time, samplers interleaved by
repeat. Rows go to bench/results/optuna_ask.jsonl.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
import optuna
import rows
from optuna.samplers import BaseSampler

import jaxhp
from jaxhp.interop.optuna import Sampler

D = 10
SPACE = jaxhp.Space({f"x{i}": jaxhp.Float(-1.0, 1.0) for i in range(D)})
SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "jaxhp random_search": lambda seed: Sampler(jaxhp.random_search(), seed),
    "jaxhp random_search, space given": lambda seed: Sampler(jaxhp.random_search(), seed, space=SPACE),
    "jaxhp bayes": lambda seed: Sampler(jaxhp.bayes(), seed),
    "jaxhp bayes, space given": lambda seed: Sampler(jaxhp.bayes(), seed, space=SPACE),
    "jaxhp tpe": lambda seed: Sampler(jaxhp.tpe(), seed),
    "Optuna RandomSampler": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "Optuna TPESampler, multivariate": lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=True),
    "Optuna GPSampler": lambda seed: optuna.samplers.GPSampler(seed=seed),
}


def objective(trial: optuna.Trial) -> float:
    """A bowl, its minimum off the centre."""
    return sum((trial.suggest_float(name, -1.0, 1.0) - 0.08 * i) ** 2 for i, name in enumerate(SPACE.names))


def cost(make: Callable[[int], BaseSampler], seed: int, n: int, timed: int) -> list[float]:
    """Milliseconds of each of `timed` trials after n random ones."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    study.optimize(objective, n_trials=n)
    study.sampler = make(seed)
    study.optimize(objective, n_trials=1)  # takes in what is there
    costs = []
    for _ in range(timed):
        start = time.thread_time()
        trial = study.ask()
        study.tell(trial, objective(trial))
        costs.append((time.thread_time() - start) * 1e3)
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one repeat, without GPSampler")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    names = [name for name in SAMPLERS if not (arguments.quick and name == "Optuna GPSampler")]
    for n in (100, 1000):
        found: dict[str, list[float]] = {name: [] for name in names if not (n == 1000 and name == "Optuna GPSampler")}
        for seed in range(1 if arguments.quick else 3):
            for name in found:
                found[name] += cost(SAMPLERS[name], seed, n, 5 if name == "Optuna GPSampler" else 20)
        for name, costs in found.items():
            print(f"  n = {n:4d}  {name:34s} {np.median(costs):8.3f} ms", flush=True)
            row = {
                "n": n,
                "sampler": name,
                "median_ms": float(np.median(costs)),
                "mean_ms": float(np.mean(costs)),
                "optuna": optuna.__version__,
            }
            rows.append("optuna_ask", row)


if __name__ == "__main__":
    main()
