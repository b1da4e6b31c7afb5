"""Our samplers and schedulers in Optuna's studies, and whole studies from one to the other. Optuna's own suite: test_optuna_suite.py."""

from __future__ import annotations

import math
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial

import jaxhp
from jaxhp import Categorical, Float, Int, Ordinal, Space, Status
from jaxhp._types import Ints, Trials
from jaxhp.errors import MissingExtra, SamplerError, SchedulerError, SpaceError, StudyError
from jaxhp.interop.optuna import Pruner, Sampler, from_optuna, to_optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)

SPACE = Space({"lr": Float(1e-4, 1.0, log=True), "n": Int(1, 40), "opt": Categorical(["sgd", None, True]), "x": Float(-1.0, 1.0)})
CONDITIONAL = Space(
    {
        "opt": Categorical(["sgd", "adam"]),
        "momentum": Float(0.0, 0.99, when={"opt": "sgd"}),
        "width": Ordinal([16, 32, 64]),
    }
).where(lambda p: "momentum" not in p or p["width"] * p["momentum"] < 40, name="small")


def suggested(trial: optuna.Trial) -> float:
    """The objective over SPACE, in Optuna's words."""
    lr = trial.suggest_float("lr", 1e-4, 1.0, log=True)
    n = trial.suggest_int("n", 1, 40)
    opt = trial.suggest_categorical("opt", ["sgd", None, True])
    return value({"lr": lr, "n": n, "opt": opt, "x": trial.suggest_float("x", -1.0, 1.0)})


def value(params: dict[str, Any]) -> float:
    return math.log10(params["lr"] / 0.01) ** 2 + (params["n"] - 17) ** 2 / 100 + (params["opt"] is None) + (params["x"] - 0.3) ** 2


@pytest.fixture
def rdb(tmp_path: Path) -> Iterator[RDBStorage]:
    """A file of Optuna's, which does not close it."""
    storage = RDBStorage(f"sqlite:///{tmp_path}/optuna.db")
    yield storage
    storage.remove_session()
    storage.engine.dispose()


def optuna_study(sampler: jaxhp.Sampler, seed: int = 3, **arguments: Any) -> optuna.Study:
    return optuna.create_study(sampler=Sampler(sampler, seed, **arguments))


# -- the sampler -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sampler",
    [jaxhp.random_search(), jaxhp.sobol(), jaxhp.bayes(), jaxhp.grid_search(2), jaxhp.tpe(), jaxhp.cma_es(), jaxhp.nsga2(population=8)],
    ids=lambda s: s.name,
)
def test_a_known_space_gives_the_points_of_a_study_of_ours_bit_for_bit(sampler: jaxhp.Sampler) -> None:
    trials = 24
    theirs = optuna_study(sampler, space=SPACE)
    theirs.optimize(suggested, n_trials=trials)
    ours = jaxhp.Study(SPACE, sampler=sampler, seed=3).optimize(lambda trial: value(trial.params), trials=trials)
    assert [t.params for t in theirs.trials] == [t.params for t in ours.finished]


def test_a_space_that_is_learned_gives_the_points_of_a_study_of_ours_to_rounding() -> None:
    """Trial 0 is the default, which is that of each parameter by itself; from then on all parameters are known."""
    theirs = optuna_study(jaxhp.bayes())
    theirs.optimize(suggested, n_trials=12)
    ours = jaxhp.Study(SPACE, sampler=jaxhp.bayes(), seed=3).optimize(lambda trial: value(trial.params), trials=12)
    for a, b in zip(theirs.trials, ours.finished, strict=True):
        assert a.params["opt"] is b.params["opt"]
        assert [a.params[name] for name in ("lr", "n", "x")] == pytest.approx([b.params[name] for name in ("lr", "n", "x")], rel=1e-6)


def test_a_maximised_objective_is_its_negative_minimised() -> None:
    found = []
    for direction, sign in (("minimize", 1.0), ("maximize", -1.0)):
        study = optuna.create_study(direction=direction, sampler=Sampler(jaxhp.bayes(), 1))
        study.optimize(lambda trial, sign=sign: sign * suggested(trial), n_trials=9)
        found.append([t.params for t in study.trials])
    assert found[0] == found[1]


def test_conditions_and_constraints_of_a_given_space_hold() -> None:
    def objective(trial: optuna.Trial) -> float:
        opt = trial.suggest_categorical("opt", ["sgd", "adam"])
        momentum = trial.suggest_float("momentum", 0.0, 0.99) if opt == "sgd" else 0.5
        return momentum + trial.suggest_categorical("width", [16, 32, 64])

    study = optuna_study(jaxhp.bayes(), space=CONDITIONAL)
    study.optimize(objective, n_trials=12)
    assert sum(len(searches._folds) for searches in study.sampler._studies._kept[study._storage].values()) == 1  # never begun again
    ours = jaxhp.Study(CONDITIONAL, sampler=jaxhp.bayes(), seed=3)
    ours.optimize(lambda t: t.params.get("momentum", 0.5) + t["width"], trials=12)
    assert [t.params for t in study.trials] == [t.params for t in ours.finished]
    assert {"momentum" in t.params for t in study.trials} == {True, False}


