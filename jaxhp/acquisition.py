"""What to try next: acquisitions as sums of terms over posteriors, and the search for their maximum (csrc/maximize.hpp).

A term is a function of one posterior f (minimised, z-scored; m and s its mean and deviation at a point). Terms are logarithms
where they are probabilities or expectations, so they add:

    logei(incumbent)              log E max(0, incumbent - f)                Ament et al., NeurIPS 2023
    ucb(beta)                     -(m - sqrt(beta) s)                        Srinivas et al., ICML 2010
    logpi(incumbent, xi)          log P(f <= incumbent - xi)                 Kushner 1964
    thompson()                    -(one draw of f as a function)             Wilson et al., ICML 2020
    feasible(threshold, p)        log P(posterior p <= threshold)            a constraint, Gardner et al., ICML 2014
    log_cost(p)                   -m of posterior p, which models log cost

Several objectives, constraints or costs are several posteriors, `posterior` says which one a term reads. Points are canonical
rows of the space (docs/architecture.md). Everything is larger-is-better here, and float64 where it is returned.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np

from jaxhp import _kernel
from jaxhp._rng import purpose_key
from jaxhp._types import Floats, Ints, Posterior
from jaxhp.errors import SamplerError

_U64: Final = (1 << 64) - 1
_LOGEI, _UCB, _LOGPI, _MEAN, _PATH = range(5)  # TermType in csrc/kernel.hpp


class Term(NamedTuple):
    """One summand of an acquisition; made by the functions below."""

    type: int
    posterior: int = 0
    a: float = 0.0
    b: float = 0.0


class How(IntEnum):
    """How a suggestion came about."""

    REFINED = 0  # the best of the refined candidates
    RUNNER_UP = 1  # the best repeats a row; the best refined one that does not
    PERTURBED = 2  # near the best rows, because everything better repeats one
    SPREAD = 3  # a spread point, because nothing nearer is new
    REPEATED = 4  # no candidate is new: the space is exhausted, or nearly
    NOT_FINITE = 5  # a spread point, because posterior or acquisition is not finite


class Suggestion(NamedTuple):
    """Where the acquisition is large."""

    u: Floats  # (d,) canonical
    value: float  # of the acquisition at u; NaN where the model was of no use
    how: How
    scored: int  # points whose exact value was needed
    evaluated: int  # values with gradients


def logei(incumbent: float, posterior: int = 0) -> Term:
    """The logarithm of expected improvement on `incumbent`.

    >>> logei(-1.5)
    Term(type=0, posterior=0, a=-1.5, b=0.0)
    """
    return Term(_LOGEI, posterior, float(incumbent))


def ucb(beta: float = 1.8, posterior: int = 0) -> Term:
    """The optimistic value sqrt(beta) s - m.

    Raises:
        SamplerError: beta is negative.

    >>> ucb(4.0).a
    4.0
    """
    if not beta >= 0.0:
        raise SamplerError(f"beta = {beta}: expected a number from 0 (no exploration) on")
    return Term(_UCB, posterior, float(beta))


def logpi(incumbent: float, xi: float = 0.01, posterior: int = 0) -> Term:
    """The logarithm of the probability of an improvement on `incumbent` by at least `xi`.

    >>> logpi(-1.0, xi=0.5)
    Term(type=2, posterior=0, a=-1.0, b=0.5)
    """
    return Term(_LOGPI, posterior, float(incumbent), float(xi))


def feasible(threshold: float, posterior: int) -> Term:
    """The logarithm of the probability that a constraint's posterior is at most `threshold`.

    >>> feasible(2.0, 1) == logpi(2.0, 0.0, 1)
    True
    """
    return Term(_LOGPI, posterior, float(threshold), 0.0)


def log_cost(posterior: int, weight: float = 1.0) -> Term:
    """Minus the predicted log cost: with `logei`, expected improvement per cost.

    >>> log_cost(1).a
    1.0
    """
    return Term(_MEAN, posterior, float(weight))


def thompson(posterior: int = 0) -> Term:
    """Minus one function drawn from the posterior; (seed, number) name the draw.

    >>> thompson().posterior
    0
    """
    return Term(_PATH, posterior)


def predict(posterior: Posterior, u: Floats) -> tuple[Floats, Floats]:
    """Mean and variance (m,) at the points u (m, d): plug-in variance, without observation noise.

    Raises:
        TypeError, ValueError: an array is not C-contiguous float64 of the right shape; the message names it.

    >>> posterior = Posterior(np.array([[0.5]]), np.ones((1, 1)), np.array([2.0]), np.array([0.5]), np.array([-1], np.int8),
    ...                       np.array([0.3, 0.5, 0.5]), 0.1, np.array([0], np.int8), 1)
    >>> mean, variance = predict(posterior, np.array([[0.5]]))
    >>> float(mean[0]), float(variance[0])
    (1.1, 0.25)
    """
    return _kernel.predict(posterior, u)


def value_and_gradient(
    posteriors: Sequence[Posterior], terms: Sequence[Term], u: Floats, *, seed: int = 0, number: int = 0, purpose: str = "maximize"
) -> tuple[Floats, Floats]:
    """Values (m,) of the sum of terms and gradients (m, d) with respect to u (m, d); 0 along categories and where inactive.

    Args:
        posteriors: as many as the terms refer to, of equal d.
        terms: what is added up.
        u: canonical points; NaN where inactive.
        seed, number, purpose: name the draw of `thompson`; `maximize` with the same ones looks at the same function.

    Raises:
        TypeError, ValueError: an array, a term or an index is not valid; the message names it.

    >>> posterior = Posterior(np.array([[0.5]]), np.ones((1, 1)), np.array([2.0]), np.array([0.5]), np.array([-1], np.int8),
    ...                       np.array([0.3, 0.5, 0.5]), 0.1, np.array([0], np.int8), 1)
    >>> value, gradient = value_and_gradient([posterior], [ucb(4.0)], np.array([[0.5]]))
    >>> round(float(value[0]), 9), float(gradient[0, 0])
    (-0.1, 0.0)
    """
    return _kernel.evaluate(tuple(posteriors), _rows(terms), u, seed & _U64, purpose_key(purpose), number & _U64)


def best_of(
    posteriors: Sequence[Posterior],
    terms: Sequence[Term],
    u: Floats,
    k: int,
    *,
    seed: int = 0,
    number: int = 0,
    purpose: str = "maximize",
) -> tuple[Ints, Floats]:
    """Indices (k',) and values (k',) of the best k rows of u (m, d), best first, without scoring every row exactly.

    For spaces whose constraints only a predicate knows: draw feasible candidates, take the best. k' < k where values are not finite.

    Raises:
        TypeError, ValueError: as `value_and_gradient`; k is above m.

    >>> posterior = Posterior(np.array([[0.5]]), np.ones((1, 1)), np.array([2.0]), np.array([0.5]), np.array([-1], np.int8),
    ...                       np.array([0.3, 0.5, 0.5]), 0.1, np.array([0], np.int8), 1)
    >>> best_of([posterior], [logei(0.0)], np.array([[0.5], [1.0], [0.6]]), 2)[0].tolist()
    [1, 2]
    """
    indices, values, _ = _kernel.best_of(tuple(posteriors), _rows(terms), u, k, seed & _U64, purpose_key(purpose), number & _U64)
    return indices, values


def maximize(
    posteriors: Sequence[Posterior],
    terms: Sequence[Term],
    dims: _kernel.EncodedDims,
    *,
    seed: int,
    number: int,
    centres: Floats | None = None,
    existing: Floats | None = None,
    extra: Floats | None = None,
    spread: int = 512,
    local: int = 512,
    starts: int = 4,
    iterations: int = 30,
    allow_duplicates: bool = False,
    purpose: str = "maximize",
) -> Suggestion:
    """A canonical point of the space where the sum of terms is large. Never raises for what the posteriors hold.

    Args:
        posteriors: as many as the terms refer to, of the space's d. The first one's length scales set the steps.
        terms: what is added up.
        dims: the encoded space.
        seed, number, purpose: name every random draw; equal arguments give equal bits on one instruction set.
        centres: (c, d) points to perturb, the best first; none: no local candidates.
        existing: (r, d) points not to repeat (sup norm 1e-6), pending ones among them.
        extra: (e, d) further candidates.
        spread: shifted Sobol candidates; a finite space with at most spread + local points is enumerated instead.
        local: perturbations of the centres.
        starts: candidates that are climbed from, at most 32.
        iterations: rounds of climbing; every start takes one step a round.
        allow_duplicates: whether a repetition is welcome, as where the objective is noisy.

    Raises:
        TypeError, ValueError: an argument is not valid; the message names it.

    >>> posterior = Posterior(np.array([[0.5]]), np.ones((1, 1)), np.array([2.0]), np.array([0.5]), np.array([-1], np.int8),
    ...                       np.array([0.3, 0.5, 0.5]), 0.1, np.array([0], np.int8), 1)
    >>> dims = _kernel.EncodedDims(np.array([0], np.int8), np.zeros(1), np.ones(1), np.zeros(1, np.int64), np.array([-1], np.int32),
    ...                            np.ones((1, 1), np.bool_))
    >>> suggestion = maximize([posterior], [logei(0.0)], dims, seed=0, number=1)
    >>> suggestion.how.name, round(abs(float(suggestion.u[0]) - 0.5), 6)
    ('REFINED', 0.5)
    """
    none = np.empty((0, dims.d))
    u, value, how, scored, evaluated = _kernel.maximize(
        tuple(posteriors),
        _rows(terms),
        dims,
        none if centres is None else centres,
        none if existing is None else existing,
        none if extra is None else extra,
        spread,
        local,
        starts,
        iterations,
        allow_duplicates,
        seed & _U64,
        purpose_key(purpose),
        number & _U64,
    )
    return Suggestion(u, value, How(how), scored, evaluated)


def _rows(terms: Sequence[Term]) -> Floats:
    return np.array(terms, dtype=np.float64).reshape(-1, 4)
