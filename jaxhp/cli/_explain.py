"""`jaxhp explain`: which parameters matter, and how far the model that says so can be trusted."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.markup import escape

from jaxhp.cli._console import out, print_table
from jaxhp.cli._database import opened_study
from jaxhp.cli._read import Name, Storage


def explain(
    storage: Storage,
    study: Name = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, with every number.")] = False,
) -> None:
    """Explains a study: the relevance of its parameters, its noise, how good the model is, and what to change."""
    from jaxhp.report import Table

    explanation = opened_study(storage, study).explain()
    if as_json:
        print(json.dumps(explanation.to_json(), indent=2, default=str))
        return
    print_table(Table(f"{explanation.study}: what matters for {explanation.metric} ({explanation.direction})", *explanation.table()))
    facts = explanation.facts()
    width = max(map(len, facts))
    for label, text in facts.items():
        out.print(f"[bold]{label.ljust(width)}[/]  {escape(text)}")
    for note in explanation.notes:
        out.print(f"[yellow]*[/] {escape(note)}")
