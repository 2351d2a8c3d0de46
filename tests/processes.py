"""Real processes that train: a server that has loaded everything, and forks one child a job.

``python -m tests.processes`` reads one job a line, and answers with a line: ``{"start": {...}}``
with the child's process id, ``{"wait": pid}`` with how it ended. `Server` is the other end.
"""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from gptune import Tuner
from tests.training import Training

DECISIONS, EVERY, SAVES = 24, 3, 3  # of a run; steps of a decision; decisions of a checkpoint
RECIPE: dict[str, Any] = {"search": {"startup_trials": 1}, "acceptance": {"reference": "last"}}
NOBODY = 65534
PATIENCE = 60.0  # for what another process does [s]


class Server:
    """Starts training processes, fast."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        words = [sys.executable, "-m", "tests.processes"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env=environment)
        self._alive: set[int] = set()

    def start(self, place: Path, **job: Any) -> int:
        """Start a process that trains in ``place``; gives its id."""
        pid = self._ask({"start": {"place": str(place), **job}})
        self._alive.add(pid)
        return pid

    def wait(self, pid: int) -> int:
        """Wait for a process to end; gives its exit code, or the signal that ended it, negative."""
        self._alive.discard(pid)
        return self._ask({"wait": pid})

    def close(self) -> None:
        for pid in list(self._alive):
            os.kill(pid, signal.SIGKILL)
            self.wait(pid)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(PATIENCE)

    def _ask(self, words: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


class Job:
    """What one process does.

    Args:
        place: Holds the run directory, ``run``, the ``checkpoint``, and what is told of the run.
        resume: Whether to go on from the checkpoint.
        lingers: Whether to wait for death after the last decision instead of closing.
        handles: Whether the user has a handler for SIGTERM, which ends training cleanly.
        as_nobody: Whether to give up all privileges first.
    """

    def __init__(
        self,
        place: str,
        *,
        resume: bool = False,
        lingers: bool = False,
        handles: bool = False,
        as_nobody: bool = False,
    ) -> None:
        self.place = Path(place)
        self.resume, self.lingers, self.handles = resume, lingers, handles
        self.terminated = False
        self._told = (self.place / "told").open("w", encoding="utf-8")
        if as_nobody and os.getuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)

    def run(self) -> None:
        told: dict[str, Any] = {}
        if self.handles:
            signal.signal(signal.SIGTERM, self._terminate)
        handlers = _handlers()
        try:
            self._train()
        except Exception as error:  # noqa: BLE001  the test is told
            told = {"error": type(error).__name__, "message": str(error)}
        told |= {"handlers kept": _handlers() == handlers, "terminated": self.terminated}
        self._told.write(json.dumps(told))
        self._told.close()

    def _train(self) -> None:
        training = Training()
        checkpoint = self.place / "checkpoint"
        with Tuner(
            training.optimizer,
            recipe=RECIPE,
            run_dir=self.place / "run",
            seed=4,
            resume=self.resume,
        ) as tuner:
            first = 0
            if self.resume:
                saved = torch.load(checkpoint, weights_only=True)
                training.load(saved["training"])
                tuner.load_state_dict(saved["gptune"])
                first = saved["decision"]
            for number in range(first, DECISIONS):
                if number % SAVES == 0:
                    self._save(checkpoint, training, tuner, number)
                for _ in range(EVERY):
                    training.step(tuner.step)
                tuner.report({"val/loss": training.loss()})
                if self.terminated:
                    return
            while self.lingers:
                time.sleep(0.01)
        torch.save(training.weights(), self.place / "weights")

    def _save(self, path: Path, training: Training, tuner: Tuner, decision: int) -> None:
        state = {
            "training": training.checkpoint(),
            "gptune": tuner.state_dict(),
            "decision": decision,
        }
        fresh = path.with_suffix(".fresh")
        torch.save(state, fresh)
        fresh.replace(path)

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self.terminated = True


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def _start(words: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        Job(**words).run()
        code = 0
    finally:
        if code:
            traceback.print_exc()
        os._exit(code)  # the parent's buffers and handles are not this process's to tidy


def serve() -> None:
    """Answer until nobody asks any more."""
    torch.set_num_threads(1)
    for line in sys.stdin:
        asked = json.loads(line)
        if "start" in asked:
            answer = _start(asked["start"])
        else:
            answer = os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1])
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
