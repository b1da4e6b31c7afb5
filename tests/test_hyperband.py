"""Hyperband: the tables of its papers number by number, slow twins of both forms, and brackets of black boxes."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scheduler_reference import VALUES, BlackBox, agree, problem, reports, slow_asha, slow_halving, slow_keep

import jaxhp
from jaxhp.schedulers import hyperband, successive_halving
from jaxhp.schedulers._hyperband import brackets
from jaxhp.testing import simulated

Table = list[list[tuple[int, int]]]  # per bracket (n_i, r_i)


def algorithm_1(R: int, eta: int, r: int = 1) -> Table:
    """Li et al. 2018, Algorithm 1, by its own formulas; r_i in whole multiples of r."""
    s_max = math.floor(math.log(R / r) / math.log(eta) + 1e-9)
    table = []
    for s in range(s_max, -1, -1):
        n = math.ceil((s_max + 1) / (s + 1) * eta**s - 1e-9)
        rungs = [(math.floor(n * eta**-i + 1e-9), math.floor(R * eta ** (i - s) / r + 1e-9) * r) for i in range(s)]
        table.append([*rungs, (math.floor(n * eta**-s + 1e-9), R)])
    return table


PAPER = [
    [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
    [(34, 3), (11, 9), (3, 27), (1, 81)],
    [(15, 9), (5, 27), (1, 81)],
    [(8, 27), (2, 81)],
    [(5, 81)],
]


def trained(scheduler: jaxhp.Scheduler, steps: int, sizes: list[int], lanes: int) -> Table:
    """(trials, step) that each bracket of consecutive trials reported, where a trial's loss is its number."""
    run = simulated(scheduler, problem(steps), 0, lambda n, step: float(n), sum(sizes), lanes, between=False)
    table = []
    for j, size in enumerate(sizes):
        first = sum(sizes[:j])
        table.append(sorted(Counter(step for n, step in reports(run) if first <= n < first + size).items()))
    return [[(count, step) for step, count in bracket] for bracket in table]


