"""The schedulers and optimizers under test, a training run with one of each, and its copy by hand.

The protocol is that of research/reliability.md, section 5.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import (
    ASGD,
    LBFGS,
    SGD,
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Muon,
    NAdam,
    Optimizer,
    RAdam,
    RMSprop,
    Rprop,
    SparseAdam,
)
from torch.optim import lr_scheduler as schedules
from torch.optim.swa_utils import SWALR

from gptune.actuators import optimizer_actuators, parts_of, schedule
from gptune.actuators.optimizer import OptimizerKnob

STEPS, SET, REMOVED = 24, 7, 17
GROUPS = ({"lr": 0.1}, {"lr": 0.02, "weight_decay": 0.05})
MULTIPLIERS = {"lr": 0.7, "weight_decay": 3.0, "momentum": 1.05, "beta2": 1.0005, "eps": 30.0}

Groups = list[dict[str, Any]]


class UserError(Exception):
    """Raised by the user's closure or hook."""


def double(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


# Optimizers


def with_tensor_rates(kind: Callable[..., Optimizer], **how: Any) -> Callable[[Groups], Optimizer]:
    """Give every group a tensor of its own as its rate."""
    return lambda groups: kind(
        [{**group, "lr": double(group["lr"])} for group in groups], lr=double(0.1), **how
    )


def in_one_group(groups: Groups) -> LBFGS:
    """LBFGS takes no more than one."""
    return LBFGS([p for group in groups for p in group["params"]], lr=0.1, max_iter=3)


OPTIMIZERS: dict[str, Callable[[Groups], Optimizer]] = {
    "SGD": lambda groups: SGD(groups, lr=0.1, momentum=0.9, weight_decay=0.01, foreach=False),
    "SGD foreach": lambda groups: SGD(groups, lr=0.1, momentum=0.9, foreach=True),
    "SGD fused": lambda groups: SGD(groups, lr=0.1, momentum=0.9, fused=True),
    "SGD tensor": with_tensor_rates(SGD, momentum=0.9, nesterov=True, foreach=False),
    "SGD foreach tensor": with_tensor_rates(SGD, momentum=0.9, foreach=True),
    "SGD fused tensor": with_tensor_rates(SGD, momentum=0.9, fused=True),
    "Adam": lambda groups: Adam(groups, lr=0.1, weight_decay=0.01, foreach=False),
    "Adam foreach": lambda groups: Adam(groups, lr=0.1, weight_decay=0.01, foreach=True),
    "Adam fused": lambda groups: Adam(groups, lr=0.1, weight_decay=0.01, fused=True),
    "Adam tensor": with_tensor_rates(Adam, foreach=False),  # foreach: torch refuses
    "Adam fused tensor": with_tensor_rates(Adam, fused=True),
    "Adam tensor betas": with_tensor_rates(Adam, betas=(double(0.9), double(0.999)), foreach=False),
    "AdamW": lambda groups: AdamW(groups, lr=0.1, foreach=False),
    "AdamW foreach": lambda groups: AdamW(groups, lr=0.1, foreach=True),
    "AdamW fused": lambda groups: AdamW(groups, lr=0.1, fused=True),
    "AdamW tensor": with_tensor_rates(AdamW, amsgrad=True, foreach=False),
    "AdamW fused tensor": with_tensor_rates(AdamW, fused=True),
    "AdamW tensor decay": lambda groups: AdamW(
        [{**group, "weight_decay": double(0.05)} for group in groups], lr=0.1, foreach=False
    ),
    "RMSprop": lambda groups: RMSprop(groups, lr=0.1, momentum=0.5),
    "Adagrad": lambda groups: Adagrad(groups, lr=0.1),
    "Adagrad fused": lambda groups: Adagrad(groups, lr=0.1, fused=True),
    "NAdam": lambda groups: NAdam(groups, lr=0.1),
    "RAdam": lambda groups: RAdam(groups, lr=0.1),
    "Adafactor": lambda groups: Adafactor(groups, lr=0.1, weight_decay=0.01),
    "Muon": lambda groups: Muon(groups, lr=0.1),
    "LBFGS": in_one_group,
    "Adamax": lambda groups: Adamax(groups, lr=0.1),
    "Adadelta": lambda groups: Adadelta(groups, lr=0.1),
    "ASGD": lambda groups: ASGD(groups, lr=0.1),
    "Rprop": lambda groups: Rprop(groups, lr=0.1),
    "SparseAdam": lambda groups: SparseAdam(groups, lr=0.1),
}
# Those that are tried under every schedule; all others are tried under one.
CROSSED = ("SGD", "Adam", "AdamW", "RMSprop", "SGD foreach", "AdamW fused")


# Schedules


class InverseRoot(schedules.LRScheduler):
    """A user's own scheduler, in closed form."""

    def get_lr(self) -> list[float | Tensor]:
        return [rate / math.sqrt(1 + self.last_epoch) for rate in self.base_lrs]


def sequential(optimizer: Optimizer) -> schedules.SequentialLR:
    """Its milestone lies between the step that sets the multiplier and that which removes it."""
    warm = schedules.LinearLR(optimizer, 0.1, total_iters=10)
    cosine = schedules.CosineAnnealingLR(optimizer, 20)
    return schedules.SequentialLR(optimizer, [warm, cosine], [10])


def chained(optimizer: Optimizer) -> schedules.ChainedScheduler:
    constant = schedules.ConstantLR(optimizer, 0.5, 12)
    return schedules.ChainedScheduler([constant, schedules.ExponentialLR(optimizer, 0.95)])


SCHEDULES: dict[str, Callable[[Optimizer], Any]] = {
    "none": lambda optimizer: None,
    "StepLR": lambda optimizer: schedules.StepLR(optimizer, 5, 0.5),
    "MultiStepLR": lambda optimizer: schedules.MultiStepLR(optimizer, [5, 12, 20], 0.3),
    "ConstantLR": lambda optimizer: schedules.ConstantLR(optimizer, 0.3, 12),
    "LinearLR": lambda optimizer: schedules.LinearLR(optimizer, 0.2, total_iters=15),
    "ExponentialLR": lambda optimizer: schedules.ExponentialLR(optimizer, 0.9),
    "PolynomialLR": lambda optimizer: schedules.PolynomialLR(optimizer, 30, 2.0),
    "CosineAnnealingLR": lambda optimizer: schedules.CosineAnnealingLR(optimizer, 24),
    "CosineAnnealingLR with eta_min": lambda optimizer: schedules.CosineAnnealingLR(
        optimizer, 24, 0.005
    ),
    "CosineAnnealingWarmRestarts": lambda optimizer: schedules.CosineAnnealingWarmRestarts(
        optimizer, 6, 2
    ),
    "CyclicLR": lambda optimizer: schedules.CyclicLR(
        optimizer, 0.01, 0.1, 4, cycle_momentum=True, max_momentum=0.93
    ),
    "OneCycleLR": lambda optimizer: schedules.OneCycleLR(optimizer, [0.2, 0.05], 40),
    "LambdaLR": lambda optimizer: schedules.LambdaLR(
        optimizer, lambda t: min(1.0, (t + 1) / 8) / math.sqrt(1 + t)
    ),
    "MultiplicativeLR": lambda optimizer: schedules.MultiplicativeLR(optimizer, lambda t: 0.97),
    "SequentialLR": sequential,
    "ChainedScheduler": chained,
    "ReduceLROnPlateau": lambda optimizer: schedules.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=2
    ),
    "ReduceLROnPlateau with min_lr": lambda optimizer: schedules.ReduceLROnPlateau(
        optimizer, factor=0.7, patience=2, min_lr=0.03
    ),
    "SWALR": lambda optimizer: SWALR(optimizer, swa_lr=0.01, anneal_epochs=14),
    "hand-written": lambda optimizer: lambda t: 1 / (1 + 0.3 * t),
    "user's own": InverseRoot,
    "gptune warmup_stable_decay": lambda optimizer: schedule.warmup_stable_decay(
        optimizer, 25, warmup=0.2, cooldown=0.5
    ),
    "gptune cosine": lambda optimizer: schedule.cosine(optimizer, 30, warmup=0.1, final=0.05),
    "gptune linear": lambda optimizer: schedule.linear(optimizer, 30, warmup=0.4),
}


