"""Two real processes that train one model: gloo, DDP, and what goes wrong between them."""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gptune.audit import audit
from gptune.events import Command
from gptune.run_directory.event_log import read_events
from gptune.run_directory.file_system import Disk
from tests.ranks import DECISIONS, PATIENCE, SAVED

SCRIPT = Path(__file__).parent.parent / "ranks.py"
LONGEST = 120.0  # [s]
RUNS = ("run", "run/rank-1")


def start(directory: Path, case: str) -> tuple[list[Any], list[str], float]:
    """Run two processes; gives what each has told, what it warned of, and how long it took."""
    begin = time.monotonic()
    directory.mkdir(exist_ok=True)
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
    for place in RUNS:
        assert audit(tmp_path / place).holds


def test_a_run_of_which_one_rank_was_killed_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    (whole, _), _, _ = start(tmp_path / "whole", "sound")
    start(tmp_path / "killed", "killed")
    (mine, theirs), _, _ = start(tmp_path / "killed", "resumed")
    assert mine == theirs
    assert mine["told"] == whole["told"][SAVED:]
    assert mine["weights"] == whole["weights"]
    for place in RUNS:
        assert audit(tmp_path / "killed" / place).holds


def test_weights_that_are_poisoned_by_one_rank_are_put_back_on_both(tmp_path: Path) -> None:
    (mine, theirs), _, _ = start(tmp_path, "poisoned")
    assert mine == theirs
    assert "restored" in mine["told"][6][1]
    assert all(math.isfinite(weight) for weight in mine["weights"])
    assert mine["mode"] == "active"


def test_what_is_ordered_of_rank_0_both_do(tmp_path: Path) -> None:
    (mine, theirs), _, _ = start(tmp_path, "ordered")
    assert mine == theirs
    for place in RUNS:
        events = [line.event for line in read_events(tmp_path / place, Disk())]
        assert [event.verb for event in events if isinstance(event, Command)] == ["apply"]
        assert audit(tmp_path / place).holds


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
