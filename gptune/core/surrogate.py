"""The surrogate: an exact Gaussian process, fitted, as a BoTorch `Model`."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from botorch.models.model import Model
from botorch.posteriors.gpytorch import GPyTorchPosterior
from gpytorch.distributions import MultivariateNormal
from scipy.optimize import minimize
from torch import Tensor

from gptune.core.history import TrainingData
from gptune.core.kernels import matern52, time_correlation
from gptune.core.likelihood import (
    NOISE_FLOOR,
    Hyperparameters,
    covariance,
    factor,
    log_posterior,
    prior_mode,
    profiled_mean,
)
from gptune.core.transforms import standardise, winsorise

EVALUATIONS = 60  # of the likelihood a start
LOG_BOUNDS = ((-5.0, 4.0), (-13.0, 2.0))  # of log lengthscale and log noise: beyond, all is flat


@dataclass(frozen=True, slots=True)
class Factors:
    """The parts of a posterior that do not depend on where it is asked."""

    lower: Tensor  # Cholesky factor of the covariance of the observations, shape (n, n)
    inverse: Tensor  # of the factor, shape (n, n)
    weights: Tensor  # covariance^-1 (y - mean), shape (n,)
    mean: Tensor  # profiled constant mean, shape ()


class Surrogate(Model):
    """A fitted exact GP with Matern-5/2 covariance over the unit cube, at the present moment.

    Values are standardised; larger is better. Any BoTorch acquisition function that asks for a
    posterior can be built on it. Make one with `fit` or `condition`.

    Args:
        data: Standardised training data, n observations.
        hyper: Its hyperparameters.
        factors: The factorised covariance.
    """

    def __init__(self, data: TrainingData, hyper: Hyperparameters, factors: Factors) -> None:
        super().__init__()
        self.data, self.hyper, self.factors = data, hyper, factors

    @property
    def num_outputs(self) -> int:
        """One."""
        return 1

    @property
    def batch_shape(self) -> torch.Size:
        """No batch."""
        return torch.Size([])

    def prior_covariance(self, x: Tensor) -> Tensor:
        """Covariance of values now with the observations, shape ``(..., m, n)``."""
        cross = matern52(x, self.data.x, self.hyper.lengthscale)
        if self.data.half_life is None:
            return cross
        now = torch.zeros(1, dtype=x.dtype, device=x.device)
        return cross * time_correlation(now, self.data.age, self.data.half_life)

    def posterior(
        self,
        X: Tensor,
        output_indices: list[int] | None = None,
        observation_noise: bool | Tensor = False,  # noqa: FBT001, FBT002  BoTorch's signature
        posterior_transform: Any | None = None,
    ) -> Any:
        """Joint posterior at ``X``, shape ``(..., q, d)``, in standardised units."""
        cross = self.prior_covariance(X)  # (..., q, n)
        mean = self.factors.mean + cross @ self.factors.weights
        half = cross @ self.factors.inverse.mT  # (..., q, n); a solve a point costs ten times more
        spread = matern52(X, X, self.hyper.lengthscale) - half @ half.mT
        extra = 1e-10  # keeps the diagonal positive after cancellation
        if observation_noise is not False:
            extra = extra + float(self.hyper.noise) + NOISE_FLOOR
        spread = spread + extra * torch.eye(X.shape[-2], dtype=X.dtype, device=X.device)
        posterior = GPyTorchPosterior(MultivariateNormal(mean, spread))
        return posterior if posterior_transform is None else posterior_transform(posterior)

    def describe(self) -> dict[str, list[float]]:
        """The hyperparameters as plain numbers, enough to start the next fit from."""
        lengthscale = self.hyper.lengthscale.tolist()
        return {"lengthscale": lengthscale, "noise": [float(self.hyper.noise)]}


def fit(data: TrainingData, last: Hyperparameters | None) -> Surrogate | None:
    """Fit the hyperparameters by maximum a posteriori and condition on the data.

    Starts at the last fit and at the prior's mode; the better end wins. If the optimiser fails,
    the last hyperparameters serve, then the prior's mode.

    Args:
        data: Raw training data, n >= 1.
        last: Hyperparameters of the fit before, or ``None``.

    Returns:
        The fitted surrogate, or ``None`` when nothing could be factorised.
    """
    data = prepare(data)
    cold = prior_mode(data.x.shape[-1])
    starts = [cold] if last is None else [last, cold]
    ends = [end for begin in starts if (end := _climb(data, begin)) is not None]
    ranked = [hyper for _, hyper in sorted(ends, key=lambda end: -end[0])]
    for hyper in [*ranked, *starts]:
        surrogate = condition(data, hyper)
        if surrogate is not None:
            return surrogate
    return None


def prepare(data: TrainingData) -> TrainingData:
    """Winsorise and standardise the values; the given noise is scaled alike."""
    y, _, deviation = standardise(winsorise(data.y))
    noise = (data.noise / deviation / deviation).clamp_max(1e6)
    return replace(data, y=y, noise=noise)


def condition(data: TrainingData, hyper: Hyperparameters) -> Surrogate | None:
    """Condition on standardised data at given hyperparameters; ``None`` if K has no factor."""
    lower = factor(covariance(data, hyper))
    if lower is None:
        return None
    mean = profiled_mean(lower, data.y)
    residual = (data.y - mean).unsqueeze(-1)
    eye = torch.eye(len(lower), dtype=lower.dtype, device=lower.device)
    inverse = torch.linalg.solve_triangular(lower, eye, upper=False)
    weights = torch.cholesky_solve(residual, lower).squeeze(-1)
    return Surrogate(data, hyper, Factors(lower, inverse, weights, mean))


def _climb(data: TrainingData, start: Hyperparameters) -> tuple[float, Hyperparameters] | None:
    """Climb the log posterior from one start: its height there, and the place."""

    def descent(values: np.ndarray[Any, Any]) -> tuple[float, np.ndarray[Any, Any]]:
        climbed = log_posterior(torch.from_numpy(values), data)
        if climbed is None or not bool(torch.isfinite(climbed[0])):
            return 1e10, np.zeros_like(values)
        height, slope = climbed
        return -float(height), -slope.nan_to_num().numpy()

    limits = [LOG_BOUNDS[0]] * data.x.shape[-1] + [LOG_BOUNDS[1]]
    options = {"maxfun": EVALUATIONS, "ftol": 1e-7, "gtol": 1e-4}
    begin = start.pack().numpy()
    end = minimize(descent, begin, method="L-BFGS-B", jac=True, bounds=limits, options=options)
    theta = torch.as_tensor(end.x, dtype=torch.float64, device="cpu")
    is_sound = end.fun < 1e10 and bool(torch.isfinite(theta).all())
    return (-float(end.fun), Hyperparameters.unpack(theta)) if is_sound else None
