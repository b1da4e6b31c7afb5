"""Which tuner finds the best learning curve with the same number of epochs?   The judge of samplers under schedulers.

    python bench/schedulers.py                                # the committed rows: regret of every tuner, both splits
    python bench/schedulers.py run --quick                    # one table, one seed, 10 trainings: a minute
    python bench/schedulers.py run --tuners bayes+hyperband,bayes+asha --split judge --seeds 0:20
    python bench/schedulers.py run --tuners bayes+asha --sampler "jaxhp.bayes(starts=4)" --label starts4 --into out/schedulers.jsonl
    python bench/schedulers.py table --split judge --per-table

A budget is counted in full trainings (51 or 50 epochs); every tuner pays an epoch when it trains one, and goes on from where a trial paused
for nothing. All compare from the first epoch on with eta = 3, one worker. DEHB has its fidelities rounded to epochs, and is asked to pay
for those epochs only that a configuration has not trained yet. The judged regret is of the lowest validation value seen at any epoch
(the weights of that epoch can be kept); `final` is that of a full training of the configuration that showed it. A row is one
(tuner, version, table, seed); rows that are there are skipped. Tables and their halves: bench/curves.py.
DEHB wants an older NumPy by its metadata and runs with this one: pip install --no-deps dehb==0.1.2 loguru.
"""

# ruff: noqa: E402  (thread pools read their sizes when they are loaded)

from __future__ import annotations

import os

for _pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_pool, "1")

import argparse
import contextlib
import json
import math
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import peers
import rows
from curves import Lanes, Purse, Spent, Table, tables
from tables import Unavailable, installed

import jaxhp

BUDGETS = (1, 3, 10, 30, 100)  # full trainings
JUDGED = (10, 30, 100)
ETA, LEAST = 3, 1
RESULTS = rows.RESULTS / "schedulers.jsonl"


class Tuner(NamedTuple):
    package: str
    play: Callable[[Table, Purse, int], None]  # until the purse is empty


def ours(sampler: Callable[[], jaxhp.Sampler], scheduler: Callable[[], jaxhp.Scheduler], lanes: int = 1) -> Tuner:
    return Tuner("jaxhp", lambda table, purse, seed: Lanes(table, sampler(), scheduler(), seed, lanes).run(purse))


def optuna(sampler: str, pruner: str) -> Tuner:
    """Its trials cannot pause: they report after each epoch and go on unless they are pruned."""

    def play(table: Table, purse: Purse, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        rule: Any = {
            "hyperband": lambda: optuna.pruners.HyperbandPruner(min_resource=LEAST, max_resource=table.epochs, reduction_factor=ETA),
            "asha": lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=LEAST, reduction_factor=ETA),
        }[pruner]()
        study = optuna.create_study(
            sampler=getattr(optuna.samplers, sampler)(seed=seed),
            pruner=rule,
            study_name=f"seed {seed}",  # brackets are drawn by its name
        )
        while True:
            trial = study.ask()
            curve = table.curve(peers._suggest(trial, table.dims))
            for epoch in range(1, table.epochs + 1):
                y = purse.train(curve, epoch)
                if not np.isfinite(y):
                    study.tell(trial, state=optuna.trial.TrialState.FAIL)
                    break
                trial.report(y, epoch)
                if trial.should_prune():
                    study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                    break
            else:
                study.tell(trial, y)

    return Tuner("optuna", play)


def _dehb(table: Table, purse: Purse, seed: int) -> None:
    """A diverged run is told as the worst value seen so far: DEHB has no word for it."""
    import ConfigSpace as cs
    from dehb import DEHB

    def parameter(dim: peers.Dim) -> Any:
        if dim.kind in ("int", "logint"):
            return cs.UniformIntegerHyperparameter(dim.name, int(dim.low), int(dim.high), log=dim.kind == "logint")
        return cs.UniformFloatHyperparameter(dim.name, dim.low, dim.high, log=dim.kind == "log")

    space = cs.ConfigurationSpace(seed=seed)
    space.add([parameter(dim) for dim in table.dims])
    with tempfile.TemporaryDirectory() as folder:
        tuner = DEHB(
            cs=space, min_fidelity=LEAST, max_fidelity=table.epochs, eta=ETA, n_workers=1, seed=seed, output_path=folder, log_level="ERROR"
        )
        reached: dict[tuple[Any, ...], int] = {}
        worst = 1.0
        while True:
            job = tuner.ask()
            params = dict(job["config"])
            key = tuple(params[dim.name] for dim in table.dims)
            curve, epoch = table.curve(params), max(1, round(float(job["fidelity"])))
            for at in range(reached.get(key, 0) + 1, epoch + 1):
                if not np.isfinite(purse.train(curve, at)):
                    break
            reached[key] = max(reached.get(key, 0), epoch)
            y = float(curve[epoch - 1])
            worst = max(worst, y) if np.isfinite(y) else worst
            tuner.tell(job, {"fitness": y if np.isfinite(y) else worst, "cost": float(epoch)})


