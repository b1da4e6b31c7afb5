"""Differential evolution: a population that moves along the differences between its members.

Source: Storn & Price, Differential evolution (J. Global Optimization 11, 1997); the adaptation of F and CR, the archive and
current-to-pbest from Tanabe & Fukunaga, Success-history based parameter adaptation for differential evolution (SHADE, CEC 2013), after
Zhang & Sanderson's JADE (2009). Notation: NP slots hold members x_i; for the slot i whose turn it is,

    v = x_r1 + F (x_r2 - x_r3)                        rand/1            r1, r2, r3, i distinct
    v = x_best + F (x_r1 - x_r2)                      best/1
    v = x_i + F (x_p - x_i) + F (x_r1 - x_r2)         current-to-pbest/1     x_p of the best ones, x_r2 of members and the archive
    trial_j = v_j where a uniform draw is below CR, or j = j_rand; else x_ij                                             (bin)

A coordinate outside [0, 1] is set halfway between x_ij and the bound. A told trial replaces the member of its slot if it is not worse.

**Genes.** Members are points of [0, 1]^d: discrete coordinates are continuous genes, and inactive ones live on; the asked point is the
snapped one (as in DEHB: Awad, Mallik & Hutter, IJCAI 2021). Rows hold the snapped point only, so when a trial is told as asked, its
proposal is computed again from the same state, with its genes and slot. A row that is no proposal (enqueued, of another sampler, of
another study) has its levels' centres as genes, uniform draws by (seed, number) where it is inactive, and no slot: told, it takes an
empty slot, or that of the worst member if it is better.

**Asynchrony.** The turn goes round by the count of trials. With NP trials asked and then told this is the classical generation; told one
by one, each sees the members that the others replaced. Nobody waits. A configuration that was asked before is drawn anew,
unless the study is `stochastic`.

**Under schedulers** values are brought to the end of a run before they are compared (`_merit.py`), and a paused trial that goes on is
compared again with what it showed then.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from jaxhp import _kernel
from jaxhp._arguments import is_real, is_whole, plain_arguments
from jaxhp._rng import rng, uniform
from jaxhp._types import ENDED, Floats, Ints, Problem, Sampler, Status, Trials
from jaxhp.errors import SamplerError
from jaxhp.samplers._cells import Seen, keys
from jaxhp.samplers._merit import Merit, Merits, one_objective

STRATEGIES: Final = ("best/1", "rand/1", "current-to-pbest/1")
LEAST: Final = 4  # members that a difference needs
PBEST: Final = 0.2  # part of the members, the best ones, that x_p is drawn from
HISTORY: Final = 5  # pairs (F, CR) remembered
SPREAD: Final = 0.1  # of F and CR around a remembered pair
ATTEMPTS: Final = 8  # proposals that were asked before, until one is taken
_U64: Final = (1 << 64) - 1


class Proposal(NamedTuple):
    """What is asked, and what is remembered of it."""

    u: Floats  # (d,) canonical
    genes: Floats  # (d,)
    slot: int = -1  # whose member it competes with; -1 none: a start point, or not ours
    F: float = math.nan
    CR: float = math.nan


class EvolutionState:
    """Linear: grows in place. `copy.deepcopy` makes an independent one."""

    def __init__(self, problem: Problem, seed: int) -> None:
        self.space = problem.space
        self.seed = seed
        self.merits = Merits(problem.outcomes)
        self.slots: list[int] = []  # the numbers of the members
        self.asked: dict[int, Proposal] = {}  # by number, while they wait or are members
        self.numbers: set[int] = set()  # all that were asked or told
        self.seen = Seen(stochastic=problem.stochastic, size=problem.space.size)
        self.archive: list[Floats] = []  # genes of members that were replaced, the oldest first
        self.history: list[tuple[float, float]] = [(0.5, 0.5)] * HISTORY  # (F, CR)
        self.written = 0  # pairs so far
        self.told = 0  # proposals that competed since the last pair was written
        self.successes: list[tuple[float, float, float]] = []  # F, CR, improvement of those that won


@plain_arguments
def differential_evolution(
    strategy: str = "best/1",
    *,
    population: int = 15,
    mutation: float | tuple[float, float] | None = None,
    crossover: float | None = None,
) -> Sampler:
    """Differential evolution: for rugged and high-dimensional objectives, with hundreds of trials and more.

    Floats, ints, ordinals, categories and conditions; batches and any number of workers. Constraints on metrics go before the objective,
    and a failure is worst. Under `hyperband()` this is the combination of DEHB.

    Args:
        strategy: "best/1" (greedy: for few hundred trials), "rand/1" or "current-to-pbest/1", each with binomial crossover.
        population: members. Fewer are greedier; 5 to 10 times the parameters where thousands of trials are affordable.
        mutation: F, the length of a difference, above 0 and at most 2; a pair (low, high) is drawn between for each trial (dither);
            None: adapted to what succeeded (SHADE).
        crossover: CR, the chance of a coordinate to change, 0 to 1; None: adapted to what succeeded.

    Raises:
        SamplerError: an argument is not valid; when a study starts: it has several objectives.

    >>> import jaxhp
    >>> space = jaxhp.Space({f"x{i}": jaxhp.Float(-1.0, 1.0) for i in range(4)})
    >>> study = jaxhp.Study(space, sampler=jaxhp.differential_evolution(), seed=0)
    >>> study.optimize(lambda trial: sum((x - 0.3) ** 2 for x in trial.params.values()), trials=300).best.value < 1e-2
    True
    """
    name = f"differential_evolution({strategy!r}, population={population!r}, mutation={mutation!r}, crossover={crossover!r})"
    if strategy not in STRATEGIES:
        raise SamplerError(f"{name}: strategy: expected one of {', '.join(STRATEGIES)}, got {strategy!r}")
    if not is_whole(population) or population < LEAST:
        raise SamplerError(f"{name}: population: expected an integer of at least {LEAST}, got {population!r}")
    dither = mutation if isinstance(mutation, tuple) else None if mutation is None else (mutation, mutation)
    if dither is not None and not (len(dither) == 2 and all(_between(F, 0.0, 2.0) and F for F in dither) and dither[0] <= dither[1]):
        raise SamplerError(f"{name}: mutation: expected a number above 0 and at most 2, or a rising pair of them, got {mutation!r}")
    if crossover is not None and not _between(crossover, 0.0, 1.0):
        raise SamplerError(f"{name}: crossover: expected a number from 0 to 1, got {crossover!r}")

    def init(problem: Problem, seed: int) -> EvolutionState:
        one_objective(name, problem)
        return EvolutionState(problem, seed)

    def propose(state: EvolutionState, number: int, ahead: int, taken: set[bytes]) -> Proposal:
        """What is asked for `number` after `ahead` others of this call."""
        if len(state.numbers) + ahead < population or len(state.slots) < LEAST:
            return _start_point(state, number)
        slot = (len(state.numbers) + ahead) % len(state.slots)
        found: Proposal | None = None
        for attempt in range(ATTEMPTS):
            found = evolved(state, number, slot, rng(state.seed, number, "differential_evolution", attempt))
            if state.seen.is_new(keys(found.u[None])[0], taken):
                return found
        return found if found is not None else _start_point(state, number)

    def evolved(state: EvolutionState, number: int, slot: int, draw: np.random.Generator) -> Proposal:
        F, CR = drawn(state, draw)
        x = state.asked[state.slots[slot]].genes
        others = [i for i in draw.permutation(len(state.slots)).tolist() if i != slot]
        r1, r2, r3 = (state.asked[state.slots[i]].genes for i in others[:3])
        if strategy == "rand/1":
            v = r1 + F * (r2 - r3)
        elif strategy == "best/1":
            v = state.asked[_ranked(state)[0]].genes + F * (r1 - r2)
        else:
            few = max(2, round(PBEST * len(state.slots)))
            best = state.asked[_ranked(state)[int(draw.integers(few))]].genes
            k = int(draw.integers(len(state.slots) - 2 + len(state.archive)))
            r2 = state.archive[k] if k < len(state.archive) else r2
            v = x + F * (best - x) + F * (r1 - r2)
        crossed = draw.random(len(x)) < CR
        crossed[draw.integers(len(x))] = True
        v = np.where(v < 0.0, 0.5 * x, np.where(v > 1.0, 0.5 * (1.0 + x), v))
        return _proposed(state, number, np.where(crossed, v, x), slot, F, CR)

    def drawn(state: EvolutionState, draw: np.random.Generator) -> tuple[float, float]:
        """F and CR of a trial."""
        F, CR = state.history[int(draw.integers(HISTORY))]
        CR = min(max(CR + SPREAD * float(draw.normal()), 0.0), 1.0)
        F = min(max(F + SPREAD * math.tan(math.pi * (float(draw.random()) - 0.5)), SPREAD), 1.0)  # Cauchy; SHADE draws anew below 0
        if dither is not None:
            F = dither[0] + (dither[1] - dither[0]) * float(draw.random())
        return F, CR if crossover is None else crossover

    def tell(state: EvolutionState, trials: Trials) -> EvolutionState:
        for i, (number, status) in enumerate(zip(trials.number.tolist(), trials.status.tolist(), strict=True)):
            u = trials.u[i]
            if status == Status.PENDING:
                proposal = propose(state, number, 0, set())
                state.asked[number] = proposal if _same_point(proposal.u, u) else _foreign(state, number, u)
            elif state.merits.tell(number, status, float(trials.fidelity[i]), trials.y[i]):
                if number not in state.asked or not _same_point(state.asked[number].u, u):
                    state.asked[number] = _foreign(state, number, u)
                _compete(state, number, population, status in ENDED)
            state.numbers.add(number)
            if number >= 0:  # what another study ran may be run here
                state.seen.add(u[None])
        return state

    def ask(state: EvolutionState, numbers: Ints) -> Floats:
        chosen: list[Floats] = []
        taken: set[bytes] = set()
        for number in numbers.tolist():
            u = propose(state, number, len(chosen), taken).u
            taken.update(keys(u[None]))
            chosen.append(u)
        return np.array(chosen).reshape(len(chosen), state.space.d)

    return Sampler(init, tell, ask, name)


def _between(value: object, low: float, high: float) -> bool:
    return is_real(value) and bool(low <= value <= high)


def _proposed(state: EvolutionState, number: int, genes: Floats, slot: int = -1, F: float = math.nan, CR: float = math.nan) -> Proposal:
    space = state.space
    raw = space.snap(genes[None])
    u = space.constrain(raw, state.seed, np.array([number], dtype=np.int64))[0]
    if not _same_point(u, raw[0]):
        genes = np.where(np.isnan(u), genes, u)
    return Proposal(u, genes, slot, F, CR)


def _start_point(state: EvolutionState, number: int) -> Proposal:
    """Number 0 is the default configuration, the others are Sobol points."""
    index = np.array([number], dtype=np.int64)
    genes = _kernel.sobol(state.seed & _U64, index, state.space.d, True)[0] if number else state.space.defaults_everywhere()
    return _proposed(state, number, genes)


def _foreign(state: EvolutionState, number: int, u: Floats) -> Proposal:
    """A row that is no proposal of ours."""
    latent = uniform(state.seed, np.array([number], dtype=np.int64), "differential_evolution latent", len(u))[0]
    return Proposal(u.copy(), np.where(np.isnan(u), latent, u))


def _same_point(a: Floats, b: Floats) -> bool:
    return bool(np.array_equal(a, b, equal_nan=True))


def _ranked(state: EvolutionState) -> list[int]:
    """The numbers of the members, the best first; of equals the earlier trial."""
    return sorted(state.slots, key=lambda number: (state.merits.of(number), number))


def _compete(state: EvolutionState, number: int, population: int, ended: bool) -> None:
    """A trial that can be compared takes a slot, or does not."""
    if number in state.slots:
        return  # what it is worth has changed, and is looked up when it matters
    own = state.asked[number]
    if own.slot < 0 and len(state.slots) < population:
        state.slots.append(number)
        return
    slot = own.slot if own.slot >= 0 else state.slots.index(_ranked(state)[-1])
    member = state.slots[slot]
    new, old = state.merits.of(number), state.merits.of(member)
    if new < old or (new == old and own.slot >= 0):
        state.archive.append(state.asked.pop(member).genes)
        del state.archive[:-population]
        state.slots[slot] = number
    elif ended:
        del state.asked[number]
    if own.slot >= 0:
        _learn(state, own, new, old)


def _learn(state: EvolutionState, own: Proposal, new: Merit, old: Merit) -> None:
    """Writes what succeeded into the history, once as many proposals competed as there are members (SHADE, equations 14 to 18)."""
    state.told += 1
    if new < old:
        gain = old[0] - new[0] if new[0] < old[0] else old[1] - new[1]
        state.successes.append((own.F, own.CR, gain if math.isfinite(gain) else 0.0))
    if state.told < len(state.slots):
        return
    if state.successes:
        F, CR, gain = np.array(state.successes).T
        w = gain / gain.max() if gain.max() > 0.0 else np.ones(len(gain))
        state.history[state.written % HISTORY] = float((w * F**2).sum() / (w * F).sum()), float((w * CR).sum() / w.sum())
        state.written += 1
    state.told = 0
    state.successes = []
