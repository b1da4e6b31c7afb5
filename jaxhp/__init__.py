"""jaxhp: hyperparameter tuning with a compiled core.

A `Space` says what may vary, a `Study` searches it with a sampler. Names load when they are first used (PEP 562), so
`import jaxhp` costs a few milliseconds and loads none of numba, jax, scipy or sqlalchemy.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_MODULE_OF = {
    "Space": "space",
    "Float": "space",
    "Int": "space",
    "Ordinal": "space",
    "Categorical": "space",
    "Study": "study",
    "Trial": "trial",
    "Status": "_types",
    "Trials": "_types",
    "Sampler": "_types",
    "Scheduler": "_types",
    "Slots": "_types",
    "Decision": "_types",
    "Problem": "_types",
    "random_search": "samplers",
    "sobol": "samplers",
    "grid_search": "samplers",
    "cma_es": "samplers",
    "coarse_to_fine": "samplers",
    "nsga2": "samplers",
    "auto": "samplers",
    "bayes": "samplers",
    "sequence": "samplers",
    "mixture": "samplers",
    "freeze": "samplers",
    "hypergradient_descent": "samplers",
    "differential_evolution": "samplers",
    "regularized_evolution": "samplers",
    "tpe": "samplers",
    "warm_start": "samplers",
    "asha": "schedulers",
    "successive_halving": "schedulers",
    "hyperband": "schedulers",
    "median_stopping": "schedulers",
    "patience": "schedulers",
    "pb2": "schedulers",
    "pbt": "schedulers",
    "replay": "schedulers",
    "Schedule": "schedulers",
    "supervised": "train",
    "Trainable": "train",
    "padded": "train",
    "held_back": "train",
    "check_padding": "train",
    "plan_buckets": "train",
    "PaddingReport": "train",
    "Plan": "train",
    "Lanes": "train",
    "Stream": "train",
    "value_and_hypergrad": "train.hypergrad",
    "unit_gradient": "train.hypergrad",
    "lane_key": "train.hypergrad",
    "Reverse": "train.hypergrad",
    "Forward": "train.hypergrad",
    "Truncated": "train.hypergrad",
    "Implicit": "train.hypergrad",
    "SmoothedSlope": "train.hypergrad",
    "OneStep": "train.hypergrad",
    "Guarded": "train.hypergrad",
    "Progress": "_training",
    "InLanes": "_in_lanes",
    "Leases": "_leases",
    "Part": "_parts",
    "pareto_front": "pareto",
    "enough": "analysis",
    "JaxhpError": "errors",
    "SpaceError": "errors",
    "StudyError": "errors",
    "SpaceExhausted": "errors",
    "SamplerError": "errors",
    "SchedulerError": "errors",
    "TrainableError": "errors",
    "StorageError": "errors",
    "LogConflict": "errors",
    "LeaseLost": "errors",
    "ObjectiveError": "errors",
    "WorkerLost": "errors",
    "MissingExtra": "errors",
}
_MODULES = ("analysis", "errors", "interop", "pareto", "report", "samplers", "schedulers", "space", "storage", "study", "testing", "train")
_INNER = {name: f"train.{name}" for name in ("hypergrad", "masks", "optim")}  # modules of train/ that are used by their own names

__all__ = [*_MODULE_OF, *_MODULES, *_INNER, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        value = getattr(import_module(f"jaxhp.{_MODULE_OF[name]}"), name)
    elif name in _MODULES or name in _INNER:
        value = import_module(f"jaxhp.{_INNER.get(name, name)}")
    else:
        raise AttributeError(f"module 'jaxhp' has no attribute {name!r}")
    globals()[name] = value  # the next look-up is a plain one
    return value


def __dir__() -> list[str]:
    return __all__
