"""The Gaussian-process surrogate against slow twins, scikit-learn, SciPy and finite differences."""

from __future__ import annotations

import math
import os
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import gp_reference as twin
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, optimize
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from jaxhp._types import Floats, Posterior
from jaxhp.errors import SamplerError
from jaxhp.gp import _kernels, _priors, append, condition, factor, fit, leave_one_out, objective, predict, sample, warm_up

ROOT = Path(__file__).resolve().parents[1]


def problem(n: int, d: int, categorical: int = 0, seed: int = 0, noise: float = 0.1) -> SimpleNamespace:
    """n rows of a smooth function in d dims, the last `categorical` of them with three levels."""
    draw = np.random.default_rng([seed, n, d, categorical])
    X = draw.random((n, d))
    X[:, d - categorical :] = (draw.integers(0, 3, (n, categorical)) + 0.5) / 3.0
    z = np.sin(4.0 * X @ draw.normal(size=d)) + noise * draw.normal(size=n)
    z = (z - z.mean()) / z.std() if n > 1 else np.array([0.7])
    kind = np.array([0] * (d - categorical) + [1] * categorical, np.int8)
    theta = np.exp(draw.normal(scale=0.5, size=d + 2))
    theta[-2:] = (draw.uniform(0.3, 3.0), draw.uniform(0.001, 0.1))
    return SimpleNamespace(X=X, z=z, extra=draw.uniform(0.0, 0.1, n), kind=kind, theta=theta, Q=draw.random((5, d)))


def solved(p: SimpleNamespace, **more: int) -> Posterior:
    posterior = factor(p.X, p.z, p.extra, p.kind, p.theta, **more)
    assert posterior is not None
    return posterior


SHAPES = [(1, 1, 0), (2, 3, 1), (7, 2, 0), (8, 2, 2), (9, 4, 1), (16, 1, 1), (31, 5, 2), (64, 10, 3), (101, 6, 0)]


# the posterior


@pytest.mark.parametrize(("n", "d", "categorical"), SHAPES)
def test_the_factor_is_the_inverse_of_the_cholesky_factor(n: int, d: int, categorical: int) -> None:
    p = problem(n, d, categorical)
    posterior = solved(p)
    L = np.linalg.cholesky(twin.covariance(p.X, p.extra, p.kind, p.theta))
    np.testing.assert_allclose(posterior.Linv[:n, :n], np.linalg.inv(L), rtol=1e-9, atol=1e-9)
    assert (posterior.Linv[np.triu_indices(posterior.noise.size, 1)] == 0.0).all()
    K = twin.covariance(p.X, p.extra, p.kind, p.theta)
    assert posterior.mean == pytest.approx(twin.gls_mean(K, p.z), abs=1e-10)
    np.testing.assert_allclose(posterior.alpha[:n], np.linalg.solve(K, p.z - posterior.mean), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("n", "d", "categorical"), SHAPES)
