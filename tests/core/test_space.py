"""Points go to the unit cube and come back."""

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gptune.core.space import SearchSpace, cube, whole_at
from gptune.errors import SpaceError
from gptune.records import Categorical, Float, Integer, Parameter, Scalar
from tests.strategies import (
    any_float,
    categoricals,
    floats_in,
    integers_in,
    parameters,
    spaces,
    spaces_and_points,
)


def is_close(parameter: Parameter, one: Scalar, other: Scalar) -> bool:
    """Say whether two values are one, up to the rounding of the bounds' own scale."""
    if not isinstance(parameter, Float):
        return type(one) is type(other) and one == other
    assert isinstance(one, float)
    assert isinstance(other, float)
    if parameter.log:
        return math.isclose(one, other, rel_tol=1e-12)
    return abs(one - other) <= 1e-12 * max(abs(parameter.low), abs(parameter.high))


@given(spaces_and_points())
@settings(deadline=None, max_examples=150)
def test_a_point_comes_back_from_the_cube(drawn: tuple[SearchSpace, dict[str, Scalar]]) -> None:
    space, point = drawn
    x = space.encode(point)
    assert x.shape == (space.dimension,)
    assert x.dtype == torch.float64
    assert bool(((x >= 0) & (x <= 1)).all())
    back = space.decode(x)
    assert list(back) == list(space.parameters)
    for name, parameter in space.parameters.items():
        assert is_close(parameter, point[name], back[name])


@given(spaces(), st.data())
@settings(deadline=None)
def test_every_place_in_the_cube_and_outside_it_is_a_point_of_the_space(
    space: SearchSpace, data: st.DataObject
) -> None:
    coordinates = st.lists(st.floats(-2, 3), min_size=space.dimension, max_size=space.dimension)
    point = space.decode(cube(data.draw(coordinates)))
    space.encode(point)  # raises if a value lies outside
    for name, parameter in space.parameters.items():
        if isinstance(parameter, Integer):
            assert type(point[name]) is int
        elif isinstance(parameter, Float):
            assert type(point[name]) is float


@given(spaces(), st.data())
@settings(deadline=None)
def test_snapping_twice_is_snapping_once(space: SearchSpace, data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, 4))
    size = space.dimension
    coordinates = st.lists(st.floats(0, 1), min_size=size, max_size=size)
    x = cube([data.draw(coordinates) for _ in range(rows)])
    before = x.clone()
    once = space.snap(x)
    assert torch.equal(x, before)
    assert once.shape == x.shape
    assert torch.equal(space.snap(once), once)
    for place, snapped in zip(x, once, strict=True):
        assert_same_point(space, space.decode(place), space.decode(snapped))


def assert_same_point(space: SearchSpace, one: dict[str, Scalar], other: dict[str, Scalar]) -> None:
    for name, parameter in space.parameters.items():
        assert is_close(parameter, one[name], other[name])


@given(st.dictionaries(st.sampled_from("abc"), floats_in(), min_size=1), st.data())
@settings(deadline=None, max_examples=30)
def test_snapping_leaves_real_parameters_where_they_are(
    parameters_: dict[str, Parameter], data: st.DataObject
) -> None:
    space = SearchSpace(parameters_)
    x = cube([[data.draw(st.floats(0, 1)) for _ in range(space.dimension)]])
    assert torch.equal(space.snap(x), x)


@given(spaces_and_points())
@settings(deadline=None)
def test_where_a_point_lies_snapping_moves_nothing(
    drawn: tuple[SearchSpace, dict[str, Scalar]],
) -> None:
    space, point = drawn
    x = space.encode(point).unsqueeze(0)
    assert torch.allclose(space.snap(x), x, rtol=0, atol=1e-15)


@given(categoricals())
@settings(deadline=None, max_examples=30)
def test_a_choice_takes_one_coordinate_a_choice_and_sets_one_of_them(choice: Categorical) -> None:
    space = SearchSpace({"c": choice})
    assert space.dimension == len(choice.choices)
    for place, value in enumerate(choice.choices):
        x = space.encode({"c": value})
        assert x.tolist() == [float(i == place) for i in range(len(choice.choices))]


