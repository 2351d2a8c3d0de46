"""Real processes, real signals, a real disk: a run that is killed anywhere goes on as if never."""

import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gptune.audit import Report, audit
from gptune.events import Opened, Rewind
from gptune.run_directory.event_log import effective, read_events
from gptune.run_directory.file_system import Disk
from gptune.run_directory.names import EVENTS, LOCK
from gptune.run_directory.owner import owner_of
from tests.processes import PATIENCE, Server

pytestmark = pytest.mark.slow
KILLS = 20


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture(scope="module")
def whole(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train without any interruption."""
    place = tmp_path_factory.mktemp("whole")
    assert server.wait(server.start(place)) == 0
    assert "error" not in told(place)
    return place


def told(place: Path) -> dict[str, Any]:
    """Give what a process that ended by itself had to say."""
    said: dict[str, Any] = json.loads((place / "told").read_text())
    return said


def lines(place: Path) -> int:
    path = place / "run" / EVENTS
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(2e-4)


def essence(place: Path) -> list[tuple[Any, ...]]:
    """Give the effective log, less who took the directory when."""
    kept = [
        line for line in effective(read_events(place / "run")) if type(line.event) is not Opened
    ]
    return [(line.envelope.decision, line.envelope.step, line.event) for line in kept]


def lines_after(whole: Path, decision: int) -> int:
    """Count the lines that a run writes after a decision, at least, before it is closed."""
    return len([number for number, _, _ in essence(whole) if number > decision]) - 1


def weights(place: Path) -> list[torch.Tensor]:
    made: list[torch.Tensor] = torch.load(place / "weights", weights_only=True)
    return made


def findings(report: Report) -> tuple[Any, ...]:
    return report.holds, report.state, report.torn, report.decisions, report.changes


def check_equal(place: Path, whole: Path) -> None:
    assert "error" not in told(place)
    assert essence(place) == essence(whole)
    pairs = zip(weights(place), weights(whole), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert findings(audit(place / "run")) == findings(audit(whole / "run"))
    assert audit(place / "run").holds
    assert Disk().names(place / "run") == Disk().names(whole / "run"), "a death has left something"


def kill_at(server: Server, place: Path, number: int, chance: random.Random) -> None:
    """Start or resume a run, and kill it once its log has that many lines."""
    saved = place / "checkpoint"
    pid = server.start(place, resume=saved.exists(), lingers=True)
    wait_for(lambda: lines(place) >= number and saved.exists())
    time.sleep(chance.uniform(0.0, 3e-3))
    os.kill(pid, signal.SIGKILL)
    assert server.wait(pid) == -signal.SIGKILL


@pytest.mark.parametrize("nth", range(KILLS))
def test_a_run_that_is_killed_anywhere_and_resumed_is_the_run_that_was_never_killed(
    nth: int, server: Server, whole: Path, tmp_path: Path
) -> None:
    chance = random.Random(nth)
    total = lines(whole)
    kill_at(server, tmp_path, chance.randrange(1, total), chance)
    for _ in range(nth % 3):  # the one that resumes it dies as well, maybe at once
        after = lines_after(
            whole, torch.load(tmp_path / "checkpoint", weights_only=True)["decision"]
        )
        kill_at(server, tmp_path, lines(tmp_path) + chance.randrange(after), chance)
    report = audit(tmp_path / "run")
    assert report.holds
    assert report.state == "not closed"
    assert owner_of(tmp_path / "run") is None
    assert server.wait(server.start(tmp_path, resume=True)) == 0
    check_equal(tmp_path, whole)


def test_the_kills_above_come_in_the_middle_of_a_run_that_really_tunes(whole: Path) -> None:
    report = audit(whole / "run")
    assert report.changes >= 5
    drawn = {random.Random(nth).randrange(1, lines(whole)) for nth in range(KILLS)}
    assert len(drawn) >= KILLS * 2 // 3
    assert max(drawn) - min(drawn) > lines(whole) // 2


def test_sigterm_ends_a_run_as_ever_and_it_can_be_resumed(
    server: Server, whole: Path, tmp_path: Path
) -> None:
    pid = server.start(tmp_path, lingers=True)
    wait_for(lambda: lines(tmp_path) >= lines(whole) // 2)
    os.kill(pid, signal.SIGTERM)
    assert server.wait(pid) == -signal.SIGTERM
    assert audit(tmp_path / "run").holds
    assert server.wait(server.start(tmp_path, resume=True)) == 0
    check_equal(tmp_path, whole)


def test_the_users_own_handlers_stay_and_end_a_run_as_the_user_likes(
    server: Server, whole: Path, tmp_path: Path
) -> None:
    pid = server.start(tmp_path, handles=True, lingers=True)
    wait_for(lambda: lines(tmp_path) >= 10)
    os.kill(pid, signal.SIGTERM)
    assert server.wait(pid) == 0
    assert told(tmp_path) == {"handlers kept": True, "terminated": True}
    assert audit(tmp_path / "run").state == "closed"
    assert server.wait(server.start(tmp_path, resume=True)) == 0
    check_equal(tmp_path, whole)
    assert told(tmp_path) == {"handlers kept": True, "terminated": False}, "nor is one installed"


@pytest.fixture
def public() -> Iterator[Path]:
    """Give a place that any user may reach."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    yield place
    place.chmod(0o755)
    for path in place.rglob("*"):
        path.chmod(0o755)
    shutil.rmtree(place)


@pytest.mark.parametrize("what", ["the directory", "its parent", "a finished run", "its files"])
def test_a_run_directory_that_cannot_be_written_is_refused_and_named_and_nothing_is_left_behind(
    what: str, server: Server, whole: Path, public: Path
) -> None:
    run = public / "run"
    if what == "the directory":
        run.mkdir()
    elif what != "its parent":
        shutil.copytree(whole / "run", run)
        shutil.copy(whole / "checkpoint", public / "checkpoint")
        (public / "checkpoint").chmod(0o644)
    paths = sorted([public, *public.rglob("*")], reverse=True)
    (public / "told").touch()
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    if what == "its files":
        run.chmod(0o777)
    before = {path: path.read_bytes() if path.is_file() else b"" for path in public.rglob("*")}
    pid = server.start(public, as_nobody=True, resume=what in ("a finished run", "its files"))
    assert server.wait(pid) == 0
    said = told(public)
    assert said["error"] == "RunDirectoryError"
    assert f"run directory {str(run)!r}" in said["message"]
    assert "cannot be written" in said["message"]
    (public / "told").write_bytes(b"")
    after = {path: path.read_bytes() if path.is_file() else b"" for path in public.rglob("*")}
    assert after == before


def test_a_second_owner_is_refused_and_told_who_is_first_and_a_dead_one_blocks_nobody(
    server: Server, whole: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    (second / "run").symlink_to(first / "run")
    (second / "checkpoint").symlink_to(first / "checkpoint")
    pid = server.start(first, lingers=True)
    wait_for(lambda: lines(first) >= 10)
    for resume in (False, True):
        assert server.wait(server.start(second, resume=resume)) == 0
        said = told(second)
        assert said["error"] == "RunDirectoryError"
        assert f"is owned by the live process {pid};" in said["message"]
    assert owner_of(first / "run") == str(pid)
    assert (first / "run" / LOCK).read_text() == f"{pid}\n"
    os.kill(pid, signal.SIGKILL)
    assert server.wait(pid) == -signal.SIGKILL
    assert owner_of(first / "run") is None
    assert server.wait(server.start(first, resume=True)) == 0
    check_equal(first, whole)
    rewinds = [line for line in read_events(first / "run") if isinstance(line.event, Rewind)]
    assert len(rewinds) == 1, "the refused ones wrote nothing"
