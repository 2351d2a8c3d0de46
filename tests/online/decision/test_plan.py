"""The kernel as a whole, against an adversary; then its rules one by one."""

import math
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from gptune.configs import Knob, Mode, Mutation, make_knob
from gptune.events import (
    Abandoned,
    Accepted,
    Applied,
    Blocked,
    Failed,
    Intent,
    Paused,
    RollbackFailed,
    RolledBack,
    Unpaused,
)
from gptune.foreign import Answer
from gptune.online.decision import (
    KernelConfig,
    KernelState,
    Outcome,
    Plan,
    carry_out,
    leave,
    plan,
    settle,
)
from gptune.online.decision.carry_out import Done, Saved
from gptune.online.decision.request import _heading
from gptune.records import (
    Action,
    Categorical,
    Float,
    Integer,
    Proposal,
    Reading,
    Reason,
    Request,
    Scalar,
    Told,
)
from tests.doubles import (
    BrokenError,
    FakeKnob,
    MemoryLog,
    always,
    config_of,
    first_state,
    hands_of,
    seen_at,
)

ENDS = (Accepted, RolledBack, Failed, RollbackFailed, Abandoned)
FAMILIES = ["loss.aux", "loss.kl"]
ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True)
MOVES = st.dictionaries(
    st.sampled_from([*FAMILIES, "opt.lr", ""]),
    ANY_FLOAT | st.sampled_from([0.1, 0.5, 0.9, 1.0, 1.1, 2.0, 10.0]) | st.booleans() | st.text(),
    max_size=3,
)
FAULTS = st.sampled_from([Reason.NOT_FINITE, Reason.MISSING, Reason.NOT_A_NUMBER])


