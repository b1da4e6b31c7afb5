"""TensorBoard: the study in one run, and every trial's learning curve and hyperparameters in a run of its own.

The messages are tensorboardX's, which needs neither TensorFlow nor PyTorch. Its writers hold a file and a thread each, too much for
thousands of trials; so records are appended here: the data's length, a checksum of that, the data, a checksum of the data.
"""

from __future__ import annotations

import os
import socket
import struct
import time
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
        import tensorboardX  # noqa: F401  # its parts may be loaded without it
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary
        from tensorboardX.record_writer import masked_crc32c
        from tensorboardX.summary import hparams
    except ImportError as e:
        raise MissingExtra('tensorboard needs tensorboardX: pip install "jaxhp[tensorboard]"') from e
    root = Path(folder)
    name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"

    def append(place: Path, summaries: list[tuple[int, Any]]) -> None:
        """Writes (step, summary) into the file of this process."""
        file = place / name
        events = [Event(wall_time=time.time(), step=step, summary=summary) for step, summary in summaries]
        if not file.exists():
            place.mkdir(parents=True, exist_ok=True)
            events.insert(0, Event(wall_time=time.time(), file_version="brain.Event:2"))
        with file.open("ab") as out:
            for event in events:
                data = event.SerializeToString()
                length = struct.pack("<Q", len(data))
                out.write(length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data)))

    def write(study: Study, progress: Progress) -> None:
        def scalar(tag: str, value: float) -> Any:
            return Summary(value=[Summary.Value(tag=tag, simple_value=value)])

        place = root / study.name
        append(place, [(progress.segments, scalar(tag, value)) for tag, value in scalars(study, progress).items()])
        columns = progress.reports if trials else {"number": np.zeros(0, np.int64)}
        metrics = [tag for tag in columns if tag not in ("number", "step")]
        for i, number in enumerate(columns["number"].tolist()):
            own = place / f"trial{number:05}"
            summaries = [(int(columns["step"][i]), scalar(tag, columns[tag][i])) for tag in metrics]
            if not (own / name).exists():
                experiment, start, _ = hparams(_plain(study._trial(number).params), {o.name: 0.0 for o in study.outcomes})
                summaries = [(0, experiment), (0, start), *summaries]
            append(own, summaries)

    return write


def _plain(params: Params) -> dict[str, float | str | bool]:
    """What the plugin for hyperparameters takes; other choices as text."""
    return {name: value if isinstance(value, (float, int, str)) else str(value) for name, value in params.items()}
