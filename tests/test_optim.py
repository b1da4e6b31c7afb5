"""`jaxhp.optim`: schedules beside optax's and beside a slow twin, clipping, groups, and schedule-free evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import DATA, RATES, accuracy, classifier, cross_entropy, mlp

import jaxhp
from jaxhp.errors import TrainableError
from jaxhp.train.optim import CLIPPINGS, SCHEDULES, clip, eval_params, labels, scale_by_group, schedule

STEPS = 120


def close(a: Any, b: Any) -> None:
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-6), a, b)


def curve(rate: Callable[[Any], Any], steps: int = STEPS) -> np.ndarray[Any, Any]:
    return np.array([float(rate(t)) for t in range(steps + 3)])


# -- schedules -------------------------------------------------------------------------------------------------------------------


def sgdr(cycles: list[int], first_warmup: int) -> optax.Schedule:
    """optax's, restarting at the same peak: warm-up in the first cycle alone."""
    return optax.schedules.sgdr_schedule(
        [
            {"init_value": 0.0 if i == 0 else 0.3, "peak_value": 0.3, "decay_steps": n, "warmup_steps": first_warmup if i == 0 else 0}
            | {"end_value": 0.03}
            for i, n in enumerate(cycles)
        ]
    )


OPTAX = {
    "warmup_constant": ({"warmup": 0.25, "kind": "constant"}, optax.schedules.warmup_constant_schedule(0.0, 0.3, 30)),
    "constant": ({"kind": "constant", "final": 0.5, "cycles": 3}, optax.schedules.constant_schedule(0.3)),
    "warmup_cosine": (
        {"warmup": 0.25, "initial": 0.1, "final": 0.2},
        optax.schedules.warmup_cosine_decay_schedule(0.03, 0.3, 30, STEPS, 0.06),
    ),
    "cosine": ({"final": 0.1}, optax.schedules.cosine_decay_schedule(0.3, STEPS, alpha=0.1)),
    "linear": ({"kind": "linear", "final": 0.1}, optax.schedules.linear_schedule(0.3, 0.03, STEPS)),
    "warmup_linear": (
        {"kind": "linear", "warmup": 0.1, "final": 0.5},
        optax.schedules.join_schedules(
            [optax.schedules.linear_schedule(0.0, 0.3, 12), optax.schedules.linear_schedule(0.3, 0.15, STEPS - 12)], [12]
        ),
    ),
    "sgdr": ({"cycles": 3, "final": 0.1, "warmup": 0.25}, sgdr([60, 30, 30], 30)),
}


@pytest.mark.parametrize("name", OPTAX)
def test_at_equal_settings_a_schedule_is_optaxs(name: str) -> None:
    arguments, theirs = OPTAX[name]
    expected = curve(theirs)
    np.testing.assert_allclose(curve(schedule(STEPS, 0.3, **arguments)), expected, rtol=2e-6, atol=2e-8)
    assert np.ptp(expected) > 0 or name == "constant"


def test_the_falling_half_is_that_of_optaxs_one_cycle() -> None:
    theirs = optax.schedules.cosine_onecycle_schedule(STEPS, 0.3, pct_start=0.25, div_factor=25.0, final_div_factor=100.0)
    ours = curve(schedule(STEPS, 0.3, warmup=0.25, initial=1 / 25, final=1 / 2500))
    np.testing.assert_allclose(ours[30:], curve(theirs)[30:], rtol=2e-6, atol=3e-8)
    assert ours[0] == pytest.approx(float(theirs(0)))  # between, optax's rises as a cosine


def test_an_inverse_square_root_is_that_of_vaswani_et_al() -> None:
    """lr(t) ~ min(t^-1/2, t W^-3/2), section 5.3, up to the peak; and it never falls below its floor."""
    t = np.arange(STEPS + 1)[1:]
    expected = 0.3 * math.sqrt(30) * np.minimum(t**-0.5, t * 30**-1.5)
    rate = schedule(STEPS, 0.3, warmup=0.25, kind="inverse_sqrt")
    np.testing.assert_allclose(curve(rate)[1 : STEPS + 1], expected, rtol=2e-6)
    assert curve(schedule(STEPS, 0.3, warmup=0.25, kind="inverse_sqrt", final=0.8))[-1] == pytest.approx(0.24)
    longer = curve(schedule(2 * STEPS, 0.3, warmup=0.125, kind="inverse_sqrt"))
    np.testing.assert_allclose(longer[: STEPS + 1], curve(rate)[: STEPS + 1], rtol=2e-6)  # the end of the run does not matter


