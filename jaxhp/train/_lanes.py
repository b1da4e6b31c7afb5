"""Lanes: a fixed number of slots, one compiled segment, and refill between segments.

A lane trains one configuration. All lanes advance `segment` steps in one XLA program (`vmap` of the trainable's step inside
`lax.scan`), are evaluated in the same program, and between two segments the host swaps finished trials for new ones, puts paused
ones back, or leaves a lane idle. Nothing is recompiled: hyperparameters, step counts and trial numbers are inputs.

What a trial computes depends on the study's seed, its number, its hyperparameters and the number of lanes, not on its slot or its
neighbours: every key is folded from (seed, number, replicate, purpose, step), and batches are a function of the step.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxhp._types import Ints
from jaxhp.errors import TrainableError
from jaxhp.train._segment import Segment, packed, seeded, unpacked
from jaxhp.train._stream import Prefetch, Stream
from jaxhp.train._trainable import Shapes, State, Trainable, check

Columns = dict[str, npt.NDArray[Any]]


class LaneState(NamedTuple):
    """k lanes between two segments. The models live on the device, what the host decides on is NumPy."""

    model: State  # the trainable's state, every leaf with a lane axis in front (k, ...)
    number: Ints  # (k,) the trial in each lane; -1 idle
    replicate: npt.NDArray[np.int32]  # (k,) which of its seeds
    hparams: Columns  # name -> (k,)
    t: npt.NDArray[np.int32]  # (k,) steps done
    until: npt.NDArray[np.int32]  # (k,) the step to stop at


class Lanes:
    """A compiled segment over `width` slots, usable alone.

    Args:
        trainable: the model and its data.
        hparams: one configuration, by name; what matters are its names and dtypes.
        width: lanes. 1 runs without `vmap`.
        segment: steps between two refills; every trial is evaluated after each.
        seed: of the study; names every draw together with the trial's number.
        ragged: a trial may stop within a segment. Costs a select per step.
        metrics: names that `evaluate` must return.
        mesh: devices to spread the lanes over, by its first axis; the default device otherwise. Further axes are for models that need
            several devices each: `trainable.spec` says how their states lie on them.
        beside: lanes on the same devices; data that both train on is there once, and one trainable is checked once.

    Raises:
        TrainableError: an argument is not valid, or the trainable breaks a rule (`jaxhp.train.check`).

    >>> trainable = Trainable(
    ...     init=lambda key, hparams: jnp.zeros(()),
    ...     step=lambda w, hparams, batch, key, t: (w - hparams["rate"] * 2 * (w - batch), {}),
    ...     evaluate=lambda w, hparams, split, key: {"loss": (w - split) ** 2},
    ...     data={"train": jnp.float32(3.0), "validation": jnp.float32(3.0)},
    ... )
    >>> lanes = Lanes(trainable, {"rate": np.float32(0.1)}, width=2, segment=10)
    >>> state = lanes.refill(lanes.init(), [0, 1], numbers=[7, 8], hparams={"rate": np.float32([0.1, 0.5])}, until=10)
    >>> state, metrics = lanes.run(state)
    >>> bool(metrics["loss"][0] < 0.11), state.t.tolist()
    (True, [10, 10])
    """

    def __init__(
        self,
        trainable: Trainable,
        hparams: Mapping[str, Any],
        width: int,
        *,
        segment: int,
        seed: int = 0,
        ragged: bool = False,
        metrics: tuple[str, ...] = (),
        mesh: Mesh | None = None,
        beside: Lanes | None = None,
    ) -> None:
        for name, value in (("width", width), ("segment", segment)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise TrainableError(f"{name}: expected a positive integer, got {value!r}")
        if mesh is not None and not isinstance(mesh, Mesh):
            raise TrainableError(f"mesh: expected a jax.sharding.Mesh, got {mesh!r}")
        if mesh is not None and width % mesh.devices.shape[0]:
            raise TrainableError(
                f"mesh: {width} lanes do not divide over the axis {mesh.axis_names[0]!r} of a mesh of shape {dict(mesh.shape)}; "
                "choose a multiple of its size"
            )
        if mesh is not None and len(mesh.axis_names) > 1 and trainable.spec is None:
            raise TrainableError(
                f"mesh: its axes {', '.join(map(repr, mesh.axis_names[1:]))} are for models that need several devices, and the trainable "
                "does not say how its state lies on them: Trainable(spec=...), or give the mesh one axis"
            )
        self.trainable = trainable
        self.width = width
        self.segment = segment
        self.seed = seed
        self.ragged = ragged
        self.mesh = mesh
        self.example = {name: np.asarray(x) for name, x in hparams.items()}
        known = None
        if beside is not None and beside.trainable is trainable and _types(beside.example) == _types(hparams):
            known = beside.shapes
        self.shapes: Shapes = check(trainable, hparams, metrics) if known is None or not set(metrics) <= set(known.evaluated) else known
        self._row = jax.eval_shape(lambda s: packed(s, self.shapes.state), self.shapes.state)  # one lane's model
        lane, every = (None, None) if mesh is None else (_sharding(mesh, mesh.axis_names[0]), _sharding(mesh))
        self._lane, self._everywhere = lane, every
        self._lying = lane if mesh is None or trainable.spec is None else _lying(mesh, trainable.spec, self._row)  # of the models
        train, validation = trainable.data["train"], trainable.data["validation"]
        self._stream = Prefetch(train, segment) if isinstance(train, Stream) else None
        self._train: Any
        self._validation: Any
        if beside is not None and beside.mesh == mesh and beside.trainable.data is trainable.data:
            self._train, self._validation = beside._train, beside._validation
        else:
            self._train = None if self._stream else jax.device_put(train, every)
            self._validation = jax.device_put(validation, every)
        self._seed_key = jax.device_put(jax.random.key_data(seeded(seed)), every)
        self._programs: dict[int, Future[Any]] = {}
        quick = {"xla_backend_optimization_level": 2} if jax.default_backend() == "cpu" else None  # initial draws compile 4 times faster
        computed = Segment(trainable, self.shapes, width, segment, ragged, None if mesh is None else mesh.axis_names[0])
        self._judge = jax.jit(computed.judged)
        if mesh is None:
            self._segment = jax.jit(computed.advance, donate_argnums=0)
            self._fresh = jax.jit(computed.started, donate_argnums=0, compiler_options=quick)
            self._place = jax.jit(_placed, donate_argnums=0)
            self._copy = jax.jit(_taken_from, donate_argnums=0)
        else:
            model = self._lying
            self._segment = jax.jit(
                computed.advance,
                donate_argnums=0,
                in_shardings=(model, lane, lane, lane, lane, lane, every, every, every, every, lane),
                out_shardings=(model, lane),
            )
            self._fresh = jax.jit(
                computed.started,
                donate_argnums=0,
                in_shardings=(model, lane, lane, lane, lane, every),
                out_shardings=model,
                compiler_options=quick,
            )
            self._place = jax.jit(_placed, donate_argnums=0, in_shardings=(model, model, lane), out_shardings=model)
            self._copy = jax.jit(_taken_from, donate_argnums=0, in_shardings=(model, every), out_shardings=model)

    # -- the four verbs --------------------------------------------------------------------------------------------

    def init(self) -> LaneState:
        """All lanes idle."""
        k = self.width
        return LaneState(
            model=self.on_device(jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), self.empty())),
            number=np.full(k, -1, np.int64),
            replicate=np.zeros(k, np.int32),
            hparams={name: np.repeat(x, k) for name, x in self.example.items()},
            t=np.zeros(k, np.int32),
            until=np.zeros(k, np.int32),
        )

    def refill(
        self,
        state: LaneState,
        slots: Sequence[int],
        numbers: Sequence[int],
        hparams: Mapping[str, Any],
        until: int | Sequence[int],
        *,
        replicates: Sequence[int] | None = None,
        t: Sequence[int] | None = None,
        model: State | None = None,
        sources: Sequence[int] | None = None,
    ) -> LaneState:
        """Puts trials into slots: from their initial weights, or from weights that stand at step `t`.

        These are `model`, rows (len(slots), ...) or more, or those of the lanes `sources`, which may be `slots` themselves.

        Raises:
            TrainableError: a slot is out of range, a hyperparameter is missing, or `until` is no whole number of segments.
        """
        index = np.asarray(slots, np.int64)
        if len(index) and not (index.min() >= 0 and index.max() < self.width):
            raise TrainableError(f"slots: {list(slots)} are not all in 0 ... {self.width - 1}")
        if len(set(index.tolist())) != len(index):
            raise TrainableError(f"slots: {list(slots)} names a slot twice")
        number, replicate = state.number.copy(), state.replicate.copy()
        at, stop = state.t.copy(), state.until.copy()
        columns = {name: x.copy() for name, x in state.hparams.items()}
        if set(hparams) != set(columns):
            raise TrainableError(f"hparams: expected {', '.join(sorted(columns))}, got {', '.join(sorted(hparams))}")
        for name, column in {"numbers": numbers, **{f"hparams[{name!r}]": x for name, x in hparams.items()}}.items():
            if np.shape(column) != index.shape:
                raise TrainableError(f"{name}: expected {len(index)}, one per slot, got {np.size(column)}")
        number[index] = numbers
        replicate[index] = 0 if replicates is None else replicates
        at[index] = 0 if t is None else t
        stop[index] = until
        if (stop <= at)[index].any():
            raise TrainableError(f"until={until!r}: nothing to train, the trials stand at step {at[index].tolist()}")
        if not self.ragged and (((stop - at)[index]) % self.segment).any():
            raise TrainableError(
                f"until={until!r}: not a whole number of segments of {self.segment} steps; round it, or build Lanes(..., ragged=True)"
            )
        for name, x in hparams.items():
            columns[name][index] = x
        mask = np.zeros(self.width, np.bool_)
        mask[index] = True
        if sources is not None:
            origin = np.arange(self.width, dtype=np.int32)
            origin[index] = sources
            weights = state.model
            if (origin[index] != index).any():
                weights = self._copy(weights, origin if self.mesh is None else jax.device_put(origin, self._everywhere))
        elif model is None:
            weights = self._fresh(state.model, *self._spread((columns, *_named(number, replicate), mask)), self._seed_key)
        else:
            places = np.full(self.width, self.width, np.int32)  # beyond the last lane: dropped
            places[: len(index)] = index
            rows = jax.tree.map(lambda leaf: _filled_up(leaf, self.width), model)
            weights = self._place(state.model, self.on_device(rows), *self._spread((places,)))
        return LaneState(weights, number, replicate, columns, at, stop)

    def run(self, state: LaneState) -> tuple[LaneState, dict[str, jax.Array]]:
        """Advances every lane to its `until`, at most `segment` steps, and evaluates it. Returns at once: the device works on.

        The metrics, (k,) each: those of `evaluate`, and the means over the segment of those of `step` under the name `train_...`.
        What an idle lane returns means nothing; nor does what one returns that already stands at its `until`, whose model, unless the lanes
        are ragged, trains on: gather it first.
        """
        train, chunks, place = self._train, None, None
        if self._stream is not None:
            at = state.t // self.segment
            wanted = sorted({int(c) for c in at[state.number >= 0]} or {0})
            wanted += wanted[-1:] * (_power_of_two(len(wanted)) - len(wanted))
            chunks = self._stream.take(wanted)
            place = np.minimum(np.searchsorted(wanted, at), len(wanted) - 1).astype(np.int32)
        model, metrics = self._program(0 if chunks is None else len(jax.tree.leaves(chunks)[0]), chunks, place).result()(
            state.model, *self._spread((state.hparams, *_named(state.number, state.replicate), state.t, state.until)),
            train, self._validation, self._seed_key, chunks, self._spread(place),
        )  # fmt: skip
        t = np.minimum(state.t + self.segment, state.until)
        if self._stream is not None:
            self._stream.ahead({0, *(int(c) for c in t[state.number >= 0] // self.segment)})
        return state._replace(model=model, t=t), metrics

    def gather(self, state: LaneState, slots: Sequence[int]) -> State:
        """The models in these slots: a pytree of NumPy arrays (len(slots), ...), as `refill(model=)` takes it."""
        index = np.asarray(slots, np.int64)
        return jax.tree.map(lambda leaf: np.asarray(leaf)[index], state.model)

    def on_device(self, model: State) -> State:
        """Arrays (k, ...) of the host as the lanes' models."""
        return jax.device_put(model, self._lying)

    def _spread(self, tree: Any) -> Any:
        """Arrays (k, ...) of the host over the mesh: where `jax.distributed` runs, a program does not do so itself."""
        return tree if self._lane is None else jax.device_put(tree, self._lane)

    def unpacked(self, row: State) -> State:
        """One row of `gather` (no lane axis) as the trainable's own state."""
        return unpacked(row, self.shapes.state)

    def empty(self) -> State:
        """The shapes (k, ...) of the lanes' models."""
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct((self.width, *x.shape), x.dtype), self._row)

    @property
    def compiled(self) -> int:
        """How many training programs were compiled so far: one, and for streams one per power of two of chunks in use."""
        return sum(program.done() for program in self._programs.values())

    @property
    def leaves(self) -> int:
        """How many arrays a lane's model consists of."""
        return len(jax.tree.leaves(self._row))

    @property
    def lane_bytes(self) -> int:
        """Bytes of one lane's model."""
        return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(self._row))

    def shared(
        self,
        trainable: Trainable,
        hparams: Mapping[str, Any],
        width: int,
        *,
        segment: int,
        seed: int,
        ragged: bool,
        metrics: tuple[str, ...],
    ) -> Lanes:
        """These lanes under another seed, for another study: data and compiled programs are shared.

        Raises:
            TrainableError: what is asked for would need another program.
        """
        differing = {
            "trainable": trainable is not self.trainable,
            "width": width != self.width,
            "segment (evaluate_every)": segment != self.segment,
            "steps (whole segments or not)": ragged != self.ragged,
            "hyperparameters": _types(hparams) != _types(self.example),
            "metrics": not set(metrics) <= set(self.shapes.evaluated),
        }
        if any(differing.values()):
            what = " and ".join(name for name, differs in differing.items() if differs)
            raise TrainableError(f"lanes: these were built for another {what}; pass a number of lanes to build new ones")
        other = copy.copy(self)
        other.seed, other.example = seed, {name: np.asarray(x) for name, x in hparams.items()}
        other._seed_key = jax.device_put(jax.random.key_data(seeded(seed)), self._everywhere)
        if isinstance(trainable.data["train"], Stream):
            other._stream = Prefetch(trainable.data["train"], segment)
        return other

    def compile_ahead(self, threads: Executor | None = None) -> None:
        """Starts to compile the segment in a thread, one of these or a new one, while the host does something else. `run` waits for it."""
        if self._stream is None:
            self._program(0, None, None, threads)

    def _program(self, variant: int, chunks: Any, place: Any, threads: Executor | None = None) -> Future[Any]:
        """The compiled segment, which is being compiled from the first time on that it is asked for."""
        ready = self._programs.get(variant)
        if ready is None:
            k = self.width
            number = jax.ShapeDtypeStruct((k,), np.uint32)
            step = jax.ShapeDtypeStruct((k,), np.int32)
            hparams = {name: jax.ShapeDtypeStruct((k,), x.dtype) for name, x in self.example.items()}
            arguments = (
                self.empty(), hparams, number, number, step, step, self._train, self._validation, self._seed_key, chunks, place,
            )  # fmt: skip
            pool = threads or ThreadPoolExecutor(1, thread_name_prefix="jaxhp-compile")
            ready = self._programs[variant] = pool.submit(lambda: self._segment.lower(*arguments).compile())
            if threads is None:
                pool.shutdown(wait=False)
        return ready

    def judged(self, hparams: Mapping[str, npt.NDArray[Any]], models: State, split: Any) -> Columns:
        """Metrics (n,) of n models, rows as `gather` returns them, on a split of the data, `width` of them at a time."""
        key, parts = jax.random.key(self.seed & 0xFFFFFFFF), []
        for first in range(0, len(jax.tree.leaves(models)[0]), self.width):
            index = slice(first, first + self.width)
            rows = jax.tree.map(lambda x, index=index: jnp.asarray(x[index]), models)
            told = self._judge(rows, {name: x[index] for name, x in hparams.items()}, split, key)
            parts.append({name: np.asarray(x, np.float64) for name, x in told.items()})
        return {name: np.concatenate([told[name] for told in parts]) for name in parts[0]}

    def close(self) -> None:
        """Ends the thread that reads ahead, where the data is a stream."""
        if self._stream is not None:
            self._stream.close()


