"""Hostile logs, with records forged, swapped, doubled and left out: readers execute nothing, and name the record that is wrong."""

from __future__ import annotations

import copy
import json
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import jaxhp
from jaxhp import report
from jaxhp._types import Record
from jaxhp.cli import app
from jaxhp.errors import JaxhpError, StorageError
from jaxhp.storage import MemoryLog, open_log, verify

SPACE = jaxhp.Space(
    {
        "rate": jaxhp.Float(1e-4, 1.0, log=True),
        "width": jaxhp.Int(1, 9),
        "kind": jaxhp.Categorical(["a", "b"]),
        "momentum": jaxhp.Float(0.0, 0.9, when={"kind": "a"}),
    }
).where("rate + width <= 9.5")


def loss(params: dict[str, Any]) -> float:
    return float((params["rate"] - 0.1) ** 2 + params["width"] + params.get("momentum", 1.0))


def black_box() -> list[Record]:
    """A log with every kind of record that a study without training has."""
    log = MemoryLog()
    study = jaxhp.Study(
        SPACE, storage=log, sampler=jaxhp.sobol(), scheduler=jaxhp.asha(max_steps=9), directions={"loss": "minimize"},
        constraints={"size": "<= 8"}, retry=1,
    )  # fmt: skip
    study.enqueue({"rate": 0.1, "width": 2, "kind": "b"})
    study.add(
        {"rate": 0.2, "width": 3, "kind": "a", "momentum": 0.5},
        {"loss": 1.0, "size": 1.0},
        gradient={"rate": 0.5},
        noise={"loss": 0.1, "size": 0},
    )

    def objective(trial: jaxhp.Trial) -> dict[str, float]:
        if trial.number == 3:
            raise ValueError("it was 3")
        for step in (1, 3, 9):
            if trial.replicate == 0 and trial.report(step, {"loss": loss(trial.params) / step, "size": 2.0}):
                break
        return {"loss": loss(trial.params), "size": float(trial["width"]), "extra": 1.0}

    study.optimize(objective, trials=9)
    study.release(study.ask(), "gave up")
    study.pause()
    study.resume()
    study.confirm(objective, top=1, repeats=1)
    study.extend(jaxhp.Space({**SPACE.parameters, "width": jaxhp.Int(1, 12)}).where("rate + width <= 9.5"))
    study.tell(study.ask(), {"loss": 0.5, "size": 1.0})
    study.ask()
    return as_read(log.read("study"))


def in_parts(folder: Path) -> list[Record]:
    """A log of training: decisions, segments, and points that a population changed."""
    log = MemoryLog()
    space = jaxhp.Space({"rate": jaxhp.Float(0.01, 1.0, log=True)})
    study = jaxhp.Study(space, storage=log, sampler=jaxhp.sobol(), scheduler=jaxhp.pbt(population=4, every=2), metric="loss")

    def objective(part: jaxhp.Part) -> float:
        if part.number == 1 and part.until == 6:
            raise ValueError("it was 1")
        return (math.log(part.params["rate"]) + 2) ** 2 + 1 / part.until

    study.optimize_in_parts(objective, trials=4, steps=8, folder=folder, workers=4)
    log.append(
        "study", [{"kind": "test", "number": 0, "params": None, "split": "test", "repeats": 3, "values": {"loss": 1.0}, "time": 1.0}]
    )
    return as_read(log.read("study"))


def as_read(records: list[Record]) -> list[Record]:
    found: list[Record] = json.loads(json.dumps(records))
    return found


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> list[list[Record]]:
    return [black_box(), in_parts(tmp_path_factory.mktemp("parts"))]


def test_the_logs_that_are_forged_hold_every_kind_of_record(logs: list[list[Record]]) -> None:
    from jaxhp._records import _KINDS

    kinds = {record["kind"] for records in logs for record in records}
    assert {"study", *_KINDS} - kinds <= {"sampler", "stop", "scheduler", "lease"}


