"""Calling ``evaluate``: no gradients, and no trace in the model."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gptune.online.evaluation import evaluate_mean


class EvaluateError(Exception):
    """Raised by the user's ``evaluate``."""


class Sized(nn.Module):
    """A model whose own length is 0, as that of an empty replay buffer or registry."""

    def __len__(self) -> int:
        return 0


def model() -> nn.Module:
    made = nn.Sequential(
        nn.Linear(2, 2), nn.Dropout(), nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1))
    )
    made.train()
    made[1].eval()  # a frozen part, as in fine-tuning
    return made


def modes(made: nn.Module) -> list[bool]:
    return [module.training for module in made.modules()]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.booleans(), min_size=6, max_size=6), st.booleans(), st.booleans())
def test_every_modules_mode_is_put_back_also_when_evaluate_raises(
    before: list[bool], trains: bool, raises: bool
) -> None:
    made = model()
    for module, mode in zip(made.modules(), before, strict=True):
        module.training = mode

    def evaluate() -> float:
        made.train(trains)
        if raises:
            raise EvaluateError
        return 0.5

    if raises:
        with pytest.raises(EvaluateError):
            evaluate_mean(evaluate, made)
    else:
        assert evaluate_mean(evaluate, made) == 0.5
    assert modes(made) == before


def test_evaluate_sees_the_mode_that_the_model_is_in() -> None:
    made = model()
    seen: list[list[bool]] = []
    evaluate_mean(lambda: seen.append(modes(made)), made)
    assert seen == [modes(made)]


@pytest.mark.parametrize("made", [Sized(), nn.Sequential(), nn.ModuleList()])
def test_the_mode_is_put_back_whatever_the_models_length(made: nn.Module) -> None:
    evaluate_mean(made.eval, made)
    assert made.training


def test_a_module_added_meanwhile_stays_and_a_removed_one_does_no_harm() -> None:
    made = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))

    def evaluate() -> float:
        made.eval()
        made.append(nn.Dropout())
        del made[0]
        return 0.0

    assert evaluate_mean(evaluate, made) == 0.0
    assert [type(part).__name__ for part in made] == ["Linear", "Dropout"]
    assert made.training
    assert made[0].training


def test_a_mode_changed_by_the_caller_before_is_not_this_calls_business() -> None:
    made = model().eval()
    evaluate_mean(lambda: 0.5, made)
    assert not any(modes(made))


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("raises", [True, False])
def test_no_gradient_is_recorded_and_the_grad_mode_is_put_back(enabled: bool, raises: bool) -> None:
    made = model()
    seen = []

    def evaluate() -> Tensor:
        seen.append(torch.is_grad_enabled())
        loss: Tensor = made(torch.ones(3, 2)).mean()
        seen.append(loss.requires_grad)
        if raises:
            raise EvaluateError
        return loss

    with torch.set_grad_enabled(enabled):
        if raises:
            with pytest.raises(EvaluateError):
                evaluate_mean(evaluate, made)
        else:
            assert not evaluate_mean(evaluate, made).requires_grad
        assert torch.is_grad_enabled() == enabled
    assert seen == [False, False]
    assert all(parameter.grad is None for parameter in made.parameters())


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        (torch.tensor([1.0, 2.0, 6.0]), 3.0),
        (torch.tensor([1.0, 2.0], dtype=torch.float64), 1.5),
        (np.array([1.0, 2.0, 6.0]), 3.0),
        (np.array([1, 2]), 1.5),
    ],
)
def test_losses_per_example_become_their_mean(losses: Any, expected: float) -> None:
    assert float(evaluate_mean(lambda: losses, None)) == expected


@pytest.mark.parametrize(
    "value",
    [
        0.5,
        None,
        "high",
        [1.0, 2.0],
        torch.tensor(0.5),
        torch.tensor([0.5]),
        torch.zeros(0),
        torch.zeros(2, 2),
        np.array(0.5),
        np.zeros((2, 2)),
        object(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_everything_else_is_handed_on_as_it_is(value: object) -> None:
    assert evaluate_mean(lambda: value, None) is value


def test_one_wild_example_is_not_hidden_by_the_mean() -> None:
    losses = torch.tensor([1.0, float("nan"), 2.0])
    assert torch.isnan(evaluate_mean(lambda: losses, None))


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_modes_are_put_back_also_when_the_user_stops(stop: type[BaseException]) -> None:
    made = model()
    before = modes(made)

    def evaluate() -> float:
        made.eval()
        raise stop

    with pytest.raises(stop):
        evaluate_mean(evaluate, made)
    assert modes(made) == before


def test_nothing_of_the_model_is_touched_but_its_modes() -> None:
    made = model()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    chance = torch.random.get_rng_state()
    evaluate: Callable[[], float] = lambda: 0.5  # noqa: E731
    evaluate_mean(evaluate, made)
    after = made.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(chance, torch.random.get_rng_state())
