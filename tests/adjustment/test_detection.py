"""Change detection: how often it is wrong, how soon it is right, and what it takes for usual."""

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptune.adjustment.detection import SURE, Alarm, level_of, median_of, watch

LEVELS = st.floats(0.0, 0.95)
VALUES = st.lists(st.floats(0.0, 1.0), max_size=60)


def run(rate: float, alarm: Alarm, seed: int, most: int) -> int:
    """Give after how many records an alarm is raised."""
    chance = random.Random(seed)
    while not alarm.is_raised and alarm.seen < most:
        alarm = watch(alarm, float(chance.random() < rate))
    return alarm.seen


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_false_alarms_are_as_rare_as_stated(level: float) -> None:
    every, most = 300.0, 6000  # runs that are cut short make the mean smaller
    seen = [run(level, Alarm(level=level, every=every), seed, most) for seed in range(150)]
    error = statistics.stdev(seen) / math.sqrt(len(seen))
    assert statistics.fmean(seen) > every - 2 * error


@pytest.mark.parametrize(("rate", "soon"), [(0.6, 90), (0.3, 25), (0.0, 15)])
def test_a_fall_is_seen_soon(rate: float, soon: int) -> None:
    alarm = Alarm(level=0.8, every=10_000.0)
    seen = [run(rate, alarm, seed, 10_000) for seed in range(60)]
    assert statistics.fmean(seen) < soon


@given(LEVELS, VALUES, st.floats(2.0, 1e6))
def test_evidence_grows_by_bad_news_and_never_falls_below_zero(
    level: float, values: list[float], every: float
) -> None:
    alarm = Alarm(level=level, every=every)
    for value in values:
        after = watch(alarm, value)
        assert all(one >= 0 for one in after.evidence)
        worse = watch(alarm, value / 2)
        assert all(a >= b for a, b in zip(worse.evidence, after.evidence, strict=True))
        alarm = after
    assert alarm.seen == len(values)


@given(LEVELS, VALUES)
def test_what_is_above_the_level_raises_no_alarm(level: float, values: list[float]) -> None:
    alarm = Alarm(level=level, every=float(len(values) + 1))
    for value in values:
        alarm = watch(alarm, max(value, level))
    assert not alarm.is_raised  # each bet loses, or breaks even: no more than one a record


def test_evidence_without_end_is_a_number() -> None:
    alarm = Alarm(level=0.9, every=1e9)
    for _ in range(5000):
        alarm = watch(alarm, 0.0)
    assert alarm.is_raised
    assert all(math.isfinite(one) for one in alarm.evidence)


@given(st.integers(1, 300), st.data())
def test_a_rate_is_surely_not_below_its_level(count: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, count))
    level = level_of(successes, count)
    assert 0.0 <= level <= successes / count
    if successes:  # so many successes, or more, are as unlikely as stated at the level
        tail = math.fsum(
            math.comb(count, k) * level**k * (1 - level) ** (count - k)
            for k in range(successes, count + 1)
        )
        assert tail == pytest.approx(1 - SURE, abs=1e-6)


def test_half_of_a_reference_reaches_its_median_and_later_values_as_often_as_stated() -> None:
    held = []
    for seed in range(400):
        chance = random.Random(seed)
        border, share = median_of([chance.gauss(0.0, 1.0) for _ in range(50)])
        later = statistics.NormalDist().cdf(-border)
        held.append(later >= share)
    assert statistics.fmean(held) >= SURE - 0.015
    assert median_of([3.0, 1.0])[0] == 1.0
