"""NSGA-II: its operators against their definitions, its population against pymoo's survival, and what it finds."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy.stats import kstest

import jaxhp
from jaxhp import Categorical, Float, Int, Ordinal, Space, Study
from jaxhp._types import Floats, Outcome, Problem, Status
from jaxhp.errors import SamplerError
from jaxhp.pareto import crowding, hypervolume, ranks
from jaxhp.samplers._genetics import DRAWS, Breeder, crossed, mutated
from jaxhp.samplers._population import Population
from jaxhp.testing import check_sampler, nasty_history, rows

MIXED = Space(
    {
        "x": Float(0.0, 1.0),
        "n": Int(1, 64, log=True),
        "batch": Ordinal([16, 32, 64]),
        "opt": Categorical(["sgd", "adam", "lion"]),
        "momentum": Float(0.0, 1.0, when={"opt": "sgd"}),
        "beta": Float(0.0, 1.0, when={"opt": ["adam", "lion"]}),
    }
)
TWO = {"a": "minimize", "b": "minimize"}


def uniforms(n: int) -> Floats:
    return (np.arange(n) + 0.5) / n


# -- operators -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eta", [2.0, 10.0, 20.0])
def test_crossover_spreads_children_as_sbx_says(eta: float) -> None:
    """Deb & Agrawal 1995, eqs. 7-9, for parents so far from the bounds that these cut nothing away."""
    n = 20_000
    a, b = np.full(n, 0.499), np.full(n, 0.501)
    for side, sign in ((0.0, -1.0), (0.9, 1.0)):
        child = crossed(a, b, np.stack([uniforms(n), np.full(n, side)]), eta)
        spread = sign * (child - 0.5) / 0.001
        assert (spread > 0.0).all()

        def distribution(beta: Any) -> Any:
            return np.where(beta <= 1.0, 0.5 * beta ** (eta + 1.0), 1.0 - 0.5 / beta ** (eta + 1.0))

        assert kstest(spread, distribution).statistic < 0.01


def test_children_of_crossover_keep_to_the_bounds_and_to_equal_parents() -> None:
    rng = np.random.default_rng(0)
    a, b, draws = rng.random(5000), rng.random(5000), rng.random((2, 5000))
    a[:100], b[50:150] = 0.0, 1.0
    child = crossed(a, b, draws, 1.0)
    assert (child >= 0.0).all() and (child <= 1.0).all()
    assert np.array_equal(crossed(a, a, draws, 1.0), a)
    low, high = np.minimum(a, b), np.maximum(a, b)
    upper = draws[1] >= 0.5
    assert (np.abs(child - np.where(upper, high, low)) <= np.abs(child - np.where(upper, low, high)) + 1e-12).all()
    edge = crossed(np.zeros(2), np.ones(2), np.array([[1.0 - 1e-12, 1.0 - 1e-12], [0.0, 1.0]]), 10.0)
    assert edge == pytest.approx([0.0, 1.0])  # the density ends at the bound, instead of being cut there


@pytest.mark.parametrize("x", [0.0, 0.1, 0.5, 1.0])
def test_mutation_is_polynomial_and_ends_at_the_bounds(x: float) -> None:
    """Its distribution is inverted in closed form: P(step <= -s) for a point with room r below."""
    eta, n = 10.0, 20_000
    moved = mutated(np.full(n, x), uniforms(n), eta)
    assert moved.min() >= 0.0 and moved.max() <= 1.0
    if 0.0 < x < 1.0:
        down = x - moved[: n // 2]
        beyond = (1.0 - down) ** (eta + 1.0)
        least = (1.0 - x) ** (eta + 1.0)
        assert 0.5 * (beyond - least) / (1.0 - least) == pytest.approx(uniforms(n)[: n // 2], abs=1e-9)
        assert np.median(moved) == pytest.approx(x, abs=1e-4)
    if x != 0.1:  # where the bounds hardly matter, or one half of the draws has no room at all
        assert np.abs(moved - x).mean() == pytest.approx(1.0 / (eta + 2.0) * (1.0 if x == 0.5 else 0.5), rel=0.02)


def bred(a: Floats, b: Floats, n: int, **changes: Any) -> Floats:
    settings: dict[str, Any] = {"crossover": 0.9, "eta": (10.0, 10.0), "mutation": None} | changes
    draws = np.random.default_rng(1).random((n, DRAWS, MIXED.d))
    both = np.random.default_rng(2).random(n)
    return Breeder(MIXED, **settings).children(np.tile(a, (n, 1)), np.tile(b, (n, 1)), both, draws)


def test_children_are_points_of_the_space_and_mix_their_parents() -> None:
    sgd = MIXED.point({"x": 0.2, "n": 2, "batch": 16, "opt": "sgd", "momentum": 0.3})
    adam = MIXED.point({"x": 0.6, "n": 32, "batch": 64, "opt": "adam", "beta": 0.8})
    children = bred(sgd, adam, 4000, mutation=0.0)
    assert np.array_equal(MIXED.snap(children), children, equal_nan=True)
    params = [MIXED.params(u) for u in children]
    share = Counter(p["opt"] for p in params)
    assert share["lion"] == 0 and share["adam"] / 4000 == pytest.approx(0.9 * 0.25, abs=0.03)
    assert all(p["momentum"] == pytest.approx(0.3) for p in params if p["opt"] == "sgd")
    assert all(p["beta"] == pytest.approx(0.8) for p in params if p["opt"] == "adam")  # what the first parent lacks, the second gives
    assert {p["batch"] for p in params} >= {16, 64} and all(0.0 <= p["x"] <= 1.0 for p in params)


def test_mutation_alone_changes_one_active_coordinate_on_average_and_every_kind_of_it() -> None:
    sgd = MIXED.point({"x": 0.2, "n": 1, "batch": 16, "opt": "sgd", "momentum": 0.3})
    children = bred(sgd, sgd, 6000)
    changed = (children != sgd) & ~(np.isnan(children) & np.isnan(sgd))
    changed[:, 5] = False  # active only where another category is
    changed[children[:, 3] != sgd[3], 4] = False
    assert changed.sum() / 6000 == pytest.approx(1.0, abs=0.06)
    params = [MIXED.params(u) for u in children]
    assert {p["opt"] for p in params} == {"sgd", "adam", "lion"}
    assert {p["batch"] for p in params} == {16, 32} and min(p["n"] for p in params) == 1  # one level at least, away from the end
    unseen = [p["beta"] for p in params if "beta" in p]
    assert min(unseen) < 0.1 and max(unseen) > 0.9  # drawn anew where neither parent has it


# -- the population ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [2, 3])
def test_a_brood_is_thinned_to_what_pymoo_keeps(m: int) -> None:
    from pymoo.core.population import Population as Theirs
    from pymoo.core.problem import Problem as TheirProblem
    from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

    for seed in range(5):
        y = np.random.default_rng(seed).random((30, m))
        ours = Population(20, 10, 1, m, 0)
        for i in range(30):
            ours.tell(i, np.array([i / 30.0]), y[i], np.empty(0))
        kept = RankAndCrowding().do(TheirProblem(n_var=1, n_obj=m), Theirs.new(X=np.arange(30.0)[:, None], F=y), n_survive=20)
        mine, theirs = np.rint(30.0 * ours.u[:20, 0]).astype(int), kept.get("X")[:, 0].astype(int)
        rank = ranks(y)
        room = crowding(y, rank)  # pymoo draws lots among the equally crowded
        assert sorted(zip(rank[mine], room[mine], strict=True)) == sorted(zip(rank[theirs], room[theirs], strict=True))
        assert ours.members == 20


def test_a_tournament_is_won_by_rank_then_room_then_the_first() -> None:
    population = Population(8, 2, 1, 2, 0)
    for i, y in enumerate([[0.0, 4.0], [4.0, 0.0], [1.0, 1.0], [1.1, 0.9], [5.0, 5.0]]):
        population.tell(i, np.zeros(1), np.array(y), np.empty(0))
    first, second = np.array([4, 0, 2, 0, 3]), np.array([2, 4, 0, 1, 2])
    assert population.winners(first, second).tolist() == [2, 0, 0, 0, 2]


def test_violations_are_added_in_units_of_the_largest_told() -> None:
    population = Population(4, 1, 1, 1, 2)
    for i, over in enumerate([[8e9, 0.0], [0.0, 1.0], [2e9, 0.1], [0.0, 0.0]]):
        population.tell(i, np.zeros(1), np.array([float(-i)]), np.array(over))
    assert population.winners(np.array([0, 0, 2]), np.array([1, 2, 3])).tolist() == [0, 2, 3]  # 1, 1 (equal), 0.35, 0


def test_a_later_result_of_a_trial_replaces_an_earlier_one_and_a_failure_takes_it_back() -> None:
    space = Space({"x": Float(0.0, 1.0)})
    sampler = jaxhp.nsga2(4)
    u = np.linspace(0.0, 1.0, 4)[:, None]
    state = sampler.init(Problem(space, space.dims, (Outcome("y"),)), 0)
    state = sampler.tell(state, rows(np.arange(4), u, u, Status.PAUSED))
    assert state.population.members == 4 and state.breeding
    state = sampler.tell(state, rows(np.array([1]), u[:1], np.array([[-5.0]]), Status.COMPLETE))
    state = sampler.tell(state, rows(np.array([2]), u[2:3], np.array([[np.nan]]), Status.FAILED))
    assert state.population.members == 3
    assert state.population.winners(np.array([0, 1]), np.array([2, 2])).tolist() == [2, 2]


# -- what it finds -------------------------------------------------------------------------------------------------------


def zdt1(params: dict[str, float]) -> dict[str, float]:
    x = np.array(list(params.values()))
    g = 1.0 + 9.0 * x[1:].mean()
    return {"a": float(x[0]), "b": float(g * (1.0 - np.sqrt(x[0] / g)))}


def volume(study: Study) -> float:
    return hypervolume(np.array([[t.values["a"], t.values["b"]] for t in study.pareto]), np.array([1.1, 1.1]))


def test_it_converges_to_the_front_of_zdt1_where_random_search_does_not() -> None:
    space = Space({f"x{i}": Float(0.0, 1.0) for i in range(6)})
    found = []
    for sampler in (jaxhp.nsga2(20), jaxhp.random_search()):
        study = Study(space, sampler=sampler, directions=TWO, seed=1)
        found.append(volume(study.optimize(lambda trial: zdt1(trial.params), trials=600)))
    whole = 1.1 * 1.1 - 1.0 / 3.0  # of the true front
    assert found[0] > 0.93 * whole > 0.5 * whole > found[1]


def test_a_constrained_search_ends_feasible() -> None:
    """The unconstrained front, x + y = 1 at best, is infeasible; only a corner of the square is feasible."""
    space = Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})
    constraints = {"memory": "<= 8e9", "speed": ">= 0.85"}
    study = Study(space, sampler=jaxhp.nsga2(20), directions=TWO, constraints=constraints, seed=2)

    def objective(trial: jaxhp.Trial) -> dict[str, float]:
        x, y = trial["x"], trial["y"]
        return {"a": x, "b": y, "memory": 1e10 * (1.0 - 0.3 * x), "speed": y}

    study.optimize(objective, trials=300)
    late = study.finished[-60:]
    feasible = [t for t in late if t.values["memory"] <= 8e9 and t.values["speed"] >= 0.85]
    assert len(feasible) > 30  # 5 % at random
    best = min(t.values["a"] + t.values["b"] for t in study.pareto)
    assert 2.0 / 3.0 + 0.85 <= best < 2.0 / 3.0 + 0.85 + 0.01


def test_failures_are_never_parents() -> None:
    space = Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})
    study = Study(space, sampler=jaxhp.nsga2(10), directions=TWO, seed=0)

    def objective(trial: jaxhp.Trial) -> dict[str, float]:
        x, y = trial["x"], trial["y"]
        return {"a": np.nan if x > 0.5 else x, "b": (1.0 - x) + y}

    study.optimize(objective, trials=150)
    assert sum(t.status == Status.FAILED for t in study.finished[-50:]) < 10
    assert min(t["y"] for t in study.pareto) < 0.02


def test_a_mixed_conditional_space_is_searched_to_its_best_branch() -> None:
    study = Study(MIXED, sampler=jaxhp.nsga2(20), directions=TWO, seed=3)

    def objective(trial: jaxhp.Trial) -> dict[str, float]:
        penalty = abs(trial["beta"] - 0.7) if trial["opt"] == "lion" else 1.0
        penalty += abs(np.log2(trial["n"]) - 3.0) / 6.0 + (trial["batch"] != 32)
        return {"a": trial["x"] + penalty, "b": 1.0 - trial["x"] + penalty}

    front = study.optimize(objective, trials=500).pareto
    best = min(front, key=lambda t: t.values["a"] + t.values["b"])
    assert best["opt"] == "lion" and best["batch"] == 32 and best["n"] == 8 and best["beta"] == pytest.approx(0.7, abs=0.03)


def test_one_objective_is_minimised_too() -> None:
    space = Space({f"x{i}": Float(-1.0, 1.0) for i in range(4)})
    study = Study(space, sampler=jaxhp.nsga2(20), seed=0)
    assert study.optimize(lambda trial: sum((v - 0.3) ** 2 for v in trial.params.values()), trials=500).best.value < 1e-3


# -- what it promises ----------------------------------------------------------------------------------------------------


def test_it_keeps_the_laws_with_three_objectives_and_noise() -> None:
    space = MIXED.fix({"batch": 32})[0]
    check_sampler(jaxhp.nsga2(6), space, outcomes=3)
    check_sampler(jaxhp.nsga2(6), space, seed=1, outcomes=2, stochastic=True)


def test_a_finite_space_is_exhausted_without_repeats_and_repeated_where_results_are_noisy() -> None:
    space = Space({"a": Int(1, 6), "b": Categorical(["x", "y"]), "c": Ordinal([1, 2, 3], when={"b": "y"})})
    study = Study(space, sampler=jaxhp.nsga2(4), directions=TWO)
    study.optimize(lambda trial: {"a": trial["a"], "b": -trial["a"]}, trials=100)
    assert len({str(t.params) for t in study.finished}) == len(study.finished) == space.size == 24
    noisy = Study(space, sampler=jaxhp.nsga2(4), directions=TWO, stochastic=True)
    noisy.optimize(lambda trial: {"a": trial["a"], "b": -trial["a"]}, trials=60)
    assert len(noisy.finished) == 60


def test_children_meet_the_constraints_of_the_space_and_inherit_under_them() -> None:
    space = Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)}).where("x + y <= 0.2")
    study = Study(space, sampler=jaxhp.nsga2(10), directions=TWO, seed=0)
    study.optimize(lambda trial: {"a": -trial["x"], "b": -trial["y"]}, trials=300)
    assert all(t["x"] + t["y"] <= 0.2 for t in study.finished)
    assert np.mean([t["x"] + t["y"] > 0.18 for t in study.finished[100:]]) > 0.3  # 0.19 at random


def test_results_of_another_study_are_bred_from_at_once() -> None:
    space = Space({"x": Float(0.0, 1.0)})
    problem = Problem(space, space.dims, (Outcome("a"), Outcome("b")))
    history = nasty_history("foreign", problem)
    sampler = jaxhp.nsga2(8)
    state = sampler.tell(sampler.init(problem, 0), history)
    assert state.breeding and not state.seen
    assert sampler.ask(state, np.arange(3)).shape == (3, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"population": 3}, r"population=3\): expected a whole number from 4 on"),
        ({"population": 10.0}, r"population=10\.0\)"),
        ({"population": True}, "population=True"),
        ({"crossover": 1.5}, r"crossover=1\.5\): expected a probability from 0 to 1"),
        ({"crossover": None}, "crossover=None"),
        ({"mutation": -0.1}, r"mutation=-0\.1\)"),
        ({"mutation": float("nan")}, "mutation=nan"),
        ({"eta": 20.0}, r"eta=20\.0\): expected two finite numbers from 0 on"),
        ({"eta": (20.0, float("inf"))}, "expected two finite numbers"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SamplerError, match=message):
        jaxhp.nsga2(**arguments)


def test_its_name_tells_what_differs_from_the_defaults() -> None:
    assert jaxhp.nsga2().name == "nsga2(50)"
    assert jaxhp.nsga2(30, mutation=0.1, eta=(5, 5)).name == "nsga2(30, mutation=0.1, eta=(5.0, 5.0))"
