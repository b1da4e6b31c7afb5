"""Reverse mode: one backward sweep through training for any number of hyperparameters (Maclaurin et al., ICML 2015).

    lambda_T = dy/ds_T,   lambda_t = (ds_(t+1)/ds_t)^T lambda_(t+1),   dy/dx = sum_t (ds_(t+1)/dx)^T lambda_(t+1) + ...

The states that the sweep needs are stored at every step ("step": steps states, and each step computed twice), at every sqrt(steps)-th
step ("sqrt": 2 sqrt(steps) states, three times; Chen et al., arXiv 1604.06174), or with all that lies between them (None).
`Truncated(k)` sweeps over the last k steps only (Shaban et al., AISTATS 2019).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from jaxhp.errors import TrainableError
from jaxhp.train.hypergrad._info import Info, plain
from jaxhp.train.hypergrad._loop import Loop, Slice, Split, X

Checkpoint = Literal["step", "sqrt"] | None
Smooth = tuple[jax.Array, ...]
FELT = 8  # steps between two looks at how much the adjoint state has grown


@dataclass(frozen=True)
class Reverse:
    """The exact gradient by one backward sweep, at about 4 training runs' cost for any number of hyperparameters.

    Args:
        checkpoint: "step" keeps the state of every step (about 4 runs); "sqrt" of every sqrt(steps)-th (about 5 runs, memory as the square
            root of steps); None all intermediate values as well (much memory, and on a CPU about 8 runs).

    Raises:
        TrainableError: checkpoint is none of these.
    """

    checkpoint: Checkpoint = "step"
    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_checkpoint(self.checkpoint)

    def gradient(self, loop: Loop, x: X) -> tuple[jax.Array, X, Info]:
        """See `Adjoint`."""
        value, gradient, growth = _swept_back(loop, x, loop.steps, self.checkpoint)
        return value, gradient, plain(repr(self), gradient, growth=growth)


@dataclass(frozen=True)
class Truncated:
    """The gradient through the last k steps alone: cheap, short of memory, biased towards what acts quickly.

    Args:
        k: steps to go back; all of them where training is shorter.
        checkpoint: as in `Reverse`, of the last k steps.

    Raises:
        TrainableError: k is no positive integer.
    """

    k: int
    checkpoint: Checkpoint = "step"
    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if isinstance(self.k, bool) or not isinstance(self.k, int) or self.k < 1:
            raise TrainableError(f"Truncated(k={self.k!r}): expected a positive number of steps")
        _check_checkpoint(self.checkpoint)

    def gradient(self, loop: Loop, x: X) -> tuple[jax.Array, X, Info]:
        """See `Adjoint`."""
        value, gradient, growth = _swept_back(loop, x, min(self.k, loop.steps), self.checkpoint)
        return value, gradient, plain(repr(self), gradient, growth=growth)


def _check_checkpoint(checkpoint: Any) -> None:
    if checkpoint not in ("step", "sqrt", None):
        raise TrainableError(f"checkpoint={checkpoint!r}: expected 'step', 'sqrt' or None")


def _swept_back(loop: Loop, x: X, k: int, checkpoint: Checkpoint) -> tuple[jax.Array, X, jax.Array]:
    """Value, gradient through the last k steps, and the growth of the adjoint state."""
    skipped = loop.steps - k

    state = loop.run(x, loop.start(x), 0, skipped) if skipped else loop.start(x)
    if checkpoint is None:
        value, swept = _through(loop, x, state, skipped, k)
        return value, swept[0] if skipped else _with_start(loop, x, swept), jnp.full((), jnp.nan)
    length = _piece(k) if checkpoint == "sqrt" else k
    head = k % length  # steps that make no whole piece come first
    after_head = loop.run(x, state, skipped, head) if head else state
    firsts = skipped + head + length * jnp.arange((k - head) // length, dtype=jnp.int32)
    if len(firsts) == 1:
        final, states = _recorded(loop, x, after_head, loop.slices(skipped + head, length))
    else:
        final, begins = jax.lax.scan(lambda s, first: (loop.run(x, s, first, length), s), after_head, firsts)
    value, pull = jax.vjp(lambda smooth, x: loop.measure(x, Split(smooth, final.rest)), final.smooth, x)
    cotangent, gradient = pull(jnp.ones_like(value))
    end = largest = _felt(final, cotangent)
    carry = (cotangent, gradient, largest)
    if len(firsts) == 1:
        carry = _swept(loop, x, states, loop.slices(skipped + head, length), carry)
    else:

        def piece(carry: Any, at: tuple[Split, jax.Array]) -> tuple[Any, None]:
            begin, first = at
            slices = loop.slices(first, length)
            return _swept(loop, x, _recorded(loop, x, begin, slices)[1], slices, carry), None

        carry, _ = jax.lax.scan(piece, carry, (begins, firsts), reverse=True)
    if head:
        slices = loop.slices(skipped, head)
        carry = _swept(loop, x, _recorded(loop, x, state, slices)[1], slices, carry)
    cotangent, gradient, largest = carry
    if not skipped:
        gradient = _with_start(loop, x, (gradient, cotangent))
    return value, gradient, largest / end


def _with_start(loop: Loop, x: X, swept: tuple[X, Smooth]) -> X:
    """The gradient, with what x does to the initial state."""
    gradient, cotangent = swept
    _, pull = jax.vjp(lambda x: loop.start(x).smooth, x)
    total: X = jax.tree.map(jnp.add, gradient, pull(cotangent)[0])
    return total


def _through(loop: Loop, x: X, state: Split, first: int, k: int) -> tuple[jax.Array, tuple[X, Smooth]]:
    """Value, gradient and cotangent of the state at step `first`, by reverse mode through the whole scan."""
    value, pull = jax.vjp(lambda smooth, x: loop.measure(x, loop.run(x, Split(smooth, state.rest), first, k)), state.smooth, x)
    cotangent, gradient = pull(jnp.ones_like(value))
    return value, (gradient, cotangent)


def _recorded(loop: Loop, x: X, state: Split, slices: Slice) -> tuple[Split, Split]:
    """The state after these steps, and the states before each of them."""
    return jax.lax.scan(lambda s, piece: (loop.step(x, s, piece), s), state, slices)


def _swept(loop: Loop, x: X, states: Split, slices: Slice, carry: Any) -> Any:
    """(cotangent, gradient, largest norm) taken back through these steps."""

    def back(carry: Any, at: tuple[Split, Slice]) -> tuple[Any, None]:
        cotangent, gradient, largest = carry
        state, piece = at
        _, pull = jax.vjp(lambda smooth, x: loop.step(x, Split(smooth, state.rest), piece).smooth, state.smooth, x)
        cotangent, more = pull(cotangent)
        felt = jax.lax.cond(piece[0] % FELT == 0, lambda: _felt(state, cotangent), lambda: largest)  # growth is exponential: few looks do
        return (cotangent, jax.tree.map(jnp.add, gradient, more), jnp.maximum(largest, felt)), None

    return jax.lax.scan(back, carry, (states, slices), reverse=True)[0]


def _felt(state: Split, cotangent: Smooth) -> jax.Array:
    """How much the metric feels relative changes of the state: |s * lambda|, in which leaves of all units compare."""
    squares = [jnp.square(s * c).sum().astype(jnp.float32) for s, c in zip(state.smooth, cotangent, strict=True)]
    return jnp.sqrt(sum(squares, jnp.float32(0)))


def _piece(k: int) -> int:
    """Steps of a piece: near sqrt(k), and a divisor of k where one is near."""
    root = math.isqrt(k)
    near = [n for n in range(max(1, root * 2 // 3), root * 3 // 2 + 1) if k % n == 0]
    return min(near, key=lambda n: abs(n - root), default=root)
