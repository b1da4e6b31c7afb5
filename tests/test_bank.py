"""The bank: rows of weights that come back as they went in, are counted, and stay within their limit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import bowl, rates, same

from jaxhp import Lanes
from jaxhp.train import LaneState
from jaxhp.train._bank import Bank

WIDTH = 4
_lanes: list[Any] = []


def lanes() -> Lanes:
    if not _lanes:
        _lanes.append(Lanes(bowl(), {"rate": np.float32(0.1)}, WIDTH, segment=2))
    return _lanes[0]


def state(first: int) -> LaneState:
    """Four trials at their start, no two alike."""
    return lanes().refill(lanes().init(), range(WIDTH), range(first, first + WIDTH), rates([0.1] * WIDTH), 2)


def take(bank: Bank, names: list[tuple[int, int]]) -> Any:
    """Without the rows that pad them."""
    import jax

    return jax.tree.map(lambda leaf: np.asarray(leaf)[: len(names)], bank.take(names))


@pytest.mark.parametrize("where", ["host", "device"])
def test_rows_come_back_in_the_order_asked_for_while_the_bank_grows(where: str) -> None:
    bank, kept = Bank(lanes(), where), {}
    for first in range(0, 40, WIDTH):
        full = state(first)
        names = [(first + i, i % 2) for i in range(WIDTH)]
        bank.put(full, [2, 0, 3], [names[2], names[0], names[3]])
        kept |= {name: lanes().gather(full, [i]) for i, name in enumerate(names) if i != 1}
    assert len(bank) == 30 and set(bank.names) == set(kept)
    wanted = [(38, 0), (0, 0), (19, 1)]
    rows = take(bank, wanted)
    for i, name in enumerate(wanted):
        assert same({k: v[i : i + 1] for k, v in rows.items()}, kept[name])


@pytest.mark.parametrize("where", ["host", "device"])
def test_a_row_goes_with_its_last_holder(where: str) -> None:
    bank = Bank(lanes(), where)
    bank.put(state(0), [0], [(0, 0)])
    bank.hold((0, 0))
    bank.drop((0, 0))
    assert (0, 0) in bank
    bank.drop((0, 0))
    assert (0, 0) not in bank and len(bank) == 0
    bank.drop((7, 0))  # was never here
    full = state(4)
    bank.put(full, [1], [(5, 0)])  # its place is used again
    assert same(take(bank, [(5, 0)]), lanes().gather(full, [1]))


@pytest.mark.parametrize("where", ["host", "device"])
def test_a_bank_is_restored_from_its_arrays(where: str) -> None:
    bank, other = Bank(lanes(), where), Bank(lanes(), where)
    for first in (0, 4, 8):
        bank.put(state(first), [0, 3], [(first, 0), (first + 3, 0)])
    bank.drop((4, 0))
    other.restore(bank.names, bank.arrays())
    assert other.names == bank.names and same(take(other, bank.names[:4]), take(bank, bank.names[:4]))
    other.hold((0, 0))
    other.drop((0, 0))
    assert (0, 0) in other  # by its first holder, who was restored too
    other.drop((0, 0))
    assert (0, 0) not in other
    other.clear()
    other.restore([], [])
    assert len(other) == 0


@settings(max_examples=30)
@given(st.integers(1, 5), st.lists(st.tuples(st.integers(0, 8), st.booleans()), max_size=25))
def test_a_limit_holds_whatever_is_put_and_dropped(capacity: int, moves: list[tuple[int, bool]]) -> None:
    bank = Bank(lanes(), "host", capacity * lanes().lane_bytes)
    one = lanes().init()
    for number, put in moves:
        name = (number, 0)
        if put and name not in bank:
            bank.put(one, [0], [name], give_up=[n for n in bank.names if n != name][:1])
            assert name in bank
        elif not put:
            bank.drop(name)
            assert name not in bank
        assert len(bank) <= capacity and len(set(bank._row.values())) == len(bank)


def test_over_its_limit_a_bank_gives_up_what_it_is_told_to() -> None:
    bank = Bank(lanes(), "host", 2 * lanes().lane_bytes)
    full = state(0)
    bank.put(full, [0, 1], [(0, 0), (1, 0)])
    bank.put(full, [2], [(2, 0)], give_up=[(1, 0), (0, 0)])
    assert set(bank.names) == {(0, 0), (2, 0)}
    bank.put(full, [3], [(3, 0)], give_up=[])  # nothing may go: the new one is not kept
    assert set(bank.names) == {(0, 0), (2, 0)}
    bank.put(full, [1, 3], [(1, 0), (3, 0)], give_up=[(3, 0), (0, 0), (2, 0)])
    assert set(bank.names) <= {(0, 0), (1, 0), (2, 0)} and len(bank) == 2
    assert Bank(lanes(), "host", 1).capacity == 1
