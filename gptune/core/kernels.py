"""Covariances: over the hyperparameters, and over time."""

import math

import torch
from torch import Tensor


def matern52(x: Tensor, z: Tensor, lengthscale: Tensor) -> Tensor:
    """Matern-5/2 covariance with unit variance and one lengthscale a dimension.

    Computes ``(1 + r + r**2 / 3) * exp(-r)`` with ``r = sqrt(5) |(x - z) / lengthscale|``.

    Args:
        x: Places in the unit cube, shape ``(..., m, d)``.
        z: Places in the unit cube, shape ``(..., n, d)``.
        lengthscale: Positive, shape ``(d,)``.

    Returns:
        Covariances in ``[0, 1]``, shape ``(..., m, n)``.

    Source:
        Rasmussen and Williams (2006), Gaussian Processes for Machine Learning, eq. 4.17.
    """
    gap = (x / lengthscale).unsqueeze(-2) - (z / lengthscale).unsqueeze(-3)  # (..., m, n, d)
    # The floor keeps a criterion's gradient finite where two places coincide.
    r = (5.0 * gap.square().sum(-1)).clamp_min(1e-30).sqrt()
    return (1.0 + r + r.square() / 3.0) * torch.exp(-r)


def matern52_slopes(x: Tensor, lengthscale: Tensor, weight: Tensor) -> Tensor:
    """Differentiate a weighted sum of Matern-5/2 covariances by the logarithms of lengthscales.

    Computes ``sum_ab weight_ab dk(x_a, x_b) / d log l_j``, where
    ``dk / d log l_j = 5/3 (1 + r) exp(-r) ((x_aj - x_bj) / l_j)**2``.

    Args:
        x: Places in the unit cube, shape ``(n, d)``.
        lengthscale: Positive, shape ``(d,)``.
        weight: Weight of each covariance, shape ``(n, n)``.

    Returns:
        Shape ``(d,)``.
    """
    scaled = x / lengthscale
    gap = (scaled.unsqueeze(-2) - scaled.unsqueeze(-3)).square()  # (n, n, d)
    r = (5.0 * gap.sum(-1)).sqrt()
    common = weight * (5.0 / 3.0) * (1.0 + r) * torch.exp(-r)
    return (common.unsqueeze(-1) * gap).sum((0, 1))


def time_correlation(then: Tensor, now: Tensor, half_life: float) -> Tensor:
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
