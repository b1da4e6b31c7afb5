"""Training many configurations in one compiled program (JAX). Never imports the search; `study.train` joins the two."""

from __future__ import annotations

from jaxhp.train import optim
from jaxhp.train._buckets import Bucket, Plan, plan_buckets
from jaxhp.train._held_back import held_back
from jaxhp.train._hparams import traced
from jaxhp.train._lanes import Lanes, LaneState
from jaxhp.train._padded import padded
from jaxhp.train._padding import PaddingReport, check_padding
from jaxhp.train._stream import Stream
from jaxhp.train._supervised import supervised
from jaxhp.train._trainable import Trainable, check

__all__ = [
    "Bucket",
    "LaneState",
    "Lanes",
    "PaddingReport",
    "Plan",
    "Stream",
    "Trainable",
    "check",
    "check_padding",
    "held_back",
    "optim",
    "padded",
    "plan_buckets",
    "supervised",
    "traced",
]
