"""Padded networks train as the truly small ones do: the same losses, the same corner of every leaf, zeros for ever beyond it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import cross_entropy

import jaxhp
from jaxhp import masks
from jaxhp.train import check

QUICK = {"xla_backend_optimization_level": 0}  # compiling is what these tests spend their time on
OPTIMIZERS = {"adamw": optax.adamw(2e-3), "lion": optax.lion(2e-4), "lamb": optax.lamb(2e-3)}


def images(n: int, seed: int) -> tuple[jax.Array, jax.Array]:
    """n noisy pictures (8, 8) of four patterns."""
    patterns = np.random.default_rng(0).uniform(size=(4, 8, 8))
    drawn = np.random.default_rng(seed)
    y = drawn.integers(4, size=n)
    return jnp.asarray(patterns[y] + 0.5 * drawn.normal(size=(n, 8, 8)), jnp.float32), jnp.asarray(y, jnp.int32)


def sentences(n: int, seed: int) -> tuple[jax.Array, jax.Array]:
    """n sequences (12,) of token ids; the answer is which of the ids 1 and 2 occurs more often. Id 0 fills up."""
    drawn = np.random.default_rng(seed)
    x = drawn.integers(1, 7, size=(n, 12)) * (np.arange(12) < drawn.integers(4, 13, size=(n, 1)))
    return jnp.asarray(x, jnp.int32), jnp.asarray((x == 1).sum(1) > (x == 2).sum(1), jnp.int32)


IMAGES = {"train": images(96, 1), "validation": images(40, 2)}
SENTENCES = {"train": sentences(96, 1), "validation": sentences(40, 2)}


class Case:
    """One kind of network in one library, with small and largest sizes, the optimisers of its one program, and further options."""

    def __init__(self, kind: str, library: str, sizes: dict[str, tuple[int, int]], data: Any, steps: int, inputs: Any, **options: Any):
        self.kind, self.library, self.data, self.steps, self.inputs = kind, library, data, steps, inputs
        self.optimizers: tuple[str, ...] = options.pop("optimizers")
        self.options = options
        self.largest = {name: most for name, (_, most) in sizes.items()}
        self.small = {name: few for name, (few, _) in sizes.items()}

    def __repr__(self) -> str:
        return f"{self.kind}-{self.library}-{self.options.get('norm', 'plain')}"

    def make(self, **sizes: int) -> jaxhp.Trainable:
        options = {name: (name, size) for name, size in sizes.items()} | self.options
        if self.library == "linen":
            module = getattr(masks, self.kind)(4, **options)
        else:

            def module(rngs: Any, hparams: Any) -> Any:
                return getattr(masks.nnx, self.kind)(self.inputs, 4, **options, hparams=hparams, rngs=rngs)

        return jaxhp.supervised(module, cross_entropy, self.data, batch_size=16, optimizer=self.optimizer)

    def optimizer(self, h: Any) -> optax.GradientTransformation:
        kinds = [OPTIMIZERS[name] for name in self.optimizers]
        return optax.chain(optax.clip_by_global_norm(1.0), masks.switch_optimizer(h["optimizer"], kinds))

    def trainable(self) -> jaxhp.Trainable:
        return jaxhp.padded(self.make, **self.largest)

    def hparams(self, chosen: str) -> dict[str, jax.Array]:
        numbers = {**self.small, "optimizer": self.optimizers.index(chosen), "activation": 1}
        return {name: jnp.int32(x) for name, x in numbers.items()} | {"dropout": jnp.float32(0.2)}


CHOICE = ("activation", ("relu", "sigmoid"))
PERCEPTRON = {"width": (5, 16), "layers": (2, 3)}
CONVOLUTION = {"width": (3, 6), "layers": (1, 2)}
ATTENTION = {"width": (6, 12), "layers": (1, 2), "heads": (2, 3), "head_features": (3, 4), "feedforward": (10, 16), "length": (7, 12)}
ALL = tuple(OPTIMIZERS)
CASES = [
    Case("MLP", "linen", PERCEPTRON, IMAGES, 200, 64, optimizers=ALL, activation=CHOICE, dropout="dropout", norm="layer"),
    Case("MLP", "nnx", PERCEPTRON, IMAGES, 200, 64, optimizers=ALL, activation="relu", dropout="dropout", norm="batch"),
    Case("CNN", "linen", CONVOLUTION, IMAGES, 60, 1, optimizers=("adamw",), activation="softplus", norm="batch"),
    Case("CNN", "nnx", CONVOLUTION, IMAGES, 60, 1, optimizers=("lion",), activation="sigmoid", norm="rms", dropout="dropout"),
    Case("Transformer", "linen", ATTENTION, SENTENCES, 60, None, optimizers=("lamb",), vocabulary=7, padding=0, dropout="dropout"),
    Case("Transformer", "nnx", ATTENTION, SENTENCES, 60, None, optimizers=("adamw",), vocabulary=7, causal=True, pool="last", norm="rms"),
]


class Run:
    """A trainable's compiled parts; `train` gives the state and the losses after some steps."""

    def __init__(self, trainable: jaxhp.Trainable, steps: int):
        self.init = jax.jit(trainable.init, compiler_options=QUICK)

        def run(state: Any, h: Any) -> Any:
            def body(state: Any, t: Any) -> Any:
                batch = trainable.at(trainable.data["train"], jax.random.key(5), t)
                state, metrics = trainable.step(state, h, batch, jax.random.fold_in(jax.random.key(6), t), t)
                return state, metrics["loss"]

            state, losses = jax.lax.scan(body, state, jnp.arange(steps))
            return state, losses, trainable.evaluate(state, h, trainable.data["validation"], jax.random.key(0))["loss"]

        self.run = jax.jit(run, compiler_options=QUICK)

    def train(self, h: Any) -> tuple[Any, Any, Any]:
        trained: tuple[Any, Any, Any] = jax.device_get(self.run(self.init(jax.random.key(3), h), h))
        return trained


