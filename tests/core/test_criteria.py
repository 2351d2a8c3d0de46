"""The built-in criteria are BoTorch's; a Thompson draw is a draw of the posterior."""

import math
from typing import Any, get_args

import msgspec
import pytest
import torch
from botorch.acquisition import AcquisitionFunction, qLogExpectedImprovement
from botorch.acquisition import LogExpectedImprovement as BotorchLogEI
from botorch.acquisition import ProbabilityOfImprovement as BotorchPI
from botorch.acquisition import UpperConfidenceBound as BotorchUCB
from botorch.models.model import Model
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gptune.configs import Search
from gptune.core.closed_form import ClosedForm
from gptune.core.criteria import (
    BY_NAME,
    Acquisition,
    ExpectedImprovement,
    HasClosedForm,
    LogExpectedImprovement,
    NoisyExpectedImprovement,
    ProbabilityOfImprovement,
    ThompsonSampling,
    Traced,
    UpperConfidenceBound,
    bind,
)
from gptune.core.history import TrainingData
from gptune.core.likelihood import Form, Hyperparameters
from gptune.core.search import Hunt, maximise
from gptune.core.space import SearchSpace, cube
from gptune.core.surrogate import Surrogate, condition
from gptune.errors import CriterionError
from gptune.records import Float
from tests.core.test_likelihood import draw_data

HYPER, FORM = Hyperparameters(cube([0.4, 0.8]), cube(0.05)), Form()
NONE = torch.zeros(0, 2, dtype=torch.float64)  # pending places


SQUARE = SearchSpace({"a": Float(0.0, 1.0), "b": Float(0.0, 1.0)})


def surrogate_of(data: TrainingData) -> Surrogate:
    surrogate = condition(data, HYPER, FORM)
    assert surrogate is not None
    return surrogate


def places(count: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.rand(count, 1, 2, generator=generator, dtype=torch.float64)


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
    other = model.to_botorch()
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
        "auto": ExpectedImprovement(),
        "log_ei": LogExpectedImprovement(),
        "log_nei": NoisyExpectedImprovement(),
        "pi": ProbabilityOfImprovement(),
        "ucb": UpperConfidenceBound(2.0),
        "thompson": ThompsonSampling(),
    } == BY_NAME
    field = {f.name: f for f in msgspec.structs.fields(Search)}["acquisition"]
    assert set(BY_NAME) == set(get_args(field.type))


@pytest.mark.filterwarnings("ignore::botorch.exceptions.warnings.InputDataWarning")
def test_a_draw_needs_gptunes_own_surrogate() -> None:
    other = surrogate_of(draw_data(4, 2, 0)).to_botorch()
    with pytest.raises(TypeError, match="needs a gptune Surrogate, got"):
        ThompsonSampling()(other, cube(0.0))


def improvement(model: Model, best: Tensor) -> AcquisitionFunction:
    return BotorchPI(model, best_f=best)


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
        score = bind(chosen, model, cube(0.5), NONE)
        hunt = Hunt(space=SQUARE, boxes=[box], scale=model.hyper.lengthscale)
        place, value = maximise(score, hunt)
        others = score.values(places().squeeze(-2))
    assert value >= float(others.max())
    assert bool(((place >= 0) & (place <= 1)).all())


CLOSED = [name for name, criterion in BY_NAME.items() if isinstance(criterion, HasClosedForm)]


@pytest.mark.parametrize("name", ["log_ei", "pi", "ucb"])
@pytest.mark.parametrize("seed", range(3))
def test_the_closed_form_and_the_way_through_botorch_lead_to_one_place(
    name: str, seed: int
) -> None:
    model, criterion, best = surrogate_of(draw_data(9, 2, seed)), BY_NAME[name], cube(0.3)
    fast, slow = bind(criterion, model, best, NONE), Traced(criterion(model, best))
    x = places().squeeze(-2)
    assert torch.allclose(fast.values(x), slow.values(x), rtol=0, atol=1e-6)
    box = (cube([0.0, 0.0]), cube([1.0, 1.0]))
    hunt = Hunt(space=SQUARE, boxes=[box], scale=model.hyper.lengthscale)
    (one, high), (other, low) = maximise(fast, hunt), maximise(slow, hunt)
    assert high == pytest.approx(low, abs=1e-4)
    assert torch.allclose(one, other, atol=0.02)


