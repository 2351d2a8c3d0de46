"""What a parameter may be is read as it was meant, or refused by name; every value comes back."""

import math
from enum import IntEnum, StrEnum
from fractions import Fraction
from functools import partial
from itertools import pairwise
from random import Random
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptune.core.space import SearchSpace
from gptune.errors import SpaceError
from gptune.foreign import foreign_call
from gptune.records import Categorical, Float, Integer, Scalar
from gptune.study.domains import (
    Domain,
    Fixed,
    Stepped,
    at_share,
    choice_domain,
    draw,
    from_inner,
    holds,
    inner,
    is_scalar,
    number_domain,
    plain,
    read_domain,
    read_domains,
    show_point,
    to_inner,
)
from tests.strategies import any_float, anything, integers_in
from tests.study.drawing import domains, seeds, shares, spaces, steppeds, values_of

# --- reading ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "wanted"),
    [
        ({"type": "float", "low": 0.0, "high": 1.0}, Float(0.0, 1.0)),
        ({"type": "float", "low": 1e-4, "high": 1.0, "log": True}, Float(1e-4, 1.0, log=True)),
        ({"type": "float", "low": 0.0, "high": 1.0, "step": 0.25}, Stepped(0.0, 1.0, 0.25)),
        ({"type": "float", "low": 0.0, "high": 1.0, "step": None}, Float(0.0, 1.0)),
        ({"type": "float", "low": 0.1, "high": 0.3, "step": 0.2}, Stepped(0.1, 0.3, 0.2)),
        ({"type": "float", "low": 2, "high": 2}, Fixed(2.0)),
        ({"type": "int", "low": 1, "high": 9}, Integer(1, 9)),
        ({"type": "int", "low": 1, "high": 9, "log": True}, Integer(1, 9, log=True)),
        ({"type": "int", "low": 1, "high": 9, "step": 1}, Integer(1, 9)),
        ({"type": "int", "low": 1, "high": 9, "step": 2}, Stepped(1, 9, 2)),
        ({"type": "int", "low": 3, "high": 3}, Fixed(3)),
        ({"type": "categorical", "choices": ["a", "b"]}, Categorical(("a", "b"))),
        ({"type": "categorical", "choices": (1, True, 1.0)}, Categorical((1, True, 1.0))),
        ({"type": "categorical", "choices": ["a"]}, Fixed("a")),
        (Float(0.0, 1.0), Float(0.0, 1.0)),
        (Stepped(0, 4, 2), Stepped(0, 4, 2)),
        (Fixed("a"), Fixed("a")),
    ],
)
def test_a_parameter_is_read_as_it_was_meant(given_: Any, wanted: Domain) -> None:
    read = read_domain("p", given_)
    assert read == wanted
    assert type(read) is type(wanted)
    if isinstance(read, Fixed) and isinstance(wanted, Fixed):
        assert type(read.value) is type(wanted.value)


