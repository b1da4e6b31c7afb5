"""Populations in lanes: weights and points that change hands, one program, kills that change nothing, replay."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_training_faults import Mortal
from tiny import RATES, WIDTHS, bowl, reports, results, same, widening

import jaxhp
from jaxhp import Float, Int, SchedulerError, Space, Status, Study, StudyError, _owner
from jaxhp._types import Scheduler
from jaxhp.schedulers import asha, pb2, pbt, replay
from jaxhp.storage import MemoryLog
from jaxhp.train import Lanes

BOWL = bowl()
WILD = Space({"rate": Float(1e-3, 1e3, log=True)})


def new(storage: Any = None, **arguments: Any) -> Study:
    return Study(RATES, **({"sampler": jaxhp.sobol(), "metric": "loss", "seed": 3, "storage": storage} | arguments))


def trained(study: Study | None = None, trainable: Any = BOWL, **arguments: Any) -> Study:
    defaults: dict[str, Any] = {"trials": 8, "steps": 18, "lanes": 8, "evaluate_every": 2, "scheduler": pbt(4, 8, fraction=0.4)}
    return (study or new()).train(trainable, **(defaults | arguments))


@pytest.fixture(scope="module")
def lived() -> Study:
    return trained()


def decisions(study: Study) -> list[dict[str, Any]]:
    return [r for r in study._log.read("study") if r["kind"] == "decision"]


def changes(study: Study) -> list[tuple[int, int, int]]:
    """(step, child, parent) of every copy."""
    return [
        (t, n, p) for r in decisions(study) for t, n, p in zip(r["t"], r["number"], r["parent"], strict=True) if n >= 0 and p not in (-1, n)
    ]


def loss_of(state: Any) -> float:
    return float(((jnp.asarray(state["w"]) - 3) ** 2).mean())


# -- what happens --------------------------------------------------------------------------------------------------------


def test_every_member_trains_to_the_end_in_one_program(lived: Study) -> None:
    assert [t.status for t in lived.finished] == [Status.COMPLETE] * 8 and lived.lanes is not None and lived.lanes.compiled == 1
    assert lived.curves["step"].tolist().count(18) == 8
    copies = changes(lived)
    assert len(copies) == 4 * 3 and {t for t, *_ in copies} == {4, 8, 12, 16}
    told = reports(lived)
    for t, child, parent in copies:
        assert told[child, t] > told[parent, t]


def test_a_copy_goes_on_from_its_parents_weights_with_other_values(lived: Study) -> None:
    """Weights that are trained again along the recovered lineage are those that reported."""
    told = reports(lived)
    changed = {child for _, child, _ in changes(lived)}
    assert len(changed) >= 3
    for n in range(8):
        state = lived.state(n)
        assert int(state["seen"]) == 18
        assert loss_of(state) == pytest.approx(told[n, 18], rel=1e-6), n
    assert any(lived.schedule(n).numbers[0] != n for n in changed)


def test_params_are_those_in_force_and_rows_tell_what_was_in_force(lived: Study) -> None:
    asked = {r["number"]: r["u"] for r in lived._log.read("study") if r["kind"] == "ask"}
    space = lived.space
    for trial in lived.finished:
        schedule = lived.schedule(trial.number)
        assert trial.params == schedule.params[-1] and schedule.length == 18
        assert (trial.params != space.params(np.array(asked[trial.number]))) == (
            len(schedule.steps) > 1 or schedule.numbers != (trial.number,)
        )
    rows = lived.trials
    for n in range(8):
        u = rows.u[(rows.number == n) & (rows.fidelity == 4)]
        assert u[0].tolist() == asked[n]  # it had not been changed when it reported there


def test_the_best_state_is_that_of_the_best_member(lived: Study) -> None:
    assert same(lived.best_state["w"], lived.state(lived.best.number)["w"])
    assert loss_of(lived.best_state) == pytest.approx(lived.best.value, rel=1e-6)


@pytest.mark.parametrize("scheduler", [pbt(4, 8, fraction=0.4), pb2(4, 8)], ids=lambda s: s.name)
def test_fewer_lanes_than_members_give_the_same_population(scheduler: Scheduler, lived: Study) -> None:
    wide, narrow = trained(lanes=lived.lanes, scheduler=scheduler), trained(lanes=3, scheduler=scheduler)
    assert sorted(changes(narrow)) == sorted(changes(wide))
    assert [t.value for t in narrow.finished] == pytest.approx([t.value for t in wide.finished], rel=1e-4)
    assert [t.params["rate"] for t in narrow.finished] == pytest.approx([t.params["rate"] for t in wide.finished], rel=1e-4)


def test_given_up_weights_are_trained_again_along_their_lineage() -> None:
    roomy, poor = trained(lanes=2), trained(lanes=2, bank_bytes=1)
    assert results(poor) == results(roomy)


def test_seeds_change_hands_together(lived: Study) -> None:
    study = trained(lanes=8, trials=4, seeds=2, scheduler=pbt(4, 4))
    assert changes(study)
    for trial in study.finished:
        both = [loss_of(study.state(trial.number, replicate)) for replicate in (0, 1)]
        assert np.mean(both) == pytest.approx(trial.value, rel=1e-6)


def test_two_populations_one_after_the_other(lived: Study) -> None:
    study = trained(trials=11, lanes=lived.lanes)
    assert results(study)[:8] == results(lived)  # the second, of three, does not touch the first
    assert {p >= 8 for _, n, p in changes(study) if n >= 8} == {True}


def test_a_member_that_diverges_is_mended() -> None:
    study = trained(Study(WILD, sampler=jaxhp.sobol(), metric="loss", seed=3), steps=60, evaluate_every=4, scheduler=pbt(20, 8))
    told, copied = reports(study), {(t, child) for t, child, _ in changes(study)}
    diverged = [n for n in range(8) if not math.isfinite(told[n, 20])]
    assert len(diverged) >= 2 and {(20, n) for n in diverged} <= copied
    assert sum(math.isfinite(told[n, 40]) for n in diverged) >= 1 and study.best.value < 0.1
    assert {n for n, t in told if t == 60} == set(range(8))  # who diverges runs on until it is mended, or the run ends


def test_a_population_that_diverges_altogether_ends_as_failed() -> None:
    wild = Space({"rate": Float(1e2, 1e3)})
    study = trained(
        Study(wild, sampler=jaxhp.sobol(), metric="loss", seed=3), trials=4, lanes=4, steps=60, evaluate_every=4, scheduler=pbt(20, 4)
    )
    assert [t.status for t in study.finished] == [Status.FAILED] * 4
    assert study.finished[0].error == "loss is nan" and max(study.curves["step"]) == 20


def test_integers_are_inherited_with_the_weights() -> None:
    space = Space({"rate": Float(1e-3, 1.0, log=True), "kind": Int(0, 3)})
    study = trained(Study(space, sampler=jaxhp.sobol(), metric="loss", seed=3))
    for n in range(8):
        assert len({p["kind"] for p in study.schedule(n).params}) == 1
    assert changes(study)


def test_pb2_runs_in_lanes_too(lived: Study) -> None:
    study = trained(scheduler=pb2(2, 8), lanes=lived.lanes)
    assert len(changes(study)) == 8 * 2 and all(t.status == Status.COMPLETE for t in study.finished)


# -- killed --------------------------------------------------------------------------------------------------------------


def test_killed_at_any_record_and_taken_up_by_another_process(lived: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_owner, "gone", lambda owner: owner != "host:survivor:0")
    for after in range(3, 10**6, 3):
        kept = MemoryLog()
        monkeypatch.setattr(_owner, "owner", lambda: "host:victim:0")
        try:
            trained(new(Mortal(kept, after, written=after % 2 == 0)), lanes=lived.lanes)
            break
        except SystemExit:
            pass
        monkeypatch.setattr(_owner, "owner", lambda: "host:survivor:0")
        again = trained(new(kept), lanes=lived.lanes)
        assert results(again) == results(lived) and same(again.curves, lived.curves), f"killed at append {after}"
        assert same(again.best_state, lived.best_state) and again.schedule() == lived.schedule()
    assert after > 15


def test_a_checkpoint_holds_the_points_that_were_in_force(lived: Study, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"

    def stop(study: Study, progress: jaxhp.Progress) -> None:
        if progress.segments >= 6:
            raise SystemExit

    study = new(url)
    with pytest.raises(SystemExit):
        trained(study, checkpoint_every=0, callbacks=[stop], lanes=lived.lanes)
    assert study._training is not None
    study._training.stage.close()
    again = trained(new(url), lanes=lived.lanes)
    assert results(again) == results(lived) and same(again.best_state, lived.best_state)
    assert again._training is not None and again._training.stage.segments == 9


def test_the_log_alone_gives_the_schedules(lived: Study, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    trained(new(url), lanes=lived.lanes, checkpoint=None)
    read = Study.open(url)
    assert [read.schedule(n) for n in range(8)] == [lived.schedule(n) for n in range(8)]
    assert [t.params for t in read.finished] == [t.params for t in lived.finished]


def test_out_of_memory_all_begin_anew_in_fewer_lanes_as_they_were_asked(lived: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    few, run, left = trained(lanes=4), Lanes.run, 7

    def exhausted(self: Lanes, state: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate")
        return run(self, state)

    monkeypatch.setattr(Lanes, "run", exhausted)
    study = trained(lanes=lived.lanes)
    assert [r["lanes"] for r in study._log.read("study") if r["kind"] == "train"] == [8, 4]
    assert any(t == 12 for t, *_ in changes(study)) and results(study) == results(few)
    assert [study.schedule(n) for n in range(8)] == [few.schedule(n) for n in range(8)]


def test_a_wider_space_keeps_the_schedules(lived: Study) -> None:
    study = trained(lanes=lived.lanes)
    study.extend(Space({"rate": Float(1e-4, 10.0, log=True)}))
    for n in range(8):
        before, after = lived.schedule(n), study.schedule(n)
        assert after.steps == before.steps and after.numbers == before.numbers
        assert [p["rate"] for p in after.params] == pytest.approx([p["rate"] for p in before.params])
    assert study.best.params["rate"] == pytest.approx(lived.best.params["rate"])


# -- replay --------------------------------------------------------------------------------------------------------------


def test_a_recovered_schedule_replayed_from_scratch_ends_where_the_population_did(lived: Study) -> None:
    number = next(n for n in range(8) if len(lived.schedule(n).steps) > 1)
    schedule = lived.schedule(number)
    study = trained(new(seed=9), trials=3, lanes=lived.lanes, scheduler=replay(schedule))
    assert [study.schedule(n).params for n in range(3)] == [schedule.params] * 3
    assert [study.schedule(n).steps for n in range(3)] == [schedule.steps] * 3
    values = [t.value for t in study.finished]
    assert max(values) < 0.05 and len(set(values)) == 3  # other seeds


def test_a_trial_without_changes_has_a_schedule_of_one_part(lived: Study) -> None:
    study = trained(scheduler=asha(min_steps=2), lanes=lived.lanes)
    schedule = study.schedule()
    assert schedule.steps == (0,) and schedule.params == (study.best.params,) and schedule.length == 18
    for number in (-1, 8, True, "0"):
        with pytest.raises(StudyError, match="there is no such trial; study 'study' has asked 8"):
            study.schedule(number)  # type: ignore[arg-type]


def test_a_held_out_test_trains_with_the_schedule(lived: Study) -> None:
    data = {**BOWL.data, "test": np.full(3, 3, np.float32)}
    study = trained(new(), bowl(data=data))
    assert results(study) == results(lived)
    assert study.test(repeats=2)["loss"] < 0.1


# -- schedulers that break the rules -------------------------------------------------------------------------------------


def broken(**changes: Any) -> Scheduler:
    whole = pbt(4, 4)

    def decide(state: Any, slots: Any) -> Any:
        decision = whole.decide(state, slots)
        for name, change in changes.items():
            if (decision.t > 0).any():
                decision = decision._replace(**{name: change(decision)})
        return decision

    return whole._replace(decide=decide, name="broken")


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (pbt(4, 4)._replace(mutates=False), "does not say that it may: Scheduler\\(..., mutates=True\\)"),
        (broken(u=lambda d: d.u + 1.0), "is no canonical, feasible point of the space; pass it through space.snap"),
        (broken(parent=lambda d: np.where(d.number == 3, 7, d.number)), "gives trial 3 the weights of 7, which holds none"),
    ],
)
def test_a_scheduler_that_breaks_the_rules_is_told_which(scheduler: Scheduler, message: str, lived: Study) -> None:
    with pytest.raises(SchedulerError, match=message):
        trained(trials=4, scheduler=scheduler, lanes=lived.lanes)


# -- sizes ---------------------------------------------------------------------------------------------------------------


def test_a_copy_takes_its_parents_width_and_moves_into_its_bucket() -> None:
    def grown(buckets: Any) -> Study:
        study = Study(WIDTHS, sampler=jaxhp.sobol(), metric="loss", seed=5)
        scheduler = pbt(10, 8, fraction=0.4)
        return study.train(widening(), trials=8, steps=40, lanes=8, evaluate_every=10, scheduler=scheduler, buckets=buckets)

    whole, parted = grown(1), grown([4, 8])
    width = {r["number"]: WIDTHS.params(np.array(r["u"]))["width"] for r in parted._log.read("study") if r["kind"] == "ask"}
    crossed = 0
    for record in decisions(parted):
        before = dict(width)
        for child, parent in zip(record["number"], record["parent"], strict=True):
            if parent >= 0:
                width[child] = before[parent]
                crossed += (before[child] <= 4) != (before[parent] <= 4)
                assert child == parent or WIDTHS.params(np.array(record["u"][str(child)]))["width"] == before[parent]
    assert crossed >= 2 and width == {t.number: t.params["width"] for t in parted.finished}
    assert changes(whole) == changes(parted)
    assert [t.params["width"] for t in parted.finished] == [t.params["width"] for t in whole.finished]
    assert [t.value for t in parted.finished] == pytest.approx([t.value for t in whole.finished], rel=1e-3)
    assert parted._training is not None and [dock.compiled for dock in parted._training.stage.docks] == [1, 1]
