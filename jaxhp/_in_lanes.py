"""Training as an objective: trials that one process runs side by side share one program of lanes.

`study.train` drives the lanes of one process. Here it is the other way round: every call of the objective hands its trial to the lanes
of its process, and waits; a thread refills, advances and evaluates them for as long as trials wait. So with an executor whose workers
run several calls at once (`jaxhp.interop.ray.Executor(num_gpus=1, actors=8, concurrency=64)`) there is one `Lanes` per GPU, on any
number of machines, and everything that holds for executors holds: workers are lost, trials run again, nothing is told twice.

Each segment is a report, so that schedulers that end trials (`asha`, `hyperband`, `median_stopping`) end them here, too; those that
pause, promote or copy weights need `study.train`. A trial's numbers depend on the study's seed, its number, its configuration and the
number of lanes, as everywhere: they are those of `study.train` with as many lanes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxhp._arguments import is_whole
from jaxhp._settings import usual_segment
from jaxhp.errors import StudyError
from jaxhp.trial import Trial

if TYPE_CHECKING:
    from jaxhp.train import Lanes, LaneState, Trainable


@dataclass
class _Passenger:
    """A trial that waits for a lane, or stands in one."""

    trial: Trial
    hparams: Mapping[str, Any]
    arrived: threading.Event = field(default_factory=threading.Event)
    values: dict[str, float] = field(default_factory=dict)
    error: BaseException | None = None


class InLanes:
    """An objective that trains: `study.optimize(jaxhp.InLanes(trainable, steps=2000), executor=..., workers=...)`.

    Args:
        trainable: the model and its data, as for `study.train`.
        steps: of a full run.
        lanes: trials that a process trains at once; more than it is given at once stay idle.
        evaluate_every: steps between reports; by default a twentieth of `steps`, rounded up.

    Raises:
        StudyError: an argument is not valid. TrainableError: the trainable breaks a rule.

    >>> import jax.numpy as jnp, jaxhp
    >>> trainable = jaxhp.Trainable(
    ...     init=lambda key, hparams: jnp.zeros(()),
    ...     step=lambda w, hparams, batch, key, t: (w - hparams["rate"] * 2 * (w - batch), {}),
    ...     evaluate=lambda w, hparams, split, key: {"loss": (w - split) ** 2},
    ...     data={"train": jnp.float32(3.0), "validation": jnp.float32(3.0)},
    ... )
    >>> study = jaxhp.Study(jaxhp.Space({"rate": jaxhp.Float(0.01, 0.4)}), sampler=jaxhp.sobol(), metric="loss")
    >>> study.optimize(jaxhp.InLanes(trainable, steps=20, lanes=4), trials=8, workers=4).best.value < 0.01
    True
    """

    def __init__(self, trainable: Trainable, *, steps: int, lanes: int = 16, evaluate_every: int | None = None) -> None:
        from jaxhp.train._trainable import must_be_trainable

        for name, value in (("steps", steps), ("lanes", lanes), ("evaluate_every", 1 if evaluate_every is None else evaluate_every)):
            if not is_whole(value) or value < 1:
                raise StudyError(f"InLanes({name}={value!r}): expected a positive number")
        if evaluate_every is not None and evaluate_every > steps:
            raise StudyError(f"InLanes(evaluate_every={evaluate_every}): more than steps={steps}")
        must_be_trainable(trainable)
        self._arguments = (trainable, int(steps), int(lanes), int(evaluate_every or usual_segment(steps)))
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[_Passenger] = deque()
        self._driven = False  # whether a thread drives the lanes
        self._lanes: Lanes | None = None

    def __getstate__(self) -> dict[str, Any]:
        trainable, *rest = self._arguments
        return {"_arguments": (trainable._replace(sizes=dict(trainable.sizes)), *rest)}  # programs are compiled where they run

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def __call__(self, trial: Trial) -> dict[str, float]:
        """Trains the trial's configuration beside those of other calls, and returns its last metrics."""
        from jaxhp.train._hparams import traced

        if not isinstance(trial, Trial):
            raise StudyError(f"InLanes: expected a trial, got {trial!r}; give the objective to study.optimize")
        if trial.replicate:  # lanes draw by the trial's number, so that a repetition would be the same training again
            raise StudyError(f"InLanes: trial {trial.number} cannot be confirmed in lanes; train under several seeds: study.train(seeds=)")
        passenger = _Passenger(trial, {name: column[0] for name, column in traced(trial._space, trial.u[None]).items()})
        with self._lock:
            self._waiting.append(passenger)
            if not self._driven:
                self._driven = True
                threading.Thread(target=self._drive, daemon=True, name="lanes").start()
        passenger.arrived.wait()
        if passenger.error is not None:
            raise passenger.error
        return passenger.values

    def _drive(self) -> None:
        """Trains until nobody waits."""
        _, steps, width, _ = self._arguments
        seats: dict[int, _Passenger] = {}  # by slot
        state: LaneState | None = None
        try:
            while True:
                boarding = self._boarding(width, seats)
                if not boarding and not seats:
                    return
                seats.update(boarding)  # at once: whatever fails from here on, they hear of it
                lanes = self._built(next(iter(boarding.values())) if boarding else None)
                state = lanes.init() if state is None else state
                if boarding:
                    state = _seated(lanes, state, boarding, steps)
                state, metrics = lanes.run(state)
                self._tell(seats, state, {name: np.asarray(column) for name, column in metrics.items()})
        except BaseException as e:  # a device out of memory, a stream that cannot be read: every trial has failed, and says why
            with self._lock:
                self._driven = False
                stranded = [*seats.values(), *self._waiting]
                self._waiting.clear()
            for passenger in stranded:
                passenger.error = e
                passenger.arrived.set()

    def _boarding(self, width: int, seats: dict[int, _Passenger]) -> dict[int, _Passenger]:
        """Who takes which free slot; where nobody is left, the thread that asks ends."""
        with self._lock:
            free = (slot for slot in range(width) if slot not in seats)
            found = {slot: self._waiting.popleft() for slot, _ in zip(free, range(len(self._waiting)), strict=False)}
            if not found and not seats:
                self._driven = False
            return found

    def _built(self, first: _Passenger | None) -> Lanes:
        if self._lanes is None:
            from jaxhp.train import Lanes

            assert first is not None
            trainable, steps, width, segment = self._arguments
            home = first.trial._study
            metrics = tuple(outcome.name for outcome in home.outcomes)
            self._lanes = Lanes(
                trainable, first.hparams, width, segment=segment, seed=home.seed, ragged=bool(steps % segment), metrics=metrics
            )
        return self._lanes

    def _tell(self, seats: dict[int, _Passenger], state: LaneState, metrics: dict[str, Any]) -> None:
        """Reports what each lane has reached, and lets those go that are done."""
        for slot, passenger in list(seats.items()):
            passenger.values = {name: float(column[slot]) for name, column in metrics.items()}
            step, done = int(state.t[slot]), bool(state.t[slot] >= state.until[slot])
            try:
                done = passenger.trial.report(step, passenger.values) or done
            except Exception as e:  # its own, as of a trial that was given to another worker: the others go on
                passenger.error, done = e, True
            if done:
                state.number[slot] = -1
                del seats[slot]
                passenger.arrived.set()


def _seated(lanes: Lanes, state: LaneState, boarding: dict[int, _Passenger], steps: int) -> LaneState:
    """The lanes with these trials in them, from their initial weights."""
    there = list(boarding.values())
    columns = {name: np.array([p.hparams[name] for p in there]) for name in there[0].hparams}
    return lanes.refill(state, list(boarding), [p.trial.number for p in there], columns, steps)
