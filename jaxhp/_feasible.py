"""Finding and keeping to the feasible part of a constrained space, without an unbounded loop anywhere.

A constrained space owns an **anchor**, a feasible point found when the constraint was made. Later an infeasible
suggestion is replaced by the first feasible of a bounded number of counter-based draws, or else by the last feasible
point on the way from the anchor to it: one of both always exists.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from jaxhp import _kernel
from jaxhp._constraints import Linear
from jaxhp._rng import uniform
from jaxhp._types import Floats, Ints
from jaxhp.errors import SpaceError

if TYPE_CHECKING:
    from jaxhp.space import Space

_SEARCH = (64, 1024, 16_384)  # Sobol points looked at for an anchor, in rounds
_DRAWS = (16, 256, 4096)  # draws for one infeasible row, in rounds
_SWEEPS = 30
_BISECTIONS = 40


def anchor(space: Space) -> Floats:
    """A feasible point (d,).

    Raises:
        SpaceError: none was found, with the constraint that stands in the way.
    """
    _contradiction(space)
    best = space.default()
    if space.feasible(best[None])[0]:
        return best
    start, least = best, math.inf
    linear = any(isinstance(c, Linear) for c in space.constraints)
    seen = 0
    for count in _SEARCH:
        u = space.snap(_kernel.sobol(0, np.arange(seen, seen + count, dtype=np.int64), space.d))
        seen += count
        met = space.feasible(u)
        if met.any():
            return u[int(met.argmax())]
        if linear:
            excess = _excess(space, u)
            if excess.min() < least:
                start, least = u[int(excess.argmin())], float(excess.min())
    if linear:
        found, least = _descend(space, start)
        if space.feasible(found[None])[0]:
            return found
    named = ", ".join(repr(str(c)) for c in space.constraints)
    nearest = f"; the nearest point exceeds a bound by {least:.2g} of its size" if linear and least > 0 else ""
    raise SpaceError(f"no configuration that meets {named} was found among {seen} points{nearest}; loosen a constraint or widen a bound")


def constrain(space: Space, u: Floats, seed: int, numbers: Ints) -> Floats:
    """u (k, d) canonical with infeasible rows replaced, each as a function of (row, seed, number) alone."""
    met = space.feasible(u)
    if met.all():
        return u
    result = u.copy()
    for i in np.flatnonzero(~met):
        result[i] = _replacement(space, u[i], seed, int(numbers[i]))
    return result


def _replacement(space: Space, u: Floats, seed: int, number: int) -> Floats:
    numbers = np.array([number], dtype=np.int64)
    for attempt, count in enumerate(_DRAWS):
        draws = space.snap(uniform(seed, numbers, "where", count * space.d, attempt).reshape(count, space.d))
        met = space.feasible(draws)
        if met.any():
            return draws[int(met.argmax())]
    return _toward(space, u)


def _toward(space: Space, u: Floats) -> Floats:
    """From the anchor to u: discrete coordinates switch one by one, then the continuous ones go as far as they can."""
    at = _anchor(space)
    wanted = np.where(np.isnan(u), 0.5, u)
    discrete = space.dims.levels > 0
    for j in np.flatnonzero(discrete):
        trial = np.where(np.isnan(at), 0.5, at)
        trial[j] = wanted[j]
        trial = space.snap(trial[None])[0]
        if space.feasible(trial[None])[0]:
            at = trial
    low, high = 0.0, 1.0
    filled = np.where(np.isnan(at), 0.5, at)
    best = at
    for _ in range(_BISECTIONS):
        t = 0.5 * (low + high)
        trial = space.snap(np.where(discrete, filled, filled + t * (wanted - filled))[None])[0]
        if space.feasible(trial[None])[0]:
            low, best = t, trial
        else:
            high = t
    return best


def _anchor(space: Space) -> Floats:
    if space.anchor is None:
        space.feasible(space.default()[None])  # tells which function is missing
        raise SpaceError("this constrained space was read from a log; pass the space itself to search it")
    return space.anchor


def _excess(space: Space, u: Floats) -> Floats:
    """Largest relative excess over the linear constraints (n,), 0 where all are met."""
    values = space.values(u)
    columns = [np.nan_to_num(c.excess(values), nan=0.0) for c in space.constraints if isinstance(c, Linear)]
    worst: Floats = np.maximum(0.0, np.max(columns, axis=0))
    return worst


def _descend(space: Space, start: Floats) -> tuple[Floats, float]:
    """Coordinate descent on the largest excess."""
    at, least = start, float(_excess(space, start[None])[0])
    for _ in range(_SWEEPS):
        before = least
        for j in range(space.d):
            levels = int(space.dims.levels[j])
            axis = np.linspace(0.0, 1.0, 65) if not 0 < levels <= 256 else (np.arange(levels) + 0.5) / levels
            trials = np.tile(np.where(np.isnan(at), 0.5, at), (len(axis), 1))
            trials[:, j] = axis
            trials = space.snap(trials)
            excess = _excess(space, trials)
            # among equals take the one in the middle: the next constraint finds more room there
            ties = np.flatnonzero(excess == excess.min())
            pick = int(ties[len(ties) // 2])
            if excess[pick] < least:
                at, least = trials[pick], float(excess[pick])
            met = space.feasible(trials[ties])
            if met.any():
                return trials[ties[int(met.argmax())]], 0.0
        if least == before:
            break
    return at, least


def _contradiction(space: Space) -> None:
    """A linear constraint that no point of the box can meet is told with its proof."""
    bounds = {}
    for name, axis in zip(space.names, space.axes, strict=True):
        numbers = axis.numbers
        bounds[name] = (axis.low, axis.high) if numbers is None else (float(numbers.min()), float(numbers.max()))
    for constraint in space.constraints:
        if not isinstance(constraint, Linear) or any(space.parameters[name].when is not None for name in constraint.terms):
            continue
        lowest = constraint.lowest(bounds)
        if lowest > constraint.bound + 1e-12 * abs(lowest) or (constraint.strict and lowest >= constraint.bound):
            raise SpaceError(f"no configuration meets {constraint.text!r}: within the bounds its left side minus its right side is at least {lowest - constraint.bound:g}")
