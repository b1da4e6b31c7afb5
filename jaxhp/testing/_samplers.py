"""What every sampler promises. A law is a function (sampler, problem, seed) that raises an AssertionError when it is broken.

States are linear, so no law keeps one while it tells another: each run folds its own history from `init`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from jaxhp._rng import rng
from jaxhp._types import Floats, Ints, Outcome, Problem, Sampler, Status, Trials
from jaxhp.space import Space
from jaxhp.testing._histories import NASTY, drawn, joined, nasty_history, part, rows, slope, value

Law = Callable[[Sampler, Problem, int], None]
_LENGTH = 24  # trials of an ordinary run: beyond every start-up design of a small space
_FORM = "points are canonical and feasible"
_MANY = 40  # points that exhaust a tiny space
_WORKERS = 3  # how many trials are pending at a time


def check_sampler(
    sampler: Sampler, space: Space, *, seed: int = 0, stochastic: bool = False, outcomes: int = 1, repeats: bool | None = None
) -> None:
    """Checks all laws of a sampler on a space.

    Args:
        sampler: what to check; it is started many times.
        space: what it shall search.
        seed: of the sampler and of the histories.
        stochastic: whether it is told that results are noisy.
        outcomes: how many objectives it is told about.
        repeats: whether it may suggest a configuration twice; by default a finite sampler may not.

    Raises:
        AssertionError: a law is broken; the message says which and how.

    >>> import jaxhp
    >>> check_sampler(jaxhp.random_search(), jaxhp.Space({"x": jaxhp.Float(0.0, 1.0)}))
    """
    problem = Problem(space, space.dims, tuple(Outcome(f"y{i}") for i in range(outcomes)), stochastic)
    for law in SAMPLER_LAWS:
        law(sampler, problem, seed)
    if repeats is False or (repeats is None and sampler.finite and not stochastic):
        pending_trials_are_seen(sampler, problem, seed)


def points_are_canonical_and_feasible(sampler: Sampler, problem: Problem, seed: int) -> None:
    """In the unit cube, discrete coordinates at their centres, NaN exactly where conditions say so, constraints met."""
    for u in _run(sampler, problem, seed)[0]:
        _check_points(sampler, problem, u[None], "an ordinary run")


def equal_seeds_give_equal_points(sampler: Sampler, problem: Problem, seed: int) -> None:
    """The seed names every draw; an endless sampler draws something else under another seed."""
    law = "equal seeds give equal points"
    points = _run(sampler, problem, seed)[0]
    _check_equal(sampler, law, points, _run(sampler, problem, seed)[0], "two runs with one seed")
    if not sampler.finite and all(_same(points, _run(sampler, problem, seed + i)[0]) for i in (1, 2, 3)):
        raise _broken(sampler, law, f"seeds {seed} to {seed + 3} give the same {len(points)} points; is the seed used?")


def asking_changes_nothing(sampler: Sampler, problem: Problem, seed: int) -> None:
    """Two asks of one state give one answer."""
    _, events, asked = _run(sampler, problem, seed)
    state = _folded(sampler, problem, seed, events)
    numbers = np.arange(asked, asked + 5, dtype=np.int64)
    first = _answer(sampler, problem, state, numbers)
    _check_equal(sampler, "asking changes nothing", first, _answer(sampler, problem, state, numbers), "the same ask, repeated")


def asking_for_many_equals_asking_one_by_one(sampler: Sampler, problem: Problem, seed: int) -> None:
    """`ask(n)` is n asks with each point told as pending before the next, to the bit."""
    _, events, _ = _run(sampler, problem, seed)
    for stop in (0, 1, 7, len(events.number)):
        history = part(events, 0, stop)
        many, single = (_asked(sampler, problem, _folded(sampler, problem, seed, history), _next(history), 9, step) for step in (9, 1))
        _check_equal(sampler, "asking for many equals asking one by one", many, single, f"9 points after {stop} rows")


def telling_at_once_equals_telling_in_parts(sampler: Sampler, problem: Problem, seed: int) -> None:
    """`tell(s, a + b)` is `tell(tell(s, a), b)`: what follows is equal to the bit."""
    histories = [("an ordinary run", _run(sampler, problem, seed)[1])]
    histories += [(name, nasty_history(name, problem, seed)) for name in NASTY]
    for name, history in histories:
        n = len(history.number)
        cuts = [[0, n], list(range(n + 1))]
        cuts += [[0, *sorted(rng(seed, i, "law cuts").integers(0, n + 1, 3).tolist()), n] for i in range(3)]
        answers = []
        for cut in cuts:
            state = sampler.init(problem, seed)
            for start, stop in pairwise(cut):
                state = sampler.tell(state, part(history, start, stop))
            answers.append(_asked(sampler, problem, state, _next(history), 6, 1))
        for cut, answer in zip(cuts[1:], answers[1:], strict=True):
            _check_equal(sampler, "telling at once equals telling in parts", answers[0], answer, f"{name}, cut at {cut}")


def replaying_equals_living(sampler: Sampler, problem: Problem, seed: int) -> None:
    """Each point of a live run follows from the rows before it alone."""
    points, events, _ = _run(sampler, problem, seed)
    asked = np.flatnonzero(events.status == Status.PENDING)
    for i in (0, len(asked) // 2, len(asked) - 1):
        if i < len(asked):
            history = part(events, 0, int(asked[i]))
            u = _answer(sampler, problem, _folded(sampler, problem, seed, history), np.array([i], dtype=np.int64))
            _check_equal(sampler, "replaying equals living", points[i : i + 1], u, f"trial {i} from its {len(history.number)} rows")


def only_finite_samplers_end(sampler: Sampler, problem: Problem, seed: int) -> None:
    """An ask is answered by at least one point, unless the sampler is marked as one that may run out."""
    points = _asked(sampler, problem, sampler.init(problem, seed), 0, _MANY, 7)
    if len(points) < _MANY and not sampler.finite:
        raise _broken(sampler, "only finite samplers end", f"it ran out after {len(points)} points, but is not marked as finite=True")


def pending_trials_are_seen(sampler: Sampler, problem: Problem, seed: int) -> None:
    """A sampler that promises no repeats knows what other workers and the user asked: told or pending, it is not suggested again."""
    others = drawn(problem, seed, 6, "law others")
    state = sampler.tell(sampler.init(problem, seed), rows(np.arange(6), others, outcomes=len(problem.outcomes)))
    known = {row.tobytes(): f"the pending trial {i}" for i, row in enumerate(others)}
    for i, row in enumerate(_asked(sampler, problem, state, 6, _MANY, 7)):
        if row.tobytes() in known:
            how = f"trial {6 + i} repeats {known[row.tobytes()]}: {problem.space.params(row)}"
            raise _broken(sampler, "pending trials are seen", how)
        known[row.tobytes()] = f"trial {6 + i}"


def nasty_histories_are_survived(sampler: Sampler, problem: Problem, seed: int) -> None:
    """Failures, infinities, constants, duplicates and the like never raise and are followed by valid points."""
    for name in NASTY:
        history = nasty_history(name, problem, seed)
        first = _next(history)
        try:
            state = _folded(sampler, problem, seed, history)
            u = _answer(sampler, problem, state, np.arange(first, first + 4, dtype=np.int64))
        except AssertionError:
            raise
        except Exception as e:
            raise _broken(sampler, "nasty histories are survived", f"{name!r} raised {type(e).__name__}: {e}") from e
        _check_points(sampler, problem, u, f"the history {name!r}")


def arguments_are_borrowed_for_one_call(sampler: Sampler, problem: Problem, seed: int) -> None:
    """Rows and numbers are not changed, and not kept: the caller may overwrite them after the call."""
    law = "arguments are borrowed for one call"
    _, events, asked = _run(sampler, problem, seed)
    n = len(events.number)
    lent = part(events, 0, n)
    for column in lent:
        column.flags.writeable = False
    numbers = np.arange(asked, asked + 4, dtype=np.int64)
    numbers.flags.writeable = False
    state = sampler.init(problem, seed)
    try:
        state = sampler.tell(state, lent)
        _answer(sampler, problem, state, numbers)
    except ValueError as e:
        if "read-only" in str(e):
            raise _broken(sampler, law, "it writes into the rows or numbers it was lent") from e
        raise
    for column in lent:
        column.flags.writeable = True
        column[:] = 0
    expected = _answer(sampler, problem, _folded(sampler, problem, seed, events), numbers)
    _check_equal(sampler, law, expected, _answer(sampler, problem, state, numbers), "asks after the rows told were overwritten")


def copies_are_independent(sampler: Sampler, problem: Problem, seed: int) -> None:
    """A deep copy of a state goes its own way: telling one changes nothing for the other."""
    law = "copies are independent"
    _, events, asked = _run(sampler, problem, seed)
    half = len(events.number) // 2
    state = _folded(sampler, problem, seed, part(events, 0, half))
    try:
        kept = copy.deepcopy(state)
    except TypeError as e:
        raise _broken(sampler, law, f"the state cannot be copied: {e}") from e
    expected = _asked(sampler, problem, _folded(sampler, problem, seed, part(events, 0, half)), asked, 4, 4)
    sampler.tell(state, part(events, half, len(events.number)))
    _check_equal(sampler, law, expected, _asked(sampler, problem, kept, asked, 4, 4), "a copy, after the original was told more")


SAMPLER_LAWS: tuple[Law, ...] = (
    nasty_histories_are_survived,
    points_are_canonical_and_feasible,
    equal_seeds_give_equal_points,
    asking_changes_nothing,
    asking_for_many_equals_asking_one_by_one,
    telling_at_once_equals_telling_in_parts,
    replaying_equals_living,
    only_finite_samplers_end,
    arguments_are_borrowed_for_one_call,
    copies_are_independent,
)


def _run(sampler: Sampler, problem: Problem, seed: int) -> tuple[Floats, Trials, int]:
    """A run with a few trials pending at a time: its points in number order, all rows in order, and how many numbers were asked."""
    state = sampler.init(problem, seed)
    m = len(problem.outcomes)
    points: list[Floats] = []
    events: list[Trials] = []

    def tell(event: Trials) -> None:
        nonlocal state
        events.append(event)
        state = sampler.tell(state, event)

    for number in range(_LENGTH):
        u = _answer(sampler, problem, state, np.array([number], dtype=np.int64))
        if not len(u):
            break
        points.append(u[0].copy())
        tell(rows(np.array([number]), u, outcomes=m))
        done = number - _WORKERS + 1
        if done >= 0:
            u = points[done][None]
            if done % 5 == 3:
                tell(rows(np.array([done]), u, np.full((1, m), np.nan), Status.FAILED))
            else:
                told = rows(np.array([done]), u, value(u, m), Status.COMPLETE)
                tell(told._replace(gradient=slope(u)) if m == 1 else told)
    history = joined(events) if events else rows(np.empty(0, np.int64), np.empty((0, problem.space.d)), outcomes=m)
    return np.array(points).reshape(len(points), problem.space.d), history, len(points)


def _folded(sampler: Sampler, problem: Problem, seed: int, history: Trials) -> Any:
    state = sampler.init(problem, seed)
    return sampler.tell(state, part(history, 0, len(history.number))) if len(history.number) else state


def _asked(sampler: Sampler, problem: Problem, state: Any, first: int, n: int, step: int) -> Floats:
    """Up to n points, asked `step` at a time, each answer told as pending."""
    found = np.empty((0, problem.space.d))
    while len(found) < n:
        start = first + len(found)
        u = _answer(sampler, problem, state, np.arange(start, min(start + step, first + n), dtype=np.int64))
        if not len(u):
            break
        state = sampler.tell(state, rows(np.arange(start, start + len(u)), u, outcomes=len(problem.outcomes)))
        found = np.concatenate([found, u])
    return found


def _answer(sampler: Sampler, problem: Problem, state: Any, numbers: Ints) -> Floats:
    """What `ask` returns, once it has the form of an answer."""
    u, d = sampler.ask(state, numbers), problem.space.d
    if not isinstance(u, np.ndarray) or u.dtype != np.float64 or u.ndim != 2 or u.shape[1] != d or not u.flags.c_contiguous:
        raise _broken(sampler, _FORM, f"ask returned {u!r}; expected a C-contiguous float64 array of {d} columns")
    if len(u) > len(numbers):
        raise _broken(sampler, _FORM, f"ask returned {len(u)} points for {len(numbers)} numbers")
    return u


def _next(history: Trials) -> int:
    return int(history.number.max(initial=-1)) + 1


def _check_points(sampler: Sampler, problem: Problem, u: Floats, where: str) -> None:
    law, space = _FORM, problem.space
    if not ((u >= 0.0) & (u <= 1.0) | np.isnan(u)).all():
        raise _broken(sampler, law, f"after {where}, {u[~((u >= 0) & (u <= 1) | np.isnan(u))][0]} is outside [0, 1]")
    active = space.active(np.where(np.isnan(u), 0.5, u))
    if not np.array_equal(active, ~np.isnan(u)):
        i, j = np.argwhere(active == np.isnan(u))[0]
        raise _broken(sampler, law, f"after {where}, {space.names[j]!r} is {u[i, j]} where it is {'' if active[i, j] else 'in'}active")
    if not _same(space.snap(u), u):
        i, j = np.argwhere((space.snap(u) != u) & ~np.isnan(u))[0]
        raise _broken(sampler, law, f"after {where}, {space.names[j]!r} is at {u[i, j]}, not at the centre of a level; use space.snap")
    if not space.feasible(u).all():
        raise _broken(sampler, law, f"after {where}, {space.params(u[~space.feasible(u)][0])} breaks a constraint; use space.constrain")


def _check_equal(sampler: Sampler, law: str, expected: Floats, got: Floats, where: str) -> None:
    if len(expected) != len(got):
        raise _broken(sampler, law, f"{where}: {len(expected)} points against {len(got)}")
    if not _same(expected, got):
        i = next(i for i in range(len(got)) if not _same(expected[i], got[i]))
        raise _broken(sampler, law, f"{where}: point {i} is {expected[i].tolist()} and {got[i].tolist()}")


def _same(a: Floats, b: Floats) -> bool:
    """Equal to the bit, but for the bits of a NaN."""
    if a.shape != b.shape:
        return False
    return bool((np.where(np.isnan(a), np.nan, a).view(np.int64) == np.where(np.isnan(b), np.nan, b).view(np.int64)).all())


def _broken(sampler: Sampler, law: str, how: str) -> AssertionError:
    return AssertionError(f"{sampler.name} breaks the law '{law}': {how}")