NUMBER = {"low": 1, "high": 9}
WRONG: list[tuple[Any, str]] = [
    (None, "Float, Integer, Categorical or a mapping"),
    (3, "Float, Integer, Categorical or a mapping"),
    ((0.0, 1.0), "Float, Integer, Categorical or a mapping"),
    ("float", "Float, Integer, Categorical or a mapping"),
    ({}, "type must be one of float, int, categorical"),
    (NUMBER, "type must be one of"),
    ({"type": "real", **NUMBER}, "type must be one of.*'real'"),
    ({"type": "Float", **NUMBER}, "type must be one of"),
    ({"type": 1, **NUMBER}, "type must be one of"),
    ({"type": ["float"], **NUMBER}, "type must be one of"),
    ({"type": {}, **NUMBER}, "type must be one of"),
    ({"type": "float", "low": 0.0}, "high is missing"),
    ({"type": "float", "high": 0.0}, "low is missing"),
    ({"type": "int"}, "low is missing"),
    ({"type": "categorical"}, "choices is missing"),
    ({"type": "float", **NUMBER, "stp": 2}, "stp: unknown key; did you mean 'step'"),
    ({"type": "int", **NUMBER, "choices": [1]}, "choices: unknown key"),
    ({"type": "categorical", "choices": [1, 2], "low": 1}, "low: unknown key"),
    ({"type": "float", **NUMBER, 3: 4}, "3: unknown key"),
    ({"type": "float", "low": 1.0, "high": 0.0}, "low must be below high"),
    ({"type": "int", "low": 9, "high": 1}, "low must be below high"),
    ({"type": "float", "low": math.nan, "high": 1.0}, "low must be finite"),
    ({"type": "float", "low": 0.0, "high": math.inf}, "high must be finite"),
    ({"type": "float", "low": math.inf, "high": math.inf}, "low must be finite"),
    ({"type": "int", "low": math.inf, "high": math.inf}, "low must be finite"),
    ({"type": "float", "low": "a", "high": "b"}, "low must be a number"),
    ({"type": "float", "low": "a", "high": "a"}, "low must be a number"),
    ({"type": "float", "low": None, "high": None}, "low must be a number"),
    ({"type": "float", "low": False, "high": True}, "low must be a number"),
    ({"type": "int", "low": True, "high": True}, "low must be a number"),
    ({"type": "int", "low": 1, "high": True}, "high must be a number"),
    ({"type": "int", "low": [1], "high": 2}, "low must be a number"),
    ({"type": "int", "low": 0.5, "high": 3}, "low must be a whole number"),
    ({"type": "int", "low": 1, "high": 3.0}, "high must be a whole number"),
    ({"type": "int", "low": 1.5, "high": 1.5}, "low must be"),
    ({"type": "int", "low": 0, "high": 9, "log": True}, "low must be positive on a log scale"),
    ({"type": "float", "low": -1, "high": 9, "log": True}, "low must be positive"),
    ({"type": "float", **NUMBER, "log": "yes"}, "log must be true or false"),
    ({"type": "int", **NUMBER, "log": 1}, "log must be true or false"),
    ({"type": "int", **NUMBER, "log": None}, "log must be true or false"),
    ({"type": "float", **NUMBER, "log": True, "step": 0.5}, "log and step exclude each other"),
    ({"type": "int", **NUMBER, "log": True, "step": 1}, "log and step exclude each other"),
    ({"type": "float", **NUMBER, "step": 0.0}, "step must be positive"),
    ({"type": "float", **NUMBER, "step": -1.0}, "step must be positive"),
    ({"type": "float", **NUMBER, "step": math.nan}, "step must be positive"),
    ({"type": "float", "low": -1e308, "high": 1e308, "step": math.inf}, "step must be positive"),
    ({"type": "float", **NUMBER, "step": "1"}, "step must be positive"),
    ({"type": "float", **NUMBER, "step": True}, "step must be positive"),
    ({"type": "int", **NUMBER, "step": 9}, "step must be positive and at most high - low"),
    ({"type": "int", **NUMBER, "step": 2.5}, "step must be a whole number"),
    ({"type": "int", "low": 1.5, "high": 9, "step": 2}, "low must be a whole number"),
    ({"type": "float", "low": 0.0, "high": 1.0, "step": 1e-30}, "step .*too small"),
    ({"type": "float", "low": 1e16, "high": 1e16 + 8, "step": 0.5}, "step .*too small"),
    ({"type": "categorical", "choices": "ab"}, "choices must be a list"),
    ({"type": "categorical", "choices": {"a", "b"}}, "choices must be a list"),
    ({"type": "categorical", "choices": None}, "choices must be a list"),
    ({"type": "categorical", "choices": []}, "choices needs at least two"),
    ({"type": "categorical", "choices": ["a", "a"]}, "choices must differ"),
    ({"type": "categorical", "choices": ["a", None]}, "choices must be plain values.*None"),
    ({"type": "categorical", "choices": [[1], [2]]}, "choices must be plain values"),
    ({"type": "categorical", "choices": [1.0, math.nan]}, "choices must be finite"),
]


@pytest.mark.parametrize(("given_", "rule"), WRONG, ids=range(len(WRONG)))
def test_a_parameter_that_is_wrong_is_refused_by_name_and_field(given_: Any, rule: str) -> None:
    with pytest.raises(SpaceError, match=f"^parameter 'p': .*{rule}"):
        read_domain("p", given_)
    with pytest.raises(SpaceError, match=f"^parameter 'p': .*{rule}"):
        read_domains({"fine": Float(0.0, 1.0), "p": given_})


class Mute:
    """What cannot be compared, and is no value."""

    __hash__ = None  # type: ignore[assignment]


