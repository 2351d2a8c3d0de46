"""What an actuator is: anything with these members."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gptune.actuators import (
    Actuator,
    Described,
    Life,
    LiveActuator,
    Together,
    TupleActuator,
    live_stage,
    optimizer_actuators,
    parts_of,
    value_actuators,
)
from gptune.records import Float, Scalar

MEMBERS = ["name", "describe_space", "read", "snapshot", "validate", "apply", "restore"]
LIVE = ["attach", "detach", "heal", "scheduled", "effective", "fired", "reference", "fault"]
DESCRIBED = ["unit", "risk", "owner"]


class Dial:
    """Has the seven members, and no base class."""

    name = "user.dial"

    def __init__(self) -> None:
        self.value: Scalar = 1.0

    def describe_space(self) -> Float:
        return Float(0.5, 2.0)

    def read(self) -> Scalar:
        return self.value

    def snapshot(self) -> object:
        return self.value

    def validate(self, value: Scalar) -> str | None:
        return None

    def apply(self, value: Scalar) -> None:
        self.value = value

    def restore(self, snapshot: object) -> None:
        assert isinstance(snapshot, float)
        self.value = snapshot


def without(kind: type, member: str) -> Any:
    members = {name: value for name, value in vars(kind).items() if name != member}
    members.pop("__dict__", None)
    members.pop("__weakref__", None)
    return type("Part", (), members)


def test_an_object_with_the_seven_members_is_an_actuator_without_a_base_class() -> None:
    dial: Actuator = Dial()
    assert isinstance(dial, Actuator)
    assert not isinstance(dial, LiveActuator)
    assert Dial.__mro__ == (Dial, object)


@pytest.mark.parametrize("member", MEMBERS)
def test_an_object_that_lacks_a_member_is_none(member: str) -> None:
    part = without(Dial, member)
    assert not isinstance(part(), Actuator)


@pytest.mark.parametrize("thing", [None, 1.0, "opt.lr", {}, [], object(), torch.zeros(1)])
def test_plain_things_are_no_actuators(thing: object) -> None:
    assert not isinstance(thing, Actuator)


def test_values_are_actuators_and_only_an_optimizers_knobs_are_live() -> None:
    optimizer = torch.optim.Adam(nn.Linear(1, 1).parameters())
    knobs = parts_of(optimizer_actuators(optimizer))
    assert len(knobs) == 4
    assert all(isinstance(knob, LiveActuator) for knob in knobs)
    assert all(isinstance(knob, Actuator) for knob in knobs)
    (value,) = value_actuators({"aux": 0.5})
    assert isinstance(value, Actuator)
    assert not isinstance(value, LiveActuator)


@pytest.mark.parametrize("member", LIVE)
def test_a_live_actuator_needs_each_of_its_members(member: str) -> None:
    live = type("Live", (Dial,), {name: lambda self: None for name in LIVE if name != member})
    whole = type("Live", (Dial,), {name: lambda self: None for name in LIVE})
    assert isinstance(whole(), LiveActuator)
    assert not isinstance(live(), LiveActuator)


def test_a_knob_made_by_hand_keeps_the_life_cycle() -> None:
    dial = Dial()
    before = dial.snapshot()
    assert dial.validate(1.5) is None
    dial.apply(1.5)
    assert dial.read() == 1.5
    dial.restore(before)
    assert dial.read() == 1.0


def test_several_actuators_as_one_are_told_from_a_single_one_by_their_parts() -> None:
    *single, betas = optimizer_actuators(torch.optim.Adam(nn.Linear(1, 1).parameters()))
    assert isinstance(betas, TupleActuator)
    assert isinstance(betas, Together)
    assert not isinstance(betas, LiveActuator)
    assert not any(isinstance(knob, TupleActuator) for knob in (*single, *betas.parts(), Dial()))


@pytest.mark.parametrize("member", [*MEMBERS, "parts"])
def test_a_tuple_actuator_needs_each_of_its_members(member: str) -> None:
    whole = type("Pair", (), {**vars(without(Dial, "x")), "parts": lambda self: ()})
    assert isinstance(whole(), TupleActuator)
    assert not isinstance(without(whole, member)(), TupleActuator)


def test_an_optimizers_knobs_say_more_of_themselves_and_an_actuator_need_not() -> None:
    for knob in parts_of(optimizer_actuators(torch.optim.AdamW(nn.Linear(1, 1).parameters()))):
        assert isinstance(knob, Described)
        assert knob.unit
        assert knob.risk in ("low", "medium", "high")
        assert knob.owner is None
    assert not isinstance(Dial(), Described)


@pytest.mark.parametrize("member", DESCRIBED)
def test_a_description_needs_each_of_its_members(member: str) -> None:
    words = dict.fromkeys(DESCRIBED, "")
    whole = type("Told", (Dial,), words)
    part = type("Told", (Dial,), {name: word for name, word in words.items() if name != member})
    assert isinstance(whole(), Described)
    assert not isinstance(part(), Described)


@given(st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_where_an_actuator_stands_follows_from_what_was_seen(
    attached: bool, lost: bool, moved: bool, used: bool
) -> None:
    stage = live_stage(attached=attached, lost=lost, moved=moved, used=used)
    assert (stage is Life.INIT) == (not attached)
    assert (stage is Life.DISABLED) == (attached and lost), "it wins over all that was seen"
    assert (stage is Life.UNTOUCHED) == (attached and not lost and not moved)
    assert (stage is Life.VERIFIED) == (attached and not lost and moved and used)
    assert (stage is Life.UNVERIFIED) == (attached and not lost and moved and not used)


def test_the_stages_have_these_names_in_a_report() -> None:
    assert list(Life) == ["init", "untouched", "unverified", "verified", "disabled"]
