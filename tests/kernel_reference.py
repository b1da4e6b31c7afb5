"""Slow, obvious twins of the kernel's functions, written from the text of docs/architecture.md and the papers, not from csrc/."""

import math

import numpy as np
from scipy.stats import norm, rankdata

from jaxhp._types import Dims, Floats, Kind


def transform(y: Floats) -> Floats:
    """The half-rank output transform: the two guards, dense ranks with non-finite worst, z-score."""
    finite = np.isfinite(y)
    if not finite.any() or (finite.all() and (y == y[0]).all()):
        return np.zeros_like(y)
    scaled = np.where(finite, y, np.nan) * 0.25  # so that a difference of two of the largest numbers is finite
    ordered = np.sort(scaled[finite])
    kept = _without_blow_ups(ordered)
    good = kept[: _good_count(kept)]
    threshold, spread = good[-1], _spread(good)
    unit = good[-1] - good[0] if good[-1] > good[0] else 1.0
    is_good = finite & (scaled <= threshold)
    ranks = rankdata(-np.where(finite, scaled, np.inf)[~is_good], method="dense")  # 1 is the worst
    n_bad = ranks.max(initial=0)
    warped = np.empty_like(y)
    warped[is_good] = (scaled[is_good] - threshold) / unit
    warped[~is_good] = -(spread / unit if spread > 0 else 1.0) * norm.ppf(0.5 * (ranks - 0.5) / (n_bad + 0.5))
    deviation = warped.std()
    return (warped - warped.mean()) / deviation if deviation > 0 else np.zeros_like(y)


def _without_blow_ups(ordered: Floats) -> Floats:
    best, n = ordered[0], len(ordered)
    for count in range(2, n):
        last, following = ordered[count - 1], ordered[count]
        if last > best and n - count > n / 2 and (following - best) / 1e3 > max(last - best, abs(best)):
            return ordered[:count]
    return ordered


def _good_count(ordered: Floats) -> int:
    count = math.ceil(len(ordered) / 2)  # the lower median is the last good value
    while _spread(ordered[:count]) / 10 > ordered[math.ceil(count / 2) - 1] - ordered[0]:
        half = math.ceil(count / 2)
        while half < count and len(np.unique(ordered[:half])) < 5:
            half += 1
        if half == count:
            break
        count = half
    return count


def _spread(good: Floats) -> float:
    distinct = np.unique(good)
    unit = distinct[-1] - distinct[0]
    return float(unit * np.sqrt(np.mean(((distinct - distinct[-1]) / unit) ** 2))) if unit > 0 else 0.0


def centre(dims: Dims, j: int, level: int) -> float:
    """The u of a level."""
    if dims.kind[j] == Kind.GRID_LOG:
        start, stop = math.log(dims.low[j] - 0.5), math.log(dims.high[j] + 0.5)
        return (math.log(dims.low[j] + level) - start) / (stop - start)
    return (level + 0.5) / int(dims.levels[j])


def level(dims: Dims, j: int, u: float) -> int:
    """The level whose cell holds u."""
    last = int(dims.levels[j]) - 1
    if dims.kind[j] == Kind.GRID_LOG:
        start, stop = math.log(dims.low[j] - 0.5), math.log(dims.high[j] + 0.5)
        return min(last, max(0, math.floor(math.exp(start + u * (stop - start)) + 0.5) - int(dims.low[j])))
    return min(last, math.floor(u * int(dims.levels[j])))


def snap(dims: Dims, u: Floats) -> Floats:
    """Canonical points."""
    out = np.full_like(u, np.nan)
    for i, j in np.ndindex(*u.shape):
        parent = dims.parent[j]
        if parent >= 0 and (math.isnan(out[i, parent]) or not dims.allowed[j, level(dims, parent, out[i, parent])]):
            continue
        inside = min(1.0, max(0.0, u[i, j]))
        out[i, j] = inside if dims.kind[j] <= Kind.FLOAT_LOG else centre(dims, j, level(dims, j, inside))
    return out


def decode(dims: Dims, u: Floats) -> Floats:
    """Plain values of canonical points."""
    out = np.full_like(u, np.nan)
    for i, j in np.ndindex(*u.shape):
        low, high = dims.low[j], dims.high[j]
        if math.isnan(u[i, j]):
            continue
        if dims.kind[j] > Kind.FLOAT_LOG:
            out[i, j] = level(dims, j, u[i, j])
        elif dims.kind[j] == Kind.FLOAT:
            out[i, j] = low + u[i, j] * (high - low)
        else:
            out[i, j] = math.exp(math.log(low) + u[i, j] * (math.log(high) - math.log(low)))
    return out
