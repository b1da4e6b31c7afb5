"""`Study.optimize_in_parts`: black boxes that save and restore, under schedulers that pause, promote and copy; kills change nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_training_faults import Mortal
from tiny import results

import jaxhp
from jaxhp import Float, ObjectiveError, Part, Space, Status, Study, StudyError, _owner
from jaxhp._types import Record
from jaxhp.schedulers import asha, pb2, pbt, replay, successive_halving
from jaxhp.storage import MemoryLog, verify

LINE = Space({"rate": Float(0.001, 1.2, log=True)})


def descent(part: Part) -> float:
    """Gradient descent on x^2, whose x and number of steps are kept in a file."""
    kept = {"x": 1.0 + part.seed % 7 / 10, "steps": 0} if part.restore is None else json.loads((part.restore / "x.json").read_text())
    assert kept["steps"] == part.step and list(part.save.iterdir()) == []
    for _ in range(part.step, part.until):
        kept = {"x": kept["x"] * (1 - 2 * part["rate"]), "steps": kept["steps"] + 1}
    (part.save / "x.json").write_text(json.dumps(kept))
    return float(kept["x"] ** 2)


def new(storage: Any = None, **arguments: Any) -> Study:
    return Study(LINE, **({"sampler": jaxhp.sobol(), "metric": "loss", "seed": 3, "storage": storage} | arguments))


def run(place: Path, study: Study | None = None, objective: Callable[[Part], Any] = descent, **arguments: Any) -> Study:
    defaults: dict[str, Any] = {"trials": 6, "steps": 20, "scheduler": pbt(5, 6, fraction=0.34), "folder": place}
    return (study or new()).optimize_in_parts(objective, **(defaults | arguments))


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return run(tmp_path_factory.mktemp("parts"))


def test_a_population_of_black_boxes_copies_and_ends(lived: Study) -> None:
    assert [t.status for t in lived.finished] == [Status.COMPLETE] * 6
    assert lived.curves["step"].tolist().count(20) == 6 and len(lived.curves["step"]) == 6 * 4
    schedules = [lived.schedule(n) for n in range(6)]
    assert sum(len(s.steps) > 1 for s in schedules) >= 2
    for n, schedule in enumerate(schedules):  # the value is what the recovered schedule gives
        first = Part(schedule.numbers[0], {}, jaxhp.Trial(lived, schedule.numbers[0], lived._fold.u(0)).seed, 0, 0, None, Path())
        x = 1.0 + first.seed % 7 / 10
        for step in range(20):
            x *= 1 - 2 * schedule(step)["rate"]
        assert lived.finished[n].value == pytest.approx(x * x, rel=1e-9, abs=1e-300)


def test_workers_change_nothing_but_the_time(lived: Study, tmp_path: Path) -> None:
    study = run(tmp_path, workers=3)
    assert results(study) == results(lived)


def test_folders_that_nobody_needs_are_removed(tmp_path: Path) -> None:
    most = 0

    def count(study: Study, progress: jaxhp.Progress) -> None:
        nonlocal most
        most = max(most, len(list((tmp_path / "study").iterdir())))

    study = run(tmp_path, callbacks=[count])
    assert most <= 12 and [child.name for child in (tmp_path / "study").iterdir()] == [f"{study.best.number}-20"]


@pytest.mark.parametrize("scheduler", [asha(min_steps=2), successive_halving(min_steps=2), pb2(2, 4), None], ids=lambda s: s and s.name)
def test_any_scheduler_pauses_and_promotes_them(scheduler: Any, tmp_path: Path) -> None:
    study = run(tmp_path, trials=9, scheduler=scheduler, workers=2)
    assert len(study.finished) == 9 and study.best.status == Status.COMPLETE
    assert (sum(t.status == Status.STOPPED for t in study.finished) > 4) == (scheduler is not None and "pb2" not in scheduler.name)


def test_a_schedule_is_replayed(lived: Study, tmp_path: Path) -> None:
    number = next(n for n in range(6) if len(lived.schedule(n).steps) > 1)
    study = run(tmp_path, trials=1, scheduler=replay(lived.schedule(number)))
    assert study.schedule(0).params == lived.schedule(number).params and study.best.value < 1.0


def test_a_part_that_raises_ends_its_trial_and_a_nan_is_mended(tmp_path: Path) -> None:
    def fragile(part: Part) -> float:
        if part.number == 1 and part.until == 10:
            raise RuntimeError("lost the disk")
        value = descent(part)
        return float("nan") if part.number == 2 and part.until == 5 else value

    study = run(tmp_path, objective=fragile)
    assert study.finished[1].status == Status.FAILED and "lost the disk" in str(study.finished[1].error)
    assert study.finished[2].status == Status.COMPLETE and len(study.schedule(2).numbers) > 1 and study.schedule(2).numbers[0] != 2
    assert sum(t.status == Status.COMPLETE for t in study.finished) == 5


def test_an_objective_that_always_raises_is_stopped(tmp_path: Path) -> None:
    def broken(part: Part) -> float:
        raise KeyError("no such file")

    with pytest.raises(ObjectiveError, match=r"the last 6 parts raised, of trial 5:[^$]*no such file[^$]*Mend the objective"):
        run(tmp_path, trials=50, objective=broken)


# -- killed --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 4])
def test_killed_at_any_record_and_taken_up_by_another_process(
    workers: int, lived: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_owner, "gone", lambda owner: owner != "host:survivor:0")
    for after in range(2, 10**6):
        kept, folder = MemoryLog(), tmp_path / str(after)
        monkeypatch.setattr(_owner, "owner", lambda: "host:victim:0")
        try:
            run(folder, new(Mortal(kept, after, written=after % 2 == 0)), workers=workers)
            break
        except SystemExit:
            pass
        monkeypatch.setattr(_owner, "owner", lambda: "host:survivor:0")
        again = run(folder, new(kept), workers=workers)
        assert results(again) == results(lived) and again.schedule() == lived.schedule(), f"killed at append {after}"
    assert after > 15


_VICTIM = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_parts import descent, new, run

left = [{parts}]

def dying(part):
    value = descent(part)
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return value

run(Path({folder!r}), new({url!r}), objective=dying)
"""


