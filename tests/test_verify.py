"""Whole logs: `jaxhp verify` finds every damage and repairs a torn tail, `jaxhp copy` takes studies elsewhere, `jaxhp log` prints them."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import jaxhp
from jaxhp.cli import app
from jaxhp.errors import StorageError, StudyError
from jaxhp.storage import MemoryLog, _codec, copy, open_log, verify

SPACE = jaxhp.Space({"x": jaxhp.Float(0.0, 1.0), "n": jaxhp.Int(1, 4)})


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def searched(storage: Any, trials: int = 6, **more: Any) -> jaxhp.Study:
    study = jaxhp.Study(SPACE, storage=storage, sampler=jaxhp.sobol(), metric="loss", **more)
    return study.optimize(lambda trial: trial["x"] + trial["n"], trials=trials)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A closed database of one study of 13 records."""
    path = tmp_path / "log.db"
    searched(f"sqlite:///{path}")._log.close()
    return path


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Where a study may be."""
    urls = {"memory": MemoryLog, "sqlite": lambda: f"sqlite:///{tmp_path}/home.db"}
    yield (urls[request.param] if request.param in urls else request.getfixturevalue("postgres").new)()


def edit(path: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement, values)
    connection.close()


def rows(path: Path, table: str = "records") -> list[Any]:
    connection = sqlite3.connect(path)
    found = connection.execute(f"SELECT seq, body, checksum FROM {table} ORDER BY seq").fetchall()
    connection.close()
    return found


def forge(path: Path, seq: int, **changes: Any) -> None:
    """A record that its checksum fits."""
    body = json.dumps(json.loads(rows(path)[seq][1]) | changes)
    edit(path, "UPDATE records SET body = ?, checksum = ? WHERE seq = ?", body, _codec.checksum(seq, body.encode()), seq)


# verify


def test_a_whole_study_is_ok_in_every_home(home: Any) -> None:
    searched(home, retry=1).ask()
    found = verify(home)
    assert found.ok and found.faults == ()
    (study,) = found.studies
    assert (study.records, study.asked, study.told, study.faults, study.notes) == (14, 7, 6, (), ("1 trials run: 6",))
    assert str(found) == "'study': 14 records, 7 trials asked, 6 told: ok\n  note: 1 trials run: 6"


def test_what_is_worth_knowing_is_noted() -> None:
    log = MemoryLog()
    study = jaxhp.Study(SPACE.where(lambda p: p["n"] < 4, name="few"), storage=log, sampler=jaxhp.sobol())
    study.release(study.ask())
    study.pause()
    (found,) = verify(log).studies
    assert found.faults == ()
    assert found.notes == (
        "constraints that are functions are not in the log, and were not checked: 'few'",
        "1 trials wait to be run again",
        "paused",
    )


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        (
            "UPDATE records SET body = replace(body, 'complete', 'stopped ') WHERE seq = 4",
            "record 4 does not match its checksum; what is left",
        ),
        ("UPDATE records SET checksum = checksum + 1 WHERE seq = 0", "record 0 does not match its checksum"),
        ("UPDATE records SET body = x'ff00' WHERE seq = 2", "record 2 does not match its checksum"),
        ("UPDATE records SET body = 7 WHERE seq = 2", "record 2 does not match its checksum"),
        ("DELETE FROM records WHERE seq = 4", "records 4 to 4 are missing"),
        ("DELETE FROM records WHERE seq < 3", "records 0 to 2 are missing"),
        ("DELETE FROM records", "it has no records, not even the one that every study begins with"),
    ],
)
def test_damage_in_the_middle_is_named_and_never_touched(file: Path, statement: str, fault: str) -> None:
    edit(file, statement)
    before = rows(file)
    for options in ([], ["--repair"]):
        done = run("verify", file, *options)
        assert done.exit_code == 1 and fault in done.output, done.output
    assert rows(file) == before


@pytest.mark.parametrize(
    ("seq", "changes", "fault"),
    [
        (0, {"kind": "tell"}, "record 0 is of kind 'tell', not the study"),
        (3, {"number": 4}, r"record 3 (ask) cannot be: it asks trial 4, but 1 comes next"),
        (3, {"u": [0.3, 0.2]}, "record 3 (ask) cannot be: u is"),
        (4, {"number": 5}, "record 4 (tell) cannot be: trial 5 was never asked (2 are)"),
        (4, {"lease": 3}, "record 4 (tell) names grant 3 of trial 1, which was never given"),
        (6, {"kind": "future"}, "record 6 has the unknown kind 'future'"),
    ],
)
def test_a_forged_record_is_named(file: Path, seq: int, changes: dict[str, Any], fault: str) -> None:
    forge(file, seq, **changes)
    done = run("verify", file)
    assert done.exit_code == 1 and fault in done.output, done.output


def test_a_trial_that_breaks_a_logged_constraint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    study = jaxhp.Study(SPACE.where("x + n <= 4.5"), storage=f"sqlite:///{path}", sampler=jaxhp.sobol())
    study.ask()
    study._log.close()
    forge(path, 1, u=[0.75, 0.875])
    assert verify(f"sqlite:///{path}").studies[0].faults == ("trial 0 breaks the constraint 'x + n <= 4.5'",)


def test_the_databases_own_check_is_asked(file: Path) -> None:
    edit(file, "INSERT INTO leases VALUES (77, 'nobody', 3)")
    done = run("verify", file)
    assert done.exit_code == 1 and "1 rows of leases belong to no study" in done.output


def test_a_damaged_page_is_an_error_and_what_can_be_read_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    log = open_log(f"sqlite:///{path}")
    log.append("study", searched(None, 150)._log.read("study"))
    log.close()
    whole = path.read_bytes()
    at = whole.index(b'"number":100,') // 4096 * 4096
    path.write_bytes(whole[:at] + b"\xa5" * 4096 + whole[at + 4096 :])
    done = run("verify", path)
    assert done.exit_code == 1 and "malformed; the file is damaged" in done.output, done.output
    path.write_bytes(whole[:100] + b"\xa5" * 3996 + whole[4096:])  # the page that says where everything is
    assert run("verify", path).exit_code == 1


def test_all_studies_are_checked_or_the_one_named(file: Path) -> None:
    searched(f"sqlite:///{file}", name="other")._log.close()
    edit(file, "UPDATE records SET checksum = 0 WHERE study_id = 1 AND seq = 3")
    assert run("verify", file).output.count("records, ") == 2 and run("verify", file).exit_code == 1
    done = run("verify", file, "--study", "other")
    assert done.exit_code == 0 and done.output.startswith("'other': 13 records, 6 trials asked, 6 told: ok")


def test_bad_usage_is_told_from_damage(tmp_path: Path, file: Path) -> None:
    assert run("verify", tmp_path / "none.db").exit_code == 2
    assert run("verify", file, "--study", "nobody").exit_code == 2
    assert run("verify").exit_code == 2
    with pytest.raises(StorageError, match="None is a new memory"):
        verify(None)  # type: ignore[arg-type]
    with pytest.raises(StudyError, match="there is no study 'nobody'"):
        verify(f"sqlite:///{file}", "nobody")


# a torn tail


def test_a_last_record_torn_at_any_byte_is_set_aside_and_the_study_goes_on(tmp_path: Path) -> None:
    whole = tmp_path / "whole.db"
    searched(f"sqlite:///{whole}")._log.close()
    length, straight = len(rows(whole)[12][1]), searched(None, 8)
    for cut in range(length):
        path = tmp_path / f"{cut}.db"
        path.write_bytes(whole.read_bytes())
        edit(path, "UPDATE records SET body = substr(body, 1, ?) WHERE seq = 12", cut)
        torn = rows(path)[12:]
        if cut % 24 == 0:  # through the command, and everything that follows
            shown = run("log", path)
            assert (
                shown.exit_code == 1
                and len(shown.stdout.splitlines()) == 12
                and "record 12 of study 'study' does not match" in shown.output
            )
            done = run("verify", path, "--repair")
            assert done.exit_code == 0, done.output
            assert "record 12 was moved to the table `damaged`; it does not match its checksum" in done.output
            assert ("the result of trial 5 is lost" in done.output) == (cut >= len('{"kind":"tell","number":5,'))
            study = jaxhp.Study.open(f"sqlite:///{path}", sampler=jaxhp.sobol())
            study.release(5)  # its owner is this process, which lives
            study.optimize(lambda trial: trial["x"] + trial["n"], trials=8)
            assert [t.value for t in study.finished] == [t.value for t in straight.finished]
            study._log.close()
        else:
            found = verify(f"sqlite:///{path}", repair=True)
            assert found.ok and found.studies[0].records == 12 and found.studies[0].told == 5
        assert rows(path, "damaged") == torn and rows(path)[:12] == rows(whole)[:12]


def test_a_study_in_use_is_repaired_by_force_only(file: Path) -> None:
    code = "import sys, jaxhp; jaxhp.Study.open(sys.argv[1]).ask(); print(flush=True); sys.stdin.read()"
    environment = os.environ | {"PYTHONPATH": str(Path(jaxhp.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", code, f"sqlite:///{file}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        jaxhp.Study.open(f"sqlite:///{file}").stop()
        edit(file, "UPDATE records SET body = substr(body, 1, 9) WHERE seq = 14")
        refused = run("verify", file, "--repair")
        assert refused.exit_code == 2 and "its trials run in" in refused.output and "end these processes" in refused.output
        assert len(rows(file)) == 15
        assert run("verify", file, "--repair", "--force").exit_code == 0 and len(rows(file)) == 14
    edit(file, "UPDATE records SET checksum = 0 WHERE seq = 13")
    assert run("verify", file, "--repair").exit_code == 0


def test_several_torn_records_are_set_aside_and_named_one_by_one(file: Path) -> None:
    edit(file, "UPDATE records SET body = substr(body, 1, 30) WHERE seq >= 9")
    edit(file, "DELETE FROM records WHERE seq = 10")
    (found,) = verify(f"sqlite:///{file}").studies
    assert found.torn == 9 and len(found.faults) == 4
    done = verify(f"sqlite:///{file}", repair=True)
    assert done.ok and [re.match(r"record (\d+) was moved", line)[1] for line in done.studies[0].repaired] == ["9", "11", "12"]  # type: ignore[index]
    assert "trial 4 was never asked now" in done.studies[0].repaired[0]
    assert [row[0] for row in rows(file, "damaged")] == [9, 11, 12]
    assert [row[0] for row in rows(file)] == list(range(9))


def test_a_study_of_which_nothing_is_left_is_not_emptied(file: Path) -> None:
    edit(file, "UPDATE records SET checksum = 0")
    done = verify(f"sqlite:///{file}", repair=True)
    assert not done.ok and done.studies[0].repaired == () and len(rows(file)) == 13


def test_a_torn_tail_in_postgres_is_set_aside(postgres: Any) -> None:
    url = postgres.new()
    log = searched(url)._log
    database = url.partition("@/")[2].partition("?")[0]
    postgres.run("UPDATE jaxhp.records SET body = substr(body, 1, 40) WHERE seq = 12", database=database)
    assert not verify(log).ok
    assert verify(url, repair=True).ok
    assert postgres.run("SELECT study, seq, length(body) FROM jaxhp.damaged", database=database) == [("study", 12, 40)]
    assert [t.number for t in jaxhp.Study.open(url).running] == [5]


# copy


@pytest.mark.parametrize("way", ["to", "from"])
def test_a_study_moves_between_all_homes_and_goes_on_the_same(home: Any, tmp_path: Path, way: str) -> None:
    file = f"sqlite:///{tmp_path}/other.db"
    source, target = (file, home) if way == "to" else (home, file)
    searched(source)
    done = copy(source, target)
    assert done.records == 13 and done.since == 0
    assert open_log(target).read("study") == open_log(source).read("study")
    assert copy(source, target) == done  # again: it is there already
    straight = searched(None, 9)
    assert [t.params for t in searched(target, 9).finished] == [t.params for t in straight.finished]
    with pytest.raises(StudyError, match=r"holds another study 'study', different from record 13 on; it was left alone"):
        copy(source, target)
    assert len(open_log(target).read("study")) == 19
    assert copy(source, target, to="again").name == "again"


def test_a_copy_overwrites_nothing_and_says_what_it_did(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    searched(f"sqlite:///{other}", seed=1)._log.close()
    done = run("copy", file, other)
    assert done.exit_code == 2 and "holds another study 'study', different from record 0 on" in done.output
    done = run("copy", file, other, "--to", "mine")
    assert done.exit_code == 0 and done.output.startswith("'mine': 13 records copied from sqlite:///") and "and compared" in done.output
    assert run("copy", other, tmp_path / "new.db").exit_code == 2  # which of the two?
    assert run("copy", tmp_path / "none.db", other).exit_code == 2


def test_a_damaged_study_is_not_copied(file: Path, tmp_path: Path) -> None:
    edit(file, "UPDATE records SET checksum = 0 WHERE seq = 5")
    with pytest.raises(StorageError, match="record 5 of study 'study' does not match its checksum"):
        copy(f"sqlite:///{file}", f"sqlite:///{tmp_path}/new.db")
    assert open_log(f"sqlite:///{tmp_path}/new.db").studies() == []


KILLED = """
import os, signal, sys
import sqlalchemy as sa
from jaxhp.storage import copy, open_log

