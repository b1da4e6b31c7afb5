"""Counter-based draws are NumPy's Philox, bit for bit, whoever draws them and in whatever order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxhp import _kernel
from jaxhp._rng import purpose_key, rng, uniform

WORDS = st.integers(0, 2**64 - 1)
NUMBERS = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5)


def numpy_stream(seed, purpose, number, attempt):
    key = np.array([seed, purpose], dtype=np.uint64)
    counter = np.array([0, number % 2**64, attempt, 0], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


@given(WORDS, WORDS, NUMBERS, st.integers(0, 40), WORDS)
def test_philox_is_numpys_stream_bit_for_bit(seed, purpose, numbers, d, attempt):
    drawn = _kernel.philox(seed, purpose, np.array(numbers, dtype=np.int64), d, attempt)
    assert drawn.shape == (len(numbers), d)
    for row, number in zip(drawn, numbers, strict=True):
        assert row.tobytes() == numpy_stream(seed, purpose, number, attempt).random(d).tobytes()


def test_a_large_batch_equals_its_rows_drawn_alone():
    numbers = np.arange(-500, 500)
    batch = _kernel.philox(1, 2, numbers, 7)
    assert all((batch[i] == _kernel.philox(1, 2, numbers[i : i + 1], 7)[0]).all() for i in range(len(numbers)))


def test_uniform_equals_the_generator_of_the_same_name():
    rows = uniform(-1, np.array([3, -9]), "a purpose", 5, attempt=2)
    for row, number in zip(rows, (3, -9), strict=True):
        assert (row == rng(-1, number, "a purpose", 2).random(5)).all()


@pytest.mark.parametrize("other", [(1, 5, "x", 0), (0, 6, "x", 0), (0, 5, "y", 0), (0, 5, "x", 1)])
def test_every_part_of_a_draws_name_changes_it(other):
    assert rng(0, 5, "x", 0).random() != rng(*other).random()


def test_purposes_have_stable_32_bit_keys():
    assert purpose_key("123456789") == 0xCBF43926  # the check value of CRC-32


NUMBER = np.array([0])


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ((-1, 0, NUMBER, 3), ValueError, "seed: expected an int from 0 to 18446744073709551615, got -1"),
        ((2**64, 0, NUMBER, 3), ValueError, "seed: expected an int from 0 to 18446744073709551615, got 18446744073709551616"),
        ((0.0, 0, NUMBER, 3), TypeError, "seed: expected an int from 0 to 18446744073709551615, got 0.0"),
        ((0, "x", NUMBER, 3), TypeError, "purpose: expected an int"),
        ((0, 0, NUMBER, -3), ValueError, "d: expected an int from 0 to 1048576, got -3"),
        ((0, 0, NUMBER, 3, -1), ValueError, "attempt: expected an int"),
        ((0, 0, [0], 3), TypeError, "numbers: expected C-contiguous int64 (k,), got a list; use np.ascontiguousarray(numbers, np.int64)"),
        ((0, 0, NUMBER.astype(np.int32), 3), TypeError, "numbers: expected C-contiguous int64 (k,), got int32 (1,)"),
        ((0, 0, NUMBER.astype(">i8"), 3), TypeError, "numbers: expected C-contiguous int64 (k,), got >i8 (1,)"),
        ((0, 0, NUMBER[:, None], 3), ValueError, "numbers: expected C-contiguous int64 (k,), got shape (1, 1)"),
        ((0, 0, np.arange(6)[::2], 3), TypeError, "numbers: expected C-contiguous int64 (k,), got non-contiguous int64 (3,)"),
    ],
)
def test_wrong_arguments_are_refused_with_a_sentence(arguments, error, sentence):
    with pytest.raises(error) as caught:
        _kernel.philox(*arguments)
    assert sentence in str(caught.value)
