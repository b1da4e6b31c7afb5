"""PostgreSQL as a home: many processes, lost connections and lost answers, restarts, hostile tables, and what the door says."""

import itertools
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

import jaxhp
from jaxhp.errors import LogConflict, MissingExtra, StorageError
from jaxhp.storage import _codec, _postgres, open_log

SPACE = jaxhp.Space({"x": jaxhp.Float(0.0, 1.0)})


@pytest.fixture
def url(postgres):
    return postgres.new()


@pytest.fixture
def log(url):
    log = open_log(url)
    yield log
    log.close()


def tell(i):
    return {"kind": "tell", "number": i}


def numbers(records):
    return [record["number"] for record in records]


def database(url):
    return sa.make_url(url).database


# lost connections


def test_a_cut_connection_is_made_anew_and_nothing_shows(postgres, url, log):
    for i in range(5):
        log.append("s", [tell(i)])
        assert postgres.cut(url) == 1
        assert numbers(log.read("s")) == list(range(i + 1))
        postgres.cut(url)
    log.append("s", [tell(5), tell(6)], at=5)
    postgres.cut(url)
    assert log.studies() == ["s"]
    log.beat("s", "me")
    postgres.cut(url)
    assert log.beats("s") == {"me": 1}
    postgres.cut(url)
    log.delete("s")
    assert log.read("s") == []


@pytest.mark.parametrize("done", [False, True], ids=["before the statement", "after it"])
@pytest.mark.parametrize("together", [1, 2])
@pytest.mark.parametrize("claim", [False, True])
@pytest.mark.parametrize("at", [1, 2, 3, 4, 5, 6])
def test_an_append_whose_connection_is_cut_at_any_statement_lands_once(postgres, url, at, claim, together, done):
    """The answer of a statement that was executed is lost, too: whether it landed is then found out."""
    log, left = open_log(url), at
    log.append("s", [tell(0)])

    @sa.event.listens_for(log._home.engine, "before_cursor_execute" if not done else "after_cursor_execute")
    def cut(connection, cursor, statement, parameters, context, many):
        nonlocal left
        left -= 1
        if left == 0:
            postgres.cut(url)
            if done:  # as the driver would have said
                cursor.connection.close()
                raise psycopg.OperationalError("server closed the connection unexpectedly")

    assert log.append("s", [tell(i + 1) for i in range(together)], at=1 if claim else None) == 1 + together
    sa.event.remove(log._home.engine, "before_cursor_execute" if not done else "after_cursor_execute", cut)
    assert numbers(log.read("s")) == list(range(1 + together))
    assert log.append("s", [tell(9)], at=1 + together) == 2 + together
    log.close()


def test_a_claim_that_was_lost_to_another_while_the_connection_was_cut_is_a_conflict(postgres, url, log):
    other = open_log(url)
    log.append("s", [tell(0)])
    other.append("s", [tell(1)])
    postgres.cut(url)
    with pytest.raises(LogConflict):
        log.append("s", [tell(7)], at=1)
    assert numbers(log.read("s")) == [0, 1]
    other.close()


def test_a_statement_that_was_still_on_its_way_when_it_was_repeated_counts_once(postgres, url, log):
    """A server that executes what a lost connection had sent: the repeated append finds its own token in the way."""
    log.append("s", [tell(0)])
    landed = type(log)._landed

    def late(self, study, token, count):
        found = landed(self, study, token, count)
        if found is None:  # it lands just after we looked
            row = f"(1, 1, '{_codec.dumps(tell(1))}', {_codec.checksum(1, _codec.dumps(tell(1)).encode())}, '{token}')"
            postgres.run(f"INSERT INTO jaxhp.records VALUES {row}", database=database(url))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(log), "_landed", late)
        postgres.cut(url)
        assert log.append("s", [tell(1)]) == 2
    assert numbers(log.read("s")) == [0, 1]


