"""The report's tables, as texts, for HTML and for a terminal."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxhp._types import Status
from jaxhp.errors import StudyError
from jaxhp.report._columns import Columns

if TYPE_CHECKING:
    from jaxhp.study import Study


class Table(NamedTuple):
    """A table of texts: one header, rows of the same length, a note below."""

    title: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""


def best(c: Columns, top: int = 20) -> Table:
    """The best complete trials, best first."""
    ranked = c.ranked[:top]
    told = list(dict.fromkeys([m.name for m in c.metrics] + [k for i in ranked for k in c.trials[i].values]))
    names = [p.name for p in c.parameters]
    rows = []
    for i in ranked:
        t = c.trials[i]
        values = [number(t.values[k]) if k in t.values else "" for k in told]
        rows.append([str(t.number), *values, *(shown(t.params[k]) if k in t.params else "-" for k in names), number(t.seconds)])
    title = "Pareto front and best trials" if len(c.objectives) > 1 else "The best trials"
    return Table(title, ["trial", *told, *names, "seconds"], rows, "" if rows else "None is complete yet.")


def compact(c: Columns, top: int) -> Table:
    """`best` for a terminal: all parameters of a trial in one column."""
    wide = best(c, top)
    first = wide.header.index("seconds") - len(c.parameters)
    rows = [
        [*row[:first], row[-1], ", ".join(f"{k}={shown(v)}" for k, v in c.trials[i].params.items())]
        for row, i in zip(wide.rows, c.ranked, strict=False)
    ]
    return Table(wide.title, [*wide.header[:first], "seconds", "configuration"], rows, wide.note)


def stops(c: Columns, most: int = 12) -> Table:
    """Where trials were stopped early: the rungs of a scheduler; no rows where none was stopped."""
    metric = c.metrics[0]
    status = {t.number: t.status for t in c.trials}
    stopped = Counter(float(curve.steps[-1]) for curve in c.curves if status.get(curve.number) == Status.STOPPED)
    rows = []
    for step, count in sorted(stopped.most_common(most)):
        seen = np.array([curve.values[curve.steps >= step][0] for curve in c.curves if curve.steps[-1] >= step])
        finite = metric.sign * seen[np.isfinite(seen)]
        lowest, middle = (number(metric.sign * float(f(finite))) if len(finite) else "" for f in (np.min, np.median))
        rows.append([f"{step:g}", str(len(seen)), str(count), lowest, middle])
    header = ["step", "trials that came here", "stopped here", f"best {metric.name} here", f"median {metric.name} here"]
    others = len(stopped) - len(rows)
    return Table("Stopped early", header, rows, f"{others} more steps at which fewer trials were stopped are left out." if others else "")


def gradients(c: Columns, most: int = 20) -> Table:
    """What was told with slopes, and which of them a guard replaced or gave up, and why; no rows where none was."""
    told = Counter(name for t in c.trials for name in t.gradient)
    kinds = Counter((name, words) for t in c.trials for name, words in t.guard.items())
    rows = [[name, str(told[name]), str(count), words] for (name, words), count in kinds.most_common(most)]
    note = f"{sum(bool(t.gradient) for t in c.trials)} trials were told with the slopes of {len(told)} parameter{'s' * (len(told) > 1)}."
    note += "" if rows else " None was suspect."
    if len(kinds) > len(rows):
        note += f" {len(kinds) - len(rows)} rarer kinds are left out."
    return Table("Gradients", ["parameter", "told", "of these", "what their guard did"], rows, note if told else "")


def held_out(study: Study) -> Table:
    """Validation beside test: the configurations that `Study.test` looked at; no rows where it was not asked."""
    seen = {(r["split"], r["number"], repr(r["params"])): r for r in study._fold.tested}
    finished = {t.number: t for t in study.finished}
    rows = []
    for (split, of_trial, params), record in seen.items():
        before = finished[of_trial].values if of_trial is not None else {}
        what = params if of_trial is None else f"trial {of_trial}"
        for name, value in record["values"].items():
            then = number(before[name]) if name in before else ""
            rows.append([what, name, then, number(float(value)), split, str(record["repeats"])])
    header = ["configuration", "metric", "told", "held out", "split", "trainings"]
    note = "A test value that is much worse than the validation value says how far the search has fitted the validation set."
    return Table("Validation beside test", header, rows, note if rows else "")


def failures(c: Columns) -> Table:
    """Failures by their last line, most frequent first."""
    kinds: Counter[str] = Counter()
    example: dict[str, int] = {}
    for trial in c.trials:
        if trial.error is not None:
            reason = trial.error.strip().splitlines()[-1] if trial.error.strip() else "no reason given"
            kinds[reason] += 1
            example.setdefault(reason, trial.number)
    rows = [[str(count), reason[:300], str(example[reason])] for reason, count in kinds.most_common(20)]
    return Table("Failures", ["trials", "reason", "first in trial"], rows)


def outlook(study: Study) -> list[Table]:
    """What further trials would bring; nothing where there is no forecast."""
    try:
        forecast = study.forecast()
    except StudyError:  # several metrics, or too few results: there is nothing to say
        return []
    facts = ". ".join(f"{label}: {text}" for label, text in forecast.facts().items())
    return [Table(f"{forecast.more} more trials", [], [], f"{facts}.")]


def number(value: float) -> str:
    """A number as a reader wants it: four significant digits."""
    return f"{value:.4g}"


def shown(value: Any) -> str:
    """A parameter's value as text."""
    return number(value) if isinstance(value, float) else str(value)
