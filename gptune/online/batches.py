"""Between the loader and the loop: records, replays and skips batches."""

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from gptune.foreign import foreign_call

Batch = TypeVar("Batch")

MB = 10**6
LARGEST = 256 * MB  # what may be recorded [bytes]
UNKNOWN = MB  # what a thing of an unknown kind counts as, beside what it holds [bytes]
DEEPEST = 3  # objects within objects that are looked into
SMALL = (type(None), bool, int, float, complex, str, bytes)
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
            Tensors and arrays count as what they are, other objects as a megabyte and what they
            hold.
    """

    def __init__(self, largest: int = LARGEST) -> None:
        self.used = False  # whether a loop takes its batches from here
        self.replayed = self.skipped = 0  # [batches]
        self.passed = 0  # unsound ones that were let through [batches]
        self._largest = largest
        self.is_beyond = False  # whether, since the last rewind, batches came that did not fit
        self._is_full = False
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
    def is_mostly_sound(self) -> bool:
        """Whether most of what was looked at is finite: else it is the data's way, as of a mask."""
        return self._sound > self._unsound

    @property
    def position(self) -> int:
        """How far the replay, or the recording, has come [batches]."""
        return self._at

    def record(self) -> None:
        """Keep copies of the batches from now on; position 0 is here."""
        self._recorded, self._bytes, self._at = [], 0, 0
        self._is_full = self.is_beyond = False

    def rewind(self, position: int) -> None:
        """Give the batches from a position on again, then new ones."""
        if self._recorded is not None:
            self._at, self.is_beyond = min(position, len(self._recorded)), False

    def forget(self) -> None:
        """Stop recording, and give the memory back."""
        self._recorded, self._bytes, self._at = None, 0, 0

    def screen(self) -> None:
        """Look at each batch from now on: one that is not finite is replaced by the last good one.

        Begins once a run was poisoned, for it costs a pass over the data and a copy; while batches
        are recorded they are looked at, too. Data that is often not finite (missing values that the
        model knows how to handle) is let through. Tensors and arrays are looked at; what lies on an
        accelerator is not, for that would wait for it.
        """
        self._screens = True

    def room(self, steps: int) -> int:
        """Say how many steps can be recorded, if each takes what was recorded so far.

        Args:
            steps: Most that are asked for [steps].
        """
        if self._is_full:
            return 0
        return min(steps, self._largest // self._bytes) if self._bytes else steps

    def _exchange(self, batch: Any) -> Any:
        recorded = self._recorded
        if recorded is not None and self._at < len(recorded):
            batch, self.replayed = _copy(recorded[self._at]), self.replayed + 1
            self._at += 1
            return batch
        if self._screens or recorded is not None:  # what is poisoned would be replayed
            batch, copied = self._screened(batch)
            if recorded is not None:
                self._keep(recorded, copied)
        return batch

    def _keep(self, recorded: list[Any], copied: Any) -> None:
        size = sum(map(_size, _leaves(copied)))
        self._is_full = self._is_full or self._bytes + size > self._largest
        if self._is_full:  # for good: a smaller one behind it would come out of turn
            self.is_beyond = True
            return
        self._bytes += size
        recorded.append(copied)
        self._at += 1

    def _screened(self, batch: Any) -> tuple[Any, Any]:
        """Give the batch to go on with, and a copy: a loader may use its memory again."""
        if all(map(_is_finite, _leaves(batch))):
            self._sound += 1
            self._stand_in = _copy(batch)
            return batch, self._stand_in
        self._unsound += 1
        rare = self._unsound <= max(FEW, (self._sound + self._unsound) // COMMON)
        if not rare or self._stand_in is None:
            self.passed += 1
            return batch, _copy(batch)
        self.skipped += 1
        return _copy(self._stand_in), self._stand_in


def _is_finite(leaf: Any) -> bool:
    if isinstance(leaf, Tensor):
        looks = leaf.is_floating_point() and leaf.device.type == "cpu" and _is_plain(leaf)
        return not looks or bool(torch.isfinite(leaf).all())
    looks = isinstance(leaf, np.ndarray) and leaf.dtype.kind == "f"
    return not looks or bool(np.isfinite(leaf).all())


def _is_plain(tensor: Tensor) -> bool:
    """Say whether a tensor's numbers lie in one block: sparse and nested ones cannot be asked."""
    return tensor.layout is torch.strided and not tensor.is_nested


def _size(leaf: Any, depth: int = DEEPEST) -> int:
    """Say how much a thing takes, as far as can be seen: an object by what stands in it [bytes]."""
    if isinstance(leaf, Tensor):
        return int(leaf.nbytes) if _is_plain(leaf) else UNKNOWN
    if isinstance(leaf, np.ndarray | np.generic):
        return int(leaf.nbytes)
    if isinstance(leaf, SMALL):
        return 0
    inside = [item for part in _parts(leaf) for item in _leaves(part)] if depth else []
    return UNKNOWN + sum(_size(item, depth - 1) for item in inside)


def _parts(thing: Any) -> list[Any]:
    slots = getattr(type(thing), "__slots__", ())
    named = [getattr(thing, name, None) for name in ([slots] if isinstance(slots, str) else slots)]
    return [*named, *getattr(thing, "__dict__", {}).values()]


def _leaves(batch: Any) -> Iterator[Any]:
    if isinstance(batch, Mapping):
        for item in batch.values():
            yield from _leaves(item)
    elif isinstance(batch, list | tuple):
        for item in batch:
            yield from _leaves(item)
    else:
        yield batch


def _copy(batch: Any) -> Any:
    """Copy a batch, for a loop may change it in place; what cannot be copied is kept as it is."""
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
        case _ if isinstance(batch, SMALL):
            made = batch
        case _:
            done = foreign_call(lambda: copy.deepcopy(batch))
            made = batch if done.error is not None else done.value
    return made


def _copy_mapping(batch: Any) -> Any:
    """Copy a dict, or a mapping of another kind, such as a tokenizer's, that can copy itself."""
    if not hasattr(batch, "copy"):
        return batch
    made = batch.copy()
    for key, item in batch.items():
        made[key] = _copy(item)
    return made
