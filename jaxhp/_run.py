"""The loop of `Study.optimize`: ask, run the objective, tell, in this thread, in several, or through an executor.

One thread (the caller's) talks to the study and decides; a crew (`_crew.py`) only runs objectives. An interrupt releases
every running trial, so that the next run takes up the same numbers and configurations.
"""

from __future__ import annotations

import queue
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeAlias

from jaxhp._arguments import is_real, is_whole
from jaxhp._crew import Crew, Hired, Result, Threads, places, result_of
from jaxhp._errand import Errand, Objective, evaluated
from jaxhp._session import ResultDue
from jaxhp.errors import LeaseLost, ObjectiveError, SpaceError, SpaceExhausted, StudyError, WorkerLost
from jaxhp.trial import Trial

if TYPE_CHECKING:
    from jaxhp.study import Study

Callback: TypeAlias = Callable[["Study", Trial], None]
Until: TypeAlias = Callable[["Study"], bool]

_POLL = 0.2  # seconds between looks at what other processes did


def run(
    study: Study,
    objective: Objective,
    trials: int | None,
    more: int | None,
    timeout: float | None,
    workers: int | None,
    executor: Executor | None,
    callbacks: Sequence[Callback],
    trial_timeout: float | None,
    raise_errors: bool,
    max_failed: float,
    until: Until | None = None,
) -> None:
    """See `Study.optimize`."""
    if executor is not None and (isinstance(executor, type) or not callable(getattr(executor, "submit", None))):
        raise StudyError(f"executor: expected a concurrent.futures.Executor such as ProcessPoolExecutor(4), got {executor!r}")
    if workers is None:
        workers = 1 if executor is None else places(executor)
    _check(objective, trials, more, timeout, workers, callbacks, trial_timeout, max_failed, until)
    _reclaim(study)
    if study._fold.halted is not None:
        word = "stopped: nothing is run" if study._fold.halted == "stop" else "paused: nothing is run"
        warnings.warn(f"study {study.name!r} is {word} until study.resume(), or `jaxhp resume`", UserWarning, stacklevel=3)
    target = study._fold.told + more if more is not None else trials
    deadline = None if timeout is None else time.monotonic() + timeout
    inline = executor is None and workers == 1 and trial_timeout is None
    errand = Errand(objective, study)
    crew: Crew = Threads(errand) if executor is None else Hired(executor, errand)
    broken: BaseException | None = None  # why the executor takes no more
    running: dict[int, tuple[Trial, float]] = {}  # number -> trial, start
    tally = _Tally(max_failed)
    open_ended = until is None or not study._fold.told or not until(study)  # until `until` is true
    exhausted: int | None = None  # the extensions of the space when nothing was left to suggest

    def settle(result: Result) -> None:
        nonlocal open_ended, broken
        trial = result.trial
        crew.drop(trial.number)
        if isinstance(result.error, BrokenExecutor):
            open_ended, broken = False, result.error
        try:
            error = _lost(study, result) if result.lost else _told(study, result)
        except LeaseLost as e:  # another worker has the trial, or had it; the study goes on
            running.pop(trial.number, None)
            warnings.warn(str(e), UserWarning, stacklevel=2)
            return
        running.pop(trial.number, None)
        if trial.number not in study._fold.final_row:  # lost, and to be run again
            return
        for callback in callbacks:
            callback(study, trial)
        if error is not None and raise_errors:
            raise error
        tally.add(trial, error)
        if open_ended and until is not None and until(study):
            open_ended = False

    def left() -> bool:
        """Whether a trial is left to start, now or once a pause ends: one that was given back, or a new one within target and space."""
        with study._lock:
            study._session.sync()
            fold = study._fold
            new = (target is None or fold.asked < target) and (bool(fold.queue) or fold.extensions != exhausted)
            return fold.halted != "stop" and (bool(fold.released) or new)

    with _released_on_interrupt(study, crew, running):
        while True:
            may_start = open_ended and (deadline is None or time.monotonic() < deadline)
            while may_start and len(running) < workers and left() and study._fold.halted is None:
                first, given_back = study._fold.asked, list(study._fold.released)
                try:
                    asked = study._ask(1, target)
                    running.update({trial.number: (trial, time.monotonic()) for trial in asked})
                except SpaceExhausted:
                    exhausted = study._fold.extensions
                    break
                except ResultDue:
                    break
                except KeyboardInterrupt:  # the ask may be in the log already: then it is given back like the others
                    with study._lock:
                        study._session.sync()
                        running.update({n: (study._trial(n), 0.0) for n in (*given_back, *range(first, study._fold.asked))})
                    raise
                if not asked:  # another process took the last number
                    break
                trial = asked[0]
                if inline:
                    settle(result_of(trial, evaluated(objective, trial)))
                else:
                    crew.start(trial)
                may_start = open_ended and (deadline is None or time.monotonic() < deadline)
            if not running:
                if may_start and left():  # paused; or, with a lag, another process holds the result that is due
                    time.sleep(_POLL)
                    _reclaim(study)
                    continue
                if broken is not None:
                    raise WorkerLost(_how_it_broke(study, executor, broken)) from broken
                return
            crew.look()
            try:
                result = crew.results.get(timeout=_POLL)
            except queue.Empty:
                result = None
            if result is not None and running.get(result.trial.number, (None,))[0] is result.trial:  # else it came after its timeout
                settle(result)
            for trial, started in list(running.values()):
                if trial_timeout is not None and time.monotonic() - started > trial_timeout:
                    settle(Result(trial, error=TimeoutError(f"trial {trial.number} ran longer than trial_timeout={trial_timeout:g} s")))


