"""The search of a posterior against slow twins: normal functions, moments, terms, gradients, pruning, maximisation, faults."""

import acquisition_reference as reference
import numpy as np
import pytest
from elsewhere import outer, pass_under_every_instruction_set
from hypothesis import given
from hypothesis import strategies as st

from jaxhp import _kernel, acquisition
from jaxhp._types import Dims, Kind
from jaxhp.acquisition import How, feasible, log_cost, logei, logpi, thompson, ucb


def make_dims(*columns):
    """One (kind, levels, parent, allowed levels) for each dim; integers start at 1."""
    width = max([levels for _, levels, _, _ in columns] + [1])
    allowed = np.zeros((len(columns), width), bool)
    for j, (_, _, _, levels) in enumerate(columns):
        allowed[j, list(levels)] = True
    kind = np.array([kind for kind, *_ in columns], np.int8)
    levels = np.array([levels for _, levels, *_ in columns], np.int64)
    high = np.where(levels > 0, levels, 2.0).astype(float)
    return Dims(kind, np.ones(len(columns)), high, levels, np.array([parent for *_, parent, _ in columns], np.int32), allowed)


FLOAT = (Kind.FLOAT, 0, -1, ())
FLOATS_2, FLOATS_5 = make_dims(FLOAT, FLOAT), make_dims(*[FLOAT] * 5)
MIXED = make_dims(
    FLOAT, (Kind.CATEGORICAL, 4, -1, ()), (Kind.FLOAT_LOG, 0, -1, ()), (Kind.ORDINAL, 5, -1, ()), (Kind.GRID, 100, -1, ()), FLOAT
)
CONDITIONAL = make_dims(
    (Kind.CATEGORICAL, 3, -1, ()), (Kind.FLOAT, 0, 0, (0, 2)), (Kind.GRID_LOG, 64, 0, (1,)), (Kind.ORDINAL, 3, 0, (0,)),
    (Kind.FLOAT, 0, 3, (1,)), FLOAT,
)  # fmt: skip
DISCRETE = make_dims((Kind.CATEGORICAL, 3, -1, ()), (Kind.GRID, 4, -1, ()), (Kind.ORDINAL, 2, -1, ()))
SPACES = {"floats": FLOATS_2, "more floats": FLOATS_5, "mixed": MIXED, "conditional": CONDITIONAL, "discrete": DISCRETE}


def encoded(dims):
    return _kernel.EncodedDims(*dims)


def hamming(dims):
    return (dims.kind == Kind.CATEGORICAL).astype(np.int8)


