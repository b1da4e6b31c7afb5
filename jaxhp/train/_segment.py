"""What the programs of lanes compute: pure functions of arrays, traced by JAX. `_lanes.py` compiles and calls them.

Notation, for k lanes:
    model (k, ...)     the states as plain arrays: keys as their data, every leaf of its own dtype
    base (k,)          each trial's key: folded from the study's seed, its number and its replicate, then from a purpose and its step
    t, until (k,)      steps done, and where to stop
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxhp.train._trainable import Shapes, State, Trainable

_IMPLEMENTATIONS = {"key<fry>": "threefry2x32", "key<rbg>": "rbg", "key<urbg>": "unsafe_rbg"}  # of typed keys, by dtype
INIT, STEP, EVALUATE, ORDER = range(4)  # purposes that keys are folded with


class Segment(NamedTuple):
    """A trainable in k lanes, and how long they go on between two looks of the host."""

    trainable: Trainable
    shapes: Shapes
    width: int  # k; 1 runs without `vmap`
    steps: int
    ragged: bool  # a lane may stop within it
    axis: str | None  # of the mesh that the lanes are spread over

    def advance(
        self,
        model: State,
        hparams: Any,
        number: jax.Array,
        replicate: jax.Array,
        t: jax.Array,
        until: jax.Array,
        train: Any,
        validation: Any,
        seed_key: jax.Array,
        chunks: Any,
        place: jax.Array | None,
    ) -> tuple[State, dict[str, jax.Array]]:
        """All lanes after the segment, and what it told of each."""
        base = jax.vmap(lambda n, r: training_key(seed_key, n, r))(number, replicate)
        if self.width == 1:  # without the axis of lanes: what is not batched compiles to faster programs
            model, hparams, base, t, until, place = _only((model, hparams, base, t, until, place))
        order = jax.random.fold_in(jax.random.wrap_key_data(seed_key), ORDER)
        batch, batch_axis = self._batches(train, order, chunks)
        step_keys = self.over_lanes(lambda key: jax.random.fold_in(key, STEP), (0,))(base)

        def one(model: State, hparams: Any, batch: Any, key: jax.Array, t: jax.Array) -> tuple[State, Any]:
            new, metrics = self.trainable.step(unpacked(model, self.shapes.state), hparams, batch, jax.random.fold_in(key, t), t)
            return packed(new, self.shapes.state), {name: jnp.asarray(x, jnp.float32) for name, x in metrics.items()}

        lanes = self.over_lanes(one, (0, 0, batch_axis, 0, 0))

        def advance(carry: Any, j: jax.Array) -> tuple[Any, None]:
            model, sums = carry
            now = t + j
            new, metrics = lanes(model, hparams, batch(j, now, place), step_keys, now)
            if self.ragged:
                going = now < until
                new = _chosen(going, new, model)
                metrics = {name: jnp.where(going, x, 0.0) for name, x in metrics.items()}
            return (new, {name: sums[name] + x for name, x in metrics.items()}), None

        sums = {name: jnp.zeros(t.shape, jnp.float32) for name in self.shapes.trained}
        (model, sums), _ = jax.lax.scan(advance, (model, sums), jnp.arange(self.steps, dtype=jnp.int32))
        steps = jnp.clip(until - t, 1, self.steps) if self.ragged else self.steps

        def evaluate(model: State, hparams: Any, key: jax.Array) -> dict[str, jax.Array]:
            metrics = self.trainable.evaluate(unpacked(model, self.shapes.state), hparams, validation, jax.random.fold_in(key, EVALUATE))
            return {name: jnp.asarray(x, jnp.float32) for name, x in metrics.items()}

        metrics = {name if name.startswith("train_") else f"train_{name}": x / steps for name, x in sums.items()}
        metrics |= self.over_lanes(evaluate, (0, 0, 0))(model, hparams, base)
        return jax.tree.map(lambda x: x[None], (model, metrics)) if self.width == 1 else (model, metrics)

    def judged(self, models: State, hparams: Any, split: Any, key: jax.Array) -> dict[str, jax.Array]:
        """Metrics (n,) of n models on a split of the data, one after another."""

        def one(row: tuple[State, Any]) -> dict[str, Any]:
            return self.trainable.evaluate(unpacked(row[0], self.shapes.state), row[1], split, key)

        told: dict[str, jax.Array] = jax.lax.map(one, (models, hparams))
        return told

    def _batches(self, train: Any, order: jax.Array, chunks: Any) -> tuple[Callable[..., Any], int | None]:
        """`batch(j, t, place)` at step j of the segment, and whether it has a lane axis.

        A segment of at least an epoch shows every trial all of the data, so its steps may be the same ones in every segment: lanes
        then share one gather, whatever their ages. A shorter one follows each trial's own step.
        """
        if chunks is not None:  # each lane takes its own row even of one chunk: lanes that shared it would round differently
            return lambda j, t, place: jax.tree.map(lambda c: c[place, j], chunks), 0
        trainable = self.trainable
        if self.steps >= trainable.epoch:
            draw = trainable.rows
            if draw is None:
                return lambda j, t, place: trainable.batch(train, order, j), None
            rows = jax.vmap(lambda j: draw(order, j))(jnp.arange(self.steps, dtype=jnp.int32))
            return lambda j, t, place: trainable.taken(train, rows[j]), None
        own = self.over_lanes(lambda t: trainable.at(train, order, t), (0,))
        return lambda j, t, place: own(t), 0

    def started(self, model: State, hparams: Any, number: jax.Array, replicate: jax.Array, mask: jax.Array, seed_key: jax.Array) -> State:
        """The models, of which those under the mask are initial ones."""
        keys = jax.vmap(lambda n, r: jax.random.fold_in(training_key(seed_key, n, r), INIT))(number, replicate)
        return _chosen(mask, jax.vmap(lambda key, h: packed(self.trainable.init(key, h), self.shapes.state))(keys, hparams), model)

    def over_lanes(self, function: Callable[..., Any], axes: tuple[int | None, ...]) -> Callable[..., Any]:
        """`vmap`, told the mesh's axis of lanes, so that what a model says of the other axes stands."""
        if self.width == 1:
            return function
        return jax.vmap(function, in_axes=axes, spmd_axis_name=self.axis)


