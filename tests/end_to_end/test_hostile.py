"""What comes from outside, checkpoints and files, never leads where the recipe does not."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gptune
from gptune.cli import main
from gptune.errors import GptuneError, RecipeError, StateError
from gptune.events import Blocked, Rewind
from gptune.recipe.recorded import read_movements
from gptune.run_directory import control, names
from gptune.run_directory.event_log import read_events
from gptune.run_directory.file_system import Disk
from gptune.run_directory.summary import summarize
from tests.doubles import FakeKnob

MOVES: dict[str, Any] = {"bounds": [0.1, 10.0], "max_step": 2.0, "cooldown": 0}
RECIPE: dict[str, Any] = {
    "actuators": {"loss": {"keys": {"aux": MOVES}}},
    "search": {"algorithm": "random", "startup_trials": 0},
    "acceptance": {"reference": "last"},
    "safety": {"global_cooldown": 0, "max_global_reject_streak": 99},
}


def run_with_an_open_change(directory: Path) -> dict[str, Any]:
    """Train until a change is open, checkpoint, and die."""
    tuner = gptune.Tuner([FakeKnob("loss.aux")], recipe=RECIPE, run_dir=directory)
    for step in range(9):
        tuner.step()
        if str(tuner.report({"val/loss": 1.0 / (step + 1)}).verdict) == "applied":
            break
    state = tuner.state_dict()
    assert state["kernel"]["pending"] is not None
    assert tuner._session.log is not None
    tuner._session.log.close()
    return state


def resumed(directory: Path, knob: FakeKnob) -> gptune.Tuner:
    return gptune.Tuner([knob], recipe=RECIPE, run_dir=directory, resume=True)


def kernel(state: dict[str, Any], **changes: Any) -> None:
    state["kernel"].update(changes)


TAMPERED: dict[str, Callable[[dict[str, Any]], object]] = {
    "open change out of bounds": lambda s: s["kernel"]["pending"]["changes"][0].update(new=1e6),
    "and the point with it": lambda s: (
        s["kernel"]["pending"]["changes"][0].update(new=1e6),
        s["kernel"]["point"].update({"loss.aux": 1e6}),
    ),
    "open change that is not in force": lambda s: s["kernel"]["point"].update({"loss.aux": 1.01}),
    "no number": lambda s: s["kernel"]["point"].update({"loss.aux": "fast"}),
    "a decision before the first": lambda s: kernel(s, decision=-5),
    "steps before the first": lambda s: s.update(steps=-1),
    "a replay of nothing": lambda s: kernel(s, mode="replay"),
    "a brake taken off": lambda s: kernel(s, overrides={"safety.block_on_nan": False}),
    "a wrong override": lambda s: kernel(s, overrides={"acceptance.epsilon": -1.0}),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_a_checkpoint_that_was_tampered_with_is_refused_and_moves_nothing(
    what: str, tmp_path: Path
) -> None:
    state = run_with_an_open_change(tmp_path / "run")
    TAMPERED[what](state)
    knob = FakeKnob("loss.aux")
    tuner = resumed(tmp_path / "run", knob)
    with pytest.raises(StateError, match=r"^state_dict: "):
        tuner.load_state_dict(state)
    assert knob.value == 1.0
    assert not any(isinstance(line.event, Rewind) for line in read_events(tmp_path / "run"))
    tuner.close()


@pytest.mark.parametrize("call", ["read", "snapshot", "validate", "apply"])
def test_a_knob_that_cannot_be_put_back_is_named_and_nothing_is_changed(
    call: str, tmp_path: Path
) -> None:
    state = run_with_an_open_change(tmp_path / "run")
    knob = FakeKnob("loss.aux", fails=set())
    tuner = resumed(tmp_path / "run", knob)
    knob.fails.add(call)
    with pytest.raises(StateError, match=r"loss\.aux cannot be put to .* as they were"):
        tuner.load_state_dict(state)
    knob.fails.clear()
    assert knob.value == tuner.values["loss.aux"] == 1.0
    assert not any(isinstance(line.event, Rewind) for line in read_events(tmp_path / "run"))
    tuner.load_state_dict(state)  # once it is mended, the run goes on
    assert knob.value == tuner.values["loss.aux"] != 1.0
    tuner.close()


def test_a_file_as_big_as_the_disk_is_refused_unread(tmp_path: Path) -> None:
    with gptune.Tuner([FakeKnob("loss.aux")], recipe=RECIPE, run_dir=tmp_path / "run") as tuner:
        place = tmp_path / "run" / names.COMMANDS
        place.mkdir()
        for name in (place / "0.json", tmp_path / "run" / names.FREEZE):
            name.touch()
            os.truncate(name, 1 << 42)
        tuner.report({"val/loss": 1.0})
        assert not (place / "0.json").exists()
        answer = control.read_answer(Disk(), tmp_path / "run", "0")
        assert answer is not None
        assert not answer.accepted


class FailsOnce(FakeKnob):
    """A knob whose first change fails."""

    def apply(self, value: Any) -> None:
        first = not any(call == "apply" for call, _ in self.calls)
        super().apply(value)
        if first:
            raise RuntimeError("not yet")


def recorded(directory: Path) -> None:
    with gptune.Tuner([FakeKnob("loss.aux")], recipe=RECIPE, run_dir=directory) as tuner:
        for step in range(40):
            tuner.step()
            tuner.report({"val/loss": 1.0 / (step + 1)})


def replaying(tmp_path: Path, knob: FakeKnob) -> gptune.Tuner:
    return gptune.Tuner(
        [knob], recipe=RECIPE, run_dir=tmp_path / "two", mode="replay", replay=tmp_path / "one"
    )


def test_a_replay_leaves_a_knob_alone_that_failed(tmp_path: Path) -> None:
    recorded(tmp_path / "one")
    knob = FailsOnce("loss.aux")
    with replaying(tmp_path, knob) as tuner:
        for _ in range(40):
            tuner.step()
    assert [call for call, _ in knob.calls].count("apply") == 1
    blocked = [line.event for line in read_events(tmp_path / "two")]
    assert any(isinstance(event, Blocked) for event in blocked)


@pytest.mark.parametrize("verb", ["pin", "pause"])
def test_a_replay_moves_nothing_that_an_operator_holds(verb: str, tmp_path: Path) -> None:
    recorded(tmp_path / "one")
    knob = FakeKnob("loss.aux")
    with replaying(tmp_path, knob) as tuner:
        arguments = {"family": "loss.aux"} if verb == "pin" else {}
        control.send(Disk(), tmp_path / "two", verb, arguments)
        tuner.report({"val/loss": 1.0})
        for _ in range(40):
            tuner.step()
        assert knob.value == 1.0


def test_a_replay_that_was_disabled_goes_on_when_it_is_enabled(tmp_path: Path) -> None:
    recorded(tmp_path / "one")
    with replaying(tmp_path, FakeKnob("loss.aux")) as tuner:
        for verb, mode in (("disable", "observe"), ("enable", "replay")):
            control.send(Disk(), tmp_path / "two", verb, {})
            tuner.report({"val/loss": 1.0})
            assert tuner.mode.value == mode
        tuner.set_mode("observe")
        tuner.set_mode("replay")
        assert tuner.mode.value == "replay"


def test_a_command_says_so_when_what_was_open_could_not_be_put_back(tmp_path: Path) -> None:
    knob = FakeKnob("loss.aux")
    with gptune.Tuner([knob], recipe=RECIPE, run_dir=tmp_path / "run") as tuner:
        while tuner._session.state.pending is None:
            tuner.step()
            tuner.report({"val/loss": 1.0})
        knob.fails.add("restore")
        ident = control.send(Disk(), tmp_path / "run", "disable", {})
        tuner._service.serve()
        answer = control.read_answer(Disk(), tmp_path / "run", ident)
        knob.fails.clear()
    assert answer is not None
    assert not answer.accepted
    assert answer.message.startswith("mode active -> observe; but what was open could not be put")


def test_no_knob_is_moved_by_hand_while_the_mode_is_off(tmp_path: Path) -> None:
    knob = FakeKnob("loss.aux")
    with gptune.Tuner([knob], recipe=RECIPE, run_dir=tmp_path / "run") as tuner:
        tuner.set_mode("off")
        ident = control.send(Disk(), tmp_path / "run", "apply", {"moves": {"loss.aux": 5.0}})
        for _ in range(64):
            tuner.step()
        answer = control.read_answer(Disk(), tmp_path / "run", ident)
        assert answer is not None
        assert (answer.accepted, knob.value) == (False, 1.0)
        assert "mode: is off" in answer.message


@pytest.mark.parametrize("given", [0, False, [], (), "", 3.5])
def test_what_is_no_recipe_is_not_taken_for_the_default(given: Any, tmp_path: Path) -> None:
    with pytest.raises(GptuneError, match=r"recipe|\.yaml"):
        gptune.Tuner([FakeKnob("loss.aux")], recipe=given, run_dir=tmp_path / "run")


@pytest.mark.parametrize("given", [3, "a\0b", b"runs", ["runs"]])
def test_what_is_no_run_is_not_replayed(given: Any, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"^replay: "):
        gptune.Tuner([FakeKnob("loss.aux")], run_dir=tmp_path / "run", mode="replay", replay=given)


SURROGATES: list[dict[str, Any]] = [
    {"objective": {"primary": "\ud800"}},
    {"objective": {"backup_metrics": ["ok", "\udfff"]}},
    {"safety": {"on_error": "\ud800"}},
    {"safety": {"warmup": "\ud800"}},
    {"actuators": {"\ud800": {}}},
    {"search": {"prior_runs": ["\ud800"]}},
]


@pytest.mark.parametrize("data", SURROGATES, ids=ascii)
def test_text_that_cannot_be_written_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        gptune.Recipe.from_dict(data)


def test_a_deep_line_is_no_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run.mkdir()
    deep = b'{"v": 1, "kind": "opened", "recipe": ' + b'{"a":' * 5000 + b"1" + b"}" * 5001
    (run / names.EVENTS).write_bytes(deep + b"\n")
    for verb in (["log"], ["explain", "1"], ["export", "--mutations"], ["status"]):
        assert main(["--dir", str(run), *verb]) == 2
        assert "gptune: " in capsys.readouterr().err


def test_a_run_resumed_elsewhere_says_where_its_knobs_stood(tmp_path: Path) -> None:
    calm = {**RECIPE, "search": {"algorithm": "none"}}

    def order(run: str, move: float, tuner: gptune.Tuner) -> None:
        control.send(Disk(), tmp_path / run, "apply", {"moves": {"loss.aux": move}})
        tuner.report({"val/loss": 1.0})

    with gptune.Tuner([FakeKnob("loss.aux")], recipe=calm, run_dir=tmp_path / "one") as first:
        order("one", 4.0, first)
        state = first.state_dict()
    knob = FakeKnob("loss.aux")
    with gptune.Tuner([knob], recipe=calm, run_dir=tmp_path / "two") as second:
        second.load_state_dict(state)
        assert knob.value == second.values["loss.aux"] == 4.0
        order("two", 2.5, second)
    rows = read_movements(tmp_path / "two")
    assert [(row.old, row.new) for row in rows] == [(1.0, 4.0), (4.0, 2.5)]
    summary = summarize(read_events(tmp_path / "two"))
    assert (summary.point, summary.judged) == ({"loss.aux": 2.5}, 0)
    with replaying_of(tmp_path, "two", again := FakeKnob("loss.aux")) as third:
        third.step()
        assert again.value == 2.5


def replaying_of(tmp_path: Path, run: str, knob: FakeKnob) -> gptune.Tuner:
    return gptune.Tuner(
        [knob], recipe=RECIPE, run_dir=tmp_path / "again", mode="replay", replay=tmp_path / run
    )


def test_reading_what_is_no_file_leaves_no_handle_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with pytest.raises(OSError, match="is not a file"):
            Disk().read(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_falls_due_while_a_replay_is_off_is_written_down(tmp_path: Path) -> None:
    recorded(tmp_path / "one")
    with replaying(tmp_path, FakeKnob("loss.aux")) as tuner:
        tuner.set_mode("observe")
        for _ in range(40):
            tuner.step()
    reasons = [
        reason
        for line in read_events(tmp_path / "two")
        if isinstance(line.event, Blocked)
        for reason in line.event.reasons
    ]
    assert "left_replay" in reasons
