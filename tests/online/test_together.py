"""One rank's part: what it does alone, and how it parts from the others."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptune.configs import Mode
from gptune.errors import StateError
from gptune.foreign import Answer
from gptune.online.collective import Vote
from gptune.online.decision import Seen
from gptune.online.together import Together
from gptune.records import Reading
from gptune.run_directory.control import Message

SEEN = Seen(step=3, objective=Reading(value=1.0))


class Other:
    """Another rank that says nothing, or is gone."""

    number, count = 0, 2

    def __init__(self, *, gone: bool) -> None:
        self.gone, self.asked = gone, 0

    def exchange(self, mine: bytes) -> list[bytes]:
        self.asked += 1
        if self.gone:
            raise ConnectionError("gone")
        return [mine, b""]


def calls(together: Together) -> dict[str, Any]:
    return {
        "meet": lambda: together.meet([], Mode.ACTIVE),
        "join": lambda: together.join(SEEN, str),
        "first": lambda: together.first(Answer()),
        "agree": lambda: together.agree(str),
    }


def test_alone_everything_is_as_it_was_said() -> None:
    together = Together(lambda why: pytest.fail(why.message))
    order = Message(id="1", verb="pause", arguments={})
    assert together.meet([order], Mode.SUGGEST) == ([order], Mode.SUGGEST)
    assert together.join(SEEN, str) is SEEN
    word = together.first(Answer())
    assert word is not None
    assert word.plan is None
    assert together.agree(str)
    assert together.vote(Vote(goes_on=True)).goes_on
    together.decline()
    assert not together.parted


@given(st.lists(st.sampled_from(["meet", "join", "first", "agree", "end"]), max_size=8))
def test_one_parts_once_and_asks_nobody_again(names: list[str]) -> None:
    parted: list[str] = []
    together = Together(lambda why: parted.append(why.message))
    other = together.ranks = Other(gone=True)
    for name in names:
        if name == "end":
            together.end()
        else:
            calls(together)[name]()
    exchanged = any(name != "end" for name in names)
    assert other.asked == len(parted) == exchanged
    assert together.parted is exchanged


@pytest.mark.parametrize("name", ["meet", "join", "first", "agree"])
@pytest.mark.parametrize("gone", [True, False])
def test_until_the_end_of_the_decision_nothing_is_agreed(name: str, gone: bool) -> None:
    together = Together(lambda why: None)
    together.ranks = Other(gone=gone)
    assert not calls(together)[name]()
    assert not any(call() for call in calls(together).values())
    together.end()
    assert all(call() for call in calls(together).values())


def test_a_refusal_is_an_error_and_parts_nobody() -> None:
    together = Together(lambda why: pytest.fail(why.message))
    with pytest.raises(StateError, match="because"):
        together.vote(Vote(goes_on=False, refusal="because"))
    assert not together.parted
