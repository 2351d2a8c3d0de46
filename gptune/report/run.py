"""A run as its log tells it: what was measured, what was moved and what became of it."""

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from gptune.configs.knobs import Knob
from gptune.errors import GptuneError, RunDirectoryError
from gptune.events import (
    SYMPTOMS,
    Abandoned,
    Accepted,
    Applied,
    Blocked,
    Command,
    Event,
    Failed,
    KnobReading,
    Line,
    LookAhead,
    Observed,
    Opened,
    Paused,
    Proposed,
    Restored,
    RollbackFailed,
    RolledBack,
    Suggested,
)
from gptune.plots.style import shortened
from gptune.records import Change, Evidence, Reason
from gptune.run_directory.changes import BY_HAND, Course, Ending, advance
from gptune.run_directory.event_log import effective, read_run
from gptune.run_directory.names import EVENTS
from gptune.run_directory.summary import Summary, summarize

LEDGER = Blocked | Failed | RollbackFailed | Restored | Abandoned | Paused


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What was reported at a decision, and where the knobs stood.

    Attributes:
        decision: Its number.
        step: Optimizer steps counted then [steps].
        metric: The objective as reported; ``None`` when it was no finite number.
        forecast: What it would have been without the change that was open; ``None`` = no forecast.
        deviation: Of the forecast [metric units].
        knobs: Family -> its move, the schedule's value, the value that was used.
        is_trial: Whether a look ahead was trying values then.
    """

    decision: int
    step: int
    metric: float | None
    forecast: float | None
    deviation: float | None
    knobs: dict[str, KnobReading]
    is_trial: bool


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
        state: open | kept | undone | left | suggested | hand | failed.
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


@dataclass(frozen=True, slots=True)
class Belief:
    """A proposal with what the model believed, and when."""

    decision: int
    step: int
    proposal: Proposed


@dataclass(frozen=True, slots=True)
class Trying:
    """A look ahead, which tries values and takes its steps back.

    Attributes:
        lines: Numbers of its first line and of its last one, to no end while it runs.
        steps: Optimizer steps counted then [steps].
        first: What its first line says.
        last: What its last one says; ``None`` while it runs.
        seconds: How long it took [s].
    """

    lines: range
    steps: tuple[int, int]
    first: LookAhead
    last: LookAhead | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """All that a report says of a run.

    Attributes:
        name: Of its directory.
        opened: The line with which its newest process began.
        summary: Where it stands.
        knobs: Family -> how it may move.
        samples: What was measured, in order.
        moves: What was done, in order.
        beliefs: What the model believed, in order.
        tryings: Looks ahead.
        incidents: Lines of which the safety ledger tells.
        deciding: Time from the report of each decision to its last line, added up [s].
    """

    name: str
    opened: Opened
    summary: Summary
    knobs: dict[str, Knob]
    samples: tuple[Sample, ...]
    moves: tuple[Move, ...]
    beliefs: tuple[Belief, ...]
    tryings: tuple[Trying, ...]
    incidents: tuple[Line, ...]
    deciding: float

    @property
    def objective(self) -> str:
        """How the metric is called."""
        return shortened(self.summary.objective) or "the metric"

    @property
    def sign(self) -> float:
        """What turns the metric into larger-is-better."""
        return -1.0 if self.summary.direction == "min" else 1.0

    @property
    def last(self) -> float | None:
        """The objective as it was reported last, passing over what was no number."""
        return self.metric_at(self.summary.step)

    def metric_at(self, step: int) -> float | None:
        """Give the objective as it was reported last up to a step, passing over no numbers."""
        known = (s.metric for s in reversed(self.samples) if s.step <= step)
        return next((metric for metric in known if metric is not None), None)

    def in_state(self, *states: str) -> list[Move]:
        """Give the moves that came to one of some ends."""
        return [move for move in self.moves if move.state in states]

    @property
    def restores(self) -> list[Line]:
        """The lines that say that the training state was put back."""
        return [line for line in self.incidents if isinstance(line.event, Restored)]


def read(directory: Path) -> Run:
    """Read a run directory; one that is being written is read as far as it has come.

    Raises:
        EventLogError: If the log is broken.
        RunDirectoryError: If it cannot be read, or nothing has been written yet.
    """
    if not (directory / EVENTS).is_file():
        raise RunDirectoryError(
            f"run directory {str(directory)!r}: holds no {EVENTS}; give the directory of a run, "
            "or see gptune ls"
        )
    lines = read_run(directory)
    name = directory.resolve().name
    if not any(isinstance(line.event, Opened) for line in lines):
        raise RunDirectoryError(
            f"run directory {str(directory)!r}: its log holds no decision and no beginning yet; "
            "wait for the run's first line"
        )
    return tell(name, lines)


def tell(name: str, lines: Sequence[Line]) -> Run:
    """Make a run of its whole log."""
    known = effective(lines)
    openings = [line.event for line in known if isinstance(line.event, Opened)]
    knobs = {f: one for opened in openings for f, one in opened.knobs.items()}
    tryings = tuple(_tryings(known))
    return Run(
        name=shortened(name),
        opened=openings[-1],
        summary=summarize(lines),
        knobs={f: one for f, plain in knobs.items() if (one := _knob(f, plain)) is not None},
        samples=tuple(_samples(known, tryings)),
        moves=tuple(_moves(known)),
        beliefs=tuple(
            Belief(line.envelope.decision, line.envelope.step, line.event)
            for line in known
            if isinstance(line.event, Proposed) and line.event.slices
        ),
        tryings=tryings,
        incidents=tuple(line for line in known if _is_incident(line.event)),
        deciding=sum(_deciding(known)),
    )


def _knob(family: str, plain: dict[str, Any]) -> Knob | None:
    """Read how a knob may move; one of a later version's kind cannot be drawn."""
    try:
        return msgspec.convert({"family": family, **plain}, Knob)
    except (msgspec.ValidationError, GptuneError):
        return None


