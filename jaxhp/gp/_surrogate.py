"""The Gaussian-process surrogate: hyperparameters by MAP, a posterior that grows row by row, predictions and draws.

z = m + f(x) + e with f ~ GP(0, s2 Matern-5/2 with one length scale per dim, Hamming distance in categorical dims), m ~ N(0, 1),
e_i ~ N(0, v + extra_i); Rasmussen and Williams, Gaussian Processes for Machine Learning, MIT Press 2006. `_kernels.py` has the
equations, `_priors.py` the penalties. z is meant to be centred with unit spread (the transform's output).

How it is used by a sampler, X (n, d) in [0, 1] with inactive coordinates at 0.5:

    theta = fit(X, z, extra, kind, None, 50)           # later: theta of the last fit and 8
    posterior = factor(X, z, extra, kind, theta)       # None when even 10^8 times the noise does not help
    posterior = condition(append(posterior, x, noise), z)    # a row was told: O(n^2), z may be rescaled as a whole
    believer = append(posterior, x)                    # a row is pending: alpha 0 makes it the kriging believer, exactly

Posteriors are linear, like a sampler's state: `append` writes the row behind the last one of the arrays it was given, so
the tuple it started from stays valid until the next append to it. Everything compiles on first use; `warm_up` does it ahead.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from jaxhp._types import Floats, Posterior
from jaxhp.errors import SamplerError
from jaxhp.gp import _kernels, _priors

NUMERIC: Final = 0
HAMMING: Final = 1
VALUE_ROW: Final = -1
_SMALLEST_CAPACITY: Final = 16
_QUERIES_AT_ONCE: Final = 128  # keeps a block of K in the second-level cache
_JITTERS: Final = 12  # 1e-12 s2 ... 0.1 s2


def _dims_major(X: Floats, capacity: int | None = None) -> Floats:
    n, d = X.shape
    if capacity is None:
        return np.array(X.T, dtype=np.float64, order="C")
    out = np.zeros((d, capacity))
    out[:, :n] = X.T
    return out


def _kinds(kind: npt.ArrayLike) -> npt.NDArray[np.int8]:
    return np.array(kind, dtype=np.int8)


def _check(X: Floats, z: Floats, extra: Floats, d: int, theta: Floats) -> None:
    if X.ndim != 2 or X.shape[1] != d or X.shape[0] == 0:
        raise SamplerError(f"X has shape {X.shape}; give at least one row and a column for each of the {d} entries of kind")
    if z.shape != (X.shape[0],) or extra.shape != z.shape:
        raise SamplerError(f"z {z.shape} and extra {extra.shape} must have one entry for each of the {X.shape[0]} rows of X")
    if not (np.isfinite(X).all() and np.isfinite(z).all() and np.isfinite(extra).all()):
        raise SamplerError("X, z and extra must be finite; transform failures to the worst value and inactive coordinates to 0.5 first")
    if theta.shape != (d + 2,) or not (theta > 0.0).all():
        raise SamplerError(f"theta is {theta!r}; give l_1 ... l_{d}, s2, v, all positive")


def fit(
    X: Floats,
    z: Floats,
    extra: Floats,
    kind: npt.ArrayLike,
    theta: Floats | None = None,
    iterations: int = 50,
    penalties: Floats | None = None,
) -> Floats:
    """The MAP hyperparameters, by projected L-BFGS on log theta.

    Args:
        X: (n, d) points.
        z: (n,) values.
        extra: (n,) variance of each value on top of v, in units of z squared.
        kind: (d,) 0 for a number, 1 for a category.
        theta: where to start, (d + 2,) natural units; the default start when None.
        iterations: at most so many; 50 for a cold start and 8 for a warm one are enough.
        penalties: (d + 2, 6), see `_priors`; the default table when None.

    Returns:
        theta (d + 2,): l_1 ... l_d, s2, v. The start itself when the objective cannot be evaluated anywhere near it.

    Raises:
        SamplerError: shapes disagree or a value is not finite.

    >>> X = np.linspace(0.0, 1.0, 6)[:, None]
    >>> fit(X, np.sin(6.0 * X[:, 0]), np.zeros(6), [0]).shape
    (3,)

    """
    kind = _kinds(kind)
    start = _priors.start(kind.size) if theta is None else theta
    _check(X, z, extra, kind.size, start)
    table = _priors.penalties(kind.size, kind) if penalties is None else np.array(penalties)
    log_theta = np.log(start)
    value, _, _ = _kernels.minimize(
        _dims_major(X), np.array(z, np.float64), np.array(extra, np.float64), kind, table, log_theta, int(iterations)
    )
    return np.asarray(np.exp(log_theta)) if np.isfinite(value) else np.array(start, np.float64)


def objective(
    X: Floats, z: Floats, extra: Floats, kind: npt.ArrayLike, theta: Floats, penalties: Floats | None = None
) -> tuple[float, Floats]:
    """What `fit` minimises, and its gradient with respect to log theta (d + 2,). Theta is clipped to its bounds.

    >>> value, gradient = objective(np.eye(2), np.array([1.0, -1.0]), np.zeros(2), [0, 0], _priors.start(2))
    >>> gradient.shape
    (4,)
    """
    kind = _kinds(kind)
    _check(X, z, extra, kind.size, theta)
    table = _priors.penalties(kind.size, kind) if penalties is None else np.array(penalties)
    value, gradient, _ = _kernels.minimize(
        _dims_major(X), np.array(z, np.float64), np.array(extra, np.float64), kind, table, np.log(theta), 0
    )
    return value, gradient


def factor(
    X: Floats,
    z: Floats,
    extra: Floats,
    kind: npt.ArrayLike,
    theta: Floats,
    capacity: int = 0,
    row_kind: npt.NDArray[np.int8] | None = None,
) -> Posterior | None:
    """The posterior at fixed hyperparameters.

    Rounding can break the Cholesky factorisation when rows nearly repeat; v then grows tenfold, up to eight times, and the
    returned `theta` and `noise` hold the v that was used. None when that was not enough.

    Args:
        X: (n, d) points.
        z: (n,) values.
        extra: (n,) variance of each value on top of v.
        kind: (d,) 0 for a number, 1 for a category.
        theta: (d + 2,) l_1 ... l_d, s2, v.
        capacity: room for so many rows at least; `append` doubles it when it is used up.
        row_kind: (n,) all -1; derivative rows are not supported yet.

    Raises:
        SamplerError: shapes disagree, a value is not finite, or a row is not a value row.

    >>> X = np.array([[0.1], [0.9]])
    >>> posterior = factor(X, np.array([-1.0, 1.0]), np.zeros(2), [0], np.array([0.5, 1.0, 1e-6]))
    >>> mean, variance = predict(posterior, X)
    >>> mean.round(3).tolist()
    [-1.0, 1.0]

    """
    kind = _kinds(kind)
    _check(X, z, extra, kind.size, theta)
    if row_kind is not None and (np.asarray(row_kind) != VALUE_ROW).any():
        raise SamplerError("row_kind has derivative rows, which this surrogate does not fit yet; pass value rows (-1) only")
    n = X.shape[0]
    room = _room(max(n, capacity))
    points, Linv, noise = _dims_major(X, room), np.zeros((room, room)), np.zeros(room)
    theta = np.array(theta, np.float64)
    for _ in range(9):
        noise[:n] = theta[-1] + extra
        if _kernels.factorize(points, noise, kind, theta, n, Linv):
            alpha = np.zeros(room)
            mean = _kernels.weigh(Linv, np.array(z, np.float64), n, alpha)
            return Posterior(points, Linv, alpha, noise, np.full(room, VALUE_ROW, np.int8), theta, mean, kind, n)
        theta[-1] *= 10.0
    return None


def _room(n: int) -> int:
    room = _SMALLEST_CAPACITY
    while room < n:
        room *= 2
    return room


def _grown(posterior: Posterior) -> Posterior:
    n, old = posterior.n, posterior.noise.size
    room = _room(old + 1)
    X, Linv = np.zeros((posterior.X.shape[0], room)), np.zeros((room, room))
    X[:, :n], Linv[:n, :n] = posterior.X[:, :n], posterior.Linv[:n, :n]
    spare = room - old
    return posterior._replace(
        X=X,
        Linv=Linv,
        alpha=np.concatenate((posterior.alpha, np.zeros(spare))),
        noise=np.concatenate((posterior.noise, np.zeros(spare))),
        row_kind=np.concatenate((posterior.row_kind, np.full(spare, VALUE_ROW, np.int8))),
    )


def append(posterior: Posterior, x: Floats, extra: float = 0.0) -> Posterior | None:
    """One more row in O(n^2), in place where there is room.

    The row's alpha is 0 until `condition` is called with all values. As it stands that is the kriging believer of a pending
    row (Ginsbourger et al. 2010): a row observed exactly at its own predicted mean changes neither alpha nor the GLS mean.
    An exact repeat whose noise is lost in rounding gets ten times the noise, up to eight times; None when that was not enough.

    Raises:
        SamplerError: x has the wrong shape or is not finite.

    >>> posterior = factor(np.array([[0.1]]), np.array([1.0]), np.zeros(1), [0], np.array([0.5, 1.0, 0.01]))
    >>> append(posterior, np.array([0.7])).n
    2

    """
    if x.shape != posterior.kind.shape or not np.isfinite(x).all():
        raise SamplerError(f"x is {x!r}; give {posterior.kind.size} finite coordinates, 0.5 where inactive")
    if posterior.n == posterior.noise.size:
        posterior = _grown(posterior)
    n = posterior.n
    posterior.X[:, n] = x
    posterior.noise[n] = posterior.theta[-1] + extra
    posterior.row_kind[n] = VALUE_ROW
    posterior.alpha[n] = 0.0
    if _kernels.extend(posterior.X, posterior.noise, posterior.kind, posterior.theta, n, posterior.Linv) < 0:
        return None
    return posterior._replace(n=n + 1)


def condition(posterior: Posterior, z: Floats) -> Posterior:
    """The posterior of the same rows with values z (n,): a new alpha and GLS mean in O(n^2); nothing is overwritten.

    Raises:
        SamplerError: z has the wrong shape or is not finite.

    >>> posterior = factor(np.array([[0.1], [0.9]]), np.zeros(2), np.zeros(2), [0], np.array([0.5, 1.0, 0.01]))
    >>> condition(posterior, np.array([1.0, 1.0])).mean > 0.3
    True

    """
    if z.shape != (posterior.n,) or not np.isfinite(z).all():
        raise SamplerError(f"z has shape {z.shape}; give {posterior.n} finite values, one for each row")
    alpha = np.zeros(posterior.noise.size)
    mean = _kernels.weigh(posterior.Linv, np.array(z, np.float64), posterior.n, alpha)
    return posterior._replace(alpha=alpha, mean=mean)


def predict(posterior: Posterior, X: Floats) -> tuple[Floats, Floats]:
    """Mean and variance (q,) of f at the points X (q, d): plug-in variance, without observation noise or the uncertainty of the mean.

    Raises:
        SamplerError: X has the wrong shape.

    >>> posterior = factor(np.array([[0.1]]), np.array([1.0]), np.zeros(1), [0], np.array([0.5, 2.0, 0.01]))
    >>> mean, variance = predict(posterior, np.array([[0.1], [50.0]]))
    >>> bool(variance[0] < 0.01), float(variance[1])
    (True, 2.0)

    """
    mean, variance = np.empty(X.shape[0]), np.empty(X.shape[0])
    for at in range(0, X.shape[0], _QUERIES_AT_ONCE):
        part = slice(at, at + _QUERIES_AT_ONCE)
        _, mean[part], W = _projected(posterior, X[part])
        variance[part] = np.maximum(posterior.theta[-2] - np.einsum("ij,ij->j", W, W), 0.0)
    return mean, variance


def _projected(posterior: Posterior, X: Floats) -> tuple[Floats, Floats, Floats]:
    if X.ndim != 2 or X.shape[1] != posterior.kind.size:
        raise SamplerError(f"X has shape {X.shape}; give one column for each of the {posterior.kind.size} dims")
    queries, mean, W = _dims_major(X), np.empty(X.shape[0]), np.empty((posterior.n, X.shape[0]))
    _kernels.project(posterior.X, posterior.Linv, posterior.alpha, posterior.kind, posterior.theta, posterior.n, queries, mean, W)
    mean += posterior.mean
    return queries, mean, W


def sample(posterior: Posterior, X: Floats, normals: Floats) -> Floats:
    """Joint draws (s, q) of f at the points X (q, d), from standard normals (s, q): equal normals, equal draws.

    A jitter of 1e-12 s2 is added to the covariance, and tenfold more until it factorises. O(q^3).

    Raises:
        SamplerError: shapes disagree.

    >>> posterior = factor(np.array([[0.1]]), np.array([1.0]), np.zeros(1), [0], np.array([0.5, 2.0, 0.01]))
    >>> sample(posterior, np.array([[0.1], [0.4]]), np.zeros((3, 2))).shape
    (3, 2)

    """
    if normals.ndim != 2 or normals.shape[1] != X.shape[0]:
        raise SamplerError(f"normals has shape {normals.shape}; give one column for each of the {X.shape[0]} points")
    queries, mean, W = _projected(posterior, X)
    out = np.tile(mean, (normals.shape[0], 1))
    normals = np.array(normals, np.float64, order="C")
    jitter = 1e-12 * float(posterior.theta[-2])
    for _ in range(_JITTERS):
        if _kernels.draw(queries, W, posterior.kind, posterior.theta, jitter, normals, out):
            return out
        jitter *= 10.0
    raise SamplerError(f"the covariance of the {X.shape[0]} points is not positive definite; is Linv of this posterior finite?")


def leave_one_out(posterior: Posterior, z: Floats) -> tuple[Floats, Floats]:
    """Mean and variance (n,) of every z_i predicted from the other rows at the same theta, row i's noise included.

    With B = K^-1, u = B 1 and S = 1^T u: z_i - mean_i = alpha_i / (B_ii - u_i^2 / (1 + S)), the residual when the GLS mean is
    estimated without row i too, and variance_i = 1 / B_ii (Rasmussen and Williams 2006, eq. 5.12). What factoring without
    row i and predicting would give, in O(n^2) for all rows; one row alone is predicted by the prior.

    >>> posterior = factor(np.array([[0.1], [0.2]]), np.array([1.0, -1.0]), np.zeros(2), [0], np.array([0.5, 2.0, 0.01]))
    >>> mean, variance = leave_one_out(posterior, np.array([1.0, -1.0]))
    >>> bool(mean[0] < 0.0 < mean[1])
    True
    """
    conditioned = condition(posterior, z)
    Linv = posterior.Linv[: posterior.n, : posterior.n]
    diagonal = np.einsum("ij,ij->j", Linv, Linv)
    u = np.einsum("ij,i->j", Linv, Linv.sum(axis=1))
    return z - conditioned.alpha[: posterior.n] / (diagonal - u * u / (1.0 + u.sum())), 1.0 / diagonal


def warm_up() -> None:
    """Compile, or load from the cache, everything above. Safe to call from a thread; join it before any fork."""
    X, z, extra, kind = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 0.5]]), np.array([-1.0, 0.0, 1.0]), np.zeros(3), (NUMERIC, HAMMING)
    posterior = factor(X, z, extra, kind, fit(X, z, extra, kind, None, 1))
    if posterior is not None:
        append(posterior, X[0])
        sample(posterior, X, np.zeros((1, 3)))
