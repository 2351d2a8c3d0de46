"""One function drawn from the posterior, for Thompson sampling."""

from typing import cast

import torch
from botorch.acquisition import AcquisitionFunction
from torch import Tensor

from gptune.core.kernels import time_correlation
from gptune.core.space import cube
from gptune.core.surrogate import Surrogate

FEATURES = 512  # of the random Fourier basis


class PosteriorDraw(AcquisitionFunction):
    """One function drawn from a surrogate's posterior: the same place gives the same value.

    Source:
        Wilson et al. (2020), arXiv:2002.09309: a prior draw in a random Fourier basis, moved to
        agree with the data.
    """

    def __init__(self, model: Surrogate) -> None:
        super().__init__(model=model)
        data, hyper = model.data, model.hyper
        n, d = data.x.shape
        self.frequency = _frequencies(model.form.kernel, d) / hyper.lengthscale
        self.offset = 2.0 * torch.pi * torch.rand(FEATURES, dtype=torch.float64, device="cpu")
        # One set of amplitudes a moment, now and each age: a value drawn in the past shares with
        # a value drawn now only what the decay leaves.
        moments = torch.cat([cube([0.0]), data.age])
        amplitudes = _over_time(moments, model.half_life)
        self.amplitude = amplitudes[0]
        then = _basis(data.x, self.frequency, self.offset) * amplitudes[1:]  # (n, FEATURES)
        deviation = ((data.noise + hyper.noise) / data.weight).sqrt()
        past = then.sum(-1) + deviation * _normal(n)
        gap = (data.y - model.factors.mean - past).unsqueeze(-1)
        self.weights = torch.cholesky_solve(gap, model.factors.lower).squeeze(-1)

    def forward(self, X: Tensor) -> Tensor:
        """Value of the draw at ``X``, shape ``(b, 1, d)`` -> ``(b,)``."""
        model = cast("Surrogate", self.model)
        x = X.squeeze(-2)
        update = model.prior_covariance(x) @ self.weights
        prior = _basis(x, self.frequency, self.offset) @ self.amplitude
        value: Tensor = model.factors.mean + prior + update
        return value


def _frequencies(kernel: str, dimension: int) -> Tensor:
    """Draw from the kernel's spectral density, shape ``(FEATURES, d)``."""
    normal = _normal(FEATURES, dimension)
    if kernel == "rbf":
        return normal
    # That of Matern-5/2 is a multivariate t with 5 degrees of freedom.
    chi_square = _normal(FEATURES, 5).square().sum(-1, keepdim=True)
    return normal / (chi_square / 5.0).sqrt()


def _basis(x: Tensor, frequency: Tensor, offset: Tensor) -> Tensor:
    """Random Fourier features of places, shape ``(..., m, d)`` -> ``(..., m, FEATURES)``."""
    features: Tensor = (2.0 / FEATURES) ** 0.5 * torch.cos(x @ frequency.T + offset)
    return features


def _over_time(moments: Tensor, half_life: float | None) -> Tensor:
    """Normal amplitudes at each moment, correlated as the decay says, ``(m, FEATURES)``."""
    if half_life is None:
        return _normal(FEATURES).expand(len(moments), FEATURES)
    values, vectors = torch.linalg.eigh(time_correlation(moments, moments, half_life))
    root: Tensor = vectors * values.clamp_min(0.0).sqrt()
    return root @ _normal(len(moments), FEATURES)


def _normal(*size: int) -> Tensor:
    return torch.randn(*size, dtype=torch.float64, device="cpu")