def forced(record: Any, **fields: Any) -> Any:
    """Change a record that cannot be changed."""
    for field, value in fields.items():
        msgspec.structs.force_setattr(record, field, value)
    return record


RECORDS: list[tuple[Any, str]] = [
    (Float(1.0, 2.0, "yes"), r"log must be true or false, got 'yes'; give True"),  # type: ignore[arg-type]
    (Float(1.0, 2.0, 1), "log must be true or false, got 1"),  # type: ignore[arg-type]
    (Integer(1, 2, None), "log must be true or false, got None"),  # type: ignore[arg-type]
    (Categorical((1.0, math.nan)), "choices must be finite, got nan; leave it out"),
    (Categorical((1.0, math.inf)), "choices must be finite"),
    (Categorical((1.0, None)), "choices must be plain values.*got None"),  # type: ignore[arg-type]
    (Categorical((print, "b")), "choices must be plain values.*look the objects up"),  # type: ignore[arg-type]
    (Categorical((1, 2**64)), r"choices must be at most 2\*\*63 - 1 in size"),
    (forced(Categorical(("a", "b")), choices="ab"), "choices must be a list"),
    (forced(Categorical(("a", "b")), choices=("a", "a")), "choices must differ"),
    (forced(Categorical(("a", "b")), choices=([1], [2])), "choices must be plain values"),
    (forced(Float(1.0, 2.0), low=3.0), "low must be below high.*low=3.0.*swap them"),
    (forced(Float(1.0, 2.0), high=math.nan), "high must be finite"),
    (forced(Float(1.0, 2.0), low="1"), "low must be a number"),
    (forced(Integer(1, 2), low=0.5), "low must be a whole number"),
    (forced(Integer(0, 2), log=True), "low must be positive on a log scale"),
    (forced(Stepped(0.0, 1.0, 0.5), step=2.0), "step must be positive and at most high - low"),
    (forced(Stepped(0, 4, 2), high=-1), "low must be below high"),
    (Fixed(math.nan), "choices must be finite"),
    (Fixed(None), "choices must be plain values"),  # type: ignore[arg-type]
    (Fixed([1]), "choices must be plain values"),  # type: ignore[arg-type]
    (Fixed(Mute()), "choices must be plain values"),  # type: ignore[arg-type]
    (Fixed(10**400), "choices must be at most"),
]


@pytest.mark.parametrize(("record", "rule"), RECORDS, ids=range(len(RECORDS)))
def test_a_record_that_is_wrong_is_refused_as_plain_data_is(record: Any, rule: str) -> None:
    with pytest.raises(SpaceError, match=f"^parameter 'p': .*{rule}"):
        read_domain("p", record)
    with pytest.raises(SpaceError, match=f"^parameter 'p': .*{rule}"):
        read_domains({"fine": Float(0.0, 1.0), "p": record})
    with pytest.raises(SpaceError, match=f"^parameter 'p': .*{rule}"):
        read_domains(SimpleNamespace(parameters={"p": record}))


@given(domains)
@settings(deadline=None, max_examples=150)
def test_a_record_that_is_right_is_taken_as_it_is(domain: Domain) -> None:
    assert repr(read_domain("p", domain)) == repr(domain)


@given(
    st.dictionaries(
        st.sampled_from(["type", "low", "high", "log", "step", "choices", "more"]),
        anything | st.sampled_from(["float", "int", "categorical"]),
    )
)
@settings(deadline=None, max_examples=300)
def test_whatever_is_given_is_read_or_refused_by_name(given_: dict[str, Any]) -> None:
    for kind in ("float", "int", "categorical", given_.get("type")):
        made = foreign_call(partial(read_domain, "p", {**given_, "type": kind}))
        if made.value is None:
            assert isinstance(made.error, SpaceError)
            assert str(made.error).startswith("parameter 'p': ")
        else:
            assert holds(made.value, at_share(made.value, 0.5))


@pytest.mark.parametrize("space", [None, {}, [], "lr", 3, [("lr", Float(0.0, 1.0))]])
def test_a_space_is_a_mapping_of_at_least_one_parameter(space: Any) -> None:
    with pytest.raises(SpaceError, match="space: must be a mapping of at least one parameter"):
        read_domains(space)


