"""Every snippet of these pages runs, one after another, as a reader would run them."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import jaxhp

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.mark.parametrize(
    "page",
    [
        "bayes.md",
        "cma_es.md",
        "errors.md",
        "executors.md",
        "evolution.md",
        "forecast.md",
        "hypergradients.md",
        "interop.md",
        "lanes.md",
        "objectives.md",
        "optim.md",
        "schedulers.md",
        "structure.md",
        "tpe.md",
        "workers.md",
    ],
)
def test_the_snippets_of_a_page_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (DOCS / page).read_text()
    snippets = list(re.finditer(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL))
    assert snippets
    names: dict[str, Any] = {}
    for snippet in snippets:
        above = text.count("\n", 0, snippet.start(1))
        exec(compile("\n" * above + snippet.group(1), page, "exec"), names)  # an error names the line of the page


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*DOCS.glob("*.md"), DOCS.parent / "README.md"]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def public(module: ModuleType) -> list[str]:
    """What `__all__` names, or else what is defined there."""
    here = [name for name, x in vars(module).items() if name[0] != "_" and getattr(x, "__module__", None) == module.__name__]
    return getattr(module, "__all__", here)


@pytest.mark.parametrize("module", [None, *jaxhp._MODULES, *jaxhp._INNER], ids=lambda name: name or "jaxhp")
def test_every_public_name_is_mentioned(module: str | None) -> None:
    pages = [*DOCS.glob("*.md"), DOCS.parent / "README.md"]
    code = "\n".join(span for page in pages for span in re.findall(r"```.*?```|`[^`\n]+`", page.read_text(), flags=re.DOTALL))
    names = public(jaxhp if module is None else getattr(jaxhp, module))
    assert names and [name for name in names if not re.search(rf"\b{name}\b", code)] == []
