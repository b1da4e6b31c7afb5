"""Buckets: which sizes share a padded program, planned from what a step and a compilation cost.

A `padded` trainable can be made at any size and then trains every configuration up to that size, at that size's price. One program per
size wastes compilations, one for all wastes steps. A plan lies between: a few boxes of sizes, cut by `_partition.py` where the space's
prior, the measured price of a step and the measured price of a compilation say so.

Prices are measured at three sizes of each dimension (smallest, middle, largest, the other dimensions at their largest) and interpolated by
power laws; with several dimensions the factors multiply. A run that is short beside one compilation is not worth a plan: all is padded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from jaxhp._rng import uniform
from jaxhp._types import Floats, Ints
from jaxhp.errors import TrainableError
from jaxhp.space import Space
from jaxhp.train._autotune import priced
from jaxhp.train._hparams import traced
from jaxhp.train._lanes import Lanes
from jaxhp.train._partition import partition
from jaxhp.train._trainable import Trainable, must_be_trainable

Sizes: TypeAlias = dict[str, int]
Price: TypeAlias = Callable[[Sizes], tuple[float, float]]  # seconds of a step of one trial, seconds to compile

DRAWN = 4096  # points of the prior that tell how many trials each size will get
MOST = {1: 64, 2: 16}  # sizes considered in each dimension, by the number of dimensions; 8 beyond
SHORT = 3.0  # times the seconds of a compilation: a shorter run is not worth a second program


class Bucket(NamedTuple):
    """A program and the configurations that it trains: those that no earlier bucket holds and that fit in its sizes."""

    sizes: Sizes  # what its arrays are padded to, by name
    trials: float  # expected, from the space's prior
    step: float = math.nan  # seconds of a step of one trial; NaN where nothing was measured
    compiling: float = math.nan  # seconds
    lanes: int = 0  # slots of its program; 0: not chosen yet

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Whether a configuration of these sizes fits."""
        return all(sizes[name] <= most for name, most in self.sizes.items())


class Plan(NamedTuple):
    """Buckets from the cheapest step to the dearest, and what the run is expected to cost."""

    buckets: tuple[Bucket, ...]
    steps: float  # of one trial, expected
    exact: float = math.nan  # seconds of one program for every size that occurs
    programs: float = math.nan  # how many those are
    padded: float = math.nan  # seconds of one program for all

    @property
    def seconds(self) -> float:
        """What the plan is expected to take, compilations included."""
        return sum(b.compiling + b.trials * self.steps * b.step for b in self.buckets)

    def bucket(self, sizes: Mapping[str, int]) -> int:
        """The index of the first bucket that holds these sizes.

        Raises:
            TrainableError: none does.
        """
        for i, bucket in enumerate(self.buckets):
            if bucket.holds(sizes):
                return i
        raise TrainableError(f"no bucket holds {_shown(sizes)}: the largest is padded to {_shown(self.buckets[-1].sizes)}")

    def to_json(self) -> dict[str, Any]:
        """What the log keeps; NaN as text."""
        plain = {name: _plain(getattr(self, name)) for name in ("steps", "exact", "programs", "padded")}
        return plain | {"buckets": [{name: _plain(x) for name, x in b._asdict().items()} for b in self.buckets]}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Plan:
        """The plan of a record."""
        numbers = {name: float(fields[name]) for name in ("steps", "exact", "programs", "padded")}
        floats = ("trials", "step", "compiling")
        return cls(tuple(Bucket(**(b | {name: float(b[name]) for name in floats})) for b in fields["buckets"]), **numbers)

    def __str__(self) -> str:
        lines = [f"{'padded to':<24}{'trials':>8}{'lanes':>7}{'us a step':>11}{'compile s':>11}{'total s':>9}"]
        for b in self.buckets:
            total = b.compiling + b.trials * self.steps * b.step
            lanes = str(b.lanes) if b.lanes else ""
            lines.append(f"{_shown(b.sizes):<24}{b.trials:>8.1f}{lanes:>7}{_number(1e6 * b.step)}{_number(b.compiling)}{_number(total, 9)}")
        if not math.isnan(self.seconds):
            programs = f"{len(self.buckets)} program{'s' * (len(self.buckets) > 1)}"
            compared = {f"this plan: {programs}": self.seconds, f"exact per size: {self.programs:.0f} programs": self.exact}
            compared["pad everything: 1 program"] = self.padded
            lines += [f"{name:<61}{_number(seconds, 9)}" for name, seconds in compared.items()]
        return "\n".join(lines)


