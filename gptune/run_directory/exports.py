"""A log as rows in the style of older tools: one a movement, or one a judged change."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

from gptune.events import Applied, Line, Observed, RollbackFailed
from gptune.records import Evidence
from gptune.run_directory.changes import Course, Ending, advance
from gptune.run_directory.event_log import effective


def mutations(lines: Iterable[Line]) -> Iterator[dict[str, Any]]:
    """Give one row a movement of one knob, in the log's order: enough to replay the run.

    Args:
        lines: The whole log, or what is effective of it.

    Yields:
        ``id, decision, step, phase, family, old, new, status, source``. Status is ``applied``, or
        ``rolled_back`` for the way back; source says where the proposal of the change came from.
        Putting ``new`` of row after row in force gives the point in force after each of them.
    """
    course, sources = Course(), dict[str, str]()
    for line in effective(lines):
        event = line.event
        course, moved, _ = advance(course, line)
        if isinstance(event, Applied):
            sources[event.id] = course.source
        for change in moved:
            ident = event.id  # type: ignore[union-attr]  # what moves a knob has one
            yield {
                "id": ident,
                **_when(line),
                "family": change.family,
                "old": change.old,
                "new": change.new,
                "status": "applied" if isinstance(event, Applied) else "rolled_back",
                "source": sources.get(ident),
            }


def segments(lines: Iterable[Line]) -> Iterator[dict[str, Any]]:
    """Give one row a judged change, in the order of the verdicts.

    A change that was put back unjudged (the run was closed, left mode active, or an operator
    stepped in) is none, nor is one that was made by hand or replayed.

    Args:
        lines: The whole log, or what is effective of it.

    Yields:
        ``id, families, source, decision_opened, step_opened, phase_opened, decision, step, phase,
        old, new, verdict, reasons, gain, deviation, penalty, probability, metric_before,
        metric_after``. ``old`` and ``new`` map families to moves; the metrics are raw, as
        reported; ``verdict`` is accepted, rejected or abandoned (it stays in force all the same).
    """
    course = Course()
    before: Observed | None = None
    now: Observed | None = None
    for line in effective(lines):
        course, _, ending = advance(course, line)
        if isinstance(line.event, Observed):
            now = line.event
        elif isinstance(line.event, Applied):
            before = now
        if ending is not None and ending.judged:
            yield _segment(line, ending, before, now)


def observations(lines: Iterable[Line]) -> Iterator[dict[str, Any]]:
    """Give one row for all that the proposer was told, in that order: what its model rests on.

    Args:
        lines: The whole log, or what is effective of it.

    Yields:
        ``decision, step, phase, point, gain, deviation, verdict``. ``gain`` is the gain over the
        forecast, larger is better, ``None`` when the metric was no finite number; ``verdict`` is
        ``None`` where nothing was being tried.
    """
    course = Course()
    now: Observed | None = None
    for line in effective(lines):
        tried = course.trial
        course, _, ending = advance(course, line)
        if isinstance(line.event, Observed):
            now = line.event
            if tried is None and now.forecast is not None:
                yield _observation(line, now, None)
        elif ending is not None and ending.judged and now is not None:
            readings = [now.knobs.get(change.family) for change in ending.trial.changes]
            if not any(reading and reading.lost for reading in readings):
                yield _observation(line, now, ending.verdict)


def _observation(line: Line, now: Observed, verdict: str | None) -> dict[str, Any]:
    evidence = now.evidence
    gain = evidence.gain if evidence else math.nan
    return {
        **_when(line),
        "point": {family: reading.move for family, reading in now.knobs.items()},
        "gain": gain if math.isfinite(gain) else None,
        "deviation": evidence.deviation if evidence else None,
        "verdict": verdict,
    }


def _segment(
    line: Line, ending: Ending, before: Observed | None, now: Observed | None
) -> dict[str, Any]:
    trial = ending.trial
    evidence: Evidence | None = now.evidence if now else None
    reasons = [reason.value for reason in ending.reasons]
    return {
        "id": trial.id,
        "families": [change.family for change in trial.changes],
        "source": trial.source,
        "decision_opened": trial.decision,
        "step_opened": trial.step,
        "phase_opened": trial.phase,
        **_when(line),
        "old": {change.family: change.old for change in trial.changes},
        "new": {change.family: change.new for change in trial.changes},
        "verdict": ending.verdict,
        "reasons": ["rollback_failed"] if isinstance(line.event, RollbackFailed) else reasons,
        "gain": evidence.gain if evidence else None,
        "deviation": evidence.deviation if evidence else None,
        "penalty": evidence.penalty if evidence else None,
        "probability": evidence.probability if evidence else None,
        "metric_before": _metric(before),
        "metric_after": _metric(now),
    }


def _when(line: Line) -> dict[str, Any]:
    at = line.envelope
    return {"decision": at.decision, "step": at.step, "phase": at.phase}


def _metric(observed: Observed | None) -> float | None:
    metric = observed.metric if observed else None
    return metric if isinstance(metric, float) and math.isfinite(metric) else None
