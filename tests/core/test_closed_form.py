"""The fast criteria and their gradients are BoTorch's, pending and noisy places included."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from botorch.acquisition import AcquisitionFunction
from botorch.acquisition import LogExpectedImprovement as BotorchLogEI
from botorch.acquisition import UpperConfidenceBound as BotorchUCB
from botorch.acquisition.analytic import LogProbabilityOfImprovement as BotorchLogPI
from botorch.models import SingleTaskGP
from botorch.models.model import Model
from gpytorch.kernels import MaternKernel, RBFKernel
from gpytorch.means import ConstantMean
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from torch import Tensor

from gptune.core.closed_form import (
    FANTASIES,
    HIGHEST,
    LOWEST,
    ClosedForm,
    believe,
    believe_without_noise,
    draws,
    log_expected_improvement,
    log_h,
    log_probability_of_improvement,
    upper_confidence_bound,
)
from gptune.core.criteria import (
    LogExpectedImprovement,
    NoisyExpectedImprovement,
    ProbabilityOfImprovement,
    Traced,
    UpperConfidenceBound,
)
from gptune.core.history import TrainingData
from gptune.core.kernels import KERNELS
from gptune.core.likelihood import NOISE_FLOOR, Form, Hyperparameters
from gptune.core.space import cube
from gptune.core.surrogate import Surrogate, condition
from tests.core.test_likelihood import Problem, draw_data, problems

BETA = 2.0
Theirs = Callable[[Model, Tensor], AcquisitionFunction]
Ours = LogExpectedImprovement | ProbabilityOfImprovement | UpperConfidenceBound
CRITERIA: dict[str, tuple[Ours, Theirs]] = {
    "log_ei": (LogExpectedImprovement(), lambda m, best: BotorchLogEI(m, best_f=best)),
    "pi": (ProbabilityOfImprovement(), lambda m, best: BotorchLogPI(m, best_f=best)),
    "ucb": (UpperConfidenceBound(BETA), lambda m, _: BotorchUCB(m, beta=BETA)),
}
RULES: dict[str, Any] = {
    "log_ei": log_expected_improvement,
    "pi": log_probability_of_improvement,
    "ucb": upper_confidence_bound(BETA),
}
names = st.sampled_from(sorted(CRITERIA))
bests = st.floats(-2.0, 3.0).map(cube)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def surrogate_of(problem: Problem) -> Surrogate:
    data, form, theta = problem
    surrogate = condition(data, Hyperparameters.unpack(theta, form), form)
    assert surrogate is not None
    return surrogate


def usual(kernel: str, time: str) -> Surrogate:
    data = draw_data(7, 2, 5, 6.0 if time == "given" else None)
    form = Form(kernel, fits_half_life=time == "fitted")
    half_life = cube(4.0) if form.fits_half_life else None
    surrogate = condition(data, Hyperparameters(cube([0.4, 0.8]), cube(0.05), half_life), form)
    assert surrogate is not None
    return surrogate


EVERY_FORM = [(kernel, time) for kernel in sorted(KERNELS) for time in ("none", "given", "fitted")]
forms = pytest.mark.parametrize(("kernel", "time"), EVERY_FORM)


def places(d: int, count: int = 6, seed: int = 99) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, d, generator=generator, dtype=torch.float64)


def none_pending(surrogate: Surrogate) -> Tensor:
    return surrogate.data.x[:0]


@given(problems(), names, bests)
@settings(deadline=None, max_examples=120)
def test_the_values_are_those_of_botorchs_own_model(
    problem: Problem, name: str, best: Tensor
) -> None:
    surrogate = surrogate_of(problem)
    ours, theirs = CRITERIA[name]
    x = places(surrogate.data.x.shape[-1])
    found = ours.closed_form(surrogate, best, none_pending(surrogate)).values(x)
    wanted = theirs(surrogate.to_botorch(), best)(x.unsqueeze(-2))
    assert found.shape == (len(x),)
    assert torch.allclose(found, wanted, rtol=1e-6, atol=1e-6)


@given(problems(), names, bests)
@settings(deadline=None, max_examples=120)
def test_the_gradients_are_those_of_torch(problem: Problem, name: str, best: Tensor) -> None:
    surrogate = surrogate_of(problem)
    ours, theirs = CRITERIA[name]
    x = places(surrogate.data.x.shape[-1])
    score = ours.closed_form(surrogate, best, none_pending(surrogate))
    value, gradient = score.slopes(x)
    assert gradient.shape == x.shape
    assert torch.allclose(value, score.values(x), rtol=1e-12, atol=1e-12)
    traced = Traced(ours(surrogate, best)).slopes(x)
    handed = Traced(theirs(surrogate.to_botorch(), best)).slopes(x)
    for other in (traced, handed):
        assert torch.allclose(value, other[0], rtol=1e-6, atol=1e-6)
        assert torch.allclose(gradient, other[1], rtol=1e-6, atol=1e-6)


@given(problems(), st.sampled_from([*CRITERIA, "log_nei"]), bests, st.integers(0, 3))
@settings(deadline=None, max_examples=120)
def test_gradients_over_draws_are_those_of_torch(
    problem: Problem, name: str, best: Tensor, k: int
) -> None:
    surrogate = surrogate_of(problem)
    d = surrogate.data.x.shape[-1]
    criterion = NoisyExpectedImprovement() if name == "log_nei" else CRITERIA[name][0]
    with seeded(k):
        score = criterion.closed_form(surrogate, best, places(d, k, seed=7))
    x = places(d)
    value, gradient = score.slopes(x)
    assert torch.allclose(value, score.values(x), rtol=1e-10, atol=1e-10)
    _, wanted = Traced(lambda at: score.values(at.squeeze(-2))).slopes(x)
    scale = float(wanted.abs().max())  # what is known without noise is ill conditioned
    assert torch.allclose(gradient, wanted, rtol=1e-6, atol=1e-6 * (1.0 + scale))


def stock(
    surrogate: Surrogate, known: tuple[Tensor, Tensor, Tensor, Tensor]
) -> Callable[[Theirs, Tensor, Tensor], Tensor]:
    """Build BoTorch's own model on places, values, ages and noise; a way to ask it now."""
    x, y, age, noise = known
    d, hyper = x.shape[-1], surrogate.hyper
    dims = tuple(range(d))
    kernel = MaternKernel(2.5, ard_num_dims=d, active_dims=dims).double()
    if surrogate.form.kernel == "rbf":
        kernel = RBFKernel(ard_num_dims=d, active_dims=dims).double()
    kernel.lengthscale = hyper.lengthscale
    if surrogate.half_life is not None:
        in_time = MaternKernel(0.5, active_dims=(d,)).double()
        in_time.lengthscale = surrogate.half_life / math.log(2.0)
        kernel = kernel * in_time
    mean = ConstantMean().double()
    mean.constant = surrogate.factors.mean
    model = SingleTaskGP(
        torch.cat([x, -age.unsqueeze(-1)], dim=-1),
        y.unsqueeze(-1),
        noise.unsqueeze(-1),
        covar_module=kernel,
        mean_module=mean,
        outcome_transform=None,
    )
    model.eval()

    def ask(make: Theirs, best: Tensor, at: Tensor) -> Tensor:
        now = torch.cat([at, torch.zeros_like(at[:, :1])], dim=-1)
        with torch.no_grad():
            values: Tensor = make(model, best)(now.unsqueeze(-2))
        return values

    return ask


