"""What a user may write for one hyperparameter: a number in a range, or one of several choices.

These are plain descriptions. They are checked when a space is built, which knows their names (`_axis.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, TypeAlias

import numpy as np

When: TypeAlias = Mapping[str, Any] | None


@dataclass(frozen=True)
class Float:
    """A real number in [low, high]; `log` searches its logarithm, `step` makes it a grid with both ends.

    >>> Float(1e-4, 1.0, log=True)
    Float(0.0001, 1.0, log=True)
    """

    low: float
    high: float
    _: KW_ONLY
    log: bool = False
    step: float | None = None
    default: float | None = None
    when: When = None

    def __repr__(self) -> str:
        return _shown(self)


@dataclass(frozen=True)
class Int:
    """An integer low, low + step, ..., high; `log` searches its logarithm.

    >>> Int(16, 256, log=True)
    Int(16, 256, log=True)
    """

    low: int
    high: int
    _: KW_ONLY
    log: bool = False
    step: int = 1
    default: int | None = None
    when: When = None

    def __repr__(self) -> str:
        return _shown(self)


@dataclass(frozen=True)
class Ordinal:
    """One of several values whose order means something, such as batch sizes: strings, numbers, booleans or None.

    >>> Ordinal([16, 32, 64])
    Ordinal([16, 32, 64])
    """

    choices: Sequence[Any]
    _: KW_ONLY
    default: Any = None
    when: When = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", _frozen(self.choices))

    def __repr__(self) -> str:
        return _shown(self)


@dataclass(frozen=True)
class Categorical:
    """One of several values without an order: strings, numbers, booleans or None. The first is the centre where no default is given.

    >>> Categorical(["sgd", "adam"], default="adam")
    Categorical(['sgd', 'adam'], default='adam')
    """

    choices: Sequence[Any]
    _: KW_ONLY
    default: Any = None
    when: When = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", _frozen(self.choices))

    def __repr__(self) -> str:
        return _shown(self)


Parameter: TypeAlias = Float | Int | Ordinal | Categorical
PARAMETERS = {cls.__name__: cls for cls in (Float, Int, Ordinal, Categorical)}
_POSITIONAL = ("low", "high", "choices")


def condition(parameter: Parameter) -> tuple[str | None, list[Any]]:
    """The parent and its activating values; (None, []) for a parameter that is always active."""
    if parameter.when is None:
        return None, []
    (above, values), *_ = parameter.when.items()
    return above, listed(values)


def listed(values: Any) -> list[Any]:
    """Values that were given as one or as several."""
    if isinstance(values, np.ndarray):
        values = values.tolist()
    return list(values) if isinstance(values, (list, tuple, range, set, frozenset)) else [values]


def with_condition(parameter: Parameter, when: When) -> Parameter:
    """The parameter under another condition."""
    return replace(parameter, when=when)


def to_json(parameter: Parameter) -> dict[str, Any]:
    """The parameter as JSON values; what is as in a bare parameter is left out."""
    return {"type": type(parameter).__name__} | {name: _plain(value) for name, value in _given(parameter).items()}


def from_json(fields: Mapping[str, Any]) -> Parameter:
    """What `to_json` wrote."""
    rest = dict(fields)
    cls = PARAMETERS[rest.pop("type")]
    return cls(**rest)


def _frozen(choices: Any) -> Any:
    """Choices that the caller's list cannot change later; what is no list is left for `_axis.py` to refuse."""
    if isinstance(choices, np.ndarray) and choices.ndim == 1:
        choices = choices.tolist()
    return tuple(choices) if isinstance(choices, (list, range)) else choices


def _given(parameter: Parameter) -> dict[str, Any]:
    """The fields by name, without those that say nothing."""
    fields = {name: (getattr(parameter, name), field.default) for name, field in parameter.__dataclass_fields__.items() if name != "_"}
    return {name: value for name, (value, default) in fields.items() if name in _POSITIONAL or value is not default}


def _shown(parameter: Parameter) -> str:
    fields = {name: list(value) if isinstance(value, tuple) else value for name, value in _given(parameter).items()}
    return f"{type(parameter).__name__}({', '.join(repr(v) if k in _POSITIONAL else f'{k}={v!r}' for k, v in fields.items())})"


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value
