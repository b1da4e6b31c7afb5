"""The laws, over the table of all samplers, several spaces and all logs; and proof that each law can fail."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import jaxhp
from jaxhp import Categorical, Float, Int, Ordinal, Sampler, Space, Study
from jaxhp._types import Floats, Ints, Outcome, Problem, Record, Status, Trials
from jaxhp.samplers import exhaust, startup
from jaxhp.storage import Log, MemoryLog, open_log
from jaxhp.testing import NASTY, check_log, check_sampler, check_study, histories, nasty_history, rows, spaces

SPACES = {
    "continuous": Space({"x": Float(-1.0, 1.0), "y": Float(1e-5, 1.0, log=True), "z": Float(0.0, 3.0)}),
    "mixed": Space(
        {
            "lr": Float(1e-4, 1.0, log=True),
            "n": Int(1, 100, log=True),
            "batch": Ordinal([16, 32, 64]),
            "opt": Categorical(["sgd", "adam", "lion"]),
        }
    ),
    "conditional": Space(
        {
            "opt": Categorical(["sgd", "adam"]),
            "nesterov": Categorical([True, False], when={"opt": "sgd"}),
            "momentum": Float(0.0, 0.99, when={"nesterov": True}),
            "beta": Ordinal([0.9, 0.99, 0.999], when={"opt": "adam"}),
        }
    ),
    "constrained": Space({"x": Float(0.0, 1.0), "n": Int(1, 9)}).where(lambda p: p["x"] * 10 + p["n"] <= 9.5, name="limit"),
    "finite": Space({"a": Int(1, 3), "b": Categorical(["x", "y"]), "c": Ordinal([1, 2], when={"b": "y"})}),
    "one": Space({"x": Float(2.0, 5.0, default=3.0)}),
}


def foreign() -> tuple[Space, Trials]:
    """Another study's trials, on parameters some of which the spaces above have."""
    space = Space({"x": Float(-1.0, 1.0), "n": Int(1, 100, log=True), "opt": Categorical(["sgd", "adam", "adagrad"])})
    problem = Problem(space, space.dims, (Outcome("y0"),))
    return space, nasty_history("one good among failures", problem)


def freezing(sampler: Sampler) -> Sampler:
    """Freezes the first parameter of any space at its default."""

    def init(problem: Problem, seed: int) -> Any:
        space = problem.space
        name = space.names[0]
        if space.d == 1:
            return sampler, sampler.init(problem, seed)
        inner = jaxhp.freeze(sampler, {name: space.default_params()[name]})
        return inner, inner.init(problem, seed)

    return Sampler(
        init,
        lambda state, trials: (state[0], state[0].tell(state[1], trials)),
        lambda state, numbers: state[0].ask(state[1], numbers),
        f"freezing({sampler.name})",
        finite=sampler.finite,
    )


SAMPLERS: dict[str, Callable[[], Sampler]] = {
    "random_search": jaxhp.random_search,
    "sobol": jaxhp.sobol,
    "startup": startup,
    "grid_search": partial(jaxhp.grid_search, 3),
    "coarse_to_fine": partial(jaxhp.coarse_to_fine, 2, 3),
    "coarse_to_fine_top": partial(jaxhp.coarse_to_fine, 3, 2, 2),
    "auto": jaxhp.auto,
    "nsga2": partial(jaxhp.nsga2, 8),
    "bayes": jaxhp.bayes,
    "bayes_ucb": partial(jaxhp.bayes, "ucb"),
    "bayes_logpi": partial(jaxhp.bayes, "logpi"),
    "bayes_thompson": partial(jaxhp.bayes, "thompson"),
    "bayes_summed": partial(jaxhp.bayes, ["logei", "thompson"], active=16),
    "bayes_sequence": lambda: jaxhp.sequence((jaxhp.sobol(), 6), (jaxhp.bayes(active=16), None), (jaxhp.random_search(), None)),
    "bayes_mixture": lambda: jaxhp.mixture((freezing(jaxhp.bayes(active=16)), 1), (jaxhp.warm_start(jaxhp.bayes("ucb"), foreign()), 2)),
    "tpe": jaxhp.tpe,
    "tpe_weighed": lambda: jaxhp.tpe("sqrt", candidates=8, weights="rank"),
    "cma_es": jaxhp.cma_es,
    "cma_es_warm": lambda: jaxhp.mixture(
        (jaxhp.warm_start(jaxhp.cma_es(popsize=4, restarts="ipop", separable=True), foreign()), 2), (jaxhp.sobol(), 1)
    ),
    "differential_evolution": partial(jaxhp.differential_evolution, population=6),
    "differential_evolution_mixture": lambda: jaxhp.mixture(
        (freezing(jaxhp.differential_evolution("rand/1", population=4, mutation=(0.5, 1.0), crossover=0.9)), 1),
        (jaxhp.warm_start(jaxhp.differential_evolution("current-to-pbest/1", population=6), foreign()), 2),
    ),
    "regularized_evolution": partial(jaxhp.regularized_evolution, 6, 3),
    "sequence": lambda: jaxhp.sequence((jaxhp.sobol(), 5), (jaxhp.grid_search(2), None), (jaxhp.random_search(), None)),
    "mixture": lambda: jaxhp.mixture((jaxhp.grid_search(3), 1), (jaxhp.coarse_to_fine(2, 2), 2.5), (jaxhp.sobol(), 1)),
    "freeze": lambda: freezing(jaxhp.coarse_to_fine(3, 2)),
    "warm_start": lambda: jaxhp.warm_start(jaxhp.coarse_to_fine(2, 2), foreign()),
    "all": lambda: jaxhp.sequence(
        (jaxhp.mixture((freezing(jaxhp.grid_search(2)), 1), (jaxhp.sobol(), 1)), 8),
        (jaxhp.warm_start(jaxhp.auto(), foreign()), 6),
        (jaxhp.random_search(), None),
    ),
}

