"""The surrogate kept in step with a study: which rows it holds, when it is fitted, and its posterior.

A pure fold of the told rows: every choice depends on their count alone. **Anchors** are counts at which the posterior is
factored anew; between two anchors rows are appended one by one, so the canonical form (factor up to the last anchor, then append)
is the same whether rows came singly or in bulk. Hyperparameters are fitted at the anchors where the count has grown by a tenth,
each fit starting from the last. Beyond `CAP` rows an **active set** is chosen at each anchor: the best half by value and a
random half of the rest, so that the cost of an ask does not grow with the study.

Values are seen through the output transform (csrc/transform.hpp), which is computed over the active rows at each ask.

Rows that were told short of the end of their trial are brought there (`_fidelity.py`): by what is known when they are told, and all of
them anew at each anchor.
"""

from __future__ import annotations

import math
import sys
from functools import cache
from importlib.metadata import version
from typing import Final

import numpy as np
import numpy.typing as npt

from jaxhp import _kernel
from jaxhp._memo import recalled
from jaxhp._rng import rng
from jaxhp._types import Dims, Floats, Ints, Kind, Posterior
from jaxhp.samplers._fidelity import END, Fidelity

CAP: Final = 512  # rows of an active set, unless told otherwise
STRIDE: Final = 32  # anchors this far apart once there are more rows than CAP
GROWTH: Final = 1.1  # refit when the count has grown by so much
COLD: Final = 50  # L-BFGS iterations of the first fit,
WARM: Final = 8  # and of the following ones
TOLD_APART: Final = 1e-6  # difference in z from which on two values give a slope, to ten digits
NOISIEST: Final = 1e8  # told variance, in units of z squared, that is as good as no result


