"""The algebra of samplers: in sequence, in a mixture, with parameters frozen. The results are samplers and combine again.

Every part is told every row. A part that runs out hands its numbers on. An ask that would cross from one part to
another is answered up to the crossing, so that the next part is told those points before it is asked.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxhp._arguments import is_real, is_whole, plain_arguments
from jaxhp._rng import uniform
from jaxhp._types import Bools, Floats, Ints, Params, Problem, Sampler, Trials
from jaxhp.errors import SamplerError


class PartsState(NamedTuple):
    seed: int
    d: int
    states: tuple[Any, ...]  # of the parts


@plain_arguments
def sequence(*parts: tuple[Sampler, int | None]) -> Sampler:
    """One sampler after the other, by trial number.

    `sequence((sobol(), 16), (random_search(), None))` gives trials 0-15 to `sobol` and all others to `random_search`. A count of None
    means for good, or until the sampler has nothing left. Numbers that a sampler cannot serve go to the one after it; beyond the last
    count nothing is left.

    Raises:
        SamplerError: no parts, a count that is not positive, or None before the last part for a sampler that never ends.

    >>> import jaxhp
    >>> jaxhp.sequence((jaxhp.sobol(), 16), (jaxhp.random_search(), None)).name
    'sequence((sobol(), 16), (random_search(), None))'
    """
    name = _named("sequence", parts, "jaxhp.sequence((jaxhp.sobol(), 16), (jaxhp.random_search(), None))")
    samplers = tuple(sampler for sampler, _ in parts)
    ends: list[float] = []
    for i, (sampler, count) in enumerate(parts):
        if count is None:
            if i < len(parts) - 1 and not sampler.finite:
                raise SamplerError(f"{name}: {sampler.name} never ends, so what follows it is never asked; give it a number of trials")
            ends.append(np.inf)
        elif not is_whole(count) or count < 1:
            raise SamplerError(f"{name}: expected a positive number of trials or None for {sampler.name}, got {count!r}")
        else:
            ends.append((ends[-1] if ends else 0) + count)
    limits = np.array(ends)

    def ask(state: PartsState, numbers: Ints) -> Floats:
        if len(numbers) == 1:
            run, first = numbers, bisect_right(ends, numbers[0])
        else:
            run, first = _run(numbers, np.searchsorted(limits, numbers, side="right"))
        return _first_answer(samplers, state, run, range(first, len(parts)))

    finite = parts[-1][1] is not None or samplers[-1].finite
    return Sampler(_init_parts(samplers), _tell_parts(samplers), ask, name, finite=finite)


@plain_arguments
def mixture(*parts: tuple[Sampler, float]) -> Sampler:
    """Each trial's sampler is drawn with the given weights, by (seed, number). The numbers of one that has nothing left go to the next.

    Raises:
        SamplerError: no parts, or a weight that is not positive and finite.

    >>> import jaxhp
    >>> jaxhp.mixture((jaxhp.sobol(), 3), (jaxhp.random_search(), 1)).name
    'mixture((sobol(), 3), (random_search(), 1))'
    """
    name = _named("mixture", parts, "jaxhp.mixture((jaxhp.sobol(), 3), (jaxhp.random_search(), 1))")
    samplers = tuple(sampler for sampler, _ in parts)
    for sampler, weight in parts:
        if not is_real(weight) or not 0 < weight < np.inf:
            raise SamplerError(f"{name}: expected a positive weight for {sampler.name}, got {weight!r}")
    if sum(float(weight) for _, weight in parts) == np.inf:
        raise SamplerError(f"{name}: the weights add up to more than a float holds; divide them by the largest")
    shares = np.cumsum(np.array([weight for _, weight in parts], dtype=np.float64))
    shares /= shares[-1]

    def ask(state: PartsState, numbers: Ints) -> Floats:
        drawn = uniform(state.seed, numbers, "mixture", 1)[:, 0]
        run, first = _run(numbers, np.searchsorted(shares, drawn, side="right"))
        return _first_answer(samplers, state, run, [(first + i) % len(parts) for i in range(len(parts))])

    return Sampler(_init_parts(samplers), _tell_parts(samplers), ask, name, finite=all(s.finite for s in samplers))


class FrozenState(NamedTuple):
    lift: Callable[[Floats], Floats]  # (k, d') u of the reduced space -> (k, d)
    lower: Callable[[Floats], tuple[Bools, Floats]]  # (n, d) u -> which rows match (n,), and their reduced u
    kept: Ints  # (d',) columns of the full space
    state: Any


@plain_arguments
def freeze(sampler: Sampler, params: Params) -> Sampler:
    """The sampler searches the other parameters while these keep their values. Trials with other values are not told to it.

    Raises:
        SamplerError: nothing is frozen.
        SpaceError: when the study starts: an unknown parameter, or a value outside the space.

    >>> import jaxhp
    >>> space = jaxhp.Space({"lr": jaxhp.Float(1e-4, 1.0, log=True), "width": jaxhp.Int(16, 64)})
    >>> study = jaxhp.Study(space, sampler=jaxhp.freeze(jaxhp.random_search(), {"width": 64}))
    >>> {trial["width"] for trial in study.ask(5)}
    {64}
    """
    if not isinstance(sampler, Sampler):
        raise SamplerError(f"freeze: expected a sampler first, got {sampler!r}; is a pair of parentheses missing?")
    if not isinstance(params, Mapping) or not params:
        raise SamplerError(f"freeze: expected the values to keep, such as {{'width': 64}}, got {params!r}")
    frozen = dict(params)

    def init(problem: Problem, seed: int) -> FrozenState:
        space, lift, lower = problem.space.fix(frozen)
        names = list(problem.space.names)
        kept = np.array([names.index(n) for n in space.names], dtype=np.int64)
        return FrozenState(lift, lower, kept, sampler.init(problem._replace(space=space, dims=space.dims), seed))

    def tell(state: FrozenState, trials: Trials) -> FrozenState:
        match, u = state.lower(trials.u)
        if not match.any():
            return state
        rows = Trials._make(column[match] for column in trials)
        rows = rows._replace(u=u, gradient=np.ascontiguousarray(rows.gradient[:, state.kept]))
        return state._replace(state=sampler.tell(state.state, rows))

    def ask(state: FrozenState, numbers: Ints) -> Floats:
        return state.lift(sampler.ask(state.state, numbers))

    return Sampler(init, tell, ask, f"freeze({sampler.name}, {frozen!r})", finite=sampler.finite)


def _named(what: str, parts: tuple[Any, ...], example: str) -> str:
    """The name of a combination, once its parts are pairs that begin with a sampler."""
    if not parts:
        raise SamplerError(f"{what}(): nothing to combine; for example {example}")
    for part in parts:
        if isinstance(part, Sampler) or not isinstance(part, tuple) or len(part) != 2 or not isinstance(part[0], Sampler):
            raise SamplerError(f"{what}: expected pairs that begin with a sampler, got {part!r}; for example {example}")
    return f"{what}({', '.join(f'({sampler.name}, {argument!r})' for sampler, argument in parts)})"


def _init_parts(samplers: tuple[Sampler, ...]) -> Callable[[Problem, int], PartsState]:
    def init(problem: Problem, seed: int) -> PartsState:
        return PartsState(seed, problem.space.d, tuple(sampler.init(problem, seed) for sampler in samplers))

    return init


def _tell_parts(samplers: tuple[Sampler, ...]) -> Callable[[PartsState, Trials], PartsState]:
    def tell(state: PartsState, trials: Trials) -> PartsState:
        return state._replace(states=tuple(sampler.tell(s, trials) for sampler, s in zip(samplers, state.states, strict=True)))

    return tell


def _run(numbers: Ints, part: Ints) -> tuple[Ints, int]:
    """The first numbers that belong to one part, and that part."""
    if not len(numbers):
        return numbers, 0
    other = np.flatnonzero(part != part[0])
    return numbers[: other[0]] if len(other) else numbers, int(part[0])


def _first_answer(samplers: tuple[Sampler, ...], state: PartsState, numbers: Ints, order: Iterable[int]) -> Floats:
    """The points of the first part in this order that has any left."""
    for i in order:
        u = samplers[i].ask(state.states[i], numbers)
        if len(u):
            return u
    return np.empty((0, state.d))
