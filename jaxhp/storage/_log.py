"""A log in memory: the two verbs over a list. It lives as long as its process."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from jaxhp._types import Record
from jaxhp.errors import LogConflict


@runtime_checkable
class Log(Protocol):
    """Where studies are kept: append-only lists of records, by name."""

    url: str

    def read(self, study: str, since: int = 0) -> list[Record]:
        """Records since, since + 1, ... of a study, in order; [] for an unknown one."""
        ...

    def append(self, study: str, records: Sequence[Record], at: int | None = None) -> int:
        """Adds records, all or none, and returns the log's new end.

        Raises:
            LogConflict: `at` is given and the log does not end there.
        """
        ...

    def studies(self) -> list[str]:
        """Names, in the order of their creation."""
        ...

    def delete(self, study: str) -> None:
        """Forgets a study: only at a user's explicit request."""
        ...

    def close(self) -> None:
        """Lets go of files and connections."""
        ...


class MemoryLog:
    """Keeps the records as they were given: whoever appends them must not change them afterwards.

    >>> log = MemoryLog()
    >>> log.append("a", [{"kind": "study"}], at=0)
    1
    >>> log.read("a")
    [{'kind': 'study'}]
    """

    url = "memory"

    def __init__(self) -> None:
        self._logs: dict[str, list[Record]] = {}
        self._lock = threading.Lock()

    def read(self, study: str, since: int = 0) -> list[Record]:
        return self._logs.get(study, [])[since:]

    def append(self, study: str, records: Sequence[Record], at: int | None = None) -> int:
        with self._lock:
            log = self._logs.get(study, [])
            if at is not None and at != len(log):
                raise LogConflict(f"study {study!r} ends at {len(log)}, not at {at}: another writer was first")
            log.extend(records)
            if log:
                self._logs[study] = log
            return len(log)

    def studies(self) -> list[str]:
        return list(self._logs)

    def delete(self, study: str) -> None:
        with self._lock:
            self._logs.pop(study, None)

    def close(self) -> None:
        pass


def first(log: Log, study: str) -> Record | None:
    """Record 0 of a study, without reading the others where that can be done; None for an unknown one."""
    if hasattr(log, "first"):
        found: Record | None = log.first(study)
        return found
    return next(iter(log.read(study)), None)


def batches(log: Log, study: str, since: int) -> Iterator[list[Record]]:
    """Records since, since + 1, ..., bit by bit where the log can do that."""
    if hasattr(log, "batches"):
        yield from log.batches(study, since)
    else:
        yield log.read(study, since)
