"""The height of the likelihood is GPyTorch's, and its slope is that of finite differences."""

import math
from dataclasses import replace

import gpytorch
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from gptune.core.history import HALF_LIFE, TrainingData
from gptune.core.kernels import KERNELS
from gptune.core.likelihood import (
    NOISE_FLOOR,
    Form,
    Hyperparameters,
    LogPosterior,
    covariance,
    factor,
    factors,
    half_life_of,
    outcome,
    prior,
    prior_mode,
    profiled_mean,
)
from gptune.core.space import cube
from gptune.core.surrogate import warped
from gptune.core.transforms import WARPS

Problem = tuple[TrainingData, Form, Tensor]

ranges = {"none": (), "yeo_johnson": (-2.0, 4.0), "log_gap": (-2.0, 8.0)}


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


def forms(warps: tuple[str, ...] = ("none", *WARPS)) -> st.SearchStrategy[Form]:
    return st.builds(
        Form,
        kernel=st.sampled_from(sorted(KERNELS)),
        warp=st.sampled_from(warps),
        fits_half_life=st.booleans(),
    )


def thetas(d: int, form: Form) -> st.SearchStrategy[Tensor]:
    """Draw hyperparameters as `Hyperparameters.pack` writes them."""
    parts = [st.floats(-2.5, 2.0)] * d + [st.floats(-8.0, 1.0)]
    if form.fits_half_life:
        parts.append(st.floats(0.0, 5.0))
    if form.warp != "none":
        parts.append(st.floats(*ranges[form.warp]))
    return st.tuples(*parts).map(lambda theta: cube(list(theta)))


@st.composite
def problems(draw: st.DrawFn, warps: tuple[str, ...] = ("none", *WARPS)) -> Problem:
    """Draw data, what is fitted to them, and hyperparameters."""
    n, d = draw(st.integers(2, 10)), draw(st.integers(1, 3))
    form = draw(forms(warps))
    half_life = draw(st.none() | st.floats(1.0, 30.0))
    data = draw_data(n, d, draw(st.integers(0, 9999)), half_life)
    return data, form, draw(thetas(d, form))


class Exact(gpytorch.models.ExactGP):  # type: ignore[misc]
    """The stock model at given hyperparameters; time is one more input."""

    def __init__(
        self, data: TrainingData, hyper: Hyperparameters, form: Form, mean: Tensor
    ) -> None:
        noise = (data.noise + hyper.noise + NOISE_FLOOR) / data.weight
        likelihood = gpytorch.likelihoods.FixedNoiseGaussianLikelihood(noise)
        d = data.x.shape[-1]
        super().__init__(self.at(data.x, -data.age), data.y, likelihood)
        self.mean_module = gpytorch.means.ConstantMean().double()
        self.mean_module.constant = mean
        dims = tuple(range(d))
        space = {
            "matern52": gpytorch.kernels.MaternKernel(2.5, ard_num_dims=d, active_dims=dims),
            "rbf": gpytorch.kernels.RBFKernel(ard_num_dims=d, active_dims=dims),
        }[form.kernel].double()
        space.lengthscale = hyper.lengthscale
        half_life = half_life_of(data, hyper)
        if half_life is not None:
            in_time = gpytorch.kernels.MaternKernel(0.5, active_dims=(d,)).double()
            in_time.lengthscale = half_life / math.log(2.0)
            space = space * in_time
        self.covar_module = space

    @staticmethod
    def at(x: Tensor, moment: Tensor) -> Tensor:
        return torch.cat([x, moment.expand(len(x)).unsqueeze(-1)], dim=-1)

    def forward(self, x: Tensor) -> gpytorch.distributions.MultivariateNormal:
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def is_far_from_logarithms(parameter: float) -> bool:
    """Whether a difference keeps off 0 and 2: there a nearby power stands in, for it divides."""
    return min(abs(parameter), abs(2.0 - parameter)) > 1e-3


def height_of(theta: Tensor, data: TrainingData, form: Form) -> float:
    return float(LogPosterior(data, form)(theta.unsqueeze(0))[0])


def log_prior(theta: Tensor, form: Form, d: int) -> float:
    """The prior's height above its mode."""
    center, spread = prior(d, form)
    return -0.5 * float(((theta - center) / spread).square().sum())


