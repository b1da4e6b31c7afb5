"""What further trials would bring, and whether that is still worth their cost.

The distribution is that of `_prospect.py`; this file takes the history from the log, gives the answer in the user's units and
direction, and makes a rule to stop by.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from jaxhp._types import Direction, Floats, Status
from jaxhp.analysis._model import told_rows
from jaxhp.analysis._prospect import prospect, spread
from jaxhp.errors import StudyError

if TYPE_CHECKING:
    from jaxhp.study import Study

MEANINGFUL: Final = 0.01  # of the spread: a gain that counts
NEEDED: Final = 10  # completed results
_BLIND: Final = {"random_search", "sobol", "grid_search", "exhaust", "startup", "sequence", "mixture", "freeze"}  # learn nothing


class Forecast(NamedTuple):
    """What `more` further trials would bring. Values are in the metric's own units and direction. Printing it gives sentences."""

    study: str
    metric: str
    direction: Direction
    results: int  # trials told so far
    best: float  # the best told value
    more: int  # trials asked about; of a finite space that is not repeated, those that are left
    chance: float  # that the best told value improves by more than 1 % of `spread`
    gain: float  # expected improvement, not negative
    interval: tuple[float, float]  # holds the best told value after these trials with 80 %; ascending
    spread: float  # between the best and the median of the first 20 results: what an untuned trial is worse by
    stochastic: bool

    @property
    def relative_gain(self) -> float:
        """`gain` in units of `spread`."""
        return self.gain / self.spread

    @property
    def title(self) -> str:
        """What this is about."""
        return f"{self.study}: what {self.more} more trials would bring after {self.results}"

    def facts(self) -> dict[str, str]:
        """The answers, as texts for a reader."""
        low, high = self.interval
        facts = {
            "chance": f"{self.chance:.0%} that {self.metric} improves by more than {MEANINGFUL * self.spread:.3g} (1 % of the spread)",
            "gain": f"{self.gain:.3g} expected, {self.relative_gain:.1%} of the spread",
            "best": f"{self.best:.6g} now, then with 80 % in [{low:.6g}, {high:.6g}]",
        }
        noise = {"noise": "these are told values, whose best is partly luck: the true gain is smaller"}
        return facts | noise if self.stochastic else facts

    def __str__(self) -> str:
        return "\n".join([self.title, "", *(f"{label.ljust(6)}  {text}" for label, text in self.facts().items())])


def forecast(study: Study, more: int = 50) -> Forecast:
    """The chance and size of further gain (see `Study.forecast`). Changes nothing.

    Raises:
        StudyError: `more` is not a positive number, several objectives, fewer than ten completed trials that meet the constraints, or
            all results are equal.

    >>> import jaxhp
    >>> space = jaxhp.Space({"x": jaxhp.Float(0.0, 1.0)})
    >>> study = jaxhp.Study(space, sampler=jaxhp.random_search()).optimize(lambda trial: trial["x"], trials=50)
    >>> 0.4 < study.forecast(more=50).chance < 0.5
    True
    """
    if isinstance(more, bool) or not isinstance(more, (int, np.integer)) or more < 1:
        raise StudyError(f"forecast(more={more!r}): expected a positive number of trials")
    with study._lock:
        study._session.sync()
        study._single("forecast")
        y = history(study)
        left = _left(study)
    known = int(np.isfinite(y).sum())
    if known < NEEDED:
        raise StudyError(
            f"study.forecast needs {NEEDED} completed trials that meet the constraints and study {study.name!r} has {known}; "
            f"tell at least {NEEDED - known} more"
        )
    unit = spread(y)
    if unit == 0.0:
        raise StudyError(
            f"study {study.name!r}: all {known} completed results are equal, so there is no gain to measure; is the metric right?"
        )
    more = int(more) if left is None else min(int(more), left)
    best = float(y.min())
    chance = gain = low = high = 0.0
    if more:
        found = prospect(y, study.space.d, more, learns(study.sampler))
        chance = found.exceeds(MEANINGFUL)
        gain, low, high = (unit * g for g in (found.mean(), found.quantile(0.1), found.quantile(0.9)))
    outcome = study.outcomes[0]
    ends = (best - high, best - low)
    interval = ends if outcome.direction == "minimize" else (-ends[1], -ends[0])
    return Forecast(
        study=study.name,
        metric=outcome.name,
        direction=outcome.direction,
        results=len(y),
        best=outcome.sign * best,
        more=more,
        chance=chance,
        gain=gain,
        interval=interval,
        spread=unit,
        stochastic=study._fold.stochastic,
    )


def enough(gain: float = 0.01, *, more: int = 50, at_least: int = 20) -> Callable[[Study], bool]:
    """A rule for `study.optimize(..., until=...)`: true once `more` further trials are expected to gain less than `gain` of the spread.

    Args:
        gain: as a share of the spread, the distance from the best to the median of the first 20 results.
        more: how many trials the expectation is over.
        at_least: never true with fewer finished trials.

    It is a function of the log alone, so a resumed study stops where an uninterrupted one does. Where there is no forecast (fewer than
    ten completed trials, all results equal) it is false.

    Raises:
        StudyError: an argument is not valid; when it is asked, several objectives.

    >>> import jaxhp
    >>> study = jaxhp.Study(jaxhp.Space({"x": jaxhp.Float(-1.0, 1.0)}), sampler=jaxhp.bayes())
    >>> len(study.optimize(lambda trial: trial["x"] ** 2, trials=200, until=jaxhp.enough()).finished) < 100
    True
    """
    if isinstance(gain, bool) or not isinstance(gain, (int, float)) or not 0.0 < gain < math.inf:
        raise StudyError(f"enough(gain={gain!r}): expected a positive share of the spread, such as 0.01")
    for name, value, least in (("more", more, 1), ("at_least", at_least, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise StudyError(f"enough({name}={value!r}): expected a number of trials, {least} or more")

    def until(study: Study) -> bool:
        study._single("forecast")
        with study._lock:
            study._session.sync()
            y = history(study)
        if len(y) < at_least or np.isfinite(y).sum() < NEEDED or spread(y) == 0.0:
            return False
        return forecast(study, more).relative_gain < gain

    return until


def history(study: Study) -> Floats:
    """(n,) minimised objective of the finished trials in the order told; infinite where one failed, was stopped or breaks a constraint."""
    fold = study._fold
    told = told_rows(fold)
    rows = fold.rows.table
    values = rows.y[told]
    counts = (rows.status[told] == Status.COMPLETE) & np.isfinite(values).all(axis=1)
    for j, outcome in enumerate(fold.outcomes):
        if outcome.threshold is not None:
            counts &= values[:, j] <= outcome.sign * outcome.threshold
    return np.where(counts, values[:, 0], np.inf)


def learns(sampler: str) -> bool:
    """Whether a sampler of this name looks at results.

    >>> learns("bayes()"), learns("sequence((sobol(), 16), (random_search(), None))")
    (True, False)
    """
    return not set(re.findall(r"([a-z_]+)\(", sampler)) <= _BLIND or "(" not in sampler


def _left(study: Study) -> int | None:
    """Configurations that were never asked, where the space is finite and repetitions say nothing new; None otherwise."""
    fold = study._fold
    size = study.space.size
    if size is None or fold.stochastic or study.space.constraints:
        return None
    asked = fold.rows.table.u[fold.ask_row]
    return max(0, size - len({u.tobytes() for u in asked}))
