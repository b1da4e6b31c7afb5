"""`Study.train` and the weights it leaves: arguments checked, lanes built or measured, the loop of `_training.py` started."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxhp import _owner
from jaxhp._grading import LANES, Grading, check_adjoint
from jaxhp._programs import Wanted, Work, programs, same_buckets
from jaxhp._settings import check_counts, check_course, check_free, check_seconds, folder_of, settings
from jaxhp._stage import Stage
from jaxhp._training import House, SegmentCallback, Training
from jaxhp._types import Params, Scheduler
from jaxhp.errors import StudyError
from jaxhp.schedulers import to_the_end

if TYPE_CHECKING:
    from jaxhp.study import Study
    from jaxhp.train import Lanes, Trainable

_NO_TRIAL = 0xFFFFFFFF  # the number that keys of configurations beside the trials are folded with: their seeds are fresh, and shared


def train(
    study: Study,
    trainable: Trainable,
    *,
    trials: int | None,
    steps: int | None,
    lanes: int | str | Lanes,
    scheduler: Scheduler | None,
    seeds: int | None,
    evaluate_every: int | None,
    bank: str,
    bank_bytes: int | None,
    checkpoint: str | Path | None,
    checkpoint_every: float,
    callbacks: Sequence[SegmentCallback],
    timeout: float | None,
    mesh: Any,
    buckets: Wanted,
    adjoint: Any,
    differentiate: str | None,
) -> None:
    """See `Study.train`."""
    fold = study._fold
    study._session.sync()
    shared = None if isinstance(lanes, (int, str)) else _shared(lanes)
    if shared is not None:
        mesh = mesh or shared.mesh
    width = lanes if isinstance(lanes, (int, str)) else lanes.width
    _check(
        study, trials, steps, width, scheduler, seeds, evaluate_every, bank, bank_bytes, checkpoint, checkpoint_every, callbacks,
        timeout, mesh,
    )  # fmt: skip
    deadline = None if timeout is None else time.monotonic() + timeout
    chosen = scheduler or study._session.scheduler or to_the_end()
    if evaluate_every is None and fold.course.run is None:
        evaluate_every = chosen.every
    chosen.init(fold.problem._replace(steps=steps or (fold.course.run or {}).get("steps")), study.seed)  # refuses steps that do not fit it
    steps, segment, seeds = settings(study, fold.course.run, steps, evaluate_every, seeds)
    if adjoint is None and differentiate is not None:
        raise StudyError(f"differentiate={differentiate!r}: without an adjoint nothing is differentiated; pass adjoint=jaxhp.Reverse() too")
    if adjoint is not None:
        check_adjoint(study, chosen, differentiate)
        if width == "auto" and fold.course.run is None:
            devices = 1 if mesh is None else mesh.devices.shape[0]
            width = max(1, min(LANES, LANES if trials is None else trials - fold.told) // devices) * devices * seeds
    if chosen.every is not None and chosen.every % segment:
        raise StudyError(f"evaluate_every={segment}: {chosen.name} compares trials every {chosen.every} steps; choose a divisor of that")
    house = (bank, bank_bytes, _folder(study, checkpoint), mesh)
    if isinstance(buckets, Sequence) and not isinstance(buckets, str):
        buckets = [dict(box) if isinstance(box, Mapping) else box for box in buckets]  # as the log keeps it
    if fold.course.run is not None:
        same_buckets(study, fold.course.run, buckets)
    work = Work(trainable, trials, steps, segment, seeds, chosen, mesh)

    def built(lanes: int | str, again: bool = False) -> Training[Stage]:
        return _built(study, work, lanes, buckets, None if again else shared, again, house, checkpoint_every)

    training: Training[Stage] | None = study._training
    if training is None or training.house != house or not training.fits(trainable):
        if training is not None:
            training.stage.close()
        training = built(width)
    while True:
        study._training, training.scheduler = training, chosen
        if adjoint is None:
            training.grading = None
        elif training.grading is None or (training.grading.adjoint, training.grading.given) != (adjoint, differentiate):
            training.grading = Grading(study, training.stage.lanes, steps, seeds, adjoint, differentiate)
        try:
            training.advance(trials, deadline, callbacks)
            break
        except (RuntimeError, MemoryError) as e:  # RuntimeError: of which JAX's are
            smaller = training.run["lanes"] // 2
            if not _exhausted(e) or smaller < 1:
                raise
            training.stage.close()
            training = built(smaller * seeds, again=True)
        finally:
            training.stage.settle()


def state(study: Study, number: int, replicate: int = 0) -> Any:
    """See `Study.state`."""
    from jaxhp.train import _weights

    training: Training[Stage] | None = study._training
    fold = study._fold
    if training is None:
        raise StudyError(f"state({number}): this process has no trainable to make weights with; call study.train(trainable, ...) first")
    for name, value in (("number", number), ("replicate", replicate)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise StudyError(f"state: {name}: expected a number, got {value!r}")
    if not 0 <= number < fold.asked or number not in fold.course.started:
        raise StudyError(f"state({number}): no such trial was trained; study {study.name!r} has asked {fold.asked}")
    if not 0 <= replicate < training.run["seeds"]:
        raise StudyError(f"state({number}, replicate={replicate}): each trial was trained with {training.run['seeds']} seeds")
    step = fold.reached(number)
    if not step:
        raise StudyError(f"state({number}): the trial has not reported yet; go on with study.train(...)")
    rows = training.stage.weights([(number, replicate)], [step])
    return training.stage.dock(number).unpacked(_weights.row(rows, 0))


def held_out(study: Study, params: Params | None, repeats: int, split: str) -> dict[str, float]:
    """See `Study.test`."""
    from jaxhp.train import traced
    from jaxhp.train._afresh import Stretch

    training: Training[Stage] | None = study._training
    if training is None:
        raise StudyError("test: this process has no trainable to test with; call study.train(trainable, ...) first")
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
        raise StudyError(f"test: repeats must be a positive number, got {repeats!r}")
    data = training.stage.lanes.trainable.data
    if split not in data or split == "train":
        known = ", ".join(repr(name) for name in data if name != "train")
        raise StudyError(f"test: the trainable's data has no {split!r} to evaluate on; it has {known}: data={{..., {split!r}: ...}}")
    steps, number = training.run["steps"], None
    if params is None:  # as it was trained, where a scheduler changed it on the way
        number = study.best.number
        course = training.stage.stretches(number, steps, keyed=_NO_TRIAL)
    else:
        columns = traced(study.space, study.space.point(params)[None])
        course = [Stretch(_NO_TRIAL, {name: column[0] for name, column in columns.items()}, steps)]
    hparams = {name: np.repeat(x, repeats) for name, x in course[-1].hparams.items()}
    models, dock = training.stage.trained([course] * repeats, range(repeats)), training.stage.dock_of(course[-1].hparams)
    told = {name: float(values.mean()) for name, values in dock.judged(hparams, models, data[split]).items()}
    record = {"kind": "test", "number": number, "params": params, "split": split, "repeats": repeats, "values": told, "time": time.time()}
    study._session.append(record)
    return told


def _built(
    study: Study, work: Work, lanes: int | str, buckets: Wanted, shared: Lanes | None, again: bool, house: House, checkpoint_every: float
) -> Training[Stage]:
    from jaxhp.train._autotune import keep_programs
    from jaxhp.train._bank import Banks

    keep_programs()
    before = study._fold.course.run
    bank, bank_bytes, folder, _ = house
    made = programs(study, work, lanes, buckets, shared, again)
    shapes = f"{zlib.crc32(repr(made.docks[-1].shapes).encode()):08x}"
    if before is not None and before["shapes"] != shapes:
        raise StudyError(
            f"the trainable's state, batches or metrics have other shapes than those that study {study.name!r} was trained with; "
            "pass the same trainable, or use another name for the study"
        )
    threads = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="jaxhp-compile")  # no more: a compilation takes memory
    for dock in made.docks:
        dock.compile_ahead(threads)
    threads.shutdown(wait=False)
    run = {
        "kind": "train",
        "steps": work.steps,
        "segment": work.segment,
        "seeds": work.seeds,
        "lanes": made.lanes,
        "given": lanes if before is None else before["given"],  # what the user asked for; out of memory, there are fewer
        "scheduler": work.scheduler.name,
        "shapes": shapes,
        "owner": _owner.owner(),
        "time": time.time(),
    }
    if made.plan is not None:
        run |= {"plan": made.plan.to_json(), "buckets": buckets if before is None else before["buckets"]}
    study._session.append(run)
    checkpoints = None
    if folder is not None:
        from jaxhp.train._checkpoint import Checkpoints

        checkpoints = Checkpoints(folder, " ".join([shapes, *(str(dock.width) for dock in made.docks), "in chunks"]))
    stage = Stage(
        study._fold, run, work.trainable, made.plan, made.docks, Banks(made.docks, bank, bank_bytes), checkpoints, checkpoint_every
    )
    return Training(study, run, work.scheduler, stage, house)


def _shared(lanes: Any) -> Lanes:
    """Lanes of another study.

    Raises:
        StudyError: something else.
    """
    from jaxhp.train import Lanes

    if not isinstance(lanes, Lanes):
        raise StudyError(f"lanes: expected a number, 'auto', or the lanes of another study (study.lanes), got {lanes!r}")
    return lanes


def _exhausted(error: BaseException) -> bool:
    from jaxhp.train._autotune import out_of_memory

    return out_of_memory(error)


def _folder(study: Study, checkpoint: str | Path | None) -> Path | None:
    """Where checkpoints go: beside an SQLite file, unless the user says otherwise."""
    return None if checkpoint is None else folder_of(study, None if checkpoint == "auto" else checkpoint, "weights")


def _check(
    study: Study,
    trials: int | None,
    steps: int | None,
    lanes: int | str,
    scheduler: Scheduler | None,
    seeds: int | None,
    evaluate_every: int | None,
    bank: str,
    bank_bytes: int | None,
    checkpoint: Any,
    checkpoint_every: float,
    callbacks: Any,
    timeout: float | None,
    mesh: Any,
) -> None:
    whole = {"trials": trials, "steps": steps, "seeds": seeds, "evaluate_every": evaluate_every, "bank_bytes": bank_bytes}
    whole |= {} if lanes == "auto" else {"lanes": lanes}  # type: ignore[dict-item]
    check_counts({name: value for name, value in whole.items() if value is not None})
    check_course(trials, steps, evaluate_every, scheduler, callbacks, timeout)
    check_seconds("checkpoint_every", checkpoint_every)
    if isinstance(lanes, int) and seeds is not None and lanes % seeds:
        raise StudyError(f"lanes={lanes}: each trial takes seeds={seeds} lanes; choose a multiple")
    if bank not in ("auto", "host", "device"):
        raise StudyError(f"bank: expected 'auto', 'host' or 'device', got {bank!r}")
    if checkpoint is not None and not isinstance(checkpoint, (str, Path)):
        raise StudyError(f"checkpoint: expected a folder, 'auto' or None, got {checkpoint!r}")
    if mesh is not None and not hasattr(mesh, "axis_names"):
        raise StudyError(f"mesh: expected a jax.sharding.Mesh, got {mesh!r}")
    if study._fold.lag is not None:
        raise StudyError("train: a study with lag= cannot train in lanes; its trials follow from the log as they are, so leave lag out")
    if study._session.leases is None:
        raise StudyError("train: a study with leases=None does not say who trains it; leave leases out")
    run = study._fold.course.run
    if run is None:
        return
    check_free(study, run, "lanes")
    if lanes not in ("auto", run["given"], run["lanes"] * run["seeds"]):
        raise StudyError(
            f"lanes={lanes}: study {study.name!r} trains in {run['lanes'] * run['seeds']} lanes, on which its numbers depend "
            "to the last bit; leave lanes out, or use another name for the study"
        )
