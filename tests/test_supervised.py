"""`supervised`: networks of four libraries train as a hand-written loop trains them."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from tiny import DATA, accuracy, classes, classifier, cross_entropy, mlp, mlp_init, rates, same

from jaxhp import Lanes, Trainable
from jaxhp.train import check
from jaxhp.train._shuffle import shuffled

X, Y = (jnp.asarray(a) for a in DATA["train"])
XV, YV = (jnp.asarray(a) for a in DATA["validation"])
RATE = {"rate": jnp.float32(0.05)}
KEY = jax.random.key(7)


class Linen(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = linen.BatchNorm(use_running_average=not train, momentum=0.5)(linen.Dense(8)(x))
        return linen.Dense(3)(linen.Dropout(0.5, deterministic=not train)(linen.relu(x)))


class Split(linen.Module):
    """Told by two flags of its own."""

    @linen.compact
    def __call__(self, x: jax.Array, *, deterministic: bool, use_running_average: bool) -> jax.Array:
        x = linen.BatchNorm(use_running_average=use_running_average)(linen.Dense(8)(x))
        return linen.Dense(3)(linen.Dropout(0.5, deterministic=deterministic)(x))


class Nnx(nnx.Module):
    def __init__(self, rngs: nnx.Rngs, rate: Any = 0.5) -> None:
        self.a, self.bn = nnx.Linear(6, 8, rngs=rngs), nnx.BatchNorm(8, momentum=0.5, rngs=rngs)
        self.dropout, self.b = nnx.Dropout(0.5, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.b(self.dropout(nnx.relu(self.bn(self.a(x)))))


@jax.tree_util.register_pytree_node_class
class Model:
    """As Equinox has it: a callable pytree of arrays, integers and functions, for one example."""

    def __init__(self, leaves: list[Any]) -> None:
        self.leaves = leaves

    @classmethod
    def make(cls, key: jax.Array) -> Model:
        p = mlp_init(key)
        return cls([p["in"], jnp.arange(3), p["out"], jnp.tanh])

    def __call__(self, x: jax.Array, key: jax.Array) -> jax.Array:
        kept = jax.random.bernoulli(key, 0.9, (8,))
        return (self.leaves[3](x @ self.leaves[0]) * kept / 0.9) @ self.leaves[2] + 0 * self.leaves[1]

    def tree_flatten(self) -> tuple[list[Any], None]:
        return self.leaves, None

    @classmethod
    def tree_unflatten(cls, aux: None, leaves: Any) -> Model:
        return cls(list(leaves))


NETWORKS: dict[str, Any] = {
    "plain": (mlp_init, mlp),
    "linen": Linen(),
    "linen with two flags": Split(),
    "nnx": lambda rngs: Nnx(rngs),
    "pytree": lambda key: Model.make(key),
}
NORMALISED = [name for name in NETWORKS if name.startswith(("linen", "nnx"))]


def started(trainable: Trainable, number: int = 0, h: Any = RATE) -> Any:
    return jax.jit(trainable.init)(jax.random.fold_in(KEY, number), h)


@partial(jax.jit, static_argnums=1)
def batch(t: Any, size: int = 8) -> Any:
    """Step t's: without replacement from an order of its epoch's own."""
    per_epoch = -(-40 // size)
    place = (t % per_epoch * size + jnp.arange(size)) % 40
    rows = shuffled(jax.random.fold_in(KEY, t // per_epoch), place, 40)
    return X[rows], Y[rows]


BATCHES = [batch(t) for t in range(60)]


def steps(trainable: Trainable, state: Any, n: int, h: Any = RATE, key: jax.Array = KEY) -> tuple[Any, list[float]]:
    """n steps; the losses."""

    @jax.jit
    def step(state: Any, batch: Any, t: Any) -> Any:
        return trainable.step(state, h, batch, jax.random.fold_in(key, t), t)

    losses = []
    for t in range(n):
        state, metrics = step(state, BATCHES[t], t)
        losses.append(float(metrics["loss"]))
    return state, losses


@pytest.mark.parametrize("name", ["plain", "linen", "nnx", "pytree"])
def test_every_network_learns_and_its_evaluation_is_deterministic(name: str) -> None:
    trainable = classifier(NETWORKS[name])
    before = started(trainable)
    after, _ = steps(trainable, before, 60)
    evaluate = jax.jit(trainable.evaluate)
    first, last = (evaluate(s, RATE, (XV, YV), KEY) for s in (before, after))
    assert float(last["loss"]) < 0.75 * float(first["loss"]) and float(last["accuracy"]) > 0.75
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), before["params"], after["params"])
    assert all(jax.tree.leaves(changed))
    if name != "pytree":  # which has no way to be told that it is evaluated, but by its own flags
        assert same(last, evaluate(after, RATE, (XV, YV), jax.random.key(8)))


@pytest.mark.parametrize("name", NORMALISED)
def test_batch_statistics_change_in_training_and_serve_in_evaluation(name: str) -> None:
    trainable = classifier(NETWORKS[name])
    before = started(trainable)
    after, _ = steps(trainable, before, 3)
    statistics = [np.asarray(x) for x in jax.tree.leaves(after["rest"]) if jnp.issubdtype(x.dtype, jnp.floating)]
    were = [np.asarray(x) for x in jax.tree.leaves(before["rest"]) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert len(statistics) == 2 and not any(np.array_equal(a, b) for a, b in zip(statistics, were, strict=True))
    swapped = after | {"rest": before["rest"]}
    evaluate = jax.jit(lambda s, x, y: trainable.evaluate(s, RATE, (x, y), KEY)["loss"])
    told = [float(evaluate(s, XV, YV)) for s in (after, swapped)]
    assert abs(told[0] - told[1]) > 1e-4
    one = [float(evaluate(after, XV[i : i + 1], YV[i : i + 1])) for i in range(30)]
    assert np.mean(one) == pytest.approx(told[0], rel=1e-4)  # no example's output depends on those beside it


@pytest.mark.parametrize("name", ["linen", "nnx", "pytree"])
def test_dropout_differs_between_trials_and_steps(name: str) -> None:
    trainable = classifier(NETWORKS[name], optimizer=lambda h: optax.sgd(0.0))
    state = started(trainable)
    batch = (X[:8], Y[:8])
    step = jax.jit(trainable.step)
    losses = [float(step(state, RATE, batch, jax.random.fold_in(KEY, i), jnp.int32(0))[1]["loss"]) for i in range(4)]
    assert len(set(losses)) == 4
    assert float(step(state, RATE, batch, jax.random.fold_in(KEY, 2), jnp.int32(0))[1]["loss"]) == losses[2]


@pytest.mark.parametrize("name", ["nnx", "pytree"])
def test_every_network_trains_in_lanes_and_trials_start_apart(name: str) -> None:
    trainable = classifier(NETWORKS[name])
    lanes = Lanes(trainable, {"rate": np.float32(0.1)}, 3, segment=5)
    state = lanes.refill(lanes.init(), range(3), range(3), rates([0.05, 0.05, 0.0]), 20)
    start = jax.tree.leaves(lanes.gather(state, range(3))["params"])
    assert any((leaf[0] != leaf[1]).any() for leaf in start)
    for _ in range(4):
        state, metrics = lanes.run(state)
    end = jax.tree.leaves(lanes.gather(state, range(3))["params"])
    assert all((a[0] != b[0]).any() for a, b in zip(start, end, strict=True))
    assert all((a[2] == b[2]).all() for a, b in zip(start, end, strict=True))  # a learning rate of 0
    assert np.asarray(metrics["loss"])[:2].max() < float(metrics["loss"][2])
    assert lanes.compiled == 1


def test_equinox_itself() -> None:
    eqx = pytest.importorskip("equinox", reason="equinox is not among the test extras")

    def make(key: jax.Array) -> Any:
        return eqx.nn.MLP(6, 3, width_size=8, depth=1, key=key)

    trainable = classifier(make)
    check(trainable, RATE, ("loss",))
    state, _ = steps(trainable, started(trainable), 60)
    assert float(trainable.evaluate(state, RATE, (XV, YV), KEY)["accuracy"]) > 0.75


# -- against a hand-written loop -------------------------------------------------------------------------------------------


def by_hand(optimizer: Any, batches: list[Any], loss: Any = cross_entropy) -> tuple[Any, list[float]]:
    params = mlp_init(KEY)
    state, losses = optimizer.init(params), []

    @jax.jit
    def step(params: Any, state: Any, x: Any, y: Any) -> Any:
        value, gradient = jax.value_and_grad(lambda p: loss(mlp(p, x), y).mean())(params)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    for x, y in batches:
        params, state, value = step(params, state, x, y)
        losses.append(float(value))
    return params, losses


def close(a: Any, b: Any, tolerance: float = 1e-6) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=tolerance, rtol=tolerance), a, b)


def test_training_is_that_of_a_hand_written_loop() -> None:
    trainable = classifier()
    state, losses = steps(trainable, {**started(trainable), "params": mlp_init(KEY)}, 12)
    params, expected = by_hand(optax.adam(0.05), BATCHES[:12])
    close(state["params"], params)
    close(losses, expected)
    told = trainable.evaluate(state, RATE, (XV, YV), KEY)
    assert float(told["loss"]) == pytest.approx(float(cross_entropy(mlp(params, XV), YV).mean()), rel=1e-5)
    assert float(told["accuracy"]) == pytest.approx(float(accuracy(mlp(params, XV), YV).mean()), rel=1e-5)


def test_an_epoch_shows_every_example_and_the_next_one_in_another_order() -> None:
    for size in (8, 7):  # 7 does not divide 40: the last batch is filled up
        trainable = classifier(batch_size=size)
        assert trainable.rows is not None
        epochs = [
            np.concatenate([np.asarray(trainable.rows(KEY, t)) for t in range(e * trainable.epoch, (e + 1) * trainable.epoch)])
            for e in range(2)
        ]
        assert all(set(rows.tolist()) == set(range(40)) and len(rows) < 40 + size for rows in epochs)
        assert not np.array_equal(*epochs)


@pytest.mark.parametrize("mean", [False, True])
def test_accumulated_gradients_are_those_of_the_whole_batch(mean: bool) -> None:
    loss = (lambda o, y: cross_entropy(o, y).mean()) if mean else cross_entropy
    results = []
    for accumulate in (1, 4):
        trainable = classifier(accumulate=accumulate, loss=loss)
        results.append(steps(trainable, started(trainable), 10))
    close(results[0][0]["params"], results[1][0]["params"])
    close(results[0][1], results[1][1])


def test_accumulation_weighs_a_batch_size_that_varies() -> None:
    h = RATE | {"bs": jnp.int32(5)}
    results = []
    for accumulate in (1, 4):
        trainable = classifier(accumulate=accumulate, batch_size="bs", largest_batch=8)
        results.append(steps(trainable, started(trainable, h=h), 10, h))
    close(results[0][0]["params"], results[1][0]["params"])
    close(results[0][1], results[1][1])


def test_a_batch_size_that_varies_is_training_on_that_many_rows_of_the_largest_batch() -> None:
    """Which rows: those whose weight in the loss is not zero."""
    trainable = classifier(batch_size="bs", largest_batch=8, optimizer=lambda h: optax.sgd(h["rate"]))
    for size in (1, 3, 8):
        h = RATE | {"bs": jnp.int32(size)}
        state = {**started(trainable, h=h), "params": mlp_init(KEY)}
        x, y = BATCHES[0]

        def told(scale: jax.Array, state: Any = state, h: Any = h, x: Any = x, y: Any = y) -> jax.Array:
            weighed = classifier(
                batch_size="bs", largest_batch=8, optimizer=lambda h: optax.sgd(h["rate"]), loss=lambda o, y: cross_entropy(o, y) * scale
            )
            return weighed.step(state, h, (x, y), KEY, jnp.int32(3))[1]["loss"]

        used = np.flatnonzero(np.asarray(jax.grad(told)(jnp.ones(8))))
        assert len(used) == size
        after, metrics = trainable.step(state, h, (x, y), KEY, jnp.int32(3))
        params, losses = by_hand(optax.sgd(0.05), [(x[used], y[used])])
        close(after["params"], params)
        assert float(metrics["loss"]) == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.parametrize("segment", [5, 2, 10])
def test_a_small_batch_sees_all_of_the_data_over_time(segment: int) -> None:
    """Also where the steps of every segment have the same large batches."""
    counter = classifier(
        (lambda key: jnp.zeros(40), lambda params, x: params[x.astype(jnp.int32)]),
        batch_size="bs",
        largest_batch=8,
        loss=lambda o, y: -o,  # its gradient counts the examples, by the share each has of its batch
        optimizer=lambda h: optax.sgd(1.0),
        metrics=None,
        data={"train": (np.arange(40), np.zeros(40)), "validation": (np.arange(40), np.zeros(40))},
    )
    lanes = Lanes(counter, {"bs": np.int32(2)}, 2, segment=segment)
    state = lanes.refill(lanes.init(), [0, 1], [0, 1], {"bs": np.array([2, 8], np.int32)}, 200)
    for _ in range(200 // segment):
        state, _ = lanes.run(state)
    seen = lanes.gather(state, [0, 1])["params"]
    assert seen[1].min() > 0.5 * seen[1].max() and seen.sum(axis=1) == pytest.approx([200, 200], rel=1e-4)
    assert seen[0].min() > 0 and seen[0].max() < 5 * seen[0].mean()


# -- precision, metrics, hyperparameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain", "linen", "nnx"])
def test_low_precision_computes_low_and_keeps_weights_and_metrics_in_float32(name: str) -> None:
    dtypes = []

    def loss(outputs: jax.Array, y: jax.Array) -> jax.Array:
        dtypes.append(outputs.dtype)
        return cross_entropy(outputs, y)

    module = (
        (mlp_init, lambda p, x: (dtypes.append(x.dtype), dtypes.append(p["in"].dtype), mlp(p, x))[2]) if name == "plain" else NETWORKS[name]
    )
    low = classifier(module, precision=jnp.bfloat16, loss=loss)
    shapes = check(low, RATE, ("loss",))
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves((shapes.state["params"], shapes.trained, shapes.evaluated["loss"])))
    if name == "plain":
        assert set(dtypes) == {jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float32)} and dtypes[:2] == [jnp.bfloat16] * 2
    state, losses = steps(low, started(low), 40)
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(state["params"]))
    if name == "plain":
        full = classifier()
        _, exact = steps(full, started(full), 40)
        np.testing.assert_allclose(losses, exact, rtol=0.1, atol=0.02)
        assert losses != exact
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_hyperparameters_reach_the_loss_the_module_the_optimizer_and_the_start() -> None:
    def start(key: jax.Array, hparams: Any) -> Any:
        return jax.tree.map(lambda x: x * hparams["scale"], mlp_init(key))

    def scaled(params: Any, x: jax.Array, hparams: Any, train: bool) -> jax.Array:
        return mlp(params, x) * hparams["temperature"] + (1.0 if train else 0.0)

    trainable = classifier(
        (start, scaled),
        loss=lambda o, y, hparams: cross_entropy(o, y) + hparams["decay"],
        optimizer=lambda h: optax.chain(optax.add_decayed_weights(h["decay"]), optax.sgd(h["rate"], momentum=h["momentum"])),
    )
    h = {name: jnp.float32(x) for name, x in {"rate": 0.1, "scale": 2.0, "temperature": 0.5, "decay": 0.25, "momentum": 0.5}.items()}
    state = trainable.init(KEY, h)
    close(state["params"], jax.tree.map(lambda x: 2 * x, mlp_init(KEY)))
    after, metrics = trainable.step(state, h, (X[:8], Y[:8]), KEY, jnp.int32(0))
    value, gradient = jax.value_and_grad(lambda p: cross_entropy(mlp(p, X[:8]) * 0.5 + 1, Y[:8]).mean() + 0.25)(state["params"])
    assert float(metrics["loss"]) == pytest.approx(float(value), rel=1e-5)
    close(after["params"], jax.tree.map(lambda p, g: p - 0.1 * (g + 0.25 * p), state["params"], gradient))


def test_a_module_made_of_hparams_may_use_them() -> None:
    class Dropping(linen.Module):
        rate: Any

        @linen.compact
        def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
            x = linen.Dense(3)(x)
            return jnp.where(jax.random.bernoulli(self.make_rng("dropout"), self.rate, x.shape), 0.0, x) if train else x

    trainable = classifier(lambda hparams: Dropping(hparams["drop"]), optimizer=lambda h: optax.sgd(0.1))
    losses = {}
    for drop in (0.0, 1.0):
        h = {"drop": jnp.float32(drop)}
        losses[drop] = float(trainable.step(started(trainable, h=h), h, (X[:8], Y[:8]), KEY, jnp.int32(0))[1]["loss"])
    assert losses[1.0] == pytest.approx(float(jnp.log(3)), rel=1e-5) and losses[0.0] != losses[1.0]


OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda h: optax.sgd(h["rate"], momentum=h["beta"], nesterov=True),
    "adam": lambda h: optax.adam(h["rate"], b1=h["beta"], b2=0.9 + 0.09 * h["beta"], eps=h["small"]),
    "adamw": lambda h: optax.adamw(h["rate"], weight_decay=h["small"]),
    "nadam": lambda h: optax.nadam(h["rate"], b1=h["beta"]),
    "rmsprop": lambda h: optax.rmsprop(h["rate"], decay=h["beta"], momentum=h["beta"]),
    "lion": lambda h: optax.lion(h["small"], b1=h["beta"], weight_decay=h["small"]),
    "lamb": lambda h: optax.lamb(h["rate"], weight_decay=h["small"]),
    "adagrad": lambda h: optax.adagrad(h["rate"], eps=h["small"]),
    "radam": lambda h: optax.radam(h["rate"]),
    "yogi": lambda h: optax.yogi(h["rate"], b1=h["beta"]),
    "clipped": lambda h: optax.chain(optax.clip_by_global_norm(h["beta"]), optax.sgd(h["rate"])),
    "cosine": lambda h: optax.adam(optax.cosine_decay_schedule(h["rate"], 100, alpha=h["beta"])),
    "warmup": lambda h: optax.sgd(
        optax.join_schedules([optax.linear_schedule(0.0, h["rate"], 3), optax.cosine_decay_schedule(h["rate"], 20)], [3])
    ),
    "averaged": lambda h: optax.chain(optax.sgd(h["rate"]), optax.ema(h["beta"])),
}


def test_optax_takes_traced_hyperparameters() -> None:
    """As it takes numbers: five steps agree."""
    values = {"rate": 0.05, "beta": 0.75, "small": 0.01}
    batches = jax.tree.map(lambda *x: jnp.stack(x), *BATCHES[:5])

    def traced(h: Any) -> Any:
        def trained(make: Any) -> Any:
            trainable = classifier(optimizer=make)
            start = {**trainable.init(KEY, h), "params": mlp_init(KEY)}
            return jax.lax.scan(lambda s, b: (trainable.step(s, h, b[1], KEY, b[0])[0], None), start, (jnp.arange(5), batches))[0]["params"]

        return {name: trained(make) for name, make in OPTIMIZERS.items()}

    def numbers() -> Any:
        def trained(optimizer: Any) -> Any:
            def step(carry: Any, b: Any) -> Any:
                params, state = carry
                gradient = jax.grad(lambda p: cross_entropy(mlp(p, b[0]), b[1]).mean())(params)
                updates, state = optimizer.update(gradient, state, params)
                return (optax.apply_updates(params, updates), state), None

            params = mlp_init(KEY)
            return jax.lax.scan(step, (params, optimizer.init(params)), batches)[0][0]

        return {name: trained(make(values)) for name, make in OPTIMIZERS.items()}

    left, right = jax.jit(traced)({name: jnp.float32(x) for name, x in values.items()}), jax.jit(numbers)()
    for name in OPTIMIZERS:
        close(left[name], right[name], 1e-5)
    assert len({np.asarray(p["in"]).tobytes() for p in left.values()}) == len(OPTIMIZERS)


# -- evaluation ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [49, 51, 100])
def test_a_large_split_is_evaluated_in_pieces_to_the_same_means(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from jaxhp.train import _supervised

    x, y = classes(n, 9)
    sizes: list[int] = []
    trainable = classifier(
        (mlp_init, lambda p, x: (sizes.append(len(x)), mlp(p, x))[1]),
        metrics={"accuracy": accuracy, "mean": lambda o, y: o.mean(), "worst": lambda o, y: o.max(-1)},
    )
    state = started(trainable)
    whole = jax.jit(lambda: trainable.evaluate(state, RATE, (x, y), KEY))()
    monkeypatch.setattr(_supervised, "EVALUATED_AT_ONCE", 25)
    sizes.clear()
    close(jax.jit(lambda: trainable.evaluate(state, RATE, (x, y), KEY))(), whole, 1e-5)
    assert set(sizes) == {49: {49}, 51: {25, 1}, 100: {25}}[n]


def test_inputs_and_targets_may_be_pytrees() -> None:
    data = {name: ({"a": x[:, :3], "b": x[:, 3:]}, {"y": y}) for name, (x, y) in DATA.items()}
    trainable = classifier(
        (mlp_init, lambda p, x: mlp(p, jnp.concatenate([x["a"], x["b"]], 1))),
        data=data,
        loss=lambda o, y: cross_entropy(o, y["y"]),
        metrics={"accuracy": lambda o, y: accuracy(o, y["y"])},
    )
    check(trainable, RATE, ("loss", "accuracy"))
    plain = classifier()
    assert float(trainable.evaluate(started(plain), RATE, data["validation"], KEY)["loss"]) == pytest.approx(
        float(plain.evaluate(started(plain), RATE, (XV, YV), KEY)["loss"]), rel=1e-6
    )