def bent(z: Tensor, form: Form, parameter: Tensor) -> Tensor:
    """Write the warps as the papers do."""
    if form.warp == "yeo_johnson":
        power = torch.where(z >= 0, parameter, 2.0 - parameter)
        t, power = z.abs().log1p(), torch.where(power.abs() < 1e-9, 1e-9, power)
        return torch.where(z >= 0, 1.0, -1.0) * torch.expm1(power * t) / power
    best, c = z.detach().max(), parameter.exp()
    v = (best - z) / torch.quantile(best - z.detach(), 0.5)
    return -c * torch.log(1 + v / c)


def seen(z: Tensor, form: Form, parameter: Tensor | None) -> tuple[Tensor, Tensor]:
    """What the GP sees of values, and the logarithm of how much that stretches them."""
    if parameter is None:
        return z, z.new_zeros(())
    z = z.clone().requires_grad_()
    w = bent(z, form, parameter)
    (slope,) = torch.autograd.grad(w.sum(), z)
    w, deviation = w.detach(), w.detach().std(correction=0)
    return (w - w.mean()) / deviation, (slope / deviation).log().sum()


@given(problems())
@settings(deadline=None, max_examples=200)
def test_the_slope_is_that_of_central_differences(problem: Problem) -> None:
    data, form, theta = problem
    assume(form.warp != "yeo_johnson" or is_far_from_logarithms(float(theta[-1])))
    _, slope = LogPosterior(data, form)(theta.unsqueeze(0))
    assert slope.shape == (1, len(theta))
    step = 1e-5
    for j in range(len(theta)):
        up, down = theta.clone(), theta.clone()
        up[j] += step
        down[j] -= step
        numeric = (height_of(up, data, form) - height_of(down, data, form)) / (2 * step)
        assert float(slope[0, j]) == pytest.approx(numeric, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("kernel", sorted(KERNELS))
@pytest.mark.parametrize("warp", ["none", *WARPS])
@pytest.mark.parametrize("time", ["none", "given", "fitted"])
def test_the_slope_is_right_for_every_form(kernel: str, warp: str, time: str) -> None:
    data = draw_data(9, 2, 7, 4.0 if time == "given" else None)
    form = Form(kernel, warp, fits_half_life=time == "fitted")
    theta = prior_mode(2, form).pack() + 0.3
    height, slope = LogPosterior(data, form)(theta.unsqueeze(0))
    assert math.isfinite(height)
    for j in range(len(theta)):
        step = 1e-5 * torch.eye(len(theta), dtype=torch.float64)[j]
        ends = [height_of(theta + step, data, form), height_of(theta - step, data, form)]
        assert float(slope[0, j]) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-5)


@given(problems())
@settings(deadline=None, max_examples=150)
def test_the_height_is_the_density_of_a_normal_plus_jacobian_and_prior(problem: Problem) -> None:
    data, form, theta = problem
    hyper = Hyperparameters.unpack(theta, form)
    k = covariance(data, hyper, form)
    y, log_jacobian = seen(data.y, form, hyper.warp)
    inverse = torch.linalg.inv(k)
    mean = (inverse @ y).sum() / inverse.sum()
    normal = torch.distributions.MultivariateNormal(mean.expand(len(y)), k)
    wanted = normal.log_prob(y) + log_jacobian  # type: ignore[no-untyped-call]
    wanted = float(wanted) + log_prior(theta, form, data.x.shape[-1])
    assert height_of(theta, data, form) == pytest.approx(wanted, rel=1e-6, abs=1e-6)


@given(problems())
@settings(deadline=None, max_examples=60)
def test_the_height_is_gpytorchs(problem: Problem) -> None:
    data, form, theta = problem
    hyper = Hyperparameters.unpack(theta, form)
    y, log_jacobian = seen(data.y, form, hyper.warp)
    data_seen = replace(data, y=y)
    center = profiled_mean(torch.linalg.inv(covariance(data, hyper, form)), y)
    model = Exact(data_seen, hyper, form, center)
    model.train()
    marginal = gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model)
    with torch.no_grad():
        wanted = marginal(model(*model.train_inputs), y) * len(y) + log_jacobian
    wanted = float(wanted) + log_prior(theta, form, data.x.shape[-1])
    assert height_of(theta, data, form) == pytest.approx(wanted, rel=1e-6, abs=1e-6)


