"""Small SVG pictures for the examples, without a plotting library: panels of lines, points and coloured cells, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

WIDTH, HEIGHT, MARGIN = 340, 250, 48
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#888888")


def lines(title: str, x: str, y: str, series: Mapping[str, tuple[Sequence[float], Sequence[float]]], points: bool = False) -> str:
    """A panel of curves (or points), each `label: (xs, ys)`."""
    xs, ys = (np.concatenate([np.asarray(part[i], float) for part in series.values()]) for i in (0, 1))
    x0, x1, y0, y1 = xs.min(), xs.max(), min(0.0, ys.min()), ys.max()

    def at(a: float, b: float) -> tuple[float, float]:
        across, up = (a - x0) / ((x1 - x0) or 1.0), (b - y0) / ((y1 - y0) or 1.0)
        return MARGIN + across * (WIDTH - MARGIN - 12), HEIGHT - MARGIN - up * (HEIGHT - 2 * MARGIN)

    parts = [_text(WIDTH / 2, 18, title, "middle", bold=True), _text(WIDTH / 2, HEIGHT - 8, x, "middle"), _text(4, 36, y)]
    for value in np.linspace(y0, y1, 4):
        left, height = at(x0, value)
        parts += [f'<path d="M{left:.1f} {height:.1f}H{WIDTH - 12}" stroke="#e5e5e5"/>', _text(left - 4, height + 4, f"{value:.3g}", "end")]
    for value in np.linspace(x0, x1, 4):
        parts.append(_text(at(value, y0)[0], HEIGHT - MARGIN + 16, f"{value:.3g}", "middle"))
    for i, (label, (a, b)) in enumerate(series.items()):
        colour, places = COLOURS[i], [at(*pair) for pair in zip(a, b, strict=True)]
        if points:
            parts += [f'<circle cx="{u:.1f}" cy="{v:.1f}" r="1.8" fill="{colour}" fill-opacity="0.6"/>' for u, v in places]
        else:
            path = " ".join(f"{u:.1f},{v:.1f}" for u, v in places)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        parts.append(_text(WIDTH - 14, 40 + 15 * i, label, "end", colour))
    return "\n".join(parts)


def cells(title: str, values: np.ndarray, low: float, high: float) -> str:
    """A panel of coloured cells (rows, columns), light at `low` and dark at `high`."""
    size = (HEIGHT - 2 * MARGIN) / max(values.shape)
    shade = np.clip((values - low) / (high - low), 0.0, 1.0)
    parts = [_text(WIDTH / 2, 18, title, "middle", bold=True)]
    left = (WIDTH - size * values.shape[1]) / 2
    for (i, j), s in np.ndenumerate(shade):
        colour = "#" + "".join(f"{round(255 + (dark - 255) * s):02x}" for dark in (0, 60, 110))
        place = f'x="{left + j * size:.1f}" y="{MARGIN + i * size:.1f}" width="{size:.1f}" height="{size:.1f}"'
        parts.append(f'<rect {place} fill="{colour}"/>')
    return "\n".join(parts)


def save(path: Path, panels: Sequence[str]) -> None:
    """Writes panels side by side."""
    whole = "\n".join(f'<g transform="translate({i * WIDTH},0)">\n{panel}\n</g>' for i, panel in enumerate(panels))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH * len(panels)}" height="{HEIGHT}" font-family="sans-serif" font-size="11">'
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{head}<rect width="100%" height="100%" fill="white"/>\n{whole}\n</svg>\n')


def _text(x: float, y: float, text: str, anchor: str = "start", colour: str = "#222", bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{weight}>{escaped}</text>'
