"""The one door to the compiled kernel `jaxhp._core` (csrc/). Everything else imports the kernel from here."""

from __future__ import annotations

from jaxhp._core import (
    EncodedDims,
    available_isas,
    best_of,
    cma_decompose,
    cma_draw,
    cma_update,
    evaluate,
    isa,
    log_cdf,
    log_density,
    log_h,
    maximize,
    philox,
    ppf,
    predict,
    propose,
    sobol,
    transform,
)

__all__ = [
    "EncodedDims",
    "available_isas",
    "best_of",
    "cma_decompose",
    "cma_draw",
    "cma_update",
    "evaluate",
    "isa",
    "log_cdf",
    "log_density",
    "log_h",
    "maximize",
    "philox",
    "ppf",
    "predict",
    "propose",
    "sobol",
    "transform",
]
