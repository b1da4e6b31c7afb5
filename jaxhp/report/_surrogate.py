"""What `study.explain()` says, drawn: the surrogate along each parameter, and how relevant each is.

A slice holds the other parameters at the best configuration. Told trials are drawn over it although they differ from the
best in the others, too: what they lie above or below the band is what the others did.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxhp._types import Floats
from jaxhp.analysis import Explanation, Slice
from jaxhp.errors import StudyError
from jaxhp.report._columns import Columns, Parameter
from jaxhp.report._figures import BLUE, GREY, ORANGE, Figure, axis_values, parameter_axis, value_axis
from jaxhp.report._tables import Table

if TYPE_CHECKING:
    from jaxhp.study import Study

_PANELS = 12  # the most relevant parameters
_TOLD = 500  # best trials drawn
_BAND = "rgba(0, 114, 178, 0.18)"  # BLUE, thin
_QUANTILES = (0.1, 0.5, 0.9)


class Drawn(NamedTuple):
    """A figure and what to say about it."""

    figure: Figure
    note: str


def explained(study: Study) -> Explanation | str:
    """The explanation of a study, or why there is none."""
    try:
        return study.explain()
    except StudyError as e:
        return str(e)


def relevance(explanation: Explanation | str) -> Table:
    """The parameters, the most relevant first, and below what else is known; or why there is no model."""
    if isinstance(explanation, str):
        return Table("What matters", [], [], f"No surrogate is shown: {explanation}.")
    facts = [f"{label}: {text}" for label, text in explanation.facts().items()]
    return Table("What matters", *explanation.table(), ". ".join([*facts, *explanation.notes]) + ".")


def slices(c: Columns, explanation: Explanation) -> Drawn | None:
    """The predicted median and the band from the 10 % to the 90 % quantile along each parameter; None where nothing can be drawn."""
    if explanation.best_u is None:
        return None
    inactive = [p.name for p in explanation.parameters if p.name not in (explanation.best_params or {})]
    names = [p.name for p in explanation.parameters if p.name not in inactive]
    left_out = len(names) - _PANELS
    parameter = {p.name: p for p in c.parameters}
    metric = c.metrics[0]
    axis = value_axis(metric, metric.values[c.complete])
    told = c.ranked[:_TOLD]
    across = min(3, len(names))
    down = math.ceil(min(len(names), _PANELS) / across)
    data: list[dict[str, Any]] = []
    grid = {"rows": down, "columns": across, "pattern": "independent", "ygap": 0.35}
    layout: dict[str, Any] = {"grid": grid, "height": 60 + 300 * down, "showlegend": False}
    for k, name in enumerate(names[:_PANELS]):
        suffix = "" if k == 0 else str(k + 1)
        place = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}
        p = parameter[name]
        along = explanation.slice(name, _QUANTILES)
        y = along.quantiles
        if axis.layout.get("type") == "log":
            y = np.maximum(y, 10.0 ** axis.layout["range"][0])  # what cannot be drawn there lies at the edge
        x = axis_values(p)
        points = {"type": "scatter", "mode": "markers", "name": "told", "marker": {"color": GREY, "size": 5, "opacity": 0.6}}
        data.append(points | {"x": [x[i] for i in told], "y": metric.values[told].tolist(), "hoverinfo": "skip"} | place)
        data += [trace | place for trace in (_levels(along, y) if p.scale == "category" else _band(along, y))]
        data.append(_best(explanation, name, p) | place)
        layout[f"xaxis{suffix}"] = {"title": {"text": f"{name} ({_relevance(explanation, name):.0%})", "standoff": 6}} | _axis(p, along)
        layout[f"yaxis{suffix}"] = axis.layout | {"title": {"text": metric.name if k % across == 0 else ""}}
    note = "Predicted median and 10-90 % band of a told value, the other parameters as in the best trial (orange); in grey told trials"
    note += f", the best {_TOLD} of them." if len(c.ranked) > _TOLD else "."
    note += " In brackets the relevance."
    if left_out > 0:
        note += f" The {left_out} least relevant parameters are left out."
    if inactive:
        note += f" Inactive in the best trial: {', '.join(inactive)}."
    return Drawn({"data": data, "layout": layout}, note)


def _relevance(explanation: Explanation, name: str) -> float:
    return next(p.relevance for p in explanation.parameters if p.name == name)


def _band(along: Slice, y: Floats) -> list[dict[str, Any]]:
    """Three lines, the band between the outer two."""
    line = {"type": "scatter", "mode": "lines", "x": along.values, "hovertemplate": "%{y:.4g}"}
    outer = line | {"line": {"width": 0}, "hoverinfo": "skip"}
    low = outer | {"name": "10 %", "y": y[:, 0].tolist()}
    high = outer | {"name": "90 %", "y": y[:, 2].tolist(), "fill": "tonexty", "fillcolor": _BAND}
    return [low, high, line | {"name": "median", "y": y[:, 1].tolist(), "line": {"color": BLUE, "width": 2}}]


def _levels(along: Slice, y: Floats) -> list[dict[str, Any]]:
    """The choices have nothing between them: a mark each, with a bar for the band."""
    with np.errstate(over="ignore"):  # then there is no bar
        below, above = np.diff(y).T.tolist()
    bars = {"type": "data", "symmetric": False, "array": above, "arrayminus": below}
    trace = {"type": "scatter", "mode": "markers", "name": "median", "marker": {"color": BLUE, "size": 9}, "error_y": bars}
    return [trace | {"x": [str(v) for v in along.values], "y": y[:, 1].tolist()}]


def _best(explanation: Explanation, name: str, p: Parameter) -> dict[str, Any]:
    value = (explanation.best_params or {})[name]
    marker = {"color": ORANGE, "size": 10, "symbol": "diamond"}
    x = str(value) if p.scale == "category" else value
    return {"type": "scatter", "mode": "markers", "name": "best", "x": [x], "y": [explanation.best_value], "marker": marker}


def _axis(p: Parameter, along: Slice) -> dict[str, Any]:
    """The parameter's axis; of a category every choice, told or not."""
    return parameter_axis(p._replace(labels=[str(v) for v in along.values]) if p.scale == "category" else p)
