"""Leading corners: how a state of one padded size stands in one of another.

Unit i of a layer is the same unit at every size that has it, so the small state is the leading corner of the large one, leaf by leaf.
Leaves are matched by their paths: layers that only the deeper state has stay as they are.
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
from jaxhp.train._trainable import State, Trainable


def corner(leaf: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """The leading part of a leaf, at most of this shape.

    >>> corner(np.arange(6).reshape(2, 3), (1, 9)).tolist()
    [[0, 1, 2]]
    """
    part: npt.NDArray[Any] = leaf[tuple(slice(0, n) for n in shape)]
    return part


def shapes_of(trainable: Trainable, hparams: Mapping[str, Any]) -> Any:
    """The shapes of a trainable's state, keys as their data; nothing compiles."""
    state = jax.eval_shape(trainable.init, jax.eval_shape(lambda: jax.random.key(0)), dict(hparams))
    return jax.eval_shape(
        lambda s: jax.tree.map(lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x, s), state
    )


def cut(rows: State, shapes: Any) -> dict[str, npt.NDArray[Any]]:
    """The corners of rows (n, ...) that a state of these shapes has; leaves that it lacks are left out, by path."""
    known = {jax.tree_util.keystr(path): tuple(x.shape) for path, x in jax.tree_util.tree_leaves_with_path(shapes)}
    return {
        name: corner(np.asarray(leaf), (len(leaf), *known[name]))
        for path, leaf in jax.tree_util.tree_leaves_with_path(rows)
        if (name := jax.tree_util.keystr(path)) in known
    }


def carried(
    dock: Lanes, corners: Mapping[str, npt.NDArray[Any]], number: int, replicates: Sequence[int], hparams: Mapping[str, Any]
) -> State:
    """Rows (n, ...) for these lanes: what `cut` has left of other sizes, in the units that a trial would start with.

    Args:
        dock: the lanes that they will go on in.
        corners: from `cut`.
        number, replicates, hparams: of the trial that goes on; one configuration, as scalars.
    """
    parts = []
    for first in range(0, len(replicates), dock.width):
        group = replicates[first : first + dock.width]
        columns = {name: np.repeat(x, len(group)) for name, x in hparams.items()}
        slots = range(len(group))
        fresh = dock.refill(dock.init(), slots, [number] * len(group), columns, dock.segment, replicates=group)
        parts.append(dock.gather(fresh, slots))
    return overlaid(_weights.joined(parts), corners)


def overlaid(onto: State, corners: Mapping[str, npt.NDArray[Any]]) -> State:
    """A state, the leading corners of its leaves replaced by these, by path.

    >>> overlaid({"w": np.zeros((2, 2)), "more": np.zeros(1)}, {"['w']": np.ones((1, 3))})["w"].tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    """

    def laid(path: Any, leaf: Any) -> npt.NDArray[Any]:
        new = np.array(leaf)
        old = corners.get(jax.tree_util.keystr(path))
        if old is not None and old.ndim == new.ndim:
            corner(new, old.shape)[...] = corner(old, new.shape)
        return new

    return jax.tree_util.tree_map_with_path(laid, onto)
