"""Only plain data may be saved: what ``torch.load(weights_only=True)`` reads back."""

from collections import Counter, OrderedDict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gptune.errors import StateError

PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.Size, torch.dtype, torch.device)


def check_plain(path: str, value: Any) -> Any:
    """Check nested state, and give it back with dicts, lists and numbers of the plain kind.

    Args:
        path: Where the value stands, for the message.
        value: The state.

    Raises:
        StateError: Naming the first part that could be saved, but not loaded again.

    Example:
        >>> check_plain("state", {"best": np.float64(0.5)})
        {'best': 0.5}
    """
    if isinstance(value, np.generic):
        value = value.item()
    if _is_plain(value):
        return value
    if isinstance(value, dict):
        for key in value:
            check_plain(f"{path}: the key {key!r}", key)
        made = {key: check_plain(f"{path}.{key}", item) for key, item in value.items()}
        return _of_kind(path, value, made)
    if type(value) in (list, tuple, set):
        return type(value)(check_plain(f"{path}[{i}]", item) for i, item in enumerate(value))
    raise StateError(
        f"{path}: {type(value).__name__} is no plain data, so it would not load with "
        "weights_only=True; leave it out of that object's state_dict"
    )


def _is_plain(value: Any) -> bool:
    if isinstance(value, Tensor):  # torch loads its own kinds of tensors, nobody else's
        return type(value).__module__.partition(".")[0] == "torch"
    return type(value) in PLAIN and value != b""  # torch saves no bytes as a call, and refuses it


def _of_kind(path: str, value: dict[Any, Any], made: dict[Any, Any]) -> dict[Any, Any]:
    """Keep the kinds of dict that torch loads again, and what a model's state notes beside it."""
    if type(value) not in (OrderedDict, Counter):
        return made
    kept = type(value)(made)
    kept.__dict__.update(check_plain(path, dict(value.__dict__)))
    return kept
