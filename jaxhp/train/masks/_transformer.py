"""A transformer encoder whose width, heads, feed-forward width, depth and context length may be traced (Vaswani et al., 2017).

Normalisation comes before each sub-layer (Xiong et al., On layer normalization in the transformer architecture, 2020), so that every
layer is an addition to its input and an absent one an identity. A head has `head_features` features whatever the width: width and heads
vary independently. Letters: n examples, t positions, d units, h heads, f features of a head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from jaxhp.errors import TrainableError
from jaxhp.train.masks._attention import attention
from jaxhp.train.masks._draws import named, unit_normal
from jaxhp.train.masks._network import Arrays, Hparams, Pass, expect, kernel_part, layer_there, norm_part, positions_there
from jaxhp.train.masks._sizes import Choice, Number, Size, activated, check_fields, check_member, check_size, largest, true, value
from jaxhp.train.masks._units import Width, corner, dense, gated, masked

EMBEDDING_SPREAD = 0.02  # standard deviation of embeddings at the start


@dataclass(unsafe_hash=True)
class TransformerNetwork:
    """The fields and the mathematics of `jaxhp.masks.Transformer`."""

    outputs: int
    length: Size = 128  # positions, at most
    vocabulary: int | None = None  # number of token ids; None: x is a sequence of vectors
    width: Size = 64
    layers: Size = 2
    heads: Size = 4
    head_features: Size = 16
    feedforward: Size = 256
    activation: Choice = "gelu"
    dropout: Number = 0.0  # after the embedding and each sub-layer
    norm: Literal["layer", "rms"] = "layer"
    causal: bool = False  # a position sees none after it
    pool: Literal["mean", "last"] | None = "mean"  # None: outputs for every position
    padding: int | None = None  # the token id that fills up short sequences; nobody looks at it

    def check(self) -> None:
        """Refuses fields that are none.

        Raises:
            TrainableError: naming the field, the value and what is expected.
        """
        check_fields(self, ("outputs", "length", "width", "layers", "heads", "head_features", "feedforward"), ("layer", "rms"))
        if self.vocabulary is not None:
            check_size("vocabulary", self.vocabulary)
        check_member("pool", self.pool, ("mean", "last", None))
        if self.pool is None and not isinstance(self.length, int):
            raise TrainableError(f"length={self.length!r}: pool=None gives an output for every position, so their number cannot be traced")
        if self.padding is not None and self.vocabulary is None:
            raise TrainableError(f"padding={self.padding!r} is a token id, and x has none without vocabulary=...")

    def draw(self, key: jax.Array, shape: tuple[int, ...], hparams: Hparams) -> Arrays:
        """Initial parameters for sequences of a shape (n, t) of token ids or (n, t, features)."""
        self._expect(shape)
        size, width = largest(self.width), true(self.width, hparams)
        h, heads = largest(self.heads), true(self.heads, hparams)
        f, features = largest(self.head_features), true(self.head_features, hparams)
        wide, hidden = largest(self.feedforward), true(self.feedforward, hparams)
        layers, length = true(self.layers, hparams), true(self.length, hparams)

        def embedding(part: str, rows: int, there: int | jax.Array | None) -> dict[str, jax.Array]:
            return {"embedding": corner(EMBEDDING_SPREAD * unit_normal(named(key, part), (rows, size)), (there, width))}

        params: Arrays = {"positions": embedding("positions", largest(self.length), length)}
        if self.vocabulary is None:
            inputs = shape[2]
            params["embed"] = kernel_part(named(key, "embed"), (inputs, size), (None, width), inputs)
        else:
            params["embed"] = embedding("embed", self.vocabulary, None)
        for i in range(largest(self.layers)):
            there = layer_there(i, layers)
            for name in ("query", "key", "value"):
                part = f"layers_{i}_{name}"
                params[part] = kernel_part(named(key, part), (size, h, f), (width, heads, features), width, 2, there, bias=name != "key")
            for name, rows, columns, fan in (
                ("project", (h, f), (heads, features), heads * features),
                ("down", (wide,), (hidden,), hidden),
            ):
                part = f"layers_{i}_{name}"
                params[part] = kernel_part(named(key, part), (*rows, size), (*columns, width), fan, there=there)
            part = f"layers_{i}_up"
            params[part] = kernel_part(named(key, part), (size, wide), (width, hidden), width, there=there)
            for name in ("before_attention", "before_feedforward"):
                params[f"layers_{i}_{name}"] = norm_part(self.norm, size, width, there)
        params["norm"] = norm_part(self.norm, size, width)
        params["head"] = kernel_part(named(key, "head"), (size, self.outputs), (width, None), width)
        return params

    def statistics(self) -> Arrays:
        """None: it has no batch normalisation."""
        return {}

    def run(self, at: Pass, x: jax.Array) -> jax.Array:
        """Outputs (n, outputs), or (n, t, outputs) with pool=None, of token ids (n, t) or vectors (n, t, features)."""
        x, seen = self._cut(at, x)
        width, layers, rate = true(self.width, at.hparams), true(self.layers, at.hparams), value(self.dropout, at.hparams)
        t = x.shape[1]
        e = at.params["embed"]
        y = dense(x, **e) if self.vocabulary is None else e["embedding"][x]
        y = at.dropped("dropout", masked(y + at.params["positions"]["embedding"][:t], width), rate)
        mask = seen[:, None, None, :]
        if self.causal:
            mask = mask & jnp.tril(jnp.ones((t, t), bool))
        for i in range(largest(self.layers)):
            z = y + at.dropped(f"dropout_{i}_attention", self._attended(at, i, y, mask, width), rate)
            z = z + at.dropped(f"dropout_{i}_feedforward", self._fed(at, i, z, width), rate)
            y = gated(layer_there(i, layers), z, y)
        y = at.normed(self.norm, "norm", y, width)
        if self.pool == "mean":
            y = (y * seen[..., None]).sum(1) / jnp.maximum(seen.sum(1), 1)[:, None]
        elif self.pool == "last":
            last = jnp.where(seen, jnp.arange(t), 0).max(1)
            y = jnp.take_along_axis(y, last[:, None, None], axis=1)[:, 0]
        return dense(y, **at.params["head"])

    def _cut(self, at: Pass, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Positions that a program of this length holds (n, t, ...), and which of them count (n, t)."""
        self._expect(x.shape)
        if self.vocabulary is not None and not jnp.issubdtype(x.dtype, jnp.integer):
            raise TrainableError(f"x: expected token ids as integers, got {x.dtype}; without vocabulary= x is a sequence of vectors")
        x = x[:, : largest(self.length)]
        seen = jnp.broadcast_to(positions_there(true(self.length, at.hparams), x.shape[1]), x.shape[:2])
        return x, seen if self.padding is None else seen & (x != self.padding)

    def _expect(self, shape: tuple[int, ...]) -> None:
        if self.vocabulary is None:
            expect(shape, (3,), "sequences of vectors (n, t, features); for token ids say vocabulary=...")
        else:
            expect(shape, (2,), "token ids (n, t)")
        if isinstance(self.length, int) and shape[1] > self.length:
            raise TrainableError(f"x has {shape[1]} positions, more than length={self.length}; choose a larger one")

    def _attended(self, at: Pass, i: int, x: jax.Array, mask: jax.Array, width: Width) -> jax.Array:
        x = at.normed(self.norm, f"layers_{i}_before_attention", x, width)
        q, k, v = (self._headed(x, **at.params[f"layers_{i}_{name}"]) for name in ("query", "key", "value"))
        gathered = attention(q, k, v, heads=true(self.heads, at.hparams), features=true(self.head_features, at.hparams), mask=mask)
        p = at.params[f"layers_{i}_project"]
        return masked(jnp.einsum("nthf,hfd->ntd", gathered, p["kernel"]) + p["bias"], width)

    def _fed(self, at: Pass, i: int, x: jax.Array, width: Width) -> jax.Array:
        x = at.normed(self.norm, f"layers_{i}_before_feedforward", x, width)
        hidden = dense(x, **at.params[f"layers_{i}_up"])
        hidden = masked(activated(self.activation, at.hparams, hidden), true(self.feedforward, at.hparams))
        return dense(hidden, **at.params[f"layers_{i}_down"], width=width)

    @staticmethod
    def _headed(x: jax.Array, kernel: jax.Array, bias: jax.Array | None = None) -> jax.Array:
        y = jnp.einsum("ntd,dhf->nthf", x, kernel)
        return y if bias is None else y + bias
