"""How far from the ideal are 1,000 one-second trials on 64 slots of Ray?   python bench/ray_slots.py [--trials 1000] [--only tasks]

A cluster of four nodes with 16 logical CPUs each on this machine; a trial sleeps. The ideal is ceil(trials / 64) seconds. Workers are
started before the clock: 64 processes (tasks, actors), or 4 of 16 threads each. The first study finds that they have not loaded
jaxhp and NumPy yet, which 64 processes then do on the cores there are; the second, "again", finds that they have. Beside them bare Ray:
the same sleeps, submitted at once and gathered. Its gap to 1 is what the machine's cores allow; ours beside it is what asking and
telling adds.
"""

from __future__ import annotations

import argparse
import logging
import math
import time
from collections.abc import Callable
from typing import Any

import ray
import rows
from ray.cluster_utils import Cluster

import jaxhp
from jaxhp.interop.ray import Executor

SLOTS = 64


def objective(trial: Any) -> float:
    time.sleep(1.0)
    return float(trial["x"] ** 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--sampler", default="random_search")
    parser.add_argument("--only", choices=["bare", "tasks", "actors", "threads"])
    options = parser.parse_args()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(4):
        cluster.add_node(num_cpus=SLOTS // 4, object_store_memory=80_000_000)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    ideal = float(math.ceil(options.trials / SLOTS))
    found = {}
    for how in ("bare", "tasks", "actors", "threads") if options.only is None else (options.only,):
        measured = bare(options.trials) if how == "bare" else ours(how, options.trials, options.sampler)
        for label, (seconds, cpu) in zip((how, f"{how} again"), measured, strict=False):
            found[label] = {"seconds": seconds, "ratio": seconds / ideal, "driver_cpu": cpu}
            print(f"{label:13s} {seconds:6.2f} s = {seconds / ideal:.3f} of the ideal {ideal:.0f} s; driver {cpu:.1f} s CPU", flush=True)
    ray.shutdown()
    cluster.shutdown()
    rows.append("ray", {"trials": options.trials, "slots": SLOTS, "sampler": options.sampler, "ideal": ideal, "ways": found})


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock and CPU seconds."""
    begun, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begun, time.process_time() - cpu


def bare(trials: int) -> list[tuple[float, float]]:
    sleep = ray.remote(lambda seconds: time.sleep(seconds))
    ray.get([sleep.remote(2.0) for _ in range(SLOTS)])
    return [timed(lambda: ray.get([sleep.remote(1.0) for _ in range(trials)]))]


def ours(how: str, trials: int, sampler: str) -> list[tuple[float, float]]:
    space = jaxhp.Space({"x": jaxhp.Float(-1.0, 1.0)})
    first, second = (jaxhp.Study(space, sampler=getattr(jaxhp, sampler)(), seed=seed) for seed in range(2))
    arguments: dict[str, Any] = {
        "tasks": {},
        "actors": {"actors": SLOTS},
        "threads": {"actors": 4, "concurrency": 16, "num_cpus": 16},
    }[how]
    with Executor(**arguments) as executor:
        assert executor.slots == SLOTS
        for future in [executor.submit(time.sleep, 2.0) for _ in range(SLOTS)]:
            future.result()
        measured = [timed(lambda study=study: study.optimize(objective, trials=trials, executor=executor)) for study in (first, second)]
    assert len(first.finished) == len(second.finished) == trials
    return measured


if __name__ == "__main__":
    main()
