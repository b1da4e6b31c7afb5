"""Weights & Biases: a study is one run; its progress is logged, its best configuration stands in the summary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jaxhp.errors import MissingExtra
from jaxhp.interop._progress import scalars

if TYPE_CHECKING:
    from jaxhp._training import Progress, SegmentCallback
    from jaxhp.study import Study


def wandb(run: Any = None, **arguments: Any) -> SegmentCallback:
    """A callback for `Study.train` that logs to Weights & Biases; finish the run as usual (it does so itself when Python ends).

    Args:
        run: from `wandb.init`; or it is started with the first segment,
        arguments: by `wandb.init(**arguments)`: project, group, mode="offline" and so on.

    Raises:
        MissingExtra: wandb is not installed.
    """
    if run is None:
        try:
            import wandb as library
        except ImportError as e:
            raise MissingExtra('wandb is not installed: pip install "jaxhp[wandb]"') from e
    best: list[int] = []

    def log(study: Study, progress: Progress) -> None:
        nonlocal run
        if run is None:
            run = library.init(**({"name": study.name} | arguments))
        run.log(scalars(study, progress) | {"segment": progress.segments})
        if progress.best is not None and best != [study.best_observed.number]:
            trial = study.best_observed
            best[:] = [trial.number]
            run.summary.update({"best": {"trial": trial.number, "values": trial.values, "params": trial.params}})

    return log
