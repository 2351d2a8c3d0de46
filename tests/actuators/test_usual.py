"""Ranges by usual names hold the value in force, whatever it is."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptune.actuators.usual import NAMES, Usual, guess, usual
from gptune.actuators.values import value_actuators
from gptune.records import Categorical, Float, Integer

USUAL_NAMES = [
    "dropout",
    "drop_path",
    "label_smoothing",
    "epsilon",
    "temperature",
    "entropy_coef",
    "clip_norm",
    "max_grad_norm",
    "batch_size",
    "gamma",
]
values = st.one_of(st.floats(), st.integers(-5, 2000), st.booleans(), st.text(max_size=3))


@given(st.sampled_from(USUAL_NAMES), values)
def test_a_usual_range_holds_the_value_in_force_and_makes_a_knob(name: str, value: Any) -> None:
    known = usual(name, value) or guess(value)
    if known is not None:
        (knob,) = value_actuators({name: value}, {name: known.space})
        assert knob.validate(value) is None
        assert known.risk in ("low", "medium", "high")


@pytest.mark.parametrize("name", USUAL_NAMES)
def test_every_usual_name_is_known_at_a_usual_value(name: str) -> None:
    value = 32 if name == "batch_size" else 0.3
    assert isinstance(usual(name, value), Usual)


def test_every_row_of_the_table_has_a_name_here() -> None:
    reached = {
        pattern
        for name in USUAL_NAMES
        for pattern, space_of, unit, risk in NAMES
        if (known := usual(name, 32 if name == "batch_size" else 0.3)) is not None
        and (known.unit, known.risk) == (unit, risk)
    }
    assert reached == {pattern for pattern, *_ in NAMES}


def test_a_number_too_small_for_a_rate_of_exploration_is_none() -> None:
    assert usual("epsilon", 1e-8) is None
    assert guess(1e-8) == Usual(Float(1e-9, 1e-7, log=True))


def test_a_discount_is_ranged_by_its_horizon() -> None:
    known = usual("gamma", 0.99)
    assert known is not None
    assert isinstance(known.space, Float)
    assert known.space.low == pytest.approx(0.9)
    assert known.space.high == pytest.approx(0.999)


def test_what_is_no_number_or_goes_by_no_usual_name_is_unknown() -> None:
    for value in (math.nan, math.inf, "0.1", None, True):
        assert usual("temperature", value) is None
    assert usual("aux", 0.5) is None
    assert usual("batch_size", 0.5) is None
    assert guess(3) is None
    assert guess(True) == Usual(Categorical((False, True)))
    assert usual("batch_size", 1) == Usual(Integer(1, 4, log=True), "examples", "medium")
    assert usual("batch_size", 2**62) is None
