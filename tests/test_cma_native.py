"""csrc/cma.hpp against its slow twins, on every instruction set, and what it says to wrong arguments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from cma_reference import drawn, updated
from elsewhere import outer, pass_under_every_instruction_set

from jaxhp import Categorical, Float, Int, Ordinal, Space, _kernel
from jaxhp._rng import purpose_key
from jaxhp._types import Floats
from jaxhp.samplers._cma_draw import Layout, layout
from jaxhp.samplers._cma_update import Search, default_popsize, isotropic, shaped, strategy, update

MIXED = Space(
    {
        "c": Categorical(["a", "b", "c"]),
        "x": Float(0.0, 1.0),
        "n": Int(1, 9),
        "two": Categorical(["p", "q"]),
        "y": Float(1e-3, 1.0, log=True, when={"c": ["a", "b"]}),
        "o": Ordinal([1, 2, 4]),
    }
)


def covariance(n: int, seed: int, condition: float = 1e4) -> Floats:
    rng = np.random.default_rng(seed)
    turned, _ = np.linalg.qr(rng.standard_normal((n, n)))
    C: Floats = turned @ np.diag(condition ** (-np.arange(n) / max(n - 1, 1))) @ turned.T
    return 0.5 * (C + C.T)


def compared(ours: Search, theirs: Search) -> None:
    for field in ("mean", "sigma", "p_sigma", "p_c", "C"):
        np.testing.assert_allclose(getattr(ours, field), getattr(theirs, field), rtol=1e-9, atol=1e-11, err_msg=field)
    assert ours.g == theirs.g
    np.testing.assert_allclose(np.sort(ours.D), np.sort(theirs.D), rtol=1e-8)


# -- the update ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize(
    ("n", "popsize", "active"), [(1, 4, True), (2, 6, True), (7, 9, False), (8, 5, True), (17, 12, True), (40, 15, True)]
)
def test_the_update_is_that_of_the_equations(n: int, popsize: int, active: bool, separable: bool) -> None:
    made = strategy(n, popsize, active, separable, 1.4)
    rng = np.random.default_rng(n)
    ours = shaped(made, np.full(n, 0.5), 0.2, covariance(n, n))
    theirs = ours
    for generation in range(12):
        x = theirs.mean + theirs.sigma * rng.standard_normal((popsize, n)) * np.sqrt(np.diag(theirs.C) if not separable else theirs.C)
        foreign = rng.random(popsize) < 0.3 * (generation % 3)
        x[foreign] += 0.3
        ours = update(made, ours, x, foreign if foreign.any() else None)
        theirs = updated(made, theirs, x, foreign)
        compared(ours, theirs)
        if not separable:
            assert np.array_equal(ours.C, ours.C.T)


def test_a_decomposition_waits_for_its_generation() -> None:
    made = strategy(6, 8)._replace(lag=3)
    ours = theirs = isotropic(made, np.full(6, 0.5), 0.2)
    for generation in range(1, 8):
        x = ours.mean + ours.sigma * np.random.default_rng(generation).standard_normal((8, 6))
        before, ours = ours, update(made, ours, x)
        theirs = updated(made, theirs, x, np.zeros(8, bool))
        assert (ours.B is before.B and ours.D is before.D) == (generation % 3 != 0)
        compared(ours, theirs)


def test_the_arguments_of_an_update_are_left_alone() -> None:
    made = strategy(9, 10)
    search = shaped(made, np.full(9, 0.5), 0.2, covariance(9, 0))
    before = [np.copy(field) for field in search]
    x = np.random.default_rng(0).random((10, 9))
    first, again = update(made, search, x), update(made, search, x)
    assert all(np.array_equal(a, b) for a, b in zip(before, search, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("n", [1, 2, 3, 8, 9, 31, 120])
def test_a_covariance_is_decomposed_as_by_lapack(n: int) -> None:
    for condition in (1.0, 1e3, 1e12):
        C = covariance(n, n, condition)
        B, D = _kernel.cma_decompose(C)
        np.testing.assert_allclose(B @ np.diag(D**2) @ B.T, C, rtol=0, atol=1e-13)
        np.testing.assert_allclose(B.T @ B, np.eye(n), rtol=0, atol=1e-13)
        np.testing.assert_allclose(D**2, np.linalg.eigvalsh(C), rtol=0, atol=1e-13)
    lower = np.tril(C) + np.triu(np.full((n, n), 9.0), 1)  # the upper triangle is not read
    np.testing.assert_array_equal(_kernel.cma_decompose(lower)[1], D)
    assert (_kernel.cma_decompose(np.zeros((n, n)))[1] == 1e-8).all()


# -- draws ---------------------------------------------------------------------------------------------------------------


def random_search(made: Layout, rng: np.random.Generator, separable: bool) -> tuple[Search, Floats, Floats]:
    n = len(made.coordinates.numeric)
    constants = strategy(n, 8, separable=separable)
    search = shaped(constants, rng.random(n), 0.3, covariance(n, int(rng.integers(99)), 100.0))
    levels = made.coordinates.levels
    q = rng.random((len(levels), int(levels.max(initial=1)))) * (np.arange(levels.max(initial=1)) < levels[:, None])
    return search, np.where(made.coordinates.bounded, 1.0, 1.0 + rng.random(n)), q / q.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize("space", [MIXED, Space({f"x{j}": Float(0.0, 1.0) for j in range(11)})], ids=["mixed", "floats"])
def test_points_are_drawn_as_one_at_a_time(space: Space, separable: bool) -> None:
    made, rng = layout(space), np.random.default_rng(5)
    seen = set()
    for seed in range(6):
        search, A, q = random_search(made, rng, separable)
        usual = np.zeros(len(made.coordinates.levels), np.int64)
        numbers, first = rng.integers(1, 10**6, 20), rng.integers(0, 5, 20)
        v, x, chosen, attempts = _kernel.cma_draw(made.coordinates, search, A, q, usual, seed, purpose_key("cma_es"), numbers, first)
        for i, number in enumerate(numbers.tolist()):
            expected = drawn(made, search, A, q, seed, number, int(first[i]))
            np.testing.assert_allclose(v[i], expected[0], rtol=0, atol=1e-12)
            np.testing.assert_allclose(x[i], expected[1], rtol=0, atol=1e-12)
            assert (chosen[i].tolist(), int(attempts[i])) == (expected[2].tolist(), expected[3])
        seen |= set(attempts.tolist())
        alone = _kernel.cma_draw(made.coordinates, search, A, q, usual, seed, purpose_key("cma_es"), numbers[7:8], first[7:8])
        assert np.array_equal(alone[0][0], v[7])
    assert seen == {0, 1, 2, 3, 4}


# -- at the door ---------------------------------------------------------------------------------------------------------


def test_the_kernel_names_what_is_wrong() -> None:
    made = strategy(3, default_popsize(3))
    search, x = isotropic(made, np.full(3, 0.5), 0.2), np.random.default_rng(0).random((7, 3))

    def refused(**changed: Any) -> None:
        _kernel.cma_update(**{"made": made, "search": search, "x": x, "foreign": None, "due": True} | changed)

    refused()  # nothing is wrong yet
    with pytest.raises(ValueError, match=r"x: expected C-contiguous float64 \(7, 3\), got shape \(6, 3\)"):
        refused(x=x[:6])
    with pytest.raises(ValueError, match="C: expected finite numbers"):
        refused(x=np.full((7, 3), math.nan))
    with pytest.raises(ValueError, match=r"search\.D: expected .*\(3,\)"):
        refused(search=search._replace(D=np.ones(2)))
    with pytest.raises(ValueError, match=r"foreign: expected C-contiguous bool_ \(7,\)"):
        refused(foreign=np.zeros(3, bool))
    with pytest.raises(ValueError, match="another variant"):
        refused(search=isotropic(strategy(3, 7, separable=True), np.full(3, 0.5), 0.2))
    with pytest.raises(TypeError, match="made: expected its 13 fields"):
        refused(made=())
    with pytest.raises(ValueError, match=r"made\.mu: expected an int from 0 to 7"):
        refused(made=made._replace(mu=8))
    with pytest.raises(ValueError, match=r"C: expected .*shape \(2, 3\)"):
        _kernel.cma_decompose(np.ones((2, 3)))
    at = layout(MIXED).coordinates
    wide = isotropic(strategy(4, 8), np.full(4, 0.5), 0.2)
    q, usual, numbers = np.full((2, 3), 0.3), np.zeros(2, np.int64), np.arange(3)
    with pytest.raises(ValueError, match="each dim from 0 to 6 once, got 1"):
        _kernel.cma_draw(at._replace(numeric=np.array([1, 1, 2, 4])), wide, np.ones(4), q, usual, 0, 0, numbers, None)
    with pytest.raises(ValueError, match=r"levels\[0\] = 4: expected 1 to the width of q, 3"):
        _kernel.cma_draw(at._replace(levels=np.array([4, 2])), wide, np.ones(4), q, usual, 0, 0, numbers, None)
    with pytest.raises(ValueError, match=r"attempts: expected .*\(3,\)"):
        _kernel.cma_draw(at, wide, np.ones(4), q, usual, 0, 0, numbers, np.zeros(2, np.int64))


@pytest.mark.slow
@outer
def test_every_instruction_set_passes_these_tests() -> None:
    pass_under_every_instruction_set(__file__)
