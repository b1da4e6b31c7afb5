"""What every scheduler promises. A law is a function (scheduler, problem, seed) that raises an AssertionError when it is broken.

The laws watch a training run with made-up learning curves: a few lanes that take different times, trials that diverge, reports between
two stops. Each decision of it is kept with the rows that were told before, and asked again in other ways.
"""

from __future__ import annotations

import copy
import heapq
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxhp._rng import rng
from jaxhp._types import ENDED, Decision, Ints, Outcome, Problem, Scheduler, Slots, Status, Trials
from jaxhp.space import Space
from jaxhp.testing._histories import NASTY, drawn, joined, nasty_history, part, rows

SchedulerLaw = Callable[[Scheduler, Problem, int], None]
Curve = Callable[[int, int], float]  # the value of a trial's number at a step, NaN where it has diverged
_TRIALS = 40
_LANES = 4
_AHEAD = 6  # trials that are asked before a lane is free for them


class Moment(NamedTuple):
    """One decision of a run."""

    told: int  # rows told before it
    slots: Slots
    decision: Decision


class SimulatedRun(NamedTuple):
    """A run that has ended."""

    rows: Trials  # all that was told, in order
    moments: list[Moment]
    reached: dict[int, int]  # the last step of each trial that started


def check_scheduler(scheduler: Scheduler, space: Space | None = None, *, steps: int = 27, seed: int = 0, outcomes: int = 1) -> None:
    """Checks all laws of a scheduler.

    Args:
        scheduler: what to check; it is started many times.
        space: of the trials; one float by default.
        steps: of a full run.
        seed: of the scheduler and of the curves.
        outcomes: how many objectives the trials have.

    Raises:
        AssertionError: a law is broken; the message says which and how.

    >>> import jaxhp
    >>> check_scheduler(jaxhp.asha(eta=3))
    """
    if space is None:
        from jaxhp.space import Float

        space = Space({"x": Float(0.0, 1.0)})
    problem = Problem(space, space.dims, tuple(Outcome(f"y{i}") for i in range(outcomes)), steps=steps)
    for law in SCHEDULER_LAWS:
        law(scheduler, problem, seed)


def simulated(
    scheduler: Scheduler, problem: Problem, seed: int, curve: Curve, trials: int = _TRIALS, lanes: int = _LANES, between: bool = True
) -> SimulatedRun:
    """Trains `trials` trials in `lanes` lanes whose steps take different times; `between`: with reports between two stops.

    A trial that diverges is told as failed, unless the scheduler mutates and the trial is not at its end; one that reaches the end as
    complete, and one that `keep` refuses as stopped.
    """
    steps, m = problem.steps or 1, len(problem.outcomes)
    points = drawn(problem, seed, trials, "simulated run")
    pace = 0.5 + rng(seed, 0, "simulated pace").random(trials)
    state = scheduler.init(problem, seed)
    told: list[Trials] = []
    moments: list[Moment] = []
    reached: dict[int, int] = {}
    fresh: list[int] = []
    asked = 0
    held = dict.fromkeys(range(lanes), -1)  # per free lane
    running: list[tuple[float, int, int, int]] = []  # heap: when, lane, trial, step
    now = 0.0

    def tell(number: int, status: int, step: float = math.nan, y: float = math.nan) -> None:
        nonlocal state
        row = rows(np.array([number]), points[[number]], np.full((1, m), y), status)._replace(fidelity=np.array([step]))
        told.append(row)
        state = scheduler.tell(state, row)

    def report(number: int, step: int) -> bool:
        """Whether it is still in the run."""
        y = curve(number, step)
        reached[number] = step
        tell(number, Status.REPORTED, step, y)
        if not math.isfinite(y) and (step == steps or not scheduler.mutates):
            tell(number, Status.FAILED, step, y)
        elif not scheduler.keep(state, np.array([number], dtype=np.int64))[0]:
            tell(number, Status.STOPPED, step, y)
        elif step == steps:
            tell(number, Status.COMPLETE, step, y)
        else:
            return True
        return False

    while True:
        while asked < trials and len(fresh) < _AHEAD:
            tell(asked, Status.PENDING)
            fresh.append(asked)
            asked += 1
        free = sorted(held)
        slots = Slots(_ints(held[lane] for lane in free), _ints(number for _, _, number, _ in running), _ints(fresh))
        decision = scheduler.decide(state, slots)
        _check_decision(scheduler, problem, slots, decision, points, reached)
        moments.append(Moment(len(told), slots, decision))
        points[decision.number[decision.number >= 0]] = decision.u[decision.number >= 0]
        for lane, number, t, until in zip(free, decision.number.tolist(), decision.t.tolist(), decision.until.tolist(), strict=True):
            before, held[lane] = held[lane], -1
            if before not in (-1, number):
                tell(before, Status.PAUSED, reached[before], curve(before, reached[before]))
            if number < 0:
                continue
            del held[lane]
            if number in fresh:
                fresh.remove(number)
            middle = (t + until) // 2
            if between and middle > t and not report(number, middle):
                held[lane] = -1
                continue
            heapq.heappush(running, (now + (until - t) * pace[number], lane, number, until))
        if not running:
            if len(held) == lanes and (asked < trials or fresh) and (decision.number >= 0).any():
                continue  # all that started was stopped at once
            return SimulatedRun(joined(told), moments, reached)
        now = math.ceil(running[0][0])
        while running and running[0][0] <= now:  # all that end within this segment
            _, lane, number, step = heapq.heappop(running)
            held[lane] = number if report(number, step) else -1
        if len(moments) > 100 * trials:
            raise _broken(scheduler, "a run comes to its end", f"{len(moments)} decisions for {trials} trials of {steps} steps")