class Model:
    """Grows in place: whoever keeps two copies `copy.deepcopy`s it."""

    def __init__(self, kind: npt.NDArray[np.int8], seed: int, first_fit: int, cap: int = CAP, fidelity: Fidelity | None = None) -> None:
        d = len(kind)
        self.kind = kind  # (d,) 0 Matern-5/2, 1 Hamming
        self.seed = seed
        self.n = 0
        self.version = 0  # another one whenever a row is told or revised
        self.first_fit = first_fit
        self.cap = cap  # rows of an active set at an anchor
        self.fidelity = fidelity  # who brings rows to the end; None: all of them are there
        self.short: dict[int, tuple[float, float, float]] = {}  # row -> step, y and noise as told, of those that are not there
        self.u = np.empty((64, d))  # canonical: NaN where inactive
        self.y = np.empty(64)  # minimised; not finite where the trial failed
        self.noise = np.empty(64)  # told standard deviation, 0 where none
        self.theta: Floats | None = None
        self.fits = 0
        self._next_fit = first_fit
        self._anchor = 0
        self._factored = 0  # the anchor that `_posterior` stands on
        self._seen = 0  # told rows that `_posterior` has taken in or left out for good
        self._order: Ints = np.empty(0, np.int64)  # those that it has, in its order: the first `_held` entries
        self._held = 0
        self._posterior: Posterior | None = None
        self._told: tuple[int, Posterior, Floats] | None = None  # the last answer, with the n it was for

    @property
    def held(self) -> Ints:
        """The rows of the last `posterior`, in its order."""
        return self._order[: self._held]

    def tell(self, u: Floats, y: float, noise: float, step: float = END) -> None:
        """One told row: u (d,) canonical, y not finite where the trial failed, noise its standard deviation where known.

        `step` is where the value stands, of a trial that is not at its end.
        """
        if self.n == len(self.y):
            self.u, self.y, self.noise = (np.concatenate([a, np.empty_like(a)]) for a in (self.u, self.y, self.noise))
        n = self.n
        self.u[n] = u
        self._place(n, y, noise, step)
        self.n = n = n + 1
        self.version += 1
        if n == self._next_fit:
            self._anchor = n
            self._bring()
            self._fit()
            self._next_fit = max(n + 1, math.ceil(n * GROWTH))
        elif n > self.cap and n - self._anchor >= STRIDE:
            self._anchor = n
            self._bring()

    def revise(self, row: int, u: Floats, y: float, noise: float, step: float = END) -> None:
        """Another result for a told row, perhaps at another point: a paused trial went on. The next posterior is factored anew."""
        self.u[row] = u
        self._place(row, y, noise, step)
        self._bring()
        self.version += 1
        self._anchor, self._factored, self._told = self.n, -1, None

    def _place(self, row: int, y: float, noise: float, step: float) -> None:
        """Writes a row, brought to the end."""
        self.short.pop(row, None)
        if self.fidelity is not None and step < END:
            self.short[row] = step, y, noise
            shift, spread = self.fidelity.brought(step)
            y, noise = y + shift, math.hypot(_known(noise), spread)
        self.y[row], self.noise[row] = y, _known(noise)

    def _bring(self) -> None:
        """Brings all rows that fell short anew."""
        for row, (step, y, noise) in list(self.short.items()):
            self._place(row, y, noise, step)

    def posterior(self) -> tuple[Posterior, Floats] | None:
        """The posterior of the active told rows, and their transformed values z; None when there is none yet, or it cannot be factored."""
        if self.theta is None:
            return None
        if self._told is not None and self._told[0] == self.n:
            return self._told[1:]
        from jaxhp.gp import _surrogate  # loads Numba, so not at import

        if self._factored != self._anchor:
            rows = self._active(self._anchor)
            z = _kernel.transform(self.y[rows])
            self._posterior = _surrogate.factor(
                filled(self.u[rows]), z, self._extra(rows, z), self.kind, self.theta, len(rows) + 2 * STRIDE
            )
            self._factored = self._seen = self._anchor
            self._order = np.concatenate([rows, np.empty(2 * STRIDE + len(rows), np.int64)])
            self._held = len(rows)
        while self._posterior is not None and self._seen < self.n:
            row = self._order[self._held] = self._seen
            self._held += 1
            extra = 0.0
            if self.noise[row] > 0.0:
                extra = float(self._extra(self.held, _kernel.transform(self.y[self.held]))[-1])
            self._posterior = _surrogate.append(self._posterior, filled(self.u[row]), extra)
            self._seen += 1
        if self._posterior is None:
            return None
        z = _kernel.transform(self.y[self.held])
        conditioned = _surrogate.condition(self._posterior, z)
        self._told = self.n, conditioned, z
        return conditioned, z

    def refitted(self, rows: Ints, X: Floats, iterations: int, beside: int | None = None) -> tuple[Posterior, Floats] | None:
        """A surrogate of some told rows alone, at X (rows, d) in place of their u: its posterior and their z, transformed by themselves.

        Where a further row is named by `beside`, it is transformed with them, and its z comes last, but it is not fitted.
        """
        from jaxhp.gp import _surrogate  # loads Numba, so not at import

        n = len(rows)
        rows = rows if beside is None else np.append(rows, beside)
        z = _kernel.transform(self.y[rows])
        extra = self._extra(rows, z)[:n]
        theta = _surrogate.fit(filled(X), z[:n], extra, self.kind, None, iterations)
        posterior = _surrogate.factor(filled(X), z[:n], extra, self.kind, theta, n)
        return None if posterior is None else (posterior, z)

    def _fit(self) -> None:
        rows = self._active(self._anchor)
        X, z = filled(self.u[rows]), _kernel.transform(self.y[rows])
        extra, start, iterations = self._extra(rows, z), self.theta, COLD if self.theta is None else WARM

        def fit() -> Floats:
            from jaxhp.gp import _surrogate  # loads Numba, so not at import

            return _surrogate.fit(X, z, extra, self.kind, start, iterations)

        self.theta = recalled(f"theta, Numba {_numba()}", (X, z, extra, self.kind, start, iterations), fit, self._sound)
        self.fits += 1

    def _sound(self, theta: Floats) -> bool:
        """Whether these could be hyperparameters."""
        return theta.shape == (len(self.kind) + 2,) and bool((np.isfinite(theta) & (theta > 0.0)).all())

    def _active(self, count: int) -> Ints:
        """Which of the first `count` rows the posterior stands on, ascending."""
        if count <= self.cap:
            return np.arange(count)
        y = np.where(np.isfinite(self.y[:count]), self.y[:count], math.inf)
        best = np.argpartition(y, self.cap // 2)[: self.cap // 2]
        others = np.setdiff1d(np.arange(count), best, assume_unique=True)
        drawn = rng(self.seed, count, "active set").choice(others, self.cap - len(best), replace=False, shuffle=False)
        return np.sort(np.concatenate([best, drawn]))

    def _extra(self, rows: npt.NDArray[np.int64], z: Floats) -> Floats:
        """Told noise as variance in units of z: the transform is affine over the good values, so the two best ones give its slope."""
        noise = self.noise[rows]
        if not noise.any():
            return noise
        best = np.argmin(z)
        worse = np.flatnonzero(z > z[best] + TOLD_APART)
        if not len(worse):
            return np.zeros_like(noise)
        following = worse[np.argmin(z[worse])]
        with np.errstate(over="ignore"):
            step = self.y[rows[following]] - self.y[rows[best]]  # not above 0: a failure follows, so nothing gives a slope
            sd = noise / step * (z[following] - z[best]) if step > 0.0 else np.zeros_like(noise)
            return np.minimum(np.square(sd), NOISIEST)


@cache
def _numba() -> str:
    return version("numba")


def _known(noise: float) -> float:
    """A told standard deviation, finite; 0 where there is none."""
    return min(noise, sys.float_info.max) if noise > 0.0 else 0.0


def kernel_kinds(dims: Dims) -> npt.NDArray[np.int8]:
    """(d,) 0 a Matern-5/2 coordinate, 1 a Hamming one."""
    kind: npt.NDArray[np.int8] = (dims.kind == Kind.CATEGORICAL).astype(np.int8)
    return kind


def filled(u: Floats) -> Floats:
    """Inactive coordinates enter the kernel as 0.5: their parent tells the branches apart."""
    return np.where(np.isnan(u), 0.5, u)
