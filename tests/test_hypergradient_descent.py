"""Descent along told gradients: what it finds, how it takes bad news, where its starts come from, and the laws."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest

import jaxhp
from jaxhp import Categorical, Float, Int, Sampler, Space, Study
from jaxhp._types import Floats, Outcome, Problem, Status
from jaxhp.errors import SamplerError
from jaxhp.storage import MemoryLog
from jaxhp.testing import check_sampler, check_study, rows

D = 50
CENTRE = np.random.default_rng(0).uniform(0.1, 0.9, D)
CUBE = Space({f"x{i}": Float(0.0, 1.0) for i in range(D)})
PLANE = Space({"x": Float(-2.0, 2.0), "y": Float(-2.0, 2.0)})
MIXED = Space(
    {
        "rate": Float(1e-3, 1.0, log=True),
        "width": Int(1, 8),
        "optimizer": Categorical(["sgd", "adam"]),
        "momentum": Float(0.0, 0.99, when={"optimizer": "sgd"}),
    }
)


def bowl(trial: Any) -> tuple[float, dict[str, float]]:
    x = np.array(list(trial.params.values()))
    return float(((x - CENTRE) ** 2).sum()), dict(zip(trial.params, (2 * (x - CENTRE)).tolist(), strict=True))


def plane(trial: Any) -> tuple[float, dict[str, float]]:
    x, y = trial["x"], trial["y"]
    return (x - 1) ** 2 + 10 * (y + 0.5) ** 2, {"x": 2 * (x - 1), "y": 20 * (y + 0.5)}


@pytest.mark.parametrize("outer", [None, optax.sgd(2.0), optax.rmsprop(0.05), optax.polyak_sgd(10.0)])
def test_a_bowl_in_50_dims_is_descended_in_100_trials(outer: Any) -> None:
    study = Study(CUBE, sampler=jaxhp.hypergradient_descent(outer, starts=1, patience=100))
    assert study.optimize(bowl, trials=100).best.value < 1e-3
    assert Study(CUBE, sampler=jaxhp.random_search()).optimize(lambda t: bowl(t)[0], trials=300).best.value > 1.0


def test_a_maximised_value_is_climbed() -> None:
    study = Study(PLANE, sampler=jaxhp.hypergradient_descent(starts=1), direction="maximize")
    study.optimize(lambda t: (-plane(t)[0], {name: -g for name, g in plane(t)[1].items()}), trials=60)
    assert study.best.value > -1e-2


def test_the_steps_are_those_of_the_optimiser_in_the_logits() -> None:
    study = Study(PLANE, sampler=jaxhp.hypergradient_descent(optax.sgd(0.25), starts=1))
    study.optimize(plane, trials=2)
    first, second = study.trials.u
    z = np.log(first / (1 - first)) - 0.25 * study.trials.gradient[0] * first * (1 - first)
    assert np.allclose(second, 1 / (1 + np.exp(-z)), rtol=1e-12)


def test_the_first_trials_are_the_start_up_design_and_each_then_begins_a_descent() -> None:
    study, design = (Study(PLANE, sampler=s, seed=3) for s in (jaxhp.hypergradient_descent(starts=4), jaxhp.samplers.startup()))
    assert [t.params for t in study.ask(4)] == [t.params for t in design.ask(4)]
    for trial in study.running:
        value, gradient = plane(trial)
        study.tell(trial, value, gradient=gradient)
    order = np.argsort(study.trials.y[:4, 0], kind="stable")
    following = study.ask(4)
    distance = np.abs(np.array([t.u for t in following]) - study.trials.u[:4][order])
    assert ((distance > 0) & (distance < 0.03)).all()  # 0.1 in the logits


def test_a_bad_trial_halves_the_step_and_a_second_one_drops_the_start() -> None:
    study = Study(PLANE, sampler=jaxhp.hypergradient_descent(optax.sgd(0.1), starts=1))
    study.optimize(plane, trials=2)
    before, bad = study.trials.u[1], study.ask()
    logit = lambda u: np.log(u / (1 - u))  # noqa: E731
    study.tell(bad, math.nan)
    again = study.ask()
    assert np.allclose(logit(again.u) - logit(before), 0.5 * (logit(bad.u) - logit(before)))
    value, gradient = plane(again)
    study.tell(again, value, gradient=gradient)  # forgiven
    for told in ({"x": math.inf, "y": 0.0}, None):
        trial = study.ask()
        study.tell(trial, 3.0, gradient=told)
    new, best = study.ask(), study.best.u
    assert 0.01 < np.abs(logit(new.u) - logit(best)).max() < 4.0  # another start, near the best


@pytest.mark.parametrize("gradient", [{"x": math.inf, "y": 1.0}, {"x": math.nan, "y": math.nan}, {"x": 1e30, "y": 1.0}, {}, None])
def test_what_is_not_finite_never_reaches_the_optimiser(gradient: Any) -> None:
    seen: list[Floats] = []

    def update(g: Any, state: Any, params: Any = None) -> Any:
        import jax

        jax.debug.callback(lambda x: seen.append(np.asarray(x)), g)
        return -0.01 * g, state

    study = Study(PLANE, sampler=jaxhp.hypergradient_descent(optax.GradientTransformation(lambda p: (), update), starts=2))

    def sometimes(trial: Any) -> Any:
        value, slopes = plane(trial)
        return (value, gradient) if trial.number % 3 == 1 else (math.nan, slopes) if trial.number % 7 == 3 else (value, slopes)

    study.optimize(sometimes, trials=30)
    assert len(seen) > 5
    assert np.isfinite(seen).all()
    assert np.abs(seen).max() < 100


def test_a_parameter_whose_slope_is_not_told_stays_where_it_is() -> None:
    study = Study(PLANE, sampler=jaxhp.hypergradient_descent(starts=1, patience=100))
    study.optimize(lambda t: (plane(t)[0], {"x": plane(t)[1]["x"]}), trials=40)
    assert len({t["y"] for t in study.finished}) == 1
    assert abs(study.best["x"] - 1) < 0.1


def test_a_start_without_improvement_is_dropped_when_its_patience_ends() -> None:
    study = Study(PLANE, sampler=jaxhp.hypergradient_descent(optax.sgd(1e-6), starts=1, patience=3))
    study.optimize(lambda t: (1.0 + t.number, {"x": 1.0, "y": 1.0}), trials=7)
    moved = np.abs(np.diff(study.trials.u, axis=0)).max(axis=1)
    assert (moved > 1e-2).tolist() == [False, False, False, True, False, False]  # number 4 begins anew


def test_discrete_parameters_stay_and_inactive_ones_are_left_out() -> None:
    study = Study(MIXED, sampler=jaxhp.hypergradient_descent(starts=2), seed=1)

    def objective(trial: Any) -> Any:
        value = (math.log10(trial["rate"]) + 2) ** 2 + 0.1 * abs(trial["width"] - 3) + trial.params.get("momentum", 0.5) ** 2
        slopes = {"rate": 2 * (math.log10(trial["rate"]) + 2) / trial["rate"] / math.log(10)}
        return value, slopes | ({"momentum": 2 * trial["momentum"]} if "momentum" in trial else {})

    study.optimize(objective, trials=80)
    kinds = {(t["width"], t["optimizer"]) for t in study.finished}
    assert len(kinds) <= 3
    assert abs(math.log10(study.best["rate"]) + 2) < 0.2


def test_in_a_sequence_the_best_trials_of_the_first_sampler_are_the_starts() -> None:
    study = Study(PLANE, sampler=jaxhp.sequence((jaxhp.sobol(), 20), (jaxhp.hypergradient_descent(starts=3), None)), seed=2)
    study.optimize(lambda t: plane(t)[0], trials=20)  # without gradients
    best = np.argsort(study.trials.y[:, 0], kind="stable")[:3]
    assert np.allclose([t.u for t in study.ask(3)], study.trials.u[best], rtol=1e-12)  # run again, for their gradients
    for trial in study.running:
        value, gradient = plane(trial)
        study.tell(trial, value, gradient=gradient)
    study.optimize(plane, trials=80)
    assert study.best.value < 0.1 * study.trials.y[:20].min()


def test_in_a_sequence_starts_whose_gradient_is_known_go_on_at_once() -> None:
    study = Study(PLANE, sampler=jaxhp.sequence((jaxhp.sobol(), 20), (jaxhp.hypergradient_descent(starts=3), None)), seed=2)
    study.optimize(plane, trials=20)
    best = np.argsort(study.trials.y[:, 0], kind="stable")[:3]
    assert (np.abs(np.array([t.u for t in study.ask(3)]) - study.trials.u[best]) > 1e-3).all()


def test_more_trials_at_once_than_starts_are_scouts_near_the_best() -> None:
    study = Study(PLANE, sampler=jaxhp.hypergradient_descent(starts=2))
    study.optimize(plane, trials=10)
    asked = np.array([t.u for t in study.ask(6)])
    assert len(np.unique(asked, axis=0)) == 6
    best = study.best.u
    logits = np.log(asked[2:] / (1 - asked[2:])) - np.log(best / (1 - best))  # the first two go on with the descents
    assert (np.abs(logits).max(axis=1) < 2.5).all()


def test_a_constraint_on_metrics_turns_a_descent_back() -> None:
    study = Study(PLANE, sampler=jaxhp.hypergradient_descent(starts=1), constraints={"size": "<= 0.5"}, metric="loss")

    def objective(trial: Any) -> Any:
        value, gradient = plane(trial)
        return {"loss": value, "size": trial["x"]}, gradient

    study.optimize(objective, trials=80)
    assert 0.3 < study.best["x"] <= 0.5


def test_a_constraint_of_the_space_shortens_a_step() -> None:
    space = Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)}).where("x + y <= 1.2")
    study = Study(space, sampler=jaxhp.hypergradient_descent(starts=1))
    study.optimize(lambda t: (-t["x"] - t["y"], {"x": -1.0, "y": -1.0}), trials=40)
    assert 1.1 < study.best["x"] + study.best["y"] <= 1.2


@pytest.mark.parametrize("space", [PLANE, MIXED, Space({"x": Float(0.0, 1.0), "n": Int(1, 9)}).where("10 * x + n <= 9.5")])
def test_it_keeps_the_laws(space: Space) -> None:
    check_sampler(jaxhp.hypergradient_descent(starts=3, patience=2), space)


def test_it_keeps_the_laws_in_combinations() -> None:
    descent = jaxhp.hypergradient_descent(starts=2, patience=2)
    check_sampler(jaxhp.sequence((jaxhp.sobol(), 6), (descent, None)), PLANE)
    check_sampler(jaxhp.mixture((jaxhp.freeze(descent, {"width": 3}), 1), (jaxhp.sobol(), 1)), MIXED)


def test_a_study_of_it_keeps_the_laws() -> None:
    def make(**arguments: Any) -> Study:
        return Study(PLANE, sampler=jaxhp.hypergradient_descent(starts=2, patience=2), metric="y0", seed=5, **arguments)

    check_study(make, MemoryLog, trials=10)


def test_a_frozen_parameter_does_not_hide_whose_trials_are_whose() -> None:
    study = Study(MIXED, sampler=jaxhp.freeze(jaxhp.hypergradient_descent(starts=1), {"width": 3, "optimizer": "sgd", "momentum": 0.3}))
    study.optimize(lambda t: (math.log(t["rate"]) ** 2, {"rate": 2 * math.log(t["rate"]) / t["rate"]}), trials=40)
    y = study.trials.y[:, 0]
    assert (np.diff(y) < 0).all()  # one descent


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"starts": 0}, "starts: expected a positive number, got 0"),
        ({"patience": 1.5}, r"patience: expected a positive number, got 1\.5"),
        ({"outer": "adam"}, r"outer='adam': expected an optax transformation, such as optax.adam\(0.1\)"),
        ({"outer": 0.1}, "outer=0.1: expected an optax transformation"),
    ],
)
def test_arguments_are_checked_at_the_door(arguments: Any, message: str) -> None:
    with pytest.raises(SamplerError, match=message):
        jaxhp.hypergradient_descent(**arguments)


def test_a_study_that_has_nothing_to_descend_is_refused() -> None:
    with pytest.raises(SamplerError, match=r"n: none is continuous.*use jaxhp.bayes\(\)"):
        Study(Space({"n": Int(1, 4)}), sampler=jaxhp.hypergradient_descent())
    with pytest.raises(SamplerError, match="a gradient is of one objective, and this study has a, b"):
        Study(PLANE, sampler=jaxhp.hypergradient_descent(), directions={"a": "minimize", "b": "minimize"})


def test_an_optimiser_that_searches_along_lines_is_refused_at_its_first_step() -> None:
    study = Study(PLANE, sampler=jaxhp.hypergradient_descent(optax.lbfgs(), starts=1))
    with pytest.raises(SamplerError, match="cannot step by a gradient, a value and a point alone"):
        study.optimize(plane, trials=3)


def test_foreign_trials_are_starts_and_are_never_the_best() -> None:
    sampler: Sampler = jaxhp.hypergradient_descent(starts=1)
    problem = Problem(PLANE, PLANE.dims, (Outcome("y"),))
    foreign = rows(np.array([-1, -2]), np.array([[0.7, 0.4], [0.2, 0.2]]), np.array([[1.0], [2.0]]), Status.COMPLETE)
    state = sampler.tell(sampler.init(problem, 0), foreign)
    assert state.best is None
    assert np.allclose(sampler.ask(state, np.array([0])), [[0.7, 0.4]])


OUTERS: dict[str, Any] = {
    "adam": lambda: optax.adam(0.1),
    "another rate": lambda: optax.adam(0.2),
    "another momentum": lambda: optax.adam(0.1, b1=0.7),
    "an array": lambda: optax.adam(np.array([0.1, 0.2])),
    "a schedule": lambda: optax.adam(optax.cosine_decay_schedule(0.1, 1000)),
    "a longer one": lambda: optax.adam(optax.cosine_decay_schedule(0.1, 2000)),
    "a chain": lambda: optax.chain(optax.clip(1.0), optax.adam(0.1)),
    "noise": lambda: optax.add_noise(0.1, 0.5, jax.random.key(1)),
    "other noise": lambda: optax.add_noise(0.1, 0.5, jax.random.key(2)),
    "jitted": lambda: optax.inject_hyperparams(optax.adam)(learning_rate=0.1),
    "one's own": lambda: optax.GradientTransformation(lambda p: (), lambda g, state, params=None: (-0.01 * g, state)),
    "another of one's own": lambda: optax.GradientTransformation(lambda p: (), lambda g, state, params=None: (-0.02 * g, state)),
}


def test_the_name_tells_outer_optimisers_apart_in_every_process() -> None:
    names = {key: jaxhp.hypergradient_descent(make()).name for key, make in OUTERS.items()}
    assert names == {key: jaxhp.hypergradient_descent(make()).name for key, make in OUTERS.items()}
    assert len({jaxhp.hypergradient_descent().name, *names.values()}) == len(names) + 1
    code = "import jaxhp, optax; print(jaxhp.hypergradient_descent(optax.chain(optax.clip(1.0), optax.adam(0.1))).name)"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True, env=environment)
    assert done.stdout.strip() == names["a chain"]


def test_a_study_that_goes_on_with_another_outer_optimiser_says_so(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    for rate in (0.1, 0.1, 0.3):
        study = Study(PLANE, sampler=jaxhp.hypergradient_descent(optax.adam(rate), starts=1), storage=storage, name="s", seed=1)
        study.optimize(plane, trials=1)
    changes = [r["sampler"] for r in study._log.read("s") if r["kind"] == "sampler"]
    assert changes == [study.sampler]


def test_jax_is_loaded_at_the_first_step_and_not_before() -> None:
    code = (
        "import sys, jaxhp\n"
        "s = jaxhp.Study(jaxhp.Space({'x': jaxhp.Float(0.0, 1.0)}), sampler=jaxhp.hypergradient_descent(starts=1))\n"
        "t = s.ask(); before = 'jax' in sys.modules\n"
        "s.tell(t, 1.0, gradient={'x': 1.0}); s.ask(); print(before, 'jax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True).stdout == "False True\n"
