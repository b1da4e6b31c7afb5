"""A growing `Trials` table: what has been told to the sampler, in order. Views are handed out, rows are never changed."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxhp._types import Floats, Trials

UNKNOWN = float("nan")  # this very object: a cell that is not written


class Rows:
    """Amortised appends; `view(a, b)` borrows rows a..b without a copy. `table` may hold more than the `n` rows that count."""

    __slots__ = ("n", "table")

    def __init__(self, d: int, m: int, capacity: int = 64) -> None:
        self.n = 0
        self.table = _empty(capacity, d, m)

    def append(
        self,
        number: int,
        u: Floats,  # (d,)
        status: int,
        y: float | list[float] = UNKNOWN,  # m values, or one for all
        noise: float | list[float] = UNKNOWN,
        fidelity: float = UNKNOWN,
        cost: float = UNKNOWN,
        replicate: int = 0,
        gradient: float | Floats = UNKNOWN,  # (d,)
    ) -> int:
        """Adds a row and returns its index."""
        i = self.n
        if i == len(self.table.number):
            self._grow()
        t = self.table
        t.number[i] = number
        t.u[i] = u
        t.status[i] = status
        if y is not UNKNOWN:  # a spare row holds what is not given
            t.y[i] = y
        if noise is not UNKNOWN:
            t.noise[i] = noise
        if fidelity is not UNKNOWN:
            t.fidelity[i] = fidelity
        if replicate:
            t.replicate[i] = replicate
        if cost is not UNKNOWN:
            t.cost[i] = cost
        if gradient is not UNKNOWN:
            t.gradient[i] = gradient
        self.n = i + 1
        return i

    def view(self, start: int, stop: int) -> Trials:
        """Rows start..stop, borrowed."""
        t = self.table
        return Trials(
            t.number[start:stop],
            t.u[start:stop],
            t.y[start:stop],
            t.noise[start:stop],
            t.status[start:stop],
            t.fidelity[start:stop],
            t.replicate[start:stop],
            t.cost[start:stop],
            t.gradient[start:stop],
        )

    def take(self, index: list[int]) -> Trials:
        """Copies of the rows named."""
        return Trials._make(column[index] for column in self.table)

    def replace_u(self, u: Floats) -> None:
        """All rows move to another encoding of the space, (n, d'); gradients, which are of the old one, are unknown then."""
        kept = Trials._make(column[: self.n].copy() for column in self.table)
        self.table = kept._replace(u=u.copy(), gradient=np.full(u.shape, UNKNOWN))

    def _grow(self) -> None:
        old = self.table
        n, d = old.u.shape
        new = _empty(max(2 * n, 64), d, old.y.shape[1])
        columns: list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]] = list(zip(old, new, strict=True))
        for source, target in columns:
            target[:n] = source
        self.table = new


def _empty(n: int, d: int, m: int) -> Trials:
    return Trials(
        number=np.zeros(n, np.int64),
        u=np.full((n, d), UNKNOWN),
        y=np.full((n, m), UNKNOWN),
        noise=np.full((n, m), UNKNOWN),
        status=np.zeros(n, np.int8),
        fidelity=np.full(n, UNKNOWN),
        replicate=np.zeros(n, np.int32),
        cost=np.full(n, UNKNOWN),
        gradient=np.full((n, d), UNKNOWN),
    )
