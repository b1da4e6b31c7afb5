"""Tests that run in processes of their own: under another instruction set, or with other devices."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import jaxhp
from jaxhp import _kernel

outer = pytest.mark.skipif("JAXHP_TEST_ISA" in os.environ, reason="this is the inner run")  # of what calls the following


def pass_under_every_instruction_set(*files: str | Path, only: str = "") -> None:
    """Runs these files' tests, slow ones like the caller left out, under every other instruction set; `only`: pytest's -k."""
    for isa in _kernel.available_isas():
        if isa == _kernel.isa():
            continue
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not slow", *map(str, files)]
        environment = {**os.environ, "JAXHP_ISA": isa, "JAXHP_TEST_ISA": isa}
        environment.pop("PYTEST_ADDOPTS", None)
        command += ["-k", only] if only else []
        folder = Path(__file__).parents[1]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, f"{isa}:\n{done.stdout[-4000:]}{done.stderr[-2000:]}"


def observed_with_devices(file: str, devices: int) -> Any:
    """What `observed()` of a test file returns in a process with so many CPU devices, by way of JSON."""
    here = Path(file)
    path = os.pathsep.join([str(here.parent), str(Path(jaxhp.__file__).parents[1])])
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}", "JAX_PLATFORMS": "cpu"}
    code = f"import json; from {here.stem} import observed; print('SEEN', json.dumps(observed()))"
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": path, **flags}, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.rpartition("SEEN ")[2])
