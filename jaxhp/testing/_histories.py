"""Trials to tell a sampler: harmless ones, and those that break careless code."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jaxhp._rng import rng
from jaxhp._types import Floats, Ints, Problem, Status, Trials

NASTY = (
    "constant",
    "one good among failures",
    "all failed",
    "failed with infinities",
    "huge",
    "mixed huge and tiny",
    "duplicates",
    "told in reverse",
    "never asked",
    "only pending",
    "reports and stops",
    "paused and promoted",
    "stopped at rungs",
    "some outcomes missing",
    "foreign",
    "slopes of all kinds",
)


def rows(
    number: Ints,  # (n,)
    u: Floats,  # (n, d)
    y: Floats | None = None,  # (n, m)
    status: int | npt.NDArray[np.int8] = Status.PENDING,  # one for all, or (n,)
    outcomes: int = 1,  # m where y is not given
) -> Trials:
    """Trials with these numbers, points, values and status; all else unknown.

    >>> import numpy as np
    >>> rows(np.arange(2), np.zeros((2, 3))).y.shape
    (2, 1)
    """
    n = len(number)
    unknown = np.full((n, outcomes) if y is None else np.shape(y), np.nan)
    return Trials(
        number=np.asarray(number, dtype=np.int64).copy(),
        u=np.array(u, dtype=np.float64, order="C"),
        y=unknown.copy() if y is None else np.array(y, dtype=np.float64, order="C"),
        noise=unknown,
        status=np.full(n, 0, dtype=np.int8) + np.asarray(status, dtype=np.int8),
        fidelity=np.full(n, np.nan),
        replicate=np.zeros(n, dtype=np.int32),
        cost=np.full(n, np.nan),
        gradient=np.full(np.shape(u), np.nan),
    )


def joined(parts: list[Trials]) -> Trials:
    """The rows of several tables, in order."""
    return Trials._make(np.ascontiguousarray(np.concatenate(columns)) for columns in zip(*parts, strict=True))


def part(trials: Trials, start: int, stop: int) -> Trials:
    """Copies of the rows start..stop."""
    return Trials._make(column[start:stop].copy() for column in trials)


def value(u: Floats, outcomes: int) -> Floats:
    """(n, m) a smooth function of (n, d) points, for laws that need a result and not a hard one."""
    x = np.nan_to_num(u, nan=0.5)
    return np.stack([((x - 0.3 - 0.1 * i) ** 2).sum(axis=1) for i in range(outcomes)], axis=1)


def slope(u: Floats) -> Floats:
    """(n, d) dy/du of `value` for one outcome; NaN where inactive."""
    return 2.0 * (u - 0.3)


def drawn(problem: Problem, seed: int, n: int, purpose: str) -> Floats:
    """(n, d) canonical, feasible random points."""
    space = problem.space
    u = space.snap(rng(seed, 0, purpose).random((n, space.d)))
    return space.constrain(u, seed, np.arange(n, dtype=np.int64)) if space.constraints else u


def nasty_history(name: str, problem: Problem, seed: int = 0, n: int = 24) -> Trials:
    """A history that breaks careless code; its name is one of `NASTY`.

    Raises:
        ValueError: an unknown name.
    """
    if name not in NASTY:
        raise ValueError(f"nasty_history: unknown name {name!r}; expected one of {', '.join(NASTY)}")
    m = len(problem.outcomes)
    number = np.arange(n, dtype=np.int64)
    u = drawn(problem, seed, n, f"nasty {name}")
    y = value(u, m)
    status = np.full(n, Status.COMPLETE, dtype=np.int8)
    if name == "constant":
        y[:] = 1.0
    elif name == "one good among failures":
        status[1:], y[1:] = Status.FAILED, np.nan
    elif name == "all failed":
        status[:], y[:] = Status.FAILED, np.nan
    elif name == "failed with infinities":
        status[::2] = Status.FAILED
        y[::4], y[2::4] = np.inf, -np.inf
    elif name == "huge":
        y[:] = 1e300
        y[::2] *= -1.0
    elif name == "mixed huge and tiny":
        y[::3], y[1::3] = 1e300, 5e-324
    elif name == "duplicates":
        u[:] = u[0]
    elif name == "some outcomes missing":
        y[::2, 0] = np.nan
    asked = rows(number, u, outcomes=m)
    told = rows(number, u, y, status)
    if name == "told in reverse":
        return joined([asked, Trials._make(np.ascontiguousarray(column[::-1]) for column in told)])
    if name == "never asked":
        return told
    if name == "only pending":
        return asked
    if name == "reports and stops":
        reports = rows(number, u, y, Status.REPORTED)._replace(fidelity=np.ones(n))
        return joined([asked, reports, rows(number, u, y, np.where(number % 2, Status.STOPPED, Status.COMPLETE).astype(np.int8))])
    if name == "stopped at rungs":
        return joined([asked, *_climbs(number, u, y)])
    if name == "paused and promoted":
        pauses = rows(number, u, y + 1.0, Status.PAUSED)._replace(fidelity=np.ones(n))
        return joined(
            [asked, pauses, part(told, n // 3, n // 2), part(pauses, n // 2, n)._replace(y=y[n // 2 :] + 0.5), part(told, n // 2, n)]
        )
    if name == "slopes of all kinds":
        gradient = slope(u)
        gradient[1::6], gradient[2::6], gradient[3::6] = np.nan, np.inf, 1e300
        gradient[4::6, 0] = np.nan
        return joined([asked, told._replace(gradient=gradient)])
    if name == "foreign":
        return told._replace(number=-1 - number)
    return joined([asked, told])


def _climbs(number: Ints, u: Floats, y: Floats) -> list[Trials]:
    """Trials that are compared at steps 1, 3 and 9: half pause there, a third goes on; one that begins again, one that diverges later."""
    events: list[Trials] = []

    def tell(i: int, step: int, status: int) -> None:
        seen = np.where(status == Status.FAILED, np.nan, y[i : i + 1] + (1 + i % 5) / step)
        events.append(rows(number[i : i + 1], u[i : i + 1], seen, status)._replace(fidelity=np.array([float(step)])))

    for k, step in enumerate((1, 3, 9)):
        for i in range(0, len(number), 3**k):
            further = step < 9 and i % 3 ** (k + 1) == 0
            tell(i, step, Status.REPORTED)
            if step == 3 and i == 6:
                tell(i, 1, Status.REPORTED)
            if step == 9:
                tell(i, step, Status.FAILED if i == 9 else Status.COMPLETE)
            elif i % 2:
                tell(i, step, Status.PAUSED)
            elif not further:
                tell(i, step, Status.STOPPED)
    return events