@pytest.mark.parametrize("name", ["", 1, None, ("a",)])
def test_a_parameter_has_a_name(name: Any) -> None:
    with pytest.raises(SpaceError, match="space: names must be words"):
        read_domains({name: Float(0.0, 1.0)})


@given(spaces())
@settings(deadline=None, max_examples=50)
def test_a_space_that_was_read_is_read_again_as_it_is(space: dict[str, Domain]) -> None:
    assert read_domains(space) == space
    assert list(read_domains(space)) == list(space)
    assert read_domains(SimpleNamespace(parameters=space)) == space


def test_the_space_of_a_proposer_is_a_space_of_a_study() -> None:
    space = SearchSpace({"x": Float(0.0, 1.0), "c": Categorical((1, 2))})
    assert read_domains(space) == dict(space.parameters)


@given(domains)
@settings(deadline=None, max_examples=150)
def test_a_domain_comes_back_from_a_storage(domain: Domain) -> None:
    back = msgspec.json.decode(msgspec.json.encode({"p": domain}), type=dict[str, Domain])["p"]
    assert repr(back) == repr(domain)  # True == 1 == 1.0


@given(st.integers(-(2**53), 2**53), st.booleans())
@settings(deadline=None, max_examples=50)
def test_a_range_of_one_number_is_fixed(value: int, whole: bool) -> None:
    domain = number_domain(value, value, whole=whole)
    assert domain == Fixed(value)
    assert type(at_share(domain, 0.3)) is (int if whole else float)


def test_a_step_of_one_between_whole_numbers_is_none() -> None:
    assert number_domain(1, 9, step=1, whole=True) == Integer(1, 9)


def test_a_real_parameter_has_real_steps() -> None:
    values = read_domain("p", {"type": "float", "low": 0, "high": 4, "step": 2})
    assert isinstance(values, Stepped)
    assert [type(value) for value in values.values()] == [float] * 3


@given(st.lists(st.text("abc", max_size=2) | st.integers(0, 3), min_size=1, unique=True))
@settings(deadline=None, max_examples=50)
def test_choices_are_kept_in_order(choices: list[Scalar]) -> None:
    made = choice_domain(choices)
    one = isinstance(made, Fixed)
    assert one == (len(choices) == 1)
    assert made == (Fixed(choices[0]) if one else Categorical(tuple(choices)))


# --- steps --------------------------------------------------------------------------------


@given(steppeds())
@settings(deadline=None, max_examples=200)
def test_steps_have_no_rounding_errors(domain: Stepped) -> None:
    low, high, step = (Fraction(str(one)) for one in (domain.low, domain.high, domain.step))
    count = (high - low) // step
    wanted = [low + number * step for number in range(count + 1)]
    assert list(domain.values()) == [float(value) for value in wanted]
    assert domain.steps == count
    assert wanted[-1] <= high < wanted[-1] + step
    kind = int if domain.is_whole else float
    assert all(type(value) is kind for value in domain.values())


@given(steppeds(), st.data())
@settings(deadline=None, max_examples=200)
def test_each_step_has_its_value_and_each_value_its_step(
    domain: Stepped, data: st.DataObject
) -> None:
    number = data.draw(st.integers(0, domain.steps))
    value = domain.at(number)
    assert to_inner(domain, value) == number
    assert from_inner(domain, number) == value
    assert not holds(domain, math.nextafter(float(value), math.inf))
    assert not holds(domain, domain.at(domain.steps + 1))
    assert not holds(domain, domain.at(-1))


@pytest.mark.parametrize(
    ("domain", "wanted"),
    [
        (Stepped(0.1, 0.35, 0.1), (0.1, 0.2, 0.3)),
        (Stepped(0.0, 0.7, 0.1), (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)),
        (Stepped(0.1, 0.3, 0.2), (0.1, 0.3)),
        (Stepped(1e-3, 3e-3, 1e-3), (0.001, 0.002, 0.003)),
        (Stepped(-1, 2, 3), (-1, 2)),
        (Stepped(0, 10, 4), (0, 4, 8)),
        (Stepped(0, 1, 0.5), (0.0, 0.5, 1.0)),
        (Stepped(-1e308, 1e308, 1e308), (-1e308, 0.0, 1e308)),
    ],
)
def test_steps_are_what_a_person_would_write(domain: Stepped, wanted: tuple[Scalar, ...]) -> None:
    assert domain.values() == wanted
    assert [to_inner(domain, value) for value in wanted] == list(range(len(wanted)))


