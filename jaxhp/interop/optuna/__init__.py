"""Optuna: our samplers and schedulers inside its studies, and whole studies from one to the other (docs/interop.md).

`Sampler(jaxhp.bayes())` is an `optuna.samplers.BaseSampler`, `Pruner(jaxhp.asha())` an `optuna.pruners.BasePruner`; `from_optuna` and
`to_optuna` convert studies, so that Optuna's plots, importances and dashboard show ours. `pip install "jaxhp[optuna]"`.

Files: parameters and distributions (`_distributions.py`), an Optuna study's trials as the rows of a log (`_history.py`), the two
adapters (`_sampler.py`, `_pruner.py`), studies (`_from_optuna.py`, `_to_optuna.py`).
"""

from __future__ import annotations

from jaxhp.errors import MissingExtra

try:
    import optuna as _optuna  # noqa: F401  # tells once what is missing
except ImportError as e:
    raise MissingExtra('jaxhp.interop.optuna needs optuna: pip install "jaxhp[optuna]"') from e

from jaxhp.interop.optuna._from_optuna import from_optuna
from jaxhp.interop.optuna._pruner import Pruner
from jaxhp.interop.optuna._sampler import Sampler
from jaxhp.interop.optuna._to_optuna import to_optuna

__all__ = ["Pruner", "Sampler", "from_optuna", "to_optuna"]
