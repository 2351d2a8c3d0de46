"""The fit reaches the optimum that SciPy and BoTorch reach, in few evaluations, on any data."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from gpytorch.constraints import GreaterThan, Positive
from gpytorch.kernels import MaternKernel, RBFKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import NormalPrior
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor

from gptune.core import fitting
from gptune.core.fitting import (
    AGAIN,
    ANEW,
    COARSE,
    DUE,
    EARLY,
    FIRST,
    LOG_BOUNDS,
    MANY,
    MOST,
    SAMPLE,
    TIME_BOUNDS,
    WARM,
    WARP_BOUNDS,
    Fit,
    Fitted,
    fit,
)
from gptune.core.history import TrainingData
from gptune.core.kernels import KERNELS
from gptune.core.likelihood import (
    NOISE_FLOOR,
    Form,
    Hyperparameters,
    LogPosterior,
    prior,
    prior_mode,
)
from gptune.core.space import cube
from gptune.core.surrogate import Surrogate, condition, warped
from tests.core.test_likelihood import draw_data

Landscape = Callable[[Tensor], Tensor]


def rand(n: int, d: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, d, generator=generator, dtype=torch.float64)


def raw_data(x: Tensor, y: Tensor) -> TrainingData:
    one = torch.ones_like(y)
    age = torch.arange(len(y), 0, -1, dtype=torch.float64)
    return TrainingData(x=x, y=y, noise=torch.zeros_like(y), weight=one, age=age)


def bumps(x: Tensor) -> Tensor:
    """Sum of three bumps, in the manner of Hartmann's function."""
    centers = cube([[0.2, 0.7, 0.4], [0.8, 0.3, 0.6], [0.5, 0.5, 0.1]])
    gap = (x.unsqueeze(-2) - centers[:, : x.shape[-1]]).square().sum(-1)
    return (cube([1.0, 1.5, 0.7]) * torch.exp(-8.0 * gap)).sum(-1)


def noisy_bumps(n: int, seed: int, noise: float = 0.05) -> TrainingData:
    generator = torch.Generator().manual_seed(seed + 1000)
    x = rand(n, 3, seed)
    shaken = noise * torch.randn(n, generator=generator, dtype=torch.float64)
    return raw_data(x, bumps(x) + shaken)


def cliff(x: Tensor) -> Tensor:
    """Good values lie close together, bad ones far and wide, as Rosenbrock's do."""
    return -torch.exp(6.0 * (x - 0.3).abs().sum(-1))


def skewness(y: Tensor) -> Tensor:
    return (((y - y.mean()) / y.std(correction=0)) ** 3).mean()


def fitted(
    data: TrainingData, last: Fitted | None = None, form: Form | None = None, **rest: Any
) -> Fit:
    chosen: dict[str, Any] = {"count": len(data), **rest}
    found = fit(data, form or Form(), last, **chosen)
    assert found is not None
    return found


def form_of(fitted: Fitted, form: Form) -> Form:
    return Form(form.kernel, fitted.warp, form.fits_half_life)


def bounds_of(d: int, form: Form) -> list[tuple[float, float]]:
    bounds = [LOG_BOUNDS[0]] * d + [LOG_BOUNDS[1]]
    if form.fits_half_life:
        bounds.append(TIME_BOUNDS)
    return bounds if form.warp == "none" else [*bounds, WARP_BOUNDS[form.warp]]


def height_of(data: TrainingData, form: Form, theta: Sequence[float]) -> float:
    return float(LogPosterior(data.prepared(), form)(cube([list(theta)]))[0])


def climb_on(data: TrainingData, form: Form, theta: Sequence[float]) -> float:
    """How high SciPy gets from there."""
    log_posterior = LogPosterior(data.prepared(), form)

    def fall(at: np.ndarray[Any, Any]) -> tuple[float, np.ndarray[Any, Any]]:
        height, slope = log_posterior(torch.from_numpy(at.copy()).unsqueeze(0))
        return -float(height), -slope[0].numpy()

    options = {"ftol": 1e-15, "gtol": 1e-9, "maxiter": 1000}
    bounds = bounds_of(data.x.shape[-1], form)
    end = minimize(
        fall, np.array(theta), jac=True, method="L-BFGS-B", bounds=bounds, options=options
    )
    return -float(end.fun)


