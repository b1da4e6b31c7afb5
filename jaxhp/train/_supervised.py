"""`supervised`: a trainable from a network, a loss, data and an optimiser.

Batches are drawn without replacement from an order that is new in every epoch (`_shuffle.py`). Where the batch size is a
hyperparameter, all lanes gather the largest one and each weighs its own part of it, so that batch size does not change shapes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxhp._arguments import plain_arguments
from jaxhp.errors import TrainableError
from jaxhp.train._modules import network
from jaxhp.train._shuffle import scattered, shuffled
from jaxhp.train._stream import Stream
from jaxhp.train._trainable import Hparams, Metrics, State, Trainable
from jaxhp.train.optim import eval_params

EVALUATED_AT_ONCE = 4096  # examples of a split that `evaluate` runs in one piece


@plain_arguments
def supervised(
    module: Any,
    loss: Callable[..., jax.Array],
    data: Mapping[str, Any],
    *,
    optimizer: Callable[[Hparams], optax.GradientTransformation],
    batch_size: int | str,
    largest_batch: int | None = None,
    metrics: Mapping[str, Callable[..., jax.Array]] | None = None,
    accumulate: int = 1,
    precision: Any = None,
) -> Trainable:
    """A `Trainable` that fits a network to examples.

    Args:
        module: the network: a flax linen module, a function of `rngs` that makes an nnx module, a function of `key` that makes a callable
            pytree (Equinox), or a pair `(init(key), apply(params, x))`. A function may take `hparams` too.
        loss: `loss(outputs, y)` per example (n,), or their mean; `loss(outputs, y, hparams)` where it has hyperparameters.
        data: `{"train": (x, y), "validation": (x, y)}`, perhaps `"test"`: arrays of equal length, x and y pytrees where need be;
            "train" may be a `Stream` of such pairs.
        optimizer: a function of the hyperparameters, which are traced: `lambda h: optax.adamw(h["learning_rate"])` (`jaxhp.optim` has
            schedules, clipping and groups to tune). Under a schedule-free one the averaged parameters are evaluated.
        batch_size: examples a step, or the name of the hyperparameter that says so; then `largest_batch` is needed, and a loss per example.
        metrics: further `name: f(outputs, y)`, per example or their mean, measured on the validation set.
        accumulate: microbatches that a batch is cut into; their gradients are averaged.
        precision: a dtype such as `jnp.bfloat16` to compute in; parameters, optimiser and metrics stay float32.

    Raises:
        TrainableError: naming the argument, what was seen and the remedy.
    """
    net = network(module)
    _check(loss, data, optimizer, metrics, precision)
    train = data["train"]
    n = None if isinstance(train, Stream) else _length("train", train)
    for name, split in data.items():
        if name != "train":
            _length(name, split)
    most = _largest(batch_size, largest_batch, train, n, accumulate)
    takes_hparams = "hparams" in inspect.signature(loss).parameters

    def scored(outputs: Any, y: Any, hparams: Hparams) -> jax.Array:
        losses = loss(_single(outputs), y, hparams) if takes_hparams else loss(_single(outputs), y)
        return _per_example("loss", losses, y)

    def first(split: Any) -> Any:
        return jax.tree.map(lambda x: x[:1], split)

    def init(key: jax.Array, hparams: Hparams) -> State:
        x, _ = first(train.batches(0, 1)) if isinstance(train, Stream) else first(train)
        x = jax.tree.map(lambda a: jnp.asarray(a)[0] if isinstance(train, Stream) else jnp.asarray(a), x)
        variables = net.init(key, x, hparams)
        return variables | {"optimizer": optimizer(hparams).init(variables["params"])}

    def mean_loss(
        params: Any, rest: Any, x: Any, y: Any, weight: jax.Array | None, hparams: Hparams, key: jax.Array
    ) -> tuple[jax.Array, Any]:
        low = {"params": _cast(params, precision), "rest": rest}  # statistics are averages of many batches: too fine for half precision
        outputs, new = net.apply(low, _cast(x, precision), hparams, key, True, weight)
        losses = scored(outputs, y, hparams)
        new = jax.tree.map(lambda a, b: a.astype(b.dtype) if hasattr(b, "astype") else a, new, rest)
        if weight is None:
            return losses.mean(), new
        if losses.ndim == 0:
            raise TrainableError(f"loss: batch_size={batch_size!r} varies, so loss must return one value per example, not their mean")
        return (losses * weight).sum(), new

    def step(state: State, hparams: Hparams, batch: Any, key: jax.Array, t: jax.Array) -> tuple[State, Metrics]:
        x, y = batch
        weight = None
        if isinstance(batch_size, str):
            size = jnp.clip(jnp.asarray(hparams[batch_size], jnp.int32), 1, most)
            # A small batch is a part of the large one that starts elsewhere in every step: were it to move on steadily, it could meet the
            # same part of the same large batch in each epoch, and never see the rest.
            place = (jnp.arange(most) + scattered(t, most)) % most
            weight = (place < size) / size.astype(jnp.float32)
        value, rest, gradient = _gradient(mean_loss, state, x, y, weight, hparams, key, accumulate)
        updates, opt = optimizer(hparams).update(gradient, state["optimizer"], state["params"])
        return {"params": optax.apply_updates(state["params"], updates), "rest": rest, "optimizer": opt}, {"loss": value}

    def evaluate(state: State, hparams: Hparams, split: Any, key: jax.Array) -> Metrics:
        named: dict[str, Callable[..., jax.Array]] = {"loss": lambda o, y: scored(o, y, hparams)}
        named |= {
            name: lambda o, y, f=f, n=f"metrics[{name!r}]": _per_example(n, f(_single(o), y), y) for name, f in (metrics or {}).items()
        }
        low = {"params": _cast(eval_params(state["optimizer"], state["params"]), precision), "rest": state["rest"]}

        def measured(part: Any) -> Metrics:
            x, y = part
            outputs, _ = net.apply(low, _cast(x, precision), hparams, key, False)
            return {name: jnp.mean(f(outputs, y).astype(jnp.float32)) for name, f in named.items()}

        return _in_pieces(measured, split)

    if n is None:
        return Trainable(init, step, evaluate, dict(data))
    return Trainable(init, step, evaluate, dict(data), rows=partial(_rows, n, most), epoch=-(-n // most))


def _rows(n: int, size: int, key: jax.Array, t: jax.Array) -> jax.Array:
    """The examples (size,) of step t; an epoch's last batch is filled up with its first examples."""
    steps = -(-n // size)
    place = t % steps * size + jnp.arange(size, dtype=jnp.int32)
    return shuffled(jax.random.fold_in(key, t // steps), place % n, n)


def _gradient(
    mean_loss: Callable[..., Any], state: State, x: Any, y: Any, weight: jax.Array | None, hparams: Hparams, key: jax.Array, pieces: int
) -> tuple[jax.Array, Any, Any]:
    """(loss, rest, gradient) of a batch, in `pieces` microbatches one after another."""
    value_and_grad = jax.value_and_grad(mean_loss, has_aux=True)
    if pieces == 1:
        (value, rest), gradient = value_and_grad(state["params"], state["rest"], x, y, weight, hparams, key)
        return value, rest, gradient

    def cut(a: jax.Array) -> jax.Array:
        return a.reshape(pieces, -1, *a.shape[1:])

    def add(carry: Any, part: Any) -> tuple[Any, None]:
        value, rest, gradient = carry
        i, (x, y, weight) = part
        (v, rest), g = value_and_grad(state["params"], rest, x, y, weight, hparams, jax.random.fold_in(key, i))
        return (value + v, rest, jax.tree.map(jnp.add, gradient, g)), None

    zero = (jnp.zeros(()), state["rest"], jax.tree.map(jnp.zeros_like, state["params"]))
    (value, rest, gradient), _ = jax.lax.scan(add, zero, (jnp.arange(pieces), jax.tree.map(cut, (x, y, weight))))
    if weight is not None:  # the weights of all microbatches together sum to 1
        return value, rest, gradient
    return value / pieces, rest, jax.tree.map(lambda g: g / pieces, gradient)


def _in_pieces(measured: Callable[[Any], Metrics], split: Any) -> Metrics:
    """Means over a split, computed in pieces where it is large."""
    n = len(jax.tree.leaves(split)[0])
    whole = n // EVALUATED_AT_ONCE
    if whole <= 1 and n <= 2 * EVALUATED_AT_ONCE:
        return measured(split)
    head = whole * EVALUATED_AT_ONCE
    pieces = jax.tree.map(lambda x: x[:head].reshape(whole, EVALUATED_AT_ONCE, *x.shape[1:]), split)
    totals = jax.tree.map(lambda x: x.sum() * EVALUATED_AT_ONCE, jax.lax.map(measured, pieces))
    if head < n:
        rest = measured(jax.tree.map(lambda x: x[head:], split))
        totals = jax.tree.map(lambda total, mean: total + mean * (n - head), totals, rest)
    return {name: total / n for name, total in totals.items()}


def _check(loss: Any, data: Any, optimizer: Any, metrics: Any, precision: Any) -> None:
    if not callable(loss):
        raise TrainableError(f"loss: expected a function (outputs, y), got {loss!r}")
    if not callable(optimizer):
        raise TrainableError(
            f"optimizer: expected a function of the hyperparameters, got {type(optimizer).__name__}; "
            "write optimizer=lambda h: optax.adamw(h['learning_rate'])"
        )
    if metrics is not None and not isinstance(metrics, Mapping):
        raise TrainableError(f"metrics: expected a dict of functions (outputs, y) by name, got {type(metrics).__name__}")
    for name, metric in (metrics or {}).items():
        if not callable(metric):
            raise TrainableError(f"metrics[{name!r}]: expected a function (outputs, y), got {metric!r}")
    if precision is not None:
        try:
            floating = jnp.issubdtype(jnp.dtype(precision), jnp.floating)
        except TypeError:
            floating = False
        if not floating:
            raise TrainableError(f"precision: expected a floating dtype such as jnp.bfloat16, got {precision!r}")
    if not isinstance(data, Mapping):
        raise TrainableError(f"data: expected a dict {{'train': (x, y), 'validation': (x, y)}}, got {type(data).__name__}")
    for name in ("train", "validation"):
        if name not in data:
            raise TrainableError(f"data has no {name!r}: it has {', '.join(map(repr, data)) or 'nothing'}")


def _per_example(name: str, values: jax.Array, y: Any) -> jax.Array:
    """Refuses what broadcast by accident: outputs (n, 1) less targets (n,) are (n, n)."""
    n = len(jax.tree.leaves(y)[0])
    if jnp.shape(values) not in ((), (n,)):
        raise TrainableError(
            f"{name} returned shape {list(jnp.shape(values))} for {n} examples: return one value per example, or their mean; "
            "do outputs and y have the same shape?"
        )
    return values


def _length(name: str, split: Any) -> int:
    if not isinstance(split, tuple) or len(split) != 2:
        raise TrainableError(f"data[{name!r}]: expected a pair (x, y) of arrays, got {type(split).__name__}")
    for path, x in jax.tree_util.tree_leaves_with_path(split):
        if not jnp.ndim(x):
            raise TrainableError(f"data[{name!r}]: leaf {jax.tree_util.keystr(path)} is a {type(x).__name__}, not an array of examples")
    lengths = {jax.tree_util.keystr(path): len(x) for path, x in jax.tree_util.tree_leaves_with_path(split)}
    if len(set(lengths.values())) != 1:
        shown = ", ".join(f"{path} has {length}" for path, length in lengths.items())
        raise TrainableError(f"data[{name!r}]: x and y differ in length ({shown}); give one y per x")
    n = next(iter(lengths.values()))
    if n == 0:
        raise TrainableError(f"data[{name!r}] is empty")
    return n


def _largest(batch_size: int | str, largest: int | None, train: Any, n: int | None, accumulate: int) -> int:
    if isinstance(batch_size, str):
        if largest is None:
            raise TrainableError(
                f"batch_size={batch_size!r} is a hyperparameter: say the largest one too, largest_batch=..., which sets the program's shape"
            )
        most = largest
    else:
        most = batch_size
        if largest is not None:
            raise TrainableError(f"largest_batch={largest!r} goes with batch_size='name'; batch_size is {batch_size!r}")
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise TrainableError(f"batch_size: expected a positive integer or a hyperparameter's name, got {most!r}")
    if n is not None and most > n:
        raise TrainableError(f"batch_size: {most} is more than the {n} training examples; choose at most {n}")
    if isinstance(train, Stream) and most != train.batch:
        raise TrainableError(f"batch_size: {most} differs from the stream's {train.batch}; Stream(read, batch={most})")
    if isinstance(accumulate, bool) or not isinstance(accumulate, int) or accumulate < 1 or most % accumulate:
        raise TrainableError(f"accumulate: {accumulate!r} microbatches do not divide a batch of {most}")
    return most


def _cast(tree: Any, dtype: Any) -> Any:
    if dtype is None:
        return tree
    return jax.tree.map(lambda x: x.astype(dtype) if hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def _single(outputs: Any) -> Any:
    """Outputs in float32: a loss is not to be summed in half precision."""
    return jax.tree.map(lambda x: x.astype(jnp.float32) if x.dtype in (jnp.bfloat16, jnp.float16) else x, outputs)
