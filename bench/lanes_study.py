"""What does a study in lanes cost beside the training itself?  python bench/lanes_study.py [--trials 512]

`study.train` under ASHA (rungs at 100 and 300 of 900 steps) on digits, programs compiled before. Per network, sampler and storage:

    host        share of the run that the host spent in sampler, scheduler and log; suggestions are made while the device works
    between     share of the run in which no segment ran: all of the host's work that is not hidden, refills included
    occupancy   lanes that ran, of all, while there were trials to start
    programs    training programs compiled in the whole run
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import rows
from lanes_throughput import BATCH, NETWORKS, cross_entropy, digits
from time_to_accuracy import SEGMENT, SPACE, STEPS, optimizer

import jaxhp
from jaxhp._session import Session


class Clock:
    """Seconds in the outermost of some functions."""

    def __init__(self) -> None:
        self.seconds, self._depth = 0.0, 0

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            self._depth += 1
            begun = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                self._depth -= 1
                if not self._depth:
                    self.seconds += time.perf_counter() - begun

        return timed


def measured(network: str, sampler: str, storage: str | None, trials: int, width: int | str, held: Any) -> tuple[dict[str, Any], Any]:
    trainable = held[0] if held else jaxhp.supervised(NETWORKS[network], cross_entropy, digits(), optimizer=optimizer, batch_size=BATCH)
    clock = Clock()
    kept = {name: getattr(Session, name) for name in ("append", "ask", "sync", "scheduled")}
    scheduler = jaxhp.asha(min_steps=SEGMENT)
    scheduler = scheduler._replace(decide=clock(scheduler.decide), keep=clock(scheduler.keep))
    for name, method in kept.items():
        setattr(Session, name, clock(method))
    try:
        study = jaxhp.Study(SPACE, metric="loss", sampler=getattr(jaxhp, sampler)(), storage=storage, seed=1)
        begun = time.perf_counter()
        study.train(trainable, trials, steps=STEPS, scheduler=scheduler, lanes=held[1] if held else width)
        seconds = time.perf_counter() - begun
    finally:
        for name, method in kept.items():
            setattr(Session, name, method)
    course, fold = study._fold.course, study._fold
    segments = course.segments
    last = max(i for i, r in enumerate(segments) if set(r["numbers"]) - {n for s in segments[:i] for n in s["numbers"]})
    k = len(course.number)
    row = {
        "network": network,
        "sampler": sampler,
        "storage": "memory" if storage is None else "sqlite",
        "trials": fold.told,
        "lanes": k,
        "segments": len(segments),
        "seconds": seconds,
        "host": clock.seconds / seconds,
        "between": 1 - sum(r["seconds"] for r in segments) / seconds,
        "occupancy": sum(len(r["numbers"]) for r in segments[: last + 1]) / (last + 1) / k,
        "programs": study.lanes.compiled if study.lanes else 0,
    }
    return row, (trainable, study.lanes)


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--trials", type=int, default=512)
    p.add_argument("--lanes", type=int, default=32)
    p.add_argument("--only", default="16,64-64-64,cnn")
    p.add_argument("--dry", action="store_true", help="no row")
    a = p.parse_args()
    for network in a.only.split(","):
        _, held = measured(network, "random_search", None, a.lanes, a.lanes, None)
        for sampler in ("random_search", "bayes"):
            for sql in (False, True):
                with tempfile.TemporaryDirectory() as folder:
                    storage = f"sqlite:///{Path(folder) / 'study.db'}" if sql else None
                    row, _ = measured(network, sampler, storage, a.trials, a.lanes, held)
                print({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
                if not a.dry:
                    rows.append("lanes_study", {"device": jax.devices()[0].device_kind} | row)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
