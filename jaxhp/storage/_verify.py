"""Looking through whole logs: every checksum, every record against those before it, the database's own checks; and torn tails set aside.

A tail is torn when the last records are damaged and none after them is whole. Only that can be repaired without guessing: they are moved to
the table `damaged`, and the study goes on from what is whole. Anything else is named and left alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxhp import _owner
from jaxhp._constraints import Predicate
from jaxhp._fold import Fold
from jaxhp._types import Record
from jaxhp.errors import StorageError, StudyError
from jaxhp.storage import open_existing
from jaxhp.storage._log import Log
from jaxhp.storage._scan import Scanned, scan

_MOST_FAULTS = 20  # that are named one by one
_SHOWN = 120


class StudyCheck(NamedTuple):
    """What was found in one study."""

    name: str
    records: int  # that are whole
    asked: int  # trials
    told: int
    faults: tuple[str, ...]  # what is wrong
    notes: tuple[str, ...]  # what is right and worth knowing
    torn: int | None = None  # position from which on all that is left is damaged: what `repair` sets aside
    repaired: tuple[str, ...] = ()  # what was done about it, and what was lost
    workers: tuple[str, ...] = ()  # other processes of this host that live and run its trials


class Verification(NamedTuple):
    """What `verify` found."""

    url: str
    faults: tuple[str, ...]  # of the database itself
    studies: tuple[StudyCheck, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong, any more."""
        return not self.faults and not any(study.faults for study in self.studies)

    def __str__(self) -> str:
        lines = [f"{self.url}: {fault}" for fault in self.faults]
        for study in self.studies:
            found = f"{len(study.faults)} fault{'s' * (len(study.faults) != 1)}" if study.faults else "ok"
            lines.append(f"{study.name!a}: {study.records} records, {study.asked} trials asked, {study.told} told: {found}")
            lines += [f"  repaired: {line}" for line in study.repaired]
            lines += [f"  fault: {fault}" for fault in study.faults]
            lines += [f"  note: {note}" for note in study.notes]
        return "\n".join(lines or [f"{self.url}: no study yet"])


def verify(storage: str | Log, name: str | None = None, *, repair: bool = False, force: bool = False) -> Verification:
    """Checks every checksum and invariant of all studies of a storage, or of one. Changes nothing, unless `repair` is asked for.

    Args:
        storage: a URL or a log.
        name: one study only.
        repair: set a torn tail aside: damaged last records are moved to the table `damaged`. End the study's workers first.
        force: repair even while processes of this host run trials of the study.

    Raises:
        StorageError: the storage cannot be opened.
        StudyError: there is no such study, or one that is torn is in use.

    >>> import jaxhp
    >>> log = jaxhp.storage.MemoryLog()
    >>> study = jaxhp.Study(jaxhp.Space({"x": jaxhp.Float(0.0, 1.0)}), sampler=jaxhp.sobol(), storage=log)
    >>> study.optimize(lambda trial: trial["x"], trials=3).best.number >= 0
    True
    >>> print(jaxhp.storage.verify(log))
    'study': 7 records, 3 trials asked, 3 told: ok
    """
    try:
        log = open_existing(storage)
        names = log.studies()
    except StorageError as e:
        if "malformed" not in str(e):
            raise
        return Verification(str(storage), (str(e),), ())
    if name is not None and name not in names:
        raise StudyError(f"there is no study {name!r} in {log.url}; it holds: {', '.join(map(repr, names)) or 'none'}")
    checked = [_verified(log, study) for study in (names if name is None else [name])]
    if repair:
        for study in checked:
            if study.torn is not None and study.workers and not force:
                raise StudyError(
                    f"study {study.name!r} in {log.url} is in use: its trials run in {', '.join(study.workers)}, where the records that "
                    "would be moved are known; end these processes and repair again, or pass force=True (--force)"
                )
        checked = [_repaired(log, study) for study in checked]
    return Verification(log.url, _of_the_database(log), tuple(checked))


def _of_the_database(log: Log) -> tuple[str, ...]:
    if not hasattr(log, "faults"):
        return ()
    try:
        return tuple(log.faults())
    except StorageError as e:  # it cannot even be looked through
        return (str(e),)


