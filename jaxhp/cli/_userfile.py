"""The file that `jaxhp tune` runs: any Python file that defines `space`, and `objective(trial)` or `trainable`.

Optional names in it: `metric` and `direction`, or `directions`; `constraints`; `stochastic`; `trials`; `sampler` and `scheduler` (or their
names); `test(params) -> {metric: value}`, a held-out evaluation that is run only at the end; `compare = True` to search at random too.
With a trainable, which may also be a function that makes one: `steps` of a full run, `lanes`, `seeds`, `evaluate_every`.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from jaxhp._types import Params, Sampler, Scheduler
from jaxhp.errors import JaxhpError, StudyError

if TYPE_CHECKING:
    from jaxhp._errand import Objective
    from jaxhp.space import Space
    from jaxhp.train import Trainable

HeldOut: TypeAlias = Callable[[Params], "float | Mapping[str, float]"]

_HOW = """Such a file looks like this:

    import jaxhp
    space = jaxhp.Space({"learning_rate": jaxhp.Float(1e-4, 1.0, log=True)})

    def objective(trial):
        return validation_loss(learning_rate=trial["learning_rate"])

or, to train many configurations at once in JAX (docs/lanes.md):

    trainable = jaxhp.supervised(...)
    steps = 1000
"""


class UserFile(NamedTuple):
    """What a file asks for."""

    path: Path
    space: Space
    objective: Objective | None
    trainable: Trainable | Callable[[], Trainable] | None  # one of the two is there
    arguments: dict[str, Any]  # of Study: metric, direction, directions, constraints, stochastic
    training: dict[str, Any]  # of Study.train: steps, lanes, seeds, evaluate_every
    trials: int | None
    sampler: Sampler | None
    scheduler: Scheduler | str | None
    test: HeldOut | None
    compare: bool


def load(path: Path) -> UserFile:
    """Runs the file and reads its names; other files beside it can be imported by it.

    Raises:
        StudyError: the file is missing, fails, or lacks or misuses a name; the message says how to write it.
    """
    from jaxhp.samplers._named import named_sampler
    from jaxhp.space import Space

    if not path.is_file():
        raise StudyError(f"there is no file {path}; name a Python file that defines `space` and `objective(trial)` or `trainable`")
    names = vars(_run(path))
    for name, missing in (("space", "space" not in names), ("objective", not {"objective", "trainable"} & set(names))):
        if missing:
            raise StudyError(f"{path} does not define `{name}`.\n{_HOW}")
    if not isinstance(names["space"], Space):
        raise StudyError(f"{path}: `space` is a {type(names['space']).__name__}, not a jaxhp.Space; wrap it: space = jaxhp.Space({{...}})")
    for name in ("objective", "test"):
        if name in names and not callable(names[name]):
            raise StudyError(f"{path}: `{name}` is {names[name]!r}, not a function of {'a trial' if name == 'objective' else 'params'}")
    for name in ("trials", *(("steps", "seeds", "evaluate_every") if "trainable" in names else ())):
        value = names.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise StudyError(f"{path}: `{name}` is {value!r}, not a positive whole number")
    if "trainable" in names and "steps" not in names:
        raise StudyError(f"{path} offers a `trainable` and does not say how many `steps` a full run has; add a line such as: steps = 1000")
    if "directions" in names and ("metric" in names or "direction" in names):
        raise StudyError(f"{path}: `directions` names the metrics already; remove `metric` and `direction`")
    chosen = names.get("sampler")
    return UserFile(
        path=path,
        space=names["space"],
        objective=names.get("objective"),
        trainable=names.get("trainable"),
        arguments={k: names[k] for k in ("metric", "direction", "directions", "constraints", "stochastic") if k in names},
        training={k: names[k] for k in ("steps", "lanes", "seeds", "evaluate_every") if k in names},
        trials=names.get("trials"),
        sampler=named_sampler(chosen) if isinstance(chosen, str) else chosen,
        scheduler=names.get("scheduler"),
        test=names.get("test"),
        compare=bool(names.get("compare", False)),
    )


def named_scheduler(name: str, steps: int | None) -> Scheduler | None:
    """The scheduler of a name: its first rung is at a ninth of a full run of known length, a round takes a twentieth. None for "none".

    Raises:
        StudyError: no scheduler has this name, or it needs to know how long a run is.

    >>> named_scheduler("asha", 900).name, named_scheduler("pbt", 900).name
    ('asha(eta=3, min_steps=100)', 'pbt(every=45, population=20)')
    """
    from jaxhp import schedulers

    by_rungs: dict[str, Callable[..., Scheduler]] = {
        "asha": schedulers.asha,
        "successive_halving": schedulers.successive_halving,
        "hyperband": schedulers.hyperband,
        "median_stopping": schedulers.median_stopping,
    }
    by_rounds: dict[str, Callable[..., Scheduler]] = {"pbt": schedulers.pbt, "pb2": schedulers.pb2}
    if name == "none":
        return None
    if name not in by_rungs and name not in by_rounds:
        known = ", ".join([*by_rungs, *by_rounds])
        raise StudyError(f"scheduler {name!r} is unknown; choose one of none, {known}, or write one into the file")
    if steps is None and (name in by_rounds or name == "hyperband"):
        remedy = "scheduler = jaxhp.hyperband(max_steps=...) in the file" if name == "hyperband" else "a file with a `trainable`"
        raise StudyError(f"scheduler {name!r} must know how long a run is, which an objective does not tell; use {remedy}")
    if name in by_rounds:
        return by_rounds[name](every=max(1, (steps or 1) // 20))
    return by_rungs[name](min_steps=1 if steps is None else max(1, steps // 9))


def trainable_of(file: UserFile) -> Trainable:
    """The file's trainable, made if need be.

    Raises:
        StudyError: the function that makes it fails, or makes something else.
    """
    from jaxhp.train import Trainable

    made: Any = file.trainable
    if callable(made) and not isinstance(made, Trainable):
        try:
            made = made()
        except JaxhpError:
            raise
        except Exception as e:
            raise StudyError(f"{file.path}: `trainable()` failed:\n{own_frames(e, file.path.resolve().parent)}") from e
    if not isinstance(made, Trainable):
        raise StudyError(f"{file.path}: `trainable` is {made!r}, not a jaxhp.Trainable; build one with jaxhp.supervised(...)")
    return made


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
