"""The report's page: summary, tables and figures as one HTML file, with plotly's JavaScript and the styles inside."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from jaxhp._types import Status
from jaxhp.analysis import Explanation
from jaxhp.errors import MissingExtra
from jaxhp.report import _figures, _schedules, _surrogate
from jaxhp.report._columns import Columns, Metric
from jaxhp.report._figures import Figure
from jaxhp.report._tables import Table, best, failures, gradients, number, shown, stops
from jaxhp.schedulers import Schedule


def page(
    c: Columns, others: Mapping[str, Columns], tables: Sequence[Table], explanation: Explanation | str, changed: dict[int, Schedule]
) -> str:
    """The whole file; of a study that cannot be explained, the reason stands where its surrogate would.

    `changed`: the schedules of trials that a scheduler changed, by number.

    Raises:
        MissingExtra: plotly is not installed.
    """
    figures: list[tuple[str, str, Figure]] = []
    for metric in c.metrics:
        title = "History" if len(c.metrics) == 1 else f"History: {metric.name}"
        figures.append((title, _clipped(c, metric), _figures.history(c, metric, others)))
    if len(c.objectives) > 1:
        note = "The Pareto front: trials that no other one beats in every objective."
        figures.append(("Trade-off", note, _figures.tradeoff(c, *c.objectives[:2])))
    parallel = _figures.parallel(c)
    if parallel is not None:
        dropped = len(c.parameters) - len(parallel["data"][0]["dimensions"]) + 1
        note = "Drag along an axis to select trials." + (f" The last {dropped} parameters are left out." if dropped > 0 else "")
        figures.append(("Parallel coordinates", note, parallel))
    if c.parameters and c.trials:
        figures.append((f"Slices: {c.metrics[0].name} by parameter", "Darker trials came later.", _figures.slices(c)))
    drawn = _surrogate.slices(c, explanation) if isinstance(explanation, Explanation) else None
    if drawn is not None:
        figures.append((f"Surrogate: {c.metrics[0].name} along each parameter", drawn.note, drawn.figure))
    if c.curves:
        left_out = len(c.curves) - len(_figures.shown_curves(c))
        note = f"The curves of {left_out} trials that did worst are left out." if left_out else ""
        figures.append(("Learning curves", note, _figures.curves(c)))
    drawn_schedules = _schedules.figure(c, changed)
    if drawn_schedules is not None:
        note = "What each trial's weights were trained with, by the trials that it descends from and by itself."
        figures.append(("Schedules", note, drawn_schedules))
    parts = [_summary(c), *(_table(t) for t in tables), _table(best(c)), _table(_surrogate.relevance(explanation))]
    parts += [_figure(i, title, note) for i, (title, note, _) in enumerate(figures)]
    rungs = stops(c)
    parts += [_table(rungs)] if rungs.rows else []
    if any(t.gradient for t in c.trials):
        parts.append(_table(gradients(c)))
    if c.failed.any():
        parts.append(_table(failures(c)))
    script = "".join(f'draw("figure{i}", {_json(figure)});\n' for i, (_, _, figure) in enumerate(figures))
    return _PAGE.format(title=escape(c.name), style=_STYLE, plotly=_plotly(), body="\n".join(parts), draw=_DRAW, script=script)


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as e:
        raise MissingExtra('the report needs plotly: pip install "jaxhp[plot]"') from e
    return str(get_plotlyjs())


def _summary(c: Columns) -> str:
    seconds = sum(t.seconds for t in c.trials if math.isfinite(t.seconds))
    stopped = sum(t.status == Status.STOPPED for t in c.trials)
    more = (f", {stopped} stopped early" if stopped else "") + (f", {c.running} running" if c.running else "")
    facts = {
        "trials": f"{len(c.trials)} finished, {int(c.failed.sum())} failed{more}",
        "metrics": ", ".join(f"{m.name} ({_role(m)})" for m in c.metrics),
        "sampler": f"{c.sampler}, seed {c.seed}",
        **({"scheduler": c.scheduler} if c.scheduler is not None else {}),
        "time in trials": f"{seconds:.1f} s",
        "log": c.storage,
    }
    if c.front and len(c.objectives) == 1:
        trial, metric = c.trials[c.front[0]], c.metrics[0]
        best = f"{metric.name} {number(metric.values[c.front[0]])} in trial {trial.number}"
        facts = {"best": f"{best}: {', '.join(f'{k} = {shown(v)}' for k, v in trial.params.items())}"} | facts
    elif not c.front:
        facts = {"best": "no trial is complete yet"} | facts
    items = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items())
    return f"<h1>{escape(c.name)}</h1>\n<dl>{items}</dl>"


def _role(metric: Metric) -> str:
    if not metric.objective:
        return "constrained"
    return "minimised" if metric.sign > 0 else "maximised"


def _clipped(c: Columns, metric: Metric) -> str:
    axis = _figures.value_axis(metric, metric.values[c.complete])
    return "Some bad values lie outside; double-click to see all." if axis.clipped else ""


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(h)}</th>" for h in table.header)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in table.rows)
    note = f"<p>{escape(table.note)}</p>" if table.note else ""
    body = f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{rows}</tbody></table></div>' if table.rows else ""
    return f"<h2>{escape(table.title)}</h2>{body}{note}"


def _figure(i: int, title: str, note: str) -> str:
    caption = f"<p>{escape(note)}</p>" if note else ""
    return f'<h2>{escape(title)}</h2>{caption}<div id="figure{i}" class="figure"></div>'


def _json(value: Any) -> str:
    """JSON that may stand inside a <script>: null for what is not finite, and no closing tag."""
    return json.dumps(_finite(value), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1200px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0 0 .5rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .3rem; }
p { color: #555; margin: .2rem 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; }
dt { color: #555; }
dd { margin: 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: left; border-bottom: 1px solid #ddd; white-space: nowrap; }
th { border-bottom: 2px solid #999; }
tbody tr:hover { background: #f3f7fb; }
"""

_DRAW = """
function draw(id, figure) {
  const legend = {orientation: "h", x: 0, y: 1.02, yanchor: "bottom"};
  const layout = Object.assign({margin: {l: 70, r: 30, t: 30, b: 60}, legend: legend, template: {layout: {
    font: {family: "system-ui, sans-serif", size: 13}, colorway: ["#0072B2"], plot_bgcolor: "#fff",
    xaxis: {gridcolor: "#eee", zeroline: false, automargin: true, exponentformat: "power"},
    yaxis: {gridcolor: "#eee", zeroline: false, automargin: true, exponentformat: "power"}
  }}}, figure.layout);
  Plotly.newPlot(id, figure.data, layout, {responsive: true, displaylogo: false});
}
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} - jaxhp</title>
<style>{style}</style>
<script>{plotly}</script>
</head>
<body>
{body}
<script>{draw}{script}</script>
</body>
</html>
"""