def plan_buckets(
    trainable: Trainable,
    space: Space,
    *,
    trials: int,
    steps: int,
    buckets: str | int | Sequence[int | Mapping[str, int]] = "auto",
    price: Price | None = None,
    evaluate_every: int | None = None,
) -> Plan:
    """How `study.train` would share out sizes over programs: print it. Compiles and measures up to three programs per dimension.

    Args:
        trainable: from `jaxhp.padded`.
        space: what varies; its prior says how many trials of each size there will be.
        trials: in all.
        steps: of each.
        buckets: "auto" plans; 1 pads everything; a list of sizes, or of dicts of sizes where several vary, says what to pad to.
        price: `price(sizes) -> (seconds of a step of one trial, seconds to compile)` instead of measuring.
        evaluate_every: steps between evaluations, which are part of what a step costs; by default a twentieth of `steps`.

    Raises:
        TrainableError: the trainable has no sizes that the space varies, one varies beyond them, or an argument is not valid.

    >>> import jaxhp, jax.numpy as jnp
    >>> def make(width):
    ...     return jaxhp.Trainable(
    ...         init=lambda key, h: jnp.zeros(width), step=lambda w, h, batch, key, t: (w * 0.9, {}),
    ...         evaluate=lambda w, h, split, key: {"loss": w.sum()}, data={"train": jnp.zeros(1), "validation": jnp.zeros(1)})
    >>> space = jaxhp.Space({"width": jaxhp.Int(16, 256, log=True)})
    >>> plan = plan_buckets(jaxhp.padded(make, width=256), space, trials=512, steps=900, price=lambda s: (1e-9 * s["width"] ** 2, 1.0))
    >>> [b.sizes["width"] for b in plan.buckets]
    [66, 129, 187, 256]
    """
    for name, value in (("trials", trials), ("steps", steps), ("evaluate_every", evaluate_every)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise TrainableError(f"{name}: expected a positive integer, got {value!r}")
    segment = evaluate_every or -(-steps // 20)
    example = {name: column[0] for name, column in traced(space, space.default()[None]).items()}

    def make(sizes: Sizes, width: int) -> Lanes:
        return Lanes(trainable.resized(sizes), example, width, segment=segment)

    return plan(trainable, space, trials, steps, buckets, price or Measured(make, axes(trainable, space)))


def plan(
    trainable: Trainable,
    space: Space,
    trials: int,
    steps: float,
    buckets: str | int | Sequence[int | Mapping[str, int]],
    price: Price | None,
) -> Plan:
    """`plan_buckets` with a price, or without any where the buckets are given."""
    names = list(axes(trainable, space))
    if not names:
        raise TrainableError(
            f"buckets={buckets!r}: no size of the trainable ({', '.join(trainable.sizes) or 'it has none'}) is a parameter of the space; "
            "build it with jaxhp.padded(make, width=256), where the space has 'width'"
        )
    drawn = _drawn(space, names)
    largest = {name: int(axis[-1]) for name, axis in axes(trainable, space).items()}
    given = _given(buckets, largest)
    if given is None:
        assert price is not None
        boxes = _planned(drawn, largest, trials, steps, price)
    else:
        boxes = given
    return _priced(boxes, drawn, largest, trials, steps, price)


def axes(trainable: Trainable, space: Space) -> dict[str, Ints]:
    """The sizes of a trainable that a space varies: by name all values, sorted.

    Raises:
        TrainableError: a parameter of that name is no integer, or goes beyond what the trainable is padded to.
    """
    must_be_trainable(trainable)
    found = {}
    for name, most in trainable.sizes.items():
        if name not in space:
            continue
        axis = space.axes[space.names.index(name)]
        numbers = axis.span is not None and axis.levels > 0
        levels = np.sort(axis.values(np.arange(axis.levels, dtype=np.float64))) if numbers else np.zeros(1)
        if levels[0] < 1 or (levels != np.round(levels)).any():
            raise TrainableError(f"{name}: the trainable's arrays depend on it, so it must be an Int or an Ordinal of positive integers")
        if levels[-1] > most:
            raise TrainableError(
                f"{name}: the space goes up to {levels[-1]:.0f}, the trainable is padded to {most}: padded(make, {name}={levels[-1]:.0f})"
            )
        found[name] = levels.astype(np.int64)
    return found


def sizes_of(names: Iterable[str], space: Space, u: Floats) -> list[Sizes]:
    """The sizes of canonical points u (n, d)."""
    columns = traced(space, u)
    return [{name: int(columns[name][i]) for name in names} for i in range(len(u))]


class Measured:
    """Prices by measurement: at the smallest, the middle and the largest size of each dimension, between them by power laws.

    Args:
        make: lanes at some sizes and of some width, nothing compiled.
        axes: per dimension its sizes, sorted.
    """

    def __init__(self, make: Callable[[Sizes, int], Lanes], axes: Mapping[str, Ints]) -> None:
        self._make = make
        self._axes = axes
        self._largest = {name: int(axis[-1]) for name, axis in axes.items()}
        self._laws: dict[str, tuple[Floats, Floats]] = {}  # log sizes (3,), log factors (3, 2) to the price of the largest
        self._known: dict[tuple[int, ...], Floats] = {}

    def __call__(self, sizes: Sizes) -> tuple[float, float]:
        """Seconds of a step of one trial, and seconds to compile, in a program that is padded to these sizes."""
        price = self._logs(self._largest)
        for name, size in sizes.items():
            if size != self._largest[name]:
                at, factors = self._law(name)
                price = price + [np.interp(math.log(size), at, factor) for factor in factors.T]
        return float(np.exp(price[0])), float(np.exp(price[1]))

    def _law(self, name: str) -> tuple[Floats, Floats]:
        if name not in self._laws:
            axis = self._axes[name]
            middle = axis[np.argmin(np.abs(np.log(axis) - (math.log(axis[0]) + math.log(axis[-1])) / 2))]
            known = np.unique([axis[0], middle, axis[-1]])
            logs = np.stack([self._logs(self._largest | {name: int(size)}) for size in known])
            logs[:, 0] = np.minimum.accumulate(logs[::-1, 0])[::-1]  # a smaller size is never dearer: where it seems so, that is noise
            self._laws[name] = np.log(known), logs - logs[-1]
        return self._laws[name]

    def _logs(self, sizes: Sizes) -> Floats:
        key = tuple(sizes.values())
        if key not in self._known:
            self._known[key] = np.log(priced(lambda width: self._make(sizes, width)))
        return self._known[key]


def _drawn(space: Space, names: Sequence[str]) -> Ints:
    """(n, d) sizes of points of the prior."""
    numbers = np.arange(DRAWN, dtype=np.int64)
    u = space.snap(uniform(0, numbers, "buckets", space.d))
    columns = traced(space, space.constrain(u, 0, numbers) if space.constraints else u)
    return np.stack([columns[name].astype(np.int64) for name in names], axis=1)


def _given(buckets: Any, largest: Sizes) -> list[Sizes] | None:
    """The boxes that the user names; None for "auto".

    Raises:
        TrainableError: they are no sizes, or do not hold the largest configuration.
    """
    if isinstance(buckets, str) and buckets == "auto":
        return None
    if isinstance(buckets, int) and not isinstance(buckets, bool) and buckets == 1:
        return [dict(largest)]
    wanted = f"'auto', 1, or a list of sizes such as {[*{max(1, x // 4): 0 for x in largest.values()}, *largest.values()]}"
    if len(largest) > 1:
        wanted = f"'auto', 1, or a list of dicts such as [{dict(largest)}]"
    if isinstance(buckets, (str, int, Mapping)) or not isinstance(buckets, Sequence) or not len(buckets):
        raise TrainableError(f"buckets: expected {wanted}, got {buckets!r}")
    boxes = []
    for box in buckets:
        if isinstance(box, int) and not isinstance(box, bool) and len(largest) == 1:
            box = {next(iter(largest)): box}
        if not isinstance(box, Mapping) or not set(box) <= set(largest):
            raise TrainableError(f"buckets: expected {wanted}, got {box!r} in it")
        whole = {**largest, **box}
        if any(isinstance(x, bool) or not isinstance(x, int) or x < 1 for x in whole.values()):
            raise TrainableError(f"buckets: sizes are positive integers, got {dict(box)!r}")
        boxes.append(whole)
    if not any(all(box[name] >= most for name, most in largest.items()) for box in boxes):
        raise TrainableError(f"buckets: none of {list(buckets)!r} holds the space's largest configuration, {_shown(largest)}: add it")
    return boxes


def _planned(drawn: Ints, largest: Sizes, trials: int, steps: float, price: Price) -> list[Sizes]:
    step, compiling = price(largest)
    if trials * steps * step < SHORT * compiling:
        return [largest]
    names = list(largest)
    axes = [_candidates(drawn[:, d], largest[name], MOST.get(len(names), 8)) for d, name in enumerate(names)]

    def sizes(corner: tuple[int, ...]) -> Sizes:
        return {name: int(axis[j]) for name, axis, j in zip(names, axes, corner, strict=True)}

    work = np.zeros([len(axis) for axis in axes])
    np.add.at(work, tuple(np.searchsorted(axis, drawn[:, d]) for d, axis in enumerate(axes)), trials * steps / len(drawn))
    _, corners = partition(work, lambda corner: price(sizes(corner)))
    return [sizes(corner) for corner in corners]


def _candidates(drawn: Ints, largest: int, most: int) -> Ints:
    """Sizes (n,) that a program may be padded to: all that occur, or such that between two lies an equal part of the prior."""
    known = np.unique(np.append(drawn, largest))
    if len(known) <= most:
        return known
    return np.unique(np.append(np.quantile(drawn, np.arange(1, most) / most, method="higher"), [drawn.min(), largest])).astype(np.int64)


def _priced(boxes: list[Sizes], drawn: Ints, largest: Sizes, trials: int, steps: float, price: Price | None) -> Plan:
    """Boxes as buckets, cheapest first, with the trials they will get: those that no cheaper one holds."""
    known, count = np.unique(drawn, axis=0, return_counts=True)
    share = count / len(drawn)

    def cost(sizes: Sizes) -> tuple[float, float]:
        return (math.nan, math.nan) if price is None else price(sizes)

    boxes = sorted(boxes, key=lambda box: (math.prod(box.values()) if price is None else cost(box)[0], tuple(box.values())))
    left, buckets = np.ones(len(known), np.bool_), []
    for box in boxes:
        here = left & (known <= list(box.values())).all(axis=1)
        left &= ~here
        buckets.append(Bucket(box, float(trials * share[here].sum()), *cost(box)))
    prices = np.array([cost(dict(zip(largest, row, strict=True))) for row in known.tolist()])  # (n, 2)
    occurs = -np.expm1(trials * np.log1p(-np.minimum(share, 1 - 1e-12)))  # the chance that a size is drawn at all
    exact = float((prices[:, 1] * occurs + prices[:, 0] * trials * steps * share).sum())
    step, compiling = cost(largest)
    return Plan(tuple(buckets), steps, exact, float(occurs.sum()), compiling + trials * steps * step)


def _shown(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {size}" for name, size in sizes.items())


def _number(x: float, width: int = 11) -> str:
    return f"{'-' if math.isnan(x) else format(x, '.3g'):>{width}}"


def _plain(x: Any) -> Any:
    """As JSON has it."""
    return "nan" if isinstance(x, float) and math.isnan(x) else x
