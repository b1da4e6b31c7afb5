"""The surrogate kept in step with a study: which rows it holds, when it is fitted, and its posterior.

A pure fold of the told rows: every choice depends on their count alone. **Anchors** are counts at which the posterior is
factored anew; between two anchors rows are appended one by one, so the canonical form (factor up to the last anchor, then append)
is the same whether rows came singly or in bulk. Hyperparameters are fitted at the anchors where the count has grown by a tenth,
each fit starting from the last. Beyond `CAP` rows an **active set** is chosen at each anchor: the best half by value and a
random half of the rest, so that the cost of an ask does not grow with the study.

Values are seen through the output transform (csrc/transform.hpp), which is computed over the active rows at each ask.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from jaxhp import _kernel
from jaxhp._rng import rng
from jaxhp._types import Floats, Ints, Posterior
from jaxhp.gp import _surrogate

CAP: Final = 256  # rows of an active set at an anchor
STRIDE: Final = 32  # anchors this far apart once there are more rows than CAP
GROWTH: Final = 1.1  # refit when the count has grown by so much
COLD: Final = 50  # L-BFGS iterations of the first fit,
WARM: Final = 8  # and of the following ones


class Model:
    """Grows in place: whoever keeps two copies `copy.deepcopy`s it."""

    def __init__(self, kind: npt.NDArray[np.int8], seed: int, first_fit: int) -> None:
        d = len(kind)
        self.kind = kind  # (d,) 0 Matern-5/2, 1 Hamming
        self.seed = seed
        self.n = 0
        self.X = np.empty((64, d))
        self.y = np.empty(64)  # minimised; not finite where the trial failed
        self.noise = np.empty(64)  # told standard deviation, 0 where none
        self.theta: Floats | None = None
        self.fits = 0
        self.failures = 0  # factorisations that even more noise did not save
        self._next_fit = first_fit
        self._anchor = 0
        self._factored = 0  # the anchor that `_posterior` stands on
        self._rows: Ints = np.empty(0, np.int64)  # rows in `_posterior`, in its order
        self._posterior: Posterior | None = None

    def tell(self, x: Floats, y: float, noise: float) -> None:
        """One told row: x (d,) with 0.5 where inactive."""
        if self.n == len(self.y):
            self.X, self.y, self.noise = (np.concatenate([a, np.empty_like(a)]) for a in (self.X, self.y, self.noise))
        n = self.n
        self.X[n], self.y[n], self.noise[n] = x, y, noise if noise > 0.0 else 0.0
        self.n = n = n + 1
        if n == self._next_fit:
            self._anchor = n
            self._fit(self._active(n))
            self._next_fit = max(n + 1, math.ceil(n * GROWTH))
        elif n > CAP and n - self._anchor == STRIDE:
            self._anchor = n

    def posterior(self) -> tuple[Posterior, Floats] | None:
        """The posterior of all told rows (the active ones) and their transformed values z; None before the first fit or when it cannot be factored."""
        if self.theta is None:
            return None
        if self._factored != self._anchor:
            rows = self._active(self._anchor)
            z = _kernel.transform(self.y[rows])
            self._posterior = _surrogate.factor(self.X[rows], z, self._extra(rows, z), self.kind, self.theta, len(rows) + 2 * STRIDE)
            self._rows, self._factored = rows, self._anchor
        told = self._anchor + len(self._rows) - len(self._active_size(self._anchor))
        for row in range(told, self.n):
            if self._posterior is None:
                break
            self._rows = np.append(self._rows, row)
            z = _kernel.transform(self.y[self._rows])
            self._posterior = _surrogate.append(self._posterior, self.X[row], float(self._extra(self._rows, z)[-1]))
        if self._posterior is None:
            self.failures += 1
            return None
        z = _kernel.transform(self.y[self._rows])
        return _surrogate.condition(self._posterior, z), z
