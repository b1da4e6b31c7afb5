"""For every sampler: a study whose process is killed, or that processes share under a lag, has the trials of one that lived alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import every_sampler
import pytest
from every_sampler import SAMPLERS, study_of, trials_of

import jaxhp
from jaxhp import samplers

TRIALS, LAG = 20, 8


def start(*arguments: object) -> subprocess.Popen[str]:
    """A process that finishes trials of every study."""
    environment = os.environ | {"PYTHONPATH": str(Path(jaxhp.__file__).parents[1])}
    command = [sys.executable, every_sampler.__file__, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def ended(*processes: subprocess.Popen[str]) -> list[tuple[str, int]]:
    """What each printed, and its exit code."""
    return [(process.communicate()[0], process.returncode) for process in processes]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Studies that were never interrupted."""
    folder = tmp_path_factory.mktemp("straight")
    every_sampler.run(folder, TRIALS, None, 1)
    return folder


def test_no_sampler_is_missing() -> None:
    for_finite_spaces_and_starts = {"exhaust", "startup", "startup_size"}  # parts of the others
    assert set(SAMPLERS) == set(samplers.__all__) - for_finite_spaces_and_starts


def test_fifteen_trials_a_kill_and_five_more_are_twenty_straight_ones(straight: Path, tmp_path: Path) -> None:
    assert ended(start(tmp_path, 15, "--killed")) == [(f"{len(SAMPLERS)}\n", -signal.SIGKILL)]
    told = {name: trials_of(study_of(name, tmp_path)) for name in SAMPLERS}
    assert ended(start(tmp_path, TRIALS)) == [("", 0)]
    for name in SAMPLERS:
        expected, found = trials_of(study_of(name, straight)), trials_of(study_of(name, tmp_path))
        assert [number for number, _, _ in found] == list(range(TRIALS)) and told[name] == found[:15], name
        assert found == expected, name


def test_with_a_lag_of_eight_one_two_and_eight_processes_make_the_same_trials(tmp_path: Path) -> None:
    folders = {count: tmp_path / str(count) for count in (1, 2, LAG)}
    for count, folder in folders.items():
        folder.mkdir()
        others = [start(folder, TRIALS, "--lag", LAG) for _ in range(count - 1)]
        every_sampler.run(folder, TRIALS, LAG, 1)  # this process is one of them
        assert ended(*others) == [("", 0)] * len(others)
    for name in SAMPLERS:
        one, *others = [trials_of(study_of(name, folder, lag=LAG)) for folder in folders.values()]
        assert len(one) == TRIALS and all(trials == one for trials in others), name
