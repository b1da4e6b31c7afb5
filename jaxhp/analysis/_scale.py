"""The way back through the output transform (csrc/transform.hpp): from z, in which a surrogate predicts, to values y.

The transform is monotone and known at the told values only, so between two of them the inverse is a straight line. Over
the good values the transform is affine itself: its slope there turns a deviation in z into one in units of y, and goes
on below the best. Above the worst nothing was seen, and failures lie there: the inverse stays at the worst value.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from jaxhp._types import Floats

_QUARTER: Final = 0.25  # exact, and differences of +-1.8e308 stay finite
_AFFINE: Final = 1e-9  # of the line's height: farther off is not on it
_LARGEST: Final = float(np.finfo(np.float64).max)


class Scale(NamedTuple):
    """The told values, best first, and where the transform put them."""

    y: Floats  # (k,) minimised, ascending
    z: Floats  # (k,) strictly ascending
    slope: float | None  # dy/dz over the good values; None where only one value is known

    def inverse(self, z: Floats) -> Floats:
        """Values y of z, of the same shape; non-decreasing in z and finite.

        >>> scaled(np.array([0.0, 1.0, 9.0]), np.array([-1.0, 0.0, 1.0])).inverse(np.array([-2.0, -0.5, 0.5, 3.0])).tolist()
        [-1.0, 0.5, 5.0, 9.0]
        """
        if self.slope is None:
            return np.full_like(z, self.y[0])
        left = np.maximum(np.searchsorted(self.z, z, side="right") - 1, 0)
        right = np.minimum(left + 1, len(self.z) - 1)
        gap = np.where(right > left, self.z[right] - self.z[left], 1.0)
        share = np.clip((z - self.z[left]) / gap, 0.0, 1.0)
        low, high = _QUARTER * self.y[left], _QUARTER * self.y[right]
        between = np.minimum(low + share * (high - low), high)  # every rounding is monotone in z
        with np.errstate(over="ignore"):
            beyond = np.minimum(z - self.z[0], 0.0) * (_QUARTER * self.slope)
            return np.asarray(np.clip((between + beyond) / _QUARTER, -_LARGEST, _LARGEST))


def scaled(y: Floats, z: Floats) -> Scale:
    """The scale of finite told values y (n,), minimised, that the transform took to z (n,).

    >>> scaled(np.array([2.0, 0.0, 1.0]), np.array([5.0, 0.0, 0.5])).slope
    2.0
    """
    y, first = np.unique(y, return_index=True)
    z = z[first]
    new = np.diff(z, prepend=-np.inf) > 0.0  # values so near each other that they have one z are known by the best of them
    y, z = y[new], z[new]
    if len(y) < 2:
        return Scale(y, z, None)
    rise, run = z - z[0], _QUARTER * y - _QUARTER * y[0]
    last = next((i for i in range(len(y) // 2, 1, -1) if _is_line(run[: i + 1], rise[: i + 1])), 1)  # at most half of the values are good
    with np.errstate(over="ignore"):
        return Scale(y, z, float(np.minimum(run[last] / rise[last] / _QUARTER, _LARGEST)))


def _is_line(run: Floats, rise: Floats) -> bool:
    return bool(np.abs(run / run[-1] * rise[-1] - rise).max() <= _AFFINE * rise[-1])