LOGS = {"memory": lambda folder, number: MemoryLog(), "sqlite": lambda folder, number: open_log(f"sqlite:///{folder}/{number}.db")}


ONE_OBJECTIVE = ("bayes", "cma_es", "evolution")  # words in the names of those that refuse several

# A predicate is called for every candidate, so plain bayes stands there for its acquisitions.
VARIANTS = ("bayes_ucb", "bayes_logpi", "bayes_thompson", "bayes_summed")
PAIRS = [(sampler, space) for sampler in SAMPLERS for space in SPACES if not (space == "constrained" and sampler in VARIANTS)]


@pytest.mark.parametrize(("sampler", "space"), PAIRS)
def test_every_sampler_keeps_the_laws(sampler: str, space: str) -> None:
    made = SAMPLERS[sampler]()
    modelled = sampler in ("auto", "nsga2") or "bayes" in sampler
    repeats = True if modelled and space == "conditional" else None  # a finite branch of it runs out
    check_sampler(made, SPACES[space], repeats=repeats)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_keeps_the_laws_with_noise_and_several_outcomes(sampler: str) -> None:
    made = SAMPLERS[sampler]()
    if sampler not in ("warm_start", "all") and not any(name in sampler for name in ONE_OBJECTIVE):
        check_sampler(made, SPACES["finite"], seed=7, outcomes=2)
    check_sampler(made, SPACES["finite"], seed=8, stochastic=True)


