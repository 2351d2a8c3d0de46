"""Covariances: over the hyperparameters, and over time."""

import math
from typing import Protocol

import torch
from torch import Tensor

LN2 = math.log(2.0)


class Kernel(Protocol):
    """A covariance of unit variance as a function of the squared scaled distance."""

    def __call__(self, r2: Tensor) -> tuple[Tensor, Tensor]:
        """Give the covariances ``k``, and ``g = -2 dk / d r2``, each of the shape of ``r2``.

        All slopes follow from ``g``: ``dk / d log l_j = g (gap_j / l_j)**2`` and
        ``dk / d x_j = -g gap_j / l_j**2``, where ``gap = x - z`` and ``r2 = |gap / l|**2``.
        """
        ...


def matern52(r2: Tensor) -> tuple[Tensor, Tensor]:
    """Matern-5/2: ``k = (1 + r + r**2 / 3) exp(-r)`` with ``r = sqrt(5 r2)``.

    Args:
        r2: Squared scaled distances, any shape.

    Returns:
        Covariances in ``[0, 1]`` and ``g = 5/3 (1 + r) exp(-r)``, each of the shape of ``r2``.

    Example:
        >>> k, g = matern52(torch.tensor([0.0, 0.2], dtype=torch.float64))
        >>> k
        tensor([1.0000, 0.8584], dtype=torch.float64)

    Source:
        Rasmussen and Williams (2006), Gaussian Processes for Machine Learning, eq. 4.17.
    """
    r = (5.0 * r2).sqrt()
    fading = torch.exp(-r)
    slope = (1.0 + r) * fading
    return torch.addcmul(slope, r2, fading, value=5.0 / 3.0), (5.0 / 3.0) * slope


def rbf(r2: Tensor) -> tuple[Tensor, Tensor]:
    """Squared exponential: ``k = exp(-r2 / 2)``, which is its own ``g``.

    Source:
        Rasmussen and Williams (2006), Gaussian Processes for Machine Learning, eq. 4.9.
    """
    k = torch.exp(-0.5 * r2)
    return k, k.clone()  # whoever writes to one shall not write to both


KERNELS: dict[str, Kernel] = {"matern52": matern52, "rbf": rbf}


FLOOR = 1e-30  # of a squared distance: keeps a criterion's gradient finite where places coincide


def square_distances(x: Tensor, z: Tensor) -> Tensor:
    """Squared distances through one matrix product, never below ``FLOOR``.

    Args:
        x: Places divided by the lengthscales, shape ``(..., m, d)``.
        z: Places divided by the lengthscales, shape ``(..., n, d)``.

    Returns:
        Shape ``(..., m, n)``; exact to some 1e-16 of the largest squared coordinate.
    """
    other = z.square().sum(-1).unsqueeze(-2)
    own = other.mT if x is z else x.square().sum(-1, keepdim=True)
    return torch.sub(own + other, x @ z.mT, alpha=2.0).clamp_min(FLOOR)


def time_correlation(then: Tensor, now: Tensor, half_life: Tensor | float) -> Tensor:
    """Correlate two sets of moments; training drifts, so old evidence fades.

    Computes ``2 ** (-|then_i - now_j| / half_life)``. Multiply it into the kernel over
    hyperparameters to let the surrogate forget.

    Args:
        then: Moments of the observations [observations], shape ``(n,)``.
        now: Moments to predict at [observations], shape ``(m,)``.
        half_life: Gap at which correlation is one half [observations], > 0.

    Returns:
        Correlations in ``[0, 1]``, shape ``(n, m)``, dtype of ``then``.

    Raises:
        ValueError: If ``half_life`` is not finite and positive.

    Example:
        >>> time_correlation(torch.tensor([0.0, 50.0]), torch.tensor([100.0]), 50.0)
        tensor([[0.2500],
                [0.5000]])

    Source:
        Bogunovic et al. (2016), arXiv:1601.06650, time-varying GP model, with
        ``(1 - eps) ** (1/2)`` written as ``2 ** (-1 / half_life)``.
    """
    if not (math.isfinite(half_life) and half_life > 0):
        raise ValueError(f"half_life must be finite and > 0, got {half_life!r}")
    gap = (then.unsqueeze(-1) - now.unsqueeze(-2)).abs()  # (n, m)
    return torch.exp2(-gap / half_life)
