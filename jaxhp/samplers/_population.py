"""The population of NSGA-II: told results, thinned by rank and crowding whenever a brood of them has come.

Deb, Pratap, Agarwal & Meyarivan, IEEE TEC 6(2), 2002, section III: of members and brood together the first `size` stay, by front and
within the last front by crowding distance. Constrained domination (section VI): a feasible row is before every infeasible one, and
these are ordered by the sum of their violations, each in units of the largest one that was told.
"""

from __future__ import annotations

import numpy as np

from jaxhp import pareto
from jaxhp._types import Floats, Ints


class Population:
    """The members, and behind them the rows of the brood that is coming in. Linear: grows in place."""

    def __init__(self, size: int, brood: int, d: int, objectives: int, constraints: int) -> None:
        self.size = size
        self.version = 0  # of the members
        rows = size + brood
        self._n = 0  # rows in use
        self._number = np.zeros(rows, np.int64)
        self.u = np.empty((rows, d))
        self._y = np.empty((rows, objectives))
        self._over = np.empty((rows, constraints))  # by how much each constraint is broken
        self._most = np.zeros(constraints)  # the largest of `_over` that was ever told
        self._rank: Ints | None = None  # (members,) once they are known
        self._crowding: Floats | None = None

    @property
    def members(self) -> int:
        """How many rows of `u` are those of members: all that were told, until there are `size`."""
        return min(self._n, self.size)

    def tell(self, number: int, u: Floats, y: Floats, over: Floats) -> None:
        """A result; it replaces what was told of its number before."""
        self.leave(number)
        if len(over):
            self._most = np.maximum(self._most, over)
        n = self._n
        self._number[n], self.u[n], self._y[n], self._over[n] = number, u, y, over
        self._n += 1
        if n < self.size:
            self._changed()
        elif self._n == len(self._number):
            rank = self._ranks(self._n)
            crowding = pareto.crowding(self._y, rank)
            stay = np.sort(np.lexsort((-crowding, rank))[: self.size])  # of equals those that came first
            self._keep(stay)
            self._rank, self._crowding = rank[stay], crowding[stay]

    def leave(self, number: int) -> None:
        """What was told of this number, if anything, does not count any more."""
        same = self._number[: self._n] == number
        if same.any():
            self._keep(np.flatnonzero(~same))

    def winners(self, first: Ints, second: Ints) -> Ints:
        """(k,) of each pair of members the one of lower rank, then the less crowded one, then the first."""
        if self._rank is None:
            self._rank = self._ranks(self.members)
        if self._crowding is None:
            self._crowding = pareto.crowding(self._y[: self.members], self._rank)
        a, b = self._rank[first], self._rank[second]
        return np.where((b < a) | ((b == a) & (self._crowding[second] > self._crowding[first])), second, first)

    def _ranks(self, n: int) -> Ints:
        if not len(self._most):
            return pareto.ranks(self._y[:n])
        unit = np.where(self._most > 0.0, self._most, 1.0)
        return pareto.ranks(self._y[:n], (self._over[:n] / unit).sum(axis=1))

    def _keep(self, rows: Ints) -> None:
        for column in (self._number, self.u, self._y, self._over):
            column[: len(rows)] = column[rows]
        self._n = len(rows)
        self._changed()

    def _changed(self) -> None:
        self.version += 1
        self._rank = self._crowding = None
