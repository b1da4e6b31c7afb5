"""Lanes over a mesh of eight devices, which the host pretends to have: the results of one device, and no talk between devices."""

from __future__ import annotations

from typing import Any

import pytest
from elsewhere import observed_with_devices

import jaxhp


def observed() -> dict[str, Any]:
    """What the process with eight devices sees."""
    import jax
    import numpy as np
    from jax.sharding import AxisType, Mesh
    from tiny import DATA, RATES, bowl, classifier, rates, results

    from jaxhp import Lanes, Stream, Study, TrainableError
    from jaxhp.schedulers import asha
    from jaxhp.train._bank import Bank

    seen: dict[str, Any] = {"devices": jax.device_count()}
    mesh = Mesh(np.array(jax.devices()), ("lanes",))
    example = {"rate": np.float32(0.1)}
    trainable = classifier()

    def trained(mesh: Any, width: int = 16, source: Any = trainable) -> Any:
        lanes = Lanes(source, example, width, segment=5, mesh=mesh)
        state = lanes.refill(lanes.init(), range(width), range(width), rates(np.geomspace(0.001, 0.1, width)), 10)
        state, _ = lanes.run(state)
        state = lanes.refill(state, [3, 9], [20, 21], rates([0.01, 0.02]), 10)
        state, metrics = lanes.run(state)
        return lanes, state, {name: np.asarray(x) for name, x in metrics.items()}

    lanes, state, metrics = trained(mesh)
    one, single, alone = trained(None)

    def apart(a: Any, b: Any) -> float:
        return max(float(np.abs(np.asarray(x) - np.asarray(y)).max()) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))

    seen["difference"] = apart(metrics, alone)
    seen["weights"] = apart(lanes.gather(state, range(16)), one.gather(single, range(16)))
    seen["sharding"] = sorted({len(leaf.sharding.device_set) for leaf in jax.tree.leaves(state.model)})
    seen["shards"] = sorted({leaf.addressable_shards[0].data.shape[0] for leaf in jax.tree.leaves(state.model)})
    program = next(iter(lanes._programs.values())).result().as_text()
    talk = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter", "collective-broadcast")
    seen["collectives"] = [name for name in talk if name in program]

    explicit = jax.make_mesh((8,), ("lanes",), axis_types=(AxisType.Explicit,))
    seen["explicit"] = apart(trained(explicit)[2], metrics)

    x, y = DATA["train"]
    stream = classifier(data=DATA | {"train": Stream(lambda a, b: (x[np.arange(a, b) % 40], y[np.arange(a, b) % 40]), batch=8)})
    seen["stream"] = apart(trained(mesh, source=stream)[2], trained(None, source=stream)[2])

    bank = Bank(lanes, "device")
    bank.put(state, [2, 15], [(2, 0), (15, 0)])
    rows = bank.take([(15, 0), (2, 0)])
    back = lanes.refill(lanes.init(), [0, 7], [15, 2], rates([0.1, 0.01]), 20, t=[10, 10], model=rows)
    seen["bank"] = apart(lanes.gather(back, [0, 7]), lanes.gather(state, [15, 2]))
    kept = lanes.gather(state, [14, 1, 5])
    swapped = lanes.refill(state, [1, 14], [30, 31], rates([0.1, 0.01]), 20, t=[10, 10], sources=[14, 1])  # from device to device
    seen["copied"] = apart(lanes.gather(swapped, [1, 14, 5]), kept)

    def study(**arguments: Any) -> Study:
        made = Study(RATES, metric="loss", sampler=jaxhp.sobol(), seed=1)
        return made.train(bowl(), trials=20, steps=18, scheduler=asha(min_steps=2), **arguments)

    over, plain = study(mesh=mesh, lanes=16, seeds=2), study(lanes=16, seeds=2)
    seen["study"] = [(a[0], a[1]) == (b[0], b[1]) for a, b in zip(results(over), results(plain), strict=True)].count(False)
    seen["best"] = abs(over.best.value - plain.best.value)
    seen["best_state"] = apart(over.best_state["w"], plain.best_state["w"])
    seen["auto"] = study(mesh=mesh).lanes.width
    halves = [Mesh(np.array(jax.devices()[i : i + 4]), ("lanes",)) for i in (0, 4)]  # one Lanes per sub-mesh
    seen["halves"] = [apart(trained(half, 16)[2], alone) for half in halves]
    seen["refused"] = []
    for arguments in ({"width": 12, "mesh": mesh}, {"width": 16, "mesh": Mesh(np.array(jax.devices()).reshape(4, 2), ("a", "b"))}):
        try:
            Lanes(trainable, example, segment=5, **arguments)  # type: ignore[arg-type]
        except TrainableError as e:
            seen["refused"].append(str(e))
    return seen


@pytest.fixture(scope="module")
def seen() -> Any:
    return observed_with_devices(__file__, 8)


def test_lanes_over_eight_devices_give_the_results_of_one(seen: Any) -> None:
    assert seen["devices"] == 8
    assert seen["difference"] < 1e-6 and seen["weights"] < 1e-6 and seen["explicit"] < 1e-6
    assert max(seen["halves"]) < 1e-6


def test_each_device_has_its_lanes_and_a_segment_has_no_collectives(seen: Any) -> None:
    assert seen["sharding"] == [8] and seen["shards"] == [2]
    assert seen["collectives"] == []


def test_streams_and_the_bank_on_the_devices_work_over_a_mesh(seen: Any) -> None:
    assert seen["stream"] < 1e-6 and seen["bank"] == 0


def test_lanes_copy_one_another_from_device_to_device(seen: Any) -> None:
    assert seen["copied"] == 0


def test_a_study_over_a_mesh_is_that_of_one_device(seen: Any) -> None:
    assert seen["study"] == 0 and seen["best"] < 1e-6 and seen["best_state"] < 1e-5
    assert seen["auto"] % 8 == 0


def test_a_mesh_that_does_not_fit_the_lanes_is_refused(seen: Any) -> None:
    assert "mesh: 12 lanes do not divide over the axis 'lanes' of a mesh of shape {'lanes': 8}" in seen["refused"][0]
    assert "mesh: its axes 'b' are for models that need several devices" in seen["refused"][1]
