"""cma_es over integers, categories and conditions, and what it starts from."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxhp
from jaxhp import Categorical, Float, Int, Ordinal, Space, Study
from jaxhp._types import Floats, Outcome, Problem, Status
from jaxhp.samplers._cma_categories import drawn, floored, learned, least_probability, uniform_categories
from jaxhp.samplers._cma_margin import cells, corrected
from jaxhp.samplers._cma_warm_start import promising_categories
from jaxhp.testing import rows

GRIDS = Space(
    {
        "binary": Ordinal(["a", "b"]),
        "few": Int(1, 5),
        "many": Int(0, 100),
        "log": Int(1, 64, log=True),
        "step": Float(0.0, 1.0, step=0.25),
        "free": Float(0.0, 1.0),
    }
)


QUANTILES = np.array([NormalDist().inv_cdf((i + 0.5) / 20000) for i in range(20000)])


def leaving(space: Space, j: int, mean: float, deviation: float) -> tuple[float, float]:
    """How often N(mean, deviation^2) falls below and above the cell of its mean, as `space.snap` sees it."""
    u = np.full((len(QUANTILES) + 1, space.d), 0.5)
    u[:, j] = np.append(mean + deviation * QUANTILES, mean)
    levels = space.snap(u)[:, j]
    return float((levels[:-1] < levels[-1]).mean()), float((levels[:-1] > levels[-1]).mean())


# -- integers ------------------------------------------------------------------------------------------------------------


@settings(derandomize=True, max_examples=40, deadline=None)
@given(
    mean=st.lists(st.floats(-0.2, 1.2), min_size=6, max_size=6),
    spread=st.lists(st.floats(1e-9, 0.5), min_size=6, max_size=6),
    alpha=st.sampled_from([0.01, 0.05, 0.2]),
)
def test_every_integer_keeps_its_chance_to_leave_its_level(mean: list[float], spread: list[float], alpha: float) -> None:
    found = cells(GRIDS.dims, np.arange(6))
    assert found.at.tolist() == [0, 1, 2, 3, 4]
    before = np.array(mean)
    after, A = corrected(found, before, np.array(spread), np.ones(6), alpha)
    assert after[5] == before[5]
    assert A[5] == 1.0
    for j in found.at:
        below, above = leaving(GRIDS, j, float(after[j]), float(spread[j] * A[j]))
        assert below + above >= alpha - 2e-4, GRIDS.names[j]
        if below > 0.0 and above > 0.0:  # an inner cell: both ways
            assert min(below, above) >= 0.5 * alpha - 2e-4, GRIDS.names[j]


def test_a_run_never_loses_an_integer() -> None:
    space = Space({"n": Int(0, 9), "m": Int(1, 50, log=True), "b": Ordinal([0, 1]), "x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})
    sampler = jaxhp.cma_es(restarts=None)
    state = sampler.init(Problem(space, space.dims, (Outcome("f"),)), 0)
    k, asked = state.strategy.popsize, 0
    for _ in range(60):
        numbers = np.arange(asked, asked + k)
        u = sampler.ask(state, numbers)
        y = ((u[:, 3:] - 0.4) ** 2).sum(axis=1, keepdims=True) + 10.0 * ((u[:, :3] - 0.3) ** 2).sum(axis=1, keepdims=True)
        state = sampler.tell(sampler.tell(state, rows(numbers, u)), rows(numbers, u, y, Status.COMPLETE))
        asked += k
    assert state.search.sigma < 0.02
    for j in range(3):
        deviation = state.search.sigma * state.A[j] * math.sqrt(state.search.C[j, j])
        assert sum(leaving(space, j, float(state.search.mean[j]), deviation)) >= 1.0 / (5 * k) - 2e-4


# -- categories ----------------------------------------------------------------------------------------------------------


def test_levels_are_drawn_as_often_as_their_distribution_says() -> None:
    levels = np.array([2, 4])
    made = uniform_categories(levels)._replace(q=np.array([[0.25, 0.75, 0.0, 0.0], [0.1, 0.2, 0.3, 0.4]]))
    chosen = drawn(made, np.random.default_rng(0).random((20000, 2)))
    for i in range(2):
        np.testing.assert_allclose(np.bincount(chosen[:, i], minlength=4) / 20000, made.q[i], atol=0.02)
    assert drawn(made, np.full((1, 2), np.nextafter(1.0, 0.0))).tolist() == [[1, 3]]


@settings(derandomize=True, max_examples=60, deadline=None)
@given(data=st.data(), levels=st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_probabilities_sum_to_one_and_keep_their_margin(data: Any, levels: list[int]) -> None:
    k = np.array(levels)
    least = least_probability(k, len(levels))
    categories = uniform_categories(k)
    for _ in range(12):
        best = np.array([[data.draw(st.integers(-1, n - 1)) for n in levels] for _ in range(3)])
        categories = learned(categories, best, np.array([0.6, 0.3, 0.1]), least)
        exists = np.arange(categories.q.shape[1]) < k[:, None]
        np.testing.assert_allclose(categories.q.sum(axis=1), 1.0, rtol=1e-12)
        assert (categories.q[~exists] == 0.0).all()
        assert (categories.q >= np.where(exists, least[:, None] - 1e-15, 0.0)).all()


def test_a_natural_gradient_step_has_the_length_of_the_fisher_metric() -> None:
    levels = np.array([3, 5])
    begun = uniform_categories(levels)._replace(step=0.05)
    chosen = np.array([[0, 4], [0, 3], [2, 4]])
    after = learned(begun, chosen, np.array([0.6, 0.3, 0.1]), np.zeros(2))
    change = after.q - begun.q
    squared = np.where(begun.q > 0.0, change**2 / np.where(begun.q > 0.0, begun.q, 1.0), 0.0).sum()  # sum dq^2 / q
    assert math.isclose(math.sqrt(squared), 0.05, rel_tol=1e-6)
    assert after.q[0, 0] > begun.q[0, 0]
    assert after.q[1, 4] > begun.q[1, 4]


def test_the_margin_is_that_of_the_paper() -> None:
    np.testing.assert_allclose(least_probability(np.array([3, 4]), 2), [0.07279981, 0.04853321], rtol=1e-6)
    floor = floored(np.array([[1.0, 0.0, 0.0]]), np.ones((1, 3), bool), np.array([0.1]))
    np.testing.assert_allclose(floor, [[0.8, 0.1, 0.1]])


def test_categories_and_numbers_are_found_together() -> None:
    space = Space({f"c{i}": Categorical(list("abcd")) for i in range(4)} | {f"x{i}": Float(-5.0, 5.0) for i in range(4)})

    def objective(trial: jaxhp.Trial) -> float:
        wrong = sum(trial[f"c{i}"] != "abca"[i] for i in range(4))
        return float(wrong + sum((trial[f"x{i}"] - 1.0) ** 2 for i in range(4)))

    reached = []
    for sampler in (jaxhp.cma_es(), jaxhp.random_search()):
        study = Study(space, sampler=sampler, seed=3).optimize(objective, trials=600)
        reached.append(study.best.value)
    assert reached[0] < 1e-2
    assert reached[1] > 1.0


@pytest.mark.parametrize("restarts", ["bipop", None])
def test_a_space_of_categories_alone_is_searched(restarts: Any) -> None:
    space = Space({f"c{i}": Categorical(list("abc")) for i in range(6)})
    study = Study(space, sampler=jaxhp.cma_es(restarts=restarts), seed=0)
    study.optimize(lambda trial: sum(trial[f"c{i}"] != "b" for i in range(6)), trials=300)
    assert study.best.value == 0.0


def test_a_conditional_parameter_is_learned_where_it_is_active() -> None:
    space = Space({"kind": Categorical(["on", "off"]), "x": Float(0.0, 1.0, when={"kind": "on"}), "y": Float(0.0, 1.0)})
    study = Study(space, sampler=jaxhp.cma_es(), seed=1)
    study.optimize(lambda trial: (trial["y"] - 0.2) ** 2 + ((trial["x"] - 0.8) ** 2 if trial["kind"] == "on" else 1.0), trials=250)
    assert study.best.value is not None
    assert study.best.value < 1e-4


# -- the start -----------------------------------------------------------------------------------------------------------


def test_a_warm_start_beats_a_cold_one_on_a_shifted_problem() -> None:
    space = Space({f"x{j}": Float(-5.0, 5.0) for j in range(5)})

    def near(target: float) -> Any:
        return lambda trial: sum(100.0 ** (j / 4) * (trial[f"x{j}"] - target) ** 2 for j in range(5))

    better = []
    for seed in range(5):
        source = Study(space, sampler=jaxhp.random_search(), seed=seed).optimize(near(3.0), trials=200)
        values = []
        for sampler in (jaxhp.warm_start(jaxhp.cma_es(), source), jaxhp.cma_es()):
            values.append(Study(space, sampler=sampler, seed=seed).optimize(near(3.3), trials=80).best.value)
        better.append(values[0] < values[1])
    assert sum(better) >= 4, better


def test_a_share_of_zero_or_too_few_trials_start_cold() -> None:
    space = Space({"x": Float(0.0, 1.0), "c": Categorical(["a", "b"])})

    def asked(sampler: jaxhp.Sampler, trials: int) -> Floats:
        source = Study(space, sampler=jaxhp.sobol(), seed=1).optimize(lambda trial: trial["x"], trials=trials)
        warm = jaxhp.warm_start(sampler, source)
        return warm.ask(warm.init(Problem(space, space.dims, (Outcome("value"),)), 0), np.arange(8))

    cold = asked(jaxhp.cma_es(warm_start=0.0), 40)
    assert np.array_equal(asked(jaxhp.cma_es(), 9), cold)
    assert not np.array_equal(asked(jaxhp.cma_es(), 40), cold)


def test_a_warm_start_prefers_the_categories_of_the_best_trials() -> None:
    levels = np.array([2, 3])
    found = promising_categories(levels, np.array([[0, 2], [0, 2], [1, -1]]), np.array([0.01, 0.01]))
    assert found.q.argmax(axis=1).tolist() == [0, 2]
    np.testing.assert_allclose(found.q.sum(axis=1), 1.0)
