"""The examples do what they say: they run, they learn, and values of hyperparameters never recompile."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxhp

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name: str, *arguments: str) -> str:
    """What an example prints."""
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "JAX_PLATFORMS": "cpu"})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def digits() -> ModuleType:
    """examples/digits_objective.py with three epochs instead of forty."""
    module = loaded("digits_objective")
    module.EPOCHS = 3  # type: ignore[attr-defined]
    return module


@pytest.fixture(scope="module")
def lanes() -> ModuleType:
    """examples/digits.py with a tenth of its steps."""
    module = loaded("digits")
    module.steps = 90  # type: ignore[attr-defined]
    return module


def score(digits: ModuleType, seed: int = 0, **changed: Any) -> dict[str, float]:
    train, validation, _ = digits.split(seed=0)
    result: dict[str, float] = digits.score(digits.space.default_params() | changed, seed, train, validation)
    return result


def test_the_quadratic_example_runs() -> None:
    assert "best of 100 trials" in run("quadratic")


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


# --- digits in lanes ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tuned(lanes: ModuleType) -> jaxhp.Study:
    study = jaxhp.Study(lanes.space, sampler=jaxhp.random_search(), metric=lanes.metric)
    defaults = lanes.space.default_params()
    for changed in (
        {},
        {"learning_rate": 0.01},
        {"learning_rate": 0.1, "optimizer": "sgd", "momentum": 0.9},
        {"learning_rate": 0.003, "optimizer": "lion", "depth": 1, "width": 32},
        {"dropout": 0.3, "batch_size": 64, "learning_rate": 0.003},
    ):
        study.enqueue(defaults | changed)
    return study.train(lanes.trainable(), trials=8, steps=lanes.steps, lanes=8, evaluate_every=30)


def test_digits_trains_every_optimiser_width_and_batch_size_in_one_program(tuned: jaxhp.Study, compilations: list[float]) -> None:
    assert all(t.values["accuracy"] > 0.6 for t in tuned.finished[:5]), [t.values for t in tuned.finished]  # a guess: 0.1
    more = tuned.train(tuned.lanes.trainable, trials=16)
    assert len(more.finished) == 16 and not compilations


def test_digits_tests_on_data_that_was_never_searched_on(tuned: jaxhp.Study) -> None:
    assert set(tuned.test()) == {"loss", "accuracy"}
    assert tuned.test() == tuned.test(tuned.best.params)


def test_units_and_layers_that_are_masked_out_change_nothing(lanes: ModuleType) -> None:
    from flax import nnx

    h = {"width": np.int32(32), "depth": np.int32(1), "dropout": np.float32(0.0)}
    x = np.random.default_rng(0).normal(size=(5, 64)).astype(np.float32)

    def network(disturbed: bool) -> Any:
        mlp = lanes.MLP(h, nnx.Rngs(0))
        if disturbed:
            mlp.logits.kernel[...] = mlp.logits.kernel[...].at[32:].set(9.0)  # of units that are not there
            mlp.hidden[1].kernel[...] = jnp.full_like(mlp.hidden[1].kernel[...], 9.0)  # of a layer that is not there
        return mlp(x)

    np.testing.assert_array_equal(network(False), network(True))


# --- more data, more hosts ------------------------------------------------------------------------------------------------------


def test_the_memory_mapped_example_learns() -> None:
    out = run("memory_mapped", "--examples", "20000")
    assert "best of 16 trials" in out and float(out.split("accuracy ")[1].split()[0]) > 0.6  # a guess: 0.1


def test_a_memory_mapped_stream_shows_every_row_once_an_epoch_and_always_in_the_same_order(tmp_path: Path) -> None:
    example = loaded("memory_mapped")
    example.write(tmp_path, 3 * example.BLOCK)
    stream = example.stream(tmp_path, batch=64)
    epoch = 3 * example.BLOCK
    epochs = [stream.read(i * epoch, (i + 1) * epoch)[0][:, 0] for i in range(3)]
    file = np.load(tmp_path / "x.npy")[:, 0]
    assert all(np.array_equal(np.sort(rows), np.sort(file)) for rows in epochs)
    assert not all(np.array_equal(rows, epochs[0]) for rows in epochs)
    np.testing.assert_array_equal(stream.read(1000, 5000)[0][:, 0], np.concatenate(epochs)[1000:5000])


@pytest.mark.skipif(importlib.util.find_spec("grain") is None, reason="grain is an optional install of the example: pip install grain")
def test_the_grain_example_learns() -> None:
    out = run("grain_stream")
    assert "best of 16 trials" in out and float(out.split("accuracy ")[1].split()[0]) > 0.8


def test_two_hosts_learn_from_each_other() -> None:
    out = run("several_hosts", "--hosts", "2", "--rounds", "1")
    for host in range(2):
        known = re.findall(rf"host {host} of 2, round 1: (\d+) trials known", out)  # after what the collectives say without a line's end
        assert len(known) == 1 and int(known[0]) > 16  # its own, and what the other one completed


def test_models_cut_over_two_devices_train_in_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
    assert "4 devices, 2 for each model: best of 16 trials has loss 0." in run("submesh")


def test_one_program_tunes_widths_depths_and_choices() -> None:
    study = loaded("digits_widths").main(trials=8, steps=72)
    assert len({(t.params["width"], t.params["layers"]) for t in study.finished}) > 4
    assert study.best.values["accuracy"] > 0.5  # a guess: 0.1


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Examples find `picture.py` beside them, as when they are run."""
    monkeypatch.syspath_prepend(str(EXAMPLES))


def test_decays_by_gradient_beat_one_decay_for_all(beside: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = loaded("per_layer_decay")
    monkeypatch.setattr(example, "STEPS", 60)
    study = example.descended(seed=0, trials=6)
    assert len(study.best.gradient) == 130
    assert study.best.value < study.finished[0].value
    assert study.test(repeats=2)["loss"] < study.test(study.finished[0].params, repeats=2)["loss"]
    monkeypatch.setattr(example, "PICTURE", tmp_path / "decays.svg")
    example.draw(study)
    assert ElementTree.parse(tmp_path / "decays.svg").getroot().tag.endswith("svg")


def test_weights_by_gradient_find_wrong_labels(beside: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = loaded("data_reweighting")
    monkeypatch.setattr(example, "STEPS", 40)
    d = example.data(seed=0)
    assert d.wrong.sum() == 100
    found = example.reweighted(d, seed=0, outer=5)
    assert found.auc[-1] > 0.9
    assert found.weights[d.wrong].mean() < found.weights[~d.wrong].mean()
    monkeypatch.setattr(example, "PICTURE", tmp_path / "weights.svg")
    example.draw(d, found)
    assert "wrong label" in (tmp_path / "weights.svg").read_text()


def test_a_schedule_descends_from_the_best_cosine(beside: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = loaded("schedule_by_gradient")
    monkeypatch.setattr(example, "STEPS", 25)
    monkeypatch.setattr(example, "SEEDS", 2)
    splits = example.data(seed=0)
    h = {"peak": jnp.float32(0.01), "warmup": jnp.float32(0.2), "final": jnp.float32(0.01)}
    before = example.cosine(h)
    assert before.shape == (25,)
    assert float(before.max()) == pytest.approx(np.log(0.01), abs=0.05)
    found = example.descended(splits, before, outer=12, seed=0)
    after, at_first = example.judged(splits, [found.knots, before])
    assert after < at_first
    monkeypatch.setattr(example, "PICTURE", tmp_path / "schedule.svg")
    example.draw(before, found)
    assert "by gradient" in (tmp_path / "schedule.svg").read_text()