def decisions_can_be_carried_out(scheduler: Scheduler, problem: Problem, seed: int) -> None:
    """The form of a decision; new trials in their order, nothing twice, nothing that failed, ended or runs, no step beyond the end.

    Only a scheduler that `mutates` changes points, to canonical and feasible ones, and gives weights of trials that wait to others.
    """
    for lanes in (1, 3, 8):
        simulated(scheduler, problem, seed, _nasty_curve, lanes=lanes)


def no_lane_idles_while_a_trial_can_start(scheduler: Scheduler, problem: Problem, seed: int) -> None:
    """With trials left to start, every free lane gets work."""
    for moment in simulated(scheduler, problem, seed, _curve).moments:
        started = np.isin(moment.slots.fresh, moment.decision.number)
        if (moment.decision.number < 0).any() and not started.all():
            how = f"after {moment.told} rows {moment.decision.number.tolist()} idles with {moment.slots.fresh.tolist()} waiting to start"
            raise _broken(scheduler, "no lane idles while a trial can start", how)


def telling_at_once_equals_telling_in_parts_of_any_size(scheduler: Scheduler, problem: Problem, seed: int) -> None:
    """`tell(s, a + b)` is `tell(tell(s, a), b)`; so equal rows give equal decisions, and a replay what a live run gave."""
    run = simulated(scheduler, problem, seed, _nasty_curve)
    for moment in _some(run.moments):
        history = part(run.rows, 0, moment.told)
        for cuts in (1, 2, 5):
            state = scheduler.init(problem, seed)
            for piece in np.array_split(np.arange(moment.told), cuts):
                state = scheduler.tell(state, Trials._make(column[piece] for column in history))
            law = "telling at once equals telling in parts"
            _check_same(scheduler, law, moment, scheduler.decide(state, moment.slots), f"told in {cuts} parts")


def asking_changes_no_decision(scheduler: Scheduler, problem: Problem, seed: int) -> None:
    """Two decisions of one state are one; so are two answers of `keep`, which may be asked about many trials or one by one."""
    run = simulated(scheduler, problem, seed, _nasty_curve)
    law = "asking changes nothing"
    for moment in _some(run.moments):
        state = _told(scheduler, problem, seed, part(run.rows, 0, moment.told))
        numbers = np.unique(run.rows.number[: moment.told])
        kept = scheduler.keep(state, numbers)
        if not isinstance(kept, np.ndarray) or kept.dtype != np.bool_ or kept.shape != numbers.shape:
            raise _broken(scheduler, law, f"keep returned {kept!r} for {len(numbers)} trials; expected an array of booleans")
        _check_same(scheduler, law, moment, scheduler.decide(state, moment.slots), "asked again")
        _check_same(scheduler, law, moment, scheduler.decide(state, moment.slots), "asked a third time")
        single = [bool(scheduler.keep(state, numbers[i : i + 1])[0]) for i in range(len(numbers))]
        if single != kept.tolist():
            raise _broken(scheduler, law, f"keep says {kept.tolist()} of all trials at once and {single} one by one")


