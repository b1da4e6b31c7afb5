"""The storeys of docs/architecture.md, read from the source: imports only go down, and each outside library has one door."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "jaxhp"

# A new module belongs here; packages speak for all of their modules.
STOREYS = {
    "_core": 0,
    **dict.fromkeys(["_types", "_arguments", "_rng", "_kernel", "_memo", "space", "errors"], 1),
    **dict.fromkeys(["_parameters", "_axis", "_tree", "_constraints", "_feasible", "_between"], 1),  # parts of a space
    **dict.fromkeys(["samplers", "schedulers", "gp", "acquisition", "pareto", "train"], 2),
    **dict.fromkeys(["study", "storage", "analysis", "confirm", "trial"], 3),
    **dict.fromkeys(
        [
            "_berths",
            "_course",
            "_crew",
            "_errand",
            "_fold",
            "_grading",
            "_frame",
            "_header",
            "_in_lanes",
            "_leases",
            "_lineage",
            "_outcomes",
            "_owner",
            "_parts",
            "_programs",
            "_records",
            "_rows",
            "_run",
            "_session",
            "_settings",
            "_slopes",
            "_stage",
            "_train",
            "_training",
        ],
        3,
    ),  # parts of a study
    **dict.fromkeys(["cli", "__main__", "report", "dashboard", "interop", "testing"], 4),
}

# Where an outside library may be imported: itself a module, or a package with all of its modules.
DOORS = {
    "numpy": {""},
    "scipy": {"samplers", "gp", "acquisition", "pareto", "analysis", "confirm", "study", "report"},
    "numba": {"gp._kernels"},
    "jax": {"train", "samplers._outer"},
    "flax": {"train"},
    "optax": {"train", "samplers._outer"},
    "orbax": {"train._checkpoint"},
    "sqlalchemy": {"storage._sql", "storage._tables", "storage._sqlite", "storage._postgres"},
    "typer": {"cli"},
    "rich": {"cli"},
    "plotly": {"report"},
    "tensorboardX": {"interop._tensorboard"},
    "wandb": {"interop._wandb"},
    "optuna": {"interop.optuna"},
    "sklearn": {"interop.sklearn"},
    "joblib": {"interop.sklearn"},
    "ray": {"interop.ray"},
    "cloudpickle": {"_errand"},
    "pandas": {"_frame"},
    "hypothesis": {"testing"},
}


def is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def imported(tree, package):
    """The dotted names a module imports when it runs, lazily or not; `from jaxhp import x` counts as jaxhp.x."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if is_type_checking(node):
            waiting.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{package}: relative import; write it out"
            whole = node.module == "jaxhp" or (PACKAGE.parent / node.module.replace(".", "/")).is_dir()
            yield from (f"{node.module}.{alias.name}" if whole else node.module for alias in node.names)
        waiting.extend(ast.iter_child_nodes(node))


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        if name != "__init__":  # the lazy front door, which imports nothing by name
            yield name, list(imported(ast.parse(path.read_text(), str(path)), name))


MODULES = dict(modules())


def inside(name, packages):
    return any(name == package or package == "" or name.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("name", MODULES)
def test_a_modules_imports_only_go_down(name):
    top = name.split(".")[0]
    assert top in STOREYS, f"jaxhp/{top} has no storey; add it to STOREYS and to docs/architecture.md"
    for target in MODULES[name]:
        parts = target.split(".")
        if parts[0] != "jaxhp" or len(parts) == 1 or parts[1] == "__version__":
            continue
        below = parts[1]
        assert below in STOREYS, f"{name} imports {target} by way of the front door; import it from its module"
        assert STOREYS[below] <= STOREYS[top], f"{name} (storey {STOREYS[top]}) imports {target} (storey {STOREYS[below]})"


@pytest.mark.parametrize("name", MODULES)
def test_an_outside_library_is_imported_behind_its_door(name):
    for target in MODULES[name]:
        library = target.split(".")[0]
        if library == "jaxhp" or library in sys.stdlib_module_names:
            continue
        assert library in DOORS, f"{name} imports {library}, which has no door; add it to DOORS"
        assert inside(name, DOORS[library]), f"{name} imports {library}; its door is {DOORS[library]}"


def test_search_and_train_never_import_each_other():
    search = {"samplers", "schedulers", "gp", "acquisition", "pareto"}
    for name, targets in MODULES.items():
        for target in targets:
            other = target.removeprefix("jaxhp.").split(".")[0]
            assert not (inside(name, search) and other == "train"), f"{name} imports {target}"
            assert not (inside(name, {"train"}) and other in search), f"{name} imports {target}"


def test_the_kernel_has_one_door():
    assert [name for name, targets in MODULES.items() if any(t.startswith("jaxhp._core") for t in targets)] == ["_kernel"]


def test_importing_jaxhp_loads_no_heavy_library():
    code = "import sys, jaxhp; print(sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(ast.literal_eval(done.stdout))
    assert "jaxhp" in loaded
    assert not loaded & {"numba", "jax", "scipy", "sqlalchemy", "flax", "optax", "pandas", "plotly", "rich", "typer"}


def test_the_reader_of_imports_sees_lazy_ones_and_skips_those_for_types():
    lazy = "def f():\n    import jax.numpy\n    from jaxhp import _kernel\n    from jaxhp.gp import _priors\n"
    source = "if TYPE_CHECKING:\n    import numba\n" + lazy
    assert sorted(imported(ast.parse(source), "x")) == ["jax.numpy", "jaxhp._kernel", "jaxhp.gp._priors"]
