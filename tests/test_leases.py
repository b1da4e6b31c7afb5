"""Workers that are gone: heartbeats, expiry, fencing, retries; stop, pause and resume; processes killed at random points."""

import gc
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import jaxhp
from jaxhp import Float, LeaseLost, Leases, Sampler, Space, Status, Study, StudyError, _leases, _owner
from jaxhp.storage import MemoryLog, open_log

SPACE = Space({"x": Float(-1.0, 1.0)})
SOON = Leases(beat=0.01, expiry=0.05)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    return f"sqlite:///{tmp_path}/s.db" if request.param == "sqlite" else request.getfixturevalue("postgres").new()


def make(url, leases=SOON, **more):
    return Study(SPACE, storage=url, **({"sampler": jaxhp.sobol(), "seed": 3, "leases": leases} | more))


@contextmanager
def elsewhere(host="far"):
    """What happens here is done by a process of another host, whose heart does not beat."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_owner, "owner", lambda: f"{host}:7:1")
        patch.setattr(_leases.Heart, "start", lambda self: None)
        yield


def taken_up(study):
    """The trial that is next asked once the lease of another one has expired."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        study._session.reclaim()
        if study._fold.released or not study.running:
            return study.ask()
        time.sleep(0.01)
    raise AssertionError("no lease expired")


def kinds(url, *wanted):
    return [record for record in open_log(url).read("study") if record["kind"] in wanted]


# expiry and fencing


def test_a_trial_of_a_silent_worker_is_run_again_and_the_late_result_is_refused_and_kept(url):
    with elsewhere():
        lost = make(url)
        trial = lost.ask()
    study = make(url)
    again = taken_up(study)
    assert again.number == trial.number == 0 and again.params == trial.params
    (release,) = kinds(url, "release")
    assert release["reason"] == "its owner far:7:1 has not been heard of for 0.05 s" and release["lost"]
    for tell in (trial, trial.number):  # by handle and, as asked by this study, by number
        with pytest.raises(LeaseLost, match=r"trial 0 .* was taken from this worker.* has it now; this result is kept in the log"):
            lost.tell(tell, 7.0)
    with pytest.raises(LeaseLost, match="end it"):
        trial.report(1, 0.5)
    with pytest.raises(LeaseLost, match="not yours to give back"):
        lost.release(trial)
    study.tell(again, 1.0)
    with pytest.raises(LeaseLost, match="it was run again"):
        lost.tell(trial, 8.0)
    reopened = make(url)
    assert [(t.number, t.value) for t in reopened.finished] == [(0, 1.0)] and reopened.best.value == 1.0
    assert [(t.number, t.value, t.status) for t in reopened.late] == [(0, v, Status.COMPLETE) for v in (7.0, 7.0, 8.0)]
    assert not reopened.running and reopened.trials.y.tolist() == [[1.0]]  # nor does the late report show


def test_a_result_that_comes_before_anyone_took_the_trial_up_counts(url):
    with elsewhere():
        lost = make(url)
        trial = lost.ask()
    study = make(url)
    while not study._fold.released:
        study._session.reclaim()
    lost.tell(trial, 7.0)
    assert [t.value for t in study.finished] == [7.0] and not study.late
    assert study.ask().number == 1


def test_a_trial_whose_workers_are_lost_twice_has_failed(url):
    with elsewhere():
        first = make(url)
        trial = first.ask()
    with elsewhere("farther"):
        taken_up(make(url))
    study = make(url)
    assert taken_up(study).number == 1
    (failed,) = study.finished
    assert failed.status == Status.FAILED
    assert failed.error == "its owner farther:7:1 has not been heard of for 0.05 s; it was lost 2 times (jaxhp.Leases(requeue=1))"
    with pytest.raises(LeaseLost):
        first.tell(trial, 7.0)


