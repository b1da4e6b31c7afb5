"""Numbers among arguments: what counts as one, and which of them differ from their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeGuard

import numpy as np


def is_real(value: object) -> TypeGuard[float]:
    """Whether this is a number of Python or NumPy; True and False are none.

    >>> is_real(np.float32(0.5)), is_real(3), is_real(True), is_real("3")
    (True, True, False, False)
    """
    return not isinstance(value, bool) and isinstance(value, (int, float, np.integer, np.floating))


def is_whole(value: object) -> TypeGuard[int]:
    """Whether this is an integer of Python or NumPy; True and False are none.

    >>> is_whole(np.int64(3)), is_whole(3), is_whole(True), is_whole(3.0)
    (True, True, False, False)
    """
    return not isinstance(value, bool) and isinstance(value, (int, np.integer))


def changed(given: Mapping[str, tuple[object, object]]) -> list[str]:
    """The arguments that differ from their defaults, as they are written. By them a log names a sampler or scheduler.

    >>> changed({"population": (20, 50), "crossover": (0.9, 0.9)})
    ['population=20']
    """
    plain = {name: (value.item() if isinstance(value, np.generic) else value, usual) for name, (value, usual) in given.items()}
    return [f"{name}={value!r}" for name, (value, usual) in plain.items() if value != usual]
