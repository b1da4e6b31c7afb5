"""Margin: no integer is lost. CMA-ES with Margin (Hamano, Saito, Nomura & Shirakawa, GECCO 2022, arXiv 2205.13482).

A discrete coordinate is searched as a number v = mean + sigma A y and evaluated at the level in whose cell it falls. When sigma becomes
small against a cell, every sample falls into the same one, and selection sees no difference any more. So after each generation the mean
and A, which stretches what is sampled and not what is learned, are corrected such that the coordinate leaves its cell with probability
of at least alpha. Equations are those of section 4 of the paper, with CI(1 - 2p) = -ppf(p) sd, the deviation sd = sigma A sqrt(C_jj).

Cells (docs/architecture.md, "The encoded space"): level i of L lies between the edges i and i + 1; the outermost ones are unbounded.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxhp import _kernel
from jaxhp._types import Dims, Floats, Ints, Kind


class Cells(NamedTuple):
    """The discrete numeric coordinates, q of them, among the n numeric ones."""

    at: Ints  # (q,) index among the numeric coordinates
    levels: Ints  # (q,) at least 2
    log: Floats  # (q,) 1 where the cells are even on a log scale of integers, else 0
    low: Floats  # (q,) least integer of those
    start: Floats  # (q,) log(low - 1/2)
    span: Floats  # (q,) log(high + 1/2) - log(low - 1/2)

    def edge(self, i: Floats) -> Floats:
        """(q,) the lower edge, in u, of the cells i (q,)."""
        return np.where(self.log > 0.0, (np.log(np.maximum(self.low + i - 0.5, 0.5)) - self.start) / self.span, i / self.levels)

    def cell(self, v: Floats) -> Floats:
        """(q,) the level in whose cell v (q,) lies."""
        inside = np.clip(v, 0.0, 1.0)
        i = np.where(self.log > 0.0, np.floor(np.exp(self.start + inside * self.span) - self.low + 0.5), np.floor(inside * self.levels))
        return np.clip(i, 0.0, self.levels - 1.0)


def cells(dims: Dims, numeric: Ints) -> Cells:
    """The cells of the discrete coordinates among the numeric ones."""
    at = np.flatnonzero(dims.levels[numeric] >= 2)
    j = numeric[at]
    log = dims.kind[j] == Kind.GRID_LOG
    low, high = np.where(log, dims.low[j], 1.0), np.where(log, dims.high[j], 2.0)
    start = np.log(low - 0.5)
    return Cells(at, dims.levels[j], log.astype(np.float64), low, start, np.log(high + 0.5) - start)


def corrected(found: Cells, mean: Floats, spread: Floats, A: Floats, alpha: float) -> tuple[Floats, Floats]:
    """Mean (n,) and A (n,) after the correction.

    Args:
        found: the discrete coordinates.
        mean: (n,) of the distribution.
        spread: (n,) sigma sqrt(C_jj).
        A: (n,) stretches of the samples.
        alpha: least probability of leaving the mean's cell, in (0, 1/2).
    """
    at = found.at
    m, scale, a = mean[at], spread[at], A[at]
    i = found.cell(m)
    low, high = found.edge(i), found.edge(i + 1.0)
    deviation = scale * a
    # In an outermost cell, or of two: the mean comes as near to the one edge as the probability asks.
    outer = (i == 0.0) | (i == found.levels - 1.0)
    edge = np.where(i == 0.0, high, low)
    reach = -_ppf(np.array([alpha]))[0] * deviation
    near = edge + np.clip(m - edge, -reach, reach)
    # Inside: both sides get at least alpha / 2, and what they gain is taken from the others.
    p_low, p_up = _cdf((low - m) / deviation), _cdf((m - high) / deviation)
    least = 0.5 * alpha
    wanted_low, wanted_up = np.maximum(p_low, least), np.maximum(p_up, least)
    p_mid = 1.0 - p_low - p_up
    excess = (1.0 - wanted_low - wanted_up - p_mid) / (wanted_low + wanted_up + p_mid - 3.0 * least)
    q_low = -_ppf(wanted_low + excess * (wanted_low - least))
    q_up = -_ppf(wanted_up + excess * (wanted_up - least))
    short = ~outer & ((p_low < least) | (p_up < least))
    width = np.where(short, q_low + q_up, 1.0)
    m = np.where(outer, near, np.where(short, (low * q_up + high * q_low) / width, m))
    a = np.where(short, (high - low) / (width * scale), a)
    mean, A = mean.copy(), A.copy()
    mean[at], A[at] = m, a
    return mean, A


def _ppf(p: Floats) -> Floats:
    return _kernel.ppf(np.ascontiguousarray(p))


def _cdf(z: Floats) -> Floats:
    result: Floats = np.exp(_kernel.log_cdf(np.ascontiguousarray(z))[0])
    return result
