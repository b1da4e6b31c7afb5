"""The adjoint that fits: forward mode for one or two scalars, else reverse mode with as many checkpoints as memory allows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import jax

from jaxhp.errors import TrainableError
from jaxhp.train.hypergrad._forward import Forward
from jaxhp.train.hypergrad._info import Adjoint, Info
from jaxhp.train.hypergrad._loop import Loop, X
from jaxhp.train.hypergrad._reverse import Reverse, Truncated

FORWARD = 2  # scalars up to which forward mode, at 1 + 1.5 d runs, is no dearer than reverse mode, at 4


@dataclass(frozen=True)
class Auto:
    """Chooses by the number of scalars, of steps, and the size of a state; `info.adjoint` says what and why. `adjoint="auto"` is `Auto()`.

    Args:
        memory: bytes that one run's checkpoints may take; of lanes side by side each takes as much.

    Raises:
        TrainableError: memory is not positive.
    """

    memory: float = 2.0**30
    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.memory > 0:
            raise TrainableError(f"Auto(memory={self.memory!r}): expected a positive number of bytes")

    def gradient(self, loop: Loop, x: X) -> tuple[jax.Array, X, Info]:
        """See `Adjoint`."""
        d = sum(a.size for a in x.values())
        state = sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(jax.eval_shape(loop.start, x)))
        chosen = self.chosen(d, loop.steps, state)
        value, gradient, info = chosen.gradient(loop, x)
        why = f"{d} scalar{'s' * (d > 1)}, {loop.steps} steps, {state} bytes a state"
        return value, gradient, replace(info, adjoint=f"{chosen!r} (auto: {why})")

    def chosen(self, d: int, steps: int, state: int) -> Adjoint:
        """The adjoint for d scalars, so many steps and a state of so many bytes.

        >>> Auto().chosen(1, 1000, 10**6), Auto().chosen(100, 1000, 10**6), Auto().chosen(100, 10**6, 10**6)
        (Forward(), Reverse(checkpoint='step'), Truncated(k=288230, checkpoint='sqrt'))
        """
        if d <= FORWARD:
            return Forward()
        if steps * state <= self.memory:
            return Reverse("step")
        if 2 * math.sqrt(steps) * state <= self.memory:
            return Reverse("sqrt")
        return Truncated(max(1, int((self.memory / (2 * state)) ** 2)), "sqrt")
