"""Every @njit function of the surrogate. Plain loops over points innermost, dims-major, lower triangles only.

One elimination, `_sweep`, serves both the likelihood and the factor. It walks the pivots in blocks of eight. For a block k with
K_kk = L_kk L_kk^T it forms the row panel

    R_j = L_kk^-1 T_kj   (j outside the block),     R_k = L_kk^-1,

and updates every row with it: T_ij -= R_i^T R_j below the block; in and above it, when the inverse is wanted, T_ij += R_i^T R_j.
Left of the pivots T holds rows of L^-1 in the making, right of them the Schur complement, so everything is in place and every
flop is in one rank-8 update (`_rank8`). n^3 flops give K^-1 and log|K|, 2/3 n^3 give L^-1. Border rows z and 1 under K come out
as -K^-1 z, -K^-1 1 and, in their corner, -z^T K^-1 z, -1^T K^-1 z, -1^T K^-1 1 (Gauss-Jordan on a bordered matrix).

The objective is minus the log posterior of theta with the constant mean m ~ N(0, 1) integrated out, z ~ N(0, A), A = K + 1 1^T:

    S = 1^T K^-1 1,  b = 1^T K^-1 z,  m = b / (1 + S),  a = A^-1 z = K^-1 (z - m),  u = K^-1 1
    F = 1/2 (z^T K^-1 z - b^2 / (1 + S) + log|K| + log(1 + S) + n log 2 pi) + penalties
    dF = 1/2 sum_ij Q_ij dK_ij,   Q = A^-1 - a a^T = K^-1 - u u^T / (1 + S) - a a^T,   a^T K a = a^T z - m^2

by Woodbury (Rasmussen and Williams 2006, eq. 2.43-2.45 and 5.9). With r' = sqrt(5) r the kernel is s2 (1 + r' + r'^2 / 3) exp(-r')
and dK/dlog l_j = s2 5/3 (1 + r') exp(-r') diff_j^2 / l_j^2, where diff_j is [x_j != x'_j] in a Hamming dim.

Sizes: n points, d dims, N = n rounded up to a multiple of 8 (the pad is an identity block: it changes nothing), p = d + 2.
Multiply-adds may be contracted (0.91-0.95 of the time of an objective from n = 100 on) and the reductions of `_dot` reassociated
(an append in 0.51 of the time at n = 100, 0.27 at 256): the `_without_` fields of bench/results/gp_parts.jsonl. Both are fixed at
compile time, so results repeat bitwise on one instruction set.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Final, ParamSpec, TypeAlias, TypeVar

import numba
import numpy as np
import numpy.typing as npt

from jaxhp._types import Floats

Int8s: TypeAlias = npt.NDArray[np.int8]

P = ParamSpec("P")
Result = TypeVar("Result")

MEMORY: Final = 6  # pairs kept by L-BFGS
ARMIJO: Final = 1e-4
GRADIENT_TOLERANCE: Final = 1e-6
VALUE_TOLERANCE: Final = 1e-8
LONGEST_STEP: Final = 2.0  # of any log theta in one iteration: a factor of e^2


def _cache_is_writable() -> bool:
    """Whether Numba finds a place to cache this file; decorating with cache=True raises where it does not."""
    try:
        numba.njit(cache=True)(_cache_is_writable)
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
        warnings.warn(
            "jaxhp cannot cache its compiled surrogate, so every process spends seconds compiling it again; "
            f"set NUMBA_CACHE_DIR to a writable directory ({error})",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return True


CACHE: Final = _cache_is_writable()


def contracted(function: Callable[P, Result]) -> Callable[P, Result]:
    """Compile on first use, cached where possible, with fused multiply-adds."""
    return numba.njit(cache=CACHE, fastmath={"contract"})(function)


def reassociated(function: Callable[P, Result]) -> Callable[P, Result]:
    """As `contracted`, with reductions in vector lanes."""
    return numba.njit(cache=CACHE, fastmath={"contract", "reassoc"})(function)


@contracted
def _aligned(rows: int, columns: int) -> Floats:
    """Zeros (rows, columns) that start on a cache line; columns a multiple of 8 keeps every row on one."""
    buffer = np.zeros(rows * columns + 8)
    offset = (-(buffer.ctypes.data // 8)) % 8
    return buffer[offset : offset + rows * columns].reshape(rows, columns)


@reassociated
def _dot(a: Floats, b: Floats, m: int) -> float:
    total = 0.0
    for j in range(m):
        total += a[j] * b[j]
    return total


@contracted
def _exp_negative(x: float) -> float:
    """exp(-x) for 0 <= x <= 700 to 1 ulp, branch-free so that loops over it vectorise (without SVML np.exp does not)."""
    t = x * -1.4426950408889634 + 6755399441055744.0  # 1.5 2^52: rounds to the nearest integer, which sits in the low bits
    k = t - 6755399441055744.0
    f = (-x - k * 0.6931471803691238) - k * 1.9082149292705877e-10  # |f| <= log(2) / 2, log 2 in two parts
    q = 1.0 / 6227020800.0
    for c in (
        1.0 / 479001600.0,
        1.0 / 39916800.0,
        1.0 / 3628800.0,
        1.0 / 362880.0,
        1.0 / 40320.0,
        1.0 / 5040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ):
        q = q * f + c
    bits = (np.float64(t).view(np.int64) + 1023) << 52
    return q * np.int64(bits).view(np.float64)


@contracted
def _scale(X: Floats, theta: Floats, n: int, out: Floats) -> None:
    """X / l into `out`; equal levels of a Hamming dim stay equal."""
    for a in range(X.shape[0]):
        inverse = 1.0 / theta[a]
        for j in range(n):
            out[a, j] = X[a, j] * inverse


@contracted
def _kernel_row(Xs: Floats, point: Floats, kind: Int8s, theta: Floats, m: int, value: Floats, weight: Floats) -> None:
    """k(x_j, point) and its length-scale weight s2 5/3 (1 + r') exp(-r') for j < m; both already scaled by 1/l."""
    d = Xs.shape[0]
    for j in range(m):
        weight[j] = 0.0
    for a in range(d):
        row, c = Xs[a], point[a]
        if kind[a] == 0:
            for j in range(m):
                t = row[j] - c
                weight[j] += t * t
        else:
            w = 1.0 / (theta[a] * theta[a])
            for j in range(m):
                weight[j] += w if row[j] != c else 0.0
    s2 = theta[d]
    for j in range(m):
        r = min(math.sqrt(5.0 * weight[j]), 700.0)
        e = s2 * _exp_negative(r)
        value[j] = (1.0 + r + r * r * (1.0 / 3.0)) * e
        weight[j] = (5.0 / 3.0) * (1.0 + r) * e


@contracted
def _rank8(T: Floats, R: Floats, first: int, last: int, sign: float) -> None:
    """T_ij += sign sum_r R_ri R_rj for first <= i < last (both even), j up to the end of i's group of eight."""
    for i in range(first, last, 2):
        k = i + 1
        p0, p1, p2, p3 = sign * R[0, i], sign * R[1, i], sign * R[2, i], sign * R[3, i]
        p4, p5, p6, p7 = sign * R[4, i], sign * R[5, i], sign * R[6, i], sign * R[7, i]
        q0, q1, q2, q3 = sign * R[0, k], sign * R[1, k], sign * R[2, k], sign * R[3, k]
        q4, q5, q6, q7 = sign * R[4, k], sign * R[5, k], sign * R[6, k], sign * R[7, k]
        upper, lower = T[i], T[k]
        for j in range((i + 8) & ~7):
            r0, r1, r2, r3 = R[0, j], R[1, j], R[2, j], R[3, j]
            r4, r5, r6, r7 = R[4, j], R[5, j], R[6, j], R[7, j]
            s = upper[j] + p0 * r0
            t = lower[j] + q0 * r0
            s += p1 * r1
            t += q1 * r1
            s += p2 * r2
            t += q2 * r2
            s += p3 * r3
            t += q3 * r3
            s += p4 * r4
            t += q4 * r4
            s += p5 * r5
            t += q5 * r5
            s += p6 * r6
            t += q6 * r6
            s += p7 * r7
            t += q7 * r7
            upper[j] = s
            lower[j] = t


