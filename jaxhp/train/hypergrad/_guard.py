"""A guard around any adjoint: exploded or non-finite gradients never reach who descends by them.

A gradient is suspect when it is not finite, when its adjoint doubted it, when training amplifies small changes (`info.growth`), or when
it foresees, over sigma, a change of more than the metric itself. Along a suspect one, neighbouring runs are trained (`_slope.py`). It is
trusted if the metric rises along it, by at least a quarter of what it foresees; otherwise the slope that was measured along that line takes
its place. For a scalar, that is the smoothed slope itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxhp.errors import TrainableError
from jaxhp.train.hypergrad._info import Adjoint, Info, Reason
from jaxhp.train.hypergrad._loop import SLOPE, Loop, X
from jaxhp.train.hypergrad._slope import SmoothedSlope, quantiles

EXAGGERATED = 4.0  # times the measured slope: a gradient beyond is not trusted


@dataclass(frozen=True)
class Guarded:
    """`adjoint`, its gradients replaced by smoothed slopes where they lie.

    Args:
        adjoint: any.
        slope: the neighbouring runs.
        when: "suspect" trains neighbours of suspect hyperparameters only (under `vmap` of all: select, not branch); "always" tests every
            one; "never" trains none and puts 0 in the place of gradients that are not finite.
        growth: `info.growth` beyond which all are suspect: 1 where training is stable, tens to infinity where it is chaotic.

    Raises:
        TrainableError: an argument is not valid.
    """

    adjoint: Adjoint
    slope: SmoothedSlope = field(default_factory=SmoothedSlope)
    when: Literal["suspect", "always", "never"] = "suspect"
    growth: float = 3.0

    def __post_init__(self) -> None:
        if not callable(getattr(self.adjoint, "gradient", None)) or isinstance(self.adjoint, type):
            raise TrainableError(f"Guarded(adjoint={self.adjoint!r}): expected an adjoint such as Reverse()")
        if not isinstance(self.slope, SmoothedSlope):
            raise TrainableError(f"Guarded(slope={self.slope!r}): expected a SmoothedSlope")
        if self.when not in ("suspect", "always", "never"):
            raise TrainableError(f"Guarded(when={self.when!r}): expected 'suspect', 'always' or 'never'")

    @property
    def exact(self) -> bool:
        """That of what is guarded."""
        return self.adjoint.exact

    def gradient(self, loop: Loop, x: X) -> tuple[jax.Array, X, Info]:
        """See `Adjoint`."""
        value, gradient, info = self.adjoint.gradient(loop, x)
        stretch = {name: self.slope.stretch(name, a) for name, a in x.items()}
        inside = {name: g * stretch[name] for name, g in gradient.items()}  # in each one's own scale
        finite = {name: jnp.isfinite(g).all() for name, g in inside.items()}
        if self.when == "never":
            kept = {name: jnp.where(finite[name], g, 0.0) for name, g in gradient.items()}
            return value, kept, replace(info, replaced={name: ~ok for name, ok in finite.items()})
        before = {name: info.reason.get(name, jnp.int32(Reason.NONE)) for name in x}
        key = jax.random.fold_in(loop.key, SLOPE)
        direction, foreseen = {}, {}
        for i, (name, g) in enumerate(inside.items()):
            drawn = jax.random.normal(jax.random.fold_in(key, i), g.shape, g.dtype)
            direction[name], foreseen[name] = _unit(jnp.where(jnp.isfinite(g), g, 0.0), drawn)
        suspect = {name: self.suspects(value, foreseen[name], finite[name], before[name], info.growth) for name in x}
        q = quantiles(self.slope.lanes // 2)
        probes = {name: (q.reshape(-1, *(1,) * v.ndim) * v).astype(v.dtype) for name, v in direction.items()}
        differences = self.slope.differences(loop, x, probes, None if self.when == "always" else suspect)
        told: dict[str, dict[str, Any]] = {"gradient": {}, "reason": {}, "replaced": {}, "slope": {}}
        for name, g in gradient.items():
            slope = (differences[name] @ q.astype(differences[name].dtype)) / jnp.square(q).sum().astype(differences[name].dtype)
            tested = jnp.logical_or(self.when == "always", suspect[name])
            doubt = self._doubt(slope, foreseen[name], finite[name], before[name])
            bad = tested & (doubt != Reason.NONE)
            instead = jnp.where(jnp.isfinite(slope), slope, 0.0) * direction[name] / stretch[name]
            told["gradient"][name] = jnp.where(bad, instead, g).astype(g.dtype)
            told["reason"][name] = jnp.where(tested, doubt, before[name]).astype(jnp.int32)
            told["replaced"][name] = bad
            told["slope"][name] = jnp.where(tested, slope, jnp.nan)
        info = replace(info, reason=told["reason"], replaced=told["replaced"], slope=told["slope"])
        return value, told["gradient"], info

    def suspects(self, value: jax.Array, foreseen: jax.Array, finite: jax.Array, before: jax.Array, growth: Any) -> jax.Array:
        """Whether a gradient is to be tested: it foresees more within `sigma` than there is, it grew, or the adjoint has a reason.

        Args:
            value: of the metric.
            foreseen: the norm of the gradient, in the scale of the slope.
            finite: whether the gradient is.
            before: the adjoint's own `Reason`.
            growth: `Info.growth`.
        """
        calm = finite & (before == Reason.NONE) & jnp.logical_not(growth > self.growth)
        suspect: jax.Array = ~(calm & (foreseen * self.slope.sigma <= jnp.abs(value)))
        return suspect

    def _doubt(self, slope: jax.Array, foreseen: jax.Array, finite: jax.Array, before: jax.Array) -> jax.Array:
        """The `Reason` not to use a gradient that was tested."""
        exploded = (foreseen > EXAGGERATED * slope) & (foreseen > 0)
        opposed = (slope < 0) & (foreseen > 0)
        why = [
            (~jnp.isfinite(slope), Reason.DIVERGED),
            (~finite, Reason.NOT_FINITE),
            (exploded & (before == Reason.NOT_STATIONARY), Reason.NOT_STATIONARY),
            (opposed, Reason.OPPOSED),
            (exploded, Reason.EXPLODED),
        ]
        return jnp.select([true for true, _ in why], [jnp.int32(reason) for _, reason in why], jnp.int32(Reason.NONE))


def _unit(g: jax.Array, drawn: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The direction of g, or where g is 0 of what was drawn, and the norm of g; of finite arrays, without overflow."""
    top = jnp.abs(g).max(initial=0.0)
    nothing = top == 0
    scaled = jnp.where(nothing, jnp.ones_like(g) if g.size == 1 else drawn, g / jnp.where(nothing, 1.0, top))
    size = jnp.sqrt(jnp.square(scaled).sum())
    return scaled / size, jnp.where(nothing, 0.0, top * size)
