"""Logs: where the records of studies are kept. Two verbs, `read` and `append`; see docs/storage.md."""

from __future__ import annotations

import os

from jaxhp.errors import MissingExtra, StorageError
from jaxhp.storage._log import Log, MemoryLog

__all__ = ["Log", "MemoryLog", "open_log"]

_EXPECTED = "expected None (memory), 'sqlite:///file.db' or a log"


def open_log(storage: str | Log | None = None) -> Log:
    """A log: in memory for None, in a file for "sqlite:///study.db"; a `Log` is returned as it is.

    Raises:
        StorageError: the storage cannot be opened.
        MissingExtra: SQLAlchemy is not installed.

    >>> open_log().url
    'memory'
    """
    if storage is None:
        return MemoryLog()
    if isinstance(storage, (str, os.PathLike)):
        url = os.fspath(storage)
        if isinstance(storage, os.PathLike) or "://" not in url:
            raise StorageError(f"storage {url!r}: {_EXPECTED}; for this file write 'sqlite:///{url}'")
        if not url.startswith("sqlite:///"):
            raise StorageError(f"storage {url!r}: {_EXPECTED}")
        try:
            from jaxhp.storage._sql import SqlLog
        except ModuleNotFoundError as e:
            if e.name is None or e.name.partition(".")[0] != "sqlalchemy":
                raise
            raise MissingExtra(f'storage {url!r} needs SQLAlchemy: pip install "jaxhp[sql]"') from e
        return SqlLog(url)
    if isinstance(storage, Log):
        return storage
    raise StorageError(f"storage: {_EXPECTED}, got {storage!r}")
