"""A schedule is rehearsed, and does not notice."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import SGD, AdamW, Optimizer
from torch.optim import lr_scheduler as schedulers

from gptune.actuators.optimizer.rehearsal import LONGEST, mean_rate

STEPS = 200
MAKERS: dict[str, Callable[[Optimizer], Any]] = {
    "cosine": lambda o: schedulers.CosineAnnealingLR(o, STEPS),
    "steps": lambda o: schedulers.StepLR(o, 50),
    "one cycle": lambda o: schedulers.OneCycleLR(o, 0.3, total_steps=STEPS + 1),
    "lambda": lambda o: schedulers.LambdaLR(o, lambda t: 1 - t / STEPS),
    "sequential": lambda o: schedulers.SequentialLR(
        o, [schedulers.LinearLR(o, 0.1, 1.0, 20), schedulers.CosineAnnealingLR(o, 180)], [20]
    ),
    "chained": lambda o: schedulers.ChainedScheduler(
        [schedulers.ExponentialLR(o, 0.99), schedulers.ConstantLR(o, 0.5, 30)]
    ),
}


def optimizer() -> Optimizer:
    made = [torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2))]
    groups: list[dict[str, Any]] = [{"params": [made[0]]}, {"params": [made[1]], "lr": 0.01}]
    return AdamW(groups, lr=0.1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MAKERS)
def test_it_is_the_mean_of_what_the_schedule_then_does(name: str) -> None:
    mine = optimizer()
    scheduler = MAKERS[name](mine)
    before = copy.deepcopy((mine.state_dict(), scheduler.state_dict()))
    found = mean_rate(mine, scheduler, STEPS)
    assert repr((mine.state_dict(), scheduler.state_dict())) == repr(before)
    rates = []
    for _ in range(STEPS):
        rates.append(mine.param_groups[0]["lr"])
        mine.step()
        scheduler.step()
    assert found == pytest.approx(sum(rates) / STEPS)


EPOCHS = 20
BY_EPOCH: dict[str, Callable[[Optimizer], Any]] = {
    "cosine": lambda o: schedulers.CosineAnnealingLR(o, EPOCHS),
    "linear": lambda o: schedulers.LambdaLR(o, lambda t: max(0.0, 1 - t / EPOCHS)),
    "polynomial": lambda o: schedulers.PolynomialLR(o, EPOCHS, power=2.0),
    "steps": lambda o: schedulers.StepLR(o, 6),
    "exponential": lambda o: schedulers.ExponentialLR(o, 0.8),
    "constant": lambda o: schedulers.ConstantLR(o, 1.0),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", BY_EPOCH)
@pytest.mark.parametrize("each", [10, 100])
def test_a_schedule_that_is_stepped_once_an_epoch_is_taken_for_nearly_what_it_is(
    name: str, each: int
) -> None:
    mine = optimizer()
    scheduler = BY_EPOCH[name](mine)
    found = mean_rate(mine, scheduler, each * EPOCHS)
    assert found is not None
    rates = []
    for _ in range(EPOCHS):
        rates.append(mine.param_groups[0]["lr"])
        mine.step()
        scheduler.step()
    assert abs(math.log10(found / (sum(rates) / EPOCHS))) < 0.25


def test_without_a_scheduler_the_rate_stands_unless_there_is_a_trace_of_one() -> None:
    mine = SGD([torch.zeros(1)], lr=0.25)
    assert mean_rate(mine, None, 10) == 0.25
    schedulers.StepLR(mine, 3)
    assert mean_rate(mine, None, 10) is None


def test_what_cannot_be_rehearsed_is_not_known() -> None:
    mine = SGD([torch.zeros(1)], lr=0.25)
    cosine = schedulers.CosineAnnealingLR(mine, 10)
    assert mean_rate(mine, cosine, LONGEST + 1) is None
    assert mean_rate(optimizer(), cosine, 10) is None  # another optimizer's
    with pytest.raises(TypeError):
        mean_rate(mine, schedulers.ReduceLROnPlateau(mine), 10)
