"""Copies of studies between homes (memory, SQLite, PostgreSQL, a log of your own): all records are written or none, then compared."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from jaxhp.errors import LogConflict, StorageError, StudyError
from jaxhp.storage import Log, open_existing, open_log
from jaxhp.storage._codec import dumps


class Copied(NamedTuple):
    """What `copy` did."""

    source: str  # URL
    target: str
    name: str
    records: int  # that are equal in both
    since: int = 0  # records that were appended to the source meanwhile, and are not in the copy

    def __str__(self) -> str:
        more = f"; {self.since} more came to the source meanwhile: end its workers, and copy under another name" if self.since else ""
        return f"{self.name!a}: {self.records} records copied from {self.source} to {self.target}, and compared{more}"


def copy(source: str | Log, target: str | Log, name: str | None = None, *, to: str | None = None) -> Copied:
    """Copies a study to another storage, and compares the two record by record. The source is not changed.

    The copy is written in one transaction, so that one that was interrupted is not there at all. A copy that is there already, and equal,
    counts as done. Heartbeats are not copied: trials that run in the source are, in the copy, run again when their owners are gone.

    Args:
        source, target: URLs or logs.
        name: of the study; may be left out where the source holds one.
        to: its name in the target; by default the same.

    Raises:
        StudyError: no such study, or several and no name; or the target holds another study of that name.
        StorageError: the source is damaged (`verify` says where), or the target cannot be written.

    >>> import jaxhp
    >>> log, another = jaxhp.storage.MemoryLog(), jaxhp.storage.MemoryLog()
    >>> study = jaxhp.Study(jaxhp.Space({"x": jaxhp.Float(0.0, 1.0)}), sampler=jaxhp.sobol(), storage=log)
    >>> best = study.optimize(lambda trial: trial["x"], trials=3).best
    >>> print(jaxhp.storage.copy(log, another))
    'study': 7 records copied from memory to memory, and compared
    >>> jaxhp.Study.open(another).best.params == best.params
    True
    """
    if to == "":
        raise StudyError("copy: to='' is no name; leave it out to keep the study's own")
    if target is None:
        raise StorageError("copy: target: None is a new memory, which nobody could read; pass a URL or a log")
    ours, theirs = open_existing(source), open_log(target)
    names = ours.studies()
    if name is None and len(names) == 1:
        name = names[0]
    if name is None or name not in names:
        known = ", ".join(map(repr, names)) or "none"
        raise StudyError(f"{ours.url} holds {known}; " + ("say which study" if name is None else f"there is no study {name!r}"))
    there = to if to is not None else name
    if (ours is theirs or (isinstance(source, str) and source == target)) and there == name:
        raise StudyError(f"copy: study {name!r} would be copied onto itself; name another storage, or to=")
    records = ours.read(name)
    if not records:
        raise StorageError(f"study {name!r} in {ours.url} has no records; there is nothing to copy")
    with suppress(LogConflict):  # equal records are a copy that was made before
        theirs.append(there, records, at=0)
    found = theirs.read(there)
    wrong = next((i for i, (a, b) in enumerate(zip(records, found, strict=False)) if dumps(a) != dumps(b)), None)
    if wrong is not None or len(found) != len(records):
        at = min(len(found), len(records)) if wrong is None else wrong
        raise StudyError(f"{theirs.url} holds another study {there!r}, different from record {at} on; it was left alone: pass another name")
    return Copied(ours.url, theirs.url, there, len(records), len(ours.read(name, len(records))))
