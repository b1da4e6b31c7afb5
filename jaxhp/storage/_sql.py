"""A log in an SQL database, through SQLAlchemy Core: SQLite, in one file that any number of processes share.

Tables: meta (schema version), studies (id, name), records (study_id, seq, body, checksum). The primary key (study_id, seq)
makes compare-and-append one INSERT: it fails where another writer was first. Only new studies, several records at once
and lost races take a transaction. Ids are never used twice, so that a study which was deleted and created again is noticed.

SQLite runs in WAL mode, so that readers never wait, and with synchronous=FULL, so that a told result survives a power cut;
writers queue for up to a minute. No connection crosses a fork (sqlite.org/howtocorrupt.html, 2.6): it is closed before
and opened again after.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakSet

import sqlalchemy as sa
import sqlalchemy.exc
import sqlalchemy.pool

from jaxhp._types import Record
from jaxhp.errors import LogConflict, StorageError
from jaxhp.storage._codec import checksum, dumps, loads

SCHEMA_VERSION = 1
_BUSY_S = 60.0

_metadata = sa.MetaData()
_meta = sa.Table("meta", _metadata, sa.Column("schema_version", sa.Integer, nullable=False))
_studies = sa.Table(
    "studies",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, unique=True, nullable=False),
    sqlite_autoincrement=True,  # an id is never used twice
)
_records = sa.Table(
    "records",
    _metadata,
    sa.Column("study_id", sa.ForeignKey("studies.id"), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("checksum", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,  # one tree instead of two: an append writes one page
)
_id = sa.select(_studies.c.id).where(_studies.c.name == sa.bindparam("name"))
_end = sa.select(sa.func.coalesce(sa.func.max(_records.c.seq) + 1, 0)).where(_records.c.study_id == sa.bindparam("id"))
_insert = sa.insert(_records)
# As bytes: an altered body need not be text.
_since = (
    sa.select(_records.c.seq, sa.cast(_records.c.body, sa.LargeBinary), _records.c.checksum)
    .where(_records.c.study_id == sa.bindparam("id"), _records.c.seq >= sa.bindparam("since"))
    .order_by(_records.c.seq)
)

_REMEDIES = {  # by what the message of the database says
    "not a database": "this file is something else; choose another name",
    "no such column": "this file is something else; choose another name",
    "malformed": "the file is damaged; restore a copy, or try the sqlite3 tool's .recover",
    "is full": "free some space and run again; what was told before is safe",
    "disk I/O error": "check the disk and its free space; what was told before is safe",
    "readonly": "the file or its folder is read-only; change its permissions or copy it to a folder that you may write",
    "unable to open": "check that it is a file, and that it and its folder may be written",
    "locked": f"another process has kept it locked for {_BUSY_S:g} s; end that process",
    "locking protocol": "a network file system? SQLite needs a local disk",
}


class _Known(NamedTuple):
    """What this log has seen of a study."""

    id: int
    end: int  # the log is at least this long


class SqlLog:
    """Studies in one database. Safe to share between threads, and in the children of a fork.

    Raises:
        StorageError: the file cannot be opened, is not a log, or was written by a newer jaxhp.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        name = url.removeprefix("sqlite:///")
        if name in ("", ":memory:"):
            raise StorageError(f"{url}: name a file, such as 'sqlite:///study.db'; for a log in memory use storage=None")
        path = Path(name).absolute()  # the same file after a chdir
        if not path.parent.is_dir():
            raise StorageError(f"{url}: the folder {path.parent} does not exist; create it first")
        self._lock = threading.RLock()
        self._known: dict[str, _Known] = {}
        self._connection: sa.Connection | None = None
        self._closed = False
        # Autocommit: one statement needs no transaction; `_writing` says BEGIN and COMMIT itself.
        self._engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(path)),
            poolclass=sa.pool.NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={"check_same_thread": False, "timeout": _BUSY_S},
        )
        # Compiled once: what `Connection.execute` adds to each run would double the time of an append.
        self._insert_sql, self._since_sql = (str(statement.compile(self._engine)) for statement in (_insert, _since))
        try:
            with self._explained():
                self._create()
        except BaseException:
            self._disconnect()
            raise
        _open_logs.add(self)

    def read(self, study: str, since: int = 0) -> list[Record]:
        """Records since, since + 1, ... of a study, in order; [] for an unknown one.

        Raises:
            StorageError: a record is missing or altered.
        """
        with self._lock, self._explained():
            known = self._known.get(study) if since else None  # who reads from the start opens the study anew
            if known is None:
                self._known.pop(study, None)
                number = self._id(study)
                if number is None:
                    return []
                known = _Known(number, 0)
            rows = self._connected().exec_driver_sql(self._since_sql, (known.id, since)).fetchall()
            if rows:
                known = _Known(known.id, rows[-1][0] + 1)
            self._known[study] = known
        return [self._record(study, expected, *row) for expected, row in enumerate(rows, since)]

    def append(self, study: str, records: Sequence[Record], at: int | None = None) -> int:
        """Adds records, all or none, and returns the log's new end.

        Raises:
            LogConflict: `at` is given and the log does not end there.
            StorageError: the records cannot be written, or the study was deleted in the meantime.
        """
        bodies = [dumps(record) for record in records]
        with self._lock, self._explained():
            known = self._known.get(study)
            if known is not None and len(bodies) == 1 and at in (None, known.end):
                try:
                    self._insert(known.id, known.end, bodies)
                except sa.exc.IntegrityError:
                    pass  # another writer was first, or the study is gone: the transaction finds out
                else:
                    self._known[study] = _Known(known.id, known.end + 1)
                    return known.end + 1
            return self._append_alone(study, bodies, at)

    def studies(self) -> list[str]:
        """Names, in the order of their creation."""
        with self._lock, self._explained():
            return list(self._connected().execute(sa.select(_studies.c.name).order_by(_studies.c.id)).scalars())

    def delete(self, study: str) -> None:
        """Forgets a study: only at a user's explicit request."""
        with self._lock, self._explained():
            with self._writing() as connection:
                number = self._id(study)
                connection.execute(sa.delete(_records).where(_records.c.study_id == number))
                connection.execute(sa.delete(_studies).where(_studies.c.id == number))
            self._known.pop(study, None)

    def close(self) -> None:
        """Lets go of the file."""
        with self._lock:
            self._closed = True
            self._disconnect()

    def before_fork(self) -> None:
        """Waits for what other threads do here, and leaves no connection for the child to inherit."""
        self._lock.acquire()
        self._disconnect()

    def after_fork(self) -> None:
        """Lets both processes go on; each connects anew when it needs to."""
        self._lock.release()

    def _append_alone(self, study: str, bodies: list[str], at: int | None) -> int:
        """Appends while no other writer can."""
        known = self._known.get(study)
        with self._writing() as connection:
            number = self._id(study)
            end: int = 0 if number is None else connection.execute(_end, {"id": number}).scalar_one()
            if known is not None and (number != known.id or end < known.end):
                raise StorageError(f"study {study!r} in {self.url} was deleted or replaced while this process used it; open it again")
            free = at is None or at == end
            if free and bodies:
                if number is None:
                    connection.execute(sa.insert(_studies), {"name": study})
                    number = connection.execute(_id, {"name": study}).scalar_one()
                self._insert(number, end, bodies)
                end += len(bodies)
        if number is not None:
            self._known[study] = _Known(number, end)
        if not free:
            raise LogConflict(f"study {study!r} ends at {end}, not at {at}: another writer was first")
        return end

    def _insert(self, number: int, first: int, bodies: list[str]) -> None:
        rows = [(number, seq, body, checksum(seq, body.encode())) for seq, body in enumerate(bodies, first)]
        self._connected().exec_driver_sql(self._insert_sql, rows if len(rows) > 1 else rows[0])

    def _id(self, study: str) -> int | None:
        try:
            study.encode()
        except UnicodeEncodeError as e:
            raise StorageError(f"study {study!r}: the name is not valid Unicode ({e.reason}); use another") from e
        number: int | None = self._connected().execute(_id, {"name": study}).scalar_one_or_none()
        return number

    def _record(self, study: str, expected: int, seq: int, body: Any, written: Any) -> Record:
        if seq != expected:
            fault = f"is missing (the next is {seq})"
        elif not isinstance(body, bytes) or checksum(seq, body) != written:
            fault = "does not match its checksum"
        else:
            try:
                return loads(body)
            except ValueError as e:
                fault = f"was not written by jaxhp: {e}"
        raise StorageError(f"{self.url}: record {expected} of study {study!r} {fault}; restore the file from a copy")

    def _create(self) -> None:
        connection = self._connected()
        tables = self._tables()
        if not tables:
            self._use_wal()
            with self._writing():
                if not self._tables():  # another process may have been faster
                    _metadata.create_all(connection, checkfirst=False)
                    connection.execute(sa.insert(_meta), {"schema_version": SCHEMA_VERSION})
            tables = self._tables()
        if not tables >= set(_metadata.tables):
            raise StorageError(
                f"{self.url} is an SQLite file with other tables ({', '.join(sorted(tables))}), not a jaxhp log; choose another file"
            )
        version = connection.execute(sa.select(_meta.c.schema_version)).scalars().first()
        if version is None or version > SCHEMA_VERSION:
            raise StorageError(f"{self.url} has schema version {version}, this jaxhp reads up to {SCHEMA_VERSION}; upgrade jaxhp")

    def _use_wal(self) -> None:
        """Of several processes that open a new file at once, one switches; SQLite tells the others "locked" without waiting."""
        deadline = time.monotonic() + _BUSY_S
        while True:
            try:
                mode = self._connected().exec_driver_sql("PRAGMA journal_mode=WAL").scalar()
            except sa.exc.OperationalError as e:
                if "locked" not in str(e.orig) or time.monotonic() > deadline:
                    raise
                time.sleep(0.005)
                continue
            if mode != "wal":
                raise StorageError(
                    f"{self.url}: SQLite cannot keep a write-ahead log here (a network file system?); choose a folder on a local disk"
                )
            return

    def _tables(self) -> set[str]:
        return set(self._connected().exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars())

    def _connected(self) -> sa.Connection:
        if self._connection is None:
            if self._closed:
                raise StorageError(f"{self.url}: this log was closed; open it again with open_log")
            connection = self._engine.connect()
            connection.exec_driver_sql("PRAGMA synchronous=FULL")
            connection.exec_driver_sql("PRAGMA foreign_keys=ON")
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """One writer at a time: waits for the others, commits as a whole or not at all."""
        connection = self._connected()
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.exec_driver_sql("COMMIT")
        except BaseException:
            self._disconnect()  # rolls back, and leaves nothing half done even where Ctrl-C fell in between
            raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Database errors in our words, with the file and a remedy."""
        try:
            yield
        except sa.exc.DBAPIError as e:
            text = str(e.orig)
            remedy = next((remedy for sign, remedy in _REMEDIES.items() if sign in text), "see the error above")
            raise StorageError(f"{self.url}: {text}; {remedy}") from e
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


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
