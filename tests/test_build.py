"""The kernel builds and passes its own tests without Python, shares no code between instruction sets, and ships in sdist and wheel."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from jaxhp import _kernel

ROOT = Path(__file__).parent.parent
HERE = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])  # cmake and ninja may be this environment's


def run(*command, cwd=ROOT, **environment):
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, "PATH": HERE, **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """A build of csrc/ that never looks for Python."""
    folder = tmp_path_factory.mktemp("csrc")
    run("cmake", "-S", ROOT, "-B", folder, "-DJAXHP_PYTHON=OFF", "-DJAXHP_TESTS=ON", "-DCMAKE_BUILD_TYPE=Release")
    run("cmake", "--build", folder, "--parallel", "2")
    return folder


@pytest.mark.slow
def test_the_kernel_passes_its_own_tests_without_python_on_every_instruction_set(build):
    lines = run(build / "test_core").splitlines()
    assert lines == [f"{isa}: ok" for isa in _kernel.available_isas()]
    run("ctest", "--output-on-failure", cwd=build)  # and every other test of csrc/


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nm") is None, reason="nm (binutils) reads the symbols")
def test_instruction_sets_share_no_symbol(build):
    objects = sorted(build.glob("CMakeFiles/kernel_*.dir/csrc/*.o"))
    assert objects
    for path in objects:
        isa = path.parent.parent.name.removeprefix("kernel_").removesuffix(".dir")
        listing = run("nm", "--defined-only", "--demangle", path)
        rows = [line.split(" ", 2)[1:] for line in listing.splitlines()]
        functions = [name for kind, name in rows if kind in "tTwWvVu"]  # a local copy today may be a weak symbol under other flags
        assert f"jaxhp::{isa}::table()" in functions or path.name != "kernel.cpp.o"
        shared = [name for name in functions if f"jaxhp::{isa}::" not in name]
        assert not shared, f"{path.name} of {isa} may share {shared} with the other instruction sets; keep them in its namespace"


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """(sdist, wheel), the wheel built from the unpacked sdist as an installer does."""
    folder = tmp_path_factory.mktemp("dist")
    hook = "import sys; from scikit_build_core import build; print(getattr(build, sys.argv[1])(sys.argv[2]))"
    sdist = folder / run(sys.executable, "-c", hook, "build_sdist", folder).split()[-1]
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    source = folder / sdist.name.removesuffix(".tar.gz")
    quick = {"SKBUILD_CMAKE_BUILD_TYPE": "Debug"}  # to compile
    wheel = folder / run(sys.executable, "-c", hook, "build_wheel", folder, cwd=source, **quick).split()[-1]
    return sdist, wheel


@pytest.mark.slow
def test_the_sdist_holds_the_kernels_source_and_no_build_output(distributions):
    with tarfile.open(distributions[0]) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {
        "csrc/kernel.cpp",
        "csrc/bindings.cpp",
        "CMakeLists.txt",
        "LICENSE",
        "jaxhp/_core.pyi",
        "jaxhp/py.typed",
        "tests/conftest.py",
    } <= names
    assert not [name for name in names if name.endswith((".so", ".db")) or name.startswith(("build/", ".venv/"))]


@pytest.mark.slow
def test_the_wheel_holds_one_compiled_module_and_the_types(distributions):
    names = zipfile.ZipFile(distributions[1]).namelist()
    assert len([name for name in names if name.endswith(".so")]) == 1
    assert {"jaxhp/py.typed", "jaxhp/_core.pyi", "jaxhp/__init__.pyi", "jaxhp/storage/__init__.py"} <= set(names)
    assert not [name for name in names if name.startswith(("csrc/", "tests/"))]


@pytest.mark.slow
def test_the_installed_wheel_works_from_another_directory(distributions, tmp_path):
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", distributions[1], PYTHONPATH="")
    packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", PYTHONPATH="").strip()
    Path(packages, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    code = (
        "import jaxhp, jaxhp._kernel as k, numpy as np, importlib.metadata as m;"
        "print(jaxhp.__file__, k.sobol(0, np.arange(2), 2).shape, m.version('jaxhp') == jaxhp.__version__)"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    printed = run(python, "-c", code, cwd=elsewhere, PYTHONPATH="").strip()
    assert printed == f"{Path(packages, 'jaxhp', '__init__.py')} (2, 2) True"
