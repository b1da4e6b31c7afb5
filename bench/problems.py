"""The judge's problems and their fixed split: TUNE to choose settings on, JUDGE never looked at while choosing.

    python bench/problems.py      what there is, what an evaluation costs, and the medians of random search, measured again

Every family is on both sides with different members: other functions, other data sets. What settings were chosen on before (Hartmann6,
Ackley10, Levy10, Rosenbrock6, a cliff, a mixed problem) is TUNE. LCBench's data sets share one list of configurations, HW-GPT's two
problems one perplexity network: these are the least fresh. Data sets of bench_data that are on neither side are kept in reserve.
"""

from __future__ import annotations

import math
import time
import zlib
from functools import cache
from typing import NamedTuple

import numpy as np
from peers import Dim, Params, active
from synthetic import (
    Instance,
    Maker,
    ackley,
    branin,
    cliff,
    conditional8,
    conditional10,
    continuous,
    hartmann6,
    levy,
    michalewicz5,
    mixed8,
    mixed12,
    rosenbrock,
    styblinski_tang,
)
from tables import Unavailable, bbob, median, one_seed, table


class Problem(NamedTuple):
    name: str
    group: str  # "synthetic", "noisy", "bbob", "tables": what a table of scores is split by
    family: str
    split: str  # "tune" or "judge"
    make: Maker

    def instance(self, seed: int) -> Instance:
        return self.make(np.random.default_rng([zlib.crc32(self.name.encode()), seed]))

    def noise(self, seed: int) -> np.random.Generator:
        """What a noisy problem draws from: the same draws for every tuner."""
        return np.random.default_rng([zlib.crc32(self.name.encode()), seed, 1])

    @property
    def scale(self) -> float:
        """Regret of the median random configuration: what 1 is in a normalised regret."""
        return MEDIANS[self.name] if self.name in MEDIANS else median(self.family, self.name)


# Median regret of 20,000 random configurations, 1000 on each of 20 seeds; failures and values above 1e6 x the least are left out.
# Measured by `python bench/problems.py`; for the other tables it stands in bench_data/reference.csv.
MEDIANS: dict[str, float] = {
    "lcbench_3945": 9.013,
    "lcbench_126025": 14.57,
    "lcbench_167149": 16.8,
    "lcbench_7593": 27.69,
    "lcbench_146212": 9.683,
    "lcbench_167161": 19.09,
    "taskset_patch128_LSTM128_bs64": 0.2895,
    "taskset_patch32_IRNN64_relu_avg_bs128": 0.4309,
    "taskset_patch32_GRU64_avg_bs128": 0.2523,
    "taskset_patch32_VRNN64_relu_avg_bs128": 0.2364,
    "hpolib_naval_propulsion": 0.1921,
    "hpolib_parkinsons_telemonitoring": 0.1944,
    "hpobench_vehicle": 0.104,
    "hpobench_car": 0.04976,
    "hartmann6": 3.223,
    "ackley10": 21.42,
    "levy10": 152.4,
    "rosenbrock6": 2809,
    "cliff5": 0.5926,
    "mixed8": 0.9552,
    "conditional8": 0.1931,
    "hartmann6_50d": 3.216,
    "hartmann6_noisy": 3.221,
    "hpobench_australian_seeds": 0.03424,
    "bbob_f6_d5": 3.071e05,
    "bbob_f22_d10": 84.74,
    "bbob_f13_d20": 3180,
    "bbob-mixint_f1_d10": 82.18,
    "branin": 34.46,
    "styblinski8": 294.9,
    "michalewicz5": 4.264,
    "cliff8": 0.5388,
    "mixed12": 1.388,
    "conditional10": 0.6546,
    "levy4_40d": 43.68,
    "ackley6_noisy": 21.35,
    "hpobench_credit_g_seeds": 0.0412,
    "bbob_f24_d5": 141.6,
    "bbob_f8_d10": 2.742e05,
    "bbob_f2_d20": 2.04e07,
    "bbob-mixint_f16_d10": 79.91,
}

_TABLES = {
    "tune": {
        "lcbench": ("3945", "126025", "167149"),
        "taskset": ("patch128_LSTM128_bs64", "patch32_IRNN64_relu_avg_bs128"),
        "hpolib": ("naval_propulsion",),
        "hpobench": ("vehicle",),
        "rbv2_rpart": ("14", "1475"),
        "iaml_glmnet": ("40981",),
        "hwgpt": ("s_ppl",),
    },
    "judge": {
        "lcbench": ("7593", "146212", "167161"),
        "taskset": ("patch32_GRU64_avg_bs128", "patch32_VRNN64_relu_avg_bs128"),
        "hpolib": ("parkinsons_telemonitoring",),
        "hpobench": ("car",),
        "nasbench201": ("cifar10",),
        "rbv2_rpart": ("40499", "1040"),
        "iaml_glmnet": ("1489",),
        "hwgpt": ("s_ppl_sized",),
    },
}

_BBOB = {
    "tune": (("bbob", 6, 5), ("bbob", 22, 10), ("bbob", 13, 20), ("bbob-mixint", 1, 10)),
    "judge": (("bbob", 24, 5), ("bbob", 8, 10), ("bbob", 2, 20), ("bbob-mixint", 16, 10)),
}

