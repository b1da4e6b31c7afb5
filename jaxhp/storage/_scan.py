"""A log read as far as it goes: every record with its position, whole or with what is wrong with it. `read` stops at the first fault."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxhp._types import Record
from jaxhp.errors import StorageError
from jaxhp.storage._codec import whole
from jaxhp.storage._log import Log

if TYPE_CHECKING:
    from jaxhp.storage._sql import SqlLog


class Scanned(NamedTuple):
    """What stands at one position of a log."""

    seq: int
    record: Record | None  # None where it is damaged,
    fault: str = ""  # which this says
    body: str = ""  # what is left of it, as far as it is text


def scan(log: Log, study: str, since: int = 0) -> Iterator[Scanned]:
    """What stands at positions since, since + 1, ...; a missing record is skipped.

    Raises:
        StorageError: the database itself cannot be read any further.
    """
    if not hasattr(log, "rows"):
        for seq, record in enumerate(log.read(study, since), since):
            yield Scanned(seq, record)
        return
    home: SqlLog = log  # type: ignore[assignment]
    for seq, body, written in home.rows(study, since):
        yield _scanned(seq, body, written)


def records(log: Log, study: str, since: int = 0) -> Iterator[tuple[int, Record]]:
    """Positions and records up to the first that is missing or damaged.

    Raises:
        StorageError: there is such a one; the message names it.
    """
    for expected, found in enumerate(scan(log, study, since), since):
        fault = f"is missing (the next is {found.seq})" if found.seq != expected else found.fault
        if fault or found.record is None:
            raise StorageError(f"{log.url}: record {expected} of study {study!r} {fault}; what stands before it is whole")
        yield found.seq, found.record


def _scanned(seq: int, body: Any, written: Any) -> Scanned:
    data = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    text = data.decode("ascii", "backslashreplace") if isinstance(data, bytes) else ""
    try:
        return Scanned(seq, whole(seq, body, written), body=text)
    except ValueError as e:
        return Scanned(seq, None, str(e), text)
