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
from synthetic import ackley, hartmann6, levy

import jaxhp
from jaxhp._types import Floats

PROBLEMS: dict[str, tuple[Callable[[Floats], float], int]] = {
    "hartmann6": (hartmann6, 6),
    "ackley10": (ackley, 10),
    "levy10": (levy, 10),
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