def recorder(rows: list[tuple[int, int, float, float]]) -> jaxhp.Sampler:
    """Random search that writes down what it is told: number, status, first metric, step."""
    inner = jaxhp.random_search()

    def tell(state: Any, trials: Trials) -> Any:
        rows.extend(zip(trials.number.tolist(), trials.status.tolist(), trials.y[:, 0].tolist(), trials.fidelity.tolist(), strict=True))
        return inner.tell(state, trials)

    return inner._replace(tell=tell)


def test_the_sampler_is_told_what_a_study_of_ours_would_tell_it() -> None:
    rows: list[tuple[int, int, float, float]] = []

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_float("x", 0.0, 1.0)
        if trial.number in (1, 2):
            for step in (1, 3):
                trial.report(10.0 * trial.number + step, step)
        if trial.number == 1:
            raise optuna.TrialPruned
        if trial.number == 3:
            raise ValueError("boom")
        return math.inf if trial.number == 4 else float(trial.number)

    study = optuna_study(recorder(rows), space=Space({"x": Float(0.0, 1.0)}))
    study.optimize(objective, n_trials=6, catch=(ValueError,))
    nan = pytest.approx(math.nan, nan_ok=True)
    pending = [(number, Status.PENDING, nan, nan) for number in range(5)]
    assert rows == [
        pending[0],
        (0, Status.COMPLETE, 0.0, nan),
        pending[1],
        (1, Status.REPORTED, 11.0, 1.0),
        (1, Status.REPORTED, 13.0, 3.0),
        (1, Status.STOPPED, 13.0, 3.0),
        pending[2],
        (2, Status.REPORTED, 21.0, 1.0),
        (2, Status.REPORTED, 23.0, 3.0),
        (2, Status.COMPLETE, 2.0, 3.0),
        pending[3],
        (3, Status.FAILED, nan, nan),
        pending[4],
        (4, Status.FAILED, math.inf, nan),
    ]


def test_running_trials_are_pending_and_their_reports_are_told_as_they_come() -> None:
    rows: list[tuple[int, int, float, float]] = []
    study = optuna_study(recorder(rows), space=Space({"x": Float(0.0, 1.0)}))
    distributions = {"x": FloatDistribution(0.0, 1.0)}
    first, second = study.ask(distributions), study.ask(distributions)
    first.report(0.5, 1)
    study.ask(distributions)
    assert [row[:2] for row in rows] == [(0, Status.PENDING), (1, Status.PENDING), (0, Status.REPORTED)]
    study.tell(second, 0.1)
    study.ask(distributions)
    assert [row[:2] for row in rows[3:]] == [(2, Status.PENDING), (1, Status.COMPLETE)]


def test_another_process_sees_pending_trials_and_draws_others(rdb: RDBStorage) -> None:
    """A sampler object per process, one storage: the second is told the first one's running trial."""
    rows: list[tuple[int, int, float, float]] = []
    distributions = {"x": FloatDistribution(0.0, 1.0), "n": IntDistribution(1, 9)}
    one = optuna.create_study(storage=rdb, study_name="s", sampler=Sampler(jaxhp.random_search(), 0))
    two = optuna.load_study(storage=rdb, study_name="s", sampler=Sampler(recorder(rows), 0))
    one.tell(one.ask(distributions), 1.0)
    running = one.ask(distributions)
    other = two.ask(distributions)
    assert rows[-1][:2] == (running.number, Status.PENDING)
    assert other.params != running.params


def test_what_the_sampler_knows_does_not_depend_on_who_asked(tmp_path: Path) -> None:
    """A study that is continued by a new sampler object goes on as if by the old one (to the rounding of decoded points)."""
    whole = optuna_study(jaxhp.bayes(), space=SPACE)
    whole.optimize(suggested, n_trials=12)
    broken = optuna_study(jaxhp.bayes(), space=SPACE)
    broken.optimize(suggested, n_trials=8)
    broken.sampler = Sampler(jaxhp.bayes(), 3, space=SPACE)
    broken.optimize(suggested, n_trials=4)
    for a, b in zip(whole.trials, broken.trials, strict=True):
        assert a.params["opt"] is b.params["opt"]
        assert [a.params[name] for name in ("lr", "n", "x")] == pytest.approx([b.params[name] for name in ("lr", "n", "x")], rel=1e-4)


def test_parameters_that_only_some_trials_have_are_learned_one_by_one() -> None:
    """y counts where x is True, and only there; its best value is found although it is in no common space."""

    def objective(trial: optuna.Trial) -> float:
        if trial.suggest_categorical("x", [True, False]):
            return (trial.suggest_float("y", 0.0, 1.0) - 0.7) ** 2
        return 1.0 + trial.suggest_int("z", 0, 3)

    study = optuna_study(jaxhp.bayes())
    study.optimize(objective, n_trials=25)
    assert study.best_value < 1e-3


def spaces_of(problems: list[jaxhp.Problem]) -> jaxhp.Sampler:
    """Random search that writes down which spaces it is asked to search together."""
    inner = jaxhp.random_search()

    def init(problem: jaxhp.Problem, seed: int) -> Any:
        problems.extend([problem] if problem.space.d > 1 else [])
        return inner.init(problem, seed)

    return inner._replace(init=init)


