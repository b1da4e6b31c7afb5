"""Snapshots are caches: with one, without, with a damaged or a foreign one, every study goes on alike, bit for bit."""

from __future__ import annotations

import io
import os
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_laws import SAMPLERS

import jaxhp
from jaxhp import Categorical, Float, Int, Space, Study
from jaxhp._memo import MOST, Memo, recalled
from jaxhp.errors import StorageError
from jaxhp.storage import _snapshot, open_log
from jaxhp.storage._snapshot import dumps, loads

SPACE = Space({"x": Float(-1.0, 1.0), "y": Float(1e-3, 1.0, log=True), "n": Int(1, 9), "c": Categorical(["a", "b"])})


def loss(trial: Any) -> float:
    return (trial["x"] - 0.2) ** 2 + trial["y"] + 0.1 * (trial["c"] == "a") + 0.01 * trial["n"]


def url(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots are written whenever anything is new."""
    monkeypatch.setattr(_snapshot, "WORTH", 1e-9)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A study of `bayes` with a snapshot, and what it suggests next."""
    path = tmp_path_factory.mktemp("told") / "s.db"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_snapshot, "WORTH", 1e-9)
        Study(SPACE, sampler=jaxhp.bayes(), storage=url(path), seed=3).optimize(loss, trials=30)
        body = snapshot_of(path)
        assert body is not None
        database = path.read_bytes()
        return SimpleNamespace(database=database, body=body, following=following(path))


def copy(told: SimpleNamespace, path: Path) -> Path:
    path.write_bytes(told.database)
    return path


def snapshot_of(path: Path) -> bytes | None:
    """The snapshot in a file; everything is moved from the write-ahead log to it on the way."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'snapshots'").fetchone():
            return None
        row = connection.execute("SELECT body FROM snapshots").fetchone()
    return None if row is None else row[0]


def replace(path: Path, body: Any) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM snapshots")
        if body is not None:
            connection.execute("INSERT INTO snapshots VALUES (1, ?)", (body,))


def following(path: Path, sampler: Any = None, trials: int = 3) -> list[list[float]]:
    """The next suggestions of a study, told as they come."""
    study = Study(SPACE, sampler=sampler or jaxhp.bayes(), storage=url(path), seed=3)
    points = []
    for _ in range(trials):
        trial = study.ask()
        points.append([-1.0 if v != v else v for v in trial.u.tolist()])
        study.tell(trial, loss(trial))
    study._log.close()
    return points


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The iterations of each fit from now on."""
    from jaxhp.gp import _surrogate

    fits: list[int] = []
    fit = _surrogate.fit
    monkeypatch.setattr(_surrogate, "fit", lambda *arguments: (fits.append(arguments[5]), fit(*arguments))[1])
    return fits


def test_a_study_is_opened_without_old_fits_and_goes_on_alike(told, tmp_path, monkeypatch):
    path = copy(told, tmp_path / "s.db")
    replace(path, None)
    fits = counted(monkeypatch)
    assert following(path, trials=1) == told.following[:1]
    assert len(fits) >= 8
    again = copy(told, tmp_path / "again.db")
    before = len(fits)
    assert following(again, trials=1) == told.following[:1]
    assert len(fits) - before <= 1  # the last results came after the last suggestion


def test_deleting_a_snapshot_changes_nothing(told, tmp_path):
    path = copy(told, tmp_path / "s.db")
    replace(path, None)
    assert following(path) == told.following
    assert loads(snapshot_of(path)).keys() >= loads(told.body).keys()


