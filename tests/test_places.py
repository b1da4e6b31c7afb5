"""Machines, containers and clocks that are not alike; disks that fill at any byte; databases that may only be read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from typing import Any

import pytest
import sqlalchemy as sa

import jaxhp
from jaxhp import Float, Leases, Space, StorageError, Study, _owner
from jaxhp.storage import _postgres, open_log

SPACE = Space({"x": Float(0.0, 1.0)})
DEAD = 2**22 - 1  # a process id that nobody has


def named(host: str, pid: int = DEAD) -> str:
    return f"{host}:{pid}:1"


# who is here


def test_a_process_sees_itself_and_misses_the_dead_of_its_own_place():
    me = _owner.owner()
    host = me.rsplit(":", 2)[0]
    assert _owner.local(me) and not _owner.gone(me)
    assert _owner.gone(named(host)) and _owner.gone(named(host, os.getpid())), "this id belongs to another process now"


def test_a_container_of_the_same_host_name_is_another_place(monkeypatch):
    """Docker gives every container of one image the process id 1, and compose files fix host names."""
    host = _owner.owner().partition("/")[0].partition(":")[0]
    for place in ("0" * 12, "another"):
        assert not _owner.local(named(f"{host}/{place}")) and not _owner.gone(named(f"{host}/{place}"))
    monkeypatch.setattr(_owner, "_place", lambda pid: "")
    assert not _owner.gone(named(f"{host}/{'0' * 12}")), "where the system tells of no place, nothing is known of one that was told"


def test_owners_that_an_older_version_wrote_are_judged_by_name():
    host = _owner.owner().partition("/")[0].partition(":")[0]
    assert _owner.gone(named(host)) and not _owner.gone(named(f"not-{host}"))


@pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="needs the right to make a namespace of process ids")
def test_processes_in_another_namespace_are_not_looked_for_here():
    code = "from jaxhp import _owner; print(_owner.owner(), flush=True)"
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code]
    made = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if made.returncode:
        pytest.skip(f"no namespace can be made here: {made.stderr.strip()}")
    owner = made.stdout.strip()
    assert owner.partition("/")[0] == _owner.owner().partition("/")[0] and int(owner.split(":")[1]) < 10
    assert not _owner.local(owner) and not _owner.gone(owner)


def test_clocks_days_apart_change_no_ones_trials(tmp_path, monkeypatch):
    """Beats are counted, and judged on the judge's own clock: what time it is where, nobody asks."""
    url = f"sqlite:///{tmp_path}/s.db"
    leases = Leases(beat=0.05, expiry=30.0)
    here = Study(SPACE, sampler=jaxhp.sobol(), storage=url, seed=1, leases=leases)
    mine = here.ask()
    for i, days in enumerate((-400, 3), 1):
        with monkeypatch.context() as there:
            there.setattr(time, "time", lambda days=days, clock=time.time: clock() + 86400.0 * days)
            there.setattr(_owner, "owner", lambda i=i: named(f"far{i}"))
            other = Study(SPACE, sampler=jaxhp.sobol(), storage=url, seed=1, leases=leases)
            theirs = other.ask()
            other._session.reclaim()
            assert theirs.number == i
            here._session.reclaim()
            other.tell(theirs, 0.5)
    here.tell(mine, 0.1)
    assert [(trial.number, 0 <= trial.seconds < 60) for trial in here.finished] == [(0, True), (1, True), (2, True)]
    assert here.late == []


# disks and rights

FILLING = """
import os, resource, sys
from jaxhp.errors import StorageError
from jaxhp.storage import open_log
path, step, told = sys.argv[1], int(sys.argv[2]), 0
log = open_log(f"sqlite:///{path}")
log.append("s", [{"number": told}]); told += 1
start, refused = os.path.getsize(path + "-wal"), 0
for extra in range(0, 5 * 4120, step):
    size = os.path.getsize(path + "-wal")
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + extra % 8240, resource.RLIM_INFINITY))
    try:
        for _ in range(3):
            assert log.append("s", [{"number": told, "text": "x" * 700}]) == told + 1
            told += 1
    except StorageError as e:
        assert "what was told before is safe" in str(e), e
        refused += 1
    assert [r["number"] for r in log.read("s")] == list(range(told))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    log.append("s", [{"number": told}]); told += 1
print(told, refused)
"""


def test_a_disk_that_fills_at_any_byte_loses_nothing_and_goes_on_when_it_is_freed(tmp_path):
    step = 211
    done = subprocess.run([sys.executable, "-c", FILLING, str(tmp_path / "s.db"), str(step)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told, refused = map(int, done.stdout.split())
    assert refused > 60
    assert [r["number"] for r in open_log(f"sqlite:///{tmp_path}/s.db").read("s")] == list(range(told))


def test_a_server_that_may_only_be_read_is_read_and_says_why_not_more(postgres, monkeypatch):
    url = postgres.new()
    log = open_log(url)
    log.append("s", [{"kind": "tell"}])
    log.close()
    monkeypatch.setattr(_postgres.Postgres, "patience", 0.2)
    options: dict[str, Any] = {"options": "-c default_transaction_read_only=on"}
    reader = open_log(sa.make_url(url).update_query_dict(options).render_as_string(hide_password=False))
    assert reader.read("s") == [{"kind": "tell"}]
    with pytest.raises(StorageError, match=r"read-only transaction; .*standby"):
        reader.append("s", [{"kind": "tell"}])
    with pytest.raises(StorageError, match="read-only transaction"):
        reader.keep("s", b"snapshot")  # type: ignore[attr-defined]
    assert reader.read("s") == [{"kind": "tell"}]
    reader.close()


def test_a_file_that_may_only_be_read_goes_without_a_snapshot(tmp_path):
    """As root no file is read-only, so SQLite itself is told."""
    url = f"sqlite:///{tmp_path}/s.db"
    log = open_log(url)
    log.append("s", [{"kind": "tell"}])
    log._connected().exec_driver_sql("PRAGMA query_only = ON")  # type: ignore[attr-defined]
    assert log.read("s") == [{"kind": "tell"}] and log.kept("s", 100) is None  # type: ignore[attr-defined]
    with pytest.raises(StorageError, match=r"readonly.*read-only; change its permissions"):
        log.keep("s", b"snapshot")  # type: ignore[attr-defined]
    log.close()
