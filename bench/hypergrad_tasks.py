"""What are hypergradients worth, at equal cost?  python bench/hypergrad_tasks.py [decay] [schedule] [labels] [--seeds 10] [--dry]

The tasks are those of examples/; each seed has its own data, and test values are means over fresh trainings.

    decay     130 weight decays, the cost of 100 trainings: the test loss of hypergradient_descent (20 trials with their gradients, 5
              trainings each), and of random search, Optuna's TPE and bayes with 100 trials. These see all 800 validation examples; the
              descent sees 600 and chooses by 200.
    schedule  100 knots, started from the best of 25 cosine schedules of bayes (8 trainings each), then 24 steps (8 gradients of 5 trainings
              each), against the best of 145 cosine schedules
    labels    500 example weights, a fifth of the labels wrong: the area under the curve with which the weights find them
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import rows

import jaxhp
from jaxhp.train.hypergrad import Info

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

import data_reweighting as labels_task
import per_layer_decay as decay_task
import schedule_by_gradient as schedule_task

COST = 100  # trainings, of the first task

Objective = Callable[[Mapping[str, float], int], float]
Params = Mapping[str, float]


@dataclass(frozen=True)
class Plain:
    """The training run alone."""

    exact: bool = False

    def gradient(self, loop: Any, x: Any) -> Any:
        return loop.value(x), x, Info(adjoint="plain")


def objective(trainable: jaxhp.Trainable, split: str, steps: int) -> Objective:
    """The loss on a split after training, by configuration and number."""
    names = tuple(decay_task.space.names)
    task = trainable._replace(data={**trainable.data, "validation": trainable.data[split]})
    function = jax.jit(jaxhp.value_and_hypergrad(task, steps, names, adjoint=Plain(), guard=False))
    return lambda params, number: float(function({name: np.float32(params[name]) for name in names}, jaxhp.lane_key(0, number))[0])


def by_sampler(make: Callable[[], jaxhp.Sampler], loss: Objective, seed: int) -> Params:
    study = jaxhp.Study(decay_task.space, sampler=make(), seed=seed)
    return dict(study.optimize(lambda trial: loss(trial.params, trial.number), trials=COST).best_observed.params)


def by_tpe(loss: Objective, seed: int) -> Params:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))

    def one(trial: Any) -> float:
        space = decay_task.space.parameters.items()
        return loss({name: trial.suggest_float(name, p.low, p.high, log=p.log) for name, p in space}, trial.number)

    study.optimize(one, n_trials=COST)
    return dict(study.best_params)


def decay(seed: int) -> dict[str, Any]:
    """Test losses of the configurations that each way chooses."""
    whole = decay_task.plain(seed)
    loss, test = (objective(whole, split, decay_task.STEPS) for split in ("validation", "test"))
    ways: dict[str, Callable[[], Params]] = {
        "hypergradient_descent": lambda: dict(decay_task.descended(seed).best.params),
        "random_search": lambda: by_sampler(jaxhp.random_search, loss, seed),
        "tpe": lambda: by_tpe(loss, seed),
        "bayes": lambda: by_sampler(jaxhp.bayes, loss, seed),
        "default": lambda: decay_task.space.default_params(),
    }
    found: dict[str, Any] = {}
    for name, way in ways.items():
        begun = time.perf_counter()
        params = way()
        found[f"{name}_seconds"] = round(time.perf_counter() - begun, 2)
        found[name] = float(np.mean([test(params, 10**6 + i) for i in range(5)]))
    return found


def schedule(seed: int) -> dict[str, Any]:
    """Test losses of the best cosine schedule at full cost, of the one that the descent starts from, and of its knots."""
    splits = schedule_task.data(seed)
    start = schedule_task.best_cosine(splits, 25, seed)
    found = schedule_task.descended(splits, start, 24, seed)
    best = schedule_task.best_cosine(splits, 145, seed)
    return dict(zip(("cosine", "start", "knots"), schedule_task.judged(splits, [best, start, found.knots]), strict=True))


def labels(seed: int) -> dict[str, Any]:
    """The area under the curve, and test losses."""
    d = labels_task.data(seed)
    found = labels_task.reweighted(d, seed)
    alike = np.full(labels_task.N, 0.5)
    return {
        "auc": found.auc[-1],
        "learned": labels_task.tested(d, np.clip(found.weights, 1e-4, 1 - 1e-4)),
        "alike": labels_task.tested(d, alike),
    }


TASKS: dict[str, Callable[[int], dict[str, Any]]] = {"decay": decay, "schedule": schedule, "labels": labels}


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("tasks", nargs="*", default=list(TASKS), help="of decay, schedule, labels")
    p.add_argument("--seeds", type=int, default=10)
    p.add_argument("--dry", action="store_true", help="no row")
    arguments = p.parse_args()
    for name in arguments.tasks:
        told: list[dict[str, Any]] = []
        for seed in range(arguments.seeds):
            begun = time.perf_counter()
            told.append(TASKS[name](seed))
            values = {key: round(x, 4) for key, x in told[-1].items()}
            print(name, f"seed {seed}", values, f"{time.perf_counter() - begun:.0f} s", flush=True)
        means = {key: float(np.mean([t[key] for t in told])) for key in told[0]}
        row = {"task": name, "seeds": arguments.seeds, "mean": means, "each": told}
        print(name, "mean", {key: round(x, 4) for key, x in means.items()})
        if not arguments.dry:
            rows.append("hypergrad_tasks", {"device": jax.devices()[0].device_kind} | row)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
