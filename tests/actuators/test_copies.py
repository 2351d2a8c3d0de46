"""Copies of nested state: exact, apart from the live state, and put back in place."""

import copy
from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gptune.actuators import copies
from tests.actuators.comparing import bits, tensors_in

QUICK = settings(deadline=None, max_examples=80)
KINDS = (
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.complex64,
    torch.int64,
    torch.uint8,
    torch.bool,
)


def spoil(value: Any) -> None:
    """Change all that can be changed in place: tensors, lists, dicts."""
    if isinstance(value, Tensor):
        value.copy_(~value if value.dtype is torch.bool else torch.full_like(value, 77))
    elif isinstance(value, dict | list | tuple):
        for item in list(value.values()) if isinstance(value, dict) else value:
            spoil(item)
        if isinstance(value, list):
            value.append("spoilt")
        if isinstance(value, dict):
            value["spoilt"] = 1


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """Draw a tensor of any bits, NaN payloads included; sometimes its memory is not in order."""
    kind = draw(st.sampled_from(KINDS))
    shape = draw(st.lists(st.integers(0, 3), max_size=2))
    count = 1
    for length in shape:
        count *= length
    top = 1 if kind is torch.bool else 255
    each = kind.itemsize
    raw = draw(st.lists(st.integers(0, top), min_size=count * each, max_size=count * each))
    made = torch.tensor(raw, dtype=torch.uint8).view(kind).reshape(shape)
    return made.mT if made.dim() == 2 and draw(st.booleans()) else made


plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3))
keys = st.one_of(st.sampled_from("abc"), st.integers(0, 2))


def grown(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(keys, inner, max_size=3),
    )


states = st.recursive(tensors() | plain, grown, max_leaves=8)


@given(states, states)
@QUICK
def test_what_is_put_back_equals_what_was_taken_to_the_bit_whatever_is_live(
    state: Any, live: Any
) -> None:
    expected = bits(state)
    saved = copies.take(state)
    assert bits(state) == expected
    assert bits(copies.put(saved, None)) == expected
    assert bits(copies.put(saved, live)) == expected


@given(states)
@QUICK
def test_live_tensors_that_fit_are_written_in_place_and_returned_themselves(state: Any) -> None:
    expected, live = bits(state), copy.deepcopy(state)
    saved = copies.take(state)
    mine = list(tensors_in(live))
    for tensor in mine:
        spoil(tensor)
    made = copies.put(saved, live)
    assert bits(made) == expected
    assert [id(tensor) for tensor in tensors_in(made)] == [id(tensor) for tensor in mine]
    assert made is live or not isinstance(live, dict | Tensor)


@given(states, states)
@QUICK
def test_a_copy_serves_again_whatever_becomes_of_the_state_and_of_what_was_put_back(
    state: Any, live: Any
) -> None:
    expected = bits(state)
    saved = copies.take(state)
    spoil(state)
    assert bits(copies.put(saved, None)) == expected
    for given_now in (live, None, state):
        made = copies.put(saved, given_now)
        assert bits(made) == expected
        spoil(made)
    assert bits(copies.put(saved, None)) == expected


@pytest.mark.parametrize("live", [None, [], [{}, {}]], ids=str)
def test_dicts_in_a_list_of_another_length_do_not_alias_the_copy(live: Any) -> None:
    saved = copies.take([{"moment": torch.ones(2)}])
    (group,) = copies.put(saved, copy.deepcopy(live))
    group["moment"].fill_(float("nan"))
    group["new"] = 1
    assert bits(copies.put(saved, None)) == bits([{"moment": torch.ones(2)}])


@given(states, states)
@QUICK
def test_the_size_is_known_before_and_is_that_of_the_tensors(state: Any, other: Any) -> None:
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors_in(state))
    assert copies.size(state) == copies.take(state).nbytes == total
    assert copies.take(state, into=copies.take(other)).nbytes == total


@given(states, states)
@QUICK
def test_a_copy_into_an_older_one_is_exact_and_takes_its_storage_where_all_are_alike(
    old: Any, new: Any
) -> None:
    older = copies.take(old)
    saved = copies.take(new, into=older)
    assert bits(copies.put(saved, None)) == bits(new)
    forms = [[(t.shape, t.dtype) for t in made.tensors] for made in (older, saved)]
    if forms[0] == forms[1]:
        assert [id(t) for t in older.tensors] == [id(t) for t in saved.tensors]


@given(states)
@QUICK
def test_a_second_copy_of_the_same_state_takes_no_new_memory(state: Any) -> None:
    older = copies.take(state)
    places = [tensor.data_ptr() for tensor in older.tensors]
    spoil(state)
    newer = copies.take(state, into=older)
    assert [tensor.data_ptr() for tensor in newer.tensors] == places
    assert bits(copies.put(newer, None)) == bits(state)


