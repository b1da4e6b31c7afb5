"""How long from opening a study of 10,000 finished trials to its first suggestion?   python bench/resume.py [--trials 10000]

10 parameters, SQLite, a fresh process each time; imports are made before the clock starts. Optuna's RDB beside it.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import peers
import rows

import jaxhp

_OURS = """
import sys, time, jaxhp, sqlalchemy; sys.path.insert(0, "bench"); import peers
from jaxhp.storage import open_log
open_log("sqlite://" + "/" + sys.argv[1] + ".warm").close()
t = time.perf_counter()
jaxhp.Study(peers.space_of(peers.mixed(10)), sampler=getattr(jaxhp, sys.argv[2])(), storage="sqlite:///" + sys.argv[1], seed=0).ask().params
print(time.perf_counter() - t)
"""
_OPTUNA = """
import sys, time; sys.path.insert(0, "bench"); import peers, optuna, optuna.storages
optuna.logging.set_verbosity(optuna.logging.ERROR)
t = time.perf_counter()
study = optuna.load_study(study_name="s", storage="sqlite:///" + sys.argv[1], sampler=optuna.samplers.RandomSampler(seed=0))
peers._suggest(study.ask(), peers.mixed(10))
print(time.perf_counter() - t)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sampler", default="random_search")
    options = parser.parse_args()
    dims = peers.mixed(10)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        ours, theirs = f"{folder}/ours.db", f"{folder}/optuna.db"
        log = jaxhp.storage.open_log(f"sqlite:///{ours}")
        study = jaxhp.Study(peers.space_of(dims), sampler=jaxhp.random_search(), seed=0)
        for _ in range(options.trials):
            trial = study.ask()
            study.tell(trial, trial.params["p0"])
        log.append("study", study._session.log.read("study"), at=0)  # one commit instead of 20,000
        log.close()
        finished_in_optuna(f"sqlite:///{theirs}", dims, options.trials)
        samples: dict[str, list[float]] = {"jaxhp": [], "optuna": []}
        for _ in range(options.repeats):
            for key, code, path in (("jaxhp", _OURS, ours), ("optuna", _OPTUNA, theirs)):
                out = subprocess.run([sys.executable, "-c", code, path, options.sampler], check=True, capture_output=True, text=True).stdout
                samples[key].append(float(out))
    medians = {key: statistics.median(values) for key, values in samples.items()}
    print(f"{options.trials} trials to the first suggestion of {options.sampler}:", end=" ")
    print(f"{medians['jaxhp']:.3f} s (target <= 0.5); Optuna RDB {medians['optuna']:.3f} s")
    rows.append("resume", {"trials": options.trials, "sampler": options.sampler, "seconds": medians, "repeats": options.repeats})


def finished_in_optuna(storage: Any, dims: list[peers.Dim], trials: int) -> None:
    """A study `s` of random points, with `p0` as their values."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(study_name="s", storage=storage)
    distributions = distributions_of(dims)
    source = peers.optuna(dims, "RandomSampler", 0)
    frozen = []
    for _ in range(trials):
        handle, params = source.ask()
        source.tell(handle, 0.5)
        frozen.append(optuna.trial.create_trial(params=params, distributions=distributions, value=float(params["p0"])))
    study.add_trials(frozen)


def distributions_of(dims: list[peers.Dim]) -> dict[str, Any]:
    """The space in Optuna's words."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    return {
        d.name: CategoricalDistribution(d.choices)
        if d.kind == "choice"
        else IntDistribution(int(d.low), int(d.high))
        if d.kind == "int"
        else FloatDistribution(d.low, d.high, log=d.kind == "log")
        for d in dims
    }


if __name__ == "__main__":
    main()
