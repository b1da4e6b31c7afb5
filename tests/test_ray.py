"""`jaxhp.interop.ray` on a real cluster of several nodes on this machine: tasks, actors, lost workers and nodes, and Ray Tune."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import ray
from ray import tune
from ray.cluster_utils import Cluster

import jaxhp
from jaxhp import Categorical, Float, Int, Space, Status, Study
from jaxhp.errors import SamplerError, SpaceError, StudyError
from jaxhp.interop.ray import Executor, Searcher
from jaxhp.interop.ray._domains import code_of

pytestmark = pytest.mark.filterwarnings("ignore")  # of Ray and what it imports

SPACE = Space({"x": Float(-1.0, 1.0), "y": Float(-1.0, 1.0)})


def make(**more: Any) -> Study:
    return Study(SPACE, **({"sampler": jaxhp.random_search(), "seed": 3} | more))


def bowl(trial: Any) -> float:
    return float(trial["x"] ** 2 + trial["y"] ** 2)


def where(trial: Any) -> dict[str, float]:
    """The value, and who computed it."""
    time.sleep(0.02)
    node = int(ray.get_runtime_context().get_node_id()[:12], 16)
    return {"value": bowl(trial), "pid": os.getpid(), "node": node, "gpu": float(os.environ.get("CUDA_VISIBLE_DEVICES") or -1)}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head that runs nothing and two nodes, to which others come and go. CPUs and GPUs are logical."""
    small = {"object_store_memory": 80_000_000}
    prompt = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_timeout_ms": 2000}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **small, "_system_config": prompt})
    made.add_node(num_cpus=32, **small)
    made.add_node(num_cpus=32, num_gpus=2, **small)
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import it
    ray.init(address=made.address, log_to_driver=False, logging_level=logging.ERROR)
    yield made
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    ray.shutdown()
    made.shutdown()


# -- the executor ------------------------------------------------------------------------------------------------------


def test_tasks_run_on_the_nodes_of_the_cluster(cluster: Cluster) -> None:
    with Executor() as executor:
        assert executor.slots == 64
        study = make(lag=4).optimize(where, trials=12, executor=executor, workers=4)
    assert [t.value for t in study.finished] == [t.value for t in make(lag=4).optimize(bowl, trials=12).finished]  # bitwise
    assert os.getpid() not in {t.values["pid"] for t in study.finished}


def test_a_trial_gets_the_share_of_a_gpu_that_it_asks_for(cluster: Cluster) -> None:
    with Executor(num_cpus=1, num_gpus=0.5) as executor:
        assert executor.slots == 4
        study = make().optimize(where, trials=8, executor=executor)
    assert {t.values["gpu"] for t in study.finished} == {0.0, 1.0} and len({t.values["node"] for t in study.finished}) == 1


def test_actors_keep_what_an_objective_keeps_on_64_slots(cluster: Cluster) -> None:
    loaded: list[float] = []

    def objective(trial: Any) -> dict[str, float]:
        if not loaded:
            loaded.append(time.time())  # data, a compiled program
        return where(trial) | {"loaded": loaded[0]}

    with Executor(num_cpus=16, actors=4, concurrency=16) as executor:
        assert executor.slots == 64
        study = make().optimize(objective, trials=128, executor=executor)
    pids = {t.values["pid"] for t in study.finished}
    assert len(study.finished) == 128 and len(pids) <= 4
    assert len({(t.values["pid"], t.values["loaded"]) for t in study.finished}) <= 4 * 16


def test_one_program_of_lanes_per_gpu(cluster: Cluster) -> None:
    from test_in_lanes import TRAINABLE
    from test_in_lanes import make as train

    cloudpickle.register_pickle_by_value(sys.modules["test_in_lanes"])
    objective = jaxhp.InLanes(TRAINABLE, steps=20, lanes=4, evaluate_every=5)
    with Executor(num_gpus=1, actors=2, concurrency=4, options={"runtime_env": {"env_vars": {"JAX_PLATFORMS": "cpu"}}}) as executor:
        assert executor.slots == 8
        study = train().optimize(objective, trials=16, executor=executor)
    assert [t.values for t in study.finished] == [
        t.values for t in train().train(TRAINABLE, trials=16, steps=20, lanes=4, evaluate_every=5).finished
    ]


