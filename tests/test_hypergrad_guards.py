"""Guards: gradients that lie are replaced by slopes over neighbouring runs, each for itself, and it is said why; sound ones are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhp import Forward, Guarded, Reverse, SmoothedSlope, Trainable, value_and_hypergrad
from jaxhp.train.hypergrad import Reason

KEY = jax.random.key(0)


def raw(trainable: Trainable, steps: int, wrt: Any, adjoint: Any) -> Callable[..., Any]:
    """The function, unguarded."""
    return value_and_hypergrad(trainable, steps, wrt, adjoint=adjoint, guard=False)


def close(a: Any, b: Any, tolerance: float) -> None:
    for left, right in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(left, right, rtol=tolerance)


def chaotic(top: float = 4.0) -> Trainable:
    """The logistic map, whose exact derivative grows exponentially, around a trend that the metric follows."""

    def step(s: Any, h: Any, batch: Any, key: Any, t: Any) -> Any:
        return jnp.clip(jnp.minimum(h["r"] * top, 4.0) * s * (1 - s), 1e-3, 1 - 1e-3), {}

    def evaluate(s: Any, h: Any, d: Any, key: Any) -> Any:
        return {"loss": 0.1 * s + jnp.square(h["r"] - 0.5), "worst": jnp.exp(200 * s) ** 2 * h["r"], "none": jnp.nan * h["r"]}

    return Trainable(lambda key, h: jnp.float32(0.3), step, evaluate, {"train": 0.0, "validation": 0.0})


@pytest.mark.parametrize("adjoint", [Reverse(), Forward()], ids=["reverse", "forward"])
def test_an_exploded_gradient_is_replaced_by_the_smoothed_slope(adjoint: Any) -> None:
    h = {"r": 0.97}
    _, exact, info = raw(chaotic(), 60, "r", adjoint)(h, KEY)
    assert abs(exact["r"]) > 1e3 and info.growth > 100
    value, gradient, told = value_and_hypergrad(chaotic(), 60, "r", adjoint=adjoint)(h, KEY)
    _, slope, _ = value_and_hypergrad(chaotic(), 60, "r", adjoint=SmoothedSlope())(h, KEY)
    assert told.replaced["r"] and told.reason["r"] in (Reason.EXPLODED, Reason.OPPOSED)
    assert told.words()["r"].startswith("replaced: ")
    close(gradient, slope, 1e-4)
    assert np.isfinite(value)


def test_a_sound_gradient_is_kept_to_the_bit_and_no_neighbour_is_trained() -> None:
    h = {"r": 0.6}  # a fixed point attracts
    _, exact, _ = raw(chaotic(), 60, "r", Reverse())(h, KEY)
    _, gradient, info = value_and_hypergrad(chaotic(), 60, "r", adjoint=Reverse())(h, KEY)
    assert gradient["r"] == exact["r"] and not info.replaced["r"] and np.isnan(info.slope["r"])
    _, tested, told = value_and_hypergrad(chaotic(), 60, "r", adjoint=Guarded(Reverse(), when="always"))(h, KEY)
    assert tested["r"] == exact["r"] and told.words() == {"r": "kept"} and told.slope["r"] > 0


def test_each_hyperparameter_is_judged_by_itself_and_arrays_keep_their_direction() -> None:
    """A square root at zero is a kink that no rule mends where the user writes it with a rule of his own."""

    @jax.custom_jvp
    def broken(x: Any) -> Any:
        return x

    @broken.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        return primals[0], jnp.nan * tangents[0]

    def evaluate(w: Any, h: Any, d: Any, key: Any) -> Any:
        return {"loss": 10 + broken(h["bad"]) + (h["many"] * jnp.arange(1.0, 4.0)).sum() + w}

    trainable = Trainable(
        lambda key, h: jnp.float32(0), lambda w, h, b, k, t: (w + h["good"] / 4, {}), evaluate, {"train": 0.0, "validation": 0.0}
    )
    h = {"bad": 2.0, "good": 1.0, "many": np.zeros(3, np.float32)}
    _, gradient, info = value_and_hypergrad(trainable, 4, tuple(h), adjoint=Reverse())(h, KEY)
    assert {name: bool(x) for name, x in info.replaced.items()} == {"bad": True, "good": False, "many": False}
    assert info.reason["bad"] == Reason.NOT_FINITE
    np.testing.assert_allclose(gradient["bad"], 1, rtol=0.1)
    np.testing.assert_allclose(gradient["many"], [1, 2, 3], rtol=1e-6)
    _, zeroed, told = value_and_hypergrad(trainable, 4, tuple(h), adjoint=Guarded(Reverse(), when="never"))(h, KEY)
    assert zeroed["bad"] == 0 and told.replaced["bad"] and zeroed["good"] == 1


def test_guards_can_be_mapped() -> None:
    function = value_and_hypergrad(chaotic(), 60, "r", adjoint=Reverse())
    rates = np.float32([0.6, 0.97])
    _, gradient, info = jax.vmap(function, (0, None))({"r": rates}, KEY)
    assert info.replaced["r"].tolist() == [False, True]
    for rate, slope in zip(rates, gradient["r"], strict=True):
        np.testing.assert_allclose(slope, function({"r": rate}, KEY)[1]["r"], rtol=1e-3)


def test_without_a_finite_value_the_gradient_is_zero_and_says_so() -> None:
    _, gradient, info = value_and_hypergrad(chaotic(), 3, "r", adjoint=Reverse(), metric="none")({"r": 0.9}, KEY)
    assert gradient["r"] == 0 and info.reason["r"] == Reason.DIVERGED and info.replaced["r"]


def test_smoothed_slopes_are_those_of_the_neighbourhood() -> None:
    def lone(loss: Any) -> Trainable:
        return Trainable(
            lambda key, h: jnp.float32(0),
            lambda s, h, b, k, t: (s, {}),
            lambda s, h, d, k: {"loss": loss(h)},
            {"train": 0.0, "validation": 0.0},
        )

    with pytest.warns(UserWarning, match="does not depend"):
        value_and_hypergrad(lone(lambda h: 1.0), 1, "x")({"x": 1.0}, KEY)
    logarithmic = lone(lambda h: jnp.log(h["x"]) * 3)
    for x in (0.01, 1.5):
        _, gradient, _ = value_and_hypergrad(logarithmic, 1, "x", adjoint=SmoothedSlope())({"x": x}, KEY)
        np.testing.assert_allclose(gradient["x"], 3 / x, rtol=1e-4)
    _, gradient, _ = value_and_hypergrad(lone(lambda h: jnp.log1p(-h["x"])), 1, "x", adjoint=SmoothedSlope())({"x": 0.9}, KEY)
    np.testing.assert_allclose(gradient["x"], -10, rtol=1e-4)
    linear = SmoothedSlope(scale={"x": "linear"})
    _, gradient, _ = value_and_hypergrad(lone(lambda h: 5 * h["x"]), 1, "x", adjoint=linear)({"x": 0.9}, KEY)
    np.testing.assert_allclose(gradient["x"], 5, rtol=1e-4)
    array = SmoothedSlope(4000, 0.01)
    _, gradient, _ = value_and_hypergrad(lone(lambda h: h["x"] @ jnp.float32([1, -2, 0])), 1, "x", adjoint=array)({"x": jnp.zeros(3)}, KEY)
    np.testing.assert_allclose(gradient["x"], [1, -2, 0], atol=0.15)
    cliff = lone(lambda h: jnp.where(h["x"] > 1, jnp.inf, -h["x"]))
    _, gradient, _ = value_and_hypergrad(cliff, 1, "x", adjoint=SmoothedSlope())({"x": 1.0}, KEY)
    assert np.isfinite(gradient["x"]) and gradient["x"] > 0
