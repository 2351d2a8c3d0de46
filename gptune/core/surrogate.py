"""The surrogate: an exact Gaussian process, conditioned on data, as a BoTorch `Model`."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from botorch.models import SingleTaskGP
from botorch.models.model import Model
from botorch.posteriors.gpytorch import GPyTorchPosterior
from gpytorch.distributions import MultivariateNormal
from gpytorch.kernels import Kernel as GPyTorchKernel
from gpytorch.kernels import MaternKernel, RBFKernel
from gpytorch.means import ConstantMean
from torch import Tensor

from gptune.core.history import TrainingData
from gptune.core.kernels import KERNELS, LN2, square_distances, time_correlation
from gptune.core.likelihood import (
    NOISE_FLOOR,
    Form,
    Hyperparameters,
    covariance,
    factor,
    half_life_of,
    outcome,
    profiled_mean,
)
from gptune.core.transforms import WARPS

TINY = 1e-10  # keeps a variance positive after cancellation [standardised units, squared]


@dataclass(frozen=True, slots=True)
class Factors:
    """The parts of a posterior that do not depend on where it is asked."""

    lower: Tensor  # Cholesky factor of the covariance of the observations, shape (n, n)
    inverse: Tensor  # of the factor, shape (n, n)
    weights: Tensor  # covariance^-1 (y - mean), shape (n,)
    mean: Tensor  # profiled constant mean, shape ()


class Surrogate(Model):
    """A conditioned exact GP over the unit cube, at the present moment.

    Values are warped and standardised; larger is better. Any BoTorch acquisition function that
    asks for a posterior can be built on it, analytic or Monte-Carlo; those that ask for fantasies
    take `to_botorch`. Make one with `condition` or ``fitting.fit``.

    Args:
        data: Prepared training data, n observations; ``y`` as the GP sees it.
        hyper: Its hyperparameters.
        form: The family that they belong to.
        factors: The factorised covariance.
    """

    def __init__(
        self, data: TrainingData, hyper: Hyperparameters, form: Form, factors: Factors
    ) -> None:
        super().__init__()
        self.data, self.hyper, self.form, self.factors = data, hyper, form, factors
        self.half_life = half_life_of(data, hyper)

    @property
    def num_outputs(self) -> int:
        """One."""
        return 1

    @property
    def batch_shape(self) -> torch.Size:
        """No batch."""
        return torch.Size([])

    @property
    def train_inputs(self) -> tuple[Tensor]:
        """The places that were measured, shape ``(n, d)``, as GPyTorch's models give them."""
        return (self.data.x,)

    def kernel(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Covariances of values at the same moment, and their ``g``, each ``(..., m, n)``."""
        scale = self.hyper.lengthscale
        return KERNELS[self.form.kernel](square_distances(x / scale, z / scale))

    def fading(self) -> Tensor:
        """How much each observation still correlates with the present, shape ``(n,)``."""
        age = self.data.age
        if self.half_life is None:
            return torch.ones_like(age)
        return time_correlation(torch.zeros_like(age[:1]), age, self.half_life)[0]

    def prior_covariance(self, x: Tensor) -> Tensor:
        """Covariance of values now with the observations, shape ``(..., m, n)``."""
        return self.kernel(x, self.data.x)[0] * self.fading()

    def posterior(
        self,
        X: Tensor,
        output_indices: list[int] | None = None,
        observation_noise: bool | Tensor = False,  # noqa: FBT001, FBT002  BoTorch's signature
        posterior_transform: Any | None = None,
    ) -> Any:
        """Joint posterior at ``X``, shape ``(..., q, d)``, in the units of ``data.y``."""
        cross = self.prior_covariance(X)  # (..., q, n)
        mean = self.factors.mean + cross @ self.factors.weights
        half = cross @ self.factors.inverse.mT  # (..., q, n); a solve a point costs ten times more
        spread = self.kernel(X, X)[0] - half @ half.mT
        extra = TINY
        if observation_noise is not False:
            extra = extra + float(self.hyper.noise) + NOISE_FLOOR
        spread = spread + extra * torch.eye(X.shape[-2], dtype=X.dtype, device=X.device)
        posterior = GPyTorchPosterior(MultivariateNormal(mean, spread))
        return posterior if posterior_transform is None else posterior_transform(posterior)

    def marginal(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean and deviation at single places, without the joint one's overhead.

        Args:
            x: Places in the unit cube, shape ``(m, d)``.

        Returns:
            Mean and deviation, each ``(m,)``, in the units of ``data.y``.
        """
        cross = self.prior_covariance(x)
        half = cross @ self.factors.inverse.mT
        variance = (1.0 - half.square().sum(-1) + TINY).clamp_min(TINY)
        return self.factors.mean + cross @ self.factors.weights, variance.sqrt()

    def believing(self, x: Tensor) -> "Surrogate":
        """Take places as if they had been measured now, at their posterior mean.

        Args:
            x: Places in the unit cube, shape ``(q, d)``.
        """
        with torch.no_grad():
            mean, _ = self.marginal(x)
        ones, zeros = torch.ones_like(mean), torch.zeros_like(mean)
        data = TrainingData(
            x=torch.cat([self.data.x, x]),
            y=torch.cat([self.data.y, mean]),
            noise=torch.cat([self.data.noise, zeros]),
            weight=torch.cat([self.data.weight, ones]),
            age=torch.cat([self.data.age, zeros]),
            half_life=self.data.half_life,
        )
        return condition(data, self.hyper, self.form, mean=self.factors.mean) or self

    def to_botorch(self) -> SingleTaskGP:
        """Hand over as a `SingleTaskGP` at the same hyperparameters, for what needs fantasies.

        It gives the same posterior. Under decay in time it takes the same places: time is a
        further input, which is set to the present where the model is asked.
        """
        data, d = self.data, self.data.x.shape[-1]
        noise = (data.noise + self.hyper.noise + NOISE_FLOOR) / data.weight
        mean = ConstantMean().double()
        mean.constant = self.factors.mean.clone()
        x, kernel, made = data.x, _gpytorch_kernel(self.form.kernel, d), SingleTaskGP
        kernel.lengthscale = self.hyper.lengthscale
        if self.half_life is not None:
            x, made = torch.cat([x, -data.age.unsqueeze(-1)], dim=-1), _AtPresent
            in_time = MaternKernel(nu=0.5, active_dims=(d,)).double()  # exp(-|gap| / lengthscale)
            in_time.lengthscale = self.half_life / LN2
            kernel = kernel * in_time
        model = made(
            x,
            data.y.unsqueeze(-1),
            noise.unsqueeze(-1),
            covar_module=kernel,
            mean_module=mean,
            outcome_transform=None,
        )
        return model.eval()

    def describe(self) -> dict[str, list[float]]:
        """The hyperparameters as plain numbers, enough to repeat a proposal."""
        hyper = self.hyper
        plain = {"lengthscale": hyper.lengthscale.tolist(), "noise": [float(hyper.noise)]}
        if self.half_life is not None:
            plain["half_life"] = [self.half_life]
        if hyper.warp is not None:
            plain[self.form.warp] = [float(hyper.warp)]
        return plain


class _AtPresent(SingleTaskGP):
    """A model over places and time that is asked, and told, of the present only."""

    def posterior(self, X: Tensor, *args: Any, **kwargs: Any) -> Any:
        return super().posterior(_now(X), *args, **kwargs)

    def condition_on_observations(self, X: Tensor, *args: Any, **kwargs: Any) -> Any:
        return super().condition_on_observations(_now(X), *args, **kwargs)


def _now(x: Tensor) -> Tensor:
    return torch.cat([x, torch.zeros_like(x[..., :1])], dim=-1)


def _gpytorch_kernel(name: str, dimension: int) -> GPyTorchKernel:
    dims = tuple(range(dimension))
    if name == "rbf":
        return RBFKernel(ard_num_dims=dimension, active_dims=dims).double()
    return MaternKernel(nu=2.5, ard_num_dims=dimension, active_dims=dims).double()


def condition(
    data: TrainingData, hyper: Hyperparameters, form: Form, *, mean: Tensor | None = None
) -> Surrogate | None:
    """Condition on values as the GP sees them; ``None`` if their covariance has no factor.

    Args:
        data: Training data whose ``y`` is standardised, and warped if the form has a warp.
        hyper: Given hyperparameters.
        form: The family that they belong to.
        mean: The constant mean, shape ``()``; the profiled one by default.
    """
    lower = factor(covariance(data, hyper, form))
    if lower is None:
        return None
    eye = torch.eye(len(lower), dtype=lower.dtype, device=lower.device)
    inverse = torch.linalg.solve_triangular(lower, eye, upper=False)
    full = inverse.mT @ inverse
    center = profiled_mean(full, data.y) if mean is None else mean
    weights = full @ (data.y - center)
    return Surrogate(data, hyper, form, Factors(lower, inverse, weights, center))


def warped(data: TrainingData, hyper: Hyperparameters, form: Form) -> TrainingData:
    """Replace standardised values by what the GP sees of them."""
    if hyper.warp is None:
        return data
    seen = outcome(WARPS[form.warp].bind(data.y.numpy()), hyper.warp.reshape(1).numpy())
    return replace(data, y=torch.from_numpy(seen.value[0]))
