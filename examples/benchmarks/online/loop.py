"""One ordinary training loop, the same for every method."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from time import perf_counter

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from examples.benchmarks.online.faults import FAULTS, Fault
from examples.benchmarks.online.tasks import Problem, Task, make

Batch = tuple[Tensor, Tensor]
DECAY = 0.3  # last part of a warmup-stable-decay schedule [fraction]
DIGITS = 5  # of what is kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a run starts from.

    Attributes:
        task: The task.
        seed: Of the model, the data and the method's own chance.
        schedule: constant | cosine | wsd.
        factor: Peak rate in units of the task's good one.
        fault: A key of `FAULTS`, or nothing.
    """

    task: Task
    seed: int
    schedule: str = "cosine"
    factor: float = 1.0
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    """What a method is given when a run starts."""

    problem: Problem
    setting: Setting

    @property
    def rate(self) -> float:
        """The rate that the user would have set."""
        return self.setting.task.good * self.setting.factor

    def scheduler(self, optimizer: Optimizer) -> LambdaLR:
        """Make the setting's schedule, from the task's warmup on."""
        return make_schedule(optimizer, self.setting)


@dataclass(frozen=True, slots=True)
class Costs:
    """What a method did: times that it put the training state back, and steps that it lost."""

    restores: int = 0
    wasted: int = 0
    notes: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Where a method takes part in the loop. Without any, it is plain training."""

    optimizer: Optimizer
    scheduler: LambdaLR | None = None
    batches: Callable[[Iterable[Batch]], Iterable[Batch]] = iter
    step: Callable[[Tensor], None] = lambda loss: None  # after each optimizer step
    report: Callable[[], object] = lambda: None  # at each evaluation
    weights: Callable[[], AbstractContextManager[object]] = nullcontext  # around evaluations
    close: Callable[[], Costs] = Costs


Method = Callable[[Start], Hooks]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended.

    Attributes:
        loss: Test loss; at most the untrained model's, which a diverged run counts as.
        dead: Whether it ended non-finite, or above the untrained model.
        curve: Validation loss at each evaluation; infinite where it was not finite.
        steps: Optimizer steps really taken [steps].
        seconds: Wall time of the loop [s].
        costs: What the method did.
    """

    loss: float
    dead: bool
    curve: list[float]
    steps: int
    seconds: float
    costs: Costs


def plain(start: Start) -> Hooks:
    """Train on the schedule alone."""
    optimizer = start.problem.optimizer(start.rate)
    return Hooks(optimizer=optimizer, scheduler=start.scheduler(optimizer))


def make_schedule(optimizer: Optimizer, setting: Setting) -> LambdaLR:
    """Make a schedule of the given shape, with a linear warmup if the task has one."""
    total, shape = setting.task.steps, SHAPES[setting.schedule]
    warmup = round(setting.task.warmup * total)

    def factor(step: int) -> float:
        rising = min(1.0, (step + 1) / (warmup + 1))
        return rising * shape(max(0, step - warmup) / max(1, total - warmup))

    return LambdaLR(optimizer, factor)


SHAPES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "cosine": lambda progress: (1 + math.cos(math.pi * min(1.0, progress))) / 2,
    "wsd": lambda progress: min(1.0, max(0.0, 1 - progress) / DECAY),
}


def run(setting: Setting, method: Method) -> Outcome:
    """Train once.

    Args:
        setting: Where from.
        method: Who takes part.
    """
    task = setting.task
    problem = make(task, setting.seed)
    untrained = problem.test_loss()
    fault = FAULTS[setting.fault](task, setting.seed)
    torch.manual_seed(setting.seed)
    hooks = method(Start(problem, setting))
    curve: list[float] = []
    begin, step = perf_counter(), 0
    for step in _train(problem, hooks, fault):
        if step % task.evaluate_every == 0:
            with hooks.weights():
                hooks.report()
                curve.append(_rounded(float(problem.validation_losses().mean())))
    costs = hooks.close()
    seconds = perf_counter() - begin
    with hooks.weights():
        loss = problem.test_loss()
    alive = math.isfinite(loss) and loss <= untrained
    return Outcome(
        loss=_rounded(loss if alive else untrained),
        dead=not alive,
        curve=curve,
        steps=step,
        seconds=round(seconds, 3),
        costs=costs,
    )


def _train(problem: Problem, hooks: Hooks, fault: Fault) -> Iterator[int]:
    """Take the run's steps, and give each one's number after it."""
    optimizer = hooks.optimizer
    problem.model.train()
    loader = fault.poison(problem.minibatches())
    for step, (x, y) in enumerate(hooks.batches(loader), start=1):
        optimizer.zero_grad()
        loss = problem.loss(x, y)
        loss.backward()  # type: ignore[no-untyped-call]
        with fault.disturb(step, optimizer):
            optimizer.step()
        if hooks.scheduler is not None:
            hooks.scheduler.step()
        hooks.step(loss)
        yield step
        if step == problem.task.steps:
            return


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else math.inf