def branching(trial: optuna.Trial, extra: bool = False) -> float:
    """beta under nesterov under opt; alphabetical order is not that of the conditions."""
    if trial.suggest_categorical("opt", ["sgd", "adam", "lion"]) == "sgd":
        nesterov = trial.suggest_categorical("nesterov", [False, True])
        return trial.suggest_float("beta", 0.0, 1.0) if nesterov else 1.0
    x = trial.suggest_float("alpha", 0.0, 1.0)
    return x + (trial.suggest_float("beta", 0.0, 1.0) if extra else 0.0)


def test_conditions_are_learned_from_the_trials() -> None:
    problems: list[jaxhp.Problem] = []
    study = optuna_study(spaces_of(problems))
    study.optimize(branching, n_trials=30)
    parameters = problems[-1].space.parameters  # choices are searched by their index
    assert {name: p.when for name, p in parameters.items()} == {
        "opt": None, "nesterov": {"opt": 0}, "alpha": {"opt": [1, 2]}, "beta": {"nesterov": 1}
    }  # fmt: skip
    independent: list[str] = []
    ask = study.sampler.sample_independent
    study.sampler.sample_independent = lambda *a: (independent.append(a[2]), ask(*a))[1]  # type: ignore[method-assign]
    study.optimize(branching, n_trials=10)
    assert independent == [] and len({len(t.params) for t in study.trials[-10:]}) > 1


def test_a_condition_that_is_refuted_is_withdrawn() -> None:
    problems: list[jaxhp.Problem] = []
    study = optuna_study(spaces_of(problems))
    study.optimize(branching, n_trials=30)
    while "beta" not in study.trials[-1].params or study.trials[-1].params["opt"] == "sgd":
        study.optimize(lambda t: branching(t, extra=True), n_trials=1)
    study.optimize(branching, n_trials=1)
    assert list(problems[-1].space.names) == ["opt", "alpha", "nesterov"]


def test_ranges_that_move_leave_out_what_does_not_fit() -> None:
    rows: list[tuple[int, int, float, float]] = []
    study = optuna_study(recorder(rows))
    for high in (1.0, 8.0, 1.0, 8.0):
        study.optimize(lambda trial, high=high: trial.suggest_float("x", 0.0, high), n_trials=5)
    rows.clear()
    fitting = {t.number for t in study.trials if t.params["x"] <= 2.0}
    study.optimize(lambda trial: trial.suggest_float("x", 0.0, 2.0), n_trials=1)
    assert 10 <= len(fitting) < 20
    assert {number for number, status, _, _ in rows if status == Status.COMPLETE} == fitting


@pytest.mark.filterwarnings("ignore:PartialFixedSampler is experimental")
def test_values_that_somebody_else_chose_are_told_as_they_are() -> None:
    seen: list[tuple[int, float]] = []
    inner = jaxhp.random_search()

    def tell(state: Any, trials: Trials) -> Any:
        seen.extend(
            (int(n), float(u)) for n, u, s in zip(trials.number, trials.u[:, 0], trials.status, strict=True) if s == Status.COMPLETE
        )
        return inner.tell(state, trials)

    study = optuna_study(inner._replace(tell=tell), space=Space({"x": Float(0.0, 4.0)}))
    study.enqueue_trial({"x": 1.0})
    study.optimize(lambda trial: trial.suggest_float("x", 0.0, 4.0), n_trials=1)
    study.sampler = optuna.samplers.PartialFixedSampler({"x": 3.0}, study.sampler)
    study.optimize(lambda trial: trial.suggest_float("x", 0.0, 4.0), n_trials=1)
    study.sampler = study.sampler._base_sampler
    study.optimize(lambda trial: trial.suggest_float("x", 0.0, 4.0), n_trials=1)
    assert seen == [(0, 0.25), (1, 0.75)]


@pytest.mark.filterwarnings("ignore:PartialFixedSampler is experimental")
def test_some_parameters_of_a_given_space_can_be_held() -> None:
    study = optuna.create_study(sampler=optuna.samplers.PartialFixedSampler({"n": 5}, Sampler(jaxhp.bayes(), 3, space=SPACE)))
    study.optimize(suggested, n_trials=8)
    assert {t.params["n"] for t in study.trials} == {5} and len({t.params["x"] for t in study.trials}) == 8


def test_a_finite_sampler_that_is_done_says_so_and_goes_on_at_random(caplog: pytest.LogCaptureFixture) -> None:
    space = Space({"a": Int(1, 2), "b": Categorical(["u", "v"])})
    study = optuna_study(jaxhp.grid_search(), space=space)
    study.optimize(lambda t: t.suggest_int("a", 1, 2) + (t.suggest_categorical("b", ["u", "v"]) == "u"), n_trials=10)
    assert len({tuple(t.params.items()) for t in study.trials[:4]}) == 4
    assert [record.name for record in caplog.records if "nothing left" in record.message] == ["jaxhp.interop.optuna._sampler"]


