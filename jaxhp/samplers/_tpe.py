"""Tree-structured Parzen estimators: the point where better trials are dense and worse ones are not.

Told trials are split into better and worse ones (`_split.py`), a Parzen estimator is made of each (`_parzen.py`, csrc/parzen.hpp), and
of `candidates` draws from the better ones' density l the point of the largest l / g is suggested, g being that of the worse ones
(Bergstra, Bardenet, Bengio & Kegl, Algorithms for hyper-parameter optimization, NeurIPS 2011; Watanabe, Tree-structured Parzen estimator,
arXiv 2304.11127, 2023). Both densities are joint ones of all active parameters; a row of another branch of a conditional space says
nothing of the parameters that it does not have, so each group is learned from all rows that have it, beside what they have in common.

Pending trials are worse ones (constant liar), so that a batch spreads. The start is `startup()`'s design, until as many results are told.
The choices are measured in docs/tpe.md.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from jaxhp import _kernel
from jaxhp._arguments import changed, is_real, is_whole, plain_arguments
from jaxhp._rng import purpose_key, uniform
from jaxhp._types import Floats, Ints, Problem, Sampler, Status, Trials
from jaxhp.errors import SamplerError
from jaxhp.samplers._parzen import Bandwidths, Estimator, improvement_weights, rank_weights
from jaxhp.samplers._sobol import startup, startup_size
from jaxhp.samplers._split import MOST_BETTER, OneMetric, Results, SeveralMetrics, Split

GAMMAS: Final = ("linear", "sqrt")
WEIGHTS: Final = ("EI", "rank", "uniform")
MOST_CANDIDATES: Final = 4096
MOST_KERNELS: Final = 4096  # of worse rows, and of those that meet a constraint or do not
MOST_CONSTRAINTS: Final = 63  # csrc/kernel.hpp, MOST_RATIOS
_FRESH: Final = 16  # random points that are looked at where every candidate repeats a trial
_U64: Final = (1 << 64) - 1


class TPEState:
    """Linear: grows in place. `copy.deepcopy` makes an independent one."""

    def __init__(self, problem: Problem, seed: int, bandwidth: float) -> None:
        space = problem.space
        self.space = space
        self.seed = seed
        self.start = startup()
        self.started = self.start.init(problem, seed)
        self.first = startup_size(space.d)
        self.bandwidths = Bandwidths(problem.dims, bandwidth)
        self.results: Results = OneMetric() if len(problem.outcomes) == 1 else SeveralMetrics(problem.outcomes)
        self.row: dict[int, int] = {}  # number -> row, in the order in which trials were first heard of
        self.u = np.empty((64, space.d))  # canonical; rows from len(row) on are spare
        self.repeats = problem.stochastic
        self.visited: set[bytes] = set()  # points of this study's trials

    def place(self, row: int, u: Floats) -> None:
        """Writes a point into a row, the next one or one that is there."""
        if row == len(self.u):
            self.u = np.concatenate([self.u, np.empty_like(self.u)])
        self.u[row] = u


@plain_arguments
def tpe(gamma: str = "linear", *, candidates: int = 24, weights: str = "EI", bandwidth: float = 0.1, prior_weight: float = 1.0) -> Sampler:
    """Tree-structured Parzen estimator: for thousands of trials, any parameters and conditions, several objectives and constraints.

    An ask costs tens of microseconds at 100 trials, half a millisecond at 2,000, and at most a few however many there are.

    Args:
        gamma: how many of n results are better ones: "linear" is n / 10, "sqrt" is sqrt(n) / 4, rounded up, at most 25.
        candidates: draws from the better ones' density.
        weights: of the better ones: "EI" (by how much each is below the best of the worse ones; with several objectives, by the volume
            that it alone dominates), "rank" (log(k + 1) - log i for the i-th of k) or "uniform".
        bandwidth: of one kernel, in units of a parameter's range; n kernels in d dims have n^(-1 / (d + 4)) of it.
        prior_weight: of the prior, where a trial weighs 1.

    Raises:
        SamplerError: an argument is not valid; when the study starts: it has no objective, or more than 63 constraints.

    >>> import jaxhp
    >>> study = jaxhp.Study(jaxhp.Space({"x": jaxhp.Float(-1.0, 1.0)}), sampler=jaxhp.tpe(), seed=0)
    >>> study.optimize(lambda trial: (trial["x"] - 0.3) ** 2, trials=60).best.value < 1e-3
    True
    """
    if gamma not in GAMMAS:
        raise SamplerError(f"tpe(gamma={gamma!r}): expected one of {', '.join(GAMMAS)}")
    if weights not in WEIGHTS:
        raise SamplerError(f"tpe(weights={weights!r}): expected one of {', '.join(WEIGHTS)}")
    if not is_whole(candidates) or not 1 <= candidates <= MOST_CANDIDATES:
        raise SamplerError(f"tpe(candidates={candidates!r}): expected an integer from 1 to {MOST_CANDIDATES}")
    for argument, value, most in (("bandwidth", bandwidth, 1.0), ("prior_weight", prior_weight, 1e6)):
        if not is_real(value) or not 0.0 < value <= most:
            raise SamplerError(f"tpe({argument}={value!r}): expected a number above 0 and at most {most:g}")
    count = _linear if gamma == "linear" else _sqrt
    prior = float(prior_weight)

    def init(problem: Problem, seed: int) -> TPEState:
        constraints = sum(o.threshold is not None for o in problem.outcomes)
        if constraints == len(problem.outcomes):
            raise SamplerError("tpe() minimises at least one objective, and this study has constraints alone; give it a direction, too")
        if constraints > MOST_CONSTRAINTS:
            raise SamplerError(f"tpe() takes up to {MOST_CONSTRAINTS} constraints, and this study has {constraints}; combine some of them")
        return TPEState(problem, seed, float(bandwidth))

    def alike(state: TPEState, rows: Ints) -> Estimator:
        picked, standing = _thinned(rows)
        return picked, standing, prior, state.bandwidths(len(picked))

    def estimators(state: TPEState, split: Split, n: int) -> tuple[tuple[Estimator, Estimator, float], ...]:
        """Pairs of densities, and the shares of the better ones. n: rows, pending ones among them."""
        k = len(split.better)
        rest = np.ones(n, np.bool_)
        rest[split.better] = False
        worse = np.flatnonzero(rest)
        objective = (
            (split.better, _weights(split, weights), prior, state.bandwidths(k)),
            alike(state, worse),
            k / (state.results.n + 1) if split.met else 0.0,  # below 1, also where all are needed for enough feasible ones
        )
        return objective, *(
            (alike(state, meeting), alike(state, missing), len(meeting) / (len(meeting) + len(missing))) for meeting, missing in split.met
        )

    def suggest(state: TPEState, number: int, n: int, taken: set[bytes]) -> Floats:
        ratios = estimators(state, state.results.split(count), n)
        points, _ = _kernel.propose(state.space.encoded, state.u, ratios, candidates, state.seed & _U64, purpose_key("tpe"), number & _U64)
        return _first_new(state, number, points, taken)

    def ask(state: TPEState, numbers: Ints) -> Floats:
        n = len(state.row)
        if state.results.n < state.first:
            return state.start.ask(state.started, numbers)
        taken: set[bytes] = set()
        for i, number in enumerate(numbers.tolist()):
            u = suggest(state, number, n + i, taken)
            taken.add(u.tobytes())
            state.place(n + i, u)  # in the spare rows: those after it in this batch see it as pending
        return state.u[n : n + len(numbers)].copy()

    given = {"candidates": (candidates, 24), "weights": (weights, "EI"), "bandwidth": (bandwidth, 0.1), "prior_weight": (prior_weight, 1.0)}
    shown = [repr(gamma)] * (gamma != "linear") + changed(given)
    return Sampler(init, _tell, ask, f"tpe({', '.join(shown)})")


def _linear(n: int) -> int:
    return min(-(-n // 10), MOST_BETTER)


def _sqrt(n: int) -> int:
    return min(math.ceil(0.25 * math.sqrt(n)), MOST_BETTER)


def _thinned(rows: Ints) -> tuple[Ints, Floats]:
    """At most `MOST_KERNELS` of these rows, and for how many each stands.

    A quarter are the newest, so that what is pending counts; the others are picked evenly by age.
    """
    n = len(rows)
    if n <= MOST_KERNELS:
        return rows, np.ones(n)
    newest = MOST_KERNELS // 4
    old, even = n - newest, MOST_KERNELS - newest
    weights = np.ones(MOST_KERNELS)
    weights[:even] = old / even
    return np.concatenate([rows[np.arange(even) * old // even], rows[old:]]), weights


def _weights(split: Split, weights: str) -> Floats:
    k = len(split.better)
    if weights == "uniform" or not k:
        return np.ones(k)
    if weights == "rank":
        return rank_weights(k)
    worse = split.values[-1]  # the best of them, where there is one that did not fail
    return improvement_weights(split.values[:k], worse if math.isfinite(worse) else split.values[k - 1])


def _tell(state: TPEState, trials: Trials) -> TPEState:
    row_of = state.row
    events = zip(trials.number.tolist(), trials.status.tolist(), trials.fidelity.tolist(), strict=True)
    for i, (number, status, step) in enumerate(events):
        row = row_of.get(number)
        if row is None:
            row = row_of[number] = len(row_of)
        u = trials.u[i]
        state.place(row, u)  # a scheduler may have given the trial another point
        if status != Status.PENDING:
            state.results.tell(row, number, status, step, trials.y[i])
        if number >= 0:
            state.visited.add(u.tobytes())
    return state


def _first_new(state: TPEState, number: int, points: Floats, taken: set[bytes]) -> Floats:
    """The best feasible point that was not asked before; where all were, a random one, or the best feasible one again."""
    space = state.space
    if space.constraints:
        feasible = points[space.feasible(points)]
        points = feasible if len(feasible) else space.constrain(points[:1], state.seed, np.array([number], dtype=np.int64))
    for row in range(len(points)):
        u: Floats = points[row]
        if state.repeats or not _known(state, u, taken):
            return u
    fresh = uniform(state.seed, np.array([number], dtype=np.int64), "tpe", _FRESH * space.d).reshape(_FRESH, space.d)
    fresh = space.constrain(space.snap(fresh), state.seed, number * _FRESH + np.arange(_FRESH, dtype=np.int64))
    new = (row for row in range(_FRESH) if not _known(state, fresh[row], taken))
    first = next(new, None)
    u = points[0] if first is None else fresh[first]
    return u


def _known(state: TPEState, u: Floats, taken: set[bytes]) -> bool:
    key = u.tobytes()
    return key in state.visited or key in taken
