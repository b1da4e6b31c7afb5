"""`study.optimize(executor=...)`: threads, processes, loky, Dask and jobs that announce nothing; workers killed, interrupts, errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jaxhp
from jaxhp import Float, Leases, ObjectiveError, Space, Status, Study, StudyError, WorkerLost, _crew, _errand
from jaxhp.storage import open_log

SPACE = Space({"x": Float(-1.0, 1.0), "y": Float(-1.0, 1.0)})


def make(**more: Any) -> Study:
    return Study(SPACE, **({"sampler": jaxhp.random_search(), "seed": 3} | more))


def bowl(trial: jaxhp.Trial) -> float:
    return float(trial["x"] ** 2 + trial["y"] ** 2)


def bowl_elsewhere(trial: jaxhp.Trial) -> dict[str, float]:
    return {"value": bowl(trial), "pid": os.getpid(), "seed": trial.seed % 1000}


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    """Two spawned processes that all tests share which do not break them."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        yield pool


class Jobs(Executor):
    """Jobs in the manner of submitit's: they are asked whether they are done, and announce nothing."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        return Job(fn, args)


class Job:
    def __init__(self, fn: Any, args: Any) -> None:
        self.thread = threading.Thread(target=self.run, args=(fn, args), daemon=True)
        self.thread.start()

    def run(self, fn: Any, args: Any) -> None:
        self.returned = fn(*args)

    def done(self) -> bool:
        return not self.thread.is_alive()

    def result(self) -> Any:
        return self.returned

    def cancel(self) -> None:
        pass


# -- what runs, and where ----------------------------------------------------------------------------------------------


def test_processes_run_trials_that_are_told_here(processes: Executor) -> None:
    study = make().optimize(bowl_elsewhere, trials=12, executor=processes)
    assert len(study.finished) == 12 and not study.running
    for trial in study.finished:
        assert trial.value == bowl(trial) and trial.values["seed"] == trial.seed % 1000
        assert trial.values["pid"] != os.getpid()
    assert study.optimize(bowl_elsewhere, trials=12, executor=processes) is study and len(study.finished) == 12  # a total


def test_threads_run_trials_of_the_study_itself() -> None:
    study, seen = make(scheduler=jaxhp.median_stopping()), []

    def objective(trial: jaxhp.Trial) -> float:  # a closure over what cannot be sent: nothing is
        seen.append(trial._study is study)
        trial.report(1, bowl(trial))
        return bowl(trial)

    with ThreadPoolExecutor(3) as pool:
        study.optimize(objective, trials=9, executor=pool)
    assert seen == [True] * 9 and len(study.finished) == 9


def test_jobs_that_announce_nothing_are_asked() -> None:
    assert len(make().optimize(bowl, trials=5, executor=Jobs(), workers=3).finished) == 5
    with pytest.raises(StudyError, match="Jobs does not say how many trials it runs at once; say it with workers="):
        make().optimize(bowl, trials=5, executor=Jobs())


def test_submitits_jobs_run_trials_and_one_that_is_killed_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submitit = pytest.importorskip("submitit")
    monkeypatch.setattr(submitit.Job, "_results_timeout_s", 1)  # for which it waits for the result of a job that was killed
    jobs = submitit.AutoExecutor(folder=tmp_path / "jobs", cluster="local")
    jobs.update_parameters(timeout_min=5)
    once = tmp_path / "once"

    def killed_once(trial: jaxhp.Trial) -> float:
        if trial.number == 1 and not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return float(trial["x"])

    with pytest.raises(StudyError, match=r"workers: .* does not say how many"):
        make().optimize(killed_once, trials=3, executor=jobs)
    study = make(lag=2).optimize(killed_once, trials=3, executor=jobs, workers=2)
    assert once.exists() and [t.value for t in study.finished] == [t["x"] for t in study.finished]
    (release,) = [r for r in study._log.read("study") if r["kind"] == "release"]
    assert release["number"] == 1 and release["lost"] and "UncompletedJobError" in release["reason"]


def test_mpi_runs_trials_on_its_ranks(tmp_path: Path) -> None:
    pytest.importorskip("mpi4py")
    script = tmp_path / "search.py"
    script.write_text("""
import os
import jaxhp
from mpi4py.futures import MPIPoolExecutor