def averaged(name: str, values: Tensor) -> Tensor:
    """Average over the draws, ``(s, m)`` -> ``(m,)``: what is a logarithm, below it."""
    if name == "ucb":
        return values.mean(0)
    return torch.logsumexp(values, dim=0) - math.log(len(values))


def noise_of(data: TrainingData, surrogate: Surrogate) -> Tensor:
    return (data.noise + surrogate.hyper.noise + NOISE_FLOOR) / data.weight


@forms
@pytest.mark.parametrize("name", sorted(CRITERIA))
@pytest.mark.parametrize("k", [1, 3])
def test_pending_places_average_botorchs_criterion_over_drawn_values(
    kernel: str, time: str, name: str, k: int
) -> None:
    surrogate, best, pending, x = usual(kernel, time), cube(0.4), places(2, k, 7), places(2)
    data, (ours, theirs) = surrogate.data, CRITERIA[name]
    with seeded(3):
        found = ours.closed_form(surrogate, best, pending).values(x)
    with seeded(3):
        drawn = draws(surrogate, pending)
    values = []
    for own in drawn.T:
        known = (
            torch.cat([data.x, pending]),
            torch.cat([data.y, own]),
            torch.cat([data.age, torch.zeros_like(own)]),
            torch.cat([noise_of(data, surrogate), torch.full_like(own, NOISE_FLOOR)]),
        )
        ask, bar = stock(surrogate, known), torch.maximum(best, own.max())
        values.append(ask(theirs, bar, x))
    assert drawn.shape == (k, FANTASIES)
    assert torch.allclose(found, averaged(name, torch.stack(values)), rtol=1e-5, atol=1e-6)


