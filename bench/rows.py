"""Where bench results go: one JSON object a line in bench/results/NAME.jsonl, with what it was measured on."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

import jaxhp
from jaxhp._kernel import isa

RESULTS = Path(__file__).parent / "results"


def append(name: str, row: dict[str, Any]) -> None:
    """Adds a row, with commit, date, processor, versions and load beside it."""
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.jsonl").open("a") as f:
        f.write(json.dumps(machine() | row, default=lambda value: value.item()) + "\n")


def machine() -> dict[str, Any]:
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _commit(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "isa": isa(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "jaxhp": jaxhp.__version__,
        "load": round(os.getloadavg()[0], 2),
    }


def _git(*words: str) -> str:
    root = RESULTS.parents[1]
    return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False).stdout.strip()


def _commit() -> str:
    return _git("rev-parse", "--short", "HEAD") + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")


def code() -> str:
    """The last commit that changed the library itself; with a plus where its files differ from that."""
    parts = ("--", "jaxhp", "csrc")
    return _git("log", "-1", "--format=%h", *parts) + ("+" if _git("status", "--porcelain", "--untracked-files=no", *parts) else "")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
