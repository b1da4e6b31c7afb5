"""Which told trials are better and which worse, per outcome: what densities are estimated of.

One objective: the best `count(n)` of n results. Several: by non-dominated front, and in a front by crowding (Ozaki et al., Multiobjective
tree-structured Parzen estimator, JAIR 73, 2022, breaks that tie by hypervolume). With constraints, as in c-TPE (Watanabe & Hutter, IJCAI
2023): the objectives' better ones are the shortest head of that order that holds so many feasible trials (all told ones that are as good,
feasible or not), and each constraint has better ones of its own, those that meet it, or where none does the one that comes closest.

A failed trial is worse in everything. A trial that a scheduler paused or stopped counts with its value brought to the end of a run
(`_fidelity.py`) where there is one metric, and as it stands otherwise.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable
from heapq import nsmallest
from typing import NamedTuple, Protocol

import numpy as np

from jaxhp._types import Bools, Floats, Ints, Outcome, Status
from jaxhp.pareto import crowding, ranks
from jaxhp.samplers._fidelity import END, Fidelity

Count = Callable[[int], int]


class Split(NamedTuple):
    """Rows are numbered by the sampler."""

    better: Ints  # (k,) rows, the best first
    values: list[float] | None  # (k + 1,) of one objective: theirs, and that of the best worse row; None of several objectives
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
        self._row: dict[int, int] = {}  # row -> where its y is
        self._y = np.empty((64, len(outcomes)))
        self._told: tuple[int, Split] | None = None

    @property
    def n(self) -> int:
        return len(self._row)

    def tell(self, row: int, number: int, status: int, step: float, y: Floats) -> None:
        if status == Status.REPORTED:
            return
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
        order = _order(objectives, failed, rows)
        enough = np.flatnonzero(feasible[order].cumsum() == k)
        length = int(enough[0]) + 1 if len(enough) else max(k, int(np.flatnonzero(feasible[order]).max(initial=-1)) + 1)
        better = order[:length]
        better = better[~failed[better]]
        met = []
        for column in excess.T:
            meets = column <= 0.0
            if not meets.any() and not failed.all():
                meets[np.nanargmin(column)] = True
            if meets.any() and not meets.all():
                met.append((rows[meets], rows[~meets]))
        values: list[float] | None = None
        if objectives.shape[1] == 1:
            values = objectives[order[: len(better) + 1], 0].tolist()
        return Split(rows[better], values, tuple(met))


def _order(y: Floats, failed: Bools, rows: Ints) -> Ints:
    """Places of the rows of y (n, m), the best first, failed ones last, ties by row."""
    if y.shape[1] == 1:
        return np.lexsort((rows, y[:, 0], failed))
    front = ranks(y)
    done = np.flatnonzero(~failed)
    spread = np.zeros(len(y))
    spread[done] = crowding(y[done], front[done])
    return np.lexsort((rows, -spread, front, failed))
