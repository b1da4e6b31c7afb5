"""What the commands print: tables, configurations and errors, through rich."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich.box
import rich.table
from rich.console import Console
from rich.markup import escape

from jaxhp.errors import StudyError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxhp.report import Table
    from jaxhp.study import Study
    from jaxhp.trial import Trial

out = Console(highlight=False, soft_wrap=True)  # results
err = Console(highlight=False, soft_wrap=True, stderr=True)  # errors, and what became of an interrupted run


def number(value: float) -> str:
    """Six significant digits."""
    return f"{value:.6g}"


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return cell in ("", "-")
    return True


def print_table(table: Table) -> None:
    """A table of the report, for a terminal."""
    shown = rich.table.Table(title=escape(table.title), title_justify="left", title_style="bold", box=rich.box.SIMPLE_HEAD)
    for i, name in enumerate(table.header):
        numeric = all(_is_number(row[i]) for row in table.rows)
        shown.add_column(escape(name), overflow="fold", justify="right" if numeric else "left", no_wrap=numeric)
    for row in table.rows:
        shown.add_row(*map(escape, row))
    if table.rows:
        (out if out.is_terminal else Console(file=out.file, width=1000)).print(shown)  # a file or a pipe has no edge to fold at
    if table.note:
        out.print(escape(table.note))


def print_best(trial: Trial, title: str) -> None:
    """A configuration, one parameter per line."""
    values = ", ".join(f"{k} {number(v)}" for k, v in trial.values.items())
    out.print(f"[bold]{escape(title)}[/] (trial {trial.number}{': ' if values else ''}{escape(values)})")
    width = max(map(len, trial.params), default=0)
    for k, v in trial.params.items():
        out.print(f"  {escape(k.ljust(width))}  [cyan]{escape(number(v) if isinstance(v, float) else str(v))}[/]")


def print_trial(study: Study, wanted: int) -> None:
    """One trial, with its error.

    Raises:
        StudyError: the study has no such trial.
    """
    trial = next((t for t in [*study.finished, *study.running] if t.number == wanted), None)
    if trial is None:
        raise StudyError(f"study {study.name!r} has no trial {wanted}; it has asked {len(study.finished) + len(study.running)}")
    print_best(trial, trial.status.name.lower())
    if trial.error:
        out.print(escape(trial.error.rstrip()))


def write_report(study: Study, path: Path, against: Mapping[str, Study] | None = None, tables: Sequence[Table] = ()) -> None:
    """Writes the HTML report and says where."""
    from jaxhp import report

    report.write(study, path, against=against, tables=tables)
    out.print(f"Report: {escape(str(path))}")
