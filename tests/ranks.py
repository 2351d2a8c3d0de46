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

RECIPE: dict[str, Any] = {
    "actuators": {"opt": {"mutations": {"lr": {"bounds": [0.1, 10.0], "cooldown": 0}}}},
    "acceptance": {"reference": "last"},
    "safety": {"global_cooldown": 0, "max_global_reject_streak": 99},
    "search": {"startup_trials": 2},
}
DECISIONS, BETWEEN, PATIENCE = 12, 5, 20.0  # [decisions], [steps], [s]


def metric(case: str, rank: int, decision: int, loss: float) -> float:
    return math.nan if (case, rank, decision) == ("nan", 1, 4) else loss


def main(rank: int, world: int, directory: Path, case: str) -> None:
    torch.manual_seed(0)
    distributed.init_process_group(
        "gloo", init_method=f"file://{directory}/meet", rank=rank, world_size=world
    )
    model = nn.Linear(4, 1)
    trained = DistributedDataParallel(model)
    optimizer = SGD(model.parameters(), lr=0.01)
    chance = torch.Generator().manual_seed(rank)
    told: list[Any] = []
    tuner = Tuner(
        optimizer,
        recipe=RECIPE,
        run_dir=directory / f"run-{rank}",
        ranks=Gloo(seconds=PATIENCE),
    )
    with tuner:
        for decision in range(1, DECISIONS + 1):
            for _ in range(BETWEEN):
                inputs = torch.randn(16, 4, generator=chance)
                loss = ((trained(inputs) - inputs.sum(1, keepdim=True)) ** 2).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                tuner.step(loss)
            if (case, rank, decision) == ("kernel", 0, 5):
                tuner._session._propose = broken  # type: ignore[assignment,method-assign]
            if (case, rank, decision) == ("killed", 1, 5):
                os.kill(os.getpid(), signal.SIGKILL)
            made = tuner.report({"val/loss": metric(case, rank, decision, float(loss))})
            told.append([made.verdict.value, [reason.value for reason in made.reasons]])
            if case == "killed" and tuner.mode == "observe":
                break
        values, mode = tuner.values, tuner.mode.value
    weights = [value for p in model.parameters() for value in p.detach().flatten().tolist()]
    result = {"told": told, "values": values, "mode": mode, "weights": weights}
    (directory / f"result-{rank}.json").write_text(json.dumps(result))


def broken(*_: object) -> object:
    raise ValueError("the kernel is broken")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
    os._exit(0)  # one that waits for a dead peer at the end has told all that it has to tell
