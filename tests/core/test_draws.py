"""One draw is a function; many are the posterior."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from gptune.core.criteria import ThompsonSampling
from gptune.core.draws import PosteriorDraw
from gptune.core.history import TrainingData
from gptune.core.kernels import KERNELS
from gptune.core.likelihood import Form, Hyperparameters
from gptune.core.space import cube
from gptune.core.surrogate import Surrogate, condition
from tests.core.test_likelihood import draw_data


def surrogate_of(data: TrainingData, kernel: str = "matern52") -> Surrogate:
    hyper = Hyperparameters(cube([0.4, 0.8]), cube(0.05))
    surrogate = condition(data, hyper, Form(kernel))
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


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", DATA)
@pytest.mark.usefixtures("seeded")
def test_many_draws_have_the_mean_and_variance_of_the_posterior(name: str, kernel: str) -> None:
    model = surrogate_of(DATA[name], kernel)
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


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.usefixtures("seeded")
def test_the_frequencies_are_those_of_the_kernel(kernel: str) -> None:
    model = surrogate_of(draw_data(3, 2, 0), kernel)
    gaps = cube([[0.1, 0.1], [0.3, 0.2], [0.4, 0.8], [1.0, 0.0]])
    frequencies = torch.cat([PosteriorDraw(model).frequency for _ in range(400)])
    found = torch.cos(gaps @ frequencies.T).mean(-1)  # Bochner: of some 200_000
    wanted, _ = model.kernel(gaps, torch.zeros(1, 2, dtype=torch.float64))
    assert torch.allclose(found, wanted[:, 0], rtol=0, atol=0.01)
