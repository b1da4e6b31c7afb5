"""Slow, obvious CMA-ES: one generation in NumPy with LAPACK's eigenvectors, and one point at a time from NumPy's Philox."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from jaxhp._rng import rng
from jaxhp._types import Bools, Floats, Ints
from jaxhp.samplers._cma_draw import Layout
from jaxhp.samplers._cma_update import Search, Strategy


def inverse_root(search: Search) -> Floats:
    """C^-1/2 (n, n) of the C that B and D are of."""
    if not len(search.B):
        return np.diag(1.0 / search.D)
    return search.B @ np.diag(1.0 / search.D) @ search.B.T


def updated(made: Strategy, search: Search, x: Floats, foreign: Bools) -> Search:
    """The distribution after points x (popsize, n), best first; the numbers are equations of arXiv 1604.00772."""
    n, mu, w = made.n, made.mu, made.weights
    root = inverse_root(search)
    y = (x - search.mean) / search.sigma
    for i in np.flatnonzero(foreign):  # (3) of arXiv 1110.4181
        y[i] *= min(1.0, (math.sqrt(n) + 2.0 * n / (n + 2.0)) / math.sqrt(float(np.sum((root @ y[i]) ** 2)) + 1e-8))
    y_w = sum(w[i] * y[i] for i in range(mu))  # (41)
    cs, cc, c1, cmu = made.c_sigma, made.c_c, made.c_1, made.c_mu
    p_sigma = (1 - cs) * search.p_sigma + math.sqrt(cs * (2 - cs) * made.mu_eff) * root @ y_w  # (43)
    length = float(np.linalg.norm(p_sigma))
    sigma = search.sigma * math.exp(min(1.0, cs / made.d_sigma * (length / made.chi_n - 1.0)))  # (44)
    h = float(length / math.sqrt(1 - (1 - cs) ** (2 * (search.g + 1))) < (1.4 + 2 / (n + 1)) * made.chi_n)
    p_c = (1 - cc) * search.p_c + h * math.sqrt(cc * (2 - cc) * made.mu_eff) * y_w  # (45)
    scale = [1.0 if w[i] >= 0.0 else n / (float(np.sum((root @ y[i]) ** 2)) + 1e-8) for i in range(made.popsize)]  # (46)
    C = np.diag(search.C) if made.separable else search.C
    C = (1 + c1 * (1 - h) * cc * (2 - cc) - c1 - cmu * w.sum()) * C + c1 * np.outer(p_c, p_c)  # (47)
    C = C + cmu * sum(w[i] * scale[i] * np.outer(y[i], y[i]) for i in range(made.popsize))
    mean = search.mean + search.sigma * y_w  # (42)
    if made.separable:
        return Search(mean, sigma, np.diag(C), p_sigma, p_c, search.B, np.sqrt(np.diag(C)), search.g + 1)
    B, D = search.B, search.D
    if (search.g + 1) % made.lag == 0:
        squares, B = np.linalg.eigh(C)
        D = np.sqrt(squares)
    return Search(mean, sigma, C, p_sigma, p_c, B, D, search.g + 1)


def drawn(made: Layout, search: Search, A: Floats, q: Floats, seed: int, number: int, attempt: int) -> tuple[Floats, Floats, Ints, int]:
    """v (d,), x (n,), levels (c,) and the attempt at which the floats were within their bounds, or put on them in v."""
    at = made.coordinates
    uniforms = rng(seed, number, "cma_es", attempt).random(made.space.d)
    z = np.array([NormalDist().inv_cdf(uniforms[j] + 2.0**-54) for j in at.numeric])
    y = np.diag(search.D) @ z
    x = search.mean + search.sigma * (search.B @ y if len(search.B) else y)
    floats = x[at.bounded]
    if attempt < 2 and ((floats < 0.0) | (floats > 1.0)).any():
        return drawn(made, search, A, q, seed, number, attempt + 1)
    v = np.empty(made.space.d)
    v[at.numeric] = np.where(at.bounded, np.clip(x, 0.0, 1.0), search.mean + A * (x - search.mean))
    chosen = np.array(
        [
            int(np.searchsorted(np.cumsum(row[: k - 1]), uniforms[j], "right"))
            for row, k, j in zip(q, at.levels, at.categorical, strict=True)
        ]
    )
    v[at.categorical] = (chosen + 0.5) / at.levels
    return v, x, chosen.astype(np.int64), attempt
