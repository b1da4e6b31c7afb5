"""Optuna's distributions and our parameters, which say the same in other words, and the code between configurations and points.

A distribution of a single value is a constant: no parameter. Optuna has no order among choices, so an `Ordinal` becomes categorical.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from jaxhp import _parameters
from jaxhp._parameters import Categorical, Float, Int, Parameter, with_condition
from jaxhp._types import Floats, Params
from jaxhp.errors import SpaceError
from jaxhp.interop.optuna._structure import Conditions
from jaxhp.space import Space

Distributions = dict[str, BaseDistribution]


class Code(NamedTuple):
    """Configurations as points of a space. Choices are searched by their index, so that they may be any objects."""

    space: Space
    choices: dict[str, CategoricalDistribution]  # {} where the space holds the choices themselves

    def point(self, params: Mapping[str, Any]) -> Floats | None:
        """(d,) the point of a configuration, which may hold more parameters; None where one is missing or does not fit."""
        try:
            inner = {name: self._index(name, params[name]) for name in self.space.names if name in params}
            return self.space.point(inner)
        except SpaceError:
            return None

    def params(self, u: Floats) -> Params:
        """The active parameters of a point (d,), in the values of the distributions."""
        found = self.space.params(u)
        return {name: self.choices[name].choices[x] if name in self.choices else x for name, x in found.items()}

    def _index(self, name: str, value: Any) -> Any:
        if name not in self.choices:
            return value
        try:
            return int(self.choices[name].to_internal_repr(value))
        except ValueError as e:  # not one of the choices
            raise SpaceError(str(e)) from e


def code_of(distributions: Distributions, conditions: Conditions | None = None) -> Code:
    """The code of distributions that are not single-valued, parents first."""
    choices = {name: d for name, d in distributions.items() if isinstance(d, CategoricalDistribution)}
    parameters: dict[str, Parameter] = {}
    for name, distribution in distributions.items():
        parameter = Categorical(range(len(choices[name].choices))) if name in choices else parameter_of(name, distribution)
        if conditions and name in conditions:
            above, levels = conditions[name]
            parameter = with_condition(parameter, {above: levels[0] if len(levels) == 1 else list(levels)})
        parameters[name] = parameter
    return Code(space_of(parameters), choices)


def space_of(parameters: Mapping[str, Parameter]) -> Space:
    """A space with these parameters, parents first, under names of any form: those of `Space` have no dots, Optuna's may.

    Raises:
        SpaceError: naming the parameter and what is wrong with it.
    """
    listed = [{"name": name} | _parameters.to_json(p) for name, p in parameters.items()]
    return Space.from_json({"parameters": listed, "constraints": []})


def parameter_of(name: str, distribution: BaseDistribution) -> Parameter:
    """The parameter that a distribution describes.

    Raises:
        SpaceError: it is of a kind that Optuna does not have.
    """
    if isinstance(distribution, FloatDistribution):
        return Float(distribution.low, distribution.high, log=distribution.log, step=distribution.step)
    if isinstance(distribution, IntDistribution):
        return Int(distribution.low, distribution.high, log=distribution.log, step=distribution.step)
    if isinstance(distribution, CategoricalDistribution):
        return Categorical(distribution.choices)
    raise SpaceError(f"{name!r}: {distribution!r} is neither a float, an int nor a categorical distribution of Optuna")


def distribution_of(parameter: Parameter) -> BaseDistribution:
    """The distribution that describes a parameter.

    >>> distribution_of(Float(0.1, 1.0, log=True))
    FloatDistribution(high=1.0, log=True, low=0.1, step=None)
    """
    if isinstance(parameter, Float):
        return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)
    if isinstance(parameter, Int):
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.log, step=int(parameter.step))
    return CategoricalDistribution(parameter.choices)


def single_value(distribution: BaseDistribution) -> Any:
    """The value of a distribution that has one."""
    return distribution.choices[0] if isinstance(distribution, CategoricalDistribution) else distribution.low  # type: ignore[attr-defined]


def widest(name: str, distributions: list[BaseDistribution]) -> Parameter | None:
    """The parameter that holds every value of some distributions of one name; None where that is a constant.

    Raises:
        SpaceError: they are of different kinds.
    """
    first = distributions[0]
    if all(d == first for d in distributions):
        return None if first.single() else parameter_of(name, first)
    if isinstance(first, CategoricalDistribution) or any(type(d) is not type(first) or d.log != first.log for d in distributions):  # type: ignore[attr-defined]
        raise SpaceError(f"{name!r} has distributions of several kinds, {distributions}; say what it is with from_optuna(space=)")
    low = min(d.low for d in distributions)  # type: ignore[attr-defined]
    high = max(d.high for d in distributions)  # type: ignore[attr-defined]
    step = _common_step(distributions)
    if isinstance(first, IntDistribution):
        return Int(low, high, log=first.log, step=1 if step is None else int(step))
    return Float(low, high, log=first.log, step=step)  # type: ignore[attr-defined]


def _common_step(distributions: list[Any]) -> float | None:
    """The step of a grid that all of them lie on; None where there is none."""
    step = distributions[0].step
    if step is None or any(d.step != step for d in distributions):
        return None
    low = distributions[0].low
    on_grid = all((Decimal(repr(d.low)) - Decimal(repr(low))) % Decimal(repr(step)) == 0 for d in distributions)
    return float(step) if on_grid else None
