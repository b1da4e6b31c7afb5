"""The parts of `jaxhp.masks` against slow NumPy twins on the unpadded arrays, the laws of their draws, and their errors."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import DATA, accuracy, classifier, cross_entropy

import jaxhp
from jaxhp import masks
from jaxhp.errors import TrainableError

KEY = jax.random.key(7)


def drawn(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def padded(x: np.ndarray[Any, Any], *shape: int) -> jax.Array:
    """x in the first corner of zeros."""
    return jnp.asarray(np.pad(x, [(0, size - n) for n, size in zip(x.shape, shape, strict=True)]))


# --- layers against twins ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [0, 1, 3, 5, 9])
def test_a_mask_is_true_for_the_units_that_are_there(width: int) -> None:
    expected = [i < width for i in range(5)]
    assert masks.unit_mask(width, 5).tolist() == expected == masks.unit_mask(jnp.int32(width), 5).tolist()
    x = np.full((2, 5), np.nan)
    assert np.isnan(np.asarray(masks.masked(jnp.asarray(x), jnp.int32(width)))).tolist() == [expected, expected]


def test_masks_lie_along_any_axis() -> None:
    x = jnp.ones((3, 4, 5))
    kept = np.zeros((3, 4, 5))
    kept[:2, :, :1] = 1
    np.testing.assert_array_equal(masks.corner(x, (jnp.int32(2), None, 1)), kept)
    np.testing.assert_array_equal(masks.masked(x, 1, axis=1)[:, 1:], 0)


def test_dense_is_the_small_product_in_a_corner() -> None:
    x, kernel, bias = drawn(4, 3), drawn(3, 2, seed=1), drawn(2, seed=2)
    y = masks.dense(padded(x, 4, 6), padded(kernel, 6, 5), padded(bias, 5), width=jnp.int32(2))
    np.testing.assert_allclose(y[:, :2], x @ kernel + bias, rtol=1e-6)
    assert not y[:, 2:].any()
    junk = masks.dense(padded(x, 4, 6), jnp.ones((6, 5)), jnp.ones(5), width=jnp.int32(2))
    assert not junk[:, 2:].any()


def slow_conv(x: Any, kernel: Any) -> Any:
    """SAME convolution of (n, h, w, a) with (3, 3, a, b), by loops."""
    n, height, width, _ = x.shape
    wide = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    y = np.zeros((n, height, width, kernel.shape[3]))
    for i in range(height):
        for j in range(width):
            y[:, i, j] = np.einsum("nuva,uvab->nb", wide[:, i : i + 3, j : j + 3], kernel)
    return y


def test_conv_is_the_small_convolution_in_a_corner() -> None:
    x, kernel, bias = drawn(2, 4, 5, 2), drawn(3, 3, 2, 3, seed=1), drawn(3, seed=2)
    y = masks.conv(padded(x, 2, 4, 5, 4), padded(kernel, 3, 3, 4, 6), padded(bias, 6), width=jnp.int32(3))
    np.testing.assert_allclose(y[..., :3], slow_conv(x, kernel) + bias, rtol=1e-4, atol=1e-5)
    assert not y[..., 3:].any()
    line = masks.conv(jnp.asarray(drawn(2, 8, 3)), jnp.asarray(drawn(3, 3, 4)), strides=2, padding="VALID")
    assert line.shape == (2, 3, 4)


def test_norms_are_those_of_the_true_units() -> None:
    x, scale, bias = drawn(6, 3), drawn(3, seed=1), drawn(3, seed=2)
    wide, width = padded(x, 6, 5), jnp.int32(3)
    centred = x - x.mean(1, keepdims=True)
    layer = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-6) * scale + bias
    y = masks.layer_norm(wide, padded(scale, 5), padded(bias, 5), width=width)
    np.testing.assert_allclose(y[:, :3], layer, rtol=1e-4, atol=1e-5)
    assert not y[:, 3:].any()
    rms = masks.rms_norm(wide, padded(scale, 5), width=width)
    np.testing.assert_allclose(rms[:, :3], x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-6) * scale, rtol=1e-4, atol=1e-5)
    assert not rms[:, 3:].any()


@pytest.mark.parametrize("space", [(), (2, 3)])
def test_batch_norm_is_that_of_the_examples_that_count(space: tuple[int, ...]) -> None:
    x, scale, bias, mean, variance = drawn(6, *space, 3), drawn(3, seed=1), drawn(3, seed=2), drawn(3, seed=3), np.ones(3, np.float32)
    counted = [1, 2, 5]
    weight = np.zeros(6, np.float32)
    weight[counted] = 1 / 3
    part = x[counted].reshape(-1, 3)
    y, new_mean, new_variance = masks.batch_norm(x, scale, bias, mean, variance, train=True, weight=jnp.asarray(weight), momentum=0.8)
    expected = (x - part.mean(0)) / np.sqrt(part.var(0) + 1e-5) * scale + bias
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(new_mean, 0.8 * mean + 0.2 * part.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(new_variance, 0.8 * variance + 0.2 * part.var(0), rtol=1e-5, atol=1e-6)
    y, same_mean, same_variance = masks.batch_norm(x, scale, bias, mean, variance, train=False)
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(1 + 1e-5) * scale + bias, rtol=1e-4, atol=1e-5)
    assert (same_mean == mean).all() and (same_variance == variance).all()


def test_a_batch_without_examples_leaves_running_statistics_alone() -> None:
    x = drawn(2, 3)
    one, zero = jnp.ones(3), jnp.zeros(3)
    y, mean, variance = masks.batch_norm(x, one, zero, one, one, train=True, weight=jnp.zeros(2))
    assert np.isfinite(y).all() and (mean == 1).all() and (variance == 1).all()


def test_statistics_of_half_precision_are_computed_in_float32() -> None:
    x = jnp.asarray(100 + drawn(64, 8), jnp.bfloat16)
    one, zero = jnp.ones(8), jnp.zeros(8)
    y, mean, _ = masks.batch_norm(x, one, zero, zero, one, train=True, momentum=0.0)
    assert y.dtype == jnp.bfloat16 and mean.dtype == jnp.float32
    np.testing.assert_allclose(mean, np.asarray(x, np.float32).mean(0), rtol=1e-5)
    assert masks.layer_norm(x, one, zero, width=8).dtype == masks.rms_norm(x, one, width=8).dtype == jnp.bfloat16


def slow_attention(q: Any, k: Any, v: Any, mask: Any) -> Any:
    n, t, h, f = q.shape
    y = np.zeros_like(q)
    for a in range(n):
        for b in range(h):
            for i in range(t):
                logits = np.array([q[a, i, b] @ k[a, j, b] / math.sqrt(f) for j in range(t)])
                weights = np.where(mask[i], np.exp(logits - logits.max()), 0)
                y[a, i, b] = weights / weights.sum() @ v[a, :, b]
    return y


def test_attention_is_that_of_the_true_heads_and_features() -> None:
    q, k, v = (drawn(2, 4, 2, 3, seed=i) for i in range(3))
    mask = np.tril(np.ones((4, 4), bool))
    wide = [padded(a, 2, 4, 5, 6) for a in (q, k, v)]
    y = masks.attention(*wide, heads=jnp.int32(2), features=jnp.int32(3), mask=jnp.asarray(mask))
    np.testing.assert_allclose(y[:, :, :2, :3], slow_attention(q, k, v, mask), rtol=1e-4, atol=1e-5)
    assert not y[:, :, 2:].any() and not y[..., 3:].any()


def test_attention_to_nothing_is_finite() -> None:
    y = masks.attention(
        jnp.ones((1, 2, 1, 1)), jnp.ones((1, 2, 1, 1)), jnp.ones((1, 2, 1, 1)), heads=1, features=1, mask=jnp.zeros((2, 2), bool)
    )
    np.testing.assert_allclose(y, 1.0)


def test_gradients_beyond_the_corner_are_exactly_zero() -> None:
    """Of a block with every kind of part, whose activation is not 0 at 0."""
    width = jnp.int32(3)
    params = {"a": padded(drawn(4, 3), 4, 7), "bias": padded(drawn(3), 7), "scale": padded(drawn(3), 7), "b": padded(drawn(3, 2), 7, 2)}

    def loss(p: Any) -> Any:
        y = masks.layer_norm(masks.dense(jnp.asarray(drawn(5, 4)), p["a"], p["bias"]), p["scale"], width=width)
        y = masks.dropout(KEY, masks.masked(jax.nn.sigmoid(y), width), 0.3)
        return (masks.dense(y, p["b"]) ** 2).sum()

    gradient = jax.jit(jax.grad(loss))(params)
    assert all((np.abs(np.asarray(g)).max() > 1e-4) for g in gradient.values())
    for name, inside in (("a", np.s_[:, 3:]), ("bias", np.s_[3:]), ("scale", np.s_[3:]), ("b", np.s_[3:])):
        assert not gradient[name][inside].any(), name


def test_a_layer_that_is_not_there_is_the_identity() -> None:
    new, old = {"x": jnp.ones(2)}, {"x": jnp.zeros(2)}
    assert [float(masks.gated(jnp.asarray(i < 2), new, old)["x"][0]) for i in range(3)] == [1.0, 1.0, 0.0]
    assert masks.gated(True, new, old) is new and masks.gated(False, new, old) is old


# --- draws ---------------------------------------------------------------------------------------------------------------------

SHAPES = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 4)), min_size=1, max_size=4)


@settings(max_examples=4)  # every shape compiles
@given(SHAPES)
def test_an_entry_of_a_draw_depends_on_its_indices_alone(sizes: list[tuple[int, int]]) -> None:
    small, large = [n for n, _ in sizes], [n + more for n, more in sizes]
    inside = tuple(slice(n) for n in small)
    np.testing.assert_array_equal(masks.unit_bits(KEY, large)[inside], masks.unit_bits(KEY, small))


def test_entries_of_a_draw_differ() -> None:
    for shape in ((4096,), (64, 64), (16, 16, 16), (8, 8, 8, 8)):
        bits = np.asarray(masks.unit_bits(KEY, shape))
        assert len(np.unique(bits)) > 4090 and bits.dtype == np.uint32
    assert (masks.unit_bits(KEY, (8,)) != masks.unit_bits(jax.random.key(8), (8,))).all()
    assert (masks.unit_bits(jax.random.key_data(KEY), (8,)) == masks.unit_bits(KEY, (8,))).all()


@pytest.mark.parametrize(("distribution", "kurtosis"), [("truncated_normal", 2.37), ("normal", 3.0), ("uniform", 1.8)])
def test_initial_weights_have_the_variance_of_the_true_fan_in(distribution: Any, kurtosis: float) -> None:
    x = np.asarray(masks.variance_scaling(KEY, (300, 300), jnp.int32(50), scale=2.0, distribution=distribution), np.float64)
    assert abs(x.mean()) < 2e-3
    assert x.var() == pytest.approx(2 / 50, rel=0.02)
    assert (x**4).mean() / x.var() ** 2 == pytest.approx(kurtosis, rel=0.04)
    assert abs(np.corrcoef(x[:-1].ravel(), x[1:].ravel())[0, 1]) < 0.015
    assert abs(np.corrcoef(x[:, :-1].ravel(), x[:, 1:].ravel())[0, 1]) < 0.015


DROPPED = jax.jit(masks.dropout)  # op by op every operation and shape would be a program of its own


def test_dropout_keeps_the_mean_and_drops_at_its_rate() -> None:
    y = np.asarray(DROPPED(KEY, jnp.ones((200, 200)), 0.3))
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.7)}
    assert (y == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert not DROPPED(KEY, jnp.ones((200, 200)), 1.0).any()
    assert DROPPED(KEY, jnp.ones((200, 200)), 0.0).all()
    gradient = jax.jit(jax.grad(lambda r: masks.dropout(KEY, jnp.ones(9), r).sum()))(jnp.float32(1.0))
    assert np.isfinite(gradient)


def test_a_narrower_array_drops_the_same_units() -> None:
    x = jnp.ones((4, 3, 16))
    wide = np.asarray(DROPPED(KEY, x, 0.5))
    np.testing.assert_array_equal(wide[:, :, :5], DROPPED(KEY, x[:, :, :5], 0.5))
    assert 0 < (wide == 0).sum() < wide.size


# --- choices and steps -----------------------------------------------------------------------------------------------------------


def test_an_activation_is_chosen_by_a_traced_index() -> None:
    x = jnp.linspace(-2, 2, 9)
    chosen = jax.jit(jax.vmap(lambda i: masks.activation(i, x)))(jnp.arange(len(masks.ACTIVATIONS)))
    for y, function in zip(chosen, masks.ACTIVATIONS.values(), strict=True):
        np.testing.assert_allclose(y, function(x), rtol=1e-5, atol=1e-6)


def test_only_the_chosen_optimisers_state_changes() -> None:
    kinds = [optax.adamw(0.1), optax.lion(0.1), optax.lamb(0.1)]
    params = {"w": jnp.asarray(drawn(3))}
    gradient = {"w": jnp.asarray(drawn(3, seed=1))}

    def two(i: Any) -> Any:
        switching = masks.switch_optimizer(i, kinds)
        state = switching.init(params)
        _, state = switching.update(gradient, state, params)
        return switching.update(gradient, state, params)

    together = jax.jit(jax.vmap(two))(jnp.arange(3))

    def alone(kind: optax.GradientTransformation) -> Any:
        _, state = kind.update(gradient, kind.init(params), params)
        return kind.update(gradient, state, params)

    for i, kind in enumerate(kinds):
        updates, state = jax.jit(partial(alone, kind))()
        mine = jax.tree.map(lambda a, i=i: a[i], together)
        np.testing.assert_allclose(mine[0]["w"], updates["w"], rtol=1e-5)
        for j, other in enumerate(kinds):
            expected = state if j == i else jax.jit(other.init)(params)
            for a, b in zip(jax.tree.leaves(mine[1][j]), jax.tree.leaves(expected), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-5)


def test_a_trial_that_has_done_its_steps_stands_still() -> None:
    trainable = masks.stop_after(classifier(optimizer=lambda h: optax.adam(0.1)), "steps")
    states = [jax.jit(trainable.init)(KEY, {"steps": 2})]
    step = jax.jit(trainable.step)
    batch = jax.tree.map(lambda a: a[:8], DATA["train"])
    for t in range(4):
        states.append(step(states[-1], {"steps": jnp.int32(2)}, batch, KEY, jnp.int32(t))[0])
    moved = [
        any((np.asarray(a) != np.asarray(b)).any() for a, b in zip(*map(jax.tree.leaves, pair), strict=True)) for pair in pairwise(states)
    ]
    assert moved == [True, True, False, False]


def test_a_stopping_trainable_can_be_resized() -> None:
    plain = jaxhp.padded(lambda width: classifier(masks.MLP(3, width=("width", width))), width=8)
    stopping = masks.stop_after(plain, "steps").resized({"width": 4})
    assert stopping.sizes == {"width": 4}
    h = {"width": 4, "steps": 0, "rate": 0.1}
    state = jax.jit(stopping.init)(KEY, h)
    after = jax.jit(stopping.step)(state, h, jax.tree.map(lambda a: a[:8], DATA["train"]), KEY, jnp.int32(0))[0]
    np.testing.assert_array_equal(state["params"]["layers_0"]["kernel"], after["params"]["layers_0"]["kernel"])


# --- how supervised gives hyperparameters to modules --------------------------------------------------------------------------------


class Scaled(linen.Module):
    """A linen module of a user, with every argument that is for us to give."""

    @linen.compact
    def __call__(self, x: Any, hparams: Any, weight: Any = None, train: bool = False) -> Any:
        counted = x.shape[0] if weight is None else (weight > 0).sum()
        return linen.Dense(3)(x) * hparams["rate"] + 0.0 * counted


class Perceptron(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.out = nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.out(x)


class Sized(nnx.Module):
    def __init__(self, width: int, rngs: nnx.Rngs) -> None:
        raise NotImplementedError


class Unseeded(nnx.Module):
    pass


@pytest.mark.parametrize("module", [Scaled(), Perceptron], ids=["linen with hparams", "nnx class"])
def test_supervised_trains(module: Any) -> None:
    trainable = classifier(module)
    h = {"rate": jnp.float32(0.1)}
    state, step, evaluate = jax.jit(trainable.init)(KEY, h), jax.jit(trainable.step), jax.jit(trainable.evaluate)
    loss = evaluate(state, h, DATA["validation"], KEY)["loss"]
    batch = jax.tree.map(lambda a: a[:8], DATA["train"])
    for t in range(20):
        state, _ = step(state, h, batch, KEY, jnp.int32(t))
    assert evaluate(state, h, DATA["validation"], KEY)["loss"] < loss


@pytest.mark.parametrize(
    ("called", "says"),
    [
        (lambda: classifier(Sized), r"Sized wants width too; pass a function of rngs.*lambda rngs: Sized\(width=..., rngs=rngs\)"),
        (lambda: classifier(Unseeded), r"Unseeded takes no rngs; pass a function"),
        (lambda: classifier(masks.MLP), r"MLP is a class of linen modules; pass one of them: module=MLP\(\.\.\.\)"),
        (lambda: classifier(masks.nnx.MLP), r"MLP wants inputs, outputs too"),
        (lambda: masks.MLP(10, width=0), "width: expected a positive integer, or .* got 0"),
        (lambda: masks.MLP(10, width="width"), r"width: .*such as \('width', 256\); got 'width'"),
        (lambda: masks.MLP(10, layers=("layers", 2.5)), "layers: expected a positive integer"),
        (lambda: masks.MLP(True), "outputs: expected"),
        (lambda: masks.MLP(10, activation="swish"), "activation: expected one of relu.*got 'swish'"),
        (lambda: masks.MLP(10, activation=("activation", ("relu", "swish"))), "activation: expected one of"),
        (lambda: masks.MLP(10, dropout=1.5), r"dropout: expected a number in \[0, 1\] or.*got 1.5"),
        (lambda: masks.MLP(10, norm="group"), "norm: expected one of None, 'layer', 'rms', 'batch', got 'group'"),
        (lambda: masks.CNN(10, stages=("stages", 3)), "stages: expected a positive integer.*cannot be traced"),
        (lambda: masks.Transformer(10, norm="batch"), "norm: expected one of 'layer', 'rms', got 'batch'"),
        (lambda: masks.Transformer(10, length=("length", 8), pool=None), "pool=None gives an output for every position"),
        (lambda: masks.Transformer(10, padding=0), "padding=0 is a token id"),
        (lambda: masks.nnx.MLP(4, 10, dropout=-1, rngs=nnx.Rngs(0)), "dropout: expected"),
        (lambda: jax.eval_shape(masks.MLP(10, width=("width", 8)).init, KEY, jnp.ones((1, 4))), r"reads hparams\['width'\] and was"),
        (lambda: jax.eval_shape(masks.CNN(10).init, KEY, jnp.ones((1, 4))), r"x: expected images .* got shape \[1, 4\]"),
        (lambda: jax.eval_shape(masks.Transformer(2, length=4).init, KEY, jnp.ones((1, 5, 3))), "x has 5 positions, more than length=4"),
        (lambda: jax.eval_shape(masks.Transformer(2, vocabulary=9).init, KEY, jnp.ones((1, 5))), "token ids as integers, got float32"),
        (lambda: jax.eval_shape(masks.Transformer(2).init, KEY, jnp.ones((1, 5))), "for token ids say vocabulary="),
        (lambda: masks.activation(0, jnp.ones(2), ("relu", "swish")), "activation: 'swish' is not known"),
        (lambda: masks.switch_optimizer(0, optax.adam(0.1)), "expected a list"),
        (lambda: masks.switch_optimizer(0, [optax.adam]), "entry 0 is .* is a pair of parentheses missing"),
        (lambda: masks.stop_after(3, "steps"), "expected a jaxhp.Trainable, got int"),
        (lambda: masks.stop_after(classifier(), 100), "expected the name of a hyperparameter, got 100"),
        (lambda: masks.unit_bits(KEY, (1, 2, 3, 4, 5)), "more than four axes"),
        (lambda: masks.unit_bits(KEY, (2, 2, 70_000)), "axis of 65,536 or more"),
        (lambda: masks.variance_scaling(KEY, (2, 2), 2, distribution="cauchy"), "expected 'truncated_normal'"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_an_error_at_the_door_names_what_is_wrong(called: Any, says: str) -> None:
    with pytest.raises(TrainableError, match=says):
        called()


def test_a_name_that_the_space_lacks_is_told_by_name() -> None:
    study = jaxhp.Study(jaxhp.Space({"rate": jaxhp.Float(1e-3, 1e-1)}), metric="loss")
    trainable = jaxhp.supervised(
        masks.MLP(3, width=("width", 8)), cross_entropy, DATA, batch_size=8, optimizer=lambda h: optax.adam(h["rate"]),
        metrics={"accuracy": accuracy},
    )  # fmt: skip
    with pytest.raises(TrainableError, match=r"init reads hparams\['width'\], which the space lacks: it has 'rate'"):
        study.train(trainable, trials=1, steps=1, lanes=1)


# --- the options of the transformer ---------------------------------------------------------------------------------------------------


def test_nobody_looks_at_padding_nor_beyond_the_length() -> None:
    module = masks.Transformer(2, length=("length", 6), vocabulary=9, width=8, layers=1, heads=2, head_features=4, feedforward=8, padding=0)
    x = jnp.array([[3, 4, 5, 0, 0, 7]])
    h = {"length": jnp.int32(4)}
    variables = jax.jit(module.init)(KEY, x, h)
    apply = jax.jit(module.apply)
    np.testing.assert_array_equal(apply(variables, x, h), apply(variables, x.at[0, 4:].set(8), h))
    whole = {"length": jnp.int32(6)}
    np.testing.assert_allclose(apply(variables, x[:, :3], whole), apply(variables, x.at[0, 5].set(0), whole), rtol=1e-5)
    assert (apply(variables, x, whole) != apply(variables, x.at[0, 5].set(0), whole)).any()


def test_a_causal_position_sees_none_after_it() -> None:
    module = masks.Transformer(
        2, length=6, vocabulary=9, width=8, layers=2, heads=2, head_features=4, feedforward=8, causal=True, pool=None
    )
    x = jnp.array([[3, 4, 5, 1, 2, 7]])
    variables = jax.jit(module.init)(KEY, x)
    apply = jax.jit(module.apply)
    before, after = apply(variables, x), apply(variables, x.at[0, 3].set(8))
    assert before.shape == (1, 6, 2)
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert (before[:, 3:] != after[:, 3:]).all()


def test_the_last_position_is_the_last_that_counts() -> None:
    options: dict[str, Any] = {"length": 4, "vocabulary": 9, "width": 8, "layers": 1, "heads": 1, "head_features": 4, "feedforward": 8}
    last = masks.Transformer(2, **options, pool="last", padding=0, causal=True)
    every = masks.Transformer(2, **options, pool=None, padding=0, causal=True)
    x = jnp.array([[3, 4, 0, 0], [3, 4, 5, 6]])
    variables = jax.jit(last.init)(KEY, x)
    positions = jax.jit(every.apply)(variables, x)
    np.testing.assert_allclose(jax.jit(last.apply)(variables, x), jnp.stack([positions[0, 1], positions[1, 3]]), rtol=1e-6)


def test_linen_and_nnx_compute_the_same_from_the_same_arrays() -> None:
    h = {"width": jnp.int32(3)}
    x = jnp.asarray(drawn(4, 6))
    options: dict[str, Any] = {"width": ("width", 5), "norm": "batch"}
    kept = masks.nnx.MLP(6, 2, **options, hparams=h, rngs=nnx.Rngs(0))
    params = {part: {name: a[...] for name, a in arrays.items()} for part, arrays in kept.params.items()}
    stats = {part: {name: a[...] for name, a in arrays.items()} for part, arrays in kept.stats.items()}
    apply = jax.jit(partial(masks.MLP(2, **options).apply, train=True, mutable=["batch_stats"]))
    y, changed = apply({"params": params, "batch_stats": stats}, x, h)
    np.testing.assert_allclose(nnx.jit(lambda module: module(x, h))(kept), y, rtol=1e-5)
    np.testing.assert_allclose(kept.stats["norms_0"]["mean"][...], changed["batch_stats"]["norms_0"]["mean"], rtol=1e-5)