OURS = ("bayes+", "de+")
TUNERS: dict[str, Tuner] = {
    "bayes+hyperband": ours(jaxhp.bayes, lambda: jaxhp.hyperband(ETA, LEAST)),
    "bayes+asha": ours(jaxhp.bayes, lambda: jaxhp.asha(ETA, LEAST)),
    "bayes": ours(jaxhp.bayes, jaxhp.schedulers.to_the_end),
    "de+hyperband": ours(jaxhp.differential_evolution, lambda: jaxhp.hyperband(ETA, LEAST)),
    "random+hyperband": ours(jaxhp.random_search, lambda: jaxhp.hyperband(ETA, LEAST)),
    "random+asha": ours(jaxhp.random_search, lambda: jaxhp.asha(ETA, LEAST)),
    "optuna-random+asha": optuna("RandomSampler", "asha"),
    "optuna-tpe+hyperband": optuna("TPESampler", "hyperband"),
    "dehb": Tuner("dehb", _dehb),
}


def play(tuner: Tuner, table: Table, seed: int, budgets: tuple[int, ...]) -> dict[str, Any]:
    purse = Purse(table, budgets)
    start = time.thread_time()
    with contextlib.suppress(Spent):
        tuner.play(table, purse, seed)
    seconds = time.thread_time() - start
    seen, final = ([float(f"{x:.4g}") for x in regrets] for regrets in (purse.seen, purse.final))
    return {"seen": seen, "final": final, "seconds": round(seconds, 2)}


def load(paths: list[Path]) -> dict[tuple[str, str, str, int], dict[str, Any]]:
    """The longest row of each (tuner, version, table, seed)."""
    found: dict[tuple[str, str, str, int], dict[str, Any]] = {}
    for path in paths:
        for line in path.read_text().splitlines() if path.exists() else ():
            row = json.loads(line)
            key = (row["tuner"], row["version"], row["table"], row["seed"])
            if key not in found or len(row["seen"]) >= len(found[key]["seen"]):
                found[key] = row
    return found


def run(options: argparse.Namespace) -> int:
    names = [t for t in tables().values() if options.split in (t.split, "all")]
    first, _, end = options.seeds.partition(":")
    budgets = tuple(b for b in BUDGETS if b <= options.trainings)
    if options.quick:
        names, first, end, budgets = names[:1], "0", "1", BUDGETS[:3]
    done = load([RESULTS, options.into])
    machine = rows.machine()
    code = rows.code()
    options.into.parent.mkdir(parents=True, exist_ok=True)
    with options.into.open("a") as file:
        for name in options.tuners.split(","):
            if name not in TUNERS:
                raise SystemExit(f"--tuners {name}: there are {', '.join(TUNERS)}")
            tuner = TUNERS[name]
            try:
                known = (options.label or code) if name.startswith(OURS) or name == "bayes" else installed(tuner.package)
            except Unavailable as e:
                print(f"skipped {name}: {e}")
                continue
            if options.sampler:
                tuner = ours(lambda: eval(options.sampler, {"jaxhp": jaxhp}), _scheduler(name))
            started = time.monotonic()
            for seed in range(int(first), int(end or int(first) + 1)):
                for table in names:
                    before = done.get((name, known, table.name, seed))
                    if before is not None and len(before["seen"]) >= len(budgets):
                        continue
                    row = {"tuner": name, "version": known, "table": table.name, "seed": seed}
                    row |= play(tuner, table, seed, budgets) | {"date": machine["date"][:10], "commit": machine["commit"]}
                    if not options.quick:
                        file.write(json.dumps(row, separators=(",", ":")) + "\n")
                        file.flush()
                    done[name, known, table.name, seed] = row
                    if options.quick:
                        print(name, table.name, row["seen"], f"{row['seconds']} s")
            print(f"{name} {known}: {time.monotonic() - started:.0f} s", flush=True)
    return 0


