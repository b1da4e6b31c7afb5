"""Long fault rounds, run by `make soak` only."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import jaxhp
from jaxhp.samplers._named import NAMED

pytestmark = pytest.mark.soak

_SCRIPT = textwrap.dedent("""
    import sys, time
    from jaxhp import *

    def objective(trial):
        time.sleep(0.002)
        if trial.number % 17 == 3:
            raise RuntimeError("data")
        return (trial["x"] - 0.3) ** 2 + 0.01 * trial["n"]

    space = Space({"x": Float(-1.0, 1.0), "n": Int(1, 8), "kind": Categorical(["a", "b"]), "m": Float(0.1, 1.0, when={"kind": "b"})})
    storage = sys.argv[2] if len(sys.argv) > 2 else None
    study = Study(space, sampler=getattr(samplers, sys.argv[1])(), seed=3, storage=storage)
    study.optimize(objective, trials=300, callbacks=[lambda study, trial: print(trial.number, flush=True)])
    print([(t.number, t.params, t.value, t.status.name) for t in study.finished])
""")


def start(*arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(jaxhp.__file__).parents[1])}
    command = [sys.executable, "-c", "from jaxhp import samplers\n" + _SCRIPT, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.mark.parametrize("sampler", sorted(set(NAMED) - {"grid_search", "hypergradient_descent"}))  # a small grid ends; no slopes here
def test_a_study_killed_again_and_again_ends_like_one_that_never_was(tmp_path: Path, sampler: str) -> None:
    straight = start(sampler).communicate()[0].splitlines()[-1]
    dice, kills = random.Random(sampler), 0
    while True:
        process = start(sampler, f"sqlite:///{tmp_path}/study.db")
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(dice.randint(1, 30))]  # results, however long a busy machine takes for them
        if not lines[-1]:  # all were there
            process.communicate()
            assert process.returncode == 0
            break
        time.sleep(dice.uniform(0.0, 0.01))
        process.kill()
        process.communicate()
        kills += 1
    assert kills >= 2
    assert "".join(lines).splitlines()[-1] == straight