def finite(value: object) -> float | None:
    """Give a number that can be drawn, or nothing."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _samples(lines: Iterable[Line], tryings: Sequence[Trying]) -> Iterable[Sample]:
    for line in lines:
        event, at = line.event, line.envelope
        if isinstance(event, Observed):
            yield Sample(
                decision=at.decision,
                step=at.step,
                metric=finite(event.metric),
                forecast=finite(event.forecast),
                deviation=finite(event.deviation),
                knobs=event.knobs,
                is_trial=any(at.seq in trying.lines for trying in tryings),
            )


@dataclass(slots=True)
class _Pen:
    """What is remembered while moves are read."""

    course: Course = field(default_factory=Course)
    made: dict[str, Move] = field(default_factory=dict)
    evidence: Evidence | None = None
    changes: tuple[Change, ...] = ()


def _moves(lines: Iterable[Line]) -> list[Move]:
    pen = _Pen()
    for line in lines:
        event = line.event
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
            _end(pen, line, ending)
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


def _end(pen: _Pen, line: Line, ending: Ending) -> None:
    states = {"accepted": "kept", "rejected": "undone", "abandoned": "left"}
    move, at = pen.made.get(ending.trial.id), line.envelope
    if move is None:  # it was opened before the log began
        return
    pen.made[move.id] = replace(
        move,
        state=states[ending.verdict],
        ended=(at.decision, at.step),
        probability=ending.probability,
        evidence=pen.evidence if ending.judged else None,
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
    state = "left" if isinstance(event, Abandoned) else "undone"
    reasons = () if isinstance(event, RollbackFailed) else event.reasons
    pen.made[move.id] = replace(move, state=state, ended=(at.decision, at.step), reasons=reasons)


def _tryings(lines: Iterable[Line]) -> Iterable[Trying]:
    begun: Line | None = None
    newest: Line | None = None
    for newest in lines:
        event = newest.event
        if not isinstance(event, LookAhead):
            continue
        if not event.chosen and not event.stopped:
            begun = newest
        elif begun is not None:
            yield _trying(begun, newest, event)
            begun = None
    if begun is not None and newest is not None:
        yield _trying(begun, newest, None)


def _trying(begun: Line, newest: Line, last: LookAhead | None) -> Trying:
    assert isinstance(begun.event, LookAhead)
    start, end = begun.envelope, newest.envelope
    return Trying(
        range(start.seq, end.seq if last is not None else sys.maxsize),
        (start.step, end.step),
        begun.event,
        last,
        max(0.0, _time(newest) - _time(begun)),
    )


def _is_incident(event: Event) -> bool:
    by_guard = isinstance(event, RolledBack) and bool(SYMPTOMS.intersection(event.reasons))
    refused = isinstance(event, Command) and not event.accepted
    return by_guard or refused or isinstance(event, LEDGER)


def _deciding(lines: Iterable[Line]) -> Iterable[float]:
    """Give the time of each decision, from its report to its last line at the same step."""
    first: Line | None = None
    last = first
    for line in lines:
        if isinstance(line.event, Observed):
            if first is not None and last is not None:
                yield max(0.0, _time(last) - _time(first))
            first = last = line
        elif first is not None and line.envelope.step == first.envelope.step:
            last = line
    if first is not None and last is not None:
        yield max(0.0, _time(last) - _time(first))


def _time(line: Line) -> float:
    time = line.wall.get("time")
    return float(time) if isinstance(time, int | float) else math.nan
