"""What to do next: the pure half of the kernel.

The order of one decision is what makes the promises hold: metric -> blockers -> resolve the open
segment -> pause? -> cooldowns -> propose -> screen.
"""

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from gptune.configs import Mode, neutral
from gptune.events import SYMPTOMS, Event, Observed, Paused, Raw, Unpaused
from gptune.foreign import Answer
from gptune.online import guard
from gptune.online.decision.request import free_knobs, guarded_rates, request_for, why_not
from gptune.online.decision.state import (
    Draft,
    KernelConfig,
    KernelState,
    Outcome,
    Pending,
    Plan,
    Resolution,
    Seen,
)
from gptune.online.forecast import Forecast
from gptune.online.segment import Track, backup_penalty, lowers, mad_reach, weigh
from gptune.records import (
    Action,
    Change,
    Evidence,
    Observation,
    Proposal,
    Reading,
    Reason,
    Request,
    Scalar,
    Told,
)
from gptune.safety import gate
from gptune.safety.blockers import metric_faults
from gptune.safety.regression import is_regression

Propose = Callable[[Told | None, Request | None], Answer[Proposal] | None]


def plan(
    config: KernelConfig, state: KernelState, seen: Seen, propose: Propose
) -> tuple[KernelState, Plan]:
    """Make one decision. Pure, given a ``propose`` that is.

    Args:
        config: The recipe and the knobs.
        state: What the kernel remembers.
        seen: What was reported.
        propose: Hears what was measured and, when asked, answers with a proposal.

    Returns:
        The next state and the plan. The change itself counts only after `settle`.
    """
    state, draft = assess(config, state, seen)
    answer = propose(draft.told, draft.request)
    return state, screen(config, state, draft, answer)


def assess(config: KernelConfig, state: KernelState, seen: Seen) -> tuple[KernelState, Draft]:
    """Judge what was seen, resolve the open segment, and say what to ask for."""
    recipe, number = config.recipe, state.decision + 1
    moment = config.moment(number, seen.step)
    state = replace(state, decision=number)
    faults = metric_faults(recipe.safety, seen.objective, seen.backups, anomaly=seen.anomaly)
    symptom = _symptom(config, state, seen, faults)
    faults += () if symptom is None or symptom in faults else (symptom,)
    faults += (Reason.LOOK_AHEAD,) if seen.looking else ()
    outlook = None if faults else state.objective.forecast(seen.step)
    state, evidence = _weigh(config, state, seen, (faults, outlook))
    lost = _lost_changes(state, seen)
    resolution = _resolve(config, state, evidence, (faults + tuple(lost.values()), lost))
    told = None if lost else _tell(state, resolution, evidence, outlook)
    state, notices = _take_note(config, state, seen, (resolution, faults))
    reasons = faults or why_not(config, state, moment)
    free, resting = free_knobs(config, state, seen, moment)
    reasons = reasons or (() if free else resting)
    request = None if reasons else request_for(config, state, moment, free)
    draft = Draft(
        moment=moment,
        observed=_observed(config, seen, outlook, evidence),
        reasons=reasons,
        blocked=bool(set(faults) - {Reason.LOOK_AHEAD}),
        resolution=resolution,
        notices=notices,
        told=told,
        request=request,
        reference=_flip(config, seen.objective),
        symptom=symptom,
    )
    return state, draft


def screen(
    config: KernelConfig, state: KernelState, draft: Draft, answer: Answer[Proposal] | None
) -> Plan:
    """Check a proposal, whoever made it; safety does not rely on the proposer."""
    if draft.request is None or answer is None:
        return Plan(draft=draft, mode=state.mode)
    proposal = answer.value
    if answer.error is not None or proposal is None:
        reasons = (Reason.PROPOSER_FAILED,)
        return Plan(draft=draft, mode=state.mode, reasons=reasons, message=answer.message)
    # A joint proposal may leave some knobs where they are; those are not moved.
    moves = {f: m for f, m in proposal.point.items() if f not in state.point or m != state.point[f]}
    faults: tuple[Reason, ...] = (Reason.NO_CHANGE,)
    if moves:
        faults = gate.screen(draft.request.free, config.knobs, moves, state.point)
    if len(moves) > 1 and not draft.request.joint:
        faults = (Reason.UNKNOWN_KNOB,)
    if faults:
        return Plan(draft=draft, mode=state.mode, proposal=proposal, reasons=faults)
    changes = tuple(Change(family, state.point[family], move) for family, move in moves.items())
    return Plan(draft=draft, mode=state.mode, proposal=proposal, changes=changes)


