"""What is trained: four functions and the data, checked by abstract evaluation before anything compiles.

    state = init(key, hparams)                                        a pytree of arrays
    state, metrics = step(state, hparams, batch, key, t)              one update; shapes and dtypes stay
    metrics = evaluate(state, hparams, split, key)                    scalars on data["validation"], batched inside
    batch = batch(data["train"], key, t)                              what step t sees; every trial of a study sees the same
    rows = rows(key, t)                                               or, instead: which examples (b,) of it

`hparams` is a dict of traced scalars (`_hparams.py`), so one compiled program serves every configuration.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jaxhp.errors import TrainableError
from jaxhp.train._stream import Stream

State: TypeAlias = Any  # a pytree of arrays
Metrics: TypeAlias = dict[str, Any]  # name -> scalar
Hparams: TypeAlias = dict[str, Any]  # name -> traced scalar


def whole(data: Any, key: jax.Array, t: jax.Array) -> Any:
    """The default of `Trainable.batch`: the whole train set at every step."""
    del key, t
    return data


class Trainable(NamedTuple):
    """A model and how it trains, for one configuration; lanes run many of them at once.

    >>> import jax.numpy as jnp
    >>> trainable = Trainable(
    ...     init=lambda key, hparams: jnp.zeros(()),
    ...     step=lambda w, hparams, batch, key, t: (w - hparams["learning_rate"] * 2 * (w - batch), {}),
    ...     evaluate=lambda w, hparams, split, key: {"loss": (w - split) ** 2},
    ...     data={"train": jnp.float32(3.0), "validation": jnp.float32(3.0)},
    ... )
    """

    init: Callable[[jax.Array, Hparams], State]
    step: Callable[[State, Hparams, Any, jax.Array, jax.Array], tuple[State, Metrics]]
    evaluate: Callable[[State, Hparams, Any, jax.Array], Metrics]
    data: Mapping[str, Any]  # "train", "validation", perhaps "test": pytrees of arrays; "train" may be a `Stream`
    batch: Callable[[Any, jax.Array, jax.Array], Any] = whole
    rows: Callable[[jax.Array, jax.Array], jax.Array] | None = None  # used instead of `batch`; a segment's rows are drawn at once
    epoch: int = 1  # steps after which all of the train set has been shown
    spec: Any = None  # how one state lies on the mesh's axes beyond the first: PartitionSpecs, a pytree like the state or a prefix of it
    sizes: Mapping[str, int] = MappingProxyType({})  # hyperparameters that shapes depend on, and the values that arrays are padded to
    make: Callable[..., Trainable] | None = None  # makes it at other sizes (`padded`)

    def resized(self, sizes: Mapping[str, int]) -> Trainable:
        """The same trainable with arrays padded to other sizes, by name; sizes that are not given stay. Data of equal shapes is shared.

        At the very values of a configuration's hyperparameters it is that configuration's truly small model, without padding.

        Raises:
            TrainableError: it was not built by `jaxhp.padded`, a name is unknown, or a size is no positive integer.
        """
        from jaxhp.train._padded import resized

        return resized(self, sizes)

    def taken(self, data: Any, rows: jax.Array) -> Any:
        """The examples (b, ...) of the train set in these rows (b,)."""
        return jax.tree.map(lambda x: x[rows], data)

    def at(self, data: Any, key: jax.Array, t: jax.Array) -> Any:
        """The batch of step t."""
        return self.batch(data, key, t) if self.rows is None else self.taken(data, self.rows(key, t))


class Shapes(NamedTuple):
    """What a trainable turned out to compute: pytrees of `jax.ShapeDtypeStruct`."""

    state: Any
    batch: Any
    trained: dict[str, Any]  # metrics of `step`
    evaluated: dict[str, Any]  # metrics of `evaluate`


def check(trainable: Trainable, hparams: Mapping[str, Any], metrics: tuple[str, ...] = ()) -> Shapes:
    """Evaluates all functions abstractly; nothing compiles.

    Args:
        trainable: what is to be checked.
        hparams: one configuration, as arrays or `jax.ShapeDtypeStruct`.
        metrics: names that `evaluate` must return.

    Raises:
        TrainableError: naming the function, the leaf or argument, what was seen, and the remedy.
    """
    must_be_trainable(trainable)
    if not isinstance(trainable.data, Mapping):
        raise TrainableError(
            f"trainable.data: expected a dict such as {{'train': ..., 'validation': ...}}, got {type(trainable.data).__name__}"
        )
    for name in ("train", "validation"):
        if name not in trainable.data:
            raise TrainableError(f"trainable.data has no {name!r}: it has {', '.join(map(repr, trainable.data)) or 'nothing'}")
    for name, split in trainable.data.items():
        _numbers(name, split)
    key = jax.eval_shape(lambda: jax.random.key(0))
    t = jax.ShapeDtypeStruct((), jnp.int32)
    h = {name: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)) for name, x in hparams.items()}
    train, validation = trainable.data["train"], trainable.data["validation"]
    state = strong(_traced("init", trainable.init, (key, h), h))
    batch = train.shapes if isinstance(train, Stream) else _traced("batch", trainable.at, (train, key, t), h)
    result = _traced("step", trainable.step, (state, h, batch, key, t), h)
    if not isinstance(result, tuple) or len(result) != 2:
        raise TrainableError(f"step returned {type(result).__name__}; return (state, metrics), metrics a dict of scalars and perhaps empty")
    _same("step", state, strong(result[0]))
    trained = _scalars("step", result[1])
    evaluated = _scalars("evaluate", _traced("evaluate", trainable.evaluate, (state, h, validation, key), h))
    for name in metrics:
        if name not in evaluated:
            raise TrainableError(
                f"evaluate returned {', '.join(map(repr, evaluated)) or 'nothing'}, but the study's metric is {name!r}: "
                f"return it too, or name another one: Study(metric={next(iter(evaluated), 'loss')!r})"
            )
    return Shapes(state, batch, trained, evaluated)


def must_be_trainable(trainable: Any) -> None:
    """
    Raises:
        TrainableError: it is something else.
    """
    if not isinstance(trainable, Trainable):
        raise TrainableError(
            f"trainable: expected a jaxhp.Trainable, got {type(trainable).__name__}; "
            "build one with jaxhp.supervised(...) or jaxhp.Trainable(...)"
        )


def strong(tree: Any) -> Any:
    """The shapes of a pytree without weak types: what a Python number becomes once it is stored."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)), tree)


