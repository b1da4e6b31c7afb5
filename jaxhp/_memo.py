"""A memo of slow pure functions: results by a digest of what they were computed from.

A sampler that is told a long study anew computes what has been computed before. While a memo is `used`, `recalled` looks there first.
What it finds came from the same bytes, version and instruction set, so a memo changes nothing but time: it may be lost, be of another
study, or be kept from one process to the next (storage/_snapshot.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import blake2b
from typing import Any, Final

import numpy as np

from jaxhp import __version__
from jaxhp._kernel import isa
from jaxhp._types import Floats

DIGEST: Final = 32  # bytes
MOST: Final = 4096  # results; of more, the oldest are forgotten


class Memo:
    """Results (k,) float64 by digest."""

    def __init__(self, known: Mapping[bytes, Floats] | None = None) -> None:
        self.known = dict(known or {})
        self.unsaved = 0.0  # seconds that it took to compute what is new

    @contextmanager
    def used(self) -> Iterator[None]:
        """Until the block ends, `recalled` uses this memo, in this thread."""
        before = _used.set(self)
        try:
            yield
        finally:
            _used.reset(before)

    def add(self, digest: bytes, result: Floats, seconds: float) -> None:
        """Takes in a result that took so long."""
        self.known[digest] = result.copy()
        self.unsaved += seconds
        while len(self.known) > MOST:
            del self.known[next(iter(self.known))]


_used: ContextVar[Memo | None] = ContextVar("memo", default=None)


def recalled(what: str, arguments: Sequence[Any], compute: Callable[[], Floats], sound: Callable[[Floats], bool]) -> Floats:
    """What `compute` returns; from the memo in use, where it is known.

    Args:
        what: names the function, and all that its bits depend on beside its arguments, our version and our instruction set.
        arguments: arrays and numbers.
        compute: returns float64 (k,), from the arguments alone.
        sound: whether an array may be its result: a memo may be damaged.

    >>> memo = Memo()
    >>> with memo.used():
    ...     first = recalled("one", (1.0,), lambda: np.ones(1), lambda found: len(found) == 1)
    ...     again = recalled("one", (1.0,), lambda: np.zeros(1), lambda found: len(found) == 1)
    >>> again.tolist()
    [1.0]
    """
    memo = _used.get()
    if memo is None:
        return compute()
    digest = _digest(what, arguments)
    found = memo.known.get(digest)
    if found is not None and sound(found):
        return found.copy()
    begun = time.perf_counter()
    result = compute()
    memo.add(digest, result, time.perf_counter() - begun)
    return result


def _digest(what: str, arguments: Sequence[Any]) -> bytes:
    code = blake2b(repr((what, __version__, isa(), len(arguments))).encode(), digest_size=DIGEST)
    for argument in arguments:
        if isinstance(argument, np.ndarray):
            code.update(repr((argument.dtype.str, argument.shape)).encode())
            code.update(np.ascontiguousarray(argument).data)
        else:
            code.update(repr(argument).encode())
        code.update(b";")
    return code.digest()
