"""Every error jaxhp raises on purpose. All derive from `JaxhpError`; each message names the argument, the value and the remedy."""

from __future__ import annotations


class JaxhpError(Exception):
    """Base of all errors raised by jaxhp."""


class SpaceError(JaxhpError, ValueError):
    """A search space, or a value for one, is not valid."""


class StudyError(JaxhpError, ValueError):
    """A study was asked for something it cannot do."""


class SpaceExhausted(JaxhpError):
    """Every configuration of a finite space has been suggested."""


class SamplerError(JaxhpError, ValueError):
    """A sampler's argument is not valid; or a sampler broke its contract: wrong shape, out of bounds, not finite, infeasible."""


class TrainableError(JaxhpError, ValueError):
    """What is to be trained breaks a rule: a function, a leaf, a metric or the data; the message says which and how to mend it."""


class SchedulerError(JaxhpError, ValueError):
    """A scheduler's argument is not valid, or does not fit the study's steps."""


class StorageError(JaxhpError):
    """A log cannot be read or written."""


class LogConflict(StorageError):
    """A compare-and-append found that another writer was first."""


class LeaseLost(StudyError):
    """A result came after its trial was taken from its worker and given to another; it is kept in the log, and does not count."""


class WorkerLost(JaxhpError):
    """An executor lost the worker that ran a trial, or broke; the trial is run again (see `Leases.requeue`)."""


class ObjectiveError(JaxhpError):
    """Too many trials in a row failed; the message summarises them."""


class MissingExtra(JaxhpError, ImportError):
    """An optional dependency is not installed; the message names the extra."""
