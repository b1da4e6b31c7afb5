"""Does padding change anything? The padded and the truly small model, trained side by side from the same keys on the same batches.

Padding is exact where every number that the small model computes is computed in the padded one from the same numbers: masked widths, true
fan-ins, true means. It is not where something averages over padding, scales by an array's shape or draws for one: an unmasked LayerNorm, an
activation with f(0) != 0, Adafactor. `check_padding` finds the first step and the leaf of the state at which the two part.

How far a leaf is off is told as a part of how far it has moved, so that a small learning rate hides nothing: with a = leading corner of the
padded leaf and b = leaf of the small model after some steps, max|a - b| / max|b - b_0|, roundings of b (1e-6 of its size) taken off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxhp.errors import TrainableError
from jaxhp.train._segment import EVALUATE, INIT, ORDER, STEP
from jaxhp.train._stream import Stream
from jaxhp.train._trainable import State, Trainable, check

ROUNDING = 1e-6  # of a leaf's size: what float32 loses in a few operations

UNSAFE = {  # state of an optax transformation -> why padding changes what it computes
    "FactoredState": "Adafactor's statistics and thresholds are means over arrays, padding included",
    "MuonState": "Muon scales an update by the shape of its array, padding included",
    "GaLoreState": "GaLore projects along the side of an array that its shape, padding included, chooses",
    "AddNoiseState": "noise is drawn for whole arrays, so that other shapes draw other noise",
    "DifferentiallyPrivateAggregateState": "noise is drawn for whole arrays, so that other shapes draw other noise",
}


class PaddingReport(NamedTuple):
    """Where the padded and the truly small model part, if they do."""

    sizes: dict[str, int]  # of the small model
    padded: dict[str, int]
    steps: int  # trained
    tolerance: float
    step: int | None  # the first at which a leaf is off by more; 0 is the initial state; None: they agree
    leaf: str  # the one that is off most, there or anywhere
    deviation: float  # by how much, as a part of its movement
    metrics: dict[str, tuple[float, float]]  # of `evaluate` at the end: padded, small

    @property
    def agrees(self) -> bool:
        """Whether they never part."""
        return self.step is None

    def __str__(self) -> str:
        what = ", ".join(f"{name} {size} padded to {self.padded[name]}" for name, size in self.sizes.items())
        ends = "; ".join(f"{name} {a:.7g} against {b:.7g}" for name, (a, b) in self.metrics.items())
        if self.agrees and not self.deviation:
            found = f"agree over {self.steps} steps up to rounding"
        elif self.agrees:
            found = f"agree over {self.steps} steps; furthest off is {self.leaf}, by {self.deviation:.1e} of its movement"
        else:
            when = "in the initial state" if self.step == 0 else f"at step {self.step}"
            found = f"part {when}, in {self.leaf}, which is off by {self.deviation:.1e} of its movement (tolerance {self.tolerance:g})"
        return f"{what}: {found}; in the end {ends}"


def check_padding(
    trainable: Trainable, hparams: Mapping[str, Any], *, steps: int = 20, tolerance: float = 1e-3, seed: int = 0
) -> PaddingReport:
    """Trains a configuration padded and at its true sizes, and tells at which step and leaf the two part.

    Args:
        trainable: from `jaxhp.padded`.
        hparams: a configuration as functions see it: numbers, choices as their indices; its sizes below the largest.
        steps: to train. Rounding grows with them, without bound where training is unstable.
        tolerance: how far a leaf may be off, as a part of how far it has moved.
        seed: of weights, batches and dropout.

    Raises:
        TrainableError: nothing is padded, the optimiser is known to be unsafe, the small state is no part of the padded one, or the
            trainable breaks a rule.

    >>> import jaxhp, optax
    >>> def make(width):
    ...     def init(key, h):
    ...         return jnp.where(jnp.arange(width) < h["width"], 1.0, 0.0)
    ...     def step(w, h, batch, key, t):
    ...         return w - 0.1 * jax.grad(lambda w: ((w**2).sum() / h["width"] - batch) ** 2)(w), {}
    ...     def evaluate(w, h, split, key):
    ...         return {"loss": w.max()}
    ...     return jaxhp.Trainable(init, step, evaluate, {"train": jnp.float32(2.0), "validation": jnp.float32(2.0)})
    >>> check_padding(jaxhp.padded(make, width=8), {"width": 5}).agrees
    True
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise TrainableError(f"steps: expected a positive integer, got {steps!r}")
    if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or not tolerance > 0:
        raise TrainableError(f"tolerance: expected a positive number, got {tolerance!r}")
    h, sizes = _configuration(trainable, hparams)
    state = check(trainable, h).state
    refuse_unsafe(state)
    return compared(trainable, h, sizes, steps, float(tolerance), seed)