def settle(config: KernelConfig, state: KernelState, made: Plan, outcome: Outcome) -> KernelState:
    """Take note of what came of a plan."""
    number, moment = made.draft.moment.decision, made.draft.moment
    safety = state.safety
    bad = (*outcome.unrestored, *outcome.broken)
    if bad:
        safety = gate.quarantine(config.recipe.safety, safety, bad, number)
    tried = outcome.applied or outcome.failed or made.mode is Mode.SUGGEST
    if made.changes and tried:  # a failed change rests as an applied one does
        safety = gate.moved(safety, [config.knobs[c.family] for c in made.changes], number)
    state = replace(state, safety=safety, log_failed=state.log_failed or not outcome.logged)
    if not outcome.applied:
        return state
    pending = Pending(
        id=made.id,
        changes=made.changes,
        decision=number,
        step=moment.step,
        reference=made.draft.reference,
    )
    moved = {change.family: change.new for change in made.changes}
    return replace(state, pending=pending, point={**state.point, **moved})


def leave(
    config: KernelConfig,
    state: KernelState,
    step: int,
    reason: Reason,
    *,
    action: Action = Action.REJECTED,
    strays: tuple[str, ...] = (),
) -> tuple[KernelState, Plan]:
    """Resolve the open segment between two decisions; no decision is counted.

    A change that is undone because training went wrong counts as one reject, as at a decision.

    Args:
        config: The recipe and the knobs.
        state: What the kernel remembers.
        step: Optimizer steps counted so far [steps].
        reason: Why it ends here.
        action: REJECTED undoes the change, ACCEPTED keeps it.
        strays: Families whose value something else has written since.
    """
    moment = config.moment(state.decision, step)
    resolution = None
    if state.pending is not None:
        resolution = Resolution(
            pending=state.pending,
            action=action,
            reasons=(reason,),
            undo=action is Action.REJECTED,
            strays=strays,
        )
    notices: tuple[Event, ...] = ()
    if resolution is not None and reason in SYMPTOMS:
        state, notices = _count_reject(config, state, resolution)
    draft = Draft(
        moment=moment, observed=None, resolution=resolution, reasons=(reason,), notices=notices
    )
    return _release(state, resolution), Plan(draft=draft, mode=state.mode)


def _symptom(
    config: KernelConfig, state: KernelState, seen: Seen, faults: tuple[Reason, ...]
) -> Reason | None:
    """Say what the guard sees, where there is something that could be put back."""
    rules = config.recipe.guard
    watches = rules.enabled and state.mode in (Mode.GUARD, Mode.ACTIVE) and not seen.looking
    if not (watches and seen.guarded) or guard.gives_up(rules, state.guard):
        return None
    if seen.poisoned:
        return Reason.STATE_NOT_FINITE
    if faults:
        odd = seen.objective.fault is Reason.NOT_FINITE and not seen.trains
        return Reason.NOT_FINITE if odd and guard.is_lost(state.guard) else None
    return guard.examine(rules, state.guard, seen.step, _flip(config, seen.objective))


def _flip(config: KernelConfig, reading: Reading) -> float:
    return config.sign * reading.value


def _weigh(
    config: KernelConfig,
    state: KernelState,
    seen: Seen,
    found: tuple[tuple[Reason, ...], Forecast | None],
) -> tuple[KernelState, Evidence | None]:
    """Weigh the objective against its forecast, and count regressions in a row."""
    faults, outlook = found
    recipe, value, pending = config.recipe, _flip(config, seen.objective), state.pending
    if faults:
        return state, None
    limit = recipe.safety.max_regression
    regressed = outlook is not None and is_regression(
        value, outlook.value, mad_reach(outlook), limit
    )
    threshold = recipe.safety.start_below
    begins = threshold is not None and value > config.sign * threshold
    safety = gate.watch(recipe.safety, state.safety, regressed=regressed, begins=begins)
    reference = pending.reference if pending else (outlook.value if outlook else value)
    penalty = backup_penalty(state.backups, seen.backups, seen.step)
    evidence = weigh(recipe.acceptance, value, reference, outlook, penalty=penalty)
    lower = pending is not None and lowers(pending.changes, guarded_rates(config, pending.step))
    evidence = replace(evidence, regressions=safety.regressions, lowers_guarded_rate=lower)
    return replace(state, safety=safety), evidence


def _resolve(
    config: KernelConfig,
    state: KernelState,
    evidence: Evidence | None,
    found: tuple[tuple[Reason, ...], Mapping[str, Reason]],
) -> Resolution | None:
    """Say how the open segment ends, if it ends now."""
    pending, recipe, (faults, lost) = state.pending, config.recipe, found
    if pending is None:
        return None
    if state.log_failed:
        faults = (*faults, Reason.LOG_FAILED)
    due = state.decision - pending.decision >= recipe.acceptance.decisions
    if not (due or faults or evidence is None or evidence.regressions > 0):
        return None
    verdict = gate.judge(recipe.acceptance, evidence or Evidence(gain=-1.0), faults)
    rejected = verdict.action is Action.REJECTED
    # Faults and regressions are undone whatever the recipe says of ordinary rejects.
    forced = bool(faults) or verdict.reasons == (Reason.REGRESSION,)
    return Resolution(
        pending=pending,
        action=verdict.action,
        reasons=verdict.reasons,
        undo=rejected and (forced or recipe.acceptance.rollback_on_reject),
        strays=tuple(family for family, why in lost.items() if why is Reason.OVERWRITTEN),
        probability=evidence.probability if evidence else None,
    )


