"""The look of `bayes` into the branches that the best result is not in."""

from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from second_looks import asked, modelled

import jaxhp
from jaxhp import gp
from jaxhp._types import Floats
from jaxhp.samplers import _bayes, _branches
from jaxhp.samplers._branches import AFTER, COMPARED, EVERY, FEWEST, ROWS, TURN, Branch, Look, branches, looks
from jaxhp.samplers._neighbourhood import EVERY as NEAR
from jaxhp.storage import open_log
from jaxhp.testing import check_study

CATEGORIES = (0, 2)


def space(levels: int = 3) -> jaxhp.Space:
    """A category with a child, another category, and a float."""
    return jaxhp.Space(
        {
            "kind": jaxhp.Categorical([f"k{i}" for i in range(levels)]),
            "rate": jaxhp.Float(0.0, 1.0, when={"kind": ["k1"]}),
            "other": jaxhp.Categorical(["a", "b"]),
            "x": jaxhp.Float(0.0, 1.0),
        }
    )


def drawn(n: int, levels: int = 3, seed: int = 0) -> Floats:
    u: Floats = space(levels).snap(np.random.default_rng(seed).random((n, 4)))
    return u


def looked(u: Floats, y: Floats, levels: int = 3, waiting: list[Floats] | None = None) -> list[Look]:
    model, quality = modelled(u, y, CATEGORIES)
    told = model.posterior()
    assert told is not None
    return list(looks(model, space(levels).dims, told[0], quality, waiting or []))


def test_branches_differ_from_the_best_in_one_category_that_is_active_there() -> None:
    dims = space().dims
    found = branches(dims, np.array([0.5, 0.3, 0.25, 0.9]))
    assert [(b.dim, b.level) for b in found] == [(0, 0), (0, 2), (2, 1)]
    assert [(b.dim, b.level) for b in branches(dims, np.array([np.nan, np.nan, 0.75, 0.9]))] == [(2, 0)]


def test_a_branch_is_a_space_whose_category_has_one_level_and_whose_children_follow_it() -> None:
    dims = space().dims
    raw = np.random.default_rng(0).random((20, 4))
    with_child, without = Branch(0, 1, 0.5).space(dims).snap(raw), Branch(0, 2, 5 / 6).space(dims).snap(raw)
    assert (with_child[:, 0] == 0.5).all() and not np.isnan(with_child[:, 1]).any()
    assert (without[:, 0] == 0.5).all() and np.isnan(without[:, 1]).all()
    for branch, points in ((Branch(0, 1, 0.5), with_child), (Branch(0, 2, 5 / 6), without), (Branch(2, 1, 0.75), raw)):
        inside = branch.space(dims).snap(branch.inward(points))
        out = np.array([branch.outward(v) for v in inside])
        assert branch.holds(out).all()
        assert np.array_equal(branch.inward(out), inside, equal_nan=True)


def test_points_go_into_a_branch_and_back() -> None:
    u = drawn(50)
    for branch in branches(space().dims, u[0]):
        own = u[branch.holds(u)]
        assert 0 < len(own) < len(u)
        assert np.array_equal([branch.outward(v) for v in branch.inward(own)], own, equal_nan=True)


@pytest.mark.parametrize("levels", [2, 3])  # the middle one of three lies at 0.5 already
def test_the_posterior_of_all_sees_the_points_of_a_branch_as_those_of_the_space(levels: int) -> None:
    u = drawn(40, levels)
    model, _ = modelled(u, u[:, 3] + u[:, 0], CATEGORIES)
    told = model.posterior()
    assert told is not None
    for branch in branches(space(levels).dims, u[0]):
        points = drawn(30, levels, seed=1)
        points = np.where(np.isnan(points), 0.5, points)
        points[:, branch.dim] = branch.at
        inside = gp.predict(branch.seen_by(told[0]), np.ascontiguousarray(branch.inward(points)))
        assert np.array_equal(inside, gp.predict(told[0], points))


