"""`jaxhp tune FILE`: search, compare, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from jaxhp.cli._console import err, out, print_best, print_table, write_report
from jaxhp.cli._database import RANDOM, location, url

FAILED, INTERRUPTED = 1, 130

_TRIALS = 100


def _option(text: str, metavar: str, default: str = "", **more: Any) -> Any:
    """An option whose default, where it is not a constant, is told in words."""
    return typer.Option(help=f"{text} [dim]\\[default: {default}][/]" if default else text, metavar=metavar, **more)


def tune(
    file: Annotated[
        Path, typer.Argument(help="A Python file that defines `space`, and `objective(trial)` or `trainable`.", show_default=False)
    ],
    trials: Annotated[int | None, _option("Trials that the study shall hold in all.", "N", f"the file's, else {_TRIALS}", min=1)] = None,
    timeout: Annotated[float | None, _option("Seconds after which no new trial starts.", "S")] = None,
    trial_timeout: Annotated[float | None, _option("Seconds after which a trial counts as failed.", "S")] = None,
    workers: Annotated[int, _option("Threads that run trials side by side.", "N", min=1)] = 1,
    lanes: Annotated[str | None, _option("Configurations of a trainable that train at once.", "N", "the file's, else auto")] = None,
    objective: Annotated[bool, typer.Option("--objective", help="Call the file's objective although it has a trainable.")] = False,
    sampler: Annotated[str | None, _option("auto, random_search, sobol, ... by name.", "NAME", "the file's, else auto")] = None,
    scheduler: Annotated[
        str | None, _option("none, asha, successive_halving, hyperband, median_stopping, pbt or pb2.", "NAME", "the file's, else none")
    ] = None,
    seed: Annotated[int | None, _option("Names every random draw.", "N", "0", min=0)] = None,
    storage: Annotated[str | None, _option("Database file or URL.", "DB", "stem of FILE + .db, here")] = None,
    name: Annotated[str | None, _option("Of the study in its database.", "NAME", "stem of FILE")] = None,
    compare: Annotated[
        bool | None,
        typer.Option("--compare/--no-compare", help="Also search at random, with as many trials. [dim]\\[default: the file's][/]"),
    ] = None,
    report: Annotated[Path, _option("Where the HTML report goes.", "PATH")] = Path("report.html"),
    no_report: Annotated[bool, typer.Option("--no-report", help="Write no report.")] = False,
) -> None:
    """Searches for good hyperparameters. Interrupt it and run it again: it goes on where it stopped."""
    from jaxhp.cli import _comparison, _search, _userfile
    from jaxhp.samplers import random_search
    from jaxhp.samplers._named import named_sampler
    from jaxhp.study import Study

    asked = _userfile.load(file)
    database = url(storage or f"{file.stem}.db")
    total = trials or asked.trials or _TRIALS
    chosen = named_sampler(sampler) if sampler else asked.sampler
    compare = asked.compare if compare is None else compare
    if asked.trainable is None or objective:
        search = _search.black_box(asked, scheduler, workers, timeout, trial_timeout, lanes)
    else:
        search = _search.in_lanes(asked, scheduler, lanes, timeout, workers, trial_timeout)
    identity: dict[str, Any] = {"storage": database, "name": name or file.stem, "seed": seed}
    study = Study(asked.space, sampler=chosen, scheduler=search.scheduler, **identity, **asked.arguments)
    random = None
    if asked.space.has_defaults and asked.space.feasible(asked.space.default()[None])[0] and not study.finished and not study.running:
        study.enqueue(asked.space.default_params())  # what is to be beaten comes first, whatever the sampler
    try:
        search.run(study, total, study.name)
        if len(study.finished) < total and timeout is None:
            out.print(f"{escape(study.name)}: the space has no further configurations; {len(study.finished)} trials tried them all.")
        if compare:
            # Another seed, because samplers may start with random points, too.
            identity |= {"name": study.name + RANDOM, "seed": (study.seed + 1) % (1 << 63)}
            random = Study(asked.space, sampler=random_search(), scheduler=search.beside, **identity, **asked.arguments)
            search.run(random, search.as_much(study), "random search")
        entries = _comparison.compare(study, random, search.test(study))
    except KeyboardInterrupt:
        safe = search.safe(study) + (search.safe(random) if random is not None else 0)
        err.print(f"\nInterrupted. {safe} trials are safe in {escape(study.storage)}; run the same command to go on.")
        raise typer.Exit(INTERRUPTED) from None
    summary = _comparison.table(entries)
    out.print()
    print_table(summary)
    best = _comparison.best(study)
    if best is not None:
        print_best(best, "Best configuration")
    if not no_report:
        write_report(study, report, {"random search": random} if random is not None else {}, [summary])
    if best is None:
        err.print(f"[red]error:[/] none of the {len(study.finished)} trials completed; see why with: jaxhp show {escape(location(study))}")
        raise typer.Exit(FAILED)
