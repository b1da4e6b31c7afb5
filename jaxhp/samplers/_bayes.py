"""Bayesian optimisation: a Gaussian process of the told results, and the point where its acquisition is largest.

The start is `startup()`'s design, until as many results are told; then each ask maximises a sum of acquisition terms (csrc/maximize.hpp)
over the posterior that `_model.py` keeps. Pending trials are kriging believers (`_believers.py`), so that a batch spreads; every fourth
suggestion looks at the neighbourhood of the best results alone (`_neighbourhood.py`), and where there are categories, another fourth
at the branches that the search has left (`_branches.py`). Values of trials that a scheduler stopped or paused are brought to the end
(`_fidelity.py`). Jones, Schonlau & Welch 1998; the choices are measured in docs/bayes.md.
"""

from __future__ import annotations

import atexit
import math
import os
import threading
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple

import numpy as np

from jaxhp import _kernel, acquisition
from jaxhp._arguments import changed, is_real, is_whole, plain_arguments
from jaxhp._rng import rng
from jaxhp._types import Floats, Ints, Kind, Posterior, Problem, Sampler, Status, Trials
from jaxhp.acquisition import How, Suggestion, Term
from jaxhp.errors import SamplerError
from jaxhp.samplers import _branches
from jaxhp.samplers._believers import Believers
from jaxhp.samplers._cells import keys
from jaxhp.samplers._fidelity import Fidelity
from jaxhp.samplers._grid import EXHAUSTIBLE, exhaust
from jaxhp.samplers._model import CAP, Model, filled, kernel_kinds
from jaxhp.samplers._neighbourhood import AFTER, EVERY, Neighbourhood, neighbourhood
from jaxhp.samplers._sobol import startup, startup_size

_COUNTS: Final = {
    "spread": (96, 1, 1 << 20),
    "local": (96, 0, 1 << 20),
    "starts": (2, 1, 32),
    "active": (CAP, 16, 4096),
}  # default, least, most
ACQUISITIONS: Final = ("logei", "ucb", "logpi", "thompson")
CENTRES: Final = 5  # best points that local candidates are drawn around
NOISY: Final = 0.1  # fitted noise variance, in z squared, from which on the incumbent is a mean instead of a value
REPEATED: Final = 1e-6  # sup-norm distance up to which a point repeats another (csrc/select.hpp)
REPEATS_CHECKED: Final = 1024  # rows up to which every one is checked for repetition; beyond, those of the active set
_REPAIRS: Final = (0.2, 0.05, 0.01)  # widths of the rounds of feasible candidates around the best point


class BayesState:
    """Linear: grows in place. `copy.deepcopy` makes an independent one."""

    def __init__(self, problem: Problem, seed: int, active: int) -> None:
        space = problem.space
        self.space = space
        self.seed = seed
        self.stochastic = problem.stochastic
        self.start = startup()
        self.started = self.start.init(problem, seed)
        self.fidelity = Fidelity()
        self.model = Model(kernel_kinds(problem.dims), seed, startup_size(space.d), active, self.fidelity)
        self.pending: dict[int, Floats] = {}  # number -> u (d,) in the order of the asks
        # number -> row of the model, of trials whose last report stands for their result until they have one
        self.paused: dict[int, int] = {}
        self.continuous = problem.dims.kind <= Kind.FLOAT_LOG  # (d,)
        self.believers, self.near_believers = Believers(), Believers()
        self.near: tuple[int, Neighbourhood | None] = (-1, None)  # with the version of the model that it is of
        self.hows: Counter[str] = Counter()  # how suggestions came about: for people, never for decisions
        finite = space.size is not None and space.size <= EXHAUSTIBLE and not problem.stochastic
        self.visited: set[bytes] = set()  # keys of every configuration asked, in a finite space
        self.rest = exhaust() if finite else None
        self.resting: Any = self.rest.init(problem, seed) if self.rest else None


