"""The logs: one law suite over all, the same histories over them and over lists, odd values and names, and what `open_log` refuses."""

import math
import sys
import threading
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

import jaxhp
from jaxhp.errors import LogConflict, MissingExtra, StorageError
from jaxhp.storage import Log, MemoryLog, _codec, copy, open_log, verify
from jaxhp.testing import check_log


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/log.db"


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def log(request, url):
    if request.param == "postgres":
        url = request.getfixturevalue("postgres").new()
    log = open_log(None if request.param == "memory" else url)
    yield log
    log.close()


def tell(i):
    return {"kind": "tell", "number": i}


def numbers(records):
    return [record["number"] for record in records]


# laws


def test_a_memory_log_keeps_the_laws():
    check_log(MemoryLog)


def test_an_sqlite_log_keeps_the_laws(tmp_path):
    urls = (f"sqlite:///{tmp_path}/{i}.db" for i in range(100))
    check_log(lambda: open_log(next(urls)), lambda log: open_log(log.url))


def test_a_postgres_log_keeps_the_laws(postgres):
    check_log(lambda: open_log(postgres.new()), lambda log: open_log(log.url))


def test_all_are_logs(log):
    assert isinstance(log, Log)
    assert open_log(log) is log


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["\ud800", "\x00", "'; DROP TABLE records; --"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
RECORDS = st.lists(st.builds(lambda value: {"kind": "tell", "value": value}, JSON), max_size=4)
NAMES = st.sampled_from(["s", "S", "s ", "\u03bb", "Robert'); DROP TABLE studies;--", "%", ""])


def plain(value):
    """What a log gives back of a value, NaN and the infinities as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list):
        return [plain(v) for v in value]
    return {k: plain(v) for k, v in value.items()} if isinstance(value, dict) else value


class LogsAgainstLists(RuleBasedStateMachine):
    """The same history over a memory log, two handles on one database, and a dict of lists."""

    def __init__(self, empty_database):
        super().__init__()
        self.url = empty_database()
        self.memory, self.handles, self.model = MemoryLog(), [open_log(self.url), open_log(self.url)], {}

    def logs(self, handle):
        return [self.memory, self.handles[handle]]

    @rule(study=NAMES, records=RECORDS, at=st.none() | st.integers(0, 8), handle=st.integers(0, 1))
    def append(self, study, records, at, handle):
        expected = self.model.get(study, [])
        for log in self.logs(handle):
            if at is not None and at != len(expected):
                with pytest.raises(LogConflict, match="another writer was first"):
                    log.append(study, records, at=at)
            else:
                assert log.append(study, records, at=at) == len(expected) + len(records)
        if at in (None, len(expected)) and records:
            self.model[study] = expected + plain(records)

    @rule(study=NAMES, record=RECORDS.filter(bool), handle=st.integers(0, 1))
    def claim(self, study, record, handle):
        self.append(study, record[:1], len(self.model.get(study, [])), handle)

    @rule(study=NAMES, since=st.integers(0, 8), handle=st.integers(0, 1))
    def read(self, study, since, handle):
        for log in self.logs(handle):
            assert plain(log.read(study, since)) == self.model.get(study, [])[since:]

    @rule(handle=st.integers(0, 1))
    def names(self, handle):
        for log in self.logs(handle):
            assert log.studies() == list(self.model)

    @rule(study=NAMES)
    def delete(self, study):
        self.memory.delete(study)
        self.handles[0].delete(study)
        self.handles[1].read(study)  # opens it anew
        self.model.pop(study, None)

    @rule(handle=st.integers(0, 1))
    def reopen(self, handle):
        self.handles[handle].close()
        self.handles[handle] = open_log(self.url)

    def teardown(self):
        for log in self.handles:
            log.close()


def test_sqlite_logs_agree_with_lists(tmp_path):
    urls = (f"sqlite:///{tmp_path}/{i}.db" for i in count())
    run_state_machine_as_test(lambda: LogsAgainstLists(lambda: next(urls)), settings=settings(max_examples=30, stateful_step_count=25))


def test_postgres_logs_agree_with_lists(postgres):
    def emptied():
        postgres.take_back()
        return postgres.new()

    run_state_machine_as_test(lambda: LogsAgainstLists(emptied), settings=settings(max_examples=30, stateful_step_count=25))


@given(JSON)
def test_the_codec_gives_back_what_it_was_given(value):
    assert _codec.loads(_codec.dumps({"value": value}).encode()) == {"value": plain(value)}


@given(st.binary(max_size=40), st.integers(0, 2**31), st.data())
def test_a_changed_bit_or_position_changes_the_checksum(body, seq, data):
    written = _codec.checksum(seq, body)
    assert _codec.checksum(seq + 1, body) != written
    if body:
        bit = data.draw(st.integers(0, 8 * len(body) - 1))
        changed = bytes(b ^ (1 << bit % 8 if i == bit // 8 else 0) for i, b in enumerate(body))
        assert _codec.checksum(seq, changed) != written


@pytest.mark.parametrize(
    "value",
    [10**4000, -(2**200), "x" * 1_000_000, [[[[["deep"]]]]], {"'; DROP TABLE records; --": "\u0000"}],
    ids=["huge", "negative", "megabyte", "deep", "hostile"],
)
def test_large_and_odd_values_come_back(log, value):
    log.append("s", [{"kind": "tell", "value": value}])
    assert log.read("s") == [{"kind": "tell", "value": value}]


def test_deep_records_come_back_or_are_refused(url):
    def nested(depth):
        value = []
        for _ in range(depth):
            value = [value]
        return {"kind": "tell", "value": value}

    log = open_log(url)
    log.append("s", [nested(200)])
    with pytest.raises(StorageError, match="holds what JSON cannot"):
        log.append("s", [nested(200_000)])
    assert log.read("s") == [nested(200)]
    log.close()


@pytest.mark.parametrize("value", [{1, 2}, 1j, object(), b"bytes", 10**5000], ids=["set", "complex", "object", "bytes", "digits"])
def test_what_json_cannot_hold_is_refused_and_nothing_is_written(url, value):
    log = open_log(url)
    with pytest.raises(StorageError, match="holds what JSON cannot"):
        log.append("s", [tell(0), {"kind": "tell", "value": value}])
    assert log.read("s") == [] and log.studies() == []
    log.close()


def test_names_are_data(log):
    names = ["Robert'); DROP TABLE studies;--", "%", "%s %(id)s :id", "_", "\u03bb\U0001f680", "a\nb", "x" * 2_000]
    if not log.url.startswith("postgresql"):  # which keeps no NUL in a text, and indexes none of megabytes
        names += ["a\x00b", "x" * 10_000]
    for i, name in enumerate(names):
        log.append(name, [tell(i)], at=0)
    assert log.studies() == names
    assert [numbers(log.read(name)) for name in names] == [[i] for i in range(len(names))]


def test_a_name_that_is_not_unicode_is_refused(url):
    log = open_log(url)
    with pytest.raises(StorageError, match="not valid Unicode"):
        log.append("\ud800", [tell(0)])
    log.close()


def test_of_many_threads_who_create_one_study_one_wins(log):
    barrier, won = threading.Barrier(8), []

    def create(i):
        barrier.wait()
        try:
            log.append("s", [tell(i)], at=0)
            won.append(i)
        except LogConflict:
            pass

    threads = [threading.Thread(target=create, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers(log.read("s")) == won and len(won) == 1


# doors


def test_an_empty_file_becomes_a_log(url, tmp_path):
    (tmp_path / "log.db").touch()
    log = open_log(url)
    assert log.append("s", [tell(0)], at=0) == 1
    log.close()


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("study.db", "for this file write 'sqlite:///study.db'"),
        (Path("/data/study.db"), "for this file write 'sqlite:////data/study.db'"),
        ("mongodb://host/db", "expected None (memory), 'sqlite:///file.db', 'postgresql://user@host/database' or a log"),
        ("postgresql+asyncpg://host/db", "expected None (memory)"),
        ("postgresql://host:port/db", "this URL cannot be read"),
        ("sqlite://", "expected None (memory)"),
        ("sqlite:///", "name a file"),
        ("sqlite:///:memory:", "use storage=None"),
        ("sqlite:////no/such/folder/study.db", "the folder /no/such/folder does not exist; create it first"),
        ("sqlite:////tmp", "check that it is a file"),
        ("sqlite:////tmp/a\x00.db", "no file's name holds NUL"),
        (MemoryLog, "got <class"),
        (7, "got 7"),
    ],
)
def test_a_storage_that_cannot_be_is_refused_with_a_remedy(storage, message):
    with pytest.raises(StorageError) as raised:
        open_log(storage)
    assert message in str(raised.value)


def test_without_sqlalchemy_the_extra_is_named(monkeypatch, url):
    for module in ("_sql", "_sqlite", "_tables"):
        monkeypatch.delitem(sys.modules, f"jaxhp.storage.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(MissingExtra, match=r'pip install "jaxhp\[sql\]"'):
        open_log(url)


def test_a_closed_log_says_so_and_closes_twice(url):
    log = open_log(url)
    log.append("s", [tell(0)])
    log.close()
    log.close()
    with pytest.raises(StorageError, match="this log was closed; open it again"):
        log.append("s", [tell(1)])
    with pytest.raises(StorageError, match="this log was closed"):
        log.read("s")
    assert numbers(open_log(url).read("s")) == [0]


def test_a_log_stays_with_its_file_when_the_process_changes_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = open_log("sqlite:///here.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    log._disconnect()  # as a fork does
    log.append("s", [tell(0)])
    assert not (tmp_path / "elsewhere" / "here.db").exists()
    assert numbers(open_log(f"sqlite:///{tmp_path}/here.db").read("s")) == [0]
    log.close()


def test_a_memory_log_costs_no_copy():
    log, record = MemoryLog(), tell(0)
    log.append("s", [record])
    assert log.read("s")[0] is record


def test_what_is_to_be_there_already_is_not_made(tmp_path):
    url = f"sqlite:///{tmp_path}/typo.db"
    for reading in (lambda: jaxhp.Study.open(url), lambda: verify(url), lambda: copy(url, MemoryLog())):
        with pytest.raises(StorageError, match=r"typo\.db: there is no such file; check the path"):
            reading()
    for nothing in (lambda: jaxhp.Study.open(None), lambda: verify(None), lambda: copy(None, url), lambda: copy(MemoryLog(), None)):
        with pytest.raises(StorageError, match="None is a new memory"):
            nothing()
    assert list(tmp_path.iterdir()) == []
