"""A knob's next move lies inside its bounds and at most one step away; no change is no change."""

import math
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from gptune.configs import Group, Knob, Mutation, make_knob, neutral, typed
from gptune.configs.knobs import EXACT
from gptune.errors import GptuneError, RecipeError
from gptune.records import Categorical, Float, Integer, Parameter, Scalar
from tests.strategies import (
    any_float,
    categoricals,
    floats_in,
    integers_in,
    mutations,
    numeric_knobs,
    scalars,
)

WIDE = Float(-1e9, 1e9)


@st.composite
def knobs_and_moves(draw: st.DrawFn) -> tuple[Knob, float]:
    knob = draw(numeric_knobs())
    assert not isinstance(knob.space, Categorical)
    if isinstance(knob.space, Integer):
        return knob, draw(st.integers(knob.space.low, knob.space.high))
    return knob, draw(st.floats(knob.space.low, knob.space.high))


@given(knobs_and_moves())
@settings(deadline=None, max_examples=200)
def test_limits_lie_inside_the_bounds_and_contain_the_move(drawn: tuple[Knob, float]) -> None:
    knob, move = drawn
    assert not isinstance(knob.space, Categorical)
    low, high = knob.limits(move)
    assert knob.space.low <= low <= move <= high <= knob.space.high


@given(knobs_and_moves())
@settings(deadline=None, max_examples=200)
def test_no_limit_is_further_than_one_step(drawn: tuple[Knob, float]) -> None:
    knob, move = drawn
    assert not isinstance(knob.space, Categorical)
    low, high = knob.limits(move)
    step, width = knob.mutation.max_step, knob.space.high - knob.space.low
    if knob.mutation.mode == "mult":
        ratio = 2.0 if step is None else step
        assert high / move <= ratio * (1 + 1e-12)
        assert move / low <= ratio * (1 + 1e-12)
    else:
        least = 1.0 if isinstance(knob.space, Integer) else 0.0
        reach = max(width / 4, least) if step is None else step
        assert high - move <= reach * (1 + 1e-12) + 1e-9
        assert move - low <= reach * (1 + 1e-12) + 1e-9


@given(knobs_and_moves())
@settings(deadline=None)
def test_a_step_is_as_wide_as_the_bounds_allow(drawn: tuple[Knob, float]) -> None:
    knob, move = drawn
    assert not isinstance(knob.space, Categorical)
    if knob.mutation.mode == "mult" and knob.mutation.max_step is not None:
        low, high = knob.limits(move)
        assert high == min(knob.space.high, move * knob.mutation.max_step)
        assert low == max(knob.space.low, move / knob.mutation.max_step)


@given(mutations(), st.floats(1e-6, 1e6))
@settings(deadline=None, max_examples=200)
def test_the_neutral_move_gives_the_base_bit_for_bit(mutation: Mutation, base: float) -> None:
    if mutation.mode == "set" and mutation.bounds is not None:
        assume(mutation.bounds[0] <= base <= mutation.bounds[1])
    knob = make_knob("opt.lr", mutation, Float(1e-7, 1e7), base)
    assert knob.native(neutral(mutation, base)) == base


@given(mutations(), st.floats(1e-3, 1e3), st.data())
@settings(deadline=None, max_examples=200)
def test_every_move_of_the_space_gives_a_value_that_the_recipe_allows(
    mutation: Mutation, base: float, data: st.DataObject
) -> None:
    own = Float(1e-3, 1e3, log=data.draw(st.booleans()))
    if mutation.mode == "set" and mutation.bounds is not None:
        assume(mutation.bounds[0] <= base <= mutation.bounds[1])
    knob = make_knob("opt.lr", mutation, own, base)
    assert isinstance(knob.space, Float)
    move = data.draw(st.floats(knob.space.low, knob.space.high))
    value = knob.native(move)
    assert isinstance(value, float)
    if mutation.bounds is not None:
        assert (knob.space.low, knob.space.high) == mutation.bounds
    else:
        slack = 1e-9 * max(abs(own.low), abs(own.high), base)
        assert own.low - slack <= value <= own.high + slack
    if mutation.mode == "mult":
        assert value == base * move
    elif mutation.mode == "delta":
        assert value == base + move
    else:
        assert value == move


