"""Entries of a mapping and attributes of an object as knobs."""

import math
from collections import OrderedDict, UserDict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptune.actuators import value_actuators
from gptune.actuators.values import REACH, ValueKnob
from gptune.errors import ActuatorError, GptuneError
from gptune.records import Categorical, Float, Integer, Parameter, Scalar

SPACE = Float(0.1, 10.0)
QUICK = settings(deadline=None, max_examples=80)
scalars = st.one_of(
    st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just(10**400)
)


class Loss:
    def __init__(self) -> None:
        self.aux = 1.0
        self.layers = 3
        self.kind = "mse"


class Slotted:
    __slots__ = ("aux",)

    def __init__(self) -> None:
        self.aux = 1.0


class Watched:
    """A getter and a setter behind one attribute."""

    def __init__(self) -> None:
        self.written: list[float] = []

    @property
    def aux(self) -> float:
        return self.written[-1] if self.written else 1.0

    @aux.setter
    def aux(self, value: float) -> None:
        self.written.append(value)


def targets() -> list[Any]:
    class Odd(float):
        pass

    return [
        {"aux": 1.0},
        OrderedDict(aux=1.0),
        UserDict({"aux": 1.0}),
        Loss(),
        Slotted(),
        Watched(),
        {"aux": Odd(1.0)},
    ]


@pytest.mark.parametrize("target", targets(), ids=lambda target: type(target).__name__)
def test_a_change_is_seen_in_the_target_and_undone_to_the_very_object(target: Any) -> None:
    (knob,) = value_actuators(target, {"aux": SPACE})
    assert knob.name == "loss.aux"
    assert knob.describe_space() == SPACE
    before = knob.snapshot()
    assert knob.read() is before
    knob.apply(2.5)
    assert knob.read() == 2.5
    seen = target["aux"] if hasattr(target, "__getitem__") else target.aux
    assert seen == 2.5
    knob.restore(before)
    assert knob.snapshot() is before or knob.read() == before
    assert type(knob.read()) is type(before)


@QUICK
@given(st.lists(st.floats(0.1, 10.0), max_size=8))
def test_any_history_of_changes_is_undone_by_the_first_snapshot(values: list[float]) -> None:
    start = 1.0 / 3
    target = {"aux": start, "other": 7.0}
    (knob,) = value_actuators(target, {"aux": SPACE})
    before = knob.snapshot()
    for value in values:
        knob.apply(value)
        assert knob.read() == value
    knob.restore(before)
    assert target["aux"] is start
    assert target == {"aux": start, "other": 7.0}


def test_the_target_itself_is_kept_so_that_user_code_sees_the_change() -> None:
    weights = {"aux": 0.5, "kl": 0.1}
    aux, kl = value_actuators(weights)
    alias = weights
    aux.apply(0.7)
    assert alias == {"aux": 0.7, "kl": 0.1}
    weights["kl"] = 0.2
    assert kl.read() == 0.2


@QUICK
@given(scalars)
def test_validate_accepts_exactly_the_numbers_in_the_range_and_never_raises(value: Scalar) -> None:
    (knob,) = value_actuators({"aux": 1.0}, {"aux": SPACE})
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    fine = plain and 0.1 <= value <= 10.0  # type: ignore[operator]
    assert (knob.validate(value) is None) == fine


@QUICK
@given(scalars)
def test_validate_of_a_whole_number_accepts_exactly_ints_in_the_range(value: Scalar) -> None:
    (knob,) = value_actuators(Loss(), {"layers": Integer(1, 8)})
    fine = type(value) is int and 1 <= value <= 8
    assert (knob.validate(value) is None) == fine


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, 0.0, 10.1, -1.0, True, "1", None, [1.0], 1j]
)
def test_a_refused_value_changes_nothing_and_says_which_knob(value: Any) -> None:
    target = {"aux": 1.0}
    (knob,) = value_actuators(target, {"aux": SPACE})
    complaint = knob.validate(value)
    assert complaint is not None
    assert complaint.startswith("loss.aux")
    with pytest.raises(ActuatorError, match=r"loss\.aux"):
        knob.apply(value)
    assert target == {"aux": 1.0}


def test_both_ends_of_the_range_are_allowed() -> None:
    (knob,) = value_actuators({"aux": 1.0}, {"aux": SPACE})
    assert knob.validate(0.1) is knob.validate(10.0) is None


@pytest.mark.parametrize(
    ("choices", "value", "fine"),
    [
        (("mse", "mae"), "mae", True),
        (("mse", "mae"), "huber", False),
        ((1, 2), 2, True),
        ((1, 2), 2.0, False),
        ((1, 2), True, False),
        ((True, False), True, True),
        ((True, False), 1, False),
    ],
)
def test_a_choice_must_be_one_of_the_choices_in_value_and_type(
    choices: tuple[Scalar, ...], value: Scalar, fine: bool
) -> None:
    (knob,) = value_actuators({"kind": choices[0]}, {"kind": Categorical(choices)})
    assert (knob.validate(value) is None) == fine
    if fine:
        knob.apply(value)
        assert knob.read() is value


def test_restoring_is_exempt_from_all_limits() -> None:
    target = {"aux": 1.0}
    (knob,) = value_actuators(target, {"aux": SPACE})
    knob.restore(50.0)
    assert target["aux"] == 50.0


@QUICK
@given(st.floats(1e-300, 1e300))
def test_a_positive_number_has_a_range_of_its_own_around_it(value: float) -> None:
    (knob,) = value_actuators({"aux": value})
    assert knob.describe_space() == Float(value / REACH, value * REACH, log=True)
    assert knob.validate(value) is None


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, 3, True, "x", None])
def test_what_has_no_range_of_its_own_needs_one_and_the_message_shows_how(value: Any) -> None:
    with pytest.raises(ActuatorError, match=r"loss\.aux.*spaces=\{'aux': gptune\.Float"):
        value_actuators({"aux": value})


def test_an_object_needs_spaces() -> None:
    with pytest.raises(ActuatorError, match=r"loss: spaces must name the attributes of Loss"):
        value_actuators(Loss())


@pytest.mark.parametrize("target", [{"aux": 1.0}, Loss()])
def test_an_entry_that_is_not_there_is_refused_by_name(target: Any) -> None:
    with pytest.raises(ActuatorError, match=r"weights\.auxx: there is no 'auxx'"):
        value_actuators(target, {"auxx": SPACE}, name="weights")


@pytest.mark.parametrize(
    ("value", "space"),
    [
        (20.0, SPACE),
        ("x", SPACE),
        (True, SPACE),
        (None, SPACE),
        (2.5, Integer(1, 8)),
        ("huber", Categorical(("mse", "mae"))),
    ],
)
def test_a_value_in_force_outside_its_range_is_refused(value: Any, space: Parameter) -> None:
    with pytest.raises(ActuatorError, match=r"loss\.aux.*range that holds the value in force"):
        value_actuators({"aux": value}, {"aux": space})


@pytest.mark.parametrize("value", [5e-324, 1.7e308])
def test_a_number_too_extreme_for_a_range_of_its_own_is_refused_politely(value: float) -> None:
    with pytest.raises(GptuneError):
        value_actuators({"aux": value})


def test_the_name_is_the_first_part_of_the_family() -> None:
    knobs = value_actuators({"aux": 1.0, "kl": 2.0}, name="weights")
    assert [knob.name for knob in knobs] == ["weights.aux", "weights.kl"]
    assert value_actuators({}) == []
    assert all(isinstance(knob, ValueKnob) for knob in knobs)
