"""Learning rates as functions of the step, of a shape that may be tuned.

With T = `steps`, W = `warmup` * T and `cycles` equal parts of the remaining T - W steps, q in [0, 1] is where step t is in its part:

    t < W            peak * lerp(initial, 1, t / W)                                          linear warm-up
    constant         peak
    cosine           peak * (final + (1 - final) * (1 + cos(pi q)) / 2)                      Loshchilov and Hutter, SGDR, ICLR 2017, eq. 5
    linear           peak * (1 + (final - 1) * q)
    inverse_sqrt     peak * max(final, sqrt(V / (V + s))), V = max(W, 1)                     Vaswani et al., 2017, section 5.3

s steps after the last restart. All are computed and one is taken, so that the kind may differ between lanes; every derivative with
respect to a number is finite. `inverse_sqrt` alone does not depend on the end of the run beyond W.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxhp.train.optim._scalars import Scalar, choice, number

SCHEDULES = ("constant", "cosine", "linear", "inverse_sqrt")

_ONE_STEP = 1e-6  # relative: a restart that rounding puts just behind a step begins at that step


def schedule(
    steps: Scalar,
    peak: Scalar = 1.0,
    *,
    warmup: Scalar = 0.0,
    kind: Any = "cosine",
    kinds: Sequence[str] = SCHEDULES,
    initial: Scalar = 0.0,
    final: Scalar = 0.0,
    cycles: Scalar = 1,
) -> Callable[[Scalar], jax.Array]:
    """A function of the step (0 is the first) that gives the learning rate, for any optax optimiser.

    Every number may be traced. Beyond `steps` the rate stays as it ended.

    Args:
        steps: of the whole run.
        peak: the highest rate.
        warmup: share of `steps` in which the rate rises linearly, in [0, 1).
        kind: how it falls: one of `kinds`, or a traced index of it, as `Categorical(jaxhp.optim.SCHEDULES)` gives.
        kinds: what indices mean.
        initial: share of `peak` at which the warm-up starts.
        final: share of `peak` at which the run ends; of an inverse square root, below which it never falls. Not used by a constant.
        cycles: how often the rate falls; it starts again from the peak in between. Rounded.

    Raises:
        TrainableError: an argument is known (not traced) and not valid.

    >>> import jax
    >>> rate = schedule(100, 0.1, warmup=0.2, kind="linear")
    >>> [round(float(rate(t)), 3) for t in (0, 10, 20, 60, 100)]
    [0.0, 0.05, 0.1, 0.05, 0.0]
    >>> two_lanes = jax.vmap(lambda w: schedule(100, 0.1, warmup=w)(10))(jax.numpy.array([0.1, 0.2]))
    >>> [round(float(r), 3) for r in two_lanes]
    [0.1, 0.05]
    """
    total = number("steps", steps, lambda x: x > 0, "a positive number of steps")
    top = number("peak", peak, math.isfinite, "a finite number")
    rising = total * number("warmup", warmup, lambda x: 0 <= x < 1, "a share of the steps in [0, 1), such as 0.05 for a twentieth")
    start = number("initial", initial, lambda x: 0 <= x <= 1, "a share of the peak in [0, 1]")
    floor = number("final", final, lambda x: 0 <= x <= 1, "a share of the peak in [0, 1]")
    parts = jnp.maximum(jnp.round(number("cycles", cycles, lambda x: x >= 1 and x == round(x), "a whole number from 1 on")), 1.0)
    which = choice("kind", kind, SCHEDULES, kinds)
    falling = jnp.where(total > rising, total - rising, 1.0)

    def rate(step: Scalar) -> jax.Array:
        t = jnp.asarray(step, total.dtype)
        after = jnp.clip(t - rising, 0.0, falling)
        x = after * parts / falling
        q = jnp.clip(x - jnp.minimum(jnp.floor(x * (1.0 + _ONE_STEP)), parts - 1.0), 0.0, 1.0)
        horizon = jnp.maximum(rising, 1.0)
        shapes = {
            "constant": jnp.ones_like(q),
            "cosine": floor + (1.0 - floor) * 0.5 * (1.0 + jnp.cos(jnp.pi * q)),
            "linear": 1.0 + (floor - 1.0) * q,
            "inverse_sqrt": jnp.maximum(floor, jnp.sqrt(horizon / (horizon + q * falling / parts))),
        }
        fallen = shapes[kinds[which]] if isinstance(which, int) else jnp.stack([shapes[name] for name in kinds])[which]
        risen = start + (1.0 - start) * t / jnp.where(rising > 0.0, rising, 1.0)
        return top * jnp.where(t < rising, risen, fallen)

    return rate
