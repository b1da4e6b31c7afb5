"""The loop of `Study.train`: the scheduler fills lanes, the device runs a segment, the log takes in what it reports.

What the log says of the lanes (`_course.py`) and what stands on the device (`_stage.py`) are two views of one course. New records are
appended first and then followed on the device; a process that takes a study up follows the records from its last checkpoint, or from the
start, until both views agree, and goes on. So a run that was killed ends as if it had not been.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np

from jaxhp import _owner
from jaxhp._session import listed
from jaxhp._types import Decision, Floats, Ints, Record, Scheduler, Slots
from jaxhp.errors import SchedulerError, SpaceExhausted, StudyError

if TYPE_CHECKING:
    from jaxhp._grading import Grading
    from jaxhp._stage import Stage
    from jaxhp.space import Space
    from jaxhp.study import Study
    from jaxhp.train._trainable import Trainable

_EXPLODED = 1e15  # a loss beyond this has diverged, even if it is still finite
_NOBODY_ENDS: Record = {"stopped": [], "more": False}  # of a decision


class Progress(NamedTuple):
    """Where training stands after a segment."""

    segments: int  # run so far
    asked: int  # trials that have a number
    finished: int
    failed: int  # of those
    busy: int  # lanes that ran in this segment, of `lanes`
    lanes: int
    steps_per_second: float  # of all lanes together
    standing: dict[int, int]  # step -> how many unfinished trials reported there last: the rungs
    best: float | None  # value of the best finished trial
    reports: dict[str, np.ndarray[Any, Any]]  # of this segment, columnar: number, step and every metric


House: TypeAlias = tuple[str, int | None, Path | None, Any]  # bank, bank_bytes, folder of checkpoints, mesh
SegmentCallback: TypeAlias = Callable[["Study", Progress], None]


class Follower(Protocol):
    """What does what the records of the course say: `Stage` on the device, `PartStage` in folders."""

    followed: int  # records that it has followed
    segments: int  # that were run so far
    failures: dict[int, str]  # why, of the trials that raised in the segment that runs

    def follow(self) -> None: ...
    def run(self) -> None: ...
    def metrics(self) -> dict[str, Floats]: ...
    def after_segment(self, record: Record) -> None: ...
    def save(self) -> None: ...


S = TypeVar("S", bound=Follower)


class Training(Generic[S]):
    """One process's hold on the lanes of a study."""

    def __init__(
        self,
        study: Study,
        run: Record,
        scheduler: Scheduler,
        stage: S,
        house: House,
    ) -> None:
        self.study = study
        self.run = run
        self.scheduler = scheduler
        self.stage = stage
        self.house = house
        self.grading: Grading | None = None  # where complete trials are told with their gradients

    def fits(self: Training[Stage], trainable: Trainable) -> bool:
        """Whether these lanes can go on with the study as it is now: nobody else trained it meanwhile, and nobody extended its space."""
        from jaxhp.train import traced

        space, fold = self.study.space, self.study._fold
        columns = traced(space, space.default()[None])
        known = {name: x.dtype for name, x in self.stage.lanes.example.items()} == {name: x.dtype for name, x in columns.items()}
        return known and self.stage.trainable is trainable and fold.course.run == self.run

    def advance(self, trials: int | None, deadline: float | None, callbacks: Sequence[SegmentCallback]) -> None:
        """Trains until the study holds `trials` trials and all are finished, or the deadline passes."""
        study = self.study
        session, course = study._session, study._fold.course
        session.schedule(self.scheduler, self.run["steps"])
        self._take_up()
        if trials is not None and session.fold.asked >= trials and not self._ours():
            return  # nothing is left to do, so nothing needs to stand on the device
        while True:
            self.stage.follow()
            if session.halted(deadline) or (deadline is not None and time.monotonic() >= deadline):
                return
            last = course.records[-1] if course.records else None
            if not course.busy.any() or last is None or last["kind"] == "segment" or last["more"]:
                self._fill(trials)
                if self.stage.followed < len(course.records):
                    continue
                if not course.busy.any():
                    return
            self.stage.save()
            busy = int(course.busy.sum())
            seconds = self._segment(trials)
            progress = self._progress(busy, seconds)
            for callback in callbacks:
                callback(study, progress)

    # -- deciding --------------------------------------------------------------------------------------------------

    def _fill(self, trials: int | None) -> None:
        """Appends what the scheduler says: who stops, then who goes on where."""
        study, scheduler = self.study, self.scheduler
        session, fold = study._session, study._fold
        course = fold.course
        session.sync()
        taken = np.flatnonzero(course.number >= 0)
        gone = [i for i in taken.tolist() if course.busy[i] and not fold.pending(int(course.number[i]))]
        judged = np.array([i for i in taken.tolist() if fold.pending(int(course.number[i])) and course.t[i] > 0], np.int64)
        kept = scheduler.keep(session.scheduled(), course.number[judged])
        stopped = judged[~np.asarray(kept, np.bool_)].tolist()
        if stopped or gone:
            self._empty(sorted({*stopped, *gone}), [int(course.number[i]) for i in stopped], more=True)
        free = np.flatnonzero(~course.busy)
        if not len(free):
            return
        held = np.where([fold.pending(int(n)) for n in course.number[free]], course.number[free], -1)
        running = course.number[course.busy]
        if not len(running) and not self._fresh():  # else a scheduler would think that nothing more will come
            self._ask(len(free), trials)
        while True:
            fresh, space = self._fresh(), fold.space
            decision = scheduler.decide(session.scheduled(), Slots(held, running, np.array(fresh, np.int64)))
            self._check(decision, running, len(free))
            idle = int((decision.number < 0).sum())
            if not idle or not set(fresh) <= set(decision.number.tolist()) or not self._ask(idle, trials):
                break
        if (decision.number < 0).all():
            if len(running):
                if (held >= 0).any():  # they wait in the bank, not in a lane
                    self._record(free, decision, space)
                return
            if fresh:
                raise SchedulerError(
                    f"{scheduler.name} starts none of the trials {fresh}, although {len(free)} lanes are free and none runs"
                )
            paused = sorted(n for n in self._ours() if n in course.started)
            if paused:
                self._empty(free.tolist(), paused)
            return
        self._record(free, decision, space)

    def _record(self, free: Any, decision: Any, space: Space) -> None:
        """Appends a decision whose points are of this space."""
        changes = [j for j, i in enumerate(free.tolist()) if decision.number[j] >= 0 or self.study._fold.course.number[i] >= 0]
        lanes = {"lanes": free[changes].tolist()}
        columns = {name: getattr(decision, name)[changes].tolist() for name in ("number", "parent", "t", "until")}
        points = {
            str(n): listed(decision.u[j]) for j, n in enumerate(decision.number.tolist()) if n >= 0 and self._changes(n, decision.u[j])
        }
        record = {"kind": "decision", **lanes, **columns, **({"u": points} if points else {}), **_NOBODY_ENDS, "time": time.time()}
        self._append(record, space)

    def _changes(self, number: int, u: Floats) -> bool:
        """Whether this is another point than the trial's."""
        known = self.study._fold.u(number)
        return u.tobytes() != known.tobytes() and not np.array_equal(u, known, equal_nan=True)

    def _append(self, record: Record, space: Space | None = None) -> None:
        """Appends to the course. Points, of `space`, enter it in the space as it is by then.

        Raises:
            StudyError: another process trains the study now.
        """
        session, fold = self.study._session, self.study._fold
        while True:
            if fold.course.run != self.run:
                owner = "nobody" if fold.course.run is None else fold.course.run["owner"]
                raise StudyError(f"study {self.study.name!r} is now being trained by {owner}: two cannot share lanes; stop one of them")
            if space is not None and space is not fold.space:
                points = {n: space.convert(np.array([u], dtype=np.float64), fold.space)[0] for n, u in record.get("u", {}).items()}
                record |= {"u": {n: listed(u) for n, u in points.items()}} if points else {}
                space = fold.space
            if session.claim([record]):
                return
            session.sync()

    def _empty(self, lanes: list[int], stopped: list[int], more: bool = False) -> None:
        k = len(lanes)
        columns = {"lanes": lanes, "number": [-1] * k, "parent": [-1] * k, "t": [0] * k, "until": [0] * k}
        self._append({"kind": "decision", **columns, "stopped": stopped, "more": more, "time": time.time()})

    def _check(self, decision: Decision, running: Ints, free: int) -> None:
        """A scheduler must keep to the free lanes, to the segments and to the trials there are."""
        steps, segment, fold, name = self.run["steps"], self.run["segment"], self.study._fold, self.scheduler.name
        columns = (decision.number, decision.parent, decision.t, decision.until)
        if any(np.shape(column) != (free,) for column in columns):
            raise SchedulerError(f"{name} was asked about {free} free lanes and answered for {[np.size(column) for column in columns]}")
        chosen = decision.number >= 0
        taken = [*running.tolist(), *decision.number[chosen].tolist()]
        if len(set(taken)) != len(taken):
            raise SchedulerError(f"{name} put a trial into two lanes: {sorted(taken)}")
        moves = zip(*(column[chosen].tolist() for column in columns), decision.u[chosen], strict=True)
        for number, parent, t, until, u in moves:
            if not fold.pending(number) or not t < until <= steps or (until % segment and until != steps):
                raise SchedulerError(
                    f"{name} wants trial {number} to run from step {t} until {until}: this study trains for {steps} steps "
                    f"in segments of {segment}, so `until` must be a multiple of {segment} or {steps}, beyond t, and the trial unfinished"
                )
            self._check_change(number, parent, u, running)
            stands = 0 if parent < 0 else fold.reached(parent)
            if t != stands:
                origin = "starts anew" if parent < 0 else f"goes on from trial {parent}, which stands at step {stands}"
                raise SchedulerError(f"{name} wants trial {number} to run from step {t}, but it {origin}")

    def _check_change(self, number: int, parent: int, u: Floats, running: Ints) -> None:
        """Only a scheduler that says so may change a trial; weights come from a trial that waits; points must be of the space."""
        fold, name, changes = self.study._fold, self.scheduler.name, self._changes(number, u)
        if parent in (-1, number) and not changes:
            return
        what = (
            f"{name} gives trial {number} another point"
            if parent in (-1, number)
            else f"{name} gives trial {number} the weights of {parent}"
        )
        if not self.scheduler.mutates:
            raise SchedulerError(f"{what}, and does not say that it may: Scheduler(..., mutates=True)")
        if parent not in (-1, number) and (not fold.pending(parent) or parent not in fold.course.started or parent in running):
            raise SchedulerError(f"{what}, which {'runs' if parent in running else 'holds none'}; take those of one that is held or paused")
        space = fold.space
        if changes and not (np.array_equal(space.snap(u[None])[0], u, equal_nan=True) and space.feasible(u[None])[0]):
            raise SchedulerError(f"{what}, {u.tolist()}, which is no canonical, feasible point of the space; pass it through space.snap")

    def _ours(self) -> list[int]:
        """Unfinished trials of this process, in order."""
        me = _owner.owner()
        return sorted(number for number, (owner, _) in self.study._fold.owner.items() if owner == me)

    def _fresh(self) -> list[int]:
        started = self.study._fold.course.started
        return [number for number in self._ours() if number not in started]

    def _ask(self, n: int, trials: int | None) -> bool:
        """Asks for up to n more trials; False where there are none to be had."""
        session, fold = self.study._session, self.study._fold
        session.sync()
        room = len(fold.released) + (n if trials is None else max(0, trials - fold.asked))
        asked = 0
        while asked < min(n, room):
            try:
                asked += len(session.ask(min(n, room) - asked))
            except SpaceExhausted:
                break
        return asked > 0

    def _take_up(self) -> None:
        """Makes the unfinished trials of processes that are gone, and those that were given back, this process's own."""
        session, fold = self.study._session, self.study._fold
        session.sync()
        dead = session.dead()
        for number in sorted({n for n, (owner, _) in fold.owner.items() if owner in dead} | set(fold.released)):
            while (number in fold.released or fold.owner.get(number, ("",))[0] in dead) and not session.lease(number):
                session.sync()

    # -- a segment -------------------------------------------------------------------------------------------------

    def _segment(self, trials: int | None) -> float:
        """Runs a segment; meanwhile asks for the trials that will be started after it. Returns its seconds."""
        course = self.study._fold.course
        busy = course.busy
        begun = time.perf_counter()
        self.stage.run()
        ends = busy & (course.t + self.run["segment"] >= course.until)
        if self.grading is None:  # else what comes next follows from this segment's gradients
            self._ask(int(ends.sum() + (~busy).sum()) - len(self._fresh()), trials)
        values = self.stage.metrics()
        record = self._report(np.flatnonzero(busy), values, time.perf_counter() - begun)
        if self.grading is not None:
            record |= self.grading([int(number) for number, (status, _) in record["ended"].items() if status == "complete"])
            record["seconds"] = time.perf_counter() - begun
        seconds: float = record["seconds"]
        self._append(record)
        self.stage.after_segment(record)
        return seconds

    def _report(self, busy: Any, values: dict[str, Floats], seconds: float) -> Record:
        """The segment's record: reports, and which trials are complete or have diverged."""
        fold, seeds, steps = self.study._fold, self.run["seeds"], self.run["steps"]
        course = fold.course
        at = np.minimum(course.t[busy] + self.run["segment"], course.until[busy])
        means = {name: x[busy].mean(axis=1) for name, x in values.items()}
        watched = [name for name in means if name.startswith("train_") or any(o.name == name for o in fold.outcomes)]
        ended: dict[str, tuple[str, str | None]] = {}
        for j, (number, t) in enumerate(zip(course.number[busy].tolist(), at.tolist(), strict=True)):
            bad = next((name for name in watched if not abs(means[name][j]) < _EXPLODED), None)
            if number in self.stage.failures:
                ended[str(number)] = ("failed", self.stage.failures[number])
            elif bad is not None and self.scheduler.mutates and t < steps:  # it may be given other weights
                for o in fold.outcomes:
                    means[o.name][j] = math.nan
            elif bad is not None:
                ended[str(number)] = ("failed", f"diverged at step {t}: {bad} is {means[bad][j]:g}")
            elif t >= steps:
                ended[str(number)] = ("complete", None)
        record: Record = {
            "kind": "segment",
            "numbers": course.number[busy].tolist(),
            "step": at.tolist(),
            "values": {name: _listed(x) for name, x in means.items()},
            "ended": ended,
            "seconds": seconds,
            "time": time.time(),
        }
        if seeds > 1:
            spread = {o.name: values[o.name][busy].std(axis=1, ddof=1) / math.sqrt(seeds) for o in fold.outcomes}
            record["noise"] = {name: _listed(x) for name, x in spread.items()}
        return record

    def _progress(self, busy: int, seconds: float) -> Progress:
        fold = self.study._fold
        return Progress(
            segments=self.stage.segments,
            asked=fold.asked,
            finished=fold.told,
            failed=fold.failed,
            busy=busy,
            lanes=len(fold.course.number),
            steps_per_second=busy * self.run["seeds"] * self.run["segment"] / max(seconds, 1e-9),
            standing=fold.standing(),
            best=None if fold.best is None else self.study._finished(fold.best).value,
            reports=fold.course.curves(last=1),
        )


def _listed(column: Floats) -> list[float | str]:
    """Numbers as a record holds them."""
    return [x if math.isfinite(x) else ("nan" if math.isnan(x) else "inf" if x > 0 else "-inf") for x in column.tolist()]
