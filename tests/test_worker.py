"""`jaxhp worker`, `stop`, `pause` and `resume`: many processes on one study."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import jaxhp
from jaxhp.cli import app

FILE = """
    import os, time
    import jaxhp

    space = jaxhp.Space({"x": jaxhp.Float(-1.0, 1.0)})
    metric = "loss"

    def objective(trial):
        time.sleep(float(os.environ.get("SECONDS", "0")))
        return {"loss": trial["x"] ** 2, "process": os.getpid()}
"""


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bowl.py").write_text(textwrap.dedent(FILE))
    return tmp_path


def run(*arguments: str) -> Result:
    before = signal.getsignal(signal.SIGTERM)
    try:
        return CliRunner().invoke(app, list(arguments))
    finally:
        signal.signal(signal.SIGTERM, before)


def founded(**more: object) -> jaxhp.Study:
    space = jaxhp.Space({"x": jaxhp.Float(-1.0, 1.0)})
    return jaxhp.Study(space, storage="sqlite:///bowl.db", name="bowl", metric="loss", **({"sampler": jaxhp.sobol()} | more))  # type: ignore[arg-type]


def start(*arguments: str, seconds: str = "0.02") -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(jaxhp.__file__).parents[1]), "SECONDS": seconds}
    command = [sys.executable, "-m", "jaxhp", "worker", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_workers_share_a_study_and_a_stop_ends_both() -> None:
    study = founded()
    processes = [start("bowl.db", "bowl.py", "--study", "bowl", "--workers", "2") for _ in range(2)]
    while len({t.values["process"] for t in study.finished}) < 2:
        assert all(process.poll() is None for process in processes)
        time.sleep(0.02)
    done = run("stop", "bowl.db")
    assert done.exit_code == 0 and "bowl: stopped" in done.output
    for process in processes:
        out = process.communicate(timeout=60)[0]
        assert process.returncode == 0 and "the study was stopped" in out
    assert not study.running and [t.number for t in study.finished] == list(range(len(study.finished)))
    assert study.sampler == "sobol()"
    out, warning = start("bowl.db", "bowl.py").communicate(timeout=60)
    assert "bowl: 0 trials run here" in out
    assert warning == "warning: study 'bowl' is stopped: nothing is run until study.resume(), or `jaxhp resume`\n"
    assert run("resume", "bowl.db").exit_code == 0 and study.halted is None
    more = run("worker", "bowl.db", "bowl.py", "--trials", str(len(study.finished) + 3))
    assert "bowl: 3 trials run here" in more.output


def test_a_worker_that_is_told_to_end_gives_its_trial_back() -> None:
    study = founded()
    process = start("bowl.db", "bowl.py", seconds="60")
    while not study.running:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert study.ask().number == 0
    reasons = [r["reason"] for r in study._log.read("bowl") if r["kind"] == "release"]
    assert reasons == ["interrupted"]


def test_a_paused_study_says_so_and_waits() -> None:
    study = founded()
    assert "bowl: paused" in run("pause", "bowl.db").output and study.halted == "pause"
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        done = run("worker", "bowl.db", "bowl.py", "--timeout", "0.1")
    assert done.exit_code == 0 and "warning: study 'bowl' is paused" in done.output
    assert not study.finished


def test_a_study_is_founded_only_where_it_is_asked_for() -> None:
    missing = run("worker", "bowl.db", "bowl.py")
    assert missing.exit_code == 2 and "there is no database bowl.db" in missing.output
    assert "bowl: 4 trials run here, 4 finished in all" in run("worker", "bowl.db", "bowl.py", "--create", "--trials", "4").output
    other = run("worker", "bowl.db", "bowl.py", "--study", "other")
    assert other.exit_code == 2 and "there is no study 'other'" in other.output


def test_the_sampler_is_the_studys_own_or_must_be_made_by_the_file() -> None:
    founded(
        sampler=jaxhp.coarse_to_fine(rounds=7) if "rounds" in jaxhp.coarse_to_fine.__annotations__ else jaxhp.mixture((jaxhp.sobol(), 1))
    )
    refused = run("worker", "bowl.db", "bowl.py", "--trials", "2")
    assert refused.exit_code == 2 and "must make the same one: sampler = jaxhp." in refused.output


def test_a_file_without_an_objective_is_refused(directory: Path) -> None:
    (directory / "bowl.py").write_text("import jaxhp\nspace = jaxhp.Space({'x': jaxhp.Float(0, 1)})\ntrainable = print\nsteps = 3")
    refused = run("worker", "bowl.db", "bowl.py")
    assert refused.exit_code == 2 and "does not define `objective`" in refused.output
