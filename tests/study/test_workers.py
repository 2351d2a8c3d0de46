"""Which process runs a trial: its name is its own, and dies with it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptune.study import workers
from gptune.study.workers import is_alive, this_worker

NAMING = "from gptune.study.workers import this_worker as t; print(t(), flush=True); input()"


def parts() -> tuple[str, str, str]:
    rest, _, start = this_worker().rpartition(":")
    host, _, pid = rest.rpartition(":")
    return host, pid, start


def test_this_process_lives_and_has_one_name() -> None:
    host, pid, start = parts()
    assert this_worker() == this_worker()
    assert (host, pid) == (os.uname().nodename, str(os.getpid()))
    assert start.isdecimal()
    assert is_alive(this_worker())


def test_a_process_lives_until_it_has_ended() -> None:
    command = [sys.executable, "-c", NAMING]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        worker = process.stdout.readline().strip()
        assert worker.split(":")[-2] == str(process.pid)
        assert worker != this_worker()
        assert is_alive(worker)
        process.communicate("\n")
    assert not is_alive(worker)


def test_a_zombie_does_no_work() -> None:
    """It has ended, and nobody has asked how: that it is still listed is no life."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, this_worker().encode())
        os._exit(0)
    worker = os.read(read, 1000).decode()
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(worker)
    os.waitpid(pid, 0)
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("start", ["0", "1", "", "?", "x"])
def test_a_number_that_is_used_again_is_another_process(start: str) -> None:
    host, pid, _ = parts()
    assert not is_alive(f"{host}:{pid}:{start}")


def test_a_process_of_another_machine_is_taken_to_live() -> None:
    _, pid, start = parts()
    assert is_alive(f"elsewhere:{pid}:{start}")
    assert is_alive("elsewhere:999999999:0")
    assert is_alive("fe80::1:999999999:0")


@pytest.mark.parametrize("worker", ["", ":", "::", "a", "a:b", "a:b:c", "1:2", "ä:1:2"])
def test_a_name_that_says_no_process_of_this_machine_is_taken_to_live(worker: str) -> None:
    assert is_alive(worker)


@given(st.text("0123456789:abc-?", max_size=30) | st.text(max_size=9))
@settings(deadline=None, max_examples=200)
def test_no_text_is_too_odd_to_be_a_name(text: str) -> None:
    host, _, start = parts()
    assert is_alive(text) in (True, False)
    assert is_alive(f"{host}:{text}:{start}") in (True, False)


@pytest.mark.parametrize("pid", ["0", "4194305", str(2**31), str(2**70), "9" * 5000])
def test_a_number_that_no_process_has_is_dead(pid: str) -> None:
    host, _, start = parts()
    assert not is_alive(f"{host}:{pid}:{start}")


def raising(error: Exception) -> Callable[[int, int], None]:
    def kill(pid: int, signal: int) -> None:
        raise error

    return kill


@pytest.fixture
def unknown() -> Iterator[None]:
    this_worker.cache_clear()
    yield
    this_worker.cache_clear()


@pytest.mark.usefixtures("unknown")
def test_where_nothing_is_listed_a_process_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on other systems than Linux: a number that is used again is not seen there."""
    monkeypatch.setattr(workers, "Path", lambda name: Path("/nowhere"))
    assert this_worker().endswith(":?")
    assert is_alive(this_worker())
    monkeypatch.setattr(os, "kill", raising(PermissionError()))
    assert is_alive(this_worker())
    before = this_worker()
    monkeypatch.setattr(os, "kill", raising(ProcessLookupError()))
    assert not is_alive(before)