@pytest.mark.parametrize("lanes", [1, 7, 81])
def test_the_brackets_of_81_steps_are_those_of_algorithm_1(lanes: int) -> None:
    """R = 81, eta = 3. Table 1 of the paper shows 27, 9, 6, 5 starts for s = 3, 2, 1, 0: the authors' published code rounds
    (s_max + 1) / (s + 1) down before it multiplies, their Algorithm 1 rounds the product up. s = 4 is the same, and so are all r_i."""
    assert trained(hyperband(), 81, [81, 34, 15, 8, 5], lanes) == PAPER == algorithm_1(81, 3)
    s_max, table = 4, [81, 27, 9, 6, 5]
    assert [(s_max + 1) // (s + 1) * 3**s for s in range(4, -1, -1)] == table
    assert [[r for _, r in bracket] for bracket in PAPER] == [[81 // 3**i for i in range(s, -1, -1)] for s in range(4, -1, -1)]


def test_after_its_last_bracket_hyperband_begins_again() -> None:
    once = [9, 5, 3]
    assert [bracket[0][0] for bracket in algorithm_1(9, 3)] == once
    assert trained(hyperband(), 9, once * 2, 3) == algorithm_1(9, 3) * 2


def test_each_bracket_costs_about_as_much_as_every_other() -> None:
    """Algorithm 1 plans B = (s_max + 1) R a bracket, steps that are trained anew at each rung included; only rounding departs from it."""
    for R, eta in ((81, 3), (27, 3), (64, 4), (64, 2), (1000, 3)):
        plan = brackets(eta, 1, R, R, mixed=False)
        for n, ladder in zip(plan.sizes, plan.ladders, strict=True):
            cost = sum(n // eta**i * r for i, r in enumerate(ladder.steps))
            assert 0.7 <= cost / (len(plan.sizes) * R) <= 1.3


def test_the_halving_of_eight_arms_of_jamieson_and_talwalkar() -> None:
    """Jamieson and Talwalkar 2016, successive halving with n = 8: 8, 4, 2 arms in log2(8) rounds, one is left. There round k pulls each arm
    r_k = floor(B / (|S_k| log2 n)) times more, with B = 24 1, 2, 4 times: 1, 3, 7 in all. Here rungs are totals: 1, 2, 4, then 8."""
    arms = [8, 4, 2]
    assert [24 // (n * 3) for n in arms] == [1, 2, 4]
    assert trained(successive_halving(2), 8, [8], 3) == [[(8, 1), (4, 2), (2, 4), (1, 8)]]
    assert algorithm_1(8, 2)[0] == [(8, 1), (4, 2), (2, 4), (1, 8)]


@pytest.mark.parametrize(("eta", "r", "R"), [(3, 1, 100), (2, 3, 100), (4, 10, 1000), (3, 5, 5), (3, 5, 14), (2, 7, 1000)])
def test_rungs_that_are_no_whole_steps_are_rounded_down_to_multiples_of_the_first(eta: int, r: int, R: int) -> None:
    table = algorithm_1(R, eta, r)
    assert all(step % r == 0 for bracket in table for _, step in bracket[:-1])
    sizes = [bracket[0][0] for bracket in table][-3:]
    first = sum(bracket[0][0] for bracket in table[:-3])
    run = simulated(hyperband(eta, r), problem(R), 0, lambda n, step: n if n < first else first - n, first + sum(sizes), 9, between=False)
    for j, bracket in enumerate(table[-3:]):
        mine = range(first + sum(sizes[:j]), first + sum(sizes[: j + 1]))
        assert sorted((step, count) for step, count in Counter(s for n, s in reports(run) if n in mine).items()) == [
            (step, count) for count, step in bracket
        ]


def test_max_steps_plans_the_brackets_and_the_survivors_run_to_the_end() -> None:
    expected = [[(n, 100 if r == 9 else r) for n, r in bracket] for bracket in algorithm_1(9, 3)]
    assert trained(hyperband(max_steps=9), 100, [9, 5, 3], 4) == expected


# -- slow twins ----------------------------------------------------------------------------------------------------------


def in_order(eta: int, r: int, R: int) -> Any:
    """number -> (place of its bracket, trials of the bracket, ladder), counted out one by one."""
    table = algorithm_1(R, eta, r)
    order: list[tuple[int, int, list[int]]] = []

    def bracket_of(number: int) -> tuple[int, int, list[int]]:
        while len(order) <= number:
            for bracket in table:
                place = order[-1][0] + 1 if order else 0
                order.extend([(place, bracket[0][0], [step for _, step in bracket])] * bracket[0][0])
        return order[number]

    return bracket_of


RUNS = (st.integers(2, 4), st.integers(1, 3), st.integers(3, 30), st.integers(1, 7), st.integers(1, 40), st.data())


@settings(derandomize=True, max_examples=120, deadline=None)
@given(*RUNS)
def test_hyperband_decides_as_its_slow_twin(eta: int, least: int, steps: int, lanes: int, trials: int, data: Any) -> None:
    table = data.draw(st.lists(VALUES, min_size=7, max_size=40))
    run = simulated(hyperband(eta, least), problem(steps), steps, lambda n, s: table[(7 * n + 3 * s) % len(table)], trials, lanes)
    bracket_of = in_order(eta, least, steps)
    agree(hyperband(eta, least), lambda told, slots: slow_halving(told, slots, eta, bracket_of), steps, run)


@settings(derandomize=True, max_examples=120, deadline=None)
@given(*RUNS)
def test_asynchronous_hyperband_decides_as_its_slow_twin(eta: int, least: int, steps: int, lanes: int, trials: int, data: Any) -> None:
    table = data.draw(st.lists(VALUES, min_size=7, max_size=40))
    scheduler = hyperband(eta, least, asynchronous=True)
    run = simulated(scheduler, problem(steps), steps, lambda n, s: table[(7 * n + 3 * s) % len(table)], trials, lanes)
    first = dealt_to(scheduler, steps, trials)
    ladders = {bracket[0][1]: [step for _, step in bracket] for bracket in algorithm_1(steps, eta, least)}
    agree(scheduler, lambda told, slots: slow_asha(told, slots, eta, lambda n: ladders[first[n]]), steps, run)


# -- the asynchronous form -----------------------------------------------------------------------------------------------


def dealt_to(scheduler: jaxhp.Scheduler, steps: int, trials: int) -> list[int]:
    """The first rung of each trial."""
    run = simulated(scheduler, problem(steps), 0, lambda n, step: float(n), trials, 4, between=False)
    first: dict[int, int] = {}
    for number, step in reports(run):
        first.setdefault(number, step)
    return [first[number] for number in range(trials)]


def test_asynchronous_brackets_are_dealt_in_the_proportions_of_the_table_and_mixed() -> None:
    sizes = {1: 81, 3: 34, 9: 15, 27: 8, 81: 5}
    first = dealt_to(hyperband(asynchronous=True), 81, 2 * 143)
    assert Counter(first[:143]) == sizes and first[:143] == first[143:]
    for begin in range(0, 286 - 40, 7):  # any forty trials in a row have their share, to within three
        some = Counter(first[begin : begin + 40])
        assert all(abs(some[step] - 40 * n / 143) < 3 for step, n in sizes.items())


def test_asynchronous_brackets_compare_within_and_nobody_waits() -> None:
    scheduler = hyperband(asynchronous=True)
    run = simulated(scheduler, problem(27), 0, lambda n, step: float(n), 60, 5, between=False)
    first = dealt_to(scheduler, 27, 60)
    for step in (1, 3, 9):
        mine = [n for n in range(60) if first[n] == step]
        assert {n for n, s in reports(run) if s == 3 * step and n in mine} == set(mine[: len(mine) // 3])


# -- black boxes ---------------------------------------------------------------------------------------------------------

STREAM = st.lists(st.tuples(st.integers(0, 16), st.sampled_from([0.5, 1.0, 2.0, 3.0, 5.0, 9.0, 30.0]), VALUES), min_size=1, max_size=40)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.booleans(), STREAM)
def test_black_boxes_are_compared_within_their_bracket(asynchronous: bool, stream: list[tuple[int, float, float]]) -> None:
    scheduler = hyperband(max_steps=9, asynchronous=asynchronous)
    first = dealt_to(scheduler, 9, 17)
    box = BlackBox(scheduler)
    for i, (number, step, value) in enumerate(stream):
        mine = [report for report in stream[: i + 1] if first[report[0]] == first[number]]
        ladder = [r for r in (1, 3, 9) if first[number] <= r < 9]
        assert box.report(number, step, value) == slow_keep(mine, 3, ladder, 9)


def test_a_black_box_of_the_last_bracket_runs_to_the_end() -> None:
    box = BlackBox(hyperband(max_steps=9))
    assert [box.report(n, 1, float(n)) for n in range(17)] == [n == 0 or n >= 9 for n in range(17)]  # s = 2: each is worse than the first
    assert [box.report(n, 3, float(n)) for n in (9, 10, 14, 15, 16)] == [True, False, True, True, True]


def test_a_study_of_black_boxes_under_hyperband_ends_bad_trials_early() -> None:
    def objective(trial: jaxhp.Trial) -> float:
        loss = math.nan
        for epoch in range(1, 10):
            loss = abs(trial["x"]) + 1 / epoch
            if trial.report(epoch, loss):
                break
        return loss

    space = jaxhp.Space({"x": jaxhp.Float(-1.0, 1.0)})
    study = jaxhp.Study(space, sampler=jaxhp.sobol(), scheduler=jaxhp.hyperband(max_steps=9), seed=1).optimize(objective, trials=17)
    ended = Counter(trial.status for trial in study.finished)
    assert ended[jaxhp.Status.STOPPED] >= 5 and study.best.status == jaxhp.Status.COMPLETE
    assert all(trial.status == jaxhp.Status.COMPLETE for trial in study.finished if trial.number >= 14)  # s = 0
