"""Two terminals: the demo runs in one, and is steered and looked at from the other."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gptune.events import Applied, Command, ModeChanged
from gptune.run_directory.event_log import read_events

GPTUNE = str(Path(sys.executable).with_name("gptune"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Start the demo in a process of its own; it has far more to do than this test takes."""
    directory = tmp_path_factory.mktemp("terminals") / "run"
    words = ["demo", "--run-dir", str(directory), "--steps", "200000", "--pace", "0.02", "--quiet"]
    process = subprocess.Popen([GPTUNE, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        wait_for(lambda: (directory / "summary.json").exists(), process)
        yield directory
    finally:
        process.kill()
        process.communicate()


def wait_for(holds: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if holds():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    raise AssertionError("it did not come to that within a minute")


def gptune(run: Path, *words: str, code: int = 0) -> str:
    made = subprocess.run(
        [GPTUNE, "--dir", str(run), *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert made.returncode == code, made.stdout + made.stderr
    return made.stdout + made.stderr


def test_the_demo_is_steered_and_looked_at_while_it_runs(run: Path) -> None:
    said = gptune(run, "enable", "--mode", "suggest", "--wait")
    assert re.match(r"done at step \d+, after decision \d+: mode active -> suggest\n", said)
    said = gptune(run, "set", "acceptance.epsilon=0.002", "safety.warmup=1", "--wait")
    assert "acceptance.epsilon 0.001 -> 0.002, safety.warmup 0 -> 1" in said
    assert "opt.lr 1 -> 1.5" in gptune(run, "apply", "opt.lr=1.5", "--wait")
    assert "opt.lr -> pinned at 1.5" in gptune(run, "pin", "opt.lr", "--wait")
    assert "refused" in gptune(run, "apply", "opt.lr=1e9", "--wait", code=2)
    assert "opt.lr 1.5 -> 1" in gptune(run, "rollback", "--to", "0", "--wait")

    status = json.loads(gptune(run, "status", "--json"))
    assert status["mode"] == "suggest"
    assert status["point"] == {"opt.lr": 1.0}
    assert status["pinned"] == ["opt.lr"]
    number = status["decision"]
    assert number >= 1
    explained = gptune(run, "explain", str(number))
    assert f"decision {number}" in explained
    assert "command" in gptune(run, "log", "--kind", "command")

    lines = read_events(run)
    commands = [line.event for line in lines if isinstance(line.event, Command)]
    assert [c.accepted for c in commands] == [True, True, True, True, False, True]
    moves = [line.event.changes[0].new for line in lines if isinstance(line.event, Applied)]
    changed = next(line for line in lines if isinstance(line.event, ModeChanged))
    assert changed.event.by == "command"  # type: ignore[union-attr]
    by_hand = [move for move in moves if move in (1.5, 1.0)]
    assert by_hand[-2:] == [1.5, 1.0]


def test_a_second_owner_is_refused_and_named(run: Path) -> None:
    made = subprocess.run(
        [GPTUNE, "demo", "--run-dir", str(run), "--quiet"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert made.returncode == 2
    owner = json.loads(gptune(run, "status", "--json"))["pid"]
    assert f"is owned by the live process {owner}" in made.stderr
