"""Fits the surrogate of a study and judges it.

The model of `_model.py` is judged by leave-one-out prediction (Rasmussen & Williams 2006, eq. 5.10-5.12) against a constant, in z,
the transformed values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from jaxhp import _kernel
from jaxhp._parameters import condition
from jaxhp._types import Bools, Floats, Kind, Posterior
from jaxhp.analysis._explanation import Explanation, LeaveOneOut, Relevance, Surrogate, moved
from jaxhp.analysis._model import FEWEST, distinct, modelled
from jaxhp.analysis._relevance import total_effects
from jaxhp.analysis._scale import scaled
from jaxhp.errors import StudyError
from jaxhp.samplers._bayes import BayesState
from jaxhp.samplers._model import Model
from jaxhp.space import Space

if TYPE_CHECKING:
    from jaxhp.study import Study
    from jaxhp.trial import Trial

RELEVANT: Final = 0.05  # from here on a parameter's bound may be worth a hint
_AT_BOUND: Final = 0.01  # of the transformed range
_CLEAR: Final = 2.0  # standard errors by which a model must beat a constant, and a bound the middle of the range
_OVERCONFIDENT: Final = 0.6  # of the 80 % intervals
_JUDGED: Final = 20  # results from which on coverage is judged
_INTERVALS: Final = (0.9, 0.975)  # upper ends of the 80 % and 95 % intervals


def explain(study: Study) -> Explanation:
    """What the results of a study of one objective say (see `Study.explain`). Changes nothing.

    Raises:
        StudyError: several objectives, too few completed trials, or results to which no surrogate can be fitted.

    >>> import jaxhp
    >>> space = jaxhp.Space({"x": jaxhp.Float(0.0, 1.0), "idle": jaxhp.Float(0.0, 1.0)})
    >>> study = jaxhp.Study(space, sampler=jaxhp.sobol()).optimize(lambda trial: (trial["x"] - 0.3) ** 2, trials=20)
    >>> [(p.name, round(p.relevance, 1)) for p in study.explain().parameters]
    [('x', 1.0), ('idle', 0.0)]
    """
    with study._lock:
        study._session.sync()
        study._single("explain")
        known = distinct(study)
        if known < FEWEST:
            raise StudyError(
                f"study.explain needs {FEWEST} distinct completed trials and study {study.name!r} has {known}; "
                f"tell at least {FEWEST - known} more"
            )
        model = modelled(study)
        best = study.best if study._fold.best is not None else None
        suggestions = _suggestions(study._session._state)
        told = model.posterior()  # changes the model, which other threads may ask for, too
    if told is None:
        raise StudyError(
            f"study {study.name!r}: the covariance of its results cannot be factored, so they cannot be explained; "
            "many are told for one configuration: tell a few others"
        )
    posterior, z = told
    y = model.y[model.held]
    finite = np.isfinite(y)
    space, outcome = study.space, study.outcomes[0]
    scale = scaled(y[finite], z[finite])
    variance = float(posterior.theta[-1])
    relevance = total_effects(space, posterior, study.seed)
    loo = _leave_one_out(posterior, z, finite)
    noise = float(np.sqrt(variance)) * scale.slope if scale.slope is not None else np.inf
    order = np.argsort(-relevance, kind="stable")
    return Explanation(
        study=study.name,
        metric=outcome.name,
        direction=outcome.direction,
        results=model.n,
        failed=int((~np.isfinite(model.y[: model.n])).sum()),
        rows=posterior.n,
        parameters=tuple(_relevance(space, j, float(relevance[j]), float(posterior.theta[j])) for j in order.tolist()),
        noise=noise if np.isfinite(noise) else None,
        noise_share=variance,
        leave_one_out=loo,
        best=None if best is None else best.number,
        best_value=None if best is None else best.value,
        best_params=None if best is None else dict(best.params),
        fits=model.fits,
        notes=tuple(_notes(space, model, posterior, loo, relevance, best)),
        suggestions=suggestions,
        surrogate=Surrogate(space, posterior, scale, outcome.sign),
        best_u=None if best is None else best.u.copy(),
    )


def _suggestions(state: Any) -> dict[str, int]:
    """How suggestions came about, from the states of `bayes` inside a sampler's state, whatever it is combined of."""
    if isinstance(state, BayesState):
        return dict(sorted(state.hows.items()))
    counts: dict[str, int] = {}
    for inner in (*getattr(state, "states", ()), getattr(state, "state", None)):
        for how, count in _suggestions(inner).items() if inner is not None else ():
            counts[how] = counts.get(how, 0) + count
    return counts


