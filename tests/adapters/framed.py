"""What the tests of all frameworks share: a small regression, a lively recipe, and the log."""

from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gptune.audit import audit
from gptune.events import Opened, Rewind
from gptune.run_directory.event_log import effective, read_events

EPOCHS, BATCH, ACCUMULATE, EVERY = 2, 4, 2, 13  # EVERY: optimizer steps between evaluations
TRAIN_ROWS, ROWS = 832, 896
STEPS = EPOCHS * TRAIN_ROWS // (BATCH * ACCUMULATE)  # 208 optimizer steps
MOVES: dict[str, Any] = {"bounds": [0.1, 10.0], "max_step": 2.0, "cooldown": 0}
RECIPE: dict[str, Any] = {
    "actuators": {"opt": {"mutations": {"lr": MOVES}}},
    "search": {"algorithm": "random", "startup_trials": 0},
    "acceptance": {"reference": "last"},
    "safety": {"global_cooldown": 0},
    "calibration": {"enabled": False},
}


class Stopped(Exception):
    """An exception of the user's own."""


def data() -> tuple[Tensor, Tensor]:
    """Give inputs of shape ``(n, 6)`` and targets of shape ``(n, 1)``; the last are held out."""
    chance = torch.Generator().manual_seed(4)
    x = torch.randn(ROWS, 6, generator=chance)
    return x, x.sin().sum(1, keepdim=True) + 0.1 * torch.randn(ROWS, 1, generator=chance)


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 1))


def weights(model: nn.Module) -> list[Tensor]:
    return [weight.detach().clone() for weight in model.parameters()]


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def essence(run_dir: Path) -> list[Any]:
    """Give what a log says that counts: every event in force, and at which step."""
    lines = effective(read_events(run_dir))
    kept = [line for line in lines if not isinstance(line.event, Opened | Rewind)]
    return [(line.envelope.step, line.event) for line in kept]


def counts(run_dir: Path) -> Counter[str]:
    return Counter(type(event).__name__ for _, event in essence(run_dir))


def check_lively(run_dir: Path) -> None:
    """Check that changes were made, kept and put back, and that the log keeps the promises."""
    found = counts(run_dir)
    assert found["Applied"] >= 2, found
    assert found["Accepted"] >= 1, found
    assert found["RolledBack"] >= 1, found
    assert audit(run_dir).holds
