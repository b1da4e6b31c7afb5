"""Leases of running trials: who holds one beats beside the log; who no longer beats has lost it.

A beat is a counter. Nobody compares clocks: an owner counts as gone when its counter has stood still for the expiry span on the judge's own
monotonic clock, of which a pause between two looks counts as half a span at most (the judge itself may have been suspended). A process of
this host that has died is known to be gone at once. Grants are the `ask` and `lease` records, expiries are `release` records, and a told
result names its grant: so a worker that comes back late is refused, whatever it believes.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol, runtime_checkable

from jaxhp import _owner
from jaxhp._arguments import is_real, is_whole
from jaxhp.errors import StorageError, StudyError


class Leases(NamedTuple):
    """How a study notices workers that are gone: `Study(..., leases=jaxhp.Leases(expiry=300.0))`.

    >>> Leases(expiry=300.0)
    Leases(beat=10.0, expiry=300.0, requeue=1)
    """

    beat: float = 10.0  # seconds between heartbeats of a process that runs trials
    expiry: float = 60.0  # seconds without one after which its trials are run again by others
    requeue: int = 1  # how often a trial is run again whose worker was lost; after that it has failed


@runtime_checkable
class Beating(Protocol):
    """A log that several processes share, with heartbeats beside it."""

    def beat(self, study: str, owner: str) -> None:
        """One more beat of an owner."""
        ...

    def beats(self, study: str) -> Mapping[str, int]:
        """The counters of all owners."""
        ...

    def turn(self, study: str) -> AbstractContextManager[bool]:
        """Held while a slow suggestion is computed, so that others wait for it; nothing depends on it but time."""
        ...


def check_leases(leases: Leases | None) -> None:
    """Raises StudyError unless these leases can be kept."""
    if leases is None:
        return
    if not isinstance(leases, Leases):
        raise StudyError(f"leases: expected jaxhp.Leases(...) or None, got {leases!r}")
    for name, seconds in (("beat", leases.beat), ("expiry", leases.expiry)):
        if not is_real(seconds) or not 0 < seconds <= threading.TIMEOUT_MAX:
            raise StudyError(f"leases: {name} must be a positive number of seconds, {threading.TIMEOUT_MAX:.3g} at most, got {seconds!r}")
    if leases.expiry < 2 * leases.beat:
        raise StudyError(f"leases: expiry={leases.expiry:g} s leaves no room for a missed beat; choose at least {2 * leases.beat:g}")
    if not is_whole(leases.requeue) or leases.requeue < 0:
        raise StudyError(f"leases: requeue must be a number of times, got {leases.requeue!r}")


class Heart:
    """Beats for one study from its first `start` on, in a daemon thread that ends with this object or the process."""

    def __init__(self, log: Beating, study: str, every: float) -> None:
        self._log, self._study, self._every = log, study, every
        self._process = 0  # that beats: a child of a fork must start anew
        self._stop = threading.Event()

    def start(self) -> None:
        """Begins to beat, unless it does."""
        if self._process == os.getpid():
            return
        self._process, self._stop = os.getpid(), threading.Event()
        weakref.finalize(self, self._stop.set)
        arguments = (self._log, self._study, self._every, self._stop)
        threading.Thread(target=_beating, args=arguments, daemon=True, name=f"heart of {self._study}").start()


def _beating(log: Beating, study: str, every: float, stop: threading.Event) -> None:
    while not stop.wait(every):
        try:
            log.beat(study, _owner.owner())
        except StorageError:
            continue  # a full disk, a lost server: what others make of the missing beat, they record


class Watch:
    """Judges whether owners are gone by how their counters move between looks."""

    def __init__(self, expiry: float) -> None:
        self.expiry = expiry
        self._seen: dict[str, tuple[int | None, float, float]] = {}  # counter, when looked at last, how long it stood still

    def expired(self, owners: set[str], beats: Mapping[str, int]) -> set[str]:
        """Of these owners, those whose counters have stood still for too long."""
        now, seen = time.monotonic(), {}
        for owner in owners:
            beat = beats.get(owner)
            before, looked, still = self._seen.get(owner, (beat, now, 0.0))
            seen[owner] = (beat, now, still + min(now - looked, self.expiry / 2) if before == beat else 0.0)
        self._seen = seen
        return {owner for owner, (_, _, still) in seen.items() if still >= self.expiry}
