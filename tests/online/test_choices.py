"""From what the user gave to one recipe."""

from pathlib import Path

import pytest

from gptune.configs import Mode, Recipe
from gptune.core.criteria import LogExpectedImprovement, UpperConfidenceBound
from gptune.errors import RecipeError
from gptune.online.choices import choose_acquisition, make_recipe, parse_mode
from gptune.records import Categorical, Float, Integer


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


def test_criteria_are_found_by_name_or_taken_as_they_are() -> None:
    mine = UpperConfidenceBound(1.0)
    assert choose_acquisition(None) is None
    assert choose_acquisition("log_ei") == LogExpectedImprovement()
    assert choose_acquisition(mine) is mine


def test_what_was_found_is_used_when_nothing_else_is_given() -> None:
    found = Recipe.from_dict({"objective": {"primary": "reward", "mode": "max"}})
    assert make_recipe(None, {}, None, found) == found
    assert make_recipe(None, {}, "observe", found).mode is Mode.OBSERVE


def test_what_was_found_must_not_contradict_what_is_given() -> None:
    found = Recipe.from_dict({"objective": {"primary": "reward"}})
    assert make_recipe(found, {}, None, found) == found
    with pytest.raises(RecipeError, match=r"recipe\.yaml that says something else"):
        make_recipe(Recipe(), {}, None, found)
    with pytest.raises(RecipeError, match=r"recipe\.yaml that says something else"):
        make_recipe(None, {"objective": "val/loss"}, None, found)


def test_a_recipe_may_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("objective: {primary: reward, mode: max}\nmode: off\n")
    recipe = make_recipe(str(file), {}, None)
    assert (recipe.objective.primary, recipe.mode) == ("reward", Mode.OFF)
