"""Commands from another terminal, through a real Tuner on a real directory; and what it shows."""

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptune import Recipe, Tuner
from gptune.errors import RecipeError
from gptune.events import (
    Accepted,
    Applied,
    Command,
    Event,
    Failed,
    Intent,
    ModeChanged,
    Opened,
    Paused,
    Proposed,
    RolledBack,
    Unpaused,
)
from gptune.online.desk import AGAIN
from gptune.online.playing import POLL
from gptune.online.steering import VERBS
from gptune.records import Action, Change, Reason
from gptune.run_directory import control, names
from gptune.run_directory.control import Answer
from gptune.run_directory.event_log import read_events
from gptune.run_directory.file_system import Disk
from gptune.run_directory.names import EVENTS
from gptune.run_directory.summary import summarize, to_plain
from tests.doubles import FakeKnob
from tests.fakes import MemoryDisk

MOVES: dict[str, Any] = {"bounds": [0.1, 10.0], "max_step": 2.0, "cooldown": 0}
RECIPE: dict[str, Any] = {
    "actuators": {"opt": {"mutations": {"lr": MOVES}}, "loss": {"keys": {"aux": MOVES}}},
    "search": {"algorithm": "random", "startup_trials": 0},
    "acceptance": {"reference": "last"},
    "safety": {"global_cooldown": 0, "max_global_reject_streak": 99},
}
UNTOUCHED = {"opt.lr": 1.0, "loss.aux": 1.0}


class Terminal:
    """A run, and whoever steers it from outside."""

    def __init__(self, run_dir: Path, **chosen: Any) -> None:
        self.knobs = {name: FakeKnob(name) for name in UNTOUCHED}
        self.run_dir, self.losses = run_dir, random.Random(7)
        self.disk = chosen.get("file_system") or Disk()
        chosen = {"recipe": RECIPE, "total_steps": 1000, **chosen}
        self.tuner = Tuner(list(self.knobs.values()), run_dir=run_dir, **chosen)

    def send(self, verb: str, **arguments: Any) -> str:
        return control.send(self.disk, self.run_dir, verb, arguments)

    def put(self, ident: str, data: bytes) -> None:
        self.disk.replace(self.run_dir / names.COMMANDS / f"{ident}.json", data)

    def answer(self, ident: str) -> Answer | None:
        return control.read_answer(self.disk, self.run_dir, ident)

    def train(self, steps: int = POLL) -> None:
        for _ in range(steps):
            self.tuner.step()

    def order(self, verb: str, **arguments: Any) -> Answer:
        """Send a command, train until it is seen, and read the answer."""
        ident = self.send(verb, **arguments)
        self.train()
        answer = self.answer(ident)
        assert answer is not None
        return answer

    def report(self, loss: float | None = None) -> Action:
        value = self.losses.random() if loss is None else loss
        return self.tuner.report({"val/loss": value}).verdict

    def values(self) -> dict[str, float]:
        """Read what training really uses; it is what the Tuner says."""
        read = {name: knob.value for name, knob in self.knobs.items()}
        assert read == self.tuner.values
        return read

    def events(self, *kinds: type) -> list[Any]:
        found = [line.event for line in read_events(self.run_dir, self.disk)]
        return [event for event in found if isinstance(event, kinds or (Event,))]

    def die(self) -> None:
        assert self.tuner._session.log is not None
        self.tuner._session.log.close()  # what the kernel does for a process that dies


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path / "run")
    yield terminal
    terminal.tuner.close()


def opened_change(terminal: Terminal) -> Change:
    """Let a change be made that nobody has judged yet."""
    assert terminal.report(1.0) is Action.APPLIED
    change: Change = terminal.events(Applied)[-1].changes[0]
    return change


# --- every verb -----------------------------------------------------------------------------------


def test_an_answer_names_the_step_and_the_decision(here: Terminal) -> None:
    here.train(10)
    here.report(1.0)
    answer = here.order("pause")
    assert (answer.accepted, answer.step, answer.decision) == (True, POLL, 1)
    (command,) = here.events(Command)
    assert (command.id, command.verb, command.accepted) == (answer.id, "pause", True)
    assert command.message == answer.message


