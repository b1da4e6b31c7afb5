"""Synthetic tuning problems: every minimum is 0, and where it lies is drawn from a generator.

A continuous function is given on the unit cube; an instance reflects each axis with probability 1/2 and shifts it by up to `shift`, so
that the minimum stays inside and is neither at the centre nor always at one place. Mixed and conditional problems draw the place of their
minimum, and choices have opaque labels in an order of their own. Formulas: Surjanovic & Bingham, sfu.ca/~ssurjano.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from peers import Dim, Params

Vector = npt.NDArray[np.float64]
Function = Callable[[Vector], float]


class Instance(NamedTuple):
    """A problem as one seed sees it."""

    dims: list[Dim]
    value: Callable[[Params], float]  # the true value of the active parameters; NaN: the run failed
    best: float = 0.0
    observe: Callable[[Params, np.random.Generator], float] | None = None  # what a tuner is told, where that is noisy


Maker = Callable[[np.random.Generator], Instance]

_A = np.array([[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]])
_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def hartmann6(u: Vector) -> float:
    """Its second-best basin has the regret 0.119."""
    return float(-(np.array([1.0, 1.2, 3.0, 3.2]) * np.exp(-(_A * (u - _P) ** 2).sum(axis=1))).sum()) + 3.322368011415515


def ackley(u: Vector) -> float:
    z = 32.768 * (2.0 * u - 1.0)
    return float(-20 * np.exp(-0.2 * np.sqrt((z * z).mean())) - np.exp(np.cos(2 * math.pi * z).mean()) + 20 + math.e)


def levy(u: Vector) -> float:
    w = 1 + (20.0 * u - 10.0 - 1) / 4
    middle = ((w[:-1] - 1) ** 2 * (1 + 10 * np.sin(math.pi * w[:-1] + 1) ** 2)).sum()
    return float(np.sin(math.pi * w[0]) ** 2 + middle + (w[-1] - 1) ** 2 * (1 + np.sin(2 * math.pi * w[-1]) ** 2))


def rosenbrock(u: Vector) -> float:
    """On [-2.048, 2.048]: with the wider usual box any point of the valley is below 1e-3 of the median."""
    x = 4.096 * u - 2.048
    return float((100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum())


def branin(u: Vector) -> float:
    x, y = 15.0 * u[0] - 5.0, 15.0 * u[1]
    bend = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return float(bend**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10) - 0.39788735772973816


def styblinski_tang(u: Vector) -> float:
    x = 10.0 * u - 5.0
    return float(0.5 * (x**4 - 16 * x**2 + 5 * x).sum()) + 39.16616570377142 * len(x)


def michalewicz5(u: Vector) -> float:
    x = math.pi * u
    return 4.687658179 - float((np.sin(x) * np.sin(np.arange(1, 6) * x**2 / math.pi) ** 20).sum())


def continuous(f: Function, d: int, shift: float, total: int | None = None, noise: float = 0.0) -> Maker:
    """f of d coordinates, hidden among `total`; told with normal noise."""

    def make(rng: np.random.Generator) -> Instance:
        dims = [Dim(f"x{j}", "float") for j in range(total or d)]
        names = [f"x{j}" for j in rng.permutation(len(dims))[:d]]
        flip, moved = rng.random(d) < 0.5, rng.uniform(-shift, shift, d)

        def value(params: Params) -> float:
            u = np.array([params[name] for name in names])
            return f(np.where(flip, 1.0 - u, u) - moved)

        return Instance(dims, value, observe=(lambda params, rng: value(params) + noise * rng.normal()) if noise else None)

    return make


# -- problems with choices, conditions and cliffs ----------------------------------------------------------------------


def unit(dim: Dim, value: Any) -> float:
    """Where a number lies between its bounds, in [0, 1]."""
    if dim.kind in ("log", "logint"):
        return math.log(value / dim.low) / math.log(dim.high / dim.low)
    return float((value - dim.low) / (dim.high - dim.low))


def choice(name: str, n: int, when: tuple[str, tuple[str, ...]] | None = None) -> Dim:
    return Dim(name, "choice", choices=labels(n), when=when)


def labels(n: int) -> tuple[str, ...]:
    return tuple(f"c{i}" for i in range(n))


class Read:
    """A configuration in unit coordinates and in levels whose order was drawn."""

    def __init__(self, dims: Sequence[Dim], rng: np.random.Generator) -> None:
        self.dims = {dim.name: dim for dim in dims}
        self.orders = {dim.name: rng.permutation(len(dim.choices)) for dim in dims if dim.kind == "choice"}

    def label(self, name: str, level: int) -> str:
        return f"c{int(np.argmax(self.orders[name] == level))}"

    def __call__(self, params: Params, name: str) -> Any:
        if name in self.orders:
            return int(self.orders[name][int(params[name][1:])])
        return unit(self.dims[name], params[name])

    def place(self, name: str, rng: np.random.Generator, low: float = 0.15, high: float = 0.85) -> float:
        """Where a minimum may lie: anywhere between, on a level of an integer."""
        dim, u = self.dims[name], float(rng.uniform(low, high))
        if dim.kind == "int":
            return round(u * (dim.high - dim.low)) / (dim.high - dim.low)
        if dim.kind == "logint":
            return unit(dim, round(dim.low * (dim.high / dim.low) ** u))
        return u


def mixed8(rng: np.random.Generator) -> Instance:
    """Training-like: the best learning rate depends on the optimizer and on the width."""
    dims = [
        Dim("learning_rate", "log", 1e-5, 1.0),
        Dim("decay", "log", 1e-6, 0.1),
        Dim("momentum", "float", 0.0, 0.99),
        Dim("dropout", "float", 0.0, 0.8),
        Dim("width", "logint", 16, 512),
        Dim("depth", "int", 1, 8),
        choice("activation", 4),
        choice("optimizer", 3),
    ]
    read = Read(dims, rng)
    s = {name: read.place(name, rng) for name in ("decay", "momentum", "dropout", "width", "depth")}
    rate = rng.uniform(0.3, 0.6)

    def value(params: Params) -> float:
        at = {name: read(params, name) for name in read.dims}
        optimizer = at["optimizer"]
        off = at["learning_rate"] - rate - 0.12 * optimizer - 0.2 * (at["width"] - s["width"])
        bowl = 4.0 * off**2 + (at["decay"] - s["decay"]) ** 2 + (1.5, 0.2, 0.4)[optimizer] * (at["momentum"] - s["momentum"]) ** 2
        bowl += (at["dropout"] - s["dropout"]) ** 2 + 0.5 * (at["width"] - s["width"]) ** 2 + 0.3 * (at["depth"] - s["depth"]) ** 2
        ripple = 0.05 * (1.0 - math.cos(8 * math.pi * off))
        return float(bowl + ripple + (0.0, 0.05, 0.12, 0.3)[at["activation"]] + (0.0, 0.03, 0.1)[optimizer])

    return Instance(dims, value)


_PAIRS = np.random.default_rng(20240501).gamma(1.0, 0.3, (2, 5, 5))  # what pairs of choices cost, one table for each pair
_PAIRS -= _PAIRS.min(axis=(1, 2), keepdims=True)


def mixed12(rng: np.random.Generator) -> Instance:
    """Four floats, four integers, and four choices of five that act in pairs."""
    dims = (
        [Dim(f"x{j}", "float") for j in range(4)] + [Dim(f"n{j}", "int", 0, 20) for j in range(4)] + [choice(f"c{j}", 5) for j in range(4)]
    )
    read = Read(dims, rng)
    numbers = [dim.name for dim in dims[:8]]
    s = np.array([read.place(name, rng) for name in numbers])
    weights = rng.permutation(np.geomspace(2.0, 0.1, 8))

    def value(params: Params) -> float:
        z = np.array([read(params, name) for name in numbers]) - s
        c = [read(params, f"c{j}") for j in range(4)]
        rough = 0.03 * (1.0 - np.cos(6 * math.pi * z[4:])).sum() + 0.5 * (z[0] + z[4]) ** 2
        return float((weights * z * z).sum() + rough + _PAIRS[0, c[0], c[1]] + _PAIRS[1, c[2], c[3]])

    return Instance(dims, value)


def _conditional(name: str, above: str, levels: tuple[int, ...], read: Read) -> tuple[str, tuple[str, tuple[str, ...]]]:
    return name, (above, tuple(read.label(above, level) for level in levels))


def conditional8(rng: np.random.Generator) -> Instance:
    """Which learner, and its own parameters: a network, a support vector machine with a kernel, a forest."""
    dims = [
        choice("learner", 3),
        Dim("learning_rate", "log", 1e-5, 1.0),
        Dim("width", "logint", 16, 512),
        Dim("dropout", "float", 0.0, 0.8),
        Dim("penalty", "log", 1e-3, 1e3),
        choice("kernel", 2),
        Dim("gamma", "log", 1e-4, 10.0),
        Dim("depth", "int", 1, 20),
    ]
    read = Read(dims, rng)
    when = dict(
        [
            *(_conditional(name, "learner", (0,), read) for name in ("learning_rate", "width", "dropout")),
            *(_conditional(name, "learner", (1,), read) for name in ("penalty", "kernel")),
            _conditional("gamma", "kernel", (0,), read),
            _conditional("depth", "learner", (2,), read),
        ]
    )
    dims = [dim._replace(when=when.get(dim.name)) for dim in dims]
    s = {dim.name: read.place(dim.name, rng) for dim in dims if dim.kind != "choice"}

    def value(params: Params) -> float:
        z = {name: read(params, name) - s[name] for name in s if name in params}
        learner = read(params, "learner")
        if learner == 0:
            return float(3.0 * (z["learning_rate"] + 0.3 * z["width"]) ** 2 + 0.5 * z["width"] ** 2 + z["dropout"] ** 2)
        if learner == 2:
            return float(0.08 + 0.5 * z["depth"] ** 2)
        if read(params, "kernel") == 1:
            return float(0.15 + 0.5 * z["penalty"] ** 2)
        return float(0.04 + (z["penalty"] + z["gamma"]) ** 2 + 0.5 * (z["penalty"] - z["gamma"]) ** 2)

    return Instance(dims, value)


def conditional10(rng: np.random.Generator) -> Instance:
    """Optimizer and schedule with parameters of their own, beside what is always there."""
    dims = [
        Dim("learning_rate", "log", 1e-5, 1.0),
        Dim("decay", "log", 1e-6, 0.1),
        Dim("width", "logint", 16, 1024),
        choice("optimizer", 3),
        Dim("momentum", "float", 0.0, 0.99),
        Dim("epsilon", "log", 1e-10, 1e-2),
        choice("schedule", 4),
        Dim("warmup", "float", 0.0, 0.5),
        Dim("drop", "log", 0.01, 0.9),
        Dim("period", "int", 1, 30),
    ]
    read = Read(dims, rng)
    when = dict(
        [
            _conditional("momentum", "optimizer", (0, 2), read),
            _conditional("epsilon", "optimizer", (1, 2), read),
            _conditional("warmup", "schedule", (0, 1), read),
            _conditional("drop", "schedule", (1,), read),
            _conditional("period", "schedule", (1, 2), read),
        ]
    )
    dims = [dim._replace(when=when.get(dim.name)) for dim in dims]
    s = {dim.name: read.place(dim.name, rng, 0.2, 0.8) for dim in dims if dim.kind != "choice"}
    weight = {"momentum": 0.6, "epsilon": 0.3, "warmup": 0.5, "drop": 0.4, "period": 0.3}

    def value(params: Params) -> float:
        z = {name: read(params, name) - s[name] for name in s if name in params}
        optimizer, schedule = read(params, "optimizer"), read(params, "schedule")
        off = z["learning_rate"] - 0.1 * optimizer + 0.3 * z.get("momentum", 0.0) + 0.15 * z["width"]
        loss = (
            4.0 * off**2 + 0.7 * z["decay"] ** 2 + 0.4 * z["width"] ** 2 + sum(w * z[name] ** 2 for name, w in weight.items() if name in z)
        )
        return float(loss + (0.0, 0.05, 0.02)[optimizer] + (0.0, 0.01, 0.06, 0.2)[schedule])

    return Instance(dims, value)


def cliff(d: int, low: float, high: float, fails: bool) -> Maker:
    """The best learning rate lies just below the one where training diverges to 1e30 (further on, if `fails`, to NaN)."""

    def make(rng: np.random.Generator) -> Instance:
        dims = [Dim("learning_rate", "log", 1e-6, 10.0), Dim("momentum", "float", 0.0, 0.99), Dim("decay", "log", 1e-6, 0.1)]
        dims += [Dim(f"x{j}", "float") for j in range(3, d)]
        edge, rest = rng.uniform(low, high), rng.uniform(0.15, 0.85, d - 1)

        def value(params: Params) -> float:
            u = np.array([unit(dim, params[dim.name]) for dim in dims])
            rate = u[0] + 0.15 * (u[1] - rest[0])
            if rate > edge:
                return math.nan if fails and rate > edge + 0.3 else 1e30
            return float(4.0 * (rate - edge + 0.06) ** 2 + (np.geomspace(1.0, 0.2, d - 1) * (u[1:] - rest) ** 2).sum())

        return Instance(dims, value)

    return make
