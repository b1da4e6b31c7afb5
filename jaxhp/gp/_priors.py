"""The MAP penalties on a surrogate's hyperparameters, as one table that issue-specific priors can replace.

Every coordinate t of log theta (log l_1 ... log l_d, log s2, log v) is penalised by the same form,

    p(t) = a exp(-2t) + b exp(2t) + c t + e exp(t),    low <= t <= high,

which holds what the search needs: the two-sided length-scale prior a / l^2 + b l^2, least at l = (a / b)^(1/4), and minus the log
density of a Gamma(shape, rate) on s2 or v, -(shape - 1) log x + rate x (densities in natural units, no Jacobian; the constants
are left out). A table row is (a, b, c, e, low, high), in the order of the arguments above.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from jaxhp._types import Floats

LENGTH_SHORT: Final = 0.1  # a: against l -> 0
LENGTH_LONG: Final = 0.1  # b: against l -> infinity
CATEGORY_LENGTH: Final = 4.0  # where the prior of a category's length scale is least; a number's is least at 1
LENGTH_BOUNDS: Final = (1e-3, 100.0)
AMPLITUDE_SHAPE: Final = 2.0
AMPLITUDE_RATE: Final = 1.0
AMPLITUDE_BOUNDS: Final = (0.05, 20.0)
NOISE_SHAPE: Final = 1.1
NOISE_RATE: Final = 30.0
NOISE_BOUNDS: Final = (1e-6, 1.0)
START_LENGTH: Final = 1.0
START_AMPLITUDE: Final = 1.0
START_NOISE: Final = math.exp(-4.0)


def penalties(d: int, kind: npt.ArrayLike = 0) -> Floats:
    """The default table for d dims.

    Categories have longer length scales: two configurations that differ in one of them alone have more in common than two at the
    opposite ends of a number (docs/bayes.md has what that is worth).

    Args:
        d: how many.
        kind: (d,) 0 for a number, 1 for a category; or one for all.

    Returns:
        (d + 2, 6): rows l_1 ... l_d, s2, v; columns a, b, c, e, log low, log high.

    >>> penalties(3).shape
    (5, 6)

    """
    table = np.empty((d + 2, 6))
    table[:d] = (LENGTH_SHORT, LENGTH_LONG, 0.0, 0.0, *map(math.log, LENGTH_BOUNDS))
    squared = np.where(np.asarray(kind) == 0, 1.0, CATEGORY_LENGTH**2)
    table[:d, 0] *= squared
    table[:d, 1] /= squared
    table[d] = (0.0, 0.0, 1.0 - AMPLITUDE_SHAPE, AMPLITUDE_RATE, *map(math.log, AMPLITUDE_BOUNDS))
    table[d + 1] = (0.0, 0.0, 1.0 - NOISE_SHAPE, NOISE_RATE, *map(math.log, NOISE_BOUNDS))
    return table


def start(d: int) -> Floats:
    """Theta (d + 2,) of a cold fit, in natural units.

    >>> start(1).round(4).tolist()
    [1.0, 1.0, 0.0183]
    """
    return np.array([START_LENGTH] * d + [START_AMPLITUDE, START_NOISE])


def penalty(table: Floats, log_theta: Floats) -> tuple[float, Floats]:
    """Sum of the penalties and its gradient with respect to log theta (d + 2,).

    >>> value, gradient = penalty(penalties(1), np.log(start(1)))
    >>> round(float(gradient[0]), 12)  # the length-scale prior is stationary at l = 1
    0.0
    """
    a, b, c, e = table[:, :4].T
    short, long, linear = a * np.exp(-2.0 * log_theta), b * np.exp(2.0 * log_theta), e * np.exp(log_theta)
    value = float((short + long + c * log_theta + linear).sum())
    return value, np.asarray(2.0 * (long - short) + c + linear)