class Schedule:
    """A torch scheduler, or a hand-written one; both are asked to go one step on."""

    def __init__(self, optimizer: Optimizer, made: Any) -> None:
        self.optimizer, self.made, self.count = optimizer, made, 0

    def go(self) -> None:
        self.count += 1
        if callable(self.made):
            for group, start in zip(self.optimizer.param_groups, GROUPS, strict=True):
                group["lr"] = start["lr"] * self.made(self.count)
        elif isinstance(self.made, schedules.ReduceLROnPlateau):
            self.made.step([1.0, 0.9, 0.9, 0.9, 0.9][self.count % 5])
        elif self.made is not None:
            self.made.step()

    def state(self) -> Any:
        return None if self.made is None or callable(self.made) else self.made.state_dict()


# A run, tuned or by hand


class Run:
    """A training run on a deterministic quadratic: optimizer, schedule, parameters ``(n, 2)``."""

    def __init__(self, optimizer: str, schedule: str) -> None:
        self.parameters = [
            nn.Parameter(torch.linspace(-1.0, 1.0, size, dtype=torch.float64).reshape(-1, 2))
            for size in (6, 8)
        ]
        pairs = zip(self.parameters, GROUPS, strict=True)
        groups = [{"params": [p], **own} for p, own in pairs]
        self.optimizer = OPTIMIZERS[optimizer](groups)
        self.schedule = Schedule(self.optimizer, SCHEDULES[schedule](self.optimizer))

    def step(self) -> None:
        if isinstance(self.optimizer, LBFGS):
            self.optimizer.step(self.differentiate)  # type: ignore[no-untyped-call]
        else:
            self.differentiate()
            self.optimizer.step()

    def differentiate(self) -> float:
        """Set the gradients, and give the loss."""
        loss = 0.0
        for parameter in self.parameters:
            distance = parameter.detach() - 0.3
            slope = torch.arange(1.0, 1.0 + distance.numel(), dtype=distance.dtype)
            gradient = slope.reshape(-1, 2) * distance
            loss += float((gradient * distance).sum()) / 2
            sparse = isinstance(self.optimizer, SparseAdam)
            parameter.grad = gradient.to_sparse() if sparse else gradient
        return loss

    def values(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.parameters]


