"""The judge's entrants by name: each with its default settings, built for one problem and one seed.

Conditions are told to the tuners that know them; Nevergrad gets a flat space, whose inactive values are ignored. BoTorch gets rounded
integers and one-hot choices, as in its tutorials. A failed run is told as a failure where a tuner has a word for it.
"""

from __future__ import annotations

import logging
import math
import tempfile
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import peers
from peers import Dim, Params, Peer
from tables import Unavailable

import jaxhp


class Task(NamedTuple):
    dims: list[Dim]
    seed: int
    evaluations: int  # the budget, told to the tuners that ask for it
    noisy: bool


class Tuner(NamedTuple):
    package: str
    build: Callable[[Task], Peer]


def ours(sampler: Callable[[], jaxhp.Sampler] | None) -> Callable[[Task], Peer]:
    """A `Study` as users make it; the default sampler, if None."""

    def build(task: Task) -> Peer:
        study = jaxhp.Study(
            peers.space_of(task.dims), sampler=None if sampler is None else sampler(), seed=task.seed, stochastic=task.noisy
        )

        def ask() -> tuple[Any, Params]:
            trial = study.ask()
            return trial, trial.params

        return Peer("jaxhp", jaxhp.__version__, ask, lambda trial, y: study.tell(trial, y) and None, lambda: study.best.params)

    return build


def expression(text: str) -> Callable[[Task], Peer]:
    """A setting of ours to try, such as `jaxhp.bayes(starts=4)`."""
    return ours(lambda: eval(text, {"jaxhp": jaxhp}))


def optuna(sampler: str) -> Callable[[Task], Peer]:
    def build(task: Task) -> Peer:
        if sampler == "GPSampler":
            _one_thread()
        warnings.filterwarnings("ignore", message="The value nan is not acceptable")  # it is told as a failed trial
        return peers.optuna(task.dims, sampler, task.seed)

    return build


def rustuna(sampler: str) -> Callable[[Task], Peer]:
    def build(task: Task) -> Peer:
        warnings.filterwarnings("ignore", message="The value NaN is not acceptable")  # it is told as a failed trial
        return peers.rustuna(task.dims, sampler, task.seed)

    return build