class Kernel(RuleBasedStateMachine):
    """Any metric, any proposal, failing knobs, a failing disk, mode changes, closing."""

    @initialize(
        cooldown=st.integers(0, 3),
        streak=st.integers(1, 3),
        pause=st.integers(1, 4),
        horizon=st.integers(1, 3),
        reference=st.sampled_from(["last", "forecast"]),
        everywhere=st.integers(0, 2),
        joint=st.booleans(),
    )
    def start(self, **chosen: Any) -> None:
        self.knobs = [FakeKnob(name=name) for name in FAMILIES]
        self.hands = hands_of(*self.knobs)
        mutation = {"bounds": [0.1, 10.0], "max_step": 2.0, "cooldown": chosen["cooldown"]}
        recipe = {
            "actuators": {"loss": {"keys": {"aux": mutation, "kl": mutation}}},
            "acceptance": {"reference": chosen["reference"], "horizon": chosen["horizon"]},
            "search": {"joint": chosen["joint"]},
            "safety": {
                "max_global_reject_streak": chosen["streak"],
                "pause_decisions": chosen["pause"],
                "global_cooldown": chosen["everywhere"],
            },
        }
        self.config: KernelConfig = config_of(self.hands, recipe)
        for family, known in self.config.knobs.items():
            settled = replace(known, mutation=replace(known.mutation, cooldown=chosen["cooldown"]))
            self.config.knobs[family] = settled
        self.state: KernelState = first_state(self.config)
        self.log, self.saved, self.step = MemoryLog(), dict[str, Saved](), 0
        self.before: dict[str, float] = {}
        self.closed = False
        self.wrong: list[tuple[str, float]] = []  # values given without a right to
        for knob in self.knobs:
            knob.before_apply = partial(self._about_to_apply, knob)

    def _about_to_apply(self, knob: FakeKnob, value: float) -> None:
        self.before[knob.name] = knob.value
        newest = self.log.of_kind(Intent)[-1]
        known = value in [change.new for change in newest.changes]
        if not known or self.state.mode is not Mode.ACTIVE or self.log.fails:
            self.wrong.append((knob.name, value))  # raising here would be contained

    def decide(self, value: float, fault: Reason | None, answer: Answer[Proposal]) -> None:
        self.step += 7
        pending, applied_before = self.state.pending, len(self.log.of_kind(Applied))
        paused = self.state.safety.paused
        seen = seen_at(self.step, value, fault)
        self.asked: Request | None = None

        def propose(told: Told | None, request: Request | None) -> Answer[Proposal] | None:
            self.asked = request
            return answer if request is not None else None

        self.state, made = plan(self.config, self.state, seen, propose)
        number = self.state.decision
        self._take(made, carry_out(made, self.log, self.hands, self.saved))
        applied = self.log.of_kind(Applied)[applied_before:]
        if fault is not None:
            assert not applied, "a change was made on a metric that is no number"
            assert self.state.pending is None or pending is None
        if applied:
            assert not self.state.safety.paused
            assert not paused or self.log.of_kind(Unpaused), "a change was made in a pause"
            self._kept_its_cooldown(applied[0].changes, number)

    def _kept_its_cooldown(self, changes: Any, number: int) -> None:
        moments = [
            (moment.decision, change.family)
            for moment, event in self.log.events
            if isinstance(event, Applied)
            for change in event.changes
        ]
        for change in changes:
            cooldown = self.config.knobs[change.family].mutation.cooldown
            earlier = [t for t, family in moments if family == change.family and t < number]
            assert not earlier or number - earlier[-1] > cooldown

    def _take(self, made: Plan, done: Done) -> None:
        self.saved = done.saved
        self.state = settle(self.config, self.state, made, done.outcome)
        resolution = made.draft.resolution
        if resolution is not None and resolution.undo and not done.outcome.unrestored:
            for change in resolution.pending.changes:
                knob = next(k for k in self.knobs if k.name == change.family)
                moved_again = self.state.pending and change.family in [
                    c.family for c in self.state.pending.changes
                ]
                assert moved_again or knob.value == self.before[change.family]

    @rule(value=st.floats(-5, 5), moves=MOVES)
    def decides_on_any_proposal(self, value: float, moves: dict[str, Any]) -> None:
        if not self.closed:
            self.decide(value, None, Answer(value=Proposal(point=moves, source="gp")))

    @rule(
        value=st.floats(-5, 5), direction=st.sampled_from([0.5, 0.7, 1.3, 2.0]), both=st.booleans()
    )
    def decides_on_a_sound_proposal(self, value: float, direction: float, both: bool) -> None:
        if not self.closed:
            point = dict(self.state.point)
            names = FAMILIES if both and self.config.recipe.search.joint else FAMILIES[:1]
            moves: dict[str, Scalar] = {name: float(point[name]) * direction for name in names}
            self.decide(value, None, Answer(value=Proposal(point=moves, source="gp")))

    @rule(value=st.floats(-5, 5), move=st.floats(0.01, 100.0), family=st.sampled_from(FAMILIES))
    def decides_on_a_number_anywhere(self, value: float, move: float, family: str) -> None:
        if not self.closed:
            proposal = Proposal(point={family: move}, source="gp")
            self.decide(value, None, Answer(value=proposal))

    @rule(value=ANY_FLOAT, fault=FAULTS)
    def decides_on_a_metric_that_is_no_number(self, value: float, fault: Reason) -> None:
        if not self.closed:
            moves = Proposal(point={"loss.aux": 1.1}, source="gp")
            self.decide(value, fault, Answer(value=moves))

    @rule(value=st.floats(-5, 5))
    def the_proposer_raises(self, value: float) -> None:
        if not self.closed:
            self.decide(value, None, Answer(error=BrokenError("proposer")))

    @rule(who=st.integers(0, 1), what=st.sampled_from(["read", "validate", "apply", "snapshot"]))
    def a_knob_breaks(self, who: int, what: str) -> None:
        self.knobs[who].fails.add(what)

    @rule(who=st.integers(0, 1))
    def a_knob_cannot_be_restored(self, who: int) -> None:
        self.knobs[who].fails.add("restore")

    @rule(who=st.integers(0, 1))
    def a_knob_begins_to_lie(self, who: int) -> None:
        self.knobs[who].lies = True

    @rule()
    def the_knobs_are_mended(self) -> None:
        for knob in self.knobs:
            knob.fails, knob.lies = set(), False

    @precondition(lambda self: len(self.log.events) > 30)
    @rule()
    def the_disk_fails(self) -> None:
        self.log.fails = True

    @rule(mode=st.sampled_from([Mode.OBSERVE, Mode.SUGGEST, Mode.ACTIVE]))
    def the_mode_changes(self, mode: Mode) -> None:
        if not self.closed and mode is not self.state.mode:
            self._resolve(Reason.LEFT_ACTIVE)
            self.state = replace(self.state, mode=mode)

    @precondition(lambda self: len(self.log.events) > 60)
    @rule()
    def it_closes(self) -> None:
        if not self.closed:
            self._resolve(Reason.CLOSED)
            self.closed = True

    def _resolve(self, reason: Reason) -> None:
        self.state, made = leave(self.config, self.state, self.step, reason)
        self._take(made, carry_out(made, self.log, self.hands, self.saved))
        assert self.state.pending is None

    @invariant()
    def no_value_is_given_without_an_intent_in_another_mode_or_after_the_disk_failed(self) -> None:
        assert not self.wrong

    @invariant()
    def every_move_in_force_lies_within_its_bounds(self) -> None:
        for family, move in self.state.point.items():
            assert isinstance(move, float)
            assert 0.1 <= move <= 10.0, family

    @invariant()
    def consecutive_moves_keep_the_largest_step(self) -> None:
        for event in self.log.of_kind(Applied):
            for change in event.changes:
                ratio = max(change.new / change.old, change.old / change.new)
                assert ratio <= 2.0 * (1 + 1e-12)

    @invariant()
    def at_most_one_change_is_unresolved(self) -> None:
        applied = [event.id for event in self.log.of_kind(Applied)]
        ended = [event.id for kind in ENDS for event in self.log.of_kind(kind)]
        assert len(applied) == len(set(applied))
        assert len(ended) == len(set(ended)), "a change ended twice"
        unresolved = set(applied) - set(ended)
        assert len(unresolved) <= 1 or self.log.fails
        assert unresolved <= ({self.state.pending.id} if self.state.pending else set()) or (
            self.log.fails
        )

    @invariant()
    def every_applied_change_has_an_earlier_intent(self) -> None:
        intents: set[str] = set()
        for _, event in self.log.events:
            if isinstance(event, Intent):
                assert event.id not in intents, "two intents of one change"
                intents.add(event.id)
            if isinstance(event, Applied | Failed):
                assert event.id in intents

    @invariant()
    def the_streak_stays_below_its_limit(self) -> None:
        rules, safety = self.config.recipe.safety, self.state.safety
        assert safety.rejects >= 0
        assert safety.rejects < rules.max_global_reject_streak or safety.paused

    @invariant()
    def what_could_be_read_is_what_the_state_says(self) -> None:
        for knob in self.knobs:
            sound = not knob.lies and knob.name not in self.state.safety.quarantined
            if sound and not knob.fails and not self.log.fails:
                hand = self.hands[knob.name]
                assert knob.value == hand.knob.native(self.state.point[knob.name])


