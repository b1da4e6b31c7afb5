"""Does cma_es() reach as many targets of BBOB as pycma and cmaes, and as fast a generation?

    python bench/bbob.py --part bbob                       # 24 functions x 15 instances x 5, 10, 20 dims, 200 d evaluations: 8 minutes
    python bench/bbob.py --part mixint                     # bbob-mixint, 10 and 20 dims: 8 minutes
    python bench/bbob.py --part latency                    # ask + tell of a generation: 1 minute
    python bench/bbob.py --dims 5,10 --instances 1-3 --functions 1-24 --tuners "jaxhp;cmaes;wide=jaxhp.cma_es(0.3)" --dry

Every tuner begins at the centre, with sigma 2 of [-5, 5] (of bbob-mixint: a fifth of each range), and has the same evaluations. The first
one is the centre for all: it is our trial 0, and the peers are charged one for it, as COCO's example experiment does. A run that its own
criteria end is started again: pycma and cmaes with populations that double (IPOP), from a uniform point. The score is the area under the
empirical distribution of runtimes over log evaluations from d to 200 d, targets f_opt + 10^2..10^-8 (51, evenly spaced in log): 1 is every
target within d evaluations. Intervals: 95 %, bootstrap over (function, instance) of the paired difference.
"""

# ruff: noqa: E402  (thread pools read their sizes when they are loaded)

from __future__ import annotations

import os

for _pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_pool, "1")

import argparse
import math
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import rows
from tables import optimum_of

import jaxhp
from jaxhp._types import Floats, Outcome, Problem, Status
from jaxhp.testing import rows as told

TARGETS = 10.0 ** np.linspace(2.0, -8.0, 51)
BUDGET = 200  # evaluations a dimension
SIGMA = 0.2  # of each range


class Box(NamedTuple):
    """What is searched: coordinates between low and high, the first `integers` of them whole numbers."""

    low: Floats
    high: Floats
    integers: int


class Tuner(NamedTuple):
    """A generation at a time: `ask() -> (k, d)` points in the user's units, `tell(values (k,))`."""

    ask: Callable[[], Floats]
    tell: Callable[[Floats], None]
    starts: bool = False  # whether its first point is the centre


def ours(box: Box, seed: int, sampler: jaxhp.Sampler) -> Tuner:
    """The sampler's fold, a generation at a time: ask, tell as pending, tell the results."""
    parameters: dict[str, Any] = {}
    for j, (low, high) in enumerate(zip(box.low, box.high, strict=True)):
        parameters[f"x{j}"] = jaxhp.Int(int(low), int(high)) if j < box.integers else jaxhp.Float(low, high)
    space = jaxhp.Space(parameters)
    state = sampler.init(Problem(space, space.dims, (Outcome("f"),)), seed)
    asked, u = 0, np.empty((0, space.d))
    whole = np.arange(space.d) < box.integers

    def ask() -> Floats:
        nonlocal u
        k = _generation(state, space.d)
        u = sampler.ask(state, np.arange(asked, asked + k))
        x = space.encoded.decode(u)
        return np.where(whole, box.low + x, x)

    def tell(y: Floats) -> None:
        nonlocal state, asked
        numbers = np.arange(asked, asked + len(u))
        state = sampler.tell(state, told(numbers, u))
        state = sampler.tell(state, told(numbers, u, y[:, None], Status.COMPLETE))
        asked += len(u)

    return Tuner(ask, tell, starts=True)


def _generation(state: Any, d: int) -> int:
    """How many trials are still wanted before the next update."""
    return int(state.strategy.popsize - len(state.members))


def pycma(box: Box, seed: int) -> Tuner:
    """IPOP around CMAEvolutionStrategy, in units of the box."""
    import cma

    rng = np.random.default_rng(seed)
    width = box.high - box.low
    runs = 0
    points: list[Floats] = []

    def start(popsize: int | None) -> Any:
        options = {"bounds": [0.0, 1.0], "verbose": -9, "seed": seed + 1 + 1000 * runs}
        if popsize:
            options["popsize"] = popsize
        if box.integers:
            raise SystemExit("pycma is not entered for bbob-mixint")
        mean = rng.random(len(width)) if runs else np.full(len(width), 0.5)
        return cma.CMAEvolutionStrategy(mean, SIGMA, options)

    search = start(None)

    def ask() -> Floats:
        nonlocal points
        points = search.ask()
        return box.low + np.array(points) * width

    def tell(y: Floats) -> None:
        nonlocal search, runs
        search.tell(points, y.tolist())
        if search.stop():
            runs += 1
            search = start(2 * search.popsize)

    return Tuner(ask, tell)