@pytest.mark.parametrize("space", SPACES)
def test_auto_keeps_the_laws_where_it_turns_from_models_to_breeding(space: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jaxhp.samplers._auto.FIRST", 9)  # within the laws' runs
    check_sampler(jaxhp.auto(), SPACES[space], outcomes=2, repeats=True if space == "conditional" else None)


def test_exhaust_keeps_the_laws() -> None:
    check_sampler(exhaust(), SPACES["finite"])


@pytest.mark.parametrize("log", LOGS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_study_keeps_the_laws_in_every_log(sampler: str, log: str, tmp_path: Path) -> None:
    numbers = count()
    space = SPACES["conditional" if log == "memory" else "finite"]
    make_study = partial(Study, space, sampler=SAMPLERS[sampler](), metric="y0", seed=5)
    check_study(make_study, lambda: LOGS[log](tmp_path, next(numbers)), trials=14 if log == "memory" else 7)


@settings(derandomize=True, max_examples=12, deadline=None)
@given(space=spaces())
def test_samplers_keep_the_laws_in_any_space(space: Space) -> None:
    check_sampler(jaxhp.auto(), space, repeats=True)
    check_sampler(jaxhp.mixture((jaxhp.sobol(), 1), (jaxhp.coarse_to_fine(2, 2), 1)), space)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(history=histories(SPACES["conditional"]))
def test_any_history_is_followed_by_points_of_the_space(history: Trials) -> None:
    space = SPACES["conditional"]
    for make in SAMPLERS.values():
        sampler = make()
        state = sampler.tell(sampler.init(Problem(space, space.dims, (Outcome("y0"),)), 0), history)
        u = sampler.ask(state, np.arange(20, 24))
        assert np.array_equal(space.snap(u), u, equal_nan=True)


# -- each law catches a sampler that breaks it ---------------------------------------------------------------------------


def broken(ask: Callable[[Any, Ints], Floats], tell: Callable[[Any, Trials], Any] | None = None, finite: bool = False) -> Sampler:
    """A sampler whose state is [problem, seed, list of told rows]."""

    def remember(state: Any, trials: Trials) -> Any:
        return [state[0], state[1], [*state[2], *map(bytes, trials.u)]]

    return Sampler(lambda problem, seed: [problem, seed, []], tell or remember, ask, "broken", finite)


def uniforms(state: Any, numbers: Ints) -> Floats:
    space = state[0].space
    u = np.array([np.random.default_rng([state[1], int(n)]).random(space.d) for n in numbers]).reshape(len(numbers), space.d)
    return np.ascontiguousarray(space.snap(u))


def by_count(state: Any, numbers: Ints) -> Floats:
    """Depends on how many rows were told, and on nothing that was asked in this call."""
    return uniforms(state, numbers + len(state[2]))


def off_centre(state: Any, numbers: Ints) -> Floats:
    u = uniforms(state, numbers)
    return u + np.where(u < 0.5, 1e-3, -1e-3)


def always_active(state: Any, numbers: Ints) -> Floats:
    return np.nan_to_num(uniforms(state, numbers), nan=0.5)


def impatient(state: Any, numbers: Ints) -> Floats:
    state[2].append(b"asked")
    return by_count(state, numbers)


def batch_counter(state: Any, trials: Trials) -> Any:
    return [state[0], state[1], [*state[2], b"one call"]]


def keeps_the_rows(state: Any, trials: Trials) -> Any:
    return [state[0], state[1], [*state[2], trials.u]]


def from_kept_rows(state: Any, numbers: Ints) -> Floats:
    shift = float(np.nansum(np.concatenate(state[2]))) if state[2] else 0.0
    return np.ascontiguousarray(state[0].space.snap((np.nan_to_num(uniforms(state, numbers)) + shift) % 1.0))


def writes_into_rows(state: Any, trials: Trials) -> Any:
    trials.y[np.isnan(trials.y)] = 0.0
    return state


def overflows(state: Any, trials: Trials) -> Any:
    if (np.abs(trials.y) > 1e200).any():
        raise OverflowError("too large to square")
    return state


def forgets_the_seed(state: Any, numbers: Ints) -> Floats:
    return uniforms([state[0], 0, state[2]], numbers)


def global_state() -> Callable[[Any, Ints], Floats]:
    generator = np.random.default_rng(0)
    return lambda state, numbers: np.ascontiguousarray(state[0].space.snap(generator.random((len(numbers), state[0].space.d))))


def shared_memory() -> Sampler:
    """Keeps what it was told outside its state, by a key that a copy shares."""
    told: dict[int, list[bytes]] = {}
    keys = count()

    def init(problem: Problem, seed: int) -> Any:
        key = next(keys)
        told[key] = []
        return [problem, seed, key]

    def tell(state: Any, trials: Trials) -> Any:
        told[state[2]] += map(bytes, trials.u)
        return state

    return Sampler(init, tell, lambda state, numbers: uniforms(state, numbers + 1000 * len(told[state[2]]))[:1], "broken")


MUTANTS = {
    "outside": (broken(lambda s, n: uniforms(s, n) + 0.5), "continuous", "points are canonical and feasible': .*outside"),
    "off_centre": (broken(off_centre), "mixed", "not at the centre of a level"),
    "always_active": (broken(always_active), "conditional", "points are canonical and feasible': .* is inactive"),
    "wrong_width": (broken(lambda s, n: uniforms(s, n)[:, :-1]), "mixed", "C-contiguous float64 array of 4 columns"),
    "infeasible": (broken(uniforms), "constrained", "breaks a constraint"),
    "global_state": (broken(global_state()), "continuous", "equal seeds give equal points"),
    "forgets_the_seed": (broken(forgets_the_seed), "continuous", "is the seed used"),
    "impatient": (broken(impatient), "continuous", "asking changes nothing"),
    "by_count": (broken(by_count), "continuous", "asking for many equals asking one by one"),
    "batch_counter": (
        broken(lambda s, n: uniforms(s, n + 100 * len(s[2]))[:1], batch_counter),
        "continuous",
        "telling at once equals telling in parts",
    ),
    "writes": (broken(uniforms, writes_into_rows), "continuous", "writes into the rows"),
    "keeps": (broken(lambda s, n: from_kept_rows(s, n)[:1], keeps_the_rows), "one", "arguments are borrowed"),
    "raises": (broken(uniforms, overflows), "continuous", "nasty histories are survived': 'failed with infinities' raised OverflowError"),
    "ends": (broken(lambda s, n: uniforms(s, n)[: max(0, 30 - int(n[0]))]), "continuous", "only finite samplers end"),
    "shared": (shared_memory(), "continuous", "copies are independent"),
    "locked": (Sampler(lambda p, s: [p, s, (), Lock()], lambda s, t: s, uniforms, "broken"), "continuous", "cannot be copied"),
    "repeats": (broken(uniforms, finite=True), "finite", "pending trials are seen"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_sampler_is_caught_by_the_law_it_breaks(mutant: str) -> None:
    sampler, space, message = MUTANTS[mutant]
    with pytest.raises(AssertionError, match=message):
        check_sampler(sampler, SPACES[space])


def test_a_sampler_that_looks_at_its_own_past_calls_breaks_replay() -> None:
    calls = count()
    space = SPACES["continuous"]

    def ask(state: Any, numbers: Ints) -> Floats:
        return uniforms(state, numbers + next(calls))

    with pytest.raises(AssertionError, match="resuming equals continuing"):
        check_study(partial(Study, space, sampler=broken(ask)), MemoryLog)


def test_each_study_law_catches_what_breaks_it() -> None:
    space = SPACES["continuous"]
    with pytest.raises(AssertionError, match=r"ask\(14\) equals 14 asks"):
        check_study(partial(Study, space, sampler=broken(by_count)), MemoryLog)

    def no_lag(storage: Log, lag: int | None = None) -> Study:
        return Study(space, sampler=broken(lambda s, n: by_count(s, n)[:1]), storage=storage)

    with pytest.raises(AssertionError, match="workers do not matter"):
        check_study(no_lag, MemoryLog, trials=40)


def test_every_log_keeps_the_laws(tmp_path: Path) -> None:
    numbers = count()
    check_log(MemoryLog)
    check_log(MemoryLog, reopen=lambda log: log)
    check_log(lambda: open_log(f"sqlite:///{tmp_path}/{next(numbers)}.db"), reopen=lambda log: open_log(log.url))


class Broken(MemoryLog):
    """A log with one fault."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault

    def read(self, study: str, since: int = 0) -> list[Record]:
        records = super().read("s" if self.fault == "one study" else study, since)
        if self.fault == "disorder":
            return records[::-1]
        if self.fault == "rounds":
            return [r | {"value": round(r["value"], 6)} if isinstance(r.get("value"), float) else r for r in records]
        if self.fault == "nan is null":
            return [record | {"values": {"loss": 0.0}} if "values" in record else record for record in records]
        return records

    def append(self, study: str, records: Sequence[Record], at: int | None = None) -> int:
        if self.fault == "one study":
            study, at = "s", None
        if self.fault == "claims always win":
            at = None
        if self.fault == "half an append" and at is not None and at != len(super().read(study)):
            super().append(study, records[:1])
        if self.fault == "loses a race":
            found = super().read(study)
            time.sleep(0.001)
            self._logs[study] = [*found, *records]
            return len(found) + len(records)
        return super().append(study, records, at)


@pytest.mark.parametrize(
    ("fault", "law"),
    [
        ("disorder", "records come back in order"),
        ("one study", "studies are separate"),
        ("claims always win", "claims fail when another was first"),
        ("half an append", "the records after refused claims"),
        ("rounds", "values come back exactly"),
        ("nan is null", "non-finite values"),
        ("loses a race", "claims fail when another was first|writers do not lose records"),
    ],
)
def test_a_broken_log_is_caught_by_the_law_it_breaks(fault: str, law: str) -> None:
    with pytest.raises(AssertionError, match=law):
        check_log(lambda: Broken(fault))


class Hidden(MemoryLog):
    """Shares what it was given with no other process, but for the law about writers."""

    def reopened(self) -> MemoryLog:
        return MemoryLog() if "s" in self.studies() else self


def test_a_log_that_another_process_cannot_see_is_caught() -> None:
    with pytest.raises(AssertionError, match="another process sees"):
        check_log(Hidden, reopen=lambda log: log.reopened())  # type: ignore[attr-defined]


def test_an_unknown_nasty_history_is_refused() -> None:
    space = SPACES["one"]
    with pytest.raises(ValueError, match="unknown name 'nice'"):
        nasty_history("nice", Problem(space, space.dims, (Outcome("y"),)))
    assert len(NASTY) == len(set(NASTY))
    assert rows(np.arange(2), np.zeros((2, 1))).status.tolist() == [Status.PENDING] * 2


def test_the_documented_sampler_keeps_the_laws() -> None:
    text = (Path(__file__).parents[1] / "docs" / "samplers.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, {})  # the second one ends with check_sampler
