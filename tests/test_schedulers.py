"""Schedulers: their laws, traces worked by hand from the papers, slow twins, and errors at the door."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxhp
from jaxhp import Categorical, Float, Problem, Scheduler, SchedulerError, Space
from jaxhp._types import Decision, Ints, Outcome, Slots, Status, Trials
from jaxhp.schedulers import asha, patience, successive_halving, to_the_end
from jaxhp.testing import check_scheduler, rows, simulated

LINE = Space({"x": Float(0.0, 1.0)})
BRANCHES = Space({"kind": Categorical(["a", "b"]), "x": Float(0.0, 1.0, when={"kind": "a"})})

SCHEDULERS: dict[str, Callable[[], Scheduler]] = {
    "to_the_end": to_the_end,
    "asha": asha,
    "asha_late": lambda: asha(eta=2, min_steps=3),
    "asha_low": lambda: asha(eta=4, max_steps=20),
    "asha_flat": lambda: asha(min_steps=27),
    "halving": successive_halving,
    "halving_late": lambda: successive_halving(eta=2, min_steps=2),
    "halving_small": lambda: successive_halving(trials=5),
    "halving_low": lambda: successive_halving(3, 2, 18, 7),
    "patience": lambda: patience(2),
    "patience_asha": lambda: patience(1, 0.1, asha()),
    "patience_halving": lambda: patience(1, scheduler=successive_halving()),
}


def problem(steps: int | None = None, outcomes: int = 1) -> Problem:
    return Problem(LINE, LINE.dims, tuple(Outcome(f"y{i}") for i in range(outcomes)), steps=steps)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_keeps_the_laws(name: str) -> None:
    check_scheduler(SCHEDULERS[name]())
    check_scheduler(SCHEDULERS[name](), BRANCHES, steps=100, seed=3, outcomes=2)


# -- each law catches a scheduler that breaks it -------------------------------------------------------------------------


def altered(**fields: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Scheduler:
    """ASHA with one of its functions wrapped."""
    whole = asha()
    return whole._replace(name="broken", **{name: wrap(getattr(whole, name)) for name, wrap in fields.items()})


def changed(**columns: Callable[[Decision, Slots], Any]) -> Scheduler:
    def wrap(decide: Callable[[Any, Slots], Decision]) -> Callable[[Any, Slots], Decision]:
        def decide_otherwise(state: Any, slots: Slots) -> Decision:
            decision = decide(state, slots)
            return decision._replace(**{name: change(decision, slots) for name, change in columns.items()})

        return decide_otherwise

    return altered(decide=wrap)


def swapped(decision: Decision, slots: Slots) -> Ints:
    """The new trials change lanes."""
    number = decision.number.copy()
    new = (decision.parent < 0) & (number >= 0)
    number[new] = slots.fresh[: new.sum()][::-1] + 1
    return number


def idles(decide: Callable[[Any, Slots], Decision]) -> Callable[[Any, Slots], Decision]:
    """Starts nothing new while a trial is held."""

    def waits(state: Any, slots: Slots) -> Decision:
        decision = decide(state, slots)
        idle = (slots.held >= 0).any() & (decision.parent < 0)
        return decision._replace(number=np.where(idle, -1, decision.number), parent=np.where(idle, -1, decision.parent))

    return waits


def calls_counted(tell: Callable[[Any, Trials], Any]) -> Callable[[Any, Trials], Any]:
    def counts(state: Any, told: Trials) -> Any:
        state = tell(state, told)
        twice = rows(told.number[-1:], told.u[-1:], np.full((1, told.y.shape[1]), -1.0), Status.REPORTED)
        return tell(state, twice._replace(fidelity=np.ones(1))) if len(told.number) > 3 else state

    return counts


def forgets(decide: Callable[[Any, Slots], Decision]) -> Callable[[Any, Slots], Decision]:
    def decide_and_change(state: Any, slots: Slots) -> Decision:
        decision = decide(state, slots)
        for rung in state.rungs:
            rung.open.clear()
        return decision

    return decide_and_change


def by_lane(decision: Decision, slots: Slots) -> Any:
    return np.where(decision.number >= 0, np.minimum(decision.until + np.arange(len(decision.until)), 27), 0).astype(np.int32)


def writing(tell: Callable[[Any, Trials], Any]) -> Callable[[Any, Trials], Any]:
    def writes(state: Any, told: Trials) -> Any:
        told.y[np.isnan(told.y)] = 0.0
        return tell(state, told)

    return writes


def failing(tell: Callable[[Any, Trials], Any]) -> Callable[[Any, Trials], Any]:
    def fails(state: Any, told: Trials) -> Any:
        if (np.abs(told.y) > 1e200).any():
            raise OverflowError("too large to square")
        return tell(state, told)

    return fails


def sharing(init: Callable[[Problem, int], Any]) -> Callable[[Problem, int], Any]:
    class Shared(dict[int, Any]):
        def __deepcopy__(self, memo: Any) -> Shared:
            return self

    return lambda p, seed: init(p, seed)._replace(trials=Shared())


MUTANTS = {
    "beyond": (changed(until=lambda d, s: d.until + np.int32(27)), r"to go from step \d+ to \d+ of 27"),
    "dtype": (changed(until=lambda d, s: d.until.astype(np.int64)), "until is .* expected int32"),
    "skips": (changed(number=swapped), "wait in this order"),
    "restarts": (changed(parent=lambda d, s: np.full(len(d.parent), -1)), "wait in this order"),
    "other weights": (changed(t=lambda d, s: np.where(d.t > 0, d.t - 1, 0).astype(np.int32)), "the weights of"),
    "other point": (changed(u=lambda d, s: d.u + 0.1), "another point"),
    "idle": (altered(decide=idles), "no lane idles while a trial can start"),
    "counts calls": (altered(tell=calls_counted), "telling at once equals telling in parts"),
    "forgets": (altered(decide=forgets), "telling at once|asking changes nothing"),
    "by lane": (changed(until=by_lane), "the order of lanes means nothing"),
    "writes": (altered(tell=writing), "writes into the rows"),
    "raises": (altered(tell=failing), "nasty rows are survived.*OverflowError"),
    "shared": (altered(init=sharing), "copies are independent"),
    "keeps one": (altered(keep=lambda keep: lambda state, numbers: keep(state, numbers)[:1]), "array of booleans"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_scheduler_is_caught_by_the_law_it_breaks(mutant: str) -> None:
    scheduler, message = MUTANTS[mutant]
    with pytest.raises(AssertionError, match=message):
        check_scheduler(scheduler)


# -- successive halving, as in the papers --------------------------------------------------------------------------------


def reports(run: Any) -> list[tuple[int, int]]:
    """(number, step) of the reports, in order."""
    reported = run.rows.status == Status.REPORTED
    return list(zip(run.rows.number[reported].tolist(), run.rows.fidelity[reported].astype(int).tolist(), strict=True))


@pytest.mark.parametrize("lanes", [1, 4, 27, 40])
def test_a_bracket_of_27_trains_27_9_3_1_trials_for_1_3_9_27_steps(lanes: int) -> None:
    """Jamieson and Talwalkar 2016, Figure 1 with n = 27, eta = 3; Li et al. 2018, Table 1, s = 3."""
    order = [(i * 10 + 4) % 27 for i in range(27)]  # quality of trial i
    run = simulated(successive_halving(), problem(27), 0, lambda n, step: order[n] + 1 / step, 27, lanes, between=False)
    assert Counter(step for _, step in reports(run)) == {1: 27, 3: 9, 9: 3, 27: 1}
    for step, count in ((3, 9), (9, 3), (27, 1)):
        assert {n for n, s in reports(run) if s == step} == {n for n in range(27) if order[n] < count}
    steps = [s for _, s in reports(run)]
    assert steps == sorted(steps)  # nobody is promoted before its rung is complete


def test_brackets_of_other_sizes_round_down() -> None:
    """n_i = floor(n / eta^i): 81 in steps of 4 are 81, 20, 5, 1."""
    run = simulated(successive_halving(4, trials=81), problem(64), 0, lambda n, step: float(n), 81, 5, between=False)
    assert Counter(step for _, step in reports(run)) == {1: 81, 4: 20, 16: 5, 64: 1}


def test_free_lanes_begin_the_next_bracket_and_an_incomplete_one_is_promoted_as_it_stands() -> None:
    run = simulated(successive_halving(), problem(9), 0, lambda n, step: float(n), 9 + 4, 4, between=False)
    made = reports(run)
    assert Counter(step for _, step in made) == {1: 13, 3: 3 + 1, 9: 2}
    assert {n for n, s in made if s == 9} == {0, 9}  # the best of each bracket, 0..8 and 9..12
    assert made.index((9, 1)) < made.index((2, 3))  # a lane did not wait for the others


def test_failures_do_not_hold_a_bracket_up() -> None:
    """Values of 4 of 9 are not finite: the other five stay in the order of their values, and three of them go on."""
    run = simulated(
        successive_halving(), problem(9), 0, lambda n, step: math.nan if n < 4 or (n, step) == (4, 3) else n, 9, 3, between=False
    )
    assert {n for n, s in reports(run) if s == 3} == {4, 5, 6}
    assert {n for n, s in reports(run) if s == 9} == {5}


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


@pytest.mark.parametrize(("sign", "then"), [(-1, [(6, 3), (7, 3), (8, 3)]), (1, [(1, 3), (2, 3)])])
def test_a_bracket_that_was_promoted_as_it_stood_is_completed_later(sign: int, then: list[tuple[int, int]]) -> None:
    """The early winner is passed by three others, or stays one of the best three: then two join it."""
    hand = ByHand(successive_halving(trials=9), 9, asked=9)
    hand.report(range(4), 1, lambda n: sign * n)
    first = 3 if sign < 0 else 0
    assert hand.goes_on([0, 1, 2, 3]) == [(first, 3)]  # of 4, the best one
    hand.report([first], 3, lambda n: sign * n)
    hand.report(range(4, 9), 1, lambda n: sign * n)
    assert hand.goes_on([first, -1, -1, -1]) == then
    assert hand.goes_on([-1, -1], running=[n for n, _ in then]) == []  # the rung above waits for all of them
    hand.report([n for n, _ in then], 3, lambda n: sign * n)
    assert hand.goes_on([n for n, _ in then]) == [(8 if sign < 0 else 0, 9)]


@pytest.mark.parametrize("scheduler", [asha(), successive_halving()])
def test_a_trial_that_ended_while_it_was_paused_keeps_its_place_and_does_not_go_on(scheduler: Scheduler) -> None:
    hand = ByHand(scheduler, 9, asked=9)
    hand.report(range(8), 1, float)
    hand.tell(0, Status.STOPPED, 1, 0.0)
    hand.report([8], 1, float)
    assert hand.goes_on([-1] * 4) == [(1, 3), (2, 3)]  # the third of the best three has ended
    hand.report([1, 2], 3, float)
    expected = [(1, 9)]  # two at 3: the rung is complete; under asha nothing else is left to do
    assert hand.goes_on([1, 2]) == expected


@pytest.mark.parametrize("scheduler", [asha(), successive_halving()])
def test_a_trial_seen_between_two_rungs_is_not_promoted_again(scheduler: Scheduler) -> None:
    hand = ByHand(scheduler, 9, asked=9)
    hand.report(range(9), 1, float)
    assert hand.goes_on([-1] * 3) == [(0, 3), (1, 3), (2, 3)]
    hand.report([1], 2, float)
    assert hand.goes_on([-1] * 3) == [(0, 3), (2, 3)]
    hand.report([1], 1, float)  # started again: it is somewhere, or was lost
    assert hand.goes_on([-1] * 3) == [(0, 3), (2, 3)]


# -- ASHA ----------------------------------------------------------------------------------------------------------------


def test_asha_with_one_worker_follows_algorithm_2_step_by_step() -> None:
    """Li et al. 2020, Algorithm 2 by hand: r = 1, R = 9, eta = 3, nine trials whose losses do not change."""
    loss = [0.5, 0.2, 0.9, 0.1, 0.7, 0.3, 0.8, 0.6, 0.4]
    run = simulated(asha(), problem(9), 0, lambda n, step: loss[n], 9, 1, between=False)
    assert reports(run) == [
        *[(0, 1), (1, 1), (2, 1)],  # three at the bottom:
        *[(1, 3), (3, 1)],  # the best of them goes up, 3 is new
        *[(3, 3), (4, 1), (5, 1), (6, 1), (7, 1), (8, 1)],  # 3 is the best of four; then the best two of 5 to 8 are up already
        *[(5, 3), (3, 9)],  # the third of nine; of the three above, 3 goes to the end
    ]


def test_asha_promotes_from_the_highest_rung_first_and_the_best_first() -> None:
    scheduler = asha()
    state = scheduler.init(problem(27), 0)
    y = [(n, 1, float(n)) for n in range(18)] + [(n, 3, float(-n)) for n in range(3)]
    for number in range(18):
        state = scheduler.tell(state, rows(np.array([number]), np.zeros((1, 1))))
    for number, step, value in y:
        told = rows(np.array([number]), np.zeros((1, 1)), np.array([[value]]), Status.REPORTED)
        state = scheduler.tell(state, told._replace(fidelity=np.array([float(step)])))
    slots = Slots(np.array([-1, 5, -1, 2]), np.array([4]), np.array([]).astype(np.int64))
    decision = scheduler.decide(state, slots)
    assert decision.number.tolist() == [3, 5, -1, 2]  # 2 is the best of three at 3 steps; 3, 4, 5 of the first six at 1, and 4 runs
    assert decision.parent.tolist() == [3, 5, -1, 2]
    assert decision.t.tolist() == [1, 1, 0, 3] and decision.until.tolist() == [3, 3, 0, 9]


def test_a_study_too_small_for_a_promotion_still_trains_its_best_trial_to_the_end() -> None:
    run = simulated(asha(), problem(27), 0, lambda n, step: abs(n - 3.0), 5, 2, between=False)
    assert max(reports(run), key=lambda report: report[1]) == (3, 27)
    failed = simulated(asha(), problem(27), 0, lambda n, step: math.nan if step > 1 and n == 3 else abs(n - 3.0), 5, 2, between=False)
    assert [n for n, s in reports(failed) if s == 27] == [2]  # 3 diverged on the way


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
            elif status != Status.PENDING:
                self.ended[number] = Status(status)

    def at(self, number: int, step: float) -> float | None:
        return next((y for s, y in self.reports[number] if s == step), None)

    def last(self, number: int) -> float:
        return max((s for s, _ in self.reports[number]), default=0)


def rungs_below(eta: int, least: int, steps: int) -> list[int]:
    return [least * eta**i for i in range(64) if least * eta**i < steps]


def slow_asha(told: Trials, slots: Slots, eta: int, least: int, steps: int) -> set[tuple[int, int]]:
    """(number, until) of every promotion and start that Algorithm 2 allows, in its order, for as many lanes as are free."""
    seen, room = Seen(told), len(slots.held)
    ladder = [*rungs_below(eta, least, steps), steps]
    jobs: list[tuple[int, int]] = []
    tables = []
    for i, step in enumerate(ladder):
        table = {n: y for n in seen.reports if (y := seen.at(n, step)) is not None}
        missed = [n for n, how in seen.ended.items() if how == Status.FAILED and n not in table and seen.last(n) < step]
        tables.append(table | {n: math.inf for n in missed if i == 0 or seen.at(n, ladder[i - 1]) is not None})

    def free(n: int, step: int, y: float) -> bool:
        return y < math.inf and n not in slots.running and n not in slots.fresh and n not in seen.ended and seen.last(n) == step

    for i in range(len(ladder) - 2, -1, -1):
        best = sorted(tables[i], key=lambda n: (tables[i][n], n))
        jobs += [(n, ladder[i + 1]) for n in best[: len(best) // eta] if free(n, ladder[i], tables[i][n])]
    jobs += [(n, ladder[0]) for n in slots.fresh.tolist()]
    if not jobs and not len(slots.running):
        for i in range(len(ladder) - 1, -1, -1):
            if any(y < math.inf for y in tables[i].values()):
                best = sorted(tables[i], key=lambda n: (tables[i][n], n))
                jobs = [(n, ladder[i + 1]) for n in best if i + 1 < len(ladder) and free(n, ladder[i], tables[i][n])][:1]
                break
    return set(jobs[:room])


def slow_halving(told: Trials, slots: Slots, eta: int, least: int, steps: int, size: int) -> set[tuple[int, int]]:
    """The same for synchronous brackets."""
    seen, room = Seen(told), len(slots.held)
    ladder = [*rungs_below(eta, least, steps), steps]

    def promotions(trials: list[int], whole: bool) -> list[tuple[int, int, float, int]]:
        """(-rung, bracket, value, number) of one bracket; `whole`: its rungs wait for everybody."""
        due, n = trials, size if whole else None
        for i, step in enumerate(ladder[:-1]):
            table = {t: y for t in due if (y := seen.at(t, step)) is not None}
            table |= {t: math.inf for t in due if t not in table and t in seen.ended}
            if whole and (len(table) < len(due) or (i == 0 and len(due) < size)):
                return []
            n = n if n is not None else len(table)
            best = [t for t in sorted(table, key=lambda t: (table[t], t))[: max(1, n // eta)] if table[t] < math.inf]
            waiting = [t for t in best if seen.last(t) == step and t not in seen.ended]
            found = [(-i, t // size, table[t], t) for t in waiting if t not in slots.running and t not in slots.fresh]
            if found or waiting:
                return found
            due, n = best, max(1, n // eta)
        return []

    brackets: dict[int, list[int]] = {}
    for number in seen.reports:
        brackets.setdefault(number // size, []).append(number)
    ready = sorted(p for b in brackets.values() for p in promotions(b, whole=True))
    jobs = [(n, ladder[1 - minus]) for minus, _, _, n in ready] + [(n, ladder[0]) for n in slots.fresh.tolist()]
    if not jobs and not len(slots.running):
        jobs = [(n, ladder[1 - minus]) for minus, _, _, n in sorted(p for b in brackets.values() for p in promotions(b, whole=False))]
    return set(jobs[:room])


def agree(scheduler: Scheduler, twin: Callable[[Trials, Slots], set[tuple[int, int]]], steps: int, run: Any) -> None:
    for moment in run.moments:
        told = Trials._make(column[: moment.told] for column in run.rows)
        decision = moment.decision
        got = {(n, until) for n, until in zip(decision.number.tolist(), decision.until.tolist(), strict=True) if n >= 0}
        assert got == twin(told, moment.slots), f"{scheduler.name} of {steps} steps after {moment.told} rows"


VALUES = st.one_of(st.integers(0, 4).map(float), st.just(math.nan), st.just(-math.inf))


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.integers(2, 4), st.integers(1, 3), st.integers(3, 30), st.integers(1, 7), st.integers(1, 30), st.integers(0, 9), st.data())
def test_asha_decides_as_its_slow_twin(eta: int, least: int, steps: int, lanes: int, trials: int, seed: int, data: Any) -> None:
    table = data.draw(st.lists(VALUES, min_size=7, max_size=40))
    run = simulated(asha(eta, least), problem(steps), seed, lambda n, s: table[(7 * n + 3 * s) % len(table)], trials, lanes)
    agree(asha(eta, least), lambda told, slots: slow_asha(told, slots, eta, least, steps), steps, run)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.integers(2, 4), st.integers(1, 3), st.integers(3, 30), st.integers(1, 7), st.integers(1, 30), st.integers(1, 12), st.data())
def test_successive_halving_decides_as_its_slow_twin(
    eta: int, least: int, steps: int, lanes: int, trials: int, size: int, data: Any
) -> None:
    table = data.draw(st.lists(VALUES, min_size=7, max_size=40))
    scheduler = successive_halving(eta, least, trials=size)
    run = simulated(scheduler, problem(steps), size, lambda n, s: table[(7 * n + 3 * s) % len(table)], trials, lanes)
    agree(scheduler, lambda told, slots: slow_halving(told, slots, eta, least, steps, size), steps, run)


# -- black boxes ---------------------------------------------------------------------------------------------------------


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


def test_a_rung_keeps_the_best_third_of_what_it_has_seen() -> None:
    box = BlackBox(asha())
    assert [box.report(n, 1, y) for n, y in enumerate([5, 6, 4, 3, 4, 2.5, 2.7, 2.6, 9, 2.65])] == [
        *[True, False],  # the first is the best of one
        *[True, True, False],  # 4 of {4, 5, 6}; 3; one of five goes on
        *[True, True, True],  # two of six; of seven 2.5 and 2.7; of eight 2.5 and 2.6
        *[False, True],  # three of ten: 2.5, 2.6, 2.65
    ]


def test_a_report_between_rungs_counts_at_the_last_one_that_it_passed_and_once() -> None:
    box = BlackBox(asha())
    for number in range(3):
        assert box.report(number, 1, 1.0 - number)
        assert box.report(number, 2, 50.0)  # no rung: not even a bad value stops it
    assert box.report(7, 5, 0.5)  # the first at 3; it was not seen at 1
    assert box.report(0, 5, 0.4) and not box.report(1, 5, 0.6)
    assert box.report(1, 6, 0.7) and box.report(1, 2, 0.7) and box.report(1, 3, 0.7)  # judged once
    assert box.report(3, 1, -1.5) and not box.report(4, 1, -1.2)  # five were seen at 1: one may go on


def test_a_report_that_is_made_again_is_answered_again() -> None:
    """A trial that was killed before it read the answer starts again; its first value at the rung stays."""
    box = BlackBox(asha())
    box.report(0, 1, 0.0)
    assert not box.report(1, 1, 1.0)
    assert not box.report(1, 1, -5.0)
    assert box.report(2, 0.5, 9.0)


def test_nobody_is_compared_from_max_steps_on() -> None:
    box = BlackBox(asha(max_steps=9))
    assert box.report(0, 1, 0.0) and box.report(0, 3, 0.0) and not box.report(1, 1, 1.0)
    assert [box.report(1, step, 1.0) for step in (3, 9, 27, 1e9)] == [False, True, True, True]
    endless = BlackBox(asha())
    assert [endless.report(n, 3**20, float(n)) for n in (0, 1)] == [True, False]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_ranks_last_and_stops(bad: float) -> None:
    box = BlackBox(asha())
    assert not box.report(0, 1, bad)
    assert box.report(1, 1, 1e300)
    assert not box.report(2, 1, bad)


def test_a_failed_trial_counts_at_the_rung_that_it_did_not_reach() -> None:
    with_failures, without = BlackBox(asha()), BlackBox(asha())
    for number in range(4):
        with_failures.tell(number, Status.PENDING)
        with_failures.tell(number, Status.FAILED)
    for box in (with_failures, without):
        assert box.report(4, 1, 0.0)
    assert with_failures.report(5, 1, 1.0) and not without.report(5, 1, 1.0)  # the second of six, and of two


def test_brackets_of_a_black_box_are_compared_within() -> None:
    box = BlackBox(successive_halving(max_steps=9))
    assert box.report(0, 1, 0.0) and not box.report(1, 1, 1.0)
    assert box.report(9, 1, 5.0)  # the first of its bracket of nine
    endless = BlackBox(successive_halving())
    assert endless.report(0, 1, 0.0) and not endless.report(9, 1, 5.0)


def slow_keep(told: list[tuple[int, float, float]], eta: int, least: int, last: float) -> bool:
    """The stopping rule, from the whole stream of (number, step, value), for its last report."""
    ladder = [least * eta**i for i in range(40) if least * eta**i < last]
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


STREAM = st.lists(st.tuples(st.integers(0, 6), st.sampled_from([0.5, 1.0, 2.0, 3.0, 4.0, 7.0, 9.0, 30.0]), VALUES), min_size=1, max_size=40)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.integers(2, 4), st.integers(1, 2), st.sampled_from([None, 9, 27]), STREAM)
def test_asha_stops_black_boxes_as_its_slow_twin(eta: int, least: int, last: int | None, stream: list[tuple[int, float, float]]) -> None:
    box = BlackBox(asha(eta, least, last))
    for i, (number, step, value) in enumerate(stream):
        assert box.report(number, step, value) == slow_keep(stream[: i + 1], eta, least, last or math.inf)


@pytest.mark.parametrize(("eta", "least"), [(2, 1), (3, 1), (4, 2)])
def test_asha_stops_whom_optunas_pruner_stops(eta: int, least: int) -> None:
    """They differ in ties (Optuna lets all of them pass) and in reports that skip a rung (Optuna counts them at each rung below)."""
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=least, reduction_factor=eta, min_early_stopping_rate=0)
    study = optuna.create_study(pruner=pruner)
    box = BlackBox(asha(eta, least))
    draw = np.random.default_rng(eta)
    running: dict[int, tuple[Any, int, float]] = {}
    stopped = 0
    for _ in range(1500):
        if len(running) < 4:
            trial = study.ask()
            running[trial.number] = trial, 0, draw.random()
        number = int(draw.choice(sorted(running)))
        trial, step, level = running.pop(number)
        value = level + draw.random() / (step + 1)
        trial.report(value, step + 1)
        prune = trial.should_prune()
        assert box.report(number, step + 1, value) == (not prune)
        stopped += prune
        if not prune and step < 40:
            running[number] = trial, step + 1, level
        else:
            study.tell(trial, None if prune else value, state=optuna.trial.TrialState.PRUNED if prune else None)
            box.tell(number, Status.STOPPED if prune else Status.COMPLETE, step + 1, value)
    assert stopped > 100


# -- patience ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("curve", "delta", "kept"),
    [
        ([3.0, 2.0, 1.0, 1.0, 1.0, 1.0], 0.0, [1, 1, 1, 1, 1, 0]),  # three reports in a row at the best before
        ([3.0, 4.0, 5.0, 2.9, 9.0, 9.0, 9.0], 0.0, [1, 1, 1, 1, 1, 1, 0]),
        ([1.0, 0.9, 0.8, 0.7, 0.6], 0.25, [1, 1, 1, 1, 1]),  # small improvements add up within three reports
        ([1.0, 0.9, 0.8, 0.7, 0.6], 0.35, [1, 1, 1, 0, 0]),
        ([math.nan, math.nan, math.inf, 2.0, 3.0], 0.0, [1, 1, 1, 1, 1]),
        ([math.nan, math.nan, math.inf, -math.inf], 0.0, [1, 1, 1, 0]),  # nothing finite is no improvement
    ],
)
def test_patience_ends_after_three_reports_without_an_improvement(curve: list[float], delta: float, kept: list[int]) -> None:
    for steps in (None, 100):
        box = BlackBox(patience(3, delta), steps)
        assert [box.report(0, i + 1, y) for i, y in enumerate(curve)] == [bool(k) for k in kept]


def test_patience_forgets_what_a_trial_that_starts_again_had_reported() -> None:
    box = BlackBox(patience(2))
    assert all(box.report(0, step, 10.0 - step) for step in range(1, 6))
    assert all(box.report(0, step, 10.0 - step) for step in range(1, 9))
    assert box.report(0, 9, 5.0) and not box.report(0, 10, 5.0)
    assert not box.report(0, 10, 5.0) and box.report(0, 10, 1.0)


def test_patience_and_its_scheduler_must_both_let_a_trial_go_on() -> None:
    box = BlackBox(patience(1, scheduler=asha()))
    assert box.report(0, 1, 1.0) and not box.report(0, 2, 1.0)  # on a plateau
    assert not box.report(1, 1, 2.0)  # not the best of two


# -- errors at the door --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: asha(eta=1), r"asha\(eta=1, min_steps=1\): eta: expected an integer of at least 2, got 1"),
        (lambda: asha(eta=2.5), "eta: expected an integer"),  # type: ignore[arg-type]
        (lambda: asha(eta=True), "eta: expected an integer"),
        (lambda: asha(min_steps=0), "min_steps: expected an integer of at least 1, got 0"),
        (lambda: asha(min_steps=10, max_steps=9), "max_steps=9 must not be below min_steps=10; did you swap them"),
        (lambda: asha(max_steps="9"), "max_steps: expected an integer or None, got '9'"),  # type: ignore[arg-type]
        (lambda: successive_halving(eta=0), r"successive_halving\(eta=0, min_steps=1\): eta"),
        (lambda: successive_halving(trials=0), "trials: expected a positive number of trials for a bracket, or None, got 0"),
        (lambda: patience(0), "reports: expected an integer of at least 1, got 0"),
        (lambda: patience(1, -0.1), "min_delta: expected a finite number of at least 0, got -0.1"),
        (lambda: patience(1, math.nan), "min_delta"),
        (lambda: patience(1, scheduler=asha), "scheduler: expected a jaxhp scheduler.*parentheses"),  # type: ignore[arg-type]
        (
            lambda: asha(min_steps=100).init(problem(50), 0),
            "min_steps=100 is above the 50 steps of a full run; lower it, or train for more",
        ),
        (lambda: successive_halving(max_steps=90).init(problem(50), 0), "max_steps=90 is above the 50 steps"),
    ],
)
def test_bad_arguments_are_refused_by_name_value_and_remedy(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(SchedulerError, match=message):
        make()


@pytest.mark.parametrize("make", [to_the_end, asha, successive_halving])
def test_lanes_need_a_problem_with_steps_and_trials_that_were_told(make: Callable[[], Scheduler]) -> None:
    scheduler = make()
    slots = Slots(np.array([-1]), np.empty(0, np.int64), np.array([3]))
    with pytest.raises(SchedulerError, match=r"steps"):
        scheduler.decide(scheduler.init(problem(), 0), slots)
    with pytest.raises(SchedulerError, match=r"trial 3 is in slots\.fresh, but its PENDING row was not told"):
        scheduler.decide(scheduler.init(problem(9), 0), slots)


def test_the_names_are_at_the_front_door() -> None:
    assert jaxhp.asha is asha and jaxhp.successive_halving is successive_halving and jaxhp.patience is patience
    assert issubclass(SchedulerError, jaxhp.JaxhpError)
