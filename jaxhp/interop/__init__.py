"""Outside libraries, one door each, loaded when it is first used: `pip install "jaxhp[tensorboard]"`, `"jaxhp[wandb]"`, `"jaxhp[optuna]"`,
`"jaxhp[sklearn]"`, `"jaxhp[ray]"`.

`tensorboard` and `wandb` make callbacks for `study.train(callbacks=[...])`, which run between two segments. `optuna` is a module: our
samplers and schedulers in Optuna's studies, and whole studies from one to the other. `ray` is one, too: trials on a cluster, and our
samplers in Ray Tune. `sklearn` is one: a search over an estimator's parameters that is itself an estimator.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from jaxhp.interop._tensorboard import tensorboard
from jaxhp.interop._wandb import wandb

if TYPE_CHECKING:
    import jaxhp.interop.optuna as optuna
    import jaxhp.interop.ray as ray
    import jaxhp.interop.sklearn as sklearn

__all__ = ["optuna", "ray", "sklearn", "tensorboard", "wandb"]


def __getattr__(name: str) -> Any:
    if name in ("optuna", "ray", "sklearn"):
        return import_module(f"jaxhp.interop.{name}")
    raise AttributeError(f"module 'jaxhp.interop' has no attribute {name!r}")
