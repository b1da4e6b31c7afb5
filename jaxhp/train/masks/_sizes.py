"""What a network's fields may be: a plain value, or the name of the hyperparameter that says it and what it may at most be.

    width=128                                           the same in every trial; nothing is masked
    width=("width", 256)                                hparams["width"], traced, in arrays padded to 256
    dropout=0.1, dropout="dropout"                      a number that no shape depends on needs no largest value
    activation="relu"
    activation=("activation", ("relu", "tanh"))         an index into these names, as `Categorical(["relu", "tanh"])` is traced

A traced size is clipped to 1 ... its largest value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from jaxhp.errors import TrainableError
from jaxhp.train.masks._choices import ACTIVATIONS, activation
from jaxhp.train.masks._units import Width

Size: TypeAlias = int | tuple[str, int]  # a number, or a hyperparameter's name and its largest value
Number: TypeAlias = float | str  # a number, or a hyperparameter's name
Choice: TypeAlias = str | tuple[str, tuple[str, ...]]  # an activation, or a hyperparameter's name and its choices


def largest(size: Size) -> int:
    """What arrays are padded to."""
    return size if isinstance(size, int) else size[1]


def true(size: Size, hparams: Mapping[str, Any] | None) -> Width:
    """How many there are in this configuration."""
    if isinstance(size, int):
        return size
    return jnp.clip(jnp.asarray(_read(size[0], hparams), jnp.int32), 1, size[1])


def value(number: Number, hparams: Mapping[str, Any] | None) -> float | jax.Array:
    """A number, plain or traced."""
    return jnp.asarray(_read(number, hparams), jnp.float32) if isinstance(number, str) else number


def activated(choice: Choice, hparams: Mapping[str, Any] | None, x: jax.Array) -> jax.Array:
    """The chosen activation of x."""
    if isinstance(choice, str):
        return activation(0, x, (choice,))
    return activation(jnp.asarray(_read(choice[0], hparams), jnp.int32), x, choice[1])


def _read(name: str, hparams: Mapping[str, Any] | None) -> Any:
    if hparams is None:
        raise TrainableError(f"the network reads hparams[{name!r}] and was given none: pass hparams= when it is made and called")
    return hparams[name]


def check_fields(network: Any, sizes: tuple[str, ...], norms: tuple[str | None, ...]) -> None:
    """Refuses fields, of those that all networks have, that are none."""
    for name in sizes:
        check_size(name, getattr(network, name))
    check_choice("activation", network.activation)
    check_number("dropout", network.dropout)
    check_member("norm", network.norm, norms)


def check_size(field: str, size: Any) -> None:
    """Refuses what is no `Size`."""
    number = size[1] if isinstance(size, (tuple, list)) and len(size) == 2 and isinstance(size[0], str) else size
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise TrainableError(
            f"{field}: expected a positive integer, or a hyperparameter's name and its largest value such as ({field!r}, 256); got {size!r}"
        )


def check_number(field: str, number: Any) -> None:
    """Refuses what is no `Number` in [0, 1]."""
    if isinstance(number, str):
        return
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number <= 1:
        raise TrainableError(f"{field}: expected a number in [0, 1] or a hyperparameter's name, got {number!r}")


def check_choice(field: str, choice: Any) -> None:
    """Refuses what is no `Choice`."""
    named = isinstance(choice, (tuple, list)) and len(choice) == 2 and isinstance(choice[0], str) and isinstance(choice[1], (tuple, list))
    names = choice[1] if named else (choice,)
    if not names or not all(isinstance(name, str) and name in ACTIVATIONS for name in names):
        raise TrainableError(
            f"{field}: expected one of {', '.join(ACTIVATIONS)}, or a hyperparameter's name and its choices such as "
            f"({field!r}, ('relu', 'tanh')); got {choice!r}"
        )


def check_member(field: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Refuses what is not one of some values."""
    if value not in choices:
        raise TrainableError(f"{field}: expected one of {', '.join(map(repr, choices))}, got {value!r}")
