"""What every way to train checks and decides at its door: in lanes (`_train.py`) and in parts (`_parts.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jaxhp import _owner
from jaxhp._arguments import is_real
from jaxhp._types import Record, Scheduler
from jaxhp.errors import StudyError

if TYPE_CHECKING:
    from jaxhp.study import Study


def check_counts(counts: Mapping[str, Any]) -> None:
    """Refuses what is no positive integer, by name.

    Raises:
        StudyError: naming it.
    """
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise StudyError(f"{name}: expected a positive integer{' or `auto`' if name == 'lanes' else ''}, got {value!r}")


def check_course(trials: int | None, steps: int | None, every: int | None, scheduler: Any, callbacks: Any, timeout: Any) -> None:
    """Refuses a course of training that has no end or makes no sense.

    Raises:
        StudyError: naming the argument, the value and the remedy.
    """
    if trials is None and timeout is None:
        raise StudyError("trials: how many? Pass trials=, timeout=, or both")
    check_seconds("timeout", timeout)
    if steps is not None and every is not None and every > steps:
        raise StudyError(f"evaluate_every={every} is beyond steps={steps}; a full run is never evaluated")
    if scheduler is not None and not isinstance(scheduler, Scheduler):
        raise StudyError(
            f"scheduler: expected a jaxhp scheduler such as jaxhp.asha(), got {scheduler!r}; is a pair of parentheses missing?"
        )
    if not isinstance(callbacks, Sequence) or isinstance(callbacks, str):
        raise StudyError(f"callbacks: expected a list of functions of (study, progress), got {callbacks!r}")
    for callback in callbacks:
        if not callable(callback):
            raise StudyError(f"callbacks: expected functions of (study, progress), got {callback!r}")


def check_seconds(name: str, seconds: Any) -> None:
    """Refuses what is no time.

    Raises:
        StudyError: naming it.
    """
    if seconds is not None and (not is_real(seconds) or not seconds >= 0):
        raise StudyError(f"{name}: expected a number of seconds, got {seconds!r}")


def check_free(study: Study, run: Record, places: str) -> None:
    """Refuses to train what another process that lives is training; of one on another host, it may take a minute to know.

    Raises:
        StudyError: naming the other process.
    """
    holds = any(owner == run["owner"] for owner, _ in study._fold.owner.values())  # trials, in a place or waiting for one
    if run["owner"] != _owner.owner() and holds and not _owner.gone(run["owner"]) and not study._session.outlived(run["owner"]):
        raise StudyError(f"study {study.name!r} is being trained by {run['owner']}; wait for it or stop it: two cannot share {places}")


def folder_of(study: Study, given: str | Path | None, suffix: str) -> Path | None:
    """Where a study's weights are saved: in a folder of its name in the one given, or beside its SQLite file; None where there is none."""
    name = quote(study.name, safe=" ")
    if given is not None:
        return Path(given) / name
    scheme, _, path = study.storage.partition("///")
    return Path(f"{path}.{name}.{suffix}") if scheme == "sqlite:" and path else None


def usual_segment(steps: int) -> int:
    """How many steps lie between two reports of a run of so many, unless the user says it."""
    return -(-steps // 20)


def settings(study: Study, logged: Record | None, steps: int | None, segment: int | None, seeds: int | None) -> tuple[int, int, int]:
    """(steps, segment, seeds) of this run: what was recorded must not change.

    Raises:
        StudyError: one of them differs from what the study trains with, or none was ever given.
    """
    given = {"steps": steps, "segment": segment, "seeds": seeds}
    if logged is not None:
        for name, value in given.items():
            if value is not None and value != logged[name]:
                shown = "evaluate_every" if name == "segment" else name
                raise StudyError(
                    f"{shown}={value}: study {study.name!r} trains with {shown}={logged[name]}; "
                    "leave it out, or use another name for the study"
                )
        return logged["steps"], logged["segment"], logged["seeds"]
    if steps is None:
        raise StudyError("steps: how many steps is a full run? Pass steps=...")
    return steps, segment if segment is not None else usual_segment(steps), seeds if seeds is not None else 1
