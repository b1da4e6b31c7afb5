"""Hyperband: Li et al., Hyperband: a novel bandit-based approach to hyperparameter optimization (JMLR 18, 2018).

How long must a trial run before it may be judged? Hyperband hedges: brackets s = s_max, ..., 0 with about the same budget, from many
trials that are compared early to few that all run to the end. Notation of its Algorithm 1, with r (`min_steps`) in place of 1:

    s_max = floor(log_eta(R / r)),   n_s = ceil((s_max + 1) / (s + 1) eta^s) trials of r_s = R eta^-s steps,

then successive halving inside: floor(n_s eta^-i) trials at r_s eta^i. R is the last step (`max_steps`, or a full run).
The asynchronous form is that of Li et al., A system for massively parallel hyperparameter tuning (MLSys 2020): ASHA in each bracket.
"""

from __future__ import annotations

from typing import Any

from jaxhp._arguments import changed, plain_arguments
from jaxhp._types import Bools, Ints, Problem, Scheduler
from jaxhp.errors import SchedulerError
from jaxhp.schedulers._asha import asynchronous_brackets
from jaxhp.schedulers._cycle import Cycle, cycle
from jaxhp.schedulers._rungs import Ladder, check_arguments, check_length
from jaxhp.schedulers._successive_halving import synchronous_brackets


@plain_arguments
def hyperband(eta: int = 3, min_steps: int = 1, max_steps: int | None = None, asynchronous: bool = False) -> Scheduler:
    """Hyperband: successive halving in brackets whose first rungs differ, so that nobody need know how early trials can be judged.

    Bracket s starts ceil((s_max + 1) / (s + 1) * eta^s) trials and compares them from R eta^-s steps on, rounded down to a multiple of
    `min_steps`; R is `max_steps`, or the steps of a full run. s goes from the largest for which R eta^-s is not below `min_steps` down to
    0, whose trials all run to the end; then over again. Trials belong to brackets by their number. Inside a bracket all is as under
    `successive_halving`, and free lanes begin the next bracket meanwhile; a black box is compared with what its bracket showed so far.

    Args:
        eta: one in eta goes on.
        min_steps: the first rung of the boldest bracket; in the unit of the steps that trials report. Lanes evaluate all trials this often:
            with 1, after every step.
        max_steps: nobody is compared from here on; by default the steps of a full run, where the study trains. Black boxes must give it.
        asynchronous: nobody waits: brackets are ladders of `asha`, one of each kind, and trials are dealt to them in the same proportions,
            mixed evenly.

    Raises:
        SchedulerError: eta below 2, min_steps below 1 or above max_steps, asynchronous not a bool; when training starts: above the steps
            of a full run; at the first report of a black box: no max_steps.

    >>> hyperband(max_steps=81).name
    'hyperband(eta=3, min_steps=1, max_steps=81)'
    """
    shown = changed({"max_steps": (max_steps, None), "asynchronous": (asynchronous, False)})
    name = f"hyperband({', '.join([f'eta={eta!r}', f'min_steps={min_steps!r}', *shown])})"
    check_arguments(name, eta, min_steps, max_steps)
    if not isinstance(asynchronous, bool):
        raise SchedulerError(f"{name}: asynchronous: expected True or False, got {asynchronous!r}")

    def plan(problem: Problem) -> Cycle:
        check_length(name, problem, min_steps, max_steps)
        R = max_steps if max_steps is not None else problem.steps
        if R is None:  # a study that may still train; `keep` refuses black boxes
            return cycle((Ladder((min_steps,), 0, None),), (1,))
        return brackets(eta, min_steps, R, problem.steps if problem.steps is not None else R, mixed=asynchronous)

    scheduler = (asynchronous_brackets if asynchronous else synchronous_brackets)(name, eta, min_steps, plan)

    def keep(state: Any, numbers: Ints) -> Bools:
        if state.cycle.ladders[0].last is None:
            raise SchedulerError(
                f"{name}: its brackets depend on the steps of a full run, which a black box does not tell; give max_steps="
            )
        return scheduler.keep(state, numbers)

    return scheduler._replace(keep=keep)


def brackets(eta: int, r: int, R: int, last: int, mixed: bool) -> Cycle:
    """The brackets of Algorithm 1 in its order; those that reach R steps run to `last`.

    >>> plan = brackets(3, 1, 81, 81, mixed=False)
    >>> [(n, rungs.steps[0]) for n, rungs in zip(plan.sizes, plan.ladders)]
    [(81, 1), (34, 3), (15, 9), (8, 27), (5, 81)]
    """
    s_max = 0
    while r * eta ** (s_max + 1) <= R:
        s_max += 1
    steps = (*(R // eta**s // r * r for s in range(s_max, 0, -1)), last)
    ladders = tuple(Ladder(steps[s_max - s :], s, last) for s in range(s_max, -1, -1))
    sizes = tuple(-(-(s_max + 1) * eta**s // (s + 1)) for s in range(s_max, -1, -1))  # ceil, in whole numbers
    return cycle(ladders, sizes, mixed)
