"""What `bayes()` suggests: valid points after anything told, batches that spread, minima found, and a process that stays sound."""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from told_histories import HISTORIES, LENGTH, told_history

import jaxhp
from jaxhp import Categorical, Float, Int, Ordinal, Sampler, SamplerError, Space, SpaceExhausted, Study, Trial, _core, acquisition, gp
from jaxhp._types import Floats, Outcome, Posterior, Problem, Status, Trials
from jaxhp.gp import _surrogate
from jaxhp.samplers import _bayes
from jaxhp.samplers._bayes import BayesState
from jaxhp.testing import rows
from jaxhp.testing._histories import drawn, joined, value

ROOT = Path(__file__).parents[1]
SQUARE = Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})
SPACES = {
    "line": Space({"x": Float(0.0, 1.0)}),
    "log": Space({"lr": Float(1e-6, 1.0, log=True), "decay": Float(1e-8, 1e8, log=True)}),
    "mixed": Space(
        {
            "lr": Float(1e-4, 1.0, log=True),
            "n": Int(1, 100, log=True),
            "batch": Ordinal([16, 32, 64]),
            "opt": Categorical(["sgd", "adam", "lion"]),
        }
    ),
    "categories": Space({f"c{i}": Categorical(list("abcdef")) for i in range(8)}),
    "conditional": Space(
        {
            "opt": Categorical(["sgd", "adam", "lion"]),
            "nesterov": Categorical([True, False], when={"opt": ["sgd", "lion"]}),
            "momentum": Float(0.0, 0.99, when={"nesterov": True}),
            "warmup": Int(0, 5, when={"opt": "adam"}),
            "length": Float(1.0, 10.0, when={"warmup": [3, 4, 5]}),
            "lr": Float(1e-4, 1.0, log=True),
        }
    ),
    "linear": Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0), "z": Float(0.0, 1.0)}).where("x + y <= 0.5"),
    "predicate": Space({"x": Float(0.0, 1.0), "n": Int(1, 9)}).where(lambda p: p["x"] * 10 + p["n"] <= 6, name="limit"),
    "tiny": Space({"a": Int(1, 3), "b": Categorical(["x", "y"]), "c": Ordinal([1, 2], when={"b": "y"})}),
    "wide": Space({f"x{i}": Float(-1.0, 1.0) for i in range(30)}),
}
SLOW = ("predicate",)  # a Python call for each candidate: some histories only


def problem(space: Space, stochastic: bool = False) -> Problem:
    return Problem(space, space.dims, (Outcome("y"),), stochastic)


def folded(sampler: Sampler, space: Space, history: Trials, stochastic: bool = False, seed: int = 0) -> Any:
    return sampler.tell(sampler.init(problem(space, stochastic), seed), history)


def ordinary(space: Space, n: int, seed: int = 0, f: Callable[[Floats], Floats] | None = None) -> Trials:
    """n random points, asked and told."""
    u = drawn(problem(space), seed, n, "ordinary")
    y = value(u, 1) if f is None else f(u)[:, None]
    return joined([rows(np.arange(n), u), rows(np.arange(n), u, y, Status.COMPLETE)])


def check_points(space: Space, u: Floats, where: str = "") -> None:
    """Finite and inside where active, NaN exactly where not, at the centres of levels, feasible."""
    assert u.ndim == 2 and u.shape[1] == space.d and u.dtype == np.float64 and u.flags.c_contiguous, where
    active = space.active(np.where(np.isnan(u), 0.5, u))
    assert np.array_equal(active, ~np.isnan(u)), where
    assert ((u[active] >= 0.0) & (u[active] <= 1.0)).all(), where
    assert np.array_equal(space.snap(u), u, equal_nan=True), where
    assert space.feasible(u).all(), where


def distances(a: Floats, b: Floats) -> Floats:
    """(n, m) sup norms; an inactive coordinate is 0.5."""
    return np.asarray(np.abs(np.nan_to_num(a, nan=0.5)[:, None] - np.nan_to_num(b, nan=0.5)[None]).max(axis=2))


