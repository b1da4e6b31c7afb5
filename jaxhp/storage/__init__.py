"""Logs: where the records of studies are kept. Two verbs, `read` and `append`; whole logs are checked and copied. See docs/storage.md."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxhp.errors import MissingExtra, StorageError
from jaxhp.storage._log import Log, MemoryLog

if TYPE_CHECKING:
    from jaxhp.storage._copy import Copied, copy
    from jaxhp.storage._verify import StudyCheck, Verification, verify

__all__ = ["Copied", "Log", "MemoryLog", "StudyCheck", "Verification", "copy", "open_log", "verify"]

_EXPECTED = "expected None (memory), 'sqlite:///file.db', 'postgresql://user@host/database' or a log"


def open_log(storage: str | Log | None = None) -> Log:
    """A log: in memory for None, in a file for "sqlite:///study.db", on a server for "postgresql://user@host/database".

    A `Log` is returned as it is.

    Raises:
        StorageError: the storage cannot be opened.
        MissingExtra: SQLAlchemy is not installed, or the driver of the database.

    >>> open_log().url
    'memory'
    """
    if storage is None:
        return MemoryLog()
    if isinstance(storage, (str, os.PathLike)):
        url = os.fspath(storage)
        if isinstance(storage, os.PathLike) or "://" not in url:
            raise StorageError(f"storage {url!r}: {_EXPECTED}; for this file write 'sqlite:///{url}'")
        if url.startswith("sqlite:///"):
            return _opened(url, "_sqlite", "Sqlite", {"sqlalchemy": "sql"})
        if url.startswith(("postgresql://", "postgresql+psycopg://")):
            return _opened(url, "_postgres", "Postgres", {"sqlalchemy": "postgres", "psycopg": "postgres"})
        raise StorageError(f"storage {url.partition('://')[0]}://...: {_EXPECTED}")
    if isinstance(storage, Log) and not isinstance(storage, type):
        return storage
    raise StorageError(f"storage: {_EXPECTED}, got {storage!r}")


def open_existing(storage: str | Log | None) -> Log:
    """`open_log` for what is there already: no file is made.

    Raises:
        StorageError: there is no such file, or it is None.
    """
    if storage is None:
        raise StorageError("storage: None is a new memory, which holds nothing; pass a URL or a log")
    if isinstance(storage, str) and storage.startswith("sqlite:///"):
        path = storage.removeprefix("sqlite:///")
        if path not in ("", ":memory:") and not Path(path).exists():
            raise StorageError(f"{storage}: there is no such file; check the path")
    return open_log(storage)


def _opened(url: str, module: str, home: str, extras: dict[str, str]) -> Log:
    """The log in a database; `extras`: which one to install where a library is missing."""
    try:
        from jaxhp.storage._sql import SqlLog

        made = getattr(import_module(f"jaxhp.storage.{module}"), home)(url)
    except ImportError as e:
        library = (e.name or "").partition(".")[0]
        if library not in extras:
            raise
        raise MissingExtra(f'storage {url.partition("://")[0]}://... needs {library}: pip install "jaxhp[{extras[library]}]"') from e
    return SqlLog(made)


def __getattr__(name: str) -> Any:
    module = {"Copied": "_copy", "copy": "_copy", "StudyCheck": "_verify", "Verification": "_verify", "verify": "_verify"}.get(name)
    if module is None:
        raise AttributeError(f"module 'jaxhp.storage' has no attribute {name!r}")
    return getattr(import_module(f"jaxhp.storage.{module}"), name)
