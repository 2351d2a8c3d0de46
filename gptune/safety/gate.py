"""The gate: what safety remembers, and its transitions. The only place where verdicts are made.

Decisions are numbered 1, 2, 3 ...; every wait is kept as the number of the first decision at
which it is over, so that nothing has to be ticked and no wait can end early.
"""

import math
from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from gptune.configs import Acceptance, Knob, Safety
from gptune.records import Action, Evidence, Reason, Verdict
from gptune.safety.blockers import move_faults, standing_faults

LOWER_RATE_PROBABILITY = 0.995  # for a lower rate after the start; a short look prefers those


class SafetyState(Struct, frozen=True, kw_only=True):
    """All that safety remembers between two decisions.

    Attributes:
        rejects: Consecutive rejects; at the limit tuning pauses.
        paused: Whether tuning is paused.
        paused_until: Number of the last decision of the pause; ``None`` = until resumed.
        ready: Family -> first decision at which it may move again.
        ready_all: First decision at which anything may move again.
        quarantined: Families that failed and are left alone.
        pinned: Families that an operator keeps where they are.
        regressions: Consecutive regressions of the objective [decisions].
        started: Whether the objective has been beyond ``start_below``.
    """

    rejects: int = 0
    paused: bool = False
    paused_until: int | None = None
    ready: dict[str, int] = {}
    ready_all: int = 0
    quarantined: tuple[str, ...] = ()
    pinned: tuple[str, ...] = ()
    regressions: int = 0
    started: bool = False


def judge(acceptance: Acceptance, evidence: Evidence, faults: tuple[Reason, ...]) -> Verdict:
    """Judge one segment. Pure; only finite evidence without faults can be accepted."""
    reasons = faults or (_finding(acceptance, evidence),)
    gained = reasons == (Reason.GAIN,)
    return Verdict(Action.ACCEPTED if gained else Action.REJECTED, reasons)


def _finding(acceptance: Acceptance, evidence: Evidence) -> Reason:
    if not math.isfinite(evidence.gain - evidence.penalty):
        return Reason.NOT_FINITE
    if evidence.regressions > 0:
        return Reason.REGRESSION
    if acceptance.reference == "last":
        wins = evidence.gain - evidence.penalty > acceptance.epsilon
        return Reason.GAIN if wins else Reason.NO_GAIN
    return _weigh(acceptance, evidence)


def _weigh(acceptance: Acceptance, evidence: Evidence) -> Reason:
    if evidence.probability is None:
        return Reason.NO_FORECAST
    if not evidence.probability >= acceptance.probability:
        return Reason.NO_GAIN
    too_weak = evidence.lowers_guarded_rate and evidence.probability < LOWER_RATE_PROBABILITY
    return Reason.LOWER_RATE if too_weak else Reason.GAIN


def accepted(state: SafetyState) -> SafetyState:
    """A change stays: the streak ends."""
    return replace(state, rejects=0)


def rejected(config: Safety, state: SafetyState, number: int) -> SafetyState:
    """A change was rejected: count it, cool everything down, pause at the limit."""
    rejects = state.rejects + 1
    wait = config.global_cooldown
    ready_all = max(state.ready_all, number + wait + 1) if wait else state.ready_all
    state = replace(state, rejects=rejects, ready_all=ready_all)
    if rejects < config.max_global_reject_streak:
        return state
    return pause(state, number + config.pause_decisions)


def pause(state: SafetyState, until: int | None) -> SafetyState:
    """Pause through decision ``until``, or until resumed; a longer pause is never shortened."""
    if state.paused and state.paused_until is None:
        return state
    if state.paused and until is not None:
        until = max(until, state.paused_until or 0)
    return replace(state, paused=True, paused_until=until)


def resume(state: SafetyState) -> SafetyState:
    """End a pause; the streak is zero again."""
    return replace(state, paused=False, paused_until=None, rejects=0)


def is_over(state: SafetyState, number: int) -> bool:
    """Say whether a pause is over at a decision."""
    return state.paused and state.paused_until is not None and number > state.paused_until


