"""What does each part of the surrogate cost, against LAPACK and this machine?   python bench/gp_parts.py [--rows 100 256] [--dims 10]

One thread; the minimum over repeats, in microseconds, the Python layer included where a sampler would pay it. Beside the objective:
the same n^3 flops through LAPACK (potrf + potri, one thread) and through a plain loop of rank-8 updates, our floor in flops.
"contract" and "reassociate" repeat the objective and the append with those compiler flags off: the rows that justify them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numba
import numpy as np
import rows
from scipy.linalg import lapack

from jaxhp import gp
from jaxhp.gp import _kernels, _priors


def fastest(call: Callable[[], object], seconds: float = 0.3) -> float:
    call()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best * 1e6


def without(flag: str) -> types.ModuleType:
    """The kernels compiled with one fastmath flag off."""
    module = types.ModuleType(f"kernels_without_{flag}")
    source = Path(_kernels.__file__).read_text().replace("CACHE: Final = _cache_is_writable()", "CACHE: Final = False")
    kept = {"contract": '{"reassoc"}', "reassoc": '{"contract"}'}[flag]
    source = source.replace('{"contract", "reassoc"}', kept).replace('{"contract"}', "False" if flag == "contract" else '{"contract"}')
    exec(compile(source, module.__name__, "exec"), vars(module))
    return module


def scratch(n: int, d: int) -> tuple[np.ndarray, ...]:
    N = (n + 7) & ~7
    return _kernels._aligned(N + 8, N + 8), _kernels._aligned(N, N), _kernels._aligned(8, N + 8), _kernels._aligned(d, N)


def measure(n: int, d: int, variants: dict[str, types.ModuleType]) -> dict[str, object]:
    draw = np.random.default_rng([n, d])
    X = draw.random((n, d))
    z = np.sin(3.0 * X[:, 0]) + X[:, 1] ** 2 + 0.1 * draw.normal(size=n)
    z = (z - z.mean()) / z.std()
    extra, kind, table = np.zeros(n), np.zeros(d, np.int8), _priors.penalties(d)
    before = int(n / 1.1)
    start = gp.fit(X[:before], z[:before], extra[:before], kind)
    theta = gp.fit(X, z, extra, kind)
    points, log_theta, gradient, work = X.T.copy(), np.log(theta), np.empty(d + 2), scratch(n, d)
    posterior = gp.factor(X, z, extra, kind, theta, n + 1)
    if posterior is None:
        raise SystemExit("the bench problem did not factorise")
    queries = draw.random((1024, d))

    def objective(kernels: types.ModuleType) -> float:
        return fastest(lambda: kernels._objective(points, z, extra, kind, table, log_theta, *work, gradient))

    K = np.linalg.inv(posterior.Linv[:n, :n].T @ posterior.Linv[:n, :n])

    def by_lapack() -> None:
        factor, _ = lapack.dpotrf(np.array(K, order="F"), lower=1, overwrite_a=1)
        lapack.dpotri(factor, lower=1, overwrite_c=1)

    T, R, N = work[0], work[2], (n + 7) & ~7
    updates = fastest(lambda: [_kernels._rank8(T, R, 0, N, 1e-300) for _ in range(N // 8)])
    row: dict[str, object] = {
        "n": n,
        "d": d,
        "objective_us": objective(_kernels),
        "lapack_us": fastest(by_lapack),
        "rank8_us": updates,
        "rank8_gflops": N * (N + 8) * N / updates / 1e3,
        "fit_cold_us": fastest(lambda: gp.fit(X, z, extra, kind)),
        "fit_warm_us": fastest(lambda: gp.fit(X, z, extra, kind, start, 8)),
        "factor_us": fastest(lambda: gp.factor(X, z, extra, kind, theta)),
        "append_us": fastest(lambda: gp.append(posterior, X[0])),
        "condition_us": fastest(lambda: gp.condition(posterior, z)),
        "predict_1024_us": fastest(lambda: gp.predict(posterior, queries)),
    }
    bare, noise = posterior.Linv.copy(), posterior.noise.copy()
    for name, kernels in variants.items():
        row[f"objective_without_{name}_us"] = objective(kernels)
        row[f"append_without_{name}_us"] = fastest(
            lambda kernels=kernels: kernels.extend(posterior.X, noise, kind, theta, n, bare)  # type: ignore[misc]
        )
    row["append_kernel_us"] = fastest(lambda: _kernels.extend(posterior.X, noise, kind, theta, n, bare))
    return row


def loading() -> dict[str, float]:
    """Seconds to import, and to have everything compiled: with an empty cache and with a full one, in fresh processes."""
    code = (
        "import numpy, time; a = time.perf_counter(); from jaxhp import gp; b = time.perf_counter();"
        "gp.warm_up(); c = time.perf_counter(); print(b - a, c - b)"
    )
    out = {}
    with tempfile.TemporaryDirectory() as cache:
        for name in ("cold", "warm"):
            environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
            spent = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment).stdout.split()
            out |= {f"import_{name}_s": float(spent[0]), f"warm_up_{name}_s": float(spent[1])}
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[20, 50, 100, 200, 256])
    parser.add_argument("--dims", type=int, nargs="+", default=[10])
    options = parser.parse_args()
    variants = {"contract": without("contract"), "reassociate": without("reassoc")}
    for d in options.dims:
        for n in options.rows:
            row = measure(n, d, variants) | {"numba": numba.__version__}
            print("  ".join(f"{key} {value:.1f}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()))
            rows.append("gp_parts", row)
    row = dict(loading())
    print("  ".join(f"{key} {value:.2f}" for key, value in row.items()))
    rows.append("gp_parts", row)


if __name__ == "__main__":
    main()