def seeded(seed: int) -> jax.Array:
    """The key of a seed in [0, 2**63), of which `jax.random.key` would keep 32 bits."""
    return jax.random.fold_in(jax.random.key(seed & 0xFFFFFFFF), seed >> 32)


def training_key(seed_key: jax.Array, number: jax.Array, replicate: jax.Array) -> jax.Array:
    """The key of one training, from the data of the study's."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.wrap_key_data(seed_key), number), replicate)


def packed(state: State, shapes: Any) -> State:
    """A state as plain arrays of its own dtypes: keys become their data, Python numbers lose their weak types."""
    return jax.tree.map(lambda x, s: jax.random.key_data(x) if _is_key(s) else jnp.asarray(x, s.dtype), state, shapes)


def unpacked(model: State, shapes: Any) -> State:
    """The trainable's own state."""
    return jax.tree.map(lambda x, s: jax.random.wrap_key_data(x, impl=_IMPLEMENTATIONS[str(s.dtype)]) if _is_key(s) else x, model, shapes)


def _is_key(shape: Any) -> bool:
    return bool(jnp.issubdtype(shape.dtype, jax.dtypes.prng_key))


def _chosen(mask: jax.Array, new: State, old: State) -> State:
    return jax.tree.map(lambda a, b: jnp.where(jax.lax.expand_dims(mask, range(mask.ndim, a.ndim)), a, b), new, old)


def _only(trees: Any) -> Any:
    return jax.tree.map(lambda x: x[0], trees)
