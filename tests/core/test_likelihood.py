"""The height of the likelihood is GPyTorch's, and its slope is that of finite differences."""

import math

import gpytorch
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gptune.core.history import TrainingData
from gptune.core.likelihood import (
    NOISE_FLOOR,
    Hyperparameters,
    covariance,
    factor,
    log_posterior,
    log_prior,
    prior_mode,
    profiled_mean,
)
from gptune.core.space import cube


def draw_data(n: int, d: int, seed: int, half_life: float | None = None) -> TrainingData:
    """Make standardised data with given noise, weights and ages."""
    generator = torch.Generator().manual_seed(seed)

    def rand(*size: int) -> Tensor:
        return torch.rand(*size, generator=generator, dtype=torch.float64)

    x, y = rand(n, d), rand(n)
    return TrainingData(
        x=x,
        y=(y - y.mean()) / y.std(correction=0),
        noise=0.1 * rand(n),
        weight=0.2 + 0.8 * rand(n),
        age=torch.arange(n, 0, -1, dtype=torch.float64),
        half_life=half_life,
    )


@st.composite
def problems(draw: st.DrawFn) -> tuple[TrainingData, Tensor]:
    """Draw data and logarithms of hyperparameters."""
    n, d = draw(st.integers(2, 10)), draw(st.integers(1, 3))
    half_life = draw(st.none() | st.floats(1.0, 30.0))
    theta = draw(st.lists(st.floats(-2.5, 2.0), min_size=d, max_size=d))
    data = draw_data(n, d, draw(st.integers(0, 9999)), half_life)
    return data, cube([*theta, draw(st.floats(-8.0, 1.0))])


class Exact(gpytorch.models.ExactGP):  # type: ignore[misc]
    """The stock model at given hyperparameters."""

    def __init__(self, data: TrainingData, hyper: Hyperparameters, mean: Tensor) -> None:
        noise = (data.noise + hyper.noise + NOISE_FLOOR) / data.weight
        likelihood = gpytorch.likelihoods.FixedNoiseGaussianLikelihood(noise)
        super().__init__(data.x, data.y, likelihood)
        self.mean_module = gpytorch.means.ConstantMean().double()
        self.mean_module.constant = mean
        self.covar_module = gpytorch.kernels.MaternKernel(
            nu=2.5, ard_num_dims=data.x.shape[-1]
        ).double()
        self.covar_module.lengthscale = hyper.lengthscale

    def forward(self, x: Tensor) -> gpytorch.distributions.MultivariateNormal:
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def height_of(theta: Tensor, data: TrainingData) -> float:
    found = log_posterior(theta, data)
    assert found is not None
    return float(found[0])


@given(problems())
@settings(deadline=None, max_examples=60)
def test_the_slope_is_that_of_central_differences(problem: tuple[TrainingData, Tensor]) -> None:
    data, theta = problem
    found = log_posterior(theta, data)
    assert found is not None
    slope = found[1]
    assert slope.shape == theta.shape
    step = 1e-5
    for j in range(len(theta)):
        up, down = theta.clone(), theta.clone()
        up[j] += step
        down[j] -= step
        numeric = (height_of(up, data) - height_of(down, data)) / (2 * step)
        assert float(slope[j]) == pytest.approx(numeric, rel=1e-4, abs=1e-4)


@given(problems())
@settings(deadline=None, max_examples=60)
def test_the_height_is_the_density_of_a_normal_plus_the_prior(
    problem: tuple[TrainingData, Tensor],
) -> None:
    data, theta = problem
    k = covariance(data, Hyperparameters.unpack(theta))
    inverse = torch.linalg.inv(k)
    mean = (inverse @ data.y).sum() / inverse.sum()
    normal = torch.distributions.MultivariateNormal(mean.expand(len(data.y)), k)
    wanted = normal.log_prob(data.y) + log_prior(theta)[0]  # type: ignore[no-untyped-call]
    assert height_of(theta, data) == pytest.approx(float(wanted), rel=1e-6, abs=1e-6)


@given(problems())
@settings(deadline=None, max_examples=25)
def test_without_decay_in_time_the_height_is_gpytorchs(
    problem: tuple[TrainingData, Tensor],
) -> None:
    data, theta = problem
    if data.half_life is not None:
        return
    hyper = Hyperparameters.unpack(theta)
    lower = factor(covariance(data, hyper))
    assert lower is not None
    model = Exact(data, hyper, profiled_mean(lower, data.y))
    model.train()
    marginal = gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model)
    with torch.no_grad():
        wanted = marginal(model(data.x), data.y) * len(data.y) + log_prior(theta)[0]
    assert height_of(theta, data) == pytest.approx(float(wanted), rel=1e-6, abs=1e-6)


