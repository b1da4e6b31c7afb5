"""The distinct configurations of a grid, numbered, and walked in a spread order without being listed.

A grid gives every dim some levels. Conditions make the dims a forest: a level of a parent activates some of its
children. Below level i of dim j lie W(j, i) = prod over its active children c of T(c) configurations, T(j) = sum_i W(j, i),
and the grid has prod over the roots of T cells. Reading a cell's number as mixed-radix digits down the forest gives its
levels, so a grid of 1e12 cells costs nothing until it is walked, and no inactive coordinate makes a cell appear twice.

A `Walk` visits cell (b + i a) mod N at step i, with a coprime to N and near N / golden ratio: every prefix of the walk is
spread over the grid, and after N steps each cell was met once. Of 16 such a it takes the one whose first cells share the
fewest levels. Against the nearest one alone: 60 cells of 10^3 show 51 instead of 25 of the 100 pairs of levels of the worst two axes.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

import numpy as np

from jaxhp._rng import uniform
from jaxhp._types import Bools, Floats, Ints
from jaxhp.errors import SpaceError
from jaxhp.space import Space

MOST_CELLS = 10**12
_BLOCKS = (64, 1 << 16)  # cells made at once: few for the first ask, many for a long search
_KEY_SCALE, _KEY_SHIFT = 1e9, 1 / math.pi  # no simple fraction lies at a border k - 1/pi between two keys


class Cells(NamedTuple):
    """A grid over a space."""

    axes: tuple[Floats, ...]  # per dim: u of its levels, canonical
    first: tuple[tuple[int, ...], ...]  # per dim: cells of its subtree before each level, and T last
    active: tuple[Bools, ...]  # per dim: (levels of its parent's axis,); empty for a root
    children: tuple[tuple[int, ...], ...]  # per dim
    roots: tuple[int, ...]
    size: int


def cells(space: Space, axes: tuple[Floats, ...]) -> Cells:
    """The grid with these levels (u) per dim."""
    dims = space.dims
    parent = dims.parent.tolist()
    children = tuple(tuple(c for c in range(space.d) if parent[c] == j) for j in range(space.d))
    active = tuple(
        np.zeros(0, np.bool_) if p < 0 else dims.allowed[j, _level_of(axes[p], int(dims.levels[p]))] for j, p in enumerate(parent)
    )
    first: list[tuple[int, ...]] = [()] * space.d
    for j in reversed(range(space.d)):  # children come after their parent
        below = [math.prod(first[c][-1] for c in children[j] if active[c][i]) for i in range(len(axes[j]))]
        first[j] = (0, *_running_sum(below))
    roots = tuple(j for j in range(space.d) if parent[j] < 0)
    return Cells(axes, tuple(first), active, children, roots, math.prod(first[j][-1] for j in roots))


def points(grid: Cells, index: Ints) -> Floats:
    """(n, d) raw u of cells by number."""
    n, d = len(index), len(grid.axes)
    u = np.full((n, d), np.nan)
    below = np.full((d, n), -1, dtype=np.int64)  # number within the dim's subtree, -1 where inactive
    rest = index
    for root in grid.roots:
        rest, below[root] = np.divmod(rest, grid.first[root][-1])
    for j, axis in enumerate(grid.axes):
        (on,) = np.nonzero(below[j] >= 0)
        first = np.array(grid.first[j], dtype=np.int64)
        level = np.searchsorted(first, below[j, on], side="right") - 1
        u[on, j] = axis[level]
        rest = below[j, on] - first[level]
        for c in grid.children[j]:
            has = grid.active[c][level]
            below[c, on[has]] = rest[has] % grid.first[c][-1]
            rest = np.where(has, rest // grid.first[c][-1], rest)
    return u


class Walk:
    """The feasible cells of one or more grids in a spread order, made a block at a time.

    What is ahead is a cache of a pure function of (space, grids, seed): walking changes how much of it is known, not what it is.
    """

    __slots__ = ("_ahead", "_at", "_block", "_grids", "_left", "_space", "_starts", "_step", "size")

    def __init__(self, space: Space, grids: tuple[Cells, ...], offset: float, first: Floats | None = None) -> None:
        """`offset` in [0, 1) is where the walk starts; `first` (k, d) are feasible points that it meets before."""
        self._space = space
        self._grids = grids
        self._starts = [0, *_running_sum([g.size for g in grids])]
        self.size = self._starts[-1]
        self._at = int(offset * self.size) % max(self.size, 1)
        self._step = self._spread_step()
        self._left = self.size
        self._block = _BLOCKS[0]
        self._ahead: deque[tuple[bytes, Floats]] = deque()
        if first is not None:
            self._ahead.extend(zip(keys(first), first, strict=True))

    def ahead(self, k: int, visited: set[bytes]) -> Floats:
        """(k', d) the next k cells that are not visited; k' < k when there are no more."""
        found: dict[bytes, Floats] = {}
        position = 0
        while len(found) < k:
            if position == len(self._ahead):
                if not self._make():
                    break
                continue
            key, u = self._ahead[position]
            if key not in visited:
                found.setdefault(key, u)  # two grids may share a point
                position += 1
            elif position:
                position += 1
            else:
                self._ahead.popleft()
        return np.array(list(found.values())).reshape(len(found), self._space.d)

    def done(self, visited: set[bytes]) -> bool:
        """Whether every cell is visited."""
        while True:
            while self._ahead:
                if self._ahead[0][0] not in visited:
                    return False
                self._ahead.popleft()
            if not self._make():
                return True

    def _make(self) -> bool:
        """Adds a block of cells to those ahead; False when none are left."""
        if not self._left:
            return False
        n = min(self._block, self._left)
        index = (self._at + self._step * np.arange(n, dtype=np.int64)) % self.size  # below 2^16 * 1e12 < 2^63
        self._at = (self._at + self._step * n) % self.size
        self._left -= n
        self._block = min(2 * self._block, _BLOCKS[1])
        u = self._space.snap(self._points(index))
        if self._space.constraints:
            u = np.ascontiguousarray(u[self._space.feasible(u)])
        self._ahead.extend(zip(keys(u), u, strict=True))
        return True

    def _points(self, index: Ints) -> Floats:
        """(n, d) raw u of cells by their number over all grids."""
        u = np.empty((len(index), self._space.d))
        which = np.searchsorted(self._starts, index, side="right") - 1
        for g, grid in enumerate(self._grids):
            mine = which == g
            u[mine] = points(grid, index[mine] - self._starts[g])
        return u

    def _spread_step(self) -> int:
        """The a of the walk."""
        steps = _coprimes_near(self.size, self.size * (math.sqrt(5) - 1) / 2, 16)
        start = np.arange(min(self.size, 64), dtype=np.int64)

        def shared(step: int) -> float:
            u = self._points(start * step % self.size)
            same = np.sum(u[:, None] == u[None], axis=2) ** 2
            return float(sum(same[:n, :n].mean() for n in (16, 32, 64)))

        return min(steps, key=shared)


def offset(seed: int, number: int, purpose: str) -> float:
    """Where a walk starts."""
    return float(uniform(seed, np.array([number], dtype=np.int64), purpose, 1)[0, 0])


def keys(u: Floats) -> list[bytes]:
    """One hashable per row; equal for points that agree to about 1e-9, so that a value that a user typed finds its cell."""
    whole = np.floor(np.where(np.isnan(u), -1.0, u) * _KEY_SCALE + _KEY_SHIFT).astype(np.int64)
    raw, width = whole.tobytes(), 8 * u.shape[1]
    return [raw[i : i + width] for i in range(0, len(raw), width)]


class Seen:
    """The configurations that were asked, of which a second answer teaches nothing: none is new, until all of the space were asked."""

    def __init__(self, *, stochastic: bool, size: float | None) -> None:
        self._stochastic = stochastic  # a second answer of any is welcome
        self._size = size  # configurations there are, after which each is new again; None: none ever is
        self._keys: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, u: Floats) -> None:
        """Points (n, d) were asked."""
        self._keys.update(keys(u))

    def is_new(self, key: bytes, taken: set[bytes]) -> bool:
        """Whether a point of this key may be asked beside those taken."""
        return self._stochastic or len(self._keys) == self._size or (key not in self._keys and key not in taken)


def check_size(size: int, name: str, remedy: str) -> None:
    """Refuses a grid that nobody can finish."""
    if size > MOST_CELLS:
        raise SpaceError(f"{name} has {size:.3g} cells in this space, more than the {MOST_CELLS:.0e} that can be numbered; {remedy}")


def infeasible(space: Space) -> str:
    """The end of the sentence that tells that no cell can be asked."""
    return f"is feasible under {', '.join(map(str, space.constraints))}"


def _level_of(axis: Floats, levels: int) -> Ints:
    """The level of each u of a parent, which is of a kind with equally wide cells."""
    return np.minimum((axis * levels).astype(np.int64), levels - 1)


def _running_sum(values: list[int]) -> list[int]:
    total, sums = 0, []
    for value in values:
        total += value
        sums.append(total)
    return sums


def _coprimes_near(size: int, middle: float, k: int) -> list[int]:
    """Up to k numbers in 1..size coprime to `size`, nearest to `middle` first."""
    near = sorted(range(max(1, int(middle) - 64 * k), min(size, int(middle) + 64 * k) + 1), key=lambda a: abs(a - middle))
    return [a for a in near if math.gcd(a, size) == 1][:k]
