"""Constraints: how they are written, when they count, how a feasible point is found and kept to."""

import json
import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jaxhp import Categorical, Float, Int, Ordinal, Space, SpaceError
from jaxhp._constraints import Linear
from jaxhp._types import Floats
from jaxhp.testing import spaces

BOX = Space(
    {"x": Float(-1.0, 1.0), "y": Float(0.01, 1.0, log=True), "n": Int(1, 8), "o": Ordinal([16, 32, 64]), "g": {"z": Float(0, 1, step=0.1)}}
)
SQUARE = Space({"a": Float(0.0, 1.0), "b": Float(0.0, 1.0)})
TREE = Space({"kind": Categorical(["sgd", "adam"]), "lr": Float(0.0, 1.0), "momentum": Float(0.0, 1.0, when={"kind": "sgd"})})


def drawn(space: Space, n: int, seed: int = 0) -> Floats:
    return space.snap(np.random.default_rng(seed).random((n, space.d)))


def numbers(n: int, start: int = 0) -> Any:
    return np.arange(start, start + n, dtype=np.int64)


# -- linear constraints ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "x <= 0.3",
        "x < y",
        "2 * n + o <= 50",
        "n * 2 + o / 4 >= 10",
        "-(x - y) + +3 * (n - 2 * x) > 0.5 * o - 10",
        "3 < n",
        "x - x + n <= 4",
        "(1 + 2) * x * 2 / 3 <= y",
        "g.z + x < 0.75",
        "  n <= 4  ",
        "n <= 4.5",
    ],
)
def test_a_comparison_means_what_python_says(text: str) -> None:
    space = BOX.where(text)
    u = drawn(BOX, 400)
    plain = re.sub(r"g\.z", "g_z", text.strip())
    expected = [bool(eval(plain, {k.replace(".", "_"): v for k, v in BOX.params(row).items()})) for row in u]
    assert space.feasible(u).tolist() == expected
    assert 0 < sum(expected) < 400
    assert BOX.feasible(u).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "write one comparison"),
        ("x + ", "write one comparison"),
        ("", "write one comparison"),
        ("x\0 <= 1", "write one comparison"),
        ("x == 1", "write one comparison"),
        ("0 <= x <= 1", "write one comparison"),
        ("x <= 1 and y <= 1", "write one comparison"),
        ("x * y <= 1", r"'x \* y' is not linear"),
        ("x ** 2 <= 1", "is not linear"),
        ("1 / x <= 1", "'1 / x' is not linear"),
        ("x / 0 <= 1", "is not linear"),
        ("abs(x) <= 1", r"'abs\(x\)' is not linear"),
        ("x <= True", "'True' is not linear"),
        ("x <= '1'", "is not linear"),
        ("x <= 1j", "is not linear"),
        ("w <= 1", "'w' is not a parameter; there are x, y"),
        ("g.w <= 1", "'g.w' is not a parameter"),
        ("z <= 1", "'z' is not a parameter"),
        ("c <= 1", "'c' is not a number"),
        ("t <= 1", "'t' is not a number"),
        ("1 <= 2", "no parameter is left"),
        ("x - x <= 2", "no parameter is left"),
        ("x <= 1e999", "larger than a float"),
        ("1e308 * n <= 1", "larger than a float"),
        (f"x <= 1{'0' * 400}", "larger than a float"),
    ],
)
def test_what_is_not_a_linear_comparison_is_refused_with_what_is_allowed(text: str, message: str) -> None:
    space = _named()
    with pytest.raises(SpaceError, match=message) as e:
        space.where(text)
    assert repr(text)[:8] in str(e.value)


def _named() -> Space:
    choices = {"c": Categorical(["a", "b"]), "t": Categorical([True, False])}
    return Space({"x": Float(-1, 1), "y": Float(0, 1), "n": Int(1, 8), "g": {"z": Float(0, 1)}} | choices)


def test_rounding_of_the_sum_does_not_decide() -> None:
    space = Space({"a": Float(0, 1, step=0.1), "b": Float(0, 1, step=0.1)})
    u = np.array([space.point({"a": 0.1, "b": 0.2})])
    assert space.where("a + b <= 0.3").feasible(u)[0]
    assert not space.where("a + b < 0.3").feasible(u)[0]


