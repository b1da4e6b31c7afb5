"""The surrogate that a Bayesian study keeps: when it is fitted, which rows it stands on, and what it then predicts."""

from __future__ import annotations

import copy

import gp_reference
import kernel_reference
import numpy as np
import pytest

from jaxhp._types import Floats, Ints, Posterior
from jaxhp.gp import _surrogate, predict
from jaxhp.samplers._model import COLD, NOISIEST, STRIDE, WARM, Model

KIND = np.array([0, 0, 1], np.int8)
FITS = [4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 21, 24, 27, 30, 33, 37, 41, 46, 51, 57, 63, 70]
FITS += [77, 85, 94, 104, 115, 127, 140, 154, 170, 188, 207, 228, 251, 277]  # 188: 170 * 1.1 is a little above 187 in binary
Row = tuple[Floats, float, float]


def told(n: int, seed: int = 0, failures: float = 0.2, noisy: float = 0.0) -> list[Row]:
    """Rows of a bowl in two floats, the second of them inactive now and then, and three categories."""
    random = np.random.default_rng(seed)
    u = random.random((n, 3))
    u[:, 2] = (np.floor(3 * u[:, 2]) + 0.5) / 3
    y = ((u[:, :2] - 0.3) ** 2).sum(axis=1) + (u[:, 2] > 0.5)
    u[random.random(n) < 0.2, 1] = np.nan
    y[random.random(n) < failures] = np.nan
    noise = np.where(random.random(n) < noisy, random.uniform(0.01, 0.1, n), 0.0)
    return [(u[i], float(y[i]), float(noise[i])) for i in range(n)]


def made(rows: list[Row], cap: int = 512, first_fit: int = 4, seed: int = 0) -> Model:
    return grown(Model(KIND, seed, first_fit, cap), rows)


def grown(model: Model, rows: list[Row]) -> Model:
    for row in rows:
        model.tell(*row)
    return model


def answer(model: Model) -> tuple[Posterior, Floats]:
    found = model.posterior()
    assert found is not None
    return found


def bits(model: Model) -> list[object]:
    """Everything that an answer holds and means, without the spare room behind it."""
    posterior, z = answer(model)
    n = posterior.n
    parts = [posterior.X[:, :n], posterior.Linv[:n, :n], posterior.alpha[:n], posterior.noise[:n], posterior.theta, z, model.held]
    return [*(part.tobytes() for part in parts), posterior.mean, n, model.fits]


def unfitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hyperparameters are left as they start: for tests that ask which rows are held, not what is learned of them."""
    monkeypatch.setattr(_surrogate, "fit", lambda X, z, extra, kind, theta, iterations: np.array([1.0, 1.0, 1.0, 1.0, 0.01]))


# -- when ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first_fit", [4, 7, 10])
def test_it_is_fitted_at_the_start_and_whenever_the_count_has_grown_by_a_tenth(first_fit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    unfitted(monkeypatch)
    model, counts = Model(KIND, 0, first_fit), []
    for i, row in enumerate(told(300)):
        before = model.fits
        model.tell(*row)
        counts += [i + 1] * (model.fits - before)
    assert counts == [count for count in FITS if count >= first_fit]


def test_the_first_fit_is_cold_and_each_other_one_starts_from_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Floats | None, int, int]] = []

    def fit(X: Floats, z: Floats, extra: Floats, kind: Ints, theta: Floats | None, iterations: int) -> Floats:
        calls.append((theta, iterations, len(X)))
        return np.full(5, float(len(calls)))

    monkeypatch.setattr(_surrogate, "fit", fit)
    made(told(13))
    assert [n for *_, n in calls] == FITS[:9]
    assert calls[0][:2] == (None, COLD)
    for i, (theta, iterations, _) in enumerate(calls[1:], start=1):
        assert iterations == WARM and theta is not None and (theta == i).all()


def test_there_is_no_posterior_before_the_first_fit_and_none_where_it_cannot_be_factored(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = told(12)
    assert made(rows[:3]).posterior() is None
    assert answer(made(rows[:4]))[0].n == 4
    monkeypatch.setattr(_surrogate, "factor", lambda *arguments: None)
    model = made(rows[:10])
    assert model.posterior() is None and model.posterior() is None
    monkeypatch.undo()
    assert answer(grown(model, rows[10:11]))[0].n == 11  # the next anchor factors anew


def test_a_row_that_cannot_be_appended_is_a_gap_until_the_next_anchor(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = told(13)
    model = made(rows[:11])
    kept = bits(model)
    monkeypatch.setattr(_surrogate, "append", lambda *arguments: None)
    assert grown(model, rows[11:12]).posterior() is None
    monkeypatch.undo()
    assert model.posterior() is None
    grown(model, rows[12:])
    assert bits(model) == bits(made(rows)) != kept


# -- a fold ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cap", [16, 48, 512])
def test_asking_in_between_changes_nothing(cap: int) -> None:
    rows = told(140, noisy=0.5)
    every, seldom = Model(KIND, 3, 4, cap), Model(KIND, 3, 4, cap)
    for i, row in enumerate(rows):
        every.tell(*row)
        seldom.tell(*row)
        every.posterior()
        if i % 37 == 5:
            assert bits(every) == bits(seldom)
    assert bits(every) == bits(seldom) == bits(made(rows, cap, seed=3))


def test_a_copy_goes_its_own_way() -> None:
    rows = told(90, noisy=0.3)
    model = made(rows[:50], cap=32)
    answer(model)
    kept = copy.deepcopy(model)
    before = bits(kept)
    bits(grown(model, rows[50:]))
    assert bits(kept) == before
    assert bits(grown(kept, rows[50:])) == bits(model) == bits(made(rows, cap=32))


def test_an_answer_is_kept_until_the_next_row_is_told() -> None:
    model = made(told(12))
    first = answer(model)
    again = answer(model)
    assert first[0] is again[0] and first[1] is again[1]
    model.tell(np.array([0.9, 0.9, 0.5]), -7.0, 0.0)
    after = answer(model)
    assert after[0].n == 13 and len(after[1]) == 13 and after[1].argmin() == 12
    assert first[0].n == 12 and len(first[1]) == 12


# -- which rows ------------------------------------------------------------------------------------------------------------


def anchors(model: Model, rows: list[Row]) -> list[int]:
    """Counts after which the held rows are not the ones before and the new one."""
    found, before = [], None
    for i, row in enumerate(rows):
        model.tell(*row)
        if model.posterior() is None:
            continue
        if before is None or not np.array_equal(model.held[:-1], before):
            found.append(i + 1)
        before = model.held.copy()
    return found


@pytest.mark.parametrize(
    ("cap", "expected"),
    [
        (64, [70, 77, 85, 94, 104, 115, 127, 140, 154, 170, 188, 207, 228, 251, 277, 305, 336, 368, 370, 402, 408, 440, 449, 481]),
        (440, [441, 449, 481]),  # the fit before is that at 408: more than a stride ago when the cap is passed
    ],
)
def test_beyond_the_cap_rows_are_chosen_anew_at_each_fit_and_every_stride_in_between(
    cap: int, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    unfitted(monkeypatch)
    assert anchors(Model(KIND, 0, 4, cap), told(490)) == [4, *expected]


@pytest.mark.parametrize("cap", [16, 64, 440])
def test_no_more_rows_are_held_than_the_cap_and_a_stride(cap: int, monkeypatch: pytest.MonkeyPatch) -> None:
    unfitted(monkeypatch)
    model, most = Model(KIND, 0, 4, cap), 0
    for i, row in enumerate(told(500)):
        model.tell(*row)
        if i + 1 >= 4:
            answer(model)
            most = max(most, len(model.held))
    assert most == cap + STRIDE - 1


@pytest.mark.parametrize("failures", [0.2, 0.9, 1.0])
def test_the_active_set_is_the_best_half_and_a_draw_from_the_rest(failures: float, monkeypatch: pytest.MonkeyPatch) -> None:
    unfitted(monkeypatch)
    rows = told(277, failures=failures)
    held = [made_held(rows, seed) for seed in (0, 0, 1)]
    for rows_held in held:
        assert len(rows_held) == 64 and (np.diff(rows_held) > 0).all() and rows_held[-1] < 277
        y = np.array([y if np.isfinite(y) else np.inf for _, y, _ in rows])
        best = np.flatnonzero(y < np.sort(y)[31])  # those that belong to the best half whatever is drawn among equals
        assert set(best) <= set(rows_held)
    assert np.array_equal(held[0], held[1]) and not np.array_equal(held[0], held[2])
    assert held[0].max() > 200 and held[0].min() < 50


def made_held(rows: list[Row], seed: int) -> Ints:
    model = made(rows, cap=64, seed=seed)
    answer(model)
    return model.held.copy()


def test_the_rest_is_drawn_anew_at_each_anchor(monkeypatch: pytest.MonkeyPatch) -> None:
    unfitted(monkeypatch)
    rows = told(277)
    early, late = made_held(rows[:251], 0), made_held(rows, 0)
    good = np.argsort([y if np.isfinite(y) else np.inf for _, y, _ in rows])[:64]
    assert set(early) - set(good) and len(set(early) & set(late) - set(good)) < 20  # 32 were drawn each time


# -- what it predicts ------------------------------------------------------------------------------------------------------


def variances(y: Floats, noise: Floats, z: Floats) -> Floats:
    """Told noise in units of z by the slope over the better half, where the transform is a straight line (no blow-ups here)."""
    good = np.flatnonzero(y <= np.sort(y[np.isfinite(y)])[(np.isfinite(y).sum() - 1) // 2])
    return np.asarray(np.square(noise * np.polyfit(y[good], z[good], 1)[0]))


@pytest.mark.parametrize(("n", "appended"), [(4, 0), (24, 0), (56, 5), (85, 0)])
@pytest.mark.parametrize("noisy", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("cap", [32, 512])
def test_predictions_are_those_of_the_textbook_at_the_same_hyperparameters(n: int, appended: int, noisy: float, cap: int) -> None:
    model = made(told(n, noisy=noisy), cap)
    posterior, z = answer(model)
    held = model.held
    X, y, noise = np.nan_to_num(model.u[held], nan=0.5), model.y[held], model.noise[held]
    assert len(z) == posterior.n == len(held) == min(n, cap + appended)
    assert np.allclose(z, kernel_reference.transform(y), rtol=0, atol=1e-12)
    factored = len(held) - appended
    extra = np.empty(len(held))
    for count in range(factored, len(held) + 1):  # every row keeps the slope at which it came
        new = slice(0, factored) if count == factored else slice(count - 1, count)
        extra[new] = variances(y[:count], noise[:count], kernel_reference.transform(y[:count]))[new]
    assert np.array_equal(posterior.theta, model.theta)
    assert (noisy == 0.0) == (not extra.any()) and np.isnan(model.u[held[factored:]]).any() == (appended > 0)
    queries = np.random.default_rng(1).random((20, 3))
    queries[::2] = X[np.arange(10) % len(X)]
    mean, variance = predict(posterior, queries)
    expected_mean, covariance = gp_reference.predict(X, z, extra, KIND, posterior.theta, queries)
    assert np.allclose(mean, expected_mean, rtol=0, atol=1e-8)
    assert np.allclose(variance, np.diag(covariance), rtol=0, atol=1e-8)


@pytest.mark.parametrize("row", [3, 11])  # one that was factored, one that was appended
def test_a_row_told_with_noise_is_trusted_less(row: int, monkeypatch: pytest.MonkeyPatch) -> None:
    unfitted(monkeypatch)
    rows = told(12, failures=0.0)
    at = np.nan_to_num(rows[row][0], nan=0.5)[None]
    trust = []
    for noise in (0.0, 0.1, 1.0, 1e6):
        posterior, _ = answer(made([(u, y, noise if i == row else 0.0) for i, (u, y, _) in enumerate(rows)]))
        trust.append(float(predict(posterior, at)[1][0]))
    assert (np.diff(trust) > 0).all()
    rest = answer(made([r for i, r in enumerate(rows) if i != row]))[0]
    assert trust[0] < 0.02 and trust[-1] == pytest.approx(float(predict(rest, at)[1][0]), abs=1e-6)  # as if it had not been told


def test_told_noise_counts_however_many_trials_blow_up(monkeypatch: pytest.MonkeyPatch) -> None:
    unfitted(monkeypatch)
    model = made([(u, y if i % 3 == 0 else 1e30, 0.05) for i, (u, y, _) in enumerate(told(37, failures=0.0))])
    posterior, z = answer(model)
    good = np.argsort(model.y[:37])[:7]  # the better half of the 13 that did not
    slope = np.polyfit(model.y[good], z[good], 1)[0]
    assert np.allclose(posterior.noise[:37] - posterior.theta[-1], (0.05 * slope) ** 2, rtol=1e-6)


@pytest.mark.parametrize("noise", [5e-324, 1e-300, 1e160, 1e308, np.inf, np.nan, -1.0])
@pytest.mark.parametrize(
    "y", [[0.0, 1.0], [1e308, -1e308], [5e-324, 1e-323, 0.0], [1.0], [np.nan, 2.0], [np.nan], [np.inf, -np.inf, 3.0, 4.0]]
)
def test_no_told_noise_breaks_the_arithmetic(noise: float, y: list[float]) -> None:
    model = made([(u, y[i % len(y)], noise if i % 2 else 0.0) for i, (u, _, _) in enumerate(told(13))])
    posterior, z = answer(model)
    extra = posterior.noise[:13] - posterior.theta[-1]
    assert np.isfinite(z).all() and np.isfinite(posterior.alpha[:13]).all()
    assert (extra >= 0.0).all() and (extra <= NOISIEST * 1.01).all() and (extra[::2] == 0.0).all()


def test_a_revised_result_stands_for_the_old_one():
    """A paused trial that went on, at another point: the posterior is that of the new row, whenever it is asked for."""
    rows = told(40, failures=0.0)
    number, (u, y, _) = 30, rows[30]
    direct, revised, asked = made(rows), made(rows[:number]), made(rows[:number])
    for i, row in enumerate(rows[number:], number):
        for m in (revised, asked):
            m.tell(*(row if i > number else (rows[0][0], 5.0, 0.0)))
        asked.posterior()
    for m in (revised, asked):
        m.revise(number, u, y, 0.0)
        m.theta = direct.theta
    want, mine, asked_before = direct.posterior(), revised.posterior(), asked.posterior()
    assert want is not None and mine is not None and asked_before is not None
    np.testing.assert_array_equal(mine[1], want[1])
    np.testing.assert_allclose(mine[0].alpha[:40], want[0].alpha[:40], rtol=1e-6, atol=1e-8)
    np.testing.assert_array_equal(mine[0].alpha[:40], asked_before[0].alpha[:40])
    np.testing.assert_array_equal(mine[0].Linv[:40, :40], asked_before[0].Linv[:40, :40])
