"""The judge's picture: mean normalised regret against evaluations, one panel a group, the judge split alone by default."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from problems import problems
from quality_table import CHECKPOINTS, FLOOR, GROUPS, RESULTS, entrants, load, scores

_COLOURS = ("#d62728", "#7f7f7f", "#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b", "#17becf", "#bcbd22")
_WIDTH, _HEIGHT, _MARGIN = 330, 250, 45
_LEAST = 3  # evaluations where the axis begins


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--split", choices=("tune", "judge", "all"), default="judge")
    parser.add_argument("--ours", action="append", default=[], help="a label of ours (commit); the latest by default")
    parser.add_argument("--peers", default="", help="only these peers")
    parser.add_argument("--also", type=Path, action="append", default=[], help="another file of rows")
    parser.add_argument("--into", type=Path, default=RESULTS.with_suffix(".svg"))


def _across(at: int) -> float:
    return _MARGIN + (_WIDTH - _MARGIN - 10) * math.log(at / _LEAST) / math.log(CHECKPOINTS[-1] / _LEAST)


def _down(regret: float) -> float:
    return 25 + (_HEIGHT - 60) * math.log(regret) / math.log(FLOOR)


def main(options: argparse.Namespace) -> int:
    runs = entrants(load([RESULTS, *options.also]), options.ours, [p for p in options.peers.split(",") if p])
    within = {name: p for name, p in problems().items() if options.split in ("all", p.split)}
    counts = {name: sum(block[0] in within for block in of) for name, of in runs.items()}
    runs = {name: of for name, of in runs.items() if counts[name] and 2 * counts[name] >= max(counts.values())}
    panels = ("all", *GROUPS)
    parts = []
    for k, group in enumerate(panels):
        among = [name for name, p in within.items() if group in ("all", p.group)]
        parts.append(f'<g transform="translate({k % 3 * _WIDTH},{k // 3 * _HEIGHT})">')
        parts.append(f'<text x="{_WIDTH / 2}" y="15" text-anchor="middle" font-weight="bold">{group}</text>')
        for at in (5, 10, 20, 50, 100, 250):
            parts.append(f'<path d="M{_across(at):.0f} 25V{_HEIGHT - 35}" stroke="#ddd"/>')
            parts.append(f'<text x="{_across(at):.0f}" y="{_HEIGHT - 20}" text-anchor="middle">{at}</text>')
        for tick in (1.0, 0.1, 0.01, 0.001):
            parts.append(f'<path d="M{_MARGIN} {_down(tick):.0f}H{_WIDTH - 10}" stroke="#ddd"/>')
            parts.append(f'<text x="{_MARGIN - 4}" y="{_down(tick) + 4:.0f}" text-anchor="end">{tick:g}</text>')
        lines: dict[str, list[str]] = {name: [] for name in runs}
        for at in CHECKPOINTS:
            found = scores(runs, at, among) if at >= _LEAST else None
            if found is not None:
                for name, regret in zip(found.names, found.regret.mean(axis=0), strict=True):
                    lines[name].append(f"{_across(at):.1f},{_down(float(regret)):.1f}")
        for colour, (name, points) in zip(_COLOURS, lines.items(), strict=False):
            parts.append(
                f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="1.6"><title>{name}</title></polyline>'
            )
        parts.append("</g>")
    left = len(panels) % 3 * _WIDTH + _MARGIN
    top = len(panels) // 3 * _HEIGHT + 40
    parts.append(f'<text x="{left}" y="{top - 15}">{options.split} split: normalised regret, evaluations</text>')
    for k, (colour, name) in enumerate(zip(_COLOURS, runs, strict=False)):
        parts.append(f'<path d="M{left} {top + 18 * k}h24" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<text x="{left + 30}" y="{top + 4 + 18 * k}">{name}</text>')
    size = f'width="{3 * _WIDTH}" height="{2 * _HEIGHT}"'
    options.into.parent.mkdir(parents=True, exist_ok=True)
    options.into.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11"><rect {size} fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )
    print(options.into)
    return 0
