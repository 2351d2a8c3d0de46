"""Outcome transforms: what stands between the values told and the surrogate.

In this order: take the trend out, pull in disasters, standardise, warp.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]

FAR = 4.0  # how far below the median a value still counts as such [gaps to the worst tenth]
RIDGE = 0.3  # pull of the trend's coefficients towards 0, so that two values have a trend too


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
    left: Tensor = (y / largest - trend) * largest
    return left


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


# The warps are NumPy's: on so few numbers its operations cost half of torch's, and a fit warps at
# every evaluation of the likelihood.


@dataclass(frozen=True, slots=True)
class Warped:
    """Warped values, and how they and their Jacobian hang on the warp's one parameter."""

    value: Array  # w(z), shape (s, n)
    log_slope: Array  # log dw/dz, shape (s, n)
    by_parameter: Array  # dw/dp, shape (s, n)
    log_slope_by_parameter: Array  # d log(dw/dz) / dp, shape (s, n)


class Bent(Protocol):
    """A warp bound to the values that it bends."""

    def __call__(self, parameter: Array) -> Warped:
        """Warp; ``parameter`` has shape ``(s, 1)``."""
        ...

    def unwarp(self, w: Array, parameter: Array) -> Array:
        """Invert: the values, shape ``(s, m)``, whose warp is ``w``, shape ``(s, m)``."""
        ...


@dataclass(frozen=True, slots=True)
class Warp:
    """A family of rising functions with one parameter, whose prior is a normal."""

    bind: Callable[[Array], Bent]  # standardised values, shape (n,), not all the same
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

    def __init__(self, z: Array) -> None:
        self._positive = z >= 0
        self._sign = np.where(self._positive, 1.0, -1.0)
        self._t = np.log1p(np.abs(z))

    def __call__(self, parameter: Array) -> Warped:
        """Warp; ``parameter`` has shape ``(s, 1)``."""
        sign, t, power = self._sign, self._t, _powers(parameter, self._positive)
        grown = np.expm1(power * t)
        value = grown / power
        # The mirror image's power is 2 - p: its sign and the mirror's cancel in dw/dp.
        by_parameter = (t * (grown + 1.0) - value) / power
        signed = np.broadcast_to(self._sign * t, value.shape)
        return Warped(sign * value, (power - 1.0) * t, by_parameter, signed)

    def unwarp(self, w: Array, parameter: Array) -> Array:
        """Invert; where no value has such a warp, the largest finite one stands."""
        power = _powers(parameter, w >= 0)
        with np.errstate(divide="ignore"):
            t = np.log1p(np.maximum(power * np.abs(w), -1.0)) / power
        value: Array = np.where(w >= 0, 1.0, -1.0) * np.expm1(np.clip(t, 0.0, 700.0))
        return value


def _powers(parameter: Array, positive: Array) -> Array:
    """The power on each value's side of zero; at 0 itself, one nearby, for it divides."""
    power = np.where(positive, parameter, 2.0 - parameter)
    return np.where(np.abs(power) < 1e-8, 1e-8, power)


class LogGap:
    """Logarithm of the gap to the best value: ``-c log(1 + v / c)``, ``c = exp(p)``.

    ``v`` is the gap to the best value in units of the median gap: large ``c`` changes nothing,
    small ``c`` spreads the values near the best and draws those far below it together.

    Args:
        z: Standardised values, not all the same, shape ``(n,)``.
    """

    def __init__(self, z: Array) -> None:
        self._best = z.max()
        gaps = self._best - z
        middle = float(np.median(gaps))
        # Where more than half share the best value, the mean gap stands in.
        self._gap = middle if middle > 0 else max(float(gaps.mean()), 1e-12)
        self._v = gaps / self._gap

    def __call__(self, parameter: Array) -> Warped:
        """Warp; ``parameter`` has shape ``(s, 1)``."""
        c = np.exp(parameter)
        part = self._v / c
        log, share = np.log1p(part), part / (1.0 + part)
        return Warped(-c * log, -log - math.log(self._gap), c * (share - log), share)

    def unwarp(self, w: Array, parameter: Array) -> Array:
        """Invert; ``w`` above zero lies above the best value."""
        c = np.exp(parameter)
        value: Array = self._best - self._gap * c * np.expm1(np.minimum(-w / c, 700.0))
        return value


WARPS = {
    "yeo_johnson": Warp(YeoJohnson, center=1.0, spread=0.7),
    "log_gap": Warp(LogGap, center=3.0, spread=1.0),
}
