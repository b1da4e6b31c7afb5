"""`jaxhp.optim`: the parts of an optimiser that one wants to tune, with every number a traced scalar (docs/optim.md).

optax's rules take traced hyperparameters as they are; its schedules want numbers of steps that are known when they compile, and a
choice between two of them is a Python `if`. Here the whole shape of a schedule, how gradients are clipped, and the rates of groups of
parameters are inputs of the program, so that lanes share it.

    optimizer=lambda h: optax.chain(
        jaxhp.optim.clip(h["clip"]),
        optax.adamw(jaxhp.optim.schedule(2000, h["learning_rate"], warmup=h["warmup"], kind=h["schedule"])),
        jaxhp.optim.scale_by_group({"embedding/*": h["embedding_rate"]}),
    )
"""

from __future__ import annotations

from jaxhp.train.optim._averaging import eval_params
from jaxhp.train.optim._clipping import CLIPPINGS, clip
from jaxhp.train.optim._groups import labels, scale_by_group
from jaxhp.train.optim._schedules import SCHEDULES, schedule

__all__ = ["CLIPPINGS", "SCHEDULES", "clip", "eval_params", "labels", "scale_by_group", "schedule"]
