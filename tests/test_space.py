"""The space: what it refuses, its encoding against slow twins, its conditions, and the spaces made from it."""

import itertools
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kernel_reference as reference
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxhp import Categorical, Float, Int, Ordinal, Space, SpaceError
from jaxhp._types import Floats, Kind
from jaxhp.testing import spaces

TREE = Space(
    {
        "optimizer": Categorical(["sgd", "adam", "lamb"]),
        "momentum": Float(0.0, 0.99, when={"optimizer": "sgd"}),
        "nesterov": Categorical([True, False], when={"optimizer": "sgd"}),
        "damping": Ordinal([None, "low", "high"], when={"nesterov": True}),
        "beta": Float(0.5, 0.9, step=0.1, default=0.9, when={"optimizer": ["lamb", "adam"]}),
        "depth": Int(1, 4),
        "width": Int(16, 256, log=True, when={"depth": [3, 4]}),
    }
)


def drawn(space: Space, n: int, seed: int = 0) -> Floats:
    return space.snap(np.random.default_rng(seed).random((n, space.d)))


def test_the_arguments_of_a_parameter_are_checked_by_the_space_that_names_it() -> None:
    with pytest.raises(SpaceError) as e:
        Space({"lr": Float(0.1, 0.001)})
    assert str(e.value) == "Float('lr', 0.1, 0.001): low must be below high; did you swap them?"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "at least one parameter"),
        ([("x", Float(0, 1))], "expected names and parameters"),
        ({"x": {}}, "'x' is an empty mapping"),
        ({"x": 3}, "'x' is 3; expected Float"),
        ({"": Float(0, 1)}, "parameter name ''"),
        ({3: Float(0, 1)}, "parameter name 3"),
        ({"a.b": Float(0, 1)}, "'a.b'.*without dots; nest"),
        ({"a": {"b": {"c": Float(1, 0)}}}, r"Float\('a.b.c', 1, 0\).*swap"),
        ({"x": Float(1, 1)}, "a constant needs no parameter"),
        ({"x": Float(math.nan, 1)}, "low is not finite"),
        ({"x": Float(0, math.inf)}, "high is not finite"),
        ({"x": Float(0, 10**400)}, "high is not finite"),
        ({"x": Float(-1.7e308, 1.7e308)}, "range is too wide"),
        ({"x": Float(2**60, 2**60 + 1)}, "the same float"),
        ({"x": Float("0", 1)}, r"low is '0' \(str\); give a number"),
        ({"x": Float(False, 1)}, r"low is False \(bool\)"),
        ({"x": Float(0, 1, log=True)}, "log scale needs low above 0"),
        ({"x": Float(1, 2, log=1)}, "log is 1; give True or False"),
        ({"x": Float(1, 2, log=True, step=0.5)}, "log and step exclude each other"),
        ({"x": Float(0, 1, step=0.3)}, "high is not low .* step=0.3; use high=0.9 or high=1.2"),
        ({"x": Float(0, 1, step=2)}, "use high=2"),
        ({"x": Float(0, 1, step=-0.1)}, "step is -0.1; give a positive one"),
        ({"x": Float(0, 1, step=0)}, "step is 0; give a positive one"),
        ({"x": Float(0, 1, step=1e-300)}, r"more than 2\*\*50 levels"),
        ({"x": Float(0, 1, default=2)}, r"default 2 is outside \[0, 1\]"),
        ({"x": Float(0, 1, default=math.nan)}, "default is not finite"),
        ({"x": Float(0, 1, default="a")}, "default is 'a'"),
        ({"x": Float(0, 1, step=0.25, default=0.3)}, "default 0.3 is between the levels; the nearest are 0.25 and 0.5"),
        ({"n": Int(1.0, 4)}, r"low is 1.0 \(float\); give an integer"),
        ({"n": Int(True, 4)}, r"low is True \(bool\)"),
        ({"n": Int(4, 1)}, "did you swap them"),
        ({"n": Int(1, 4, step=None)}, "step is None"),
        ({"n": Int(1, 4, step=2)}, "use high=3 or high=5"),
        ({"n": Int(1, 4, log=True, step=3)}, "log scale takes step=1"),
        ({"n": Int(0, 4, log=True)}, "log scale needs low above 0"),
        ({"n": Int(1, 2**41, log=True)}, r"reaches to 2\*\*40"),
        ({"n": Int(0, 2**51)}, r"more than 2\*\*50 levels"),
        ({"n": Int(0, 2**54, step=2**20)}, r"integers reach to 2\*\*53"),
        ({"n": Int(1, 4, default=2.5)}, "default is 2.5"),
        ({"n": Int(1, 5, step=2, default=2)}, "nearest are 1 and 3"),
        ({"c": Categorical("abc")}, "choices must be a list, got str"),
        ({"c": Categorical(3)}, "choices must be a list, got int"),
        ({"c": Categorical([])}, "give at least two"),
        ({"c": Ordinal(["a"])}, "a constant needs no parameter"),
        ({"c": Ordinal(["a", "b", "a"])}, "choice 'a' occurs twice; remove one"),
        ({"c": Ordinal([0, 1, True])}, r"True occurs twice \(1 == True in Python\)"),
        ({"c": Ordinal([1, 1.0])}, r"1.0 occurs twice \(1 == 1.0 in Python\)"),
        ({"c": Categorical(["a", (1, 2)])}, r"choice \(1, 2\) is a tuple; use strings"),
        ({"c": Categorical([1.0, math.nan])}, "choice nan is not finite"),
        ({"c": Categorical([1, 10**400])}, "is not finite as a float"),
        ({"c": Categorical(["sgd", "adam"], default="adm")}, "default 'adm' is not among the choices .* did you mean 'adam'"),
        ({"x": Float(0, 1, when="a")}, "must name one parent"),
        ({"x": Float(0, 1, when={})}, "must name one parent"),
        ({"a": Int(1, 2), "b": Int(1, 2), "x": Float(0, 1, when={"a": 1, "b": 1})}, "must name one parent"),
        ({"x": Float(0, 1, when={"y": 1})}, "names no other parameter; the others are: none"),
        ({"x": Int(0, 1, when={"x": 1})}, "names no other parameter"),
        ({"a": Int(1, 2, when={"b": 1}), "b": Int(1, 2, when={"a": 1})}, "circle: a -> b -> a"),
        ({"a": Float(0, 1), "x": Float(0, 1, when={"a": 0.5})}, "'a' is continuous"),
        ({"a": Int(1, 9, log=True), "x": Float(0, 1, when={"a": 1})}, "'a' is an Int on a log scale"),
        ({"a": Int(1, 2000), "x": Float(0, 1, when={"a": 1})}, "2000 levels; a parent has at most 1024"),
        ({"a": Int(1, 2), "x": Float(0, 1, when={"a": []})}, "can never hold; give a value"),
        ({"a": Int(1, 2), "x": Float(0, 1, when={"a": [1, 3]})}, r"can never hold: a=3 is outside \[1, 2\]"),
        ({"a": Categorical(["u", "v"]), "x": Float(0, 1, when={"a": "w"})}, "can never hold: a='w' is not among the choices"),
        ({"a": Categorical(["u", "v"]), "x": Float(0, 1, when={"a": [["u"]]})}, "can never hold"),
    ],
)
def test_a_wrong_space_is_refused_with_name_value_and_remedy(parameters: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        Space(parameters)


# -- encoding ----------------------------------------------------------------------------------------------------------


def value_of(parameter: Any, plain: float) -> Any:
    """The slow twin of an axis: a user value from a plain value, by the definition of each parameter."""
    if isinstance(parameter, (Ordinal, Categorical)):
        return parameter.choices[int(plain)]
    if isinstance(parameter, Int):
        return parameter.low + int(plain) * parameter.step
    return plain if parameter.step is None else float(round(parameter.low + plain * parameter.step, 9))


def same(a: Any, b: Any) -> bool:
    """Equal values, the continuous ones to rounding: the twin's exp is not the kernel's."""
    return (
        math.isclose(a, b, rel_tol=1e-13, abs_tol=1e-300)
        if isinstance(a, float) and isinstance(b, float)
        else type(a) is type(b) and a == b
    )


@given(spaces(), st.integers(0, 100))
def test_params_and_columns_agree_with_the_slow_twin(space: Space, seed: int) -> None:
    u = drawn(space, 20, seed)
    columns, plain = space.decode(u), reference.decode(space.dims, u)
    for i in range(len(u)):
        params = space.params(u[i])
        expected = {name: value_of(p, plain[i, j]) for j, (name, p) in enumerate(space.parameters.items()) if not math.isnan(plain[i, j])}
        assert params.keys() == expected.keys()
        assert all(same(params[name], expected[name]) for name in params), (params, expected)
        for name, column in columns.items():
            entry = column[i : i + 1].tolist()[0]
            if name in params:
                assert entry == params[name] and type(entry) is type(params[name])
            else:
                assert entry is None or math.isnan(entry)


def assert_same_values(space: Space, a: Floats, b: Floats) -> None:
    """Points of equal values, to the rounding of their parameter's bounds."""
    left, right = space.encoded.decode(a), space.encoded.decode(b)
    for j in range(space.d):
        size = max(abs(space.dims.low[j]), abs(space.dims.high[j]))
        np.testing.assert_allclose(left[:, j], right[:, j], rtol=1e-13, atol=1e-15 * size)


@given(spaces(), st.integers(0, 100))
def test_encoding_inverts_decoding_row_by_row_and_in_batches(space: Space, seed: int) -> None:
    u = drawn(space, 20, seed)
    back = space.encode(space.decode(u))
    singles = np.array([space.point(space.params(row)) for row in u])
    np.testing.assert_array_equal(back, singles)
    discrete = space.dims.levels > 0
    np.testing.assert_array_equal(back[:, discrete], u[:, discrete])
    assert_same_values(space, back, u)


@given(spaces(), st.integers(0, 100))
def test_canonical_points_stay_as_they_are(space: Space, seed: int) -> None:
    u = drawn(space, 20, seed)
    np.testing.assert_array_equal(space.snap(u), u)
    np.testing.assert_array_equal(space.active(u), ~np.isnan(u))


EVERY = [
    Int(-3, 9),
    Int(-30, 90, step=7 * 5 - 5),
    Int(1, 700, log=True),
    Float(0, 1, step=0.1),
    Float(-0.3, 0.3, step=0.05),
    Float(1e-5, 0.01001, step=1e-5),
    Float(0.0, 1.0, step=1 / 3),
    Float(0.1, 0.1 + 7 * 0.123456789, step=0.123456789),
    Float(1e10, 1e10 + 5, step=0.25),
    Ordinal([64, 16, 0.5, -3]),
    Categorical(["sgd", "adam", "", "ünïcode"]),
    Categorical([None, True, "None", 2, 0.25]),
    Categorical([1, "1", 0.5]),
]


@pytest.mark.parametrize("parameter", EVERY, ids=repr)
def test_every_discrete_value_comes_back_exactly(parameter: Any) -> None:
    space = Space({"p": parameter})
    levels = np.arange(int(space.dims.levels[0]))
    u = space.encoded.encode(levels[:, None].astype(np.float64))
    values = space.decode(u)["p"].tolist()
    assert len(set(map(repr, values))) == len(levels) == space.size
    if isinstance(parameter, (Ordinal, Categorical)):
        assert list(map(repr, values)) == list(map(repr, parameter.choices))
    assert [space.params(row)["p"] for row in u] == values
    np.testing.assert_array_equal(space.encode({"p": values}), u)
    np.testing.assert_array_equal([space.point({"p": v}) for v in values], u)
    if isinstance(parameter, (Int, Float)):
        assert values[0] == parameter.low and values[-1] == parameter.high


def test_a_step_gives_the_decimals_that_a_user_would_type() -> None:
    space = Space({"x": Float(0, 1, step=0.1), "y": Float(-0.07, 0.03, step=0.01)})
    x, y = (space.encoded.encode(np.array([[i, i] for i in range(11)], np.float64))[:, j] for j in (0, 1))
    assert space.decode(np.column_stack([x, y]))["x"].tolist() == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert space.decode(np.column_stack([x, y]))["y"].tolist() == [-0.07, -0.06, -0.05, -0.04, -0.03, -0.02, -0.01, 0.0, 0.01, 0.02, 0.03]


@given(st.integers(-(2**53) + 2**50, 2**53 - 2**50), st.integers(2, 2**50), st.data())
def test_the_widest_integer_ranges_come_back_exactly(low: int, levels: int, data: st.DataObject) -> None:
    space = Space({"n": Int(low, low + levels - 1)})
    value = low + data.draw(st.integers(0, levels - 1))
    assert space.params(space.point({"n": value})) == {"n": value}
    assert space.decode(space.encode({"n": [value]}))["n"].tolist() == [value]


@given(st.integers(1, 2**40 - 1), st.data())
def test_the_widest_log_integers_come_back_exactly(low: int, data: st.DataObject) -> None:
    space = Space({"n": Int(low, 2**40, log=True)})
    value = data.draw(st.integers(low, 2**40))
    assert space.params(space.point({"n": value})) == {"n": value}


def test_the_ends_of_continuous_ranges_are_exact() -> None:
    space = Space({"x": Float(0.1, 0.7), "y": Float(1e-7, 0.3, log=True)})
    assert space.params(np.zeros(2)) == {"x": 0.1, "y": 1e-7} and space.params(np.ones(2)) == {"x": 0.7, "y": 0.3}
    np.testing.assert_array_equal(space.point({"x": 0.7, "y": 0.3}), [1, 1])


def test_columns_have_the_types_that_users_expect() -> None:
    space = Space(
        {
            "x": Float(0, 1),
            "g": Float(0, 1, step=0.5),
            "n": Int(1, 4),
            "o": Ordinal([16, 32]),
            "s": Categorical(["a", "bb"]),
            "m": Categorical([1, "a", None]),
            "when_n": Int(1, 4, when={"s": "a"}),
            "when_x": Float(0, 1, when={"s": "a"}),
        }
    )
    u = space.snap(np.array([[0.5] * 8, [0.4, 0.4, 0.4, 0.4, 0.1, 0.1, 0.4, 0.4]]))
    columns = space.decode(u)
    assert {name: c.dtype.kind for name, c in columns.items()} == {
        "x": "f", "g": "f", "n": "i", "o": "i", "s": "U", "m": "O", "when_n": "O", "when_x": "f",
    }  # fmt: skip
    assert columns["when_n"].tolist() == [None, 2] and math.isnan(columns["when_x"][0])
    empty = space.decode(np.empty((0, space.d)))
    assert space.encode(empty).shape == (0, 8)
    assert all(type(v) in (int, float, str, type(None)) for v in space.params(u[1]).values())


def test_choices_come_back_as_the_users_own_objects() -> None:
    name = "".join(["long ", "name"])
    space = Space({"c": Categorical([name, "b"])})
    assert space.params(space.point({"c": "long name"}))["c"] is name


def test_numbers_of_other_types_are_taken_for_what_they_are() -> None:
    space = Space({"x": Float(0, 1), "n": Int(1, 4), "o": Ordinal(np.array([16, 32])), "r": Ordinal(range(3))})
    exact = space.point({"x": 1, "n": 2.0, "o": np.int64(16), "r": 2})
    np.testing.assert_array_equal(exact, space.point({"x": np.float32(1), "n": np.int8(2), "o": 16.0, "r": np.int64(2)}))
    assert space.params(exact) == {"x": 1.0, "n": 2, "o": 16, "r": 2}
    np.testing.assert_array_equal(space.encode({"x": (1,), "n": np.array([2.0]), "o": [16], "r": np.array([2.0])})[0], exact)


GOOD = {"optimizer": "sgd", "momentum": 0.5, "nesterov": False, "depth": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lerning": 1}, "'lerning' is not a parameter of this space; there are optimizer"),
        ({"momentun": 0.5}, "'momentun' is not a parameter.* did you mean 'momentum'"),
        ({3: 0.5}, "3 is not a parameter"),
        ({"optimizer": "adm"}, r"optimizer='adm' is not among the choices \['sgd', 'adam', 'lamb'\]; did you mean 'adam'"),
        ({"optimizer": ["sgd"]}, "is not among the choices"),
        ({"momentum": 1.5}, r"momentum=1.5 is outside \[0, 0.99\]; move it, or widen"),
        ({"momentum": math.nan}, "momentum=nan is not finite"),
        ({"momentum": math.inf}, "momentum=inf is not finite"),
        ({"momentum": 10**400}, "is not finite"),
        ({"momentum": "0.5"}, "momentum='0.5' is no number but str"),
        ({"momentum": None}, "momentum=None is no number but NoneType"),
        ({"momentum": np.zeros(2)}, "is no number but ndarray"),
        ({"momentum": 1j}, "is no number but complex"),
        ({"depth": True}, "depth=True is no number but bool"),
        ({"depth": 2.5}, "depth=2.5 is between the levels; the nearest are 2 and 3"),
        ({"depth": 5}, r"depth=5 is outside \[1, 4\]"),
        ({"beta": 0.5}, "'beta' is inactive here .*; leave out 0.5"),
        ({"optimizer": "adam"}, "'momentum' is inactive here"),
        ({"nesterov": True}, "'damping' is missing; give a value"),
        ({"depth": 3}, "'width' is missing"),
    ],
)
def test_a_wrong_configuration_is_refused_with_name_value_and_remedy(change: dict[Any, Any], message: str) -> None:
    assert TREE.params(TREE.point(GOOD)) == GOOD
    with pytest.raises(SpaceError, match=message):
        TREE.point(GOOD | change)


