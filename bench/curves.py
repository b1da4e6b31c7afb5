"""Learning curves of bench_data: LCBench (10 tables) and TaskSet (6), as problems on which a tuner spends epochs.

Tables begin with the untrained network; here epoch 1 is the first trained one, so a full training is 51 (LCBench) or 50 (TaskSet) epochs.
Between tabulated configurations curves are interpolated by inverse distance over the nearest ones (why: `tables.py`), with the same weights
at every epoch. A curve has diverged from where the nearest one has; neighbours that diverge at some other epoch are left out.
"""

from __future__ import annotations

import zlib
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from peers import Dim, Params, space_of
from tables import NEIGHBOURS, SHARPNESS, _module, _opaque, _problem

import jaxhp
from jaxhp._types import Outcome, Problem, Slots, Trials

_SPLIT = {
    "tune": {
        "lcbench": ("3945", "126025", "167149", "34539", "167104"),
        "taskset": ("patch128_LSTM128_bs64", "patch32_IRNN64_relu_avg_bs128", "patch128_LSTM128_embed128_bs64"),
    },
    "judge": {
        "lcbench": ("7593", "146212", "167161", "126029", "168868"),
        "taskset": ("patch32_GRU64_avg_bs128", "patch32_VRNN64_relu_avg_bs128", "patch32_VRNN64_tanh_avg_bs128"),
    },
}


class Table(NamedTuple):
    """One table. Values are minimised."""

    name: str
    split: str  # "tune": settings were chosen on it; "judge": they were not
    dims: list[Dim]
    names: tuple[str, ...]
    space: list[dict[str, Any]]  # as bench_data describes it
    u: np.ndarray[Any, Any]  # (n, d) tabulated configurations in the unit cube
    values: np.ndarray[Any, Any]  # (n, R) NaN where diverged

    @property
    def epochs(self) -> int:
        """R, of a full training."""
        return self.values.shape[1]

    @property
    def best(self) -> float:
        """The lowest value of the table, at any epoch."""
        return float(np.nanmin(self.values))

    @property
    def best_final(self) -> float:
        """The lowest value of a full training."""
        return float(np.nanmin(self.values[:, -1]))

    @property
    def median(self) -> float:
        """The value of a full training of the median configuration that does not diverge."""
        return float(np.nanmedian(self.values[:, -1]))

    def curve(self, params: Params) -> np.ndarray[Any, Any]:
        """(R,) values after 1, ..., R epochs; NaN from where it has diverged."""
        x = _module()._unit(self.space, [[params[name] for name in self.names]])
        squared = ((self.u - x) ** 2).sum(axis=1)
        near = np.argpartition(squared, NEIGHBOURS)[:NEIGHBOURS]
        nearest = self.values[near[np.argmin(squared[near])]]
        end = int(np.isnan(nearest).argmax()) if np.isnan(nearest).any() else len(nearest)
        near = near[~np.isnan(self.values[near, :end]).any(axis=1)]
        weights = 1.0 / (squared[near] + 1e-12) ** SHARPNESS
        curve = np.full(len(nearest), np.nan)
        curve[:end] = weights @ self.values[near, :end] / weights.sum()
        return curve


@cache
def tables() -> dict[str, Table]:
    """Raises Unavailable where there is no bench_data."""
    return {
        f"{family}_{task}": _table(family, task, split) for split in _SPLIT for family in _SPLIT[split] for task in _SPLIT[split][family]
    }


def _table(family: str, task: str, split: str) -> Table:
    module, problem = _module(), _problem(family, f"{family}_{task}")
    if family == "lcbench":
        u, values = module._lc_configs()[1], 100.0 - module._lc(task)["val_accuracy"]
    else:
        _, u, values, _ = module._ts(task)
    dims, _ = _opaque(problem.space, np.random.default_rng(zlib.crc32(task.encode())))  # no choices: nothing is drawn
    names = tuple(s["name"] for s in problem.space)
    return Table(problem.name, split, dims, names, problem.space, u, np.asarray(values, float)[:, 1:])


class Spent(Exception):
    """The budget is used up."""


