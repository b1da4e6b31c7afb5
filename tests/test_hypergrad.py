"""Hypergradients: equal to closed forms, finite differences and each other; guarded where they lie; refused with the reason."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import bowl, classifier

import jaxhp
from jaxhp import (
    Categorical,
    Float,
    Forward,
    Guarded,
    Implicit,
    Int,
    Lanes,
    OneStep,
    Reverse,
    SmoothedSlope,
    Space,
    Stream,
    Trainable,
    TrainableError,
    Truncated,
    lane_key,
    unit_gradient,
    value_and_hypergrad,
)
from jaxhp.train.hypergrad import Auto, cg, identity, neumann

KEY = jax.random.key(0)
EXACT = {"step": Reverse(), "sqrt": Reverse("sqrt"), "whole": Reverse(None), "forward": Forward()}


def raw(trainable: Trainable, steps: int, wrt: Any, adjoint: Any, **more: Any) -> Callable[..., Any]:
    """The function, unguarded."""
    return value_and_hypergrad(trainable, steps, wrt, adjoint=adjoint, guard=False, **more)


def close(a: Any, b: Any, tolerance: float) -> None:
    for left, right in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(left, right, rtol=tolerance, atol=tolerance * np.abs(right).max(initial=1e-12))


# -- what they are equal to --------------------------------------------------------------------------------------------------------


def ridge(rate: float = 0.2) -> tuple[Trainable, Any]:
    """Descent on |X w - y|^2 / n + sum_j penalty_j w_j^2, and the closed form of the validation loss and its gradient, in float64."""
    rng = np.random.default_rng(0)
    x, xv = rng.normal(size=(30, 5)), rng.normal(size=(20, 5))
    truth = np.array([1.0, -1.0, 0.5, 0.0, 2.0])
    y, yv = x @ truth + rng.normal(size=30), xv @ truth + rng.normal(size=20)

    def penalised(w: Any, penalty: Any, batch: Any) -> Any:
        return jnp.square(batch[0] @ w - batch[1]).mean() + (penalty * jnp.square(w)).sum()

    def step(state: Any, h: Any, batch: Any, key: Any, t: Any) -> Any:
        loss, slope = jax.value_and_grad(penalised)(state["params"], h["penalty"], batch)
        return {"params": state["params"] - rate * slope, "seen": state["seen"] + 1}, {"loss": loss}

    def closed(penalty: Any) -> tuple[Any, Any]:
        h = x.T @ x / 30 + np.diag(penalty)
        w = np.linalg.solve(h, x.T @ y / 30)
        residual = xv @ w - yv
        return np.square(residual).mean(), -np.linalg.solve(h, 2 * xv.T @ residual / 20) * w

    trainable = Trainable(
        init=lambda key, h: {"params": jnp.zeros(5), "seen": jnp.int32(0)},
        step=step,
        evaluate=lambda s, h, d, key: {"loss": jnp.square(d[0] @ s["params"] - d[1]).mean()},
        data={"train": (x, y), "validation": (xv, yv)},
    )
    return trainable, closed


@pytest.mark.parametrize(
    "adjoint",
    [Reverse(), Reverse("sqrt"), Forward(), Implicit(cg(50, 1e-14)), Implicit(neumann(2000, 0.3)), Truncated(500)],
    ids=["reverse", "sqrt", "forward", "cg", "neumann", "truncated"],
)
def test_ridge_penalties_have_the_gradient_of_the_closed_form(adjoint: Any) -> None:
    with jax.enable_x64(True):
        trainable, closed = ridge()
        penalty = np.array([0.1, 0.2, 0.05, 0.3, 0.02])
        value, gradient, info = raw(trainable, 800, "penalty", adjoint)({"penalty": penalty}, KEY)
        expected, slope = closed(penalty)
        assert gradient["penalty"].dtype == jnp.float64
        np.testing.assert_allclose(value, expected, rtol=1e-10)
        np.testing.assert_allclose(gradient["penalty"], slope, rtol=1e-6)
        if isinstance(adjoint, Implicit):
            assert info.stationarity < 1e-10 and info.residual < 1e-6
            assert info.words() == {"penalty": "kept"}


def test_damping_and_the_identity_do_what_they_say() -> None:
    with jax.enable_x64(True):
        trainable, _ = ridge()
        penalty = {"penalty": np.full(5, 0.1)}
        x, y = trainable.data["train"]
        xv, yv = trainable.data["validation"]
        h = 2 * (x.T @ x / 30 + 0.1 * np.eye(5))
        w = np.linalg.solve(h, 2 * x.T @ y / 30)
        along = 2 * xv.T @ (xv @ w - yv) / 20
        _, damped, _ = raw(trainable, 800, "penalty", Implicit(cg(50, 1e-14), damping=0.7))(penalty, KEY)
        np.testing.assert_allclose(damped["penalty"], -np.linalg.solve(h + 0.7 * np.eye(5), along) * 2 * w, rtol=1e-6)
        _, plain, info = raw(trainable, 800, "penalty", Implicit(identity(0.5)))(penalty, KEY)
        np.testing.assert_allclose(plain["penalty"], -0.5 * along * 2 * w, rtol=1e-6)
        assert info.residual > 0.01


def test_an_implicit_gradient_before_rest_is_suspect_and_guarded() -> None:
    trainable, _ = ridge(0.01)
    h = {"penalty": jnp.full(5, 0.1)}
    _, gradient, info = raw(trainable, 10, "penalty", Implicit())(h, KEY)
    assert info.stationarity > 0.1
    assert info.words()["penalty"].startswith("suspect: training has not come to rest")
    _, guarded, told = value_and_hypergrad(trainable, 10, "penalty", adjoint=Implicit())(h, KEY)
    assert np.isfinite(told.slope["penalty"])
    if not told.replaced["penalty"]:
        close(guarded, gradient, 1e-6)


def network() -> Trainable:
    """A small MLP under momentum and decay, every hyperparameter an array or a number; minibatches by rows, in whatever precision is on."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(24, 4))
    y = np.tanh(x @ rng.normal(size=4))

    def out(p: Any, x: Any) -> Any:
        return (jnp.tanh(x @ p["in"]) @ p["out"])[:, 0]

    def step(state: Any, h: Any, batch: Any, key: Any, t: Any) -> Any:
        x, y = batch
        noise = 0.01 * jnp.sin(t + state["phase"])

        def loss(p: Any) -> Any:
            decay = sum(d * jnp.square(w).sum() for d, w in zip(h["decay"], (p["in"], p["out"]), strict=True))
            return (jnp.square(out(p, x) - y - noise) * (1 + h["emphasis"] * y)).mean() + decay

        value, slope = jax.value_and_grad(loss)(state["params"])
        velocity = jax.tree.map(lambda v, g: h["momentum"] * v + g, state["velocity"], slope)
        params = jax.tree.map(lambda p, v: p - h["rate"] * v, state["params"], velocity)
        return {"params": params, "velocity": velocity, "t": t + 1, "key": state["key"], "phase": state["phase"]}, {"loss": value}

    first, second = rng.normal(size=(4, 5)), rng.normal(size=(5, 1)) / 2

    def init(key: Any, h: Any) -> Any:
        params = {"in": h["scale"] * first, "out": jnp.asarray(second)}
        phase = jax.random.key_data(key).sum() % 7
        return {"params": params, "velocity": jax.tree.map(jnp.zeros_like, params), "t": jnp.int32(0), "key": key, "phase": phase}

    return Trainable(
        init,
        step,
        lambda s, h, d, key: {"loss": jnp.square(out(s["params"], d[0]) - d[1]).mean(), "t": s["t"]},
        {"train": (x[:16], y[:16]), "validation": (x[16:], y[16:])},
        rows=lambda key, t: (5 * t + 3 * jnp.arange(6)) % 16,
        epoch=3,
    )


