"""The tuples that samplers, studies and kernels exchange. Plain arrays, no behaviour.

Letters: n rows, d dims, m outcomes, k numbers. All floats are float64, C-contiguous, borrowed for one call.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from jaxhp.space import Space

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Params: TypeAlias = dict[str, Any]
Record: TypeAlias = dict[str, Any]
Direction: TypeAlias = Literal["minimize", "maximize"]


class Kind(IntEnum):
    """How a coordinate is encoded (docs/architecture.md, "The encoded space")."""

    FLOAT = 0
    FLOAT_LOG = 1
    GRID = 2
    GRID_LOG = 3
    ORDINAL = 4
    CATEGORICAL = 5


class Status(IntEnum):
    """What is known of a row."""

    PENDING = 0  # asked, no result yet
    COMPLETE = 1  # every outcome is finite
    FAILED = 2  # raised, timed out, or told a NaN or an infinity
    STOPPED = 3  # ended early by a scheduler; y is the last report
    REPORTED = 4  # an intermediate value of a running trial, at `fidelity`
    PAUSED = 5  # it left its lane, to be promoted or not; y is the last report. For samplers: `Study.trials` leaves it out


ENDED: Final = (Status.COMPLETE, Status.FAILED, Status.STOPPED)  # of a trial that is told: nothing more will come


class Dims(NamedTuple):
    """The encoded space as arrays."""

    kind: npt.NDArray[np.int8]  # (d,) Kind
    low: Floats  # (d,) user bounds; 0 for choices
    high: Floats  # (d,)
    levels: Ints  # (d,) number of levels; 0 for continuous
    parent: npt.NDArray[np.int32]  # (d,) index of the parent dim, -1 none
    allowed: Bools  # (d, max levels of a parent, at least 1)


class Outcome(NamedTuple):
    """One metric of a study. A constraint has a threshold and is satisfied when `sign * y <= sign * threshold`."""

    name: str
    direction: Direction = "minimize"
    threshold: float | None = None  # None: an objective

    @property
    def sign(self) -> float:
        """1 where it is minimised, -1 where it is maximised: sign * value is y, and sign * y the value."""
        return 1.0 if self.direction == "minimize" else -1.0


class Problem(NamedTuple):
    """What a sampler or a scheduler is told once."""

    space: Space
    dims: Dims
    outcomes: tuple[Outcome, ...]
    stochastic: bool = False
    steps: int | None = None  # training steps of a full run, where the study trains; None for black boxes


class Trials(NamedTuple):
    """One row per observation, keyed (number, fidelity, replicate)."""

    number: Ints  # (n,) negative for foreign rows of a warm start
    u: Floats  # (n, d) canonical; NaN where inactive
    y: Floats  # (n, m) minimised; NaN where pending, failed or missing
    noise: Floats  # (n, m) standard deviation of y where told, else NaN
    status: npt.NDArray[np.int8]  # (n,) Status
    fidelity: Floats  # (n,) step of a report; NaN where there is none
    replicate: npt.NDArray[np.int32]  # (n,)
    cost: Floats  # (n,) seconds, NaN where unknown
    gradient: Floats  # (n, d) dy/du, NaN where unknown


class Sampler(NamedTuple):
    """A search method: a pure fold over trials, in the manner of an optax transformation.

    `init(problem, seed) -> state`; `tell(state, trials) -> state`; `ask(state, numbers) -> u (k, d)`.
    State is linear: whoever keeps two states copies. `ask` answers the first k' <= k numbers: fewer when it wants to be told those
    points before it goes on, none when nothing is left, which only a `finite` sampler may say.
    """

    init: Callable[[Problem, int], Any]
    tell: Callable[[Any, Trials], Any]
    ask: Callable[[Any, Ints], Floats]
    name: str = "custom"
    finite: bool = False  # may run out of suggestions


class Slots(NamedTuple):
    """What a scheduler is asked about. Trials are named by their numbers; a lane is free when nothing runs in it."""

    held: Ints  # (k,) per free lane: the trial that just reached its `until` there, -1 none
    running: Ints  # (r,) trials in the other lanes
    fresh: Ints  # (f,) trials that are asked and not started, in order


class Decision(NamedTuple):
    """What each free lane does next: (k,) arrays."""

    number: Ints  # -1 idles it
    parent: Ints  # the trial whose weights go on: `number` itself where it was held or paused; -1 fresh
    u: Floats  # (k, d) the point that it trains with; NaN where idle
    t: npt.NDArray[np.int32]  # the step it stands at, 0 fresh
    until: npt.NDArray[np.int32]  # the step at which it next stops, at most `problem.steps`


class Scheduler(NamedTuple):
    """What shares out training steps: a pure fold over rows like a `Sampler`, that says who goes on.

    `init(problem, seed) -> state`; `tell(state, rows) -> state` with every row in log order, as samplers are told; the state is linear.
    `keep(state, numbers) -> (k,)`: may a trial go on past its last report? This is asked of black boxes, and of lanes at every report.
    `decide(state, slots) -> Decision`: what free lanes do next. It changes nothing: a trial is known to be promoted by being in
    `slots.running`, by a later report, or by its result. A held trial that goes on stays in its lane; a lane's place means nothing.

    One that `mutates` may also give a trial another point, and the weights of another unfinished trial that does not run (its `parent`):
    the number stays, and rows told from then on hold the new point. Under it a trial that diverges is not failed before its end: it reports
    NaN, and waits to be given other weights.
    """

    init: Callable[[Problem, int], Any]
    tell: Callable[[Any, Trials], Any]
    keep: Callable[[Any, Ints], Bools]
    decide: Callable[[Any, Slots], Decision]
    name: str = "custom"
    every: int | None = None  # steps between the points at which it wants reports, where it has a wish
    mutates: bool = False


class Posterior(NamedTuple):
    """A Gaussian process given n rows of one outcome, shared by Numba and C++ without a copy; columns and rows from n on are spare.

    K + diag(noise) = L L^T over the n rows, with the kernel s2 (1 + sqrt5 r + 5/3 r^2) exp(-sqrt5 r),
    r^2 = sum_j ((x_j - x'_j) / l_j)^2 over kind 0 + sum_j [x_j != x'_j] / l_j^2 over kind 1.
    """

    X: Floats  # (d, cap) dims-major; an inactive coordinate is 0.5
    Linv: Floats  # (cap, cap) row i: the first i + 1 entries of row i of L^-1, zeros above the diagonal
    alpha: Floats  # (cap,) Linv^T Linv (y - mean)
    noise: Floats  # (cap,) variance added to row i's diagonal: v + the row's own noise^2
    row_kind: npt.NDArray[np.int8]  # (cap,) -1 a value; j >= 0 the derivative along dim j
    theta: Floats  # (d + 2,) l_1..l_d, s2, v in natural units
    mean: float
    kind: npt.NDArray[np.int8]  # (d,) 0 Matern-5/2 coordinate, 1 Hamming (categorical)
    n: int