@given(problems(tuple(WARPS)))
@settings(deadline=None, max_examples=60)
def test_the_values_that_a_surrogate_is_conditioned_on_are_those_of_the_likelihood(
    problem: Problem,
) -> None:
    data, form, theta = problem
    hyper = Hyperparameters.unpack(theta, form)
    wanted, _ = seen(data.y, form, hyper.warp)
    assert torch.allclose(warped(data, hyper, form).y, wanted, rtol=1e-6, atol=1e-6)
    plain = Form(form.kernel, "none", form.fits_half_life)
    unwarped = Hyperparameters(hyper.lengthscale, hyper.noise, hyper.half_life)
    assert torch.equal(warped(data, unwarped, plain).y, data.y)


@st.composite
def batches(draw: st.DrawFn) -> tuple[TrainingData, Form, list[str], Tensor]:
    """Draw several rows, the Yeo-Johnson ones first, as `fit` lays them out."""
    n, d = draw(st.integers(3, 9)), draw(st.integers(1, 3))
    form = draw(forms(("yeo_johnson",)))
    data = draw_data(n, d, draw(st.integers(0, 9999)), draw(st.none() | st.floats(1.0, 30.0)))
    counts = [draw(st.integers(1, 3)), draw(st.integers(1, 3))]
    warps = ["yeo_johnson"] * counts[0] + ["log_gap"] * counts[1]
    theta = torch.stack([draw(thetas(d, replace(form, warp=warp))) for warp in warps])
    return data, form, warps, theta


@given(batches(), st.data())
@settings(deadline=None, max_examples=100)
def test_rows_of_mixed_warps_are_as_if_alone(
    batch: tuple[TrainingData, Form, list[str], Tensor], more: st.DataObject
) -> None:
    data, form, warps, theta = batch
    every = range(len(warps))
    rows = sorted(more.draw(st.sets(st.sampled_from(every), min_size=1)))
    together = LogPosterior(data, form, warps)
    heights, slopes = together(theta[rows], rows)
    assert heights.shape == (len(rows),)
    assert slopes.shape == theta[rows].shape
    for height, slope, row in zip(heights, slopes, rows, strict=True):
        alone = LogPosterior(data, replace(form, warp=warps[row]))(theta[row : row + 1])
        assert float(height) == pytest.approx(float(alone[0]), rel=1e-9, abs=1e-9)
        assert torch.allclose(slope, alone[1][0], rtol=1e-7, atol=1e-7)


@given(problems(), st.floats(-0.5, 0.5))
@settings(deadline=None, max_examples=60)
def test_no_other_constant_mean_explains_the_data_better(problem: Problem, away: float) -> None:
    data, form, theta = problem
    lower = factor(covariance(data, Hyperparameters.unpack(theta, form), form))
    assert lower is not None
    best = profiled_mean(torch.cholesky_inverse(lower), data.y)

    def misfit(mean: Tensor) -> float:
        residual = (data.y - mean).unsqueeze(-1)
        return float(residual.T @ torch.cholesky_solve(residual, lower))

    assert misfit(best) <= misfit(best + away) + 1e-8


@given(problems())
@settings(deadline=None, max_examples=60)
def test_the_covariance_holds_the_noise_divided_by_the_weight(problem: Problem) -> None:
    data, form, theta = problem
    hyper = Hyperparameters.unpack(theta, form)
    k = covariance(data, hyper, form)
    wanted = 1.0 + (data.noise + hyper.noise + NOISE_FLOOR) / data.weight
    assert torch.allclose(k.diagonal(), wanted)
    assert torch.allclose(k, k.T)
    assert float(torch.linalg.eigvalsh(k).min()) > 0
    half_life = half_life_of(data, hyper)
    if half_life is not None:
        still = covariance(replace(data, half_life=None), replace(hyper, half_life=None), form)
        fading = torch.exp2(-(data.age.unsqueeze(-1) - data.age).abs() / half_life)
        off = ~torch.eye(len(data.y), dtype=torch.bool)
        assert torch.allclose(k[off], (still * fading)[off])