@sa.event.listens_for(sa.Engine, "before_cursor_execute")
def before(connection, cursor, statement, parameters, context, many):
    if statement == "COMMIT" and many is False and os.path.exists(sys.argv[2] + ".armed"):
        os.kill(os.getpid(), signal.SIGKILL)

open_log(f"sqlite:///{sys.argv[2]}")
open(sys.argv[2] + ".armed", "w").close()
copy(f"sqlite:///{sys.argv[1]}", f"sqlite:///{sys.argv[2]}")
"""


def test_a_copy_that_is_killed_is_not_there_at_all(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "new.db"
    assert subprocess.run([sys.executable, "-c", KILLED, str(file), str(target)], cwd=Path(jaxhp.__file__).parents[1]).returncode == -9
    assert open_log(f"sqlite:///{target}").studies() == []
    assert copy(f"sqlite:///{file}", f"sqlite:///{target}").records == 13


def test_what_comes_to_the_source_meanwhile_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = MemoryLog(), MemoryLog()
    study = searched(source)
    append = target.append
    monkeypatch.setattr(target, "append", lambda *a, **k: study.ask() and append(*a, **k))
    done = copy(source, target)
    assert (done.records, done.since) == (13, 1) and "1 more came to the source meanwhile" in str(done)


def test_a_study_is_not_copied_onto_itself(tmp_path: Path) -> None:
    log = MemoryLog()
    searched(log)
    with pytest.raises(StudyError, match="onto itself"):
        copy(log, log)
    url = f"sqlite:///{tmp_path}/a.db"
    copy(log, url)
    with pytest.raises(StudyError, match="onto itself"):
        copy(url, url)
    with pytest.raises(StudyError, match="to='' is no name"):
        copy(url, log, to="")
    with pytest.raises(StudyError, match="there is no study 'nobody'"):
        copy(log, MemoryLog(), "nobody")


# log


def test_records_are_printed_as_lines_and_as_json(file: Path) -> None:
    lines = run("log", file).output.splitlines()
    assert len(lines) == 13
    assert re.fullmatch(r" +1  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ask +number 0  owner \S+  params \{x=0\.\d+, n=[1-4]\}", lines[1])
    assert re.search(r"tell +number 0  status complete  values \{loss=\d\.\d+\}", lines[2])
    printed = [json.loads(line) for line in run("log", file, "--json").output.splitlines()]
    assert printed == [{"seq": i} | record for i, record in enumerate(open_log(f"sqlite:///{file}").read("study"))]


def test_lines_are_chosen_by_position_trial_and_kind(file: Path) -> None:
    def chosen(*options: object) -> list[int]:
        return [json.loads(line)["seq"] for line in run("log", file, "--json", *options).output.splitlines()]

    assert chosen("--since", 11) == [11, 12]
    assert chosen("--trial", 1, "--trial", 2) == [3, 4, 5, 6]
    assert chosen("--trial", 1, "--kind", "tell") == [4]
    assert chosen("--kind", "study", "--kind", "ask", "--since", 9) == [9, 11]
    assert run("log", file, "--since", -1).exit_code == 2


def test_followed_lines_come_as_they_are_written(file: Path) -> None:
    command = [sys.executable, "-m", "jaxhp", "log", str(file), "--follow", "--json", "--since", "13"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(jaxhp.__file__).parents[1])
    assert process.stdout is not None
    try:
        searched(f"sqlite:///{file}", 8)._log.close()
        assert [json.loads(process.stdout.readline())["seq"] for _ in range(4)] == [13, 14, 15, 16]
    finally:
        process.kill()
        process.communicate()