def test_a_branch_that_is_hardly_known_is_looked_at_alone_for_an_improvement_on_its_own_best() -> None:
    u = drawn(80)
    u = np.concatenate([u[u[:, 0] > 0.2], u[u[:, 0] < 0.2][: FEWEST - 1]])
    y = u[:, 3] + (u[:, 0] < 0.2)
    (look,) = looked(u, y)
    assert (look.branch.dim, look.branch.level) == (0, 0)
    own = np.flatnonzero(look.branch.holds(u))
    assert look.incumbent == modelled(u, y, CATEGORIES)[1][own].min()
    assert np.array_equal(look.centres[0], look.branch.inward(u[[own[np.argmin(y[own])]]])[0], equal_nan=True)


def test_a_branch_without_results_is_looked_at_for_an_improvement_on_the_best() -> None:
    u = drawn(80)
    u = u[u[:, 0] > 0.2]
    (look,) = looked(u, u[:, 3])
    assert (look.branch.dim, look.branch.level) == (0, 0)
    assert look.incumbent == modelled(u, u[:, 3], CATEGORIES)[1].min()


def test_known_branches_are_compared_by_surrogates_of_their_own_results() -> None:
    u = drawn(300, levels=6)
    y = u[:, 3] + u[:, 0]
    found = looked(u, y, levels=6)
    assert len(found) == COMPARED
    counts = [int(branch.holds(u).sum()) for branch in branches(space(6).dims, u[np.argmin(y)])]
    assert [int(look.branch.holds(u).sum()) for look in found] == sorted(counts)[:COMPARED]
    for look in found:
        rows = np.flatnonzero(look.branch.holds(u))
        assert look.posterior.n == min(len(rows), ROWS)
        own = look.posterior.X[:, : look.posterior.n].T
        assert (own[:, look.branch.dim] == 0.5).all()
        at_rows, _ = gp.predict(look.posterior, np.ascontiguousarray(own))
        assert look.incumbent < at_rows.min() + 0.1  # in their own units the best result of all is below them


def test_no_more_rows_than_a_surrogate_may_have_and_the_best_of_the_branch() -> None:
    u = drawn(300, levels=2)
    y = u[:, 3] + (u[:, 0] > 0.5)
    look = next(look for look in looked(u, y, levels=2) if look.branch.dim == 0)
    rows = np.flatnonzero(look.branch.holds(u))
    assert len(rows) > ROWS
    assert sorted(look.posterior.X[3, :ROWS].tolist()) == np.sort(u[rows, 3])[:ROWS].tolist()


def test_pending_points_are_visits_and_believers() -> None:
    u = drawn(80)
    y = u[:, 3] + (u[:, 0] < 0.2)
    known = looked(u, y)
    assert len(known) == 3
    branch = known[0].branch
    point = branch.outward(u[branch.holds(u)][0])
    point[3] = 0.123
    again = {look.branch: look for look in looked(u, y, waiting=[point])}
    assert again[branch].posterior.n == known[0].posterior.n + 1
    u = np.concatenate([u[u[:, 0] > 0.2], u[u[:, 0] < 0.2][: FEWEST - 1]])
    other = Branch(0, 0, 1 / 6)
    assert [look.branch for look in looked(u, u[:, 3] + (u[:, 0] < 0.2))] == [other]


def loss(trial: jaxhp.Trial) -> float:
    p = trial.params
    return float((p["x"] - 0.3) ** 2 + 0.1 * (p["kind"] != "k1") + (p.get("rate", 0.5) - 0.8) ** 2 + 0.02 * (p["other"] == "b"))


def test_every_fourth_suggestion_leaves_the_best_branch_once_there_are_enough_results() -> None:
    study, numbers = asked("_suggest_elsewhere", space(), loss, AFTER + 21)
    assert numbers == [n for n in range(AFTER, AFTER + 21) if n % EVERY == TURN]
    assert NEAR % EVERY == 0 and TURN != NEAR - 1  # the neighbourhood's are others
    for number in numbers:
        told = study.finished[:number]
        best = min(told, key=lambda trial: trial.value).params
        mine = study.finished[number].params
        assert mine["kind"] != best["kind"] or mine["other"] != best["other"]


