"""The state of all random number generators that training draws from, as plain data."""

import random
from typing import Any

import numpy as np
import torch


def get_chance() -> dict[str, Any]:
    """Give the state of Python's, NumPy's, torch's and every used GPU's generator.

    It loads with ``torch.load(weights_only=True)``.
    """
    version, words, gauss = random.getstate()
    # Old code, data loaders above all, draws from NumPy's global generator.
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return {
        "python": [version, list(words), gauss],
        "numpy": [str(name), [int(key) for key in keys], int(position), has_gauss, cached],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if used else [],
    }


def set_chance(state: dict[str, Any]) -> None:
    """Put back what `get_chance` gave; states of GPUs that are not here are left out."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    words_of_numpy = np.array(keys, dtype=np.uint32)
    np.random.set_state((name, words_of_numpy, position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
