"""Versions of the tables: an older file is brought up to date in place, by one of many, wholly or not at all; a newer one is refused."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import jaxhp
from jaxhp.errors import StorageError
from jaxhp.storage import open_log
from jaxhp.storage._tables import SCHEMA_VERSION

SPACE = jaxhp.Space({"x": jaxhp.Float(0.0, 1.0)})


def age(url):
    """Makes the file one of version 1."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    connection.execute("BEGIN")
    connection.execute("DROP TABLE leases")
    connection.execute("UPDATE meta SET schema_version = 1")
    connection.execute("COMMIT")
    connection.close()


def state(url):
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    version = [row[0] for row in connection.execute("SELECT schema_version FROM meta")]
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")} - {"sqlite_sequence"}
    connection.close()
    return version, tables


NEW = ([SCHEMA_VERSION], {"meta", "studies", "records", "leases"})
OLD = ([1], {"meta", "studies", "records"})


@pytest.fixture
def url(tmp_path):
    """A file of version 1 with a study in it."""
    url = f"sqlite:///{tmp_path}/old.db"
    study = jaxhp.Study(SPACE, storage=url, sampler=jaxhp.sobol(), seed=0).optimize(lambda t: t["x"], trials=5)
    study._log.close()
    age(url)
    assert state(url) == OLD
    return url


def test_an_older_file_is_brought_up_to_date_and_its_studies_go_on(url):
    straight = jaxhp.Study(SPACE, sampler=jaxhp.sobol(), seed=0).optimize(lambda t: t["x"], trials=9)
    study = jaxhp.Study(SPACE, storage=url, sampler=jaxhp.sobol(), seed=0)
    assert state(url) == NEW
    study._log.beat("study", "me")
    study._log.beat("study", "me")
    assert study._log.beats("study") == {"me": 2}
    assert [t.params for t in study.optimize(lambda t: t["x"], trials=9).finished] == [t.params for t in straight.finished]


FORKS = """
import os, sys
from jaxhp.storage import open_log, _sql
go = os.pipe()
pids = []
for _ in range(6):
    pid = os.fork()
    if not pid:
        os.close(go[1])
        os.read(go[0], 1)  # all begin when the parent closes its end
        log = open_log(sys.argv[1])
        log.append("study", [{"kind": "note"}])
        os._exit(0)
    pids.append(pid)
os.close(go[1])
print([os.waitpid(pid, 0)[1] for pid in pids])
"""


def run(code, *arguments, **more):
    environment = os.environ | {"PYTHONPATH": str(Path(jaxhp.__file__).parents[1])}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], env=environment, stdout=subprocess.PIPE, text=True, **more)


def test_many_who_open_an_older_file_at_once_all_find_a_new_one(url):
    before = len(open_log(url).read("study"))
    age(url)
    assert run(FORKS, url).communicate(timeout=60)[0] == f"{[0] * 6}\n"
    assert state(url) == NEW and len(open_log(url).read("study")) == before + 6


KILLED = """
import os, signal, sys
import sqlalchemy as sa
from jaxhp.storage import open_log
left = int(sys.argv[2])

@sa.event.listens_for(sa.Engine, "before_cursor_execute")
def before(connection, cursor, statement, parameters, context, many):
    global left
    if statement.strip().startswith(("CREATE", "UPDATE", "COMMIT")):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

open_log(sys.argv[1])
print("whole")
"""


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_who_is_killed_while_it_brings_a_file_up_to_date_leaves_the_old_one(url, at):
    process = run(KILLED, url, str(at))
    out = process.communicate(timeout=60)[0]
    if at == 4:  # beyond the end
        assert out == "whole\n" and state(url) == NEW
        return
    assert process.returncode == -signal.SIGKILL and state(url) == OLD
    assert len(jaxhp.Study.open(url).finished) == 5 and state(url) == NEW


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 10**9, 0, -1])
def test_a_version_that_is_not_known_is_refused_and_kept(url, version):
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    connection.execute("UPDATE meta SET schema_version = ?", (version,))
    connection.commit()
    connection.close()
    with pytest.raises(StorageError, match=f"has schema version {version}, this jaxhp reads up to {SCHEMA_VERSION}; upgrade jaxhp"):
        open_log(url)
    assert state(url) == ([version], OLD[1])


def test_a_newer_server_is_refused_too(postgres):
    url = postgres.new()
    open_log(url).close()
    postgres.run(f"UPDATE jaxhp.meta SET schema_version = {SCHEMA_VERSION + 1}", database=url.partition("@/")[2].partition("?")[0])
    with pytest.raises(StorageError, match="upgrade jaxhp"):
        open_log(url)
