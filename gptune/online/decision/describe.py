"""A decision in the user's words: what `Tuner.report` returns."""

from gptune.configs import Mode
from gptune.online.decision.state import Outcome, Plan
from gptune.records import Action, Change, Decision, Reading, Reason


def describe(plan: Plan, outcome: Outcome, objective: Reading) -> Decision:
    """Say what came of a decision.

    Args:
        plan: What was planned.
        outcome: What came of it.
        objective: The objective as reported.
    """
    action, reasons, changes = _told(plan, outcome)
    resolution = plan.draft.resolution
    judged = resolution is not None
    return Decision(
        number=plan.draft.moment.decision,
        step=plan.draft.moment.step,
        verdict=action,
        reasons=reasons,
        changes=changes,
        opened=plan.changes if judged and outcome.applied else (),
        probability=resolution.probability if resolution else None,
        metric=objective.value if objective.fault is None else None,
        restored=outcome.restored,
        source=plan.proposal.source if plan.proposal and plan.changes else None,
    )


def _told(plan: Plan, outcome: Outcome) -> tuple[Action, tuple[Reason, ...], tuple[Change, ...]]:
    draft, resolution = plan.draft, plan.draft.resolution
    judged = resolution.pending.changes if resolution else ()
    if draft.blocked:
        return Action.BLOCKED, draft.reasons, judged
    if resolution is not None:
        return resolution.action, resolution.reasons, judged
    if plan.changes:
        return _tried(plan, outcome)
    return _idle(plan), plan.reasons or draft.reasons, ()


def _tried(plan: Plan, outcome: Outcome) -> tuple[Action, tuple[Reason, ...], tuple[Change, ...]]:
    if outcome.failed:
        return Action.FAILED, outcome.failed, plan.changes
    if plan.mode is Mode.SUGGEST:
        return Action.SUGGESTED, (), plan.changes
    if outcome.applied:
        return Action.APPLIED, (), plan.changes
    return Action.BLOCKED, (Reason.LOG_FAILED,), plan.changes


def _idle(plan: Plan) -> Action:
    if Reason.PAUSED in plan.draft.reasons:
        return Action.PAUSED
    if plan.mode is Mode.OBSERVE or Reason.NOTHING_TO_TUNE in plan.draft.reasons:
        return Action.OBSERVED
    return Action.BLOCKED if set(plan.reasons) - {Reason.NO_CHANGE} else Action.WAITING