def test_optunas_hyperband_shows_each_bracket_its_own_trials() -> None:
    rows: list[tuple[int, int, float, float]] = []

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0.0, 1.0)
        for step in range(1, 10):
            trial.report(x, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return x

    pruner = optuna.pruners.HyperbandPruner(max_resource=9)
    sampler = Sampler(recorder(rows), 0, space=Space({"x": Float(0.0, 1.0)}))
    study = optuna.create_study(study_name="brackets", sampler=sampler, pruner=pruner)
    study.optimize(objective, n_trials=30)
    ended = [number for number, status, _, _ in rows if status in (Status.COMPLETE, Status.STOPPED)]
    assert len(set(ended)) == len(ended) > 20  # each once, although lists of three brackets were read in turn


def test_equal_seeds_give_equal_studies_and_parameters_of_one_trial_are_independent() -> None:
    studies = [optuna_study(jaxhp.random_search(), seed) for seed in (1, 1, 2)]
    for study in studies:
        study.optimize(lambda t: t.suggest_float("a", 0, 1) + t.suggest_float("b", 0, 1), n_trials=3)
    a, b, c = ([t.params for t in study.trials] for study in studies)
    assert a == b != c
    assert all(params["a"] != params["b"] for params in a)


def test_threads_share_a_sampler_without_repeating_or_losing_a_trial() -> None:
    together = threading.Barrier(4, timeout=60)

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", -1.0, 1.0)
        if trial.number < 8:
            together.wait()  # four trials run at once
        return x * x

    study = optuna_study(jaxhp.bayes(), space=Space({"x": Float(-1.0, 1.0)}))
    study.optimize(objective, n_trials=20, n_jobs=4)
    xs = [t.params["x"] for t in study.trials]
    assert len(set(xs)) == 20 and study.best_value < 0.01


def test_constraints_are_outcomes_of_the_sampler() -> None:
    problems: list[jaxhp.Problem] = []
    told: list[tuple[int, int, list[float]]] = []
    inner = jaxhp.random_search()

    def init(problem: jaxhp.Problem, seed: int) -> Any:
        problems.append(problem)
        return inner.init(problem, seed)

    def tell(state: Any, trials: Trials) -> Any:
        told.extend(zip(trials.number.tolist(), trials.status.tolist(), trials.y.tolist(), strict=True))
        return inner.tell(state, trials)

    def constraints(trial: optuna.trial.FrozenTrial) -> tuple[float, float]:
        return trial.params["x"] - 0.5, float(trial.number)

    sampler = Sampler(inner._replace(init=init, tell=tell), 0, constraints_func=constraints)
    study = optuna.create_study(directions=["minimize", "maximize"], sampler=sampler)
    study.optimize(lambda t: (t.suggest_float("x", 0.0, 1.0), 7.0), n_trials=3)
    assert [(o.direction, o.threshold) for o in problems[-1].outcomes] == [
        ("minimize", None), ("maximize", None), ("minimize", 0.0), ("minimize", 0.0)
    ]  # fmt: skip
    x = study.trials[1].params["x"]
    assert (1, Status.COMPLETE, [x, -7.0, x - 0.5, 1.0]) in told
    assert list(study.trials[2].constraints.values()) == [study.trials[2].params["x"] - 0.5, 2.0]


@pytest.mark.parametrize("sampler", [jaxhp.nsga2(population=8), jaxhp.tpe()], ids=lambda s: s.name)
def test_several_objectives_and_a_constraint_give_the_points_of_a_study_of_ours(sampler: jaxhp.Sampler) -> None:
    """Apart from when the constraint is known: a study of ours knows of it before the first trial, Optuna after it."""
    theirs = optuna.create_study(
        directions=["minimize", "maximize"], sampler=Sampler(sampler, 3, space=SPACE, constraints_func=lambda t: [t.params["n"] - 30.0])
    )
    theirs.optimize(lambda t: (suggested(t), t.params["x"]), n_trials=24)
    ours = jaxhp.Study(SPACE, sampler=sampler, seed=3, directions={"a": "minimize", "b": "maximize"}, constraints={"c": "<= 30"})
    ours.optimize(lambda t: {"a": value(t.params), "b": t["x"], "c": float(t["n"])}, trials=24)
    assert [t.params for t in theirs.trials] == [t.params for t in ours.finished]
    assert [t.number for t in theirs.best_trials] == [t.number for t in ours.pareto]


def test_a_constraint_that_was_not_told_makes_a_failure() -> None:
    rows: list[tuple[int, int, float, float]] = []
    study = optuna_study(recorder(rows), space=Space({"x": Float(0.0, 1.0)}))

    def objective(trial: optuna.Trial) -> float:
        if trial.number != 1:
            trial.set_constraint("memory", -1.0)
        return trial.suggest_float("x", 0.0, 1.0)

    study.optimize(objective, n_trials=4)
    last = {number: status for number, status, _, _ in rows}
    assert last == {0: Status.COMPLETE, 1: Status.FAILED, 2: Status.COMPLETE}


@pytest.mark.parametrize("direction", [["minimize"], ["minimize", "minimize"]])
def test_a_nan_constraint_is_an_error_and_the_trial_is_kept(direction: list[str]) -> None:
    study = optuna.create_study(directions=direction, sampler=Sampler(jaxhp.random_search(), constraints_func=lambda trial: [math.nan]))
    with pytest.raises(SamplerError, match=r"constraints_func\(trial 0\) returned \(nan,\)"):
        study.optimize(lambda t: [t.suggest_float("x", 0, 1)] * len(direction), n_trials=3)
    assert [t.state for t in study.trials] == [TrialState.COMPLETE]


def test_a_sampler_of_one_metric_refuses_constraints_as_soon_as_there_are_some() -> None:
    study = optuna_study(jaxhp.bayes(), constraints_func=lambda trial: [1.0])
    with pytest.raises(SamplerError, match="constraint 0"):
        study.optimize(lambda t: t.suggest_float("x", 0, 1), n_trials=3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sampler(jaxhp.bayes), "is a pair of parentheses missing"),
        (lambda: Sampler(optuna.samplers.TPESampler()), "expected a sampler such as"),
        (lambda: Sampler(jaxhp.bayes(), -1), r"seed=-1\): expected an integer"),
        (lambda: Sampler(jaxhp.bayes(), True), r"seed=True\): expected an integer"),
        (lambda: Sampler(jaxhp.bayes(), space={"x": 1}), "expected a jaxhp.Space"),
        (lambda: Sampler(jaxhp.bayes(), constraints_func=[0.0]), r"constraints_func=\[0.0\]\): expected a function"),
    ],
)
def test_wrong_arguments_of_the_sampler_are_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(SamplerError, match=message):
        make()