@pytest.mark.parametrize(
    "value",
    [
        OrderedDict(a=torch.ones(1)),
        Counter({2: 1, 4: 2}),
        defaultdict(int, a=1),
        [Counter("ab")],
        {"milestones": Counter([2, 4])},
        deque([1.0, 2.0], maxlen=2),
        {1, 2},
        {"inner": (OrderedDict(b=1), None)},
    ],
    ids=str,
)
@pytest.mark.parametrize("live", [None, [], {"milestones": {}}], ids=str)
def test_the_kind_of_a_container_is_kept(value: Any, live: Any) -> None:
    assert bits(copies.put(copies.take(value), copy.deepcopy(live))) == bits(value)


@pytest.mark.parametrize("value", [[1], {1}, deque([1]), {"a": [1]}, bytearray(b"a")], ids=str)
def test_values_that_are_no_tensors_are_copied_both_ways(value: Any) -> None:
    expected, state = bits(value), [value]
    saved = copies.take(state)
    for container in (value, copies.put(saved, None)[0], copies.put(saved, None)[0]):
        container.clear()
    assert bits(copies.put(saved, None)) == (list, [expected])


def test_a_parameter_is_copied_without_its_graph_and_put_back_without_leaving_one() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    saved = copies.take({"weight": weight, "derived": weight * 2})
    assert not any(tensor.requires_grad for tensor in saved.tensors)
    with torch.no_grad():
        weight.fill_(9.0)
    made = copies.put(saved, {"weight": weight})
    assert made["weight"] is weight
    assert weight.is_leaf
    assert weight.requires_grad
    assert weight.tolist() == [1.0, 1.0, 1.0]


def test_a_tensor_of_another_shape_or_dtype_is_not_written_to() -> None:
    saved = copies.take([torch.ones(2)])
    for other in (torch.zeros(3), torch.zeros(2, dtype=torch.float64), torch.zeros(1, 2)):
        before = bits(other)
        assert bits(copies.put(saved, [other])) == bits([torch.ones(2)])
        assert bits(other) == before


def test_a_tensor_that_repeats_its_memory_can_be_put_back() -> None:
    live = torch.ones(1).expand(3)
    assert bits(copies.put(copies.take(live), live)) == bits(torch.ones(3))


def test_tensors_that_were_apart_and_share_memory_now_are_put_back_apart() -> None:
    saved = copies.take({"a": torch.zeros(2), "b": torch.ones(2)})
    shared = torch.full((2,), 5.0)
    made = copies.put(saved, {"a": shared, "b": shared})
    assert bits(made) == bits({"a": torch.zeros(2), "b": torch.ones(2)})


def test_a_copy_made_in_inference_mode_can_be_written_over_and_put_back_outside_of_it() -> None:
    with torch.inference_mode():
        saved = copies.take([torch.ones(2)])
    saved = copies.take([torch.full((2,), 2.0)], into=saved)
    assert bits(copies.put(saved, None)) == bits([torch.full((2,), 2.0)])


def test_what_is_put_back_in_inference_mode_can_be_trained_on_outside_of_it() -> None:
    saved = copies.take([torch.ones(2)])
    with torch.inference_mode():
        (made,) = copies.put(saved, None)
    made.add_(1.0)
    assert made.tolist() == [2.0, 2.0]


def test_one_tensor_in_two_places_is_copied_once_and_stays_one() -> None:
    shared = torch.zeros(3)
    live = {"a": shared, "b": [shared]}
    saved = copies.take(live)
    assert saved.nbytes == copies.size(live) == 12
    shared.fill_(5.0)
    made = copies.put(saved, live)
    assert made["a"] is made["b"][0] is shared
    assert shared.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("order", [("whole", "part"), ("part", "whole")], ids=str)
@pytest.mark.parametrize("start", [0, 2])
def test_a_view_of_another_tensor_stays_one(start: int, order: tuple[str, str]) -> None:
    whole = torch.arange(6.0)
    both = {"whole": whole, "part": whole[start : start + 2]}
    live = {key: both[key] for key in order}
    expected, saved = bits(live), copies.take(live)
    whole.fill_(-1.0)
    made = copies.put(saved, live)
    assert bits(made) == expected
    assert all(made[key] is both[key] for key in order)
    whole[start] = 9.0
    assert made["part"][0] == 9.0


def test_a_tensor_and_its_conjugate_are_two() -> None:
    number = torch.tensor([1.0 + 2.0j])
    live = {"number": number, "conjugate": number.conj()}
    made = copies.put(copies.take(live), None)
    assert made["number"].tolist() == [1.0 + 2.0j]
    assert made["conjugate"].tolist() == [1.0 - 2.0j]
