"""Regularized evolution: a population in which everybody dies of old age.

Source: Real, Aggarwal, Huang & Le, Regularized evolution for image classifier architecture search (AAAI 2019), Algorithm 1. Notation: the
population holds the P trials that were told last; a child is the best of S members drawn from it, changed in one place. Nobody stays for
being good: what survives has children that are good again, which a lucky measurement does not. Until a trial succeeds there is nobody to
descend from, and the start goes on.

A change draws an active parameter, each with the same chance. A categorical gets another choice; numbers and ordinals move by a normal step
of standard deviation `STEP` of their range, reflected at its ends, by one level at least. What becomes active by the change is drawn
uniformly, by (seed, number, attempt), so that nothing need be remembered of inactive parameters.

A child that was asked before is drawn anew, tournament included, and changed in one more place each time, since a second answer teaches
nothing. Studies that are `stochastic` take repeats. A state is a function of the rows in log order: asynchronous tells join in the
order in which they are told.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np

from jaxhp._arguments import is_whole, plain_arguments
from jaxhp._rng import rng
from jaxhp._types import Floats, Ints, Problem, Sampler, Status, Trials
from jaxhp.errors import SamplerError
from jaxhp.samplers._axes import encoded, is_categorical, nearest_levels
from jaxhp.samplers._cells import Seen, keys
from jaxhp.samplers._merit import WORST, Merits, one_objective
from jaxhp.samplers._sobol import startup
from jaxhp.space import Space

START: Final = 20  # trials before the first child, or the population if that is smaller
STEP: Final = 0.2  # of a number, in u
ATTEMPTS: Final = 32  # children that were asked before, or are not feasible, until one is taken


class EvolutionState:
    """Linear: grows in place. `copy.deepcopy` makes an independent one."""

    def __init__(self, problem: Problem, seed: int, population: int) -> None:
        self.space = problem.space
        self.seed = seed
        self.start = startup().init(problem, seed)
        self.merits = Merits(problem.outcomes)
        self.members: deque[int] = deque(maxlen=population)  # numbers, the oldest first
        self.points: dict[int, Floats] = {}  # of the members
        self.succeeded = False  # whether any trial did
        self.asked: set[int] = set()  # every number
        self.seen = Seen(stochastic=problem.stochastic, size=problem.space.size)


@plain_arguments
def regularized_evolution(population: int = 25, tournament: int = 12) -> Sampler:
    """Aging evolution: for architectures and other discrete, conditional spaces, with hundreds of trials and more.

    The first 20 trials, or `population` if that is less, are the default configuration and Sobol points, and more while all fail.
    Constraints on metrics go before the objective, and a failure is worst. It needs no order among choices and costs the same at any
    number of trials.

    Args:
        population: members; the oldest leaves when a trial is told. Fewer are greedier.
        tournament: members that are drawn for each child, the best of which is its parent. More are greedier.

    Raises:
        SamplerError: population below 2; tournament not from 1 to `population`; when a study starts: it has several objectives.

    >>> import jaxhp
    >>> space = jaxhp.Space({f"edge{i}": jaxhp.Categorical(["none", "skip", "conv"]) for i in range(8)})
    >>> study = jaxhp.Study(space, sampler=jaxhp.regularized_evolution(), direction="maximize", seed=0)
    >>> study.optimize(lambda trial: sum(op == "conv" for op in trial.params.values()), trials=100).best.value
    8.0
    """
    name = f"regularized_evolution(population={population!r}, tournament={tournament!r})"
    for argument, value, least in (("population", population, 2), ("tournament", tournament, 1)):
        if not is_whole(value) or value < least:
            raise SamplerError(f"{name}: {argument}: expected an integer of at least {least}, got {value!r}")
    if tournament > population:
        raise SamplerError(f"{name}: tournament: no more than the population of {population} can be drawn, got {tournament}")

    def init(problem: Problem, seed: int) -> EvolutionState:
        one_objective(name, problem)
        return EvolutionState(problem, seed, population)

    def tell(state: EvolutionState, trials: Trials) -> EvolutionState:
        state.asked.update(trials.number.tolist())
        state.seen.add(trials.u[trials.number >= 0])  # what another study ran may be run here
        for i, (number, status) in enumerate(zip(trials.number.tolist(), trials.status.tolist(), strict=True)):
            if status == Status.PENDING:
                continue
            new = number not in state.merits
            if not state.merits.tell(number, status, float(trials.fidelity[i]), trials.y[i]):
                continue
            state.succeeded = state.succeeded or state.merits.of(number) < WORST
            if new:
                if len(state.members) == population:
                    state.points.pop(state.members[0], None)
                state.members.append(number)
            if number in state.points or new:
                state.points[number] = trials.u[i].copy()
        return state

    def ask(state: EvolutionState, numbers: Ints) -> Floats:
        chosen: list[Floats] = []
        taken: set[bytes] = set()
        for number in numbers.tolist():
            starting = not state.members or len(state.asked) + len(chosen) < min(population, START)
            u = _start_point(state, number) if starting or not state.succeeded else None
            if u is None or not (starting or state.seen.is_new(keys(u[None])[0], taken)):
                u = _child(state, number, taken, tournament)
            taken.update(keys(u[None]))
            chosen.append(u)
        return np.array(chosen).reshape(len(chosen), state.space.d)

    return Sampler(init, tell, ask, name)


def _start_point(state: EvolutionState, number: int) -> Floats:
    u: Floats = startup().ask(state.start, np.array([number], dtype=np.int64))[0]
    return u


def _child(state: EvolutionState, number: int, taken: set[bytes], tournament: int) -> Floats:
    """A configuration that was not asked, if one is found."""
    feasible: Floats | None = None
    for attempt in range(ATTEMPTS):
        draw = rng(state.seed, number, "regularized_evolution", attempt)
        u = _changed(state.space, _parent(state, draw, tournament), 1 + attempt, draw)
        if not state.space.feasible(u[None])[0]:
            continue
        if state.seen.is_new(keys(u[None])[0], taken):
            return u
        feasible = u if feasible is None else feasible
    return _start_point(state, number) if feasible is None else feasible


def _parent(state: EvolutionState, draw: np.random.Generator, tournament: int) -> Floats:
    """The best of the members that are drawn; of equals the younger."""
    drawn = draw.permutation(len(state.members))[:tournament].tolist()
    best = min(drawn, key=lambda i: (state.merits.of(state.members[i]), -i))
    return state.points[state.members[best]]


def _changed(space: Space, parent: Floats, places: int, draw: np.random.Generator) -> Floats:
    """(d,) the parent with another value of so many of its active parameters, if it has that many."""
    u = parent.copy()
    active = np.flatnonzero(~np.isnan(parent))
    for j in draw.permutation(active)[:places].tolist():
        u[j] = _moved(space, j, float(u[j]), draw)
    latent = draw.random(space.d)
    child: Floats = space.snap(np.where(np.isnan(u), latent, u)[None])[0]
    return child


def _moved(space: Space, j: int, u: float, draw: np.random.Generator) -> float:
    """Another value of dim j."""
    levels = int(space.dims.levels[j])
    if is_categorical(space, j):
        return ((int(u * levels) + int(draw.integers(1, levels))) % levels + 0.5) / levels
    step = STEP * float(draw.normal())
    moved = 1.0 - abs(1.0 - abs(min(max(u + step, -1.0), 2.0)))  # reflected
    if not levels:
        return moved
    before, after = nearest_levels(space, j, np.array([u, moved])).tolist()
    if after == before:
        after = before + 1.0 if (step > 0.0 and before < levels - 1) or before == 0 else before - 1.0
    return float(encoded(space, j, np.array([after]))[0])