@given(integers_in())
@settings(deadline=None, max_examples=50)
def test_whole_numbers_share_the_cube_in_order(parameter: Integer) -> None:
    space = SearchSpace({"i": parameter})
    sampled = sorted({parameter.low, (parameter.low + parameter.high) // 2, parameter.high})
    places = [float(space.encode({"i": value})) for value in sampled]
    assert places == sorted(places)
    assert len(set(places)) == len(places)
    assert 0 < places[0] < places[-1] < 1  # half a unit of room at each end
    if not parameter.log:
        count = parameter.high - parameter.low + 1
        assert places[0] == pytest.approx(0.5 / count)
        assert places[-1] == pytest.approx(1 - 0.5 / count)


@given(floats_in(), st.data())
@settings(deadline=None)
def test_a_place_grows_with_the_value(parameter: Float, data: st.DataObject) -> None:
    space = SearchSpace({"x": parameter})
    values = st.floats(parameter.low, parameter.high)
    low, high = sorted([data.draw(values), data.draw(values)])
    assert float(space.encode({"x": low})) <= float(space.encode({"x": high}))
    assert float(space.encode({"x": parameter.low})) == pytest.approx(0.0, abs=1e-9)
    assert float(space.encode({"x": parameter.high})) == pytest.approx(1.0, abs=1e-9)


@given(st.floats(1e-6, 1.0), st.floats(2.0, 1e6))
@settings(deadline=None, max_examples=50)
def test_the_middle_of_a_log_scale_is_the_geometric_mean(low: float, high: float) -> None:
    space = SearchSpace({"x": Float(low, high, log=True)})
    middle = space.decode(cube([0.5]))["x"]
    assert middle == pytest.approx(math.sqrt(low * high))
    assert float(space.encode({"x": math.sqrt(low * high)})) == pytest.approx(0.5)


@given(floats_in(), any_float.filter(lambda value: value == value))
@settings(deadline=None)
def test_a_value_outside_is_placed_at_the_edge(parameter: Float, value: float) -> None:
    space = SearchSpace({"x": parameter})
    inside = min(parameter.high, max(parameter.low, value))
    assert space.place("x", value) == float(space.encode({"x": inside}))


def test_a_choice_has_no_single_place() -> None:
    with pytest.raises(SpaceError, match=r"'c'.*no single coordinate"):
        SearchSpace({"c": Categorical(("a", "b"))}).place("c", 1.0)


@given(spaces())
@settings(deadline=None, max_examples=50)
def test_the_columns_tile_the_cube_in_the_order_of_the_names(space: SearchSpace) -> None:
    columns = list(space.columns())
    assert [name for name, _, _ in columns] == list(space.parameters)
    taken = list(itertools.chain(*(range(part.start, part.stop) for _, _, part in columns)))
    assert taken == list(range(space.dimension))


SPACE = SearchSpace({"x": Float(0.0, 1.0), "n": Integer(1, 3), "c": Categorical(("a", 1, True))})
POINT: dict[str, Any] = {"x": 0.5, "n": 2, "c": "a"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x", 1.1),
        ("x", -0.1),
        ("x", math.nan),
        ("x", math.inf),
        ("x", True),
        ("x", "0.5"),
        ("x", None),
        ("n", 0),
        ("n", 4),
        ("n", False),
        ("n", "2"),
        ("c", "b"),
        ("c", 1.0),
        ("c", False),
        ("c", None),
    ],
)
def test_a_value_that_is_none_of_a_parameter_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(SpaceError, match=f"^parameter '{name}': .*"):
        SPACE.encode({**POINT, name: value})


@pytest.mark.parametrize("point", [{}, {"x": 0.5}, {**POINT, "y": 1}, {**POINT, "X": 0.5}])
def test_a_point_names_exactly_the_parameters(point: dict[str, Scalar]) -> None:
    with pytest.raises(SpaceError, match=r"must name exactly \['x', 'n', 'c'\]"):
        SPACE.encode(point)


def test_a_space_has_parameters_of_the_three_kinds() -> None:
    with pytest.raises(SpaceError, match="at least one parameter"):
        SearchSpace({})
    with pytest.raises(SpaceError, match="'lr': must be Float, Integer or Categorical"):
        SearchSpace({"lr": (0.1, 1.0)})  # type: ignore[dict-item]


@given(parameters)
@settings(deadline=None, max_examples=30)
def test_tensors_are_double_whatever_torchs_default_is(parameter: Parameter) -> None:
    space = SearchSpace({"p": parameter})
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)
    try:
        x = space.encode(space.decode(torch.full((space.dimension,), 0.5)))
        assert x.dtype == torch.float64
        assert space.snap(x.unsqueeze(0)).dtype == torch.float64
    finally:
        torch.set_default_dtype(default)


