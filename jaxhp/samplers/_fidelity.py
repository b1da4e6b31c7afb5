"""What the value of a trial that did not run to its end says of the end: for samplers under schedulers.

A trial that was paused or stopped told its value at some step, and values at different steps cannot be compared: a mediocre trial at
its end is better than the best one after a tenth of its run. What is still to come is seen in the trials that went further. The levels
l_1 < ... < l_k are the steps at which trials stand; the end is what complete trials told. For neighbouring levels, and for l_k and the end,

    d_j = y_j(l_i+1) - y_j(l_i)                                       over the trials j seen at both
    shift(l_i) = shift(l_i+1) + median d                              and 0 at the end,
    spread(l_i)^2 = spread(l_i+1)^2 + (1.4826 median |d - median d|)^2

and a value y at l_i is **brought** to y + shift(l_i), known to within the standard deviation spread(l_i): a row of a model with
noise of its own. Until a trial is complete the highest level stands for the end. BOHB (Falkner et al., ICML 2018) models the rows of
the highest fidelity that has enough of them and leaves the others out; docs/bayes.md has what that and other rules cost.

A trial that is complete or failed is at its end, whatever its step. A report between levels counts at those it has passed.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right, insort
from typing import Final

import numpy as np

from jaxhp._types import Status

END: Final = math.inf  # the step of a trial that ran to its end
_COMPLETE, _FAILED, _REPORTED = int(Status.COMPLETE), int(Status.FAILED), int(Status.REPORTED)  # an enum's members are slow to compare
NORMAL: Final = 1.4826  # standard deviation of a normal distribution over its median absolute deviation


class Fidelity:
    """The learning curves of a study. Linear: grows in place."""

    def __init__(self) -> None:
        self._curves: dict[int, tuple[array[float], array[float]]] = {}  # number -> rising steps, and values
        self._levels: list[float] = []  # rising
        self._at: dict[float, dict[int, float]] = {}  # level -> number -> value there, of the trials that came as far
        self._ends: dict[int, float] = {}  # number -> value of a complete trial
        self._brought: dict[float, tuple[float, float]] | None = None

    def tell(self, number: int, status: int, step: float, y: float) -> float:
        """Takes in a row that is not pending, and returns the step at which its value stands: `END` at the end of a run.

        Args:
            number: of the trial.
            status: of the row.
            step: its fidelity, NaN where none was told.
            y: its value, minimised.
        """
        if status == _COMPLETE:
            self._ends[number] = y
            self._brought = None
            return END
        if status == _REPORTED:
            if math.isfinite(step):
                self._report(number, step, y)
            return step
        if status == _FAILED or not math.isfinite(y):
            return END
        steps, _ = self._curves.get(number, ((), ()))
        if not math.isfinite(step):
            step = steps[-1] if steps else END
        elif not steps or steps[-1] != step:
            self._report(number, step, y)
        if step < END and step not in self._at:
            self._add_level(step)
        return step

    def brought(self, step: float) -> tuple[float, float]:
        """(shift, spread) of a value at a step where a trial stands; (0, 0) at the end.

        >>> curves = Fidelity()
        >>> for number, (early, late) in enumerate([(3.0, 1.0), (4.0, 2.5), (5.0, 2.0)]):
        ...     _ = curves.tell(number, Status.PAUSED, 1.0, early), curves.tell(number, Status.COMPLETE, 9.0, late)
        >>> curves.brought(1.0)  # the differences are -2.0, -1.5 and -3.0
        (-2.0, 0.7413)
        """
        if step == END:
            return 0.0, 0.0
        if self._brought is None:
            self._brought = self._chain()
        return self._brought[step]

    def _chain(self) -> dict[float, tuple[float, float]]:
        found: dict[float, tuple[float, float]] = {}
        shift, spread, further = 0.0, 0.0, self._ends
        for level in reversed(self._levels):
            here = self._at[level]
            d = np.array([y - here[number] for number, y in further.items() if number in here])
            d = d[np.isfinite(d)]
            if len(d):
                with np.errstate(over="ignore"):
                    middle = float(np.median(d))
                    off = NORMAL * float(np.median(np.abs(d - middle)))
                shift, spread = shift + middle, math.hypot(spread, off)
            found[level] = shift, spread
            further = here
        return found

    def _report(self, number: int, step: float, y: float) -> None:
        steps, values = self._curves.setdefault(number, (array("d"), array("d")))
        if steps and step <= steps[-1]:  # it was started again
            i = bisect_left(steps, step)
            del steps[i:], values[i:]
            for level in self._levels[bisect_left(self._levels, step) :]:
                self._at[level].pop(number, None)
        first = bisect_right(self._levels, steps[-1]) if steps else 0
        for level in self._levels[first : bisect_right(self._levels, step)]:
            if level == step:
                self._at[level][number] = y
            elif values:
                self._at[level][number] = values[-1]
        steps.append(step)
        values.append(y)
        self._brought = None

    def _add_level(self, level: float) -> None:
        insort(self._levels, level)
        passed = self._at[level] = {}
        for number, (steps, values) in self._curves.items():
            i = bisect_right(steps, level) - 1
            if i >= 0 and steps[-1] >= level:
                passed[number] = values[i]
        self._brought = None