@given(st.sampled_from(["mult", "set", "delta"]), st.floats(1e-9, 1e3), st.floats(1e-9, 1e3))
@example("set", 0.36, 0.5)  # 0.36 * (0.5 / 0.36) is less than 0.5
@example("set", 0.7, 0.97)  # no multiplier gives exactly that
@settings(deadline=None, max_examples=300)
def test_a_knob_on_a_schedule_becomes_a_multiplier_that_hits_its_target_where_one_does(
    mode: Any, base: float, goal: float
) -> None:
    knob = make_knob("opt.lr", Mutation(mode=mode), Float(1e-9, 1e6), base, on_schedule=True)
    move = goal - base if mode == "delta" else goal
    multiplier = knob.native(move)
    assert isinstance(multiplier, float)
    if mode == "mult":
        assert multiplier == move
        return
    target = base + move if mode == "delta" else goal
    assert math.isclose(base * multiplier, target, rel_tol=1e-15)
    beside = (math.nextafter(multiplier, 0.0), math.nextafter(multiplier, math.inf))
    assert base * multiplier == target or target not in [base * other for other in beside]


@given(st.sampled_from(["mult", "set", "delta"]), st.floats(1e-9, 1e3))
@settings(deadline=None)
def test_the_neutral_move_leaves_a_schedule_as_it_is(mode: Any, base: float) -> None:
    knob = make_knob("opt.lr", Mutation(mode=mode), Float(1e-9, 1e6), base, on_schedule=True)
    assert knob.native(neutral(knob.mutation, base)) == 1.0


@given(floats_in() | integers_in() | categoricals(), scalars | st.integers())
@settings(deadline=None, max_examples=200)
def test_text_that_means_a_whole_number_is_a_real_one_only_where_nothing_is_lost(
    space: Parameter, move: Scalar
) -> None:
    read = typed(space, move)
    if type(move) is int and isinstance(space, Float) and abs(move) < EXACT:
        assert type(read) is float
        assert read == move
    else:
        assert read is move


@pytest.mark.parametrize("whole", [EXACT, -EXACT, EXACT + 1, 10**400])
def test_a_whole_number_that_no_real_one_equals_stays_as_it_is(whole: int) -> None:
    assert typed(WIDE, whole) is whole


@given(floats_in(), st.data())
@settings(deadline=None)
def test_a_multiplier_is_searched_on_a_log_scale(own: Float, data: st.DataObject) -> None:
    bounds = (data.draw(st.floats(1e-3, 1.0)), data.draw(st.floats(1.001, 1e3)))
    base = data.draw(st.floats(own.low, own.high).filter(bool))
    knob = make_knob("opt.lr", Mutation(bounds=bounds), own, base)
    assert knob.space == Float(*bounds, log=True)
    set_ = Mutation(mode="set")
    assert make_knob("a.b", set_, own, own.low).space == own
    with pytest.raises(RecipeError, match="is 0: a multiplier cannot move it"):
        make_knob("opt.lr", Mutation(bounds=bounds), own, 0.0)


@given(st.floats(-9.5, 0.0), st.floats(1.0, 9.5), st.integers(0, 1), st.data())
@settings(deadline=None)
def test_whole_numbers_never_leave_the_bounds_of_the_recipe(
    low: float, high: float, base: int, data: st.DataObject
) -> None:
    mutation = Mutation(mode="set", bounds=(low, high))
    knob = make_knob("a.b", mutation, Integer(-20, 20), base)
    assert isinstance(knob.space, Integer)
    value = knob.native(data.draw(st.integers(knob.space.low, knob.space.high)))
    assert isinstance(value, int)
    assert low <= value <= high


@given(categoricals(), st.data())
@settings(deadline=None)
def test_a_choice_is_its_own_move(own: Categorical, data: st.DataObject) -> None:
    base = data.draw(st.sampled_from(own.choices))
    knob = make_knob("a.b", Mutation(mode="set"), own, base)
    assert knob.space is own
    assert knob.native(neutral(knob.mutation, base)) is base
    choice = data.draw(st.sampled_from(own.choices))
    assert knob.native(choice) is choice


@pytest.mark.parametrize(
    ("mutation", "space", "base", "rule"),
    [
        (Mutation(mode="mult"), Categorical(("a", "b")), "a", "is a choice: needs mode set"),
        (Mutation(mode="set", bounds=(0, 1)), Categorical((0, 1)), 0, "no bounds"),
        (Mutation(mode="mult"), Integer(1, 9), 3, "whole numbers need mode set"),
        (Mutation(mode="delta"), Integer(1, 9), 3, "whole numbers need mode set"),
        (Mutation(mode="set", bounds=(2.0, 3.0)), WIDE, 1.0, "must contain the value in force"),
        (Mutation(mode="set"), Float(2.0, 3.0), 1.0, "must contain the value in force"),
        (Mutation(mode="mult"), Float(2.0, 3.0), 1.0, "must contain the value in force"),
        (Mutation(mode="delta"), Float(2.0, 3.0), 1.0, "must contain the value in force"),
        (Mutation(mode="mult"), Float(0.0, 3.0), 1.0, "a multiplier cannot move it.*use mode set"),
        (Mutation(mode="mult"), Float(1.0, 3.0), 0.0, "a multiplier cannot move it.*use mode set"),
        (Mutation(mode="set", bounds=(4, 9)), Integer(1, 9), 3, "must contain the value in force"),
    ],
)
def test_a_knob_that_does_not_fit_its_recipe_is_refused_by_name(
    mutation: Mutation, space: Any, base: Any, rule: str
) -> None:
    with pytest.raises(RecipeError, match=rf"^loss\.aux.*{rule}"):
        make_knob("loss.aux", mutation, space, base)


