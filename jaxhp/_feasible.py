"""Finding and keeping to the feasible part of a constrained space, without an unbounded loop anywhere.

A constrained space owns an **anchor**, a feasible point found when the constraint was made. Later an infeasible
suggestion is replaced by the first feasible of a bounded number of counter-based draws, or else by the last feasible
point on the way from the anchor to it: one of both always exists.

Anchors of narrow linear constraints: over-relaxed projections onto the violated half-space (Agmon 1954; Motzkin and
Schoenberg 1954), then line searches over the points where a constraint is tight, which settles integers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from jaxhp import _kernel
from jaxhp._constraints import Linear, Predicate
from jaxhp._rng import uniform
from jaxhp._types import Bools, Floats, Ints
from jaxhp.errors import SpaceError

if TYPE_CHECKING:
    from jaxhp.space import Space

_SEARCH = (64, 1024, 15_296)  # Sobol points looked at for an anchor, in rounds
_STARTS = 8  # of them are taken as starts where constraints are linear
_PROJECTIONS = 1000
_MARGINS = (1e-2, 1e-4, 1e-7, 0.0)  # by which a projection goes beyond the bounds, of the range
_SWEEPS = 30
_DRAWS = (4, 32, 256, 4096)  # draws for one infeasible row, in rounds
_BLOCK = 1 << 20  # coordinates drawn at once
_BISECTIONS = 40


def anchor(space: Space) -> Floats:
    """A feasible point (d,).

    Raises:
        SpaceError: none was found, with the constraint that stands in the way.
    """
    _contradiction(space)
    default = space.default()
    first = default[None]
    if space.feasible(first)[0]:
        return default
    looked = [first]
    seen = 0
    for count in _SEARCH:
        u = space.snap(_kernel.sobol(0, np.arange(seen, seen + count, dtype=np.int64), space.d))
        seen += count
        met = space.feasible(u)
        if met.any():
            point: Floats = u[int(met.argmax())]
            return point
        looked.append(u)
    named = ", ".join(repr(str(c)) for c in space.constraints)
    nearest = ""
    if any(isinstance(c, Linear) for c in space.constraints):
        u = np.concatenate(looked)
        least = math.inf
        for start in u[np.lexsort((_excess(space, u), ~_predicates_met(space, u)))[:_STARTS]]:
            for begin in (start, *(_projected(space, start, margin) for margin in _MARGINS)):
                found = _descend(space, begin)
                if space.feasible(found[None])[0]:
                    return found
                least = min(least, float(_excess(space, found[None])[0]))
        nearest = f"; the nearest point exceeds the bounds by {least:.2g} of their size" if least > 0 else ""
    remedy = "loosen a constraint or widen a bound"
    raise SpaceError(f"no configuration that meets {named} was found among {seen + 1} points{nearest}; {remedy}")


def constrain(space: Space, u: Floats, seed: int, numbers: Ints) -> Floats:
    """u (k, d) canonical with infeasible rows replaced, each as a function of (row, seed, number) alone."""
    met = space.feasible(u)
    if met.all():
        return u
    result = u.copy()
    waiting = np.flatnonzero(~met)
    for attempt, count in enumerate(_DRAWS):
        block = max(1, _BLOCK // (count * space.d))
        without = []
        for rows in (waiting[i : i + block] for i in range(0, len(waiting), block)):
            draws = space.snap(uniform(seed, numbers[rows], "where", count * space.d, attempt).reshape(-1, space.d))
            met = space.feasible(draws).reshape(len(rows), count)
            some = met.any(axis=1)
            result[rows[some]] = draws.reshape(len(rows), count, space.d)[some, met[some].argmax(axis=1)]
            without.append(rows[~some])
        waiting = np.concatenate(without)
        if not len(waiting):
            return result
    for i in waiting:
        result[i] = _toward(space, u[i])
    return result


def _toward(space: Space, u: Floats) -> Floats:
    """From the anchor to u: discrete coordinates switch one by one, then the continuous ones go as far as they can."""
    if space.anchor is None:
        raise SpaceError("this constrained space was read from a log; pass the space itself to search it")
    at = space.anchor
    wanted = _filled(u)
    discrete = space.dims.levels > 0
    for j in np.flatnonzero(discrete):
        trial = _filled(at)
        trial[j] = wanted[j]
        trial = space.snap(trial[None])[0]
        if space.feasible(trial[None])[0]:
            at = trial
    low, high = 0.0, 1.0
    start = _filled(at)
    for _ in range(_BISECTIONS):
        t = 0.5 * (low + high)
        trial = space.snap(np.where(discrete, start, start + t * (wanted - start))[None])[0]
        if space.feasible(trial[None])[0]:
            low, at = t, trial
        else:
            high = t
    return at


def _filled(u: Floats) -> Floats:
    """Inactive coordinates at 0.5."""
    return np.where(np.isnan(u), 0.5, u)


def _excess(space: Space, u: Floats) -> Floats:
    """Total relative excess over the linear constraints (n,), 0 where all are met."""
    values = space.values(u)
    total = np.zeros(len(u))
    for constraint in space.constraints:
        if isinstance(constraint, Linear):
            excess = np.maximum(0.0, np.nan_to_num(constraint.excess(values), nan=0.0))
            total += np.where(constraint.satisfied(values), 0.0, np.maximum(excess, 1e-15))
    return total


def _predicates_met(space: Space, u: Floats) -> Bools:
    """(n,) where the constraints that are functions hold."""
    functions = [c for c in space.constraints if isinstance(c, Predicate)]
    return np.array([all(c.satisfied(space.params(row), space.names) for c in functions) for row in u], np.bool_)


def _active_linear(space: Space, at: Floats) -> tuple[dict[str, float], list[Linear]]:
    """The numbers at a point, and the linear constraints that count there."""
    values = {name: float(column[0]) for name, column in space.values(at[None]).items()}
    return values, [c for c in space.constraints if isinstance(c, Linear) and not any(math.isnan(values[name]) for name in c.terms)]


def _projected(space: Space, start: Floats, margin: float) -> Floats:
    """The point after projections of z = (value - low) / range onto the half-space that is violated most, until none is."""
    values, constraints = _active_linear(space, start)
    names = [name for name in space.names if any(name in c.terms for c in constraints)]
    if not names:
        return start
    spans = np.array([space.axes[space.index[name]].span for name in names])
    low, width = spans[:, 0], spans[:, 1] - spans[:, 0]
    matrix = np.array([[c.terms.get(name, 0.0) for name in names] for c in constraints])
    bound = np.array([c.bound for c in constraints]) - matrix @ low
    matrix = matrix * width
    norm = np.sqrt((matrix**2).sum(axis=1)) + 1e-300
    z = (np.array([values[name] for name in names]) - low) / width
    for _ in range(_PROJECTIONS):
        beyond = (matrix @ z - bound) / norm + margin
        worst = int(beyond.argmax())
        if beyond[worst] <= 0.0:
            break
        z = np.clip(z - 1.5 * beyond[worst] * matrix[worst] / norm[worst], 0.0, 1.0)
    u = _filled(start)
    for name, value in zip(names, low + z * width, strict=True):
        j = space.index[name]
        near = np.array(space.axes[j].nearest(float(value)))
        u[j] = _encoded(space, j, near[[np.abs(space.axes[j].values(near) - value).argmin()]])[0]
    point: Floats = space.snap(u[None])[0]
    return point


def _encoded(space: Space, j: int, plain: Floats) -> Floats:
    """The u (k,) of plain values (k,) of coordinate j."""
    x = np.full((len(plain), space.d), math.nan)
    x[:, j] = plain
    u: Floats = space.encoded.encode(x)[:, j]
    return u


def _descend(space: Space, start: Floats) -> Floats:
    """Coordinate descent on the total excess over levels, an even grid, and the points where a constraint is tight."""
    at, least = start, float(_excess(space, start[None])[0])
    for _ in range(_SWEEPS):
        before = least
        for j in range(space.d):
            if least == 0.0:
                return at
            levels = int(space.dims.levels[j])
            line = [(np.arange(levels) + 0.5) / levels if 0 < levels <= 64 else np.linspace(0.0, 1.0, 33)]
            values, constraints = _active_linear(space, at)
            for c in constraints:
                factor = c.terms.get(space.names[j])
                if factor is not None:
                    others = math.fsum(k * values[name] for name, k in c.terms.items() if name != space.names[j])
                    line.append(_encoded(space, j, np.array(space.axes[j].nearest((c.bound - others) / factor))))
            candidates = np.concatenate(line)
            trials = np.tile(_filled(at), (len(candidates), 1))
            trials[:, j] = candidates
            trials = space.snap(trials)
            excess = _excess(space, trials)
            pick = int(excess.argmin())
            if excess[pick] < least:
                at, least = trials[pick], float(excess[pick])
        if least == before:
            break
    return at


def _contradiction(space: Space) -> None:
    """A linear constraint that no point of the box can meet is told with its proof."""
    for constraint in space.constraints:
        if not isinstance(constraint, Linear) or any(space.parameters[name].when is not None for name in constraint.terms):
            continue
        lowest, bound = constraint.lowest(space.spans()), constraint.bound
        if lowest > bound + 1e-12 * (abs(lowest) + abs(bound)) or (constraint.strict and lowest >= bound):
            missed = f"within the bounds it is missed by at least {lowest - bound:g}"
            raise SpaceError(f"no configuration meets {constraint.text!r}: {missed}; loosen it or widen a bound")
