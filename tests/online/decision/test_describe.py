"""A decision in words says what happened."""

import math

from gptune.configs import Mode
from gptune.events import Moment
from gptune.online.decision import Outcome, Plan, describe
from gptune.online.decision.state import Draft, Pending, Resolution
from gptune.records import Action, Change, Proposal, Reading, Reason

MOMENT = Moment(decision=7, step=140, phase="mid")
CHANGE = (Change("opt.lr", 1.0, 1.5),)
PROPOSAL = Proposal(point={"opt.lr": 1.5}, source="gp")
READING = Reading(value=0.25)


def draft(*reasons: Reason, blocked: bool = False, judged: Action | None = None) -> Draft:
    pending = Pending(id="6:opt.lr", changes=CHANGE, decision=6, step=120, reference=-0.3)
    resolution = None
    if judged is not None:
        resolution = Resolution(
            pending=pending, action=judged, reasons=(Reason.GAIN,), undo=False, probability=0.97
        )
    return Draft(
        moment=MOMENT, observed=None, reasons=reasons, blocked=blocked, resolution=resolution
    )


def test_an_applied_change_is_named_with_its_source() -> None:
    plan = Plan(draft=draft(), mode=Mode.ACTIVE, proposal=PROPOSAL, changes=CHANGE)
    decision = describe(plan, Outcome(applied=True), READING)
    assert decision.verdict is Action.APPLIED
    assert (decision.family, decision.old, decision.new) == ("opt.lr", 1.0, 1.5)
    assert decision.source == "gp"
    assert "opt.lr 1 -> 1.5" in str(decision)
    assert "decision   7" in str(decision)


def test_a_judged_segment_comes_first_and_the_next_change_is_told_too() -> None:
    made = draft(judged=Action.ACCEPTED)
    plan = Plan(draft=made, mode=Mode.ACTIVE, proposal=PROPOSAL, changes=CHANGE)
    decision = describe(plan, Outcome(applied=True), READING)
    assert decision.verdict is Action.ACCEPTED
    assert decision.probability == 0.97
    assert decision.opened == CHANGE


def test_a_blocked_decision_says_why_and_has_no_metric() -> None:
    plan = Plan(draft=draft(Reason.NOT_FINITE, blocked=True), mode=Mode.ACTIVE)
    decision = describe(plan, Outcome(), Reading(value=math.nan, fault=Reason.NOT_FINITE))
    assert decision.verdict is Action.BLOCKED
    assert decision.metric is None
    assert "not finite" in str(decision)


def test_every_other_ending_has_its_word() -> None:
    paused = Plan(draft=draft(Reason.PAUSED), mode=Mode.ACTIVE)
    assert describe(paused, Outcome(), READING).verdict is Action.PAUSED
    watching = Plan(draft=draft(Reason.NOTHING_TO_TUNE), mode=Mode.OBSERVE)
    assert describe(watching, Outcome(), READING).verdict is Action.OBSERVED
    suggested = Plan(draft=draft(), mode=Mode.SUGGEST, proposal=PROPOSAL, changes=CHANGE)
    assert describe(suggested, Outcome(), READING).verdict is Action.SUGGESTED
    tried = Plan(draft=draft(), mode=Mode.ACTIVE, proposal=PROPOSAL, changes=CHANGE)
    failed = Outcome(failed=(Reason.ACTUATOR_FAILED,))
    assert describe(tried, failed, READING).verdict is Action.FAILED
    assert describe(tried, Outcome(logged=False), READING).reasons == (Reason.LOG_FAILED,)
    refused = Plan(draft=draft(), mode=Mode.ACTIVE, proposal=PROPOSAL, reasons=(Reason.BOUNDS,))
    assert describe(refused, Outcome(), READING).verdict is Action.BLOCKED
    stays = Plan(draft=draft(), mode=Mode.ACTIVE, proposal=PROPOSAL, reasons=(Reason.NO_CHANGE,))
    assert describe(stays, Outcome(), READING).verdict is Action.WAITING
