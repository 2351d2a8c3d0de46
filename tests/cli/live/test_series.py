"""A metric over steps is kept in bounded memory, and nothing of what matters is lost."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptune.cli.live import series as room
from gptune.cli.live.series import Series, add, mark, totals
from tests.strategies import any_float

reports = st.lists(st.tuples(st.integers(0, 5), any_float, st.sampled_from(["", "kept", "hand"])))


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LIMIT", 8)


def build(plan: list[tuple[int, float, str]]) -> Series:
    series, step = Series(), 0
    for further, value, name in plan:
        step += further
        series = add(series, step, value)
        series = mark(series, step, name) if name else series
    return series


@given(reports)
def test_however_long_it_is_bounded_and_counts_every_report_and_mark(
    plan: list[tuple[int, float, str]],
) -> None:
    series, values = build(plan), [value for _, value, _ in plan]
    held = series.stretches
    assert len(held) <= 8
    assert sum(s.reports for s in held) == len(plan)
    assert all(s.reports == series.size for s in held[:-1])
    assert sum(s.faults for s in held) == sum(not math.isfinite(v) for v in values)
    finite = [value for value in values if math.isfinite(value)]
    assert min((s.low for s in held), default=math.inf) == min(finite, default=math.inf)
    assert max((s.high for s in held), default=-math.inf) == max(finite, default=-math.inf)
    assert totals(series) == {
        name: sum(name == made for _, _, made in plan)
        for name in ("kept", "hand")
        if any(name == made for _, _, made in plan)
    }


@given(reports)
def test_stretches_follow_each_other_and_close_within_their_range(
    plan: list[tuple[int, float, str]],
) -> None:
    held = build(plan).stretches
    assert all(s.first <= s.last for s in held)
    assert all(one.last <= other.first for one, other in pairwise(held))
    for stretch in held:
        assert math.isnan(stretch.close) == (stretch.reports == stretch.faults)
        assert math.isnan(stretch.close) or stretch.low <= stretch.close <= stretch.high


def test_what_happens_before_the_first_report_is_not_lost() -> None:
    series = add(mark(Series(), 5, "hand"), 10, 1.0)
    assert totals(series) == {"hand": 1}
    assert [(s.first, s.last, s.reports) for s in series.stretches] == [(5, 10, 1)]


def test_a_short_run_keeps_every_report() -> None:
    series = build([(1, float(n), "") for n in range(8)])
    assert [s.close for s in series.stretches] == [float(n) for n in range(8)]
    assert build([(1, float(n), "") for n in range(9)]).size == 2
