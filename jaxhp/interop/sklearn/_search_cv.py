"""`SearchCV`: the candidates of a cross-validated search, suggested by a study.

It is a `BaseSearchCV`, which clones, splits, routes metadata, scores and refits. `_run_search`, its point of extension, asks the study for
as many candidates at a time as there are jobs, has them evaluated on the same splits, and tells the study their mean scores. Scores and
times of each split are told beside them, so that a search that goes on from a storage has `cv_results_` of all its candidates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import joblib
import numpy as np
from sklearn.model_selection._search import BaseSearchCV

from jaxhp._types import Params, Sampler
from jaxhp.errors import SpaceExhausted, StudyError
from jaxhp.interop.sklearn._space import Searched, searched
from jaxhp.samplers._named import named_sampler
from jaxhp.storage import Log, MemoryLog
from jaxhp.study import Study
from jaxhp.trial import Trial

_TIMES = ("fit_time", "score_time")
_ALL_FAILED = "fits failed"  # scikit-learn's ValueError where no fit of a call succeeded
_SCORE = "score"  # what scikit-learn calls the one metric


class SearchCV(BaseSearchCV):  # type: ignore[misc]  # scikit-learn has no types
    """Cross-validated search over the parameters of an estimator, like `RandomizedSearchCV`, with suggestions that learn.

    Args:
        estimator: to be tuned; parts of a pipeline have names such as `svc__C`.
        space: a `jaxhp.Space`, with conditions and constraints if it likes, or a dict of jaxhp parameters, lists and scipy distributions.
        sampler: such as `jaxhp.bayes()`, or its name; `jaxhp.auto()` by default.
        trials: how many candidates in all, those in the storage included.
        scoring, refit, cv, n_jobs, error_score, return_train_score, verbose, pre_dispatch: as in `RandomizedSearchCV`. Of several metrics
            the one of `refit` is maximised; where refit is False or a function, the first.
        seed: names every draw of the sampler.
        storage, name: of the study; the same search goes on where it was interrupted. Give it the same data and splits.

    Attributes:
        study_: the `jaxhp.Study`: `study_.explain()`, `study_.forecast()`.
        cv_results_, best_params_, best_score_, best_estimator_, best_index_: as in `RandomizedSearchCV`; candidates in the order of trials.

    Raises:
        StudyError, SpaceError: at `fit`, where an argument is not valid.

    >>> import jaxhp
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.svm import SVC
    >>> search = SearchCV(SVC(), {"C": jaxhp.Float(0.01, 100.0, log=True)}, sampler="sobol", trials=6).fit(*load_iris(return_X_y=True))
    >>> len(search.cv_results_["params"]), bool(search.best_score_ > 0.95)
    (6, True)
    """

    def __init__(
        self,
        estimator: Any,
        space: Any,
        *,
        sampler: Sampler | str | None = None,
        trials: int = 50,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: bool | str | Callable[..., int] = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        seed: int = 0,
        storage: str | Log | None = None,
        name: str = "study",
        error_score: float | str = np.nan,
        return_train_score: bool = False,
    ) -> None:
        self.space = space
        self.sampler = sampler
        self.trials = trials
        self.seed = seed
        self.storage = storage
        self.name = name
        super().__init__(
            estimator=estimator, scoring=scoring, n_jobs=n_jobs, refit=refit, cv=cv, verbose=verbose, pre_dispatch=pre_dispatch,
            error_score=error_score, return_train_score=return_train_score,
        )  # fmt: skip

    def _run_search(self, evaluate_candidates: Callable[..., dict[str, Any]]) -> None:
        if isinstance(self.trials, bool) or not isinstance(self.trials, (int, np.integer)) or self.trials < 1:
            raise StudyError(f"trials: expected a positive number of candidates, got {self.trials!r}")
        space = searched(self.space)
        scorers, metric = self._get_scorers()
        several = list(getattr(scorers, "_scorers", ()))
        if metric not in several:  # a scoring function may return several, too
            metric = several[0] if several else self.refit if isinstance(self.refit, str) else _SCORE
        study = Study(
            space.space, sampler=_sampler(self.sampler), metric=metric, direction="maximize", storage=self.storage, name=self.name,
            seed=self.seed,
        )  # fmt: skip
        splits = _Once(self._checked_cv_orig)
        self._rows = rows = _Rows(study, space, self.n_splits_, several, self.return_train_score)
        try:
            failure: ValueError | None = None
            for batch in _batches(study, self.trials, joblib.effective_n_jobs(self.n_jobs)):
                rows.evaluated += [t.number for t in batch]
                try:
                    results = evaluate_candidates([space.candidate(t.params) for t in batch], cv=splits)
                except BaseException as e:
                    del rows.evaluated[-len(batch) :]
                    if self.error_score == "raise" or not isinstance(e, ValueError) or _ALL_FAILED not in str(e):
                        for trial in batch:
                            study.release(trial, "the search ended")
                        raise
                    failure = e  # of candidates, which is no reason to end a search
                    for trial in batch:
                        study.tell(trial, error=str(e))
                        rows.add_failed(trial.number, space.candidate(trial.params), float(self.error_score))
                else:
                    for trial in batch:
                        _tell(study, trial, metric, results, rows.numbers.index(trial.number), self.n_splits_)
            if not rows.evaluated and (failure is not None or not rows.kept):
                raise failure or StudyError(f"study {study.name!r} has no candidate that this search evaluated; use another name=")
            if not rows.evaluated:  # BaseSearchCV looks at what it evaluated itself
                results = evaluate_candidates([next(iter(rows.kept.values()))[0]], cv=splits)
            results.update(self._format_results(*rows.given))  # with those that failed after the last that did not
        finally:
            del self._rows
        self.study_ = study

    def _format_results(self, candidate_params: list[Params], n_splits: int, out: list[Any], more_results: Any = None) -> Any:
        """Of all candidates of the study, in the order of trials."""
        rows: _Rows = self._rows
        rows.given = candidate_params, n_splits, out
        fits = [out[i : i + n_splits] for i in range(0, len(out), n_splits)]
        found = rows.kept | dict(zip(rows.evaluated, zip(candidate_params, fits, strict=False), strict=False))
        ordered = [found[number] for number in rows.numbers]
        alike = [{key: fit[key] for key in rows.columns} for _, of in ordered for fit in of]
        return super()._format_results([params for params, _ in ordered], n_splits, alike, more_results)

    def __getstate__(self) -> dict[str, Any]:
        """A study travels as its records."""
        state: dict[str, Any] = super().__getstate__()
        if "study_" in state:
            study = state["study_"]
            state = state | {"study_": (study.name, study._log.read(study.name))}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "study_" in state:
            name, records = state["study_"]
            log = MemoryLog()
            log.append(name, records)
            state = state | {"study_": Study.open(log, name)}
        super().__setstate__(state)


class _Once:
    """A splitter whose splits are drawn once, so that all candidates are compared on the same ones."""

    def __init__(self, splitter: Any) -> None:
        self._splitter = splitter
        self._splits: list[Any] | None = None

    def split(self, *arguments: Any, **more: Any) -> list[Any]:
        if self._splits is None:
            self._splits = list(self._splitter.split(*arguments, **more))
        return self._splits


class _Rows:
    """The candidates of `cv_results_` by trial: those that the storage held, those that failed altogether, and those evaluated now."""

    def __init__(self, study: Study, space: Searched, splits: int, several: list[str], train: bool) -> None:
        self._splits, self._several = splits, several
        self._parts = ("test", "train") if train else ("test",)
        self.columns = (*_TIMES, *(f"{part}_scores" for part in self._parts))  # of a fit
        self.evaluated: list[int] = []  # in the order in which `BaseSearchCV` was given them
        self.given: tuple[list[Params], int, list[Any]] = ([], splits, [])  # what `BaseSearchCV` last made a table of
        self.kept: dict[int, tuple[Params, list[dict[str, Any]]]] = {}
        for trial in study.finished:
            if f"split{splits - 1}_fit_time" in trial.values:
                fits = [self._fit(trial.values, f"split{i}_") for i in range(splits)]
                self.kept[trial.number] = space.candidate(trial.params), fits

    @property
    def numbers(self) -> list[int]:
        """The trials that have a row, in order."""
        return sorted({*self.kept, *self.evaluated})

    def add_failed(self, number: int, params: Params, score: float) -> None:
        """A candidate all of whose fits failed."""
        scores = dict.fromkeys(self._several, score) if self._several else score
        fit = dict.fromkeys(_TIMES, 0.0) | {f"{part}_scores": scores for part in self._parts}
        self.kept[number] = params, [fit] * self._splits

    def _fit(self, values: Mapping[str, float], prefix: str) -> dict[str, Any]:
        """What `_fit_and_score` returned of a split."""
        mine = {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}
        fit: dict[str, Any] = {name: mine[name] for name in _TIMES}
        for part in self._parts:
            scores = {key.removeprefix(f"{part}_"): value for key, value in mine.items() if key.startswith(f"{part}_")}
            fit[f"{part}_scores"] = scores if self._several or list(scores) != [_SCORE] else scores[_SCORE]
        return fit


def _sampler(given: Sampler | str | None) -> Sampler | None:
    return named_sampler(given) if isinstance(given, str) else given


def _batches(study: Study, trials: int, jobs: int) -> Iterator[list[Trial]]:
    """Candidates side by side, until the study holds so many, or the space has no more."""
    while len(study.finished) < trials:
        try:
            yield study.ask(min(jobs, trials - len(study.finished)))
        except SpaceExhausted:
            return


def _tell(study: Study, trial: Trial, metric: str, results: Mapping[str, Any], row: int, splits: int) -> None:
    """The mean score of a candidate; and beside it the other means, and scores and times of each split."""
    if f"mean_test_{metric}" not in results:
        known = ", ".join(key.removeprefix("mean_test_") for key in results if key.startswith("mean_test_"))
        raise StudyError(f"refit: the search maximises one of {known}, which the scoring function returns; name it with refit=")
    told = {}
    for key, column in results.items():
        if key.startswith("mean_test_"):
            told[key.removeprefix("mean_test_")] = float(column[row])
        elif key.startswith("split"):
            told[key] = float(column[row])
    times = {name: float(results[f"mean_{name}"][row]) for name in _TIMES}
    told |= {f"split{i}_{name}": seconds for i in range(splits) for name, seconds in times.items()}
    study.tell(trial, told, cost=sum(seconds for seconds in times.values() if not math.isnan(seconds)) * splits)
