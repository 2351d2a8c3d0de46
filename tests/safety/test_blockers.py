"""What forbids a change is found, whatever is proposed and whatever was reported."""

import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gptune.configs import Knob, Mutation, Safety
from gptune.records import Categorical, Float, Integer, Reading, Reason, Scalar
from gptune.safety.blockers import metric_faults, move_faults, standing_faults
from tests.strategies import any_float, anything, categoricals, names, numeric_knobs, safeties

FAULTS = [
    Reason.NOT_FINITE,
    Reason.MISSING,
    Reason.NOT_A_NUMBER,
    Reason.METRIC_RAISED,
]
readings = st.builds(Reading, value=any_float, fault=st.none() | st.sampled_from(FAULTS))
backups = st.dictionaries(names, readings, max_size=3)
MULT = Knob(
    family="opt.lr",
    mutation=Mutation(bounds=(0.1, 10.0), max_step=2.0),
    space=Float(0.1, 10.0, log=True),
    base=1e-3,
    is_rate=True,
)
WHOLE = Knob(family="m.n", mutation=Mutation(mode="set", max_step=2.0), space=Integer(0, 9), base=4)


@given(safeties(), readings, backups, st.booleans())
@settings(deadline=None)
def test_an_objective_with_a_fault_always_blocks(
    config: Safety, objective: Reading, others: dict[str, Reading], anomaly: bool
) -> None:
    faults = metric_faults(config, objective, others, anomaly=anomaly)
    if objective.fault is not None:
        assert faults[0] is objective.fault
    else:
        assert not set(faults) - {Reason.BACKUP_NOT_FINITE, Reason.ANOMALY}


@given(safeties(), readings, backups, st.booleans())
@settings(deadline=None)
def test_backups_and_anomalies_block_exactly_when_the_recipe_says_so(
    config: Safety, objective: Reading, others: dict[str, Reading], anomaly: bool
) -> None:
    faults = metric_faults(config, objective, others, anomaly=anomaly)
    unsound = any(r.fault not in (None, Reason.MISSING) for r in others.values())
    assert (Reason.BACKUP_NOT_FINITE in faults) == (config.block_on_nan and unsound)
    assert (Reason.ANOMALY in faults) == (config.block_on_anomaly and anomaly)
    assert len(set(faults)) == len(faults)


def test_a_backup_that_was_not_reported_is_no_fault() -> None:
    missing = Reading(fault=Reason.MISSING)
    assert metric_faults(Safety(), Reading(value=1.0), {"grad": missing}, anomaly=False) == ()


@st.composite
def knobs_and_olds(draw: st.DrawFn) -> tuple[Knob, int | float]:
    knob = draw(numeric_knobs())
    assert not isinstance(knob.space, Categorical)
    if isinstance(knob.space, Integer):
        return knob, draw(st.integers(knob.space.low, knob.space.high))
    return knob, draw(st.floats(knob.space.low, knob.space.high))


@given(knobs_and_olds(), anything | st.floats(-100, 100))
@example((MULT, 1.0), 10**400)
@example((MULT, 1.0), -(10**400))
@example((WHOLE, 4), 10**400)
@settings(deadline=None, max_examples=400)
def test_only_a_finite_number_within_bounds_and_one_step_passes(
    drawn: tuple[Knob, int | float], new: Any
) -> None:
    knob, old = drawn
    assert not isinstance(knob.space, Categorical)
    if not move_faults(knob, old, new):
        assert type(new) in (int, float)
        assert math.isfinite(new)
        assert knob.space.low <= new <= knob.space.high
        low, high = knob.limits(float(old))
        assert low <= new <= high
        assert new != old
        assert type(new) is int or isinstance(knob.space, Float)


@given(knobs_and_olds(), st.data())
@settings(deadline=None)
def test_every_other_move_within_the_limits_passes(
    drawn: tuple[Knob, int | float], data: st.DataObject
) -> None:
    knob, old = drawn
    low, high = knob.limits(float(old))
    if isinstance(knob.space, Integer):
        new: int | float = data.draw(st.integers(math.ceil(low), math.floor(high)))
    else:
        new = data.draw(st.floats(low, high))
    assert move_faults(knob, old, new) == ((Reason.NO_CHANGE,) if new == old else ())


