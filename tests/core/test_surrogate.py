"""The surrogate is an exact Gaussian process, and no data break it."""

import math
from dataclasses import replace

import pytest
import torch
from botorch.acquisition import (
    ProbabilityOfImprovement,
    qLogExpectedImprovement,
    qUpperConfidenceBound,
)
from botorch.acquisition.objective import ScalarizedPosteriorTransform
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gptune.configs import Decay
from gptune.core.history import History, TrainingData
from gptune.core.kernels import matern52, time_correlation
from gptune.core.likelihood import (
    NOISE_FLOOR,
    Hyperparameters,
    covariance,
    log_posterior,
    prior_mode,
)
from gptune.core.space import SearchSpace, cube
from gptune.core.surrogate import Surrogate, condition, fit, prepare
from gptune.records import Float, Observation, Scalar
from tests.core.test_likelihood import Exact, draw_data, problems

DECAYS = {
    "none": Decay(kind="none"),
    "weights": Decay(kind="weights", half_life=4.0),
    "kernel": Decay(kind="kernel", half_life=4.0),
    "window": Decay(kind="window", window=7),
}
SPACE = SearchSpace({"a": Float(0.0, 1.0), "b": Float(0.0, 1.0)})


def conditioned(data: TrainingData, theta: Tensor) -> Surrogate:
    surrogate = condition(data, Hyperparameters.unpack(theta))
    assert surrogate is not None
    return surrogate


def fitted(data: TrainingData, last: Hyperparameters | None = None) -> Surrogate:
    surrogate = fit(data, last)
    assert surrogate is not None
    return surrogate