def test_samplers_can_be_sent_to_other_processes_with_their_studies() -> None:
    for sampler, library in ((jaxhp.random_search(), pickle), (jaxhp.bayes(), cloudpickle)):
        study = optuna_study(sampler)
        study.optimize(suggested, n_trials=6)
        copy = pickle.loads(library.dumps(study))
        for one in (study, copy):
            one.optimize(suggested, n_trials=1)
        assert copy.trials[-1].params["n"] == study.trials[-1].params["n"]
        assert str(copy.sampler) == f"jaxhp.{sampler.name}"


def test_choices_may_be_any_objects_and_names_any_text() -> None:
    choices = [None, 1, True, 1.0, "1", float("nan")]
    study = optuna_study(jaxhp.bayes())
    study.optimize(lambda t: float(repr(t.suggest_categorical("a.b when=", choices)) == "'1'") + t.suggest_float("a", 0, 1), n_trials=12)
    assert {repr(t.params["a.b when="]) for t in study.trials} >= {"None", "'1'"}


# -- the pruner ------------------------------------------------------------------------------------------------------

SCHEDULERS = [
    jaxhp.asha(eta=3, max_steps=9),
    jaxhp.successive_halving(eta=3, trials=9),
    jaxhp.hyperband(max_steps=9),
    jaxhp.hyperband(max_steps=9, asynchronous=True),
    jaxhp.median_stopping(after=2),
    jaxhp.patience(4, scheduler=jaxhp.asha(eta=2)),
]


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=lambda s: s.name)
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_pruner_ends_the_trials_that_a_study_of_ours_ends(scheduler: jaxhp.Scheduler, direction: str) -> None:
    sign = 1.0 if direction == "minimize" else -1.0

    def curve(x: float, number: int) -> Iterator[tuple[int, float]]:
        noise = np.random.default_rng(number).normal(size=9)
        for step in range(1, 10):
            yield step, sign * (x * x + 1 / step + 0.3 * noise[step - 1])

    def theirs(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", -1.0, 1.0)
        for step, y in curve(x, trial.number):
            trial.report(y, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return y

    def ours(trial: jaxhp.Trial) -> float:
        for step, y in curve(trial["x"], trial.number):
            if trial.report(step, y):
                break
        return y

    space = Space({"x": Float(-1.0, 1.0)})
    study = optuna.create_study(direction=direction, sampler=Sampler(jaxhp.sobol(), 0, space=space), pruner=Pruner(scheduler))
    study.optimize(theirs, n_trials=27)
    own = jaxhp.Study(space, sampler=jaxhp.sobol(), scheduler=scheduler, direction=direction, seed=0).optimize(ours, trials=27)
    reports = [len(t.intermediate_values) for t in study.trials]
    assert reports == [int(own._fold.reached(t.number)) for t in own.finished]
    states = {Status.COMPLETE: TrialState.COMPLETE, Status.STOPPED: TrialState.PRUNED}
    assert [t.state for t in study.trials] == [states[t.status] for t in own.finished]
    assert 3 < sum(n < 9 for n in reports) < 27


def test_a_trial_without_reports_is_not_pruned_and_asking_twice_changes_nothing() -> None:
    study = optuna.create_study(pruner=Pruner(jaxhp.asha(eta=2)))
    assert not study.ask().should_prune()
    good, bad = study.ask(), study.ask()
    good.report(0.0, 1)
    assert not good.should_prune()
    bad.report(1.0, 1)
    assert [bad.should_prune(), bad.should_prune(), good.should_prune()] == [True, True, False]


def test_a_pruner_serves_several_studies_and_can_be_copied() -> None:
    pruner = Pruner(jaxhp.median_stopping(after=1))
    for copy in (pruner, cloudpickle.loads(cloudpickle.dumps(pruner))):
        for _ in range(2):
            study = optuna.create_study(pruner=copy)
            best, worst = study.ask(), study.ask()
            best.report(0.0, 0)
            best.report(0.0, 1)
            worst.report(1.0, 1)
            assert worst.should_prune() and not best.should_prune()


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (jaxhp.pbt(every=5), "changes trials while they run"),
        (jaxhp.pb2(every=5), "changes trials while they run"),
        (jaxhp.hyperband(), "max_steps="),
        (jaxhp.asha, "is a pair of parentheses missing"),
    ],
)
def test_schedulers_that_make_no_sense_for_single_trials_are_refused(scheduler: Any, message: str) -> None:
    with pytest.raises(SchedulerError, match=message):
        Pruner(scheduler)


