"""What does a trial of random search cost, ask + tell, beside Optuna 5 and rustuna in the same process?

    python bench/random_cost.py [--trials 2000] [--repeats 5]

10 parameters (floats, log floats, ints, choices), one thread, interleaved repeats, median microseconds a trial. Thread CPU time in
memory; through SQLite wall time as well, because waiting for the disk is part of the price there.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import peers
import rows

import jaxhp


def cost(make: Callable[[], peers.Peer], trials: int) -> tuple[float, float, str]:
    """Microseconds a trial (CPU, wall), and the peer's name."""
    peer = make()
    gc.collect()
    wall, cpu = time.perf_counter(), time.thread_time()
    for i in range(trials):
        handle, params = peer.ask()
        peer.tell(handle, params["p0"] + i * 1e-9)
    return (time.thread_time() - cpu) / trials * 1e6, (time.perf_counter() - wall) / trials * 1e6, f"{peer.name} {peer.version}"


def table(title: str, makers: dict[str, Callable[[], peers.Peer]], trials: dict[str, int], repeats: int, clock: int) -> dict[str, float]:
    samples: dict[str, list[float]] = {key: [] for key in makers}
    names: dict[str, str] = {}
    for _ in range(repeats):
        for key, make in makers.items():
            result = cost(make, trials[key])
            samples[key].append(result[clock])
            names[key] = str(result[2])
    medians = {key: statistics.median(values) for key, values in samples.items()}
    print(f"\n{title}")
    for key, value in medians.items():
        print(f"  {names[key]:36s} {value:10.1f} us   {value / medians['jaxhp']:8.2f} x ours")
    return medians


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    dims = peers.mixed(10)
    n = options.trials
    memory = table(
        "in memory, CPU",
        {
            "jaxhp": lambda: peers.ours(dims, jaxhp.random_search(), 0),
            "rustuna": lambda: peers.rustuna(dims, "RandomSampler", 0),
            "optuna": lambda: peers.optuna(dims, "RandomSampler", 0),
        },
        {"jaxhp": n, "rustuna": n, "optuna": n // 4},
        options.repeats,
        0,
    )
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        files = iter(range(10**6))
        sqlite = table(
            "through SQLite, wall",
            {
                "jaxhp": lambda: peers.ours(dims, jaxhp.random_search(), 0, f"sqlite:///{folder}/{next(files)}.db"),
                "optuna": lambda: peers.optuna(dims, "RandomSampler", 0, f"sqlite:///{folder}/{next(files)}.db"),
            },
            {"jaxhp": n // 4, "optuna": max(20, n // 40)},
            options.repeats,
            1,
        )
    row = {
        "trials": n,
        "repeats": options.repeats,
        "memory_us": memory,
        "sqlite_wall_us": sqlite,
        "optuna_over_ours": memory["optuna"] / memory["jaxhp"],
        "ours_over_rustuna": memory["jaxhp"] / memory["rustuna"],
        "sqlite_optuna_over_ours": sqlite["optuna"] / sqlite["jaxhp"],
    }
    print(
        f"\nOptuna / ours {row['optuna_over_ours']:.1f} (target >= 8), ours / rustuna {row['ours_over_rustuna']:.2f} (target <= 3), ",
        end="",
    )
    print(f"SQLite: Optuna / ours {row['sqlite_optuna_over_ours']:.1f} (target >= 5)")
    rows.append("random_cost", row)


if __name__ == "__main__":
    main()