def test_a_writer_that_is_suspended_within_an_append_holds_the_others_up_for_seconds_only(url, log, monkeypatch):
    monkeypatch.setattr(_postgres, "_IDLE_S", 1)
    other, appended = open_log(url), []

    @sa.event.listens_for(log._home.engine, "do_executemany")
    def suspended(cursor, statement, parameters, context):
        sa.event.remove(log._home.engine, "do_executemany", suspended)
        appended.append(other.append("s", [tell(0), tell(1)]))  # waits for the server to end our transaction

    assert log.append("s", [tell(2), tell(3)]) == 4
    assert appended == [2] and numbers(other.read("s")) == [0, 1, 2, 3]
    other.close()


def test_a_study_survives_cuts_all_along(postgres, url):
    study = jaxhp.Study(SPACE, storage=url, sampler=jaxhp.sobol(), seed=0)
    ended = threading.Event()

    def cut():
        while not ended.wait(0.05):
            postgres.cut(url)

    thread = threading.Thread(target=cut)
    thread.start()
    study.optimize(lambda t: time.sleep(0.01) or t["x"], trials=30)
    ended.set()
    thread.join()
    straight = jaxhp.Study(SPACE, sampler=jaxhp.sobol(), seed=0).optimize(lambda t: t["x"], trials=30)
    assert [(t.number, t.value) for t in study.finished] == [(t.number, t.value) for t in straight.finished]
    kinds = [record["kind"] for record in study._log.read("study")]
    assert kinds.count("ask") == kinds.count("tell") == 30


def test_a_server_that_restarts_is_waited_for_and_one_that_does_not_come_back_is_an_error(monkeypatch):
    from postgres import private

    server = private()
    try:
        url = server.new()
        study = jaxhp.Study(SPACE, storage=url, sampler=jaxhp.sobol(), seed=0)
        study.optimize(lambda t: t["x"], trials=3)
        server.stop()
        thread = threading.Timer(0.5, server.start)
        thread.start()
        study.optimize(lambda t: t["x"], trials=6)
        thread.join()
        server.stop()
        study._log._home.patience = 0.2
        with pytest.raises(StorageError, match="is the server running, and"):
            study.ask()
        with pytest.raises(StorageError, match="is the server running"):
            open_log(url)
        server.start()
        study.optimize(lambda t: t["x"], trials=8)
        assert [t.number for t in study.finished] == list(range(8))
    finally:
        server.close()


# many writers


FORKS = """
import os, sys
from jaxhp.storage import open_log
log, writers, each = open_log(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
log.append("s", [{"writer": -1}])
pids = []
for writer in range(writers):
    pid = os.fork()
    if not pid:
        for i in range(each):
            log.append("s", [{"writer": writer, "i": i, "part": part} for part in range(1 + i % 2)])
        os._exit(0)
    pids.append(pid)
    log.append("s", [{"writer": -1}])
assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * writers
"""


