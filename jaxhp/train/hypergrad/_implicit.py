"""The implicit function theorem: no sweep through training at all, where training has come to rest (Bengio, Neural Computation 2000).

At a minimum w of the training loss L,  dw/dx = -H^-1 d2L/dw dx  with H = d2L/dw2, so

    (H + damping I) v = dF/dw,   dF/dx = (direct) dF/dx - v^T d2L/dw dx

costs a few products with H: conjugate gradients (Pedregosa, ICML 2016), the Neumann series (Lorraine et al., AISTATS 2020), or H = I
(Luketina et al., ICML 2016). Exact near stationarity, and wrong on networks that were stopped early: `info.stationarity` tells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.scipy.sparse.linalg import cg as conjugate_gradients

from jaxhp.errors import TrainableError
from jaxhp.train.hypergrad._info import Info, Reason, plain
from jaxhp.train.hypergrad._loop import Loop, Slice, Split, X
from jaxhp.train.hypergrad._reach import NONE, through

Product = Callable[[jax.Array], jax.Array]


@dataclass(frozen=True)
class Solver:
    """`solve(product, b)` returns v with product(v) near b, all (n,)."""

    name: str
    solve: Callable[[Product, jax.Array], jax.Array] = field(repr=False)


def cg(steps: int = 20, tolerance: float = 1e-6) -> Solver:
    """At most so many steps of conjugate gradients, until the residual is `tolerance` of the right-hand side; for positive definite H."""
    _check_count("cg", steps)
    return Solver(f"cg({steps})", lambda product, b: conjugate_gradients(product, b, tol=tolerance, maxiter=steps)[0])


def neumann(terms: int, alpha: float) -> Solver:
    """alpha sum_(j < terms) (I - alpha H)^j b, which converges where alpha is below 2 / (the largest eigenvalue of H)."""
    _check_count("neumann", terms)
    if not alpha > 0:
        raise TrainableError(f"neumann(alpha={alpha!r}): expected a positive number, below 2 / the largest curvature")

    def solve(product: Product, b: jax.Array) -> jax.Array:
        def add(carry: tuple[jax.Array, jax.Array], _: None) -> tuple[tuple[jax.Array, jax.Array], None]:
            total, term = carry
            return (total + term, term - alpha * product(term)), None

        (total, _), _ = jax.lax.scan(add, (jnp.zeros_like(b), b), None, terms)
        return alpha * total

    return Solver(f"neumann({terms}, {alpha})", solve)


def identity(scale: float = 1.0) -> Solver:
    """v = scale b: as if all curvatures were 1 / scale. One gradient's cost, and often the right sign."""
    return Solver(f"identity({scale})", lambda product, b: scale * b)