class Purse:
    """What a tuner spends on one table, and what it has seen for it.

    Regrets are (value - best of the table) / (median - best), 0 to 1 and above; `seen` of the lowest value that was seen at any epoch,
    `final` of a full training of the configuration that showed it.
    """

    def __init__(self, table: Table, checkpoints: tuple[int, ...]) -> None:
        self.table = table
        self.epochs = 0
        self.seen: list[float] = []
        self.final: list[float] = []
        self._limits = [c * table.epochs for c in checkpoints]
        self._lowest, self._final = np.inf, np.inf

    def train(self, curve: np.ndarray[Any, Any], epoch: int) -> float:
        """One more epoch of a configuration: its value then, NaN where it has diverged.

        Raises:
            Spent: it was the last one.
        """
        value = float(curve[epoch - 1])
        self.epochs += 1
        if value < self._lowest:
            self._lowest, self._final = value, float(curve[-1])
        while len(self.seen) < len(self._limits) and self.epochs >= self._limits[len(self.seen)]:
            scale = self.table.median - self.table.best
            self.seen.append((self._lowest - self.table.best) / scale)
            final = self._final if np.isfinite(self._final) else self.table.median
            self.final.append((final - self.table.best_final) / (self.table.median - self.table.best_final))
            if len(self.seen) == len(self._limits):
                raise Spent
        return value


class Lanes:
    """A study in lanes without a device: a sampler and a scheduler are told what `Study.train` tells them.

    All busy lanes train one epoch, then report; a trial that a free lane does not go on with has paused. `Study.train` asks for the next
    trials while a segment runs; here they are asked for when a lane is free.
    """

    def __init__(self, table: Table, sampler: jaxhp.Sampler, scheduler: jaxhp.Scheduler, seed: int, lanes: int) -> None:
        self.space = space_of(table.dims)
        problem = Problem(self.space, self.space.dims, (Outcome("y"),))
        self.table, self.sampler, self.scheduler = table, sampler, scheduler
        self.told_sampler = sampler.init(problem, seed)
        self.told_scheduler = scheduler.init(problem._replace(steps=table.epochs), seed)
        self.lanes = lanes
        self.points: list[np.ndarray[Any, Any]] = []
        self.curves: list[np.ndarray[Any, Any]] = []

    def run(self, purse: Purse) -> None:
        """Until the purse is empty."""
        held = [-1] * self.lanes  # per lane: the trial that stands there
        at, until = [0] * self.lanes, [0] * self.lanes  # its step, and where it stops next
        while True:
            free = [i for i in range(self.lanes) if at[i] >= until[i]]
            if free:
                decision = self._decide(free, held)
                for i, number, t, stop in zip(free, decision.number.tolist(), decision.t.tolist(), decision.until.tolist(), strict=True):
                    if held[i] not in (-1, number):
                        self._tell(held[i], jaxhp.Status.PAUSED, at[i], self.curves[held[i]][at[i] - 1])
                    held[i], at[i], until[i] = number, t, stop
            for i in range(self.lanes):
                if at[i] >= until[i]:
                    continue
                at[i] += 1
                status = self._train(purse, held[i], at[i])
                if status is not None:
                    held[i], at[i], until[i] = -1, 0, 0

    def _train(self, purse: Purse, number: int, step: int) -> int | None:
        """How it ended, if it did."""
        y = purse.train(self.curves[number], step)
        self._tell(number, jaxhp.Status.REPORTED, step, y)
        if not np.isfinite(y):
            status = jaxhp.Status.FAILED
        elif step == self.table.epochs:
            status = jaxhp.Status.COMPLETE
        elif not self.scheduler.keep(self.told_scheduler, np.array([number], np.int64))[0]:
            status = jaxhp.Status.STOPPED
        else:
            return None
        self._tell(number, status, step, y)
        return status

    def _decide(self, free: list[int], held: list[int]) -> jaxhp.Decision:
        standing = np.array([held[i] for i in free], np.int64)
        running = np.array([n for i, n in enumerate(held) if i not in free and n >= 0], np.int64)
        fresh: list[int] = []
        while True:
            decision = self.scheduler.decide(self.told_scheduler, Slots(standing, running, np.array(fresh, np.int64)))
            if (decision.number >= 0).all():
                return decision
            number = len(self.points)
            u = self.sampler.ask(self.told_sampler, np.array([number], np.int64))[0]
            self.points.append(u)
            self.curves.append(self.table.curve(self.space.params(u)))
            fresh.append(number)
            self._tell(number, jaxhp.Status.PENDING, np.nan, np.nan)

    def _tell(self, number: int, status: int, step: float, y: float) -> None:
        row = Trials(
            number=np.array([number], np.int64),
            u=self.points[number][None].copy(),
            y=np.array([[y]]),
            noise=np.array([[np.nan]]),
            status=np.array([status], np.int8),
            fidelity=np.array([float(step)]),
            replicate=np.zeros(1, np.int32),
            cost=np.array([np.nan]),
            gradient=np.full((1, self.space.d), np.nan),
        )
        self.told_sampler = self.sampler.tell(self.told_sampler, row)
        self.told_scheduler = self.scheduler.tell(self.told_scheduler, row)
