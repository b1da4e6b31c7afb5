"""The HTML report of a study: one self-contained file that opens without a network.

`_columns` reads a study into columns, `_tables` and `_figures` turn columns into texts and into plotly figures (plain dicts
of data and layout), `_surrogate` does so with what `study.explain()` says, `_page` lays them out as HTML with plotly's JavaScript
inside. Nothing here runs the sampler or writes to the log.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxhp.errors import StorageError
from jaxhp.report._columns import columns
from jaxhp.report._page import page
from jaxhp.report._schedules import changed
from jaxhp.report._surrogate import explained
from jaxhp.report._tables import Table, compact, failures, held_out, outlook

if TYPE_CHECKING:
    from jaxhp.study import Study

__all__ = ["Table", "html", "summary", "write"]


def html(study: Study, *, against: Mapping[str, Study] | None = None, tables: Sequence[Table] = ()) -> str:
    """The report as text.

    Args:
        study: finished or running, with any number of trials.
        against: other studies of the same metric, by label; their best-so-far is drawn into the history.
        tables: shown above the figures.

    Raises:
        MissingExtra: plotly is not installed.

    >>> import jaxhp
    >>> study = jaxhp.Study(jaxhp.Space({"x": jaxhp.Float(0.0, 1.0)}), sampler=jaxhp.sobol())
    >>> "best trials" in html(study.optimize(lambda trial: trial["x"], trials=4))
    True
    """
    others = {label: columns(other) for label, other in (against or {}).items()}
    return page(columns(study), others, [*tables, *_filled(held_out(study)), *outlook(study)], explained(study), changed(study))


def _filled(table: Table) -> list[Table]:
    return [table] if table.rows else []


def write(study: Study, path: str | Path, *, against: Mapping[str, Study] | None = None, tables: Sequence[Table] = ()) -> Path:
    """Writes the report (see `html`), whole or not at all, and returns its path.

    Raises:
        MissingExtra: plotly is not installed. StorageError: the file cannot be written.
    """
    text = html(study, against=against, tables=tables)
    path = Path(path)
    try:
        descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(partial, 0o644)
            os.replace(partial, path)
        except BaseException:
            os.unlink(partial)
            raise
    except OSError as e:
        raise StorageError(f"report: cannot write {path}: {e.strerror or e}; name another file") from e
    return path


def summary(study: Study, top: int = 10) -> list[Table]:
    """The best trials, and the failures by reason if there are any, as tables."""
    c = columns(study)
    return [compact(c, top), *([failures(c)] if c.failed.any() else [])]