def slow(t: int, steps: int, peak: float, warmup: float, kind: int, initial: float, final: float, cycles: int) -> float:
    """One step of one schedule, by loops and branches."""
    rising = steps * warmup
    if t < rising:
        return peak * (initial + (1 - initial) * t / rising)
    length = (steps - rising) / cycles
    since = min(t, steps) - rising
    for _ in range(cycles - 1):
        if since >= length * (1 - 1e-9):
            since = max(since - length, 0.0)
    share = since / length
    name = SCHEDULES[kind]
    if name == "constant":
        return peak
    if name == "cosine":
        return peak * (final + (1 - final) * (1 + math.cos(math.pi * share)) / 2)
    if name == "linear":
        return peak * (final * share + (1 - share))
    horizon = max(rising, 1.0)
    return peak * max(final, math.sqrt(horizon / (horizon + since)))


@jax.jit
@partial(jax.vmap, in_axes=(None, 0, 0, 0, 0, 0, 0, 0))
def lanes(t: Any, steps: Any, peak: Any, warmup: Any, kind: Any, initial: Any, final: Any, cycles: Any) -> Any:
    """Everything traced, one lane a schedule."""
    rate = schedule(steps, peak, warmup=warmup, kind=kind, initial=initial, final=final, cycles=cycles)
    return jax.vmap(rate)(t)


share = st.one_of(st.just(0.0), st.integers(0, 8).map(lambda i: i / 8), st.floats(0, 1, width=32))
one = st.tuples(
    st.integers(1, 300),
    st.floats(2**-10, 8, width=32),
    share.filter(lambda x: x < 0.99),
    st.integers(0, 3),
    share,
    share,
    st.integers(1, 5),
)


@settings(max_examples=40, derandomize=True, deadline=None)
@given(st.lists(one, min_size=16, max_size=16))
def test_traced_schedules_in_lanes_are_those_of_a_slow_twin(configurations: list[tuple[Any, ...]]) -> None:
    t = np.arange(0, 310, 3)
    columns = [np.asarray(column) for column in zip(*configurations, strict=True)]
    columns = [c.astype(np.int32 if c.dtype == np.int64 else np.float32) for c in columns]
    rates = np.asarray(lanes(t, *columns))
    for row, (steps, peak, warmup, *rest) in zip(rates, configurations, strict=True):
        expected = np.array([slow(int(i), steps, peak, warmup, *rest) for i in t])
        # where a rate jumps or bends within a rounding of t, either side is right
        length = steps * (1 - warmup) / rest[-1]
        phase = (t - steps * warmup) / length
        sharp = np.abs(phase - np.round(phase)) < 1e-5 * np.maximum(1, np.abs(phase))
        np.testing.assert_allclose(row[~sharp], expected[~sharp], rtol=1e-3, atol=2e-5 * peak)
        assert np.isfinite(row).all() and (row >= 0).all() and (row <= peak * 1.00001).all()


@pytest.mark.parametrize("cycles", [2, 3, 5, 7])
def test_a_restart_begins_at_its_step_in_spite_of_rounding(cycles: int) -> None:
    for length in (7, 30, 101, 1000):
        rate = jax.jit(lambda t, c, n=length * cycles: schedule(n, 1.0, kind="linear", cycles=c)(t))
        starts = np.asarray(jax.vmap(rate, (0, None))(np.arange(cycles) * length, jnp.int32(cycles)))
        np.testing.assert_allclose(starts, 1.0, atol=1e-5)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_traced_index_is_the_name_that_it_stands_for(kind: str) -> None:
    kinds = ("linear", "inverse_sqrt", "constant", "cosine")
    by_name = schedule(STEPS, 0.3, warmup=0.1, kind=kind)
    by_index = jax.jit(lambda t, i: schedule(STEPS, 0.3, warmup=0.1, kind=i, kinds=kinds)(t))
    for t in (0, 5, 12, 50, 120):
        assert float(by_index(t, kinds.index(kind))) == pytest.approx(float(by_name(t)), rel=1e-6)


