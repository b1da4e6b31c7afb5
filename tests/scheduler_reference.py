"""What the tests of schedulers share: schedulers told by hand, and slow obvious twins."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from jaxhp import Float, Problem, Scheduler, Space
from jaxhp._types import Outcome, Slots, Status, Trials
from jaxhp.testing import rows

LINE = Space({"x": Float(0.0, 1.0)})


def problem(steps: int | None = None, outcomes: int = 1) -> Problem:
    return Problem(LINE, LINE.dims, tuple(Outcome(f"y{i}") for i in range(outcomes)), steps=steps)


def reports(run: Any) -> list[tuple[int, int]]:
    """(number, step) of the reports, in order."""
    reported = run.rows.status == Status.REPORTED
    return list(zip(run.rows.number[reported].tolist(), run.rows.fidelity[reported].astype(int).tolist(), strict=True))


class ByHand:
    """A scheduler of lanes that is told rows one by one; every decision is about trials that were told so far."""

    def __init__(self, scheduler: Scheduler, steps: int, asked: int) -> None:
        self.scheduler = scheduler
        self.state = scheduler.init(problem(steps), 0)
        for number in range(asked):
            self.tell(number, Status.PENDING)

    def tell(self, number: int, status: Status, step: float = math.nan, y: float = math.nan) -> None:
        row = rows(np.array([number]), np.zeros((1, 1)), np.array([[y]]), status)
        self.state = self.scheduler.tell(self.state, row._replace(fidelity=np.array([step])))

    def report(self, numbers: Iterable[int], step: float, y: Callable[[int], float]) -> None:
        for number in numbers:
            self.tell(number, Status.REPORTED, step, y(number))

    def goes_on(self, held: list[int], running: Sequence[int] = ()) -> list[tuple[int, int]]:
        """(number, until) with nothing new to start."""
        slots = Slots(np.array(held), np.array(running, dtype=np.int64), np.empty(0, np.int64))
        decision = self.scheduler.decide(self.state, slots)
        return sorted((n, until) for n, until in zip(decision.number.tolist(), decision.until.tolist(), strict=True) if n >= 0)


class BlackBox:
    """A scheduler that is told reports and asked whether the trial may go on."""

    def __init__(self, scheduler: Scheduler, steps: int | None = None) -> None:
        self.scheduler = scheduler
        self.state = scheduler.init(problem(steps), 0)
        self.known: set[int] = set()

    def tell(self, number: int, status: Status, step: float = math.nan, y: float = math.nan) -> None:
        row = rows(np.array([number]), np.zeros((1, 1)), np.array([[y]]), status)
        self.state = self.scheduler.tell(self.state, row._replace(fidelity=np.array([float(step)])))

    def report(self, number: int, step: float, y: float) -> bool:
        if number not in self.known:
            self.known.add(number)
            self.tell(number, Status.PENDING)
        self.tell(number, Status.REPORTED, step, y)
        return self.keep(number)

    def keep(self, number: int) -> bool:
        return bool(self.scheduler.keep(self.state, np.array([number]))[0])


class Seen:
    """What a slow twin knows: for each trial its reports, in order, and how it ended."""

    def __init__(self, told: Trials) -> None:
        self.reports: dict[int, list[tuple[float, float]]] = {}
        self.ended: dict[int, Status] = {}
        columns = (told.number, told.status, told.fidelity, told.y[:, 0])
        for number, status, step, y in zip(*(column.tolist() for column in columns), strict=True):
            made = self.reports.setdefault(number, [])
            if status == Status.REPORTED:
                made.append((step, y if math.isfinite(y) else math.inf))
            elif status not in (Status.PENDING, Status.PAUSED):
                self.ended[number] = Status(status)

    def at(self, number: int, step: float) -> float | None:
        return next((y for s, y in self.reports[number] if s == step), None)

    def last(self, number: int) -> float:
        return max((s for s, _ in self.reports[number]), default=0)


def rungs_below(eta: int, least: int, steps: int) -> list[int]:
    return [least * eta**i for i in range(64) if least * eta**i < steps]


def slow_asha(told: Trials, slots: Slots, eta: int, ladder_of: Callable[[int], list[int]]) -> set[tuple[int, int]]:
    """(number, until) of every promotion and start that Algorithm 2 allows, in its order, for as many lanes as are free.

    Trials of other ladders are other brackets; all ladders end at the same step.
    """
    seen, room = Seen(told), len(slots.held)
    ladders = sorted({tuple(ladder_of(n)) for n in [*seen.reports, *slots.fresh.tolist()]}, reverse=True, key=len)
    jobs: list[tuple[int, int]] = []
    levels: list[list[tuple[int, int, dict[int, float]]]] = [[] for _ in range(max(map(len, ladders), default=0))]  # (step, next, values)
    for ladder in ladders:
        own = [n for n in seen.reports if tuple(ladder_of(n)) == ladder]
        for i, step in enumerate(ladder):
            table = {n: y for n in own if (y := seen.at(n, step)) is not None}
            missed = [n for n in own if seen.ended.get(n) == Status.FAILED and n not in table and seen.last(n) < step]
            table |= {n: math.inf for n in missed if i == 0 or seen.at(n, ladder[i - 1]) is not None}
            levels[len(ladder) - 1 - i].append((step, ladder[i + 1] if step < ladder[-1] else 0, table))

    def free(n: int, step: int, y: float) -> bool:
        return y < math.inf and n not in slots.running and n not in slots.fresh and n not in seen.ended and seen.last(n) == step

    for level in levels[1:]:
        for step, until, table in level:
            best = sorted(table, key=lambda n: (table[n], n))
            jobs += [(n, until) for n in best[: len(best) // eta] if free(n, step, table[n])]
    jobs += [(n, ladder_of(n)[0]) for n in slots.fresh.tolist()]
    if not jobs and not len(slots.running):
        for left, level in enumerate(levels):
            if any(y < math.inf for _, _, table in level for y in table.values()):
                if left:
                    waiting = [(y, n, until) for step, until, table in level for n, y in table.items() if free(n, step, y)]
                    jobs = [(n, until) for _, n, until in sorted(waiting)[:1]]
                break
    return set(jobs[:room])


def slow_halving(told: Trials, slots: Slots, eta: int, bracket_of: Callable[[int], tuple[int, int, list[int]]]) -> set[tuple[int, int]]:
    """The same for synchronous brackets; `bracket_of(number)` is a bracket's place in the order, its trials and its ladder."""
    seen, room = Seen(told), len(slots.held)

    def promotions(trials: list[int], whole: bool) -> list[tuple[int, int, float, int, int]]:
        """(rungs left, bracket, value, number, until) of one bracket; `whole`: its rungs wait for everybody."""
        b, size, ladder = bracket_of(trials[0])
        due, n = trials, size if whole else None
        for i, step in enumerate(ladder[:-1]):
            table = {t: y for t in due if (y := seen.at(t, step)) is not None}
            table |= {t: math.inf for t in due if t not in table and t in seen.ended}
            if whole and (len(table) < len(due) or (i == 0 and len(due) < size)):
                return []
            n = n if n is not None else len(table)
            best = [t for t in sorted(table, key=lambda t: (table[t], t))[: max(1, n // eta)] if table[t] < math.inf]
            waiting = [t for t in best if seen.last(t) == step and t not in seen.ended]
            free = [t for t in waiting if t not in slots.running and t not in slots.fresh]
            found = [(len(ladder) - i, b, table[t], t, ladder[i + 1]) for t in free]
            if found or waiting:
                return found
            due, n = best, max(1, n // eta)
        return []

    brackets: dict[int, list[int]] = {}
    for number in seen.reports:
        brackets.setdefault(bracket_of(number)[0], []).append(number)
    ready = sorted(p for b in brackets.values() for p in promotions(b, whole=True))
    jobs = [(n, until) for *_, n, until in ready] + [(n, bracket_of(n)[2][0]) for n in slots.fresh.tolist()]
    if not jobs and not len(slots.running):
        jobs = [(n, until) for *_, n, until in sorted(p for b in brackets.values() for p in promotions(b, whole=False))]
    return set(jobs[:room])


def agree(scheduler: Scheduler, twin: Callable[[Trials, Slots], set[tuple[int, int]]], steps: int, run: Any) -> None:
    for moment in run.moments:
        told = Trials._make(column[: moment.told] for column in run.rows)
        decision = moment.decision
        got = {(n, until) for n, until in zip(decision.number.tolist(), decision.until.tolist(), strict=True) if n >= 0}
        assert got == twin(told, moment.slots), f"{scheduler.name} of {steps} steps after {moment.told} rows"


VALUES = st.one_of(st.integers(0, 4).map(float), st.just(math.nan), st.just(-math.inf))


def slow_keep(told: list[tuple[int, float, float]], eta: int, ladder: list[int], last: float) -> bool:
    """The stopping rule, from the whole stream of (number, step, value) of one bracket, for its last report."""
    entries: list[dict[int, float]] = [{} for _ in ladder]
    highest: dict[int, tuple[int, float]] = {}
    judged = -1
    for number, step, value in told:
        rung = sum(r <= step for r in ladder) - 1 if step < last else len(ladder)
        judged = -1
        at, entered = highest.get(number, (-1, math.nan))
        if rung > at:
            highest[number] = rung, step
            if rung < len(ladder):
                entries[rung][number] = value if math.isfinite(value) else math.inf
                judged = rung
        elif rung == at and step == entered and rung < len(ladder):
            judged = rung
    if judged < 0:
        return True
    number, ranked = told[-1][0], sorted((y, n) for n, y in entries[judged].items())
    return (entries[judged][number], number) in ranked[: max(1, len(ranked) // eta)] and entries[judged][number] < math.inf
