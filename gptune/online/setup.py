"""From what the user gave to what the kernel needs: the recipe, and the hands."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from torch.optim import Optimizer

from gptune.actuators import (
    Actuator,
    Described,
    LiveActuator,
    OptimizerKnob,
    TupleActuator,
    optimizer_actuators,
    parts_of,
)
from gptune.actuators.protocol import FAMILY
from gptune.configs import Group, Knob, Mode, Mutation, Objective, Recipe, make_knob, nearest
from gptune.configs.knobs import LEARNING_RATE
from gptune.core.criteria import BY_NAME, Acquisition
from gptune.core.proposer import Proposer, Randomness
from gptune.core.space import SearchSpace
from gptune.errors import ActuatorError, RecipeError
from gptune.online.decision import Hand, KernelConfig
from gptune.online.metrics import plain
from gptune.records import Categorical, Float, Integer, Parameter

Space = Mapping[str, tuple[float, float] | Parameter]
Given = Optimizer | Iterable[Optimizer | Actuator | TupleActuator] | Mapping[str, Optimizer]

DIRECTIONS = {"minimize": "min", "maximize": "max", "min": "min", "max": "max"}
LATER = (Mode.GUARD, Mode.REPLAY)  # in the schema, not yet built


def make_recipe(
    recipe: Recipe | Mapping[str, Any] | str | Path | None,
    shorthands: Mapping[str, Any],
    mode: str | None,
) -> Recipe:
    """Build the recipe from a recipe, or from the shorthands, and the mode.

    Args:
        recipe: A recipe, or plain data of one.
        shorthands: ``objective``, ``direction`` and ``space`` as given; ``None`` where not.
        mode: Overrides the recipe's.

    Raises:
        RecipeError: If both were given, or one of them is wrong.
    """
    given = {name: value for name, value in shorthands.items() if value is not None}
    if isinstance(recipe, str | Path):
        raise RecipeError(
            f"recipe: files are not read yet, got {str(recipe)!r}; pass a dict or a Recipe"
        )
    if recipe is not None and given:
        raise RecipeError(
            f"{', '.join(given)}: must not stand beside recipe=, which says it already; "
            "leave one of them out"
        )
    made = recipe if isinstance(recipe, Recipe) else Recipe.from_dict(recipe or {})
    if "objective" in given or "direction" in given:
        made = replace(made, objective=_objective(made.objective, given))
    if "space" in given:
        made = replace(made, actuators=_groups(given["space"]))
    if mode is not None:
        made = replace(made, mode=parse_mode(mode))
    if made.mode in LATER:
        raise RecipeError(
            f"mode: {made.mode.value!r} is not available yet; use off, observe, suggest or active"
        )
    return made


def parse_mode(mode: str) -> Mode:
    """Read a mode.

    Raises:
        RecipeError: If it is unknown or not available yet.
    """
    try:
        return Mode(mode)
    except ValueError:
        hint = nearest(mode, [known.value for known in Mode])
        raise RecipeError(f"mode: must be a known mode, got {mode!r}; {hint}") from None


def list_actuators(given: Given, scheduler: object = None) -> list[Actuator]:
    """List the actuators of an optimizer, of several, or check a list of them.

    Args:
        given: An optimizer; name -> optimizer; or a list of optimizers and actuators, whose
            optimizers are called ``opt``, ``opt2``, and so on.
        scheduler: The learning-rate scheduler: one that cycles momentum owns that knob.

    Raises:
        ActuatorError: If something else was given, or two knobs have one name.
    """
    if not isinstance(given, Optimizer | Iterable) or isinstance(given, str | bytes):
        raise ActuatorError(
            "optimizer: must be a torch.optim.Optimizer, a list of actuators, or name -> "
            f"optimizer, got {type(given).__name__}; wrap values with gptune.value_actuators"
        )
    actuators = parts_of(_open_optimizers([given] if isinstance(given, Optimizer) else given))
    names = [check_actuator(actuator) for actuator in actuators]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ActuatorError(
            f"optimizer: two actuators are called {twice[0]!r}; give one of them another name"
        )
    for actuator in actuators:
        if isinstance(actuator, OptimizerKnob):
            actuator.cycled_by(scheduler)
    return actuators


def _open_optimizers(given: Iterable[Any] | Mapping[str, Optimizer]) -> list[Any]:
    """Put every optimizer's knobs in its place."""
    if isinstance(given, Mapping):
        wrong = [name for name, value in given.items() if not isinstance(value, Optimizer)]
        if wrong or not given:
            raise ActuatorError(
                f"optimizer: a mapping must give name -> torch optimizer, got {wrong or given!r}; "
                "wrap values with gptune.value_actuators"
            )
        return [k for name, value in given.items() for k in optimizer_actuators(value, name)]
    made: list[Any] = []
    count = 0
    for one in given:
        if isinstance(one, Optimizer):
            count += 1
            made.extend(optimizer_actuators(one, "opt" if count == 1 else f"opt{count}"))
        else:
            made.append(one)
    return made


