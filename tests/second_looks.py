"""What the tests of the second looks of `bayes` share: a model of made-up results, and a study that is watched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import jaxhp
from jaxhp._types import Floats
from jaxhp.samplers import _bayes
from jaxhp.samplers._model import Model


def modelled(u: Floats, y: Floats, categories: Sequence[int] = ()) -> tuple[Model, Floats]:
    """A model of these rows, and their quality; `categories`: which coordinates are."""
    model = Model(np.isin(np.arange(u.shape[1]), categories).astype(np.int8), seed=0, first_fit=4)
    for point, value in zip(u, y, strict=True):
        model.tell(point, float(value), 0.0)
    told = model.posterior()
    assert told is not None
    return model, told[1]


def asked(look: str, space: jaxhp.Space, objective: Any, trials: int, **arguments: Any) -> tuple[jaxhp.Study, list[int]]:
    """A study, and the numbers whose suggestion came from this function of `_bayes`."""
    numbers: list[int] = []
    suggest = getattr(_bayes, look)

    def spy(state: Any, number: int, *rest: Any) -> Floats | None:
        u: Floats | None = suggest(state, number, *rest)
        if u is not None:
            numbers.append(number)
        return u

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_bayes, look, spy)
        study = jaxhp.Study(space, sampler=jaxhp.bayes(), seed=0, **arguments).optimize(objective, trials=trials)
    return study, numbers
