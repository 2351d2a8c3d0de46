"""Foreign code is contained in one place; the user's wish to stop passes."""

import pickle

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptune.foreign import LONGEST, Answer, foreign_call

QUICK = settings(deadline=None, max_examples=100)


class StrRaisesError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class ReprRaisesError(Exception):
    def __str__(self) -> str:
        return "words"

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class FalsyError(Exception):
    def __bool__(self) -> bool:
        return False


ERRORS: list[Exception] = [
    ValueError("broken"),
    KeyError("loss"),
    StopIteration(),
    RecursionError(),
    MemoryError(),
    AssertionError(),
    ExceptionGroup("many", [ValueError("one"), KeyError("two")]),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    OSError(28, "No space left on device"),
    pickle.PicklingError("no"),
    StrRaisesError(),
    ReprRaisesError(),
]


def raising(error: BaseException) -> None:
    raise error


def message_of(error: Exception) -> str:
    return foreign_call(lambda: raising(error)).message


@pytest.mark.parametrize("value", [None, 0, False, "", object(), [1], Exception("as a value")])
def test_what_was_given_is_handed_on_as_it_is(value: object) -> None:
    answer = foreign_call(lambda: value)
    assert answer.value is value
    assert answer.error is None
    assert answer.message == ""


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_exception_is_contained_and_kept(error: Exception) -> None:
    answer = foreign_call(lambda: raising(error))
    assert answer.value is None
    assert answer.error is error


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_exception_has_a_message_that_names_its_kind_and_fits_the_log(
    error: Exception,
) -> None:
    message = message_of(error)
    assert message.startswith(type(error).__name__)
    assert len(message) <= LONGEST
    assert msgspec.json.decode(msgspec.json.encode(message)) == message


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_the_users_wish_to_stop_passes(stop: type[BaseException]) -> None:
    with pytest.raises(stop):
        foreign_call(lambda: raising(stop()))


@QUICK
@given(st.text(st.characters(), max_size=1000))
def test_any_message_fits_the_log(text: str) -> None:
    message = message_of(ValueError(text))
    assert message.startswith("ValueError")
    assert len(message) <= LONGEST
    assert msgspec.json.decode(msgspec.json.encode(message)) == message


@QUICK
@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_addresses_which_differ_between_equal_runs_are_taken_out(one: int, other: int) -> None:
    messages = {
        message_of(TypeError(f"<Thing object at {place:#x}> is bad")) for place in (one, other)
    }
    assert messages == {"TypeError: <Thing object at 0x> is bad"}


def test_an_error_that_counts_as_false_is_still_one() -> None:
    answer = foreign_call(lambda: raising(FalsyError("quiet")))
    assert answer.error is not None
    assert answer.message == "FalsyError: quiet"


def test_a_second_call_knows_nothing_of_the_first() -> None:
    foreign_call(lambda: raising(ValueError("first")))
    assert foreign_call(lambda: 1) == Answer(value=1)
