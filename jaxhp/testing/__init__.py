"""The laws of jaxhp as functions, for the test suites of those who write samplers, schedulers and logs.

    from jaxhp.testing import check_sampler

    def test_my_sampler_keeps_the_laws():
        check_sampler(my_sampler(), space)

Each raises an AssertionError that names the law that broke and how. `spaces()` and `histories(space)` are Hypothesis strategies.
"""

from __future__ import annotations

from jaxhp.testing._histories import NASTY, nasty_history, rows
from jaxhp.testing._logs import check_log
from jaxhp.testing._samplers import SAMPLER_LAWS, check_sampler
from jaxhp.testing._schedulers import SCHEDULER_LAWS, check_scheduler, simulated
from jaxhp.testing._strategies import histories, spaces
from jaxhp.testing._studies import check_study

__all__ = [
    "NASTY",
    "SAMPLER_LAWS",
    "SCHEDULER_LAWS",
    "check_log",
    "check_sampler",
    "check_scheduler",
    "check_study",
    "histories",
    "nasty_history",
    "rows",
    "simulated",
    "spaces",
]
