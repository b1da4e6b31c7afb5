"""Logs: where the records of studies are kept. Two verbs, `read` and `append`; see docs/storage.md."""

from __future__ import annotations

from jaxhp.errors import MissingExtra, StorageError
from jaxhp.storage._log import Log, MemoryLog

__all__ = ["Log", "MemoryLog", "open_log"]


def open_log(storage: str | Log | None = None) -> Log:
    """A log: in memory for None, in a file for "sqlite:///study.db"; a `Log` is returned as it is.

    Raises:
        StorageError: the storage cannot be opened. MissingExtra: SQLAlchemy is not installed.

    >>> open_log().url
    'memory'
    """
    if storage is None:
        return MemoryLog()
    if isinstance(storage, str):
        if not storage.startswith("sqlite:///"):
            hint = f"; did you mean 'sqlite:///{storage}'?" if "://" not in storage else ""
            raise StorageError(f"storage {storage!r}: expected None (memory) or 'sqlite:///file.db'{hint}")
        try:
            from jaxhp.storage._sql import SqlLog
        except ImportError as e:
            raise MissingExtra(f'storage {storage!r} needs SQLAlchemy: pip install "jaxhp[sql]"') from e
        return SqlLog(storage)
    if isinstance(storage, Log):
        return storage
    raise StorageError(f"storage: expected None, 'sqlite:///file.db' or a log, got {storage!r}")
