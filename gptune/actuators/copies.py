"""Copies of nested state: the tensors in a list of their own, the rest as a layout around them.

A second copy goes into the storage of the first, and putting back goes into the live storage, so
that compiled and captured code, which knows tensors by their address, stays valid.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

IMMUTABLE = (type(None), bool, int, float, str)  # most of it, and slow to copy


@dataclass(frozen=True, slots=True)
class Leaf:
    """Where a tensor was: its number in the list, and its device."""

    number: int
    device: torch.device


@dataclass(frozen=True, slots=True)
class Copy:
    """A layout, and the copied tensors that belong at its leaves."""

    layout: Any
    tensors: tuple[Tensor, ...]

    @property
    def nbytes(self) -> int:
        """Size of the tensors [bytes]."""
        return sum(tensor.nbytes for tensor in self.tensors)


def take(live: Any, into: Copy | None = None) -> Copy:
    """Copy nested dicts, lists, tuples, tensors and plain values.

    Args:
        live: What to copy.
        into: An older copy, whose storage is written over where the tensors are alike.
    """
    found: list[Tensor] = []
    layout = _strip(live, found)
    spare: Sequence[Tensor] = into.tensors if into is not None else ()
    alike = len(spare) == len(found) and all(map(_fits, spare, found))
    store = spare if alike else [_blank(tensor) for tensor in found]
    _copy_all(store, found)
    return Copy(layout, tuple(store))


def size(live: Any) -> int:
    """Say how large a copy of nested state would be [bytes]."""
    found: list[Tensor] = []
    _strip(live, found)
    return sum(tensor.nbytes for tensor in found)


def put(saved: Copy, live: Any) -> Any:
    """Put a copy back into live state, in place wherever it can be; the copy stays as it is.

    Returns:
        The state as it was copied: the live containers and tensors themselves where they fit.
    """
    pairs: list[tuple[Tensor, Tensor]] = []
    made = _fill(saved.layout, saved.tensors, live, pairs)
    _copy_all([target for target, _ in pairs], [source for _, source in pairs])
    return made


def _strip(value: Any, found: list[Tensor]) -> Any:
    if isinstance(value, Tensor):
        found.append(value)
        return Leaf(len(found) - 1, value.device)
    if isinstance(value, dict):
        return {key: _strip(item, found) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_strip(item, found) for item in value)
    return value if type(value) in IMMUTABLE else copy.deepcopy(value)


def _fill(
    layout: Any, tensors: Sequence[Tensor], live: Any, pairs: list[tuple[Tensor, Tensor]]
) -> Any:
    if isinstance(layout, Leaf):
        return _fill_tensor(layout, tensors[layout.number], live, pairs)
    if isinstance(layout, dict):
        return _fill_dict(layout, tensors, live, pairs)
    if isinstance(layout, list | tuple):
        old = live if isinstance(live, list | tuple) and len(live) == len(layout) else layout
        items = zip(layout, old, strict=True)
        return type(layout)(_fill(item, tensors, one, pairs) for item, one in items)
    return layout if type(layout) in IMMUTABLE else copy.deepcopy(layout)


def _fill_tensor(
    leaf: Leaf, source: Tensor, live: Any, pairs: list[tuple[Tensor, Tensor]]
) -> Tensor:
    if not isinstance(live, Tensor) or not _fits(live, source) or live.device != leaf.device:
        return source.to(leaf.device, copy=True)
    pairs.append((live, source))
    return live


def _fill_dict(
    layout: dict[Any, Any], tensors: Sequence[Tensor], live: Any, pairs: list[Any]
) -> dict[Any, Any]:
    target: dict[Any, Any] = live if isinstance(live, dict) else {}
    for key in [key for key in target if key not in layout]:
        del target[key]
    for key, item in layout.items():
        target[key] = _fill(item, tensors, target.get(key), pairs)
    return target


def _fits(spare: Tensor, tensor: Tensor) -> bool:
    return spare.shape == tensor.shape and spare.dtype == tensor.dtype


def _blank(tensor: Tensor) -> Tensor:
    """Make room for a copy in the computer's own memory; pinned, if it comes from a GPU."""
    return torch.empty_like(tensor.detach(), device="cpu", pin_memory=tensor.is_cuda)


def _copy_all(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for target, source in zip(targets, sources, strict=True):
            target.copy_(source, non_blocking=True)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
