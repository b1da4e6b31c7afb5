"""How hyperparameters changed while trials trained: one panel for each number that did, steps across.

All finished trials that a scheduler changed are drawn along their lineage, from fresh weights on; the best thick and in front.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jaxhp.report._columns import Columns, Parameter
from jaxhp.report._figures import BLUE, ORANGE, Figure, parameter_axis
from jaxhp.schedulers import Schedule

if TYPE_CHECKING:
    from jaxhp.study import Study

_MOST = 200  # schedules that are drawn: the best trials'


def changed(study: Study) -> dict[int, Schedule]:
    """By number, the schedules of the trials that a scheduler changed."""
    return {number: study.schedule(number) for number in study._fold.lineage.numbers if number in study._fold.final_row}


def figure(c: Columns, schedules: dict[int, Schedule]) -> Figure | None:
    """The panels; None where no number changed."""
    ranked = [c.trials[i].number for i in c.ranked]
    order = [n for n in [*ranked, *(n for n in schedules if n not in set(ranked))] if n in schedules][:_MOST]
    moved = [p for p in c.parameters if p.scale != "category" and any(len(set(_values(schedules[n], p))) > 1 for n in order)]
    if not moved:
        return None
    data: list[dict[str, Any]] = []
    layout: dict[str, Any] = {"height": 60 + 240 * len(moved), "hovermode": "closest", "grid": {"rows": len(moved), "columns": 1}}
    best = ranked[0] if ranked else None
    for j, p in enumerate(moved):
        suffix = "" if j == 0 else str(j + 1)
        place = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}", "showlegend": j == 0}
        rest = [n for n in order if n != best]
        if rest:
            data.append(_lines(p, {n: schedules[n] for n in rest}, "trial") | {"line": _line(BLUE, 1), "opacity": 0.4} | place)
        if best in schedules:
            data.append(_lines(p, {best: schedules[best]}, f"best: trial {best}") | {"line": _line(ORANGE, 2.5)} | place)
        layout[f"xaxis{suffix}"] = {"title": {"text": "step"}} if j == len(moved) - 1 else {}
        layout[f"yaxis{suffix}"] = {"title": {"text": p.name}} | parameter_axis(p)
    return {"data": data, "layout": layout}


def _values(schedule: Schedule, p: Parameter) -> list[Any]:
    return [params.get(p.name) for params in schedule.params]


def _line(colour: str, width: float) -> dict[str, Any]:
    return {"color": colour, "width": width, "shape": "hv"}


def _lines(p: Parameter, schedules: dict[int, Schedule], name: str) -> dict[str, Any]:
    """Schedules as one trace, with gaps."""
    x, y, text = [], [], []
    for number, schedule in schedules.items():
        values = _values(schedule, p)
        x += [*schedule.steps, schedule.length, None]
        y += [*values, values[-1], None]
        text += [f"trial {number}, trained as {n}" for n in schedule.numbers] + [f"trial {number}"] * 2
    trace = {"type": "scatter", "mode": "lines", "name": name, "x": x, "y": y}
    return trace | {"text": text, "hovertemplate": "%{text}: %{y:.4g} from %{x}<extra></extra>"}
