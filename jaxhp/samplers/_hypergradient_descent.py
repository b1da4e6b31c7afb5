"""Descent along told gradients, from several starts side by side.

Each start moves z = logit(u), one coordinate per active float, by an optax transformation of dy/dz = dy/du u (1 - u). In these
coordinates there are no bounds to run into: clipped u would lose the part of a step that points outside, and with it what an optimiser
with momentum believes. An optimum on a bound is approached, not reached. Discrete parameters keep the values of the start.

Trials that are not of a descent are **scouts**: the first `starts` ones (defaults, then scrambled Sobol points), those of other samplers
in a `sequence`, enqueued ones, and the spare ones where more trials run at once than there are starts. The best scouts become the starts:
at once where their gradient is known, else by being run again. A trial whose result or gradient is missing, not finite or absurdly large
never reaches the optimiser: its start takes half the step from where it was before, and after a second such trial in a row it is dropped,
as is one that has not improved for `patience` trials. In place of a dropped one another begins near the best trial known.

Whose trial a number is follows from the told rows alone: it is a descent's if it was asked at the point that the descent was to ask then.
"""

from __future__ import annotations

import math
from bisect import insort
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxhp._arguments import is_whole, plain_arguments
from jaxhp._rng import rng
from jaxhp._types import ENDED, Bools, Floats, Ints, Kind, Problem, Sampler, Status, Trials
from jaxhp.errors import SamplerError
from jaxhp.samplers._cells import keys
from jaxhp.samplers._fingerprint import fingerprint
from jaxhp.samplers._outer import Outer
from jaxhp.samplers._sobol import startup
from jaxhp.space import Space

if TYPE_CHECKING:
    import optax

_EDGE = 1e-3  # a start keeps this distance (u) from the bounds: at one it could hardly move
_FURTHEST = math.log(1e6)  # |z|; u is 1e-6 from its bound
_NEAR = 0.25  # standard deviation (z) of what begins near the best
_HALVINGS = 20  # of a step that breaks a constraint of the space; then the start stays
_ABSURD = 1e5  # a slope dy/du beyond so many times (|y| + the spread of all y) has exploded
_STRIKES = 2  # in a row drop a start


class Known(NamedTuple):
    """A complete trial."""

    y: float
    u: Floats  # (d,)
    gradient: Floats  # (d,) dy/du


class Descent(NamedTuple):
    """One start, on its way."""

    u: Floats  # (d,) canonical; its floats are moved, the rest stays
    moved: Bools  # (d,) active floats
    z: Floats  # (d,) where it last had a gradient, or begins; 0 where it does not move
    step: Floats  # (d,) from there to its next trial
    outer: Any  # the optimiser's state
    best: float = math.inf
    stale: int = 0  # trials since the best
    strikes: int = 0  # in a row
    trials: int = 0
    pending: int | None = None  # the number of its trial, while that runs


class DescentState(NamedTuple):
    space: Space
    seed: int
    thresholds: Floats  # (m,) y must not be above; infinite for the objective
    floats: Bools  # (d,)
    startup: Any  # of the first scouts
    slots: tuple[Descent | None, ...]  # (starts,)
    begun: int  # how many descents ever
    scouts: int  # trials that are of no descent
    used: frozenset[bytes]  # where descents began
    seen: set[int]  # every number; grows in place, as do the next three
    own: set[int]  # numbers of descents
    known: dict[int, Known]
    scouted: list[tuple[float, int]]  # y and number of complete scouts, the best first
    best: int | None  # number
    spread: tuple[float, float]  # least and greatest y


class Proposal(NamedTuple):
    """A point, and the state once it is asked."""

    u: Floats  # (d,)
    slot: int | None  # None: a scout
    state: DescentState


