"""Rows of weights on the host: pytrees whose leaves have the trials in front (n, ...)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import numpy.typing as npt


def joined(parts: Sequence[Any]) -> Any:
    """All rows of several pytrees, in order."""
    return jax.tree.map(lambda *rows: np.concatenate(rows), *parts)


def chosen(rows: Any, index: Sequence[int]) -> Any:
    """The rows named, copied."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[list(index)], rows)


def row(rows: Any, i: int) -> Any:
    """One row, without the axis of trials."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[i], rows)


def leaves(model: Any) -> list[npt.NDArray[Any]]:
    """Copies of the leaves: the device may reuse what they come from."""
    return [np.array(leaf) for leaf in jax.tree.leaves(model)]


def like(model: Any, arrays: Sequence[npt.NDArray[Any]]) -> Any:
    """These leaves as a pytree of the model's structure."""
    return jax.tree.unflatten(jax.tree.structure(model), list(arrays))
