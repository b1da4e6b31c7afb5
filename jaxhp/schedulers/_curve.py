"""The learning curve of one trial, as a scheduler keeps it."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field


@dataclass(slots=True)
class Curve:
    """The reports of a trial. Values are minimised, and inf where they are not finite."""

    steps: list[float] = field(default_factory=list)  # rising
    values: list[float] = field(default_factory=list)
    best: list[float] = field(default_factory=list)  # lowest value up to there
    mean: list[float] = field(default_factory=list)  # of the values up to there

    def report(self, step: float, value: float) -> None:
        """A report at an earlier step takes back the later ones: the trial was started again."""
        if self.steps and step <= self.steps[-1]:
            i = bisect_left(self.steps, step)
            del self.steps[i:], self.values[i:], self.best[i:], self.mean[i:]
        value = value if math.isfinite(value) else math.inf
        self.steps.append(step)
        self.values.append(value)
        self.best.append(min(value, self.best[-1]) if self.best else value)
        self.mean.append(_joined_mean(self.mean[-1], value, len(self.values)) if self.mean else value)


def _joined_mean(mean: float, value: float, n: int) -> float:
    """The mean of n values from that of the first n - 1: it cannot overflow, and is exact where all of them are equal."""
    return mean + (value / n - mean / n) if max(mean, value) < math.inf else math.inf