def check_actuator(actuator: object) -> str:
    """Check that an object is an actuator; gives its name.

    Raises:
        ActuatorError: Naming what is missing.
    """
    if not isinstance(actuator, Actuator):
        members = ("name", "describe_space", "read", "snapshot", "validate", "apply", "restore")
        missing = [member for member in members if not hasattr(actuator, member)]
        raise ActuatorError(
            f"actuator: {type(actuator).__name__} lacks {', '.join(missing)}; "
            "see gptune.Actuator for what each must do"
        )
    if not isinstance(actuator.name, str) or not FAMILY.fullmatch(actuator.name):
        raise ActuatorError(
            f"actuator: name must look like 'group.knob', got {actuator.name!r}; e.g. 'loss.aux'"
        )
    return actuator.name


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


def make_hands(
    recipe: Recipe, actuators: Iterable[Actuator], space: Space | None = None
) -> dict[str, Hand]:
    """Join the recipe's knobs with the actuators that are there; the others are left alone.

    An optimizer's knobs move only if the recipe names them. Values that were handed over move
    within their own range unless the recipe names some of their group.

    Raises:
        RecipeError: If the recipe names a knob that is not there, or the two do not fit.
    """
    there = {actuator.name: actuator for actuator in actuators}
    mutations = recipe.mutations()
    ranges = {_family(name): given for name, given in (space or {}).items()}
    known = {alias for actuator in there.values() for alias in _aliases(actuator)}
    for family, mutation in mutations.items():
        if family not in known and mutation != LEARNING_RATE:
            hint = nearest(family, sorted(known))
            raise RecipeError(f"actuators.{family}: no such knob is attached; {hint}")
    return join_hands(recipe, there.values(), ranges)


def join_hands(
    recipe: Recipe, actuators: Iterable[Actuator], ranges: Mapping[str, object] | None = None
) -> dict[str, Hand]:
    """Join actuators with what the recipe says of them, if it says anything."""
    mutations, ranges = recipe.mutations(), ranges or {}
    hands = {}
    for actuator in actuators:
        family = actuator.name
        called = next((alias for alias in _aliases(actuator) if alias in mutations), family)
        chosen = mutations.get(called) or _implied(recipe, actuator)
        if chosen is not None:
            hands[family] = Hand(actuator, _knob(actuator, chosen, ranges.get(called)))
    return hands


def _aliases(actuator: Actuator) -> tuple[str, ...]:
    return actuator.aliases if isinstance(actuator, OptimizerKnob) else (actuator.name,)


def attach(hands: Mapping[str, Hand], mode: Mode) -> None:
    """Install the hooks of the knobs that live in an optimizer; in mode off, remove them."""
    for hand in hands.values():
        if isinstance(hand.actuator, LiveActuator):
            if mode is Mode.OFF:
                hand.actuator.detach()
            else:
                hand.actuator.attach()


