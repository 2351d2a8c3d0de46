"""Two real processes that train one model: gloo, DDP, and what goes wrong between them."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gptune.audit import audit
from tests.ranks import DECISIONS, PATIENCE

SCRIPT = Path(__file__).parent.parent / "ranks.py"
LONGEST = 120.0  # [s]


def start(directory: Path, case: str) -> tuple[list[Any], list[str], float]:
    """Run two processes; gives what each has told, what it warned of, and how long it took."""
    begin = time.monotonic()
    place = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    place["PYTHONPATH"] = str(SCRIPT.parent.parent)
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(rank), "2", str(directory), case],
            env=place,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    warned = [process.communicate(timeout=LONGEST)[1] for process in processes]
    files = [directory / f"result-{rank}.json" for rank in range(2)]
    told = [json.loads(file.read_text()) if file.exists() else None for file in files]
    assert told[0] is not None, warned[0]
    return told, warned, time.monotonic() - begin


def test_an_active_run_ends_with_equal_weights_values_and_decisions(tmp_path: Path) -> None:
    (mine, theirs), _, _ = start(tmp_path, "sound")
    assert mine == theirs
    assert len(mine["told"]) == DECISIONS
    assert {"applied"} <= {verdict for verdict, _ in mine["told"]}
    for rank in range(2):
        assert audit(tmp_path / f"run-{rank}").holds


def test_a_nan_on_one_rank_blocks_on_both(tmp_path: Path) -> None:
    (mine, theirs), _, _ = start(tmp_path, "nan")
    assert mine == theirs
    assert "not_finite" in mine["told"][3][1]
    assert mine["mode"] == "active"


def test_a_failure_on_rank_0_ends_tuning_on_both_and_training_goes_on(tmp_path: Path) -> None:
    (mine, theirs), _, _ = start(tmp_path, "kernel")
    assert mine == theirs
    assert mine["told"][4] == ["blocked", ["kernel_failed"]]
    assert mine["mode"] == "observe"
    assert len(mine["told"]) == DECISIONS


def test_a_rank_that_is_killed_is_missed_in_time(tmp_path: Path) -> None:
    (mine, theirs), warned, seconds = start(tmp_path, "killed")
    assert theirs is None
    assert mine["told"][-1] == ["blocked", ["ranks_differ"]]
    assert mine["mode"] == "observe"
    assert "tuning stops in the processes that train one model" in warned[0]
    assert seconds < PATIENCE + 60


def test_bytes_of_any_length_come_through(tmp_path: Path) -> None:
    pytest.importorskip("torch.distributed")
    code = (
        "import sys; from torch import distributed; from gptune.online.gloo import Gloo\n"
        f"distributed.init_process_group('gloo', init_method='file://{tmp_path}/meet', "
        "rank=int(sys.argv[1]), world_size=2)\n"
        "ranks = Gloo(seconds=20)\n"
        "for size in (0, 1, 300, 70000):\n"
        "    mine = bytes([ranks.number + 1]) * (size + ranks.number)\n"
        "    first, second = ranks.exchange(mine)\n"
        "    assert first == b'\\x01' * size and second == b'\\x02' * (size + 1)\n"
        "assert (ranks.number, ranks.count) == (int(sys.argv[1]), 2)\n"
        "distributed.destroy_process_group()\n"  # else its threads outlive the interpreter
    )
    place = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(SCRIPT.parent.parent)}
    both = [subprocess.Popen([sys.executable, "-c", code, str(n)], env=place) for n in range(2)]
    assert [one.wait(LONGEST) for one in both] == [0, 0]