@given(problems())
@settings(deadline=None, max_examples=40)
def test_a_fitted_half_life_stands_before_the_given_one(problem: Problem) -> None:
    data, form, theta = problem
    hyper = Hyperparameters.unpack(theta, form)
    d = data.x.shape[-1]
    fitted = float(theta[d + 1].exp()) if form.fits_half_life else None
    wanted = fitted if fitted is not None else data.half_life
    assert half_life_of(data, hyper) == (None if wanted is None else pytest.approx(wanted))


@given(st.integers(1, 6), forms(), st.data())
@settings(deadline=None, max_examples=60)
def test_the_prior_pulls_towards_its_mode(d: int, form: Form, data: st.DataObject) -> None:
    mode = prior_mode(d, form).pack()
    center, spread = prior(d, form)
    assert mode.shape == (d + 1 + form.fits_half_life + (form.warp != "none"),)
    assert torch.allclose(mode, center)
    assert bool((spread > 0).all())
    # One observation cannot be explained by anything but noise: slopes in the lengthscales and the
    # half-life are the prior's alone.
    one = replace(draw_data(2, d, 0).subset(torch.tensor([0])), y=cube([0.0]), half_life=None)
    theta = data.draw(thetas(d, form))
    if form.warp == "none":
        _, slope = LogPosterior(one, form)(theta.unsqueeze(0))
        wanted = (center - theta) / spread.square()
        own = [j for j in range(len(theta)) if j != d]  # but for the noise
        assert torch.allclose(slope[0, own], wanted[own], rtol=1e-9, atol=1e-9)


def test_the_prior_of_the_half_life_has_the_default_as_its_median() -> None:
    hyper = prior_mode(3, Form(fits_half_life=True))
    assert hyper.half_life is not None
    assert float(hyper.half_life) == pytest.approx(HALF_LIFE)
    assert prior_mode(3, Form()).half_life is None
    assert prior_mode(3, Form()).warp is None


@given(st.integers(1, 30))
@settings(deadline=None, max_examples=20)
def test_lengthscales_are_expected_to_grow_with_the_root_of_the_dimension(d: int) -> None:
    one, many = prior_mode(1, Form()).lengthscale, prior_mode(d, Form()).lengthscale
    assert many.shape == (d,)
    assert torch.allclose(many, one * math.sqrt(d))


@given(st.integers(1, 5), forms(), st.data())
@settings(deadline=None, max_examples=60)
def test_hyperparameters_survive_packing(d: int, form: Form, data: st.DataObject) -> None:
    theta = data.draw(thetas(d, form))
    hyper = Hyperparameters.unpack(theta, form)
    assert hyper.lengthscale.shape == (d,)
    assert hyper.noise.shape == ()
    assert (hyper.half_life is not None) == form.fits_half_life
    assert (hyper.warp is not None) == (form.warp != "none")
    assert torch.allclose(hyper.lengthscale, theta[:d].exp())
    assert float(hyper.noise) == pytest.approx(float(theta[d].exp()))
    assert torch.allclose(hyper.pack(), theta, rtol=1e-12, atol=1e-12)


@given(st.integers(1, 5), forms(), forms(), st.data())
@settings(deadline=None, max_examples=60)
def test_adapting_keeps_what_fits_and_starts_the_rest_at_the_priors_mode(
    d: int, before: Form, after: Form, data: st.DataObject
) -> None:
    hyper = Hyperparameters.unpack(data.draw(thetas(d, before)), before)
    adapted, start = hyper.adapt(after), prior_mode(d, after)
    assert torch.equal(adapted.lengthscale, hyper.lengthscale)
    assert torch.equal(adapted.noise, hyper.noise)
    assert adapted.warp == start.warp
    both = before.fits_half_life and after.fits_half_life
    assert adapted.half_life == (hyper.half_life if both else start.half_life)
    assert adapted.pack().shape == start.pack().shape


