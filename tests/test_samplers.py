"""What each sampler suggests, beyond the laws of tests/test_laws.py."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxhp
from jaxhp import Categorical, Float, Int, Ordinal, Sampler, SamplerError, Space, SpaceError, SpaceExhausted, Study
from jaxhp._rng import rng
from jaxhp._types import Floats, Outcome, Problem, Status, Trials
from jaxhp.samplers import exhaust
from jaxhp.samplers._axes import every_level
from jaxhp.samplers._cells import MOST_CELLS, cells, keys, points
from jaxhp.testing import rows, spaces

CUBE = Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})
TREE = Space(
    {
        "opt": Categorical(["sgd", "adam", "none"]),
        "momentum": Ordinal([0.0, 0.5, 0.9], when={"opt": "sgd"}),
        "nesterov": Categorical([True, False], when={"momentum": [0.5, 0.9]}),
        "beta": Ordinal([0.9, 0.99], when={"opt": ["adam"]}),
        "n": Int(1, 2),
    }
)


def problem(space: Space, outcomes: tuple[Outcome, ...] = (Outcome("y"),), stochastic: bool = False) -> Problem:
    return Problem(space, space.dims, outcomes, stochastic)


def asked(sampler: Sampler, space: Space, n: int, seed: int = 0) -> list[dict[str, Any]]:
    """The first n suggestions, all pending."""
    return [trial.params for trial in Study(space, sampler=sampler, seed=seed).ask(n)]


# -- by number -------------------------------------------------------------------------------------------------------------


def test_random_search_is_the_named_uniform_draw() -> None:
    space = Space({"x": Float(0.0, 1.0), "k": Int(0, 3)})
    sampler = jaxhp.random_search()
    u = sampler.ask(sampler.init(problem(space), 4), np.array([7, 2]))
    expected = np.array([rng(4, number, "random_search").random(2) for number in (7, 2)])
    assert u[:, 0].tolist() == expected[:, 0].tolist()
    assert u[:, 1].tolist() == ((np.floor(expected[:, 1] * 4) + 0.5) / 4).tolist()


def test_sobol_fills_every_elementary_interval() -> None:
    sampler = jaxhp.sobol()
    u = sampler.ask(sampler.init(problem(CUBE), 9), np.arange(64))
    for a in range(7):
        boxes = {(int(x * 2**a), int(y * 2 ** (6 - a))) for x, y in u}
        assert len(boxes) == 64


def test_an_infeasible_default_is_moved_into_the_feasible_part() -> None:
    space = Space({"x": Float(0.0, 1.0, default=0.9)}).where(lambda p: p["x"] <= 0.5, name="limit")
    assert asked(jaxhp.auto(), space, 1)[0]["x"] <= 0.5


# -- grids -----------------------------------------------------------------------------------------------------------------


def test_a_grid_spaces_levels_evenly_on_the_scale_of_each_parameter() -> None:
    space = Space(
        {
            "x": Float(0.0, 1.0),
            "lr": Float(1e-4, 1.0, log=True),
            "n": Int(1, 64, log=True),
            "k": Int(0, 100),
            "b": Ordinal([1, 2, 4]),
            "c": Categorical(list("abcd")),
        }
    )
    seen = asked(jaxhp.grid_search(5), space, 10**5)
    assert len(seen) == 5 * 5 * 5 * 5 * 3 * 4
    values = {name: sorted({p[name] for p in seen}) for name in space.names}
    assert values["x"] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert values["lr"] == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
    assert values["n"] == [1, 3, 8, 23, 64]
    assert values["k"] == [0, 25, 50, 75, 100]
    assert values["b"] == [1, 2, 4] and values["c"] == ["a", "b", "c", "d"]


@given(low=st.integers(1, 40), width=st.integers(1, 60), k=st.integers(2, 9))
def test_a_grid_over_integers_has_as_many_levels_as_asked_and_both_ends(low: int, width: int, k: int) -> None:
    for log in (False, True):
        seen = sorted(p["n"] for p in asked(jaxhp.grid_search(k), Space({"n": Int(low, low + width, log=log)}), 100))
        assert len(seen) == len(set(seen)) == min(k, width + 1)
        assert seen[0] == low and seen[-1] == low + width


def test_a_grid_takes_levels_and_values_per_parameter() -> None:
    space = Space({"lr": Float(1e-3, 1.0, log=True), "width": Int(16, 64), "opt": Categorical(["sgd", "adam"]), "z": Float(0.0, 1.0)})
    seen = asked(jaxhp.grid_search({"lr": 4, "width": [32, 16, 32], "opt": ["adam"], "z": [0.1, 0.7]}), space, 1000)
    assert {p["width"] for p in seen} == {16, 32} and {p["opt"] for p in seen} == {"adam"}
    assert sorted({p["z"] for p in seen}) == pytest.approx([0.1, 0.7])
    assert len(seen) == 4 * 2 * 1 * 2


def test_a_grid_over_conditions_has_distinct_configurations_only() -> None:
    def distinct() -> set[tuple[tuple[str, Any], ...]]:
        full = itertools.product(["sgd", "adam", "none"], [0.0, 0.5, 0.9], [True, False], [0.9, 0.99], [1, 2])
        found = set()
        for opt, momentum, nesterov, beta, n in full:
            p: dict[str, Any] = {"opt": opt, "n": n}
            if opt == "sgd":
                p["momentum"] = momentum
                if momentum > 0:
                    p["nesterov"] = nesterov
            if opt == "adam":
                p["beta"] = beta
            found.add(tuple(sorted(p.items())))
        return found

    for sampler in (jaxhp.grid_search(5), exhaust(), jaxhp.auto()):
        seen = [tuple(sorted(p.items())) for p in asked(sampler, TREE, 1000)]
        assert len(seen) == len(set(seen)) == TREE.size and set(seen) == distinct()


@given(space=spaces())
def test_cells_are_numbered_one_to_one(space: Space) -> None:
    axes = tuple(every_level(space, j)[:4] if space.dims.levels[j] else np.linspace(0.0, 1.0, 3) for j in range(space.d))
    grid = cells(space, axes)
    u = space.snap(points(grid, np.arange(min(grid.size, 500))))
    assert len(set(keys(u))) == len(u)
    if grid.size <= 500:  # and none is missing
        corners = space.snap(np.array(list(itertools.product(*axes)))) if math.prod(map(len, axes)) <= 5000 else u
        assert set(keys(corners)) == set(keys(u))


@pytest.mark.parametrize("seed", range(4))
def test_an_interrupted_grid_has_seen_all_of_the_space(seed: int) -> None:
    space = Space({f"x{i}": Float(0.0, 1.0) for i in range(4)})
    seen = asked(jaxhp.grid_search(5), space, 60, seed)  # of 625
    for name in space.names:
        counts = [sum(p[name] == level for p in seen) for level in (0.0, 0.25, 0.5, 0.75, 1.0)]
        assert min(counts) >= 9 and max(counts) <= 15
    for a, b in itertools.combinations(space.names, 2):
        assert len({(p[a], p[b]) for p in seen}) == 25


def test_seeds_begin_a_grid_elsewhere() -> None:
    assert len({tuple(asked(jaxhp.grid_search(5), CUBE, 1, seed)[0].values()) for seed in range(12)}) > 5


def test_a_grid_passes_over_what_anyone_asked() -> None:
    study = Study(CUBE, sampler=jaxhp.grid_search(3))
    study.enqueue({"x": 0.5, "y": 0.5})
    study.add({"x": 1.0, "y": 0.0}, 3.0)
    study.add({"x": 0.123, "y": 0.456}, 3.0)  # no cell
    seen = [tuple(t.params.values()) for t in study.ask(100)]
    assert seen[0] == (0.5, 0.5)
    assert len(seen) == 8 and (1.0, 0.0) not in seen and len(set(seen)) == 8
    with pytest.raises(SpaceExhausted, match=r"grid_search\(levels=3\)"):
        study.ask()


def test_a_value_that_a_user_typed_finds_its_cell() -> None:
    space = Space({"lr": Float(1e-4, 1.0, log=True)})
    study = Study(space, sampler=jaxhp.grid_search(5))
    study.enqueue({"lr": 0.01})  # its u is 0.5 up to rounding
    assert len(study.ask(100)) == 5


def test_a_grid_asks_feasible_cells_only_and_says_when_there_are_none() -> None:
    space = CUBE.where(lambda p: p["x"] + p["y"] <= 0.6, name="limit")
    assert len(asked(jaxhp.grid_search(3), space, 100)) == 3
    corner = CUBE.where(lambda p: 0.6 <= p["x"] <= 0.9, name="limit")
    with pytest.raises(SpaceError, match="none of its 9 cells is feasible"):
        asked(jaxhp.grid_search(3), corner, 1)
    with pytest.raises(SpaceError, match="none of the 9 coarse cells is feasible"):
        asked(jaxhp.coarse_to_fine(3), CUBE.where(lambda p: 0.51 <= p["x"] <= 0.6, name="limit"), 1)


def test_huge_grids_start_at_once_and_too_huge_ones_say_what_to_do() -> None:
    space = Space({f"x{i}": Float(0.0, 1.0) for i in range(12)})
    assert len(asked(jaxhp.grid_search(10), space, 20)) == 20  # 1e12 cells
    assert MOST_CELLS == 1e12
    with pytest.raises(SpaceError, match=r"3.14e\+12 cells .* give fewer levels"):
        asked(jaxhp.grid_search(11), space, 1)
    with pytest.raises(SpaceError, match="x0, x1"):
        asked(exhaust(), space, 1)


# -- coarse to fine ----------------------------------------------------------------------------------------------------------


def test_coarse_to_fine_closes_in_on_the_optimum() -> None:
    study = Study(CUBE, sampler=jaxhp.coarse_to_fine(levels=3, rounds=5)).optimize(
        lambda t: (t["x"] - 0.77) ** 2 + (t["y"] - 0.21) ** 2, trials=1000
    )
    assert len(study.finished) == 9 + 4 * 8  # the middle cell of each finer round is known
    assert abs(study.best["x"] - 0.77) <= 0.5 / 3**5 and abs(study.best["y"] - 0.21) <= 0.5 / 3**5


def test_coarse_to_fine_centres_follow_the_cells() -> None:
    study = Study(Space({"x": Float(0.0, 1.0)}), sampler=jaxhp.coarse_to_fine(levels=4, rounds=2)).optimize(lambda t: -t["x"], trials=100)
    xs = [t["x"] for t in study.finished]
    assert sorted(xs[:4]) == pytest.approx([0.125, 0.375, 0.625, 0.875])
    assert sorted(xs[4:]) == pytest.approx([0.75 + w for w in (0.03125, 0.09375, 0.15625, 0.21875)])


def test_coarse_to_fine_fixes_the_categoricals_of_the_best() -> None:
    space = Space({"x": Float(0.0, 1.0), "c": Categorical(["a", "b", "c"])})
    study = Study(space, sampler=jaxhp.coarse_to_fine(levels=3, rounds=3)).optimize(
        lambda t: abs(t["x"] - 0.4) + (t["c"] != "b"), trials=100
    )
    assert {t["c"] for t in study.finished[:9]} == {"a", "b", "c"}
    assert {t["c"] for t in study.finished[9:]} == {"b"} and len(study.finished) == 9 + 2 + 2


def test_coarse_to_fine_refines_several_best() -> None:
    sampler = jaxhp.coarse_to_fine(levels=5, rounds=2, top=2)
    study = Study(Space({"x": Float(0.0, 1.0)}), sampler=sampler).optimize(
        lambda t: min(abs(t["x"] - 0.1), abs(t["x"] - 0.9) + 0.01), trials=100
    )
    fine = sorted(t["x"] for t in study.finished[5:])
    assert fine == pytest.approx([0.02, 0.06, 0.14, 0.18, 0.82, 0.86, 0.94, 0.98])


def test_coarse_to_fine_does_not_wait_for_pending_trials() -> None:
    study = Study(Space({"x": Float(0.0, 1.0)}), sampler=jaxhp.coarse_to_fine(levels=3, rounds=2))
    first = study.ask(3)
    study.tell(next(t for t in first if t["x"] > 0.8), 1.0)
    fourth = study.ask()
    assert fourth["x"] > 2 / 3
    study.tell(next(t for t in first if t["x"] < 0.2), 0.0)  # better, too late: the round is fixed
    assert study.ask()["x"] > 2 / 3


def test_coarse_to_fine_refines_the_default_while_nothing_succeeded() -> None:
    study = Study(Space({"x": Float(0.0, 1.0, default=0.2)}), sampler=jaxhp.coarse_to_fine(levels=3, rounds=2))
    for trial in study.ask(3):
        study.tell(trial, error="out of memory")
    assert sorted(t["x"] for t in study.ask(10)) == pytest.approx([0.2 - 1 / 9, 0.2, 0.2 + 1 / 9])


def test_coarse_to_fine_prefers_what_meets_the_constraints() -> None:
    study = Study(Space({"x": Float(0.0, 1.0)}), sampler=jaxhp.coarse_to_fine(levels=3, rounds=2), constraints={"memory": "<= 0.6"})
    study.optimize(lambda t: {"value": -t["x"], "memory": t["x"]}, trials=100)
    assert all(1 / 3 < t["x"] < 2 / 3 for t in study.finished[3:])


def test_coarse_to_fine_ends_in_a_finite_space_having_seen_each_configuration_at_most_once() -> None:
    space = Space({"n": Int(0, 30), "c": Categorical(["a", "b"])})
    study = Study(space, sampler=jaxhp.coarse_to_fine(levels=4, rounds=6)).optimize(lambda t: abs(t["n"] - 21), trials=1000)
    seen = [tuple(t.params.values()) for t in study.finished]
    assert len(seen) == len(set(seen)) < 62 and study.best["n"] == 21


# -- the algebra ---------------------------------------------------------------------------------------------------------------


def only(x: float, n: int | None = None) -> Sampler:
    """Suggests one value, at most n times in its own right."""

    def ask(state: int, numbers: Any) -> Floats:
        return np.full((len(numbers) if n is None else max(0, min(len(numbers), n - state)), 1), x)

    def tell(state: int, trials: Trials) -> int:
        return state + int(((trials.status == Status.PENDING) & (trials.u[:, 0] == x)).sum())

    return Sampler(lambda problem, seed: 0, tell, ask, f"only({x}, {n})", finite=n is not None)


LINE = Space({"x": Float(0.0, 1.0)})


def test_sequence_goes_by_trial_number_and_passes_on_what_a_part_cannot_serve() -> None:
    sampler = jaxhp.sequence((only(0.1), 3), (only(0.2, 2), 4), (only(0.3, 2), None), (only(0.4), None))
    study = Study(LINE, sampler=sampler)
    assert [t["x"] for t in study.ask(12)] == [0.1] * 3 + [0.2] * 2 + [0.3] * 2 + [0.4] * 5
    assert not sampler.finite


def test_a_sequence_of_counts_ends_after_them() -> None:
    sampler = jaxhp.sequence((only(0.1), 3), (only(0.2), 2))
    assert sampler.finite and len(Study(LINE, sampler=sampler).ask(50)) == 5


def test_mixture_draws_by_weight_and_passes_on_what_a_part_cannot_serve() -> None:
    sampler = jaxhp.mixture((only(0.1), 3), (only(0.2), 1))
    xs = [t["x"] for t in Study(LINE, sampler=sampler, seed=1).ask(400)]
    assert 270 <= xs.count(0.1) <= 330  # three standard deviations around 300
    assert xs != [t["x"] for t in Study(LINE, sampler=sampler, seed=2).ask(400)]
    ending = jaxhp.mixture((only(0.1, 5), 1), (only(0.2, 7), 1))
    assert ending.finite and len(Study(LINE, sampler=ending).ask(50)) == 12


def test_freeze_keeps_values_and_tells_matching_trials_only() -> None:
    space = Space({"x": Float(0.0, 1.0), "width": Int(16, 64)})
    study = Study(space, sampler=jaxhp.freeze(jaxhp.coarse_to_fine(levels=3, rounds=2), {"width": 64}))
    study.add({"x": 0.1, "width": 16}, -5.0)  # the best, but not of this slice
    study.optimize(lambda t: abs(t["x"] - 0.9), trials=100)
    assert {t["width"] for t in study.finished[1:]} == {64}
    assert all(t["x"] > 2 / 3 for t in study.finished[4:]) and len(study.finished) == 1 + 3 + 2


def test_freezing_a_parent_keeps_or_drops_its_children() -> None:
    seen = asked(jaxhp.freeze(jaxhp.grid_search(5), {"opt": "sgd", "n": 1}), TREE, 100)
    assert len(seen) == 5 and all(p["opt"] == "sgd" and "momentum" in p and "beta" not in p for p in seen)
    rest = asked(jaxhp.freeze(jaxhp.grid_search(5), {"opt": "none"}), TREE, 100)
    assert sorted(rest, key=lambda p: p["n"]) == [{"opt": "none", "n": n} for n in (1, 2)]


def test_warm_start_informs_and_does_not_count() -> None:
    old = Study(Space({"x": Float(0.0, 1.0)}), seed=1).optimize(lambda t: abs(t["x"] - 0.9), trials=12)
    sampler = jaxhp.warm_start(jaxhp.coarse_to_fine(levels=3, rounds=2), old)
    study = Study(LINE, sampler=sampler)
    first = study.ask(3)
    assert [t.number for t in first] == [0, 1, 2]
    assert study.ask()["x"] > 2 / 3  # nothing of its own is told: the other study's best is refined
    assert study.finished == []
    assert "12 trials" in sampler.name


def test_warm_start_converts_by_name() -> None:
    told: list[Trials] = []

    def tell(state: None, trials: Trials) -> None:
        told.append(trials)

    spy = Sampler(lambda problem, seed: None, tell, lambda state, numbers: np.zeros((len(numbers), 3)), "spy")
    old = Space({"n": Int(1, 100), "x": Float(0.0, 10.0), "gone": Categorical(["a", "b"])})
    new = Space({"x": Float(0.0, 5.0), "n": Int(1, 10), "extra": Float(0.0, 1.0, default=0.25)})
    u = np.stack([old.point({"n": n, "x": x, "gone": "b"}) for n, x in ((3, 2.5), (50, 2.5), (4, 7.0), (9, 5.0), (2, 1.0))])
    status = np.array([Status.COMPLETE] * 4 + [Status.PENDING], dtype=np.int8)
    trials = rows(np.arange(5), u, np.arange(5.0)[:, None], status)
    sampler = jaxhp.warm_start(spy, (old, trials))
    sampler.init(problem(new), 0)
    (seen,) = told
    assert [new.params(row) for row in seen.u] == [{"x": 2.5, "n": 3, "extra": 0.25}, {"x": 5.0, "n": 9, "extra": 0.25}]
    assert seen.y[:, 0].tolist() == [0.0, 3.0] and (seen.number < 0).all() and len(set(seen.number.tolist())) == 2
    other = jaxhp.warm_start(spy, (old, trials._replace(y=trials.y + 1)))
    assert other.name != sampler.name and jaxhp.warm_start(spy, (old, trials)).name == sampler.name


def test_warm_start_refuses_other_metrics() -> None:
    old = Study(LINE, metric="loss").optimize(lambda t: t["x"], trials=2)
    with pytest.raises(SamplerError, match="minimize loss, this study minimize accuracy"):
        Study(LINE, metric="accuracy", sampler=jaxhp.warm_start(jaxhp.sobol(), old))
    with pytest.raises(SamplerError, match="1 columns of y, this study has 2 metrics"):
        Study(LINE, directions={"a": "minimize", "b": "minimize"}, sampler=jaxhp.warm_start(jaxhp.sobol(), (LINE, old.trials)))


def test_a_stochastic_study_goes_on_after_a_finite_space() -> None:
    assert len(Study(Space({"a": Int(1, 3)}), stochastic=True).ask(20)) == 20
    several = Study(Space({"a": Int(1, 3)}), stochastic=True, directions={"loss": "minimize", "speed": "maximize"})
    assert {t["a"] for t in several.ask(20)} == {1, 2, 3}


# -- errors at the door ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jaxhp.grid_search(1), "at least 2, got 1"),
        (lambda: jaxhp.grid_search(True), "at least 2, got True"),
        (lambda: jaxhp.grid_search({"x": 1}), "at least 2 or a list of values, got 1"),
        (lambda: jaxhp.grid_search({"x": []}), "empty list"),
        (lambda: jaxhp.grid_search("5"), "got '5'"),  # type: ignore[arg-type]
        (lambda: jaxhp.coarse_to_fine(levels=1), "levels: expected a number of at least 2, got 1"),
        (lambda: jaxhp.coarse_to_fine(rounds=0), "rounds: expected a number of at least 1, got 0"),
        (lambda: jaxhp.coarse_to_fine(top=1.5), r"top: .* got 1\.5"),  # type: ignore[arg-type]
        (lambda: jaxhp.sequence(), "nothing to combine"),
        (lambda: jaxhp.sequence(jaxhp.sobol(), 16), "expected pairs that begin with a sampler"),  # type: ignore[arg-type]
        (lambda: jaxhp.sequence((jaxhp.sobol, 16)), "expected pairs that begin with a sampler"),  # type: ignore[arg-type]
        (lambda: jaxhp.sequence((jaxhp.sobol(), 0)), r"positive number of trials or None for sobol\(\), got 0"),
        (lambda: jaxhp.sequence((jaxhp.sobol(), None), (jaxhp.auto(), 3)), r"sobol\(\) never ends"),
        (lambda: jaxhp.mixture(), "nothing to combine"),
        (lambda: jaxhp.mixture((jaxhp.sobol(), 0)), r"positive weight for sobol\(\), got 0"),
        (lambda: jaxhp.mixture((jaxhp.sobol(), math.inf)), "got inf"),
        (lambda: jaxhp.mixture((jaxhp.sobol(), "3")), "got '3'"),  # type: ignore[arg-type]
        (lambda: jaxhp.freeze(jaxhp.sobol(), {}), "expected the values to keep"),
        (lambda: jaxhp.freeze(jaxhp.sobol, {"x": 1}), "parentheses"),  # type: ignore[arg-type]
        (lambda: jaxhp.warm_start(jaxhp.sobol(), 3), "expected a study or a pair"),  # type: ignore[arg-type]
        (lambda: jaxhp.warm_start(jaxhp.sobol(), (LINE, 3)), "expected a study or a pair"),  # type: ignore[arg-type]
        (lambda: jaxhp.warm_start(jaxhp.sobol, LINE), "parentheses"),  # type: ignore[arg-type]
    ],
)
def test_bad_arguments_are_refused_by_the_factory(make: Any, message: str) -> None:
    with pytest.raises(SamplerError, match=message):
        make()


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (jaxhp.grid_search({"z": 3}), "no parameter 'z'; it has x, y"),
        (jaxhp.grid_search({"x": [0.5, 2.0]}), "x"),
        (jaxhp.freeze(jaxhp.sobol(), {"z": 3}), "z"),
        (jaxhp.freeze(jaxhp.sobol(), {"x": 3.0}), "x"),
    ],
)
def test_arguments_that_do_not_fit_the_space_are_refused_when_the_study_starts(sampler: Sampler, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        Study(CUBE, sampler=sampler)


@pytest.mark.parametrize(
    ("ours", "numpys"),
    [
        (lambda: jaxhp.tpe(candidates=8, bandwidth=0.5), lambda: jaxhp.tpe(candidates=np.int64(8), bandwidth=np.float32(0.5))),
        (lambda: jaxhp.cma_es(popsize=6, margin=0.125), lambda: jaxhp.cma_es(popsize=np.int32(6), margin=np.float32(0.125))),
        (lambda: jaxhp.nsga2(8, eta=(5.0, 5)), lambda: jaxhp.nsga2(np.int64(8), eta=(np.float64(5.0), np.int64(5)))),
        (lambda: jaxhp.bayes(starts=3), lambda: jaxhp.bayes(starts=np.int64(3))),
        (lambda: jaxhp.grid_search({"x": 3}), lambda: jaxhp.grid_search({"x": np.int64(3)})),
        (lambda: jaxhp.coarse_to_fine(2, rounds=2), lambda: jaxhp.coarse_to_fine(np.int64(2), rounds=np.int64(2))),
        (lambda: jaxhp.regularized_evolution(4, 2), lambda: jaxhp.regularized_evolution(np.int64(4), np.int64(2))),
        (
            lambda: jaxhp.differential_evolution(population=6, mutation=(0.5, 1.0)),
            lambda: jaxhp.differential_evolution(population=np.int64(6), mutation=(np.float32(0.5), np.float32(1.0))),
        ),
        (lambda: jaxhp.hypergradient_descent(starts=2), lambda: jaxhp.hypergradient_descent(starts=np.int64(2))),
        (lambda: jaxhp.freeze(jaxhp.sobol(), {"x": 0.5}), lambda: jaxhp.freeze(jaxhp.sobol(), {"x": np.float32(0.5)})),
        (
            lambda: jaxhp.sequence((jaxhp.sobol(), 4), (jaxhp.random_search(), None)),
            lambda: jaxhp.sequence((jaxhp.sobol(), np.int64(4)), (jaxhp.random_search(), None)),
        ),
        (lambda: jaxhp.mixture((jaxhp.sobol(), 0.5)), lambda: jaxhp.mixture((jaxhp.sobol(), np.float32(0.5)))),
    ],
)
def test_numbers_of_numpy_make_the_same_sampler(ours: Callable[[], Sampler], numpys: Callable[[], Sampler]) -> None:
    assert numpys().name == ours().name
    space = Space({"x": Float(0.0, 1.0), "n": Int(1, 9)})
    studies = [jaxhp.Study(space, sampler=make()).optimize(lambda t: t["x"] + t["n"], trials=12) for make in (ours, numpys)]
    assert [t.params for t in studies[0].finished] == [t.params for t in studies[1].finished]


@pytest.mark.parametrize(
    "make",
    [
        lambda: jaxhp.cma_es(sigma=10**400),
        lambda: jaxhp.mixture((jaxhp.sobol(), 10**400)),
        lambda: jaxhp.mixture((jaxhp.sobol(), 1e308), (jaxhp.sobol(), 1e308)),
    ],
)
def test_numbers_that_no_float_holds_are_refused(make: Callable[[], Sampler]) -> None:
    with pytest.raises(SamplerError, match=r"cma_es\(sigma=10|positive weight|add up to more"):
        make()
