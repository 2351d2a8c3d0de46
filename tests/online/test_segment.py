"""A segment's evidence: what the training since a change showed, against its forecast."""

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gptune.configs import Acceptance
from gptune.online.forecast import LEAST_POINTS, NORMAL, Forecast, probability_above
from gptune.online.segment import (
    FREE,
    START,
    WINDOW,
    Track,
    backup_penalty,
    is_late,
    lowers,
    mad_reach,
    weigh,
)
from gptune.records import Change, Reading, Reason

QUICK = settings(deadline=None, max_examples=100)
OUTLOOK = Forecast(value=-1.0, deviation=0.1, spread=0.05, freedom=4)
values = st.floats(-100.0, 100.0)
points = st.lists(st.tuples(st.integers(0, 200), values), max_size=30)


def track(count: int = 6, level: float = 1.0) -> Track:
    made = Track()
    for i in range(count):
        made = made.add(10 * (i + 1), level + 0.01 * (-1) ** i)
    return made


# Tracks


@QUICK
@given(points)
def test_a_track_holds_the_newest_values_in_rising_order_of_steps(
    history: list[tuple[int, float]],
) -> None:
    made, kept = Track(), list[tuple[int, float]]()
    for step, value in history:
        made = made.add(step, value)
        kept = [*((s, v) for s, v in kept if s < step), (step, value)][-WINDOW:]
        assert list(zip(made.steps, made.values, strict=True)) == kept
        assert list(made.steps) == sorted(set(made.steps))
        assert len(made.steps) <= WINDOW


@QUICK
@given(points)
def test_a_track_is_never_edited(history: list[tuple[int, float]]) -> None:
    made = track(3)
    before = (made.steps, made.values)
    for step, value in history:
        made.add(step, value)
    assert (made.steps, made.values) == before
    with pytest.raises(AttributeError):
        made.steps = ()  # type: ignore[misc]


@pytest.mark.parametrize("count", range(WINDOW + 2))
def test_a_track_forecasts_from_four_values_on(count: int) -> None:
    assert (track(count).forecast(1000) is not None) == (count >= LEAST_POINTS)


# Evidence


@QUICK
@given(values, values, st.floats(0.0, 5.0), st.floats(0.0, 1.0))
def test_against_a_forecast_the_evidence_is_the_surplus_over_it(
    value: float, reference: float, penalty: float, epsilon: float
) -> None:
    acceptance = Acceptance(epsilon=epsilon)
    evidence = weigh(acceptance, value, reference, OUTLOOK, penalty=penalty)
    assert evidence.gain == value - OUTLOOK.value
    assert evidence.deviation == OUTLOOK.deviation
    assert evidence.penalty == penalty * OUTLOOK.deviation
    surplus = evidence.gain - evidence.penalty - epsilon
    assert evidence.probability == probability_above(surplus, OUTLOOK.deviation, OUTLOOK.freedom)


@QUICK
@given(values, values, st.floats(0.0, 5.0))
def test_the_older_rule_compares_with_the_last_value_and_gives_no_probability(
    value: float, reference: float, penalty: float
) -> None:
    evidence = weigh(Acceptance(reference="last"), value, reference, OUTLOOK, penalty=penalty)
    assert evidence.gain == value - reference
    assert evidence.probability is None
    assert evidence.penalty == penalty * OUTLOOK.deviation


@pytest.mark.parametrize("reference", ["forecast", "last"])
def test_without_a_forecast_there_is_no_probability_and_no_deviation(reference: str) -> None:
    acceptance = Acceptance(reference=reference)  # type: ignore[arg-type]
    evidence = weigh(acceptance, 2.0, 0.5, None, penalty=3.0)
    assert evidence.gain == 1.5
    assert evidence.deviation is evidence.probability is None
    assert evidence.penalty == 0.0


@QUICK
@given(values, st.floats(0.0, 5.0), st.floats(0.01, 5.0))
def test_a_penalty_and_a_demand_only_lower_the_probability(
    value: float, penalty: float, more: float
) -> None:
    def chance(penalty: float, epsilon: float) -> float:
        made = weigh(Acceptance(epsilon=epsilon), value, 0.0, OUTLOOK, penalty=penalty)
        assert made.probability is not None
        return made.probability

    assert chance(penalty + more, 0.0) <= chance(penalty, 0.0)
    assert chance(penalty, more) <= chance(penalty, 0.0)


