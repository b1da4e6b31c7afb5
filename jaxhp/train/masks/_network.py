"""What the ready-made networks share: arrays by part, drawn once, and one pass over them, free of any framework.

A network is a dataclass with three functions:

    params = network.draw(key, shape, hparams)              {part: {"kernel": ..., "bias": ...}}, for inputs of this shape (n, ...)
    stats = network.statistics()                            {part: {"mean": ..., "variance": ...}}, of batch normalisation
    outputs = network.run(Pass(params, stats, ...), x)      the pass holds the new statistics afterwards

A part's key comes from its name, so that a network with fewer layers draws the same ones. `_linen.py` and `nnx.py` keep the arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import jax
import jax.numpy as jnp

from jaxhp.errors import TrainableError
from jaxhp.train.masks._draws import dropout, named, variance_scaling
from jaxhp.train.masks._norms import batch_norm, layer_norm, rms_norm
from jaxhp.train.masks._sizes import Number
from jaxhp.train.masks._units import Width, corner, masked, unit_mask

Arrays: TypeAlias = dict[str, dict[str, jax.Array]]  # part -> name -> array
Hparams: TypeAlias = Mapping[str, Any] | None
Norm: TypeAlias = Literal["layer", "rms", "batch"] | None

NORMS = (None, "layer", "rms", "batch")


class Network(Protocol):
    """What `_linen.py` and `nnx.py` wrap."""

    dropout: Number

    def draw(self, key: jax.Array, shape: tuple[int, ...], hparams: Hparams) -> Arrays: ...

    def statistics(self) -> Arrays: ...

    def run(self, at: Pass, x: jax.Array) -> jax.Array: ...


def drops(network: Network) -> bool:
    """Whether it draws when it trains."""
    return network.dropout != 0


@dataclass
class Pass:
    """One pass forward."""

    params: Mapping[str, Mapping[str, jax.Array]]
    stats: Mapping[str, Mapping[str, jax.Array]]
    hparams: Hparams
    train: bool
    key: jax.Array | None  # of dropout; None where there is none
    weight: jax.Array | None = None  # (n,) of each example, for batch normalisation

    def normed(self, norm: Norm, part: str, x: jax.Array, width: Width) -> jax.Array:
        """x (..., size), normalised over its true units."""
        if norm is None:
            return x
        p = self.params[part]
        if norm == "layer":
            return layer_norm(x, p["scale"], p["bias"], width=width)
        if norm == "rms":
            return rms_norm(x, p["scale"], width=width)
        s = self.stats[part]
        y, mean, variance = batch_norm(
            x, p["scale"], p["bias"], s["mean"], s["variance"], train=self.train, weight=self.weight
        )  # fmt: skip
        self.stats = {**self.stats, part: {"mean": mean, "variance": variance}}
        return y

    def dropped(self, part: str, x: jax.Array, rate: float | jax.Array) -> jax.Array:
        """x after dropout, when training."""
        if not self.train or self.key is None:
            return x
        return dropout(named(self.key, part), x, rate)


def kernel_part(
    key: jax.Array,
    shape: tuple[int, ...],
    widths: tuple[Width | None, ...],
    fan: Width,
    outputs: int = 1,
    there: bool | jax.Array = True,
    bias: bool = True,
) -> dict[str, jax.Array]:
    """A kernel and a zero bias; the last `outputs` axes are those of the outputs.

    What follows may not notice a bias (batch normalisation, the softmax over keys): then there is to be none, for its gradient is rounding
    error, which optimisers like Adam and Lion blow up to full steps.
    """
    part = {"kernel": corner(variance_scaling(key, shape, fan), widths)}
    return present(part | {"bias": jnp.zeros(shape[-outputs:])} if bias else part, there)


def norm_part(norm: Norm, size: int, width: Width, there: bool | jax.Array = True) -> dict[str, jax.Array]:
    """A scale of one and a bias of zero, for the units that are there."""
    part = {"scale": masked(jnp.ones(size), width)}
    return present(part if norm == "rms" else part | {"bias": jnp.zeros(size)}, there)


def fresh_statistics(size: int) -> dict[str, jax.Array]:
    """Running statistics before the first batch."""
    return {"mean": jnp.zeros(size), "variance": jnp.ones(size)}


def present(part: dict[str, jax.Array], there: bool | jax.Array) -> dict[str, jax.Array]:
    """The arrays of a layer; zeros if it is not there, so that norms over a leaf and decay see nothing."""
    if isinstance(there, bool):
        return part if there else {name: jnp.zeros_like(x) for name, x in part.items()}
    return {name: jnp.where(there, x, 0) for name, x in part.items()}


def layer_there(i: int, layers: Width) -> bool | jax.Array:
    """Whether layer i is there; the first always is."""
    return True if i == 0 else i < layers


def positions_there(length: Width, size: int) -> jax.Array:
    """(size,) bool: which positions of a sequence count."""
    return unit_mask(length, size)


def expect(shape: tuple[int, ...], ranks: tuple[int, ...], says: str) -> None:
    """Refuses inputs of another rank."""
    if len(shape) not in ranks:
        raise TrainableError(f"x: expected {says}, got shape {list(shape)}")
