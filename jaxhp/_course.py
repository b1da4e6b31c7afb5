"""The course of training in lanes, as the log tells it: which trial stands where, and what has to be done again after a crash.

Two kinds of records alternate. A `decision` fills lanes: `lanes[i]` continues trial `number[i]` (-1: idles) from the weights of `parent[i]`
(-1: fresh) at step `t[i]` until `until[i]`, and the trials in `stopped` are over. A `segment` follows as long as a lane is busy: every
busy lane advances, and what it reports stands in columns. So the log ends with one or the other, and a process that comes back does
the rest: it repeats on the device what the records say, from the last checkpoint or from the start, and goes on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from jaxhp._types import Ints, Record


class Course:
    """What stands in the lanes after the last record."""

    def __init__(self) -> None:
        self.run: Record | None = None  # the record of the last `study.train`
        self.records: list[Record] = []  # decisions and segments, in order
        self.segments: list[Record] = []  # all that ever ran, with other numbers of lanes too
        self.number: Ints = np.zeros(0, np.int64)  # (k,) trial in each lane, -1 idle
        self.t: npt.NDArray[np.int32] = np.zeros(0, np.int32)  # (k,)
        self.until: npt.NDArray[np.int32] = np.zeros(0, np.int32)  # (k,)
        self.started: set[int] = set()  # trials that were ever put into a lane
        self.spent: dict[int, float] = {}  # seconds of the device that each trial took

    @property
    def busy(self) -> npt.NDArray[np.bool_]:
        """(k,) lanes that advance in the next segment."""
        result: npt.NDArray[np.bool_] = (self.number >= 0) & (self.t < self.until)
        return result

    def train(self, record: Record) -> None:
        """`study.train` was called: the first time, to go on, or with fewer lanes, which then start empty."""
        k = record["lanes"]
        if k != len(self.number):
            self.records, self.started = [], set()
            self.number, self.t, self.until = np.full(k, -1, np.int64), np.zeros(k, np.int32), np.zeros(k, np.int32)
        self.run = record

    def decide(self, record: Record) -> None:
        """Lanes were filled."""
        self.records.append(record)
        lanes = record["lanes"]
        self.number[lanes] = record["number"]
        self.t[lanes] = record["t"]
        self.until[lanes] = record["until"]
        self.started.update(n for n in record["number"] if n >= 0)

    def segment(self, record: Record) -> None:
        """The busy lanes advanced; those whose trial ended are idle."""
        assert self.run is not None
        self.records.append(record)
        self.segments.append(record)
        busy = self.busy
        self.t = np.where(busy, np.minimum(self.t + self.run["segment"], self.until), self.t).astype(np.int32)
        share = record["seconds"] / max(1, int(busy.sum()))
        for number in self.number[busy].tolist():
            self.spent[number] = self.spent.get(number, 0.0) + share
        for number in record["ended"]:
            self.number[self.number == int(number)] = -1

    def curves(self, last: int = 0) -> dict[str, npt.NDArray[Any]]:
        """number, step and every metric, one entry per report of the last segments, or of all."""
        segments = self.segments[-last:]
        names = list(dict.fromkeys(name for r in segments for name in r["values"]))
        columns: dict[str, npt.NDArray[Any]] = {
            "number": np.array([n for r in segments for n in r["numbers"]], np.int64),
            "step": np.array([s for r in segments for s in r["step"]], np.int64),
        }
        for name in names:
            told = [r["values"].get(name, [np.nan] * len(r["numbers"])) for r in segments]
            columns[name] = np.array([float(x) for column in told for x in column])
        return columns
