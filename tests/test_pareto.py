"""The front against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from jaxhp import pareto_front


@pytest.mark.parametrize("m", [1, 2, 3, 5])
def test_the_front_is_what_nothing_dominates(m: int) -> None:
    rng = np.random.default_rng(m)
    y = rng.integers(0, 6, size=(80, m)).astype(float)
    y[rng.random(y.shape) < 0.03] = np.nan
    expected = [not np.isnan(a).any() and not any((b <= a).all() and (b < a).any() for b in y if not np.isnan(b).any()) for a in y]
    assert pareto_front(y).tolist() == expected


def test_an_empty_table_has_an_empty_front() -> None:
    assert pareto_front(np.empty((0, 2))).shape == (0,)
