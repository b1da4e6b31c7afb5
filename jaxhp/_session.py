"""One process's hold on a study: its log, the fold of it, and the sampler's and scheduler's states.

Suggestions follow from the fold alone. Without a lag the sampler is told the rows in log order; with `lag=w` in the
order that one worker would have made: before trial t the results of trial t - w, then the asks before t.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxhp import _owner
from jaxhp._fold import Fold
from jaxhp._types import Floats, Ints, Params, Record, Sampler, Scheduler, Trials
from jaxhp.errors import LogConflict, SamplerError, SpaceExhausted, StudyError
from jaxhp.storage import Log


class Session:
    """Reads, appends, claims and suggests. Not thread-safe: `Study` holds the lock."""

    def __init__(self, log: Log, name: str, fold: Fold, sampler: Sampler, scheduler: Scheduler | None) -> None:
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
        self._restart()

    def sync(self) -> None:
        """Takes in what other processes appended."""
        records = self.log.read(self.name, self.fold.position)
        if records:
            self._take(records)

    def append(self, record: Record) -> None:
        """Appends and folds; whatever others appended in between is folded first."""
        end = self.log.append(self.name, [record])
        if end == self.fold.position + 1:
            self._take([record])
        else:
            self.sync()

    def claim(self, records: list[Record]) -> bool:
        """Compare-and-append: False when another process was first."""
        try:
            self.log.append(self.name, records, at=self.fold.position)
        except LogConflict:
            return False
        self._take(records)
        return True

    def ask(self, n: int) -> list[int]:
        """Numbers of 1 to n trials of one kind: released, enqueued or suggested."""
        while True:
            self.sync()
            fold = self.fold
            first = fold.asked
            if fold.released:
                number = fold.released[0]
                if self.claim([{"kind": "lease", "number": number, "owner": _owner.owner(), "time": time.time()}]):
                    return [number]
            elif fold.queue:
                queued = fold.queue[0]
                if self.claim([self.ask_record(first, queued.u, params=queued.params, queue=queued.seq, source="enqueue")]):
                    return [first]
            else:
                u = self._suggest(np.arange(first, first + (1 if fold.lag else n), dtype=np.int64))
                if not len(u):
                    raise SpaceExhausted(
                        f"every configuration that {self.sampler.name} can suggest has been asked ({first} trials): nothing is left"
                    )
                if self.claim([self.ask_record(first + i, row) for i, row in enumerate(u)]):
                    return list(range(first, first + len(u)))

    def add(self, u: Floats, params: Params) -> int:
        """Claims a number for a configuration whose result is known."""
        while True:
            self.sync()
            number = self.fold.asked
            if self.claim([self.ask_record(number, u, params=params, source="add")]):
                return number

    def ask_record(self, number: int, u: Floats, **more: Any) -> Record:
        """The record that claims a number."""
        record = {"kind": "ask", "number": number, "u": listed(u), "seen": self.fold.position, "owner": _owner.owner(), "time": time.time()}
        return record | more if more else record

    def release(self, number: int, reason: str) -> None:
        """Gives a running trial back; one that its scheduler has ended is told its last report instead."""
        if number in self.fold.stops and self.fold.pending(number):
            self.append(self._stopped(number))
        else:
            self.append({"kind": "release", "number": number, "reason": reason, "time": time.time()})

    def reclaim(self) -> None:
        """Releases the trials of processes on this host that died."""
        self.sync()
        owners = {name for name, _ in self.fold.owner.values()} - {_owner.owner()}
        dead = {name for name in owners if _owner.gone(name)}
        for number, (name, _) in list(self.fold.owner.items()):
            if name in dead:
                self.release(number, f"its owner {name} is gone")

    def waits_for(self) -> int | None:
        """With a lag: the first trial whose result the next suggestion needs and does not have."""
        fold = self.fold
        if fold.lag is None or fold.released or fold.queue:
            return None
        due = range(max(0, self._lagged - fold.lag), fold.asked - fold.lag + 1)
        return next((number for number in due if number not in fold.final_row), None)

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
            self._scheduler_state = self.scheduler.tell(self._scheduler_state, rows)
            self._scheduled = self.fold.rows.n
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
        fold, space = self.fold, self.fold.space
        if fold.lag is None:
            self._tell_sampler(fold.rows.view(self._folded, fold.rows.n))
            self._folded = fold.rows.n
        else:
            self._tell_with_lag(int(numbers[0]), fold.lag)
        u = self.sampler.ask(self._state, numbers)
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
                    raise StudyError(f"lag={lag}: trial {self._lagged} waits for the result of trial {due}; tell it first")
                self._tell_sampler(fold.rows.take(fold.tell_rows[due]))
            self._due_told = True
            if self._lagged == number:
                return
            self._tell_sampler(fold.rows.take([fold.ask_row[self._lagged]]))
            self._lagged += 1
            self._due_told = False

    def _tell_sampler(self, rows: Trials) -> None:
        if len(rows.number):
            self._state = self.sampler.tell(self._state, rows)

    def _take(self, records: Sequence[Record]) -> None:
        fold = self.fold
        extensions = fold.extensions
        for record in records:
            fold.apply(record)
        if fold.extensions != extensions:
            self._restart()

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
