"""Objectives that other processes import, and a process that optimizes one.

python tests/study/objectives.py STORAGE NAME TOTAL [SAMPLER]
"""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from gptune.errors import TrialPruned
from gptune.study.gaussian import GaussianProcessSampler
from gptune.study.samplers import RandomSampler, Sampler
from gptune.study.study import Study
from gptune.study.trial import Trial

SPACE: dict[str, Any] = {
    "x": {"type": "float", "low": -1.0, "high": 1.0},
    "n": {"type": "int", "low": 1, "high": 9},
}


def bowl(params: dict[str, Any]) -> float:
    return float((params["x"] - 0.3) ** 2 + 0.01 * (params["n"] - 4) ** 2)


def slow_bowl(params: dict[str, Any]) -> float:
    time.sleep(0.003)
    return bowl(params)


def by_running(trial: Trial) -> float:
    """Define the space as it runs, with a condition."""
    x = trial.suggest_float("x", 1e-3, 1.0, log=True)
    kind = trial.suggest_categorical("kind", ["plain", "fancy"])
    n = trial.suggest_int("n", 2, 16, step=2) if kind == "fancy" else 4
    trial.report(x, 0)
    return float((x - 0.1) ** 2 + 0.01 * abs(n - 6))


def deadly(params: dict[str, Any], trial: Trial) -> float:
    """Kill the process at the first attempt of the trials 2 and 5."""
    mark = Path(os.environ["GPTUNE_TEST_MARKS"]) / str(trial.number)
    if trial.number in {2, 5} and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return bowl(params)


def deadly_reporting(trial: Trial) -> float:
    """Report good values and die; the second time report a bad one."""
    trial.suggest_float("x", 0.0, 1.0)
    mark = Path(os.environ["GPTUNE_TEST_MARKS"]) / str(trial.number)
    if not mark.exists():
        mark.touch()
        for step in range(5):
            trial.report(0.0, step)
        os.kill(os.getpid(), signal.SIGKILL)
    trial.report(99.0, 0)
    if trial.should_prune():
        raise TrialPruned
    return 1.0


def hopeless(params: dict[str, Any]) -> float:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0.0


SAMPLERS: dict[str, type[Sampler]] = {"gp": GaussianProcessSampler, "random": RandomSampler}


def main(storage: str, name: str, total: int, sampler: str = "random") -> None:
    study = Study(name, storage=storage, space=SPACE, sampler=SAMPLERS[sampler](), resume=True)
    study.optimize(slow_bowl, total=total, progress=False)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