def test_commands_are_seen_at_reports_too(here: Terminal) -> None:
    ident = here.send("disable")
    assert here.report() is Action.OBSERVED
    answer = here.answer(ident)
    assert answer is not None
    assert (answer.step, answer.decision, here.tuner.mode) == (0, 0, "observe")


def test_enable_and_disable_change_the_mode(here: Terminal) -> None:
    assert here.order("enable", mode="suggest").message == "mode active -> suggest"
    assert here.report() is Action.SUGGESTED
    assert here.order("disable").message == "mode suggest -> observe"
    assert here.report() is Action.OBSERVED
    assert here.order("enable").message == "mode observe -> active"
    assert here.report() is Action.APPLIED
    modes = [(event.old, event.new, event.by) for event in here.events(ModeChanged)]
    assert modes == [
        ("active", "suggest", "command"),
        ("suggest", "observe", "command"),
        ("observe", "active", "command"),
    ]


def test_disable_puts_an_open_change_back_first(here: Terminal) -> None:
    opened_change(here)
    here.order("disable")
    assert here.values() == UNTOUCHED
    kinds = [type(event) for event in here.events()][-3:]
    assert kinds == [Command, RolledBack, ModeChanged]


def test_a_pause_lasts_until_it_is_over_or_resumed(here: Terminal) -> None:
    assert here.order("pause", decisions=2).message == "not paused -> paused through decision 2"
    assert [here.report() for _ in range(2)] == [Action.PAUSED] * 2
    assert here.report() is Action.APPLIED
    here.order("pause")
    for _ in range(12):
        here.report()
    assert here.report() is Action.PAUSED
    assert here.order("resume").message == "paused until resumed -> not paused"
    assert here.report() is Action.APPLIED
    pauses = [(event.decisions, event.reasons) for event in here.events(Paused)]
    assert pauses == [(2, (Reason.OPERATOR,)), (None, (Reason.OPERATOR,))]
    assert [event.by for event in here.events(Unpaused)] == ["count", "command"]


def test_what_is_set_is_shown_and_acts_and_the_recipe_as_used_stays(here: Terminal) -> None:
    written = (here.run_dir / "recipe.yaml").read_text()
    answer = here.order("set", changes={"acceptance.epsilon": 0.9, "search.joint": True})
    assert answer.message == "acceptance.epsilon 0.001 -> 0.9, search.joint False -> True"
    assert here.tuner.recipe.acceptance.epsilon == 0.9
    here.report(1.0)
    assert len(here.events(Applied)[-1].changes) == 2
    assert here.report(0.5) in (Action.REJECTED, Action.APPLIED)
    assert not here.events(Accepted), "a gain of .5 is not above .9"
    assert (here.run_dir / "recipe.yaml").read_text() == written


def test_of_several_changes_all_are_set_or_none(here: Terminal) -> None:
    answer = here.order("set", changes={"search.joint": True, "acceptance.epsilon": -1.0})
    assert not answer.accepted
    assert answer.message.startswith("acceptance.epsilon: must be finite and >= 0")
    assert here.tuner.recipe == Recipe.from_dict(RECIPE)
    refused = here.order("set", changes={"safety.block_on_nan": False})
    assert "safety.block_on_nan: cannot be set while a run is live" in refused.message
    assert here.tuner.recipe == Recipe.from_dict(RECIPE)


def test_what_is_set_survives_the_process(tmp_path: Path) -> None:
    first = Terminal(tmp_path / "run")
    first.order("set", changes={"acceptance.epsilon": 0.9})
    first.order("pin", family="opt.lr")
    state = json.loads(json.dumps(first.tuner.state_dict()))
    first.die()
    second = Terminal(tmp_path / "run", resume=True)
    assert second.tuner.recipe.acceptance.epsilon == 0.001
    with second.tuner:
        second.tuner.load_state_dict(state)
        assert second.tuner.recipe.acceptance.epsilon == 0.9
        for _ in range(8):
            second.report()
        assert second.order("set", changes={"acceptance.epsilon": 0.5}).message == (
            "acceptance.epsilon 0.9 -> 0.5"
        )
    moved = {c.family for event in second.events(Proposed) for c in event.changes}
    assert moved == {"loss.aux"}, "and so does a pin"


