"""Tune a flax network on handwritten digits, one configuration after another:  jaxhp tune examples/digits_objective.py

1797 grey images of 8 x 8 pixels, ten classes: 997 to train on, 400 to choose by (validation), 400 that are looked at once,
at the end (test). The network is an MLP, trained for 40 epochs with a cosine learning rate.

What costs time in such a search is compiling, not training. XLA compiles one program per array shape, so only what changes a shape is
static here: width, depth and batch size, 27 programs in all. Learning rate, weight decay, dropout, momentum and even the
optimiser are ordinary inputs of a program: new values never recompile it.
"""

from __future__ import annotations

from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import jaxhp

jax.config.update("jax_compilation_cache_dir", str(Path(__file__).resolve().with_name(".xla_cache")))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

EPOCHS = 40
OPTIMIZERS = ["sgd", "adamw", "lion"]

# --- what `jaxhp tune` reads ----------------------------------------------------------------------------------------------

space = jaxhp.Space(
    {
        "learning_rate": jaxhp.Float(1e-4, 1.0, log=True, default=1e-3),
        "weight_decay": jaxhp.Float(1e-6, 1.0, log=True, default=1e-4),
        "dropout": jaxhp.Float(0.0, 0.6, default=0.0),
        "width": jaxhp.Ordinal([32, 64, 128], default=64),
        "depth": jaxhp.Int(1, 3, default=2),
        "batch_size": jaxhp.Ordinal([32, 64, 128], default=64),
        "optimizer": jaxhp.Categorical(OPTIMIZERS, default="adamw"),
        "momentum": jaxhp.Float(0.0, 0.99, default=0.9, when={"optimizer": "sgd"}),
    }
)
metric = "loss"
trials = 60
compare = True


def objective(trial: jaxhp.Trial) -> dict[str, float]:
    """Validation loss, which is minimised, and accuracy, which is only recorded."""
    train, validation, _ = split(seed=0)
    return score(trial.params, trial.seed, train, validation)


def test(params: dict[str, Any]) -> dict[str, float]:
    """Held-out accuracy of a configuration: the mean over five trainings with fresh seeds."""
    train, _, held_out = split(seed=0)
    scores = [score(params, seed, train, held_out) for seed in range(5)]
    return {"accuracy": float(np.mean([s["accuracy"] for s in scores]))}


# --- data ---------------------------------------------------------------------------------------------------------------------

Examples = tuple[np.ndarray, np.ndarray]  # images (n, 64) float32 in [0, 1], labels (n,) int32


@cache
def split(seed: int) -> tuple[Examples, Examples, Examples]:
    """Train, validation and test sets, stratified by class. The last two have one size, so that they share programs."""
    images, labels = load_digits(return_X_y=True)
    images, labels = (images / 16).astype(np.float32), labels.astype(np.int32)
    x, x_test, y, y_test = train_test_split(images, labels, test_size=400, stratify=labels, random_state=seed)
    x, x_validation, y, y_validation = train_test_split(x, y, test_size=400, stratify=y, random_state=seed)
    return (x, y), (x_validation, y_validation), (x_test, y_test)


# --- network and training -----------------------------------------------------------------------------------------------------


