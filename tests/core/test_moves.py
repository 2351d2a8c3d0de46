"""Moves stay within limits, region and space, and only what is free moves."""

import math
from typing import Any

import msgspec
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gptune.core.moves import Box, boxes, moves, prior_centers, within
from gptune.core.space import SearchSpace, cube
from gptune.records import Categorical, Float, Integer, Parameter, Request, Scalar
from tests.strategies import moderate, points_of, spaces

Ends = tuple[float, float]
TINY = 1e-9  # sides of the unit cube

SPACE = SearchSpace(
    {"x": Float(0.1, 10.0, log=True), "n": Integer(-5, 5), "c": Categorical(("a", "b", "c"))}
)
HERE: dict[str, Scalar] = {"x": 1.0, "n": 0, "c": "b"}
LIMITS = {"x": (0.5, 2.0), "n": (-1.6, 1.6)}
EVERYWHERE = (torch.zeros(5, dtype=torch.float64), torch.ones(5, dtype=torch.float64))


def request(**fields: Any) -> Request:
    made: dict[str, Any] = {"number": 1, "point": HERE, "limits": LIMITS, "free": ("x", "n", "c")}
    return Request(**{**made, **fields})


places = st.lists(st.floats(0, 1), min_size=5, max_size=5).map(cube)


def test_one_box_a_free_knob_or_one_for_all() -> None:
    center = SPACE.encode(HERE)
    each = boxes(SPACE, request(), EVERYWHERE)
    assert len(each) == 3
    for (low, high), part in zip(each, [slice(0, 1), slice(1, 2), slice(2, 5)], strict=True):
        held = torch.ones(5, dtype=torch.bool)
        held[part] = False
        assert torch.equal(low[held], center[held])
        assert torch.equal(high[held], center[held])
        assert bool((low[part] < high[part]).all())
    (joint,) = boxes(SPACE, request(joint=True), EVERYWHERE)
    assert torch.equal(joint[0], torch.stack([low for low, _ in each]).amin(0))
    assert torch.equal(joint[1], torch.stack([high for _, high in each]).amax(0))


def test_a_knob_that_is_not_free_is_held() -> None:
    center = SPACE.encode(HERE)
    for low, high in boxes(SPACE, request(free=("x",), joint=True), EVERYWHERE):
        assert torch.equal(low[1:], center[1:])
        assert torch.equal(high[1:], center[1:])


@given(st.floats(0.0, 0.5), st.floats(0.5, 1.0))
@settings(deadline=None)
def test_a_box_lies_in_the_limits_and_where_they_allow_in_the_region(
    low: float, high: float
) -> None:
    region = (torch.full((5,), low).double(), torch.full((5,), high).double())
    box = boxes(SPACE, request(free=("x",)), region)[0]
    ends = [SPACE.place("x", end) for end in LIMITS["x"]]
    assert float(box[0][0]) == pytest.approx(max(low, ends[0]))
    assert float(box[1][0]) == pytest.approx(min(high, ends[1]))


def test_a_choice_is_free_whatever_the_region() -> None:
    center = SPACE.encode(HERE)
    box = boxes(SPACE, request(free=("c",)), (center, center))[0]
    assert box[0][2:].tolist() == [0.0, 0.0, 0.0]
    assert box[1][2:].tolist() == [1.0, 1.0, 1.0]


Asked = tuple[SearchSpace, Request, Box]


@st.composite
def asked(draw: st.DrawFn) -> Asked:
    """Draw a request, with limits around the point in force, and a region around its place."""
    space = draw(spaces())
    point = draw(points_of(space))
    free = draw(st.lists(st.sampled_from(list(point)), min_size=1, unique=True))
    limits = {name: draw(limits_around(space.parameters[name], point[name])) for name in free}
    numeric = {name: ends for name, ends in limits.items() if ends is not None}
    upward = [name for name in numeric if draw(st.booleans())]
    made = Request(
        number=1,
        point=point,
        limits=numeric,
        free=tuple(free),
        joint=draw(st.booleans()),
        upward=tuple(upward),
    )
    center, reach = space.encode(point), draw(st.floats(0, 1))
    return space, made, ((center - reach).clamp(0, 1), (center + reach).clamp(0, 1))


@st.composite
def limits_around(draw: st.DrawFn, parameter: Parameter, value: Scalar) -> Ends | None:
    """Draw the range of the next move: of a whole number its ends need not be whole."""
    if isinstance(parameter, Categorical):
        return None
    here = float(value)
    return (
        draw(st.floats(float(parameter.low), here)),
        draw(st.floats(here, float(parameter.high))),
    )


