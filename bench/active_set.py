"""Does the active set (256 of n results) cost quality at n = 500?   python bench/active_set.py [--seeds 20] [--trials 500]

`bayes()` against `bayes(active=4096)`, which stands on every result; paired seeds, shifted problems. Simple regret, the share of seeds
in which the capped one is no worse, and a sign test. Random search beside both, for scale.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
import rows

import jaxhp
from jaxhp._types import Floats

_A = np.array([[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]])
_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def hartmann6(x: Floats) -> float:
    """Minimum -3.32237 (Surjanovic & Bingham)."""
    return float(-(np.array([1.0, 1.2, 3.0, 3.2]) * np.exp(-(_A * (x - _P) ** 2).sum(axis=1))).sum()) + 3.322368011415515


def ackley10(x: Floats) -> float:
    z = 32.768 * (2.0 * x - 1.0)
    return float(-20 * np.exp(-0.2 * np.sqrt((z * z).mean())) - np.exp(np.cos(2 * math.pi * z).mean()) + 20 + math.e)


def levy10(x: Floats) -> float:
    w = 1 + (20.0 * x - 10.0 - 1) / 4
    middle = ((w[:-1] - 1) ** 2 * (1 + 10 * np.sin(math.pi * w[:-1] + 1) ** 2)).sum()
    return float(np.sin(math.pi * w[0]) ** 2 + middle + (w[-1] - 1) ** 2 * (1 + np.sin(2 * math.pi * w[-1]) ** 2))


PROBLEMS: dict[str, tuple[Callable[[Floats], float], int]] = {
    "hartmann6": (hartmann6, 6),
    "ackley10": (ackley10, 10),
    "levy10": (levy10, 10),
}


def regret(name: str, sampler: jaxhp.Sampler, seed: int, trials: int) -> tuple[float, float]:
    """Best value after `trials` (the minimum is 0), and CPU seconds."""
    f, d = PROBLEMS[name]
    shift = 0.0 if name == "hartmann6" else np.random.default_rng(seed).uniform(-0.3, 0.3, d)
    study = jaxhp.Study(jaxhp.Space({f"x{i}": jaxhp.Float(0.0, 1.0) for i in range(d)}), sampler=sampler, seed=seed)
    start = time.thread_time()
    study.optimize(lambda trial: f(np.fromiter(trial.params.values(), float) - shift), trials=trials)
    return float(study.best.values["value"]), time.thread_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=500)
    options = parser.parse_args()
    makers = {"capped": jaxhp.bayes, "uncapped": lambda: jaxhp.bayes(active=4096), "random": jaxhp.random_search}
    for name in PROBLEMS:
        results = np.array(
            [[regret(name, make(), 100 + seed, options.trials) for make in makers.values()] for seed in range(options.seeds)]
        )
        capped, uncapped, random = results[:, :, 0].T
        floor = 1e-6
        wins, losses = int((capped < uncapped - floor).sum()), int((capped > uncapped + floor).sum())
        n = wins + losses
        sign = sum(math.comb(n, k) for k in range(losses, n + 1)) / 2**n if n else 1.0  # chance of so many losses, were both equal
        row = {
            "problem": name,
            "trials": options.trials,
            "seeds": options.seeds,
            "median_regret": {
                "capped": float(np.median(capped)),
                "uncapped": float(np.median(uncapped)),
                "random": float(np.median(random)),
            },
            "seconds": {key: float(results[:, i, 1].mean()) for i, key in enumerate(makers)},
            "capped_wins": wins,
            "capped_losses": losses,
            "sign_test": sign,
        }
        print(
            f"{name:10s} median regret: capped {row['median_regret']['capped']:.2e}, uncapped {row['median_regret']['uncapped']:.2e}, "
            f"random {row['median_regret']['random']:.2e}; capped better {wins}, worse {losses} (p = {sign:.2f}); "
            f"{row['seconds']['capped']:.2f} s against {row['seconds']['uncapped']:.2f} s",
            flush=True,
        )
        rows.append("active_set", row)


if __name__ == "__main__":
    main()
