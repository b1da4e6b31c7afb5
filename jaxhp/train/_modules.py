"""Networks of several libraries as one pair of pure functions.

    variables = init(key, x, hparams)                                       {"params": trained, "rest": everything else}
    outputs, rest = apply(variables, x, hparams, key, train, weight)         rest: batch statistics and the like, after this call

* plain JAX: a pair `(init(key) -> params, apply(params, x) -> outputs)`;
* flax linen: a module, or a function of hparams that makes one;
* flax nnx: a function of `rngs` (and `hparams`) that makes one. Parameters and the rest are split; the graph definition is made
  anew from shapes, never kept in the state, and merging copies (else BatchNorm leaks tracers);
* Equinox and other callable pytrees: a function of `key` (and `hparams`) that makes one; it maps one example, as Equinox's layers do.

The call of a flax module is given `hparams`, and as `weight` what each example of a batch counts (n,) (None: all alike), where it has
arguments of these names; so is `apply` of a pair.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxhp.errors import TrainableError

_TRAINING_FLAGS = {"train": True, "training": True, "is_training": True, "deterministic": False, "use_running_average": False}


class Network(NamedTuple):
    init: Callable[..., Any]  # (key, x, hparams) -> {"params", "rest"}
    apply: Callable[..., tuple[Any, Any]]  # (variables, x, hparams, key, train, weight=None) -> (outputs, rest)


def network(module: Any) -> Network:
    """The pair of functions of any supported network.

    Raises:
        TrainableError: it is none of those.
    """
    from flax import linen, nnx

    if isinstance(module, linen.Module):
        return _linen(lambda hparams: module)
    if isinstance(module, tuple) and len(module) == 2 and all(map(callable, module)):
        return _plain(*module)
    if isinstance(module, nnx.Module):
        raise TrainableError(
            f"module: {type(module).__name__} is an nnx module with weights; pass a function that makes it: "
            f"module=lambda rngs: {type(module).__name__}(..., rngs=rngs), so that every trial draws its own"
        )
    if isinstance(module, type) and issubclass(module, linen.Module):
        raise TrainableError(f"module: {module.__name__} is a class of linen modules; pass one of them: module={module.__name__}(...)")
    if callable(module):
        # the signature of an nnx class is hidden behind its metaclass
        own = module.__init__ if isinstance(module, type) and issubclass(module, nnx.Module) else module
        parameters = inspect.signature(own).parameters
        names = [name for name in parameters if name != "self"]
        if own is not module:
            _check_nnx_class(module, [parameters[name] for name in names])
        if "rngs" in names:
            return _nnx(module, "hparams" in names)
        if "key" in names:
            return _callable_pytree(module, "hparams" in names)
        if names in (["h"], ["hparams"]):
            return _linen(module)
    raise TrainableError(
        f"module: {module!r} is no network that is known here. Pass a flax linen module (or a function of `hparams` that makes one), a "
        "function of `rngs` that makes an nnx module, a function of `key` that makes a callable pytree, "
        "or a pair (init(key), apply(params, x))"
    )


def _check_nnx_class(module: Any, parameters: list[inspect.Parameter]) -> None:
    """Refuses a class whose instances need more than `rngs` and `hparams`."""
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in variadic and p.name not in ("rngs", "hparams")]
    if needed or not any(p.name == "rngs" for p in parameters):
        wanted = f"wants {', '.join(needed)} too" if needed else "takes no rngs"
        shown = ", ".join([*(f"{name}=..." for name in needed), "rngs=rngs"]) if needed else "rngs"
        raise TrainableError(
            f"module: {module.__name__} {wanted}; pass a function of rngs that makes one: module=lambda rngs: {module.__name__}({shown})"
        )


def _plain(init: Callable[..., Any], apply: Callable[..., Any]) -> Network:
    """`init(key)` or `init(key, hparams)`; `apply(params, x)`, and `hparams`, `key`, `train`, `weight` by name where it takes them."""
    wants_hparams = len(inspect.signature(init).parameters) > 1
    taken = {"hparams", "key", "train", "weight"} & set(inspect.signature(apply).parameters)

    def start(key: jax.Array, x: Any, hparams: Any) -> Any:
        return {"params": init(key, hparams) if wants_hparams else init(key), "rest": {}}

    def run(variables: Any, x: Any, hparams: Any, key: jax.Array, train: bool, weight: jax.Array | None = None) -> tuple[Any, Any]:
        offered = {"hparams": hparams, "key": key, "train": train, "weight": weight}
        return apply(variables["params"], x, **{name: offered[name] for name in taken}), variables["rest"]

    return Network(start, run)


def _linen(make: Callable[[Any], Any]) -> Network:
    def start(key: jax.Array, x: Any, hparams: Any) -> Any:
        module = make(hparams)
        keys = {"params": key, "dropout": jax.random.fold_in(key, 1)}
        call = type(module).__call__
        variables = dict(module.init(keys, x, **_flags(call, train=False), **_offered(call, hparams, None)))
        return {"params": variables.pop("params", {}), "rest": variables}

    def run(variables: Any, x: Any, hparams: Any, key: jax.Array, train: bool, weight: jax.Array | None = None) -> tuple[Any, Any]:
        module, rest = make(hparams), variables["rest"]
        both = {"params": variables["params"], **rest}
        call = type(module).__call__
        given = _flags(call, train) | _offered(call, hparams, weight)
        if not train:
            return module.apply(both, x, **given), rest
        outputs, changed = module.apply(both, x, rngs={"dropout": key}, mutable=list(rest), **given)
        return outputs, {**rest, **changed}

    return Network(start, run)


def _nnx(make: Callable[..., Any], wants_hparams: bool) -> Network:
    from flax import nnx

    def made(key: jax.Array, hparams: Any) -> Any:
        rngs = nnx.Rngs(params=key, dropout=jax.random.fold_in(key, 1))
        return make(rngs=rngs, hparams=hparams) if wants_hparams else make(rngs=rngs)

    def halves(module: Any) -> tuple[Any, Any, Any]:
        graph, params, *rest = nnx.split(module, nnx.Param, ...)
        return graph, params, rest[0]

    def start(key: jax.Array, x: Any, hparams: Any) -> Any:
        _, params, rest = halves(made(key, hparams))
        return {"params": nnx.to_pure_dict(params), "rest": nnx.to_pure_dict(rest)}

    def run(variables: Any, x: Any, hparams: Any, key: jax.Array, train: bool, weight: jax.Array | None = None) -> tuple[Any, Any]:
        graph, params, rest = halves(made(jax.random.key(0), hparams))
        nnx.replace_by_pure_dict(params, variables["params"])
        nnx.replace_by_pure_dict(rest, variables["rest"])
        module = nnx.merge(graph, params, rest, copy=True)
        if train:
            module.train()
            nnx.reseed(module, dropout=key)
        else:
            module.eval()
        outputs = module(x, **_offered(type(module).__call__, hparams, weight))
        return outputs, nnx.to_pure_dict(halves(module)[2]) if train else variables["rest"]

    return Network(start, run)


def _callable_pytree(make: Callable[..., Any], wants_hparams: bool) -> Network:
    """Inexact arrays are trained; other leaves (activation functions, integers) are taken from a model made abstractly."""

    def made(key: jax.Array, hparams: Any) -> Any:
        return make(key=key, hparams=hparams) if wants_hparams else make(key=key)

    def trained(leaf: Any) -> bool:
        return hasattr(leaf, "dtype") and bool(jnp.issubdtype(leaf.dtype, jnp.inexact))

    def start(key: jax.Array, x: Any, hparams: Any) -> Any:
        leaves = jax.tree.leaves(made(key, hparams))
        arrays = {str(i): x for i, x in enumerate(leaves) if hasattr(x, "dtype")}
        return {
            "params": {i: x for i, x in arrays.items() if trained(x)},
            "rest": {i: x for i, x in arrays.items() if not trained(x)},
        }

    def run(variables: Any, x: Any, hparams: Any, key: jax.Array, train: bool, weight: jax.Array | None = None) -> tuple[Any, Any]:
        leaves, structure = jax.tree.flatten(made(jax.random.key(0), hparams))
        known = {**variables["params"], **variables["rest"]}
        model = jax.tree.unflatten(structure, [known.get(str(i), leaf) for i, leaf in enumerate(leaves)])
        if "key" in inspect.signature(model).parameters:
            keys = jax.random.split(key, len(jax.tree.leaves(x)[0]))
            return jax.vmap(lambda example, k: model(example, key=k))(x, keys), variables["rest"]
        return jax.vmap(model)(x), variables["rest"]

    return Network(start, run)


def _offered(call: Callable[..., Any], hparams: Any, weight: jax.Array | None) -> dict[str, Any]:
    """The arguments of a module's call that are for us to give."""
    return {name: x for name, x in (("hparams", hparams), ("weight", weight)) if name in inspect.signature(call).parameters}


def _flags(call: Callable[..., Any], train: bool) -> dict[str, bool]:
    """The arguments by which a module is told whether it trains."""
    return {name: when if train else not when for name, when in _TRAINING_FLAGS.items() if name in inspect.signature(call).parameters}
