"""Outcome transforms: what stands between the values told and the surrogate."""

import torch
from torch import Tensor

FAR = 5.0  # how far below the median a value still counts as such [spreads]; -1e6 swamps a fit


def winsorise(y: Tensor) -> Tensor:
    """Pull in values far below the others, so that one disaster does not hide all else.

    Only the bad side is pulled in: larger is better, and a wonder is news.

    Args:
        y: Finite values, shape ``(n,)``.

    Returns:
        Values no lower than ``FAR`` spreads below the median, shape ``(n,)``; spread is 1.4826
        times the median absolute deviation.
    """
    median = y.median()
    spread = 1.4826 * (y - median).abs().median()
    return y.clamp_min(median - FAR * spread) if bool(spread > 0) else y


def standardise(y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Shift and scale to mean 0 and deviation 1; constant values become zeros.

    Args:
        y: Finite values, shape ``(n,)``.

    Returns:
        Standardised values ``(n,)``, the mean ``()``, the deviation ``()``, which is 1 for
        values that do not differ.
    """
    largest = y.abs().max().clamp_min(torch.finfo(y.dtype).tiny)
    unit = y / largest  # squares of 1e200 overflow, of 1e-200 vanish
    mean, deviation = unit.mean(), unit.std(correction=0)
    if not bool(deviation > 1e-13):
        return torch.zeros_like(y), mean * largest, torch.ones_like(largest)
    return (unit - mean) / deviation, mean * largest, deviation * largest