def queries(d: int, count: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(99)
    return torch.rand(count, d, generator=generator, dtype=torch.float64)


def raw_data(x: Tensor, y: Tensor) -> TrainingData:
    one = torch.ones_like(y)
    age = torch.arange(len(y), 0, -1, dtype=torch.float64)
    return TrainingData(x=x, y=y, noise=torch.zeros_like(y), weight=one, age=age)


def dense(data: TrainingData, hyper: Hyperparameters, x: Tensor) -> tuple[Tensor, Tensor]:
    """Write the posterior as the textbook does, by a matrix inverse."""
    inverse = torch.linalg.inv(covariance(data, hyper))
    mean = (inverse @ data.y).sum() / inverse.sum()
    cross = matern52(x, data.x, hyper.lengthscale)
    if data.half_life is not None:
        cross = cross * time_correlation(cube([0.0]), data.age, data.half_life)
    prior = matern52(x, x, hyper.lengthscale)
    return mean + cross @ inverse @ (data.y - mean), prior - cross @ inverse @ cross.T


@given(problems())
@settings(deadline=None, max_examples=60)
def test_the_posterior_is_the_textbooks(problem: tuple[TrainingData, Tensor]) -> None:
    data, theta = problem
    surrogate = conditioned(data, theta)
    x = queries(data.x.shape[-1])
    posterior = surrogate.posterior(x)
    mean, spread = dense(data, surrogate.hyper, x)
    assert torch.allclose(posterior.mean.squeeze(-1), mean, rtol=1e-6, atol=1e-6)
    found = posterior.distribution.covariance_matrix
    assert torch.allclose(found, spread, rtol=1e-6, atol=1e-6)


@given(problems())
@settings(deadline=None, max_examples=25)
def test_without_decay_in_time_the_posterior_is_gpytorchs(
    problem: tuple[TrainingData, Tensor],
) -> None:
    data, theta = problem
    if data.half_life is not None:
        return
    surrogate = conditioned(data, theta)
    x = queries(data.x.shape[-1])
    model = Exact(data, surrogate.hyper, surrogate.factors.mean).eval()
    with torch.no_grad():
        wanted = model(x)
    posterior = surrogate.posterior(x)
    assert torch.allclose(posterior.mean.squeeze(-1), wanted.mean, rtol=0, atol=1e-6)
    found = posterior.distribution.covariance_matrix
    assert torch.allclose(found, wanted.covariance_matrix, rtol=0, atol=1e-6)


@given(problems())
@settings(deadline=None, max_examples=30)
def test_a_batch_is_its_parts_one_by_one(problem: tuple[TrainingData, Tensor]) -> None:
    data, theta = problem
    surrogate = conditioned(data, theta)
    x = queries(data.x.shape[-1]).reshape(2, 3, -1)
    whole = surrogate.posterior(x)
    assert whole.mean.shape == (2, 3, 1)
    for i in range(2):
        part = surrogate.posterior(x[i])
        assert torch.allclose(whole.mean[i], part.mean)
        assert torch.allclose(whole.variance[i], part.variance)


@given(problems())
@settings(deadline=None, max_examples=30)
def test_the_variance_is_positive_and_no_more_than_the_prior_knows(
    problem: tuple[TrainingData, Tensor],
) -> None:
    data, theta = problem
    surrogate = conditioned(data, theta)
    x = torch.cat([queries(data.x.shape[-1]), data.x])
    variance = surrogate.posterior(x.unsqueeze(-2)).variance
    assert bool((variance > 0).all())
    assert bool((variance <= 1 + 1e-6).all())
    noisy = surrogate.posterior(x.unsqueeze(-2), observation_noise=True).variance
    assert torch.allclose(noisy - variance, surrogate.hyper.noise + NOISE_FLOOR)


def test_a_posterior_transform_is_applied() -> None:
    surrogate = conditioned(draw_data(5, 2, 0), prior_mode(2).pack())
    x = queries(2)
    doubled = ScalarizedPosteriorTransform(weights=cube([2.0]))
    plain = surrogate.posterior(x)
    assert torch.allclose(
        surrogate.posterior(x, posterior_transform=doubled).mean, 2.0 * plain.mean
    )


def test_the_surrogate_is_a_model_of_one_output_without_batch() -> None:
    surrogate = conditioned(draw_data(4, 2, 0), prior_mode(2).pack())
    assert surrogate.num_outputs == 1
    assert surrogate.batch_shape == torch.Size([])


@given(st.integers(2, 12), st.integers(1, 3), st.integers(0, 999))
@settings(deadline=None, max_examples=15)
def test_a_fit_is_no_worse_than_where_it_starts(n: int, d: int, seed: int) -> None:
    data = prepare(draw_data(n, d, seed))
    last = Hyperparameters(torch.full((d,), 0.7, dtype=torch.float64), cube(0.2))
    height = log_posterior(fitted(data, last).hyper.pack(), data)
    assert height is not None
    for start in (last, prior_mode(d)):
        low = log_posterior(start.pack(), data)
        assert low is not None
        assert float(height[0]) >= float(low[0]) - 1e-9


@given(st.integers(1, 12), st.integers(0, 999))
@settings(deadline=None, max_examples=10)
def test_the_same_data_give_the_same_fit(n: int, seed: int) -> None:
    data = draw_data(n, 2, seed)
    assert fitted(data).describe() == fitted(data).describe()


def test_what_a_surrogate_says_of_itself_is_enough_to_repeat_it() -> None:
    data = draw_data(9, 2, 3)
    surrogate = fitted(data)
    said = surrogate.describe()
    hyper = Hyperparameters(cube(said["lengthscale"]), cube(said["noise"][0]))
    again = condition(prepare(data), hyper)
    assert again is not None
    assert torch.equal(again.posterior(queries(2)).mean, surrogate.posterior(queries(2)).mean)


X = torch.rand(9, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = torch.sin(6 * X[:, 0]) + X[:, 1]
HARD: dict[str, tuple[Tensor, Tensor]] = {
    "constant": (X, torch.full((9,), 3.0, dtype=torch.float64)),
    "zeros": (X, torch.zeros(9, dtype=torch.float64)),
    "all in one place": (X[:1].repeat(9, 1), Y),
    "duplicates": (torch.cat([X, X]), torch.cat([Y, Y + 0.5])),
    "one observation": (X[:1], Y[:1]),
    "two observations": (X[:2], Y[:2]),
    "scale 1e30": (X, Y * 1e30),
    "scale 1e-30": (X, Y * 1e-30),
    "scale 1e300": (X, Y * 1e300),
    "scale 1e-300": (X, Y * 1e-300),
    "scale 1e-310": (X, Y * 1e-310),
    "both ends of float": (X[:2], cube([-1.7e308, 1.7e308])),
    "offset 1e12": (X, Y + 1e12),
    "outlier": (X, torch.cat([Y[:8], cube([-1e6])])),
    "outlier above": (X, torch.cat([Y[:8], cube([1e6])])),
    "constant but one": (X, torch.cat([torch.ones(8, dtype=torch.float64), cube([-1e6])])),
}


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("noise", [0.0, 1e-30, 1.0, 1e300])
def test_no_data_break_the_fit(name: str, noise: float) -> None:
    x, y = HARD[name]
    data = replace(raw_data(x, y), noise=torch.full_like(y, noise))
    surrogate = fitted(data)
    for number in (*surrogate.hyper.lengthscale.tolist(), float(surrogate.hyper.noise)):
        assert math.isfinite(number)
        assert number > 0
    posterior = surrogate.posterior(torch.cat([queries(2), x]).unsqueeze(-2))
    assert bool(torch.isfinite(posterior.mean).all())
    assert bool((posterior.variance > 0).all())


@pytest.mark.parametrize("power", [-100, -3, 1, 100])
def test_the_unit_of_the_metric_changes_no_bit_of_the_posterior(power: int) -> None:
    plain, scaled = fitted(raw_data(X, Y)), fitted(raw_data(X, Y * 2.0**power))
    assert torch.equal(plain.posterior(X).mean, scaled.posterior(X).mean)


def test_adding_a_constant_to_the_metric_changes_nothing_that_matters() -> None:
    plain, moved = fitted(raw_data(X, Y)), fitted(raw_data(X, Y + 100.0))
    assert torch.allclose(plain.posterior(X).mean, moved.posterior(X).mean, atol=1e-3)


def test_one_disaster_does_not_hide_the_difference_between_the_others() -> None:
    surrogate = fitted(raw_data(X, torch.cat([Y[:8], cube([-1e6])])))
    mean = surrogate.posterior(X[:8].unsqueeze(-2)).mean.flatten()
    assert torch.corrcoef(torch.stack([mean, Y[:8]]))[0, 1] > 0.9


def test_data_that_cannot_be_factorised_give_no_surrogate() -> None:
    assert fit(raw_data(X * math.nan, Y), None) is None
    assert condition(raw_data(X * math.nan, Y), prior_mode(2)) is None


def history_of(values: list[float]) -> History:
    history = History(300)
    for i, value in enumerate(values):
        point: dict[str, Scalar] = {"a": (i * 0.37) % 1.0, "b": (i * 0.61) % 1.0}
        history = history.add(Observation(point=point, value=value))
    return history


def means(tale: list[Observation], decay: Decay) -> Tensor:
    history = History(300)
    for observation in tale:
        history = history.add(observation)
    data = prepare(history.data(SPACE, decay))
    mean: Tensor = conditioned(data, prior_mode(2).pack()).posterior(queries(2)).mean
    return mean.flatten()


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
        history = History(300)
        for observation in [*tale, *rest]:
            history = history.add(observation)
        data = prepare(history.data(SPACE, DECAYS[kind]))
        hyper = Hyperparameters(cube([0.3, 0.3]), cube(0.05))
        surrogate = condition(data, hyper)
        assert surrogate is not None
        return float(surrogate.posterior(x).mean)

    assert mean_of([*old, *new]) > mean_of([*new, *old]) + 0.05


def test_very_old_evidence_is_forgotten_by_the_kernel() -> None:
    data = replace(prepare(raw_data(X, Y)), half_life=1.0, age=torch.arange(9).double() + 60.0)
    surrogate = conditioned(data, prior_mode(2).pack())
    posterior = surrogate.posterior(X.unsqueeze(-2))
    assert torch.allclose(posterior.variance, torch.ones_like(posterior.variance), atol=1e-9)
    assert torch.allclose(posterior.mean, surrogate.factors.mean, atol=1e-9)


@pytest.mark.parametrize("kind", DECAYS)
def test_botorchs_criteria_work_on_it(kind: str) -> None:
    data = history_of([math.sin(3.0 * i) for i in range(12)]).data(SPACE, DECAYS[kind])
    surrogate = fitted(data)
    x = torch.rand(5, 2, 2, dtype=torch.float64).requires_grad_()
    for criterion in (
        qLogExpectedImprovement(surrogate, best_f=0.5),
        qUpperConfidenceBound(surrogate, beta=2.0),
    ):
        values = criterion(x)
        assert values.shape == (5,)
        assert bool(torch.isfinite(values).all())
        (slope,) = torch.autograd.grad(values.sum(), x)
        assert bool(torch.isfinite(slope).all())
        assert float(slope.abs().max()) > 0
    chance = ProbabilityOfImprovement(surrogate, best_f=0.5)(x[:, :1])
    assert bool(((chance >= 0) & (chance <= 1)).all())


def test_botorchs_monte_carlo_agrees_with_the_posterior() -> None:
    surrogate = fitted(raw_data(X, Y))
    x = queries(2).unsqueeze(-2)
    posterior = surrogate.posterior(x)
    bound = posterior.mean.flatten() + math.sqrt(2.0) * posterior.variance.flatten().sqrt()
    found = qUpperConfidenceBound(surrogate, beta=2.0)(x)
    assert torch.allclose(found, bound, atol=0.02)
