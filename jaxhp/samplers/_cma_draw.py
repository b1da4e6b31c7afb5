"""Points drawn from the search distribution, each named by (seed, number) and the distribution.

A space's coordinates are numeric (floats, integers, ordinals: one normal distribution, in u) or categorical (`_cma_categories.py`). All of
them are drawn for every point; what the conditions make inactive there is noise that selection averages out. Discrete ones are rounded by
`space.snap`. A point with a float outside its bounds is drawn again; the third draw is put on the bounds, which finds minima there. One
that breaks a constraint of the space is drawn up to 100 times, then mended by `space.constrain`, which draws from the whole space.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from jaxhp import _kernel
from jaxhp._rng import uniform
from jaxhp._types import Bools, Floats, Ints, Kind
from jaxhp.samplers._cma_categories import Categories, drawn
from jaxhp.samplers._cma_margin import Cells, cells
from jaxhp.samplers._cma_update import Search
from jaxhp.space import Space

_ATTEMPTS: Final = 100  # draws of a point that breaks a constraint
_WITHIN: Final = 3  # the draw from which on floats are put on their bounds
_PURPOSE: Final = "cma_es"
_HALF: Final = 2.0**-54  # moves uniforms from [0, 1) into (0, 1)


class Layout(NamedTuple):
    """Which coordinates of a space are what."""

    space: Space
    numeric: Ints  # (n,) dims of the normal distribution
    categorical: Ints  # (c,) dims with unordered levels
    bounded: Ints  # (f,) the floats among the numeric ones
    cells: Cells  # the discrete ones among them
    floats: Ints  # (f,) dims of those
    levels: Ints  # (c,) numbers of categories
    plain: bool  # floats alone, unconditional: u is what was drawn


class Points(NamedTuple):
    """k drawn points: `u` is asked, `x` and `chosen` are learned from."""

    u: Floats  # (k, d) canonical and feasible
    x: Floats  # (k, n)
    chosen: Ints  # (k, c) levels of the categories; -1 unknown
    mended: Bools  # (k,) not drawn from the distribution in the end


def layout(space: Space) -> Layout:
    """The coordinates of a space."""
    dims = space.dims
    categorical = np.flatnonzero(dims.kind == Kind.CATEGORICAL)
    numeric = np.flatnonzero(dims.kind != Kind.CATEGORICAL)
    bounded = np.flatnonzero(dims.kind[numeric] <= Kind.FLOAT_LOG)
    plain = len(bounded) == space.d and not (dims.parent >= 0).any()
    return Layout(space, numeric, categorical, bounded, cells(dims, numeric), numeric[bounded], dims.levels[categorical], plain)


def draw(made: Layout, search: Search, A: Floats, categories: Categories, usual: Ints, seed: int, numbers: Ints) -> Points:
    """Points (k) for these numbers: row i depends on numbers[i] alone. Number 0 is the mean itself, with the `usual` (c,) categories."""
    v, x, chosen = _attempt(made, search, A, categories, seed, numbers, 0)
    first = numbers == 0
    if first.any():
        v[first], x[first], chosen[first] = _point(made, search.mean, usual), search.mean, usual
    bad = _refused(made, v)
    for attempt in range(1, _ATTEMPTS):
        if not bad.any():
            break
        rows = np.flatnonzero(bad)
        again = _attempt(made, search, A, categories, seed, numbers[rows], attempt)
        v[rows], x[rows], chosen[rows] = again
        bad[rows] = _refused(made, again[0])
    u = v.copy() if made.plain else made.space.snap(v)  # the caller's own
    if bad.any():
        u = made.space.constrain(u, seed, numbers)
        x[bad], chosen[bad] = latent(made, search, A, u[bad])
    return Points(u, x, chosen, bad)


def latent(made: Layout, search: Search, A: Floats, u: Floats) -> tuple[Floats, Ints]:
    """x (k, n) and categories (k, c) of points u (k, d) that were not drawn; where inactive, the mean and -1."""
    v = u[:, made.numeric]
    x = np.where(np.isnan(v), search.mean, search.mean + (v - search.mean) / A)
    level = u[:, made.categorical] * made.levels
    return x, np.where(np.isnan(level), -1, np.nan_to_num(level)).astype(np.int64)


def _attempt(
    made: Layout, search: Search, A: Floats, categories: Categories, seed: int, numbers: Ints, attempt: int
) -> tuple[Floats, Floats, Ints]:
    """v (k, d), which may lie outside the bounds, x (k, n) and the categories (k, c) of one draw."""
    k, n, d = len(numbers), len(made.numeric), made.space.d
    uniforms = uniform(seed, numbers, _PURPOSE, d, attempt)
    normal = uniforms if n == d else uniforms[:, made.numeric]
    z = _kernel.ppf((normal + _HALF).ravel()).reshape(k, n)
    z *= search.D
    # row by row, so that a point does not depend on how many are drawn at once
    y = np.matmul(search.B, z[:, :, None])[:, :, 0] if len(search.B) else z
    x = search.mean + search.sigma * y
    if attempt + 1 >= _WITHIN:
        x[:, made.bounded] = np.clip(x[:, made.bounded], 0.0, 1.0)
    stretched = x
    if not made.plain:
        stretched = search.mean + A * (x - search.mean)
        stretched[:, made.bounded] = x[:, made.bounded]  # A is 1 there, and the bounds are exact
    if n == d:
        return stretched, x, np.empty((k, 0), np.int64)
    chosen = drawn(categories, uniforms[:, made.categorical])
    return _point(made, stretched, chosen), x, chosen


def _point(made: Layout, numeric: Floats, chosen: Ints) -> Floats:
    """Numbers (..., n) and categories (..., c) in one array (..., d)."""
    v = np.empty((*numeric.shape[:-1], made.space.d))
    v[..., made.numeric] = numeric
    v[..., made.categorical] = (chosen + 0.5) / made.levels
    return v


def _refused(made: Layout, v: Floats) -> Bools:
    """(k,) points to be drawn again: a float outside its bounds, or a constraint broken."""
    floats = v if made.plain else v[:, made.floats]
    bad: Bools = np.any(np.abs(floats - 0.5) > 0.5, axis=1)
    if made.space.constraints and not bad.all():
        inside = np.flatnonzero(~bad)
        bad[inside] = ~made.space.feasible(made.space.snap(v[inside]))
    return bad
