"""Sets of minimised objectives: who dominates whom, how crowded a front is, and how much of the objective space is dominated.

Row a of y (n, m) dominates row b when a <= b in every column and a < b in one. `ranks` peels front after front (fast non-dominated
sorting; with violations the constrained domination of Deb, Pratap, Agarwal & Meyarivan, IEEE TEC 6(2), 2002, section VI), `crowding`
is the distance of its section III-B, and `hypervolume` the measure of what a set dominates (Zitzler & Thiele 1998): swept in one to
three objectives, by exclusive contributions (WFG: While, Bradstreet & Barone, IEEE TEC 16(1), 2012) in more. All of it is exact.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Final

import numpy as np

from jaxhp._types import Bools, Floats, Ints
from jaxhp.errors import StudyError

_SMALL: Final = 2048  # rows of which every pair fits in memory
_BLOCK: Final = 1 << 22  # pairs of rows compared at once


def pareto_front(y: Floats) -> Bools:
    """Which rows of y (n, m) no other row dominates; a row with a NaN is never on the front, equal rows are on it together.

    Row a dominates b when a <= b in every column and a < b in one. Cost O(n f m) for a front of f rows.

    Raises:
        StudyError: y has not two axes.

    >>> import numpy as np
    >>> pareto_front(np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 3.0]])).tolist()
    [True, True, False]
    """
    y = _checked(y)
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


def dominates(a: Floats, b: Floats) -> Bools:
    """(k, n) whether row i of a (k, m) dominates row j of b (n, m).

    Raises:
        StudyError: the shapes do not fit.

    >>> import numpy as np
    >>> dominates(np.array([[1.0, 2.0]]), np.array([[1.0, 3.0], [0.0, 3.0]])).tolist()
    [[True, False]]
    """
    a, b = _checked(a, "a"), _checked(b, "b")
    if a.shape[1] != b.shape[1]:
        raise StudyError(f"a has {a.shape[1]} columns and b has {b.shape[1]}; give both one for each objective")
    nowhere_above = np.ones((len(a), len(b)), np.bool_)
    below = np.zeros_like(nowhere_above)
    for j in range(a.shape[1]):  # reducing over a short last axis is slower
        nowhere_above &= a[:, j, None] <= b[:, j]
        below |= a[:, j, None] < b[:, j]
    result: Bools = nowhere_above & below
    return result


def ranks(y: Floats, violation: Floats | None = None) -> Ints:
    """(n,) the front that each row of y (n, m) is on: 0 is dominated by nothing, r + 1 by nothing once fronts 0 to r are gone.

    Args:
        y: objectives, minimised.
        violation: (n,) by how much each row breaks its constraints, 0 where it does not. A feasible row comes before every infeasible
            one, and infeasible ones are ordered by their violation (equal violations share a rank).

    Rows with a NaN in y or `violation` share the last rank. Cost O(n log n) for one and two objectives, O(n^2 m) for more.

    Raises:
        StudyError: the shapes do not fit.

    >>> import numpy as np
    >>> y = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 3.0], [0.0, 0.0]])
    >>> ranks(y, violation=np.array([0.0, 0.0, 0.0, 0.5])).tolist()
    [0, 0, 1, 2]
    """
    y = _checked(y)
    broken = np.zeros(len(y)) if violation is None else _numbers(violation, "violation")
    if broken.shape != (len(y),):
        raise StudyError(f"violation has shape {broken.shape}; give one number for each of the {len(y)} rows of y")
    lost = np.isnan(y).any(axis=1) | np.isnan(broken)
    feasible = ~lost & (broken <= 0.0)
    result = np.zeros(len(y), np.int64)
    result[feasible] = _fronts(y[feasible])
    last = int(result[feasible].max(initial=-1))
    infeasible = ~lost & ~feasible
    result[infeasible] = last + 1 + np.unique(broken[infeasible], return_inverse=True)[1]
    result[lost] = int(result[~lost].max(initial=-1)) + 1
    return result


def _fronts(y: Floats) -> Ints:
    """`ranks` without violations and NaN."""
    m = y.shape[1]
    if m == 1:
        return np.unique(y[:, 0], return_inverse=True)[1]
    if m == 2:
        return _two_fronts(y)
    result = np.zeros(len(y), np.int64)
    left = np.arange(len(y))
    beats = _dominating(y) if len(y) <= _SMALL else None
    above = beats.sum(axis=0) if beats is not None else _dominators(y, y)  # how many rows that are left dominate each
    rank = 0
    while len(left):
        front = above == 0
        result[left[front]] = rank
        peeled, left = left[front], left[~front]
        above = above[~front] - (beats[peeled][:, left].sum(axis=0) if beats is not None else _dominators(y[peeled], y[left]))
        rank += 1
    return result


def _two_fronts(y: Floats) -> Ints:
    """Two objectives: met in lexicographic order, a row is dominated by some row of a front when by the one of least y2 in it.

    These least values rise with the rank, so a row's front is found by bisection.
    """
    order = np.lexsort((y[:, 1], y[:, 0]))
    result = np.zeros(len(y), np.int64)
    least: list[float] = []
    before: list[float] | None = None
    rank = 0
    for i, row in zip(order.tolist(), y[order].tolist(), strict=True):
        if row != before:
            rank = bisect_right(least, row[1])
            least[rank : rank + 1] = [row[1]]
        result[i], before = rank, row
    return result


def _dominating(y: Floats) -> Bools:
    """`dominates(y, y)` for half its cost: nowhere above, and not the reverse."""
    nowhere_above = y[:, 0, None] <= y[:, 0]
    for j in range(1, y.shape[1]):
        nowhere_above &= y[:, j, None] <= y[:, j]
    return nowhere_above & ~nowhere_above.T


def _dominators(a: Floats, b: Floats) -> Ints:
    """(n,) how many rows of a (k, m) dominate each row of b (n, m)."""
    total = np.zeros(len(b), np.int64)
    block = max(1, _BLOCK // max(1, len(b)))
    for start in range(0, len(a), block):
        total += dominates(a[start : start + block], b).sum(axis=0)
    return total


def crowding(y: Floats, rank: Ints | None = None) -> Floats:
    """(n,) how far apart the neighbours of each row are within its front, summed over the objectives in units of the front's range.

    The least and the greatest of an objective get infinity. Of equal rows the first stands for all, and the others get 0. An objective
    that is constant in a front, or infinite somewhere in it, says nothing about the rows inside.

    Args:
        y: (n, m) objectives.
        rank: (n,) the front of each row; without it all rows are one front.

    Raises:
        StudyError: the shapes do not fit.

    >>> import numpy as np
    >>> crowding(np.array([[0.0, 4.0], [1.0, 3.0], [4.0, 0.0], [2.0, 2.0]])).tolist()
    [inf, 1.0, inf, 1.5]
    """
    y = _checked(y)
    n = len(y)
    fronts = np.zeros(n, np.int64) if rank is None else _numbers(rank, "rank")
    if fronts.shape != (n,):
        raise StudyError(f"rank has shape {fronts.shape}; give one number for each of the {n} rows of y")
    result = np.zeros(n)
    if not n:
        return result
    order = np.lexsort((*y.T[::-1], fronts))
    repeated = (y[order[1:]] == y[order[:-1]]).all(axis=1) & (fronts[order[1:]] == fronts[order[:-1]])
    kept = np.sort(order[np.concatenate([[True], ~repeated])])  # lexsort is stable: the first of equal rows
    z, front = y[kept], fronts[kept]
    total = np.zeros(len(kept))
    for j in range(y.shape[1]):
        along = np.lexsort((z[:, j], front))
        (last,) = np.nonzero(front[along[1:]] != front[along[:-1]])
        starts, ends = np.concatenate([[0], last + 1]), np.concatenate([last, [len(along) - 1]])
        value = z[along, j] * 0.5  # so that no difference overflows
        gap = np.zeros(len(along))
        with np.errstate(invalid="ignore", divide="ignore"):  # infinities, and ranges of 0
            width = np.repeat(value[ends] - value[starts], ends - starts + 1)
            gap[1:-1] = value[2:] - value[:-2]
            gap = np.where((width > 0.0) & (width < np.inf), gap / width, 0.0)
        gap[starts] = gap[ends] = np.inf
        total[along] += gap
    result[kept] = total
    return result


def hypervolume(y: Floats, reference: Floats) -> float:
    """The volume of the points that some row of y (n, m) dominates and that dominate the reference (m,). Rows beyond it add nothing.

    Exact. Rows with a NaN are left out. One to three objectives cost O(n log n) to O(n^2); more cost more with every one: 100 rows of a
    front of five objectives take about a second.

    Raises:
        StudyError: the reference is not one finite number for every objective.

    >>> import numpy as np
    >>> hypervolume(np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 3.0]]), np.array([4.0, 4.0]))
    5.0
    """
    y = _checked(y)
    bound = _numbers(reference, "reference")
    if bound.shape != (y.shape[1],) or not np.isfinite(bound).all():
        raise StudyError(f"reference is {reference!r}; give one finite number for each of the {y.shape[1]} objectives")
    inside = y[(y < bound).all(axis=1)]  # a comparison with NaN is false
    front = inside[pareto_front(inside)]
    return _volume(np.unique(front, axis=0), bound) if len(front) else 0.0


def _volume(y: Floats, bound: Floats) -> float:
    """`hypervolume` of distinct non-dominated rows within the bound, in lexicographic order."""
    m = y.shape[1]
    if m == 1:
        return float(bound[0] - y[0, 0])
    if m == 2:  # y1 rises and y2 falls
        return float(((bound[0] - y[:, 0]) * (np.append(bound[1], y[:-1, 1]) - y[:, 1])).sum())
    return _swept(y, bound) if m == 3 else _exclusive(y, bound)


def _swept(y: Floats, bound: Floats) -> float:
    """Three objectives: as y3 rises, the area in the plane of the others grows; a staircase (y1 rises, y2 falls) holds it."""
    right, top = float(bound[0]), float(bound[1])
    stairs_x: list[float] = []
    stairs_y: list[float] = []
    volume = area = 0.0
    heights = y[np.argsort(y[:, 2], kind="stable")]
    nexts = np.append(heights[1:, 2], bound[2])
    for (a, b, height), following in zip(heights.tolist(), nexts.tolist(), strict=True):
        at = bisect_left(stairs_x, a)
        ceiling = stairs_y[at - 1] if at else top
        if at < len(stairs_x) and stairs_x[at] == a:
            ceiling = min(ceiling, max(stairs_y[at], b))
        if b < ceiling:
            end, left, above = at, a, ceiling
            while end < len(stairs_x) and stairs_y[end] >= b:  # the steps that the new one hides
                area += (stairs_x[end] - left) * (above - b)
                left, above = stairs_x[end], stairs_y[end]
                end += 1
            area += ((stairs_x[end] if end < len(stairs_x) else right) - left) * (above - b)
            stairs_x[at:end], stairs_y[at:end] = [a], [b]
        volume += area * (following - height)
    return volume


def _exclusive(y: Floats, bound: Floats) -> float:
    """WFG: the sum of what each row dominates and no later one does.

    What later rows dominate of row i's box is the volume of these rows moved into the box, most of which dominate each other there.
    """
    total = 0.0
    rows = y[np.argsort(-y[:, -1], kind="stable")]  # worst of the last objective first: then all limits are equal in it
    for i, row in enumerate(rows):
        box = float(np.prod(bound - row))
        limited = np.maximum(rows[i + 1 :], row)
        if len(limited):
            flat = limited[:, :-1]  # the last objective is the row's own everywhere
            front = np.unique(flat[pareto_front(flat)], axis=0)
            box -= _volume(front, bound[:-1]) * float(bound[-1] - row[-1])
        total += box
    return total


def _checked(y: Floats, name: str = "y") -> Floats:
    y = _numbers(y, name)
    if y.ndim != 2 or y.shape[1] < 1:
        raise StudyError(f"{name} has shape {y.shape}; give one row for each point and one column for each objective")
    return y


def _numbers(values: Floats | Ints, name: str) -> Floats:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as e:
        raise StudyError(f"{name} is not an array of numbers ({e}): {values!r}") from e
