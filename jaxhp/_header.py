"""Record 0 of a log: what the arguments of `Study` say; an existing study must be the one that its new caller describes."""

from __future__ import annotations

import time
import warnings
from typing import Any

from jaxhp import __version__
from jaxhp._arguments import is_whole, plain
from jaxhp._fold import Fold
from jaxhp._kernel import isa
from jaxhp._records import check_first
from jaxhp._types import Record, Sampler, Scheduler
from jaxhp.errors import LogConflict, StudyError
from jaxhp.space import Space
from jaxhp.storage import Log
from jaxhp.storage._log import first

_REMEDY = {"outcomes": "the same metric=, direction= and constraints=", "lag": "the same lag=", "stochastic": "the same stochastic="}


def check_arguments(space: Any, sampler: Any, scheduler: Any, name: Any, seed: Any, lag: Any, stochastic: Any = False) -> None:
    """Raises StudyError unless these arguments of `Study` are what they should be."""
    if space is not None and not isinstance(space, Space):
        raise StudyError(f"space: expected a jaxhp.Space, got {type(space).__name__}; wrap the parameters: jaxhp.Space({{...}})")
    if sampler is not None and not isinstance(sampler, Sampler):
        raise StudyError(
            f"sampler: expected a jaxhp sampler such as jaxhp.random_search(), got {sampler!r}; is a pair of parentheses missing?"
        )
    if scheduler is not None and not isinstance(scheduler, Scheduler):
        raise StudyError(
            f"scheduler: expected a jaxhp scheduler such as jaxhp.asha(), got {scheduler!r}; is a pair of parentheses missing?"
        )
    if not isinstance(name, str) or not name:
        raise StudyError(f"name: expected a non-empty string, got {name!r}")
    if seed is not None and (not is_whole(seed) or not 0 <= seed < 1 << 63):
        raise StudyError(f"seed: expected an integer in [0, 2**63), got {seed!r}")
    if lag is not None and (not is_whole(lag) or not 1 <= lag < 1 << 53):
        raise StudyError(f"lag: expected a positive number of trials (below 2**53) or None, got {lag!r}")
    if not isinstance(plain(stochastic), bool):
        raise StudyError(f"stochastic: expected True or False, got {stochastic!r}")


def header(
    space: Space | None,
    sampler: Sampler,
    scheduler: Scheduler | None,
    outcomes: list[list[Any]],
    seed: int | None,
    lag: int | None,
    stochastic: bool,
) -> Record:
    """The record that describes a new study."""
    return {
        "kind": "study",
        "version": __version__,
        "isa": isa(),
        "space": space.to_json() if space is not None else None,
        "outcomes": outcomes,
        "seed": plain(seed) if seed is not None else 0,
        "lag": plain(lag),
        "stochastic": bool(stochastic),
        "sampler": sampler.name,
        "scheduler": scheduler.name if scheduler is not None else None,
        "time": time.time(),
    }


def founded(log: Log, name: str, described: Record) -> Record:
    """Record 0 of the study of this name, which is founded where there is none.

    Raises:
        StudyError: there is none, and no space to found it with.
    """
    found = first(log, name)
    if found is not None:
        return found
    if described["space"] is None:
        known = ", ".join(map(repr, log.studies())) or "none"
        raise StudyError(f"there is no study {name!r} in {log.url}; it holds: {known}. Pass a space to create it")
    try:
        log.append(name, [described], at=0)
    except LogConflict:  # another process created it just now
        return first(log, name) or described
    return described


def existing(log: Log, name: str | None) -> str:
    """The name of an existing study; it may be left out where there is one only.

    Raises:
        StudyError: no such study, or several and no name.
    """
    names = log.studies()
    if name is None:
        if len(names) != 1:
            raise StudyError(f"{log.url} holds {len(names)} studies: {', '.join(map(repr, names)) or 'none'}; say which one with name=")
        name = names[0]
    if name not in names:
        raise StudyError(f"there is no study {name!r} in {log.url}; it holds: {', '.join(map(repr, names)) or 'none'}")
    return name


def arguments_of(log: Log, name: str) -> dict[str, Any]:
    """The arguments of `Study` that the header of an existing study was made from, the space aside.

    Raises:
        StorageError: there is no header.
    """
    logged = first(log, name) or {}
    check_first(logged)
    return {
        "directions": {name: direction for name, direction, threshold in logged["outcomes"] if threshold is None},
        "constraints": {
            name: f"{'<=' if direction == 'minimize' else '>='} {threshold!r}"
            for name, direction, threshold in logged["outcomes"]
            if threshold is not None
        },
        "lag": logged["lag"],
        "stochastic": logged["stochastic"],
    }


def check_header(url: str, name: str, logged: Record, described: Record, fold: Fold, space: Space | None, seed: int | None) -> None:
    """Compares what is logged with what is described; only a version or an instruction set may differ, with a warning.

    Raises:
        StudyError: naming the difference and the remedy.
    """
    where = f"study {name!r} in {url}"
    if space is not None:
        difference = Space.from_json(logged["space"]).difference(space)
        if difference and fold.extensions:
            difference = fold.space.difference(space)
        if difference:
            raise StudyError(f"{where} has another space:\n{difference}\nUse another name=, or study.extend(space) to widen it")
    for field, remedy in _REMEDY.items():
        if logged[field] != described[field]:
            raise StudyError(
                f"{where} was created with {field} {logged[field]!r}, not {described[field]!r}; pass {remedy} or use another name="
            )
    if seed is not None and seed != logged["seed"]:
        raise StudyError(f"{where} was created with seed={logged['seed']}, not {seed}; pass that seed or use another name=")
    for field, remedy in (("version", f"install jaxhp {logged['version']}"), ("isa", f"set JAXHP_ISA={logged['isa']}")):
        if logged[field] != described[field]:
            warnings.warn(
                f"{where} was created with {field} {logged[field]}, this is {described[field]}: it continues, but not bit for bit;"
                f" {remedy} for that",
                UserWarning,
                stacklevel=4,
            )
