"""Lines and scales: whatever the numbers are, the drawing stays inside of its figure."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptune.report.drawing import SIDE, Scale, band, dot, line, scale_of, thinned
from tests.strategies import any_float, finite

series = st.lists(st.tuples(finite, st.none() | any_float), max_size=60)


def numbers_in(path: str) -> list[int]:
    return [int(number) for number in re.findall(r"-?\d+", path)]


@given(st.lists(any_float, max_size=40), st.sampled_from([None, True, False]), st.booleans())
def test_a_scale_is_never_empty_and_shows_what_it_is_made_of(
    values: list[float], log: bool | None, cut: bool
) -> None:
    scale = scale_of(values, log=log, cut=cut)
    assert math.isfinite(scale.low)
    assert math.isfinite(scale.high)
    assert scale.low < scale.high
    assert not scale.log or scale.low > 0
    shown = [v for v in values if math.isfinite(v) and abs(v) < 1e300]
    assert all(0.0 <= scale.share(v) <= 1.0 for v in shown)
    if not cut and not scale.log:
        assert all(scale.low <= v <= scale.high for v in shown)


@given(st.lists(finite, min_size=2, max_size=20))
def test_what_is_larger_lies_no_lower(values: list[float]) -> None:
    scale = scale_of(values)
    shares = [scale.share(value) for value in sorted(values)]
    assert shares == sorted(shares)


@given(st.lists(any_float, max_size=20), st.booleans())
def test_ticks_lie_on_the_axis_in_order_and_are_few(values: list[float], log: bool) -> None:
    ticks = scale_of(values, log=log).ticks()
    assert 0 < len(ticks) <= 20
    assert [at for at, _ in ticks] == sorted(at for at, _ in ticks)
    assert all(0.0 <= at <= 1.0 and text for at, text in ticks)


@pytest.mark.parametrize(("low", "high"), [(0.2, 2.3), (0.08, 1.4), (0.68, 0.97), (1e-9, 1e9)])
def test_a_logarithmic_axis_has_several_round_ticks(low: float, high: float) -> None:
    texts = [text for _, text in Scale(low, high, log=True).ticks()]
    assert len(texts) >= 3
    assert all(len(text) <= 6 for text in texts)


@given(series)
def test_a_line_stays_inside_and_breaks_where_a_value_is_missing(
    points: list[tuple[float, float | None]],
) -> None:
    x, y = scale_of(at for at, _ in points), scale_of(v for _, v in points if v is not None)
    path = line(points, x, y)
    assert all(0 <= number <= SIDE for number in numbers_in(path))
    known = [v is not None and math.isfinite(v) for _, v in points]
    begins = sum(now and not before for before, now in zip([False, *known], known, strict=False))
    assert path.count("M") == begins
    assert path.count("M") + path.count("L") == sum(known)


@given(st.lists(st.tuples(finite, any_float, any_float), max_size=20))
def test_a_band_is_closed_or_there_is_none(rows: list[tuple[float, float, float]]) -> None:
    unit = Scale(0.0, 1.0)
    path = band(rows, unit, unit)
    known = [row for row in rows if all(map(math.isfinite, row))]
    assert bool(path) == (len(known) > 1)
    assert not path or (path.startswith("M") and path.endswith("Z"))


@given(st.lists(st.none() | any_float, max_size=400), st.integers(8, 60))
def test_a_thinned_line_keeps_its_ends_its_order_and_its_extremes(
    values: list[float | None], most: int
) -> None:
    points = [(float(n), value) for n, value in enumerate(values)]
    kept = thinned(points, most)
    assert len(kept) <= max(most, 1) + 4
    assert [at for at, _ in kept] == sorted({at for at, _ in kept})
    if points:
        assert kept[0] is points[0]
        assert kept[-1] is points[-1]
    known = [v for v in values if v is not None and math.isfinite(v)]
    if known:
        assert {min(known), max(known)} <= {v for _, v in kept}


def test_a_spike_that_would_hide_all_else_is_cut_off() -> None:
    values = [math.sin(n) for n in range(100)]
    assert scale_of([*values, 1e9], cut=True).high < 100
    assert scale_of([*values, 1e9], cut=False).high > 1e9
    assert scale_of([1.0] * 99 + [2.0], cut=True).high > 2.0  # nothing else is there to be seen


def test_a_dot_has_no_length_and_lies_where_it_should() -> None:
    assert dot((0.0, 1.0)) == "M0 0h0"
    assert dot((1.0, 0.0)) == f"M{SIDE} {SIDE}h0"
