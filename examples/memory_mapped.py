"""Train in lanes on data that does not fit into memory:  python examples/memory_mapped.py [folder] [--examples 200000]

The file is written once, here with synthetic images of ten classes; a `jaxhp.Stream` then reads a segment's examples at a time from
it, in a thread, while the device works on the last ones. Example i of a stream must always be the same one, and a stream has no end:
so each epoch is shuffled by a function of its number, and reading wraps around. To read fast, whole blocks of rows are shuffled
and not single ones: the file is read in long runs.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxhp

FEATURES, CLASSES = 64, 10
BLOCK = 1024  # rows that stay together


def examples(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy pictures (n, 64) float32 of ten patterns, and which pattern each shows (n,) int32."""
    generator = np.random.default_rng(seed)
    patterns = np.random.default_rng(0).normal(size=(CLASSES, FEATURES))
    labels = generator.integers(CLASSES, size=n).astype(np.int32)
    return (0.3 * patterns[labels] + generator.normal(size=(n, FEATURES))).astype(np.float32), labels


def write(folder: Path, n: int) -> None:
    """The files of n examples, a block at a time: they need never be in memory at once."""
    folder.mkdir(parents=True, exist_ok=True)
    x = np.lib.format.open_memmap(folder / "x.npy", mode="w+", dtype=np.float32, shape=(n, FEATURES))
    y = np.lib.format.open_memmap(folder / "y.npy", mode="w+", dtype=np.int32, shape=(n,))
    for k, start in enumerate(range(0, n, BLOCK)):
        stop = min(start + BLOCK, n)
        x[start:stop], y[start:stop] = examples(stop - start, seed=1 + k)
    x.flush()
    y.flush()


def stream(folder: Path, batch: int) -> jaxhp.Stream:
    """The files as a stream of pairs; rows beyond the last whole block are left out."""
    x, y = (np.load(folder / name, mmap_mode="r") for name in ("x.npy", "y.npy"))
    blocks = len(y) // BLOCK

    def rows(start: int, stop: int) -> np.ndarray:
        """Where examples start ... stop - 1 stand in the file."""
        block, within = np.divmod(np.arange(start, stop), BLOCK)
        epoch, place = np.divmod(block, blocks)
        found = np.empty_like(block)
        for e in np.unique(epoch):
            here = epoch == e
            found[here] = np.random.default_rng(int(e)).permutation(blocks)[place[here]]
        return found * BLOCK + within

    def read(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        index = rows(start, stop)
        return x[index], y[index]

    return jaxhp.Stream(read, batch=batch)


def trainable(folder: Path, batch: int = 128) -> jaxhp.Trainable:
    """A network with one hidden layer."""

    def init(key: jax.Array) -> dict[str, jax.Array]:
        a, b = jax.random.split(key)
        return {"in": jax.random.normal(a, (FEATURES, 32)) / 8, "out": jax.random.normal(b, (32, CLASSES)) / 6}

    def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        return jnp.tanh(x @ params["in"]) @ params["out"]

    return jaxhp.supervised(
        (init, apply),
        optax.softmax_cross_entropy_with_integer_labels,
        {"train": stream(folder, batch), "validation": examples(2000, seed=1 << 20)},
        optimizer=lambda h: optax.adam(h["learning_rate"], b1=h["b1"]),
        batch_size=batch,
        metrics={"accuracy": lambda logits, y: logits.argmax(axis=1) == y},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="of the data; a temporary one by default")
    parser.add_argument("--examples", type=int, default=200_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        if not (folder / "y.npy").exists():
            write(folder, arguments.examples)
        space = jaxhp.Space({"learning_rate": jaxhp.Float(1e-4, 1.0, log=True), "b1": jaxhp.Float(0.0, 0.99)})
        study = jaxhp.Study(space, metric="loss", seed=0)
        study.train(trainable(folder), trials=16, steps=400, lanes=8, scheduler=jaxhp.asha(eta=3, min_steps=50))
        print(f"best of {len(study.finished)} trials: loss {study.best.value:.4f}, accuracy {study.best.values['accuracy']:.4f}")
        print(study.best.params)


if __name__ == "__main__":
    main()
