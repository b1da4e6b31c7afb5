"""`import jaxhp` is cheap: none of the heavy packages load until they are used."""

from __future__ import annotations

import subprocess
import sys

import jaxhp

_HEAVY = ("numba", "jax", "jaxlib", "flax", "optax", "scipy", "sqlalchemy", "pandas", "plotly", "rich", "typer")


def loaded(code: str) -> set[str]:
    script = f"import sys; {code}; print(*[m for m in {_HEAVY!r} if m in sys.modules])"
    return set(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split())


def test_import_loads_nothing_heavy() -> None:
    assert loaded("import jaxhp") == set()


def test_an_in_memory_study_loads_nothing_heavy() -> None:
    code = (
        "import jaxhp; s = jaxhp.Study(jaxhp.Space({'x': jaxhp.Float(0.0, 1.0)}), sampler=jaxhp.random_search()); "
        "s.optimize(lambda t: t['x'], trials=3)"
    )
    assert loaded(code) == set()


def test_every_public_name_resolves_and_the_stub_lists_it() -> None:
    stub = (jaxhp.__file__.removesuffix(".py")) + ".pyi"
    with open(stub) as f:
        text = f.read()
    for name in jaxhp.__all__:
        assert getattr(jaxhp, name) is not None
        assert name in text
    assert set(dir(jaxhp)) == set(jaxhp.__all__)
