"""Hypergradients: derivatives of a metric after training with respect to the hyperparameters of training.

    value, gradient, info = value_and_hypergrad(trainable, steps=500, wrt="weight_decay", adjoint=Reverse())(hparams, key)

`_loop.py` makes a trainable a pure function of what is differentiated. Each adjoint is a small class beside it that turns the loop into
value, gradient and diagnostics (`_info.py`); one of your own needs the same method. `_guard.py` wraps any of them.
"""

from __future__ import annotations

from jaxhp.train.hypergrad._auto import Auto
from jaxhp.train.hypergrad._forward import Forward
from jaxhp.train.hypergrad._guard import Guarded
from jaxhp.train.hypergrad._implicit import Implicit, Solver, cg, identity, neumann
from jaxhp.train.hypergrad._info import REASONS, Adjoint, Info, Reason
from jaxhp.train.hypergrad._loop import Loop, lane_key
from jaxhp.train.hypergrad._online import OneStep
from jaxhp.train.hypergrad._reverse import Reverse, Truncated
from jaxhp.train.hypergrad._slope import SmoothedSlope
from jaxhp.train.hypergrad._units import unit_gradient
from jaxhp.train.hypergrad._value import value_and_hypergrad

__all__ = [
    "REASONS",
    "Adjoint",
    "Auto",
    "Forward",
    "Guarded",
    "Implicit",
    "Info",
    "Loop",
    "OneStep",
    "Reason",
    "Reverse",
    "SmoothedSlope",
    "Solver",
    "Truncated",
    "cg",
    "identity",
    "lane_key",
    "neumann",
    "unit_gradient",
    "value_and_hypergrad",
]
