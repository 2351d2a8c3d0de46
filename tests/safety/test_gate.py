"""The gate keeps its promises for every history."""

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gptune.configs import Acceptance, Knob, Mutation, Safety
from gptune.records import Action, Evidence, Float, Integer, Reason
from gptune.safety.gate import (
    LOWER_RATE_PROBABILITY,
    SafetyState,
    accepted,
    free_knobs,
    hindrances,
    is_over,
    judge,
    moved,
    pause,
    pin,
    quarantine,
    rejected,
    resume,
    screen,
    screen_by_hand,
    unpin,
    watch,
)
from tests.strategies import acceptances, anything, evidences, good_evidences, names, safeties

NO_FAULT: tuple[Reason, ...] = ()
some_faults = st.lists(st.sampled_from([Reason.NOT_FINITE, Reason.MISSING]), max_size=2).map(tuple)


def knob_of(family: str, **mutation: Any) -> Knob:
    chosen = Mutation(**{"bounds": (0.1, 10.0), "max_step": 2.0, **mutation})
    space = Float(0.1, 10.0, log=True)
    return Knob(family=family, mutation=chosen, space=space, base=1.0, is_rate=family == "opt.lr")


@st.composite
def knob_sets(draw: st.DrawFn) -> dict[str, Knob]:
    families = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    rest = {
        "cooldown": st.integers(0, 4),
        "risk": st.sampled_from(["low", "medium", "high"]),
        "phases": st.none() | st.sampled_from([("early",), ("mid", "late"), ()]),
    }
    return {f: knob_of(f, **draw(st.fixed_dictionaries(rest))) for f in families}


# --- one segment --------------------------------------------------------------------------


@given(acceptances(), evidences() | good_evidences(), some_faults)
@settings(deadline=None, max_examples=300)
def test_only_finite_evidence_of_a_gain_without_faults_is_accepted(
    config: Acceptance, evidence: Evidence, faults: tuple[Reason, ...]
) -> None:
    verdict = judge(config, evidence, faults)
    assert verdict.action in (Action.ACCEPTED, Action.REJECTED)
    assert verdict.reasons
    assert (verdict.action is Action.ACCEPTED) == (verdict.reasons == (Reason.GAIN,))
    if verdict.action is Action.ACCEPTED:
        assert not faults
        assert math.isfinite(evidence.gain)
        assert math.isfinite(evidence.penalty)
        assert evidence.regressions == 0


@given(acceptances(), evidences())
@settings(deadline=None, max_examples=200)
def test_a_result_that_is_not_finite_is_never_accepted_and_says_so(
    config: Acceptance, evidence: Evidence
) -> None:
    verdict = judge(config, evidence, NO_FAULT)
    if not (math.isfinite(evidence.gain) and math.isfinite(evidence.penalty)):
        assert verdict.action is Action.REJECTED
        assert verdict.reasons == (Reason.NOT_FINITE,)


@given(acceptances(), evidences(), some_faults)
@settings(deadline=None)
def test_the_faults_of_a_decision_are_the_reasons_of_its_reject(
    config: Acceptance, evidence: Evidence, faults: tuple[Reason, ...]
) -> None:
    if faults:
        verdict = judge(config, evidence, faults)
        assert verdict.action is Action.REJECTED
        assert verdict.reasons == faults


@given(acceptances(), evidences() | good_evidences())
@settings(deadline=None, max_examples=300)
def test_against_a_forecast_a_gain_needs_its_probability(
    config: Acceptance, evidence: Evidence
) -> None:
    if config.reference != "forecast":
        return
    verdict = judge(config, evidence, NO_FAULT)
    if verdict.action is Action.ACCEPTED:
        assert evidence.probability is not None
        assert evidence.probability >= config.probability
    if evidence.probability is None:
        assert verdict.action is Action.REJECTED


@given(
    st.floats(0.5, 0.999),
    st.floats(0.9, 1.0) | st.sampled_from([LOWER_RATE_PROBABILITY]),
    st.booleans(),
)
@example(0.95, math.nextafter(0.995, 0.0), True)
@example(0.999, 0.997, True)
@settings(deadline=None, max_examples=200)
def test_a_lower_guarded_rate_needs_more_proof(bar: float, shown: float, lower: bool) -> None:
    evidence = Evidence(gain=1.0, probability=shown, lowers_guarded_rate=lower)
    verdict = judge(Acceptance(probability=bar), evidence, NO_FAULT)
    needed = max(bar, 0.995) if lower else bar
    assert (verdict.action is Action.ACCEPTED) == (shown >= needed)
    if lower and bar <= shown < 0.995:
        assert verdict.reasons == (Reason.LOWER_RATE,)


