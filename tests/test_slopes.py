"""Gradients told with results: what is refused, what the log keeps, what samplers are told."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jaxhp
from jaxhp import Categorical, Float, Int, Space, SpaceError, Study, StudyError
from jaxhp.storage import MemoryLog


def space() -> Space:
    return Space(
        {
            "rate": Float(0.01, 1.0, log=True),
            "shift": Float(-1.0, 3.0),
            "grid": Float(0.0, 1.0, step=0.25),
            "width": Int(1, 8),
            "optimizer": Categorical(["sgd", "adam"]),
            "momentum": Float(0.0, 0.5, when={"optimizer": "sgd"}),
        }
    )


POINT = {"rate": 0.1, "shift": 0.0, "grid": 0.25, "width": 3, "optimizer": "sgd", "momentum": 0.2}


def loss(x: dict[str, Any]) -> float:
    return float(math.sin(3 * x["shift"]) * x["rate"] ** 2 + x["momentum"] ** 3)


def slopes_of_loss(x: dict[str, Any]) -> dict[str, float]:
    return {
        "shift": 3 * math.cos(3 * x["shift"]) * x["rate"] ** 2,
        "rate": 2 * x["rate"] * math.sin(3 * x["shift"]),
        "momentum": 3 * x["momentum"] ** 2,
    }


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_rows_hold_the_derivative_of_the_minimised_value_along_u(direction: Any) -> None:
    study = Study(space(), direction=direction)
    x = POINT | {"shift": 0.4}
    study.add(x, loss(x), gradient=slopes_of_loss(x))
    u, sign = study.trials.u[0], 1.0 if direction == "minimize" else -1.0
    expected = np.full(6, math.nan)
    for j in (0, 1, 5):
        ends = [sign * loss(study.space.params(u + h * np.eye(6)[j])) for h in (1e-6, -1e-6)]
        expected[j] = (ends[0] - ends[1]) / 2e-6
    assert np.allclose(study.trials.gradient[0], expected, rtol=1e-6, equal_nan=True)
    assert np.allclose(study.space.stretch(u[None])[0, [0, 1, 5]], [x["rate"] * math.log(100), 4.0, 0.5])


def test_a_gradient_need_not_hold_every_parameter() -> None:
    study = Study(space())
    trial = study.add(POINT, 1.0, gradient={"shift": 2.0})
    assert trial.gradient == {"shift": 2.0}
    assert np.array_equal(study.trials.gradient[0], [math.nan, 8.0, math.nan, math.nan, math.nan, math.nan], equal_nan=True)
    assert study.add(POINT | {"width": 4}, 1.0).gradient == {}
    assert np.isnan(study.trials.gradient[1]).all()


@pytest.mark.parametrize("storage", ["memory", "sqlite"])
def test_gradients_come_back_from_the_log(storage: str, tmp_path: Path) -> None:
    log = MemoryLog() if storage == "memory" else f"sqlite:///{tmp_path}/s.db"
    study = Study(space(), storage=log)
    told = {"shift": 1.0 / 3.0, "rate": math.inf, "momentum": math.nan}
    study.add(POINT, 1.0, gradient=told)
    again = Study.open(log)
    assert again.trials.gradient.tobytes() == study.trials.gradient.tobytes()
    found = again.finished[0].gradient
    assert (found["shift"], found["rate"]) == (1.0 / 3.0, math.inf)
    assert math.isnan(found["momentum"])


def test_numbers_of_numpy_and_jax_are_slopes() -> None:
    import jax.numpy as jnp

    study = Study(space())
    assert study.add(POINT, 1.0, gradient={"shift": np.float32(0.5), "rate": jnp.float32(2.0)}).gradient == {"shift": 0.5, "rate": 2.0}


@pytest.mark.parametrize(
    ("gradient", "error", "message"),
    [
        ({"shfit": 1.0}, SpaceError, "did you mean 'shift'"),
        ({"width": 1.0}, StudyError, "'width' is Int.*discrete and has no slope; leave it out"),
        ({"grid": 1.0}, StudyError, "'grid' is Float.*discrete"),
        ({"optimizer": 1.0}, StudyError, "'optimizer' is .*discrete"),
        ({"momentum": 1.0}, StudyError, "'momentum' is inactive in this trial"),
        ({"shift": "steep"}, StudyError, "the slope of 'shift': expected a number, got 'steep'"),
        ({"shift": np.ones(2)}, StudyError, "the slope of 'shift': expected a number"),
        (0.5, StudyError, r"expected \{parameter: slope\}, such as \{'rate': 0.1\}, got 0.5"),
    ],
)
def test_what_is_no_gradient_is_refused_and_the_trial_can_still_be_told(gradient: Any, error: Any, message: str) -> None:
    study = Study(space())
    study.enqueue({name: x for name, x in POINT.items() if name != "momentum"} | {"optimizer": "adam"})
    trial = study.ask()
    with pytest.raises(error, match=message):
        study.tell(trial, 1.0, gradient=gradient)
    assert study.tell(trial, 1.0, gradient={"shift": 0.0}).gradient == {"shift": 0.0}
    with pytest.raises(error):
        study.add(POINT | {"optimizer": "sgd", "momentum": 0.1}, 1.0, gradient=gradient if gradient != {"momentum": 1.0} else 3)  # type: ignore[arg-type]
    assert len(study.finished) == 1  # a refused result claims no number


def test_a_gradient_of_several_objectives_is_refused() -> None:
    study = Study(space(), directions={"a": "minimize", "b": "minimize"})
    with pytest.raises(StudyError, match="a gradient is of one objective, and this study has several"):
        study.add(POINT, {"a": 1.0, "b": 2.0}, gradient={"shift": 1.0})


def test_an_objective_may_return_its_slopes() -> None:
    study = Study(space(), sampler=jaxhp.sobol())
    study.optimize(lambda trial: (trial["shift"] ** 2, {"shift": 2 * trial["shift"]}), trials=3)
    assert [t.gradient for t in study.finished] == [{"shift": 2 * t["shift"]} for t in study.finished]
    assert study.confirm(lambda trial: (trial["shift"] ** 2, {}), top=1, repeats=2)[0].optimism == 0.0
    study.optimize(lambda trial: (1.0, {"width": 1.0}), trials=4, max_failed=1.0)
    assert "discrete" in str(study.finished[3].error)


def test_an_extended_space_keeps_gradients_in_its_own_units() -> None:
    small = Space({"x": Float(0.0, 1.0)})
    study = Study(small)
    study.add({"x": 0.5}, 1.0, gradient={"x": 3.0})
    study.extend(Space({"x": Float(-1.0, 3.0), "y": Float(0.0, 1.0, default=0.5)}))
    assert np.array_equal(study.trials.gradient, [[12.0, math.nan]], equal_nan=True)


def test_to_pandas_has_columns_for_the_slopes_that_were_told() -> None:
    study = Study(space())
    study.add(POINT, 1.0)
    assert not [name for name in study.to_pandas() if name.startswith("gradient")]
    study.add(POINT, 1.0, gradient={"shift": 2.0, "rate": 1.0})
    frame = study.to_pandas()
    assert [name for name in frame if name.startswith("gradient")] == ["gradient.rate", "gradient.shift"]
    assert frame["gradient.shift"].tolist()[1] == 2.0
    assert math.isnan(frame["gradient.shift"][0])
