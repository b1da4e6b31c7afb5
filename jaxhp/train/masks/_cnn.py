"""A convolutional network whose width and depth may be traced: stages of convolutions, each stage at half the resolution of the last.

The first convolution of a stage may change the number of channels and is always there; the others keep shapes, so they can be identities.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax

from jaxhp.errors import TrainableError
from jaxhp.train.masks._draws import named
from jaxhp.train.masks._network import NORMS, Arrays, Hparams, Norm, Pass, expect, fresh_statistics, kernel_part, layer_there, norm_part
from jaxhp.train.masks._sizes import Choice, Number, Size, activated, check_fields, largest, true, value
from jaxhp.train.masks._units import conv, dense, gated, masked

IMAGES = "images (n, height, width) or (n, height, width, channels)"


@dataclass(unsafe_hash=True)
class CNNNetwork:
    """The fields and the mathematics of `jaxhp.masks.CNN`."""

    outputs: int
    width: Size = 32  # channels of the first stage
    layers: Size = 2  # convolutions of each stage
    activation: Choice = "relu"
    dropout: Number = 0.0  # before the head
    norm: Norm = None  # "layer", "rms" or "batch", before each activation
    stages: int = 2
    widening: int = 2  # channels of a stage beside those of the one before
    window: int = 3  # pixels along each axis of a kernel

    def check(self) -> None:
        """Refuses fields that are none.

        Raises:
            TrainableError: naming the field, the value and what is expected.
        """
        check_fields(self, ("outputs", "width", "layers"), NORMS)
        for name in ("stages", "widening", "window"):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise TrainableError(f"{name}: expected a positive integer, got {number!r}; it cannot be traced")

    def draw(self, key: jax.Array, shape: tuple[int, ...], hparams: Hparams) -> Arrays:
        """Initial parameters for images of a shape (n, height, width) or (n, height, width, channels)."""
        expect(shape, (3, 4), IMAGES)
        layers, area = true(self.layers, hparams), self.window**2
        size = channels = shape[3] if len(shape) == 4 else 1
        params: Arrays = {}
        for s in range(self.stages):
            size_out, channels_out = largest(self.width) * self.widening**s, true(self.width, hparams) * self.widening**s
            for i in range(largest(self.layers)):
                part, there = f"layers_{s}_{i}", layer_there(i, layers)
                kernel = (self.window, self.window, size, size_out)
                widths = (None, None, channels, channels_out)
                params[part] = kernel_part(named(key, part), kernel, widths, channels * area, there=there, bias=self.norm != "batch")
                if self.norm is not None:
                    params[f"norms_{s}_{i}"] = norm_part(self.norm, size_out, channels_out, there)
                size, channels = size_out, channels_out
        params["head"] = kernel_part(named(key, "head"), (size, self.outputs), (channels, None), channels)
        return params

    def statistics(self) -> Arrays:
        """Running statistics of batch normalisation."""
        if self.norm != "batch":
            return {}
        sizes = [largest(self.width) * self.widening**s for s in range(self.stages)]
        return {f"norms_{s}_{i}": fresh_statistics(size) for s, size in enumerate(sizes) for i in range(largest(self.layers))}

    def run(self, at: Pass, x: jax.Array) -> jax.Array:
        """Outputs (n, outputs) of images (n, height, width) or (n, height, width, channels)."""
        expect(x.shape, (3, 4), IMAGES)
        x = x[..., None] if x.ndim == 3 else x
        layers, rate = true(self.layers, at.hparams), value(self.dropout, at.hparams)
        width = true(self.width, at.hparams)
        for s in range(self.stages):
            for i in range(largest(self.layers)):
                p = at.params[f"layers_{s}_{i}"]
                y = conv(x, p["kernel"], p.get("bias"))
                y = at.normed(self.norm, f"norms_{s}_{i}", y, width)
                y = masked(activated(self.activation, at.hparams, y), width)
                x = y if i == 0 else gated(layer_there(i, layers), y, x)
            if s + 1 < self.stages:
                x, width = _halved(x), width * self.widening
        return dense(at.dropped("dropout", x.mean((1, 2)), rate), **at.params["head"])


def _halved(x: jax.Array) -> jax.Array:
    """Largest values of windows of 2 x 2, the last ones smaller where a side is odd."""
    y: jax.Array = jax.lax.reduce_window(x, -jax.numpy.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME")
    return y
