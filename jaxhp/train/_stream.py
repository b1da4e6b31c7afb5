"""Training data that does not fit on the device: a seekable source, read a segment at a time while the device works on the last.

Example i of the stream is always the same one, so a trial sees the same batches whenever and beside whomever it trains: step t
trains on examples t * batch ... (t + 1) * batch - 1. Past the end of an epoch the stream goes on, shuffled as its author likes.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxhp.errors import TrainableError


class Stream(NamedTuple):
    """`read(start, stop)` returns examples start ... stop - 1 as a pytree of arrays (stop - start, ...), for any start.

    >>> stream = Stream(lambda start, stop: np.arange(start, stop) % 10, batch=4)
    >>> stream.batches(2, 3).tolist()
    [[8, 9, 0, 1]]
    """

    read: Callable[[int, int], Any]
    batch: int  # examples a step

    @property
    def shapes(self) -> Any:
        """Shapes and dtypes of one batch, from reading the first."""
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], jax.dtypes.canonicalize_dtype(x.dtype)), self.batches(0, 1))

    def batches(self, start: int, stop: int) -> Any:
        """The batches of steps start ... stop - 1, stacked: a pytree of arrays (stop - start, batch, ...).

        Raises:
            TrainableError: the source returned too few or too many examples.
        """
        if not callable(self.read):
            raise TrainableError(f"stream.read: expected a function (start, stop), got {self.read!r}")
        if isinstance(self.batch, bool) or not isinstance(self.batch, int) or self.batch < 1:
            raise TrainableError(f"stream.batch: expected a positive integer, got {self.batch!r}")
        first, last = start * self.batch, stop * self.batch
        examples = self.read(first, last)
        leaves = jax.tree_util.tree_leaves_with_path(examples)
        if not leaves:
            raise TrainableError(f"stream.read({first}, {last}) returned nothing; return a pytree of arrays")
        for path, leaf in leaves:
            where = jax.tree_util.keystr(path) or "(all that it returned)"
            if not np.ndim(leaf) or np.asarray(leaf).dtype.kind not in "biufcV":  # V: bfloat16 and its like
                seen = f"an array of {np.asarray(leaf).dtype}" if np.ndim(leaf) else type(leaf).__name__
                raise TrainableError(f"stream.read({first}, {last}) returned leaf {where} as {seen}, not an array of numbers")
            if len(leaf) != last - first:
                raise TrainableError(
                    f"stream.read({first}, {last}) returned {len(leaf)} examples{jax.tree_util.keystr(path)} instead of {last - first}: "
                    "a stream has no end; wrap around with start % length"
                )
        return jax.tree.map(lambda x: np.asarray(x).reshape(stop - start, self.batch, *x.shape[1:]), examples)


class Prefetch:
    """Reads chunks (one segment's batches each) in a thread, a little ahead, and keeps those that are in use."""

    def __init__(self, stream: Stream, segment: int) -> None:
        self._stream = stream
        self._segment = segment
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="jaxhp-stream")
        self._chunks: dict[int, Future[Any]] = {}

    def ahead(self, chunks: set[int]) -> None:
        """Starts to read these chunks, and forgets the others."""
        for chunk in set(self._chunks) - chunks:
            self._chunks.pop(chunk).cancel()
        for chunk in sorted(chunks - set(self._chunks)):
            self._chunks[chunk] = self._pool.submit(self._stream.batches, chunk * self._segment, (chunk + 1) * self._segment)

    def take(self, chunks: list[int]) -> Any:
        """These chunks, stacked: a pytree of arrays (len(chunks), segment, batch, ...)."""
        self.ahead(set(chunks))
        read = [self._chunks[chunk].result() for chunk in chunks]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *read)

    def close(self) -> None:
        """Ends the thread."""
        self._pool.shutdown(wait=False, cancel_futures=True)
