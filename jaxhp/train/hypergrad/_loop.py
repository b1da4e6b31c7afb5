"""One training run as pure functions of the hyperparameters that are differentiated.

    x = {name: array}                                  what is differentiated
    s_0 = start(x),  s_(t+1) = step(x, s_t, slice_t),  y = measure(x, s_T)

A state is kept as two tuples: `smooth`, its floating leaves, which carry derivatives, and `rest`, integers and keys, which do not.
Keys, batches and evaluation are those of the lanes (`_segment.py`), so y is what a lane computes for the same seed and number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jaxhp.errors import TrainableError
from jaxhp.train._segment import EVALUATE, INIT, ORDER, STEP, packed, seeded, training_key, unpacked
from jaxhp.train._stream import Stream
from jaxhp.train._trainable import Shapes, State, Trainable
from jaxhp.train.hypergrad._kinks import with_finite_derivatives

DRAWN = 256  # steps whose examples are drawn at a time, where a number near it divides the steps
SLOPE = 4  # purpose of the keys that draw directions; the lanes have 0 ... 3

X: TypeAlias = dict[str, jax.Array]
Slice: TypeAlias = Any  # what `step` needs to know of a step: its number, and which examples it sees


class Split(NamedTuple):
    """A state, its leaves sorted by whether derivatives pass through them."""

    smooth: tuple[jax.Array, ...]
    rest: tuple[jax.Array, ...]


class Loop(NamedTuple):
    """A training run of `steps` steps, from which adjoints make value and gradient."""

    steps: int
    epoch: int  # steps that show all of the training data
    start: Callable[[X], Split]
    slices: Callable[[Any, int], Slice]  # (first, length) -> slices (length, ...) of consecutive steps
    step: Callable[[X, Split, Slice], Split]
    trained: Callable[[X, Split, Slice], Mapping[str, jax.Array]]  # the metrics of `step`
    measure: Callable[[X, Split], jax.Array]
    joined: Callable[[Split], State]
    parted: Callable[[State], Split]
    metric: str
    key: jax.Array  # of the trial

    def run(self, x: X, state: Split, first: Any, length: int) -> Split:
        """The state after `length` steps from step `first`."""
        final: Split = self.over(lambda s, piece: self.step(x, s, piece), state, first, length)
        return final

    def over(self, advance: Callable[[Any, Slice], Any], carry: Any, first: Any, length: int) -> Any:
        """What `advance(carry, slice)` makes of the carry over these steps. Examples are drawn for some steps at a time: memory is flat."""

        def along(carry: Any, first: Any, length: int) -> Any:
            return jax.lax.scan(lambda c, piece: (advance(c, piece), None), carry, self.slices(first, length))[0]

        piece = next((n for n in range(DRAWN, DRAWN // 8, -1) if length % n == 0), length)
        if length <= DRAWN or piece == length:
            return along(carry, first, length)
        firsts = first + piece * jnp.arange(length // piece, dtype=jnp.int32)
        return jax.lax.scan(lambda c, at: (along(c, at, piece), None), carry, firsts)[0]

    def value(self, x: X) -> jax.Array:
        """The metric after training."""
        return self.measure(x, self.run(x, self.start(x), 0, self.steps))


def lane_key(seed: int, number: int, replicate: int = 0) -> jax.Array:
    """The key of a trial: with it, `value_and_hypergrad(..., seed=seed)` trains what a study of this seed trains under this number.

    Raises:
        TrainableError: number or replicate is no integer.

    >>> bool((lane_key(0, 1) != lane_key(0, 2)).all())
    True
    """
    for name, value in (("number", number), ("replicate", replicate)):
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise TrainableError(f"lane_key: {name}: expected an integer, got {value!r}")
    return training_key(jax.random.key_data(seeded(seed)), jnp.uint32(number & 0xFFFFFFFF), jnp.uint32(replicate))


def loop_of(
    trainable: Trainable,
    shapes: Shapes,
    fixed: Mapping[str, jax.Array],
    key: jax.Array,
    data: Mapping[str, Any],
    *,
    steps: int,
    segment: int,
    seed: int,
    metric: str,
) -> Loop:
    """The run of a trainable with the hyperparameters `fixed`, and x beside them.

    Args:
        trainable: what is trained.
        shapes: what it computes.
        fixed: hyperparameters that are not differentiated.
        key: of the trial.
        data: "train" and "validation"; of a stream the batches of all steps (steps, batch, ...).
        steps: to train.
        segment: of the lanes that it is to agree with: batches repeat with it where it is an epoch or longer.
        seed: of the study, which names the order of the examples.
        metric: of `evaluate`.
    """
    leaves, structure = jax.tree.flatten(shapes.state)
    smooth = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]
    order = jax.random.fold_in(seeded(seed), ORDER)
    step_key = jax.random.fold_in(key, STEP)
    streamed = isinstance(trainable.data["train"], Stream)

    def parted(state: State) -> Split:
        leaves = jax.tree.leaves(packed(state, shapes.state))
        return Split(
            tuple(x for x, is_smooth in zip(leaves, smooth, strict=True) if is_smooth),
            tuple(x for x, is_smooth in zip(leaves, smooth, strict=True) if not is_smooth),
        )

    def joined(split: Split) -> State:
        floats, others = iter(split.smooth), iter(split.rest)
        model = jax.tree.unflatten(structure, [next(floats) if is_smooth else next(others) for is_smooth in smooth])
        return unpacked(model, shapes.state)

    def slices(first: Any, length: int) -> Slice:
        t = first + jnp.arange(length, dtype=jnp.int32)
        shown = t % segment if segment >= trainable.epoch and not streamed else t
        return t, shown if trainable.rows is None or streamed else jax.vmap(lambda i: trainable.rows(order, i))(shown)  # type: ignore[misc]

    def stepped(x: X, split: Split, piece: Slice) -> tuple[State, Any]:
        t, shown = piece
        if streamed:
            batch = jax.tree.map(lambda a: a[t], data["train"])
        elif trainable.rows is None:
            batch = trainable.batch(data["train"], order, shown)
        else:
            batch = trainable.taken(data["train"], shown)
        return trainable.step(joined(split), {**fixed, **x}, batch, jax.random.fold_in(step_key, t), t)

    def measure(x: X, split: Split) -> jax.Array:
        metrics = trainable.evaluate(joined(split), {**fixed, **x}, data["validation"], jax.random.fold_in(key, EVALUATE))
        return jnp.asarray(metrics[metric])

    return Loop(
        steps=steps,
        epoch=trainable.epoch,
        start=with_finite_derivatives(lambda x: parted(trainable.init(jax.random.fold_in(key, INIT), {**fixed, **x}))),
        slices=slices,
        step=with_finite_derivatives(lambda x, split, piece: parted(stepped(x, split, piece)[0])),
        trained=with_finite_derivatives(lambda x, split, piece: stepped(x, split, piece)[1]),
        measure=with_finite_derivatives(measure),
        joined=joined,
        parted=parted,
        metric=metric,
        key=key,
    )
