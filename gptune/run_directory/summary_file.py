"""``summary.json``, read by the standard library alone: `gptune status` has no time for more."""

import json
import os
from pathlib import Path
from typing import Any

from gptune.run_directory.names import SUMMARY
from gptune.run_directory.regular import open_regular

VERSION = 1
LONGEST = 1 << 24  # bytes; a summary is bounded, a longer file is none
SHAPE: dict[str, Any] = {
    **dict.fromkeys(("mode", "objective", "direction", "phase"), str),
    **dict.fromkeys(("seq", "decision", "step"), int),
    **dict.fromkeys(("counts", "families", "point", "knobs"), dict),
    **dict.fromkeys(("paused", "closed"), bool),
    "best": dict | None,
}


def read_summary(directory: Path) -> dict[str, Any] | None:
    """Read where a run stands.

    Returns:
        What `gptune.run_directory.summary.to_plain` gave when the file was written; ``None`` if
        there is no file, or none that this version wrote: the log is the authority then.
    """
    try:
        with os.fdopen(open_regular(directory / SUMMARY, os.O_RDONLY), "rb") as file:
            plain = json.loads(file.read(LONGEST))
    except (OSError, ValueError, RecursionError):
        return None
    known = isinstance(plain, dict) and plain.get("version") == VERSION
    return plain if known and all(_fits(plain, name) for name in SHAPE) else None


def _fits(plain: dict[str, Any], name: str) -> bool:
    value, kind = plain.get(name), SHAPE[name]
    return isinstance(value, kind) and (name != "best" or value is None or "metric" in value)
