"""Commands that read a database and change nothing: list, show, best, plot, export."""

from __future__ import annotations

import csv
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO, TypeAlias

import typer
from rich.markup import escape

from jaxhp._types import Status
from jaxhp.cli._console import err, number, out, print_best, print_table, print_trial, write_report
from jaxhp.cli._database import existing, opened_study
from jaxhp.errors import StorageError, StudyError

if TYPE_CHECKING:
    from jaxhp.study import Study

Storage: TypeAlias = Annotated[str, typer.Argument(help="Database file or URL, such as digits.db.", show_default=False)]
Name: TypeAlias = Annotated[str | None, typer.Option("--study", help="Which study, where the database holds several.")]


def list_studies(storage: Storage) -> None:
    """Lists the studies of a database."""
    from jaxhp.report import Table
    from jaxhp.storage import open_log
    from jaxhp.study import Study

    log = open_log(existing(storage))
    rows = []
    for name in log.studies():
        study = Study.open(log, name)
        finished, front = study.finished, study.pareto
        failed = sum(t.error is not None for t in finished)
        metrics = ", ".join(o.name for o in study.outcomes)
        best = ", ".join(number(front[0].values[o.name]) for o in study.outcomes) if front else "-"
        stopped = sum(t.status == Status.STOPPED for t in finished)
        rows.append([name, metrics, *map(str, (len(finished), failed, stopped, len(study.running))), best, study.sampler])
    header = ["study", "metric", "finished", "failed", "stopped", "running", "best", "sampler"]
    print_table(Table(log.url, header, rows, "" if rows else "No study yet."))


def show(
    storage: Storage,
    study: Name = None,
    top: Annotated[int, typer.Option(min=1, help="How many of the best trials.")] = 10,
    trial: Annotated[int | None, typer.Option(min=0, help="Show this one trial, with its error if it failed.")] = None,
) -> None:
    """Shows a study: its space, its best trials, its failures."""
    from jaxhp import report

    opened = opened_study(storage, study)
    if trial is not None:
        print_trial(opened, trial)
        return
    scheduler = f", scheduler {escape(opened.scheduler)}" if opened.scheduler is not None else ""
    out.print(
        f"[bold]{escape(opened.name)}[/] in {escape(opened.storage)}: sampler {escape(opened.sampler)}{scheduler}, seed {opened.seed}"
    )
    out.print(escape(str(opened.space)))
    for table in report.summary(opened, top):
        out.print()
        print_table(table)


def best(
    storage: Storage, study: Name = None, as_json: Annotated[bool, typer.Option("--json", help="As JSON: number, values, params.")] = False
) -> None:
    """Prints the best configuration; of several objectives, the Pareto front."""
    opened = opened_study(storage, study)
    front = opened.pareto
    if not front:
        raise StudyError(f"study {opened.name!r} has no complete trial yet ({len(opened.finished)} finished)")
    several = sum(o.threshold is None for o in opened.outcomes) > 1
    trials = front if several else [opened.best]
    if as_json:
        found = [{"number": t.number, "values": t.values, "params": t.params} for t in trials]
        print(json.dumps(found if several else found[0], indent=2, default=str))
        return
    for t in trials:
        print_best(t, "Pareto front" if several else "Best configuration")


def plot(
    storage: Storage,
    study: Name = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="The HTML file.")] = Path("report.html"),
) -> None:
    """Writes the HTML report of a study."""
    write_report(opened_study(storage, study), output)


def export(
    storage: Storage,
    study: Name = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values, one line per trial.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list of objects.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A file instead of standard output.")] = None,
) -> None:
    """Exports every finished trial."""
    if as_csv == as_json:
        raise StudyError("say which format: --csv or --json")
    opened = opened_study(storage, study)
    if output is None:
        _export(opened, as_csv, sys.stdout)
        return
    try:
        with output.open("w", encoding="utf-8", newline="") as file:
            _export(opened, as_csv, file)
    except OSError as e:
        raise StorageError(f"cannot write {output}: {e.strerror}; name another file") from e
    err.print(f"{len(opened.finished)} trials written to {escape(str(output))}")


def _export(study: Study, as_csv: bool, file: TextIO) -> None:
    trials = study.finished
    if as_csv:
        names = study.space.names
        metrics = dict.fromkeys([o.name for o in study.outcomes] + [k for t in trials for k in t.values])
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["number", "status", *(f"params.{n}" for n in names), *(f"values.{n}" for n in metrics), "seconds", "error"])
        for t in trials:
            params = [t.params.get(n, "") for n in names]
            writer.writerow([t.number, t.status.name.lower(), *params, *(t.values.get(n, "") for n in metrics), t.seconds, t.error or ""])
        return
    rows = [
        {"number": t.number, "status": t.status.name.lower(), "params": t.params}
        | {"values": {k: v if math.isfinite(v) else str(v) for k, v in t.values.items()}}
        | {"seconds": t.seconds if math.isfinite(t.seconds) else None, "error": t.error}
        for t in trials
    ]
    json.dump(rows, file, indent=1, default=str)
    file.write("\n")
