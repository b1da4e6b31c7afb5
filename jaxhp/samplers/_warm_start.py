"""Warm start: a sampler that begins with what another study learned.

Foreign trials are matched by the names of their parameters, and get negative numbers, so that they never mix with this
study's: they inform a model, and do not count as visited, asked or best here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from jaxhp._types import ENDED, Floats, Ints, Outcome, Problem, Sampler, Trials
from jaxhp.errors import SamplerError, SpaceError
from jaxhp.samplers._axes import encoded_value
from jaxhp.space import Space


class Finished(Protocol):
    """What of a `Study` is read here."""

    @property
    def space(self) -> Space: ...
    @property
    def trials(self) -> Trials: ...
    @property
    def outcomes(self) -> Sequence[Outcome]: ...


class WarmState(NamedTuple):
    state: Any  # of the inner sampler


def warm_start(sampler: Sampler, source: Finished | tuple[Space, Trials]) -> Sampler:
    """The sampler, told at its start what another study found.

    A parameter that the other study did not have takes its default here; a trial with a value that does not fit this space, or that breaks
    a constraint of it, is left out. Pending trials are left out. The name holds the number of trials and a hash of them, so that the log
    shows when a study goes on with other knowledge.

    Args:
        sampler: what searches.
        source: a `Study`, or `(space, trials)` with y minimised.

    Raises:
        SamplerError: not a study or pair; when the study starts: other metrics than this study's.

    >>> import jaxhp
    >>> old = jaxhp.Study(jaxhp.Space({"x": jaxhp.Float(0.0, 1.0)})).optimize(lambda trial: trial["x"], trials=8)
    >>> new = jaxhp.Study(jaxhp.Space({"x": jaxhp.Float(0.0, 2.0)}), sampler=jaxhp.warm_start(jaxhp.coarse_to_fine(), old))
    >>> new.ask().number
    0
    """
    if not isinstance(sampler, Sampler):
        raise SamplerError(f"warm_start: expected a sampler first, got {sampler!r}; is a pair of parentheses missing?")
    outcomes: Sequence[Outcome] | None = None
    if isinstance(source, tuple):
        pair: tuple[Any, ...] = source
        if len(pair) != 2 or not isinstance(pair[0], Space) or not isinstance(pair[1], Trials):
            seen = ", ".join(type(part).__name__ for part in pair)
            raise SamplerError(f"warm_start: expected a study or a pair (space, trials), got ({seen})")
        space, trials = pair
    elif hasattr(source, "space") and hasattr(source, "trials") and hasattr(source, "outcomes"):
        space, trials, outcomes = source.space, source.trials, tuple(source.outcomes)
    else:
        raise SamplerError(f"warm_start: expected a study or a pair (space, trials), got {source!r}")
    known = _known(trials)

    def init(problem: Problem, seed: int) -> WarmState:
        _check_outcomes(problem, outcomes, known)
        state = sampler.init(problem, seed)
        rows = _foreign(space, known, problem.space)
        return WarmState(sampler.tell(state, rows) if len(rows.number) else state)

    def tell(state: WarmState, rows: Trials) -> WarmState:
        return WarmState(sampler.tell(state.state, rows))

    def ask(state: WarmState, numbers: Ints) -> Floats:
        return sampler.ask(state.state, numbers)

    name = f"warm_start({sampler.name}, {len(known.number)} trials {_hash(space, known)})"
    return Sampler(init, tell, ask, name, finite=sampler.finite)


def _known(trials: Trials) -> Trials:
    """Copies of the rows that hold a result."""
    told = np.isin(trials.status, ENDED)
    return Trials._make(np.array(column[told], order="C") for column in trials)


def _check_outcomes(problem: Problem, outcomes: Sequence[Outcome] | None, known: Trials) -> None:
    own = [(o.name, o.direction) for o in problem.outcomes]
    if outcomes is not None and own != [(o.name, o.direction) for o in outcomes]:
        theirs = ", ".join(f"{o.direction} {o.name}" for o in outcomes)
        ours = ", ".join(f"{direction} {name}" for name, direction in own)
        raise SamplerError(f"warm_start: the source has the metrics {theirs}, this study {ours}; give (space, trials)")
    if known.y.shape[1] != len(own):
        raise SamplerError(f"warm_start: the trials have {known.y.shape[1]} columns of y, this study has {len(own)} metrics")


def _hash(space: Space, known: Trials) -> str:
    digest = hashlib.sha256(json.dumps(space.to_json(), sort_keys=True).encode())
    for column in (known.u, known.y, known.noise, known.status, known.fidelity):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()[:8]


def _foreign(old: Space, known: Trials, new: Space) -> Trials:
    """The rows that fit this space, with numbers -1, -2, ... by trial."""
    fitting: list[int] = []
    points: list[Floats] = []
    usual = new.defaults_everywhere()
    for i, foreign in enumerate(known.u):
        params = old.params(foreign)
        try:
            u = [encoded_value(new, j, params[name]) if name in params else usual[j] for j, name in enumerate(new.names)]
        except SpaceError:
            continue
        point = new.snap(np.array([u]))
        if new.feasible(point)[0]:
            fitting.append(i)
            points.append(point[0])
    rows = Trials._make(np.ascontiguousarray(column[fitting]) for column in known)
    order = {number: -1 - i for i, number in enumerate(dict.fromkeys(rows.number.tolist()))}
    number = np.array([order[n] for n in rows.number.tolist()], dtype=np.int64)
    own = np.array(points).reshape(len(points), new.d)
    return rows._replace(number=number, u=own, gradient=np.full(own.shape, np.nan))  # slopes of the other cube
