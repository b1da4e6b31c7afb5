"""Records as text: compact JSON with a checksum that covers the position, so that an altered, torn or misplaced record is seen.

NaN and the infinities, which JSON lacks, become the strings "nan", "inf" and "-inf"; readers call `float()` on what is a number.
"""

from __future__ import annotations

import json
import math
from typing import Any
from zlib import crc32

from jaxhp._types import Record
from jaxhp.errors import StorageError

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode
_decode = json.JSONDecoder().decode


def dumps(record: Record) -> str:
    """A record as JSON.

    Raises:
        StorageError: it holds something that JSON cannot.

    >>> dumps({"kind": "tell", "values": {"loss": float("nan")}})
    '{"kind":"tell","values":{"loss":"nan"}}'
    """
    try:
        return _encode(record)
    except ValueError:
        return _encode(_finite(record))
    except TypeError as e:
        raise StorageError(f"a record holds what JSON cannot: {e}; tell numbers, strings and lists or dicts of them") from e


def loads(body: str) -> Record:
    """The record of its JSON."""
    record: Record = _decode(body)
    return record


def checksum(seq: int, body: str) -> int:
    """CRC-32 of position and body."""
    return crc32(f"{seq}:{body}".encode())


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value