POINT = {"rate": 0.05, "momentum": 0.6, "decay": np.array([0.02, 0.005]), "scale": 0.7, "emphasis": 0.3}
ALL = tuple(POINT)


@pytest.fixture(scope="module")
def exact() -> dict[str, Any]:
    return {name: raw(network(), 17, ALL, adjoint) for name, adjoint in EXACT.items()}


def test_exact_adjoints_agree_with_finite_differences_and_with_each_other(exact: dict[str, Any]) -> None:
    with jax.enable_x64(True):
        told = {name: function(POINT, KEY)[1] for name, function in exact.items()}
        step = 1e-5
        for name in ALL:
            for place in np.ndindex(np.shape(POINT[name])):
                direction = np.zeros(np.shape(POINT[name]))
                direction[place] = step
                up, down = (exact["forward"](POINT | {name: POINT[name] + side * direction}, KEY)[0] for side in (1, -1))
                for gradient in told.values():
                    np.testing.assert_allclose(gradient[name][place], (up - down) / (2 * step), rtol=1e-6)
        for gradient in told.values():
            close(gradient, told["step"], 1e-12)


def test_mapped_is_single_and_so_is_compiled(exact: dict[str, Any], compilations: list[float]) -> None:
    with jax.enable_x64(True):
        points = {name: np.stack([x, 0.9 * np.asarray(x)]) for name, x in POINT.items()}
        keys = list(jax.random.split(KEY, 2))
        value, gradient, info = jax.jit(jax.vmap(exact["step"]))(points, jnp.stack(keys))
        assert info.growth.shape == (2,) and info.adjoint == "Reverse(checkpoint='step')"
        for i in range(2):
            one, slope, _ = exact["step"]({name: x[i] for name, x in points.items()}, keys[i])
            close((value[i], {name: g[i] for name, g in gradient.items()}), (one, slope), 1e-10)
        exact["step"](POINT, keys[1])
        before = len(compilations)
        exact["step"](POINT | {"rate": 0.04}, keys[0])
        assert len(compilations) == before


