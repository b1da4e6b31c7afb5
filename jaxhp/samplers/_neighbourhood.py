"""A surrogate of the neighbourhood of the best results, for every fourth suggestion.

One length scale a dim cannot describe a space that is rugged everywhere and slopes only near its optimum: the surrogate of all results
flattens such a valley, and its suggestions stop improving (Ackley's function in ten dims: docs/bayes.md). So there is a second look:

* the **box**: around the best result, as wide in every float as the `ELITE` best ones spread there. It shrinks as they gather, which is
  the idea of the cross-entropy method (Rubinstein 1999), and needs no state: trust regions (Eriksson et al., NeurIPS 2019) count successes;
* the results in it, and within its width beside it, are transformed by themselves and fitted anew, in the box's coordinates: v = 0 at its
  lower and 1 at its upper bound; of more than `ROWS` in the box, the best. Discrete and inactive coordinates keep their whole range.

The box is a function of the told results alone.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from jaxhp._types import Bools, Floats, Posterior
from jaxhp.samplers._model import Model

EVERY: Final = 4  # one suggestion of so many looks here,
AFTER: Final = 60  # from so many results on
ELITE: Final = 30  # best results that the box is as wide as, at most half of all
REACH: Final = 2.0  # half the box's width, in their standard deviations
NARROWEST: Final = 0.01  # half width
ROWS: Final = 64  # results that the surrogate stands on, at most
FEWEST: Final = 8  # and at least
ITERATIONS: Final = 8  # of its fit


class Box(NamedTuple):
    """Part of the unit cube, in coordinates v of its own."""

    low: Floats  # (d,)
    width: Floats  # (d,) 1 where it has the whole range

    def inward(self, u: Floats) -> Floats:
        """Coordinates (..., d) of the space in those of the box."""
        return (u - self.low) / self.width

    def outward(self, v: Floats) -> Floats:
        """Coordinates (..., d) of the box in those of the space."""
        u: Floats = np.clip(self.low + v * self.width, 0.0, 1.0)
        return u

    def beside(self, v: Floats) -> Floats:
        """How far points v (n, d) lie outside, in widths (n,); 0 inside."""
        out: Floats = np.where(np.isnan(v), 0.0, np.maximum(np.maximum(-v, v - 1.0), 0.0)).max(axis=1)
        return out


class Neighbourhood(NamedTuple):
    """A surrogate in the coordinates of a box."""

    box: Box
    posterior: Posterior
    z: Floats  # (rows,) its results, transformed
    v: Floats  # (rows, d) where they are, NaN where inactive


def neighbourhood(model: Model, quality: Floats, continuous: Bools) -> Neighbourhood | None:
    """The surrogate around the best row that `model` holds; None where that has no continuous coordinate, too few rows are near, or it
    cannot be factored.

    Args:
        model: with a posterior.
        quality: (rows,) of the rows held, smaller is better.
        continuous: (d,) which dims are.
    """
    rows = model.held
    u = model.u[rows]
    order = np.argsort(quality, kind="stable")
    best = u[order[0]]
    moved = continuous & ~np.isnan(best)
    if not moved.any():
        return None
    box = _box(best, u[order[: min(ELITE, len(rows) // 2)]], moved)
    v = box.inward(u)
    beside = box.beside(v)
    near = np.lexsort((quality, beside))[:ROWS]  # of those inside, the best
    near = np.sort(near[beside[near] <= 1.0])
    if len(near) < FEWEST:
        return None
    fitted = model.refitted(rows[near], v[near], ITERATIONS)
    return None if fitted is None else Neighbourhood(box, *fitted, v[near])


def _box(best: Floats, elite: Floats, moved: Bools) -> Box:
    active = ~np.isnan(elite)
    count = np.maximum(active.sum(axis=0), 1)
    mean = np.where(active, elite, 0.0).sum(axis=0) / count
    deviation = np.sqrt(np.where(active, np.square(elite - mean), 0.0).sum(axis=0) / count)
    half = np.maximum(REACH * deviation, NARROWEST)
    low = np.where(moved, np.maximum(best - half, 0.0), 0.0)
    high = np.where(moved, np.minimum(best + half, 1.0), 1.0)
    return Box(low, high - low)
