"""What `study.train(adjoint=)` adds to a segment's record: the gradients of the trials that are complete, and what their guard did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxhp._types import Kind, Record, Scheduler
from jaxhp.errors import StudyError

if TYPE_CHECKING:
    from jaxhp.study import Study
    from jaxhp.train._lanes import Lanes

LANES = 16  # where nobody says how many: as `hypergradient_descent` has starts


def check_adjoint(study: Study, scheduler: Scheduler, differentiate: str | None) -> None:
    """Refuses what has no gradient.

    Raises:
        StudyError: several objectives, no continuous parameter, `differentiate` is no name, or a scheduler that changes trials.
    """
    if differentiate is not None and not isinstance(differentiate, str):
        raise StudyError(f"differentiate={differentiate!r}: expected the name of a metric of evaluate, such as 'loss'")
    if study._objectives() > 1:
        raise StudyError("adjoint: a gradient is of one objective, and this study has several; leave adjoint out")
    if not floats(study):
        raise StudyError(f"adjoint: none of {', '.join(study.space.names)} is continuous, so nothing has a gradient; leave it out")
    if scheduler.mutates:
        raise StudyError(f"adjoint: {scheduler.name} changes trials on their way: a result is of no one point; choose one of the two")


def floats(study: Study) -> tuple[str, ...]:
    """The continuous parameters."""
    return tuple(name for name, axis in zip(study.space.names, study.space.axes, strict=True) if axis.kind in (Kind.FLOAT, Kind.FLOAT_LOG))


class Grading:
    """Differentiates trials that lanes have trained to the end.

    Args:
        study: whose trials they are.
        lanes: that trained them.
        steps: of a full run.
        seeds: replicates of a trial.
        adjoint: how, or "auto".
        differentiate: which metric, to be minimised; None is the study's objective.
    """

    def __init__(self, study: Study, lanes: Lanes, steps: int, seeds: int, adjoint: Any, differentiate: str | None) -> None:
        from jaxhp.train._gradients import Gradients

        self.adjoint, self.given = adjoint, differentiate
        self.lanes = lanes
        self._study = study
        self._seeds = seeds
        objective = study.outcomes[0]
        self._sign = 1.0 if differentiate is None else objective.sign  # records hold slopes of the objective, in its own direction
        self._gradients = Gradients(lanes, floats(study), steps, adjoint, differentiate or objective.name)
        self._gradients.compile_ahead()

    def __call__(self, numbers: Sequence[int]) -> Record:
        """The fields `gradient` and `guard` of trials, means over their seeds."""
        from jaxhp.train import traced

        if not numbers:
            return {}
        fold, seeds = self._study._fold, self._seeds
        points = np.array([fold.u(n) for n in numbers])
        columns = {name: np.repeat(x, seeds) for name, x in traced(fold.space, points).items()}
        told = self._gradients(np.repeat(numbers, seeds).tolist(), [r for _ in numbers for r in range(seeds)], columns)
        gradient, guard = {}, {}
        for i, number in enumerate(numbers):
            runs = told[i * seeds : (i + 1) * seeds]
            active = [name for name in self._gradients.names if not np.isnan(points[i, fold.space.index[name]])]
            gradient[str(number)] = {name: self._sign * float(np.mean([run.slopes[name] for run in runs])) for name in active}
            words = {name: words for run in reversed(runs) for name, words in run.guard.items() if name in active}
            if words:
                guard[str(number)] = words
        return {"gradient": gradient, "guard": guard} if guard else {"gradient": gradient}
