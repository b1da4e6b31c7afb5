"""`jaxhp forecast`: what further trials would bring."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.markup import escape

from jaxhp.cli._console import out
from jaxhp.cli._database import opened_study
from jaxhp.cli._read import Name, Storage


def forecast(
    storage: Storage,
    study: Name = None,
    more: Annotated[int, typer.Option(min=1, metavar="N", help="How many further trials.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, with every number.")] = False,
) -> None:
    """Forecasts a study: the chance and size of further gain from N further trials."""
    found = opened_study(storage, study).forecast(more)
    if as_json:
        print(json.dumps(found._asdict() | {"relative_gain": found.relative_gain}, indent=2))
        return
    out.print(f"[bold]{escape(found.title)}[/]")
    for label, text in found.facts().items():
        out.print(f"[bold]{label.ljust(6)}[/]  {escape(text)}")