def _numbers(name: str, split: Any) -> None:
    """Refuses data that no device can hold."""
    if isinstance(split, Stream):
        return
    for path, leaf in jax.tree_util.tree_leaves_with_path(split):
        dtype = getattr(leaf, "dtype", None)
        if dtype is None and isinstance(leaf, (bool, int, float)):
            continue
        if dtype is None or not (jnp.issubdtype(dtype, jnp.number) or dtype == jnp.bool_ or jnp.issubdtype(dtype, jax.dtypes.prng_key)):
            seen = type(leaf).__name__ if dtype is None else f"an array of {dtype}"
            raise TrainableError(
                f"trainable.data[{name!r}]: leaf {jax.tree_util.keystr(path) or '(the split itself)'} is {seen}; "
                "give arrays of numbers, text as indices"
            )


def _same(function: str, before: Any, after: Any) -> None:
    was, now = str(jax.tree.structure(before)), str(jax.tree.structure(after))
    if was != now:
        raise TrainableError(
            f"{function} changed the structure of the state:\n  from {was}\n  to   {now}\nreturn the same containers that init made"
        )
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True):
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            remedy = f"cast it: .astype(jnp.{a.dtype})" if a.shape == b.shape else "a compiled step cannot change shapes"
            raise TrainableError(
                f"{function} turned leaf {_where(path)} of the state from {a.dtype}{list(a.shape)} into {b.dtype}{list(b.shape)}: {remedy}"
            )


