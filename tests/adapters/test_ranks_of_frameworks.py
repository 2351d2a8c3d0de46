"""Two real processes under Lightning and under Hugging Face, as torchrun starts them."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.adapters.framed import check_lively

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


@pytest.mark.parametrize("framework", ["lightning", "huggingface"])
def test_two_processes_of_a_framework_tune_one_model_alike(framework: str, tmp_path: Path) -> None:
    script, port = str(ROOT / "tests" / "framework_ranks.py"), free_port()
    both = [
        subprocess.Popen(
            [sys.executable, script, framework, str(tmp_path)],
            env=place(rank, port),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    said = [one.communicate(timeout=LONGEST)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0], "\n".join(said)
    mine, theirs = (json.loads((tmp_path / f"result-{n}.json").read_text()) for n in range(2))
    assert mine == theirs
    assert mine["steps"] == 104
    for run_dir in ("run", "run/rank-1"):
        check_lively(tmp_path / run_dir)
