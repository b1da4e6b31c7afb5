"""Which told trials are better and which worse, per outcome: what densities are estimated of.

One objective: the best `count(n)` of n results. Several (Ozaki et al., Multiobjective tree-structured Parzen estimator, JAIR 73, 2022):
front by front, and of the last one those rows that together dominate most, chosen greedily (`_volumes.py`). With constraints, as in c-TPE
(Watanabe & Hutter, IJCAI 2023): the objectives' better ones are the shortest head of that order that holds so many feasible trials (all
told ones that are as good, feasible or not), and each constraint has better ones of its own, those that meet it, or where none does the
one that comes closest.

A failed trial is worse in everything. A trial that a scheduler paused or stopped counts with its value brought to the end of a run
(`_fidelity.py`) where there is one metric, and as it stands otherwise.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable
from heapq import nsmallest
from typing import Final, NamedTuple, Protocol

import numpy as np

from jaxhp._types import Bools, Floats, Ints, Outcome, Status
from jaxhp.pareto import crowding, dominates, ranks
from jaxhp.samplers._fidelity import END, Fidelity
from jaxhp.samplers._volumes import alone, dominated, greedily

MOST_BETTER: Final = 25  # that are ever counted
_BLOCK: Final = 512  # rows that are compared with all others at once

Count = Callable[[int], int]


class Split(NamedTuple):
    """Rows are numbered by the sampler."""

    better: Ints  # (k,) rows, the best first
    values: list[float]  # of one objective: theirs, and that of the best worse row; of several: minus what each alone dominates, and 0
    met: tuple[tuple[Ints, Ints], ...] = ()  # per constraint that tells trials apart: rows that meet it, and that do not


class Results(Protocol):
    """What was told. Linear: grows in place."""

    @property
    def n(self) -> int:
        """How many rows have a result."""
        ...

    def tell(self, row: int, number: int, status: int, step: float, y: Floats) -> None:
        """Takes in an event that is not pending: y (m,), minimised."""
        ...

    def split(self, count: Count) -> Split:
        """The better rows, `count(n)` of them where so many succeeded."""
        ...


class OneMetric:
    """Results of one objective, kept in order."""

    def __init__(self) -> None:
        self._fidelity = Fidelity()
        self._value: dict[int, float] = {}  # row -> value at its end; infinity where it failed
        self._order: list[tuple[float, int]] = []  # of those, rising
        self._short: dict[int, tuple[float, float]] = {}  # row -> value and step, of those that were ended before

    @property
    def n(self) -> int:
        return len(self._value) + len(self._short)

    def tell(self, row: int, number: int, status: int, step: float, y: Floats) -> None:
        value = float(y[0])
        stands = self._fidelity.tell(number, status, step, value)
        if status == Status.REPORTED:
            return
        self._short.pop(row, None)
        if row in self._value:
            old = self._value.pop(row)
            del self._order[bisect_left(self._order, (old, row))]
        if status == Status.FAILED or not math.isfinite(value):
            value = math.inf
        elif stands < END:
            self._short[row] = value, stands
            return
        self._value[row] = value
        insort(self._order, (value, row))

    def split(self, count: Count) -> Split:
        k = min(count(self.n), self.n)
        best = self._order[: k + 1]
        if self._short:
            brought = ((value + self._fidelity.brought(step)[0], row) for row, (value, step) in self._short.items())
            best = nsmallest(k + 1, [*best, *((value if value == value else math.inf, row) for value, row in brought)])
        better = [row for value, row in best[:k] if value < math.inf]
        values = [value for value, _ in best]
        return Split(np.array(better, dtype=np.int64), values[: len(better) + 1])


class SeveralMetrics:
    """Results of several objectives, or of constraints beside them."""

    def __init__(self, outcomes: tuple[Outcome, ...]) -> None:
        self._objective = np.array([o.threshold is None for o in outcomes])
        self._bound = np.array([o.sign * o.threshold for o in outcomes if o.threshold is not None])
        self._row: dict[int, int] = {}  # row -> its place: where its y is
        self._y = np.empty((64, len(outcomes)))
        self._told: tuple[int, Split] | None = None
        self._open = Contenders()

    @property
    def n(self) -> int:
        return len(self._row)

    def tell(self, row: int, number: int, status: int, step: float, y: Floats) -> None:
        if status == Status.REPORTED:
            return
        if row in self._row:
            self._open = Contenders()  # they are counted anew
        at = self._row.setdefault(row, len(self._row))
        if at == len(self._y):
            self._y = np.concatenate([self._y, np.empty_like(self._y)])
        self._y[at] = y if status != Status.FAILED and np.isfinite(y).all() else np.nan
        self._told = None

    def split(self, count: Count) -> Split:
        k = count(self.n)
        if self._told is None or self._told[0] != k:
            self._told = k, self._split(k)
        return self._told[1]

    def _split(self, k: int) -> Split:
        rows = np.fromiter(self._row, np.int64, self.n)
        y = self._y[: self.n]
        objectives = np.ascontiguousarray(y[:, self._objective])
        failed: Bools = np.logical_or.reduce(np.isnan(y), axis=1)
        excess = y[:, ~self._objective] - self._bound  # (n, constraints), NaN where failed
        feasible = ~failed & (excess <= 0.0).all(axis=1)
        met = []
        for column in excess.T:
            meets = column <= 0.0
            if not meets.any() and not failed.all():
                meets[np.nanargmin(column)] = True
            if meets.any() and not meets.all():
                met.append((rows[meets], rows[~meets]))
        if objectives.shape[1] == 1:
            order = np.lexsort((rows, objectives[:, 0], failed))
            better = order[: _head(feasible[order], k)]
            better = better[~failed[better]]
            return Split(rows[better], objectives[order[: len(better) + 1], 0].tolist(), tuple(met))
        if len(self._bound):
            places = np.flatnonzero(~failed)
            front = ranks(objectives[places])
        else:
            places, front = self._open.fronts(objectives, k)
        better, volume = _most_dominating(objectives[places], front, feasible[places], k)
        return Split(rows[places[better]], [*(-volume).tolist(), 0.0], tuple(met))


class Contenders:
    """The rows that fewer than `MOST_BETTER` others dominate: all rows that better ones are made of, now or later. Linear: grows in place.

    A row that is left out has `MOST_BETTER` dominators that are in, so that what remains is counted exactly without it.
    """

    def __init__(self) -> None:
        self._places = np.empty(0, np.int64)
        self._above = np.empty(0, np.int64)  # how many rows dominate each
        self._counted = 0

    def fronts(self, y: Floats, k: int) -> tuple[Ints, Ints]:
        """Places of rows of y (n, m), and their fronts as far as k rows need them. NaN: failed. Rows that were there are as they were."""
        while self._counted < len(y):
            new = np.arange(self._counted, min(self._counted + _BLOCK, len(y)))
            self._counted += len(new)
            self._add(y, new[~np.isnan(y[new]).any(axis=1)])
        first = self._above == 0
        front = np.where(first, 0, 1) if np.count_nonzero(first) >= k else ranks(y[self._places])
        return self._places, front

    def _add(self, y: Floats, new: Ints) -> None:
        places = np.concatenate([self._places, new])
        above = np.concatenate([self._above, dominates(y[self._places], y[new]).sum(axis=0)])
        above += dominates(y[new], y[places]).sum(axis=0)
        kept = above < MOST_BETTER
        self._places, self._above = places[kept], above[kept]


def _head(feasible: Bools, k: int) -> int:
    """The length of the shortest head of at least k rows that holds k feasible ones, or all that there are."""
    enough = np.flatnonzero(feasible.cumsum() == k)
    return int(enough[0]) + 1 if len(enough) else max(k, int(np.flatnonzero(feasible).max(initial=-1)) + 1)


def _most_dominating(y: Floats, front: Ints, feasible: Bools, k: int) -> tuple[Ints, Ints]:
    """The better rows of y (n, m), and how many points each alone dominates, the most first.

    Fronts are taken whole while k feasible rows, or all, are not had; then rows of the next one, each that which adds most. Of equal
    additions that which stands most alone is first.
    """
    least, wanted = min(k, len(y)), min(k, int(np.count_nonzero(feasible)))
    whole = 0
    while np.count_nonzero(front < whole + 1) < least or np.count_nonzero(feasible[front < whole + 1]) < wanted:
        whole += 1
    last = np.flatnonzero(front == whole)
    last = last[np.argsort(-crowding(y[last]), kind="stable")]
    taken = np.flatnonzero(front < whole)
    if not least:
        return taken, taken
    rows = np.concatenate([taken, last])
    bits = dominated(y[rows])
    chosen = list(range(len(taken)))
    found = int(np.count_nonzero(feasible[taken]))
    for at in greedily(bits[len(taken) :]):
        if len(chosen) >= least and found >= wanted:
            break
        chosen.append(len(taken) + at)
        found += int(feasible[last[at]])
    volume = alone(bits[chosen])
    order = np.argsort(-volume, kind="stable")
    return rows[chosen][order], volume[order]
