"""A log in an SQL database, through SQLAlchemy Core: SQLite, in one file that any number of processes share.

Tables: meta (schema version), studies (id, name), records (study_id, seq, body, checksum) with the primary key
(study_id, seq), which makes compare-and-append safe. SQLite runs in WAL mode, so that readers never wait, and with
synchronous=FULL, so that a told result survives a power cut; writers queue for up to a minute.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

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
    "studies", _metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.Text, unique=True, nullable=False)
)
_records = sa.Table(
    "records",
    _metadata,
    sa.Column("study_id", sa.ForeignKey("studies.id"), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("checksum", sa.BigInteger, nullable=False),
)
_find = sa.select(_studies.c.id).where(_studies.c.name == sa.bindparam("name"))
_end = sa.select(sa.func.coalesce(sa.func.max(_records.c.seq) + 1, 0)).where(_records.c.study_id == sa.bindparam("study"))
_since = (
    sa.select(_records.c.seq, _records.c.body, _records.c.checksum)
    .where(_records.c.study_id == sa.bindparam("study"), _records.c.seq >= sa.bindparam("since"))
    .order_by(_records.c.seq)
)
_insert = sa.insert(_records)


class SqlLog:
    """Studies in one database. Safe to share between threads, and after a fork.

    Raises:
        StorageError: the file cannot be opened, is not a log, or was written by a newer jaxhp.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._path = Path(url.removeprefix("sqlite:///"))
        self._lock = threading.RLock()
        if not self._path.parent.is_dir():
            raise StorageError(f"{url}: the folder {self._path.parent} does not exist; create it first")
        self._connect()
        with self._told():
            self._create()

    def read(self, study: str, since: int = 0) -> list[Record]:
        with self._lock, self._told():
            number = self._id(study)
            rows = self._here().execute(_since, {"study": number, "since": since}).fetchall() if number is not None else []
        return [self._record(study, since + i, *row) for i, row in enumerate(rows)]

    def append(self, study: str, records: Sequence[Record], at: int | None = None) -> int:
        bodies = [dumps(record) for record in records]
        with self._writing() as connection:
            number = self._id(study)
            end: int = connection.execute(_end, {"study": number}).scalar_one() if number is not None else 0
            if at is not None and at != end:
                raise LogConflict(f"study {study!r} ends at {end}, not at {at}: another writer was first")
            if not bodies:
                return end
            if number is None:
                number = connection.execute(sa.insert(_studies), {"name": study}).inserted_primary_key[0]
            connection.execute(
                _insert, [{"study_id": number, "seq": i, "body": body, "checksum": checksum(i, body)} for i, body in enumerate(bodies, end)]
            )
        return end + len(bodies)

    def studies(self) -> list[str]:
        with self._lock, self._told():
            return list(self._here().execute(sa.select(_studies.c.name).order_by(_studies.c.id)).scalars())

    def delete(self, study: str) -> None:
        with self._writing() as connection:
            number = self._id(study)
            connection.execute(sa.delete(_records).where(_records.c.study_id == number))
            connection.execute(sa.delete(_studies).where(_studies.c.id == number))
            self._ids.clear()

    def close(self) -> None:
        with self._lock:
            self._connection.close()
            self._engine.dispose()

    def _connect(self) -> None:
        self._pid = os.getpid()
        self._ids: dict[str, int] = {}
        # Autocommit: a single read needs no transaction; writers say BEGIN IMMEDIATE themselves.
        self._engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(self._path)),
            poolclass=sa.pool.NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={"check_same_thread": False, "timeout": _BUSY_S},
        )
        with self._told():
            self._connection = self._engine.connect()
            self._connection.exec_driver_sql("PRAGMA synchronous=FULL")

    def _here(self) -> sa.Connection:
        """This process's connection; one inherited through a fork is left alone and replaced."""
        if os.getpid() != self._pid:
            self._connect()
        return self._connection

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """One writer at a time: waits for the others, commits as a whole or not at all."""
        with self._lock, self._told():
            connection = self._here()
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                self._ids.clear()
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")

    def _create(self) -> None:
        connection = self._here()
        tables = set(connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars())
        if tables and "meta" not in tables:
            raise StorageError(f"{self.url} is an SQLite file with other tables ({', '.join(sorted(tables))}), not a jaxhp log; choose another file")
        if not tables:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            with self._writing():
                _metadata.create_all(connection)  # looks first: another process may have been faster
                if connection.execute(sa.select(sa.func.count()).select_from(_meta)).scalar_one() == 0:
                    connection.execute(sa.insert(_meta), {"schema_version": SCHEMA_VERSION})
        version = connection.execute(sa.select(_meta.c.schema_version)).scalar_one()
        if version > SCHEMA_VERSION:
            raise StorageError(f"{self.url} has schema version {version}, this jaxhp reads up to {SCHEMA_VERSION}; upgrade jaxhp")

    def _id(self, study: str) -> int | None:
        number = self._ids.get(study)
        if number is None:
            number = self._here().execute(_find, {"name": study}).scalar_one_or_none()
            if number is not None:
                self._ids[study] = number
        return number

    def _record(self, study: str, expected: int, seq: int, body: str, written: int) -> Record:
        if seq != expected:
            raise StorageError(f"{self.url}: record {expected} of study {study!r} is missing (the next is {seq}); restore the file from a copy")
        if checksum(seq, body) != written:
            raise StorageError(f"{self.url}: record {seq} of study {study!r} does not match its checksum; restore the file from a copy")
        return loads(body)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Database errors in our words, with the file and a remedy."""
        try:
            yield
        except sa.exc.DatabaseError as e:
            text = str(e.orig)
            remedy = next((r for sign, r in _REMEDIES.items() if sign in text), "see the error above")
            raise StorageError(f"{self.url}: {text}; {remedy}") from e


_REMEDIES = {
    "not a database": "this file is something else; choose another name",
    "malformed": "the file is damaged; restore a copy, or try the sqlite3 tool's .recover",
    "disk is full": "free some space and run again; what was told before is safe",
    "disk I/O error": "check the disk and its free space; what was told before is safe",
    "readonly": "the file or its folder is read-only; change its permissions or copy it",
    "unable to open": "check that the folder exists and may be written",
    "locked": f"another process has kept it locked for {_BUSY_S:g} s; end that process",
}
