"""The search space: named parameters, conditions between them, constraints on them, and its encoding to the unit cube.

    space = Space({"lr": Float(1e-4, 1.0, log=True), "optimizer": Categorical(["sgd", "adam"]),
                   "momentum": Float(0.0, 0.99, when={"optimizer": "sgd"})}).where("lr + momentum <= 1.5")

u (n, d) is canonical where discrete coordinates lie at the centre of their level and inactive ones are NaN
(docs/architecture.md, "The encoded space"). A space never changes: `where` and `fix` return new ones.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from jaxhp import _constraints, _feasible, _kernel, _parameters
from jaxhp._constraints import Constraint, Predicate
from jaxhp._parameters import Axis, Categorical, Float, Int, Ordinal, Parameter
from jaxhp._types import Bools, Dims, Floats, Ints, Kind, Params
from jaxhp.errors import SpaceError

__all__ = ["Categorical", "Float", "Int", "Ordinal", "Space"]

MOST_PARENT_LEVELS = 1024
Columns = dict[str, npt.NDArray[Any]]


class Space:
    """What may vary. Nested mappings give dotted names: `{"optimizer": {"lr": ...}}` holds `"optimizer.lr"`.

    Raises:
        SpaceError: naming the parameter, the value and the remedy.

    >>> space = Space({"lr": Float(1e-4, 1.0, log=True), "width": Int(16, 256, log=True)})
    >>> space.params(space.default())
    {'lr': 0.01, 'width': 64}
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        if not isinstance(parameters, Mapping):
            raise SpaceError(f"Space({parameters!r}): expected a mapping of names to parameters, such as {{'lr': Float(1e-4, 1.0, log=True)}}")
        self._build(dict(_flattened(parameters, "")), ())

    def _build(self, parameters: dict[str, Parameter], constraints: tuple[Constraint, ...], anchor: Floats | None = None) -> None:
        if not parameters:
            raise SpaceError("Space({}): a space needs at least one parameter")
        self.parameters: dict[str, Parameter] = _parents_first(parameters)
        self.names: tuple[str, ...] = tuple(self.parameters)
        self.d = len(self.names)
        self.constraints = constraints
        self.axes: tuple[Axis, ...] = tuple(_parameters.axis(name, p) for name, p in self.parameters.items())
        self.dims = self._encoded_dims()
        self._native = _kernel.EncodedDims(*self.dims)
        self._tables = [(name, axis.table) for name, axis in zip(self.names, self.axes, strict=True)]
        self._at = {name: j for j, name in enumerate(self.names)}
        self.anchor = anchor  # (d,) a feasible point, where there are constraints

    @classmethod
    def _of(cls, parameters: dict[str, Parameter], constraints: tuple[Constraint, ...] = (), anchor: Floats | None = None) -> Space:
        space = cls.__new__(cls)
        space._build(parameters, constraints, anchor)
        return space

    def _encoded_dims(self) -> Dims:
        parent, activating = [], []
        for name, parameter in self.parameters.items():
            above, values = _condition(parameter)
            if above is None:
                parent.append(-1)
                activating.append(np.zeros(0, np.int64))
                continue
            j = self.names.index(above)
            axis = self.axes[j]
            if not 0 < axis.levels <= MOST_PARENT_LEVELS:
                raise SpaceError(f"{name!r}: when={parameter.when!r} depends on {above!r}, which has no or too many levels; a parent is discrete, with at most {MOST_PARENT_LEVELS}")
            levels = [axis.plain(v) for v in values]
            unreachable = [v for v, level in zip(values, levels, strict=True) if level is None]
            if unreachable or not values:
                what = repr(unreachable[0]) if unreachable else "an empty list"
                raise SpaceError(f"{name!r}: when={parameter.when!r} can never hold: {what} is not a value of {above!r} ({self.parameters[above]!r})")
            parent.append(j)
            activating.append(np.array(levels, np.int64))
        allowed = np.zeros((self.d, max([1, *(self.axes[p].levels for p in parent if p >= 0)])), np.bool_)
        for j, active in enumerate(activating):
            allowed[j, active] = True
        return Dims(
            np.array([a.kind for a in self.axes], np.int8),
            np.array([a.low for a in self.axes]),
            np.array([a.high for a in self.axes]),
            np.array([a.levels for a in self.axes], np.int64),
            np.array(parent, np.int32),
            allowed,
        )

    # -- between the cube and the user -----------------------------------------------------------------------------

    def snap(self, u: Floats) -> Floats:
        """(n, d) canonical points of u (n, d). Raises ValueError where an active coordinate is NaN.

        >>> Space({"n": Int(1, 4)}).snap(np.array([[0.3]])).tolist()
        [[0.375]]
        """
        return self._native.snap(u)

    def active(self, u: Floats) -> Bools:
        """(n, d) whether each coordinate of the points u (n, d) is active.

        >>> Space({"n": Int(1, 4)}).active(np.array([[0.3]])).tolist()
        [[True]]
        """
        result: Bools = ~np.isnan(self._native.snap(u))
        return result

    def params(self, u: Floats) -> Params:
        """The active parameters of one canonical point (d,), as plain Python values.

        >>> Space({"n": Int(1, 4), "c": Categorical(["a", "b"])}).params(np.array([0.375, 0.75]))
        {'n': 2, 'c': 'b'}
        """
        plain = self._native.decode(u[None])[0].tolist()
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
            if name not in self._at:
                close = difflib.get_close_matches(str(name), self.names, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(self.names)}"
                raise SpaceError(f"{name!r} is not a parameter of this space; {hint}")
        plain = np.full(self.d, math.nan)
        for j, (name, axis) in enumerate(zip(self.names, self.axes, strict=True)):
            active = self._is_active(j, plain)
            if name not in params:
                if active:
                    raise SpaceError(f"{name!r} is missing; give a value ({self.parameters[name]!r})")
                continue
            if not active:
                raise SpaceError(f"{name!r} is inactive here (when={self.parameters[name].when!r}), yet it has the value {params[name]!r}; leave it out")
            value = axis.plain(params[name])
            if value is None:
                raise SpaceError(f"{name}={params[name]!r} is not a value of {self.parameters[name]!r}; choose one that is")
            plain[j] = value
        return self._native.encode(plain[None])[0]

    def _is_active(self, j: int, plain: Floats) -> bool:
        above = self.dims.parent[j]
        return bool(above < 0 or (not math.isnan(plain[above]) and self.dims.allowed[j, int(plain[above])]))

    def decode(self, u: Floats) -> Columns:
        """User values of u (n, d) as columns (n,): float64 for Float, int64 for Int, the choices otherwise.

        Inactive entries are NaN in a Float's column and None, in an object array, in any other.

        >>> Space({"n": Int(1, 4)}).decode(np.array([[0.1], [0.9]]))["n"].tolist()
        [1, 4]
        """
        plain = np.ascontiguousarray(self._native.decode(u).T)
        return {name: self._column(j, plain[j]) for j, name in enumerate(self.names)}

    def _column(self, j: int, plain: Floats) -> npt.NDArray[Any]:
        axis = self.axes[j]
        if axis.table is None or isinstance(axis.table, _parameters.Grid):
            return axis.values(plain)
        active = None if self.dims.parent[j] < 0 else ~np.isnan(plain)
        if isinstance(axis.table, range):
            values = axis.table.start + axis.table.step * (plain if active is None else plain[active]).astype(np.int64)
        else:
            same = len({type(c) for c in axis.table}) == 1
            table = np.array(axis.table, dtype=None if same and axis.table[0] is not None else object)
            values = table[(plain if active is None else plain[active]).astype(np.int64)]
        if active is None:
            return values
        column = np.full(len(plain), None, dtype=object)
        column[active] = values.tolist()
        return column

    def encode(self, columns: Mapping[str, Any]) -> Floats:
        """u (n, d) of columns of user values; the inverse of `decode`. A column may be left out where it is inactive throughout.

        Raises:
            SpaceError: naming parameter, row, value and remedy.

        >>> Space({"n": Int(1, 4)}).encode({"n": [1, 4]}).tolist()
        [[0.125], [0.875]]
        """
        unknown = [name for name in columns if name not in self._at]
        if unknown:
            raise SpaceError(f"{unknown[0]!r} is not a parameter of this space; there are {', '.join(self.names)}")
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) != 1:
            raise SpaceError(f"columns must be of one length, got {lengths}")
        n = next(iter(lengths.values()))
        plain = np.full((n, self.d), math.nan)
        for j, name in enumerate(self.names):
            if name in columns:
                plain[:, j] = self._plain_column(j, name, columns[name])
            above = self.dims.parent[j]
            active = np.ones(n, np.bool_) if above < 0 else np.zeros(n, np.bool_)
            if above >= 0:
                known = ~np.isnan(plain[:, above])
                active[known] = self.dims.allowed[j, plain[known, above].astype(np.int64)]
            given = ~np.isnan(plain[:, j])
            for wrong, what in ((active & ~given, "is missing; give a value"), (given & ~active, "is inactive; give None or NaN")):
                if wrong.any():
                    raise SpaceError(f"row {int(wrong.argmax())}: {name!r} {what} ({self.parameters[name]!r})")
        return self._native.encode(plain)

    def _plain_column(self, j: int, name: str, column: Any) -> Floats:
        axis = self.axes[j]
        array = column if isinstance(column, np.ndarray) else np.array(column, dtype=object)
        if axis.index is not None:
            index = axis.index
            plain = np.array([index.get(v, math.nan) for v in array.tolist()])
            bad = np.isnan(plain)
            if bad.any():  # None is a missing entry unless it is a choice
                bad &= np.array([v is not None and v == v for v in array.tolist()])
        else:
            if array.dtype == object:
                wrong = [i for i, v in enumerate(array) if v is not None and (isinstance(v, (bool, str)) or not hasattr(v, "__float__"))]
                if wrong:
                    raise SpaceError(f"row {wrong[0]}: {name}={array[wrong[0]]!r} is not a number ({self.parameters[name]!r})")
            elif array.dtype.kind not in "fiu":
                raise SpaceError(f"{name!r}: a column of dtype {array.dtype} is not numeric ({self.parameters[name]!r})")
            values = array.astype(np.float64)
            plain = _levels(axis, values)
            bad = ~np.isnan(values) & np.isnan(plain)
        if bad.any():
            row = int(bad.argmax())
            raise SpaceError(f"row {row}: {name}={array[row]!r} is not a value of {self.parameters[name]!r}; choose one that is")
        return plain

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
        u = np.full((1, self.d), 0.5)
        for j, (axis, parameter) in enumerate(zip(self.axes, self.parameters.values(), strict=True)):
            if parameter.default is not None:
                plain = np.full((1, self.d), math.nan)
                plain[0, j] = axis.plain(parameter.default)
                u[0, j] = self._native.encode(plain)[0, j]
            elif axis.kind == Kind.CATEGORICAL:
                u[0, j] = 0.0
        return self.snap(u)[0]

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
            numeric = {n: axis.index is None or axis.numbers is not None for n, axis in zip(self.names, self.axes, strict=True)}
            added = _constraints.linear(constraint, numeric)
        elif callable(constraint):
            name = name or getattr(constraint, "__name__", None)
            if not name or name == "<lambda>":
                raise SpaceError("where(<lambda>): pass name='...', which errors and the log show")
            added = Predicate(name, constraint)
        else:
            raise SpaceError(f"where({constraint!r}): expected a comparison in a string, or a function of the parameters")
        space = Space._of(self.parameters, (*self.constraints, added))
        space.anchor = _feasible.anchor(space)
        return space

    def values(self, u: Floats) -> dict[str, Floats]:
        """Numeric columns (n,) of u (n, d); NaN where inactive or not a number."""
        plain = self._native.decode(u)
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

    def fix(self, values: Params) -> tuple[Space, Callable[[Floats], Floats], Callable[[Floats], tuple[Bools, Floats]]]:
        """This space with some parameters held: (reduced space, lift u' -> u, lower u -> (rows with these values, u')).

        Raises:
            SpaceError: an unknown name, not a value, a value for a parameter that these values make inactive, or nothing left to search.
        """
        plain = np.full(self.d, math.nan)
        for name, value in values.items():
            if name not in self._at:
                raise SpaceError(f"{name!r} is not a parameter of this space; there are {', '.join(self.names)}")
            level = self.axes[self._at[name]].plain(value)
            if level is None:
                raise SpaceError(f"{name}={value!r} is not a value of {self.parameters[name]!r}; choose one that is")
            plain[self._at[name]] = level
        fixed_u = self._native.encode(plain[None])[0]
        kept: dict[str, Parameter] = {}
        off: set[str] = set()
        for j, (name, parameter) in enumerate(self.parameters.items()):
            above = self.dims.parent[j]
            if above >= 0 and (self.names[above] in off or (self.names[above] in values and not self._is_active(j, plain))):
                off.add(name)
                if name in values:
                    raise SpaceError(f"{name!r} is inactive when {self.names[above]!r} is {values.get(self.names[above])!r}; do not fix it")
            elif name not in values:
                if above >= 0 and self.names[above] in values:
                    parameter = _unconditional(parameter)
                kept[name] = parameter
        if not kept:
            raise SpaceError(f"fixing {values!r} leaves nothing to search; leave a parameter free")
        constraints = [_constraints.substituted(c, dict(values), frozenset(off)) for c in self.constraints]
        reduced = Space._of(kept, tuple(c for c in constraints if c is not None))
        if reduced.constraints:
            reduced.anchor = _feasible.anchor(reduced)
        columns = np.array([self._at[name] for name in reduced.names])
        held = np.array([self._at[name] for name in values], dtype=np.int64)

        def lift(u: Floats) -> Floats:
            full = np.full((len(u), self.d), 0.5)
            full[:, held] = fixed_u[held]
            full[:, columns] = u
            return self.snap(full)

        def lower(u: Floats) -> tuple[Bools, Floats]:
            same: Bools = ((u[:, held] == fixed_u[held]) | np.isnan(u[:, held])).all(axis=1)
            return same, np.ascontiguousarray(u[same][:, columns])

        return reduced, lift, lower

    def extended_by(self, new: Space) -> None:
        """Checks that `new` holds every configuration of this space.

        Raises:
            SpaceError: naming what is narrower, changed or lacks a default.
        """
        for name, old in self.parameters.items():
            now = new.parameters.get(name)
            if now is None:
                raise SpaceError(f"extend: {name!r} is gone; keep every parameter, wider or as it was")
            wider = type(now) is type(old) and _wider(old, now, new.axes[new._at[name]])
            if not wider or not _condition_wider(old, now):
                raise SpaceError(f"extend: {name!r} was {old!r} and {now!r} is not wider; keep its type, scale and condition, and every old value")
        for name, now in new.parameters.items():
            if name not in self.parameters and now.default is None:
                raise SpaceError(f"extend: the new {name!r} needs a default, which the trials so far are taken to have used")

    def convert(self, u: Floats, new: Space) -> Floats:
        """The points u (n, d) of this space as points (n, d') of an extension of it."""
        plain = self._native.decode(u)
        target = np.empty((len(u), new.d))
        base = new._native.decode(np.where(np.isnan(new.default()), 0.5, new.default())[None])[0]
        for j, (name, axis) in enumerate(zip(new.names, new.axes, strict=True)):
            target[:, j] = base[j]
            if name in self._at:
                old = self.axes[self._at[name]]
                column = plain[:, self._at[name]]
                known = ~np.isnan(column)
                if axis.index is not None and old.table is not None:
                    levels = np.array([axis.index[c] for c in old.table], np.float64)
                    target[known, j] = levels[column[known].astype(np.int64)]
                else:
                    target[known, j] = _levels(axis, old.values(column[known]))
        return new.snap(new._native.encode(target))

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

        >>> space = Space({"n": Int(1, 4)})
        >>> Space.from_json(space.to_json()) == space
        True
        """
        parameters = {p["name"]: _parameters.from_json({k: v for k, v in p.items() if k != "name"}) for p in fields["parameters"]}
        space = cls._of(parameters)
        for constraint in fields["constraints"]:
            if "linear" in constraint:
                space = space.where(constraint["linear"])
            else:
                space = cls._of(space.parameters, (*space.constraints, Predicate(constraint["predicate"], None)), space.anchor)
        return space

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
        if ours != theirs:
            lines.append(f"  constraints: {ours} -> {theirs}")
        return "\n".join(lines)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Space) and not self.difference(other)

    __hash__ = None  # type: ignore[assignment]

    def __deepcopy__(self, memo: dict[int, Any]) -> Space:
        return self  # it never changes

    def __len__(self) -> int:
        return self.d

    def __contains__(self, name: object) -> bool:
        return name in self._at

    def __repr__(self) -> str:
        size = self.size
        return f"Space({self.d} parameters, {'infinitely many' if size is None else size} configurations, {len(self.constraints)} constraints)"

    def __str__(self) -> str:
        rows = [("name", "type", "range", "scale", "default", "when")]
        for name, p in self.parameters.items():
            span = f"{p.low:g} ... {p.high:g}" if isinstance(p, (Float, Int)) else " ".join(map(str, p.choices))
            step = getattr(p, "step", None)
            scale = "log" if getattr(p, "log", False) else f"step {step:g}" if step not in (None, 1) else ""
            above, values = _condition(p)
            rows.append((name, type(p).__name__, span, scale, "" if p.default is None else str(p.default), f"{above} in {values}" if above else ""))
        widths = [max(len(row[i]) for row in rows) for i in range(6)]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, *(f"where {c}" for c in self.constraints)])


def _flattened(parameters: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, Parameter]]:
    for name, value in parameters.items():
        if not isinstance(name, str) or not name or "." in name:
            raise SpaceError(f"parameter name {name!r}: use a non-empty string without dots; nest mappings for dotted names")
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{name}.")
        elif isinstance(value, tuple(_parameters.PARAMETERS.values())):
            yield prefix + name, value
        else:
            raise SpaceError(f"{prefix + name!r} is {value!r}; expected Float, Int, Ordinal, Categorical or a nested mapping of them")


def _condition(parameter: Parameter) -> tuple[str | None, list[Any]]:
    if parameter.when is None:
        return None, []
    (above, values), *_ = parameter.when.items()
    return above, list(values) if isinstance(values, (list, tuple, set, frozenset)) else [values]


def _parents_first(parameters: dict[str, Parameter]) -> dict[str, Parameter]:
    """Stable order with parents before children; conditions get the full names of their parents."""
    resolved = {name: _resolved(name, p, parameters) for name, p in parameters.items()}
    ordered: dict[str, Parameter] = {}

    def place(name: str, below: tuple[str, ...]) -> None:
        if name in below:
            raise SpaceError(f"{name!r}: its condition goes round in a circle: {' -> '.join((*below, name))}; break it")
        if name not in ordered:
            above, _ = _condition(resolved[name])
            if above is not None:
                place(above, (*below, name))
            ordered[name] = resolved[name]

    for name in resolved:
        place(name, ())
    return ordered


def _resolved(name: str, parameter: Parameter, parameters: dict[str, Parameter]) -> Parameter:
    when = parameter.when
    if when is None:
        return parameter
    if not isinstance(when, Mapping) or len(when) != 1 or not all(isinstance(k, str) for k in when):
        raise SpaceError(f"{name!r}: when={when!r} must name one parent, such as when={{'optimizer': 'sgd'}} or a list of values; chain several levels through the parents")
    (above, values), *_ = when.items()
    group = name.split(".")[:-1]
    for depth in range(len(group), -1, -1):
        full = ".".join([*group[:depth], above])
        if full in parameters:
            if full == name:
                break
            return _replaced(parameter, when={full: values})
    raise SpaceError(f"{name!r}: when={when!r} names no other parameter; there are {', '.join(n for n in parameters if n != name)}")


def _replaced(parameter: Parameter, **changes: Any) -> Parameter:
    cls = type(parameter)
    fields = {k: getattr(parameter, k) for k in cls.__dataclass_fields__ if k != "_"}
    return cls(**(fields | changes))


def _unconditional(parameter: Parameter) -> Parameter:
    return _replaced(parameter, when=None)


def _levels(axis: Axis, values: Floats) -> Floats:
    """Plain values of numbers (n,); NaN where one is not a value of the axis. `axis` is not one of choices."""
    inside = (values >= axis.low) & (values <= axis.high)
    if axis.table is None:
        return np.where(inside, values, math.nan)
    if isinstance(axis.table, range):
        level = (values - axis.table.start) / axis.table.step
        return np.where(inside & (level == np.rint(level)), level, math.nan)
    level = np.rint((values - axis.low) / (axis.high - axis.low) * (axis.levels - 1))
    on_grid = np.isclose(axis.values(level), values, rtol=1e-12, atol=1e-12 * (axis.high - axis.low))
    return np.where(inside & on_grid, level, math.nan)


def _wider(old: Parameter, now: Parameter, axis: Axis) -> bool:
    if isinstance(old, (Float, Int)) and isinstance(now, (Float, Int)):
        same = old.log == now.log and old.step == now.step and now.low <= old.low and old.high <= now.high
        return same and (old.step is None or (axis.plain(old.low) is not None and axis.plain(old.high) is not None))
    if isinstance(old, (Ordinal, Categorical)) and isinstance(now, (Ordinal, Categorical)):
        return all(c in now.choices for c in old.choices)
    return False


def _condition_wider(old: Parameter, now: Parameter) -> bool:
    above, values = _condition(old)
    now_above, now_values = _condition(now)
    return above == now_above and all(v in now_values for v in values)
