"""The built-in criteria are BoTorch's; a Thompson draw is a draw of the posterior."""

import math
from collections.abc import Iterator

import gpytorch
import pytest
import torch
from botorch.acquisition import AcquisitionFunction, ProbabilityOfImprovement
from botorch.acquisition import LogExpectedImprovement as BotorchLogEI
from botorch.acquisition import UpperConfidenceBound as BotorchUCB
from botorch.models import SingleTaskGP
from botorch.models.model import Model
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gptune.core.criteria import (
    BY_NAME,
    Acquisition,
    LogExpectedImprovement,
    PosteriorDraw,
    ThompsonSampling,
    UpperConfidenceBound,
)
from gptune.core.history import TrainingData
from gptune.core.likelihood import NOISE_FLOOR, Hyperparameters
from gptune.core.search import maximise
from gptune.core.space import cube
from gptune.core.surrogate import Surrogate, condition
from tests.core.test_likelihood import draw_data

HYPER = Hyperparameters(cube([0.4, 0.8]), cube(0.05))


def surrogate_of(data: TrainingData) -> Surrogate:
    surrogate = condition(data, HYPER)
    assert surrogate is not None
    return surrogate


@pytest.fixture
def seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20240)
        yield


def places(count: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.rand(count, 1, 2, generator=generator, dtype=torch.float64)


def stock(surrogate: Surrogate) -> SingleTaskGP:
    """Build BoTorch's own model on the same data, at the same hyperparameters."""
    data, hyper = surrogate.data, surrogate.hyper
    noise = (data.noise + hyper.noise + NOISE_FLOOR) / data.weight
    kernel = gpytorch.kernels.MaternKernel(nu=2.5, ard_num_dims=2).double()
    kernel.lengthscale = hyper.lengthscale
    mean = gpytorch.means.ConstantMean().double()
    mean.constant = surrogate.factors.mean
    return SingleTaskGP(
        data.x,
        data.y.unsqueeze(-1),
        noise.unsqueeze(-1),
        covar_module=kernel,
        mean_module=mean,
        outcome_transform=None,
    ).eval()


@given(st.integers(2, 10), st.integers(0, 999), st.floats(-2, 2), st.floats(0, 9))
@settings(deadline=None, max_examples=25)
def test_the_built_in_criteria_are_botorchs_on_the_same_surrogate(
    n: int, seed: int, best: float, beta: float
) -> None:
    model, x = surrogate_of(draw_data(n, 2, seed)), places()
    bar = cube(best)
    found = LogExpectedImprovement()(model, bar)(x)
    assert torch.allclose(found, BotorchLogEI(model, best_f=bar)(x), rtol=0, atol=1e-9)
    found = UpperConfidenceBound(beta)(model, bar)(x)
    assert torch.allclose(found, BotorchUCB(model, beta=beta)(x), rtol=0, atol=1e-6)
    posterior = model.posterior(x)
    bound = posterior.mean.flatten() + math.sqrt(beta) * posterior.variance.flatten().sqrt()
    assert torch.allclose(found, bound, rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore::botorch.exceptions.warnings.InputDataWarning")
@pytest.mark.parametrize("seed", range(4))
def test_the_fast_path_agrees_with_botorchs_own_model(seed: int) -> None:
    model, x = surrogate_of(draw_data(8, 2, seed)), places()
    other = stock(model)
    best = cube(0.3)
    for criterion in (LogExpectedImprovement(), UpperConfidenceBound(2.0)):
        found, wanted = criterion(model, best)(x), criterion(other, best)(x)
        assert torch.allclose(found, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", ["log_ei", "ucb of a tenth"])
def test_torchs_default_dtype_changes_no_score(dtype: torch.dtype, name: str) -> None:
    tenth = UpperConfidenceBound(0.1)
    criterion: Acquisition = LogExpectedImprovement() if name == "log_ei" else tenth
    model, x = surrogate_of(draw_data(6, 2, 0)), places()
    wanted = criterion(model, cube(0.3))(x)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        assert torch.equal(criterion(model, cube(0.3))(x), wanted)
    finally:
        torch.set_default_dtype(default)


@pytest.mark.parametrize("beta", [-1.0, math.nan, -math.inf])
def test_a_negative_weight_of_the_unknown_is_refused(beta: float) -> None:
    with pytest.raises(ValueError, match="beta must be >= 0, got"):
        UpperConfidenceBound(beta)


def test_the_names_of_the_recipe_are_the_built_in_criteria() -> None:
    assert {
        "log_ei": LogExpectedImprovement(),
        "ucb": UpperConfidenceBound(2.0),
        "thompson": ThompsonSampling(),
    } == BY_NAME


@pytest.mark.usefixtures("seeded")
def test_one_draw_gives_the_same_value_at_the_same_place() -> None:
    draw, x = ThompsonSampling()(surrogate_of(draw_data(6, 2, 0)), cube(0.0)), places()
    values = draw(x)
    assert values.shape == (12,)
    assert torch.equal(draw(x), values)
    assert torch.allclose(draw(x.flip(0)), values.flip(0), rtol=0, atol=1e-12)
    assert torch.allclose(torch.cat([draw(x[:5]), draw(x[5:])]), values, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("seeded")
def test_each_draw_is_another() -> None:
    model, x = surrogate_of(draw_data(6, 2, 0)), places()
    one, other = (ThompsonSampling()(model, cube(0.0))(x) for _ in range(2))
    assert float((one - other).abs().max()) > 1e-3


def test_the_same_seed_gives_the_same_draw() -> None:
    model, x = surrogate_of(draw_data(6, 2, 0)), places()
    values = []
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            values.append(ThompsonSampling()(model, cube(0.0))(x))
    assert torch.equal(*values)


DATA = {
    "no decay": draw_data(8, 2, 1),
    "kernel decay": draw_data(8, 2, 1, half_life=4.0),
    "slow kernel decay": draw_data(8, 2, 2, half_life=13.0),
    "fast kernel decay": draw_data(8, 2, 3, half_life=1.0),
    "one place again and again": TrainingData(
        x=torch.full((8, 2), 0.5, dtype=torch.float64),
        y=draw_data(8, 2, 4).y,
        noise=torch.zeros(8, dtype=torch.float64),
        weight=torch.ones(8, dtype=torch.float64),
        age=torch.arange(16, 8, -1, dtype=torch.float64),
        half_life=13.0,
    ),
}


@pytest.mark.parametrize("name", DATA)
@pytest.mark.usefixtures("seeded")
def test_many_draws_have_the_mean_and_variance_of_the_posterior(name: str) -> None:
    model = surrogate_of(DATA[name])
    x = torch.cat([places(4), DATA[name].x[:2].unsqueeze(-2)])
    count = 2000
    with torch.no_grad():
        values = torch.stack([PosteriorDraw(model)(x) for _ in range(count)])
        posterior = model.posterior(x)
    mean, variance = posterior.mean.flatten(), posterior.variance.flatten()
    error = (values.mean(0) - mean).abs() / variance.sqrt()
    assert float(error.max()) < 5 / math.sqrt(count)  # standard errors
    ratio = values.var(0) / variance
    assert float((ratio - 1).abs().max()) < 6 * math.sqrt(2 / count), ratio


@pytest.mark.usefixtures("seeded")
def test_two_places_of_one_draw_vary_together_as_the_posterior_says() -> None:
    model = surrogate_of(DATA["no decay"])
    x = places(4)
    with torch.no_grad():
        values = torch.stack([PosteriorDraw(model)(x) for _ in range(2000)])
        wanted = model.posterior(x.squeeze(-2)).distribution.covariance_matrix
    assert torch.allclose(torch.cov(values.T), wanted, atol=0.05)


@pytest.mark.filterwarnings("ignore::botorch.exceptions.warnings.InputDataWarning")
def test_a_draw_needs_gptunes_own_surrogate() -> None:
    other = stock(surrogate_of(draw_data(4, 2, 0)))
    with pytest.raises(TypeError, match="needs a gptune Surrogate, got"):
        ThompsonSampling()(other, cube(0.0))


def improvement(model: Model, best: Tensor) -> AcquisitionFunction:
    return ProbabilityOfImprovement(model, best_f=best)


class Mine:
    """A class with a call, without a base class."""

    def __call__(self, model: Model, best: Tensor) -> AcquisitionFunction:
        return BotorchUCB(model, beta=0.1)


@pytest.mark.parametrize(
    "acquisition",
    [
        improvement,
        Mine(),
        Mine,  # called without arguments below
        lambda model, best: BotorchLogEI(model, best_f=best),
        lambda model, best: lambda x: model.posterior(x).mean.flatten(),
    ],
)
def test_any_callable_drives_a_search(acquisition: Acquisition | type[Mine]) -> None:
    chosen: Acquisition = acquisition() if isinstance(acquisition, type) else acquisition
    model = surrogate_of(draw_data(6, 2, 0))
    box = (cube([0.0, 0.0]), cube([1.0, 1.0]))
    with torch.no_grad():
        criterion = chosen(model, cube(0.5))
        place, value = maximise(criterion, [box], lambda x: x, 0)
        others = criterion(places())
    assert value >= float(others.max())
    assert bool(((place >= 0) & (place <= 1)).all())
