"""A reported value is one finite number, or the reading says what is wrong with it."""

import math
import warnings
from collections import ChainMap, OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gptune.online.metrics import SHOWN, collect, is_set, read_metric
from gptune.records import Reading, Reason

HUGE = 10**400
REAL_TENSORS = [
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
]
REAL_ARRAYS = ["f2", "f4", "f8", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8"]


class FloatRaises:
    def __float__(self) -> float:
        raise RuntimeError("no float")


class ReprRaises:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class ReprLies:
    def __repr__(self) -> str:
        return 7  # type: ignore[return-value]


class ReprHasALoneSurrogate:
    def __repr__(self) -> str:
        return "before \ud800 after"


class BoolRaises:
    def __bool__(self) -> bool:
        raise RuntimeError("no truth")


class IsAlmostANumber:
    def __float__(self) -> float:
        return 0.5


class StrRaisesError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class OddFloat(float):
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class RaisingMapping(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("no item")

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


NUMBERS: list[tuple[object, float]] = [
    (0.5, 0.5),
    (-0.0, -0.0),
    (3, 3.0),
    (-3, -3.0),
    (2**60, float(2**60)),
    (10**300, 1e300),
    (5e-324, 5e-324),
    (1.7976931348623157e308, 1.7976931348623157e308),
    (Fraction(1, 4), 0.25),
    (OddFloat(0.5), 0.5),
    (np.float16(0.5), 0.5),
    (np.float32(0.5), 0.5),
    (np.float64(0.5), 0.5),
    (np.longdouble(0.5), 0.5),
    (np.int8(-5), -5.0),
    (np.uint64(7), 7.0),
    (torch.tensor(0.5), 0.5),
    (torch.tensor([0.5]), 0.5),
    (torch.tensor(0.5, requires_grad=True), 0.5),
    (nn.Parameter(torch.tensor([0.5])), 0.5),
    (torch.tensor(0.5).expand(1), 0.5),
    *((torch.tensor(2, dtype=kind), 2.0) for kind in REAL_TENSORS),
    *((torch.tensor([2], dtype=kind), 2.0) for kind in REAL_TENSORS),
    *((np.array(2, dtype=kind), 2.0) for kind in REAL_ARRAYS),
    *((np.array([2], dtype=kind), 2.0) for kind in REAL_ARRAYS),
    (np.array([0.5])[::-1], 0.5),
    (np.ma.masked_array([0.5], mask=[False]), 0.5),
]
NOT_FINITE: list[tuple[object, str]] = [
    (math.nan, "nan"),
    (math.inf, "inf"),
    (-math.inf, "-inf"),
    (HUGE, "inf"),
    (-HUGE, "-inf"),
    (Fraction(HUGE), "inf"),
    (np.float32("nan"), "nan"),
    (np.float64("-inf"), "-inf"),
    (torch.tensor(math.nan), "nan"),
    (torch.tensor([math.inf], dtype=torch.bfloat16), "inf"),
    (np.array(-math.inf), "-inf"),
    (np.array([math.nan], dtype="f2"), "nan"),
]
NOT_NUMBERS: list[object] = [
    True,
    False,
    np.bool_(True),
    torch.tensor(True),
    torch.tensor([False]),
    np.array(True),
    np.array([False]),
    "0.5",
    "",
    "nan",
    b"0.5",
    bytearray(b"1"),
    np.str_("1"),
    np.bytes_(b"1"),
    0.5 + 0j,
    np.complex64(1),
    torch.tensor(1 + 0j),
    np.array(1 + 0j),
    Decimal("0.5"),
    torch.zeros(2),
    torch.zeros(0),
    torch.zeros(1, 1),
    torch.empty(1, device="meta"),
    np.zeros(2),
    np.zeros(0),
    np.zeros((1, 1)),
    np.array(["1"]),
    np.array([None]),
    np.array(["2026-01-01"], dtype="M8[D]"),
    [0.5],
    (0.5,),
    [],
    {"loss": 0.5},
    {0.5},
    object(),
    print,
    float,
    lambda: 0.5,
    IsAlmostANumber(),
    FloatRaises(),
    ReprRaises(),
    ReprLies(),
    ReprHasALoneSurrogate(),
    BoolRaises(),
    iter([0.5]),
    ...,
]


def name_of(value: object) -> str:
    kind = type(value[0] if isinstance(value, tuple) and value else value)
    return kind.__name__


def check(reading: Reading) -> None:
    """What holds for every reading, so that the log can hold it and equal runs agree."""
    assert (reading.fault is None) == math.isfinite(reading.value)
    assert type(reading.value) is float
    assert type(reading.raw) is str
    assert len(reading.raw) <= SHOWN
    assert msgspec.json.decode(msgspec.json.encode(reading.raw)) == reading.raw
    assert " at 0x" not in reading.raw


@pytest.mark.parametrize(("value", "number"), NUMBERS, ids=name_of)
def test_real_numbers_of_one_element_are_read(value: object, number: float) -> None:
    reading = read_metric(value)
    assert reading.fault is None
    assert reading.value == number
    assert math.copysign(1, reading.value) == math.copysign(1, number)
    check(reading)


@pytest.mark.parametrize(("value", "raw"), NOT_FINITE, ids=name_of)
def test_what_is_not_finite_is_a_fault_that_names_it(value: object, raw: str) -> None:
    reading = read_metric(value)
    assert reading.fault is Reason.NOT_FINITE
    assert str(reading.value) == raw
    assert reading.raw == raw
    check(reading)


@pytest.mark.parametrize("value", NOT_NUMBERS, ids=name_of)
def test_what_is_no_single_real_number_is_a_fault_and_never_raises(value: object) -> None:
    reading = read_metric(value)
    assert reading.fault is Reason.NOT_A_NUMBER
    assert math.isnan(reading.value)
    assert reading.raw
    check(reading)


def test_nothing_is_a_missing_metric() -> None:
    assert read_metric(None).fault is Reason.MISSING
    check(read_metric(None))


def test_an_object_is_shown_by_its_type_for_its_address_differs_between_equal_runs() -> None:
    assert read_metric(object()).raw == "object"
    assert read_metric(ReprRaises()).raw == "ReprRaises"
    assert read_metric("high").raw == "'high'"


@settings(deadline=None, max_examples=100)
@given(st.one_of(st.floats(), st.integers(), st.text(), st.binary(), st.booleans(), st.none()))
def test_every_plain_value_is_read_or_refused_for_the_right_reason(value: object) -> None:
    reading = read_metric(value)
    check(reading)
    if value is None:
        assert reading.fault is Reason.MISSING
    elif isinstance(value, bool | str | bytes):
        assert reading.fault is Reason.NOT_A_NUMBER
    elif reading.fault is None:
        assert isinstance(value, float | int)
        assert reading.value == float(value)
    else:
        assert reading.fault is Reason.NOT_FINITE


@pytest.mark.parametrize("value", [value for value, _ in NUMBERS], ids=name_of)
def test_reading_changes_nothing_and_warns_of_nothing(value: object) -> None:
    before = value.clone() if isinstance(value, torch.Tensor) else value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_metric(value)
    assert bool(before == value)


# Looking up


def constant(value: Any) -> Callable[[str, Any], Any]:
    return lambda name, default: value


def raising(error: Exception) -> Callable[[str, Any], Any]:
    def source(name: str, default: Any) -> Any:
        raise error

    return source


@pytest.mark.parametrize(
    "source",
    [
        {"loss": 0.5, "other": 1.0},
        OrderedDict(loss=0.5),
        MappingProxyType({"loss": 0.5}),
        ChainMap({}, {"loss": 0.5}),
        {"loss": 0.5}.get,
        constant(0.5),
        lambda name, default: torch.tensor(0.5) if name == "loss" else default,
    ],
)
def test_a_metric_is_found_in_every_mapping_and_callable(source: Any) -> None:
    assert collect(source, "loss") == Reading(value=0.5)


@pytest.mark.parametrize(
    "source",
    [
        {},
        {"Loss": 0.5},
        {"loss": None},
        {}.get,
        constant(None),
        lambda name, default: default,
        7,
        [("loss", 0.5)],
        "loss",
        torch.tensor(0.5),
    ],
)
def test_what_is_not_reported_is_missing(source: Any) -> None:
    assert collect(source, "loss").fault is Reason.MISSING


def test_looking_up_adds_nothing_to_a_mapping_that_makes_entries() -> None:
    source: defaultdict[str, float] = defaultdict(lambda: 0.5)
    assert collect(source, "loss").fault is Reason.MISSING
    assert not is_set(source, "anomaly")
    assert not source


@pytest.mark.parametrize(
    "source",
    [
        RaisingMapping(),
        raising(ValueError("broken")),
        raising(KeyError("loss")),
        raising(ValueError("a lone surrogate \ud800")),
        raising(ValueError("x" * 10_000)),
        raising(StrRaisesError()),
        lambda: 0.5,
    ],
)
def test_a_source_that_raises_is_a_fault_and_never_raises(source: Any) -> None:
    reading = collect(source, "loss")
    assert reading.fault is Reason.METRIC_RAISED
    assert reading.raw
    check(reading)


def test_an_address_in_a_message_does_not_reach_the_log() -> None:
    texts = {collect(raising(ValueError(repr(object()))), "loss").raw for _ in range(3)}
    assert len(texts) == 1


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_the_users_wish_to_stop_passes(stop: type[BaseException]) -> None:
    def source(name: str, default: Any) -> Any:
        raise stop

    with pytest.raises(stop):
        collect(source, "loss")


@pytest.mark.parametrize("source", [{"loss": FloatRaises()}, constant(ReprRaises())])
def test_a_value_that_raises_when_it_is_read_is_not_a_number(source: Any) -> None:
    assert collect(source, "loss").fault is Reason.NOT_A_NUMBER


@pytest.mark.parametrize("value", [True, 1, "yes", np.bool_(True), torch.tensor(True), [0]])
def test_a_flag_that_is_true_is_set(value: object) -> None:
    assert is_set({"anomaly": value}, "anomaly")
    assert is_set(constant(value), "anomaly")


@pytest.mark.parametrize("value", [False, 0, "", None, np.bool_(False), torch.tensor(False), []])
def test_a_flag_that_is_false_or_absent_is_not_set(value: object) -> None:
    assert not is_set({"anomaly": value}, "anomaly")
    assert not is_set({}, "anomaly")
    assert not is_set(lambda name, default: default, "anomaly")


@pytest.mark.parametrize(
    "source",
    [
        {"anomaly": torch.zeros(2)},
        {"anomaly": np.zeros(2)},
        {"anomaly": BoolRaises()},
        RaisingMapping(),
        raising(ValueError("broken")),
        raising(StrRaisesError()),
    ],
)
def test_a_flag_that_cannot_be_read_counts_as_set(source: Any) -> None:
    assert is_set(source, "anomaly")
