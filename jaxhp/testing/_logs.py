"""What every log promises (docs/architecture.md, "The log"): order, compare-and-append, exact values, any number of writers."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jaxhp._types import Record
from jaxhp.errors import LogConflict

if TYPE_CHECKING:
    from jaxhp.storage import Log

_EXACT: tuple[Any, ...] = (
    *(0.1, -0.0, 5e-324, 1.7976931348623157e308, 1e22, 0.30000000000000004, 2**53, -(2**53)),
    *(True, None, "", "\u03bb \n \t \U0001f680 'quoted' \"twice\"", [1, [2.5, None]], {"a": {"b": []}}),
)


def check_log(make_log: Callable[[], Log], reopen: Callable[[Log], Log] | None = None) -> None:
    """Checks all laws of a log.

    Args:
        make_log: a new, empty log at each call.
        reopen: opens the same log once more, as another process would; left out for logs that end with their process.

    Raises:
        AssertionError: a law is broken; the message says which and how.

    >>> import jaxhp
    >>> check_log(jaxhp.storage.MemoryLog)
    """
    records_come_back_in_order(make_log())
    studies_are_separate(make_log())
    claims_fail_when_another_was_first(make_log())
    values_come_back_exactly(make_log())
    writers_do_not_lose_records(make_log(), reopen or (lambda log: log))
    if reopen is not None:
        another_process_sees_what_was_appended(make_log(), reopen)


def records_come_back_in_order(log: Log) -> None:
    """`append` returns the new end; `read(study, since)` returns the records from there, and all that one append added."""
    law = "records come back in order"
    _check(law, "read of a study that does not exist", [], log.read("s"))
    _check(law, "the end after one record", 1, log.append("s", [_record(0)]))
    _check(law, "the end after two more", 3, log.append("s", [_record(1), _record(2)]))
    for since in range(5):
        _check(law, f"read since {since}", list(range(since, 3)), _indices(log.read("s", since)))


def studies_are_separate(log: Log) -> None:
    """Each name is a log of its own, and `studies` lists the names."""
    law = "studies are separate"
    log.append("a", [_record(0)])
    log.append("b", [_record(1)], at=0)
    log.append("a", [_record(2)], at=1)
    _check(law, "study a", [0, 2], _indices(log.read("a")))
    _check(law, "study b", [1], _indices(log.read("b")))
    _check(law, "the names", ["a", "b"], sorted(log.studies()))


def claims_fail_when_another_was_first(log: Log) -> None:
    """With `at`, an append succeeds only at the log's end, and a refused one leaves nothing behind."""
    law = "claims fail when another was first"
    log.append("s", [_record(0)], at=0)
    log.append("s", [_record(1), _record(2)], at=1)
    for at in (0, 1, 2, 4, 100):
        try:
            log.append("s", [_record(7), _record(8)], at=at)
        except LogConflict:
            continue
        raise AssertionError(f"this log breaks the law '{law}': at={at} succeeded in a log of 3 records")
    _check(law, "the records after refused claims", [0, 1, 2], _indices(log.read("s")))


def values_come_back_exactly(log: Log) -> None:
    """JSON values keep their bits; NaN and infinities come back as what `float()` reads."""
    law = "values come back exactly"
    log.append("s", [_record(0) | {"value": value} for value in _EXACT])
    for value, record in zip(_EXACT, log.read("s"), strict=True):
        _check(law, "a value", repr(value), repr(record["value"]))
    log.append("t", [_record(0) | {"values": {"loss": value}} for value in (math.nan, math.inf, -math.inf)])
    back = [repr(float(record["values"]["loss"])) for record in log.read("t")]
    _check(law, "non-finite values", ["nan", "inf", "-inf"], back)


def writers_do_not_lose_records(log: Log, reopen: Callable[[Log], Log]) -> None:
    """Writers side by side: every record is there once, each writer's in order, and each position is claimed by one."""
    law, writers, each = "writers do not lose records", 4, 12
    won: list[list[int]] = [[] for _ in range(writers)]
    failures: list[BaseException] = []

    def write(writer: int) -> None:
        try:
            own = reopen(log)
            for i in range(each):
                own.append("free", [{"kind": "tell", "writer": writer, "i": i}])
                end = len(own.read("claims"))
                try:
                    own.append("claims", [{"kind": "ask", "writer": writer}], at=end)
                    won[writer].append(end)
                except LogConflict:
                    pass
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise AssertionError(f"this log breaks the law '{law}': a writer raised {failures[0]!r}") from failures[0]
    free = log.read("free")
    for writer in range(writers):
        _check(law, f"the records of writer {writer}", list(range(each)), [r["i"] for r in free if r["writer"] == writer])
    claims = [record["writer"] for record in log.read("claims")]
    _check(law, "who won each claim", sorted((end, w) for w in range(writers) for end in won[w]), list(enumerate(claims)))


def another_process_sees_what_was_appended(log: Log, reopen: Callable[[Log], Log]) -> None:
    """Two logs opened on one place show the same records, whoever wrote them."""
    law, other = "another process sees what was appended", reopen(log)
    log.append("s", [_record(0)])
    _check(law, "records written by the first", [0], _indices(other.read("s")))
    other.append("s", [_record(1)], at=1)
    _check(law, "records written by the second", [0, 1], _indices(log.read("s")))
    _check(law, "records of one opened later", [0, 1], _indices(reopen(log).read("s")))


def _record(i: int) -> Record:
    return {"kind": "report", "number": i, "time": 0.5 + i}


def _indices(records: list[Record]) -> list[int]:
    return [record["number"] for record in records]


def _check(law: str, what: str, expected: Any, got: Any) -> None:
    if expected != got:
        raise AssertionError(f"this log breaks the law '{law}': {what}: expected {expected!r}, got {got!r}")
