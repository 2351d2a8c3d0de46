"""A run as a user would write it, small enough to be trained many times over, through a Tuner."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from gptune import Tuner
from gptune.events import Event, Line
from gptune.run_directory.event_log import read_events

Kind = TypeVar("Kind", bound=Event)
STEPS = 600  # enough for a ramp and a check by default
CALIBRATED = 120  # steps after which that is over for sure


def plain_model() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 1))


def sgd(model: nn.Module) -> Optimizer:
    return SGD(model.parameters(), lr=0.005, momentum=0.9)


def cosine(optimizer: Optimizer, steps: int) -> LRScheduler:
    return LambdaLR(optimizer, lambda t: 0.5 * (1 + math.cos(math.pi * t / steps)))


class Living:
    """One run: its model, data, optimizer, schedule and Tuner."""

    def __init__(
        self,
        run_dir: Path,
        *,
        steps: int = STEPS,
        make: Callable[[], nn.Module] = plain_model,
        optimizer: Callable[[nn.Module], Optimizer] = sgd,
        **chosen: Any,
    ) -> None:
        self.run_dir, self.steps = run_dir, steps
        chance = torch.Generator().manual_seed(4)
        x = torch.randn(256, 6, generator=chance)
        y = x.sin().sum(1, keepdim=True) + 0.1 * torch.randn(256, 1, generator=chance)
        self.held_out = (x[192:], y[192:])
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.model = make()
        rows = [torch.randint(0, 192, (16,), generator=chance) for _ in range(steps)]
        self.loader = [(x[row].clone(), y[row].clone()) for row in rows]
        self.optimizer = optimizer(self.model)
        self.scheduler = cosine(self.optimizer, steps)
        self.taken = 0  # steps that the optimizer really took
        self.used: list[float] = []  # rate in force over the schedule's, of each
        self.optimizer.register_step_post_hook(self._count)
        given: dict[str, Any] = {
            "model": self.model,
            "scheduler": self.scheduler,
            "evaluate": self.evaluate,
            "total_steps": steps,
            "objective": None if "recipe" in chosen else "loss",
        }
        self.tuner = Tuner(self.optimizer, run_dir=run_dir, **{**given, **chosen})
        self.optimizer.register_step_pre_hook(self._see)
        self._stream = self.tuner.batches(self.loader)
        self._scheduled = 0.0

    def evaluate(self) -> Tensor:
        x, y = self.held_out
        losses: Tensor = (self.model(x) - y).square().mean(1)
        return losses

    def validation(self) -> float:
        with torch.no_grad():
            return float(self.evaluate().mean())

    def train(self, steps: int | None = None, *, every: int = 10) -> None:
        """Take so many steps, or all that are left, and report now and then."""
        for _ in range(self.steps if steps is None else steps):
            batch = next(self._stream, None)
            if batch is None:
                return
            self.step(*batch)
            if every and self.tuner.steps % every == 0:
                self.tuner.report()

    def step(self, x: Tensor, y: Tensor) -> None:
        self.optimizer.zero_grad()
        loss = (self.model(x) - y).square().mean()
        loss.backward()
        self.update(loss)

    def update(self, loss: Tensor | None) -> None:
        """Step the optimizer and all that counts its steps."""
        self._scheduled = self.optimizer.param_groups[0]["lr"]
        self.optimizer.step()
        self.scheduler.step()
        self.tuner.step(loss)

    def poison(self, at: int) -> None:
        """Let a batch hold NaN."""
        self.loader[at][0].fill_(torch.nan)

    def state(self) -> dict[str, Any]:
        """Give copies of all that training changes."""
        return {
            "model": {k: v.clone() for k, v in self.model.state_dict().items()},
            "optimizer": {
                n: {k: v.clone() if isinstance(v, Tensor) else v for k, v in one.items()}
                for n, one in self.optimizer.state_dict()["state"].items()
            },
        }

    def lines(self) -> list[Line]:
        return read_events(self.run_dir)

    def events(self, kind: type[Kind]) -> list[Kind]:
        return [line.event for line in self.lines() if isinstance(line.event, kind)]

    def _count(self, *_: object) -> None:
        self.taken += 1

    def _see(self, optimizer: Optimizer, *_: object) -> None:
        if self._scheduled:
            self.used.append(float(optimizer.param_groups[0]["lr"] / self._scheduled))


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Compare two states bit for bit."""
    flat, others = list(_flat(one)), list(_flat(other))
    return [k for k, _ in flat] == [k for k, _ in others] and all(
        torch.equal(a, b) if isinstance(a, Tensor) else a == b
        for (_, a), (_, b) in zip(flat, others, strict=True)
    )


def _flat(state: dict[Any, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in state.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}/{key}")
        else:
            yield f"{path}/{key}", value
