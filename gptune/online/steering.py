"""What another terminal may order, and what an order comes to. Pure: the session acts on it.

One rule for the open segment: an order that moves or pins a knob puts an unjudged change back
first, so that a metric is never credited to a point that did not produce it.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gptune.configs import Mode, nearest, typed
from gptune.configs.overrides import field_of, override
from gptune.configs.reading import shown
from gptune.errors import UsageError
from gptune.events import Event, Paused, Unpaused
from gptune.online.decision import KernelConfig, KernelState, Plan
from gptune.online.decision.state import Draft
from gptune.recipe.recorded import Movement, before_last, point_after
from gptune.records import (
    Action,
    Categorical,
    Change,
    Point,
    Proposal,
    Reason,
    Scalar,
    show,
    show_change,
)
from gptune.safety import gate
from gptune.safety.gate import SafetyState


# Spelled out once an order: frozen, told apart by ``verb``, nothing unknown beside.
class Enable(Struct, frozen=True, tag_field="verb", tag="enable", forbid_unknown_fields=True):
    """Change the mode; without one, to what the run was made for: active, or replay."""

    mode: Literal["active", "suggest", "observe", "replay"] | None = None


class Disable(Struct, frozen=True, tag_field="verb", tag="disable", forbid_unknown_fields=True):
    """Only observe; the run can still be steered, and enabled again."""


class Pause(Struct, frozen=True, tag_field="verb", tag="pause", forbid_unknown_fields=True):
    """Propose nothing for some decisions, or until `Resume`."""

    decisions: int | None = None


class Resume(Struct, frozen=True, tag_field="verb", tag="resume", forbid_unknown_fields=True):
    """End a pause."""


class Set(Struct, frozen=True, tag_field="verb", tag="set", forbid_unknown_fields=True):
    """Change fields of the recipe, all or none: ``section.field`` -> value."""

    changes: dict[str, Scalar | None]


class Pin(Struct, frozen=True, tag_field="verb", tag="pin", forbid_unknown_fields=True):
    """Keep a knob where it is."""

    family: str


class Unpin(Struct, frozen=True, tag_field="verb", tag="unpin", forbid_unknown_fields=True):
    """Let a knob move again."""

    family: str


class Apply(Struct, frozen=True, tag_field="verb", tag="apply", forbid_unknown_fields=True):
    """Make moves by hand, all or none: family -> move, in the recipe's units."""

    moves: dict[str, Scalar]


class Accept(Struct, frozen=True, tag_field="verb", tag="accept", forbid_unknown_fields=True):
    """Keep the change that is being judged."""


class Reject(Struct, frozen=True, tag_field="verb", tag="reject", forbid_unknown_fields=True):
    """Undo the change that is being judged."""


class Rollback(Struct, frozen=True, tag_field="verb", tag="rollback", forbid_unknown_fields=True):
    """Put the knobs back: before the last change, or as they were after decision ``to``."""

    to: int | None = None


Order = Enable | Disable | Pause | Resume | Set | Pin | Unpin | Apply | Accept | Reject | Rollback
VERBS = tuple(str(kind.__struct_config__.tag) for kind in Order.__args__)


class Steered(Struct, frozen=True, kw_only=True):
    """What an order comes to.

    Attributes:
        message: Old and new value.
        ends: How the open segment, if there is one, ends first.
        moves: What is then moved by hand.
        mode: The new mode.
        safety: What safety remembers from now on.
        overrides: What is set of the recipe from now on.
        notices: Events to write.
    """

    message: str
    ends: Action | None = None
    moves: dict[str, Scalar] = {}
    mode: Mode | None = None
    safety: SafetyState | None = None
    overrides: dict[str, Scalar | None] | None = None
    notices: tuple[Event, ...] = ()


def read_order(verb: str, arguments: Mapping[str, Any]) -> Order:
    """Read an order from plain data.

    Raises:
        UsageError: Naming what is wrong with it.
    """
    if verb not in VERBS:
        raise UsageError(f"verb: is unknown, got {shown(verb)}; {nearest(verb[:40], VERBS)}")
    try:
        order: Order = msgspec.convert({**arguments, "verb": verb}, Order)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"{verb}: {error}, got {shown(arguments)}; see gptune {verb} --help"
        ) from error
    return order


