"""Population based bandits: Parker-Holder, Nguyen and Roberts, Provably efficient online hyperparameter optimization (NeurIPS 2020).

A population trains and exploits as under `pbt`; what differs is explore. How much a member gained in a round is a noisy value of a
function f_t(x) of its hyperparameters x, which drifts with time t. A Gaussian process over x and t models it, and each member that copies
another takes the x that is best for optimists (GP-UCB, their Algorithm 1); the points of a round are chosen one after the other, those
chosen before and those that train on counted as observed at their predicted mean (section 3.3, here as kriging believers).

The process is the one of `bayes` (Matern-5/2 with a length scale for each coordinate, Hamming distance for categories). Two coordinates
are beside x: the time, and how the member's value ranked when the round began, as in the authors' code. So this departs from the
paper's kernel in the factor for time: (1 - omega)^(|t - t'| / 2) there, a Matern with a fitted length scale here.
beta_n = 0.2 + max(0, log(0.4 n)) over n observations, as in the authors' code.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from jaxhp import _kernel, acquisition
from jaxhp._arguments import plain_arguments
from jaxhp._rng import rng
from jaxhp._types import Floats, Kind, Posterior, Problem, Scheduler
from jaxhp.schedulers._pbt import check_exploit, explored, mutable, shown
from jaxhp.schedulers._population import Members, Pairs, Rank, in_rounds
from jaxhp.space import Space

_ROWS = 200  # observations that the process holds: the latest
_FEWEST = 4  # observations before it is asked; until then, members explore as under pbt
_FIT = 30  # L-BFGS iterations
_SPREAD = 256  # candidates over the ranges,
_NEAR = 64  # and around the best one, in rounds
_UNIT = 10.0  # rounds that are as far apart, before a length scale is fitted, as the ends of a range
_WIDTHS = (0.1, 0.03, 0.01)  # that come closer


class Gains(NamedTuple):
    """What members gained, round by round."""

    X: Floats  # (n, d + 2) u with 0.5 where inactive, time, rank of the value at the start
    y: Floats  # (n,) change of the value, which is minimised; inf where the member diverged


@plain_arguments
def pb2(
    every: int,
    population: int = 8,
    *,
    exploit: str = "truncation",
    fraction: float = 0.25,
    mutate: Sequence[str] | None = None,
) -> Scheduler:
    """Population based bandits: `pbt` whose members explore by a Gaussian process of what each value gained, and when.

    It needs fewer members than `pbt`, 4 to 8 in the paper. Rounds, numbers, weights and schedules are those of `pbt`.

    Args:
        every: steps between two rounds, in the unit of the steps of a run.
        population: how many members.
        exploit: "truncation": the worst `fraction` copy one of the best `fraction`; "tournament": each member looks at another one, and
            copies it if it is better.
        fraction: for truncation.
        mutate: names of the parameters that may change; by default each Float. All others are inherited together with the weights.
            Categories that are named are chosen by the same process.

    Raises:
        SchedulerError: an argument is not valid; when training starts: `every` is above the steps of a run, or nothing may change.

    >>> pb2(every=500).name
    'pb2(every=500, population=8, fraction=0.25)'
    """
    name = f"pb2({shown(every, population, exploit, fraction, mutate)})"
    rule = check_exploit(name, every, population, exploit, fraction, mutate)

    def explore(problem: Problem, seed: int, members: Members, r: int, pairs: Pairs) -> list[Floats]:
        space = problem.space
        dims = mutable(name, space, mutate)
        known = gains(members, r, seed, rule)
        posterior = fitted(known, space)
        if posterior is None:
            return [explored(space, members[parent].marks[r].u, dims, (0.8, 1.2), 0.25, seed, child, r) for child, parent in pairs]
        from jaxhp.gp import append  # loads Numba, so not at import

        ranks = sorted(mark.value for m in members.values() for k, mark in m.marks.items() if k <= r)
        children = {child for child, _ in pairs}
        for number, member in sorted(members.items()):  # those that train on
            if number not in children and r in member.marks and member.marks[r].value < math.inf:
                posterior = append(posterior, features(member.marks[r].u, r, member.marks[r].value, ranks)) or posterior
        points = []
        for child, parent in pairs:
            mark = members[parent].marks[r]
            context = features(mark.u, r, mark.value, ranks)[-2:]
            u = suggested(posterior, beta(len(known.y)), space, mark.u, dims, context, seed, child, r)
            points.append(u)
            posterior = append(posterior, features(u, r, mark.value, ranks)) or posterior
        return points

    return in_rounds(name, population, every, rule, explore, lambda problem: mutable(name, problem.space, mutate))


def beta(n: int) -> float:
    """The weight of the variance after n observations."""
    return 0.2 + max(0.0, math.log(0.4 * n))


def features(u: Floats, r: int, value: float, ranks: Sequence[float]) -> Floats:
    """(d + 2,) the coordinates of a round that starts at r: the point, the time, and the rank of the value among `ranks`, sorted."""
    return np.array([*np.where(np.isnan(u), 0.5, u), r / _UNIT, bisect_left(ranks, value) / max(1, len(ranks))])


def gains(members: Members, last: int, seed: int, rule: Rank) -> Gains:
    """What was gained in the rounds up to the one that ended at `last`: from the parent's value where the member had copied one."""
    ranks = sorted(mark.value for m in members.values() for r, mark in m.marks.items() if r <= last)
    X, y = [], []
    for r in range(1, last):
        parents = rule(seed, r, sorted((m.marks[r].value, n) for n, m in members.items() if r in m.marks))
        for number, member in sorted(members.items()):
            if r not in member.marks or r + 1 not in member.marks:
                continue
            begun, ended = member.marks[r], member.marks[r + 1]
            if begun.u.tobytes() != ended.u.tobytes() and number in parents:
                begun = members[parents[number][0]].marks[r]
            if begun.value < math.inf:
                X.append(features(ended.u, r, begun.value, ranks))
                y.append(ended.value - begun.value)
    return Gains(np.array(X), np.array(y))