@pytest.mark.parametrize(
    "parameter",
    [
        Float(-1e308, 1e308),
        Float(-1.7e308, 1.0),
        Float(5e-324, 1e308, log=True),
        Float(0.0, 5e-324),
        Float(1.0, math.nextafter(1.0, 2.0)),
        Float(1e300, math.nextafter(1e300, math.inf), log=True),
        Float(1e12, 1e12 + 1),
        Integer(2**60, 2**60 + 1),
        Integer(1, 2**60, log=True),
    ],
)
def test_both_ends_of_the_widest_and_the_narrowest_range_come_back(
    parameter: Float | Integer,
) -> None:
    space = SearchSpace({"p": parameter})
    for end in (parameter.low, parameter.high):
        back = space.decode(space.encode({"p": end}))["p"]
        assert isinstance(back, int | float)
        assert abs(back - end) <= abs(end) * 1e-12


@st.composite
def huge_integers(draw: st.DrawFn, widest: int = 2**64) -> Integer:
    """Draw a range of whole numbers that floats do not tell apart."""
    log = draw(st.booleans())
    low = draw(st.integers(1 if log else -(2**63) + 1, 2**63 - 2))
    high = draw(st.integers(low + 1, min(2**63 - 1, low + widest)))
    return Integer(low, high, log=log)


@given(huge_integers(), st.floats(-1, 2))
@settings(deadline=None, max_examples=200)
@example(Integer(0, 2**63 - 1), 1.0)
@example(Integer(-(2**63) + 1, 2**63 - 1), 0.0)
@example(Integer(1, 2**63 - 1, log=True), 1.0)
@example(Integer(2**60, 2**60 + 7), 0.5)
@example(Integer(2**63 - 2, 2**63 - 1, log=True), 0.7)
def test_the_largest_whole_numbers_stay_whole_inside_and_at_their_ends(
    parameter: Integer, x: float
) -> None:
    space = SearchSpace({"n": parameter})
    value = space.decode(cube([x]))["n"]
    assert type(value) is int
    assert parameter.low <= value <= parameter.high
    for end in (parameter.low, parameter.high):
        place = space.encode({"n": end})
        assert space.decode(place) == {"n": end}
        assert space.place("n", end) == float(place)
        assert 0.0 <= space.place("n", float(end)) <= 1.0
        assert space.decode(space.snap(place.unsqueeze(0))[0]) == {"n": end}
    assert space.decode(cube([0.0])) == {"n": parameter.low}
    assert space.decode(cube([1.0])) == {"n": parameter.high}