def test_sqrt_covers_every_number_of_steps() -> None:
    steps = (1, 2, 3, 7, 12, 13)

    def both(rate: Any) -> Any:
        start = 1.0
        result = []
        for n in steps:
            trainable = Trainable(
                lambda key, h: jnp.float32(start),
                lambda w, h, batch, key, t: (w - h["rate"] * (1.0 + t) * w, {}),
                lambda w, h, split, key: {"loss": w},
                {"train": 0.0, "validation": 0.0},
            )
            result.append([raw(trainable, n, "rate", a)({"rate": rate}, KEY)[1]["rate"] for a in (Reverse("sqrt"), Truncated(5, "sqrt"))])
        return result

    told = np.array(jax.jit(both)(0.03))
    for (whole, last), n in zip(told, steps, strict=True):
        factors = 1 - 0.03 * np.arange(1, n + 1)
        terms = -np.arange(1, n + 1) / factors * factors.prod()  # of d/drate prod (1 - rate t), one per step
        np.testing.assert_allclose([whole, last], [terms.sum(), terms[-5:].sum()], rtol=1e-5)


# -- what they train ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["classifier", "bowl"])
def test_the_value_is_what_a_lane_computes(name: str) -> None:
    """Segments of an epoch (5 steps) repeat their batches, shorter ones follow the trial's own step."""
    trainable, segment, seed = (classifier(), 5, 0) if name == "classifier" else (bowl(), 3, 2**40 + 3)
    lanes = Lanes(trainable, {"rate": np.float32(0.1)}, width=2, segment=segment, seed=seed)
    state = lanes.refill(lanes.init(), [1], [7], {"rate": np.float32([0.05])}, 3 * segment, replicates=[2])
    for _ in range(3):
        state, metrics = lanes.run(state)
    function = value_and_hypergrad(trainable, 3 * segment, "rate", adjoint=SmoothedSlope(2), seed=seed, segment=segment)
    value, _, _ = function({"rate": np.float32(0.05)}, lane_key(seed, 7, 2))
    np.testing.assert_allclose(value, metrics["loss"][1], rtol=1e-5)


def test_a_stream_is_read_for_all_steps() -> None:
    x = np.linspace(2, 4, 12, dtype=np.float32)
    data = {"train": Stream(lambda start, stop: x[np.arange(start, stop) % 12], 3), "validation": np.float32(3)}

    def step(w: Any, h: Any, batch: Any, key: Any, t: Any) -> Any:
        return w - h["rate"] * (w - batch.mean()), {}

    trainable = Trainable(lambda key, h: jnp.float32(0), step, lambda w, h, d, key: {"loss": (w - d) ** 2}, data)
    value, gradient, _ = raw(trainable, 6, "rate", Reverse())({"rate": 0.2}, KEY)

    def by_hand(rate: Any) -> Any:
        w = 0.0
        for t in range(6):
            w = w - rate * (w - x[np.arange(3 * t, 3 * t + 3) % 12].mean())
        return (w - 3) ** 2

    close((value, gradient["rate"]), jax.value_and_grad(by_hand)(0.2), 1e-5)


def descent() -> Trainable:
    """w <- w - rate 2 (w - t), measured by (w - 3)^2."""
    return Trainable(
        lambda key, h: jnp.float32(0),
        lambda w, h, batch, key, t: (w - h["rate"] * 2 * (w - t), {}),
        lambda w, h, split, key: {"loss": (w - 3) ** 2},
        {"train": 0.0, "validation": 0.0},
    )