TestKernel = Kernel.TestCase
TestKernel.settings = settings(stateful_step_count=50)


class Run:
    """A short run with one knob, decision by decision."""

    def __init__(self, recipe: dict[str, Any], *moves: float) -> None:
        self.knob, self.log = FakeKnob(), MemoryLog()
        self.hands = hands_of(self.knob)
        self.config = config_of(self.hands, recipe)
        self.state, self.saved = first_state(self.config), dict[str, Saved]()
        self.propose = always(*(moves or (1.5,)))
        self.step = 0

    def __call__(self, value: float, fault: Reason | None = None) -> tuple[Plan, Outcome]:
        self.step += 10
        seen = seen_at(self.step, value, fault)
        self.state, made = plan(self.config, self.state, seen, self.propose)
        done = carry_out(made, self.log, self.hands, self.saved)
        self.saved = done.saved
        self.state = settle(self.config, self.state, made, done.outcome)
        return made, done.outcome


LAST = {"acceptance": {"reference": "last"}}


def test_a_gain_over_the_last_value_is_accepted_and_stays() -> None:
    run = Run(LAST)
    assert run(1.0)[1].applied
    made, _ = run(0.5)
    assert made.draft.resolution is not None
    assert made.draft.resolution.action is Action.ACCEPTED
    assert run.knob.value == 1.5
    assert [type(e).__name__ for _, e in run.log.events] == [
        "Observed",
        "Proposed",
        "Intent",
        "Applied",
        "Observed",
        "Accepted",
    ]


def test_a_loss_against_the_last_value_is_undone_bit_for_bit() -> None:
    run = Run(LAST)
    run(1.0)
    made, outcome = run(2.0)
    assert made.draft.resolution is not None
    assert made.draft.resolution.reasons == (Reason.NO_GAIN,)
    assert outcome.restored
    assert run.knob.value == 1.0
    assert run.state.point == {"loss.aux": 1.0}


def test_without_a_forecast_nothing_is_tried() -> None:
    run = Run({})
    assert [run(1.0)[1].applied for _ in range(4)] == [False, False, False, True]


