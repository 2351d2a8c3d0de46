"""What earlier runs of the same task say of the learning rate: a Gaussian process over its decades.

The prior mean is a parabola around what the runs' calibrations aimed at, so that one run is enough
to begin with; the outcomes of the runs bend it. Pure.
"""

import math
from collections.abc import Sequence
from statistics import fmean, median

import torch
from torch import Tensor

from gptune.online.forecast import NORMAL
from gptune.recipe.prior import PastRate

REACH, GRID = 0.5, 101  # how far from the aim is looked [decades]; at how many places
CURVATURE = 8.0  # of the prior mean [deviations of the outcome's noise per squared decade]
LENGTH = 0.35  # over which an outcome speaks for its neighbours [decades]
BEND = 1.5  # how far the truth may lie from the parabola [deviations of the noise]
LEAST_NOISE = 0.01  # of the progress


def best_rate(past: Sequence[PastRate]) -> float | None:
    """Give the learning rate that promises most, or ``None`` without experience [1/step].

    Maximises the mean of a Gaussian process with a squared exponential covariance over log10(rate),
    on outcomes in units of their own noise: being curious cost each run more than the fifth one
    gained. Adding a constant to the metric, or scaling it, changes nothing.

    Args:
        past: What earlier runs were calibrated to, and how they ended, n of them.
    """
    usable = [one for one in past if min(one.rate, one.aim) > 0 and math.isfinite(one.value)]
    if not usable:
        return None
    center = median(math.log10(one.aim) for one in usable)
    x = torch.tensor([math.log10(one.rate) for one in usable], dtype=torch.float64)  # (n,)
    y = _outcomes(usable) + CURVATURE * (x - center) ** 2  # what is left of the parabola, (n,)
    grid = torch.linspace(center - REACH, center + REACH, GRID, dtype=torch.float64)  # (m,)
    covariance = _covariance(x, x) + torch.eye(len(x), dtype=torch.float64)  # unit noise
    across = _covariance(grid, x)  # (m, n)
    mean = across @ torch.linalg.solve(covariance, y) - CURVATURE * (grid - center) ** 2
    return float(10.0 ** grid[mean.argmax()])


def _covariance(x: Tensor, z: Tensor) -> Tensor:
    """Covariances ``(m, n)`` of places ``(m,)`` and ``(n,)``."""
    gaps = (x.unsqueeze(-1) - z) / LENGTH
    return BEND**2 * torch.exp(-(gaps**2) / 2)


def _outcomes(past: Sequence[PastRate]) -> Tensor:
    """Give the outcomes about their mean, in units of their noise, shape ``(n,)``."""
    values = [one.value for one in past]
    center = median(values)
    spread = NORMAL * median(abs(value - center) for value in values)
    progress = abs(center - fmean(one.start for one in past))
    unit = max(spread, LEAST_NOISE * progress) or 1.0
    return torch.tensor([(value - center) / unit for value in values], dtype=torch.float64)
