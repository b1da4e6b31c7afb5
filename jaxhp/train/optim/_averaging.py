"""The parameters to evaluate, where they are not those that are trained.

Schedule-free optimisers (Defazio et al., The road less scheduled, 2024) take gradients at y = (1 - b1) z + b1 x, and x, an average of
the z, is the model. optax stores y as the parameters and z in its state, so x = (y - (1 - b1) z) / b1.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax.contrib import ScheduleFreeState


def eval_params(optimizer_state: optax.OptState, params: optax.Params) -> optax.Params:
    """The parameters at which a model is to be evaluated: the averaged ones under `optax.contrib.schedule_free`, else `params`.

    The optimiser may be anywhere in a chain, hold a group of the parameters only, or be one that `jax.lax.switch` did not choose:
    its state counts from its first step on. `jaxhp.supervised` evaluates there by itself.

    >>> import jax.numpy as jnp
    >>> optimizer = optax.contrib.schedule_free(optax.sgd(1.0), 1.0, b1=0.5)
    >>> params = jnp.zeros(1)
    >>> updates, state = optimizer.update(jnp.ones(1), optimizer.init(params), params)
    >>> eval_params(state, optax.apply_updates(params, updates)).tolist()
    [-1.0]
    """

    def is_averaging(node: Any) -> bool:
        return isinstance(node, ScheduleFreeState)

    for state in jax.tree.leaves(optimizer_state, is_leaf=is_averaging):
        if is_averaging(state):
            params = jax.tree.map(lambda z, y, s=state: _averaged(s, z, y), state.z, params, is_leaf=_absent)
    return params


def _averaged(state: ScheduleFreeState, z: Any, y: Any) -> Any:
    if _absent(z):
        return y
    x = (y - (1.0 - state.b1) * z) / state.b1
    return jnp.where(state.step_count > 1, x, y).astype(y.dtype)


def _absent(node: Any) -> bool:
    """Parameters of another group (`optax.masked`, `optax.partition`)."""
    return isinstance(node, optax.MaskedNode)