@given(st.integers(1, 5), st.integers(0, 999))
@settings(deadline=None, max_examples=30)
def test_a_factor_multiplies_back(n: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(n, n, generator=generator, dtype=torch.float64)
    matrix = root @ root.T + torch.eye(n, dtype=torch.float64)
    lower = factor(matrix)
    assert lower is not None
    assert torch.allclose(lower @ lower.T, matrix)
    several, sound = factors(torch.stack([matrix, 2.0 * matrix]))
    assert sound
    assert torch.allclose(several[0], lower)
    assert torch.allclose(several[1], lower * math.sqrt(2.0))


def test_a_singular_matrix_gets_jitter_and_a_hopeless_one_no_factor() -> None:
    lower = factor(torch.ones(4, 4, dtype=torch.float64))
    assert lower is not None
    assert bool(torch.isfinite(lower).all())
    for hopeless in (-torch.eye(3), torch.full((3, 3), math.nan), torch.full((2, 2), math.inf)):
        assert factor(hopeless.double()) is None
        several, sound = factors(torch.stack([torch.eye(len(hopeless)), hopeless]).double())
        assert not sound
        assert several.shape == (2, *hopeless.shape)


def test_a_factor_leaves_the_matrix_as_it_was() -> None:
    matrix = torch.ones(4, 4, dtype=torch.float64)
    factor(matrix)
    assert torch.equal(matrix, torch.ones_like(matrix))


@pytest.mark.parametrize("warp", ["none", *WARPS])
def test_hopeless_data_have_no_height(warp: str) -> None:
    data, form = draw_data(4, 1, 0), Form(warp=warp)
    broken = replace(data, x=data.x * math.nan)
    theta = prior_mode(1, form).pack().expand(2, -1)
    height, slope = LogPosterior(broken, form, [warp, warp])(theta, (0, 1))
    assert height.tolist() == [-math.inf, -math.inf]
    assert torch.equal(slope, torch.zeros_like(theta))


@pytest.mark.parametrize("hopeless", range(4))
def test_the_others_do_not_suffer_for_a_row_without_a_factor(hopeless: int) -> None:
    data, form = draw_data(6, 2, 0), Form()
    warps = ["yeo_johnson", "yeo_johnson", "log_gap", "log_gap"]
    theta = torch.stack([prior_mode(2, replace(form, warp=warp)).pack() for warp in warps])
    together = LogPosterior(data, form, warps)
    sound = together(theta, range(4))
    theta[hopeless, 0] = -800.0  # a lengthscale of zero
    height, slope = together(theta, range(4))
    for row in range(4):
        if row == hopeless:
            assert float(height[row]) == -math.inf
        else:
            assert float(height[row]) == pytest.approx(float(sound[0][row]))
            assert torch.allclose(slope[row], sound[1][row])


@given(
    st.sampled_from(sorted(WARPS)),
    st.lists(st.floats(-3, 3), min_size=3, max_size=9, unique=True),
    st.data(),
)
@settings(deadline=None, max_examples=80)
def test_an_outcome_is_standardised_and_its_slopes_are_those_of_differences(
    warp: str, numbers: list[float], data: st.DataObject
) -> None:
    y = np.array(numbers)
    if y.std() < 1e-2:
        return
    at = data.draw(st.lists(st.floats(*ranges[warp]), min_size=1, max_size=3).map(np.array))
    assume(warp != "yeo_johnson" or all(is_far_from_logarithms(p) for p in at))
    bound = WARPS[warp].bind((y - y.mean()) / y.std())
    found, step = outcome(bound, at), 1e-6
    assert found.value.shape == (len(at), len(y))
    assert found.value.mean(-1) == pytest.approx(np.zeros(len(at)), abs=1e-7)
    assert found.value.std(-1) == pytest.approx(np.ones(len(at)), abs=1e-7)
    up, down = outcome(bound, at + step), outcome(bound, at - step)
    numeric = (up.log_jacobian - down.log_jacobian) / (2 * step)
    assert found.log_jacobian_by_parameter == pytest.approx(numeric, rel=1e-4, abs=1e-4)
    numeric = (up.value - down.value) / (2 * step)
    centered = found.by_parameter - found.by_parameter.mean(-1, keepdims=True)
    assert centered == pytest.approx(numeric, rel=1e-4, abs=1e-4)
