"""How far the best of n told results will fall with m more: a distribution, from the results alone, in units that do not depend on theirs.

Notation: y (n,) results in the order told, minimised, infinite where a trial failed or does not count; b the best; S the spread, the
median of the first results minus b; G = (b - best after m more trials) / S, the gain. A prospect is P(G > t) for t >= 0.

**A sampler that does not learn** draws alike before and after, so any of n + m trials is as likely as any other to hold their best:
P(G > 0) = m / (n + m) (Rényi 1962, on records), odds of m / n. If results below b fall off like exp(-t / sigma), the odds of a gain
above t are (m / n) exp(-t / sigma), whose mean is sigma ln(1 + m / n). sigma is `SHRUNK` times the mean excess of the best tenth, the
estimate of extreme value theory (Davison & Smith 1990), shrunk since an objective is bounded below and an exponential tail is not.

**A sampler that learns** gains more often at first and less often later; how the results gather tells which. A proportional-odds
regression (McCullagh 1980): logit P(G > TICKS[k]) = LEVELS[k] + features . WEIGHTS, straight in log t between ticks. Its numbers are
fitted by `python bench/forecast.py fit` on the tuning half of bench/problems.py (25 problems; 10 seeds of `bayes`, and with 0.3 of its
weight 4 each of Optuna's TPE and CMA-ES; n from 10 to 300, m from 10 to 100) and judged on the other half by `python
bench/forecast.py`; see docs/forecast.md.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from jaxhp._types import Floats

FIRST: Final = 20  # results whose median is what an untuned trial gives
SHRUNK: Final = 0.5  # of the mean excess; fitted on random and Sobol search, tuning half
TICKS: Final = (1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
LEVELS: Final = (4.451, 4.113, 3.661, 3.072, 2.183, 0.95, -0.797, -2.473, -4.591)
WEIGHTS: Final = (0.724, -1.241, 0.201, 0.468, -2.116, 0.345, 0.736, 1.573, 0.197, -0.073, -0.141)  # in the order of `features`
_JUMP: Final = 1000.0  # results beyond a jump of this factor are blow-ups and no measure of anything
_FAR, _NEAR = 30.0, 1e-3  # bounds of a gap in units of S, before its logarithm


class Prospect(NamedTuple):
    """P(G > t): straight lines of the logit against log t (ticks), or against t where the tail is exponential."""

    ticks: Floats  # (k,) of G, ascending
    logits: Floats  # (k,) descending; -inf: impossible
    sigma: float | None = None  # of an exponential tail: the logit is logits[0] - t / sigma

    def exceeds(self, t: float) -> float:
        """P(G > t).

        >>> round(prospect(np.arange(20.0)[::-1], d=2, more=20, learns=False).exceeds(0.0), 12)
        0.5
        """
        if self.sigma is not None:
            return _sigmoid(float(self.logits[0]) - t / self.sigma)
        if t > self.ticks[-1]:
            return 0.0
        return _sigmoid(float(np.interp(math.log(max(t, self.ticks[0])), np.log(self.ticks), self.logits)))

    def quantile(self, p: float) -> float:
        """The gain that is not exceeded with probability p; 0 below the first tick."""
        logit = math.log((1.0 - p) / p)
        if self.sigma is not None:
            return max(0.0, (float(self.logits[0]) - logit) * self.sigma)
        if logit > self.logits[0]:
            return 0.0
        return math.exp(float(np.interp(-logit, -self.logits, np.log(self.ticks))))

    def mean(self) -> float:
        """E G, the integral of `exceeds`."""
        if self.sigma is not None:
            return self.sigma * float(np.logaddexp(0.0, self.logits[0]))
        t = np.geomspace(self.ticks[0], self.ticks[-1], 8 * (len(self.ticks) - 1) + 1)
        p = 1.0 / (1.0 + np.exp(-np.interp(np.log(t), np.log(self.ticks), self.logits)))
        return float(t[0] * p[0] + np.sum(0.5 * (p[1:] + p[:-1]) * np.diff(t)))


def prospect(y: Floats, d: int, more: int, learns: bool) -> Prospect:
    """What `more` >= 1 trials bring after y (n,), of a space of d dims; `spread(y)` must be positive."""
    n = len(y)
    if not learns:
        return Prospect(np.zeros(1), np.array([math.log(more / n)]), SHRUNK * _excess(y) / spread(y))
    return Prospect(np.array(TICKS), np.array(LEVELS) + float(features(y, d, more) @ np.array(WEIGHTS)))


def spread(y: Floats) -> float:
    """S: the median of the first `FIRST` finite results minus the best of all. Where that is 0, wider ones; 0: all results are equal.

    Results beyond a jump of a factor 1000 from the best are left out, where at least three are on this side.

    >>> spread(np.array([4.0, 2.0, 6.0, 1.0, 3.0, 1e30]))
    2.0
    """
    for gaps in (_gaps(y, FIRST), _gaps(y, len(y))):
        for share in (0.5, 0.75, 1.0):
            gap = float(gaps[int(share * (len(gaps) - 1))])
            if 0.0 < gap < math.inf:
                return gap
    return 0.0


def _gaps(y: Floats, first: int) -> Floats:
    """What the first finite results lie above the best of all, ascending, without blow-ups."""
    told = y[np.isfinite(y)]
    with np.errstate(over="ignore"):  # such a result is a blow-up
        gaps = np.sort(told[:first] - told.min())
    jumps = np.flatnonzero((gaps[2:-1] > 0.0) & (gaps[3:] / _JUMP > gaps[2:-1]))
    return gaps[: 3 + jumps[0]] if len(jumps) else gaps


def features(y: Floats, d: int, more: int) -> Floats:
    """(11,) of a history, all free of scale and shift: six plain ones, and the five products of them that foretell most.

    log(m / n); log(n / d); the gaps of the fifth best and of the best tenth to the best, in logarithms of S: how results gather;
    the mean rank of the last quarter among all, 0 the best, minus 1/2: how well the sampler aims; log(1 + improvements in the last half).
    """
    n, unit = len(y), spread(y)
    ordered = np.sort(y)
    best = np.minimum.accumulate(y)
    ranks = np.empty(n)
    ranks[np.argsort(y, kind="stable")] = np.arange(n) / (n - 1)
    size = math.log(n / d)
    fifth, tenth = (_log_gap((ordered[k] - ordered[0]) / unit) for k in (4, n // 10))
    late = float(ranks[-max(5, n // 4) :].mean()) - 0.5
    lively = math.log1p(int(np.count_nonzero(best[n // 2 :] < best[n // 2 - 1 : -1])))
    plain = [math.log(more / n), size, fifth, tenth, late, lively]
    return np.array([*plain, fifth * late, late * lively, size * lively, fifth * fifth, size * fifth])


def _excess(y: Floats) -> float:
    """Mean excess below the n/10-th best, the fifth at least: how fast results thin out towards the best."""
    gaps = _gaps(y, len(y))
    k = min(max(4, len(y) // 10), len(gaps) - 1)
    return float((gaps[k] - gaps[:k]).mean()) or spread(y)  # ties at the best: the scale of all


def _log_gap(gap: float) -> float:
    return math.log(min(gap, _FAR) + _NEAR)


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x > -700.0 else 0.0
