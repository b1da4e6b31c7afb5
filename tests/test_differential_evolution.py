"""Differential evolution: a slow twin, selection, latent genes, asynchronous tells, constraints, schedulers, errors at the door."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import jaxhp
from jaxhp import Categorical, Float, Int, Ordinal, Space, Status
from jaxhp._rng import rng
from jaxhp._types import Floats, Outcome, Problem
from jaxhp.errors import SamplerError
from jaxhp.samplers import exhaust
from jaxhp.samplers._differential_evolution import EvolutionState
from jaxhp.testing import rows

CUBE = Space({f"x{i}": Float(0.0, 1.0) for i in range(5)})


def problem(space: Space, *outcomes: Outcome) -> Problem:
    return Problem(space, space.dims, outcomes or (Outcome("y"),))


def told(state: EvolutionState, sampler: jaxhp.Sampler, numbers: list[int], u: Floats, y: list[float]) -> EvolutionState:
    values = np.array(y)[:, None]
    status = np.where(np.isfinite(values[:, 0]), Status.COMPLETE, Status.FAILED)
    for number, point, value, how in zip(numbers, u, values, status, strict=True):
        state = sampler.tell(state, rows(np.array([number]), point[None], value[None], Status(how)))
    return state


def rugged(u: Floats) -> float:
    return float(np.sum((u - 0.37) ** 2) + 0.1 * np.sum(1 - np.cos(9 * (u - 0.37))))


def generation(members: Floats, values: list[float], first: int, strategy: str, F: float, CR: float) -> tuple[Floats, list[float]]:
    """One generation of Storn & Price with deferred updating: loops, and the sampler's own uniforms."""
    NP, d = members.shape
    after, y = members.copy(), list(values)
    for i in range(NP):
        draw = rng(7, first + i, "differential_evolution")
        draw.integers(5), draw.normal(), draw.random()  # the pair (F, CR), which is given here
        draw.random()  # between F and F
        r1, r2, r3 = [int(r) for r in draw.permutation(NP) if r != i][:3]
        base, plus, minus = (r1, r2, r3) if strategy == "rand/1" else (int(np.argmin(values)), r1, r2)
        crossed = draw.random(d)
        always = int(draw.integers(d))
        trial = np.empty(d)
        for j in range(d):
            v = members[base, j] + F * (members[plus, j] - members[minus, j])
            if v < 0.0:
                v = members[i, j] / 2
            if v > 1.0:
                v = (members[i, j] + 1) / 2
            trial[j] = v if crossed[j] < CR or j == always else members[i, j]
        value = rugged(trial)
        if value <= values[i]:
            after[i], y[i] = trial, value
    return after, y


@pytest.mark.parametrize("strategy", ["rand/1", "best/1"])
def test_generations_are_those_of_a_slow_twin_on_the_same_random_numbers(strategy: str) -> None:
    NP = 8
    sampler = jaxhp.differential_evolution(strategy, population=NP, mutation=0.7, crossover=0.6)
    state = sampler.init(problem(CUBE)._replace(stochastic=True), 7)  # repeats are taken, as in the paper
    members, values = np.empty((0, 5)), [0.0]
    for g in range(25):
        numbers = list(range(g * NP, (g + 1) * NP))
        u = sampler.ask(state, np.array(numbers))
        state = sampler.tell(state, rows(np.array(numbers), u))
        state = told(state, sampler, numbers, u, [rugged(point) for point in u])
        if g == 0:
            members, values = u, [rugged(point) for point in u]
        else:
            members, values = generation(members, values, g * NP, strategy, 0.7, 0.6)
        mine = np.array([state.asked[number].genes for number in state.slots])
        assert np.allclose(mine, members, rtol=0.0, atol=1e-12)
    assert min(values) < 0.2 * min(rugged(point) for point in sampler.ask(sampler.init(problem(CUBE), 7), np.arange(NP)))


def test_the_best_never_gets_worse_and_members_are_the_best_of_their_slots() -> None:
    sampler = jaxhp.differential_evolution(population=6)
    state = sampler.init(problem(CUBE), 0)
    worth = []
    for number in range(120):
        u = sampler.ask(state, np.array([number]))
        state = sampler.tell(state, rows(np.array([number]), u))
        state = told(state, sampler, [number], u, [rugged(u[0])])
        worth.append([state.merits.of(member) for member in state.slots])
    for before, after in pairwise(worth[6:]):
        assert all(new <= old for new, old in zip(after, before, strict=True))
    assert state.written > 0 and state.history != [(0.5, 0.5)] * len(state.history)


def test_tells_in_any_order_find_the_minimum() -> None:
    shuffled = np.random.default_rng(0)
    sampler = jaxhp.differential_evolution(population=10)
    state = sampler.init(problem(CUBE), 1)
    waiting: list[tuple[int, Floats]] = []
    best = np.inf
    for number in range(400):
        u = sampler.ask(state, np.array([number]))
        state = sampler.tell(state, rows(np.array([number]), u))
        waiting.append((number, u))
        if len(waiting) == 8:
            done, u = waiting.pop(int(shuffled.integers(8)))
            y = np.nan if done % 7 == 0 else rugged(u[0])
            best = min(best, y) if y == y else best
            state = told(state, sampler, [done], u, [y])
    assert best < 0.02
    assert not any(member % 7 == 0 for member in state.slots)  # failures are replaced


