"""Width, depth, activation, optimiser and batch size of a network on handwritten digits, tuned in one compiled program.

Every trial is trained in arrays of the largest sizes, masked to its own (docs/structure.md). Nothing is recompiled from trial to trial.
"""

from __future__ import annotations

import numpy as np
import optax
from sklearn.datasets import load_digits

import jaxhp
from jaxhp import masks

WIDEST, DEEPEST, LARGEST_BATCH = 64, 3, 64
ACTIVATIONS = ("relu", "gelu", "tanh")

x, y = load_digits(return_X_y=True)
x, y = (x / 16).astype(np.float32), y.astype(np.int32)
order = np.random.default_rng(0).permutation(len(x))
train, validation, test = np.split(order, [997, 1397])
data = {"train": (x[train], y[train]), "validation": (x[validation], y[validation]), "test": (x[test], y[test])}

space = jaxhp.Space(
    {
        "width": jaxhp.Int(4, WIDEST, log=True),
        "layers": jaxhp.Int(1, DEEPEST),
        "activation": jaxhp.Categorical(ACTIVATIONS),
        "optimizer": jaxhp.Categorical(["adamw", "lion", "sgd"]),
        "learning_rate": jaxhp.Float(1e-4, 1.0, log=True),
        "batch_size": jaxhp.Ordinal([16, 32, LARGEST_BATCH]),
    }
)


def make(width: int, layers: int) -> jaxhp.Trainable:
    """The network in arrays of these sizes; each trial reads its own from the hyperparameters."""
    return jaxhp.supervised(
        masks.MLP(10, width=("width", width), layers=("layers", layers), activation=("activation", ACTIVATIONS)),
        optax.softmax_cross_entropy_with_integer_labels,
        data,
        batch_size="batch_size",
        largest_batch=LARGEST_BATCH,
        optimizer=lambda h: masks.switch_optimizer(
            h["optimizer"],
            [optax.adamw(h["learning_rate"]), optax.lion(0.1 * h["learning_rate"]), optax.sgd(h["learning_rate"], momentum=0.9)],
        ),
        metrics={"accuracy": lambda logits, y: logits.argmax(axis=1) == y},
    )


def main(trials: int = 60, steps: int = 480) -> jaxhp.Study:
    """Tunes, and prints the best configuration and what it is worth on data that the search never saw."""
    study = jaxhp.Study(space, metric="loss", seed=0)
    trainable = jaxhp.padded(make, width=WIDEST, layers=DEEPEST)
    study.train(trainable, trials=trials, steps=steps, lanes=8, scheduler=jaxhp.asha(eta=3, min_steps=steps // 9))
    print("best:", study.best.params)
    print("validation:", study.best.values)
    print("test, trained anew under 3 seeds:", study.test(repeats=3))
    return study


if __name__ == "__main__":
    main()