@given(knobs_and_olds(), any_float)
@settings(deadline=None)
def test_a_move_out_of_bounds_is_refused_for_that(
    drawn: tuple[Knob, int | float], new: float
) -> None:
    knob, old = drawn
    assert not isinstance(knob.space, Categorical)
    faults = move_faults(knob, old, new)
    if isinstance(knob.space, Integer) or not math.isfinite(new):
        assert faults == (Reason.BAD_VALUE,)
    elif not knob.space.low <= new <= knob.space.high:
        assert faults == (Reason.BOUNDS,)


@pytest.mark.parametrize("knob", [MULT, WHOLE])
@pytest.mark.parametrize(
    "new",
    [math.nan, math.inf, -math.inf, True, False, "1", "", None, [1.0], (1.0,), {}, 1j, b"1"],
)
def test_what_is_no_finite_number_is_a_bad_value(knob: Knob, new: Any) -> None:
    assert move_faults(knob, 1, new) == (Reason.BAD_VALUE,)


@pytest.mark.parametrize(
    ("knob", "old", "new", "reason"),
    [
        (MULT, 1.0, 11.0, Reason.BOUNDS),
        (MULT, 1.0, 0.05, Reason.BOUNDS),
        (MULT, 1.0, 0.0, Reason.BOUNDS),
        (MULT, 1.0, -1.0, Reason.BOUNDS),
        (MULT, 1.0, 2.001, Reason.STEP),
        (MULT, 1.0, 0.499, Reason.STEP),
        (MULT, 1.0, 1.0, Reason.NO_CHANGE),
        (MULT, 1.0, 1, Reason.NO_CHANGE),
        (WHOLE, 4, 10, Reason.BOUNDS),
        (WHOLE, 4, 7, Reason.STEP),
        (WHOLE, 4, 4, Reason.NO_CHANGE),
        (WHOLE, 4, 5.0, Reason.BAD_VALUE),
    ],
)
def test_each_fault_has_its_reason(knob: Knob, old: Any, new: Any, reason: Reason) -> None:
    assert move_faults(knob, old, new) == (reason,)


@pytest.mark.parametrize(("old", "new"), [(1.0, 2.0), (1.0, 0.5), (8.0, 10.0), (0.15, 0.1)])
def test_a_full_step_to_the_very_limit_passes(old: float, new: float) -> None:
    assert move_faults(MULT, old, new) == ()


@given(categoricals(), anything, st.data())
@settings(deadline=None)
def test_a_choice_goes_to_its_own_values_only(
    space: Categorical, new: Any, data: st.DataObject
) -> None:
    knob = Knob(family="a.b", mutation=Mutation(mode="set"), space=space, base=space.choices[0])
    old = data.draw(st.sampled_from(space.choices))
    faults = move_faults(knob, old, new)
    known = any(type(c) is type(new) and c == new for c in space.choices)
    assert known == (Reason.BAD_VALUE not in faults)
    other = data.draw(st.sampled_from([c for c in space.choices if c is not old]))
    if other != old:
        assert move_faults(knob, old, other) == ()


def test_choices_that_compare_equal_are_different_moves() -> None:
    space = Categorical((1, True, "1"))
    knob = Knob(family="a.b", mutation=Mutation(mode="set"), space=space, base=1)
    moves: list[Scalar] = [True, "1"]
    for new in moves:
        assert move_faults(knob, 1, new) == ()


@given(
    st.sampled_from(["low", "medium", "high"]),
    st.none() | st.lists(st.sampled_from(["early", "mid", "late"])).map(tuple),
    st.sampled_from(["early", "mid", "late"]),
)
@settings(deadline=None)
def test_high_risk_and_other_phases_stand_in_the_way(
    risk: Any, phases: tuple[str, ...] | None, phase: str
) -> None:
    knob = Knob(
        family="a.b",
        mutation=Mutation(risk=risk, phases=phases),
        space=Float(0.1, 10.0),
        base=1.0,
    )
    faults = standing_faults(knob, phase)
    assert (Reason.RISK in faults) == (risk == "high")
    assert (Reason.PHASE in faults) == (phases is not None and phase not in phases)
    assert not set(faults) - {Reason.RISK, Reason.PHASE}