def _tell(
    state: KernelState,
    resolution: Resolution | None,
    evidence: Evidence | None,
    outlook: Forecast | None,
) -> Told | None:
    """Say what the proposer learns: a judged change, or what no change looks like."""
    if resolution is None and (state.pending is not None or outlook is None):
        return None
    gain = evidence.gain if evidence else float("nan")
    deviation = evidence.deviation if evidence else None
    noise = None if deviation is None else deviation * deviation  # inf, not OverflowError
    observation = Observation(point=dict(state.point), value=gain, noise=noise, is_gain=True)
    success = resolution.action is Action.ACCEPTED if resolution else None
    return Told(observation=observation, success=success)


def _take_note(
    config: KernelConfig,
    state: KernelState,
    seen: Seen,
    found: tuple[Resolution | None, tuple[Reason, ...]],
) -> tuple[KernelState, tuple[Event, ...]]:
    """Fold a resolution into the state; start or end a pause; extend the tracks."""
    resolution, faults = found
    notices: list[Event] = []
    number = state.decision
    disturbed = state.pending is not None
    if gate.is_over(state.safety, number):
        state = replace(state, safety=gate.resume(state.safety))
        notices.append(Unpaused())
    if resolution is not None:
        disturbed = resolution.action is Action.REJECTED
        if not disturbed:
            state = replace(state, safety=gate.accepted(state.safety))
        elif Reason.NOT_LIVE not in resolution.reasons:  # else that says nothing against it
            state, pauses = _count_reject(config, state, resolution)
            notices.extend(pauses)
        state = _release(state, resolution)
    if not faults:
        value = _flip(config, seen.objective)
        state = replace(state, guard=guard.healthy(state.guard, seen.step, value))
    elif seen.objective.fault in (None, Reason.NOT_FINITE) and not seen.looking:
        finite = seen.objective.fault is None
        state = replace(state, guard=guard.take_note(state.guard, finite=finite))
    if not faults and not disturbed:
        state = _extend(config, state, seen)
    return state, tuple(notices)


def _count_reject(
    config: KernelConfig, state: KernelState, resolution: Resolution
) -> tuple[KernelState, tuple[Event, ...]]:
    """Count a reject, and say so if tuning pauses on account of it."""
    rules, before = config.recipe.safety, state.safety
    safety = gate.rejected(rules, before, state.decision)
    begins = safety.paused and not before.paused
    pauses = (Paused(decisions=rules.pause_decisions, reasons=resolution.reasons),)
    return replace(state, safety=safety), pauses if begins else ()


def _release(state: KernelState, resolution: Resolution | None) -> KernelState:
    """Close the segment; an undone change goes back to the moves before it."""
    if resolution is None:
        return state
    point = dict(state.point)
    if resolution.undo:
        point.update({change.family: change.old for change in resolution.pending.changes})
    return replace(state, pending=None, point=point)


def _extend(config: KernelConfig, state: KernelState, seen: Seen) -> KernelState:
    backups = dict(state.backups)
    for name, reading in seen.backups.items():
        if reading.fault is None:
            backups[name] = backups.get(name, Track()).add(seen.step, reading.value)
    objective = state.objective.add(seen.step, _flip(config, seen.objective))
    return replace(state, objective=objective, backups=backups)


def _lost_changes(state: KernelState, seen: Seen) -> dict[str, Reason]:
    """List the changed knobs that were not in force: such a segment says nothing of the change."""
    changes = state.pending.changes if state.pending else ()
    readings = {c.family: seen.knobs.get(c.family) for c in changes}
    return {f: reading.lost for f, reading in readings.items() if reading and reading.lost}


def _observed(
    config: KernelConfig, seen: Seen, outlook: Forecast | None, evidence: Evidence | None
) -> Observed:
    return Observed(
        metric=_logged(seen.objective),
        metrics={name: _logged(reading) for name, reading in seen.backups.items()},
        forecast=config.sign * outlook.value if outlook else None,  # raw, as the metric
        deviation=outlook.deviation if outlook else None,
        evidence=evidence,
        knobs=seen.knobs,
    )


def _logged(reading: Reading) -> float | Raw:
    finite_or_not = reading.fault in (None, Reason.NOT_FINITE)
    return reading.value if finite_or_not else Raw(reading.raw or str(reading.fault))


def start_point(config: KernelConfig) -> dict[str, Scalar]:
    """Give the moves that change nothing."""
    return {f: neutral(knob.mutation, knob.base) for f, knob in config.knobs.items()}
