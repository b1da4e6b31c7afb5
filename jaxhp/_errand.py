"""An objective on its way to where it runs: a thread, a process, another machine.

In this process an errand calls the objective with trials of this study. Pickled, it becomes a parcel of bytes, which a worker opens once:
objective, space, seed and address of the log. There a trial is what it is here, number, parameters and seed; its reports go to the log
where that is a database, and the study's scheduler is asked on the spot. Where the log is in this process's memory, reports come back
with the result, and a scheduler, which could not be asked in time, is refused.

What is sent is pickled by cloudpickle where that is installed, which carries functions by value that workers cannot import (of a
notebook, of `__main__`), else by pickle. The log itself never holds anything pickled.
"""

from __future__ import annotations

import pickle
import traceback
import uuid
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from jaxhp._slopes import parted
from jaxhp._types import Floats, Outcome, Params, Record, Scheduler
from jaxhp.errors import ObjectiveError, StudyError
from jaxhp.space import Space
from jaxhp.storage import Log, MemoryLog
from jaxhp.trial import Home, Trial

if TYPE_CHECKING:
    from jaxhp.study import Study

Value: TypeAlias = float | Mapping[str, float]
Objective: TypeAlias = Callable[[Trial], Value | tuple[Value, Mapping[str, float]]]  # alone, or with its slopes
Reports: TypeAlias = list[tuple[float, Value]]


class Returned(NamedTuple):
    """What became of an objective."""

    value: Value | None = None
    gradient: Mapping[str, float] | None = None
    error: Exception | None = None
    text: str | None = None  # the traceback, where the error comes without
    reports: Reports = []  # noqa: RUF012  # those that could not be made at once; never changed


class Errand:
    """Runs an objective, here or elsewhere."""

    def __init__(self, objective: Objective, study: Study) -> None:
        self._objective, self._study = objective, study

    def __call__(self, number: int, u: Floats, params: Params, lease: int | None) -> Returned:
        return evaluated(self._objective, Trial(self._study, number, u, params, lease=lease))

    def __reduce__(self) -> tuple[type[Parcel], tuple[bytes]]:
        return Parcel, (self.body,)

    @cached_property
    def body(self) -> bytes:
        """What a worker needs.

        Raises:
            StudyError: the objective or the scheduler cannot be pickled, or the scheduler could not be asked.
        """
        study, scheduler = self._study, self._study._session.scheduler
        log = None if isinstance(study._log, MemoryLog) else study._log
        if log is None and scheduler is not None:
            raise StudyError(
                f"executor: {scheduler.name} is asked when a trial reports, and a worker cannot reach this study, which is in memory; "
                'give it storage="sqlite:///study.db" or a server, leave the scheduler out, or run threads (workers=)'
            )
        # The token makes errands of two runs differ, also for executors that know a call by its arguments (Dask's).
        outpost = _Address(study.space.to_json(), study.outcomes, study.seed, log, study.name, scheduler, uuid.uuid4().hex)
        try:
            return _dumps((self._objective, outpost))
        except Exception as e:  # whatever the reductions of foreign objects raise
            what = "the scheduler" if scheduler is not None and not _dumpable(scheduler) else "the objective"
            raise StudyError(
                f"executor: {what} cannot be sent to a worker ({type(e).__name__}: {e}); put it into a module and let it open files, locks "
                "and connections when it is called, or pip install cloudpickle, which also sends lambdas and functions of a notebook"
            ) from e


class Parcel:
    """An errand that was sent."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __call__(self, number: int, u: Floats, params: Params, lease: int | None) -> Returned:
        try:
            objective, outpost = _opened(self._body)
        except Exception as e:  # imports of a foreign module may raise anything
            lost = ObjectiveError(
                f"a worker cannot load the objective ({type(e).__name__}: {e}); put it into a module that workers can import, or pip "
                "install cloudpickle"
            )
            return Returned(error=lost, text="".join(traceback.format_exception(e)))
        returned = evaluated(objective, Trial(outpost, number, u, params, lease=lease))
        if returned.error is not None:
            returned = returned._replace(error=_sendable(returned.error), text="".join(traceback.format_exception(returned.error)))
        return returned._replace(reports=outpost.reports.pop(number, []))

    def __reduce__(self) -> tuple[type[Parcel], tuple[bytes]]:
        return Parcel, (self._body,)


class _Address(NamedTuple):
    """Where a study is, and what it is about."""

    space: Record
    outcomes: tuple[Outcome, ...]
    seed: int
    log: Log | None  # None: in the memory of another process
    name: str
    scheduler: Scheduler | None
    token: str


class Outpost(Home):
    """A study as its trials see it elsewhere."""

    def __init__(self, address: _Address) -> None:
        self._address = address
        self._space = Space.from_json(address.space)
        self.reports: dict[int, Reports] = {}  # by trial, where nobody hears them at once

    @property
    def space(self) -> Space:
        return self._space

    @property
    def seed(self) -> int:
        return self._address.seed

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        return self._address.outcomes

    @cached_property
    def _study(self) -> Study:
        from jaxhp.study import Study

        log = self._address.log
        assert log is not None
        return Study.open(log, self._address.name, scheduler=self._address.scheduler, leases=None)  # the asker's heart beats

    def report(self, trial: Trial, step: float, value: Value) -> bool:
        """Records an intermediate value, now or when the trial ends; True when the scheduler ends the trial."""
        if self._address.log is not None:
            return self._study.report(trial, step, value)
        self.reports.setdefault(trial.number, []).append((step, value))
        return False


def evaluated(objective: Objective, trial: Trial) -> Returned:
    """Runs the objective. That it fails is data."""
    try:
        value, gradient = parted(objective(trial))
        return Returned(value, gradient)
    except Exception as e:
        return Returned(error=e)


@lru_cache(maxsize=4)
def _opened(body: bytes) -> tuple[Objective, Outpost]:
    """Once per process, so that what an objective keeps (data, compiled programs) stays."""
    objective, address = pickle.loads(body)
    return objective, Outpost(address)


def _sendable(error: Exception) -> Exception:
    """The error, or one that says the same where it would not survive the journey."""
    try:
        if type(pickle.loads(pickle.dumps(error))) is type(error):
            return error
    except Exception:  # that is the question
        pass
    return ObjectiveError(f"{type(error).__name__}: {error}")


def _dumps(thing: Any) -> bytes:
    try:
        import cloudpickle
    except ImportError:
        return pickle.dumps(thing)
    body: bytes = cloudpickle.dumps(thing)
    return body


def _dumpable(thing: Any) -> bool:
    try:
        _dumps(thing)
    except Exception:  # that is the question
        return False
    return True
