"""Records read themselves, refuse what cannot be, and show themselves to people."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptune.errors import SpaceError
from gptune.records import (
    Action,
    Categorical,
    Change,
    Decision,
    Evidence,
    Float,
    Integer,
    Observation,
    Parameter,
    Reading,
    Reason,
    Scalar,
    Tuple,
    check_range,
    show,
    show_change,
)
from tests.strategies import any_float, evidences, names, parameters, scalars


@given(any_float, any_float, st.booleans())
@settings(deadline=None)
def test_a_real_parameter_exists_exactly_when_its_bounds_make_sense(
    low: float, high: float, log: bool
) -> None:
    sensible = math.isfinite(low) and math.isfinite(high) and low < high and (low > 0 or not log)
    if sensible:
        made = Float(low, high, log=log)
        assert (made.low, made.high, made.log) == (low, high, log)
    else:
        with pytest.raises(SpaceError):
            Float(low, high, log=log)


@pytest.mark.parametrize(
    ("low", "high", "log", "rule"),
    [
        (2.0, 1.0, False, "low must be below high.*low=2.0.*high=1.0.*swap"),
        (1.0, 1.0, False, "hold it fixed"),
        (math.nan, 1.0, False, "low must be finite.*nan"),
        (0.0, math.inf, False, "high must be finite.*inf"),
        (0.0, 1.0, True, "low must be positive on a log scale.*log=False"),
        (-1.0, 1.0, True, "positive"),
        (True, 2.0, False, "low must be a number.*True"),
        ("1", 2.0, False, "low must be a number.*'1'"),
        (0.0, None, False, "high must be a number.*None"),
    ],
)
def test_an_impossible_range_is_refused_with_the_rule_and_what_was_given(
    low: Any, high: Any, log: bool, rule: str
) -> None:
    with pytest.raises(SpaceError, match=rule):
        check_range(low, high, log=log)
    with pytest.raises(SpaceError, match=rule):
        Float(low, high, log=log)


@pytest.mark.parametrize("kind", [Float, Integer])
@pytest.mark.parametrize("bound", [2**63, 2**64, 10**400, 10**5000], ids=range(4))
def test_a_whole_number_that_no_file_keeps_is_no_bound(kind: Any, bound: int) -> None:
    rule = r"must be at most 2\*\*63 - 1 in size, .*got a whole number of \d+ bits; .*1e20"
    with pytest.raises(SpaceError, match=f"^high {rule}"):
        kind(0, bound)
    with pytest.raises(SpaceError, match=f"^low {rule}"):
        kind(-bound, 0)
    made = kind(-(2**63) + 1, 2**63 - 1)
    back = msgspec.json.decode(msgspec.json.encode(made), type=kind)
    assert (back.low, back.high) == (type(back.low)(made.low), type(back.high)(made.high))


@pytest.mark.parametrize(("low", "high"), [(1.0, 3), (1, 3.0), (1.5, 2.5)])
def test_a_whole_number_parameter_needs_whole_bounds(low: Any, high: Any) -> None:
    with pytest.raises(SpaceError, match=r"whole number.*use Float"):
        Integer(low, high)


@pytest.mark.parametrize("choices", [(), (1,), ("a", "a"), (1, 2, 1), (0.5, 0.5)])
def test_a_choice_needs_two_different_values(choices: tuple[Scalar, ...]) -> None:
    with pytest.raises(SpaceError, match="choices"):
        Categorical(choices)


def test_choices_that_compare_equal_but_are_of_another_type_are_different() -> None:
    assert Categorical((1, True, 1.0)).choices == (1, True, 1.0)


def test_choices_given_as_a_list_are_kept_as_a_tuple() -> None:
    assert Categorical(["a", "b"]).choices == ("a", "b")  # type: ignore[arg-type]


@given(st.dictionaries(names, parameters, max_size=3))
@settings(deadline=None)
def test_a_value_of_several_parts_has_at_least_one_and_keeps_their_order(
    parts: dict[str, Parameter],
) -> None:
    if not parts:
        with pytest.raises(SpaceError, match="parts must name at least one parameter, got none"):
            Tuple(parts)
        return
    made = Tuple(parts)
    assert list(made.parts.items()) == list(parts.items())
    back: Tuple = msgspec.convert(msgspec.to_builtins(made), Tuple)
    assert list(back.parts.items()) == list(parts.items())


@given(parameters)
@settings(deadline=None)
def test_a_parameter_survives_plain_data(parameter: Parameter) -> None:
    plain = msgspec.to_builtins(parameter)
    back: Parameter = msgspec.convert(plain, Parameter)
    assert back == parameter
    assert type(back) is type(parameter)


@given(parameters)
@settings(deadline=None, max_examples=20)
def test_a_record_cannot_be_edited(parameter: Parameter) -> None:
    for record in (parameter, Change("a", 1.0, 2.0), Evidence(gain=1.0), Reading()):
        with pytest.raises(AttributeError):
            setattr(record, record.__struct_fields__[0], 3)


@given(evidences())
@settings(deadline=None, max_examples=30)
def test_evidence_differs_from_the_default_only_where_it_was_told(evidence: Evidence) -> None:
    plain = Evidence(gain=evidence.gain)
    assert plain.penalty == 0.0
    assert plain.probability is None
    assert plain.deviation is None
    assert plain.regressions == 0
    assert not plain.lowers_guarded_rate


def test_an_observation_is_of_unknown_noise_unless_told() -> None:
    assert Observation(point={}, value=1.0).noise is None


def test_reasons_and_actions_are_words_that_can_be_searched_for() -> None:
    for word in [*Reason, *Action]:
        assert word.value == word.name.lower()


decisions = st.builds(
    Decision,
    number=st.integers(0, 10**6),
    step=st.integers(0, 10**9),
    verdict=st.sampled_from(list(Action)),
    reasons=st.lists(st.sampled_from(list(Reason)), max_size=3).map(tuple),
    changes=st.lists(st.builds(Change, names, scalars, scalars), max_size=2).map(tuple),
    opened=st.lists(st.builds(Change, names, scalars, scalars), max_size=2).map(tuple),
    probability=st.none() | st.floats(0, 1),
    metric=st.none() | any_float,
    restored=st.booleans(),
    source=st.none() | st.just("gp"),
)


@given(decisions)
@settings(deadline=None)
def test_a_decision_shows_itself_with_everything_that_it_holds(decision: Decision) -> None:
    line = str(decision)
    assert line.startswith("decision")
    assert str(decision.number) in line
    assert str(decision.step) in line
    assert decision.verdict.value in line
    for change in (*decision.changes, *decision.opened):
        assert show_change(change) in line
    for reason in decision.reasons:
        assert reason.value.replace("_", " ") in line
    assert ("P(gain)" in line) == (decision.probability is not None)
    assert line.endswith("put back") == decision.restored


@given(decisions)
@settings(deadline=None)
def test_the_first_change_speaks_for_a_decision(decision: Decision) -> None:
    if not decision.changes:
        assert decision.family is None
        assert decision.old is None
        assert decision.new is None
    else:
        first = decision.changes[0]
        assert decision.family == "+".join(c.family for c in decision.changes)
        assert decision.old is first.old
        assert decision.new is first.new


@given(scalars)
@settings(deadline=None)
def test_a_value_is_shown_with_four_digits_and_other_kinds_as_they_are(value: Scalar) -> None:
    shown = show(value)
    if isinstance(value, float) and abs(value) < 1e300:
        assert float(shown) == pytest.approx(value, rel=1e-3)
    elif not isinstance(value, float):
        assert shown == str(value)
    else:
        assert shown == f"{value:.4g}"
