"""A run as its log tells it: what was measured, what was moved and what became of it."""

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
    Intent,
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
    Unpaused,
)
from gptune.plots.style import shortened
from gptune.report.moves import Move, moves_of
from gptune.run_directory.changes import PUT_BACK
from gptune.run_directory.event_log import effective, read_run
from gptune.run_directory.names import EVENTS
from gptune.run_directory.summary import Summary, summarize

WRITTEN = (  # what a decision writes of itself
    *(Proposed, Suggested, Applied, Failed, Accepted, RolledBack, RollbackFailed, Abandoned),
    *(Intent, Blocked, Paused, Unpaused, Restored),
)
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
        moves=tuple(moves_of(known)),
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
    """Give the time of each decision, from its report to the last line that it wrote."""
    first = last = 0.0
    is_at_work = False
    for line in lines:
        if isinstance(line.event, Observed):
            yield max(0.0, last - first)
            first = last = _time(line)
            is_at_work = True
        elif is_at_work and isinstance(line.event, WRITTEN) and not _is_called(line.event):
            last = _time(line)
        else:
            is_at_work = False
    yield max(0.0, last - first)


def _is_called(event: Event) -> bool:
    """Say whether it was written because the run was closed, or somebody wanted it."""
    return bool(PUT_BACK.intersection(getattr(event, "reasons", ())))


def _time(line: Line) -> float:
    time = line.wall.get("time")
    return float(time) if isinstance(time, int | float) else math.nan
