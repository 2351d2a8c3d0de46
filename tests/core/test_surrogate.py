"""The surrogate is an exact Gaussian process, and BoTorch's criteria work on it."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from botorch.acquisition import (
    AcquisitionFunction,
    ProbabilityOfImprovement,
    qKnowledgeGradient,
    qLogExpectedImprovement,
    qLogNoisyExpectedImprovement,
    qUpperConfidenceBound,
)
from botorch.acquisition.objective import ScalarizedPosteriorTransform
from botorch.models import SingleTaskGP
from botorch.models.model import Model
from botorch.sampling import SobolQMCNormalSampler
from gpytorch.kernels import MaternKernel, RBFKernel
from gpytorch.means import ConstantMean
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gptune.configs import Decay
from gptune.core.fitting import fit
from gptune.core.history import History, TrainingData
from gptune.core.kernels import KERNELS, square_distances, time_correlation
from gptune.core.likelihood import (
    NOISE_FLOOR,
    Form,
    Hyperparameters,
    covariance,
    half_life_of,
    prior_mode,
)
from gptune.core.space import SearchSpace, cube
from gptune.core.surrogate import Surrogate, condition, warped
from gptune.core.transforms import WARPS
from gptune.records import Float, Observation, Scalar
from tests.core.test_likelihood import Exact, Problem, draw_data, problems

DECAYS = {
    "none": Decay(kind="none"),
    "weights": Decay(kind="weights", half_life=4.0),
    "kernel": Decay(kind="kernel", half_life=4.0, detrend=False),
    "window": Decay(kind="window", window=7),
}
SPACE = SearchSpace({"a": Float(0.0, 1.0), "b": Float(0.0, 1.0)})


def conditioned(data: TrainingData, form: Form, theta: Tensor) -> Surrogate:
    surrogate = condition(data, Hyperparameters.unpack(theta, form), form)
    assert surrogate is not None
    return surrogate


def at_prior_mode(data: TrainingData, form: Form | None = None) -> Surrogate:
    form = form or Form()
    return conditioned(data, form, prior_mode(data.x.shape[-1], form).pack())


def fitted(data: TrainingData) -> Surrogate:
    found = fit(data, Form(), None, count=len(data))
    assert found is not None
    return found.surrogate


def stock(surrogate: Surrogate) -> SingleTaskGP:
    """Build BoTorch's own model at the same hyperparameters; time is one more input."""
    data, hyper, d = surrogate.data, surrogate.hyper, surrogate.data.x.shape[-1]
    noise = (data.noise + hyper.noise + NOISE_FLOOR) / data.weight
    dims = tuple(range(d))
    kernel = MaternKernel(2.5, ard_num_dims=d, active_dims=dims).double()
    if surrogate.form.kernel == "rbf":
        kernel = RBFKernel(ard_num_dims=d, active_dims=dims).double()
    kernel.lengthscale = hyper.lengthscale
    half_life = half_life_of(data, hyper)
    if half_life is not None:
        in_time = MaternKernel(0.5, active_dims=(d,)).double()
        in_time.lengthscale = half_life / math.log(2.0)
        kernel = kernel * in_time
    mean = ConstantMean().double()
    mean.constant = surrogate.factors.mean
    model = SingleTaskGP(
        Exact.at(data.x, -data.age),
        data.y.unsqueeze(-1),
        noise.unsqueeze(-1),
        covar_module=kernel,
        mean_module=mean,
        outcome_transform=None,
    )
    model.eval()
    return model


def now(x: Tensor) -> Tensor:
    """Ask the stock model at the present moment."""
    return torch.cat([x, torch.zeros_like(x[..., :1])], dim=-1)