@contracted
def _sweep(T: Floats, R: Floats, N: int, rows: int) -> float:
    """Eliminate the N pivots of the lower triangle T (rows, .) in place; log|K|, infinite when K is not positive definite.

    With border rows, rows > N, K becomes K^-1; without, L^-1. R (8, columns of T) is scratch, zero beyond `rows`.
    """
    logdet = 0.0
    inverse = rows > N
    width = (rows + 7) & ~7
    for k in range(0, N, 8):
        end = k + 8
        for r in range(8):
            for j in range(k):
                R[r, j] = T[k + r, j]
        for j in range(end, rows):
            for r in range(8):
                R[r, j] = T[j, k + r]
        for r in range(8):  # Cholesky of the diagonal block, reciprocals on its diagonal
            for s in range(r + 1):
                c = T[k + r, k + s]
                for t in range(s):
                    c -= T[k + r, k + t] * T[k + s, k + t]
                if s < r:
                    T[k + r, k + s] = c * T[k + s, k + s]
                elif c > 0.0:
                    logdet += math.log(c)
                    T[k + r, k + r] = 1.0 / math.sqrt(c)
                else:
                    return math.inf
        for r in range(8):
            for s in range(8):
                R[r, k + s] = 1.0 if r == s else 0.0
            for s in range(r):
                c = T[k + r, k + s]
                for j in range(width):
                    R[r, j] -= c * R[s, j]
            c = T[k + r, k + r]
            for j in range(width):
                R[r, j] *= c
        for r in range(8):
            for j in range(end):
                T[k + r, j] = 0.0 if inverse else R[r, j]
        for i in range(end, rows):
            for s in range(k, end):
                T[i, s] = 0.0
        if inverse:
            _rank8(T, R, 0, end, 1.0)
        _rank8(T, R, end, rows, -1.0)
    return logdet