def _verified(log: Log, name: str) -> StudyCheck:
    found: list[Scanned] = []
    faults: list[str] = []
    try:
        found.extend(scan(log, name))
    except StorageError as e:
        faults.append(f"after record {len(found) - 1}: {e}")
    for expected, line in enumerate(found):
        before = found[expected - 1].seq if expected else -1
        if line.seq != before + 1:
            faults.append(f"records {before + 1} to {line.seq - 1} are missing")
        if line.fault:
            faults.append(f"record {line.seq} {line.fault}{_remains(line)}")
    whole = next((i for i, line in enumerate(found) if line.fault or line.seq != i), len(found))
    last = max((i for i, line in enumerate(found) if not line.fault), default=-1)
    fold, notes = _folded([line.record for line in found[:whole] if line.record is not None], faults)
    if not found and not faults:
        faults.append("it has no records, not even the one that every study begins with")
    if len(faults) > _MOST_FAULTS:
        faults[_MOST_FAULTS:] = [f"and {len(faults) - _MOST_FAULTS} more"]
    return StudyCheck(
        name,
        records=sum(not line.fault for line in found),
        asked=0 if fold is None else fold.asked,
        told=0 if fold is None else fold.told,
        faults=tuple(faults),
        notes=tuple(notes),
        torn=found[last + 1].seq if 0 <= last < len(found) - 1 else None,
        workers=() if fold is None else _workers(fold),
    )


def _workers(fold: Fold) -> tuple[str, ...]:
    """Other processes of this host that live and run trials. Of other hosts nothing is known."""
    owners = {name for name, _ in fold.owner.values()} - {_owner.owner(), ""}
    return tuple(sorted(name for name in owners if _owner.local(name) and not _owner.gone(name)))


def _folded(records: Sequence[Record], faults: list[str]) -> tuple[Fold | None, list[str]]:
    """The fold as far as it goes, and what is worth knowing; adds to the faults."""
    try:
        fold = Fold(records[0], None) if records else None
    except StorageError as e:
        faults.append(str(e))
        return None, []
    if fold is None:
        return None, []
    try:
        for record in records[1:]:
            fold.take([record])
            faults.extend(_beyond_its_grant(fold, record))
    except StorageError as e:
        faults.append(str(e))
    faults.extend(_infeasible(fold))
    return fold, _notes(fold)


def _beyond_its_grant(fold: Fold, record: Record) -> list[str]:
    """A result names a grant of its trial, and none that was never given."""
    lease, number = record.get("lease"), record.get("number")
    if lease is None or number is None or 0 <= lease <= fold.grant.get(number, 0):
        return []
    return [f"record {fold.position - 1} ({record['kind']}) names grant {lease} of trial {number}, which was never given"]


def _infeasible(fold: Fold) -> list[str]:
    """Trials that break a constraint which the log holds."""
    rows = np.array(fold.ask_row, dtype=np.int64)
    u = fold.rows.table.u[rows]
    values = fold.space.values(u)
    known = [c for c in fold.space.constraints if not isinstance(c, Predicate)]
    broken = [(int(number), c) for c in known for number in np.flatnonzero(~c.satisfied(values))]
    return [f"trial {number} breaks the constraint {str(c)!a}" for number, c in broken]


def _notes(fold: Fold) -> list[str]:
    notes = []
    unknown = [c.name for c in fold.space.constraints if isinstance(c, Predicate)]
    if unknown:
        notes.append(f"constraints that are functions are not in the log, and were not checked: {', '.join(map(ascii, unknown))}")
    if fold.owner:
        notes.append(f"{len(fold.owner)} trials run: {', '.join(str(n) for n in sorted(fold.owner)[:10])}")
    if fold.released:
        notes.append(f"{len(fold.released)} trials wait to be run again")
    if fold.late:
        notes.append(f"{len(fold.late)} results came too late and do not count (records {', '.join(map(str, list(fold.late)[:10]))})")
    if fold.halted is not None:
        notes.append("stopped" if fold.halted == "stop" else "paused")
    return notes


def _repaired(log: Log, before: StudyCheck) -> StudyCheck:
    """Sets a torn tail aside, where there is one."""
    if before.torn is None or not hasattr(log, "set_aside"):
        return before
    torn = list(scan(log, before.name, before.torn))
    log.set_aside(before.name, before.torn)
    done = [f"record {line.seq} was moved to the table `damaged`; it {line.fault}{_remains(line)}; {_loss(line)}" for line in torn]
    return _verified(log, before.name)._replace(repaired=tuple(done))


def _remains(line: Scanned) -> str:
    return f"; what is left of it begins {line.body[:_SHOWN]!a}" if line.body else ""


def _loss(line: Scanned) -> str:
    """What a damaged record said, as far as it can be read."""
    kind, number = re.match(r'\{"kind":"(\w{1,20})"', line.body), re.search(r'"number":(\d{1,15})\b', line.body)
    trial = f"trial {number[1]}" if number is not None else "a trial"
    lost = {
        "tell": f"the result of {trial} is lost: it counts as running, and is run again when its owner is gone",
        "ask": f"{trial} was never asked now: its number and point are given again",
        "report": f"a report of {trial} is lost",
        "segment": "a segment of training is lost, and is trained again",
    }
    return lost.get(kind[1] if kind is not None else "", "what it said is lost")
