"""Batches of the reference loop: pairs (inputs, targets) of tensors, or of what holds tensors."""

from collections.abc import Mapping, Sized
from typing import Any

import torch
from torch import Tensor

from gptune.errors import UsageError


def pair(batch: Any) -> tuple[Any, Any]:
    """Give inputs and targets of a batch.

    Raises:
        UsageError: If it is something else than a pair.
    """
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[0], batch[1]
    raise UsageError(
        f"fit: a batch must be a pair (inputs, targets), got {type(batch).__name__}; give the "
        "loader a collate_fn that makes pairs, or write a loop of your own around Tuner"
    )


def size(batch: Any) -> int:
    """Say how many rows a batch has, as far as its targets tell; else it counts as one."""
    targets = pair(batch)[1]
    return len(targets) if isinstance(targets, Sized) else 1


def moved(value: Any, device: torch.device) -> Any:
    """Move the tensors of a batch, also those in lists, tuples and mappings."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {name: moved(one, device) for name, one in value.items()}
    if not isinstance(value, tuple | list):
        return value
    parts = [moved(one, device) for one in value]
    return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