@pytest.mark.parametrize("name", [name for name in SAMPLERS if not name.startswith("bayes_l")])
def test_every_sampler_goes_on_alike_with_and_without(name, tmp_path):
    sampler = SAMPLERS[name]()
    study = Study(SPACE, sampler=sampler, storage=url(tmp_path / "s.db"), seed=3)
    study.optimize(loss, trials=16)
    study._log.close()
    body = snapshot_of(tmp_path / "s.db")
    (tmp_path / "t.db").write_bytes((tmp_path / "s.db").read_bytes())
    if body is not None:
        replace(tmp_path / "t.db", None)
    assert (body is not None) == (name in {"auto", "all"} or name.startswith("bayes"))
    assert following(tmp_path / "s.db", sampler) == following(tmp_path / "t.db", sampler)


def test_trials_that_stop_early_or_are_paused_are_told_alike(tmp_path):
    """Rows that are brought to the end, and revised, are other arguments of a fit, not other rules."""

    def trained(trial: Any) -> float:
        for step in range(1, 10):
            if trial.report(step, loss(trial) + 1.0 / step):
                break
        return loss(trial)

    arguments = {"sampler": jaxhp.bayes(), "scheduler": jaxhp.asha(eta=3, min_steps=1), "seed": 3}
    study = Study(SPACE, storage=url(tmp_path / "s.db"), **arguments)
    study.optimize(trained, trials=24)
    study._log.close()
    assert snapshot_of(tmp_path / "s.db") is not None
    (tmp_path / "t.db").write_bytes((tmp_path / "s.db").read_bytes())
    replace(tmp_path / "t.db", None)
    assert following(tmp_path / "s.db") == following(tmp_path / "t.db")