def steer(
    config: KernelConfig, state: KernelState, order: Order, past: Iterable[Movement]
) -> Steered:
    """Say what an order comes to.

    Args:
        config: The recipe and the knobs.
        state: What the kernel remembers.
        order: What is wanted.
        past: Every movement of a knob so far, the oldest first.

    Raises:
        UsageError: Why it is refused.
        RecipeError: If a field may not be set, or its value is wrong.
    """
    match order:
        case Enable() | Disable():
            new = _mode(config, order) if isinstance(order, Enable) else Mode.OBSERVE
            made = Steered(message=f"mode {state.mode.value} -> {new.value}", mode=new)
        case Pause() | Resume():
            made = _pause_or_resume(state, order)
        case Set():
            made = _set(config, state, order)
        case Pin() | Unpin():
            made = _pin(config, state, order)
        case Apply():
            spaces = {family: config.knobs[_known(config, family)].space for family in order.moves}
            moves = {family: typed(spaces[family], move) for family, move in order.moves.items()}
            made = _move(config, state, moves)
        case Accept() | Reject():
            made = _judge(config, state, order)
        case Rollback():
            made = _rollback(config, state, order, past)
    return made


def _mode(config: KernelConfig, order: Enable) -> Mode:
    replays = config.recipe.mode is Mode.REPLAY
    if order.mode is None:
        return Mode.REPLAY if replays else Mode.ACTIVE
    if order.mode == "replay" and not replays:
        raise UsageError("mode: this run was not made to replay another; use active or suggest")
    return Mode(order.mode)


def by_hand(
    config: KernelConfig, state: KernelState, step: int, moves: Point, *, source: str, tag: str
) -> Plan:
    """Plan moves that no search proposed.

    Args:
        config: The recipe and the knobs.
        state: What the kernel remembers.
        step: Optimizer steps counted so far [steps].
        moves: Family -> new move; screened already.
        source: human | replay.
        tag: What tells its id from that of others after the same decision.
    """
    draft = Draft(moment=config.moment(state.decision, step), observed=None)
    changes = tuple(Change(family, state.point[family], move) for family, move in moves.items())
    proposal = Proposal(point=dict(moves), source=source)
    return Plan(draft=draft, mode=Mode.ACTIVE, proposal=proposal, changes=changes, tag=tag)


def _pause_or_resume(state: KernelState, order: Pause | Resume) -> Steered:
    was = _pause_of(state)
    if isinstance(order, Resume):
        notices = (Unpaused(by="command"),) if state.safety.paused else ()
        safety = gate.resume(state.safety)
        return Steered(message=f"{was} -> not paused", safety=safety, notices=notices)
    count = order.decisions
    if count is not None and count < 1:
        raise UsageError(
            f"decisions: must be >= 1 [decisions], got {count!r}; leave it out for ever"
        )
    safety = gate.pause(state.safety, None if count is None else state.decision + count)
    now = _pause_of(replace(state, safety=safety))
    notice = Paused(decisions=count, reasons=(Reason.OPERATOR,))
    return Steered(message=f"{was} -> {now}", safety=safety, notices=(notice,))


def _pause_of(state: KernelState) -> str:
    if not state.safety.paused:
        return "not paused"
    until = state.safety.paused_until
    return "paused until resumed" if until is None else f"paused through decision {until}"


def _set(config: KernelConfig, state: KernelState, order: Set) -> Steered:
    if not order.changes:
        raise UsageError("set: needs at least one section.field=value, got none")
    old, new = config.recipe, override(config.recipe, order.changes)
    said = [f"{p} {field_of(old, p)!r} -> {field_of(new, p)!r}" for p in order.changes]
    overrides = {**state.overrides, **order.changes}
    return Steered(message=", ".join(said), overrides=overrides)


