"""The report's figures: functions from columns to plotly figures as plain dicts, {"data": [...], "layout": {...}}.

Dicts keep plotly's Python package, which is slow to import, out of the drawing; only its JavaScript is needed, in `_page`.
Colours are Okabe and Ito's, which colour-blind readers can tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from jaxhp._types import Floats, Status
from jaxhp.report._columns import Columns, Curve, Metric, Parameter
from jaxhp.report._tables import number, shown

Figure: TypeAlias = dict[str, Any]

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#999999"
_OTHERS = (ORANGE, GREEN, PURPLE, SKY)
_HOVER_ROWS = 5000  # beyond, hovering shows numbers only: the configurations would make the file too large
_PARALLEL = 20  # axes that one can still read
_CURVE_POINTS = 100_000  # of learning curves; more would make the file too large


class ValueAxis(NamedTuple):
    """A metric's axis: plotly's settings, and the value at its bad edge, where failures are marked."""

    layout: dict[str, Any]
    edge: float
    clipped: bool  # some bad values lie outside


def value_axis(metric: Metric, values: Floats) -> ValueAxis:
    """An axis on which the good values differ: logarithmic if they span decades, cut where a few bad ones would flatten the rest."""
    finite = np.clip(values[np.isfinite(values)], -1e300, 1e300)  # so that their differences are finite, too
    if not len(finite):
        return ValueAxis({"title": {"text": metric.name}, "range": [0.0, 1.0]}, 0.5, False)
    log = bool(finite.min() > 0 and finite.max() / 20 > finite.min())
    y = metric.sign * (np.log10(finite) if log else finite)
    best, usual, worst = float(y.min()), float(np.quantile(y, 0.9)), float(y.max())
    clipped = bool(usual > best and worst - best > 3 * (usual - best))
    end = best + 1.5 * (usual - best) if clipped else worst
    pad = 0.06 * (end - best) or 0.05 * abs(best) or 0.5
    limits = [metric.sign * (best - pad), metric.sign * (end + pad)]
    edge = 10 ** min(limits[1], 308.0) if log else limits[1]
    axis = {"title": {"text": metric.name}, "range": sorted(limits)} | ({"type": "log"} if log else {})
    return ValueAxis(axis, edge, clipped)


def history(c: Columns, metric: Metric, others: Mapping[str, Columns]) -> Figure:
    """Every trial's value by number, the best so far, and that of other studies."""
    drawn = [metric.values[c.complete]] + [_best_so_far(o, metric.name)[1] for o in others.values()]
    axis = value_axis(metric, np.concatenate(drawn))
    numbers = np.array([t.number for t in c.trials])
    data = [_scatter(numbers[c.complete], metric.values[c.complete], "trial", BLUE, _hover(c, c.complete), opacity=0.55)]
    if metric.objective:
        x, y = _best_so_far(c, metric.name)
        data.append(_steps(x, y, "best so far", BLUE))
        for (label, other), colour in zip(others.items(), _OTHERS, strict=False):
            data.append(_steps(*_best_so_far(other, metric.name), f"best so far, {label}", colour))
    if c.failed.any():
        data.append(_failures(numbers[c.failed].tolist(), axis.edge, _hover(c, c.failed)))
    return {"data": data, "layout": {"xaxis": {"title": {"text": "trial"}}, "yaxis": axis.layout, "height": 420}}


def tradeoff(c: Columns, first: Metric, second: Metric) -> Figure:
    """Two objectives against each other; the Pareto front joined."""
    front = np.array(c.front, dtype=int)
    data = [
        _scatter(first.values[c.complete], second.values[c.complete], "trial", BLUE, _hover(c, c.complete), opacity=0.55),
        {"type": "scatter", "mode": "lines+markers", "name": "Pareto front", "line": {"color": ORANGE}, "hoverinfo": "skip"}
        | {"x": first.values[front].tolist(), "y": second.values[front].tolist()},
    ]
    axes = [value_axis(m, m.values[c.complete]).layout for m in (first, second)]
    return {"data": data, "layout": {"xaxis": axes[0], "yaxis": axes[1], "height": 480}}


def parallel(c: Columns) -> Figure | None:
    """Parallel coordinates of the completed trials, the better the darker; None without any."""
    if not c.complete.any():
        return None
    metric = c.metrics[0]
    axis = value_axis(metric, metric.values[c.complete])
    log = axis.layout.get("type") == "log"
    low, high = axis.layout["range"]
    values = metric.values[c.complete]
    seen = np.clip(np.log10(values) if log else values, low, high)
    ticks = np.linspace(low, high, 6)
    last = {"label": metric.name, "values": seen.tolist(), "range": [low, high]}
    last |= {"tickvals": ticks.tolist(), "ticktext": [number(10**t if log else t) for t in ticks]}
    line = {"color": seen.tolist(), "colorscale": "Viridis", "cmin": low, "cmax": high, "reversescale": metric.sign < 0}
    dimensions = [_dimension(p, p.values[c.complete]) for p in c.parameters[:_PARALLEL]] + [last]
    trace = {"type": "parcoords", "line": line, "dimensions": dimensions, "labelangle": -20, "labelside": "bottom"}
    return {"data": [trace], "layout": {"height": 480, "margin": {"l": 80, "r": 60, "t": 30, "b": 110}}}


