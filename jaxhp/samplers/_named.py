"""Samplers by name, for those who choose one in words: on a command line, or as a parameter of an estimator."""

from __future__ import annotations

from typing import Final

from jaxhp import samplers
from jaxhp._types import Sampler
from jaxhp.errors import StudyError

NAMED: Final = (
    "auto",
    "bayes",
    "cma_es",
    "coarse_to_fine",
    "differential_evolution",
    "grid_search",
    "hypergradient_descent",
    "nsga2",
    "random_search",
    "regularized_evolution",
    "sobol",
    "tpe",
)  # those that need no arguments


def named_sampler(name: str) -> Sampler:
    """A sampler with its default arguments.

    Raises:
        StudyError: no sampler has this name, or it wants arguments.

    >>> named_sampler("sobol").name
    'sobol()'
    """
    if name not in NAMED:
        raise StudyError(f"sampler: {name!r} is unknown; choose one of {', '.join(NAMED)}")
    sampler: Sampler = getattr(samplers, name)()
    return sampler