@given(asked())
@settings(deadline=None, max_examples=100)
def test_a_box_has_its_center_inside_and_only_its_own_knobs_free(drawn: Asked) -> None:
    space, made, region = drawn
    center = space.encode(made.point)
    found = boxes(space, made, region)
    assert len(found) == (1 if made.joint else len(made.free))
    for index, (low, high) in enumerate(found):
        mine = made.free if made.joint else made.free[index : index + 1]
        assert bool(((low >= 0) & (low <= high) & (high <= 1)).all())
        assert bool(((low <= center + TINY) & (center <= high + TINY)).all())
        for name, parameter, part in space.columns():
            if name not in mine:
                assert torch.equal(low[part], center[part])
                assert torch.equal(high[part], center[part])
            elif isinstance(parameter, Categorical):
                assert low[part].sum() == 0
                assert bool((high[part] == 1).all())
            else:
                ends = [space.place(name, end) for end in made.limits[name]]
                assert ends[0] <= float(low[part]) <= float(high[part]) <= ends[1]


@given(asked())
@settings(deadline=None, max_examples=60)
def test_a_box_that_only_goes_up_ends_where_the_other_does(drawn: Asked) -> None:
    space, made, region = drawn
    center = space.encode(made.point)
    both = zip(boxes(space, made, region), boxes(space, made, region, made.upward), strict=True)
    for (low, high), (floor, top) in both:
        assert torch.equal(high, top)
        for name, _, part in space.columns():
            rises = name in made.upward
            assert torch.equal(floor[part], center[part] if rises else low[part])


def test_boxes_may_be_changed_without_a_trace() -> None:
    made, region = request(), (EVERYWHERE[0].clone(), EVERYWHERE[1].clone())
    for low, high in boxes(SPACE, made, region):
        low.fill_(7.0)
        high.fill_(7.0)
    assert torch.equal(region[0], EVERYWHERE[0])
    assert torch.equal(region[1], EVERYWHERE[1])
    fresh = boxes(SPACE, made, region)
    assert all(bool((high <= 1.0).all()) for _, high in fresh)


@given(asked(), st.data())
@settings(deadline=None, max_examples=100)
def test_a_place_in_a_box_is_a_move_within_limits_of_what_is_free(
    drawn: Asked, data: st.DataObject
) -> None:
    space, made, region = drawn
    low, high = data.draw(st.sampled_from(boxes(space, made, region)))
    shares = st.lists(st.floats(0, 1), min_size=space.dimension, max_size=space.dimension)
    place = space.snap((low + (high - low) * cube(data.draw(shares))).unsqueeze(0))[0]
    found = moves(space, made, place)
    assert found
    assert set(found) <= set(made.free)
    space.encode({**made.point, **found})  # raises if a value lies outside the space
    for name, move in found.items():
        if name in made.limits:
            assert isinstance(move, int | float)
            assert made.limits[name][0] <= move <= made.limits[name][1]
            assert isinstance(space.parameters[name], Integer) == isinstance(move, int)


def test_what_is_looked_at_is_what_is_moved_to() -> None:
    """A step of 3.75 from 5 ends at 8, so 9 is not looked at, which would be moved to as 8."""
    space = SearchSpace({"n": Integer(0, 15)})
    made = Request(number=1, point={"n": 5}, limits={"n": (1.25, 8.75)}, free=("n",))
    ((low, high),) = boxes(space, made, (cube([0.0]), cube([1.0])))
    for place in space.snap(torch.stack([low, high])):
        assert moves(space, made, place) == space.decode(place)


@pytest.mark.parametrize(
    "parameter",
    [Integer(0, 2**63 - 1), Integer(2**60, 2**60 + 7), Integer(1, 2**63 - 1, log=True)],
)
@pytest.mark.parametrize("kind", [int, float])
def test_the_largest_whole_numbers_move_exactly_and_never_outside(
    parameter: Integer, kind: type
) -> None:
    """Whatever the limits are: a float of the largest whole number is larger than it."""
    space = SearchSpace({"n": parameter})
    limits = {"n": (kind(parameter.low), kind(parameter.high))}
    middle = space.decode(cube([0.5]))
    made = Request(number=1, point=middle, limits=limits, free=("n",))
    ((low, high),) = boxes(space, made, (cube([0.0]), cube([1.0])))
    assert bool((low <= high).all())
    for end in (parameter.low, parameter.high):
        wanted = min(end, int(limits["n"][1]))  # the float of 2**60 + 7 is 2**60
        assert moves(space, made, space.encode({"n": end})) == {"n": wanted}
        assert within(space, made, "n", end) == wanted
        assert within(space, made, "n", float(end)) in range(parameter.low, parameter.high + 1)
    assert type(within(space, made, "n", 1e300)) is int
    assert within(space, made, "n", 1e300) == min(parameter.high, int(limits["n"][1]))


