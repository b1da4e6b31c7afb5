"""What does a suggestion from a posterior cost, part by part?   python bench/acquisition_parts.py [--rows 20 50 100 200 256] [--dims 10]

One thread; medians over posteriors of a crowded history, in microseconds, the Python layer included. `maximize` is the whole ask part
for (candidates, starts). `bound` and `climb` are told apart by calling it without climbing. Beside them the floors:
flops of each part over what this core does in fused multiply-adds (measured here), and bytes of Linv read once per climb over a copy.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import rows

from jaxhp import _kernel, acquisition
from jaxhp._types import Floats, Posterior

SIZES = ((192, 2), (512, 2), (1024, 4))  # the first is what `bayes()` does
POSTERIORS = 5


def median(call: Callable[[], object], seconds: float = 0.25) -> float:
    call()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def crowded(n: int, d: int, seed: int) -> tuple[Posterior, Floats, Floats]:
    """A posterior of n rows, half of them near the best, as a search leaves behind; rows and values."""
    draw = np.random.default_rng([n, d, seed])
    optimum = draw.random(d)
    X = draw.random((n, d))
    X[n // 2 :] = np.clip(optimum + 0.1 * draw.normal(size=(n - n // 2, d)), 0.0, 1.0)
    z = ((X - optimum) ** 2 + 0.1 * np.cos(9.0 * (X - optimum))).sum(axis=1)
    z = (z - z.mean()) / z.std()
    theta = np.concatenate([0.25 * np.sqrt(d) * np.exp(0.5 * draw.normal(size=d)), [1.0, 1e-4]])
    square = 5.0 * (((X[:, None] - X[None]) / theta[:d]) ** 2).sum(axis=2)
    q = np.sqrt(square)
    K = (1.0 + q + square / 3.0) * np.exp(-q) + 1e-4 * np.eye(n)
    capacity = 1 << max(4, int(np.ceil(np.log2(n))))
    columns, Linv, alpha, noise = np.zeros((d, capacity)), np.zeros((capacity, capacity)), np.zeros(capacity), np.full(capacity, 1e-4)
    columns[:, :n], alpha[:n] = X.T, np.linalg.solve(K, z)
    Linv[:n, :n] = np.tril(np.linalg.inv(np.linalg.cholesky(K)))
    kinds = np.full(capacity, -1, np.int8)
    return Posterior(columns, Linv, alpha, noise, kinds, theta, 0.0, np.zeros(d, np.int8), n), X, z


def peak() -> tuple[float, float]:
    """Float64 Gflop/s of a matrix product and GB/s of a copy out of the second-level cache, one thread."""
    A = np.random.default_rng(0).random((512, 512))
    source = np.zeros(1 << 15)  # 256 KiB
    target = np.empty_like(source)
    return 2.0 * 512**3 / median(lambda: A @ A) / 1e3, source.nbytes / median(lambda: np.copyto(target, source)) / 1e3


def measure(n: int, d: int, gflops: float, gbytes: float) -> dict[str, object]:
    cases = [crowded(n, d, seed) for seed in range(POSTERIORS)]
    dims = _kernel.EncodedDims(
        np.zeros(d, np.int8), np.zeros(d), np.ones(d), np.zeros(d, np.int64), np.full(d, -1, np.int32), np.ones((d, 1), np.bool_)
    )

    def ask(case: tuple[Posterior, Floats, Floats], candidates: int, starts: int, iterations: int = 30) -> acquisition.Suggestion:
        posterior, X, z = case
        return acquisition.maximize(
            [posterior], [acquisition.logei(float(z.min()))], dims, seed=0, number=1, centres=X[np.argsort(z)[:5]], existing=X,
            spread=candidates // 2, local=candidates // 2, starts=starts, iterations=iterations,
        )  # fmt: skip

    def over_cases(call: Callable[[tuple[Posterior, Floats, Floats]], object]) -> float:
        return round(statistics.mean(median(lambda case=case: call(case)) for case in cases), 1)

    row: dict[str, object] = {"n": n, "d": d}
    for candidates, starts in SIZES:
        found = [ask(case, candidates, starts) for case in cases]
        scored = statistics.mean(one.scored for one in found)
        climbed = statistics.mean(one.evaluated for one in found)
        whole = over_cases(lambda case, c=candidates, s=starts: ask(case, c, s))
        flat = over_cases(lambda case, c=candidates, s=starts: ask(case, c, s, 0))
        flops = {  # exp and sqrt of one Matern counted as 30; the bound is float32, twice as wide
            "bound": candidates * n * (3 * d + 30) / 2,
            "score": scored * (n * (3 * d + 30) + n * n),
            "climb": climbed * (n * (6 * d + 30) + 2 * n * n),
        }
        row[f"{candidates}/{starts}"] = {
            "us": whole,
            "us_without_climbing": flat,
            "scored": scored,
            "climbed": climbed,
            "floor_us": {part: round(count / gflops / 1e3, 1) for part, count in flops.items()},
            "floor_us_linv": round((1 + climbed / starts) * 4 * n * n / gbytes / 1e3, 1),
        }
    points = np.random.default_rng(0).random((1024, d))
    row["predict_1024"] = over_cases(lambda case: acquisition.predict(case[0], points))
    row["predict_1"] = over_cases(lambda case: acquisition.predict(case[0], points[:1]))
    row["value_and_gradient_1"] = over_cases(lambda case: acquisition.value_and_gradient([case[0]], [acquisition.logei(-1.0)], points[:1]))
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[20, 50, 100, 200, 256])
    parser.add_argument("--dims", type=int, nargs="+", default=[10])
    arguments = parser.parse_args()
    gflops, gbytes = peak()
    print(f"{_kernel.isa()}: {gflops:.0f} Gflop/s float64, {gbytes:.0f} GB/s\n")
    print("    n   d " + "".join(f"{f'{c}/{s}':>10}{'no climb':>10}{'floor':>8}" for c, s in SIZES) + "   predict 1024   gradient")
    for d in arguments.dims:
        for n in arguments.rows:
            row = measure(n, d, gflops, gbytes)
            cells = [row[f"{c}/{s}"] for c, s in SIZES]
            print(
                f"{n:5d} {d:3d} "
                + "".join(f"{c['us']:10.0f}{c['us_without_climbing']:10.0f}{sum(c['floor_us'].values()):8.0f}" for c in cells)
                + f"{row['predict_1024']:15.0f}{row['value_and_gradient_1']:11.1f}"
            )
            rows.append("acquisition_parts", row | {"gflops": round(gflops, 1), "gbytes": round(gbytes, 1)})


if __name__ == "__main__":
    main()
