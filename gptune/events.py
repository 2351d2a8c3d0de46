"""What is written to ``events.jsonl``: one struct a kind, envelope and codec. Schema version 1.

One JSON object a line: ``v, seq, generation, decision, step, phase, kind``, the kind's own
fields, ``wall`` (all that may differ between two equal runs: times, host, process, run name),
and ``checksum``, which covers the line without ``wall`` and itself, chained to the line before.
Readers skip kinds that they do not know. Non-finite numbers travel as
``{"value": null, "raw": "nan"}``.
"""

import hashlib
import math
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from gptune.errors import EventLogError
from gptune.records import Change, Evidence, Reason, Scalar, Slice

VERSION = 1
ORIGIN = ""  # the checksum before the first line
SYMPTOMS = frozenset(  # for which the training state is put back; a change that is open has lost
    {Reason.SPIKE, Reason.DIVERGENCE, Reason.STATE_NOT_FINITE, Reason.NOT_FINITE}
)


class Raw(msgspec.Struct, frozen=True):
    """A reported metric that is not a number, as far as it can be shown."""

    raw: str
    value: None = None


class KnobReading(msgspec.Struct, frozen=True):
    """Where a knob stands: its move, the schedule's value, and what was really used last."""

    move: Scalar
    scheduled: Scalar | None = None
    effective: Scalar | None = None
    lost: Reason | None = None  # why it does not act: no hook fired, or its value was overwritten


class Carried(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run stood at a checkpoint that this log knows nothing of; its moves follow."""

    mode: str
    overrides: dict[str, Scalar | None] = {}
    rejects: int = 0
    paused: bool = False
    paused_until: int | None = None
    quarantined: tuple[str, ...] = ()
    pinned: tuple[str, ...] = ()


# Spelled out below once a kind: frozen, keyword-only, told apart by ``kind``.
class Opened(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="opened"):
    """A process took the run directory; ``carried`` is what came with another log's checkpoint."""

    recipe: dict[str, Any]
    seed: int
    knobs: dict[str, dict[str, Any]]
    resumed: bool
    versions: dict[str, str]
    total_steps: int | None = None
    carried: Carried | None = None


class Observed(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="observed"):
    """What was reported at a decision, the forecast it met, and where every knob stands."""

    metric: float | Raw
    metrics: dict[str, float | Raw] = {}
    forecast: float | None = None
    deviation: float | None = None
    evidence: Evidence | None = None
    knobs: dict[str, KnobReading] = {}


class Proposed(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="proposed"):
    """What the proposer would try, and what it believed."""

    changes: tuple[Change, ...]
    source: str
    mean: float | None = None
    deviation: float | None = None
    criterion: float | None = None
    hyperparameters: dict[str, list[float]] = {}
    slices: dict[str, Slice] = {}


class Suggested(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="suggested"):
    """Mode suggest: exactly what active would have applied."""

    id: str
    changes: tuple[Change, ...]


class Intent(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="intent"):
    """A change is about to be made; on the disk before it is."""

    id: str
    changes: tuple[Change, ...]


class Applied(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="applied"):
    """A change was made and read back; a segment opens."""

    id: str
    changes: tuple[Change, ...]
    read_back: dict[str, Scalar]


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="failed"):
    """A change could not be made; whatever had been done is undone."""

    id: str
    reasons: tuple[Reason, ...]
    message: str
    families: tuple[str, ...] = ()


class Accepted(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="accepted"):
    """A change stays; ``reasons`` where it was not the gate that wanted it so."""

    id: str
    changes: tuple[Change, ...]
    probability: float | None = None
    reasons: tuple[Reason, ...] = ()


class RolledBack(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="rolled_back"):
    """A change was undone, bit for bit."""

    id: str
    changes: tuple[Change, ...]
    reasons: tuple[Reason, ...]
    probability: float | None = None


class RollbackFailed(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="rollback_failed"
):
    """A change could not be undone: the knob is quarantined, tuning pauses, training goes on."""

    id: str
    families: tuple[str, ...]
    message: str


class Abandoned(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="abandoned"):
    """A change ended and stays: that was chosen, or something else had written over it in part."""

    id: str
    changes: tuple[Change, ...]
    reasons: tuple[Reason, ...]
    undone: tuple[Change, ...] = ()  # of a joint change


class Blocked(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="blocked"):
    """Nothing may be changed at this decision."""

    reasons: tuple[Reason, ...]
    message: str = ""


class Paused(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="paused"):
    """Tuning pauses for a number of decisions; ``None``: until an operator resumes."""

    decisions: int | None
    reasons: tuple[Reason, ...] = ()


class Unpaused(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="unpaused"):
    """A pause ended; the reject streak is zero."""

    by: str = "count"


class Restored(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="restored"):
    """The guard put the training state back."""

    symptom: str
    to_step: int
    snapshot: str


