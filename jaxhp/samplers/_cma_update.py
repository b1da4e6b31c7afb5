"""One generation of the (mu/mu_w, lambda)-CMA-ES with active covariance update, as a pure function (csrc/cma.hpp).

Source: Hansen, The CMA evolution strategy: a tutorial, arXiv 1604.00772; the numbers beside the formulas are its equations. The
separable variant keeps the diagonal of C alone and learns it (n + 2) / 3 times as fast (Ros & Hansen, PPSN 2008). Points that were not
drawn from the distribution are shortened before they count (Hansen, Injecting external solutions into CMA-ES, arXiv 1110.4181).

n coordinates, popsize (lambda) points a generation, of which the mu best have positive weights. The distribution is N(mean, sigma^2 C)
with C = B diag(D^2) B^T; y = (x - mean) / sigma; z = D^-1 B^T y, a rotation of C^-1/2 y.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from jaxhp import _kernel
from jaxhp._types import Bools, Floats


class Strategy(NamedTuple):
    """The constants of table 1 of the tutorial."""

    n: int
    popsize: int  # lambda
    mu: int
    weights: Floats  # (popsize,) w_1..w_lambda; from mu on negative, or zero without the active update
    mu_eff: float
    c_sigma: float
    d_sigma: float
    c_c: float
    c_1: float
    c_mu: float
    chi_n: float  # E||N(0, I)||
    separable: bool
    lag: int  # generations that share one eigendecomposition


class Search(NamedTuple):
    """The distribution, and what its update remembers. Arrays are never changed in place."""

    mean: Floats  # (n,)
    sigma: float
    C: Floats  # (n, n); its diagonal (n,) in the separable variant
    p_sigma: Floats  # (n,)
    p_c: Floats  # (n,)
    B: Floats  # (n, n) eigenvectors of C in columns; (0, 0) in the separable variant
    D: Floats  # (n,) square roots of the eigenvalues; rising, but in the separable variant
    g: int  # generations so far


def default_popsize(n: int) -> int:
    """lambda = 4 + floor(3 ln n)   (48)."""
    return 4 + math.floor(3.0 * math.log(max(n, 1)))


@lru_cache(maxsize=256)
def strategy(n: int, popsize: int, active: bool = True, separable: bool = False, haste: float = 1.0) -> Strategy:
    """The constants for n coordinates and a population; `haste` multiplies the learning rates and divides the damping (1: the tutorial's).

    >>> made = strategy(10, default_popsize(10))
    >>> made.popsize, made.mu, round(float(made.weights[:5].sum()), 12), round(made.c_1, 4)
    (10, 5, 1.0, 0.0153)
    """
    raw = math.log((popsize + 1) / 2) - np.log(np.arange(1, popsize + 1))  # (49)
    mu = popsize // 2
    mu_eff = float(raw[:mu].sum() ** 2 / (raw[:mu] ** 2).sum())
    mu_eff_minus = float(raw[mu:].sum() ** 2 / (raw[mu:] ** 2).sum())
    c_1 = 2.0 / ((n + 1.3) ** 2 + mu_eff)  # (57)
    c_mu = min(1.0 - c_1 - 1e-8, 2.0 * (mu_eff - 2.0 + 1.0 / mu_eff) / ((n + 2.0) ** 2 + mu_eff))  # (58)
    c_1, c_mu = _scaled_rates(c_1, c_mu, haste * ((n + 2.0) / 3.0 if separable else 1.0))
    weights = raw.copy()
    weights[:mu] /= raw[:mu].sum()  # (53)
    if active:
        alpha_mu = 1.0 + c_1 / c_mu  # (50)
        alpha_mu_eff = 1.0 + 2.0 * mu_eff_minus / (mu_eff + 2.0)  # (51)
        alpha_posdef = (1.0 - c_1 - c_mu) / (n * c_mu)  # (52)
        weights[mu:] *= min(alpha_mu, alpha_mu_eff, alpha_posdef) / -raw[mu:].sum()  # (53)
    else:
        weights[mu:] = 0.0
    weights.flags.writeable = False
    c_sigma = (mu_eff + 2.0) / (n + mu_eff + 5.0)  # (55)
    return Strategy(
        n=n,
        popsize=popsize,
        mu=mu,
        weights=weights,
        mu_eff=mu_eff,
        c_sigma=c_sigma,
        d_sigma=(1.0 + 2.0 * max(0.0, math.sqrt((mu_eff - 1.0) / (n + 1.0)) - 1.0) + c_sigma) / haste,  # (55)
        c_c=(4.0 + mu_eff / n) / (n + 4.0 + 2.0 * mu_eff / n),  # (56)
        c_1=c_1,
        c_mu=c_mu,
        chi_n=math.sqrt(n) * (1.0 - 1.0 / (4.0 * n) + 1.0 / (21.0 * n * n)),
        separable=separable,
        lag=max(1, math.floor(1.0 / (10.0 * n * (c_1 + c_mu)))),  # section B.2
    )


def _scaled_rates(c_1: float, c_mu: float, faster: float) -> tuple[float, float]:
    """Both rates, their sum kept below 1."""
    faster = min(faster, (1.0 - 1e-8) / (c_1 + c_mu))
    return c_1 * faster, c_mu * faster


def isotropic(made: Strategy, mean: Floats, sigma: float) -> Search:
    """N(mean, sigma^2 I)."""
    n = len(mean)
    zeros = np.zeros(n)
    if made.separable or n == 0:
        return Search(mean, sigma, np.ones(n), zeros, zeros, np.empty((0, 0)), np.ones(n), 0)
    return Search(mean, sigma, np.eye(n), zeros, zeros, np.eye(n), np.ones(n), 0)


def shaped(made: Strategy, mean: Floats, sigma: float, C: Floats) -> Search:
    """N(mean, sigma^2 C) with C (n, n), of which the separable variant takes the diagonal."""
    begun = isotropic(made, mean, sigma)
    if made.separable:
        variance = np.ascontiguousarray(np.diag(C))
        return begun._replace(C=variance, D=np.sqrt(variance))
    B, D = _kernel.cma_decompose(C)
    return begun._replace(C=C, B=B, D=D)


def update(made: Strategy, search: Search, x: Floats, foreign: Bools | None = None) -> Search:
    """The distribution after one generation (csrc/cma.hpp).

    Args:
        made: its constants.
        search: the distribution that x was drawn from.
        x: (popsize, n) points, best first.
        foreign: (popsize,) which of them were not drawn from it; None: none.
    """
    return Search._make(_kernel.cma_update(made, search, x, foreign, (search.g + 1) % made.lag == 0))
