"""What a log says of changes: which knob moved when, and how each trial of a change ended.

Fold `advance` over the lines of an effective log.
"""

from msgspec import Struct
from msgspec.structs import replace

from gptune.events import (
    SYMPTOMS,
    Abandoned,
    Accepted,
    Applied,
    Line,
    Observed,
    Proposed,
    RollbackFailed,
    RolledBack,
)
from gptune.records import Change, Reason

BY_HAND = ("human", "replay")  # sources whose changes open no segment: nobody judges them
PUT_BACK = {Reason.CLOSED, Reason.LEFT_ACTIVE, Reason.OPERATOR}  # ended, and not by the gate
ENDS = Accepted | RolledBack | Abandoned | RollbackFailed


class Trial(Struct, frozen=True, kw_only=True):
    """A change that gptune has made and not yet judged: the open segment.

    Attributes:
        id: The mutation's.
        changes: What was moved.
        source: Where the proposal came from.
        decision: The decision that made it.
        step: Optimizer steps counted then [steps].
        phase: The phase then.
    """

    id: str
    changes: tuple[Change, ...]
    source: str
    decision: int
    step: int
    phase: str


class Ending(Struct, frozen=True, kw_only=True):
    """How a trial ended.

    Attributes:
        trial: The trial.
        verdict: accepted | rejected | abandoned.
        reasons: Why.
        probability: Probability of a gain, if it was judged against a forecast.
        judged: Whether the gate judged it; an operator, or the end of the run, may end it too.
    """

    trial: Trial
    verdict: str
    reasons: tuple[Reason, ...] = ()
    probability: float | None = None
    judged: bool = True


class Course(Struct, frozen=True, kw_only=True):
    """What has to be remembered from one line to the next.

    Attributes:
        source: Where the newest proposal came from.
        trial: The trial that is open.
        at_report: Whether the line before was ``observed``; a verdict of the gate follows it.
    """

    source: str = ""
    trial: Trial | None = None
    at_report: bool = False


News = tuple[Course, tuple[Change, ...], Ending | None]


def advance(course: Course, line: Line) -> News:
    """Read one line more. Pure.

    Args:
        course: What is remembered.
        line: The next line.

    Returns:
        What is to be remembered, how knobs moved, and how a trial ended. A knob that could not be
        put back moves back here all the same, as it does in ``observed``: what it really holds
        nobody knows.
    """
    event = line.event
    if isinstance(event, ENDS):
        return _end(course, event)
    if isinstance(event, Applied):
        trial = course.trial if course.source in BY_HAND else _begin(course, line, event)
        return Course(source=course.source, trial=trial), event.changes, None
    source = event.source if isinstance(event, Proposed) else course.source
    at_report = isinstance(event, Observed)
    return Course(source=source, trial=course.trial, at_report=at_report), (), None


def _begin(course: Course, line: Line, event: Applied) -> Trial:
    at = line.envelope
    return Trial(
        id=event.id,
        changes=event.changes,
        source=course.source,
        decision=at.decision,
        step=at.step,
        phase=at.phase,
    )


def _end(course: Course, event: ENDS) -> News:
    trial = course.trial
    if trial is None or trial.id != event.id:
        moved = event.changes if isinstance(event, RolledBack) else ()
        return replace(course, at_report=False), moved, None
    verdict, reasons, probability = _verdict(event)
    ending = Ending(
        trial=trial,
        verdict=verdict,
        reasons=reasons,
        probability=probability,
        judged=_is_judged(course, reasons),
    )
    return Course(source=course.source), _way_back(event, trial), ending


def _is_judged(course: Course, reasons: tuple[Reason, ...]) -> bool:
    """Say whether the gate ended a trial, or the guard, which may come between two reports."""
    by_us = course.at_report or bool(SYMPTOMS.intersection(reasons))
    return by_us and not PUT_BACK.intersection(reasons)


def _verdict(event: ENDS) -> tuple[str, tuple[Reason, ...], float | None]:
    match event:
        case Accepted():
            return "accepted", event.reasons, event.probability
        case RolledBack():
            return "rejected", event.reasons, event.probability
        case Abandoned():
            return "abandoned", event.reasons, None
    return "rejected", (), None


def _way_back(event: ENDS, trial: Trial) -> tuple[Change, ...]:
    kept = isinstance(event, Abandoned) and Reason.KEPT_ON_REJECT in event.reasons
    if isinstance(event, Accepted) or kept:
        return ()
    return tuple(Change(c.family, c.new, c.old) for c in trial.changes)
