"""Forward mode: derivatives of the state travel along with it (Franceschi et al., ICML 2017).

    Z_0 = ds_0/dx,   Z_(t+1) = (ds_(t+1)/ds_t) Z_t + ds_(t+1)/dx,   dy/dx = dy/ds_T Z_T + dy/dx

Z has one copy of the state per scalar hyperparameter, whatever the number of steps: the mode for few of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxhp.train.hypergrad._info import Info, plain
from jaxhp.train.hypergrad._loop import Loop, Slice, Split, X


@dataclass(frozen=True)
class Forward:
    """The exact gradient at 1 + about 1.5 d training runs' cost for d scalars; memory (1 + d) states, whatever the number of steps."""

    exact: ClassVar[bool] = True

    def gradient(self, loop: Loop, x: X) -> tuple[jax.Array, X, Info]:
        """See `Adjoint`."""
        flat, unflat = ravel_pytree(x)
        directions = jax.vmap(unflat)(jnp.eye(flat.size, dtype=flat.dtype))  # leaves (d, ...)
        smooth, push, rest = jax.linearize(lambda x: tuple(loop.start(x)), x, has_aux=True)
        tangents = jax.vmap(push)(directions)

        def advance(carry: Any, piece: Slice) -> Any:
            state, tangents = carry
            smooth, push, rest = jax.linearize(
                lambda smooth, x: tuple(loop.step(x, Split(smooth, state.rest), piece)), state.smooth, x, has_aux=True
            )
            return Split(smooth, rest), jax.vmap(push)(tangents, directions)

        state, tangents = loop.over(advance, (Split(smooth, rest), tangents), 0, loop.steps)
        value, push = jax.linearize(lambda smooth, x: loop.measure(x, Split(smooth, state.rest)), state.smooth, x)
        gradient = unflat(jax.vmap(push)(tangents, directions).astype(flat.dtype))
        return value, gradient, plain(repr(self), gradient, growth=_grown(state, tangents, flat))


def _grown(state: Split, tangents: Any, x: jax.Array) -> jax.Array:
    """By how much of itself the state changes per relative change of x, for the x that changes it most."""
    size = sum((jnp.square(s).sum().astype(jnp.float32) for s in state.smooth), jnp.float32(0))
    moved = sum((jnp.square(z.reshape(len(z), -1)).sum(1).astype(jnp.float32) for z in tangents), jnp.zeros(x.shape, jnp.float32))
    return jnp.sqrt((jnp.where(x == 0, 1.0, jnp.square(x)) * moved).max() / size)
