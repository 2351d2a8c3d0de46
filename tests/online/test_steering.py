"""Orders: typed, checked against the recipe, and never beyond it."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gptune.configs import Mode, Mutation, make_knob
from gptune.errors import RecipeError, UsageError
from gptune.events import Paused, Unpaused
from gptune.online.decision import KernelConfig, KernelState
from gptune.online.decision.state import Pending
from gptune.online.steering import VERBS, Steered, by_hand, read_order, steer
from gptune.recipe.recorded import Movement
from gptune.records import Action, Categorical, Change, Float, Integer
from gptune.safety import gate
from tests.doubles import FakeKnob, config_of, first_state, hands_of

HANDS = hands_of(FakeKnob("opt.lr"), FakeKnob("loss.aux"))
CONFIG = config_of(HANDS)
STATE = replace(first_state(CONFIG), decision=9)
PENDING = Pending(
    id="9:opt.lr", changes=(Change("opt.lr", 1.0, 2.0),), decision=9, step=90, reference=0.0
)
OPEN = replace(STATE, pending=PENDING, point={**STATE.point, "opt.lr": 2.0})


def ordered(
    verb: str,
    arguments: dict[str, Any] | None = None,
    *,
    state: KernelState = STATE,
    config: KernelConfig = CONFIG,
    past: tuple[Movement, ...] = (),
) -> Steered:
    return steer(config, state, read_order(verb, arguments or {}), past)


def moved(decision: int, new: float, old: float, *, family: str = "opt.lr") -> Movement:
    ident = f"{decision}:{family}"
    return Movement(
        step=10 * decision, family=family, new=new, old=old, decision=decision, id=ident
    )


PAST = (moved(2, 2.0, 1.0), moved(4, 4.0, 2.0), moved(5, 0.5, 1.0, family="loss.aux"))
WHERE = replace(STATE, point={"opt.lr": 4.0, "loss.aux": 0.5})

BAD_ORDERS: list[tuple[str, dict[str, Any], str]] = [
    ("enabel", {}, "verb: is unknown, got 'enabel'; did you mean 'enable'"),
    ("", {}, "verb: is unknown"),
    ("enable", {"mode": "off"}, "enable: Invalid enum value 'off'"),
    ("enable", {"mode": "guard"}, "enable: Invalid enum value 'guard'"),
    ("enable", {"made": "active"}, "enable: Object contains unknown field `made`"),
    ("disable", {"mode": "off"}, "disable: Object contains unknown field"),
    ("pause", {"decisions": "3"}, "pause: Expected `int | null`, got `str`"),
    ("pause", {"decisions": 1.5}, "pause: Expected `int | null`"),
    ("pin", {}, "pin: Object missing required field `family`"),
    ("pin", {"family": 3}, "pin: Expected `str`, got `int`"),
    ("apply", {"moves": {"opt.lr": [1.0]}}, "apply: Expected"),
    ("apply", {"moves": {"opt.lr": None}}, "apply: Expected"),
    ("apply", {"moves": 3}, "apply: Expected `object`"),
    ("set", {"changes": {"a.b": {"c": 1}}}, "set: Expected"),
    ("rollback", {"to": "3"}, "rollback: Expected `int | null`"),
]


@pytest.mark.parametrize(("verb", "arguments", "message"), BAD_ORDERS)
def test_what_is_no_order_is_refused_and_named(
    verb: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        read_order(verb, arguments)
    assert str(caught.value).startswith(message)


leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
branch = st.lists(leaf, max_size=2) | st.dictionaries(st.text(max_size=5), leaf, max_size=2)
plain = leaf | branch | st.lists(branch, max_size=2)
keys = st.sampled_from(["mode", "family", "moves", "changes", "to", "decisions", "x"])


@given(st.sampled_from(VERBS), st.dictionaries(keys, plain, max_size=3))
def test_any_arguments_are_an_order_or_refused(verb: str, arguments: dict[str, Any]) -> None:
    for state in (STATE, OPEN):
        with suppress(UsageError, RecipeError):
            made = ordered(verb, arguments, state=state, past=PAST)
            assert made.message
            assert all(0.1 <= float(move) <= 10.0 for move in made.moves.values())


@pytest.mark.parametrize("mode", ["active", "suggest", "observe"])
def test_enable_changes_the_mode_and_says_from_which(mode: str) -> None:
    made = ordered("enable", {"mode": mode})
    assert (made.mode, made.message) == (Mode(mode), f"mode active -> {mode}")


def test_disable_only_observes_so_that_the_run_can_be_enabled_again() -> None:
    assert ordered("disable").mode is Mode.OBSERVE


def test_a_pause_lasts_until_resumed_or_for_some_decisions() -> None:
    for_ever = ordered("pause")
    assert for_ever.message == "not paused -> paused until resumed"
    assert for_ever.notices == (Paused(decisions=None, reasons=for_ever.notices[0].reasons),)  # type: ignore[union-attr]
    assert for_ever.safety is not None
    assert not gate.is_over(for_ever.safety, 10**9)
    for_three = ordered("pause", {"decisions": 3})
    assert for_three.safety is not None
    assert [gate.is_over(for_three.safety, number) for number in (12, 13)] == [False, True]
    paused = replace(STATE, safety=for_ever.safety)
    over = ordered("resume", state=paused)
    assert over.notices == (Unpaused(by="command"),)
    assert over.safety == gate.resume(for_ever.safety)
    assert ordered("resume").message == "not paused -> not paused"
    with pytest.raises(UsageError, match="decisions: must be >= 1"):
        ordered("pause", {"decisions": 0})


def test_set_says_old_and_new_and_adds_up() -> None:
    earlier = replace(STATE, overrides={"safety.patience": 3})
    made = ordered("set", {"changes": {"acceptance.epsilon": 0.5}}, state=earlier)
    assert made.message == "acceptance.epsilon 0.001 -> 0.5"
    assert made.overrides == {"safety.patience": 3, "acceptance.epsilon": 0.5}
    with pytest.raises(UsageError, match="needs at least one"):
        ordered("set", {"changes": {}})
    with pytest.raises(RecipeError, match="block_on_nan: cannot be set"):
        ordered("set", {"changes": {"acceptance.epsilon": 0.5, "safety.block_on_nan": False}})


def test_a_pinned_knob_stays_where_it_would_be_without_the_open_change() -> None:
    calm = ordered("pin", {"family": "loss.aux"}, state=OPEN)
    assert (calm.ends, calm.message) == (None, "loss.aux -> pinned at 1")
    judged = ordered("pin", {"family": "opt.lr"}, state=OPEN)
    assert (judged.ends, judged.message) == (Action.REJECTED, "opt.lr -> pinned at 1")
    assert judged.safety is not None
    assert judged.safety.pinned == ("opt.lr",)
    back = ordered("unpin", {"family": "opt.lr"}, state=replace(OPEN, safety=judged.safety))
    assert back.safety is not None
    assert back.safety.pinned == ()
    with pytest.raises(UsageError, match=r"opt\.lx: no such knob; did you mean 'opt\.lr'"):
        ordered("pin", {"family": "opt.lx"})


@given(st.floats(allow_nan=True, allow_infinity=True) | st.integers() | st.booleans() | st.text())
def test_a_move_by_hand_lies_within_bounds_whatever_is_asked(move: Any) -> None:
    with suppress(UsageError):
        made = ordered("apply", {"moves": {"opt.lr": move}})
        assert type(made.moves["opt.lr"]) is float
        assert 0.1 <= made.moves["opt.lr"] <= 10.0
        assert not isinstance(move, bool | str)


def test_a_move_by_hand_may_be_longer_than_a_step_and_puts_an_open_change_back_first() -> None:
    made = ordered("apply", {"moves": {"opt.lr": 9}}, state=OPEN)
    assert (made.ends, made.moves, made.message) == (
        Action.REJECTED,
        {"opt.lr": 9.0},
        "opt.lr 1 -> 9",
    )
    assert ordered("apply", {"moves": {"opt.lr": 2.0}}, state=OPEN).moves == {"opt.lr": 2.0}
    with pytest.raises(UsageError, match="no change"):
        ordered("apply", {"moves": {"opt.lr": 1.0}}, state=OPEN)


def test_moves_by_hand_are_all_made_or_none() -> None:
    with pytest.raises(UsageError, match="bounds"):
        ordered("apply", {"moves": {"opt.lr": 2.0, "loss.aux": 1000.0}})
    with pytest.raises(UsageError, match="no such knob"):
        ordered("apply", {"moves": {"opt.lr": 2.0, "loss.bux": 1.0}})
    with pytest.raises(UsageError, match="needs at least one family=value"):
        ordered("apply", {"moves": {}})


def test_a_knob_that_is_risky_or_failed_is_not_moved_by_hand_either() -> None:
    risky = config_of(
        hands_of(FakeKnob("opt.lr"), mutation=Mutation(bounds=(0.1, 10.0), risk="high"))
    )
    with pytest.raises(UsageError, match="risk"):
        ordered("apply", {"moves": {"opt.lr": 2.0}}, config=risky, state=first_state(risky))
    safety = gate.quarantine(CONFIG.recipe.safety, STATE.safety, ["opt.lr"], 1)
    with pytest.raises(UsageError, match="quarantined"):
        ordered("apply", {"moves": {"opt.lr": 2.0}}, state=replace(STATE, safety=safety))


def test_choices_and_whole_numbers_keep_their_type() -> None:
    chosen = Mutation(mode="set")
    knobs = {
        "model.act": make_knob("model.act", chosen, Categorical(("relu", "gelu")), "relu"),
        "data.workers": make_knob("data.workers", chosen, Integer(1, 8), 2),
        "loss.aux": make_knob("loss.aux", chosen, Float(0.0, 8.0), 2.0),
    }
    config = replace(CONFIG, knobs=knobs)
    asked = {"model.act": "gelu", "data.workers": 4, "loss.aux": 4}
    made = ordered("apply", {"moves": asked}, config=config, state=first_state(config))
    assert [type(move) for move in made.moves.values()] == [str, int, float]
    with pytest.raises(UsageError, match="bad value"):
        ordered("apply", {"moves": {"data.workers": 4.0}}, config=config, state=first_state(config))


def test_a_judgement_needs_an_open_change() -> None:
    kept, undone = ordered("accept", state=OPEN), ordered("reject", state=OPEN)
    assert (kept.ends, kept.message) == (Action.ACCEPTED, "opt.lr 1 -> 2: kept")
    assert (undone.ends, undone.message) == (Action.REJECTED, "opt.lr 2 -> 1")
    assert undone.safety == gate.rejected(CONFIG.recipe.safety, STATE.safety, 9)
    for verb in ("accept", "reject"):
        with pytest.raises(UsageError, match=f"{verb}: no change is being judged"):
            ordered(verb)


def test_the_operators_rejects_pause_tuning_as_others_do() -> None:
    state = replace(OPEN, safety=replace(OPEN.safety, rejects=3))
    made = ordered("reject", state=state)
    assert made.safety is not None
    assert made.safety.paused
    assert [type(notice) for notice in made.notices] == [Paused]


def test_a_rollback_undoes_the_open_change_else_the_last_one_that_stands() -> None:
    assert ordered("rollback", state=OPEN).ends is Action.REJECTED
    assert ordered("rollback", state=OPEN).moves == {}
    assert ordered("rollback", state=WHERE, past=PAST).moves == {"loss.aux": 1.0}
    undone = replace(PAST[2], old=0.5, new=1.0, status="rolled_back")
    state = replace(WHERE, point={"opt.lr": 4.0, "loss.aux": 1.0})
    assert ordered("rollback", state=state, past=(*PAST, undone)).moves == {"opt.lr": 2.0}
    assert ordered("rollback").message == "every knob is there already"


@pytest.mark.parametrize(
    ("to", "moves"),
    [
        (0, {"opt.lr": 1.0, "loss.aux": 1.0}),
        (2, {"opt.lr": 2.0, "loss.aux": 1.0}),
        (4, {"loss.aux": 1.0}),
        (5, {}),
        (9, {}),
    ],
)
def test_a_rollback_to_a_decision_gives_the_moves_that_were_in_force_after_it(
    to: int, moves: dict[str, float]
) -> None:
    assert ordered("rollback", {"to": to}, state=WHERE, past=PAST).moves == moves


@pytest.mark.parametrize("to", [-1, 10])
def test_a_rollback_to_no_decision_is_refused(to: int) -> None:
    with pytest.raises(UsageError, match="to: must be a decision from 0 to 9"):
        ordered("rollback", {"to": to}, state=WHERE, past=PAST)


def test_a_plan_by_hand_says_who_wanted_it_and_has_an_id_of_its_own() -> None:
    made = by_hand(CONFIG, WHERE, 95, {"opt.lr": 1.0}, source="human", tag="77-ab")
    assert made.id == "9:opt.lr@77-ab"
    assert made.changes == (Change("opt.lr", 4.0, 1.0),)
    assert made.proposal is not None
    assert (made.proposal.source, made.draft.moment.step, made.draft.observed) == (
        "human",
        95,
        None,
    )