@given(huge_integers(2**40), st.data())
@settings(deadline=None, max_examples=150)
def test_whole_numbers_that_are_large_but_few_come_back_one_by_one(
    parameter: Integer, data: st.DataObject
) -> None:
    if parameter.log and parameter.high > 2 * parameter.low:
        parameter = Integer(parameter.low, parameter.high)
    space = SearchSpace({"n": parameter})
    some = data.draw(st.lists(st.integers(parameter.low, parameter.high), min_size=1, max_size=5))
    places = torch.stack([space.encode({"n": value}) for value in some])
    assert [space.decode(place)["n"] for place in places] == some
    assert torch.equal(space.snap(places), places)
    order = [value for _, value in sorted(zip(places.squeeze(-1).tolist(), some, strict=True))]
    assert order == sorted(some)


@given(huge_integers(), st.lists(st.floats(0, 1), min_size=1, max_size=5))
@settings(deadline=None, max_examples=150)
def test_snapping_the_largest_whole_numbers_is_what_decoding_says(
    parameter: Integer, places: list[float]
) -> None:
    space = SearchSpace({"n": parameter})
    x = cube(places).unsqueeze(-1)
    snapped = space.snap(x)
    for row, place in zip(x, snapped, strict=True):
        assert torch.equal(place, space.encode(space.decode(row)))
    if not parameter.log:
        assert torch.equal(space.snap(snapped), snapped)


@given(st.integers(-(2**39), 2**39), st.integers(1, 2**39), st.floats(0, 1), st.booleans())
@settings(deadline=None, max_examples=100)
def test_both_ways_to_count_whole_numbers_agree_where_floats_suffice(
    low: int, more: int, share: float, log: bool
) -> None:
    parameter = Integer(low, low + more, log=log and low > 0)
    mine, other = whole_at(parameter, share), SearchSpace({"n": parameter}).decode(cube([share]))
    assert type(mine) is int
    assert abs(mine - int(other["n"])) <= (1 + 1e-12 * abs(mine) if parameter.log else 1)


@given(spaces(), st.data())
@settings(deadline=None, max_examples=60)
def test_snapping_gives_the_very_place_of_the_point_there(
    space: SearchSpace, data: st.DataObject
) -> None:
    rows = st.lists(st.floats(0, 1), min_size=space.dimension, max_size=space.dimension)
    x = cube(data.draw(st.lists(rows, min_size=1, max_size=4)))
    snapped = space.snap(x)
    for row, place in zip(x, snapped, strict=True):
        wanted = space.encode(space.decode(row))
        assert torch.equal(place[~space.floats], wanted[~space.floats])
        assert torch.equal(place[space.floats], row[space.floats])


@given(spaces_and_points())
@settings(deadline=None, max_examples=60)
def test_a_neighbour_differs_in_one_whole_number_or_choice(
    drawn: tuple[SearchSpace, dict[str, Scalar]],
) -> None:
    space, point = drawn
    here = space.encode(point)
    near = [space.decode(row) for row in space.neighbours(here)]
    for other in near:
        mine = space.decode(here)
        changed = [name for name in point if repr(other[name]) != repr(mine[name])]  # True == 1
        assert len(changed) == 1
        assert not isinstance(space.parameters[changed[0]], Float)
    for name, parameter in space.parameters.items():
        reached = [other[name] for other in near]
        if isinstance(parameter, Categorical):
            assert len(reached) >= len(parameter.choices) - 1
        elif isinstance(parameter, Integer):
            value = point[name]
            assert isinstance(value, int)
            wanted = {value - 1, value + 1} & set(range(parameter.low, parameter.high + 1))
            assert set(reached) >= wanted


@given(spaces_and_points())
@settings(deadline=None, max_examples=60)
def test_neighbours_are_different_places_of_points(
    drawn: tuple[SearchSpace, dict[str, Scalar]],
) -> None:
    space, point = drawn
    here = space.snap(space.encode(point).unsqueeze(0))[0]
    before = here.clone()
    near = space.neighbours(here)
    assert torch.equal(here, before)
    assert near.shape == (len(near), space.dimension)
    assert near.dtype == torch.float64
    assert torch.equal(space.snap(near), near)
    assert len(torch.unique(torch.cat([near, here.unsqueeze(0)]), dim=0)) == len(near) + 1
    assert torch.equal(near[:, space.floats], here[space.floats].expand(len(near), -1))


