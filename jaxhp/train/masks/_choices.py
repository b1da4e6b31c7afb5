"""Choices inside one program: an activation, or an optimiser, by a traced index.

`jax.lax.switch` runs the chosen branch alone where the index is one for all lanes; under `vmap`, where each lane has its own, all
branches are computed and one is kept. Activations are cheap; for optimisers that is one more pass over the parameters for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import optax

from jaxhp.errors import TrainableError


def _identity(x: jax.Array) -> jax.Array:
    return x


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "tanh": jax.numpy.tanh,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "elu": jax.nn.elu,
    "leaky_relu": jax.nn.leaky_relu,
    "sigmoid": jax.nn.sigmoid,  # sigmoid(0) = 1/2 and softplus(0) = log 2: masked after they are applied
    "softplus": jax.nn.softplus,
    "identity": _identity,
}


def activation(index: int | jax.Array, x: jax.Array, names: Sequence[str] = tuple(ACTIVATIONS)) -> jax.Array:
    """The activation that `names[index]` says, of x; mask what is padded afterwards, for not all are 0 at 0.

    Raises:
        TrainableError: a name is not in `jaxhp.masks.ACTIVATIONS`.

    >>> import jax.numpy as jnp
    >>> activation(1, jnp.float32(-2.0), ("tanh", "relu")).tolist()
    0.0
    """
    for name in names:
        if name not in ACTIVATIONS:
            raise TrainableError(f"activation: {name!r} is not known; choose from {', '.join(ACTIVATIONS)}")
    if len(names) == 1:
        return ACTIVATIONS[names[0]](x)
    y: jax.Array = jax.lax.switch(index, [ACTIVATIONS[name] for name in names], x)
    return y


def switch_optimizer(index: int | jax.Array, optimizers: Sequence[optax.GradientTransformation]) -> optax.GradientTransformation:
    """The optimiser that `index`, which may be traced, names: `switch_optimizer(h["optimizer"], [optax.adam(r), optax.lion(r)])`.

    Its state is the tuple of all states; only the chosen one's changes. A Categorical's index is in the order of its choices.

    Raises:
        TrainableError: no list of optimisers.

    >>> import jax.numpy as jnp
    >>> chosen = switch_optimizer(1, [optax.sgd(1.0), optax.sgd(0.5)])
    >>> chosen.update(jnp.ones(2), chosen.init(jnp.zeros(2)))[0].tolist()
    [-0.5, -0.5]
    """
    if isinstance(optimizers, optax.GradientTransformation) or not optimizers:
        raise TrainableError(f"switch_optimizer: expected a list such as [optax.sgd(0.1), optax.adam(0.1)], got {optimizers!r}")
    for i, optimizer in enumerate(optimizers):
        if not isinstance(optimizer, optax.GradientTransformation):
            raise TrainableError(f"switch_optimizer: entry {i} is {optimizer!r}, no optax optimiser; is a pair of parentheses missing?")
    able = [optax.with_extra_args_support(optimizer) for optimizer in optimizers]

    def init(params: Any) -> Any:
        return tuple(optimizer.init(params) for optimizer in able)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        def one(i: int, updates: Any, state: Any, params: Any, extra: Any) -> tuple[Any, Any]:
            changed, own = able[i].update(updates, state[i], params, **extra)
            return changed, (*state[:i], own, *state[i + 1 :])

        result: tuple[Any, Any] = jax.lax.switch(index, [partial(one, i) for i in range(len(able))], updates, state, params, extra)
        return result

    return optax.GradientTransformationExtraArgs(init, update)