@given(problems(), st.floats(-0.5, 0.5))
@settings(deadline=None, max_examples=40)
def test_no_other_constant_mean_explains_the_data_better(
    problem: tuple[TrainingData, Tensor], away: float
) -> None:
    data, theta = problem
    lower = factor(covariance(data, Hyperparameters.unpack(theta)))
    assert lower is not None
    best = profiled_mean(lower, data.y)

    def misfit(mean: Tensor) -> float:
        residual = (data.y - mean).unsqueeze(-1)
        return float(residual.T @ torch.cholesky_solve(residual, lower))

    assert misfit(best) <= misfit(best + away) + 1e-8


@given(problems())
@settings(deadline=None, max_examples=40)
def test_the_covariance_holds_the_noise_divided_by_the_weight(
    problem: tuple[TrainingData, Tensor],
) -> None:
    data, theta = problem
    hyper = Hyperparameters.unpack(theta)
    k = covariance(data, hyper)
    wanted = 1.0 + (data.noise + hyper.noise + NOISE_FLOOR) / data.weight
    assert torch.allclose(k.diagonal(), wanted)
    assert torch.allclose(k, k.T)
    assert float(torch.linalg.eigvalsh(k).min()) > 0
    if data.half_life is not None:
        still = TrainingData(x=data.x, y=data.y, noise=data.noise, weight=data.weight, age=data.age)
        gap = (data.age.unsqueeze(-1) - data.age).abs()
        fading = torch.exp2(-gap / data.half_life)
        off = ~torch.eye(len(data.y), dtype=torch.bool)
        assert torch.allclose(k[off], (covariance(still, hyper) * fading)[off])


@given(st.integers(1, 6), st.data())
@settings(deadline=None, max_examples=40)
def test_the_prior_is_highest_at_its_mode_and_its_slope_is_right(
    d: int, data: st.DataObject
) -> None:
    mode = prior_mode(d).pack()
    assert mode.shape == (d + 1,)
    top, flat = log_prior(mode)
    assert torch.allclose(flat, torch.zeros_like(flat), rtol=0, atol=1e-12)
    coordinates = st.lists(st.floats(-5, 5), min_size=d + 1, max_size=d + 1)
    theta = cube(data.draw(coordinates)).requires_grad_()
    height, slope = log_prior(theta)
    assert height.item() <= float(top)
    (wanted,) = torch.autograd.grad(height, theta)
    assert torch.allclose(slope, wanted)


@given(st.lists(st.floats(-5, 4), min_size=1, max_size=5), st.floats(-13, 2))
@settings(deadline=None, max_examples=40)
def test_hyperparameters_survive_packing(lengths: list[float], noise: float) -> None:
    hyper = Hyperparameters(cube(lengths).exp(), cube(noise).exp())
    back = Hyperparameters.unpack(hyper.pack())
    assert torch.allclose(back.lengthscale, hyper.lengthscale, rtol=1e-12)
    assert float(back.noise) == pytest.approx(float(hyper.noise), rel=1e-12)


@given(st.integers(1, 5), st.integers(0, 999))
@settings(deadline=None, max_examples=30)
def test_a_factor_multiplies_back(n: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(n, n, generator=generator, dtype=torch.float64)
    matrix = root @ root.T + torch.eye(n, dtype=torch.float64)
    lower = factor(matrix)
    assert lower is not None
    assert torch.allclose(lower @ lower.T, matrix)


def test_a_singular_matrix_gets_jitter_and_a_hopeless_one_no_factor() -> None:
    lower = factor(torch.ones(4, 4, dtype=torch.float64))
    assert lower is not None
    assert bool(torch.isfinite(lower).all())
    for hopeless in (-torch.eye(3), torch.full((3, 3), math.nan), torch.full((2, 2), math.inf)):
        assert factor(hopeless.double()) is None


def test_hopeless_data_have_no_height() -> None:
    data = draw_data(3, 1, 0)
    broken = TrainingData(
        x=data.x * math.nan, y=data.y, noise=data.noise, weight=data.weight, age=data.age
    )
    assert log_posterior(prior_mode(1).pack(), broken) is None
