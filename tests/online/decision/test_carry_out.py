"""Carrying out: write ahead, all or nothing, and whatever fails is put back."""

from typing import Any

import pytest

from gptune.configs import Mode
from gptune.events import Applied, Event, Failed, Intent, Moment, RollbackFailed
from gptune.foreign import Answer
from gptune.online.decision import KernelConfig, KernelState, Plan, carry_out, leave, plan, settle
from gptune.online.decision.carry_out import is_same
from gptune.records import Proposal, Reason, Request, Told
from tests.doubles import FakeKnob, MemoryLog, config_of, first_state, hands_of, seen_at

LAST: dict[str, Any] = {"acceptance": {"reference": "last"}, "search": {"joint": True}}


def both(told: Told | None, request: Request | None) -> Answer[Proposal]:
    return Answer(value=Proposal(point={"loss.aux": 1.5, "loss.kl": 0.8}, source="gp"))


def planned(knobs: list[FakeKnob]) -> tuple[KernelConfig, KernelState, Plan]:
    config = config_of(hands_of(*knobs), LAST)
    state, made = plan(config, first_state(config), seen_at(1, 1.0), both)
    assert len(made.changes) == 2
    return config, state, made


def two() -> list[FakeKnob]:
    return [FakeKnob(name="loss.aux"), FakeKnob(name="loss.kl")]


def test_a_joint_change_is_applied_and_undone_as_a_whole() -> None:
    knobs, log = two(), MemoryLog()
    config, state, made = planned(knobs)
    done = carry_out(made, log, hands_of(*knobs), {})
    assert [knob.value for knob in knobs] == [1.5, 0.8]
    state = settle(config, state, made, done.outcome)
    state, undo = leave(config, state, 2, Reason.CLOSED)
    carry_out(undo, log, hands_of(*knobs), done.saved)
    assert [knob.value for knob in knobs] == [1.0, 1.0]
    assert state.point == {"loss.aux": 1.0, "loss.kl": 1.0}


@pytest.mark.parametrize("call", ["snapshot", "validate", "apply", "read"])
def test_a_knob_that_raises_leaves_nothing_applied_and_is_quarantined(call: str) -> None:
    knobs, log = two(), MemoryLog()
    config, state, made = planned(knobs)
    hands = hands_of(*knobs)
    knobs[1].fails = {call}
    done = carry_out(made, log, hands, {})
    knobs[1].fails = set()
    assert [knob.value for knob in knobs] == [1.0, 1.0]
    assert not done.outcome.applied
    assert done.outcome.failed == (Reason.ACTUATOR_FAILED,)
    assert len(log.of_kind(Failed) + log.of_kind(RollbackFailed)) == 1
    state = settle(config, state, made, done.outcome)
    assert "loss.kl" in state.safety.quarantined
    assert state.safety.paused
    assert state.pending is None


def test_a_knob_that_lies_is_found_out_by_reading_back() -> None:
    knobs, log = two(), MemoryLog()
    _, _, made = planned(knobs)
    hands = hands_of(*knobs)
    knobs[0].lies = True
    outcome = carry_out(made, log, hands, {}).outcome
    assert outcome.failed == (Reason.READ_BACK_DIFFERS,)
    assert outcome.broken == ("loss.aux",)
    assert [knob.value for knob in knobs] == [1.0, 1.0]


def test_a_knob_that_cannot_be_restored_is_named_and_does_not_stop_the_others() -> None:
    knobs, log = two(), MemoryLog()
    config, state, made = planned(knobs)
    hands = hands_of(*knobs)
    done = carry_out(made, log, hands, {})
    state = settle(config, state, made, done.outcome)
    knobs[1].fails = {"restore"}
    state, undo = leave(config, state, 2, Reason.LEFT_ACTIVE)
    outcome = carry_out(undo, log, hands, done.saved).outcome
    assert outcome.unrestored == ("loss.kl",)
    assert knobs[0].value == 1.0
    assert [event.families for event in log.of_kind(RollbackFailed)] == [("loss.kl",)]
    assert settle(config, state, undo, outcome).safety.quarantined == ("loss.kl",)


def test_without_a_durable_intent_no_knob_is_touched() -> None:
    knobs, log = two(), MemoryLog(fails=True)
    _, _, made = planned(knobs)
    hands = hands_of(*knobs)
    for knob in knobs:
        knob.calls.clear()
    done = carry_out(made, log, hands, {})
    assert not done.outcome.logged
    assert not done.outcome.applied
    assert all(not knob.calls for knob in knobs)


class FailsAfterIntent(MemoryLog):
    """A disk that takes the intent, durably, and nothing after it."""

    def append(self, moment: Moment, event: Event, *, durable: bool = False) -> bool:
        if isinstance(event, Intent):
            assert durable
        self.fails = self.fails or isinstance(event, Applied)
        return super().append(moment, event, durable=durable)


def test_a_change_that_cannot_be_logged_as_applied_is_put_back_at_once() -> None:
    knobs = two()
    _, _, made = planned(knobs)
    outcome = carry_out(made, FailsAfterIntent(), hands_of(*knobs), {}).outcome
    assert [knob.value for knob in knobs] == [1.0, 1.0]
    assert outcome.failed == (Reason.LOG_FAILED,)


@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.SUGGEST, Mode.OFF])
def test_no_mode_but_active_touches_a_knob(mode: Mode) -> None:
    knobs, log = two(), MemoryLog()
    _, _, made = planned(knobs)
    hands = hands_of(*knobs)
    for knob in knobs:
        knob.calls.clear()
    quiet = Plan(draft=made.draft, mode=mode, proposal=made.proposal, changes=made.changes)
    assert not carry_out(quiet, log, hands, {}).outcome.applied
    assert all(not knob.calls for knob in knobs)
    assert not log.of_kind(Intent)


def test_sameness_is_of_value_and_type() -> None:
    assert is_same(1.0, 1.0)
    assert not is_same(1, 1.0)
    assert not is_same(True, 1)
    assert not is_same(float("nan"), float("nan"))
