"""The Gaussian-process surrogate. Importing it loads Numba but compiles nothing."""

from __future__ import annotations

from jaxhp.gp._priors import penalties
from jaxhp.gp._surrogate import append, condition, factor, fit, leave_one_out, objective, predict, sample, warm_up

__all__ = ["append", "condition", "factor", "fit", "leave_one_out", "objective", "penalties", "predict", "sample", "warm_up"]