@contracted
def _objective(
    X: Floats,
    z: Floats,
    extra: Floats,
    kind: Int8s,
    table: Floats,
    t: Floats,
    T: Floats,
    G: Floats,
    R: Floats,
    Xs: Floats,
    gradient: Floats,
) -> float:
    """F at log theta t (p,), its gradient into `gradient`; infinite where K is not positive definite.

    Scratch: T (N + 8, N + 8), G (N, N), R (8, N + 8), Xs (d, N) zero beyond n, all aligned.
    """
    d, n = X.shape[0], z.size
    N = (n + 7) & ~7
    theta = np.empty(d + 2)
    for c in range(d + 2):
        theta[c] = math.exp(t[c])
    v = theta[d + 1]
    _scale(X, theta, n, Xs)
    for i in range(n):
        _kernel_row(Xs, Xs[:, i], kind, theta, (i + 8) & ~7, T[i], G[i])
        T[i, i] = theta[d] + v + extra[i]
    for i in range(n, N + 2):
        for j in range(N + 2):
            T[i, j] = 1.0 if i == j and i < N else 0.0
    for i in range(n):
        T[N, i] = z[i]
        T[N + 1, i] = 1.0
    logdet = _sweep(T, R, N, N + 2)
    if not math.isfinite(logdet):
        return math.inf
    minus_u = T[N + 1]  # zero in the pad
    S = -T[N + 1, N + 1]
    m = -T[N + 1, N] / (1.0 + S)
    quadratic = -T[N, N] - m * m * (1.0 + S)
    value = 0.5 * (quadratic + logdet + math.log1p(S) + n * math.log(2.0 * math.pi))
    a = np.zeros(N)
    for j in range(n):
        a[j] = -T[N, j] + m * minus_u[j]
    trace = 0.0  # of Q
    noisy = 0.0  # sum_i Q_ii noise_i
    q0, q1 = np.empty(N), np.empty(N)
    sums = np.zeros((d, N))
    for i in range(0, n, 2):  # rows in pairs share the loads below; a row of the pad has weight 0
        last = (i + 8) & ~7
        for k in range(i, i + 2):
            q, row, weight = (q0 if k == i else q1), T[k], G[k]
            ak, uk = a[k], minus_u[k] / (1.0 + S)
            if k < n:
                qkk = row[k] - ak * ak - uk * minus_u[k]
                trace += qkk
                noisy += qkk * (v + extra[k])
            for j in range(last):
                q[j] = (row[j] - ak * a[j] - uk * minus_u[j]) * weight[j]
            for j in range(k, last):
                q[j] = 0.0
        for c in range(d):
            x, total, x0, x1 = Xs[c], sums[c], Xs[c, i], Xs[c, i + 1]
            if kind[c] == 0:
                for j in range(last):
                    b, e = x[j] - x0, x[j] - x1
                    total[j] += q0[j] * b * b + q1[j] * e * e
            else:
                for j in range(last):
                    total[j] += (q0[j] if x[j] != x0 else 0.0) + (q1[j] if x[j] != x1 else 0.0)
    for c in range(d):
        gradient[c] = 0.0
        for j in range(N):
            gradient[c] += sums[c, j]
        if kind[c] != 0:
            gradient[c] /= theta[c] * theta[c]
    gradient[d] = 0.5 * (n - (quadratic - m * m) - S / (1.0 + S) - noisy)
    gradient[d + 1] = 0.5 * v * trace
    for c in range(d + 2):
        short, long = table[c, 0] * math.exp(-2.0 * t[c]), table[c, 1] * math.exp(2.0 * t[c])
        linear = table[c, 3] * math.exp(t[c])
        value += short + long + table[c, 2] * t[c] + linear
        gradient[c] += 2.0 * (long - short) + table[c, 2] + linear
    return float(value)


