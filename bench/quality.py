"""Which tuner finds the best configurations with the same number of evaluations?   The judge of Bayesian search.

    python bench/quality.py                                   # the committed results: both splits, by group
    python bench/quality.py run --peers jaxhp,optuna-tpe --problems tune --seeds 0:20 --evaluations 250 --jobs 2
    python bench/quality.py run --peers jaxhp --label starts4 --sampler "jaxhp.bayes(starts=4)" --problems tune --into out/quality.jsonl
    python bench/quality.py table --split tune --ours 1a2b3c4 --ours starts4 --also out/quality.jsonl
    python bench/quality.py table --split judge --at 10,20,30 --group tables
    python bench/quality.py plot                              # bench/results/quality.svg

`--problems` takes names, groups (synthetic, noisy, bbob, tables), families, splits (tune, judge) or all. A row is one (peer, version,
problem, seed); rows that are there are skipped, so a run that was stopped is started again with the same words. Ours is keyed by its
label, by default the last commit that changed the library. A curve is the normalised regret, (best so far - best) / (median of random
search - best), after CHECKPOINTS evaluations; on noisy problems that of the true value of the configuration that the tuner would
return. The problems, and which of them may be looked at while settings are chosen: bench/problems.py.
"""

# ruff: noqa: E402  (thread pools read their sizes when they are loaded)

from __future__ import annotations

import os

for _pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_pool, "1")

import argparse
import json
import math
import multiprocessing
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import quality_plot
import quality_table
import rows
from peers import Params, Peer, active
from problems import Problem, problems
from quality_table import CHECKPOINTS, RESULTS, load
from tables import Unavailable, installed
from tuners import OURS, TUNERS, Task, expression


class Job(NamedTuple):
    peer: str
    version: str  # of a peer; the label of ours
    problem: str
    seed: int
    evaluations: int
    sampler: str | None  # an expression, for a setting of ours


def play(peer: Peer, problem: Problem, seed: int, evaluations: int) -> tuple[list[float | None], float]:
    """The curve (None: no successful run yet), and milliseconds of ask + tell an evaluation."""
    instance, noise = problem.instance(seed), problem.noise(seed)
    best, lowest, returned = math.inf, math.inf, {}
    curve: list[float | None] = []
    seconds = 0.0
    for t in range(1, evaluations + 1):
        start = time.thread_time()
        handle, suggested = peer.ask()
        seconds += time.thread_time() - start
        params: Params = {}
        for dim in instance.dims:
            if active(dim, params):
                params[dim.name] = suggested[dim.name]
        y = instance.observe(params, noise) if instance.observe else instance.value(params)
        start = time.thread_time()
        peer.tell(handle, y)
        seconds += time.thread_time() - start
        if y < lowest:
            lowest, returned = y, params
        if t in CHECKPOINTS:
            best = lowest
            if instance.observe:
                chosen = peer.best() if peer.best else returned
                best = instance.value(chosen)
            regret = (best - instance.best) / problem.scale
            curve.append(float(f"{regret:.4g}") if math.isfinite(regret) else None)
    return curve, seconds / evaluations * 1e3


def work(job: Job) -> dict[str, Any] | str:
    """The row of a job, or why there is none."""
    problem = problems()[job.problem]
    try:
        instance = problem.instance(job.seed)
        task = Task(instance.dims, job.seed, job.evaluations, instance.observe is not None)
        peer = (expression(job.sampler) if job.sampler else TUNERS[job.peer].build)(task)
    except Unavailable as e:
        return str(e)
    curve, cost = play(peer, problem, job.seed, job.evaluations)
    return job._asdict() | {"curve": curve, "ms": float(f"{cost:.3g}")}


def chosen(words: str) -> list[Problem]:
    """Raises SystemExit, naming the word that fits nothing."""
    found: dict[str, Problem] = {}
    for word in words.split(","):
        fits = {n: p for n, p in problems().items() if word in ("all", p.name, p.group, p.family, p.split)}
        if not fits:
            raise SystemExit(f"--problems {word}: not a problem, group, family or split; there are: {', '.join(problems())}")
        found |= fits
    return list(found.values())


