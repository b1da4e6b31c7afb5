"""Two processes at one study, and what one does between the look and the step of the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

import jaxhp
from jaxhp import Float, Int, Space, StorageError, Study
from jaxhp._types import Params, Record
from jaxhp.storage import MemoryLog, verify

NARROW = Space({"n": Int(1, 4)})
WIDER = Space({"n": Int(1, 7), "new": Float(0.0, 1.0, default=0.25)})


class Raced(MemoryLog):
    """A log in which another process acts just before the next append."""

    def __init__(self) -> None:
        super().__init__()
        self.other: Callable[[], object] | None = None

    def append(self, study: str, records: Sequence[Record], at: int | None = None) -> int:
        other, self.other = self.other, None
        if other is not None:
            other()
        return super().append(study, records, at)


def pair(space: Space = NARROW, **more: object) -> tuple[Raced, Study, Study]:
    log = Raced()
    one, other = (Study(space, sampler=jaxhp.random_search(), storage=log, **more) for _ in range(2))  # type: ignore[arg-type]
    return log, one, other


# the space is extended


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("way", ["enqueue", "add", "retry"])
def test_a_configuration_enters_the_space_as_it_is_by_then(way: str, at_once: bool) -> None:
    log, study, other = pair(retry=1)
    trial = study.ask()
    steps = {
        "enqueue": lambda: study.enqueue({"n": 2}),
        "add": lambda: study.add({"n": 2}, 1.0),
        "retry": lambda: study.tell(trial, error="out of memory"),
    }
    wider = Space({"n": Int(1, 7)})  # of which n=2 is another point
    if at_once:
        log.other = lambda: other.extend(wider)
    else:
        other.extend(wider)
    steps[way]()
    last = study.ask() if way != "add" else study.finished[-1]
    assert last.params == (trial.params if way == "retry" else {"n": 2})
    assert verify(log).ok and Study(wider, storage=log).space == wider


def test_a_configuration_without_a_parameter_that_is_new_is_refused_and_leaves_nothing() -> None:
    log, study, other = pair()
    log.other = lambda: other.extend(WIDER)
    with pytest.raises(jaxhp.SpaceError, match="'new' is missing"):
        study.enqueue({"n": 2})
    assert verify(log).ok and not study._fold.queue


def test_trials_that_wait_take_the_defaults_of_new_parameters() -> None:
    _, study, other = pair()
    study.enqueue({"n": 2})
    study.release(study.ask())
    study.enqueue({"n": 3})
    other.extend(WIDER)
    assert [study.ask().params for _ in range(2)] == [{"n": 2, "new": 0.25}, {"n": 3, "new": 0.25}]


def test_of_two_who_extend_at_once_none_takes_back_what_the_other_gave() -> None:
    log, study, other = pair()
    log.other = lambda: other.extend(Space({"n": Int(1, 7)}))
    with pytest.raises(jaxhp.SpaceError, match="not wider"):
        study.extend(Space({"n": Int(0, 4)}))
    assert study.space == other.space == Space({"n": Int(1, 7)}) and verify(log).ok
    log.other = lambda: other.extend(WIDER)
    study.extend(WIDER)
    assert [record["kind"] for record in log.read("study")].count("extend") == 2


def test_an_extension_that_cannot_be_written_has_not_happened() -> None:
    log, study, _ = pair()

    def full() -> None:
        raise StorageError("the disk is full")

    log.other = full
    with pytest.raises(StorageError):
        study.extend(WIDER)
    assert study.space == NARROW and study._fold.given is NARROW


def test_functions_of_constraints_outlast_an_extension_by_another() -> None:
    def even(params: Params) -> bool:
        return params["n"] % 2 == 0

    _, study, other = pair(NARROW.where(even))
    other.extend(WIDER.where(even))
    assert all(trial["n"] % 2 == 0 for trial in study.ask(8))