def release(hands: Mapping[str, Hand]) -> None:
    """Remove all hooks, and leave no multiplier behind for whoever takes the knobs next."""
    attach(hands, Mode.OFF)
    for hand in hands.values():
        if isinstance(hand.actuator, LiveActuator):
            hand.actuator.restore(1.0)


def make_proposer(
    config: KernelConfig, acquisition: Acquisition | None, chance: Randomness
) -> Proposer | None:
    """Make the proposer over the moves of all knobs; ``None`` without knobs."""
    spaces = {family: knob.space for family, knob in config.knobs.items()}
    if not spaces:
        return None
    search = config.recipe.search
    space = SearchSpace(spaces)
    return Proposer(space, search, acquisition=acquisition, randomness=chance)


def _implied(recipe: Recipe, actuator: Actuator) -> Mutation | None:
    """Say how a knob moves that the recipe does not name: a rate as ``opt.lr`` does, values freely.

    One that its maker calls risky is not moved unless the recipe names it.
    """
    group, _, knob = actuator.name.partition(".")
    chosen = recipe.actuators.get(group)
    if isinstance(actuator, LiveActuator):
        is_new_rate = chosen is None and knob.partition("[")[0] == "lr"
        by_default = recipe.mutations().get("opt.lr") == LEARNING_RATE
        return LEARNING_RATE if is_new_rate and by_default else None
    risky = isinstance(actuator, Described) and actuator.risk == "high"
    if risky or (chosen and (chosen.mutations or chosen.keys or not chosen.enabled)):
        return None
    return Mutation(mode="set")


def _knob(actuator: Actuator, mutation: Mutation, given: object = None) -> Knob:
    if isinstance(actuator, LiveActuator):
        return _scheduled_knob(actuator, mutation, given)
    own, base = actuator.describe_space(), plain(actuator.read())
    if not isinstance(own, Float | Integer | Categorical) or base is None:
        raise ActuatorError(
            f"actuator {actuator.name}: needs a Float, Integer or Categorical space and a plain "
            f"value, got {own!r} and {actuator.read()!r}"
        )
    if isinstance(given, Float | Integer | Categorical):
        own = _narrowed(actuator.name, own, given)
    return make_knob(actuator.name, mutation, own, base)


def _scheduled_knob(actuator: LiveActuator, mutation: Mutation, given: object) -> Knob:
    """Join a recipe's entry with an optimizer's knob, whose own value is a multiplier.

    Raises:
        RecipeError: If an absolute target has nothing to be relative to, or no bounds.
    """
    own, base = actuator.describe_space(), 1.0
    if not isinstance(own, Float):
        raise ActuatorError(f"actuator {actuator.name}: needs a Float space, got {own!r}")
    if mutation.mode != "mult":
        base, owner = actuator.reference(), getattr(actuator, "owner", None)
        faults = {
            f"{owner} cycles it": owner is not None,
            "the schedule's value is 0 now": actuator.scheduled() == 0,
            "no bounds are given": mutation.bounds is None,
        }
        for why in (fault for fault, holds in faults.items() if holds):
            raise RecipeError(
                f"actuators.{actuator.name}.mode: {mutation.mode} needs bounds, and a value that "
                f"stands still and is not 0, but {why}; use mode mult, with bounds of a multiplier"
            )
    own = given if isinstance(given, Float) else own
    return make_knob(actuator.name, mutation, own, base, on_schedule=True)


def _narrowed(name: str, own: Parameter, given: Parameter) -> Parameter:
    """Take the range that the user gave, if it lies within what the actuator can do.

    Raises:
        RecipeError: Naming both.
    """
    if isinstance(given, Categorical) and isinstance(own, Categorical):
        fits = set(given.choices) <= set(own.choices)
    elif isinstance(given, Categorical) or isinstance(own, Categorical):
        fits = False
    else:
        fits = type(given) is type(own) and own.low <= given.low and given.high <= own.high
    if not fits:
        raise RecipeError(f"space.{name}: must lie within the knob's own {own!r}, got {given!r}")
    return given


def _family(name: str) -> str:
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
        group, _, knob = _family(name).partition(".")
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
