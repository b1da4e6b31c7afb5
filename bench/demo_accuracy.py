"""Does tuning examples/digits.py pay on held-out data?  python bench/demo_accuracy.py [--seeds 10]

For each seed: another split of the data, another study seed; the demo's search in lanes with early stopping, and a random search of
as many training steps, all of them full runs; both choose by validation loss; then test accuracy of both results and of the file's
defaults, each the mean of five trainings.
Differences are paired by seed, with a 95 % Student-t interval.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import rows
from scipy.stats import t as student

import jaxhp

RETRAININGS = 5


def load_digits_example() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "examples" / "digits.py"
    spec = importlib.util.spec_from_file_location("digits", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_accuracies(digits: ModuleType, seed: int) -> dict[str, float]:
    """Of the tuned, the random and the default configuration on one split, and how many full runs the search cost."""
    trainable = digits.trainable(seed)

    def searched(sampler: jaxhp.Sampler, scheduler: jaxhp.Scheduler | None, trials: int, seed: int) -> jaxhp.Study:
        study = jaxhp.Study(digits.space, sampler=sampler, metric=digits.metric, seed=seed)
        study.enqueue(digits.space.default_params())  # as `jaxhp tune` does
        return study.train(trainable, trials=trials, steps=digits.steps, lanes=digits.lanes, scheduler=scheduler)

    tuned = searched(jaxhp.auto(), digits.scheduler, digits.trials, seed)
    curves = tuned.curves
    trained = np.zeros(curves["number"].max() + 1)
    np.maximum.at(trained, curves["number"], curves["step"])
    runs = round(trained.sum() / digits.steps)
    random = searched(jaxhp.random_search(), None, runs, seed + 1000)
    chosen = {"tuned": tuned.best.params, "random": random.best.params, "defaults": digits.space.default_params()}
    return {name: tuned.test(params, repeats=RETRAININGS)["accuracy"] for name, params in chosen.items()} | {"full_runs": float(runs)}


def interval(differences: np.ndarray[Any, np.dtype[np.float64]]) -> list[float]:
    """Mean, and the bounds of its 95 % interval."""
    n = len(differences)
    half = student.ppf(0.975, n - 1) * differences.std(ddof=1) / np.sqrt(n)
    return [round(float(v), 5) for v in (differences.mean(), differences.mean() - half, differences.mean() + half)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    digits = load_digits_example()
    start = time.perf_counter()
    results = []
    print("seed  tuned   random  defaults")
    for seed in range(arguments.seeds):
        r = test_accuracies(digits, seed)
        results.append(r)
        print(f"{seed:4d}  {r['tuned']:.4f}  {r['random']:.4f}  {r['defaults']:.4f}", flush=True)
    means = {name: np.array([r[name] for r in results]) for name in ("tuned", "random", "defaults")}
    row: dict[str, Any] = {
        "seeds": arguments.seeds,
        "trials": digits.trials,
        "full_runs": round(float(np.mean([r["full_runs"] for r in results])), 1),
        "sampler": jaxhp.auto().name,
        "scheduler": digits.scheduler.name,
        **{f"test_accuracy_{name}": round(float(values.mean()), 5) for name, values in means.items()},
        "tuned_minus_defaults": interval(means["tuned"] - means["defaults"]),
        "tuned_better_than_defaults": int((means["tuned"] > means["defaults"]).sum()),
        "tuned_minus_random": interval(means["tuned"] - means["random"]),
        "tuned_better_than_random": int((means["tuned"] > means["random"]).sum()),
        "seconds": round(time.perf_counter() - start, 1),
    }
    for name in ("defaults", "random"):
        mean, low, high = row[f"tuned_minus_{name}"]
        wins = row[f"tuned_better_than_{name}"]
        print(f"tuned - {name}: {mean:+.4f} [{low:+.4f}, {high:+.4f}], better in {wins} of {arguments.seeds}")
    rows.append("demo_accuracy", row)


if __name__ == "__main__":
    main()