_SYNTHETIC: dict[str, dict[str, tuple[str, Maker]]] = {
    "tune": {
        "hartmann6": ("smooth", continuous(hartmann6, 6, 0.03)),
        "ackley10": ("smooth", continuous(ackley, 10, 0.3)),
        "levy10": ("smooth", continuous(levy, 10, 0.3)),
        "rosenbrock6": ("smooth", continuous(rosenbrock, 6, 0.2)),
        "cliff5": ("cliff", cliff(5, 0.5, 0.75, fails=False)),
        "mixed8": ("mixed", mixed8),
        "conditional8": ("mixed", conditional8),
        "hartmann6_50d": ("high-dimensional", continuous(hartmann6, 6, 0.03, total=50)),
    },
    "judge": {
        "branin": ("smooth", continuous(branin, 2, 0.03)),
        "styblinski8": ("smooth", continuous(styblinski_tang, 8, 0.1)),
        "michalewicz5": ("smooth", continuous(michalewicz5, 5, 0.1)),
        "cliff8": ("cliff", cliff(8, 0.25, 0.4, fails=True)),
        "mixed12": ("mixed", mixed12),
        "conditional10": ("mixed", conditional10),
        "levy4_40d": ("high-dimensional", continuous(levy, 4, 0.3, total=40)),
    },
}

_NOISY: dict[str, dict[str, tuple[str, Maker]]] = {
    "tune": {
        "hartmann6_noisy": ("noisy function", continuous(hartmann6, 6, 0.03, noise=0.3)),
        "hpobench_australian_seeds": ("training seeds", one_seed("australian")),
    },
    "judge": {
        "ackley6_noisy": ("noisy function", continuous(ackley, 6, 0.3, noise=1.0)),
        "hpobench_credit_g_seeds": ("training seeds", one_seed("credit_g")),
    },
}


@cache
def problems() -> dict[str, Problem]:
    found = []
    for split in ("tune", "judge"):
        for group, members in (("synthetic", _SYNTHETIC[split]), ("noisy", _NOISY[split])):
            found += [Problem(name, group, family, split, make) for name, (family, make) in members.items()]
        found += [Problem(f"{suite}_f{f}_d{d}", "bbob", suite, split, bbob(suite, f, d)) for suite, f, d in _BBOB[split]]
        for family, tasks in _TABLES[split].items():
            names = [f"{family}_{task}" for task in tasks]
            found += [Problem(name, "tables", family, split, table(family, name)) for name in names]
    return {p.name: p for p in found}


def random_params(dims: list[Dim], rng: np.random.Generator) -> Params:
    params: Params = {}
    for dim in dims:
        if not active(dim, params):
            continue
        if dim.kind == "choice":
            params[dim.name] = dim.choices[rng.integers(len(dim.choices))]
        elif dim.kind == "int":
            params[dim.name] = int(rng.integers(int(dim.low), int(dim.high) + 1))
        elif dim.kind == "logint":
            params[dim.name] = int(
                min(dim.high, max(dim.low, round((dim.low - 0.4999) * ((dim.high + 0.4999) / (dim.low - 0.4999)) ** rng.random())))
            )
        else:
            u = rng.random()
            params[dim.name] = dim.low * (dim.high / dim.low) ** u if dim.kind == "log" else dim.low + u * (dim.high - dim.low)
            params[dim.name] = min(dim.high, max(dim.low, params[dim.name]))
    return params


def _measure(problem: Problem, seeds: int = 20, points: int = 1000) -> tuple[float, float, float]:
    """Median and least regret of random configurations, and microseconds an evaluation."""
    regrets, seconds = [], 0.0
    for seed in range(seeds):
        instance, rng = problem.instance(seed), np.random.default_rng(seed)
        configurations = [random_params(instance.dims, rng) for _ in range(points)]
        start = time.thread_time()
        values = [instance.value(params) for params in configurations]
        seconds += time.thread_time() - start
        regrets += [y - instance.best for y in values if math.isfinite(y)]
    finite = np.array(regrets)
    kept = finite[finite < 1e6 * max(float(finite.min()), 1e-6)] if finite.max() >= 1e29 else finite
    return float(np.median(kept)), float(finite.min()), seconds / (seeds * points) * 1e6


def main() -> None:
    for problem in problems().values():
        try:
            middle, least, cost = _measure(problem, *(() if problem.group != "tables" else (5, 200)))
            scale = f"{problem.scale:9.4g}" if problem.group == "tables" or problem.name in MEDIANS else "  missing"
            d = len(problem.instance(0).dims)
            print(
                f"{problem.split:6s} {problem.group:10s} {problem.name:42s} d={d:<3d} median {middle:9.4g} (scale {scale})  "
                f"least {least:8.2g}  {cost:6.1f} us",
                flush=True,
            )
        except Unavailable as e:
            print(f"{problem.split:6s} {problem.group:10s} {problem.name:42s} skipped: {e}")


if __name__ == "__main__":
    main()
