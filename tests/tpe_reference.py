"""Slow, obvious Parzen estimators and splits: one row, one coordinate at a time, from the formulas."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from scipy.special import logsumexp, ndtr

from jaxhp._types import Dims, Floats, Kind


def cell(dims: Dims, j: int, level: int) -> tuple[float, float]:
    """The bounds of a level in u."""
    levels = int(dims.levels[j])
    if dims.kind[j] != Kind.GRID_LOG:
        return level / levels, (level + 1) / levels
    low, high = dims.low[j] - 0.5, dims.high[j] + 0.5
    a, b = (math.log((dims.low[j] - 0.5 + i) / low) / math.log(high / low) for i in (level, level + 1))
    return a, b


def level_of(dims: Dims, j: int, u: float) -> int:
    """The level in whose cell u lies."""
    if dims.kind[j] == Kind.GRID_LOG:
        low, high = dims.low[j] - 0.5, dims.high[j] + 0.5
        return int(low * (high / low) ** u + 0.5 - dims.low[j])
    return int(u * dims.levels[j])


def mass(a: float, b: float, mean: float, deviation: float) -> float:
    """Of the interval [a, b], under a normal distribution, without cancellation in the tails."""
    low, high = (a - mean) / deviation, (b - mean) / deviation
    return float(ndtr(-low) - ndtr(-high)) if low > 0 else float(ndtr(high) - ndtr(low))


def log_kernel(dims: Dims, j: int, x: float, u: float | None, h: float) -> float:
    """log k at x of the kernel at u; at None of the prior's; uniform where u is NaN."""
    levels = int(dims.levels[j])
    if dims.kind[j] == Kind.CATEGORICAL:
        if u is None or math.isnan(u) or levels == 1:
            return -math.log(levels)
        return math.log(1.0 - h) if level_of(dims, j, x) == level_of(dims, j, u) else math.log(h / (levels - 1))
    mean, deviation = (0.5, 1.0) if u is None else (u, h)
    if levels:
        a, b = cell(dims, j, level_of(dims, j, x))
        if math.isnan(mean):
            return math.log(b - a)
        return math.log(max(mass(a, b, mean, deviation), 1e-300) / mass(0.0, 1.0, mean, deviation))
    if math.isnan(mean):
        return 0.0
    z = (x - mean) / deviation
    return -0.5 * z * z - math.log(math.sqrt(2.0 * math.pi) * deviation * mass(0.0, 1.0, mean, deviation))


def log_density(dims: Dims, u: Floats, weights: Floats, prior: float, bandwidth: Floats, at: Floats) -> Floats:
    """(m,) of the estimator over rows u (n, d) at points (m, d)."""
    result = []
    for x in at:
        terms = []
        for row, weight in [*zip(u, weights, strict=True), (None, prior)]:
            term = math.log(weight / (weights.sum() + prior))
            for j in np.flatnonzero(~np.isnan(x)):
                term += log_kernel(dims, j, float(x[j]), None if row is None else float(row[j]), float(bandwidth[j]))
            terms.append(term)
        result.append(logsumexp(terms))
    return np.array(result)


def better(y: list[float], k: int) -> list[int]:
    """The k best of finite values, ties by position."""
    return sorted((i for i in range(len(y)) if math.isfinite(y[i])), key=lambda i: (y[i], i))[:k]


def constrained(y: list[float], feasible: list[bool], k: int) -> list[int]:
    """The shortest head of at least k of the order by y that holds k feasible rows, or all that there are."""
    order = better(y, len(y))
    wanted = min(k, sum(feasible[i] for i in order))
    least = min(k, len(order))
    return next(order[:n] for n in range(least, len(order) + 1) if sum(feasible[i] for i in order[:n]) >= wanted)


def volume(y: Floats) -> float:
    """Of what rows y (n, m) dominate below 1, slice by slice along the first objective."""
    if not len(y):
        return 0.0
    if y.shape[1] == 1:
        return float(1.0 - y.min())
    edges = [*np.unique(y[:, 0]), 1.0]
    return sum((b - a) * volume(y[y[:, 0] <= a, 1:]) for a, b in pairwise(edges))
