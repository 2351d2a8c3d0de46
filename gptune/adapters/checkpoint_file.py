"""The checkpoint of the reference loop, on the disk: whole or not at all."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gptune.errors import StateError, UsageError
from gptune.foreign import foreign_call

PARTS = {"model", "optimizer", "scheduler", "scaler", "epoch", "step", "history", "tuner"}


def read_checkpoint(file: Path | None) -> dict[str, Any] | None:
    """Read a checkpoint, if there is one; nothing in it is executed.

    Raises:
        UsageError: Without a file to look for.
        StateError: If it is none of ours.
    """
    if file is None:
        raise UsageError("fit: resume=True needs checkpoint=, the file to go on from")
    if not file.exists():
        return None
    # Torch raises whatever its format and unpickler do.
    read = foreign_call(lambda: torch.load(file, weights_only=True, map_location="cpu"))
    if read.error is not None:
        raise StateError(
            f"fit: {str(file)!r} cannot be read as a checkpoint ({type(read.error).__name__}); "
            "remove it, or name another file"
        ) from read.error
    saved = read.value
    if not isinstance(saved, dict) or not saved.keys() >= PARTS:
        raise StateError(
            f"fit: {str(file)!r} is no checkpoint that gptune.fit wrote; name another file"
        )
    return saved


def write_checkpoint(file: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint; one that was there before stays until the new one is whole.

    Raises:
        OSError: If the disk does not take it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with fresh.open("wb") as out:
            torch.save(dict(state), out)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(file)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