@contracted
def _direction(g: Floats, free: Floats, S: Floats, Y: Floats, count: int, out: Floats) -> None:
    """Out = -H g over the free coordinates by the two-loop recursion (Nocedal and Wright 2006, algorithm 7.4).

    S and Y (MEMORY, p) are rings of the last steps and gradient changes, of which `count` were ever stored.
    """
    p = g.size
    s, y = np.empty(p), np.empty(p)
    ratio, curvature = np.zeros(MEMORY), np.zeros(MEMORY)
    scale = 0.0  # of the initial H: from the newest pair that is curved within the free coordinates
    for c in range(p):
        out[c] = -g[c] * free[c]
    kept = min(count, MEMORY)
    for visit in range(2 * kept):  # newest to oldest, then back
        slot = (count - 1 - min(visit, 2 * kept - 1 - visit)) % MEMORY
        for c in range(p):
            s[c], y[c] = S[slot, c] * free[c], Y[slot, c] * free[c]
        if visit < kept:
            curvature[slot] = _dot(s, y, p)
            if curvature[slot] > 0.0:
                ratio[slot] = _dot(s, out, p) / curvature[slot]
                if scale == 0.0:
                    scale = curvature[slot] / _dot(y, y, p)
                for c in range(p):
                    out[c] -= ratio[slot] * y[c]
        if visit == kept and scale > 0.0:
            for c in range(p):
                out[c] *= scale
        if visit >= kept and curvature[slot] > 0.0:
            ahead = ratio[slot] - _dot(y, out, p) / curvature[slot]
            for c in range(p):
                out[c] += ahead * s[c]


