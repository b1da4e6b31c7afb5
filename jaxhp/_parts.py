"""Black boxes that train in parts: an objective that can save and restore under any scheduler that pauses, promotes or copies trials.

The course is that of lanes (`_course.py`), with workers in their place: decisions and segments alternate in the log, and in a segment each
busy worker runs one part of a trial, from a step to a later one. What a part leaves in its folder takes the place of weights on the
device: it is named by (number, step), appears at once when the part has returned, and goes when no trial can need it. A process that was
killed repeats the parts whose segment is not in the log; since a part only reads what earlier parts left, it finds what it found before.
"""

from __future__ import annotations

import os
import queue
import shutil
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jaxhp import _owner
from jaxhp._outcomes import metrics
from jaxhp._rng import rng
from jaxhp._settings import check_counts, check_course, check_free, folder_of, settings
from jaxhp._training import SegmentCallback, Training
from jaxhp._types import Floats, Params, Record, Scheduler
from jaxhp.errors import ObjectiveError, StudyError
from jaxhp.schedulers import to_the_end

if TYPE_CHECKING:
    from jaxhp.study import Study

_SHAPES = "parts"  # where lanes record the shapes of their trainable
_PATIENCE = 5  # parts in a row that may raise


@dataclass(frozen=True)
class Part:
    """What an objective that trains in parts is given.

    >>> part = Part(3, {"rate": 0.1}, 7, 100, 200, Path("3/100"), Path("3/200.part"))
    >>> part["rate"], part.until - part.step
    (0.1, 100)
    """

    number: int  # of the trial
    params: Params  # the active hyperparameters, which a scheduler may have changed since the part before
    seed: int  # in [0, 2**63), of the trial
    step: int  # where it begins: 0, or the step at which `restore` was saved
    until: int  # where it ends
    restore: Path | None  # a folder with what an earlier part left there, of this trial or of another; None: begin anew
    save: Path  # an empty folder for what a later part shall find

    def __getitem__(self, name: str) -> Any:
        return self.params[name]


PartObjective: TypeAlias = Callable[[Part], "float | Mapping[str, float]"]


class PartStage:
    """Follows the course of one study with folders in place of lanes."""

    def __init__(self, study: Study, run: Record, objective: PartObjective, folder: Path) -> None:
        self.study = study
        self.objective = objective
        self.folder = folder
        self.followed = 0  # records of the course that the folders have followed
        self.segments = 0
        self.failures: dict[int, str] = {}  # tracebacks of the trials whose parts raised, in the segment that runs
        self._segment: int = run["segment"]
        self._lanes = np.full(run["lanes"], -1, np.int64)
        self._origin: dict[int, tuple[int, int] | None] = {}  # what each trial's next part restores; None: it begins anew
        self._results: queue.SimpleQueue[tuple[int, dict[str, float], str | None]] = queue.SimpleQueue()
        self._due: list[Part] = []
        self._raised = 0  # parts in a row

    def follow(self) -> None:
        """Takes in the records of the log that it has not followed yet; what segments left is on the disk."""
        records = self.study._fold.course.records
        while self.followed < len(records):
            record = records[self.followed]
            if record["kind"] == "segment":
                self._ran(record)
            else:
                for lane, number, parent, t in zip(*(record[name] for name in ("lanes", "number", "parent", "t")), strict=True):
                    self._lanes[lane] = number
                    if number >= 0:
                        self._origin[number] = (parent, t) if parent >= 0 else None
            self.followed += 1
        self._clear_out()

    def run(self) -> None:
        """Starts the parts of a segment: in this thread where it is one, else in as many."""
        fold, course = self.study._fold, self.study._fold.course
        self.failures, self._results = {}, queue.SimpleQueue()
        self._due = []
        for lane in np.flatnonzero(course.busy).tolist():
            number, t = int(course.number[lane]), int(course.t[lane])
            origin = self._origin.get(number)
            restore = None if origin is None else self._at(*origin)
            if restore is not None and not restore.is_dir():
                raise StudyError(f"trial {number} goes on from {restore}, which is gone; put it back, or use another name for the study")
            until = min(t + self._segment, int(course.until[lane]))
            save = self.folder / f"{number}-{until}.{os.getpid()}-{time.monotonic_ns()}.part"
            save.mkdir(parents=True)
            seed = int(rng(fold.seed, number, "trial").integers(1 << 63))
            self._due.append(Part(number, dict(self.study._trial(number).params), seed, t, until, restore, save))
        results = self._results
        if len(self._due) == 1:
            results.put(self._evaluated(self._due[0]))
            return
        for part in self._due:
            run_one = threading.Thread(target=lambda p=part: results.put(self._evaluated(p)), daemon=True, name=f"trial-{part.number}")
            run_one.start()

    def metrics(self) -> dict[str, Floats]:
        """What the parts returned, (k, 1) in the order of the log's lanes; NaN where one is idle, or raised. Waits for them."""
        told: dict[int, dict[str, float]] = {}
        for _ in self._due:
            number, values, error = self._results.get()
            told[number] = values
            if error is not None:
                self.failures[number] = error
        for part in self._due:
            if part.number in self.failures:
                shutil.rmtree(part.save, ignore_errors=True)
                continue
            place = self._at(part.number, part.until)
            if place.exists():  # of a part that was not recorded
                shutil.rmtree(place)
            part.save.rename(place)
        names = dict.fromkeys([o.name for o in self.study.outcomes] + [name for values in told.values() for name in values])
        return {name: np.array([[told.get(n, {}).get(name, np.nan)] for n in self._lanes.tolist()]) for name in names}

    def after_segment(self, record: Record) -> None:
        """What the parts left is what the next ones begin with.

        Raises:
            ObjectiveError: one part after the other raised.
        """
        self._ran(record)
        self.followed += 1
        self._clear_out()
        self._raised = 0 if len(self.failures) < len(self._due) else self._raised + len(self.failures)
        if self._raised > _PATIENCE:
            number, error = next(iter(self.failures.items()))
            raise ObjectiveError(
                f"the last {self._raised} parts raised, of trial {number}:\n{error}\n"
                "Mend the objective and run again; trials that failed stay failed"
            )

    def save(self) -> None:
        """Folders are saved as they come."""

    def close(self) -> None:
        """Removes what parts that were interrupted left."""
        for child in self.folder.glob("*.part") if self.folder.is_dir() else ():
            shutil.rmtree(child, ignore_errors=True)

    def _evaluated(self, part: Part) -> tuple[int, dict[str, float], str | None]:
        try:
            return part.number, metrics(self.study.outcomes, self.objective(part), f"trial {part.number}"), None
        except Exception as e:  # a failed objective is data
            return part.number, {}, "".join(traceback.format_exception(e))

    def _ran(self, record: Record) -> None:
        for number, step in zip(record["numbers"], record["step"], strict=True):
            self._origin[number] = (number, step)
        self._lanes[np.isin(self._lanes, [int(n) for n in record["ended"]])] = -1
        self.segments += 1

    def _at(self, number: int, step: int) -> Path:
        return self.folder / f"{number}-{step}"

    def _clear_out(self) -> None:
        """Removes the folders that no trial goes on from, the best trial's last one apart."""
        fold = self.study._fold
        needed = {origin for n, origin in self._origin.items() if origin is not None and (fold.pending(n) or n == fold.best)}
        kept = {self._at(*origin) for origin in needed}
        for child in self.folder.iterdir() if self.folder.is_dir() else ():
            if child not in kept and child.suffix != ".part":
                shutil.rmtree(child, ignore_errors=True)