def _scalars(function: str, metrics: Any) -> dict[str, Any]:
    if not isinstance(metrics, Mapping):
        raise TrainableError(f"{function} returned metrics as {type(metrics).__name__}; return a dict of scalars, such as {{'loss': loss}}")
    for name, x in metrics.items():
        if jnp.shape(x) != ():
            raise TrainableError(f"{function} returned metric {name!r} of shape {list(jnp.shape(x))}, not a scalar; take its mean")
        if not jnp.issubdtype(jnp.result_type(x), jnp.number) and jnp.result_type(x) != jnp.bool_:
            raise TrainableError(f"{function} returned metric {name!r} of dtype {jnp.result_type(x)}, not a number")
    return dict(metrics)


_ARGUMENTS = {
    "init": ("key", "hparams"),
    "step": ("state", "hparams", "batch", "key", "t"),
    "evaluate": ("state", "hparams", "split", "key"),
    "batch": ("data", "key", "t"),
}
_SOURCE = re.compile(r"depends on the values? of the arguments? (.+?)\.?$", re.MULTILINE)  # in JAX's messages


def _traced(name: str, function: Callable[..., Any], arguments: tuple[Any, ...], hparams: Hparams) -> Any:
    """Shapes of what a function returns; its trace's errors in the words of a trainable."""

    def called(*arguments: Any) -> Any:
        result = function(*arguments)
        for path, leaf in jax.tree_util.tree_leaves_with_path(result):
            if not (hasattr(leaf, "dtype") and hasattr(leaf, "shape")) and not isinstance(leaf, (bool, int, float, complex)):
                raise TrainableError(
                    f"{name} returned leaf {_where(path)} as {type(leaf).__name__}, not an array; keep functions and names out of what it "
                    "returns"
                )
        return result

    # JAX names the arguments that a value depends on as this signature does
    positional = inspect.Parameter.POSITIONAL_ONLY
    called.__signature__ = inspect.Signature([inspect.Parameter(n, positional) for n in _ARGUMENTS[name]])  # type: ignore[attr-defined]
    try:
        closed, shapes = jax.make_jaxpr(called, return_shape=True)(*arguments)
    except KeyError as e:
        missing = e.args[0] if e.args else None
        if isinstance(missing, str) and missing not in hparams and not _lacks(function, arguments, hparams, missing):
            raise TrainableError(f"{name} reads hparams[{missing!r}], which the space lacks: it has {', '.join(map(repr, hparams))}") from e
        raise
    except (TypeError, IndexError) as e:  # of which JAX's own errors about traced values are
        text = str(e)
        source = _SOURCE.search(text)
        if source is None and not isinstance(e, jax.errors.JAXTypeError | jax.errors.JAXIndexError) and "Tracer" not in text:
            raise
        culprit = source[1] if source else f"a traced value (as all of {', '.join(_ARGUMENTS[name])} are)"
        raise TrainableError(
            f"{name} uses {culprit} as a Python value, which a compiled program cannot: use jnp.where, jax.lax.switch or jax.lax.cond "
            f"in place of `if`, arrays in place of Python numbers, and shapes that do not vary. JAX says: {text.splitlines()[0]}"
        ) from e
    if any("Ordered" in type(effect).__name__ for effect in closed.effects):
        raise TrainableError(
            f"{name} has an ordered host callback, which cannot run in many lanes at once: pass ordered=False, "
            "return the value as a metric, or use study.train(callbacks=...), which run between segments"
        )
    return shapes


def _lacks(function: Callable[..., Any], arguments: tuple[Any, ...], hparams: Hparams, key: str) -> bool:
    """Whether the function misses this key even where the hyperparameters have it."""
    more = hparams | {key: jax.ShapeDtypeStruct((), jnp.float32)}
    try:
        jax.eval_shape(function, *(more if a is hparams else a for a in arguments))
    except KeyError as e:
        return e.args[:1] == (key,)
    except Exception:  # another error comes later: the key was found
        return False
    return False


def _where(path: Any) -> str:
    return jax.tree_util.keystr(path) or "(the state itself)"
