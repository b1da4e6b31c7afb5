"""What stands on the device while a study trains: the trials in their berths, the bank of paused weights, and their checkpoints.

The stage follows the records of the course one by one: a decision moves weights, a segment runs. All that it holds can be had again by
following them from the last checkpoint, or from the start. Where in which program a trial stands is left to `_berths.py`.
"""

from __future__ import annotations

import json
import math
import time
import zlib
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxhp._berths import Berths, Boarding
from jaxhp._types import Floats, Record

if TYPE_CHECKING:
    from jaxhp._fold import Fold
    from jaxhp.train._afresh import Stretch
    from jaxhp.train._bank import Banks, Name
    from jaxhp.train._buckets import Plan, Sizes
    from jaxhp.train._checkpoint import Checkpoints
    from jaxhp.train._lanes import Lanes
    from jaxhp.train._trainable import Trainable


class Move(NamedTuple):
    """What a decision says of one lane: the columns of its record."""

    lanes: int
    number: int
    parent: int
    t: int
    until: int


class Stage:
    """Follows the course of one study.

    Args:
        fold: of the study.
        run: the course's `train` record.
        trainable: what the user gave.
        plan: how its sizes share programs; None where it has none.
        docks: the program of each bucket of the plan.
        bank: of as many buckets.
        checkpoints: where to save, if anywhere.
        pause: seconds between two checkpoints.
    """

    def __init__(
        self,
        fold: Fold,
        run: Record,
        trainable: Trainable,
        plan: Plan | None,
        docks: Sequence[Lanes],
        bank: Banks,
        checkpoints: Checkpoints | None,
        pause: float,
    ) -> None:
        self.fold = fold
        self.trainable = trainable
        self.plan = plan
        self.docks = list(docks)
        self.bank = bank
        self.berths = Berths(docks, run["seeds"])
        self.followed = 0  # records of the course that the device has followed
        self.segments = 0
        self.failures: dict[int, str] = {}  # what is compiled does not raise
        self._seeds: int = run["seeds"]
        self._checkpoints = checkpoints
        self._pause = pause
        self._saved_at = time.monotonic()
        self._lanes = np.full(run["lanes"], -1, np.int64)  # (k,) the trial in each of the log's lanes
        self._known = False  # not while something changes: after an interruption all is restored
        self._best: int | None = None  # the trial whose weights are kept

    @property
    def lanes(self) -> Lanes:
        """The program of the largest bucket."""
        return self.docks[-1]

    def follow(self) -> None:
        """Does on the device what the records of the log say that it has not followed yet."""
        records = self.fold.course.records
        if not self._known:
            self._restore()
        while self.followed < len(records):
            record = records[self.followed]
            if record["kind"] == "segment":
                self.run()
                self.after_segment(record)
            else:
                self._fill_lanes(record)

    def run(self) -> None:
        """Starts a segment, which the device may still be computing; `after_segment` ends it."""
        self._known = False
        self.berths.run()

    def metrics(self) -> dict[str, Floats]:
        """What the segment told, (k, seeds) in the order of the log's lanes; NaN where one is idle. Waits for the device."""
        return self.berths.metrics(self._lanes.tolist())

    def weights(self, names: Sequence[Name], steps: Sequence[int], before: int | None = None) -> Any:
        """Rows of the models of trials at the steps where they stand, or stood `before` a record: from the bank, or trained again."""
        missing = [(name, step) for name, step in zip(names, steps, strict=True) if name not in self.bank]
        if not missing:
            return self.bank.take(names)
        rows = self._retrained([name for name, _ in missing], [step for _, step in missing], before)
        known = [name for name in names if name in self.bank]
        if not known:
            return rows
        from jaxhp.train import _weights

        order = {name: i for i, name in enumerate([*known, *(name for name, _ in missing)])}
        here = _weights.chosen(self.bank.take(known), range(len(known)))
        return _weights.chosen(_weights.joined([here, rows]), [order[name] for name in names])

    def after_segment(self, record: Record) -> None:
        """Keeps the weights of the best trial, and empties the berths of those that ended."""
        best, ended = self.fold.best, [int(n) for n in record["ended"]]
        self.segments += 1
        if best is not None and best != self._best and best in ended:
            for name in [] if self._best is None else self._names(self._best):
                self.bank.drop(name)
            self._put([best])
            self._best = best
        self._lanes[np.isin(self._lanes, ended)] = -1
        self.berths.leave(ended)
        self.followed += 1
        self._known = True  # last: whatever interrupts before this restores everything

    def _fill_lanes(self, record: Record) -> None:
        """Pauses, continues, promotes, changes and starts trials, as a decision says."""
        self._known = False
        stopped = set(record["stopped"])
        moves = [Move._make(m) for m in zip(*(record[name] for name in Move._fields), strict=True)]
        leaving = [old for m in moves if (old := int(self._lanes[m.lanes])) >= 0 and old != m.number]
        for m in moves:
            self._lanes[m.lanes] = m.number
        moves = [m for m in moves if m.number >= 0]
        self._put([n for n in leaving if n not in stopped and n not in {m.number for m in moves}])
        boarding = [self._boarding(m) for m in moves]
        self.berths.change(leaving, boarding, lambda numbers: self._hparams(numbers, self.followed + 1), self._parents)
        for number in [*(m.number for m in moves), *stopped]:
            for name in self._names(number):
                self.bank.drop(name)
        self.followed += 1
        self._known = True

    def _boarding(self, m: Move) -> Boarding:
        """Where a move leads; its weights, where it changes its sizes."""
        u = self.fold.leg(m.number, self.followed + 1).u
        bucket, rows = self.bucket(self._sizes(u)), None
        before = self._sizes(self.fold.leg(m.parent, self.followed).u) if m.parent >= 0 else None
        if before is not None and before != self._sizes(u):
            from jaxhp.train import _weights

            here = m.parent in self.berths.at
            names = self._names(m.parent)
            rows = (
                self.berths.rows(m.parent)
                if here
                else _weights.chosen(self.weights(names, [m.t] * self._seeds, self.followed), range(self._seeds))
            )
            rows = self._carried(rows, before, m.number, range(self._seeds), self._row(u))
        return Boarding(m.number, bucket, m.parent, m.t, m.until, rows)

    def _parents(self, boarding: Sequence[Boarding]) -> Any:
        """The weights that trials go on from which are in no berth."""
        names = [name for b in boarding for name in self._names(b.parent)]
        return self.weights(names, [b.t for b in boarding for _ in range(self._seeds)], self.followed)

    def _put(self, numbers: Sequence[int]) -> None:
        """Copies trials from their berths into the bank."""
        hopeless = self._hopeless() if numbers else []
        for bucket, state, slots, here in self.berths.together(numbers):
            self.bank.put(bucket, state, slots, [name for n in here for name in self._names(n)], hopeless)

    # -- sizes -------------------------------------------------------------------------------------------------------

    def bucket(self, sizes: Sizes) -> int:
        """The bucket that trains configurations of these sizes."""
        return 0 if self.plan is None else self.plan.bucket(sizes)

    def dock(self, number: int) -> Lanes:
        """The program that trains a trial."""
        return self.dock_of(self._row(self.fold.u(number)))

    def dock_of(self, hparams: Mapping[str, Any]) -> Lanes:
        """The program that trains a configuration."""
        return self.docks[self.bucket(self._sizes_in(hparams))]

    def _sizes(self, u: Floats) -> Sizes:
        return self._sizes_in(self._row(u)) if self.plan is not None else {}

    def _sizes_in(self, hparams: Mapping[str, Any]) -> Sizes:
        return {} if self.plan is None else {name: int(hparams[name]) for name in self.plan.buckets[0].sizes}

    def _row(self, u: Floats) -> dict[str, Any]:
        from jaxhp.train import traced

        return {name: column[0] for name, column in traced(self.fold.space, u[None]).items()}

    def _hparams(self, numbers: Sequence[int], before: int) -> Any:
        from jaxhp.train import traced

        return traced(self.fold.space, np.array([self.fold.leg(n, before).u for n in numbers]).reshape(len(numbers), -1))

    def _carried(self, rows: Any, sizes: Sizes, number: int, replicates: Sequence[int], hparams: Mapping[str, Any]) -> Any:
        """Weights of a trial of some sizes, as one of other sizes goes on from them."""
        from jaxhp.train._corners import carried, cut, shapes_of

        corners = cut(rows, shapes_of(self.trainable.resized(sizes), hparams))
        return carried(self.dock_of(hparams), corners, number, replicates, hparams)

    # -- training again ----------------------------------------------------------------------------------------------

    def _retrained(self, names: Sequence[Name], steps: Sequence[int], before: int | None) -> Any:
        """Models (len(names), ...) trained again from their start: the same weights, at the price of the steps."""
        courses = [self.stretches(number, step, before) for (number, _), step in zip(names, steps, strict=True)]
        return self.trained(courses, [replicate for _, replicate in names])

    def trained(self, courses: Sequence[Sequence[Stretch]], replicates: Sequence[int]) -> Any:
        """Models (n, ...) of n trainings that end in one bucket."""
        from jaxhp.train import _weights
        from jaxhp.train._afresh import trained

        sizes = [[self._sizes_in(stretch.hparams) for stretch in course] for course in courses]
        if all(s == course[0] for course in sizes for s in course):
            return trained(self.docks[self.bucket(sizes[0][0])], courses, replicates)
        return _weights.joined([self._grown(course, replicate) for course, replicate in zip(courses, replicates, strict=True)])

    def _grown(self, course: Sequence[Stretch], replicate: int) -> Any:
        """A training whose sizes change on the way."""
        from jaxhp.train._afresh import trained

        rows, before, t = None, None, 0
        for _, part in groupby(course, key=lambda stretch: self._sizes_in(stretch.hparams)):
            stretches = list(part)
            first = stretches[0]
            sizes = self._sizes_in(first.hparams)
            if before is not None:
                rows = self._carried(rows, before, first.number, [replicate], first.hparams)
            rows = trained(self.docks[self.bucket(sizes)], [stretches], [replicate], rows, t)
            before, t = sizes, stretches[-1].until
        return rows

    def stretches(self, number: int, step: int, before: int | None = None, keyed: int | None = None) -> list[Stretch]:
        """How a trial came to stand at a step, or did `before` a record of the course; `keyed`: drawn with another's keys."""
        from jaxhp.train import traced
        from jaxhp.train._afresh import Stretch

        legs = [leg for leg in self.fold.leg(number, before).path() if leg.start < step]
        ends = [leg.start for leg in legs[1:]] + [step]
        hparams = traced(self.fold.space, np.array([leg.u for leg in legs]))
        return [
            Stretch(leg.number if keyed is None else keyed, {name: column[i] for name, column in hparams.items()}, end)
            for i, (leg, end) in enumerate(zip(legs, ends, strict=True))
            if end > leg.start
        ]

    def _hopeless(self) -> list[Name]:
        """Rows that the bank gives up first: those of trials that stand lowest and are worst there."""
        fold = self.fold
        table = fold.rows.table

        def standing(name: Name) -> tuple[float, float]:
            rows = fold.tell_rows.get(name[0])
            return (math.inf, 0.0) if rows is None else (float(table.fidelity[rows[-1]]), -float(table.y[rows[-1], 0]))

        return [] if not self.bank.limited else sorted((n for n in self.bank.names if n[0] != self._best), key=standing)

    def _names(self, number: int) -> list[Name]:
        return [(number, replicate) for replicate in range(self._seeds)]

    def save(self) -> None:
        """Writes a checkpoint, if the last one is old enough."""
        if self._checkpoints is None or time.monotonic() - self._saved_at < self._pause:
            return
        from jaxhp.train import _weights
        from jaxhp.train._checkpoint import Saved

        facts = {
            "lanes": self._lanes.tolist(),
            "chunks": self.berths.facts(),
            "bank": self.bank.facts(),
            "best": self._best,
            "segments": self.segments,
            "record": _digest(self.fold.course.records[self.followed - 1]),
        }
        models = [leaf for model in self.berths.models() for leaf in _weights.leaves(model)]
        self._checkpoints.save(Saved(self.followed, models, self.bank.arrays(), facts))
        self._saved_at = time.monotonic()

    def _restore(self) -> None:
        """All as of the last checkpoint of this very course, or empty."""
        records = self.fold.course.records

        def ours(boundary: int, facts: dict[str, Any]) -> bool:
            return boundary <= len(records) and facts.get("record") == _digest(records[boundary - 1])

        self.followed, self._best, self.segments = 0, None, 0
        self.bank.clear()
        self.berths.clear()
        self._lanes[:] = -1
        saved = None if self._checkpoints is None else self._checkpoints.latest(ours)
        if saved is not None:
            facts = saved.facts
            self.berths.restore(facts["chunks"], saved.model, lambda numbers: self._hparams(numbers, saved.boundary))
            self.bank.restore(facts["bank"], saved.bank)
            self._lanes[:] = facts["lanes"]
            self.followed, self._best, self.segments = saved.boundary, facts["best"], facts["segments"]
        self._known = True

    def settle(self) -> None:
        """Waits for the checkpoint that is being written: a process that ends would leave it half done."""
        if self._checkpoints is not None:
            self._checkpoints.settle()

    def close(self) -> None:
        """Lets go of the thread that reads ahead and of the checkpoints."""
        for lanes in self.docks:
            lanes.close()
        if self._checkpoints is not None:
            self._checkpoints.close()


def _digest(record: Record) -> int:
    """Tells a course's record from those of other studies, which have other times."""
    return zlib.crc32(json.dumps(record, sort_keys=True).encode())
