"""CMA-ES: a normal distribution that moves to the better half of its samples and takes their shape.

Hansen & Ostermeier, Completely derandomized self-adaptation in evolution strategies, Evolutionary Computation 9(2), 2001. The parts, each
with its paper: the update (`_cma_update.py`), integers (`_cma_margin.py`), categories (`_cma_categories.py`), restarts
(`_cma_restarts.py`), the start from another study's trials (`_cma_warm_start.py`), sampling and bounds (`_cma_draw.py`), and the fold
that makes generations of trials (`_cma_state.py`). Defaults are measured in docs/cma_es.md.
"""

from __future__ import annotations

import math
from typing import Final, Literal

from jaxhp._arguments import changed, is_real, is_whole, plain_arguments
from jaxhp._types import Floats, Ints, Problem, Sampler, Trials
from jaxhp.errors import SamplerError
from jaxhp.samplers._cma_restarts import Restarts
from jaxhp.samplers._cma_state import CmaState, Options
from jaxhp.samplers._merit import one_objective

_SIGMA: Final = 0.2
_LEAST_POPSIZE: Final = 4


@plain_arguments
def cma_es(
    sigma: float = _SIGMA,
    *,
    popsize: int | None = None,
    restarts: Restarts | None = "bipop",
    active: bool = True,
    separable: bool | Literal["auto"] = "auto",
    margin: float | None = None,
    warm_start: float = 0.1,
) -> Sampler:
    """CMA-ES for one objective: hundreds of cheap trials, ill-conditioned and rotated valleys, noise, batches of any size.

    Floats, integers and ordinals share one normal distribution, in which integers keep a margin so that none is lost; each categorical
    parameter has a distribution over its levels. Trial 0 is the default configuration. Failures are the worst; of trials that break
    a constraint on metrics, those that break it less are better.

    Args:
        sigma: standard deviation of the first samples, in shares of each parameter's range.
        popsize: trials a generation; None: 4 + floor(3 ln d), 4 + floor(2 ln d) where some are not floats. So large a batch loses nothing.
        restarts: "ipop", "bipop", or None: what follows when a run has converged. Without restarts its distribution then stays.
        active: whether bad samples make the distribution narrower in their direction.
        separable: whether only the variances are learned; "auto": with more than 200 numeric parameters.
        margin: least probability that an integer leaves its level; None: 1 / (n popsize) for n numeric parameters.
        warm_start: the share of the trials known before the first own one, best first, that the start is fitted to; 0: none of them.

    Raises:
        SamplerError: an argument is not valid; when the study starts: it has several objectives.

    >>> import jaxhp
    >>> space = jaxhp.Space({"x": jaxhp.Float(-5.0, 5.0), "y": jaxhp.Float(-5.0, 5.0)})
    >>> study = jaxhp.Study(space, sampler=jaxhp.cma_es(), seed=0)
    >>> study.optimize(lambda trial: (trial["x"] - 1.0) ** 2 + 100.0 * (trial["y"] - trial["x"]) ** 2, trials=300).best.value < 1e-6
    True
    """
    for argument, value, low, high in (("sigma", sigma, 0.0, math.inf), ("margin", 0.25 if margin is None else margin, 0.0, 0.5)):
        if not is_real(value) or not low < value < high:
            bounds = "above 0" if high == math.inf else f"between {low:g} and {high:g}, ends excluded"
            raise SamplerError(f"cma_es({argument}={value!r}): expected a number {bounds}")
    if popsize is not None and (not is_whole(popsize) or popsize < _LEAST_POPSIZE):
        raise SamplerError(f"cma_es(popsize={popsize!r}): expected an integer of at least {_LEAST_POPSIZE}, or None")
    if restarts not in ("ipop", "bipop", None):
        raise SamplerError(f"cma_es(restarts={restarts!r}): expected 'ipop', 'bipop' or None")
    if not isinstance(active, bool):
        raise SamplerError(f"cma_es(active={active!r}): expected True or False")
    if not isinstance(separable, bool) and separable != "auto":
        raise SamplerError(f"cma_es(separable={separable!r}): expected True, False or 'auto'")
    if not is_real(warm_start) or not 0.0 <= warm_start <= 1.0:
        raise SamplerError(
            f"cma_es(warm_start={warm_start!r}): expected a share from 0 to 1; for trials use jaxhp.warm_start(sampler, study)"
        )
    options = Options(float(sigma), popsize, restarts, active, separable, margin, float(warm_start))

    def init(problem: Problem, seed: int) -> CmaState:
        one_objective("cma_es()", problem)
        return CmaState(problem, seed, options)

    def tell(state: CmaState, trials: Trials) -> CmaState:
        state.tell(trials)
        return state

    def ask(state: CmaState, numbers: Ints) -> Floats:
        return state.suggest(numbers)

    given: dict[str, tuple[object, object]] = {"sigma": (sigma, _SIGMA), "popsize": (popsize, None), "restarts": (restarts, "bipop")}
    given |= {"active": (active, True), "separable": (separable, "auto"), "margin": (margin, None), "warm_start": (warm_start, 0.1)}
    return Sampler(init, tell, ask, f"cma_es({', '.join(changed(given))})")
