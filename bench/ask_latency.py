"""What do `bayes()` and `tpe()` cost a trial, ask + tell, beside Optuna's and rustuna's samplers and BoTorch in the same process?

    python bench/ask_latency.py [--quick] [--only tpe,gp,large,dims,first,memory,batch,parzen]

Default settings, through `Study`, one thread, thread CPU time, refits counted. Every row goes to bench/results/ask_latency.jsonl.
The floor beside a result is what the parts alone cost (bench/gp_parts.py, bench/acquisition_parts.py).
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import peers
import rows

import jaxhp

Clock = Callable[[], float]


def objective(params: dict[str, Any]) -> float:
    """A bowl with ripples, its minimum off the centre."""
    x = np.fromiter(params.values(), float)
    z = x - 0.3 - 0.4 * np.arange(len(x)) / len(x)
    return float((z * z).sum() + 0.05 * (1.0 - np.cos(12.0 * z)).sum())


def run(peer: peers.Peer, trials: int, clock: Clock = time.thread_time) -> list[float]:
    """Milliseconds of ask + tell, per trial."""
    costs = []
    for _ in range(trials):
        start = clock()
        handle, params = peer.ask()
        middle = clock()
        y = objective(params)
        resumed = clock()
        peer.tell(handle, y)
        costs.append((middle - start + clock() - resumed) * 1e3)
    return costs


def record(what: str, row: dict[str, Any], met: bool | None, shown: str) -> None:
    mark = "" if met is None else "met " if met else "MISSED "
    print(f"  {mark:7s}{what:58s} {shown}", flush=True)
    rows.append("ask_latency", {"what": what, "met": met} | row)


def against_tpe(repeats: int, trials: int) -> None:
    dims = peers.floats(10)
    ours, theirs = [], []
    for seed in range(repeats):  # interleaved
        ours.append(run(peers.ours(dims, jaxhp.bayes(), seed), trials))
        theirs.append(run(peers.optuna(dims, "TPESampler", seed), trials))
    a, b = np.array(ours), np.array(theirs)
    for low, high, target in ((11, 60, 12.0), (60, 200, 6.0), (200, 1000, 4.0)):
        if high <= trials:
            mine, peer = a[:, low:high].mean(), b[:, low:high].mean()
            row = {"n": [low, high], "ours_ms": mine, "optuna_tpe_ms": peer, "ratio": peer / mine, "target": target}
            record(
                f"d=10, n {low}-{high}, against Optuna TPE",
                row,
                peer / mine >= target,
                f"{mine:.3f} ms, {peer:.2f} ms: {peer / mine:.1f}x (>= {target:g}x)",
            )
    p99 = float(np.quantile(a[:, 11:200], 0.99))
    record("d=10, n <= 200, 99th percentile", {"p99_ms": p99, "max_ms": float(a[:, 11:200].max())}, p99 <= 3.0, f"{p99:.2f} ms (<= 3)")


def filled(peer_add: Callable[[dict[str, float], float], None], dims: list[peers.Dim], n: int) -> None:
    for u in np.random.default_rng(0).random((n, len(dims))):
        params = {d.name: float(v) for d, v in zip(dims, u, strict=True)}
        peer_add(params, objective(params))


def ours_filled(dims: list[peers.Dim], n: int, seed: int = 0) -> peers.Peer:
    study = jaxhp.Study(peers.space_of(dims), sampler=jaxhp.bayes(), seed=seed)
    filled(study.add, dims, n)

    def ask() -> tuple[Any, dict[str, Any]]:
        trial = study.ask()
        return trial, trial.params

    peer = peers.Peer("jaxhp bayes", jaxhp.__version__, ask, lambda trial, value: study.tell(trial, value) and None)
    run(peer, 3)  # fits of the rows that were added
    return peer


def against_gps(quick: bool) -> None:
    try:
        import botorch  # noqa: F401
        import optuna
        import torch
    except ImportError as e:
        print(f"  skipped {e.name}: pip install -r bench/requirements.txt")
        return
    torch.set_num_threads(1)
    dims = peers.floats(10)
    for n in (50, 200) if quick else (25, 50, 100, 200):
        mine = float(np.mean(run(ours_filled(dims, n), 30)))
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(sampler=optuna.samplers.GPSampler(seed=0))
        distributions = {d.name: optuna.distributions.FloatDistribution(0.0, 1.0) for d in dims}

        def add(params: dict[str, float], y: float, study: Any = study, distributions: Any = distributions) -> None:
            study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=y))

        filled(add, dims, n)

        def ask(study: Any = study) -> tuple[Any, dict[str, Any]]:
            trial = study.ask()
            return trial, peers._suggest(trial, dims)

        gp = peers.Peer("optuna GPSampler", optuna.__version__, ask, study.tell)
        theirs = float(np.median(run(gp, 4)[1:]))
        record(
            f"d=10, n={n}, against Optuna GPSampler",
            {"n": n, "ours_ms": mine, "peer_ms": theirs, "ratio": theirs / mine},
            theirs / mine >= 200,
            f"{mine:.3f} ms, {theirs:.0f} ms: {theirs / mine:.0f}x (>= 200x)",
        )
        theirs = float(np.median([_botorch(dims, n, seed) for seed in range(3)]))
        record(
            f"d=10, n={n}, against BoTorch",
            {"n": n, "ours_ms": mine, "peer_ms": theirs, "ratio": theirs / mine},
            theirs / mine >= 500,
            f"{mine:.3f} ms, {theirs:.0f} ms: {theirs / mine:.0f}x (>= 500x)",
        )


def _botorch(dims: list[peers.Dim], n: int, seed: int) -> float:
    """One suggestion: SingleTaskGP, fit, qLogEI with the tutorial's settings (10 restarts, 512 raw samples)."""
    import torch
    from botorch.acquisition import qLogExpectedImprovement
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from botorch.models.transforms import Standardize
    from botorch.optim import optimize_acqf
    from gpytorch.mlls import ExactMarginalLogLikelihood

    torch.manual_seed(seed)
    x = torch.tensor(np.random.default_rng(seed).random((n, len(dims))))
    y = torch.tensor([[-objective({str(i): float(v) for i, v in enumerate(row)})] for row in x.numpy()], dtype=torch.double)
    start = time.thread_time()
    model = SingleTaskGP(x, y, outcome_transform=Standardize(m=1))
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    acquisition = qLogExpectedImprovement(model, best_f=y.max())
    bounds = torch.stack([torch.zeros(len(dims)), torch.ones(len(dims))]).double()
    optimize_acqf(acquisition, bounds, q=1, num_restarts=10, raw_samples=512)
    return (time.thread_time() - start) * 1e3


