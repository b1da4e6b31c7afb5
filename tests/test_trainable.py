"""What may be trained: a broken trainable is refused with the function, the leaf or argument, what was seen and the remedy, uncompiled."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.experimental import io_callback
from tiny import DATA, RATES, bowl, classes, classifier, cross_entropy, mlp, mlp_init

import jaxhp
from jaxhp import Categorical, Float, Int, Lanes, Ordinal, Space, Stream, Study, Trainable, TrainableError
from jaxhp.train import check, supervised, traced

RATE = {"rate": np.float32(0.1)}


def refused(trainable: Any, *parts: str, hparams: Any = RATE, metrics: tuple[str, ...] = ()) -> None:
    with pytest.raises(TrainableError) as caught:
        check(trainable, hparams, metrics)
    for part in parts:
        assert part in str(caught.value)


def stepping(change: Any) -> Trainable:
    """The bowl, its next state changed."""
    plain = bowl()

    def step(state: Any, hparams: Any, batch: Any, key: jax.Array, t: jax.Array) -> Any:
        new, metrics = plain.step(state, hparams, batch, key, t)
        return change(new), metrics

    return bowl(step=step)


def test_a_sound_trainable_passes_and_shows_its_shapes(compilations: list[float]) -> None:
    shapes = check(bowl(), RATE, ("loss",))
    assert shapes.state["w"].shape == (3,) and shapes.state["seen"].dtype == jnp.int32
    assert set(shapes.trained) == {"loss", "step"} and set(shapes.evaluated) == {"loss", "draw", "seen"}
    assert shapes.batch.shape == (3,)
    check(classifier(), RATE, ("loss", "accuracy"))
    assert not compilations


def test_the_state_keeps_its_shapes_dtypes_and_structure(compilations: list[float]) -> None:
    refused(stepping(lambda s: s | {"w": s["w"][:2]}), "step turned leaf ['w']", "float32[3]", "float32[2]", "cannot change shapes")
    refused(stepping(lambda s: s | {"w": s["w"].astype(jnp.float16)}), "leaf ['w']", "float16[3]", ".astype(jnp.float32)")
    refused(stepping(lambda s: s | {"seen": s["seen"] * 0.5}), "leaf ['seen']", "from int32[] into float32[]", ".astype(jnp.int32)")
    refused(stepping(lambda s: {k: s[k] for k in ("w", "seen")}), "step changed the structure", "same containers")
    refused(stepping(lambda s: tuple(s.values())), "step changed the structure")
    assert not compilations


def test_a_python_number_in_the_state_is_an_array_from_then_on() -> None:
    plain = bowl()
    check(bowl(init=lambda key, h: plain.init(key, h) | {"seen": 0}), RATE)


def test_a_state_holds_arrays_only() -> None:
    plain = bowl()
    refused(bowl(init=lambda key, h: plain.init(key, h) | {"act": jnp.tanh}), "init", "['act']", "not an array", "functions")
    refused(bowl(init=lambda key, h: plain.init(key, h) | {"name": "adam"}), "init", "['name']", "str", "not an array")


def test_step_returns_state_and_metrics() -> None:
    refused(bowl(step=lambda s, h, b, k, t: s), "step returned dict", "(state, metrics)")
    refused(bowl(step=lambda s, h, b, k, t: (s, s["w"].sum())), "step returned metrics as", "dict of scalars")
    refused(bowl(step=lambda s, h, b, k, t: (s, {"loss": s["w"]})), "step returned metric 'loss' of shape [3]", "mean")


def test_evaluate_returns_scalars_and_the_studys_metric() -> None:
    refused(bowl(evaluate=lambda s, h, d, k: {"loss": s["w"]}), "evaluate returned metric 'loss' of shape [3]", "mean")
    refused(bowl(evaluate=lambda s, h, d, k: s["w"].sum()), "evaluate returned metrics as", "{'loss': loss}")
    refused(bowl(evaluate=lambda s, h, d, k: {"key": k}), "evaluate returned metric 'key' of dtype key", "not a number")
    refused(bowl(), "evaluate returned 'draw', 'loss', 'seen'", "'accuracy'", "Study(metric='draw')", metrics=("accuracy",))
    refused(bowl(evaluate=lambda s, h, d, k: {}), "evaluate returned nothing", "'loss'", metrics=("loss",))


USES: dict[str, Any] = {
    "if": lambda x: 1.0 if x > 0.5 else 0.0,
    "int": int,
    "float": float,
    "range": lambda x: sum(range(x.astype(jnp.int32))),
    "shape": lambda x: jnp.zeros(x.astype(jnp.int32)).sum(),
    "shapes": lambda x: jnp.zeros((2, x.astype(jnp.int32))).sum(),
    "reshape": lambda x: jnp.zeros(6).reshape(x.astype(jnp.int32), -1).sum(),
    "arange": lambda x: jnp.arange(x).sum(),
    "numpy": np.sin,
    "index": lambda x: [0.0, 1.0][x.astype(jnp.int32)],
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("where", ["init", "step", "evaluate"])
def test_a_hyperparameter_used_as_a_python_value_is_named(use: str, where: str, compilations: list[float]) -> None:
    plain = bowl()
    broken = {
        "init": lambda key, h: plain.init(key, h) | {"w": jnp.zeros(3) + USES[use](h["rate"])},
        "step": lambda s, h, b, k, t: (s, {"loss": 0.0 * USES[use](h["rate"])}),
        "evaluate": lambda s, h, d, k: {"loss": 0.0 * USES[use](h["rate"])},
    }
    hparams = RATE | {"decay": np.float32(0.1), "width": np.int32(3)}
    refused(bowl(**{where: broken[where]}), f"{where} uses hparams['rate'] as a Python value", "jnp.where", hparams=hparams)
    assert not compilations


def test_several_culprits_are_named_and_innocent_errors_are_not_dressed_up() -> None:
    hparams = RATE | {"decay": np.float32(0.1)}
    refused(
        bowl(step=lambda s, h, b, k, t: (s, {"x": float(h["rate"] + h["decay"])})), "hparams['decay'] and hparams['rate']", hparams=hparams
    )
    refused(bowl(step=lambda s, h, b, k, t: (s, {"x": float(s["w"][0])})), "step uses state['w'] as a Python value")
    for unnamed in (lambda x: jnp.ones(1)[jnp.atleast_1d(x) > 0].sum(), lambda x: float(f"{x:.3f}")):  # JAX does not say what they are
        broken = bowl(evaluate=lambda s, h, d, k, use=unnamed: {"loss": use(h["rate"])})
        refused(broken, "evaluate uses a traced value (as all of state, hparams, split, key are) as a Python value")

    def wrong(s: Any, h: Any, b: Any, k: Any, t: Any) -> Any:
        return s, {"x": jnp.ones(3) @ jnp.ones(4)}

    with pytest.raises(TypeError, match="dot_general"):
        check(bowl(step=wrong), RATE)


def test_an_unknown_hyperparameter_is_named_but_not_a_missing_key_of_the_state() -> None:
    refused(bowl(step=lambda s, h, b, k, t: (s, {"x": h["momentum"]})), "step reads hparams['momentum']", "'rate'")
    refused(bowl(init=lambda key, h: {"w": jnp.zeros(3) * h["scale"]}), "init reads hparams['scale']")
    with pytest.raises(KeyError, match="weights"):
        check(bowl(step=lambda s, h, b, k, t: (s, {"x": s["weights"]})), RATE)


def test_an_ordered_callback_is_refused_wherever_it_hides() -> None:
    def step(s: Any, h: Any, b: Any, k: Any, t: Any) -> Any:
        def log(c: Any, _: Any) -> Any:
            io_callback(lambda x: None, None, c, ordered=True)
            return c, None

        return s, {"loss": jax.lax.scan(log, jnp.float32(0), jnp.arange(3))[0]}

    refused(bowl(step=step), "step has an ordered host callback", "ordered=False", "callbacks=")

    def shown(s: Any, h: Any, d: Any, k: Any) -> Any:
        jax.debug.print("{x}", x=s["w"], ordered=True)
        return {"loss": 0.0}

    refused(bowl(evaluate=shown), "evaluate has an ordered host callback")


def test_a_trainable_has_its_data() -> None:
    refused(None, "expected a jaxhp.Trainable, got NoneType", "jaxhp.supervised")
    refused(bowl(data={"train": np.ones(3)}), "no 'validation'", "'train'")
    refused(bowl(data={}), "no 'train'", "nothing")
    refused(bowl(data=(1, 2)), "trainable.data", "tuple", "'train'")
    refused(bowl(data={"train": np.array(["a"]), "validation": np.ones(3)}), "trainable.data['train']", "<U1", "numbers")
    refused(bowl(data={"train": np.ones((5, 3)), "validation": {"x": [object()]}}), "trainable.data['validation']", "['x'][0]", "object")


def test_a_broken_trainable_leaves_no_trace_in_a_study(compilations: list[float]) -> None:
    study = Study(RATES, sampler=jaxhp.random_search(), metric="loss")
    for broken, message in (
        (stepping(lambda s: s | {"w": s["w"][:2]}), "step turned leaf"),
        (bowl(evaluate=lambda s, h, d, k: {"error": 0.0}), "metric is 'loss'"),
        (bowl(step=lambda s, h, b, k, t: (s, {"x": float(h["rate"])})), "hparams\\['rate'\\]"),
        ("adam", "expected a jaxhp.Trainable"),
    ):
        with pytest.raises(TrainableError, match=message):
            study.train(broken, trials=2, steps=10)
    assert study._log.read("study")[1:] == [] and not compilations


# -- lanes -------------------------------------------------------------------------------------------------------------


def test_lanes_refuse_wrong_arguments(compilations: list[float]) -> None:
    for arguments, message in (
        ({"width": 0}, "width: expected a positive integer, got 0"),
        ({"width": True}, "width: expected a positive integer, got True"),
        ({"segment": 2.5}, "segment: expected a positive integer, got 2.5"),
        ({"mesh": "cpu"}, "mesh: expected a jax.sharding.Mesh, got 'cpu'"),
    ):
        with pytest.raises(TrainableError, match=re.escape(message)):
            Lanes(bowl(), RATE, **({"width": 2, "segment": 5} | arguments))
    assert not compilations


def test_refill_refuses_what_does_not_fit() -> None:
    lanes = Lanes(bowl(), RATE, 2, segment=5)
    state = lanes.init()
    one = {"rate": np.float32([0.1])}
    for arguments, message in (
        (([2], [0], one, 5), "slots: [2] are not all in 0 ... 1"),
        (([-1], [0], one, 5), "slots: [-1] are not all in 0 ... 1"),
        (([0, 0], [0, 1], one, 5), "slots: [0, 0] names a slot twice"),
        (([0], [0], {"lr": one["rate"]}, 5), "hparams: expected rate, got lr"),
        (([0], [0], one, 7), "not a whole number of segments of 5"),
        (([0], [0], one, 0), "until=0: nothing to train"),
        (([0, 1], [0], one, 5), "numbers: expected 2, one per slot, got 1"),
        (([0, 1], [0, 1], {"rate": np.zeros(3, np.float32)}, 5), "hparams['rate']: expected 2, one per slot, got 3"),
    ):
        with pytest.raises(TrainableError, match=re.escape(message)):
            lanes.refill(state, *arguments)


# -- supervised ----------------------------------------------------------------------------------------------------------


def test_supervised_refuses_wrong_data() -> None:
    x, y = DATA["train"]
    validation = DATA["validation"]
    for data, message in (
        ({"validation": validation}, "data has no 'train'"),
        ({"train": (x, y)}, "data has no 'validation'"),
        ((x, y), "data: expected a dict"),
        ({"train": x, "validation": validation}, "data['train']: expected a pair (x, y) of arrays, got ndarray"),
        ({"train": (x, y[:39]), "validation": validation}, "data['train']: x and y differ in length ([0] has 40, [1] has 39)"),
        ({"train": ({"a": x, "b": x[:3]}, y), "validation": validation}, "differ in length ([0]['a'] has 40, [0]['b'] has 3"),
        ({"train": (x, y), "validation": (x[:0], y[:0])}, "data['validation'] is empty"),
        ({"train": (x, 1.0), "validation": validation}, "data['train']: leaf [1] is a float, not an array of examples"),
        ({"train": (x, y), "validation": validation, "test": (x, y[:1])}, "data['test']: x and y differ"),
    ):
        with pytest.raises(TrainableError, match=re.escape(message)):
            classifier(data=data)


def test_supervised_refuses_wrong_arguments() -> None:
    stream = Stream(lambda start, stop: classes(stop - start, 0), batch=4)
    for arguments, message in (
        ({"batch_size": 41}, "batch_size: 41 is more than the 40 training examples"),
        ({"batch_size": 0}, "batch_size: expected a positive integer or a hyperparameter's name, got 0"),
        ({"batch_size": 8.0}, "batch_size: expected a positive integer or a hyperparameter's name, got 8.0"),
        ({"batch_size": True}, "batch_size: expected a positive integer"),
        ({"batch_size": "bs"}, "say the largest one too, largest_batch=..."),
        ({"largest_batch": 8}, "largest_batch=8 goes with batch_size='name'"),
        ({"batch_size": "bs", "largest_batch": 64}, "batch_size: 64 is more than the 40"),
        ({"accumulate": 3}, "accumulate: 3 microbatches do not divide a batch of 8"),
        ({"accumulate": 0}, "accumulate: 0 microbatches"),
        ({"optimizer": optax.adam(0.1)}, "optimizer: expected a function of the hyperparameters"),
        ({"loss": "mse"}, "loss: expected a function (outputs, y), got 'mse'"),
        ({"metrics": [cross_entropy]}, "metrics: expected a dict of functions"),
        ({"metrics": {"accuracy": 1}}, "metrics['accuracy']: expected a function (outputs, y), got 1"),
        ({"precision": "fast"}, "precision: expected a floating dtype such as jnp.bfloat16, got 'fast'"),
        ({"precision": jnp.int8}, "precision: expected a floating dtype"),
        ({"data": DATA | {"train": stream}}, "batch_size: 8 differs from the stream's 4"),
        ({"module": 3}, "module: 3 is no network that is known here"),
        ({"module": lambda x: x}, "is no network that is known here"),
    ):
        with pytest.raises(TrainableError, match=re.escape(message)):
            classifier(**arguments)


def test_a_batch_size_that_varies_needs_its_name_in_the_space_and_a_loss_per_example() -> None:
    trainable = classifier(batch_size="bs", largest_batch=8)
    refused(trainable, "reads hparams['bs']")
    mean = supervised(
        (mlp_init, mlp),
        lambda o, y: cross_entropy(o, y).mean(),
        DATA,
        optimizer=lambda h: optax.sgd(h["rate"]),
        batch_size="bs",
        largest_batch=8,
    )
    refused(mean, "loss: batch_size='bs' varies", "one value per example", hparams=RATE | {"bs": np.int32(4)})


def test_a_loss_of_another_shape_is_refused() -> None:
    refused(classifier(loss=lambda o, y: o - 1.0), "loss returned shape [8, 3]", "8 examples")
    refused(classifier(metrics={"off": lambda o, y: o}), "metrics['off'] returned shape [30, 3]")


def test_an_nnx_module_with_weights_is_refused() -> None:
    from flax import nnx

    with pytest.raises(TrainableError, match="an nnx module with weights; pass a function that makes it: module=lambda rngs: Linear"):
        classifier(nnx.Linear(6, 3, rngs=nnx.Rngs(0)))


# -- hyperparameters -----------------------------------------------------------------------------------------------------


def test_every_kind_of_parameter_becomes_a_number_a_program_can_read() -> None:
    space = Space(
        {
            "rate": Float(1e-4, 1.0, log=True),
            "width": Int(16, 256, log=True),
            "bs": Ordinal([16, 32, 64]),
            "drop": Ordinal([0.0, 0.25, 0.5]),
            "optimizer": Categorical(["sgd", "adam"]),
            "momentum": Float(0.0, 0.99, when={"optimizer": "sgd"}, default=0.9),
        }
    )
    points = [
        {"rate": 0.01, "width": 31, "bs": 32, "drop": 0.25, "optimizer": "adam"},
        {"rate": 1.0, "width": 256, "bs": 64, "drop": 0.5, "optimizer": "sgd", "momentum": 0.5},
    ]
    columns = traced(space, np.array([space.point(p) for p in points]))
    assert {name: (str(x.dtype), x.tolist()) for name, x in columns.items()} == {
        "rate": ("float32", [float(np.float32(0.01)), 1.0]),
        "width": ("int32", [31, 256]),
        "bs": ("int32", [32, 64]),
        "drop": ("float32", [0.25, 0.5]),
        "optimizer": ("int32", [1, 0]),
        "momentum": ("float32", [float(np.float32(0.9)), 0.5]),  # inactive: its default, never NaN
    }


def test_an_integer_beyond_32_bits_is_refused() -> None:
    space = Space({"n": Int(0, 1 << 40)})
    with pytest.raises(TrainableError, match="n: 1099511627776 does not fit in 32 bits"):
        traced(space, space.default()[None])


@pytest.mark.parametrize(
    "asked",
    [
        lambda: jaxhp.plan_buckets("adam", RATES, trials=3, steps=3),
        lambda: jaxhp.value_and_hypergrad("adam", 3, ("rate",)),
        lambda: jaxhp.held_back("adam", 0.2),
    ],
)
def test_every_door_refuses_what_is_no_trainable(asked: Callable[[], Any]) -> None:
    with pytest.raises(TrainableError, match=r"expected a jaxhp\.Trainable, got str"):
        asked()


def test_names_and_numbers_are_checked_where_they_are_given() -> None:
    with pytest.raises(TrainableError, match=r"wrt: expected names of hyperparameters, .* got 5"):
        jaxhp.value_and_hypergrad(bowl(), 3, 5)
    with pytest.raises(TrainableError, match=r"lane_key: number: expected an integer, got 'a'"):
        jaxhp.lane_key(0, "a")
    study = Study(RATES, sampler=jaxhp.random_search(), metric="loss")
    study.train(bowl(), trials=1, steps=10)
    with pytest.raises(jaxhp.StudyError, match=r"state: number: expected a number, got 'a'"):
        study.state("a")