def history(random, dims, n):
    """Rows and values of a bowl with ripples, as a search would have them: half of them near the best."""
    u = reference.random_canonical(random, dims, n)
    optimum = random.random(len(dims.kind))
    crowd = encoded(dims).snap(np.clip(np.nan_to_num(u[n // 2 :], nan=0.5) * 0.1 + 0.9 * optimum, 0.0, 1.0))
    u[n // 2 :] = crowd
    z = np.nansum((u - optimum) ** 2 + 0.1 * np.cos(9.0 * (u - optimum)), axis=1)
    return u, (z - z.mean()) / (z.std() + 1e-9)


def random_posterior(random, dims, n, noise=1e-4, capacity=None):
    u, z = history(random, dims, n)
    d = len(dims.kind)
    theta = np.concatenate([np.exp(random.normal(-0.5, 0.5, d)), [np.exp(random.normal(0.0, 0.4)), noise]])
    variances = noise + np.where(random.random(n) < 0.3, 0.01, 0.0)
    return reference.make_posterior(u, z, hamming(dims), theta, variances, 0.1, capacity), u, z


def best_rows(u, z, count=5):
    return np.ascontiguousarray(u[np.argsort(z)[:count]])


# ---- the normal distribution

TAIL = -np.logspace(0.0, 8.0, 41)
NEAR = np.concatenate([np.linspace(-45.0, 40.0, 341), [-4.0, np.nextafter(-4.0, -5.0), -12.0, np.nextafter(-12.0, -13.0), 0.0]])


def test_log_h_is_right_to_12_digits_from_40_to_minus_1e8():
    z = np.concatenate([TAIL, NEAR])
    value, derivative = _kernel.log_h(z)
    expected = np.array([reference.log_h(float(x)) for x in z])
    np.testing.assert_allclose(value, expected[:, 0], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(derivative, expected[:, 1], rtol=1e-12)


def test_log_cdf_is_right_to_12_digits():
    z = NEAR[NEAR < 37.0]
    value, derivative = _kernel.log_cdf(z)
    expected = np.array([reference.log_cdf(float(x)) for x in z])
    np.testing.assert_allclose(value, expected[:, 0], rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(derivative, expected[:, 1], rtol=1e-12)


# ---- moments


@pytest.mark.parametrize("dims", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize(("n", "capacity"), [(1, 1), (7, 7), (16, 16), (33, 64), (50, 51)])
def test_mean_and_variance_are_those_of_the_dense_formula(dims, n, capacity):
    random = np.random.default_rng(n)
    posterior, u, _ = random_posterior(random, dims, n, 1e-3, capacity)
    points = np.concatenate([reference.random_canonical(random, dims, 37), u])
    mean, variance = acquisition.predict(posterior, points)
    expected_mean, expected_variance = reference.predict(posterior, points)
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(variance, expected_variance, rtol=1e-8, atol=1e-9)
    assert acquisition.predict(posterior, points[:0])[0].shape == (0,)


def test_the_prior_is_predicted_without_rows():
    posterior, _, _ = random_posterior(np.random.default_rng(0), FLOATS_2, 4)
    mean, variance = acquisition.predict(posterior._replace(n=0), np.array([[0.1, 0.9]]))
    assert (mean[0], variance[0]) == (posterior.mean, posterior.theta[-2])


# ---- terms

TERMS = {
    "logei": [logei(-1.2)],
    "logei far": [logei(-40.0)],
    "ucb": [ucb(1.8)],
    "logpi": [logpi(-1.0, 0.05)],
    "cost": [log_cost(0, 0.7)],
    "all": [logei(-1.2), feasible(0.3, 1), log_cost(1, 0.5), ucb(0.5, 0), logpi(0.0, 0.1, 2)],
}


@pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS)
@pytest.mark.parametrize("dims", SPACES.values(), ids=SPACES)
def test_a_sum_of_terms_has_the_value_of_the_formulas(dims, terms):
    random = np.random.default_rng(1)
    posteriors = [random_posterior(random, dims, n)[0] for n in (30, 9, 18)]
    points = reference.random_canonical(random, dims, 40)
    value, _ = acquisition.value_and_gradient(posteriors, terms, points)
    np.testing.assert_allclose(value, reference.value(posteriors, terms, points), rtol=1e-7, atol=1e-8)


DRAWS = {"thompson": [thompson()], "thompson and logei": [thompson(1), logei(-1.0)]}


@pytest.mark.parametrize("terms", (TERMS | DRAWS).values(), ids=TERMS | DRAWS)
@pytest.mark.parametrize("dims", SPACES.values(), ids=SPACES)
def test_gradients_agree_with_finite_differences(dims, terms):
    random = np.random.default_rng(2)
    posteriors = [random_posterior(random, dims, n)[0] for n in (30, 9, 18)]
    points = reference.random_canonical(random, dims, 6)
    value, gradient = acquisition.value_and_gradient(posteriors, terms, points, seed=3)
    step = 1e-6
    for j, kind in enumerate(dims.kind):
        if kind == Kind.CATEGORICAL:
            assert (gradient[:, j] == 0.0).all()
            continue
        active = ~np.isnan(points[:, j])
        ahead, behind = points.copy(), points.copy()
        ahead[active, j] += step
        behind[active, j] -= step
        up, _ = acquisition.value_and_gradient(posteriors, terms, ahead, seed=3)
        down, _ = acquisition.value_and_gradient(posteriors, terms, behind, seed=3)
        error = np.abs(gradient[:, j] - (up - down) / (2 * step))
        assert (error <= 1e-3 * (1.0 + np.abs(gradient[:, j])) + 1e-5 * np.abs(value))[active].all()


def test_points_do_not_feel_their_neighbours_in_a_batch():
    posterior, _, _ = random_posterior(np.random.default_rng(3), MIXED, 41)
    points = reference.random_canonical(np.random.default_rng(4), MIXED, 70)
    value, gradient = acquisition.value_and_gradient([posterior], [logei(-1.0)], points)
    for i in range(70):
        alone, slope = acquisition.value_and_gradient([posterior], [logei(-1.0)], points[[i]])
        np.testing.assert_allclose(alone[0], value[i], rtol=1e-9)
        np.testing.assert_allclose(slope[0], gradient[i], rtol=1e-6, atol=1e-8)


# ---- draws


@pytest.mark.parametrize("dims", [FLOATS_2, MIXED, CONDITIONAL], ids=["floats", "mixed", "conditional"])
def test_draws_have_the_mean_and_the_covariance_of_the_posterior(dims):
    random = np.random.default_rng(5)
    posterior, _, _ = random_posterior(random, dims, 12, 1e-2)
    points = reference.random_canonical(random, dims, 6)
    draws = np.array([-acquisition.value_and_gradient([posterior], [thompson()], points, seed=1, number=i)[0] for i in range(1500)])
    mean, variance = reference.predict(posterior, points)
    k = reference.kernel(posterior, posterior.X[:, :12].T, points)
    K = reference.kernel(posterior, posterior.X[:, :12].T, posterior.X[:, :12].T) + np.diag(posterior.noise[:12])
    covariance = reference.kernel(posterior, points, points) - k.T @ np.linalg.solve(K, k)
    scale = np.sqrt(np.outer(variance, variance))
    assert (np.abs(draws.mean(axis=0) - mean) < 5.0 * np.sqrt(variance / 1500)).all()
    assert (np.abs(np.cov(draws.T) - covariance) < 0.2 * scale).all()


def test_a_draw_is_named_by_seed_number_and_purpose():
    posterior, _, _ = random_posterior(np.random.default_rng(6), FLOATS_2, 12)
    points = np.random.default_rng(7).random((5, 2))

    def draw(**name):
        return acquisition.value_and_gradient([posterior], [thompson()], points, **name)[0]

    assert (draw(seed=1, number=2) == draw(seed=1, number=2)).all()
    for other in ({"seed": 2, "number": 2}, {"seed": 1, "number": 3}, {"seed": 1, "number": 2, "purpose": "another"}):
        assert (draw(seed=1, number=2) != draw(**other)).all()


# ---- pruning


@pytest.mark.parametrize("noise", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("dims", [FLOATS_5, MIXED, CONDITIONAL], ids=["floats", "mixed", "conditional"])
@pytest.mark.parametrize("terms", [[logei(-1.5)], [ucb(2.0)], [logpi(-1.5)], [logpi(1.0)], [logei(-1.5), log_cost(0, 0.3)]], ids=str)
def test_the_best_k_are_those_of_scoring_everything(dims, terms, noise):
    random = np.random.default_rng(8)
    posterior, u, z = random_posterior(random, dims, 60, noise)
    steps = random.normal(0.0, 0.03, (300, len(dims.kind)))
    near = encoded(dims).snap(np.clip(np.nan_to_num(best_rows(u, z, 1), nan=0.5) + steps, 0.0, 1.0))
    points = np.concatenate([reference.random_canonical(random, dims, 700), near])
    exact, _ = acquisition.value_and_gradient([posterior], terms, points)
    for k in (1, 8, 40):
        _, values = acquisition.best_of([posterior], terms, points, k)
        np.testing.assert_allclose(values, np.sort(exact)[::-1][:k], rtol=1e-7, atol=1e-7)
    indices, values = acquisition.best_of([posterior], terms, points, 8)
    np.testing.assert_allclose(exact[indices], values, rtol=1e-7, atol=1e-7)


def test_pruning_and_sums_over_posteriors_agree_with_scoring_everything():
    random = np.random.default_rng(9)
    posteriors = [random_posterior(random, FLOATS_5, n)[0] for n in (60, 25)]
    terms = [logei(-1.0), feasible(0.0, 1), log_cost(1, 0.2)]
    points = random.random((1000, 5))
    exact, _ = acquisition.value_and_gradient(posteriors, terms, points)
    _, values = acquisition.best_of(posteriors, terms, points, 10)
    np.testing.assert_allclose(values, np.sort(exact)[::-1][:10], rtol=1e-7)


def test_pruning_leaves_most_points_unscored():
    random = np.random.default_rng(10)
    posterior, _, z = random_posterior(random, FLOATS_5, 100)
    terms = np.array([logei(float(z.min()))])
    _, _, scored = _kernel.best_of((posterior,), terms, random.random((1024, 5)), 4, 0, 0, 0)
    assert scored <= 256


# ---- maximisation


def search(posterior, u, z, dims, terms=None, number=0, **options):
    terms = terms or [logei(float(z.min()))]
    options = {"centres": best_rows(u, z), "existing": u, **options}
    return acquisition.maximize([posterior], terms, encoded(dims), seed=0, number=number, **options)


def assert_in_space(point, dims):
    assert (encoded(dims).snap(point[None])[0] == point)[~np.isnan(point)].all()
    again = encoded(dims).snap(np.where(np.isnan(point), 0.5, point)[None])[0]
    assert (np.isnan(again) == np.isnan(point)).all()
    active = point[~np.isnan(point)]
    assert ((active >= 0.0) & (active <= 1.0)).all()


@pytest.mark.parametrize("n", [5, 40])
@pytest.mark.parametrize("terms", [None, [ucb(2.0)], [logpi(-1.0)], [thompson()]], ids=["logei", "ucb", "logpi", "thompson"])
@pytest.mark.parametrize("dims", SPACES.values(), ids=SPACES)
def test_the_maximum_found_is_as_high_as_any_of_many_random_points(dims, terms, n):
    for seed in range(3):
        random = np.random.default_rng((11, seed))
        posterior, u, z = random_posterior(random, dims, n)
        found = search(posterior, u, z, dims, terms, allow_duplicates=True, spread=2048, local=1024, starts=16)
        assert_in_space(found.u, dims)
        used = terms or [logei(float(z.min()))]
        value, _ = acquisition.value_and_gradient([posterior], used, found.u[None], seed=0, number=0)
        np.testing.assert_allclose(found.value, value[0], rtol=1e-8, atol=1e-8)
        m = 5_000 if terms == [thompson()] else 200_000
        points = encoded(dims).snap(np.random.default_rng(12).random((m, len(dims.kind))))
        _, best = acquisition.best_of([posterior], used, points, 1, seed=0, number=0)
        assert found.value >= best[0] - 1e-6


def test_climbing_ends_where_the_gradient_is_zero_or_points_out_of_the_cube():
    for seed in range(5):
        posterior, u, z = random_posterior(np.random.default_rng((13, seed)), FLOATS_5, 50)
        found = search(posterior, u, z, FLOATS_5, iterations=100)
        _, gradient = acquisition.value_and_gradient([posterior], [logei(float(z.min()))], found.u[None])
        inside = np.clip(found.u + 1e-3 * gradient[0], 0.0, 1.0)
        assert np.abs(inside - found.u).max() < 2e-4


@given(st.data())
def test_every_suggestion_is_in_the_space(data):
    columns = []
    for _ in range(data.draw(st.integers(1, 6))):
        kind = data.draw(st.sampled_from(list(Kind)))
        levels = 0 if kind <= Kind.FLOAT_LOG else data.draw(st.integers(1, 70))
        parents = [i for i, (k, *_) in enumerate(columns) if k in (Kind.GRID, Kind.ORDINAL, Kind.CATEGORICAL)]
        parent = data.draw(st.sampled_from([-1, *parents]))
        allowed = data.draw(st.sets(st.integers(0, columns[parent][1] - 1), min_size=1)) if parent >= 0 else ()
        columns.append((kind, levels, parent, tuple(allowed)))
    dims = make_dims(*columns)
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    posterior, u, z = random_posterior(random, dims, data.draw(st.integers(1, 20)), 1e-2)
    found = search(posterior, u, z, dims, number=data.draw(st.integers(0, 2**63)), spread=data.draw(st.integers(1, 40)), local=20)
    assert_in_space(found.u, dims)
    assert np.isfinite(found.value)
    if found.how != How.REPEATED:
        assert not repeats(found.u, u)


def repeats(point, rows):
    same = (np.abs(rows - point) <= 1e-6) | (np.isnan(rows) & np.isnan(point))
    return bool(same.all(axis=1).any())


@pytest.mark.parametrize("dims", [FLOATS_2, MIXED, CONDITIONAL], ids=["floats", "mixed", "conditional"])
def test_a_known_point_is_not_suggested_again_unless_that_is_welcome(dims):
    posterior, u, z = random_posterior(np.random.default_rng(14), dims, 30)
    first = search(posterior, u, z, dims)
    known = np.concatenate([u, first.u[None]])
    second = search(posterior, u, z, dims, existing=known)
    assert second.how in (How.RUNNER_UP, How.PERTURBED, How.SPREAD)
    assert not repeats(second.u, known)
    assert second.value <= first.value
    welcome = search(posterior, u, z, dims, existing=known, allow_duplicates=True)
    assert (welcome.how, welcome.value) == (How.REFINED, first.value)


def test_a_finite_space_is_searched_to_its_last_point():
    posterior, u, z = random_posterior(np.random.default_rng(15), DISCRETE, 3)
    known = np.unique(u, axis=0)
    values = []
    while len(known) < 24:
        found = search(posterior, u, z, DISCRETE, existing=known, number=len(known))
        assert not repeats(found.u, known)
        known = np.concatenate([known, found.u[None]])
        values.append(found.value)
    assert values == sorted(values, reverse=True)  # all points are looked at, so the best new one is found
    found = search(posterior, u, z, DISCRETE, existing=known)
    assert found.how == How.REPEATED
    assert repeats(found.u, known)


def test_the_callers_candidates_are_searched_too():
    posterior, u, z = random_posterior(np.random.default_rng(16), FLOATS_5, 30)
    best = search(posterior, u, z, FLOATS_5)
    poor = search(posterior, u, z, FLOATS_5, centres=None, spread=1, starts=1, iterations=0)
    with_extra = search(posterior, u, z, FLOATS_5, centres=None, spread=1, starts=1, iterations=0, extra=best.u[None])
    assert poor.value < best.value
    assert (with_extra.u == best.u).all()


def test_equal_arguments_give_equal_bits_and_another_number_other_candidates():
    posterior, u, z = random_posterior(np.random.default_rng(17), MIXED, 40)
    first, again = (search(posterior, u, z, MIXED, number=5) for _ in range(2))
    assert first.u.tobytes() == again.u.tobytes()
    assert first[1:] == again[1:]
    few = {"spread": 8, "local": 8, "starts": 1, "iterations": 0}
    assert search(posterior, u, z, MIXED, number=5, **few).value != search(posterior, u, z, MIXED, number=6, **few).value


def test_arguments_are_left_as_they_were():
    posterior, u, z = random_posterior(np.random.default_rng(18), MIXED, 21, capacity=21)
    copies = [np.array(field, copy=True) for field in posterior]
    for field in posterior:
        if isinstance(field, np.ndarray):
            field.flags.writeable = False
    search(posterior, u, z, MIXED)
    for field, copy in zip(posterior, copies, strict=True):
        np.testing.assert_array_equal(field, copy)


# ---- faults


@pytest.mark.parametrize("worst", [np.nan, np.inf, -np.inf, 1e300, 0.0])
@pytest.mark.parametrize("field", ["X", "Linv", "alpha", "noise", "theta", "mean"])
@pytest.mark.parametrize("dims", [FLOATS_2, CONDITIONAL], ids=["floats", "conditional"])
@pytest.mark.parametrize("terms", [None, [ucb(1.0), thompson()]], ids=["logei", "ucb and thompson"])
def test_whatever_a_posterior_holds_the_suggestion_is_a_new_point_of_the_space(dims, field, worst, terms):
    posterior, u, z = random_posterior(np.random.default_rng(19), dims, 20)
    if field == "mean":
        hostile = [posterior._replace(mean=worst)]
    else:
        whole, single = np.full_like(getattr(posterior, field), worst), getattr(posterior, field).copy()
        single.flat[0] = worst
        hostile = [posterior._replace(**{field: whole}), posterior._replace(**{field: single})]
    for broken in hostile:
        found = search(broken, u, z, dims, terms)
        assert_in_space(found.u, dims)
        assert np.isfinite(found.value) or (found.how == How.NOT_FINITE and np.isnan(found.value))
        assert not repeats(found.u, u)
        acquisition.best_of([broken], [logei(0.0)], u, 3)


def test_a_term_that_is_not_a_number_gives_a_spread_point():
    posterior, u, z = random_posterior(np.random.default_rng(20), FLOATS_2, 20)
    for terms in ([logei(np.nan)], [logpi(np.nan)], [logei(0.0), log_cost(0, np.inf)]):
        found = search(posterior, u, z, FLOATS_2, terms)
        assert found.how == How.NOT_FINITE
        assert_in_space(found.u, FLOATS_2)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"centres": np.zeros((2, 3))}, ValueError, r"centres: expected C-contiguous float64 \(m, 2\), got shape \(2, 3\)"),
        ({"existing": np.zeros((2, 2), np.float32)}, TypeError, "existing: expected C-contiguous float64"),
        ({"extra": np.array([[0.0, 1.5]])}, ValueError, r"extra\[0, 1\] = 1.5.*expected a number in \[0, 1\]"),
        ({"starts": 0}, ValueError, "starts: expected 1 to 32, got 0"),
        ({"starts": 33}, ValueError, "starts: expected an int from 0 to 32, got 33"),
        ({"spread": 0}, ValueError, "spread: expected at least 1"),
        ({"spread": 1.0}, TypeError, "spread: expected an int"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(change, error, words):
    posterior, u, z = random_posterior(np.random.default_rng(21), FLOATS_2, 5)
    with pytest.raises(error, match=words):
        search(posterior, u, z, FLOATS_2, **change)


def test_a_wrong_posterior_or_term_is_refused_by_name():
    posterior, _, _ = random_posterior(np.random.default_rng(22), FLOATS_2, 5)
    points = np.zeros((1, 2))
    derivative = posterior.row_kind.copy()
    derivative[1] = 0
    for broken, error, words in (
        (posterior._replace(X=posterior.X.T), TypeError, "posterior.X: expected C-contiguous"),
        (posterior._replace(Linv=posterior.Linv[:2]), ValueError, r"posterior.Linv: expected .* \(5, 5\), got shape \(2, 5\)"),
        (posterior._replace(theta=posterior.theta[:3]), ValueError, r"posterior.theta: expected .* \(4,\), got shape \(3,\)"),
        (posterior._replace(n=6), ValueError, "posterior.n: expected an int from 0 to 5, got 6"),
        (posterior._replace(row_kind=derivative), ValueError, r"posterior.row_kind\[1\] = 0: the search knows value rows"),
        ((1, 2), TypeError, "posterior: expected a jaxhp._types.Posterior"),
    ):
        with pytest.raises(error, match=words):
            acquisition.predict(broken, points)
    with pytest.raises(ValueError, match="terms: expected at least one row"):
        acquisition.value_and_gradient([posterior], [], points)
    with pytest.raises(ValueError, match=r"terms\[0, 1\]: expected the index of a posterior, 0 to 0, got 1"):
        acquisition.value_and_gradient([posterior], [logei(0.0, 1)], points)
    with pytest.raises(ValueError, match=r"terms\[0, 0\]: expected a type"):
        acquisition.value_and_gradient([posterior], [acquisition.Term(9)], points)
    with pytest.raises(ValueError, match="posteriors: expected 1 to 16, got 0"):
        acquisition.value_and_gradient([], [logei(0.0)], points)
    with pytest.raises(ValueError, match="all must have the same dims, got 2 and 5"):
        acquisition.value_and_gradient([posterior, random_posterior(np.random.default_rng(0), FLOATS_5, 5)[0]], [logei(0.0)], points)
    with pytest.raises(ValueError, match="dims: has 5 dims, the posterior 2"):
        acquisition.maximize([posterior], [logei(0.0)], encoded(FLOATS_5), seed=0, number=0)
    with pytest.raises(acquisition.SamplerError, match="beta = -1"):
        ucb(-1.0)


# ---- instruction sets


@pytest.mark.slow
@outer
def test_every_instruction_set_passes_these_tests():
    pass_under_every_instruction_set(__file__)
