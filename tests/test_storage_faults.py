"""One SQLite log under many processes, and its faults: kill -9, a full disk, read-only folders, damaged, forged and foreign files."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

import jaxhp
from jaxhp.errors import LogConflict, StorageError
from jaxhp.storage import _codec, _sql, _sqlite, open_log

SPACE = jaxhp.Space({"x": jaxhp.Float(0.0, 1.0)})


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/log.db"


def tell(i):
    return {"kind": "tell", "number": i}


def numbers(records):
    return [record["number"] for record in records]


def file_of(url):
    return Path(url.removeprefix("sqlite:///"))


def edit(url, statement, *values):
    """Changes a database behind the back of its log."""
    connection = sqlite3.connect(file_of(url))
    with connection:
        connection.execute(statement, values)
    connection.close()


def start(code, *arguments):
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def run_together(code, arguments):
    """Starts one process per tuple of arguments, lets them go at once, and returns what each printed."""
    processes = [
        start("import sys\nfrom jaxhp.storage import open_log\nprint('ready', flush=True)\nsys.stdin.readline()\n" + code, *a)
        for a in arguments
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return outputs


# many writers


def test_appends_of_four_processes_are_all_there_once(url):
    code = "log = open_log(sys.argv[1])\nfor i in range(50):\n    log.append('s', [{'writer': int(sys.argv[2]), 'i': i}])\nlog.close()"
    run_together(code, [(url, writer) for writer in range(4)])
    records = open_log(url).read("s")
    assert len(records) == 200
    for writer in range(4):
        assert [r["i"] for r in records if r["writer"] == writer] == list(range(50))


def test_each_claim_of_four_processes_is_won_by_one(url):
    code = """
from jaxhp.errors import LogConflict
log, won = open_log(sys.argv[1]), []
while (end := len(log.read('s'))) < 100:
    try:
        log.append('s', [{'writer': int(sys.argv[2])}] * (1 + end % 3), at=end)
        won.append(end)
    except LogConflict:
        pass
print(won)
"""
    outputs = run_together(code, [(url, writer) for writer in range(4)])
    won = {end: writer for writer, output in enumerate(outputs) for end in json.loads(output)}
    assert sum(len(json.loads(output)) for output in outputs) == len(won)
    records = open_log(url).read("s")
    expected = []
    for end in sorted(won):
        assert end == len(expected)
        expected += [won[end]] * (1 + end % 3)
    assert [r["writer"] for r in records] == expected


def test_of_many_who_create_one_study_one_wins(tmp_path):
    """The file is new too, so that the processes race for its tables as well."""
    code = """
from jaxhp.errors import LogConflict
for i in range(10):
    try:
        log = open_log(f'{sys.argv[1]}{i}.db')
        log.append('s', [{'writer': sys.argv[2]}], at=0)
        print(i)
    except LogConflict:
        pass
"""
    base = f"sqlite:///{tmp_path}/"
    outputs = run_together(code, [(base, writer) for writer in range(4)])
    assert sorted(int(i) for output in outputs for i in output.split()) == list(range(10))
    for i in range(10):
        (record,) = open_log(f"{base}{i}.db").read("s")
        assert str(i) in outputs[int(record["writer"])].split()


def test_of_two_who_open_a_new_file_the_second_waits_until_the_first_is_done(url):
    other = sqlite3.connect(file_of(url), isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")  # on a new file SQLite refuses WAL at once, whatever the timeout
    opened = []
    thread = threading.Thread(target=lambda: opened.append(open_log(url)))
    thread.start()
    time.sleep(0.2)
    assert not opened
    other.execute("COMMIT")
    other.close()
    thread.join()
    assert opened[0].append("s", [tell(0)], at=0) == 1
    opened[0].close()


def test_a_writer_waits_while_another_holds_the_lock(url):
    log = open_log(url)
    other = sqlite3.connect(file_of(url), isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    done = []
    thread = threading.Thread(target=lambda: done.append(log.append("s", [tell(0)])))
    thread.start()
    time.sleep(0.2)
    assert not done
    other.execute("COMMIT")
    thread.join()
    assert done == [1]
    other.close()
    log.close()


def test_a_lock_that_is_never_given_back_is_an_error_that_says_so(url, monkeypatch):
    monkeypatch.setattr(_sqlite, "_BUSY_S", 0.05)
    log = open_log(url)
    log.append("s", [tell(0)])
    other = sqlite3.connect(file_of(url), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for records in ([tell(1)], [tell(1), tell(2)]):
        with pytest.raises(StorageError, match="locked; another process has kept it locked"):
            log.append("s", records)
    assert numbers(log.read("s")) == [0]  # readers never wait
    other.execute("COMMIT")
    other.close()
    assert log.append("s", [tell(1)]) == 2
    log.close()


OPEN_FILES = """
import os, sys
def open_files():
    links = [f'/proc/self/fd/{f}' for f in os.listdir('/proc/self/fd')]
    return [os.readlink(f) for f in links if os.path.islink(f) and '.db' in os.readlink(f)]
