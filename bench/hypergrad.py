"""What does a hypergradient cost, and is it right?  python bench/hypergrad.py [cost] [forward] [trial] [edge] [ridge] [--rounds 7] [--dry]

The work: 64-32-10 on scikit-learn's digits, batches of 64, SGD with momentum, one evaluation on 400 examples.

    cost      Reverse("step"), ("sqrt") and (None) beside a plain training run of the same loop, for several numbers of steps: time, and
              XLA's own count of temporary bytes, with the exponent of its growth in the number of steps
    forward   Forward() for 1, 3 and 5 hyperparameters
    trial     what a trial of study.train(adjoint=Reverse()) costs in trainings: that of its lane, and the gradient, which repeats it
    edge      learning rates at the edge of stability (standardised pixels, momentum 0.9, 256 steps): does the sign of the gradient agree
              with the slope of the landscape smoothed over 128 other runs, unguarded and guarded?
    ridge     implicit gradients of ridge regression beside optimistix and jaxopt, where these are installed, at equal accuracy: the
              gradient alone, as these give it, and with the value and all diagnostics

Rounds interleave the ways; medians of process CPU time, compilation left out.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import rows
from lanes_throughput import digits

from jaxhp import Forward, Guarded, Implicit, Lanes, Reverse, SmoothedSlope, Trainable, lane_key, supervised, value_and_hypergrad
from jaxhp.train._gradients import Gradients
from jaxhp.train.hypergrad import Info, cg

NAMES = ("learning_rate", "momentum", "decay", "first", "second")
POINT = {"learning_rate": 0.05, "momentum": 0.8, "decay": 1e-4, "first": 1.0, "second": 1.0}
KEY = jax.random.key(0)


@dataclass(frozen=True)
class Plain:
    """The training run alone, in the loop that adjoints differentiate."""

    exact: bool = False

    def gradient(self, loop: Any, x: Any) -> Any:
        return loop.value(x), x, Info(adjoint="plain")


def network(data: Any, optimizer: Callable[[Any], Any]) -> Trainable:
    def init(key: jax.Array, hparams: Any) -> Any:
        a, b = jax.random.split(key)
        scale = (hparams.get("first", 1.0) / 8, hparams.get("second", 1.0) / 6)
        first, second = scale[0] * jax.random.normal(a, (64, 32)), scale[1] * jax.random.normal(b, (32, 10))
        return {"first": first, "b": jnp.zeros(32), "second": second, "c": jnp.zeros(10)}

    def logits(p: Any, x: jax.Array) -> jax.Array:
        return jax.nn.relu(x @ p["first"] + p["b"]) @ p["second"] + p["c"]

    return supervised((init, logits), optax.softmax_cross_entropy_with_integer_labels, data, optimizer=optimizer, batch_size=64)


def decayed(h: Any) -> Any:
    return optax.chain(optax.add_decayed_weights(h["decay"]), optax.sgd(h["learning_rate"], h["momentum"]))


def compiled(trainable: Trainable, steps: int, wrt: Any, adjoint: Any, hparams: Any) -> Any:
    function = jax.jit(value_and_hypergrad(trainable, steps, wrt, adjoint=adjoint, guard=False))
    return function.lower(hparams, KEY).compile()


def timed(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of CPU of each."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(rounds + 1):  # the first warms up
        for name, call in ways.items() if round_ % 2 else reversed(ways.items()):
            begun = time.process_time()
            jax.block_until_ready(call())
            if round_:
                times[name].append(time.process_time() - begun)
    return {name: float(np.median(t)) for name, t in times.items()}


def exponent(steps: list[int], sizes: list[int]) -> float:
    return float(np.polyfit(np.log(steps), np.log(sizes), 1)[0])


def costs(adjoints: dict[str, tuple[Any, Any]], steps: list[int], rounds: int) -> list[dict[str, Any]]:
    """A row per adjoint: its time over that of a plain run, and its memory, by steps."""
    hparams = {name: jnp.float32(x) for name, x in POINT.items()}
    trainable = network(digits(), decayed)
    state = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(jax.eval_shape(trainable.init, KEY, hparams)))
    told: dict[str, dict[int, dict[str, float]]] = {name: {} for name in adjoints}
    for n in steps:
        programs = {"plain": compiled(trainable, n, NAMES[:1], Plain(), hparams)}
        programs |= {name: compiled(trainable, n, wrt, adjoint, hparams) for name, (adjoint, wrt) in adjoints.items()}
        seconds = timed({name: (lambda p=p: p(hparams, KEY)) for name, p in programs.items()}, rounds)
        plain = programs["plain"].memory_analysis().temp_size_in_bytes
        for name in adjoints:
            size = programs[name].memory_analysis().temp_size_in_bytes
            over = seconds[name] / seconds["plain"]
            told[name][n] = {"ms": 1e3 * seconds[name], "over_plain": over, "bytes": size, "over_states": (size - plain) / (n * state)}
            print(f"{name:>16} {n:>6} steps {1e3 * seconds[name]:>9.1f} ms {over:>6.2f} x plain {size / 1e6:>8.2f} MB", flush=True)
    return [
        {
            "adjoint": name,
            "steps": by_steps,
            "state_bytes": state,
            "memory_exponent": exponent(steps, [by_steps[n]["bytes"] for n in steps]) if len(steps) > 1 else None,
        }
        for name, by_steps in told.items()
    ]


def trial(rounds: int, steps: int = 256) -> dict[str, Any]:
    """Trainings that a trial costs with its gradient, by lanes."""
    names, cost = NAMES[:3], {}
    trainable = network(digits(), decayed)
    for width in (1, 16):
        columns = {name: np.full(width, x, np.float32) for name, x in POINT.items() if name in names}
        lanes = Lanes(trainable, {name: x[0] for name, x in columns.items()}, width, segment=steps)
        gradients = Gradients(lanes, names, steps, Reverse(), "loss")

        def trained(lanes: Any = lanes, columns: Any = columns, k: int = width) -> Any:
            return lanes.run(lanes.refill(lanes.init(), range(k), range(k), columns, steps))[1]

        def graded(gradients: Any = gradients, columns: Any = columns, k: int = width) -> Any:
            return [g.slopes for g in gradients(list(range(k)), [0] * k, columns)]

        seconds = timed({"training": trained, "gradient": graded}, rounds)
        cost[width] = 1 + seconds["gradient"] / seconds["training"]
        print(f"a trial in {width} lanes: {cost[width]:.2f} trainings", flush=True)
    return {"steps": steps, "trainings": cost}


def edge(seeds: int) -> dict[str, Any]:
    """How often signs agree with the slope over 128 runs, none of which the guard trains."""
    data = digits()
    x = data["train"][0]
    standard = {name: ((a - x.mean(0)) / (x.std(0) + 1e-8), b) for name, (a, b) in data.items()}
    trainable = network(standard, lambda h: optax.sgd(h["learning_rate"], 0.9))

    def of(adjoint: Any) -> Any:
        return jax.jit(value_and_hypergrad(trainable, 256, "learning_rate", adjoint=adjoint, guard=False))

    reference = of(SmoothedSlope(128))
    ways = {
        "unguarded": of(Reverse()),
        "guarded": of(Guarded(Reverse())),
        "guarded forward": of(Guarded(Forward())),
        "always tested": of(Guarded(Reverse(), when="always")),
    }
    rates = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)
    agree: dict[str, list[float]] = {name: [] for name in ways}
    largest, replaced, by_rate = [], [], {}
    for rate in rates:
        hits: dict[str, list[bool]] = {name: [] for name in ways}
        for seed in range(seeds):
            point, key = {"learning_rate": jnp.float32(rate)}, lane_key(seed, 0)
            slope = np.sign(reference(point, key)[1]["learning_rate"])
            for name, function in ways.items():
                _, gradient, info = function(point, key)
                g = float(gradient["learning_rate"])
                hits[name].append(bool(np.isfinite(g) and np.sign(g) == slope))
                if name == "unguarded":
                    largest.append(abs(g) * rate)
                if name == "guarded":
                    replaced.append(bool(info.replaced["learning_rate"]))
        by_rate[rate] = {name: float(np.mean(hit)) for name, hit in hits.items()}
        for name, hit in hits.items():
            agree[name] += hit
        print(f"learning rate {rate}: " + ", ".join(f"{name} {p:.0%}" for name, p in by_rate[rate].items()), flush=True)
    return {
        "seeds": seeds,
        "agreement": {name: float(np.mean(hit)) for name, hit in agree.items()},
        "by_rate": by_rate,
        "median_size": float(np.median(largest)),
        "largest": float(np.max(largest)),
        "replaced": float(np.mean(replaced)),
    }


def ridge(rounds: int, n: int = 200, d: int = 100) -> dict[str, Any]:
    """Solve, and differentiate the validation loss by d penalties, inner and adjoint problem by CG in all ways."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        x, xv = jnp.asarray(rng.normal(size=(n, d))), jnp.asarray(rng.normal(size=(n, d)))
        truth = rng.normal(size=d)
        y, yv = x @ truth + rng.normal(size=n), xv @ truth + rng.normal(size=n)
        penalty = jnp.full(d, 0.1)
        train = (x, y)

        def penalised(w: Any, penalty: Any) -> Any:
            return jnp.square(x @ w - y).mean() + (penalty * jnp.square(w)).sum()

        def measured(w: Any) -> Any:
            return jnp.square(xv @ w - yv).mean()

        def solved(penalty: Any, key: Any = None) -> Any:
            """w, by CG."""
            product = lambda v: x.T @ (x @ v) / n + penalty * v  # noqa: E731
            return jax.scipy.sparse.linalg.cg(product, x.T @ y / n, tol=1e-12, maxiter=200)[0]

        def step(state: Any, h: Any, batch: Any, key: Any, t: Any) -> Any:
            return {"params": solved(jax.lax.stop_gradient(h["penalty"]))}, {"loss": penalised(state["params"], h["penalty"])}

        trainable = Trainable(
            lambda key, h: {"params": jnp.zeros(d)}, step, lambda s, h, split, key: {"loss": measured(s["params"])},
            {"train": train, "validation": (xv, yv)},
        )  # fmt: skip
        ours = value_and_hypergrad(trainable, 1, "penalty", adjoint=Implicit(cg(200, 1e-12)), guard=False)
        alone, told = jax.jit(lambda penalty: ours({"penalty": penalty}, KEY)[1]["penalty"]), jax.jit(ours)
        ways: dict[str, Callable[[], Any]] = {
            "ours": lambda: alone(penalty),
            "ours, with value and diagnostics": lambda: told({"penalty": penalty}, KEY)[1]["penalty"],
        }
        notes = {}
        for name, make in {"optimistix": _optimistix, "jaxopt": _jaxopt}.items():
            try:
                solve = make(penalised, solved, d)
                function = jax.jit(jax.grad(lambda penalty, solve=solve: measured(solve(penalty))))
                jax.block_until_ready(function(penalty))
                ways[name] = lambda function=function: function(penalty)
            except (ImportError, AttributeError, TypeError) as e:  # a peer that is not there, or not for this JAX
                notes[name] = f"{type(e).__name__}: {str(e)[:200]}"
        h = x.T @ x / n + jnp.diag(penalty)
        w = jnp.linalg.solve(h, x.T @ y / n)
        exact = -jnp.linalg.solve(h, 2 * xv.T @ (xv @ w - yv) / n) * w
        errors = {name: float(jnp.abs(call() - exact).max() / jnp.abs(exact).max()) for name, call in ways.items()}
        seconds = timed(ways, rounds)
    over = {name: seconds["ours"] / s for name, s in seconds.items()}
    print(f"ridge, {d} penalties: " + ", ".join(f"{k} {1e3 * s:.2f} ms, error {errors[k]:.0e}" for k, s in seconds.items()), notes)
    return {"penalties": d, "ms": {k: 1e3 * s for k, s in seconds.items()}, "error": errors, "ours_over": over, "missing": notes}