def test_a_pinned_knob_is_not_proposed_any_more(here: Terminal) -> None:
    assert here.order("pin", family="opt.lr").message == "opt.lr -> pinned at 1"
    for _ in range(12):
        here.report()
    assert {c.family for e in here.events(Proposed) for c in e.changes} == {"loss.aux"}
    assert here.order("unpin", family="opt.lr").message == "opt.lr pinned -> not pinned"
    for _ in range(12):
        here.report()
    assert {c.family for e in here.events(Proposed) for c in e.changes} == set(UNTOUCHED)


def test_pinning_a_knob_that_is_being_judged_puts_it_back_first(here: Terminal) -> None:
    change = opened_change(here)
    here.order("pin", family=change.family)
    assert here.values() == UNTOUCHED
    assert here.tuner._session.state.pending is None


@pytest.mark.parametrize("before", ["observe", "suggest", "active", "paused", "off"])
def test_a_move_by_hand_is_made_in_every_mode_but_off(before: str, tmp_path: Path) -> None:
    mode = "active" if before == "paused" else before
    if before == "off":
        tuner = Tuner([FakeKnob("opt.lr")], recipe=RECIPE | {"actuators": {}}, mode="off")
        assert tuner.run_dir is None, "nobody can steer a run that writes nothing"
        return
    here = Terminal(tmp_path / "run", mode=mode)
    if before == "paused":
        here.order("pause")
    answer = here.order("apply", moves={"opt.lr": 5, "loss.aux": 0.25})
    assert answer.message == "opt.lr 1 -> 5, loss.aux 1 -> 0.25"
    assert here.values() == {"opt.lr": 5.0, "loss.aux": 0.25}, "further than max_step, in bounds"
    proposed, intent, applied, accepted = here.events()[-4:]
    assert isinstance(proposed, Proposed)
    assert proposed.source == "human"
    assert isinstance(intent, Intent)
    assert isinstance(applied, Applied)
    assert isinstance(accepted, Accepted)
    assert intent.changes == applied.changes == accepted.changes == proposed.changes
    assert intent.id == f"0:opt.lr+loss.aux@{answer.id}"
    here.tuner.close()
    assert {name: knob.value for name, knob in here.knobs.items()} == {
        "opt.lr": 5.0,
        "loss.aux": 0.25,
    }, "it was kept; closing does not put it back"


def test_a_move_by_hand_first_puts_back_what_is_being_judged(here: Terminal) -> None:
    change = opened_change(here)
    other = next(family for family in UNTOUCHED if family != change.family)
    answer = here.order("apply", moves={other: 3.0})
    assert answer.accepted
    assert here.values() == {change.family: 1.0, other: 3.0}
    kinds = [type(event) for event in here.events()][-6:]
    assert kinds == [Command, RolledBack, Proposed, Intent, Applied, Accepted]
    (back,) = here.events(RolledBack)
    assert back.reasons == (Reason.OPERATOR,)
    assert here.tuner._session.state.pending is None


@pytest.mark.parametrize("moves", [{"opt.lr": 11.0}, {"opt.lr": 2.0, "loss.aux": 0.01}, {}])
def test_a_move_out_of_bounds_is_refused_and_nothing_is_put_back(
    moves: dict[str, float], here: Terminal
) -> None:
    opened_change(here)
    before = here.values()
    answer = here.order("apply", moves=moves)
    assert not answer.accepted
    assert here.values() == before
    assert here.tuner._session.state.pending is not None
    assert isinstance(here.events()[-1], Command)


def test_accept_keeps_and_reject_undoes_what_is_being_judged(here: Terminal) -> None:
    kept = opened_change(here)
    assert here.order("accept").message.endswith(": kept")
    assert here.values() == UNTOUCHED | {kept.family: kept.new}
    assert not here.order("accept").accepted
    here.report(1.0)
    assert here.order("reject").accepted
    assert here.values() == UNTOUCHED | {kept.family: kept.new}
    refused = here.order("reject")
    assert refused.message.startswith("reject: no change is being judged now")


