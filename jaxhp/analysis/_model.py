"""The surrogate of a study: the model that `bayes` keeps (samplers/_model.py), folded from the same told rows in the same order.

For a study of `bayes()` it is the model behind the suggestions (those of a neighbourhood have their own, samplers/_neighbourhood.py), for
any other sampler the one that `bayes()` would have. `study.explain` judges it (`_explain.py`), and `study.best` of a stochastic study
trusts it more than any single result (`_best.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from jaxhp._types import ENDED, Ints, Status
from jaxhp.samplers._fidelity import Fidelity
from jaxhp.samplers._model import Model, kernel_kinds
from jaxhp.samplers._sobol import startup_size

if TYPE_CHECKING:
    from jaxhp._fold import Fold
    from jaxhp.study import Study

FEWEST: Final = 3  # distinct completed configurations


def distinct(study: Study) -> int:
    """How many different configurations have a finite result."""
    rows, told = study._fold.rows.table, told_rows(study._fold)
    return len({rows.u[i].tobytes() for i in told[np.isfinite(rows.y[told, 0])].tolist()})


def modelled(study: Study) -> Model:
    """The model of what is told, fitted with fewer results than `bayes` waits for; the same object until the log has grown.

    Call it and ask for the posterior with the study's lock held, and tell the model nothing.
    """
    fold = study._fold
    if study._modelled is not None and study._modelled[0] == fold.position:
        return study._modelled[1]
    rows, told = fold.rows.table, told_rows(fold)
    fidelity = Fidelity()
    steps = {  # at which each row stands, by all that is known of learning curves
        i: fidelity.tell(int(rows.number[i]), int(rows.status[i]), float(rows.fidelity[i]), float(rows.y[i, 0]))
        for i in np.flatnonzero(rows.status[: fold.rows.n] != Status.PENDING).tolist()
    }
    model = Model(kernel_kinds(fold.space.dims), fold.seed, min(startup_size(fold.space.d), len(told)), fidelity=fidelity)
    for i in told.tolist():
        model.tell(rows.u[i], float(rows.y[i, 0]), float(rows.noise[i, 0]), steps[i])
    study._modelled = fold.position, model
    return model


def told_rows(fold: Fold) -> Ints:
    """The finished rows, in the order in which a sampler is told them."""
    rows = fold.rows.view(0, fold.rows.n)
    told = np.flatnonzero(np.isin(rows.status, ENDED))
    if fold.lag is not None:  # whoever was first
        told = told[np.argsort(rows.number[told], kind="stable")]
    return told
