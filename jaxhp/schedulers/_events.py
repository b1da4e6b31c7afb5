"""Rows as a scheduler reads them, one after another."""

from __future__ import annotations

from collections.abc import Iterator

from jaxhp._types import Trials


def events(rows: Trials) -> Iterator[tuple[int, int, int, float, float]]:
    """(row, number, status, step, first metric) of this study's own trials, in order; others have negative numbers."""
    columns = zip(rows.number.tolist(), rows.status.tolist(), rows.fidelity.tolist(), rows.y[:, 0].tolist(), strict=True)
    for i, (number, status, step, y) in enumerate(columns):
        if number >= 0:
            yield i, number, status, step, y
