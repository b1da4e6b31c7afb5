"""Buckets: the plan is the cheapest there is; a trial's numbers do not depend on it; one program a bucket; nothing is lost when killed."""

from __future__ import annotations

import itertools
import math
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mortal import Mortal
from tiny import WIDTHS, bowl, reports, results, same, widening

import jaxhp
from jaxhp import Categorical, Float, Int, Ordinal, Plan, Space, Study, StudyError, TrainableError, _owner, padded, plan_buckets
from jaxhp._types import Decision
from jaxhp.schedulers import asha
from jaxhp.storage import MemoryLog
from jaxhp.train import _autotune
from jaxhp.train._buckets import Bucket, Measured
from jaxhp.train._partition import partition

WIDENING = widening()

# -- the dynamic programme ---------------------------------------------------------------------------------------------

COSTS = st.floats(0.0, 10.0, allow_nan=False)


@settings(max_examples=60)
@given(st.lists(st.tuples(COSTS, COSTS, COSTS), min_size=1, max_size=7))
def test_one_dimension_is_cut_as_brute_force_cuts_it(rows: list[tuple[float, float, float]]) -> None:
    work, step, compiling = (np.array(column) for column in zip(*rows, strict=True))
    n, best = len(rows), math.inf
    for bars in itertools.product((False, True), repeat=n - 1):
        ends = [i for i, bar in enumerate(bars) if bar] + [n - 1]
        begins = [0, *(e + 1 for e in ends[:-1])]
        best = min(best, sum(compiling[e] + step[e] * work[b : e + 1].sum() for b, e in zip(begins, ends, strict=True)))
    seconds, corners = partition(work, lambda j: (step[j[0]], compiling[j[0]]))
    assert seconds == pytest.approx(best) and corners[-1] == (n - 1,)
    begins = [0, *(c[0] + 1 for c in corners[:-1])]
    told = sum(compiling[e] + step[e] * work[b : e + 1].sum() for b, (e,) in zip(begins, corners, strict=True))
    assert seconds == pytest.approx(told)


@settings(max_examples=30)
@given(st.lists(COSTS, min_size=27, max_size=27))
def test_two_dimensions_are_cut_as_brute_force_cuts_each_strip(numbers: list[float]) -> None:
    work, step, compiling = np.array(numbers).reshape(3, 3, 3)

    def strip(work: Any, i: int) -> float:
        return min(
            sum(compiling[i, e] + step[i, e] * work[b : e + 1].sum() for b, e in zip([0, *(x + 1 for x in ends[:-1])], ends, strict=True))
            for ends in ([2], [0, 2], [1, 2], [0, 1, 2])
        )

    best = min(
        sum(strip(work[b : e + 1].sum(axis=0), e) for b, e in zip([0, *(x + 1 for x in ends[:-1])], ends, strict=True))
        for ends in ([2], [0, 2], [1, 2], [0, 1, 2])
    )
    assert partition(work, lambda j: (step[j], compiling[j]))[0] == pytest.approx(best)


# -- plans -------------------------------------------------------------------------------------------------------------


def square(sizes: Any) -> tuple[float, float]:
    return 1e-6 * sizes["width"] ** 2, 1.0


def test_dear_compilations_pad_everything_and_dear_steps_compile_every_size() -> None:
    space = Space({"width": Ordinal([1, 2, 4, 8])})
    for trials, widths in ((1, [8]), (10**6, [1, 2, 4, 8])):
        made = plan_buckets(WIDENING, space, trials=trials, steps=100, price=square)
        assert [b.sizes["width"] for b in made.buckets] == widths
    assert sum(b.trials for b in made.buckets) == pytest.approx(10**6)
    assert made.seconds == pytest.approx(made.exact) and made.exact < made.padded
    assert [made.bucket({"width": w}) for w in range(1, 9)] == [0, 1, 2, 2, 3, 3, 3, 3]
    with pytest.raises(TrainableError, match="no bucket holds width 9: the largest is padded to width 8"):
        made.bucket({"width": 9})


def test_a_plan_is_no_dearer_than_either_extreme_and_is_printed_beside_them() -> None:
    space = Space({"width": Int(16, 256, log=True)})
    trainable = padded(lambda width: WIDENING, width=256)
    made = plan_buckets(trainable, space, trials=512, steps=900, price=lambda s: (1e-9 * s["width"] ** 2, 1.0))
    assert 1 < len(made.buckets) < 20 and made.seconds < 0.8 * made.exact and made.seconds < 0.6 * made.padded
    text = str(made)
    assert "padded to" in text and f"this plan: {len(made.buckets)} programs" in text and "pad everything: 1 program" in text
    assert f"exact per size: {made.programs:.0f} programs" in text and "width 256" in text
    assert Plan.from_json(made.to_json()) == made