def optimize_in_parts(
    study: Study,
    objective: PartObjective,
    trials: int | None,
    steps: int | None,
    scheduler: Scheduler | None,
    every: int | None,
    workers: int,
    folder: str | Path | None,
    callbacks: Sequence[SegmentCallback],
    timeout: float | None,
) -> None:
    """See `Study.optimize_in_parts`."""
    fold = study._fold
    study._session.sync()
    _check(study, objective, trials, steps, scheduler, every, workers, callbacks, timeout)
    deadline = None if timeout is None else time.monotonic() + timeout
    chosen = scheduler or study._session.scheduler or to_the_end()
    logged = fold.course.run
    if every is None and logged is None:
        every = chosen.every
    chosen.init(fold.problem._replace(steps=steps or (logged or {}).get("steps")), study.seed)  # refuses steps that do not fit it
    steps, every, _ = settings(study, logged, steps, every, None)
    if chosen.every is not None and chosen.every % every:
        raise StudyError(f"evaluate_every={every}: {chosen.name} compares trials every {chosen.every} steps; choose a divisor of that")
    place = _folder(study, folder)
    run: Record = {
        "kind": "train",
        "steps": steps,
        "segment": every,
        "seeds": 1,
        "lanes": workers,
        "given": workers,
        "scheduler": chosen.name,
        "shapes": _SHAPES,
        "owner": _owner.owner(),
        "time": time.time(),
    }
    study._session.append(run)
    stage = PartStage(study, run, objective, place)
    try:
        Training(study, run, chosen, stage, ("folder", None, place, None)).advance(trials, deadline, callbacks)
    finally:
        stage.close()


def _folder(study: Study, folder: str | Path | None) -> Path:
    """Where parts save: beside an SQLite file, unless the user says otherwise."""
    found = folder_of(study, folder, "parts")
    if found is None:
        raise StudyError(
            f"folder: where shall the parts save? The log of study {study.name!r} is no SQLite file ({study.storage}): pass one"
        )
    return found


def _check(
    study: Study,
    objective: Any,
    trials: int | None,
    steps: int | None,
    scheduler: Scheduler | None,
    every: int | None,
    workers: int,
    callbacks: Any,
    timeout: float | None,
) -> None:
    if not callable(objective):
        raise StudyError(f"objective: expected a function of a part, got {objective!r}")
    optional = {"trials": trials, "steps": steps, "evaluate_every": every}
    check_counts({name: value for name, value in optional.items() if value is not None} | {"workers": workers})
    check_course(trials, steps, every, scheduler, callbacks, timeout)
    if study._fold.lag is not None:
        raise StudyError("optimize_in_parts: a study with lag= cannot train in parts; leave lag out")
    if study._session.leases is None:
        raise StudyError("optimize_in_parts: a study with leases=None does not say who trains it; leave leases out")
    run = study._fold.course.run
    if run is None:
        return
    if run["shapes"] != _SHAPES:
        raise StudyError(f"study {study.name!r} trains in lanes; use another name for a study in parts")
    check_free(study, run, "workers")
    if workers != run["lanes"]:
        raise StudyError(
            f"workers={workers}: study {study.name!r} trains in parts with workers={run['lanes']}, which its log counts on; "
            "pass that, or use another name for the study"
        )
