"""Gradients that come with a result: as users tell them, as records hold them, as rows hold them.

Told and recorded are slopes {name: d metric / d parameter}, in the user's units and of the metric as it is told. A row (`Trials.gradient`)
holds dy/du = sign d metric/dx dx/du, NaN where nothing is known. Both steps, the sign and the chain rule, are taken here and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxhp._outcomes import scalar
from jaxhp._types import Floats, Kind, Outcome
from jaxhp.errors import StudyError
from jaxhp.space import Space


def slopes(space: Space, u: Floats, outcomes: Sequence[Outcome], gradient: Any, what: str) -> dict[str, float]:
    """A told gradient as {name: float}; non-finite numbers pass.

    Raises:
        StudyError: several objectives; or a name that is unknown, discrete or inactive at u (d,), or a value that is no number.
        SpaceError: an unknown name.
    """
    if sum(o.threshold is None for o in outcomes) > 1:
        raise StudyError(f"{what}: a gradient is of one objective, and this study has several; leave it out")
    if not isinstance(gradient, Mapping):
        raise StudyError(f"{what}: expected {{parameter: slope}}, such as {{{space.names[0]!r}: 0.1}}, got {gradient!r}")
    told = {}
    for name, slope in gradient.items():
        j = space.index_of(name)
        if space.dims.kind[j] not in (Kind.FLOAT, Kind.FLOAT_LOG):
            raise StudyError(f"{what}: {name!r} is {space.parameters[name]!r}, which is discrete and has no slope; leave it out")
        if math.isnan(u[j]):
            raise StudyError(f"{what}: {name!r} is inactive in this trial; leave it out")
        told[name] = scalar(slope, f"{what}: the slope of {name!r}")
    return told


def parted(told: Any) -> tuple[Any, Any]:
    """What an objective returned, as value and gradient: a pair is both, anything else a value without a gradient."""
    return told if isinstance(told, tuple) and len(told) == 2 else (told, None)


def along_u(space: Space, u: Floats, sign: float, told: Mapping[str, Any]) -> Floats:
    """dy/du (d,) at the canonical point u (d,) of slopes as records hold them; `sign` turns the metric into y."""
    slope = np.full(space.d, math.nan)
    for name, value in told.items():
        slope[space.index[name]] = float(value)
    result: Floats = sign * slope * space.stretch(u[None])[0]
    return result