def test_a_number_beside_a_level_is_refused_and_one_of_rounding_is_taken() -> None:
    space = Space({"x": Float(0, 1, step=0.1)})
    assert space.params(space.point({"x": 0.1 + 0.2})) == {"x": 0.3}
    with pytest.raises(SpaceError, match=r"x=0.30001 is between the levels; the nearest are 0.3 and 0.4"):
        space.point({"x": 0.30001})
    with pytest.raises(SpaceError, match=r"row 1: x=0.30001 is between"):
        space.encode({"x": [0.3, 0.30001]})


def test_a_configuration_is_a_mapping() -> None:
    with pytest.raises(SpaceError, match="expected a dict"):
        TREE.point([0.5])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "columns of one length"),
        ({"a": ["u", "v"], "n": [1]}, "columns of one length, got {'a': 2, 'n': 1}"),
        ({"b": [1]}, "'b' is not a parameter"),
        ({"a": "uv"}, "expected a column"),
        ({"a": 3}, "expected a column"),
        ({"a": np.zeros((2, 2))}, r"one dimension, got shape \(2, 2\)"),
        ({"a": ["v", "w"]}, "row 1: a='w' is not among the choices"),
        ({"a": np.array(["v", "w"])}, "row 1: a='w' is not among the choices"),
        ({"a": ["v", ["v"]]}, "row 1: a=.* is not among the choices"),
        ({"a": [1, 2]}, "row 0: a=1 is not among the choices"),
        ({"a": ["v", None]}, "row 1: 'a' is missing"),
        ({"a": ["v", "u"]}, "row 1: 'n' is missing"),
        ({"a": ["u", "u"], "n": [1, None]}, "row 1: 'n' is missing"),
        ({"a": ["v", "u"], "n": [3, 3]}, "row 0: 'n' is inactive; give None or NaN"),
        ({"a": ["u", "u"], "n": [1, 2]}, "row 1: n=2 is between the levels; the nearest are 1 and 3"),
        ({"a": ["u", "u"], "n": [1, 7]}, r"row 1: n=7 is outside \[1, 5\]"),
        ({"a": ["u", "u"], "n": np.array([1, 7])}, r"row 1: n=7 is outside"),
        ({"a": ["u", "u"], "n": [1, "3"]}, "row 1: n='3' is no number"),
        ({"a": ["u", "u"], "n": np.array([True, True])}, "row 0: n=True is no number"),
        ({"a": ["u", "u"], "n": [1, math.inf]}, "row 1: n=inf is not finite"),
        ({"a": ["u", "u"], "n": np.array([1, -math.inf])}, "row 1: n=-inf is not finite"),
    ],
)
def test_wrong_columns_are_refused_with_name_row_value_and_remedy(columns: dict[str, Any], message: str) -> None:
    space = Space({"a": Categorical(["u", "v"]), "n": Int(1, 5, step=2, when={"a": "u"})})
    np.testing.assert_array_equal(space.encode({"a": ["v", "u"], "n": [math.nan, 3]}), [[0.75, math.nan], [0.25, 0.5]])
    np.testing.assert_array_equal(space.encode({"a": ["v", "v"]}), [[0.75, math.nan]] * 2)
    with pytest.raises(SpaceError, match=message):
        space.encode(columns)


