"""Schedulers inside a study of black boxes: stops are recorded, survive a crash anywhere, and are shown."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mortal import Mortal

import jaxhp
from jaxhp import Float, Sampler, Scheduler, Space, Status, Study, _owner
from jaxhp.storage import MemoryLog
from jaxhp.testing import rows

SPACE = Space({"x": Float(-1.0, 1.0)})
Told = list[tuple[int, str, float, float]]


def objective(trial: jaxhp.Trial) -> float:
    """Nine epochs; a third of the trials diverge in the fourth."""
    loss = math.nan
    for epoch in range(1, 10):
        loss = math.nan if epoch > 3 and trial.number % 3 == 1 else abs(trial["x"]) + 1 / epoch
        if trial.report(epoch, loss):
            break
    return loss


def told(study: Study) -> Told:
    """(number, status, value, step) of the finished trials."""
    table = study.trials
    step = {n: s for n, s, how in zip(table.number.tolist(), table.fidelity.tolist(), table.status, strict=True) if how in (1, 2, 3)}
    return [(t.number, t.status.name, t.values.get("value", math.nan), step[t.number]) for t in study.finished]


def same(a: Told, b: Told) -> bool:
    return repr(a) == repr(b)  # NaN equals NaN


SCHEDULERS: dict[str, Any] = {
    "asha": lambda: jaxhp.asha(max_steps=9),
    "halving": lambda: jaxhp.successive_halving(eta=2, max_steps=8),
    "hyperband": lambda: jaxhp.hyperband(max_steps=9),
    "hyperband_asynchronous": lambda: jaxhp.hyperband(max_steps=9, asynchronous=True),
    "median": lambda: jaxhp.median_stopping(after=1),
    "patience": lambda: jaxhp.patience(2, 0.02, jaxhp.asha(eta=2, max_steps=9)),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_study_ends_its_bad_trials_early_and_its_best_ran_to_the_end(name: str) -> None:
    study = Study(SPACE, sampler=jaxhp.sobol(), scheduler=SCHEDULERS[name](), seed=3).optimize(objective, trials=20)
    ended = {status: sum(how == status for _, how, *_ in told(study)) for status in ("STOPPED", "COMPLETE", "FAILED")}
    assert ended["STOPPED"] >= 6 and ended["COMPLETE"] and sum(ended.values()) == 20
    assert study.best.status == Status.COMPLETE
    assert all(step == 9 for _, how, _, step in told(study) if how == "COMPLETE")
    assert all(step < 9 for _, how, _, step in told(study) if how == "STOPPED")


@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_study_killed_at_any_record_makes_the_stops_of_one_that_lived(name: str, written: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = SCHEDULERS[name]()
    lived, whole = MemoryLog(), 8
    straight = told(Study(SPACE, sampler=jaxhp.sobol(), scheduler=scheduler, storage=lived).optimize(objective, trials=whole))
    assert any(how == "STOPPED" for _, how, *_ in straight)
    monkeypatch.setattr(_owner, "gone", lambda owner: owner != "survivor")
    for after in range(2, len(lived.read("study")) + 1):
        kept = MemoryLog()
        monkeypatch.setattr(_owner, "owner", lambda: "victim")
        with pytest.raises(SystemExit):
            mortal = Mortal(kept, after, written)
            Study(SPACE, sampler=jaxhp.sobol(), scheduler=scheduler, storage=mortal).optimize(objective, trials=whole)
        monkeypatch.setattr(_owner, "owner", lambda: "survivor")
        again = Study(SPACE, sampler=jaxhp.sobol(), scheduler=scheduler, storage=kept).optimize(objective, trials=whole)
        assert same(told(again), straight), f"killed at record {after - 1}"


_KILLED = """
import os, sys, jaxhp
sys.path.insert(0, {tests!r})
from test_early_stopping import SPACE, objective

def dies(trial):
    if trial.number > 4:
        class Dying(type(trial)):
            __slots__ = ()
            def report(self, step, value):
                stop = super().report(step, value)
                return os._exit(9) if (stop if {late} else step == 2) else stop
        trial.__class__ = Dying
    return objective(trial)