def test_noisy_improvement_agrees_with_botorchs_up_to_its_chance() -> None:
    model, x = surrogate_of(draw_data(9, 2, 1)), places().squeeze(-2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        wanted = Traced(NoisyExpectedImprovement()(model, cube(0.0))).values(x)
        drawn = [
            bind(NoisyExpectedImprovement(), model, cube(0.0), NONE).values(x).exp()
            for _ in range(200)
        ]
    found = torch.stack(drawn).mean(0)
    big = wanted.exp() > 0.02
    assert bool(big.any())
    assert torch.allclose(found[big], wanted.exp()[big], rtol=0.15)


@pytest.mark.parametrize("noise", [1e-4, 0.3])
def test_auto_is_the_noisy_one_where_the_fit_finds_noise(noise: float) -> None:
    model = condition(draw_data(9, 2, 1), Hyperparameters(cube([0.4, 0.8]), cube(noise)), FORM)
    assert model is not None
    named = NoisyExpectedImprovement() if noise > 0.1 else LogExpectedImprovement()
    x, values = places().squeeze(-2), []
    for criterion in (ExpectedImprovement(), named):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            values.append(bind(criterion, model, cube(0.3), NONE).values(x))
    assert torch.equal(*values)
    assert type(ExpectedImprovement()(model, cube(0.3))) is type(named(model, cube(0.3)))


@pytest.mark.parametrize("name", [*CLOSED, "monte carlo", "analytic"])
def test_a_pending_place_is_less_promising_than_it_was(name: str) -> None:
    def monte_carlo(model: Model, best: Tensor) -> AcquisitionFunction:
        return qLogExpectedImprovement(model, best_f=best)

    mine: dict[str, Acquisition] = {
        "monte carlo": monte_carlo,
        "analytic": lambda model, best: BotorchLogEI(model, best_f=best),
    }
    criterion = mine.get(name) or BY_NAME[name]
    model, best = surrogate_of(draw_data(9, 2, 2)), cube(0.3)
    box = (cube([0.0, 0.0]), cube([1.0, 1.0]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        hunt = Hunt(space=SQUARE, boxes=[box], scale=model.hyper.lengthscale)
        place, _ = maximise(bind(criterion, model, best, NONE), hunt)
        waiting = bind(criterion, model, best, place.unsqueeze(0))
        other, value = maximise(waiting, hunt)
        assert float(waiting.values(place.unsqueeze(0))) < value - 1e-3
    assert float((other - place).norm()) > 0.002


def test_a_monte_carlo_criterion_gets_pending_places_as_its_own() -> None:
    made: list[AcquisitionFunction] = []

    def criterion(model: Model, best: Tensor) -> AcquisitionFunction:
        made.append(qLogExpectedImprovement(model, best_f=best))
        return made[-1]

    pending = cube([[0.2, 0.3]])
    bind(criterion, surrogate_of(draw_data(6, 2, 0)), cube(0.0), pending)
    assert len(made) == 1
    assert torch.equal(made[0].X_pending, pending)


@pytest.mark.parametrize(
    ("criterion", "smooth"),
    [
        (lambda x: x.sum((-1, -2)), True),
        (lambda x: x.detach().sum((-1, -2)), False),
        (lambda x: torch.from_numpy(x.detach().numpy().sum((-1, -2))), False),
        (lambda x: torch.ones(len(x), requires_grad=True).double(), False),
    ],
)
def test_a_gradient_is_used_where_there_is_one(criterion: Any, smooth: bool) -> None:
    score, x = Traced(criterion), places(3).squeeze(-2)
    assert score.is_smooth(x[:1]) is smooth
    assert score.values(x).shape == (3,)
    if smooth:
        values, slopes = score.slopes(x)
        assert torch.equal(values, score.values(x))
        assert torch.equal(slopes, torch.ones_like(x))


@pytest.mark.parametrize("criterion", [lambda x: x.sum(), lambda x: x, lambda x: 1.0])
def test_values_of_the_wrong_shape_are_refused(criterion: Any) -> None:
    with pytest.raises(CriterionError, match=r"must give shape \(3,\), got .*one value per point"):
        Traced(criterion).values(places(3).squeeze(-2))


def test_an_analytic_criterion_believes_in_pending_places_and_improves_on_them_too() -> None:
    asked: list[tuple[Model, Tensor]] = []

    def criterion(model: Model, best: Tensor) -> AcquisitionFunction:
        asked.append((model, best))
        return BotorchLogEI(model, best_f=best)

    surrogate, pending = surrogate_of(draw_data(6, 2, 0)), places(2).squeeze(-2)
    mean, _ = surrogate.marginal(pending)
    for bar in (-9.0, 9.0):
        asked.clear()
        score = bind(criterion, surrogate, cube(bar), pending)
        believer, best = asked[-1]
        assert isinstance(believer, Surrogate)
        assert torch.equal(believer.data.x, torch.cat([surrogate.data.x, pending]))
        assert torch.allclose(believer.data.y[-2:], mean)
        assert float(best) == pytest.approx(max(bar, float(mean.max())))
        wanted = BotorchLogEI(surrogate.believing(pending), best_f=best)(places())
        assert torch.equal(score.values(places().squeeze(-2)), wanted)


@pytest.mark.parametrize("where", ["when bound", "when asked"])
def test_what_a_users_criterion_raises_is_passed_on(where: str) -> None:
    def broken(x: Tensor) -> Tensor:
        raise ZeroDivisionError("mine")

    def criterion(model: Model, best: Tensor) -> Any:
        return broken(best) if where == "when bound" else broken

    with pytest.raises(ZeroDivisionError, match="mine"):
        bind(criterion, surrogate_of(draw_data(6, 2, 0)), cube(0.0), NONE).values(
            places().squeeze(-2)
        )


@pytest.mark.parametrize("name", ["log_ei", "log_nei", "pi", "ucb", "auto"])
def test_a_built_in_criterion_with_a_closed_form_is_bound_to_it(name: str) -> None:
    surrogate = surrogate_of(draw_data(6, 2, 0))
    assert isinstance(bind(BY_NAME[name], surrogate, cube(0.0), NONE), ClosedForm)
    assert isinstance(bind(ThompsonSampling(), surrogate, cube(0.0), NONE), Traced)