def test_schedulers_are_told_every_trial_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the same trials again tells nothing new, also where the list is part of the study."""
    told: list[int] = []
    inner = jaxhp.schedulers.to_the_end()

    def tell(state: Any, rows: Trials) -> Any:
        told.extend(rows.number[rows.status == Status.COMPLETE].tolist())
        return inner.tell(state, rows)

    def keep(state: Any, numbers: Ints) -> Any:
        return inner.keep(state, numbers)

    study = optuna.create_study(pruner=Pruner(inner._replace(tell=tell, keep=keep)))
    slow = study.ask()
    for number in range(1, 6):
        trial = study.ask()
        trial.report(1.0, 1)
        assert not trial.should_prune()
        study.tell(trial, float(number))
    slow.report(1.0, 1)
    slow.should_prune()
    slow.should_prune()
    assert told == [1, 2, 3, 4, 5]


# -- whole studies ---------------------------------------------------------------------------------------------------


def lively() -> optuna.Study:
    """An Optuna study in which everything happened."""
    study = optuna.create_study(study_name="lively", direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1))

    def objective(trial: optuna.Trial) -> float:
        opt = trial.suggest_categorical("opt", ["sgd", "adam", None])
        rate = trial.suggest_float("opt.rate", 1e-5, 1.0, log=True)
        momentum = trial.suggest_float("momentum", 0.0, 0.9, step=0.1) if opt == "sgd" else 0.0
        nesterov = trial.suggest_categorical("nesterov", [True, False]) if opt == "sgd" else False
        decay = trial.suggest_int("decay", 1, 5) if nesterov else 0
        trial.set_user_attr("seconds", 3)
        trial.set_user_attr("note", "text")
        for step in range(3):
            trial.report(-rate + step, step)
        if trial.number % 5 == 3:
            raise optuna.TrialPruned
        if trial.number % 7 == 4:
            raise ValueError
        return -rate + momentum + decay

    study.optimize(objective, n_trials=30, catch=(ValueError,))
    return study


def told(study: optuna.Study) -> list[tuple[Any, ...]]:
    """What both kinds of study know of a trial, in Optuna's words."""
    return [
        (t.number, t.state, t.values, t.params, t.intermediate_values, t.distributions, t.datetime_start, t.datetime_complete)
        for t in study.trials
    ]


def test_a_study_goes_from_optuna_to_us_and_back_unchanged() -> None:
    study = lively()
    ours = from_optuna(study)
    assert ours.name == "lively" and ours.outcomes[0].direction == "maximize"
    assert {name: p.when for name, p in ours.space.parameters.items() if p.when} == {
        "momentum": {"opt": "sgd"}, "nesterov": {"opt": "sgd"}, "decay": {"nesterov": True}
    }  # fmt: skip
    assert ours.best.value == study.best_value and ours.best.params == study.best_params
    statuses = {TrialState.COMPLETE: Status.COMPLETE, TrialState.PRUNED: Status.STOPPED, TrialState.FAIL: Status.FAILED}
    assert [t.status for t in ours.finished] == [statuses[t.state] for t in study.trials]
    assert ours.finished[0].values["seconds"] == 3.0
    assert [t.seconds for t in ours.finished] == [t.duration.total_seconds() for t in study.trials if t.duration is not None]
    back = to_optuna(ours)
    assert told(back) == told(study)
    assert back.trials[0].user_attrs == {"seconds": 3.0}


@pytest.mark.parametrize("storage", [None, "sqlite"])
def test_a_study_goes_from_us_to_optuna_and_back_unchanged(storage: str | None, rdb: RDBStorage, tmp_path: Path) -> None:
    def objective(trial: jaxhp.Trial) -> dict[str, float]:
        if trial.number == 5:
            raise ValueError("boom")
        x = trial.params.get("momentum", 0.5)
        for step in (1, 2):
            if trial.report(step, {"loss": x + 1 / step, "memory": 7.0}):
                break
        return {"loss": x + 1 / step, "memory": 8.0 * trial["width"], "extra": 3.0}

    study = jaxhp.Study(
        CONDITIONAL,
        sampler=jaxhp.sobol(),
        scheduler=jaxhp.asha(eta=2),
        metric="loss",
        constraints={"memory": "<= 300"},
        seed=5,
        stochastic=True,
    )
    study.optimize(objective, trials=14)
    study.ask()
    given_back = study.ask()
    study.release(given_back)
    theirs = to_optuna(study, storage=None if storage is None else rdb, name="copy")
    assert theirs.study_name == "copy"
    states = [t.state for t in theirs.trials]
    assert states[-2:] == [TrialState.RUNNING, TrialState.WAITING]
    assert {TrialState.PRUNED, TrialState.COMPLETE, TrialState.FAIL} <= set(states)
    feasible = [t.number for t in theirs.trials if t.state == TrialState.COMPLETE and t.constraints["memory"] <= 0]
    assert theirs.best_trial.number == study.best_observed.number and study.best_observed.number in feasible
    back = from_optuna(theirs, space=CONDITIONAL, sampler=jaxhp.sobol())
    assert back.outcomes == study.outcomes and back.space == study.space and back.seed == study.seed
    table = study.trials
    table.y[table.status == Status.REPORTED, 1] = math.nan  # Optuna's reports are of one metric
    for name in Trials._fields:
        np.testing.assert_allclose(getattr(back.trials, name), getattr(table, name), rtol=1e-9, atol=1e-5, err_msg=name)
    for a, b in zip(back.finished, study.finished, strict=True):
        assert (a.number, a.status, a.params, a.values, a.error) == (b.number, b.status, b.params, b.values, b.error)
    assert [t.number for t in back.running] == [t.number for t in study.running]
    assert back.ask().params == given_back.params
    assert from_optuna(theirs, name="other", storage=f"sqlite:///{tmp_path}/j.db").space.parameters == study.space.parameters


