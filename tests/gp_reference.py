"""Slow, obvious NumPy twins of jaxhp/gp: one textbook formula each, full matrices, no blocking, no reuse."""

from __future__ import annotations

import numpy as np

from jaxhp._types import Floats
from jaxhp.gp import _priors


def squared_distance(X: Floats, Y: Floats, kind: Floats, lengths: Floats) -> Floats:
    """(n, m) ARD distances, Hamming in dims of kind 1."""
    out = np.zeros((len(X), len(Y)))
    for j, length in enumerate(lengths):
        difference = X[:, None, j] - Y[None, :, j]
        if kind[j] == 1:
            difference = (difference != 0.0).astype(float)
        out += (difference / length) ** 2
    return out


def kernel(X: Floats, Y: Floats, kind: Floats, theta: Floats) -> Floats:
    """s2 times Matern-5/2 of that distance."""
    r = np.sqrt(5.0 * squared_distance(X, Y, kind, theta[:-2]))
    return theta[-2] * (1.0 + r + r**2 / 3.0) * np.exp(-r)


def covariance(X: Floats, extra: Floats, kind: Floats, theta: Floats) -> Floats:
    """K + diag(v + extra)."""
    return kernel(X, X, kind, theta) + np.diag(theta[-1] + extra)


def objective(X: Floats, z: Floats, extra: Floats, kind: Floats, theta: Floats, table: Floats) -> float:
    """-log N(z; 0, K + 1 1^T) + penalties, from the density itself."""
    A = covariance(X, extra, kind, theta) + 1.0
    nll = 0.5 * (z @ np.linalg.solve(A, z) + np.linalg.slogdet(A)[1] + len(z) * np.log(2.0 * np.pi))
    return float(nll + _priors.penalty(table, np.log(theta))[0])


def gradient(X: Floats, z: Floats, extra: Floats, kind: Floats, theta: Floats, table: Floats) -> Floats:
    """d objective / d log theta through one dense dK per hyperparameter."""
    inverse = np.linalg.inv(covariance(X, extra, kind, theta) + 1.0)
    weights = inverse - np.outer(inverse @ z, inverse @ z)
    r = np.sqrt(5.0 * squared_distance(X, X, kind, theta[:-2]))
    shared = theta[-2] * 5.0 / 3.0 * (1.0 + r) * np.exp(-r)
    derivatives = [shared * squared_distance(X[:, [j]], X[:, [j]], kind[[j]], theta[[j]]) for j in range(len(kind))] + [
        kernel(X, X, kind, theta),
        theta[-1] * np.eye(len(z)),
    ]
    slope = np.array([0.5 * np.sum(weights * dK) for dK in derivatives])
    return np.asarray(slope + _priors.penalty(table, np.log(theta))[1])


def gls_mean(K: Floats, z: Floats) -> float:
    """Posterior mean of the constant under its N(0, 1) prior."""
    ones = np.ones(len(z))
    return float(ones @ np.linalg.solve(K, z) / (1.0 + ones @ np.linalg.solve(K, ones)))


def predict(X: Floats, z: Floats, extra: Floats, kind: Floats, theta: Floats, Q: Floats) -> tuple[Floats, Floats]:
    """Mean (q,) and joint covariance (q, q) of f at Q, the mean plugged in."""
    K, k = covariance(X, extra, kind, theta), kernel(X, Q, kind, theta)
    m = gls_mean(K, z)
    return m + k.T @ np.linalg.solve(K, z - m), kernel(Q, Q, kind, theta) - k.T @ np.linalg.solve(K, k)


def leave_one_out(X: Floats, z: Floats, extra: Floats, kind: Floats, theta: Floats) -> tuple[Floats, Floats]:
    """n refits without one row each."""
    mean, variance = np.empty(len(z)), np.empty(len(z))
    for i in range(len(z)):
        rest = np.arange(len(z)) != i
        mu, cov = predict(X[rest], z[rest], extra[rest], kind, theta, X[[i]])
        mean[i], variance[i] = mu[0], cov[0, 0] + theta[-1] + extra[i]
    return mean, variance


def inverse_hessian(pairs: list[tuple[Floats, Floats]]) -> Floats:
    """The BFGS matrix after the given (s, y), oldest first, from gamma I of the newest (Nocedal and Wright, eq. 7.16, 7.20)."""
    s, y = pairs[-1]
    H = np.eye(len(s)) * (s @ y) / (y @ y)
    for s, y in pairs:
        V = np.eye(len(s)) - np.outer(y, s) / (s @ y)
        H = V.T @ H @ V + np.outer(s, s) / (s @ y)
    return H
