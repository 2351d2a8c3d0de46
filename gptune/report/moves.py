"""What was done to the knobs of a run, and what became of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from gptune.events import (
    Abandoned,
    Accepted,
    Applied,
    Failed,
    Line,
    Observed,
    Proposed,
    RollbackFailed,
    RolledBack,
    Suggested,
)
from gptune.records import Change, Evidence, Reason, Scalar
from gptune.run_directory.changes import BY_HAND, Course, Ending, advance

STANDING = ("kept", "left", "hand")  # states of moves that are in force


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One thing that was done to knobs, or would have been.

    Attributes:
        id: The mutation's.
        decision: The decision at which it was made.
        step: Optimizer steps counted then [steps].
        phase: The phase then.
        changes: What was moved.
        source: Where the proposal came from.
        state: open | kept | undone | left | stuck | withdrawn | suggested | hand | failed. What is
            stuck could not be undone; what is withdrawn stayed until somebody took it back.
        ended: The decision, and the step, at which it was judged or ended.
        probability: Of a gain, where it was judged against a forecast.
        evidence: What its segment showed.
        reasons: Why it ended as it did.
        is_judged: Whether the gate judged it.
        message: What failed.
    """

    id: str
    decision: int
    step: int
    phase: str
    changes: tuple[Change, ...]
    source: str
    state: str
    ended: tuple[int, int] | None = None
    probability: float | None = None
    evidence: Evidence | None = None
    reasons: tuple[Reason, ...] = ()
    is_judged: bool = False
    message: str = ""


def moves_of(lines: Iterable[Line]) -> list[Move]:
    """Read the moves of an effective log, in the order in which they were made."""
    return _taken_back(_made(lines))


@dataclass(slots=True)
class _Pen:
    """What is remembered while moves are read."""

    course: Course = field(default_factory=Course)
    made: dict[str, Move] = field(default_factory=dict)
    evidence: Evidence | None = None
    changes: tuple[Change, ...] = ()


def _made(lines: Iterable[Line]) -> list[Move]:
    pen = _Pen()
    for line in lines:
        event, at_report = line.event, pen.course.at_report
        pen.course, _, ending = advance(pen.course, line)
        match event:
            case Observed():
                pen.evidence = event.evidence
            case Proposed():
                pen.changes = event.changes
            case Suggested() | Applied() | Failed():
                _make(pen, line, event)
            case Accepted() | RolledBack() | Abandoned() | RollbackFailed() if ending is None:
                _end_by_hand(pen, line, event)
        if ending is not None:
            _end(pen, line, ending, judged=ending.judged and at_report)
    return list(pen.made.values())


def _make(pen: _Pen, line: Line, event: Suggested | Applied | Failed) -> None:
    source, at = pen.course.source, line.envelope
    by_hand = source in BY_HAND
    states = {Suggested: "suggested", Failed: "failed"}
    move = Move(
        id=event.id,
        decision=at.decision,
        step=at.step,
        phase=at.phase,
        changes=pen.changes if isinstance(event, Failed) else event.changes,
        source=source,
        state=states.get(type(event), "hand" if by_hand else "open"),
        reasons=event.reasons if isinstance(event, Failed) else (),
        message=event.message if isinstance(event, Failed) else "",
    )
    pen.made[event.id] = move


def _end(pen: _Pen, line: Line, ending: Ending, *, judged: bool) -> None:
    """Note how a move ended; the guard may end one between two reports, of which none tells."""
    states = {"accepted": "kept", "rejected": "undone", "abandoned": "left"}
    is_stuck = isinstance(line.event, RollbackFailed)
    move, at = pen.made.get(ending.trial.id), line.envelope
    if move is None:  # it was opened before the log began
        return
    pen.made[move.id] = replace(
        move,
        state="stuck" if is_stuck else states[ending.verdict],
        ended=(at.decision, at.step),
        probability=ending.probability,
        evidence=pen.evidence if judged else None,
        reasons=ending.reasons,
        is_judged=ending.judged,
    )


def _end_by_hand(
    pen: _Pen, line: Line, event: Accepted | RolledBack | Abandoned | RollbackFailed
) -> None:
    """What was made by hand opens no trial, and yet may be taken back."""
    move, at = pen.made.get(event.id), line.envelope
    if move is None or isinstance(event, Accepted):
        return
    states = {Abandoned: "left", RollbackFailed: "stuck"}
    state = states.get(type(event), "undone")
    reasons = () if isinstance(event, RollbackFailed) else event.reasons
    pen.made[move.id] = replace(move, state=state, ended=(at.decision, at.step), reasons=reasons)


def _taken_back(moves: Sequence[Move]) -> list[Move]:
    """Tell what stayed from what stayed until a move by hand led back to before it."""
    told = list(moves)
    standing: dict[str, list[tuple[int, Scalar]]] = {}  # family -> moves, and where each began
    for number, move in enumerate(moves):
        for change in move.changes if move.state in STANDING else ():
            stack = standing.setdefault(change.family, [])
            depth = next((n for n, (_, old) in enumerate(stack) if old == change.new), None)
            if depth is None or move.source not in BY_HAND:
                stack.append((number, change.old))
                continue
            for index, _ in stack[depth:]:
                told[index] = replace(told[index], state="withdrawn")
            del stack[depth:]
    return told