def slices(c: Columns) -> Figure:
    """The first metric against each parameter, the later a trial the darker; failures at the bad edge."""
    metric = c.metrics[0]
    axis = value_axis(metric, metric.values[c.complete])
    across = min(3, len(c.parameters))
    down = math.ceil(len(c.parameters) / across)
    numbers = np.array([t.number for t in c.trials], dtype=np.float64)
    hover, hover_failed = _hover(c, c.complete), _hover(c, c.failed)
    data: list[dict[str, Any]] = []
    grid = {"rows": down, "columns": across, "pattern": "independent", "ygap": 0.35}
    layout: dict[str, Any] = {"grid": grid, "height": 60 + 300 * down, "showlegend": False}
    for j, p in enumerate(c.parameters):
        suffix = "" if j == 0 else str(j + 1)
        place = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}
        x = axis_values(p)
        colour = {"color": numbers[c.complete].tolist(), "colorscale": "Blues", "cmin": -0.3 * (numbers.max(initial=0.0) + 1.0)}
        marker = {"size": 6, "line": {"width": 0.5, "color": "#555"}} | colour
        active = {"type": "scatter", "mode": "markers", "name": "trial", "x": [x[i] for i in np.flatnonzero(c.complete)]}
        data.append(active | {"y": metric.values[c.complete].tolist(), "marker": marker} | hover | place)
        if c.failed.any():
            data.append(_failures([x[i] for i in np.flatnonzero(c.failed)], axis.edge, hover_failed) | place)
        layout[f"xaxis{suffix}"] = {"title": {"text": p.name, "standoff": 6}} | parameter_axis(p)
        layout[f"yaxis{suffix}"] = axis.layout | ({"title": {}} if j % across else {})
    return {"data": data, "layout": layout}


def curves(c: Columns) -> Figure:
    """What trials reported while they ran: all thin, where they were stopped a dot, the best thick and in front."""
    metric = c.metrics[0]
    status = {t.number: t.status for t in c.trials}
    rank = {c.trials[i].number: k for k, i in enumerate(c.ranked)}
    chosen = shown_curves(c)
    groups = {
        "stopped early": (GREY, [curve for curve in chosen if status.get(curve.number) == Status.STOPPED]),
        "failed": (RED, [curve for curve in chosen if status.get(curve.number) == Status.FAILED]),
        "trial": (BLUE, [curve for curve in chosen if status.get(curve.number) not in (Status.STOPPED, Status.FAILED)]),
    }
    data: list[dict[str, Any]] = []
    for name, (colour, members) in groups.items():
        rest = [curve for curve in members if rank.get(curve.number) != 0]
        if rest:
            mode = {"mode": "lines"} if name == "stopped early" else {}  # their ends are marked below
            data.append(_joined(rest, name) | {"line": {"color": colour, "width": 1}, "opacity": 0.4} | mode)
    stopped = groups["stopped early"][1]
    if stopped:
        ends = {"x": [curve.steps[-1] for curve in stopped], "y": [curve.values[-1] for curve in stopped]}
        marker = {"color": GREY, "size": 4}
        data.append({"type": "scatter", "mode": "markers", "name": "stopped here", "marker": marker, "hoverinfo": "skip"} | ends)
    for curve in chosen:
        if rank.get(curve.number) == 0:
            data.append(_joined([curve], f"best: trial {curve.number}") | {"line": {"color": ORANGE, "width": 2.5}})
    axis = value_axis(metric, np.concatenate([curve.values for curve in chosen]))
    return {"data": data, "layout": {"xaxis": {"title": {"text": "step"}}, "yaxis": axis.layout, "height": 460, "hovermode": "closest"}}


def shown_curves(c: Columns) -> list[Curve]:
    """The curves that are drawn: the best trials' first, until there are enough points."""
    rank = {c.trials[i].number: k for k, i in enumerate(c.ranked)}
    ordered = sorted(c.curves, key=lambda curve: rank.get(curve.number, len(rank)))
    points = np.cumsum([len(curve.steps) for curve in ordered])
    return ordered[: max(1, int(np.searchsorted(points, _CURVE_POINTS, side="right")))]