def cmaes(box: Box, seed: int) -> Tuner:
    """IPOP around CMA, or CMAwM where there are integers, as in its README."""
    import cmaes

    rng = np.random.default_rng(seed)
    d = len(box.low)
    # integers are searched in units of their range, so that one sigma fits all
    unit = np.column_stack([np.zeros(d), np.ones(d)])
    steps = np.where(np.arange(d) < box.integers, 1.0 / np.maximum(box.high - box.low, 1.0), 0.0)
    runs = 0
    pairs: list[tuple[Any, Any]] = []

    def start(popsize: int | None) -> Any:
        mean = rng.random(d) if runs else np.full(d, 0.5)
        made = partial(cmaes.CMA, bounds=unit) if not box.integers else partial(cmaes.CMAwM, bounds=unit, steps=steps)
        return made(mean=mean, sigma=SIGMA, seed=seed + 1 + 1000 * runs, population_size=popsize)

    search = start(None)

    def ask() -> Floats:
        nonlocal pairs
        asked = [search.ask() for _ in range(search.population_size)]
        pairs = asked if box.integers else [(x, x) for x in asked]
        x = box.low + np.array([evaluated for evaluated, _ in pairs]) * (box.high - box.low)
        return np.where(np.arange(d) < box.integers, np.round(x), x)

    def tell(y: Floats) -> None:
        nonlocal search, runs
        search.tell([(x, value) for (_, x), value in zip(pairs, y.tolist(), strict=True)])
        if search.should_stop():
            runs += 1
            search = start(2 * search.population_size)

    return Tuner(ask, tell)


def built(name: str) -> Callable[[Box, int], Tuner]:
    """A tuner of a name, or of NAME=EXPRESSION, a setting of ours to try."""
    known: dict[str, Callable[[Box, int], Tuner]] = {
        "pycma": pycma,
        "cmaes": cmaes,
        "jaxhp": lambda box, seed: ours(box, seed, jaxhp.cma_es()),
    }
    label, _, expression = name.partition("=")
    if expression:
        return lambda box, seed: ours(box, seed, eval(expression, {"jaxhp": jaxhp}))
    if label not in known:
        raise SystemExit(f"--tuners {name}: there are {', '.join(known)}, and NAME=EXPRESSION")
    return known[label]


def area(runtimes: Floats, d: int, budget: int) -> float:
    """The area under the share of targets reached, over log evaluations from d to budget; NaN: not reached."""
    reached = 1.0 - np.log(np.maximum(runtimes / d, 1.0)) / math.log(budget / d)
    return float(np.where(np.isnan(runtimes), 0.0, reached).mean())


def play(tuner: Tuner, evaluate: Callable[[Floats], float], box: Box, best: float, budget: int) -> float:
    """The area of one run."""
    values = np.empty(budget)
    n = 0
    if not tuner.starts:
        centre = 0.5 * (box.low + box.high)
        values[0] = evaluate(np.where(np.arange(len(centre)) < box.integers, np.floor(centre + 0.5), centre))
        n = 1
    while n < budget:
        x = tuner.ask()
        y = np.array([evaluate(row) for row in x])
        used = min(len(y), budget - n)
        values[n : n + used] = y[:used]
        n += used
        if values[:n].min() <= best + TARGETS[-1]:
            break
        if n < budget:
            tuner.tell(y)
    lowest = np.minimum.accumulate(values[:n]) - best
    first = np.searchsorted(-lowest, -TARGETS)  # lowest falls: the first index at or below each target
    return area(np.where(first < n, first + 1.0, np.nan), len(box.low), budget)


def problems(suite: str, d: int, functions: str, instances: str) -> Iterator[tuple[Any, Box, float]]:
    """COCO's problems with their boxes and minima."""
    import cocoex

    found = cocoex.Suite(suite, f"instances:{instances}", f"dimensions:{d} function_indices:{functions}")
    for problem in found:
        best = float(problem(optimum_of(problem)))
        yield problem, Box(problem.lower_bounds, problem.upper_bounds, problem.number_of_integer_variables), best


def interval(difference: Floats, seed: int = 0) -> tuple[float, float]:
    """95 % of the mean of paired differences, by bootstrap."""
    picks = np.random.default_rng(seed).integers(0, len(difference), (4000, len(difference)))
    low, high = np.quantile(difference[picks].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)


def races(options: argparse.Namespace, suite: str, dims: list[int], names: list[str]) -> None:
    labels = [name.partition("=")[0] for name in names]
    for d in dims:
        scores: dict[str, list[float]] = {label: [] for label in labels}
        seconds = dict.fromkeys(labels, 0.0)
        functions: list[int] = []
        for problem, box, best in problems(suite, d, options.functions, options.instances):
            functions.append(problem.id_function)
            for name, label in zip(names, labels, strict=True):
                areas = []
                for seed in range(options.seeds):
                    start = time.process_time()
                    seeded = 1000 * problem.id_instance + seed
                    areas.append(play(built(name)(box, seeded), problem, box, best, options.budget * d))
                    seconds[label] += time.process_time() - start
                scores[label].append(float(np.mean(areas)))
        table = {label: np.array(values) for label, values in scores.items()}
        print(f"\n{suite} {d}-D, {options.budget} d evaluations, {len(functions)} (function, instance), {options.seeds} seeds")
        for label in labels:
            low, high = interval(table[labels[0]] - table[label])
            row = {"suite": suite, "d": d, "tuner": label, "area": float(table[label].mean()), "ours_minus": [low, high]}
            print(f"  {label:<14} area {row['area']:.4f}   {labels[0]} minus it [{low:+.4f}, {high:+.4f}]   {seconds[label]:.0f} s")
            groups = {f"f{f}": round(float(table[label][np.array(functions) == f].mean()), 4) for f in sorted(set(functions))}
            if options.verbose:
                print("     ", " ".join(f"{name}:{value:.2f}" for name, value in groups.items()))
            if not options.dry:
                extra = {"functions": groups, "seeds": options.seeds, "instances": options.instances, "evaluations": options.budget * d}
                peer = {"pycma": "cma", "cmaes": "cmaes"}.get(label)
                rows.append(
                    "bbob", row | extra | {"version": version(peer) if peer else rows.code(), "cpu_seconds": round(seconds[label], 1)}
                )