def test_a_choice_of_none_differs_from_an_absent_value() -> None:
    space = Space({"k": Categorical(["a", "b"]), "c": Categorical([None, "x"], when={"k": "a"})})
    u = space.snap(np.array([[0.2, 0.2], [0.8, 0.2], [0.2, 0.7]]))
    assert space.params(u[0]) == {"k": "a", "c": None} and space.params(u[1]) == {"k": "b"}
    np.testing.assert_array_equal(space.encode(space.decode(u)), u)


# -- names, conditions, defaults ---------------------------------------------------------------------------------------


def test_nested_names_are_dotted_and_conditions_find_the_nearest_parent() -> None:
    space = Space(
        {
            "name": Categorical(["outer", "other"]),
            "optimizer": {
                "lr": Float(0, 1, when={"name": "sgd"}),
                "name": Categorical(["sgd", "adam"]),
                "inner": {"x": Float(0, 1, when={"optimizer.name": "adam"}), "y": Float(0, 1, when={"name": "adam"})},
            },
            "z": Float(0, 1, when={"name": "outer"}),
        }
    )
    parents = {name: None if p.when is None else next(iter(p.when)) for name, p in space.parameters.items()}
    assert parents == {
        "name": None, "optimizer.name": None, "z": "name",
        "optimizer.lr": "optimizer.name", "optimizer.inner.x": "optimizer.name", "optimizer.inner.y": "optimizer.name",
    }  # fmt: skip
    assert space.names == ("name", "optimizer.name", "optimizer.lr", "optimizer.inner.x", "optimizer.inner.y", "z")
    assert "optimizer.lr" in space and "lr" not in space and len(space) == 6


