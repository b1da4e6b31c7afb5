"""tpe(): densities against a slow twin, splits and weights against their formulas, and what it finds, keeps and refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tpe_reference
from elsewhere import outer, pass_under_every_instruction_set
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxhp
from jaxhp import Categorical, Float, Int, Ordinal, Sampler, Space, Study, _kernel
from jaxhp._types import Floats, Outcome, Problem, Status, Trials
from jaxhp.errors import SamplerError
from jaxhp.samplers._parzen import Bandwidths, improvement_weights, rank_weights
from jaxhp.samplers._sobol import startup_size
from jaxhp.samplers._split import MOST_BETTER, Contenders, OneMetric, SeveralMetrics
from jaxhp.samplers._tpe import MOST_KERNELS, _thinned
from jaxhp.samplers._volumes import POINTS, alone, count, dominated, greedily
from jaxhp.testing import rows, spaces

MIXED = Space(
    {
        "x": Float(0.0, 1.0),
        "opt": Categorical(["a", "b", "c"]),
        "y": Float(1e-4, 1.0, log=True, when={"opt": "a"}),
        "n": Int(1, 40, log=True),
        "wide": Int(1, 5000, log=True, when={"opt": ["b", "c"]}),
        "steps": Float(0.0, 1.0, step=0.001),
        "o": Ordinal([1, 2, 3, 4]),
        "many": Categorical(list(range(70)), when={"opt": ["a", "b"]}),
        "beta": Int(0, 9, when={"opt": "c"}),
    }
)


def problem_of(space: Space, *outcomes: Outcome, stochastic: bool = False) -> Problem:
    return Problem(space, space.dims, outcomes or (Outcome("y"),), stochastic)


def drawn(space: Space, rng: np.random.Generator, n: int) -> Floats:
    return space.snap(rng.random((n, space.d)))


def numbered(*n: int) -> np.ndarray:
    return np.array(n, dtype=np.int64)


# ---- densities


@pytest.mark.parametrize("n", [0, 1, 2, 7, 8, 33])
@pytest.mark.parametrize("space", [MIXED, Space({"x": Float(0.0, 1.0)}), Space({"n": Int(1, 9), "c": Categorical(["x", "y"])})])
def test_log_densities_are_those_of_the_slow_twin(space: Space, n: int) -> None:
    rng = np.random.default_rng(n)
    u, at = drawn(space, rng, max(n, 1)), drawn(space, rng, 12)
    picked, weights = rng.permutation(n), rng.uniform(0.1, 3.0, n)
    for bandwidth in (rng.uniform(0.02, 0.9, space.d), np.full(space.d, 0.1), np.full(space.d, 0.999)):
        got = _kernel.log_density(space.encoded, u, (picked, weights, 0.7, bandwidth), at)
        expected = tpe_reference.log_density(space.dims, u[picked], weights, 0.7, bandwidth, at)
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-10)


@settings(derandomize=True, max_examples=25, deadline=None)
@given(space=spaces(), seed=st.integers(0, 99))
def test_log_densities_are_those_of_the_slow_twin_in_any_space(space: Space, seed: int) -> None:
    rng = np.random.default_rng(seed)
    u, at = drawn(space, rng, 9), drawn(space, rng, 9)
    weights, bandwidth = rng.uniform(0.1, 3.0, 9), rng.uniform(0.05, 0.9, space.d)
    got = _kernel.log_density(space.encoded, u, (np.arange(9), weights, 1.0, bandwidth), at)
    expected = tpe_reference.log_density(space.dims, u, weights, 1.0, bandwidth, at)
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)  # grids of millions of levels lose a digit


def test_narrow_kernels_and_far_points_keep_their_digits() -> None:
    space = Space({"x": Float(0.0, 1.0), "n": Int(0, 999_999)})
    u = space.snap(np.array([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5]]))
    at = space.snap(np.array([[0.0, 0.0], [1e-3, 1e-3], [0.02, 0.98], [0.5, 0.5], [1.0, 1.0]]))
    for h in (1e-3, 0.05, 1.0):
        weights, bandwidth = np.array([1.0, 1e-6, 50.0]), np.full(2, h)
        got = _kernel.log_density(space.encoded, u, (np.arange(3), weights, 1.0, bandwidth), at)
        expected = tpe_reference.log_density(space.dims, u, weights, 1.0, bandwidth, at)
        np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_densities_integrate_to_one_over_a_conditional_space() -> None:
    space = Space({"c": Categorical(["a", "b"]), "x": Float(0.0, 1.0, when={"c": "a"}), "n": Int(1, 7, when={"c": "b"})})
    rng = np.random.default_rng(0)
    u = drawn(space, rng, 12)
    estimator = np.arange(12), rng.uniform(0.5, 2.0, 12), 1.0, np.array([0.3, 0.15, 0.2])
    line = np.linspace(0.0, 1.0, 4001)
    first = np.stack([np.full_like(line, 0.25), line, np.full_like(line, np.nan)], axis=1)
    second = space.snap(np.array([[0.75, 0.5, (i + 0.5) / 7] for i in range(7)]))
    on_a = np.exp(_kernel.log_density(space.encoded, u, estimator, first))
    on_b = np.exp(_kernel.log_density(space.encoded, u, estimator, second))
    assert abs(np.trapezoid(on_a, line) + on_b.sum() - 1.0) < 1e-6


def test_proposals_are_ranked_by_the_ratio_and_drawn_from_the_better_density() -> None:
    rng = np.random.default_rng(3)
    u = drawn(MIXED, rng, 30)
    h = np.full(MIXED.d, 0.2)
    better, worse = (np.arange(6), rng.uniform(0.5, 2.0, 6), 1.0, h), (np.arange(6, 30), np.ones(24), 1.0, h)
    for share in (0.0, 0.3):
        points, scores = _kernel.propose(MIXED.encoded, u, ((better, worse, share),), 50, 1, 2, 3)
        gap = _kernel.log_density(MIXED.encoded, u, worse, points) - _kernel.log_density(MIXED.encoded, u, better, points)
        np.testing.assert_allclose(scores, -np.log(share + (1.0 - share) * np.exp(gap)), rtol=1e-9, atol=1e-9)
        assert (np.diff(scores) <= 0.0).all()
        assert np.array_equal(MIXED.snap(np.nan_to_num(points, nan=0.5)), points, equal_nan=True)
        again = _kernel.propose(MIXED.encoded, u, ((better, worse, share),), 50, 1, 2, 3)
        assert np.array_equal(points, again[0], equal_nan=True)
        assert not np.array_equal(points, _kernel.propose(MIXED.encoded, u, ((better, worse, share),), 50, 1, 2, 4)[0], equal_nan=True)

    line = Space({"x": Float(0.0, 1.0), "c": Categorical(["a", "b", "c"])})
    at = line.snap(np.array([[0.9, 0.5]]))
    only = np.arange(1), np.ones(1), 0.25, np.array([0.2, 0.3])
    points, _ = _kernel.propose(line.encoded, at, ((only, (np.arange(0), np.ones(0), 1.0, np.full(2, 0.5)), 0.0),), 20_000, 1, 2, 3)
    for level, expected in enumerate((0.8 * 0.15 + 0.2 / 3, 0.8 * 0.7 + 0.2 / 3, 0.8 * 0.15 + 0.2 / 3)):
        assert abs((points[:, 1] == (level + 0.5) / 3).mean() - expected) < 0.015
    below = 0.8 * tpe_reference.mass(0, 0.8, 0.9, 0.2) / tpe_reference.mass(0, 1, 0.9, 0.2)
    below += 0.2 * tpe_reference.mass(0, 0.8, 0.5, 1.0) / tpe_reference.mass(0, 1, 0.5, 1.0)
    assert abs((points[:, 0] < 0.8).mean() - below) < 0.015


def test_the_kernel_names_what_is_wrong() -> None:
    u, h = drawn(MIXED, np.random.default_rng(0), 4), np.full(MIXED.d, 0.1)
    good = np.arange(4), np.ones(4), 1.0, h
    cases = {
        "rows.*-1.*expected an index of 4 points": (numbered(0, 1, 2, -1), *good[1:]),
        "rows.*4.*expected an index of 4 points": (numbered(0, 1, 2, 4), *good[1:]),
        r"weights\[1\] = 0.0.*positive": (good[0], np.array([1.0, 0.0, 1.0, 1.0]), *good[2:]),
        "prior = 0.0.*positive": (*good[:2], 0.0, h),
        r"bandwidth\[0\] = 0.0.*above 0": (*good[:3], np.zeros(MIXED.d)),
        "weights: expected C-contiguous float64": (good[0], np.ones(3), *good[2:]),
    }
    for message, estimator in cases.items():
        with pytest.raises(ValueError, match=message):
            _kernel.log_density(MIXED.encoded, u, estimator, u)
    with pytest.raises(ValueError, match=r"at\[0\]\[0\] = 2\.6.*in \[0, 1\]"):
        _kernel.log_density(MIXED.encoded, u, good, u + 2.0)
    with pytest.raises(TypeError, match=r"expected \(rows, weights, prior, bandwidth\)"):
        _kernel.log_density(MIXED.encoded, u, (), u)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"ratios\[0\]: share = 1.0"):
        _kernel.propose(MIXED.encoded, u, ((good, good, 1.0),), 4, 0, 0, 0)
    with pytest.raises(ValueError, match="ratios: expected 1 to 64, got 0"):
        _kernel.propose(MIXED.encoded, u, (), 4, 0, 0, 0)
    with pytest.raises(ValueError, match="candidates: expected at least 1"):
        _kernel.propose(MIXED.encoded, u, ((good, good, 0.0),), 0, 0, 0, 0)


# ---- weights and bandwidths


def test_weights_and_bandwidths_are_those_of_the_formulas() -> None:
    for k in (1, 2, 10, 25):
        weights = rank_weights(k)
        expected = np.array([math.log(k + 1) - math.log(i) for i in range(1, k + 1)])
        np.testing.assert_allclose(weights, expected / expected.mean())
    np.testing.assert_allclose(improvement_weights([1.0, 2.0, 4.0], 5.0), np.array([4.0, 3.0, 1.0]) / (8.0 / 3.0))
    np.testing.assert_array_equal(improvement_weights([1.0, 1.0], 1.0), np.ones(2))
    assert np.isfinite(improvement_weights([-1.7e308, 0.0], 1.7e308)).all()
    space = Space({"x": Float(0.0, 1.0), "c": Categorical(["a", "b", "c", "d"]), "n": Int(1, 5)})
    np.testing.assert_allclose(Bandwidths(space.dims, 0.1)(16), [0.1 * 16 ** (-1 / 7), 3 / 20, 0.1 * 16 ** (-1 / 7)])
    own, prior = (1 + 1 / 16) / (1 + 4 / 16), (1 / 16) / (1 + 4 / 16)  # one row and a prior of 1 / n on each of four choices
    np.testing.assert_allclose([own, 3 * prior], [1 - 3 / 20, 3 / 20])


# ---- splits


def told(results: OneMetric | SeveralMetrics, y: Floats, status: list[Status] | None = None) -> None:
    for row, values in enumerate(np.atleast_2d(y.T).T):
        results.tell(row, row, Status.COMPLETE if status is None else status[row], math.nan, np.atleast_1d(values))


def test_the_best_results_are_the_better_ones_and_failures_never_are() -> None:
    y = np.array([3.0, math.nan, 1.0, 2.0, 1.0, math.inf, 0.5])
    results = OneMetric()
    told(results, y, [Status.FAILED if not math.isfinite(v) else Status.COMPLETE for v in y])
    for k in range(8):
        split = results.split(lambda n, k=k: k)
        assert split.better.tolist() == tpe_reference.better(y.tolist(), k)
    assert results.split(lambda n: 2).values == [0.5, 1.0, 1.0]
    results.tell(6, 6, Status.COMPLETE, math.nan, np.array([9.0]))  # told again: the last row wins
    assert results.split(lambda n: 2).better.tolist() == [2, 4]
    assert results.n == 7


def test_a_stopped_trial_counts_with_its_value_brought_to_the_end() -> None:
    results = OneMetric()
    for row, (early, late) in enumerate([(5.0, 1.0), (6.0, 2.0), (7.0, 3.0)]):
        results.tell(row, row, Status.REPORTED, 1.0, np.array([early]))
        results.tell(row, row, Status.COMPLETE, 9.0, np.array([late]))
    results.tell(3, 3, Status.REPORTED, 1.0, np.array([5.5]))
    results.tell(3, 3, Status.STOPPED, 1.0, np.array([5.5]))  # would have come to 1.5
    split = results.split(lambda n: 2)
    assert split.better.tolist() == [0, 3]
    assert split.values == [1.0, 1.5, 2.0]
    results.tell(3, 3, Status.COMPLETE, 9.0, np.array([0.5]))  # it went on after all
    assert results.split(lambda n: 2).better.tolist() == [3, 0]


def test_several_objectives_are_split_by_fronts_and_then_by_what_rows_add_to_the_volume() -> None:
    y = np.array([[0.0, 4.0], [1.0, 3.0], [4.0, 0.0], [2.0, 2.0], [5.0, 5.0], [0.5, math.nan], [2.0, 4.0]])
    results = SeveralMetrics((Outcome("a"), Outcome("b")))
    told(results, y)
    assert results.split(lambda n: 1).better.tolist() == [3]  # of the first front, that which dominates most
    assert sorted(results.split(lambda n: 4).better.tolist()) == [0, 1, 2, 3]
    assert sorted(results.split(lambda n: 5).better.tolist()) == [0, 1, 2, 3, 6]
    split = results.split(lambda n: 7)
    assert sorted(split.better.tolist()) == [0, 1, 2, 3, 4, 6]
    assert set(split.better.tolist()[4:]) == {4, 6}  # dominated ones have no volume of their own
    assert split.values[4:] == [0.0, 0.0, 0.0]
    assert split.values == sorted(split.values)


@pytest.mark.parametrize("m", [2, 3])
def test_volumes_counted_on_points_are_near_the_exact_ones(m: int) -> None:
    y = np.abs(np.random.default_rng(m).normal(size=(40, m))) * np.array([1.0, 100.0, 1e6])[:m]
    y = y[jaxhp.pareto_front(y)]
    low, high = y.min(axis=0), y.max(axis=0)
    z = (y - low) / (high - low) / 1.1
    bits = dominated(y)
    alone_exactly = np.array([tpe_reference.volume(z) - tpe_reference.volume(np.delete(z, i, axis=0)) for i in range(len(z))])
    np.testing.assert_allclose(count(bits) / POINTS, (1.0 - z).prod(axis=1), atol=5e-3)
    np.testing.assert_allclose(alone(bits) / POINTS, alone_exactly, atol=5e-3)
    chosen = list(greedily(bits))
    assert sorted(chosen) == list(range(len(y)))
    for k in range(1, 6):
        best = max(tpe_reference.volume(z[[*chosen[: k - 1], i]]) for i in set(range(len(z))) - set(chosen[: k - 1]))
        assert tpe_reference.volume(z[chosen[:k]]) > best - 5e-3


@settings(derandomize=True, max_examples=20, deadline=None)
@given(st.integers(0, 999), st.integers(2, 3), st.integers(1, 30))
def test_rows_that_many_others_dominate_are_left_out_without_a_change(seed: int, m: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 12, (60 * m, m)).astype(np.float64) * rng.choice([1.0, math.nan], (60 * m, 1), p=[0.9, 0.1])
    contenders = Contenders()
    for n in sorted(rng.integers(1, len(y), steps).tolist()):  # told little by little
        for k in (1, min(n, MOST_BETTER)):
            places, front = contenders.fronts(y[:n], k)
            done = np.flatnonzero(~np.isnan(y[:n, 0]))
            exactly = jaxhp.pareto.ranks(y[done])
            needed = next((r for r in range(int(exactly.max(initial=-1)) + 1) if (exactly <= r).sum() >= k), int(exactly.max(initial=-1)))
            for rank in range(needed + 1):
                assert sorted(places[front == rank].tolist()) == done[exactly == rank].tolist()


def test_of_very_many_worse_rows_the_newest_count_and_of_the_others_an_even_part() -> None:
    rows_, weights = _thinned(np.arange(MOST_KERNELS))
    assert rows_.tolist() == list(range(MOST_KERNELS))
    assert (weights == 1.0).all()
    n = 3 * MOST_KERNELS + 7
    picked, weights = _thinned(np.arange(n))
    assert len(np.unique(picked)) == len(picked) == MOST_KERNELS
    newest = MOST_KERNELS // 4
    assert picked[-newest:].tolist() == list(range(n - newest, n))
    assert abs(weights.sum() - n) < 1e-6
    even = np.diff(picked[:-newest])
    assert even.max() - even.min() <= 1


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-1, 2)), min_size=1, max_size=20), st.integers(1, 6))
def test_constraints_lengthen_the_better_ones_until_enough_are_feasible(told_rows: list[tuple[int, int]], k: int) -> None:
    y = np.array(told_rows, dtype=np.float64)
    results = SeveralMetrics((Outcome("loss"), Outcome("memory", threshold=0.0)))
    told(results, y)
    split = results.split(lambda n: k)
    assert split.better.tolist() == tpe_reference.constrained(y[:, 0].tolist(), (y[:, 1] <= 0).tolist(), k)
    meets = y[:, 1] <= 0
    if meets.all():
        assert not split.met
    elif meets.any():
        assert [rows.tolist() for rows in split.met[0]] == [np.flatnonzero(meets).tolist(), np.flatnonzero(~meets).tolist()]
    elif len(y) > 1:
        assert split.met[0][0].tolist() == [int(y[:, 1].argmin())]


def test_a_maximised_constraint_is_met_above_its_threshold() -> None:
    results = SeveralMetrics((Outcome("loss"), Outcome("accuracy", "maximize", threshold=0.9)))
    told(results, np.array([[1.0, -0.95], [2.0, -0.5]]))  # y is minimised
    assert results.split(lambda n: 1).met[0][0].tolist() == [0]


# ---- the sampler


def history(space: Space, y: Floats, seed: int = 0) -> Trials:
    u = drawn(space, np.random.default_rng(seed), len(y))
    return rows(np.arange(len(y)), u, y, Status.COMPLETE)


def suggested(sampler: Sampler, problem: Problem, trials: Trials, k: int = 1, seed: int = 0) -> Floats:
    first = int(trials.number.max(initial=-1)) + 1
    return sampler.ask(sampler.tell(sampler.init(problem, seed), trials), np.arange(first, first + k))


def test_the_start_is_the_defaults_and_sobol_points_until_as_many_are_told() -> None:
    space = Space({f"x{i}": Float(0.0, 1.0) for i in range(5)})
    study, design = (Study(space, sampler=s, seed=4) for s in (jaxhp.tpe(), jaxhp.samplers.startup()))
    first = startup_size(5)
    for _ in range(first):
        trial = study.ask()
        assert trial.params == design.ask().params
        study.tell(trial, trial["x0"])
    assert study.ask().params != design.ask().params


def test_a_suggestion_is_the_candidate_of_the_largest_ratio() -> None:
    n = 30
    trials = history(MIXED, np.random.default_rng(1).random((n, 1)))
    problem = problem_of(MIXED)
    u = suggested(jaxhp.tpe(candidates=200, weights="rank"), problem, trials)[0]
    order = np.argsort(trials.y[:, 0])
    bandwidths = Bandwidths(MIXED.dims, 0.1)
    better = order[:3].astype(np.int64), rank_weights(3), 1.0, bandwidths(3)
    worse = np.sort(order[3:]).astype(np.int64), np.ones(n - 3), 1.0, bandwidths(n - 3)

    def ratio(at: Floats) -> Floats:
        return _kernel.log_density(MIXED.encoded, trials.u, better, at) - _kernel.log_density(MIXED.encoded, trials.u, worse, at)

    found = float(ratio(u[None])[0])
    assert found >= np.quantile(ratio(drawn(MIXED, np.random.default_rng(2), 500)), 0.99)
    few = suggested(jaxhp.tpe(candidates=1, weights="rank"), problem, trials)
    assert found > float(ratio(few)[0])


def test_pending_trials_push_a_batch_apart() -> None:
    space = Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})
    u = drawn(space, np.random.default_rng(0), 60)
    y = ((u - 0.5) ** 2).sum(axis=1, keepdims=True)
    told_rows = rows(np.arange(60), u, y, Status.COMPLETE)
    batch = suggested(jaxhp.tpe(), problem_of(space), told_rows, k=16)
    sampler = jaxhp.tpe()
    state = sampler.tell(sampler.init(problem_of(space), 0), told_rows)
    alone = np.concatenate([sampler.ask(state, numbered(n)) for n in range(60, 76)])
    assert batch.std() > 1.2 * alone.std()


def test_no_configuration_is_asked_twice_until_all_were_and_noisy_ones_may_be() -> None:
    space = Space({"a": Int(1, 5), "b": Categorical(["x", "y", "z"])})
    study = Study(space, sampler=jaxhp.tpe(), seed=1)
    asked = []
    for _ in range(15):
        trial = study.ask()
        asked.append(tuple(trial.params.items()))
        study.tell(trial, abs(trial["a"] - 2) + (trial["b"] != "y"))
    assert len(set(asked)) >= 14  # random points look for the last ones
    best = Study(space, sampler=jaxhp.tpe(), seed=1, stochastic=True)
    best.optimize(lambda t: abs(t["a"] - 2) + (t["b"] != "y"), trials=40)
    assert len({tuple(t.params.items()) for t in best.finished}) < 40


def test_suggestions_meet_the_constraints_of_the_space() -> None:
    space = Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)}).where("x + y <= 0.5")
    study = Study(space, sampler=jaxhp.tpe(), seed=0).optimize(lambda t: (t["x"] - 0.4) ** 2 + (t["y"] - 0.4) ** 2, trials=60)
    assert study.best.value < 0.05  # 0.045 at (0.25, 0.25)


def test_the_right_branch_and_its_parameters_are_found() -> None:
    space = Space(
        {
            "model": Categorical(["net", "forest", "svm"]),
            "lr": Float(1e-5, 1.0, log=True, when={"model": "net"}),
            "depth": Int(1, 20, when={"model": "forest"}),
            "c": Float(1e-3, 1e3, log=True, when={"model": "svm"}),
        }
    )

    def loss(t: jaxhp.Trial) -> float:
        if t["model"] == "net":
            return (math.log10(t["lr"]) + 2.5) ** 2 / 10
        return 0.3 + (abs(t["depth"] - 7) / 20 if t["model"] == "forest" else abs(math.log10(t["c"])) / 3)

    bests = [Study(space, sampler=jaxhp.tpe(), seed=seed).optimize(loss, trials=60).best for seed in range(5)]
    assert sum(b.value < 0.01 and b.params["model"] == "net" for b in bests) >= 4


def test_it_beats_random_search_on_a_smooth_function() -> None:
    space = Space({f"x{i}": Float(0.0, 1.0) for i in range(6)})

    def best(sampler: Sampler, seed: int) -> float:
        study = Study(space, sampler=sampler, seed=seed)
        return study.optimize(lambda t: sum((t[f"x{i}"] - 0.2 - 0.1 * i) ** 2 for i in range(6)), trials=80).best.value

    for variant in (jaxhp.tpe(), jaxhp.tpe("sqrt"), jaxhp.tpe(weights="rank"), jaxhp.tpe(weights="uniform")):
        wins = sum(best(variant, seed) < best(jaxhp.random_search(), seed) for seed in range(4))
        assert wins == 4, variant.name


def test_a_constraint_is_learned() -> None:
    space = Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})
    shares = []
    for seed in range(3):
        study = Study(space, sampler=jaxhp.tpe(), metric="loss", constraints={"memory": "<= 0.2"}, seed=seed)
        study.optimize(lambda t: {"loss": (t["x"] - 0.6) ** 2, "memory": t["y"]}, trials=80)
        assert study.best.params["y"] <= 0.2
        assert study.best.value < 1e-3
        shares.append(np.mean([t.params["y"] <= 0.2 for t in study.finished[40:]]))
    assert np.mean(shares) > 0.5  # 0.2 of random points


def test_the_best_feasible_point_may_lie_on_the_border() -> None:
    space = Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})
    for seed in range(3):
        study = Study(space, sampler=jaxhp.tpe(), metric="loss", constraints={"memory": "<= 0.3"}, seed=seed)
        study.optimize(lambda t: {"loss": (t["x"] - 0.6) ** 2 + (t["y"] - 0.5) ** 2, "memory": t["x"]}, trials=80)
        assert study.best.params["x"] <= 0.3
        assert study.best.value < 0.11  # 0.09 there


def test_a_front_of_two_objectives_is_found() -> None:
    space = Space({f"x{i}": Float(0.0, 1.0) for i in range(4)})
    reference = np.array([1.1, 1.1])

    def volume(sampler: Sampler, seed: int) -> float:
        study = Study(space, sampler=sampler, directions={"a": "minimize", "b": "minimize"}, seed=seed)

        def objective(t: jaxhp.Trial) -> dict[str, float]:
            off = sum(t[f"x{i}"] ** 2 for i in range(1, 4))
            return {"a": t["x0"] ** 2 + off, "b": (t["x0"] - 1) ** 2 + off}

        study.optimize(objective, trials=100)
        return jaxhp.pareto.hypervolume(np.array([[t.values["a"], t.values["b"]] for t in study.pareto]), reference)

    assert all(volume(jaxhp.tpe(), seed) > 1.1 * volume(jaxhp.random_search(), seed) for seed in range(3))


def test_rows_of_another_study_inform_it() -> None:
    space = Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})
    u = drawn(space, np.random.default_rng(0), 50)
    foreign = rows(-1 - np.arange(50), u, ((u - 0.7) ** 2).sum(axis=1, keepdims=True), Status.COMPLETE)
    points = suggested(jaxhp.tpe(), problem_of(space), foreign, k=8)
    assert np.abs(points - 0.7).mean() < 0.2


def test_it_says_what_is_wrong_with_an_argument() -> None:
    for arguments, message in [
        ({"gamma": "cubic"}, r"tpe\(gamma='cubic'\): expected one of linear, sqrt"),
        ({"weights": "old"}, r"tpe\(weights='old'\): expected one of EI, rank, uniform"),
        ({"candidates": 0}, r"tpe\(candidates=0\): expected an integer from 1 to 4096"),
        ({"candidates": True}, "expected an integer"),
        ({"bandwidth": 0.0}, r"tpe\(bandwidth=0.0\): expected a number above 0 and at most 1"),
        ({"prior_weight": math.nan}, r"tpe\(prior_weight=nan\): expected a number above 0"),
    ]:
        with pytest.raises(SamplerError, match=message):
            jaxhp.tpe(**arguments)
    space = Space({"x": Float(0.0, 1.0)})
    with pytest.raises(SamplerError, match="constraints alone"):
        jaxhp.tpe().init(problem_of(space, Outcome("c", threshold=1.0)), 0)
    many = [Outcome(f"c{i}", threshold=1.0) for i in range(64)]
    with pytest.raises(SamplerError, match="up to 63 constraints, and this study has 64"):
        jaxhp.tpe().init(problem_of(space, Outcome("y"), *many), 0)
    assert jaxhp.tpe().name == "tpe()"
    assert jaxhp.tpe("sqrt", candidates=8, bandwidth=0.2).name == "tpe('sqrt', candidates=8, bandwidth=0.2)"


@pytest.mark.slow
@outer
def test_every_instruction_set_has_these_densities() -> None:
    pass_under_every_instruction_set(__file__, only="densities or proposals or kernel")
