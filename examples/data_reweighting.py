"""Find wrong labels by gradient:  python examples/data_reweighting.py

Of 500 handwritten digits (scikit-learn) a fifth has a wrong label. Every example has a weight in the training loss, a hyperparameter of its
own: 500 in one array. The gradient of the loss on 800 clean validation examples with respect to these weights says which examples harm;
a few steps along it drive the weights of the wrong ones down (learning to reweight, Ren et al., ICML 2018). How well the weights tell
wrong labels from right ones is the area under the ROC curve; what that is worth, the loss on a test set that nobody descended on.

No study is needed: `jaxhp.value_and_hypergrad` is a pure function, and any optax optimiser descends along it. Draws
docs/images/data_reweighting.svg.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import picture
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

import jaxhp

N, WRONG, STEPS, OUTER = 500, 0.2, 60, 30
HIDDEN = 32
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "data_reweighting.svg"

Params = dict[str, jax.Array]
Split = tuple[np.ndarray, np.ndarray]
State = tuple[Params, optax.OptState]


class Data(NamedTuple):
    """Training labels, some of which are wrong, and clean ones."""

    train: Split
    validation: Split
    test: Split
    wrong: np.ndarray  # (n,) bool


def data(seed: int) -> Data:
    x, y = load_digits(return_X_y=True)
    x, y = (x / 16).astype(np.float32), y.astype(np.int32)
    x, x_test, y, y_test = train_test_split(x, y, train_size=N + 800, stratify=y, random_state=seed)
    x, x_validation, y, y_validation = train_test_split(x, y, train_size=N, stratify=y, random_state=seed)
    rng = np.random.default_rng(seed)
    wrong = np.zeros(N, bool)
    wrong[rng.choice(N, round(WRONG * N), replace=False)] = True
    labels = np.where(wrong, (y + rng.integers(1, 10, N)) % 10, y).astype(np.int32)
    return Data((x, labels), (x_validation, y_validation), (x_test, y_test), wrong)


def apply(p: Params, x: jax.Array) -> jax.Array:
    return jnp.tanh(x @ p["first"] + p["b"]) @ p["second"] + p["c"]


def losses(p: Params, split: Split) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(apply(p, split[0]), split[1])


def trainable(d: Data) -> jaxhp.Trainable:
    """Adam on the weighted loss; `h["weight"]` (n,) are logits of the weights."""
    optimizer = optax.adam(0.01)

    def init(key: jax.Array, h: Params) -> State:
        a, b = jax.random.split(key)
        first, second = jax.random.normal(a, (64, HIDDEN)) / 8, jax.random.normal(b, (HIDDEN, 10)) / np.sqrt(HIDDEN)
        p = {"first": first, "b": jnp.zeros(HIDDEN), "second": second, "c": jnp.zeros(10)}
        return p, optimizer.init(p)

    def step(state: State, h: Params, batch: Split, key: jax.Array, t: jax.Array) -> tuple[State, dict[str, jax.Array]]:
        weights = jax.nn.sigmoid(h["weight"])
        gradients = jax.grad(lambda p: (weights * losses(p, batch)).sum() / weights.sum())(state[0])
        updates, moments = optimizer.update(gradients, state[1])
        return (optax.apply_updates(state[0], updates), moments), {}

    def evaluate(state: State, h: Params, split: Split, key: jax.Array) -> dict[str, jax.Array]:
        return {"loss": losses(state[0], split).mean()}

    return jaxhp.Trainable(init, step, evaluate, {"train": d.train, "validation": d.validation, "test": d.test})


class Found(NamedTuple):
    """What the descent came to."""

    weights: np.ndarray  # (n,)
    validation: list[float]  # by outer step
    auc: list[float]


def reweighted(d: Data, seed: int, outer: int = OUTER) -> Found:
    """Weights of the training examples, by descent on the validation loss; a fresh network at every outer step.

    Of hundreds of gradients one explodes, and Adam would remember its size for the rest of the way: so directions alone count.
    """
    hypergrad = jax.jit(jaxhp.value_and_hypergrad(trainable(d), STEPS, "weight", adjoint=jaxhp.Reverse(), guard=False))
    optimizer = optax.chain(optax.normalize_by_update_norm(), optax.adam(0.3))
    weight = jnp.full(N, 2.0)
    state, validation, auc = optimizer.init(weight), [], []
    for i in range(outer):
        value, gradient, _ = hypergrad({"weight": weight}, jaxhp.lane_key(seed, i))
        updates, state = optimizer.update(gradient["weight"], state)
        weight = optax.apply_updates(weight, updates)
        validation.append(float(value))
        auc.append(float(roc_auc_score(d.wrong, -np.asarray(weight))))
    return Found(np.asarray(jax.nn.sigmoid(weight)), validation, auc)


def tested(d: Data, weights: np.ndarray, repeats: int = 5) -> float:
    """The mean test loss of fresh networks that are trained with these weights."""
    task, h = trainable(d), {"weight": jnp.log(weights) - jnp.log1p(-weights)}

    def one(key: jax.Array) -> jax.Array:
        state, _ = jax.lax.scan(lambda state, t: (task.step(state, h, d.train, key, t)[0], None), task.init(key, h), jnp.arange(STEPS))
        return task.evaluate(state, h, d.test, key)["loss"]

    return float(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(7), repeats)).mean())


def draw(d: Data, found: Found) -> None:
    steps = list(range(len(found.auc)))
    order = np.argsort(found.weights)
    kinds = {"right label": ~d.wrong[order], "wrong label": d.wrong[order]}
    weights = {name: (np.flatnonzero(chosen), found.weights[order][chosen]) for name, chosen in kinds.items()}
    picture.save(
        PICTURE,
        [
            picture.lines("validation loss", "outer step", "", {"": (steps, found.validation)}),
            picture.lines("finding wrong labels", "outer step", "AUC", {"": (steps, found.auc)}),
            picture.lines("weights that were found", "training example, sorted", "weight", weights, points=True),
        ],
    )


if __name__ == "__main__":
    d = data(seed=0)
    found = reweighted(d, seed=0)
    right = np.clip((~d.wrong).astype(np.float32), 1e-4, 1 - 1e-4)
    print(f"wrong labels found: area under the curve {found.auc[-1]:.3f}")
    losses_of = {"all alike": np.full(N, 0.5), "learned": np.clip(found.weights, 1e-4, 1 - 1e-4), "if one knew": right}
    print("test loss by weights:", ", ".join(f"{name} {tested(d, w):.3f}" for name, w in losses_of.items()))
    draw(d, found)
    print(f"drawn: {PICTURE}")