def _joined(curves: list[Curve], name: str) -> dict[str, Any]:
    """Curves as one trace, with gaps: thousands of traces would be slow to draw."""
    x, y, text = [], [], []
    for curve in curves:
        x += [*curve.steps.tolist(), None]
        y += [*curve.values.tolist(), None]
        text += [f"trial {curve.number}"] * (len(curve.steps) + 1)
    mode = "lines" if all(len(curve.steps) > 1 for curve in curves) else "lines+markers"
    trace = {"type": "scatter", "mode": mode, "marker": {"size": 4}, "name": name, "x": x, "y": y}
    return trace | {"text": text, "hovertemplate": "%{text}: %{y:.4g} at %{x}<extra></extra>"}


def _best_so_far(c: Columns, name: str) -> tuple[Floats, Floats]:
    """Numbers and best values up to them, (k,) each."""
    metric = next((m for m in c.metrics if m.name == name), None)
    if metric is None or not c.complete.any():
        return np.empty(0), np.empty(0)
    numbers = np.array([t.number for t in c.trials], dtype=np.float64)
    best = metric.sign * np.minimum.accumulate(metric.sign * metric.values[c.complete])
    return np.append(numbers[c.complete], numbers[-1]), np.append(best, best[-1])


def _hover(c: Columns, rows: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, Any]:
    if len(c.trials) > _HOVER_ROWS:
        return {}
    texts = []
    for i in np.flatnonzero(rows):
        trial = c.trials[i]
        values = [f"{k} {number(v)}" for k, v in trial.values.items()] or ["failed"]
        texts.append("<br>".join([f"<b>trial {trial.number}</b>", *values, *(f"{k} = {shown(v)}" for k, v in trial.params.items())]))
    return {"text": [_plain(t) for t in texts], "hovertemplate": "%{text}<extra></extra>"}


def _plain(text: str) -> str:
    """Plotly reads some HTML in labels; a user's own < must stay one."""
    marks = {"<br>": "\0", "<b>": "\1", "</b>": "\2"}
    for mark, stand_in in marks.items():
        text = text.replace(mark, stand_in)
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    for mark, stand_in in marks.items():
        text = text.replace(stand_in, mark)
    return text


def _scatter(x: Floats, y: Floats, name: str, colour: str, hover: dict[str, Any], opacity: float) -> dict[str, Any]:
    trace = {"type": "scattergl" if len(x) > 2000 else "scatter", "mode": "markers", "name": name}
    return trace | {"x": x.tolist(), "y": y.tolist(), "marker": {"color": colour, "opacity": opacity}} | hover


def _steps(x: Floats, y: Floats, name: str, colour: str) -> dict[str, Any]:
    line = {"color": colour, "shape": "hv", "width": 2}
    return {"type": "scatter", "mode": "lines", "name": name, "x": x.tolist(), "y": y.tolist(), "line": line, "hoverinfo": "skip"}


def _failures(x: list[Any], y: float, hover: dict[str, Any]) -> dict[str, Any]:
    marker = {"symbol": "x-thin", "size": 8, "line": {"color": RED, "width": 1.5}}
    trace = {"type": "scatter", "mode": "markers", "name": "failed", "marker": marker, "cliponaxis": False}
    return trace | {"x": x, "y": [y] * len(x)} | hover


def axis_values(p: Parameter) -> list[float | str | None]:
    """Values for a plotly axis; None where inactive."""
    if p.scale == "category":
        return [None if math.isnan(v) else p.labels[int(v)] for v in p.values]
    return [None if math.isnan(v) else v for v in p.values.tolist()]


def parameter_axis(p: Parameter) -> dict[str, Any]:
    """Its whole range, or its labels, on its own scale."""
    if p.scale == "category":
        return {"type": "category", "categoryorder": "array", "categoryarray": p.labels}
    low, high = (math.log10(p.low), math.log10(p.high)) if p.scale == "log" else (p.low, p.high)
    pad = 0.04 * (high - low)
    return {"type": p.scale, "range": [low - pad, high + pad]} | ({"tickvals": p.ticks} if p.ticks else {})


def _dimension(p: Parameter, values: Floats) -> dict[str, Any]:
    """An axis of the parallel coordinates; inactive trials pass below its low end, at a tick of their own."""
    if p.scale == "category":
        low, high = p.low, p.high
        ticks, texts = [float(i) for i in range(len(p.labels))], list(p.labels)
        x = values.copy()
    else:
        low, high = (math.log10(p.low), math.log10(p.high)) if p.scale == "log" else (p.low, p.high)
        x = np.log10(values) if p.scale == "log" else values.copy()
        ticks = (np.log10(p.ticks) if p.scale == "log" else np.array(p.ticks)).tolist() or np.linspace(low, high, 5).tolist()
        texts = [number(10**t if p.scale == "log" else t) for t in ticks]
    inactive = np.isnan(x)
    if inactive.any():
        below = low - 0.15 * (high - low or 1.0)
        x[inactive] = below
        low, ticks, texts = below, [below, *ticks], ["inactive", *texts]
    return {"label": p.name, "values": x.tolist(), "range": [low, high if high > low else low + 1.0], "tickvals": ticks, "ticktext": texts}
