"""Parameter groups: which parameters belong together, by their paths, and rates of their own.

A path is what leads to a parameter, joined by slashes: `hidden/0/kernel`. A pattern is a shell's: `*bias`, `hidden/*`, `head/kernel`;
its star matches slashes too. The first pattern that fits counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import jax
import optax

from jaxhp.errors import TrainableError
from jaxhp.train.optim._scalars import Scalar, number

_SHOWN = 12  # paths that an error lists


def labels(params: optax.Params, patterns: Iterable[str], rest: str = "rest") -> Any:
    """The first pattern that each parameter's path fits, or `rest`: a pytree of names, such as `optax.partition` takes.

    Raises:
        TrainableError: a pattern fits no parameter.

    >>> labels({"hidden": {"kernel": 0.0, "bias": 0.0}, "head": {"kernel": 0.0}}, ["*bias", "hidden/*"])
    {'head': {'kernel': 'rest'}, 'hidden': {'bias': '*bias', 'kernel': 'hidden/*'}}
    """
    patterns = list(patterns)
    paths = jax.tree_util.tree_map_with_path(lambda path, _: jax.tree_util.keystr(path, simple=True, separator="/"), params)
    all_paths = jax.tree.leaves(paths)
    for pattern in patterns:
        if not any(fnmatchcase(path, pattern) for path in all_paths):
            shown = ", ".join(all_paths[:_SHOWN]) + (", ..." if len(all_paths) > _SHOWN else "")
            raise TrainableError(f"group {pattern!r} fits no parameter; there are: {shown}")
    return jax.tree.map(lambda path: next((p for p in patterns if fnmatchcase(path, p)), rest), paths)


def scale_by_group(
    rates: Mapping[str, Scalar], *, rest: Scalar = 1.0, groups: Callable[[optax.Params], Any] | None = None
) -> optax.GradientTransformation:
    """Multiplies the updates of each group of parameters by its own factor; put it last in an `optax.chain`.

    Behind an optimiser the factors are learning rates relative to its own, weight decay included.

    Args:
        rates: factor by pattern of paths; numbers or traced scalars.
        rest: the factor of parameters that no pattern fits.
        groups: names them otherwise: a function of the parameters that gives a pytree (or a prefix of one) of keys of `rates`; other keys
            have the factor `rest`.

    Raises:
        TrainableError: a factor is known and negative; when it is first used, that a pattern fits no parameter.

    >>> import jax.numpy as jnp
    >>> transform = scale_by_group({"head/*": 0.1})
    >>> params = {"body": {"w": jnp.ones(1)}, "head": {"w": jnp.ones(1)}}
    >>> {name: round(float(x["w"][0]), 3) for name, x in transform.update(params, transform.init(params))[0].items()}
    {'body': 1.0, 'head': 0.1}
    """
    factors = {name: number(f"rates[{name!r}]", rate, lambda x: x >= 0, "a factor from 0 on") for name, rate in rates.items()}
    other = number("rest", rest, lambda x: x >= 0, "a factor from 0 on")
    grouped = groups or partial(labels, patterns=list(factors))

    def update(updates: optax.Updates, state: optax.EmptyState, params: optax.Params | None = None) -> tuple[Any, optax.EmptyState]:
        del params

        def scaled(label: Any, part: Any) -> Any:
            return jax.tree.map(lambda u: u * factors.get(label, other).astype(u.dtype), part)

        return jax.tree.map(scaled, grouped(updates), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
