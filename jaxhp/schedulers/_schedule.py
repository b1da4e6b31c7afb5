"""Schedules of hyperparameters: what a population found, as a function of steps, and training with one again.

A member of a population ends with weights that several trials may have trained, each with its own hyperparameters. Followed back to fresh
weights they are one schedule (`Study.schedule`). `replay` trains with it from the start, without a population.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxhp._types import ENDED, Bools, Decision, Floats, Ints, Params, Problem, Scheduler, Slots, Status, Trials
from jaxhp.errors import SchedulerError, SpaceError
from jaxhp.schedulers._events import events
from jaxhp.schedulers._placement import Job, fresh_jobs, place
from jaxhp.schedulers._population import Member
from jaxhp.space import Space


class Schedule(NamedTuple):
    """Hyperparameters by step: from `steps[i]` on, `params[i]`.

    >>> schedule = Schedule((0, 300), ({"rate": 0.1}, {"rate": 0.01}), (4, 7), 1000)
    >>> schedule(299), schedule(300)
    ({'rate': 0.1}, {'rate': 0.01})
    >>> Schedule.from_json(schedule.to_json()) == schedule
    True
    """

    steps: tuple[int, ...]  # rising, from 0
    params: tuple[Params, ...]  # the active hyperparameters
    numbers: tuple[int, ...]  # the trial that trained each part: the lineage of the last one
    length: int  # the step at which the training ended

    def __call__(self, step: float) -> Params:
        """The hyperparameters in force at a step."""
        return self.params[max(0, bisect_right(self.steps, step) - 1)]

    def to_json(self) -> dict[str, Any]:
        """Itself as JSON values."""
        return {"steps": list(self.steps), "params": [dict(p) for p in self.params], "numbers": list(self.numbers), "length": self.length}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Schedule:
        """What `to_json` returned.

        Raises:
            SchedulerError: it is no schedule.
        """
        try:
            whole = Schedule(tuple(data["steps"]), tuple(dict(p) for p in data["params"]), tuple(data["numbers"]), int(data["length"]))
        except (KeyError, TypeError, ValueError) as e:
            raise SchedulerError(f"Schedule.from_json: expected what to_json returned, got {data!r} ({type(e).__name__}: {e})") from e
        check_schedule("Schedule.from_json", whole)
        return whole


def check_schedule(name: str, schedule: Any) -> None:
    """Raises SchedulerError unless it is a schedule, whose steps rise from 0 and have parameters each."""
    if not isinstance(schedule, Schedule):
        raise SchedulerError(f"{name}: schedule: expected a jaxhp.Schedule, such as study.schedule() returns, got {schedule!r}")
    steps = schedule.steps
    if not steps or steps[0] != 0 or any(isinstance(s, bool) or not isinstance(s, int) for s in steps) or list(steps) != sorted(set(steps)):
        raise SchedulerError(f"{name}: schedule.steps: expected integers that rise from 0, got {list(steps)}")
    if len(schedule.params) != len(steps) or not all(isinstance(p, Mapping) for p in schedule.params):
        raise SchedulerError(f"{name}: schedule.params: expected {len(steps)} dicts, one per step, got {schedule.params!r}")


class ReplayState(NamedTuple):
    problem: Problem
    members: dict[int, Member]


def replay(schedule: Schedule) -> Scheduler:
    """Trains every trial from fresh weights to the end with the hyperparameters of a schedule, changed at its steps.

    Parameters that the schedule does not name stay as they were asked, so that they can be searched under it. A trial whose result is not
    finite ends as failed. `evaluate_every` of `Study.train` must divide the steps of the schedule.

    Args:
        schedule: from `Study.schedule`, or made by hand.

    Raises:
        SchedulerError: it is no schedule; when training starts: a value is not of the study's space.

    >>> replay(Schedule((0, 300), ({"rate": 0.1}, {"rate": 0.01}), (4, 7), 1000)).name
    'replay(steps=[0, 300])'
    """
    check_schedule("replay", schedule)
    name = f"replay(steps={list(schedule.steps)})"

    def init(problem: Problem, seed: int) -> ReplayState:
        for params in schedule.params:
            changed(name, problem.space, problem.space.default(), params)
        return ReplayState(problem, {})

    def tell(state: ReplayState, rows: Trials) -> ReplayState:
        for i, number, status, step, y in events(rows):
            member = state.members.setdefault(number, Member(rows.u[i].copy(), rows.u[i].copy()))
            if status == Status.REPORTED and not member.final:
                member.report(1, step, y, rows.u[i].copy())
            elif status in ENDED:
                member.final = True
        return state

    def keep(state: ReplayState, numbers: Ints) -> Bools:
        if state.problem.steps is None:
            raise SchedulerError(f"{name}: it cannot change what a black box trains with; let the objective call schedule(step) itself")
        members = [state.members.get(number) for number in numbers.tolist()]
        return np.array([m is None or m.last < math.inf for m in members], dtype=np.bool_)

    def decide(state: ReplayState, slots: Slots) -> Decision:
        steps, members, space = state.problem.steps, state.members, state.problem.space
        if steps is None:
            raise SchedulerError(f"{name}.decide: the problem has no steps; a black box can call schedule(step) itself")

        def until(step: float) -> int:
            i = bisect_right(schedule.steps, step)
            return min(schedule.steps[i] if i < len(schedule.steps) else steps, steps)

        held = [n for n in sorted(slots.held.tolist()) if n >= 0 and not members[n].final and members[n].step < steps]
        jobs = [Job(n, until(members[n].step), False) for n in held]
        jobs += fresh_jobs(name, members, slots, len(slots.held) - len(jobs), lambda number: until(0))
        jobs = [
            job._replace(u=changed(name, space, members[job.number].u, schedule(0 if job.fresh else members[job.number].step)))
            for job in jobs
        ]
        return place(slots, jobs, members, space.d)

    return Scheduler(init, tell, keep, decide, name, math.gcd(*schedule.steps) or None, mutates=True)


def changed(name: str, space: Space, u: Floats, params: Params) -> Floats:
    """A point (d,) with some of its values replaced; what becomes active by that, and is not named, has its default.

    Raises:
        SchedulerError: they are not of the space.
    """
    plain = np.full((1, space.d), math.nan)
    for each, value in params.items():
        try:
            j = space.index_of(each)
        except SpaceError as e:
            raise SchedulerError(f"{name}: schedule.params: {e}") from e
        x = space.axes[j].plain(value)
        if x is None:
            raise SchedulerError(f"{name}: schedule.params: {each}={value!r} {space.axes[j].refusal(value)}")
        plain[0, j] = x
    given = space.encoded.encode(plain)[0]
    whole = np.where(np.isnan(given), np.where(np.isnan(u), space.defaults_everywhere(), u), given)
    found: Floats = space.snap(whole[None])[0]
    return found
