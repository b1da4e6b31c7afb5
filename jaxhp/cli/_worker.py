"""`jaxhp worker`: one of any number of processes on one study; and `stop`, `pause`, `resume`, which reach all of them through its log."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from jaxhp.cli._console import err, out
from jaxhp.cli._database import existing, opened_study, url
from jaxhp.cli._read import Name, Storage
from jaxhp.cli._tune import INTERRUPTED
from jaxhp.errors import StudyError

if TYPE_CHECKING:
    from jaxhp._types import Sampler
    from jaxhp.cli._userfile import UserFile
    from jaxhp.study import Study


def worker(
    storage: Storage,
    file: Annotated[Path, typer.Argument(help="A Python file that defines `space` and `objective(trial)`.", show_default=False)],
    study: Annotated[str | None, typer.Option("--study", help="Which study. [dim]\\[default: the only one, else stem of FILE][/]")] = None,
    create: Annotated[bool, typer.Option("--create", help="Found the study where there is none.")] = False,
    workers: Annotated[int, typer.Option(help="Threads that run trials side by side.", metavar="N", min=1)] = 1,
    trials: Annotated[
        int | None,
        typer.Option(
            help="Trials that the study shall hold in all. [dim]\\[default: the file's, else until stopped][/]", metavar="N", min=1
        ),
    ] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds after which no new trial starts.", metavar="S")] = None,
    trial_timeout: Annotated[float | None, typer.Option(help="Seconds after which a trial counts as failed.", metavar="S")] = None,
    retry: Annotated[int, typer.Option(help="How often a failed configuration is run again.", metavar="N", min=0)] = 0,
    max_failed: Annotated[float, typer.Option(help="Stop when more than this share of trials fails.", metavar="SHARE")] = 0.5,
) -> None:
    """Works on a study beside any number of other processes. Start it as often as you like, on any machine that reaches the storage."""
    from jaxhp.cli import _userfile

    asked = _userfile.load(file)
    if asked.objective is None:
        raise StudyError(f"{file} does not define `objective`; a trainable has one process: jaxhp tune {file} --storage {storage}")
    found = _found(asked, storage, study, create, retry)
    signal.signal(signal.SIGTERM, _interrupted)  # what schedulers of clusters send: the running trials are given back
    told: list[int] = []
    try:
        found.optimize(
            asked.objective,
            trials=trials or asked.trials,
            timeout=timeout,
            workers=workers,
            trial_timeout=trial_timeout,
            max_failed=max_failed,
            callbacks=[lambda study, trial: told.append(trial.number)],
        )
    except KeyboardInterrupt:
        err.print(f"\nInterrupted. This worker's {len(told)} results are safe; what it was running is given back to the others.")
        raise typer.Exit(INTERRUPTED) from None
    why = f"; the study was stopped (jaxhp resume {escape(storage)})" if found.halted == "stop" else ""
    out.print(f"{escape(found.name)}: {len(told)} trials run here, {len(found.finished)} finished in all{why}.")


def stop(storage: Storage, study: Name = None) -> None:
    """Stops a study: every process finishes its running trials and starts no further one."""
    opened = opened_study(storage, study)
    opened.stop()
    out.print(f"{escape(opened.name)}: stopped, {len(opened.running)} trials still run. `jaxhp resume` lets it go on.")


def pause(storage: Storage, study: Name = None) -> None:
    """Pauses a study: every process waits when its running trials are finished."""
    opened = opened_study(storage, study)
    opened.pause()
    out.print(f"{escape(opened.name)}: paused, {len(opened.running)} trials still run. `jaxhp resume` lets it go on.")


def resume(storage: Storage, study: Name = None) -> None:
    """Lets a study go on that was stopped or paused. Processes that a stop has ended must be started again."""
    opened = opened_study(storage, study)
    opened.resume()
    out.print(f"{escape(opened.name)}: goes on.")


def _found(asked: UserFile, storage: str, name: str | None, create: bool, retry: int) -> Study:
    """The study to work on.

    Raises:
        StudyError: there is none, and it is not to be founded; or its sampler cannot be made again from its name.
    """
    from jaxhp._header import existing as named
    from jaxhp.storage import open_log
    from jaxhp.study import Study

    log = open_log(url(storage) if create else existing(storage))
    names = log.studies()
    name = name or (names[0] if len(names) == 1 else asked.path.stem)
    arguments: dict[str, Any] = {**asked.arguments, "retry": retry}
    if asked.scheduler is not None:
        from jaxhp.cli._userfile import named_scheduler

        arguments["scheduler"] = named_scheduler(asked.scheduler, None) if isinstance(asked.scheduler, str) else asked.scheduler
    if name in names or not create:
        name = named(log, name)
        arguments["sampler"] = asked.sampler or _sampler(log.read(name), asked.path)
    else:
        arguments["sampler"] = asked.sampler
    return Study(asked.space, storage=log, name=name, **arguments)


def _sampler(records: list[dict[str, Any]], path: Path) -> Sampler:
    """The study's own sampler, from its name in the log."""
    from jaxhp.samplers._named import named_sampler

    name = next(record["sampler"] for record in reversed(records) if record["kind"] in ("study", "sampler"))
    plain = re.fullmatch(r"(\w+)\(\)", name)
    if plain is None:
        raise StudyError(f"the study's sampler is {name}; {path} must make the same one: sampler = jaxhp.{name}")
    return named_sampler(plain[1])


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt
