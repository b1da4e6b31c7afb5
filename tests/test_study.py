"""What a study promises its user: results kept, errors told at the door, interruption harmless."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import jaxhp
from jaxhp import Categorical, Float, Int, ObjectiveError, Space, SpaceError, SpaceExhausted, Status, Study, StudyError
from jaxhp._types import Decision, Scheduler, Slots


@pytest.fixture
def space() -> Space:
    return Space({"x": Float(-1.0, 1.0), "n": Int(1, 8), "kind": Categorical(["a", "b"]), "m": Float(0.1, 1.0, when={"kind": "b"})})


@pytest.fixture(params=["memory", "sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    return None if request.param == "memory" else f"sqlite:///{tmp_path}/study.db"


def make(space: Space, storage: str | None = None, **more: object) -> Study:
    return Study(space, storage=storage, **({"sampler": jaxhp.random_search(), "seed": 3} | more))  # type: ignore[arg-type]


def quadratic(trial: jaxhp.Trial) -> float:
    return trial["x"] ** 2 + 0.01 * trial["n"]


def test_told_values_come_back(space: Space, storage: str | None) -> None:
    study = make(space, storage)
    first, second = study.ask(), study.ask()
    study.tell(second, {"value": 2.0, "accuracy": 0.5})
    study.tell(first.number, 1.0)
    assert [t.value for t in study.finished] == [1.0, 2.0]
    assert study.finished[1].values == {"value": 2.0, "accuracy": 0.5}
    assert study.best.number == 0 and study.best.params == first.params
    assert study.trials.y[:, 0].tolist() == [2.0, 1.0]  # told order
    assert study.trials.status.tolist() == [Status.COMPLETE] * 2


def test_a_maximised_metric_keeps_its_sign_for_users_and_is_minimised_inside(space: Space) -> None:
    study = make(space, direction="maximize", metric="accuracy").optimize(lambda t: t["x"], trials=20)
    assert study.best.value == max(t.values["accuracy"] for t in study.finished)
    assert study.trials.y.min() == -study.best.value


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_results_are_failures_and_never_best(space: Space, storage: str | None, bad: float) -> None:
    study = make(space, storage)
    study.tell(study.ask(), bad)
    with pytest.raises(StudyError, match="no completed trial"):
        _ = study.best
    study.tell(study.ask(), 5.0)
    assert study.best.value == 5.0
    failed = study.finished[0]
    assert failed.status == Status.FAILED and str(bad) in str(failed.error)
    if math.isinf(bad):
        assert failed.values == {"value": bad}


def test_telling_wrongly_is_an_error_that_says_how(space: Space) -> None:
    study = make(space, metric="loss")
    trial = study.ask()
    for value, message in (
        ({"acc": 1.0}, "'loss' is missing"),
        ("0.3", "expected a number"),
        ({"loss": None}, "metric 'loss': expected a number"),
        ([0.3], "expected a number"),
        (True, "expected a number"),
        (None, "a value is missing"),
    ):
        with pytest.raises(StudyError, match=message):
            study.tell(trial, value)  # type: ignore[arg-type]
    with pytest.raises(StudyError, match="trial 7 is unknown"):
        study.tell(7, 0.3)
    with pytest.raises(StudyError, match="not negative"):
        study.tell(trial, 0.3, noise=-1.0)
    for arguments, message in (
        ({"error": ValueError("x")}, r"error: expected text, such as error=repr\(e\), got ValueError\('x'\)"),
        ({"value": 0.3, "cost": "2 s"}, "cost of trial 0: expected a number, got '2 s'"),
        ({"value": 1 + 2j}, "expected a number"),
        ({"value": np.datetime64("2020")}, "expected a number"),
        ({"value": np.complex128(1.0)}, "expected a number"),
        ({"value": [[1.0], [2.0, 3.0]]}, "expected a number"),
    ):
        with pytest.raises(StudyError, match=message):
            study.tell(trial, **arguments)  # type: ignore[arg-type]
    for wrong in (None, "0", 0.0, [0], True):
        for verb in (study.tell, study.report, study.release):
            with pytest.raises(StudyError, match=rf"{verb.__name__}: expected a Trial or its number, got "):
                verb(wrong, *([1, 2.0] if verb == study.report else []))  # type: ignore[operator]
    with pytest.raises(StudyError, match="reason: expected text, got None"):
        study.release(trial, None)  # type: ignore[arg-type]
    for step in (math.nan, math.inf, 2**53 + 1, 10**400, "3", None, True, np.array([3])):
        with pytest.raises(StudyError, match=r"report\(trial 0\): step"):
            study.report(trial, step, 0.3)  # type: ignore[arg-type]
    study.tell(trial, 0.3)
    with pytest.raises(StudyError, match=r"already told \(complete\)"):
        study.tell(trial, 0.3)


@pytest.mark.parametrize(
    "number", [np.float32, np.float64, np.int64, np.array, Fraction, jnp.float32], ids=["f4", "f8", "i8", "array", "fraction", "jax"]
)
def test_numbers_of_any_library_are_told_and_reported_and_can_be_read_again(space: Space, storage: str | None, number: Any) -> None:
    study = make(space, storage, seed=number(3) if number is np.int64 else 3, retry=np.int64(0), scheduler=jaxhp.asha(max_steps=4))
    trial = study.ask(np.int64(1))[0]  # type: ignore[call-overload]
    assert not study.report(trial, number(1), number(2))
    study.tell(np.int64(0), {"value": number(2), "more": number(4)}, noise=number(0), cost=number(8))
    again = study if storage is None else Study.open(storage)
    found = again.finished[0]
    assert (found.values, found.seconds) == ({"value": 2.0, "more": 4.0}, 8.0) and again.trials.fidelity.tolist() == [1.0, 1.0]


def test_configurations_of_numbers_of_any_library_are_queued_and_added_as_pythons(space: Space, storage: str | None) -> None:
    study = make(space, storage)
    given = {"x": np.float32(0.5), "n": jnp.int32(3), "kind": np.str_("b"), "m": np.array(0.25)}
    study.enqueue(given)
    study.add(given | {"n": 4.0}, np.float32(2))
    trials = [*(study if storage is None else Study.open(storage)).finished, study.ask()]
    assert [t.params for t in trials] == [{"x": 0.5, "n": n, "kind": "b", "m": 0.25} for n in (4, 3)]
    assert [list(map(type, t.params.values())) for t in trials] == [[float, int, str, float]] * 2


def test_what_cannot_be_added_claims_no_number(space: Space) -> None:
    study = make(space)
    with pytest.raises(StudyError, match="noise of trial 0: expected a number"):
        study.add({"x": 0.5, "n": 3, "kind": "a"}, 1.0, noise="small")  # type: ignore[arg-type]
    assert study.running == [] and study.ask().number == 0


def test_a_value_beyond_all_floats_is_a_failure(space: Space, storage: str | None) -> None:
    study = make(space, storage)
    assert study.tell(study.ask(), 10**400).error == "value is inf"


def test_an_objective_that_returns_slopes_of_no_parameter_fails_its_trial(space: Space) -> None:
    study = make(space).optimize(lambda trial: (1.0, {"y": 2.0}), trials=2)
    assert ["'y' is not a parameter" in (t.error or "") for t in study.finished] == [True, True]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"direction": "min"}, "direction of 'value': expected 'minimize' or 'maximize', got 'min'"),
        ({"sampler": jaxhp.random_search}, "parentheses"),
        ({"seed": -1}, "seed: expected an integer"),
        ({"seed": True}, "seed: expected an integer"),
        ({"lag": 0}, "lag: expected a positive number"),
        ({"name": ""}, "name: expected a non-empty string"),
        ({"stochastic": "no"}, "stochastic: expected True or False, got 'no'"),
        ({"lag": 10**40}, r"lag: expected a positive number of trials \(below 2\*\*53\)"),
        ({"metric": ["loss"]}, r"metric: expected a non-empty string, got \['loss'\]; several metrics are directions="),
        ({"directions": {}}, "directions: expected one metric or more"),
        ({"directions": ["loss"]}, "directions: expected one metric or more"),
        ({"constraints": "memory <= 8"}, "constraints: expected bounds on metrics, such as"),
        ({"constraints": {3: "<= 8"}}, "constraints: expected the names of metrics, got 3"),
        ({"constraints": {"memory": "< 8"}}, "expected '<= number'"),
        ({"constraints": {"value": "<= 8"}}, "already an outcome"),
        ({"scheduler": "asha"}, "scheduler: expected"),
    ],
)
def test_bad_study_arguments_are_refused(space: Space, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        make(space, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"trials": -1}, "trials: expected"),
        ({"trials": 3, "more": 3}, "not both"),
        ({"workers": 0}, "workers: expected"),
        ({"timeout": 0}, "timeout: expected"),
        ({"timeout": "5"}, "timeout: expected"),
        ({"trial_timeout": [5]}, "trial_timeout: expected"),
        ({"max_failed": 0.0}, "max_failed: expected"),
        ({"max_failed": None}, "max_failed: expected"),
        ({"callbacks": [3]}, "callbacks: expected"),
        ({"callbacks": quadratic}, "callbacks: expected a list of functions"),
        ({"callbacks": None}, "callbacks: expected a list of functions"),
    ],
)
def test_bad_optimize_arguments_are_refused(space: Space, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        make(space).optimize(quadratic, **arguments)  # type: ignore[arg-type]
    with pytest.raises(StudyError, match="objective: expected a function"):
        make(space).optimize(3)  # type: ignore[arg-type]


def test_an_exception_is_recorded_with_its_traceback_and_the_study_goes_on(space: Space, storage: str | None) -> None:
    def objective(trial: jaxhp.Trial) -> float:
        if trial.number == 2:
            raise RuntimeError("the net diverged")
        return quadratic(trial)

    study = make(space, storage).optimize(objective, trials=6)
    failed = [t for t in study.finished if t.status == Status.FAILED]
    assert [t.number for t in failed] == [2]
    assert "the net diverged" in str(failed[0].error) and "test_study.py" in str(failed[0].error)
    with pytest.raises(RuntimeError, match="diverged"):
        make(space).optimize(objective, trials=6, raise_errors=True)


def test_an_objective_that_returns_nonsense_is_a_failure_that_says_so(space: Space) -> None:
    study = make(space).optimize(lambda t: "x" if t.number == 0 else 1.0, trials=3)  # type: ignore[arg-type,return-value]
    assert "expected a number" in str(study.finished[0].error)


def test_mostly_failing_objectives_stop_with_a_summary(space: Space) -> None:
    def objective(trial: jaxhp.Trial) -> float:
        raise ValueError("no such file: data.csv")

    study = make(space)
    with pytest.raises(ObjectiveError, match=r"6 of 6 trials raised(.|\n)*6 x ValueError: no such file"):
        study.optimize(objective, trials=50)
    assert len(study.finished) == 6
    assert len(make(space).optimize(objective, trials=9, max_failed=1.0).finished) == 9


def test_a_trial_that_runs_too_long_is_failed_and_its_late_result_ignored(space: Space) -> None:
    wake = threading.Event()

    def objective(trial: jaxhp.Trial) -> float:
        if trial.number == 1:
            wake.wait(30)
        return 1.0

    study = make(space).optimize(objective, trials=4, trial_timeout=0.5)
    wake.set()
    assert [t.status for t in study.finished] == [Status.COMPLETE, Status.FAILED, Status.COMPLETE, Status.COMPLETE]
    assert "trial_timeout" in str(study.finished[1].error)


def test_trials_is_a_total_and_more_an_addition(space: Space, storage: str | None) -> None:
    study = make(space, storage).optimize(quadratic, trials=4)
    assert len(study.optimize(quadratic, trials=4).finished) == 4
    assert len(study.optimize(quadratic, trials=6).finished) == 6
    assert len(study.optimize(quadratic, more=3).finished) == 9


def test_timeout_ends_a_study_without_a_target(space: Space) -> None:
    study = make(space).optimize(lambda t: time.sleep(0.01) or 1.0, timeout=0.15)
    assert 1 <= len(study.finished) <= 16


def test_workers_run_side_by_side_and_callbacks_see_every_trial(space: Space) -> None:
    together = threading.Barrier(4, timeout=20)
    seen: list[int] = []

    def objective(trial: jaxhp.Trial) -> float:
        together.wait()  # passes only if four objectives run at once
        return quadratic(trial)

    study = make(space).optimize(objective, trials=12, workers=4, callbacks=[lambda study, trial: seen.append(trial.number)])
    assert sorted(seen) == list(range(12)) == [t.number for t in study.finished]


def test_an_interrupt_releases_the_running_trial_and_the_next_run_takes_it_up(space: Space, storage: str | None) -> None:
    straight = make(space).optimize(quadratic, trials=8)
    study = make(space, storage)

    def interrupted(trial: jaxhp.Trial) -> float:
        if trial.number == 4 and not study.finished[-1].number == 7:
            raise KeyboardInterrupt
        return quadratic(trial)

    with pytest.raises(KeyboardInterrupt):
        study.optimize(interrupted, trials=8)
    assert not [t for t in study.running if t.number != 4]
    if storage is not None:
        study = make(space, storage)
    study.optimize(quadratic, trials=8)
    assert [(t.number, t.params, t.value) for t in study.finished] == [(t.number, t.params, t.value) for t in straight.finished]


def test_a_killed_process_loses_no_told_result_and_its_trial_is_run_again(tmp_path: Path, space: Space) -> None:
    script = textwrap.dedent(f"""
        import os, jaxhp
        from jaxhp import *
        parameters = {{"x": Float(-1.0, 1.0), "n": Int(1, 8), "kind": Categorical(["a", "b"]), "m": Float(0.1, 1.0, when={{"kind": "b"}})}}
        space = Space(parameters)
        def objective(trial):
            if trial.number == 5:
                os.kill(os.getpid(), 9)
            return trial["x"] ** 2 + 0.01 * trial["n"]
        Study(space, sampler=random_search(), seed=3, storage="sqlite:///{tmp_path}/study.db").optimize(objective, trials=9)
    """)
    code = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(Path(jaxhp.__file__).parents[1])}
    ).returncode
    assert code == -signal.SIGKILL
    study = make(space, f"sqlite:///{tmp_path}/study.db")
    assert [t.number for t in study.finished] == [0, 1, 2, 3, 4] and [t.number for t in study.running] == [5]
    study.optimize(quadratic, trials=9)
    straight = make(space).optimize(quadratic, trials=9)
    assert [(t.number, t.params, t.value) for t in study.finished] == [(t.number, t.params, t.value) for t in straight.finished]


def test_enqueued_and_added_configurations_keep_the_users_exact_values(space: Space, storage: str | None) -> None:
    study = make(space, storage)
    params = {"x": 0.1, "n": 3, "kind": "b", "m": 0.7}
    study.enqueue(params)
    study.add(params | {"n": 4}, 0.25)
    trial = study.ask()
    assert trial.number == 1 and trial.params == params
    assert study.finished[0].params == params | {"n": 4} and study.best.value == 0.25
    with pytest.raises(SpaceError, match="'m'"):
        study.enqueue({"x": 0.1, "n": 3, "kind": "a", "m": 0.7})


def test_reopening_needs_the_same_space_seed_and_metric(tmp_path: Path, space: Space) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    make(space, url)
    with pytest.raises(StudyError, match=r"another space:\n.*x"):
        make(Space({"x": Float(-2.0, 1.0)}), url)
    with pytest.raises(StudyError, match="seed=3, not 4"):
        make(space, url, seed=4)
    with pytest.raises(StudyError, match="metric="):
        make(space, url, metric="loss")
    assert Study(space, storage=url, sampler=jaxhp.random_search()).seed == 3
    assert Study.open(url).space.names == space.names
    with pytest.raises(StudyError, match="no study 'other'"):
        Study.open(url, "other")
    with pytest.raises(StudyError, match="Pass a space"):
        Study(storage=url, name="other")


def test_another_sampler_may_take_over_and_the_log_says_so(tmp_path: Path, space: Space) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    make(space, url).optimize(quadratic, trials=3)
    study = make(space, url, sampler=jaxhp.sobol()).optimize(quadratic, trials=6)
    kinds = [(r["kind"], r.get("sampler")) for r in jaxhp.storage.open_log(url).read("study") if "sampler" in r]
    assert kinds == [("study", "random_search()"), ("sampler", "sobol()")]
    assert len(study.finished) == 6


def test_extending_the_space_keeps_told_results(space: Space, storage: str | None) -> None:
    study = make(space, storage).optimize(quadratic, trials=10)
    before = [(t.number, t.params) for t in study.finished]
    wider = Space(
        {
            "x": Float(-2.0, 1.0),
            "n": Int(1, 16),
            "kind": Categorical(["a", "b", "c"]),
            "m": Float(0.1, 1.0, when={"kind": "b"}),
            "new": Int(0, 3, default=1),
        }
    )
    study.extend(wider)
    for (number, old), now in zip(before, study.finished, strict=True):
        assert now.number == number
        assert {k: v for k, v in now.params.items() if k != "new"} == pytest.approx(old)
        assert now.params["new"] == 1
    study.optimize(quadratic, trials=60)
    assert {t.params["kind"] for t in study.finished} == {"a", "b", "c"}
    if storage is not None:
        again = Study(wider, storage=storage, sampler=jaxhp.random_search())
        assert again.ask().params == study.ask().params or again.ask().number > 60
    with pytest.raises(SpaceError, match="x"):
        study.extend(space)


def test_several_objectives_have_a_front_and_no_best(space: Space) -> None:
    study = make(space, directions={"loss": "minimize", "speed": "maximize"}, constraints={"memory": "<= 6"})
    study.optimize(lambda t: {"loss": t["x"] ** 2, "speed": t["x"], "memory": t["n"]}, trials=40)
    with pytest.raises(StudyError, match=r"study\.pareto"):
        _ = study.best
    front = study.pareto
    assert front and all(t.values["memory"] <= 6 for t in front)
    for a in front:
        assert not any(
            b.values["loss"] <= a.values["loss"] and b.values["speed"] > a.values["speed"]
            for b in study.finished
            if b.values["memory"] <= 6
        )


def test_best_meets_the_constraints(space: Space) -> None:
    study = make(space, constraints={"memory": ">= 5"}).optimize(lambda t: {"value": float(t["n"]), "memory": t["n"]}, trials=40)
    assert study.best.value == 5.0


def test_a_stochastic_study_averages_repeats() -> None:
    study = Study(Space({"x": Categorical(["a", "b"])}), sampler=jaxhp.random_search(), stochastic=True)
    for x, value in (("a", 0.0), ("a", 4.0), ("b", 1.0), ("b", 1.2)):
        study.add({"x": x}, value)
    assert study.best_observed.params == {"x": "a"} and study.best.params == {"x": "b"}


def test_a_scheduler_ends_trials_on_their_reports(space: Space, storage: str | None) -> None:
    def keep(state: dict[int, float], numbers: np.ndarray) -> np.ndarray:
        return np.array([state[n] <= 0.5 for n in numbers.tolist()])

    def decide(state: dict[int, float], slots: Slots) -> Decision:
        raise AssertionError("a black box cannot pause")

    def told(state: dict[int, float], rows: jaxhp.Trials) -> dict[int, float]:
        return state | {int(n): float(y[0]) for n, y, s in zip(rows.number, rows.y, rows.status, strict=True) if s == Status.REPORTED}

    scheduler = Scheduler(lambda problem, seed: {}, told, keep, decide, "above_half")
    stopped: list[int] = []

    def objective(trial: jaxhp.Trial) -> float:
        for step in range(1, 4):
            if trial.report(step, abs(trial["x"])):
                stopped.append(trial.number)
                break
        return abs(trial["x"])

    study = make(space, storage, scheduler=scheduler).optimize(objective, trials=20)
    assert stopped and [t.number for t in study.finished if t.status == Status.STOPPED] == stopped
    rows = study.trials
    final = rows.fidelity[np.isin(rows.status, [Status.STOPPED, Status.COMPLETE])]
    assert set(final) == {1.0, 3.0}
    assert study.best.status == Status.COMPLETE


def test_a_finite_space_ends_the_study_when_nothing_is_left() -> None:
    study = Study(Space({"a": Int(1, 3), "b": Categorical(["x", "y"])}))
    study.optimize(lambda t: float(t["a"]), trials=100)
    assert len({tuple(t.params.items()) for t in study.finished}) == 6 == len(study.finished)
    with pytest.raises(SpaceExhausted, match="nothing is left"):
        study.ask()


def test_ask_n_returns_what_is_left_and_then_says_so() -> None:
    study = Study(Space({"a": Int(1, 3)}))
    assert len(study.ask(10)) == 3
    with pytest.raises(SpaceExhausted):
        study.ask(1)
    with pytest.raises(StudyError, match=r"ask\(0\)"):
        study.ask(0)


def test_lag_waits_for_the_result_that_is_due(space: Space) -> None:
    study = make(space, lag=2)
    first, _ = study.ask(), study.ask()
    with pytest.raises(StudyError, match="trial 2 waits for the result of trial 0"):
        study.ask()
    study.tell(first, 1.0)
    assert study.ask().number == 2


def test_confirm_measures_the_optimism_of_the_search(space: Space, storage: str | None) -> None:
    noise = np.random.default_rng(0).normal(size=60)
    study = make(space, storage).optimize(lambda t: float(noise[t.number]), trials=60)
    calls: list[int] = []

    def fresh(trial: jaxhp.Trial) -> float:
        calls.append(trial.seed)
        return float(np.random.default_rng(trial.seed).normal())

    confirmed = study.confirm(fresh, top=3, repeats=6)
    assert len(confirmed) == 3 and len(set(calls)) == 18
    assert all(c.optimism > 0.5 and c.low < c.mean < c.high for c in confirmed)
    assert [c.mean for c in confirmed] == sorted(c.mean for c in confirmed)
    study.confirm(fresh, top=3, repeats=6)
    assert len(calls) == 18  # recorded repeats are not run again


def test_to_pandas_has_a_row_for_every_trial(space: Space) -> None:
    pytest.importorskip("pandas")
    study = make(space).optimize(quadratic, trials=5)
    study.ask()
    frame = study.to_pandas()
    assert frame["number"].tolist() == list(range(6))
    assert frame["status"].tolist() == ["complete"] * 5 + ["pending"]
    assert frame["params.x"].tolist()[:5] == [t.params["x"] for t in study.finished]


def test_two_open_studies_share_one_log(tmp_path: Path, space: Space) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    one, two = make(space, url), make(space, url)
    a, b = one.ask(), two.ask()
    assert (a.number, b.number) == (0, 1)
    two.tell(b, 2.0)
    one.tell(a, 1.0)
    assert one.best.number == two.best.number == 0
    with pytest.raises(StudyError, match="already told"):
        one.tell(1, 3.0)


def test_an_inactive_parameter_says_why_it_cannot_be_read(space: Space) -> None:
    study = make(space)
    study.enqueue({"x": 0.0, "n": 1, "kind": "a"})
    trial = study.ask()
    assert "m" not in trial and "x" in trial
    with pytest.raises(KeyError, match="inactive"):
        _ = trial["m"]
    with pytest.raises(KeyError, match="not a parameter"):
        _ = trial["momentum"]
