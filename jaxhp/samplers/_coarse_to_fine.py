"""Coarse to fine: a coarse grid, then finer grids inside the best cells.

Round 1 asks the centres of levels^c equal cells (c numeric parameters; every choice of a categorical). When all cells of a
round have been asked, round r + 1 cuts the boxes around the `top` best configurations told so far, of width levels^-r, into
`levels` per numeric axis, categoricals as in the best configuration. What is pending is not waited for. With an odd
number of levels the middle cell is the configuration that won; it is not asked again.

A round is fixed by the first configuration that is asked after the round before it is complete, so replaying the log fixes the same one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxhp._arguments import is_whole, plain_arguments
from jaxhp._types import Floats, Ints, Outcome, Problem, Sampler, Status, Trials
from jaxhp.errors import SamplerError, SpaceError
from jaxhp.samplers._axes import encoded, every_level, is_categorical, nearest_levels
from jaxhp.samplers._cells import Walk, cells, check_size, infeasible, keys, offset
from jaxhp.space import Space


class CoarseToFineState(NamedTuple):
    space: Space
    outcomes: tuple[Outcome, ...]
    seed: int
    round: int  # 1 is the coarse grid
    walk: Walk  # of this round
    visited: set[bytes]  # keys of every configuration asked so far; grows in place
    results: dict[int, tuple[Floats, Floats]]  # (u, y) of each finished trial, by number; grows in place


@plain_arguments
def coarse_to_fine(levels: int = 3, rounds: int = 3, top: int = 1) -> Sampler:
    """A coarse grid, then finer grids around the best configurations, then nothing is left.

    With constraints on metrics, those that meet them are better; of several objectives the mean rank counts. While nothing has
    succeeded, the next round cuts the box around the default configuration.

    Args:
        levels: cells per numeric parameter and round.
        rounds: grids in all; the last one's cells have width levels**-rounds.
        top: how many configurations the next round refines.

    Raises:
        SamplerError: levels below 2, rounds or top below 1.
        SpaceError: when the study starts: a round has more than 1e12 cells, or the coarse grid has no feasible one.

    >>> import jaxhp
    >>> study = jaxhp.Study(jaxhp.Space({"x": jaxhp.Float(0.0, 1.0)}), sampler=jaxhp.coarse_to_fine(levels=3, rounds=2))
    >>> study.optimize(lambda trial: abs(trial["x"] - 0.7), trials=100)
    Study('study', memory, 5 finished, 0 running, 0 failed, best 0.0222222)
    """
    name = f"coarse_to_fine(levels={levels!r}, rounds={rounds!r}, top={top!r})"
    for argument, value, least in (("levels", levels, 2), ("rounds", rounds, 1), ("top", top, 1)):
        if not is_whole(value) or value < least:
            raise SamplerError(f"{name}: {argument}: expected a number of at least {least}, got {value!r}")

    def walk(space: Space, boxes: list[Floats], seed: int, number: int) -> Walk:
        """The cells of a round, which cuts the boxes around these points."""
        half = 0.5 * levels ** (1.0 - number)
        grids = tuple(cells(space, tuple(_axis(space, j, u[j], half, levels) for j in range(space.d))) for u in boxes)
        check_size(sum(g.size for g in grids), name, "give fewer levels, or freeze() some parameters")
        return Walk(space, grids, offset(seed, number, "coarse_to_fine"))

    def advance(state: CoarseToFineState) -> CoarseToFineState:
        """The round from which the next suggestion comes."""
        while state.walk.done(state.visited) and state.round < rounds:
            number = state.round + 1
            state = state._replace(round=number, walk=walk(state.space, _best(state, top), state.seed, number))
        return state

    def init(problem: Problem, seed: int) -> CoarseToFineState:
        space = problem.space
        coarse = walk(space, [np.full(space.d, np.nan)], seed, 1)
        if coarse.done(set()):
            raise SpaceError(f"{name}: none of the {coarse.size} coarse cells {infeasible(space)}; give more levels, or use sobol()")
        return CoarseToFineState(space, problem.outcomes, seed, 1, coarse, set(), {})

    def tell(state: CoarseToFineState, trials: Trials) -> CoarseToFineState:
        numbers = trials.number.tolist()
        finished = np.isfinite(trials.y).all(axis=1) & np.isin(trials.status, (Status.COMPLETE, Status.STOPPED))
        for i, key in enumerate(keys(trials.u)):
            if numbers[i] >= 0 and key not in state.visited:
                state = advance(state)
                state.visited.add(key)
            if finished[i]:
                state.results[numbers[i]] = trials.u[i].copy(), trials.y[i].copy()
        return state

    def ask(state: CoarseToFineState, numbers: Ints) -> Floats:
        state = advance(state)  # of this call only: the asked row fixes it when it is told
        return state.walk.ahead(len(numbers), state.visited)

    return Sampler(init, tell, ask, name, finite=True)


def _axis(space: Space, j: int, centre: float, half: float, levels: int) -> Floats:
    """The levels (u) of dim j in a box around `centre` (NaN: inactive in the best configuration, so unexplored)."""
    if is_categorical(space, j):
        return every_level(space, j) if np.isnan(centre) else np.array([centre])
    if np.isnan(centre):
        centre, half = 0.5, 0.5
    inside = min(max(centre, half), 1.0 - half)
    centres = inside + half * ((2.0 * np.arange(levels) + 1.0) / levels - 1.0)
    return encoded(space, j, np.unique(nearest_levels(space, j, centres))) if space.dims.levels[j] else centres


def _best(state: CoarseToFineState, top: int) -> list[Floats]:
    """The u of the best configurations told; ties go to the lower number."""
    if not state.results:
        return [state.space.default()]
    numbers = sorted(state.results)
    u = [state.results[n][0] for n in numbers]
    y = np.array([state.results[n][1] for n in numbers])
    rank, excess = np.zeros(len(numbers)), np.zeros(len(numbers))
    for i, outcome in enumerate(state.outcomes):
        if outcome.threshold is None:
            rank += np.searchsorted(np.sort(y[:, i]), y[:, i])
        else:
            excess += np.maximum(y[:, i] - outcome.sign * outcome.threshold, 0.0)
    chosen: dict[bytes, Floats] = {}
    for i in np.lexsort((rank, excess)):
        chosen.setdefault(keys(u[i][None])[0], u[i])
        if len(chosen) == top:
            break
    return list(chosen.values())
