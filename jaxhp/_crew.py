"""Who runs the objectives of `Study.optimize`: threads of its own, or a `concurrent.futures.Executor`. Both put results into a queue."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor
from typing import Any, Final, NamedTuple, Protocol

from jaxhp._errand import Errand, Reports, Returned, Value
from jaxhp.errors import StudyError, WorkerLost
from jaxhp.trial import Trial

_LOST: Final = (BrokenExecutor, CancelledError, WorkerLost)
_KILLED_JOB: Final = "UncompletedJobError"  # of submitit, which is not imported for it


class Result(NamedTuple):
    """A trial that ran, and what became of it."""

    trial: Trial
    value: Value | None = None
    error: BaseException | None = None
    gradient: Mapping[str, float] | None = None
    text: str | None = None  # of the error, where it comes without its traceback
    reports: Reports = []  # noqa: RUF012  # to be made before it is told
    lost: bool = False  # nothing became of it: its worker is gone


class Crew(Protocol):
    """Runs objectives side by side."""

    results: queue.SimpleQueue[Result]

    def start(self, trial: Trial) -> None:
        """Begins a trial."""
        ...

    def look(self) -> None:
        """Takes in results that are not announced."""
        ...

    def drop(self, number: int) -> None:
        """Nobody waits for this trial any more."""
        ...

    def leave(self) -> None:
        """Nobody waits for any trial any more."""
        ...


class Threads:
    """A thread per trial. Python cannot stop one: a dropped trial runs on."""

    def __init__(self, errand: Errand) -> None:
        self.results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self._errand = errand

    def start(self, trial: Trial) -> None:
        threading.Thread(target=self._run, args=(trial,), daemon=True, name=f"trial-{trial.number}").start()

    def look(self) -> None:
        pass

    def drop(self, number: int) -> None:
        pass

    def leave(self) -> None:
        pass

    def _run(self, trial: Trial) -> None:
        self.results.put(result_of(trial, self._errand(trial.number, trial.u, trial.params, trial.lease)))


class Hired:
    """An executor. What it has not begun is cancelled when it is dropped."""

    def __init__(self, executor: Executor, errand: Errand) -> None:
        self.results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self._executor, self._errand = executor, errand
        self._futures: dict[int, tuple[Trial, Future[Returned]]] = {}
        self._silent: set[int] = set()  # trials of jobs that announce nothing, as submitit's
        if not isinstance(executor, ThreadPoolExecutor):
            _ = errand.body  # what cannot be sent is refused before a trial is asked

    def start(self, trial: Trial) -> None:
        try:
            future = self._executor.submit(self._errand, trial.number, trial.u, dict(trial.params), trial.lease)
        except BrokenExecutor as e:
            self.results.put(Result(trial, error=e, lost=True))
            return
        except RuntimeError as e:
            raise StudyError(
                f"executor: {type(self._executor).__name__} takes no calls ({e}); was it shut down? Pass one that is open"
            ) from e
        self._futures[trial.number] = trial, future
        if hasattr(future, "add_done_callback"):
            future.add_done_callback(lambda done: self.results.put(_outcome(trial, done)))
        else:
            self._silent.add(trial.number)

    def look(self) -> None:
        for number in list(self._silent):
            trial, future = self._futures[number]
            if future.done():
                self._silent.remove(number)
                self.results.put(_outcome(trial, future))

    def drop(self, number: int) -> None:
        _, future = self._futures.pop(number, (None, None))
        self._silent.discard(number)
        if future is not None and not future.done():
            future.cancel()

    def leave(self) -> None:
        for number in list(self._futures):
            self.drop(number)


def places(executor: Executor) -> int:
    """How many trials an executor runs at once.

    Raises:
        StudyError: it does not say.
    """
    client: Any = getattr(executor, "_client", None)  # Dask's
    if hasattr(client, "nthreads"):
        return max(1, int(sum(client.nthreads().values())))
    for name in ("slots", "num_workers", "_max_workers"):  # ours, mpi4py's, those of the standard library and loky
        known = getattr(executor, name, None)
        if isinstance(known, int) and known > 0:
            return known
    raise StudyError(f"workers: {type(executor).__name__} does not say how many trials it runs at once; say it with workers=")


def _outcome(trial: Trial, future: Future[Returned]) -> Result:
    try:
        returned: Any = future.result()
    except BaseException as e:  # SystemExit of an objective in another process is not ours
        return Result(trial, error=e, lost=isinstance(e, _LOST) or type(e).__name__ == _KILLED_JOB)
    return result_of(trial, returned)


def result_of(trial: Trial, returned: Returned) -> Result:
    """What became of a trial whose objective came to an end."""
    return Result(trial, returned.value, returned.error, returned.gradient, returned.text, returned.reports)
