"""Slow, obvious twins of csrc/posterior.hpp and csrc/acquisition.hpp: full matrices in NumPy, the normal distribution in mpmath."""

from __future__ import annotations

import math

import mpmath
import numpy as np

from jaxhp._types import Dims, Floats, Kind, Posterior
from jaxhp.acquisition import Term

FAR = 46.0  # from here on the upper tail is 0 to float64, and a continued fraction converges in a few steps


def _tail(a: float) -> tuple[mpmath.mpf, mpmath.mpf, mpmath.mpf]:
    """log phi(a), phi(a) / Phi(-a) and J_0 / J_1 of csrc/normal.hpp, far out."""
    rho = mpmath.mpf(0)
    for n in range(60, 0, -1):
        rho = 1 / (mpmath.mpf(a) + (n + 1) * rho)
    return -(mpmath.mpf(a) ** 2) / 2 - mpmath.log(2 * mpmath.pi) / 2, a + rho, 1 / rho


def log_h(z: float) -> tuple[float, float]:
    """log(phi + z Phi) and Phi / (phi + z Phi), with as many digits as the cancellation eats, and 30 more."""
    if z > FAR:
        return math.log(z), 1.0 / z
    with mpmath.workdps(60 if z < -FAR else 40 + int(z * z / 4)):
        if z < -FAR:
            log_phi, inverse_mills, slope = _tail(-z)
            return float(log_phi - mpmath.log(inverse_mills * slope)), float(slope)
        cdf = mpmath.ncdf(z)
        h = mpmath.npdf(z) + z * cdf
        return float(mpmath.log(h)), float(cdf / h)


def log_cdf(z: float) -> tuple[float, float]:
    """log Phi and phi / Phi."""
    if z > FAR:
        return 0.0, 0.0
    with mpmath.workdps(60 if z < -FAR else 40 + int(z * z / 4)):
        if z < -FAR:
            log_phi, inverse_mills, _ = _tail(-z)
            return float(log_phi - mpmath.log(inverse_mills)), float(inverse_mills)
        return float(mpmath.log(mpmath.ncdf(z))), float(mpmath.npdf(z) / mpmath.ncdf(z))


def kernel(posterior: Posterior, A: Floats, B: Floats) -> Floats:
    """(a, b) s2 times Matern-5/2 of the ARD distance, Hamming along categories, inactive coordinates at 0.5."""
    A, B = np.where(np.isnan(A), 0.5, A), np.where(np.isnan(B), 0.5, B)
    square = np.zeros((len(A), len(B)))
    for j, kind in enumerate(posterior.kind):
        difference = A[:, None, j] - B[None, :, j]
        if kind == 1:
            difference = (difference != 0.0).astype(float)
        square += (difference / posterior.theta[j]) ** 2
    q = np.sqrt(5.0 * square)
    return np.asarray(posterior.theta[-2] * (1.0 + q + q**2 / 3.0) * np.exp(-q))


def make_posterior(
    X: Floats, z: Floats, kind: Floats, theta: Floats, noise: Floats, mean: float = 0.0, capacity: int | None = None
) -> Posterior:
    """The posterior of rows X (n, d) with values z, by a dense Cholesky factor; NaN in what is spare, except above the diagonal."""
    n, d = X.shape
    capacity = capacity or n
    columns = np.full((d, capacity), np.nan)
    columns[:, :n] = np.where(np.isnan(X), 0.5, X).T
    spare = Posterior(
        columns,
        np.zeros((capacity, capacity)),
        np.full(capacity, np.nan),
        np.full(capacity, np.nan),
        np.full(capacity, -1, np.int8),
        np.asarray(theta, float),
        mean,
        np.asarray(kind, np.int8),
        n,
    )
    K = kernel(spare, X, X) + np.diag(noise)
    spare.Linv[:n, :n] = np.tril(np.linalg.inv(np.linalg.cholesky(K)))
    spare.alpha[:n] = np.linalg.solve(K, z - mean)
    spare.noise[:n] = noise
    return spare


def predict(posterior: Posterior, u: Floats) -> tuple[Floats, Floats]:
    """Mean and variance through the dense inverse."""
    n = posterior.n
    X = posterior.X[:, :n].T
    k = kernel(posterior, X, u)
    K = kernel(posterior, X, X) + np.diag(posterior.noise[:n])
    variance = posterior.theta[-2] - np.sum(k * np.linalg.solve(K, k), axis=0)
    return posterior.mean + k.T @ posterior.alpha[:n], variance


def value(posteriors: list[Posterior], terms: list[Term], u: Floats) -> Floats:
    """The sum of terms, draws excepted, at u (m, d)."""
    total = np.zeros(len(u))
    for kind, which, a, b in terms:
        mean, variance = predict(posteriors[which], u)
        deviation = np.sqrt(variance)
        if kind == 0:
            total += [log_h(float(z))[0] for z in (a - mean) / deviation] + np.log(deviation)
        elif kind == 1:
            total += np.sqrt(a) * deviation - mean
        elif kind == 2:
            total += [log_cdf(float(z))[0] for z in (a - b - mean) / deviation]
        else:
            total += -a * mean
    return total


def random_canonical(random: np.random.Generator, dims: Dims, m: int) -> Floats:
    """(m, d) canonical points, one coordinate at a time from the definition in docs/architecture.md."""
    d = len(dims.kind)
    u = random.random((m, d))
    for i in range(m):
        for j in range(d):
            parent = dims.parent[j]
            if parent >= 0 and (np.isnan(u[i, parent]) or not dims.allowed[j, int(u[i, parent] * dims.levels[parent])]):
                u[i, j] = np.nan
            elif dims.kind[j] == Kind.GRID_LOG:
                low, high = np.log(dims.low[j] - 0.5), np.log(dims.high[j] + 0.5)
                value = np.clip(np.floor(np.exp(low + u[i, j] * (high - low)) + 0.5), dims.low[j], dims.high[j])
                u[i, j] = (np.log(value) - low) / (high - low)
            elif dims.kind[j] >= Kind.GRID:
                u[i, j] = (np.floor(u[i, j] * dims.levels[j]) + 0.5) / dims.levels[j]
    return u
