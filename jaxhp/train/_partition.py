"""Which sizes are padded together: the cheapest cut of a grid of sizes into boxes, by dynamic programming.

A program that is padded to size s trains every configuration up to s, at the price of s. So the sorted distinct sizes are cut into
intervals, each padded to its largest. With a_j = seconds of one step at size s_j, c_j = seconds to compile there, and m_i = steps that will
be trained at size i, the cheapest cut of the first j sizes costs (f_0 = 0)

    f_j = min over i < j of  f_i + c_j + a_j (m_{i+1} + ... + m_j),

exact for one dimension in O(n^2). With several, every interval of the first is cut along the others in the same way: the best of all
cuts that go dimension by dimension ("guillotine" cuts in the order of the dimensions), which need not be the best of all boxes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jaxhp._types import Floats

Price = Callable[[tuple[int, ...]], tuple[float, float]]  # index of a box's largest cell -> seconds of a step, seconds to compile


def partition(work: Floats, price: Price) -> tuple[float, list[tuple[int, ...]]]:
    """(seconds, boxes): the total, and for each box the index (d,) of its largest cell.

    Args:
        work: steps to be trained at each cell of the grid (n_1, ..., n_d), whose sizes grow with the index.
        price: what a step and a compilation cost in a program that is padded to a cell.

    >>> partition(np.array([100.0, 1.0, 50.0]), lambda j: ([1.0, 3.0, 4.0][j[0]], 20.0))
    (344.0, [(0,), (2,)])
    """
    known: dict[tuple[int, ...], tuple[float, float]] = {}

    def priced(corner: tuple[int, ...]) -> tuple[float, float]:
        if corner not in known:
            known[corner] = price(corner)
        return known[corner]

    return _cut(work, (), priced)


def _cut(work: Floats, corner: tuple[int, ...], price: Price) -> tuple[float, list[tuple[int, ...]]]:
    if work.ndim == 0:
        step, compiling = price(corner)
        return compiling + step * float(work), [corner]
    n = len(work)
    before = np.concatenate([np.zeros((1, *work.shape[1:])), np.cumsum(work, axis=0)])  # (n + 1, ...)
    best: list[tuple[float, list[tuple[int, ...]]]] = [(0.0, [])]
    for j in range(1, n + 1):
        found = (float("inf"), best[0][1])
        for i in range(j):
            seconds, boxes = _cut(before[j] - before[i], (*corner, j - 1), price)
            if best[i][0] + seconds < found[0]:
                found = (best[i][0] + seconds, best[i][1] + boxes)
        best.append(found)
    return best[n]
