"""The command line: `jaxhp tune FILE`, and commands that read what it wrote. The one door to typer and rich.

Exit codes: 0 done; 1 no trial completed, or too many failed; 2 a wrong command, file or database; 130 interrupted (what was
told is safe, the same command goes on). Results go to stdout, errors to stderr. Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import sys
import warnings
from typing import Annotated, Any

from jaxhp.errors import JaxhpError, MissingExtra, ObjectiveError

try:
    import typer
    from rich.markup import escape
    from typer.core import TyperGroup
except ImportError as e:
    raise MissingExtra('the command line needs typer and rich: pip install "jaxhp[cli]"') from e

from jaxhp.cli import _explain, _forecast, _log, _read, _tune, _worker
from jaxhp.cli._console import err, out

_USAGE = 2


class _Commands(TyperGroup):
    """Turns the errors that jaxhp raises on purpose into a message and an exit code, and its warnings into a line."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _warn
                return super().invoke(ctx)
        except KeyboardInterrupt:
            err.print("Interrupted.")
            raise typer.Exit(_tune.INTERRUPTED) from None
        except JaxhpError as e:
            err.print(f"[red]error:[/] {escape(str(e))}")
            raise typer.Exit(_tune.FAILED if isinstance(e, ObjectiveError) else _USAGE) from None


def _warn(message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: str | None = None) -> None:
    if issubclass(category, UserWarning):
        err.print(f"[yellow]warning:[/] {escape(str(message))}")
    else:
        print(warnings.formatwarning(message, category, filename, lineno, line), end="", file=file or sys.stderr)


app = typer.Typer(
    cls=_Commands,
    help="Hyperparameter tuning: run a search, look at it, take its results elsewhere.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from jaxhp import __version__

        out.print(f"jaxhp {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)] = False,
) -> None:
    """Options before the command."""


for _name, _function, _example in (
    ("tune", _tune.tune, "jaxhp tune examples/digits.py --trials 60"),
    ("worker", _worker.worker, "jaxhp worker postgresql://user@host/db digits.py --study digits --workers 4"),
    ("stop", _worker.stop, "jaxhp stop digits.db --study digits"),
    ("pause", _worker.pause, "jaxhp pause digits.db --study digits"),
    ("resume", _worker.resume, "jaxhp resume digits.db --study digits"),
    ("list", _read.list_studies, "jaxhp list digits.db"),
    ("show", _read.show, "jaxhp show digits.db --trial 7"),
    ("best", _read.best, "jaxhp best digits.db --json > best.json"),
    ("explain", _explain.explain, "jaxhp explain digits.db --study digits"),
    ("forecast", _forecast.forecast, "jaxhp forecast digits.db --more 50"),
    ("plot", _read.plot, "jaxhp plot digits.db -o report.html"),
    ("export", _read.export, "jaxhp export digits.db --csv -o trials.csv"),
    ("log", _log.log, "jaxhp log digits.db --kind tell --follow"),
    ("verify", _log.verify, "jaxhp verify digits.db --repair"),
    ("copy", _log.copy, "jaxhp copy digits.db postgresql://user@host/studies --study digits"),
):
    app.command(_name, epilog=f"Example: [bold]{_example}[/]")(_function)
