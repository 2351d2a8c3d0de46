"""What earlier runs say of the learning rate."""

import math

from hypothesis import given
from hypothesis import strategies as st

from gptune.online.experience import REACH, best_rate
from gptune.recipe.prior import PastRate

PASTS = st.lists(
    st.tuples(st.floats(-4, 0), st.floats(-0.5, 0.5), st.floats(-2, 2)), min_size=1, max_size=8
)


def past(rate: float, value: float, aim: float | None = None) -> PastRate:
    return PastRate(rate=10**rate, aim=10 ** (rate if aim is None else aim), value=value, start=-5)


def test_without_experience_nothing_is_known() -> None:
    assert best_rate([]) is None
    assert best_rate([PastRate(rate=0.1, aim=0.1, value=math.nan, start=0.0)]) is None


def test_one_run_is_taken_for_right() -> None:
    known = best_rate([past(-2.0, -1.0)])
    assert known is not None
    assert abs(math.log10(known) + 2.0) < 0.05


@given(PASTS)
def test_it_stays_near_to_what_the_runs_aimed_at(found: list[tuple[float, float, float]]) -> None:
    known = best_rate([past(aim + off, value, aim) for aim, off, value in found])
    aims = [aim for aim, _, _ in found]
    assert known is not None
    assert min(aims) - REACH - 1e-9 <= math.log10(known) <= max(aims) + REACH + 1e-9


@given(PASTS, st.floats(1e-2, 1e2), st.floats(-100, 100))
def test_adding_a_constant_or_scaling_the_metric_changes_nothing(
    found: list[tuple[float, float, float]], scale: float, shift: float
) -> None:
    runs = [past(aim + off, round(value, 3), aim) for aim, off, value in found]
    other = [
        PastRate(
            rate=one.rate,
            aim=one.aim,
            value=scale * one.value + shift,
            start=scale * one.start + shift,
        )
        for one in runs
    ]
    one, two = best_rate(runs), best_rate(other)
    assert one is not None
    assert two is not None
    assert abs(math.log10(one) - math.log10(two)) < 0.02  # of a grid of 0.01


def test_outcomes_pull_it_away_from_the_aim() -> None:
    runs = [past(-2.3, -1.0, -2.0), past(-2.0, -2.0, -2.0), past(-1.8, -3.0, -2.0)]
    runs += [past(-2.25, -1.1, -2.0), past(-1.9, -2.6, -2.0)]
    known = best_rate(runs)
    assert known is not None
    assert math.log10(known) < -2.05
