"""What a hyperparameter can act on, read from jaxprs before anything compiles.

Two readings: through values, and through derivatives (the jaxpr of the tangents, in which rounding, comparisons and signs end a path).
A hyperparameter that reaches the metric through neither has gradient 0; one that reaches it through values alone has no gradient at all.
Labels of the inputs flow through the equations; loops are followed until nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
from jax.extend.core import Jaxpr, Literal

from jaxhp.train.hypergrad._kinks import ClosedJaxpr
from jaxhp.train.hypergrad._loop import Loop, Split, X

Labels: TypeAlias = frozenset[str]
NONE: Labels = frozenset()


def reaching(loop: Loop, x: X) -> tuple[Labels, Labels]:
    """Names of x that act on the metric: through values, and through derivatives."""
    piece = jax.eval_shape(lambda: jax.tree.map(lambda a: a[0], loop.slices(0, 1)))
    names = {name: frozenset([name]) for name in x}
    start = jax.eval_shape(loop.start, x)

    values = through(loop.start, (names,), x)
    while True:
        more = through(loop.step, (names, values, NONE), x, start, piece)
        if _joined(values, more) == values:
            break
        values = _joined(values, more)
    (acting,) = through(loop.measure, (names, values), x, start)

    def pushed(function: Callable[..., Any]) -> Callable[..., Any]:
        """Tangents of a function (x, smooth) from its tangents."""
        return lambda primals, tangents: jax.jvp(function, primals, tangents)[1]

    smooth = through(pushed(lambda x: loop.start(x).smooth), (NONE, names), (x,), (x,))
    floats = start.smooth
    while True:
        tangents = lambda x, floats, rest, piece, dx, df: jax.jvp(  # noqa: E731
            lambda x, floats: loop.step(x, Split(floats, rest), piece).smooth, (x, floats), (dx, df)
        )[1]
        more = through(tangents, (NONE, NONE, NONE, NONE, names, smooth), x, floats, start.rest, piece, x, floats)
        if _joined(smooth, more) == smooth:
            break
        smooth = _joined(smooth, more)
    (differing,) = through(
        lambda x, floats, rest, dx, df: jax.jvp(lambda x, floats: loop.measure(x, Split(floats, rest)), (x, floats), (dx, df))[1],
        (NONE, NONE, NONE, names, smooth), x, floats, start.rest, x, floats,
    )  # fmt: skip
    return acting, differing


def through(function: Callable[..., Any], labels: tuple[Any, ...], *arguments: Any) -> list[Labels]:
    """Labels of each leaf that a function returns, given those of its arguments: pytrees of labels, lists of leaves, or one for all."""
    ins: list[Labels] = []
    for label, argument in zip(labels, arguments, strict=True):
        n = len(jax.tree.leaves(argument))
        ins += [label] * n if isinstance(label, frozenset) else jax.tree.leaves(label, is_leaf=lambda x: isinstance(x, frozenset))
    return _flow(jax.make_jaxpr(function)(*arguments).jaxpr, ins)


def _joined(a: Sequence[Labels], b: Sequence[Labels]) -> list[Labels]:
    return [x | y for x, y in zip(a, b, strict=True)]


def _flow(jaxpr: Jaxpr, ins: Sequence[Labels]) -> list[Labels]:
    known: dict[Any, Labels] = dict(zip(jaxpr.invars, ins, strict=True))

    def of(atom: Any) -> Labels:
        return NONE if isinstance(atom, Literal) else known.get(atom, NONE)

    for eqn in jaxpr.eqns:
        known.update(zip(eqn.outvars, _equation(eqn, [of(x) for x in eqn.invars]), strict=True))
    return [of(x) for x in jaxpr.outvars]


def _equation(eqn: Any, ins: list[Labels]) -> list[Labels]:
    name, params = eqn.primitive.name, eqn.params
    if name == "cond":
        branches = [_flow(branch.jaxpr, ins[1:]) for branch in params["branches"]]
        return [ins[0].union(*outs) for outs in zip(*branches, strict=True)]
    if name == "scan":
        consts, carried = params["num_consts"], params["num_carry"]
        carry = ins[consts : consts + carried]
        while True:
            outs = _flow(params["jaxpr"].jaxpr, ins[:consts] + carry + ins[consts + carried :])
            if _joined(carry, outs[:carried]) == carry:
                return carry + outs[carried:]
            carry = _joined(carry, outs[:carried])
    if name == "while":
        tests, consts = params["cond_nconsts"], params["body_nconsts"]
        carry = ins[tests + consts :]
        while True:
            (going,) = _flow(params["cond_jaxpr"].jaxpr, ins[:tests] + carry)
            more = [out | going for out in _flow(params["body_jaxpr"].jaxpr, ins[tests : tests + consts] + carry)]
            if _joined(carry, more) == carry:
                return carry
            carry = _joined(carry, more)
    for value in params.values():  # jit, remat, custom derivatives: a call
        inner = value.jaxpr if isinstance(value, ClosedJaxpr) else value
        if isinstance(inner, Jaxpr) and (len(inner.invars), len(inner.outvars)) == (len(ins), len(eqn.outvars)):
            return _flow(inner, ins)
    return [NONE.union(*ins)] * len(eqn.outvars)
