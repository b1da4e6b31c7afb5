"""Other tuners and ours behind one pair of functions, for benches: `ask() -> (handle, params)` and `tell(handle, value)`.

A problem's space is a list of `Dim`s that every tuner can express. Peers are imported when they are built; their
versions are pinned in bench/requirements.txt.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple

import jaxhp

Params = dict[str, Any]


class Dim(NamedTuple):
    name: str
    kind: str  # "float", "log", "int", "logint", "choice"
    low: float = 0.0
    high: float = 1.0
    choices: tuple[str, ...] = ()
    when: tuple[str, tuple[str, ...]] | None = None  # active only where this choice, which stands earlier, has one of these values
    default: Any = None  # what ours tries first; None: the middle, or the first choice


class Peer(NamedTuple):
    name: str
    version: str
    ask: Callable[[], tuple[Any, Params]]
    tell: Callable[[Any, float], None]
    best: Callable[[], Params] | None = None  # what it would return now; None: the configuration with the lowest told value


def mixed(d: int) -> list[Dim]:
    """d parameters: two fifths plain floats, and log floats, ints and choices."""
    kinds = ["float", "log", "int", "float", "choice"]
    dims = []
    for i in range(d):
        kind = kinds[i % 5]
        low, high = {"float": (0.0, 1.0), "log": (1e-5, 1.0), "int": (1, 64), "choice": (0, 0)}[kind]
        dims.append(Dim(f"p{i}", kind, low, high, ("a", "b", "c", "d") if kind == "choice" else ()))
    return dims


def floats(d: int) -> list[Dim]:
    return [Dim(f"p{i}", "float") for i in range(d)]


def active(dim: Dim, params: Params) -> bool:
    """Whether `dim` has a value beside those before it."""
    return dim.when is None or params.get(dim.when[0]) in dim.when[1]


def space_of(dims: list[Dim]) -> jaxhp.Space:
    def parameter(dim: Dim) -> Any:
        when = None if dim.when is None else {dim.when[0]: list(dim.when[1])}
        if dim.kind == "choice":
            return jaxhp.Categorical(list(dim.choices), default=dim.default, when=when)
        if dim.kind in ("int", "logint"):
            return jaxhp.Int(int(dim.low), int(dim.high), log=dim.kind == "logint", default=dim.default, when=when)
        return jaxhp.Float(dim.low, dim.high, log=dim.kind == "log", default=dim.default, when=when)

    return jaxhp.Space({dim.name: parameter(dim) for dim in dims})


def ours(dims: list[Dim], sampler: jaxhp.Sampler, seed: int, storage: str | None = None) -> Peer:
    study = jaxhp.Study(space_of(dims), sampler=sampler, seed=seed, storage=storage)

    def ask() -> tuple[Any, Params]:
        trial = study.ask()
        return trial, trial.params

    return Peer(f"jaxhp {sampler.name}", jaxhp.__version__, ask, lambda trial, value: study.tell(trial, value) and None)


def _suggest(trial: Any, dims: list[Dim]) -> Params:
    params: Params = {}
    for dim in dims:
        if not active(dim, params):
            continue
        if dim.kind == "choice":
            params[dim.name] = trial.suggest_categorical(dim.name, list(dim.choices))
        elif dim.kind in ("int", "logint"):
            params[dim.name] = trial.suggest_int(dim.name, int(dim.low), int(dim.high), log=dim.kind == "logint")
        else:
            params[dim.name] = trial.suggest_float(dim.name, dim.low, dim.high, log=dim.kind == "log")
    return params


def optuna(dims: list[Dim], sampler: str, seed: int, storage: str | None = None) -> Peer:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    study = optuna.create_study(sampler=getattr(optuna.samplers, sampler)(seed=seed), storage=storage)

    def ask() -> tuple[Any, Params]:
        trial = study.ask()
        return trial, _suggest(trial, dims)

    return Peer(f"optuna {sampler}", version("optuna"), ask, lambda trial, value: study.tell(trial, value) and None)


def rustuna(dims: list[Dim], sampler: str, seed: int) -> Peer:
    import rustuna

    study = rustuna.create_study(sampler=getattr(rustuna.samplers, sampler)(seed=seed))

    def ask() -> tuple[Any, Params]:
        trial = study.ask()
        return trial.number, _suggest(trial, dims)

    return Peer(f"rustuna {sampler}", version("rustuna"), ask, study.tell)