def test_optunas_plots_and_importances_show_our_study() -> None:
    def objective(trial: jaxhp.Trial) -> float:
        for step in range(1, 4):
            trial.report(step, value(trial.params) + 1 / step)
        return value(trial.params)

    study = to_optuna(jaxhp.Study(SPACE, sampler=jaxhp.sobol(), metric="loss").optimize(objective, trials=24))
    importances = optuna.importance.get_param_importances(study, evaluator=optuna.importance.PedAnovaImportanceEvaluator())
    assert set(importances) == set(SPACE.names) and sum(importances.values()) == pytest.approx(1.0)
    show = optuna.visualization
    history = show.plot_optimization_history(study)
    assert len(history.data[0].y) == 24 and min(history.data[0].y) == study.best_value
    assert set(show.plot_parallel_coordinate(study).layout.xaxis.ticktext) == {"Objective Value", *SPACE.names}
    assert len(show.plot_intermediate_values(study).data) == 24
    for plot in (show.plot_slice, show.plot_contour, show.plot_edf, show.plot_timeline, show.plot_rank):
        assert plot(study).data


def test_optunas_pareto_plot_shows_our_front() -> None:
    study = jaxhp.Study(SPACE, sampler=jaxhp.sobol(), directions={"error": "minimize", "speed": "maximize"})
    study.optimize(lambda t: {"error": value(t.params), "speed": t["x"]}, trials=16)
    theirs = to_optuna(study)
    assert theirs.metric_names == ["error", "speed"]
    assert [t.number for t in theirs.best_trials] == [t.number for t in study.pareto]
    figure = optuna.visualization.plot_pareto_front(theirs)
    assert sum(len(trace.x) for trace in figure.data) == 16
    assert figure.layout.xaxis.title.text == "error"


def test_the_space_is_the_union_of_what_was_suggested() -> None:
    study = optuna.create_study()
    for low, high in ((1, 5), (3, 9)):
        study.add_trial(
            create_trial(
                params={"n": 4, "g": 3.5, "x": 4.0, "one": 1.0},
                distributions={
                    "n": IntDistribution(low, high), "g": FloatDistribution(low, high, step=0.5),
                    "x": FloatDistribution(low / 2, high, log=True), "one": FloatDistribution(1.0, 1.0),
                },
                value=1.0,
            )
        )  # fmt: skip
    assert from_optuna(study).space.parameters == {"n": Int(1, 9), "g": Float(1.0, 9.0, step=0.5), "x": Float(0.5, 9.0, log=True)}


def study_of(*trials: tuple[dict[str, Any], TrialState]) -> optuna.Study:
    study = optuna.create_study()
    kinds = {"c": CategoricalDistribution(["u", "v"]), "x": FloatDistribution(0.0, 1.0), "y": FloatDistribution(0.0, 1.0)}
    for params, state in trials:
        distributions = {name: kinds[name] for name in params}
        values = 1.0 if state == TrialState.COMPLETE else None
        study.add_trial(create_trial(params=params, distributions=distributions, value=values, state=state))
    return study


def test_trials_that_were_pruned_before_they_had_all_parameters_are_left_out() -> None:
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0.0, 1.0)
        if trial.number % 2:
            raise optuna.TrialPruned
        return x + trial.suggest_float("y", 0.0, 1.0)

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=6)
    for space in (None, Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})):
        with pytest.warns(UserWarning, match="trials 1, 3, 5 did not get all parameters"):
            ours = from_optuna(study, space=space)
        assert list(ours.space.names) == ["x", "y"]
        assert [t.value for t in ours.finished] == [t.value for t in study.trials if t.value is not None]


def test_a_failure_that_never_got_its_parameters_is_left_out_and_said() -> None:
    full = {"x": 0.5, "y": 0.25}
    study = study_of((full, TrialState.COMPLETE), ({"x": 0.5}, TrialState.FAIL), (full, TrialState.FAIL), (full, TrialState.COMPLETE))
    with pytest.warns(UserWarning, match="trial 1 did not get all parameters and is left out; later numbers move down"):
        ours = from_optuna(study)
    assert [(t.number, t.status) for t in ours.finished] == [(0, Status.COMPLETE), (1, Status.FAILED), (2, Status.COMPLETE)]


