"""A regression is a fall beyond the metric's own spread, in whatever unit it is measured."""

import math

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from gptune.safety.regression import is_regression
from tests.strategies import any_float, moderate

spreads = st.floats(0, 1e6)
limits = st.floats(0.1, 100)
whole = st.integers(-1000, 1000).map(float)


@given(any_float, any_float, any_float, limits)
@settings(deadline=None)
def test_what_is_not_a_number_is_a_regression(
    value: float, expected: float, spread: float, limit: float
) -> None:
    if not (math.isfinite(value) and math.isfinite(expected)) or math.isnan(spread) or spread < 0:
        assert is_regression(value, expected, spread, limit)


@given(moderate, moderate, spreads, limits)
@settings(deadline=None)
def test_a_value_that_reaches_its_forecast_is_no_regression(
    value: float, expected: float, spread: float, limit: float
) -> None:
    if value >= expected:
        assert not is_regression(value, expected, spread, limit)


@given(moderate, moderate, spreads, limits)
@settings(deadline=None)
def test_it_is_one_exactly_beyond_the_limit(
    value: float, expected: float, spread: float, limit: float
) -> None:
    assert is_regression(value, expected, spread, limit) == (expected - value > limit * spread)


pairs = st.tuples(moderate, moderate).map(sorted)


@given(pairs, moderate, spreads, limits)
@settings(deadline=None)
def test_a_worse_value_never_becomes_a_better_one(
    values: list[float], expected: float, spread: float, limit: float
) -> None:
    worse, better = values
    if is_regression(better, expected, spread, limit):
        assert is_regression(worse, expected, spread, limit)


@given(moderate, moderate, st.tuples(spreads, spreads).map(sorted), limits)
@settings(deadline=None)
def test_more_spread_tolerates_more(
    value: float, expected: float, both: list[float], limit: float
) -> None:
    narrow, wide = both
    if is_regression(value, expected, wide, limit):
        assert is_regression(value, expected, narrow, limit)


measured = st.tuples(whole, whole, whole.map(abs), st.integers(1, 20).map(float))


@given(measured, whole, st.integers(-20, 20))
@example((0.5, 1.0, 0.125, 3.0), 7.0, 3)
@settings(deadline=None)
def test_units_and_constants_change_no_answer(
    drawn: tuple[float, float, float, float], shift: float, power: int
) -> None:
    value, expected, spread, limit = drawn
    plain = is_regression(value, expected, spread, limit)
    scale = 2.0**power  # sums and products of these are exact
    assert is_regression(value * scale, expected * scale, spread * scale, limit) == plain
    assert is_regression(value + shift, expected + shift, spread, limit) == plain


@given(moderate, st.floats(1e-3, 1e3), limits)
@settings(deadline=None)
def test_without_any_spread_every_fall_is_one(expected: float, fall: float, limit: float) -> None:
    assume(expected - fall < expected)
    assert is_regression(expected - fall, expected, 0.0, limit)
    assert not is_regression(expected, expected, 0.0, limit)
    assert not is_regression(expected - fall, expected, math.inf, limit)
