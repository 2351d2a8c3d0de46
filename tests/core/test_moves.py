"""Moves stay within limits, region and space, and only what is free moves."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptune.core.moves import boxes, moves, prior_centers, within
from gptune.core.space import SearchSpace, cube
from gptune.records import Categorical, Float, Integer, Request, Scalar

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
    ],
)
def test_prior_centers_are_approached_where_they_differ(
    centers: dict[str, float], joint: bool, wanted: Any
) -> None:
    assert prior_centers(SPACE, request(centers=centers, joint=joint)) == wanted


@given(st.floats(-100, 100))
def test_within_keeps_whole_numbers_whole(move: float) -> None:
    found = within(SPACE, request(), "n", move)
    assert found in (-1, 0, 1)
    assert isinstance(found, int)