def test_an_upward_knob_starts_where_it_is() -> None:
    box = boxes(SPACE, request(free=("x",)), EVERYWHERE, upward=("x",))[0]
    assert box[0][0] == SPACE.encode(HERE)[0]
    assert box[1][0] > box[0][0]


@given(places)
@settings(deadline=None, max_examples=80)
def test_moves_keep_to_the_limits_and_name_what_changed(place: torch.Tensor) -> None:
    place = SPACE.snap(place.unsqueeze(0))[0]
    made = moves(SPACE, request(), place)
    assert made
    for name, move in made.items():
        if name == "x":
            assert isinstance(move, float)
            assert 0.5 <= move <= 2.0
        if name == "n":
            assert move in (-1, 0, 1)
        if name == "c":
            assert move == SPACE.decode(place)["c"]


def test_a_place_that_is_where_the_knobs_are_moves_nothing() -> None:
    assert moves(SPACE, request(), SPACE.encode(HERE)) == {"x": 1.0}


def test_only_free_knobs_are_read_off() -> None:
    place = SPACE.encode({"x": 2.0, "n": 1, "c": "a"})
    assert set(moves(SPACE, request(free=("c",), limits={}), place)) == {"c"}


@pytest.mark.parametrize(
    ("centers", "joint", "wanted"),
    [
        ({}, False, None),
        ({"x": 1.0}, False, None),
        ({"x": 1.5}, False, {"x": 1.5}),
        ({"x": 9.0}, False, {"x": 2.0}),
        ({"x": 1.5, "n": 3}, False, {"x": 1.5}),
        ({"x": 1.5, "n": 3}, True, {"x": 1.5, "n": 1}),
        ({"n": 3, "x": 1.5}, False, {"x": 1.5}),
        ({"x": 1.0, "n": 3}, False, {"n": 1}),
        ({"x": 1.0, "n": 3}, True, {"n": 1}),
        ({"n": 0.3}, False, None),
        ({"c": 1.0}, True, None),
    ],
)
def test_prior_centers_are_approached_where_they_differ(
    centers: dict[str, float], joint: bool, wanted: Any
) -> None:
    assert prior_centers(SPACE, request(centers=centers, joint=joint)) == wanted


def test_a_knob_that_is_not_free_does_not_approach_its_center() -> None:
    made = request(centers={"x": 1.5, "n": 1.0}, free=("n", "c"), joint=True)
    assert prior_centers(SPACE, made) == {"n": 1}


@given(asked(), st.data())
@settings(deadline=None, max_examples=60)
def test_prior_centers_are_within_limits_and_one_by_one_unless_joint(
    drawn: Asked, data: st.DataObject
) -> None:
    space, made, _ = drawn
    centers = {name: data.draw(moderate) for name in made.limits}
    made = msgspec.structs.replace(made, centers=centers)
    found = prior_centers(space, made)
    wanted = {n: within(space, made, n, centers[n]) for n in made.free if n in centers}
    differing = [name for name in wanted if wanted[name] != made.point[name]]
    names = differing if made.joint else differing[:1]
    assert found == ({name: wanted[name] for name in names} or None)


@given(asked(), st.data())
@settings(deadline=None, max_examples=80)
def test_within_gives_the_nearest_move_that_is_allowed(drawn: Asked, data: st.DataObject) -> None:
    space, made, _ = drawn
    assume(made.limits)
    name = data.draw(st.sampled_from(sorted(made.limits)))
    move, (low, high) = data.draw(moderate), made.limits[name]
    found = within(space, made, name, move)
    assert low <= found <= high
    if isinstance(space.parameters[name], Integer):
        assert type(found) is int
        allowed = range(math.ceil(low), math.floor(high) + 1)
        assert abs(found - move) == min(abs(other - move) for other in allowed)
    else:
        assert found == sorted([low, move, high])[1]
    assert within(space, made, name, found) == found


@pytest.mark.parametrize(
    ("move", "wanted"), [(0.7, 1), (0.4, 0), (-0.7, -1), (-0.4, 0), (1.55, 1), (-9.0, -1)]
)
def test_a_whole_number_goes_to_the_nearest(move: float, wanted: int) -> None:
    assert within(SPACE, request(), "n", move) == wanted


@given(st.floats(-100, 100))
def test_within_keeps_whole_numbers_whole(move: float) -> None:
    found = within(SPACE, request(), "n", move)
    assert found in (-1, 0, 1)
    assert isinstance(found, int)
