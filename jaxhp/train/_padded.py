"""`padded`: a trainable whose shapes are the largest that a study will meet, and that can be made again at other sizes.

Width, depth and other shape-dependent hyperparameters vary inside one compiled program when every array is as large as the largest of
them and what is beyond the true size is masked (`jaxhp.masks`). The price is the work of the largest: so the trainable keeps how it was
made, and can be made smaller, for a program of its own (buckets) or for a comparison with the truly small model.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax

from jaxhp.errors import TrainableError
from jaxhp.train._trainable import Trainable


def padded(make: Callable[..., Trainable], **largest: int) -> Trainable:
    """`make(**largest)`, remembering how it was made: `trainable.sizes` and `trainable.resized`.

    Args:
        make: a function of sizes by keyword, such as `make(width, layers)`, that returns a `Trainable` whose arrays are padded to them and
            whose functions read the true values, `hparams["width"]` at most `width`, as traced numbers. Made at another size it must
            compute the same for the hyperparameters that fit in both.
        largest: the largest value of each of these hyperparameters, by its name.

    Raises:
        TrainableError: `make` is no function of these names or returned no trainable; a size is no positive integer.

    >>> import jax.numpy as jnp
    >>> def make(width):
    ...     return Trainable(
    ...         init=lambda key, hparams: jnp.where(jnp.arange(width) < hparams["width"], 1.0, 0.0),
    ...         step=lambda w, hparams, batch, key, t: (w - 0.1 * w * batch, {}),
    ...         evaluate=lambda w, hparams, split, key: {"loss": (w**2).sum() * split},
    ...         data={"train": jnp.float32(1.0), "validation": jnp.float32(1.0)},
    ...     )
    >>> largest = padded(make, width=256)
    >>> largest.sizes, largest.resized({"width": 64}).sizes
    ({'width': 256}, {'width': 64})
    """
    if not callable(make):
        raise TrainableError(
            f"make: expected a function of sizes that returns a Trainable, got {type(make).__name__}; padded(make, width=256) calls it"
        )
    if not largest:
        raise TrainableError("padded: which hyperparameters change shapes? Give each one's largest value: padded(make, width=256)")
    _check_sizes("padded", largest)
    _check_names(make, largest)
    return _made(make, largest)


def resized(trainable: Trainable, sizes: Mapping[str, int]) -> Trainable:
    """See `Trainable.resized`."""
    if trainable.make is None:
        raise TrainableError("resized: the trainable does not know how it is made; build it with jaxhp.padded(make, width=256)")
    if not isinstance(sizes, Mapping):
        raise TrainableError(f"resized: expected a dict of sizes such as {{'width': 64}}, got {sizes!r}")
    for name in sizes:
        if name not in trainable.sizes:
            raise TrainableError(f"resized: {name!r} is no size of this trainable, which has {', '.join(map(repr, trainable.sizes))}")
    _check_sizes("resized", sizes)
    made = _made(trainable.make, {**trainable.sizes, **sizes})
    return made._replace(data=trainable.data) if _alike(made.data, trainable.data) else made


def _made(make: Callable[..., Trainable], sizes: Mapping[str, int]) -> Trainable:
    trainable: Any = make(**sizes)
    if not isinstance(trainable, Trainable):
        shown = ", ".join(f"{name}={size}" for name, size in sizes.items())
        raise TrainableError(
            f"make({shown}) returned {type(trainable).__name__}, not a jaxhp.Trainable; return jaxhp.supervised(...), for example"
        )
    made: Trainable = trainable._replace(sizes=dict(sizes), make=make)
    return made


def _check_sizes(where: str, sizes: Mapping[str, Any]) -> None:
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise TrainableError(f"{where}: {name}={size!r} is no size; give the largest value as a positive integer")


def _check_names(make: Callable[..., Any], sizes: Mapping[str, int]) -> None:
    try:
        inspect.signature(make).bind(**sizes)
    except TypeError as e:
        raise TrainableError(
            f"make{inspect.signature(make)} cannot be called with {', '.join(f'{name}={size}' for name, size in sizes.items())}: {e}; "
            "its arguments are the names that padded(make, ...) is given"
        ) from e


def _alike(a: Any, b: Any) -> bool:
    """Whether two trainables' data have the same structure and shapes, so that one copy serves both."""

    def shape(leaf: Any) -> Any:
        return (getattr(leaf, "shape", None), str(getattr(leaf, "dtype", type(leaf).__name__)))

    left, right = jax.tree.map(shape, dict(a)), jax.tree.map(shape, dict(b))
    return bool(left == right)