def _told(study: Study, result: Result) -> BaseException | None:
    """Tells a result, and returns why the trial failed, if it did.

    Raises:
        LeaseLost: the trial was given to another worker.
    """
    error = result.error
    if error is None:
        try:
            for step, value in result.reports:
                study.report(result.trial, step, value)
            study.tell(result.trial, result.value, gradient=result.gradient)
        except LeaseLost:
            raise
        except (StudyError, SpaceError) as e:  # it returned no number, or slopes of what is no parameter
            if result.trial.number in study._fold.final_row:
                raise
            error = e
    if error is not None:
        study.tell(result.trial, error=result.text or "".join(traceback.format_exception(error)))
    return error


def _lost(study: Study, result: Result) -> BaseException | None:
    """Gives a trial back whose worker is gone, or fails it, by `Leases.requeue`; returns why it failed, if it did."""
    number, error = result.trial.number, result.error
    reason = f"its worker was lost: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}".removesuffix(": ")
    with study._lock:
        study._session.lose(number, reason)
        if number not in study._fold.final_row:
            return None
        study._finished(number, result.trial)
        return error


def _how_it_broke(study: Study, executor: Executor | None, error: BaseException) -> str:
    waiting = len(study._fold.released)
    return (
        f"{type(executor).__name__} broke: {str(error).rstrip('.') or type(error).__name__}. A worker died: out of memory, killed, or a "
        f"crash in compiled code? What was told is safe; {waiting} trials are run again by the next study.optimize(..., executor=a new one)"
    )


def _reclaim(study: Study) -> None:
    """Takes their trials from owners that are gone. With the lock, as all that the loop does: trials in threads report meanwhile."""
    with study._lock:
        study._session.reclaim()


class _Tally:
    """Stops a run in which the objective mostly raises."""

    def __init__(self, max_failed: float) -> None:
        self.max_failed = max_failed
        self.done = 0
        self.kinds: Counter[str] = Counter()  # of errors

    def add(self, trial: Trial, error: BaseException | None) -> None:
        self.done += 1
        if error is None:
            return
        self.kinds[f"{type(error).__name__}: {error}".splitlines()[0][:200]] += 1
        traceback.clear_frames(error.__traceback__)  # which hold what the objective had loaded
        failed = self.kinds.total()
        if self.done > 5 and failed > self.max_failed * self.done:
            lines = [f"  {count} x {text}" for text, count in self.kinds.most_common(3)]
            raise ObjectiveError(
                f"{failed} of {self.done} trials raised or timed out:\n"
                + "\n".join(lines)
                + f"\nEvery trial is recorded (the traceback of trial {trial.number} in its .error). Mend the objective and run again,"
                + " or pass max_failed=1.0 to go on regardless."
            ) from error


@contextmanager
def _released_on_interrupt(study: Study, crew: Crew, running: dict[int, tuple[Trial, float]]) -> Iterator[None]:
    try:
        yield
    except BaseException as e:
        crew.leave()
        with study._lock:
            study._session.sync()  # what was interrupted may be in the log already
        reason = "interrupted" if isinstance(e, KeyboardInterrupt) else f"the run ended: {type(e).__name__}"
        for number, (trial, _) in running.items():
            if study._fold.pending(number) and study._fold.owner.get(number, (None,))[0] == study._session.owner():
                with suppress(LeaseLost):
                    study.release(trial, reason)
        raise


def _check(
    objective: Objective,
    trials: int | None,
    more: int | None,
    timeout: float | None,
    workers: int,
    callbacks: Sequence[Callback],
    trial_timeout: float | None,
    max_failed: float,
    until: Until | None,
) -> None:
    if not callable(objective):
        raise StudyError(f"objective: expected a function of a trial, got {objective!r}")
    if trials is not None and more is not None:
        raise StudyError(f"trials={trials!r} and more={more!r}: pass the total or the addition, not both")
    for name, value in (("trials", trials), ("more", more)):
        if value is not None and (not is_whole(value) or value < 0):
            raise StudyError(f"{name}: expected a number of trials, got {value!r}")
    if not is_whole(workers) or workers < 1:
        raise StudyError(f"workers: expected a positive number of threads, got {workers!r}")
    for name, seconds in (("timeout", timeout), ("trial_timeout", trial_timeout)):
        if seconds is not None and (not is_real(seconds) or not seconds > 0):
            raise StudyError(f"{name}: expected a positive number of seconds or None, got {seconds!r}")
    if not is_real(max_failed) or not 0 < max_failed <= 1:
        raise StudyError(f"max_failed: expected a share in (0, 1], got {max_failed!r}")
    if not isinstance(callbacks, Sequence) or not all(map(callable, callbacks)):
        raise StudyError(f"callbacks: expected a list of functions of (study, trial), got {callbacks!r}")
    if until is not None and not callable(until):
        raise StudyError(f"until: expected a function of the study that returns a bool, such as jaxhp.enough(), got {until!r}")
