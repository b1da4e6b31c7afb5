"""The fold of CMA-ES: which trials make up a generation.

Every trial is drawn from the distribution that is open when it is asked; its ask row comes back as pending, and the draw is remembered
with it. A trial that ends is a **member** of the open generation. lambda members close it: they are ranked, the distribution is updated
(`_cma_update.py`) and corrected (`_cma_margin.py`, `_cma_categories.py`), and perhaps a new run begins (`_cma_restarts.py`). A member
that was drawn before the last update, or mended to meet a constraint, is shortened as injected solutions are. So results may come in any
order, and any number of trials may be pending.

**Guests** were not drawn here, or were drawn for a run that has ended: enqueued trials, another sampler's, those that a scheduler changed.
A guest takes the place of the worst member where it is better than the mu-th; the others would widen the distribution and not say where
to go, and are left out. Foreign trials that are told before the first draw shape the start instead (`_cma_warm_start.py`).
"""

from __future__ import annotations

import math
from operator import itemgetter
from typing import Final, Literal, NamedTuple

import numpy as np

from jaxhp._types import Floats, Ints, Problem, Status, Trials
from jaxhp.samplers import _cma_restarts as restarting
from jaxhp.samplers._cma_categories import learned, least_probability, uniform_categories
from jaxhp.samplers._cma_draw import draw, latent, layout
from jaxhp.samplers._cma_margin import corrected
from jaxhp.samplers._cma_update import default_popsize, isotropic, shaped, strategy, update
from jaxhp.samplers._cma_warm_start import promising, promising_categories
from jaxhp.samplers._fidelity import END, Fidelity

SEPARABLE_FROM: Final = 200  # numeric parameters above which C is diagonal by default
HASTE: Final = 1.4  # of the tutorial's learning rates and damping, where there are floats alone (docs/cma_es.md)
_PENDING, _FAILED, _REPORTED = int(Status.PENDING), int(Status.FAILED), int(Status.REPORTED)  # an enum's members are slow to compare
_MENDED: Final = -1  # in place of the generation of a draw
_BARREN: Final = 3  # generations in which nothing has succeeded, until a run begins elsewhere
_GUESTS: Final = 4  # populations of guests that are kept before the worse ones are dropped


_merit = itemgetter(slice(0, 3))  # of a `Told`


class Options(NamedTuple):
    """The arguments of `cma_es`."""

    sigma: float
    popsize: int | None
    restarts: restarting.Restarts | None
    active: bool
    separable: bool | Literal["auto"]
    margin: float | None
    warm_start: float


class Drawn(NamedTuple):
    """A trial as it was drawn."""

    u: bytes  # its point
    run: int
    generation: int  # of all runs; or `_MENDED`
    x: Floats  # (n,)
    chosen: Ints  # (c,)


class Told(NamedTuple):
    """A result, in the order of merit: how far it is from meeting the constraints (0: it does), then the objective; Deb 2000."""

    violation: float
    y: float
    number: int
    step: float  # at which y was told; `END` at the end of a run
    x: Floats  # (n,)
    chosen: Ints  # (c,) -1 where unknown
    foreign: bool  # not drawn from the open distribution