@pytest.mark.parametrize("actors", [0, 2])
def test_a_worker_that_dies_loses_no_trial(cluster: Cluster, tmp_path: Path, actors: int) -> None:
    once = tmp_path / "once"

    def dying(trial: Any) -> float:
        if trial.number == 3 and not once.exists():
            once.touch()
            os._exit(1)
        return bowl(trial)

    with Executor(actors=actors) as executor:
        study = make(lag=2).optimize(dying, trials=8, executor=executor, workers=2)
    assert [t.value for t in study.finished] == [t.value for t in make(lag=2).optimize(bowl, trials=8).finished]
    releases = [r for r in study._log.read("study") if r["kind"] == "release"]
    assert 3 in [r["number"] for r in releases] and all(r["lost"] for r in releases)
    assert releases[0]["reason"].startswith("its worker was lost: WorkerLost: " + ("ActorDiedError" if actors else "WorkerCrashedError"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_cpus": -1}, "num_cpus: expected an amount that is not negative, got -1"),
        ({"resources": {"a": "b"}}, r"resources\['a'\]: expected an amount"),
        ({"actors": 1.5}, "actors: expected a number of at least 0, got 1.5"),
        ({"slots": 0}, "slots: expected a number of at least 1, got 0"),
        ({"concurrency": 2}, "concurrency=2: a task is one call; say how many actors="),
        ({"num_gpus": 3}, "room for 0 of 1 that need CPU: 1, GPU: 3 each .*CPU: 64, GPU: 2.*say slots= where the cluster grows"),
        ({"actors": 65}, "room for 64 of 65"),
        ({"actors": None}, "actors: expected a number of at least 0, got None"),
        ({"resources": 3}, "resources: expected a dict with names as keys, or None, got 3"),
        ({"resources": {3: 1}}, "resources: expected a dict with names as keys"),
        ({"options": ["max_retries"]}, "options: expected a dict with names as keys"),
        ({"resources": {"tpu": 1}, "num_cpus": 0}, "none of that"),
    ],
)
def test_the_executor_says_what_it_cannot_do(cluster: Cluster, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        Executor(**arguments)


def test_a_cluster_that_grows_on_demand_is_taken_at_its_word(cluster: Cluster) -> None:
    with Executor(num_gpus=8, slots=5) as executor:
        assert executor.slots == 5


@pytest.mark.parametrize("actors", [0, 2])
def test_a_node_that_goes_away_loses_no_trial(cluster: Cluster, tmp_path: Path, actors: int) -> None:
    nodes = [cluster.add_node(num_cpus=1, resources={"there": 1}, object_store_memory=80_000_000) for _ in range(2)]
    cluster.wait_for_nodes()
    standing = tmp_path / "standing"
    standing.touch()

    def held(trial: Any) -> float:
        """One on each node, until one of these is gone."""
        (tmp_path / f"begun {trial.number}").touch()
        while standing.exists():
            time.sleep(0.05)
        return bowl(trial)

    def end() -> None:
        while not all((tmp_path / f"begun {number}").exists() for number in (0, 1)):
            time.sleep(0.05)
        cluster.remove_node(nodes[0], allow_graceful=False)
        standing.unlink()

    ending = threading.Thread(target=end)
    with Executor(resources={"there": 1}, actors=actors) as executor:
        ending.start()
        study = make(lag=2).optimize(held, trials=6, executor=executor, workers=2)
        ending.join()
    cluster.remove_node(nodes[1], allow_graceful=False)
    assert [t.value for t in study.finished] == [t.value for t in make(lag=2).optimize(bowl, trials=6).finished]
    (release,) = [r for r in study._log.read("study") if r["kind"] == "release"]
    assert release["number"] in (0, 1) and release["lost"]


def test_workers_report_to_the_database(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def objective(trial: Any) -> float:
        for step in range(1, 10):
            if trial.report(step, bowl(trial) + 1 / step):
                break
        return bowl(trial) + 1 / step

    study = make(storage="sqlite:///s.db", scheduler=jaxhp.asha(eta=2))
    with Executor(actors=2) as executor:
        study.optimize(objective, trials=10, executor=executor)
    assert {t.status for t in study.finished} == {Status.COMPLETE, Status.STOPPED}


@pytest.mark.parametrize("actors", [0, 1])
def test_what_cannot_be_sent_is_an_error_of_its_call_and_of_no_other(cluster: Cluster, actors: int) -> None:
    with Executor(actors=actors) as executor:
        with pytest.raises(TypeError, match="serialize"):
            executor.submit(str, threading.Lock()).result(60)
        assert executor.submit(str, 7).result(60) == "7"


@pytest.mark.parametrize("actors", [0, 1])
def test_a_cancelled_call_ends(cluster: Cluster, actors: int) -> None:
    executor = Executor(actors=actors)
    first, second = executor.submit(time.sleep, 0.2), executor.submit(time.sleep, 0.2 if actors else 60)
    assert second.cancel() and second.cancelled()
    with pytest.raises(CancelledError):
        second.result()
    assert first.result() is None
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(time.sleep, 0)


# -- the searcher ------------------------------------------------------------------------------------------------------


def test_search_spaces_of_tune_are_ours() -> None:
    code = code_of(
        {
            "u": tune.uniform(-1, 2),
            "l": tune.loguniform(1e-4, 1e-1),
            "q": tune.quniform(0.1, 0.3, 0.1),
            "i": tune.randint(2, 9),
            "qi": tune.qrandint(2, 8, 2),
            "li": tune.lograndint(1, 65),
            "c": tune.choice(["a", None, 3]),
            "o": tune.choice([[64, 64], [32]]),
            "in": {"side": tune.uniform(0, 1), "fixed": 7},
            "ql": tune.qloguniform(0.01, 1, 0.01),
            "fixed": "x",
        }
    )
    assert code is not None
    assert dict(code.space.parameters) == {
        "u": Float(-1, 2),
        "l": Float(1e-4, 1e-1, log=True),
        "q": Float(0.1, 0.3, step=0.1),
        "i": Int(2, 8),
        "qi": Int(2, 8, step=2),
        "li": Int(1, 64, log=True),
        "c": Categorical(["a", None, 3]),
        "o": Categorical([0, 1]),
        "in.side": Float(0, 1),
        "ql": Float(0.01, 1, log=True),
    }
    rows = code.space.params(np.full(code.space.d, 0.4))
    config = code.config(rows)
    assert config["o"] == [64, 64] and config["in"] == {"side": 0.4} and config["ql"] == pytest.approx(0.06) and config["ql"] != rows["ql"]
    assert code.params(config)["o"] == 0 and code.params({"in/side": 0.5}) == {"in.side": 0.5} == code.params({"in": {"side": 0.5}})
    assert code_of({"fixed": 1}) is None
    for q in (tune.qlograndint(4, 100, 4), tune.qloguniform(0.2, 3.0, 0.2)):
        quantized = code_of({"q": q})
        assert quantized is not None
        values = [quantized.config(quantized.space.params(np.array([u])))["q"] for u in np.linspace(0, 1, 99)]
        assert values[0] == q.lower and values[-1] == q.upper and type(values[5]) is type(q.cast(1))
        assert all(abs(v / q.sampler.q - round(v / q.sampler.q)) < 1e-9 for v in values)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"g": tune.grid_search([1, 2])}, r"'g' is a grid; write tune.choice"),
        ({"n": tune.randn(0, 1)}, "'n' has no bounds"),
        ({"f": tune.sample_from(lambda spec: 1)}, "'f': a Function of Tune"),
        ({"a": [tune.uniform(0, 1)]}, "'a.0' lies in a list"),
        ({"a.b": tune.uniform(0, 1), "a": {"b": tune.uniform(0, 1)}}, "'a.b' is there twice"),
    ],
)
def test_what_cannot_be_searched_is_named(space: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        Searcher(jaxhp.random_search(), space=space)


def test_the_searcher_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(SamplerError, match="is a pair of parentheses missing"):
        Searcher(jaxhp.bayes)  # type: ignore[arg-type]
    with pytest.raises(SamplerError, match="mode='best'"):
        Searcher(jaxhp.bayes(), metric="loss", mode="best")
    for arguments, message in (
        ({"metric": "loss"}, "each metric needs a mode"),
        ({"metric": "loss", "mode": ["min"]}, "each metric needs a mode"),
        ({"metric": ["loss", "size"], "mode": ["min"]}, "each metric needs a mode"),
        ({"metric": "loss", "mode": "obs"}, "mode='obs'"),
        ({"metric": 3, "mode": "min"}, r"Searcher\(metric=3\): expected the name of a metric"),
        ({"space": 3}, r"Searcher\(space=3\): expected a jaxhp.Space or a search space of Tune"),
        ({"points_to_evaluate": {"x": 0.5}}, "expected a list of configurations"),
        ({"points_to_evaluate": [3]}, "expected a list of configurations"),
    ):
        with pytest.raises(SamplerError, match=message):
            Searcher(jaxhp.bayes(), **arguments)  # type: ignore[arg-type]
    with pytest.raises(SamplerError, match="nothing in it varies"):
        Searcher(jaxhp.bayes(), space={"a": 1})
    with pytest.raises(SamplerError, match="the search space is not known yet"):
        Searcher(jaxhp.bayes()).suggest("a")
    with pytest.raises(SamplerError, match="metric and mode is not known yet"):
        Searcher(jaxhp.bayes(), space=SPACE).suggest("a")
    (tmp_path / "other").write_text('{"a": 1}')
    with pytest.raises(StudyError, match="no saved state"):
        Searcher(jaxhp.bayes(), space=SPACE).restore(str(tmp_path / "other"))
    known = Searcher(jaxhp.bayes(), metric="loss", mode="min", space=SPACE)
    assert known.set_search_properties("loss", "min", {"fixed": 1}) and known.set_search_properties(None, None, {})
    assert not known.set_search_properties("accuracy", "min", {})
    assert not known.set_search_properties("loss", "min", {"z": tune.uniform(0, 1)})


TUNED = {"x": tune.uniform(-1.0, 1.0), "in": {"y": tune.uniform(-1.0, 1.0)}, "kind": tune.choice(["a", "b"])}


def searcher(**more: Any) -> Searcher:
    return Searcher(jaxhp.bayes(), **({"metric": "loss", "mode": "max", "space": TUNED, "seed": 1} | more))


def drive(tuned: Searcher, trials: range) -> list[Any]:
    """Two trials side by side, with reports, a failure and a NaN."""
    suggested = []
    tuned_configs: dict[int, Any] = {}
    for i in trials:
        config = tuned_configs[i] = tuned.suggest(f"t{i}")
        suggested.append(config)
        value = -(config["x"] ** 2) - config["in"]["y"] ** 2 - (config["kind"] == "b")
        tuned.on_trial_result(f"t{i}", {"loss": value - 1, "training_iteration": 1})
        if i % 5 == 3:
            tuned.on_trial_complete(f"t{i}", None, error=True)
        elif i % 5 == 4:
            tuned.on_trial_complete(f"t{i}", {"loss": float("nan")})
        else:
            tuned.on_trial_complete(f"t{i}", {"loss": value, "training_iteration": 2, "time_total_s": 3.0, "other": "text"})
    return suggested


def test_a_restored_searcher_goes_on_as_one_that_was_never_interrupted(tmp_path: Path) -> None:
    straight = drive(searcher(), range(24))
    first = searcher()
    begun = drive(first, range(14))
    waiting = first.suggest("waits")
    first.save(str(tmp_path / "state.json"))
    assert json.loads((tmp_path / "state.json").read_text())["trials"]["waits"] == 14
    again = searcher(metric=None, mode=None, space=None)
    again.restore(str(tmp_path / "state.json"))
    assert again.set_search_properties("loss", "max", TUNED)
    copied = cloudpickle.loads(cloudpickle.dumps(first))  # as Tune keeps it
    for goes_on in (again, copied, first):
        goes_on.on_trial_complete("waits", {"loss": -(waiting["x"] ** 2) - waiting["in"]["y"] ** 2 - (waiting["kind"] == "b")})
        goes_on.on_trial_complete("waits", {"loss": 9.0})  # said twice
        goes_on.on_trial_complete("never suggested", {"loss": 9.0})
    rest = [drive(goes_on, range(15, 24)) for goes_on in (again, copied, first)]
    assert rest[0] == rest[1] == rest[2]
    assert begun == straight[:14] and waiting == straight[14]
    study = first.study
    assert study.best.value == max(t.value for t in study.finished if t.status == Status.COMPLETE and t.value is not None)
    assert [study.finished[i].status for i in (2, 3, 4)] == [Status.COMPLETE, Status.FAILED, Status.FAILED]
    assert study.finished[0].seconds == 3.0


def test_points_to_evaluate_come_first_and_known_ones_count() -> None:
    tuned = searcher(points_to_evaluate=[{"x": 0.5, "in": {"y": 0.25}, "kind": "b"}])
    assert tuned.suggest("a") == {"x": 0.5, "in": {"y": 0.25}, "kind": "b"}
    tuned.add_evaluated_point({"x": 0.0, "in": {"y": 0.0}, "kind": "a", "fixed": 3}, 7.0)
    tuned.add_evaluated_point({"x": 0.1, "in/y": 0.0, "kind": "a"}, 0.0, error=True)
    assert tuned.study.best.value == 7.0 and [t.status for t in tuned.study.finished] == [Status.COMPLETE, Status.FAILED]
    tuned.on_trial_complete("a", {"accuracy": 1.0})
    assert "lacks loss" in (tuned.study.finished[0].error or "")
    with pytest.raises(StudyError, match=r"add_evaluated_point\(value=\[\]\): expected one value for each of loss"):
        tuned.add_evaluated_point({"x": 0.0, "in": {"y": 0.0}, "kind": "a"}, [])


@pytest.mark.parametrize("loss", [None, "0.5", [0.5]])
def test_a_result_that_is_no_number_is_a_failure_and_does_not_end_the_search(loss: Any) -> None:
    tuned = searcher()
    tuned.suggest("a")
    tuned.on_trial_result("a", {"loss": loss, "training_iteration": 1})
    tuned.on_trial_complete("a", {"loss": loss})
    assert "has no number there" in (tuned.study.finished[0].error or "") and tuned.suggest("b")


def test_results_of_numpy_can_be_saved(tmp_path: Path) -> None:
    tuned = searcher(points_to_evaluate=[{"x": np.float32(0.5), "in": {"y": np.float64(0.25)}, "kind": np.str_("b")}])
    assert tuned.suggest("a") == {"x": 0.5, "in": {"y": 0.25}, "kind": "b"}
    tuned.on_trial_result("a", {"loss": np.float32(2), "training_iteration": np.int64(1)})
    tuned.on_trial_complete("a", {"loss": np.float32(3), "time_total_s": np.float64(1)})
    tuned.save(str(tmp_path / "saved"))
    again = searcher()
    again.restore(str(tmp_path / "saved"))
    assert again.study.best.value == 3.0


def test_several_objectives_and_finite_samplers() -> None:
    several = Searcher(jaxhp.nsga2(population=4), metric=["a", "b", "c"], mode=["min", "max", "obs"], space=SPACE)
    for i in range(8):
        config = several.suggest(str(i))
        several.on_trial_complete(str(i), {"a": config["x"], "b": config["y"]})
    assert [o.direction for o in several.study.outcomes] == ["minimize", "maximize"] and several.study.pareto
    finite = Searcher(jaxhp.grid_search(), metric="a", mode="min", space={"c": tune.choice([[1], [2]])})
    assert [finite.suggest("0"), finite.suggest("1"), finite.suggest("2")] == [{"c": [1]}, {"c": [2]}, "FINISHED"]


def test_tune_runs_and_takes_up_an_experiment(cluster: Cluster, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.touch()

    def trainable(config: dict[str, Any]) -> None:
        if config["x"] > 0.3 and broken.exists():
            raise RuntimeError("the disk is full")
        for step in (2, 1):
            tune.report({"loss": config["x"] ** 2 + config["in"]["y"] ** 2 + step + config["fixed"]})

    space = TUNED | {"fixed": 3}
    ours = Searcher(jaxhp.sobol(), seed=1)
    tuned = tune.TuneConfig(search_alg=ours, num_samples=4, metric="loss", mode="min", max_concurrent_trials=2, reuse_actors=True)
    kept = tune.RunConfig(storage_path=str(tmp_path), name="e", verbose=0)
    results = tune.Tuner(trainable, param_space=space, tune_config=tuned, run_config=kept).fit()
    reference = Searcher(jaxhp.sobol(), seed=1, metric="loss", mode="min", space=TUNED)
    wanted = sorted(reference.suggest(str(i))["x"] for i in range(4))
    failed = sum(x > 0.3 for x in wanted)
    assert results.num_errors == failed > 0
    (state,) = (tmp_path / "e").glob("searcher-state-*")
    saved = json.loads(state.read_text())
    assert len(saved["trials"]) == 4 and saved["metric"] == "loss"
    told = [r for r in saved["log"] if r["kind"] == "tell"]
    assert sorted(r["status"] for r in told) == ["complete"] * (4 - failed) + ["failed"] * failed
    assert {r["step"] for r in told if r["status"] == "complete"} == {2.0}  # reports
    broken.unlink()
    again = tune.Tuner.restore(str(tmp_path / "e"), trainable, param_space=space, restart_errored=True).fit()
    assert again.num_errors == 0 and sorted(r.config["x"] for r in again) == wanted


def test_the_door_says_which_extra_is_missing() -> None:
    code = "import sys; sys.modules['ray'] = None\nimport jaxhp.interop\ntry: jaxhp.interop.ray\nexcept ImportError as e: print(e)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == 'jaxhp.interop.ray needs ray: pip install "jaxhp[ray]"'
    code = "import sys, jaxhp.interop.ray; print('ray.tune' in sys.modules)"  # which workers do not need
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