def test_rejects_by_hand_count_towards_the_pause(tmp_path: Path) -> None:
    safety = {"max_global_reject_streak": 2, "pause_decisions": 5, "global_cooldown": 0}
    here = Terminal(tmp_path / "run", recipe={**RECIPE, "safety": safety})
    with here.tuner:
        for _ in range(2):
            opened_change(here)
            here.order("reject")
        assert [(e.decisions, e.reasons) for e in here.events(Paused)] == [(5, (Reason.OPERATOR,))]
        assert here.report() is Action.PAUSED


def test_rollback_undoes_the_last_change_then_the_one_before(here: Terminal) -> None:
    here.order("apply", moves={"opt.lr": 2.0})
    here.order("apply", moves={"loss.aux": 3.0})
    assert here.order("rollback").message == "loss.aux 3 -> 1"
    assert here.values() == {"opt.lr": 2.0, "loss.aux": 1.0}


def test_rollback_of_an_open_change_is_its_end(here: Terminal) -> None:
    opened_change(here)
    here.order("rollback")
    assert here.values() == UNTOUCHED
    assert isinstance(here.events()[-1], RolledBack)


def test_rollback_to_a_decision_gives_the_values_after_it(here: Terminal) -> None:
    points = {0: dict(UNTOUCHED)}
    for number in range(1, 9):
        here.report(1.0 / number)
        points[number] = here.values()
    for to in (3, 7, 0, 5):
        answer = here.order("rollback", to=to)
        assert answer.accepted
        assert here.values() == points[to]
    assert not here.order("rollback", to=9).accepted
    assert not here.order("rollback", to=-1).accepted


@pytest.mark.parametrize(
    ("verb", "arguments", "message"),
    [
        ("enabel", {}, "verb: is unknown, got 'enabel'; did you mean 'enable'"),
        ("enable", {"mode": "replay"}, "mode: this run was not made to replay another"),
        ("pin", {"family": "opt.lrr"}, "opt.lrr: no such knob; did you mean 'opt.lr'"),
        ("apply", {"moves": {"opt.lr": "much"}}, "opt.lr=much: refused (bad value)"),
        ("pause", {"decisions": 0}, "decisions: must be >= 1"),
    ],
)
def test_a_refused_command_is_answered_logged_and_changes_nothing(
    verb: str, arguments: dict[str, Any], message: str, here: Terminal
) -> None:
    before = here.tuner.state_dict()
    answer = here.order(verb, **arguments)
    assert not answer.accepted
    assert answer.message.startswith(message)
    (command,) = here.events(Command)
    assert (command.accepted, command.message) == (False, answer.message)
    after = here.tuner.state_dict()
    assert after["kernel"] == before["kernel"]
    assert here.values() == UNTOUCHED


# --- at most once ---------------------------------------------------------------------------------


def test_a_command_after_the_checkpoint_is_not_done_again(tmp_path: Path) -> None:
    first = Terminal(tmp_path / "run")
    first.report(1.0)
    state = first.tuner.state_dict()
    ident = first.send("apply", moves={"opt.lr": 5.0})
    body = (first.run_dir / names.COMMANDS / f"{ident}.json").read_bytes()
    first.train()
    assert first.tuner.values["opt.lr"] == 5.0
    first.die()
    second = Terminal(tmp_path / "run", resume=True)
    second.put(ident, body)  # what a loss of power may bring back
    with second.tuner:
        second.tuner.load_state_dict(state)
        before = second.values()
        second.train(2 * POLL)
        assert second.values() == before
        answer = second.answer(ident)
    assert answer is not None
    assert (answer.accepted, answer.message) == (False, AGAIN)


def test_a_command_that_nobody_has_seen_waits_for_the_resumed_run(tmp_path: Path) -> None:
    first = Terminal(tmp_path / "run")
    state = first.tuner.state_dict()
    first.die()
    ident = first.send("apply", moves={"opt.lr": 5.0})
    second = Terminal(tmp_path / "run", resume=True)
    with second.tuner:
        assert second.answer(ident) is None
        second.tuner.load_state_dict(state)
        second.train()
        assert second.values()["opt.lr"] == 5.0
    assert [event.id for event in second.events(Command)] == [ident]


