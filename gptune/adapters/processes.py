"""The reference loop in several processes that train one model: what one does for all, what each.

Only bytes travel between them, over gptune's own group; what is read back is never executed.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from gptune.actuators.chance import get_chance, set_chance
from gptune.errors import StateError
from gptune.online.collective import Ranks


def bare(model: nn.Module) -> nn.Module:
    """Take the wrapper of DDP off: what is inside needs no other process for a forward pass."""
    inner: nn.Module = model.module if isinstance(model, DistributedDataParallel) else model
    return inner


def gather_chance(ranks: Ranks) -> list[dict[str, Any]]:
    """Give the state of every process's random number generators, in the order of their numbers.

    Raises:
        Exception: Whatever the exchange raises, if one cannot be reached.
    """
    if ranks.count == 1:
        return [get_chance()]
    packed = io.BytesIO()
    torch.save(get_chance(), packed)
    every = ranks.exchange(packed.getvalue())
    return [torch.load(io.BytesIO(one), weights_only=True) for one in every]


def set_own_chance(ranks: Ranks, every: Sequence[dict[str, Any]]) -> None:
    """Put the state of this process's generators back; one that is new here keeps its own."""
    if ranks.number < len(every):
        set_chance(every[ranks.number])


def holds_on_any(ranks: Ranks, mine: bool) -> bool:  # noqa: FBT001  a vote
    """Say whether something holds on any process."""
    return mine if ranks.count == 1 else b"1" in ranks.exchange(b"1" if mine else b"0")


def check_alike(ranks: Ranks, saved: Mapping[str, Any] | None) -> None:
    """Check that all processes go on from one checkpoint.

    Raises:
        StateError: If one has found another, or none.
    """
    if ranks.count == 1:
        return
    found = "nothing" if saved is None else f"the end of epoch {saved['epoch']}"
    said = [one.decode() for one in ranks.exchange(found.encode())]
    for number, other in enumerate(said):
        if other != said[0]:
            raise StateError(
                f"fit: rank 0 would go on from {said[0]}, rank {number} from {other}; put "
                "checkpoint= where all processes that train one model see it"
            )
