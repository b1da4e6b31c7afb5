"""How much each parameter moves a surrogate's prediction: total-effect indices of its posterior mean.

T_j = E[Var(f | all but j)] / Var f over uniform points of the space: the share of f's variance that is left when every other
parameter is known (Homma & Saltelli 1996), estimated by T_j = E[(f(A) - f(A with j of B))^2] / (2 Var f) (Jansen 1999). Shares
of parameters that interact are counted for each of them, so they may add up to more than 1. Length scales do not tell
this: a short one says how bent f is along a dim, not how far it moves (Paananen, Piironen, Andersen & Vehtari 2019).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from jaxhp import _kernel
from jaxhp._rng import rng
from jaxhp._types import Floats, Posterior
from jaxhp.space import Space

_PREDICTIONS: Final = 16384  # about so many in all
_POINTS: Final = (64, 512)  # least and most pairs of points, powers of two
_FLAT: Final = 1e-12  # a variance below this is rounding


def total_effects(space: Space, posterior: Posterior, seed: int) -> Floats:
    """T (d,) of every parameter; zeros where the surrogate is flat.

    Points are scrambled Sobol points in the unit cube, snapped: every level of a discrete parameter is as likely as any
    other, a parameter counts where it is active, and what a parent switches on counts for the parent, too. Constraints
    of the space are not looked at.
    """
    d = space.d
    n = int(np.clip(1 << ((_PREDICTIONS // (d + 1)).bit_length() - 1), *_POINTS)) if d < _PREDICTIONS else _POINTS[0]
    drawn = _kernel.sobol(int(rng(seed, 0, "relevance").integers(1 << 62)), np.arange(n, dtype=np.int64), 2 * d)
    a, b = np.ascontiguousarray(drawn[:, :d]), np.ascontiguousarray(drawn[:, d:])
    at_a, at_b = _mean(space, posterior, a), _mean(space, posterior, b)
    variance = float(np.concatenate([at_a, at_b]).var())
    if variance < _FLAT:
        return np.zeros(d)
    effects = np.empty(d)
    for j in range(d):
        mixed = a.copy()
        mixed[:, j] = b[:, j]
        effects[j] = np.square(at_a - _mean(space, posterior, mixed)).mean() / (2.0 * variance)
    return effects


def _mean(space: Space, posterior: Posterior, u: Floats) -> Floats:
    mean, _ = _kernel.predict(posterior, space.snap(u))
    return mean