@given(st.floats(-5, 5), st.floats(0, 5), st.floats(0, 2), st.none() | st.floats(0, 1))
@settings(deadline=None)
def test_the_older_rule_asks_for_more_than_epsilon(
    gain: float, penalty: float, epsilon: float, probability: float | None
) -> None:
    config = Acceptance(reference="last", epsilon=epsilon)
    evidence = Evidence(gain=gain, penalty=penalty, probability=probability)
    verdict = judge(config, evidence, NO_FAULT)
    assert (verdict.action is Action.ACCEPTED) == (gain - penalty > epsilon)


@given(acceptances(), good_evidences(), st.integers(1, 9))
@settings(deadline=None)
def test_a_regression_is_never_accepted(
    config: Acceptance, evidence: Evidence, regressions: int
) -> None:
    bad = Evidence(gain=evidence.gain, probability=evidence.probability, regressions=regressions)
    assert judge(config, bad, NO_FAULT).reasons == (Reason.REGRESSION,)


# --- every history ------------------------------------------------------------------------


class Play:
    """Plays the gate's part of many decisions, as the kernel would, and notes what happened."""

    def __init__(self, config: Safety, knobs: dict[str, Knob]) -> None:
        self.config, self.knobs = config, knobs
        self.state = SafetyState()
        self.open = False  # whether a segment is open
        self.number = 0
        self.moves: dict[str, list[int]] = {family: [] for family in knobs}
        self.rejects: list[int] = []
        self.pauses: list[tuple[int, int]] = []  # number, streak before
        self.unpauses: list[int] = []

    def decide(self, good: bool, regressed: bool, choice: int) -> None:
        self.number += 1
        self.state = watch(self.config, self.state, regressed=regressed, begins=False)
        if is_over(self.state, self.number):
            self.unpauses.append(self.number)
            self.state = resume(self.state)
        if self.open:
            self.resolve(good)
        if not hindrances(self.config, self.state, self.number):
            free, _ = free_knobs(self.state, self.knobs, self.number, "mid")
            if free:
                self.move(free[choice % len(free)])

    def resolve(self, good: bool) -> None:
        self.open = False
        if good:
            self.state = accepted(self.state)
            assert self.state.rejects == 0
            return
        streak, was_paused = self.state.rejects, self.state.paused
        self.rejects.append(self.number)
        self.state = rejected(self.config, self.state, self.number)
        if self.state.paused and not was_paused:
            self.pauses.append((self.number, streak))

    def move(self, family: str) -> None:
        self.open = True
        self.moves[family].append(self.number)
        self.state = moved(self.state, [self.knobs[family]], self.number)

    @property
    def all_moves(self) -> list[int]:
        return sorted(number for moves in self.moves.values() for number in moves)


steps = st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 3)), max_size=60)
bad_luck = st.lists(st.just((False, False, 0)), min_size=30, max_size=60)
histories = steps | bad_luck


def played(config: Safety, knobs: dict[str, Knob], history: list[tuple[bool, bool, int]]) -> Play:
    play = Play(config, knobs)
    for good, regressed, choice in history:
        play.decide(good, regressed, choice)
        limit = config.max_global_reject_streak
        assert 0 <= play.state.rejects <= limit
        assert play.state.paused == (play.state.rejects == limit)
    return play


@given(safeties(), knob_sets(), histories)
@settings(deadline=None, max_examples=100)
def test_tuning_pauses_exactly_when_the_streak_reaches_its_limit(
    config: Safety, knobs: dict[str, Knob], history: list[tuple[bool, bool, int]]
) -> None:
    play = played(config, knobs, history)
    for _, streak in play.pauses:
        assert streak == config.max_global_reject_streak - 1


@given(safeties(), knob_sets(), histories)
@settings(deadline=None, max_examples=100)
def test_a_pause_lasts_its_decisions_and_nothing_moves_in_it(
    config: Safety, knobs: dict[str, Knob], history: list[tuple[bool, bool, int]]
) -> None:
    play = played(config, knobs, history)
    ends = [number + config.pause_decisions + 1 for number, _ in play.pauses]
    assert play.unpauses == [end for end in ends if end <= play.number]
    for (number, _), end in zip(play.pauses, ends, strict=True):
        assert not [move for move in play.all_moves if number <= move < end]


