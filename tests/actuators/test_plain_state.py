"""What is saved must load again, and what would not is named by its place."""

import enum
import io
from collections import Counter, OrderedDict, UserDict, defaultdict, deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import MultiStepLR

from gptune.actuators.plain_state import check_plain
from gptune.errors import GptuneError, StateError


class Pair(NamedTuple):
    one: int


class Color(enum.Enum):
    RED = 1


class Name(enum.StrEnum):
    RED = "red"


class Real(float):
    """A user's kind of number."""


class Marked(torch.Tensor):
    """A user's kind of tensor."""


class Named(OrderedDict[str, int]):
    """A user's kind of dict."""


def load(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    st.text(max_size=3),
)
keys = st.one_of(st.text(max_size=2), st.integers(0, 3), st.tuples(st.integers(0, 2)))


def grown(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    dicts = st.dictionaries(keys, inner, max_size=3)
    return st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.sets(scalars, max_size=3),
        dicts,
        dicts.map(OrderedDict),
        dicts.map(lambda made: defaultdict(list, made)),
        st.dictionaries(keys, st.integers(0, 9), max_size=3).map(Counter),
    )


@given(st.recursive(scalars, grown, max_leaves=8))
def test_what_passes_loads_again_as_it_was(state: Any) -> None:
    checked = check_plain("state", state)
    assert checked == state
    again = load(checked)
    assert again == state
    assert type(again) is type(checked)
    assert type(state) in (type(checked), defaultdict)


@pytest.mark.parametrize("value", [b"raw", b"\x00\xff"], ids=repr)
def test_bytes_load_again_as_they_were(value: bytes) -> None:
    assert load(check_plain("state", {"key": value})) == {"key": value}


@pytest.mark.parametrize(
    "value",
    [
        torch.Size([2, 3]),
        torch.float16,
        torch.device("cpu"),
        torch.ones(2, dtype=torch.bfloat16),
        nn.Parameter(torch.ones(1)),
        -0.0,
        float("inf"),
    ],
    ids=repr,
)
def test_what_torch_knows_passes_unchanged(value: Any) -> None:
    (checked,) = check_plain("state", [value])
    assert checked is value
    assert type(load(checked)) is type(value)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (np.float64(0.1), float),
        (np.float32(0.1), float),
        (np.float16(0.1), float),
        (np.int64(-3), int),
        (np.uint8(3), int),
        (np.bool_(True), bool),
        (np.complex64(1 + 2j), complex),
        (np.str_("name"), str),
        (np.bytes_(b"raw"), bytes),
    ],
    ids=lambda value: type(value).__name__,
)
def test_numbers_of_numpy_become_plain_ones_of_the_same_value(value: Any, kind: type) -> None:
    checked = check_plain("state", {"best": [value]})
    assert type(checked["best"][0]) is kind
    assert checked["best"][0] == value
    assert load(checked) == checked


@pytest.mark.parametrize(
    "value",
    [np.datetime64("2020-01-01"), np.timedelta64(1, "s"), np.longdouble(0.1)],
    ids=lambda value: type(value).__name__,
)
def test_numbers_of_numpy_that_have_no_plain_kind_are_named(value: Any) -> None:
    with pytest.raises(StateError, match=r"^state\.since: .*no plain data"):
        check_plain("state", {"since": value})


def test_what_a_model_notes_beside_its_state_is_kept() -> None:
    state = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1)).state_dict()
    checked = check_plain("model", state)
    assert type(checked) is OrderedDict
    assert list(checked) == list(state)
    noted = vars(load(checked))["_metadata"]
    assert noted == vars(state)["_metadata"]
    assert noted["1"] == {"version": 2}


def test_milestones_stay_a_counter() -> None:
    optimizer = SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    state = MultiStepLR(optimizer, [2, 4, 4]).state_dict()
    loaded = load(check_plain("scheduler", state))
    assert type(loaded["milestones"]) is Counter
    assert loaded["milestones"] == Counter([2, 4, 4])
    assert sorted(loaded["milestones"].elements()) == [2, 4, 4]


@pytest.mark.parametrize("kind", [defaultdict, Named], ids=lambda kind: kind.__name__)
def test_other_kinds_of_dict_become_plain_ones(kind: type) -> None:
    given_state = kind()
    given_state["a"] = 1
    checked = check_plain("state", given_state)
    assert type(checked) is dict
    assert load(checked) == {"a": 1}


def test_the_state_itself_is_not_changed() -> None:
    inner = OrderedDict(best=np.float64(0.5))
    numbers = [np.int64(1)]
    state = {"inner": inner, "numbers": numbers}
    check_plain("state", state)
    assert state["inner"] is inner
    assert type(inner["best"]) is np.float64
    assert type(numbers[0]) is np.int64


ODD: dict[str, Callable[[], Any]] = {
    "no bytes": lambda: b"",  # torch saves them in a way that it refuses to load
    "function": lambda: load,
    "lambda": lambda: lambda: None,
    "partial": lambda: partial(load),
    "method": lambda: UserDict().items,
    "class": lambda: Pair,
    "object": object,
    "named tuple": lambda: Pair(1),
    "deque": lambda: deque([1]),
    "array": lambda: np.ones(2),
    "enum": lambda: Color.RED,
    "string enum": lambda: Name.RED,
    "kind of float": lambda: Real(1.0),
    "kind of tensor": lambda: torch.ones(1).as_subclass(Marked),
    "mapping": lambda: UserDict(a=1),
    "frozen set": lambda: frozenset([1]),
    "module": lambda: nn.Linear(1, 1),
    "optimizer": lambda: SGD([torch.ones(1)], lr=1.0),
    "range": lambda: range(2),
}


@pytest.mark.parametrize("name", ODD)
def test_what_would_not_load_is_named_by_its_place_and_kind(name: str) -> None:
    value = ODD[name]()
    places: dict[str, Any] = {
        r"scheduler\.fn": {"last": 1, "fn": value},
        r"scheduler\[1\]": [0, value],
        r"scheduler\.lrs\[0\]\.fn": {"lrs": ({"fn": value},)},
        r"scheduler\.1\.a": OrderedDict({1: defaultdict(list, a=value)}),
        r"scheduler": value,
    }
    for place, state in places.items():
        kind = type(value).__name__
        with pytest.raises(StateError, match=f"^{place}: {kind} is no plain data") as caught:
            check_plain("scheduler", state)
        assert isinstance(caught.value, GptuneError)


@pytest.mark.parametrize("key", [Name.RED, Color.RED, Real(1.0), Pair(1)], ids=repr)
def test_a_key_that_would_not_load_is_refused(key: Any) -> None:
    with pytest.raises(StateError, match="scheduler"):
        check_plain("scheduler", {"last": 1, key: 2})


def test_what_is_noted_beside_a_model_must_be_plain_too() -> None:
    state: OrderedDict[str, int] = OrderedDict(weight=1)
    vars(state)["_metadata"] = {"": {"version": 1, "how": load}}
    with pytest.raises(StateError, match=r"^model\b.*function is no plain data"):
        check_plain("model", state)
