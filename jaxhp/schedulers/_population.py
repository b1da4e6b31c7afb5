"""Populations that train in rounds: who copies whom is decided when all of a population have come to the same step.

A population is N trials with consecutive numbers, its members. Round r closes when each of them has reported at step r q (q: `every`)
or has ended. Then some members **exploit**: they go on from the weights of a better one, with a point that **explores** near its point;
the others go on as they were. When no trial is left to start and none runs, an incomplete round closes as it stands.

A decision follows from the reports of its round and from draws named by (seed, number, round) alone. Where there are more members than
lanes, a round's members go on in turn, the worst first: so a parent still waits when its last child starts from its weights.
A member that reports no finite value ranks last and always exploits; one that no finite member is left to mend ends there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np

from jaxhp._types import ENDED, Bools, Decision, Floats, Ints, Problem, Scheduler, Slots, Status, Trials
from jaxhp.errors import SchedulerError
from jaxhp.schedulers._events import events
from jaxhp.schedulers._placement import Job, fresh_jobs, place
from jaxhp.schedulers._rungs import Key, check_integer


class Mark(NamedTuple):
    """What a member reported at the end of a round."""

    value: float  # minimised; inf where it was not finite
    u: Floats  # (d,) the point that it trained with in that round


@dataclass(slots=True)
class Member:
    """One trial."""

    asked: Floats  # (d,) the point that it begins with
    u: Floats  # (d,) the last one that was seen
    step: float = 0.0  # of its last report,
    last: float = 0.0  # and its value, minimised; inf where it was not finite
    marks: dict[int, Mark] = field(default_factory=dict)  # round -> report; consecutive where none was skipped
    final: bool = False

    def report(self, every: int, step: float, y: float, u: Floats) -> None:
        """A report at an earlier step takes back the later ones: the trial was started again."""
        if step <= self.step:
            self.marks = {r: mark for r, mark in self.marks.items() if r * every < step}
        self.u, self.step, self.last = u, step, y if math.isfinite(y) else math.inf
        if step % every == 0:
            self.marks[int(step // every)] = Mark(self.last, u)


Members: TypeAlias = dict[int, Member]
Pairs: TypeAlias = list[tuple[int, int]]  # (child, parent), the worst child first
Rank: TypeAlias = Callable[
    [int, int, list[Key]], dict[int, list[int]]
]  # seed, round, keys -> child: whom it may copy, the first choice first
Explore: TypeAlias = Callable[[Problem, int, Members, int, Pairs], list[Floats]]  # problem, seed, members, round, pairs -> a point for each


class Plan(NamedTuple):
    """Who copies whom at the end of a round. It follows from the marks up to there, and is kept because lanes ask for it in turn."""

    made_of: tuple[int, int, list[Key]]  # round, marks up to it, keys of its own
    parents: dict[int, list[int]]
    points: dict[int, Floats]  # of each child, from its first choice


class PopulationState(NamedTuple):
    problem: Problem
    seed: int
    members: Members
    populations: dict[int, Members]  # by their place in the order of numbers
    plans: dict[int, Plan]  # the last one of each


def in_rounds(name: str, population: int, every: int, exploit: Rank, explore: Explore, prepare: Callable[[Problem], object]) -> Scheduler:
    """Populations of so many members that exploit and explore every so many steps. `prepare` refuses problems."""

    def init(problem: Problem, seed: int) -> PopulationState:
        if problem.steps is not None and every > problem.steps:
            raise SchedulerError(
                f"{name}: every={every} is above the {problem.steps} steps of a full run; lower it, or train for more steps"
            )
        prepare(problem)
        return PopulationState(problem, seed, {}, {}, {})

    def tell(state: PopulationState, rows: Trials) -> PopulationState:
        for i, number, status, step, y in events(rows):
            member = state.members.get(number)
            if member is None:
                member = state.members[number] = Member(rows.u[i].copy(), rows.u[i].copy())
                state.populations.setdefault(number // population, {})[number] = member
            if status == Status.REPORTED and not member.final:
                if step <= member.step:
                    state.plans.pop(number // population, None)
                member.report(every, step, y, rows.u[i].copy())
            elif status in ENDED:
                member.final = True
        return state

    def keep(state: PopulationState, numbers: Ints) -> Bools:
        if state.problem.steps is None:
            raise SchedulerError(
                f"{name}: its members go on from saved weights, which a trial that only reports does not have; "
                "use study.train, or study.optimize_in_parts with an objective that saves and restores"
            )
        return np.array([_can_be_mended(state, number) for number in numbers.tolist()], dtype=np.bool_)

    def _can_be_mended(state: PopulationState, number: int) -> bool:
        members = state.populations.get(number // population, {})
        member = members.get(number)
        r = None if member is None else _round(member, every)
        if member is None or r is None or member.marks[r].value < math.inf or not _closed(members, population, every, r):
            return True
        return any(m.marks[r].value < math.inf for m in members.values() if r in m.marks)

    def decide(state: PopulationState, slots: Slots) -> Decision:
        steps, room = state.problem.steps, len(slots.held)
        if steps is None:
            raise SchedulerError(f"{name}.decide: the problem has no steps; how long is a full run?")
        beginning = set(slots.fresh.tolist())  # perhaps anew, whatever they had reported
        elsewhere = {*slots.running.tolist(), *beginning}

        def until(r: int) -> int:
            return min((r + 1) * every, steps)

        def jobs_of(p: int, r: int) -> list[Job]:
            """Who of a round has not gone on, the worst first."""
            members = state.populations[p]
            waiting = {n for n, m in members.items() if _round(m, every) == r and n not in elsewhere}
            keys = sorted((m.marks[r].value, n) for n, m in members.items() if r in m.marks)
            made_of = (r, sum(k <= r for m in members.values() for k in m.marks), keys)
            plan = state.plans.get(p)
            if plan is None or plan.made_of != made_of:
                parents = exploit(state.seed, r, keys)
                pairs = [(child, parents[child][0]) for _, child in reversed(keys) if child in parents]
                points = explore(state.problem, state.seed, members, r, pairs) if pairs else []
                plan = state.plans[p] = Plan(made_of, parents, {child: u for (child, _), u in zip(pairs, points, strict=True)})
            jobs = []
            for n in [n for _, n in reversed(keys) if n in waiting]:
                choices = plan.parents.get(n, [])
                parent = next((other for other in choices if other in waiting), None)
                if parent is None:
                    jobs.append(Job(n, until(r), False))
                elif parent == choices[0]:
                    jobs.append(Job(n, until(r), False, parent, plan.points[n]))
                else:  # the first choice has ended
                    jobs.append(Job(n, until(r), False, parent, explore(state.problem, state.seed, members, r, [(n, parent)])[0]))
            return jobs

        jobs: list[Job] = []
        standing = _standing(state, elsewhere, every, steps)
        for p, r in standing:
            if len(jobs) >= room:
                break
            members = state.populations[p]
            if _closed(members, population, every, r) and not members.keys() & beginning:
                jobs += jobs_of(p, r)
        jobs = jobs[:room]
        new = fresh_jobs(name, state.members, slots, room - len(jobs), lambda number: until(0))
        jobs += [job._replace(u=state.members[job.number].asked) for job in new]
        if not jobs and not len(slots.running):  # as they stand, those that are furthest behind
            lowest = {p: r for p, r in reversed(standing)}
            jobs = [job for p, r in sorted(lowest.items()) for job in jobs_of(p, r)][:room]
        return place(slots, jobs, state.members, state.problem.space.d)

    return Scheduler(init, tell, keep, decide, name, every, mutates=True)


def _round(member: Member, every: int) -> int | None:
    """The round at whose end a member stands; None where it is somewhere else, or has ended."""
    r = int(member.step // every)
    return r if not member.final and r in member.marks and member.step == r * every else None


def _closed(members: Members, population: int, every: int, r: int) -> bool:
    return len(members) == population and all(m.final or m.step >= r * every for m in members.values())


def _standing(state: PopulationState, elsewhere: set[int], every: int, steps: int) -> list[tuple[int, int]]:
    """(population, round) of every member that waits, without repetition, in order."""
    rounds = {
        (p, r)
        for p, members in state.populations.items()
        for n, m in members.items()
        if not m.final and n not in elsewhere and (r := _round(m, every)) is not None and r * every < steps
    }
    return sorted(rounds)


def check_population(name: str, population: int, every: int) -> None:
    """Raises SchedulerError unless there are at least two members and a round has a step."""
    check_integer(name, "every", every, 1)
    check_integer(name, "population", population, 2)