@plain_arguments
def bayes(
    acquisition: str | Sequence[str] = "logei",
    *,
    spread: int = 96,
    local: int = 96,
    starts: int = 2,
    active: int = CAP,
    beta: float = 1.8,
) -> Sampler:
    """Bayesian optimisation of one objective: for expensive trials, from the first ones on.

    Floats, ints, ordinals, categories and conditions; failures, noise, batches and constraints of the space. A finite space is
    exhausted without repeats. An ask costs a fraction of a millisecond at 100 trials and stays flat beyond 512.

    Args:
        acquisition: "logei" (expected improvement), "ucb", "logpi" (probability of improvement) or "thompson"; several are added.
        spread, local: candidates over the whole space, and around the best points.
        starts: candidates that are refined by gradients, 1 to 32.
        active: most results that the surrogate stands on; of more, the best ones and a random half (docs/bayes.md has what that costs).
        beta: how much "ucb" explores.

    Raises:
        SamplerError: an argument is not valid; when the study starts: it has several metrics.

    >>> import jaxhp
    >>> study = jaxhp.Study(jaxhp.Space({"x": jaxhp.Float(-1.0, 1.0)}), sampler=jaxhp.bayes(), seed=0)
    >>> study.optimize(lambda trial: (trial["x"] - 0.3) ** 2, trials=15).best.value < 1e-4
    True
    """
    if not isinstance(acquisition, (str, list, tuple)):
        raise SamplerError(f"bayes(acquisition={acquisition!r}): expected one or several of {', '.join(ACQUISITIONS)}")
    names = (acquisition,) if isinstance(acquisition, str) else tuple(acquisition)
    for name in names:
        if name not in ACQUISITIONS:
            raise SamplerError(f"bayes(acquisition={acquisition!r}): {name!r} is not one of {', '.join(ACQUISITIONS)}")
    if not names:
        raise SamplerError("bayes(acquisition=()): name at least one of " + ", ".join(ACQUISITIONS))
    given = {"spread": spread, "local": local, "starts": starts, "active": active}
    for argument, value in given.items():
        _, least, most = _COUNTS[argument]
        if not is_whole(value) or not least <= value <= most:
            raise SamplerError(f"bayes({argument}={value!r}): expected an integer from {least} to {most}")
    if not is_real(beta) or not 0.0 <= beta < math.inf:
        raise SamplerError(f"bayes(beta={beta!r}): expected a number from 0 (no exploration) on")

    def init(problem: Problem, seed: int) -> BayesState:
        if len(problem.outcomes) > 1:
            metrics = ", ".join(o.name for o in problem.outcomes)
            raise SamplerError(f"bayes() models one metric and this study has {metrics}; use jaxhp.sobol(), say, or one metric")
        return BayesState(problem, seed, active)

    settings = _Settings(names, beta, spread, local, starts)

    def ask(state: BayesState, numbers: Ints) -> Floats:
        return _ask(state, numbers, settings)

    shown = [repr(acquisition) if isinstance(acquisition, str) else repr(list(acquisition))]
    shown += changed({argument: (value, _COUNTS[argument][0]) for argument, value in given.items()})
    shown += [f"beta={beta}"] * ("ucb" in names)
    return Sampler(init, _tell, ask, f"bayes({', '.join(shown)})", finite=True)


class _Settings(NamedTuple):
    names: tuple[str, ...]  # of acquisitions
    beta: float
    spread: int
    local: int
    starts: int

    def terms(self, incumbent: float) -> list[Term]:
        return [_term(name, incumbent, self.beta) for name in self.names]


def _term(name: str, incumbent: float, beta: float) -> Term:
    if name == "logei":
        return acquisition.logei(incumbent)
    if name == "ucb":
        return acquisition.ucb(beta)
    return acquisition.logpi(incumbent) if name == "logpi" else acquisition.thompson()


def _tell(state: BayesState, trials: Trials) -> BayesState:
    numbers, status, step = trials.number.tolist(), trials.status.tolist(), trials.fidelity.tolist()
    y, noise = trials.y[:, 0].tolist(), trials.noise[:, 0].tolist()
    ended = {number for number, now in zip(numbers, status, strict=True) if now not in (Status.PENDING, Status.REPORTED)}
    for i, (number, now) in enumerate(zip(numbers, status, strict=True)):
        if now == Status.PENDING:
            if number not in ended:
                state.pending[number] = trials.u[i].copy()
            continue
        stands = state.fidelity.tell(number, now, step[i], y[i])
        if now == Status.REPORTED:
            continue
        state.pending.pop(number, None)
        if number in state.paused:
            state.model.revise(state.paused[number], trials.u[i], y[i], noise[i], stands)
        else:
            if now == Status.PAUSED:
                state.paused[number] = state.model.n
            state.model.tell(trials.u[i], y[i], noise[i], stands)
    if state.rest is not None:
        state.visited.update(keys(trials.u))
        state.resting = state.rest.tell(state.resting, trials)
    return state


