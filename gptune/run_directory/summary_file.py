"""``summary.json``, read by the standard library alone: `gptune status` has no time for more."""

import json
from pathlib import Path
from typing import Any

SUMMARY, VERSION = "summary.json", 1


def read_summary(directory: Path) -> dict[str, Any] | None:
    """Read where a run stands.

    Returns:
        What `gptune.run_directory.summary.to_plain` gave when the file was written; ``None`` if
        there is no file, or none that this version wrote: the log is the authority then.
    """
    try:
        plain = json.loads((directory / SUMMARY).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    known = isinstance(plain, dict) and plain.get("version") == VERSION
    return plain if known else None
