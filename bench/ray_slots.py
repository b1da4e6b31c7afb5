"""How far from the ideal are 1,000 one-second trials on 64 slots of Ray?   python bench/ray_slots.py [--trials 1000] [--only tasks]

A cluster of four nodes with 16 logical CPUs each on this machine; a trial sleeps. The ideal is ceil(trials / 64) seconds. Workers are
started before the clock: 64 processes (tasks, actors), or 4 of 16 threads each. Beside them bare Ray: the same sleeps, submitted at
once and gathered. The gap to 1 of bare Ray is what the machine's cores allow; ours beside it is what asking and telling adds.
"""

from __future__ import annotations

import argparse
import logging
import math
import time
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
        cpu = time.process_time()
        seconds = bare(options.trials) if how == "bare" else ours(how, options.trials, options.sampler)
        found[how] = {"seconds": seconds, "ratio": seconds / ideal, "driver_cpu": time.process_time() - cpu}
        cost = f"driver {found[how]['driver_cpu']:.1f} s CPU"
        print(f"{how:8s} {seconds:6.2f} s = {seconds / ideal:.3f} of the ideal {ideal:.0f} s; {cost}", flush=True)
    ray.shutdown()
    cluster.shutdown()
    rows.append("ray", {"trials": options.trials, "slots": SLOTS, "sampler": options.sampler, "ideal": ideal, "ways": found})


def bare(trials: int) -> float:
    sleep = ray.remote(lambda seconds: time.sleep(seconds))
    ray.get([sleep.remote(2.0) for _ in range(SLOTS)])
    begun = time.perf_counter()
    ray.get([sleep.remote(1.0) for _ in range(trials)])
    return time.perf_counter() - begun


def ours(how: str, trials: int, sampler: str) -> float:
    study = jaxhp.Study(jaxhp.Space({"x": jaxhp.Float(-1.0, 1.0)}), sampler=getattr(jaxhp, sampler)(), seed=0)
    arguments: dict[str, Any] = {
        "tasks": {},
        "actors": {"actors": SLOTS},
        "threads": {"actors": 4, "concurrency": 16, "num_cpus": 16},
    }[how]
    with Executor(**arguments) as executor:
        assert executor.slots == SLOTS
        for future in [executor.submit(time.sleep, 2.0) for _ in range(SLOTS)]:
            future.result()
        begun = time.perf_counter()
        study.optimize(objective, trials=trials, executor=executor)
        seconds = time.perf_counter() - begun
    assert len(study.finished) == trials
    return seconds


if __name__ == "__main__":
    main()
