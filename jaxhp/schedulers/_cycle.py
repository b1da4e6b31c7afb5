"""The brackets of a study, and which trial belongs to which: it is told by the trial's number alone, so nothing is drawn and nothing kept.

A cycle has brackets j = 0, 1, ... of n_j trials, N in all, and is run over and over. Trial t takes place p = t g mod N of its cycle;
bracket j has the places [n_0 + ... + n_{j-1}, n_0 + ... + n_j). With the stride g = 1 a bracket's trials have consecutive numbers.
With g prime to N and near N / golden ratio the brackets are mixed: each cycle still has n_j trials of bracket j, and any run
of trials has about its share of each (Kronecker's sequence in whole numbers).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import NamedTuple

from jaxhp.schedulers._rungs import Ladder


class Cycle(NamedTuple):
    """Brackets that are run over and over."""

    ladders: tuple[Ladder, ...]  # of each bracket; all end at the same step
    sizes: tuple[int, ...]  # n_j
    starts: tuple[int, ...]  # the first place of bracket j
    total: int  # N
    stride: int  # g

    def of(self, number: int) -> tuple[int, int]:
        """(cycle, bracket) of a trial."""
        return number // self.total, bisect_right(self.starts, number * self.stride % self.total) - 1

    def ladder(self, number: int) -> Ladder:
        """The rungs of a trial."""
        return self.ladders[self.of(number)[1]]


def cycle(ladders: tuple[Ladder, ...], sizes: tuple[int, ...], mixed: bool = False) -> Cycle:
    """A cycle of brackets, one after the other or mixed.

    >>> rungs = Ladder((1, 3), 1, 3)
    >>> [cycle((rungs, rungs), (3, 2)).of(number) for number in range(6)]
    [(0, 0), (0, 0), (0, 0), (0, 1), (0, 1), (1, 0)]
    >>> [cycle((rungs, rungs), (3, 2), mixed=True).of(number) for number in range(6)]
    [(0, 0), (0, 1), (0, 0), (0, 1), (0, 0), (1, 0)]
    """
    starts = tuple(sum(sizes[:j]) for j in range(len(sizes)))
    total = sum(sizes)
    stride = 1
    if mixed:
        stride = max(1, round(total * (math.sqrt(5) - 1) / 2))
        while math.gcd(stride, total) > 1:
            stride += 1
    return Cycle(ladders, sizes, starts, total, stride)
