"""What a schedule will do: rehearsed with a stand-in, so that the real one does not notice."""

import copy
import warnings
from typing import Any

import torch
from torch.optim import SGD, Optimizer

from gptune.actuators.optimizer.places import RATE, number

LONGEST = 50_000  # more steps would take longer than a user likes to wait [steps]
SPENT = 1e-3  # of its peak: with a rate below it nobody trains on


def mean_rate(optimizer: Optimizer, scheduler: Any, steps: int) -> float | None:
    """Say how high the learning rate of the first group will be on average [1/step].

    Args:
        optimizer: Whose rate.
        scheduler: Its scheduler, or a list of several; it is left alone. ``None`` if the user has
            told of none.
        steps: Steps that are left [steps].

    Returns:
        The mean over the steps that are left; ``None`` if that cannot be known: there is a
        scheduler that nobody told of, or the run is too long. A schedule that is spent before half
        of the steps is one that is stepped more seldom, once an epoch: then the mean of what it
        does up to there.

    Raises:
        Exception: What the scheduler raises, be it in a copy.

    Example:
        >>> from torch.optim.lr_scheduler import CosineAnnealingLR
        >>> optimizer = SGD([torch.zeros(1)], lr=0.1)
        >>> round(mean_rate(optimizer, CosineAnnealingLR(optimizer, 100), 100), 2)
        0.05
    """
    if scheduler is None:
        has_one = any("initial_lr" in group for group in optimizer.param_groups)
        return None if has_one else number(RATE.get(optimizer.param_groups[0]))
    if not 0 < steps <= LONGEST:
        return None
    given = scheduler if isinstance(scheduler, list | tuple) else [scheduler]
    stand_in = _stand_in(optimizer)
    copies = [copy.deepcopy(one, {id(optimizer): stand_in}) for one in given]
    if any(getattr(one, "optimizer", None) is not stand_in for one in copies):
        return None
    rates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the stand-in never takes a step
        for _ in range(steps):
            rates.append(number(RATE.get(stand_in.param_groups[0])))
            for one in copies:
                one.step()
    floor = SPENT * max(rates)
    used = max((n for n, rate in enumerate(rates, start=1) if rate > floor), default=steps)
    lived = rates[:used] if used < steps / 2 else rates
    return sum(lived) / len(lived)


def _stand_in(optimizer: Optimizer) -> Optimizer:
    """Make an optimizer of nothing, with the same entries in its groups."""
    groups = optimizer.param_groups
    made = SGD([{"params": [torch.zeros(1)]} for _ in groups], lr=1.0)
    for mine, theirs in zip(made.param_groups, groups, strict=True):
        mine.update({k: copy.deepcopy(v) for k, v in theirs.items() if k != "params"})
    return made
