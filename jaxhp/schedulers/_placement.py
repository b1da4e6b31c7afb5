"""From a list of jobs to a `Decision`: who was held and goes on stays in its lane, the others take the free lanes that are left.

So a decision names the same trials in whatever order the lanes come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from jaxhp._types import Decision, Floats, Slots
from jaxhp.errors import SchedulerError


class Standing(Protocol):
    """What is known of a trial."""

    u: Floats  # (d,)
    step: float  # of its last report
    final: bool


class Job(NamedTuple):
    """A trial and the step at which it next stops."""

    number: int
    until: int
    fresh: bool
    parent: int | None = None  # whose weights it takes; None: its own
    u: Floats | None = None  # (d,) what it goes on with; None: its point


def fresh_jobs(name: str, trials: Mapping[int, Standing], slots: Slots, room: int, until: Callable[[int], int]) -> list[Job]:
    """The next trials that were not started, at most `room` of them, each until the step that `until` gives its number.

    Raises:
        SchedulerError: one was never told.
    """
    jobs: list[Job] = []
    if room <= 0:
        return jobs
    for number in slots.fresh.tolist():
        if number not in trials:
            raise SchedulerError(f"{name}.decide: trial {number} is in slots.fresh, but its PENDING row was not told")
        if not trials[number].final:
            jobs.append(Job(number, until(number), True))
            if len(jobs) == room:
                break
    return jobs


def place(slots: Slots, jobs: Sequence[Job], trials: Mapping[int, Standing], d: int) -> Decision:
    """Puts at most k jobs into the k free lanes."""
    k = len(slots.held)
    number, parent = np.full(k, -1, np.int64), np.full(k, -1, np.int64)
    u: Floats = np.full((k, d), np.nan)
    t, until = np.zeros(k, np.int32), np.zeros(k, np.int32)
    lane_of = {n: lane for lane, n in enumerate(slots.held.tolist()) if n >= 0}
    stays = {job.number: lane_of[job.number] for job in jobs if not job.fresh and job.number in lane_of}
    left = iter(sorted(set(range(k)) - set(stays.values())))
    for job in jobs:
        lane = stays[job.number] if job.number in stays else next(left)
        trial = trials[job.number]
        number[lane], u[lane], until[lane] = job.number, trial.u if job.u is None else job.u, job.until
        if not job.fresh:
            origin = job.number if job.parent is None else job.parent
            parent[lane], t[lane] = origin, int(trials[origin].step)
    return Decision(number, parent, u, t, until)
