"""The laws of lanes: what a trial computes depends on its seed, number, hyperparameters and the number of lanes, and on nothing else.

The slow twin is a Python loop over `step` with the keys and batches that the lanes document.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import bowl, classifier, rates, same

from jaxhp import Lanes
from jaxhp.train._bank import Bank
from jaxhp.train._lanes import LaneState
from jaxhp.train._segment import EVALUATE, INIT, ORDER, STEP

TRAINABLES = {"bowl": bowl(), "classifier": classifier()}  # both see all of their data in 5 steps
EXAMPLE = {"rate": np.float32(0.1)}
SEED = 2**40 + 3


@cache
def built(name: str, width: int = 4, segment: int = 5, ragged: bool = False) -> Lanes:
    return Lanes(TRAINABLES[name], EXAMPLE, width, segment=segment, seed=SEED, ragged=ragged)


def metrics_of(lanes: Lanes, state: LaneState, slot: int, segments: int) -> tuple[LaneState, list[dict[str, Any]]]:
    seen = []
    for _ in range(segments):
        state, metrics = lanes.run(state)
        seen.append({name: np.asarray(x)[slot] for name, x in metrics.items()})
    return state, seen


def alone(lanes: Lanes, number: int, rate: float, steps: int, replicate: int = 0) -> tuple[Any, list[dict[str, Any]]]:
    """A trial in the first slot, all others idle: its model and its metrics."""
    state = lanes.refill(lanes.init(), [0], [number], rates([rate]), steps, replicates=[replicate])
    state, seen = metrics_of(lanes, state, 0, -(-steps // lanes.segment))
    return lanes.gather(state, [0]), seen


@cache
def twin(lanes: Lanes, number: int, rate: float, steps: int, replicate: int = 0) -> tuple[Any, dict[str, Any], list[dict[str, Any]]]:
    """One trial, one step after the other: its state, its evaluation, and the metrics of its steps."""
    trainable = lanes.trainable
    seed = jax.random.fold_in(jax.random.key(SEED & 0xFFFFFFFF), SEED >> 32)
    base = jax.random.fold_in(jax.random.fold_in(seed, number), replicate)
    h = {"rate": jnp.float32(rate)}
    data = jax.tree.map(jnp.asarray, dict(trainable.data))

    @jax.jit
    def step(state: Any, t: Any, j: Any) -> Any:
        batch = trainable.at(data["train"], jax.random.fold_in(seed, ORDER), j)
        return trainable.step(state, h, batch, jax.random.fold_in(jax.random.fold_in(base, STEP), t), t)

    state, seen = jax.jit(trainable.init)(jax.random.fold_in(base, INIT), h), []
    for t in range(steps):
        j = t % lanes.segment if lanes.segment >= trainable.epoch else t  # such segments all have the same batches
        state, metrics = step(state, t, j)
        seen.append(metrics)
    return state, jax.jit(trainable.evaluate)(state, h, data["validation"], jax.random.fold_in(base, EVALUATE)), seen


def close(a: Any, b: Any, tolerance: float = 1e-5) -> None:
    def compared(x: Any, y: Any) -> None:
        x, y = (jax.random.key_data(z) if jnp.issubdtype(z.dtype, jax.dtypes.prng_key) else z for z in (jnp.asarray(x), jnp.asarray(y)))
        np.testing.assert_allclose(np.asarray(x, np.float64), np.asarray(y, np.float64), atol=tolerance, rtol=tolerance)

    jax.tree.map(compared, a, b)


def row(model: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[0], model)


# one gather for all lanes, and one for each
@pytest.mark.parametrize(("name", "segment"), [("classifier", 5), ("classifier", 2), ("bowl", 2)])
def test_a_trial_is_the_same_in_any_slot_beside_any_neighbours_whenever_it_starts(name: str, segment: int) -> None:
    lanes = built(name, segment=segment)
    steps = 4 * segment
    model, seen = alone(lanes, 7, 0.03, steps)
    neighbours = [0.5, float("nan"), 1e30]
    for slot in (1, 3):
        others = [s for s in range(4) if s != slot]
        state = lanes.refill(lanes.init(), [*others, slot], [1, 2, 3, 7], rates([*neighbours, 0.03]), steps)
        state, beside = metrics_of(lanes, state, slot, 4)
        assert same(lanes.gather(state, [slot]), model) and same(beside, seen)
        assert np.isnan(jax.tree.leaves(lanes.gather(state, [others[1]]))[-1]).all()  # that one did diverge
    state = lanes.refill(lanes.init(), [0, 1], [1, 2], rates(neighbours[:2]), 8 * segment)
    state, _ = lanes.run(state)
    state = lanes.refill(state, [2], [7], rates([0.03]), steps)
    state, later = metrics_of(lanes, state, 2, 2)
    state = lanes.refill(state, [0, 3], [8, 9], rates([0.1, 0.2]), steps)
    state, rest = metrics_of(lanes, state, 2, 2)
    assert same(lanes.gather(state, [2]), model) and same(later + rest, seen)


@pytest.mark.parametrize("where", ["host", "device"])
@pytest.mark.parametrize("name", TRAINABLES)
def test_a_trial_that_waited_in_the_bank_goes_on_as_if_it_had_not(name: str, where: str) -> None:
    lanes = built(name, segment=2)
    bank = Bank(lanes, where)
    model, seen = alone(lanes, 7, 0.03, 8)
    state = lanes.refill(lanes.init(), [1, 2], [7, 8], rates([0.03, 0.2]), 8)
    state, first = metrics_of(lanes, state, 1, 2)
    bank.put(state, [2, 1], [(8, 0), (7, 0)])
    state = lanes.refill(state, [1, 0], [5, 6], rates([0.3, float("inf")]), 4)
    state, _ = lanes.run(state)
    state = lanes.refill(state, [3, 0], [7, 8], rates([0.03, 0.2]), [8, 6], t=[4, 4], model=bank.take([(7, 0), (8, 0)]))
    state, second = metrics_of(lanes, state, 3, 2)
    assert same(lanes.gather(state, [3]), model) and same(first + second, seen)


def test_models_that_were_gathered_are_put_back_with_more_rows_than_slots() -> None:
    lanes = built("bowl", segment=2)
    model, _ = alone(lanes, 7, 0.03, 4)
    state = lanes.refill(lanes.init(), [0, 1], [7, 8], rates([0.03, 0.1]), 4)
    state, _ = lanes.run(state)
    rows = lanes.gather(state, [0, 1, 1, 1])
    state = lanes.refill(lanes.init(), [2], [7], rates([0.03]), 4, t=[2], model=rows)
    state, _ = lanes.run(state)
    assert same(lanes.gather(state, [2]), model)


@pytest.mark.parametrize(
    ("name", "width", "segment"), [("bowl", 4, 2), ("classifier", 1, 5), ("classifier", 4, 5), ("classifier", 4, 2), ("classifier", 8, 5)]
)
def test_lanes_agree_with_a_plain_loop_over_steps(name: str, width: int, segment: int) -> None:
    lanes, rate = built(name, width, segment), {"bowl": 0.05, "classifier": 0.003}[name]
    model, seen = alone(lanes, 7, rate, 200, replicate=2)
    state, evaluated, metrics = twin(built(name, 4, segment), 7, rate, 200, replicate=2)
    close(lanes.unpacked(row(model)), state)
    close({name: seen[-1][name] for name in evaluated}, evaluated)
    last = metrics[-segment:]
    close({f"train_{name}": seen[-1][f"train_{name}"] for name in last[0]}, {f"train_{k}": np.mean([m[k] for m in last]) for k in last[0]})


@pytest.mark.parametrize("width", [1, 4])
def test_a_ragged_trial_stops_within_a_segment_and_stays_as_it_is(width: int) -> None:
    lanes = built("bowl", width, 5, ragged=True)
    state = lanes.refill(lanes.init(), [0], [7], rates([0.05]), 7)
    state, _ = lanes.run(state)
    state, metrics = lanes.run(state)
    expected, evaluated, _ = twin(lanes, 7, 0.05, 7)
    stopped = lanes.gather(state, [0])
    close(lanes.unpacked(row(stopped)), expected)
    assert state.t[0] == 7 and metrics["seen"][0] == 7
    assert float(metrics["train_step"][0]) == 5.5  # the mean over steps 5 and 6 alone
    close(metrics["loss"][0], evaluated["loss"])
    state, again = lanes.run(state)
    assert same(lanes.gather(state, [0]), stopped) and state.t[0] == 7
    assert float(again["train_step"][0]) == 0 and same(again["loss"], metrics["loss"])
    state = lanes.refill(state, [0], [7], rates([0.05]), 12, t=[7], model=stopped)
    state, _ = lanes.run(state)
    assert state.t[0] == 12 and lanes.gather(state, [0])["seen"] == [12]


def test_a_gather_that_lanes_share_takes_the_batches_that_each_would_take() -> None:
    own = Lanes(TRAINABLES["classifier"]._replace(epoch=100), EXAMPLE, 4, segment=5, seed=SEED)
    model, seen = alone(own, 7, 0.03, 5)  # the first segment, in which both count steps alike
    together, also = alone(built("classifier"), 7, 0.03, 5)
    close(model, together, 1e-6)
    close(seen, also, 1e-6)


def test_metrics_of_training_are_means_over_the_segments_steps() -> None:
    for lanes in (built("bowl", segment=2), built("bowl", 1, 5, ragged=True)):
        _, seen = alone(lanes, 7, 0.05, 3 * lanes.segment)
        ends = lanes.segment * np.arange(1, 4)
        assert [float(m["train_step"]) for m in seen] == (ends - (lanes.segment + 1) / 2).tolist()
        assert [int(m["seen"]) for m in seen] == ends.tolist()
        assert set(seen[0]) == {"loss", "draw", "seen", "train_loss", "train_step"}
        assert all(x.dtype == np.float32 for x in seen[0].values())


def test_numbers_replicates_and_seeds_name_the_draws() -> None:
    lanes = built("bowl", segment=2)
    state = lanes.refill(lanes.init(), range(4), [7, 8, 7, 2**32 + 8], rates([0.1] * 4), 2, replicates=[0, 0, 1, 0])
    started = lanes.gather(state, range(4))["w"]
    state, metrics = lanes.run(state)
    assert len({w.tobytes() for w in started[:3]}) == 3 and len(set(np.asarray(metrics["draw"])[:3].tolist())) == 3
    other = Lanes(TRAINABLES["bowl"], EXAMPLE, 4, segment=2, seed=SEED - 2**40)  # the same low 32 bits
    assert not np.isin(other.gather(other.refill(other.init(), [0], [7], rates([0.1]), 2), [0])["w"], started).any()


def test_one_program_serves_every_configuration(compilations: list[float]) -> None:
    lanes = Lanes(bowl(), EXAMPLE, 3, segment=5)
    bank = Bank(lanes, "device")
    state = lanes.refill(lanes.init(), [0, 1, 2], [0, 1, 2], rates([0.1, 0.2, 0.3]), 5)
    state, _ = lanes.run(state)
    bank.put(state, [0, 1, 2], [(0, 0), (1, 0), (2, 0)])
    state = lanes.refill(state, [1], [1], rates([0.2]), 10, t=[5], model=bank.take([(1, 0)]))
    compilations.clear()
    for i in range(2, 6):
        state = lanes.refill(state, [0, 2], [2 * i, 2 * i + 1], rates([0.1 * i, 0.01]), 5)
        state, _ = lanes.run(state)
        lanes.gather(state, [0])
        bank.put(state, [0], [(2 * i, 0)])
        state = lanes.refill(state, [1], [2 * i], rates([0.1]), 10, t=[5], model=bank.take([(2 * i, 0)]))
    assert lanes.compiled == 1 and not compilations


def test_refill_leaves_the_state_that_it_was_given_alone() -> None:
    lanes = built("bowl", segment=2)
    before = lanes.refill(lanes.init(), [0], [7], rates([0.1]), 4)
    kept = (before.number.copy(), before.until.copy(), before.hparams["rate"].copy(), before.t.copy())
    lanes.refill(before, [0, 1], [3, 4], rates([0.5, 0.6]), 10)
    assert same(kept, (before.number, before.until, before.hparams["rate"], before.t))


def test_keys_of_every_kind_may_be_part_of_the_state() -> None:
    plain = bowl()
    kinds = ("rbg", "unsafe_rbg", "threefry2x32")

    def init(key: jax.Array, h: Any) -> Any:
        return plain.init(key, h) | {"key": {impl: jax.random.key(3, impl=impl) for impl in kinds}}

    def step(s: Any, h: Any, b: Any, k: Any, t: Any) -> Any:
        return s | {"key": {impl: jax.random.fold_in(key, t) for impl, key in s["key"].items()}}, {}

    lanes = Lanes(bowl(init=init, step=step), EXAMPLE, 2, segment=2)
    model, _ = alone(lanes, 7, 0.1, 4)
    for impl in kinds:
        key = jax.random.key(3, impl=impl)
        for t in range(4):
            key = jax.random.fold_in(key, t)
        assert same(lanes.unpacked(row(model))["key"][impl], key)


def test_a_state_may_be_a_single_array_and_a_step_without_metrics() -> None:
    trainable = bowl(
        init=lambda key, h: jnp.zeros(()),
        step=lambda w, h, b, k, t: (w + h["rate"], {}),
        evaluate=lambda w, h, d, k: {"loss": w},
    )
    lanes = Lanes(trainable, EXAMPLE, 2, segment=4)
    model, seen = alone(lanes, 0, 0.5, 8)
    assert model.tolist() == [4.0] and [float(m["loss"]) for m in seen] == [2.0, 4.0]