# -- nasty histories ---------------------------------------------------------------------------------------------------------


def test_there_are_enough_nasty_histories() -> None:
    assert len(HISTORIES) >= 180


@pytest.mark.parametrize("name", HISTORIES)
def test_any_history_is_followed_by_new_points_of_the_space(name: str) -> None:
    sampler = jaxhp.bayes()
    for label, space in SPACES.items():
        if label in SLOW and list(HISTORIES).index(name) % 8:
            continue
        history = told_history(name, problem(space))
        numbers = np.arange(LENGTH, LENGTH + 4)
        state = folded(sampler, space, history)
        u = sampler.ask(state, numbers)
        check_points(space, u, label)
        if space.size is None or space.size > 1000:
            assert len(u) == 4, label
        else:
            left = space.size - len({row.tobytes() for row in history.u})
            assert min(left, 1) <= len(u) <= min(left, 4), label
        others = np.concatenate([u, history.u])
        assert (distances(u, others) + np.eye(len(u), len(others)) > 1e-6).all(), label
        assert state.hows["NO_MODEL"] == state.hows["NOT_FINITE"] == 0, label
        again = sampler.ask(folded(sampler, space, history), numbers)
        assert u.tobytes() == again.tobytes(), label


OTHERS = (
    jaxhp.bayes("ucb"),
    jaxhp.bayes("logpi", active=16),
    jaxhp.bayes("thompson"),
    jaxhp.bayes(["logei", "thompson"], starts=1),
    jaxhp.bayes(["ucb", "logpi"], spread=1, local=0, starts=1, beta=0.0),
)


@pytest.mark.parametrize("name", list(HISTORIES)[::3])
def test_any_history_is_survived_with_any_arguments(name: str) -> None:
    for label in ("mixed", "conditional", "linear", "tiny"):
        space = SPACES[label]
        history = told_history(name, problem(space))
        for sampler in OTHERS:
            for stochastic in (False, True):
                u = sampler.ask(folded(sampler, space, history, stochastic), np.arange(60, 62))
                check_points(space, u, f"{label}, {sampler.name}")
                assert len(u) == 2 or (label == "tiny" and not stochastic), sampler.name


@pytest.mark.parametrize("name", list(HISTORIES)[::5])
def test_short_histories_are_survived(name: str) -> None:
    sampler = jaxhp.bayes()
    for n in (1, 3, 4, 5, 11):
        for label, space in SPACES.items():
            if label in SLOW and n % 2 == 0:
                continue
            history = told_history(name, problem(space), n)
            u = sampler.ask(folded(sampler, space, history), np.arange(n, n + 2))
            check_points(space, u, f"{label}, {n} rows")
            assert len(u) >= 1 or len({row.tobytes() for row in history.u}) == space.size, label


def test_a_study_told_one_row_and_nothing_else_goes_on() -> None:
    study = Study(SQUARE, sampler=jaxhp.bayes())
    study.add({"x": 0.0, "y": 1.0}, 1e300)
    check_points(SQUARE, np.array([t.u for t in study.ask(20)]))


# -- when a part fails ---------------------------------------------------------------------------------------------------------


def test_without_a_model_the_start_up_design_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_surrogate, "factor", lambda *arguments: None)
    sampler, start = jaxhp.bayes(), jaxhp.sobol()
    state = folded(sampler, SQUARE, ordinary(SQUARE, 20))
    u = sampler.ask(state, np.arange(20, 25))
    assert dict(state.hows) == {"NO_MODEL": 5}
    assert np.array_equal(u, start.ask(start.init(problem(SQUARE), 0), np.arange(20, 25)))
    monkeypatch.undo()
    sampler.tell(state, ordinary(SQUARE, 10, seed=1))
    sampler.ask(state, np.arange(30, 31))
    assert state.hows["NO_MODEL"] == 5 and state.hows.total() == 6


