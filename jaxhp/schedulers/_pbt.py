"""Population based training: Jaderberg et al., Population based training of neural networks (arXiv:1711.09846, 2017).

A population trains side by side. Every so many steps its worst members copy the weights and the hyperparameters of its best ones
(**exploit**, `_exploit.py`) and change the latter a little (**explore**): so hyperparameters follow a schedule that is found while
the weights are trained, at the cost of training the population once.
Explore, section 3 of the paper, for each hyperparameter that may change: with a probability it is drawn anew from its range
(**resample**); else its value, in the user's units, is multiplied by one of a few factors (**perturb**).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxhp._arguments import changed, is_real, plain_arguments
from jaxhp._axis import Axis
from jaxhp._rng import rng
from jaxhp._types import Floats, Kind, Problem, Scheduler
from jaxhp.errors import SchedulerError, SpaceError
from jaxhp.schedulers._exploit import tournament, truncation
from jaxhp.schedulers._population import Members, Pairs, Rank, check_population, in_rounds
from jaxhp.space import Float, Space

_ATTEMPTS = 16  # to find a feasible point; then the parent's


@plain_arguments
def pbt(
    every: int,
    population: int = 20,
    *,
    exploit: str = "truncation",
    fraction: float = 0.2,
    perturb: Sequence[float] = (0.8, 1.2),
    resample: float = 0.25,
    mutate: Sequence[str] | None = None,
) -> Scheduler:
    """Population based training: the worst members of a population go on from copies of the best, with changed hyperparameters.

    Trials 0 to `population` - 1 are the first population, the next ones the second, and so on; each has its own rounds, and a trial keeps
    its number whosever weights it trains. A round ends when all members have trained `every` steps more; one whose result is not finite,
    because it diverged, copies from a finite one. What a trial reports, and its `params`, are of the hyperparameters in force;
    `study.schedule(number)` recovers how they changed, and `jaxhp.replay` trains with such a schedule again.

    Args:
        every: steps between two rounds, in the unit of the steps of a run. The paper takes some 1,000 to 10,000 updates, so that a change
            shows; there should be ten rounds or more.
        population: how many members; 20 to 80 in the paper.
        exploit: "truncation": the worst `fraction` copy one of the best `fraction`; "tournament": each member looks at another one, and
            copies it if it is better.
        fraction: for truncation.
        perturb: factors, one of which multiplies a value; integers and ordinals move by one level at least, categories stay.
        resample: the probability that a value is drawn anew instead.
        mutate: names of the parameters that may change; by default each Float. All others are inherited together with the weights, as those
            that shapes depend on must be, and so are categories, unless they are named here.

    Raises:
        SchedulerError: an argument is not valid; when training starts: `every` is above the steps of a run, or nothing may change.

    >>> pbt(every=500, population=16).name
    'pbt(every=500, population=16)'
    """
    factors = tuple(perturb) if isinstance(perturb, (tuple, list)) else ()
    own = changed({"perturb": (factors, (0.8, 1.2)), "resample": (resample, 0.25)})
    name = f"pbt({', '.join([shown(every, population, exploit, fraction, mutate), *own])})"
    rule = check_exploit(name, every, population, exploit, fraction, mutate)
    for factor in factors:
        if not is_real(factor) or not 0 < factor < math.inf:
            raise SchedulerError(f"{name}: perturb: expected positive factors such as (0.8, 1.2), got {factor!r}")
    if not factors:
        raise SchedulerError(f"{name}: perturb: expected at least one factor, such as (0.8, 1.2), got {perturb!r}")
    if not is_real(resample) or not 0 <= resample <= 1:
        raise SchedulerError(f"{name}: resample: expected a probability in [0, 1], got {resample!r}")

    def explore(problem: Problem, seed: int, members: Members, r: int, pairs: Pairs) -> list[Floats]:
        space = problem.space
        dims = mutable(name, space, mutate)
        return [explored(space, members[parent].marks[r].u, dims, factors, resample, seed, child, r) for child, parent in pairs]

    return in_rounds(name, population, every, rule, explore, lambda problem: mutable(name, problem.space, mutate))


def explored(space: Space, u: Floats, dims: list[int], factors: Sequence[float], resample: float, seed: int, number: int, r: int) -> Floats:
    """A point (d,) near u: these dims are perturbed or drawn anew; a parameter that becomes active is drawn."""
    for attempt in range(_ATTEMPTS):
        draw = rng(seed, number, "pbt explore", (r << 8) + attempt)
        anew, again, which = draw.random(space.d), draw.random(space.d), draw.integers(len(factors), size=space.d)
        plain = space.encoded.decode(u[None])[0]
        for j in dims:
            if not math.isnan(plain[j]):
                plain[j] = perturbed(space.axes[j], float(plain[j]), factors[which[j]])
        new = u.copy()
        new[dims] = space.encoded.encode(plain[None])[0][dims]
        for j in range(space.d):
            if math.isnan(new[j]) or (j in dims and again[j] < resample):
                new[j] = anew[j]
        found: Floats = space.snap(new[None])[0]
        if space.feasible(found[None])[0]:
            return found
    return u.copy()


def perturbed(axis: Axis, plain: float, factor: float) -> float:
    """A plain value times a factor, in the user's units and within the range; a level moves by one at least, a category stays.

    >>> from jaxhp import Int
    >>> axis = Space({"n": Int(1, 9)}).axes[0]
    >>> [perturbed(axis, level, 1.2) for level in (0.0, 7.0, 8.0)]  # 1, 8, 9
    [1.0, 8.0, 8.0]
    """
    if axis.kind == Kind.CATEGORICAL:
        return plain
    if axis.levels == 0:
        return min(max(plain * factor, axis.low), axis.high)
    if axis.kind == Kind.ORDINAL:
        level = plain + np.sign(factor - 1.0)
    else:
        value = float(axis.values(np.array([plain]))[0])
        wanted = value * factor
        level = min(axis.nearest(wanted), key=lambda x: abs(float(axis.values(np.array([x]))[0]) - wanted))
        if level == plain:
            level += np.sign(wanted - value)
    return float(min(max(level, 0.0), axis.levels - 1.0))


def mutable(name: str, space: Space, mutate: Sequence[str] | None) -> list[int]:
    """The dims that may change.

    Raises:
        SchedulerError: a name is not of the space, or none may change.
    """
    if mutate is None:
        found = [j for j, p in enumerate(space.parameters.values()) if isinstance(p, Float)]
        if not found:
            raise SchedulerError(f"{name}: the space has no Float, and nothing else changes by default; name what may: mutate=(...,)")
        return found
    try:
        return sorted({space.index_of(each) for each in mutate})
    except SpaceError as e:
        raise SchedulerError(f"{name}: mutate: {e}") from e


def shown(every: int, population: int, exploit: str, fraction: float, mutate: Sequence[str] | None) -> str:
    """The arguments that all populations share, as their names show them."""
    given = changed({"exploit": (exploit, "truncation"), "fraction": (fraction, 0.2), "mutate": (mutate, None)})
    return ", ".join([f"every={every!r}", f"population={population!r}", *given])


def check_exploit(name: str, every: int, population: int, exploit: str, fraction: float, mutate: Any) -> Rank:
    """The rule of these arguments.

    Raises:
        SchedulerError: one is not valid.
    """
    check_population(name, population, every)
    if exploit not in ("truncation", "tournament"):
        raise SchedulerError(f"{name}: exploit: expected 'truncation' or 'tournament', got {exploit!r}")
    if not is_real(fraction) or not 0 < fraction <= 0.5:
        raise SchedulerError(f"{name}: fraction: expected a share in (0, 0.5], got {fraction!r}")
    if mutate is not None and (isinstance(mutate, str) or not isinstance(mutate, Sequence) or not mutate):
        raise SchedulerError(f"{name}: mutate: expected names of parameters, such as ('learning_rate',), or None, got {mutate!r}")
    return truncation(fraction) if exploit == "truncation" else tournament()
