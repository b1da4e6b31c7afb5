"""A study as columns: what every figure and table of the report draws from.

Values are in the user's own sense (a maximised metric is not negated); `Metric.sign * value` is minimised.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from jaxhp._types import Floats, Kind, Status
from jaxhp.errors import StudyError

if TYPE_CHECKING:
    from jaxhp.study import Study
    from jaxhp.trial import Trial

Scale: TypeAlias = Literal["linear", "log", "category"]

_FEW = 8  # levels that an axis can name one by one

_SCALES: dict[int, Scale] = {
    Kind.FLOAT: "linear",
    Kind.FLOAT_LOG: "log",
    Kind.GRID: "linear",
    Kind.GRID_LOG: "log",
    Kind.ORDINAL: "category",
    Kind.CATEGORICAL: "category",
}


class Metric(NamedTuple):
    """One outcome of the study."""

    name: str
    sign: float  # 1 minimised, -1 maximised
    objective: bool  # False: a constraint
    values: Floats  # (n,) NaN where it failed


class Parameter(NamedTuple):
    """One dimension of the space."""

    name: str
    scale: Scale
    low: float  # bounds; 0 and the number of labels - 1 for a category
    high: float
    ticks: list[float]  # its levels, where it is a number with few; else empty
    labels: list[str]  # of a category that occurs, in the order of its levels
    values: Floats  # (n,) a category's index into `labels`; NaN where inactive


class Curve(NamedTuple):
    """What a trial reported of the first metric while it ran."""

    number: int
    steps: Floats  # (r,)
    values: Floats  # (r,)


class Columns(NamedTuple):
    """n finished trials in number order, and what surrounds them."""

    name: str
    storage: str
    seed: int
    sampler: str
    scheduler: str | None
    running: int
    trials: list[Trial]
    complete: np.ndarray[Any, np.dtype[np.bool_]]  # (n,) finite results that meet the constraints
    failed: np.ndarray[Any, np.dtype[np.bool_]]  # (n,)
    metrics: list[Metric]
    parameters: list[Parameter]
    curves: list[Curve]
    front: list[int]  # indices of the best, best first; of the Pareto front where there are several objectives

    @property
    def objectives(self) -> list[Metric]:
        """The metrics that are optimised."""
        return [m for m in self.metrics if m.objective]

    @property
    def ranked(self) -> list[int]:
        """Indices of complete trials: the front first, then by the first metric."""
        metric = self.metrics[0]
        front = set(self.front)
        rest = [i for i in np.flatnonzero(self.complete).tolist() if i not in front]
        return self.front + sorted(rest, key=lambda i: (metric.sign * metric.values[i], i))


def columns(study: Study) -> Columns:
    """Reads a study."""
    best = _best(study)  # before the trials, which other processes add to
    trials = study.finished
    metrics = [
        Metric(
            name=o.name,
            sign=o.sign,
            objective=o.threshold is None,
            values=np.array([t.values.get(o.name, math.nan) for t in trials]),
        )
        for o in study.outcomes
    ]
    feasible = np.ones(len(trials), dtype=bool)
    for metric, outcome in zip(metrics, study.outcomes, strict=True):
        if outcome.threshold is not None:
            feasible &= metric.sign * metric.values <= metric.sign * outcome.threshold
    status = np.array([t.status for t in trials], dtype=np.int8)
    complete = (status == Status.COMPLETE) & feasible
    index = {t.number: i for i, t in enumerate(trials)}
    front = sorted((index[t.number] for t in best), key=lambda i: (metrics[0].sign * metrics[0].values[i], i))
    return Columns(
        name=study.name,
        storage=study.storage,
        seed=study.seed,
        sampler=study.sampler,
        scheduler=study.scheduler,
        running=len(study.running),
        trials=trials,
        complete=complete,
        failed=status == Status.FAILED,
        metrics=metrics,
        parameters=_parameters(study, trials),
        curves=_curves(study, metrics[0].sign),
        front=front,
    )


def _best(study: Study) -> list[Trial]:
    """The best trial, or the Pareto front; empty while nothing is complete."""
    if sum(o.threshold is None for o in study.outcomes) > 1:
        return study.pareto
    try:
        return [study.best]
    except StudyError:
        return []


def _parameters(study: Study, trials: list[Trial]) -> list[Parameter]:
    space = study.space
    parameters = []
    for j, name in enumerate(space.names):
        ticks: list[float] = []
        scale = _SCALES[int(space.dims.kind[j])]
        if scale == "category":
            level = {str(t.params[name]): float(t.u[j]) for t in trials if name in t.params}
            labels = sorted(level, key=level.__getitem__)
            values = [labels.index(str(t.params[name])) if name in t.params else math.nan for t in trials]
            low, high = 0.0, float(max(len(labels) - 1, 0))
        else:
            labels = []
            values = [float(t.params.get(name, math.nan)) for t in trials]
            low, high = float(space.dims.low[j]), float(space.dims.high[j])
            if 0 < space.dims.levels[j] <= _FEW:
                ticks = sorted({v for v in values if not math.isnan(v)})
        parameters.append(Parameter(name, scale, low, high, ticks, labels, np.array(values, dtype=np.float64)))
    return parameters


def _curves(study: Study, sign: float) -> list[Curve]:
    rows = study.trials
    reported = np.flatnonzero(rows.status == Status.REPORTED)
    if not len(reported):
        return []
    order = reported[np.lexsort((rows.fidelity[reported], rows.number[reported]))]
    ends = np.flatnonzero(np.diff(rows.number[order])) + 1
    return [Curve(int(rows.number[i[0]]), rows.fidelity[i], sign * rows.y[i, 0]) for i in np.split(order, ends)]
