"""Training that is interrupted: the trials, the curves and the best weights are those of a run that never was, bit for bit."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from mortal import Mortal
from tiny import RATES, bowl, classifier, reports, results, same

import jaxhp
from jaxhp import Progress, Study, StudyError, _owner
from jaxhp._types import Record
from jaxhp.schedulers import asha
from jaxhp.storage import MemoryLog
from jaxhp.train._lanes import Lanes

BOWL = bowl()
WHOLE = 14  # trials


def trained(trainable: Any = BOWL, study: Study | None = None, trials: int = WHOLE, **arguments: Any) -> Study:
    made = study or new()
    return made.train(trainable, **({"trials": trials, "steps": 18, "lanes": 4, "scheduler": asha(min_steps=2)} | arguments))


def new(storage: Any = None, **arguments: Any) -> Study:
    return Study(RATES, **({"sampler": jaxhp.sobol(), "metric": "loss", "seed": 3, "storage": storage} | arguments))


@pytest.fixture(scope="module")
def lived() -> Study:
    return trained()


def agrees(study: Study, lived: Study) -> bool:
    return results(study) == results(lived) and same(study.curves, lived.curves) and same(study.best_state, lived.best_state)


# -- killed --------------------------------------------------------------------------------------------------------------


def test_killed_at_any_record_and_taken_up_by_another_process(lived: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_owner, "gone", lambda owner: owner != "host:survivor:0")
    for after in range(2, 10**6, 3):
        kept = MemoryLog()
        monkeypatch.setattr(_owner, "owner", lambda: "host:victim:0")
        try:
            trained(study=new(Mortal(kept, after, written=after % 2 == 0)), lanes=lived.lanes)
            break
        except SystemExit:
            pass
        monkeypatch.setattr(_owner, "owner", lambda: "host:survivor:0")
        again = trained(study=new(kept), lanes=lived.lanes)
        assert results(again) == results(lived) and same(again.curves, lived.curves), f"killed at append {after}"
    assert after > 20


_VICTIM = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from test_training_faults import new, trained
from jaxhp import _training
from jaxhp.train import _checkpoint

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

left = [{segments}]
run = _training.Training._report

def counted(self, *arguments):
    left[0] -= 1
    if left[0] == 0 and {place!r} == "before the record":  # the segment has run, a checkpoint is newer than nothing
        checkpoints = self.stage._checkpoints
        checkpoints and checkpoints.settle()
        die()
    return run(self, *arguments)

_training.Training._report = counted
save = _checkpoint.Checkpoints.save

def saved(self, *arguments):
    save(self, *arguments)
    if left[0] <= 1 and {place!r} == "in a checkpoint":
        die()

_checkpoint.Checkpoints.save = saved
trained(study=new({url!r}), checkpoint_every=0, callbacks=[lambda s, p: die() if left[0] <= 0 else None])
"""


