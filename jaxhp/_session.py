"""One process's hold on a study: its log, the fold of it, and the sampler's and scheduler's states.

Suggestions follow from the fold alone. Without a lag the sampler is told the rows in log order; with `lag=w` in the
order that one worker would have made: before trial t the results of trial t - w, then the asks before t.

A suggestion is computed outside of any transaction, from the log as it was at `seen`. What others report and tell meanwhile does not
invalidate it; only another `ask`, which takes its number, does. Processes whose suggestions are slow take turns, so that they do not
compute the same one; a turn is a courtesy on which no result depends.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from jaxhp import _owner
from jaxhp._fold import Fold
from jaxhp._leases import Beating, Heart, Leases, Watch
from jaxhp._types import Floats, Ints, Params, Record, Sampler, Scheduler, Trials
from jaxhp.errors import LogConflict, SamplerError, SpaceExhausted, StorageError, StudyError
from jaxhp.storage import Log
from jaxhp.storage._snapshot import Snapshot

_SLOW = 0.002  # seconds of a suggestion from which on it is worth waiting for others
_PAUSE = 0.2  # seconds between looks whether a paused study goes on
_LOOK = 1.0  # seconds between looks for owners that died on this host


class ResultDue(StudyError):
    """With a lag: the next suggestion needs the result of a trial that still runs."""


class Session:
    """Reads, appends, claims and suggests. Not thread-safe: `Study` holds the lock."""

    def __init__(
        self, log: Log, name: str, fold: Fold, sampler: Sampler, scheduler: Scheduler | None, leases: Leases | None = None
    ) -> None:
        self.log = log
        self.name = name
        self.fold = fold
        self.sampler = sampler
        self.scheduler = scheduler
        self._state: Any
        self._folded: int
        self._lagged: int
        self._due_told: bool
        self._steps: int | None = None  # of a full run, where the study trains
        self._scheduler_state: Any
        self._scheduled: int
        self.leases = leases
        self.granted: dict[int, int] = {}  # grants of this process, by trial
        self._shared = log if leases is not None and isinstance(log, Beating) else None
        self._heart = Heart(self._shared, name, leases.beat) if leases is not None and self._shared is not None else None
        self._watch = Watch(leases.expiry if leases is not None else math.inf)
        self._looked = -math.inf  # when owners were last looked at,
        self._listened = -math.inf  # and listened to,
        self._expired: set[str] = set()  # and which of them had stopped to beat
        self._slow = False  # whether the last suggestion was
        self._snapshot = Snapshot(log, name)
        self._torn = False  # whether an interrupt fell between changes that belong together
        self._restart()

    def sync(self) -> None:
        """Takes in what other processes appended, and everything anew where an interrupt left something half done."""
        if self._torn and (whole := self.log.read(self.name)):
            self.fold.__dict__ = Fold(whole[0], self.fold.given).__dict__
            self._restart()
            self._take(whole[1:], own=False)
            self._torn = False
        records = self.log.read(self.name, self.fold.position)
        if records:
            self._take(records, own=False)

    def append(self, *records: Record) -> int:
        """Appends and folds; whatever others appended in between is folded first. Returns the first one's position."""
        first = self.log.append(self.name, records) - len(records)
        if first == self.fold.position and not self._torn:
            self._take(records)
        else:
            self.sync()
        return first

    def claim(self, records: list[Record]) -> bool:
        """Compare-and-append: False when another process was first."""
        try:
            self.log.append(self.name, records, at=self.fold.position)
        except LogConflict:
            return False
        self._take(records)
        return True

    def place(self, made: Callable[[], list[Record]]) -> int:
        """Appends records that hold points, made anew whenever others were first: they may have extended the space. Returns where."""
        while True:
            self.sync()
            first = self.fold.position
            if self.claim(made()):
                return first

    def ask(self, n: int, below: int | None = None) -> list[int]:
        """Numbers of 1 to n trials of one kind: released, enqueued or suggested; none where new ones would not be below this number."""
        if time.monotonic() - self._looked >= _LOOK:
            self.reclaim()
        while True:
            self.sync()
            fold = self.fold
            first = fold.asked
            numbers: list[int] = []
            if fold.released:
                number = fold.released[0]
                if self.lease(number):
                    return [number]
            elif below is not None and first >= below:
                return []
            elif fold.queue:
                queued = fold.queue[0]
                if self.claim([self.ask_record(first, queued.u, params=queued.params, queue=queued.seq, source="enqueue")]):
                    numbers = [first]
            else:
                with self._turn():
                    numbers = self._claim_suggestions(n, below)
            if numbers:
                self.granted.update(dict.fromkeys(numbers, 0))
                return numbers

    def _claim_suggestions(self, n: int, below: int | None) -> list[int]:
        """Numbers of 1 to n suggested trials; none where others asked first."""
        self.sync()
        fold = self.fold
        first, extensions = fold.asked, fold.extensions
        if fold.released or fold.queue or (below is not None and first >= below):
            return []
        u = self._suggest(np.arange(first, first + (1 if fold.lag else n), dtype=np.int64))
        if not len(u):
            raise SpaceExhausted(
                f"every configuration that {self.sampler.name} can suggest has been asked ({first} trials): nothing is left"
            )
        records = [self.ask_record(first + i, row) for i, row in enumerate(u)]
        while not self.claim(records):
            self.sync()
            if fold.asked != first or fold.extensions != extensions:
                return []
        return list(range(first, first + len(u)))

    def lease(self, number: int) -> bool:
        """Takes up a trial that was given back; False when another process was first."""
        if not self.claim([{"kind": "lease", "number": number, "owner": self.owner(), "time": time.time()}]):
            return False
        self.granted[number] = self.fold.grant[number]
        return True

    def owner(self) -> str:
        """This process, which beats from here on; nobody, where the study keeps no leases."""
        if self.leases is None:
            return ""
        if self._heart is not None:
            self._heart.start()
        return _owner.owner()

    def _turn(self) -> AbstractContextManager[bool]:
        """Where others may be computing the same suggestion, and it takes long: after them."""
        me = _owner.owner()
        if self._shared is None or not self._slow or all(name == me for name, _ in self.fold.owner.values()):
            return nullcontext(True)
        return self._shared.turn(self.name)

    def add(self, params: Params, point: Callable[[Params], Floats]) -> int:
        """Claims a number for a configuration whose result is known; `point`: of the space as it is by then."""
        self.place(lambda: [self.ask_record(self.fold.asked, point(params), params=self.fold.space.plain(params), source="add")])
        number = self.fold.asked - 1
        self.granted[number] = 0
        return number

    def ask_record(self, number: int, u: Floats, **more: Any) -> Record:
        """The record that claims a number."""
        record = {"kind": "ask", "number": number, "u": listed(u), "seen": self.fold.position, "owner": self.owner(), "time": time.time()}
        return record | more if more else record

    def release(self, number: int, reason: str, lease: int | None = None) -> None:
        """Gives a running trial back; one that its scheduler has ended is told its last report instead."""
        if number in self.fold.stops and self.fold.pending(number):
            self.append(self._stopped(number))
        else:
            record = {"kind": "release", "number": number, "reason": reason, "time": time.time()}
            self.append(record if lease is None else record | {"lease": lease})

    def reclaim(self) -> None:
        """Takes their trials from owners that are gone."""
        self.sync()
        self._looked = time.monotonic()
        dead = self.dead()
        for number, (name, _) in list(self.fold.owner.items()) if dead else ():
            while name in dead and self.fold.owner.get(number, ("",))[0] == name and not self.claim([self._lost(number, dead[name])]):
                self.sync()

    def dead(self) -> dict[str, str]:
        """Owners of running trials that are gone, and how that is known."""
        owners = {name for name, _ in self.fold.owner.values() if name} - {_owner.owner()}
        dead = {name: f"its owner {name} is gone" for name in owners if _owner.gone(name)}
        if self.leases is not None and time.monotonic() - self._listened >= self.leases.beat / 2:
            self._listen(owners)
        silent = f"has not been heard of for {self._watch.expiry:g} s"
        return dead | {name: f"its owner {name} {silent}" for name in self._expired & owners - dead.keys()}

    def _listen(self, owners: set[str]) -> Mapping[str, int]:
        """Finds out who has stopped to beat."""
        self._listened = time.monotonic()
        beats = self._shared.beats(self.name) if self._shared is not None and owners else {}
        self._expired = self._watch.expired(owners, beats) if self._shared is not None else set()
        return beats

    def outlived(self, owner: str) -> bool:
        """Whether an owner of running trials is gone; waits until one on another host beats, or its lease expires."""
        if _owner.local(owner) or self._shared is None or self.leases is None:
            return _owner.gone(owner)
        first = self._listen({owner}).get(owner)
        while self._listen({owner}).get(owner) == first:
            if owner in self._expired:
                return True
            time.sleep(min(0.5, self.leases.beat / 4))
        return False

    def lose(self, number: int, reason: str) -> None:
        """Takes a trial of this process from whoever ran it and is gone."""
        me = self.owner()
        while self.fold.pending(number) and self.fold.owner.get(number, ("",))[0] == me and not self.claim([self._lost(number, reason)]):
            self.sync()

    def _lost(self, number: int, reason: str) -> Record:
        """The record that takes a trial from its owner: to be run again, or failed after it was lost too often."""
        fold, requeue = self.fold, self.leases.requeue if self.leases is not None else 1
        if number in fold.stops:
            return self._stopped(number) | {"lost": True}
        if fold.lost.get(number, 0) < requeue:
            return {"kind": "release", "number": number, "reason": reason, "lost": True, "time": time.time()}
        error = f"{reason}; it was lost {requeue + 1} times (jaxhp.Leases(requeue={requeue}))"
        return {"kind": "tell", "number": number, "status": "failed", "values": {}, "error": error, "lost": True, "time": time.time()}

    def halted(self, deadline: float | None = None) -> bool:
        """Whether the study was stopped; waits while it is paused, until the deadline."""
        self.sync()
        while self.fold.halted == "pause" and (deadline is None or time.monotonic() < deadline):
            time.sleep(_PAUSE)
            self.sync()
        return self.fold.halted is not None

    def stop(self, number: int) -> bool:
        """Asks the scheduler about a trial that reported; a stop is a record, a continuation is none."""
        self._record_scheduler()
        if self.scheduler is None or self.scheduler.keep(self.scheduled(), np.array([number], dtype=np.int64))[0]:
            return False
        self.append({"kind": "decision", "slots": [number], "number": [-1], "time": time.time()})
        return True

    def schedule(self, scheduler: Scheduler | None, steps: int | None = None) -> None:
        """From here on this scheduler is asked; it is told every row from the start. `steps`: of a full run, where the study trains."""
        self.scheduler, self._steps = scheduler, steps
        self._start_scheduler()
        self._record_scheduler()

    def scheduled(self) -> Any:
        """The scheduler's state, told every row that is known."""
        if self.scheduler is not None and self._scheduled < self.fold.rows.n:
            rows = self.fold.rows.view(self._scheduled, self.fold.rows.n)
            try:
                self._scheduler_state = self.scheduler.tell(self._scheduler_state, rows)
                self._scheduled = self.fold.rows.n
            except BaseException:
                self._torn = True
                raise
        return self._scheduler_state

    def _record_scheduler(self) -> None:
        name = self.scheduler.name if self.scheduler is not None else None
        if self.fold.scheduler != name:
            self.append({"kind": "scheduler", "scheduler": name, "time": time.time()})

    def _stopped(self, number: int) -> Record:
        """The result of a trial that was stopped and did not come back: its last report."""
        fold = self.fold
        row = fold.tell_rows[number][-1]
        values = fold.told_values(row)
        step = float(fold.rows.table.fidelity[row])
        record = {"kind": "tell", "number": number, "status": "stopped", "values": values, "step": step, "time": time.time()}
        bad = next((name for name, value in values.items() if not math.isfinite(value)), None)
        return record if bad is None else record | {"status": "failed", "error": f"{bad} is {values[bad]}"}

    def _suggest(self, numbers: Ints) -> Floats:
        """The sampler's points (k, d) for these numbers, checked."""
        fold, space, begun = self.fold, self.fold.space, time.perf_counter()
        try:
            if fold.lag is None:
                self._tell_sampler(fold.rows.view(self._folded, fold.rows.n))
                self._folded = fold.rows.n
            else:
                self._tell_with_lag(int(numbers[0]), fold.lag)
            self._snapshot.save()
            u = self.sampler.ask(self._state, numbers)
        except ResultDue:
            raise
        except BaseException:
            self._torn = True
            raise
        self._slow = time.perf_counter() - begun > _SLOW * len(numbers)
        if u.ndim != 2 or u.shape[1] != space.d or len(u) > len(numbers):
            raise SamplerError(f"{self.sampler.name}.ask returned shape {u.shape} for {len(numbers)} numbers of {space.d} dims")
        try:
            snapped = space.snap(u)
        except ValueError as e:
            raise SamplerError(f"{self.sampler.name}.ask returned a point outside the space: {e}") from e
        if space.constraints and not space.feasible(snapped).all():
            raise SamplerError(
                f"{self.sampler.name}.ask returned a point that breaks a constraint of the space; pass it through space.constrain"
            )
        return snapped

    def _tell_with_lag(self, number: int, lag: int) -> None:
        fold = self.fold
        while self._lagged <= number:
            due = self._lagged - lag
            if due >= 0 and not self._due_told:
                if due not in fold.final_row:
                    raise ResultDue(f"lag={lag}: trial {self._lagged} waits for the result of trial {due}; tell it first")
                self._tell_sampler(fold.rows.take(fold.tell_rows[due]))
            self._due_told = True
            if self._lagged == number:
                return
            self._tell_sampler(fold.rows.take([fold.ask_row[self._lagged]]))
            self._lagged += 1
            self._due_told = False

    def _tell_sampler(self, rows: Trials) -> None:
        if len(rows.number):
            with self._snapshot.used():
                self._state = self.sampler.tell(self._state, rows)

    def _take(self, records: Sequence[Record], own: bool = True) -> None:
        fold = self.fold
        extensions = fold.extensions
        try:
            if own:
                for record in records:
                    fold.apply(record)
            else:
                fold.take(records)
            if fold.extensions != extensions:
                self._restart()
        except StorageError:  # of a damaged log, which stays so
            raise
        except BaseException:
            self._torn = True
            raise

    def _restart(self) -> None:
        """Both states from the start: at first, and when the space was extended."""
        problem, seed = self.fold.problem, self.fold.seed
        self._state = self.sampler.init(problem, seed)
        self._folded = 0  # rows told to the sampler
        self._lagged = 0  # with a lag: the next trial to prepare for,
        self._due_told = False  # and whether the result due before it was told
        self._start_scheduler()

    def _start_scheduler(self) -> None:
        problem = self.fold.problem._replace(steps=self._steps)
        self._scheduler_state = self.scheduler.init(problem, self.fold.seed) if self.scheduler is not None else None
        self._scheduled = 0  # rows told to the scheduler


def listed(u: Floats) -> list[float | None]:
    """A point (d,) as a record holds it: null where a coordinate is inactive."""
    values: list[float | None] = u.tolist()
    return [None if v != v else v for v in values]