@pytest.mark.parametrize("space", SPACES)
def test_appends_that_fail_leave_valid_points(space: str, monkeypatch: pytest.MonkeyPatch) -> None:
    searched, sampler = SPACES[space], jaxhp.bayes()
    monkeypatch.setattr(_surrogate, "append", lambda *arguments: None)  # of told rows
    monkeypatch.setattr(gp, "append", lambda *arguments: None)  # of waiting ones
    for n, modelled in ((12, False), (13, True)):  # 13 is an anchor: nothing is to be appended
        state = folded(sampler, searched, ordinary(searched, n))
        u = sampler.ask(state, np.arange(n, n + 6))
        check_points(searched, u)
        assert (state.hows["NO_MODEL"] == 0) == modelled or not len(u)
        if searched.size is None and modelled:
            assert (distances(u, u) + np.eye(len(u)) > 1e-6).all()


def test_a_posterior_that_is_not_finite_gives_spread_points(monkeypatch: pytest.MonkeyPatch) -> None:
    condition = _surrogate.condition

    def broken(posterior: Posterior, z: Floats) -> Posterior:
        made = condition(posterior, z)
        return made._replace(alpha=made.alpha * np.nan, mean=math.nan)

    monkeypatch.setattr(_surrogate, "condition", broken)
    sampler = jaxhp.bayes()
    for space in SPACES.values():
        state = folded(sampler, space, ordinary(space, 20))
        u = sampler.ask(state, np.arange(20, 24))
        check_points(space, u)
        assert len(u) == 4 or space.size is not None
        assert state.hows["NOT_FINITE"] == state.hows.total() - state.hows["CONSTRAINED"]


def test_where_every_candidate_repeats_the_start_up_design_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    maximize = acquisition.maximize
    monkeypatch.setattr(acquisition, "maximize", lambda *a, **k: maximize(*a, **k)._replace(how=acquisition.How.REPEATED))
    sampler, start = jaxhp.bayes(), jaxhp.sobol()
    state = folded(sampler, SQUARE, ordinary(SQUARE, 20))
    u = sampler.ask(state, np.arange(20, 25))
    assert dict(state.hows) == {"REPEATED": 5}
    assert np.array_equal(u, start.ask(start.init(problem(SQUARE), 0), np.arange(20, 25)))


# -- the suggestion ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["logei", "ucb", "logpi"])
@pytest.mark.parametrize("space", ["line", "log", "mixed", "conditional"])
def test_a_suggestion_has_a_larger_acquisition_than_thousands_of_random_points(space: str, name: str) -> None:
    searched, sampler = SPACES[space], jaxhp.bayes(name)
    history = ordinary(searched, 30)
    state = folded(sampler, searched, history)
    u = sampler.ask(state, np.array([30]))
    posterior, z = state.model.posterior()
    term = {"logei": acquisition.logei(z.min()), "ucb": acquisition.ucb(1.8), "logpi": acquisition.logpi(z.min())}[name]
    assert posterior.theta[-1] < _bayes.NOISY
    candidates = drawn(problem(searched), 1, 4000, "candidates")
    candidates = candidates[(distances(candidates, history.u) > 1e-6).all(axis=1)]
    (found,), (others) = (acquisition.value_and_gradient([posterior], [term], points)[0] for points in (u, candidates))
    assert found >= others.max() - 0.02


def test_several_acquisitions_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    maximize = acquisition.maximize

    def spy(posteriors: Any, terms: Any, *arguments: Any, **options: Any) -> Any:
        seen.append(terms)
        return maximize(posteriors, terms, *arguments, **options)

    monkeypatch.setattr(acquisition, "maximize", spy)
    sampler = jaxhp.bayes(["logei", "ucb", "logpi", "thompson"], beta=3.0)
    state = folded(sampler, SQUARE, ordinary(SQUARE, 12))
    sampler.ask(state, np.array([12]))
    lowest = state.model.posterior()[1].min()
    assert seen == [[acquisition.logei(lowest), acquisition.ucb(3.0), acquisition.logpi(lowest), acquisition.thompson()]]


