"""The search space: named parameters, conditions between them, constraints on them, and its encoding to the unit cube.

    space = Space({"lr": Float(1e-4, 1.0, log=True), "optimizer": Categorical(["sgd", "adam"]),
                   "momentum": Float(0.0, 0.99, when={"optimizer": "sgd"})}).where("lr + momentum <= 1.5")

u (n, d) is canonical where discrete coordinates lie at the centre of their level and inactive ones are NaN
(docs/architecture.md, "The encoded space"). A space never changes: `where` and `fix` return new ones. Its parts: what the
user writes (`_parameters.py`), one coordinate (`_axis.py`), names and conditions (`_tree.py`), constraints
(`_constraints.py`, `_feasible.py`), other spaces made from it (`_between.py`).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from jaxhp import _axis, _between, _constraints, _feasible, _kernel, _parameters, _tree
from jaxhp._axis import Axis
from jaxhp._constraints import Constraint, Predicate, Spans
from jaxhp._parameters import Categorical, Float, Int, Ordinal, Parameter, condition
from jaxhp._types import Bools, Floats, Ints, Kind, Params
from jaxhp.errors import SpaceError

__all__ = ["Categorical", "Float", "Int", "Ordinal", "Space"]

Columns = dict[str, npt.NDArray[Any]]


class Space:
    """What may vary. Nested mappings give dotted names: `{"optimizer": {"lr": ...}}` holds `"optimizer.lr"`.

    Raises:
        SpaceError: naming the parameter, the value and the remedy.

    >>> space = Space({"dropout": Float(0.0, 1.0), "width": Int(16, 256, default=64, log=True)})
    >>> space.params(space.default())
    {'dropout': 0.5, 'width': 64}
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        if not isinstance(parameters, Mapping):
            raise SpaceError(f"Space({parameters!r}): expected names and parameters, such as {{'lr': Float(1e-4, 1.0, log=True)}}")
        if not parameters:
            raise SpaceError("Space({}): a space needs at least one parameter")
        self._build(_tree.resolved(dict(_tree.flattened(parameters))), ())

    def _build(self, resolved: dict[str, Parameter], constraints: tuple[Constraint, ...]) -> None:
        self.parameters: dict[str, Parameter] = resolved  # parents first
        self.names: tuple[str, ...] = tuple(resolved)
        self.d = len(self.names)
        self.index: dict[str, int] = {name: j for j, name in enumerate(self.names)}
        self.axes: tuple[Axis, ...] = tuple(_axis.encoded(name, p) for name, p in resolved.items())
        self.dims = _tree.dims(resolved, self.axes)
        self.encoded = _kernel.EncodedDims(*self.dims)
        self._tables = [(name, axis.table) for name, axis in zip(self.names, self.axes, strict=True)]
        self.constraints = constraints
        self.anchor: Floats | None = None  # (d,) a feasible point, where there are constraints and their functions are known
        if constraints and not any(isinstance(c, Predicate) and c.function is None for c in constraints):
            self.anchor = _feasible.anchor(self)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Space._of, (self.parameters, self.constraints)

    @classmethod
    def _of(cls, resolved: dict[str, Parameter], constraints: tuple[Constraint, ...] = ()) -> Space:
        space = cls.__new__(cls)
        space._build(resolved, constraints)
        return space

    def index_of(self, name: object) -> int:
        """The dim of a parameter.

        Raises:
            SpaceError: there is none of this name, with the closest one.
        """
        j = self.index.get(name) if isinstance(name, str) else None
        if j is None:
            close = difflib.get_close_matches(str(name), self.names, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(self.names)}"
            raise SpaceError(f"{name!r} is not a parameter of this space; {hint}")
        return j

    # -- between the cube and the user -----------------------------------------------------------------------------

    def snap(self, u: Floats) -> Floats:
        """(n, d) canonical points of u (n, d). Raises ValueError where an active coordinate is NaN.

        >>> Space({"n": Int(1, 4)}).snap(np.array([[0.3]])).tolist()
        [[0.375]]
        """
        return self.encoded.snap(u)

    def active(self, u: Floats) -> Bools:
        """(n, d) whether each coordinate of the points u (n, d) is active.

        >>> Space({"n": Int(1, 4)}).active(np.array([[0.3]])).tolist()
        [[True]]
        """
        result: Bools = ~np.isnan(self.encoded.snap(u))
        return result

    def params(self, u: Floats) -> Params:
        """The active parameters of one canonical point (d,), as plain Python values.

        >>> Space({"n": Int(1, 4), "c": Categorical(["a", "b"])}).params(np.array([0.375, 0.75]))
        {'n': 2, 'c': 'b'}
        """
        plain = self.encoded.decode(u[None])[0].tolist()
        return {name: x if table is None else table[int(x)] for (name, table), x in zip(self._tables, plain, strict=True) if x == x}

    def point(self, params: Mapping[str, Any]) -> Floats:
        """(d,) the canonical point of a configuration: every active parameter, no other.

        Raises:
            SpaceError: naming the parameter, the value and the remedy.

        >>> Space({"n": Int(1, 4)}).point({"n": 2}).tolist()
        [0.375]
        """
        if not isinstance(params, Mapping):
            raise SpaceError(f"expected a dict of parameter values, got {params!r}")
        for name in params:
            self.index_of(name)
        plain = np.full(self.d, math.nan)
        for j, (name, axis) in enumerate(zip(self.names, self.axes, strict=True)):
            above = self.dims.parent[j]
            active = above < 0 or (not math.isnan(plain[above]) and self.dims.allowed[j, int(plain[above])])
            if name not in params:
                if active:
                    raise SpaceError(f"{name!r} is missing; give a value ({self.parameters[name]!r})")
                continue
            if not active:
                raise SpaceError(f"{name!r} is inactive here (when={self.parameters[name].when!r}); leave out {params[name]!r}")
            value = axis.plain(params[name])
            if value is None:
                raise SpaceError(f"{name}={params[name]!r} {axis.refusal(params[name])}")
            plain[j] = value
        u: Floats = self.encoded.encode(plain[None])[0]
        return u

    def plain(self, params: Params) -> Params:
        """A configuration of this space in the types of `params`: numbers of NumPy and JAX, and whole floats of an Int, as Python's.

        >>> Space({"n": Int(1, 4), "x": Float(0.0, 1.0)}).plain({"n": np.float32(2), "x": np.float64(0.5)})
        {'n': 2, 'x': 0.5}
        """
        return {name: self.axes[self.index[name]].user(value) for name, value in params.items()}

    def decode(self, u: Floats) -> Columns:
        """User values of u (n, d) as columns (n,): float64 for Float, int64 for Int, the choices otherwise.

        Inactive entries are NaN in a Float's column and None, in an object array, in any other.

        >>> Space({"n": Int(1, 4)}).decode(np.array([[0.1], [0.9]]))["n"].tolist()
        [1, 4]
        """
        plain = np.ascontiguousarray(self.encoded.decode(u).T)
        conditional = self.dims.parent >= 0
        return {name: self.axes[j].column(plain[j], bool(conditional[j])) for name, j in self.index.items()}

    def encode(self, columns: Mapping[str, Any]) -> Floats:
        """u (n, d) of columns of user values; the inverse of `decode`. A column may be left out where it is inactive throughout.

        Raises:
            SpaceError: naming parameter, row, value and remedy.

        >>> Space({"n": Int(1, 4)}).encode({"n": [1, 4]}).tolist()
        [[0.125], [0.875]]
        """
        given = {name: _as_column(name, column) for name, column in columns.items()}
        for name in given:
            self.index_of(name)
        lengths = {name: len(column) for name, column in given.items()}
        if len(set(lengths.values())) != 1:
            raise SpaceError(f"expected columns of one length, got {lengths}")
        n = next(iter(lengths.values()))
        plain = np.full((self.d, n), math.nan)
        for j, (name, axis) in enumerate(zip(self.names, self.axes, strict=True)):
            active = self._active_rows(j, plain)
            if name in given:
                plain[j], bad = axis.plain_column(given[name])
                if bad.any():
                    row = int(bad.argmax())
                    value = given[name][row : row + 1].tolist()[0]
                    raise SpaceError(f"row {row}: {name}={value!r} {axis.refusal(value)}")
                if axis.level_of is not None and None in axis.level_of:  # the choice where active, else absent
                    plain[j, ~active & (plain[j] == axis.level_of[None])] = math.nan
            present = ~np.isnan(plain[j])
            for wrong, what in ((active & ~present, "is missing; give a value"), (present & ~active, "is inactive; give None or NaN")):
                if wrong.any():
                    raise SpaceError(f"row {int(wrong.argmax())}: {name!r} {what} ({self.parameters[name]!r})")
        return self.encoded.encode(np.ascontiguousarray(plain.T))

    def stretch(self, u: Floats) -> Floats:
        """(n, d) dx/du at canonical points u (n, d): what a slope in the user's units is multiplied with. NaN where discrete or inactive.

        x = low + u (high - low) gives high - low; on a log scale it is x log(high / low).

        >>> Space({"x": Float(0.01, 1.0, log=True), "y": Float(0.0, 3.0)}).stretch(np.array([[0.5, 0.5]])).round(3).tolist()
        [[0.461, 3.0]]
        """
        kind, low, high = self.dims.kind, self.dims.low, self.dims.high
        x = self.encoded.decode(u)
        result = np.where(np.isnan(x), math.nan, high - low)
        log = kind == Kind.FLOAT_LOG
        result[:, log] = x[:, log] * np.log(high[log] / low[log])
        result[:, ~np.isin(kind, (Kind.FLOAT, Kind.FLOAT_LOG))] = math.nan
        return result

    def _active_rows(self, j: int, plain: Floats) -> Bools:
        """(n,) where dim j is active, given the plain values (d, n) of its parent."""
        above = int(self.dims.parent[j])
        if above < 0:
            return np.ones(plain.shape[1], np.bool_)
        active: Bools = ~np.isnan(plain[above])
        active[active] = self.dims.allowed[j, plain[above, active].astype(np.int64)]
        return active

    # -- what it holds ---------------------------------------------------------------------------------------------

    @property
    def has_defaults(self) -> bool:
        """Whether any parameter has a default."""
        return any(p.default is not None for p in self.parameters.values())

    def default(self) -> Floats:
        """(d,) the defaults, and where none is given the centre: half-way in u, the middle level, the first category.

        >>> Space({"x": Float(0.0, 1.0, default=0.25), "y": Float(0.0, 1.0)}).default().tolist()
        [0.25, 0.5]
        """
        u: Floats = self.snap(self.defaults_everywhere()[None])[0]
        return u

    def defaults_everywhere(self) -> Floats:
        """(d,) `default` without conditions: the default or centre of every coordinate, not NaN where it is inactive."""
        u = np.full(self.d, 0.5)
        for j, (axis, parameter) in enumerate(zip(self.axes, self.parameters.values(), strict=True)):
            if parameter.default is not None:
                plain = np.full((1, self.d), math.nan)
                plain[0, j] = axis.plain(parameter.default)
                u[j] = self.encoded.encode(plain)[0, j]
            elif axis.kind == Kind.CATEGORICAL:
                u[j] = 0.0
        return u

    def default_params(self) -> Params:
        """The defaults as a configuration, in the user's exact values.

        >>> Space({"x": Float(0.0, 1.0, default=0.1)}).default_params()
        {'x': 0.1}
        """
        params = self.params(self.default())
        return {name: value if self.parameters[name].default is None else self.parameters[name].default for name, value in params.items()}

    @property
    def size(self) -> int | None:
        """How many distinct configurations there are, conditions respected and constraints ignored; None when infinitely many."""
        if any(axis.levels == 0 for axis in self.axes):
            return None
        total = [0] * self.d
        parent = self.dims.parent
        for j in reversed(range(self.d)):  # children come after their parent
            children = [c for c in range(self.d) if parent[c] == j]
            if not children:
                total[j] = self.axes[j].levels
                continue
            total[j] = sum(math.prod(total[c] for c in children if self.dims.allowed[c, i]) for i in range(self.axes[j].levels))
        return math.prod(total[j] for j in range(self.d) if parent[j] < 0)

    # -- constraints -----------------------------------------------------------------------------------------------

    def where(self, constraint: str | Callable[[Params], bool], *, name: str | None = None) -> Space:
        """A space whose configurations also meet a constraint: `"2 * width + depth <= 300"`, or a function of the active parameters.

        It counts only where all parameters that it names are active.

        Raises:
            SpaceError: the constraint cannot be read, or no configuration meets it.

        >>> space = Space({"a": Float(0.0, 1.0), "b": Float(0.0, 1.0)}).where("a + b <= 1")
        >>> space.feasible(np.array([[0.2, 0.3], [0.9, 0.3]])).tolist()
        [True, False]
        """
        added: Constraint
        if isinstance(constraint, str):
            added = _constraints.linear(constraint, self.spans())
        elif callable(constraint):
            name = name or getattr(constraint, "__name__", None)
            if not name or name == "<lambda>":
                raise SpaceError("where(<lambda>): pass name='...', which errors and the log show")
            added = Predicate(name, constraint)
        else:
            raise SpaceError(f"where({constraint!r}): expected a comparison in a string, or a function of the parameters")
        return Space._of(self.parameters, (*self.constraints, added))

    def spans(self) -> Spans:
        """The least and the greatest number of each parameter; None where its values are not numbers."""
        return {name: axis.span for name, axis in zip(self.names, self.axes, strict=True)}

    def values(self, u: Floats) -> dict[str, Floats]:
        """Numeric columns (n,) of u (n, d); NaN where inactive or not a number."""
        plain = self.encoded.decode(u)
        return {name: axis.values(plain[:, j]) for j, (name, axis) in enumerate(zip(self.names, self.axes, strict=True))}

    def feasible(self, u: Floats) -> Bools:
        """(n,) whether canonical points u (n, d) meet every constraint."""
        met = np.ones(len(u), np.bool_)
        if not self.constraints:
            return met
        values = self.values(u)
        for constraint in self.constraints:
            if isinstance(constraint, Predicate):
                for i in np.flatnonzero(met):
                    met[i] = constraint.satisfied(self.params(u[i]), self.names)
            else:
                met &= constraint.satisfied(values)
        return met

    def constrain(self, u: Floats, seed: int, numbers: Ints) -> Floats:
        """u (k, d) canonical, infeasible rows replaced as a pure function of (row, seed, number)."""
        return _feasible.constrain(self, u, seed, numbers) if self.constraints else u

    # -- from one space to another ---------------------------------------------------------------------------------

    def fix(self, values: Params) -> tuple[Space, _between.Lift, _between.Lower]:
        """This space with some parameters held: (reduced space, lift u' -> u, lower u -> (rows with these values, u')).

        Raises:
            SpaceError: an unknown name, not a value, a value for a parameter that these values make inactive, or nothing left to search.
        """
        parameters, constraints = _between.fixed(self, dict(values))
        reduced = Space._of(parameters, constraints)
        return reduced, *_between.maps(self, reduced, dict(values))

    def extended_by(self, new: Space) -> None:
        """Checks that `new` holds every configuration of this space.

        Raises:
            SpaceError: naming what is narrower, changed or lacks a default.
        """
        _between.check_extension(self, new)

    def convert(self, u: Floats, new: Space) -> Floats:
        """The points u (n, d) of this space as points (n, d') of an extension of it."""
        return _between.converted(self, u, new)

    # -- as text ---------------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """The space as JSON values; a function constraint is only named."""
        return {
            "parameters": [{"name": name} | _parameters.to_json(p) for name, p in self.parameters.items()],
            "constraints": [_constraints.to_json(c) for c in self.constraints],
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Space:
        """What `to_json` wrote.

        Raises:
            SpaceError: no space can be; what is not even of this form may raise a LookupError, a TypeError or a ValueError.

        >>> space = Space({"n": Int(1, 4)})
        >>> Space.from_json(space.to_json()) == space
        True
        """
        parameters: dict[str, Parameter] = {}
        for p in fields["parameters"]:
            name, parameter = p["name"], _parameters.from_json({k: v for k, v in p.items() if k != "name"})
            above, _ = condition(parameter)
            if not isinstance(name, str) or not name or name in parameters or (above is not None and above not in parameters):
                raise SpaceError(f"parameter {name!r} has no name of its own, or comes before the one that it depends on")
            parameters[name] = parameter
        if not parameters:
            raise SpaceError("a space needs at least one parameter")
        free = cls._of(parameters)
        constraints = tuple(_constraints.from_json(c, free.spans()) for c in fields["constraints"])
        return cls._of(parameters, constraints) if constraints else free

    def knowing(self, other: Space) -> Space:
        """This space with the functions of another one's constraints, by name, in the place of those that a log could not hold."""
        known = {c.name: c for c in other.constraints if isinstance(c, Predicate)}
        held = tuple(known.get(c.name, c) if isinstance(c, Predicate) else c for c in self.constraints)
        return Space._of(self.parameters, held) if held else self

    def difference(self, other: Space) -> str:
        """What differs, a line each; "" when nothing does. Functions are compared by name."""
        lines = []
        for name in dict.fromkeys(self.names + other.names):
            a, b = self.parameters.get(name), other.parameters.get(name)
            a_json, b_json = (_parameters.to_json(p) if p is not None else None for p in (a, b))
            if a_json != b_json:
                lines.append(f"  {name}: {a!r} -> {b!r}" if a and b else f"  {name}: {a!r} is gone" if a else f"  {name}: {b!r} is new")
        if not lines and self.names != other.names:
            lines.append(f"  order: {', '.join(self.names)} -> {', '.join(other.names)}")
        ours, theirs = [str(c) for c in self.constraints], [str(c) for c in other.constraints]
        lines += [f"  constraint {c!r} is gone" for c in ours if c not in theirs]
        lines += [f"  constraint {c!r} is new" for c in theirs if c not in ours]
        if not lines and ours != theirs:
            lines.append(f"  order of constraints: {', '.join(ours)} -> {', '.join(theirs)}")
        return "\n".join(lines)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Space) and not self.difference(other)

    __hash__ = None  # type: ignore[assignment]

    def __deepcopy__(self, memo: dict[int, Any]) -> Space:
        return self  # it never changes

    def __len__(self) -> int:
        return self.d

    def __contains__(self, name: object) -> bool:
        return name in self.index

    def __repr__(self) -> str:
        size = self.size
        many = "infinitely many" if size is None else f"{size:,}"
        return f"Space({self.d} parameters, {many} configurations, {len(self.constraints)} constraints)"

    def __str__(self) -> str:
        rows = [("name", "type", "range", "scale", "default", "when")]
        for name, p in self.parameters.items():
            span = f"{p.low} ... {p.high}" if isinstance(p, (Float, Int)) else ", ".join(map(str, p.choices))
            step = getattr(p, "step", None)
            scale = "log" if getattr(p, "log", False) else f"step {step}" if step not in (None, 1) else ""
            above, values = condition(p)
            when = "" if above is None else f"{above} is {' or '.join(map(str, values))}"
            rows.append((name, type(p).__name__, span, scale, "" if p.default is None else str(p.default), when))
        widths = [max(len(row[i]) for row in rows) for i in range(6)]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, *(f"where {c}" for c in self.constraints)])


def _as_column(name: str, column: Any) -> npt.NDArray[Any]:
    if isinstance(column, np.ndarray):
        array = column
    elif isinstance(column, str) or not hasattr(column, "__len__"):
        raise SpaceError(f"{name}={column!r}: expected a column, a list or array with one value per row; put it in brackets")
    else:
        array = np.empty(len(column), dtype=object)
        array[:] = list(column)
    if array.ndim != 1:
        raise SpaceError(f"{name!r}: expected a column of one dimension, got shape {array.shape}; give one value per row")
    return array