def _optimistix(penalised: Any, solved: Any, d: int) -> Any:
    """Implicit differentiation of a root of the training gradient, its linear systems by CG."""
    import lineax
    import optimistix

    def solve(penalty: Any) -> Any:
        w = jax.lax.stop_gradient(solved(penalty))
        adjoint = optimistix.ImplicitAdjoint(linear_solver=lineax.CG(rtol=1e-12, atol=1e-12, max_steps=200))
        solver = optimistix.Newton(rtol=1e-6, atol=1e-6, linear_solver=lineax.CG(rtol=1e-12, atol=1e-12, max_steps=200))
        slope = lambda w, penalty: jax.grad(penalised)(w, penalty)  # noqa: E731
        tags = frozenset({lineax.positive_semidefinite_tag})
        return optimistix.root_find(slope, solver, w, args=penalty, adjoint=adjoint, tags=tags, throw=False, max_steps=2).value

    return solve


def _jaxopt(penalised: Any, solved: Any, d: int) -> Any:
    import jaxopt
    from jaxopt.implicit_diff import custom_root

    decorate = custom_root(jax.grad(penalised), solve=lambda product, b: jaxopt.linear_solve.solve_cg(product, b, tol=1e-12, maxiter=200))
    wrapped = decorate(lambda start, penalty: solved(penalty))
    return lambda penalty: wrapped(None, penalty)


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("parts", nargs="*", default=["cost", "forward", "trial", "edge", "ridge"], help="some of the parts above")
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--seeds", type=int, default=10)
    p.add_argument("--steps", default="256,1024,4096")
    p.add_argument("--dry", action="store_true", help="no row")
    arguments = p.parse_args()
    steps = [int(n) for n in arguments.steps.split(",")]
    found: list[dict[str, Any]] = []
    if "cost" in arguments.parts:
        reverse = {f"Reverse({c!r})": (Reverse(c), NAMES[:3]) for c in ("step", "sqrt", None)}
        found += [{"part": "cost"} | row for row in costs(reverse, steps, arguments.rounds)]
    if "forward" in arguments.parts:
        forward = {f"Forward, {d}": (Forward(), NAMES[:d]) for d in (1, 3, 5)}
        found += [{"part": "forward"} | row for row in costs(forward, steps[:2], arguments.rounds)]
    if "trial" in arguments.parts:
        found.append({"part": "trial"} | trial(arguments.rounds))
    if "edge" in arguments.parts:
        found.append({"part": "edge"} | edge(arguments.seeds))
    if "ridge" in arguments.parts:
        found.append({"part": "ridge"} | ridge(max(arguments.rounds, 200)))
    for row in found:
        print(row)
        if not arguments.dry:
            rows.append("hypergrad", {"device": jax.devices()[0].device_kind} | row)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
