"""The fold: what a study knows, computed from its log record by record.

`Fold.apply` is the only place where records gain meaning, so a study that is continued, resumed or read by another
process sees the same thing. Record kinds are listed in docs/architecture.md.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from jaxhp._course import Course
from jaxhp._lineage import Leg, Lineage
from jaxhp._records import FINAL, check, check_first, points, refuse
from jaxhp._rows import UNKNOWN, Rows
from jaxhp._slopes import along_u
from jaxhp._types import Floats, Outcome, Params, Problem, Record, Status
from jaxhp.space import Space

Values: TypeAlias = dict[str, Any]  # metric -> a number, or "nan", "inf", "-inf"

_FINAL = {name: Status[name.upper()] for name in FINAL}
_MISFITS = (ArithmeticError, AttributeError, LookupError, RecursionError, StopIteration, TypeError, ValueError)  # of forged records


class Queued(NamedTuple):
    """A configuration to run before the sampler is asked again."""

    seq: int
    u: Floats
    params: Params
    retry: int | None = None  # the failed trial that it repeats


class Fold:
    """Everything derived from the log: the rows told to the sampler, and per trial what the rows do not hold."""

    def __init__(self, header: Record, space: Space | None) -> None:
        self.given = space  # the user's own space, which may hold constraints that a log can only name
        check_first(header)
        try:
            self.space = self._resolve(header["space"])
        except _MISFITS as e:
            refuse(0, "study", f"its space cannot be built: {e}", e)
        self.outcomes = tuple(Outcome(*o) for o in header["outcomes"])
        self._signs = [(o.name, o.sign) for o in self.outcomes]
        self.seed = int(header["seed"])
        self.lag: int | None = header["lag"]
        self.stochastic = bool(header["stochastic"])
        self.sampler = str(header["sampler"])
        self.scheduler: str | None = header.get("scheduler")
        self.position = 1  # log position after the last record applied
        self.rows = Rows(self.space.d, len(self.outcomes))
        self.ask_row: list[int] = []  # row of each trial's ask, by number
        self.tell_rows: dict[int, list[int]] = {}  # rows of each trial's reports and tell
        self.final_row: dict[int, int] = {}  # row of each trial's tell
        self.owner: dict[int, tuple[str, float]] = {}  # owner and start time of each running trial
        self.released: list[int] = []  # heap of trials whose owner gave them back
        self.grant: dict[int, int] = {}  # how often a trial was taken up again: a result that names an earlier grant is late
        self.lost: dict[int, int] = {}  # how often a trial's owner was lost
        self.late: dict[int, Record] = {}  # results that do not count, by log position
        self.attempt: dict[int, int] = {}  # of a trial that repeats a failed one: how many failed before it
        self.halted: Literal["stop", "pause"] | None = None
        self.queue: deque[Queued] = deque()
        self.params: dict[int, Params] = {}  # the user's own values, where decode would round them
        self.values: dict[int, dict[str, float]] = {}  # told metrics that are not outcomes
        self.gradients: dict[int, Values] = {}  # slopes of the objective by parameter, in the user's units
        self.guards: dict[int, dict[str, str]] = {}  # which of those were replaced or given up, and why
        self.errors: dict[int, str] = {}
        self.stops: set[int] = set()  # trials that a scheduler ended
        self.confirmed: list[Record] = []
        self.tested: list[Record] = []
        self.course = Course()  # of training in lanes
        self.lineage = Lineage()  # of trials that a scheduler changed
        self._extras: dict[int, Values] = {}  # every metric of each trial's last report in lanes
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
        """Takes in the next record of the log, which this process wrote."""
        _KINDS[record["kind"]](self, record)
        self.position += 1

    def take(self, records: Sequence[Record]) -> None:
        """Takes in the next records of the log, whoever wrote them.

        Raises:
            StorageError: one cannot be the next; the message names it. Those before it may count already.
        """
        start = 0
        while start < len(records):  # up to a change of the space, points are checked together
            stop = 1 + next((i for i in range(start, len(records)) if records[i].get("kind") == "extend"), len(records) - 1)
            self._take(records[start:stop])
            start = stop

    def _take(self, records: Sequence[Record]) -> None:
        u = iter(points(records, self.position, self.space))
        try:
            for record in records:
                check(self, record)
                kind = record["kind"]
                if kind == "ask":
                    self._ask(record, next(u))
                elif kind == "enqueue":
                    self._enqueue(record, next(u))
                else:
                    _KINDS[kind](self, record)
                self.position += 1
        except _MISFITS as e:
            refuse(self.position, record["kind"], f"it does not fit the records before it: {type(e).__name__}: {e}", e)

    def pending(self, number: int) -> bool:
        """Whether a trial is asked and not told."""
        return 0 <= number < self.asked and number not in self.final_row

    def u(self, number: int) -> Floats:
        """The canonical point (d,) of a trial: the last one, where a scheduler changed it."""
        known = self.lineage.last(number)
        return known.u if known is not None else self.rows.table.u[self.ask_row[number]]

    def leg(self, number: int, before: int | None = None) -> Leg:
        """What a trial trains with, and how its weights came about; `before`: as it was before this record of the course."""
        known = self.lineage.last(number, before)
        return known if known is not None else Leg(number, 0, self.rows.table.u[self.ask_row[number]].copy(), -1, None)

    def reached(self, number: int) -> int:
        """The step of a trial's last report, 0 before it."""
        steps = [self.rows.table.fidelity[row] for row in self.tell_rows.get(number, ())]
        return int(next((step for step in reversed(steps) if step == step), 0))

    def standing(self) -> dict[int, int]:
        """How many unfinished trials reported last at each step, in lanes."""
        steps = (int(self.rows.table.fidelity[self.tell_rows[n][-1]]) for n in self.owner if n in self._extras)
        return dict(sorted(Counter(steps).items()))

    def told_values(self, row: int) -> dict[str, float]:
        """The outcomes of a row as they were told; NaN where one is missing."""
        return {o.name: o.sign * y for o, y in zip(self.outcomes, self.rows.table.y[row].tolist(), strict=True)}

    def _ask(self, record: Record, u: Floats | None = None) -> None:
        number = record["number"]
        if "queue" in record:
            self._dequeue(number, record["queue"])
        if "params" in record:
            self.params[number] = record["params"]
        u = np.array(record["u"], dtype=np.float64) if u is None else u
        self.ask_row.append(self.rows.append(number, u, Status.PENDING))
        self.owner[number] = (record["owner"], record["time"])

    def _dequeue(self, number: int, seq: int) -> None:
        """This trial is the enqueued configuration of that record."""
        place = next((i for i, queued in enumerate(self.queue) if queued.seq == seq), None)
        if place is None:
            return
        retry = self.queue[place].retry
        del self.queue[place]
        if retry is not None:
            self.attempt[number] = self.attempt.get(retry, 0) + 1

    def _lease(self, record: Record) -> None:
        number = record["number"]
        if not self.pending(number):
            return
        self._take_back(number)
        self.grant[number] = self.grant.get(number, 0) + 1
        self.owner[number] = (record["owner"], record["time"])

    def _take_back(self, number: int) -> None:
        """A trial that was given back is so no more."""
        if number in self.released:
            self.released.remove(number)
            heapq.heapify(self.released)

    def _release(self, record: Record) -> None:
        number = record["number"]
        if self.pending(number) and self.holds(number, record.get("lease")) and number not in self.released:
            heapq.heappush(self.released, number)
            self.owner.pop(number, None)
            self._count_loss(record)

    def _count_loss(self, record: Record) -> None:
        """Its owner gave nothing back: it is gone, or has not been heard of."""
        if record.get("lost"):
            self.lost[record["number"]] = self.lost.get(record["number"], 0) + 1

    def holds(self, number: int, lease: int | None) -> bool:
        """Whether this grant of a trial is its last one; None, which is said by who knows of no grant, always is."""
        return lease is None or lease == self.grant.get(number, 0)

    def _report(self, record: Record) -> None:
        number = record["number"]
        if self.pending(number) and self.holds(number, record.get("lease")):  # a late report stays in the log and says nothing
            self._reported(record["number"], record["values"], float(record["step"]))

    def _reported(self, number: int, values: Values, step: float, noise: Values | None = None) -> None:
        row = self.rows.append(number, self.u(number), Status.REPORTED, self._minimised(values), self._deviations(noise), step)
        self.tell_rows.setdefault(number, []).append(row)

    def _tell(self, record: Record) -> None:
        number = record["number"]
        if not self.pending(number) or not self.holds(number, record.get("lease")):
            self.late[self.position] = record
            return
        self._count_loss(record)
        if record.get("lost"):
            self.grant[number] = self.grant.get(number, 0) + 1  # nobody's: who had it comes too late
        _, started = self.owner.get(number, ("", math.nan))
        cost = record["cost"] if "cost" in record else max(record["time"] - started, 0.0)  # clocks may be set back; NaN stays
        step = float(record["step"]) if "step" in record else UNKNOWN
        status, gradient = _FINAL[record["status"]], record.get("gradient")
        self._finish(number, status, record["values"], step, cost, record.get("noise"), record.get("error"), gradient)

    def _finish(
        self,
        number: int,
        status: Status,
        values: Values,
        step: float,
        cost: float,
        noise: Values | None,
        error: str | None,
        gradient: Values | None = None,
    ) -> None:
        y = self._minimised(values)
        if len(values) > len(y):
            names = {o.name for o in self.outcomes}
            self.values[number] = {k: float(v) for k, v in values.items() if k not in names}
        if error is not None:
            self.errors[number] = error
        self.owner.pop(number, None)
        row = self.rows.append(number, self.u(number), status, y, self._deviations(noise), step, cost)
        if gradient is not None:
            self.gradients[number] = gradient
            self._encode_gradient(number, row)
        self.tell_rows.setdefault(number, []).append(row)
        self.final_row[number] = row
        self._take_back(number)
        if status == Status.FAILED:
            self.failed += 1
        elif status == Status.COMPLETE and y[0] < self._best_y and self._satisfied(y):
            self.best, self._best_y = number, y[0]

    def _encode_gradient(self, number: int, row: int) -> None:
        table = self.rows.table
        table.gradient[row] = along_u(self.space, table.u[row], self.outcomes[0].sign, self.gradients[number])

    def _enqueue(self, record: Record, u: Floats | None = None) -> None:
        retry = record.get("retry")
        if retry is None or self.position - 1 not in self.late:  # a failure that does not count is not repeated
            u = np.array(record["u"], dtype=np.float64) if u is None else u
            self.queue.append(Queued(self.position, u, record["params"], retry))

    def _halt(self, record: Record) -> None:
        self.halted = record["kind"] if record["kind"] != "resume" else None

    def _extend(self, record: Record) -> None:
        new = self._resolve(record["space"])
        old_names = self.space.names
        self.rows.replace_u(self.space.convert(self.rows.view(0, self.rows.n).u, new))
        self.queue = deque(q._replace(u=self.space.convert(q.u[None], new)[0]) for q in self.queue)
        self.lineage.convert(lambda u: self.space.convert(u[None], new)[0])
        self.space = new
        if new.names != old_names:  # all trials so far are taken to have used the defaults of new parameters
            self.params = {number: new.params(self.u(number)) | params for number, params in self.params.items()}
            self.queue = deque(q._replace(params=new.params(q.u) | q.params) for q in self.queue)
        for number in self.gradients:
            self._encode_gradient(number, self.final_row[number])
        self.extensions += 1

    def _sampler(self, record: Record) -> None:
        self.sampler = record["sampler"]

    def _scheduler(self, record: Record) -> None:
        self.scheduler = record["scheduler"]

    def _decision(self, record: Record) -> None:
        if "lanes" not in record:
            self.stops.update(number for number, then in zip(record["slots"], record["number"], strict=True) if then == -1)
            return
        before = self.course.number[record["lanes"]].tolist()
        for number, then in zip(before, record["number"], strict=True):
            if number not in (-1, then) and number not in record["stopped"] and self.pending(number):
                row, _ = self._last_report(number)
                table = self.rows.table
                y, noise = table.y[row].tolist(), table.noise[row].tolist()
                self.rows.append(number, self.u(number), Status.PAUSED, y, noise, float(table.fidelity[row]))
        for number in record["stopped"]:
            if self.pending(number):
                row, values = self._last_report(number)
                bad = next((o.name for o in self.outcomes if not math.isfinite(float(values.get(o.name, 0.0)))), None)
                status, error = (Status.STOPPED, None) if bad is None else (Status.FAILED, f"{bad} is {values[bad]}")
                self._finish(number, status, values, float(self.rows.table.fidelity[row]), self.course.spent[number], None, error)
                self.rows.table.noise[self.final_row[number]] = self.rows.table.noise[row]
        self._mutate(record)
        self.course.decide(record)

    def _mutate(self, record: Record) -> None:
        """A decision may change a trial's point, or give it another's weights: as these were before it."""
        points, at = record.get("u", {}), len(self.course.records)
        moves = zip(record["number"], record["parent"], record["t"], strict=True)
        changed = [(n, parent, t) for n, parent, t in moves if n >= 0 and (str(n) in points or parent not in (-1, n))]
        origins = [None if parent < 0 else self.leg(parent) for _, parent, _ in changed]
        for (number, _, t), before in zip(changed, origins, strict=True):
            u = np.array(points[str(number)], dtype=np.float64) if str(number) in points else self.u(number)
            self.lineage.add(Leg(number, t, u, at, before))
            self.params.pop(number, None)

    def _train(self, record: Record) -> None:
        if record["lanes"] != len(self.course.number):  # they start empty
            self.lineage.restart(n for n in range(self.asked) if n not in self.final_row)
        self.course.train(record)

    def _segment(self, record: Record) -> None:
        self.course.segment(record)
        self.guards.update({int(number): words for number, words in record.get("guard", {}).items()})
        for i, (number, step) in enumerate(zip(record["numbers"], record["step"], strict=True)):
            if not self.pending(number):
                continue
            values = {name: column[i] for name, column in record["values"].items()}
            noise = {name: column[i] for name, column in record["noise"].items()} if "noise" in record else None
            self._reported(number, values, float(step), noise)
            self._extras[number] = values
            if str(number) in record["ended"]:
                status, error = record["ended"][str(number)]
                gradient = record.get("gradient", {}).get(str(number))
                self._finish(number, _FINAL[status], values, float(step), self.course.spent[number], noise, error, gradient)

    def _last_report(self, number: int) -> tuple[int, Values]:
        """The row of a trial's last report in lanes, and all metrics of it."""
        row = next(r for r in reversed(self.tell_rows[number]) if self.rows.table.status[r] == Status.REPORTED)
        return row, self._extras[number]

    def _confirm(self, record: Record) -> None:
        self.confirmed.append(record)

    def _test(self, record: Record) -> None:
        self.tested.append(record)

    def _resolve(self, logged: Record) -> Space:
        parsed = Space.from_json(logged)
        if self.given is None:
            return parsed
        return self.given if not self.given.difference(parsed) else parsed.knowing(self.given)

    def _minimised(self, values: Values) -> list[float]:
        """y in the order of the outcomes; NaN where one is missing."""
        return [sign * float(values.get(name, UNKNOWN)) for name, sign in self._signs]

    def _deviations(self, noise: Values | None) -> float | list[float]:
        """Standard deviations in the order of the outcomes; NaN where one is missing."""
        return UNKNOWN if noise is None else [float(noise.get(o.name, math.nan)) for o in self.outcomes]

    def _satisfied(self, y: list[float]) -> bool:
        return all(o.threshold is None or v <= o.sign * o.threshold for o, v in zip(self.outcomes, y, strict=True))


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
    "train": Fold._train,
    "segment": Fold._segment,
    "stop": Fold._halt,
    "pause": Fold._halt,
    "resume": Fold._halt,
    "confirm": Fold._confirm,
    "test": Fold._test,
}
