"""Pending trials as kriging believers: rows observed exactly at their own predicted mean (Ginsbourger, Le Riche & Carraro 2010)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

from jaxhp import acquisition
from jaxhp._types import Floats, Posterior
from jaxhp.samplers._model import filled


class Believers:
    """A posterior that pending points are appended to. What was appended for the last ask is used again."""

    def __init__(self) -> None:
        self._version: Hashable = None
        self._keys: list[bytes] = []
        self._posterior: Posterior | None = None
        self._lowest = math.inf

    def join(self, version: Hashable, posterior: Posterior, waiting: Sequence[Floats]) -> tuple[Posterior, float]:
        """The posterior with the waiting points (d,), and the lowest value believed in: what is waited for is no improvement.

        Args:
            version: differs when the posterior does.
            posterior: grows in place.
            waiting: in the order of their numbers, NaN where inactive.
        """
        from jaxhp.gp import append  # loads Numba, so not at import

        keys = [u.tobytes() for u in waiting]
        if self._posterior is None or self._version != version or keys[: len(self._keys)] != self._keys:
            self._version, self._keys, self._posterior, self._lowest = version, [], posterior, math.inf
        for u in waiting[len(self._keys) :]:
            believed = float(acquisition.predict(self._posterior, u[None])[0][0])  # believers do not change the mean
            self._lowest = min(self._lowest, believed)
            grown = append(self._posterior, filled(u))
            if grown is not None:  # else it repeats a row exactly and adds nothing
                self._posterior = grown
        self._keys = keys
        return self._posterior, self._lowest
