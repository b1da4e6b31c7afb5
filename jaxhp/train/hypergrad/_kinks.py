"""Derivatives at kinks: 0 where a derivative is infinite, so that 0 * inf does not make the whole gradient NaN.

Adam divides by sqrt(v) + eps, and a weight that has had no gradient yet (a dead unit, a pixel that is always black) has v = 0 there.
The square root of a sum of squares is a norm, which has a kink at the origin and 0 as its symmetric subgradient; the chain rule instead
multiplies sqrt'(0) = inf by dv = 0. The remedies one reads of (`eps_root`, `where` twice) change the training or the user's code.
Here the jaxpr is rewritten: each square root, cube root, power, logarithm and division is replaced by one of the same value whose
derivative is 0 wherever it would not be finite. Nested jaxprs (scan, cond, jit, ...) are rewritten too; custom derivative rules stay.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core
from jax.extend.core import Jaxpr, JaxprEqn, jaxpr_as_fun

ClosedJaxpr: Any = getattr(core, "ClosedJaxpr", Jaxpr)  # from JAX 0.12 on, each Jaxpr is one


def with_finite_derivatives(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, with derivatives of 0 at kinks.

    >>> norm = with_finite_derivatives(lambda x: jnp.sqrt((x**2).sum()))
    >>> jax.grad(norm)(jnp.zeros(2)).tolist(), jax.grad(norm)(jnp.array([3.0, 4.0])).round(3).tolist()
    ([0.0, 0.0], [0.6000000238418579, 0.800000011920929])
    """

    def smoothed(*arguments: Any) -> Any:
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
        results = jaxpr_as_fun(_rewritten(closed))(*jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return smoothed


def _rewritten(value: Any) -> Any:
    """A parameter of an equation with the jaxprs in it rewritten; anything else as it is."""
    if isinstance(value, Jaxpr):
        value = value.replace(eqns=[_equation(eqn) for eqn in value.eqns])
    elif isinstance(value, ClosedJaxpr):
        value = value.replace(jaxpr=_rewritten(value.jaxpr))
    if isinstance(value, ClosedJaxpr):
        return value.replace(consts=[jnp.asarray(c) for c in value.consts])  # those of the host may be float64, where JAX has float32
    if isinstance(value, tuple) and any(isinstance(x, ClosedJaxpr | Jaxpr) for x in value):
        parts = [_rewritten(x) for x in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


def _equation(eqn: JaxprEqn) -> JaxprEqn:
    function = _FINITE.get(eqn.primitive.name)
    operands: list[Any] = [x.aval for x in eqn.invars]
    if function is None or not all(jnp.issubdtype(a.dtype, jnp.floating) for a in operands):  # pow may have an integer exponent
        inner: JaxprEqn = eqn.replace(params={name: _rewritten(x) for name, x in eqn.params.items()})
        return inner
    (same,) = jax.make_jaxpr(function)(*(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in operands)).eqns
    finite: JaxprEqn = same.replace(invars=eqn.invars, outvars=eqn.outvars, source_info=eqn.source_info)
    return finite


def _finite(x: jax.Array) -> jax.Array:
    return jnp.where(jnp.isfinite(x), x, 0.0)


def _made(primal: Callable[..., jax.Array], slopes: Callable[..., tuple[jax.Array, ...]]) -> Callable[..., jax.Array]:
    """A function of arrays with these partial derivatives, `slopes(result, *arguments)`, where they are finite."""
    function = jax.custom_jvp(primal)

    @partial(function.defjvp, symbolic_zeros=True)
    def _(primals: Any, tangents: Any) -> Any:
        result = function(*primals)
        total = jnp.zeros_like(result)
        for slope, tangent in zip(slopes(result, *primals), tangents, strict=True):
            if not isinstance(tangent, jax.custom_derivatives.SymbolicZero):
                total += _finite(slope) * tangent
        return result, total

    return function


_FINITE = {
    "sqrt": _made(lax.sqrt, lambda r, x: (0.5 / r,)),
    "rsqrt": _made(lax.rsqrt, lambda r, x: (-0.5 * r / x,)),
    "cbrt": _made(lax.cbrt, lambda r, x: (r / (3 * x),)),
    "log": _made(lax.log, lambda r, x: (1 / x,)),
    "mul": _made(lax.mul, lambda r, x, y: (y, x)),
    "div": _made(lax.div, lambda r, x, y: (1 / y, -r / y)),
    "pow": _made(lax.pow, lambda r, x, y: (y * lax.pow(x, y - 1), r * jnp.log(x))),
}
