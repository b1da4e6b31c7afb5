"""A multi-layer perceptron whose width and depth may be traced: dense, normalisation, activation, dropout, `layers` times, and a head."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax

from jaxhp.train.masks._draws import named
from jaxhp.train.masks._network import NORMS, Arrays, Hparams, Norm, Pass, fresh_statistics, kernel_part, layer_there, norm_part
from jaxhp.train.masks._sizes import Choice, Number, Size, activated, check_fields, largest, true, value
from jaxhp.train.masks._units import dense, gated, masked


@dataclass(unsafe_hash=True)
class MLPNetwork:
    """The fields and the mathematics of `jaxhp.masks.MLP`."""

    outputs: int
    width: Size = 128
    layers: Size = 2  # hidden ones
    activation: Choice = "relu"
    dropout: Number = 0.0  # after each hidden layer
    norm: Norm = None  # "layer", "rms" or "batch", before each activation

    def check(self) -> None:
        """Refuses fields that are none.

        Raises:
            TrainableError: naming the field, the value and what is expected.
        """
        check_fields(self, ("outputs", "width", "layers"), NORMS)

    def draw(self, key: jax.Array, shape: tuple[int, ...], hparams: Hparams) -> Arrays:
        """Initial parameters for inputs of a shape (n, ...)."""
        size, width, layers = largest(self.width), true(self.width, hparams), true(self.layers, hparams)
        inputs = math.prod(shape[1:])
        params: Arrays = {}
        for i in range(largest(self.layers)):
            there, rows, fan = layer_there(i, layers), size if i else inputs, width if i else inputs
            params[f"layers_{i}"] = kernel_part(
                named(key, f"layers_{i}"), (rows, size), (fan, width), fan, there=there, bias=self.norm != "batch"
            )
            if self.norm is not None:
                params[f"norms_{i}"] = norm_part(self.norm, size, width, there)
        params["head"] = kernel_part(named(key, "head"), (size, self.outputs), (width, None), width)
        return params

    def statistics(self) -> Arrays:
        """Running statistics of batch normalisation."""
        if self.norm != "batch":
            return {}
        return {f"norms_{i}": fresh_statistics(largest(self.width)) for i in range(largest(self.layers))}

    def run(self, at: Pass, x: jax.Array) -> jax.Array:
        """Outputs (n, outputs) of x (n, ...), whose axes but the first are flattened."""
        width, layers, rate = true(self.width, at.hparams), true(self.layers, at.hparams), value(self.dropout, at.hparams)
        x = x.reshape(len(x), -1)
        for i in range(largest(self.layers)):
            y = dense(x, **at.params[f"layers_{i}"])
            y = at.normed(self.norm, f"norms_{i}", y, width)
            y = masked(activated(self.activation, at.hparams, y), width)
            y = at.dropped(f"dropout_{i}", y, rate)
            x = y if i == 0 else gated(layer_there(i, layers), y, x)
        return dense(x, **at.params["head"])
