"""The default sampler: what it is made of, for which problem, and that it ends with a finite space."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jaxhp
from jaxhp import Categorical, Float, Int, Ordinal, Sampler, Space, SpaceExhausted, Study, Trial
from jaxhp._types import Outcome, Problem, Status, Trials
from jaxhp.pareto import hypervolume
from jaxhp.samplers import startup_size
from jaxhp.testing import rows

CUBE = Space({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})
TREE = Space(
    {
        "opt": Categorical(["sgd", "adam", "none"]),
        "momentum": Ordinal([0.0, 0.5, 0.9], when={"opt": "sgd"}),
        "beta": Ordinal([0.9, 0.99], when={"opt": "adam"}),
        "n": Int(1, 6),
    }
)
TWO = {"loss": "minimize", "speed": "maximize"}
OBJECTIVES = (Outcome("loss"), Outcome("size"))


def told(sampler: Sampler, n: int, outcomes: tuple[Outcome, ...]) -> Any:
    """The state after n trials."""
    return sampler.tell(sampler.init(Problem(CUBE, CUBE.dims, outcomes), 3), results(n, len(outcomes)))


def results(n: int, m: int) -> Trials:
    sobol = jaxhp.sobol()
    u = sobol.ask(sobol.init(Problem(CUBE, CUBE.dims, (Outcome("y"),)), 1), np.arange(n))
    y = np.stack([(u[:, 0] - i / m) ** 2 + u[:, 1] for i in range(m)], axis=1)
    return rows(np.arange(n), u, y, Status.COMPLETE)


def constraints(n: int) -> tuple[Outcome, ...]:
    return tuple(Outcome(f"c{i}", threshold=0.5) for i in range(n))


# -- what it is made of --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("d", "size"), [(1, 4), (3, 4), (5, 6), (20, 10)])
def test_it_starts_with_the_defaults_then_sobol_and_goes_on_with_what_fits_the_metrics(d: int, size: int) -> None:
    assert startup_size(d) == size
    space = Space({f"x{i}": Float(0.0, 1.0, default=0.25 if i == 0 else None) for i in range(d)})
    sobol = jaxhp.sobol()
    first = sobol.ask(sobol.init(Problem(space, space.dims, (Outcome("y"),)), 3), np.arange(size))[1:].tolist()
    for directions, fitting in (({"loss": "minimize"}, jaxhp.bayes()), (TWO, jaxhp.tpe())):
        answer = dict.fromkeys(directions, 0.5)
        studies = [Study(space, seed=3, directions=directions, sampler=sampler) for sampler in (None, fitting)]
        points = [[study.tell(study.ask(), answer).u.tolist() for _ in range(size + 15)] for study in studies]
        assert points[0][0] == [0.25 if i == 0 else 0.5 for i in range(d)]
        assert points[0][1:size] == first
        assert points[0] == points[1]


@pytest.mark.parametrize("outcomes", [OBJECTIVES, (Outcome("loss"), *constraints(1)), (Outcome("loss"), *constraints(63))])
def test_with_several_metrics_the_first_200_trials_are_modelled_and_all_others_bred_from_what_they_found(
    outcomes: tuple[Outcome, ...],
) -> None:
    auto, tpe, nsga2 = samplers = jaxhp.auto(), jaxhp.tpe(), jaxhp.nsga2(20)
    before = [told(sampler, 195, outcomes) for sampler in samplers]
    numbers = np.arange(195, 210)
    assert np.array_equal(auto.ask(before[0], numbers), tpe.ask(before[1], numbers[:5]))
    _, _, bred = after = [told(sampler, 200, outcomes) for sampler in samplers]
    assert bred.breeding
    assert np.array_equal(auto.ask(after[0], numbers[5:]), nsga2.ask(bred, numbers[5:]))


def test_more_constraints_than_tpe_takes_are_bred_for_from_the_first() -> None:
    outcomes = (Outcome("loss"), *constraints(64))
    with pytest.raises(jaxhp.SamplerError, match="up to 63 constraints"):
        told(jaxhp.tpe(), 0, outcomes)
    auto, nsga2 = jaxhp.auto(), jaxhp.nsga2(20)
    for n in (0, 30):
        numbers = np.arange(n, n + 10)
        assert np.array_equal(auto.ask(told(auto, n, outcomes), numbers), nsga2.ask(told(nsga2, n, outcomes), numbers))


def test_a_study_that_is_opened_again_continues_bit_for_bit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("jaxhp.samplers._auto.FIRST", 20)
    found = []
    for stops in ((40,), (15, 20, 33, 40)):
        for stop in stops:
            study = Study(CUBE, directions=TWO, seed=1, storage=f"sqlite:///{tmp_path}/{len(stops)}.db")
            study.optimize(objective, trials=stop)
        assert study.sampler == "auto()"
        found.append([trial.u.tolist() for trial in study.finished])
    assert len(found[0]) == 40 and found[0] == found[1]


def objective(trial: Trial) -> dict[str, float]:
    x, y = trial["x"], trial["y"]
    return {"loss": (x - 0.3) ** 2 + y, "speed": x - y}


# -- a finite space ------------------------------------------------------------------------------------------------------


def until_the_end(study: Study, batch: int) -> Iterator[dict[str, Any]]:
    while True:
        try:
            trials = study.ask(batch)
        except SpaceExhausted:
            return
        for trial in trials:
            n = trial["n"]
            study.tell(trial, {"loss": n + len(trial.params), "speed": -float(n), "memory": float(n)})
            yield trial.params


@pytest.mark.parametrize("batch", [1, 7, 500])
@pytest.mark.parametrize("directions", [TWO, {"loss": "minimize"}])
def test_every_configuration_comes_once_and_then_nothing_is_left(directions: dict[str, str], batch: int) -> None:
    many = Space({"n": Int(1, 15), "k": Int(1, 16)})  # more than are modelled
    few = Space({"n": Int(1, 100), "k": Int(1, 100)}).where(lambda p: p["n"] + p["k"] <= 9, name="low")  # 36 of 10,000
    for space, size in ((TREE, 36), (many, 240), (few, 36)):
        study = Study(space, directions=directions, constraints={"memory": "<= 4"} if len(directions) == 1 else {}, seed=2)
        found = [str(params) for params in until_the_end(study, batch)]
        assert len(found) == len(set(found)) == size


def test_what_tpe_would_repeat_is_bred_unless_results_are_noisy() -> None:
    def distinct(sampler: Sampler, stochastic: bool = False) -> int:
        study = Study(TREE, sampler=sampler, directions=TWO, stochastic=stochastic, seed=0)
        return len({str(study.tell(study.ask(), {"loss": 0.0, "speed": 0.0}).params) for _ in range(36)})

    assert distinct(jaxhp.auto()) == 36 > distinct(jaxhp.tpe())
    assert distinct(jaxhp.auto(), stochastic=True) < 36


# -- what it finds -------------------------------------------------------------------------------------------------------


def test_it_finds_more_than_breeding_alone_early_and_than_models_alone_late() -> None:
    """ZDT1 in 8 floats."""
    space = Space({f"x{i}": Float(0.0, 1.0) for i in range(8)})

    def zdt1(trial: Trial) -> dict[str, float]:
        x = np.array(list(trial.params.values()))
        g = 1.0 + 9.0 * x[1:].mean()
        return {"a": float(x[0]), "b": float(g * (1.0 - np.sqrt(x[0] / g)))}

    def volumes(sampler: Sampler) -> list[float]:
        study = Study(space, sampler=sampler, directions={"a": "minimize", "b": "minimize"}, seed=0)
        y = np.array([list(trial.values.values()) for trial in study.optimize(zdt1, trials=600).finished])
        return [hypervolume(y[:n], np.array([1.1, 4.0])) for n in (100, 600)]

    auto, modelled, bred = (volumes(sampler) for sampler in (jaxhp.auto(), jaxhp.tpe(), jaxhp.nsga2(20)))
    assert auto[0] == modelled[0] > 1.05 * bred[0]
    assert auto[1] > modelled[1]
