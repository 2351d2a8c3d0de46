"""Batches between the loader and the loop: as many as the loader has, whatever happens."""

from collections import namedtuple
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gptune.online.batches import FEW, UNKNOWN, Batches, _leaves

Pair = namedtuple("Pair", ["x", "y"])


def loader(count: int, start: int = 0) -> list[tuple[Tensor, int]]:
    return [(torch.full((2,), float(start + n)), start + n) for n in range(count)]


@given(st.lists(st.integers(0, 6), max_size=4))
def test_untouched_it_gives_the_loaders_own_batches_epoch_by_epoch(counts: list[int]) -> None:
    batches = Batches()
    for count in counts:
        own = loader(count)
        assert all(a is b for a, b in zip(batches.over(own), own, strict=True))
    assert batches.used == any(counts)


@given(st.lists(st.sampled_from(["take", "record", "rewind", "forget"]), max_size=30))
def test_whatever_is_done_there_are_as_many_batches_as_the_loader_has(doings: list[str]) -> None:
    batches, taken = Batches(), 0
    stream = batches.over(loader(200))
    for doing in doings:
        if doing == "take":
            taken += next(stream, None) is not None
        elif doing == "rewind":
            batches.rewind(0)
        else:
            getattr(batches, doing)()
    assert taken + sum(1 for _ in stream) == 200


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x,
        lambda x: (x, 3),
        lambda x: [x, x + 1],
        lambda x: {"x": x, "name": "a"},
        lambda x: Pair(x, x + 1),
        lambda x: {"deep": [(x, {"y": x})]},
    ],
)
def test_a_replay_gives_what_was_recorded_even_if_the_loop_wrote_into_it(make: Any) -> None:
    batches = Batches()
    stream = batches.over([make(torch.full((3,), float(n))) for n in range(8)])
    batches.record()
    first = [next(stream) for _ in range(3)]
    for batch in first:
        for tensor in tensors(batch):
            tensor.add_(100)
    batches.rewind(1)
    again = [next(stream) for _ in range(3)]
    assert [type(b) for b in again] == [type(b) for b in first]
    values = [[float(t[0]) for t in tensors(b)] for b in again]
    expected = [[float(t[0]) for t in tensors(make(torch.full((3,), n)))] for n in (1.0, 2.0, 5.0)]
    assert values == expected  # then new ones; those that fell to the replay are gone


def tensors(batch: Any) -> Iterator[Tensor]:
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, dict):
        for item in batch.values():
            yield from tensors(item)
    elif isinstance(batch, list | tuple):
        for item in batch:
            yield from tensors(item)


def test_what_does_not_fit_is_not_recorded_and_the_replay_goes_on_with_new_batches() -> None:
    batches = Batches(largest=3 * 8)
    stream = batches.over(loader(10))
    batches.record()
    for _ in range(5):
        next(stream)
    assert batches.position == 3
    batches.rewind(0)
    assert [next(stream)[1] for _ in range(4)] == [0, 1, 2, 8]
    assert batches.replayed == 3


@dataclass
class Graph:
    x: Tensor
    nodes: int = 3


@pytest.mark.parametrize(
    "make",
    [
        lambda n: {"x": np.full(3, n)},
        lambda n: Graph(torch.full((3,), n)),
        lambda n: (Graph(torch.full((3,), n)), [np.full(2, n), "name"]),
    ],
)
def test_arrays_and_objects_are_recorded_as_they_were(make: Any) -> None:
    batches = Batches()
    stream = batches.over([make(float(n)) for n in range(4)])
    batches.record()
    for _ in range(2):
        spoil(next(stream))
    batches.rewind(0)
    assert [repr(next(stream)) for _ in range(2)] == [repr(make(0.0)), repr(make(1.0))]


def spoil(batch: Any) -> None:
    for leaf in _leaves(batch):
        if not isinstance(leaf, str):
            (leaf.x if isinstance(leaf, Graph) else leaf)[:] = -1


@pytest.mark.filterwarnings("ignore")
def test_sparse_and_nested_tensors_pass_as_they_are() -> None:
    dense = torch.eye(3)
    own = [dense.to_sparse(), dense.to_sparse_csr(), torch.nested.nested_tensor([dense])]
    batches = Batches()
    batches.screen()
    batches.record()
    assert all(a is b for a, b in zip(batches.over(own), own, strict=True))