def test_genes_of_discrete_and_inactive_parameters_live_on() -> None:
    space = Space(
        {
            "opt": Categorical(["sgd", "adam"]),
            "momentum": Float(0.0, 0.99, when={"opt": "sgd"}),
            "n": Int(1, 3),
            "size": Ordinal([1, 2, 4]),
        }
    )
    sampler = jaxhp.differential_evolution(population=6)
    state = sampler.init(problem(space), 0)
    for number in range(40):
        u = sampler.ask(state, np.array([number]))
        state = sampler.tell(state, rows(np.array([number]), u))
        genes = state.asked[number].genes
        assert np.isfinite(genes).all() and np.array_equal(space.snap(genes[None])[0], u[0], equal_nan=True)
        state = told(state, sampler, [number], u, [float(np.nansum(u))])
    between = np.concatenate([state.asked[member].genes[2:] for member in state.slots])
    assert np.abs(between - (np.floor(3 * between) + 0.5) / 3).max() > 0.05  # not the centres that rows hold


def test_an_enqueued_trial_that_is_better_than_all_becomes_a_member() -> None:
    study = jaxhp.Study(CUBE, sampler=jaxhp.differential_evolution(population=6), seed=0)
    study.optimize(lambda trial: rugged(np.array(list(trial.params.values()))), trials=20)
    study.enqueue(dict.fromkeys(CUBE.names, 0.37))
    study.optimize(lambda trial: rugged(np.array(list(trial.params.values()))), trials=21)
    assert study.best.number == 20
    study.optimize(lambda trial: rugged(np.array(list(trial.params.values()))), trials=80)
    near = [trial for trial in study.finished[50:] if max(abs(x - 0.37) for x in trial.params.values()) < 0.1]
    assert len(near) > 5


def test_what_another_study_ran_may_be_run_here() -> None:
    space = Space({"c": Categorical(["a", "b", "c", "d"]), "o": Ordinal([1, 2])})
    sampler, theirs = jaxhp.differential_evolution(population=4), exhaust()
    everything = theirs.ask(theirs.init(problem(space), 0), np.arange(8))
    state = sampler.tell(sampler.init(problem(space), 0), rows(np.arange(-7, 0), everything[:7], np.zeros((7, 1)), Status.COMPLETE))
    assert not state.seen
    state = sampler.tell(state, rows(np.array([0]), everything[:1], np.zeros((1, 1)), Status.COMPLETE))
    assert len(state.seen) == 1


def test_constraints_on_metrics_go_before_the_objective() -> None:
    sampler = jaxhp.differential_evolution(population=8)
    space = Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})
    study = jaxhp.Study(space, sampler=sampler, metric="loss", constraints={"sum": ">= 1.0"}, seed=0)
    study.optimize(lambda trial: {"loss": trial["x"] + 2 * trial["y"], "sum": trial["x"] + trial["y"]}, trials=300)
    assert abs(study.best.params["x"] - 1.0) < 0.05 and study.best.params["y"] < 0.05


def test_a_paused_trial_counts_again_with_what_it_shows_later() -> None:
    sampler = jaxhp.differential_evolution(population=4)
    state = sampler.init(problem(CUBE), 0)
    u = sampler.ask(state, np.arange(4))
    state = sampler.tell(state, rows(np.arange(4), u))
    state = told(state, sampler, [1, 2, 3], u[1:], [3.0, 4.0, 5.0])

    def at(step: float, y: float, status: Status) -> Any:
        return rows(np.array([0]), u[:1], np.array([[y]]), status)._replace(fidelity=np.array([step]))

    state = sampler.tell(state, at(1.0, 9.0, Status.PAUSED))
    assert 0 in state.slots and state.merits.of(0)[1] == 9.0
    state = sampler.tell(state, at(9.0, 1.0, Status.COMPLETE))
    assert state.slots.count(0) == 1 and state.merits.of(0) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategy": "rand/2"}, "strategy: expected one of best/1, rand/1, current-to-pbest/1, got 'rand/2'"),
        ({"population": 3}, "population: expected an integer of at least 4, got 3"),
        ({"population": True}, "population: expected"),
        ({"mutation": 0.0}, "mutation: expected a number above 0"),
        ({"mutation": (0.9, 0.5)}, "mutation: expected .* a rising pair"),
        ({"mutation": (0.1, 0.5, 0.9)}, "mutation: expected .* a rising pair"),
        ({"crossover": 1.5}, "crossover: expected a number from 0 to 1, got 1.5"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SamplerError, match=message):
        jaxhp.differential_evolution(**arguments)


@pytest.mark.parametrize("make", [jaxhp.differential_evolution, jaxhp.regularized_evolution])
def test_several_objectives_are_refused_naming_the_sampler_for_them(make: Any) -> None:
    two = problem(CUBE, Outcome("loss"), Outcome("latency"))
    with pytest.raises(SamplerError, match=r"this study has loss, latency; for several use jaxhp.nsga2\(\)"):
        make().init(two, 0)


@pytest.mark.parametrize(
    "make",
    [partial(jaxhp.differential_evolution, "rand/1", mutation=(0.5, 1.0)), partial(jaxhp.differential_evolution, "current-to-pbest/1")],
)
def test_other_strategies_find_the_minimum(make: Any) -> None:
    study = jaxhp.Study(CUBE, sampler=make(population=12), seed=0)
    study.optimize(lambda trial: rugged(np.array(list(trial.params.values()))), trials=600)
    assert study.best.value < 0.05
