"""What can go wrong in a run, done to every method in the same way.

Faults of the data lie in the loader, at a row of it: whoever trains on that row again meets them
again. Faults of the optimizer happen at a step, whatever the method does there.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from examples.benchmarks.online.tasks import Task

Batch = tuple[Tensor, Tensor]
SPIKE, SPIKE_STEPS, SPIKE_AT = 100.0, 3, 0.5
NAN_AT = (0.3, 0.6)
NOISE_SHARE, NOISE_FROM = 0.4, 0.4
GRADIENT_FROM, GRADIENT_TO = 0.3, 0.5


def _untouched(loader: Iterable[Batch]) -> Iterator[Batch]:
    yield from loader


def _calm(step: int, optimizer: Optimizer) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is done to the batches, and around an optimizer step."""

    poison: Callable[[Iterable[Batch]], Iterator[Batch]] = _untouched
    disturb: Callable[[int, Optimizer], AbstractContextManager[None]] = _calm


def nan_batches(task: Task, seed: int) -> Fault:
    """Two batches hold NaN."""
    rows = {int(at * task.steps) for at in NAN_AT}

    def poison(loader: Iterable[Batch]) -> Iterator[Batch]:
        for row, (x, y) in enumerate(loader):
            if row not in rows:
                yield x, y
            elif x.is_floating_point():
                yield torch.full_like(x, torch.nan), y
            else:
                raise TypeError("whole numbers cannot be NaN")

    return Fault(poison=poison)


def label_noise(task: Task, seed: int) -> Fault:
    """From a moment on, two in five targets are another example's of the same minibatch."""
    chance = torch.Generator().manual_seed(seed + 1)
    first = int(NOISE_FROM * task.steps)

    def poison(loader: Iterable[Batch]) -> Iterator[Batch]:
        for row, (x, y) in enumerate(loader):
            if row < first:
                yield x, y
                continue
            wrong = torch.rand(len(y), generator=chance) < NOISE_SHARE
            others = y[torch.randperm(len(y), generator=chance)]
            yield x, torch.where(wrong, others, y)

    return Fault(poison=poison)


def rate_spike(task: Task, seed: int) -> Fault:
    """Three steps at a hundred times the rate."""
    first = int(SPIKE_AT * task.steps)

    @contextmanager
    def disturb(step: int, optimizer: Optimizer) -> Iterator[None]:
        if not first < step <= first + SPIKE_STEPS:
            yield
            return
        before = [group["lr"] for group in optimizer.param_groups]
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * SPIKE
        yield
        for group, rate in zip(optimizer.param_groups, before, strict=True):
            group["lr"] = rate

    return Fault(disturb=disturb)


def gradient_noise(task: Task, seed: int) -> Fault:
    """For a while, every gradient carries Gaussian noise of its own size."""
    chance = torch.Generator().manual_seed(seed + 2)
    first, last = int(GRADIENT_FROM * task.steps), int(GRADIENT_TO * task.steps)

    @contextmanager
    def disturb(step: int, optimizer: Optimizer) -> Iterator[None]:
        if first < step <= last:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    gradient = parameter.grad
                    size = gradient.norm() / gradient.numel() ** 0.5
                    noise = torch.randn(gradient.shape, generator=chance)
                    gradient.add_(size * noise)
        yield

    return Fault(disturb=disturb)


FAULTS: dict[str, Callable[[Task, int], Fault]] = {
    "": lambda task, seed: Fault(),
    "spike": rate_spike,
    "nan": nan_batches,
    "label_noise": label_noise,
    "gradient_noise": gradient_noise,
}
