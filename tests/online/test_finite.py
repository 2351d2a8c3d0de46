"""Finite losses are counted, each once, whether they are known now or come later."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptune.online import finite
from gptune.online.finite import Asked, Finite

LOSS = st.sampled_from([0.5, -1.0, math.nan, math.inf, -math.inf])


class Slow:
    """A device that comes to its marks when it is told to, or waited for."""

    def __init__(self) -> None:
        self.done = False

    def query(self) -> bool:
        return self.done

    def synchronize(self) -> None:
        self.done = True


@pytest.fixture
def marks(monkeypatch: pytest.MonkeyPatch) -> list[Slow]:
    """Let every tensor lie elsewhere; gives the marks that were made."""
    made: list[Slow] = []

    def send(answers: torch.Tensor) -> Asked:
        made.append(Slow())
        return Asked(answers, made[-1])

    monkeypatch.setattr(finite, "is_elsewhere", lambda tensor: True)
    monkeypatch.setattr(finite, "send", send)
    return made


@given(st.lists(st.tuples(LOSS, st.sampled_from([float, torch.tensor])), max_size=20))
def test_numbers_and_tensors_are_counted_at_once(
    losses: list[tuple[float, Callable[[float], object]]],
) -> None:
    given_ = [make(loss) for loss, make in losses]
    good = sum(math.isfinite(loss) for loss, _ in losses)
    assert Finite().count([*given_, None, "no number"], waits=False) == (good, len(losses))


def test_losses_per_example_are_finite_if_all_are() -> None:
    assert Finite().count([torch.tensor([1.0, math.nan]), torch.ones(2)], waits=False) == (1, 2)


def test_a_tensor_that_cannot_be_read_hides_no_other(marks: list[Slow]) -> None:
    assert Finite().count([torch.ones(2, device="meta"), 1.0], waits=False) == (1, 1)


def test_what_lies_elsewhere_is_counted_once_it_is_there_in_its_turn(marks: list[Slow]) -> None:
    counter = Finite()
    assert counter.count([torch.tensor(1.0), torch.tensor(math.nan)], waits=False) == (0, 0)
    assert counter.count([torch.tensor(2.0), 3.0], waits=False) == (1, 1)
    marks[1].done = True  # a later one is not read before an earlier one
    assert counter.count([], waits=False) == (0, 0)
    marks[0].done = True
    assert counter.count([], waits=False) == (2, 3)
    assert counter.count([], waits=True) == (0, 0)


def test_who_waits_knows_all(marks: list[Slow]) -> None:
    counter = Finite()
    counter.count([torch.tensor(1.0)], waits=False)
    assert counter.count([torch.tensor(math.inf)], waits=True) == (1, 2)


def test_what_was_asked_of_a_state_that_is_gone_is_not_counted(marks: list[Slow]) -> None:
    counter = Finite()
    counter.count([torch.tensor(math.nan)], waits=False)
    counter.forget()
    assert counter.count([torch.tensor(1.0)], waits=True) == (1, 1)
