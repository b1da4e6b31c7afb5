"""NSGA-II: configurations are bred from a population that is thinned by who dominates whom and how crowded the front is.

Deb, Pratap, Agarwal & Meyarivan, A fast and elitist multiobjective genetic algorithm, IEEE TEC 6(2), 2002. The start is `startup()`'s
design, until `population` results are told; then every suggestion is a child of two members that each won a binary tournament
(`_genetics.py`). The population (`_population.py`) is thinned whenever a fifth of its size in results has come, in whatever order,
instead of its whole size: half-way to the steady state of Durillo et al. (EMO 2009), which finds more with equally many evaluations
(docs/objectives.md). Nothing waits for a generation, and a failed trial is no member.

A child is named by (seed, number). One that repeats a configuration or breaks a constraint of the space is bred again, up to `ATTEMPTS`
times, then replaced by a random point; a finite space is walked to its end like a grid, without repeats. Where results are noisy,
repeats are welcome.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from jaxhp._arguments import changed, is_real, is_whole, plain_arguments
from jaxhp._rng import uniform
from jaxhp._types import Floats, Ints, Problem, Sampler, Status, Trials
from jaxhp.errors import SamplerError
from jaxhp.samplers._cells import Seen, keys
from jaxhp.samplers._genetics import DRAWS, Breeder
from jaxhp.samplers._grid import EXHAUSTIBLE, exhaust
from jaxhp.samplers._population import Population
from jaxhp.samplers._sobol import startup

ATTEMPTS: Final = 8  # at a child that is new and feasible
BROODS: Final = 5  # of which as many results come as there are members
_PENDING: Final = int(Status.PENDING)  # plain numbers compare faster, row by row
_FAILED: Final = int(Status.FAILED)
_UNFINISHED: Final = (_PENDING, int(Status.REPORTED))
_OF_A_CHILD: Final = 5  # uniforms beside those per coordinate: four candidates, and whether both parents have a share


class Nsga2State:
    """Linear: grows in place. `copy.deepcopy` makes an independent one."""

    def __init__(self, problem: Problem, seed: int, population: int, breeder: Breeder) -> None:
        space = problem.space
        self.space = space
        self.seed = seed
        self.breeder = breeder
        self.objective = np.array([o.threshold is None for o in problem.outcomes])
        self.bound = np.array([o.sign * o.threshold for o in problem.outcomes if o.threshold is not None])
        self.population = Population(population, -(-population // BROODS), space.d, int(self.objective.sum()), len(self.bound))
        self.started: set[int] = set()  # numbers of results, failed ones among them, until there are `population`
        self.start = startup()
        self.starting = self.start.init(problem, seed)
        self.seen = Seen(stochastic=problem.stochastic, size=None)  # a finite space is walked to its end
        finite = space.size is not None and space.size <= EXHAUSTIBLE and not problem.stochastic
        self.rest = exhaust() if finite else None
        self.resting: Any = self.rest.init(problem, seed) if self.rest else None
        self.bred: tuple[int, int, Floats] = (-1, 0, np.empty((0, space.d)))  # version of the population, first number, its children

    @property
    def breeding(self) -> bool:
        """Whether the start is over."""
        return self.population.members > 0 and len(self.started) >= self.population.size


@plain_arguments
def nsga2(
    population: int = 50,
    *,
    crossover: float = 0.9,
    mutation: float | None = None,
    eta: tuple[float, float] = (10.0, 10.0),
) -> Sampler:
    """NSGA-II, a genetic algorithm: for several objectives and hundreds of cheap trials; with constraints, and for one objective too.

    Floats, ints, ordinals, categories and conditions; failures, batches and constraints. The first `population` results come from the
    defaults and scrambled Sobol points. A finite space of at most a million configurations is exhausted without repeats.

    Args:
        population: how many results are bred from, 4 or more. A small one converges sooner, a large one holds a finer front.
        crossover: probability that a child has two parents rather than one.
        mutation: probability that a coordinate is mutated; by default one over the number of those active.
        eta: how near children are to their parents under crossover, and under mutation: 0 is far, 20 near (Deb's distribution indices).

    Raises:
        SamplerError: an argument is not valid.

    >>> import jaxhp
    >>> space = jaxhp.Space({"x": jaxhp.Float(-2.0, 2.0), "y": jaxhp.Float(-2.0, 2.0)})
    >>> directions = {"near": "minimize", "far": "minimize"}
    >>> study = jaxhp.Study(space, sampler=jaxhp.nsga2(20), directions=directions, seed=0)
    >>> def objective(trial):
    ...     x, y = trial["x"], trial["y"]
    ...     return {"near": x**2 + y**2, "far": (x - 1) ** 2 + y**2}
    >>> front = study.optimize(objective, trials=300).pareto
    >>> len(front) > 50 and all(abs(trial["y"]) < 0.2 for trial in front)
    True
    """
    if not is_whole(population) or population < 4:
        raise SamplerError(f"nsga2(population={population!r}): expected a whole number from 4 on")
    for argument, probability in (("crossover", crossover), ("mutation", mutation)):
        if not (argument == "mutation" and probability is None) and not _within(probability, 1.0):
            raise SamplerError(f"nsga2({argument}={probability!r}): expected a probability from 0 to 1")
    if not isinstance(eta, (tuple, list)) or len(eta) != 2 or not all(_within(index, math.inf) for index in eta):
        raise SamplerError(f"nsga2(eta={eta!r}): expected two finite numbers from 0 on, of crossover and of mutation")
    indices = (float(eta[0]), float(eta[1]))

    def init(problem: Problem, seed: int) -> Nsga2State:
        return Nsga2State(problem, seed, population, Breeder(problem.space, crossover, indices, mutation))

    shown = [str(population), *changed({"crossover": (crossover, 0.9), "mutation": (mutation, None), "eta": (indices, (10.0, 10.0))})]
    return Sampler(init, _tell, _ask, f"nsga2({', '.join(shown)})", finite=True)


def _within(value: object, most: float) -> bool:
    """Whether this is a finite number from 0 to `most`."""
    return is_real(value) and bool(0.0 <= value <= most and value < math.inf)


def _tell(state: Nsga2State, trials: Trials) -> Nsga2State:
    population = state.population
    asked: list[int] = []
    for i, (number, status) in enumerate(zip(trials.number.tolist(), trials.status.tolist(), strict=True)):
        if status == _PENDING and number >= 0:  # what another study ran is learned from, and may be run here
            asked.append(i)
        if status in _UNFINISHED:
            continue
        if len(state.started) < population.size:
            state.started.add(number)
        y = trials.y[i]
        if status == _FAILED or not np.isfinite(y).all():
            population.leave(number)
        elif len(state.bound):
            population.tell(number, trials.u[i], y[state.objective], np.maximum(y[~state.objective] - state.bound, 0.0))
        else:
            population.tell(number, trials.u[i], y, state.bound)
    if asked:
        state.seen.add(trials.u[asked])
    if state.rest is not None:
        state.resting = state.rest.tell(state.resting, trials)
    return state


def _ask(state: Nsga2State, numbers: Ints) -> Floats:
    breeding = state.breeding
    u = _next_children(state, numbers) if breeding else state.start.ask(state.starting, numbers)
    feasible = state.space.feasible(u).tolist()
    taken: set[bytes] = set()
    for i, key in enumerate(keys(u)):
        if not feasible[i] or not state.seen.is_new(key, taken):
            other = _another(state, numbers[i : i + 1], taken) if breeding else None
            if other is None:
                other = _left(state, numbers[i : i + 1], taken)
            if not len(other):
                return u[:i]
            u[i] = other[0]
            (key,) = keys(other)
        taken.add(key)
    return u


def _another(state: Nsga2State, number: Ints, taken: set[bytes]) -> Floats | None:
    """(1, d) a child that is new and feasible; None where none is found."""
    for attempt in range(1, ATTEMPTS):
        u = _children(state, number, attempt)
        if state.space.feasible(u)[0] and state.seen.is_new(keys(u)[0], taken):
            return u
    return None


def _left(state: Nsga2State, number: Ints, taken: set[bytes]) -> Floats:
    """(1, d) a random point; in a finite space one that was not asked, (0, d) where none is left, or those taken must be told first."""
    if state.rest is None:
        u = state.space.snap(uniform(state.seed, number, "nsga2 anew", state.space.d))
        return state.space.constrain(u, state.seed, number)
    return state.rest.ask(state.resting, number[: 0 if taken else 1])


def _next_children(state: Nsga2State, numbers: Ints) -> Floats:
    """(k, d) first attempts. One alone is taken from a brood bred at once, which costs hardly more than itself."""
    if len(numbers) != 1:
        return _children(state, numbers, 0)
    number, version = int(numbers[0]), state.population.version
    if state.bred[0] != version or not state.bred[1] <= number < state.bred[1] + len(state.bred[2]):
        ahead = np.arange(number, number + -(-state.population.size // BROODS), dtype=np.int64)
        state.bred = version, number, _children(state, ahead, 0)
    i = number - state.bred[1]
    return state.bred[2][i : i + 1].copy()


def _children(state: Nsga2State, numbers: Ints, attempt: int) -> Floats:
    """(k, d) a child for each number."""
    d, population = state.space.d, state.population
    draws = uniform(state.seed, numbers, "nsga2", _OF_A_CHILD + DRAWS * d, attempt)
    candidates = (draws[:, :4] * population.members).astype(np.int64)
    a, b = (population.winners(candidates[:, i], candidates[:, i + 1]) for i in (0, 2))
    return state.breeder.children(population.u[a], population.u[b], draws[:, 4], draws[:, _OF_A_CHILD:].reshape(-1, DRAWS, d))
