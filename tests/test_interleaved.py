"""Two processes at one study, and what one does between the look and the step of the other."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import jaxhp
from jaxhp import Float, Int, Space, Status, StorageError, Study, Trial, WorkerLost, _owner
from jaxhp._fold import Fold
from jaxhp._session import Session
from jaxhp._types import Params, Record
from jaxhp.storage import MemoryLog, verify

NARROW = Space({"n": Int(1, 4)})
WIDER = Space({"n": Int(1, 7), "new": Float(0.0, 1.0, default=0.25)})


class Raced(MemoryLog):
    """A log in which another process acts just before the next append."""

    def __init__(self) -> None:
        super().__init__()
        self.other: Callable[[], object] | None = None

    def append(self, study: str, records: Sequence[Record], at: int | None = None) -> int:
        other, self.other = self.other, None
        if other is not None:
            other()
        return super().append(study, records, at)


def pair(space: Space = NARROW, **more: object) -> tuple[Raced, Study, Study]:
    log = Raced()
    arguments: dict[str, Any] = {"sampler": jaxhp.random_search(), "storage": log} | more
    one, other = (Study(space, **arguments) for _ in range(2))
    return log, one, other


# the space is extended


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("way", ["enqueue", "add", "retry"])
def test_a_configuration_enters_the_space_as_it_is_by_then(way: str, at_once: bool) -> None:
    log, study, other = pair(retry=1)
    trial = study.ask()
    steps = {
        "enqueue": lambda: study.enqueue({"n": 2}),
        "add": lambda: study.add({"n": 2}, 1.0),
        "retry": lambda: study.tell(trial, error="out of memory"),
    }
    wider = Space({"n": Int(1, 7)})  # of which n=2 is another point
    if at_once:
        log.other = lambda: other.extend(wider)
    else:
        other.extend(wider)
    steps[way]()
    last = study.ask() if way != "add" else study.finished[-1]
    assert last.params == (trial.params if way == "retry" else {"n": 2})
    assert verify(log).ok and Study(wider, storage=log).space == wider


def test_a_configuration_without_a_parameter_that_is_new_is_refused_and_leaves_nothing() -> None:
    log, study, other = pair()
    log.other = lambda: other.extend(WIDER)
    with pytest.raises(jaxhp.SpaceError, match="'new' is missing"):
        study.enqueue({"n": 2})
    assert verify(log).ok and not study._fold.queue


def test_trials_that_wait_take_the_defaults_of_new_parameters() -> None:
    _, study, other = pair()
    study.enqueue({"n": 2})
    study.release(study.ask())
    study.enqueue({"n": 3})
    other.extend(WIDER)
    assert [study.ask().params for _ in range(2)] == [{"n": 2, "new": 0.25}, {"n": 3, "new": 0.25}]


def test_of_two_who_extend_at_once_none_takes_back_what_the_other_gave() -> None:
    log, study, other = pair()
    log.other = lambda: other.extend(Space({"n": Int(1, 7)}))
    with pytest.raises(jaxhp.SpaceError, match="not wider"):
        study.extend(Space({"n": Int(0, 4)}))
    assert study.space == other.space == Space({"n": Int(1, 7)}) and verify(log).ok
    log.other = lambda: other.extend(WIDER)
    study.extend(WIDER)
    assert [record["kind"] for record in log.read("study")].count("extend") == 2


def test_an_extension_that_cannot_be_written_has_not_happened() -> None:
    log, study, _ = pair()

    def full() -> None:
        raise StorageError("the disk is full")

    log.other = full
    with pytest.raises(StorageError):
        study.extend(WIDER)
    assert study.space == NARROW and study._fold.given is NARROW


def test_functions_of_constraints_outlast_an_extension_by_another() -> None:
    def even(params: Params) -> bool:
        return params["n"] % 2 == 0

    _, study, other = pair(NARROW.where(even))
    other.extend(WIDER.where(even))
    assert all(trial["n"] % 2 == 0 for trial in study.ask(8))


# threads of one process


def test_trials_that_report_in_threads_while_the_loop_looks_are_folded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Session._take

    def slowly(self: Session, records: Sequence[Record], own: bool = True) -> None:
        time.sleep(0.001)
        taken(self, records, own)

    def objective(trial: Trial) -> float:
        for step in range(5):
            trial.report(step, float(trial["n"]))
        return float(trial["n"])

    monkeypatch.setattr(Session, "_take", slowly)
    study = Study(WIDER, sampler=jaxhp.random_search()).optimize(objective, trials=20, workers=4)
    assert not any(trial.error for trial in study.finished) and len(study.finished) == 20
    assert study._fold.position == len(study._log.read("study")) == 1 + 20 * 7


# workers that are gone


def test_a_process_that_was_killed_and_not_yet_waited_for_is_gone() -> None:
    program = "import time; from jaxhp import _owner; print(_owner.owner(), flush=True); time.sleep(60)"
    environment = os.environ | {"PYTHONPATH": str(Path(jaxhp.__file__).parents[1])}
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    name = process.stdout.readline().strip()
    assert not _owner.gone(name)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has died, and stays a zombie
    assert _owner.gone(name)
    process.communicate()
    assert _owner.gone(name)


def test_a_worker_that_comes_back_to_a_trial_that_its_scheduler_ended_is_refused_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    log, late, other = pair(scheduler=jaxhp.asha(min_steps=1))

    def objective(trial: Trial) -> float:
        if trial.report(1, float(trial.number)) and not log.read("study")[-1].get("lost"):
            with monkeypatch.context() as patch:  # it is suspended; the other one takes it for dead
                patch.setattr(_owner, "owner", lambda: "the other")
                patch.setattr(_owner, "gone", lambda owner: owner != "the other")
                other._session.reclaim()
        return float(trial.number)

    with pytest.warns(UserWarning, match="was taken from this worker, .*: it ended with its last report; this result is kept"):
        late.optimize(objective, trials=9)
    ended = [trial for trial in late.finished if trial.status == Status.STOPPED]
    assert len(late.finished) == 9 and ended and [trial.number for trial in late.late] == [trial.number for trial in ended]


def test_a_trial_that_is_lost_after_the_last_one_of_a_finite_space_was_asked_is_run_again() -> None:
    class Losing(ThreadPoolExecutor):
        lost = False

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            if args[0] != 2 or self.lost:
                return super().submit(fn, *args, **kwargs)
            self.lost = True
            return super().submit(self.lose)

        def lose(self) -> None:
            while len(study.finished) < 3:  # the others are told: the loop knows that nothing else is left
                time.sleep(0.01)
            raise WorkerLost("the node went away")

    study = Study(NARROW, sampler=jaxhp.grid_search())
    with Losing(2) as executor:
        study.optimize(lambda trial: float(trial["n"]), executor=executor)
    assert [trial.value for trial in study.finished] == [float(trial["n"]) for trial in study.finished] and len(study.finished) == 4


def test_what_others_enqueue_is_run_when_nothing_is_left_to_suggest() -> None:
    log, study, other = pair(sampler=jaxhp.grid_search())

    def told(_: Study, trial: Trial) -> None:
        if trial.number == 3:
            other.enqueue({"n": 2})

    study.optimize(lambda trial: float(trial["n"]), callbacks=[told])
    assert [trial["n"] for trial in study.finished][4:] == [2] and verify(log).ok


def test_a_paused_loop_with_nothing_left_to_run_ends() -> None:
    _, study, other = pair()
    study.optimize(lambda trial: float(trial["n"]), trials=3, callbacks=[lambda _, trial: other.pause() if trial.number == 2 else None])
    assert len(study.finished) == 3 and study.halted == "pause"


# interrupts of a process that lives on, as a notebook does


class Interrupted(MemoryLog):
    """A log in which Ctrl-C falls on the next append of records of some kind, just after they are written."""

    kind: str | None = None

    def append(self, study: str, records: Sequence[Record], at: int | None = None) -> int:
        end = super().append(study, records, at)
        if records[0]["kind"] == self.kind:
            self.kind = None
            raise KeyboardInterrupt
        return end


def test_a_trial_that_was_being_taken_up_again_at_an_interrupt_is_given_back_again_and_again() -> None:
    log = Interrupted()
    study = Study(WIDER, sampler=jaxhp.random_search(), storage=log)
    for kind in ("ask", "lease", "lease", "lease"):
        log.kind = kind
        with pytest.raises(KeyboardInterrupt):
            study.optimize(lambda trial: float(trial["n"]), trials=3)
        assert study._fold.released == [0] and not study._fold.owner
    study.optimize(lambda trial: float(trial["n"]), trials=3)
    assert [trial.number for trial in study.finished] == [0, 1, 2]


@contextmanager
def interrupted(at: int) -> Iterator[None]:
    """Ctrl-C falls on the line that is the `at`-th to run of the fold, the session, the rows and the sampler."""
    places, lines, before = ("_fold.py", "_session.py", "_rows.py", "_differential_evolution.py"), 0, sys.gettrace()

    def line(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        lines += event == "line"
        if lines == at:
            sys.settrace(before)
            raise KeyboardInterrupt
        return line

    sys.settrace(lambda frame, event, _: line if Path(frame.f_code.co_filename).name in places else None)
    try:
        yield
    finally:
        sys.settrace(before)


def test_an_interrupt_at_any_line_leaves_a_study_that_goes_on_as_if_there_had_been_none() -> None:
    def objective(trial: Trial) -> float:
        trial.report(1, trial["new"])
        return float(trial["new"] ** 2)

    def make() -> Study:
        return Study(WIDER, sampler=jaxhp.differential_evolution(population=5)).optimize(objective, trials=7)

    straight = make().optimize(objective, trials=12)
    for at in range(1, 10_000, 7):
        study = make()
        try:
            with interrupted(at):
                study.optimize(objective, trials=9)
        except KeyboardInterrupt:
            study.optimize(objective, trials=12)
        else:
            break
        records = study._log.read("study")
        anew = Fold(records[0], WIDER)
        anew.take(records[1:])
        assert study._fold.position == anew.position and study._fold.rows.n == anew.rows.n, at
        assert [trial.params for trial in study.finished] == [trial.params for trial in straight.finished], at
    assert at > 200


def test_a_clock_that_is_set_back_makes_no_negative_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(WIDER)
    trial = study.ask()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert study.tell(trial, 1.0).seconds == 0.0 and verify(study._log).ok


# long runs


@pytest.mark.parametrize("workers", [1, 2])
def test_what_an_objective_had_loaded_when_it_raised_is_let_go(workers: int) -> None:
    class Loaded:
        pass

    loaded: list[weakref.ref[Loaded]] = []
    alive: list[int] = []

    def objective(trial: Trial) -> float:
        mine = Loaded()
        loaded.append(weakref.ref(mine))
        raise RuntimeError("out of memory")

    def told(study: Study, trial: Trial) -> None:
        alive.append(sum(reference() is not None for reference in loaded))

    Study(WIDER, sampler=jaxhp.random_search()).optimize(objective, trials=20, workers=workers, max_failed=1.0, callbacks=[told])
    assert max(alive) <= 2 * workers  # those that run, and those that wait to be told