def refuse_unsafe(state: State) -> None:
    """Refuses optimisers whose state says that padding changes what they compute.

    Raises:
        TrainableError: with the reason.
    """
    for part in _parts(state):
        reason = UNSAFE.get(type(part).__name__)
        if reason is not None and type(part).__module__.startswith("optax"):
            raise TrainableError(
                f"the optimiser cannot train padded arrays: {reason}. Choose one of those that docs/structure.md lists as safe, such as "
                "optax.adamw or optax.lamb, or train each size in a study of its own"
            )


def compared(
    trainable: Trainable, hparams: Mapping[str, Any], sizes: dict[str, int], steps: int, tolerance: float, seed: int
) -> PaddingReport:
    """The comparison alone: nothing is refused."""
    small = trainable.resized(sizes)
    names, deviations, metrics = _trained(trainable, small, hparams, steps, seed)
    over = deviations > tolerance
    first = int(np.flatnonzero(over.any(axis=1))[0]) if over.any() else None
    at = deviations.max(axis=0) if first is None else deviations[first]
    worst = int(at.argmax())
    padded = {name: trainable.sizes[name] for name in sizes}
    return PaddingReport(sizes, padded, steps, tolerance, first, names[worst], float(at[worst]), metrics)


def _configuration(trainable: Trainable, hparams: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
    """Hyperparameters as arrays, and the true sizes among them."""
    if not isinstance(trainable, Trainable) or not trainable.sizes:
        raise TrainableError(
            "trainable: its shapes depend on no hyperparameter, so nothing is padded; build it with jaxhp.padded(make, ...)"
        )
    if not isinstance(hparams, Mapping):
        raise TrainableError(f"hparams: expected a dict such as {{'width': 48}}, got {hparams!r}")
    h: dict[str, Any] = {}
    for name, x in hparams.items():
        array = np.asarray(x)
        if array.shape != () or array.dtype.kind not in "biuf":
            raise TrainableError(f"hparams[{name!r}]: expected a number (a choice as its index), got {x!r}")
        h[name] = array.astype(np.float32 if array.dtype.kind == "f" else np.int32)
    sizes = {name: int(h[name]) for name in trainable.sizes if name in h}
    for name, size in sizes.items():
        if not 1 <= size <= trainable.sizes[name]:
            raise TrainableError(f"hparams[{name!r}]: {size} is not in 1 ... {trainable.sizes[name]}, what the trainable is padded to")
    if all(size == trainable.sizes[name] for name, size in sizes.items()):
        shown = ", ".join(f"{name} below {most}" for name, most in trainable.sizes.items())
        raise TrainableError(f"hparams: at these sizes nothing is padded; choose {shown}")
    return h, sizes


def _trained(
    big: Trainable, small: Trainable, hparams: Mapping[str, Any], steps: int, seed: int
) -> tuple[list[str], np.ndarray[Any, Any], dict[str, tuple[float, float]]]:
    """Leaves (n,) of the small state, how far each is off after each step (steps + 1, n), and metrics in the end."""
    key = jax.random.key(seed)
    base, order = jax.random.fold_in(key, 0), jax.random.fold_in(key, ORDER)
    h = {name: jnp.asarray(x) for name, x in hparams.items()}

    def batches(trainable: Trainable) -> Any:
        train = trainable.data["train"]
        return train.batches(0, steps) if isinstance(train, Stream) else None

    def advanced(trainable: Trainable, state: State, train: Any, streamed: Any, t: jax.Array) -> State:
        batch = trainable.at(train, order, t) if streamed is None else streamed
        return trainable.step(state, h, batch, jax.random.fold_in(jax.random.fold_in(base, STEP), t), t)[0]

    def run(trains: Any, streams: Any, validations: Any) -> Any:
        states = tuple(trainable.init(jax.random.fold_in(base, INIT), h) for trainable in (big, small))
        states = jax.tree.map(jnp.asarray, states)
        begun = _leaves(states[1])

        def advance(carry: Any, x: Any) -> tuple[Any, Any]:
            states, moved = carry
            t, streamed = x
            states = tuple(
                advanced(trainable, state, train, s, t)
                for trainable, state, train, s in zip((big, small), states, trains, streamed, strict=True)
            )
            now = _leaves(states[1])
            moved = jnp.maximum(moved, jnp.stack([_size(_difference(now[name], begun[name])) for name in now]))
            return (states, moved), _off(states, moved)

        at_first = _off(states, jnp.stack([_size(_finite(leaf)) for leaf in begun.values()]))
        carry = (states, jnp.zeros(len(begun)))
        (states, _), off = jax.lax.scan(advance, carry, (jnp.arange(steps, dtype=jnp.int32), streams))
        ends = [
            trainable.evaluate(state, h, split, jax.random.fold_in(base, EVALUATE))
            for trainable, state, split in zip((big, small), states, validations, strict=True)
        ]
        return jnp.concatenate([at_first[None], off]), ends

    both = (big, small)
    quick = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None  # it runs once
    names = list(_matched(*(jax.eval_shape(trainable.init, key, h) for trainable in both)))
    trains = [None if isinstance(trainable.data["train"], Stream) else trainable.data["train"] for trainable in both]
    off, ends = jax.jit(run, compiler_options=quick)(
        trains, [batches(trainable) for trainable in both], [trainable.data["validation"] for trainable in both]
    )
    return names, np.asarray(off, np.float64), {name: (float(ends[0][name]), float(ends[1][name])) for name in ends[0]}


def _matched(big: State, small: State) -> dict[str, Any]:
    """The small state's leaves by path.

    Raises:
        TrainableError: one is no corner of a leaf of the padded state.
    """
    known, found = _leaves(big), _leaves(small)
    for name, leaf in found.items():
        if name not in known:
            raise TrainableError(
                f"leaf {name} of the truly small state is not in the padded one: layers must have the same names at every size"
            )
        shape = known[name].shape
        if len(shape) != len(leaf.shape) or any(a < b for a, b in zip(shape, leaf.shape, strict=True)):
            raise TrainableError(f"leaf {name}: {list(leaf.shape)} of the truly small state is no corner of the padded one's {list(shape)}")
    return found


def _leaves(state: State) -> dict[str, Any]:
    return {jax.tree_util.keystr(path) or "(the state itself)": leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}


def _off(states: tuple[State, State], moved: jax.Array) -> jax.Array:
    """How far each leaf (n,) of the small state is off, as a part of how far it has moved (n,)."""
    known = _leaves(states[0])
    off = []
    for name, leaf in _leaves(states[1]).items():
        corner = known[name][tuple(slice(0, n) for n in leaf.shape)]
        off.append(jnp.maximum(_size(_difference(corner, leaf)) - ROUNDING * _size(_finite(leaf)), 0.0))
    found = jnp.stack(off)
    return jnp.where(found > 0, jnp.where(jnp.isinf(found), jnp.inf, found / moved), 0.0)


def _difference(a: jax.Array, b: jax.Array) -> jax.Array:
    """a - b; numbers that are both NaN, or the same infinity, do not differ; one NaN differs infinitely."""
    if not jnp.issubdtype(a.dtype, jnp.inexact):
        a, b = (jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x for x in (a, b))
        return jnp.where(a == b, 0.0, jnp.inf)
    equal = (a == b) | (jnp.isnan(a) & jnp.isnan(b))
    return jnp.where(equal, 0.0, jnp.nan_to_num(jnp.abs(a - b), nan=jnp.inf, posinf=jnp.inf))


def _size(leaf: jax.Array) -> jax.Array:
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return jnp.zeros(())
    size: jax.Array = jnp.max(jnp.abs(leaf), initial=0.0).astype(jnp.float32)
    return size


def _finite(leaf: jax.Array) -> jax.Array:
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return leaf
    finite: jax.Array = jnp.where(jnp.isfinite(leaf), leaf, 0.0)
    return finite


def _parts(tree: Any) -> Iterator[Any]:
    """A pytree's containers, from the outside in."""
    yield tree
    children = tree.values() if isinstance(tree, Mapping) else tree if isinstance(tree, (tuple, list)) else ()
    for child in children:
        yield from _parts(child)