@pytest.mark.parametrize("began", ["active", "suggest", "replay"])
def test_a_run_that_was_disabled_stays_so_when_it_is_resumed(began: str, tmp_path: Path) -> None:
    replay = None
    if began == "replay":
        earlier = Terminal(tmp_path / "earlier")
        earlier.report(1.0)
        earlier.tuner.close()
        replay = tmp_path / "earlier"
    first = Terminal(tmp_path / "run", mode=began, replay=replay)
    first.order("disable")
    state = first.tuner.state_dict()
    first.die()
    second = Terminal(tmp_path / "run", mode=began, replay=replay, resume=True)
    with second.tuner:
        second.tuner.load_state_dict(state)
        assert second.tuner.mode == "observe"


def test_a_file_that_is_dropped_twice_is_done_once(here: Terminal) -> None:
    body = b'{"verb": "apply", "arguments": {"moves": {"opt.lr": 5.0}}}'
    here.put("1-a", body)
    here.train()
    here.order("apply", moves={"opt.lr": 2.0})
    here.put("1-a", body)
    here.train()
    assert here.values()["opt.lr"] == 2.0


def test_commands_are_done_in_the_order_in_which_they_were_sent(here: Terminal) -> None:
    for move in (2.0, 3.0, 4.0):
        here.send("apply", moves={"opt.lr": move})
    here.train()
    assert [event.changes[0].new for event in here.events(Applied)] == [2.0, 3.0, 4.0]


# --- when something fails -------------------------------------------------------------------------


def test_without_a_log_nothing_is_done(tmp_path: Path) -> None:
    disk = MemoryDisk()
    here = Terminal(tmp_path / "run", file_system=disk)
    disk.break_for_ever("sync")
    orders: list[tuple[str, dict[str, Any]]] = [
        ("apply", {"moves": {"opt.lr": 5.0}}),
        ("set", {"changes": {"acceptance.epsilon": 0.5}}),
        ("pin", {"family": "opt.lr"}),
        ("disable", {}),
    ]
    before = here.tuner.state_dict()["kernel"]
    for verb, arguments in orders:
        answer = here.order(verb, **arguments)
        assert not answer.accepted
        assert "the log cannot be written" in answer.message
    assert here.tuner.state_dict()["kernel"] | {"log_failed": False} == before
    assert here.values() == UNTOUCHED
    assert here.tuner.mode == "active"


@pytest.mark.parametrize("call", ["apply", "read", "snapshot", "validate"])
def test_a_knob_that_fails_is_put_back_and_left_alone(call: str, here: Terminal) -> None:
    here.knobs["opt.lr"].fails = {call}
    answer = here.order("apply", moves={"loss.aux": 2.0, "opt.lr": 2.0})
    assert not answer.accepted
    assert "opt.lr: " in answer.message
    assert "is broken" in answer.message
    here.knobs["opt.lr"].fails = set()
    assert here.values() == UNTOUCHED, "all or nothing"
    assert here.events(Failed)[0].families == ("loss.aux", "opt.lr") or call == "read"
    assert "quarantined" in here.order("apply", moves={"opt.lr": 2.0}).message
    assert here.order("apply", moves={"loss.aux": 2.0}).accepted


def test_failures_during_a_command_follow_the_recipes_policy(tmp_path: Path) -> None:
    recipe = {**RECIPE, "safety": {"on_error": "disable"}}
    with Terminal(tmp_path / "run", recipe=recipe).tuner as tuner:
        (tuner.actuators[0]).fails = {"apply"}  # type: ignore[attr-defined]
        assert tuner.run_dir is not None
        control.send(Disk(), tuner.run_dir, "apply", {"moves": {"opt.lr": 2.0}})
        for _ in range(POLL):
            tuner.step()
        assert tuner.mode == "observe"


@pytest.mark.parametrize("freeze", [b'{"freeze": "production"}', b"garbage", b"[]", b"\xff"])
def test_a_frozen_run_takes_no_orders(freeze: bytes, here: Terminal) -> None:
    here.disk.replace(here.run_dir / names.FREEZE, freeze)
    answer = here.order("apply", moves={"opt.lr": 2.0})
    assert not answer.accepted
    assert "frozen" in answer.message
    assert here.values() == UNTOUCHED
    control.freeze(Disk(), here.run_dir, on=False)
    assert here.order("apply", moves={"opt.lr": 2.0}).accepted


