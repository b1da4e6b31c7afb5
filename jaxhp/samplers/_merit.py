"""Which of two told trials is better: for samplers that only compare.

A merit is a pair (excess, value), compared like tuples, the smaller the better: by how much constraints are exceeded, summed in the units
of the metrics, then the objective. These are the rules of Deb (An efficient constraint handling method for genetic algorithms, 2000):
what meets the constraints beats what does not, and of two that do not the one that exceeds them by less. A failure is worst.

A trial that a scheduler paused or stopped counts with its value brought to the end of a run (`_fidelity.py`), which later trials may
correct: so merits are computed when they are compared, and not kept.
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias

from jaxhp._types import Floats, Outcome, Problem, Status
from jaxhp.errors import SamplerError
from jaxhp.samplers._fidelity import Fidelity

Merit: TypeAlias = tuple[float, float]
WORST: Final[Merit] = (math.inf, math.inf)


class Merits:
    """The results of a study, by number. Linear: grows in place.

    >>> import numpy as np
    >>> merits = Merits((Outcome("loss"), Outcome("memory", threshold=8.0)))
    >>> for number, y in enumerate([(1.0, 8.5), (2.0, 7.0), (0.5, 9.0), (math.nan, 1.0)]):
    ...     _ = merits.tell(number, Status.COMPLETE, math.nan, np.array(y))
    >>> sorted(range(4), key=merits.of)
    [1, 0, 2, 3]
    """

    def __init__(self, outcomes: tuple[Outcome, ...]) -> None:
        self._objective = next(i for i, o in enumerate(outcomes) if o.threshold is None)
        self._bounds = [(i, o.sign * o.threshold) for i, o in enumerate(outcomes) if o.threshold is not None]
        self._fidelity = Fidelity()
        self._told: dict[int, tuple[float, float, float]] = {}  # number -> excess, value, step at which it stands

    def __contains__(self, number: int) -> bool:
        return number in self._told

    def tell(self, number: int, status: int, step: float, y: Floats) -> bool:
        """Takes in a row that is not pending; whether the trial can now be compared: not by a report alone.

        Args:
            number: of the trial.
            status: of the row.
            step: its fidelity, NaN where none was told.
            y: (m,) its values, minimised.
        """
        value = float(y[self._objective])
        stands = self._fidelity.tell(number, status, step, value)
        if status == Status.REPORTED:
            return False
        excess = sum(max(float(y[i]) - bound, 0.0) if y[i] == y[i] else math.inf for i, bound in self._bounds)
        failed = status == Status.FAILED or not math.isfinite(value)
        self._told[number] = (*WORST, math.inf) if failed else (excess, value, stands)
        return True

    def of(self, number: int) -> Merit:
        """The merit of a trial that can be compared."""
        excess, value, step = self._told[number]
        return (excess, value) if step == math.inf else (excess, value + self._fidelity.brought(step)[0])


def one_objective(name: str, problem: Problem) -> None:
    """Refuses a study of several objectives, or of none.

    Raises:
        SamplerError: naming them.
    """
    objectives = [o.name for o in problem.outcomes if o.threshold is None]
    if len(objectives) != 1:
        shown = ", ".join(objectives) or "none"
        raise SamplerError(
            f"{name} compares trials by one objective, and this study has {shown}; for several use jaxhp.nsga2() or jaxhp.tpe()"
        )
