"""The table at the end of `jaxhp tune`: the tuned configuration beside the defaults and beside random search.

Validation values are those that the trials told, so the best of many flatters itself (the winner's curse); the held-out
test of the user's file, evaluated once per configuration and never searched on, does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxhp._types import Params, Status
from jaxhp.report import Table

if TYPE_CHECKING:
    from jaxhp.cli._userfile import HeldOut
    from jaxhp.study import Study
    from jaxhp.trial import Trial


class Entry(NamedTuple):
    """One configuration of the table."""

    label: str
    params: Params
    values: dict[str, float]  # told in validation; empty where it was never a trial
    test: dict[str, float]  # held out; empty without a test function


def compare(study: Study, random: Study | None, test: HeldOut | None) -> list[Entry]:
    """The best of `study`, the best of `random`, and the defaults of the space; a study without a complete trial is left out."""
    trials = study.finished + (random.finished if random is not None else [])
    chosen: list[tuple[str, Params, dict[str, float]]] = []
    for label, searched in (("tuned", study), ("random search", random)):
        found = best(searched) if searched is not None else None
        if searched is not None and found is not None:
            chosen.append((f"{label}, {len(searched.finished)} trials", found.params, found.values))
    u = study.space.default()
    told = next((t.values for t in trials if t.status == Status.COMPLETE and np.array_equal(t.u, u, equal_nan=True)), {})
    chosen.append(("defaults" if study.space.has_defaults else "centre of the space", study.space.default_params(), told))
    tested: list[tuple[Params, dict[str, float]]] = []
    entries = []
    for label, params, values in chosen:
        result = next((known for other, known in tested if other == params), None)
        if result is None:
            result = _tested(test, params)
            tested.append((params, result))
        entries.append(Entry(label, params, values, result))
    return entries


def table(entries: list[Entry]) -> Table:
    """The entries as texts, one column per told and per held-out metric."""
    told = list(dict.fromkeys(name for e in entries for name in e.values if not name.startswith("train_")))  # lanes tell training's, too
    held_out = list(dict.fromkeys(name for e in entries for name in e.test))
    rows = [[e.label, *(_text(e.values, name) for name in told), *(_text(e.test, name) for name in held_out)] for e in entries]
    return Table("Comparison", ["configuration", *(f"validation {n}" for n in told), *(f"test {n}" for n in held_out)], rows)


def best(study: Study) -> Trial | None:
    """The best trial; of several objectives, the one of the front that is best in the first; None when none is complete."""
    front = study.pareto
    if not front:
        return None
    if sum(o.threshold is None for o in study.outcomes) == 1:
        return study.best
    first = study.outcomes[0]
    return min(front, key=lambda t: first.sign * t.values[first.name])


def _tested(test: HeldOut | None, params: Params) -> dict[str, float]:
    if test is None:
        return {}
    result = test(dict(params))
    return {k: float(v) for k, v in result.items()} if isinstance(result, Mapping) else {"value": float(result)}


def _text(values: Mapping[str, float], name: str) -> str:
    return f"{values[name]:.4f}" if name in values else "-"
