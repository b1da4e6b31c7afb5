"""Any sampler of ours as a `ray.tune.search.Searcher`.

Behind it is a study in memory: Tune's trials are its trials, results its reports and tells. What is saved is the log of that study as
JSON, so a searcher that was restored goes on as one that was never interrupted, bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.tune import search

from jaxhp._outcomes import scalar
from jaxhp._types import Direction, Record, Sampler
from jaxhp.errors import SamplerError, SpaceExhausted, StudyError
from jaxhp.interop.ray._domains import Code, code_of, code_of_space
from jaxhp.space import Space
from jaxhp.storage import MemoryLog
from jaxhp.storage._codec import dumps
from jaxhp.study import Study

_DIRECTIONS: dict[str, Direction] = {"min": "minimize", "max": "maximize"}
_FORMAT = 1


class Searcher(search.Searcher):  # type: ignore[misc]  # Ray has no types
    """A jaxhp sampler for `tune.TuneConfig(search_alg=...)`.

    Running trials are pending, so that parallel ones spread; a trial that raised, or whose metric is not finite, is a failure to be
    avoided; one that a scheduler of Tune stopped counts with its last result. A finite sampler ends the search when nothing is left.

    Args:
        sampler: such as `jaxhp.bayes()`.
        metric, mode: what is searched for, "min" or "max"; lists for several objectives. Left out, those of `TuneConfig`.
        space: a `jaxhp.Space` with conditions and constraints, or Tune's search space; left out, that of the `Tuner`.
        seed: names every draw.
        points_to_evaluate: configurations to try first.
        stochastic: the objective is noisy; repeated configurations are then welcome.

    Raises:
        SamplerError: an argument is not valid. SpaceError: the search space cannot be searched.

    >>> import jaxhp
    >>> from ray import tune
    >>> searcher = Searcher(jaxhp.bayes(), metric="loss", mode="min", space={"x": tune.uniform(-1.0, 1.0)})
    >>> for i in range(12):
    ...     config = searcher.suggest(f"trial {i}")
    ...     searcher.on_trial_complete(f"trial {i}", {"loss": (config["x"] - 0.3) ** 2})
    >>> searcher.study.best.value < 1e-3
    True
    """

    def __init__(
        self,
        sampler: Sampler,
        *,
        metric: str | list[str] | None = None,
        mode: str | list[str] | None = None,
        space: Space | Mapping[str, Any] | None = None,
        seed: int = 0,
        points_to_evaluate: Sequence[Mapping[str, Any]] = (),
        stochastic: bool = False,
    ) -> None:
        if not isinstance(sampler, Sampler):
            raise SamplerError(f"Searcher({sampler!r}): expected a sampler such as jaxhp.bayes(); is a pair of parentheses missing?")
        metrics, modes = (given if isinstance(given, list) else [given] for given in (metric, mode))
        if not all(isinstance(one, str | None) for one in metrics):
            raise SamplerError(f"Searcher(metric={metric!r}): expected the name of a metric, or a list of them")
        if not all(one in (None, "min", "max") or (one == "obs" and isinstance(mode, list)) for one in modes):
            raise SamplerError(f"Searcher(mode={mode!r}): expected 'min' or 'max', or a list of them for several metrics")
        if (metric is None) != (mode is None) or isinstance(metric, list) != isinstance(mode, list) or len(metrics) != len(modes):
            raise SamplerError(f"Searcher(metric={metric!r}, mode={mode!r}): each metric needs a mode, 'min' or 'max'")
        if space is not None and not isinstance(space, (Space, Mapping)):
            raise SamplerError(
                f"Searcher(space={space!r}): expected a jaxhp.Space or a search space of Tune, or None for that of the Tuner"
            )
        if not isinstance(points_to_evaluate, (list, tuple)) or not all(isinstance(point, Mapping) for point in points_to_evaluate):
            raise SamplerError(f"Searcher(points_to_evaluate={points_to_evaluate!r}): expected a list of configurations")
        super().__init__(metric, mode)
        self._metric: str | list[str] | None = metric
        self._mode: str | list[str] | None = mode
        self._sampler, self._seed, self._stochastic = sampler, seed, bool(stochastic)
        self._points = [dict(point) for point in points_to_evaluate]
        self._code: Code | None = None
        self._numbers: dict[str, int] = {}  # of Tune's trials
        self._log: list[Record] | None = None  # that was restored, until the space is known
        self._study: Study | None = None
        if isinstance(space, Space):
            self._code = code_of_space(space)
        elif space is not None:
            self._code = code_of(space)
            if self._code is None:
                raise SamplerError(f"Searcher(space={space!r}): nothing in it varies")

    @property
    def study(self) -> Study:
        """What the searcher knows, for `explain`, `forecast`, `jaxhp.report`. Ask and tell it only through Tune.

        Raises:
            SamplerError: metric, mode or space are not known yet.
        """
        if self._study is None:
            if self._code is None or not self._metric or not self._mode:
                missing = "the search space" if self._code is None else "metric and mode"
                raise SamplerError(f"Searcher: {missing} is not known yet; give it to Searcher(...) or to the Tuner")
            log = MemoryLog()
            if self._log is not None:
                log.append("study", self._log, at=0)
            self._study = Study(
                self._code.space,
                sampler=self._sampler,
                directions=self._directions(),
                seed=self._seed,
                stochastic=self._stochastic,
                storage=log,
                leases=None,  # Tune itself runs a trial again whose process is gone
            )
            if self._log is None:
                for point in self._points:
                    self._study.enqueue(self._code.params(point))
            self._log = None
        return self._study

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """What the Tuner says of metric, mode and space; False where it contradicts what is known."""
        code = code_of(config)
        if any(known and said and known != said for known, said in ((self._metric, metric), (self._mode, mode))):
            return False
        if code is not None and self._code is not None and self._code.space.difference(code.space):
            return False
        self._metric, self._mode = self._metric or metric, self._mode or mode
        self._code = self._code or code
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """A configuration for a new trial, nested; `Searcher.FINISHED` where a finite sampler has nothing left."""
        try:
            trial = self.study.ask()
        except SpaceExhausted:
            finished: str = self.FINISHED
            return finished
        assert self._code is not None
        self._numbers[trial_id] = trial.number
        return self._code.config(trial.params)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A report, at Tune's `training_iteration`."""
        number = self._running(trial_id)
        values = self._values(result)
        if number is not None and values is not None and "training_iteration" in result:
            self.study.report(number, result["training_iteration"], values)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The result of a trial, or that it failed."""
        number = self._running(trial_id)
        if number is None:
            return
        values = self._values(result or {})
        if error or values is None:
            self.study.tell(number, error="it raised" if error else f"its last result lacks {self._metric}, or has no number there")
        else:
            self.study.tell(number, values, cost=(result or {}).get("time_total_s"))

    def add_evaluated_point(
        self,
        parameters: dict[str, Any],
        value: float | Sequence[float],
        error: bool = False,
        pruned: bool = False,
        intermediate_values: list[float] | None = None,
    ) -> None:
        """Records what is known already, as a trial of its own; what was pruned counts with its value."""
        study = self.study
        assert self._code is not None
        params = self._code.params(parameters)
        values = value if isinstance(value, Sequence) else [value]
        if not error and len(values) != len(self._directions()):
            raise StudyError(f"add_evaluated_point(value={value!r}): expected one value for each of {', '.join(self._directions())}")
        if error:
            study.tell(study._session.add(params, study._point), error="it raised")
        else:
            study.add(params, dict(zip(self._directions(), values, strict=True)))

    def save(self, checkpoint_path: str) -> None:
        """Writes the state as JSON."""
        Path(checkpoint_path).write_text(self._state())

    def restore(self, checkpoint_path: str) -> None:
        """Goes on where the searcher that wrote this was.

        Raises:
            StudyError: this was not written by `save`.
        """
        try:
            state = json.loads(Path(checkpoint_path).read_text())
            self._restore(state)
        except (ValueError, KeyError, TypeError) as e:
            raise StudyError(f"{checkpoint_path}: this is no saved state of jaxhp's Searcher ({type(e).__name__}: {e})") from e

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_study", "_log")} | {"state": self._state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        saved = json.loads(state["state"])
        self.__dict__.update({name: value for name, value in state.items() if name != "state"})
        self._restore(saved)

    def _state(self) -> str:
        records = self._study._session.log.read("study") if self._study is not None else self._log
        return dumps({"format": _FORMAT, "metric": self._metric, "mode": self._mode, "trials": self._numbers, "log": records})

    def _restore(self, state: dict[str, Any]) -> None:
        if state["format"] != _FORMAT:
            raise ValueError(f"format {state['format']} is not {_FORMAT}: it was written by another jaxhp")
        self._metric, self._mode = state["metric"], state["mode"]
        self._numbers, self._log, self._study = dict(state["trials"]), state["log"], None

    def _directions(self) -> dict[str, Direction]:
        metrics = [self._metric] if isinstance(self._metric, str) else self._metric or []
        modes = [self._mode] if isinstance(self._mode, str) else self._mode or []
        return {name: _DIRECTIONS[way] for name, way in zip(metrics, modes, strict=True) if way != "obs"}

    def _values(self, result: Mapping[str, Any]) -> dict[str, float] | None:
        """The metrics of a result; None where one is missing, or no number."""
        try:
            return {name: scalar(result.get(name), name) for name in self._directions()}
        except StudyError:
            return None

    def _running(self, trial_id: str) -> int | None:
        """The number of a trial that is not over."""
        number = self._numbers.get(trial_id)
        return number if number is not None and self.study._fold.pending(number) else None
