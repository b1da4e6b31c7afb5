"""Aging evolution: turnover by age, mutations, repeats, constraints, errors at the door."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import jaxhp
from jaxhp import Categorical, Float, Int, Ordinal, Space, Status
from jaxhp._types import Floats, Outcome, Problem
from jaxhp.errors import SamplerError
from jaxhp.samplers import exhaust, startup
from jaxhp.samplers._regularized_evolution import START, EvolutionState
from jaxhp.testing import rows

CELL = Space({f"edge{i}": Categorical(list("abcde")) for i in range(6)})
MIXED = Space({"x": Float(0.0, 1.0), "rate": Float(1e-5, 1.0, log=True), "n": Int(1, 64, log=True), "size": Ordinal([1, 2, 3])})
TREE = Space(
    {
        "block": Categorical(["conv", "attention"]),
        "kernel": Ordinal([3, 5, 7], when={"block": "conv"}),
        "heads": Categorical([1, 2, 4], when={"block": "attention"}),
        "dropout": Float(0.0, 0.5, when={"heads": [2, 4]}),
    }
)


def problem(space: Space, stochastic: bool = False, outcomes: tuple[Outcome, ...] = (Outcome("y"),)) -> Problem:
    return Problem(space, space.dims, outcomes, stochastic)


def tell(sampler: jaxhp.Sampler, state: EvolutionState, number: int, u: Floats, y: float) -> EvolutionState:
    return sampler.tell(state, rows(np.array([number]), u[None], np.array([[y]]), Status.COMPLETE if np.isfinite(y) else Status.FAILED))


def evolve(sampler: jaxhp.Sampler, space: Space, value: Any, trials: int, seed: int = 0) -> tuple[EvolutionState, Floats]:
    state = sampler.init(problem(space), seed)
    points = []
    for number in range(trials):
        u = sampler.ask(state, np.array([number]))[0]
        state = sampler.tell(state, rows(np.array([number]), u[None]))
        state = tell(sampler, state, number, u, value(u))
        points.append(u)
    return state, np.array(points)


def differences(space: Space, a: Floats, b: Floats) -> int:
    """In how many parameters two points differ that are active in both."""
    both = ~np.isnan(a) & ~np.isnan(b)
    return int((a[both] != b[both]).sum())


def test_the_oldest_leaves_when_a_trial_is_told_however_good_it_is() -> None:
    sampler = jaxhp.regularized_evolution(population=5, tournament=2)
    state = sampler.init(problem(CELL), 0)
    u = sampler.ask(state, np.arange(5))
    state = sampler.tell(state, rows(np.arange(5), u))
    for number, y in zip([3, 0, 4, 1, 2], [-100.0, 1.0, 1.0, 1.0, 1.0], strict=True):
        state = tell(sampler, state, number, u[number], y)
    assert list(state.members) == [3, 0, 4, 1, 2]
    more = sampler.ask(state, np.array([5]))
    state = tell(sampler, sampler.tell(state, rows(np.array([5]), more)), 5, more[0], np.nan)
    assert list(state.members) == [0, 4, 1, 2, 5] and set(state.points) == set(state.members)


def test_a_child_is_a_member_changed_in_one_place() -> None:
    sampler = jaxhp.regularized_evolution()
    state, points = evolve(sampler, CELL, lambda u: float(u.sum()), 60)
    members = [state.points[number] for number in state.members]
    children = sampler.ask(state, np.arange(60, 64))
    assert len(state.members) == 25
    for child in children:
        assert min(differences(CELL, child, member) for member in members) == 1
    assert np.array_equal(points[:START], evolve(sampler, CELL, lambda u: -float(u.sum()), START)[1])


def test_with_the_whole_population_as_tournament_the_parent_is_the_best() -> None:
    sampler = jaxhp.regularized_evolution(population=20, tournament=20)
    state, points = evolve(sampler, CELL, lambda u: float(u.sum()), 20)
    best = points[np.argmin(points.sum(axis=1))]
    assert all(differences(CELL, child, best) == 1 for child in sampler.ask(state, np.arange(20, 26)))


def test_numbers_move_and_ordinals_move_by_a_level_at_least() -> None:
    sampler = jaxhp.regularized_evolution(population=20, tournament=20)
    state, points = evolve(sampler, MIXED, lambda u: float(np.abs(u - 0.5).sum()), 20)
    best = points[np.argmin(np.abs(points - 0.5).sum(axis=1))]
    children = sampler.ask(state, np.arange(20, 220))
    moved = children != best
    assert (moved.sum(axis=1) == 1).mean() > 0.5  # few neighbours of an ordinal: repeats change in more places
    assert moved.any(axis=0).all()
    assert np.abs(children - best)[:, 0].max() > 0.3 and np.median(np.abs(children - best)[moved[:, 0], 0]) < 0.25


def test_no_configuration_is_asked_twice_while_others_are_near() -> None:
    _, points = evolve(jaxhp.regularized_evolution(), CELL, lambda u: float(u.sum()), 400)
    assert len(np.unique(points, axis=0)) == 400


def test_a_tiny_space_is_seen_in_full_and_never_ends() -> None:
    space = Space({"a": Categorical(["x", "y", "z"]), "b": Int(1, 3)})
    _, points = evolve(jaxhp.regularized_evolution(population=4, tournament=2), space, lambda u: float(u.sum()), 25)
    assert len(points) == 25 and len(np.unique(points[:12], axis=0)) == 9


def test_a_stochastic_study_may_ask_again() -> None:
    sampler = jaxhp.regularized_evolution(population=4, tournament=4)
    space = Space({"a": Categorical(["x", "y"]), "b": Categorical(["x", "y"])})
    state = sampler.init(problem(space, stochastic=True), 0)
    u = sampler.ask(state, np.arange(4))
    state = sampler.tell(state, rows(np.arange(4), u))
    for number in range(4):
        state = tell(sampler, state, number, u[number], float(u[number].sum()))
    best = u[np.argmin(u.sum(axis=1))]
    assert all(differences(space, child, best) == 1 for child in sampler.ask(state, np.arange(4, 10)))


def test_what_becomes_active_is_drawn_and_what_becomes_inactive_is_dropped() -> None:
    sampler = jaxhp.regularized_evolution()
    _, points = evolve(sampler, TREE, lambda u: 0.0 if np.isnan(u[3]) else float(u[3]), 120)
    assert np.array_equal(TREE.snap(points), points, equal_nan=True)
    active = points[~np.isnan(points[:, 3]), 3]
    assert len(active) > 20 and len(np.unique(active)) > 0.9 * len(active)


def test_constraints_of_the_space_and_of_metrics_are_met() -> None:
    space = Space({f"x{i}": Int(0, 9) for i in range(4)}).where("x0 + x1 <= 9")
    study = jaxhp.Study(
        space, sampler=jaxhp.regularized_evolution(), metric="gain", direction="maximize", constraints={"cost": "<= 20"}, seed=0
    )
    study.optimize(lambda trial: {"gain": sum(trial.params.values()), "cost": trial["x2"] + trial["x3"] + 2 * trial["x0"]}, trials=400)
    assert all(trial.params["x0"] + trial.params["x1"] <= 9 for trial in study.finished)
    assert study.best.value == 27


def test_the_start_goes_on_until_a_trial_succeeds() -> None:
    sampler, space = jaxhp.regularized_evolution(25, 25), Space({f"x{i}": Float(0.0, 1.0) for i in range(6)})
    state, u = evolve(sampler, space, lambda row: np.nan, 60)
    assert np.array_equal(u[START:], startup().ask(startup().init(problem(space), 0), np.arange(START, 60)))
    state = tell(sampler, state, 60, u[0], 1.0)
    assert differences(space, sampler.ask(state, np.array([61]))[0], u[0]) == 1


def test_what_another_study_ran_may_be_run_here() -> None:
    space = Space({"c": Categorical(["a", "b"]), "o": Ordinal([1, 2])})
    sampler, theirs = jaxhp.regularized_evolution(), exhaust()
    everything = theirs.ask(theirs.init(problem(space), 0), np.arange(4))
    state = sampler.tell(sampler.init(problem(space), 0), rows(np.arange(-3, 0), everything[:3], np.zeros((3, 1)), Status.COMPLETE))
    assert not state.seen
    state = sampler.tell(state, rows(np.array([0]), everything[:1], np.zeros((1, 1)), Status.COMPLETE))
    assert len(state.seen) == 1


def test_failures_have_no_children_while_anything_else_lives() -> None:
    sampler = jaxhp.regularized_evolution(population=20, tournament=20)
    state, points = evolve(sampler, CELL, lambda u: 1.0 if u[0] < 0.2 else np.nan, 20)
    youngest = points[points[:, 0] < 0.2][-1]
    children = sampler.ask(state, np.arange(20, 30))
    assert all(differences(CELL, child, youngest) <= 2 for child in children)  # 2: a repeat was changed in another place, too


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 1), "population: expected an integer of at least 2, got 1"),
        ((10, 0), "tournament: expected an integer of at least 1, got 0"),
        ((10, 11), "tournament: no more than the population of 10 can be drawn, got 11"),
        ((10.0, 2), "population: expected"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(SamplerError, match=message):
        jaxhp.regularized_evolution(*arguments)