def test_one_step_looks_one_step_ahead() -> None:
    w, slopes = 0.0, []
    for t in range(6):
        after = w - 0.1 * 2 * (w - t)
        slopes.append(2 * (after - 3) * -2 * (w - t))
        w = after
    for every in (1, 4):
        value, gradient, _ = raw(descent(), 6, "rate", OneStep(every))({"rate": 0.1}, KEY)
        np.testing.assert_allclose(value, (w - 3) ** 2, rtol=1e-5)
        np.testing.assert_allclose(gradient["rate"], np.mean(slopes[::every]), rtol=1e-5)


@pytest.mark.parametrize("steps", [514, 600])
def test_long_runs_draw_their_examples_piece_by_piece(steps: int) -> None:
    """600 is 3 pieces of 200, 514 has no divisor that would do."""
    rows = np.arange(7, dtype=np.float32)
    trainable = descent()._replace(
        step=lambda w, h, batch, key, t: (w - h["rate"] * 2 * (w - batch), {}),
        data={"train": rows, "validation": 0.0},
        rows=lambda key, t: 3 * t % 7,
        epoch=7,
    )
    value, gradient, _ = raw(trainable, steps, "rate", Forward())({"rate": 0.01}, KEY)
    w, slope = 0.0, 0.0
    for t in range(steps):
        w, slope = w - 0.02 * (w - rows[3 * t % 7]), slope - 0.02 * slope - 2 * (w - rows[3 * t % 7])
    np.testing.assert_allclose([value, gradient["rate"]], [(w - 3) ** 2, 2 * (w - 3) * slope], rtol=1e-3)


def test_online_the_rate_follows_its_gradient() -> None:
    value, _, info = raw(descent(), 6, "rate", OneStep(outer=optax.sgd(1e-3)))({"rate": 0.1}, KEY)
    w, rate = 0.0, 0.1
    for t in range(6):
        slope = -2 * (w - t)
        w = w + rate * slope
        rate = rate - 1e-3 * 2 * (w - 3) * slope
    np.testing.assert_allclose([value, info.hparams["rate"]], [(w - 3) ** 2, rate], rtol=1e-5)


# -- auto, units, and what is refused ----------------------------------------------------------------------------------------------


def test_auto_says_what_it_chose_and_why() -> None:
    _, _, one = value_and_hypergrad(bowl(), 5, "rate", guard=False)({"rate": 0.1}, KEY)
    assert one.adjoint == "Forward() (auto: 1 scalar, 5 steps, 24 bytes a state)"
    assert Auto().chosen(3, 100, 1000) == Reverse("step")
    assert Auto(1e6).chosen(3, 10_000, 1000) == Reverse("sqrt")
    assert Auto(1e6).chosen(3, 10**6, 1000) == Truncated(250_000, "sqrt")
    assert Auto(1.0).chosen(3, 10, 1000) == Truncated(1, "sqrt")


def test_unit_gradients_are_derivatives_along_the_cube() -> None:
    space = Space({"rate": Float(1e-4, 0.5, log=True), "decay": Float(-0.2, 0.7), "n": Int(1, 4), "c": Categorical(["a", "b"])})
    u = np.array([0.3, 0.6, 0.125, 0.25])

    def y(u: Any) -> float:
        p = space.params(u)
        return float(np.sin(30 * p["rate"]) * np.exp(p["decay"]))

    p = space.params(u)
    gradient = {"rate": 30 * np.cos(30 * p["rate"]) * np.exp(p["decay"]), "decay": y(u)}
    told = jax.jit(lambda p, g: unit_gradient(space, p, g))({k: p[k] for k in gradient}, gradient)
    for j, name in enumerate(("rate", "decay")):
        step = 1e-6 * np.eye(4)[j]
        np.testing.assert_allclose(told[name], (y(u + step) - y(u - step)) / 2e-6, rtol=1e-4)
    for name in ("n", "c"):
        with pytest.raises(TrainableError, match=f"'{name}' is .*discrete"):
            unit_gradient(space, p, {name: 1.0})
    with pytest.raises(TrainableError, match="no value is given"):
        unit_gradient(space, {}, {"rate": 1.0})
    with pytest.raises(jaxhp.SpaceError, match="did you mean 'rate'"):
        unit_gradient(space, p, {"rat": 1.0})