def queries(d: int, count: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(99)
    return torch.rand(count, d, generator=generator, dtype=torch.float64)


def raw_data(x: Tensor, y: Tensor) -> TrainingData:
    one = torch.ones_like(y)
    age = torch.arange(len(y), 0, -1, dtype=torch.float64)
    return TrainingData(x=x, y=y, noise=torch.zeros_like(y), weight=one, age=age)


def dense(data: TrainingData, hyper: Hyperparameters, form: Form, x: Tensor) -> list[Tensor]:
    """Write the posterior as the textbook does, by a matrix inverse."""
    inverse = torch.linalg.inv(covariance(data, hyper, form))
    mean = (inverse @ data.y).sum() / inverse.sum()

    def kernel(z: Tensor) -> Tensor:
        scaled = (x.unsqueeze(-2) - z) / hyper.lengthscale
        return KERNELS[form.kernel](scaled.square().sum(-1))[0]

    cross = kernel(data.x)
    half_life = half_life_of(data, hyper)
    if half_life is not None:
        cross = cross * time_correlation(cube([0.0]), data.age, half_life)
    return [mean + cross @ inverse @ (data.y - mean), kernel(x) - cross @ inverse @ cross.T]


@given(problems())
@settings(deadline=None, max_examples=60)
def test_the_posterior_is_the_textbooks(problem: Problem) -> None:
    surrogate = conditioned(*problem)
    x = queries(surrogate.data.x.shape[-1])
    posterior = surrogate.posterior(x)
    mean, spread = dense(surrogate.data, surrogate.hyper, surrogate.form, x)
    assert torch.allclose(posterior.mean.squeeze(-1), mean, rtol=1e-6, atol=1e-6)
    found = posterior.distribution.covariance_matrix
    assert torch.allclose(found, spread, rtol=1e-6, atol=1e-6)


@given(problems())
@settings(deadline=None, max_examples=25)
def test_the_posterior_is_gpytorchs(problem: Problem) -> None:
    surrogate = conditioned(*problem)
    data, x = surrogate.data, queries(surrogate.data.x.shape[-1])
    model = Exact(data, surrogate.hyper, surrogate.form, surrogate.factors.mean).eval()
    with torch.no_grad():
        wanted = model(Exact.at(x, cube([0.0])))
    posterior = surrogate.posterior(x)
    assert torch.allclose(posterior.mean.squeeze(-1), wanted.mean, rtol=0, atol=1e-6)
    found = posterior.distribution.covariance_matrix
    assert torch.allclose(found, wanted.covariance_matrix, rtol=0, atol=1e-6)


@given(problems(), st.sampled_from([(6,), (2, 3), (3, 2), (1, 6), (6, 1), (3, 2, 1)]))
@settings(deadline=None, max_examples=60)
def test_the_posterior_is_botorchs_for_every_shape_of_batch(
    problem: Problem, shape: tuple[int, ...]
) -> None:
    surrogate = conditioned(*problem)
    d = surrogate.data.x.shape[-1]
    x = queries(d).reshape(*shape, d)
    found: Any = surrogate.posterior(x)
    wanted: Any = stock(surrogate).posterior(now(x))
    handed: Any = surrogate.to_botorch().posterior(x)
    for other in (wanted, handed):
        assert found.mean.shape == other.mean.shape == (*shape, 1)
        assert torch.allclose(found.mean, other.mean, rtol=0, atol=1e-6)
        assert torch.allclose(found.variance, other.variance, rtol=0, atol=1e-6)
        joint = other.distribution.covariance_matrix
        assert torch.allclose(found.distribution.covariance_matrix, joint, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kernel", sorted(KERNELS))
@pytest.mark.parametrize("time", ["none", "given", "fitted"])
def test_botorchs_copy_gives_the_same_samples(kernel: str, time: str) -> None:
    form = Form(kernel, fits_half_life=time == "fitted")
    surrogate = at_prior_mode(draw_data(8, 2, 3, 5.0 if time == "given" else None), form)
    x = queries(2).reshape(3, 2, 2)
    sampler = SobolQMCNormalSampler(torch.Size([5]), seed=1)
    found, wanted = sampler(surrogate.posterior(x)), sampler(surrogate.to_botorch().posterior(x))
    assert found.shape == (5, 3, 2, 1)
    assert torch.allclose(found, wanted, rtol=0, atol=1e-6)


def followed(surrogate: Surrogate, x: Tensor, y: Tensor, noise: float) -> Surrogate:
    """Condition anew on what is measured now, whatever the other noise is."""
    data, one = surrogate.data, torch.ones_like(y)
    more = TrainingData(
        x=torch.cat([data.x, x]),
        y=torch.cat([data.y, y]),
        noise=torch.cat([data.noise, one * (noise - surrogate.hyper.noise - NOISE_FLOOR)]),
        weight=torch.cat([data.weight, one]),
        age=torch.cat([data.age, 0 * one]),
        half_life=data.half_life,
    )
    made = condition(more, surrogate.hyper, surrogate.form, mean=surrogate.factors.mean)
    assert made is not None
    return made


@pytest.mark.parametrize("kernel", sorted(KERNELS))
@pytest.mark.parametrize("time", ["none", "given", "fitted"])
def test_botorchs_copy_learns_from_what_is_measured_now(kernel: str, time: str) -> None:
    form = Form(kernel, fits_half_life=time == "fitted")
    surrogate = at_prior_mode(draw_data(8, 2, 3, 5.0 if time == "given" else None), form)
    x, new, y = queries(2)[:4], queries(2)[4:], cube([0.7, -0.2])
    model = surrogate.to_botorch()
    model.posterior(x)  # fills the caches that conditioning needs
    noise = torch.full((2, 1), 0.01, dtype=torch.float64)
    wanted = model.condition_on_observations(new, y.unsqueeze(-1), noise=noise).posterior(x)
    found = followed(surrogate, new, y, 0.01).posterior(x)
    assert torch.allclose(found.mean, wanted.mean, rtol=0, atol=1e-6)
    assert torch.allclose(found.variance, wanted.variance, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kernel", sorted(KERNELS))
@pytest.mark.parametrize("time", ["none", "given", "fitted"])
def test_botorchs_copy_drives_the_knowledge_gradient(kernel: str, time: str) -> None:
    form = Form(kernel, fits_half_life=time == "fitted")
    surrogate = at_prior_mode(draw_data(8, 2, 3, 5.0 if time == "given" else None), form)
    model = surrogate.to_botorch()
    x = torch.cat([queries(2, 5), queries(2, 5).flip(0)]).reshape(2, 5, 2).requires_grad_()
    values = qKnowledgeGradient(model, num_fantasies=4)(x)
    (slope,) = torch.autograd.grad(values.sum(), x)
    assert values.shape == (2,)
    assert bool(torch.isfinite(values).all())
    assert bool(torch.isfinite(slope).all())
    assert float(slope.abs().max()) > 0
    sampler = SobolQMCNormalSampler(torch.Size([4]), seed=0)
    with torch.no_grad():
        dreamt = model.fantasize(queries(2)[:3], sampler).posterior(queries(2))
    assert dreamt.mean.shape == (4, 6, 1)
    assert float(dreamt.mean.var(0).max()) > 1e-6  # the fantasies differ
    assert bool((dreamt.variance <= surrogate.posterior(queries(2)).variance + 1e-6).all())


@given(problems())
@settings(deadline=None, max_examples=30)
def test_a_batch_is_its_parts_one_by_one(problem: Problem) -> None:
    surrogate = conditioned(*problem)
    x = queries(surrogate.data.x.shape[-1]).reshape(2, 3, -1)
    whole = surrogate.posterior(x)
    assert whole.mean.shape == (2, 3, 1)
    for i in range(2):
        part = surrogate.posterior(x[i])
        assert torch.allclose(whole.mean[i], part.mean)
        assert torch.allclose(whole.variance[i], part.variance)


@given(problems())
@settings(deadline=None, max_examples=40)
def test_the_marginal_is_the_diagonal_of_the_posterior(problem: Problem) -> None:
    surrogate = conditioned(*problem)
    x = torch.cat([queries(surrogate.data.x.shape[-1]), surrogate.data.x])
    mean, deviation = surrogate.marginal(x)
    posterior = surrogate.posterior(x)
    assert mean.shape == deviation.shape == (len(x),)
    assert torch.allclose(mean, posterior.mean.flatten(), rtol=0, atol=1e-10)
    assert torch.allclose(deviation.square(), posterior.variance.flatten(), rtol=0, atol=1e-10)


@given(problems())
@settings(deadline=None, max_examples=30)
def test_the_variance_is_positive_and_no_more_than_the_prior_knows(problem: Problem) -> None:
    surrogate = conditioned(*problem)
    x = torch.cat([queries(surrogate.data.x.shape[-1]), surrogate.data.x])
    variance = surrogate.posterior(x.unsqueeze(-2)).variance
    assert bool((variance > 0).all())
    assert bool((variance <= 1 + 1e-6).all())
    noisy = surrogate.posterior(x.unsqueeze(-2), observation_noise=True).variance
    assert torch.allclose(noisy - variance, surrogate.hyper.noise + NOISE_FLOOR)


@given(problems(), st.integers(1, 3))
@settings(deadline=None, max_examples=40)
def test_believing_in_the_mean_moves_no_mean_and_leaves_less_to_learn(
    problem: Problem, q: int
) -> None:
    surrogate = conditioned(*problem)
    x = queries(surrogate.data.x.shape[-1])
    believer = surrogate.believing(x[:q])
    assert len(believer.data) == len(surrogate.data) + q
    assert believer.half_life == surrogate.half_life
    before, after = surrogate.marginal(x), believer.marginal(x)
    assert torch.allclose(before[0], after[0], rtol=0, atol=1e-6)
    assert bool((after[1] <= before[1] + 1e-7).all())
    measured = surrogate.hyper.noise + NOISE_FLOOR
    assert bool((after[1][:q].square() <= measured + 1e-9).all())


def test_believing_leaves_the_surrogate_as_it_was() -> None:
    surrogate, x = at_prior_mode(draw_data(5, 2, 0)), queries(2)
    before = surrogate.posterior(x).mean
    surrogate.believing(x)
    assert torch.equal(surrogate.posterior(x).mean, before)
    assert len(surrogate.data) == 5


def test_a_posterior_transform_is_applied() -> None:
    surrogate = at_prior_mode(draw_data(5, 2, 0))
    x = queries(2)
    doubled = ScalarizedPosteriorTransform(weights=cube([2.0]))
    plain = surrogate.posterior(x)
    assert torch.allclose(
        surrogate.posterior(x, posterior_transform=doubled).mean, 2.0 * plain.mean
    )


def test_the_surrogate_is_a_model_of_one_output_without_batch() -> None:
    data = draw_data(4, 2, 0)
    surrogate = at_prior_mode(data)
    assert surrogate.num_outputs == 1
    assert surrogate.batch_shape == torch.Size([])
    assert torch.equal(surrogate.train_inputs[0], data.x)


@given(problems())
@settings(deadline=None, max_examples=30)
def test_a_given_mean_is_kept_and_the_profiled_one_stands_otherwise(problem: Problem) -> None:
    data, form, theta = problem
    hyper = Hyperparameters.unpack(theta, form)
    inverse = torch.linalg.inv(covariance(data, hyper, form))
    profiled = (inverse @ data.y).sum() / inverse.sum()
    free = conditioned(data, form, theta)
    assert float(free.factors.mean) == pytest.approx(float(profiled), rel=1e-6, abs=1e-6)
    held = condition(data, hyper, form, mean=cube(0.3))
    assert held is not None
    assert float(held.factors.mean) == 0.3
    wanted = inverse @ (data.y - 0.3)
    assert torch.allclose(held.factors.weights, wanted, rtol=1e-5, atol=1e-5)


@given(problems())
@settings(deadline=None, max_examples=40)
def test_what_a_surrogate_says_of_itself_is_enough_to_repeat_it(problem: Problem) -> None:
    data, form, theta = problem
    hyper = Hyperparameters.unpack(theta, form)
    surrogate = condition(warped(data, hyper, form), hyper, form)
    assert surrogate is not None
    said = surrogate.describe()
    half_life = said.get("half_life")
    assert (half_life is not None) == (form.fits_half_life or data.half_life is not None)
    again = Hyperparameters(
        lengthscale=cube(said["lengthscale"]),
        noise=cube(said["noise"][0]),
        half_life=cube(half_life[0]) if half_life and form.fits_half_life else None,
        warp=cube(said[form.warp][0]) if form.warp in WARPS else None,
    )
    other = condition(warped(data, again, form), again, form)
    assert other is not None
    x = queries(data.x.shape[-1])
    assert torch.equal(other.posterior(x).mean, surrogate.posterior(x).mean)


def test_data_that_cannot_be_factorised_give_no_surrogate() -> None:
    data = draw_data(4, 2, 0)
    broken = replace(data, x=data.x * math.nan)
    assert condition(broken, prior_mode(2, Form()), Form()) is None


def history_of(values: list[float]) -> History:
    history = History.of(SPACE, 300)
    for i, value in enumerate(values):
        point: dict[str, Scalar] = {"a": (i * 0.37) % 1.0, "b": (i * 0.61) % 1.0}
        history = history.add(Observation(point=point, value=value))
    return history


def means(tale: list[Observation], decay: Decay) -> Tensor:
    history = History.of(SPACE, 300)
    for observation in tale:
        history = history.add(observation)
    return at_prior_mode(history.data(decay).prepared()).marginal(queries(2))[0]


@pytest.mark.parametrize("kind", DECAYS)
def test_what_was_measured_longer_ago_counts_less_under_every_decay_but_none(kind: str) -> None:
    tale = list(history_of([math.sin(3.0 * i) for i in range(12)]).observations)
    forward, backward = means(tale, DECAYS[kind]), means(tale[::-1], DECAYS[kind])
    if kind == "none":
        assert torch.allclose(forward, backward, atol=1e-9)
    else:
        assert float((forward - backward).abs().max()) > 0.05


@pytest.mark.parametrize("kind", ["weights", "kernel", "window"])
def test_of_two_claims_about_one_place_the_newer_is_believed(kind: str) -> None:
    place: dict[str, Scalar] = {"a": 0.5, "b": 0.5}
    far: dict[str, Scalar] = {"a": 0.0, "b": 1.0}
    old = [Observation(point=place, value=-1.0) for _ in range(5)]
    new = [Observation(point=place, value=1.0) for _ in range(5)]
    rest = [Observation(point=far, value=0.0)]
    x = cube([[0.5, 0.5]])

    def mean_of(tale: list[Observation]) -> float:
        history = History.of(SPACE, 300)
        for observation in [*tale, *rest]:
            history = history.add(observation)
        data = history.data(DECAYS[kind]).prepared()
        hyper = Hyperparameters(cube([0.3, 0.3]), cube(0.05))
        surrogate = condition(data, hyper, Form())
        assert surrogate is not None
        return float(surrogate.posterior(x).mean)

    assert mean_of([*old, *new]) > mean_of([*new, *old]) + 0.05


@pytest.mark.parametrize("form", [Form(), Form(fits_half_life=True)])
def test_very_old_evidence_is_forgotten_by_the_kernel(form: Form) -> None:
    data = replace(draw_data(9, 2, 1), half_life=1.0, age=torch.arange(9).double() + 60.0)
    hyper = prior_mode(2, form)
    if hyper.half_life is not None:
        hyper = replace(hyper, half_life=cube(1.0))
    surrogate = condition(data, hyper, form)
    assert surrogate is not None
    mean, deviation = surrogate.marginal(data.x)
    assert torch.allclose(deviation, torch.ones_like(deviation), atol=1e-9)
    assert torch.allclose(mean, surrogate.factors.mean, atol=1e-9)


def criteria(model: Model, known: Tensor, pending: Tensor | None) -> list[AcquisitionFunction]:
    sampler = SobolQMCNormalSampler(torch.Size([32]), seed=3)
    return [
        qLogExpectedImprovement(model, best_f=0.5, X_pending=pending, sampler=sampler),
        qUpperConfidenceBound(model, beta=2.0, X_pending=pending, sampler=sampler),
        qLogNoisyExpectedImprovement(model, X_baseline=known, X_pending=pending, cache_root=False),
    ]


@pytest.mark.parametrize("kind", DECAYS)
@pytest.mark.parametrize("pends", [False, True])
def test_botorchs_criteria_work_on_it(kind: str, pends: bool) -> None:
    data = history_of([math.sin(3.0 * i) for i in range(12)]).data(DECAYS[kind])
    surrogate = fitted(data)
    pending = queries(2)[:2] if pends else None
    generator = torch.Generator().manual_seed(4)
    x = torch.rand(5, 2, 2, generator=generator, dtype=torch.float64).requires_grad_()
    for criterion in criteria(surrogate, data.x, pending):
        values = criterion(x)
        assert values.shape == (5,)
        assert bool(torch.isfinite(values).all())
        (slope,) = torch.autograd.grad(values.sum(), x)
        assert bool(torch.isfinite(slope).all())
        assert float(slope.abs().max()) > 0
    chance = ProbabilityOfImprovement(surrogate, best_f=0.5)(x[:, :1])
    assert bool(((chance >= 0) & (chance <= 1)).all())


@pytest.mark.parametrize("kind", DECAYS)
def test_botorchs_criteria_give_on_it_what_they_give_on_botorchs_own_model(kind: str) -> None:
    data = history_of([math.sin(3.0 * i) for i in range(12)]).data(DECAYS[kind])
    surrogate = fitted(data)
    handed, x = surrogate.to_botorch(), queries(2).unsqueeze(-2)
    pending = queries(2)[:1] / 2
    ours, theirs = (criteria(model, data.x, pending)[:2] for model in (surrogate, handed))
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one(x), other(x), rtol=0, atol=1e-5)


def test_botorchs_monte_carlo_agrees_with_the_posterior() -> None:
    surrogate = fitted(draw_data(9, 2, 1))
    x = queries(2).unsqueeze(-2)
    mean, deviation = surrogate.marginal(queries(2))
    found = qUpperConfidenceBound(surrogate, beta=2.0)(x)
    assert torch.allclose(found, mean + math.sqrt(2.0) * deviation, atol=0.02)


@given(problems())
@settings(deadline=None, max_examples=30)
def test_the_prior_covariance_is_the_kernels_times_what_is_left(problem: Problem) -> None:
    surrogate = conditioned(*problem)
    x, data = queries(surrogate.data.x.shape[-1]), surrogate.data
    scale = surrogate.hyper.lengthscale
    k, _ = KERNELS[surrogate.form.kernel](square_distances(x / scale, data.x / scale))
    left = torch.ones_like(data.age)
    if surrogate.half_life is not None:
        left = torch.exp2(-data.age / surrogate.half_life)
    assert torch.allclose(surrogate.fading(), left)
    assert torch.allclose(surrogate.prior_covariance(x), k * left)
