"""Outside libraries, one door each, loaded when it is first used: `pip install "jaxhp[tensorboard]"`, `"jaxhp[wandb]"`, `"jaxhp[optuna]"`.

`tensorboard` and `wandb` make callbacks for `study.train(callbacks=[...])`, which run between two segments. `optuna` is a module: our
samplers and schedulers in Optuna's studies, and whole studies from one to the other.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from jaxhp.interop._tensorboard import tensorboard
from jaxhp.interop._wandb import wandb

if TYPE_CHECKING:
    import jaxhp.interop.optuna as optuna

__all__ = ["optuna", "tensorboard", "wandb"]


def __getattr__(name: str) -> Any:
    if name == "optuna":
        return import_module("jaxhp.interop.optuna")
    raise AttributeError(f"module 'jaxhp.interop' has no attribute {name!r}")