def read(records: list[Record]) -> str | None:
    """Reads all that can be read of a study; what was wrong with the log, if it was."""
    log = MemoryLog()
    log.append("study", records)
    assert isinstance(str(verify(log)), str)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*it continues, but not bit for bit")  # another version, another instruction set
            study = jaxhp.Study.open(log, sampler=jaxhp.sobol())
    except StorageError as e:
        return str(e)
    for trial in [*study.finished, *study.running, *study.late]:
        assert repr(trial) and (trial.value is None or isinstance(trial.value, float))
    assert isinstance(repr(study) + str(study.space), str)
    assert len(study.trials.number) >= study._fold.asked and isinstance(study.curves, dict)
    for number in study._fold.lineage.numbers:
        study.schedule(number)
    assert isinstance(study.pareto, list) and study.plan is None
    study._session.dead()
    report.summary(study)
    try:
        assert isinstance(study.best.value, float)
    except JaxhpError:
        assert study._fold.best is None
    return None


@pytest.mark.parametrize("which", [0, 1])
def test_the_logs_as_they_are_can_be_read(logs: list[list[Record]], which: int) -> None:
    log = MemoryLog()
    log.append("study", logs[which])
    assert read(logs[which]) is None and verify(log).ok


NASTY = st.sampled_from(
    [
        *(None, True, False, 0, 1, -1, 2, 7, 10**6, -(2**31), 2**31, 2**63, 10**400, 0.5, -0.5, 1e308, math.nan, math.inf),
        *("", "nan", "-inf", "0.5", "complete", "failed", "study", "tell", "__import__('os').abort()", "'; DROP TABLE records; --"),
        *("\x1b[2J", "\ud800", "\x00", "\u03bb" * 40, "x" * 3_000, "{{7*7}}", "<script>alert(1)</script>", "[red]"),
        *([], {}, [None], [[]], {"": {}}, ["nan"], [0.5], {"loss": "nan"}, {"loss": None}, {"0": []}, {"rate": []}, [[["deep"] * 3] * 3]),
    ]
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in a record."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([path] if path else []), *(place for key, v in inner for place in places(v, (*path, key)))]


@st.composite
def forged(draw: st.DrawFn, records: list[Record]) -> list[Record]:
    """One to three changes."""
    result = copy.deepcopy(records)
    for _ in range(draw(st.integers(1, 3))):
        i = draw(st.integers(0, len(result) - 1))
        how = draw(st.sampled_from(["change"] * 6 + ["remove", "add", "drop", "double", "swap", "kind"]))
        *above, last = draw(st.sampled_from(places(result[i])))
        inside = result[i]
        for key in above:
            inside = inside[key]
        if how == "change":
            inside[last] = copy.deepcopy(draw(NASTY))
        elif how == "remove":
            del inside[last]
        elif how == "add" and isinstance(inside, dict):
            inside[draw(st.sampled_from(["u", "lanes", "lease", "0", "x", "noise", "gradient", "plan", "params", "error"]))] = (
                copy.deepcopy(draw(NASTY))
            )
        elif how == "drop" and len(result) > 1:
            del result[i]
        elif how == "double":
            result.insert(i, copy.deepcopy(result[i]))
        elif how == "swap":
            j = draw(st.integers(0, len(result) - 1))
            result[i], result[j] = result[j], result[i]
        else:
            result[i]["kind"] = draw(st.sampled_from(["tell", "ask", "segment", "decision", "train", "extend", "confirm", "test", "later"]))
        if not all(places(record) for record in result):
            return result
    return result


@settings(max_examples=250)
@given(data=st.data(), which=st.integers(0, 1))
def test_a_forged_log_is_read_or_refused_with_the_record_that_is_wrong(logs: list[list[Record]], data: st.DataObject, which: int) -> None:
    fault = read(data.draw(forged(logs[which])))
    assert fault is None or fault.startswith("record ")


@pytest.mark.parametrize(
    ("at", "change", "fault"),
    [
        ("tell", {"number": 99}, "trial 99 was never asked"),
        ("tell", {"values": {}}, "complete has no finite 'loss' and 'size'"),
        ("tell", {"values": {"loss": "1e5", "size": 1.0}}, "values: 'loss' is '1e5', not a number"),
        ("tell", {"status": "great"}, "status is 'great', not one of complete, failed, stopped"),
        ("ask", {"u": [0.5, 0.51, 0.25, 0.5]}, "not a point of the space of 4 parameters"),
        ("ask", {"u": [0.5, 0.5]}, "u is"),
        ("ask", {"u": ["0.5", 0.5, 0.25, 0.5]}, "u is"),
        ("ask", {"number": 10**400}, r"asks trial an integer of \d+ bits, but"),
        ("ask", {"seen": -1}, "seen is -1"),
        ("report", {"step": 10**400}, "step is an integer of"),
        ("enqueue", {"params": {"kind": "c"}}, "params: 'kind' is 'c', which is nothing of the space"),
        ("release", {"reason": {}}, r"reason is \{\}, not str"),
        ("extend", {"space": {"parameters": [], "constraints": []}}, "record .* does not fit"),
        ("study", {"space": {"parameters": [{"name": "x", "type": "os.system"}], "constraints": []}}, "its space cannot be built"),
        ("study", {"outcomes": []}, "no outcome is an objective"),
        ("study", {"seed": -1}, "seed -1"),
        ("confirm", {"kind": "later"}, "the unknown kind 'later': was it written by a newer jaxhp"),
        ("resume", {"time": "\x1b[2J"}, r"time is '\\x1b\[2J', not float or int"),
    ],
)
def test_what_is_wrong_is_named(logs: list[list[Record]], at: str, change: Record, fault: str) -> None:
    records = copy.deepcopy(logs[0])
    record = next(r for r in records if r["kind"] == at and r.get("status", "complete") == "complete")
    record.update(change)
    log = MemoryLog()
    log.append("study", records)
    with pytest.raises(StorageError, match=fault) as raised:
        jaxhp.Study.open(log)
    assert str(raised.value).startswith(f"record {records.index(record)} ") and len(str(raised.value)) < 600


@pytest.mark.parametrize(
    "text", ["(" * 5_000, "-" * 100_000 + "rate <= 1", "__import__('os').abort() <= 1", "rate ** 9 <= 1", "x" * 10_000]
)
def test_a_forged_constraint_is_parsed_and_never_run(logs: list[list[Record]], text: str) -> None:
    records = copy.deepcopy(logs[0])
    records[0]["space"]["constraints"] = [{"linear": text}]
    fault = read(records)
    assert fault is not None and fault.startswith("record 0 (study) cannot be: its space cannot be built")


@pytest.mark.parametrize(
    "owner",
    ["", ":", "::", "a:b:c", "a:-1:5", f"a:{10**30}:5", "a:0:0", "a", "\x00:1:1", "a:\u0663:1"],
    ids=lambda owner: ascii(owner)[:12],
)
def test_an_owner_may_be_any_text(logs: list[list[Record]], monkeypatch: pytest.MonkeyPatch, owner: str) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "a")
    records = copy.deepcopy(logs[0])
    for record in records:
        if "owner" in record:
            record["owner"] = owner
    assert read(records) is None


def test_the_command_prints_nothing_that_a_terminal_obeys(tmp_path: Path, logs: list[list[Record]]) -> None:
    records = copy.deepcopy(logs[0])
    for record in records:
        for field in [field for field in record if field not in ("kind", "space")]:
            record[field] = {"\x1b[2J": ["\x1b]0;title\x07", "\u202e", 1e308], "__import__('os').abort()": 10**300}
    url = f"sqlite:///{tmp_path}/log.db"
    log = open_log(url)
    log.append("\x1b[2J[red]", records)
    log.close()
    for command in (["log"], ["log", "--json"], ["verify"]):
        done = CliRunner().invoke(app, [command[0], url, *command[1:]])
        assert done.exit_code == (1 if command == ["verify"] else 0), done.output
        assert done.output.isascii() and done.output.replace("\n", "").isprintable()
        assert len(done.output.splitlines()) >= (len(records) if command[0] == "log" else 2)
