"""Tune 130 weight decays of one network by gradient:  python examples/per_layer_decay.py

Handwritten digits (scikit-learn), of which 300 are to train on, with a nuisance: beside the 64 pixels of an image stand 64 columns of other
images. An MLP fits them as well, unless they decay. Each of the 128 inputs has a weight decay of its own here, and so have the biases and
the output layer: 130 hyperparameters, too many for a search that sees values alone. A gradient through the whole of training costs about
four trainings, however many hyperparameters there are.

The price is that 130 numbers can fit the validation set. So there are four parts of the data: to train on, to descend on, to choose by
(`jaxhp.held_back`), and a test set that is looked at once, at the end. Draws docs/images/per_layer_decay.svg.
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import picture
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import jaxhp

HIDDEN, STEPS, TRIALS = 32, 200, 20  # 20 trainings with their gradients cost about 100 without
DECAYS = {"input": 128, "layer": 2}
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "per_layer_decay.svg"

space = jaxhp.Space({name: {str(i): jaxhp.Float(1e-6, 1.0, log=True) for i in range(n)} for name, n in DECAYS.items()})

Params = dict[str, jax.Array]


def init(key: jax.Array) -> Params:
    a, b = jax.random.split(key)
    first = jax.random.normal(a, (128, HIDDEN)) / np.sqrt(128)
    second = jax.random.normal(b, (HIDDEN, 10)) / np.sqrt(HIDDEN)
    return {"first": first, "b": jnp.zeros(HIDDEN), "second": second, "c": jnp.zeros(10)}


def apply(p: Params, x: jax.Array) -> jax.Array:
    return jnp.tanh(x @ p["first"] + p["b"]) @ p["second"] + p["c"]


def optimizer(h: dict[str, jax.Array]) -> optax.GradientTransformation:
    """Momentum, with a decay for each group of weights."""
    inputs, layers = (jnp.stack([h[f"{name}.{i}"] for i in range(n)]) for name, n in DECAYS.items())
    rates = {"first": inputs[:, None], "b": layers[0], "second": layers[1], "c": layers[0]}

    def decayed(gradients: Params, state: optax.EmptyState, params: Params) -> tuple[Params, optax.EmptyState]:
        return {name: g + rates[name] * params[name] for name, g in gradients.items()}, state

    return optax.chain(optax.GradientTransformation(lambda params: optax.EmptyState(), decayed), optax.sgd(0.1, momentum=0.9))


def split(seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """300 examples to train on, 800 to validate, 697 to test."""
    x, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    x = np.concatenate([x, np.stack([rng.permutation(column) for column in x.T], axis=1)], axis=1) / 16
    x, x_test, y, y_test = train_test_split(x.astype(np.float32), y.astype(np.int32), train_size=1100, stratify=y, random_state=seed)
    x, x_validation, y, y_validation = train_test_split(x, y, train_size=300, stratify=y, random_state=seed)
    return {"train": (x, y), "validation": (x_validation, y_validation), "test": (x_test, y_test)}


def plain(seed: int) -> jaxhp.Trainable:
    loss = optax.softmax_cross_entropy_with_integer_labels
    return jaxhp.supervised((init, apply), loss, data=split(seed), batch_size=300, optimizer=optimizer)


def descended(seed: int, trials: int = TRIALS) -> jaxhp.Study:
    """A study that follows the gradient of the validation loss, and chooses by examples that were held back from it."""
    sampler = jaxhp.hypergradient_descent(optax.adam(0.5, b1=0.7), starts=1)
    study = jaxhp.Study(space, sampler=sampler, metric="held_back_loss", name="decays", seed=seed)
    trainable = jaxhp.held_back(plain(seed), share=0.25)
    return study.train(trainable, trials, steps=STEPS, lanes=1, adjoint=jaxhp.Reverse(), differentiate="loss")


def draw(study: jaxhp.Study) -> None:
    """The losses by trial, and the decays that were found, as the image lies."""
    losses = {"descended on": "loss", "held back": "held_back_loss"}
    trials = [t.number for t in study.finished]
    curves = {label: (trials, [t.values[name] for t in study.finished]) for label, name in losses.items()}
    decays = np.log10([study.best.params[f"input.{i}"] for i in range(128)]).reshape(2, 8, 8)
    maps = [picture.cells(title, d, -6.0, 0.0) for title, d in zip(("decay of pixels", "decay of foreign columns"), decays, strict=True)]
    picture.save(PICTURE, [picture.lines("validation loss", "trial", "", curves), *maps])


if __name__ == "__main__":
    study = descended(seed=0)
    before, after = study.test(study.finished[0].params), study.test()
    print(f"one decay for all, 1e-3: test loss {before['loss']:.3f}")
    print(f"130 decays by gradient:  test loss {after['loss']:.3f}, held back {study.best.value:.3f}, of trial {study.best.number}")
    draw(study)
    print(f"drawn: {PICTURE}")