FORMS = [Form(kernel, fits_half_life=fits) for kernel in sorted(KERNELS) for fits in (False, True)]


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("warps", [False, True])
def test_a_cold_fit_ends_within_a_thousandth_of_where_scipy_gets(form: Form, warps: bool) -> None:
    for seed in range(6):
        data = noisy_bumps(30, seed)
        found = fitted(data, form=form, warps=warps).fitted
        own = form_of(found, form)
        assert climb_on(data, own, found.theta) - height_of(data, own, found.theta) < 1e-3


def best_of_many_starts(data: TrainingData, form: Form, seed: int) -> float:
    center, spread = prior(3, form)
    generator = torch.Generator().manual_seed(seed)
    size = (8, len(center))
    starts = center + spread * torch.randn(*size, generator=generator, dtype=torch.float64)
    low, high = cube(bounds_of(3, form)).T
    return max(climb_on(data, form, start.tolist()) for start in starts.clamp(low, high))


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_cold_fit_is_the_best_of_many_starts(form: Form) -> None:
    for seed in range(3):
        data = noisy_bumps(30, seed)
        found = fitted(data, form=form).fitted
        assert height_of(data, form, found.theta) > best_of_many_starts(data, form, seed) - 1e-3


@pytest.mark.parametrize("seed", [8, 11, 16, 22])
def test_noise_is_found_where_our_climb_from_the_priors_mode_alone_misses_it(seed: int) -> None:
    data, form = noisy_bumps(30, seed, noise=0.3), Form()
    found = fitted(data)
    top = best_of_many_starts(data, form, seed)
    assert height_of(data, form, found.fitted.theta) > top - 1e-3
    assert float(found.surrogate.hyper.noise) > 0.1


def botorchs(data: TrainingData, form: Form) -> ExactMarginalLogLikelihood:
    """Build BoTorch's own model with our priors, which are normals over logarithms."""
    ready, d = data.prepared(), data.x.shape[-1]
    center, spread = prior(d, form)
    kernel = {
        "matern52": MaternKernel(2.5, ard_num_dims=d, lengthscale_constraint=Positive()),
        "rbf": RBFKernel(ard_num_dims=d, lengthscale_constraint=Positive()),
    }[form.kernel].double()
    likelihood = GaussianLikelihood(noise_constraint=GreaterThan(NOISE_FLOOR)).double()
    # Densities over logarithms, for the terms are evaluated at logarithms: no Jacobian.
    kernel.register_prior(
        "own_prior", NormalPrior(center[:d], spread[:d]), lambda module: module.lengthscale.log()
    )
    likelihood.register_prior(
        "own_prior",
        NormalPrior(center[d:], spread[d:]),
        lambda module: (module.noise - NOISE_FLOOR).clamp_min(1e-12).log(),
    )
    model = SingleTaskGP(
        ready.x,
        ready.y.unsqueeze(-1),
        likelihood=likelihood,
        covar_module=kernel,
        outcome_transform=None,
    )
    mode = prior_mode(d, form)
    kernel.lengthscale, likelihood.noise = mode.lengthscale, mode.noise + NOISE_FLOOR
    return ExactMarginalLogLikelihood(likelihood, model)


def height_in_botorch(mll: ExactMarginalLogLikelihood, data: TrainingData, form: Form) -> float:
    """The log marginal likelihood and our prior, above its mode."""
    mll.train()
    model, n = mll.model, len(data)
    spread = prior(data.x.shape[-1], form)[1]
    with torch.no_grad():
        height = mll(model(*model.train_inputs), model.train_targets) * n
    # What a normal's density has that the height above its mode has not.
    return float(height + (spread * math.sqrt(2 * math.pi)).log().sum())


@pytest.mark.parametrize("kernel", sorted(KERNELS))
@pytest.mark.parametrize("seed", range(3))
def test_botorch_gives_our_optimum_the_same_height_and_finds_none_higher(
    kernel: str, seed: int
) -> None:
    data, form = noisy_bumps(30, seed), Form(kernel)
    found = fitted(data, form=form)
    ours, hyper = height_of(data, form, found.fitted.theta), found.surrogate.hyper
    mll = botorchs(data, form)
    model: Any = mll.model
    model.covar_module.lengthscale = hyper.lengthscale
    model.likelihood.noise = hyper.noise + NOISE_FLOOR
    model.mean_module.constant = found.surrogate.factors.mean
    assert height_in_botorch(mll, data, form) == pytest.approx(ours, rel=1e-6, abs=1e-6)
    theirs = fit_gpytorch_mll(botorchs(data, form))
    top = height_in_botorch(theirs, data, form)
    assert ours > top - 1e-3
    posterior = theirs.model.eval().posterior(rand(9, 3, 77))
    mean, deviation = found.surrogate.marginal(rand(9, 3, 77))
    if top > ours - 1e-3:  # the same optimum
        assert torch.allclose(posterior.mean.flatten(), mean, atol=1e-2)
        assert torch.allclose(posterior.variance.flatten().sqrt(), deviation, atol=1e-2)