def refused(
    *parts: str, hparams: Any = None, key: Any = KEY, steps: Any = 5, wrt: Any = "rate", trainable: Any = None, **more: Any
) -> None:
    with pytest.raises(TrainableError) as caught:
        value_and_hypergrad(trainable or bowl(), steps, wrt, **more)(hparams or {"rate": 0.1}, key)
    for part in parts:
        assert part in str(caught.value)


def test_what_makes_no_sense_is_refused_with_the_remedy() -> None:
    refused("steps: expected a positive integer, got 0", steps=0)
    refused("segment: expected a positive integer, got 2.5", segment=2.5)
    refused("seed: expected an integer", seed=-1)
    refused("wrt=(): expected names", wrt=())
    refused("wrt=('rate', 'rate')", "each once", wrt=("rate", "rate"))
    refused("wrt: 'rat' is not among the hyperparameters, which are 'rate'", wrt="rat")
    refused("'n' is int32, a discrete value", "decimal point", wrt="n", hparams={"rate": 0.1, "n": 3})
    refused("'flag' is bool", wrt="flag", hparams={"rate": 0.1, "flag": True})
    refused("adjoint='reverse'", "Reverse()", adjoint="reverse")
    refused("parentheses", adjoint=Reverse)
    refused("guard=Guarded", "an adjoint", guard=Guarded(Reverse()))
    refused("evaluate returned", "'accuracy'", metric="accuracy")
    refused("metric='seen'", "int32", "smooth loss", metric="seen")
    refused("key: expected one key", key=3)
    refused("key: expected one key", key=jax.random.split(KEY, 2))
    refused("trainable: expected a jaxhp.Trainable", trainable="bowl")
    refused("hparams: expected a dict", hparams=[0.1])
    for make in (
        lambda: Reverse("all"),
        lambda: Truncated(0),
        lambda: Truncated(3, "none"),
        lambda: Implicit(solver="cg"),
        lambda: Implicit(damping=-1),
        lambda: cg(0),
        lambda: neumann(5, -1.0),
        lambda: SmoothedSlope(3),
        lambda: SmoothedSlope(sigma=0),
        lambda: SmoothedSlope(scale={"rate": "logarithmic"}),
        lambda: OneStep(every=0),
        lambda: OneStep(outer=0.1),
        lambda: Guarded(Reverse),
        lambda: Guarded(Reverse(), slope=16),
        lambda: Guarded(Reverse(), when="sometimes"),
        lambda: Auto(0),
    ):
        with pytest.raises(TrainableError, match=r"expected|parentheses"):
            make()


def test_implicit_refuses_what_no_minimum_depends_on() -> None:
    trainable, _ = ridge()

    def step(state: Any, h: Any, batch: Any, key: Any, t: Any) -> Any:
        new, metrics = trainable.step(state, h, batch, key, t)
        return new | {"params": state["params"] + h["rate"] * (new["params"] - state["params"])}, metrics

    told = trainable._replace(step=step)
    h = {"penalty": np.full(5, 0.1, np.float32), "rate": 0.5}
    refused("Implicit: 'rate' does not enter the gradient of the training loss", "Reverse()", hparams=h, trainable=told, adjoint=Implicit())
    refused("Implicit(loss='cost'): step returned 'loss'", hparams=h, trainable=told, adjoint=Implicit(loss="cost"))
    refused("Implicit(params='w'): the state has 'params', 'seen'", hparams=h, trainable=told, adjoint=Implicit(params="w"))


def test_a_hyperparameter_without_effect_has_gradient_zero_and_is_named() -> None:
    for adjoint in (Reverse(), Forward()):
        with pytest.warns(UserWarning, match="'loss' does not depend on 'idle'"):
            _, gradient, _ = raw(bowl(), 5, ("rate", "idle"), adjoint)({"rate": 0.1, "idle": 0.3}, KEY)
        assert gradient["idle"] == 0 and gradient["rate"] != 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        raw(bowl(), 5, "rate", Forward())({"rate": 0.1, "idle": 0.3}, KEY)


def test_an_adjoint_of_ones_own_needs_one_method() -> None:
    class Nothing:
        exact = False

        def gradient(self, loop: Any, x: Any) -> Any:
            return loop.value(x), jax.tree.map(jnp.zeros_like, x), jaxhp.hypergrad.Info(adjoint="nothing")

    value, gradient, info = value_and_hypergrad(bowl(), 5, "rate", adjoint=Nothing())({"rate": 0.1}, KEY)
    assert gradient["rate"] == 0 and info.adjoint == "nothing"
    close(value, raw(bowl(), 5, "rate", Forward())({"rate": 0.1}, KEY)[0], 1e-6)
