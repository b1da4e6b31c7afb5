"""Any optax optimiser may be differentiated through, by reverse and by forward mode; what has no derivative is refused, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxhp import Forward, Reverse, SmoothedSlope, Trainable, TrainableError, value_and_hypergrad

KEY = jax.random.key(0)

X = np.random.default_rng(3).normal(size=(8, 3)).astype(np.float32)
START = {
    "w": np.array([[0.3, 0.2], [0.1, -0.2], [0.3, 0.4]], np.float32),
    "v": np.array([0.5, -0.5], np.float32),
    "dead": np.zeros(2, np.float32),
}


def raw(trainable: Trainable, steps: int, wrt: Any, adjoint: Any) -> Callable[..., Any]:
    """The function, unguarded."""
    return value_and_hypergrad(trainable, steps, wrt, adjoint=adjoint, guard=False)


def fitted(optimizer: Any) -> Trainable:
    """A two-layer linear network with a parameter that never has a gradient."""

    def loss(p: Any) -> Any:
        return jnp.square(X @ p["w"] @ p["v"] - X.sum(1)).mean() + 0 * p["dead"].sum()

    def init(key: Any, h: Any) -> Any:
        params = jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(h["a"])), START)
        return {"params": params, "optimizer": optimizer(h).init(params)}

    def step(state: Any, h: Any, batch: Any, key: Any, t: Any) -> Any:
        value, slope = jax.value_and_grad(loss)(state["params"])
        updates, opt = optimizer(h).update(slope, state["optimizer"], state["params"])
        return {"params": optax.apply_updates(state["params"], updates), "optimizer": opt}, {"loss": value}

    return Trainable(init, step, lambda s, h, d, key: {"loss": loss(s["params"])}, {"train": 0.0, "validation": 0.0})


def by_name(name: str, **more: str) -> Callable[[Any], Any]:
    make = getattr(optax, name)
    return lambda h: make(h["a"], **{argument: h[source] for argument, source in more.items()})


WITH_B1 = ("adam", "adamw", "adamax", "nadam", "amsgrad", "radam", "yogi", "lamb", "adabelief", "novograd", "adan")
PLAIN = ("adagrad", "adadelta", "fromage", "lars", "sm3", "sign_sgd", "optimistic_gradient_descent", "adafactor")

OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    **{name: by_name(name, b1="b") for name in WITH_B1},
    **{name: by_name(name) for name in PLAIN},
    "sgd, momentum": by_name("sgd", momentum="b"),
    "sgd, nesterov": lambda h: optax.sgd(h["a"], h["b"], nesterov=True),
    "rmsprop, centred": lambda h: optax.rmsprop(h["a"], decay=h["b"], centered=True),
    "lion, decay": lambda h: optax.lion(h["a"], weight_decay=h["b"]),
    "adopt": lambda h: optax.contrib.adopt(h["a"], b1=h["b"]),
    "cosine": lambda h: optax.adamw(optax.cosine_decay_schedule(h["a"], 6, h["b"])),
    "joined": lambda h: optax.sgd(
        optax.join_schedules([optax.linear_schedule(0.01, h["a"], 1), optax.cosine_decay_schedule(h["a"], 4)], [1]), h["b"]
    ),
    "exponential": lambda h: optax.sgd(optax.exponential_decay(h["a"], 3, 0.5), h["b"]),
    "polynomial": lambda h: optax.sgd(optax.polynomial_schedule(h["a"], 0.01, h["b"], 4)),
    "chain": lambda h: optax.chain(
        optax.clip_by_global_norm(h["b"]), optax.scale_by_adam(), optax.add_decayed_weights(h["b"]), optax.scale_by_learning_rate(h["a"])
    ),
    "adaptive clip": lambda h: optax.chain(optax.adaptive_grad_clip(h["b"]), optax.sgd(h["a"])),
    "trust ratio": lambda h: optax.chain(optax.scale_by_trust_ratio(), optax.ema(h["b"]), optax.sgd(h["a"])),
    "twice": lambda h: optax.MultiSteps(optax.adam(h["a"]), 2).gradient_transformation(),
    "masked": lambda h: optax.masked(optax.adam(h["a"]), {"w": True, "v": True, "dead": False}),
}


WITHOUT_B = {*PLAIN, "masked", "twice"}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimiser_goes_through_reverse_and_forward_mode(name: str) -> None:
    trainable = fitted(OPTIMIZERS[name])
    h = {"a": np.float32(0.05), "b": np.float32(0.7)}
    wrt = ("a", "b") if name not in WITHOUT_B else ("a",)
    with jax.disable_jit():  # uncompiled, all share the few operations they are made of
        _, backward, _ = raw(trainable, 2, wrt, Reverse())(h, KEY)
        _, forward, _ = raw(trainable, 2, wrt, Forward())(h, KEY)
    for argument in wrt:
        np.testing.assert_allclose(backward[argument], forward[argument], rtol=1e-3, atol=1e-6)
        assert np.isfinite(forward[argument]) and forward[argument] != 0


def test_what_acts_through_signs_alone_is_refused_and_smoothed_slopes_do_it() -> None:
    trainable = fitted(lambda h: optax.lion(h["a"], b1=h["b"]))
    with pytest.raises(TrainableError, match="'b' acts on 'loss' through rounding, comparisons or signs alone") as caught:
        value_and_hypergrad(trainable, 5, "b", adjoint=Reverse())({"a": 0.02, "b": 0.9}, KEY)
    assert "SmoothedSlope()" in str(caught.value)
    value_and_hypergrad(trainable, 5, "b", adjoint=SmoothedSlope(2))({"a": 0.02, "b": 0.9}, KEY)


def test_an_optimiser_that_looks_at_its_arguments_is_refused_by_their_name() -> None:
    with pytest.raises(TrainableError, match=r"init uses hparams\['b'\] as a Python value"):
        value_and_hypergrad(fitted(lambda h: optax.sgd(optax.exponential_decay(0.1, 3, h["b"]))), 2, "b")({"a": 0.1, "b": 0.5}, KEY)


def test_an_optimiser_that_wants_more_than_gradients_says_so() -> None:
    with pytest.raises(TypeError, match="value"):
        value_and_hypergrad(fitted(lambda h: optax.polyak_sgd(h["a"])), 3, "a")({"a": 0.1}, KEY)


def test_dead_units_under_adam_leave_the_gradient_exact() -> None:
    with jax.enable_x64(True):
        function = raw(fitted(OPTIMIZERS["adam"]), 5, "a", Reverse())
        gradient = function({"a": 0.05, "b": 0.7}, KEY)[1]["a"]
        up, down = (function({"a": 0.05 + d, "b": 0.7}, KEY)[0] for d in (1e-5, -1e-5))
        np.testing.assert_allclose(gradient, (up - down) / 2e-5, rtol=1e-6)


def test_kinks_have_derivative_zero_and_other_points_their_own() -> None:
    from jaxhp.train.hypergrad._kinks import with_finite_derivatives

    def function(x: Any) -> Any:
        def body(c: Any, _: Any) -> Any:
            return jax.lax.cond(c.sum() > -1, jnp.sqrt, lambda c: c**0.5, c), None

        root = jax.jit(lambda x: jax.lax.scan(body, x, jnp.arange(2))[0])(x)
        return (root + jnp.where(x > 0, 1 / x, 0.0) + jnp.cbrt(x) + jnp.where(x > 0, jnp.log(x) * jnp.sqrt(x - 0.5), 0.0)).sum()

    at = jnp.array([0.0, 2.0])
    assert np.isnan(jax.grad(function)(at)).any()
    np.testing.assert_allclose(with_finite_derivatives(function)(at), function(at), rtol=1e-6)
    slope = jax.grad(with_finite_derivatives(function))(at)
    assert slope[0] == 0
    np.testing.assert_allclose(slope[1], jax.grad(function)(at[1:])[0], rtol=1e-5)
    np.testing.assert_allclose(jax.jvp(with_finite_derivatives(function), (at,), (jnp.ones(2),))[1], slope.sum(), rtol=1e-5)
