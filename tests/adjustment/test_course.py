"""The course of an adjustment, for any sequence of metrics, verdicts and clocks."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from gptune.adjustment import course
from gptune.adjustment.course import Rules
from gptune.adjustment.state import Order, Phase, State, Trigger
from gptune.configs import Safety
from gptune.errors import UsageError

RULES = Rules(
    adjustment_interval=500.0,
    false_alarm_every=20.0,
    reference=10,
    cooldown=60.0,
    safety=Safety(max_global_reject_streak=2, pause_decisions=5),
)
PARAMS = st.fixed_dictionaries({"x": st.sampled_from([0.0, 1.0, 2.0])})


class Course(RuleBasedStateMachine):
    """Whatever happens, in whatever order the caller may do it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1e6
        self.state = course.start(RULES, self.now, {"x": 0.0})
        self.validated: list[Any] = [{"x": 0.0}]
        self.latest = self.now  # that the clock has ever said
        self.ended: list[float] = []  # as far as the clock had come, at each end
        self.lost = 0

    @rule(seconds=st.floats(-300.0, 400.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.latest = max(self.latest, self.now)

    @rule(
        successes=st.lists(st.sampled_from([0.0, 1.0, math.nan]), max_size=20),
        metrics=st.lists(st.floats(allow_nan=True), max_size=20),
    )
    def observe(self, successes: list[float], metrics: list[float]) -> None:
        before, self.state = self.state, course.observe(RULES, self.state, successes, metrics)
        if before.phase is not Phase.WATCHING:
            assert self.state == before

    @rule()
    def order(self) -> None:
        self.state = course.order(self.state, Order(method="random"))

    @rule()
    def begin(self) -> None:
        trigger = course.due(RULES, self.state, self.now)
        if trigger is None:
            return
        assert self.state.phase is Phase.WATCHING, "one at a time"
        if self.ended:
            assert self.latest - self.ended[-1] >= RULES.cooldown, "the cooldown holds"
        assert self.lost < 2 or self.latest - self.ended[-1] >= 5 * RULES.cooldown, "it pauses"
        self.lost = 0 if self.lost >= 2 else self.lost
        self.state = course.begin(RULES, self.state, trigger, self.now)

    @rule(best=PARAMS | st.none())
    def tune(self, best: Any) -> None:
        if self.state.phase is Phase.TUNING:
            self.state = course.tuned(RULES, self.state, best, self.now)
            self.note()

    @rule(keep=st.booleans())
    def judge(self, keep: bool) -> None:
        if self.state.phase is not Phase.COMPARING:
            return
        if keep:
            assert self.state.candidate is not None
            self.validated.append(self.state.candidate)
            self.state = course.applying(self.state)
            self.state = course.kept(RULES, self.state, self.now)
            self.lost = 0
        else:
            self.state = course.put_back(RULES, self.state, self.now)
        self.note()

    def note(self) -> None:
        if self.state.phase is Phase.WATCHING:
            self.ended.append(self.latest)
            self.lost = self.state.safety.rejects

    @invariant()
    def what_runs_was_validated_or_there_before(self) -> None:
        assert self.state.running in self.validated
        assert (self.state.candidate is not None) is (self.state.phase is Phase.COMPARING)
        assert self.state.applied == len(self.validated) - 1


TestCourse = Course.TestCase
TestCourse.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def watching(**fields: Any) -> State:
    return replace(course.start(RULES, 1e6, None), **fields)


def test_each_trigger_is_named() -> None:
    later = 1e6 + 100.0
    assert course.due(RULES, watching(), later) is None
    assert course.due(RULES, watching(), 1e6 + 500.0) is Trigger.PERIOD
    assert course.due(RULES, watching(order=Order()), later) is Trigger.BY_HAND
    low = course.observe(RULES, watching(), [0.0] * 20, [])
    assert course.due(RULES, low, later) is Trigger.LOW_SUCCESS
    usual = course.observe(RULES, watching(), [], [1.0, 1.1] * 5)
    assert usual.drift is not None
    assert course.due(RULES, usual, later) is None
    worse = course.observe(RULES, usual, [], [0.5] * 40)
    assert course.due(RULES, worse, later) is Trigger.DEGRADED
    never = replace(RULES, adjustment_interval=None, success_threshold=None)
    assert course.due(never, low, 1e9) is None


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_what_is_worse_depends_on_the_direction(direction: Any) -> None:
    rules = replace(RULES, direction=direction)
    usual = course.observe(rules, course.start(rules, 1e6, None), [], [1.0, 1.1] * 5)
    higher = course.observe(rules, usual, [], [5.0] * 40)
    assert (course.due(rules, higher, 1e6 + 100) is Trigger.DEGRADED) is (direction == "minimize")


@given(st.lists(st.floats(0.0, 1.0), max_size=50))
def test_after_an_adjustment_what_is_usual_is_learnt_anew(metrics: list[float]) -> None:
    state = course.observe(RULES, watching(phase=Phase.WATCHING), [0.0] * 9, metrics)
    ended = course.kept(RULES, replace(state, candidate={"x": 1.0}), 1e6)
    assert (ended.drift, ended.reference, ended.success.seen) == (None, (), 0)
    assert ended.running == {"x": 1.0}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("success_threshold", 1.0),
        ("success_threshold", -0.5),
        ("adjustment_interval", -1.0),
        ("cooldown", 0.0),
        ("cooldown", math.nan),
        ("false_alarm_every", 1.0),
        ("reference", 5),
        ("direction", "up"),
    ],
)
def test_rules_that_are_none_are_named(field: str, value: Any) -> None:
    with pytest.raises(UsageError, match=field):
        Rules(**{field: value})
