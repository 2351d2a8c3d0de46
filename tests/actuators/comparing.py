"""Comparing nested state to the bit."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


def bits(value: Any) -> Any:
    """Give what is equal only if two states are, to the bit: kinds, dtypes, NaN payloads."""
    if isinstance(value, Tensor):
        raw = value.detach().contiguous().reshape(-1).view(torch.uint8).tolist()
        return (str(value.dtype), tuple(value.shape), raw)
    if isinstance(value, dict):
        return (type(value), {key: bits(item) for key, item in value.items()})
    if isinstance(value, list | tuple | deque):
        return (type(value), [bits(item) for item in value])
    return (type(value), repr(value))


def tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from tensors_in(item)
