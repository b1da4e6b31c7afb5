"""Where the search begins when another study's trials are known: WS-CMA-ES.

Source: Nomura, Watanabe, Akimoto, Ozaki & Onishi, Warm starting CMA-ES for hyperparameter optimization, AAAI 2021, arXiv 2012.06932.
The promising distribution is a kernel density of width ALPHA on the best share gamma of the other study's points; the start is the
normal distribution closest to it in Kullback-Leibler divergence, (6) and (7) of the paper:

    mean = average of x_i        Sigma = ALPHA^2 I + average of (x_i - mean)(x_i - mean)^T        sigma = det(Sigma)^(1 / 2n)
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from jaxhp._types import Floats, Ints
from jaxhp.samplers._cma_categories import Categories, floored, uniform_categories

ALPHA: Final = 0.1  # standard deviation of the kernels, in u


def promising(x: Floats) -> tuple[Floats, float, Floats]:
    """Mean (n,), sigma and C (n, n) of the normal distribution fitted to points x (k, n); C has determinant 1.

    >>> mean, sigma, C = promising(np.array([[0.2, 0.5], [0.4, 0.5]]))
    >>> mean.round(3).tolist(), round(sigma, 3), np.diag(C).round(3).tolist()
    ([0.3, 0.5], 0.119, [1.414, 0.707])
    """
    n = x.shape[1]
    mean = x.mean(axis=0)
    covariance = ALPHA**2 * np.eye(n) + (x - mean).T @ (x - mean) / len(x)
    sigma = math.exp(np.linalg.slogdet(covariance)[1] / (2.0 * n)) if n else ALPHA
    return mean, sigma, covariance / sigma**2


def promising_categories(levels: Ints, chosen: Ints, least: Floats) -> Categories:
    """How often each level is among the chosen ones (k, c), one more of each counted, -1 for unknown."""
    begun = uniform_categories(levels)
    exists = begun.q > 0.0
    counts = (chosen[:, :, None] == np.arange(begun.q.shape[1])).sum(axis=0) + exists
    return begun._replace(q=floored(counts / counts.sum(axis=1, keepdims=True), exists, least))