"""

FORKS = (
    OPEN_FILES
    + """
import threading
from jaxhp.storage import open_log
log = open_log(sys.argv[1])
log.append('s', [{'writer': 'parent'}])
busy = threading.Thread(target=lambda: [log.append('s', [{'writer': 'thread'}]) for _ in range(100)])
busy.start()
children = []
for child in range(5):
    pid = os.fork()
    if pid == 0:
        inherited = open_files()
        for _ in range(10):
            log.append('s', [{'writer': child}])
        os._exit(len(inherited))
    children.append(pid)
    log.append('s', [{'writer': 'parent'}])
assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 5
busy.join()
writers = [r['writer'] for r in log.read('s')]
print(writers.count('parent'), writers.count('thread'), [writers.count(child) for child in range(5)])
"""
)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks for open files in /proc")
def test_forked_processes_append_beside_their_parent_and_inherit_no_connection(url):
    process = start(FORKS, url)
    assert process.communicate(timeout=120)[0] == "6 100 [10, 10, 10, 10, 10]\n"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks for open files in /proc")
def test_closing_and_dropping_logs_leaves_no_file_open(tmp_path):
    code = """
import gc
for i in range(5):
    log = open_log(f'{sys.argv[1]}{i}.db')
    log.append('s', [{}])
    if i % 2:
        log.close()
del log
gc.collect()
print(open_files())
"""
    assert run_together(OPEN_FILES + code, [(f"sqlite:///{tmp_path}/",)]) == ["[]\n"]


# what is acknowledged is there


ENDLESS = """
import os, sys
from jaxhp.storage import open_log
log, k = open_log(sys.argv[1]), int(sys.argv[2])
while True:
    end = log.append('s', [{'part': i} for i in range(k)])
    os.write(1, f'{end}\\n'.encode())
"""


@pytest.mark.parametrize("together", [1, 3])
def test_after_kill_9_every_acknowledged_append_is_there_and_none_is_half_there(url, together):
    acknowledged = 0
    for lines in (1, 40, 7, 150, 23):
        process = start(ENDLESS, url, together)
        ends = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        ends += process.stdout.readlines()
        process.communicate()
        acknowledged = max(int(end) for end in ends if end.endswith("\n"))
        records = open_log(url).read("s")
        assert len(records) in (acknowledged, acknowledged + together)
        assert [r["part"] for r in records] == list(range(together)) * (len(records) // together)
        acknowledged = len(records)


FULL = """
import resource, sys
from jaxhp.errors import StorageError
from jaxhp.storage import open_log
log, acknowledged = open_log(sys.argv[1]), 0
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    while True:
        acknowledged = log.append('s', [{'number': acknowledged, 'text': 'x' * 300}])
except StorageError as e:
    assert 'what was told before is safe' in str(e), e
    assert e.__cause__ is not None
