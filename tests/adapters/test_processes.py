"""What one process of the reference loop does for all, and what each does."""

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gptune.actuators.chance import get_chance, set_chance
from gptune.adapters.processes import bare, check_alike, gather_chance, set_own_chance
from gptune.errors import StateError
from gptune.online.collective import Alone


class Said:
    """Ranks of which the others have said something already."""

    def __init__(self, number: int, said: Sequence[bytes]) -> None:
        self.number, self.count, self.said = number, len(said), list(said)

    def exchange(self, mine: bytes) -> list[bytes]:
        self.said[self.number] = mine
        return self.said


def draws() -> list[float]:
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]  # noqa: NPY002


def test_a_model_without_a_wrapper_is_bare() -> None:
    model = nn.Linear(1, 1)
    assert bare(model) is model


def test_each_process_gets_its_own_chance_back() -> None:
    before = get_chance()
    try:
        barrier, told = Barrier(2), dict[int, bytes]()

        class Two:
            count = 2

            def __init__(self, number: int) -> None:
                self.number = number

            def exchange(self, mine: bytes) -> list[bytes]:
                told[self.number] = mine
                barrier.wait(10)
                return [told[0], told[1]]

        torch.manual_seed(1)  # one process stands for both: equal states, told apart below
        with ThreadPoolExecutor(2) as pool:
            every = list(pool.map(gather_chance, [Two(0), Two(1)]))
        assert [len(one) for one in every] == [2, 2]
        first = draws()
        random.seed(3)
        second = get_chance()
        expected = draws()
        set_own_chance(Two(1), [every[0][0], second])
        assert draws() == expected
        set_own_chance(Two(0), [every[0][0], second])
        assert draws() == first
        set_own_chance(Two(1), [every[0][0]])  # it was not there when the state was saved
        assert draws() != first
    finally:
        set_chance(before)


def test_alone_there_is_one_chance() -> None:
    (mine,) = gather_chance(Alone())
    expected = draws()
    set_own_chance(Alone(), [mine])
    assert draws() == expected


@pytest.mark.parametrize("found", [None, {"epoch": 3}])
def test_all_must_go_on_from_one_checkpoint(found: Any) -> None:
    check_alike(Alone(), found)
    same = b"nothing" if found is None else b"the end of epoch 3"
    check_alike(Said(1, [same, b""]), found)
    other = b"the end of epoch 2"
    with pytest.raises(StateError, match=r"rank 0 .* epoch 2, rank 1 from .*; put checkpoint="):
        check_alike(Said(1, [other, b""]), found)