def hyperopt(task: Task) -> Peer:
    """`tpe.suggest` with its defaults, driven one trial at a time."""
    import hyperopt
    from hyperopt import hp

    logging.getLogger("hyperopt").setLevel(logging.ERROR)
    below: dict[tuple[str, str], list[Dim]] = {}  # a choice's option -> the dims that it alone or among others activates
    for dim in task.dims:
        if dim.when:
            for option in dim.when[1]:
                below.setdefault((dim.when[0], option), []).append(dim)

    def expression(dim: Dim, path: str) -> Any:
        label = f"{path}{dim.name}"  # a dim below several options has a label below each
        if dim.kind == "choice":
            options = [
                {"": option} | {child.name: expression(child, f"{label}={option}/") for child in below.get((dim.name, option), [])}
                for option in dim.choices
            ]
            return hp.choice(label, options)
        if dim.kind == "int":
            return hp.uniformint(label, dim.low, dim.high)
        if dim.kind == "logint":
            return hp.qloguniform(label, math.log(dim.low), math.log(dim.high), 1)
        if dim.kind == "log":
            return hp.loguniform(label, math.log(dim.low), math.log(dim.high))
        return hp.uniform(label, dim.low, dim.high)

    dims = {dim.name: dim for dim in task.dims}
    space = {dim.name: expression(dim, "") for dim in task.dims if dim.when is None}
    domain = hyperopt.Domain(lambda params: 0.0, space)
    trials = hyperopt.Trials()
    seeds = np.random.default_rng(task.seed)

    def flat(nested: dict[str, Any]) -> Params:
        params: Params = {}
        for name, value in nested.items():
            if isinstance(value, dict):
                params[name] = value[""]
                params |= flat({inner: v for inner, v in value.items() if inner})
            else:
                dim = dims[name]
                inside = min(dim.high, max(dim.low, value))
                params[name] = int(inside) if dim.kind in ("int", "logint") else float(inside)
        return params

    def ask() -> tuple[Any, Params]:
        document = hyperopt.tpe.suggest(trials.new_trial_ids(1), domain, trials, int(seeds.integers(2**31 - 1)))[0]
        values = {label: found[0] for label, found in document["misc"]["vals"].items() if found}
        return document, flat(hyperopt.space_eval(space, values))

    def tell(document: Any, y: float) -> None:
        failed = not math.isfinite(y)
        document["result"] = {"status": hyperopt.STATUS_FAIL} if failed else {"status": hyperopt.STATUS_OK, "loss": y}
        document["state"] = hyperopt.JOB_STATE_DONE
        trials.insert_trial_docs([document])
        trials.refresh()

    return Peer("hyperopt", version("hyperopt"), ask, tell)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def botorch(task: Task) -> Peer:
    """SingleTaskGP and qLogEI (under noise qLogNEI, and the best posterior mean), 10 restarts of 512 raw samples, after a Sobol start."""
    import torch
    from botorch.acquisition import qLogExpectedImprovement, qLogNoisyExpectedImprovement
    from botorch.exceptions import BotorchWarning
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from botorch.optim import optimize_acqf
    from gpytorch.mlls import ExactMarginalLogLikelihood
    from linear_operator.utils.warnings import NumericalWarning

    if any(dim.when for dim in task.dims):
        raise Unavailable("SingleTaskGP has no word for conditional parameters")
    for category in (BotorchWarning, NumericalWarning, RuntimeWarning, UserWarning):
        warnings.simplefilter("ignore", category)
    _one_thread()
    torch.manual_seed(task.seed)
    widths = [len(dim.choices) if dim.kind == "choice" else 1 for dim in task.dims]
    bounds = torch.stack([torch.zeros(sum(widths)), torch.ones(sum(widths))]).double()
    start = torch.quasirandom.SobolEngine(sum(widths), scramble=True, seed=task.seed)
    start_size = max(5, min(20, 2 * len(task.dims)))
    xs: list[Any] = []
    ys: list[float] = []

    def decoded(x: Any) -> tuple[Any, Params]:
        """The configuration at x, and x rounded to it."""
        params: Params = {}
        parts = list(torch.split(x.clone(), widths))
        for j, dim in enumerate(task.dims):
            if dim.kind == "choice":
                level = int(parts[j].argmax())
                params[dim.name] = dim.choices[level]
                parts[j] = torch.nn.functional.one_hot(torch.tensor(level), widths[j]).double()
            else:
                u = float(parts[j])
                params[dim.name], u = _number(dim, u)
                parts[j] = torch.tensor([u], dtype=torch.double)
        return torch.cat(parts), params

    def fitted() -> tuple[Any, Any, Any]:
        y = np.array(ys)
        y[~np.isfinite(y)] = y[np.isfinite(y)].max(initial=0.0)  # the worst value there is, for a failed run
        x, target = torch.stack(xs), -torch.tensor(y)[:, None]
        model = SingleTaskGP(x, target)
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        return model, x, target

    def ask() -> tuple[Any, Params]:
        if len(xs) < start_size:
            return decoded(start.draw(1).double()[0])
        model, x, target = fitted()
        acquisition = qLogNoisyExpectedImprovement(model, x) if task.noisy else qLogExpectedImprovement(model, best_f=target.max())
        candidate, _ = optimize_acqf(acquisition, bounds, q=1, num_restarts=10, raw_samples=512)
        return decoded(candidate[0])

    def tell(x: Any, y: float) -> None:
        xs.append(x)
        ys.append(y)

    def best() -> Params:
        if len(xs) < start_size:
            return decoded(xs[int(np.argmin(ys))])[1]
        model, x, _ = fitted()
        return decoded(x[int(model.posterior(x).mean.argmax())])[1]

    return Peer("botorch", version("botorch"), ask, tell, best)


def _number(dim: Dim, u: float) -> tuple[float, float]:
    """The value at u in [0, 1], rounded for an integer, and where that lies."""
    if dim.kind in ("log", "logint"):
        value = min(dim.high, max(dim.low, dim.low * (dim.high / dim.low) ** u))
        value = round(value) if dim.kind == "logint" else value
        return value, math.log(value / dim.low) / math.log(dim.high / dim.low)
    value = min(dim.high, max(dim.low, dim.low + u * (dim.high - dim.low)))
    value = round(value) if dim.kind == "int" else value
    return value, (value - dim.low) / (dim.high - dim.low)


def nevergrad(task: Task) -> Peer:
    import nevergrad as ng

    warnings.simplefilter("ignore")  # it warns about bounds, about large losses and about its own optimizers

    def parameter(dim: Dim) -> Any:
        if dim.kind == "choice":
            return ng.p.Choice(list(dim.choices))
        scale = ng.p.Log if dim.kind in ("log", "logint") else ng.p.Scalar
        number = scale(lower=dim.low, upper=dim.high)
        return number.set_integer_casting() if dim.kind in ("int", "logint") else number

    space = ng.p.Dict(**{dim.name: parameter(dim) for dim in task.dims})
    space.random_state = np.random.RandomState(task.seed)
    space.function.deterministic = not task.noisy
    optimizer = ng.optimizers.NGOpt(space, budget=task.evaluations)

    def ask() -> tuple[Any, Params]:
        candidate = optimizer.ask()
        return candidate, dict(candidate.value)

    def tell(candidate: Any, y: float) -> None:
        optimizer.tell(candidate, y if math.isfinite(y) else math.inf)

    return Peer("nevergrad", version("nevergrad"), ask, tell, lambda: dict(optimizer.recommend().value))