@pytest.mark.parametrize(
    "domain", [Stepped(0, 2**52, 2), Stepped(0.0, 2.0**40, 0.001), Stepped(-(2**40), 2**40, 3)]
)
def test_a_step_is_found_among_very_many(domain: Stepped) -> None:
    for number in (0, 1, domain.steps // 3, domain.steps - 1, domain.steps):
        assert to_inner(domain, domain.at(number)) == number


# --- values -------------------------------------------------------------------------------


@given(domains, st.data())
@settings(deadline=None, max_examples=300)
def test_a_value_goes_to_what_is_searched_and_comes_back(
    domain: Domain, data: st.DataObject
) -> None:
    value = data.draw(values_of(domain))
    assert holds(domain, value)
    place = to_inner(domain, value)
    assert place is not None
    back = from_inner(domain, place)
    assert back == value
    assert type(back) is type(value)
    searched = inner(domain)
    assert (searched is None) == isinstance(domain, Fixed)
    assert searched is None or holds(searched, place)


@given(domains, anything)
@settings(deadline=None, max_examples=300)
def test_what_a_domain_does_not_hold_has_no_place(domain: Domain, value: Any) -> None:
    assert (to_inner(domain, value) is None) == (not holds(domain, value))


@given(domains, any_float | st.booleans() | st.text("xyz", min_size=1))
@settings(deadline=None, max_examples=200)
def test_a_number_holds_no_truth_no_word_and_nothing_that_is_not_finite(
    domain: Domain, value: Any
) -> None:
    is_number = isinstance(domain, Float | Integer | Stepped)
    if is_number and (not isinstance(value, float) or not math.isfinite(value)):
        assert not holds(domain, value)
    if isinstance(domain, Float) and isinstance(value, float):
        assert holds(domain, value) == (domain.low <= value <= domain.high)


@pytest.mark.parametrize(
    ("domain", "value", "wanted"),
    [
        (Integer(1, 3), 2, True),
        (Integer(1, 3), 2.5, False),
        (Integer(1, 3), True, False),
        (Integer(1, 3), 4, False),
        (Integer(1, 3), 2.0, False),
        (Stepped(0, 10, 5), 5.0, False),
        (Stepped(0.0, 10.0, 5.0), 5, True),
        (Float(0.0, 1.0), 1, True),
        (Float(0.0, 1.0), "1", False),
        (Categorical((1, "a")), 1, True),
        (Categorical((1, "a")), True, False),
        (Categorical((1, "a")), 1.0, False),
        (Fixed(1), True, False),
        (Fixed(1), 1, True),
        (Stepped(0.0, 1.0, 0.25), 0.75, True),
        (Stepped(0.0, 1.0, 0.25), 0.7, False),
        (Stepped(0, 10, 5), 10, True),
        (Stepped(0, 10, 5), math.nan, False),
        (Stepped(-1e308, 1e308, 1e308), 1e308, True),
        (Stepped(-1e308, 1e308, 1e308), -1.7e308, False),
    ],
)
def test_a_domain_holds_its_values_alone(domain: Domain, value: Any, wanted: bool) -> None:
    assert holds(domain, value) is wanted


@given(domains, seeds)
@settings(deadline=None, max_examples=200)
def test_what_is_drawn_lies_inside_and_is_of_its_kind(domain: Domain, seed: int) -> None:
    chance = Random(seed)
    for _ in range(20):
        value = draw(domain, chance)
        assert holds(domain, value)
        if isinstance(domain, Float):
            assert type(value) is float
        if isinstance(domain, Integer):
            assert type(value) is int
    assert draw(domain, Random(seed)) == draw(domain, Random(seed))


@given(integers_in() | steppeds(), st.data())
@settings(deadline=None, max_examples=100)
def test_a_whole_number_that_was_written_as_a_real_one_is_none(
    domain: Integer | Stepped, data: st.DataObject
) -> None:
    value = data.draw(values_of(domain))
    is_whole = isinstance(domain, Integer) or domain.is_whole
    assert holds(domain, value)
    assert holds(domain, float(value)) == (not is_whole)
    assert not holds(domain, bool(value))


def rank(domain: Domain, value: Scalar) -> float:
    """Say how far along a domain a value lies."""
    if isinstance(domain, Categorical):
        return [repr(one) for one in domain.choices].index(repr(value))
    return 0.0 if isinstance(domain, Fixed) else float(value)


@pytest.mark.parametrize("low", [0, 2**60, -(2**63) + 1, 2**63 - 1 - 7])
@pytest.mark.parametrize("log", [True, False])
def test_large_whole_numbers_share_evenly_to_their_ends(low: int, log: bool) -> None:
    domain = Integer(low, low + 7, log=log and low > 0)
    found = [at_share(domain, (number + 0.5) / 800) for number in range(800)]
    assert sorted(set(found)) == list(range(low, low + 8))
    assert [found.count(value) for value in sorted(set(found))] == [100] * 8
    assert [at_share(domain, share) for share in (0.0, 1.0)] == [low, low + 7]


@given(st.sampled_from([Integer(0, 2**63 - 1), Integer(1, 2**63 - 1, log=True)]), shares)
@settings(deadline=None, max_examples=100)
def test_the_widest_range_of_whole_numbers_holds_what_is_drawn(
    domain: Integer, share: float
) -> None:
    assert holds(domain, at_share(domain, share))
    assert at_share(domain, 0.0) == domain.low
    assert at_share(domain, 1.0) == domain.high


@pytest.mark.parametrize("size", [2**63, 10**400, 10**5000], ids=range(3))
def test_a_whole_number_that_no_file_keeps_lies_nowhere(size: int) -> None:
    for domain in (Integer(0, 2**63 - 1), Float(0.0, 1e308), Stepped(0.0, 1e308, 1e300)):
        assert not holds(domain, size)
        assert to_inner(domain, -size) is None


def test_a_large_step_is_found_again() -> None:
    domain = Stepped(2**60, 2**60 + 10**9, 1000)
    for number in (0, 1, 333_333, domain.steps):
        assert to_inner(domain, domain.at(number)) == number


@given(domains, st.lists(shares, min_size=2, max_size=6))
@settings(deadline=None, max_examples=300)
def test_a_larger_share_lies_no_lower(domain: Domain, some: list[float]) -> None:
    ranks = [rank(domain, at_share(domain, share)) for share in sorted(some)]
    wide = isinstance(domain, Float)  # where a rounding error is seen
    for one, other in pairwise(ranks):
        assert one <= other or (wide and one - other <= 1e-12 * max(abs(one), abs(other)))


@given(domains)
@settings(deadline=None, max_examples=150)
def test_shares_reach_from_the_first_value_to_the_last(domain: Domain) -> None:
    ends = [at_share(domain, share) for share in (0.0, math.nextafter(1.0, 0.0), 1.0)]
    first, last = {
        Categorical: lambda d: (d.choices[0], d.choices[-1]),
        Stepped: lambda d: (d.at(0), d.at(d.steps)),
        Fixed: lambda d: (d.value, d.value),
    }.get(type(domain), lambda d: (d.low, d.high))(domain)
    if isinstance(domain, Float | Integer):
        assert ends == pytest.approx([first, last, last], rel=1e-12, abs=1e-9)
    else:
        assert ends == [first, last, last]


@pytest.mark.parametrize(
    "domain",
    [Integer(1, 4), Stepped(0.0, 0.6, 0.2), Categorical((4, 3, 2, 1)), Stepped(1, 11, 3)],
)
def test_values_that_are_counted_share_evenly(domain: Domain) -> None:
    found = [at_share(domain, (number + 0.5) / 400) for number in range(400)]
    assert [found.count(value) for value in dict.fromkeys(found)] == [100] * 4


@given(st.floats(1e-6, 1.0), st.floats(2.0, 1e6))
@settings(deadline=None, max_examples=30)
def test_half_a_log_scale_is_the_geometric_mean(low: float, high: float) -> None:
    assert at_share(Float(low, high, log=True), 0.5) == pytest.approx(math.sqrt(low * high))


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        ({}, "no parameter"),
        ({"x": 0.123456789, "n": 3}, "x=0.123457, n=3"),
        ({"c": "relu", "flag": True}, "c=relu, flag=True"),
        ({"lr": 1e-05}, "lr=1e-05"),
    ],
)
def test_a_point_is_shown_in_one_line(params: dict[str, Scalar], wanted: str) -> None:
    assert show_point(params) == wanted


