"""Writers between segments: what TensorBoard and Weights & Biases are told is what the study knows."""

from __future__ import annotations

import importlib.util
import math
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny import RATES, bowl

import jaxhp
from jaxhp import Study, interop
from jaxhp.errors import MissingExtra

TRAINABLE = bowl()


def trained(*callbacks: Any, trials: int = 6, name: str = "bowl") -> Study:
    study = Study(RATES, sampler=jaxhp.sobol(), metric="loss", name=name)
    scheduler = jaxhp.asha(eta=2, min_steps=5)
    return study.train(TRAINABLE, trials=trials, steps=20, lanes=4, scheduler=scheduler, callbacks=callbacks)


def events(folder: Path) -> list[Any]:
    """The events of a folder's files, in order: records of (length, its checksum, data, its checksum)."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            found.append(Event.FromString(data[at + 12 : at + 12 + length]))
            at += length + 16
    return found


def scalars(folder: Path, tag: str) -> dict[int, float]:
    """step -> value."""
    return {e.step: v.simple_value for e in events(folder) for v in e.summary.value if v.tag == tag}


def test_tensorboard_holds_every_learning_curve_and_the_progress_of_the_study(tmp_path: Path) -> None:
    seen: list[jaxhp.Progress] = []
    study = trained(interop.tensorboard(tmp_path), lambda study, progress: seen.append(progress))
    curves = study.curves
    for trial in study.finished:
        mine = curves["number"] == trial.number
        told = dict(zip(curves["step"][mine].tolist(), curves["loss"][mine].tolist(), strict=True))
        assert scalars(tmp_path / "bowl" / f"trial{trial.number:05}", "loss") == pytest.approx(told, rel=1e-6)
    assert scalars(tmp_path / "bowl", "trials/finished") == {p.segments: p.finished for p in seen}
    assert scalars(tmp_path / "bowl", "lanes/occupied") == pytest.approx({p.segments: p.busy / p.lanes for p in seen})
    told = {p.segments: p.best for p in seen if p.best is not None}
    assert told and scalars(tmp_path / "bowl", "best/loss") == pytest.approx(told, rel=1e-6)


def test_tensorboard_shows_the_hyperparameters_of_a_trial_once(tmp_path: Path) -> None:
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    study = trained(interop.tensorboard(tmp_path))
    for trial in study.finished:
        values = [v for e in events(tmp_path / "bowl" / f"trial{trial.number:05}") for v in e.summary.value]
        starts = [v for v in values if v.tag == "_hparams_/session_start_info"]
        assert len(starts) == 1
        start = HParamsPluginData.FromString(starts[0].metadata.plugin_data.content).session_start_info
        assert {name: value.number_value for name, value in start.hparams.items()} == trial.params


def test_tensorboard_can_leave_the_trials_out_and_holds_several_studies(tmp_path: Path) -> None:
    writer = interop.tensorboard(tmp_path, trials=False)
    trained(writer)
    trained(writer, name="second")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bowl", "second"]
    assert not [p for p in (tmp_path / "bowl").iterdir() if p.is_dir()]
    assert scalars(tmp_path / "bowl", "trials/begun") == scalars(tmp_path / "second", "trials/begun")


def test_choices_that_are_no_numbers_are_written_as_text(tmp_path: Path) -> None:
    space = jaxhp.Space({"rate": jaxhp.Float(0.01, 0.1), "shape": jaxhp.Categorical([None, "round", True])})
    study = Study(space, sampler=jaxhp.grid_search(2), metric="loss", name="choices")
    study.train(TRAINABLE, trials=3, steps=5, lanes=4, callbacks=[interop.tensorboard(tmp_path)])
    assert len([p for p in (tmp_path / "choices").iterdir() if p.is_dir()]) == 3


class Run:
    """What of a wandb run is used."""

    def __init__(self) -> None:
        self.logged: list[dict[str, float]] = []
        self.summary: dict[str, Any] = {}

    def log(self, values: dict[str, float]) -> None:
        self.logged.append(values)


def test_a_wandb_run_gets_a_row_per_segment_and_the_best_configuration() -> None:
    run = Run()
    seen: list[jaxhp.Progress] = []
    study = trained(interop.wandb(run), lambda study, progress: seen.append(progress))
    assert [row["segment"] for row in run.logged] == [p.segments for p in seen]
    assert [row["trials/begun"] for row in run.logged] == [p.asked for p in seen]
    assert run.summary["best"] == {"trial": study.best.number, "values": study.best.values, "params": study.best.params}
    assert all(math.isfinite(x) for row in run.logged for x in row.values())


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is a large optional install: pip install 'jaxhp[wandb]'")
@pytest.mark.filterwarnings("default")  # its own deprecations are not ours to mend
def test_wandb_itself_takes_it_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    import wandb

    study = trained(interop.wandb(mode="offline", project="jaxhp", dir=str(tmp_path)))
    run = wandb.run
    assert run is not None and run.name == "bowl"
    assert run.summary["best"]["trial"] == study.best.number
    assert run.summary["trials/begun"] == 6
    wandb.finish()
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))


@pytest.mark.parametrize(("library", "make"), [("tensorboardX", lambda: interop.tensorboard("x")), ("wandb", interop.wandb)])
def test_a_missing_library_is_named_with_its_extra(library: str, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtra, match=rf"jaxhp\[{library.removesuffix('X')}\]"):
        make()
