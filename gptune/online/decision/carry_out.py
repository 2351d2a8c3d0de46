"""Carrying a plan out: the acting half of the kernel.

Durable intent -> snapshot -> validate -> apply -> read back -> durable applied. Without a durable
intent nothing is changed; restoring never needs the disk.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from gptune.actuators import Actuator
from gptune.configs import Knob, Mode
from gptune.events import (
    Abandoned,
    Accepted,
    Applied,
    Blocked,
    Event,
    Failed,
    Intent,
    Moment,
    Proposed,
    RollbackFailed,
    RolledBack,
    Suggested,
)
from gptune.foreign import foreign_call
from gptune.online.decision.state import Outcome, Plan, Resolution
from gptune.records import Action, Change, Reason, Scalar


class Log(Protocol):
    """Where events go; gives ``False`` when a line could not be written, and from then on."""

    def append(self, moment: Moment, event: Event, *, durable: bool = False) -> bool:
        """Write one line."""
        ...


@dataclass(frozen=True, slots=True)
class Hand:
    """An actuator, and what the kernel knows of it."""

    actuator: Actuator
    knob: Knob


@dataclass(frozen=True, slots=True)
class Saved:
    """What undoes a change of one knob: its snapshot, and the value that must be read after."""

    snapshot: Any
    value: Scalar


@dataclass(slots=True)
class Notes:
    """What happened so far while a plan is carried out."""

    errors: list[Exception] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    unrestored: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    failed: list[Reason] = field(default_factory=list)
    restored: bool = False
    logged: bool = True


@dataclass(frozen=True, slots=True)
class Done:
    """The outcome, what undoes the open change, and the exceptions that were contained."""

    outcome: Outcome
    saved: dict[str, Saved]
    errors: tuple[Exception, ...]


def carry_out(plan: Plan, log: Log, hands: Mapping[str, Hand], saved: Mapping[str, Saved]) -> Done:
    """Carry a plan out, and say what came of it. Never raises on account of foreign code.

    Args:
        plan: The decision.
        log: Where its events go.
        hands: Family -> actuator.
        saved: Family -> what undoes the open change.
    """
    scribe = Scribe(plan.draft.moment, log, Notes())
    notes, draft = scribe.notes, plan.draft
    if draft.observed is not None:
        scribe.write(draft.observed)
    if draft.resolution is not None:
        _resolve(scribe, draft.resolution, hands, saved)
        saved = {}
    for notice in draft.notices:
        scribe.write(notice)
    if draft.blocked:
        scribe.write(Blocked(reasons=draft.reasons))
    applied = _propose(scribe, plan, hands)
    outcome = Outcome(
        applied=bool(applied),
        failed=tuple(notes.failed),
        unrestored=tuple(notes.unrestored),
        broken=tuple(dict.fromkeys(notes.broken)),
        restored=notes.restored,
        logged=notes.logged,
        messages=tuple(notes.messages),
    )
    return Done(outcome, applied or dict(saved), tuple(notes.errors))


@dataclass(frozen=True, slots=True)
class Scribe:
    """Writes one decision's events and keeps its notes."""

    moment: Moment
    log: Log
    notes: Notes

    def write(self, event: Event, *, durable: bool = False) -> bool:
        """Write one line; remember if it could not be written."""
        written = self.log.append(self.moment, event, durable=durable)
        self.notes.logged = self.notes.logged and written
        return written


def restore(hand: Hand, saved: Saved) -> tuple[str, Exception | None]:
    """Put one knob back and read it; gives a complaint, empty when all is well."""
    done = foreign_call(lambda: hand.actuator.restore(saved.snapshot))
    if done.error is not None:
        return f"{hand.knob.family}: restore raised {done.message}", done.error
    read = foreign_call(hand.actuator.read)
    if read.error is not None:
        return f"{hand.knob.family}: read raised {read.message}", read.error
    if not is_same(read.value, saved.value):
        return f"{hand.knob.family}: restored {saved.value!r} but reads {read.value!r}", None
    return "", None