class CmaState:
    """Linear: grows in place. `copy.deepcopy` makes an independent one."""

    def __init__(self, problem: Problem, seed: int, options: Options) -> None:
        space = problem.space
        self.seed, self.options, self.layout = seed, options, layout(space)
        at = self.layout.coordinates
        self.n = len(at.numeric)
        usual = space.defaults_everywhere()
        self.centre = usual[at.numeric]  # (n,)
        self.default = (usual[at.categorical] * at.levels).astype(np.int64)  # (c,)
        self.levels = at.levels  # (c,)
        self.floats = at.bounded  # (n,)
        self.discrete = len(self.layout.cells.at) + len(self.levels)
        self.least = least_probability(self.levels, self.discrete)  # (c,)
        self.haste = 1.0 if self.discrete else HASTE
        self.separable = self.n > SEPARABLE_FROM if options.separable == "auto" else bool(options.separable)
        self.objective = next(i for i, o in enumerate(problem.outcomes) if o.threshold is None)
        self.thresholds = [(i, o.sign * o.threshold) for i, o in enumerate(problem.outcomes) if o.threshold is not None]
        self.fidelity = Fidelity()
        self.pending: dict[int, Drawn] = {}
        self.counted: set[int] = set()  # numbers that have been members
        self.before: list[tuple[float, float, int, Floats]] = []  # violation, y, number, u of trials told before the first draw
        self.begun = False  # whether a draw of ours has been asked
        self.stale = False  # whether `before` has grown since the run began
        self.generation = 0
        self.first_popsize = options.popsize or (default_popsize(space.d) if not self.discrete else 4 + math.floor(2.0 * math.log(space.d)))
        self._begin(restarting.first_run(self.first_popsize, options.sigma))

    def _begin(self, run: restarting.Run) -> None:
        """The first distribution of a run."""
        self.run, self.stale = run, False
        self.strategy = strategy(max(self.n, 1), run.popsize, self.options.active, self.separable, self.haste)
        self.search = isotropic(self.strategy, self.centre if run.start is None else run.start, run.sigma)
        self.categories = uniform_categories(self.levels)
        self.usual = self.default  # (c,) categories of trial 0
        count = math.floor(self.options.warm_start * len(self.before))
        if run.start is None and count:
            u = np.array([row[3] for row in sorted(self.before, key=lambda row: row[:3])[:count]])
            x, chosen = latent(self.layout, self.search, np.ones(self.n), u)
            self.search = shaped(self.strategy, *promising(x))
            self.categories = promising_categories(self.levels, chosen, self.least)
            self.usual = self.categories.q.argmax(axis=1)
        self.A = np.ones(self.n)  # stretches of discrete coordinates
        self.best: list[float] = []  # of the last generations
        self.evaluations = 0  # of this run
        self.over = False  # whether it has ended; without restarts its distribution then stays as it is
        self._open()

    def _open(self) -> None:
        """A new distribution: nothing is drawn from it yet."""
        self.drawn: dict[int, Drawn] = {}  # a cache: what `draw` gives for these numbers
        self.members: list[Told] = []
        self.guests: list[Told] = []

    def suggest(self, numbers: Ints) -> Floats:
        """u (k, d) for these numbers."""
        if self.stale:
            self._begin(self.run)
        points = draw(self.layout, self.search, self.A, self.categories, self.usual, self.seed, numbers)
        run, generation = self.run.number, self.generation
        given = zip(numbers.tolist(), self._bytes(points.u), points.mended.tolist(), points.x, points.chosen, strict=True)
        for number, u, mended, x, chosen in given:
            self.drawn[number] = Drawn(u, run, _MENDED if mended else generation, x, chosen)
        return points.u

    def tell(self, trials: Trials) -> None:
        """Takes in rows in log order."""
        numbers, statuses, fidelity, y = (column.tolist() for column in (trials.number, trials.status, trials.fidelity, trials.y))
        points = self._bytes(trials.u)
        for i, (number, status) in enumerate(zip(numbers, statuses, strict=True)):
            if status == _PENDING:
                if number not in self.drawn:
                    ahead = slice(i, i + 2 * self.strategy.popsize)  # about as many rows as a generation has
                    self.suggest(np.unique(trials.number[ahead][trials.status[ahead] == Status.PENDING]))
                drawn = self.drawn[number]
                if drawn.u == points[i] and number not in self.counted:
                    self.pending[number] = drawn
                    self.begun = True
                continue
            step = self.fidelity.tell(number, status, fidelity[i], y[i][self.objective])
            if status != _REPORTED and number not in self.counted:
                self._result(number, status, step, y[i], points[i], trials.u[i])

    def _bytes(self, u: Floats) -> list[bytes]:
        """One hashable per row of u (k, d), of its exact value."""
        raw, width = (u if self.layout.plain else np.where(np.isnan(u), np.nan, u)).tobytes(), 8 * u.shape[1]
        return [raw[i : i + width] for i in range(0, len(raw), width)]

    def _result(self, number: int, status: int, step: float, y: list[float], point: bytes, u: Floats) -> None:
        """A trial has ended, or paused for the first time."""
        violation, value = math.inf, math.inf
        if status != _FAILED and all(map(math.isfinite, y)):
            violation, value = 0.0, y[self.objective]
            if self.thresholds:
                violation = sum(max(y[i] - threshold, 0.0) for i, threshold in self.thresholds)
        known = self.pending.pop(number, None)
        if known is not None and known.u == point and known.run == self.run.number:
            self.counted.add(number)
            self.evaluations += 1
            self.members.append(Told(violation, value, number, step, known.x, known.chosen, known.generation != self.generation))
            if len(self.members) == self.strategy.popsize:
                self._close()
        elif not self.begun:
            self.before.append((violation, value, number, u.copy()))
            self.stale = True
        elif math.isfinite(violation):
            x, chosen = latent(self.layout, self.search, self.A, u[None])
            self.guests.append(Told(violation, value, number, step, x[0], chosen[0], True))
            if len(self.guests) > _GUESTS * self.strategy.popsize:
                self.guests = sorted(self.guests, key=_merit)[: self.strategy.popsize]

    def _close(self) -> None:
        """The generation is complete: the next distribution."""
        made = self.strategy
        ranked = sorted(map(self._at_the_end, self.members), key=_merit)
        if self.guests:
            last = _merit(ranked[made.mu - 1])
            better = [guest for guest in map(self._at_the_end, self.guests) if _merit(guest) < last]
            ranked = sorted(ranked + better, key=_merit)[: made.popsize]
        self.generation += 1
        if ranked[0].violation < math.inf and not self.over:
            self._learn(ranked)
            self.best.append(ranked[0].y)
            del self.best[: -restarting.window(made)]
            self.over = restarting.ended(made, self.run, self.search, self.floats, self.best, self.evaluations)
        if not self.best and self.options.restarts is not None and self.evaluations >= _BARREN * made.popsize:
            self._begin(restarting.elsewhere(self.run, self.n, self.seed))
        elif self.over and self.options.restarts is not None:
            run = restarting.next_run(
                self.options.restarts, self.run, self.evaluations, self.first_popsize, self.options.sigma, self.n, self.seed
            )
            self._begin(run)
        else:
            self._open()

    def _learn(self, ranked: list[Told]) -> None:
        """Search, margin and categories after a generation, best first."""
        made = self.strategy
        if self.n:
            foreign = [told.foreign for told in ranked]
            self.search = update(made, self.search, np.array([told.x for told in ranked]), np.array(foreign) if any(foreign) else None)
        if len(self.layout.cells.at):
            margin = self.options.margin or 1.0 / (self.n * made.popsize)
            spread = self.search.sigma * np.sqrt(self.search.C if made.separable else np.diag(self.search.C))
            mean, self.A = corrected(self.layout.cells, self.search.mean, spread, self.A, margin)
            self.search = self.search._replace(mean=mean)
        if len(self.levels):
            chosen = np.array([told.chosen for told in ranked[: made.mu]])
            self.categories = learned(self.categories, chosen, made.weights[: made.mu], self.least)

    def _at_the_end(self, told: Told) -> Told:
        """A value of a trial that was stopped or paused, brought to the end of a run (`_fidelity.py`)."""
        return told if told.step == END else told._replace(y=told.y + self.fidelity.brought(told.step)[0])
