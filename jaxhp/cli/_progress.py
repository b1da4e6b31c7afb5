"""How a search is followed: a rich bar on a terminal, a line now and then in a log file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeAlias

from rich import progress
from rich.console import Console
from rich.markup import escape

from jaxhp.cli._console import number
from jaxhp.cli._database import location
from jaxhp.errors import StudyError

if TYPE_CHECKING:
    from jaxhp.study import Study
    from jaxhp.trial import Trial

Told: TypeAlias = Callable[["Study", "Trial"], None]

_FAILURES_SHOWN = 3
_SECONDS = 10.0  # between lines of a log


class Tally:
    """Finished trials, the best value and failures, counted as they come; a study of 100,000 trials is read once."""

    def __init__(self, study: Study, total: int) -> None:
        finished = study.finished
        self.total = total
        self.done = len(finished)
        self.failed = sum(t.error is not None for t in finished)
        self._objectives = [o for o in study.outcomes if o.threshold is None]
        self._best: Trial | None = None
        self._look(study)

    def add(self, study: Study, trial: Trial) -> None:
        """Counts one more."""
        self.done += 1
        if trial.error is not None:
            self.failed += 1
        else:
            self._look(study)

    def _look(self, study: Study) -> None:
        if len(self._objectives) == 1:
            with suppress(StudyError):  # none meets the constraints yet
                self._best = study.best_observed

    def __str__(self) -> str:
        texts = []
        if self._best is not None:
            name = self._objectives[0].name
            texts.append(f"best {name} {number(self._best.values[name])} (trial {self._best.number})")
        if self.failed:
            texts.append(f"{self.failed} failed")
        return ", ".join(texts)


@contextmanager
def following(console: Console, study: Study, total: int, label: str) -> Iterator[Told]:
    """Yields a callback for `Study.optimize`."""
    tally = Tally(study, total)
    if tally.done:
        kept = f"all {tally.done} trials are" if tally.done >= total else f"going on, {tally.done} trials are"
        console.print(f"{escape(label)}: {kept} in {escape(study.storage)}")
    with (_bar if console.is_terminal else _lines)(console, tally, label) as shown:
        complaints = _FAILURES_SHOWN

        def told(study: Study, trial: Trial) -> None:
            nonlocal complaints
            tally.add(study, trial)
            if trial.error is not None and complaints:
                complaints -= 1
                console.print(f"[yellow]trial {trial.number} failed:[/] {escape(_reason(trial.error))}")
                if not complaints:
                    console.print(f"Later failures are counted only; to see one: jaxhp show {escape(location(study))} --trial N")
            shown()

        yield told


@contextmanager
def _bar(console: Console, tally: Tally, label: str) -> Iterator[Callable[[], None]]:
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=24),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[best]}"),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TimeRemainingColumn(compact=True),
        progress.TextColumn("left"),
    )
    with progress.Progress(*columns, console=console) as bar:
        task = bar.add_task(escape(label), total=tally.total, completed=tally.done, best=escape(str(tally)), rate="")

        def shown() -> None:
            speed = bar.tasks[0].speed
            rate = "" if not speed else f"{speed:.1f} trials/s" if speed >= 1 else f"{1 / speed:.1f} s/trial"
            bar.update(task, completed=tally.done, best=escape(str(tally)), rate=rate)

        yield shown


@contextmanager
def _lines(console: Console, tally: Tally, label: str) -> Iterator[Callable[[], None]]:
    """A line for every tenth of the work, or after ten seconds."""
    start = last = time.monotonic()
    before, every = tally.done, max(1, tally.total // 10)

    def shown() -> None:
        nonlocal last
        now = time.monotonic()
        if tally.done % every and tally.done != tally.total and now - last < _SECONDS:
            return
        last = now
        each = (now - start) / max(1, tally.done - before)
        left = each * max(0, tally.total - tally.done)
        console.print(f"{escape(label)}: {tally.done}/{tally.total} trials, {escape(str(tally))}, {each:.2g} s/trial, {left:.0f} s left")

    yield shown


def _reason(error: str) -> str:
    """The last lines of a traceback: where in the user's code, and what."""
    lines = error.strip().splitlines()
    place = next((line.strip() for line in reversed(lines) if line.strip().startswith("File ")), "")
    return f"{lines[-1]}  ({place})" if place else lines[-1]
