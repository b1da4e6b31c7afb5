"""Tune a flax network on scikit-learn's handwritten digits, many configurations at once:  jaxhp tune examples/digits.py

1797 grey images of 8 x 8 pixels, ten classes: 997 to train on, 400 to choose by (validation), 400 that are looked at once,
at the end (test). The network is an MLP with a cosine learning rate.

Every hyperparameter is an input of one compiled program, in which configurations train side by side: the optimiser is chosen by
`jaxhp.masks.switch_optimizer`, a smaller batch is a part of the largest one, width and depth are masks over the largest network.
Configurations that look bad early leave their lane to others (ASHA). examples/digits_objective.py tunes without lanes, one
configuration after another.
"""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import jaxhp

OPTIMIZERS = ["sgd", "adamw", "lion"]
WIDEST, DEEPEST, LARGEST_BATCH = 64, 3, 64

# --- data ---------------------------------------------------------------------------------------------------------------------

Examples = tuple[np.ndarray, np.ndarray]  # images (n, 64) float32 in [0, 1], labels (n,) int32


@cache
def split(seed: int) -> dict[str, Examples]:
    """Train, validation and test sets, stratified by class."""
    images, labels = load_digits(return_X_y=True)
    images, labels = (images / 16).astype(np.float32), labels.astype(np.int32)
    x, x_test, y, y_test = train_test_split(images, labels, test_size=400, stratify=labels, random_state=seed)
    x, x_validation, y, y_validation = train_test_split(x, y, test_size=400, stratify=y, random_state=seed)
    return {"train": (x, y), "validation": (x_validation, y_validation), "test": (x_test, y_test)}


# --- network and optimiser, as functions of the hyperparameters h, which are traced ------------------------------------------------

Hyperparameters = dict[str, jax.Array]


class Dropout(nnx.Module):
    """Dropout at a traced rate. (nnx.Dropout wants one that is known when it compiles.)"""

    def __init__(self, rate: jax.Array, rngs: nnx.Rngs) -> None:
        self.rate = nnx.data(rate)
        self.rngs = rngs.dropout.fork()
        self.deterministic = False

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.deterministic:
            return x
        kept = jax.random.bernoulli(self.rngs(), 1.0 - self.rate, x.shape)
        return jnp.where(kept, x / (1.0 - self.rate), 0.0)


class MLP(nnx.Module):
    """ReLU layers with dropout: of DEEPEST layers the first `depth` are there, and of WIDEST units in each the first `width`."""

    def __init__(self, h: Hyperparameters, rngs: nnx.Rngs) -> None:
        self.width, self.depth = nnx.data(h["width"]), nnx.data(h["depth"])
        lecun = nnx.initializers.variance_scaling(WIDEST / h["width"], "fan_in", "truncated_normal")  # of the units that are there
        hidden = [nnx.Linear(WIDEST, WIDEST, kernel_init=lecun, rngs=rngs) for _ in range(DEEPEST - 1)]
        self.hidden = nnx.List([nnx.Linear(64, WIDEST, rngs=rngs), *hidden])
        self.dropout = nnx.List([Dropout(h["dropout"], rngs) for _ in range(DEEPEST)])
        self.logits = nnx.Linear(WIDEST, 10, kernel_init=lecun, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        there = jnp.arange(WIDEST) < self.width
        for i, (layer, dropout) in enumerate(zip(self.hidden, self.dropout, strict=True)):
            y = jnp.where(there, dropout(nnx.relu(layer(x))), 0.0)
            x = y if i == 0 else jnp.where(i < self.depth, y, x)
        return self.logits(x)


def optimizer(h: Hyperparameters) -> optax.GradientTransformation:
    """SGD with momentum, AdamW or Lion, with weight decay and a cosine learning rate."""
    return optax.chain(
        jaxhp.masks.switch_optimizer(h["optimizer"], [optax.trace(h["momentum"]), optax.scale_by_adam(), optax.scale_by_lion()]),
        optax.add_decayed_weights(h["weight_decay"]),
        optax.scale_by_learning_rate(optax.cosine_decay_schedule(h["learning_rate"], steps)),
    )


# --- what `jaxhp tune` reads ----------------------------------------------------------------------------------------------------

space = jaxhp.Space(
    {
        "learning_rate": jaxhp.Float(1e-4, 1.0, log=True, default=1e-3),
        "weight_decay": jaxhp.Float(1e-6, 1.0, log=True, default=1e-4),
        "dropout": jaxhp.Float(0.0, 0.6, default=0.0),
        "width": jaxhp.Ordinal([16, 32, WIDEST], default=64),
        "depth": jaxhp.Int(1, DEEPEST, default=2),
        "batch_size": jaxhp.Ordinal([16, 32, LARGEST_BATCH], default=32),
        "optimizer": jaxhp.Categorical(OPTIMIZERS, default="adamw"),
        "momentum": jaxhp.Float(0.0, 0.99, default=0.9, when={"optimizer": "sgd"}),
    }
)
metric = "loss"
trials = 120
steps = 900
scheduler = jaxhp.asha(eta=3, min_steps=100)
lanes = 16
compare = True


def trainable(seed: int = 0) -> jaxhp.Trainable:
    """The network on a split of the data."""
    return jaxhp.supervised(
        lambda hparams, rngs: MLP(hparams, rngs),
        optax.softmax_cross_entropy_with_integer_labels,
        split(seed),
        optimizer=optimizer,
        batch_size="batch_size",
        largest_batch=LARGEST_BATCH,
        metrics={"accuracy": lambda logits, labels: logits.argmax(axis=1) == labels},
    )