@plain_arguments
def hypergradient_descent(outer: optax.GradientTransformation | None = None, starts: int = 16, patience: int = 30) -> Sampler:
    """Descends along the gradients that trials are told with, from several starts side by side.

    For `study.train(adjoint=...)`, or black boxes that tell `gradient=`. Tens to thousands of floats are its place: with a handful,
    `bayes` needs fewer trials. `sequence((bayes(), 40), (hypergradient_descent(), None))` refines the best that a global search found.

    Args:
        outer: an optax transformation in the coordinates logit(u); by default `optax.adam(0.1)`, whose first steps are of length 0.1 in
            each: a fortieth of the range in the middle of it. The sampler's recorded name has eight digits for it, made of its code and
            numbers, so a study that goes on with another one says so.
        starts: how many descents there are at a time; run as many trials side by side.
        patience: trials without an improvement of its own best value that a start is granted.

    Raises:
        SamplerError: an argument is not valid; when a study starts: it has several objectives, or no continuous parameter.

    >>> import jaxhp
    >>> space = jaxhp.Space({f"x{i}": jaxhp.Float(-1.0, 1.0) for i in range(20)})
    >>> study = jaxhp.Study(space, sampler=jaxhp.hypergradient_descent(starts=1))
    >>> def bowl(trial):
    ...     return sum((x - 0.3) ** 2 for x in trial.params.values()), {name: 2 * (x - 0.3) for name, x in trial.params.items()}
    >>> study.optimize(bowl, trials=60).best.value < 1e-3
    True
    """
    name = f"hypergradient_descent(starts={starts!r}, patience={patience!r})"
    for argument, value in (("starts", starts), ("patience", patience)):
        if not is_whole(value) or value < 1:
            raise SamplerError(f"{name}: {argument}: expected a positive number, got {value!r}")
    optimiser = Outer(outer)
    if outer is not None:
        name = f"hypergradient_descent(outer={fingerprint(outer)}, starts={starts!r}, patience={patience!r})"

    def init(problem: Problem, seed: int) -> DescentState:
        space = problem.space
        objectives = [o.name for o in problem.outcomes if o.threshold is None]
        if len(objectives) > 1:
            raise SamplerError(f"{name}: a gradient is of one objective, and this study has {', '.join(objectives)}")
        floats = np.isin(space.dims.kind, (Kind.FLOAT, Kind.FLOAT_LOG))
        if not floats.any():
            raise SamplerError(f"{name}: {', '.join(space.names)}: none is continuous, so nothing has a gradient; use jaxhp.bayes()")
        signs = [1.0 if o.direction == "minimize" else -1.0 for o in problem.outcomes]
        bounds = [math.inf if o.threshold is None else sign * o.threshold for o, sign in zip(problem.outcomes, signs, strict=True)]
        return DescentState(
            space, seed, np.array(bounds), floats, startup().init(problem, seed), (None,) * starts, 0, 0, frozenset(), set(), set(), {}, [],
            None, (math.inf, -math.inf),
        )  # fmt: skip

    def begin(state: DescentState, u: Floats, at: Known | None, nudge: Floats | None = None) -> Descent | None:
        """A descent from u: by the gradient known there, or nudged away, or by a trial there. None: it cannot go anywhere."""
        moved = state.floats & ~np.isnan(u)
        if not moved.any():
            return None
        z = np.where(moved, _logit(np.clip(np.where(moved, u, 0.5), _EDGE, 1.0 - _EDGE)), 0.0)
        step = np.zeros_like(z) if nudge is None else np.where(moved, nudge, 0.0)
        descent = Descent(u, moved, z, step, optimiser.begun(len(u)))
        return descent if at is None else onward(descent, at)

    def onward(descent: Descent, told: Known) -> Descent | None:
        """After a trial at z whose gradient is of use; None: it is dropped."""
        u = _sigmoid(descent.z)
        slope = np.where(descent.moved, told.gradient, np.nan) * u * (1.0 - u)
        known = ~np.isnan(slope)
        dz, outer = optimiser.step(descent.outer, descent.z, np.where(known, slope, 0.0), told.y)
        improved = told.y < descent.best
        descent = descent._replace(
            step=np.where(known, dz, 0.0),
            outer=outer,
            best=min(told.y, descent.best),
            stale=0 if improved else descent.stale + 1,
            strikes=0,
        )
        return descent if np.isfinite(descent.step).all() and descent.stale < patience else None

    def propose(state: DescentState, number: int) -> Proposal:
        """What is asked next: by the descent with the fewest trials that waits for none, by a new one, or by a scout."""
        waiting = [(d.trials, i) for i, d in enumerate(state.slots) if d is not None and d.pending is None]
        free = [i for i, d in enumerate(state.slots) if d is None]
        if state.scouts < starts:
            return scout(state, number)
        if free:
            u, at = candidate(state) if state.begun < starts else (None, None)
            usable = at if at is not None and _usable(state, at) else None
            descent = near_best(state, number) if u is None else begin(state, u, usable)
            if descent is not None:
                begun = state._replace(begun=state.begun + 1, used=state.used | {keys(descent.u[None])[0]})
                return placed(begun, free[0], descent, number)
        if waiting:
            i = min(waiting)[1]
            descent = state.slots[i]
            assert descent is not None
            return placed(state, i, descent, number)
        return scout(state, number)

    def placed(state: DescentState, slot: int, descent: Descent, number: int) -> Proposal:
        u, step = _towards(state.space, descent)
        descent = descent._replace(step=step, trials=descent.trials + 1, pending=number)
        return Proposal(u, slot, state._replace(slots=(*state.slots[:slot], descent, *state.slots[slot + 1 :])))

    def near_best(state: DescentState, number: int) -> Descent | None:
        """A descent that begins at random near the best trial."""
        if state.best is None:
            return None
        nudge = _NEAR * rng(state.seed, number, "hypergradient_descent").standard_normal(state.space.d)
        return begin(state, state.known[state.best].u, None, nudge)

    def scout(state: DescentState, number: int) -> Proposal:
        """A start-up point, or, when all starts are on their way, one near the best."""
        after = state._replace(scouts=state.scouts + 1)
        near = None if state.scouts < starts else near_best(state, number)
        if near is not None:
            return Proposal(_towards(state.space, near)[0], None, after)
        return Proposal(startup().ask(state.startup, np.array([number], dtype=np.int64))[0], None, after)

    def candidate(state: DescentState) -> tuple[Floats, Known] | tuple[None, None]:
        """The best scout that no descent began with, in a configuration that has a float."""
        for _, number in state.scouted:
            known = state.known[number]
            if keys(known.u[None])[0] not in state.used and (state.floats & ~np.isnan(known.u)).any():
                return known.u, known
        return None, None

    def tell(state: DescentState, trials: Trials) -> DescentState:
        for i, number in enumerate(trials.number.tolist()):
            status = trials.status[i]
            if number not in state.seen:
                state = met(state, number, trials.u[i], status)
            if status in ENDED:
                state = heard(state, number, Trials._make(column[i : i + 1] for column in trials))
        return state

    def met(state: DescentState, number: int, u: Floats, status: int) -> DescentState:
        """A number is heard of for the first time: is it a descent's?"""
        state.seen.add(number)
        if status == Status.PENDING:
            proposal = propose(state, number)
            if proposal.slot is not None and keys(proposal.u[None]) == keys(u[None]):
                state.own.add(number)
                return proposal.state
        return state._replace(scouts=state.scouts + 1)

    def heard(state: DescentState, number: int, row: Trials) -> DescentState:
        """A trial has ended."""
        y = row.y[0]
        told = None
        if row.status[0] == Status.COMPLETE and np.isfinite(y).all() and (y <= state.thresholds).all():
            objective = float(y[0])
            told = state.known[number] = Known(objective, row.u[0].copy(), row.gradient[0].copy())
            if number not in state.own:
                insort(state.scouted, (objective, number))
            low, high = state.spread
            state = state._replace(spread=(min(low, objective), max(high, objective)))
            if number >= 0 and (state.best is None or (objective, number) < (state.known[state.best].y, state.best)):
                state = state._replace(best=number)
        slot = next((i for i, d in enumerate(state.slots) if d is not None and d.pending == number), None)
        if slot is None:
            return state
        descent = state.slots[slot]
        assert descent is not None
        descent = descent._replace(pending=None)
        after: Descent | None
        if told is not None and _usable(state, told):
            after = onward(descent._replace(z=_clipped(descent.z + descent.step)), told)
        elif descent.strikes + 1 >= _STRIKES or not descent.step.any():
            after = None
        else:
            after = descent._replace(step=0.5 * descent.step, strikes=descent.strikes + 1)
        return state._replace(slots=(*state.slots[:slot], after, *state.slots[slot + 1 :]))

    def ask(state: DescentState, numbers: Ints) -> Floats:
        points = np.empty((len(numbers), state.space.d))
        for i, number in enumerate(numbers.tolist()):
            points[i], _, state = propose(state, number)
        return points

    return Sampler(init, tell, ask, name)


