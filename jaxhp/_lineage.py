"""Which configuration trained a trial's weights, step by step, where a scheduler changed it or gave the trial another's weights.

A trial's weights have a history of **legs**: from step `start` on, trial `number` trained them with the point `u`; before that, the leg
`before`, which another trial may have trained. A leg never changes, so the legs of two trials may share their past, as a parent's and
its child's do. A trial that was never changed has one leg, from step 0 with the point that it was asked with, which nobody keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from jaxhp._types import Floats


@dataclass(slots=True, eq=False)
class Leg:
    """A stretch of training with one configuration."""

    number: int  # who trains,
    start: int  # from this step on,
    u: Floats  # (d,) with this point
    at: int  # index of the decision in the course; -1: as it was asked
    before: Leg | None  # how the weights came to this step; None: fresh

    def path(self) -> list[Leg]:
        """From fresh weights to this leg."""
        legs: list[Leg] = []
        leg: Leg | None = self
        while leg is not None:
            legs.append(leg)
            leg = leg.before
        return legs[::-1]


class Lineage:
    """The legs of all trials that were changed."""

    def __init__(self) -> None:
        self._legs: dict[int, list[Leg]] = {}
        self._all: list[Leg] = []

    @property
    def numbers(self) -> list[int]:
        """The trials that were changed, in order."""
        return sorted(self._legs)

    def last(self, number: int, before: int | None = None) -> Leg | None:
        """A trial's last leg, or the last one that began before a record of the course; None where it was not changed until then."""
        legs = self._legs.get(number)
        return None if legs is None else next((leg for leg in reversed(legs) if before is None or leg.at < before), None)

    def add(self, leg: Leg) -> None:
        """A decision changed a trial."""
        self._legs.setdefault(leg.number, []).append(leg)
        self._all.append(leg)
        if leg.before is not None and leg.before.at < 0:
            self._all.append(leg.before)

    def restart(self, numbers: Iterable[int]) -> None:
        """These trials start anew, as they were asked."""
        for number in numbers:
            self._legs.pop(number, None)

    def convert(self, change: Callable[[Floats], Floats]) -> None:
        """All points move to another encoding of the space."""
        for leg in {id(leg): leg for leg in self._all}.values():
            leg.u = change(leg.u)
