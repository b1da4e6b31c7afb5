"""The report: one file, offline, whatever a study holds; and figures that say what the trials say."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import RATES, bowl

import jaxhp
from jaxhp import Categorical, Float, Int, MissingExtra, Ordinal, Space, StorageError, Study, Trial, report
from jaxhp.report import _figures, _surrogate, _tables
from jaxhp.report._columns import Metric, columns


def space() -> Space:
    return Space(
        {
            "x": Float(-1.0, 1.0),
            "rate": Float(1e-4, 1.0, log=True),
            "n": Int(1, 64, log=True),
            "depth": Int(1, 3),
            "size": Ordinal([32, 64, 128]),
            "kind": Categorical(["a", "b", None]),
            "m": Float(0.1, 1.0, when={"kind": "b"}),
        }
    )


def loss(trial: Trial) -> float:
    return trial["x"] ** 2 + trial.params.get("m", 0.0)


def study(**more: Any) -> Study:
    return Study(space(), sampler=jaxhp.random_search(), seed=1, **more)


def empty() -> Study:
    return study()


def single() -> Study:
    return study().optimize(loss, trials=1)


def usual() -> Study:
    return study(metric="loss").optimize(lambda t: {"loss": loss(t), "accuracy": t["x"]}, trials=30)


def maximised() -> Study:
    return study(direction="maximize", metric="accuracy").optimize(lambda t: -loss(t), trials=30)


def some_failed() -> Study:
    values = {3: math.nan, 4: math.inf, 5: -math.inf, 6: 1e300}
    return study().optimize(lambda t: values.get(t.number, loss(t)), trials=30)


def all_failed() -> Study:
    def objective(trial: Trial) -> float:
        raise ValueError("</script><b>boom</b>")

    return study().optimize(objective, trials=8, max_failed=1.0)


def several() -> Study:
    directions = {"loss": "minimize", "speed": "maximize"}
    constrained = study(directions=directions, constraints={"memory": "<= 0.5"})
    return constrained.optimize(lambda t: {"loss": loss(t), "speed": t["rate"], "memory": abs(t["x"])}, trials=40)


def reported() -> Study:
    def objective(trial: Trial) -> float:
        for step in range(3):
            trial.report(step, loss(trial) + 1.0 / (1 + step))
        return loss(trial)

    return study().optimize(objective, trials=12)


def stopped() -> Study:
    def objective(trial: Trial) -> float:
        for step in range(1, 10):
            if trial.report(step, loss(trial) + 1.0 / step):
                break
        return loss(trial) + 1.0 / step

    return study(scheduler=jaxhp.asha(max_steps=9)).optimize(objective, trials=24)


def in_lanes() -> Study:
    made = Study(RATES, sampler=jaxhp.sobol(), metric="loss")
    return made.train(bowl(), trials=12, steps=20, lanes=4, scheduler=jaxhp.asha(eta=2, min_steps=5))


def population() -> Study:
    made = Study(RATES, sampler=jaxhp.sobol(), metric="loss", seed=3)
    return made.train(bowl(), trials=6, steps=20, lanes=6, scheduler=jaxhp.pbt(4, 6, fraction=0.4))


def running() -> Study:
    open_ended = usual()
    open_ended.ask()
    return open_ended


STUDIES = [empty, single, usual, maximised, some_failed, all_failed, several, reported, stopped, in_lanes, population, running]


def figures(text: str) -> list[dict[str, Any]]:
    """The figures of a page, as a browser would read them."""
    drawn = re.findall(r'^draw\("figure\d+", (.*)\);$', text.split("function draw")[1], flags=re.MULTILINE)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return [json.loads(figure, parse_constant=refuse) for figure in drawn]


@pytest.mark.parametrize("make", STUDIES)
def test_every_study_gives_a_page_whose_figures_plotly_accepts(make: Any) -> None:
    text = report.html(make())
    drawn = figures(text)
    assert drawn
    assert text.count('class="figure"') == len(drawn)
    for figure in drawn:
        plotly.graph_objects.Figure(figure)  # raises on an unknown or invalid property


def test_the_page_needs_no_network() -> None:
    text = report.html(usual())
    own = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"""(src|href)\s*=|url\(|@import""", own)
    assert "Plotly.newPlot(" in text and len(text) > 1_000_000  # plotly's JavaScript is inside


def test_the_best_so_far_is_the_running_best_of_completed_trials() -> None:
    for made, better in ((some_failed(), min), (maximised(), max)):
        c = columns(made)
        line = _figures.history(c, c.metrics[0], {})["data"][1]
        best: list[float] = []
        for trial in made.finished:
            if trial.status == jaxhp.Status.COMPLETE:
                best.append(better([*best[-1:], trial.value]))
        assert line["y"] == [*best, best[-1]]


def test_failures_are_marked_at_the_bad_edge_where_they_happened() -> None:
    for made in (some_failed(), all_failed()):
        c = columns(made)
        figure = _figures.history(c, c.metrics[0], {})
        marks = next(t for t in figure["data"] if t["name"] == "failed")
        assert marks["x"] == [t.number for t in made.finished if t.status == jaxhp.Status.FAILED]
        axis = figure["layout"]["yaxis"]
        assert all(axis["range"][0] <= (math.log10(y) if axis.get("type") == "log" else y) <= axis["range"][1] for y in marks["y"])


def test_other_studies_are_drawn_beside() -> None:
    names = [t.get("name") for t in figures(report.html(usual(), against={"random search": usual(), "empty": empty()}))[0]["data"]]
    assert "best so far, random search" in names


def test_slices_have_one_axis_per_parameter_on_its_scale() -> None:
    made = usual()
    figure = _figures.slices(columns(made))
    axes = [figure["layout"][f"xaxis{'' if j == 0 else j + 1}"] for j in range(7)]
    assert [a["title"]["text"] for a in axes] == ["x", "rate", "n", "depth", "size", "kind", "m"]
    assert [a["type"] for a in axes] == ["linear", "log", "log", "linear", "category", "category", "linear"]
    assert axes[1]["range"][0] < -4 < 0 < axes[1]["range"][1]  # the whole space, so that a best at a bound is seen
    assert axes[3]["tickvals"] == [1, 2, 3]
    assert axes[4]["categoryarray"] == ["32", "64", "128"]
    momentum = figure["data"][6]["x"]
    assert momentum == [t.params.get("m") for t in made.finished]
    assert None in momentum


def test_inactive_parameters_have_their_own_tick_in_parallel_coordinates() -> None:
    made = usual()
    figure = _figures.parallel(columns(made))
    assert figure is not None
    *parameters, metric = figure["data"][0]["dimensions"]
    assert parameters[3]["ticktext"] == ["1", "2", "3"]
    momentum = parameters[6]
    at = dict(zip(momentum["ticktext"], momentum["tickvals"], strict=True))["inactive"]
    assert [v == at for v in momentum["values"]] == ["m" not in t.params for t in made.finished]
    assert at < 0.1
    assert np.allclose(parameters[1]["values"], [math.log10(t["rate"]) for t in made.finished])
    assert metric["label"] == "loss" and len(metric["values"]) == 30


def test_the_table_of_best_trials_is_in_order() -> None:
    made = usual()
    table = report.summary(made, top=5)[0]
    best = sorted(made.finished, key=lambda t: t.values["loss"])[:5]
    assert [row[0] for row in table.rows] == [str(t.number) for t in best]
    assert table.header == ["trial", "loss", "accuracy", "seconds", "configuration"]
    assert table.rows[0][4].startswith("x=") and "kind=" in table.rows[0][4]


def test_failures_are_counted_by_reason() -> None:
    table = report.summary(all_failed())[1]
    assert table.rows == [["8", "ValueError: </script><b>boom</b>", "0"]]


def test_the_pareto_front_comes_first() -> None:
    made = several()
    c = columns(made)
    assert {c.trials[i].number for i in c.front} == {t.number for t in made.pareto}
    assert set(c.ranked[: len(c.front)]) == set(c.front)
    assert all(c.complete[i] for i in c.ranked)


def test_names_and_errors_are_text_never_markup() -> None:
    name = "<img src=x onerror=alert(1)>"
    strange = Study(Space({name: Categorical(["<b>", "</script>"])}), sampler=jaxhp.random_search(), name=name)
    text = report.html(strange.optimize(lambda t: float(t.number), trials=3))
    text += report.html(all_failed())
    assert name not in text
    assert "<b>boom" not in text
    assert text.count("</script>") == 4  # two pages of two scripts


def drawn_curves(made: Study) -> dict[str, dict[int, list[tuple[float, float]]]]:
    """Name of the trace -> number -> points, read back from the gaps."""
    traces = _figures.curves(columns(made))["data"]
    found: dict[str, dict[int, list[tuple[float, float]]]] = {}
    for trace in traces:
        if "text" in trace:
            curves = found.setdefault(trace["name"], {})
            for text, x, y in zip(trace["text"], trace["x"], trace["y"], strict=True):
                points = curves.setdefault(int(text.split()[1]), [])
                if x is not None:
                    points.append((x, y))
    return found


def test_learning_curves_are_drawn_where_trials_reported() -> None:
    made = reported()
    curves = drawn_curves(made)
    best = f"best: trial {made.best.number}"
    assert list(curves) == ["trial", best]  # the best drawn last, in front
    assert sorted([*curves["trial"], *curves[best]]) == list(range(12))
    assert curves[best] == {made.best.number: [(step, loss(made.best) + 1.0 / (1 + step)) for step in range(3)]}


def test_stopped_trials_end_where_they_were_stopped_and_the_rungs_are_counted() -> None:
    made = stopped()
    rows = made.trials
    told = rows.status == jaxhp.Status.REPORTED
    ends = {t.number: rows.fidelity[told & (rows.number == t.number)].max() for t in made.finished}
    cut = {t.number for t in made.finished if t.status == jaxhp.Status.STOPPED}
    curves = drawn_curves(made)
    assert set(curves["stopped early"]) == cut and len(cut) > 10
    assert all(curve[-1][0] == ends[number] for number, curve in curves["stopped early"].items())
    dots = next(t for t in _figures.curves(columns(made))["data"] if t["name"] == "stopped here")
    assert sorted(dots["x"]) == sorted(ends[number] for number in cut)
    table = _tables.stops(columns(made))
    assert [row[0] for row in table.rows] == ["1", "3"]
    for row in table.rows:
        assert int(row[1]) == sum(end >= float(row[0]) for end in ends.values())
        assert int(row[2]) == sum(ends[number] == float(row[0]) for number in cut)
    assert table.title in report.html(made)
    assert not _tables.stops(columns(reported())).rows


def test_schedules_are_drawn_along_the_lineage_where_values_changed() -> None:
    made = population()
    drawn = figures(report.html(made))[-1]
    changed = [n for n in range(6) if len(made.schedule(n).steps) > 1]
    best = [trace for trace in drawn["data"] if trace["name"].startswith("best")]
    lines = [trace for trace in drawn["data"] if trace["name"] == "trial"]
    others = [n for n in changed if n != made.best.number]
    assert len(changed) >= 2 and len(best) == (made.best.number in changed) and len(lines) == 1
    x, y = lines[0]["x"], lines[0]["y"]
    assert x.count(None) >= len(others) and x.count(20) == x.count(None)
    first = made.schedule(others[0])
    assert any(y[i : i + len(first.steps)] == [p["rate"] for p in first.params] for i in range(len(y)))
    assert drawn["layout"]["yaxis"]["title"]["text"] == "rate"
    assert "Schedules" not in report.html(in_lanes())


def test_training_in_lanes_gives_the_same_figures_as_reports() -> None:
    made = in_lanes()
    curves = made.curves
    drawn = {number: curve for trace in drawn_curves(made).values() for number, curve in trace.items()}
    for number, curve in drawn.items():
        mine = curves["number"] == number
        assert curve == list(zip(curves["step"][mine].tolist(), curves["loss"][mine].tolist(), strict=True))
    assert len(drawn) == 12 and _tables.stops(columns(made)).rows


def test_curves_of_the_worst_are_left_out_where_there_are_too_many_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_figures, "_CURVE_POINTS", 15)
    made = reported()
    numbers = [curve.number for curve in _figures.shown_curves(columns(made))]
    assert numbers == [t.number for t in sorted(made.finished, key=loss)][:5]
    assert "The curves of 7 trials that did worst are left out." in report.html(made)


def surrogate(made: Study) -> dict[str, dict[str, Any]]:
    """The traces of each panel of the surrogate's figure, by name, under the parameter of its axis."""
    drawn = _surrogate.slices(columns(made), made.explain())
    assert drawn is not None
    panels: dict[str, dict[str, Any]] = {}
    for trace in drawn.figure["data"]:
        axis = drawn.figure["layout"][trace["xaxis"].replace("x", "xaxis")]
        panels.setdefault(axis["title"]["text"].split(" (")[0], {"axis": axis})[trace["name"]] = trace
    return panels


@pytest.mark.parametrize("make", [usual, maximised, some_failed])
def test_the_surrogate_is_drawn_along_every_active_parameter(make: Any) -> None:
    made = make()
    panels = surrogate(made)
    assert set(panels) == set(made.best.params)
    explanation = made.explain()
    assert list(panels) == [p.name for p in explanation.parameters if p.name in panels]  # the most relevant first
    band = panels["x"]
    along = explanation.slice("x")
    axis = _figures.value_axis(columns(made).metrics[0], columns(made).metrics[0].values[columns(made).complete]).layout
    floor = 10 ** axis["range"][0] if axis.get("type") == "log" else -math.inf  # a log axis has no place for what lies below
    for column, name in enumerate(("10 %", "median", "90 %")):
        assert band[name]["x"] == along.values and band[name]["y"] == np.maximum(along.quantiles[:, column], floor).tolist()
    assert band["90 %"]["fill"] == "tonexty"
    assert (band["best"]["x"], band["best"]["y"]) == ([made.best["x"]], [made.best.value])
    assert sorted(band["told"]["x"]) == sorted(t["x"] for t in made.finished if t.status == jaxhp.Status.COMPLETE)
    assert panels["rate"]["axis"]["type"] == "log" and panels["n"]["axis"]["type"] == "log"
    for name, choices in (("kind", ["a", "b", "None"]), ("size", ["32", "64", "128"])):
        bars = panels[name]["median"]
        assert bars["x"] == panels[name]["axis"]["categoryarray"] == choices
        quantiles = np.maximum(explanation.slice(name).quantiles, floor)
        np.testing.assert_allclose(bars["error_y"]["array"], quantiles[:, 2] - quantiles[:, 1], rtol=1e-12)


def test_only_the_most_relevant_parameters_are_drawn_and_the_others_said_to_be_left_out() -> None:
    wide = Study(Space({f"x{j}": Float(0.0, 1.0) for j in range(15)}), sampler=jaxhp.sobol())
    wide.optimize(lambda t: t["x14"] + 0.5 * t["x13"], trials=60)
    panels = surrogate(wide)
    assert len(panels) == 12 and list(panels)[:2] == ["x14", "x13"]
    drawn = _surrogate.slices(columns(wide), wide.explain())
    assert drawn is not None and "The 3 least relevant parameters are left out." in drawn.note
    assert "m" not in usual().best.params
    assert "Inactive in the best trial: m." in report.html(usual())


def test_a_page_without_a_surrogate_says_why() -> None:
    for make, why in ((several, "needs one objective and this study has 2"), (single, "tell at least 2 more"), (empty, "at least 3 more")):
        text = report.html(make())
        assert "What matters" in text and why in text and "Surrogate:" not in text
    text = report.html(usual())
    assert "What matters" in text and "Surrogate: loss along each parameter" in text and "No surrogate" not in text


@settings(derandomize=True, max_examples=200)
@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30), maximise=st.booleans())
def test_a_value_axis_is_finite_and_shows_the_best(values: list[float], maximise: bool) -> None:
    metric = Metric("loss", -1.0 if maximise else 1.0, True, np.array(values))
    axis = _figures.value_axis(metric, metric.values)
    low, high = axis.layout["range"]
    assert math.isfinite(low) and math.isfinite(high) and low < high and math.isfinite(axis.edge)
    best = min(1e300, max(-1e300, max(values) if maximise else min(values)))
    assert low <= (math.log10(best) if axis.layout.get("type") == "log" else best) <= high


def test_a_few_terrible_values_do_not_flatten_the_rest() -> None:
    values = np.append(np.linspace(-1.0, 1.0, 50), [1e12, 1e9])
    axis = _figures.value_axis(Metric("loss", 1.0, True, values), values)
    assert axis.clipped and axis.layout["range"][1] < 10.0


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = report.write(single(), tmp_path / "report.html")
    before = path.read_text()
    assert before.startswith("<!doctype html>")
    with pytest.raises(StorageError, match="cannot write"):
        report.write(single(), tmp_path / "missing" / "report.html")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(StorageError, match="No space left"):
        report.write(usual(), path)
    assert path.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_without_plotly_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(MissingExtra, match=r"jaxhp\[plot\]"):
        report.html(single())