def test_what_waits_when_the_run_ends_is_refused(here: Terminal) -> None:
    ident = here.send("apply", moves={"opt.lr": 2.0})
    here.tuner.close()
    answer = here.answer(ident)
    assert answer is not None
    assert (answer.accepted, answer.message) == (False, "the run has ended")
    assert here.values() == UNTOUCHED
    assert not here.disk.names(here.run_dir / names.COMMANDS)


def test_a_file_that_cannot_be_read_does_not_shut_the_others_out(here: Terminal) -> None:
    (here.run_dir / names.COMMANDS / "0.json").mkdir(parents=True)
    assert here.order("apply", moves={"opt.lr": 2.0}).accepted


def test_a_file_with_an_impossible_name_hurts_nobody(here: Terminal) -> None:
    here.put("\udcff", b'{"verb": "pause", "arguments": {}}')
    here.train()
    assert here.tuner.log_ok
    assert here.order("apply", moves={"opt.lr": 2.0}).accepted


leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
branch = st.lists(leaf, max_size=2) | st.dictionaries(st.text(max_size=4), leaf, max_size=2)
plain = leaf | branch | st.lists(branch, max_size=2)
bodies = st.binary(max_size=40) | st.fixed_dictionaries(
    {
        "verb": st.sampled_from([*VERBS, "", "status"]) | plain,
        "arguments": st.dictionaries(
            st.sampled_from(["mode", "family", "moves", "changes", "decisions", "to", ""]),
            plain | st.sampled_from(["opt.lr", "active"]) | st.just({"opt.lr": 99.0}),
        ),
    }
).map(lambda body: json.dumps(body).encode())


@given(st.lists(bodies, min_size=1, max_size=6))
def test_garbage_raises_nowhere_and_moves_no_knob(drawn: list[bytes]) -> None:
    here = Terminal(Path("run"), file_system=MemoryDisk(), mode="observe")
    with here.tuner:
        for number, data in enumerate(drawn):
            here.put(f"{number}-a", data)
        here.train()
        here.tuner.set_mode("observe")  # enabling is no garbage
        here.report(1.0)
        assert here.tuner.log_ok
        assert here.values() == UNTOUCHED
        for number in range(len(drawn)):
            assert here.answer(f"{number}-a") is not None
        assert {event.id for event in here.events(Command)} == {f"{n}-a" for n in range(len(drawn))}


# --- what is shown --------------------------------------------------------------------------------


def shown(here: Terminal) -> Any:
    return json.loads(here.disk.read(here.run_dir / "summary.json"))


@pytest.mark.parametrize("fails", [False, True])
def test_the_summary_says_what_the_log_says_after_every_report_and_command(
    fails: bool, tmp_path: Path
) -> None:
    recipe = {**RECIPE, "safety": {**RECIPE["safety"], "on_error": "disable"}}
    here = Terminal(tmp_path / "run", recipe=recipe)
    with here.tuner:
        for number in range(14):
            here.train(5)
            if number == 6:
                here.send("pin", family="opt.lr")
            if number == 10:
                here.knobs["loss.aux"].fails = {"apply"} if fails else set()
            here.report()
            assert shown(here) == to_plain(summarize(read_events(here.run_dir)))
        here.order("unpin", family="opt.lr")
        assert shown(here) == to_plain(summarize(read_events(here.run_dir)))
    assert shown(here) == to_plain(summarize(read_events(here.run_dir)))
    assert shown(here)["closed"]


def test_the_recipe_as_used_is_written_once(tmp_path: Path) -> None:
    here = Terminal(tmp_path / "run")
    path = here.run_dir / "recipe.yaml"
    assert Recipe.load(path) == Recipe.from_dict(RECIPE)
    path.write_text(f"# a note\n{path.read_text()}")
    state = here.tuner.state_dict()
    here.tuner.close()
    again = Terminal(tmp_path / "run", resume=True)
    with again.tuner:
        again.tuner.load_state_dict(state)
    assert path.read_text().startswith("# a note\n")