def timed_ours(d: int, seed: int) -> Callable[[], float]:
    """A generation of ours: microseconds of ask, of telling the trials as pending, and of telling their results."""
    space = jaxhp.Space({f"x{j}": jaxhp.Float(-5.0, 5.0) for j in range(d)})
    sampler = jaxhp.cma_es()
    state = sampler.init(Problem(space, space.dims, (Outcome("f"),)), seed)
    asked = 0

    def step() -> float:
        nonlocal state, asked
        numbers = np.arange(asked, asked + _generation(state, d))
        start = time.process_time()
        u = sampler.ask(state, numbers)
        spent = time.process_time() - start
        pending, done = told(numbers, u), told(numbers, u, hill(10.0 * u - 5.0)[:, None], Status.COMPLETE)
        start = time.process_time()
        state = sampler.tell(sampler.tell(state, pending), done)
        asked += len(numbers)
        return (spent + time.process_time() - start) * 1e6

    return step


def timed(tuner: Tuner) -> Callable[[], float]:
    """A generation of a peer: microseconds of ask and tell."""

    def step() -> float:
        start = time.process_time()
        x = tuner.ask()
        spent = time.process_time() - start
        y = hill(x)
        start = time.process_time()
        tuner.tell(y)
        return (spent + time.process_time() - start) * 1e6

    return step


def hill(x: Floats) -> Floats:
    """(k,) an ellipsoid of condition 100 at (k, d)."""
    d = x.shape[1]
    result: Floats = (100.0 ** (np.arange(d) / max(d - 1, 1)) * (x - 1.0) ** 2).sum(axis=1)
    return result


def latency(options: argparse.Namespace) -> None:
    """Median microseconds of CPU time of ask + tell of a generation, tuners in turn, over 60 generations and some repeats."""
    for d in options.dims or [5, 10, 20, 40]:
        box = Box(np.full(d, -5.0), np.full(d, 5.0), 0)
        times: dict[str, list[float]] = {"jaxhp": [], "cmaes": [], "pycma": []}
        for seed in range(options.repeats):
            steps = {"jaxhp": timed_ours(d, seed), "cmaes": timed(cmaes(box, seed)), "pycma": timed(pycma(box, seed))}
            for _ in range(60):
                for name, step in steps.items():
                    times[name].append(step())
        median = {name: float(np.median(values)) for name, values in times.items()}
        ratios = {f"of_{name}": round(median["jaxhp"] / median[name], 3) for name in ("cmaes", "pycma")}
        print(f"d = {d}: " + ", ".join(f"{name} {value:.0f} us" for name, value in median.items()) + f"; ours {ratios}")
        if not options.dry:
            rows.append("bbob", {"part": "latency", "d": d, "us": {k: round(v, 1) for k, v in median.items()}} | ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("bbob", "mixint", "latency"), default="bbob")
    parser.add_argument("--dims", type=lambda text: [int(word) for word in text.split(",")], help="default: those of the part")
    parser.add_argument("--functions", default="1-24", help="as COCO writes them, such as 1-5,8")
    parser.add_argument("--instances", default="1-15")
    parser.add_argument("--seeds", type=int, default=1, help="runs on each instance")
    parser.add_argument("--budget", type=int, default=BUDGET, help="evaluations a dimension")
    parser.add_argument("--tuners", help="names or NAME=EXPRESSION, semicolons between them; the first is compared with the others")
    parser.add_argument("--repeats", type=int, default=5, help="of latency")
    parser.add_argument("--verbose", action="store_true", help="each function's score")
    parser.add_argument("--dry", action="store_true", help="write no rows")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # pycma warns about its own options
    if options.part == "latency":
        return latency(options)
    suite = "bbob" if options.part == "bbob" else "bbob-mixint"
    usual = "jaxhp;pycma;cmaes" if suite == "bbob" else "jaxhp;cmaes"
    names = (options.tuners or usual).split(";")
    return races(options, suite, options.dims or ([5, 10, 20] if suite == "bbob" else [10, 20]), names)


if __name__ == "__main__":
    main()
