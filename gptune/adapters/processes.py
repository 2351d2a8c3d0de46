"""The reference loop in several processes that train one model: what one does for all, what each.

Only bytes travel between them, over a group of the loop's own; nothing that is read is executed.
"""

import hashlib
import io
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from gptune.actuators.chance import get_chance, set_chance
from gptune.errors import StateError
from gptune.foreign import foreign_call
from gptune.online.collective import Ranks

logger = logging.getLogger("gptune")


def bare(model: nn.Module) -> nn.Module:
    """Take the wrapper of DDP off: what is inside needs no other process for a forward pass."""
    inner: nn.Module = model.module if isinstance(model, DistributedDataParallel) else model
    return inner


@dataclass(slots=True)
class Crew:
    """The processes of a loop. One that cannot be reached ends what they do together, for good.

    Attributes:
        ranks: The processes.
        is_whole: Whether they still speak to each other.
    """

    ranks: Ranks
    is_whole: bool = True

    @property
    def is_first(self) -> bool:
        """Whether this one writes for all."""
        return self.ranks.number == 0

    def gather_chance(self) -> list[dict[str, Any]]:
        """Give the state of every process's random number generators, in order of their numbers.

        Where the others cannot be reached, this one's stands alone.
        """
        packed = io.BytesIO()
        torch.save(get_chance(), packed)
        every = self._exchange(packed.getvalue())
        return [torch.load(io.BytesIO(one), weights_only=True) for one in every]

    def set_chance(self, every: Sequence[dict[str, Any]]) -> None:
        """Put this process's generators back; one that is new here keeps its own."""
        if self.ranks.number < len(every):
            set_chance(every[self.ranks.number])

    def holds_on_any(self, mine: bool) -> bool:  # noqa: FBT001  a vote
        """Say whether something holds on any process."""
        return b"1" in self._exchange(b"1" if mine else b"0")

    def read_alike(self, read: Callable[[], dict[str, Any] | None]) -> dict[str, Any] | None:
        """Read the checkpoint to go on from, if all processes have the same.

        Raises:
            StateError: If one has another, none, or one that cannot be read.
            Exception: Whatever ``read`` raises, here.
        """
        done = foreign_call(read)
        found = _described(done.value) if done.error is None else f"none: {done.message}"
        said = [one.decode() for one in self._exchange(found.encode(errors="replace"))]
        if done.error is not None:
            raise done.error
        if not self.is_whole:
            raise StateError("fit: the other processes do not answer; start all of them again")
        for number, other in enumerate(said):
            if other != said[0]:
                raise StateError(
                    f"fit: rank 0 would go on from {said[0]}, rank {number} from {other}; put "
                    "checkpoint= where all processes that train one model see it"
                )
        return done.value

    def _exchange(self, mine: bytes) -> Sequence[bytes]:
        if self.ranks.count == 1 or not self.is_whole:
            return [mine]
        done = foreign_call(lambda: self.ranks.exchange(mine))
        if done.value is not None:
            return done.value
        self.is_whole = False
        logger.warning("gptune: fit goes on without the other processes (%s)", done.message)
        return [mine]


def _described(saved: dict[str, Any] | None) -> str:
    """Name a checkpoint: two of different runs have different names."""
    if saved is None:
        return "the beginning"
    mark = hashlib.blake2b(repr(saved["history"]).encode(), digest_size=4).hexdigest()
    return f"the end of epoch {saved['epoch']} ({mark})"