def is_same(one: object, other: object) -> bool:
    """Say whether two values are equal and of one type; a NaN equals nothing."""
    return type(one) is type(other) and bool(one == other)


def _resolve(
    scribe: Scribe, resolution: Resolution, hands: Mapping[str, Hand], saved: Mapping[str, Saved]
) -> None:
    pending, why = resolution.pending, resolution.reasons
    if resolution.action is Action.ACCEPTED:
        chance, by_gate = resolution.probability, why == (Reason.GAIN,)
        event = Accepted(
            id=pending.id,
            changes=pending.changes,
            probability=chance,
            reasons=() if by_gate else why,
        )
        scribe.write(event)
    elif not resolution.undo:
        reasons = (*why, Reason.KEPT_ON_REJECT)
        scribe.write(Abandoned(id=pending.id, changes=pending.changes, reasons=reasons))
    elif _undo(scribe, hands, {f: s for f, s in saved.items() if f not in resolution.strays}):
        scribe.write(_undone(resolution))
    else:
        families, message = tuple(scribe.notes.unrestored), "; ".join(scribe.notes.messages)
        scribe.write(RollbackFailed(id=pending.id, families=families, message=message))


def _undone(resolution: Resolution) -> Event:
    """Say what was undone; a change that something else has written over is abandoned."""
    pending, why, strays = resolution.pending, resolution.reasons, resolution.strays
    changes = pending.changes
    back = tuple(Change(c.family, c.new, c.old) for c in changes if c.family not in strays)
    if len(back) < len(changes):
        left = tuple(change for change in changes if change.family in strays)
        return Abandoned(id=pending.id, changes=left, reasons=why, undone=back)
    chance = resolution.probability
    return RolledBack(id=pending.id, changes=back, reasons=why, probability=chance)


def _undo(scribe: Scribe, hands: Mapping[str, Hand], saved: Mapping[str, Saved]) -> bool:
    """Put every knob back, the last changed first; one that fails does not stop the others."""
    notes = scribe.notes
    for family, state in reversed(list(saved.items())):
        complaint, error = restore(hands[family], state)
        if complaint:
            notes.unrestored.append(family)
            notes.messages.append(complaint)
            notes.errors.extend([] if error is None else [error])
    notes.restored = notes.restored or bool(saved)
    return not notes.unrestored


def _propose(scribe: Scribe, plan: Plan, hands: Mapping[str, Hand]) -> dict[str, Saved]:
    """Log the proposal and, in mode active, make the change; gives what undoes it."""
    proposal, changes = plan.proposal, plan.changes
    if proposal is not None:
        asked = tuple(Change(f, _move_before(plan, f), m) for f, m in proposal.point.items())
        scribe.write(
            Proposed(
                changes=changes or asked,
                source=proposal.source,
                mean=proposal.mean,
                deviation=proposal.deviation,
                criterion=proposal.criterion,
                hyperparameters=proposal.hyperparameters,
                slices=proposal.slices,
            )
        )
    if plan.reasons and plan.reasons != (Reason.NO_CHANGE,):
        scribe.write(Blocked(reasons=plan.reasons, message=plan.message))
    if not changes or scribe.notes.unrestored:
        return {}
    if plan.mode is Mode.SUGGEST:
        scribe.write(Suggested(id=plan.id, changes=changes))
    if plan.mode is not Mode.ACTIVE:
        return {}
    # The write-ahead rule: what was not first written to the disk is never applied.
    if not scribe.write(Intent(id=plan.id, changes=changes), durable=True):
        return {}
    return _change(scribe, plan, hands)


def _move_before(plan: Plan, family: str) -> Scalar:
    request = plan.draft.request
    return request.point.get(family, "unknown") if request else "unknown"


