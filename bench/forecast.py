"""Are the forecasts of `study.forecast` true, and is it a good rule to stop by?

    python bench/histories.py              # once: whole searches, into out/histories
    python bench/forecast.py               # the table on the judging half; a row in bench/results/forecast.jsonl with --record
    python bench/forecast.py fit           # the numbers of jaxhp/analysis/_prospect.py, from the tuning half

Calibration: (n results, m more) of every recorded search; does the best gain more than 1 % of its spread? Brier scores are means over
searches, beside the base rate (the share of gains at that n and m, per tuner, in hindsight), the record law m / (n + m), and patience:
the share of gains on the tuning half at that n and m among searches with as long a time without one. Stopping: a rule is asked after
every trial from 10 to 300; `saved` is the share of 300 trials not run, `lost` the mean true regret beyond that of 300 trials, in units
of the median random configuration. A patience rule stops k trials after the last gain, k so chosen that it saves as much.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import rows
from histories import History, histories

from jaxhp.analysis._forecast import MEANINGFUL
from jaxhp.analysis._prospect import TICKS, features, prospect, spread

Floats = npt.NDArray[np.float64]

NS = (10, 14, 20, 28, 40, 56, 80, 110, 150, 200, 250, 300)
MS = (10, 25, 50, 100)
LONGEST = 300
BLIND = ("random_search", "sobol")  # recorded tuners that do not learn


class Case:
    """A history cut at n, and what m more trials brought."""

    def __init__(self, history: History, n: int, m: int) -> None:
        y = np.where(np.isfinite(history.y), history.y, np.inf)
        self.history, self.n, self.m, self.y = history, n, m, y[:n]
        self.spread = spread(self.y)
        self.best = float(self.y.min())
        self.gain = (self.best - min(self.best, float(y[n : n + m].min()))) / self.spread if self.spread > 0.0 else 0.0
        self.waited = n - 1 - int(np.argmax(self.y <= self.best + MEANINGFUL * self.spread))  # trials since the last meaningful gain


def cases(split: str) -> list[Case]:
    found = []
    for history in histories(split):
        total = len(history.y)
        cuts = [(n, m) for n in NS for m in MS if n + m <= total and np.isfinite(history.y[:n]).sum() >= 10]
        found += [case for case in (Case(history, n, m) for n, m in cuts) if case.spread > 0.0]
    return found


def weights(among: list[Case], share: dict[str, float]) -> Floats:
    """Every problem the same; a tuner as `share` says, else 1."""
    keys = [(c.history.tuner, c.history.problem.name) for c in among]
    count: dict[tuple[str, str], int] = {}
    for key in keys:
        count[key] = count.get(key, 0) + 1
    return np.array([share.get(key[0], 1.0) / count[key] for key in keys])


def fit() -> None:
    """Penalised maximum likelihood of the proportional odds, by L-BFGS on analytic gradients of jax."""
    import jax
    import jax.numpy as jnp
    from scipy.optimize import minimize

    jax.config.update("jax_enable_x64", True)
    among = [c for c in cases("tune") if c.history.tuner not in BLIND]
    x = np.array([features(c.y, c.history.d, c.m) for c in among])
    middle, scale = x.mean(axis=0), x.std(axis=0)
    k = len(TICKS)
    above = np.sum(np.array([c.gain for c in among])[:, None] > np.array(TICKS), axis=1)
    weight = weights(among, {"optuna-tpe": 0.3, "optuna-cmaes": 0.3})
    inputs, weight, index = (x - middle) / scale, weight / weight.sum(), np.arange(len(x))

    def loss(p: Any) -> Any:
        levels = jnp.concatenate([p[:1], p[0] - jnp.cumsum(jnp.exp(p[1:k]))])
        chances = jax.nn.sigmoid(levels + (inputs @ p[k:])[:, None])
        whole = jnp.concatenate([jnp.ones((len(x), 1)), chances, jnp.zeros((len(x), 1))], axis=1)
        likelihood = whole[index, above] - whole[index, above + 1]
        return -(weight * jnp.log(jnp.maximum(likelihood, 1e-9))).sum() + 1e-4 * (p[k:] ** 2).sum()

    both = jax.jit(jax.value_and_grad(loss))
    start = np.concatenate([[1.0], np.full(k - 1, -1.0), np.zeros(x.shape[1])])
    found = minimize(lambda p: tuple(np.asarray(v, float) for v in both(p)), start, jac=True, method="L-BFGS-B").x
    levels = np.concatenate([found[:1], found[0] - np.cumsum(np.exp(found[1:k]))])
    slopes = found[k:] / scale
    print(f"{len(among)} cases, mean log likelihood {-float(both(found)[0]):.4f}")
    print("LEVELS: Final =", tuple(round(float(v), 3) for v in levels - slopes @ middle))
    print("WEIGHTS: Final =", tuple(round(float(v), 3) for v in slopes))


def patience_table(tuners: set[str]) -> Callable[[Case], float]:
    """The chance of a gain at (n, m) and a time without one, by share of n in quarters, from the tuning half's cases of these tuners."""
    counts: dict[tuple[int, int, int], list[float]] = {}

    def cell(c: Case) -> tuple[int, int, int]:
        return c.n, c.m, min(3, 4 * c.waited // c.n)

    for c in cases("tune"):
        if c.history.tuner in tuners:
            counts.setdefault(cell(c), []).append(c.gain > MEANINGFUL)
    return lambda c: float(np.mean(counts.get(cell(c), [0.5])))


def calibration(tuner: str, among: list[Case], patience: Callable[[Case], float]) -> dict[str, Any]:
    found = [prospect(c.y, c.history.d, c.m, tuner not in BLIND) for c in among]
    chance = np.array([p.exceeds(MEANINGFUL) for p in found])
    gains = np.array([c.gain for c in among])
    gained = gains > MEANINGFUL
    weight = weights(among, {})
    weight /= weight.sum()
    rates: dict[tuple[int, int], list[float]] = {}
    for c, g in zip(among, gained, strict=True):
        rates.setdefault((c.n, c.m), []).append(g)
    others = {
        "forecast": chance,
        "base": np.array([np.mean(rates[c.n, c.m]) for c in among]),
        "patience": np.array([patience(c) for c in among]),
        "records": np.array([c.m / (c.n + c.m) for c in among]),
    }
    inside = [p.quantile(0.1) - TICKS[0] <= g <= p.quantile(0.9) + TICKS[0] for p, g in zip(found, gains, strict=True)]
    bins = []
    for low, high in pairwise(np.linspace(0.0, 1.0, 11)):
        here = (chance >= low) & ((chance < high) | (high == 1.0))
        if here.any():
            bins.append([round(float(v), 3) for v in (chance[here].mean(), gained[here].mean())] + [int(here.sum())])
    capped = np.minimum(gains, TICKS[-1])
    return {
        "question": "calibration",
        "tuner": tuner,
        "cases": len(among),
        "brier": {name: round(float(weight @ (p - gained) ** 2), 4) for name, p in others.items()},
        "coverage80": round(float(weight @ np.array(inside)), 3),
        "mean_gain": [round(float(weight @ np.array([p.mean() for p in found])), 4), round(float(weight @ capped), 4)],
        "bins": bins,
    }


def stopped(history: History, rule: Callable[[Floats], bool]) -> int:
    """After how many trials a rule stops a search, LONGEST at most."""
    y = np.where(np.isfinite(history.y), history.y, np.inf)
    for n in range(10, LONGEST):
        if np.isfinite(y[:n]).sum() >= 10 and rule(y[:n]):
            return n
    return LONGEST


def regret(history: History, n: int) -> float:
    """True regret of the best told of n, in units of the median random configuration."""
    told = np.where(np.isfinite(history.y), history.y, np.inf)
    return float(history.true[int(np.argmin(told[:n]))] / history.problem.scale)


def stopping(tuner: str, among: list[History], gains: tuple[float, ...], more: int = 50) -> list[dict[str, Any]]:
    found = []
    waits = {k: outcome(among, [waiting(h, k) for h in among]) for k in range(5, 150)}
    expected = [_expected(h, more) for h in among]
    for gain in gains:
        ends = [next((n for n in range(10, LONGEST) if e[n] < gain), LONGEST) for e in expected]
        mine = outcome(among, ends)
        k = min(waits, key=lambda k: abs(waits[k]["saved"] - mine["saved"]))
        found.append({"question": "stopping", "tuner": tuner, "gain": gain, "more": more, "enough": mine, "patience": {"k": k} | waits[k]})
    return found


def _expected(history: History, more: int) -> Floats:
    """(LONGEST,) expected gain in units of S after n results; infinite where there is no forecast."""
    y = np.where(np.isfinite(history.y), history.y, np.inf)
    expected = np.full(LONGEST, np.inf)
    for n in range(10, LONGEST):
        if np.isfinite(y[:n]).sum() >= 10 and spread(y[:n]) > 0.0:
            expected[n] = prospect(y[:n], history.d, more, history.tuner not in BLIND).mean()
    return expected


def waiting(history: History, k: int) -> int:
    y = np.where(np.isfinite(history.y), history.y, np.inf)
    last, best = 0, np.inf
    for n in range(1, LONGEST):
        if y[n - 1] < best:
            best, last = y[n - 1], n
        if n >= 10 and n - last >= k:
            return n
    return LONGEST


def outcome(among: list[History], ends: list[int]) -> dict[str, float]:
    lost = np.array([regret(h, n) - regret(h, LONGEST) for h, n in zip(among, ends, strict=True)])
    saved = 1.0 - np.mean(ends) / LONGEST
    return {
        "saved": round(float(saved), 3),
        "lost": round(float(lost.mean()), 4),
        "lost90": round(float(np.quantile(lost, 0.9)), 4),
        "above_1_percent": round(float((lost > 0.01).mean()), 3),
    }


def show(row: dict[str, Any]) -> None:
    if row["question"] == "calibration":
        scores = "  ".join(f"{name} {score:.4f}" for name, score in row["brier"].items())
        print(f"\n{row['tuner']}, {row['cases']} cases: Brier {scores}; 80 % intervals hold {row['coverage80']:.1%};")
        print(f"  mean gain {row['mean_gain'][1]:.4f}, forecast {row['mean_gain'][0]:.4f}; forecast -> came true (cases):")
        print("  " + "  ".join(f"{said:.2f} -> {was:.2f} ({count})" for said, was, count in row["bins"]))
        return
    mine, other = row["enough"], row["patience"]
    print(
        f"{row['tuner']:14s} expected gain below {row['gain']:.3f}: saved {mine['saved']:.1%}, lost {mine['lost']:.4f} "
        f"(90 %: {mine['lost90']:.4f}; above 0.01 in {mine['above_1_percent']:.1%});  patience {other['k']}: "
        f"saved {other['saved']:.1%}, lost {other['lost']:.4f} (90 %: {other['lost90']:.4f}; {other['above_1_percent']:.1%})"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", nargs="?", choices=("judge", "fit"), default="judge")
    parser.add_argument("--split", choices=("tune", "judge"), default="judge")
    parser.add_argument("--record", action="store_true", help="append the rows to bench/results/forecast.jsonl")
    options = parser.parse_args()
    if options.verb == "fit":
        fit()
        return 0
    everything = cases(options.split)
    tuners = sorted({c.history.tuner for c in everything})
    results = []
    for tuner in tuners:
        table = patience_table({tuner})
        results.append(calibration(tuner, [c for c in everything if c.history.tuner == tuner], table))
        show(results[-1])
    print()
    for tuner in tuners:
        results += stopping(tuner, [h for h in histories(options.split) if h.tuner == tuner], (0.003, 0.01, 0.03))
    for row in results:
        if row["question"] == "stopping":
            show(row)
        if options.record:
            rows.append("forecast", {"split": options.split} | row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
