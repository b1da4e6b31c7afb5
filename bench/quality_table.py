"""Scores of the judge's rows: mean rank and mean normalised regret, with a bootstrap over problems; wins and losses of ours.

A regret is floored at FLOOR (nobody needs less) and capped at 1 (what the median random configuration has). Scores are means over
seeds, then over problems. Entrants are compared on the blocks (problem, seed) that all of them ran: first those that ran most blocks,
then all, slow ones too.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from problems import problems
from scipy.stats import rankdata
from tuners import OURS, TUNERS

CHECKPOINTS = (1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100, 120, 150, 200, 250)
RESULTS = Path(__file__).parent / "results" / "quality.jsonl"
FLOOR = 1e-3
GROUPS = ("synthetic", "noisy", "bbob", "tables")

Row = dict[str, Any]
Block = tuple[str, int]
Floats = npt.NDArray[np.float64]
Entrants = dict[str, dict[Block, Row]]


def load(paths: Iterable[Path]) -> list[Row]:
    """The rows of these files, without those that a longer run of the same replaces; a torn last line is left out."""
    found: dict[tuple[Any, ...], Row] = {}
    for path in dict.fromkeys(path.resolve() for path in paths if path.exists()):
        for line in path.read_text().splitlines():
            if not line.endswith("}"):
                continue
            row = json.loads(line)
            key = (row["peer"], row["version"], row["problem"], row["seed"])
            if key not in found or row["evaluations"] >= found[key]["evaluations"]:
                found[key] = row
    return list(found.values())


def entrants(rows: list[Row], ours: Sequence[str], peers: Sequence[str] = ()) -> Entrants:
    """By name: ours under the labels (the latest one, if none are named), then each peer at its latest version."""
    found: Entrants = {}
    latest = {row["peer"]: row["version"] for row in rows}
    labels = list(ours) or [latest[OURS]] if OURS in latest else []
    for label in labels:
        if not any(row["peer"] == OURS and row["version"] == label for row in rows):
            known = dict.fromkeys(row["version"] for row in rows if row["peer"] == OURS)
            raise SystemExit(f"--ours {label}: no rows of that label; there are {', '.join(known) or 'none'}")
    wanted = [(f"{OURS}@{label}", OURS, label) for label in labels]
    wanted += [(peer, peer, latest[peer]) for peer in TUNERS if peer != OURS and peer in latest and (not peers or peer in peers)]
    for name, peer, version in wanted:
        found[name] = {(r["problem"], r["seed"]): r for r in rows if r["peer"] == peer and r["version"] == version}
    return found


class Scores(NamedTuple):
    names: list[str]
    problems: list[str]
    seeds: int  # blocks
    rank: Floats  # (problems, entrants) means over seeds
    regret: Floats  # (problems, entrants)


def scores(runs: Entrants, at: int, among: Iterable[str], median: bool = False) -> Scores | None:
    """Over the shared blocks of these problems; None where there are none."""
    index = CHECKPOINTS.index(at)
    wanted = set(among)
    shared = set.intersection(*({k for k, r in of.items() if k[0] in wanted and r["evaluations"] >= at} for of in runs.values()))
    if not shared:
        return None
    blocks = sorted(shared)
    regret = np.array([[_clipped(of[block]["curve"][index]) for of in runs.values()] for block in blocks])
    rank = rankdata(regret, axis=1)
    names = list(dict.fromkeys(block[0] for block in blocks))
    of_problem = np.array([names.index(block[0]) for block in blocks])
    middle = np.median if median else np.mean
    return Scores(
        list(runs),
        names,
        len(blocks),
        np.array([rank[of_problem == i].mean(axis=0) for i in range(len(names))]),
        np.array([middle(regret[of_problem == i], axis=0) for i in range(len(names))]),
    )


def _clipped(regret: float | None) -> float:
    return 1.0 if regret is None else min(1.0, max(FLOOR, regret))


def interval(differences: Floats, resamples: int = 4000) -> tuple[float, float]:
    """95 % of the mean of these (problems,) under resampling of problems."""
    n = len(differences)
    draws = np.random.default_rng(0).integers(n, size=(resamples, n))
    low, high = np.percentile(differences[draws].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def show(title: str, found: Scores, at: int) -> None:
    """One line an entrant, best regret first; differences are to the first line of ours."""
    rank, regret = found.rank.mean(axis=0), found.regret.mean(axis=0)
    print(f"\n{title}, {at} evaluations: {len(found.problems)} problems, {found.seeds} blocks")
    print(f"  {'':22s}  rank  regret   rank - ours        regret - ours           regret/ours  ours better, worse on")
    for i in np.argsort(regret):
        line = f"  {found.names[i]:22s}  {rank[i]:4.2f}  {regret[i]:6.4f}"
        if i != 0 and found.names[0].startswith(OURS):
            dr, dy = found.rank[:, i] - found.rank[:, 0], found.regret[:, i] - found.regret[:, 0]
            better, worse = int((dy > 1e-9).sum()), int((dy < -1e-9).sum())
            (a, b), (c, d) = interval(dr), interval(dy)
            line += f"  {dr.mean():+5.2f} [{a:+5.2f}, {b:+5.2f}]  {dy.mean():+.4f} [{c:+.4f}, {d:+.4f}]  {regret[i] / regret[0]:7.2f}"
            line += f"      {better:3d}, {worse:d}"
        print(line)
    by_rank, by_regret = np.argsort(rank), np.argsort(regret)
    if len(rank) > 1:
        a, b = interval(found.rank[:, by_rank[1]] - found.rank[:, by_rank[0]])
        c, d = interval(found.regret[:, by_regret[1]] - found.regret[:, by_regret[0]])
        print(
            f"  first by rank {found.names[by_rank[0]]}, the second [{a:+.2f}, {b:+.2f}] behind; "
            f"first by regret {found.names[by_regret[0]]}, the second [{c:+.4f}, {d:+.4f}] behind"
        )


def show_problems(found: Scores, at: int, what: str) -> None:
    """One line a problem; a star where ours is not the best."""
    print(f"\n{what} normalised regret after {at} evaluations, per problem (* ours is not the best)")
    print(f"  {'':40s}" + "".join(f"{name[:14]:>15s}" for name in found.names))
    for name, line in zip(found.problems, found.regret, strict=True):
        lost = found.names[0].startswith(OURS) and line[0] > line.min() + 1e-9
        print(f"{'* ' if lost else '  '}{name:40s}" + "".join(f"{y:15.4f}" for y in line))


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--split", choices=("tune", "judge", "all"), help="both, one after the other, by default")
    parser.add_argument("--group", default=",".join(("all", *GROUPS)), help="groups, families (lcbench, taskset, ...), or all")
    parser.add_argument("--at", default="20,50,100,250", help=f"evaluations, of {CHECKPOINTS}")
    parser.add_argument(
        "--ours", action="append", default=[], help="a label of ours (commit); several are compared, the first with all others"
    )
    parser.add_argument("--peers", default="", help="only these peers")
    parser.add_argument("--also", type=Path, action="append", default=[], help="another file of rows")
    parser.add_argument("--per-problem", action="store_true", help="regret per problem too (default on the tune split alone)")
    parser.add_argument("--median", action="store_true", help="medians over seeds in place of means")


def main(options: argparse.Namespace) -> int:
    peers = [peer for peer in options.peers.split(",") if peer]
    everyone = entrants(load([RESULTS, *options.also]), options.ours, peers)
    if not everyone:
        raise SystemExit(f"no rows in {RESULTS}; make some: python bench/quality.py run --help")
    ats = [int(at) for at in options.at.split(",")]
    if not set(ats) <= set(CHECKPOINTS):
        raise SystemExit(f"--at {options.at}: there are {CHECKPOINTS}")
    for split in [options.split] if options.split else ["tune", "judge"]:
        within = {name: p for name, p in problems().items() if split in ("all", p.split)}
        counts = {name: sum(block[0] in within for block in of) for name, of in everyone.items()}
        named = {f"{OURS}@{label}" for label in options.ours}
        most = max(counts[name] for name in named or everyone)
        many = {name: of for name, of in everyone.items() if counts[name] and (name in named or 2 * counts[name] >= most)}
        some = {name: of for name, of in everyone.items() if counts[name]}
        for runs, who in ((many, ""), (some, " with slow peers, on what all ran")):
            if who and len(some) == len(many):
                continue
            for group in options.group.split(","):
                among = [name for name, p in within.items() if group in ("all", p.group, p.family)]
                for at in ats:
                    able = {name: of for name, of in runs.items() if any(r["evaluations"] >= at for k, r in of.items() if k[0] in within)}
                    found = scores(able, at, among, options.median) if able else None
                    if found is not None:
                        show(f"{split} split, {group}{who}", found, at)
            if not who and (options.per_problem or split == "tune"):
                for at in ats:
                    found = scores(many, at, within, options.median)
                    if found is not None:
                        show_problems(found, at, "median" if options.median else "mean")
    return 0