def test_a_resolved_parent_stays_when_a_space_is_made_anew() -> None:
    leaf = {"b": Categorical([1, 2]), "a": {"b": Categorical([3, 4])}, "x": Float(0, 1, when={"b": 1})}
    space = Space({"a": leaf, "c": Float(0, 1, when={"a.b": 1})})
    for other in (space.where("c <= 0.5"), Space.from_json(space.to_json()), space.fix({"a.a.b": 3})[0]):
        assert other.parameters["a.x"].when == {"a.b": 1} and other.parameters["c"].when == {"a.b": 1}


@given(spaces(), st.integers(0, 100))
def test_a_parameter_is_active_exactly_where_its_condition_holds(space: Space, seed: int) -> None:
    for row in drawn(space, 10, seed):
        params = space.params(row)
        for name, parameter in space.parameters.items():
            holds = True
            if parameter.when is not None:
                (above, values), *_ = parameter.when.items()
                holds = above in params and params[above] in (values if isinstance(values, list) else [values])
            assert (name in params) == holds


@given(spaces(3))
def test_size_counts_the_distinct_configurations(space: Space) -> None:
    if (space.dims.levels == 0).any():
        assert space.size is None
        return
    axes = [(np.arange(n) + 0.5) / n for n in space.dims.levels]
    if math.prod(map(len, axes)) > 20_000 or (space.dims.kind == Kind.GRID_LOG).any():
        return
    corners = space.snap(np.array(list(itertools.product(*axes))))
    assert space.size == len({tuple(-1.0 if math.isnan(v) else v for v in row) for row in corners})


