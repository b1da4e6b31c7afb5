"""The picture of docs/optim.md: learning rates over a run, by kind, with and without restarts.  python bench/schedule_plot.py"""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np

import jaxhp

INTO = Path(__file__).resolve().parents[1] / "docs" / "images" / "schedules.svg"
STEPS, WIDTH, HEIGHT, MARGIN = 200, 330, 190, 34
COLOURS = dict(zip(jaxhp.optim.SCHEDULES, ("#7f7f7f", "#1f77b4", "#2ca02c", "#d62728"), strict=True))
PANELS = {
    "warmup=0.1, final=0.1": {"warmup": 0.1, "final": 0.1},
    "warmup=0.1, final=0.1, cycles=3": {"warmup": 0.1, "final": 0.1, "cycles": 3},
}


def across(t: float) -> float:
    return MARGIN + (WIDTH - MARGIN - 10) * t / STEPS


def down(rate: float) -> float:
    return 22 + (HEIGHT - 62) * (1 - rate)


def main() -> None:
    parts = []
    for k, (title, settings) in enumerate(PANELS.items()):
        parts.append(f'<g transform="translate({k * WIDTH},0)"><text x="{WIDTH / 2:.0f}" y="13" text-anchor="middle">{title}</text>')
        parts += [f'<path d="M{across(0):.0f} {down(y):.1f}H{across(STEPS):.0f}" stroke="#ddd"/>' for y in (0.0, 0.5, 1.0)]
        parts += [f'<text x="{MARGIN - 4}" y="{down(y) + 4:.1f}" text-anchor="end">{text}</text>' for y, text in ((0, "0"), (1, "peak"))]
        parts.append(f'<text x="{across(0):.0f}" y="{down(0) + 14:.0f}">0</text>')
        parts.append(f'<text x="{across(STEPS):.0f}" y="{down(0) + 14:.0f}" text-anchor="end">steps</text>')
        for kind, colour in COLOURS.items():
            rates = jax.vmap(jaxhp.optim.schedule(STEPS, kind=kind, **settings))(np.arange(STEPS + 1))
            points = " ".join(f"{across(t):.1f},{down(float(rate)):.1f}" for t, rate in enumerate(rates))
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"><title>{kind}</title></polyline>')
        parts.append("</g>")
    for i, (kind, colour) in enumerate(COLOURS.items()):
        parts.append(f'<text x="{MARGIN + 90 * i}" y="{HEIGHT - 6}" fill="{colour}">{kind}</text>')
    size = f'width="{WIDTH * len(PANELS)}" height="{HEIGHT}"'
    INTO.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">{"".join(parts)}</svg>\n')


if __name__ == "__main__":
    main()
