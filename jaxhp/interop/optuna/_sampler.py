"""Any sampler of ours as an `optuna.samplers.BaseSampler`.

Optuna suggests parameters one by one while the objective runs, and knows no space. A **relative** suggestion is made at once for the
parameters that finished trials have in common, and for those whose conditions they show (`_structure.py`); what else the objective asks
for is suggested **independently**. Here each set of distributions has a fold of its own: the sampler's state over the trials that have
these parameters (`_history.py`), continued from suggestion to suggestion. An independent parameter is a space of one dim, where the rest
of the configuration is noise: `stochastic`.

A suggestion is a function of (seed, trial number, what was known), so workers never draw the same, and there is nothing to reseed.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final
from zlib import crc32

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

import jaxhp._types as types
from jaxhp._arguments import is_whole
from jaxhp._rng import rng, uniform
from jaxhp._types import Outcome, Params, Problem
from jaxhp.errors import SamplerError
from jaxhp.interop.optuna._distributions import Code, Distributions, code_of, distribution_of, single_value
from jaxhp.interop.optuna._history import CONSTRAINT, ByStudy, Ended, History, objectives
from jaxhp.interop.optuna._structure import Conditions, Structure
from jaxhp.space import Float, Space

FOLDS: Final = 64  # kept per study; a study whose distributions change in every trial needs new ones without end

_log = logging.getLogger(__name__)


class Sampler(BaseSampler):
    """A jaxhp sampler for `optuna.create_study(sampler=...)`.

    Define-by-run objectives, spaces that change, several objectives and constraints, as far as the sampler can do them; pruned trials
    count as stopped ones, running trials as pending, failed ones as failures to be avoided. When a finite sampler has nothing left to
    suggest, uniform draws follow, and the log of this module says so once.

    Args:
        sampler: such as `jaxhp.bayes()`.
        seed: names every draw, with the number of the trial; drawn by chance where it is not given.
        space: the parameters, where they are known beforehand: then the first trial is already a relative suggestion, and conditions
            (`when=`) and constraints (`where`) hold. Without, it is learned from the trials.
        constraints_func: gives the constraint values of a finished trial, feasible where <= 0, as in Optuna's own samplers;
            `trial.set_constraint` is heard as well.
        stochastic: the objective is noisy; repeated configurations are then welcome.

    Raises:
        SamplerError: an argument is not valid; when the study runs: the sampler cannot do several objectives or constraints.

    >>> import jaxhp, optuna
    >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
    >>> study = optuna.create_study(sampler=Sampler(jaxhp.bayes(), seed=0))
    >>> study.optimize(lambda trial: (trial.suggest_float("x", -1.0, 1.0) - 0.3) ** 2, n_trials=15)
    >>> study.best_value < 1e-4
    True
    """

    def __init__(
        self,
        sampler: types.Sampler,
        seed: int | None = None,
        *,
        space: Space | None = None,
        constraints_func: Callable[[FrozenTrial], Sequence[float]] | None = None,
        stochastic: bool = False,
    ) -> None:
        if not isinstance(sampler, types.Sampler):
            raise SamplerError(f"Sampler({sampler!r}): expected a sampler such as jaxhp.bayes(); is a pair of parentheses missing?")
        if seed is not None and (not is_whole(seed) or not 0 <= seed < 1 << 63):
            raise SamplerError(f"Sampler(seed={seed!r}): expected an integer in [0, 2**63), or None")
        if space is not None and not isinstance(space, Space):
            raise SamplerError(f"Sampler(space={space!r}): expected a jaxhp.Space, or None to learn it from the trials")
        if constraints_func is not None and not callable(constraints_func):
            raise SamplerError(f"Sampler(constraints_func={constraints_func!r}): expected a function of a trial that gives numbers")
        self._sampler = sampler
        self._seed = secrets.randbits(63) if seed is None else int(seed)
        self._space = space
        self._constraints_func = constraints_func
        self._stochastic = bool(stochastic)
        self._start()

    def _start(self) -> None:
        self._lock = threading.RLock()  # workers of one process share this object
        self._studies: ByStudy[_Searches] = ByStudy()

    def __str__(self) -> str:
        return f"jaxhp.{self._sampler.name}"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_studies")}  # folds are made again

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def reseed_rng(self) -> None:
        """Nothing to do: workers draw by the numbers of their trials, which differ."""

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> Distributions:
        """The distributions of `space`, or those that finished trials have in common or show the conditions of."""
        if self._space is not None:
            return {name: distribution_of(p) for name, p in self._space.parameters.items()}
        with self._lock:
            searches = self._searches(study)
            searches.meet(study, study.get_trials(deepcopy=False))
            return dict(searches.structure.common().distributions)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Distributions) -> Params:
        """Values of the parameters of a search space, suggested together."""
        with self._lock:
            searches = self._searches(study)
            trials = study.get_trials(deepcopy=False)
            searches.meet(study, trials)
            several = {name: d for name, d in search_space.items() if not d.single()}
            if not several:
                return {name: single_value(d) for name, d in search_space.items()}
            if self._code(several) is None:
                known = searches.structure.common().conditions
                conditions = {name: condition for name, condition in known.items() if name in several and condition[0] in several}
                ordered = [name for name in several if name not in conditions] + list(conditions)  # parents first
                several = {name: several[name] for name in ordered}
            else:
                conditions = {}  # those of the space hold
            found = searches.fold(several, conditions, self._fold).suggest(trial.number, trials)
        return found | {name: single_value(d) for name, d in search_space.items() if name not in several}

    def sample_independent(self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> Any:
        """The value of one parameter, whatever the others are."""
        with self._lock:
            searches = self._searches(study)
            trials = study.get_trials(deepcopy=False)
            searches.meet(study, trials)
            if param_distribution.single():
                return single_value(param_distribution)
            return searches.fold({param_name: param_distribution}, {}, self._fold_of_one).suggest(trial.number, trials)[param_name]

    def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Stores the constraint values of a trial that ended with a result.

        Raises:
            SamplerError: they are no numbers, or one of them is NaN.
        """
        if self._constraints_func is None or state not in (TrialState.COMPLETE, TrialState.PRUNED):
            return
        given = self._constraints_func(trial)
        try:
            constraints = tuple(map(float, given))
        except (TypeError, ValueError) as e:
            raise SamplerError(
                f"constraints_func(trial {trial.number}) returned {given!r}; return a list of numbers, <= 0 where met"
            ) from e
        if np.isnan(constraints).any():
            raise SamplerError(f"constraints_func(trial {trial.number}) returned {constraints}; return inf for a violation without measure")
        study._storage.set_trial_system_attr(trial._trial_id, "constraints", constraints)  # where Optuna and its dashboard look for them

    def _searches(self, study: optuna.Study) -> _Searches:
        return self._studies.of(study, lambda: _Searches(self._sampler, study))

    def _code(self, distributions: Distributions) -> Code | None:
        """The given space, where all of it is asked for: `optuna.samplers.PartialFixedSampler` takes some parameters out."""
        return Code(self._space, {}) if self._space is not None and set(distributions) == set(self._space.names) else None

    def _fold(self, outcomes: tuple[Outcome, ...], distributions: Distributions, conditions: Conditions) -> _Fold:
        code = self._code(distributions) or code_of(distributions, conditions)
        return _Fold(self._sampler, code, outcomes, self._stochastic, self._seed)

    def _fold_of_one(self, outcomes: tuple[Outcome, ...], distributions: Distributions, conditions: Conditions) -> _Fold:
        (name,) = distributions
        seed = int(rng(self._seed, crc32(name.encode()), "optuna independent").integers(1 << 63))
        return _Fold(self._sampler, code_of(distributions), outcomes, True, seed)