def leaves(tree: Any) -> dict[str, np.ndarray[Any, Any]]:
    floats = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(x) for path, x in floats if np.asarray(x).dtype == np.float32}


def parted(large: Any, small: Any) -> tuple[float, float]:
    """The largest difference of the small leaves from the corners of the large ones, and the largest entry beyond the corners."""
    wide, narrow = leaves(large), leaves(small)
    assert narrow and narrow.keys() <= wide.keys()
    difference = beyond = 0.0
    for path, x in wide.items():
        outside = np.ones(x.shape, bool)
        if path in narrow:
            inside = tuple(slice(n) for n in narrow[path].shape)
            outside[inside] = False
            difference = max(difference, float(np.abs(x[inside] - narrow[path]).max(initial=0)))
        beyond = max(beyond, float(np.abs(x[outside]).max(initial=0)))
    return difference, beyond


@pytest.fixture(scope="module", params=CASES, ids=repr)
def pair(request: pytest.FixtureRequest) -> tuple[Case, Run, Run]:
    case: Case = request.param
    return case, Run(case.trainable(), case.steps), Run(case.trainable().resized(case.small), case.steps)


def test_a_padded_network_trains_as_the_truly_small_one(pair: tuple[Case, Run, Run]) -> None:
    case, padded, exact = pair
    for chosen in case.optimizers:
        h = case.hparams(chosen)
        large, losses, evaluated = padded.train(h)
        small, exact_losses, exact_evaluated = exact.train(h)
        np.testing.assert_allclose(losses, exact_losses, rtol=0, atol=1e-5, err_msg=chosen)
        np.testing.assert_allclose(evaluated, exact_evaluated, rtol=0, atol=1e-5, err_msg=chosen)
        assert losses[-10:].mean() < losses[:10].mean()  # it has learnt: this is not the agreement of two networks that stand still
        difference, beyond = parted(large["params"], small["params"])
        assert difference < 1e-4 and beyond == 0, (chosen, difference, beyond)
        difference, beyond = parted(large["optimizer"], small["optimizer"])
        assert difference < 1e-4 and beyond == 0, (chosen, difference, beyond)


