"""How many lanes: measured, because it depends on the model and the device (1 for wide networks on a CPU, hundreds on a GPU).

Widths are tried from 8 upwards, four times as many each, while a segment's throughput grows by a tenth; 1 is tried where more lanes gain
little. Measuring ends where the run that is left is short beside compiling another program. The choice is remembered in a file.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxhp.train._lanes import Lanes

GROWTH = 1.1  # a wider program must be this much faster
MANY = 1 << 20  # trials
SHORT = 3.0  # times the seconds of a compilation: a run shorter than this is not worth another one


def cache_folder() -> Path:
    """Where programs and choices are kept: $JAXHP_CACHE, or ~/.cache/jaxhp."""
    return Path(os.environ.get("JAXHP_CACHE") or Path.home() / ".cache" / "jaxhp")


def keep_programs() -> None:
    """Turns JAX's persistent compilation cache on, unless the user has chosen one or the folder cannot be written."""
    if getattr(jax.config, "jax_compilation_cache_dir", None) is not None:
        return
    folder = cache_folder() / "xla"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def out_of_memory(error: BaseException) -> bool:
    """Whether a JAX error says that the device's memory is exhausted."""
    return isinstance(error, (jax.errors.JaxRuntimeError, MemoryError)) and (
        "RESOURCE_EXHAUSTED" in str(error) or isinstance(error, MemoryError)
    )


def best_width(make: Callable[[int], Lanes], most: int, segments: float, multiple: int = 1) -> Lanes:
    """The fastest lanes.

    Args:
        make: builds lanes of a width, nothing compiled.
        most: there are no more trials than this to fill them.
        segments: that all trials together will run, roughly.
        multiple: widths must be multiples of this (replicates, devices).
    """
    best = make(first_width(most, multiple))
    known = _remembered(best, most, multiple)
    if known is not None:
        return best if known == best.width else _instead(best, make, known)
    while True:
        try:
            compiling, seconds = _measured(best)
            break
        except (RuntimeError, MemoryError) as e:
            if not out_of_memory(e) or best.width == multiple:
                raise
            best = _instead(best, make, _rounded(best.width // 2, multiple))
    narrowest, rate = best, best.width / seconds
    while best.width * 4 <= most and segments / rate > SHORT * compiling:
        wider = make(_rounded(best.width * 4, multiple))
        try:
            compiling, seconds = _measured(wider)
        except (RuntimeError, MemoryError) as e:
            if not out_of_memory(e):
                raise
            wider.close()
            break
        if wider.width / seconds < GROWTH * rate:
            wider.close()
            break
        best.close()
        best, rate = wider, wider.width / seconds
    if best is narrowest and best.width > 1 and multiple == 1 and segments / rate > SHORT * compiling:
        single = make(1)
        compiling, seconds = _measured(single)
        best, slower = (single, best) if 1 / seconds > rate else (best, single)
        slower.close()
    _remember(best, most, multiple)
    return best


def priced(make: Callable[[int], Lanes]) -> tuple[float, float]:
    """Seconds of a step of one trial and seconds to compile, at the width where measuring starts; remembered in the file."""
    lanes = make(first_width(MANY))
    key = "price " + _key(lanes, 0, 1)
    known = _choices().get(key)
    if isinstance(known, list) and len(known) == 2 and all(isinstance(x, float) and x > 0 for x in known):
        lanes.close()
        return known[0], known[1]
    while True:
        try:
            compiling, seconds = _measured(lanes)
            break
        except (RuntimeError, MemoryError) as e:
            if not out_of_memory(e) or lanes.width == 1:
                raise
            lanes = _instead(lanes, make, lanes.width // 2)
    lanes.close()
    step = seconds / (lanes.segment * lanes.width)
    _keep(key, [step, compiling])
    return step, compiling


def _instead(lanes: Lanes, make: Callable[[int], Lanes], width: int) -> Lanes:
    """Lanes of another width."""
    lanes.close()
    return make(width)


def _measured(lanes: Lanes) -> tuple[float, float]:
    """Seconds of compiling, and of a segment (the faster of two)."""
    begun = time.perf_counter()
    slots = range(lanes.width)
    example = {name: np.repeat(x, lanes.width) for name, x in lanes.example.items()}
    state = lanes.refill(lanes.init(), slots, slots, example, lanes.segment)
    state, metrics = lanes.run(state)
    jax.block_until_ready(metrics)
    first = time.perf_counter() - begun
    times = []
    for _ in range(2):
        begun = time.perf_counter()
        state, metrics = lanes.run(state._replace(until=state.until + lanes.segment))
        jax.block_until_ready(metrics)
        times.append(time.perf_counter() - begun)
    return max(first - min(times), 1e-3), min(times)


def first_width(most: int, multiple: int = 1) -> int:
    """The width that is measured first."""
    return _rounded(min(8 if jax.default_backend() == "cpu" else 64, most), multiple)


def most_lanes() -> int:
    """How many trials train side by side where several programs share the device: more would not fill programs better."""
    return 64 if jax.default_backend() == "cpu" else 512


def _rounded(width: int, multiple: int) -> int:
    return max(multiple, width // multiple * multiple)


def _key(lanes: Lanes, most: int, multiple: int) -> str:
    device = jax.devices()[0].device_kind
    facts = (jax.__version__, device, os.cpu_count(), str(lanes.shapes), lanes.segment, lanes.ragged, min(most, 4096), multiple)
    return f"{zlib.crc32(repr(facts).encode()):08x}"


def _file() -> Path:
    return cache_folder() / "lanes.json"


def _choices() -> dict[str, Any]:
    """What was remembered; nothing where the file is missing or damaged."""
    try:
        choices = json.loads(_file().read_text())
    except (OSError, ValueError):
        return {}
    return choices if isinstance(choices, dict) else {}


def _remembered(lanes: Lanes, most: int, multiple: int) -> int | None:
    width = _choices().get(_key(lanes, most, multiple))
    return width if isinstance(width, int) and width >= 1 and width % multiple == 0 else None


def _remember(lanes: Lanes, most: int, multiple: int) -> None:
    _keep(_key(lanes, most, multiple), lanes.width)


def _keep(key: str, value: Any) -> None:
    """Adds an entry to the file, or changes it."""
    path = _file()
    fresh = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(json.dumps(_choices() | {key: value}))
        fresh.replace(path)
    except OSError:  # a cache that cannot be written is no reason to fail
        return
