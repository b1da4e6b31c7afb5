"""Training data that is read while the device works: the batches of a step are the same whenever and beside whomever it runs."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from tiny import DATA, RATES, bowl, classifier, rates, results, same

import jaxhp
from jaxhp import Lanes, Stream, Study, TrainableError
from jaxhp.schedulers import asha
from jaxhp.train import check
from jaxhp.train._stream import Prefetch

X, Y = DATA["train"]
EXAMPLE = {"rate": np.float32(0.1)}


def read(start: int, stop: int) -> Any:
    rows = np.arange(start, stop) % len(X)
    return X[rows], Y[rows]


STREAM = Stream(read, batch=8)
SOURCE = classifier(data=DATA | {"train": STREAM})


def counting(**changes: Any) -> Any:
    """A state that is the sum of the examples it saw."""
    plain = bowl(
        init=lambda key, h: jnp.zeros(()),
        step=lambda w, h, b, k, t: (w + b.sum(), {"first": b[0]}),
        evaluate=lambda w, h, d, k: {"loss": w},
        data={"train": Stream(lambda a, b: np.arange(a, b, dtype=np.float32), batch=2), "validation": np.zeros(1, np.float32)},
    )
    return plain._replace(**changes)


def test_batches_are_cut_from_what_was_read() -> None:
    x, y = STREAM.batches(3, 5)
    assert x.shape == (2, 8, 6) and y.shape == (2, 8)
    assert same((x.reshape(16, 6), y.ravel()), read(24, 40))
    assert [tuple(s.shape) for s in STREAM.shapes] == [(8, 6), (8,)]


def test_each_lane_sees_the_examples_of_its_own_steps() -> None:
    lanes = Lanes(counting(), EXAMPLE, 4, segment=3)
    state = lanes.refill(lanes.init(), [0], [0], rates([0.1]), 12)
    state, first = lanes.run(state)
    state = lanes.refill(state, [2], [1], rates([0.1]), 9)
    state, second = lanes.run(state)
    state = lanes.refill(state, [1], [2], rates([0.1]), 3)
    state, third = lanes.run(state)
    done = lambda t: float(np.arange(2 * t).sum())  # noqa: E731
    assert float(first["loss"][0]) == done(3)
    assert np.asarray(second["loss"])[[0, 2]].tolist() == [done(6), done(3)]
    assert np.asarray(third["loss"])[[0, 1, 2]].tolist() == [done(9), done(3), done(6)]
    assert np.asarray(third["train_first"])[[0, 1, 2]].tolist() == [14, 2, 8]  # mean of the first examples of three steps
    assert lanes.compiled <= 3  # 1, 2 and 4 chunks at once
    lanes.close()


def test_a_trial_is_the_same_beside_neighbours_of_any_age() -> None:
    """One, two and four chunks at once are different programs, which must round alike."""
    lanes = Lanes(SOURCE, EXAMPLE, 4, segment=3)
    models = []
    for older in range(3):
        state = lanes.init()
        for i in range(older):
            state = lanes.refill(state, [i], [i], rates([0.3]), 30)
            state, _ = lanes.run(state)
        state = lanes.refill(state, [3], [7], rates([0.03]), 12)
        for _ in range(4):
            state, _ = lanes.run(state)
        models.append(lanes.gather(state, [3]))
    assert lanes.compiled == 3 and same(models[0], models[1]) and same(models[0], models[2])
    lanes.close()


def test_a_stream_trains_as_the_same_batches_in_memory_do() -> None:
    lanes = Lanes(SOURCE, EXAMPLE, 2, segment=5)
    memory = SOURCE._replace(data=DATA, rows=lambda key, t: (t * 8 + jnp.arange(8)) % len(X), epoch=5)
    other = Lanes(memory, EXAMPLE, 2, segment=5)
    models = []
    for made in (lanes, other):
        state = made.refill(made.init(), [0, 1], [3, 4], rates([0.01, 0.1]), 10)
        for _ in range(2):
            state, metrics = made.run(state)
        models.append((made.gather(state, [0, 1]), {name: np.asarray(x) for name, x in metrics.items()}))
    for a, b in zip(*(list(m[0]["params"].values()) + list(m[1].values()) for m in models), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    lanes.close()


def test_asha_over_a_memory_mapped_file_is_reproducible(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")

    def chunk(start: int, stop: int) -> Any:
        rows = np.arange(start, stop) % len(mapped)
        return np.asarray(mapped[rows]), Y[rows]

    def study(lanes: int) -> Study:
        trainable = classifier(data=DATA | {"train": Stream(chunk, batch=8)})
        made = Study(RATES, sampler=jaxhp.random_search(), metric="loss", seed=1)
        return made.train(trainable, trials=8, steps=18, lanes=lanes, scheduler=asha(min_steps=2), checkpoint=None)

    one = study(3)
    assert results(one) == results(study(3)) and len(one.finished) == 8
    best = one.best_state
    assert one._training is not None
    one._training.stage.bank.clear()
    assert same(one.best_state, best)


def test_a_stream_that_ends_is_an_error_that_says_what_to_do(compilations: list[float]) -> None:
    short = Stream(lambda start, stop: (X[start:stop], Y[start:stop]), batch=8)
    study = Study(RATES, sampler=jaxhp.random_search(), metric="loss", seed=1)
    trainable = classifier(data=DATA | {"train": short})
    with pytest.raises(
        TrainableError, match=r"stream.read\(0, 48\) returned 40 examples\[0\] instead of 48.*wrap around with start % length"
    ):
        study.train(trainable, trials=2, steps=12, evaluate_every=6, lanes=2)
    with pytest.raises(TrainableError, match=r"stream.read\(0, 8\) returned 0 examples\[0\]"):
        check(classifier(data=DATA | {"train": Stream(lambda a, b: (X[:0], Y[:0]), batch=8)}), EXAMPLE)


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (Stream(lambda a, b: (X[a:b], Y[a : b - 1]), batch=8), r"returned 7 examples\[1\] instead of 8"),
        (Stream(lambda a, b: (X[a:b], 3.0), batch=8), r"stream.read\(0, 8\) returned leaf \[1\] as float, not an array"),
        (Stream(lambda a, b: [], batch=8), r"stream.read\(0, 8\) returned nothing"),
        (Stream(None, batch=8), r"stream.read: expected a function \(start, stop\), got None"),  # type: ignore[arg-type]
        (Stream(read, batch=0), "stream.batch: expected a positive integer, got 0"),
        (Stream(read, batch=8.0), "stream.batch: expected a positive integer, got 8.0"),  # type: ignore[arg-type]
        (Stream(lambda a, b: (X[a:b].astype(str), Y[a:b]), batch=8), r"stream.read\(0, 8\) returned leaf \[0\] as an array of <U"),
    ],
)
def test_a_broken_stream_is_refused(stream: Stream, message: str) -> None:
    with pytest.raises(TrainableError, match=message):
        check(SOURCE._replace(data=DATA | {"train": stream}), EXAMPLE)


def test_an_error_while_reading_reaches_the_user() -> None:
    def failing(start: int, stop: int) -> Any:
        if start > 0:
            raise OSError("the disk is gone")
        return np.zeros(stop - start, np.float32)

    lanes = Lanes(counting(data={"train": Stream(failing, 2), "validation": np.zeros(1, np.float32)}), EXAMPLE, 1, segment=2)
    state = lanes.refill(lanes.init(), [0], [0], rates([0.1]), 4)
    state, _ = lanes.run(state)
    with pytest.raises(OSError, match="the disk is gone"):
        lanes.run(state)
    lanes.close()


def test_chunks_are_read_ahead_in_a_thread_once_each_and_forgotten() -> None:
    reads: list[tuple[int, bool]] = []

    def recorded(start: int, stop: int) -> Any:
        reads.append((start, threading.current_thread() is threading.main_thread()))
        return np.arange(start, stop)

    ahead = Prefetch(Stream(recorded, batch=2), segment=3)
    assert ahead.take([0, 2]).tolist() == [[[0, 1], [2, 3], [4, 5]], [[12, 13], [14, 15], [16, 17]]]
    ahead.ahead({0, 1})
    while len(reads) < 3:
        time.sleep(0.001)
    assert ahead.take([0, 1])[1].tolist() == [[6, 7], [8, 9], [10, 11]]
    assert reads == [(0, False), (12, False), (6, False)]
    ahead.take([2])
    assert reads[-1] == (12, False) and len(reads) == 4 and set(ahead._chunks) == {2}
    ahead.close()
