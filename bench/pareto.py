"""Does `nsga2()` find as large a front as Optuna's and pymoo's NSGA-II, and at what cost?  python bench/pareto.py [--quick]

ZDT1, ZDT2 and ZDT3 (30 floats, two objectives) and DTLZ2 (12 floats, three), 2,000 evaluations, equal populations (50 is Optuna's
default, 100 pymoo's), everything else the defaults of each library. Judged by the hypervolume of all that was evaluated, against two
references: near, 1.1 in every objective, which counts what has converged; and far, about the worst of random configurations (7 in the
second objective of ZDT, 2.5 in all of DTLZ2). The runs of one seed are paired; the interval is a bootstrap of their mean difference.
Ours starts with its default configuration, which by itself would be in DTLZ2's optimal set: so the defaults are drawn by the seed.

Ours is asked in turn, as `Study.optimize` does with one worker, and in rows of their own for whole generations at once; the others work
by generations anyway. A generation's cost is the thread's CPU time of asking and telling as many trials as the population has, from
trial 500 on, the objective excluded; ours through `Study`. Wanted: no interval wholly below 0, and at most 0.1x Optuna's cost.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import rows

import jaxhp
from jaxhp.pareto import hypervolume

Array = npt.NDArray[np.float64]
EVALUATIONS = 2000
STEADY = 500  # trials after which costs are counted


class Case(NamedTuple):
    name: str
    d: int
    m: int
    objectives: Callable[[Array], Array]  # (n, d) -> (n, m)
    far: list[float]


def zdt(front: Callable[[Array, Array], Array]) -> Callable[[Array], Array]:
    """Zitzler, Deb & Thiele 2000: f1 = x1, f2 = g h(f1, g)."""

    def objectives(x: Array) -> Array:
        f, g = x[:, 0], 1.0 + 9.0 * x[:, 1:].mean(axis=1)
        return np.stack([f, g * front(f, g)], axis=1)

    return objectives


def dtlz2(x: Array) -> Array:
    """Deb, Thiele, Laumanns & Zitzler 2002, three objectives: the front is an eighth of a sphere."""
    g = 1.0 + ((x[:, 2:] - 0.5) ** 2).sum(axis=1)
    a, b = 0.5 * np.pi * x[:, 0], 0.5 * np.pi * x[:, 1]
    return np.stack([g * np.cos(a) * np.cos(b), g * np.cos(a) * np.sin(b), g * np.sin(a)], axis=1)


CASES = [
    Case("zdt1", 30, 2, zdt(lambda f, g: 1.0 - np.sqrt(f / g)), [1.1, 7.0]),
    Case("zdt2", 30, 2, zdt(lambda f, g: 1.0 - (f / g) ** 2), [1.1, 7.0]),
    Case("zdt3", 30, 2, zdt(lambda f, g: 1.0 - np.sqrt(f / g) - f / g * np.sin(10.0 * np.pi * f)), [1.1, 7.0]),
    Case("dtlz2", 12, 3, dtlz2, [2.5] * 3),
]


class Tuner(NamedTuple):
    """`ask()` gives the next points (k, d), `tell(y)` takes their objectives (k, m)."""

    ask: Callable[[], Array]
    tell: Callable[[Array], None]


def in_turn(case: Case, seed: int, population: int) -> Tuner:
    return ours(case, seed, population, 1)


def at_once(case: Case, seed: int, population: int) -> Tuner:
    return ours(case, seed, population, population)


def ours(case: Case, seed: int, population: int, batch: int) -> Tuner:
    usual = np.random.default_rng(seed).random(case.d)
    space = jaxhp.Space({f"x{i}": jaxhp.Float(0.0, 1.0, default=float(usual[i])) for i in range(case.d)})
    names = [f"y{i}" for i in range(case.m)]
    study = jaxhp.Study(space, sampler=jaxhp.nsga2(population), directions=dict.fromkeys(names, "minimize"), seed=seed)
    asked: list[jaxhp.Trial] = []

    def ask() -> Array:
        asked[:] = study.ask(batch)
        return np.array([list(trial.params.values()) for trial in asked])

    def tell(y: Array) -> None:
        for trial, values in zip(asked, y.tolist(), strict=True):
            study.tell(trial, dict(zip(names, values, strict=True)))

    return Tuner(ask, tell)


def optuna(case: Case, seed: int, population: int) -> Tuner:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.NSGAIISampler(population_size=population, seed=seed)
    study = optuna.create_study(directions=["minimize"] * case.m, sampler=sampler)
    distributions: dict[str, Any] = {f"x{i}": optuna.distributions.FloatDistribution(0.0, 1.0) for i in range(case.d)}
    asked: list[Any] = []

    def ask() -> Array:
        asked[:] = [study.ask(distributions) for _ in range(population)]
        return np.array([list(trial.params.values()) for trial in asked])

    def tell(y: Array) -> None:
        for trial, values in zip(asked, y.tolist(), strict=True):
            study.tell(trial, values)

    return Tuner(ask, tell)


def pymoo(case: Case, seed: int, population: int) -> Tuner:
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.evaluator import Evaluator
    from pymoo.core.problem import Problem
    from pymoo.problems.static import StaticProblem

    problem = Problem(n_var=case.d, n_obj=case.m, xl=0.0, xu=1.0)
    algorithm = NSGA2(pop_size=population)
    algorithm.setup(problem, seed=seed, termination=("n_gen", 10**9), verbose=False)
    asked: list[Any] = []

    def ask() -> Array:
        asked[:] = [algorithm.ask()]
        points: Array = asked[0].get("X")
        return points

    def tell(y: Array) -> None:
        Evaluator().eval(StaticProblem(problem, F=y), asked[0])
        algorithm.tell(infills=asked[0])

    return Tuner(ask, tell)


TUNERS: dict[str, Callable[[Case, int, int], Tuner]] = {"in turn": in_turn, "at once": at_once, "optuna": optuna, "pymoo": pymoo}


def run(case: Case, tuner: Tuner) -> tuple[Array, float]:
    """The objectives of all evaluations, and the milliseconds of a trial, ask and tell."""
    found: list[Array] = []
    seen, spent, counted = 0, 0.0, 0
    while seen < EVALUATIONS:
        begun = time.thread_time()
        x = tuner.ask()
        asked = time.thread_time()
        y = case.objectives(x)
        told = time.thread_time()
        tuner.tell(y)
        if seen >= STEADY:
            spent += asked - begun + time.thread_time() - told
            counted += len(x)
        found.append(y)
        seen += len(x)
    return np.concatenate(found)[:EVALUATIONS], 1e3 * spent / counted


def interval(differences: Array) -> list[float]:
    """95 % of the bootstrapped mean."""
    drawn = np.random.default_rng(0).integers(0, len(differences), (10_000, len(differences)))
    return np.quantile(differences[drawn].mean(axis=1), [0.025, 0.975]).tolist()


def measured(case: Case, population: int, seeds: int) -> Iterator[dict[str, Any]]:
    volumes: dict[str, list[list[float]]] = {name: [] for name in TUNERS}
    costs: dict[str, list[float]] = {name: [] for name in TUNERS}
    references = [np.full(case.m, 1.1), np.array(case.far)]
    for seed in range(seeds):
        for name, make in TUNERS.items():
            y, cost = run(case, make(case, seed, population))
            volumes[name].append([hypervolume(y, reference) for reference in references])
            costs[name].append(cost * population)
    for way, peer in product(("in turn", "at once"), ("optuna", "pymoo")):
        mine, theirs = np.array(volumes[way]), np.array(volumes[peer])
        intervals = [interval(mine[:, i] - theirs[:, i]) for i in range(2)]
        ratio = float(np.median(costs[way]) / np.median(costs[peer]))
        yield {
            "case": case.name,
            "population": population,
            "seeds": seeds,
            "asked": way,
            "peer": peer,
            "version": version(peer),
            "references": [reference.tolist() for reference in references],
            "ours": mine.mean(axis=0).tolist(),
            "theirs": theirs.mean(axis=0).tolist(),
            "intervals": intervals,
            "ours_ms": float(np.median(costs[way])),
            "theirs_ms": float(np.median(costs[peer])),
            "cost": ratio,
            "met": all(high >= 0.0 for _, high in intervals) and (peer != "optuna" or ratio <= 0.1),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", default=",".join(case.name for case in CASES))
    parser.add_argument("--populations", default="50,100")
    parser.add_argument("--quick", action="store_true", help="three seeds, one population, no rows")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="optuna")
    for population in [50] if options.quick else [int(size) for size in options.populations.split(",")]:
        for case in (case for case in CASES if case.name in options.only.split(",")):
            for row in measured(case, population, 3 if options.quick else options.seeds):
                near, far = (
                    f"{a:.4f} {b:.4f} [{low:+.4f}, {high:+.4f}]"
                    for a, b, (low, high) in zip(row["ours"], row["theirs"], row["intervals"], strict=True)
                )
                compared = f"{case.name:5s} population {population:3d}, asked {row['asked']}, against {row['peer']:6s}"
                cost = f"{row['ours_ms']:.2f} ms, {row['theirs_ms']:.2f} ms: {row['cost']:.3f}x"
                print(f"{'met' if row['met'] else 'MISSED':6s} {compared}  near {near}  far {far}  generation {cost}", flush=True)
                if not options.quick:
                    rows.append("pareto", row)


if __name__ == "__main__":
    main()
