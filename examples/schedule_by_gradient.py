"""Find a learning-rate schedule by gradient:  python examples/schedule_by_gradient.py

A network is to learn handwritten digits (scikit-learn) in 100 steps of Adam, so that the schedule matters. First `bayes` finds the best
warm-up with cosine decay: three hyperparameters. Then the schedule is set free: 100 knots, one a step, descend from there in one array,
along the gradient of the validation loss.

Each schedule is tried with several fresh networks side by side, so that it does not fit one of them; a test set tells what it is worth.
Draws docs/images/schedule_by_gradient.svg.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import picture
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import jaxhp

STEPS, HIDDEN, BATCH = 100, 32, 64
SEEDS = 8  # networks that a schedule is tried with
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "schedule_by_gradient.svg"

space = jaxhp.Space({"peak": jaxhp.Float(1e-3, 1.0, log=True), "warmup": jaxhp.Float(0.01, 0.5), "final": jaxhp.Float(1e-3, 1.0, log=True)})

Params = dict[str, jax.Array]
Split = tuple[np.ndarray, np.ndarray]
State = tuple[Params, optax.OptState]


def cosine(h: Params) -> jax.Array:
    """log rates (STEPS,): a linear warm-up to the peak, then half a cosine to `final` of it."""
    t = jnp.arange(1, STEPS + 1) / STEPS
    rising = jnp.minimum(t / h["warmup"], 1.0)
    falling = h["final"] + (1.0 - h["final"]) * 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.clip((t - h["warmup"]) / (1.0 - h["warmup"]), 0.0, 1.0)))
    return jnp.log(h["peak"]) + jnp.log(rising * falling)


def free(h: Params) -> jax.Array:
    """log rates (STEPS,) that are hyperparameters themselves."""
    return h["knots"]


def data(seed: int) -> dict[str, Split]:
    """800 examples to train on, 500 to validate, 497 to test."""
    x, y = load_digits(return_X_y=True)
    x, y = (x / 16).astype(np.float32), y.astype(np.int32)
    x, x_test, y, y_test = train_test_split(x, y, train_size=1300, stratify=y, random_state=seed)
    x, x_validation, y, y_validation = train_test_split(x, y, train_size=800, stratify=y, random_state=seed)
    return {"train": (x, y), "validation": (x_validation, y_validation), "test": (x_test, y_test)}


def trainable(splits: dict[str, Split], schedule: Callable[[Params], jax.Array]) -> jaxhp.Trainable:
    """Adam on a network of two hidden layers, at the rates of a schedule."""
    adam = optax.scale_by_adam()

    def init(key: jax.Array, h: Params) -> State:
        a, b, c = jax.random.split(key, 3)
        shapes = {"a": (a, 64, HIDDEN), "b": (b, HIDDEN, HIDDEN), "c": (c, HIDDEN, 10)}
        p = {name: jax.random.normal(k, (m, n)) / np.sqrt(m) for name, (k, m, n) in shapes.items()}
        return p, adam.init(p)

    def loss(p: Params, split: Split) -> jax.Array:
        outputs = jnp.tanh(jnp.tanh(split[0] @ p["a"]) @ p["b"]) @ p["c"]
        return optax.softmax_cross_entropy_with_integer_labels(outputs, split[1]).mean()

    def step(state: State, h: Params, batch: Split, key: jax.Array, t: jax.Array) -> tuple[State, dict[str, jax.Array]]:
        p, moments = state
        directions, moments = adam.update(jax.grad(loss)(p, batch), moments)
        rate = jnp.exp(schedule(h)[t])
        return (jax.tree.map(lambda w, d: w - rate * d, p, directions), moments), {}

    def batch(train: Split, key: jax.Array, t: jax.Array) -> Split:
        rows = jax.random.randint(jax.random.fold_in(key, t), (BATCH,), 0, len(train[0]))
        return jax.tree.map(lambda a: jnp.asarray(a)[rows], train)

    return jaxhp.Trainable(init, step, lambda state, h, split, key: {"loss": loss(state[0], split)}, splits, batch)


def searched(splits: dict[str, Split], trials: int, seed: int) -> jaxhp.Study:
    """The cosine schedules that `bayes` finds."""
    study = jaxhp.Study(space, sampler=jaxhp.bayes(), metric="loss", name="cosine", seed=seed, stochastic=True)
    return study.train(trainable(splits, cosine), trials, steps=STEPS, evaluate_every=STEPS, lanes=SEEDS, seeds=SEEDS)


class Descent(NamedTuple):
    """Where a descent came to."""

    knots: jax.Array
    losses: list[float]  # on the validation set, by outer step


def descended(splits: dict[str, Split], knots: jax.Array, outer: int, seed: int) -> Descent:
    """From these knots along the gradient, which is the mean of SEEDS fresh networks'; none counts for more than length 1.

    Near the edge of stability some networks' gradients explode. Smoothed over neighbouring knots, a step keeps the schedule a curve. The
    mean over the last quarter of the way is less noisy than any one schedule on it. It is not chosen by validation: that has chosen the
    start, which looks better there than it is.
    """
    one = jaxhp.value_and_hypergrad(trainable(splits, free), STEPS, "knots", adjoint=jaxhp.Reverse(), guard=False, seed=seed)
    function = jax.jit(jax.vmap(one, in_axes=(None, 0)))
    optimizer = optax.adam(0.05)
    state, way, losses = optimizer.init(knots), [knots], []
    window = np.exp(-0.5 * (np.arange(-9, 10) / 3.0) ** 2)
    for i in range(outer):
        value, gradient, _ = function({"knots": knots}, jnp.stack([jaxhp.lane_key(seed, 10**6 + i, j) for j in range(SEEDS)]))
        slopes = jnp.nan_to_num(gradient["knots"], posinf=0.0, neginf=0.0)
        mean = (slopes / jnp.maximum(1.0, jnp.linalg.norm(slopes, axis=1, keepdims=True))).mean(axis=0)
        smooth = jnp.convolve(jnp.pad(mean, 9, mode="edge"), window / window.sum(), mode="valid")
        updates, state = optimizer.update(smooth, state)
        knots = optax.apply_updates(knots, updates)
        way.append(knots)
        losses.append(float(value.mean()))
    return Descent(jnp.stack(way[3 * outer // 4 :]).mean(axis=0), losses)


def judged(splits: dict[str, Split], schedules: list[jax.Array], repeats: int = 20) -> list[float]:
    """The mean test loss of fresh networks, for each of some schedules."""
    task = trainable(splits, free)

    def one(knots: jax.Array, key: jax.Array) -> jax.Array:
        h = {"knots": knots}
        state, _ = jax.lax.scan(
            lambda state, t: (task.step(state, h, task.batch(splits["train"], key, t), key, t)[0], None),
            task.init(key, h),
            jnp.arange(STEPS),
        )
        return task.evaluate(state, h, splits["test"], key)["loss"]

    keys = jax.random.split(jax.random.key(7), repeats)
    values: list[float] = jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))(jnp.stack(schedules), keys).mean(axis=1).tolist()
    return values


def best_cosine(splits: dict[str, Split], trials: int, seed: int) -> jax.Array:
    """The log rates (STEPS,) of the best schedule that `bayes` finds among warm-ups with cosine decay."""
    best = searched(splits, trials, seed).best
    return cosine({name: jnp.float32(x) for name, x in best.params.items()})


def draw(before: jax.Array, found: Descent) -> None:
    t = list(range(STEPS))
    rates = {"best cosine": (t, np.exp(before).tolist()), "by gradient": (t, np.exp(found.knots).tolist())}
    losses = {"": (list(range(len(found.losses))), found.losses)}
    picture.save(PICTURE, [picture.lines("learning rate", "step", "", rates), picture.lines("validation loss", "outer step", "", losses)])


if __name__ == "__main__":
    splits = data(seed=0)
    before = best_cosine(splits, trials=25, seed=0)
    found = descended(splits, before, outer=24, seed=0)
    values = judged(splits, [before, found.knots])
    print(f"test loss: best of 25 cosine schedules {values[0]:.3f}, after 24 steps of 100 knots {values[1]:.3f}")
    draw(before, found)
    print(f"drawn: {PICTURE}")
