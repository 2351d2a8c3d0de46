"""Several actuators as one: all or nothing, whatever its parts do."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptune.actuators import Actuator, Together, TupleActuator, parts_of, value_actuators
from gptune.errors import ActuatorError
from gptune.records import Tuple
from tests.doubles import BrokenError, FakeKnob

NAMES = ("a.low", "b.middle", "c.high")


def together(*values: float, fails: int | None = None, at: str = "apply") -> Together[FakeKnob]:
    """Set up to three fake knobs as one; one of them may fail."""
    parts = [FakeKnob(name, value) for name, value in zip(NAMES, values, strict=False)]
    if fails is not None:
        parts[fails].fails.add(at)
    return Together("clip.range", parts)


def values_of(knob: Together[FakeKnob]) -> list[float]:
    return [part.value for part in knob.parts()]


def test_it_is_an_actuator_of_a_tuple_and_gives_its_parts() -> None:
    knob = together(1.0, 2.0, 3.0)
    assert isinstance(knob, TupleActuator)
    assert knob.name == "clip.range"
    assert [part.name for part in knob.parts()] == list(NAMES)
    assert knob.describe_space() == Tuple({p.name: p.describe_space() for p in knob.parts()})
    assert list(knob.describe_space().parts) == list(NAMES), "in the order of the values"
    assert knob.read() == (1.0, 2.0, 3.0)


@pytest.mark.parametrize("names", [[], ["a"], ["a", "a"], ["a", "b", "a"]])
def test_fewer_than_two_parts_or_two_of_one_name_are_refused(names: list[str]) -> None:
    with pytest.raises(ActuatorError, match=r"clip\.range: needs two or more"):
        Together("clip.range", [FakeKnob(name) for name in names])


@given(st.lists(st.floats(0.01, 100.0), min_size=2, max_size=3))
def test_what_is_applied_is_read_back(values: list[float]) -> None:
    knob = together(*[1.0] * len(values))
    assert knob.validate(tuple(values)) is None
    knob.apply(tuple(values))
    assert knob.read() == tuple(values)
    assert values_of(knob) == values


@pytest.mark.parametrize(
    "value",
    [(), (1.0,), (1.0, 2.0, 3.0), [1.0], "ab", b"ab", 1.0, None, {1.0, 2.0}, {0: 1.0, 1: 2.0}],
)
def test_what_is_no_tuple_of_its_length_is_refused_by_name_and_changes_nothing(value: Any) -> None:
    knob = together(1.0, 2.0)
    complaint = knob.validate(value)
    assert complaint is not None
    assert complaint.startswith("clip.range: must be a tuple of 2 values")
    with pytest.raises(ActuatorError, match=r"clip\.range"):
        knob.apply(value)
    assert values_of(knob) == [1.0, 2.0]
    assert all("apply" not in dict(part.calls) for part in knob.parts())


def test_the_complaint_of_a_part_is_that_of_the_whole() -> None:
    weights = {"low": 1.0, "high": 2.0}
    knob = Together("clip.range", value_actuators(weights, name="clip"))
    complaint = knob.validate((0.5, math.nan))
    assert complaint is not None
    assert "clip.high" in complaint
    with pytest.raises(ActuatorError, match=r"clip\.high"):
        knob.apply((0.5, math.nan))
    assert weights == {"low": 1.0, "high": 2.0}
    knob.apply([0.5, 4.0])
    assert weights == {"low": 0.5, "high": 4.0}


@given(
    st.lists(st.floats(allow_nan=False), min_size=3, max_size=3),
    st.lists(st.floats(allow_nan=False), min_size=3, max_size=3),
    st.integers(0, 2),
)
def test_when_a_part_fails_half_way_all_are_put_back_and_its_exception_passes(
    before: list[float], wanted: list[float], broken: int
) -> None:
    knob = together(*before, fails=broken)
    with pytest.raises(BrokenError, match=NAMES[broken]):
        knob.apply(wanted)
    assert [value.hex() for value in values_of(knob)] == [value.hex() for value in before]
    pairs = zip(knob.parts(), wanted, strict=True)
    reached = [("apply", value) in part.calls for part, value in pairs]
    assert reached == [number <= broken for number in range(3)]


def test_a_part_whose_snapshot_fails_leaves_all_as_they_were() -> None:
    knob = together(1.0, 2.0, 3.0, fails=2, at="snapshot")
    with pytest.raises(BrokenError):
        knob.apply((4.0, 5.0, 6.0))
    assert values_of(knob) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("broken", range(3))
def test_restoring_goes_on_when_one_part_fails_and_its_exception_passes(broken: int) -> None:
    knob = together(1.0, 2.0, 3.0)
    before = knob.snapshot()
    knob.apply((4.0, 5.0, 6.0))
    knob.parts()[broken].fails.add("restore")
    with pytest.raises(BrokenError, match=NAMES[broken]):
        knob.restore(before)
    expected = [1.0, 2.0, 3.0]
    expected[broken] += 3.0
    assert values_of(knob) == expected


def test_restoring_begins_with_the_last() -> None:
    order: list[str] = []

    class Noted(FakeKnob):
        def restore(self, snapshot: object) -> None:
            order.append(self.name)
            super().restore(snapshot)

    knob = Together("clip.range", [Noted(name) for name in NAMES])
    knob.restore(knob.snapshot())
    assert order == list(reversed(NAMES))


@given(
    st.lists(st.floats(allow_nan=False), min_size=2, max_size=3),
    st.lists(
        st.tuples(st.lists(st.floats(allow_nan=False), min_size=0, max_size=4), st.booleans()),
        max_size=12,
    ),
)
def test_any_history_is_undone_by_the_first_snapshot(
    before: list[float], history: Sequence[tuple[list[float], bool]]
) -> None:
    knob = together(*before)
    first = knob.snapshot()
    for values, breaks in history:
        knob.parts()[-1].fails = {"apply"} if breaks else set()
        standing = values_of(knob)
        if len(values) == len(before) and not breaks:
            knob.apply(tuple(values))
            assert values_of(knob) == values
        else:
            with pytest.raises((ActuatorError, BrokenError)):
                knob.apply(tuple(values))
            assert values_of(knob) == standing
    knob.restore(first)
    assert [value.hex() for value in values_of(knob)] == [value.hex() for value in before]


def test_a_list_of_actuators_is_taken_apart_in_order() -> None:
    alone, last = FakeKnob("x.alone"), FakeKnob("y.last")
    knob = together(1.0, 2.0)
    listed: list[Actuator | TupleActuator] = [alone, knob, last]
    assert parts_of(listed) == [alone, *knob.parts(), last]
    assert parts_of([]) == []