def test_many_judges_of_one_silence_leave_one_record(tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    with elsewhere():
        make(url).ask()
    studies = [make(url) for _ in range(4)]
    asked = []

    def judge(study):
        while not kinds(url, "release"):
            study._session.reclaim()
        asked.append(study.ask().number)

    threads = [threading.Thread(target=judge, args=(study,)) for study in studies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(asked) == [0, 1, 2, 3] and len(kinds(url, "release")) == len(kinds(url, "lease")) == 1


def test_counters_are_judged_by_the_judges_own_clock_alone(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(_leases, "time", SimpleNamespace(monotonic=lambda: clock.now))
    watch, beats = _leases.Watch(60.0), {"a": 1_000_000, "b": -5}

    def look(after, **beaten):
        clock.now += after
        beats.update(beaten)
        return watch.expired({"a", "b", "never beat"}, beats)

    assert look(0) == set()
    assert look(29) == set()
    assert look(29, a=3) == set()  # any change will do: a counter that was restored from a copy runs backwards
    assert look(3) == {"b", "never beat"}
    assert look(29) == look(0, b=-5) == {"b", "never beat"}
    assert look(29, b=-4) == {"a", "never beat"}


def test_a_judge_that_was_suspended_does_not_blame_others_for_it(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(_leases, "time", SimpleNamespace(monotonic=lambda: clock.now))
    watch = _leases.Watch(60.0)
    watch.expired({"a"}, {"a": 1})
    clock.now = 86_400.0
    assert watch.expired({"a"}, {"a": 1}) == set()
    clock.now += 5
    assert watch.expired({"a"}, {"a": 2}) == set()


def test_a_study_beats_from_its_first_ask_until_it_is_dropped(url):
    log = open_log(url)
    study = make(url, Leases(beat=0.005, expiry=10.0))
    time.sleep(0.05)
    assert log.beats("study") == {}
    study.ask()
    me = _owner.owner()
    while log.beats("study").get(me, 0) < 3:
        time.sleep(0.005)
    hearts = [t for t in threading.enumerate() if t.name == "heart of study"]
    del study
    gc.collect()
    for thread in hearts:
        thread.join(60)
        assert not thread.is_alive()


def test_a_study_in_memory_has_no_heart():
    before = threading.active_count()
    study = Study(SPACE, sampler=jaxhp.sobol())
    study.ask()
    assert threading.active_count() == before and not isinstance(MemoryLog(), _leases.Beating)


def test_without_leases_trials_are_nobodys_and_stay_as_they_are(url):
    with elsewhere():
        kept = make(url, None)
        trial = kept.ask()
    study = make(url)
    assert study.ask().number == 1  # the clock would have run out
    time.sleep(0.1)
    study._session.reclaim()
    assert study.ask().number == 2
    make(url, None).tell(trial.number, 4.0)
    assert study.finished[0].value == 4.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"leases": 3}, r"leases: expected jaxhp.Leases\(...\) or None, got 3"),
        ({"leases": Leases(beat=0)}, "beat must be a positive number of seconds, .* got 0"),
        ({"leases": Leases(beat=1e12, expiry=1e13)}, "beat must be a positive number of seconds, .* at most, got 1000000000000.0"),
        ({"leases": Leases(beat="10")}, "beat must be a positive number of seconds, .* got '10'"),
        ({"leases": Leases(expiry=15.0)}, "expiry=15 s leaves no room for a missed beat; choose at least 20"),
        ({"leases": Leases(requeue=-1)}, "requeue must be a number of times, got -1"),
        ({"retry": -1}, "retry: expected how often"),
        ({"retry": 1, "lag": 2}, "retry=1: with lag=2"),
    ],
)
def test_leases_and_retries_that_cannot_be_kept_are_refused(arguments, message):
    with pytest.raises(StudyError, match=message):
        make(None, **arguments)