jaxhp.Study(SPACE, sampler=jaxhp.sobol(), scheduler=jaxhp.asha(max_steps=9), storage={url!r}).optimize(dies, trials=9)
"""


@pytest.mark.parametrize("late", [False, True])
def test_kill_9_in_sqlite_changes_no_stop(late: bool, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    code = _KILLED.format(tests=str(Path(__file__).parent), late=late, url=url)
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert killed.returncode == 9, killed.stderr
    make: dict[str, Any] = {"sampler": jaxhp.sobol(), "scheduler": jaxhp.asha(max_steps=9)}
    resumed = Study(SPACE, storage=url, **make).optimize(objective, trials=9)
    assert same(told(resumed), told(Study(SPACE, **make).optimize(objective, trials=9)))


def test_a_stop_is_a_record_that_later_processes_read(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study = Study(SPACE, scheduler=jaxhp.asha(), storage=url)
    first, second = study.ask(), study.ask()
    assert not first.report(1, 0.0) and second.report(1, 1.0)
    records = jaxhp.storage.open_log(url).read("study")
    assert [{k: r[k] for k in ("slots", "number")} for r in records if r["kind"] == "decision"] == [{"slots": [1], "number": [-1]}]

    def asks(*arguments: Any) -> Any:
        raise AssertionError("a replay asks nobody")

    silent = Scheduler(lambda problem, seed: None, asks, asks, asks, jaxhp.asha().name)
    other = Study(SPACE, scheduler=silent, storage=url)
    assert other.report(1, 2, 0.1)  # a late report is recorded, and the answer stays
    assert other.tell(1, 0.1).status == Status.STOPPED
    assert len([r for r in other._log.read("study") if r["kind"] == "decision"]) == 1


def test_reports_at_equal_or_falling_steps_are_answered() -> None:
    study = Study(SPACE, scheduler=jaxhp.asha())
    first, second = study.ask(), study.ask()
    assert not any(first.report(step, 0.5) for step in (3, 3, 2, 1, 0.5))
    assert not second.report(1, 0.6)  # the first was seen at 3 only
    assert second.report(3, 0.6)


def test_workers_side_by_side_stop_trials() -> None:
    study = Study(SPACE, sampler=jaxhp.sobol(), scheduler=jaxhp.asha(max_steps=9)).optimize(objective, trials=24, workers=2)
    stops = study._fold.stops
    assert len(study.finished) == 24 and len(stops) >= 6
    assert {t.number for t in study.finished if t.status == Status.STOPPED} == {
        n for n in stops if math.isfinite(study.finished[n].value or 0)
    }


def test_the_scheduler_is_recorded_and_another_one_may_take_over() -> None:
    log = MemoryLog()
    study = Study(SPACE, scheduler=jaxhp.asha(), storage=log)
    assert log.read("study")[0]["scheduler"] == study.scheduler == "asha(eta=3, min_steps=1)"
    study.ask().report(1, 0.0)
    assert Study.open(log).scheduler == "asha(eta=3, min_steps=1)"
    other = Study(SPACE, scheduler=jaxhp.patience(1), storage=log)
    assert other.scheduler == "asha(eta=3, min_steps=1)"  # until it is asked
    trial = other.ask()
    assert [trial.report(step, 1.0) for step in (1, 2)] == [False, True]
    assert other.scheduler == Study.open(log).scheduler == jaxhp.patience(1).name
    plain = Study(SPACE, storage=log)
    assert not plain.ask().report(1, 5.0) and plain.scheduler is None
    assert [r["scheduler"] for r in log.read("study") if r["kind"] == "scheduler"] == [jaxhp.patience(1).name, None]


def test_a_log_from_before_there_were_schedulers_is_read() -> None:
    log, old = MemoryLog(), MemoryLog()
    Study(SPACE, storage=log)
    header = {k: v for k, v in log.read("study")[0].items() if k not in ("scheduler", "seq")}
    old.append("study", [header])
    assert Study.open(old).scheduler is None


def test_a_scheduler_is_told_all_again_when_the_space_is_extended_or_another_one_takes_over() -> None:
    study = Study(SPACE, scheduler=jaxhp.asha())
    study.ask().report(1, 0.0)
    study.extend(Space({"x": Float(-2.0, 1.0)}))
    assert study.ask().report(1, 1.0)
    study._session.schedule(jaxhp.patience(1), steps=None)
    assert not study.ask().report(1, 1.0) and study.report(0, 2, 0.0)  # 0 reported before patience came


def test_the_first_metric_is_compared_in_its_own_direction() -> None:
    study = Study(SPACE, scheduler=jaxhp.asha(), directions={"accuracy": "maximize", "seconds": "minimize"})
    for accuracy, stops in ((0.9, False), (0.8, True), (0.95, False)):
        assert study.ask().report(1, {"accuracy": accuracy, "seconds": 100 * accuracy}) == stops


def test_releasing_a_stopped_trial_tells_its_last_report() -> None:
    study = Study(SPACE, scheduler=jaxhp.asha(), directions={"accuracy": "maximize"})
    trials = study.ask(3)
    assert [t.report(1, v) for t, v in zip(trials, (0.9, 0.8, math.nan), strict=True)] == [False, True, True]
    for trial in trials:
        study.release(trial)
    assert [(t.number, t.status, t.values) for t in study.finished[:1]] == [(1, Status.STOPPED, {"accuracy": 0.8})]
    assert study.finished[1].status == Status.FAILED and study.finished[1].error == "accuracy is nan"
    assert study.ask().number == 0


SAMPLERS: dict[str, Any] = {
    "auto": jaxhp.auto,
    "bayes": jaxhp.bayes,
    "random_search": jaxhp.random_search,
    "sobol": jaxhp.sobol,
    "grid_search": lambda: jaxhp.grid_search(30),
    "coarse_to_fine": lambda: jaxhp.coarse_to_fine(3, 3),
    "sequence": lambda: jaxhp.sequence((jaxhp.sobol(), 4), (jaxhp.bayes(), None)),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_reports_alone_change_no_suggestion(name: str) -> None:
    """Every sampler learns from what a trial ended with; a report is not an end, and says nothing where no trial was stopped."""
    sampler: Sampler = SAMPLERS[name]()
    problem = Study(SPACE)._fold.problem
    x = SPACE.snap(np.linspace(0.05, 0.95, 14)[:, None])
    numbers = np.arange(14)
    y = (x - 0.4) ** 2

    def suggested(reported: bool) -> bytes:
        state = sampler.tell(sampler.init(problem, 1), rows(numbers, x))
        if reported:
            state = sampler.tell(state, rows(numbers, x, -y, Status.REPORTED)._replace(fidelity=np.ones(14)))
        return sampler.ask(sampler.tell(state, rows(numbers, x, y, Status.COMPLETE)), np.array([14])).tobytes()

    assert suggested(True) == suggested(False)


def test_the_report_and_the_commands_show_what_was_stopped(tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    runner, cli = pytest.importorskip("typer.testing").CliRunner(), pytest.importorskip("jaxhp.cli")
    path = tmp_path / "study.db"
    study = Study(SPACE, sampler=jaxhp.sobol(), scheduler=jaxhp.asha(max_steps=9), storage=f"sqlite:///{path}").optimize(
        objective, trials=12
    )
    count = sum(t.status == Status.STOPPED for t in study.finished)
    shown = runner.invoke(cli.app, ["show", str(path)]).output
    assert "scheduler asha(eta=3, min_steps=1, max_steps=9)" in " ".join(shown.split())
    assert re.search(r"finished\s+failed\s+stopped", runner.invoke(cli.app, ["list", str(path)]).output)
    assert runner.invoke(cli.app, ["export", str(path), "--csv"]).output.count(",stopped,") == count
    page = tmp_path / "report.html"
    runner.invoke(cli.app, ["plot", str(path), "-o", str(page)])
    assert f", {count} stopped early" in page.read_text()
