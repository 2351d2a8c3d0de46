"""Covariances: equal to GPyTorch's, positive semidefinite, with the right slopes."""

import gpytorch
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gptune.core.kernels import matern52, matern52_slopes, time_correlation
from gptune.core.space import cube

seeds = st.integers(0, 10_000)
lengthscales = st.lists(st.floats(0.01, 20.0), min_size=1, max_size=4).map(cube)


def places(count: int, dimension: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, dimension, generator=generator, dtype=torch.float64)
    return torch.cat([x, x[:1]])  # a place may be visited twice


@given(lengthscales, seeds)
@settings(deadline=None, max_examples=40)
def test_the_covariance_is_gpytorchs(lengthscale: Tensor, seed: int) -> None:
    d = lengthscale.numel()
    x, z = places(7, d, seed), places(4, d, seed + 1)
    kernel = gpytorch.kernels.MaternKernel(nu=2.5, ard_num_dims=d).double()
    kernel.lengthscale = lengthscale
    for left, right in ((x, z), (x, x)):
        wanted = kernel(left, right).to_dense().detach()
        assert torch.allclose(matern52(left, right, lengthscale), wanted, rtol=0, atol=1e-12)


@given(lengthscales, seeds)
@settings(deadline=None, max_examples=40)
def test_the_covariance_is_symmetric_positive_semidefinite_and_one_with_itself(
    lengthscale: Tensor, seed: int
) -> None:
    x = places(12, lengthscale.numel(), seed)
    k = matern52(x, x, lengthscale)
    assert torch.allclose(k, k.T, rtol=0, atol=1e-15)
    assert torch.allclose(k.diagonal(), torch.ones(len(x), dtype=k.dtype), rtol=0, atol=1e-12)
    assert bool(((k >= 0) & (k <= 1)).all())
    assert float(torch.linalg.eigvalsh(k).min()) > -1e-10


@given(lengthscales, seeds)
@settings(deadline=None, max_examples=20)
def test_batches_are_done_one_by_one(lengthscale: Tensor, seed: int) -> None:
    d = lengthscale.numel()
    x = torch.stack([places(3, d, seed + i) for i in range(2)])
    z = places(5, d, seed + 9)
    k = matern52(x, z, lengthscale)
    assert k.shape == (2, 4, 6)
    for i in range(2):
        assert torch.allclose(k[i], matern52(x[i], z, lengthscale), rtol=0, atol=1e-15)


@given(lengthscales, seeds)
@settings(deadline=None, max_examples=40)
def test_the_slopes_are_those_of_finite_differences(lengthscale: Tensor, seed: int) -> None:
    x = places(6, lengthscale.numel(), seed)
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(len(x), len(x), generator=generator, dtype=torch.float64)
    slopes = matern52_slopes(x, lengthscale, weight)
    assert slopes.shape == lengthscale.shape
    step = 1e-5
    for j in range(lengthscale.numel()):
        sums = []
        for sign in (1.0, -1.0):
            moved = lengthscale.clone()
            moved[j] *= torch.exp(torch.tensor(sign * step, dtype=torch.float64))
            sums.append((weight * matern52(x, x, moved)).sum())
        numeric = float(sums[0] - sums[1]) / (2 * step)
        assert float(slopes[j]) == pytest.approx(numeric, rel=1e-5, abs=1e-7)


def test_a_gradient_is_finite_where_two_places_coincide() -> None:
    x = cube([[0.5, 0.5]]).requires_grad_()
    k = matern52(x, cube([[0.5, 0.5], [0.1, 0.2]]), cube([0.3, 0.7]))
    (slope,) = torch.autograd.grad(k.sum(), x)
    assert bool(torch.isfinite(slope).all())


moments = st.lists(st.floats(0, 1000), min_size=1, max_size=8).map(cube)


@given(moments, st.floats(0.1, 1000))
@settings(deadline=None, max_examples=60)
def test_correlation_in_time_is_positive_semidefinite_and_falls_with_the_gap(
    then: Tensor, half_life: float
) -> None:
    k = time_correlation(then, then, half_life)
    assert k.shape == (len(then), len(then))
    assert torch.allclose(k, k.T, rtol=0, atol=1e-15)
    assert torch.allclose(k.diagonal(), torch.ones_like(then), rtol=0, atol=1e-15)
    assert float(torch.linalg.eigvalsh(k).min()) > -1e-10
    gap = (then.unsqueeze(-1) - then).abs()
    order = gap.flatten().argsort()
    assert bool((k.flatten()[order].diff() <= 1e-15).all())


@given(st.floats(0.1, 1000), st.floats(0, 1000))
@settings(deadline=None, max_examples=40)
def test_a_half_life_halves(half_life: float, then: float) -> None:
    one, two = cube([then]), cube([then + half_life])
    assert float(time_correlation(one, two, half_life)) == pytest.approx(0.5)


@pytest.mark.parametrize("half_life", [0.0, -1.0, float("nan"), float("inf")])
def test_a_half_life_that_is_not_finite_and_positive_is_refused(half_life: float) -> None:
    with pytest.raises(ValueError, match=r"half_life must be finite and > 0, got"):
        time_correlation(cube([0.0]), cube([1.0]), half_life)
