"""The default sampler: what suits the problem, with no argument to tune."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from jaxhp._types import Floats, Ints, Problem, Sampler, Trials
from jaxhp.samplers._bayes import bayes
from jaxhp.samplers._nsga2 import nsga2

POPULATION: Final = 20  # of `nsga2`: most studies have tens of trials, not thousands


class AutoState(NamedTuple):
    chosen: Sampler
    state: Any


def auto() -> Sampler:
    """A sampler chosen by the problem.

    One metric: Bayesian optimisation (`bayes`); several objectives, or constraints on metrics: a genetic algorithm (`nsga2`). Both start
    with the defaults and scrambled Sobol points, exhaust a finite space without repeats and then say that nothing is left.

    >>> import jaxhp
    >>> study = jaxhp.Study(jaxhp.Space({"a": jaxhp.Int(1, 3), "b": jaxhp.Categorical(["x", "y"])}), sampler=jaxhp.auto())
    >>> len(study.ask(100))
    6
    """
    return Sampler(_init, _tell, _ask, "auto()", finite=True)


def _choose(problem: Problem) -> Sampler:
    return bayes() if len(problem.outcomes) == 1 else nsga2(POPULATION)


def _init(problem: Problem, seed: int) -> AutoState:
    chosen = _choose(problem)
    return AutoState(chosen, chosen.init(problem, seed))


def _tell(state: AutoState, trials: Trials) -> AutoState:
    return AutoState(state.chosen, state.chosen.tell(state.state, trials))


def _ask(state: AutoState, numbers: Ints) -> Floats:
    return state.chosen.ask(state.state, numbers)
