"""Train in lanes on a grain data source:  pip install grain && python examples/grain_stream.py

Grain (https://google-grain.readthedocs.io) reads and transforms data; its `MapDataset` gives example i for any i, which is just
what a `jaxhp.Stream` asks for. `shuffle` and `repeat` of grain are index-wise, too: epoch after epoch another order, and example i is
always the same one. So trials see the same batches whenever and beside whomever they train, and a study that was killed goes on.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import flax.linen as nn
import grain
import jax
import numpy as np
import optax
from sklearn.datasets import load_digits

import jaxhp

BATCH = 64


class Digits(grain.sources.RandomAccessDataSource):
    """Any object with a length and items is a source: files, array records, a database."""

    def __init__(self, first: int, last: int) -> None:
        images, labels = load_digits(return_X_y=True)
        self.images, self.labels = images[first:last], labels[first:last]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.int32]:
        return self.images[i], np.int32(self.labels[i])


def scaled(example: tuple[np.ndarray, np.int32]) -> tuple[np.ndarray, np.int32]:
    """Grey values in [0, 1]."""
    image, label = example
    return (image / 16).astype(np.float32), label


def stream(source: grain.sources.RandomAccessDataSource, seed: int = 0) -> jaxhp.Stream:
    """An endless, shuffled stream of batches."""
    dataset = grain.MapDataset.source(source).seed(seed).shuffle().map(scaled).repeat()
    threads = ThreadPoolExecutor(4)  # sources that wait for a disk or a network are read side by side

    def read(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        images, labels = zip(*threads.map(dataset.__getitem__, range(start, stop)), strict=True)
        return np.stack(images), np.stack(labels)

    return jaxhp.Stream(read, batch=BATCH)


class Network(nn.Module):
    """A hidden layer with dropout."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = nn.Dropout(0.2, deterministic=not train)(nn.relu(nn.Dense(64)(x)))
        return nn.Dense(10)(x)


def trainable() -> jaxhp.Trainable:
    """Digits 0 ... 1396 to train on, the rest to choose by."""
    held_out = Digits(1397, 1797)
    images, labels = zip(*(scaled(held_out[i]) for i in range(len(held_out))), strict=True)
    return jaxhp.supervised(
        Network(),
        optax.softmax_cross_entropy_with_integer_labels,
        {"train": stream(Digits(0, 1397)), "validation": (np.stack(images), np.stack(labels))},
        optimizer=lambda h: optax.adamw(h["learning_rate"], weight_decay=h["weight_decay"]),
        batch_size=BATCH,
        metrics={"accuracy": lambda logits, y: logits.argmax(axis=1) == y},
    )


def main() -> None:
    space = jaxhp.Space({"learning_rate": jaxhp.Float(1e-4, 1.0, log=True), "weight_decay": jaxhp.Float(1e-6, 1.0, log=True)})
    study = jaxhp.Study(space, metric="loss", seed=0)
    study.train(trainable(), trials=16, steps=300, lanes=8, scheduler=jaxhp.asha(eta=3, min_steps=50))
    print(f"best of {len(study.finished)} trials: loss {study.best.value:.4f}, accuracy {study.best.values['accuracy']:.4f}")
    print(study.best.params)


if __name__ == "__main__":
    main()