@given(st.integers(2, 12), st.integers(1, 3), st.sampled_from(FORMS), st.integers(0, 999))
@settings(deadline=None, max_examples=30)
def test_a_fit_is_no_worse_than_where_it_starts(n: int, d: int, form: Form, seed: int) -> None:
    data = draw_data(n, d, seed)
    other = prior_mode(d, form).pack() - 0.5
    last = Fitted(warp="none", theta=tuple(other.tolist()), count=n)
    warm, cold = fitted(data, last, form).fitted, fitted(data, form=form).fitted
    assert height_of(data, form, warm.theta) >= height_of(data, form, last.theta) - 1e-9
    start = prior_mode(d, form).pack().tolist()
    assert height_of(data, form, cold.theta) >= height_of(data, form, start) - 1e-9


@pytest.mark.parametrize("count", [10, 15, 20])  # a warm start, two starts, three
@pytest.mark.parametrize("warps", [False, True])
def test_the_same_data_give_the_same_fit(count: int, warps: bool) -> None:
    last = fitted(noisy_bumps(12, 0), count=12, warps=warps).fitted
    one, other = (fitted(noisy_bumps(15, 0), last, count=count, warps=warps) for _ in range(2))
    assert one.fitted == other.fitted
    assert one.surrogate.describe() == other.surrogate.describe()
    x = rand(5, 3, 9)
    assert torch.equal(one.surrogate.posterior(x).mean, other.surrogate.posterior(x).mean)


@given(st.integers(1, 12), st.integers(0, 999))
@settings(deadline=None, max_examples=15)
def test_what_is_fitted_is_what_the_surrogate_has(n: int, seed: int) -> None:
    data = draw_data(n, 2, seed)
    found = fitted(data, count=n + 3, warps=True)
    form, hyper = form_of(found.fitted, Form()), found.surrogate.hyper
    assert found.surrogate.form == form
    assert found.fitted.count == n + 3
    assert found.fitted.theta == tuple(hyper.pack().tolist())
    read = Hyperparameters.unpack(cube(list(found.fitted.theta)), form)
    again = condition(warped(data.prepared(), read, form), read, form)
    assert again is not None
    x = rand(4, 2, 3)
    assert torch.allclose(
        again.posterior(x).mean, found.surrogate.posterior(x).mean, rtol=1e-9, atol=1e-9
    )


def test_a_fit_goes_on_from_the_one_before() -> None:
    first = fitted(noisy_bumps(31, 0), count=31).fitted
    data = noisy_bumps(32, 0)
    warm, cold = fitted(data, first, count=32).fitted, fitted(data, count=32).fitted
    assert warm.theta != first.theta
    assert height_of(data, Form(), warm.theta) > height_of(data, Form(), cold.theta) - 0.2


# --- how many evaluations -----------------------------------------------------------------


