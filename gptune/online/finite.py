"""Counts which training losses are finite, without making a step wait for the device."""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from gptune.foreign import foreign_call


class Mark(Protocol):
    """A place in what a device has to do."""

    def query(self) -> bool:
        """Say whether the device has come there."""
        ...

    def synchronize(self) -> None:
        """Wait until it has."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """Answers on their way from a GPU: they may be read where it has come to the mark."""

    answers: Tensor
    mark: Mark


class Finite:
    """Counts finite losses; what lies on a GPU is asked now, and counted at a later look."""

    def __init__(self) -> None:
        self._asked: list[Asked] = []

    def count(self, losses: list[Any], *, waits: bool) -> tuple[int, int]:
        """Count the losses that are finite, and those that are numbers, as far as is known.

        Args:
            losses: Of the steps since the last count: numbers, and tensors on any device.
            waits: Whether all shall be known now.
        """
        numbers = [math.isfinite(loss) for loss in losses if isinstance(loss, int | float)]
        tensors = [loss for loss in losses if isinstance(loss, Tensor)]
        for device in {loss.device for loss in tensors}:
            there = [loss for loss in tensors if loss.device == device]
            numbers += foreign_call(lambda there=there: self._read(there)).value or []  # type: ignore[misc]
        numbers += foreign_call(lambda: self._answers(waits=waits)).value or []
        return sum(numbers), len(numbers)

    def forget(self) -> None:
        """Take back what was asked: it was about a state that is gone."""
        self._asked = []

    def _read(self, losses: list[Tensor]) -> list[bool]:
        """Read the answers, or send for them."""
        answers = torch.stack([torch.isfinite(loss).all() for loss in losses])
        if not is_elsewhere(answers):
            found: list[bool] = answers.tolist()
            return found
        self._asked.append(send(answers))
        return []

    def _answers(self, *, waits: bool) -> list[bool]:
        found: list[bool] = []
        while self._asked and (waits or self._asked[0].mark.query()):
            asked = self._asked.pop(0)
            asked.mark.synchronize()
            found += asked.answers.tolist()
        return found


def is_elsewhere(tensor: Tensor) -> bool:
    """Say whether reading a tensor would make this process wait for a GPU."""
    return tensor.is_cuda


def send(answers: Tensor) -> Asked:
    """Send for what lies on a GPU; torch takes pinned memory for it."""
    copied = answers.to("cpu", non_blocking=True)
    mark = torch.cuda.Event()  # type: ignore[no-untyped-call]
    mark.record(torch.cuda.current_stream(answers.device))
    return Asked(copied, mark)
