"""Schedulers: their laws, traces worked by hand from the papers, slow twins, and errors at the door."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scheduler_reference import VALUES, BlackBox, ByHand, agree, problem, reports, rungs_below, slow_asha, slow_halving, slow_keep

import jaxhp
from jaxhp import Categorical, Float, Problem, Scheduler, SchedulerError, Space
from jaxhp._types import Decision, Ints, Slots, Status, Trials
from jaxhp.schedulers import asha, hyperband, median_stopping, patience, pb2, pbt, successive_halving, to_the_end
from jaxhp.testing import check_scheduler, rows, simulated

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
    "hyperband": hyperband,
    "hyperband_late": lambda: hyperband(eta=2, min_steps=3),
    "hyperband_low": lambda: hyperband(4, 2, 20),
    "hyperband_flat": lambda: hyperband(min_steps=20),
    "hyperband_asynchronous": lambda: hyperband(asynchronous=True),
    "hyperband_asynchronous_low": lambda: hyperband(2, 3, 25, True),
    "median": median_stopping,
    "median_late": lambda: median_stopping(min_steps=10, every=5, after=1),
    "patience_median": lambda: patience(1, 0.1, median_stopping()),
    "patience": lambda: patience(2),
    "patience_asha": lambda: patience(1, 0.1, asha()),
    "patience_halving": lambda: patience(1, scheduler=successive_halving()),
    "pbt": lambda: pbt(3, 8),
    "pbt_few": lambda: pbt(5, 3, resample=1.0),
    "pbt_tournament": lambda: pbt(4, 12, exploit="tournament", resample=0.0),
    "pb2": lambda: pb2(9, 4),
    "pbt_half": lambda: pbt(27, 5, fraction=0.5, mutate=("x",)),
}


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
        for rung in state.rungs[0]:
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


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.integers(2, 4), st.integers(1, 3), st.integers(3, 30), st.integers(1, 7), st.integers(1, 30), st.integers(0, 9), st.data())
def test_asha_decides_as_its_slow_twin(eta: int, least: int, steps: int, lanes: int, trials: int, seed: int, data: Any) -> None:
    table = data.draw(st.lists(VALUES, min_size=7, max_size=40))
    run = simulated(asha(eta, least), problem(steps), seed, lambda n, s: table[(7 * n + 3 * s) % len(table)], trials, lanes)
    ladder = [*rungs_below(eta, least, steps), steps]
    agree(asha(eta, least), lambda told, slots: slow_asha(told, slots, eta, lambda n: ladder), steps, run)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.integers(2, 4), st.integers(1, 3), st.integers(3, 30), st.integers(1, 7), st.integers(1, 30), st.integers(1, 12), st.data())
def test_successive_halving_decides_as_its_slow_twin(
    eta: int, least: int, steps: int, lanes: int, trials: int, size: int, data: Any
) -> None:
    table = data.draw(st.lists(VALUES, min_size=7, max_size=40))
    scheduler = successive_halving(eta, least, trials=size)
    run = simulated(scheduler, problem(steps), size, lambda n, s: table[(7 * n + 3 * s) % len(table)], trials, lanes)
    ladder = [*rungs_below(eta, least, steps), steps]
    agree(scheduler, lambda told, slots: slow_halving(told, slots, eta, lambda n: (n // size, size, ladder)), steps, run)


# -- black boxes ---------------------------------------------------------------------------------------------------------


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


STREAM = st.lists(st.tuples(st.integers(0, 6), st.sampled_from([0.5, 1.0, 2.0, 3.0, 4.0, 7.0, 9.0, 30.0]), VALUES), min_size=1, max_size=40)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.integers(2, 4), st.integers(1, 2), st.sampled_from([None, 9, 27]), STREAM)
def test_asha_stops_black_boxes_as_its_slow_twin(eta: int, least: int, last: int | None, stream: list[tuple[int, float, float]]) -> None:
    box = BlackBox(asha(eta, least, last))
    for i, (number, step, value) in enumerate(stream):
        assert box.report(number, step, value) == slow_keep(stream[: i + 1], eta, rungs_below(eta, least, last or 3**40), last or math.inf)


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
        (lambda: hyperband(eta=1, max_steps=9), r"hyperband\(eta=1, min_steps=1, max_steps=9\): eta: expected an integer of at least 2"),
        (lambda: hyperband(min_steps=10, max_steps=9), "max_steps=9 must not be below min_steps=10"),
        (lambda: hyperband(asynchronous=1), "asynchronous=1.*: asynchronous: expected True or False, got 1"),  # type: ignore[arg-type]
        (lambda: hyperband(max_steps=90).init(problem(50), 0), "max_steps=90 is above the 50 steps"),
        (lambda: BlackBox(hyperband()).report(0, 1, 0.0), "which a black box does not tell; give max_steps="),
        (
            lambda: median_stopping(min_steps=0),
            r"median_stopping\(min_steps=0, after=5\): min_steps: expected an integer of at least 1",
        ),
        (lambda: median_stopping(after=0), "after: expected an integer of at least 1, got 0"),
        (lambda: median_stopping(every=0), "every: expected a positive number of steps between reports, or None, got 0"),
        (lambda: median_stopping(min_steps=51).init(problem(50), 0), "min_steps=51 is above the 50 steps of a full run"),
        (lambda: successive_halving(max_steps=90).init(problem(50), 0), "max_steps=90 is above the 50 steps"),
    ],
)
def test_bad_arguments_are_refused_by_name_value_and_remedy(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(SchedulerError, match=message):
        make()


@pytest.mark.parametrize("make", [to_the_end, asha, successive_halving, hyperband, median_stopping])
def test_lanes_need_a_problem_with_steps_and_trials_that_were_told(make: Callable[[], Scheduler]) -> None:
    scheduler = make()
    slots = Slots(np.array([-1]), np.empty(0, np.int64), np.array([3]))
    with pytest.raises(SchedulerError, match=r"steps"):
        scheduler.decide(scheduler.init(problem(), 0), slots)
    with pytest.raises(SchedulerError, match=r"trial 3 is in slots\.fresh, but its PENDING row was not told"):
        scheduler.decide(scheduler.init(problem(9), 0), slots)


def test_the_names_are_at_the_front_door() -> None:
    for scheduler in (asha, successive_halving, hyperband, median_stopping, patience):
        assert getattr(jaxhp, scheduler.__name__) is scheduler
    assert issubclass(SchedulerError, jaxhp.JaxhpError)


@pytest.mark.parametrize(
    ("ours", "numpys"),
    [
        (lambda: jaxhp.asha(2, max_steps=8), lambda: jaxhp.asha(np.int64(2), max_steps=np.int64(8))),
        (lambda: jaxhp.successive_halving(trials=4), lambda: jaxhp.successive_halving(trials=np.int64(4))),
        (
            lambda: jaxhp.hyperband(max_steps=9, asynchronous=True),
            lambda: jaxhp.hyperband(max_steps=np.int64(9), asynchronous=np.bool_(True)),
        ),
        (lambda: jaxhp.median_stopping(every=2), lambda: jaxhp.median_stopping(every=np.int64(2))),
        (lambda: jaxhp.patience(3, min_delta=0.5), lambda: jaxhp.patience(np.int64(3), min_delta=np.float32(0.5))),
        (lambda: jaxhp.pbt(5, perturb=(0.5, 2.0)), lambda: jaxhp.pbt(np.int64(5), perturb=(np.float32(0.5), np.float32(2.0)))),
        (lambda: jaxhp.pb2(5, 4), lambda: jaxhp.pb2(np.int64(5), np.int64(4))),
    ],
)
def test_numbers_of_numpy_make_the_same_scheduler(ours: Any, numpys: Any) -> None:
    assert numpys().name == ours().name
