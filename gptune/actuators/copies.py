"""Copies of nested state: the tensors in a list of their own, the rest as a layout around them.

A second copy goes into the storage of the first, and putting back goes into the live storage, so
that compiled and captured code, which knows tensors by their address, stays valid.
"""

import copy
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

IMMUTABLE = (type(None), bool, int, float, str)  # most of it, and slow to copy


class Leaf(NamedTuple):  # a tuple, for one is made for each tensor at each copy
    """Where a tensor was: its number in the list, its device, and the tensor, if it still lives."""

    number: int
    device: torch.device
    home: "weakref.ref[Tensor]"


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
    return store(split(live), into)


def split(live: Any) -> Copy:
    """Part nested state into a layout and its tensors, not copied yet; those of one memory are one.

    What cannot be copied shows here, before anything is written over.
    """
    found: dict[Any, tuple[int, Tensor]] = {}
    layout = _strip(live, found)
    return Copy(layout, tuple(tensor for _, tensor in found.values()))


def store(parted: Copy, into: Copy | None = None) -> Copy:
    """Copy the tensors of what `split` gave."""
    spare: Sequence[Tensor] = into.tensors if into is not None else ()
    alike = len(spare) == len(parted.tensors) and all(map(_fits, spare, parted.tensors))
    with torch.inference_mode(mode=False):  # what is made inside of it can never be written again
        room = spare if alike else [_blank(tensor) for tensor in parted.tensors]
        _copy_all(room, parted.tensors)
    return Copy(parted.layout, tuple(room))


def size(live: Any) -> int:
    """Say how large a copy of nested state would be [bytes]."""
    return split(live).nbytes


def are_finite(tensors: Sequence[Tensor]) -> bool:
    """Say whether all numbers in tensors are finite; one wait for each device."""
    return _hold_for_all(torch.isfinite, tensors)


def hold_nan(tensors: Sequence[Tensor]) -> bool:
    """Say whether there is a NaN in tensors; one wait for each device."""
    return not _hold_for_all(lambda tensor: ~torch.isnan(tensor), tensors)


def _hold_for_all(test: Callable[[Tensor], Tensor], tensors: Sequence[Tensor]) -> bool:
    """Say whether every number of the floating tensors passes a test."""
    answers: dict[torch.device, list[Tensor]] = {}
    for tensor in tensors:
        can_differ = tensor.is_floating_point() or tensor.is_complex()
        if can_differ and tensor.numel() and tensor.layout == torch.strided:
            answers.setdefault(tensor.device, []).append(test(tensor.detach()).all())
    return all(bool(torch.stack(found).all()) for found in answers.values())


def put(saved: Copy, live: Any, *, only_home: bool = False) -> Any:
    """Put a copy back into live state, in place wherever it can be; the copy stays as it is.

    Args:
        saved: The copy.
        live: What to write into.
        only_home: Write only into the very tensors that were copied: one that stands in their
            place may be somebody else's, such as a checkpoint's after ``load_state_dict``.

    Returns:
        The state as it was copied: the live containers and tensors themselves where they fit.
    """
    pairs = Pairs(only_home)
    with torch.inference_mode(mode=False):
        made = _fill(saved.layout, saved.tensors, live, pairs)
        into = pairs.by_memory.values()
        _copy_all([target for target, _ in into], [saved.tensors[number] for _, number in into])
    return made


@dataclass(frozen=True, slots=True)
class Pairs:
    """What is to be written where: the memory of a live tensor -> it, and a copied one's number.

    Two live tensors of one memory are written once, or, if they were apart, the second is replaced.
    """

    only_home: bool
    by_memory: dict[Any, tuple[Tensor, int]] = field(default_factory=dict)

    def add(self, leaf: Leaf, source: Tensor, live: Any) -> bool:
        """Note that a copied tensor goes into a live one; ``False`` if it must not."""
        at_home = not self.only_home or leaf.home() is live
        fits = isinstance(live, Tensor) and live.device == leaf.device and _fits(live, source)
        if not (at_home and fits and _is_writable(live)):
            return False
        _, number = self.by_memory.setdefault(memory_of(live), (live, leaf.number))
        return number == leaf.number or live.numel() == 0


