"""Covariances: equal to GPyTorch's, positive semidefinite, with the right slopes."""

from typing import Any

import gpytorch
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gptune.core.kernels import (
    FLOOR,
    KERNELS,
    matern52,
    rbf,
    square_distances,
    time_correlation,
)
from gptune.core.space import cube

seeds = st.integers(0, 10_000)
lengthscales = st.lists(st.floats(0.01, 20.0), min_size=1, max_size=4).map(cube)
kernels = st.sampled_from(sorted(KERNELS))


def places(count: int, dimension: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, dimension, generator=generator, dtype=torch.float64)
    return torch.cat([x, x[:1]])  # a place may be visited twice


def covariances(name: str, x: Tensor, z: Tensor, lengthscale: Tensor) -> tuple[Tensor, Tensor]:
    scaled = x / lengthscale
    other = scaled if x is z else z / lengthscale
    return KERNELS[name](square_distances(scaled, other))


def gpytorchs(name: str, lengthscale: Tensor) -> Any:
    d = len(lengthscale)
    stock = {
        "matern52": gpytorch.kernels.MaternKernel(nu=2.5, ard_num_dims=d),
        "rbf": gpytorch.kernels.RBFKernel(ard_num_dims=d),
    }[name].double()
    stock.lengthscale = lengthscale
    return stock


def test_every_kernel_of_the_recipe_is_there() -> None:
    assert {"matern52": matern52, "rbf": rbf} == KERNELS


@given(kernels, lengthscales, seeds)
@settings(deadline=None, max_examples=60)
def test_the_covariance_is_gpytorchs(name: str, lengthscale: Tensor, seed: int) -> None:
    d = lengthscale.numel()
    x, z = places(7, d, seed), places(4, d, seed + 1)
    for left, right in ((x, z), (x, x)):
        wanted = gpytorchs(name, lengthscale)(left, right).to_dense().detach()
        found, _ = covariances(name, left, right, lengthscale)
        # Squared scaled distances have some 1e-16 of the largest squared coordinate, 1e4 at most.
        assert torch.allclose(found, wanted, rtol=0, atol=2e-11)


@given(kernels, lengthscales, seeds)
@settings(deadline=None, max_examples=60)
def test_the_covariance_is_symmetric_positive_semidefinite_and_one_with_itself(
    name: str, lengthscale: Tensor, seed: int
) -> None:
    x = places(12, lengthscale.numel(), seed)
    k, _ = covariances(name, x, x, lengthscale)
    assert torch.allclose(k, k.T, rtol=0, atol=2e-11)
    assert torch.allclose(k.diagonal(), torch.ones(len(x), dtype=k.dtype), rtol=0, atol=2e-11)
    assert bool(((k >= 0) & (k <= 1 + 1e-15)).all())
    assert float(torch.linalg.eigvalsh(k).min()) > -1e-10


@given(kernels, lengthscales, seeds)
@settings(deadline=None, max_examples=30)
def test_batches_are_done_one_by_one(name: str, lengthscale: Tensor, seed: int) -> None:
    d = lengthscale.numel()
    x = torch.stack([places(3, d, seed + i) for i in range(2)])
    z = places(5, d, seed + 9)
    whole = covariances(name, x, z, lengthscale)
    for i in range(2):
        for found, alone in zip(whole, covariances(name, x[i], z, lengthscale), strict=True):
            assert found.shape == (2, 4, 6)
            assert torch.allclose(found[i], alone, rtol=0, atol=1e-11)


@given(kernels, st.lists(st.floats(1e-3, 50.0), min_size=1, max_size=9).map(cube))
@settings(deadline=None, max_examples=60)
def test_the_slope_is_minus_half_of_g(name: str, r2: Tensor) -> None:
    _, g = KERNELS[name](r2)
    step = 1e-5 * r2
    up, down = KERNELS[name](r2 + step)[0], KERNELS[name](r2 - step)[0]
    assert g.shape == r2.shape
    assert torch.allclose(-2 * (up - down) / (2 * step), g, rtol=1e-5, atol=1e-9)


@given(kernels, lengthscales, seeds)
@settings(deadline=None, max_examples=60)
def test_all_slopes_follow_from_g_as_the_protocol_says(
    name: str, lengthscale: Tensor, seed: int
) -> None:
    d = len(lengthscale)
    x, z = places(5, d, seed), places(3, d, seed + 1)
    log, x_free = lengthscale.log().requires_grad_(), x.clone().requires_grad_()
    gap = (x_free.unsqueeze(-2) - z) / log.exp()  # (m, n, d)
    weight = torch.linspace(-1.0, 1.0, len(x) * len(z), dtype=torch.float64)
    weight = weight.reshape(len(x), len(z))
    k, _ = KERNELS[name](gap.square().sum(-1).clamp_min(FLOOR))
    by_scale, by_place = torch.autograd.grad((weight * k).sum(), [log, x_free])
    _, g = covariances(name, x, z, lengthscale)
    gap = gap.detach()
    pull = (weight * g).unsqueeze(-1)
    wanted = (pull * gap.square()).sum((0, 1))
    assert torch.allclose(wanted, by_scale, rtol=1e-8, atol=1e-8)
    wanted = -(pull * gap / lengthscale).sum(1)
    assert torch.allclose(wanted, by_place, rtol=1e-8, atol=1e-7)


@given(kernels, seeds)
@settings(deadline=None, max_examples=10)
def test_writing_to_the_covariance_leaves_its_slope_alone(name: str, seed: int) -> None:
    r2 = places(4, 2, seed)
    k, g = KERNELS[name](r2)
    before = g.clone()
    k.zero_()
    assert torch.equal(g, before)


@given(lengthscales, seeds)
@settings(deadline=None, max_examples=60)
def test_squared_distances_are_those_of_torch_and_never_vanish(
    lengthscale: Tensor, seed: int
) -> None:
    d = len(lengthscale)
    x, z = places(6, d, seed) / lengthscale, places(4, d, seed + 1) / lengthscale
    largest = float(torch.cat([x, z]).square().sum(-1).max())
    for other in (x, z):
        r2 = square_distances(x, other)
        assert r2.shape == (len(x), len(other))
        assert float(r2.min()) >= FLOOR
        wanted = (x.unsqueeze(-2) - other).square().sum(-1)
        assert torch.allclose(r2, wanted, rtol=0, atol=1e-14 * (1 + largest))


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_a_gradient_is_finite_where_two_places_coincide(name: str) -> None:
    x = cube([[0.5, 0.5]]).requires_grad_()
    z = cube([[0.5, 0.5], [0.1, 0.2]])
    k, _ = covariances(name, x, z, cube([0.3, 0.7]))
    (slope,) = torch.autograd.grad(k.sum(), x)
    assert bool(torch.isfinite(slope).all())
    assert float(slope.abs().max()) > 0


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