@given(safeties(), knob_sets(), histories)
@settings(deadline=None, max_examples=100)
def test_two_moves_of_a_family_are_more_than_its_cooldown_apart(
    config: Safety, knobs: dict[str, Knob], history: list[tuple[bool, bool, int]]
) -> None:
    play = played(config, knobs, history)
    for family, moves in play.moves.items():
        for before, after in pairwise(moves):
            assert after - before > knobs[family].mutation.cooldown


@given(safeties(), knob_sets(), histories)
@settings(deadline=None, max_examples=100)
def test_nothing_moves_for_the_global_cooldown_after_a_reject(
    config: Safety, knobs: dict[str, Knob], history: list[tuple[bool, bool, int]]
) -> None:
    play = played(config, knobs, history)
    for reject in play.rejects:
        wait = config.global_cooldown
        assert not [m for m in play.all_moves if wait and reject <= m <= reject + wait]


@given(safeties(), knob_sets(), histories)
@settings(deadline=None, max_examples=100)
def test_nothing_moves_in_warmup_at_high_risk_or_in_another_phase(
    config: Safety, knobs: dict[str, Knob], history: list[tuple[bool, bool, int]]
) -> None:
    play = played(config, knobs, history)
    assert all(number > config.warmup for number in play.all_moves)
    for family, moves in play.moves.items():
        mutation = knobs[family].mutation
        if mutation.risk == "high" or (
            mutation.phases is not None and "mid" not in mutation.phases
        ):
            assert not moves


def test_without_bad_luck_a_knob_moves_as_often_as_it_may() -> None:
    knobs = {"a": knob_of("a", cooldown=2)}
    play = played(Safety(), knobs, [(True, False, 0)] * 10)
    assert play.all_moves == [1, 4, 7, 10]


def test_with_nothing_but_rejects_tuning_pauses_and_comes_back() -> None:
    config = Safety(max_global_reject_streak=2, pause_decisions=3, global_cooldown=0)
    play = played(config, {"a": knob_of("a", cooldown=0)}, [(False, False, 0)] * 12)
    # moved at 1, rejected at 2 and 3, paused 3 decisions (4, 5, 6), back at 7
    assert [number for number, _ in play.pauses] == [3, 9]
    assert play.unpauses == [7]
    assert play.all_moves == [1, 2, 7, 8]


# --- the parts ----------------------------------------------------------------------------

numbers = st.integers(1, 100)
untils = st.none() | numbers


@given(untils, untils, numbers)
@settings(deadline=None)
def test_a_longer_pause_is_never_shortened(one: int | None, other: int | None, number: int) -> None:
    first = pause(SafetyState(), one)
    both = pause(first, other)
    assert both.paused
    if is_over(both, number):
        assert is_over(first, number)
        assert is_over(pause(SafetyState(), other), number)
    else:
        held = [until is None or number <= until for until in (one, other)]
        assert any(held)


@given(numbers)
@settings(deadline=None, max_examples=20)
def test_a_pause_without_end_ends_only_by_resuming(number: int) -> None:
    state = pause(SafetyState(rejects=3), None)
    assert not is_over(state, number)
    after = resume(state)
    assert not after.paused
    assert after.rejects == 0
    assert hindrances(Safety(start_below=None), watch_once(after), number) == ()


def watch_once(state: SafetyState) -> SafetyState:
    return watch(Safety(), state, regressed=False, begins=False)


@given(numbers, numbers)
@settings(deadline=None)
def test_a_pause_holds_through_its_last_decision(until: int, number: int) -> None:
    assert is_over(pause(SafetyState(), until), number) == (number > until)
    assert not is_over(SafetyState(), number)


@given(safeties(), numbers, st.lists(names, min_size=1, max_size=3), st.lists(names, max_size=3))
@settings(deadline=None)
def test_what_failed_is_left_alone_for_good_and_tuning_pauses(
    config: Safety, number: int, bad: list[str], worse: list[str]
) -> None:
    state = quarantine(config, SafetyState(), bad, number)
    assert state.paused
    assert set(bad) == set(state.quarantined)
    state = resume(quarantine(config, state, worse, number + 1))
    assert set(state.quarantined) == {*bad, *worse}
    knobs = {family: knob_of(family) for family in {*bad, *worse, "fine"}}
    free, reasons = free_knobs(state, knobs, number + 1000, "mid")
    assert set(free) == set(knobs) - {*bad, *worse}
    assert reasons == (Reason.QUARANTINED,)