# --- scalars of NumPy's -------------------------------------------------------------------


class Word(StrEnum):
    """A word that is a member of something."""

    LONG = "long"


class Level(IntEnum):
    """A number that is one."""

    HIGH = 3


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (np.float64(0.5), 0.5),
        (np.float32(0.5), 0.5),
        (np.int64(-3), -3),
        (np.uint8(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array(2.5), 2.5),
        (torch.tensor(2), 2),
        (Word.LONG, "long"),
        (Level.HIGH, 3),
        (True, True),
        (1, 1),
        (1.0, 1.0),
        ("a", "a"),
    ],
    ids=repr,
)
def test_a_scalar_of_numpys_is_read_as_a_plain_one(value: Any, wanted: Scalar) -> None:
    made = plain(value)
    assert type(made) is type(wanted)
    assert made == wanted


@given(anything)
def test_what_is_plain_or_no_scalar_is_left_as_it_is(value: Any) -> None:
    assert plain(value) is value
    assert plain([value]) == [value]
    ones = np.ones(2)
    assert plain(ones) is ones


number: Any = number_domain
real: Any = Float
choice: Any = Categorical
stepped: Any = Stepped
BOUNDS: list[tuple[Any, Any]] = [
    (number(np.float64(0.5), np.float32(2)), Float(0.5, 2.0)),
    (number(np.float64(0.5), np.float64(0.5)), Fixed(0.5)),
    (number(np.int64(1), np.int32(9), whole=True), Integer(1, 9)),
    (number(np.int64(1), np.int64(1), whole=True), Fixed(1)),
    (number(np.int64(1), 9, whole=True, step=np.int64(2)), Stepped(1, 9, 2)),
    (number(0.0, np.float64(1), step=np.float64(0.25)), Stepped(0.0, 1.0, 0.25)),
    (number(1.0, 2.0, log=np.bool_(True)), Float(1.0, 2.0, log=True)),
    (choice_domain([np.float64(0.5), np.int64(2), "a"]), Categorical((0.5, 2, "a"))),
    (choice_domain([np.str_("a")]), Fixed("a")),
    (choice_domain(list(Word)), Fixed("long")),
    (read_domain("p", real(np.float64(0.5), np.float64(2.0))), Float(0.5, 2.0)),
    (read_domain("p", choice((np.float64(1.0), np.int64(2)))), Categorical((1.0, 2))),
    (read_domain("p", stepped(np.float64(0), np.float64(1), np.float64(0.5))), Stepped(0, 1, 0.5)),
    (read_domain("p", Fixed(np.float64(0.5))), Fixed(0.5)),
    (read_domain("p", {"type": "int", "low": np.int64(1), "high": np.int64(4)}), Integer(1, 4)),
]


