"""Steps per trial: a lane that has done its own number of steps stands still.

A study's `steps` is the longest run. Where the number of steps is itself a hyperparameter, each trial's state is frozen from its own
last step on; its evaluations repeat. Schedulers that stop trials early save more; this is for schedules that end at a step of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxhp.errors import TrainableError
from jaxhp.train._trainable import Hparams, Metrics, State, Trainable


def stop_after(trainable: Trainable, steps: str) -> Trainable:
    """The trainable whose state no longer changes once `hparams[steps]` steps are done.

    Args:
        trainable: of any kind; one from `jaxhp.padded` can still be resized.
        steps: the hyperparameter's name; its largest value is the `steps` of `study.train`.

    Raises:
        TrainableError: no trainable, or no name.

    >>> plain = Trainable(
    ...     init=lambda key, hparams: jnp.zeros(()),
    ...     step=lambda w, hparams, batch, key, t: (w + 1, {}),
    ...     evaluate=lambda w, hparams, split, key: {"loss": w},
    ...     data={"train": jnp.float32(0.0), "validation": jnp.float32(0.0)},
    ... )
    >>> stopping = stop_after(plain, "steps")
    >>> [stopping.step(jnp.float32(t), {"steps": 2}, None, None, t)[0].tolist() for t in range(4)]
    [1.0, 2.0, 2.0, 3.0]
    """
    if not isinstance(trainable, Trainable):
        raise TrainableError(f"stop_after: expected a jaxhp.Trainable, got {type(trainable).__name__}")
    if not isinstance(steps, str):
        raise TrainableError(f"stop_after: expected the name of a hyperparameter, got {steps!r}; a fixed number is study.train(steps=...)")
    inner, remade = trainable.step, trainable.make

    def step(state: State, hparams: Hparams, batch: Any, key: jax.Array, t: jax.Array) -> tuple[State, Metrics]:
        new, metrics = inner(state, hparams, batch, key, t)
        return jax.tree.map(lambda a, b: jnp.where(t < hparams[steps], a, b), new, state), metrics

    make: Callable[..., Trainable] | None = None if remade is None else lambda **sizes: stop_after(remade(**sizes), steps)
    return trainable._replace(step=step, make=make)
