"""`Study.train`: any sampler, any scheduler, the results of a study in which each trial was trained alone."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import DATA, RATES, bowl, classifier, reports, results, same

import jaxhp
from jaxhp import Categorical, Float, Int, Progress, SchedulerError, Space, Status, Study, StudyError, TrainableError
from jaxhp._types import Decision
from jaxhp.schedulers import asha, hyperband, median_stopping, patience, successive_halving, to_the_end

BOWL, CLASSIFIER = bowl(), classifier()


def study_of(**arguments: Any) -> Study:
    defaults: dict[str, Any] = {"sampler": jaxhp.random_search(), "metric": "loss", "seed": 3}
    return Study(arguments.pop("space", RATES), **(defaults | arguments))


def trained(trainable: Any = BOWL, study: Study | None = None, **arguments: Any) -> Study:
    defaults: dict[str, Any] = {"trials": 12, "steps": 18, "lanes": 4, "evaluate_every": 2}
    return (study or study_of()).train(trainable, **(defaults | arguments))


@pytest.fixture(scope="module")
def plain() -> Study:
    return trained()


@pytest.fixture(scope="module")
def climbed() -> Study:
    return trained(scheduler=asha(min_steps=2), trials=30)


def test_without_a_scheduler_every_trial_runs_to_the_end(plain: Study) -> None:
    assert [t.status for t in plain.finished] == [Status.COMPLETE] * 12
    curves = plain.curves
    assert curves["step"].tolist().count(18) == 12 and len(curves["step"]) == 12 * 9
    assert set(curves) == {"number", "step", "loss", "draw", "seen", "train_loss", "train_step"}
    last = {n: x for n, x in zip(curves["number"].tolist(), curves["loss"].tolist(), strict=True)}
    assert {t.number: t.value for t in plain.finished} == last
    assert plain.best.value == min(last.values())
    assert all(t.seconds > 0 for t in plain.finished)


def test_one_program_is_compiled_and_the_same_seed_gives_the_same_study(climbed: Study) -> None:
    assert climbed._training is not None and climbed._training.stage.lanes.compiled == 1
    again = trained(scheduler=asha(min_steps=2), trials=30)
    assert results(again) == results(climbed)
    other = trained(study=study_of(seed=4), scheduler=asha(min_steps=2), trials=30)
    assert results(other) != results(climbed)


def test_asha_stops_most_trials_at_its_rungs(climbed: Study) -> None:
    by_step: dict[int, int] = {}
    for t in climbed.finished:
        step = climbed._fold.reached(t.number)
        by_step[step] = by_step.get(step, 0) + 1
        assert (t.status == Status.COMPLETE) == (step == 18)
    assert len(climbed.finished) == 30 and set(by_step) <= {2, 6, 18} and by_step[2] >= 15 and by_step[18] >= 1
    assert climbed.best.value == min(t.value for t in climbed.finished if t.status == Status.COMPLETE)


@pytest.mark.parametrize(
    "scheduler",
    [
        asha(eta=2, min_steps=2),
        successive_halving(min_steps=2),
        hyperband(min_steps=2),
        hyperband(min_steps=2, asynchronous=True),
        median_stopping(min_steps=2, every=2, after=3),
        patience(2, 0.01, asha(min_steps=6)),
        patience(1),
    ],
    ids=lambda s: s.name,
)
def test_a_scheduler_changes_who_goes_on_and_nothing_else(scheduler: Any, plain: Study) -> None:
    """What a trial reports while it runs is what it reports in a study without a scheduler."""
    study = trained(scheduler=scheduler)
    assert len(study.finished) == 12 and any(t.status == Status.STOPPED for t in study.finished)
    assert any(t.status == Status.COMPLETE for t in study.finished) or "patience(1," in scheduler.name
    told, full = reports(study), reports(plain)
    assert told.items() <= full.items() and len(told) < len(full)


def test_the_scheduler_of_the_study_is_used_and_a_later_call_may_bring_another() -> None:
    study = study_of(scheduler=asha(min_steps=6))
    trained(study=study, trials=6)
    assert study.scheduler == "asha(eta=3, min_steps=6)"
    trained(study=study, trials=8, scheduler=to_the_end())
    assert study.scheduler == "to_the_end()"
    assert [t.status for t in study.finished[6:]] == [Status.COMPLETE] * 2


# -- samplers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheduler", [asha(min_steps=2), hyperband(min_steps=2), median_stopping(min_steps=2)], ids=lambda s: s.name)
@pytest.mark.parametrize("make", [jaxhp.sobol, jaxhp.bayes, jaxhp.auto], ids=lambda m: m.__name__)
def test_any_sampler_feeds_the_lanes_under_any_scheduler(make: Any, scheduler: Any) -> None:
    study = trained(study=study_of(sampler=make()), scheduler=scheduler, trials=14)
    assert len(study.finished) == 14 and len({t.params["rate"] for t in study.finished}) == 14
    assert results(trained(study=study_of(sampler=make()), scheduler=scheduler, trials=14)) == results(study)


def test_a_grid_that_ends_early_ends_the_training() -> None:
    space = Space({"rate": Categorical([0.01, 0.1, 0.3]), "twice": Categorical([1, 2])})
    study = trained(study=study_of(space=space, sampler=jaxhp.grid_search()), scheduler=asha(min_steps=2), trials=50)
    assert len(study.finished) == 6 and any(t.status == Status.COMPLETE for t in study.finished)
    assert len(trained(study=study, trials=50).finished) == 6


def test_enqueued_configurations_and_defaults_come_first() -> None:
    space = Space({"rate": Float(1e-3, 1.0, log=True, default=0.25)})
    assert trained(study=study_of(space=space, sampler=jaxhp.bayes()), trials=2).finished[0].params["rate"] == pytest.approx(0.25)
    study = study_of(space=space, sampler=jaxhp.sobol())
    study.enqueue({"rate": 0.5})
    study.add({"rate": 0.125}, 7.0)
    trained(study=study, trials=6)
    assert [t.params["rate"] for t in study.finished][:2] == [0.125, 0.5]
    assert study.finished[0].value == 7.0 and len(study.finished) == 6


def test_conditional_and_discrete_parameters_reach_the_trainable() -> None:
    space = Space(
        {
            "rule": Categorical(["plain", "double"]),
            "rate": Float(0.01, 0.4),
            "extra": Int(1, 3, when={"rule": "double"}),
        }
    )

    def step(s: Any, h: Any, b: Any, k: Any, t: Any) -> Any:
        change = jax.lax.switch(h["rule"], [lambda: h["rate"], lambda: h["rate"] * 2 * h["extra"]])
        return s | {"w": s["w"] + change}, {}

    study = trained(bowl(step=step), study=study_of(space=space), trials=10)
    start = trained(bowl(step=lambda s, h, b, k, t: (s, {})), study=study_of(space=space), trials=10)
    for t in study.finished:
        factor = 1 if t.params["rule"] == "plain" else 2 * t.params["extra"]
        moved = study.state(t.number)["w"] - start.state(t.number)["w"]
        np.testing.assert_allclose(moved, 18 * t.params["rate"] * factor, rtol=1e-5)


# -- metrics -------------------------------------------------------------------------------------------------------------


def test_a_maximised_metric_is_maximised() -> None:
    study = trained(CLASSIFIER, study=study_of(metric="accuracy", direction="maximize"), scheduler=asha(min_steps=2), trials=16)
    assert study.best.value == max(t.value for t in study.finished if t.status == Status.COMPLETE)
    stopped = [t for t in study.finished if t.status == Status.STOPPED]
    assert stopped and all(0 <= t.value <= 1 for t in stopped)


def test_several_objectives_and_constraints_are_told() -> None:
    several = Study(RATES, sampler=jaxhp.random_search(), directions={"loss": "minimize", "accuracy": "maximize"}, seed=0)
    trained(CLASSIFIER, study=several, trials=8)
    assert several.pareto and all(set(t.values) >= {"loss", "accuracy"} for t in several.finished)
    bound = study_of(constraints={"accuracy": ">= 0.7"})
    trained(CLASSIFIER, study=bound, trials=8)
    kept = [t for t in bound.finished if t.values["accuracy"] >= 0.7]
    assert 0 < len(kept) < 8 and bound.best.value == min(t.value for t in kept)


def exploding(at: float = 0.1) -> Any:
    """The bowl, whose weights turn to NaN in step 7 where the rate is large."""

    def step(s: Any, h: Any, b: Any, k: Any, t: Any) -> Any:
        new, metrics = BOWL.step(s, h, b, k, t)
        return new | {"w": jnp.where((t >= 7) & (h["rate"] > at), jnp.nan, new["w"])}, metrics

    return bowl(step=step)


def test_a_trial_that_diverges_is_failed_with_its_step_and_disturbs_nobody(plain: Study) -> None:
    study = trained(exploding())
    failed = [t for t in study.finished if t.status == Status.FAILED]
    assert failed and all(t.params["rate"] > 0.1 for t in failed)
    assert {t.error for t in failed} == {"diverged at step 8: loss is nan"}
    assert [(t.number, t.values) for t in study.finished if t.status == Status.COMPLETE] == [
        (t.number, t.values) for t in plain.finished if t.params["rate"] <= 0.1
    ]
    assert study._fold.failed == len(failed) and "failed" in repr(study)


def test_a_loss_that_explodes_without_being_infinite_has_diverged() -> None:
    study = trained(bowl(step=lambda s, h, b, k, t: (s | {"w": s["w"] * 1e3}, {})), trials=4)
    assert all(t.status == Status.FAILED and "loss is" in str(t.error) for t in study.finished)


@pytest.mark.parametrize(
    "scheduler",
    [None, asha(min_steps=2), successive_halving(min_steps=2), hyperband(min_steps=2), median_stopping(), patience(2)],
    ids=lambda s: getattr(s, "name", "none"),
)
def test_a_study_in_which_everything_diverges_ends(scheduler: Any) -> None:
    study = trained(exploding(-1.0), scheduler=scheduler)
    assert len(study.finished) == 12 and not study.running
    assert not any(t.status == Status.COMPLETE for t in study.finished) and any(t.status == Status.FAILED for t in study.finished)
    with pytest.raises(StudyError, match="no completed trial"):
        _ = study.best


# -- replicates ----------------------------------------------------------------------------------------------------------


def test_replicates_tell_their_mean_and_its_standard_error(plain: Study) -> None:
    study = trained(lanes=6, seeds=3, trials=7)
    assert len(study.finished) == 7 and study._training is not None
    rows = study.trials
    for t in study.finished:
        models = [study.state(t.number, replicate) for replicate in range(3)]
        losses = np.array([float(((m["w"] - 3) ** 2).mean()) for m in models])
        assert len(set(losses.tolist())) == 3
        np.testing.assert_allclose(t.value, losses.mean(), rtol=1e-5)
        noise = rows.noise[(rows.number == t.number) & (rows.status == Status.COMPLETE), 0]
        np.testing.assert_allclose(noise, losses.std(ddof=1) / math.sqrt(3), rtol=1e-3)
    first = plain.finished[0]  # the first replicate is the trial itself
    np.testing.assert_allclose(study.state(first.number)["w"], plain.state(first.number)["w"], rtol=1e-5)
    with pytest.raises(StudyError, match=r"state\(0, replicate=3\): each trial was trained with 3 seeds"):
        study.state(0, 3)


def test_replicates_pause_and_go_on_together() -> None:
    study = trained(lanes=6, seeds=3, trials=12, scheduler=asha(min_steps=2))
    full = trained(lanes=6, seeds=3, trials=12)
    told, whole = reports(study), reports(full)
    assert told.items() <= whole.items() and len(told) < len(whole)


# -- weights -------------------------------------------------------------------------------------------------------------


def evaluated(trainable: Any, study: Study, number: int) -> float:
    state = study.state(number)
    h = {name: jnp.float32(x) for name, x in study.finished[number].params.items()}
    return float(trainable.evaluate(jax.tree.map(jnp.asarray, state), h, DATA["validation"], jax.random.key(0))["loss"])


def test_the_states_of_best_and_stopped_trials_predict_what_they_told() -> None:
    study = trained(CLASSIFIER, scheduler=asha(min_steps=2), trials=16)
    training = study._training
    assert training is not None
    kept = study.best_state
    assert study.best.number in {number for number, _ in training.stage.bank.names}
    training.stage.bank.clear()
    assert same(kept, study.best_state)  # now it was trained again
    for trial in (study.best, next(t for t in study.finished if t.status == Status.STOPPED)):
        assert evaluated(CLASSIFIER, study, trial.number) == pytest.approx(trial.value, rel=1e-5)
    fresh = trained(CLASSIFIER, study=study_of(), trials=1, lanes=1)
    with pytest.raises(StudyError, match=r"state\(16\): no such trial was trained"):
        study.state(16)
    assert fresh.state(0)["params"]["in"].shape == (6, 8)


def test_testing_again_compiles_nothing(plain: Study, compilations: list[float]) -> None:
    told = plain.test({"rate": 0.1}, repeats=3, split="validation")
    compilations.clear()
    assert plain.test({"rate": 0.2}, repeats=3, split="validation") != told
    assert plain.test({"rate": 0.1}, repeats=3, split="validation") == told
    assert not compilations


def test_states_need_a_trainable_and_a_report() -> None:
    study = study_of()
    with pytest.raises(StudyError, match=r"state\(0\): this process has no trainable"):
        study.state(0)
    seen: list[str] = []

    def look(study: Study, progress: Progress) -> None:
        for number in range(progress.asked):
            try:
                seen.append(f"{number} at {study.state(number)['seen']}")
            except StudyError as e:
                seen.append(str(e).split(":")[1].split(";")[0])

    trained(study=study, trials=5, steps=4, lanes=2, callbacks=[look])
    assert seen[:2] == ["0 at 2", "1 at 2"] and " no such trial was trained" in seen and "4 at 4" in seen


def test_in_the_end_the_bank_holds_the_best_trial_alone(climbed: Study) -> None:
    for study in (climbed, trained(scheduler=successive_halving(min_steps=2)), trained(seeds=2, scheduler=asha(min_steps=2))):
        training = study._training
        assert training is not None
        assert set(training.stage.bank.names) == {(study.best.number, r) for r in range(training.run["seeds"])}


@pytest.mark.parametrize("bank", ["host", "device"])
def test_weights_that_the_bank_gave_up_are_trained_again(bank: str, climbed: Study) -> None:
    assert climbed._training is not None
    row = climbed._training.stage.lanes.lane_bytes
    for limit in (1, 2 * row, 5 * row):
        study = trained(scheduler=asha(min_steps=2), trials=30, bank=bank, bank_bytes=limit)
        assert results(study) == results(climbed)
        assert study._training is not None and len(study._training.stage.bank) <= max(1, limit // row)
        assert same(study.best_state, climbed.best_state)


# -- going on ------------------------------------------------------------------------------------------------------------


def test_a_second_call_goes_on(plain: Study) -> None:
    study = trained(trials=8)
    program = study._training and study._training.stage.lanes
    study.train(BOWL, 12)
    assert study._training and study._training.stage.lanes is program and results(study) == results(plain)
    study.train(BOWL, 12)
    study.train(BOWL, trials=5)
    assert len(study.finished) == 12


def test_timeouts_change_nothing(climbed: Study) -> None:
    study, calls = study_of(), 0
    while len(study.finished) < 30 and calls < 200:
        trained(study=study, scheduler=asha(min_steps=2), trials=30, timeout=1e-9 if calls % 2 else 0.01)
        calls += 1
    assert calls > 3 and results(study) == results(climbed)


def test_a_callback_that_raises_loses_nothing(climbed: Study) -> None:
    study = study_of()

    def trip(study: Study, progress: Progress) -> None:
        raise KeyboardInterrupt

    for _ in range(200):
        try:
            trained(study=study, scheduler=asha(min_steps=2), trials=30, callbacks=[trip])
            break
        except KeyboardInterrupt:
            continue
    assert results(study) == results(climbed)
    assert study._training is not None and climbed._training is not None
    assert study._training.stage.segments == climbed._training.stage.segments  # nothing ran twice


def test_progress_counts_what_it_says() -> None:
    seen: list[Progress] = []
    study = trained(scheduler=asha(min_steps=2), trials=30, callbacks=[lambda s, p: seen.append(p)])
    assert [p.segments for p in seen] == list(range(1, len(seen) + 1))
    assert all(p.lanes == 4 and 1 <= p.busy <= 4 and p.steps_per_second > 0 for p in seen)
    assert seen[-1].asked == 30 and seen[-1].best == study.best.value
    assert all(sum(p.standing.values()) <= p.asked - p.finished for p in seen) and set(seen[5].standing) <= set(range(0, 19, 2))


def test_lanes_are_busy_under_asha_with_an_open_stream_of_trials() -> None:
    busy: list[float] = []

    def count(study: Study, progress: Progress) -> None:
        busy.append(progress.busy / progress.lanes)
        if progress.segments == 60:
            raise StopIteration

    with pytest.raises(StopIteration):
        trained(scheduler=asha(min_steps=2), trials=10**6, lanes=8, callbacks=[count])
    assert np.mean(busy) >= 0.9


# -- schedulers that misbehave -------------------------------------------------------------------------------------------


def deciding(change: Any) -> Any:
    inner = asha(min_steps=2)

    def decide(state: Any, slots: Any) -> Decision:
        return change(inner.decide(state, slots), slots)

    return inner._replace(decide=decide, name="mine")


BROKEN: dict[str, tuple[Any, str]] = {
    "beyond the end": (lambda d, s: d._replace(until=d.until + 100), "until 102: this study trains for 18 steps in segments of 2"),
    "off the segments": (lambda d, s: d._replace(until=np.where(d.number >= 0, d.until + 1, 0)), "multiple of 2 or 18"),
    "backwards": (lambda d, s: d._replace(until=d.t), "beyond t"),
    "unknown trials": (lambda d, s: d._replace(number=np.where(d.number >= 0, 99, -1)), "trial 99|two lanes"),
    "one trial twice": (lambda d, s: d._replace(number=np.full_like(d.number, 0)), "mine put a trial into two lanes"),
    "too few lanes": (lambda d, s: Decision(*(c[:1] for c in d)), "asked about 4 free lanes and answered for"),
    "a wrong step": (lambda d, s: d._replace(t=np.where(d.number >= 0, d.t + 2, 0), until=d.until + 4), "from step 2, but it starts anew"),
    "nobody ever": (lambda d, s: d._replace(number=np.full_like(d.number, -1)), "starts none of the trials"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_scheduler_that_misbehaves_is_refused(fault: str) -> None:
    change, message = BROKEN[fault]
    with pytest.raises(SchedulerError, match=message):
        trained(scheduler=deciding(change), trials=20, timeout=30)


# -- reading -------------------------------------------------------------------------------------------------------------


def test_the_log_is_json_and_others_read_the_study_while_it_trains(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from jaxhp.cli import app

    database = tmp_path / "s.db"
    shown: list[str] = []

    def look(study: Study, progress: Progress) -> None:
        if progress.segments != 6:
            return
        reader = Study.open(f"sqlite:///{database}")
        assert len(reader.finished) == progress.finished and len(reader.running) == progress.asked - progress.finished
        assert len(reader.to_pandas()) == progress.asked
        for command in (["list", str(database)], ["show", str(database)], ["plot", str(database), "--output", str(tmp_path / "r.html")]):
            done = CliRunner().invoke(app, command)
            shown.append(f"{done.exit_code} {done.output} {done.exception!r}")

    study = study_of(storage=f"sqlite:///{database}")
    trained(exploding(), study=study, scheduler=asha(min_steps=2), trials=16, checkpoint=None, callbacks=[look])
    assert [text.split()[0] for text in shown] == ["0", "0", "0"], shown
    records = study._log.read("study")
    assert {r["kind"] for r in records} >= {"train", "segment", "decision", "ask", "scheduler"}
    assert [json.loads(json.dumps(r)) for r in records] == records
    frame = study.to_pandas()
    assert len(frame) == 16 and {"values.loss", "values.train_loss", "params.rate"} <= set(frame.columns)


# -- wrong arguments -----------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no trials": ({"trials": 0}, "trials: expected a positive integer, got 0"),
    "trials True": ({"trials": True}, "trials: expected a positive integer, got True"),
    "endless": ({"trials": None}, "trials: how many"),
    "no steps": ({"steps": None}, "steps: how many steps is a full run"),
    "steps float": ({"steps": 1e3}, "steps: expected a positive integer, got 1000.0"),
    "lanes 0": ({"lanes": 0}, "lanes: expected a positive integer or `auto`, got 0"),
    "lanes many": ({"lanes": "many"}, "lanes: expected a positive integer or `auto`, got 'many'"),
    "seeds 0": ({"seeds": 0}, "seeds: expected a positive integer, got 0"),
    "lanes by seeds": ({"lanes": 4, "seeds": 3}, "lanes=4: each trial takes seeds=3 lanes"),
    "evaluated never": ({"evaluate_every": 19}, "evaluate_every=19 is beyond steps=18"),
    "rungs off": ({"evaluate_every": 2, "scheduler": asha(min_steps=3)}, "evaluate_every=2: asha.* compares trials every 3 steps"),
    "rungs beyond": ({"scheduler": asha(min_steps=20), "evaluate_every": None}, "min_steps=20 is above the 18 steps"),
    "no scheduler": ({"scheduler": asha}, "scheduler: expected a jaxhp scheduler .* is a pair of parentheses missing"),
    "bank": ({"bank": "disk"}, "bank: expected 'auto', 'host' or 'device', got 'disk'"),
    "bank_bytes": ({"bank_bytes": 0.5}, "bank_bytes: expected a positive integer, got 0.5"),
    "timeout": ({"timeout": -1}, "timeout: expected a number of seconds, got -1"),
    "timeout text": ({"timeout": "1h"}, "timeout: expected a number of seconds, got '1h'"),
    "timeout nan": ({"timeout": math.nan}, "timeout: expected a number of seconds, got nan"),
    "checkpoint_every": ({"checkpoint_every": None, "timeout": "x"}, "timeout: expected"),
    "callbacks": ({"callbacks": print}, "callbacks: expected a list of functions"),
    "callback": ({"callbacks": ["print"]}, "callbacks: expected functions of .study, progress., got 'print'"),
    "checkpoint": ({"checkpoint": 3}, "checkpoint: expected a folder"),
    "mesh": ({"mesh": "tpu"}, "mesh: expected a jax.sharding.Mesh, got 'tpu'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_are_refused_before_anything_compiles_or_is_logged(case: str, compilations: list[float]) -> None:
    arguments, message = WRONG[case]
    study = study_of()
    with pytest.raises((StudyError, SchedulerError, TrainableError), match=message):
        trained(study=study, **arguments)
    assert not compilations and len(study._log.read("study")) == 1


def test_numbers_of_numpy_count_as_pythons(plain: Study, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/s.db"  # whose records would refuse them
    found = trained(study=study_of(storage=storage), trials=np.int64(12), steps=np.int32(18), lanes=np.uint8(4), evaluate_every=np.int64(2))
    assert results(found) == results(plain)


def test_what_a_study_trains_with_stays() -> None:
    study = trained(trials=2)
    for arguments, message in (
        ({"steps": 20}, "steps=20: study 'study' trains with steps=18"),
        ({"evaluate_every": 3}, "evaluate_every=3: study 'study' trains with evaluate_every=2"),
        ({"seeds": 2}, "seeds=2: study 'study' trains with seeds=1"),
        ({"lanes": 8}, "lanes=8: study 'study' trains in 4 lanes"),
    ):
        with pytest.raises(StudyError, match=message):
            trained(study=study, **({"trials": 4} | arguments))
    with pytest.raises(StudyError, match="other shapes than those that study 'study' was trained with"):
        trained(CLASSIFIER, study=study, trials=4)
    with pytest.raises(StudyError, match="a study with lag= cannot train in lanes"):
        trained(study=study_of(lag=2))


def test_an_extended_space_goes_on_in_new_lanes() -> None:
    study = trained(trials=3)
    study.extend(Space({"rate": RATES.parameters["rate"], "more": Float(0.0, 1.0, default=0.5)}))
    trained(study=study, trials=6)
    assert len(study.finished) == 6 and "more" in study.finished[5].params
