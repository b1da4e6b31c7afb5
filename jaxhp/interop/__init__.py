"""Outside libraries, one file each, loaded when it is first called: `pip install "jaxhp[tensorboard]"`, `"jaxhp[wandb]"`.

`tensorboard` and `wandb` make callbacks for `study.train(callbacks=[...])`, which run between two segments.
"""

from __future__ import annotations

from jaxhp.interop._tensorboard import tensorboard
from jaxhp.interop._wandb import wandb

__all__ = ["tensorboard", "wandb"]
