"""Children of two configurations: crossover and mutation in the unit cube, a row per child, from given uniforms.

Continuous coordinates: simulated binary crossover (SBX: Deb & Agrawal, Complex Systems 9, 1995) and polynomial mutation (Deb & Goyal 1996),
both in the forms whose densities end at the bounds (Deb & Agrawal, KanGAL 99001, 1999). With x1 < x2 and index eta, the child on the
side of x1 lies at (x1 + x2)/2 - b (x2 - x1)/2, where P(b) ~ b^eta up to 1 and b^-(eta+2) beyond, cut where the child would leave [0, 1].
Ordered levels (integers, steps, ordinals) are crossed likewise and snapped to a level; their mutation moves by one level at least.
Categories come from either parent, and are mutated to any other one. A coordinate that is inactive in one parent comes from the other;
one that is inactive in both is drawn anew: conditions need no more than that, because `Space.snap` cuts what the child does not use.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from jaxhp._types import Bools, Floats, Ints, Kind
from jaxhp.samplers._axes import unconditional
from jaxhp.space import Space

DRAWS: Final = 6  # uniforms per coordinate of `child`
_SAME: Final = 1e-14  # coordinates closer than this are one


def crossed(a: Floats, b: Floats, draws: Floats, eta: float) -> Floats:
    """(...) a coordinate of one child of SBX, for each pair of coordinates a, b and two uniforms (2, ...).

    The first uniform says how far the child is from the parents, the second on whose side.

    >>> import numpy as np
    >>> crossed(np.array([0.2]), np.array([0.6]), np.array([[0.5], [0.0]]), eta=20.0).round(3).tolist()
    [0.2]
    """
    low, high = np.minimum(a, b), np.maximum(a, b)
    width = high - low
    apart = width > _SAME
    span = np.where(apart, width, 1.0)
    upper = draws[1] >= 0.5
    room = np.where(upper, 1.0 - high, low)  # from the parent on the child's side to its bound
    alpha = 2.0 - (1.0 + 2.0 * room / span) ** -(eta + 1.0)
    mass = draws[0] * alpha
    spread = np.where(mass <= 1.0, mass, 1.0 / (2.0 - mass)) ** (1.0 / (eta + 1.0))
    child = 0.5 * (low + high + np.where(upper, spread, -spread) * span)
    return np.where(apart, np.clip(child, 0.0, 1.0), a)


def mutated(x: Floats, draws: Floats, eta: float) -> Floats:
    """(...) polynomial mutation of coordinates x by uniforms of the same shape; the median stays.

    >>> import numpy as np
    >>> mutated(np.array([0.3, 0.3]), np.array([0.5, 0.0]), eta=20.0).tolist()
    [0.3, 0.0]
    """
    power = eta + 1.0
    down = draws < 0.5
    room = np.where(down, x, 1.0 - x)
    tail = np.where(down, 2.0 * draws, 2.0 * (1.0 - draws))
    step = 1.0 - (tail + (1.0 - tail) * (1.0 - room) ** power) ** (1.0 / power)
    return np.clip(x + np.where(down, -step, step), 0.0, 1.0)


class Breeder:
    """Crossover and mutation for the coordinates of one space. It never changes."""

    __slots__ = ("_categorical", "_free", "_levels", "_ordered", "_space", "crossover", "eta", "mutation")

    def __init__(self, space: Space, crossover: float, eta: tuple[float, float], mutation: float | None) -> None:
        """`crossover` is its probability, `eta` the indices of both, `mutation` its rate per coordinate, None for 1 / active ones."""
        self._space = space
        self._free = unconditional(space)
        self._categorical: Bools = space.dims.kind == Kind.CATEGORICAL
        self._levels: Ints = space.dims.levels
        self._ordered: Bools = (self._levels > 0) & ~self._categorical
        self.crossover = crossover
        self.eta = eta
        self.mutation = mutation

    def __deepcopy__(self, memo: dict[int, object]) -> Breeder:
        return self

    def children(self, a: Floats, b: Floats, both: Floats, draws: Floats) -> Floats:
        """(k, d) canonical children, one for each pair of rows of a and b (k, d).

        Args:
            a, b: parents, canonical.
            both: (k,) uniforms; below the probability of crossover, both parents have a share, else the child is a mutant of a.
            draws: (k, DRAWS, d) uniforms.
        """
        crossing, spread, side, mutating, step, anew = np.moveaxis(draws, 1, 0)
        known = np.where(np.isnan(a), b, a)
        first = np.where(np.isnan(known), anew, known)
        second = np.where(np.isnan(b), first, b)
        x = crossed(first, second, np.stack([spread, side]), self.eta[0])
        if self._categorical.any():
            x = np.where(self._categorical, np.where(side < 0.5, first, second), x)
        x = np.where((crossing < 0.5) & (both < self.crossover)[:, None], x, first)
        return self._mutants(self._space.snap(x), first, mutating, step, anew)

    def _mutants(self, u: Floats, filled: Floats, mutating: Floats, step: Floats, anew: Floats) -> Floats:
        """Mutants of canonical points u; what is inactive there has the values `filled`."""
        active = ~np.isnan(u)
        rate = self.mutation if self.mutation is not None else 1.0 / np.maximum(active.sum(axis=1, keepdims=True), 1)
        x = np.where(active, u, filled)
        changed = (mutating < rate) & active
        moved = mutated(x, step, self.eta[1])
        if self._ordered.any():
            moved = np.where(self._ordered, self._another_level(x, moved, step), moved)
        if self._categorical.any():
            moved = np.where(self._categorical, self._other_category(x, anew), moved)
        return self._space.snap(np.where(changed, moved, x))

    def _another_level(self, x: Floats, moved: Floats, step: Floats) -> Floats:
        """(k, d) `moved`; where that is in the level of x the next one in its direction, or at an end the other way."""
        level, other = self._free.decode(x), self._free.decode(moved)
        ahead = level + np.where(step < 0.5, -1.0, 1.0)
        ahead = np.where((ahead < 0.0) | (ahead >= self._levels), 2.0 * level - ahead, ahead)
        plain = np.where(self._ordered, np.where(other == level, ahead, other), level)
        return self._free.encode(np.ascontiguousarray(plain))

    def _other_category(self, x: Floats, anew: Floats) -> Floats:
        """(k, d) the coordinates of categories other than those of x, all equally likely."""
        with np.errstate(invalid="ignore", divide="ignore"):  # continuous coordinates have no levels
            level = np.floor(x * self._levels)
            further = 1.0 + np.floor(anew * (self._levels - 1))
            result: Floats = ((level + further) % self._levels + 0.5) / self._levels
        return result
