"""A name for functions that have none: what a closure is made of, in eight hexadecimal digits.

An optax transformation is a pair of closures, so neither `==` nor `repr` tells `adam(0.1)` from `sgd(1.0)`, and the log is to say which of
them made a study. Here a function is described by its code, its defaults, the plain numbers it reads from its module, and, recursively,
whatever its cells hold: rates, schedules, inner transformations, arrays. No part of that depends on the process, so the same call
gives the same digits tomorrow; another release of the library that wrote the closure may give others.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Set
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np

_PLAIN = (bool, int, float, complex, str, bytes)


def fingerprint(value: Any) -> str:
    """Eight hexadecimal digits for a function or anything that holds functions.

    >>> def scaled(rate):
    ...     return lambda x: rate * x
    >>> fingerprint(scaled(0.1)) == fingerprint(scaled(0.1)), fingerprint(scaled(0.1)) == fingerprint(scaled(0.2))
    (True, False)
    """
    return f"{zlib.crc32(_described(value, {}).encode()):08x}"


def _described(value: Any, above: Mapping[int, int]) -> str:
    """What a value is made of. `above`: the depth of those that it is part of, by `id`, since functions may refer to themselves."""
    if value is None or isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if id(value) in above:
        return f"^{len(above) - above[id(value)]}"
    above = {**above, id(value): len(above)}
    if isinstance(value, CodeType):
        return f"{value.co_name}{_all((value.co_code, value.co_names, value.co_consts), above)}"
    if isinstance(value, FunctionType):
        read = {name: value.__globals__.get(name) for name in value.__code__.co_names}
        plain = {name: x for name, x in read.items() if isinstance(x, _PLAIN)}
        cells = [cell.cell_contents for cell in value.__closure__ or () if _filled(cell)]
        parts = (value.__code__, value.__defaults__, value.__kwdefaults__, plain, cells)
        return f"{value.__module__}.{value.__qualname__}{_all(parts, above)}"
    if isinstance(value, MethodType):
        return _all((value.__func__, value.__self__), above)
    if isinstance(value, partial):
        return f"partial{_all((value.func, value.args, value.keywords), above)}"
    if isinstance(value, Mapping):
        return f"{type(value).__qualname__}{{{', '.join(f'{name!r}: {_described(x, above)}' for name, x in value.items())}}}"
    if isinstance(value, Set):
        return f"{type(value).__qualname__}{sorted(_described(x, above) for x in value)}"
    if isinstance(value, (tuple, list)):
        return f"{type(value).__qualname__}{_all(value, above)}"
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        if not isinstance(value.dtype, np.dtype):  # a key of jax.random
            return repr(value)
        return f"{value.dtype}{value.shape}{np.asarray(value).tolist()!r}"
    if hasattr(value, "__wrapped__"):  # jitted, decorated
        return _described(value.__wrapped__, above)
    return f"{_described(type(value), above)}{_described(getattr(value, '__dict__', {}), above)}"


def _all(parts: Any, above: Mapping[int, int]) -> str:
    return f"({', '.join(_described(part, above) for part in parts)})"


def _filled(cell: Any) -> bool:
    """Whether a name of an enclosing function has its value yet."""
    try:
        return cell.cell_contents is cell.cell_contents
    except ValueError:
        return False