def _strip(value: Any, found: dict[Any, tuple[int, Tensor]]) -> Any:
    if isinstance(value, Tensor) and value.layout is torch.strided:  # others are copied as objects
        return Leaf(_number(value, found), value.device, weakref.ref(value))
    if isinstance(value, dict):
        items = {key: _strip(item, found) for key, item in value.items()}
        return items if type(value) is dict else _of_kind(value, items)
    if type(value) in (list, tuple):
        return type(value)(_strip(item, found) for item in value)
    return value if type(value) in IMMUTABLE else copy.deepcopy(value)


def _number(tensor: Tensor, found: dict[Any, tuple[int, Tensor]]) -> int:
    """Give a tensor its place in the list, which it shares with those of the same memory."""
    where: Any = tensor.data_ptr()
    if where in found:  # the same tensor, a view that begins there too, or an empty one
        where = memory_of(tensor)
        where = where if memory_of(found[where[0]][1]) != where else where[0]
    return found.setdefault(where, (len(found), tensor))[0]


def _of_kind(like: dict[Any, Any], items: dict[Any, Any]) -> dict[Any, Any]:
    """Make a dict of a kind, an `OrderedDict` or a `Counter`, with what is noted beside it."""
    made = copy.copy(like)
    made.clear()
    for key, item in items.items():
        made[key] = item
    if hasattr(like, "__dict__"):
        vars(made).update(vars(like))
    return made


def _fill(layout: Any, tensors: Sequence[Tensor], live: Any, pairs: Pairs) -> Any:
    if isinstance(layout, Leaf):
        return _fill_tensor(layout, tensors[layout.number], live, pairs)
    if isinstance(layout, dict):
        return _fill_dict(layout, tensors, live, pairs)
    if type(layout) in (list, tuple):
        fits = isinstance(live, list | tuple) and len(live) == len(layout)
        items = zip(layout, live if fits else [None] * len(layout), strict=True)
        return type(layout)(_fill(item, tensors, one, pairs) for item, one in items)
    return layout if type(layout) in IMMUTABLE else copy.deepcopy(layout)


def _fill_tensor(leaf: Leaf, source: Tensor, live: Any, pairs: Pairs) -> Tensor:
    tensor: Tensor = live
    return tensor if pairs.add(leaf, source, live) else source.to(leaf.device, copy=True)


def _fill_dict(
    layout: dict[Any, Any], tensors: Sequence[Tensor], live: Any, pairs: Pairs
) -> dict[Any, Any]:
    target: dict[Any, Any] = live if type(live) is type(layout) else _of_kind(layout, {})
    for key in [key for key in target if key not in layout]:
        del target[key]
    for key, item in layout.items():
        target[key] = _fill(item, tensors, dict.get(target, key), pairs)
    return target


def _fits(spare: Tensor, tensor: Tensor) -> bool:
    return spare.shape == tensor.shape and spare.dtype == tensor.dtype


def memory_of(tensor: Tensor) -> tuple[Any, ...]:
    """Say where a tensor's numbers lie, and how they are read there."""
    read = (tensor.dtype, tensor.is_conj(), tensor.is_neg())
    return tensor.data_ptr(), tensor.shape, tensor.stride(), *read


def _is_writable(live: Tensor) -> bool:
    """Say whether values can be written into a tensor, each into memory of its own."""
    sizes = zip(live.stride(), live.shape, strict=True)
    return not any(step == 0 < size - 1 for step, size in sizes) and not live.is_inference()


def _blank(tensor: Tensor) -> Tensor:
    """Make room for a copy in the computer's own memory; pinned, if it comes from a GPU."""
    return torch.empty_like(tensor.detach(), device="cpu", pin_memory=tensor.is_cuda)


def _copy_all(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    devices: set[torch.device] = set()
    with torch.no_grad():
        for target, source in zip(targets, sources, strict=True):
            on_gpu = target.is_cuda or source.is_cuda
            target.copy_(source, non_blocking=on_gpu)
            if on_gpu:
                devices.add(target.device if target.is_cuda else source.device)
    for device in devices:
        torch.cuda.synchronize(device)
