"""The compiled kernel against its slow twins (kernel_reference.py), SciPy and the theory of digital nets."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import kernel_reference as twin
import mpmath
import numpy as np
import pytest
from elsewhere import outer, pass_under_every_instruction_set
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, qmc

from jaxhp import _kernel
from jaxhp._types import Dims, Kind

# ---- scrambled Sobol points


def test_plain_points_are_scipys():
    ours = _kernel.sobol(0, np.arange(2048), 256, scramble=False)
    assert (ours == qmc.Sobol(256, scramble=False).random(2048)).all()


def test_a_point_is_named_by_its_index_alone():
    numbers = np.array([77, 5, 2**32 - 1, 5])
    batch = _kernel.sobol(3, numbers, 300)
    for row, number in zip(batch, numbers, strict=True):
        assert (row == _kernel.sobol(3, np.array([number]), 300)[0]).all()
    assert (batch[1] == batch[3]).all()


def cell_counts(u, bits):
    """The sorted numbers of points in the elementary intervals 2^-bits[0] x 2^-bits[1] x ..."""
    cell = np.zeros(len(u), dtype=np.int64)
    for axis, b in enumerate(bits):
        cell = (cell << b) + np.floor(u[:, axis] * 2**b).astype(np.int64)
    return np.sort(np.bincount(cell, minlength=2 ** sum(bits)))


@settings(max_examples=100)
@given(st.integers(0, 2**64 - 1), st.lists(st.integers(0, 255), min_size=1, max_size=3, unique=True), st.data())
def test_scrambling_keeps_the_stratification_of_every_elementary_interval(seed, axes, data):
    bits = [data.draw(st.integers(0, 8 // len(axes))) for _ in axes]
    plain = _kernel.sobol(0, np.arange(256), 256, scramble=False)[:, axes]
    scrambled = _kernel.sobol(seed, np.arange(256), 256)[:, axes]
    assert (cell_counts(scrambled, bits) == cell_counts(plain, bits)).all()


@pytest.mark.parametrize("seed", range(5))
def test_the_first_two_axes_are_a_0_m_2_net(seed):
    u = _kernel.sobol(seed, np.arange(1024), 2)
    for first in range(11):
        assert (cell_counts(u, [first, 10 - first]) == 1).all()


@pytest.mark.parametrize("seed", range(3))
def test_padded_axes_are_stratified_and_repeat_no_other_axis(seed):
    u = _kernel.sobol(seed, np.arange(256), 700)
    for axis in range(700):
        assert (cell_counts(u[:, [axis]], [8]) == 1).all()
    for axis in range(700 - 256):
        assert abs(np.corrcoef(u[:, axis], u[:, axis + 256])[0, 1]) < 0.35


def test_scrambling_is_nested():
    numbers = np.arange(4096)
    plain = _kernel.sobol(0, numbers, 3, scramble=False)
    scrambled = _kernel.sobol(9, numbers, 3)
    for bits in range(1, 12):
        before, after = np.floor(plain * 2**bits), np.floor(scrambled * 2**bits)
        for axis in range(3):
            pairs = set(zip(before[:, axis], after[:, axis], strict=True))
            assert len(pairs) == 2**bits  # cells are permuted, never split


@pytest.mark.parametrize("number", [0, 1, 6, 255])
def test_every_point_is_uniform_over_seeds(number):
    rows = np.concatenate([_kernel.sobol(seed, np.array([number]), 8) for seed in range(2000)])
    for axis in range(8):
        assert kstest(rows[:, axis], "uniform").pvalue > 1e-4
    correlation = np.corrcoef(rows.T) - np.eye(8)
    assert abs(correlation).max() < 0.1
    for bit in range(1, 21):
        assert abs((np.floor(rows * 2**bit) % 2).mean() - 0.5) < 0.02


def test_pairs_of_points_fall_independently_below_their_common_cell():
    # 0 and 1 are in different halves of every axis; where in their halves they fall must be independent
    pairs = np.stack([_kernel.sobol(seed, np.arange(2), 1)[:, 0] for seed in range(4000)])
    inside = pairs * 2 % 1
    assert (np.floor(pairs * 2).sum(axis=1) == 1).all()
    assert abs(np.corrcoef(inside.T)[0, 1]) < 0.06


def test_integration_errors_are_far_below_monte_carlos():
    def integrand(u):
        return np.prod(1 + (u - 0.5) / np.arange(1, 6), axis=1)  # 1 in the mean

    seeds, n = range(40), 1024
    scrambled = np.array([integrand(_kernel.sobol(seed, np.arange(n), 5)).mean() - 1 for seed in seeds])
    plain = np.array([integrand(np.random.default_rng(seed).random((n, 5))).mean() - 1 for seed in seeds])
    assert np.sqrt((scrambled**2).mean()) * 30 < np.sqrt((plain**2).mean())
    assert abs(scrambled.mean()) < 4 * scrambled.std() / np.sqrt(len(seeds))


def test_scrambled_points_are_never_on_the_boundary():
    u = _kernel.sobol(2**64 - 1, np.arange(100_000), 4)
    assert u.min() > 0
    assert u.max() < 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((0, np.array([3, -1]), 2), "numbers[1] = -1: expected a point's index, 0 to 2^32 - 1"),
        ((0, np.array([2**32]), 2), "numbers[0] = 4294967296"),
        ((0, np.array([1]), 257, False), "d: 257 dims without scrambling, but the table has 256; use scramble=True"),
        ((-1, np.array([1]), 2), "seed: expected an int"),
    ],
)
def test_sobol_refuses_wrong_arguments_with_a_sentence(arguments, sentence):
    with pytest.raises(ValueError) as caught:
        _kernel.sobol(*arguments)
    assert sentence in str(caught.value)


# ---- the normal quantile


def test_ppf_is_exact_to_a_few_ulps():
    p = np.concatenate([np.linspace(0.001, 0.999, 99), 10.0 ** -np.arange(3, 300, 13), [0.075, 0.925, 1 - 2**-53]])
    with mpmath.workdps(60):
        for value, found in zip(p, _kernel.ppf(p), strict=True):
            exact = -mpmath.sqrt(2) * _erfcinv(2 * mpmath.mpf(float(value)))
            assert abs(found - exact) <= 1e-15 * abs(exact)


def _erfcinv(x):
    if x > 1:
        return -_erfcinv(2 - x)
    guess = mpmath.sqrt(-mpmath.log(x)) if x < 0.1 else mpmath.erfinv(1 - x)
    return mpmath.findroot(lambda z: mpmath.log(mpmath.erfc(z)) - mpmath.log(x), guess)


def test_ppf_has_infinite_ends_and_nothing_beyond():
    found = _kernel.ppf(np.array([0.0, 0.5, 1.0, -0.1, 1.1, np.nan]))
    assert found[:3].tolist() == [-np.inf, 0.0, np.inf]
    assert np.isnan(found[3:]).all()


# ---- the output transform

ORDINARY = st.floats(-100, 100)
NASTY = st.one_of(ORDINARY, st.integers(0, 5).map(float), st.floats(allow_nan=True, allow_infinity=True), st.floats(1e20, 1e30))


@settings(max_examples=400)
@given(st.lists(NASTY, max_size=40))
def test_transform_equals_its_twin(values):
    y = np.array(values, dtype=np.float64)
    np.testing.assert_allclose(_kernel.transform(y), twin.transform(y), rtol=1e-9, atol=1e-12)


@settings(max_examples=200)
@given(st.lists(NASTY, min_size=1, max_size=40))
def test_transform_is_finite_standardised_and_keeps_the_order(values):
    y = np.array(values, dtype=np.float64)
    z = _kernel.transform(y)
    assert np.isfinite(z).all()
    assert abs(z).max() <= np.sqrt(len(z)) + 1e-9  # no z-score of n values is larger
    assert abs(z.mean()) < 1e-12
    assert z.std() == pytest.approx(1, abs=1e-9) or not z.any()
    order = np.argsort(np.where(np.isfinite(y), y, np.inf), kind="stable")
    assert (np.diff(z[order]) >= -1e-15).all()


BLOW_UPS = {
    "NaN": lambda size, rng: np.full(size, np.nan),
    "one infinity": lambda size, rng: np.full(size, np.inf),
    "1e30": lambda size, rng: np.full(size, 1e30),
    "around 1e30": lambda size, rng: 1e30 * rng.random(size),
    "1e4 to 1e30": lambda size, rng: 10 ** rng.uniform(4, 30, size),
    "1e300": lambda size, rng: 1e300 * (1 + rng.random(size)),
}


@pytest.mark.parametrize("percent", range(0, 100, 5))
@pytest.mark.parametrize("blow_up", BLOW_UPS.values(), ids=BLOW_UPS)
@pytest.mark.parametrize("n", [20, 60, 200])
def test_good_values_keep_order_and_spread_however_many_trials_blow_up(n, blow_up, percent):
    rng = np.random.default_rng([n, percent])
    y = rng.normal(2, 1, n)
    bad = rng.permutation(n) < n * percent // 100
    y[bad] = blow_up(bad.sum(), rng)
    z = _kernel.transform(y)
    assert np.isfinite(z).all()
    assert abs(z).max() < 10
    good = np.sort(z[~bad])
    assert (np.argsort(z[~bad]) == np.argsort(y[~bad])).all()
    if len(good) >= 2:
        assert good[-1] - good[0] > 0.1
        assert np.diff(good).min() > 0
    if bad.any():
        assert z[bad].min() > good[-1]


@pytest.mark.parametrize("scale", [1e-300, 1e-9, 1.0, 1e9, 1e290])
@pytest.mark.parametrize("shift", [-1e3, 0.0, 3.0])
def test_transform_does_not_depend_on_the_unit_of_the_outcome(scale, shift):
    y = np.random.default_rng(0).standard_cauchy(50) + shift
    np.testing.assert_allclose(_kernel.transform(y * scale), _kernel.transform(y), rtol=1e-9, atol=1e-9)


def test_the_largest_numbers_do_not_overflow():
    largest = np.finfo(float).max
    z = _kernel.transform(np.array([-largest, largest, -1e300, 1e300, 0.0, 5e-324, np.nan]))
    assert np.isfinite(z).all()
    assert z[0] == z.min()
    assert z[6] == z.max()


@pytest.mark.parametrize("y", [[], [3.0], [np.nan], [np.inf, np.nan, -np.inf], [2.0] * 9])
def test_where_nothing_differs_the_transform_is_zero(y):
    assert _kernel.transform(np.array(y)).tolist() == [0.0] * len(y)


def test_minus_infinity_is_a_failure_not_the_best_value():
    z = _kernel.transform(np.array([1.0, 2.0, -np.inf]))
    assert np.argmax(z) == 2


# ---- the encoded space


def dims_of(*rows, allowed=None):
    """Dims from rows (kind, low, high, levels, parent)."""
    kind, low, high, levels, parent = zip(*rows, strict=True)
    table = np.ones((len(rows), max(1, *levels) if max(levels) < 1000 else 1), dtype=bool) if allowed is None else np.array(allowed)
    return Dims(
        np.array(kind, np.int8), np.array(low, float), np.array(high, float), np.array(levels, np.int64), np.array(parent, np.int32), table
    )


@st.composite
def encoded_spaces(draw):
    rows = []
    for j in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(Kind))
        low, high, levels = 0.0, 0.0, draw(st.integers(1, 7))
        if kind in (Kind.FLOAT, Kind.FLOAT_LOG):
            low = draw(st.floats(1e-6, 1e3))
            high, levels = low * draw(st.floats(1.5, 1e6)), 0
        elif kind == Kind.GRID:
            low, high = -1.0, 1.0
        elif kind == Kind.GRID_LOG:
            low = float(draw(st.integers(1, 1000)))
            high = low + levels - 1
        parents = [i for i in range(j) if rows[i][0] in (Kind.GRID, Kind.ORDINAL, Kind.CATEGORICAL)]
        rows.append((kind, low, high, levels, draw(st.sampled_from([-1, *parents]))))
    allowed = draw(st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=len(rows), max_size=len(rows)))
    return dims_of(*rows, allowed=allowed)


@settings(max_examples=300)
@given(encoded_spaces(), st.integers(0, 2**32 - 1))
def test_snap_decode_and_encode_equal_their_twins(dims, seed):
    u = np.random.default_rng(seed).uniform(-0.2, 1.2, (8, len(dims.kind)))
    space = _kernel.EncodedDims(*dims)
    snapped = space.snap(u)
    np.testing.assert_allclose(snapped, twin.snap(dims, u), rtol=1e-15, atol=1e-16)
    assert (space.snap(snapped).view(np.int64) == snapped.view(np.int64)).all()  # canonical points stay, bit for bit
    x = space.decode(snapped)
    np.testing.assert_allclose(x, twin.decode(dims, snapped), rtol=1e-13, atol=0)
    encoded = space.encode(x)
    discrete = dims.kind > Kind.FLOAT_LOG
    assert (encoded[:, discrete].view(np.int64) == snapped[:, discrete].view(np.int64)).all()
    np.testing.assert_allclose(encoded, snapped, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", [Kind.GRID, Kind.GRID_LOG, Kind.ORDINAL, Kind.CATEGORICAL])
def test_every_level_makes_the_round_trip(kind):
    for levels in [*range(1, 130), 1000, 4096, 99_999]:
        choice = kind in (Kind.ORDINAL, Kind.CATEGORICAL)
        check_round_trip(dims_of((kind, 0 if choice else 1, 0 if choice else levels, levels, -1)), np.arange(levels))


@pytest.mark.parametrize(("low", "high"), [(1, 2**40), (7, 2**44), (2**44 - 1000, 2**44)])
def test_levels_of_huge_log_grids_make_the_round_trip(low, high):
    levels = high - low + 1
    rng = np.random.default_rng(0)
    sample = np.unique(np.concatenate([rng.integers(0, levels, 20_000), np.exp(rng.uniform(0, np.log(levels), 20_000)).astype(np.int64)]))
    check_round_trip(dims_of((Kind.GRID_LOG, low, high, levels, -1)), np.append(sample[sample < levels], [0, levels - 1]))


def check_round_trip(dims, levels):
    space = _kernel.EncodedDims(*dims)
    x = levels.astype(np.float64)[:, None]
    u = space.encode(x)
    assert (space.decode(u) == x).all()
    assert (space.snap(u) == u).all()


@pytest.mark.parametrize("kind", [Kind.FLOAT, Kind.FLOAT_LOG])
@given(low=st.floats(1e-300, 1e300), factor=st.floats(1.0001, 1e6))
def test_a_floats_endpoints_are_exact(kind, low, factor):
    space = _kernel.EncodedDims(*dims_of((kind, low, low * factor, 0, -1)))
    x = np.array([[low], [low * factor]])
    assert space.encode(x).tolist() == [[0.0], [1.0]]
    assert (space.decode(np.array([[0.0], [1.0]])) == x).all()


def test_an_unbalanced_interval_never_decodes_outside():
    space = _kernel.EncodedDims(*dims_of((Kind.FLOAT, -0.1, 0.7, 0, -1), (Kind.FLOAT_LOG, 1e-9, 0.3, 0, -1)))
    u = np.nextafter(np.ones((1, 2)), 0)
    x = space.decode(u)
    assert (x <= [0.7, 0.3]).all()
    space.encode(x)


def test_a_grandchild_of_an_inactive_dim_is_inactive():
    dims = dims_of(
        (Kind.CATEGORICAL, 0, 0, 2, -1),
        (Kind.ORDINAL, 0, 0, 2, 0),
        (Kind.FLOAT, 0, 1, 0, 1),
        allowed=[[True, True], [False, True], [True, True]],
    )
    u = np.array([[0.1, np.nan, 0.7], [0.9, 0.1, 0.7]])
    assert np.isnan(_kernel.EncodedDims(*dims).snap(u)).tolist() == [[False, True, True], [False] * 3]


MIXED = dims_of((Kind.FLOAT, -1, 1, 0, -1), (Kind.GRID, 0, 1, 3, -1))


@pytest.mark.parametrize(
    ("method", "rows", "error", "sentence"),
    [
        ("snap", [[0.5, 0.5], [0.5, np.nan]], ValueError, "u[1, 1] (row, dim) is NaN, but that coordinate is active"),
        ("encode", [[0.5, 1.0], [1.5, 1.0]], ValueError, "x[1, 0] (row, dim) = 1.5: expected a number from -1.0 to 1.0"),
        ("encode", [[0.5, 3.0]], ValueError, "x[0, 1] (row, dim) = 3.0: expected a level, a whole number from 0 to 2"),
        ("encode", [[0.5, 0.5]], ValueError, "x[0, 1] (row, dim) = 0.5: expected a level"),
        ("encode", [[-np.inf, 0.0]], ValueError, "x[0, 0] (row, dim) = -inf"),
        ("encode", [[0.0, 1e300]], ValueError, "x[0, 1] (row, dim) = 1e+300"),
        ("decode", [[0.5, 0.5, 0.5]], ValueError, "u: expected C-contiguous float64 (n, 2), got shape (1, 3)"),
        ("snap", [0.5, 0.5], ValueError, "u: expected C-contiguous float64 (n, 2), got shape (2,)"),
    ],
)
def test_wrong_rows_are_refused_by_row_and_dim(method, rows, error, sentence):
    with pytest.raises(error) as caught:
        getattr(_kernel.EncodedDims(*MIXED), method)(np.array(rows))
    assert sentence in str(caught.value)


def test_a_wrong_dtype_is_refused_with_the_remedy():
    with pytest.raises(TypeError) as caught:
        _kernel.EncodedDims(*MIXED).snap(np.zeros((3, 2), dtype=np.float32))
    remedy = "u: expected C-contiguous float64 (n, 2), got float32 (3, 2); use np.ascontiguousarray(u, np.float64)"
    assert str(caught.value) == remedy


def test_a_fortran_ordered_array_is_refused():
    with pytest.raises(TypeError, match="got non-contiguous float64"):
        _kernel.EncodedDims(*MIXED).snap(np.zeros((3, 2), order="F"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kind": np.array([0, 9], np.int8)}, "kind[1] = 9: expected 0 to 5"),
        ({"low": np.array([1.0, 0.0])}, "low[0] = 1 must be below high[0] = 1; did you swap them?"),
        ({"low": np.array([-1.0])}, "low: expected C-contiguous float64 (2,), got shape (1,)"),
        ({"levels": np.array([0, 0])}, "levels[1] = 0: a GRID dim needs at least one level"),
        ({"parent": np.array([-1, 1], np.int32)}, "parent[1] = 1: expected -1 (none) or an earlier dim"),
        ({"parent": np.array([-1, 0], np.int32)}, "parent[1] = 0: dim 0 is FLOAT; a parent is GRID, ORDINAL or CATEGORICAL"),
        ({"allowed": np.ones((3, 3), bool)}, "allowed: expected C-contiguous bool_ (2, L), got shape (3, 3)"),
        ({"kind": np.array([1, 2], np.int8)}, "low[0] = -1: a log axis needs low > 0"),
    ],
)
def test_dims_that_make_no_space_are_refused(changes, sentence):
    with pytest.raises(ValueError) as caught:
        _kernel.EncodedDims(*MIXED._replace(**changes))
    assert sentence in str(caught.value)


def test_arguments_are_not_changed_and_empty_batches_are_welcome():
    space = _kernel.EncodedDims(*MIXED)
    u = np.array([[-3.0, 0.1]])
    u.flags.writeable = False
    assert space.snap(u).tolist() == [[0.0, 0.5 / 3]]
    for method in (space.snap, space.encode, space.decode):
        assert method(np.empty((0, 2))).shape == (0, 2)


def test_a_batch_lets_other_threads_run():
    u, space = np.random.default_rng(0).random((400_000, 2)), _kernel.EncodedDims(*MIXED)
    started, ticks = threading.Event(), []

    def snap():
        started.set()
        for _ in range(5):
            space.snap(u)

    worker = threading.Thread(target=snap)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e3)  # a thread that keeps the lock keeps it to the end of its loop
    try:
        worker.start()
        started.wait()
        while worker.is_alive():
            ticks.append(worker.is_alive())
            started.wait(0)
            worker.join(1e-4)
    finally:
        sys.setswitchinterval(before)
        worker.join()
    assert len(ticks) > 5


# ---- instruction sets


def in_fresh_python(code, isa):
    environment = {**os.environ, "JAXHP_ISA": isa}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_the_instruction_set_can_be_forced():
    for isa in _kernel.available_isas():
        done = in_fresh_python("from jaxhp import _kernel; print(_kernel.isa())", isa)
        assert done.stdout.strip() == isa, done.stderr
    assert _kernel.available_isas()[-1] == "baseline"


def test_an_unknown_instruction_set_is_an_error_that_names_the_available_ones():
    done = in_fresh_python("from jaxhp import _kernel", "sse9")
    assert done.returncode != 0
    assert f"JAXHP_ISA='sse9': this machine has {', '.join(_kernel.available_isas())}" in done.stderr


@pytest.mark.slow
@outer
def test_every_instruction_set_passes_these_tests():
    pass_under_every_instruction_set(__file__, Path(__file__).with_name("test_rng.py"))
