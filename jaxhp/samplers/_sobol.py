"""Scrambled Sobol points, and the start-up design of model-based samplers made of them.

The trial's number is the index in the sequence, so any worker can draw any point. Sources: Sobol 1967; the direction
numbers of Joe & Kuo 2008; Owen scrambling 1995, keyed by the study's seed (csrc/sobol.hpp).
"""

from __future__ import annotations

import numpy as np

from jaxhp import _kernel
from jaxhp._types import Floats, Ints, Sampler
from jaxhp.samplers._random import NumberedState, start_numbered, tell_numbered

_U64 = (1 << 64) - 1


def sobol() -> Sampler:
    """Scrambled Sobol points: like random search, but evenly spread, whenever it stops.

    >>> import jaxhp
    >>> study = jaxhp.Study(jaxhp.Space({"x": jaxhp.Float(0.0, 1.0)}), sampler=jaxhp.sobol())
    >>> sorted(int(4 * trial["x"]) for trial in study.ask(4))
    [0, 1, 2, 3]
    """
    return Sampler(start_numbered, tell_numbered, _ask, "sobol()")


def startup_size(d: int) -> int:
    """How many points a model-based sampler starts with in d dims, the default configuration among them."""
    return max(4, min(10, d + 1))


def startup() -> Sampler:
    """Number 0 is the default configuration (the centre where none is given), then scrambled Sobol points."""
    return Sampler(start_numbered, tell_numbered, _ask_startup, "startup()")


def _ask(state: NumberedState, numbers: Ints) -> Floats:
    space, seed, d, constrained = state
    u = space.snap(_kernel.sobol(seed & _U64, numbers, d, True))
    return space.constrain(u, seed, numbers) if constrained else u


def _ask_startup(state: NumberedState, numbers: Ints) -> Floats:
    u = _ask(state, numbers)
    first = numbers == 0
    if first.any():
        u[first] = state.space.default()
        if state.constrained:
            u = state.space.constrain(u, state.seed, numbers)
    return np.ascontiguousarray(u)
