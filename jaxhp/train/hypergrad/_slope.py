"""Slopes over neighbouring runs: what a hyperparameter does on the scale of sigma, whatever happens at smaller scales.

Where training is chaotic (a learning rate at the edge of stability) the exact gradient describes a fractal and explodes (Metz et al.,
ICML 2019); the value smoothed by a Gaussian over the hyperparameter still slopes:

    d/dz E[F(z + sigma e)] = E[e (F(z + sigma e) - F(z - sigma e))] / (2 sigma)

with pairs of runs (antithetic; Vicol et al., ICML 2021), at the quantiles of |e| along a line and at random directions in an array.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm

from jaxhp.errors import TrainableError
from jaxhp.train.hypergrad._info import Info, plain
from jaxhp.train.hypergrad._loop import SLOPE, Loop, X

Scale = Literal["log", "complement", "linear"]


@dataclass(frozen=True)
class SmoothedSlope:
    """The slope over `lanes` plain training runs per hyperparameter, without any derivative.

    A scalar is moved to both sides at the quantiles of a Gaussian; an array along random directions, an unbiased estimate of the smoothed
    gradient whose noise grows with the array's size. A run without a finite value counts as worse than the others (metrics are minimised).

    Args:
        lanes: runs per hyperparameter, an even number.
        sigma: how far. Positive values move by factors e^(sigma e), those between 1/2 and 1 (momenta) in the same way by their distance
            from 1, all others (knots, logits) by sigma e itself.
        scale: "log", "complement" or "linear" by name, where that rule does not fit.

    Raises:
        TrainableError: lanes is no positive even number, sigma not positive, or a scale unknown.
    """

    lanes: int = 16
    sigma: float = 0.2
    scale: Mapping[str, Scale] = field(default_factory=dict)
    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if isinstance(self.lanes, bool) or not isinstance(self.lanes, int) or self.lanes < 2 or self.lanes % 2:
            raise TrainableError(f"SmoothedSlope(lanes={self.lanes!r}): expected a positive even number: runs come in pairs")
        if not self.sigma > 0:
            raise TrainableError(f"SmoothedSlope(sigma={self.sigma!r}): expected a positive number")
        for name, scale in self.scale.items():
            if scale not in ("log", "complement", "linear"):
                raise TrainableError(f"SmoothedSlope(scale={{{name!r}: {scale!r}}}): expected 'log', 'complement' or 'linear'")

    def gradient(self, loop: Loop, x: X) -> tuple[jax.Array, X, Info]:
        """See `Adjoint`."""
        key = jax.random.fold_in(loop.key, SLOPE)
        pairs = self.lanes // 2
        probes: dict[str, jax.Array] = {}
        for i, name in enumerate(x):
            if x[name].size == 1:
                probes[name] = (quantiles(pairs).reshape(pairs, *(1,) * x[name].ndim) * jnp.ones_like(x[name])).astype(x[name].dtype)
            else:
                probes[name] = jax.random.normal(jax.random.fold_in(key, i), (pairs, *x[name].shape), x[name].dtype)
        differences = self.differences(loop, x, probes)
        gradient = {}
        for name, v in probes.items():
            weight = jnp.square(v).sum() if x[name].size == 1 else pairs
            gradient[name] = jnp.tensordot(differences[name].astype(v.dtype), v, 1) / weight / self.stretch(name, x[name])
        nan = {name: jnp.full((), jnp.nan) for name in x}
        slope = {name: jnp.linalg.norm(gradient[name] * self.stretch(name, x[name])) for name in x}
        return loop.value(x), gradient, plain(repr(self), gradient, slope=nan | slope)

    def differences(self, loop: Loop, x: X, probes: X, wanted: Mapping[str, jax.Array] | None = None) -> X:
        """Per name (m,): (F(z + sigma v) - F(z - sigma v)) / (2 sigma) at m probes v (m, ...) of that hyperparameter alone.

        A name that is not `wanted` is left out, unless this runs under `vmap`, and its differences are 0.
        """
        names = list(x)

        def runs(probe: X) -> jax.Array:
            """Values (2, m) of the runs that these probes, all but one of them 0, lead to."""
            both = {name: jnp.stack([self.moved(name, x[name], side * self.sigma * probe[name]) for side in (1, -1)]) for name in names}
            return jax.vmap(jax.vmap(loop.value))(both)

        only = {
            name: jnp.zeros((len(names), *probes[name].shape), probes[name].dtype).at[i].set(probes[name]) for i, name in enumerate(names)
        }
        if wanted is None:
            values = jax.lax.map(runs, only)
        else:
            asked = jnp.stack([wanted[name] for name in names])
            shape = jax.eval_shape(runs, jax.tree.map(lambda a: a[0], only))
            none = jnp.zeros(shape.shape, shape.dtype)
            values = jax.lax.map(lambda at: jax.lax.cond(at[0], runs, lambda _: none, at[1]), (asked, only))
        finite = jnp.isfinite(values)
        worst = jnp.max(jnp.where(finite, values, -jnp.inf), (1, 2), keepdims=True)
        spread = worst - jnp.min(jnp.where(finite, values, jnp.inf), (1, 2), keepdims=True)
        values = jnp.where(finite, values, worst + jnp.maximum(spread, jnp.abs(worst)))  # NaN where no run is finite
        values = (values[:, 0] - values[:, 1]) / (2 * self.sigma)  # (names, m)
        return {name: values[i] for i, name in enumerate(names)}

    def moved(self, name: str, x: jax.Array, dz: jax.Array) -> jax.Array:
        """x moved by dz (..., *x.shape) in its own scale."""
        scale = self._scale(name, x)
        changed = jnp.where(scale == 0, x * jnp.exp(dz), jnp.where(scale == 1, 1 - (1 - x) * jnp.exp(-dz), x + dz))
        return changed.astype(x.dtype)

    def stretch(self, name: str, x: jax.Array) -> jax.Array:
        """dx/dz, the size of x in its own scale: x, 1 - x or 1."""
        scale = self._scale(name, x)
        return jnp.where(scale == 0, x, jnp.where(scale == 1, 1 - x, 1.0)).astype(x.dtype)

    def _scale(self, name: str, x: jax.Array) -> Any:
        """0 log, 1 complement, 2 linear."""
        if name in self.scale:
            return ("log", "complement", "linear").index(self.scale[name])
        momentum = ((x > 0.5) & (x < 1)).all()
        return jnp.where(momentum, 1, jnp.where((x > 0).all(), 0, 2))


def quantiles(pairs: int) -> jax.Array:
    """(pairs,) of |e|, e standard normal, in the middles of equally likely parts.

    >>> quantiles(2).round(2).tolist()
    [0.3199999928474426, 1.149999976158142]
    """
    return norm.ppf(0.5 + (jnp.arange(pairs) + 0.5) / (2 * pairs))