@pytest.mark.parametrize(
    ("parameter", "value", "wanted"),
    [
        (Integer(0, 80), 40, [30, 39, 41, 50]),
        (Integer(0, 80), 0, [1, 10]),
        (Integer(0, 80), 75, [65, 74, 76]),
        (Integer(1, 80, log=True), 1, [2, 10]),
        (Integer(0, 1), 1, [0]),
        (Categorical(("a", "b", "c")), "b", ["a", "c"]),
        (Categorical((1, True, 1.0)), True, [1, 1.0]),
    ],
)
def test_a_step_is_one_or_an_eighth_of_the_range(
    parameter: Parameter, value: Scalar, wanted: list[Scalar]
) -> None:
    space = SearchSpace({"p": parameter})
    near = [space.decode(row)["p"] for row in space.neighbours(space.encode({"p": value}))]
    assert sorted(map(repr, near)) == sorted(map(repr, wanted))


def test_real_parameters_have_no_neighbours() -> None:
    space = SearchSpace({"x": Float(0.0, 1.0), "y": Float(1.0, 2.0)})
    assert space.neighbours(cube([0.3, 0.4])).shape == (0, 2)


@st.composite
def finite_spaces(draw: st.DrawFn) -> SearchSpace:
    low = draw(st.integers(1, 50))
    short = Integer(low, low + draw(st.integers(1, 6)), log=draw(st.booleans()))
    chosen = st.lists(st.just(short) | categoricals(), min_size=1, max_size=3)
    return SearchSpace({f"p{i}": p for i, p in enumerate(draw(chosen))})


@given(finite_spaces())
@settings(deadline=None, max_examples=40)
def test_a_finite_space_lists_each_of_its_points_once(space: SearchSpace) -> None:
    values = [
        range(p.low, p.high + 1) if isinstance(p, Integer) else getattr(p, "choices", ())
        for p in space.parameters.values()
    ]
    wanted = [
        dict(zip(space.parameters, chosen, strict=True)) for chosen in itertools.product(*values)
    ]
    assert space.size == len(space.grid) == len(wanted)
    assert len(torch.unique(space.grid, dim=0)) == len(wanted)
    places = torch.stack([space.encode(point) for point in wanted])
    assert torch.equal(torch.unique(places, dim=0), torch.unique(space.grid, dim=0))
    assert torch.equal(space.snap(space.grid), space.grid)
    assert [repr(space.decode(row)) for row in space.grid] == [repr(point) for point in wanted]


@given(spaces())
@settings(deadline=None, max_examples=60)
def test_the_real_coordinates_are_those_of_real_parameters(space: SearchSpace) -> None:
    assert space.floats.shape == (space.dimension,)
    assert space.floats.dtype == torch.bool
    for _, parameter, part in space.columns():
        assert space.floats[part].tolist() == [isinstance(parameter, Float)] * (
            part.stop - part.start
        )
    has_real = any(isinstance(p, Float) for p in space.parameters.values())
    assert space.all_floats == bool(space.floats.all())
    assert math.isinf(space.size) == has_real


@pytest.mark.parametrize(
    "parameters_",
    [
        {"seed": Integer(0, 2**63 - 1)},
        {**{f"n{i}": Integer(1, 2**60, log=True) for i in range(20)}, "x": Float(0.0, 1.0)},
    ],
    ids=["a seed", "a product beyond floats"],
)
def test_a_space_of_very_many_points_has_a_size(parameters_: dict[str, Parameter]) -> None:
    assert SearchSpace(parameters_).size > 2**62


def test_a_space_with_a_real_parameter_is_infinite() -> None:
    space = SearchSpace({"n": Integer(1, 3), "x": Float(0.0, 1.0)})
    assert space.size == math.inf
    assert space.floats.tolist() == [False, True]
    assert not space.all_floats
    assert SearchSpace({"x": Float(0.0, 1.0)}).all_floats
