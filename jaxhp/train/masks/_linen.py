"""The ready-made networks as flax linen modules. `x` comes first, hyperparameters by name: `module.apply(variables, x, {"width": 64})`."""

from __future__ import annotations

from typing import Any

import jax
from flax import linen

from jaxhp.train.masks._cnn import CNNNetwork
from jaxhp.train.masks._mlp import MLPNetwork
from jaxhp.train.masks._network import Hparams, Network, Pass, drops
from jaxhp.train.masks._transformer import TransformerNetwork


def _called(self: Any, x: jax.Array, hparams: Hparams = None, train: bool = False, weight: jax.Array | None = None) -> jax.Array:
    """Keeps the arrays of a network as `params` and `batch_stats`, and runs it."""
    network: Network = self
    module: linen.Module = self
    starting = module.is_initializing()
    if starting:
        for part, arrays in network.draw(module.make_rng("params"), x.shape, hparams).items():
            module.param(part, lambda _, arrays=arrays: arrays)
        for part, fresh in network.statistics().items():
            module.put_variable("batch_stats", part, fresh)
    kept = module.variables
    key = module.make_rng("dropout") if train and drops(network) else None
    at = Pass(kept["params"], kept.get("batch_stats", {}), hparams, train, key, weight)
    outputs = network.run(at, x)
    if train and not starting:
        for part, changed in at.stats.items():
            module.put_variable("batch_stats", part, changed)
    return outputs


class MLP(MLPNetwork, linen.Module):
    """Dense layers with masked width and depth: (n, outputs) of x (n, ...).

    Args:
        outputs: classes, or values to predict.
        width, layers: a number, or a hyperparameter's name and its largest value: `("width", 256)`.
        activation: a name in `jaxhp.masks.ACTIVATIONS`, or a hyperparameter's name and its choices: `("activation", ("relu", "tanh"))`.
        dropout: a rate, or a hyperparameter's name; after every hidden layer.
        norm: None, "layer", "rms" or "batch"; before every activation.

    Raises:
        TrainableError: naming the field, the value seen and what is expected.

    >>> import jax.numpy as jnp
    >>> module = MLP(10, width=("width", 256), layers=("layers", 4))
    >>> h = {"width": jnp.int32(64), "layers": jnp.int32(2)}
    >>> variables = module.init(jax.random.key(0), jnp.ones((1, 8)), h)
    >>> module.apply(variables, jnp.ones((5, 8)), h).shape, float(abs(variables["params"]["layers_1"]["kernel"][64:]).max())
    ((5, 10), 0.0)
    """

    def __post_init__(self) -> None:
        self.check()
        super().__post_init__()

    __call__ = linen.compact(_called)


class CNN(CNNNetwork, linen.Module):
    """Convolutions in stages with masked width and depth: (n, outputs) of images (n, height, width[, channels]).

    Args:
        outputs, activation, dropout, norm: as `MLP`; dropout is before the head.
        width: channels of the first stage; each further stage has `widening` times those of the last, at half the resolution.
        layers: convolutions of each stage.
        stages, widening, window: numbers; a kernel is `window` pixels wide.

    Raises:
        TrainableError: naming the field, the value seen and what is expected.

    >>> import jax.numpy as jnp
    >>> module, h = CNN(10, width=("width", 16)), {"width": jnp.int32(4)}
    >>> variables = module.init(jax.random.key(0), jnp.ones((1, 8, 8)), h)
    >>> module.apply(variables, jnp.ones((5, 8, 8)), h).shape
    (5, 10)
    """

    def __post_init__(self) -> None:
        self.check()
        super().__post_init__()

    __call__ = linen.compact(_called)


class Transformer(TransformerNetwork, linen.Module):
    """A transformer encoder with masked width, heads, feed-forward width, depth and context length.

    Args:
        outputs, activation, dropout: as `MLP`; dropout is after the embedding and every sub-layer.
        length: positions that it reads at most. Where it is a hyperparameter, the positions of x beyond it are ignored.
        vocabulary: number of token ids of x (n, t); None: x is a sequence of vectors (n, t, features).
        width, layers, heads, head_features, feedforward: a number, or a hyperparameter's name and its largest value.
        norm: "layer" or "rms", before every sub-layer.
        causal: a position sees none after it.
        pool: "mean" or "last" over the positions, for outputs (n, outputs); None: (n, t, outputs).
        padding: the token id that fills up short sequences.

    Raises:
        TrainableError: naming the field, the value seen and what is expected.

    >>> import jax.numpy as jnp
    >>> module, h = Transformer(2, length=8, vocabulary=100, heads=("heads", 4)), {"heads": jnp.int32(3)}
    >>> variables = module.init(jax.random.key(0), jnp.zeros((1, 8), int), h)
    >>> module.apply(variables, jnp.zeros((5, 8), int), h).shape
    (5, 2)
    """

    def __post_init__(self) -> None:
        self.check()
        super().__post_init__()

    __call__ = linen.compact(_called)
