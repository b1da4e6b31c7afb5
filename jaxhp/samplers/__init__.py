"""Search methods: lower-case factories that return a `Sampler`, and the algebra that combines them (docs/samplers.md)."""

from __future__ import annotations

from jaxhp.samplers._auto import auto
from jaxhp.samplers._bayes import bayes
from jaxhp.samplers._cma_es import cma_es
from jaxhp.samplers._coarse_to_fine import coarse_to_fine
from jaxhp.samplers._combine import freeze, mixture, sequence
from jaxhp.samplers._differential_evolution import differential_evolution
from jaxhp.samplers._grid import exhaust, grid_search
from jaxhp.samplers._hypergradient_descent import hypergradient_descent
from jaxhp.samplers._nsga2 import nsga2
from jaxhp.samplers._random import random_search
from jaxhp.samplers._regularized_evolution import regularized_evolution
from jaxhp.samplers._sobol import sobol, startup, startup_size
from jaxhp.samplers._tpe import tpe
from jaxhp.samplers._warm_start import warm_start

__all__ = [
    "auto",
    "bayes",
    "cma_es",
    "coarse_to_fine",
    "differential_evolution",
    "exhaust",
    "freeze",
    "grid_search",
    "hypergradient_descent",
    "mixture",
    "nsga2",
    "random_search",
    "regularized_evolution",
    "sequence",
    "sobol",
    "startup",
    "startup_size",
    "tpe",
    "warm_start",
]
