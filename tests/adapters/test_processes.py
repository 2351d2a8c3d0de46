"""What one process of the reference loop does for all, and what each does."""

import io
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gptune.actuators.chance import get_chance, set_chance
from gptune.adapters.processes import Crew, bare
from gptune.errors import StateError
from gptune.online.collective import Alone


class Said:
    """Ranks of which the others have said something already, or are gone."""

    def __init__(self, number: int, said: Sequence[bytes], *, gone: bool = False) -> None:
        self.number, self.count, self.said, self.gone = number, len(said), list(said), gone
        self.asked = 0

    def exchange(self, mine: bytes) -> list[bytes]:
        self.asked += 1
        if self.gone:
            raise ConnectionError("gone")
        self.said[self.number] = mine
        return self.said


def draws() -> list[float]:
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]  # noqa: NPY002


@pytest.fixture
def chance() -> Iterator[None]:
    before = get_chance()
    yield
    set_chance(before)


def test_a_model_without_a_wrapper_is_bare() -> None:
    model = nn.Linear(1, 1)
    assert bare(model) is model


@pytest.mark.usefixtures("chance")
def test_each_process_gets_its_own_chance_back() -> None:
    (packed,) = [Crew(Alone()).gather_chance()]
    first = draws()
    random.seed(3)
    other = io.BytesIO()
    torch.save(get_chance(), other)
    expected = draws()
    set_chance(packed[0])
    every = Crew(Said(0, [b"", other.getvalue()])).gather_chance()
    assert len(every) == 2
    Crew(Said(1, [b"", b""])).set_chance(every)
    assert draws() == expected
    Crew(Said(0, [b"", b""])).set_chance(every)
    assert draws() == first
    Crew(Said(1, [b"", b""])).set_chance(every[:1])  # it was not there when that was saved
    assert draws() != first


def test_one_that_cannot_be_reached_is_asked_no_more(caplog: pytest.LogCaptureFixture) -> None:
    gone = Said(0, [b"", b""], gone=True)
    crew = Crew(gone)
    assert len(crew.gather_chance()) == 1
    assert crew.holds_on_any(True)
    assert not crew.holds_on_any(False)
    assert gone.asked == 1
    assert "goes on without the other processes (ConnectionError: gone)" in caplog.text


def test_what_holds_on_one_holds_on_any() -> None:
    assert Crew(Said(0, [b"", b"1"])).holds_on_any(False)
    assert not Crew(Said(0, [b"", b"0"])).holds_on_any(False)
    assert Crew(Alone()).holds_on_any(True)


SAVED = {"epoch": 3, "history": [{"seconds": 0.25}]}


@pytest.mark.parametrize("found", [None, SAVED])
def test_all_must_go_on_from_one_checkpoint(found: Any) -> None:
    heard: list[bytes] = []

    class Hears(Said):
        def exchange(self, mine: bytes) -> list[bytes]:
            heard.append(mine)
            return [mine, mine]

    def read() -> Any:
        return found

    assert Crew(Alone()).read_alike(read) is found
    assert Crew(Hears(0, [b"", b""])).read_alike(read) is found
    for other in (b"the end of epoch 3 (of another run)", b"none: torn"):
        with pytest.raises(StateError, match=r"rank 0 .* go on from .*, rank 1 from .*; put check"):
            Crew(Said(1, [other, b""])).read_alike(read)
    with pytest.raises(StateError, match="do not answer"):
        Crew(Said(1, [b"", b""], gone=True)).read_alike(read)
    later = {**SAVED, "history": [{"seconds": 0.5}]}
    with pytest.raises(StateError, match="epoch 3"):
        Crew(Said(1, [heard[0], b""])).read_alike(lambda: later)


def test_a_checkpoint_that_cannot_be_read_is_an_error_here_and_a_word_to_the_others() -> None:
    said = Said(0, [b"", b"the beginning"])

    def read() -> Any:
        raise StateError("torn")

    with pytest.raises(StateError, match="torn"):
        Crew(said).read_alike(read)
    assert said.said[0] == b"none: StateError: torn"