def test_several_dimensions_are_cut_one_after_the_other() -> None:
    space = Space({"width": Ordinal([8, 64]), "layers": Ordinal([1, 8])})
    trainable = padded(lambda width, layers: WIDENING, width=64, layers=8)
    made = plan_buckets(trainable, space, trials=100, steps=100, price=lambda s: (1e-4 * s["layers"] * s["width"], 0.01))
    assert [tuple(b.sizes.values()) for b in made.buckets] == [(8, 1), (8, 8), (64, 1), (64, 8)]
    assert plan_buckets(trainable, space, trials=9, steps=9, buckets=[{"width": 8}, {}], price=lambda s: (1e-4, 1.0)).buckets[0].sizes == {
        "width": 8,
        "layers": 8,
    }


def test_prices_are_power_laws_between_three_measured_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def priced(make: Any) -> tuple[float, float]:
        sizes = make(4)
        asked.append(sizes)
        return 1e-6 * sizes["width"] ** 2 * sizes["layers"], 2.0

    monkeypatch.setattr("jaxhp.train._buckets.priced", priced)
    price = Measured(lambda sizes, width: sizes, {"width": np.array([2, 4, 8, 16, 32]), "layers": np.array([1, 2, 3])})
    for width, layers in ((2, 3), (8, 3), (16, 3), (32, 1), (4, 2)):
        step, compiling = price({"width": width, "layers": layers})
        assert step == pytest.approx(1e-6 * width**2 * layers) and compiling == pytest.approx(2.0)
    assert len(asked) == 5  # three widths and three depths, one of them the same


