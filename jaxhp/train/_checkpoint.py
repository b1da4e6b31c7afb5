"""Checkpoints of lanes and bank at segment boundaries, through orbax.

They are a cache: a study's log says what was decided, and training again from the start gives the same weights. So a checkpoint that
is damaged, or of another model, is passed over, and two are kept. Leaves are stored flat, beside the text of their shapes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import numpy.typing as npt
import orbax.checkpoint as ocp

_log = logging.getLogger("jaxhp")


class Saved(NamedTuple):
    """What a checkpoint holds."""

    boundary: int
    model: list[npt.NDArray[Any]]  # per leaf (k, ...)
    bank: list[npt.NDArray[Any]]  # per leaf (rows, ...)
    facts: dict[str, Any]  # JSON: what the lanes and the rows are


class Checkpoints:
    """A folder of the last two checkpoints of one study.

    Args:
        folder: made when it is missing.
        shapes: text that names the model's leaves; a checkpoint with another text is not read.
    """

    def __init__(self, folder: Path, shapes: str) -> None:
        self._shapes = shapes
        self._manager = ocp.CheckpointManager(
            folder.absolute(), options=ocp.CheckpointManagerOptions(max_to_keep=2, cleanup_tmp_directories=True)
        )

    def save(self, saved: Saved) -> None:
        """Writes in the background; the arrays must not change afterwards."""
        arrays = {"model": dict(_numbered(saved.model)), "bank": dict(_numbered(saved.bank))}
        facts = saved.facts | {"shapes": self._shapes, "arrays": jax.tree.map(lambda x: [list(x.shape), str(x.dtype)], arrays)}
        self._manager.save(saved.boundary, args=ocp.args.Composite(arrays=ocp.args.StandardSave(arrays), facts=ocp.args.JsonSave(facts)))

    def latest(self, fits: Callable[[int, dict[str, Any]], bool]) -> Saved | None:
        """The newest readable checkpoint whose boundary and facts fit; None where there is none. The others are removed."""
        for boundary in sorted(self._manager.all_steps(), reverse=True):
            saved = self._read(boundary, fits)
            if saved is not None:
                return saved
            self._manager.delete(boundary)  # it would stand in the way of new ones
        return None

    def _read(self, boundary: int, fits: Callable[[int, dict[str, Any]], bool]) -> Saved | None:
        try:
            facts = self._manager.restore(boundary, args=ocp.args.Composite(facts=ocp.args.JsonRestore()))["facts"]
            if facts["shapes"] != self._shapes or not fits(boundary, facts):
                return None
            empty = {part: {i: np.zeros(shape, dtype) for i, (shape, dtype) in leaves.items()} for part, leaves in facts["arrays"].items()}
            arrays = self._manager.restore(boundary, args=ocp.args.Composite(arrays=ocp.args.StandardRestore(empty)))["arrays"]
        except (OSError, ValueError, KeyError) as e:
            _log.warning("checkpoint %s cannot be read (%s): training goes on from an earlier one", boundary, e)
            return None
        return Saved(boundary, _listed(arrays["model"]), _listed(arrays["bank"]), facts)

    def settle(self) -> None:
        """Waits until what was saved is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Saves what is being saved, and no more."""
        self.settle()
        self._manager.close()


def _numbered(leaves: list[npt.NDArray[Any]]) -> list[tuple[str, npt.NDArray[Any]]]:
    return [(str(i), leaf) for i, leaf in enumerate(leaves)]


def _listed(leaves: dict[str, Any]) -> list[npt.NDArray[Any]]:
    return [np.asarray(leaves[str(i)]) for i in range(len(leaves))]
