"""Which parameters go together in an Optuna study, and under which conditions: what a define-by-run objective does not say.

Parameters that all finished trials have are common (Optuna's intersection search space). One that only some have is conditional on a
choice where its values tell exactly which trials have it: seen with a value always, or never. Such a guess may be refuted by a later trial;
then it is withdrawn. A parameter whose distribution changed is neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial

Conditions: TypeAlias = dict[str, tuple[str, tuple[int, ...]]]  # parameter -> its parent, and the indices of the choices that activate it


@dataclass(slots=True)
class _Pair:
    """What is known of a parameter and a choice that may be its condition, by index of the choice."""

    having: set[int] = field(default_factory=set)
    lacking: set[int] = field(default_factory=set)
    orphan: bool = False  # seen without the choice itself

    @property
    def tells(self) -> bool:
        return not self.orphan and not self.having & self.lacking


class Common(NamedTuple):
    """Distributions, parents first, and the conditions among them."""

    distributions: dict[str, BaseDistribution]
    conditions: Conditions


class Structure:
    """A fold over finished trials."""

    def __init__(self) -> None:
        self._n = 0
        self._count: dict[str, int] = {}  # trials that have a parameter
        self._distribution: dict[str, BaseDistribution | None] = {}  # None: it changed
        self._seen: dict[str, set[int]] = {}  # indices of each choice so far
        self._pairs: dict[str, dict[str, _Pair]] = {}  # parameter -> choice
        self._common: Common | None = None  # until the next trial

    def take(self, trial: FrozenTrial) -> None:
        """Takes in the next finished trial."""
        given = trial.distributions
        index = {name: int(d.to_internal_repr(trial.params[name])) for name, d in given.items() if isinstance(d, CategoricalDistribution)}
        for name, distribution in given.items():
            if name not in self._count:
                self._count[name], self._distribution[name] = 0, distribution
                self._pairs[name] = {above: _Pair(lacking=set(values)) for above, values in self._seen.items()}
            elif self._distribution[name] != distribution:
                self._distribution[name] = None
        for name in index.keys() - self._seen.keys():
            self._seen[name] = set()
            for below, pairs in self._pairs.items():
                if below != name:
                    pairs[name] = _Pair(orphan=self._count[below] > 0)
        for below, pairs in self._pairs.items():
            for above, pair in pairs.items():
                if above in index:
                    (pair.having if below in given else pair.lacking).add(index[above])
                elif below in given:
                    pair.orphan = True
        for name, level in index.items():
            self._seen[name].add(level)
        for name in given:
            self._count[name] += 1
        self._n += 1
        self._common = None

    def common(self) -> Common:
        """What the next trial can be expected to ask for; constants left out."""
        if self._common is None:
            usable = {name: d for name, d in sorted(self._distribution.items()) if d is not None and not d.single()}
            placed, conditions = self.placed(usable)
            self._common = Common({name: usable[name] for name in placed}, conditions)
        return self._common

    def placed(self, names: Iterable[str]) -> tuple[list[str], Conditions]:
        """Those of the parameters that are common or have a condition, parents first; and the conditions."""
        known = [name for name in names if name in self._count]
        placed = [name for name in known if self._count[name] == self._n]
        waiting = [name for name in known if name not in placed]
        conditions: Conditions = {}
        while found := {name: above for name in waiting if (above := self._parent(name, placed)) is not None}:
            for name, above in found.items():
                placed.append(name)
                conditions[name] = above, tuple(sorted(self._pairs[name][above].having))
                waiting.remove(name)
        return placed, conditions

    def _parent(self, name: str, placed: list[str]) -> str | None:
        pairs = self._pairs[name]
        return next((above for above in placed if above in pairs and pairs[above].tells), None)