def test_size_of_a_tree_is_counted_by_branches() -> None:
    space = Space({"k": Categorical(["a", "b", "c"]), "n": Int(1, 5, when={"k": ["a", "b"]}), "m": Int(1, 3, when={"n": 5})})
    assert space.size == 1 + 2 * (4 + 3)
    assert TREE.size is None


def test_defaults_are_the_users_and_the_centre_elsewhere() -> None:
    space = Space(
        {
            "x": Float(0, 1, default=0.1),
            "y": Float(0.01, 1.0, log=True),
            "n": Int(1, 5),
            "o": Ordinal([1, 2, 4]),
            "c": Categorical(["a", "b", "c"]),
            "d": Categorical([True, False], default=False),
            "e": Float(0, 1, default=0.3, when={"d": True}),
        }
    )
    assert space.default_params() == {"x": 0.1, "y": pytest.approx(0.1), "n": 3, "o": 2, "c": "a", "d": False}
    assert space.has_defaults and not TREE.fix({"beta": 0.9})[0].has_defaults
    u = space.default()
    np.testing.assert_array_equal(space.snap(u[None])[0], u)
    assert math.isnan(u[6]) and space.defaults_everywhere()[6] == 0.3


# -- as text -----------------------------------------------------------------------------------------------------------


@given(spaces())
def test_a_space_comes_back_from_json(space: Space) -> None:
    again = Space.from_json(json.loads(json.dumps(space.to_json())))
    assert again == space and again.difference(space) == "" and again.names == space.names
    np.testing.assert_array_equal(again.default(), space.default())
    for a, b in zip(again.dims, space.dims, strict=True):
        np.testing.assert_array_equal(a, b)


