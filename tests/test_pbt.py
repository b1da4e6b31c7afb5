"""Populations: who copies whom, how copies explore, the Gaussian process of gains, schedules and their replay. Lanes: test_pbt_lanes.py."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import gp_reference as slow
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scheduler_reference import problem

import jaxhp
from jaxhp import Categorical, Float, Int, Ordinal, Schedule, Scheduler, SchedulerError, Space, _kernel, pb2, pbt, replay
from jaxhp._types import Decision, Outcome, Problem, Slots, Status
from jaxhp.schedulers import _pb2
from jaxhp.schedulers._exploit import tournament, truncation
from jaxhp.schedulers._pbt import explored, perturbed
from jaxhp.schedulers._population import Mark, Member
from jaxhp.testing import check_scheduler, rows

WIDE = Space(
    {
        "rate": Float(1e-4, 1.0, log=True),
        "drop": Float(0.0, 0.5),
        "grid": Float(0.0, 1.0, step=0.1),
        "width": Int(16, 256, log=True),
        "size": Ordinal([16, 32, 64]),
        "kind": Categorical(["a", "b"]),
        "more": Float(1.0, 2.0, when={"kind": "a"}),
    }
)


class Crowd:
    """A population in as many lanes, told by hand."""

    def __init__(self, scheduler: Scheduler, members: int, steps: int, space: Space | None = None, seed: int = 0) -> None:
        space = space or problem().space
        self.scheduler, self.members = scheduler, members
        self.u = space.snap(np.random.default_rng(seed).random((members, space.d)))
        self.state = scheduler.init(Problem(space, space.dims, (Outcome("y"),), steps=steps), seed)
        self.state = scheduler.tell(self.state, rows(np.arange(members), self.u))

    def report(self, numbers: Any, step: float, y: Callable[[int], float]) -> None:
        for n in numbers:
            row = rows(np.array([n]), self.u[[n]], np.array([[y(n)]]), Status.REPORTED)._replace(fidelity=np.array([float(step)]))
            self.state = self.scheduler.tell(self.state, row)

    def decide(self, held: Any = None, running: Any = (), fresh: Any = ()) -> Decision:
        held = np.arange(self.members) if held is None else np.array(held)
        return self.scheduler.decide(self.state, Slots(held, np.array(running, np.int64), np.array(fresh, np.int64)))


# -- who copies whom -----------------------------------------------------------------------------------------------------


def test_the_worst_fifth_copies_the_best_fifth_and_each_of_these_is_as_likely() -> None:
    keys = [(float(i), 100 + i) for i in range(10)]
    picks = [truncation(0.2)(seed, 3, keys) for seed in range(400)]
    assert all(set(pick) == {108, 109} for pick in picks)
    first = [pick[108][0] for pick in picks]
    assert set(first) == {100, 101} and 160 < first.count(100) < 240
    assert any(pick[108][0] != pick[109][0] for pick in picks)


def test_who_diverged_always_copies_and_is_never_copied() -> None:
    keys = [(0.5, 3), (1.0, 1), (math.inf, 0), (math.inf, 2), (math.inf, 4)]
    assert {n: sorted(parents) for n, parents in truncation(0.4)(0, 1, keys).items()} == {0: [1, 3], 2: [1, 3], 4: [1, 3]}
    for seed in range(20):
        copies = tournament()(seed, 1, keys)
        assert {0, 2, 4} <= set(copies) and all(set(parents) <= {1, 3} for parents in copies.values())
    assert truncation(0.2)(0, 1, [(math.inf, 0), (math.inf, 1)]) == tournament()(0, 1, [(math.inf, 0), (math.inf, 1)]) == {}


def test_in_a_tournament_a_member_meets_another_and_the_worse_copies() -> None:
    keys = [(0.1, 0), (0.2, 1), (0.3, 2)]
    seen = [tournament()(seed, 1, keys) for seed in range(400)]
    assert all(0 not in copies for copies in seen)
    assert 160 < sum(1 in copies for copies in seen) < 240  # it met 0, not 2
    assert all(copies[2][0] in (0, 1) for copies in seen)


def test_ties_go_to_the_earlier_trial() -> None:
    assert set(truncation(0.25)(0, 1, sorted([(1.0, n) for n in range(4)]))) == {3}


# -- rounds --------------------------------------------------------------------------------------------------------------


def test_a_round_by_hand() -> None:
    crowd = Crowd(pbt(4, 5, resample=0.0), 5, 10)
    start = crowd.decide([-1] * 5, fresh=range(5))
    assert start.number.tolist() == [0, 1, 2, 3, 4] and start.until.tolist() == [4] * 5 and (start.u == crowd.u).all()
    crowd.report(range(5), 4, lambda n: [3.0, 1.0, 2.0, 9.0, 4.0][n])
    decision = crowd.decide()
    assert decision.number.tolist() == [0, 1, 2, 3, 4] and decision.parent.tolist() == [0, 1, 2, 1, 4]
    assert decision.t.tolist() == [4] * 5 and decision.until.tolist() == [8] * 5
    changed = (decision.u != crowd.u).any(axis=1)
    assert changed.tolist() == [False, False, False, True, False]
    assert decision.u[3, 0] in (0.8 * crowd.u[1, 0], 1.2 * crowd.u[1, 0])
    crowd.u[3] = decision.u[3]
    crowd.report(range(5), 8, lambda n: float(n))
    last = crowd.decide()
    assert last.parent.tolist() == [0, 1, 2, 3, 0] and last.until.tolist() == [10] * 5  # the run ends within the round


def test_nobody_goes_on_before_all_members_have_come() -> None:
    crowd = Crowd(pbt(4, 4), 4, 12)
    crowd.report([0, 1, 2], 4, float)
    crowd.report([3], 2, float)
    assert (crowd.decide([0, 1, 2], running=[3]).number == -1).all()
    crowd.report([3], 4, float)
    assert crowd.decide().number.tolist() == [0, 1, 2, 3]


def test_with_few_lanes_the_worst_goes_first_so_that_its_parent_still_waits() -> None:
    crowd = Crowd(pbt(4, 6, fraction=0.34), 6, 12)
    crowd.report(range(6), 4, float)
    first = crowd.decide([5, -1])
    assert sorted(first.number.tolist()) == [4, 5] and set(first.parent.tolist()) <= {0, 1}
    crowd.u[first.number] = first.u
    crowd.report([4, 5], 8, lambda n: -1.0)
    assert sorted(crowd.decide([4, 5]).number.tolist()) == [2, 3]  # the round that lies behind comes first
    again = crowd.decide([-1] * 6, running=[])
    assert sorted(again.number.tolist()) == [-1, -1, 0, 1, 2, 3] and (again.parent == again.number).all()


def test_an_incomplete_population_goes_on_as_it_stands_when_nothing_is_left_to_start() -> None:
    crowd = Crowd(pbt(4, 10), 3, 12)
    crowd.report(range(3), 4, float)
    assert (crowd.decide([0, 1], running=[2]).number == -1).all()
    decision = crowd.decide()
    assert decision.number.tolist() == [0, 1, 2] and decision.parent.tolist() == [0, 1, 0]


def test_populations_are_apart() -> None:
    crowd = Crowd(pbt(4, 3, fraction=0.34), 6, 12)
    crowd.report(range(6), 4, lambda n: -float(n))
    assert crowd.decide().parent.tolist() == [2, 1, 2, 5, 4, 5]


def test_a_member_that_ended_is_not_waited_for() -> None:
    crowd = Crowd(pbt(4, 3), 3, 12)
    crowd.report([0, 1], 4, float)
    failed = rows(np.array([2]), crowd.u[[2]], np.array([[math.nan]]), Status.FAILED)
    crowd.state = crowd.scheduler.tell(crowd.state, failed)
    decision = crowd.decide([0, 1])
    assert decision.number.tolist() == [0, 1] and decision.parent.tolist() == [0, 0]


def test_who_diverged_is_mended_and_where_nobody_is_left_to_mend_them_all_end() -> None:
    crowd = Crowd(pbt(4, 4), 4, 12)
    crowd.report(range(4), 4, lambda n: math.nan if n else 0.5)
    assert crowd.scheduler.keep(crowd.state, np.arange(4)).all()
    assert crowd.decide().parent.tolist() == [0, 0, 0, 0]
    hopeless = Crowd(pbt(4, 4), 4, 12)
    hopeless.report(range(3), 4, lambda n: math.nan)
    assert hopeless.scheduler.keep(hopeless.state, np.arange(4)).all()  # the fourth may be better
    hopeless.report([3], 4, lambda n: math.inf)
    assert not hopeless.scheduler.keep(hopeless.state, np.arange(4)).any()


def test_a_trial_that_starts_again_takes_its_reports_back() -> None:
    crowd = Crowd(pbt(2, 2), 2, 12)
    crowd.report([0, 1], 2, float)
    crowd.report([0, 1], 4, lambda n: -float(n))
    crowd.report([0], 2, lambda n: 7.0)
    assert (crowd.decide([0], running=[1]).number == 0).all()  # at the round that lies behind it runs on
    crowd.report([0], 4, lambda n: -5.0)
    assert crowd.decide([0, 1]).parent.tolist() == [0, 0]


# -- explore -------------------------------------------------------------------------------------------------------------


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 99), st.floats(0.0, 1.0))
def test_copies_stay_in_the_space_and_inherit_what_may_not_change(seed: int, number: int, resample: float) -> None:
    u = WIDE.snap(np.random.default_rng(seed).random((1, WIDE.d)))[0]
    dims = [0, 1, 2, 6]
    new = explored(WIDE, u, dims, (0.8, 1.2), resample, seed, number, 3)
    assert np.array_equal(WIDE.snap(new[None])[0], new, equal_nan=True)
    assert np.array_equal(new[3:6], u[3:6]) and math.isnan(new[6]) == math.isnan(u[6])
    assert np.array_equal(new, explored(WIDE, u, dims, (0.8, 1.2), resample, seed, number, 3), equal_nan=True)


def test_perturb_multiplies_in_the_users_units_and_moves_levels_by_one_at_least() -> None:
    axes = dict(zip(WIDE.names, WIDE.axes, strict=True))
    assert perturbed(axes["rate"], 0.01, 1.2) == pytest.approx(0.012) and perturbed(axes["rate"], 0.9, 1.2) == 1.0
    assert perturbed(axes["drop"], 0.1, 0.8) == pytest.approx(0.08)
    assert (
        perturbed(axes["grid"], 5.0, 1.2) == 6.0 and perturbed(axes["grid"], 1.0, 1.2) == 2.0 and perturbed(axes["grid"], 10.0, 2.0) == 10.0
    )
    assert perturbed(axes["width"], 100.0 - 16, 1.2) == 120 - 16
    assert perturbed(axes["size"], 1.0, 0.8) == 0.0 and perturbed(axes["size"], 2.0, 1.2) == 2.0
    assert perturbed(axes["kind"], 1.0, 1.2) == 1.0


def test_named_parameters_may_change_and_a_childs_activity_follows() -> None:
    u = WIDE.point({"rate": 0.1, "drop": 0.1, "grid": 0.5, "width": 64, "size": 32, "kind": "b"})
    found = [WIDE.params(explored(WIDE, u, [4, 5], (0.8, 1.2), 0.5, 0, n, 1)) for n in range(60)]
    assert {p["kind"] for p in found} == {"a", "b"} and all(("more" in p) == (p["kind"] == "a") for p in found)
    assert {p["size"] for p in found} == {16, 32, 64} and {p["rate"] for p in found} == {WIDE.params(u)["rate"]}


def test_a_quarter_is_drawn_anew() -> None:
    line = Space({"x": Float(0.0, 1.0)})
    found = np.array([explored(line, np.array([0.5]), [0], (0.8, 1.2), 0.25, 0, n, 1)[0] for n in range(800)])
    near = (found == 0.5 * 0.8) | (found == 0.5 * 1.2)
    assert 0.7 < near.mean() < 0.8


def test_constraints_hold_for_copies_too() -> None:
    tight = Space({"a": Float(0.0, 1.0), "b": Float(0.0, 1.0)}).where("a + b <= 0.5")
    u = tight.point({"a": 0.25, "b": 0.24})
    found = np.array([explored(tight, u, [0, 1], (0.8, 1.2), 0.1, 0, n, 1) for n in range(50)])
    assert tight.feasible(found).all() and (found != u).any(axis=1).mean() > 0.5
    crowd = Crowd(pb2(1, 4), 4, 20, tight)
    crowd.u = tight.snap(np.abs(crowd.u) / 4)
    for step in range(1, 6):
        crowd.report(range(4), step, lambda n, step=step: float(n - step))
        decision = crowd.decide()
        crowd.u[decision.number] = decision.u
        assert tight.feasible(crowd.u).all()


def test_a_sampler_learns_that_the_last_point_gave_the_last_value() -> None:
    sampler, u = jaxhp.bayes(), np.array([[0.25], [0.75]])
    state = sampler.init(problem(), 0)
    state = sampler.tell(state, rows(np.array([0]), u[:1]))
    for point, status in ((u[:1], Status.PAUSED), (u[1:], Status.COMPLETE)):
        state = sampler.tell(state, rows(np.array([0]), point, np.array([[1.0]]), status))
    assert state.model.n == 1 and state.model.u[0] == 0.75


# -- the process of gains ------------------------------------------------------------------------------------------------


def told(values: list[list[float]], x: list[list[float]]) -> dict[int, Member]:
    """Members by their values and points, round by round."""
    return {
        n: Member(
            np.array([x[n][0]]),
            np.array([x[n][-1]]),
            float(len(row)),
            marks={r + 1: Mark(y, np.array([x[n][r]])) for r, y in enumerate(row)},
        )
        for n, row in enumerate(values)
    }


def test_gains_are_counted_from_the_parents_value() -> None:
    rule = truncation(0.5)
    members = told([[1.0, 0.5, 0.4], [3.0, 0.7, math.inf]], [[0.1, 0.1, 0.1], [0.9, 0.2, 0.2]])
    known = _pb2.gains(members, 3, 0, rule)
    assert known.y.tolist() == pytest.approx([-0.5, 0.7 - 1.0, -0.1, math.inf])  # 1 copied 0 after the first round; then neither changed
    assert known.X[:, 0].tolist() == [0.1, 0.2, 0.1, 0.2] and known.X[:, 1].tolist() == [0.1, 0.1, 0.2, 0.2]
    assert len(_pb2.gains(members, 2, 0, rule).y) == 2  # what comes after a round does not count for it


def test_pb2_takes_the_best_candidate_of_a_slow_optimist() -> None:
    """GP-UCB by full matrices, over a fine grid."""
    line = Space({"x": Float(0.0, 1.0)})
    draw = np.random.default_rng(1)
    X = np.column_stack([draw.random(20), np.repeat(np.arange(5), 4) / 10.0, draw.random(20)])
    known = _pb2.Gains(X, -np.exp(-(((X[:, 0] - 0.1 - X[:, 1]) / 0.2) ** 2)))
    posterior = _pb2.fitted(known, line)
    assert posterior is not None
    context, weight = np.array([0.5, 0.2]), _pb2.beta(20)
    chosen = _pb2.suggested(posterior, weight, line, np.array([0.9]), [0], context, 0, 7, 5)
    grid = np.column_stack([np.linspace(0.0, 1.0, 401), np.tile(context, (401, 1))])
    z = _kernel.transform(known.y)
    mean, covariance = slow.predict(X, z, np.zeros(20), np.zeros(3), posterior.theta, grid)
    value = math.sqrt(weight) * np.sqrt(np.maximum(np.diag(covariance), 0.0)) - mean
    at = float(np.interp(chosen[0], grid[:, 0], value))
    assert at > value.max() - 0.01 * np.ptp(value) and 0.5 < chosen[0] < 1.0


def gain(u: np.ndarray, t: int) -> np.ndarray:
    """What each point gains in round t: the best one moves through the square."""
    best = np.array([0.2 + 0.03 * t, 0.8 - 0.03 * t])
    return np.exp(-(((u - best) / 0.3) ** 2).sum(axis=1))


SQUARE = Space({"a": Float(0.01, 1.0, log=True), "b": Float(0.01, 1.0, log=True)})


def final(scheduler: Scheduler, seed: int, members: int = 8, rounds: int = 20) -> float:
    """The most that a member of a population has gained."""
    crowd = Crowd(scheduler, members, rounds, SQUARE, seed)
    have = np.zeros(members)
    crowd.decide([-1] * members, fresh=range(members))
    for t in range(rounds):
        have += gain(crowd.u, t)
        crowd.report(range(members), t + 1, (-have).__getitem__)
        if t + 1 < rounds:
            decision = crowd.decide()
            have = have[decision.parent]
            crowd.u = decision.u.copy()
    return float(have.max())


def test_both_follow_a_moving_optimum_and_pb2_with_eight_members_better() -> None:
    points = np.random.default_rng(0).random((100, 2))
    constant = sum(gain(points, t) for t in range(20)).max()  # type: ignore[union-attr]
    plain, modelled = [final(pbt(1, 8, fraction=0.25), seed) for seed in range(4)], [final(pb2(1, 8), seed) for seed in range(4)]
    assert constant < np.mean(plain) < np.mean(modelled) - 1.0
    assert min(modelled) > 17.0  # of 20


# -- schedules -----------------------------------------------------------------------------------------------------------

SCHEDULE = Schedule((0, 4, 8), ({"x": 0.5}, {"x": 0.25}, {"x": 0.75}), (3, 3, 1), 10)


def test_a_schedule_is_a_function_of_steps_and_survives_json() -> None:
    assert [SCHEDULE(step)["x"] for step in (0, 3.9, 4, 7, 8, 99)] == [0.5, 0.5, 0.25, 0.25, 0.75, 0.75]
    assert Schedule.from_json(json.loads(json.dumps(SCHEDULE.to_json()))) == SCHEDULE


def test_replay_starts_fresh_and_changes_values_at_the_steps() -> None:
    crowd = Crowd(replay(SCHEDULE), 2, 10)
    start = crowd.decide([-1, -1], fresh=[0, 1])
    assert start.until.tolist() == [4, 4] and start.u.tolist() == [[0.5], [0.5]] and start.parent.tolist() == [-1, -1]
    crowd.u = start.u
    crowd.report([0, 1], 4, float)
    second = crowd.decide([0, 1])
    assert second.u.tolist() == [[0.25], [0.25]] and second.parent.tolist() == [0, 1] and second.until.tolist() == [8, 8]
    crowd.report([0], 8, float)
    crowd.report([1], 6, lambda n: math.nan)
    assert crowd.scheduler.keep(crowd.state, np.array([0, 1])).tolist() == [True, False]
    third = crowd.decide([0])
    assert third.until.tolist() == [10] and third.u.tolist() == [[0.75]]
    assert replay(SCHEDULE).every == 4


def test_a_schedule_may_name_some_of_the_parameters() -> None:
    part = Schedule((0, 2), ({"kind": "b", "rate": 0.1}, {"kind": "a", "rate": 0.01}), (0, 0), 4)
    crowd = Crowd(replay(part), 1, 4, WIDE)
    asked = WIDE.params(crowd.u[0])
    begun = WIDE.params(crowd.decide([-1], fresh=[0]).u[0])
    assert begun["rate"] == pytest.approx(0.1) and begun["kind"] == "b" and begun["width"] == asked["width"] and "more" not in begun
    crowd.report([0], 2, float)
    assert WIDE.params(crowd.decide([0]).u[0])["kind"] == "a"


# -- errors at the door --------------------------------------------------------------------------------------------------

COARSE = Space({"n": Int(1, 4)})


def reporting(trial: jaxhp.Trial) -> float:
    return float(trial.report(1, 1.0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pbt(0), r"pbt\(every=0, population=20\): every: expected an integer of at least 1, got 0"),
        (lambda: pbt(1, 1), "population: expected an integer of at least 2, got 1"),
        (lambda: pbt(1, exploit="worst"), "exploit: expected 'truncation' or 'tournament', got 'worst'"),
        (lambda: pbt(1, fraction=0.6), r"fraction: expected a share in \(0, 0.5\], got 0.6"),
        (lambda: pbt(1, perturb=(0.0, 1.2)), r"perturb: expected positive factors such as \(0.8, 1.2\), got 0.0"),
        (lambda: pbt(1, perturb=()), "perturb: expected at least one factor"),
        (lambda: pbt(1, perturb=1.2), "perturb: expected at least one factor, such as .*, got 1.2"),
        (lambda: pbt(1, resample=2), r"resample: expected a probability in \[0, 1\], got 2"),
        (lambda: pbt(1, mutate="rate"), "mutate: expected names of parameters.*got 'rate'"),
        (lambda: pbt(1, mutate=("rats",)).init(Problem(WIDE, WIDE.dims, ()), 0), "mutate: 'rats' is not a parameter.*did you mean 'rate'"),
        (lambda: pbt(1).init(Problem(COARSE, COARSE.dims, ()), 0), r"the space has no Float.*name what may: mutate=\(...,\)"),
        (lambda: pb2(1).init(Problem(COARSE, COARSE.dims, ()), 0), "the space has no Float"),
        (lambda: pbt(51).init(problem(50), 0), "every=51 is above the 50 steps of a full run"),
        (lambda: pb2(1, fraction=0.0), "fraction: expected a share"),
        (lambda: replay({"x": 1.0}), "replay: schedule: expected a jaxhp.Schedule, such as study.schedule"),  # type: ignore[arg-type]
        (lambda: replay(SCHEDULE._replace(steps=(1, 4, 8))), r"schedule.steps: expected integers that rise from 0, got \[1, 4, 8\]"),
        (lambda: replay(SCHEDULE._replace(params=())), "schedule.params: expected 3 dicts, one per step"),
        (lambda: replay(SCHEDULE).init(Problem(WIDE, WIDE.dims, ()), 0), "schedule.params: 'x' is not a parameter of this space"),
        (
            lambda: replay(Schedule((0,), ({"x": 7.0},), (0,), 1)).init(problem(9), 0),
            r"schedule.params: x=7.0 is outside \[0, 1\]",
        ),
        (lambda: jaxhp.Study(COARSE, scheduler=pbt(1, mutate=("n",))).optimize(reporting, 1, raise_errors=True), "optimize_in_parts"),
        (lambda: jaxhp.Study(COARSE, scheduler=replay(Schedule((0,), ({},), (0,), 1))).optimize(reporting, 1, raise_errors=True), "itself"),
        (lambda: Schedule.from_json({"steps": [0]}), "from_json: expected what to_json returned.*KeyError"),
    ],
)
def test_bad_arguments_are_refused_by_name_value_and_remedy(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(SchedulerError, match=message):
        make()


def test_the_names_are_at_the_front_door() -> None:
    assert (jaxhp.pbt, jaxhp.pb2, jaxhp.replay, jaxhp.Schedule) == (pbt, pb2, replay, Schedule)


# -- the laws catch a population that breaks them ------------------------------------------------------------------------


def altered(change: Callable[[Decision, Slots], Decision], **more: Any) -> Scheduler:
    whole = pbt(3, 8)

    def decide(state: Any, slots: Slots) -> Decision:
        return change(whole.decide(state, slots), slots)

    return whole._replace(decide=decide, name="broken", **more)


def from_a_running_one(decision: Decision, slots: Slots) -> Decision:
    copies = (decision.number >= 0) & (decision.parent >= 0)
    return decision._replace(parent=np.where(copies, slots.running[0], decision.parent)) if len(slots.running) else decision


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (altered(lambda d, s: d, mutates=False), "is given another point than it was asked with|is given the weights of"),
        (altered(lambda d, s: d._replace(u=d.u + 1.0)), "no canonical, feasible point of the space"),
        (altered(from_a_running_one), r"goes on at step \d+, but the weights|which has none that wait"),
        (altered(lambda d, s: d._replace(t=np.where(d.t > 0, d.t - 1, 0).astype(np.int32))), "but the weights of"),
    ],
)
def test_a_broken_population_is_caught_by_the_law_it_breaks(scheduler: Scheduler, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_scheduler(scheduler)
