"""From what the user gave to recipe and hands."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

from gptune.actuators import optimizer_actuators, parts_of, value_actuators
from gptune.configs import Mode, Recipe
from gptune.core.proposer import Seeded
from gptune.errors import ActuatorError, RecipeError
from gptune.online.choices import make_recipe
from gptune.online.decision import KernelConfig
from gptune.online.setup import (
    attach,
    check_actuator,
    list_actuators,
    make_hands,
    make_proposer,
)
from tests.doubles import FakeKnob


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.Adam(nn.Linear(2, 1).parameters(), lr=0.1, weight_decay=0.01)


@pytest.mark.parametrize("name", ["", "aux", "loss.", ".aux", "loss aux", "loss.aux[x]", 3])
def test_a_name_that_is_no_family_is_refused(name: Any) -> None:
    with pytest.raises(ActuatorError, match=r"group\.knob"):
        check_actuator(FakeKnob(name=name))


@pytest.mark.parametrize("name", ["loss.aux", "opt2.lr[0]", "model.head.dropout"])
def test_a_family_is_a_group_and_a_knob(name: str) -> None:
    assert check_actuator(FakeKnob(name=name)) == name


def test_an_optimizers_knobs_move_only_if_they_are_named() -> None:
    assert list(make_hands(Recipe(), list_actuators(optimizer()))) == ["opt.lr"]


def test_values_move_unless_the_recipe_names_others_of_their_group() -> None:
    knobs = list_actuators(value_actuators({"aux": 0.5, "kl": 0.1}))
    assert list(make_hands(Recipe(), knobs)) == ["loss.aux", "loss.kl"]
    named = Recipe.from_dict({"actuators": {"loss": {"keys": {"kl": {"bounds": [0.5, 2.0]}}}}})
    assert list(make_hands(named, knobs)) == ["loss.kl"]
    disabled = Recipe.from_dict({"actuators": {"loss": {"enabled": False}}})
    assert not make_hands(disabled, knobs)


def test_a_recipe_that_names_a_knob_that_is_not_there_is_refused() -> None:
    recipe = Recipe.from_dict({"actuators": {"loss": {"keys": {"axu": {}}}}})
    with pytest.raises(RecipeError, match=r"loss\.axu.*did you mean 'loss\.aux'"):
        make_hands(recipe, list_actuators(value_actuators({"aux": 0.5})))


def test_an_absolute_target_is_a_multiplier_on_the_schedule_that_hits_it() -> None:
    adam = optimizer()
    recipe = recipe_of(lr={"mode": "set", "bounds": [1e-5, 0.1]})
    (hand,) = make_hands(recipe, list_actuators(adam)).values()
    assert hand.knob.on_schedule
    scheduled = float(hand.knob.base)
    assert scheduled == adam.param_groups[0]["lr"]
    assert hand.knob.native(scheduled) == 1.0
    for target in (0.05, 0.0123, 3e-5):
        assert scheduled * float(hand.knob.native(target)) == pytest.approx(target, rel=3e-16)
    with pytest.raises(RecipeError, match="must contain the value in force"):
        make_hands(recipe_of(lr={"mode": "set", "bounds": [0.5, 1.0]}), list_actuators(adam))


@pytest.mark.parametrize("mode", ["set", "delta"])
def test_an_absolute_target_is_refused_where_the_schedules_value_is_zero(mode: str) -> None:
    adam = optimizer()
    LambdaLR(adam, lambda step: step / 10)
    recipe = recipe_of(lr={"mode": mode, "bounds": [0.0, 1.0]})
    with pytest.raises(RecipeError, match=r"opt\.lr\.mode: .* value is 0 now; use mode mult"):
        make_hands(recipe, list_actuators(adam))


def test_an_absolute_target_is_refused_where_a_scheduler_cycles_the_value() -> None:
    adam = optimizer()
    cycle = OneCycleLR(adam, max_lr=0.1, total_steps=20)
    recipe = recipe_of(momentum={"mode": "set", "bounds": [0.5, 0.99]})
    with pytest.raises(RecipeError, match="OneCycleLR cycles it; use mode mult"):
        make_hands(recipe, list_actuators(adam, cycle))
    make_hands(recipe, list_actuators(adam))  # nobody said so


def test_an_absolute_target_needs_bounds() -> None:
    with pytest.raises(RecipeError, match=r"needs bounds, .* but no bounds are given"):
        make_hands(recipe_of(lr={"mode": "set"}), list_actuators(optimizer()))


def test_a_difference_on_a_schedule_is_a_multiplier_too() -> None:
    (hand,) = make_hands(
        recipe_of(lr={"mode": "delta", "bounds": [-5e-4, 1e-2]}), list_actuators(optimizer())
    ).values()
    base = float(hand.knob.base)
    assert hand.knob.native(0.0) == 1.0
    assert base * float(hand.knob.native(2e-3)) == pytest.approx(base + 2e-3, rel=3e-16)


def test_several_optimizers_are_named_in_order_or_as_the_user_says() -> None:
    one, other = optimizer(), optimizer()
    in_a_row = [a.name for a in list_actuators([one, other]) if a.name.endswith(".lr")]
    assert in_a_row == ["opt.lr", "opt2.lr"]
    named = list_actuators({"generator": one, "critic": other})
    assert list(make_hands(Recipe(), named)) == ["generator.lr", "critic.lr"]
    mixed = list_actuators([one, *value_actuators({"aux": 0.5})])
    assert [a.name for a in mixed][-1] == "loss.aux"
    with pytest.raises(ActuatorError, match="name -> torch optimizer, got"):
        list_actuators({"aux": 0.5})  # type: ignore[arg-type]


def test_only_a_recipe_that_moves_the_rate_moves_that_of_every_optimizer() -> None:
    named = list_actuators({"generator": optimizer(), "critic": optimizer()})
    chosen = make_recipe(None, {"space": {"critic.lr": (0.5, 2.0)}}, None)
    assert list(make_hands(chosen, named)) == ["critic.lr"]
    off = Recipe.from_dict({"actuators": {"generator": {"enabled": False}, "opt": {}}})
    assert not make_hands(off, named)


def test_a_recipe_may_name_a_whole_and_its_parts_move() -> None:
    adam = optimizer()
    split = parts_of(optimizer_actuators(adam, per_group=("lr", "betas")))
    hands = make_hands(recipe_of(lr={}, betas={"bounds": [0.9, 1.001]}), split)
    groups = len(adam.param_groups)
    names = [f"opt.{k}[{g}]" for k in ("lr", "momentum", "beta2") for g in range(groups)]
    assert sorted(hands) == sorted(names)
    one = make_hands(recipe_of(**{"beta2[0]": {"bounds": [0.9, 1.001]}}), split)
    assert list(one) == ["opt.beta2[0]"]


def test_a_value_that_its_maker_calls_risky_moves_only_when_the_recipe_names_it() -> None:
    weights = value_actuators({"aux": 0.5}, risk="high")
    assert not make_hands(Recipe(), weights)
    named = Recipe.from_dict({"actuators": {"loss": {"keys": {"aux": {"bounds": [0.5, 2.0]}}}}})
    assert list(make_hands(named, weights)) == ["loss.aux"]


def recipe_of(**mutations: Any) -> Recipe:
    return Recipe.from_dict({"actuators": {"opt": {"mutations": mutations}}})


def test_attaching_installs_the_hooks_once_and_mode_off_removes_them() -> None:
    adam = optimizer()
    recipe = make_recipe(None, {"space": {"lr": (0.5, 2.0), "momentum": (0.9, 1.05)}}, None)
    hands = make_hands(recipe, list_actuators(adam))
    attach(hands, Mode.ACTIVE)
    attach(hands, Mode.ACTIVE)
    assert len(adam._optimizer_step_pre_hooks) == 1
    attach(hands, Mode.OFF)
    assert not adam._optimizer_step_pre_hooks
    assert not adam._optimizer_step_post_hooks


def test_a_proposer_needs_a_knob() -> None:
    config = KernelConfig(recipe=Recipe(), knobs={})
    assert make_proposer(config, None, Seeded(0)) is None
