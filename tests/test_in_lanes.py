"""`jaxhp.InLanes`: trials that one process runs side by side share one program of lanes."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxhp
from jaxhp import Categorical, Float, InLanes, Space, Status, Study, StudyError, TrainableError

SPACE = Space({"rate": Float(1e-3, 0.4, log=True), "sign": Categorical(["up", "down"])})


def init(key: Any, hparams: Any) -> Any:
    return jax.random.normal(key, (3,))


def step(w: Any, hparams: Any, batch: Any, key: Any, t: Any) -> Any:
    return w - hparams["rate"] * 2 * (w - batch) + 0.01 * jax.random.normal(key, (3,)), {"sum": jnp.sum(w)}


def evaluate(w: Any, hparams: Any, split: Any, key: Any) -> dict[str, Any]:
    return {"loss": jnp.sum((w - split) ** 2)}


TRAINABLE = jaxhp.Trainable(init, step, evaluate, data={"train": jnp.float32(3.0), "validation": jnp.float32(3.0)})


def make(**more: Any) -> Study:
    return Study(SPACE, **({"sampler": jaxhp.sobol(), "seed": 5, "metric": "loss"} | more))


def test_trials_train_as_in_lanes_of_the_same_width(compilations: list[float]) -> None:
    lanes = make().train(TRAINABLE, trials=12, steps=20, lanes=4, evaluate_every=5)
    objective = InLanes(TRAINABLE, steps=20, lanes=4, evaluate_every=5)
    with ThreadPoolExecutor(4) as pool:
        study = make().optimize(objective, trials=6, executor=pool)
        count = len(compilations)
        study.optimize(objective, trials=12, workers=3)
    assert len(compilations) == count  # programs stay
    assert [t.values for t in study.finished] == [t.values for t in lanes.finished]  # bitwise
    assert (study.trials.status == Status.REPORTED).sum() == 12 * 4


def test_a_scheduler_ends_trials_and_frees_their_lanes() -> None:
    study = make(scheduler=jaxhp.asha(eta=2, min_steps=5))
    study.optimize(InLanes(TRAINABLE, steps=22, lanes=2, evaluate_every=5), trials=10, workers=4)  # more trials than lanes; a ragged end
    assert {t.status for t in study.finished} == {Status.COMPLETE, Status.STOPPED}
    steps = {t.number: study.trials.fidelity[study.trials.number == t.number].max() for t in study.finished}
    assert all((steps[t.number] == 22) == (t.status == Status.COMPLETE) for t in study.finished)


def test_an_objective_that_is_sent_trains_there_alike() -> None:
    sent = pickle.loads(pickle.dumps(InLanes(TRAINABLE, steps=20, lanes=4, evaluate_every=5)))
    here = make().optimize(InLanes(TRAINABLE, steps=20, lanes=4, evaluate_every=5), trials=3, workers=2)
    assert [t.value for t in make().optimize(sent, trials=3).finished] == [t.value for t in here.finished]


def test_what_breaks_the_lanes_fails_every_trial_in_them_and_later_ones_find_new_lanes() -> None:
    objective = InLanes(TRAINABLE, steps=20, lanes=2)
    study, broken = make(), threading.Event()

    def breaking(self: Any, state: Any) -> Any:
        broken.set()
        raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxhp.Lanes, "run", breaking)
        study.optimize(objective, trials=2, workers=2, max_failed=1.0)
    assert broken.is_set() and ["out of memory" in (t.error or "") for t in study.finished] == [True, True]
    assert study.optimize(objective, trials=4, workers=2).finished[3].status == Status.COMPLETE


def test_what_is_trained_is_checked_before_a_trial_is_asked() -> None:
    with pytest.raises(TrainableError, match=r"expected a jaxhp.Trainable, got function"):
        InLanes(lambda trial: 0.0, steps=5)  # type: ignore[arg-type]


def test_it_reports_as_often_as_training_in_lanes_does() -> None:
    objective, here = make(), make()
    objective.optimize(InLanes(TRAINABLE, steps=30, lanes=2), trials=2, workers=2)  # a twentieth of 30, rounded up
    here.train(TRAINABLE, steps=30, trials=2, lanes=2)
    reports = [[(t.fidelity[i], t.y[i, 0]) for i in np.flatnonzero(t.number == 1)] for t in (objective.trials, here.trials)]
    assert [step for step, _ in reports[0]] == [*range(2, 31, 2), 30]
    assert reports[0] == reports[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, r"InLanes\(steps=0\): expected a positive number"),
        ({"steps": 5, "lanes": 1.5}, "lanes=1.5"),
        ({"steps": 5, "evaluate_every": 6}, "more than steps=5"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        InLanes(TRAINABLE, **arguments)


def test_lanes_that_cannot_be_built_fail_their_trials_and_keep_nobody_waiting() -> None:
    study = make(metric="accuracy").optimize(InLanes(TRAINABLE, steps=20, lanes=2), trials=3, workers=3, max_failed=1.0)
    assert all("accuracy" in (t.error or "") for t in study.finished)


@pytest.mark.parametrize(
    "arguments", [{"steps": None}, {"steps": 2.0}, {"steps": 8, "lanes": None}, {"steps": 8, "lanes": "auto"}, {"steps": 0}]
)
def test_what_is_no_count_is_refused_by_name(arguments: dict[str, Any]) -> None:
    name = list(arguments)[-1]
    with pytest.raises(StudyError, match=rf"InLanes\({name}={arguments[name]!r}\): expected a positive number"):
        InLanes(TRAINABLE, **arguments)


def test_a_count_may_be_one_of_numpy() -> None:
    objective = InLanes(TRAINABLE, steps=np.int64(20), lanes=np.int32(2), evaluate_every=np.int64(10))  # type: ignore[arg-type]
    study = make().optimize(objective, trials=1)
    assert study.finished[0].status == Status.COMPLETE and (study.trials.status == Status.REPORTED).sum() == 2


def test_what_is_no_trial_or_a_repeated_one_is_refused() -> None:
    objective = InLanes(TRAINABLE, steps=8, lanes=2)
    with pytest.raises(StudyError, match=r"InLanes: expected a trial, got {'rate': 0.1}; give the objective to study\.optimize"):
        objective({"rate": 0.1})  # type: ignore[arg-type]
    study = make().optimize(objective, trials=2, workers=2)
    with pytest.raises(StudyError, match=r"cannot be confirmed in lanes; train under several seeds: study\.train\(seeds=\)"):
        study.confirm(objective, top=1, repeats=2)