if __name__ == "__main__":
    space = jaxhp.Space({"x": jaxhp.Float(-1.0, 1.0)})
    with MPIPoolExecutor() as executor:
        study = jaxhp.Study(space, seed=3).optimize(lambda trial: {"value": trial["x"], "pid": os.getpid()}, trials=8, executor=executor)
    pids = {trial.values["pid"] for trial in study.finished}
    print(all(trial.value == trial["x"] for trial in study.finished), len(pids | {os.getpid()}))
""")
    mpiexec = Path(sys.executable).parent / "mpiexec"
    command = [str(mpiexec), "-n", "3", sys.executable, "-m", "mpi4py.futures", str(script)]
    environment = os.environ | {"PYTHONPATH": str(Path(jaxhp.__file__).parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("True 3\n", 0), done.stderr  # two ranks, and the one that asks


def test_loky_runs_lambdas() -> None:
    loky = pytest.importorskip("loky")
    pool = loky.get_reusable_executor(max_workers=2)
    try:
        study = make().optimize(lambda trial: trial["x"] ** 2, trials=6, executor=pool)
    finally:
        pool.shutdown(wait=True)
    assert [t.value for t in study.finished] == [t["x"] ** 2 for t in study.finished]


@pytest.mark.filterwarnings("ignore")  # of Dask's dependencies
def test_dask_runs_trials_on_its_workers() -> None:
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=2, processes=False, dashboard_address=None, worker_dashboard_address=None
    )
    with cluster, distributed.Client(cluster) as client:
        executor = client.get_executor()
        assert _crew.places(executor) == 4
        study = make().optimize(bowl_elsewhere, trials=10, executor=executor)
        assert [t.value for t in study.finished] == [bowl(t) for t in study.finished]
        with pytest.raises(ObjectiveError, match="6 x ZeroDivisionError"):
            make().optimize(failing, trials=20, executor=executor, workers=1)


def test_no_more_trials_are_in_flight_than_workers_allow() -> None:
    class Counting(ThreadPoolExecutor):
        now = most = 0

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            self.now += 1
            self.most = max(self.most, self.now)
            future = super().submit(fn, *args, **kwargs)
            future.add_done_callback(lambda _: setattr(self, "now", self.now - 1))
            return future

    for workers, most in ((None, 4), (2, 2)):
        with Counting(4) as pool:
            make().optimize(lambda t: time.sleep(0.001) or 0.0, trials=20, executor=pool, workers=workers)
        assert pool.most <= most


def test_with_a_lag_processes_give_the_trials_of_one_worker(processes: Executor) -> None:
    one = make(sampler=jaxhp.bayes(), lag=3).optimize(bowl, trials=16)
    other = make(sampler=jaxhp.bayes(), lag=3).optimize(bowl, trials=16, executor=processes, workers=3)
    assert np.array_equal([t.u for t in one.finished], [t.u for t in other.finished])
    assert [t.value for t in one.finished] == [t.value for t in other.finished]


# -- reports -----------------------------------------------------------------------------------------------------------


def reporting(trial: jaxhp.Trial) -> float:
    for step in range(1, 10):
        if trial.report(step, bowl(trial) + 1 / step):
            break
    return bowl(trial) + 1 / step


def test_reports_come_back_with_the_result_where_the_log_is_in_memory(processes: Executor) -> None:
    study = make().optimize(reporting, trials=4, executor=processes)
    rows = study.trials
    assert (rows.status == Status.REPORTED).sum() == 36
    assert rows.fidelity[rows.number == 2].tolist() == [*range(1, 10), 9.0]


def test_workers_report_to_the_database_and_are_stopped_there(processes: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a relative URL means the same file to workers, who stand elsewhere
    study = make(storage="sqlite:///s.db", scheduler=jaxhp.asha(eta=2)).optimize(reporting, trials=12, executor=processes)
    assert {t.status for t in study.finished} == {Status.STOPPED, Status.COMPLETE}
    records = open_log("sqlite:///s.db").read("study")
    assert {r["kind"] for r in records} == {"study", "ask", "report", "decision", "tell"}
    stopped = next(t for t in study.finished if t.status == Status.STOPPED)
    steps = study.trials.fidelity[study.trials.number == stopped.number]
    assert steps.max() < 9 and stopped.value == bowl(stopped) + 1 / steps.max()


def test_a_scheduler_needs_a_log_that_workers_can_reach(processes: Executor) -> None:
    study = make(scheduler=jaxhp.asha())
    with pytest.raises(StudyError, match=r'asha\(.*in memory; give it storage="sqlite:///study.db"'):
        study.optimize(reporting, trials=4, executor=processes)
    assert not study.running


def badly_reporting(trial: jaxhp.Trial) -> float:
    trial.report(1, {"other": 1.0})
    return 0.0


def test_a_report_that_lacks_a_metric_fails_its_trial(processes: Executor) -> None:
    (trial,) = make().optimize(badly_reporting, trials=1, executor=processes).finished
    assert trial.status == Status.FAILED and "metric 'value' is missing" in (trial.error or "")


# -- errors ------------------------------------------------------------------------------------------------------------


def failing(trial: jaxhp.Trial) -> float:
    return 1 / 0


class Odd(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"odd {a + b}")


def oddly_failing(trial: jaxhp.Trial) -> float:
    raise Odd(1, 2)


def exiting(trial: jaxhp.Trial) -> float:
    if trial.number == 0:
        raise SystemExit("enough")
    return 0.0


def test_an_error_is_recorded_with_the_traceback_of_the_worker(processes: Executor) -> None:
    study = make()
    with pytest.raises(ZeroDivisionError):
        study.optimize(failing, trials=3, executor=processes, raise_errors=True, workers=1)
    (trial,) = study.finished
    assert trial.status == Status.FAILED and "return 1 / 0" in (trial.error or "") and "line" in (trial.error or "")
    with pytest.raises(ObjectiveError, match=r"x Odd: odd 3|x ObjectiveError: Odd: odd 3"):  # it cannot be unpickled
        make().optimize(oddly_failing, trials=20, executor=processes)
    study = make().optimize(exiting, trials=3, executor=processes)  # of a process that is not ours
    assert [t.status for t in study.finished] == [Status.FAILED, Status.COMPLETE, Status.COMPLETE]


def test_what_cannot_be_sent_is_refused_before_a_trial_is_asked(processes: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, study = threading.Lock(), make()
    with pytest.raises(StudyError, match=r"the objective cannot be sent to a worker \(TypeError: .*lock.*put it into a module"):
        study.optimize(lambda trial: float(lock.locked()), trials=3, executor=processes)
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(StudyError, match="pip install cloudpickle"):
        study.optimize(lambda trial: 0.0, trials=3, executor=processes)
    assert study.optimize(bowl, trials=3, executor=processes).best.value > 0  # by pickle alone
    database = make(storage=f"sqlite:///{os.environ['JAXHP_CACHE']}/unsent.db", scheduler=jaxhp.asha())
    with pytest.raises(StudyError, match="the scheduler cannot be sent"):
        database.optimize(bowl, trials=3, executor=processes)


def test_a_worker_that_cannot_load_the_objective_says_so() -> None:
    returned = _errand.Parcel(b"cno_such_module\nf\n.")(0, np.zeros(2), {}, 0)
    assert "a worker cannot load the objective (ModuleNotFoundError" in str(returned.error) and "Traceback" in (returned.text or "")


@pytest.mark.parametrize("executor", [ThreadPoolExecutor, 4, object()])
def test_what_is_no_executor_is_refused(executor: Any) -> None:
    with pytest.raises(StudyError, match=r"executor: expected a concurrent.futures.Executor such as ProcessPoolExecutor\(4\), got"):
        make().optimize(bowl, trials=1, executor=executor)


def test_an_executor_that_was_shut_down_ends_the_run_and_leaves_nothing_running() -> None:
    pool = ThreadPoolExecutor(2)
    pool.shutdown()
    study = make()
    with pytest.raises(StudyError, match=r"executor: ThreadPoolExecutor takes no calls \(.*after shutdown\); was it shut down\?"):
        study.optimize(bowl, trials=3, executor=pool)
    assert study.ask().number == 0  # given back


# -- workers that die --------------------------------------------------------------------------------------------------


def deadly(trial: jaxhp.Trial) -> float:
    if trial.number == 2 and not os.path.exists(os.environ["SURVIVED"]):
        os.kill(os.getpid(), signal.SIGKILL)
    return bowl(trial)


def test_a_broken_executor_gives_its_trials_back_and_fails_one_that_breaks_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SURVIVED", str(tmp_path / "survived"))
    study = make()
    for _ in range(2):
        with (
            ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
            pytest.raises(WorkerLost, match=r"ProcessPoolExecutor broke: .*terminated abruptly.*1 trials are run again|0 trials are"),
        ):
            study.optimize(deadly, trials=5, executor=pool)
    assert [(t.number, t.status) for t in study.finished] == [(0, Status.COMPLETE), (1, Status.COMPLETE), (2, Status.FAILED)]
    assert "its worker was lost: BrokenProcessPool" in (study.finished[2].error or "")
    assert "it was lost 2 times (jaxhp.Leases(requeue=1))" in (study.finished[2].error or "")
    with ThreadPoolExecutor(1) as pool:
        assert len(study.optimize(bowl, trials=5, executor=pool).finished) == 5
    reference = make().optimize(bowl, trials=5)
    assert [t.value for t in study.finished if t.number != 2] == [t.value for t in reference.finished if t.number != 2]


class Losing(ThreadPoolExecutor):
    """Loses the worker of each trial once, or for ever, and goes on."""

    def __init__(self, for_ever: bool) -> None:
        super().__init__(2)
        self.seen: set[int] = set()
        self.for_ever = for_ever

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        number = args[0]
        if number % 3 == 0 and (self.for_ever or number not in self.seen):
            self.seen.add(number)
            return super().submit(self.lose, number)
        return super().submit(fn, *args, **kwargs)

    def lose(self, number: int) -> None:
        raise WorkerLost(f"node {number} went away")


def test_a_trial_whose_worker_was_lost_is_run_again_in_the_same_run() -> None:
    with Losing(for_ever=False) as pool:
        study = make(lag=2).optimize(bowl, trials=10, executor=pool)
    assert [t.value for t in study.finished] == [t.value for t in make(lag=2).optimize(bowl, trials=10).finished]
    releases = [r for r in study._log.read("study") if r["kind"] == "release"]
    assert [r["number"] for r in releases] == [0, 3, 6, 9] and all(r["lost"] for r in releases)
    assert releases[0]["reason"] == "its worker was lost: WorkerLost: node 0 went away"


def test_a_trial_whose_workers_are_always_lost_fails_and_is_counted() -> None:
    told: list[int] = []
    with Losing(for_ever=True) as pool:
        study = make(leases=Leases(requeue=2)).optimize(
            bowl, trials=10, executor=pool, callbacks=[lambda study, trial: told.append(trial.number)]
        )
    assert [t.number for t in study.finished if t.status == Status.FAILED] == [0, 3, 6, 9] and sorted(told) == list(range(10))
    assert "it was lost 3 times" in (study.finished[3].error or "")


def test_an_interrupt_cancels_what_waits_and_gives_every_trial_back() -> None:
    begun, go_on, ran = threading.Event(), threading.Event(), []

    def objective(trial: jaxhp.Trial) -> float:
        ran.append(trial.number)
        if trial.number:
            begun.set()
            go_on.wait(60)
        return bowl(trial)

    def interrupt(study: Study, trial: jaxhp.Trial) -> None:
        begun.wait(60)
        raise KeyboardInterrupt

    study, pool = make(), ThreadPoolExecutor(1)
    with pytest.raises(KeyboardInterrupt):
        study.optimize(objective, trials=8, executor=pool, workers=4, callbacks=[interrupt])
    go_on.set()
    pool.shutdown()
    assert ran == [0, 1]  # what was cancelled did not begin
    assert [t.number for t in study.finished] == [0] and [t.number for t in study.running] == study._fold.released == [1, 2, 3]
    assert len(study.optimize(bowl, trials=8).finished) == 8
    assert [t.u.tolist() for t in study.finished] == [t.u.tolist() for t in make().optimize(bowl, trials=8).finished]


def test_a_trial_that_waits_too_long_fails_and_is_cancelled() -> None:
    go_on = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(go_on.wait, 60)
        study = make().optimize(bowl, trials=2, executor=pool, trial_timeout=0.05, max_failed=1.0)
        go_on.set()
    assert ["ran longer than trial_timeout=0.05 s" in (t.error or "") for t in study.finished] == [True, True]


def test_the_script_of_a_notebook_user_runs(tmp_path: Path) -> None:
    """Functions of `__main__`, a guard as spawn wants it, and a database."""
    script = tmp_path / "script.py"
    script.write_text(
        "import jaxhp, math\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from multiprocessing import get_context\n"
        "space = jaxhp.Space({'x': jaxhp.Float(-1.0, 1.0)})\n"
        "if __name__ == '__main__':\n"
        "    study = jaxhp.Study(space, sampler=jaxhp.sobol(), storage='sqlite:///s.db')\n"
        "    with ProcessPoolExecutor(2, mp_context=get_context('spawn')) as pool:\n"
        "        study.optimize(lambda trial: math.cos(trial['x']), trials=6, executor=pool)\n"
        "    print(len(study.finished), study.best.value < 1)\n"
    )
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.split() == ["6", "True"] and not done.stderr
