"""Training from the start, outside the course of a study: weights that are no longer kept, and fresh seeds to test.

Rows are trained in groups that fit the lanes, with the program that the lanes have compiled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxhp.train import _weights
from jaxhp.train._lanes import Lanes, LaneState
from jaxhp.train._trainable import State


class Stretch(NamedTuple):
    """A part of a training: from where the one before ended, until a step."""

    number: int  # the trial whose keys it draws with
    hparams: Mapping[str, Any]  # name -> a scalar
    until: int


def trained(lanes: Lanes, courses: Sequence[Sequence[Stretch]], replicates: Sequence[int], model: State | None = None, t: int = 0) -> State:
    """Models (n, ...) of n trainings, each a list of stretches; `model`: rows (n, ...) at step t to go on from, no more than lanes."""
    parts = []
    for first in range(0, len(courses), lanes.width):
        group, seeds = courses[first : first + lanes.width], replicates[first : first + lanes.width]
        start = None if model is None else [t] * len(group)
        state = _begun(lanes, lanes.init(), range(len(group)), [course[0] for course in group], seeds, start, model)
        at = [0] * len(group)  # the stretch that each is in
        done: dict[int, Any] = {}
        while len(done) < len(group):
            state, _ = lanes.run(state)
            for slot, course in enumerate(group):
                if slot in done or state.t[slot] < course[at[slot]].until:
                    continue
                at[slot] += 1
                if at[slot] == len(course):
                    done[slot] = _weights.chosen(lanes.gather(state, [slot]), [0])
                else:
                    state = _begun(lanes, state, [slot], [course[at[slot]]], [seeds[slot]], [int(state.t[slot])])
        parts += [done[slot] for slot in range(len(group))]
    return _weights.joined(parts)


def _begun(
    lanes: Lanes,
    state: LaneState,
    slots: Sequence[int],
    stretches: Sequence[Stretch],
    replicates: Sequence[int],
    t: Any = None,
    model: State | None = None,
) -> LaneState:
    """Slots that begin a stretch: with fresh weights, or at step t with those of `model`, or those that they have."""
    columns = {name: np.stack([stretch.hparams[name] for stretch in stretches]) for name in lanes.example}
    numbers, ends = [stretch.number for stretch in stretches], [stretch.until for stretch in stretches]
    sources = None if t is None or model is not None else slots
    return lanes.refill(state, slots, numbers, columns, ends, replicates=replicates, t=t, model=model, sources=sources)
