"""Attention (Vaswani et al., Attention is all you need, 2017) with heads and head features that may be missing.

Heads do not meet before the output projection, so a padded head, whose queries, keys and values are zero, attends evenly to nothing:
its output is zero, and so are all its gradients where the projection's rows are zero. What must know the true size is the scale of
the logits: 1 / sqrt(the true number of features of a head).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxhp.train.masks._units import Width, corner


def attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    heads: Width,
    features: Width,
    mask: jax.Array | None = None,
) -> jax.Array:
    """What each position gathers: (n, t, h, f) of queries (n, t, h, f), keys and values (n, s, h, f).

    Args:
        query, key, value: padded to the largest number of heads h and features f.
        heads, features: the true ones.
        mask: (n, 1 or h, t, s) or broadcast to it: whether a position may look at another. A position that may look at none gathers the
            mean of all.
    """
    logits = jnp.einsum("nthf,nshf->nhts", query, key) / jnp.sqrt(jnp.asarray(features, query.dtype))
    if mask is not None:
        logits = jnp.where(mask, logits, jnp.finfo(logits.dtype).min)
    gathered = jnp.einsum("nhts,nshf->nthf", jax.nn.softmax(logits, axis=-1), value)
    return corner(gathered, (None, None, heads, features))