def test_every_derivative_of_a_schedule_is_finite_and_right() -> None:
    def total(x: Any, kind: Any) -> Any:
        rate = schedule(20, x["peak"], warmup=x["warmup"], kind=kind, initial=x["initial"], final=x["final"], cycles=x["cycles"])
        return jax.vmap(rate)(jnp.arange(23)).sum()

    at = {"peak": 0.3, "warmup": 0.33, "initial": 0.2, "final": 0.4, "cycles": 1.0}
    gradient = jax.jit(jax.grad(total))
    value = jax.jit(total)
    for kind in range(len(SCHEDULES)):
        edge = gradient(at | {"warmup": 0.0, "final": 0.0}, kind)
        assert all(map(np.isfinite, edge.values()))
        found = gradient(at, kind)
        for name in ("peak", "warmup", "initial", "final"):
            h = 1e-2
            slope = (float(value(at | {name: at[name] + h}, kind)) - float(value(at | {name: at[name] - h}, kind))) / (2 * h)
            assert float(found[name]) == pytest.approx(slope, rel=0.03, abs=5e-3), (name, kind)


def test_one_program_trains_with_all_schedules_as_each_is_trained_alone() -> None:
    target = jnp.array([1.0, -2.0, 3.0])

    def train(optimizer: Any) -> Any:
        def step(carry: Any, t: Any) -> Any:
            w, state = carry
            updates, state = optimizer().update(2 * (w - target), state, w)
            return (optax.apply_updates(w, updates), state), None

        return jax.lax.scan(step, (jnp.zeros(3), optimizer().init(jnp.zeros(3))), jnp.arange(40))[0][0]

    def lane(peak: Any, warmup: Any, kind: Any) -> Any:
        return train(lambda: optax.adamw(schedule(40, peak, warmup=warmup, kind=kind, final=0.1), weight_decay=0.01))

    alone = [
        optax.schedules.warmup_constant_schedule(0.0, 0.1, 8),
        optax.schedules.cosine_decay_schedule(0.2, 40, 0.1),
        optax.schedules.linear_schedule(0.3, 0.03, 40),
    ]
    found = jax.jit(jax.vmap(lane))(jnp.array([0.1, 0.2, 0.3]), jnp.array([0.2, 0.0, 0.0]), jnp.array([0, 1, 2]))
    for w, rate in zip(found, alone, strict=True):
        np.testing.assert_allclose(w, train(lambda rate=rate: optax.adamw(rate, weight_decay=0.01)), rtol=2e-5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"warmup": 1.0}, r"warmup=1.0: expected a share of the steps in \[0, 1\)"),
        ({"warmup": -0.1}, "warmup=-0.1"),
        ({"warmup": "10%"}, "warmup='10%'"),
        ({"steps": 0}, "steps=0: expected a positive number"),
        ({"steps": True}, "steps=True"),
        ({"peak": math.nan}, "peak=nan: expected a finite number"),
        ({"peak": np.ones(3)}, r"peak: expected a scalar, got an array of shape \[3\]"),
        ({"final": 1.5}, "final=1.5: expected a share of the peak"),
        ({"initial": -1}, "initial=-1: expected a share of the peak"),
        ({"cycles": 0}, "cycles=0: expected a whole number"),
        ({"cycles": 1.5}, "cycles=1.5: expected a whole number"),
        ({"kind": "cosin"}, "kind='cosin' is unknown; choose among 'constant', 'cosine'"),
        ({"kind": 4}, "kind=4: an index among 4"),
        ({"kind": 0.5}, "kind=0.5: expected one of 'constant'"),
        ({"kind": None}, "kind=None: expected one of"),
        ({"kind": 0, "kinds": ("step",)}, "kinds: 'step' is unknown"),
        ({"kind": "cosine", "kinds": ("linear",)}, "kind='cosine' is unknown; choose among 'linear'"),
    ],
)
def test_a_schedule_refuses_what_it_can_see(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(TrainableError, match=said):
        schedule(**({"steps": 100, "peak": 0.1} | arguments))


# -- clipping --------------------------------------------------------------------------------------------------------------------

WEIGHTS = {
    "dense": jax.random.normal(jax.random.key(0), (6, 4)),
    "conv": jax.random.normal(jax.random.key(1), (3, 3, 2, 5)),
    "heads": jax.random.normal(jax.random.key(2), (4, 2, 3)),
    "row": jnp.ones((1, 4)),
    "bias": jnp.zeros(4),
    "gain": jnp.ones(()),
}
GRADIENTS = jax.tree.map(lambda w: 3 * jnp.cos(7 * jnp.arange(w.size, dtype=jnp.float32)).reshape(w.shape), WEIGHTS)
THEIRS = {"norm": optax.clip_by_global_norm, "value": optax.clip, "adaptive": optax.adaptive_grad_clip}


@partial(jax.jit, static_argnums=0)
def updated(make: Callable[..., Any], limit: Any, gradients: Any, *arguments: Any) -> Any:
    transform = make(limit, *arguments)
    return transform.update(gradients, transform.init(WEIGHTS), WEIGHTS)[0]


CLIP = {kind: partial(clip, kind=kind) for kind in CLIPPINGS}


@pytest.mark.parametrize("limit", [0.01, 0.7, 2.0, 1e6])
@pytest.mark.parametrize("kind", CLIPPINGS)
def test_clipping_is_optaxs_for_every_shape_of_weights(kind: str, limit: float) -> None:
    expected = updated(THEIRS[kind], limit, GRADIENTS)
    close(updated(CLIP[kind], limit, GRADIENTS), expected)
    close(updated(clip, limit, GRADIENTS, CLIPPINGS.index(kind)), expected)


@pytest.mark.parametrize("kind", CLIPPINGS)
def test_an_infinite_limit_clips_nothing_and_derivatives_through_zeros_are_finite(kind: str) -> None:
    zero = jax.tree.map(jnp.zeros_like, GRADIENTS)
    dead = {**GRADIENTS, "dense": GRADIENTS["dense"].at[:, 1].set(0.0)}
    jax.tree.map(np.testing.assert_array_equal, updated(CLIP[kind], jnp.inf, GRADIENTS), GRADIENTS)
    through = jax.jit(jax.grad(lambda g, limit: sum(x.sum() for x in jax.tree.leaves(updated(CLIP[kind], limit, g))), argnums=(0, 1)))
    for gradients in (zero, dead):
        for limit in (0.5, jnp.inf):
            assert all(np.isfinite(x).all() for x in jax.tree.leaves(through(gradients, jnp.float32(limit))))


@pytest.mark.parametrize("kind", CLIPPINGS)
def test_a_gradient_that_is_nan_stays_so(kind: str) -> None:
    bad = {**GRADIENTS, "bias": GRADIENTS["bias"].at[0].set(jnp.nan)}
    assert np.isnan(updated(CLIP[kind], 1.0, bad)["bias"][0])


def test_clipping_refuses_what_it_can_see() -> None:
    for arguments, said in (
        ((0.0,), "limit=0.0: expected a positive number, infinite for none"),
        ((-1, "value"), "limit=-1"),
        ((1.0, "block"), "kind='block' is unknown; choose among 'norm', 'value', 'adaptive'"),
    ):
        with pytest.raises(TrainableError, match=said):
            clip(*arguments)
    with pytest.raises(TrainableError, match="compares gradients with weights"):
        clip(1.0, "adaptive").update(GRADIENTS, optax.EmptyState())


# -- groups ----------------------------------------------------------------------------------------------------------------------

NET = {"hidden": [{"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}], "head": {"kernel": jnp.ones((3, 1)), "bias": jnp.ones(1)}}


def test_the_first_pattern_that_fits_a_path_names_its_group() -> None:
    found = labels(NET, ["*bias", "hidden/*"], rest="others")
    assert found == {
        "hidden": [{"kernel": "hidden/*", "bias": "*bias"}],
        "head": {"kernel": "others", "bias": "*bias"},
    }


def test_rates_of_groups_are_learning_rates_of_separate_optimisers() -> None:
    def ours(bias: Any, head: Any) -> Any:
        return optax.chain(optax.adamw(0.1, weight_decay=0.05), scale_by_group({"*bias": bias, "head/*": head}))

    rate = {"*bias": 0.2, "head/*": 0.03, "rest": 0.1}
    theirs = optax.partition(
        {name: optax.adamw(r, weight_decay=0.05) for name, r in rate.items()}, partial(labels, patterns=["*bias", "head/*"])
    )

    @jax.jit
    def trained(bias: Any, head: Any) -> Any:
        both = []
        for optimizer in (ours(bias, head), theirs):
            params, state = NET, optimizer.init(NET)
            for i in range(3):
                updates, state = optimizer.update(jax.tree.map(lambda p, i=i: jnp.sin(p + i), params), state, params)
                params = optax.apply_updates(params, updates)
            both.append(params)
        return both

    mine, expected = trained(2.0, 0.3)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), mine, expected)
    assert not np.allclose(mine["head"]["kernel"], mine["hidden"][0]["kernel"][0, 0])


def test_groups_may_be_named_by_a_function_even_for_whole_subtrees() -> None:
    transform = scale_by_group({"slow": 0.5}, rest=0.0, groups=lambda params: {"hidden": "slow", "head": "frozen"})
    updates, _ = transform.update(NET, transform.init(NET))
    assert float(updates["hidden"][0]["kernel"][0, 0]) == 0.5 and float(updates["head"]["bias"][0]) == 0.0


def test_groups_refuse_patterns_that_fit_nothing_and_negative_factors() -> None:
    with pytest.raises(TrainableError, match=r"group 'output/\*' fits no parameter; there are: head/bias, head/kernel, hidden/0/bias"):
        scale_by_group({"output/*": 0.1}).update(NET, optax.EmptyState())
    with pytest.raises(TrainableError, match=r"rates\['\*'\]=-1: expected a factor from 0 on"):
        scale_by_group({"*": -1})
    with pytest.raises(TrainableError, match=r"rest=-0\.5"):
        scale_by_group({}, rest=-0.5)


# -- schedule-free ---------------------------------------------------------------------------------------------------------------


def free(rate: Any, b1: Any = 0.9) -> optax.GradientTransformationExtraArgs:
    return optax.contrib.schedule_free(optax.sgd(rate), rate, b1=b1)


@partial(jax.jit, static_argnums=0)
def stepped(optimizer: Any, params: Any = NET) -> tuple[Any, Any]:
    """Parameters and state after four steps of a made-up gradient."""
    state = optimizer.init(params)
    for i in range(4):
        updates, state = optimizer.update(jax.tree.map(lambda p, i=i: jnp.sin(3 * p + i), params), state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def test_a_schedule_free_optimiser_is_evaluated_as_optax_says_wherever_it_stands() -> None:
    params, state = stepped(free(0.1))
    expected = optax.contrib.schedule_free_eval_params(state, params)
    assert not np.allclose(expected["head"]["bias"], params["head"]["bias"], atol=1e-3)
    close(eval_params(state, params), expected)
    params, state = stepped(optax.chain(optax.clip(1e9), optax.MultiSteps(free(0.1), 1)))
    close(eval_params(state, params), expected)


def test_other_optimisers_are_evaluated_at_the_parameters_themselves() -> None:
    params, state = stepped(optax.chain(optax.clip(1.0), optax.adamw(0.1)))
    assert eval_params(state, params) is params


def test_a_group_of_the_parameters_may_be_schedule_free() -> None:
    optimizer = optax.partition({"*bias": free(0.1), "rest": optax.sgd(0.1)}, partial(labels, patterns=["*bias"]))
    params, state = stepped(optimizer)
    found = eval_params(state, params)
    whole_params, whole_state = stepped(free(0.1))
    expected = optax.contrib.schedule_free_eval_params(whole_state, whole_params)
    close(found["head"]["bias"], expected["head"]["bias"])
    close(found["head"]["kernel"], params["head"]["kernel"])
    two = optax.partition({"*bias": free(0.1), "rest": free(0.1)}, partial(labels, patterns=["*bias"]))
    params, state = stepped(two)
    close(eval_params(state, params), expected)


def test_before_its_first_step_and_where_a_switch_chose_another_a_schedule_free_state_does_not_count() -> None:
    def switched(i: int) -> optax.GradientTransformation:
        return jaxhp.masks.switch_optimizer(i, [free(0.1), optax.sgd(0.1)])

    close(eval_params(free(0.1).init(NET), NET), NET)
    params, state = stepped(switched(1))
    close(eval_params(state, params), params)
    params, state = stepped(switched(0))
    close(eval_params(state, params), optax.contrib.schedule_free_eval_params(state[0], params))


def test_a_study_reports_and_tests_the_averaged_network() -> None:
    trainable = classifier(
        optimizer=lambda h: optax.contrib.schedule_free_adamw(schedule(20, h["rate"], warmup=0.2, kind="constant"), b1=0.3)
    )
    study = jaxhp.Study(RATES, sampler=jaxhp.sobol(), metric="loss", seed=0)
    study.train(trainable, trials=4, steps=20, lanes=4, evaluate_every=10)
    state, (x, y) = study.best_state, DATA["validation"]
    averaged = eval_params(state["optimizer"], state["params"])
    close(averaged, optax.contrib.schedule_free_eval_params(state["optimizer"], state["params"]))
    at = {name: float(cross_entropy(mlp(params, x), y).mean()) for name, params in (("x", averaged), ("y", state["params"]))}
    assert study.best.value == pytest.approx(at["x"], rel=1e-5) and abs(at["x"] - at["y"]) > 1e-3
    assert study.best.values["accuracy"] == pytest.approx(float(accuracy(mlp(averaged, x), y).mean()))
    curves = study.curves
    assert len(curves["step"]) == 8 and np.isfinite(curves["loss"]).all()
