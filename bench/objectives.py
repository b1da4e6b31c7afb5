"""What does `tpe()` find with several objectives, and with constraints on metrics, beside Optuna's TPE?

    python bench/objectives.py [--only zdt1,spring] [--seeds 20] [--quick] [--long]

Two lists of problems, which differ in what a run is judged by.

Several objectives, after 100 and 200 evaluations: the hypervolume of all that was evaluated. ZDT1-3 in 10 floats, DTLZ2 in 8 (three
objectives), and the loss and the latency of a made-up network in floats, integers and categories, one float conditional.

Constraints on metrics, after 50 and 100 evaluations: the best value that meets them all; null in a row where none did. Two forms of Branin,
Gardner's islands (Gardner et al., ICML 2014), the tension spring and the pressure vessel (Coello, Computers in Industry 41, 2000), a bowl
whose minimum on the border is cut off, and the network with a bound on its latency.

Optuna's TPE runs in both of its forms: parameters modelled jointly, its default for one objective, or each alone, its default for several.
Ours starts with its default configuration, which by itself would be in DTLZ2's optimal set: so the defaults are drawn by the seed.

Tuners take turns within a seed, and the runs of one seed are paired: `ahead` has, for each of Optuna's forms, the median of the differences
(positive: ours is better), its 95 % bootstrap interval, and with how many seeds ours was better. There a run that found nothing feasible
counts as the worst one that did. ZDT and DTLZ2 with 2,000 evaluations: bench/pareto.py. It takes 10 minutes.

`--long` asks instead what the default, `auto()`, has beside `tpe()` and `nsga2(20)`, of which it is made: after 50 to 2,000 evaluations,
with constraints to 1,000, and also on the held-out problems of bench/pareto.py. What it is made of was chosen on these, on Branin in a
disk, Gardner's islands and the bowl; the other nine judge it. It takes 25 minutes.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from importlib.metadata import version
from itertools import starmap
from math import cos, inf, isinf, log2, log10, pi, sin, sqrt
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pareto
import peers
import rows
from peers import Dim, Params

import jaxhp
from jaxhp.pareto import hypervolume

Scores = npt.NDArray[np.float64]  # one a seed
Values = list[float]  # the objectives, then what constraints bound


class Problem(NamedTuple):
    name: str
    dims: list[Dim]
    values: Callable[[Params], Values]
    objectives: int
    budgets: tuple[int, ...]
    bounds: tuple[str, ...] = ()  # one for each value that is not an objective
    reference: tuple[float, ...] = ()  # of the hypervolume, with several objectives


# -- several objectives


def of_case(case: pareto.Case, reference: tuple[float, ...]) -> Problem:
    """One of bench/pareto.py."""

    def values(p: Params) -> Values:
        found: Values = case.objectives(np.array([[float(value) for value in p.values()]]))[0].tolist()
        return found

    return Problem(case.name, list(starmap(dim, enumerate(pareto.levels_of(case)))), values, case.m, (100, 200), reference=reference)


def dim(i: int, levels: int) -> Dim:
    name = f"x{i}"
    if levels > 0:
        return Dim(name, "int", 0, levels - 1)
    return Dim(name, "choice", choices=tuple(map(str, range(-levels)))) if levels else Dim(name, "float")


NETWORK = [
    Dim("width", "logint", 8, 1024),
    Dim("depth", "int", 1, 12),
    Dim("optimizer", "choice", choices=("sgd", "adam", "rmsprop")),
    Dim("learning_rate", "log", 1e-5, 1.0),
    Dim("momentum", "float", 0.0, 0.99, when=("optimizer", ("sgd",))),
    Dim("dropout", "float", 0.0, 0.7),
    Dim("activation", "choice", choices=("relu", "gelu", "tanh")),
    Dim("log2_batch", "int", 4, 8),
]


def network(p: Params) -> Values:
    """Loss and latency: small nets are quick, large ones want dropout, and each optimizer has a learning rate of its own."""
    best_rate, worse = {"sgd": (-1.5, 0.15), "adam": (-3.0, 0.0), "rmsprop": (-2.6, 0.05)}[p["optimizer"]]
    loss = 1.0 / sqrt(p["width"] * p["depth"]) + 0.05 * (log10(p["learning_rate"]) - best_rate) ** 2 + worse
    loss += 3.0 * (p["dropout"] - 0.002 * p["depth"] * log2(p["width"]) - 0.1) ** 2
    loss += (p["momentum"] - 0.85) ** 2 if "momentum" in p else 0.05
    loss += {"relu": 0.02, "gelu": 0.0, "tanh": 0.06}[p["activation"]]
    work = p["width"] ** 2 * p["depth"] * (1.3 if p["activation"] == "gelu" else 1.0)
    return [loss, log10(work * (1.0 + 64.0 / 2 ** p["log2_batch"])) / 8.0]


# -- constraints


def xy(x: tuple[float, float], y: tuple[float, float]) -> list[Dim]:
    return [Dim("x", "float", *x), Dim("y", "float", *y)]


def branin(x: float, y: float) -> float:
    return (y - 5.1 / (4.0 * pi**2) * x**2 + 5.0 / pi * x - 6.0) ** 2 + 10.0 * (1.0 - 1.0 / (8.0 * pi)) * cos(x) + 10.0


def in_a_disk(p: Params) -> Values:
    return [branin(**p), (p["x"] - 2.5) ** 2 + (p["y"] - 7.5) ** 2 - 50.0]


def without_a_basin(p: Params) -> Values:
    """A disk around one of its three minima is forbidden."""
    return [branin(**p), 30.0 - 4.0 * (p["x"] - 3.0) ** 2 - 4.0 * (p["y"] - 2.3) ** 2]


def gardner(p: Params) -> Values:
    """Small islands: 1 % is feasible."""
    return [sin(p["x"]) + p["y"], sin(p["x"]) * sin(p["y"]) + 0.95]


def spring(p: Params) -> Values:
    """Weight of a spring of wire d, coil D and N turns: deflection, shear, surge frequency and outer diameter are bounded."""
    d, D, N = p["d"], p["D"], p["N"]
    shear = (4.0 * D**2 - d * D) / (12_566.0 * (D * d**3 - d**4)) + 1.0 / (5_108.0 * d**2) - 1.0
    return [(N + 2.0) * D * d**2, 1.0 - D**3 * N / (71_785.0 * d**4), shear, 1.0 - 140.45 * d / (D**2 * N), (D + d) / 1.5 - 1.0]


def vessel(p: Params) -> Values:
    """Price of a vessel: thickness of shell and head in sixteenths of an inch, radius and length; the volume in units of 10,000."""
    shell, head, R, L = p["shell"] / 16.0, p["head"] / 16.0, p["R"], p["L"]
    price = 0.6224 * shell * R * L + 1.7781 * head * R**2 + 3.1661 * shell**2 * L + 19.84 * shell**2 * R
    return [price, 0.0193 * R - shell, 0.00954 * R - head, (1_296_000.0 - pi * R**2 * L - 4.0 / 3.0 * pi * R**3) / 1e4]


def bowl(p: Params) -> Values:
    x = np.array(list(p.values()))
    return [float(((x - 0.7) ** 2).sum()), float(x.sum()) - 2.4]


def constrained(name: str, dims: list[Dim], values: Callable[[Params], Values], *bounds: str) -> Problem:
    return Problem(name, dims, values, 1, (50, 100), bounds)


ZDT1, ZDT2, ZDT3, DTLZ2 = pareto.JUDGED
SPRING = [Dim("d", "float", 0.05, 2.0), Dim("D", "float", 0.25, 1.3), Dim("N", "float", 2.0, 15.0)]
VESSEL = [Dim("shell", "int", 1, 99), Dim("head", "int", 1, 99), Dim("R", "float", 10.0, 200.0), Dim("L", "float", 10.0, 200.0)]
PROBLEMS = [
    *(of_case(case._replace(d=10), (1.1, 4.0)) for case in (ZDT1, ZDT2, ZDT3)),
    of_case(DTLZ2._replace(d=8), (1.5, 1.5, 1.5)),
    Problem("network", NETWORK, network, 2, (100, 200), reference=(1.2, 1.0)),
    constrained("branin_disk", xy((-5.0, 10.0), (0.0, 15.0)), in_a_disk, "<= 0"),
    constrained("branin_basin", xy((-5.0, 10.0), (0.0, 15.0)), without_a_basin, "<= 0"),
    constrained("gardner", xy((0.0, 6.0), (0.0, 6.0)), gardner, "<= 0"),
    constrained("spring", SPRING, spring, *["<= 0"] * 4),
    constrained("vessel", VESSEL, vessel, *["<= 0"] * 3),
    constrained("bowl6", peers.floats(6), bowl, "<= 0"),
    constrained("network_bound", NETWORK, network, "<= 0.5"),
]
HELD_OUT = [of_case(case, tuple(case.far)) for case in pareto.HELD_OUT]


def longer(problem: Problem) -> Problem:
    return problem._replace(budgets=(50, 100, 200, 500, 1000) + (2000,) * (problem.objectives > 1))


# -- tuners: each plays a problem to the end and gives the values of every trial

Play = Callable[[Problem, int], list[Values]]


def ours(make: Callable[[], jaxhp.Sampler]) -> Play:
    def play(problem: Problem, seed: int) -> list[Values]:
        names = [f"y{i}" for i in range(problem.objectives + len(problem.bounds))]
        study = jaxhp.Study(
            peers.space_of(with_defaults(problem.dims, seed)),
            sampler=make(),
            directions={name: "minimize" for name in names[: problem.objectives]},
            constraints=dict(zip(names[problem.objectives :], problem.bounds, strict=True)),
            seed=seed,
        )
        found: list[Values] = []

        def objective(trial: jaxhp.Trial) -> dict[str, float]:
            found.append(problem.values(trial.params))
            return dict(zip(names, found[-1], strict=True))

        study.optimize(objective, trials=problem.budgets[-1])
        return found

    return play


def with_defaults(dims: list[Dim], seed: int) -> list[Dim]:
    space = peers.space_of(dims)
    usual = space.params(space.snap(np.random.default_rng(seed).random((1, len(dims))))[0])
    return [dim._replace(default=usual.get(dim.name)) for dim in dims]


def optuna(multivariate: bool) -> Play:
    def play(problem: Problem, seed: int) -> list[Values]:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sampler = optuna.samplers.TPESampler(multivariate=multivariate, seed=seed)
        study = optuna.create_study(directions=["minimize"] * problem.objectives, sampler=sampler)
        found: list[Values] = []

        def objective(trial: Any) -> Values:
            found.append(problem.values(peers._suggest(trial, problem.dims)))
            for i, excess in enumerate(excesses(problem, found[-1])):
                trial.set_constraint(f"c{i}", excess)
            return found[-1][: problem.objectives]

        study.optimize(objective, n_trials=problem.budgets[-1])
        return found

    return play


def excesses(problem: Problem, values: Values) -> Values:
    """How far each constraint is from its bound; met at 0 and below."""
    return [value - float(bound.removeprefix("<=")) for value, bound in zip(values[problem.objectives :], problem.bounds, strict=True)]


class Contest(NamedTuple):
    tuners: dict[str, Play]
    compared: tuple[str, ...]
    peers: tuple[str, ...]  # what each of those compared is set beside


PARTS = {"tpe": ours(jaxhp.tpe), "nsga2(20)": ours(lambda: jaxhp.nsga2(20))}
OPTUNA = {"optuna joint": optuna(multivariate=True), "optuna alone": optuna(multivariate=False)}
WITH_OPTUNA = Contest({**PARTS, "random": ours(jaxhp.random_search), **OPTUNA}, tuple(PARTS), tuple(OPTUNA))
OURS = Contest({"auto": ours(jaxhp.auto), **PARTS}, ("auto",), tuple(PARTS))


# -- what a run is worth


def score(problem: Problem, found: list[Values]) -> float:
    """The hypervolume, or the lowest feasible value; infinite where nothing was feasible."""
    if problem.reference:
        return float(hypervolume(np.array(found), np.array(problem.reference)))
    return min((values[0] for values in found if max(excesses(problem, values)) <= 0.0), default=inf)


def ahead(mine: Scores, theirs: Scores, lower: bool) -> dict[str, Any]:
    difference = theirs - mine if lower else mine - theirs
    return {"median": np.median(difference), "interval": pareto.interval(difference, np.median), "seeds": int((difference > 0.0).sum())}


def measured(problem: Problem, contest: Contest, seeds: int) -> list[dict[str, Any]]:
    scores = {name: np.empty((len(problem.budgets), seeds)) for name in contest.tuners}
    for seed in range(seeds):
        for name, play in contest.tuners.items():
            found = play(problem, seed)
            scores[name][:, seed] = [score(problem, found[:budget]) for budget in problem.budgets]
    every = np.stack(list(scores.values()))
    worst = every[np.isfinite(every)].max()
    bounded = {name: np.minimum(values, worst) for name, values in scores.items()}
    return [
        {
            "problem": problem.name,
            "judged": "hypervolume" if problem.reference else "best feasible value",
            "reference": list(problem.reference),
            "tuner": name,
            "version": version("optuna") if name in OPTUNA else jaxhp.__version__,
            "budget": budget,
            "seeds": seeds,
            "values": [finite(value) for value in scores[name][at].tolist()],
            "median": finite(float(np.median(scores[name][at]))),
            "ahead": {peer: ahead(bounded[name][at], bounded[peer][at], not problem.reference) for peer in contest.peers}
            if name in contest.compared
            else {},
        }
        for at, budget in enumerate(problem.budgets)
        for name in contest.tuners
    ]


def finite(value: float) -> float | None:
    return None if isinf(value) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="some of the problems, such as zdt1,spring")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="three seeds, no rows")
    parser.add_argument("--long", action="store_true", help="the default sampler and its parts, up to 2,000 evaluations")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="optuna")
    problems = [longer(problem) for problem in HELD_OUT + PROBLEMS] if options.long else PROBLEMS
    contest = OURS if options.long else WITH_OPTUNA
    for problem in (problem for problem in problems if not options.only or problem.name in options.only.split(",")):
        for row in measured(problem, contest, 3 if options.quick else options.seeds):
            median = "none" if row["median"] is None else f"{row['median']:.4f}"
            compared = [
                f"{peer}: {gap['median']:+.4f} [{gap['interval'][0]:+.4f}, {gap['interval'][1]:+.4f}], {gap['seeds']} seeds"
                for peer, gap in row["ahead"].items()
            ]
            print(f"{row['problem']:13s} {row['budget']:4d}  {row['tuner']:12s} {median:>10s}  {';  '.join(compared)}", flush=True)
            if not options.quick:
                rows.append("objectives", row)


if __name__ == "__main__":
    main()
