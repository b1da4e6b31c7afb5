"""Counter-based randomness: a draw is named by (seed, trial number, purpose, attempt), never by what was drawn before.

Philox4x64-10 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011): key = (seed, crc32(purpose)),
counter = (block, number, attempt, 0). `uniform` draws natively; `rng` is the same stream as a NumPy generator.
"""

from __future__ import annotations

from functools import lru_cache
from zlib import crc32

import numpy as np

from jaxhp import _kernel
from jaxhp._types import Floats, Ints

_U64 = (1 << 64) - 1


@lru_cache(maxsize=256)
def purpose_key(purpose: str) -> int:
    """The 32-bit key of a purpose."""
    return crc32(purpose.encode())


def rng(seed: int, number: int, purpose: str, attempt: int = 0) -> np.random.Generator:
    """A NumPy generator for one draw; two calls with equal arguments give equal streams.

    >>> rng(0, 7, "doc").random() == rng(0, 7, "doc").random()
    True
    """
    key = np.array([seed & _U64, purpose_key(purpose)], dtype=np.uint64)
    counter = np.array([0, number & _U64, attempt & _U64, 0], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def uniform(seed: int, numbers: Ints, purpose: str, d: int, attempt: int = 0) -> Floats:
    """(k, d) uniforms in [0, 1): row i equals `rng(seed, numbers[i], purpose, attempt).random(d)`, bit for bit.

    >>> import numpy as np
    >>> bool((uniform(3, np.array([5]), "doc", 4)[0] == rng(3, 5, "doc").random(4)).all())
    True
    """
    return _kernel.philox(seed & _U64, purpose_key(purpose), numbers, d, attempt)