def test_json_keeps_defaults_that_are_false_and_numbers_of_numpy() -> None:
    space = Space({"b": Categorical([True, False], default=False), "n": Int(np.int64(1), np.int32(4)), "x": Float(np.float64(0.5), 1)})
    text = json.dumps(space.to_json())
    assert Space.from_json(json.loads(text)).default_params()["b"] is False
    assert Space.from_json(json.loads(text)) == space


def test_a_set_of_values_reads_the_same_in_every_process() -> None:
    code = "from jaxhp import *; import json; print(json.dumps(Space({'c': Categorical(list('abcdef')), 'x': Float(0, 1, when={'c': set('fbda')})}).to_json()))"  # noqa: E501
    texts = {
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": str(seed)}, capture_output=True, text=True, check=True).stdout
        for seed in (1, 2, 3)
    }
    assert len(texts) == 1 and '["a", "b", "d", "f"]' in texts.pop()


def test_a_space_does_not_change_with_the_lists_it_was_made_from() -> None:
    choices, when = ["a", "b"], {"c": ["a"]}
    space = Space({"c": Categorical(choices), "x": Float(0, 1, when=when)})
    before = space.to_json()
    choices.append("z")
    when["c"].append("b")
    assert space.to_json() == before


def test_a_difference_names_what_changed() -> None:
    old = Space({"lr": Float(1e-4, 1, log=True), "n": Int(1, 4), "gone": Int(1, 4)})
    new = Space({"lr": Float(1e-3, 1, log=True), "n": Int(1, 4), "new": Int(1, 4)}).where("n <= 3")
    assert old.difference(new).splitlines() == [
        "  lr: Float(0.0001, 1, log=True) -> Float(0.001, 1, log=True)",
        "  gone: Int(1, 4) is gone",
        "  new: Int(1, 4) is new",
        "  constraint 'n <= 3' is new",
    ]
    assert new.difference(old).splitlines()[-1] == "  constraint 'n <= 3' is gone"
    assert old != new and old == Space({"lr": Float(0.0001, 1.0, log=True), "n": Int(1, 4), "gone": Int(1, 4)})
    assert Space({"a": Int(1, 2), "b": Int(1, 2)}).difference(Space({"b": Int(1, 2), "a": Int(1, 2)})) == "  order: a, b -> b, a"
    assert old != 3


