"""Changing a recipe while it is at work: what an operator may set, all of it or nothing."""

from collections.abc import Mapping
from typing import Any

from gptune.configs.reading import nearest
from gptune.configs.recipe import Recipe
from gptune.configs.sections import Acceptance, Safety
from gptune.errors import RecipeError

# Nobody takes the brakes off from outside, or makes a failure of gptune's end the training.
BLOCKERS = ("block_on_nan", "block_on_anomaly", "on_error")
SETTABLE = (
    *(f"acceptance.{name}" for name in Acceptance.__struct_fields__),
    *(f"safety.{name}" for name in Safety.__struct_fields__ if name not in BLOCKERS),
    "search.every",
    "search.joint",
)


def override(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Give a recipe with some fields changed; all of them or, with an error, none.

    Args:
        recipe: The recipe.
        changes: ``section.field`` -> value, as plain data.

    Raises:
        RecipeError: Naming the field that may not be set, or whose value is wrong.

    Example:
        >>> override(Recipe(), {"acceptance.epsilon": 0.5}).acceptance.epsilon
        0.5
    """
    plain = recipe.to_dict()
    for path, value in changes.items():
        if path not in SETTABLE:
            raise RecipeError(
                f"{path}: cannot be set while a run is live; {nearest(path, SETTABLE)}"
            )
        section, _, name = path.partition(".")
        plain[section][name] = value
    return Recipe.from_dict(plain)


def field_of(recipe: Recipe, path: str) -> Any:
    """Give the value of ``section.field``."""
    section, _, name = path.partition(".")
    return getattr(getattr(recipe, section), name)