def _change(scribe: Scribe, plan: Plan, hands: Mapping[str, Hand]) -> dict[str, Saved]:
    """Apply every change or none: what was applied before a failure is put back."""
    saved: dict[str, Saved] = {}
    ended = False
    try:
        complaint = _apply_all(scribe, plan, hands, saved)
        ended = True
    finally:
        if not ended:  # an interrupt: nobody would know of the change
            _undo(scribe, hands, saved)
            scribe.write(
                Failed(
                    id=plan.id,
                    reasons=(Reason.OPERATOR,),
                    message="interrupted",
                    families=tuple(change.family for change in plan.changes),
                )
            )
    return _give_up(scribe, plan, hands, (complaint, saved)) if complaint else saved


def _apply_all(
    scribe: Scribe, plan: Plan, hands: Mapping[str, Hand], saved: dict[str, Saved]
) -> str:
    read_back: dict[str, Scalar] = {}
    for change in plan.changes:
        hand = hands[change.family]
        complaint = _apply(scribe.notes, hand, change, saved)
        if complaint:
            return complaint
        read_back[change.family] = hand.knob.native(change.new)
    event = Applied(id=plan.id, changes=plan.changes, read_back=read_back)
    return "" if scribe.write(event, durable=True) else "the log failed"


def _give_up(
    scribe: Scribe, plan: Plan, hands: Mapping[str, Hand], why: tuple[str, dict[str, Saved]]
) -> dict[str, Saved]:
    message, saved = why
    notes = scribe.notes
    notes.messages.append(message)
    if not notes.logged:
        notes.failed.append(Reason.LOG_FAILED)
    whole = _undo(scribe, hands, saved)
    families = tuple(change.family for change in plan.changes)
    scribe.write(
        Failed(id=plan.id, reasons=tuple(notes.failed), message=message, families=families)
        if whole
        else RollbackFailed(
            id=plan.id,
            families=tuple(dict.fromkeys((*notes.unrestored, *notes.broken))),
            message=message,
        )
    )
    return {}


def _apply(notes: Notes, hand: Hand, change: Change, saved: dict[str, Saved]) -> str:
    """Snapshot, validate, apply and read back one knob; gives a complaint, empty when well."""
    value = hand.knob.native(change.new)
    return _prepare(notes, hand, value, saved) or _put(notes, hand, value)


def _prepare(notes: Notes, hand: Hand, value: Scalar, saved: dict[str, Saved]) -> str:
    family, actuator = hand.knob.family, hand.actuator
    before = foreign_call(lambda: Saved(actuator.snapshot(), actuator.read()))
    if before.value is None:
        return _broke(notes, family, f"snapshot raised {before.message}", before.error)
    refused = foreign_call(lambda: actuator.validate(value))
    if refused.error is not None:
        return _broke(notes, family, f"validate raised {refused.message}", refused.error)
    if refused.value is not None:
        notes.failed.append(Reason.VALIDATE_REFUSED)
        return f"{family}: {refused.value}"
    saved[family] = before.value
    return ""


def _put(notes: Notes, hand: Hand, value: Scalar) -> str:
    family, actuator = hand.knob.family, hand.actuator
    done = foreign_call(lambda: actuator.apply(value))
    if done.error is not None:
        return _broke(notes, family, f"apply raised {done.message}", done.error)
    read = foreign_call(actuator.read)
    if read.error is not None:
        return _broke(notes, family, f"read raised {read.message}", read.error)
    if is_same(read.value, value):
        return ""
    notes.failed.append(Reason.READ_BACK_DIFFERS)
    notes.broken.append(family)
    return f"{family}: applied {value!r} but reads {read.value!r}"


def _broke(notes: Notes, family: str, what: str, error: Exception | None) -> str:
    notes.failed.append(Reason.ACTUATOR_FAILED)
    notes.broken.append(family)
    notes.errors.extend([] if error is None else [error])
    return f"{family}: {what}"