def test_a_recipe_in_the_run_directory_is_picked_up(tmp_path: Path) -> None:
    first = Terminal(tmp_path / "one")
    first.tuner.close()
    for name in ("two", "three"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.yaml").write_bytes((first.run_dir / "recipe.yaml").read_bytes())
    second = Terminal(tmp_path / "two", recipe=None)
    with second.tuner:
        assert second.tuner.recipe == Recipe.from_dict(RECIPE)
    with Terminal(tmp_path / "three", recipe=None, mode="suggest").tuner as tuner:
        assert tuner.mode == "suggest"
        assert tuner.recipe.acceptance.reference == "last"


@pytest.mark.parametrize(
    "chosen",
    [
        {"recipe": {**RECIPE, "mode": "active", "acceptance": {}}},
        {"recipe": None, "objective": "x"},
    ],
    ids=["recipe", "shorthand"],
)
def test_a_recipe_that_contradicts_the_directory_is_refused(
    chosen: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    Recipe.from_dict(RECIPE).save(tmp_path / "run" / "recipe.yaml")
    with pytest.raises(RecipeError, match=r"holds a recipe\.yaml that says something else"):
        Terminal(tmp_path / "run", **chosen)
    assert not (tmp_path / "run" / EVENTS).exists()


def test_a_recipe_in_the_directory_that_is_wrong_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text("safety: {patience: 0}")
    with pytest.raises(RecipeError, match=r"run/recipe\.yaml'?: safety\.patience: must be >= 1"):
        Terminal(tmp_path / "run", recipe=None)


# --- earlier runs ---------------------------------------------------------------------------------

GP: dict[str, Any] = {
    **RECIPE,
    "search": {"startup_trials": 2},
    "acceptance": {"probability": 0.6},
}


def count(tuner: Tuner) -> tuple[int, int]:
    state = tuner.state_dict()["proposer"]
    return len(state["observations"]), state["trials"]


def proposed(here: Terminal, decisions: int = 7) -> list[Any]:
    for _ in range(decisions):
        here.train(4)
        here.report()
    return [event.changes for event in here.events(Proposed)]


def test_what_earlier_runs_measured_is_known_from_the_start_and_counts_once(
    tmp_path: Path,
) -> None:
    earlier = Terminal(tmp_path / "earlier", recipe=GP)
    proposed(earlier, 16)
    earlier.tuner.close()
    plain = Terminal(tmp_path / "plain", recipe=GP)
    assert count(plain.tuner) == (0, 0)
    without = proposed(plain)
    plain.tuner.close()
    search = {**GP["search"], "prior_runs": [str(tmp_path / "earlier")]}
    recipe = {**GP, "search": search}
    informed = Terminal(tmp_path / "run", recipe=recipe)
    known = count(informed.tuner)
    assert known[0] == known[1] > 5
    assert proposed(informed) != without
    assert {event.source for event in informed.events(Proposed)} == {"gp"}, "no start-up trials"
    here = count(informed.tuner)
    state = informed.tuner.state_dict()
    informed.tuner.register(FakeKnob("loss.aux2"))
    assert count(informed.tuner) == here
    informed.die()
    shutil.rmtree(tmp_path / "earlier")  # all that it taught is in the checkpoint
    resumed = Terminal(tmp_path / "run", recipe=recipe, resume=True)
    with resumed.tuner:
        resumed.tuner.load_state_dict(state)
        assert count(resumed.tuner) == here


def test_a_run_with_earlier_runs_opens_with_their_names(tmp_path: Path) -> None:
    earlier = Terminal(tmp_path / "earlier", recipe=GP)
    earlier.tuner.close()
    search = {**GP["search"], "prior_runs": [str(tmp_path / "earlier")]}
    here = Terminal(tmp_path / "run", recipe={**GP, "search": search})
    here.tuner.close()
    (opened,) = here.events(Opened)
    assert opened.recipe["search"]["prior_runs"] == [str(tmp_path / "earlier")]
    with pytest.raises(RecipeError, match=r"^search\.prior_runs\[0\]: 'nowhere' holds no"):
        Terminal(tmp_path / "x", recipe={**GP, "search": {"prior_runs": ["nowhere"]}})
    assert not (tmp_path / "x").exists()