@given(safeties(), st.lists(st.booleans(), max_size=12))
@settings(deadline=None)
def test_regressions_in_a_row_block_and_one_good_decision_ends_them(
    config: Safety, history: list[bool]
) -> None:
    state, row = SafetyState(), 0
    for regressed in history:
        state = watch(config, state, regressed=regressed, begins=True)
        row = row + 1 if regressed else 0
        assert state.regressions == row
        held = hindrances(config, state, 1000)
        assert held == ((Reason.REGRESSION,) if row >= config.patience else ())


@given(st.lists(st.booleans(), max_size=8))
@settings(deadline=None, max_examples=30)
def test_nothing_is_proposed_until_the_metric_was_beyond_its_start(begun: list[bool]) -> None:
    config, state = Safety(start_below=1.0), SafetyState()
    for i, begins in enumerate(begun):
        state = watch(config, state, regressed=False, begins=begins)
        waits = Reason.START_BELOW in hindrances(config, state, 1000)
        assert waits == (not any(begun[: i + 1]))


@given(safeties(), st.integers(0, 20))
@settings(deadline=None)
def test_warmup_is_a_count_of_decisions(config: Safety, number: int) -> None:
    held = hindrances(config, watch_once(SafetyState()), number)
    assert (Reason.WARMUP in held) == (number <= config.warmup)


@given(knob_sets(), numbers, numbers, st.sampled_from(["early", "mid", "late"]))
@settings(deadline=None)
def test_a_knob_is_free_or_there_is_a_reason(
    knobs: dict[str, Knob], when: int, number: int, phase: str
) -> None:
    rested = dict(list(knobs.items())[:1])
    state = moved(SafetyState(), rested.values(), when)
    free, reasons = free_knobs(state, knobs, number, phase)
    assert list(free) == [family for family in knobs if family in free]  # in order
    assert bool(reasons) == (len(free) < len(knobs))
    assert len(set(reasons)) == len(reasons)
    for family, knob in knobs.items():
        resting = family in rested and number <= when + knob.mutation.cooldown
        off = knob.mutation.phases is not None and phase not in knob.mutation.phases
        assert (family in free) == (not (resting or off or knob.mutation.risk == "high"))


orders = st.lists(st.tuples(st.booleans(), st.sampled_from(["a", "b", "c"])), max_size=12)


@given(orders, numbers)
@settings(deadline=None)
def test_a_knob_stays_where_it_is_from_its_pin_to_its_unpin(
    history: list[tuple[bool, str]], number: int
) -> None:
    knobs = {family: knob_of(family) for family in ("a", "b", "c")}
    state, kept = SafetyState(), set[str]()
    for pins, family in history:
        state = pin(state, family) if pins else unpin(state, family)
        kept = kept | {family} if pins else kept - {family}
        assert state.pinned == tuple(sorted(kept))
        free, reasons = free_knobs(state, knobs, number, "mid")
        assert set(free) == set(knobs) - kept
        assert reasons == ((Reason.PINNED,) if kept else ())


def test_what_failed_is_left_alone_though_an_operator_unpins_it() -> None:
    failed = resume(quarantine(Safety(), SafetyState(), ["a"], 1))
    state = unpin(pin(failed, "a"), "a")
    assert free_knobs(state, {"a": knob_of("a")}, 1000, "mid") == ((), (Reason.QUARANTINED,))


# --- the screen ---------------------------------------------------------------------------

SCREENED = {
    "a": knob_of("a"),
    "b": knob_of("b", max_step=None),
    "n": Knob(family="n", mutation=Mutation(mode="set", max_step=2.0), space=Integer(0, 9), base=4),
}
POINT: dict[str, object] = {"a": 1.0, "b": 2.0, "n": 4}
proposed = st.dictionaries(
    st.sampled_from(["a", "b", "n", "z"]), anything | st.floats(0, 11) | st.integers(0, 9)
)


@given(st.sets(st.sampled_from(["a", "b", "n"])), proposed)
@example({"a"}, {"a": 10**400})
@settings(deadline=None, max_examples=400)
def test_what_passes_the_screen_is_safe_whoever_proposed_it(
    free: set[str], moves: dict[str, Any]
) -> None:
    if screen(free, SCREENED, moves, POINT):
        return
    assert moves
    assert set(moves) <= free
    for family, move in moves.items():
        space, old = SCREENED[family].space, POINT[family]
        assert isinstance(space, Float | Integer)
        assert isinstance(old, int | float)
        assert type(move) in (int, float)
        assert math.isfinite(move)
        assert space.low <= move <= space.high
        low, high = SCREENED[family].limits(float(old))
        assert low <= move <= high
        assert move != old


