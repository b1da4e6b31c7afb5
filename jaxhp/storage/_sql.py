"""A log in an SQL database, through SQLAlchemy Core: what SQLite (`_sqlite.py`) and PostgreSQL (`_postgres.py`) have in common.

The primary key (study_id, seq) makes compare-and-append one INSERT: it fails where another writer was first. Only new studies, several
records at once and lost races take a transaction. No connection crosses a fork (sqlite.org/howtocorrupt.html, 2.6): it is closed before
and opened again after.

A database that can be lost (its server restarts, the network is cut) is waited for, and what was going on is done again. An append whose
answer was lost is neither doubled nor given up: its token, which is unique, says whether it is there already.
"""

from __future__ import annotations

import atexit
import os
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple, Protocol, TypeVar
from weakref import WeakSet

import sqlalchemy as sa
import sqlalchemy.exc

from jaxhp._types import Record
from jaxhp.errors import LogConflict, StorageError
from jaxhp.storage._codec import checksum, dumps, whole
from jaxhp.storage._tables import SCHEMA_VERSION, Run, Tables

T = TypeVar("T")

_END = 1 << 62  # beyond every record
_BATCH = 2000  # records


class Home(Protocol):
    """What is special about one database."""

    url: str  # as users see it: without a password
    tables: Tables
    engine: sa.Engine  # in autocommit: one statement needs no transaction
    insert: str  # one record, as driver's SQL; its row count is 0 where another writer was first
    since: str  # `Tables.since`, as driver's SQL
    beat: str  # one more beat of :owner in the study :name, as driver's SQL
    patience: float  # seconds for which a lost database is waited for

    def prepare(self, connection: sa.Connection) -> None:
        """Settings of a new connection."""
        ...

    def found(self, connection: sa.Connection) -> set[str]:
        """Tables that are there already."""
        ...

    def make_room(self, connection: sa.Connection) -> None:
        """What must be done before tables are created."""
        ...

    def begin(self, connection: sa.Connection, study: str) -> None:
        """Begins a transaction that no other writer of this study shares; "" stands for all tables."""
        ...

    def check_name(self, study: str) -> None:
        """Raises ValueError where this database cannot keep such a name."""
        ...

    def lost(self, error: sa.exc.DBAPIError) -> bool:
        """Whether the database went away and may come back."""
        ...

    def remedy(self, text: str) -> str:
        """What to do about an error of the database."""
        ...

    def faults(self, connection: sa.Connection) -> list[str]:
        """What the database's own checks of its tables find."""
        ...

    def turn(self, run: Run, study: str, seconds: float) -> AbstractContextManager[bool]:
        """Holds others back who ask for a turn; goes on without one, False, when it is not given in time."""
        ...


class _Known(NamedTuple):
    """What this log has seen of a study."""

    id: int
    end: int  # the log is at least this long


class _Overtaken(Exception):
    """Another writer took the position that a transaction was about to take."""