def the_order_of_lanes_means_nothing(scheduler: Scheduler, problem: Problem, seed: int) -> None:
    """With the free lanes and the running trials in another order, the same trials go on for the same steps."""
    run = simulated(scheduler, problem, seed, _curve, lanes=6)
    for i, moment in enumerate(_some(run.moments)):
        state = _told(scheduler, problem, seed, part(run.rows, 0, moment.told))
        shuffle = rng(seed, i, "law lanes")
        order = shuffle.permutation(len(moment.slots.held))
        slots = Slots(moment.slots.held[order].copy(), shuffle.permutation(moment.slots.running), moment.slots.fresh)
        got = scheduler.decide(state, slots)
        if _jobs(moment.decision) != _jobs(got):
            how = f"{_jobs(moment.decision)} for held {moment.slots.held.tolist()}, {_jobs(got)} for held {slots.held.tolist()}"
            raise _broken(scheduler, "the order of lanes means nothing", how)


def nasty_rows_are_survived(scheduler: Scheduler, problem: Problem, seed: int) -> None:
    """Failures, infinities, reports without an ask and the like never raise, and what is done or failed does not go on."""
    law = "nasty rows are survived"
    for name in NASTY:
        history = nasty_history(name, problem, seed)
        ended = np.isin(history.status, ENDED)
        own = np.unique(history.number[history.number >= 0])
        try:
            state = _told(scheduler, problem, seed, history)
            scheduler.keep(state, own)
            first = int(history.number.max(initial=-1)) + 1
            fresh = np.arange(first, first + 2, dtype=np.int64)
            state = scheduler.tell(state, rows(fresh, drawn(problem, seed, 2, "law fresh"), outcomes=len(problem.outcomes)))
            decision = scheduler.decide(state, Slots(np.full(3, -1, np.int64), _ints(()), fresh))
        except Exception as e:
            raise _broken(scheduler, law, f"{name!r} raised {type(e).__name__}: {e}") from e
        again = np.intersect1d(decision.number[decision.number >= 0], history.number[ended])
        if len(again):
            raise _broken(scheduler, law, f"after {name!r} trial {again[0]} goes on, which has ended")


def rows_are_borrowed_for_one_call(scheduler: Scheduler, problem: Problem, seed: int) -> None:
    """Rows and slots are not changed, and not kept: the caller may overwrite them after the call."""
    law = "arguments are borrowed for one call"
    run = simulated(scheduler, problem, seed, _curve)
    for moment in _some(run.moments):
        lent = part(run.rows, 0, moment.told)
        slots = Slots._make(column.copy() for column in moment.slots)
        for column in (*lent, *slots):
            column.flags.writeable = False
        state = scheduler.init(problem, seed)
        try:
            state = scheduler.tell(state, lent)
            for column in lent:
                column.flags.writeable = True
                column[:] = 0
            decision = scheduler.decide(state, slots)
        except ValueError as e:
            if "read-only" in str(e):
                raise _broken(scheduler, law, "it writes into the rows or slots it was lent") from e
            raise
        _check_same(scheduler, law, moment, decision, "after the rows told were overwritten")


def copies_go_their_own_way(scheduler: Scheduler, problem: Problem, seed: int) -> None:
    """A deep copy of a state is a snapshot: it decides as if the original had never been told more."""
    law = "copies are independent"
    run = simulated(scheduler, problem, seed, _curve)
    for moment in _some(run.moments):
        state = _told(scheduler, problem, seed, part(run.rows, 0, moment.told))
        try:
            kept = copy.deepcopy(state)
        except TypeError as e:
            raise _broken(scheduler, law, f"the state cannot be copied: {e}") from e
        scheduler.tell(state, part(run.rows, moment.told, len(run.rows.number)))
        _check_same(scheduler, law, moment, scheduler.decide(kept, moment.slots), "a copy, after the original was told more")


SCHEDULER_LAWS: tuple[SchedulerLaw, ...] = (
    nasty_rows_are_survived,
    decisions_can_be_carried_out,
    no_lane_idles_while_a_trial_can_start,
    telling_at_once_equals_telling_in_parts_of_any_size,
    asking_changes_no_decision,
    the_order_of_lanes_means_nothing,
    rows_are_borrowed_for_one_call,
    copies_go_their_own_way,
)


def _curve(number: int, step: int) -> float:
    """Curves that cross, with ties."""
    return round(((number * 37) % 11) / 11 + ((number * 53) % 7) / step, 2)


