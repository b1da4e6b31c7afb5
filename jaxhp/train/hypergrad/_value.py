"""`value_and_hypergrad`: from a trainable to a pure function of its hyperparameters, and what is refused at this door."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxhp._arguments import plain_arguments
from jaxhp.errors import TrainableError
from jaxhp.train._stream import Stream
from jaxhp.train._trainable import Trainable, check, must_be_trainable
from jaxhp.train.hypergrad._auto import Auto
from jaxhp.train.hypergrad._guard import Guarded
from jaxhp.train.hypergrad._info import Adjoint, Info
from jaxhp.train.hypergrad._loop import Loop, X, loop_of
from jaxhp.train.hypergrad._reach import reaching
from jaxhp.train.hypergrad._slope import SmoothedSlope

Function = Callable[[Mapping[str, Any], jax.Array], tuple[jax.Array, X, Info]]


@plain_arguments
def value_and_hypergrad(
    trainable: Trainable,
    steps: int,
    wrt: str | Sequence[str],
    *,
    adjoint: Adjoint | Literal["auto"] = "auto",
    metric: str = "loss",
    guard: bool = True,
    seed: int = 0,
    segment: int | None = None,
) -> Function:
    """A function `(hparams, key) -> (value, gradient, info)`: trains, evaluates, and differentiates the metric.

    It is pure: compile, map and shard it as you like. `value` is what a lane of a study computes for the same `seed` and
    `key = jaxhp.lane_key(seed, number)`. `gradient` is a dict of arrays by name, in the user's units (`jaxhp.unit_gradient` has those of
    the unit cube), of the raw metric: descend along it where the metric is minimised.

    Args:
        trainable: what is trained.
        steps: of training.
        wrt: names of the floating hyperparameters, scalars or arrays, to differentiate. `hparams` may hold others.
        adjoint: `Reverse()`, `Forward()`, `Truncated(k)`, `Implicit()`, `SmoothedSlope()`, `OneStep()`, `Guarded(...)`; "auto" chooses.
        metric: of `evaluate`, on `data["validation"]`.
        guard: whether suspect gradients are tested against neighbouring runs and replaced where these disagree: True is
            `Guarded(adjoint)`. False returns what the adjoint computes.
        seed: names the order of the examples, which all keys share.
        segment: of the lanes that it is to agree with (`study.train(evaluate_every=)`): batches repeat with it where it is an epoch or
            longer.

    Raises:
        TrainableError: an argument is not valid; when called, a name of `wrt` is unknown, no floating number, or acts through rounding and
            comparison alone. Where the metric does not depend on a hyperparameter, its gradient is 0 and a UserWarning names it.

    >>> trainable = Trainable(
    ...     init=lambda key, hparams: jnp.zeros(()),
    ...     step=lambda w, hparams, batch, key, t: (w - hparams["rate"] * 2 * (w - batch), {}),
    ...     evaluate=lambda w, hparams, split, key: {"loss": (w - split) ** 2},
    ...     data={"train": jnp.float32(3.0), "validation": jnp.float32(3.0)},
    ... )
    >>> value, gradient, info = value_and_hypergrad(trainable, steps=10, wrt="rate")({"rate": 0.1}, jax.random.key(0))
    >>> round(float(value), 4), round(float(gradient["rate"]), 3), info.words()  # 9 (1 - 2 rate)^20 and its derivative
    (0.1038, -5.188, {'rate': 'kept'})
    """
    must_be_trainable(trainable)
    if not isinstance(wrt, Sequence) or not all(isinstance(name, str) for name in wrt):
        raise TrainableError(f"wrt: expected names of hyperparameters, such as ('weight_decay',), got {wrt!r}")
    names = (wrt,) if isinstance(wrt, str) else tuple(wrt)
    method = _checked(steps, segment, names, adjoint, guard, seed)
    held: dict[bool, dict[str, Any]] = {}  # the data on the device, from the first call on, in single or double precision

    def data() -> dict[str, Any]:
        double = jnp.result_type(float) == jnp.float64
        if double not in held:
            train, validation = trainable.data["train"], trainable.data["validation"]
            train = train.batches(0, steps) if isinstance(train, Stream) else train
            with jax.ensure_compile_time_eval():
                held[double] = {"train": jax.tree.map(jnp.asarray, train), "validation": jax.tree.map(jnp.asarray, validation)}
        return held[double]

    def function(hparams: Mapping[str, Any], key: jax.Array) -> tuple[jax.Array, X, Info]:
        if not isinstance(hparams, Mapping):
            raise TrainableError(f"hparams: expected a dict of numbers or arrays by name, got {type(hparams).__name__}")
        arrays = {name: jnp.asarray(value) for name, value in hparams.items()}
        arrays = {name: a.astype(a.dtype) for name, a in arrays.items()}  # without weak types
        _check_wrt(names, arrays)
        if not held:
            check(trainable, arrays, (metric,))
        result: tuple[jax.Array, X, Info] = compiled(arrays, _as_key(key), data())
        return result

    @jax.jit
    def compiled(hparams: X, key: jax.Array, data: Any) -> tuple[jax.Array, X, Info]:
        shapes = check(trainable, hparams, (metric,))
        dtype = shapes.evaluated[metric].dtype
        if not jnp.issubdtype(dtype, jnp.floating):
            raise TrainableError(f"metric={metric!r}: evaluate returns it as {dtype}, which has no gradient; choose a smooth loss")
        x = {name: hparams[name] for name in names}
        fixed = {name: a for name, a in hparams.items() if name not in x}
        loop = loop_of(
            trainable, shapes, fixed, key, data, steps=steps, segment=steps if segment is None else segment, seed=seed, metric=metric
        )
        _check_reach(loop, x, method)
        return method.gradient(loop, x)

    return function


def _checked(steps: Any, segment: Any, names: tuple[str, ...], adjoint: Any, guard: Any, seed: Any) -> Adjoint:
    """The adjoint, guarded or not."""
    for name, value in (("steps", steps), ("segment", segment)):
        if (value is not None or name == "steps") and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise TrainableError(f"{name}: expected a positive integer, got {value!r}")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise TrainableError(f"seed: expected an integer >= 0, got {seed!r}")
    if not names or len(set(names)) != len(names) or not all(isinstance(name, str) for name in names):
        raise TrainableError(f"wrt={names!r}: expected names of hyperparameters, each once")
    chosen = Auto() if isinstance(adjoint, str) and adjoint == "auto" else adjoint
    if isinstance(chosen, type) or not callable(getattr(chosen, "gradient", None)):
        raise TrainableError(
            f"adjoint={adjoint!r}: expected 'auto' or an adjoint such as Reverse(), Forward(), Truncated(k), Implicit(), SmoothedSlope(), "
            "OneStep(); its parentheses are needed"
        )
    if not isinstance(guard, bool):
        raise TrainableError(f"guard={guard!r}: expected True or False; a guard of another kind is an adjoint: Guarded(Reverse(), ...)")
    result: Adjoint = Guarded(chosen) if guard and not isinstance(chosen, Guarded | SmoothedSlope) else chosen
    return result


def _check_wrt(names: tuple[str, ...], hparams: X) -> None:
    for name in names:
        if name not in hparams:
            raise TrainableError(f"wrt: {name!r} is not among the hyperparameters, which are {', '.join(map(repr, hparams)) or 'none'}")
        dtype = hparams[name].dtype
        if not jnp.issubdtype(dtype, jnp.floating):
            raise TrainableError(
                f"wrt: {name!r} is {dtype}, a discrete value, which has no gradient; leave it out of wrt"
                + (", or write it with a decimal point if it is meant to be continuous" if jnp.issubdtype(dtype, jnp.integer) else "")
            )


def _check_reach(loop: Loop, x: X, method: Adjoint) -> None:
    acting, differing = reaching(loop, x)
    for name in x:
        if name not in acting:
            warnings.warn(
                f"the metric {loop.metric!r} does not depend on {name!r}: its gradient is 0. Is it read anywhere?",
                UserWarning,
                stacklevel=2,
            )
        elif name not in differing and method.exact:
            raise TrainableError(
                f"wrt: {name!r} acts on {loop.metric!r} through rounding, comparisons or signs alone (as sizes, thresholds and the momenta "
                "of sign-based optimisers do), so its derivative is 0 almost everywhere and says nothing; leave it out of wrt, or use "
                "adjoint=SmoothedSlope()"
            )


def _as_key(key: Any) -> jax.Array:
    """A key of either style, as one of the new."""
    dtype = getattr(key, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key) and key.shape == ():
        return jnp.asarray(key)
    if dtype == jnp.uint32 and key.shape == (2,):
        wrapped: jax.Array = jax.random.wrap_key_data(key)
        return wrapped
    raise TrainableError(f"key: expected one key, jax.random.key(0) or jaxhp.lane_key(seed, number), got {key!r}")
