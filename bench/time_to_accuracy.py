"""Seconds until a validation loss is reached.  python bench/time_to_accuracy.py [--seeds 10] [--network 16] [--target 0.1]

An MLP on scikit-learn's digits, AdamW; learning rate, weight decay and both betas are tuned, a full run is 900 steps, trials are compared
at 100 and 300. Whoever first sees the target on the validation set, at any step of any trial, stops the clock:

    lanes      study.train(trainable, scheduler=asha(min_steps=100)), sampler bayes()
    traced     Optuna's TPE and HyperbandPruner around one jitted function of 100 steps with traced hyperparameters
    jit each   the same around a function that is jitted anew for each trial, its hyperparameters Python numbers

`lanes` and `traced` are timed twice: cold, compilation included and no cache on disk, and warm, with the programs of the study before
(`study.train(lanes=other.lanes)`). Medians over seeds; a run that does not get there within
--trials trials counts with the time it took, and is said.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optuna
import rows
from lanes_throughput import BATCH, NETWORKS, cross_entropy, digits, spread

import jaxhp

STEPS, SEGMENT = 900, 100
SPACE = jaxhp.Space(
    {
        "lr": jaxhp.Float(1e-4, 1.0, log=True),
        "wd": jaxhp.Float(1e-6, 1e-1, log=True),
        "b1": jaxhp.Float(0.5, 0.99),
        "b2": jaxhp.Float(0.9, 0.9999),
    }
)


class Reached(Exception):
    pass


def optimizer(h: dict[str, Any]) -> optax.GradientTransformation:
    return optax.adamw(h["lr"], b1=h["b1"], b2=h["b2"], weight_decay=h["wd"])


def lanes(trainable: jaxhp.Trainable, seed: int, target: float, trials: int, width: Any, mesh: Any) -> tuple[float, bool, dict[str, Any]]:
    """Seconds, whether the target was reached, and where the time went."""
    begun = time.perf_counter()
    study = jaxhp.Study(SPACE, metric="loss", sampler=jaxhp.bayes(), seed=seed)
    facts: dict[str, Any] = {"segments": 0, "busy": 0}

    def stop(study: jaxhp.Study, progress: jaxhp.Progress) -> None:
        facts["segments"] = progress.segments
        facts["busy"] += progress.busy
        if min(float(x) for x in study._fold.course.segments[-1]["values"]["loss"]) <= target:
            raise Reached

    try:
        study.train(trainable, trials, steps=STEPS, scheduler=jaxhp.asha(min_steps=SEGMENT), lanes=width, mesh=mesh, callbacks=[stop])
        reached = False
    except Reached:
        reached = True
    seconds = time.perf_counter() - begun
    facts["device_s"] = sum(r["seconds"] for r in study._fold.course.segments)
    return seconds, reached, facts | {"asked": study._fold.asked, "lanes": study.lanes}


class Loop:
    """100 steps and an evaluation, by hand: what Optuna's objective calls."""

    def __init__(self, network: str, seed: int) -> None:
        self.module, self.data, self.seed = NETWORKS[network], digits(), seed

    def init(self, key: jax.Array, h: dict[str, Any]) -> Any:
        params = self.module.init(key, self.data["train"][0][:1])
        return params, optimizer(h).init(params)

    def run(self, state: Any, h: dict[str, Any], key: jax.Array) -> tuple[Any, jax.Array]:
        (x, y), (xv, yv) = self.data["train"], self.data["validation"]
        n = len(x)
        chosen = jnp.concatenate([jax.random.permutation(jax.random.fold_in(key, i), n) for i in range(-(-SEGMENT * BATCH // n))])

        def step(carry: Any, batch: jax.Array) -> tuple[Any, None]:
            params, opt = carry
            gradient = jax.grad(lambda p: cross_entropy(self.module.apply(p, x[batch]), y[batch]).mean())(params)
            updates, opt = optimizer(h).update(gradient, opt, params)
            return (optax.apply_updates(params, updates), opt), None

        state, _ = jax.lax.scan(step, state, chosen[: SEGMENT * BATCH].reshape(SEGMENT, BATCH))
        return state, cross_entropy(self.module.apply(state[0], xv), yv).mean()


def optuna_loop(
    network: str, seed: int, target: float, trials: int, programs: Callable[[Loop, dict[str, float]], tuple[Any, Any]]
) -> tuple[float, bool, dict[str, Any]]:
    loop = Loop(network, seed)
    key = jax.random.key(seed)

    def objective(trial: optuna.Trial) -> float:
        h = {
            "lr": trial.suggest_float("lr", 1e-4, 1.0, log=True),
            "wd": trial.suggest_float("wd", 1e-6, 1e-1, log=True),
            "b1": trial.suggest_float("b1", 0.5, 0.99),
            "b2": trial.suggest_float("b2", 0.9, 0.9999),
        }
        init, run = programs(loop, h)
        traced = {name: np.float32(value) for name, value in h.items()}
        own = jax.random.fold_in(key, trial.number)
        state = init(own, traced)
        for step in range(SEGMENT, STEPS + 1, SEGMENT):
            state, loss = run(state, traced, jax.random.fold_in(own, step))
            value = float(loss)
            if value <= target:
                raise Reached
            if not np.isfinite(value):
                return 1e9
            trial.report(value, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value

    begun = time.perf_counter()
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=seed), pruner=optuna.pruners.HyperbandPruner(SEGMENT, STEPS, reduction_factor=3)
    )
    try:
        study.optimize(objective, n_trials=trials)
        reached = False
    except Reached:
        reached = True
    return time.perf_counter() - begun, reached, {"asked": len(study.trials)}


def jit_each(loop: Loop, h: dict[str, float]) -> tuple[Any, Any]:
    return (
        jax.jit(lambda key, _: loop.init(key, h)),
        jax.jit(lambda state, _, key: loop.run(state, h, key)),
    )


def traced(held: dict[str, Any]) -> Callable[[Loop, dict[str, float]], tuple[Any, Any]]:
    """One pair of programs for all trials, and for all studies that share `held`."""

    def programs(loop: Loop, h: dict[str, float]) -> tuple[Any, Any]:
        if not held:
            held["init"], held["run"] = jax.jit(loop.init), jax.jit(loop.run)
        return held["init"], held["run"]

    return programs


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seeds", type=int, default=10)
    p.add_argument("--network", default="16", choices=NETWORKS)
    p.add_argument("--target", type=float, default=0.092)
    p.add_argument("--trials", type=int, default=600)
    p.add_argument("--lanes", default="auto", help="auto is measured once, before the clock starts")
    p.add_argument("--each", type=int, default=3, help="seeds that the jit of each trial is run with: it is slow")
    p.add_argument("--devices", type=int, default=1, help="CPU devices that the lanes are spread over; the others use one")
    p.add_argument("--dry", action="store_true", help="no row")
    a = p.parse_args()
    mesh = spread(a.devices)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder = Path(tempfile.mkdtemp())
    os.environ["JAXHP_CACHE"] = str(folder)
    trainable = jaxhp.supervised(NETWORKS[a.network], cross_entropy, digits(), optimizer=optimizer, batch_size=BATCH)
    held = lanes(trainable, 0, -1.0, a.trials, a.lanes if a.lanes == "auto" else int(a.lanes), mesh)[2]["lanes"]  # measures how many
    times: dict[str, list[float]] = {way: [] for way in ("lanes cold", "lanes", "traced cold", "traced", "jit each")}
    missed: dict[str, int] = dict.fromkeys(times, 0)
    facts: list[dict[str, Any]] = []
    shared: dict[str, Any] = {}
    optuna_loop(a.network, 99, -1.0, 2, traced(shared))

    def note(way: str, result: tuple[float, bool, dict[str, Any]]) -> None:
        times[way].append(result[0])
        missed[way] += not result[1]
        if way == "lanes":
            facts.append(result[2] | {"lanes": held.width})

    for seed in range(a.seeds):
        note("lanes", lanes(trainable, seed, a.target, a.trials, held, mesh))
        note("traced", optuna_loop(a.network, seed, a.target, a.trials, traced(shared)))
        cached = jax.config.jax_compilation_cache_dir
        jax.config.update("jax_compilation_cache_dir", str(folder / f"cold{seed}"))
        jax.clear_caches()
        note("lanes cold", lanes(trainable, seed, a.target, a.trials, held.width, mesh))
        note("traced cold", optuna_loop(a.network, seed, a.target, a.trials, traced({})))
        if seed < a.each:
            note("jit each", optuna_loop(a.network, seed, a.target, a.trials, jit_each))
        jax.config.update("jax_compilation_cache_dir", cached)
        jax.clear_caches()
        shared.clear()
        optuna_loop(a.network, 99, -1.0, 2, traced(shared))
        print(seed, {way: round(t[-1], 2) for way, t in times.items() if t}, facts[-1], flush=True)
    shutil.rmtree(folder)
    medians = {way: float(np.median(t)) for way, t in times.items()}
    device = sum(f["device_s"] for f in facts) / sum(times["lanes"])
    print({way: round(t, 2) for way, t in medians.items()}, "missed", missed, f"device {device:.3f}")
    print(f"traced / lanes: warm {medians['traced'] / medians['lanes']:.1f}x, cold {medians['traced cold'] / medians['lanes cold']:.1f}x")
    print(f"jit each / lanes: {medians['jit each'] / medians['lanes']:.1f}x, cold {medians['jit each'] / medians['lanes cold']:.1f}x")
    if not a.dry:
        rows.append(
            "time_to_accuracy",
            {
                "network": a.network,
                "devices": a.devices,
                "target": a.target,
                "seeds": a.seeds,
                "seconds": {w: [round(x, 3) for x in t] for w, t in times.items()},
            }
            | {"missed": missed, "facts": facts, "device_share": device},
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
