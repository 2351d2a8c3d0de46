"""Outcome transforms: what stands between the values told and the surrogate.

In this order: take the trend out, pull in disasters, standardise, warp.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

FAR = 4.0  # how far below the median a value still counts as such [gaps to the worst tenth]
RIDGE = 1e-3  # pull of the trend's coefficients towards 0, so that two values have a trend too


def detrend(y: Tensor, age: Tensor) -> Tensor:
    """Take out what time alone explains: ridge regression on ``t`` and ``log(1 + t)``.

    Args:
        y: Finite values, shape ``(n,)``.
        age: Of each value [observations], shape ``(n,)``; the oldest is at ``t = 0``.

    Returns:
        What is left, with the mean of ``y``, shape ``(n,)``.
    """
    if len(y) < 4:  # three columns explain three values, whatever they are
        return y
    t = age.max() - age
    columns = torch.stack([t, torch.log1p(t)], dim=-1)
    columns = columns - columns.mean(0)
    columns = columns / columns.square().mean(0).sqrt().clamp_min(1e-12)
    largest = y.abs().max().clamp_min(torch.finfo(y.dtype).tiny)  # squares of 1e200 overflow
    centered = y / largest - (y / largest).mean()
    gram = columns.T @ columns + RIDGE * len(y) * torch.eye(2, dtype=y.dtype, device=y.device)
    trend = columns @ torch.linalg.solve(gram, columns.T @ centered)
    return (y / largest - trend) * largest


def winsorise(y: Tensor) -> Tensor:
    """Pull in values far below the others, so that a disaster does not hide all else.

    Only the bad side is pulled in: larger is better, and a wonder is news. What is far is
    measured by the gap between the median and the worst tenth: where more than a tenth are that
    bad they are no accidents but a part of the landscape.

    Args:
        y: Finite values, shape ``(n,)``.

    Returns:
        Values no lower than ``FAR`` such gaps below the median, shape ``(n,)``.
    """
    if len(y) < 3:
        return y
    ordered = y.sort().values
    median = ordered[len(y) // 2]
    gap = median - ordered[max(1, len(y) // 10)]
    return y.clamp_min(median - FAR * gap) if bool(gap > 0) else y


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


@dataclass(frozen=True, slots=True)
class Warped:
    """Warped values, and how they and their Jacobian hang on the warp's one parameter."""

    value: Tensor  # w(z), shape (n,)
    log_slope: Tensor  # log dw/dz, shape (n,)
    by_parameter: Tensor  # dw/dp, shape (n,)
    log_slope_by_parameter: Tensor  # d log(dw/dz) / dp, shape (n,)


class Bent(Protocol):
    """A warp bound to the values that it bends."""

    def __call__(self, parameter: Tensor) -> Warped:
        """Warp; ``parameter`` has shape ``()``."""
        ...

    def unwarp(self, w: Tensor, parameter: Tensor) -> Tensor:
        """Invert: the values, shape ``(m,)``, whose warp is ``w``, shape ``(m,)``."""
        ...


@dataclass(frozen=True, slots=True)
class Warp:
    """A family of rising functions with one parameter, whose prior is a normal."""

    bind: Callable[[Tensor], Bent]  # standardised values, shape (n,), not all the same
    center: float  # mean of the parameter's prior
    spread: float  # its deviation


class YeoJohnson:
    """Bends both sides of zero by a power: ``((1 + z)**p - 1) / p``, and its mirror image.

    ``p = 1`` changes nothing.

    Args:
        z: Standardised values, shape ``(n,)``.

    Source:
        Yeo and Johnson (2000), Biometrika 87(4).
    """

    def __init__(self, z: Tensor) -> None:
        self._positive = z >= 0
        self._sign = torch.where(self._positive, 1.0, -1.0).to(z)
        self._t = torch.log1p(z.abs())

    def __call__(self, parameter: Tensor) -> Warped:
        """Warp; ``parameter`` has shape ``()``."""
        sign, t, power = self._sign, self._t, _powers(parameter, self._positive)
        grown = torch.expm1(power * t)
        value = grown / power
        # The mirror image's power is 2 - p: its sign and the mirror's cancel in dw/dp.
        by_parameter = (t * (grown + 1.0) - value) / power
        return Warped(sign * value, (power - 1.0) * t, by_parameter, sign * t)

    def unwarp(self, w: Tensor, parameter: Tensor) -> Tensor:
        """Invert; where no value has such a warp, the largest finite one stands."""
        power = _powers(parameter, w >= 0)
        t = torch.log1p((power * w.abs()).clamp_min(-1.0)) / power
        return torch.where(w >= 0, 1.0, -1.0).to(w) * torch.expm1(t.clamp(0.0, 700.0))


def _powers(parameter: Tensor, positive: Tensor) -> Tensor:
    """The power on each value's side of zero; at 0 itself, one nearby, for it divides."""
    power = torch.where(positive, parameter, 2.0 - parameter)
    return torch.where(power.abs() < 1e-8, 1e-8, power)


class LogGap:
    """Logarithm of the gap to the best value: ``-c log(1 + v / c)``, ``c = exp(p)``.

    ``v`` is the gap to the best value in units of the median gap: large ``c`` changes nothing,
    small ``c`` spreads the values near the best and draws those far below it together.

    Args:
        z: Standardised values, not all the same, shape ``(n,)``.
    """

    def __init__(self, z: Tensor) -> None:
        self._best = z.max()
        gaps = self._best - z
        middle = gaps.median()
        # Where more than half share the best value, the mean gap stands in.
        self._gap = middle if bool(middle > 0) else gaps.mean().clamp_min(1e-12)
        self._v = gaps / self._gap

    def __call__(self, parameter: Tensor) -> Warped:
        """Warp; ``parameter`` has shape ``()``."""
        c = parameter.exp()
        part = self._v / c
        log, share = torch.log1p(part), part / (1.0 + part)
        return Warped(-c * log, -log - self._gap.log(), c * (share - log), share)

    def unwarp(self, w: Tensor, parameter: Tensor) -> Tensor:
        """Invert; ``w`` above zero lies above the best value."""
        c = parameter.exp()
        return self._best - self._gap * c * torch.expm1((-w / c).clamp_max(700.0))


WARPS = {
    "yeo_johnson": Warp(YeoJohnson, center=1.0, spread=0.7),
    "log_gap": Warp(LogGap, center=3.0, spread=1.0),
}