class SqlLog:
    """Studies in one database. Safe to share between threads, and in the children of a fork.

    Raises:
        StorageError: the database cannot be opened, is not a log, or was written by a newer jaxhp.
    """

    def __init__(self, home: Home) -> None:
        self.url = home.url
        self._home = home
        self._tables = home.tables
        self._lock = threading.RLock()
        self._known: dict[str, _Known] = {}
        self._connection: sa.Connection | None = None
        self._closed = False
        try:
            with self._explained():
                self._open()
        except BaseException:
            self._disconnect()
            raise
        _open_logs.add(self)

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        """Elsewhere, a log is opened anew: what is sent is where it lies."""
        from jaxhp.storage import open_log

        return open_log, (self._home.engine.url.render_as_string(hide_password=False),)

    def read(self, study: str, since: int = 0) -> list[Record]:
        """Records since, since + 1, ... of a study, in order; [] for an unknown one.

        Raises:
            StorageError: a record is missing or altered.
        """
        return self._read(study, since)

    def first(self, study: str) -> Record | None:
        """Record 0 of a study, without the rest of them; None for an unknown one."""
        found = self._read(study, 0, 1) or self.read(study)  # others without it are damage, and named
        return found[0] if found else None

    def batches(self, study: str, since: int = 0) -> Iterator[list[Record]]:
        """What `read` returns, bit by bit: a long log is not held in memory as a whole."""
        while records := self._read(study, since, since + _BATCH):
            yield records
            since += len(records)
        yield self.read(study, since)  # others beyond a gap are damage, and named

    def append(self, study: str, records: Sequence[Record], at: int | None = None) -> int:
        """Adds records, all or none, and returns the log's new end.

        Raises:
            LogConflict: `at` is given and the log does not end there.
            StorageError: the records cannot be written, or the study was deleted in the meantime.
        """
        bodies = [dumps(record) for record in records]
        token = uuid.uuid4() if self._home.patience else None
        attempts = 0

        def attempt() -> int:
            nonlocal attempts
            attempts += 1
            landed = self._landed(study, token, len(bodies)) if attempts > 1 else None
            if landed is not None:
                return landed
            try:
                return self._append(study, bodies, at, token)
            except (LogConflict, sa.exc.IntegrityError):  # our own first attempt, which was still on its way?
                landed = self._landed(study, token, len(bodies)) if attempts > 1 else None
                if landed is None:
                    raise
                return landed

        return self._done(attempt)

    def studies(self) -> list[str]:
        """Names, in the order of their creation."""
        names = sa.select(self._tables.studies.c.name).order_by(self._tables.studies.c.id)
        return self._done(lambda: list(self._connected().execute(names).scalars()))

    def delete(self, study: str) -> None:
        """Forgets a study: only at a user's explicit request."""

        def attempt() -> None:
            with self._writing(study) as connection:
                number, tables = self._id(study), self._tables
                beside = [tables.snapshots] if tables.snapshots.name in self._home.found(connection) else []
                for table in (tables.records, tables.leases, *beside):
                    connection.execute(sa.delete(table).where(table.c.study_id == number))
                connection.execute(sa.delete(self._tables.studies).where(self._tables.studies.c.id == number))
            self._known.pop(study, None)

        self._done(attempt)

    def rows(self, study: str, since: int = 0) -> Iterator[tuple[int, Any, Any]]:
        """Position, body and checksum of records as they lie there, whole or not, as far as the database can be read.

        Raises:
            StorageError: it cannot be read any further.
        """
        found: list[tuple[int, Any, Any]] = []

        def attempt() -> None:
            found.clear()
            number = self._id(study)
            every = {"id": number, "since": since, "until": _END}
            rows = None if number is None else self._connected().exec_driver_sql(self._home.since, every)
            while rows is not None and (row := rows.fetchone()) is not None:
                found.append((row[0], row[1], row[2]))

        failure: StorageError | None = None
        try:
            self._done(attempt)
        except StorageError as e:
            failure = e
        yield from found
        if failure is not None:
            raise failure

    def set_aside(self, study: str, since: int) -> None:
        """Moves the records from a position on to the table `damaged`: only at a user's explicit request."""
        damaged, records = self._tables.damaged, self._tables.records.c

        def attempt() -> None:
            with self._writing(study) as connection:
                number = self._id(study)
                mine = (records.study_id == number, records.seq >= since)
                if damaged.name not in self._home.found(connection):
                    damaged.create(connection, checkfirst=False)
                moved = (sa.literal(study), records.seq, records.body, records.checksum, sa.literal(time.time()))
                connection.execute(sa.insert(damaged).from_select(list(damaged.c.keys()), sa.select(*moved).where(*mine)))
                connection.execute(sa.delete(self._tables.records).where(*mine))
            self._known.pop(study, None)

        self._done(attempt)

    def faults(self) -> list[str]:
        """What the database itself finds wrong with its tables."""
        return self._done(lambda: self._home.faults(self._connected()))

    def beat(self, study: str, owner: str) -> None:
        """One more beat of an owner of running trials: a counter beside the log, whose rate is all that counts."""
        self._done(lambda: self._connected().exec_driver_sql(self._home.beat, {"name": study, "owner": owner}))

    def beats(self, study: str) -> Mapping[str, int]:
        """The counters of all owners."""
        rows: Sequence[Any] = self._done(lambda: self._connected().execute(self._tables.beats(), {"name": study}).fetchall())
        return {owner: beat for owner, beat in rows}

    def keep(self, study: str, snapshot: bytes) -> None:
        """Replaces the snapshot of a study, a cache on which no result depends."""
        snapshots = self._tables.snapshots

        def attempt() -> None:
            with self._writing("") as connection:
                number = self._id(study)
                if number is not None:
                    if snapshots.name not in self._home.found(connection):
                        snapshots.create(connection, checkfirst=False)
                    connection.execute(sa.delete(snapshots).where(snapshots.c.study_id == number))
                    connection.execute(sa.insert(snapshots), {"study_id": number, "body": snapshot})

        self._done(attempt)

    def kept(self, study: str, largest: int) -> bytes | None:
        """The snapshot of a study; None where there is none, or it is larger."""

        def attempt() -> bytes | None:
            connection, number = self._connected(), self._id(study)
            if number is None or self._tables.snapshots.name not in self._home.found(connection):
                return None
            found: bytes | None = connection.execute(self._tables.snapshot(), {"id": number, "largest": largest}).scalar_one_or_none()
            return found

        return self._done(attempt)

    def turn(self, study: str, seconds: float = 5.0) -> AbstractContextManager[bool]:
        """A courtesy among processes that would compute the same suggestion; nothing depends on it but time."""
        return self._home.turn(lambda sql, values: self._done(lambda: self._connected().exec_driver_sql(sql, values)), study, seconds)

    def close(self) -> None:
        """Lets go of the database."""
        with self._lock:
            self._closed = True
            self._disconnect()

    def at_exit(self) -> None:
        """Lets go of the database, unless another thread is waiting for it just now."""
        if self._lock.acquire(timeout=1.0):
            try:
                self._disconnect()
            finally:
                self._lock.release()

    def before_fork(self) -> None:
        """Waits for what other threads do here, and leaves no connection for the child to inherit."""
        self._lock.acquire()
        self._disconnect()

    def after_fork(self) -> None:
        """Lets both processes go on; each connects anew when it needs to."""
        self._lock.release()

    # -- statements ------------------------------------------------------------------------------------------------

    def _read(self, study: str, since: int, until: int = _END) -> list[Record]:
        rows = self._done(lambda: self._rows(study, since, until))
        return [self._record(study, expected, *row) for expected, row in enumerate(rows, since)]

    def _rows(self, study: str, since: int, until: int = _END) -> Sequence[Any]:
        known = self._known.get(study) if since else None  # who reads from the start opens the study anew
        if known is None:
            self._known.pop(study, None)
            number = self._id(study)
            if number is None:
                return []
            known = _Known(number, 0)
        rows = self._connected().exec_driver_sql(self._home.since, {"id": known.id, "since": since, "until": until}).fetchall()
        self._known[study] = _Known(known.id, rows[-1][0] + 1) if rows else known
        return rows

    def _append(self, study: str, bodies: list[str], at: int | None, token: uuid.UUID | None) -> int:
        known = self._known.get(study)
        if known is not None and len(bodies) == 1 and at in (None, known.end):
            try:
                if self._insert(known.id, known.end, bodies, token):
                    self._known[study] = _Known(known.id, known.end + 1)
                    return known.end + 1
            except sa.exc.IntegrityError:
                pass  # the study is gone: the transaction finds out
        while True:
            try:
                return self._append_alone(study, bodies, at, token)
            except _Overtaken:
                continue

    def _append_alone(self, study: str, bodies: list[str], at: int | None, token: uuid.UUID | None) -> int:
        """Appends in a transaction of its own. Raises _Overtaken where a single INSERT, which asks nobody, came in between."""
        known = self._known.get(study)
        number: int | None
        with self._writing(study) as connection:
            number = self._id(study)
            end: int = 0 if number is None else connection.execute(self._tables.end(), {"id": number}).scalar_one()
            if known is not None and (number != known.id or end < known.end):
                raise StorageError(f"study {study!r} in {self.url} was deleted or replaced while this process used it; open it again")
            free = at is None or at == end
            if free and bodies:
                if number is None:
                    connection.execute(sa.insert(self._tables.studies), {"name": study})
                    number = connection.execute(self._tables.study_id(), {"name": study}).scalar_one()
                if not self._insert(number, end, bodies, token):
                    raise _Overtaken
                end += len(bodies)
        if number is not None:
            self._known[study] = _Known(number, end)
        if not free:
            raise LogConflict(f"study {study!r} ends at {end}, not at {at}: another writer was first")
        return end

    def _insert(self, number: int, first: int, bodies: list[str], token: uuid.UUID | None) -> bool:
        """Inserts all; False where another writer was first."""
        rows: list[dict[str, Any]] = [
            {"study_id": number, "seq": seq, "body": body, "checksum": checksum(seq, body.encode())}
            for seq, body in enumerate(bodies, first)
        ]
        if token is not None:
            for row in rows:
                row["token"] = None
            rows[0]["token"] = token
        connection = self._connected()
        return connection.exec_driver_sql(self._home.insert, rows if len(rows) > 1 else rows[0]).rowcount == len(rows)

    def _landed(self, study: str, token: uuid.UUID | None, count: int) -> int | None:
        """The end of the log after an append whose answer was lost; None where it did not get there."""
        if token is None:
            return None
        records = self._tables.records.c
        row = self._connected().execute(sa.select(records.study_id, records.seq).where(records.token == token)).first()
        if row is None:
            return None
        self._known[study] = _Known(row[0], row[1] + count)
        return int(row[1]) + count

    def _id(self, study: str) -> int | None:
        try:
            study.encode()
            self._home.check_name(study)
        except ValueError as e:
            reason = e.reason if isinstance(e, UnicodeEncodeError) else str(e)
            raise StorageError(f"study {study!r}: the name is not valid Unicode ({reason}); use another") from e
        number: int | None = self._connected().execute(self._tables.study_id(), {"name": study}).scalar_one_or_none()
        return number

    def _record(self, study: str, expected: int, seq: int, body: Any, written: Any) -> Record:
        fault = f"is missing (the next is {seq})"
        if seq == expected:
            try:
                return whole(seq, body, written)
            except ValueError as e:
                fault = str(e)
        raise StorageError(f"{self.url}: record {expected} of study {study!r} {fault}; restore it from a copy")

    # -- opening ---------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        """Creates the tables, or brings those of an older version up to date; each in one transaction, by one process."""
        connection, tables = self._connected(), self._tables
        found = self._home.found(connection)
        if not found:
            self._home.make_room(connection)
            with self._writing(""):
                if not self._home.found(connection):  # another process may have been faster
                    tables.metadata.create_all(connection, checkfirst=False)
                    connection.execute(sa.insert(tables.meta), {"schema_version": SCHEMA_VERSION})
            found = self._home.found(connection)
        if not found >= {"meta", "studies", "records"}:
            raise StorageError(f"{self.url} holds other tables ({', '.join(sorted(found))}), not a jaxhp log; choose another")
        if self._version() < SCHEMA_VERSION:
            with self._writing(""):
                if self._version() < 2:  # another process may have been faster
                    tables.leases.create(connection, checkfirst=False)
                connection.execute(sa.update(tables.meta).values(schema_version=SCHEMA_VERSION))

    def _version(self) -> int:
        found: int | None = self._connected().execute(sa.select(self._tables.meta.c.schema_version)).scalars().first()
        if found is None or not 1 <= found <= SCHEMA_VERSION:
            raise StorageError(f"{self.url} has schema version {found}, this jaxhp reads up to {SCHEMA_VERSION}; upgrade jaxhp")
        return found

    # -- the connection --------------------------------------------------------------------------------------------

    def _done(self, work: Callable[[], T]) -> T:
        """What `work` returns, after as many attempts as it takes while the database comes back."""
        given_up: float | None = None
        while True:
            try:
                with self._lock, self._explained():
                    return work()
            except StorageError as e:
                lost = isinstance(e.__cause__, sa.exc.DBAPIError) and self._home.lost(e.__cause__)
                if not lost or self._closed:
                    raise
                now = time.monotonic()
                given_up = now + self._home.patience if given_up is None else given_up
                if now >= given_up:
                    raise
                with self._lock:
                    if self._connection is not None:
                        self._connection.invalidate()
                    self._disconnect()
                time.sleep(random.uniform(0.05, 0.5))  # not all at once

    def _connected(self) -> sa.Connection:
        if self._connection is None:
            if self._closed:
                raise StorageError(f"{self.url}: this log was closed; open it again with open_log")
            connection = self._home.engine.connect()
            try:
                self._home.prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @contextmanager
    def _writing(self, study: str) -> Iterator[sa.Connection]:
        """One writer at a time: waits for the others, commits as a whole or not at all."""
        connection = self._connected()
        try:
            self._home.begin(connection, study)
            yield connection
            connection.exec_driver_sql("COMMIT")
        except _Overtaken:
            connection.exec_driver_sql("ROLLBACK")
            raise
        except BaseException:
            self._disconnect()  # rolls back, and leaves nothing half done even where Ctrl-C fell in between
            raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Database errors in our words, with the place and a remedy."""
        try:
            yield
        except sa.exc.DBAPIError as e:
            text = str(e.orig).strip()
            raise StorageError(f"{self.url}: {text}; {self._home.remedy(text)}") from e
        except Exception:
            raise
        except BaseException:
            self._disconnect()  # Ctrl-C within a statement: SQLAlchemy gives its connection up
            raise


_open_logs: WeakSet[SqlLog] = WeakSet()
_forking: list[SqlLog] = []
_one_fork = threading.Lock()


def _before_fork() -> None:
    _one_fork.acquire()
    _forking[:] = _open_logs
    for log in _forking:
        log.before_fork()


def _after_fork() -> None:
    while _forking:
        _forking.pop().after_fork()
    _one_fork.release()


@atexit.register
def _at_exit() -> None:
    for log in list(_open_logs):
        log.at_exit()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
