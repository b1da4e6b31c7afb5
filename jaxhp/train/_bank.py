"""The bank: weights of trials that wait, one row each, on the host or on the device.

Rows are reference-counted: a paused trial holds one, a child that will start from it another. Over its limit the bank gives up the
rows that its user names first; a trial whose row is gone is trained again from its start, which gives the same weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from jaxhp.train._lanes import Lanes, LaneState
from jaxhp.train._trainable import State

Name: TypeAlias = tuple[int, int]  # trial number, replicate


class Bank:
    """Rows of model state by (number, replicate).

    Args:
        lanes: whose models it holds.
        where: "host" keeps NumPy arrays; "device" keeps arrays beside the lanes, which spares transfers; "auto" is the device where
            that is not the host anyway.
        limit: bytes that it may fill; None for no limit.
    """

    def __init__(self, lanes: Lanes, where: str = "auto", limit: int | None = None) -> None:
        self.where = where if where != "auto" else "host" if jax.default_backend() == "cpu" else "device"
        self.capacity = None if limit is None else max(1, limit // max(1, lanes.lane_bytes))
        self._lanes = lanes
        self._row: dict[Name, int] = {}
        self._held: dict[Name, int] = {}
        self._free: list[int] = []
        self._blocks: list[Any] = []  # per leaf (rows, ...)
        self._structure = jax.tree.structure(lanes.empty())
        self._set = jax.jit(_set, donate_argnums=0)
        self._get = jax.jit(_get)

    def __contains__(self, name: Name) -> bool:
        return name in self._row

    def __len__(self) -> int:
        return len(self._row)

    @property
    def leaves(self) -> int:
        """How many arrays a row consists of."""
        return self._lanes.leaves

    @property
    def names(self) -> list[Name]:
        """Whose rows are here, in the order they came."""
        return list(self._row)

    def put(self, state: LaneState, slots: Sequence[int], names: Sequence[Name], give_up: Iterable[Name] = ()) -> None:
        """Copies lanes into rows, each held once more; over the limit, rows named first in `give_up` go, then the new ones."""
        slots, names = list(slots), list(names)
        for name in names:
            self._held[name] = self._held.get(name, 0) + 1
        if self.capacity is not None:
            over = len(set(self._row) | set(names)) - self.capacity
            for victim in [v for v in give_up if v in self._row or v in names][: max(0, over)]:
                self._forget(victim)
                if victim in names:
                    at = names.index(victim)
                    del slots[at], names[at]
            room = max(0, self.capacity - len(set(self._row) - set(names)))
            slots, names = slots[:room], names[:room]
        if not names:
            return
        rows = self._rows(names)
        leaves = jax.tree.leaves(state.model)
        if self.where == "host":
            for block, leaf in zip(self._blocks, leaves, strict=True):
                block[rows] = np.asarray(leaf)[slots]
        else:
            k, none = self._lanes.width, len(self._blocks[0])
            self._blocks = self._set(self._blocks, leaves, _padded(slots, k, 0), _padded(rows, k, none))

    def take(self, names: Sequence[Name]) -> State:
        """The rows (len(names), ...) of these trials, which stay; on the device padded to the width of the lanes."""
        rows = [self._row[name] for name in names]
        if self.where == "host":
            return jax.tree.unflatten(self._structure, [block[rows] for block in self._blocks])
        return jax.tree.unflatten(self._structure, self._get(self._blocks, _padded(rows, self._lanes.width, 0)))

    def hold(self, name: Name) -> None:
        """Counts one more that needs this row."""
        self._held[name] = self._held.get(name, 0) + 1

    def drop(self, name: Name) -> None:
        """Counts one less; the row goes with the last."""
        left = self._held.get(name, 1) - 1
        if left > 0:
            self._held[name] = left
        else:
            self._forget(name)

    def clear(self) -> None:
        """Forgets every row."""
        self._row, self._held, self._free, self._blocks = {}, {}, [], []

    def arrays(self) -> list[npt.NDArray[Any]]:
        """Per leaf the rows in the order of `names`, copied: what a checkpoint keeps."""
        rows = list(self._row.values())
        return [np.array(np.asarray(block)[rows]) for block in self._blocks]

    def restore(self, names: Sequence[Name], arrays: Sequence[npt.NDArray[Any]]) -> None:
        """Fills an empty bank with what `arrays` returned, each row held once."""
        if not names:
            return
        rows = self._rows(names)
        for i, array in enumerate(arrays):
            if self.where == "host":
                self._blocks[i][rows] = array
            else:
                self._blocks[i] = self._blocks[i].at[np.array(rows)].set(array)
        self._held.update(dict.fromkeys(names, 1))

    def _forget(self, name: Name) -> None:
        self._held.pop(name, None)
        row = self._row.pop(name, None)
        if row is not None:
            self._free.append(row)

    def _rows(self, names: Sequence[Name]) -> list[int]:
        """A row for each name, the bank grown by doubling."""
        missing = [name for name in names if name not in self._row]
        size = len(self._blocks[0]) if self._blocks else 0
        if len(missing) > len(self._free):
            new = max(2 * size, size + len(missing), 16)
            self._free += range(size, new)
            more = [np.zeros((new - size, *x.shape[1:]), x.dtype) for x in jax.tree.leaves(self._lanes.empty())]
            if self.where == "host":
                self._blocks = [np.concatenate([b, m]) for b, m in zip(self._blocks, more, strict=True)] if size else more
            else:
                self._blocks = (
                    [jnp.concatenate([b, m]) for b, m in zip(self._blocks, more, strict=True)] if size else list(map(jnp.asarray, more))
                )
        for name in missing:
            self._row[name] = self._free.pop()
        return [self._row[name] for name in names]


class Banks:
    """A bank for each bucket of sizes, as one.

    Args:
        docks: the lanes of each bucket.
        where, limit: as for a bank; under a limit every bucket holds as many rows.
    """

    def __init__(self, docks: Sequence[Lanes], where: str = "auto", limit: int | None = None) -> None:
        row = sum(lanes.lane_bytes for lanes in docks)
        self._banks = [Bank(lanes, where, None if limit is None else max(1, limit * lanes.lane_bytes // max(1, row))) for lanes in docks]

    def __contains__(self, name: Name) -> bool:
        return any(name in bank for bank in self._banks)

    def __len__(self) -> int:
        return sum(map(len, self._banks))

    @property
    def names(self) -> list[Name]:
        """Whose rows are here."""
        return [name for bank in self._banks for name in bank.names]

    @property
    def limited(self) -> bool:
        """Whether rows may have to be given up."""
        return any(bank.capacity is not None for bank in self._banks)

    def put(self, bucket: int, state: LaneState, slots: Sequence[int], names: Sequence[Name], give_up: Iterable[Name] = ()) -> None:
        """See `Bank.put`."""
        self._banks[bucket].put(state, slots, names, give_up)

    def take(self, names: Sequence[Name]) -> State:
        """See `Bank.take`: rows of one bucket."""
        return next(bank for bank in self._banks if names[0] in bank).take(names)

    def drop(self, name: Name) -> None:
        """See `Bank.drop`."""
        for bank in self._banks:
            bank.drop(name)

    def clear(self) -> None:
        """Forgets every row."""
        for bank in self._banks:
            bank.clear()

    def facts(self) -> list[list[Name]]:
        """The names of each bucket."""
        return [bank.names for bank in self._banks]

    def arrays(self) -> list[npt.NDArray[Any]]:
        """The rows of all buckets, one after another: what a checkpoint keeps."""
        return [array for bank in self._banks for array in (bank.arrays() if len(bank) else [])]

    def restore(self, facts: Sequence[Sequence[Sequence[int]]], arrays: Sequence[npt.NDArray[Any]]) -> None:
        """Fills empty banks with what `facts` and `arrays` told."""
        left = list(arrays)
        for bank, names in zip(self._banks, facts, strict=True):
            if names:
                bank.restore([(n, r) for n, r in names], left[: bank.leaves])
                del left[: bank.leaves]


def _set(blocks: list[jax.Array], leaves: list[jax.Array], slots: Any, rows: Any) -> list[jax.Array]:
    return [block.at[rows].set(leaf[slots], mode="drop") for block, leaf in zip(blocks, leaves, strict=True)]


def _get(blocks: list[jax.Array], rows: Any) -> list[jax.Array]:
    return [block[rows] for block in blocks]


def _padded(values: Sequence[int], k: int, filler: int) -> npt.NDArray[np.int32]:
    padded = np.full(k, filler, np.int32)
    padded[: len(values)] = values
    return padded
