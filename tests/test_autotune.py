"""How many lanes: the fastest width is found, remembered, and never the reason of a failure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from tiny import RATES, WIDTHS, bowl, results, widening

import jaxhp
from jaxhp import Study, Trainable
from jaxhp.train import Lanes, _autotune, check

LONG = 1e9  # segments


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JAXHP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def lanes(width: int) -> Lanes:
    return Lanes(bowl(), {"rate": np.float32(0.1)}, width, segment=2)


def measuring(monkeypatch: pytest.MonkeyPatch, rates: dict[int, float], compiling: float = 1.0) -> list[int]:
    """Stubs the measurement by lane segments a second for each width; returns the widths that are measured."""
    measured: list[int] = []

    def stub(made: Lanes) -> tuple[float, float]:
        measured.append(made.width)
        if made.width not in rates:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate")
        return compiling, made.width / rates[made.width]

    monkeypatch.setattr(_autotune, "_measured", stub)
    return measured


@pytest.mark.parametrize(
    ("rates", "width", "tried"),
    [
        ({8: 10, 32: 30, 128: 31}, 32, [8, 32, 128]),  # a tenth more is too little
        ({8: 10, 32: 10.5, 1: 9}, 8, [8, 32, 1]),
        ({8: 10, 32: 10, 1: 12}, 1, [8, 32, 1]),
        ({8: 10, 32: 20}, 32, [8, 32, 128]),  # 128 do not fit
        ({4: 10, 16: 5, 1: 3}, 4, [8, 4, 16, 1]),  # nor do 8
    ],
)
def test_the_fastest_width_is_chosen(rates: dict[int, float], width: int, tried: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    measured = measuring(monkeypatch, rates)
    assert _autotune.best_width(lanes, 1000, LONG).width == width
    assert measured == tried
    assert _autotune.best_width(lanes, 1000, LONG).width == width and measured == tried  # it is remembered


def test_there_are_no_more_lanes_than_trials_and_a_short_run_is_not_worth_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = measuring(monkeypatch, {8: 10, 6: 10, 5: 10, 1: 5})
    assert _autotune.best_width(lanes, 5, LONG).width == 5 and measured == [5, 1]
    assert _autotune.best_width(lanes, 1000, segments=29).width == 8 and measured == [5, 1, 8]  # 2.9 s against 3 compilations
    assert _autotune.best_width(lanes, 20, LONG, multiple=3).width == 6 and measured[3:] == [6]


def test_what_does_not_fit_at_any_width_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = measuring(monkeypatch, {})
    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED"):
        _autotune.best_width(lanes, 1000, LONG)
    assert measured == [8, 4, 2, 1]


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"x": 3}', None])
def test_a_damaged_or_unwritable_memory_is_passed_over(content: str | None, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if content is None:
        cache.write_text("a file where the folder should be")
    else:
        cache.mkdir()
        (cache / "lanes.json").write_text(content)
    measuring(monkeypatch, {8: 10, 32: 30, 128: 10})
    assert _autotune.best_width(lanes, 1000, LONG).width == 32
    if content is not None:
        assert 32 in json.loads((cache / "lanes.json").read_text()).values()


def test_a_study_measures_once_and_keeps_to_the_width(monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(RATES, sampler=jaxhp.random_search(), metric="loss", seed=0)
    study.train(bowl(), trials=9, steps=4, evaluate_every=2)
    assert study._fold.course.run is not None
    width = study._fold.course.run["lanes"]
    assert width in (1, 8) and len(study.finished) == 9
    monkeypatch.setattr(_autotune, "best_width", None)
    study.train(bowl(), trials=12)
    other = Study(RATES, sampler=jaxhp.random_search(), metric="loss", seed=0)
    other.train(bowl(), trials=9, steps=4, evaluate_every=2, lanes=width)
    assert results(other) == results(study)[:9]


@pytest.mark.parametrize(("trainable", "buckets", "programs"), [(bowl(), 1, 1), (widening(), [4, 8], 2)], ids=["one", "two buckets"])
def test_a_trainable_is_checked_once_whatever_widths_are_tried(
    trainable: Trainable, buckets: Any, programs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured, checked = measuring(monkeypatch, {8: 1000, 4: 1000, 2: 1000, 1: 1}, compiling=1e-3), []
    monkeypatch.setattr("jaxhp.train._lanes.check", lambda *arguments: checked.append(None) or check(*arguments))
    study = Study(RATES if programs == 1 else WIDTHS, sampler=jaxhp.random_search(), metric="loss")
    study.train(trainable, trials=64, steps=2, evaluate_every=2, buckets=buckets)
    assert len(measured) >= 2 * programs and len(checked) == programs


def test_a_compilation_cache_that_the_user_chose_stays(cache: Path, tmp_path: Path) -> None:
    before = jax.config.jax_compilation_cache_dir
    try:
        jax.config.update("jax_compilation_cache_dir", str(tmp_path / "mine"))
        _autotune.keep_programs()
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "mine") and not cache.exists()
        jax.config.update("jax_compilation_cache_dir", None)
        cache.write_text("no folder")
        _autotune.keep_programs()
        assert jax.config.jax_compilation_cache_dir is None
        cache.unlink()
        _autotune.keep_programs()
        assert jax.config.jax_compilation_cache_dir == str(cache / "xla")
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
