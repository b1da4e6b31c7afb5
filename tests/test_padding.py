"""`check_padding`: what padding changes is found at its step and leaf, what it does not change agrees, what is known to fail is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import DATA, WIDTHS, widening

import jaxhp
from jaxhp import Study, Trainable, TrainableError, check_padding, padded
from jaxhp.train._padding import PaddingReport

WIDE = 12
UNITS = np.random.default_rng(1).normal(size=(WIDE, 7)).astype(np.float32)  # of each unit its weights: in, bias, out
H = {"rate": 0.01, "width": 5}


def network(optimizer: optax.GradientTransformation | None = None, activation: Callable[[Any], Any] = jnp.tanh, **more: Any) -> Trainable:
    """One hidden layer, padded to twelve units, five of which are there: each unit has its own weights at any size, the others are zero."""
    opt = optimizer or optax.sgd(0.1)
    x = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    y = np.sin(x[:, :2])

    def make(width: int) -> Trainable:
        def loss(p: Any) -> jax.Array:
            return ((activation(x @ p["in"].T + p["bias"]) @ p["out"] - y) ** 2).mean()

        def init(key: jax.Array, hparams: Any) -> Any:
            drawn = UNITS[:width] * (jnp.arange(width) < hparams["width"])[:, None]
            p = {"in": drawn[:, :4], "bias": 0.1 * drawn[:, 4], "out": drawn[:, 5:]}
            return {"p": p, "o": opt.init(p), **{name: f(width) for name, f in more.items()}}

        def step(state: Any, hparams: Any, batch: Any, key: jax.Array, t: jax.Array) -> Any:
            gradient = jax.grad(loss)(state["p"])
            updates, new = opt.update(gradient, state["o"], state["p"])
            return state | {"p": optax.apply_updates(state["p"], updates), "o": new}, {}

        return Trainable(init, step, lambda s, h, split, key: {"loss": loss(s["p"])}, {"train": x, "validation": x})

    return padded(make, width=WIDE)


def test_what_is_padded_with_zeros_agrees() -> None:
    report = check_padding(network(optax.adamw(0.01)), {"width": 5})
    assert isinstance(report, PaddingReport) and report.agrees and report.deviation < 1e-4
    assert report.sizes == {"width": 5} and report.padded == {"width": WIDE} and report.steps == 20
    assert report.metrics["loss"][0] == pytest.approx(report.metrics["loss"][1], abs=1e-6)
    assert str(report).startswith("width 5 padded to 12: agree over 20 steps") and "in the end loss 0." in str(report)


def test_an_activation_that_lifts_missing_units_parts_as_soon_as_what_reads_them_has_moved() -> None:
    report = check_padding(network(activation=jax.nn.sigmoid), {"width": 5}, steps=4)  # sigmoid(0) is one half
    assert not report.agrees and report.step == 2 and "['p']" in report.leaf and report.deviation > 0.01
    assert f"part at step 2, in {report.leaf}, which is off by" in str(report) and "(tolerance 0.001)" in str(report)


@pytest.mark.parametrize("rate", [1e-4, 1e-2])
def test_a_small_learning_rate_hides_nothing(rate: float) -> None:
    uneven = optax.chain(optax.scale_by_param_block_rms(), optax.sgd(rate))
    assert check_padding(network(uneven), {"width": 5}, steps=4, tolerance=0.05).step == 1


def test_a_draw_that_depends_on_the_shape_parts_in_the_initial_state() -> None:
    report = check_padding(network(noise=lambda width: jnp.arange(width) / width), {"width": 5}, steps=1)
    assert report.step == 0 and report.leaf == "['noise']" and "part in the initial state" in str(report)


def test_numbers_that_are_not_finite_agree_with_their_like_only() -> None:
    def told(*padded_and_small: tuple[float, float]) -> PaddingReport:
        made = network(odd=lambda width: [jnp.float32(a if width == WIDE else b) for a, b in padded_and_small])
        return check_padding(made, {"width": 5}, steps=1)

    assert told((np.nan, np.nan), (np.inf, np.inf)).agrees
    report = told((1.0, 1.0), (np.nan, 1.0), (2.0, 2.0))
    assert report.leaf == "['odd'][1]" and report.step == 0 and report.deviation == np.inf
    assert told((np.inf, -np.inf)).leaf == "['odd'][0]"


def test_counts_and_keys_are_compared_bit_by_bit() -> None:
    assert check_padding(network(key=lambda width: jax.random.key(3)), {"width": 5}, steps=1).agrees
    assert check_padding(network(count=lambda width: jnp.int32(width)), {"width": 5}, steps=1).leaf == "['count']"


def test_deeper_states_may_have_more_leaves_but_none_may_be_missing_or_larger() -> None:
    assert check_padding(network(layers=lambda width: {str(i): jnp.zeros(1) for i in range(width)}), {"width": 5}, steps=1).agrees
    with pytest.raises(TrainableError, match=r"leaf \['layers'\]\['of 5'\] of the truly small state is not in the padded one: layers must"):
        check_padding(network(layers=lambda width: {f"of {width}": jnp.zeros(1)}), {"width": 5})
    with pytest.raises(TrainableError, match=r"leaf \['flat'\]: \[20\] of the truly small state is no corner of the padded one's \[13\]"):
        check_padding(network(flat=lambda width: jnp.zeros(25 - width)), {"width": 5})


def test_streams_and_supervised_networks_are_checked_too() -> None:
    def read(start: int, stop: int) -> Any:
        i = np.arange(start, stop) % 40
        return tuple(a[i] for a in DATA["train"])

    assert check_padding(widening(), H, steps=5).agrees
    assert check_padding(widening(data=DATA | {"train": jaxhp.Stream(read, batch=8)}), H, steps=5).agrees


# -- the door ------------------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[Any, dict[str, Any], str]] = {
    "not padded": (network().make(12), {}, "trainable: its shapes depend on no hyperparameter, so nothing is padded"),
    "the largest": (network(), {"hparams": {"width": 12}}, "hparams: at these sizes nothing is padded; choose width below 12"),
    "beyond": (network(), {"hparams": {"width": 13}}, r"hparams\['width'\]: 13 is not in 1 ... 12"),
    "no size": (network(), {"hparams": {"rate": 0.1}}, "nothing is padded; choose width below 12"),
    "text": (network(), {"hparams": {"width": "5"}}, r"hparams\['width'\]: expected a number \(a choice as its index\), got '5'"),
    "no dict": (network(), {"hparams": 5}, "hparams: expected a dict such as"),
    "steps": (network(), {"steps": 0}, "steps: expected a positive integer, got 0"),
    "tolerance": (network(), {"tolerance": -1.0}, "tolerance: expected a positive number, got -1.0"),
    "adafactor": (
        network(optax.adafactor(0.1)),
        {},
        "the optimiser cannot train padded arrays: Adafactor's statistics .* docs/structure.md",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_are_refused(case: str) -> None:
    trainable, arguments, message = WRONG[case]
    with pytest.raises(TrainableError, match=message):
        check_padding(trainable, **({"hparams": {"width": 5}} | arguments))


def test_a_study_does_not_begin_to_train_padded_arrays_with_an_unsafe_optimiser() -> None:
    study = Study(WIDTHS, sampler=jaxhp.random_search(), metric="loss")
    with pytest.raises(TrainableError, match="Adafactor's statistics"):
        study.train(widening(optimizer=lambda h: optax.masked(optax.adafactor(h["rate"]), True)), trials=4, steps=4, buckets=1)
    assert study._fold.course.run is None
