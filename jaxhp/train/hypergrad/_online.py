"""One step ahead: how the metric right after a step depends on the hyperparameters of that step (Luketina et al., ICML 2016).

    g_t = d/dx y(step(x, s_t)),   s_t held fixed

Cheap, needs no memory and is known while training runs, so hyperparameters can follow it online (Baydin et al., ICLR 2018). It is
short-sighted: it favours small learning rates and little regularisation (Wu et al., ICLR 2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from jaxhp.errors import TrainableError
from jaxhp.train.hypergrad._info import Info, plain
from jaxhp.train.hypergrad._loop import Loop, Slice, Split, X


@dataclass(frozen=True)
class OneStep:
    """The mean over training of the gradients through one step.

    Args:
        every: steps between two such gradients, each of which costs an evaluation.
        outer: an optax optimiser that changes the hyperparameters during training by them; `info.hparams` is what they became. Without one
            they stay.

    Raises:
        TrainableError: an argument is not valid.
    """

    every: int = 1
    outer: optax.GradientTransformation | None = None
    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if isinstance(self.every, bool) or not isinstance(self.every, int) or self.every < 1:
            raise TrainableError(f"OneStep(every={self.every!r}): expected a positive number of steps")
        if self.outer is not None and not isinstance(self.outer, optax.GradientTransformation):
            raise TrainableError(f"OneStep(outer={self.outer!r}): expected an optax optimiser, such as optax.sgd(1e-3)")

    def gradient(self, loop: Loop, x: X) -> tuple[jax.Array, X, Info]:
        """See `Adjoint`."""
        outer = optax.identity() if self.outer is None else self.outer

        def looked(x: X, state: Split, piece: Slice) -> tuple[X, Split]:
            """The gradient through a step, and the state after it."""

            def ahead(x: X) -> tuple[jax.Array, Split]:
                after = loop.step(x, state, piece)
                return loop.measure(x, after), after

            gradient, after = jax.grad(ahead, has_aux=True)(x)
            return gradient, after

        def advance(carry: Any, at: tuple[jax.Array, Slice]) -> tuple[Any, None]:
            x, state, memory, total = carry
            i, piece = at

            def moved(_: None) -> Any:
                gradient, after = looked(x, state, piece)
                updates, kept = outer.update(gradient, memory, x)
                changed = x if self.outer is None else optax.apply_updates(x, updates)
                return changed, after, kept, jax.tree.map(jnp.add, total, gradient)

            if self.every == 1:
                return moved(None), None
            return jax.lax.cond(i % self.every == 0, moved, lambda _: (x, loop.step(x, state, piece), memory, total), None), None

        carry = (x, loop.start(x), outer.init(x), jax.tree.map(jnp.zeros_like, x))
        (changed, state, _, total), _ = jax.lax.scan(advance, carry, (jnp.arange(loop.steps), loop.slices(0, loop.steps)))
        looks = -(-loop.steps // self.every)
        gradient = jax.tree.map(lambda g: g / looks, total)
        return loop.measure(changed, state), gradient, plain(repr(self), gradient, hparams=changed)
