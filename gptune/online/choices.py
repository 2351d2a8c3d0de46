"""From what the user gave to one recipe."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from gptune.configs import Group, Mode, Mutation, Objective, Recipe, nearest
from gptune.core.criteria import BY_NAME, Acquisition
from gptune.errors import RecipeError
from gptune.records import Categorical, Float, Integer, Parameter

Space = Mapping[str, tuple[float, float] | Parameter]

DIRECTIONS = {"minimize": "min", "maximize": "max", "min": "min", "max": "max"}


WIDTH = {  # what a mode may do, compared with others
    Mode.OFF: 0,
    Mode.OBSERVE: 1,
    Mode.SUGGEST: 2,
    Mode.GUARD: 3,
    Mode.ACTIVE: 4,
    Mode.REPLAY: 4,
}


def make_recipe(
    recipe: Recipe | Mapping[str, Any] | str | Path | None,
    shorthands: Mapping[str, Any],
    mode: str | None,
    found: Recipe | None = None,
) -> Recipe:
    """Build the recipe from a recipe, from the shorthands or from what was found, and the mode.

    Args:
        recipe: A recipe, plain data of one, or the path of a file.
        shorthands: ``objective``, ``direction`` and ``space`` as given; ``None`` where not.
        mode: Overrides the recipe's.
        found: What ``recipe.yaml`` in the run directory says.

    Raises:
        RecipeError: If more than one of them was given, or one of them is wrong.
    """
    given = {name: value for name, value in shorthands.items() if value is not None}
    if recipe is not None and given:
        raise RecipeError(
            f"{', '.join(given)}: must not stand beside recipe=, which says it already; "
            "leave one of them out"
        )
    made = _chosen(recipe, given, found)
    if found is not None and replace(made, mode=found.mode) != found:
        raise RecipeError(
            "recipe: the run directory holds a recipe.yaml that says something else; leave "
            "recipe= and its shorthands out, or remove the file, or choose another run_dir"
        )
    return replace(made, mode=parse_mode(mode)) if mode is not None else made


def _chosen(
    recipe: Recipe | Mapping[str, Any] | str | Path | None,
    given: Mapping[str, Any],
    found: Recipe | None,
) -> Recipe:
    if recipe is None and not given and found is not None:
        return found
    if isinstance(recipe, str | Path):
        return Recipe.load(recipe)
    made = (
        recipe if isinstance(recipe, Recipe) else Recipe.from_dict({} if recipe is None else recipe)
    )
    if "objective" in given or "direction" in given:
        made = replace(made, objective=_objective(made.objective, given))
    return replace(made, actuators=_groups(given["space"])) if "space" in given else made


def parse_mode(mode: str) -> Mode:
    """Read a mode.

    Raises:
        RecipeError: If it is unknown.
    """
    try:
        return Mode(mode)
    except ValueError:
        hint = nearest(mode, [known.value for known in Mode])
        raise RecipeError(f"mode: must be a known mode, got {mode!r}; {hint}") from None


def choose_acquisition(given: str | Acquisition | None) -> Acquisition | None:
    """Find the criterion that was named, or check the one that was given.

    Raises:
        RecipeError: If it is neither a known name nor a callable.
    """
    if given is None or (callable(given) and not isinstance(given, type)):
        return given
    if isinstance(given, str) and given in BY_NAME:
        return BY_NAME[given]
    raise RecipeError(
        f"acquisition: must be one of {', '.join(BY_NAME)}, or a callable (model, best) -> "
        f"acquisition function, got {given!r}"
    )


def check_counts(total_steps: int | None, seed: int) -> None:
    """Check the two whole numbers that a Tuner is given.

    Raises:
        RecipeError: Naming the one that is wrong.
    """
    if total_steps is not None and (type(total_steps) is not int or total_steps < 1):
        raise RecipeError(f"total_steps: must be a count >= 1 [steps], got {total_steps!r}")
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise RecipeError(f"seed: must be a whole number in [0, 2**63), got {seed!r}")


def name_acquisition(recipe: Recipe, given: object) -> Recipe:
    """Write a criterion that was given by its name into the recipe, where the log shows it."""
    if not isinstance(given, str) or given not in BY_NAME:
        return recipe
    named = replace(recipe.search, acquisition=given)
    return replace(recipe, search=named)


def family_of(name: str) -> str:
    """Write a knob's whole name: ``lr`` alone means ``opt.lr``."""
    return name if "." in name else f"opt.{name}"


def _objective(default: Objective, given: Mapping[str, Any]) -> Objective:
    direction = given.get("direction", "minimize")
    if not isinstance(direction, str) or direction not in DIRECTIONS:
        hint = nearest(direction, DIRECTIONS)
        raise RecipeError(f"direction: must be minimize or maximize, got {direction!r}; {hint}")
    name = given.get("objective", default.primary)
    if not isinstance(name, str) or not name:
        raise RecipeError(f"objective: must name a metric, got {name!r}; e.g. 'val/loss'")
    return replace(default, primary=name, mode=DIRECTIONS[direction])


def _groups(space: Space) -> dict[str, Group]:
    if not isinstance(space, Mapping) or not space:
        raise RecipeError(
            f"space: must map names to (low, high) or gptune.Float and friends, got {space!r}"
        )
    groups: dict[str, dict[str, Mutation]] = {}
    for name, parameter in space.items():
        group, _, knob = family_of(name).partition(".")
        members = groups.setdefault(group, {})
        if knob in members:
            raise RecipeError(f"space: {name!r} and another entry are the same knob; keep one")
        members[knob] = _mutation(name, parameter)
    return {group: Group(mutations=members) for group, members in groups.items()}


def _mutation(name: str, parameter: object) -> Mutation:
    if isinstance(parameter, Categorical):
        return Mutation(mode="set")
    if isinstance(parameter, Float | Integer):
        return Mutation(mode="set", bounds=(float(parameter.low), float(parameter.high)))
    is_pair = isinstance(parameter, tuple | list) and len(parameter) == 2
    if not is_pair or not all(type(end) in (int, float) for end in parameter):  # type: ignore[attr-defined]
        raise RecipeError(
            f"space.{name}: must be (low, high), gptune.Float, Integer or Categorical, "
            f"got {parameter!r}"
        )
    try:
        return Mutation(bounds=tuple(map(float, parameter)))  # type: ignore[call-overload]
    except RecipeError as error:
        raise RecipeError(f"space.{name}.{error}") from error
