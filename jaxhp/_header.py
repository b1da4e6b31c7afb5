"""Record 0 of a log: an existing study must be the one that its new caller describes."""

from __future__ import annotations

import warnings

from jaxhp._fold import Fold
from jaxhp._types import Record
from jaxhp.errors import StudyError
from jaxhp.space import Space

_REMEDY = {"outcomes": "the same metric=, direction= and constraints=", "lag": "the same lag=", "stochastic": "the same stochastic="}


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