def _pin(config: KernelConfig, state: KernelState, order: Pin | Unpin) -> Steered:
    family = _known(config, order.family)
    if isinstance(order, Unpin):
        safety = gate.unpin(state.safety, family)
        was = "pinned" if family in state.safety.pinned else "not pinned"
        return Steered(message=f"{family} {was} -> not pinned", safety=safety)
    before = _before(state)
    at = before.get(family, state.point[family])
    safety = gate.pin(state.safety, family)
    ends = Action.REJECTED if family in before else None
    return Steered(message=f"{family} -> pinned at {show(at)}", ends=ends, safety=safety)


def _judge(config: KernelConfig, state: KernelState, order: Accept | Reject) -> Steered:
    pending = state.pending
    verb = "accept" if isinstance(order, Accept) else "reject"
    if pending is None:
        raise UsageError(f"{verb}: no change is being judged now; see gptune status")
    if isinstance(order, Accept):
        said = ", ".join(map(show_change, pending.changes))
        safety = gate.accepted(state.safety)
        return Steered(message=f"{said}: kept", ends=Action.ACCEPTED, safety=safety)
    safety = gate.rejected(config.recipe.safety, state.safety, state.decision)
    rules, paused = config.recipe.safety, safety.paused and not state.safety.paused
    notices = (Paused(decisions=rules.pause_decisions, reasons=(Reason.OPERATOR,)),)
    return Steered(
        message=_way_back(state),
        ends=Action.REJECTED,
        safety=safety,
        notices=notices if paused else (),
    )


def _move(config: KernelConfig, state: KernelState, moves: Point) -> Steered:
    if not moves:
        raise UsageError("apply: needs at least one family=value, got none")
    if state.mode is Mode.OFF:
        raise UsageError("mode: is off, so no knob acts; enable the run first")
    point = {**state.point, **_before(state)}
    faults = gate.screen_by_hand(state.safety, config.knobs, moves, point)
    if faults:
        raise UsageError(_why_not(config, moves, point, faults))
    said = [show_change(Change(f, point[f], move)) for f, move in moves.items()]
    ends = Action.REJECTED if state.pending else None
    return Steered(message=", ".join(said), ends=ends, moves=dict(moves))


def _before(state: KernelState) -> dict[str, Scalar]:
    """Give the moves that an open change would go back to."""
    return {c.family: c.old for c in state.pending.changes} if state.pending else {}


def _way_back(state: KernelState) -> str:
    changes = state.pending.changes if state.pending else ()
    return ", ".join(show_change(Change(c.family, c.new, c.old)) for c in changes)


def _why_not(config: KernelConfig, moves: Point, point: Point, faults: tuple[Reason, ...]) -> str:
    asked = ", ".join(f"{family}={show(move)}" for family, move in moves.items())
    spaces = [config.knobs[f].space for f in moves if f in config.knobs]
    allowed = "; ".join(
        f"one of {s.choices}" if isinstance(s, Categorical) else f"[{show(s.low)}, {show(s.high)}]"
        for s in spaces
    )
    now = ", ".join(f"{family}={show(point[family])}" for family in moves if family in point)
    why = ", ".join(fault.value.replace("_", " ") for fault in faults)
    return f"{asked}: refused ({why}); now {now}, allowed {allowed}"


def _rollback(
    config: KernelConfig, state: KernelState, order: Rollback, past: Iterable[Movement]
) -> Steered:
    if order.to is not None and not 0 <= order.to <= state.decision:
        raise UsageError(
            f"to: must be a decision from 0 to {state.decision}, got {order.to}; "
            "0 is before the first"
        )
    if order.to is None and state.pending is not None:
        return Steered(message=_way_back(state), ends=Action.REJECTED)
    target = before_last(past) if order.to is None else point_after(past, order.to)
    point = {**state.point, **_before(state)}
    moves = {f: m for f, m in target.items() if f in config.knobs and m != point[f]}
    if not moves:
        message = _way_back(state) or "every knob is there already"
        return Steered(message=message, ends=Action.REJECTED if state.pending else None)
    return _move(config, state, moves)


def _known(config: KernelConfig, family: str) -> str:
    if family not in config.knobs:
        hint = nearest(family[:80], config.knobs) if config.knobs else "no knob is attached"
        raise UsageError(f"{family[:80]}: no such knob; {hint}")
    return family
