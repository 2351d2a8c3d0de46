"""Two real processes under Lightning and under Hugging Face, as torchrun starts them."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gptune import Study
from tests.adapters.framed import EVERY, check_lively, essence

ROOT = Path(__file__).parent.parent.parent
LONGEST = 240.0  # [s]


def place(rank: int, port: int) -> dict[str, str]:
    """Give the environment that torchrun gives a process."""
    told = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "GROUP_RANK": 0,
        "WORLD_SIZE": 2,
        "LOCAL_WORLD_SIZE": 2,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "TORCHELASTIC_RUN_ID": "one",
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": 1,
        "PYTHONPATH": ROOT,
    }
    return {**os.environ, **{name: str(value) for name, value in told.items()}}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def run(framework: str, directory: Path, *more: str) -> tuple[list[int], str]:
    """Let two processes train; gives how each has ended, and what they have said."""
    script, port = str(ROOT / "tests" / "framework_ranks.py"), free_port()
    directory.mkdir(exist_ok=True)
    both = [
        subprocess.Popen(
            [sys.executable, script, framework, str(directory), *more],
            env=place(rank, port),
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    said = [one.communicate(timeout=LONGEST)[0] for one in both]
    return [one.returncode for one in both], "\n".join(said)


def results(directory: Path) -> list[Any]:
    return [json.loads((directory / f"result-{n}.json").read_text()) for n in range(2)]


@pytest.mark.parametrize("framework", ["lightning", "huggingface", "loop"])
def test_two_processes_of_a_framework_tune_one_model_alike(framework: str, tmp_path: Path) -> None:
    codes, said = run(framework, tmp_path)
    assert codes == [0, 0], said
    mine, theirs = results(tmp_path)
    assert mine == theirs
    assert mine["steps"] == 104
    for run_dir in ("run", "run/rank-1"):
        check_lively(tmp_path / run_dir)


@pytest.mark.parametrize("framework", ["lightning", "huggingface", "loop"])
def test_a_trial_that_rank_0_reports_ends_on_both(framework: str, tmp_path: Path) -> None:
    codes, said = run(framework, tmp_path, "pruned")
    assert codes == [0, 0], said
    assert all((tmp_path / f"pruned-{rank}").exists() for rank in range(2)), said
    (trial,) = Study("one", storage=tmp_path / "study.db", resume=True).trials
    assert sorted(trial.reports) == [EVERY, 2 * EVERY, 3 * EVERY]


def test_a_loop_in_two_processes_that_is_killed_goes_on_from_one_checkpoint(tmp_path: Path) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    assert run("loop", whole)[0] == [0, 0]
    assert 9 in run("dying", torn)[0]
    codes, said = run("loop", torn)
    assert codes == [0, 0], said
    assert results(torn) == results(whole)
    assert essence(torn / "run") == essence(whole / "run")
    histories = [json.loads((torn / f"history-{n}.json").read_text()) for n in range(2)]
    assert histories == [list(range(EVERY, 105, EVERY))] * 2
    assert (torn / "rows.csv").read_text() == (whole / "rows.csv").read_text()
    assert len((torn / "rows.csv").read_text().splitlines()) == 1 + 104 // EVERY
