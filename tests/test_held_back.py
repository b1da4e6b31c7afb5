"""A part of the validation set that no gradient sees: `jaxhp.held_back`, and `study.train(differentiate=)`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import RATES, bowl, classifier, widening

import jaxhp
from jaxhp import Study, StudyError, Trainable, TrainableError, held_back
from jaxhp.report import _tables
from jaxhp.report._columns import columns
from jaxhp.train.hypergrad import Forward, Guarded, lane_key, value_and_hypergrad

BARE = Guarded(Forward(), when="never")


def parted() -> Trainable:
    """The bowl, with three validation targets of which one is held back."""
    task = bowl()

    def evaluate(state: Any, hparams: Any, split: Any, key: jax.Array) -> Any:
        loss = ((state["w"] - split[:, None]) ** 2).mean()
        return {"loss": loss, "closeness": -loss}

    data = {**task.data, "validation": np.float32([2.0, 2.5, 9.0]), "test": np.float32([3.0])}
    return held_back(task._replace(evaluate=evaluate, data=data), 1 / 3)


def trained(metric: str = "held_back_loss", direction: Any = "minimize", **arguments: Any) -> Study:
    study = Study(RATES, sampler=jaxhp.hypergradient_descent(starts=2), metric=metric, direction=direction, seed=3)
    return study.train(parted(), **({"trials": 4, "steps": 12, "lanes": 2, "adjoint": BARE, "differentiate": "loss"} | arguments))


def test_metrics_of_both_parts_are_those_of_the_examples_in_them() -> None:
    task, whole = held_back(classifier(), 0.4), classifier()
    x, y = whole.data["validation"]
    state = whole.init(jax.random.key(0), {"rate": jnp.float32(0.1)})
    told = task.evaluate(state, {}, task.data["validation"], jax.random.key(0))
    for prefix, part in (("", slice(18)), ("held_back_", slice(18, None))):
        alone = whole.evaluate(state, {}, (x[part], y[part]), jax.random.key(0))
        assert {f"{prefix}{name}": float(value) for name, value in alone.items()} == {
            name: float(value) for name, value in told.items() if name.startswith("held_back_") == bool(prefix)
        }
    assert set(task.evaluate(state, {}, task.data["test"], jax.random.key(0))) == set(alone)  # other splits are whole


def test_trials_are_judged_by_one_metric_and_differentiated_by_another() -> None:
    study = trained()
    function = value_and_hypergrad(parted(), 12, "rate", adjoint=Forward(), guard=False, metric="loss", seed=3, segment=1)
    for trial in study.finished:
        value, gradient, _ = function({"rate": np.float32(trial["rate"])}, lane_key(3, trial.number))
        assert trial.values["loss"] == pytest.approx(float(value), rel=1e-5)
        assert trial.value == trial.values["held_back_loss"] > 10 * trial.values["loss"]
        assert trial.gradient["rate"] == pytest.approx(float(gradient["rate"]), rel=1e-4)
    assert study.test()["loss"] < 1.0


def test_a_maximised_metric_climbs_while_the_loss_descends() -> None:
    down, up = trained("loss"), trained("closeness", "maximize")
    assert [t.params for t in up.finished] == [t.params for t in down.finished]
    assert [t.gradient["rate"] for t in up.finished] == [-t.gradient["rate"] for t in down.finished]


@pytest.mark.parametrize(
    ("share", "task", "message"),
    [
        (0.0, None, "share=0.0: expected a part of the validation set, between 0 and 1"),
        (1, None, "share=1: expected a part"),
        (0.1, None, "share=0.1: of 3 validation examples that leaves 3"),
        (0.5, widening(), "padded.*hold back inside the function that makes it"),
        (0.5, bowl(data={"train": np.zeros(3)}), "has no 'validation'"),
        (0.5, bowl(data={"validation": (np.zeros(3), np.zeros(4))}), r"arrays have \[3, 4\] rows"),
    ],
)
def test_what_cannot_be_held_back_is_refused(share: Any, task: Any, message: str) -> None:
    with pytest.raises(TrainableError, match=message):
        held_back(bowl() if task is None else task, share)


def test_what_cannot_be_differentiated_is_refused() -> None:
    with pytest.raises(TrainableError, match=r"differentiate='lost': evaluate has no such metric; it has 'closeness', 'held_back"):
        trained(differentiate="lost")
    with pytest.raises(StudyError, match="without an adjoint nothing is differentiated; pass adjoint="):
        trained(adjoint=None)
    with pytest.raises(StudyError, match="differentiate=3: expected the name of a metric"):
        trained(differentiate=3)


def test_the_report_shows_validation_beside_test_and_what_guards_did() -> None:
    study = trained()
    value = study.test(repeats=2)["loss"]
    study.test({"rate": 0.5}, repeats=2)
    again = Study.open(study._log, study.name)  # the log has it
    table = _tables.held_out(again)
    best = study.best
    row = [f"trial {best.number}", "loss", _tables.number(best.values["loss"]), _tables.number(value), "test", "2"]
    first, second = (r for r in table.rows if r[1] == "loss")
    assert first == row
    assert second[:3] == ["{'rate': 0.5}", "loss", ""]
    told = _tables.gradients(columns(study))
    assert told.note == "4 trials were told with the slopes of 1 parameter. None was suspect." and not told.rows
    page = jaxhp.report.html(again)
    assert "<h2>Validation beside test</h2>" in page and "None was suspect." in page
    study._fold.guards[1] = {"rate": "replaced: because"}
    assert _tables.gradients(columns(study)).rows == [["rate", "4", "1", "replaced: because"]]


def test_a_report_without_gradients_or_tests_is_silent_about_them() -> None:
    study = Study(RATES, sampler=jaxhp.sobol()).optimize(lambda trial: trial["rate"], trials=4)
    assert not _tables.held_out(study).rows and not _tables.gradients(columns(study)).note
    page = jaxhp.report.html(study)
    assert "<h2>Validation beside test</h2>" not in page and "<h2>Gradients</h2>" not in page
