"""One of several processes that train one model under DDP: what `tests/online/test_gloo.py` starts.

python tests/ranks.py RANK WORLD DIRECTORY CASE
"""

import json
import math
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD

from gptune import Tuner
from gptune.online.gloo import Gloo
from gptune.run_directory import control
from gptune.run_directory.file_system import Disk

RECIPE: dict[str, Any] = {
    "actuators": {"opt": {"mutations": {"lr": {"bounds": [0.1, 10.0], "cooldown": 0}}}},
    "acceptance": {"reference": "last"},
    "safety": {"global_cooldown": 0, "max_global_reject_streak": 99},
    "search": {"startup_trials": 2},
}
DECISIONS, BETWEEN, PATIENCE = 12, 5, 20.0  # [decisions], [steps], [s]
SAVED, KILLED = 6, 8  # the decisions after which the state is saved, and at which one is killed


class Rank:
    """One process's part of the run."""

    def __init__(self, rank: int, directory: Path, case: str) -> None:
        self.rank, self.directory, self.case = rank, directory, case
        torch.manual_seed(0)
        self.model = nn.Linear(4, 1)
        self.trained = DistributedDataParallel(self.model)
        self.optimizer = SGD(self.model.parameters(), lr=0.01)
        self.chance = torch.Generator().manual_seed(rank)
        self.decision, self.told = 0, list[Any]()
        self.tuner = Tuner(
            self.optimizer,
            recipe=RECIPE,
            model=self.model,
            run_dir=directory / "run" if rank == 0 else None,
            seed=rank,
            ranks=None if case == "sound" else Gloo(seconds=PATIENCE),
            resume=case == "resumed",
        )
        if case == "resumed":
            self.load()

    @property
    def parts(self) -> dict[str, Any]:
        return {"model": self.model, "optimizer": self.optimizer, "tuner": self.tuner}

    def load(self) -> None:
        saved = torch.load(self.directory / "checkpoint.pt", weights_only=True)
        for name, part in self.parts.items():
            part.load_state_dict(saved[name])
        self.decision = SAVED
        for _ in range(SAVED * BETWEEN):
            torch.randn(16, 4, generator=self.chance)

    def is_now(self, case: str, rank: int, decision: int) -> bool:
        """Say whether this is where a case does something."""
        return (self.case, self.rank, self.decision) == (case, rank, decision)

    def train(self) -> float:
        loss = torch.zeros(())
        for step in range(BETWEEN):
            inputs = torch.randn(16, 4, generator=self.chance)
            if self.is_now("poisoned", 1, 7) and step == 2:
                inputs = inputs * math.nan
            loss = ((self.trained(inputs) - inputs.sum(1, keepdim=True)) ** 2).mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.tuner.step(loss)
        return float(loss)

    def disturb(self) -> None:
        """Do what goes wrong in a case."""
        if self.is_now("kernel", 0, 5):
            self.tuner._session._propose = broken  # type: ignore[assignment,method-assign]
        if self.is_now("killed", 1, KILLED):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.is_now("ordered", 0, 4):
            control.send(Disk(), self.directory / "run", "apply", {"moves": {"opt.lr": 0.5}})

    def run(self) -> None:
        while self.decision < DECISIONS:
            self.decision += 1
            loss = self.train()
            self.disturb()
            metric = math.nan if self.is_now("nan", 1, 4) else loss
            made = self.tuner.report({"val/loss": metric})
            self.told.append([made.verdict.value, [reason.value for reason in made.reasons]])
            if self.rank == 0 and self.decision == SAVED and self.case != "resumed":
                state = {name: part.state_dict() for name, part in self.parts.items()}
                torch.save(state, self.directory / "checkpoint.pt")
            if self.case == "killed" and self.tuner.mode == "observe":
                break

    def result(self) -> dict[str, Any]:
        parameters = self.model.parameters()
        return {
            "told": self.told,
            "values": self.tuner.values,
            "mode": self.tuner.mode.value,
            "weights": [value for p in parameters for value in p.detach().flatten().tolist()],
        }


def main(rank: int, world: int, directory: Path, case: str) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{directory}/meet-{case}", rank=rank, world_size=world
    )
    one = Rank(rank, directory, case)
    with one.tuner:
        one.run()
        result = one.result()
    (directory / f"result-{rank}.json").write_text(json.dumps(result))


def broken(*_: object) -> object:
    raise ValueError("the kernel is broken")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
    os._exit(0)  # one that waits for a dead peer at the end has told all that it has to tell
