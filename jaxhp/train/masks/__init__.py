"""`jaxhp.masks`: widths, depths, heads and choices that vary inside one compiled program (docs/structure.md).

Arrays are as large as the largest configuration, and what a smaller one lacks is masked so that it computes what a truly small network
would, from the same initial weights, with the same units dropped. `jaxhp.padded` ties the largest sizes to hyperparameters' names.

* ready-made flax modules: `MLP`, `CNN`, `Transformer` (linen), `jaxhp.masks.nnx.MLP` and so on (nnx);
* their parts, free of any framework, for networks of your own: masked layers and norms, draws keyed by unit, gates, choices.
"""

from __future__ import annotations

from jaxhp.train.masks import nnx
from jaxhp.train.masks._attention import attention
from jaxhp.train.masks._choices import ACTIVATIONS, activation, switch_optimizer
from jaxhp.train.masks._draws import dropout, named, unit_bits, unit_normal, unit_uniform, variance_scaling
from jaxhp.train.masks._linen import CNN, MLP, Transformer
from jaxhp.train.masks._norms import batch_norm, layer_norm, rms_norm
from jaxhp.train.masks._steps import stop_after
from jaxhp.train.masks._units import conv, corner, dense, gated, masked, unit_mask

__all__ = [
    "ACTIVATIONS",
    "CNN",
    "MLP",
    "Transformer",
    "activation",
    "attention",
    "batch_norm",
    "conv",
    "corner",
    "dense",
    "dropout",
    "gated",
    "layer_norm",
    "masked",
    "named",
    "nnx",
    "rms_norm",
    "stop_after",
    "switch_optimizer",
    "unit_bits",
    "unit_mask",
    "unit_normal",
    "unit_uniform",
    "variance_scaling",
]
