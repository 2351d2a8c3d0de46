"""Batches that are pairs, however deep their tensors lie."""

from collections import namedtuple
from typing import Any

import pytest
import torch
from torch import Tensor

from gptune.adapters.pairs import moved, pair, size
from gptune.errors import UsageError

Named = namedtuple("Named", "x y")


@pytest.mark.parametrize("batch", [(1, 2), [1, 2], Named(1, 2)])
def test_a_pair_is_inputs_and_targets(batch: Any) -> None:
    assert pair(batch) == (1, 2)


@pytest.mark.parametrize("batch", [torch.zeros(2, 3), (1,), (1, 2, 3), {"x": 1, "y": 2}, None])
def test_anything_else_is_refused_and_named(batch: Any) -> None:
    with pytest.raises(UsageError, match=rf"got {type(batch).__name__}; give the loader"):
        pair(batch)


def test_a_batch_counts_its_rows_or_as_one() -> None:
    assert size((torch.zeros(7, 3), torch.zeros(7))) == 7
    assert size((torch.zeros(7, 3), [1, 2])) == 2
    assert size((torch.zeros(7, 3), 3)) == 1


def test_tensors_are_moved_wherever_they_lie_and_nothing_else_is_changed() -> None:
    one, place = torch.zeros(2), torch.device("meta")
    given = {"a": [one, "word"], "b": Named(one, (one, 3)), "c": None}
    found: Any = moved(given, place)
    tensors: list[Tensor] = [found["a"][0], found["b"].x, found["b"].y[0]]
    assert {tensor.device for tensor in tensors} == {place}
    assert isinstance(found["b"], Named)
    assert (found["a"][1], found["b"].y[1], found["c"]) == ("word", 3, None)
    assert one.device.type == "cpu"
