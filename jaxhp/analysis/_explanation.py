"""What `study.explain()` returns: numbers, sentences, and the surrogate to predict with. Never changes, reads nothing more.

Predicted quantiles are those of the Gaussian prediction in z, taken back through the output transform (`_scale.py`): a
monotone map takes quantiles to quantiles. They are in the metric's own units and direction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from jaxhp import _kernel
from jaxhp._types import Direction, Floats, Params, Posterior
from jaxhp.analysis._scale import Scale
from jaxhp.errors import StudyError
from jaxhp.space import Space

FALLBACKS: Final = ("SPREAD", "REPEATED", "NOT_FINITE", "NO_MODEL")  # suggestions that are not the model's (`acquisition.How`, `bayes`)


class Relevance(NamedTuple):
    """One parameter."""

    name: str
    relevance: float  # total-effect index, 0 to 1: the share of the model's variance left when all other parameters are known
    length_scale: float  # in units of the parameter's whole range; of a categorical: how unlike its choices are, the larger the less
    categorical: bool
    when: str  # the condition under which it is active; "" for always


class LeaveOneOut(NamedTuple):
    """Every completed result predicted from the others, at the same length scales and noise."""

    n: int  # results predicted
    r2: float  # 1 - squared error / that of a constant, in z; 0 when all results are equal
    rmse: float  # in z, where all results together have standard deviation 1
    coverage80: float  # share of results inside their 80 % interval,
    coverage95: float  # and inside their 95 % interval
    improvement: float  # mean of squared error of the constant - that of the model, in z^2,
    error: float  # and the standard error of that mean


class Slice(NamedTuple):
    """The model along one parameter, the others as in the best configuration."""

    name: str
    values: list[Any]  # (k,) of the parameter, ascending; choices as they are
    quantiles: Floats  # (k, len(q)) of the metric; NaN where a constraint of the space is broken


class Surrogate(NamedTuple):
    """The fitted model."""

    space: Space
    posterior: Posterior
    scale: Scale
    sign: float  # 1 minimised, -1 maximised


@dataclass(frozen=True, repr=False)
class Explanation:
    """A study's results as its surrogate sees them. Printing it gives a table.

    Two explanations are equal when all that the log determines is; `suggestions` are of this process alone.
    """

    study: str
    metric: str
    direction: Direction
    results: int  # told trials, failures included
    failed: int
    rows: int  # results that the model stands on: all, or the active set of a long study
    parameters: tuple[Relevance, ...]  # the most relevant first
    noise: float | None  # standard deviation of repeated results in the metric's units; None when the results do not say
    noise_share: float  # variance of the noise over that of the results, in z
    leave_one_out: LeaveOneOut
    best: int | None  # number of the best trial; None when none meets the constraints
    best_value: float | None
    best_params: Params | None
    fits: int  # how often length scales and noise were fitted
    notes: tuple[str, ...]  # what a reader should know, in sentences
    suggestions: dict[str, int] = field(compare=False)  # how this process's suggestions of `bayes` came about
    surrogate: Surrogate = field(compare=False)
    best_u: Floats | None = field(compare=False)  # (d,)

    def quantiles(self, params: Params, q: Sequence[float] = (0.1, 0.5, 0.9), *, noise: bool = True) -> Floats:
        """Predicted quantiles (len(q),) of the metric for a configuration.

        Args:
            params: every active parameter.
            q: probabilities between 0 and 1; the answers ascend with them, whatever the study's direction.
            noise: of a result that would be told; False: of the objective without its noise.

        Between told values the answer is interpolated; beyond the best it goes on with the slope of the good results, beyond
        the worst told value it never goes.

        Raises:
            SpaceError: params are not a point of the space. StudyError: q is not between 0 and 1.

        >>> import jaxhp
        >>> study = jaxhp.Study(jaxhp.Space({"x": jaxhp.Float(0.0, 1.0)}), sampler=jaxhp.sobol())
        >>> explanation = study.optimize(lambda trial: trial["x"] ** 2, trials=16).explain()
        >>> abs(float(explanation.quantiles({"x": 0.5}, q=[0.5])[0]) - 0.25) < 0.02
        True
        """
        found: Floats = self._quantiles(self.surrogate.space.point(params)[None], q, noise)[0]
        return found

    def slice(self, name: str, q: Sequence[float] = (0.1, 0.5, 0.9), *, points: int = 101, noise: bool = True) -> Slice:
        """Predicted quantiles along one parameter while the others stay as in the best configuration.

        Args:
            name: of the parameter.
            q, noise: see `quantiles`.
            points: how many values; of a discrete parameter at most so many levels.

        What the parameter's own value switches on takes its default.

        Raises:
            SpaceError: no such parameter. StudyError: there is no best trial, or the parameter is inactive in it.
        """
        space = self.surrogate.space
        j = space.index_of(name)
        if self.best_u is None:
            raise StudyError(f"slice({name!r}): no completed trial meets the constraints yet, so there is no best configuration")
        if math.isnan(self.best_u[j]):
            raise StudyError(f"slice({name!r}): it is inactive in the best configuration (trial {self.best})")
        if points < 2:
            raise StudyError(f"slice(points={points!r}): expected two or more")
        levels = int(space.dims.levels[j])
        if 0 < levels <= points:
            plain = np.full((levels, space.d), math.nan)
            plain[:, j] = np.arange(levels)
            along = space.encoded.encode(plain)[:, j]
        else:
            along = np.linspace(0.0, 1.0, points)
        u = moved(space, self.best_u, j, along)
        u = u[np.diff(u[:, j], prepend=-1.0) > 0.0]  # neighbours may be one level
        quantiles = self._quantiles(u, q, noise)
        if space.anchor is not None:  # the constraints' functions are known
            quantiles[~space.feasible(u)] = math.nan
        return Slice(name, space.decode(u)[name].tolist(), quantiles)

    def facts(self) -> dict[str, str]:
        """What is known beside the parameters' relevance, as texts for a reader."""
        loo, noise = self.leave_one_out, "unknown" if self.noise is None else f"{self.noise:.4g}"
        fallbacks = sum(self.suggestions.get(how, 0) for how in FALLBACKS)
        asked = sum(self.suggestions.values())
        facts = {
            "results": f"{self.results} told, {self.failed} failed" + (f", {self.rows} in the model" if self.rows < self.results else ""),
            "noise": f"standard deviation {noise}, {self.noise_share:.1%} of the variance",
            "left out": f"R2 {loo.r2:.2f}; {loo.coverage80:.0%} of {loo.n} in their 80 % interval, {loo.coverage95:.0%} in their 95 %",
            "fits": str(self.fits) + (f"; of {asked} suggestions by this process {fallbacks} were fallbacks" if asked else ""),
        }
        if self.best is not None and self.best_value is not None:
            facts = {"best": f"{self.best_value:.6g} in trial {self.best}"} | facts
        return facts

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the parameters' relevance, as texts."""
        header = ["parameter", "relevance", "length scale", "active when"]
        rows = [[p.name, f"{p.relevance:.3f}", f"{p.length_scale:.3g}", p.when or "always"] for p in self.parameters]
        return header, rows

    def to_json(self) -> dict[str, Any]:
        """Everything but the model itself, as JSON values."""
        return {
            "study": self.study,
            "metric": self.metric,
            "direction": self.direction,
            "results": self.results,
            "failed": self.failed,
            "rows": self.rows,
            "parameters": [p._asdict() for p in self.parameters],
            "noise": self.noise,
            "noise_share": self.noise_share,
            "leave_one_out": self.leave_one_out._asdict(),
            "best": None if self.best is None else {"number": self.best, "value": self.best_value, "params": self.best_params},
            "fits": self.fits,
            "suggestions": dict(self.suggestions),
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        header, rows = self.table()
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        lines = [f"{self.study}: what its results say about {self.metric} ({self.direction})", ""]
        for name, *numbers, when in [header, *rows]:
            right = (text.rjust(width) for text, width in zip(numbers, widths[1:-1], strict=True))
            lines.append("  ".join([name.ljust(widths[0]), *right, when]).rstrip())
        facts: Mapping[str, str] = self.facts()
        width = max(map(len, facts))
        lines += ["", *(f"{label.ljust(width)}  {text}" for label, text in facts.items())]
        return "\n".join([*lines, *([""] if self.notes else []), *(f"* {note}" for note in self.notes)])

    def _quantiles(self, u: Floats, q: Sequence[float], noise: bool) -> Floats:
        """(k, len(q)) at canonical u (k, d)."""
        try:
            levels = np.atleast_1d(np.asarray(q, dtype=np.float64))
        except (TypeError, ValueError):
            levels = np.empty(0)
        if levels.ndim != 1 or not levels.size or not ((levels > 0.0) & (levels < 1.0)).all():
            raise StudyError(f"q={q!r}: expected probabilities between 0 and 1, such as (0.1, 0.5, 0.9)")
        _, posterior, scale, sign = self.surrogate
        mean, variance = _kernel.predict(posterior, u)
        deviation = np.sqrt(np.maximum(variance, 0.0) + (posterior.theta[-1] if noise else 0.0))
        z = mean[:, None] + sign * deviation[:, None] * _kernel.ppf(levels)  # a maximised metric's lower quantile is an upper one of y
        return sign * scale.inverse(z)


def moved(space: Space, u: Floats, j: int, along: Floats) -> Floats:
    """(k, d) canonical copies of u (d,) with coordinate j at along (k,); what this switches on takes its default."""
    copies = np.tile(np.where(np.isnan(u), space.defaults_everywhere(), u), (len(along), 1))
    copies[:, j] = along
    return space.snap(copies)