@pytest.mark.parametrize(("writers", "each"), [(8, 30), pytest.param(64, 50, marks=pytest.mark.soak)])
def test_forked_writers_lose_nothing_and_batches_stay_together(url, log, writers, each):
    environment = os.environ | {"PYTHONPATH": str(Path(jaxhp.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", FORKS, url, str(writers), str(each)], env=environment, check=True)
    records = log.read("s")
    for writer in range(writers):
        mine = [(at, r["i"], r["part"]) for at, r in enumerate(records) if r["writer"] == writer]
        assert [(i, part) for _, i, part in mine] == [(i, part) for i in range(each) for part in range(1 + i % 2)]
        assert all(b[0] == a[0] + 1 for a, b in itertools.pairwise(mine) if b[2] == 1)
    assert sum(r["writer"] == -1 for r in records) == 1 + writers


def test_of_two_who_create_one_study_in_a_new_database_one_wins(url):
    barrier, won = threading.Barrier(4), []

    def create(i):
        barrier.wait()
        log = open_log(url)
        try:
            log.append("s", [tell(i)], at=0)
            won.append(i)
        except LogConflict:
            pass
        log.close()

    threads = [threading.Thread(target=create, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers(open_log(url).read("s")) == won and len(won) == 1


# what does not belong


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE jaxhp.records SET body = substr(body, 1, 20) WHERE seq = 1", "record 1 of study 's' does not match"),
        ("UPDATE jaxhp.records SET body = '\u03bb\U0001f680' WHERE seq = 1", "record 1 of study 's' does not match"),
        ("DELETE FROM jaxhp.records WHERE seq = 0", r"record 0 of study 's' is missing \(the next is 1\)"),
    ],
)
def test_altered_and_lost_records_are_named(postgres, url, log, statement, fault):
    log.append("s", [tell(0), tell(1), tell(2)])
    postgres.run(statement, database=database(url))
    with pytest.raises(StorageError, match=fault):
        log.read("s")


@pytest.mark.parametrize("body", ["", "[1, 2]", "[" * 100_000, "__import__('os').abort()", '{"a": 1}{'])
def test_forged_records_are_refused(postgres, url, log, body):
    log.append("s", [tell(0)])
    body_sql = body.replace("'", "''")
    checksum = _codec.checksum(1, body.encode())
    postgres.run(f"INSERT INTO jaxhp.records VALUES (1, 1, '{body_sql}', {checksum}, NULL)", database=database(url))
    with pytest.raises(StorageError, match="record 1 of study 's' was not written by jaxhp"):
        log.read("s")


def test_other_tables_of_the_database_are_left_alone_and_foreign_ones_refused(postgres, url):
    postgres.run("CREATE TABLE studies (x int)", "INSERT INTO studies VALUES (7)", database=database(url))
    log = open_log(url)
    log.append("s", [tell(0)])
    log.close()
    assert postgres.run("SELECT x FROM studies", database=database(url)) == [(7,)]
    other = postgres.new()
    postgres.run("CREATE SCHEMA jaxhp", "CREATE TABLE jaxhp.trials (x int)", database=database(other))
    with pytest.raises(StorageError, match=r"holds other tables \(trials\), not a jaxhp log"):
        open_log(other)


def test_a_name_with_a_nul_is_refused(log):
    with pytest.raises(StorageError, match="PostgreSQL keeps no NUL"):
        log.append("a\x00b", [tell(0)])


# the door


def test_a_url_that_cannot_be_followed_is_refused_with_a_remedy():
    for place, remedy in (
        ("127.0.0.1:1/db?nonsense=1", "libpq knows no such option; mend what is behind the"),
        ("no.such.host.invalid/db", "check the host of the URL"),
    ):
        with pytest.raises(StorageError, match=remedy) as raised:
            open_log(f"postgresql://user:s3cret@{place}")
        assert "s3cret" not in str(raised.value)


def test_the_password_is_never_shown(postgres, url):
    parsed = sa.make_url(url).set(password="s3cret")
    log = open_log(parsed.render_as_string(hide_password=False))
    assert "s3cret" not in log.url and "***" in log.url
    log.close()
    with pytest.raises(StorageError) as raised:
        open_log(parsed.set(database="nowhere").render_as_string(hide_password=False))
    assert "s3cret" not in str(raised.value) and 'database "nowhere" does not exist; create it, or name another' in str(raised.value)


def test_a_server_that_is_not_there_is_an_error_at_once():
    with pytest.raises(StorageError, match="is the server running"):
        open_log("postgresql://postgres@127.0.0.1:9/x")


def test_a_user_who_may_create_nothing_is_told_what_to_grant(postgres, url):
    postgres.run("DROP ROLE IF EXISTS guest", "CREATE ROLE guest LOGIN")
    guest = str(sa.make_url(url).set(username="guest", password=None))
    with pytest.raises(StorageError, match=r"permission denied.*grant it CREATE on the database"):
        open_log(guest)


@pytest.mark.parametrize("library", ["psycopg", "sqlalchemy"])
def test_a_missing_library_is_named_with_its_extra(monkeypatch, library):
    for module in ("_sql", "_postgres", "_tables"):
        monkeypatch.delitem(sys.modules, f"jaxhp.storage.{module}", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtra, match=rf'needs {library}: pip install "jaxhp\[postgres\]"'):
        open_log("postgresql://somebody:s3cret@host/db")


def test_advisory_locks_of_names_fit_into_32_bits():
    assert all(-(1 << 31) <= _postgres._key(name) < 1 << 31 for name in ("", "s", "\u03bb", "\ud800", *map(str, range(50))))
