"""Tune's search spaces and ours, which say the same in other words, and the code between configurations and parameters.

A parameter's name is its path in the nested configuration, with dots. Choices that are no plain values are searched by their index.
Ray rounds a logarithmic domain to multiples of q after it draws; here the parameter is the unrounded one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, NamedTuple

from ray.tune.search import sample
from ray.tune.search.variant_generator import parse_spec_vars

from jaxhp import _parameters
from jaxhp._parameters import Categorical, Float, Int, Parameter
from jaxhp._types import Params
from jaxhp.errors import SpaceError
from jaxhp.space import Space

_PLAIN = (str, int, float, bool, type(None))


class Code(NamedTuple):
    """A space, and how its parameters lie in a configuration."""

    space: Space
    paths: dict[str, tuple[str, ...]]
    choices: dict[str, Sequence[Any]]  # of parameters that are indices of these
    rounded: dict[str, sample.Domain]  # of parameters that are rounded to multiples of a q

    def config(self, params: Params) -> dict[str, Any]:
        """The nested configuration of some parameters."""
        found: dict[str, Any] = {}
        for name, value in params.items():
            if name in self.choices:
                value = self.choices[name][value]
            elif name in self.rounded:
                value = _rounded(value, self.rounded[name])
            inner = found
            for key in self.paths[name][:-1]:
                inner = inner.setdefault(key, {})
            inner[self.paths[name][-1]] = value
        return found

    def params(self, config: Mapping[str, Any]) -> Params:
        """The parameters of a configuration, which may hold more.

        Raises:
            SpaceError: a value is not one of the choices.
        """
        flat: Params = {}
        for name, path in self.paths.items():
            inner: Any = config
            for key in path:
                inner = inner.get(key, _ABSENT) if isinstance(inner, Mapping) else _ABSENT
            if inner is _ABSENT:
                inner = config.get(name, config.get("/".join(path), _ABSENT))  # flat, as we and as Tune write it
            if inner is not _ABSENT:
                flat[name] = self._index(name, inner)
        return flat

    def _index(self, name: str, value: Any) -> Any:
        if name not in self.choices:
            return value
        index = next((i for i, choice in enumerate(self.choices[name]) if choice is value or choice == value), None)
        if index is None:
            raise SpaceError(f"{name!r}: {value!r} is not one of {list(self.choices[name])}")
        return index


_ABSENT = object()


def code_of_space(space: Space) -> Code:
    """The code of a space of ours."""
    return Code(space, {name: tuple(name.split(".")) for name in space.names}, {}, {})


def code_of(config: Mapping[str, Any]) -> Code | None:
    """The code of a Tune search space; None where nothing in it varies.

    Raises:
        SpaceError: naming the parameter that cannot be searched.
    """
    _, domains, grids = parse_spec_vars(dict(config))
    if grids:
        raise SpaceError(
            f"{_name(grids[0][0])!r} is a grid; write tune.choice([...]), and Searcher(jaxhp.grid_search()) to try all of them"
        )
    if not domains:
        return None
    parameters: dict[str, Parameter] = {}
    paths: dict[str, tuple[str, ...]] = {}
    choices: dict[str, Sequence[Any]] = {}
    rounded: dict[str, sample.Domain] = {}
    for path, domain in domains:
        name = _name(path)
        if not all(isinstance(key, str) for key in path):
            raise SpaceError(f"{name!r} lies in a list; give it a name of its own in the search space")
        if name in parameters:
            raise SpaceError(f"{name!r} is there twice, nested and with a dot in its name; rename one")
        parameters[name], paths[name] = _parameter(name, domain), tuple(path)
        if isinstance(domain, sample.Categorical) and not _plain(domain.categories):
            choices[name] = domain.categories
        elif isinstance(domain.get_sampler(), sample.Quantized) and _logarithmic(domain):
            rounded[name] = domain
    listed = [{"name": name} | _parameters.to_json(p) for name, p in parameters.items()]
    return Code(Space.from_json({"parameters": listed, "constraints": []}), paths, choices, rounded)


def _parameter(name: str, domain: Any) -> Parameter:
    if isinstance(domain, sample.Categorical):
        return Categorical(domain.categories if _plain(domain.categories) else range(len(domain.categories)))
    if not isinstance(domain, (sample.Float, sample.Integer)):
        raise SpaceError(
            f"{name!r}: a {type(domain).__name__} of Tune (sample_from?) is no range that can be searched; compute it in the trainable"
        )
    if not (math.isfinite(domain.lower) and math.isfinite(domain.upper)):
        raise SpaceError(f"{name!r} has no bounds (tune.randn?); give it some, such as tune.uniform(-3, 3), and scale it in the trainable")
    log = _logarithmic(domain)
    quantum = getattr(domain.get_sampler(), "q", None)
    low, high = domain.lower, domain.upper
    if quantum is not None:
        low, high = _multiple(low, quantum, ROUND_CEILING), _multiple(high, quantum, ROUND_FLOOR)
    if isinstance(domain, sample.Integer):
        last = int(high) - (quantum in (None, 1))  # Ray's bound is exclusive, unless it is rounded
        return Int(int(low), last, log=log, step=1 if log or quantum is None else int(quantum))
    return Float(low, high, log=log, step=None if log else quantum)


def _logarithmic(domain: Any) -> bool:
    drawn = domain.get_sampler()
    return isinstance(drawn.get_sampler() if isinstance(drawn, sample.Quantized) else drawn, sample.LogUniform)


def _rounded(value: float, domain: Any) -> Any:
    quantum = domain.get_sampler().q
    low, high = _multiple(domain.lower, quantum, ROUND_CEILING), _multiple(domain.upper, quantum, ROUND_FLOOR)
    nearest = float(round(Decimal(repr(value)) / Decimal(repr(quantum))) * Decimal(repr(quantum)))
    return domain.cast(min(max(nearest, low), high))


def _multiple(bound: float, quantum: float, rounding: str) -> float:
    q = Decimal(repr(quantum))
    return float((Decimal(repr(bound)) / q).to_integral_value(rounding) * q)


def _plain(categories: Sequence[Any]) -> bool:
    """Whether a `Categorical` may hold them as they are: plain values, no two alike (1 and True are)."""
    return all(isinstance(c, _PLAIN) and c == c for c in categories) and len(set(categories)) == len(categories)


def _name(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))
