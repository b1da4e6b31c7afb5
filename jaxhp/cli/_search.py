"""The two ways in which `jaxhp tune` runs a file: its objective, one call per trial, or its trainable, many trials in lanes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxhp._types import Scheduler
from jaxhp.cli._console import out
from jaxhp.cli._lanes import watching
from jaxhp.cli._progress import following
from jaxhp.cli._userfile import HeldOut, UserFile, named_scheduler, trainable_of
from jaxhp.errors import StudyError

if TYPE_CHECKING:
    from jaxhp.study import Study


class Search(NamedTuple):
    """One of the two ways."""

    scheduler: Scheduler | None
    beside: Scheduler | None  # of the random search
    run: Callable[[Study, int, str], None]  # study, trials in all, label
    as_much: Callable[[Study], int]  # how many trials of the random search cost what this study did
    safe: Callable[[Study], int]  # trials of which something is recorded
    test: Callable[[Study], HeldOut | None]


def black_box(
    asked: UserFile, scheduler: str | None, workers: int, timeout: float | None, trial_timeout: float | None, lanes: str | None
) -> Search:
    """`Study.optimize` with the file's objective.

    Raises:
        StudyError: the file has none, or an option is for trainables.
    """
    objective = asked.objective
    if objective is None:
        raise StudyError(f"{asked.path} does not define `objective`; leave --objective out: its trainable runs")
    if lanes is not None:
        raise StudyError("--lanes is for files with a `trainable`; an objective takes --workers")

    def run(study: Study, total: int, label: str) -> None:
        with following(out, study, total, label) as told:
            study.optimize(objective, trials=total, timeout=timeout, workers=workers, trial_timeout=trial_timeout, callbacks=[told])

    def finished(study: Study) -> int:
        return len(study.finished)

    chosen = _scheduler(asked, scheduler, None)
    return Search(chosen, chosen, run, finished, finished, lambda study: asked.test)


def in_lanes(
    asked: UserFile, scheduler: str | None, lanes: str | None, timeout: float | None, workers: int, trial_timeout: float | None
) -> Search:
    """`Study.train` with the file's trainable.

    Raises:
        StudyError: the trainable is none, or an option is for objectives.
    """
    if workers != 1 or trial_timeout is not None:
        raise StudyError("--workers and --trial-timeout are for objectives, and this file has a `trainable`: it trains in --lanes")
    if lanes is not None and lanes != "auto" and not lanes.isdecimal():
        raise StudyError(f"--lanes {lanes}: expected a number or `auto`")
    settings: dict[str, Any] = asked.training | ({} if lanes is None else {"lanes": lanes if lanes == "auto" else int(lanes)})
    trainable = trainable_of(asked)
    steps: int = settings["steps"]
    shared: dict[str, Any] = {}

    def run(study: Study, total: int, label: str) -> None:
        with watching(out, study, total, label, compiles=not shared) as told:
            study.train(trainable, total, callbacks=[told], timeout=timeout, **(settings | shared))
        if study.lanes is not None:  # the random search is trained by the same program
            shared.update(lanes=study.lanes, evaluate_every=study.lanes.segment)

    def as_much(study: Study) -> int:
        curves = study.curves
        trained = np.zeros(curves["number"].max(initial=-1) + 1)
        np.maximum.at(trained, curves["number"], curves["step"])
        return max(1, round(float(trained.sum()) / steps))

    def test(study: Study) -> HeldOut | None:
        return asked.test or (study.test if "test" in trainable.data else None)

    def reported(study: Study) -> int:
        return len(np.unique(study.curves["number"]))

    return Search(_scheduler(asked, scheduler, steps), None, run, as_much, reported, test)


def _scheduler(asked: UserFile, name: str | None, steps: int | None) -> Scheduler | None:
    """The option's, else the file's."""
    chosen = name if name is not None else asked.scheduler
    return named_scheduler(chosen, steps) if isinstance(chosen, str) else chosen