@contracted
def minimize(X: Floats, z: Floats, extra: Floats, kind: Int8s, table: Floats, t: Floats, iterations: int) -> tuple[float, Floats, int]:
    """Projected L-BFGS from log theta t, which it moves: F, the gradient, and the number of evaluations.

    A start at which K is not positive definite is left by raising v tenfold, up to eight times; F is infinite if that did not help.
    With `iterations` 0 this is one evaluation of the objective.
    """
    d, n = X.shape[0], z.size
    p, N = d + 2, (n + 7) & ~7
    T, G, R, Xs = _aligned(N + 8, N + 8), _aligned(N, N), _aligned(8, N + 8), _aligned(d, N)
    S, Y = np.empty((MEMORY, p)), np.empty((MEMORY, p))
    g, g_next, t_next = np.empty(p), np.empty(p), np.empty(p)
    free, step = np.empty(p), np.empty(p)
    low, high = table[:, 4], table[:, 5]
    for c in range(p):
        t[c] = min(max(t[c], low[c]), high[c])
    f = math.inf
    evaluations = 0
    while evaluations < 9:
        f = _objective(X, z, extra, kind, table, t, T, G, R, Xs, g)
        evaluations += 1
        if math.isfinite(f):
            break
        t[d + 1] = min(t[d + 1] + math.log(10.0), high[d + 1])
    count = 0
    for _ in range(iterations if math.isfinite(f) else 0):
        steepest = 0.0
        for c in range(p):
            held = (t[c] <= low[c] and g[c] > 0.0) or (t[c] >= high[c] and g[c] < 0.0)
            free[c] = 0.0 if held else 1.0
            steepest = max(steepest, abs(g[c]) * free[c])
        if steepest < GRADIENT_TOLERANCE:
            break
        _direction(g, free, S, Y, count, step)
        longest = 0.0
        for c in range(p):
            longest = max(longest, abs(step[c]))
        scale = min(1.0, LONGEST_STEP / longest)
        if count == 0:
            scale = min(scale, 1.0 / math.sqrt(_dot(step, step, p)))
        f_next = math.inf
        for _ in range(12):
            slope = 0.0
            for c in range(p):
                t_next[c] = min(max(t[c] + scale * step[c], low[c]), high[c])
                slope += g[c] * (t_next[c] - t[c])
            if slope >= 0.0:
                break
            f_next = _objective(X, z, extra, kind, table, t_next, T, G, R, Xs, g_next)
            evaluations += 1
            if f_next <= f + ARMIJO * slope:
                break
            # towards the minimum of the parabola through f, slope and f_next
            scale *= min(max(-0.5 * slope / (f_next - f - slope), 0.1), 0.5) if math.isfinite(f_next) else 0.1
        if not f_next < f:
            if count == 0:
                break
            count = 0  # forget the curvature and try the gradient once
            continue
        slot = count % MEMORY
        for c in range(p):
            S[slot, c], Y[slot, c] = t_next[c] - t[c], g_next[c] - g[c]
            t[c], g[c] = t_next[c], g_next[c]
        if _dot(S[slot], Y[slot], p) > 1e-10 * _dot(Y[slot], Y[slot], p):
            count += 1
        gain, f = f - f_next, f_next
        if gain < VALUE_TOLERANCE * max(1.0, abs(f)):
            break
    return f, g, evaluations


@contracted
def factorize(X: Floats, noise: Floats, kind: Int8s, theta: Floats, n: int, Linv: Floats) -> bool:
    """Write the n rows of L^-1 into Linv (cap, cap); False when K + diag(noise) is not positive definite (Linv is then untouched)."""
    d = X.shape[0]
    N = (n + 7) & ~7
    T, R, Xs, weight = _aligned(N, N), _aligned(8, N), _aligned(d, N), np.empty(N)
    _scale(X, theta, n, Xs)
    for i in range(n):
        _kernel_row(Xs, Xs[:, i], kind, theta, (i + 8) & ~7, T[i], weight)
        T[i, i] = theta[d] + noise[i]
    for i in range(n, N):
        T[i, i] = 1.0
    if not math.isfinite(_sweep(T, R, N, N)):
        return False
    for i in range(n):
        for j in range(i + 1):
            Linv[i, j] = T[i, j]
    return True