def test_a_constraint_counts_only_where_all_its_parameters_are_active() -> None:
    space = TREE.where("momentum <= lr")
    u = drawn(TREE, 300)
    params = [TREE.params(row) for row in u]
    assert space.feasible(u).tolist() == [p["kind"] == "adam" or p["momentum"] <= p["lr"] for p in params]


# -- predicates --------------------------------------------------------------------------------------------------------


def light(params: dict[str, Any]) -> bool:
    return params["momentum"] <= params["lr"] ** 2


def test_a_function_is_given_the_active_parameters_and_counts_where_it_asks_for_no_other() -> None:
    space = TREE.where(light)
    u = drawn(TREE, 300)
    params = [TREE.params(row) for row in u]
    assert space.feasible(u).tolist() == [p["kind"] == "adam" or light(p) for p in params]
    assert [str(c) for c in space.constraints] == ["light"]


def test_a_function_may_return_a_bool_of_numpy() -> None:
    assert SQUARE.where(lambda p: np.float64(p["a"]) <= 0.5, name="half").feasible(np.array([[0.2, 0.2], [0.7, 0.2]])).tolist() == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("constraint", "name", "message"),
    [
        (lambda p: True, None, r"pass name="),
        (3, None, r"where\(3\): expected a comparison in a string, or a function"),
        (None, None, r"where\(None\)"),
        (lambda p: 1, "one", "constraint 'one' returned 1 at {'a': 0.5, 'b': 0.5}; return True or False"),
        (lambda p: None, "none", "'none' returned None"),
        (lambda p: 1 / 0, "zero", "'zero' raised ZeroDivisionError: division by zero at {'a': 0.5"),
        (lambda p: p["c"] < 1, "unknown", "'unknown' asked for 'c', which is not a parameter; there are a, b"),
    ],
)
def test_a_wrong_function_is_refused_with_its_name_and_the_point(constraint: Any, name: str | None, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        SQUARE.where(constraint, name=name)


# -- the anchor --------------------------------------------------------------------------------------------------------


def sums(n: int, high: int, total: int) -> Space:
    space = Space({f"n{i}": Int(0, high) for i in range(n)})
    text = " + ".join(space.names)
    return space.where(f"{text} <= {total}").where(f"{text} >= {total}")


NARROW = {
    "defaults that are feasible": lambda: SQUARE.where("a <= 0.5"),
    "a corner": lambda: Space({f"x{i}": Float(0, 1) for i in range(10)}).where(" + ".join(f"x{i}" for i in range(10)) + " <= 0.001"),
    "a thin band": lambda: SQUARE.where("a + b <= 0.5000001").where("a + b >= 0.5"),
    "a small triangle": lambda: SQUARE.where("a - b <= 1e-6").where("b - a <= 1e-6").where("a + b >= 1.9"),
    "an equality": lambda: SQUARE.where("3 * a - 7 * b <= -2").where("3 * a - 7 * b >= -2"),
    "an equality of integers": lambda: sums(3, 10_000, 9_999),
    "an equality of many integers": lambda: sums(20, 1000, 12_345),
    "weighted integers": lambda: (
        Space({f"n{i}": Int(0, 1000) for i in range(3)})
        .where("73 * n0 + 64 * n1 + 59 * n2 <= 112796")
        .where("73 * n0 + 64 * n1 + 59 * n2 >= 112794")
    ),
    "coins": lambda: (
        Space({"n": Int(0, 40), "m": Int(0, 40), "k": Int(0, 40)})
        .where("6 * n + 9 * m + 20 * k <= 44")
        .where("6 * n + 9 * m + 20 * k >= 44")
    ),
    "choices": lambda: Space({"w": Ordinal([1, 10, 100, 1000]), "c": Categorical([3, 5, 7]), "x": Float(1e-4, 1, log=True)}).where(
        "w + c + x > 1007.999"
    ),
    "a log scale": lambda: Space({"x": Float(1e-9, 1.0, log=True), "y": Float(1e-9, 1.0, log=True)}).where("x - 1000000 * y >= 0.0001"),
    "a branch": lambda: TREE.where("momentum - lr >= 0.99999").where("lr <= 0.000001").where(lambda p: p["kind"] == "sgd", name="sgd"),
    "a function of a thousandth": lambda: SQUARE.where(lambda p: abs(p["a"] - 0.31) < 0.02 and abs(p["b"] - 0.77) < 0.02, name="spot"),
}


@pytest.mark.parametrize("make", NARROW.values(), ids=NARROW.keys())
def test_a_narrow_space_has_an_anchor_and_every_point_is_brought_into_it(make: Any) -> None:
    space = make()
    assert space.feasible(space.anchor[None])[0]
    u = space.constrain(drawn(space, 8), 3, numbers(8))
    assert space.feasible(u).all()
    np.testing.assert_array_equal(space.snap(u), u)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SQUARE.where("a + b >= 2.1"), r"no configuration meets 'a \+ b >= 2.1': within the bounds it is missed by at least 0.1"),
        (lambda: SQUARE.where("a + b > 2"), "no configuration meets"),
        (lambda: SQUARE.where("a < 0"), "no configuration meets"),
        (lambda: Space({"o": Ordinal([4, 8]), "n": Int(1, 3)}).where("o + n <= 4"), "missed by at least 1"),
        (
            lambda: SQUARE.where("a <= 0.4").where("a >= 0.6"),
            "meets 'a <= 0.4', 'a >= 0.6' was found among 16385 points; the nearest point exceeds .*; loosen",
        ),
        (lambda: Space({"n": Int(0, 9), "m": Int(0, 9)}).where("2 * n + 4 * m <= 7").where("2 * n + 4 * m >= 7"), "was found among"),
        (lambda: SQUARE.where(lambda p: p["a"] > 2, name="far"), "meets 'far' was found among 16385 points; loosen"),
    ],
)
def test_a_space_without_a_feasible_point_says_so(make: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        make()


# -- constrain ---------------------------------------------------------------------------------------------------------


def test_feasible_rows_stay_and_others_depend_on_row_seed_and_number_alone() -> None:
    space = TREE.where("momentum <= 0.2 * lr").where(lambda p: p["lr"] < 0.9, name="slow")
    u, numbered = drawn(space, 300), numbers(300, 1000)
    met = space.feasible(u)
    together = space.constrain(u, 7, numbered)
    assert space.feasible(together).all() and 0 < met.sum() < 300
    np.testing.assert_array_equal(together[met], u[met])
    singles = np.concatenate([space.constrain(u[i : i + 1], 7, numbered[i : i + 1]) for i in range(300)])
    np.testing.assert_array_equal(singles, together)
    order = np.random.default_rng(0).permutation(300)
    np.testing.assert_array_equal(space.constrain(u[order], 7, numbered[order]), together[order])
    changed = ~met & ~np.isnan(u).any(axis=1)
    for other in (space.constrain(u, 8, numbered), space.constrain(u, 7, numbered + 1)):
        assert (other[changed] != together[changed]).any(axis=1).all()


def test_nothing_is_drawn_where_nothing_is_constrained() -> None:
    u = drawn(SQUARE, 5)
    assert SQUARE.constrain(u, 0, numbers(5)) is u


def test_replacements_are_uniform_over_the_feasible_part() -> None:
    space = SQUARE.where("a + b <= 0.5")
    u = space.constrain(np.full((4000, 2), 0.99), 1, numbers(4000))
    assert abs(u.mean(axis=0) - 0.5 / 3).max() < 5 * math.sqrt(0.25 / 18 / 4000)
    left = (u[:, 0] < 0.25).mean()  # three quarters of the triangle's area
    assert abs(left - 0.75) < 5 * math.sqrt(0.75 * 0.25 / 4000)


def test_where_no_draw_is_feasible_points_go_as_far_as_they_can_from_the_anchor() -> None:
    space = Space({"x": Float(0, 1), "y": Float(0, 1), "k": Ordinal([1, 2, 3])}).where("x + y <= 0.000002")
    u = space.constrain(np.array([[0.9, 0.3, 2.5 / 3], [0.2, 0.9, 0.5 / 3]]), 0, numbers(2))
    values = [space.params(row) for row in u]
    assert [v["k"] for v in values] == [3, 1]
    assert all(1.9e-6 < v["x"] + v["y"] <= 2e-6 * (1 + 1e-9) for v in values)


@st.composite
def constrained(draw: st.DrawFn) -> Space:
    """Random spaces with one to three random linear constraints, met by at least one random point."""
    space = draw(spaces())
    numeric = [name for name, span in space.spans().items() if span is not None]
    assume(numeric)
    values = {name: float(v) for name, v in space.params(drawn(space, 1, draw(st.integers(0, 99)))[0]).items() if name in numeric}
    assume(values)
    for _ in range(draw(st.integers(1, 3))):
        names = draw(st.lists(st.sampled_from(sorted(values)), min_size=1, max_size=3, unique=True))
        factors = [draw(st.sampled_from((-2.0, -1.0, 0.5, 1.0, 3.0))) for _ in names]
        total = sum(f * values[name] for f, name in zip(factors, names, strict=True))
        text = " + ".join(f"{f} * {name}" for f, name in zip(factors, names, strict=True))
        slack = 1e-3 * sum(abs(f) * (space.spans()[name][1] - space.spans()[name][0]) for f, name in zip(factors, names, strict=True))  # type: ignore[index]
        space = space.where(f"{text} <= {total + slack!r}")
    return space


@given(constrained(), st.integers(0, 1000))
def test_every_constrained_space_keeps_to_its_feasible_part(space: Space, seed: int) -> None:
    u = space.constrain(drawn(space, 6, seed), seed, numbers(6))
    np.testing.assert_array_equal(space.snap(u), u)
    for row in u:
        params = space.params(row)
        for c in space.constraints:
            assert isinstance(c, Linear)
            if all(name in params for name in c.terms):
                size = abs(c.bound) + sum(abs(k * params[name]) for name, k in c.terms.items())
                assert sum(k * params[name] for name, k in c.terms.items()) <= c.bound + 2e-12 * size


@given(constrained())
def test_constrained_spaces_come_back_from_json_with_the_same_anchor(space: Space) -> None:
    again = Space.from_json(json.loads(json.dumps(space.to_json())))
    assert again == space
    np.testing.assert_array_equal(again.anchor, space.anchor)


def test_a_function_read_from_a_log_is_told_by_name_when_it_is_needed() -> None:
    space = SQUARE.where(lambda p: p["a"] < 0.9, name="cap").where("a + b <= 1.5")
    again = Space.from_json(json.loads(json.dumps(space.to_json())))
    assert again == space and again.difference(SQUARE) == "  constraint 'cap' is gone\n  constraint 'a + b <= 1.5' is gone"
    with pytest.raises(SpaceError, match="constraint 'cap' is a function, which a log cannot hold; open the study with the space itself"):
        again.feasible(np.array([[0.1, 0.1]]))
    with pytest.raises(SpaceError, match="'cap'"):
        again.constrain(np.array([[0.1, 0.1]]), 0, numbers(1))


# -- held parameters ---------------------------------------------------------------------------------------------------

NESTED = Space(
    {
        "kind": Categorical(["sgd", "adam"]),
        "lr": Float(0.0, 1.0),
        "momentum": Float(0.0, 1.0, step=0.25, when={"kind": "sgd"}),
        "n": Int(1, 9),
    }
)


def gentle(params: dict[str, Any]) -> bool:
    return params["lr"] * params.get("momentum", 0.5) * params["n"] <= 2


@pytest.mark.parametrize(
    "values",
    [{"kind": "sgd"}, {"kind": "adam"}, {"momentum": 0.25}, {"n": 3}, {"lr": 0.5}, {"lr": 0.25, "momentum": 0.5, "n": 4}],
    ids=repr,
)
def test_constraints_hold_of_held_parameters_too(values: dict[str, Any]) -> None:
    space = NESTED.where("lr + momentum <= 1.2").where("n + 3 * lr <= 9").where(gentle)
    reduced, lift, _ = space.fix(values)
    small = drawn(reduced, 300)
    assert reduced.feasible(small).tolist() == space.feasible(lift(small)).tolist()
    assert space.feasible(lift(reduced.constrain(small, 0, numbers(300)))).all()


def test_held_values_that_break_a_constraint_are_refused() -> None:
    space = NESTED.where("n + 3 * lr <= 9")
    with pytest.raises(SpaceError, match=r"\{'n': 9, 'lr': 1.0\} break the constraint 'n \+ 3 \* lr <= 9'; fix others"):
        space.fix({"n": 9, "lr": 1.0})
    assert space.fix({"n": 3, "lr": 0.5})[0].constraints == ()
