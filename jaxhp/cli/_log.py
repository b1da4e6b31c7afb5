"""Commands about logs as a whole: `jaxhp log` prints records, `jaxhp verify` checks them, `jaxhp copy` takes a study elsewhere.

What a log says may be forged: it is printed in ASCII, so that a terminal obeys none of it, and never executed.
"""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from jaxhp.cli._console import err
from jaxhp.cli._database import chosen, existing, url
from jaxhp.cli._read import Name, Storage
from jaxhp.errors import JaxhpError, StorageError

if TYPE_CHECKING:
    from jaxhp._types import Record
    from jaxhp.space import Space

DAMAGED = 1  # exit code
_WIDTH = 300  # characters of a line
_POLL = 0.5  # seconds


def log(
    storage: Storage,
    study: Name = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line, with its position as `seq`.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is appended, until Ctrl-C.")] = False,
    since: Annotated[int, typer.Option(min=0, help="Begin at this position.")] = 0,
    trial: Annotated[list[int] | None, typer.Option(min=0, help="Only records of this trial; may be given several times.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Only records of this kind, such as tell; may be given several times.")] = None,
) -> None:
    """Prints the records of a study, one per line, as far as they are whole."""
    from jaxhp.storage import open_log
    from jaxhp.storage._scan import records

    opened = open_log(existing(storage))
    name = chosen(opened, study)
    lines = _Lines()
    position = 0
    try:
        while True:
            for seq, record in records(opened, name, position):
                position = seq + 1
                line = json.dumps({"seq": seq} | record) if as_json else lines.line(seq, record)
                if seq >= since and (not kind or record.get("kind") in kind) and (not trial or not _trials(record).isdisjoint(trial)):
                    print(line, flush=follow)
            if not follow:
                return
            time.sleep(_POLL)
    except StorageError as e:
        err.print(f"[red]error:[/] {escape(str(e))}")
        raise typer.Exit(DAMAGED) from None


def verify(
    storage: Storage,
    study: Name = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Move a torn tail to the table `damaged`. End the study's workers first.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Repair even while processes of this host run the study's trials.")] = False,
) -> None:
    """Checks every checksum and invariant of a database. Exit code 0: all is well; 1: something is damaged."""
    from jaxhp.storage import verify as verified

    found = verified(existing(storage), study, repair=repair, force=force)
    print(found)
    if not found.ok:
        raise typer.Exit(DAMAGED)


def copy(
    source: Storage,
    target: Annotated[str, typer.Argument(help="Where to: a file or a URL, such as postgresql://user@host/database.", show_default=False)],
    study: Name = None,
    to: Annotated[str | None, typer.Option(help="Its name there; by default the same.")] = None,
) -> None:
    """Copies a study to another database, whole or not at all, and compares the two."""
    from jaxhp.storage import copy as copied

    print(copied(existing(source), url(target), study, to=to))


def _trials(record: Record) -> set[int]:
    """The trials that a record is about."""
    named = [record.get(field) for field in ("number", "numbers", "slots", "stopped", "retry")]
    return {n for value in named for n in (value if isinstance(value, list) else [value]) if isinstance(n, int)}


class _Lines:
    """Records as readable lines: points as parameters, as long as the space that the log describes can be read."""

    def __init__(self) -> None:
        self._space: Space | None = None

    def line(self, seq: int, record: Record) -> str:
        """One record."""
        kind, rest = record.get("kind"), {k: v for k, v in record.items() if k not in ("kind", "time", "space")}
        if "space" in record:
            self._space = _space(record["space"])
        if "u" in rest and kind in ("ask", "enqueue"):
            params = self._params(rest.pop("u"))
            rest = {k: v for k, v in rest.items() if k in ("number", "owner", "queue", "retry", "source", "params")}
            rest["params"] = rest.get("params", params)
        text = "  ".join(f"{ascii(k)[1:-1]} {_shown(v)}" for k, v in rest.items())
        text = text if len(text) <= _WIDTH else f"{text[:_WIDTH]}..."
        return f"{seq:>6}  {_clock(record.get('time'))}  {ascii(kind)[1:-1]:<8}  {text}"

    def _params(self, u: Any) -> Any:
        import numpy as np

        from jaxhp._records import is_point

        if self._space is None or not is_point(u, self._space):
            return u
        return self._space.params(np.array(u, dtype=np.float64))


def _space(logged: Any) -> Space | None:
    from jaxhp.space import Space

    try:
        return Space.from_json(logged)
    except (JaxhpError, AttributeError, KeyError, TypeError, ValueError, ArithmeticError, RecursionError):
        return None  # forged: points are printed as they are


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{ascii(k)[1:-1]}={_shown(v)}" for k, v in value.items()) + "}"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = json.dumps(value)
    return text[1:-1] if isinstance(value, str) else text


def _clock(stamp: Any) -> str:
    """Local time to the second."""
    try:
        return datetime.fromtimestamp(stamp).strftime("%Y-%m-%d %H:%M:%S")
    except (OSError, OverflowError, TypeError, ValueError):
        return "-".ljust(19)