@pytest.mark.parametrize(
    ("free", "moves", "reason"),
    [
        ({"a"}, {}, Reason.UNKNOWN_KNOB),
        ({"a"}, {"z": 1.0}, Reason.UNKNOWN_KNOB),
        ({"a"}, {"b": 1.0}, Reason.UNKNOWN_KNOB),
        (set(), {"a": 1.5}, Reason.UNKNOWN_KNOB),
        ({"a"}, {"a": 1.5, "b": 2.5}, Reason.UNKNOWN_KNOB),
        ({"a"}, {"a": 1.0}, Reason.NO_CHANGE),
        ({"a"}, {"a": math.nan}, Reason.BAD_VALUE),
        ({"a"}, {"a": True}, Reason.BAD_VALUE),
        ({"a"}, {"a": "1.5"}, Reason.BAD_VALUE),
        ({"a"}, {"a": 10.5}, Reason.BOUNDS),
        ({"a"}, {"a": 3.0}, Reason.STEP),
        ({"n"}, {"n": 5.5}, Reason.BAD_VALUE),
    ],
)
def test_the_screen_names_what_is_wrong(
    free: set[str], moves: dict[str, Any], reason: Reason
) -> None:
    assert screen(free, SCREENED, moves, POINT) == (reason,)


def test_one_bad_move_spoils_a_joint_proposal() -> None:
    assert screen({"a", "b"}, SCREENED, {"a": 1.5, "b": 2.5}, POINT) == ()
    assert screen({"a", "b"}, SCREENED, {"a": 1.5, "b": 9.0}, POINT) == (Reason.STEP,)


# --- the screen of an operator's moves ----------------------------------------------------

BY_HAND = {
    **SCREENED,
    "risky": knob_of("risky", risk="high"),
    "early": knob_of("early", phases=("early",)),
}
HELD: dict[str, object] = {**POINT, "risky": 1.0, "early": 1.0}
by_hand = st.dictionaries(
    st.sampled_from([*BY_HAND, "z"]), anything | st.floats(0, 11) | st.integers(0, 9), max_size=3
)


@given(st.sets(st.sampled_from([*BY_HAND])), by_hand)
@settings(deadline=None, max_examples=400)
def test_an_operator_may_only_move_knobs_that_work_within_their_bounds(
    broken: set[str], moves: dict[str, Any]
) -> None:
    state = SafetyState(quarantined=tuple(sorted(broken)))
    if screen_by_hand(state, BY_HAND, moves, HELD):
        return
    assert moves
    assert set(moves) <= set(BY_HAND) - broken - {"risky"}
    for family, move in moves.items():
        space = BY_HAND[family].space
        assert isinstance(space, Float | Integer)
        assert type(move) in (int, float)
        assert math.isfinite(move)
        assert space.low <= move <= space.high
        assert move != HELD[family]


@given(numbers, st.sets(st.sampled_from(["a", "early"])), st.floats(2.1, 10.0))
@settings(deadline=None)
def test_what_keeps_the_search_careful_does_not_bind_an_operator(
    number: int, pinned: set[str], move: float
) -> None:
    moves = {"a": move, "early": move}  # more than one step away, and `early` in no phase
    state = moved(SafetyState(pinned=tuple(pinned)), BY_HAND.values(), number)
    assert screen(set(BY_HAND), BY_HAND, moves, HELD) == (Reason.STEP,)
    assert screen_by_hand(state, BY_HAND, moves, HELD) == ()


@pytest.mark.parametrize(
    ("moves", "reasons"),
    [
        ({}, (Reason.UNKNOWN_KNOB,)),
        ({"z": 1.0}, (Reason.UNKNOWN_KNOB,)),
        ({"a": 1.5, "z": 1.0}, (Reason.UNKNOWN_KNOB,)),
        ({"b": 1.5}, (Reason.QUARANTINED,)),
        ({"risky": 1.5}, (Reason.RISK,)),
        ({"a": 10.5}, (Reason.BOUNDS,)),
        ({"a": math.nan}, (Reason.BAD_VALUE,)),
        ({"a": 1.0}, (Reason.NO_CHANGE,)),
        (
            {"b": 10.5, "risky": 1.0},
            (Reason.QUARANTINED, Reason.BOUNDS, Reason.RISK, Reason.NO_CHANGE),
        ),
        ({"a": 10.5, "early": 10.5}, (Reason.BOUNDS,)),
    ],
)
def test_an_operator_is_told_all_that_is_wrong_and_each_of_it_once(
    moves: dict[str, Any], reasons: tuple[Reason, ...]
) -> None:
    state = SafetyState(quarantined=("b",))
    assert screen_by_hand(state, BY_HAND, moves, HELD) == reasons
