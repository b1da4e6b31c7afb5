"""Categories beside the normal distribution: one distribution over its levels per categorical parameter, learned by natural gradient.

Source: CatCMA (Hamano, Saito, Nomura, Uchida & Shirakawa, GECCO 2024, arXiv 2405.09962), whose step size is that of adaptive stochastic
natural gradient (Akimoto, Shirakawa, Yoshinari, Uchida, Saito & Nishida, ICML 2019): steps of length delta in the Fisher metric, longer
while they agree and shorter while they are noise. Level probabilities keep a margin (CatCMA with Margin, Hamano et al., arXiv 2504.07884).

c categorical parameters with K_1..K_c levels, in an array of width K = max K_i; entries beyond K_i are 0.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from jaxhp._types import Bools, Floats, Ints

_ALPHA: Final = 1.5  # the step is longer while the squared length of the evolution path exceeds this many times that of noise
_SURE: Final = 0.73  # probability that one draw has the likeliest level everywhere when every distribution has converged
_SMALLEST: Final = 1e-8


class Categories(NamedTuple):
    """The distributions and the path of their steps. Arrays are never changed in place."""

    q: Floats  # (c, K)
    s: Floats  # (c, K - 1) evolution path in the Fisher metric
    gamma: float  # what the squared length of s would be if all steps were noise
    step: float  # delta


def least_probability(levels: Ints, discrete: int) -> Floats:
    """(c,) the margin of each distribution; `discrete` counts the parameters that have one."""
    alpha = 1.0 - _SURE ** (1.0 / max(discrete, 1))
    result: Floats = np.minimum(alpha / np.maximum(levels - 1, 1), 0.5 / levels)
    return result


def uniform_categories(levels: Ints) -> Categories:
    """Every level as likely."""
    width = int(levels.max(initial=1))
    q = (np.arange(width) < levels[:, None]) / levels[:, None]
    return Categories(q, np.zeros((len(levels), width - 1)), 0.0, 1.0)


def drawn(categories: Categories, uniforms: Floats) -> Ints:
    """(k, c) levels at uniforms (k, c)."""
    bounds = np.cumsum(categories.q, axis=1)[:, :-1]
    level: Ints = (uniforms[:, :, None] >= bounds[None]).sum(axis=2)
    last: Ints = (categories.q > 0.0).sum(axis=1) - 1
    return np.minimum(level, last)


def learned(categories: Categories, levels: Ints, weights: Floats, least: Floats) -> Categories:
    """The distributions after one generation.

    Args:
        categories: those that the levels were drawn from.
        levels: (mu, c) of the best points, best first; -1 where the parameter is unknown.
        weights: (mu,) positive, of sum 1.
        least: (c,) margins.
    """
    q = categories.q
    c, width = q.shape
    known = levels >= 0
    chosen = (levels[:, :, None] == np.arange(width)).astype(np.float64)  # (mu, c, K)
    gradient = np.einsum("i,ijk->jk", weights, np.where(known[:, :, None], chosen - q, 0.0))
    # sqrt(F) gradient, with the last level of each distribution as the dependent one
    last = (q > 0.0).sum(axis=1) - 1
    rows = np.arange(c)
    q_last = q[rows, last][:, None]
    free = np.arange(width)[None, :-1] < last[:, None]
    head = np.where(free, q[:, :-1], 1.0)
    slope = np.where(free, gradient[:, :-1], 0.0)
    natural = np.where(free, slope / np.sqrt(head) + np.sqrt(head) * slope.sum(axis=1, keepdims=True) / (q_last + np.sqrt(q_last)), 0.0)
    length = math.sqrt(float((natural**2).sum())) + _SMALLEST
    parameters = float(free.sum())
    if parameters == 0.0:
        return categories
    beta = categories.step / math.sqrt(parameters)
    s = (1.0 - beta) * categories.s + math.sqrt(max(beta * (2.0 - beta), 0.0)) * natural / length
    gamma = (1.0 - beta) ** 2 * categories.gamma + beta * (2.0 - beta)
    step = min(1.0, categories.step * math.exp(beta * (float((s**2).sum()) / _ALPHA - gamma)))
    return Categories(floored(q + categories.step * gradient / length, q > 0.0, least), s, gamma, step)


def floored(q: Floats, exists: Bools, least: Floats) -> Floats:
    """q with every existing level at its margin or above, of sum 1 again: what is added is taken from the rest in proportion."""
    bottom = np.where(exists, least[:, None], 0.0)
    above = np.maximum(q - bottom, 0.0) * exists
    total = above.sum(axis=1, keepdims=True)  # at least the room that the margins leave, where q sums to 1
    result: Floats = bottom + above / total * (1.0 - bottom.sum(axis=1, keepdims=True))
    return result
