"""A posterior slice in letters."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptune.cli.chart import HEIGHT, MEAN, NEW, OLD, WIDTH, chart, place
from gptune.core.space import SearchSpace
from gptune.records import Change, Float, Integer, Slice
from tests.strategies import floats_in, integers_in, values_of

POINTS = 33
SPACE = Float(0.01, 100.0, log=True)


def curve(means: list[float], deviation: float = 0.0) -> Slice:
    at = tuple(n / (POINTS - 1) for n in range(POINTS))
    return Slice(at=at, mean=tuple(means), deviation=(deviation,) * POINTS)


@given(floats_in() | integers_in(), st.data())
def test_a_move_stands_where_the_search_space_has_it(
    space: Float | Integer, data: st.DataObject
) -> None:
    move = data.draw(values_of(space))
    there = SearchSpace({"x": space}).place("x", float(move))
    assert place(space, move) == pytest.approx(there, abs=1e-9)


@given(
    st.lists(st.floats(), min_size=POINTS, max_size=POINTS),
    st.floats(0),
    st.floats(0.01, 100.0),
    st.floats(0.01, 100.0),
)
def test_every_curve_can_be_drawn(
    means: list[float], deviation: float, old: float, new: float
) -> None:
    lines = chart(curve(means, deviation), SPACE, Change("opt.lr", old, new))
    assert len(lines) == HEIGHT + 3
    margin = lines[0].index("|") + 1
    assert all(len(line) <= margin + WIDTH for line in lines[: HEIGHT + 1])
    columns = list(zip(*(line.ljust(margin + WIDTH) for line in lines[:HEIGHT]), strict=True))
    assert all(column.count(MEAN) == 1 for column in columns[margin:])


def test_the_mean_rises_where_it_rises_and_the_moves_are_marked() -> None:
    lines = chart(curve([n / 10 for n in range(POINTS)]), SPACE, Change("opt.lr", 0.01, 100.0))
    margin = lines[0].index("|") + 1
    rows = [
        row
        for column in range(WIDTH)
        for row in range(HEIGHT)
        if lines[row].ljust(margin + WIDTH)[margin + column] == MEAN
    ]
    assert rows == sorted(rows, reverse=True)
    assert (rows[0], rows[-1]) == (HEIGHT - 1, 0)
    axis = lines[HEIGHT].strip()
    assert (axis[0], axis[-1], len(axis)) == (OLD, NEW, WIDTH)
    assert lines[HEIGHT + 1].split() == ["0.01", "100"]
    assert lines[0].split()[0] == "3.2"
    assert lines[HEIGHT - 1].split()[0] == "0"


def test_the_band_is_as_wide_as_the_deviation() -> None:
    lines = chart(curve([0.0] * POINTS, 1.0), SPACE, Change("opt.lr", 1.0, 2.0))
    body = [line.partition("|")[2] for line in lines[:HEIGHT]]
    assert [row[0] for row in body] == ["."] * 4 + [MEAN] + ["."] * 4
    assert math.isclose(float(lines[0].split()[0]), 1.0)
