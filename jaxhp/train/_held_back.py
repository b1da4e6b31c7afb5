"""A part of the validation set that nobody descends on.

Hundreds of hyperparameters that follow the gradient of a validation loss come to fit that validation set. What is chosen by held-back
examples, and stopped by them, is chosen by data that no gradient has seen; how good it is, a third split tells (`Study.test`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from jaxhp.errors import TrainableError
from jaxhp.train._trainable import Hparams, Metrics, State, Trainable, must_be_trainable

PREFIX = "held_back_"


class _Parts(NamedTuple):
    """A validation set."""

    seen: Any
    held_back: Any


def held_back(trainable: Trainable, share: float = 0.5) -> Trainable:
    """The trainable, its validation set in two parts: metrics are of the first, and those of the second are called `held_back_...`.

    For `Study(metric="held_back_loss")` and `study.train(..., adjoint=..., differentiate="loss")`: trials are chosen, and starts of
    `hypergradient_descent` lose their patience, by examples that gradients have not seen.

    Args:
        trainable: its "validation" is a pytree of arrays with the examples in front; it should be in no particular order.
        share: of the examples, the last ones, that are held back.

    Raises:
        TrainableError: share is not in (0, 1) or leaves a part empty, or the trainable is padded: hold back inside `make`.

    >>> import jax.numpy as jnp
    >>> part = held_back(Trainable(
    ...     init=lambda key, h: jnp.zeros(()), step=lambda w, h, batch, key, t: (w, {}),
    ...     evaluate=lambda w, h, split, key: {"loss": split.mean()}, data={"train": jnp.ones(1), "validation": jnp.arange(4.0)},
    ... ))
    >>> {name: float(x) for name, x in part.evaluate(0.0, {}, part.data["validation"], jax.random.key(0)).items()}
    {'loss': 0.5, 'held_back_loss': 2.5}
    """
    must_be_trainable(trainable)
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < 1:
        raise TrainableError(f"share={share!r}: expected a part of the validation set, between 0 and 1")
    if trainable.make is not None:
        raise TrainableError("held_back: the trainable is padded and made at several sizes; hold back inside the function that makes it")
    if not isinstance(trainable.data, Mapping) or "validation" not in trainable.data:
        raise TrainableError("held_back: the trainable's data has no 'validation'")
    lengths = {len(leaf) for leaf in jax.tree.leaves(trainable.data["validation"])}
    if len(lengths) != 1:
        raise TrainableError(f"held_back: the validation set's arrays have {sorted(lengths)} rows; put the examples in front")
    n = lengths.pop()
    kept = n - round(share * n)
    if not 0 < kept < n:
        raise TrainableError(f"share={share!r}: of {n} validation examples that leaves {kept}; choose another share")
    first, rest = (jax.tree.map(lambda x, at=at: x[at], trainable.data["validation"]) for at in (slice(kept), slice(kept, None)))

    def evaluate(state: State, hparams: Hparams, split: Any, key: jax.Array) -> Metrics:
        if not isinstance(split, _Parts):
            return trainable.evaluate(state, hparams, split, key)
        told = trainable.evaluate(state, hparams, split.seen, key)
        return told | {f"{PREFIX}{name}": x for name, x in trainable.evaluate(state, hparams, split.held_back, key).items()}

    return trainable._replace(evaluate=evaluate, data={**trainable.data, "validation": _Parts(first, rest)})