def _types(hparams: Mapping[str, Any]) -> dict[str, np.dtype[Any]]:
    return {name: np.asarray(x).dtype for name, x in hparams.items()}


def _named(number: Ints, replicate: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    return (number & 0xFFFFFFFF).astype(np.uint32), replicate.astype(np.uint32)


def _placed(model: State, rows: State, places: jax.Array) -> State:
    """Row i (of k) in the lane that places[i] names; nowhere if that is k."""
    return jax.tree.map(lambda leaf, new: leaf.at[places].set(new, mode="drop"), model, rows)


def _taken_from(model: State, origin: jax.Array) -> State:
    """Each lane's model is that of the lane that `origin` (k,) names."""
    return jax.tree.map(lambda leaf: leaf[origin], model)


def _filled_up(rows: Any, k: int) -> Any:
    """Rows (n, ...) as (k, ...): one program places any number of them."""
    if len(rows) == k:
        return rows
    full = np.zeros((k, *rows.shape[1:]), rows.dtype)
    full[: len(rows)] = rows
    return full


def _sharding(mesh: Mesh, *axes: Any) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec(*axes))


def _lying(mesh: Mesh, spec: Any, row: State) -> Any:
    """Shardings of the lanes' models: the lanes over the first axis, each model over the others as its spec says."""
    whole = jax.tree.broadcast(spec, row, is_leaf=lambda x: isinstance(x, PartitionSpec))
    return jax.tree.map(lambda s, _: _sharding(mesh, mesh.axis_names[0], *s), whole, row, is_leaf=lambda x: isinstance(x, PartitionSpec))


def _power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()
