"""The ready-made networks as flax nnx modules: `jaxhp.masks.nnx.MLP(inputs, outputs, ..., hparams=h, rngs=rngs)`.

Options are those of the linen modules of the same names. Hyperparameters are given twice, and never kept: when a module is made, for
the true fan-in, and when it is called. `jaxhp.supervised` does both for a function of `rngs` and `hparams`:

    jaxhp.supervised(lambda rngs, hparams: jaxhp.masks.nnx.MLP(64, 10, width=("width", 256), hparams=hparams, rngs=rngs), ...)
"""

from __future__ import annotations

from typing import Any

import jax
from flax import nnx

from jaxhp.train.masks._cnn import CNNNetwork
from jaxhp.train.masks._mlp import MLPNetwork
from jaxhp.train.masks._network import Arrays, Hparams, Network, Pass, drops
from jaxhp.train.masks._transformer import TransformerNetwork


class _Kept(nnx.Module):
    """Keeps the arrays of a network, part by part."""

    def __init__(self, network: Any, shape: tuple[int, ...], hparams: Hparams, rngs: nnx.Rngs) -> None:
        network.check()
        self.network: Network = network
        self.deterministic = False
        self.params = _kept(network.draw(rngs.params(), shape, hparams), nnx.Param)
        self.stats = _kept(network.statistics(), nnx.BatchStat)
        if drops(network):
            self.stream = rngs.dropout.fork()

    def __call__(self, x: jax.Array, hparams: Hparams = None, weight: jax.Array | None = None) -> jax.Array:
        train = not self.deterministic
        key = self.stream() if train and drops(self.network) else None
        at = Pass(_plain(self.params), _plain(self.stats), hparams, train, key, weight)
        outputs = self.network.run(at, x)
        if train:
            for part, arrays in at.stats.items():
                for name, array in arrays.items():
                    self.stats[part][name][...] = array
        return outputs


def _kept(parts: Arrays, kind: Any) -> Any:
    return nnx.Dict({part: nnx.Dict({name: kind(x) for name, x in arrays.items()}) for part, arrays in parts.items()})


def _plain(parts: Any) -> dict[str, dict[str, jax.Array]]:
    return {part: {name: array[...] for name, array in arrays.items()} for part, arrays in parts.items()}


class MLP(_Kept):
    """Dense layers with masked width and depth: (n, outputs) of x (n, ...).

    Args:
        inputs: features of an example.
        outputs, options: as `jaxhp.masks.MLP`.
        hparams: the configuration, where an option names a hyperparameter.
        rngs: as every nnx module's; `dropout` is drawn from where there is dropout.

    >>> import jax.numpy as jnp
    >>> h = {"width": jnp.int32(64)}
    >>> MLP(8, 10, width=("width", 256), hparams=h, rngs=nnx.Rngs(0))(jnp.ones((5, 8)), h).shape
    (5, 10)
    """

    def __init__(self, inputs: int, outputs: int, *, hparams: Hparams = None, rngs: nnx.Rngs, **options: Any) -> None:
        super().__init__(MLPNetwork(outputs, **options), (1, inputs), hparams, rngs)


class CNN(_Kept):
    """Convolutions in stages with masked width and depth: (n, outputs) of images (n, height, width, channels).

    Args:
        channels: of an image; 1 also reads (n, height, width).
        outputs, options: as `jaxhp.masks.CNN`.
        hparams, rngs: as `MLP`.

    >>> import jax.numpy as jnp
    >>> CNN(3, 10, width=16, rngs=nnx.Rngs(0))(jnp.ones((5, 8, 8, 3))).shape
    (5, 10)
    """

    def __init__(self, channels: int, outputs: int, *, hparams: Hparams = None, rngs: nnx.Rngs, **options: Any) -> None:
        super().__init__(CNNNetwork(outputs, **options), (1, 1, 1, channels), hparams, rngs)


class Transformer(_Kept):
    """A transformer encoder with masked width, heads, feed-forward width, depth and context length.

    Args:
        features: of each position of x (n, t, features); None for token ids (n, t) with `vocabulary=`.
        outputs, options: as `jaxhp.masks.Transformer`.
        hparams, rngs: as `MLP`.

    >>> import jax.numpy as jnp
    >>> Transformer(None, 2, vocabulary=100, rngs=nnx.Rngs(0))(jnp.zeros((5, 8), int)).shape
    (5, 2)
    """

    def __init__(self, features: int | None, outputs: int, *, hparams: Hparams = None, rngs: nnx.Rngs, **options: Any) -> None:
        super().__init__(TransformerNetwork(outputs, **options), (1, 1) if features is None else (1, 1, features), hparams, rngs)