@QUICK
@given(st.lists(values, min_size=5, max_size=8), st.floats(0.01, 100.0), st.floats(-50.0, 50.0))
def test_without_a_demand_the_probability_does_not_depend_on_the_metrics_scale(
    ys: list[float], scale: float, shift: float
) -> None:
    assume(max(ys) - min(ys) > 0.1)
    chances = []
    for a, b in ((1.0, 0.0), (scale, shift)):
        made = Track()
        for i, y in enumerate(ys[:-1]):
            made = made.add(10 * (i + 1), a * y + b)
        outlook = made.forecast(10 * len(ys))
        assume(outlook is None or outlook.spread > 1e-6 * a)
        last = a * ys[-1] + b
        evidence = weigh(Acceptance(epsilon=0.0), last, last, outlook, penalty=0.0)
        chances.append(evidence.probability)
    assert chances[0] == pytest.approx(chances[1], abs=1e-5)


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_value_that_is_not_finite_is_never_probable(value: float) -> None:
    evidence = weigh(Acceptance(), value, 0.0, OUTLOOK, penalty=0.0)
    assert evidence.probability == 0.0


# Backup metrics


def penalty_at(gap: float) -> float:
    outlook = track().forecast(100)
    assert outlook is not None
    value = outlook.value + gap * outlook.deviation
    return backup_penalty({"grad": track()}, {"grad": Reading(value=value)}, 100)


@QUICK
@given(st.floats(-50.0, 50.0))
def test_a_backup_pays_for_what_noise_does_not_explain_in_either_direction(gap: float) -> None:
    assert penalty_at(gap) == pytest.approx(max(0.0, abs(gap) - FREE), abs=1e-9)


def test_several_backups_add_up() -> None:
    outlook = track().forecast(100)
    assert outlook is not None
    far = Reading(value=outlook.value + 10 * outlook.deviation)
    tracks = {name: track() for name in "abc"}
    assert backup_penalty(tracks, {"a": far, "b": far}, 100) == pytest.approx(2 * penalty_at(10))


@pytest.mark.parametrize(
    "readings",
    [
        {},
        {"other": Reading(value=1e9)},
        {"grad": Reading(fault=Reason.MISSING)},
        {"grad": Reading(value=math.nan, fault=Reason.NOT_FINITE)},
    ],
)
def test_a_backup_that_was_not_read_costs_nothing(readings: dict[str, Reading]) -> None:
    assert backup_penalty({"grad": track()}, readings, 100) == 0.0


def test_a_backup_without_a_forecast_costs_nothing() -> None:
    assert backup_penalty({"grad": track(3)}, {"grad": Reading(value=1e9)}, 100) == 0.0


def test_a_constant_backup_that_moves_costs_much_and_stays_a_number() -> None:
    made = Track()
    for i in range(5):
        made = made.add(i + 1, 0.0)
    cost = backup_penalty({"grad": made}, {"grad": Reading(value=1.0)}, 10)
    assert cost > 100
    assert math.isfinite(cost)
    assert backup_penalty({"grad": made}, {"grad": Reading(value=0.0)}, 10) == 0.0


# When a lower rate is not trusted


@QUICK
@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_training_is_late_after_its_first_twentieth(step: int, total: int) -> None:
    assert is_late(step, total) == (step / total > START)


@pytest.mark.parametrize("step", [0, 1, 10**9])
def test_an_unknown_total_counts_as_late(step: int) -> None:
    assert is_late(step, None)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ((Change("opt.lr", 1.0, 0.5),), True),
        ((Change("opt.lr", 1.0, 2.0),), False),
        ((Change("opt.lr", 1.0, 1.0),), False),
        ((Change("loss.aux", 1.0, 0.5),), False),
        ((Change("loss.kind", "mse", "mae"),), False),
        ((Change("opt.lr", 1.0, 2.0), Change("gen.lr", 1.0, 0.9)), True),
        ((Change("loss.kind", "mse", "mae"), Change("opt.lr", 1.0, 0.9)), True),
        ((), False),
    ],
)
def test_a_change_lowers_if_one_of_the_rates_falls(
    changes: tuple[Change, ...], expected: bool
) -> None:
    assert lowers(changes, ("opt.lr", "gen.lr")) == expected
    assert not lowers(changes, ())


def test_the_reach_is_the_forecasts_deviation_as_a_median_absolute_deviation() -> None:
    assert mad_reach(OUTLOOK) == OUTLOOK.deviation / NORMAL
