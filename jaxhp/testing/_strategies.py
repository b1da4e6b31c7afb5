"""Hypothesis strategies for spaces and histories. Hypothesis is imported when one of them is called."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxhp._types import Outcome, Problem, Status, Trials
from jaxhp.errors import MissingExtra
from jaxhp.space import Categorical, Float, Int, Ordinal, Space
from jaxhp.testing._histories import drawn, joined, rows

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

_CHOICES = ((1, 2, 4, 8, 16), ("a", "b", "", "é", "a b"), (None, True, "None", 0.5, 3))
_VALUES = (0.0, -0.0, 1.0, -1.0, 5e-324, 1e-300, 1e300, -1e300)


def spaces(max_parameters: int = 5, *, conditions: bool = True) -> SearchStrategy[Space]:
    """Spaces of 1 to `max_parameters` parameters of every kind, with conditions up to any depth.

    Raises:
        MissingExtra: hypothesis is not installed.

    >>> spaces().is_empty
    False
    """
    _check_hypothesis()
    from hypothesis import strategies as st

    @st.composite
    def draw(draw: DrawFn) -> Space:
        count = draw(st.integers(1, max_parameters))
        parameters: dict[str, Any] = {}
        parents: dict[str, list[Any]] = {}  # values of each parameter that others may depend on
        for i in range(count):
            when = None
            if conditions and parents and draw(st.sampled_from((False, True))):
                parent = draw(st.sampled_from(sorted(parents)))
                when = {parent: draw(st.lists(st.sampled_from(parents[parent]), min_size=1, max_size=2, unique=True))}
            name = f"p{i}"
            kind = draw(st.sampled_from(("float", "log", "step", "int", "logint", "ordinal", "categorical")))
            if kind == "float":
                low = draw(st.floats(-1e6, 1e6))
                parameters[name] = Float(low, low + draw(st.floats(1e-3, 1e6)), when=when)
            elif kind == "log":
                low = draw(st.floats(1e-9, 1e3))
                parameters[name] = Float(low, low * draw(st.floats(1.5, 1e6)), log=True, when=when)
            elif kind == "step":
                steps = draw(st.integers(1, 40))
                parameters[name] = Float(0.0, steps / 10, step=0.1, when=when)
                parents[name] = [i / 10 for i in range(steps + 1)]
            elif kind == "int":
                low_int = draw(st.integers(-50, 50))
                high_int = low_int + draw(st.integers(1, 12))
                parameters[name] = Int(low_int, high_int, when=when)
                parents[name] = list(range(low_int, high_int + 1))
            elif kind == "logint":
                low_int = draw(st.integers(1, 50))
                parameters[name] = Int(low_int, low_int + draw(st.integers(1, 500)), log=True, when=when)
            else:
                parents[name] = list(draw(st.sampled_from(_CHOICES)))[: draw(st.integers(2, 5))]
                parameters[name] = (Categorical if kind == "categorical" else Ordinal)(parents[name], when=when)
        return Space(parameters)

    return draw()


def histories(space: Space, *, outcomes: int = 1, max_trials: int = 12) -> SearchStrategy[Trials]:
    """What a sampler may be told: asks, then some tells in any order, with failures, NaN, infinities, huge and repeated values.

    Raises:
        MissingExtra: hypothesis is not installed.
    """
    _check_hypothesis()
    from hypothesis import strategies as st

    value = st.one_of(st.sampled_from(_VALUES), st.floats(-1e6, 1e6))

    @st.composite
    def draw(draw: DrawFn) -> Trials:
        n = draw(st.integers(1, max_trials))
        problem = Problem(space, space.dims, tuple(Outcome(f"y{i}") for i in range(outcomes)))
        u = drawn(problem, draw(st.integers(0, 1000)), n, "strategy")
        if draw(st.booleans()):
            u[n // 2 :] = u[0]
        told = draw(st.lists(st.integers(0, n - 1), unique=True))
        parts = [rows(np.arange(n), u, outcomes=outcomes)]
        for number in told:
            y = [draw(value) for _ in range(outcomes)]
            status = draw(st.sampled_from((Status.COMPLETE, Status.COMPLETE, Status.FAILED, Status.STOPPED)))
            if status == Status.FAILED:
                y = [draw(st.sampled_from((np.nan, np.inf, -np.inf))) for _ in range(outcomes)]
            parts.append(rows(np.array([number]), u[[number]], np.array([y]), status))
        return joined(parts)

    return draw()


def _check_hypothesis() -> None:
    if find_spec("hypothesis") is None:
        raise MissingExtra('the strategies of jaxhp.testing need hypothesis: pip install "jaxhp[test]"')
