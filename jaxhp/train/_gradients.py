"""Gradients of trials that lanes have trained to the end: the runs are made again, several side by side, and differentiated.

Neighbouring runs, by which a guard judges and replaces what is suspect (`hypergrad/_guard.py`), are dear, and side by side they would be
made for every trial. So two programs share the work: the first differentiates all trials of a batch and says which slopes are suspect; the
second, guarded, goes over those trials one by one. Where more than a few slopes of one trial are suspect, all are given up.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from jaxhp.errors import TrainableError
from jaxhp.train._lanes import Lanes
from jaxhp.train._stream import Stream
from jaxhp.train.hypergrad import Adjoint, Auto, Guarded, Reason, lane_key, value_and_hypergrad
from jaxhp.train.hypergrad._loop import loop_of
from jaxhp.train.hypergrad._reach import reaching

FEW = 8  # suspect slopes of a trial that neighbours are trained for
_MEMORY = 2.0**30  # bytes for the checkpoints of all runs of a batch, where the adjoint is chosen automatically


class Graded(NamedTuple):
    """The gradient of one run."""

    slopes: dict[str, float]  # d metric / d hyperparameter, in the user's units; NaN: given up
    guard: dict[str, str]  # which of them were replaced, given up or are suspect, and why


class Gradients:
    """Differentiates trials of some lanes, as many side by side.

    Args:
        lanes: in which the trials train; trainable, data, seed, width and segment are theirs.
        names: floats of the space.
        steps: of a full run.
        adjoint: how, or "auto".
        metric: what is differentiated.

    Raises:
        TrainableError: the metric has no derivative with respect to any of the names, or the adjoint is none. A name that acts through
            rounding and comparisons alone is left out, with a warning.
    """

    def __init__(self, lanes: Lanes, names: Sequence[str], steps: int, adjoint: Adjoint | Literal["auto"], metric: str) -> None:
        chosen: Any = Auto(_MEMORY / lanes.width) if isinstance(adjoint, str) and adjoint == "auto" else adjoint
        self.lanes = lanes
        self.adjoint = adjoint
        self._guard = chosen if isinstance(chosen, Guarded) else None
        bare = chosen.adjoint if isinstance(chosen, Guarded) else chosen
        arguments: dict[str, Any] = {"steps": steps, "metric": metric, "seed": lanes.seed, "segment": lanes.segment}
        value_and_hypergrad(lanes.trainable, wrt=names, adjoint=chosen, **arguments)  # refuses what is no adjoint
        if self._guard is None and bare.exact:
            self._guard = Guarded(bare)
        self.names = self._differentiable(names, bare.exact, steps, metric)
        self._bare = value_and_hypergrad(lanes.trainable, wrt=self.names, adjoint=bare, guard=False, **arguments)
        self._single = None
        if self._guard is not None:
            self._single = jax.jit(value_and_hypergrad(lanes.trainable, wrt=self.names, adjoint=self._guard, **arguments))
        self._program: Future[Any] | None = None

    def compile_ahead(self) -> None:
        """Starts to compile the first program in a thread."""
        k = self.lanes.width
        hparams = {name: jax.ShapeDtypeStruct((k,), x.dtype) for name, x in self.lanes.example.items()}
        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), k))
        mesh, lane = self.lanes.mesh, self.lanes._lane
        mapped = jax.vmap(self._judged, spmd_axis_name=None if mesh is None else mesh.axis_names[0])
        program = jax.jit(mapped) if mesh is None else jax.jit(mapped, in_shardings=lane, out_shardings=lane)
        with_thread = ThreadPoolExecutor(1, thread_name_prefix="jaxhp-compile")
        self._program = with_thread.submit(lambda: program.lower(hparams, keys).compile())
        with_thread.shutdown(wait=False)

    def __call__(self, numbers: Sequence[int], replicates: Sequence[int], hparams: Mapping[str, npt.NDArray[Any]]) -> list[Graded]:
        """The gradients of runs (n,), by the trial's number, the replicate and the hyperparameters (n,) each."""
        if self._program is None:
            self.compile_ahead()
        assert self._program is not None
        n, k = len(numbers), self.lanes.width
        keys = [lane_key(self.lanes.seed, number, replicate) for number, replicate in zip(numbers, replicates, strict=True)]
        result: list[Graded] = []
        for first in range(0, n, k):
            index = np.minimum(np.arange(first, first + k), n - 1)  # a batch that is not full repeats its last run
            columns = self.lanes._spread({name: np.asarray(x)[index] for name, x in hparams.items()})
            told = self._program.result()(columns, self.lanes._spread(jnp.stack([keys[i] for i in index])))
            gradient, suspect, reason = jax.tree.map(np.asarray, told)
            for j, i in enumerate(range(first, min(first + k, n))):
                row = {name: x[i] for name, x in hparams.items()}
                doubted = [name for name in self.names if suspect[name][j]]
                if doubted and self._single is not None and len(doubted) <= FEW and self._tests:
                    result.append(self._guarded(row, keys[i]))
                else:
                    result.append(self._unguarded(j, gradient, doubted, reason))
        return result

    @property
    def _tests(self) -> bool:
        return self._guard is not None and self._guard.when != "never"

    def _judged(self, hparams: Any, key: jax.Array) -> Any:
        """The gradient of one run, and by name whether it is suspect and the adjoint's own reason."""
        value, gradient, info = self._bare(hparams, key)
        guard = self._guard
        suspect = {}
        for name, g in gradient.items():
            finite, before = jnp.isfinite(g), info.reason[name]
            if guard is None:
                suspect[name] = ~finite | (before != Reason.NONE)
            else:
                foreseen = jnp.abs(g * guard.slope.stretch(name, hparams[name]))
                suspect[name] = guard.suspects(value, foreseen, finite, before, info.growth) | (guard.when == "always")
        return gradient, suspect, info.reason

    def _guarded(self, hparams: Mapping[str, Any], key: jax.Array) -> Graded:
        assert self._single is not None
        _, gradient, info = self._single(dict(hparams), key)
        words = info.words()
        return Graded({name: float(g) for name, g in gradient.items()}, {name: w for name, w in words.items() if w != "kept"})

    def _unguarded(self, j: int, gradient: Any, doubted: list[str], reason: Any) -> Graded:
        """A gradient that nothing speaks against, or that is given up."""
        slopes = {name: float(gradient[name][j]) for name in self.names}
        if not doubted:
            return Graded(slopes, {})
        finite = all(math.isfinite(slopes[name]) for name in doubted)
        if finite and not self._tests:
            return Graded(slopes, {name: "suspect" for name in doubted if reason[name][j] != Reason.NONE})
        why = f"{len(doubted)} slopes are suspect, too many to train neighbours for" if self._tests else "the gradient is not finite"
        return Graded(dict.fromkeys(self.names, math.nan), dict.fromkeys(doubted, f"given up: {why}"))

    def _differentiable(self, names: Sequence[str], exact: bool, steps: int, metric: str) -> tuple[str, ...]:
        """The names that have a gradient; where the adjoint needs none, all that act."""
        lanes = self.lanes
        if metric not in lanes.shapes.evaluated:
            known = ", ".join(map(repr, lanes.shapes.evaluated))
            raise TrainableError(f"differentiate={metric!r}: evaluate has no such metric; it has {known}")
        train, validation = lanes.trainable.data["train"], lanes.trainable.data["validation"]
        data = {"train": train.batches(0, 1) if isinstance(train, Stream) else train, "validation": validation}
        x = {name: jnp.asarray(lanes.example[name]) for name in names}
        fixed = {name: jnp.asarray(a) for name, a in lanes.example.items() if name not in x}
        loop = loop_of(
            lanes.trainable, lanes.shapes, fixed, lane_key(0, 0), jax.tree.map(jnp.asarray, data),
            steps=steps, segment=lanes.segment, seed=lanes.seed, metric=metric,
        )  # fmt: skip
        acting, differing = reaching(loop, x)
        if (not differing and exact) or not acting:
            raise TrainableError(
                f"adjoint: the metric {metric!r} has no derivative with respect to any of {', '.join(names)}; "
                "a loss has one where an accuracy has none: Study(metric=...)"
            )
        rough = [name for name in names if name in acting and name not in differing] if exact else []
        if rough:
            warnings.warn(
                f"adjoint: {', '.join(map(repr, rough))} acts on {metric!r} through rounding or comparisons alone and has no gradient; "
                "hypergradient_descent leaves it as each start has it",
                UserWarning,
                stacklevel=2,
            )
        return tuple(name for name in names if name not in rough)