def kill(url: str, segments: int, place: str) -> None:
    source = _VICTIM.format(tests=str(Path(__file__).parent), url=url, segments=segments, place=place)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(jaxhp.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_kill_9_again_and_again_changes_nothing(lived: Study, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    for segments, place in ((3, "before the record"), (3, "in a checkpoint"), (4, "after the callbacks")):
        kill(url, segments, place)
        assert len(list((tmp_path / "s.db.study.weights").iterdir())) >= 1
    study = trained(study=new(url))
    assert agrees(study, lived)
    assert study._training is not None and study._training.stage.segments == lived._training.stage.segments  # type: ignore[union-attr]


def stopped_after(segments: int, url: str, **arguments: Any) -> None:
    """Training that checkpoints after each segment and is given up after some."""

    def stop(study: Study, progress: Progress) -> None:
        if progress.segments >= segments:
            raise SystemExit

    study = new(url, **arguments)
    with pytest.raises(SystemExit):
        trained(study=study, checkpoint_every=0, callbacks=[stop])
    assert study._training is not None
    study._training.stage.close()


def truncate(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def scramble(folder: Path) -> None:
    noise = np.random.default_rng(0)
    for file in folder.rglob("*"):
        if file.is_file():
            file.write_bytes(noise.bytes(max(8, file.stat().st_size)))


def scramble_arrays(folder: Path) -> None:
    scramble(next(folder.rglob("arrays")))


def hollow(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            file.unlink()


def forget_facts(folder: Path) -> None:
    shutil.rmtree(next(folder.rglob("facts")))


def last(folder: Path) -> Path:
    return max((child for child in folder.iterdir() if child.name.isdigit()), key=lambda child: int(child.name))


@pytest.mark.parametrize("damage", [truncate, scramble, scramble_arrays, hollow, forget_facts, shutil.rmtree], ids=lambda f: f.__name__)
@pytest.mark.parametrize("whose", ["the last one", "all"])
def test_damaged_checkpoints_are_passed_over(damage: Callable[[Path], None], whose: str, lived: Study, tmp_path: Path) -> None:
    url, folder = f"sqlite:///{tmp_path / 's.db'}", tmp_path / "s.db.study.weights"
    stopped_after(7, url)
    damage(last(folder) if whose == "the last one" else folder)
    study = trained(study=new(url), checkpoint_every=0)
    assert agrees(study, lived)
    assert study._training is not None
    study._training.stage.close()
    assert int(last(folder).name) > 12  # new ones were written


@pytest.mark.parametrize("other", ["seed", "shapes", "further"])
def test_a_checkpoint_of_another_course_is_never_read(other: str, lived: Study, tmp_path: Path) -> None:
    url, folder = f"sqlite:///{tmp_path / 's.db'}", tmp_path / "s.db.study.weights"
    foreign = f"sqlite:///{tmp_path / 'f.db'}"
    if other == "shapes":
        study = new(foreign)
        trained(classifier(), study=study, checkpoint_every=0)
        assert study._training is not None
        study._training.stage.close()
    else:
        stopped_after(5 if other == "seed" else 10, foreign, seed=4 if other == "seed" else 3)
    stopped_after(7, url)
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "f.db.study.weights", folder)
    highest = int(last(folder).name)
    stopped_after(8, url)  # new checkpoints are written, though the others were further
    assert int(last(folder).name) < highest or other == "seed"
    assert agrees(trained(study=new(url), checkpoint_every=0), lived)


def test_a_folder_of_checkpoints_may_serve_several_studies(lived: Study, tmp_path: Path) -> None:
    for name in ("a", "b/c"):
        study = new(name=name)
        trained(study=study, checkpoint=tmp_path / "all", checkpoint_every=0)
        assert study._training is not None
        study._training.stage.close()
        assert results(study) == results(lived)
    assert sorted(child.name for child in (tmp_path / "all").iterdir()) == ["a", "b%2Fc"]


# -- interrupted ---------------------------------------------------------------------------------------------------------


def test_ctrl_c_while_the_device_works_changes_nothing(lived: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Lanes.run
    left = 3

    def interrupted(self: Lanes, state: Any) -> Any:
        nonlocal left
        left -= 1
        done = run(self, state)  # the weights that it was given are gone
        if left == 0:
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(Lanes, "run", interrupted)
    study = new()
    for more in range(3, 60, 3):
        left = more
        try:
            trained(study=study, lanes=lived.lanes)
            break
        except KeyboardInterrupt:
            continue
    assert more > 6 and results(study) == results(lived) and same(study.curves, lived.curves)


def test_two_processes_cannot_share_lanes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lived: Study) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    here = _owner.owner()

    def second(study: Study, progress: Progress) -> None:
        monkeypatch.setattr(_owner, "owner", lambda: "elsewhere:7:1")
        with pytest.raises(StudyError, match=re.escape(f"study 'study' is being trained by {here}; wait for it or stop it")):
            trained(study=new(url), checkpoint=None)
        monkeypatch.setattr(_owner, "owner", lambda: here)

    study = trained(study=new(url), checkpoint=None, callbacks=[second])
    assert results(study) == results(lived)


def test_who_was_taken_over_stops_with_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"

    def take_over(study: Study, progress: Progress) -> None:
        if progress.segments == 3:
            other = new(url)
            other._session.append({**study._fold.course.run, "owner": "elsewhere:7:1"})  # type: ignore[dict-item]

    study = new(url)
    with pytest.raises(StudyError, match="study 'study' is now being trained by elsewhere:7:1: two cannot share lanes"):
        trained(study=study, checkpoint=None, callbacks=[take_over])
    assert sum(r["kind"] == "segment" for r in study._log.read("study")) <= 4  # at most one more than it was told of


class Contested(MemoryLog):
    """A log to which another process says that it trains, just before the third segment's record comes."""

    def __init__(self) -> None:
        super().__init__()
        self.segments = 0

    def append(self, study: str, records: Sequence[Record], at: int | None = None) -> int:
        self.segments += records[0]["kind"] == "segment"
        if self.segments == 3:
            self.segments += 1
            run = next(r for r in reversed(self.read(study)) if r["kind"] == "train")
            super().append(study, [{**run, "owner": "elsewhere:7:1"}])
        return super().append(study, records, at)


def test_a_segment_is_not_written_into_another_processs_course() -> None:
    log = Contested()
    with pytest.raises(StudyError, match="is now being trained by elsewhere:7:1"):
        trained(study=new(log))
    kinds = [r["kind"] for r in log.read("study")]
    assert kinds.count("segment") == 2 and kinds[-1] == "train"


def test_a_process_that_ended_well_hands_over_to_another_one_and_back(monkeypatch: pytest.MonkeyPatch, lived: Study) -> None:
    log = MemoryLog()
    first = trained(study=new(log), trials=6)
    monkeypatch.setattr(_owner, "owner", lambda: "elsewhere:7:1")
    second = trained(study=new(log), trials=10)
    monkeypatch.undo()
    trained(study=first, trials=WHOLE)
    assert len(first.finished) == WHOLE and len(second.finished) == WHOLE
    assert results(first) == results(second)


# -- out of memory ---------------------------------------------------------------------------------------------------------


def exhausted(monkeypatch: pytest.MonkeyPatch, when: Callable[[Lanes, int], bool], text: str = "RESOURCE_EXHAUSTED: Out of memory") -> None:
    run, calls = Lanes.run, [0]

    def failing(self: Lanes, state: Any) -> Any:
        calls[0] += 1
        if when(self, calls[0]):
            raise jax.errors.JaxRuntimeError(text)
        return run(self, state)

    monkeypatch.setattr(Lanes, "run", failing)


def test_out_of_memory_halves_the_lanes_and_goes_on(lived: Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    exhausted(monkeypatch, lambda lanes, call: lanes.width > 2 and call == 5)
    url = f"sqlite:///{tmp_path / 's.db'}"
    study = trained(study=new(url), checkpoint_every=0)
    assert study._fold.course.run is not None and study._fold.course.run["lanes"] == 2 and study.lanes.width == 2
    assert len(study.finished) == WHOLE and any(t.status == jaxhp.Status.COMPLETE for t in study.finished)
    curves, full = reports(study), reports(lived)
    both = curves.keys() & full.keys()
    assert len(both) > 20
    np.testing.assert_allclose([curves[k] for k in both], [full[k] for k in both], rtol=1e-4)
    assert len(trained(study=study, trials=WHOLE + 2).finished) == WHOLE + 2  # the same call as before, lanes=4
    assert study._training is not None
    study._training.stage.close()
    again = trained(study=new(url), trials=WHOLE + 2)
    assert results(again) == results(study) and again.best_state["seen"] == 18


def test_out_of_memory_with_one_lane_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    exhausted(monkeypatch, lambda lanes, call: True)
    study = new()
    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED"):
        trained(study=study)
    assert study._fold.course.run is not None and study._fold.course.run["lanes"] == 1


def test_another_error_of_the_device_is_told_and_can_be_survived(lived: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    exhausted(monkeypatch, lambda lanes, call: call == 6, "INTERNAL: the device is gone")
    study = new()
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL: the device is gone"):
        trained(study=study, lanes=lived.lanes)
    assert results(trained(study=study)) == results(lived)
