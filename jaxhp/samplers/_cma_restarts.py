"""When a run of CMA-ES ends, and how the next one begins.

IPOP (Auger & Hansen, CEC 2005): the next population is twice as large. BIPOP (Hansen, BBOB workshop 2009): there are two regimes, each
with a budget; the one that has used fewer evaluations is next. Large runs double the population. Small runs have

    popsize = floor(default (large / (2 default))^(U^2)),      sigma = sigma_0 10^(-2 U'),      U, U' uniform on [0, 1],

and end at half the evaluations of the last large run. The first run counts as small. A run ends by the criteria of the tutorial, section
B.3, which look at the distribution and at the best value of each generation. One in which nothing succeeds is begun again elsewhere.
"""

from __future__ import annotations

import math
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np

from jaxhp._rng import rng
from jaxhp._types import Bools, Floats
from jaxhp.samplers._cma_update import Search, Strategy

Restarts: TypeAlias = Literal["ipop", "bipop"]

_TOL_FUN: Final = 1e-12  # range of the best values of recent generations
_TOL_X: Final = 1e-12  # deviation of every coordinate, in units of the first sigma
_TOL_X_UP: Final = 1e4  # growth of the longest axis
_CONDITION: Final = 1e14  # of C
_DOUBLINGS: Final = 9  # of the population


class Run(NamedTuple):
    """One run of the strategy, and what the runs before it used."""

    number: int  # 0 is the first
    popsize: int
    sigma: float
    large: bool  # its regime
    doublings: int  # of the large population so far
    used: tuple[int, int]  # evaluations of the small and of the large regime, ended runs alone
    limit: float  # evaluations after which it ends
    start: Floats | None  # (n,) its first mean; None: the sampler's own


def first_run(popsize: int, sigma: float) -> Run:
    return Run(0, popsize, sigma, False, 0, (0, 0), math.inf, None)


def next_run(how: Restarts, last: Run, evaluations: int, popsize: int, sigma: float, n: int, seed: int) -> Run:
    """The run after one that has ended.

    Args:
        how: "ipop" or "bipop".
        last: the run that ended.
        evaluations: that it used.
        popsize, sigma: of the first run.
        n: coordinates of its mean, which is drawn uniformly.
        seed: of the study.
    """
    number = last.number + 1
    draws = rng(seed, number, "cma_es restart").random(n + 2)
    small, large = last.used
    used = (small, large + evaluations) if last.large else (small + evaluations, large)
    start = draws[2:]
    if how == "ipop" or used[1] <= used[0]:
        doublings = min(last.doublings + 1, _DOUBLINGS)
        return Run(number, popsize * 2**doublings, sigma, True, doublings, used, math.inf, start)
    widest = popsize * 2**last.doublings
    fewer = max(popsize, math.floor(popsize * (0.5 * widest / popsize) ** (float(draws[0]) ** 2)))
    limit = 0.5 * evaluations if last.large else last.limit
    return Run(number, fewer, sigma * 10.0 ** (-2.0 * float(draws[1])), False, last.doublings, used, limit, start)


def elsewhere(last: Run, n: int, seed: int) -> Run:
    """The run begun again from another mean (n,), where every trial failed: it has learned nothing, and used up no budget."""
    number = last.number + 1
    return last._replace(number=number, start=rng(seed, number, "cma_es restart").random(n))


def window(made: Strategy) -> int:
    """How many generations the test of stagnating values looks at."""
    return 10 + math.ceil(30.0 * made.n / made.popsize)


def ended(made: Strategy, run: Run, search: Search, floats: Bools, best: list[float], evaluations: int) -> bool:
    """Whether a run is over.

    Args:
        made, run, search: its constants, beginning and distribution.
        floats: (n,) whether a coordinate can become arbitrarily narrow: one with levels keeps its margin.
        best: of the last `window` generations.
        evaluations: so far in this run.
    """
    n = made.n
    if evaluations >= run.limit or search.g > 100 + 50 * (n + 3) ** 2 / math.sqrt(made.popsize):
        return True
    if len(best) >= window(made) and max(best) - min(best) < _TOL_FUN:
        return True
    if not len(search.D):
        return False
    low, high = (float(search.D.min()), float(search.D.max())) if made.separable else (search.D.item(0), search.D.item(-1))
    if high * search.sigma > _TOL_X_UP * run.sigma or high * high > _CONDITION * low * low:
        return True
    if search.sigma * high > 1e3 * _TOL_X * run.sigma:  # spares the test of each coordinate
        return False
    variance = search.C if made.separable else np.diag(search.C)
    narrow = search.sigma * np.maximum(np.sqrt(variance), np.abs(search.p_c)) < _TOL_X * run.sigma
    return bool(floats.any() and narrow[floats].all())