class LookAhead(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="look_ahead"):
    """Calibration or the guard tries learning rates from one snapshot, and goes back to it.

    Written before the first trial, with no arms and nothing chosen, and again at the end.

    Attributes:
        arms: Multiplier -> the objective at the end of its arm, as reported.
        chosen: The multiplier that goes on.
        steps: Steps thrown away [steps].
        purpose: calibration | guard.
        low: The lowest multiplier that may be tried.
        high: The highest one.
        turn: The multiplier at which the gradient no longer points against the last update.
        blow_up: The multiplier at which the training loss blew up.
        aim: What those two, or earlier runs, said; the arms decide around it.
        stopped: Why it was ended before its end.
        remark: What makes its result less sure.
    """

    arms: dict[str, float | Raw]
    chosen: str
    steps: int
    purpose: str = ""
    low: float | None = None
    high: float | None = None
    turn: float | None = None
    blow_up: float | None = None
    aim: float | None = None
    stopped: str = ""
    remark: str = ""


class ModeChanged(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="mode"):
    """The mode changed."""

    old: str
    new: str
    by: str = "call"


class Command(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="command"):
    """A command from outside, and its answer."""

    id: str
    verb: str
    arguments: dict[str, Any]
    accepted: bool
    message: str


class Rewind(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="rewind"):
    """The run resumes from an older checkpoint: lines after ``to`` no longer count."""

    to: int


class Closed(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="closed"):
    """The Tuner was closed."""

    decisions: int


Event = (
    Opened
    | Observed
    | Proposed
    | Suggested
    | Intent
    | Applied
    | Failed
    | Accepted
    | RolledBack
    | RollbackFailed
    | Abandoned
    | Blocked
    | Paused
    | Unpaused
    | Restored
    | LookAhead
    | ModeChanged
    | Command
    | Rewind
    | Closed
)
KINDS = frozenset(
    str(kind.__struct_config__.tag) for kind in Event.__args__ if kind.__struct_config__.tag
)


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """When something happened, in the run's own counts."""

    decision: int
    step: int
    phase: str


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What every line carries beside its kind's own fields."""

    seq: int
    generation: int
    decision: int
    step: int
    phase: str


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the log, read."""

    envelope: Envelope
    event: Event
    wall: dict[str, Any]
    checksum: str


def encode(envelope: Envelope, event: Event, wall: Mapping[str, Any], previous: str) -> bytes:
    """Write one line, newline included.

    Args:
        envelope: Number, generation, decision, step, phase.
        event: The event.
        wall: All that may differ between two equal runs.
        previous: Checksum of the line before; `ORIGIN` for the first.

    Returns:
        The bytes of one line of UTF-8 JSON.
    """
    body = {"v": VERSION, **msgspec.to_builtins(envelope), **msgspec.to_builtins(event)}
    body = _map_floats(body)
    checksum = _chain(body, previous)
    return msgspec.json.encode({**body, "wall": dict(wall), "checksum": checksum}) + b"\n"


def decode(line: bytes, previous: str | None) -> Line | None:
    """Read one line.

    Args:
        line: The bytes of one line.
        previous: Checksum of the line before, or ``None`` to skip the check of the chain.

    Returns:
        The line, or ``None`` for a kind of event that this version does not know.

    Raises:
        EventLogError: If the line is not JSON of this schema, or the chain is broken.
    """
    try:
        body = msgspec.json.decode(line, type=dict[str, Any])
        wall, checksum = body.pop("wall"), body.pop("checksum")
        if previous is not None and _chain(body, previous) != checksum:
            raise EventLogError(f"line seq {body.get('seq')!r}: checksum does not match the chain")
        if body["v"] != VERSION:
            raise EventLogError(f"schema version {body['v']!r} is not {VERSION}; use its gptune")
        if body.get("kind") not in KINDS:
            return None
        body = _unmap_floats(body)
        return Line(
            envelope=_take(body, Envelope),
            event=msgspec.convert(body, Event),
            wall=wall,
            checksum=checksum,
        )
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, EventLogError):
            raise
        raise EventLogError(f"not a line of events.jsonl: {error}") from error


def checksum_of(line: bytes) -> str:
    """Read a line's own checksum, whatever its kind.

    Raises:
        EventLogError: If there is none.
    """
    try:
        return str(msgspec.json.decode(line, type=dict[str, Any])["checksum"])
    except (msgspec.MsgspecError, KeyError, UnicodeDecodeError) as error:
        raise EventLogError(f"not a line of events.jsonl: {error}") from error


T = TypeVar("T")


def _take(body: Mapping[str, Any], kind: type[T]) -> T:
    return msgspec.convert({k: v for k, v in body.items() if k in Envelope.__struct_fields__}, kind)


def _chain(body: Mapping[str, Any], previous: str) -> str:
    text = previous.encode() + msgspec.json.encode(body)
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def _map_floats(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"value": None, "raw": str(value)}
    if isinstance(value, dict):
        return {key: _map_floats(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_map_floats(item) for item in value]
    return value


def _unmap_floats(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"value", "raw"} and value["raw"] in ("nan", "inf", "-inf"):
            return float(value["raw"])
        return {key: _unmap_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unmap_floats(item) for item in value]
    return value
