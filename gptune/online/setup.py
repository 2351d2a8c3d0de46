"""From what the user gave to what the kernel needs: the hands, and the proposer."""

from collections.abc import Iterable, Mapping
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
from gptune.configs import Knob, Mode, Mutation, Recipe, make_knob, nearest
from gptune.configs.knobs import LEARNING_RATE
from gptune.core.criteria import Acquisition
from gptune.core.proposer import Proposer, Randomness
from gptune.core.space import SearchSpace
from gptune.errors import ActuatorError, RecipeError
from gptune.foreign import foreign_call
from gptune.online.choices import Space, family_of
from gptune.online.decision import Hand, KernelConfig, start_point
from gptune.online.metrics import plain
from gptune.records import Categorical, Float, Integer, Observation, Parameter

Given = Optimizer | Iterable[Optimizer | Actuator | TupleActuator] | Mapping[str, Optimizer]


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
    ranges = {family_of(name): given for name, given in (space or {}).items()}
    known = {alias for actuator in there.values() for alias in _aliases(actuator)}
    for family, mutation in mutations.items():
        if family not in known and mutation != LEARNING_RATE:
            hint = nearest(family, sorted(known))
            raise RecipeError(f"actuators.{family}: no such knob is attached; {hint}")
    return join_hands(recipe, there.values(), ranges)


def snapshots(hands: Mapping[str, Hand]) -> dict[str, Any]:
    """Take the snapshot of every knob that gives one."""
    taken = {family: foreign_call(hand.actuator.snapshot) for family, hand in hands.items()}
    return {family: done.value for family, done in taken.items() if done.error is None}


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
    config: KernelConfig,
    acquisition: Acquisition | None,
    chance: Randomness,
    prior: Iterable[Observation] = (),
) -> Proposer | None:
    """Make the proposer over the moves of all knobs; ``None`` without knobs.

    Args:
        config: The recipe and the knobs.
        acquisition: A criterion instead of the recipe's.
        chance: Where its chance comes from.
        prior: What earlier runs measured, of the knobs that were attached at first.
    """
    spaces = {family: knob.space for family, knob in config.knobs.items()}
    if not spaces:
        return None
    search = config.recipe.search
    space = SearchSpace(spaces)
    proposer = Proposer(space, search, acquisition=acquisition, randomness=chance)
    start = start_point(config)
    proposer.learn(replace(past, point={**start, **past.point}) for past in prior)
    return proposer


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
