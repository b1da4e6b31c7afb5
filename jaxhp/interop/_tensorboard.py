"""TensorBoard: the study in one run, and every trial's learning curve and hyperparameters in a run of its own.

Written with tensorboardX, which needs neither TensorFlow nor PyTorch. Files are open for the trials that are in lanes only, so that
thousands of trials do not need thousands of open files.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxhp.errors import MissingExtra
from jaxhp.interop._progress import scalars

if TYPE_CHECKING:
    from jaxhp._training import Progress, SegmentCallback
    from jaxhp._types import Params
    from jaxhp.study import Study


def tensorboard(folder: str | Path, *, trials: bool = True) -> SegmentCallback:
    """A callback for `Study.train` that writes event files: `tensorboard --logdir FOLDER` shows them.

    Args:
        folder: made when it is missing; the study is in it under its name, trials in `<name>/trial00007`.
        trials: also write the learning curve and the hyperparameters of each trial.

    Raises:
        MissingExtra: tensorboardX is not installed.
    """
    try:
        import tensorboardX
    except ImportError as e:
        raise MissingExtra('tensorboard needs tensorboardX: pip install "jaxhp[tensorboard]"') from e
    from tensorboardX.summary import hparams

    root = Path(folder)
    writers: dict[Path, Any] = {}
    begun: set[Path] = set()

    def writer(place: Path) -> Any:
        if place not in writers:
            writers[place] = tensorboardX.SummaryWriter(str(place))
        return writers[place]

    def write(study: Study, progress: Progress) -> None:
        place = root / study.name
        named = scalars(study, progress) | {f"standing/{step}": count for step, count in progress.standing.items()}
        for name, value in named.items():
            writer(place).add_scalar(name, value, progress.segments)
        columns = progress.reports if trials else {"number": np.zeros(0, np.int64)}
        places = {number: place / f"trial{number:05}" for number in columns["number"].tolist()}
        for i, (number, own) in enumerate(places.items()):
            if own not in begun:
                begun.add(own)
                experiment, start, _ = hparams(_plain(study._trial(number).params), dict.fromkeys((o.name for o in study.outcomes), 0.0))
                writer(own).file_writer.add_summary(experiment)
                writer(own).file_writer.add_summary(start)
            for name in columns.keys() - {"number", "step"}:
                writer(own).add_scalar(name, columns[name][i], int(columns["step"][i]))
        for known in [p for p in writers if p.parent == place and p not in places.values()]:
            writers.pop(known).close()  # it is in no lane any more
        for open_writer in writers.values():
            open_writer.flush()

    return write


def _plain(params: Params) -> dict[str, float | str | bool]:
    """What the plugin for hyperparameters takes; other choices as text."""
    return {name: value if isinstance(value, (float, int, str)) else str(value) for name, value in params.items()}