def _usable(state: DescentState, told: Known) -> bool:
    """Whether an optimiser may see this gradient: some slopes known, none infinite or absurd."""
    slope = np.where(state.floats & ~np.isnan(told.u), told.gradient, np.nan)
    slope = slope[~np.isnan(slope)]
    if not len(slope) or not np.isfinite(slope).all():
        return False
    low, high = state.spread
    with np.errstate(over="ignore"):
        scale = abs(told.y) + (high - low)
        return scale == 0.0 or bool(np.abs(slope).max() <= _ABSURD * scale)


def _towards(space: Space, descent: Descent) -> tuple[Floats, Floats]:
    """The next point (d,) of a descent, feasible, and the step that leads there."""
    step = descent.step
    for _ in range(_HALVINGS):
        u = np.where(descent.moved, _sigmoid(_clipped(descent.z + step)), descent.u)
        point = space.snap(u[None])
        if space.feasible(point)[0]:
            return np.ascontiguousarray(point[0]), step
        step = 0.5 * step
    return descent.u, np.zeros_like(step)


def _clipped(z: Floats) -> Floats:
    result: Floats = np.clip(z, -_FURTHEST, _FURTHEST)
    return result


def _sigmoid(z: Floats) -> Floats:
    result: Floats = 1.0 / (1.0 + np.exp(-z))
    return result


def _logit(u: Floats) -> Floats:
    result: Floats = np.log(u / (1.0 - u))
    return result
