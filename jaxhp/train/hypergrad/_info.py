"""What an adjoint tells beside value and gradient. Arrays throughout, since it is traced; words come from tables on the host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxhp.train.hypergrad._loop import Loop, X


class Reason(IntEnum):
    """Why a gradient is suspect, or was replaced; `REASONS` has the words."""

    NONE = 0
    NOT_FINITE = 1
    EXPLODED = 2
    OPPOSED = 3
    NOT_STATIONARY = 4
    DIVERGED = 5


REASONS = {
    Reason.NONE: "kept",
    Reason.NOT_FINITE: "the gradient is not finite",
    Reason.EXPLODED: "the gradient foresees changes that neighbouring runs do not show",
    Reason.OPPOSED: "neighbouring runs slope the other way",
    Reason.NOT_STATIONARY: "training has not come to rest, which implicit gradients suppose",
    Reason.DIVERGED: "neither this run nor its neighbours have a finite value",
}


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["reason", "replaced", "slope", "growth", "stationarity", "residual", "hparams"],
    meta_fields=["adjoint"],
)
@dataclass(frozen=True)
class Info:
    """Diagnostics of one hypergradient; leaves that do not apply are NaN, or empty.

    Under `vmap` every array has the mapped axis in front.
    """

    adjoint: str = ""  # who made the gradient, and where it was chosen automatically, why
    reason: Mapping[str, jax.Array] = field(default_factory=dict)  # name -> () int32, a `Reason`
    replaced: Mapping[str, jax.Array] = field(default_factory=dict)  # name -> () bool
    slope: Mapping[str, jax.Array] = field(default_factory=dict)  # name -> () along the gradient, over neighbours; NaN: not measured
    # What training amplifies, about 1 where it is stable. Reverse mode: how much the metric feels relative changes of an early state, over
    # those of the last one; forward mode: by how much of itself the last state changes per relative change of a hyperparameter
    growth: Any = np.nan
    stationarity: Any = np.nan  # |gradient of the training loss| after training, over before: implicit gradients suppose 0
    residual: Any = np.nan  # of the linear system, relative
    hparams: Mapping[str, jax.Array] = field(default_factory=dict)  # what an online adjoint made of the hyperparameters

    def words(self) -> dict[str, str]:
        """Per hyperparameter, in words: kept, suspect or replaced, and why. On the host, for one run.

        >>> Info(reason={"rate": jnp.int32(3)}, replaced={"rate": jnp.bool_(True)}).words()
        {'rate': 'replaced: neighbouring runs slope the other way'}
        """
        told = {}
        for name, code in self.reason.items():
            why = REASONS[Reason(int(code))]
            told[name] = why if not int(code) else f"{'replaced' if bool(self.replaced[name]) else 'suspect'}: {why}"
        return told


def plain(adjoint: str, gradient: X, **told: Any) -> Info:
    """The info of an adjoint that judges nothing but finiteness."""
    reason = {name: jnp.where(jnp.isfinite(g).all(), Reason.NONE, Reason.NOT_FINITE).astype(jnp.int32) for name, g in gradient.items()}
    info = Info(
        adjoint=adjoint,
        reason=reason,
        replaced={name: jnp.zeros((), jnp.bool_) for name in gradient},
        slope={name: jnp.full((), jnp.nan) for name in gradient},
        growth=jnp.full((), jnp.nan),
        stationarity=jnp.full((), jnp.nan),
        residual=jnp.full((), jnp.nan),
    )
    return replace(info, **told)


class Adjoint(Protocol):
    """How a gradient is computed. Adjoints are frozen dataclasses; one of your own needs this method only."""

    @property
    def exact(self) -> bool:
        """Whether it differentiates the steps of training, so that what acts through rounding or comparison alone has no gradient."""

    def gradient(self, loop: Loop, x: X) -> tuple[jax.Array, X, Info]:
        """The metric after training, its gradient with respect to x, and diagnostics."""
