"""What a sampler may be told, at its nastiest: a table of histories by name, for any space.

An entry changes the points u (n, d), values y (n,) and told noise (n,) of a smooth run. A value that is not finite is a failed trial.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from jaxhp._rng import rng
from jaxhp._types import Floats, Problem, Status, Trials
from jaxhp.testing import rows
from jaxhp.testing._histories import drawn, joined, value

Change = Callable[[Floats, Floats, Floats, np.random.Generator], None]  # of u, y, noise in place
LENGTH = 30


def spoilt(share: int, worst: Sequence[float]) -> Change:
    """`share` percent of the values, drawn at random, are replaced by these in turn."""

    def change(u: Floats, y: Floats, noise: Floats, random: np.random.Generator) -> None:
        rows = random.permutation(len(y))[: len(y) * share // 100]
        y[rows] = np.resize(worst, len(rows))

    return change


def values(*given: float, noise: Sequence[float] = (np.nan,)) -> Change:
    """These values in turn, and told noise in turn; the run's own values where none are given."""

    def change(u: Floats, y: Floats, told: Floats, random: np.random.Generator) -> None:
        if given:
            y[:] = np.resize(given, len(y))
        told[:] = np.resize(noise, len(y))

    return change


def formula(f: Callable[[Floats], Floats]) -> Change:
    """Values as a function of the order."""

    def change(u: Floats, y: Floats, noise: Floats, random: np.random.Generator) -> None:
        y[:] = f(np.arange(len(y), dtype=np.float64))

    return change


def moved(f: Callable[[Floats, np.random.Generator], Floats], *given: float) -> Change:
    """Points as a function of the points."""

    def change(u: Floats, y: Floats, noise: Floats, random: np.random.Generator) -> None:
        u[:] = f(u, random)
        if given:
            y[:] = np.resize(given, len(y))

    return change


def near(width: float) -> Callable[[Floats, np.random.Generator], Floats]:
    return lambda u, random: np.clip(u[0] + width * random.normal(size=u.shape), 0.0, 1.0)