def test_a_negative_base_can_be_multiplied_over_its_own_range() -> None:
    knob = make_knob("a.b", Mutation(), Float(-4.0, -1.0), -2.0)
    assert knob.space == Float(0.5, 2.0, log=True)


@pytest.mark.parametrize(
    ("family", "is_rate"),
    [
        ("opt.lr", True),
        ("opt2.lr", True),
        ("opt.lr[0]", True),
        ("opt.lr[12]", True),
        ("opt.betas", False),
        ("opt.lrs", False),
        ("lr.decay", False),
        ("loss.lr_scale", False),
    ],
)
def test_a_learning_rate_is_known_by_its_name(family: str, is_rate: bool) -> None:
    assert make_knob(family, Mutation(), Float(0.1, 10.0), 1.0).is_rate is is_rate


@given(st.sampled_from(["mult", "set", "delta"]), any_float | st.floats(-2, 2))
@settings(deadline=None)
def test_a_largest_step_is_finite_and_moves_something(mode: Any, step: float) -> None:
    least = 1.0 if mode == "mult" else 0.0
    if math.isfinite(step) and step > least:
        assert Mutation(mode=mode, max_step=step).max_step == step
    else:
        with pytest.raises(RecipeError, match=r"^max_step: "):
            Mutation(mode=mode, max_step=step)


@given(st.sampled_from(["mult", "set", "delta"]), any_float, any_float)
@settings(deadline=None, max_examples=200)
def test_bounds_are_finite_ordered_and_contain_no_change(
    mode: Any, low: float, high: float
) -> None:
    start = {"mult": 1.0, "delta": 0.0}.get(mode)
    sound = math.isfinite(low) and math.isfinite(high) and low < high
    sound = sound and (mode != "mult" or low > 0) and (start is None or low <= start <= high)
    if sound:
        assert Mutation(mode=mode, bounds=(low, high)).bounds == (low, high)
    else:
        with pytest.raises(RecipeError, match=r"^bounds: "):
            Mutation(mode=mode, bounds=(low, high))


@given(any_float)
@settings(deadline=None)
def test_a_center_by_phase_lies_inside_the_bounds_in_each(center: float) -> None:
    phases = {"early": 1.0, "late": center}
    if 0.5 <= center <= 2.0:
        made = Mutation(bounds=(0.5, 2.0), prior_center=phases)
        assert [made.center_in(phase) for phase in ("early", "mid", "late")] == [1.0, None, center]
    else:
        with pytest.raises(RecipeError, match=r"^prior_center\.late: "):
            Mutation(bounds=(0.5, 2.0), prior_center=phases)


def test_one_center_holds_in_every_phase_and_none_in_none() -> None:
    assert Mutation(prior_center=1.5).center_in("early") == 1.5
    assert Mutation().center_in("early") is None
    assert Mutation(prior_center={}).center_in("early") is None


@given(any_float)
def test_a_center_lies_inside_the_bounds(center: float) -> None:
    if 0.5 <= center <= 2.0:
        assert Mutation(bounds=(0.5, 2.0), prior_center=center).prior_center == center
    else:
        with pytest.raises(RecipeError, match=r"^prior_center: "):
            Mutation(bounds=(0.5, 2.0), prior_center=center)


def test_a_group_names_a_knob_once() -> None:
    with pytest.raises(RecipeError, match=r"^keys: .*'lr'"):
        Group(mutations={"lr": Mutation()}, keys={"lr": Mutation()})


@given(floats_in(), mutations(), any_float)
@settings(deadline=None, max_examples=200)
def test_whatever_is_attached_makes_a_knob_or_a_gptune_error(
    own: Float, mutation: Mutation, base: float
) -> None:
    try:
        knob = make_knob("a.b", mutation, own, base)
    except GptuneError:
        return
    start = neutral(mutation, base)
    assert isinstance(knob.space, Float)
    assert isinstance(start, float)
    assert knob.space.low <= start <= knob.space.high