def test_lanes_go_on_alike(tmp_path):
    tiny = pytest.importorskip("tiny")

    def train(path: Path, trials: int) -> Any:
        study = Study(tiny.RATES, sampler=jaxhp.bayes(), metric="loss", storage=url(path), seed=3)
        study.train(tiny.bowl(), trials=trials, steps=9, lanes=2, scheduler=jaxhp.asha(eta=3, min_steps=1), checkpoint=None)
        rows = study.trials
        study._log.close()
        return rows

    train(tmp_path / "s.db", 14)
    assert snapshot_of(tmp_path / "s.db") is not None
    (tmp_path / "t.db").write_bytes((tmp_path / "s.db").read_bytes())
    replace(tmp_path / "t.db", None)
    one, other = train(tmp_path / "s.db", 20), train(tmp_path / "t.db", 20)
    for name in ("number", "u", "y", "status", "fidelity"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


# what is damaged, forged or of something else


def test_a_snapshot_cut_or_altered_anywhere_is_refused_or_whole(told):
    known = loads(told.body)
    for k in range(0, len(told.body), 7):
        with pytest.raises(ValueError, match="it is no snapshot"):
            loads(told.body[:k])
        altered = bytearray(told.body)
        altered[k] ^= 0x41
        try:
            found = loads(bytes(altered))
        except ValueError:
            continue
        assert found.keys() == known.keys() and all(np.array_equal(found[key], known[key]) for key in known)


class Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, (str(Path("pwned").absolute()),)


def archive(compressed: bool = False, **arrays: Any) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


def lying_header() -> bytes:
    """A member whose header promises a terabyte."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        for name, dtype in (("digests", "|u1"), ("ends", "<i8"), ("values", "<f8")):
            text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({1 << 40},), }}".ljust(117) + "\n"
            out.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode())
    return file.getvalue()


DIGESTS, ENDS, VALUES = np.zeros((2, 32), np.uint8), np.array([1, 3]), np.ones(3)
FORGED = {
    "pickle": archive(digests=np.array([Bomb()], dtype=object), ends=ENDS, values=VALUES),
    "compressed": archive(True, digests=DIGESTS, ends=ENDS, values=np.ones(1 << 20)),
    "a terabyte": lying_header(),
    "other arrays": archive(weights=VALUES),
    "one more array": archive(digests=DIGESTS, ends=ENDS, values=VALUES, more=VALUES),
    "complex": archive(digests=DIGESTS, ends=ENDS, values=VALUES.astype(complex)),
    "one digest": archive(digests=DIGESTS[:1], ends=ENDS, values=VALUES),
    "short digests": archive(digests=DIGESTS[:, :8], ends=ENDS, values=VALUES),
    "ends that fall": archive(digests=DIGESTS, ends=ENDS[::-1].copy(), values=VALUES),
    "ends beyond": archive(digests=DIGESTS, ends=ENDS + 1, values=VALUES),
    "ends that wrap": archive(digests=DIGESTS, ends=np.array([np.iinfo(np.int64).min, 3]), values=VALUES),
    "text": "text",
    "an integer": 1 << 40,
    "empty": b"",
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_snapshot_is_left_aside_with_a_warning_and_replaced(name, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = copy(told, tmp_path / "s.db")
    replace(path, FORGED[name])
    with pytest.warns(UserWarning, match="the snapshot of study 'study' was left aside: it.*only a cache"):
        assert following(path, trials=1) == told.following[:1]
    assert not (tmp_path / "pwned").exists()
    assert loads(snapshot_of(path)).keys() >= loads(told.body).keys()


def test_a_snapshot_beyond_all_measure_is_not_read(told, tmp_path, monkeypatch):
    monkeypatch.setattr(_snapshot, "LARGEST", 100)
    fits = counted(monkeypatch)
    assert following(copy(told, tmp_path / "s.db"), trials=1) == told.following[:1]
    assert len(fits) >= 8


def test_a_table_of_other_columns_is_left_aside(told, tmp_path):
    path = copy(told, tmp_path / "s.db")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE snapshots")
        connection.execute("CREATE TABLE snapshots (something TEXT)")
    with pytest.warns(UserWarning) as seen:
        assert following(path) == told.following
    assert [("left aside" in str(w.message), "cannot be written" in str(w.message)) for w in seen] == [(True, False), (False, True)]


@pytest.mark.parametrize("values", [np.full(6, np.nan), np.zeros(6), np.ones(5), np.full(6, -1.0)])
def test_results_that_cannot_be_are_computed_again(values, told, tmp_path):
    path = copy(told, tmp_path / "s.db")
    replace(path, dumps(dict.fromkeys(loads(told.body), values)))
    assert following(path) == told.following


def test_the_snapshot_of_another_seed_space_or_log_finds_no_use(told, tmp_path):
    for i, (space, seed) in enumerate([(SPACE, 4), (Space({"z": Float(0.0, 1.0)}), 3)]):
        path = tmp_path / f"{i}.db"
        study = Study(space, sampler=jaxhp.bayes(), storage=url(path), seed=seed)
        study.optimize(loss if space is SPACE else lambda trial: trial["z"], trials=12)
        study._log.close()
        foreign = copy(told, tmp_path / f"foreign{i}.db")
        replace(foreign, snapshot_of(path))
        assert following(foreign) == told.following


def test_the_snapshot_of_another_version_or_instruction_set_finds_no_use(told, tmp_path, monkeypatch):
    for i, (name, other) in enumerate([("__version__", "0.0.0"), ("isa", lambda: "other")]):
        path = copy(told, tmp_path / f"{i}.db")
        with monkeypatch.context() as patched:
            patched.setattr(f"jaxhp._memo.{name}", other)
            fits = counted(patched)
            assert following(path, trials=1) == told.following[:1]
            assert len(fits) >= 8


# writing


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # other tests may have loaded JAX
def test_many_processes_write_and_read_one_snapshot(told, tmp_path):
    path = copy(told, tmp_path / "s.db")
    bodies = [dumps({bytes([i]) * 32: np.full(1 + 200 * i, float(i))}) for i in range(4)]
    children = []
    for body in bodies:
        pid = os.fork()
        if not pid:
            log = open_log(url(path))
            for _ in range(25):
                log.keep("study", body)
                if log.kept("study", 1 << 20) not in bodies:
                    os._exit(1)
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    replace(path, told.body)
    assert following(path) == told.following


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # other tests may have loaded JAX
def test_a_fork_goes_on_with_the_memo_of_its_parent(told, tmp_path):
    path = copy(told, tmp_path / "s.db")
    study = Study(SPACE, sampler=jaxhp.bayes(), storage=url(path), seed=3)
    study.tell(study.ask(), 0.5)
    pid = os.fork()
    if not pid:
        study.tell(study.ask(), 0.4)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    study.tell(study.ask(), 0.3)
    study._log.close()
    assert len(jaxhp.Study.open(url(path)).finished) == 33
    assert loads(snapshot_of(path)).keys() >= loads(told.body).keys()


def test_a_snapshot_that_cannot_be_written_is_told_once(told, tmp_path, monkeypatch):
    path = copy(told, tmp_path / "s.db")
    replace(path, None)

    def full(*_: Any) -> None:
        raise StorageError("the disk is full")

    log = open_log(url(path))
    monkeypatch.setattr(type(log), "keep", full)  # by its name it may be another class: a test without SQLAlchemy imports modules anew
    log.close()
    with pytest.warns(UserWarning, match="cannot be written: the disk is full") as seen:
        assert following(path) == told.following
    assert len(seen) == 1


def test_it_is_written_when_enough_was_computed(told, tmp_path, monkeypatch):
    path = copy(told, tmp_path / "s.db")
    replace(path, None)
    monkeypatch.setattr(_snapshot, "WORTH", 1e9)
    following(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute("SELECT count(*) FROM snapshots").fetchone() == (0,)


def test_deleting_a_study_deletes_its_snapshot(told, tmp_path):
    path = copy(told, tmp_path / "s.db")
    log = open_log(url(path))
    log.delete("study")
    log.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute("SELECT count(*) FROM snapshots").fetchone() == (0,)


def test_a_server_keeps_snapshots_too(told, postgres):
    log = open_log(postgres.new())
    source = jaxhp.storage.MemoryLog()
    study = Study(SPACE, sampler=jaxhp.bayes(), storage=source, seed=3)
    study.optimize(loss, trials=30)
    log.append("study", source.read("study"), at=0)
    assert log.kept("study", 1 << 20) is None and log.first("study") == source.read("study")[0]
    suggested = Study(SPACE, sampler=jaxhp.bayes(), storage=log, seed=3).ask()
    assert loads(log.kept("study", 1 << 20)).keys() >= loads(told.body).keys()
    assert log.kept("study", 10) is None and log.kept("none", 10) is None
    assert [-1.0 if v != v else v for v in suggested.u.tolist()] == told.following[0]
    log.delete("study")
    log.close()


# the memo


def test_a_memo_forgets_the_oldest():
    memo = Memo()
    for i in range(MOST + 5):
        memo.add(i.to_bytes(32, "big"), np.ones(1), 0.0)
    assert len(memo.known) == MOST and (4).to_bytes(32, "big") not in memo.known
    assert len(loads(dumps(memo.known))) == MOST and loads(dumps({})) == {}


def test_a_result_is_its_arguments_alone():
    memo = Memo()

    def answer(value: float, *arguments: Any, what: str = "f") -> float:
        return float(recalled(what, arguments, lambda: np.array([value]), lambda found: True)[0])

    with memo.used():
        a = np.arange(6.0)
        assert answer(1.0, a, 3) == answer(2.0, a.copy(), 3) == 1.0
        others = [(a.reshape(2, 3), 3), (a, 4), (a, 3.0), (a, None), (a.astype(np.float32), 3), (-a, 3), (a,), (a[::-1], 3)]
        assert [answer(3.0 + i, *other) for i, other in enumerate(others)] == [3.0 + i for i in range(len(others))]
        assert answer(2.0, a, 3, what="g") == 2.0
        recalled("f", (a, 3), lambda: np.zeros(1), lambda found: True)[0] = 9.0
        assert answer(2.0, a, 3) == 1.0
    assert answer(2.0, a, 3) == 2.0  # no memo is in use