class Locked:
    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("cannot be copied")


def test_what_cannot_be_copied_is_passed_on_all_the_same() -> None:
    batches, own = Batches(), [Locked(), Locked(), Locked()]
    batches.record()
    assert all(a is b for a, b in zip(batches.over(own), own, strict=True))


@pytest.mark.parametrize(
    ("batch", "size"),
    [
        (torch.zeros(10), 40),
        ((np.zeros(10), "name", 3), 80),
        ({"x": [torch.zeros(2), None]}, 8),
        (Graph(torch.zeros(9)), UNKNOWN + 36),
        ([np.int64(3), np.float32(1)], 12),
    ],
)
def test_there_is_room_for_as_many_steps_as_fit(batch: Any, size: int) -> None:
    batches = Batches(largest=10 * size + size // 2)
    batches.record()
    assert batches.room(1000) == 1000  # nothing is known yet
    stream = batches.over([batch] * 30)
    next(stream)
    assert batches.room(1000) == 10
    assert batches.room(4) == 4
    for _ in range(9):
        next(stream)
    assert not batches.is_beyond
    next(stream)
    assert batches.is_beyond
    assert batches.position == 10
    assert batches.room(4) == 0
    batches.rewind(0)
    assert not batches.is_beyond
    batches.record()
    assert batches.room(4) == 4


def test_nothing_is_recorded_out_of_turn_behind_a_batch_that_did_not_fit() -> None:
    batches = Batches(largest=100)
    stream = batches.over([torch.zeros(10), torch.zeros(20), torch.zeros(1), torch.zeros(2)])
    batches.record()
    assert [len(next(stream)) for _ in range(3)] == [10, 20, 1]
    assert batches.position == 1


def test_an_array_that_is_not_finite_is_replaced_as_a_tensor_is() -> None:
    data = [np.full(2, np.nan if n == 5 else 1.0) for n in range(10)]
    batches = Batches()
    batches.screen()
    assert all(np.isfinite(one).all() for one in batches.over(data))
    assert (batches.skipped, batches.passed) == (1, 0)


def test_a_rare_batch_that_is_not_finite_is_replaced_once_a_run_was_poisoned() -> None:
    def poisoned() -> list[tuple[Tensor, int]]:
        made = loader(40)
        made[20][0].fill_(torch.nan)
        return made

    assert any(x.isnan().any() for x, _ in Batches().over(poisoned()))
    batches = Batches()
    batches.screen()
    seen = list(batches.over(poisoned()))
    assert len(seen) == 40
    assert not any(x.isnan().any() for x, _ in seen)
    assert torch.equal(seen[20][0], seen[19][0])
    assert batches.skipped == 1


@pytest.mark.parametrize("at", [1, 5, 20])
def test_nothing_that_is_not_finite_is_recorded_however_early(at: int) -> None:
    made = loader(40)
    made[at][0].fill_(torch.nan)
    batches = Batches()
    batches.record()
    assert not any(x.isnan().any() for x, _ in batches.over(made))
    assert batches.skipped == 1


def test_a_loader_that_uses_its_memory_again_does_not_spoil_what_stands_in() -> None:
    memory = torch.zeros(3)

    def reusing() -> Iterator[Tensor]:
        for n in range(10):
            yield memory.fill_(torch.nan if n == 5 else float(n))

    batches = Batches()
    batches.screen()
    assert [float(batch.sum()) / 3 for batch in batches.over(reusing())][5] == 4.0


def test_data_that_is_often_not_finite_is_let_through() -> None:
    batches = Batches()
    batches.screen()
    data = [torch.full((2,), torch.nan if n % 3 == 0 else 1.0) for n in range(60)]
    given = list(batches.over(data))
    assert len(given) == 60
    assert batches.skipped <= FEW
    assert batches.passed == 20 - batches.skipped
    assert all(a is b for a, b in zip(given[10:], data[10:], strict=True))


def test_what_the_loader_raises_passes_unchanged() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise KeyError("disk")

    with pytest.raises(KeyError, match="disk"):
        list(Batches().over(broken()))