def test_a_segment_is_judged_only_when_its_horizon_is_over() -> None:
    run = Run({"acceptance": {"reference": "last", "horizon": 3}})
    run(1.0)
    assert run(0.9)[0].draft.reasons[0] is Reason.SEGMENT_OPEN
    assert run(0.8)[0].draft.resolution is None
    resolution = run(0.7)[0].draft.resolution
    assert resolution is not None
    assert resolution.action is Action.ACCEPTED


def test_a_regression_ends_a_segment_before_its_horizon() -> None:
    run = Run({"acceptance": {"horizon": 5}})
    for value in (1.0, 0.99, 1.01, 1.0):
        run(value)
    assert run.state.pending is not None
    resolution = run(50.0)[0].draft.resolution
    assert resolution is not None
    assert resolution.reasons == (Reason.REGRESSION,)
    assert run.knob.value == 1.0


@pytest.mark.parametrize("fault", [Reason.NOT_FINITE, Reason.MISSING, Reason.METRIC_RAISED])
def test_a_metric_that_is_no_number_undoes_the_change_and_counts_as_one_reject(
    fault: Reason,
) -> None:
    run = Run(LAST)
    run(1.0)
    made, outcome = run(math.nan, fault)
    assert outcome.restored
    assert made.draft.blocked
    assert run.knob.value == 1.0
    assert run.state.safety.rejects == 1
    assert [event.reasons for event in run.log.of_kind(Blocked)] == [(fault,)]
    assert [event.reasons for event in run.log.of_kind(RolledBack)] == [(fault,)]


def test_a_cooldown_of_n_means_n_whole_decisions() -> None:
    run = Run(LAST, 1.5, 1.2, 1.5, 1.2)
    applied = [run(1.0 - 0.1 * i)[1].applied for i in range(8)]
    assert applied == [True, False, True, False, True, False, True, False]


def test_a_reject_cools_everything_down_for_the_next_decision_too() -> None:
    run = Run(LAST)
    applied = [run(1.0 + 0.1 * i)[1].applied for i in range(7)]
    assert applied == [True, False, False, True, False, False, True]


def test_the_reject_streak_pauses_tuning_and_the_pause_ends_by_itself() -> None:
    safety = {"max_global_reject_streak": 2, "pause_decisions": 3, "global_cooldown": 0}
    run = Run({**LAST, "safety": safety}, 1.5, 1.2)
    applied = [run(1.0 + 0.1 * i)[1].applied for i in range(9)]
    # applied at 1 and 3, rejected at 2 and 4; paused through 7; again at 8.
    assert applied == [True, False, True, False, False, False, False, True, False]
    assert [event.decisions for event in run.log.of_kind(Paused)] == [3]
    assert len(run.log.of_kind(Unpaused)) == 1


def test_a_rejected_change_may_be_kept_if_the_recipe_says_so() -> None:
    run = Run({"acceptance": {"reference": "last", "rollback_on_reject": False}})
    run(1.0)
    _, outcome = run(2.0)
    assert not outcome.restored
    assert run.knob.value == 1.5
    assert run.state.point == {"loss.aux": 1.5}
    assert [event.reasons[-1] for event in run.log.of_kind(Abandoned)] == [Reason.KEPT_ON_REJECT]


def test_a_fault_is_undone_even_if_rejects_are_kept() -> None:
    run = Run({"acceptance": {"reference": "last", "rollback_on_reject": False}})
    run(1.0)
    assert run(math.nan, Reason.NOT_FINITE)[1].restored
    assert run.knob.value == 1.0


def test_suggest_names_exactly_what_active_applies_in_the_same_state() -> None:
    active, suggest = Run(LAST), Run({**LAST, "mode": "suggest"})
    made, _ = active(1.0)
    named, outcome = suggest(1.0)
    assert named.changes == made.changes != ()
    assert not outcome.applied
    assert suggest.knob.value == 1.0


def test_the_direction_of_the_metric_and_a_constant_change_no_decision() -> None:
    values = [3.0, 2.5, 2.2, 2.0, 1.7, 1.71, 1.6, 1.4, 1.5, 1.3, 1.2, 9.0, 1.1, 1.0, 0.9]
    plain = Run({})
    flipped = Run({"objective": {"mode": "max"}})
    shifted = Run({})
    for value in values:
        one = plain(value)[0]
        two, three = flipped(-value)[0], shifted(value + 64.0)[0]
        mine = (one.draft.resolution and one.draft.resolution.action, one.changes)
        assert mine == (two.draft.resolution and two.draft.resolution.action, two.changes)
        assert mine == (three.draft.resolution and three.draft.resolution.action, three.changes)