def _relevance(space: Space, j: int, effect: float, length: float) -> Relevance:
    name = space.names[j]
    above, values = condition(space.parameters[name])
    when = "" if above is None else f"{above} is {' or '.join(map(str, values))}"
    return Relevance(name, effect, length, bool(space.dims.kind[j] == Kind.CATEGORICAL), when)


def _leave_one_out(posterior: Posterior, z: Floats, finite: Bools) -> LeaveOneOut:
    """Scores over the completed rows; failures inform the model, but have no value to be predicted."""
    from jaxhp.gp import leave_one_out  # loads Numba, so not at import

    mean, variance = leave_one_out(posterior, z)
    error, deviation, z = (z - mean)[finite], np.sqrt(variance)[finite], z[finite]
    n = len(z)
    constant = (z - z.mean()) * (n / (n - 1))  # the mean of the others
    squares = float(np.square(constant).sum())
    gain = np.square(constant) - np.square(error)
    inside = [float((np.abs(error) <= deviation * end).mean()) for end in _kernel.ppf(np.array(_INTERVALS)).tolist()]
    return LeaveOneOut(
        n=n,
        r2=1.0 - float(np.square(error).sum()) / squares if squares > 0.0 else 0.0,
        rmse=float(np.sqrt(np.square(error).mean())),
        coverage80=inside[0],
        coverage95=inside[1],
        improvement=float(gain.mean()),
        error=float(gain.std(ddof=1) / np.sqrt(n)),
    )


def _notes(space: Space, model: Model, posterior: Posterior, loo: LeaveOneOut, relevance: Floats, best: Trial | None) -> list[str]:
    notes = []
    completed = model.y[: model.n][np.isfinite(model.y[: model.n])]
    if completed.min() == completed.max():
        notes.append("all completed results are equal: either no parameter matters, or the metric is not what was meant")
    elif loo.r2 <= 0.0:
        notes.append(f"this model is no better than a constant (leave-one-out R2 {loo.r2:.2f}): trust nothing that it says of a parameter")
    elif loo.improvement < _CLEAR * loo.error:
        notes.append(f"this model is not clearly better than a constant (leave-one-out R2 {loo.r2:.2f}): tell more trials")
    if loo.n < 2 * (space.d + 2):
        notes.append(f"{loo.n} completed results are few for {space.d} parameters: relevance and noise are guesses")
    if loo.n >= _JUDGED and loo.coverage80 < _OVERCONFIDENT:
        notes.append(f"this model is overconfident: its 80 % intervals hold {loo.coverage80:.0%} of the results")
    if model.theta is not None and posterior.theta[-1] > model.theta[-1]:
        notes.append("results nearly repeat each other: noise was added until their covariance could be factored")
    return notes + (_at_bounds(space, posterior, best, relevance) if best is not None and loo.r2 > 0.0 else [])


def _at_bounds(space: Space, posterior: Posterior, best: Trial, relevance: Floats) -> list[str]:
    """A sentence for every parameter whose best value has nothing beyond it, and is better than the middle of the range.

    Better is: by two standard deviations of the predicted difference, taken as if both ends of it were independent. An acquisition likes
    bounds, where little is known, so relevance alone would ask for parameters that do nothing. Choices without an order have no
    bound, and two levels no middle.
    """
    plain = space.encoded.decode(best.u[None])[0]
    notes = []
    for j, (name, axis) in enumerate(zip(space.names, space.axes, strict=True)):
        if axis.kind == Kind.CATEGORICAL or 0 < axis.levels <= 2 or np.isnan(plain[j]) or relevance[j] < RELEVANT:
            continue
        position = plain[j] / (axis.levels - 1) if axis.levels else best.u[j]
        near = 0.0 if axis.levels else _AT_BOUND
        if position > near and position < 1.0 - near:
            continue
        mean, variance = _kernel.predict(posterior, moved(space, best.u, j, np.array([best.u[j], 0.5])))
        if mean[1] - mean[0] < _CLEAR * np.sqrt(variance.sum()):
            continue
        upper = position > 0.5
        if axis.kind == Kind.ORDINAL:
            end = "last" if upper else "first"
            notes.append(f"best at the {end} choice of {name} ({best.params[name]}): add further ones with study.extend")
        else:
            side, bound = ("upper", axis.high) if upper else ("lower", axis.low)
            notes.append(f"best at the {side} bound of {name} ({bound:g}): widen it with study.extend")
    return notes
