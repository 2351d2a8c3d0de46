"""The exchange between processes on a group of its own, over torch.distributed and gloo."""

from collections.abc import Sequence
from datetime import timedelta

import torch
from torch import Tensor, distributed

from gptune.errors import StateError
from gptune.foreign import foreign_call
from gptune.online.collective import Alone, Ranks, is_alone

SECONDS = 300.0  # that one rank waits for the others; a decision of rank 0 is made meanwhile [s]


class Gloo:
    """The processes of the default group of torch.distributed, which must be there already.

    Only bytes travel, as tensors on the CPU: nothing is pickled, and no device waits. The group is
    gptune's own, so that no collective of the training can come in between. It ends, as all groups
    do, with ``torch.distributed.destroy_process_group()`` at the end of your program.

    Args:
        seconds: How long a rank waits for the others at an exchange [s].
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self._group = distributed.new_group(backend="gloo", timeout=timedelta(seconds=seconds))
        self.number, self.count = distributed.get_rank(), distributed.get_world_size()

    def exchange(self, mine: bytes) -> Sequence[bytes]:
        """Give every rank what each of them has said, in the order of their numbers.

        Raises:
            RuntimeError: If one did not answer in time, or its connection is gone.
        """
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.count)]
        self._gather(sizes, torch.tensor([len(mine)]))
        longest = max(1, *(int(size) for size in sizes))
        parts = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.count)]
        self._gather(parts, _padded(mine, longest))
        return [
            part[: int(size)].numpy().tobytes() for part, size in zip(parts, sizes, strict=True)
        ]

    def _gather(self, into: list[Tensor], mine: Tensor) -> None:
        distributed.all_gather(into, mine, group=self._group)


def find_ranks() -> Ranks:
    """Give the processes that torch.distributed knows; one alone, if it was not initialised.

    Raises:
        StateError: If the others do not take part.
    """
    if is_alone():
        return Alone()
    made = foreign_call(Gloo)
    if made.value is None:
        raise StateError(
            f"ranks: no group of all processes that train this model could be made ({made.message})"
            "; make the Tuner on all of them, at the same place, or pass ranks=Alone()"
        ) from made.error
    return made.value


def _padded(data: bytes, size: int) -> Tensor:
    return torch.frombuffer(bytearray(data.ljust(size, b"\0")), dtype=torch.uint8)
