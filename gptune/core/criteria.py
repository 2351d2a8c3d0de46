"""How promising a point is: the protocol, and the built-in criteria."""

from dataclasses import dataclass
from typing import Protocol, cast

import torch
from botorch.acquisition import AcquisitionFunction
from botorch.acquisition import LogExpectedImprovement as BotorchLogEI
from botorch.acquisition import UpperConfidenceBound as BotorchUCB
from botorch.models.model import Model
from torch import Tensor

from gptune.core.kernels import time_correlation
from gptune.core.space import cube
from gptune.core.surrogate import Surrogate

FEATURES = 512  # of the random Fourier basis of a Thompson sample


class Acquisition(Protocol):
    """Says how promising each point is; the most promising is proposed.

    Any callable with this signature will do: no base class, no registration.
    It must not mutate ``model`` and must draw randomness from torch only.

    Example:
        >>> from botorch.acquisition import ProbabilityOfImprovement
        >>> mine = lambda model, best: ProbabilityOfImprovement(model, best_f=best)
    """

    def __call__(self, model: Model, best: Tensor) -> AcquisitionFunction:
        """Bind the criterion to a fitted model.

        Args:
            model: Fitted surrogate over the unit cube; larger is better.
            best: Best posterior mean so far, shape ``()``, standardised units.
        """
        ...


@dataclass(frozen=True, slots=True)
class LogExpectedImprovement:
    """Score by log expected improvement over the best posterior mean.

    Source:
        Ament et al. (2023), arXiv:2310.20708.
    """

    def __call__(self, model: Model, best: Tensor) -> AcquisitionFunction:
        """Bind the criterion to a fitted model."""
        return BotorchLogEI(model, best_f=best)


@dataclass(frozen=True, slots=True)
class UpperConfidenceBound:
    """Score by ``mean + sqrt(beta) * deviation``.

    Args:
        beta: Weight of the unknown, >= 0.

    Raises:
        ValueError: If ``beta`` is negative or not a number.

    Source:
        Srinivas et al. (2010), arXiv:0912.3995.
    """

    beta: float = 2.0

    def __post_init__(self) -> None:
        if not self.beta >= 0:
            raise ValueError(f"beta must be >= 0, got {self.beta!r}; 2.0 is usual")

    def __call__(self, model: Model, best: Tensor) -> AcquisitionFunction:
        """Bind the criterion to a fitted model."""
        return BotorchUCB(model, beta=cube(self.beta))  # not of torch's default kind


@dataclass(frozen=True, slots=True)
class ThompsonSampling:
    """Score by one function drawn from the posterior; each proposal draws another.

    Source:
        Wilson et al. (2020), arXiv:2002.09309: a prior draw in a random Fourier basis, moved to
        agree with the data.
    """

    def __call__(self, model: Model, best: Tensor) -> AcquisitionFunction:
        """Bind the criterion to a fitted model.

        Raises:
            TypeError: If ``model`` is not gptune's own surrogate.
        """
        if not isinstance(model, Surrogate):
            raise TypeError(f"ThompsonSampling needs a gptune Surrogate, got {type(model)}")
        return PosteriorDraw(model)


class PosteriorDraw(AcquisitionFunction):
    """One function drawn from a surrogate's posterior: the same place gives the same value."""

    def __init__(self, model: Surrogate) -> None:
        super().__init__(model=model)
        data, hyper = model.data, model.hyper
        n, d = data.x.shape
        # The spectral density of Matern-5/2 is a multivariate t with 5 degrees of freedom.
        normal = _normal(FEATURES, d)
        chi_square = _normal(FEATURES, 5).square().sum(-1, keepdim=True)
        self.frequency = normal / (chi_square / 5.0).sqrt() / hyper.lengthscale
        self.offset = 2.0 * torch.pi * torch.rand(FEATURES, dtype=torch.float64, device="cpu")
        # One set of amplitudes a moment, now and each age: a value drawn in the past shares with
        # a value drawn now only what the decay leaves.
        moments = torch.cat([cube([0.0]), data.age])
        amplitudes = _over_time(moments, data.half_life)
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


BY_NAME: dict[str, Acquisition] = {
    "log_ei": LogExpectedImprovement(),
    "ucb": UpperConfidenceBound(),
    "thompson": ThompsonSampling(),
}