def large(sizes: Iterable[int]) -> None:
    dims = peers.floats(10)
    for n in sizes:
        cost = float(np.mean(run(ours_filled(dims, n), 96)))
        target = 4.0 if n <= 10_000 else 6.0
        record(f"d=10, n={n}", {"n": n, "ours_ms": cost, "target": target}, cost <= target, f"{cost:.2f} ms (<= {target:g})")


def in_dims() -> None:
    for d in (2, 5, 20, 50):
        costs = run(peers.ours(peers.floats(d), jaxhp.bayes(), 0), 120)
        cost = float(np.mean(costs[80:]))
        record(f"d={d}, n=100", {"d": d, "ours_ms": cost, "target": 1.5}, cost <= 1.5, f"{cost:.3f} ms (<= 1.5)")


_FIRST = """
import sys, time; start = time.perf_counter()
import jaxhp
study = jaxhp.Study(jaxhp.Space({f"x{i}": jaxhp.Float(0.0, 1.0) for i in range(10)}), sampler=jaxhp.bayes(), seed=0)
trial = study.ask(); first = time.perf_counter() - start
for i in range(int(sys.argv[1])): study.tell(trial, float(i % 3)); start = time.perf_counter(); trial = study.ask()
print(first, time.perf_counter() - start)
"""


