"""From what the user gave to recipe and hands."""

from typing import Any

import pytest
import torch
from torch import nn

from gptune.actuators import optimizer_actuators, value_actuators
from gptune.configs import Mode, Recipe
from gptune.core.criteria import LogExpectedImprovement, UpperConfidenceBound
from gptune.core.proposer import Seeded
from gptune.errors import ActuatorError, RecipeError
from gptune.online.decision import KernelConfig
from gptune.online.setup import (
    attach,
    check_actuator,
    choose_acquisition,
    list_actuators,
    make_hands,
    make_proposer,
    make_recipe,
    parse_mode,
)
from gptune.records import Categorical, Float, Integer
from tests.doubles import FakeKnob


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.Adam(nn.Linear(2, 1).parameters(), lr=0.1, weight_decay=0.01)


def test_shorthands_build_a_recipe() -> None:
    given = {"objective": "reward", "direction": "maximize", "space": {"lr": (0.5, 2.0)}}
    recipe = make_recipe(None, given, "suggest")
    assert recipe.objective.primary == "reward"
    assert recipe.objective.mode == "max"
    assert recipe.mode is Mode.SUGGEST
    assert recipe.mutations()["opt.lr"].bounds == (0.5, 2.0)


def test_without_anything_the_recipe_is_the_default() -> None:
    assert make_recipe(None, {"objective": None, "space": None}, None) == Recipe()


def test_every_kind_of_parameter_has_its_mode() -> None:
    space = {
        "lr": (0.5, 2.0),
        "loss.aux": Float(0.1, 2.0),
        "data.workers": Integer(1, 8),
        "model.act": Categorical(("relu", "gelu")),
    }
    mutations = make_recipe(None, {"space": space}, None).mutations()
    modes = {family: mutation.mode for family, mutation in mutations.items()}
    assert modes == {
        "opt.lr": "mult",
        "loss.aux": "set",
        "data.workers": "set",
        "model.act": "set",
    }


def test_one_knob_named_twice_is_refused() -> None:
    with pytest.raises(RecipeError, match="same knob"):
        make_recipe(None, {"space": {"lr": (0.5, 2.0), "opt.lr": (0.5, 2.0)}}, None)


@pytest.mark.parametrize("mode", ["ACTIVE", " observe", "", "on"])
def test_an_unknown_mode_is_refused(mode: str) -> None:
    with pytest.raises(RecipeError, match="mode"):
        parse_mode(mode)


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


def test_an_absolute_target_for_an_optimizers_value_is_refused() -> None:
    mutation = {"mode": "set", "bounds": [0.01, 1.0]}
    recipe = Recipe.from_dict({"actuators": {"opt": {"mutations": {"lr": mutation}}}})
    with pytest.raises(RecipeError, match="must be mult"):
        make_hands(recipe, list_actuators(optimizer()))


def test_attaching_installs_the_hooks_once_and_mode_off_removes_them() -> None:
    adam = optimizer()
    recipe = make_recipe(None, {"space": {"lr": (0.5, 2.0), "momentum": (0.9, 1.05)}}, None)
    hands = make_hands(recipe, optimizer_actuators(adam))
    attach(hands, Mode.ACTIVE)
    attach(hands, Mode.ACTIVE)
    assert len(adam._optimizer_step_pre_hooks) == 1
    attach(hands, Mode.OFF)
    assert not adam._optimizer_step_pre_hooks
    assert not adam._optimizer_step_post_hooks


def test_criteria_are_found_by_name_or_taken_as_they_are() -> None:
    mine = UpperConfidenceBound(1.0)
    assert choose_acquisition(None) is None
    assert choose_acquisition("log_ei") == LogExpectedImprovement()
    assert choose_acquisition(mine) is mine


def test_a_proposer_needs_a_knob() -> None:
    config = KernelConfig(recipe=Recipe(), knobs={})
    assert make_proposer(config, None, Seeded(0)) is None