def kinds(space: Space) -> npt.NDArray[np.int8]:
    """(d + 2,) 0 for a number, 1 for a category."""
    return np.array([*(space.dims.kind == Kind.CATEGORICAL), False, False], dtype=np.int8)


def fitted(known: Gains, space: Space) -> Posterior | None:
    """The process of the latest gains; None where there are too few, or they cannot be factored."""
    if np.isfinite(known.y).sum() < _FEWEST:
        return None
    from jaxhp.gp import _surrogate  # loads Numba, so not at import

    X, kind = known.X[-_ROWS:], kinds(space)
    z = _kernel.transform(known.y[-_ROWS:])
    none = np.zeros(len(z))
    theta = _surrogate.fit(X, z, none, kind, None, _FIT)
    return _surrogate.factor(X, z, none, kind, theta, 2 * len(z))


def suggested(
    posterior: Posterior, weight: float, space: Space, u: Floats, dims: list[int], context: Floats, seed: int, number: int, r: int
) -> Floats:
    """The best feasible candidate (d,) for optimists: these dims vary, the others are as in u. u itself is one."""
    d = space.d
    draw = rng(seed, number, "pb2 explore", r)
    spread = _kernel.sobol(int(draw.integers(1 << 62)), np.arange(_SPREAD, dtype=np.int64), d)
    best = u
    for width in (None, *_WIDTHS):
        middle = np.where(np.isnan(best), 0.5, best)
        drawn = spread if width is None else np.clip(middle + draw.normal(scale=width, size=(_NEAR, d)), 0.0, 1.0)
        moved = np.repeat(middle[None], len(drawn), axis=0)
        moved[:, dims] = drawn[:, dims]
        found = np.concatenate([space.snap(moved), best[None]])
        found = found[space.feasible(found)]
        asked = np.column_stack([np.where(np.isnan(found), 0.5, found), np.repeat(context[None], len(found), axis=0)])
        order, _ = acquisition.best_of([posterior], [acquisition.ucb(weight)], np.ascontiguousarray(asked), 1)
        if len(order):
            best = found[order[0]]
    return best
