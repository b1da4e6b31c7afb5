"""Fronts, ranks, crowding and hypervolume against their definitions and against pymoo."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxhp import pareto_front
from jaxhp._types import Floats, Ints
from jaxhp.errors import StudyError
from jaxhp.pareto import crowding, dominates, hypervolume, ranks

TABLES = [(m, n, levels) for m in (2, 3, 4) for n in (1, 2, 9, 80) for levels in (0, 4)]


def table(m: int, n: int, levels: int) -> Floats:
    """Distinct rows; with levels many of them are equal in some objective."""
    rng = np.random.default_rng([m, n, levels])
    y = rng.random((n, m)) if not levels else np.unique(rng.integers(0, levels, (n, m)).astype(float), axis=0)
    rng.shuffle(y)
    return y


def peeled(y: Floats) -> Ints:
    """Front after front, by the definition."""
    rank = np.full(len(y), -1)
    for r in itertools.count():
        left = np.flatnonzero(rank < 0)
        if not len(left):
            return rank
        beaten = [any((y[j] <= y[i]).all() and (y[j] < y[i]).any() for j in left) for i in left]
        rank[left[~np.array(beaten)]] = r


@pytest.mark.parametrize("m", [1, 2, 3, 5])
def test_the_front_is_what_nothing_dominates(m: int) -> None:
    rng = np.random.default_rng(m)
    y = rng.integers(0, 6, size=(80, m)).astype(float)
    y[rng.random(y.shape) < 0.03] = np.nan
    expected = [not np.isnan(a).any() and not any((b <= a).all() and (b < a).any() for b in y if not np.isnan(b).any()) for a in y]
    assert pareto_front(y).tolist() == expected
    assert dominates(y, y).any(axis=0).tolist() == [not on and not np.isnan(a).any() for on, a in zip(expected, y, strict=True)]


def test_an_empty_table_has_an_empty_front() -> None:
    empty = np.empty((0, 2))
    assert pareto_front(empty).shape == ranks(empty).shape == crowding(empty).shape == (0,)
    assert hypervolume(empty, np.ones(2)) == 0.0


@settings(derandomize=True, max_examples=60, deadline=None)
@given(y=st.integers(1, 4).flatmap(lambda m: st.lists(st.lists(st.integers(0, 4), min_size=m, max_size=m), min_size=1, max_size=25)))
def test_ranks_are_fronts_peeled_one_by_one(y: list[list[int]]) -> None:
    rows = np.array(y, dtype=float)
    assert ranks(rows).tolist() == peeled(rows).tolist()
    assert (ranks(rows) == 0).tolist() == pareto_front(rows).tolist()


@pytest.mark.parametrize(("m", "n", "levels"), TABLES)
def test_ranks_and_crowding_are_those_of_pymoo(m: int, n: int, levels: int) -> None:
    from pymoo.operators.survival.rank_and_crowding.metrics import get_crowding_function
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    y = table(m, n, levels)
    fronts, rank = NonDominatedSorting().do(y, return_rank=True)
    assert ranks(y).tolist() == rank.tolist()
    all_at_once = crowding(y, ranks(y))
    for front in fronts:
        theirs = m * get_crowding_function("cd").do(y[front])  # a mean over the objectives
        assert crowding(y[front]) == pytest.approx(theirs)
        assert np.array_equal(all_at_once[front], crowding(y[front]))


@pytest.mark.parametrize("m", [2, 3, 4, 5])
def test_the_hypervolume_is_that_of_pymoos_library(m: int) -> None:
    from moocore import hypervolume as reference_volume

    for n, levels in itertools.product((1, 6, 60), (0, 5)):
        y, bound = table(m, n, levels), np.full(m, 3.5 if levels else 0.9)  # some rows lie beyond it
        assert hypervolume(y, bound) == pytest.approx(reference_volume(y, ref=bound), rel=1e-12)


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_the_hypervolume_is_the_count_of_dominated_cells(m: int) -> None:
    y = np.random.default_rng(m).integers(0, 6, (9, m)).astype(float)
    cells = np.array(list(itertools.product(range(5), repeat=m)))
    counted = (y[:, None] <= cells).all(axis=2).any(axis=0).sum()
    assert hypervolume(y, np.full(m, 5.0)) == pytest.approx(float(counted))
    assert hypervolume(np.vstack([y, np.full((1, m), np.nan)]), np.full(m, 5.0)) == pytest.approx(float(counted))


def test_ranks_put_infeasible_rows_behind_feasible_ones_by_their_violation() -> None:
    y = np.array([[3.0, 3.0], [2.0, 2.0], [0.0, 0.0], [1.0, 1.0], [0.0, 0.0], [np.nan, 0.0], [0.0, 0.0]])
    violation = np.array([0.0, 0.0, 2.0, 0.5, 0.5, 0.0, np.nan])
    assert ranks(y, violation).tolist() == [1, 0, 3, 2, 2, 4, 4]
    assert ranks(y[2:5], violation[2:5]).tolist() == [1, 0, 0]


def test_many_rows_are_ranked_like_few(monkeypatch: pytest.MonkeyPatch) -> None:
    y = table(3, 80, 4)
    few = ranks(y)
    monkeypatch.setattr("jaxhp.pareto._SMALL", 10)
    monkeypatch.setattr("jaxhp.pareto._BLOCK", 300)
    assert np.array_equal(ranks(y), few)


def test_of_equal_rows_the_first_is_crowded_by_the_others_and_not_the_reverse() -> None:
    y = np.array([[0.0, 4.0], [2.0, 2.0], [2.0, 2.0], [4.0, 0.0]])
    assert crowding(y).tolist() == [np.inf, 2.0, 0.0, np.inf]


def test_a_constant_objective_and_huge_values_leave_crowding_finite() -> None:
    y = np.array([[-1e308, 1.0], [0.0, 1.0], [1e308, 1.0], [5e307, 1.0]])
    assert crowding(y)[1] == pytest.approx(0.75)
    assert np.isinf(crowding(y)[[0, 2]]).all()


def test_an_infinite_value_takes_its_objective_out_of_crowding() -> None:
    y = np.array([[-np.inf, 3.0], [1.0, 2.0], [2.0, 1.5], [np.inf, 1.0]])
    assert crowding(y).tolist() == [np.inf, 0.75, 0.5, np.inf]
    assert crowding(np.full((3, 1), np.inf)).tolist() == [np.inf, 0.0, 0.0]


def test_lists_and_integers_are_taken_as_they_are_read() -> None:
    y: Any = [[1, 3], [2, 2], [3, 3]]
    assert pareto_front(y).tolist() == [True, True, False]
    assert ranks(y).tolist() == [0, 0, 1]
    assert hypervolume(y, np.array([4, 4])) == 5.0
    assert crowding(y, ranks(y)).tolist() == [np.inf] * 3


def test_wrong_shapes_are_refused() -> None:
    y = np.zeros((3, 2))
    for call, message in (
        (lambda: pareto_front(np.zeros(3)), r"y has shape \(3,\); give one row for each point"),
        (lambda: ranks(np.zeros(3)), r"y has shape \(3,\); give one row for each point"),
        (lambda: ranks(y, np.zeros(2)), r"violation has shape \(2,\); give one number for each of the 3 rows"),
        (lambda: crowding(y, np.zeros(2, int)), r"rank has shape \(2,\)"),
        (lambda: hypervolume(y, np.zeros(3)), "give one finite number for each of the 2 objectives"),
        (lambda: hypervolume(y, np.array([1.0, np.inf])), "reference is"),
        (lambda: dominates(np.zeros(3), y), r"a has shape \(3,\)"),
        (lambda: dominates(y, np.zeros((3, 1))), "a has 2 columns and b has 1"),
        (lambda: pareto_front([[1.0, 2.0], [3.0]]), r"y is not an array of numbers \(.*inhomogeneous"),  # type: ignore[arg-type]
        (lambda: ranks(y, "abc"), "violation is not an array of numbers"),  # type: ignore[arg-type]
        (lambda: crowding(y, ["a", "b", "c"]), "rank is not an array of numbers"),  # type: ignore[arg-type]
        (lambda: hypervolume(y, ["a", "b"]), "reference is not an array of numbers"),  # type: ignore[arg-type]
    ):
        with pytest.raises(StudyError, match=message):
            call()
