"""Numbers among arguments: what counts as one, and which of them differ from their defaults."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeGuard, TypeVar

import numpy as np

P = ParamSpec("P")
T = TypeVar("T")
_BITS = 1024  # of integers beyond the largest float


def is_real(value: object) -> TypeGuard[float]:
    """Whether this is a number of Python or NumPy; True and False are none, and no integer beyond all floats is one.

    >>> is_real(np.float32(0.5)), is_real(3), is_real(True), is_real("3"), is_real(10**400)
    (True, True, False, False, False)
    """
    if is_whole(value):
        return value.bit_length() < _BITS if isinstance(value, int) else True
    return isinstance(value, (float, np.floating))


def is_whole(value: object) -> TypeGuard[int]:
    """Whether this is an integer of Python or NumPy; True and False are none.

    >>> is_whole(np.int64(3)), is_whole(3), is_whole(True), is_whole(3.0)
    (True, True, False, False)
    """
    return not isinstance(value, bool) and isinstance(value, (int, np.integer))


def plain(value: Any) -> Any:
    """The value with NumPy's scalars, also those inside tuples, lists and dicts, as Python's: by these a log names things.

    >>> plain((np.float32(0.5), {"width": np.int64(64)}))
    (0.5, {'width': 64})
    """
    if isinstance(value, np.generic):
        return value.item()
    if type(value) in (tuple, list):
        return type(value)(map(plain, value))
    return {name: plain(inner) for name, inner in value.items()} if type(value) is dict else value


def plain_arguments(function: Callable[P, T]) -> Callable[P, T]:
    """The function, given its arguments as plain Python values."""

    @functools.wraps(function)
    def make(*given: P.args, **named: P.kwargs) -> T:
        return function(*map(plain, given), **plain(named))

    return make


def changed(given: Mapping[str, tuple[object, object]]) -> list[str]:
    """The arguments that differ from their defaults, as they are written. By them a log names a sampler or scheduler.

    >>> changed({"population": (20, 50), "crossover": (0.9, 0.9)})
    ['population=20']
    """
    return [f"{name}={value!r}" for name, (value, usual) in given.items() if value != usual]
