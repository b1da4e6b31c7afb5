"""Real tuning problems of bench_data (tables and surrogates) and BBOB (coco-experiment), as instances for the judge.

The folder is $JAXHP_BENCH_DATA, or shared/bench_data in or beside the repository. Choices get opaque labels in an order drawn per seed;
numbers keep the ranges that the tables declare, without the tables' default configurations. A BBOB instance is drawn per seed.

bench_data answers with the nearest tabulated configuration, so a small step often gets the same answer again, which no training run would
give: after 100 evaluations 0.86 to 1.00 of the answers to bayes and to Optuna's TPE were repetitions on LCBench and TaskSet, 0.7 on the
grids. Here numbers between tabulated ones are interpolated: on the grids (HPOBench, HPOlib) linearly in every numeric parameter, in
LCBench and TaskSet by inverse distance (Shepard 1968) over the 16 nearest configurations, diverged where the nearest one did. Both are
averages of tabulated values, so the best one stays the best.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import sys
import tempfile
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from peers import Dim, Params
from synthetic import Instance, Maker, labels

import jaxhp


class Unavailable(Exception):
    """What a problem or a peer needs is not here; the message says what."""


def installed(package: str) -> str:
    """The version of a package.   Raises Unavailable where it is not installed."""
    if package == "jaxhp":
        return jaxhp.__version__
    try:
        return version(package)
    except PackageNotFoundError as e:
        raise Unavailable(f"{package} is not installed: pip install -r bench/requirements.txt") from e


@cache
def folder() -> Path:
    root = Path(__file__).resolve().parents[1]
    named = os.environ.get("JAXHP_BENCH_DATA")
    for path in [Path(named)] if named else [root.parent / "shared" / "bench_data", root / "shared" / "bench_data"]:
        if (path / "bench.py").exists():
            return path
    raise Unavailable(f"no bench_data in {named or root.parent / 'shared'}; name its folder in JAXHP_BENCH_DATA")


@cache
def _module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_data", folder() / "bench.py")
    if spec is None or spec.loader is None:
        raise Unavailable(f"{folder() / 'bench.py'} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_data"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@cache
def _problem(family: str, name: str) -> Any:
    return next(p for p in _module().problems(groups=(family,)) if p.name == name)


def median(family: str, name: str) -> float:
    """Regret of the median random configuration, from reference.csv."""
    problem = _problem(family, name)
    return float(problem.random_quantiles["q50"] - problem.optimum)


def _plain(name: str) -> str:
    return name.replace(".", "_")


def _opaque(space: list[dict[str, Any]], rng: np.random.Generator) -> tuple[list[Dim], dict[str, dict[str, Any]]]:
    """Dims with labels for choices, and what each label stands for. Dots in names become underscores."""
    meaning: dict[str, dict[str, Any]] = {}
    dims = []
    for s in space:
        when = None
        if s["condition"] is not None:
            above = _plain(s["condition"]["parent"])
            when = (above, tuple(label for label, x in meaning[above].items() if x in s["condition"]["values"]))
        if s["type"] == "categorical":
            order = rng.permutation(len(s["choices"]))
            meaning[_plain(s["name"])] = {label: s["choices"][i] for label, i in zip(labels(len(order)), order, strict=True)}
            dims.append(Dim(_plain(s["name"]), "choice", choices=labels(len(order)), when=when))
        else:
            kind = {("float", False): "float", ("float", True): "log", ("int", False): "int", ("int", True): "logint"}[s["type"], s["log"]]
            dims.append(Dim(_plain(s["name"]), kind, s["low"], s["high"], when=when))
    return dims, meaning


NEIGHBOURS = 16
SHARPNESS = 2  # weights are 1 / (squared distance) ** SHARPNESS


@cache
def _scattered(family: str, name: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The tabulated configurations in the unit cube (n, d), and their values (n,), NaN where diverged."""
    problem = _problem(family, name)
    configs = problem.candidates()
    x = [[c[s["name"]] for s in problem.space] for c in configs]
    return _module()._unit(problem.space, x), np.array([problem.evaluate(c) for c in configs])