def test_predictions_equal_the_textbook_formula(n: int, d: int, categorical: int) -> None:
    p = problem(n, d, categorical)
    Q = np.concatenate((p.Q, p.X[:2]))
    mean, variance = predict(solved(p), Q)
    expected, cov = twin.predict(p.X, p.z, p.extra, p.kind, p.theta, Q)
    np.testing.assert_allclose(mean, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(variance, np.diag(cov), rtol=1e-9, atol=1e-9)


def test_many_queries_equal_one_at_a_time() -> None:
    p = problem(20, 3, 1)
    Q = np.random.default_rng(1).random((300, 3))
    mean, variance = predict(solved(p), Q)
    singles = [predict(solved(p), q[None]) for q in Q]
    np.testing.assert_allclose(mean, [m[0] for m, _ in singles], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(variance, [v[0] for _, v in singles], rtol=1e-12, atol=1e-13)
    empty_mean, empty_variance = predict(solved(p), Q[:0])
    assert empty_mean.shape == empty_variance.shape == (0,)


@pytest.mark.parametrize(("n", "d"), [(1, 1), (5, 2), (40, 6), (90, 10)])
def test_posterior_and_likelihood_agree_with_scikit_learn(n: int, d: int) -> None:
    p = problem(n, d)
    noise = p.theta[-1] + p.extra
    matern = ConstantKernel(p.theta[-2], "fixed") * Matern(p.theta[:-2], "fixed", nu=2.5)
    with_mean = GaussianProcessRegressor(matern + ConstantKernel(1.0, "fixed"), alpha=noise, optimizer=None).fit(p.X, p.z)
    nothing = np.zeros((d + 2, 6))
    nothing[:, 4:] = (-20.0, 20.0)
    value, _ = objective(p.X, p.z, p.extra, p.kind, p.theta, nothing)
    assert value == pytest.approx(-with_mean.log_marginal_likelihood_value_, rel=1e-8, abs=1e-8)
    posterior = solved(p)
    mean, variance = predict(posterior, p.Q)
    np.testing.assert_allclose(mean, with_mean.predict(p.Q), rtol=1e-8, atol=1e-8)
    plug_in = GaussianProcessRegressor(matern, alpha=noise, optimizer=None).fit(p.X, p.z - posterior.mean)
    expected, spread = plug_in.predict(p.Q, return_std=True)
    np.testing.assert_allclose(mean, expected + posterior.mean, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(variance, spread**2, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("n", "d", "categorical"), SHAPES[1:])
def test_an_appended_posterior_equals_a_fresh_one(n: int, d: int, categorical: int) -> None:
    p = problem(n, d, categorical)
    first = max(1, n // 2)
    grown: Posterior | None = factor(p.X[:first], p.z[:first], p.extra[:first], p.kind, p.theta)
    for i in range(first, n):
        assert grown is not None
        grown = append(grown, p.X[i], p.extra[i])
    assert grown is not None
    grown, fresh = condition(grown, p.z), solved(p)
    assert grown.n == n
    np.testing.assert_allclose(grown.Linv[:n, :n], fresh.Linv[:n, :n], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(grown.alpha[:n], fresh.alpha[:n], rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(grown.noise[:n], fresh.noise[:n])
    np.testing.assert_array_equal(grown.X[:, :n], p.X.T)
    assert grown.mean == pytest.approx(fresh.mean, abs=1e-11)


def test_an_append_without_a_value_is_the_kriging_believer() -> None:
    p = problem(12, 3, 1)
    posterior = solved(p)
    believed, _ = predict(posterior, p.Q[:1])
    pending = append(posterior, p.Q[0])
    assert pending is not None
    told = condition(pending, np.append(p.z, believed))
    assert told.mean == pytest.approx(pending.mean, abs=1e-12)
    np.testing.assert_allclose(told.alpha[:13], pending.alpha[:13], atol=1e-10)
    mean_before, variance_before = predict(posterior, p.Q[:1])
    mean_after, variance_after = predict(pending, p.Q[:1])
    assert mean_after[0] == pytest.approx(mean_before[0], abs=1e-12)
    assert variance_after[0] < variance_before[0]


def test_an_append_leaves_the_posterior_it_started_from_valid() -> None:
    p = problem(10, 2)
    posterior = solved(p)
    before = predict(posterior, p.Q)
    first = append(posterior, p.Q[0])
    second = append(posterior, p.Q[1])
    assert first is not None and second is not None
    assert condition(second, np.append(p.z, 3.0)).n == 11
    for was, now in zip(before, predict(posterior, p.Q), strict=True):
        np.testing.assert_array_equal(was, now)


def test_capacity_doubles_and_keeps_every_row() -> None:
    p = problem(40, 2)
    posterior = factor(p.X[:1], p.z[:1], p.extra[:1], p.kind, p.theta)
    capacities = []
    for i in range(1, 40):
        assert posterior is not None
        posterior = append(posterior, p.X[i], p.extra[i])
        assert posterior is not None
        capacities.append(posterior.noise.size)
        assert posterior.X.shape == (2, capacities[-1]) and posterior.Linv.shape == (capacities[-1], capacities[-1])
        assert posterior.alpha.size == posterior.row_kind.size == capacities[-1]
    assert sorted(set(capacities)) == [16, 32, 64]
    assert solved(p, capacity=100).noise.size == 128


def test_new_values_change_nothing_that_was_handed_out() -> None:
    p = problem(15, 3)
    posterior = solved(p)
    kept = posterior.alpha.copy()
    other = condition(posterior, 2.0 * p.z + 1.0)
    np.testing.assert_array_equal(posterior.alpha, kept)
    fresh = factor(p.X, 2.0 * p.z + 1.0, p.extra, p.kind, p.theta)
    assert fresh is not None
    np.testing.assert_array_equal(other.alpha, fresh.alpha)
    assert other.mean == fresh.mean


@pytest.mark.parametrize(("n", "d", "categorical"), SHAPES[1:8])
def test_leave_one_out_equals_refitting_without_each_row(n: int, d: int, categorical: int) -> None:
    p = problem(n, d, categorical)
    mean, variance = leave_one_out(solved(p), p.z)
    expected_mean, expected_variance = twin.leave_one_out(p.X, p.z, p.extra, p.kind, p.theta)
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(variance, expected_variance, rtol=1e-9, atol=1e-9)


def test_leaving_out_the_only_row_predicts_the_prior() -> None:
    p = problem(1, 2)
    mean, variance = leave_one_out(solved(p), p.z)
    assert mean[0] == pytest.approx(0.0, abs=1e-12)
    assert variance[0] == pytest.approx(p.theta[-2] + p.theta[-1] + p.extra[0])


def test_samples_have_the_joint_mean_and_covariance() -> None:
    p = problem(12, 2, 1)
    posterior = solved(p)
    mean, cov = twin.predict(p.X, p.z, p.extra, p.kind, p.theta, p.Q)
    np.testing.assert_allclose(sample(posterior, p.Q, np.zeros((1, 5)))[0], mean, atol=1e-10)
    columns = (sample(posterior, p.Q, np.eye(5)) - mean).T  # the Cholesky factor of the covariance
    np.testing.assert_allclose(columns @ columns.T, cov, atol=1e-9)
    np.testing.assert_allclose(columns, np.tril(columns), atol=1e-12)


def test_samples_at_repeated_and_observed_points_are_finite_and_agree() -> None:
    p = problem(12, 2)
    p.theta[-1], p.extra = 1e-6, np.zeros(12)
    Q = np.concatenate((p.X, p.X, p.Q[:1], p.Q[:1]))
    draws = sample(solved(p), Q, np.random.default_rng(0).normal(size=(4, len(Q))))
    assert np.isfinite(draws).all()
    np.testing.assert_allclose(draws[:, :12], draws[:, 12:24], atol=1e-2)
    np.testing.assert_allclose(draws[:, 24], draws[:, 25], atol=1e-2)


# the objective and its minimum


@pytest.mark.parametrize(("n", "d", "categorical"), SHAPES)
def test_the_objective_is_the_log_density_and_its_gradient_the_dense_one(n: int, d: int, categorical: int) -> None:
    p = problem(n, d, categorical)
    table = _priors.penalties(d, p.kind)
    value, gradient = objective(p.X, p.z, p.extra, p.kind, p.theta)
    assert value == pytest.approx(twin.objective(p.X, p.z, p.extra, p.kind, p.theta, table), rel=1e-10, abs=1e-10)
    np.testing.assert_allclose(gradient, twin.gradient(p.X, p.z, p.extra, p.kind, p.theta, table), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("n", "d", "categorical"), [(1, 1, 0), (6, 3, 1), (40, 5, 2), (80, 10, 0)])
def test_the_gradient_equals_central_differences(n: int, d: int, categorical: int) -> None:
    p = problem(n, d, categorical)
    _, gradient = objective(p.X, p.z, p.extra, p.kind, p.theta)
    for j in range(d + 2):
        h = 1e-4
        values = []
        for step in (-2.0, -1.0, 1.0, 2.0):
            theta = p.theta.copy()
            theta[j] *= math.exp(step * h)
            values.append(objective(p.X, p.z, p.extra, p.kind, theta)[0])
        difference = (values[0] - 8.0 * values[1] + 8.0 * values[2] - values[3]) / (12.0 * h)
        assert gradient[j] == pytest.approx(difference, rel=1e-6, abs=1e-7)


def test_the_penalty_gradient_equals_central_differences() -> None:
    table = _priors.penalties(3)
    t = np.array([-1.0, 0.3, 2.0, 0.5, -3.0])
    _, gradient = _priors.penalty(table, t)
    for j in range(5):
        step = 1e-5 * np.eye(5)[j]
        difference = (_priors.penalty(table, t + step)[0] - _priors.penalty(table, t - step)[0]) / 2e-5
        assert gradient[j] == pytest.approx(difference, rel=1e-8)


def test_the_penalties_are_the_stated_priors() -> None:
    gamma = lambda x, shape, rate: -((shape - 1.0) * math.log(x) - rate * x)  # noqa: E731
    length, s2, v = 0.3, 1.7, 0.02
    expected = 0.1 / length**2 + 0.1 * length**2 + gamma(s2, 2.0, 1.0) + gamma(v, 1.1, 30.0)
    table = _priors.penalties(1)
    assert _priors.penalty(table, np.log([length, s2, v]))[0] == pytest.approx(expected)
    np.testing.assert_allclose(np.exp(table[:, 4:]), [(1e-3, 100.0), (0.05, 20.0), (1e-6, 1.0)])


def test_the_prior_of_a_length_scale_is_stationary_at_one_for_a_number_and_at_four_for_a_category() -> None:
    table = _priors.penalties(3, [0, 1, 0])
    _, gradient = _priors.penalty(table, np.log([1.0, 4.0, 1.0, 1.0, 0.1]))
    np.testing.assert_allclose(gradient[:3], 0.0, atol=1e-12)
    np.testing.assert_array_equal(table[[0, 2, 3, 4]], _priors.penalties(2))
    np.testing.assert_array_equal(_priors.penalties(2, 1)[:2], table[[1, 1]])


@pytest.mark.parametrize(("n", "d", "categorical"), [(3, 2, 0), (10, 2, 1), (25, 4, 1), (50, 6, 0), (80, 10, 2)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_fit_reaches_the_optimum_that_scipy_finds_from_the_same_start(n: int, d: int, categorical: int, seed: int) -> None:
    p = problem(n, d, categorical, seed)
    table = _priors.penalties(d, p.kind)
    theta = fit(p.X, p.z, p.extra, p.kind, None, 200)

    def negative_log_posterior(t: Floats) -> tuple[float, Floats]:
        return twin.objective(p.X, p.z, p.extra, p.kind, np.exp(t), table), twin.gradient(p.X, p.z, p.extra, p.kind, np.exp(t), table)

    found = optimize.minimize(
        negative_log_posterior, np.log(_priors.start(d)), jac=True, method="L-BFGS-B", bounds=table[:, 4:], options={"maxiter": 500}
    )
    ours = twin.objective(p.X, p.z, p.extra, p.kind, theta, table)
    assert ours <= found.fun + 1e-4
    assert (np.log(theta) >= table[:, 4] - 1e-12).all() and (np.log(theta) <= table[:, 5] + 1e-12).all()


def test_a_warm_start_at_the_optimum_stays_there() -> None:
    p = problem(40, 4, 1)
    theta = fit(p.X, p.z, p.extra, p.kind, None, 200)
    np.testing.assert_allclose(fit(p.X, p.z, p.extra, p.kind, theta, 8), theta, rtol=1e-2)
    assert (
        objective(p.X, p.z, p.extra, p.kind, fit(p.X, p.z, p.extra, p.kind, theta, 8))[0] <= objective(p.X, p.z, p.extra, p.kind, theta)[0]
    )


def test_a_coordinate_whose_bounds_coincide_is_held_there() -> None:
    p, table = problem(30, 3), _priors.penalties(3)
    table[-1, 4:] = math.log(0.05)
    theta = fit(p.X, p.z, p.extra, p.kind, None, 50, table)
    assert theta[-1] == pytest.approx(0.05)
    assert objective(p.X, p.z, p.extra, p.kind, theta, table)[0] < objective(p.X, p.z, p.extra, p.kind, _priors.start(3), table)[0]


def test_the_fit_finds_which_dims_matter() -> None:
    draw = np.random.default_rng(0)
    X = np.column_stack((draw.random((60, 3)), (draw.integers(0, 3, 60) + 0.5) / 3.0, (draw.integers(0, 3, 60) + 0.5) / 3.0))
    z = np.sin(6.0 * X[:, 0]) + 2.0 * (X[:, 3] > 0.6)
    theta = fit(X, (z - z.mean()) / z.std(), np.zeros(60), [0, 0, 0, 1, 1])
    assert theta[0] < min(theta[1], theta[2]) / 2.0
    assert theta[3] < theta[4] / 2.0


# nasty rows


@pytest.mark.parametrize("spread", [0.0, 1e-14, 1e-9, 1e-6])
@pytest.mark.parametrize("n", [2, 30, 100])
def test_repeated_and_near_repeated_rows_never_give_a_nan(spread: float, n: int) -> None:
    draw = np.random.default_rng(n)
    X = np.repeat(draw.random(((n + 1) // 2, 4)), 2, axis=0)[:n] + spread * draw.normal(size=(n, 4))
    z = draw.normal(size=n)
    for theta in (np.array([1.0, 1.0, 1.0, 1.0, 20.0, 1e-6]), np.array([100.0] * 4 + [20.0, 1e-6]), fit(X, z, np.zeros(n), [0] * 4)):
        value, gradient = objective(X, z, np.zeros(n), [0] * 4, theta)
        assert not math.isnan(value) and (not math.isfinite(value) or np.isfinite(gradient).all())
        posterior = factor(X, z, np.zeros(n), [0] * 4, theta)
        for _ in range(3):
            assert posterior is not None
            posterior = append(posterior, X[0])
        assert posterior is not None
        mean, variance = predict(posterior, X)
        assert np.isfinite(mean).all() and np.isfinite(variance).all() and (variance >= 0.0).all()
        loo_mean, loo_variance = leave_one_out(posterior, np.append(z, np.zeros(3)))
        assert np.isfinite(loo_mean).all() and (loo_variance > 0.0).all()


def test_a_matrix_that_rounding_breaks_gets_more_noise() -> None:
    X = np.full((40, 2), 0.5)
    posterior = factor(X, np.zeros(40), np.zeros(40), [0, 0], np.array([1.0, 1.0, 1.0, 1e-18]))
    assert posterior is not None
    assert 1e-18 < posterior.theta[-1] <= 1e-10
    np.testing.assert_array_equal(posterior.noise[:40], posterior.theta[-1])


def test_an_appended_repeat_that_rounding_breaks_gets_more_noise() -> None:
    posterior = factor(np.full((1, 2), 0.5), np.zeros(1), np.zeros(1), [0, 0], np.array([1.0, 1.0, 1.0, 1e-18]))
    assert posterior is not None
    grown = append(posterior, np.full(2, 0.5))
    assert grown is not None and grown.noise[1] > 1e-18 and np.isfinite(grown.Linv[:2, :2]).all()
    hopeless = posterior._replace(theta=np.array([1.0, 1.0, 1.0, 0.0]))
    assert append(hopeless, np.full(2, 0.5)) is None


def test_failure_to_factorise_is_a_flag() -> None:
    X = np.full((3, 1), 0.5)
    assert factor(X, np.zeros(3), np.zeros(3), [0], np.array([1.0, 1.0, 1e-40])) is None
    table = _priors.penalties(1)
    table[-1, 4:] = -100.0
    start = np.array([1.0, 1.0, 1e-30])
    np.testing.assert_array_equal(fit(X, np.zeros(3), np.zeros(3), [0], start, 8, table), start)


def test_a_start_that_cannot_be_evaluated_is_left_by_raising_the_noise() -> None:
    p, table = problem(30, 2), _priors.penalties(2)
    p.X[15:] = p.X[:15]
    table[-1, 4] = -60.0
    theta = fit(p.X, p.z, np.zeros(30), p.kind, np.array([1.0, 1.0, 1.0, 1e-22]), 50, table)
    assert theta[-1] > 1e-15 and math.isfinite(objective(p.X, p.z, np.zeros(30), p.kind, theta, table)[0])


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(*[st.sampled_from([0.0, 1e-12, 0.25, 0.5, 1.0])] * 3, st.sampled_from([-3.0, -1e-9, 0.0, 1.0, 8.0])),
        min_size=1,
        max_size=20,
    ),
    kind=st.tuples(*[st.sampled_from([0, 1])] * 3),
    extra=st.sampled_from([0.0, 1e-12, 0.5, 1e6]),
)
def test_any_lattice_of_rows_can_be_fitted_and_predicted(
    rows: list[tuple[float, float, float, float]], kind: tuple[int, int, int], extra: float
) -> None:
    data = np.array(rows)
    X, z = data[:, :3], data[:, 3]
    noise = np.full(len(z), extra)
    posterior = factor(X, z, noise, kind, fit(X, z, noise, kind, None, 20))
    assert posterior is not None
    mean, variance = predict(posterior, X)
    assert np.isfinite(mean).all() and np.isfinite(variance).all()
    assert (np.abs(mean) <= 20.0).all() and (variance <= posterior.theta[-2] * (1.0 + 1e-9)).all()


def test_equal_arguments_give_equal_bits() -> None:
    p = problem(53, 6, 2)
    theta = fit(p.X, p.z, p.extra, p.kind)
    np.testing.assert_array_equal(theta, fit(p.X.copy(order="F"), p.z.copy(), p.extra, list(p.kind)))
    one, two = factor(p.X, p.z, p.extra, p.kind, theta), factor(p.X, p.z, p.extra, p.kind, theta, capacity=200)
    assert one is not None and two is not None
    np.testing.assert_array_equal(one.Linv[:53, :53], two.Linv[:53, :53])
    np.testing.assert_array_equal(one.alpha[:53], two.alpha[:53])
    np.testing.assert_array_equal(predict(one, p.Q), predict(two, p.Q))
    grown_one, grown_two = append(one, p.Q[0]), append(two, p.Q[0])
    assert grown_one is not None and grown_two is not None
    np.testing.assert_array_equal(grown_one.Linv[53, :54], grown_two.Linv[53, :54])


def test_arguments_are_left_as_they_were() -> None:
    p = problem(20, 3)
    given_ = [a.copy() for a in (p.X, p.z, p.extra, p.kind, p.theta)]
    for a in (p.X, p.z, p.extra, p.kind, p.theta, p.Q):
        a.flags.writeable = False
    fit(p.X, p.z, p.extra, p.kind, p.theta, 3)
    posterior = solved(p)
    condition(posterior, p.z)
    append(posterior, p.Q[0])
    sample(posterior, p.Q, np.zeros((1, 5)))
    for before, after in zip(given_, (p.X, p.z, p.extra, p.kind, p.theta), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: fit(p.X[0], p.z, p.extra, p.kind), "X has shape"),
        (lambda p: fit(p.X[:0], p.z[:0], p.extra[:0], p.kind), "at least one row"),
        (lambda p: fit(p.X, p.z[:2], p.extra, p.kind), "one entry for each of the 5 rows"),
        (lambda p: fit(p.X, p.z, p.extra, p.kind, p.theta[:3]), "theta is"),
        (lambda p: factor(p.X, p.z, p.extra, p.kind, -p.theta), "positive"),
        (lambda p: objective(p.X, p.z * np.nan, p.extra, p.kind, p.theta), "must be finite"),
        (lambda p: factor(p.X, p.z, p.extra, p.kind, p.theta, row_kind=np.array([-1, 0, -1, -1, -1], np.int8)), "derivative rows"),
        (lambda p: append(solved(p), p.Q), "2 finite coordinates"),
        (lambda p: append(solved(p), np.array([np.nan, 0.0])), "0.5 where inactive"),
        (lambda p: condition(solved(p), p.z[:3]), "give 5 finite values"),
        (lambda p: predict(solved(p), p.X[0]), "one column for each of the 2 dims"),
        (lambda p: sample(solved(p), p.Q, np.zeros(5)), "one column for each of the 5 points"),
    ],
)
def test_a_wrong_argument_is_named(call: object, words: str) -> None:
    with pytest.raises(SamplerError, match=words):
        call(problem(5, 2))  # type: ignore[operator]


# the kernels one by one


def test_the_exponential_is_within_two_ulps() -> None:
    for x in np.concatenate((np.linspace(0.0, 50.0, 2001), np.linspace(50.0, 700.0, 501))):
        assert _kernels._exp_negative(float(x)) == pytest.approx(math.exp(-x), rel=4.5e-16)


@pytest.mark.parametrize("m", [0, 1, 7, 8, 33])
def test_the_dot_product_sums_the_first_entries(m: int) -> None:
    draw = np.random.default_rng(m)
    a, b = draw.normal(size=40), draw.normal(size=40)
    assert _kernels._dot(a, b, m) == pytest.approx(math.fsum(a[:m] * b[:m]), abs=1e-14)


def test_scratch_is_zero_and_starts_on_a_cache_line() -> None:
    for _ in range(20):
        scratch = _kernels._aligned(3, 16)
        assert scratch.ctypes.data % 64 == 0 and scratch.shape == (3, 16) and (scratch == 0.0).all()


def test_scaling_divides_by_the_length_scales() -> None:
    p = problem(9, 4, 1)
    out = np.full((4, 12), 7.0)
    _kernels._scale(np.ascontiguousarray(p.X.T), p.theta, 9, out)
    np.testing.assert_allclose(out[:, :9], p.X.T / p.theta[:4, None], rtol=1e-15)
    assert (out[:, 9:] == 7.0).all()


def test_a_kernel_row_is_the_kernel_and_its_length_scale_weight() -> None:
    p = problem(9, 4, 2)
    Xs = np.ascontiguousarray((p.X / p.theta[:4]).T)
    value, weight = np.empty(9), np.empty(9)
    _kernels._kernel_row(Xs, Xs[:, 2], p.kind, p.theta, 9, value, weight)
    np.testing.assert_allclose(value, twin.kernel(p.X, p.X, p.kind, p.theta)[2], rtol=1e-14)
    h = 1e-5  # the weight times diff_j^2 / l_j^2 is the derivative along log l_j
    for j in range(4):
        up, down = p.theta.copy(), p.theta.copy()
        up[j] *= math.exp(h)
        down[j] *= math.exp(-h)
        slope = (twin.kernel(p.X, p.X, p.kind, up)[2] - twin.kernel(p.X, p.X, p.kind, down)[2]) / (2.0 * h)
        along = twin.squared_distance(p.X[:, [j]], p.X[:, [j]], p.kind[[j]], p.theta[[j]])[2]
        np.testing.assert_allclose(weight * along, slope, atol=1e-8)


def test_the_kernel_vanishes_instead_of_overflowing_far_away() -> None:
    value, weight = np.empty(2), np.empty(2)
    _kernels._kernel_row(np.array([[0.0, 1e9]]), np.array([0.0]), np.zeros(1, np.int8), np.ones(3), 2, value, weight)
    assert value[0] == 1.0 and 0.0 <= value[1] < 1e-290 and np.isfinite(weight).all()


def test_a_rank_eight_update_adds_to_the_lower_triangle_only() -> None:
    draw = np.random.default_rng(0)
    T, R = draw.normal(size=(24, 24)), draw.normal(size=(8, 24))
    expected = T.copy()
    expected[4:20] -= (R.T @ R)[4:20]
    before = T.copy()
    _kernels._rank8(T, R, 4, 20, -1.0)
    lower = np.tril_indices(24)
    np.testing.assert_allclose(T[lower], expected[lower], rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(T[:4], before[:4])
    np.testing.assert_array_equal(T[20:], before[20:])


@pytest.mark.parametrize("N", [8, 16, 40])
def test_the_sweep_inverts_and_carries_its_border(N: int) -> None:
    draw = np.random.default_rng(N)
    W = draw.normal(size=(N, 2 * N))
    K, z = W @ W.T / N, draw.normal(size=N)
    T, R = np.zeros((N + 8, N + 8)), np.zeros((8, N + 8))
    T[:N, :N], T[N, :N], T[N + 1, :N] = np.tril(K), z, 1.0
    logdet = _kernels._sweep(T, R, N, N + 2)
    inverse = np.linalg.inv(K)
    assert logdet == pytest.approx(np.linalg.slogdet(K)[1])
    np.testing.assert_allclose(np.tril(T[:N, :N]), np.tril(inverse), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(T[N : N + 2, :N], -np.array([inverse @ z, inverse.sum(1)]), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose([T[N, N], T[N + 1, N], T[N + 1, N + 1]], [-z @ inverse @ z, -inverse.sum(0) @ z, -inverse.sum()], rtol=1e-8)
    T = np.tril(K)
    assert _kernels._sweep(T, np.zeros((8, N)), N, N) == pytest.approx(logdet)
    np.testing.assert_allclose(np.tril(T), np.linalg.inv(np.linalg.cholesky(K)), rtol=1e-8, atol=1e-8)
    assert _kernels._sweep(np.tril(K - 10.0 * np.eye(N)), np.zeros((8, N)), N, N) == math.inf


@pytest.mark.parametrize("count", [0, 1, 3, 6, 9])
@pytest.mark.parametrize("free", [(1.0, 1.0, 1.0, 1.0, 1.0), (1.0, 0.0, 1.0, 1.0, 0.0)])
def test_the_search_direction_is_the_dense_bfgs_one(count: int, free: tuple[float, ...]) -> None:
    draw = np.random.default_rng(count)
    M = draw.normal(size=(5, 5))
    hessian, g, kept = M @ M.T + np.eye(5), draw.normal(size=5), np.array(free) == 1.0
    S, Y = np.full((_kernels.MEMORY, 5), np.nan), np.full((_kernels.MEMORY, 5), np.nan)
    pairs = []
    for i in range(count):
        s = draw.normal(size=5)
        S[i % _kernels.MEMORY], Y[i % _kernels.MEMORY] = s, hessian @ s
        pairs.append((s[kept], (hessian @ s)[kept]))
    usable = [(s, y) for s, y in pairs[-_kernels.MEMORY :] if s @ y > 0.0]
    out = np.empty(5)
    _kernels._direction(g, np.array(free), S, Y, count, out)
    expected = twin.inverse_hessian(usable) if usable else np.eye(kept.sum())
    np.testing.assert_allclose(out[kept], -expected @ g[kept], rtol=1e-9)
    assert (out[~kept] == 0.0).all()


def test_projection_and_draw_equal_triangular_solves() -> None:
    p = problem(13, 3, 1)
    posterior = solved(p)
    mean, W = np.empty(5), np.empty((13, 5))
    Q = np.ascontiguousarray(p.Q.T)
    _kernels.project(posterior.X, posterior.Linv, posterior.alpha, posterior.kind, posterior.theta, 13, Q, mean, W)
    k = twin.kernel(p.X, p.Q, p.kind, p.theta)
    L = np.linalg.cholesky(twin.covariance(p.X, p.extra, p.kind, p.theta))
    np.testing.assert_allclose(mean, k.T @ posterior.alpha[:13], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(W, linalg.solve_triangular(L, k, lower=True), rtol=1e-9, atol=1e-10)
    out = np.zeros((5, 5))
    assert _kernels.draw(Q, W, p.kind, p.theta, 0.01, np.eye(5), out)
    expected = np.linalg.cholesky(twin.kernel(p.Q, p.Q, p.kind, p.theta) - W.T @ W + 0.01 * np.eye(5))
    np.testing.assert_allclose(out.T, expected, rtol=1e-9, atol=1e-10)
    assert not _kernels.draw(Q, W, p.kind, p.theta, -10.0, np.eye(5), out)


def test_extend_weigh_and_factorize_write_what_their_formulas_say() -> None:
    p = problem(11, 3, 1)
    X, noise = np.zeros((3, 16)), p.theta[-1] + np.append(p.extra, np.zeros(5))
    X[:, :11] = p.X.T
    K = twin.covariance(p.X, p.extra, p.kind, p.theta)
    whole, grown = np.zeros((16, 16)), np.zeros((16, 16))
    assert _kernels.factorize(X, noise, p.kind, p.theta, 11, whole)
    assert _kernels.factorize(X, noise, p.kind, p.theta, 10, grown)
    assert _kernels.extend(X, noise, p.kind, p.theta, 10, grown) == 0
    np.testing.assert_allclose(whole[:11, :11], np.linalg.inv(np.linalg.cholesky(K)), rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(grown, whole, rtol=1e-10, atol=1e-10)
    alpha = np.zeros(16)
    mean = _kernels.weigh(whole, p.z, 11, alpha)
    assert mean == pytest.approx(twin.gls_mean(K, p.z))
    np.testing.assert_allclose(alpha[:11], np.linalg.solve(K, p.z - mean), rtol=1e-9, atol=1e-10)
    noise[0] = -100.0
    untouched = np.full((16, 16), 5.0)
    assert not _kernels.factorize(X, noise, p.kind, p.theta, 11, untouched)
    assert (untouched == 5.0).all()


# loading


def test_importing_compiles_nothing() -> None:
    code = (
        "from jaxhp.gp import _kernels\n"
        "compiled = [f for f in vars(_kernels).values() if hasattr(f, 'signatures') and f.signatures]\n"
        "assert not compiled, compiled\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_an_unwritable_cache_gives_one_warning_and_works(tmp_path: Path) -> None:
    package = tmp_path / "readonly" / "jaxhp"
    (package / "gp").mkdir(parents=True)
    for source in ("_types.py", "errors.py", "gp/_kernels.py"):
        (package / source).write_bytes((ROOT / "jaxhp" / source).read_bytes())
    (package / "__init__.py").touch()
    (package / "gp" / "__init__.py").touch()
    code = (
        "import warnings\n"
        "import numba.core.caching as caching\n"
        "caching.CacheImpl._locator_classes = []\n"  # as on a machine where no cache directory can be written, root or not
        "with warnings.catch_warnings(record=True) as seen:\n"
        "    warnings.simplefilter('always')\n"
        "    from jaxhp.gp import _kernels\n"
        "assert [w.category for w in seen] == [RuntimeWarning] and 'NUMBA_CACHE_DIR' in str(seen[0].message), seen\n"
        "assert abs(_kernels._exp_negative(1.0) - 0.36787944117144233) < 1e-15\n"
    )
    (package / "gp").chmod(stat.S_IRUSR | stat.S_IXUSR)
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(package.parent)})
    (package / "gp").chmod(stat.S_IRWXU)


def test_warming_up_loads_every_function_the_sampler_calls() -> None:
    warm_up()
    for entry in (_kernels.minimize, _kernels.factorize, _kernels.extend, _kernels.weigh, _kernels.project, _kernels.draw):
        assert len(entry.signatures) == 1, entry