def test_a_loop_that_lost_a_trial_says_so_and_goes_on(tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    other = make(url)

    def objective(trial):
        if trial.number == 1 and not other.finished[-1].number:
            other._session.claim([{"kind": "release", "number": 1, "reason": "far away", "lost": True, "time": 0.0}])
            other.tell(other.ask(), 5.0)
            with pytest.raises(LeaseLost):
                trial.report(1, 0.0)
        return 0.0

    with pytest.warns(UserWarning, match="trial 1 of study 'study' was taken from this worker"):
        study = make(url).optimize(objective, trials=4)
    assert [t.value for t in study.finished] == [0.0, 5.0, 0.0, 0.0] and [t.number for t in study.late] == [1]


def test_training_is_taken_over_from_a_silent_process_and_not_from_one_that_beats(tmp_path):
    url, ran = f"sqlite:///{tmp_path}/s.db", []

    def objective(part):
        ran.append(part.number)
        if len(ran) == 5:
            raise SystemExit("killed")
        return part["x"] ** 2 / part.until

    settings = {"trials": 4, "steps": 3, "evaluate_every": 1, "workers": 1, "folder": tmp_path}
    with elsewhere(), pytest.raises(SystemExit):
        make(url).optimize_in_parts(objective, **settings)
    log, ended = open_log(url), threading.Event()

    def beat():
        while not ended.wait(0.005):
            log.beat("study", "far:7:1")

    thread = threading.Thread(target=beat)
    thread.start()
    with pytest.raises(StudyError, match="is being trained by far:7:1; wait for it or stop it"):
        make(url, Leases(beat=10.0, expiry=60.0)).optimize_in_parts(objective, **settings)
    ended.set()
    thread.join()
    taken = make(url).optimize_in_parts(objective, **settings)
    straight = Study(SPACE, sampler=jaxhp.sobol(), seed=3).optimize_in_parts(objective, **settings | {"folder": tmp_path / "straight"})
    assert [(t.number, t.params, t.value) for t in taken.finished] == [(t.number, t.params, t.value) for t in straight.finished]
    assert not taken.late and {r["owner"] for r in kinds(url, "lease")} == {_owner.owner()}


# failures that are tried again


@pytest.mark.parametrize("storage", ["memory", "sqlite"])
def test_a_failed_configuration_is_run_again_so_often_and_no_more(tmp_path, storage):
    url = None if storage == "memory" else f"sqlite:///{tmp_path}/s.db"

    def objective(trial):
        if trial["x"] > 0:
            raise RuntimeError("flaky")
        return trial["x"]

    study = make(url, retry=2).optimize(objective, trials=12, max_failed=1.0)
    tries = {}
    for trial in study.finished:
        tries.setdefault(trial["x"], []).append(trial.status == Status.FAILED)
    assert sorted(tries.values(), key=len)[-1] == [True] * 3
    assert all(len(t) == 1 for x, t in tries.items() if x <= 0)
    assert [t.number for t in study.finished] == list(range(12))


def test_a_late_failure_is_not_tried_again():
    study = make(None, retry=1)
    trial = study.ask()
    study._session.claim([{"kind": "release", "number": 0, "reason": "gone", "lost": True, "time": 0.0}])
    again = study.ask()
    with pytest.raises(LeaseLost):
        study.tell(trial, error="late")
    study.tell(again, 1.0)
    assert study.ask().number == 1 and study.running[0].params != again.params


# stop, pause, resume


def test_a_study_is_stopped_from_elsewhere_and_goes_on_after_resume(url):
    study, other = make(url), make(url)
    study.optimize(lambda t: t["x"], trials=50, callbacks=[lambda s, t: other.stop() if t.number == 4 else None])
    assert len(study.finished) == 5 and study.halted == make(url).halted == "stop"
    with pytest.warns(UserWarning, match="stopped: nothing is run until"):
        assert len(study.optimize(lambda t: t["x"], trials=50).finished) == 5
    other.resume()
    assert study.halted is None and len(study.optimize(lambda t: t["x"], trials=8).finished) == 8


def test_a_paused_loop_waits_and_goes_on_by_itself(url):
    study, other = make(url), make(url)
    seen = []

    def wake():
        while len(other.finished) < 3:
            time.sleep(0.01)
        time.sleep(0.1)
        seen.append(len(other.finished))
        other.resume()

    thread = threading.Thread(target=wake)
    thread.start()
    study.optimize(lambda t: t["x"], trials=6, workers=2, callbacks=[lambda s, t: other.pause() if t.number == 1 else None])
    thread.join()
    assert len(study.finished) == 6 and seen[0] < 6


def test_a_paused_loop_ends_with_its_timeout():
    study = make(None)
    study.pause()
    with pytest.warns(UserWarning, match="paused"):
        study.optimize(lambda t: t["x"], timeout=0.05)
    assert not study.finished


# suggestions


def test_what_others_tell_while_a_suggestion_is_computed_does_not_invalidate_it(tmp_path):
    url, calls = f"sqlite:///{tmp_path}/s.db", []

    def ask(state, numbers):
        calls.append(numbers.tolist())
        if len(calls) <= 3:
            pending = other.running
            other.tell(pending[0], 1.0)
        return np.full((len(numbers), 1), 0.25 + 0.01 * len(calls))

    other = make(url)
    other.ask(3)
    study = make(url, sampler=Sampler(lambda p, s: None, lambda s, rows: s, ask, "slow"))
    assert [study.ask().number for _ in range(3)] == [3, 4, 5]
    assert calls == [[3], [4], [5]]
    records = open_log(url).read("study")
    asks = [(i, r["seen"]) for i, r in enumerate(records) if r["kind"] == "ask"][3:]
    assert all(records[seen]["kind"] == "tell" and i == seen + 1 for i, seen in asks)


def test_a_number_that_another_took_is_computed_again(tmp_path):
    url, calls = f"sqlite:///{tmp_path}/s.db", []

    def ask(state, numbers):
        calls.append(numbers.tolist())
        if len(calls) == 1:
            other.ask()
        return np.full((len(numbers), 1), 0.5)

    other = make(url)
    study = make(url, sampler=Sampler(lambda p, s: None, lambda s, rows: s, ask, "slow"))
    assert study.ask().number == 1 and calls == [[0], [1]]


def test_turns_exclude_each_other_and_are_not_waited_for_for_ever(url):
    log, other = open_log(url), open_log(url)
    with log.turn("s") as mine, other.turn("s", 0.05) as too, other.turn("t", 0.05) as separate:
        assert mine and not too and separate == url.startswith("postgresql")  # a file has one turn for all of its studies
    with other.turn("s", 0.05) as now:
        assert now


def test_a_turn_ends_where_a_child_that_was_forked_meanwhile_lives_on(tmp_path, monkeypatch):
    log, opened, inherited = open_log(f"sqlite:///{tmp_path}/s.db"), os.open, []

    def forked(*arguments):
        inherited.append(os.dup(descriptor := opened(*arguments)))  # shares the lock, as the file of a forked child does
        return descriptor

    monkeypatch.setattr(os, "open", forked)
    for _ in range(2):
        with log.turn("s", 0.05) as mine:
            assert mine
    for descriptor in inherited:
        os.close(descriptor)


# real processes

ROUNDS = """
import json, os, random, signal, sys, time, warnings
import jaxhp
from jaxhp import Float, Leases, Space, Study, random_search
warnings.simplefilter("ignore")
url, rounds, trials = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
space = Space({"x": Float(0.0, 1.0)})

def worker():
    pid = os.fork()
    if pid:
        return pid
    try:
        study = Study(space, sampler=random_search(), storage=url, seed=1, leases=Leases(requeue=1000), retry=1)
        study.optimize(objective, trials=trials)
        os._exit(0)
    except BaseException as e:
        print(repr(e), file=sys.stderr, flush=True)
        os._exit(1)

def objective(trial):
    time.sleep(0.002)
    if trial.number % 13 == 5:
        raise RuntimeError("data")
    return trial["x"]

dice, killed, codes = random.Random(0), 0, []
for _ in range(rounds):
    pids = [worker() for _ in range(3)]
    time.sleep(dice.uniform(0.0, 0.08))
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        code = os.waitpid(pid, 0)[1]
        killed += code == 9
        codes += [] if code in (0, 9) else [code]
codes += [os.waitpid(pid, 0)[1] for pid in [worker() for _ in range(3)]]
print(json.dumps({"killed": killed, "codes": codes}))
"""


def run_rounds(url, rounds, trials):
    environment = os.environ | {"PYTHONPATH": str(Path(jaxhp.__file__).parents[1])}
    out = subprocess.run([sys.executable, "-c", ROUNDS, url, str(rounds), str(trials)], env=environment, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    told = json.loads(out.stdout)
    assert told["killed"] > rounds and told["codes"] == [0, 0, 0], (told, out.stderr)
    study = Study.open(url)
    assert not study.running and not study.late
    assert [t.number for t in study.finished] == list(range(len(study.finished))) and len(study.finished) >= trials
    tells = [r["number"] for r in kinds(url, "tell")]
    assert len(tells) == len(set(tells))  # none completed twice
    for trial in study.finished:
        assert (trial.value == trial["x"]) if trial.number % 13 != 5 else (trial.status == Status.FAILED)
    # Every configuration that was suggested is what one process would have suggested: it depends on the number alone.
    alone = Study(SPACE01, sampler=jaxhp.random_search(), seed=1).ask(len(tells))
    suggested = {r["number"]: r["u"][0] for r in kinds(url, "ask") if "source" not in r}
    assert all(alone[number].u[0] == u for number, u in suggested.items())


SPACE01 = Space({"x": Float(0.0, 1.0)})


def test_workers_killed_at_random_points_lose_nothing_and_repeat_nothing(url):
    run_rounds(url, 20, 150)


@pytest.mark.soak
def test_workers_killed_at_random_points_two_hundred_times(url):
    run_rounds(url, 200, 3000)


SUSPENDED = """
import os, signal, sys
from jaxhp import *
study = Study(Space({"x": Float(-1.0, 1.0)}), sampler=sobol(), seed=3, storage=sys.argv[1], leases=Leases(beat=0.01, expiry=0.2))
trial = study.ask()
os.kill(os.getpid(), signal.SIGSTOP)
try:
    study.tell(trial, 7.0)
except LeaseLost as e:
    print(e)
"""


def test_a_worker_that_was_suspended_for_too_long_is_refused_when_it_wakes(tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    environment = os.environ | {"PYTHONPATH": str(Path(jaxhp.__file__).parents[1])}
    process = subprocess.Popen([sys.executable, "-c", SUSPENDED, url], env=environment, stdout=subprocess.PIPE, text=True)
    os.waitpid(process.pid, os.WUNTRACED)
    study = make(url, Leases(beat=0.02, expiry=0.2))
    study.tell(taken_up(study), 1.0)
    process.send_signal(18)  # SIGCONT
    assert "trial 0 of study 'study' was taken from this worker" in process.communicate(timeout=60)[0]
    assert [t.value for t in study.finished] == [1.0] and [t.value for t in study.late] == [7.0]


QUEUE = """
import os, sys
from jaxhp import *
url, workers = sys.argv[1], int(sys.argv[2])
space = Space({"x": Float(0.0, 1.0)})
pids = []
for _ in range(workers):
    pid = os.fork()
    if not pid:
        study = Study(space, storage=url, sampler=random_search(), seed=0)
        study.optimize(lambda trial: trial["x"], trials=200)
        os._exit(0)
    pids.append(pid)
assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * workers
"""


def test_eight_processes_finish_two_hundred_queued_trials_each_once(url):
    study = Study(SPACE01, storage=url, sampler=jaxhp.random_search(), seed=0)
    for i in range(200):
        study.enqueue({"x": i / 200})
    environment = os.environ | {"PYTHONPATH": str(Path(jaxhp.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", QUEUE, url, "8"], env=environment, check=True)
    assert sorted(t.value for t in study.finished) == [i / 200 for i in range(200)]
    assert len(kinds(url, "tell")) == 200 and not study.running
