"""The default sampler: what suits the space, with no argument to tune."""

from __future__ import annotations

from typing import Any, NamedTuple

from jaxhp._types import Floats, Ints, Problem, Sampler, Trials
from jaxhp.samplers._bayes import bayes
from jaxhp.samplers._combine import sequence
from jaxhp.samplers._grid import EXHAUSTIBLE, exhaust
from jaxhp.samplers._random import random_search
from jaxhp.samplers._sobol import startup, startup_size


class AutoState(NamedTuple):
    chosen: Sampler
    state: Any


def auto() -> Sampler:
    """A sampler chosen by the space.

    One metric: Bayesian optimisation (`bayes`), which exhausts a finite space without repeats and then says that nothing is left. Several:
    a finite space of at most a million configurations is exhausted (and in a stochastic study repeated); any other one starts with its
    defaults and scrambled Sobol points, max(4, min(10, d + 1)) in all, and goes on with random search.

    >>> import jaxhp
    >>> study = jaxhp.Study(jaxhp.Space({"a": jaxhp.Int(1, 3), "b": jaxhp.Categorical(["x", "y"])}), sampler=jaxhp.auto())
    >>> len(study.ask(100))
    6
    """
    return Sampler(_init, _tell, _ask, "auto()", finite=True)


def _choose(problem: Problem) -> Sampler:
    space = problem.space
    if len(problem.outcomes) == 1:
        return bayes()
    if space.size is not None and space.size <= EXHAUSTIBLE:
        return sequence((exhaust(), None), (random_search(), None)) if problem.stochastic else exhaust()
    return sequence((startup(), startup_size(space.d)), (random_search(), None))


def _init(problem: Problem, seed: int) -> AutoState:
    chosen = _choose(problem)
    return AutoState(chosen, chosen.init(problem, seed))


def _tell(state: AutoState, trials: Trials) -> AutoState:
    return AutoState(state.chosen, state.chosen.tell(state.state, trials))


def _ask(state: AutoState, numbers: Ints) -> Floats:
    return state.chosen.ask(state.state, numbers)
