"""The study: ask, tell, and everything that follows from the log of both.

A study holds no truth of its own. Each verb appends records to the log and folds what the log then holds (`_fold.py`);
a suggestion is the sampler's pure function of the folded rows. So a study that was killed and opened again continues
as if nothing had happened, and several processes may drive one study through one log.
"""

from __future__ import annotations

import math
import operator
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from jaxhp._arguments import is_whole, plain_arguments
from jaxhp._fold import Fold
from jaxhp._header import arguments_of, check_arguments, check_header, existing, founded, header
from jaxhp._leases import Leases, check_leases
from jaxhp._outcomes import described, metrics, result, satisfied, scalar
from jaxhp._session import Session, listed
from jaxhp._slopes import slopes
from jaxhp._types import Direction, Floats, Outcome, Params, Record, Sampler, Scheduler, Status, Trials
from jaxhp.errors import LeaseLost, SpaceExhausted, StudyError
from jaxhp.pareto import pareto_front
from jaxhp.space import Space
from jaxhp.storage import Log, open_existing, open_log
from jaxhp.storage._codec import uncollected
from jaxhp.storage._log import batches
from jaxhp.trial import Trial

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import pandas as pd

    from jaxhp._errand import Objective
    from jaxhp._parts import PartObjective
    from jaxhp._run import Callback, Until
    from jaxhp._stage import Stage
    from jaxhp._training import SegmentCallback, Training
    from jaxhp.analysis import Explanation, Forecast
    from jaxhp.confirm import Confirmation
    from jaxhp.samplers._model import Model
    from jaxhp.schedulers import Schedule
    from jaxhp.train import Lanes, Trainable
    from jaxhp.train._buckets import Plan
    from jaxhp.train.hypergrad import Adjoint

_LEASES = Leases()
_MOST_STEPS = 1 << 53


