"""What an operator may set of a live recipe: all of it or nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptune.configs import Recipe
from gptune.configs.overrides import BLOCKERS, SETTABLE, field_of, override
from gptune.errors import RecipeError
from tests.strategies import recipes

GOOD: dict[str, Any] = {
    "acceptance.reference": "last",
    "acceptance.epsilon": 0.25,
    "acceptance.probability": 0.75,
    "acceptance.horizon": 3,
    "acceptance.rollback_on_reject": False,
    "acceptance.lower_after_start": "free",
    "safety.max_regression": 9.0,
    "safety.patience": 5,
    "safety.warmup": 2,
    "safety.start_below": 0.5,
    "safety.max_global_reject_streak": 7,
    "safety.pause_decisions": 3,
    "safety.global_cooldown": 4,
    "search.every": 2,
    "search.joint": True,
}


def test_every_settable_field_is_set_here() -> None:
    assert set(SETTABLE) == set(GOOD)


@given(recipes(), st.sets(st.sampled_from(sorted(GOOD)), min_size=1))
def test_what_is_set_changes_and_nothing_else(data: dict[str, Any], paths: set[str]) -> None:
    recipe = Recipe.from_dict(data)
    made = override(recipe, {path: GOOD[path] for path in paths})
    for path in SETTABLE:
        wanted = GOOD[path] if path in paths else field_of(recipe, path)
        assert field_of(made, path) == wanted
    undone = override(made, {path: field_of(recipe, path) for path in paths})
    assert undone == recipe


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"acceptance.epsilon": "0.1"}, r"^acceptance\.epsilon: "),
        ({"acceptance.epsilon": -1.0}, r"^acceptance\.epsilon: must be finite and >= 0"),
        ({"acceptance.horizon": True}, r"^acceptance\.horizon: "),
        ({"safety.patience": 0}, r"^safety\.patience: must be >= 1"),
        ({"safety.on_error": "raise"}, r"^safety\.on_error: cannot be set"),
        (
            {"acceptance.epsilom": 0.1},
            r"^acceptance\.epsilom: cannot be set .* 'acceptance.epsilon",
        ),
        ({"objective.primary": "x"}, r"^objective\.primary: cannot be set"),
        ({"mode": "off"}, r"^mode: cannot be set"),
        ({"": 1}, r"cannot be set"),
        ({"actuators.opt.mutations.lr.bounds": [0.0, 9e9]}, r"cannot be set"),
    ],
)
def test_what_may_not_be_set_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        override(Recipe(), {"acceptance.probability": 0.6, **changes})


@pytest.mark.parametrize("name", BLOCKERS)
def test_nobody_takes_the_brakes_off(name: str) -> None:
    with pytest.raises(RecipeError, match="cannot be set while a run is live"):
        override(Recipe(), {f"safety.{name}": False})
