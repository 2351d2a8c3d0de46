"""The axis of every kind of parameter: its type, its places, and ticks that people can read."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptune import Categorical, Float, Integer
from gptune.plots.axes import SIDE, axis_of, grid, is_number, log_ticks, ticks
from gptune.study.domains import Fixed, Stepped, at_share, holds
from tests.study.drawing import domains, shares


@pytest.mark.parametrize(
    ("domain", "kind"),
    [
        (Float(0.0, 1.0), "linear"),
        (Float(0.1, 1.0, log=True), "log"),
        (Integer(1, 9), "linear"),
        (Integer(1, 9, log=True), "log"),
        (Stepped(0, 8, 2), "linear"),
        (Categorical(("a", "b")), "category"),
        (Fixed(3), "linear"),
        (Fixed("a"), "category"),
        (Fixed(value=True), "category"),
    ],
)
def test_the_domain_says_which_axis_it_is(domain: Any, kind: str) -> None:
    axis = axis_of("it", domain, [])
    assert axis.layout()["type"] == axis.type == kind
    assert axis.layout()["title"] == "it"


def test_choices_stay_in_their_order_and_are_told_apart() -> None:
    axis = axis_of("it", Categorical((1, "1", True, 0.1)), [True, 1, "new"])
    assert axis.choices == (1, "1", True, 0.1, "new")
    assert axis.labels == ["1", "'1'", "True", "0.1", "'new'"]
    assert axis.at([True, "1"]) == ["True", "'1'"]
    assert axis.coordinates([True, "1"]) == [2.0, 1.0]
    assert axis.layout()["categoryarray"] == axis.at(axis.choices)
    assert axis.ticks() == ([0.0, 1.0, 2.0, 3.0, 4.0], axis.labels)


def test_long_choices_are_cut_and_still_told_apart() -> None:
    axis = axis_of("it", Categorical(("x" * 500 + "a", "x" * 500 + "b")), [])
    assert len(set(axis.labels)) == 2
    assert max(map(len, axis.labels)) < 100


def test_markup_in_names_and_choices_is_shown_as_it_is() -> None:
    axis = axis_of("a<b>", Categorical(("<i>", "y")), [])
    assert axis.layout()["title"] == "a&lt;b&gt;"
    assert axis.at(["<i>"]) == axis.layout()["categoryarray"][:1] == ["&lt;i&gt;"]


def test_values_from_other_domains_fit_too() -> None:
    assert axis_of("it", Float(0.1, 1.0, log=True), [0.0]).type == "linear"
    wider = axis_of("it", Float(0.0, 1.0), [7])
    assert (wider.low, wider.high) == (0.0, 7.0)
    mixed = axis_of("it", Integer(1, 3), ["auto"])
    assert mixed.choices == (1, 3, "auto")


def test_ticks_of_a_logarithmic_axis_are_decades_at_their_logarithms() -> None:
    at, written = axis_of("it", Float(1e-5, 1e-1, log=True), []).ticks()
    assert written == ["1e-05", "0.0001", "0.001", "0.01", "0.1"]
    assert at == pytest.approx([-5, -4, -3, -2, -1])


def test_grids_lie_evenly_on_the_scale_that_is_searched() -> None:
    assert grid(Categorical(("a", "b"))) == ["a", "b"]
    assert grid(Integer(1, 4)) == [1, 2, 3, 4]
    assert grid(Stepped(0, 8, 2)) == [0, 2, 4, 6, 8]
    found = [float(value) for value in grid(Float(1e-4, 1.0, log=True))]
    assert len(found) == SIDE
    assert found[SIDE // 2] == pytest.approx(1e-2)
    assert len(grid(Integer(1, 10**6))) == SIDE


@given(domains, st.lists(shares, max_size=5))
def test_every_value_of_every_domain_has_its_place(domain: Any, wanted: list[float]) -> None:
    values = [at_share(domain, share) for share in wanted]
    axis = axis_of("it", domain, values)
    low, high = axis.ends
    for value, place in zip(values, axis.coordinates(values), strict=True):
        assert low <= place <= high
        assert holds(domain, value)
    assert len(axis.at(values)) == len(values)
    at, written = axis.ticks()
    assert len(at) == len(written) == len(set(written)) >= 1
    assert all(holds(domain, value) for value in grid(domain))


@given(st.floats(-1e12, 1e12), st.floats(1e-9, 1e12))
def test_ticks_are_few_short_and_inside(low: float, span: float) -> None:
    high = low + span
    at, written = ticks(low, high)
    assert 1 <= len(at) <= 8
    slack = 1e-6 * max(span, abs(low) * 1e-9)
    assert all(low - slack <= tick <= high + slack for tick in at)
    assert at == sorted(at)
    assert max(map(len, written)) <= 22


@given(st.floats(-250, 250), st.floats(1e-3, 50))
def test_logarithmic_ticks_are_few_short_and_inside(start: float, decades: float) -> None:
    low, high = 10.0**start, 10.0 ** (start + decades)
    at, written = log_ticks(low, high)
    assert 2 <= len(at) == len(written) <= 10
    assert all(start - 1e-6 <= tick <= start + decades + 1e-6 for tick in at)
    assert max(map(len, written)) <= 10


@pytest.mark.parametrize(
    ("low", "high", "written"),
    [
        (0.0, 1.0, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        (2.0, 2.0, ["2"]),
        (-1e308, 1e308, ["-1e+308", "1e+308"]),
        (8.0, 256.0, ["50", "100", "150", "200", "250"]),
        (1000001.0, 1000003.0, ["1000001", "1000001.5", "1000002", "1000002.5", "1000003"]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, written: list[str]) -> None:
    assert ticks(low, high)[1] == written


def test_truth_values_and_words_are_no_numbers() -> None:
    assert is_number(1)
    assert is_number(0.5)
    assert not is_number(value=True)
    assert not is_number("1")
    assert math.isfinite(axis_of("it", Fixed(2), []).low)
