"""The report's tables, as texts, for HTML and for a terminal."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

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