class Spy:
    """Counts the calls of the likelihoods that it stands for, and their observations."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.sizes: list[int] = []
        self.warps: list[set[str]] = []
        self.places: list[Tensor] = []

    def __call__(self, data: TrainingData, form: Form, warps: Sequence[str] = ()) -> Any:
        inner, index = LogPosterior(data, form, warps), len(self.calls)
        self.calls.append(0)
        self.sizes.append(len(data))
        self.warps.append(set(warps))
        self.places.append(data.x)

        def call(theta: Tensor, rows: Sequence[int] = (0,)) -> tuple[Tensor, Tensor]:
            self.calls[index] += 1
            return inner(theta, rows)

        return call


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spy]:
    made = Spy()
    monkeypatch.setattr(fitting, "LogPosterior", made)
    yield made
    assert made.calls, "the spy saw nothing"


@pytest.mark.parametrize("warps", [False, True])
@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_a_cold_fit_takes_a_bounded_number_of_evaluations(spy: Spy, n: int, warps: bool) -> None:
    fitted(noisy_bumps(n, 0), warps=warps)
    assert len(spy.calls) == 1
    assert 1 <= spy.calls[0] <= FIRST[1]


@pytest.mark.parametrize("count", range(40, 71))
def test_a_later_fit_takes_few_evaluations(spy: Spy, count: int) -> None:
    before = fitted(noisy_bumps(20, 0), count=count - 1, warps=True).fitted
    spy.calls.clear()
    spy.warps.clear()
    fitted(noisy_bumps(21, 0), before, count=count, warps=True)
    is_due = count % (AGAIN if count <= EARLY else ANEW) == 0
    assert len(spy.calls) == 1
    assert spy.calls[0] <= (DUE[1] if is_due else WARM[1])
    both = {"yeo_johnson", "log_gap"}
    assert spy.warps == [both if is_due else {before.warp}]


def test_a_gap_in_the_count_does_not_keep_a_fit_from_being_due(spy: Spy) -> None:
    before = fitted(noisy_bumps(20, 0), count=23, warps=True).fitted
    spy.warps.clear()
    fitted(noisy_bumps(21, 0), before, count=26, warps=True)
    assert spy.warps == [{"yeo_johnson", "log_gap"}]


def test_many_observations_are_climbed_on_coarsely_first(spy: Spy) -> None:
    fitted(noisy_bumps(COARSE + 20, 0))
    assert spy.sizes == [COARSE, COARSE + 20]
    assert spy.calls[0] <= FIRST[1]
    assert spy.calls[1] <= WARM[1]


def contains(places: Tensor, wanted: Tensor) -> bool:
    return bool((torch.cdist(wanted, places).amin(-1) < 1e-6).all())


@pytest.mark.parametrize("warm", [False, True])
def test_of_very_many_observations_the_best_and_a_few_others_are_fitted_to(
    spy: Spy, monkeypatch: pytest.MonkeyPatch, warm: bool
) -> None:
    monkeypatch.setattr(fitting, "COARSE", 10)
    monkeypatch.setattr(fitting, "MANY", 20)
    monkeypatch.setattr(fitting, "SAMPLE", 16)
    data = noisy_bumps(30, 0)
    last = fitted(noisy_bumps(10, 0), count=31).fitted if warm else None
    spy.sizes.clear()
    spy.places.clear()
    found = fitted(data, last, count=32)
    assert spy.sizes == ([16] if warm else [10, 16])
    assert contains(spy.places[-1], data.x[data.y.argsort(descending=True)[:8]])
    assert len(found.surrogate.data) == 30  # conditioned on all


def test_the_sample_is_the_same_for_a_while_and_then_another(
    spy: Spy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "MANY", 20)
    monkeypatch.setattr(fitting, "SAMPLE", 16)
    last, data = fitted(noisy_bumps(10, 0), count=41).fitted, noisy_bumps(30, 0)
    spy.places.clear()
    for count in (42, 43, 49, 42 + ANEW):
        fitted(data, replace_count(last, count - 1), count=count)
    same = [torch.equal(spy.places[0], other) for other in spy.places]
    assert same == [True, True, True, False]


def replace_count(fitted: Fitted, count: int) -> Fitted:
    return Fitted(warp=fitted.warp, theta=fitted.theta, count=count)


@pytest.mark.parametrize("n", [19, 20, 21, 40])
def test_beyond_the_most_the_best_and_the_newest_are_conditioned_on(
    monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    monkeypatch.setattr(fitting, "MOST", 20)
    data = noisy_bumps(n, 0)
    kept = fitted(data).surrogate.data
    assert len(kept) == min(n, 20)
    best = data.y.argsort(descending=True)[:10]
    assert contains(kept.x, data.x[best])
    rest = [i for i in range(n) if i not in best.tolist()]
    assert contains(kept.x, data.x[rest[-10:]])
    assert bool((kept.age.diff() < 0).all())  # still in order


def test_the_bounds_on_the_numbers_of_observations_fit_together() -> None:
    assert COARSE < SAMPLE < MANY < MOST


# --- time, warps, what came before --------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 30, COARSE + 10])
@pytest.mark.parametrize("warps", [False, True])
def test_when_the_time_is_up_at_once_there_is_a_surrogate_all_the_same(
    spy: Spy, n: int, warps: bool
) -> None:
    found = fitted(noisy_bumps(n, 0), warps=warps, expired=lambda: True)
    assert max(spy.calls) == 1
    assert_sound(found.surrogate, rand(5, 3, 0))


def test_when_the_time_is_up_in_between_the_best_so_far_serves(spy: Spy) -> None:
    data, heights = noisy_bumps(30, 0), []
    for most in (1, 3, 5, 10, 100):
        spy.calls.clear()
        found = fitted(data, expired=lambda most=most: spy.calls[0] >= most)
        assert spy.calls[0] <= most
        heights.append(height_of(data, Form(), found.fitted.theta))
    assert heights == sorted(heights)
    assert heights[-1] > heights[0] + 1.0


@pytest.mark.parametrize("seed", range(5))
def test_heavy_tails_are_taken_for_what_they_are(seed: int) -> None:
    x = rand(30, 3, seed)
    found = fitted(raw_data(x, cliff(x)), warps=True)
    assert found.fitted.warp == "log_gap"
    ready, value = raw_data(x, cliff(x)).prepared().y, found.surrogate.data.y
    assert bool((value[ready.argsort()].diff() >= 0).all())
    assert float(skewness(value).abs()) < float(skewness(ready).abs()) / 2


@pytest.mark.parametrize("seed", range(5))
def test_values_that_are_normal_as_they_are_stay_almost_so(seed: int) -> None:
    data = noisy_bumps(30, seed)
    found = fitted(replace(data, y=torch.sin(3 * data.x[:, 0]) + data.x[:, 1]), warps=True)
    assert found.fitted.warp == "yeo_johnson"
    assert found.surrogate.hyper.warp is not None
    assert float(found.surrogate.hyper.warp) == pytest.approx(1.0, abs=0.5)


@pytest.mark.parametrize("n", [1, 2, 3, 30])
def test_two_values_are_not_warped(n: int) -> None:
    x = rand(n, 3, 0)
    found = fitted(raw_data(x, cliff(x)), warps=True).fitted
    assert (found.warp == "none") == (n <= 2)


def test_values_of_known_noise_stay_as_they_are() -> None:
    x = rand(30, 3, 0)
    data = raw_data(x, cliff(x))
    known = replace(data, noise=torch.full_like(data.y, 0.01))
    for last in (None, fitted(data, warps=True).fitted):
        found = fitted(known, last, warps=True)
        assert found.fitted.warp == "none"
        assert found.surrogate.hyper.warp is None
        assert torch.equal(found.surrogate.data.y, known.prepared().y)


def test_without_leave_nothing_is_warped() -> None:
    x = rand(30, 3, 0)
    data = raw_data(x, cliff(x))
    assert fitted(data).fitted.warp == "none"
    before = fitted(data, warps=True).fitted
    assert fitted(data, before, count=31).fitted.warp == "none"


@pytest.mark.parametrize("theta", [(0.1,) * 3, (0.1,) * 5, (), (0.1,) * 99])
def test_what_another_number_of_parameters_left_behind_is_ignored(
    theta: tuple[float, ...],
) -> None:
    data = noisy_bumps(12, 0)
    last = Fitted(warp="none", theta=theta, count=12)
    assert fitted(data, last).fitted == fitted(data).fitted


def test_a_change_of_form_is_a_cold_start() -> None:
    data, form = noisy_bumps(12, 0), Form(fits_half_life=True)
    last = fitted(data).fitted
    assert fitted(data, last, form).fitted == fitted(data, None, form).fitted


# --- data that break what is careless -----------------------------------------------------

X = rand(9, 2, 1)
Y = torch.sin(6 * X[:, 0]) + X[:, 1]
HARD: dict[str, tuple[Tensor, Tensor]] = {
    "constant": (X, torch.full((9,), 3.0, dtype=torch.float64)),
    "zeros": (X, torch.zeros(9, dtype=torch.float64)),
    "all in one place": (X[:1].repeat(9, 1), Y),
    "duplicates": (torch.cat([X, X]), torch.cat([Y, Y + 0.5])),
    "one observation": (X[:1], Y[:1]),
    "two observations": (X[:2], Y[:2]),
    "two equal observations": (X[:2], torch.ones(2, dtype=torch.float64)),
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
    "constant but one wonder": (X, torch.cat([torch.ones(8, dtype=torch.float64), cube([9.0])])),
    "two values": (X, (Y > 0.5).double()),
}


def assert_sound(surrogate: Surrogate, x: Tensor) -> None:
    hyper = surrogate.hyper
    for number in (*hyper.lengthscale.tolist(), float(hyper.noise)):
        assert math.isfinite(number)
        assert number > 0
    posterior = surrogate.posterior(x.unsqueeze(-2))
    assert bool(torch.isfinite(posterior.mean).all())
    assert bool(torch.isfinite(posterior.variance).all())
    assert bool((posterior.variance > 0).all())


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("noise", [0.0, 1e-30, 1.0, 1e300])
def test_no_data_break_the_fit(name: str, noise: float) -> None:
    x, y = HARD[name]
    data = replace(raw_data(x, y), noise=torch.full_like(y, noise))
    for warps in (False, True):
        for form in FORMS:
            found = fitted(data, form=form, warps=warps)
            assert_sound(found.surrogate, torch.cat([X, x]))
            warm = fitted(data, found.fitted, form, warps=warps, count=len(y) + 1)
            assert_sound(warm.surrogate, torch.cat([X, x]))


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("least", [1e-3, 1e-12, 1e-29])
def test_no_weights_break_the_fit(name: str, least: float) -> None:
    x, y = HARD[name]
    weight = torch.logspace(math.log10(least), 0.0, len(y), dtype=torch.float64)
    for warps in (False, True):
        found = fitted(replace(raw_data(x, y), weight=weight), warps=warps)
        assert_sound(found.surrogate, torch.cat([X, x]))


@pytest.mark.parametrize("half_life", [1e-3, 1.0, 1e6])
@pytest.mark.parametrize("name", HARD)
def test_no_half_life_breaks_the_fit(name: str, half_life: float) -> None:
    data = replace(raw_data(*HARD[name]), half_life=half_life)
    assert_sound(fitted(data, warps=True).surrogate, torch.cat([X, HARD[name][0]]))


@given(
    st.lists(st.floats(-1e300, 1e300) | st.sampled_from([0.0, 1.0, -1.0]), min_size=1, max_size=9),
    st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_no_finite_values_break_the_fit(numbers: list[float], warps: bool) -> None:
    y = cube(numbers)
    assert_sound(fitted(raw_data(X[: len(y)], y), warps=warps).surrogate, X)


@pytest.mark.parametrize("power", [-100, -3, 1, 100])
@pytest.mark.parametrize("warps", [False, True])
def test_the_unit_of_the_metric_changes_no_bit_of_the_posterior(power: int, warps: bool) -> None:
    plain = fitted(raw_data(X, Y), warps=warps)
    scaled = fitted(raw_data(X, Y * 2.0**power), warps=warps)
    assert plain.fitted == scaled.fitted
    assert torch.equal(plain.surrogate.posterior(X).mean, scaled.surrogate.posterior(X).mean)


@pytest.mark.parametrize("warps", [False, True])
def test_adding_a_constant_to_the_metric_changes_nothing_that_matters(warps: bool) -> None:
    plain = fitted(raw_data(X, Y), warps=warps).surrogate
    moved = fitted(raw_data(X, Y + 100.0), warps=warps).surrogate
    assert torch.allclose(plain.posterior(X).mean, moved.posterior(X).mean, atol=1e-3)


def test_one_disaster_does_not_hide_the_difference_between_the_others() -> None:
    for warps in (False, True):
        found = fitted(raw_data(X, torch.cat([Y[:8], cube([-1e6])])), warps=warps)
        mean, _ = found.surrogate.marginal(X[:8])
        assert torch.corrcoef(torch.stack([mean, Y[:8]]))[0, 1] > 0.9


def test_data_that_cannot_be_factorised_give_no_fit() -> None:
    assert fit(raw_data(X * math.nan, Y), Form(), None, count=9) is None
    assert fit(raw_data(X * math.nan, Y), Form(), None, count=9, warps=True) is None


def test_hopeless_hyperparameters_from_before_are_survived() -> None:
    data = noisy_bumps(12, 0)
    for number in (math.nan, math.inf, -math.inf, 1e6):
        last = Fitted(warp="none", theta=(number,) * 4, count=12)
        for expired in (False, True):
            found = fitted(data, last, count=13, expired=lambda expired=expired: expired)
            assert_sound(found.surrogate, data.x)