@pytest.mark.parametrize(("made", "wanted"), BOUNDS, ids=[repr(wanted) for _, wanted in BOUNDS])
def test_a_domain_of_numpys_scalars_holds_plain_ones(made: Domain, wanted: Domain) -> None:
    assert made == wanted
    assert type(made) is type(wanted)
    text = msgspec.json.encode(made)  # which refuses what is not plain
    assert msgspec.json.decode(text, type=Domain) == wanted


def test_a_value_of_numpys_lies_where_a_plain_one_does() -> None:
    assert holds(Integer(1, 3), np.int64(2))
    assert not holds(Integer(1, 3), np.float64(2))
    assert holds(Categorical(("a", 0.5)), np.float64(0.5))
    assert type(to_inner(Float(0.0, 1.0), np.float64(0.5))) is float
    assert to_inner(Stepped(2, 10, 2), np.int64(6)) == 2  # type: ignore[arg-type]


@given(anything)
def test_a_scalar_can_be_written_and_comes_back(value: Any) -> None:
    if is_scalar(value):
        assert msgspec.json.decode(msgspec.json.encode(value), type=Scalar) == value


@pytest.mark.parametrize(
    "value", [None, [1], (), {}, b"a", math.nan, math.inf, 2**63, -(2**63), "\ud800", 1j, object()]
)
def test_what_cannot_be_written_is_no_scalar(value: Any) -> None:
    assert not is_scalar(value)
