"""Non-dominated points of minimised objectives."""

from __future__ import annotations

import numpy as np

from jaxhp._types import Bools, Floats


def pareto_front(y: Floats) -> Bools:
    """Which rows of y (n, m) no other row dominates; a row with a NaN is never on the front, equal rows are on it together.

    Row a dominates b when a <= b in every column and a < b in one. Cost O(n f m) for a front of f rows.

    >>> import numpy as np
    >>> pareto_front(np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 3.0]])).tolist()
    [True, True, False]
    """
    front: Bools = np.logical_not(np.isnan(y).any(axis=1))
    # In lexicographic order a row can only be dominated by an earlier one.
    order = np.lexsort(y.T[::-1])
    kept = np.empty((0, y.shape[1]))
    for i in order[front[order]]:
        dominated = ((kept <= y[i]).all(axis=1) & (kept < y[i]).any(axis=1)).any()
        if dominated:
            front[i] = False
        else:
            kept = np.vstack([kept, y[i]])
    return front
