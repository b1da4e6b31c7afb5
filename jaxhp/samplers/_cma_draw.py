"""Points drawn from the search distribution, each named by (seed, number) and the distribution.

A space's coordinates are numeric (floats, integers, ordinals: one normal distribution, in u) or categorical (`_cma_categories.py`). All of
them are drawn for every point; what the conditions make inactive there is noise that selection averages out. Discrete ones are rounded by
`space.snap`. A point with a float outside its bounds is drawn again; the third draw is asked on the bounds and learned from where it was
drawn, so that the distribution goes on into a corner. One that breaks a constraint of the space is drawn up to 100 times, then mended
by `space.constrain`, which draws from the whole space.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from jaxhp import _kernel
from jaxhp._rng import purpose_key
from jaxhp._types import Bools, Floats, Ints, Kind
from jaxhp.samplers._cma_categories import Categories
from jaxhp.samplers._cma_margin import Cells, cells
from jaxhp.samplers._cma_update import Search
from jaxhp.space import Space

_ATTEMPTS: Final = 99  # the last attempt at a point that breaks a constraint; the first is 0
_PURPOSE: Final = "cma_es"
_U64: Final = (1 << 64) - 1


class Coordinates(NamedTuple):
    """Which dims are what, as the kernel reads them."""

    numeric: Ints  # (n,) dims of the normal distribution
    bounded: Bools  # (n,) the floats among them
    categorical: Ints  # (c,) dims with unordered levels
    levels: Ints  # (c,) numbers of categories


class Layout(NamedTuple):
    """The coordinates of a space."""

    space: Space
    coordinates: Coordinates
    cells: Cells  # the discrete ones among the numeric ones
    plain: bool  # floats alone, unconditional: u is what was drawn


class Points(NamedTuple):
    """k drawn points: `u` is asked, `x` and `chosen` are learned from."""

    u: Floats  # (k, d) canonical and feasible
    x: Floats  # (k, n) as drawn: floats may lie outside their bounds
    chosen: Ints  # (k, c) levels of the categories; -1 unknown
    mended: Bools  # (k,) not drawn from the distribution in the end


def layout(space: Space) -> Layout:
    """The coordinates of a space."""
    dims = space.dims
    categorical = np.flatnonzero(dims.kind == Kind.CATEGORICAL)
    numeric = np.flatnonzero(dims.kind != Kind.CATEGORICAL)
    bounded = dims.kind[numeric] <= Kind.FLOAT_LOG
    plain = bool(bounded.sum() == space.d and not (dims.parent >= 0).any())
    return Layout(space, Coordinates(numeric, bounded, categorical, dims.levels[categorical]), cells(dims, numeric), plain)


def draw(made: Layout, search: Search, A: Floats, categories: Categories, usual: Ints, seed: int, numbers: Ints) -> Points:
    """Points (k) for these numbers: row i depends on numbers[i] alone. Number 0 is the mean itself, with the `usual` (c,) categories."""
    space = made.space
    named = seed & _U64, purpose_key(_PURPOSE)
    v, x, chosen, attempts = _kernel.cma_draw(made.coordinates, search, A, categories.q, usual, *named, numbers, None)
    mended = np.zeros(len(numbers), np.bool_)
    if not space.constraints:
        return Points(v if made.plain else space.snap(v), x, chosen, mended)
    u = space.snap(v)
    while (rows := np.flatnonzero(~space.feasible(u) & (attempts < _ATTEMPTS))).size:
        again = _kernel.cma_draw(made.coordinates, search, A, categories.q, usual, *named, numbers[rows], attempts[rows] + 1)
        u[rows], x[rows], chosen[rows], attempts[rows] = space.snap(again[0]), *again[1:]
    bad = ~space.feasible(u)
    if bad.any():
        u = space.constrain(u, seed, numbers)
        x[bad], chosen[bad] = latent(made, search, A, u[bad])
    return Points(u, x, chosen, bad)


def latent(made: Layout, search: Search, A: Floats, u: Floats) -> tuple[Floats, Ints]:
    """x (k, n) and categories (k, c) of points u (k, d) that were not drawn; where inactive, the mean and -1."""
    v = u[:, made.coordinates.numeric]
    x = np.where(np.isnan(v), search.mean, search.mean + (v - search.mean) / A)
    level = u[:, made.coordinates.categorical] * made.coordinates.levels
    return x, np.where(np.isnan(level), -1, np.nan_to_num(level)).astype(np.int64)