def test_parameters_without_a_discernible_condition_need_a_space() -> None:
    study = study_of(({"x": 0.5, "c": "u"}, TrialState.COMPLETE), ({"x": 0.5, "y": 0.5, "c": "u"}, TrialState.COMPLETE))
    with pytest.raises(SpaceError, match=r"'y' is missing in trial 0, and no choice tells when; give space= with a condition"):
        from_optuna(study)
    with pytest.raises(SpaceError, match=r"trial 0 is no point of the space: 'y' is missing"):
        from_optuna(study, space=Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)}))
    assert len(from_optuna(study, space=Space({"x": Float(0.0, 1.0), "c": Categorical(["u", "v"])})).finished) == 2


def test_wrong_conversions_are_refused_with_a_remedy(tmp_path: Path) -> None:
    study = study_of(({"x": 0.5}, TrialState.COMPLETE))
    with pytest.raises(StudyError, match=r"expected an optuna\.Study"):
        from_optuna(jaxhp.Study(SPACE))
    with pytest.raises(StudyError, match=r"expected a jaxhp\.Study"):
        to_optuna(study)
    with pytest.raises(SpaceError, match="no trial has a parameter that varies"):
        from_optuna(optuna.create_study())
    place = f"sqlite:///{tmp_path}/j.db"
    from_optuna(study, storage=place, name="a")
    with pytest.raises(StudyError, match=r"study 'a' in .* has trials; give another name="):
        from_optuna(study, storage=place, name="a")


def test_times_and_waiting_trials_come_along() -> None:
    study = optuna.create_study()
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    trial = study.trials[0]
    trial.datetime_start = datetime(2024, 1, 1, 12)
    trial.datetime_complete = trial.datetime_start + timedelta(seconds=90)
    study.add_trial(trial)
    study.enqueue_trial({"x": 0.75})
    ours = from_optuna(study)
    assert ours.finished[1].seconds == 90.0
    assert [t.params for t in ours.running] == [{"x": 0.75}] and ours.ask().params == {"x": 0.75}
    assert to_optuna(ours).trials[1].datetime_start == datetime(2024, 1, 1, 12)


def test_an_infinite_value_comes_as_a_failure() -> None:
    study = optuna.create_study()
    study.add_trial(create_trial(params={"x": 0.5}, distributions={"x": FloatDistribution(0, 1)}, value=-math.inf))
    ours = from_optuna(study)
    assert ours.finished[0].status == Status.FAILED and ours.finished[0].error == "value is -inf"


def test_a_missing_optuna_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith("jaxhp.interop.optuna")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delattr(jaxhp.interop, "optuna")
    with pytest.raises(MissingExtra, match=r"jaxhp\[optuna\]"):
        _ = jaxhp.interop.optuna


def test_what_cannot_be_converted_founds_no_study(tmp_path: Path) -> None:
    theirs, url = optuna.create_study(), f"sqlite:///{tmp_path}/ours.db"
    theirs.optimize(lambda trial: trial.suggest_float("x", 0.0, 1.0), n_trials=3)
    with pytest.raises(SpaceError, match="trial 0 is no point of the space"):
        from_optuna(theirs, storage=url, space=Space({"y": Float(0.0, 1.0)}))
    assert len(from_optuna(theirs, storage=url).finished) == 3  # under the same name


@pytest.mark.parametrize("attribute", ["mine", 3, {"space": 3}])
def test_an_attribute_of_our_name_that_is_not_ours_is_left_alone(attribute: Any) -> None:
    theirs = optuna.create_study()
    theirs.set_user_attr("jaxhp", attribute)
    theirs.optimize(lambda trial: trial.suggest_float("x", 0.0, 1.0), n_trials=2)
    assert from_optuna(theirs).space.names == ("x",)


def test_what_to_optuna_wrote_and_somebody_changed_is_named() -> None:
    theirs = optuna.create_study()
    theirs.set_user_attr("jaxhp", {"space": 3, "outcomes": []})
    with pytest.raises(StudyError, match=r"user_attrs\['jaxhp'\], which to_optuna writes, cannot be read .*; delete it, and give space="):
        from_optuna(theirs)


def test_optunas_tables_are_not_put_beside_ours(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ours.db"
    study = jaxhp.Study(Space({"x": Float(0.0, 1.0)}), sampler=jaxhp.sobol(), storage=url).optimize(lambda trial: trial["x"], trials=2)
    for storage in (url, jaxhp.storage.MemoryLog()):
        with pytest.raises(StudyError, match="that holds jaxhp's own tables; name another file"):
            to_optuna(study, storage=storage)


@pytest.mark.parametrize("returned", [None, ["x"], 3, [[1.0]]])
def test_constraints_that_are_no_numbers_are_named(returned: Any) -> None:
    study = optuna.create_study(sampler=Sampler(jaxhp.random_search(), np.int64(3), constraints_func=lambda trial: returned))  # type: ignore[arg-type]
    with pytest.raises(SamplerError, match=r"constraints_func\(trial 0\) returned .*; return a list of numbers"):
        study.optimize(lambda trial: trial.suggest_float("x", 0.0, 1.0), n_trials=1)
