"""`padded`: a trainable that can be made again at other sizes."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import jaxhp
from jaxhp.errors import TrainableError
from jaxhp.train import check

DATA = {"train": np.ones(3, np.float32), "validation": np.ones(3, np.float32)}


def make(width: int, layers: int = 1) -> jaxhp.Trainable:
    return jaxhp.Trainable(
        init=lambda key, hparams: jnp.zeros((layers, width)),
        step=lambda w, hparams, batch, key, t: (w, {}),
        evaluate=lambda w, hparams, split, key: {"loss": w.sum()},
        data={name: x.copy() for name, x in DATA.items()},
    )


def test_a_padded_trainable_has_the_largest_shapes_and_says_its_sizes() -> None:
    trainable = jaxhp.padded(make, width=16, layers=2)
    assert check(trainable, {}).state.shape == (2, 16)
    assert trainable.sizes == {"width": 16, "layers": 2} and trainable.make is make
    assert jaxhp.Trainable(*make(1)[:4]).sizes == {}


def test_resizing_keeps_what_is_not_given_and_shares_the_data() -> None:
    trainable = jaxhp.padded(make, width=16, layers=2)
    small = trainable.resized({"width": 5})
    assert check(small, {}).state.shape == (2, 5)
    assert small.sizes == {"width": 5, "layers": 2}
    assert small.data["train"] is trainable.data["train"]
    assert check(small.resized({"width": 16, "layers": 3}), {}).state.shape == (3, 16)


def test_data_whose_shape_is_a_size_is_not_shared() -> None:
    def cropped(length: int) -> jaxhp.Trainable:
        return make(1)._replace(data={name: np.zeros(length, np.float32) for name in DATA})

    trainable = jaxhp.padded(cropped, length=9)
    assert trainable.resized({"length": 4}).data["train"].shape == (4,)


@pytest.mark.parametrize(
    ("called", "says"),
    [
        (lambda: jaxhp.padded(make), "which hyperparameters change shapes"),
        (lambda: jaxhp.padded(make(1), width=3), "make: expected a function of sizes.*got Trainable"),
        (lambda: jaxhp.padded(make, width=0), "width=0 is no size"),
        (lambda: jaxhp.padded(make, width=True), "width=True is no size"),
        (lambda: jaxhp.padded(make, width=8.0), "width=8.0 is no size"),
        (lambda: jaxhp.padded(make, breadth=8), r"make\(width.*cannot be called with breadth=8"),
        (lambda: jaxhp.padded(lambda width: width, width=8), r"make\(width=8\) returned int, not a jaxhp.Trainable"),
        (lambda: make(1).resized({"width": 3}), r"build it with jaxhp.padded"),
        (lambda: jaxhp.padded(make, width=8).resized({"depth": 3}), "'depth' is no size of this trainable, which has 'width'"),
        (lambda: jaxhp.padded(make, width=8).resized({"width": -1}), "width=-1 is no size"),
        (lambda: jaxhp.padded(make, width=8).resized(4), "expected a dict of sizes.*got 4"),
    ],
)
def test_an_error_at_the_door_says_what_is_wrong(called: Any, says: str) -> None:
    with pytest.raises(TrainableError, match=says):
        called()