class _Searches:
    """The folds over one study, the latest last."""

    def __init__(self, sampler: types.Sampler, study: optuna.Study) -> None:
        self.structure = Structure()
        self._sampler = sampler
        self._outcomes = objectives(study)
        self._constraints: dict[str, None] = {}  # names, in the order in which they turned up
        self._looked_at = Ended()
        self._folds: list[tuple[Distributions, Conditions, Any, _Fold]] = []
        self._check()

    def meet(self, study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
        """Looks at the trials that ended, and for constraints that were not there before; with one more, everything is folded again."""
        before = len(self._constraints)
        for trial in self._looked_at.others(trials):
            if trial.state.is_finished():
                self._looked_at.numbers.add(trial.number)
                self._constraints.update(dict.fromkeys(trial.constraints))
                if trial.state != TrialState.FAIL:  # a failure may have come before its parameters
                    self.structure.take(trial)
        if len(self._constraints) != before:
            self._outcomes = objectives(study) + tuple(Outcome(CONSTRAINT + name, "minimize", 0.0) for name in self._constraints)
            self._folds.clear()
            self._check()

    def fold(
        self,
        distributions: Distributions,
        conditions: Conditions,
        make: Callable[[tuple[Outcome, ...], Distributions, Conditions], _Fold],
    ) -> _Fold:
        """The fold of these distributions that this function makes."""
        key = (distributions, conditions, make)
        at = next((i for i in reversed(range(len(self._folds))) if self._folds[i][:3] == key), None)
        found = (
            (dict(distributions), conditions, make, make(self._outcomes, distributions, conditions)) if at is None else self._folds.pop(at)
        )
        self._folds = [*self._folds[-FOLDS + 1 :], found]
        return found[3]

    def _check(self) -> None:
        """A sampler that cannot do several metrics says so at once, whatever the space."""
        if len(self._outcomes) > 1:
            space = Space({"x": Float(0.0, 1.0)})
            self._sampler.init(Problem(space, space.dims, self._outcomes), 0)


class _Fold:
    """A sampler's state over the trials that have these parameters."""

    def __init__(self, sampler: types.Sampler, code: Code, outcomes: tuple[Outcome, ...], stochastic: bool, seed: int) -> None:
        space = code.space
        self._sampler = sampler
        self._code = code
        self._seed = seed
        self._state = sampler.init(Problem(space, space.dims, outcomes, stochastic), seed)
        self._history = History(space.d, outcomes, code.point)
        self._exhausted = False

    def suggest(self, number: int, trials: Sequence[FrozenTrial]) -> Params:
        """The configuration of a trial, given what became of the others."""
        rows = self._history.read(trials)
        if len(rows.number):
            self._state = self._sampler.tell(self._state, rows)
        numbers = np.array([number], dtype=np.int64)
        space = self._code.space
        u = self._sampler.ask(self._state, numbers)
        if not len(u):
            if not self._exhausted:
                self._exhausted = True
                _log.warning("%s has nothing left to suggest for %s: uniform draws follow", self._sampler.name, ", ".join(space.names))
            u = space.constrain(space.snap(uniform(self._seed, numbers, "optuna exhausted", space.d)), self._seed, numbers)
        params = self._code.params(u[0])
        self._history.ask(number, u[0].copy(), params)
        return params
