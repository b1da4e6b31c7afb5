"""SQLite as a log's home: one file that any number of processes of one machine share.

It runs in WAL mode, so that readers never wait, and with synchronous=FULL, so that a told result survives a power cut; writers queue for
up to a minute. Turns are an flock on a file beside the database, one for all of its studies, which ends with whoever holds it; the database
itself must not be opened by anyone but SQLite, whose own locks would go with the first descriptor that is closed.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
import sqlalchemy.exc
import sqlalchemy.pool
from sqlalchemy.dialects.sqlite import insert

from jaxhp.errors import StorageError
from jaxhp.storage._tables import Run, Tables

_BUSY_S = 60.0

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


class Sqlite:
    """A file, from "sqlite:///file.db".

    Raises:
        StorageError: the URL names no file, or its folder does not exist.
    """

    patience = 0.0  # a file is there or not

    def __init__(self, url: str) -> None:
        self.url = url
        name = url.removeprefix("sqlite:///")
        if name in ("", ":memory:"):
            raise StorageError(f"{url}: name a file, such as 'sqlite:///study.db'; for a log in memory use storage=None")
        if "\x00" in name:
            raise StorageError(f"{url!r}: no file's name holds NUL; choose another")
        self._path = Path(name).absolute()  # the same file after a chdir
        if not self._path.parent.is_dir():
            raise StorageError(f"{url}: the folder {self._path.parent} does not exist; create it first")
        self.tables = tables = Tables()
        self.engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(self._path)),
            poolclass=sa.pool.NullPool,
            isolation_level="AUTOCOMMIT",
            paramstyle="named",
            connect_args={"check_same_thread": False, "timeout": _BUSY_S},
        )
        # Compiled once: what `Connection.execute` adds to each run would double the time of an append.
        body = sa.cast(tables.records.c.body, sa.LargeBinary)  # as bytes: an altered body need not be text
        statements = (tables.first(insert), tables.since(body), tables.beat(insert))
        self.insert, self.since, self.beat = (str(statement.compile(self.engine)) for statement in statements)

    def prepare(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql("PRAGMA synchronous=FULL")
        connection.exec_driver_sql("PRAGMA foreign_keys=ON")

    def found(self, connection: sa.Connection) -> set[str]:
        return set(connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars()) - {"sqlite_sequence"}

    def make_room(self, connection: sa.Connection) -> None:
        """Of several processes that open a new file at once, one switches; SQLite tells the others "locked" without waiting."""
        deadline = time.monotonic() + _BUSY_S
        while True:
            try:
                mode = connection.exec_driver_sql("PRAGMA journal_mode=WAL").scalar()
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

    def begin(self, connection: sa.Connection, study: str) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def check_name(self, study: str) -> None:
        """Any name will do."""

    def lost(self, error: sa.exc.DBAPIError) -> bool:
        return False

    def remedy(self, text: str) -> str:
        return next((remedy for sign, remedy in _REMEDIES.items() if sign in text), "see the error above")

    def faults(self, connection: sa.Connection) -> list[str]:
        broken = [row[0] for row in connection.exec_driver_sql("PRAGMA integrity_check") if row[0] != "ok"]
        orphans = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        return broken + [f"{len(orphans)} rows of {', '.join(sorted({row[0] for row in orphans}))} belong to no study"] * bool(orphans)

    @contextmanager
    def turn(self, run: Run, study: str, seconds: float) -> Iterator[bool]:
        try:
            descriptor = os.open(f"{self._path}-turn", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError:  # a folder that lets SQLite write and us not: then without
            yield False
            return
        try:
            yield _locked(descriptor, seconds)
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child that was forked meanwhile has the lock, too, until it ends
            os.close(descriptor)


def _locked(descriptor: int, seconds: float) -> bool:
    """Waits for an flock; not for ever, because whoever holds it may have been suspended."""
    deadline, pause = time.monotonic() + seconds, 0.001
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(pause)
            pause = min(2 * pause, 0.02)
        else:
            return True