def _table() -> Iterator[tuple[str, Change]]:
    nan, inf = np.nan, np.inf
    for share in range(0, 100, 5):
        yield f"{share} % failed", spoilt(share, [nan])
        yield f"{share} % failed, blown up or diverged", spoilt(share, [nan, 1e30, inf, -inf])
        yield f"{share} % at 1e30", spoilt(share, [1e30])
        yield f"{share} % at 1e300", spoilt(share, [1e300])
    for share in (10, 50, 90):
        yield f"{share} % at -1e300", spoilt(share, [-1e300])
        yield f"{share} % at every order of magnitude", spoilt(share, 10.0 ** np.arange(2, 300, 7))
    yield "all NaN", values(nan)
    yield "all infinite", values(inf)
    yield "all minus infinite", values(-inf)
    yield "one good among failures", formula(lambda i: np.where(i == 17, 1.0, nan))
    yield "the last one good", formula(lambda i: np.where(i == len(i) - 1, 1.0, nan))
    yield "two good and equal among failures", formula(lambda i: np.where(i % 20 == 3, 1.0, nan))
    yield "failures first", formula(lambda i: np.where(i < 12, nan, i))
    yield "failures last", formula(lambda i: np.where(i < 12, i, nan))
    yield "all zero", values(0.0)
    yield "zeros of both signs", values(0.0, -0.0)
    yield "all equal", values(0.1)
    yield "all at the largest number", values(1.7976931348623157e308)
    yield "two values", values(0.0, 1.0)
    yield "one worse than all others", formula(lambda i: np.where(i == 5, 1.0, 0.0))
    yield "one better than all others", formula(lambda i: np.where(i == 5, -1.0, 0.0))
    yield "one better by 1e300", formula(lambda i: np.where(i == 5, -1e300, i))
    yield "three values and a failure", values(1.0, 2.0, 3.0, nan)
    yield "1e-300 apart", formula(lambda i: 1e-300 * (i % 7))
    yield "an ulp apart", formula(lambda i: 1.0 + 2.3e-16 * (i % 3))
    yield "an ulp apart at 1e300", formula(lambda i: 1e300 * (1.0 + 2.3e-16 * (i % 3)))
    yield "denormals", values(5e-324, 1e-323, 0.0, -5e-324, 2e-310)
    yield "a denormal among ones", formula(lambda i: np.where(i == 5, 5e-324, 1.0))
    yield "the largest numbers of both signs", values(1.7e308, -1.7e308)
    yield "huge, alternating and growing", formula(lambda i: (-1.0) ** i * 10.0 ** np.linspace(0.0, 308.0, len(i)))
    yield "huge beside tiny", values(1e300, 1e-300, 0.0, -1e-300, -1e300)
    yield "a ramp up", formula(lambda i: i)
    yield "a ramp down", formula(lambda i: -i)
    yield "a ramp far away", formula(lambda i: 1e12 + i)
    yield "every order of magnitude", formula(lambda i: 10.0 ** np.linspace(-300.0, 300.0, len(i)))
    yield "one point again and again", moved(lambda u, random: np.repeat(u[:1], len(u), axis=0))
    yield "one point, always the same value", moved(lambda u, random: np.repeat(u[:1], len(u), axis=0), 1.0)
    yield "one point, two values far apart", moved(lambda u, random: np.repeat(u[:1], len(u), axis=0), -1e300, 1e300)
    yield "one point, mostly failed", moved(lambda u, random: np.repeat(u[:1], len(u), axis=0), nan, nan, nan, 2.0)
    yield "two points in turn", moved(lambda u, random: u[np.arange(len(u)) % 2])
    yield "each point twice", moved(lambda u, random: u[np.arange(len(u)) // 2])
    for width in (1e-3, 1e-6, 1e-9, 1e-12, 1e-16):
        yield f"one point but for {width:.0e}", moved(near(width))
    yield "near-repeats with a cliff", moved(near(1e-9), 0.0, 1e300)
    yield "everything in a corner", moved(lambda u, random: np.where(np.isnan(u), u, 0.0))
    yield "only corners", moved(lambda u, random: np.where(np.isnan(u), u, np.round(u)))
    for name, noise in {
        "zero": [0.0],
        "tiny": [1e-300],
        "denormal": [5e-324],
        "moderate": [0.1],
        "huge": [1e300],
        "infinite": [inf],
        "for some": [nan, 0.1, nan],
        "of every size": [1e300, 1e-300, nan, 0.0, 1.0, 1e154],
        "negative": [-1.0],
    }.items():
        yield f"told noise {name}", values(noise=noise)
        yield f"told noise {name}, values equal", values(2.0, noise=noise)
        yield f"told noise {name}, values huge", values(1e308, -1e308, noise=noise)
        yield f"told noise {name}, values denormal", values(5e-324, 1e-323, 0.0, noise=noise)
        yield f"told noise {name}, two of three failed", values(nan, -inf, 1.0, noise=noise)
        yield f"told noise {name}, all failed", values(nan, noise=noise)


HISTORIES = dict(_table())


def told_history(name: str, problem: Problem, n: int = LENGTH, seed: int = 0) -> Trials:
    """The history of that name: all n trials asked, then told."""
    u = drawn(problem, seed, n, f"told {name}")
    y, noise = value(u, 1)[:, 0], np.full(n, np.nan)
    HISTORIES[name](u, y, noise, rng(seed, 0, f"change {name}"))
    u = problem.space.snap(np.nan_to_num(u, nan=0.5))
    status = np.where(np.isfinite(y), Status.COMPLETE, Status.FAILED).astype(np.int8)
    told = rows(np.arange(n), u, y[:, None], status)._replace(noise=noise[:, None].copy())
    return joined([rows(np.arange(n), u), told])
