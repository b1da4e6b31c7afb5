"""Schedulers: who is given more training steps, and who is stopped.

A scheduler is a tuple of pure functions over told rows, like a sampler (`jaxhp.Scheduler`). The same one serves trials that
train in lanes, which can be paused (`decide`), and black boxes that report, which can only be stopped (`keep`).
All of them look at the first metric of the study.
"""

from __future__ import annotations

from jaxhp.schedulers._asha import asha
from jaxhp.schedulers._hyperband import hyperband
from jaxhp.schedulers._median import median_stopping
from jaxhp.schedulers._patience import patience
from jaxhp.schedulers._pb2 import pb2
from jaxhp.schedulers._pbt import pbt
from jaxhp.schedulers._plain import to_the_end
from jaxhp.schedulers._schedule import Schedule, replay
from jaxhp.schedulers._successive_halving import successive_halving

__all__ = ["Schedule", "asha", "hyperband", "median_stopping", "patience", "pb2", "pbt", "replay", "successive_halving", "to_the_end"]