class MLP(nnx.Module):
    """`depth` hidden layers of `width` units, ReLU, dropout after each."""

    def __init__(self, width: int, depth: int, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.List([nnx.Linear(i, o, rngs=rngs) for i, o in pairwise([64] + [width] * depth)])
        self.logits = nnx.Linear(width, 10, rngs=rngs)

    def __call__(self, x: jax.Array, dropout: jax.Array | float = 0.0, key: jax.Array | None = None) -> jax.Array:
        """Logits (n, 10); without a key nothing is dropped. (nnx.Dropout would want a rate that is known when it compiles.)"""
        for i, layer in enumerate(self.hidden):
            x = nnx.relu(layer(x))
            if key is not None:
                kept = jax.random.bernoulli(jax.random.fold_in(key, i), 1.0 - dropout, x.shape)
                x = jnp.where(kept, x / (1.0 - dropout), 0.0)
        return self.logits(x)


def switch(choice: jax.Array, transforms: list[optax.GradientTransformation]) -> optax.GradientTransformation:
    """The transform that `choice`, a traced index, names."""

    def update(i: int, gradient: optax.Updates, state: optax.OptState, params: optax.Params) -> tuple[optax.Updates, optax.OptState]:
        updates, own = transforms[i].update(gradient, state[i], params)
        return updates, (*state[:i], own, *state[i + 1 :])

    return optax.GradientTransformation(
        init=lambda params: tuple(t.init(params) for t in transforms),
        update=lambda gradient, state, params=None: jax.lax.switch(
            choice, [partial(update, i) for i in range(len(transforms))], gradient, state, params
        ),
    )


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross-entropy of logits (n, 10) and labels (n,)."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@partial(jax.jit, static_argnames=("width", "depth"))
def initial(width: int, depth: int, key: jax.Array) -> nnx.State:
    """Fresh weights."""
    return nnx.state(MLP(width, depth, nnx.Rngs(key)))


# Level 1 of LLVM's optimiser compiles twice as fast as the default, and programs this small run no slower.
@partial(jax.jit, static_argnames=("width", "depth", "batch_size"), compiler_options={"xla_backend_optimization_level": 1})
def fit(
    weights: nnx.State,
    order: jax.Array,  # (EPOCHS, n) the examples of each epoch, shuffled
    key: jax.Array,
    hyperparameters: dict[str, jax.Array],
    train: Examples,
    held_out: Examples,
    *,
    width: int,
    depth: int,
    batch_size: int,
) -> dict[str, jax.Array]:
    """Trains and returns loss and accuracy on the held-out examples. One program per (width, depth, batch_size)."""
    images, labels = train
    h = hyperparameters
    graph = nnx.graphdef(nnx.eval_shape(lambda: MLP(width, depth, nnx.Rngs(0))))
    batches = order[:, : order.shape[1] // batch_size * batch_size].reshape(-1, batch_size)
    optimizer = optax.chain(
        switch(h["optimizer"], [optax.trace(h["momentum"]), optax.scale_by_adam(), optax.scale_by_lion()]),
        optax.add_decayed_weights(h["weight_decay"]),
        optax.scale_by_learning_rate(optax.cosine_decay_schedule(h["learning_rate"], len(batches))),
    )

    def step(carry: tuple[nnx.State, optax.OptState], batch: tuple[jax.Array, jax.Array]) -> tuple[tuple[nnx.State, optax.OptState], None]:
        weights, state = carry
        rows, key = batch

        def loss(weights: nnx.State) -> jax.Array:
            return cross_entropy(nnx.merge(graph, weights)(images[rows], h["dropout"], key), labels[rows])

        updates, state = optimizer.update(jax.grad(loss)(weights), state, weights)
        return (optax.apply_updates(weights, updates), state), None

    (weights, _), _ = jax.lax.scan(step, (weights, optimizer.init(weights)), (batches, jax.random.split(key, len(batches))))
    logits = nnx.merge(graph, weights)(held_out[0])
    return {"loss": cross_entropy(logits, held_out[1]), "accuracy": (logits.argmax(axis=1) == held_out[1]).mean()}


def score(params: dict[str, Any], seed: int, train: Examples, held_out: Examples) -> dict[str, float]:
    """Loss and accuracy on `held_out` after training with a configuration: a function of its arguments alone."""
    generator = np.random.default_rng(seed)
    init_key, dropout_key = jax.random.split(jax.random.key(generator.integers(1 << 31)))
    order = generator.permuted(np.tile(np.arange(len(train[1]), dtype=np.int32), (EPOCHS, 1)), axis=1)
    traced = {name: np.float32(params[name]) for name in ("learning_rate", "weight_decay", "dropout")}
    traced["momentum"] = np.float32(params.get("momentum", 0.0))
    traced["optimizer"] = np.int32(OPTIMIZERS.index(params["optimizer"]))
    static = {name: params[name] for name in ("width", "depth")}
    metrics = fit(initial(**static, key=init_key), order, dropout_key, traced, train, held_out, **static, batch_size=params["batch_size"])
    return {name: float(value) for name, value in metrics.items()}