def _ask(state: BayesState, numbers: Ints, settings: _Settings) -> Floats:
    chosen: list[Floats] = []
    taken: set[bytes] = set()
    for number in numbers.tolist():
        if state.model.n < state.model.first_fit:
            _warm_up.start()
            u = _start_point(state, number)
        else:
            u = _suggest(state, number, chosen, settings)
        if state.rest is not None:
            key = keys(u[None])[0]
            if key in state.visited or key in taken:
                if chosen:
                    break  # the walk through what is left must be told of these first
                left = state.rest.ask(state.resting, np.array([number], dtype=np.int64))
                if not len(left):
                    break
                u = left[0]
            taken.update(keys(u[None]))
        chosen.append(u)
    return np.array(chosen) if chosen else np.empty((0, state.space.d))


def _suggest(state: BayesState, number: int, chosen: list[Floats], settings: _Settings) -> Floats:
    _warm_up.join()
    model, space = state.model, state.space
    told = model.posterior()
    if told is None:
        state.hows["NO_MODEL"] += 1
        return _start_point(state, number)
    quality = _quality(state, *told)
    rows = model.held
    waiting = [*state.pending.values(), *chosen]
    known = model.u[: model.n] if model.n <= REPEATS_CHECKED else model.u[rows]
    existing = np.concatenate([known, waiting]) if waiting else known
    if number % EVERY == EVERY - 1 and model.n >= AFTER and state.continuous.any():
        u = _suggest_near(state, number, quality, waiting, existing, settings)
        if u is not None:
            return u
    believed, lowest = state.believers.join((model.version, told[0].n), told[0], waiting)
    if number % _branches.EVERY == _branches.TURN and model.n >= _branches.AFTER and state.model.kind.any():
        u = _suggest_elsewhere(state, number, believed, quality, waiting, existing, settings)
        if u is not None:
            return u
    terms = settings.terms(min(float(quality.min()), lowest))
    centres = model.u[rows[np.argsort(quality, kind="stable")[:CENTRES]]]
    found = _maximized(state, number, believed, terms, space.encoded, centres, existing, settings)
    state.hows[found.how.name] += 1
    if space.constraints and not space.feasible(found.u[None])[0]:
        count = settings.spread + settings.local
        return _feasible_near(state, number, believed, terms, np.concatenate([found.u[None], centres]), existing, count)
    if found.how == How.REPEATED and state.rest is None:
        return _start_point(state, number)
    return found.u


def _quality(state: BayesState, posterior: Posterior, z: Floats) -> Floats:
    """How good each row is (n,), smaller is better: its value, or where there is noise or rows fell short its posterior mean."""
    if state.stochastic or state.model.short or posterior.theta[-1] > NOISY:
        return z - posterior.noise[: posterior.n] * posterior.alpha[: posterior.n]  # K alpha = z - m - noise alpha
    return z


def _maximized(
    state: BayesState,
    number: int,
    posterior: Posterior,
    terms: list[Term],
    dims: _kernel.EncodedDims,
    centres: Floats,
    existing: Floats,
    settings: _Settings,
) -> Suggestion:
    return acquisition.maximize(
        [posterior],
        terms,
        dims,
        seed=state.seed,
        number=number,
        centres=centres,
        existing=existing,
        spread=settings.spread,
        local=settings.local,
        starts=settings.starts,
        allow_duplicates=state.stochastic,
        purpose="bayes",
    )


def _suggest_near(
    state: BayesState, number: int, quality: Floats, waiting: list[Floats], existing: Floats, settings: _Settings
) -> Floats | None:
    """A suggestion of the neighbourhood of the best; None where there is none, or it is not a new point of the space."""
    if state.near[0] != state.model.version:
        state.near = state.model.version, neighbourhood(state.model, quality, state.continuous)
    near = state.near[1]
    if near is None:
        return None
    points = near.box.inward(np.array(waiting)) if waiting else np.empty((0, len(state.continuous)))
    points = points[near.box.beside(points) <= 1.0]
    believed, lowest = state.near_believers.join(state.model.version, near.posterior, list(points))
    quality = _quality(state, near.posterior, near.z)
    centres = np.clip(near.v[np.argsort(quality, kind="stable")[:CENTRES]], 0.0, 1.0)
    terms = settings.terms(min(float(quality.min()), lowest))
    found = _maximized(state, number, believed, terms, state.space.encoded, centres, np.concatenate([near.v, points]), settings)
    u = _new(state, found, near.box.outward(found.u), existing)
    if u is not None:
        state.hows[found.how.name] += 1
    return u


