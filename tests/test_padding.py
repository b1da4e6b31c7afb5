"""`check_padding`: what padding changes is found at its step and leaf, what it does not change agrees, what is known to fail is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib
from tiny import DATA, WIDTHS, widening

import jaxhp
from jaxhp import Study, Trainable, TrainableError, check_padding, padded
from jaxhp.train._padding import UNSAFE, PaddingReport, refuse_unsafe

WIDE, TRUE = 12, 5
H = {"rate": 0.01, "width": 5}


def network(optimizer: optax.GradientTransformation | None = None, activation: Callable[[Any], Any] = jnp.tanh, **more: Any) -> Trainable:
    """One hidden layer, padded to twelve units, five of which are there: weights are drawn unit by unit, the others are zero."""
    opt = optimizer or optax.sgd(0.1)
    x = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    y = np.sin(x[:, :2])

    def make(width: int) -> Trainable:
        def loss(p: Any) -> jax.Array:
            return ((activation(x @ p["in"].T + p["bias"]) @ p["out"] - y) ** 2).mean()

        def init(key: jax.Array, hparams: Any) -> Any:
            keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(width))
            drawn = jax.vmap(lambda k: jax.random.normal(k, (7,)))(keys) * (jnp.arange(width) < hparams["width"])[:, None]
            p = {"in": drawn[:, :4], "bias": 0.1 * drawn[:, 4], "out": drawn[:, 5:]}
            return {"p": p, "o": opt.init(p), **{name: f(width) for name, f in more.items()}}

        def step(state: Any, hparams: Any, batch: Any, key: jax.Array, t: jax.Array) -> Any:
            gradient = jax.grad(loss)(state["p"])
            updates, new = opt.update(gradient, state["o"], state["p"])
            return state | {"p": optax.apply_updates(state["p"], updates), "o": new}, {}

        return Trainable(init, step, lambda s, h, split, key: {"loss": loss(s["p"])}, {"train": x, "validation": x})

    return padded(make, width=WIDE)


def test_what_is_padded_with_zeros_agrees() -> None:
    report = check_padding(network(optax.adamw(0.01)), {"width": 5})
    assert isinstance(report, PaddingReport) and report.agrees and report.deviation < 1e-4
    assert report.sizes == {"width": 5} and report.padded == {"width": WIDE} and report.steps == 20
    assert report.metrics["loss"][0] == pytest.approx(report.metrics["loss"][1], abs=1e-6)
    assert str(report).startswith("width 5 padded to 12: agree over 20 steps") and "in the end loss 0." in str(report)


def test_an_activation_that_lifts_missing_units_parts_as_soon_as_what_reads_them_has_moved() -> None:
    report = check_padding(network(activation=jax.nn.sigmoid), {"width": 5}, steps=4)  # sigmoid(0) is one half
    assert not report.agrees and report.step == 2 and "['p']" in report.leaf and report.deviation > 0.01
    assert f"part at step 2, in {report.leaf}, which is off by" in str(report) and "(tolerance 0.001)" in str(report)


@pytest.mark.parametrize("rate", [1e-6, 1e-2])
def test_a_small_learning_rate_hides_nothing(rate: float) -> None:
    uneven = optax.chain(optax.scale_by_param_block_rms(), optax.sgd(rate))
    assert check_padding(network(uneven), {"width": 5}, steps=4, tolerance=0.05).step == 1


def test_a_draw_that_depends_on_the_shape_parts_in_the_initial_state() -> None:
    report = check_padding(network(noise=lambda width: jnp.arange(width) / width), {"width": 5}, steps=1)
    assert report.step == 0 and report.leaf == "['noise']" and "part in the initial state" in str(report)


def test_numbers_that_are_not_finite_agree_with_their_like_only() -> None:
    for value, other, same in ((np.nan, np.nan, True), (np.inf, np.inf, True), (np.nan, 1.0, False), (np.inf, -np.inf, False)):
        made = network(odd=lambda width, v=value, o=other: jnp.full((), v if width == WIDE else o, jnp.float32))
        assert check_padding(made, {"width": 5}, steps=1).agrees == same, (value, other)


def test_counts_and_keys_are_compared_bit_by_bit() -> None:
    assert check_padding(network(key=lambda width: jax.random.key(3)), {"width": 5}, steps=1).agrees
    assert check_padding(network(count=lambda width: jnp.int32(width)), {"width": 5}, steps=1).leaf == "['count']"


def test_deeper_states_may_have_more_leaves_but_none_may_be_missing_or_larger() -> None:
    assert check_padding(network(layers=lambda width: {str(i): jnp.zeros(1) for i in range(width)}), {"width": 5}, steps=1).agrees
    with pytest.raises(TrainableError, match=r"leaf \['layers'\]\['of 5'\] of the truly small state is not in the padded one: layers must"):
        check_padding(network(layers=lambda width: {f"of {width}": jnp.zeros(1)}), {"width": 5})
    with pytest.raises(TrainableError, match=r"leaf \['flat'\]: \[20\] of the truly small state is no corner of the padded one's \[13\]"):
        check_padding(network(flat=lambda width: jnp.zeros(25 - width)), {"width": 5})


def test_streams_and_supervised_networks_are_checked_too() -> None:
    def read(start: int, stop: int) -> Any:
        i = np.arange(start, stop) % 40
        return tuple(a[i] for a in DATA["train"])

    assert check_padding(widening(), H, steps=5).agrees
    assert check_padding(widening(data=DATA | {"train": jaxhp.Stream(read, batch=8)}), H, steps=5).agrees


# -- the door ------------------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[Any, dict[str, Any], str]] = {
    "not padded": (network().make(12), {}, "trainable: its shapes depend on no hyperparameter, so nothing is padded"),
    "the largest": (network(), {"hparams": {"width": 12}}, "hparams: at these sizes nothing is padded; choose width below 12"),
    "beyond": (network(), {"hparams": {"width": 13}}, r"hparams\['width'\]: 13 is not in 1 ... 12"),
    "no size": (network(), {"hparams": {"rate": 0.1}}, "nothing is padded; choose width below 12"),
    "text": (network(), {"hparams": {"width": "5"}}, r"hparams\['width'\]: expected a number \(a choice as its index\), got '5'"),
    "no dict": (network(), {"hparams": 5}, "hparams: expected a dict such as"),
    "steps": (network(), {"steps": 0}, "steps: expected a positive integer, got 0"),
    "tolerance": (network(), {"tolerance": -1.0}, "tolerance: expected a positive number, got -1.0"),
    "adafactor": (
        network(optax.adafactor(0.1)),
        {},
        "the optimiser cannot train padded arrays: Adafactor's statistics .* docs/structure.md",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_are_refused(case: str) -> None:
    trainable, arguments, message = WRONG[case]
    with pytest.raises(TrainableError, match=message):
        check_padding(trainable, **({"hparams": {"width": 5}} | arguments))


def test_a_study_does_not_begin_to_train_padded_arrays_with_an_unsafe_optimiser() -> None:
    study = Study(WIDTHS, sampler=jaxhp.random_search(), metric="loss")
    with pytest.raises(TrainableError, match="Adafactor's statistics"):
        study.train(widening(optimizer=lambda h: optax.masked(optax.adafactor(h["rate"]), True)), trials=4, steps=4, buckets=1)
    assert study._fold.course.run is None


# -- the table of optax --------------------------------------------------------------------------------------------------

Made = Callable[[], optax.GradientTransformation]
OPTIMIZERS: dict[str, Made] = {
    "adabelief": lambda: optax.adabelief(0.01),
    "adadelta": lambda: optax.adadelta(1.0),
    "adafactor": lambda: optax.adafactor(0.01),
    "adagrad": lambda: optax.adagrad(0.01),
    "adam": lambda: optax.adam(0.01),
    "adamax": lambda: optax.adamax(0.01),
    "adamaxw": lambda: optax.adamaxw(0.01),
    "adamw": lambda: optax.adamw(0.01),
    "adan": lambda: optax.adan(0.01),
    "amsgrad": lambda: optax.amsgrad(0.01),
    "fromage": lambda: optax.fromage(0.01),
    "lamb": lambda: optax.lamb(0.01),
    "lars": lambda: optax.lars(0.1),
    "lbfgs": lambda: optax.lbfgs(0.01, linesearch=None),
    "lion": lambda: optax.lion(0.001),
    "nadam": lambda: optax.nadam(0.01),
    "nadamw": lambda: optax.nadamw(0.01),
    "noisy_sgd": lambda: optax.noisy_sgd(0.01, key=3),
    "novograd": lambda: optax.novograd(0.01),
    "optimistic_adam_v2": lambda: optax.optimistic_adam_v2(0.01),
    "optimistic_gradient_descent": lambda: optax.optimistic_gradient_descent(0.01),
    "polyak_sgd": lambda: optax.polyak_sgd(),
    "radam": lambda: optax.radam(0.01),
    "rmsprop": lambda: optax.rmsprop(0.01),
    "rprop": lambda: optax.rprop(0.01),
    "sgd": lambda: optax.sgd(0.1, momentum=0.9, nesterov=True),
    "sign_sgd": lambda: optax.sign_sgd(0.001),
    "signum": lambda: optax.signum(0.001),
    "sm3": lambda: optax.sm3(0.01),
    "yogi": lambda: optax.yogi(0.01),
    "contrib.acprop": lambda: contrib.acprop(0.01),
    "contrib.ademamix": lambda: contrib.ademamix(0.01),
    "contrib.adopt": lambda: contrib.adopt(0.01),
    "contrib.cocob": lambda: contrib.cocob(),
    "contrib.dadapt_adamw": lambda: contrib.dadapt_adamw(1.0),
    "contrib.dog": lambda: contrib.dog(1.0),
    "contrib.dowg": lambda: contrib.dowg(1.0),
    "contrib.galore": lambda: contrib.galore(0.01, rank=2),
    "contrib.madgrad": lambda: contrib.madgrad(0.01),
    "contrib.mechanize": lambda: contrib.mechanize(optax.adam(1.0)),
    "contrib.momo": lambda: contrib.momo(0.1),
    "contrib.momo_adam": lambda: contrib.momo_adam(0.01),
    "contrib.muon": lambda: contrib.muon(0.01),
    "contrib.prodigy": lambda: contrib.prodigy(1.0),
    "contrib.sam": lambda: contrib.sam(optax.sgd(0.01), optax.chain(contrib.normalize(), optax.sgd(0.05))),
    "contrib.schedule_free_adamw": lambda: contrib.schedule_free_adamw(0.01),
    "contrib.schedule_free_sgd": lambda: contrib.schedule_free_sgd(0.1),
    "contrib.simplified_ademamix": lambda: contrib.simplified_ademamix(0.01),
    "contrib.sophia": lambda: contrib.sophia(0.01),
    "adaptive_grad_clip": lambda: optax.chain(optax.adaptive_grad_clip(0.01), optax.sgd(0.1)),
    "add_noise": lambda: optax.chain(optax.add_noise(0.1, 0.55, key=3), optax.sgd(0.1)),
    "apply_every": lambda: optax.chain(optax.apply_every(2), optax.sgd(0.1)),
    "centralize": lambda: optax.chain(optax.centralize(), optax.sgd(0.1)),
    "clip": lambda: optax.chain(optax.clip(0.01), optax.sgd(0.1)),
    "clip_by_block_rms": lambda: optax.chain(optax.clip_by_block_rms(0.01), optax.sgd(0.1)),
    "clip_by_global_norm": lambda: optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(0.1)),
    "normalize_by_update_norm": lambda: optax.chain(optax.normalize_by_update_norm(), optax.sgd(0.1)),
    "scale_by_param_block_norm": lambda: optax.chain(optax.scale_by_param_block_norm(), optax.sgd(0.1)),
    "scale_by_param_block_rms": lambda: optax.chain(optax.scale_by_param_block_rms(), optax.sgd(0.1)),
    "scale_by_trust_ratio": lambda: optax.chain(optax.scale_by_trust_ratio(), optax.sgd(0.1)),
}
ELSEWHERE = {  # optimisers that are no row: they wrap another, want gradients per example, or are another name
    *("lookahead", "adagrad", "optimistic_adam", "contrib.dpsgd", "contrib.schedule_free", "contrib.reduce_on_plateau"),
    *("contrib.differentially_private_aggregate", "contrib.normalize", "contrib.split_real_and_imaginary"),
    "contrib.hutchinson_estimator_diag_hessian",
}


WITHOUT_A_TRACE = {"centralize", "clip_by_block_rms", "scale_by_param_block_rms"}  # unsafe, with states that do not show it: measured


def documented() -> Mapping[str, tuple[str, str]]:
    """optimiser -> (verdict, by `supervised`), as the page says."""
    page = (Path(__file__).resolve().parents[1] / "docs" / "structure.md").read_text()
    section = page.partition("| optax | padded arrays | in `supervised` |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `([\w.]+)` \| (\w+)[^|]* \| (\w+)[^|]* \|$", section, flags=re.MULTILINE)
    return {name: (verdict, by) for name, verdict, by in rows}


def alone(optimizer: optax.GradientTransformation) -> bool:
    """Whether an update needs no more than gradient, state and parameters, which is all that `supervised` gives."""
    p = {"w": jax.ShapeDtypeStruct((4, 3), jnp.float32)}
    try:
        jax.eval_shape(lambda p, g: optax.with_extra_args_support(optimizer).update(g, optimizer.init(p), p), p, p)
    except (TypeError, ValueError):
        return False
    return True


X = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)


def deep_loss(p: Any) -> jax.Array:
    return ((jnp.tanh(jnp.tanh(X @ p["in"] + p["bias"]) @ p["mid"]) @ p["out"] - np.sin(X[:, :2])) ** 2).mean()


DEEP_GRADIENT = jax.jit(jax.value_and_grad(deep_loss))


def deep(width: int) -> Any:
    """Weights of two hidden layers of twelve units, of which five are there, or of five."""
    draw = np.random.default_rng(1)
    shapes = {"in": (8, TRUE), "bias": (TRUE,), "mid": (TRUE, TRUE), "out": (TRUE, 2)}
    small = {name: 0.5 * draw.normal(size=shape) for name, shape in shapes.items()}
    larger = {name: tuple(width if n == TRUE else n for n in shape) for name, shape in shapes.items()}
    return {n: jnp.asarray(np.pad(x, [(0, b - a) for a, b in zip(x.shape, larger[n], strict=True)]), jnp.float32) for n, x in small.items()}


def descended(optimizer: optax.GradientTransformation, extra: bool, width: int) -> Any:
    """Two steps, not compiled: a program for each of sixty optimisers would take minutes."""
    p, opt = deep(width), optax.with_extra_args_support(optimizer)
    state = opt.init(p)
    for _ in range(2):
        value, gradient = DEEP_GRADIENT(p)
        named = {"value": value, "grad": gradient, "value_fn": deep_loss, "obj_fn": deep_loss} if extra else {}
        updates, state = opt.update(gradient, state, p, **named)
        p = optax.apply_updates(p, updates)
    return p


def parted(optimizer: optax.GradientTransformation, extra: bool) -> float:
    """How far a padded weight is off after two steps, as a part of how far the weights have moved."""
    start, small, large = deep(TRUE), descended(optimizer, extra, TRUE), descended(optimizer, extra, WIDE)
    off = {n: np.abs(np.asarray(large[n])[tuple(slice(0, k) for k in x.shape)] - x).max() for n, x in small.items()}
    return max(float(max(off[n] - 1e-6 * np.abs(x).max(), 0) / np.abs(x - start[n]).max()) for n, x in small.items())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_measured_verdict_is_the_one_in_the_docs(name: str) -> None:
    optimizer = OPTIMIZERS[name]()
    by = alone(optimizer)
    off = parted(optimizer, extra=not by)
    assert off < 1e-3 or off > 0.02, f"{off}: neither rounding nor a rule"
    assert documented()[name] == ("safe" if off < 1e-3 else "unsafe", "yes" if by else "no"), off
    state = jax.eval_shape(optimizer.init, {"w": jax.ShapeDtypeStruct((4, 3), jnp.float32)})
    refused = False
    try:
        refuse_unsafe(state)
    except TrainableError:
        refused = True
    assert refused == (off > 0.02 and name not in WITHOUT_A_TRACE)


def test_the_table_has_every_optimiser_of_optax() -> None:
    assert set(documented()) == set(OPTIMIZERS)
    aliases = {name for name in dir(optax) if getattr(getattr(optax, name), "__module__", "") == "optax._src.alias" and name[0].islower()}
    extra = {f"contrib.{name}" for name in dir(contrib) if callable(getattr(contrib, name)) and name[0].islower()}
    extra = {name for name in extra if not name.startswith("contrib.scale_by") and not name.endswith("eval_params")}
    assert aliases | extra <= set(OPTIMIZERS) | ELSEWHERE
    assert all(hasattr(optax, kind) or hasattr(contrib, kind) for kind in UNSAFE)
