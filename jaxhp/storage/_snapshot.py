"""Snapshots: the memo of a study's sampler (_memo.py), kept beside its log, so that opening a large study does not compute everything anew.

A snapshot is a cache. It holds no state, but results by a digest of all that they follow from, so that none can be out of date: deleting
it, or taking that of another study, changes nothing but time. One that is damaged is left aside with a warning, and made anew.
It is an .npz of three arrays, stored as they are: `digests (k, 32) uint8`, `ends (k,) int64` and `values (n,) float64`, where result i is
values[ends[i - 1]:ends[i]]. Nothing is unpickled.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol, runtime_checkable

import numpy as np

from jaxhp._memo import DIGEST, MOST, Memo
from jaxhp._types import Floats
from jaxhp.errors import StorageError

LARGEST: Final = 1 << 26  # bytes
WORTH: Final = 0.25  # seconds of computing from which on a snapshot is written: that takes about a millisecond
_LAYOUT = {"digests": (np.uint8, 2), "ends": (np.int64, 1), "values": (np.float64, 1)}
_DAMAGE = (ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, NotImplementedError, OSError, RuntimeError, SyntaxError,
           TypeError, ValueError, zipfile.BadZipFile)  # fmt: skip


@runtime_checkable
class Keeping(Protocol):
    """A log with room for a snapshot of each study beside it."""

    url: str

    def keep(self, study: str, snapshot: bytes) -> None:
        """Replaces the snapshot of a study."""
        ...

    def kept(self, study: str, largest: int) -> bytes | None:
        """The snapshot of a study; None where there is none, or it is larger."""
        ...


class Snapshot:
    """The memo of one process's sampler: read from beside the log when it is first used, written when it has become worth it."""

    def __init__(self, log: object, study: str) -> None:
        self._log = log if isinstance(log, Keeping) else None
        self._study = study
        self._memo: Memo | None = None

    def used(self) -> AbstractContextManager[None]:
        """While the sampler is told."""
        if self._log is None:
            return nullcontext()
        if self._memo is None:
            self._memo = self._read(self._log)
        return self._memo.used()

    def save(self) -> None:
        """Writes it, where what is new took long enough to compute."""
        if self._log is None or self._memo is None or self._memo.unsaved < WORTH:
            return
        try:
            self._log.keep(self._study, dumps(self._memo.known))
        except StorageError as e:  # the log itself may be well
            self._warn(f"cannot be written: {e}")
            self._log = None
        self._memo.unsaved = 0.0

    def _read(self, log: Keeping) -> Memo:
        memo = Memo()
        try:
            body = log.kept(self._study, LARGEST)
            if body is not None:
                memo.known = loads(body)
        except (StorageError, ValueError) as e:
            self._warn(f"was left aside: {e}")
            memo.unsaved = WORTH  # it is replaced
        return memo

    def _warn(self, what: str) -> None:
        where = self._log.url if self._log is not None else "memory"
        message = f"{where}: the snapshot of study {self._study!r} {what}. It is only a cache: opening the study takes longer, no more"
        warnings.warn(message, UserWarning, stacklevel=2)


def dumps(known: Mapping[bytes, Floats]) -> bytes:
    """Results by digest, as the bytes of an .npz."""
    file = io.BytesIO()
    digests = np.frombuffer(b"".join(known), np.uint8).reshape(-1, DIGEST)
    values = np.concatenate([np.empty(0), *known.values()])
    np.savez(file, digests=digests, ends=np.cumsum([len(v) for v in known.values()], dtype=np.int64), values=values)
    return file.getvalue()


def loads(body: bytes) -> dict[bytes, Floats]:
    """The results in a snapshot.

    Raises:
        ValueError: it was not written by `dumps`, or is damaged.

    >>> loads(dumps({bytes(32): np.array([0.5, 2.0])}))[bytes(32)].tolist()
    [0.5, 2.0]
    """
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            members = archive.infolist()
        names = sorted(member.filename.removesuffix(".npy") for member in members)
        if names != sorted(_LAYOUT) or any(m.compress_type != zipfile.ZIP_STORED or m.file_size > len(body) for m in members):
            raise ValueError(f"it holds {', '.join(map(ascii, names))[:200]}")
        with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
            columns = {name: arrays[name] for name in _LAYOUT}
    except _DAMAGE as e:  # whatever the readers of zip files and arrays raise on bytes that are neither
        raise ValueError(f"it is no snapshot ({type(e).__name__}: {ascii(str(e))[:200]})") from e
    for name, (dtype, dims) in _LAYOUT.items():
        if columns[name].dtype != dtype or columns[name].ndim != dims:
            raise ValueError(f"its {name} are {columns[name].dtype} of {columns[name].ndim} dimensions")
    digests, ends, values = columns["digests"], columns["ends"], columns["values"]
    sizes = np.diff(ends, prepend=0)
    if digests.shape != (len(ends), DIGEST) or len(ends) > MOST or (sizes < 0).any() or ends[-1:].sum() != len(values):
        raise ValueError("its columns do not fit each other")
    return {digest.tobytes(): result.copy() for digest, result in zip(digests, np.split(values, ends[:-1]), strict=bool(len(ends)))}
