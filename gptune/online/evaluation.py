"""Calling the user's ``evaluate``: without gradients, and leaving no trace in the model."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def evaluate_mean(evaluate: Callable[[], Any], model: nn.Module | None) -> Any:
    """Call ``evaluate`` under ``no_grad``; per-example losses of shape ``(m,)`` become their mean.

    Args:
        evaluate: Gives one loss, or losses per example; lower is better.
        model: Its train or eval mode is put back afterwards, module by module.
    """
    with torch.no_grad(), _mode_kept(model):
        losses = evaluate()
    is_many = isinstance(losses, Tensor | np.ndarray) and losses.ndim == 1 and len(losses) > 1
    return losses.mean() if is_many else losses


@contextmanager
def _mode_kept(model: nn.Module | None) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()] if model is not None else []
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