def jobs(options: argparse.Namespace, code: str) -> Iterator[Job]:
    """What is asked for and not there yet."""
    done = {(r["peer"], r["version"], r["problem"], r["seed"]): r["evaluations"] for r in load([RESULTS, *options.also, options.into])}
    low, _, high = options.seeds.partition(":")
    for peer in options.peers.split(","):
        if peer not in TUNERS:
            raise SystemExit(f"--peers {peer}: there are {', '.join(TUNERS)}")
        try:
            version = (options.label or code) if peer == OURS else installed(TUNERS[peer].package)
        except Unavailable as e:
            print(f"skipped {peer}: {e}")
            continue
        for problem in chosen(options.problems):
            for seed in range(int(low), int(high or int(low) + 1)):
                if done.get((peer, version, problem.name, seed), 0) < options.evaluations:
                    yield Job(peer, version, problem.name, seed, options.evaluations, options.sampler if peer == OURS else None)


def results(todo: list[Job], processes: int) -> Iterator[tuple[Job, dict[str, Any] | str | Exception]]:
    """Each job with what came of it, in the order in which they end."""
    if processes == 1:
        for job in todo:
            try:
                yield job, work(job)
            except Exception as e:
                yield job, e
        return
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(work, job): job for job in todo}
        try:
            for future in as_completed(futures):
                failure = future.exception()
                yield futures[future], failure if isinstance(failure, Exception) else future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def run(options: argparse.Namespace) -> int:
    machine = rows.machine()
    todo = list(jobs(options, rows.code()))
    options.into.parent.mkdir(parents=True, exist_ok=True)
    print(f"{len(todo)} runs of {options.evaluations} evaluations", flush=True)
    start, failures, skipped = time.monotonic(), 0, set()
    with options.into.open("a") as file:
        for i, (job, result) in enumerate(results(todo, options.jobs), 1):
            if isinstance(result, dict):
                result = {k: v for k, v in result.items() if v is not None} | {"date": machine["date"][:10], "commit": machine["commit"]}
                file.write(json.dumps(result, separators=(",", ":")) + "\n")
                file.flush()
            elif isinstance(result, str):
                if (job.peer, job.problem) not in skipped:
                    print(f"skipped {job.peer} on {job.problem}: {result}", flush=True)
                skipped.add((job.peer, job.problem))
            else:
                failures += 1
                print(f"FAILED {job.peer} on {job.problem}, seed {job.seed}: {result!r}", flush=True)
            if i % 50 == 0 or i == len(todo):
                print(f"{i}/{len(todo)} {job.peer} {job.problem} {time.monotonic() - start:.0f} s", flush=True)
    return 1 if failures else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb")
    p = verbs.add_parser("run", help="run what is missing")
    p.add_argument("--peers", default=OURS, help=f"of {', '.join(TUNERS)}")
    p.add_argument("--problems", default="all", help="names, groups, families, splits, or all")
    p.add_argument("--seeds", default="0:20", help="FIRST:END")
    p.add_argument("--evaluations", type=int, default=250)
    p.add_argument("--label", help="of ours, in place of the library's commit")
    p.add_argument("--sampler", help="an expression for ours, such as 'jaxhp.bayes(starts=4)'; give it a --label")
    p.add_argument("--into", type=Path, default=RESULTS, help="where rows go (out/ is not committed)")
    p.add_argument("--also", type=Path, action="append", default=[], help="another file whose rows need not be run again")
    p.add_argument("--jobs", type=int, default=1, help="processes")
    quality_table.arguments(verbs.add_parser("table", help="scores of what is there"))
    quality_plot.arguments(verbs.add_parser("plot", help="regret against evaluations, per group"))
    options = parser.parse_args(sys.argv[1:] or ["table"])
    if options.verb == "run":
        if options.sampler and not options.label:
            parser.error("--sampler needs a --label")
        try:
            return run(options)
        except KeyboardInterrupt:
            print("stopped; the same words go on from here")
            return 130
    return quality_plot.main(options) if options.verb == "plot" else quality_table.main(options)


if __name__ == "__main__":
    sys.exit(main())