def test_a_space_reads_like_a_table() -> None:
    space = Space(
        {
            "lr": Float(1e-4, 1.0, log=True, default=0.01),
            "n": Int(0, 1234567, step=1),
            "g": Float(0, 1, step=0.25),
            "c": Categorical(["sgd", "adam"]),
            "m": Float(0, 0.99, when={"c": "sgd"}),
        }
    ).where("lr + g <= 1.5")
    assert str(space).splitlines() == [
        "name  type         range           scale      default  when",
        "lr    Float        0.0001 ... 1.0  log        0.01",
        "n     Int          0 ... 1234567",
        "g     Float        0 ... 1         step 0.25",
        "c     Categorical  sgd, adam",
        "m     Float        0 ... 0.99                          c is sgd",
        "where lr + g <= 1.5",
    ]
    assert repr(space) == "Space(5 parameters, infinitely many configurations, 1 constraints)"


# -- from one space to another -----------------------------------------------------------------------------------------

OLD = Space(
    {
        "x": Float(0, 1),
        "g": Float(0, 1, step=0.25),
        "k": Int(1, 4),
        "c": Categorical(["a", None]),
        "m": Int(1, 3, when={"c": "a"}),
        "q": Ordinal([None, 1], when={"c": "a"}),
    }
)
WIDER: dict[str, Any] = {
    "new": Int(1, 9, default=7, when={"c": ["a", "z"]}),
    "x": Float(-1, 2),
    "g": Float(-0.5, 2, step=0.25),
    "k": Int(0, 8),
    "c": Categorical(["z", None, "a"]),
    "m": Int(0, 3, when={"c": ["a", "z"]}),
    "q": Ordinal([2, 1, None], when={"c": ["a"]}),
}


def test_an_extension_keeps_every_configuration_and_completes_it_with_defaults() -> None:
    new = Space(WIDER)
    OLD.extended_by(new)
    u = drawn(OLD, 50)
    converted = OLD.convert(u, new)
    np.testing.assert_array_equal(new.snap(converted), converted)
    for before, after in zip(u, converted, strict=True):
        old, now = OLD.params(before), new.params(after)
        assert now.pop("new", 7) == 7 and ("new" in new.params(after)) == (old["c"] == "a")
        assert now.pop("x") == pytest.approx(old.pop("x"), abs=1e-15)
        assert now == old


