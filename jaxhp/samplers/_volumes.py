"""Which rows of a front dominate most together, and what each alone: hypervolumes counted on fixed points, for any number of objectives.

The exact measure of `jaxhp.pareto` would cost more than the rest of a suggestion. Here a row is the set of those of `POINTS` points of the
unit cube that it dominates, as bits: unions and what is new in a row are a few words' work. Sobol points make a volume's error about a
thousandth, in up to five or so objectives; beyond, a row dominates few of them or none, and what it alone has says little.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from jaxhp import _kernel
from jaxhp._types import Floats, Ints

Bits: TypeAlias = npt.NDArray[np.uint64]  # (n, POINTS / 64) the points that each row dominates
POINTS: Final = 1024
MARGIN: Final = 0.1  # of the range, between the worst of the rows and the reference


def dominated(y: Floats) -> Bits:
    """Of rows y (n, m): the points between their ideal and a reference beyond their worst that each dominates.

    >>> import numpy as np
    >>> count(dominated(np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]))).tolist()
    [1024, 93, 9]
    """
    low, high = y.min(axis=0), y.max(axis=0)
    room = (0.5 * high - 0.5 * low) * (1.0 + MARGIN)  # halves do not overflow
    z = np.where(room > 0.0, (0.5 * y - 0.5 * low) / np.where(room > 0.0, room, 1.0), 0.0)
    sorted_points, above = _tables(y.shape[1])
    bits: Bits = above[0, np.searchsorted(sorted_points[0], z[:, 0])]
    for j in range(1, y.shape[1]):
        bits &= above[j, np.searchsorted(sorted_points[j], z[:, j])]
    return bits


def count(bits: Bits) -> Ints:
    """(...) how many points the last axis has."""
    total: Ints = np.bitwise_count(bits).sum(axis=-1, dtype=np.int64)
    return total


def greedily(bits: Bits) -> Iterator[int]:
    """The rows in an order in which each adds the most to what those before it dominate, ties by place.

    The first k have at least 1 - 1/e of the volume of the best k (submodularity; Guerreiro, Fonseca & Paquete 2016).
    """
    new, left = bits.copy(), np.arange(len(bits))
    while len(left):
        at = int(count(new).argmax())
        yield int(left[at])
        new &= ~new[at]
        new, left = np.delete(new, at, axis=0), np.delete(left, at)


def alone(bits: Bits) -> Ints:
    """(n,) how many points each row dominates that no other one does."""
    once, twice = np.zeros_like(bits[0]), np.zeros_like(bits[0])
    for row in bits:
        twice |= once & row
        once |= row
    return count(bits & (once & ~twice))


@lru_cache(maxsize=4)
def _tables(m: int) -> tuple[Floats, Bits]:
    """Each objective's coordinates of the points (m, POINTS), rising; and (m, POINTS + 1, words) the points from the i-th of them on."""
    points = _kernel.sobol(0, np.arange(POINTS), m, True)
    order = points.argsort(axis=0, kind="stable").T
    above = np.zeros((m, POINTS + 1, POINTS // 8), np.uint8)
    for j in range(m):
        rank = np.empty(POINTS, np.int64)
        rank[order[j]] = np.arange(POINTS)
        above[j] = np.packbits(rank >= np.arange(POINTS + 1)[:, None], axis=1)
    return np.ascontiguousarray(np.take_along_axis(points.T, order, axis=1)), above.view(np.uint64)
