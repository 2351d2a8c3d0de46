"""Each part of a training state is checked, and refused by its own name."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from gptune.actuators import value_actuators
from gptune.actuators.parts import (
    checked_budget,
    checked_extras,
    checked_knobs,
    checked_model,
    checked_optimizers,
    checked_scaler,
    checked_schedulers,
    named,
)
from gptune.errors import StateError


def optimizer() -> SGD:
    return SGD([nn.Parameter(torch.ones(1))], lr=0.1)


def test_one_scheduler_goes_by_its_name_and_several_by_their_numbers() -> None:
    one, other = StepLR(optimizer(), 2), StepLR(optimizer(), 3)
    assert checked_schedulers(None) == {}
    assert checked_schedulers(one) == {"scheduler": one}
    assert checked_schedulers([one, other]) == {"scheduler.0": one, "scheduler.1": other}
    with pytest.raises(StateError, match=r"^scheduler\.1: must have state_dict"):
        checked_schedulers([one, None])


def test_one_optimizer_or_several_are_a_list() -> None:
    one, other = optimizer(), optimizer()
    assert checked_optimizers(one) == [one]
    assert checked_optimizers((one, other)) == [one, other]


@pytest.mark.parametrize(
    ("check", "given", "name"),
    [
        (checked_model, "net", "model"),
        (checked_optimizers, [], "optimizers"),
        (checked_optimizers, [None], "optimizers"),
        (checked_scaler, 1.0, "scaler"),
        (checked_extras, [nn.Linear(1, 1)], "extras"),
        (checked_extras, {"ema": None}, r"extras\.ema"),
        (checked_budget, True, "budget_mb"),
        (checked_knobs, ["lr"], "knobs"),
        (checked_knobs, 5, "knobs"),
    ],
)
def test_what_is_of_another_kind_is_refused_by_name(check: Any, given: Any, name: str) -> None:
    with pytest.raises(StateError, match=f"^{name}: "):
        check(given)


def test_a_scaler_that_is_off_is_none_and_knobs_are_listed() -> None:
    assert checked_scaler(GradScaler("cpu", enabled=False)) is None
    knobs = value_actuators({"aux": 0.5})
    assert checked_knobs(knob for knob in knobs) == knobs


@pytest.mark.parametrize("error", [TypeError("no int"), KeyError("shape"), IndexError(), OSError()])
def test_what_refuses_its_state_is_named_and_no_other_failure_is_hidden(error: Exception) -> None:
    refuses = not isinstance(error, OSError)
    with pytest.raises(StateError if refuses else OSError) as caught, named("extras.average"):
        raise error
    if refuses:
        said = f"load_state_dict: extras.average refuses its state, {type(error).__name__}: {error}"
        assert str(caught.value).startswith(said)
        assert caught.value.__cause__ is error
