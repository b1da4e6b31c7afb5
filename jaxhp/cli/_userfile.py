"""The file that `jaxhp tune` runs: any Python file that defines `space` and `objective(trial)`.

Optional names in it: `metric` and `direction`, or `directions`; `constraints`; `stochastic`; `trials`; `sampler` (a sampler or its name);
`test(params) -> {metric: value}`, a held-out evaluation that is run only at the end; `compare = True` to search at random too.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from jaxhp._types import Params, Sampler
from jaxhp.errors import StudyError

if TYPE_CHECKING:
    from jaxhp._run import Objective
    from jaxhp.space import Space

HeldOut: TypeAlias = Callable[[Params], "float | Mapping[str, float]"]

_HOW = """Such a file looks like this:

    import jaxhp
    space = jaxhp.Space({"learning_rate": jaxhp.Float(1e-4, 1.0, log=True)})

    def objective(trial):
        return validation_loss(learning_rate=trial["learning_rate"])
"""
_ALGEBRA = {"sequence", "mixture", "freeze", "warm_start"}  # factories that want other samplers


class UserFile(NamedTuple):
    """What a file asks for."""

    path: Path
    space: Space
    objective: Objective
    arguments: dict[str, Any]  # of Study: metric, direction, directions, constraints, stochastic
    trials: int | None
    sampler: Sampler | None
    test: HeldOut | None
    compare: bool


def load(path: Path) -> UserFile:
    """Runs the file and reads its names; other files beside it can be imported by it.

    Raises:
        StudyError: the file is missing, fails, or lacks or misuses a name; the message says how to write it.
    """
    from jaxhp.space import Space

    if not path.is_file():
        raise StudyError(f"there is no file {path}; name a Python file that defines `space` and `objective(trial)`")
    names = vars(_run(path))
    for name in ("space", "objective"):
        if name not in names:
            raise StudyError(f"{path} does not define `{name}`.\n{_HOW}")
    if not isinstance(names["space"], Space):
        raise StudyError(f"{path}: `space` is a {type(names['space']).__name__}, not a jaxhp.Space; wrap it: space = jaxhp.Space({{...}})")
    for name in ("objective", "test"):
        if name in names and not callable(names[name]):
            raise StudyError(f"{path}: `{name}` is {names[name]!r}, not a function of {'a trial' if name == 'objective' else 'params'}")
    trials = names.get("trials")
    if trials is not None and (isinstance(trials, bool) or not isinstance(trials, int) or trials < 1):
        raise StudyError(f"{path}: `trials` is {trials!r}, not a positive whole number")
    if "directions" in names and ("metric" in names or "direction" in names):
        raise StudyError(f"{path}: `directions` names the metrics already; remove `metric` and `direction`")
    chosen = names.get("sampler")
    return UserFile(
        path=path,
        space=names["space"],
        objective=names["objective"],
        arguments={k: names[k] for k in ("metric", "direction", "directions", "constraints", "stochastic") if k in names},
        trials=trials,
        sampler=named_sampler(chosen) if isinstance(chosen, str) else chosen,
        test=names.get("test"),
        compare=bool(names.get("compare", False)),
    )


def named_sampler(name: str) -> Sampler:
    """A sampler with its default arguments.

    Raises:
        StudyError: no sampler has this name.

    >>> named_sampler("sobol").name
    'sobol()'
    """
    import jaxhp
    from jaxhp import samplers

    known = sorted((set(samplers.__all__) & set(dir(jaxhp))) - _ALGEBRA)
    if name not in known:
        raise StudyError(f"sampler {name!r} is unknown; choose one of {', '.join(known)}")
    sampler = getattr(samplers, name)()
    if not isinstance(sampler, Sampler):
        raise StudyError(f"sampler {name!r} is not one that can be named; choose one of {', '.join(known)}")
    return sampler


def own_frames(error: BaseException, directory: Path) -> str:
    """An error and where it came from, without the frames of libraries: those under `directory` that are not site-packages."""
    frames = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if Path(f.filename).is_relative_to(directory.resolve()) and "site-packages" not in Path(f.filename).parts
    ]
    lines = traceback.format_list(frames[-5:])
    return "".join([*lines, *traceback.format_exception_only(error)]).rstrip()


def _run(path: Path) -> ModuleType:
    """The file as a module of its own name space, with its directory importable, as `python FILE` would have it."""
    path = path.resolve()
    spec = importlib.util.spec_from_file_location(f"jaxhp_tune_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise StudyError(f"{path} is not a Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and flax look their module up
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as e:
        raise StudyError(f"{path} failed before anything was tuned:\n{own_frames(e, path.parent)}") from e
    return module
