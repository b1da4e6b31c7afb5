"""A process that dies while it writes to its log, for tests of studies that are killed at any record."""

from __future__ import annotations

from collections.abc import Sequence

from jaxhp._types import Record
from jaxhp.storage import MemoryLog


class Mortal(MemoryLog):
    """A log whose process dies at an append: before the records are written, or just after."""

    def __init__(self, kept: MemoryLog, after: int, written: bool) -> None:
        super().__init__()
        self._logs = kept._logs
        self.left, self.written = after, written

    def append(self, study: str, records: Sequence[Record], at: int | None = None) -> int:
        self.left -= 1
        if self.left > 0:
            return super().append(study, records, at)
        if self.left == 0 and self.written:
            super().append(study, records, at)
        raise SystemExit("killed")
