"""Berths: where trials stand on the device.

The log's lanes only say who trains side by side. Here each bucket of sizes has one program (`Lanes`), narrow or wide, and as many
chunks of its slots as its trials need: a trial takes a berth, the slots of its replicates, in a chunk of its own bucket. What a trial
computes does not depend on slot or neighbours, so berths are nobody's business but the device's: they are in no record. Before each
segment the trials of a bucket are gathered in as few chunks as hold them. With one bucket as wide as the lanes there is one chunk, and
nothing ever moves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from jaxhp.train._lanes import Lanes, LaneState

Columns: TypeAlias = Mapping[str, npt.NDArray[Any]]
Hparams: TypeAlias = Callable[[Sequence[int]], Columns]  # the hyperparameters (n,) of trials
Banked: TypeAlias = Callable[[Sequence["Boarding"]], Any]  # the weights of their parents: rows (at least all replicates, ...)


class Berth(NamedTuple):
    """Where one trial stands."""

    bucket: int
    chunk: int
    gang: int  # the slots of its replicates, one after another


class Boarding(NamedTuple):
    """A trial that takes a berth, or goes on in its own with other hyperparameters or until another step."""

    number: int
    bucket: int
    parent: int  # the trial whose weights go on, itself perhaps: they stand in its berth or wait in the bank; -1: fresh ones
    t: int
    until: int
    rows: Any = None  # weights (seeds, ...) of the host to be taken instead


class Berths:
    """The chunks of all buckets, and who stands in them.

    Args:
        docks: the program of each bucket, as wide as a multiple of `seeds`.
        seeds: replicates of a trial.
    """

    def __init__(self, docks: Sequence[Lanes], seeds: int) -> None:
        self.docks = list(docks)
        self.seeds = seeds
        self.at: dict[int, Berth] = {}
        self._chunks: list[list[LaneState]] = [[] for _ in docks]
        self._told: dict[tuple[int, int], Any] = {}  # metrics of the segment that runs, by bucket and chunk

    def run(self) -> None:
        """Starts a segment of every chunk that somebody stands in, as few as there can be; the device works on."""
        for bucket in range(len(self.docks)):
            self._gather_up(bucket)
        self._told = {}
        for bucket, chunk in sorted({berth[:2] for berth in self.at.values()}):
            self._chunks[bucket][chunk], self._told[bucket, chunk] = self.docks[bucket].run(self._chunks[bucket][chunk])

    def metrics(self, numbers: Sequence[int]) -> dict[str, npt.NDArray[np.float64]]:
        """What the last segment told of trials, (n, seeds) each; NaN for -1. Waits for the device."""
        rows: dict[tuple[int, int], list[tuple[int, int]]] = {}  # by chunk: (row, gang)
        for i, number in enumerate(numbers):
            if number >= 0:
                bucket, chunk, gang = self.at[number]
                rows.setdefault((bucket, chunk), []).append((i, gang))
        values: dict[str, npt.NDArray[np.float64]] = {}
        for where, pairs in rows.items():
            here, gangs = np.array(pairs).T
            for name, x in self._told[where].items():
                column = values.setdefault(name, np.full((len(numbers), self.seeds), np.nan))
                column[here] = np.asarray(x, np.float64).reshape(-1, self.seeds)[gangs]
        return values

    def chunk(self, number: int) -> tuple[LaneState, list[int]]:
        """The lanes that a trial stands in, and its slots there."""
        berth = self.at[number]
        return self._chunks[berth.bucket][berth.chunk], self._slots(berth)

    def rows(self, number: int) -> Any:
        """A trial's weights, rows (seeds, ...) of the host."""
        berth = self.at[number]
        return self.docks[berth.bucket].gather(*self.chunk(number))

    def together(self, numbers: Sequence[int]) -> list[tuple[int, LaneState, list[int], list[int]]]:
        """(bucket, lanes, slots, trials) of each chunk that some of these trials stand in."""
        chunks: dict[tuple[int, int], list[int]] = {}
        for number in numbers:
            chunks.setdefault(self.at[number][:2], []).append(number)
        return [(b, self._chunks[b][i], [s for n in here for s in self._slots(self.at[n])], here) for (b, i), here in chunks.items()]

    def leave(self, numbers: Sequence[int]) -> None:
        """Trials leave; their weights are lost."""
        for number in numbers:
            self._vacate(self.at.pop(number))

    def change(self, leaving: Sequence[int], boarding: Sequence[Boarding], hparams: Hparams, banked: Banked) -> None:
        """Trials leave, and others take their places or go on. The weights of one that leaves can still be another's."""
        before = dict(self.at)
        going_on = {b.number for b in boarding if b.number in before and before[b.number].bucket == b.bucket}
        for number in {*leaving, *(b.number for b in boarding)} - going_on:
            if number in self.at:
                self._vacate(self.at.pop(number))
        for b in boarding:
            if b.number not in going_on:
                self.at[b.number] = self._free(b.bucket)
        moves = [self._from_afar(b, before) for b in boarding]
        for where in sorted({self.at[b.number][:2] for b in moves}):
            self._board([b for b in moves if self.at[b.number][:2] == where], before, hparams, banked)

    # -- what a checkpoint keeps -------------------------------------------------------------------------------------

    def facts(self) -> list[dict[str, Any]]:
        """What stands in each chunk that somebody stands in: JSON."""
        columns = ("number", "replicate", "t", "until")
        return [{"bucket": b} | {name: getattr(state, name).tolist() for name in columns} for b, state in self._taken()]

    def models(self) -> list[Any]:
        """The weights of these chunks."""
        return [state.model for _, state in self._taken()]

    def clear(self) -> None:
        """Nobody stands anywhere."""
        self.at, self._told, self._chunks = {}, {}, [[] for _ in self.docks]

    def restore(self, facts: Sequence[Mapping[str, Any]], models: Sequence[Any], hparams: Hparams) -> None:
        """What `facts` and `models` told, into empty berths; a model's leaves are given flat."""
        from jaxhp.train import _weights

        self.clear()
        at = 0
        for fact in facts:
            dock, chunks = self.docks[fact["bucket"]], self._chunks[fact["bucket"]]
            empty = dock.init()
            model = _weights.like(empty.model, models[at : at + dock.leaves])
            at += dock.leaves
            number = np.array(fact["number"], np.int64)
            slots = np.flatnonzero(number >= 0)
            columns = {name: column.copy() for name, column in empty.hparams.items()}
            for name, column in hparams(number[slots].tolist()).items():
                columns[name][slots] = column
            rest = {name: np.array(fact[name], np.int32) for name in ("replicate", "t", "until")}
            chunks.append(empty._replace(model=dock.on_device(model), number=number, hparams=columns, **rest))
            for gang, n in enumerate(number[:: self.seeds].tolist()):
                if n >= 0:
                    self.at[n] = Berth(fact["bucket"], len(chunks) - 1, gang)

    # -- moving ------------------------------------------------------------------------------------------------------

    def _taken(self) -> list[tuple[int, LaneState]]:
        return [(b, state) for b, chunks in enumerate(self._chunks) for state in chunks if (state.number >= 0).any()]

    def _slots(self, berth: Berth) -> list[int]:
        return list(range(berth.gang * self.seeds, (berth.gang + 1) * self.seeds))

    def _vacate(self, berth: Berth) -> None:
        state = self._chunks[berth.bucket][berth.chunk]
        number, until, slots = state.number.copy(), state.until.copy(), self._slots(berth)
        number[slots] = -1
        until[slots] = state.t[slots]
        self._chunks[berth.bucket][berth.chunk] = state._replace(number=number, until=until)

    def _gather_up(self, bucket: int) -> None:
        """Moves those who stand in the emptiest chunks of a bucket into the gaps of the others, where that empties a chunk."""
        chunks, dock = self._chunks[bucket], self.docks[bucket]
        here = [[n for n, berth in self.at.items() if berth[:2] == (bucket, i)] for i in range(len(chunks))]
        needed = -(-sum(map(len, here)) * self.seeds // dock.width)
        fullest = sorted(range(len(chunks)), key=lambda i: -len(here[i]))
        for number in [n for i in fullest[needed:] for n in here[i]]:
            state, slots = self.chunk(number)
            model = dock.gather(state, slots)
            self._vacate(self.at.pop(number))
            open_chunks = [i for i in fullest[:needed] if (chunks[i].number < 0).any()]
            self.at[number] = to = self._taken_berth(bucket, open_chunks[0])
            columns = {name: column[slots] for name, column in state.hparams.items()}
            spans = {"replicates": state.replicate[slots].tolist(), "t": state.t[slots].tolist()}
            chunks[to.chunk] = dock.refill(
                chunks[to.chunk], self._slots(to), [number] * self.seeds, columns, state.until[slots].tolist(), model=model, **spans
            )
        while len(chunks) > 1 and (chunks[-1].number < 0).all():
            chunks.pop()

    def _free(self, bucket: int) -> Berth:
        """Takes a free berth in the fullest chunk that has one, or in a new chunk."""
        chunks = self._chunks[bucket]
        open_chunks = [i for i, state in enumerate(chunks) if (state.number < 0).any()]
        fullest = max(open_chunks, key=lambda i: (int((chunks[i].number >= 0).sum()), -i), default=len(chunks))
        if fullest == len(chunks):
            chunks.append(self.docks[bucket].init())
        return self._taken_berth(bucket, fullest)

    def _taken_berth(self, bucket: int, chunk: int) -> Berth:
        state = self._chunks[bucket][chunk]
        number = state.number.copy()
        berth = Berth(bucket, chunk, int(np.flatnonzero(number[:: self.seeds] < 0)[0]))
        number[self._slots(berth)] = 0  # somebody: who, is said when it is filled
        self._chunks[bucket][chunk] = state._replace(number=number)
        return berth

    def _from_afar(self, b: Boarding, before: Mapping[int, Berth]) -> Boarding:
        """Weights that stand in another chunk, copied to the host before anything is overwritten."""
        berth = before.get(b.parent)
        if berth is None or b.rows is not None or berth[:2] == self.at[b.number][:2]:
            return b
        return b._replace(rows=self.docks[berth.bucket].gather(self._chunks[berth.bucket][berth.chunk], self._slots(berth)))

    def _board(self, moves: Sequence[Boarding], before: Mapping[int, Berth], hparams: Hparams, banked: Banked) -> None:
        """Puts trials into one chunk: first what is copied within it, before anything there is overwritten."""
        copied = [b for b in moves if b.rows is None and b.parent in before]
        fresh = [b for b in moves if b.rows is None and b.parent < 0]
        waiting = [b for b in moves if b.rows is None and b.parent >= 0 and b.parent not in before]
        brought = [b for b in moves if b.rows is not None]
        if copied:
            self._refill(copied, hparams, sources=[slot for b in copied for slot in self._slots(before[b.parent])])
        if fresh:
            self._refill(fresh, hparams)
        if waiting:
            self._refill(waiting, hparams, model=banked(waiting))
        if brought:
            from jaxhp.train import _weights

            self._refill(brought, hparams, model=_weights.joined([b.rows for b in brought]))

    def _refill(self, moves: Sequence[Boarding], hparams: Hparams, **weights: Any) -> None:
        bucket, chunk, _ = self.at[moves[0].number]
        names = [(b.number, replicate) for b in moves for replicate in range(self.seeds)]
        self._chunks[bucket][chunk] = self.docks[bucket].refill(
            self._chunks[bucket][chunk],
            [slot for b in moves for slot in self._slots(self.at[b.number])],
            [number for number, _ in names],
            hparams([number for number, _ in names]),
            [b.until for b in moves for _ in range(self.seeds)],
            replicates=[replicate for _, replicate in names],
            t=[b.t for b in moves for _ in range(self.seeds)],
            **weights,
        )
