"""The verbs that steer: from the words of a command line to the answer of a live run."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gptune
from gptune.cli import main
from gptune.events import Command
from gptune.run_directory import control, names
from gptune.run_directory.event_log import read_events
from gptune.run_directory.file_system import Disk
from tests.doubles import FakeKnob
from tests.test_gates import HEAVY, loaded_after

RECIPE: dict[str, Any] = {
    "actuators": {"loss": {"keys": {"aux": {"mode": "mult", "bounds": [0.1, 10.0]}}}},
    "search": {"algorithm": "none"},
}


class Live:
    """A run in a thread of its own: it only counts steps, and can be steered meanwhile."""

    def __init__(self, directory: Path) -> None:
        self.knob = FakeKnob("loss.aux")
        self.tuner = gptune.Tuner([self.knob], recipe=RECIPE, run_dir=directory)
        self.directory = directory
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            self.tuner.step()
            time.sleep(1e-5)
        self.tuner.close()

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def state(self) -> tuple[Any, ...]:
        tuner = self.tuner
        return tuner.recipe, tuner.mode, tuner.values, self.knob.value, tuner._session.state


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    run = Live(tmp_path_factory.mktemp("live") / "run")
    yield run
    run.end()


def steer(live: Live, *words: str) -> int:
    return main(["--dir", str(live.directory), *words, "--wait"])


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    gptune.Tuner([FakeKnob("loss.aux")], run_dir=tmp_path / "run").close()
    return tmp_path / "run"


GOOD = [
    (["enable", "--mode", "suggest"], "mode active -> suggest"),
    (["disable"], "mode suggest -> observe"),
    (["enable"], "mode observe -> active"),
    (["pause"], "not paused -> paused until resumed"),
    (["resume"], "paused until resumed -> not paused"),
    (["pause", "--decisions", "2"], "not paused -> paused through decision 2"),
    (["resume"], "paused through decision 2 -> not paused"),
    (
        ["set", "acceptance.epsilon=2e-3", "safety.warmup=1"],
        "epsilon 0.001 -> 0.002, safety",
    ),
    (["set", "safety.start_below=~"], "safety.start_below None -> None"),
    (["pin", "loss.aux"], "loss.aux -> pinned at 1"),
    (["unpin", "loss.aux"], "loss.aux pinned -> not pinned"),
    (["apply", "loss.aux=2"], "loss.aux 1 -> 2"),
    (["apply", "loss.aux=.5"], "loss.aux 2 -> 0.5"),
    (["rollback"], "loss.aux 0.5 -> 2"),
    (["rollback", "--to", "0"], "every knob is there already"),
]


def test_every_verb_prints_the_step_and_old_and_new_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Live(tmp_path / "run")
    try:
        for words, message in GOOD:
            assert steer(run, *words) == 0, words
            out = capsys.readouterr().out
            assert out.startswith("done at step "), words
            assert message in out
    finally:
        run.end()
    commands = [
        line.event for line in read_events(run.directory) if isinstance(line.event, Command)
    ]
    assert [command.verb for command in commands] == [words[0] for words, _ in GOOD]
    assert all(command.accepted for command in commands)


def test_json_is_one_object(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    assert steer(live, "resume", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer.keys() == {"id", "accepted", "message", "decision", "step"}
    assert (answer["accepted"], answer["message"]) == (True, "not paused -> not paused")


def test_without_wait_a_command_is_sent_and_done_all_the_same(
    live: Live, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["resume", str(live.directory), "--json"]) == 0
    sent = json.loads(capsys.readouterr().out)
    assert sent["sent"] is True
    for _ in range(500):
        if answer := control.read_answer(Disk(), live.directory, sent["id"]):
            break
        time.sleep(0.01)
    assert answer is not None
    assert answer.accepted


# The words after the verb's run; what the message must name.
BAD: list[tuple[list[str], str]] = [
    (["enable", "--mode", "guard"], "guard"),
    (["enable", "--mode", "off"], "off"),
    (["enable", "--mode", "ACTIVE"], "ACTIVE"),
    (["enable", "a", "b"], "enable: needs at most the run"),
    (["disable", "a", "b"], "disable: needs at most the run"),
    (["pause", "--decisions", "0"], "decisions: must be >= 1"),
    (["pause", "--decisions", "-3"], "decisions: must be >= 1"),
    (["resume", "now", "please"], "resume: needs at most the run"),
    (["set"], "set: needs SECTION.FIELD=VALUE"),
    (["set", "acceptance.epsilon=x"], "acceptance.epsilon"),
    (["set", "acceptance.epsilon=-1"], "acceptance.epsilon: must be finite and >= 0"),
    (["set", "acceptance.epsilon=.nan"], "acceptance.epsilon: must be finite"),
    (["set", "acceptance.epsilon='0.1'"], "acceptance.epsilon"),
    (["set", "acceptance.epsilon=[1, 2]"], "set: Expected"),
    (["set", "acceptance.epsilon={a: 1}"], "set: Expected"),
    (["set", "acceptance.epsilon=&a 1"], "acceptance.epsilon"),
    (["set", "acceptance.epsilon=!!float 1"], "acceptance.epsilon"),
    (["set", "acceptance.epsilon=0.1", "acceptance.epsilon=0.2"], "stands twice"),
    (["set", "acceptance.epsilon=0.1", "acceptance.probability=2"], "acceptance.probability"),
    (["set", "acceptance.probability=0.2"], "acceptance.probability: must lie in [0.5, 1)"),
    (["set", "acceptance.horizon=0"], "acceptance.horizon: must be >= 1"),
    (["set", "acceptance.horizon=next"], "acceptance.horizon"),
    (["set", "acceptance.reference=best"], "acceptance.reference: must be forecast or last"),
    (["set", "acceptance.rollback_on_reject=no"], "acceptance.rollback_on_reject"),
    (["set", "acceptance.epsilom=0.1"], "did you mean 'acceptance.epsilon'"),
    (["set", "safety.block_on_nan=false"], "safety.block_on_nan: cannot be set"),
    (["set", "safety.block_on_anomaly=false"], "safety.block_on_anomaly: cannot be set"),
    (["set", "safety.patience=1.5"], "safety.patience"),
    (["set", "safety.patience=99999999999999999999999"], "safety.patience"),
    (["set", "safety.max_regression=0"], "safety.max_regression"),
    (["set", "safety.on_error=raise"], "safety.on_error: cannot be set"),
    (["set", "safety=1"], "safety: cannot be set"),
    (["set", "mode=off"], "mode: cannot be set"),
    (["set", "search.algorithm=random"], "search.algorithm: cannot be set"),
    (["set", "objective.primary=x"], "objective.primary: cannot be set"),
    (["set", "acceptance.epsilon=0.1", "=3"], "'=3' is none"),
    (["set", "acceptance.epsilon=0.1", "what"], "'what' is none"),
    (["pin"], "pin: needs one FAMILY"),
    (["pin", "a", "b", "c"], "pin: needs one FAMILY"),
    (["pin", "loss.aus"], "loss.aus: no such knob; did you mean 'loss.aux'"),
    (["unpin", "loss.aus"], "loss.aus: no such knob"),
    (["unpin"], "unpin: needs one FAMILY"),
    (["apply"], "apply: needs FAMILY=VALUE"),
    (["apply", "loss.aux"], "apply: needs FAMILY=VALUE"),
    (["apply", "loss.aux="], "apply: Expected"),
    (["apply", "loss.aux=1000"], "bounds"),
    (["apply", "loss.aux=-1"], "bounds"),
    (["apply", "loss.aux=0"], "bounds"),
    (["apply", "loss.aux=.inf"], "loss.aux"),
    (["apply", "loss.aux=.nan"], "loss.aux"),
    (["apply", "loss.aux=fast"], "bad value"),
    (["apply", "loss.aux=true"], "bad value"),
    (["apply", "loss.aux=1.0"], "no change"),
    (["apply", "loss.aux=2", "loss.aus=2"], "loss.aus: no such knob"),
    (["apply", "loss.aux=2", "loss.aux=3"], "stands twice"),
    (["accept"], "accept: no change is being judged"),
    (["reject"], "reject: no change is being judged"),
    (["rollback", "--to", "-1"], "to: must be a decision from 0"),
    (["rollback", "--to", "7"], "to: must be a decision from 0"),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=lambda given: " ".join(given)[:50])
def test_a_bad_command_ends_in_exit_code_2_and_changes_nothing(
    words: list[str], message: str, live: Live, capsys: pytest.CaptureFixture[str]
) -> None:
    before = live.state()
    assert steer(live, *words) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert out == ""
    assert live.state() == before


@pytest.mark.parametrize(
    "words",
    [
        ["enbale"],
        ["enable", "--mod", "x", "--modes"],
        ["pause", "--decisions", "three"],
        ["rollback", "--to", "now"],
        ["resume", "--wait", "--timeout", "soon"],
        ["freeze"],
        [],
    ],
    ids=" ".join,
)
def test_words_that_make_no_sense_end_in_exit_code_2(
    words: list[str], live: Live, capsys: pytest.CaptureFixture[str]
) -> None:
    before = live.state()
    with pytest.raises(SystemExit) as caught:
        main(["--dir", str(live.directory), *words])
    assert caught.value.code == 2
    assert "error: " in capsys.readouterr().err
    assert live.state() == before


@pytest.mark.parametrize(
    "words", [["freeze", "on"], ["freeze", "a", "off", "b"], ["freeze", "a", "b"]]
)
def test_a_freeze_is_production_or_off(
    words: list[str], live: Live, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--dir", str(live.directory), *words]) == 2
    assert "freeze: must be production or off" in capsys.readouterr().err
    assert not (live.directory / names.FREEZE).exists()


def test_a_run_named_twice_is_refused(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dir", str(live.directory), "pause", str(live.directory)]) == 2
    assert "RUN: is named twice" in capsys.readouterr().err


@pytest.mark.parametrize("timeout", ["0", "-1", "nan"])
def test_a_timeout_is_positive(
    timeout: str, live: Live, capsys: pytest.CaptureFixture[str]
) -> None:
    assert steer(live, "pause", "--timeout", timeout) == 2
    assert "timeout: must be > 0" in capsys.readouterr().err


def test_a_frozen_run_is_not_steered_until_it_is_let_in_again(
    live: Live, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(live.directory)
    assert main(["freeze", run, "production"]) == 0
    try:
        assert steer(live, "pause") == 2
        assert "takes no outside commands: it is frozen" in capsys.readouterr().err
        # One that comes by another way than this command line is refused by the run itself.
        ident = control.send(Disk(), live.directory, "pause", {})
        for _ in range(500):
            if answer := control.read_answer(Disk(), live.directory, ident):
                break
            time.sleep(0.01)
        assert answer is not None
        assert (answer.accepted, answer.message) == (False, "it is frozen")
    finally:
        assert main(["--dir", run, "freeze", "off", "--json"]) == 0
    capsys.readouterr()
    assert steer(live, "resume") == 0


def test_a_run_that_nobody_owns_is_not_steered(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pause", str(finished), "--wait"]) == 2
    assert "no live process owns it" in capsys.readouterr().err
    assert not (finished / names.COMMANDS).exists()


def test_a_run_that_begins_later_is_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs: list[Live] = []
    begins = threading.Timer(0.3, lambda: runs.append(Live(tmp_path / "run")))
    begins.start()
    try:
        assert main(["--dir", str(tmp_path / "run"), "disable", "--wait"]) == 0
    finally:
        begins.join()
        runs[0].end()
    out, err = capsys.readouterr()
    assert "waiting for the run" in err
    assert "mode active -> observe" in out


def test_a_run_that_never_begins_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--dir", str(tmp_path / "run"), "disable", "--wait", "--timeout", "0.1"]
    assert main(words) == 2
    assert "holds no events.jsonl" in capsys.readouterr().err


def test_a_command_that_nobody_takes_is_taken_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with gptune.Tuner([FakeKnob("loss.aux")], run_dir=tmp_path / "run"):
        words = ["pause", str(tmp_path / "run"), "--wait", "--timeout", "0.05"]
        assert main(words) == 2
    assert "was taken back, and is not done" in capsys.readouterr().err
    assert control.waiting(Disk(), tmp_path / "run") == []


def test_steering_loads_nothing_heavy(live: Live) -> None:
    words = ["resume", str(live.directory), "--wait"]
    code = f"from gptune.cli import main\nassert main({words!r}) == 0"
    assert not HEAVY & loaded_after(code)