assert len(log.read('s')) == acknowledged
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert log.append('s', [{'number': acknowledged}]) == acknowledged + 1
print(acknowledged + 1)
"""


@pytest.mark.parametrize("limit", [60_000, 61_003, 64_007, 100_001])
def test_a_full_disk_loses_nothing_and_the_log_goes_on_when_there_is_space(url, limit):
    process = start(FULL, url, limit)
    count = int(process.communicate(timeout=60)[0])
    assert numbers(open_log(url).read("s")) == list(range(count))


def test_an_interrupt_in_an_append_leaves_the_log_usable(url, monkeypatch):
    log, insert = open_log(url), _sql.SqlLog._insert
    log.append("s", [tell(0)])

    def interrupted(self, *arguments):
        insert(self, *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_sql.SqlLog, "_insert", interrupted)
        with pytest.raises(KeyboardInterrupt):
            log.append("s", [tell(1)])  # written, but never acknowledged
        with pytest.raises(KeyboardInterrupt):
            log.append("s", [tell(7), tell(8)])  # rolled back
    assert log.append("s", [tell(2)]) == 3
    assert numbers(open_log(url).read("s")) == [0, 1, 2]
    log.close()


def test_sqlite_syncs_each_commit_and_lets_readers_pass(url):
    log = open_log(url)
    log.append("s", [tell(0)])
    pragma = {name: log._connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("synchronous", "journal_mode", "busy_timeout")}
    assert pragma == {"synchronous": 2, "journal_mode": "wal", "busy_timeout": 60_000}
    log.close()


# damage


@pytest.fixture
def three(url):
    """A closed log of three records."""
    log = open_log(url)
    for i in range(3):
        log.append("s", [{"kind": "tell", "number": i, "text": "abcdefgh"}])
    log.close()
    return url


@pytest.mark.parametrize("bit", [0, 3, 7])
@pytest.mark.parametrize("offset", [0, 1, 12, 20, 40])
def test_an_altered_byte_is_found_and_its_record_named(three, bit, offset):
    content = bytearray(file_of(three).read_bytes())
    content[content.index(b'{"kind":"tell","number":1') + offset] ^= 1 << bit
    file_of(three).write_bytes(content)
    log = open_log(three)
    with pytest.raises(StorageError, match=r"log\.db: record 1 of study 's' does not match its checksum; restore"):
        log.read("s")
    assert numbers(log.read("s", 2)) == [2]
    log.close()


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE records SET body = substr(body, 1, 20) WHERE seq = 1", "record 1 of study 's' does not match"),
        ("UPDATE records SET body = x'ff' WHERE seq = 1", "record 1 of study 's' does not match"),
        ("UPDATE records SET checksum = 0 WHERE seq = 0", "record 0 of study 's' does not match"),
        ("UPDATE records SET body = (SELECT body FROM records WHERE seq = 0) WHERE seq = 1", "record 1 of study 's' does not match"),
        ("DELETE FROM records WHERE seq = 1", r"record 1 of study 's' is missing \(the next is 2\)"),
        ("DELETE FROM records WHERE seq = 0", r"record 0 of study 's' is missing \(the next is 1\)"),
    ],
)
def test_torn_moved_and_lost_records_are_found_and_named(three, statement, fault):
    edit(three, statement)
    log = open_log(three)
    with pytest.raises(StorageError, match=fault):
        log.read("s")
    log.close()


@pytest.mark.parametrize("body", ["", "[1, 2]", "{} {}", "null", "[" * 200_000, '{"a": ' * 100_000, "__import__('os').abort()", "{"])
def test_forged_records_are_refused(three, body):
    edit(three, "UPDATE records SET body = ?, checksum = ? WHERE seq = 1", body, _codec.checksum(1, body.encode()))
    log = open_log(three)
    with pytest.raises(StorageError, match="record 1 of study 's' was not written by jaxhp"):
        log.read("s")
    log.close()


def test_a_damaged_file_is_an_error_with_a_remedy(three):
    content = bytearray(file_of(three).read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    file_of(three).write_bytes(content)
    with pytest.raises(StorageError, match="damaged; restore a copy") as raised:
        open_log(three).read("s")
    assert raised.value.__cause__ is not None


@pytest.mark.parametrize("together", [1, 2])
def test_records_that_were_taken_away_in_use_leave_no_hole(url, together):
    """By `verify(repair=True)`, an older copy that was put back, or a standby that took over and lacks the last ones."""
    mine, other = open_log(url), open_log(url)
    mine.append("s", [tell(0), tell(1), tell(2)])
    other.set_aside("s", 2)
    for at in (None, 3):
        with pytest.raises(StorageError, match="was deleted or replaced while this process used it; open it again"):
            mine.append("s", [tell(3)] * together, at=at)
    assert numbers(other.read("s")) == [0, 1] and other.append("s", [tell(2)]) == 3
    for log in (mine, other):
        log.close()


def test_a_study_that_another_process_deleted_is_an_error_and_not_a_new_study(url):
    mine, other = open_log(url), open_log(url)
    for name in ("t", "s"):
        mine.append(name, [tell(0)])
    mine.append("s", [tell(1)])
    other.delete("s")
    for at in (None, 2):
        with pytest.raises(StorageError, match="was deleted or replaced while this process used it; open it again") as raised:
            mine.append("s", [tell(2)], at=at)
        assert not isinstance(raised.value, LogConflict)  # who claims would try for ever
    other.append("u", [tell(5)], at=0)  # must not take over the id of s
    with pytest.raises(StorageError, match="deleted or replaced"):
        mine.append("s", [tell(2)])
    assert other.studies() == ["t", "u"] and numbers(other.read("u")) == [5]
    assert mine.read("s") == []
    assert mine.append("s", [tell(9)], at=0) == 1
    for log in (mine, other):
        log.close()


def test_a_file_that_is_not_sqlite_is_refused_and_kept(url):
    file_of(url).write_text("learning_rate,loss\n" * 100)
    with pytest.raises(StorageError, match="this file is something else; choose another name"):
        open_log(url)
    assert file_of(url).read_text() == "learning_rate,loss\n" * 100


@pytest.mark.parametrize("tables", [["trials"], ["studies", "trials"], ["meta"], ["meta", "studies", "records"]])
def test_a_database_of_something_else_is_refused_and_kept(url, tables):
    for table in tables:
        edit(url, f"CREATE TABLE {table} (x)")
    before = file_of(url).read_bytes()
    with pytest.raises(StorageError, match=r"not a jaxhp log; choose another|this file is something else"):
        open_log(url)
    assert file_of(url).read_bytes() == before


def test_a_newer_schema_is_an_error_that_says_to_upgrade(three):
    edit(three, "UPDATE meta SET schema_version = 3")
    with pytest.raises(StorageError, match="schema version 3, this jaxhp reads up to 2; upgrade jaxhp"):
        open_log(three)


READ_ONLY = """
import os, sys
from jaxhp.errors import StorageError
from jaxhp.storage import open_log
open_log(sys.argv[1]).close()  # loads all that it needs
if os.geteuid() == 0:  # root may write anything
    os.setresuid(65534, 65534, 65534)
