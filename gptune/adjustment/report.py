"""What came of an adjustment: why it was begun, what was tried, what was gained."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gptune.adjustment.course import Rules
from gptune.adjustment.duel import Duel
from gptune.adjustment.state import State, Trigger
from gptune.adjustment.tuning import Tuned
from gptune.records import Scalar, show
from gptune.run_directory.file_system import FileSystem

REPORTS = "reports"
LONGEST = 2**24  # of one [bytes]
WHY = {
    Trigger.LOW_SUCCESS: "the success rate is below {threshold:.0%}, beyond doubt",
    Trigger.DEGRADED: "the metric is worse than it was after the last adjustment, beyond doubt",
    Trigger.PERIOD: "the last adjustment is {interval:g} s ago",
    Trigger.BY_HAND: "somebody wanted it",
}


def made_of(
    rules: Rules,
    state: State,
    *,
    tuned: Tuned | None,
    verdict: str,
    why: str,
    now: float,
) -> dict[str, Any]:
    """Give a report, as plain data.

    Args:
        rules: When to adjust.
        state: As it was when the adjustment ended.
        tuned: What the study came to, if this process has seen it.
        verdict: kept | put_back.
        why: In words.
        now: The time [s since 1970].
    """
    trigger = state.trigger or Trigger.BY_HAND
    said = WHY[trigger].format(
        threshold=rules.success_threshold or 0.0, interval=rules.adjustment_interval or 0.0
    )
    return {
        "number": state.number,
        "trigger": trigger.value,
        "because": said,
        "records_seen": state.success.seen,
        "begun": _time(state.begun),
        "ended": _time(now),
        "before": state.running,
        "candidate": state.candidate,
        "study": None if tuned is None else _plain(tuned),
        "comparison": _compared(state.duel),
        "verdict": verdict,
        "why": why,
    }


def write_report(files: FileSystem, directory: Path, report: Mapping[str, Any]) -> None:
    """Write one, as a file of its own; written again it is the same file.

    Raises:
        OSError: If the disk does not take it.
    """
    place = directory / REPORTS / f"{report['number']:04}.json"
    files.replace(place, json.dumps(report, indent=2).encode(), durable=True)


def read_reports(files: FileSystem, directory: Path) -> list[dict[str, Any]]:
    """Read all of them, the oldest first."""
    place = directory / REPORTS
    names = sorted(name for name in _names(files, place) if name.endswith(".json"))
    return [json.loads(files.read(place / name, LONGEST)) for name in names]


def status_of(state: State) -> dict[str, Any]:
    """Say where an adjustment stands, as plain data."""
    return {
        "phase": state.phase.value,
        "number": state.number,
        "trigger": None if state.trigger is None else state.trigger.value,
        "running": state.running,
        "candidate": state.candidate,
        "records": state.success.seen,
        "pairs": state.duel.pairs,
        "applied": state.applied,
    }


def last_number(files: FileSystem, directory: Path) -> int:
    """Give the number of the newest report; 0 if there is none."""
    stems = [name.partition(".")[0] for name in _names(files, directory / REPORTS)]
    return max((int(stem) for stem in stems if stem.isdecimal()), default=0)


def words(report: Mapping[str, Any]) -> str:
    """Say it in a few lines.

    Example:
        >>> print(words({"number": 1, "because": "somebody wanted it", "verdict": "kept",
        ...     "why": "it won 60 of 90 pairs", "before": {"x": 1.0}, "candidate": {"x": 2.0},
        ...     "study": None, "begun": "", "ended": ""}))
        adjustment 1: kept, it won 60 of 90 pairs
          because somebody wanted it
          x: 1 -> 2
    """
    lines = [
        f"adjustment {report['number']}: {report['verdict'].replace('_', ' ')}, {report['why']}",
        f"  because {report['because']}",
    ]
    study = report["study"]
    if study is not None and study["value"] is not None:
        count = sum(study["trials"].values())
        was = "" if study["before"] is None else f", what ran came to {study['before']:.4g}"
        lines.append(f"  {count} trials: the best came to {study['value']:.4g}{was}")
    before: Mapping[str, Scalar] = report["before"] or {}
    for name, value in (report["candidate"] or {}).items():
        lines.append(f"  {name}: {show(before[name]) if name in before else '?'} -> {show(value)}")
    return "\n".join(lines)


def _plain(tuned: Tuned) -> dict[str, Any]:
    return {
        "name": tuned.study,
        "best": tuned.best,
        "value": tuned.value,
        "before": tuned.before,
        "trials": tuned.trials,
    }


def _compared(duel: Duel) -> dict[str, Any] | None:
    if not duel.pairs:
        return None
    return {"pairs": duel.pairs, "wins": duel.wins, "share": duel.wins / duel.pairs}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _names(files: FileSystem, place: Path) -> list[str]:
    try:
        return list(files.names(place))
    except FileNotFoundError:
        return []
