"""The table of optax in docs/structure.md: what each optimiser does to padded arrays is measured, and each is refused where it shows."""

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

from jaxhp import TrainableError
from jaxhp.train._padding import UNSAFE, refuse_unsafe

WIDE, TRUE = 12, 5

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
    assert all(hasattr(contrib, kind) or hasattr(optax, kind) for kind in UNSAFE)
