"""How training in lanes is followed: trials that began, occupied lanes, steps a second, the best, and how many stand at each rung."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from rich import progress
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from jaxhp.cli._console import number
from jaxhp.cli._database import location

if TYPE_CHECKING:
    from jaxhp._training import Progress
    from jaxhp.study import Study

Told: TypeAlias = Callable[["Study", "Progress"], None]
Shown: TypeAlias = Callable[["Progress"], None]

_SECONDS = 10.0  # between lines of a log
_RUNGS = 8  # steps that a line can name


@contextmanager
def watching(console: Console, study: Study, total: int, label: str, compiles: bool = True) -> Iterator[Told]:
    """Yields a callback for `Study.train`; `compiles`: nothing is seen for a while."""
    trials = study.trials
    begun = len(set(trials.number[trials.number >= 0].tolist()))
    done = len(study.finished)
    if begun:
        kept = f"all {done} trials are" if done >= total else f"going on, {begun} trials are"
        console.print(f"{escape(label)}: {kept} in {escape(study.storage)}")
    if done < total and compiles:
        console.print(f"{escape(label)}: compiling ...")
    metric = study.outcomes[0].name
    with (_live if console.is_terminal else _lines)(console, metric, total, label) as shown:
        failed = 0

        def told(study: Study, progress: Progress) -> None:
            nonlocal failed
            if progress.failed and not failed:
                console.print(f"Some trials diverged; to see why: jaxhp show {escape(location(study))}")
            failed = progress.failed
            shown(progress)

        yield told


def summary(p: Progress, metric: str) -> str:
    """Lanes, speed, the best and failures, in a line."""
    texts = [f"{p.busy}/{p.lanes} lanes", f"{p.steps_per_second:,.0f} steps/s"]
    if p.best is not None:
        texts.append(f"best {metric} {number(p.best)}")
    if p.failed:
        texts.append(f"{p.failed} failed")
    return ", ".join(texts)


def rungs(p: Progress) -> str:
    """How many unfinished trials stand at each step."""
    steps = list(p.standing.items())
    most = sorted(sorted(steps, key=lambda item: -item[1])[:_RUNGS])
    named = [f"{count} at {step}" for step, count in most]
    others = sum(p.standing.values()) - sum(count for _, count in most)
    return ", ".join(named + ([f"{others} elsewhere"] if others else [])) or "nobody"


@contextmanager
def _live(console: Console, metric: str, total: int, label: str) -> Iterator[Shown]:
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=24),
        progress.MofNCompleteColumn(),
        progress.TextColumn("begun, {task.fields[done]} finished, {task.fields[summary]}"),
        progress.TimeElapsedColumn(),
    )
    bar = progress.Progress(*columns, console=console)
    task = bar.add_task(escape(label), total=total, done=0, summary="")
    standing = Text("", style="dim")

    def shown(p: Progress) -> None:
        bar.update(task, completed=p.asked, done=p.finished, summary=escape(summary(p, metric)))
        standing.plain = f"  standing: {rungs(p)}"

    with Live(Group(bar, standing), console=console, refresh_per_second=5):
        yield shown


@contextmanager
def _lines(console: Console, metric: str, total: int, label: str) -> Iterator[Shown]:
    """A line for every tenth of the trials that began or ended, or after ten seconds."""
    last, tenth = time.monotonic(), -1

    def shown(p: Progress) -> None:
        nonlocal last, tenth
        now, reached = time.monotonic(), 5 * (p.asked + p.finished) // total
        if reached == tenth and now - last < _SECONDS:
            return
        last, tenth = now, reached
        console.print(
            f"{escape(label)}: {p.asked}/{total} trials begun, {p.finished} finished, {escape(summary(p, metric))}; standing: {rungs(p)}"
        )

    yield shown
