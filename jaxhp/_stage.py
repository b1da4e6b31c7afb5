"""What stands on the device while a study trains: the lanes, the bank of paused weights, and their checkpoints.

The stage follows the records of the course one by one: a decision moves weights, a segment runs. All that it holds can be had again by
following them from the last checkpoint, or from the start.
"""

from __future__ import annotations

import json
import math
import time
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxhp._types import Record

if TYPE_CHECKING:
    from jaxhp._fold import Fold
    from jaxhp.train._afresh import Stretch
    from jaxhp.train._bank import Bank, Name
    from jaxhp.train._checkpoint import Checkpoints
    from jaxhp.train._lanes import Lanes, LaneState


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
        lanes, bank: as wide as the record says.
        checkpoints: where to save, if anywhere.
        pause: seconds between two checkpoints.
    """

    def __init__(self, fold: Fold, run: Record, lanes: Lanes, bank: Bank, checkpoints: Checkpoints | None, pause: float) -> None:
        self.fold = fold
        self.lanes = lanes
        self.bank = bank
        self.followed = 0  # records of the course that the device has followed
        self.segments = 0
        self._seeds: int = run["seeds"]
        self._checkpoints = checkpoints
        self._pause = pause
        self._saved_at = time.monotonic()
        self._running: LaneState  # of the segment that runs
        self._state: LaneState | None = None  # None while it changes: after an interruption it is not known, and restored
        self._best: int | None = None  # the trial whose weights are kept

    def follow(self) -> None:
        """Does on the device what the records of the log say that it has not followed yet."""
        records = self.fold.course.records
        if self._state is None:
            self._restore()
        while self.followed < len(records):
            record = records[self.followed]
            if record["kind"] == "segment":
                self.run()
                self.after_segment(record)
            else:
                self._fill_lanes(record)

    def run(self) -> dict[str, Any]:
        """Starts a segment and returns its metrics (k,), which the device may still be computing; `after_segment` ends it."""
        state = self._taken()
        self._running, metrics = self.lanes.run(state)
        return metrics

    def weights(self, names: Sequence[Name], steps: Sequence[int]) -> Any:
        """Rows of the models of trials at the steps where they stand: from the bank, or trained again."""
        missing = [(name, step) for name, step in zip(names, steps, strict=True) if name not in self.bank]
        if not missing:
            return self.bank.take(names)
        rows = self._retrained([name for name, _ in missing], [step for _, step in missing])
        known = [name for name in names if name in self.bank]
        if not known:
            return rows
        from jaxhp.train import _weights

        order = {name: i for i, name in enumerate([*known, *(name for name, _ in missing)])}
        here = _weights.chosen(self.bank.take(known), range(len(known)))
        return _weights.chosen(_weights.joined([here, rows]), [order[name] for name in names])

    def after_segment(self, record: Record) -> None:
        """Keeps the weights of the best trial, and empties the lanes of those that ended."""
        state, best = self._running, self.fold.best
        self.segments += 1
        number = state.number.copy()
        if best is not None and best != self._best and str(best) in record["ended"]:
            slots = np.flatnonzero(number == best).tolist()
            for name in [] if self._best is None else self._names(self._best):
                self.bank.drop(name)
            self.bank.put(state, slots, self._names(best), self._hopeless())
            self._best = best
        number[np.isin(number, [int(n) for n in record["ended"]])] = -1
        self.followed += 1
        self._state = state._replace(number=number)  # last: whatever interrupts before this restores both

    def _fill_lanes(self, record: Record) -> None:
        """Pauses, continues, promotes, changes and starts trials, as a decision says."""
        state = self._taken()
        stopped = set(record["stopped"])
        before = self._leads(state.number)
        pausing = [
            (i, old)
            for i, new in zip(record["lanes"], record["number"], strict=True)
            if (old := int(before[i])) >= 0 and old != new and old not in stopped
        ]
        if pausing:
            slots = [slot for i, _ in pausing for slot in self._gang(i)]
            self.bank.put(state, slots, [name for _, number in pausing for name in self._names(number)], self._hopeless())
        number, until = state.number.copy(), state.until.copy()
        for i, new in zip(record["lanes"], record["number"], strict=True):
            if new != before[i]:
                number[self._gang(i)] = -1
                until[self._gang(i)] = state.t[self._gang(i)]
        state = state._replace(number=number, until=until)
        lane_of = {n: lane for lane, n in enumerate(before.tolist()) if n >= 0}
        moves = [Move._make(m) for m in zip(*(record[name] for name in Move._fields), strict=True) if m[1] >= 0]
        staying = [m for m in moves if m.parent in lane_of]  # its weights are in a lane: all are copied before any is overwritten
        fresh = [m for m in moves if m.parent < 0]
        waiting = [m for m in moves if m.parent >= 0 and m.parent not in lane_of]
        rows = None
        if waiting:
            parents = [name for m in waiting for name in self._names(m.parent)]
            rows = self.weights(parents, [m.t for m in waiting for _ in range(self._seeds)])
        if staying:
            state = self._placed(state, staying, sources=[slot for m in staying for slot in self._gang(lane_of[m.parent])])
        if fresh:
            state = self._placed(state, fresh)
        if waiting:
            state = self._placed(state, waiting, rows=rows)
        for name in [name for m in moves for name in self._names(m.number)]:
            self.bank.drop(name)
        for gone in stopped:
            for name in self._names(gone):
                self.bank.drop(name)
        self.followed += 1
        self._state = state

    def _taken(self) -> LaneState:
        """The lanes' state, which is unknown from here on until it is put back."""
        state, self._state = self._state, None
        assert state is not None
        return state

    def _placed(self, state: LaneState, moves: list[Move], rows: Any = None, sources: list[int] | None = None) -> LaneState:
        """Lanes in which a move begins: with fresh weights, with `rows`, or with those that are in the slots `sources`."""
        from jaxhp.train import traced

        fold = self.fold
        names = [name for m in moves for name in self._names(m.number)]
        return self.lanes.refill(
            state,
            [slot for m in moves for slot in self._gang(m.lanes)],
            [number for number, _ in names],
            traced(fold.space, np.array([fold.leg(number, self.followed + 1).u for number, _ in names])),
            [m.until for m in moves for _ in range(self._seeds)],
            replicates=[replicate for _, replicate in names],
            t=[m.t for m in moves for _ in range(self._seeds)],
            model=rows,
            sources=sources,
        )

    def _retrained(self, names: Sequence[Name], steps: Sequence[int]) -> Any:
        """Models (len(names), ...) trained again from their start: the same weights, at the price of the steps."""
        from jaxhp.train._afresh import trained

        return trained(
            self.lanes, [self.stretches(number, step) for (number, _), step in zip(names, steps, strict=True)], [r for _, r in names]
        )

    def stretches(self, number: int, step: int, keyed: int | None = None) -> list[Stretch]:
        """How a trial came to stand at a step; `keyed`: drawn with another's keys."""
        from jaxhp.train import traced
        from jaxhp.train._afresh import Stretch

        legs = [leg for leg in self.fold.leg(number, self.followed).path() if leg.start < step]
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

        return [] if self.bank.capacity is None else sorted((n for n in self.bank.names if n[0] != self._best), key=standing)

    def _gang(self, lane: int) -> list[int]:
        """The slots of the replicates of one lane."""
        return list(range(lane * self._seeds, (lane + 1) * self._seeds))

    def _names(self, number: int) -> list[Name]:
        return [(number, replicate) for replicate in range(self._seeds)]

    def _leads(self, column: Any) -> Any:
        return column[:: self._seeds]

    def save(self) -> None:
        """Writes a checkpoint, if the last one is old enough."""
        if self._checkpoints is None or time.monotonic() - self._saved_at < self._pause:
            return
        assert self._state is not None
        from jaxhp.train import _weights
        from jaxhp.train._checkpoint import Saved

        state = self._state
        facts = {
            "number": state.number.tolist(),
            "replicate": state.replicate.tolist(),
            "t": state.t.tolist(),
            "until": state.until.tolist(),
            "bank": self.bank.names,
            "best": self._best,
            "segments": self.segments,
            "record": _digest(self.fold.course.records[self.followed - 1]),
        }
        self._checkpoints.save(Saved(self.followed, _weights.leaves(state.model), self.bank.arrays(), facts))
        self._saved_at = time.monotonic()

    def _restore(self) -> None:
        """The lanes as of the last checkpoint of this very course, or empty."""
        from jaxhp.train import _weights, traced

        records = self.fold.course.records

        def ours(boundary: int, facts: dict[str, Any]) -> bool:
            return boundary <= len(records) and facts.get("record") == _digest(records[boundary - 1])

        self.followed, self._best, self.segments = 0, None, 0
        self.bank.clear()
        state = self.lanes.init()
        saved = None if self._checkpoints is None else self._checkpoints.latest(ours)
        if saved is None:
            self._state = state
            return
        fold, facts = self.fold, saved.facts
        number = np.array(facts["number"], np.int64)
        slots = np.flatnonzero(number >= 0)
        hparams = {name: column.copy() for name, column in state.hparams.items()}
        if len(slots):
            for name, column in traced(fold.space, np.array([fold.leg(int(n), saved.boundary).u for n in number[slots]])).items():
                hparams[name][slots] = column
        state = state._replace(
            model=self.lanes.on_device(_weights.like(state.model, saved.model)),
            number=number,
            replicate=np.array(facts["replicate"], np.int32),
            hparams=hparams,
            t=np.array(facts["t"], np.int32),
            until=np.array(facts["until"], np.int32),
        )
        self.bank.restore([(n, r) for n, r in facts["bank"]], saved.bank)
        self.followed, self._best, self.segments = saved.boundary, facts["best"], facts["segments"]
        self._state = state

    def settle(self) -> None:
        """Waits for the checkpoint that is being written: a process that ends would leave it half done."""
        if self._checkpoints is not None:
            self._checkpoints.settle()

    def close(self) -> None:
        """Lets go of the thread that reads ahead and of the checkpoints."""
        self.lanes.close()
        if self._checkpoints is not None:
            self._checkpoints.close()


def _digest(record: Record) -> int:
    """Tells a course's record from those of other studies, which have other times."""
    return zlib.crc32(json.dumps(record, sort_keys=True).encode())