def first(repeats: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for state, target in (("cold", 15.0), ("warm", 1.0)):
            times = []
            for _ in range(1 if state == "cold" else repeats):
                cache = {"NUMBA_CACHE_DIR": folder}
                out = subprocess.run(
                    [sys.executable, "-c", _FIRST, "10"], env=os.environ | cache, check=True, capture_output=True, text=True
                )
                times.append([float(v) for v in out.stdout.split()])
            start, model = np.median(times, axis=0)
            record(
                f"first model-based suggestion, caches {state}",
                {"seconds": model, "target": target},
                model <= target,
                f"{model:.2f} s (<= {target:g})",
            )
            record(
                f"first suggestion of a process, caches {state}, import included",
                {"seconds": start, "target": 0.2},
                start <= 0.2,
                f"{start:.3f} s (<= 0.2)",
            )


def memory() -> None:
    peer = peers.ours(peers.floats(10), jaxhp.bayes(), 0)
    run(peer, 100)
    gc.collect()
    before = _resident()
    run(peer, 900)
    gc.collect()
    grown = _resident() - before
    record("memory from trial 100 to trial 1,000", {"mb": grown, "target": 20}, grown <= 20, f"{grown:.1f} MB (<= 20)")


def _resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def batch() -> None:
    dims = peers.floats(10)
    singles, batches = [], []
    for seed in range(5):
        study = jaxhp.Study(peers.space_of(dims), sampler=jaxhp.bayes(), seed=seed)
        filled(study.add, dims, 200)
        study.ask()
        for _ in range(8):
            study.tell(study.running[0], 1.0)
            start = time.thread_time()
            study.ask()
            singles.append((time.thread_time() - start) * 1e3)
        study.tell(study.running[0], 1.0)
        start = time.thread_time()
        study.ask(64)
        batches.append((time.thread_time() - start) * 1e3 / 64)
    single, each = float(np.median(singles)), float(np.median(batches))
    record(
        "64 pending at n=200, a suggestion against a single ask",
        {"single_ms": single, "batch_ms": each, "ratio": each / single, "target": 1.5},
        each <= 1.5 * single,
        f"{single:.3f} ms, {each:.3f} ms: {each / single:.2f}x (<= 1.5x)",
    )


def parzen(sizes: Iterable[int], repeats: int) -> None:
    """`tpe()` beside the TPE samplers of rustuna and Optuna: the median of 20 trials from n results on; runs take turns."""
    dims = peers.floats(10)
    most = max(sizes) + 20
    made: dict[str, Callable[[int], peers.Peer]] = {
        "ours": lambda seed: peers.ours(dims, jaxhp.tpe(), seed),
        "rustuna": lambda seed: peers.rustuna(dims, "TPESampler", seed),
    }
    costs: dict[str, list[list[float]]] = {name: [] for name in made}
    for seed in range(repeats):
        for name, make in made.items():
            costs[name].append(run(make(seed), most))
    optuna = run(peers.optuna(dims, "TPESampler", 0), most)
    for n in sizes:
        mine, theirs = (float(np.median(np.array(costs[name])[:, n : n + 20].mean(axis=1))) for name in made)
        slow = float(np.mean(optuna[n : n + 20]))
        most_times = 1.5 if n < 100 else 1.0
        row = {"n": n, "ours_ms": mine, "rustuna_ms": theirs, "optuna_ms": slow, "ratio": mine / theirs, "target": most_times}
        met = mine <= most_times * theirs
        shown = f"{mine:.3f} ms, {theirs:.3f} ms: {mine / theirs:.2f}x (<= {most_times:g}x)"
        record(f"tpe, d=10, n={n}, against rustuna TPE", row, met, shown)
        shown = f"{slow:.2f} ms: {slow / mine:.0f}x (>= 20x)"
        record(f"tpe, d=10, n={n}, against Optuna TPE", row | {"ratio": slow / mine, "target": 20}, slow >= 20 * mine, shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="tpe,gp,large,dims,first,memory,batch,parzen")
    options = parser.parse_args()
    quick, only = options.quick, options.only.split(",")
    run(peers.ours(peers.floats(10), jaxhp.bayes(), 9), 20)  # loads the surrogate
    steps: dict[str, Callable[[], None]] = {
        "tpe": lambda: against_tpe(2 if quick else 5, 200 if quick else 1000),
        "gp": lambda: against_gps(quick),
        "large": lambda: large((10_000,) if quick else (10_000, 100_000)),
        "dims": in_dims,
        "first": lambda: first(3 if quick else 7),
        "memory": memory,
        "batch": batch,
        "parzen": lambda: parzen((20, 100, 500) if quick else (20, 100, 500, 1000, 2000), 2 if quick else 5),
    }
    unknown = [name for name in only if name not in steps]
    if unknown:
        raise SystemExit(f"--only {unknown[0]}: expected some of {','.join(steps)}")
    for name in only:
        print(name)
        steps[name]()


if __name__ == "__main__":
    main()