def test_initial_weights_of_the_padded_network_have_those_of_the_small_one_in_their_corners(pair: tuple[Case, Run, Run]) -> None:
    case, padded, exact = pair
    h = case.hparams(case.optimizers[0])
    difference, beyond = parted(padded.init(jax.random.key(1), h)["params"], exact.init(jax.random.key(1), h)["params"])
    assert difference < 1e-6 and beyond == 0


def test_two_widths_in_one_vmapped_program_equal_each_alone() -> None:
    case = Case("MLP", "linen", PERCEPTRON, IMAGES, 5, 64, optimizers=("adamw", "lion"), activation=CHOICE, norm="layer")
    trainable = case.trainable()
    batch = jax.tree.map(lambda a: a[:16], trainable.data["train"])
    rows = [case.hparams("adamw"), case.hparams("lion") | {"width": jnp.int32(16), "layers": jnp.int32(3), "activation": jnp.int32(0)}]

    def few(h: Any) -> Any:
        state = trainable.init(jax.random.key(2), h)
        return jax.lax.scan(lambda s, t: trainable.step(s, h, batch, jax.random.fold_in(jax.random.key(4), t), t), state, jnp.arange(5))

    together = jax.jit(jax.vmap(few), compiler_options=QUICK)(jax.tree.map(lambda *x: jnp.stack(x), *rows))
    one = jax.jit(few, compiler_options=QUICK)
    for i, h in enumerate(rows):
        alone = one(h)
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norm", [None, "batch"])
def test_a_small_batch_inside_a_large_one_steps_as_the_small_batch_alone(norm: Any) -> None:
    def make(batch_size: int) -> jaxhp.Trainable:
        return jaxhp.supervised(
            masks.MLP(4, width=8, norm=norm), cross_entropy, IMAGES, batch_size="batch_size", largest_batch=batch_size,
            optimizer=lambda h: optax.adamw(1e-2),
        )  # fmt: skip

    padded = jaxhp.padded(make, batch_size=16)
    exact = padded.resized({"batch_size": 4})
    h = {"batch_size": jnp.int32(4)}
    large, small = padded.init(jax.random.key(0), h), exact.init(jax.random.key(0), h)
    step, alone = jax.jit(padded.step, compiler_options=QUICK), jax.jit(exact.step, compiler_options=QUICK)
    batch = jax.tree.map(lambda a: a[:16], IMAGES["train"])
    for t in range(3):
        # which four of the sixteen count is found by which examples the loss depends on
        counted = [i for i in range(16) if _notices(step, large, h, batch, i, t)]
        assert len(counted) == 4
        large, told = step(large, h, batch, jax.random.key(1), jnp.int32(t))
        small, expected = alone(small, h, jax.tree.map(lambda a, c=counted: a[jnp.array(c)], batch), jax.random.key(1), jnp.int32(t))
        np.testing.assert_allclose(told["loss"], expected["loss"], rtol=0, atol=1e-6)
    for a, b in zip(jax.tree.leaves(large), jax.tree.leaves(small), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def _notices(step: Any, state: Any, h: Any, batch: Any, i: int, t: int) -> bool:
    """Whether the loss of step t notices example i."""
    x, y = batch
    before = step(state, h, (x, y), jax.random.key(1), jnp.int32(t))[1]["loss"]
    after = step(state, h, (x.at[i].add(1.0), (y.at[i].add(1)) % 4), jax.random.key(1), jnp.int32(t))[1]["loss"]
    return bool(before != after)


def test_the_states_shapes_are_those_of_the_largest_sizes() -> None:
    case = CASES[4]
    shapes = check(case.trainable(), case.hparams("lamb")).state["params"]
    assert shapes["layers_1_query"]["kernel"].shape == (12, 3, 4)
    assert shapes["layers_0_down"]["kernel"].shape == (16, 12)
    assert shapes["positions"]["embedding"].shape == (12, 12)