class Study:
    """A search for the best configuration of a space.

    Args:
        space: what may vary. May be left out of `Study.open`.
        sampler: what suggests; `jaxhp.auto()` by default.
        scheduler: what stops trials early on their reports; none by default.
        direction, metric: of the one objective; or `directions={"loss": "minimize", "latency": "minimize"}` for several.
        constraints: bounds on told metrics, such as `{"memory": "<= 8e9"}`.
        storage: None keeps the log in memory; `"sqlite:///study.db"` keeps it in a file; `"postgresql://user@host/database"` on a server;
            or a `Log`.
        name: of the study in its storage; an existing one is continued exactly where it stopped.
        seed: names every random draw (0 for a new study).
        lag: with `lag=w`, trial t sees only the results of trials up to t - w, so that up to w workers give the trials of one.
        stochastic: the objective is noisy; repeated configurations are then welcome, and `best` is what the surrogate trusts most.
        retry: how often a configuration that failed is run again, as a new trial.
        leases: how workers that are gone are noticed, where processes share the storage (`jaxhp.Leases`). None: this process's trials are
            never taken from it, even when it ends, and it takes none from others.

    Raises:
        StudyError: an argument is not valid, or the existing study of that name differs.

    >>> import jaxhp
    >>> space = jaxhp.Space({"x": jaxhp.Float(-1.0, 1.0)})
    >>> study = jaxhp.Study(space, sampler=jaxhp.sobol(), seed=1)
    >>> study.optimize(lambda trial: trial["x"] ** 2, trials=16).best.value < 0.05
    True
    """

    def __init__(
        self,
        space: Space | None = None,
        *,
        sampler: Sampler | None = None,
        scheduler: Scheduler | None = None,
        direction: Direction = "minimize",
        metric: str = "value",
        directions: Mapping[str, Direction] | None = None,
        constraints: Mapping[str, str] | None = None,
        storage: str | Log | None = None,
        name: str = "study",
        seed: int | None = None,
        lag: int | None = None,
        stochastic: bool = False,
        retry: int = 0,
        leases: Leases | None = _LEASES,
    ) -> None:
        check_arguments(space, sampler, scheduler, name, seed, lag, stochastic)
        check_leases(leases)
        if not is_whole(retry) or retry < 0:
            raise StudyError(f"retry: expected how often a failed configuration is run again, got {retry!r}")
        if retry and lag is not None:
            raise StudyError(f"retry={retry}: with lag={lag}, trials do not depend on who is first, and repeats would; leave one out")
        if sampler is None:
            from jaxhp.samplers import auto

            sampler = auto()
        self.name = name
        self._lock = threading.RLock()
        self._log = open_log(storage)
        outcomes = described(direction, metric, directions, constraints)
        mine = header(space, sampler, scheduler, outcomes, seed, lag, stochastic)
        logged = founded(self._log, name, mine)
        self._fold = Fold(logged, space)
        with uncollected():
            for records in batches(self._log, name, 1):
                self._fold.take(records)
        check_header(self._log.url, name, logged, mine, self._fold, space, seed)
        self._session = Session(self._log, name, self._fold, sampler, scheduler, leases)
        self._retry = retry
        self._training: Training[Stage] | None = None  # this process's hold on the lanes
        self._modelled: tuple[int, Model] | None = None  # the last surrogate that was asked for, and the log position it is of
        if self._fold.sampler != sampler.name and space is not None:
            self._session.append({"kind": "sampler", "sampler": sampler.name, "time": time.time()})

    @classmethod
    def open(cls, storage: str | Log, name: str | None = None, **arguments: Any) -> Study:
        """Opens an existing study without giving its space; `name` may be left out where the storage holds one study.

        Raises:
            StudyError: no such study, or several and no name. StorageError: no such file.
        """
        log = open_existing(storage)
        name = existing(log, name)
        return cls(storage=log, name=name, **(arguments_of(log, name) | arguments))

    # -- what is known ---------------------------------------------------------------------------------------------

    @property
    def space(self) -> Space:
        """The search space, extensions included."""
        return self._fold.space

    @property
    def seed(self) -> int:
        """The seed that names every draw."""
        return self._fold.seed

    @property
    def sampler(self) -> str:
        """The name of the sampler in charge."""
        return self._fold.sampler

    @property
    def scheduler(self) -> str | None:
        """The name of the scheduler that was last asked, or None."""
        return self._fold.scheduler

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """The metrics: objectives first, then constraints."""
        return self._fold.outcomes

    @property
    def storage(self) -> str:
        """Where the log lives."""
        return self._log.url

    @property
    def trials(self) -> Trials:
        """Columnar (n, ...) copies, one row per (number, fidelity, replicate), as told.

        y is minimised: a maximised metric has its sign turned. A running trial has one PENDING row; REPORTED rows are intermediate values.
        """
        with self._lock:
            self._session.sync()
            fold = self._fold
            done = {fold.ask_row[number] for number in fold.final_row}
            paused = np.flatnonzero(fold.rows.table.status[: fold.rows.n] == Status.PAUSED)
            done.update(paused.tolist())
            return fold.rows.take([i for i in range(fold.rows.n) if i not in done])

    @property
    def finished(self) -> list[Trial]:
        """Every finished trial, in number order."""
        with self._lock:
            self._session.sync()
            return [self._finished(number) for number in sorted(self._fold.final_row)]

    @property
    def running(self) -> list[Trial]:
        """Trials that are asked and not told, by this or any other process, in number order."""
        with self._lock:
            self._session.sync()
            return [self._trial(number) for number in range(self._fold.asked) if self._fold.pending(number)]

    @property
    def best_observed(self) -> Trial:
        """The finished trial with the best told value (constraints satisfied).

        Raises:
            StudyError: several objectives, or no completed, feasible trial yet.
        """
        with self._lock:
            self._session.sync()
            self._single("best")
            if self._fold.best is None:
                raise StudyError(self._nothing_yet())
            return self._finished(self._fold.best)

    @property
    def best(self) -> Trial:
        """The best configuration: `best_observed`, or in a stochastic study the one that the surrogate trusts most.

        That is the first trial of the completed, feasible configuration with the best posterior mean, a standard deviation taken off
        for caution; with fewer than three configurations, the best mean over repeats.

        Raises:
            StudyError: several objectives, or no completed, feasible trial yet.
        """
        with self._lock:
            observed = self.best_observed
            if not self._fold.stochastic:
                return observed
            from jaxhp.analysis._best import most_trusted

            return most_trusted(self)

    @property
    def pareto(self) -> list[Trial]:
        """The completed, feasible trials that no other one beats in every objective, in number order."""
        with self._lock:
            objectives = [i for i, o in enumerate(self.outcomes) if o.threshold is None]
            done = [t for t in self.finished if t.status == Status.COMPLETE and satisfied(self.outcomes, t.values)]
            if not done:
                return []
            y = np.array([self._fold.rows.table.y[r, objectives] for r in (self._fold.final_row[t.number] for t in done)])
            return [t for t, on_front in zip(done, pareto_front(y), strict=True) if on_front]

    @property
    def late(self) -> list[Trial]:
        """Results that came after their trials were given to others, in log order: kept, and not counted (see `LeaseLost`)."""
        with self._lock:
            self._session.sync()
            found = []
            for record in self._fold.late.values():
                trial = self._trial(record["number"])
                trial.status = Status[record["status"].upper()]
                trial.values = {name: float(value) for name, value in record["values"].items()}
                trial.error = record.get("error")
                found.append(trial)
            return found

    @property
    def halted(self) -> Literal["stop", "pause"] | None:
        """Whether the study was stopped or paused, by any process."""
        with self._lock:
            self._session.sync()
            return self._fold.halted

    def to_pandas(self) -> pd.DataFrame:
        """One row per trial: number, status, params.*, values.*, seconds, error; and gradient.* where slopes were told.

        Raises:
            MissingExtra: pandas is not installed.
        """
        from jaxhp._frame import frame

        with self._lock:
            trials = sorted([*self.finished, *self.running], key=operator.attrgetter("number"))
        return frame(trials, self.space.names, [o.name for o in self.outcomes])

    # -- ask and tell ----------------------------------------------------------------------------------------------

    @overload
    def ask(self) -> Trial: ...
    @overload
    def ask(self, n: int) -> list[Trial]: ...
    def ask(self, n: int | None = None) -> Trial | list[Trial]:
        """The next trial, or a list of up to n: first those that a dead or interrupted owner left, then enqueued ones, then suggestions.

        Raises:
            SpaceExhausted: every configuration of a finite space has been asked (`ask(n)` first returns the rest).
            StudyError: n is not positive; or `lag` makes the next trial wait for a result.
        """
        if n is not None and (not is_whole(n) or n < 1):
            raise StudyError(f"ask({n!r}): expected a positive number of trials")
        if n is None:
            return self._ask(1)[0]
        with self._lock:
            trials = self._ask(n)
            while len(trials) < n:
                try:
                    trials += self._ask(n - len(trials))
                except SpaceExhausted:
                    break
            return trials

    def _ask(self, n: int, below: int | None = None) -> list[Trial]:
        """1 to n trials; none where new ones would not be below this number."""
        with self._lock:
            return [self._trial(number) for number in self._session.ask(n, below)]

    def tell(
        self,
        trial: Trial | int,
        value: float | Mapping[str, float] | None = None,
        *,
        gradient: Mapping[str, float] | None = None,
        error: str | None = None,
        noise: float | Mapping[str, float] | None = None,
        cost: float | None = None,
    ) -> Trial:
        """Records a result. A NaN or an infinity, or an `error`, is recorded as a failure: learned from, never best.

        Args:
            trial: from `ask`, or its number.
            value: the metric, or `{metric: value}`; more metrics than the study's own are kept beside them.
            gradient: `{parameter: slope}`, the objective's derivatives with respect to floats, in your units, where they are known; not all
                need be there (`jaxhp.hypergradient_descent` descends along them).
            error: why there is no value.
            noise: standard deviation of the value where it is known.
            cost: seconds; the time since the ask by default.

        Raises:
            StudyError: the trial is unknown or already told, a metric is missing or not a number, or a slope is of no float.
            LeaseLost: the trial was given to another worker meanwhile; the result is kept (`study.late`), and does not count.
        """
        number = _number(trial, "tell")
        record = result(self.outcomes, number, value, error, noise, cost)
        with self._lock:
            self._session.sync()
            lease = self._lease(trial)
            if self._fold.holds(number, lease):
                self._check_running(number)
            if lease is not None:
                record["lease"] = lease
            if gradient is not None:
                record["gradient"] = slopes(self.space, self._fold.u(number), self.outcomes, gradient, f"gradient of trial {number}")
            if number in self._fold.stops and record["status"] == "complete":
                record["status"] = "stopped"
            if number in self._fold.tell_rows:  # it reported: the value belongs to its last step
                row = self._fold.tell_rows[number][-1]
                record["step"] = float(self._fold.rows.table.fidelity[row])
            record["time"] = time.time()
            if record["status"] == "failed" and self._fold.attempt.get(number, 0) < self._retry and self._fold.holds(number, lease):
                at = self._session.place(lambda: [record, self._queued(self._fold.u(number), self._trial(number).params, retry=number)])
            else:
                at = self._session.append(record)
            if at in self._fold.late:
                self._check_lease(number, lease, "this result is kept in the log (study.late) and does not count")
                self._check_running(number)
            return self._finished(number, trial if isinstance(trial, Trial) else None)

    def report(self, trial: Trial | int, step: float, value: float | Mapping[str, float]) -> bool:
        """Records an intermediate value; True when the scheduler ends the trial (see `Trial.report`)."""
        number = _number(trial, "report")
        if type(step) is not int:
            step = scalar(step, f"report(trial {number}): step")
        if not abs(step) <= _MOST_STEPS:
            raise StudyError(f"report(trial {number}): step {step!r} must be a finite number, 2**53 at most")
        values = metrics(self.outcomes, value, f"report of trial {number}")
        with self._lock:
            self._session.sync()
            lease = self._lease(trial)
            if self._fold.holds(number, lease):
                self._check_running(number)
            record = {"kind": "report", "number": number, "step": step, "values": values, "time": time.time()}
            self._session.append(record if lease is None else record | {"lease": lease})
            self._check_lease(number, lease, "its reports do not count any more; end it")
            return number in self._fold.stops or self._session.stop(number)

    def enqueue(self, params: Params) -> None:
        """Runs this configuration before anything else is suggested.

        Raises:
            SpaceError: it is not a point of the space.
        """
        with self._lock:
            self._session.place(lambda: [self._queued(self._point(params), params)])

    def add(
        self,
        params: Params,
        value: float | Mapping[str, float],
        *,
        gradient: Mapping[str, float] | None = None,
        noise: float | Mapping[str, float] | None = None,
    ) -> Trial:
        """Records a result that is already known, as a trial of its own.

        Raises:
            SpaceError: params are not a point of the space. StudyError: a metric is missing or not a number, or a slope is of no float.
        """
        with self._lock:
            u = self._point(params)
            metrics(self.outcomes, value, "add")
            result(self.outcomes, self._fold.asked, value, None, noise, None)  # before a number is claimed
            if gradient is not None:
                slopes(self.space, u, self.outcomes, gradient, "gradient")
            return self.tell(self._session.add(params, self._point), value, gradient=gradient, noise=noise, cost=math.nan)

    def release(self, trial: Trial | int, reason: str = "released") -> None:
        """Gives a running trial back: the next `ask`, here or in a later process, returns the same number and configuration.

        One that the scheduler has ended is told its last report instead: it does not run again.
        """
        number = _number(trial, "release")
        if not isinstance(reason, str):
            raise StudyError(f"release(trial {number}): reason: expected text, got {reason!r}")
        with self._lock:
            self._session.sync()
            lease = self._lease(trial)
            self._check_lease(number, lease, "it is not yours to give back")
            self._check_running(number)
            self._session.release(number, reason, lease)

    def stop(self) -> None:
        """Ends the study, for all processes: running trials are finished, and no further one starts before `resume`."""
        self._halt("stop")

    def pause(self) -> None:
        """No process starts a trial, or a segment of training, before `resume`; loops wait for it."""
        self._halt("pause")

    def resume(self) -> None:
        """Lets a study go on that was stopped or paused. Loops that a stop has ended are not started again."""
        self._halt("resume")

    def extend(self, space: Space) -> None:
        """Widens the space of a running study: new choices, wider bounds, new parameters with a default. Recorded; told results stay.

        Raises:
            SpaceError: something became narrower or changed its type.
        """
        with self._lock:
            extended = False
            while not extended:
                self._session.sync()
                if not self.space.difference(space):
                    return
                self.space.extended_by(space)
                given, self._fold.given = self._fold.given, space
                try:
                    extended = self._session.claim([{"kind": "extend", "space": space.to_json(), "time": time.time()}])
                finally:
                    if not extended:
                        self._fold.given = given

    def optimize(
        self,
        objective: Objective,
        trials: int | None = None,
        *,
        more: int | None = None,
        timeout: float | None = None,
        workers: int | None = None,
        executor: Executor | None = None,
        callbacks: Sequence[Callback] = (),
        trial_timeout: float | None = None,
        raise_errors: bool = False,
        max_failed: float = 0.5,
        until: Until | None = None,
    ) -> Study:
        """Runs `objective(trial) -> float | {metric: float}` until the study holds `trials` trials.

        Run again after an interruption, it does the rest. An objective that knows its slopes returns a pair, `value, {parameter: slope}`.

        Args:
            trials: how many trials the study shall hold in all; `more` counts from now instead. Neither: until `timeout` or the space ends.
            timeout: seconds after which no new trial starts.
            workers: threads that run the objective side by side, 1 by default; of an executor, how many trials it is given at once, by
                default as many as it runs.
            executor: any `concurrent.futures.Executor` that runs the objective: threads, processes, loky's, Dask's, mpi4py's, submitit's,
                or `jaxhp.interop.ray.Executor` (docs/executors.md). It stays open.
            callbacks: each is called as `callback(study, trial)` after a trial is told.
            trial_timeout: seconds after which a trial is recorded as failed, those that it waits in an executor's queue included (its
                thread or process is abandoned: Python cannot stop it).
            raise_errors: re-raise an exception of the objective after recording it, instead of going on.
            max_failed: stop when, after five trials, more than this share raised or timed out.
            until: asked after each told trial, first where some are told: once `until(study)` is true, no trial starts (`jaxhp.enough`).

        Returns:
            The study, for `study.optimize(...).best`.

        Raises:
            StudyError: an argument is not valid, or the objective cannot be sent. ObjectiveError: too many trials failed; what was told is
                safe. WorkerLost: the executor broke; what was told is safe, and the rest is run again by the next call.
        """
        from jaxhp._run import run

        run(self, objective, trials, more, timeout, workers, executor, callbacks, trial_timeout, raise_errors, max_failed, until)
        return self

    @plain_arguments
    def optimize_in_parts(
        self,
        objective: PartObjective,
        trials: int | None = None,
        *,
        steps: int | None = None,
        scheduler: Scheduler | None = None,
        evaluate_every: int | None = None,
        workers: int = 1,
        folder: str | Path | None = None,
        callbacks: Sequence[SegmentCallback] = (),
        timeout: float | None = None,
    ) -> Study:
        """Runs an objective that can save and restore, part by part, so that trials may pause, be promoted, or copy one another.

        `objective(part) -> float | {metric: float}` trains from `part.step` to `part.until` with `part.params` (`jaxhp.Part`). It begins
        with what is in the folder `part.restore`, or anew where that is None; leaves what a later part needs in the folder `part.save`; and
        returns the value at `part.until`. Run again after an interruption, even a kill, it does the rest: the same parts, the same trials.

        Args:
            trials: how many trials the study shall hold in all.
            steps: of a full run, in whatever unit the objective counts.
            scheduler: who is given more steps, such as `jaxhp.pbt(every=500)` or `jaxhp.asha()`; the study's own, or everyone to the end.
            evaluate_every: steps of a part; by default the scheduler's wish, or a twentieth of `steps`.
            workers: threads that run parts side by side; they wait for each other after each part. The study keeps to the number.
            folder: where parts save; by default beside an SQLite storage. What no trial needs any more is removed.
            callbacks: each is called as `callback(study, progress)` when the parts that ran side by side have ended (`jaxhp.Progress`).
            timeout: seconds after which no further part starts.

        Returns:
            The study, for `study.optimize_in_parts(...).best`.

        Raises:
            StudyError: an argument is not valid, or differs from what the study was trained with. ObjectiveError: all parts raise.
        """
        from jaxhp._parts import optimize_in_parts

        optimize_in_parts(self, objective, trials, steps, scheduler, evaluate_every, workers, folder, callbacks, timeout)
        return self

    @plain_arguments
    def train(
        self,
        trainable: Trainable,
        trials: int | None = None,
        *,
        steps: int | None = None,
        lanes: int | str | Lanes = "auto",
        scheduler: Scheduler | None = None,
        seeds: int | None = None,
        evaluate_every: int | None = None,
        bank: str = "auto",
        bank_bytes: int | None = None,
        checkpoint: str | Path | None = "auto",
        checkpoint_every: float = 60.0,
        callbacks: Sequence[SegmentCallback] = (),
        timeout: float | None = None,
        mesh: Any = None,
        buckets: str | int | Sequence[int | Mapping[str, int]] = "auto",
        adjoint: Adjoint | Literal["auto"] | None = None,
        differentiate: str | None = None,
    ) -> Study:
        """Trains configurations side by side in one compiled program until the study holds `trials` trials (docs/lanes.md).

        Run again after an interruption, even a kill, it does the rest: the same trials, the same best, bit for bit.

        Args:
            trainable: from `jaxhp.supervised`, or a `jaxhp.Trainable`.
            trials: how many trials the study shall hold in all.
            steps: of a full run.
            lanes: how many train at once; "auto" measures, and the study keeps to the number from then on. `lanes=other.lanes` shares the
                compiled programs of another study of the same trainable.
            scheduler: who is given more steps, such as `jaxhp.asha(min_steps=100)`; the study's own, or everyone to the end.
            seeds: train each configuration under so many seeds, and tell mean and standard error.
            evaluate_every: steps between evaluations, which are the points at which a trial may stop; by default the scheduler's wish,
                or a twentieth of `steps`.
            bank: where paused weights wait: "host", "device", or "auto".
            bank_bytes: how much they may take; a trial whose weights were given up is trained again when it is promoted.
            checkpoint: a folder; "auto" is beside an SQLite storage, None keeps none.
            checkpoint_every: seconds between checkpoints.
            callbacks: each is called as `callback(study, progress)` after a segment (`jaxhp.Progress`).
            timeout: seconds after which training pauses at the next segment.
            mesh: a `jax.sharding.Mesh` to spread the lanes over, by its first axis; further ones are for models larger than a device
                (`Trainable.spec`).
            buckets: where the trainable is `jaxhp.padded`: which sizes share a program. "auto" plans that from what a step and a
                compilation cost (`jaxhp.plan_buckets`, docs/structure.md); 1 pads everything; `[64, 256]` says it. The study keeps to the
                plan.
            adjoint: how trials that complete are differentiated with respect to the floats, such as `jaxhp.Reverse()`, or "auto": they are
                told with their gradients, for `jaxhp.hypergradient_descent` (docs/hypergradients.md). `lanes="auto"` is then 16.
            differentiate: a metric of `evaluate`, to be minimised, whose gradient stands for the objective's: the loss, where the study's
                metric is an accuracy, or is of held-back examples (`jaxhp.held_back`).

        Returns:
            The study, for `study.train(...).best`.

        Raises:
            StudyError: an argument is not valid, or differs from what the study was trained with.
            TrainableError: the trainable breaks a rule.
        """
        from jaxhp._train import train

        with self._lock:
            train(
                self, trainable, trials=trials, steps=steps, lanes=lanes, scheduler=scheduler, seeds=seeds, evaluate_every=evaluate_every,
                bank=bank, bank_bytes=bank_bytes, checkpoint=checkpoint, checkpoint_every=checkpoint_every, callbacks=callbacks,
                timeout=timeout, mesh=mesh, buckets=buckets, adjoint=adjoint,
                differentiate=differentiate,
            )  # fmt: skip
        return self

    def state(self, number: int, replicate: int = 0) -> Any:
        """The trained state of a trial, as its trainable made it: kept where it was the best, else trained again, which gives the same.

        Raises:
            StudyError: it was not trained in lanes, or `train` was not called in this process.
        """
        from jaxhp._train import state

        with self._lock:
            return state(self, number, replicate)

    @property
    def lanes(self) -> Lanes | None:
        """What this process trains the study in; None before `train`."""
        return None if self._training is None else self._training.stage.lanes

    @property
    def plan(self) -> Plan | None:
        """Which sizes share a program: print it. None before `train`, or where the trainable has no sizes that the space varies."""
        from jaxhp.train._buckets import Plan

        run = self._fold.course.run
        return None if run is None or "plan" not in run else Plan.from_json(run["plan"])

    @property
    def best_state(self) -> Any:
        """The trained state of `best`."""
        return self.state(self.best.number)

    def test(self, params: Params | None = None, *, repeats: int = 5, split: str = "test") -> dict[str, float]:
        """What a configuration is worth on held-out data: trained `repeats` times to the end under fresh seeds, the means of its metrics.

        Args:
            params: a configuration; by default that of `best`. All are given the same fresh seeds.
            repeats: how many trainings, side by side in the lanes.
            split: of the trainable's data.

        Raises:
            StudyError: `train` was not called in this process, the data has no such split, or an argument is not valid.
            SpaceError: params are not a point of the space.
        """
        from jaxhp._train import held_out

        with self._lock:
            return held_out(self, params, repeats, split)

    def schedule(self, number: int | None = None) -> Schedule:
        """The hyperparameters that trained a trial's weights, by step: those of the trials that it descends from, then its own.

        Under `jaxhp.pbt` they change; otherwise there is one part. `jaxhp.replay(schedule)` trains with it again.

        Args:
            number: of the trial; by default that of `best`.

        Raises:
            StudyError: there is no such trial, or no best one yet.
        """
        from jaxhp.schedulers import Schedule

        with self._lock:
            self._session.sync()
            fold = self._fold
            if number is None:
                number = self.best.number
            if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < fold.asked:
                raise StudyError(f"schedule({number!r}): there is no such trial; study {self.name!r} has asked {fold.asked}")
            legs = fold.leg(number).path()
            params = [fold.space.params(leg.u) for leg in legs] if len(legs) > 1 else [self._trial(number).params]
            return Schedule(
                tuple(leg.start for leg in legs),
                tuple(params),
                tuple(leg.number for leg in legs),
                max(fold.reached(number), legs[-1].start),
            )

    @property
    def curves(self) -> dict[str, np.ndarray[Any, Any]]:
        """Learning curves of trials in lanes, columnar: number, step, and every metric, one entry per report."""
        with self._lock:
            self._session.sync()
            return self._fold.course.curves()

    @plain_arguments
    def confirm(self, objective: Objective, *, top: int = 5, repeats: int = 5, label: str = "confirm") -> list[Confirmation]:
        """Evaluates the best configurations again on fresh seeds (see `jaxhp.confirm`)."""
        from jaxhp.confirm import confirm

        return confirm(self, objective, top=top, repeats=repeats, label=label)

    def explain(self) -> Explanation:
        """What the results say: which parameters matter, the noise, how far the surrogate can be trusted (see `jaxhp.analysis`)."""
        from jaxhp.analysis import explain

        return explain(self)

    def forecast(self, more: int = 50) -> Forecast:
        """The chance and size of further gain from `more` further trials (see `jaxhp.analysis`). Changes nothing."""
        from jaxhp.analysis import forecast

        return forecast(self, more)

    def __repr__(self) -> str:
        fold = self._fold
        best = f", best {self._finished(fold.best).value:.6g}" if fold.best is not None and self._objectives() == 1 else ""
        return f"Study({self.name!r}, {self._log.url}, {fold.told} finished, {fold.asked - fold.told} running, {fold.failed} failed{best})"

    # -- inside ----------------------------------------------------------------------------------------------------

    def _point(self, params: Params) -> Floats:
        u = self.space.point(params)
        if not self.space.feasible(u[None])[0]:
            raise StudyError(f"{params!r} breaks a constraint of the space: {', '.join(map(str, self.space.constraints))}")
        return u

    def _queued(self, u: Floats, params: Params, **more: Any) -> Record:
        """The record that enqueues a configuration."""
        return {"kind": "enqueue", "u": listed(u), "params": self.space.plain(params), **more, "time": time.time()}

    def _trial(self, number: int) -> Trial:
        return Trial(self, number, self._fold.u(number), self._fold.params.get(number), lease=self._fold.grant.get(number, 0))

    def _lease(self, trial: Trial | int) -> int | None:
        """The grant that a trial is told under; None where a number is told that this process was never granted."""
        if isinstance(trial, Trial) and trial.lease is not None:
            return trial.lease
        return self._session.granted.get(trial.number if isinstance(trial, Trial) else int(trial))

    def _check_lease(self, number: int, lease: int | None, so: str) -> None:
        if self._fold.holds(number, lease):
            return
        owner = self._fold.owner.get(number, ("",))[0]
        ended = "it ended with its last report" if number in self._fold.stops else "it was run again"
        now = f"{owner} has it now" if owner else ended if number in self._fold.final_row else "it will be run again"
        raise LeaseLost(f"trial {number} of study {self.name!r} was taken from this worker, which was not heard of: {now}; {so}")

    def _halt(self, kind: str) -> None:
        with self._lock:
            self._session.append({"kind": kind, "time": time.time()})

    def _finished(self, number: int, trial: Trial | None = None) -> Trial:
        fold = self._fold
        if trial is None:
            trial = self._trial(number)
        row = fold.final_row[number]
        table = fold.rows.table
        trial.status = Status(int(table.status[row]))
        trial.values = {name: y for name, y in fold.told_values(row).items() if not math.isnan(y)} | fold.values.get(number, {})
        trial.gradient = {name: float(slope) for name, slope in fold.gradients.get(number, {}).items()}
        trial.guard = fold.guards.get(number, {})
        trial.error = fold.errors.get(number)
        trial.seconds = float(table.cost[row])
        return trial

    def _check_running(self, number: int) -> None:
        fold = self._fold
        if not 0 <= number < fold.asked:
            raise StudyError(f"trial {number} is unknown: study {self.name!r} has asked trials 0 to {fold.asked - 1}")
        if number in fold.final_row:
            status = Status(int(fold.rows.table.status[fold.final_row[number]]))
            raise StudyError(f"trial {number} is already told ({status.name.lower()}); a result is told once")

    def _objectives(self) -> int:
        return sum(o.threshold is None for o in self.outcomes)

    def _single(self, what: str) -> None:
        if self._objectives() > 1:
            raise StudyError(f"study.{what} needs one objective and this study has {self._objectives()}; read study.pareto")

    def _nothing_yet(self) -> str:
        fold = self._fold
        counts = f"{fold.asked} asked, {fold.told} told, {fold.failed} failed"
        return f"study {self.name!r} has no completed trial that meets its constraints yet: {counts}"


def _number(trial: Trial | int, verb: str) -> int:
    """The number of a trial.

    Raises:
        StudyError: it is neither a trial nor a number.
    """
    number = trial.number if isinstance(trial, Trial) else trial
    if not is_whole(number):
        raise StudyError(f"{verb}: expected a Trial or its number, got {trial!r}")
    return int(number)
