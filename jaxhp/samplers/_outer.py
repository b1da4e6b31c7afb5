"""The outer optimiser of `hypergradient_descent`: any optax transformation, behind the search's one door to JAX.

It runs in float64 on the CPU, whatever device and precision train the models, so that equal logs give equal suggestions. JAX is
loaded when a descent takes its first step, not before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxhp._types import Floats
from jaxhp.errors import SamplerError

if TYPE_CHECKING:
    import optax

RATE = 0.1  # of the default, Adam


class Outer:
    """An optax transformation of vectors (d,).

    Args:
        given: the transformation; None is `optax.adam(0.1)`.

    Raises:
        SamplerError: something else was given.
    """

    def __init__(self, given: optax.GradientTransformation | None) -> None:
        if given is not None and not (callable(getattr(given, "init", None)) and callable(getattr(given, "update", None))):
            raise SamplerError(f"outer={given!r}: expected an optax transformation, such as optax.adam(0.1)")
        self._given = given

    def begun(self, d: int) -> Any:
        """The state before the first step."""
        with _in_float64():
            import jax.numpy as jnp

            return self._compiled[0](jnp.zeros(d))

    def step(self, state: Any, z: Floats, gradient: Floats, value: float) -> tuple[Floats, Any]:
        """(dz, state): where a descent that stands at z (d,) goes next. The value is for transformations that ask for it.

        Raises:
            SamplerError: the transformation needs more than that, such as a line search, which would evaluate the objective itself.
        """
        with _in_float64():
            try:
                update, state = self._compiled[1](gradient, state, z, value)
            except (TypeError, ValueError) as e:
                raise SamplerError(f"outer: the optax transformation cannot step by a gradient, a value and a point alone: {e}") from e
            return np.array(update, dtype=np.float64), state

    @cached_property
    def _compiled(self) -> tuple[Any, Any]:
        import jax
        import optax

        outer = optax.with_extra_args_support(optax.adam(RATE) if self._given is None else self._given)
        return jax.jit(outer.init), jax.jit(lambda gradient, state, z, value: outer.update(gradient, state, z, value=value))


@contextmanager
def _in_float64() -> Iterator[None]:
    import jax

    with jax.enable_x64(True), jax.default_device(jax.local_devices(backend="cpu")[0]):
        yield