@given(spaces(), st.integers(0, 100))
def test_a_space_extends_itself(space: Space, seed: int) -> None:
    space.extended_by(space)
    u = drawn(space, 10, seed)
    assert_same_values(space, space.convert(u, space), u)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": None}, "'x' is gone"),
        ({"x": Float(0.5, 2)}, "'x' was Float.* is not wider"),
        ({"x": Float(-1, 2, step=0.5)}, "'x' was"),
        ({"x": Float(1e-9, 2, log=True)}, "'x' was"),
        ({"x": Int(0, 1)}, "'x' was"),
        ({"g": Float(-0.1, 1.9, step=0.25)}, "'g' was"),
        ({"g": Float(0, 1, step=0.125)}, "'g' was"),
        ({"k": Int(1, 8, log=True)}, "'k' was"),
        ({"c": Categorical(["a", "z"])}, "'c' was|can never"),
        ({"c": Ordinal(["a", None, "z"])}, "'c' was"),
        ({"m": Int(1, 3)}, "'m' was"),
        ({"m": Int(1, 3, when={"c": "z"})}, "'m' was"),
        ({"m": Int(1, 3, when={"c": ["a", None]})}, "'m' was"),
        ({"m": Int(1, 3, when={"k": 1})}, "'m' was"),
        ({"k": Int(0, 8, when={"c": "a"})}, "'k' was"),
        ({"new": Int(1, 9)}, "'new' needs a default"),
    ],
)
def test_what_is_no_extension_is_refused(change: dict[str, Any], message: str) -> None:
    new = Space({name: p for name, p in (WIDER | change).items() if p is not None})
    with pytest.raises(SpaceError, match=message):
        OLD.extended_by(new)


def test_an_extension_may_drop_constraints_and_not_add_them() -> None:
    free = Space(WIDER)
    OLD.where("x <= 0.5").extended_by(free)
    OLD.where("x <= 0.5").extended_by(free.where("x <= 0.5"))
    with pytest.raises(SpaceError, match=r"constraint 'x <= 0.5' is new"):
        OLD.extended_by(free.where("x <= 0.5"))


HOLDS: list[dict[str, Any]] = [
    {"optimizer": "sgd"},
    {"optimizer": "adam"},
    {"optimizer": "sgd", "nesterov": True},
    {"nesterov": True},  # held, and active only with sgd: `damping` inherits that
    {"nesterov": False},
    {"momentum": 0.5, "depth": 3},
    {"depth": 1},
    {},
]


@pytest.mark.parametrize("values", HOLDS, ids=repr)
def test_a_space_with_held_parameters_is_the_part_where_they_have_these_values(values: dict[str, Any]) -> None:
    reduced, lift, lower = TREE.fix(values)
    small = drawn(reduced, 200)
    lifted = lift(small)
    np.testing.assert_array_equal(TREE.snap(lifted), lifted)
    for row, full in zip(small, lifted, strict=True):
        params = TREE.params(full)
        held = {name: value for name, value in values.items() if name in params}
        assert params == reduced.params(row) | held
    matches, again = lower(lifted)
    assert matches.all()
    np.testing.assert_array_equal(again, small)
    u = drawn(TREE, 500, 1)
    matches, rest = lower(u)
    expected = [all(TREE.params(row).get(name, value) == value for name, value in values.items()) for row in u]
    assert matches.tolist() == expected
    np.testing.assert_array_equal(reduced.snap(rest), rest)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optimiser": "sgd"}, "did you mean 'optimizer'"),
        ({"momentum": 2}, "momentum=2 is outside"),
        ({"optimizer": "adam", "momentum": 0.5}, "'momentum' is inactive when 'optimizer' is 'adam'; do not fix it"),
        ({"nesterov": False, "damping": "low"}, "'damping' is inactive when 'nesterov' is False"),
        ({"optimizer": "adam", "beta": 0.9, "depth": 1}, "leaves nothing to search"),
    ],
)
def test_holding_what_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        TREE.fix(values)


def test_the_documented_space_prints_as_documented() -> None:
    text = (Path(__file__).parent.parent / "docs" / "space.md").read_text()
    first, second = re.findall(r"```python\n(.*?)```", text, re.S)
    names: dict[str, Any] = {}
    exec(first, names)
    exec(second, {})
    assert str(names["space"]).splitlines() == re.findall(r"```\n(name .*?)```", text, re.S)[0].splitlines()
