"""Fail when a test run left out more of the package than it may; say how much of each room it ran.

Reads coverage's JSON report. In ``COMPLETE``, the one place where these rooms are named, a run
must take every line and every branch; of the whole package it must take ``LEAST`` percent of both.
"""

import json
import sys
from pathlib import Path
from typing import Any

COMPLETE = (
    "gptune/safety/",
    "gptune/records.py",
    "gptune/events.py",
    "gptune/configs/",
    "gptune/core/space.py",
    "gptune/core/trust_region.py",
    "gptune/run_directory/event_log.py",
)
LEAST = 90.0  # of the lines and branches of the package [percent]


def gaps(path: str, file: dict[str, Any]) -> list[str]:
    """Name the lines and the branches of one file that were not taken; -n is the way out of n."""
    lines = ", ".join(str(line) for line in file["missing_lines"])
    ways = ", ".join(f"{start} -> {end}" for start, end in file["missing_branches"])
    parts = ([f"lines {lines}"] if lines else []) + ([f"branches {ways}"] if ways else [])
    return [f"{path}: {'; '.join(parts)}"] if parts else []


def share(files: list[dict[str, Any]]) -> float:
    """Give the lines and branches that were taken, of all in some files [percent]."""
    kinds = (("covered_lines", "num_statements"), ("covered_branches", "num_branches"))
    taken, there = (sum(f["summary"][kind[i]] for f in files for kind in kinds) for i in (0, 1))
    return 100.0 * taken / there if there else 0.0


def faults(report: dict[str, Any]) -> list[str]:
    """List what was left out and may not be; print one line a room, and one for the package."""
    if not report["meta"]["branch_coverage"]:
        return ["branches were not measured: set branch = true under [tool.coverage.run]"]
    found: list[str] = []
    for room in COMPLETE:
        files = {path: file for path, file in report["files"].items() if path.startswith(room)}
        print(f"{share([*files.values()]):6.2f} %  {room}")
        found += [gap for path, file in files.items() for gap in gaps(path, file)]
        found += [] if files else [f"{room}: is not in the report; was it moved?"]
    whole = share([*report["files"].values()])
    print(f"{whole:6.2f} %  the package (at least {LEAST:g} %)")
    return found + ([f"the package: {whole:.2f} % is below {LEAST:g} %"] if whole < LEAST else [])


if __name__ == "__main__":
    left_out = faults(json.loads(Path(sys.argv[1]).read_text()))
    if left_out:
        sys.exit("\n".join(["not covered by any test:", *left_out]))
