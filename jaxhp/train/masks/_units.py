"""Units that may be missing: arrays as large as the largest width, zero from the true width on.

Zeros are what makes plain products right. With x (..., a) and a kernel (a, b) that are zero beyond the true a and b, `x @ kernel` sums over
the true a only; the gradients of the kernel, x^T dy, are zero where x or dy is. So a padded network computes what the small one does, and
an optimiser that moves zero gradients by zero leaves the padding at zero for ever. What needs care is all that is not linear:
activations with f(0) != 0 (masked afterwards), means over units (divided by the true width, `_norms.py`), and draws (`_draws.py`).

`width` is a number or a traced scalar; where it is a number that fills the array, no mask is computed at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

Width: TypeAlias = int | jax.Array  # how many units there are: a number, or a traced scalar


def unit_mask(width: Width, size: int) -> jax.Array:
    """Which of `size` units are there: (size,) bool, true for the first `width`.

    >>> unit_mask(2, 4).tolist()
    [True, True, False, False]
    """
    return jnp.arange(size) < width


def masked(x: jax.Array, width: Width, axis: int = -1) -> jax.Array:
    """`x` with zeros in place of the units of `axis` that are not there; a NaN there does not come through.

    >>> masked(jnp.ones(4), 2).tolist()
    [1.0, 1.0, 0.0, 0.0]
    """
    size = x.shape[axis]
    if isinstance(width, int) and width >= size:
        return x
    there = unit_mask(width, size).reshape([size if i == axis % x.ndim else 1 for i in range(x.ndim)])
    return jnp.where(there, x, jnp.zeros((), x.dtype))


def corner(x: jax.Array, widths: Sequence[Width | None]) -> jax.Array:
    """`x` with zeros outside its first entries along every axis; None leaves an axis whole.

    >>> corner(jnp.ones((2, 3)), (1, 2)).tolist()
    [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    for axis, width in enumerate(widths):
        if width is not None:
            x = masked(x, width, axis)
    return x


def dense(x: jax.Array, kernel: jax.Array, bias: jax.Array | None = None, *, width: Width | None = None) -> jax.Array:
    """`x @ kernel + bias` (..., b) of x (..., a) and kernel (a, b), zero from output `width` on.

    x must be zero where it is padded. The mask may be left out where the kernel's and bias's padding is zero and no gradient reaches the
    padded outputs: before a masked activation, for example.
    """
    y = x @ kernel
    y = y if bias is None else y + bias
    return y if width is None else masked(y, width)


def conv(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None = None,
    *,
    width: Width | None = None,
    strides: int = 1,
    padding: str = "SAME",
) -> jax.Array:
    """Convolution of x (n, *space, a) with kernel (*window, a, b), one to three axes of space; (n, *space', b), zero from `width` on."""
    axes = "DHW"[-(x.ndim - 2) :]
    numbers = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
    y = jax.lax.conv_general_dilated(x, kernel, (strides,) * len(axes), padding, dimension_numbers=numbers)
    y = y if bias is None else y + bias
    return y if width is None else masked(y, width)


def gated(there: bool | jax.Array, new: Any, old: Any) -> Any:
    """`new` where a layer is there, else `old`, its input: pytrees of equal shapes. Layers i >= the true depth are identities so.

    >>> [float(gated(i < 2, jnp.float32(i), jnp.float32(-1))) for i in range(3)]
    [0.0, 1.0, -1.0]
    """
    if isinstance(there, bool):
        return new if there else old
    return jax.tree.map(lambda a, b: jnp.where(there, a, b), new, old)