WRONG: dict[str, tuple[Any, dict[str, Any], str]] = {
    "beyond": (Space({"width": Int(1, 9)}), {}, r"width: the space goes up to 9, the trainable is padded to 8: padded\(make, width=9\)"),
    "floats": (Space({"width": Float(1, 8)}), {}, "width: the trainable's arrays depend on it, so it must be an Int or an Ordinal"),
    "zero": (Space({"width": Int(0, 8)}), {}, "width: .* positive integers"),
    "words": (Space({"width": Categorical(["a", "b"])}), {}, "width: .* positive integers"),
    "another": (Space({"wide": Int(1, 8)}), {}, "no size of the trainable .width. is a parameter of the space"),
    "too small": (WIDTHS, {"buckets": [2, 5]}, r"buckets: none of \[2, 5\] holds the space's largest configuration, width 8: add it"),
    "none": (WIDTHS, {"buckets": []}, "buckets: expected 'auto', 1, or a list of sizes"),
    "two": (WIDTHS, {"buckets": 2}, "buckets: expected 'auto', 1, or a list of sizes .* got 2"),
    "a word": (WIDTHS, {"buckets": "many"}, "buckets: expected 'auto', 1, or a list of sizes .* got 'many'"),
    "a name": (WIDTHS, {"buckets": [{"depth": 3}]}, "buckets: expected .* got {'depth': 3} in it"),
    "negative": (WIDTHS, {"buckets": [-1, 8]}, "buckets: sizes are positive integers, got {'width': -1}"),
    "trials": (WIDTHS, {"trials": 0}, "trials: expected a positive integer, got 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_planned_is_refused(case: str) -> None:
    space, arguments, message = WRONG[case]
    with pytest.raises(TrainableError, match=message):
        plan_buckets(WIDENING, space, **({"trials": 10, "steps": 10, "price": square} | arguments))


@pytest.fixture(scope="module", autouse=True)
def kept() -> Any:
    """These studies train in the same few programs: they are compiled once."""
    _autotune.keep_programs()
    before = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    yield
    jax.config.update("jax_persistent_cache_min_compile_time_secs", before)


# -- training ----------------------------------------------------------------------------------------------------------

THREE = [2, 5, 8]


def study_of(storage: Any = None, **arguments: Any) -> Study:
    return Study(WIDTHS, **({"sampler": jaxhp.random_search(), "metric": "loss", "seed": 3, "storage": storage} | arguments))


def trained(study: Study | None = None, **arguments: Any) -> Study:
    defaults: dict[str, Any] = {"trials": 24, "steps": 18, "lanes": 20, "evaluate_every": 2, "buckets": THREE}
    return (study or study_of()).train(arguments.pop("trainable", WIDENING), **(defaults | arguments))


@pytest.fixture(scope="module")
def plain() -> Study:
    return trained()


@pytest.fixture(scope="module")
def climbed() -> Study:
    return trained(scheduler=asha(min_steps=2))


def stage(study: Study) -> Any:
    assert study._training is not None
    return study._training.stage


def test_each_bucket_compiles_one_program_and_its_trials_stay_in_it(climbed: Study, plain: Study) -> None:
    for study in (plain, climbed):
        docks = stage(study).docks
        assert [d.trainable.sizes for d in docks] == [{"width": w} for w in THREE] and [d.compiled for d in docks] == [1, 1, 1]
        assert study.plan is not None and [b.lanes for b in study.plan.buckets] == [d.width for d in docks]
        for t in study.finished:
            where = 0 if t.params["width"] <= 2 else 1 if t.params["width"] <= 5 else 2
            assert stage(study).dock(t.number) is docks[where]
            assert study.state(t.number)["params"]["in"].shape == (THREE[where], 6)
    assert len({d._train[0] is docks[0]._train[0] for d in docks}) == 1  # the data is on the device once


def test_trials_do_not_notice_their_bucket(plain: Study) -> None:
    everything = trained(buckets=1)
    assert [d.trainable.sizes for d in stage(everything).docks] == [{"width": 8}] and str(everything.plan).count("\n") == 1
    a, b = reports(plain), reports(everything)
    assert a.keys() == b.keys()
    np.testing.assert_allclose(list(a.values()), [b[key] for key in a], rtol=1e-5)


def test_a_scheduler_changes_who_goes_on_and_nothing_else(plain: Study, climbed: Study) -> None:
    told, full = reports(climbed), reports(plain)
    assert told.items() <= full.items() and len(told) < len(full)


def test_as_few_chunks_run_as_hold_the_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    counts: list[tuple[int, ...]] = []
    run = jaxhp.Lanes.run

    def counted(self: Any, state: Any) -> Any:
        runs.append(int((state.number >= 0).sum()))
        counts.append((self.trainable.sizes["width"], self.width))
        return run(self, state)

    monkeypatch.setattr(jaxhp.Lanes, "run", counted)
    segments: list[int] = []

    def look(study: Study, progress: Any) -> None:
        here: dict[tuple[int, ...], list[int]] = {}
        for where, busy in zip(counts, runs, strict=True):
            here.setdefault(where, []).append(busy)
        for (_, width), busy in here.items():
            assert len(busy) == -(-sum(busy) // width) and 0 not in busy
        segments.append(sum(runs))
        assert sum(runs) == progress.busy
        runs.clear()
        counts.clear()

    study = trained(lanes=32, trials=40, buckets=[4, 8], scheduler=asha(min_steps=2), callbacks=[look])
    assert max(d.width for d in stage(study).docks) > 2 and len(segments) > 8 and max(segments) > 12


@pytest.mark.parametrize("seeds", [2])
def test_replicates_stand_together(seeds: int) -> None:
    study = trained(seeds=seeds, lanes=16, trials=9, steps=6, scheduler=asha(min_steps=2), buckets=[4, 8])
    full = trained(seeds=seeds, lanes=16, trials=9, steps=6, buckets=[4, 8])
    assert reports(study).items() <= reports(full).items() and all(d.width % seeds == 0 for d in stage(study).docks)


def test_the_best_weights_and_held_out_metrics_come_from_the_right_program(climbed: Study) -> None:
    kept = climbed.best_state
    stage(climbed).bank.clear()
    assert same(kept, climbed.best_state)  # now it was trained again
    for width in (1, 8):
        assert set(climbed.test({"rate": 0.05, "width": width}, repeats=2)) == {"loss", "accuracy"}


@pytest.mark.parametrize("where", ["host", "device"])
def test_a_bank_that_is_too_small_costs_time_alone(where: str, climbed: Study) -> None:
    study = trained(scheduler=asha(min_steps=2), bank=where, bank_bytes=1)
    assert results(study) == results(climbed) and len(stage(study).bank) <= 3


# -- going on ----------------------------------------------------------------------------------------------------------


def test_killed_at_any_record_and_taken_up_by_another_process(climbed: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_owner, "gone", lambda owner: owner != "host:survivor:0")
    for after in range(2, 10**6, 19):
        kept = MemoryLog()
        monkeypatch.setattr(_owner, "owner", lambda: "host:victim:0")
        try:
            trained(study_of(Mortal(kept, after, written=after % 2 == 0)), scheduler=asha(min_steps=2))
            break
        except SystemExit:
            pass
        monkeypatch.setattr(_owner, "owner", lambda: "host:survivor:0")
        again = trained(study_of(kept), scheduler=asha(min_steps=2), buckets="auto")  # the plan is in the log
        assert results(again) == results(climbed) and same(again.curves, climbed.curves), f"killed at append {after}"
    assert after > 20


def test_a_checkpoint_holds_the_chunks_of_all_buckets(climbed: Study, tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"

    def stop(study: Study, progress: Any) -> None:
        if progress.segments >= 7:
            raise SystemExit

    study = study_of(url)
    with pytest.raises(SystemExit):
        trained(study, scheduler=asha(min_steps=2), checkpoint_every=0, callbacks=[stop])
    stage(study).close()
    again = trained(study_of(url), scheduler=asha(min_steps=2), checkpoint_every=0)
    assert stage(again).segments == stage(climbed).segments
    assert results(again) == results(climbed) and same(again.curves, climbed.curves) and same(again.best_state, climbed.best_state)
    stage(again).close()


def test_the_plan_stays(plain: Study) -> None:
    study = trained(trials=2, steps=4)
    assert trained(study, trials=3, steps=4, buckets=tuple(THREE)) is study and trained(study, trials=4, steps=4, buckets="auto") is study
    with pytest.raises(StudyError, match=r"buckets=1: study 'study' trains with buckets=\[2, 5, 8\], .* leave buckets out"):
        trained(study, trials=5, steps=4, buckets=1)
    with pytest.raises(StudyError, match=r"buckets=\[4\]: the trainable has no sizes that the space varies; .*jaxhp.padded"):
        Study(WIDTHS, metric="loss").train(bowl(), trials=2, steps=4, buckets=[4])
    assert Study(WIDTHS, metric="loss").plan is None


def test_out_of_memory_halves_the_lanes_of_all_buckets(plain: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    run, calls = jaxhp.Lanes.run, [0]

    def failing(self: Any, state: Any) -> Any:
        calls[0] += 1
        if calls[0] == 8:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return run(self, state)

    monkeypatch.setattr(jaxhp.Lanes, "run", failing)
    study = trained()
    assert study._fold.course.run is not None and study._fold.course.run["lanes"] == 10 and len(study.finished) == 24
    told, full = reports(study), reports(plain)
    both = told.keys() & full.keys()
    np.testing.assert_allclose([told[k] for k in both], [full[k] for k in both], rtol=1e-5)


def test_auto_plans_from_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jaxhp.train._buckets.priced", lambda make: (lambda w: (w / 1.0, 20.0))(make(1).trainable.sizes["width"]))
    monkeypatch.setattr(_autotune, "_measured", lambda lanes: (1e9, 1.0))
    study = trained(buckets="auto", lanes="auto", trials=6, steps=4)
    assert study.plan is not None and 1 < len(study.plan.buckets) < 8 and not math.isnan(study.plan.seconds)
    assert all(isinstance(b, Bucket) and b.lanes >= 1 for b in study.plan.buckets) and len(study.finished) == 6


# -- a trial that changes its size -------------------------------------------------------------------------------------


def growing() -> Any:
    """After four steps every trial becomes as wide as can be, and goes on with its own weights."""
    inner = asha(eta=2, min_steps=2)

    def decide(state: Any, slots: Any) -> Decision:
        d = inner.decide(state, slots)
        u = d.u.copy()
        u[(d.number >= 0) & (d.t == 4), 1] = 7.5 / 8
        return d._replace(u=u)

    return inner._replace(decide=decide, keep=lambda state, numbers: np.ones(len(numbers), np.bool_), name="growing", mutates=True)


def test_a_trial_that_grows_moves_into_another_bucket_with_its_weights(climbed: Study) -> None:
    study = trained(scheduler=growing(), trials=12, steps=8)
    grown = [t for t in study.finished if study._fold.reached(t.number) > 4]
    assert grown and all(t.params["width"] == 8 for t in grown)
    for t in grown:
        state = study.state(t.number)["params"]["in"]
        assert state.shape == (8, 6) and (np.abs(state).max(axis=1) > 0).all()  # new units are drawn, not dead
    kept = {t.number: study.state(t.number) for t in grown}
    stage(study).bank.clear()
    assert all(same(study.state(n), state) for n, state in kept.items())
    together = trained(scheduler=growing(), trials=12, steps=8, buckets=1)
    a, b = reports(study), reports(together)
    assert a.keys() == b.keys()
    np.testing.assert_allclose(list(a.values()), [b[key] for key in a], rtol=1e-4)
