"""The settings of a Parzen estimator over some rows: the weights of its kernels, and their bandwidths (csrc/parzen.hpp has the density).

n kernels in d dims have the bandwidth b n^(-1 / (d + 4)) in every numeric coordinate of the unit cube (Scott 1992, with the constant b in
place of a spread that a handful of rows cannot tell). For a categorical one of L choices the probability of another choice is that of
one row and a prior of 1 / n on every choice (Watanabe 2023, section 3.3.4, as in Optuna): (L - 1) / (n + L).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, TypeAlias

import numpy as np

from jaxhp._types import Dims, Floats, Ints, Kind

Estimator: TypeAlias = tuple[Ints, Floats, float, Floats]  # rows (n,), weights (n,), weight of the prior, bandwidth (d,)
NARROWEST: Final = 1e-3  # bandwidth
LIGHTEST: Final = 1e-9  # weight of a better row, of the best one's


class Bandwidths:
    """The bandwidths (d,) of n kernels.

    >>> import jaxhp
    >>> space = jaxhp.Space({"x": jaxhp.Float(0.0, 1.0), "c": jaxhp.Categorical(["a", "b", "c"])})
    >>> Bandwidths(space.dims, 0.1)(1).tolist()
    [0.1, 0.5]
    """

    def __init__(self, dims: Dims, width: float) -> None:
        self._d = len(dims.kind)
        self._width = width
        self._categorical = np.flatnonzero((dims.kind == Kind.CATEGORICAL) & (dims.levels > 1))
        self._levels = dims.levels[self._categorical].astype(np.float64)

    def __call__(self, n: int) -> Floats:
        n = max(n, 1)
        bandwidth = np.full(self._d, max(self._width * n ** (-1.0 / (self._d + 4)), NARROWEST))
        if len(self._categorical):
            bandwidth[self._categorical] = (self._levels - 1.0) / (n + self._levels)
        return bandwidth


@lru_cache(maxsize=64)
def rank_weights(k: int) -> Floats:
    """(k,) weights of the k best rows, the best first: log(k + 1) - log i, with the mean 1 (as CMA-ES weighs its parents).

    >>> rank_weights(2).round(3).tolist()
    [1.461, 0.539]
    """
    weights: Floats = np.log(k + 1.0) - np.log(np.arange(1.0, k + 1.0))
    weights *= k / max(weights.sum(), 1e-300)
    weights.flags.writeable = False
    return weights


def improvement_weights(values: Sequence[float], threshold: float) -> Floats:
    """(k,) weights threshold - y of k values y, with the mean 1: what each row contributes to expected improvement (Watanabe 2023).

    >>> improvement_weights([0.0, 1.0], 2.0).round(3).tolist()
    [1.333, 0.667]
    """
    gains = [threshold * 0.5 - y * 0.5 for y in values]  # halves do not overflow; lists, as NumPy is slower for so few
    most = max(gains, default=0.0)
    if not most > 0.0:
        return np.ones(len(values))
    gains = [max(gain / most, LIGHTEST) for gain in gains]
    scale = len(values) / sum(gains)
    return np.array([gain * scale for gain in gains])