@contracted
def extend(X: Floats, noise: Floats, kind: Int8s, theta: Floats, n: int, Linv: Floats) -> int:
    """Write row n of L^-1 for the point in column n of X; how often its noise had to grow tenfold, -1 when eight times were not enough.

    With l = L^-1 k and rho^2 = s2 + noise - l^T l the row is (-l^T L^-1, 1) / rho.
    """
    d = X.shape[0]
    N = (n + 8) & ~7
    Xs, k, weight, row = _aligned(d, N), np.empty(N), np.empty(N), np.zeros(n)
    _scale(X, theta, n + 1, Xs)
    _kernel_row(Xs, Xs[:, n], kind, theta, N, k, weight)
    rho2 = theta[d]
    for i in range(n):
        source = Linv[i]
        entry = _dot(source, k, i + 1)
        rho2 -= entry * entry
        for j in range(i + 1):
            row[j] -= entry * source[j]
    floor = 1e-12 * (theta[d] + noise[n])  # what rounding leaves of an exact repeat
    for attempt in range(9):
        if rho2 + noise[n] > floor:
            rho = math.sqrt(rho2 + noise[n])
            for j in range(n):
                Linv[n, j] = row[j] / rho
            Linv[n, n] = 1.0 / rho
            return attempt
        noise[n] *= 10.0
    return -1


@contracted
def weigh(Linv: Floats, z: Floats, n: int, alpha: Floats) -> float:
    """Alpha = K^-1 (z - m) and the GLS mean m = 1^T K^-1 z / (1 + 1^T K^-1 1), in one pass over L^-1."""
    ones, a, u = np.ones(n), np.zeros(n), np.zeros(n)
    S = b = 0.0
    for i in range(n):
        row = Linv[i]
        white = _dot(row, z, i + 1)
        unit = _dot(row, ones, i + 1)
        S += unit * unit
        b += unit * white
        for j in range(i + 1):
            a[j] += white * row[j]
            u[j] += unit * row[j]
    m = b / (1.0 + S)
    for j in range(n):
        alpha[j] = a[j] - m * u[j]
    return m


@contracted
def project(X: Floats, Linv: Floats, alpha: Floats, kind: Int8s, theta: Floats, n: int, Q: Floats, mean: Floats, W: Floats) -> None:
    """For queries Q (d, q): k^T alpha into mean (q,) and L^-1 K(X, Q) into W (n, q)."""
    d, q = Q.shape
    N = (n + 7) & ~7
    Xs, Qs = np.empty((d, n)), np.empty((d, q))
    K, weight = _aligned(N, q), np.empty(q)
    _scale(X, theta, n, Xs)
    _scale(Q, theta, q, Qs)
    for i in range(n):
        _kernel_row(Qs, Xs[:, i], kind, theta, q, K[i], weight)
    mean[:] = 0.0
    W[:] = 0.0
    for i in range(n):
        out, row, share = W[i], Linv[i], alpha[i]
        for c in range(q):
            mean[c] += share * K[i, c]
        for j in range(0, i + 1, 4):  # past the diagonal L^-1 is zero
            w0, w1, w2, w3 = row[j], row[j + 1], row[j + 2], row[j + 3]
            k0, k1, k2, k3 = K[j], K[j + 1], K[j + 2], K[j + 3]
            for c in range(q):
                out[c] += (w0 * k0[c] + w1 * k1[c]) + (w2 * k2[c] + w3 * k3[c])


@contracted
def draw(Q: Floats, W: Floats, kind: Int8s, theta: Floats, jitter: float, normals: Floats, out: Floats) -> bool:
    """Add L_q normals to every row of out (s, q), where L_q L_q^T = K(Q, Q) - W^T W + jitter; False when that is not positive definite."""
    d, q = Q.shape
    Qs, C, weight = np.empty((d, q)), np.empty((q, q)), np.empty(q)
    _scale(Q, theta, q, Qs)
    for i in range(q):
        _kernel_row(Qs, Qs[:, i], kind, theta, i + 1, C[i], weight)
        C[i, i] += jitter
    for k in range(W.shape[0]):
        for i in range(q):
            c = W[k, i]
            for j in range(i + 1):
                C[i, j] -= c * W[k, j]
    for i in range(q):
        for j in range(i):
            C[i, j] = (C[i, j] - _dot(C[i], C[j], j)) / C[j, j]
        pivot = C[i, i] - _dot(C[i], C[i], i)
        if not pivot > 0.0:
            return False
        C[i, i] = math.sqrt(pivot)
    for s in range(out.shape[0]):
        for i in range(q):
            out[s, i] += _dot(C[i], normals[s], i + 1)
    return True