def test_what_the_proposer_is_told_is_the_gain_over_the_forecast() -> None:
    told: list[Told] = []
    run = Run({})
    inner = run.propose

    def propose(heard: Told | None, request: Request | None) -> Answer[Proposal] | None:
        told.extend([heard] if heard else [])
        return inner(heard, request)

    run.propose = propose
    for value in (1.0, 1.01, 0.99, 1.0, 0.5):
        run(value)
    assert len(told) == 1
    assert told[0].success is True
    assert told[0].observation.point == {"loss.aux": 1.5}
    assert 0.4 < told[0].observation.value < 0.6
    assert told[0].observation.noise is not None
    assert told[0].observation.is_gain


def test_backup_metrics_that_leave_their_forecast_cost_a_penalty() -> None:
    config = config_of(hands_of(FakeKnob()))
    state = first_state(config)
    evidence = []
    for grad in (1.0, 1000.0):
        now = state
        for i, value in enumerate((1.0, 1.1, 0.9, 1.0, 0.5)):
            last = grad if i == 4 else 1.0 + 0.01 * (-1) ** i
            seen = replace(seen_at(10 * i + 10, value), backups={"grad/norm": Reading(value=last)})
            now, made = plan(config, now, seen, lambda told, request: None)
        assert made.draft.observed is not None
        evidence.append(made.draft.observed.evidence)
    assert evidence[0] is not None
    assert evidence[1] is not None
    assert evidence[0].penalty < evidence[1].penalty
    assert evidence[0].probability is not None
    assert evidence[1].probability is not None
    assert evidence[1].probability < evidence[0].probability


# --- where the first proposals head for -----------------------------------------------------------


def mult(center: float | dict[str, float] | None) -> Knob:
    mutation = Mutation(bounds=(0.1, 10.0), prior_center=center)
    return make_knob("opt.lr", mutation, Float(0.1, 10.0, log=True), 1.0)


@given(st.floats(0.1, 10.0), st.floats(0.1, 10.0))
def test_a_center_is_headed_for_between_no_change_and_itself_alone(
    center: float, move: float
) -> None:
    heading = _heading(mult(center), move, "early")
    on_the_way = min(1.0, center) <= move <= max(1.0, center)
    assert heading == (center if on_the_way else None)


def test_each_phase_has_its_own_heading() -> None:
    knob = mult({"early": 4.0, "late": 0.5})
    assert [_heading(knob, 1.0, phase) for phase in ("early", "mid", "late")] == [4.0, None, 0.5]
    assert _heading(knob, 2.0, "late") is None, "it is not on its way there"
    assert _heading(mult(None), 1.0, "early") is None


def test_other_ways_to_move_head_from_where_they_began() -> None:
    delta = make_knob(
        "opt.x", Mutation(mode="delta", bounds=(-1.0, 1.0), prior_center=0.5), Float(0.0, 9.0), 3.0
    )
    whole = make_knob("m.n", Mutation(mode="set", prior_center=6.0), Integer(1, 9), 3)
    assert [_heading(delta, move, "mid") for move in (-0.1, 0.0, 0.5, 0.6)] == [
        None,
        0.5,
        0.5,
        None,
    ]
    assert [_heading(whole, move, "mid") for move in (2, 3, 6, 7)] == [None, 6.0, 6.0, None]
    kind = Mutation(mode="set", prior_center=1.0)
    choice = make_knob("m.kind", kind, Categorical(("a", "b")), "a")
    assert _heading(choice, "a", "mid") is None


def test_what_is_asked_for_heads_for_the_center_of_the_phase() -> None:
    asked: list[Request] = []
    centers = {"early": 2.0, "late": 0.5}
    mutation = Mutation(bounds=(0.1, 10.0), max_step=2.0, prior_center=centers)
    hands = hands_of(FakeKnob(), mutation=mutation)
    config = config_of(hands, LAST, total_steps=100)

    def propose(told: Told | None, request: Request | None) -> Answer[Proposal] | None:
        asked.extend([request] if request else [])
        return None

    for step in (10, 50, 90):
        plan(config, first_state(config), seen_at(step, 1.0), propose)
    assert [request.centers for request in asked] == [
        {"loss.aux": 2.0},
        {},
        {"loss.aux": 0.5},
    ]
