"""What may vary, as scikit-learn's users write it: parameters of ours, lists, and scipy's distributions; and back to what estimators take.

A list of numbers in order is an `Ordinal`, any other list a `Categorical`; what is no text, number, boolean or None is searched by a label.
`uniform`, `loguniform` and `randint` of scipy are a `Float` or an `Int`. Any other distribution is searched along its quantiles, from 0.1 %
to 99.9 %, so that equal steps are equally likely; the log then holds quantiles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from jaxhp._types import Params
from jaxhp.errors import SpaceError
from jaxhp.space import Categorical, Float, Int, Ordinal, Space

_TAIL = 1e-3  # quantiles of a distribution that are left out at each end
_LABEL = 60  # characters


class Searched(NamedTuple):
    """A space, and what makes its configurations an estimator's parameters."""

    space: Space
    fixed: Params  # parameters with one value
    back: Mapping[str, Callable[[Any], Any]]  # from a logged value to the estimator's

    def candidate(self, params: Params) -> Params:
        """What `set_params` is called with."""
        return self.fixed | {name: self.back[name](v) if name in self.back else v for name, v in params.items()}


def searched(given: Any) -> Searched:
    """The space of `SearchCV(space=...)`.

    Raises:
        SpaceError: naming the parameter and what it may be.
    """
    if isinstance(given, Space):
        return Searched(given, {}, {})
    if not isinstance(given, Mapping) or not given:
        raise SpaceError(f"space: expected a jaxhp.Space or a dict of parameters, lists and scipy distributions, got {given!r}")
    parameters: dict[str, Any] = {}
    fixed: Params = {}
    back: dict[str, Callable[[Any], Any]] = {}
    for name, value in given.items():
        if isinstance(value, (Float, Int, Ordinal, Categorical)):
            parameters[name] = value
        elif hasattr(value, "ppf") and hasattr(value, "support"):
            _distribution(name, value, parameters, back)
        elif isinstance(value, (list, tuple, np.ndarray)) and len(value):
            _choices(name, list(value), parameters, fixed, back)
        else:
            raise SpaceError(f"space: {name!r} is {value!r}; expected a jaxhp parameter, a list or a scipy distribution")
    if not parameters:
        raise SpaceError("space: every parameter has one value, so there is nothing to search")
    return Searched(Space(parameters), fixed, back)


def _distribution(name: str, given: Any, parameters: dict[str, Any], back: dict[str, Callable[[Any], Any]]) -> None:
    low, high = (float(bound) for bound in given.support())
    kind = getattr(getattr(given, "dist", None), "name", "")
    if kind == "randint":
        parameters[name] = Int(int(low), int(high))
    elif kind in ("uniform", "loguniform", "reciprocal"):
        parameters[name] = Float(low, high, log=kind != "uniform")
    else:
        parameters[name] = Float(_TAIL, 1.0 - _TAIL)
        back[name] = lambda quantile: given.ppf(quantile).item()


def _choices(name: str, given: Sequence[Any], parameters: dict[str, Any], fixed: Params, back: dict[str, Callable[[Any], Any]]) -> None:
    values = [v.item() if isinstance(v, np.generic) else v for v in given]
    if len(values) == 1:
        fixed[name] = values[0]
        return
    if all(v is None or isinstance(v, (str, int, float)) for v in values):
        numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
        ordered = numbers and all(a < b for a, b in pairwise(values))
        parameters[name] = Ordinal(values) if ordered else Categorical(values)
        return
    labels = [f"{i}: {repr(v)[:_LABEL]}" for i, v in enumerate(values)]
    parameters[name] = Categorical(labels)
    back[name] = dict(zip(labels, values, strict=True)).__getitem__
