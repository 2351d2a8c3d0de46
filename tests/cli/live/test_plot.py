"""A curve is drawn for any numbers, whatever their size, within its columns and rows."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptune.cli.live.glyphs import COARSE, FINE, Glyphs
from gptune.cli.live.plot import Axis, axis_of, marks, plot, spark
from gptune.cli.live.series import Series, add, mark
from tests.strategies import any_float

glyphs = st.sampled_from([FINE, COARSE])


def series_of(*values: float, every: int = 10) -> Series:
    series = Series()
    for number, value in enumerate(values):
        series = add(series, number * every, value)
    return series


@given(
    st.lists(any_float | st.floats(0, 3), min_size=1, max_size=40),
    st.sampled_from(["min", "max", ""]),
    st.tuples(st.integers(1, 80), st.integers(1, 12)),
    glyphs,
)
def test_any_numbers_are_drawn_within_columns_and_rows(
    values: list[float], direction: str, size: tuple[int, int], signs: Glyphs
) -> None:
    series, (columns, rows) = series_of(*values), size
    axis = axis_of(series.stretches, direction)
    assert (axis is None) == (not any(map(math.isfinite, values)))
    if axis is None:
        return
    assert math.isfinite(axis.low)
    assert axis.low <= axis.high <= max(v for v in values if math.isfinite(v))
    drawn = plot(series, axis, (columns, rows), signs)
    assert len(drawn) == rows
    assert {len(row) for row in drawn} == {columns}
    assert any(row.strip() for row in drawn)
    assert len(spark(series, axis, columns, signs).plain) == columns
    assert len(marks(series, columns, signs).plain) == columns


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30))
def test_an_axis_goes_from_its_lowest_value_to_its_highest(
    values: list[float],
) -> None:
    axis = axis_of(series_of(*values).stretches, "max")
    assert axis is not None
    for value in values:
        assert 0.0 <= axis.place(value) <= 1.0
    assert axis.low == axis.high or (axis.place(axis.low), axis.place(axis.high)) == (0.0, 1.0)


def test_a_falling_curve_falls_without_a_gap() -> None:
    series = series_of(*(1 / (n + 1) for n in range(30)))
    axis = axis_of(series.stretches, "min")
    assert axis == Axis(1 / 30, 1.0, log=True)
    drawn = plot(series, axis, (40, 6), COARSE)
    tops = [next(r for r in range(6) if drawn[r][c] == "*") for c in range(40)]
    assert tops == sorted(tops)
    assert (tops[0], tops[-1]) == (0, 5)
    assert all(any(row[c] == "*" for row in drawn) for c in range(40))


def test_one_spike_does_not_flatten_the_rest_and_is_counted() -> None:
    values = [1.0 - 0.01 * n for n in range(40)]
    values[20] = 1e12
    for sign in (1.0, -1.0):
        axis = axis_of(series_of(*(sign * v for v in values)).stretches, "max")
        assert axis is not None
        assert axis.high - axis.low < 2
        assert axis.beyond == 1


def test_a_loss_over_decades_has_a_logarithmic_axis_and_an_accuracy_has_none() -> None:
    assert axis_of(series_of(2.0, 0.2).stretches, "min").log  # type: ignore[union-attr]
    assert not axis_of(series_of(0.1, 0.9).stretches, "max").log  # type: ignore[union-attr]
    assert not axis_of(series_of(-2.0, 0.2).stretches, "min").log  # type: ignore[union-attr]


def test_what_is_no_number_leaves_a_gap() -> None:
    series = series_of(1.0, 1.0, math.nan, math.nan, 1.0, 1.0)
    axis = axis_of(series.stretches, "min")
    assert axis is not None
    (row,) = plot(series, axis, (11, 1), COARSE)
    assert row == "***     ***"


def test_of_several_marks_in_a_column_the_weightiest_is_shown() -> None:
    series = series_of(1.0)
    for name in ("undone", "kept", "restored", "hand"):
        series = mark(series, 0, name)
    assert marks(series, 5, COARSE).plain == "<    "
    assert spark(series, Axis(0, 1, log=False), 5, COARSE).plain == "<    "


@pytest.mark.parametrize("value", [0.0, -5.0, 1e300])
def test_a_constant_is_drawn_in_the_middle(value: float) -> None:
    series = series_of(value, value)
    axis = axis_of(series.stretches, "min")
    assert axis is not None
    assert plot(series, axis, (6, 3), COARSE) == [" " * 6, "*" * 6, " " * 6]