def test_beta_is_how_much_ucb_explores() -> None:
    spreads = []
    for beta in (0.0, 1.8, 1000.0):
        sampler = jaxhp.bayes("ucb", beta=beta)
        state = folded(sampler, SQUARE, ordinary(SQUARE, 30))
        u = sampler.ask(state, np.array([30]))
        spreads.append(float(acquisition.predict(state.model.posterior()[0], u)[1][0]))
    assert spreads[0] <= spreads[1] <= spreads[2] and spreads[2] > 10 * spreads[0]


def test_arguments_reach_the_search_and_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    searches: list[tuple[int, ...]] = []
    maximize = acquisition.maximize

    def spy(posteriors: Any, *arguments: Any, **options: Any) -> Any:
        searches.append((posteriors[0].n, options["spread"], options["local"], options["starts"]))
        return maximize(posteriors, *arguments, **options)

    monkeypatch.setattr(acquisition, "maximize", spy)
    for sampler in (jaxhp.bayes(), jaxhp.bayes(spread=7, local=5, starts=3, active=16)):
        sampler.ask(folded(sampler, SQUARE, ordinary(SQUARE, 41)), np.array([41]))
    assert searches == [(41, 96, 96, 2), (16, 7, 5, 3)]
    assert jaxhp.bayes().name == "bayes('logei')"
    assert jaxhp.bayes(["ucb", "logpi"], local=7, active=16, beta=2.5).name == "bayes(['ucb', 'logpi'], local=7, active=16, beta=2.5)"


