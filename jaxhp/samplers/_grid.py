"""Grid search, and the exhaustion of finite spaces: every cell once, in an order that is well spread wherever it stops.

The state is the set of visited configurations, from whatever source (this sampler, another worker, the user's queue),
so no cell runs twice and the order of the numbers does not matter. See `_cells.py` for the numbering and the order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxhp._arguments import is_whole, plain_arguments
from jaxhp._types import Floats, Ints, Kind, Problem, Sampler, Trials
from jaxhp.errors import SamplerError, SpaceError
from jaxhp.samplers._axes import encoded, encoded_value, every_level, is_categorical, nearest_levels
from jaxhp.samplers._cells import Walk, cells, check_size, infeasible, keys, offset
from jaxhp.space import Space

Levels = int | Mapping[str, int | Sequence[Any]]
EXHAUSTIBLE = 10**6  # configurations


class GridState(NamedTuple):
    walk: Walk
    visited: set[bytes]  # keys of every configuration asked so far; grows in place


@plain_arguments
def grid_search(levels: Levels = 5) -> Sampler:
    """Every combination of a few levels per parameter, each once, then nothing is left.

    Continuous parameters get `levels` values, equally spaced in u (so on a log scale where `log=True`), both ends among them; integers
    and ordinals at most as many as they have; categoricals all choices. The order is spread over the grid, so that an interrupted search
    has not seen a corner only; the seed moves its start.

    Args:
        levels: for all parameters; or per parameter a number or a list of values, `{"lr": 7, "width": [16, 32]}`, and 5 for the others.

    Raises:
        SamplerError: a number of levels below 2, an empty list.
        SpaceError: when the study starts: an unknown parameter, a value outside the space, more than 1e12 cells, or none that is feasible.

    >>> import jaxhp
    >>> space = jaxhp.Space({"lr": jaxhp.Float(1e-4, 1.0, log=True), "width": jaxhp.Int(16, 64)})
    >>> study = jaxhp.Study(space, sampler=jaxhp.grid_search({"lr": 5, "width": [16, 32]}))
    >>> len(study.ask(100)), sorted({trial["width"] for trial in study.running})
    (10, [16, 32])
    """
    name = f"grid_search(levels={dict(levels)!r})" if isinstance(levels, Mapping) else f"grid_search(levels={levels!r})"
    for count in levels.values() if isinstance(levels, Mapping) else (levels,):
        _check_levels(name, count, isinstance(levels, Mapping))

    def init(problem: Problem, seed: int) -> GridState:
        space = problem.space
        if isinstance(levels, Mapping):
            unknown = [n for n in levels if n not in space.names]
            if unknown:
                raise SpaceError(f"{name}: the space has no parameter {unknown[0]!r}; it has {', '.join(space.names)}")
        given = levels if isinstance(levels, Mapping) else dict.fromkeys(space.names, levels)
        axes = tuple(_axis(space, j, given.get(n, 5)) for j, n in enumerate(space.names))
        grid = cells(space, axes)
        check_size(grid.size, name, "give fewer levels, or values for some parameters and search the others with sobol()")
        walk = Walk(space, (grid,), offset(seed, 0, "grid_search"))
        if walk.done(set()):
            raise SpaceError(f"{name}: none of its {grid.size} cells {infeasible(space)}; give more levels, or use sobol()")
        return GridState(walk, set())

    return Sampler(init, _tell, _ask, name, finite=True)


def exhaust() -> Sampler:
    """Every configuration of a finite space once, the default one first.

    Raises:
        SpaceError: when the study starts: the space is continuous or has more than a million configurations.
    """

    def init(problem: Problem, seed: int) -> GridState:
        space = problem.space
        if space.size is None:
            endless = [n for n, kind in zip(space.names, space.dims.kind, strict=True) if kind <= Kind.FLOAT_LOG]
            raise SpaceError(f"exhaust(): {', '.join(endless)} can take any value; give a step, or use grid_search()")
        if space.size > EXHAUSTIBLE:
            raise SpaceError(f"exhaust(): the space has {space.size:.3g} configurations, more than {EXHAUSTIBLE:.0e}; use grid_search()")
        grid = cells(space, tuple(every_level(space, j) for j in range(space.d)))
        first = space.default()[None]
        return GridState(Walk(space, (grid,), offset(seed, 0, "exhaust"), first[space.feasible(first)]), set())

    return Sampler(init, _tell, _ask, "exhaust()", finite=True)


def _tell(state: GridState, trials: Trials) -> GridState:
    own = trials.number >= 0  # what another study ran is known there, not here
    state.visited.update(keys(trials.u if own.all() else trials.u[own]))
    return state


def _ask(state: GridState, numbers: Ints) -> Floats:
    return state.walk.ahead(len(numbers), state.visited)


def _check_levels(name: str, count: Any, listed: bool) -> None:
    if listed and isinstance(count, Sequence) and not isinstance(count, str):
        if not count:
            raise SamplerError(f"{name}: an empty list of values; leave the parameter out, or give values")
    elif not is_whole(count) or count < 2:
        raise SamplerError(f"{name}: levels: expected a number of at least 2{' or a list of values' if listed else ''}, got {count!r}")


def _axis(space: Space, j: int, levels: int | Sequence[Any]) -> Floats:
    """The levels (u) of dim j."""
    if not isinstance(levels, int):
        return np.unique([encoded_value(space, j, value) for value in levels])
    if is_categorical(space, j):
        return every_level(space, j)
    count = int(space.dims.levels[j])
    if count and count <= levels:
        return every_level(space, j)
    if not count:
        return np.linspace(0.0, 1.0, levels)
    return _spread_levels(space, j, count, levels)


def _spread_levels(space: Space, j: int, count: int, k: int) -> Floats:
    """The u of k of the `count` levels of dim j, evenly spread in u as far as the levels allow, both ends among them."""
    low, high = encoded(space, j, np.array([0.0, count - 1.0]))
    step = np.arange(k)
    level = nearest_levels(space, j, np.linspace(low, high, k)).astype(np.int64)
    level = np.maximum.accumulate(level - step) + step  # distinct: a level that is taken passes its claim to the next,
    level = np.minimum(level, count - k + step)  # and the last ones make room
    return encoded(space, j, level.astype(np.float64))