def test_spaces_without_categories_are_not_looked_at() -> None:
    where = jaxhp.Space({"x": jaxhp.Float(0.0, 1.0), "n": jaxhp.Int(1, 9), "size": jaxhp.Ordinal([1, 5, 9])})
    _, numbers = asked("_suggest_elsewhere", where, lambda trial: trial["x"] + trial["n"], AFTER + 10)
    assert numbers == []


def test_branch_suggestions_meet_constraints_and_conditions() -> None:
    where = space().where(lambda p: p["other"] == "a" or p["x"] <= 0.6, name="narrow")
    study, numbers = asked("_suggest_elsewhere", where, loss, AFTER + 40)
    assert len(numbers) >= 3
    for trial in study.finished:
        assert where.feasible(trial.u[None])[0]
        assert np.array_equal(where.snap(trial.u[None])[0], trial.u, equal_nan=True)


def test_a_batch_of_branch_suggestions_repeats_nothing() -> None:
    study, _ = asked("_suggest_elsewhere", space(), loss, AFTER + 10)
    batch = np.array([np.where(np.isnan(trial.u), 0.5, trial.u) for trial in study.ask(16)])
    apart = np.abs(batch[:, None] - batch).max(axis=2)[~np.eye(16, dtype=bool)]
    assert apart.min() > 1e-6


@pytest.mark.parametrize("stochastic", [False, True])
def test_studies_keep_the_laws_where_suggestions_leave_the_branch(
    stochastic: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[bool] = []
    suggest = _bayes._suggest_elsewhere

    def spy(*arguments: Any) -> Floats | None:
        u = suggest(*arguments)
        found.append(u is not None)
        return u

    def begun(**arguments: Any) -> jaxhp.Study:
        """A study with so many results that branches are looked at."""
        study = jaxhp.Study(space(), sampler=jaxhp.bayes(), seed=5, stochastic=stochastic, **arguments)
        for u in drawn(0 if study.finished else AFTER, seed=3):
            params = study.space.params(u)
            study.add(params, (params["x"] - 0.3) ** 2 + 0.1 * (params["kind"] != "k1") + params.get("rate", 0.5))
        return study

    monkeypatch.setattr(_bayes, "_suggest_elsewhere", spy)
    numbers = count()
    check_study(begun, lambda: open_log(f"sqlite:///{tmp_path}/{next(numbers)}.db"), trials=AFTER + 20)
    assert sum(found) > 50  # else the laws were about other suggestions


def test_a_second_best_branch_is_left_when_a_better_one_takes_longer_to_tune() -> None:
    where = jaxhp.Space(
        {"kind": jaxhp.Categorical(["quick", "slow"])}
        | {f"x{j}": jaxhp.Float(0.0, 1.0, when={"kind": ["slow"]}) for j in range(3)}
        | {"y": jaxhp.Float(0.0, 1.0, when={"kind": ["quick"]})}
    )

    def objective(trial: jaxhp.Trial) -> float:
        p = trial.params
        return 0.04 + 0.3 * (p["y"] - 0.6) ** 2 if "y" in p else sum((1.0 + j) * (p[f"x{j}"] - 0.2 - 0.2 * j) ** 2 for j in range(3))

    def regrets(every: int) -> list[float]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_branches, "EVERY", every)
            return [jaxhp.Study(where, sampler=jaxhp.bayes(), seed=seed).optimize(objective, trials=120).best.value for seed in range(12)]

    stuck, without = (int((np.array(regrets(every)) > 0.03).sum()) for every in (EVERY, 10**9))
    assert stuck == 0
    assert without >= 3  # else the test says nothing
