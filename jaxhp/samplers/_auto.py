"""The default sampler: what suits the problem, with no argument to tune.

One metric: `bayes`. Several, objectives or constraints: `tpe` finds more than `nsga2` within some hundred trials and then hardly improves,
so `nsga2` goes on from what it found (measured in docs/objectives.md).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from jaxhp._types import Floats, Ints, Problem, Sampler, Trials
from jaxhp.samplers._bayes import bayes
from jaxhp.samplers._cells import keys
from jaxhp.samplers._combine import PartsState, sequence
from jaxhp.samplers._nsga2 import Nsga2State, nsga2
from jaxhp.samplers._tpe import MOST_CONSTRAINTS, tpe

FIRST: Final = 200  # trials that `tpe` suggests
POPULATION: Final = 20  # of `nsga2`: most studies have tens of trials, not thousands


class AutoState(NamedTuple):
    chosen: Sampler
    state: Any


def auto() -> Sampler:
    """A sampler chosen by the problem.

    One metric: Bayesian optimisation (`bayes`). Several objectives, or constraints on metrics: Parzen estimators (`tpe`) for the first 200
    trials, then a genetic algorithm (`nsga2`), which with more than 63 constraints begins at once. All start with the defaults and
    scrambled Sobol points, exhaust a finite space without repeats and then say that nothing is left.

    >>> import jaxhp
    >>> study = jaxhp.Study(jaxhp.Space({"a": jaxhp.Int(1, 3), "b": jaxhp.Categorical(["x", "y"])}), sampler=jaxhp.auto())
    >>> len(study.ask(100))
    6
    """
    return Sampler(_init, _tell, _ask, "auto()", finite=True)


def _choose(problem: Problem) -> Sampler:
    if len(problem.outcomes) == 1:
        return bayes()
    constraints = sum(outcome.threshold is not None for outcome in problem.outcomes)
    return nsga2(POPULATION) if constraints > MOST_CONSTRAINTS else _bred_later()


def _init(problem: Problem, seed: int) -> AutoState:
    chosen = _choose(problem)
    return AutoState(chosen, chosen.init(problem, seed))


def _tell(state: AutoState, trials: Trials) -> AutoState:
    return AutoState(state.chosen, state.chosen.tell(state.state, trials))


def _ask(state: AutoState, numbers: Ints) -> Floats:
    return state.chosen.ask(state.state, numbers)


def _bred_later() -> Sampler:
    """`tpe`, then `nsga2`, which is told all trials from the first. In a finite space it also steps in where `tpe` would repeat one."""
    breeder = nsga2(POPULATION)
    parts = sequence((tpe(), FIRST), (breeder, None))

    def ask(state: PartsState, numbers: Ints) -> Floats:
        bred: Nsga2State = state.states[1]
        if bred.rest is None or not len(numbers) or numbers[0] >= FIRST:
            return parts.ask(state, numbers)
        u = parts.ask(state, numbers[:1])  # who is told each point before the next need not guess how many repeat
        return u if bred.seen.is_new(keys(u)[0], set()) else breeder.ask(bred, numbers[:1])

    return parts._replace(ask=ask, finite=True)
