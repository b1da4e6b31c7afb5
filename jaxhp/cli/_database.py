"""Finding a study: databases by file or URL, studies by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jaxhp.errors import StorageError, StudyError

if TYPE_CHECKING:
    from jaxhp.storage import Log
    from jaxhp.study import Study

RANDOM = "-random"  # ends the name of the study that `tune --compare` runs beside another


def url(storage: str) -> str:
    """A URL, also for the path of a SQLite file."""
    return storage if "://" in storage else f"sqlite:///{storage}"


def existing(storage: str) -> str:
    """The URL of a database that must be there already.

    Raises:
        StorageError: there is no such file.
    """
    location = url(storage)
    path = location.removeprefix("sqlite:///")
    if path != location and not Path(path).is_file():
        raise StorageError(f"there is no database {path}; `jaxhp tune FILE` writes one, and `jaxhp worker --create` does")
    return location


def opened_study(storage: str, name: str | None) -> Study:
    """The study named, or the only one; random searches that `tune --compare` ran beside their study do not count.

    Raises:
        StudyError: no such study, or several and no name. StorageError: no such database.
    """
    from jaxhp.storage import open_log
    from jaxhp.study import Study

    log = open_log(existing(storage))
    return Study.open(log, chosen(log, name))


def chosen(log: Log, name: str | None) -> str:
    """The name of the study that `opened_study` opens.

    Raises:
        StudyError: no such study, or several and no name.
    """
    names = log.studies()
    proper = [n for n in names if not (n.endswith(RANDOM) and n.removesuffix(RANDOM) in names)]
    if name is None and len(proper) != 1:
        raise StudyError(f"{log.url} holds {len(names)} studies: {', '.join(names) or 'none'}; say which one with --study")
    if name is not None and name not in names:
        raise StudyError(f"there is no study {name!r} in {log.url}; it holds: {', '.join(map(repr, names)) or 'none'}")
    return proper[0] if name is None else name


def location(study: Study) -> str:
    """Arguments with which the other commands find a study."""
    return f"{study.storage.removeprefix('sqlite:///')} --study {study.name}"
