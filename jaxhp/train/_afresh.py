"""Training from the start, outside the course of a study: weights that are no longer kept, and fresh seeds on held-out data.

Rows are trained in groups that fit the lanes, with the program that the lanes have compiled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from jaxhp.train import _weights
from jaxhp.train._lanes import Lanes
from jaxhp.train._trainable import State


def trained(
    lanes: Lanes, hparams: Mapping[str, npt.NDArray[Any]], numbers: Sequence[int], replicates: Sequence[int], steps: Sequence[int]
) -> State:
    """Models (n, ...) of n configurations, given in columns (n,), each trained for its own number of steps."""
    parts = []
    for first in range(0, len(numbers), lanes.width):
        group = slice(first, first + lanes.width)
        ends = steps[group]
        slots = range(len(ends))
        rows = {name: column[group] for name, column in hparams.items()}
        state = lanes.refill(lanes.init(), slots, numbers[group], rows, ends, replicates=replicates[group])
        done: dict[int, Any] = {}
        while len(done) < len(ends):
            state, _ = lanes.run(state)
            for slot in slots:
                if slot not in done and state.t[slot] >= ends[slot]:
                    done[slot] = _weights.chosen(lanes.gather(state, [slot]), [0])
        parts += [done[slot] for slot in slots]
    return _weights.joined(parts)


def evaluated(lanes: Lanes, hparams: Mapping[str, npt.NDArray[Any]], models: State, split: Any) -> dict[str, npt.NDArray[np.float64]]:
    """Metrics (n,) of n models on a split of the data."""
    trainable, k = lanes.trainable, lanes.width

    @jax.jit
    def metrics(models: State, hparams: Any, split: Any) -> Any:
        key = jax.random.key(lanes.seed & 0xFFFFFFFF)
        return jax.lax.map(lambda row: trainable.evaluate(lanes.unpacked(row[0]), row[1], split, key), (models, hparams))

    def part(first: int) -> dict[str, Any]:
        index = slice(first, first + k)
        told = metrics(jax.tree.map(lambda x: jnp.asarray(x[index]), models), {name: x[index] for name, x in hparams.items()}, split)
        return {name: np.asarray(x, np.float64) for name, x in told.items()}

    parts = [part(first) for first in range(0, len(jax.tree.leaves(models)[0]), k)]
    return {name: np.concatenate([told[name] for told in parts]) for name in parts[0]}
