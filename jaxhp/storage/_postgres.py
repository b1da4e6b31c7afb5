"""PostgreSQL as a log's home: any number of processes on any machines. Its tables lie in the schema `jaxhp`, beside whatever else is there.

Appends race for the next position in one INSERT (`ON CONFLICT DO NOTHING` waits for whoever was first to commit); those that lost, and
those of several records, queue behind an advisory lock of their study. Turns are advisory locks, too, which the server gives back when
their connection is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from zlib import crc32

import sqlalchemy as sa
import sqlalchemy.exc
import sqlalchemy.pool
from sqlalchemy.dialects.postgresql import insert

from jaxhp.errors import StorageError
from jaxhp.storage._tables import Run, Tables

_SCHEMA = "jaxhp"
_WRITERS, _TURNS = 0x6A68, 0x6A69  # spaces of advisory locks
_REACH = {
    "connect_timeout": 10,
    "keepalives_idle": 20,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 60_000,
}  # s, ms

_REMEDIES = {
    "password authentication failed": "check the user and the password of the URL",
    "no password supplied": "put the password into the URL, or into ~/.pgpass",
    "does not exist": "create it, or name another in the URL",
    "Connection refused": "is the server running, and are host and port right?",
    "timeout expired": "is the host right, and does a firewall let you through?",
    "invalid connection option": "libpq knows no such option; mend what is behind the ? of the URL",
    "invalid response to SSL": "is it PostgreSQL that listens there? Check host and port",
    "could not translate host name": "check the host of the URL",
    "failed to resolve host": "check the host of the URL",
    "No such file or directory": "is the server running, and is the folder of its socket right?",
    "permission denied": "this user may not create or write tables here; grant it CREATE on the database",
    "too many clients": "raise max_connections of the server, or run fewer workers",
    "remaining connection slots": "raise max_connections of the server, or run fewer workers",
    "read-only transaction": "this is a standby; name the primary server",
    "No space left": "free some space on the server; what was told before is safe",
}
_SQLSTATES = {  # of servers that will be back: connection exceptions, shutdowns, a standby that is promoted
    *("25P03", "57P01", "57P02", "57P03", "08000", "08001", "08003", "08004", "08006", "08P01", "25006", "53300"),
}


_LOCK_TIMEOUT = "55P03"
_IDLE_S = 10  # after which the server ends a transaction whose client was suspended: others wait for it, and it will append again


class Postgres:
    """A database, from "postgresql://user@host/database", as libpq writes it.

    Raises:
        StorageError: the URL cannot be read.
    """

    patience = 60.0

    def __init__(self, url: str) -> None:
        try:
            parsed = sa.make_url(url)
        except (sa.exc.ArgumentError, ValueError) as e:
            raise StorageError(f"storage: this URL cannot be read ({e}); write 'postgresql://user:password@host:5432/database'") from e
        self.url = parsed.render_as_string(hide_password=True)
        self.tables = tables = Tables(_SCHEMA, tokens=True)
        self.engine = sa.create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            poolclass=sa.pool.NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={"application_name": "jaxhp"} | {k: v for k, v in _REACH.items() if k not in parsed.query},
        )
        statements = (tables.first(insert), tables.since(tables.records.c.body), tables.beat(insert))
        self.insert, self.since, self.beat = (str(statement.compile(self.engine)) for statement in statements)

    def prepare(self, connection: sa.Connection) -> None:
        """Nothing: the server's defaults commit to the disk."""

    def found(self, connection: sa.Connection) -> set[str]:
        return set(connection.execute(sa.text("SELECT tablename FROM pg_tables WHERE schemaname = :schema"), {"schema": _SCHEMA}).scalars())

    def make_room(self, connection: sa.Connection) -> None:
        """The schema, unless an administrator made it: then a user without the right to make one will do."""
        self.begin(connection, "")
        if not connection.execute(sa.text("SELECT 1 FROM pg_namespace WHERE nspname = :schema"), {"schema": _SCHEMA}).first():
            connection.exec_driver_sql(f"CREATE SCHEMA {_SCHEMA}")
        connection.exec_driver_sql("COMMIT")

    def begin(self, connection: sa.Connection, study: str) -> None:
        connection.exec_driver_sql("BEGIN ISOLATION LEVEL READ COMMITTED")
        alone = "SELECT pg_advisory_xact_lock(%(space)s, %(study)s), set_config('idle_in_transaction_session_timeout', %(idle)s, true)"
        connection.exec_driver_sql(alone, {"space": _WRITERS, "study": _key(study), "idle": f"{_IDLE_S}s"})

    def check_name(self, study: str) -> None:
        if "\x00" in study:
            raise ValueError("PostgreSQL keeps no NUL")

    def lost(self, error: sa.exc.DBAPIError) -> bool:
        return error.connection_invalidated or getattr(error.orig, "sqlstate", None) in _SQLSTATES or _unreachable(error)

    def remedy(self, text: str) -> str:
        return next((remedy for sign, remedy in _REMEDIES.items() if sign in text), "see the error above, and the log of the server")

    def faults(self, connection: sa.Connection) -> list[str]:
        """None that a user could ask for: the server checks its own pages."""
        return []

    @contextmanager
    def turn(self, run: Run, study: str, seconds: float) -> Iterator[bool]:
        key = {"space": _TURNS, "study": _key(study)}
        mine = _locked(run, key, seconds)
        try:
            yield mine
        finally:
            if mine:
                run("SELECT pg_advisory_unlock(%(space)s, %(study)s)", key)


def _locked(run: Run, key: dict[str, int], seconds: float) -> bool:
    """Waits for an advisory lock; not for ever, because whoever holds it may have been suspended."""
    wait = "SELECT set_config('lock_timeout', %(ms)s, false)"
    run(wait, {"ms": str(round(1000 * seconds))})
    try:
        run("SELECT pg_advisory_lock(%(space)s, %(study)s)", key)
    except StorageError as e:
        if getattr(getattr(e.__cause__, "orig", None), "sqlstate", None) != _LOCK_TIMEOUT:
            raise
        return False
    finally:
        run(wait, {"ms": "0"})
    return True


def _unreachable(error: sa.exc.DBAPIError) -> bool:
    """Whether no connection was made: libpq then gives no SQLSTATE."""
    return isinstance(error, sa.exc.OperationalError) and getattr(error.orig, "sqlstate", "") is None


def _key(study: str) -> int:
    """A signed 32-bit number for an advisory lock; two studies that share one wait for each other, no more."""
    code = crc32(study.encode("utf-8", "surrogatepass"))
    return code - (1 << 32) if code >= 1 << 31 else code