def _scheduler(name: str) -> Callable[[], jaxhp.Scheduler]:
    return (lambda: jaxhp.hyperband(ETA, LEAST)) if name.endswith("hyperband") else (lambda: jaxhp.asha(ETA, LEAST))


def score(options: argparse.Namespace) -> int:
    """Mean regret a tuner, over seeds and then tables, with what the bootstrap over tables says of the difference to the first ours."""
    found = load([RESULTS, *options.also])
    per: dict[tuple[str, str], dict[str, list[list[float]]]] = defaultdict(lambda: defaultdict(list))
    low, _, high = options.seeds.partition(":")
    for (tuner, known, table, seed), row in found.items():
        if table in tables() and options.split in (tables()[table].split, "all") and int(low) <= seed < int(high):
            per[tuner, known][table].append((row[options.of] + [np.nan] * 9)[: len(BUDGETS)])
    shown = [t for t in tables().values() if options.split in (t.split, "all")]
    nothing = [[math.nan] * len(BUDGETS)]
    means = {
        key: np.array([np.clip(np.array(curves.get(t.name, nothing)), 1e-3, None).mean(axis=0) for t in shown])
        for key, curves in per.items()
    }
    heads = "".join(f"{b:>9d}" for b in BUDGETS)
    print(f"{'tuner':24s}{'version':16s}{'seeds':>6s}{heads}   {options.of}, mean over {len(shown)} tables")
    for key in sorted(means, key=lambda k: float(np.nan_to_num(means[k], nan=9.0)[:, -3:].mean())):
        seeds = min(len(per[key].get(t.name, ())) for t in shown)
        print(f"{key[0]:24s}{key[1]:16s}{seeds:6d}" + "".join(f"{x:9.4f}" for x in means[key].mean(axis=0)))
    if options.versus:
        chosen = [key for key in means if f"{key[0]}@{key[1]}" == options.versus or key[0] == options.versus]
        for ours_key in chosen:
            for key in means:
                if key != ours_key:
                    print(f"{key[0]} {key[1]} minus {ours_key[0]} {ours_key[1]}: " + ", ".join(_interval(means[key] - means[ours_key])))
    if options.per_table:
        for b in JUDGED:
            print(f"\nafter {b} trainings")
            for i, t in enumerate(shown):
                print(f"  {t.name:44s}" + "  ".join(f"{k[0]}@{k[1]} {m[i, BUDGETS.index(b)]:.3f}" for k, m in sorted(means.items())))
    return 0


def _interval(difference: np.ndarray[Any, Any]) -> list[str]:
    """Mean and 95 % bootstrap interval over tables at each judged budget."""
    draws = np.random.default_rng(0).integers(0, len(difference), (10_000, len(difference)))
    words = []
    for b in JUDGED:
        column = difference[:, BUDGETS.index(b)]
        low, high = np.percentile(column[draws].mean(axis=1), (2.5, 97.5)) if np.isfinite(column).all() else (np.nan, np.nan)
        words.append(f"{column.mean():+.4f} [{low:+.4f}, {high:+.4f}]")
    return words


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb")
    p = verbs.add_parser("run", help="run what is missing")
    p.add_argument("--tuners", default=",".join(TUNERS), help=f"of {', '.join(TUNERS)}")
    p.add_argument("--split", default="all", choices=("tune", "judge", "all"))
    p.add_argument("--seeds", default="0:20", help="FIRST:END")
    p.add_argument("--trainings", type=int, default=100, help="largest budget")
    p.add_argument("--quick", action="store_true", help="one table, one seed, 10 trainings; keeps no rows")
    p.add_argument("--label", help="of ours, in place of the library's commit")
    p.add_argument("--sampler", help="an expression for the sampler of ours; give it a --label")
    p.add_argument("--into", type=Path, default=RESULTS, help="where rows go")
    t = verbs.add_parser("table", help="regret of what is there")
    t.add_argument("--split", default="all", choices=("tune", "judge", "all"))
    t.add_argument("--seeds", default="0:1000", help="FIRST:END")
    t.add_argument("--of", default="seen", choices=("seen", "final"))
    t.add_argument("--versus", help="TUNER or TUNER@VERSION: differences to it, with bootstrap intervals over tables")
    t.add_argument("--per-table", action="store_true")
    t.add_argument("--also", type=Path, action="append", default=[], help="another file of rows")
    options = parser.parse_args(sys.argv[1:] or ["table"])
    return run(options) if options.verb == "run" else score(options)


if __name__ == "__main__":
    sys.exit(main())