def moved(state: SafetyState, knobs: Iterable[Knob], number: int) -> SafetyState:
    """Some knobs moved: each rests for its cooldown, n whole decisions."""
    ready = {k.family: number + k.mutation.cooldown + 1 for k in knobs}
    return replace(state, ready={**state.ready, **ready})


def quarantine(
    config: Safety, state: SafetyState, families: Iterable[str], number: int
) -> SafetyState:
    """Leave failing knobs alone from now on, and pause tuning."""
    names = tuple(sorted({*state.quarantined, *families}))
    return pause(replace(state, quarantined=names), number + config.pause_decisions)


def pin(state: SafetyState, family: str) -> SafetyState:
    """Keep a knob where it is until `unpin`; pinning twice is pinning once."""
    return replace(state, pinned=tuple(sorted({*state.pinned, family})))


def unpin(state: SafetyState, family: str) -> SafetyState:
    """Let a knob move again."""
    return replace(state, pinned=tuple(name for name in state.pinned if name != family))


def watch(config: Safety, state: SafetyState, *, regressed: bool, begins: bool) -> SafetyState:
    """Take note of one decision's metric: regressions in a row, and the start threshold."""
    regressions = state.regressions + 1 if regressed else 0
    started = state.started or begins or config.start_below is None
    return replace(state, regressions=regressions, started=started)


def hindrances(config: Safety, state: SafetyState, number: int) -> tuple[Reason, ...]:
    """List why nothing at all may be proposed at a decision; empty when something may."""
    held = {
        Reason.PAUSED: state.paused,
        Reason.WARMUP: number <= config.warmup,
        Reason.START_BELOW: not state.started,
        Reason.REGRESSION: state.regressions >= config.patience,
        Reason.COOLDOWN: number < state.ready_all,
    }
    return tuple(reason for reason, holds in held.items() if holds)


def free_knobs(
    state: SafetyState, knobs: Mapping[str, Knob], number: int, phase: str
) -> tuple[tuple[str, ...], tuple[Reason, ...]]:
    """List the families that may move now, and why the others may not."""
    free: list[str] = []
    reasons: list[Reason] = []
    for family, knob in knobs.items():
        faults = _resting(state, family, number) + standing_faults(knob, phase)
        if faults:
            reasons.extend(faults)
        else:
            free.append(family)
    return tuple(free), tuple(dict.fromkeys(reasons))


def screen(
    free: Iterable[str],
    knobs: Mapping[str, Knob],
    moves: Mapping[str, object],
    point: Mapping[str, object],
) -> tuple[Reason, ...]:
    """List what is wrong with a proposal, whoever made it; empty when it may be applied.

    Args:
        free: The families that may move now.
        knobs: All knobs.
        moves: Family -> proposed move: anything at all.
        point: Family -> the move in force.
    """
    if not moves or not set(moves) <= set(free):
        return (Reason.UNKNOWN_KNOB,)
    faults = [
        fault
        for family, move in moves.items()
        for fault in move_faults(knobs[family], point[family], move)  # type: ignore[arg-type]
    ]
    return tuple(dict.fromkeys(faults))


def screen_by_hand(
    state: SafetyState,
    knobs: Mapping[str, Knob],
    moves: Mapping[str, object],
    point: Mapping[str, object],
) -> tuple[Reason, ...]:
    """List what is wrong with moves that an operator asks for; empty when they may be made.

    Bounds, risk and quarantine hold for everybody; cooldowns, phases, pins and the largest step
    are there to keep the *search* careful.
    """
    if not moves or not set(moves) <= set(knobs):
        return (Reason.UNKNOWN_KNOB,)
    faults = [Reason.QUARANTINED for family in moves if family in state.quarantined]
    for family, move in moves.items():
        faults.extend(standing_faults(knobs[family], None))
        found = move_faults(knobs[family], point[family], move)  # type: ignore[arg-type]
        faults.extend(fault for fault in found if fault is not Reason.STEP)
    return tuple(dict.fromkeys(faults))


def _resting(state: SafetyState, family: str, number: int) -> tuple[Reason, ...]:
    if family in state.quarantined:
        return (Reason.QUARANTINED,)
    if family in state.pinned:
        return (Reason.PINNED,)
    return (Reason.COOLDOWN,) if number < state.ready.get(family, 0) else ()
