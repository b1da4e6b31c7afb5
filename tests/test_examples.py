"""The examples do what they say: they run, they learn, and values of hyperparameters never recompile."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import optax
import pytest

import jaxhp

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture(scope="module")
def digits() -> ModuleType:
    """examples/digits.py with three epochs instead of forty."""
    spec = importlib.util.spec_from_file_location("digits", EXAMPLES / "digits.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.EPOCHS = 3  # type: ignore[attr-defined]
    return module


def score(digits: ModuleType, seed: int = 0, **changed: Any) -> dict[str, float]:
    train, validation, _ = digits.split(seed=0)
    result: dict[str, float] = digits.score(digits.space.default_params() | changed, seed, train, validation)
    return result


def test_the_quadratic_example_runs() -> None:
    done = subprocess.run([sys.executable, str(EXAMPLES / "quadratic.py")], capture_output=True, text=True, check=True)
    assert "best of 100 trials" in done.stdout


def test_new_values_never_recompile_and_new_shapes_do(digits: ModuleType) -> None:
    score(digits)
    programs = digits.fit._cache_size()
    for changed in (
        {"learning_rate": 0.3},
        {"weight_decay": 0.1},
        {"dropout": 0.5},
        {"optimizer": "lion"},
        {"optimizer": "sgd", "momentum": 0.5},
        {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.01},
    ):
        score(digits, seed=1, **changed)
    assert digits.fit._cache_size() == programs
    score(digits, batch_size=128)
    assert digits.fit._cache_size() == programs + 1


def test_a_score_is_a_function_of_params_and_seed(digits: ModuleType) -> None:
    assert score(digits, dropout=0.3) == score(digits, dropout=0.3)
    assert score(digits, dropout=0.3) != score(digits, seed=1, dropout=0.3)


@pytest.mark.parametrize(
    "changed",
    [{"learning_rate": 0.01}, {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.1}, {"optimizer": "lion", "learning_rate": 0.003}],
)
def test_every_optimiser_learns(digits: ModuleType, changed: dict[str, Any]) -> None:
    assert score(digits, **changed)["accuracy"] > 0.6  # a guess is right one time in ten


def test_the_three_sets_are_disjoint_and_stratified(digits: ModuleType) -> None:
    sets = digits.split(seed=0)
    assert [len(y) for _, y in sets] == [997, 400, 400]
    rows = [{x.tobytes() for x in images} for images, _ in sets]
    assert not rows[0] & rows[1] and not rows[0] & rows[2] and not rows[1] & rows[2]
    for _, labels in sets:
        assert np.bincount(labels, minlength=10).min() >= 0.09 * len(labels)


@pytest.mark.parametrize("choice", [0, 1, 2])
def test_a_switched_transform_is_the_transform_itself(digits: ModuleType, choice: int) -> None:
    transforms = [optax.trace(0.9), optax.scale_by_adam(), optax.scale_by_lion()]
    params, gradient = np.ones(3, np.float32), np.array([0.1, -0.2, 0.3], np.float32)
    switched, plain = digits.switch(choice, transforms), transforms[choice]
    state, own = switched.init(params), plain.init(params)
    for _ in range(3):
        update, state = switched.update(gradient, state, params)
        expected, own = plain.update(gradient, own, params)
        np.testing.assert_allclose(update, expected, rtol=1e-6)


def test_the_digits_objective_tells_loss_and_accuracy(digits: ModuleType) -> None:
    study = jaxhp.Study(digits.space, sampler=jaxhp.random_search(), metric=digits.metric)
    study.enqueue(digits.space.default_params())
    study.optimize(digits.objective, trials=1, raise_errors=True)
    assert set(study.best.values) == {"loss", "accuracy"}
    assert set(digits.test(study.best.params)) == {"accuracy"}