def _suggest_elsewhere(
    state: BayesState,
    number: int,
    believed: Posterior,
    quality: Floats,
    waiting: list[Floats],
    existing: Floats,
    settings: _Settings,
) -> Floats | None:
    """A suggestion of a branch that the best result is not in; None where none of them has a new point of the space."""
    dims = state.space.dims
    most: Floats | None = None
    value, how = -math.inf, How.REFINED
    for branch, posterior, incumbent, centres in _branches.looks(state.model, dims, believed, quality, waiting):
        known = branch.inward(existing[branch.holds(existing)])
        found = _maximized(state, number, posterior, settings.terms(incumbent), branch.space(dims), centres, known, settings)
        if found.value > value:
            u = _new(state, found, branch.outward(found.u), existing)
            if u is not None:
                most, value, how = u, found.value, found.how
    if most is not None:
        state.hows[how.name] += 1
    return most


def _new(state: BayesState, found: Suggestion, u: Floats, existing: Floats) -> Floats | None:
    """What was found in a part of the space, as a point u (d,) of the space; None where it repeats one or is not feasible."""
    u = state.space.snap(u[None])[0]
    if found.how in (How.REPEATED, How.NOT_FINITE) or not state.space.feasible(u[None])[0]:
        return None
    return None if not state.stochastic and _repeats(existing, u) else u


def _repeats(existing: Floats, u: Floats) -> bool:
    return bool(np.abs(filled(existing) - filled(u)).max(axis=1).min() <= REPEATED)


def _start_point(state: BayesState, number: int) -> Floats:
    u: Floats = state.start.ask(state.started, np.array([number], dtype=np.int64))[0]
    return u


def _feasible_near(
    state: BayesState, number: int, posterior: Posterior, terms: list[Term], centres: Floats, existing: Floats, count: int
) -> Floats:
    """The best of feasible candidates, in rounds: over the whole space and around the centres, then ever closer to the best so far."""
    space, d = state.space, state.space.d
    numbers = np.arange(count, dtype=np.int64)
    u = space.constrain(space.snap(_kernel.sobol(int(rng(state.seed, number, "bayes").integers(1 << 62)), numbers, d)), state.seed, numbers)
    best: Floats | None = None
    for attempt, width in enumerate(_REPAIRS):
        middles = filled(centres)
        steps = rng(state.seed, number, "bayes feasible", attempt).normal(scale=width, size=(count // 2, d))
        near = space.snap(np.clip(middles[np.arange(count // 2) % len(middles)] + steps, 0.0, 1.0))
        pool = np.concatenate([u, near[space.feasible(near)]]) if best is None else np.concatenate([best[None], near[space.feasible(near)]])
        if not state.stochastic:
            new = [not _repeats(existing, point) for point in pool]
            pool = pool[new] if any(new) else pool
        order, _ = acquisition.best_of([posterior], terms, np.ascontiguousarray(pool), 1, seed=state.seed, number=number, purpose="bayes")
        best = pool[order[0]] if len(order) else pool[0]
        centres = best[None]
    state.hows["CONSTRAINED"] += 1
    return best if best is not None else u[0]


class _WarmUp:
    """Loads or compiles the surrogate beside the start-up trials, once a process.

    Joined before a fork, which would inherit a held lock, and at exit.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._thread is None:
            for name in ("logging", "concurrent.futures.thread"):  # as Numba does. They add fork hooks, and a fork that waits for
                import_module(name)  # the thread would run their second half only
            self._thread = threading.Thread(target=_load, name="jaxhp-warm-up", daemon=True)
            self._thread.start()
            atexit.register(self.join)
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(before=self.join)

    def join(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()


def _load() -> None:
    from jaxhp.gp import warm_up

    warm_up()


_warm_up = _WarmUp()