@dataclass(frozen=True)
class Implicit:
    """The gradient at a minimum of the training loss, from products with its Hessian.

    Args:
        solver: `hypergrad.cg(20)`, `hypergrad.neumann(50, alpha)` or `hypergrad.identity()`.
        damping: added to the Hessian's diagonal.
        loss: the metric of `step` that is the training loss, before the update, with every penalty in it.
        params: the key of the state under which the trained parameters are; None where all its floating leaves are.
        tolerance: of `info.stationarity`, beyond which the gradient is suspect.

    Raises:
        TrainableError: damping is negative; when used, the state has no such parameters, the step no such metric, or a hyperparameter
            does not enter the gradient of that loss (learning rates, decoupled weight decay).
    """

    solver: Solver = field(default_factory=cg)
    damping: float = 0.0
    loss: str = "loss"
    params: str | None = "params"
    tolerance: float = 1e-2
    exact: ClassVar[bool] = False  # it looks at the training loss, not at the steps

    def __post_init__(self) -> None:
        if not isinstance(self.solver, Solver):
            raise TrainableError(f"Implicit(solver={self.solver!r}): expected cg(20), neumann(50, alpha) or identity() of jaxhp.hypergrad")
        if not self.damping >= 0:
            raise TrainableError(f"Implicit(damping={self.damping!r}): expected a number >= 0")

    def gradient(self, loop: Loop, x: X) -> tuple[jax.Array, X, Info]:
        """See `Adjoint`."""
        begun = loop.start(x)
        place = self._place(loop, x, begun)
        state = loop.run(x, begun, 0, loop.steps)
        initial, _ = ravel_pytree(place.taken(begun))
        w, unflat = ravel_pytree(place.taken(state))

        def slope_of(state: Split) -> Callable[[X, jax.Array], jax.Array]:
            """(x, w) -> dL/dw, the mean over an epoch."""

            def one(x: X, w: jax.Array, piece: Slice) -> jax.Array:
                slope: jax.Array = jax.grad(lambda w: loop.trained(x, place.put(state, unflat(w)), piece)[self.loss].astype(w.dtype))(w)
                return slope

            return _mean_over_epoch(loop, one)

        slope = slope_of(state)
        self._check_reach(loop, x, slope, w)
        value, (along, direct) = jax.value_and_grad(lambda w, x: loop.measure(x, place.put(state, unflat(w))), (0, 1))(w, x)
        rest, product = jax.linearize(lambda w: slope(x, w), w)

        def damped(v: jax.Array) -> jax.Array:
            curved: jax.Array = product(v)
            return curved + self.damping * v

        v = self.solver.solve(damped, along)
        _, pull = jax.vjp(lambda x: slope(x, w), x)
        gradient = jax.tree.map(jnp.subtract, direct, pull(v)[0])
        stationarity = jnp.linalg.norm(rest) / jnp.linalg.norm(slope_of(begun)(x, initial))
        info = plain(
            repr(self),
            gradient,
            stationarity=stationarity,
            residual=jnp.linalg.norm(damped(v) - along) / jnp.linalg.norm(along),
        )
        restless = ~(stationarity <= self.tolerance)
        reason = {
            name: jnp.where((code == Reason.NONE) & restless, Reason.NOT_STATIONARY, code).astype(jnp.int32)
            for name, code in info.reason.items()
        }
        return value, gradient, replace(info, reason=reason)

    def _place(self, loop: Loop, x: X, state: Split) -> Place:
        """How the parameters are taken from a state and put into one."""
        tree = loop.joined(state)
        first = jax.tree.map(lambda a: a[0], loop.slices(0, 1))
        metrics = jax.eval_shape(loop.trained, x, state, first)
        if self.loss not in metrics:
            raise TrainableError(
                f"Implicit(loss={self.loss!r}): step returned {', '.join(map(repr, metrics)) or 'no metrics'}; return the training loss "
                "before the update as one of them, and name it"
            )
        if self.params is None:
            return Place(lambda state: state.smooth, lambda state, w: Split(w, state.rest))
        if not isinstance(tree, Mapping) or self.params not in tree:
            has = f"has {', '.join(map(repr, tree))}" if isinstance(tree, Mapping) else f"is a {type(tree).__name__}"
            raise TrainableError(
                f"Implicit(params={self.params!r}): the state {has}; name the key of its trained parameters, or params=None if all of "
                "its floating leaves are"
            )
        name = self.params
        return Place(lambda state: loop.joined(state)[name], lambda state, w: loop.parted({**loop.joined(state), name: w}))

    def _check_reach(self, loop: Loop, x: X, slope: Callable[[X, jax.Array], jax.Array], w: jax.Array) -> None:
        names = {name: frozenset([name]) for name in x}
        (entering,) = through(lambda x, w, dx: jax.jvp(lambda x: slope(x, w), (x,), (dx,))[1], (NONE, NONE, names), x, w, x)
        outside = [name for name in x if name not in entering]
        if outside:
            raise TrainableError(
                f"Implicit: {', '.join(map(repr, outside))} does not enter the gradient of the training loss (step's {self.loss!r}), "
                "and so moves no minimum of it: learning rates, and decay that the optimiser adds, do not. Put the penalty into the loss, "
                "or use Reverse() or Forward()"
            )


class Place(NamedTuple):
    """Where the trained parameters are in a state."""

    taken: Callable[[Split], Any]
    put: Callable[[Split, Any], Split]


def _mean_over_epoch(loop: Loop, one: Callable[[X, jax.Array, Slice], jax.Array]) -> Callable[[X, jax.Array], jax.Array]:
    slices = loop.slices(0, loop.epoch)
    if loop.epoch == 1:
        only = jax.tree.map(lambda a: a[0], slices)
        return lambda x, w: one(x, w, only)

    def mean(x: X, w: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda total, piece: (total + one(x, w, piece), None), jnp.zeros_like(w), slices)[0] / loop.epoch

    return mean


def _check_count(name: str, count: Any) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise TrainableError(f"{name}({count!r}): expected a positive number of products with the Hessian")