def knobs_of(
    optimizer: Optimizer, *, attached: bool = True, **how: Any
) -> dict[str, OptimizerKnob]:
    """Make the knobs, those that are set as one taken apart, by their names after the dot."""
    parts = parts_of(optimizer_actuators(optimizer, **how))
    knobs = {p.name.partition(".")[2]: p for p in parts if isinstance(p, OptimizerKnob)}
    assert len(knobs) == len(parts)
    if attached:
        next(iter(knobs.values())).attach()
    return knobs


def hand_over(source: Optimizer, target: Optimizer, factors: dict[str, float]) -> None:
    """Write multiplier x schedule into an optimizer that has no schedule of its own."""
    for mine, theirs in zip(source.param_groups, target.param_groups, strict=True):
        for key in ("lr", "weight_decay", "momentum", "eps"):
            if isinstance(mine.get(key), int | float | Tensor):
                theirs[key] = mine[key] * factors.get(key, 1.0)
        if "betas" in mine:
            scale = (factors.get("momentum", 1.0), factors.get("beta2", 1.0))
            theirs["betas"] = tuple(b * s for b, s in zip(mine["betas"], scale, strict=True))


def equal(one: object, other: object) -> bool:
    """Say whether two state_dicts are equal to the bit, types included."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        same = type(one) is type(other) and len(one) == len(other)
        return same and all(equal(a, b) for a, b in zip(one, other, strict=True))
    return type(one) is type(other) and bool(one == other)


# An optimizer whose rate can be seen


def unit(rate: float | Tensor, *more: float | Tensor) -> tuple[SGD, list[nn.Parameter]]:
    """SGD on gradients of 1 from 0: after a step, minus the parameter is the rate, exactly."""
    parameters = [nn.Parameter(torch.zeros(1, dtype=torch.float64)) for _ in (rate, *more)]
    groups: Groups = [{"params": [parameters[0]]}]
    groups += [{"params": [p], "lr": r} for p, r in zip(parameters[1:], more, strict=True)]
    return SGD(groups, lr=rate), parameters


def set_gradients(optimizer: Optimizer, gradient: float = 1.0) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.full_like(parameter, gradient)


def used(optimizer: Optimizer) -> list[float]:
    """Make a step and say which rate each group really used."""
    parameters = [group["params"][0] for group in optimizer.param_groups]
    with torch.no_grad():
        for parameter in parameters:
            parameter.zero_()
    set_gradients(optimizer)
    optimizer.step()
    return [-float(parameter.detach()) for parameter in parameters]


def rates(optimizer: Optimizer) -> list[float]:
    """Say which rates stand in the groups."""
    return [float(group["lr"]) for group in optimizer.param_groups]


def fail(optimizer: Optimizer) -> list[float]:
    """Make a step whose closure raises; gives the rates that it saw."""
    seen: list[float] = []

    def closure() -> float:
        seen.extend(rates(optimizer))
        raise UserError

    with pytest.raises(UserError):
        optimizer.step(closure)
    return seen


def break_down(optimizer: Optimizer) -> list[float]:
    """Make a step that raises by itself, without a closure; gives the rates that it saw."""
    seen: list[float] = []

    def broken(*_: Any) -> None:
        seen.extend(rates(optimizer))
        raise UserError

    handle = optimizer.register_step_pre_hook(broken)
    with pytest.raises(UserError):
        optimizer.step()
    handle.remove()
    return seen


def saved_rates(optimizer: Optimizer) -> list[float]:
    """Say which rates a checkpoint of now holds."""
    return [float(group["lr"]) for group in optimizer.state_dict()["param_groups"]]


def draws_nothing() -> Iterator[None]:
    """Nothing here may draw from torch's own chance: a fixture for each file."""
    before = torch.random.get_rng_state()
    yield
    assert torch.equal(before, torch.random.get_rng_state())