for url in sys.argv[2:]:
    try:
        log = open_log(url)
        log.append('s', [{'kind': 'tell'}])
    except StorageError as e:
        print(e)
"""


def test_a_read_only_file_or_folder_is_an_error_with_a_remedy(url):
    folder = Path(tempfile.mkdtemp())  # pytest's own folders are closed to other users
    try:
        log = open_log(f"sqlite:///{folder}/full.db")
        log.append("s", [tell(0)])
        log.close()
        (folder / "full.db").chmod(0o444)
        folder.chmod(0o555)
        process = start(READ_ONLY, url, f"sqlite:///{folder}/new.db", f"sqlite:///{folder}/full.db")
        new, full = process.communicate(timeout=60)[0].splitlines()
        assert "new.db" in new and "check that it is a file, and that it and its folder may be written" in new
        assert "full.db" in full and ("read-only" in full or "may be written" in full)
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


@pytest.mark.parametrize("written", [False, True], ids=["before the write", "after the write"])
@pytest.mark.parametrize("at", range(1, 9))
def test_an_interrupt_within_a_statement_leaves_a_study_that_goes_on(url, at, written):
    study = jaxhp.Study(SPACE, storage=url, sampler=jaxhp.sobol(), seed=0)
    statements = 0

    @sa.event.listens_for(study._log._home.engine, "do_execute")
    def interrupt(cursor, statement, parameters, context):
        nonlocal statements
        if not statement.startswith("INSERT"):
            return None
        statements += 1
        if statements != at:
            return None
        if written:
            cursor.execute(statement, parameters)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.optimize(lambda trial: trial["x"], trials=6)
    assert not [number for number in range(study._fold.asked) if study._fold.pending(number) and number not in study._fold.released]
    study.optimize(lambda trial: trial["x"], trials=6)
    straight = jaxhp.Study(SPACE, sampler=jaxhp.sobol(), seed=0).optimize(lambda trial: trial["x"], trials=6)
    assert [t.params for t in study.finished] == [t.params for t in straight.finished]
    assert [t.value for t in jaxhp.Study.open(url).finished] == [t.value for t in straight.finished]
