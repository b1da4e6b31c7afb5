"""Records as text: compact ASCII JSON, with a checksum that covers the position, so that an altered, torn or misplaced record is seen.

NaN and the infinities, which JSON lacks, become the strings "nan", "inf" and "-inf"; readers call `float()` on what is a number.
ASCII escapes keep lone surrogates, which tracebacks with odd file names hold and UTF-8 refuses.
"""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from zlib import crc32

from jaxhp._types import Record
from jaxhp.errors import StorageError

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_decode = json.JSONDecoder().raw_decode


def dumps(record: Record) -> str:
    """A record as JSON.

    Raises:
        StorageError: it holds something that JSON cannot.

    >>> dumps({"kind": "tell", "values": {"loss": float("nan")}})
    '{"kind":"tell","values":{"loss":"nan"}}'
    """
    try:
        try:
            return _encode(record)
        except ValueError:  # a NaN or an infinity, most likely
            return _encode(_finite(record))
    except (TypeError, ValueError, RecursionError) as e:
        raise StorageError(f"a record holds what JSON cannot: {e}; tell numbers, strings and lists or dicts of them") from e


def loads(body: bytes) -> Record:
    """The record of its JSON.

    Raises:
        ValueError: it is not the JSON of a dict, or too deep to read.

    >>> loads(b'{"kind":"tell"}')
    {'kind': 'tell'}
    """
    text = str(body, "utf-8")
    try:
        record, end = _decode(text)
    except RecursionError as e:
        raise ValueError("it is nested too deeply") from e
    if end != len(text) or type(record) is not dict:
        raise ValueError("it is not one JSON object")
    return record


@contextmanager
def uncollected() -> Iterator[None]:
    """Many records are millions of objects, none of them in a cycle: while they are made, the garbage collector does not look for one."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def checksum(seq: int, body: bytes) -> int:
    """CRC-32 of position and body.

    >>> checksum(0, b"{}") == checksum(1, b"{}")
    False
    """
    return crc32(body, crc32(b"%d:" % seq))


def whole(seq: int, body: Any, written: Any) -> Record:
    """The record of a row as it lies in a database.

    Raises:
        ValueError: what is wrong with it.
    """
    data = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    if not isinstance(data, bytes):
        raise ValueError(f"is no text but {type(body).__name__}")
    if checksum(seq, data) != written:
        raise ValueError("does not match its checksum")
    try:
        return loads(data)
    except ValueError as e:
        raise ValueError(f"was not written by jaxhp: {e}") from e


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value
