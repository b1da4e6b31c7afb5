"""Confirmation: the best of many noisy results is partly luck; evaluated again, it shows how much.

The told value of a selected configuration is biased towards good (the winner's curse). Fresh evaluations of the top few
give an unbiased mean, its Student-t interval, and the difference, which is the **optimism** of the search. They are
recorded in the log but never told to the sampler: they may be of another split, such as a test set.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxhp._outcomes import metrics, satisfied
from jaxhp._slopes import parted
from jaxhp._types import Params, Status
from jaxhp.errors import StudyError
from jaxhp.trial import Trial

if TYPE_CHECKING:
    from jaxhp._errand import Objective
    from jaxhp.study import Study


class Confirmation(NamedTuple):
    """One configuration, evaluated again."""

    number: int
    params: Params
    told: float  # the value that the search saw
    values: tuple[float, ...]  # the fresh ones, finite
    mean: float  # NaN when every repeat failed
    low: float  # 95 % Student-t interval of the mean; -inf and inf with fewer than two values
    high: float
    optimism: float  # how much better the told value looked than the mean, in the metric's own units, positive: it flattered
    failed: int  # repeats that raised or were not finite


def confirm(study: Study, objective: Objective, *, top: int, repeats: int, label: str) -> list[Confirmation]:
    """Evaluates `study.best` and the next best told ones, `top` in all, `repeats` times each; best mean first.

    `objective(trial)` sees the trial's params, `trial.replicate` = 1..repeats and a `trial.seed` that differs for each.
    Repeats are recorded under `label`, so that an interrupted confirmation continues, and another one (a test split) has its own.

    Raises:
        StudyError: several objectives, no completed trial, or an argument is not valid.

    >>> import jaxhp
    >>> study = jaxhp.Study(jaxhp.Space({"x": jaxhp.Float(0.0, 1.0)}), sampler=jaxhp.sobol())
    >>> study = study.optimize(lambda trial: trial["x"], trials=8)
    >>> [round(c.optimism, 12) for c in study.confirm(lambda trial: trial["x"] + 1.0, top=1, repeats=3)]
    [1.0]
    """
    for name, count in (("top", top), ("repeats", repeats)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise StudyError(f"confirm: {name} must be a positive number, got {count!r}")
    best = study.best  # raises where there is nothing to confirm
    outcome = study.outcomes[0]
    done = [t for t in study.finished if t.status == Status.COMPLETE and satisfied(study.outcomes, t.values)]
    chosen: list[Trial] = []
    seen: set[bytes] = set()
    for trial in [best, *sorted(done, key=lambda t: (outcome.sign * t.values[outcome.name], t.number))]:
        if trial.u.tobytes() not in seen and len(chosen) < top:
            seen.add(trial.u.tobytes())
            chosen.append(trial)
    recorded = {(r["number"], r["replicate"]): float(r["value"]) for r in study._fold.confirmed if r["label"] == label}
    confirmations = []
    for trial in chosen:
        values: list[float] = []
        for replicate in range(1, repeats + 1):
            if (trial.number, replicate) not in recorded:
                again = Trial(study, trial.number, trial.u, dict(trial.params), replicate=replicate)
                value = metrics(study.outcomes, parted(objective(again))[0], f"confirm of trial {trial.number}")[outcome.name]
                record = {"kind": "confirm", "number": trial.number, "replicate": replicate, "label": label, "value": value}
                with study._lock:
                    study._session.append(record | {"time": time.time()})
                recorded[trial.number, replicate] = value
            values.append(recorded[trial.number, replicate])
        confirmations.append(_summary(trial, trial.values[outcome.name], values, outcome.sign))
    return sorted(confirmations, key=lambda c: (math.isnan(c.mean), outcome.sign * c.mean))


def _summary(trial: Trial, told: float, values: list[float], sign: float) -> Confirmation:
    from scipy.stats import t as student

    finite = np.array([v for v in values if math.isfinite(v)])
    n = len(finite)
    mean = float(finite.mean()) if n else math.nan
    half = float(student.ppf(0.975, n - 1) * finite.std(ddof=1) / math.sqrt(n)) if n > 1 else math.inf
    return Confirmation(
        trial.number, trial.params, told, tuple(finite.tolist()), mean, mean - half, mean + half, sign * (mean - told), len(values) - n
    )