@forms
@pytest.mark.parametrize("k", [0, 2])
def test_noisy_improvement_averages_botorchs_criterion_over_what_noise_hides(
    kernel: str, time: str, k: int
) -> None:
    surrogate, pending, x = usual(kernel, time), places(2, k, 7), places(2)
    every = torch.cat([surrogate.data.x, pending])
    with seeded(3):
        score = NoisyExpectedImprovement().closed_form(surrogate, cube(99.0), pending)
        found = score.values(x)  # whatever best is given
    with seeded(3):
        drawn = draws(surrogate, every)
    values = []
    for own in drawn.T:
        still, noise = torch.zeros_like(own), torch.full_like(own, NOISE_FLOOR)
        ask, bar = stock(surrogate, (every, own, still, noise)), own.max()
        values.append(ask(CRITERIA["log_ei"][1], bar, x))
    assert torch.allclose(found, averaged("log_nei", torch.stack(values)), rtol=1e-5, atol=1e-5)


@given(problems(), st.integers(1, 4), st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_draws_come_in_mirrored_pairs_around_the_mean(problem: Problem, k: int, seed: int) -> None:
    surrogate = surrogate_of(problem)
    x = places(surrogate.data.x.shape[-1], k)
    with seeded(seed):
        drawn = draws(surrogate, x)
    with seeded(seed):
        assert torch.equal(draws(surrogate, x), drawn)
    with seeded(seed + 1):
        assert not torch.equal(draws(surrogate, x), drawn)
    assert drawn.shape == (k, FANTASIES)
    mean, _ = surrogate.marginal(x)
    half = FANTASIES // 2
    middle = (drawn[:, :half] + drawn[:, half:]) / 2
    assert torch.allclose(middle, mean.unsqueeze(-1).expand(-1, half), rtol=0, atol=1e-9)


def test_many_draws_vary_together_as_the_posterior_says() -> None:
    surrogate, x = usual("matern52", "given"), places(2, 3)
    with seeded(0):
        drawn = torch.cat([draws(surrogate, x) for _ in range(400)], dim=-1)
    wanted = surrogate.posterior(x).distribution.covariance_matrix
    assert torch.allclose(torch.cov(drawn), wanted, atol=0.03)


def test_places_that_coincide_are_drawn_alike() -> None:
    surrogate, x = usual("matern52", "none"), places(2, 1).expand(3, -1)
    with seeded(0):
        drawn = draws(surrogate, x)
    assert torch.allclose(drawn, drawn[:1].expand(3, -1), atol=1e-3)
    assert float(drawn.std()) > 0.1


def test_places_without_a_factor_are_an_error() -> None:
    surrogate = usual("matern52", "none")
    with pytest.raises(torch.linalg.LinAlgError, match=r"[Cc]holesky"):  # type: ignore[attr-defined]
        believe(surrogate, cube(0.0), torch.full((1, 2), math.nan, dtype=torch.float64))


@given(problems(), st.integers(0, 3))
@settings(deadline=None, max_examples=40)
def test_believing_leaves_the_surrogate_as_it_was(problem: Problem, k: int) -> None:
    surrogate = surrogate_of(problem)
    d = surrogate.data.x.shape[-1]
    before = surrogate.posterior(places(d)).mean
    with seeded(0):
        for belief in (
            believe(surrogate, cube(0.0), places(d, k)),
            believe_without_noise(surrogate, places(d, k)),
        ):
            assert belief.weights.shape[-1] == len(belief.best)
            ClosedForm(belief, log_expected_improvement).slopes(places(d))
    assert len(surrogate.data) == len(problem[0])
    assert torch.equal(surrogate.posterior(places(d)).mean, before)


def test_no_pending_places_are_as_good_as_an_empty_list_of_them() -> None:
    surrogate, x = usual("rbf", "given"), places(2)
    one = believe(surrogate, cube(0.3))
    other = believe(surrogate, cube(0.3), none_pending(surrogate))
    rule = log_expected_improvement
    assert torch.equal(ClosedForm(one, rule).values(x), ClosedForm(other, rule).values(x))
    with seeded(1):
        bare = believe_without_noise(surrogate)
    with seeded(1):
        empty = believe_without_noise(surrogate, none_pending(surrogate))
    assert torch.equal(ClosedForm(bare, rule).values(x), ClosedForm(empty, rule).values(x))


@given(problems(), bests)
@settings(deadline=None, max_examples=30)
def test_a_pending_place_promises_little_more(problem: Problem, best: Tensor) -> None:
    surrogate = surrogate_of(problem)
    place = places(surrogate.data.x.shape[-1], 1, 3)
    with seeded(0):
        before, after = (
            ClosedForm(believe(surrogate, best, pending), log_expected_improvement)
            for pending in (None, place)
        )
    assert float(after.values(place)) < float(before.values(place)) + 1e-9
    assert after.is_smooth(place)


def differences(values: Callable[[Tensor], Tensor], x: Tensor, step: float = 1e-6) -> Tensor:
    """Slopes by central differences, shape ``(m, d)``."""
    columns = []
    for j in range(x.shape[-1]):
        move = torch.zeros_like(x)
        move[:, j] = step
        columns.append((values(x + move) - values(x - move)) / (2 * step))
    return torch.stack(columns, dim=-1)


@st.composite
def moments(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """Draw means (m, s), deviations (m,) and bests (s,)."""
    m, s = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    number = st.floats(-5.0, 5.0)
    mean = draw(st.lists(number, min_size=m * s, max_size=m * s).map(cube))
    deviation = draw(st.lists(st.floats(0.05, 2.0), min_size=m, max_size=m).map(cube))
    return mean.reshape(m, s), deviation, draw(st.lists(number, min_size=s, max_size=s).map(cube))


@given(names, moments())
@settings(deadline=None, max_examples=150)
def test_a_rules_derivatives_are_those_of_central_differences(
    name: str, drawn: tuple[Tensor, Tensor, Tensor]
) -> None:
    (mean, deviation, best), rule = drawn, RULES[name]
    value, by_mean, by_deviation = rule(mean, deviation, best)
    assert value.shape == by_deviation.shape == deviation.shape
    assert by_mean.shape == mean.shape
    wanted = differences(lambda moved: rule(moved, deviation, best)[0], mean)
    assert torch.allclose(by_mean, wanted, rtol=1e-4, atol=1e-4)
    wanted = differences(lambda moved: rule(mean, moved[:, 0], best)[0], deviation.unsqueeze(-1))
    assert torch.allclose(by_deviation, wanted[:, 0], rtol=1e-4, atol=1e-4)


@given(names, moments())
@settings(deadline=None, max_examples=60)
def test_equal_draws_are_one_draw(name: str, drawn: tuple[Tensor, Tensor, Tensor]) -> None:
    (mean, deviation, best), rule = drawn, RULES[name]
    one, by_mean, by_deviation = rule(mean[:, :1], deviation, best[:1])
    many, by_means, also = rule(mean[:, :1].expand(-1, 4), deviation, best[:1].expand(4))
    assert torch.allclose(one, many, rtol=1e-10, atol=1e-10)
    assert torch.allclose(by_mean.squeeze(-1), by_means.sum(-1), rtol=1e-8, atol=1e-8)
    assert torch.allclose(by_deviation, also, rtol=1e-8, atol=1e-8)


def integrals(u: float) -> tuple[float, float]:
    """Write ``h(u) / phi(u) = int t exp(u t - t**2 / 2)`` over ``t > 0``: its log, and its slope.

    With ``t = s scale`` the integrand has its mass near ``s = 1`` wherever u is.
    """
    scale = 1.0 / max(1.0, -u)

    def moment(power: int) -> float:
        def density(s: float) -> float:
            t = s * scale
            return t**power * math.exp(min(u, 0.0) * t - t * t / 2) * scale

        return float(quad(density, 0.0, 60.0, epsabs=0.0, epsrel=1e-12, limit=200)[0])

    first, second = moment(1), moment(2)
    return math.log(first), second / first


below = st.floats(-1e6, 0.0) | st.floats(-50.0, 0.0) | st.floats(0.0, 6.0).map(lambda p: -(10**p))
everywhere = below | st.floats(0.0, 50.0)


@given(below)
@settings(deadline=None, max_examples=150)
def test_the_logarithm_of_h_is_its_integrals_down_to_minus_a_million(u: float) -> None:
    height, slope = log_h(cube([u]))
    log, ratio = integrals(u)
    wanted = log - 0.5 * u * u - 0.5 * math.log(2 * math.pi)
    assert float(height) == pytest.approx(wanted, rel=1e-13, abs=1e-8)
    assert float(slope) == pytest.approx(ratio - u, rel=1e-8)


@given(st.floats(0.0, 50.0))
@settings(deadline=None, max_examples=60)
def test_above_zero_the_logarithm_of_h_is_what_its_definition_gives(u: float) -> None:
    height, slope = log_h(cube([u]))
    density = math.exp(-0.5 * u * u) / math.sqrt(2 * math.pi)
    share = 0.5 * math.erfc(-u / math.sqrt(2))
    assert float(height) == pytest.approx(math.log(density + u * share), rel=1e-12, abs=1e-12)
    assert float(slope) == pytest.approx(share / (density + u * share), rel=1e-12)


@given(everywhere)
@settings(deadline=None, max_examples=100)
def test_the_slope_of_log_h_is_that_of_central_differences(u: float) -> None:
    step = 1e-4 * max(1.0, abs(u))
    (low, high), slope = log_h(cube([u - step, u + step]))[0], log_h(cube([u]))[1]
    assert float(slope) == pytest.approx(float(high - low) / (2 * step), rel=1e-5)


@given(st.lists(everywhere, min_size=2, max_size=9).map(cube))
@settings(deadline=None, max_examples=100)
def test_log_h_rises_ever_more_slowly_and_one_by_one(u: Tensor) -> None:
    u = u.sort().values
    height, slope = log_h(u)
    assert bool((height.diff() >= 0).all())
    assert bool((slope.diff() <= 1e-9 * slope[:-1]).all())
    assert bool((slope > 0).all())
    alone = torch.cat([log_h(one)[0] for one in u.unsqueeze(-1)])
    assert torch.allclose(height, alone, rtol=1e-14, atol=0)


@pytest.mark.parametrize("border", [LOWEST, HIGHEST])
def test_the_series_meet_what_lies_between_them(border: float) -> None:
    step = 1e-9 * abs(border)
    (low, high), slopes = log_h(cube([border - step, border + step]))
    assert float(high - low) == pytest.approx(2 * step * float(slopes[0]), abs=1e-8)
    assert float(slopes[0]) == pytest.approx(float(slopes[1]), rel=1e-8)