def smac(task: Task) -> Peer:
    import ConfigSpace as cs
    from smac import HyperparameterOptimizationFacade, Scenario
    from smac.runhistory import StatusType, TrialValue

    warnings.simplefilter("ignore")

    def parameter(dim: Dim) -> Any:
        if dim.kind == "choice":
            return cs.CategoricalHyperparameter(dim.name, list(dim.choices))
        if dim.kind in ("int", "logint"):
            return cs.UniformIntegerHyperparameter(dim.name, int(dim.low), int(dim.high), log=dim.kind == "logint")
        return cs.UniformFloatHyperparameter(dim.name, dim.low, dim.high, log=dim.kind == "log")

    space = cs.ConfigurationSpace(seed=task.seed)
    space.add([parameter(dim) for dim in task.dims])
    space.add([cs.InCondition(space[dim.name], space[dim.when[0]], list(dim.when[1])) for dim in task.dims if dim.when])
    folder = tempfile.TemporaryDirectory()
    scenario = Scenario(
        space,
        deterministic=not task.noisy,
        n_trials=task.evaluations,
        seed=task.seed,
        output_directory=folder.name,  # type: ignore[arg-type]
    )
    facade = HyperparameterOptimizationFacade(scenario, lambda config, seed=0: 0.0, overwrite=True, logging_level=False)

    def ask() -> tuple[Any, Params]:
        trial = facade.ask()
        return trial, dict(trial.config)

    finite: list[float] = []  # so far: SMAC's own cost of a crash, infinity, makes its forest raise

    def tell(trial: Any, y: float) -> None:
        failed = not math.isfinite(y)
        if not failed:
            finite.append(y)
        facade.tell(
            trial, TrialValue(cost=max(finite, default=1.0) if failed else y, status=StatusType.CRASHED if failed else StatusType.SUCCESS)
        )

    def best(folder: Any = folder) -> Params:  # the folder lives as long as its tuner
        return dict(facade.intensifier.get_incumbent())

    return Peer("smac", version("smac"), ask, tell, best)


def hebo(task: Task) -> Peer:
    """It needs an environment of its own: see bench/requirements.txt."""
    warnings.simplefilter("ignore")
    import torch
    from hebo.design_space.design_space import DesignSpace
    from hebo.optimizers.hebo import HEBO

    _one_thread()
    np.random.seed(task.seed)  # its optimisers draw from the global generators
    torch.manual_seed(task.seed)
    kinds = {"float": "num", "log": "pow", "int": "int", "logint": "pow_int"}

    def parameter(dim: Dim) -> dict[str, Any]:
        if dim.kind == "choice":
            return {"name": dim.name, "type": "cat", "categories": list(dim.choices)}
        number = int if dim.kind in ("int", "logint") else float
        return {"name": dim.name, "type": kinds[dim.kind], "lb": number(dim.low), "ub": number(dim.high)}

    optimizer = HEBO(DesignSpace().parse([parameter(dim) for dim in task.dims]), scramble_seed=task.seed)

    def ask() -> tuple[Any, Params]:
        frame = optimizer.suggest(n_suggestions=1)
        params = {name: value.item() if isinstance(value, np.generic) else value for name, value in frame.iloc[0].to_dict().items()}
        return frame, {d.name: int(params[d.name]) if d.kind in ("int", "logint") else params[d.name] for d in task.dims}

    return Peer("hebo", version("hebo"), ask, lambda frame, y: optimizer.observe(frame, np.array([[y]])))


OURS = "jaxhp"
TUNERS: dict[str, Tuner] = {
    OURS: Tuner("jaxhp", ours(None)),
    "random": Tuner("jaxhp", ours(jaxhp.random_search)),
    "optuna-tpe": Tuner("optuna", optuna("TPESampler")),
    "jaxhp-tpe": Tuner("jaxhp", ours(lambda: jaxhp.tpe())),
    "rustuna-tpe": Tuner("rustuna", rustuna("TPESampler")),
    "hyperopt-tpe": Tuner("hyperopt", hyperopt),
    "jaxhp-cma": Tuner("jaxhp", ours(lambda: jaxhp.cma_es())),
    "optuna-cmaes": Tuner("optuna", optuna("CmaEsSampler")),
    "nevergrad": Tuner("nevergrad", nevergrad),
    "optuna-gp": Tuner("optuna", optuna("GPSampler")),
    "smac": Tuner("smac", smac),
    "botorch": Tuner("botorch", botorch),
    "hebo": Tuner("hebo", hebo),
}