@pytest.fixture
def incumbents(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The incumbents of the searches made, in order."""
    seen: list[float] = []
    maximize = acquisition.maximize

    def spy(posteriors: Any, terms: Any, *arguments: Any, **options: Any) -> Any:
        seen.append(terms[0].a)
        return maximize(posteriors, terms, *arguments, **options)

    monkeypatch.setattr(acquisition, "maximize", spy)
    return seen


def test_noise_makes_the_best_mean_the_incumbent(incumbents: list[float]) -> None:
    sampler = jaxhp.bayes()
    noisy = ordinary(SQUARE, 40, f=lambda u: np.random.default_rng(0).normal(size=len(u)))
    smooth = ordinary(SQUARE, 40)
    for history, stochastic, by_mean in ((smooth, False, False), (smooth, True, True), (noisy, False, True)):
        state = folded(sampler, SQUARE, history, stochastic)
        sampler.ask(state, np.array([40]))
        posterior, z = state.model.posterior()
        means = gp.predict(posterior, state.model.u[state.model.held])[0]
        assert incumbents.pop() == pytest.approx(float((means if by_mean else z).min()), abs=1e-9)
        assert abs(means.min() - z.min()) > 1e-6


# -- batches and pending trials --------------------------------------------------------------------------------------------------


def test_a_batch_is_what_single_asks_give() -> None:
    many, single = (Study(SPACES["conditional"], sampler=jaxhp.bayes(), seed=3) for _ in range(2))
    for study in (many, single):
        study.optimize(lambda trial: trial["lr"], trials=12)
    assert [t.u.tobytes() for t in many.ask(9)] == [single.ask().u.tobytes() for _ in range(9)]


@pytest.mark.parametrize("space", ["line", "log", "mixed", "conditional", "linear", "wide"])
@pytest.mark.parametrize("n", [5, 25])
def test_no_two_points_of_a_batch_are_equal(space: str, n: int) -> None:
    sampler = jaxhp.bayes()
    u = sampler.ask(folded(sampler, SPACES[space], ordinary(SPACES[space], n)), np.arange(n, n + 16))
    check_points(SPACES[space], u)
    assert len(u) == 16 and (distances(u, u) + np.eye(16) > 1e-6).all()


def test_what_is_waited_for_is_no_improvement(incumbents: list[float]) -> None:
    sampler = jaxhp.bayes()
    state = folded(sampler, SQUARE, ordinary(SQUARE, 12))
    batch = sampler.ask(state, np.arange(12, 18))
    posterior, z = state.model.posterior()
    believed = gp.predict(posterior, batch)[0]
    assert believed.min() < z.min() - 0.01  # the model expects more than was seen
    assert np.allclose(incumbents, np.minimum.accumulate([z.min(), *believed[:-1]]), rtol=0, atol=1e-9)


def test_the_model_of_a_batch_knows_less_variance_where_trials_are_pending(monkeypatch: pytest.MonkeyPatch) -> None:
    posteriors: list[Posterior] = []
    maximize = acquisition.maximize

    def spy(believed: Any, *arguments: Any, **options: Any) -> Any:
        posteriors.append(believed[0])
        return maximize(believed, *arguments, **options)

    monkeypatch.setattr(acquisition, "maximize", spy)
    sampler = jaxhp.bayes()
    state = folded(sampler, SQUARE, ordinary(SQUARE, 12))
    where = np.array([[0.95, 0.05]])
    sampler.ask(state, np.array([12]))
    sampler.tell(state, rows(np.array([12]), where))
    sampler.ask(state, np.array([13]))
    assert [p.n for p in posteriors] == [12, 13]
    (before, variance), (mean, after) = (gp.predict(p, where) for p in posteriors)
    assert after < 0.2 * variance and mean == pytest.approx(before, abs=1e-9)


def test_another_workers_pending_trial_is_avoided_until_it_is_told() -> None:
    sampler = jaxhp.bayes()
    history = ordinary(SQUARE, 12)
    state = folded(sampler, SQUARE, history)
    wanted = sampler.ask(state, np.array([20]))
    sampler.tell(state, rows(np.array([12]), wanted))
    assert distances(sampler.ask(state, np.array([20])), wanted)[0, 0] > 1e-3
    sampler.tell(state, rows(np.array([12]), wanted)._replace(status=np.array([Status.REPORTED], np.int8)))
    assert list(state.pending) == [12]  # a report is no result
    sampler.tell(state, rows(np.array([12]), wanted, np.array([[math.nan]]), Status.FAILED))
    assert not state.pending and state.model.n == 13
    assert distances(sampler.ask(state, np.array([20])), wanted)[0, 0] > 1e-3  # it failed there


@pytest.mark.parametrize("status", [Status.COMPLETE, Status.STOPPED, Status.FAILED])
def test_a_pending_trial_ends_with_any_result(status: Status) -> None:
    sampler = jaxhp.bayes()
    state: BayesState = folded(sampler, SQUARE, rows(np.arange(6), drawn(problem(SQUARE), 0, 6, "pending")))
    assert len(state.pending) == 6 and state.model.n == 0
    u = np.array(list(state.pending.values()))
    sampler.tell(state, rows(np.arange(6), u, np.zeros((6, 1)), status))
    assert not state.pending and state.model.n == 6


# -- finite spaces and noise -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", ["tiny", "larger", "constrained"])
@pytest.mark.parametrize("told", [True, False])
def test_a_finite_space_is_exhausted_without_repeats_and_then_says_so(space: str, told: bool) -> None:
    larger = Space({"a": Int(1, 7), "b": Categorical(list("xyz")), "c": Ordinal([1, 2], when={"b": ["y", "z"]})})
    searched, size = {
        "tiny": (SPACES["tiny"], 9),
        "larger": (larger, 35),
        "constrained": (larger.where(lambda p: p["a"] <= 4, name="few"), 20),
    }[space]
    study = Study(searched, sampler=jaxhp.bayes(), seed=2)
    seen = [trial.u.tobytes() for trial in study.ask(3)]
    while len(seen) < size:
        trial = study.ask()
        seen.append(trial.u.tobytes())
        if told:
            study.tell(trial, float(trial["a"]))
    assert len(set(seen)) == size
    with pytest.raises(SpaceExhausted, match="bayes"):
        study.ask()
    study.tell(0, 1.0)
    with pytest.raises(SpaceExhausted, match="bayes"):
        study.ask()


def test_a_finite_space_is_searched_by_the_model_not_in_order() -> None:
    space = Space({"a": Int(0, 30), "b": Int(0, 30)})
    found = []
    for seed in range(5):
        study = Study(space, sampler=jaxhp.bayes(), seed=seed).optimize(lambda t: (t["a"] - 23) ** 2 + (t["b"] - 4) ** 2, trials=25)
        found.append(study.best.value)
    assert np.median(found) == 0  # 25 of 961 configurations


def test_a_stochastic_study_repeats_what_is_best() -> None:
    random = np.random.default_rng(0)
    study = Study(SPACES["tiny"], sampler=jaxhp.bayes(), stochastic=True, seed=1)
    study.optimize(lambda t: t["a"] + (t["b"] == "y") + 0.3 * random.normal(), trials=40)
    counts: dict[tuple[Any, ...], int] = {}
    for trial in study.finished[10:]:
        key = tuple(trial.params.values())
        counts[key] = counts.get(key, 0) + 1
    assert sum(counts.values()) == 30 and max(counts, key=lambda k: counts[k]) == (1, "x")
    assert counts[1, "x"] > 10


# -- learning ------------------------------------------------------------------------------------------------------------------------


def branin(t: Trial) -> float:
    """Above its minimum, Dixon and Szego 1978."""
    x, y = t["x"], t["y"]
    return float((y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6) ** 2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 9.602113)


def cliff(t: Trial) -> float:
    """A bowl in five logarithms; half of one of them diverges, a sixth of another one blows up."""
    logs = [math.log10(t[f"r{i}"]) for i in range(5)]
    if logs[0] > -1.5:
        return math.nan
    return sum((v + 2.0 - 0.5 * i) ** 2 for i, v in enumerate(logs)) if logs[1] < -1.0 else 1e30


def tuned(t: Trial) -> float:
    """As a network would answer: three optimisers with arguments of their own."""
    base, best = {"sgd": (0.5, -1.0), "adam": (0.0, -3.0), "lion": (0.3, -4.0)}[t["opt"]]
    loss = base + 0.3 * (math.log10(t["lr"]) - best) ** 2 + 0.05 * (t["layers"] - 5) ** 2 + 0.1 * abs(math.log2(t["width"]) - 6)
    return float(loss + 3 * ((t["momentum"] - 0.9 if t["opt"] == "sgd" else t["beta"] - 0.95) ** 2))


def edge(t: Trial) -> float:
    """Above the least value of a bowl within x + y <= 0.5, on the edge at (0.35, 0.15, 0.2)."""
    return float((t["x"] - 0.5) ** 2 + (t["y"] - 0.3) ** 2 + (t["z"] - 0.2) ** 2 - 0.045)


NETWORK = Space(
    {
        "opt": Categorical(["sgd", "adam", "lion"]),
        "lr": Float(1e-5, 1.0, log=True),
        "momentum": Float(0.0, 0.99, when={"opt": "sgd"}),
        "beta": Float(0.5, 0.999, when={"opt": ["adam", "lion"]}),
        "layers": Int(1, 8),
        "width": Ordinal([16, 32, 64, 128]),
    }
)
FUNCTIONS: dict[str, tuple[Space, Callable[[Trial], float], float]] = {  # with a value that random search does not reach
    "branin": (Space({"x": Float(-5.0, 10.0), "y": Float(0.0, 15.0)}), branin, 0.01),
    "cliff": (Space({f"r{i}": Float(1e-6, 1.0, log=True) for i in range(5)}), cliff, 1.0),
    "network": (NETWORK, tuned, 0.05),
    "edge": (SPACES["linear"], edge, 0.003),
}
SEEDS = range(8)


def reached(name: str, sampler: Sampler, batch: int = 1, trials: int = 50) -> list[float]:
    space, f, _ = FUNCTIONS[name]
    found = []
    for seed in SEEDS:
        study = Study(space, sampler=sampler, seed=seed)
        while len(study.finished) < trials:
            for trial in study.ask(batch):
                study.tell(trial, f(trial))
        found.append(study.best.value)
    return found


@pytest.mark.parametrize("name", FUNCTIONS)
def test_fifty_trials_reach_what_random_search_does_not(name: str) -> None:
    threshold = FUNCTIONS[name][2]
    assert np.median(reached(name, jaxhp.bayes())) < threshold / 3 < threshold < min(reached(name, jaxhp.random_search()))


@pytest.mark.parametrize(
    "sampler",
    [jaxhp.bayes("ucb"), jaxhp.bayes("logpi"), jaxhp.bayes("thompson"), jaxhp.bayes(["logei", "thompson"]), jaxhp.bayes(active=16)],
    ids=lambda sampler: sampler.name,
)
def test_every_acquisition_finds_the_minimum_and_so_does_a_small_active_set(sampler: Sampler) -> None:
    assert np.median(reached("network", sampler)) < FUNCTIONS["network"][2]


def test_batches_of_eight_lose_little() -> None:
    assert np.median(reached("branin", jaxhp.bayes(), batch=8, trials=48)) < 0.01
    assert np.median(reached("network", jaxhp.bayes(), batch=8, trials=48)) < 0.05


@pytest.mark.parametrize(("bad", "share"), [(math.nan, 0.15), (math.inf, 0.15), (1e30, 0.3)])
def test_failures_steer_away_from_where_they_happen(bad: float, share: float) -> None:
    late: list[bool] = []
    for seed in range(6):
        study = Study(SQUARE, sampler=jaxhp.bayes(), seed=seed)
        study.optimize(lambda t: bad if t["x"] > 0.5 else (t["y"] - 0.4) ** 2 + 1, trials=50)
        late += [t["x"] > 0.5 for t in study.finished[20:]]
    assert np.mean(late) < share  # of half of the space


# -- the process -----------------------------------------------------------------------------------------------------------------------


def run(code: str, *flags: str, path: tuple[Path, ...] = (ROOT,), **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, *flags, "-W", "always", "-c", code],
        cwd=path[0],  # which -c puts before everything else
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(map(str, path))},
        capture_output=True,
        text=True,
        timeout=300.0,
    )
    assert done.returncode == 0, done.stderr
    return done


STUDY = "import sys, jaxhp; study = jaxhp.Study(jaxhp.Space({'x': jaxhp.Float(0.0, 1.0)}), sampler=jaxhp.bayes(), seed=4); "


def test_numba_is_loaded_after_the_first_ask_and_not_before() -> None:
    code = (
        STUDY + "jaxhp.Study(study.space, sampler=jaxhp.random_search()).optimize(lambda t: t['x'], trials=30)\n"
        "jaxhp.Study(study.space)\n"
        "assert not {'numba', 'scipy', 'jax'} & set(sys.modules)\n"
        "study.ask()\n"
        "from jaxhp.samplers._bayes import _warm_up\n"
        "_warm_up.join()\n"
        "from jaxhp.gp import _kernels\n"
        "assert _kernels.minimize.signatures and _kernels.draw.signatures\n"
    )
    assert run(code).stderr == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are of POSIX systems")
def test_a_fork_waits_for_the_warm_up_and_the_child_goes_on() -> None:
    code = (
        "import os\n" + STUDY + "study.ask()\n"
        "child = os.fork()\n"
        "from jaxhp.gp import _kernels\n"
        "assert _kernels.draw.signatures, 'forked while the warm-up was under way'\n"
        "study.optimize(lambda t: (t['x'] - 0.3) ** 2, trials=12)\n"
        "assert not child or os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0\n"
        "print([t['x'] for t in study.finished], flush=True)\n"
        "os._exit(0)\n"
    )
    done = run(code)
    parent, child = done.stdout.splitlines()
    assert parent == child and parent.count(",") == 10 and done.stderr == ""


def test_a_process_that_ends_right_after_the_first_ask_waits_for_the_warm_up() -> None:
    last = "import atexit, threading; atexit.register(lambda: print([t.name for t in threading.enumerate()])); "
    assert run(last + STUDY + "print(study.ask()['x'])").stdout == "0.5\n['MainThread']\n"


@pytest.mark.slow
def test_an_unwritable_cache_gives_one_warning_and_the_same_answers(tmp_path: Path) -> None:
    """Every place where Numba looks lies below a regular file, which stops root too."""
    wall = tmp_path / "wall"
    wall.touch()
    shutil.copytree(ROOT / "jaxhp", tmp_path / "jaxhp", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(str(_core.__file__), tmp_path / "jaxhp")
    (tmp_path / "jaxhp" / "gp" / "__pycache__").touch()
    below = {name: str(wall / "below") for name in ("NUMBA_CACHE_DIR", "HOME", "XDG_CACHE_HOME")}
    code = STUDY + "print([t.u.tobytes().hex() for t in study.optimize(lambda t: (t['x'] - 0.3) ** 2, trials=12).finished])"
    packages = {Path(str(importlib.util.find_spec(name).origin)).parents[1] for name in ("numpy", "numba", "llvmlite", "scipy")}
    uncached = run(code, "-S", path=(tmp_path, *packages), **below)  # -S: an editable install would come first
    assert uncached.stderr.count("jaxhp cannot cache its compiled surrogate") == 1 == uncached.stderr.count("Warning")
    assert uncached.stdout == run(code).stdout


# -- errors at the door ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"acquisition": "ei"}, r"'ei' is not one of logei, ucb, logpi, thompson"),
        ({"acquisition": ["logei", "ei"]}, r"acquisition=\['logei', 'ei'\]\): 'ei' is not one of"),
        ({"acquisition": []}, "name at least one of logei"),
        ({"acquisition": ""}, "'' is not one of"),
        ({"acquisition": None}, r"acquisition=None"),
        ({"acquisition": 3}, r"acquisition=3"),
        ({"acquisition": [["logei"]]}, "is not one of"),
        *(
            ({name: seen}, rf"bayes\({name}=.*: expected an integer from {least} to {most}")
            for name, least, most in (("spread", 1, 1 << 20), ("local", 0, 1 << 20), ("starts", 1, 32), ("active", 16, 4096))
            for seen in (least - 1, most + 1, float(least + 1), True, "8", None)
        ),
        *(({"beta": beta}, r"bayes\(beta=.*: expected a number from 0") for beta in (-0.1, math.nan, math.inf, "2", None, True)),
    ],
)
def test_a_wrong_argument_is_refused_by_name(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SamplerError, match=message):
        jaxhp.bayes(**arguments)


def test_arguments_at_their_limits_are_taken() -> None:
    for arguments in ({"spread": 1, "local": 0, "starts": 1, "active": 16, "beta": 0}, {"starts": 32, "active": 4096}):
        study = Study(SQUARE, sampler=jaxhp.bayes(["logei", "ucb"], **arguments))  # type: ignore[arg-type]
        assert len(study.optimize(lambda t: t["x"], trials=8).finished) == 8


@pytest.mark.parametrize(
    "metrics", [{"directions": {"loss": "minimize", "speed": "maximize"}}, {"metric": "loss", "constraints": {"memory": "<= 8"}}]
)
def test_several_metrics_are_refused_when_the_study_starts(metrics: dict[str, Any]) -> None:
    with pytest.raises(SamplerError, match=r"models one metric and this study has loss, (speed|memory)"):
        Study(SQUARE, sampler=jaxhp.bayes(), **metrics)