def _nasty_curve(number: int, step: int) -> float:
    """Some diverge, at the start or later."""
    if number % 5 == 2 and step >= (1 if number % 2 else 5):
        return (math.nan, math.inf, -math.inf)[number % 3]
    return _curve(number, step)


def _check_decision(
    scheduler: Scheduler, problem: Problem, slots: Slots, decision: Decision, points: np.ndarray, reached: dict[int, int]
) -> None:
    law, k, steps = "decisions can be carried out", len(slots.held), problem.steps or 1
    shapes = {"number": (k,), "parent": (k,), "u": (k, problem.space.d), "t": (k,), "until": (k,)}
    kinds = {"number": np.int64, "parent": np.int64, "u": np.float64, "t": np.int32, "until": np.int32}
    for field, shape in shapes.items():
        column = getattr(decision, field)
        if not isinstance(column, np.ndarray) or column.shape != shape or column.dtype != kinds[field]:
            raise _broken(scheduler, law, f"{field} is {column!r}; expected {np.dtype(kinds[field])} of shape {shape}")
    numbers = decision.number[decision.number >= 0].tolist()
    if len(set(numbers)) < len(numbers):
        raise _broken(scheduler, law, f"a trial is in two lanes: {decision.number.tolist()}")
    fresh = [n for n, parent in zip(decision.number.tolist(), decision.parent.tolist(), strict=True) if n >= 0 and parent < 0]
    if sorted(fresh) != sorted(slots.fresh.tolist()[: len(fresh)]):
        raise _broken(scheduler, law, f"it starts {fresh} where {slots.fresh.tolist()} wait in this order")
    lane_of = {n: lane for lane, n in enumerate(slots.held.tolist()) if n >= 0}
    for lane, (number, parent, t, until) in enumerate(
        zip(decision.number.tolist(), decision.parent.tolist(), decision.t.tolist(), decision.until.tolist(), strict=True)
    ):
        if number < 0:
            continue
        if number in slots.running:
            raise _broken(scheduler, law, f"trial {number} is running already")
        if not t < until <= steps:
            raise _broken(scheduler, law, f"trial {number} is to go from step {t} to {until} of {steps}")
        if parent < 0 and t:
            raise _broken(scheduler, law, f"trial {number} begins at step {t}")
        if parent >= 0 and t != reached.get(parent):
            raise _broken(scheduler, law, f"trial {number} goes on at step {t}, but the weights of {parent} are at {reached.get(parent)}")
        if parent == number and lane_of.get(number, lane) != lane:
            raise _broken(scheduler, law, f"trial {number} was held in lane {lane_of[number]} and goes on in lane {lane}")
        changed = not np.array_equal(decision.u[lane], points[number], equal_nan=True)
        if changed and not scheduler.mutates:
            raise _broken(scheduler, law, f"trial {number} is given another point than it was asked with")
        if changed and not _is_point(problem, decision.u[lane]):
            raise _broken(scheduler, law, f"trial {number} is given {decision.u[lane].tolist()}, no canonical, feasible point of the space")
        if parent not in (-1, number) and (not scheduler.mutates or parent in slots.running or parent in slots.fresh):
            raise _broken(scheduler, law, f"trial {number} is given the weights of {parent}, which has none that wait")


def _is_point(problem: Problem, u: np.ndarray) -> bool:
    return np.array_equal(problem.space.snap(u[None])[0], u, equal_nan=True) and bool(problem.space.feasible(u[None])[0])


def _check_same(scheduler: Scheduler, law: str, moment: Moment, got: Decision, where: str) -> None:
    for field in Decision._fields:
        a, b = getattr(moment.decision, field), getattr(got, field)
        if not np.array_equal(a, b, equal_nan=field == "u"):
            raise _broken(scheduler, law, f"after {moment.told} rows, {where}: {field} is {b.tolist()}, not {a.tolist()}")


def _told(scheduler: Scheduler, problem: Problem, seed: int, history: Trials) -> Any:
    return scheduler.tell(scheduler.init(problem, seed), history)


def _some(moments: list[Moment]) -> list[Moment]:
    return moments[:: max(1, len(moments) // 12)]


def _jobs(decision: Decision) -> list[tuple[int, ...]]:
    columns = (decision.number, decision.parent, decision.t, decision.until)
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


def _ints(numbers: Any) -> Ints:
    return np.array(list(numbers), dtype=np.int64)


def _broken(scheduler: Scheduler, law: str, how: str) -> AssertionError:
    return AssertionError(f"{scheduler.name} breaks the law '{law}': {how}")
