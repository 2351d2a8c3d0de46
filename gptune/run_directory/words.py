"""Events in words: one line each."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from gptune.events import (
    Abandoned,
    Accepted,
    Applied,
    Blocked,
    Closed,
    Command,
    Event,
    Failed,
    Intent,
    Line,
    LookAhead,
    ModeChanged,
    Observed,
    Opened,
    Paused,
    Proposed,
    Raw,
    Restored,
    Rewind,
    RollbackFailed,
    RolledBack,
    Suggested,
    Unpaused,
)
from gptune.records import Change, Reason, show, show_change

MEANINGS = {
    Reason.NOT_FINITE: "the metric was no finite number",
    Reason.MISSING: "the metric was not reported",
    Reason.NOT_A_NUMBER: "the metric was not one number",
    Reason.METRIC_RAISED: "reading the metric raised an error",
    Reason.BACKUP_NOT_FINITE: "a backup metric was no finite number",
    Reason.ANOMALY: "an anomaly was reported",
    Reason.REGRESSION: "the metric fell behind its forecast by more than its own spread allows",
    Reason.NO_GAIN: "a gain was not probable enough",
    Reason.LOWER_RATE: "a lower learning rate needs more proof after the start of training",
    Reason.NO_FORECAST: "there was no forecast yet to judge against",
    Reason.GAIN: "a gain was probable enough",
    Reason.WARMUP: "the first decisions of a run only watch",
    Reason.START_BELOW: "the metric had not come below safety.start_below",
    Reason.PAUSED: "tuning was paused",
    Reason.COOLDOWN: "the knobs were resting after their last change",
    Reason.SEGMENT_OPEN: "another change was still being judged",
    Reason.NOT_THIS_DECISION: "search.every lets only some decisions propose",
    Reason.QUARANTINED: "the knob had failed and is left alone",
    Reason.NOTHING_TO_TUNE: "there was nothing to tune",
    Reason.UNKNOWN_KNOB: "it moved knobs that were not free to move",
    Reason.RISK: "the recipe calls the risk of the knob high",
    Reason.PHASE: "the knob may not move in this phase",
    Reason.BOUNDS: "the value was out of bounds",
    Reason.STEP: "the step was larger than max_step",
    Reason.BAD_VALUE: "the value was none that the knob can take",
    Reason.NO_CHANGE: "it would have changed nothing",
    Reason.PROPOSER_FAILED: "the proposer failed",
    Reason.KERNEL_FAILED: "gptune itself failed",
    Reason.LOG_FAILED: "the log could not be written",
    Reason.VALIDATE_REFUSED: "the knob refused the value",
    Reason.ACTUATOR_FAILED: "the knob failed",
    Reason.READ_BACK_DIFFERS: "the knob did not hold what it was given",
    Reason.NOT_LIVE: "the knob did not act: its hooks had not fired",
    Reason.OVERWRITTEN: "something else had written the value",
    Reason.LEFT_ACTIVE: "the mode was changed before it was judged",
    Reason.CLOSED: "the run was closed before it was judged",
    Reason.KEPT_ON_REJECT: "the recipe keeps what is rejected",
    Reason.PINNED: "an operator had pinned the knob",
    Reason.OPERATOR: "an operator wanted it",
    Reason.LEFT_REPLAY: "an operator had ended the replay",
    Reason.RESUMED: "the run was resumed from a checkpoint of another run directory",
    Reason.RANKS_DIFFER: "the processes that train the model differed in its knobs",
    Reason.LOOK_AHEAD: "a look ahead was trying learning rates",
    Reason.SPIKE: "the metric was far worse than all that was measured before",
    Reason.DIVERGENCE: "most of the progress since the start was lost",
    Reason.STATE_NOT_FINITE: "the model or its optimizer held a number that is not finite",
    Reason.RESTORED: "the training state was put back",
    Reason.MEASURED: "a look ahead found it best",
    Reason.CALIBRATED: "the calibration had found the rate, so the search left it alone",
}


def line_of(line: Line) -> str:
    """Write one line of the log for people: number, time, decision, step, kind, words.

    Raises:
        KeyError: If a kind of event has no words; the tests see to it that all have.
    """
    at, event = line.envelope, line.event
    kind = str(event.__struct_config__.tag)
    told = "".join(c if c.isprintable() else repr(c)[1:-1] for c in words(event))
    return f"{at.seq:>6}  {clock(line)}  {at.decision:>5}  {at.step:>8}  {kind:<15}  {told}"


def words(event: Event) -> str:
    """Say what an event says, in a few words.

    Example:
        >>> words(Paused(decisions=8, reasons=(Reason.NO_GAIN,)))
        'for 8 decisions (no gain)'
    """
    return _WORDS[type(event)](event)


def clock(line: Line) -> str:
    """Give the time of day of a line, UTC.

    Example:
        >>> from gptune.events import Envelope
        >>> at = Envelope(seq=1, generation=0, decision=1, step=1, phase="mid")
        >>> clock(Line(envelope=at, event=Closed(decisions=1), wall={"time": 3661.5}, checksum=""))
        '01:01:01'
    """
    time = line.wall.get("time")
    if not isinstance(time, int | float):
        return "--:--:--"
    return datetime.fromtimestamp(time, UTC).strftime("%H:%M:%S")


def number(value: float | Raw | None) -> str:
    """Write a number that may be missing.

    Example:
        >>> number(0.123456), number(None), number(Raw("'x'"))
        ('0.1235', '-', "'x'")
    """
    if value is None:
        return "-"
    return value.raw if isinstance(value, Raw) else show(float(value))


def _moves(changes: Iterable[Change]) -> str:
    return ", ".join(show_change(change) for change in changes)


def _why(reasons: Iterable[Reason]) -> str:
    said = ", ".join(reason.value.replace("_", " ") for reason in reasons)
    return f" ({said})" if said else ""


def _chance(probability: float | None) -> str:
    return "" if probability is None else f", P(gain) {probability:.2f}"


def _opened(event: Opened) -> str:
    how = "a process resumed the run" if event.resumed else "a run began"
    knobs = ", ".join(event.knobs) or "none"
    return f"{how}, mode {event.recipe.get('mode', '-')}, seed {event.seed}, knobs {knobs}"


def _observed(event: Observed) -> str:
    said = [number(event.metric)]
    if event.forecast is not None:
        said.append(f"forecast {number(event.forecast)} +/- {number(event.deviation)}")
    if event.evidence is not None:
        said.append(f"gain {number(event.evidence.gain)}")
        said.append(_chance(event.evidence.probability).removeprefix(", "))
    lost = [f"{f} {r.lost.value.replace('_', ' ')}" for f, r in event.knobs.items() if r.lost]
    return ", ".join(part for part in [*said, *lost] if part)


def _proposed(event: Proposed) -> str:
    belief = ""
    if event.mean is not None:
        belief = f", believed {number(event.mean)} +/- {number(event.deviation)}"
    return f"{_moves(event.changes)} [{event.source}]{belief}"


def _paused(event: Paused) -> str:
    until = "until resumed" if event.decisions is None else f"for {event.decisions} decisions"
    return until + _why(event.reasons)


def _abandoned(event: Abandoned) -> str:
    undone = f", put back {_moves(event.undone)}" if event.undone else ""
    return f"left as it is: {_moves(event.changes)}{_why(event.reasons)}{undone}"


def _look_ahead(event: LookAhead) -> str:
    cost = f"{event.steps} steps thrown away"
    if event.stopped:
        return f"{event.purpose} was stopped, {cost}: {event.stopped}"
    if not event.chosen:
        return f"{event.purpose} tries multipliers from {event.low:.3g} to {event.high:.3g}"
    arms = ", ".join(f"{name} {number(value)}" for name, value in event.arms.items())
    signs = {"turn": event.turn, "blow-up": event.blow_up, "aim": event.aim}
    seen = ", ".join(f"{name} {value:.3g}" for name, value in signs.items() if value is not None)
    parts = (f"{event.purpose} chose {event.chosen}", arms, seen, cost, event.remark)
    return "; ".join(part for part in parts if part)


def _command(event: Command) -> str:
    given = ", ".join(f"{name}={value}" for name, value in event.arguments.items())
    what = f"{event.verb} {given}".rstrip()
    return f"{what}: {'accepted' if event.accepted else 'refused'}: {event.message}"


_WORDS: dict[type[Event], Callable[[Any], str]] = {
    Opened: _opened,
    Observed: _observed,
    Proposed: _proposed,
    Suggested: lambda event: _moves(event.changes),
    Intent: lambda event: _moves(event.changes),
    Applied: lambda event: _moves(event.changes),
    Failed: lambda event: event.message + _why(event.reasons),
    Accepted: lambda event: _moves(event.changes) + _chance(event.probability),
    RolledBack: lambda event: (
        _moves(event.changes) + _chance(event.probability) + _why(event.reasons)
    ),
    RollbackFailed: lambda event: event.message,
    Abandoned: _abandoned,
    Blocked: lambda event: (event.message + _why(event.reasons)).strip(),
    Paused: _paused,
    Unpaused: lambda event: f"by {event.by}",
    Restored: lambda event: f"{event.symptom}: back to step {event.to_step} ({event.snapshot})",
    LookAhead: _look_ahead,
    ModeChanged: lambda event: f"{event.old} -> {event.new}, by {event.by}",
    Command: _command,
    Rewind: lambda event: f"resumed after line {event.to}; lines from there to here do not count",
    Closed: lambda event: f"after {event.decisions} decisions",
}
