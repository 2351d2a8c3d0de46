"""The tasks: small models on data that every machine has, each run fixed by its seed.

Training, validation (what a controller sees) and test (what is reported) are disjoint.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from examples.benchmarks.online import data
from examples.benchmarks.online.data import Losses, Split

SPARE = 1.5  # minibatches in the table per step of the run: skipped ones must not run out
LEAST = 40  # steps of the shortest run [steps]

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": lambda parameters, **given: SGD(parameters, momentum=0.9, **given),
    "nesterov": lambda parameters, **given: SGD(parameters, momentum=0.9, nesterov=True, **given),
    "adamw": lambda parameters, **given: AdamW(parameters, betas=(0.9, 0.99), **given),
    "rmsprop": lambda parameters, **given: torch.optim.RMSprop(parameters, **given),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is trained, and how.

    Attributes:
        name: Its name.
        steps: Optimizer steps of the whole run [steps].
        batch: Examples in a minibatch.
        good: The best peak of a cosine schedule on a x3.16 grid.
        optimizer: A key of `OPTIMIZERS`.
        weight_decay: The optimizer's.
        warmup: Part of the run in which the rate rises linearly [fraction].
        in_means: Whether it counts in the means over the tasks.
    """

    name: str
    steps: int
    batch: int
    good: float
    optimizer: str
    weight_decay: float = 0.0
    warmup: float = 0.0
    in_means: bool = True

    @property
    def evaluate_every(self) -> int:
        """Steps between two evaluations [steps]."""
        return max(1, self.steps // 40)


TASKS = {
    task.name: task
    for task in (
        Task(name="digits_ln", steps=800, batch=16, good=0.1, optimizer="sgd", weight_decay=1e-3),
        Task(name="teacher", steps=1000, batch=32, good=0.01, optimizer="adamw", weight_decay=0.01),
        Task(
            name="digits_conv",
            steps=800,
            batch=16,
            good=0.0316,
            optimizer="nesterov",
            weight_decay=5e-4,
        ),
        Task(
            name="characters",
            steps=1200,
            batch=32,
            good=0.00316,
            optimizer="adamw",
            weight_decay=0.01,
        ),
        Task(name="nqm", steps=1000, batch=1, good=0.1, optimizer="sgd", in_means=False),
    )
}


def find(key: str) -> Task:
    """Read a task's key: its name, then what differs: ``teacher|steps=500|optimizer=sgd``.

    Raises:
        ValueError: If there is no such task, field or optimizer.
    """
    name, *changes = key.split("|")
    if name not in TASKS:
        raise ValueError(f"no task {name!r}; there are {', '.join(TASKS)}")
    task = TASKS[name]
    for change in changes:
        what, _, value = change.partition("=")
        if what not in ("steps", "batch", "good", "optimizer", "weight_decay", "warmup"):
            raise ValueError(f"{key}: a task has no {what!r} that could differ")
        kind = type(getattr(task, what))
        task = replace(task, **{what: kind(value)})
    if task.optimizer not in OPTIMIZERS or task.steps < LEAST:
        raise ValueError(f"{key}: needs one of {', '.join(OPTIMIZERS)}, and {LEAST} steps")
    return task


@dataclass(frozen=True, slots=True)
class Problem:
    """One run's model and data, fixed by the task and the seed."""

    task: Task
    model: nn.Module
    training: Split
    validation: Split
    test: Split
    losses: Losses  # of outputs and targets, per example, shape (m,)
    table: Tensor  # rows of the training split, shape (more than steps, batch)
    test_losses: Losses = field(repr=False)

    def optimizer(self, rate: float) -> Optimizer:
        """Make the task's optimizer."""
        make = OPTIMIZERS[self.task.optimizer]
        parameters = self.model.parameters()
        return make(parameters, lr=rate, weight_decay=self.task.weight_decay)

    def minibatches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Give the minibatches in their order; more than the run has steps."""
        x, y = self.training
        for rows in self.table:
            yield x[rows], y[rows]

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Training loss of a minibatch, shape ``()``."""
        return self.losses(self.model(x), y).mean()

    def validation_losses(self) -> Tensor:
        """Losses per example on the fixed validation set, shape ``(m,)``."""
        x, y = self.validation
        with torch.no_grad(), evaluating(self.model):
            return self.losses(self.model(x), y)

    def test_loss(self) -> float:
        """Mean loss on the test set."""
        x, y = self.test
        with torch.no_grad(), evaluating(self.model):
            return float(self.test_losses(self.model(x), y).mean())


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in eval mode for a while."""
    before = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(before)


def make(task: Task, seed: int) -> Problem:
    """Make a run's model and data; the same for the same task and seed."""
    chance = torch.Generator().manual_seed(seed)
    source = data.SOURCES[task.name](chance)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = source.build()
    rows = int(task.steps * SPARE) + 1
    table = torch.randint(0, len(source.training[0]), (rows, task.batch), generator=chance)
    return Problem(
        task,
        model,
        source.training,
        source.validation,
        source.test,
        source.losses,
        table,
        source.test_losses or source.losses,
    )