def test_kill_9_in_the_middle_of_a_part_changes_nothing(lived: Study, tmp_path: Path) -> None:
    url, folder = f"sqlite:///{tmp_path / 's.db'}", tmp_path / "parts"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(jaxhp.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])}
    for parts in (4, 9):
        source = _VICTIM.format(tests=str(Path(__file__).parent), parts=parts, folder=str(folder), url=url)
        done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=300, env=environment)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert any(child.suffix == ".part" for child in (folder / "study").iterdir())
    study = run(folder, new(url))
    assert results(study) == results(lived)
    assert not any(child.suffix == ".part" for child in (folder / "study").iterdir())


def test_ctrl_c_in_a_part_changes_nothing(lived: Study, tmp_path: Path) -> None:
    left = 5

    def interrupted(part: Part) -> float:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt
        return descent(part)

    study = new()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, study, objective=interrupted)
    assert results(run(tmp_path, study)) == results(lived)


# -- errors at the door --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"objective": 3}, "objective: expected a function of a part, got 3"),
        ({"trials": 0}, "trials: expected a positive integer, got 0"),
        ({"trials": None}, "trials: how many"),
        ({"workers": 0}, "workers: expected a positive integer, got 0"),
        ({"steps": None, "scheduler": None}, "steps: how many steps is a full run"),
        ({"evaluate_every": 21}, "evaluate_every=21 is beyond steps=20"),
        ({"evaluate_every": 3}, r"evaluate_every=3: pbt\(.*\) compares trials every 5 steps; choose a divisor"),
        ({"scheduler": pbt}, "expected a jaxhp scheduler such as jaxhp.asha"),
        ({"callbacks": 3}, "callbacks: expected a list of functions"),
        ({"timeout": -1}, "timeout: expected a number of seconds, got -1"),
        ({"folder": None}, r"folder: where shall the parts save\? The log of study 'study' is no SQLite file \(memory\): pass one"),
    ],
)
def test_bad_arguments_are_refused_by_name_value_and_remedy(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=message):
        run(tmp_path, **arguments)


def test_a_study_goes_on_as_it_began(lived: Study, tmp_path: Path) -> None:
    study = run(tmp_path)
    with pytest.raises(StudyError, match="workers=2: study 'study' trains in parts with workers=1"):
        run(tmp_path, study, workers=2)
    with pytest.raises(StudyError, match="steps=40: study 'study' trains with steps=20"):
        run(tmp_path, study, steps=40)


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    def stop(study: Study, progress: jaxhp.Progress) -> None:
        if progress.segments == 7:
            raise SystemExit

    study = new()
    with pytest.raises(SystemExit):
        run(tmp_path, study, callbacks=[stop])
    for child in (tmp_path / "study").iterdir():
        child.rename(tmp_path / child.name)
    with pytest.raises(StudyError, match=r"goes on from .*study/.*, which is gone; put it back"):
        run(tmp_path, study)


def test_a_space_that_others_extend_while_points_change_leaves_a_whole_log(tmp_path: Path) -> None:
    wider = Space({"rate": Float(0.0005, 2.4, log=True), "new": Float(0.0, 1.0, default=0.5)})

    class Raced(MemoryLog):
        extended = False

        def append(self, study: str, records: Sequence[Record], at: int | None = None) -> int:
            if not self.extended and records[0].get("u") and records[0]["kind"] == "decision":
                self.extended = True
                points.update(records[0]["u"])
                other.extend(wider)
            return super().append(study, records, at)

    points: dict[str, list[float]] = {}
    log = Raced()
    study, other = new(log), new(log)
    run(tmp_path, study)
    assert log.extended and verify(log).ok and len(study.finished) == 6
    (changed,) = [r["u"] for r in log.read("study") if r["kind"] == "decision" and r.get("u", {}).keys() == points.keys()][:1]
    for number, u in points.items():
        assert wider.params(np.array(changed[number])) == pytest.approx(LINE.params(np.array(u)) | {"new": 0.5})
