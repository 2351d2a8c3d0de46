"""A tiny deterministic training run, for tests of the whole."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gptune import Decision, Tuner

MakeOptimizer = Callable[[list[dict[str, Any]]], Optimizer]
MakeScheduler = Callable[[Optimizer], LRScheduler]


def adamw(groups: list[dict[str, Any]]) -> Optimizer:
    return torch.optim.AdamW(groups, lr=1e-3)


class Training:
    """A small regression with two parameter groups; equal seeds give equal runs, bit for bit."""

    def __init__(
        self, make_optimizer: MakeOptimizer = adamw, make_scheduler: MakeScheduler | None = None
    ) -> None:
        chance = torch.Generator().manual_seed(5)
        self.inputs = torch.randn(64, 6, generator=chance)
        self.targets = self.inputs.sin().sum(1, keepdim=True)
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 1))
        first, last = self.model[0], self.model[2]
        groups: list[dict[str, Any]] = [
            {"params": first.parameters()},
            {"params": last.parameters(), "lr": 3e-3},
        ]
        self.optimizer = make_optimizer(groups)
        self.scheduler = make_scheduler(self.optimizer) if make_scheduler else None

    def step(self, after: Callable[[], None] = lambda: None) -> None:
        self.optimizer.zero_grad()
        loss = nn.functional.mse_loss(self.model(self.inputs), self.targets)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        after()
        if self.scheduler is not None:
            self.scheduler.step()

    def loss(self) -> float:
        with torch.no_grad():
            return float(nn.functional.mse_loss(self.model(self.inputs), self.targets))

    def groups(self) -> list[dict[str, Any]]:
        """Every value of every parameter group but the parameters themselves, copied."""
        return [
            {key: _copy(value) for key, value in group.items() if key != "params"}
            for group in self.optimizer.param_groups
        ]

    def weights(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.model.parameters()]

    def checkpoint(self) -> dict[str, Any]:
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        if self.scheduler is not None:
            state["scheduler"] = self.scheduler.state_dict()
        return state

    def load(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def run_decisions(
    training: Training, tuner: Tuner, metrics: list[float], every: int = 3
) -> list[Decision]:
    """Train, reporting these values of ``val/loss`` in turn."""
    decisions = []
    for value in metrics:
        for _ in range(every):
            training.step(tuner.step)
        decisions.append(tuner.report({"val/loss": value}))
    return decisions
