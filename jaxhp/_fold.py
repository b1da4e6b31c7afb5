"""The fold: what a study knows, computed from its log record by record.

`Fold.apply` is the only place where records gain meaning, so a study that is continued, resumed or read by another
process sees the same thing. Record kinds are listed in docs/architecture.md.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from typing import NamedTuple

import numpy as np

from jaxhp._rows import Rows
from jaxhp._types import Floats, Outcome, Params, Problem, Record, Status
from jaxhp.errors import StorageError
from jaxhp.space import Space

_FINAL = {"complete": Status.COMPLETE, "failed": Status.FAILED, "stopped": Status.STOPPED}


class Queued(NamedTuple):
    """A configuration to run before the sampler is asked again."""

    seq: int
    u: Floats
    params: Params


class Fold:
    """Everything derived from the log: the rows told to the sampler, and per trial what the rows do not hold."""

    def __init__(self, header: Record, space: Space | None) -> None:
        self.given = space  # the user's own space, which may hold constraints that a log can only name
        self.space = self._resolve(header["space"])
        self.outcomes = tuple(Outcome(*o) for o in header["outcomes"])
        self.seed = int(header["seed"])
        self.lag: int | None = header["lag"]
        self.stochastic = bool(header["stochastic"])
        self.sampler = str(header["sampler"])
        self.scheduler: str | None = header.get("scheduler")
        self._signs = [1.0 if o.direction == "minimize" else -1.0 for o in self.outcomes]
        self.position = 1  # log position after the last record applied
        self.rows = Rows(self.space.d, len(self.outcomes))
        self.ask_row: list[int] = []  # row of each trial's ask, by number
        self.tell_rows: dict[int, list[int]] = {}  # rows of each trial's reports and tell
        self.final_row: dict[int, int] = {}  # row of each trial's tell
        self.owner: dict[int, tuple[str, float]] = {}  # owner and start time of each running trial
        self.released: list[int] = []  # heap of trials whose owner gave them back
        self.queue: deque[Queued] = deque()
        self.params: dict[int, Params] = {}  # the user's own values, where decode would round them
        self.values: dict[int, dict[str, float]] = {}  # told metrics that are not outcomes
        self.errors: dict[int, str] = {}
        self.stops: set[int] = set()  # trials that a scheduler ended
        self.confirmed: list[Record] = []
        self.failed = 0
        self.best: int | None = None  # number of the best complete, feasible trial of one objective
        self.extensions = 0
        self._best_y = math.inf

    @property
    def asked(self) -> int:
        """How many numbers are taken; the next trial's number."""
        return len(self.ask_row)

    @property
    def told(self) -> int:
        """How many trials are finished."""
        return len(self.final_row)

    @property
    def problem(self) -> Problem:
        """What a sampler is initialised with."""
        return Problem(self.space, self.space.dims, self.outcomes, self.stochastic)

    def apply(self, record: Record) -> None:
        """Takes in the next record of the log."""
        kind = record["kind"]
        fold = _KINDS.get(kind)
        if fold is None:
            raise StorageError(f"record {self.position} has the unknown kind {kind!r}: was it written by a newer jaxhp? Upgrade to read it")
        fold(self, record)
        self.position += 1

    def pending(self, number: int) -> bool:
        """Whether a trial is asked and not told."""
        return 0 <= number < self.asked and number not in self.final_row

    def u(self, number: int) -> Floats:
        """The canonical point (d,) of a trial."""
        u: Floats = self.rows.table.u[self.ask_row[number]]
        return u

    def _ask(self, record: Record) -> None:
        number = record["number"]
        if number != self.asked:
            raise StorageError(
                f"record {self.position} asks trial {number}, but {self.asked} comes next; the log is damaged: restore a copy"
            )
        if "queue" in record:
            seq = record["queue"]
            self.queue = deque(q for q in self.queue if q.seq != seq)
        if "params" in record:
            self.params[number] = record["params"]
        u = np.array(record["u"], dtype=np.float64)
        self.ask_row.append(self.rows.append(number, u, Status.PENDING))
        self.owner[number] = (record["owner"], record["time"])

    def _lease(self, record: Record) -> None:
        number = record["number"]
        if number in self.released:
            self.released.remove(number)
            heapq.heapify(self.released)
        self.owner[number] = (record["owner"], record["time"])

    def _release(self, record: Record) -> None:
        number = record["number"]
        if self.pending(number) and number not in self.released:
            heapq.heappush(self.released, number)
            self.owner.pop(number, None)

    def _report(self, record: Record) -> None:
        number = record["number"]
        if not self.pending(number):
            return  # a late report of a trial that is already told stays in the log and says nothing
        y = self._minimised(record["values"])
        row = self.rows.append(number, self.u(number), Status.REPORTED, y, fidelity=float(record["step"]))
        self.tell_rows.setdefault(number, []).append(row)

    def _tell(self, record: Record) -> None:
        number = record["number"]
        if not self.pending(number):
            return  # the first tell counts
        status = _FINAL[record["status"]]
        values = record["values"]
        y = self._minimised(values)
        if len(values) > len(y):
            names = {o.name for o in self.outcomes}
            self.values[number] = {k: float(v) for k, v in values.items() if k not in names}
        if "error" in record:
            self.errors[number] = record["error"]
        _, started = self.owner.pop(number, ("", math.nan))
        cost = record["cost"] if "cost" in record else record["time"] - started
        noise = [float(record["noise"].get(o.name, math.nan)) for o in self.outcomes] if "noise" in record else math.nan
        step = float(record["step"]) if "step" in record else math.nan
        row = self.rows.append(number, self.u(number), status, y, noise, step, cost)
        self.tell_rows.setdefault(number, []).append(row)
        self.final_row[number] = row
        if number in self.released:
            self.released.remove(number)
            heapq.heapify(self.released)
        if status == Status.FAILED:
            self.failed += 1
        elif status == Status.COMPLETE and y[0] < self._best_y and self._satisfied(y):
            self.best, self._best_y = number, y[0]

    def _enqueue(self, record: Record) -> None:
        self.queue.append(Queued(self.position, np.array(record["u"], dtype=np.float64), record["params"]))

    def _extend(self, record: Record) -> None:
        new = self._resolve(record["space"])
        self.rows.replace_u(self.space.convert(self.rows.view(0, self.rows.n).u, new))
        self.queue = deque(q._replace(u=self.space.convert(q.u[None], new)[0]) for q in self.queue)
        self.space = new
        self.extensions += 1

    def _sampler(self, record: Record) -> None:
        self.sampler = record["sampler"]

    def _scheduler(self, record: Record) -> None:
        self.scheduler = record["scheduler"]

    def _decision(self, record: Record) -> None:
        for number, then in zip(record.get("slots", ()), record["number"], strict=False):  # a decision over lanes has none
            if then == -1:
                self.stops.add(number)

    def _confirm(self, record: Record) -> None:
        self.confirmed.append(record)

    def _resolve(self, logged: Record) -> Space:
        parsed = Space.from_json(logged)
        return self.given if self.given is not None and not self.given.difference(parsed) else parsed

    def _minimised(self, values: dict[str, float | str]) -> list[float]:
        """y in the order of the outcomes; NaN where one is missing."""
        return [sign * float(values.get(o.name, math.nan)) for o, sign in zip(self.outcomes, self._signs, strict=True)]

    def _satisfied(self, y: list[float]) -> bool:
        return all(o.threshold is None or v <= sign * o.threshold for o, v, sign in zip(self.outcomes, y, self._signs, strict=True))


_KINDS = {
    "ask": Fold._ask,
    "lease": Fold._lease,
    "release": Fold._release,
    "report": Fold._report,
    "tell": Fold._tell,
    "enqueue": Fold._enqueue,
    "extend": Fold._extend,
    "sampler": Fold._sampler,
    "scheduler": Fold._scheduler,
    "decision": Fold._decision,
    "confirm": Fold._confirm,
}
