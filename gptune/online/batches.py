"""Between the loader and the loop: records, replays and skips batches."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

Batch = TypeVar("Batch")

MB = 10**6
LARGEST = 256 * MB  # what may be recorded [bytes]
COMMON, FEW = 10, 2  # one unsound batch in so many, and more than a few, is what data looks like


class Batches:
    """Stands between a loader and the loop; gives one batch for each that the loader has.

    As long as nothing is recorded, replayed or skipped, a batch passes untouched. Each batch that
    is given instead of the loader's own takes that one's place, so the loop makes exactly as many
    steps as it would have made; the own one is dropped.

    A position counts batches since recording began. Gradient accumulation needs no care: what one
    optimizer step takes, it takes again in a replay.

    Args:
        largest: How much may be recorded [bytes]; beyond it, a replay goes on with new batches.
    """

    def __init__(self, largest: int = LARGEST) -> None:
        self.used = False  # whether a loop takes its batches from here
        self.replayed = self.skipped = 0  # [batches]
        self.passed = 0  # unsound ones that were let through [batches]
        self._largest = largest
        self._recorded: list[Any] | None = None
        self._bytes = 0
        self._at = 0
        self._screens = False
        self._sound = self._unsound = 0
        self._stand_in: Any = None

    def over(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Yield as many batches as the loader has."""
        for batch in loader:
            self.used = True
            yield self._exchange(batch)

    @property
    def position(self) -> int:
        """How far the replay, or the recording, has come [batches]."""
        return self._at

    def record(self) -> None:
        """Keep copies of the batches from now on; position 0 is here."""
        self._recorded, self._bytes, self._at = [], 0, 0

    def rewind(self, position: int) -> None:
        """Give the batches from a position on again, then new ones."""
        if self._recorded is not None:
            self._at = min(position, len(self._recorded))

    def forget(self) -> None:
        """Stop recording, and give the memory back."""
        self._recorded, self._bytes, self._at = None, 0, 0

    def screen(self) -> None:
        """Look at each batch from now on: one that is not finite is replaced by the last good one.

        Begins once a run was poisoned, for it costs a pass over the data and a copy; while batches
        are recorded they are looked at, too. Data that is often not finite (missing values that the
        model knows how to handle) is let through. What lies on an accelerator is not looked at, for
        that would wait for it.
        """
        self._screens = True

    def _exchange(self, batch: Any) -> Any:
        recorded = self._recorded
        if recorded is not None and self._at < len(recorded):
            batch, self.replayed = _copy(recorded[self._at]), self.replayed + 1
            self._at += 1
            return batch
        if self._screens or recorded is not None:  # what is poisoned would be replayed
            batch = self._screened(batch)
        if recorded is not None:
            self._keep(recorded, batch)
        return batch

    def _keep(self, recorded: list[Any], batch: Any) -> None:
        self._bytes += sum(t.numel() * t.element_size() for t in _tensors(batch))
        if self._bytes <= self._largest:
            recorded.append(_copy(batch))
            self._at += 1

    def _screened(self, batch: Any) -> Any:
        if all(_is_finite(tensor) for tensor in _tensors(batch)):
            self._sound += 1
            self._stand_in = _copy(batch)  # a loader may use its memory again, a loop change it
            return batch
        self._unsound += 1
        rare = self._unsound <= max(FEW, (self._sound + self._unsound) // COMMON)
        if not rare or self._stand_in is None:
            self.passed += 1
            return batch
        self.skipped += 1
        return _copy(self._stand_in)


def _is_finite(tensor: Tensor) -> bool:
    looks = tensor.is_floating_point() and tensor.device.type == "cpu"
    return not looks or bool(torch.isfinite(tensor).all())


def _tensors(batch: Any) -> Iterator[Tensor]:
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for item in batch.values():
            yield from _tensors(item)
    elif isinstance(batch, list | tuple):
        for item in batch:
            yield from _tensors(item)


def _copy(batch: Any) -> Any:
    """Copy the tensors of a batch, for a loop may change its batches in place."""
    made: Any
    match batch:
        case Tensor():
            made = batch.clone()
        case tuple() if hasattr(batch, "_fields"):
            made = type(batch)(*map(_copy, batch))
        case list() | tuple():
            made = type(batch)(map(_copy, batch))
        case Mapping():
            made = _copy_mapping(batch)
        case _:
            made = batch
    return made


def _copy_mapping(batch: Any) -> Any:
    """Copy a dict, or a mapping of another kind, such as a tokenizer's, that can copy itself."""
    if not hasattr(batch, "copy"):
        return batch
    made = batch.copy()
    for key, item in batch.items():
        made[key] = _copy(item)
    return made
