"""`study.train(adjoint=)`: trials told with their gradients, what a guard did in the record, resuming, and what is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import RATES, WIDTHS, bowl, same, widening

import jaxhp
from jaxhp import Float, Int, Space, Study, StudyError, Trainable, TrainableError
from jaxhp.schedulers import asha, pbt
from jaxhp.train import _gradients
from jaxhp.train.hypergrad import Forward, Guarded, Reverse, SmoothedSlope, lane_key, value_and_hypergrad

BOWL = bowl()
STEPS = 12
FORWARD = Guarded(Forward(), SmoothedSlope(lanes=4))


def study_of(space: Space = RATES, starts: int = 4, **arguments: Any) -> Study:
    return Study(space, **({"sampler": jaxhp.hypergradient_descent(starts=starts), "metric": "loss", "seed": 3} | arguments))


def trained(study: Study | None = None, trainable: Trainable = BOWL, **arguments: Any) -> Study:
    defaults: dict[str, Any] = {"trials": 16, "steps": STEPS, "lanes": 4, "evaluate_every": 6, "adjoint": FORWARD}
    return (study or study_of()).train(trainable, **(defaults | arguments))


def told(study: Study) -> list[Any]:
    return [(t.number, t.params, t.values, t.gradient, t.guard) for t in study.finished]


def final(study: Study) -> jaxhp.Trials:
    """The rows of complete trials, in number order."""
    trials = study.trials
    rows = np.flatnonzero(trials.status == jaxhp.Status.COMPLETE)
    rows = rows[np.argsort(trials.number[rows])]
    return jaxhp.Trials._make(column[rows] for column in trials)


@pytest.fixture(scope="module")
def descended() -> Study:
    return trained()


def test_every_complete_trial_is_told_with_its_gradient(descended: Study) -> None:
    function = value_and_hypergrad(BOWL, STEPS, "rate", adjoint=FORWARD, seed=3, segment=6)
    for trial in descended.finished:
        value, gradient, info = function({"rate": np.float32(trial["rate"])}, lane_key(3, trial.number))
        assert trial.value == pytest.approx(float(value), rel=1e-5)
        assert trial.gradient == {"rate": pytest.approx(float(gradient["rate"]), rel=1e-4)}
        assert trial.guard == {name: words for name, words in info.words().items() if words != "kept"}
    rows = final(descended)
    assert np.isfinite(rows.gradient).all()
    stretch = descended.space.stretch(rows.u)
    assert np.allclose(rows.gradient, stretch * [[t.gradient["rate"]] for t in descended.finished])


@dataclass(frozen=True)
class Lying:
    """Says the opposite, a thousand times too loud, of rates above 0.1."""

    exact: ClassVar[bool] = True

    def gradient(self, loop: Any, x: Any) -> Any:
        value, gradient, info = Forward().gradient(loop, x)
        return value, {name: jnp.where(x[name] > 0.1, -1000.0 * g, g) for name, g in gradient.items()}, info


def test_a_gradient_that_lies_is_replaced_and_the_record_says_so(descended: Study) -> None:
    study = trained(adjoint=Guarded(Lying(), SmoothedSlope(lanes=4)), trials=4)
    lied = [t.number for t in study.finished if t["rate"] > 0.1]
    assert 0 < len(lied) < 4
    for trial, honest in zip(study.finished, descended.finished, strict=False):
        assert trial.guard == ({"rate": "replaced: neighbouring runs slope the other way"} if trial.number in lied else {})
        assert trial.gradient["rate"] * honest.gradient["rate"] > 0
    (record,) = [r for r in study._fold.course.records if "guard" in r]
    assert set(record["guard"]) == {str(number) for number in lied}


def test_each_batch_follows_from_the_gradients_of_the_one_before(descended: Study) -> None:
    rows = final(descended)
    u = rows.u.reshape(4, 4)
    logits = np.log(u / (1 - u))
    order = np.argsort(rows.y[:4, 0], kind="stable")
    assert np.allclose(np.abs(logits[1] - logits[0][order]), 0.1, rtol=1e-3)  # Adam's first step
    slopes = rows.gradient.reshape(4, 4)[0][order]
    assert (np.sign(logits[1] - logits[0][order]) == -np.sign(slopes)).all()


def test_weights_and_values_are_those_of_training_without_an_adjoint(descended: Study) -> None:
    alone = Study(RATES, metric="loss", seed=3)
    for trial in descended.finished:
        alone.enqueue(trial.params)
    trained(alone, adjoint=None)
    assert [t.values for t in alone.finished] == [t.values for t in descended.finished]
    assert not any(t.gradient for t in alone.finished)
    assert same(descended.best_state, alone.best_state)


class Killed(Exception):
    pass


def test_a_study_that_was_interrupted_ends_as_if_it_had_not_been(descended: Study, tmp_path: Path) -> None:
    def kill(study: Study, progress: Any) -> None:
        if progress.segments == 3:
            raise Killed

    storage = f"sqlite:///{tmp_path}/study.db"
    with pytest.raises(Killed):
        trained(study_of(storage=storage), callbacks=[kill])
    again = study_of(storage=storage)
    assert 0 < len(again.finished) < 16
    trained(again)
    assert told(again) == told(descended)
    assert told(Study.open(storage)) == told(descended)


def test_replicates_are_told_with_their_mean_gradient() -> None:
    study = trained(study_of(starts=2), trials=2, seeds=2, adjoint=Guarded(Forward(), when="never"))
    function = value_and_hypergrad(BOWL, STEPS, "rate", adjoint=Forward(), guard=False, seed=3, segment=6)
    for trial in study.finished:
        runs = [function({"rate": np.float32(trial["rate"])}, lane_key(3, trial.number, r))[1]["rate"] for r in (0, 1)]
        assert trial.gradient["rate"] == pytest.approx(float(np.mean(runs)), rel=1e-4)


def test_only_trials_that_run_to_the_end_have_gradients() -> None:
    study = trained(study_of(), scheduler=asha(min_steps=6, eta=2), adjoint=Guarded(Forward(), when="never"), trials=12)
    status = {t.status.name for t in study.finished}
    assert status == {"COMPLETE", "STOPPED"}
    assert all(bool(t.gradient) == (t.status.name == "COMPLETE") for t in study.finished)


def test_trials_in_buckets_have_the_gradients_of_the_unpadded_network() -> None:
    trainable = widening(optimizer=lambda h: optax.sgd(h["rate"]))
    study = Study(WIDTHS, sampler=jaxhp.sobol(), metric="loss", seed=3)
    study.train(trainable, trials=6, steps=6, evaluate_every=6, lanes=4, buckets=[4, 8], adjoint=Guarded(Forward(), when="never"))
    assert study.plan is not None and len(study.plan.buckets) == 2
    assert {t["width"] > 4 for t in study.finished} == {False, True}
    function = value_and_hypergrad(trainable, 6, "rate", adjoint=Forward(), guard=False, seed=3, segment=6)
    for trial in study.finished:
        hparams = {"rate": np.float32(trial["rate"]), "width": np.int32(trial["width"])}
        value, gradient, _ = function(hparams, lane_key(3, trial.number))
        assert trial.value == pytest.approx(float(value), rel=1e-4)
        assert trial.gradient == {"rate": pytest.approx(float(gradient["rate"]), rel=1e-3)}


def jumpy() -> Trainable:
    """Three weights that grow by a factor at every step, to which two hyperparameters add; one is rounded, one is never read."""

    def step(w: jax.Array, h: Any, batch: Any, key: jax.Array, t: jax.Array) -> Any:
        return w * h["factor"] + jnp.round(h["rounded"]) + sum(h[f"x{i}"] for i in range(9)), {}

    return Trainable(
        init=lambda key, h: jnp.ones(3),
        step=step,
        evaluate=lambda w, h, split, key: {"loss": jnp.sin(w).mean(), "sign": jnp.sign(w).mean()},
        data={"train": np.zeros(1, np.float32), "validation": np.zeros(1, np.float32)},
    )


JUMPS = Space({"factor": Float(1.5, 4.0), "rounded": Float(0.0, 3.0)} | {f"x{i}": Float(-1.0, 1.0) for i in range(9)})


def test_a_parameter_that_is_rounded_is_left_out_with_a_warning_and_too_many_suspects_are_given_up() -> None:
    assert len(JUMPS) - 1 > _gradients.FEW
    with pytest.warns(UserWarning, match="'rounded' acts on 'loss' through rounding or comparisons alone.*leaves it as each start has it"):
        study = trained(study_of(JUMPS), jumpy(), trials=4, adjoint=Reverse())
    for trial in study.finished:
        assert "rounded" not in trial.gradient
        assert all(math.isnan(slope) for slope in trial.gradient.values())
        assert set(trial.guard.values()) == {f"given up: {len(trial.guard)} slopes are suspect, too many to train neighbours for"}
    assert np.isnan(final(study).gradient).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"study": Study(RATES, directions={"loss": "minimize", "draw": "minimize"})},
            StudyError,
            "this study has several",
        ),
        ({"study": Study(Space({"rate": Int(1, 3)}), metric="loss")}, StudyError, "none of rate is continuous, so nothing has a gradient"),
        ({"scheduler": pbt(every=6)}, StudyError, "pbt.* changes trials on their way"),
        ({"adjoint": "reverse"}, TrainableError, "adjoint='reverse': expected 'auto' or an adjoint such as Reverse"),
        ({"adjoint": Reverse}, TrainableError, "its parentheses are needed"),
        ({"study": study_of(metric="draw")}, TrainableError, "'draw' has no derivative with respect to any of rate"),
    ],
)
def test_what_has_no_gradient_is_refused(arguments: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        trained(**({"study": study_of()} | arguments))
