"""Random search: an independent uniform point for every trial number.

Source: Bergstra & Bengio, Random search for hyper-parameter optimization, JMLR 13, 2012. It looks at nothing that was
told, so a point depends on (seed, number) alone.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxhp._rng import uniform
from jaxhp._types import Floats, Ints, Problem, Sampler, Trials
from jaxhp.space import Space


class NumberedState(NamedTuple):
    """The state of a sampler that draws by trial number alone."""

    space: Space
    seed: int
    d: int
    constrained: bool


def random_search() -> Sampler:
    """Uniform points of the unit cube, each named by (seed, number); with constraints, uniform over the feasible part.

    >>> import jaxhp
    >>> study = jaxhp.Study(jaxhp.Space({"x": jaxhp.Float(0.0, 1.0)}), sampler=jaxhp.random_search())
    >>> [trial.number for trial in study.ask(3)]
    [0, 1, 2]
    """
    return Sampler(start_numbered, tell_numbered, _ask, "random_search()")


def start_numbered(problem: Problem, seed: int) -> NumberedState:
    """`init` of a sampler that draws by trial number alone."""
    space = problem.space
    return NumberedState(space, seed, space.d, bool(space.constraints))


def tell_numbered(state: NumberedState, trials: Trials) -> NumberedState:
    """`tell` of a sampler that draws by trial number alone: nothing to learn."""
    return state


def _ask(state: NumberedState, numbers: Ints) -> Floats:
    space, seed, d, constrained = state
    u = space.snap(uniform(seed, numbers, "random_search", d))
    return space.constrain(u, seed, numbers) if constrained else u