def _by_distance(family: str, name: str, config: dict[str, Any]) -> float:
    u, values = _scattered(family, name)
    space = _problem(family, name).space
    squared = ((u - _module()._unit(space, [[config[s["name"]] for s in space]])) ** 2).sum(axis=1)
    near = np.argpartition(squared, NEIGHBOURS)[:NEIGHBOURS]
    if math.isnan(values[near[np.argmin(squared[near])]]):
        return math.nan
    near = near[~np.isnan(values[near])]
    weights = 1.0 / (squared[near] + 1e-12) ** SHARPNESS
    return float(weights @ values[near] / weights.sum())


def _on_grid(family: str, task: str, config: dict[str, Any]) -> float:
    """Multilinear over the numeric axes, in logarithms where the space is."""
    module = _module()
    values, levels = module._grid(family, task)
    space = {s["name"]: s for s in _problem(family, f"{family}_{task}").space}
    corners: list[tuple[tuple[int, ...], float]] = [((), 1.0)]
    for name, choices in levels.items():
        if space[name]["type"] == "categorical":
            ends = [(choices.index(config[name]), 1.0)]
        else:
            scale = np.log if space[name]["log"] else np.asarray
            at = np.interp(scale(float(config[name])), scale(np.array(choices, float)), np.arange(len(choices)))
            below = min(int(at), len(choices) - 2)
            ends = [(below, 1.0 - (at - below)), (below + 1, at - below)]
        corners = [((*index, i), weight * w) for index, weight in corners for i, w in ends if w > 0.0]
    mean = sum(weight * values[index] for index, weight in corners)
    return float(module.GRIDS[family]["err"](mean))


def _evaluate(family: str, name: str, config: dict[str, Any]) -> float:
    problem = _problem(family, name)
    if family in ("lcbench", "taskset"):
        return _by_distance(family, name, config)
    if family in ("hpolib", "hpobench"):
        return _on_grid(family, name.removeprefix(f"{family}_"), config)
    return float(problem.evaluate(config))


def table(family: str, name: str) -> Maker:
    def make(rng: np.random.Generator) -> Instance:
        problem = _problem(family, name)
        dims, meaning = _opaque(problem.space, rng)
        names = {_plain(s["name"]): s["name"] for s in problem.space}

        def value(params: Params) -> float:
            return _evaluate(family, name, {names[k]: meaning[k][v] if k in meaning else v for k, v in params.items()})

        return Instance(dims, value, problem.optimum)

    return make


def one_seed(task: str) -> Maker:
    """An HPOBench network told with one training seed of five, drawn anew each time; its true value is their mean."""

    def make(rng: np.random.Generator) -> Instance:
        module, problem = _module(), _problem("hpobench", f"hpobench_{task}")
        errors = 1.0 - np.load(folder() / "grids" / f"hpobench_{task}.npz")["values"].astype(float)  # (..., seeds)
        levels = module._grid("hpobench", task)[1]
        dims, _ = _opaque(problem.space, rng)

        def cell(params: Params) -> Any:
            runs = errors[tuple(module._snap(choices, params[name]) for name, choices in levels.items())]
            return runs[~np.isnan(runs)]

        return Instance(
            dims, lambda params: float(cell(params).mean()), problem.optimum, lambda params, rng: float(rng.choice(cell(params)))
        )

    return make


def optimum_of(problem: Any) -> Any:
    """Where a COCO problem's minimum lies, which COCO only writes to a file in the working folder."""
    with tempfile.TemporaryDirectory() as empty, contextlib.chdir(empty):
        problem._best_parameter("print")
        return np.loadtxt("._bbob_problem_best_parameter.txt")


def bbob(suite: str, function: int, d: int) -> Maker:
    def make(rng: np.random.Generator) -> Instance:
        try:
            import cocoex
        except ImportError as e:
            raise Unavailable("BBOB needs coco-experiment: pip install -r bench/requirements.txt") from e
        found = cocoex.Suite(suite, f"instances:{rng.integers(1, 1000)}", f"dimensions:{d} function_indices:{function}")
        problem = found.get_problem(found.ids()[0])
        low, high, integers = problem.lower_bounds, problem.upper_bounds, problem.number_of_integer_variables
        dims = [Dim(f"x{j}", "int" if j < integers else "float", float(low[j]), float(high[j])) for j in range(d)]

        def value(params: Params, suite: Any = found) -> float:  # a problem dies with its suite
            y = problem(np.array([params[dim.name] for dim in dims], float))
            return float(y) if math.isfinite(y) else math.nan

        return Instance(dims, value, float(problem(optimum_of(problem))))

    return make
