"""What a run did, as a recipe for the next one and as a schedule without any tuning."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from gptune.configs import Group, Knob, Mode, Mutation, Recipe
from gptune.configs.knobs import NEUTRAL
from gptune.configs.overrides import override
from gptune.errors import RecipeError
from gptune.events import Abandoned, Accepted, Command, Line, Opened
from gptune.recipe.recorded import movements_of
from gptune.records import Categorical, Reason, Scalar
from gptune.run_directory.event_log import effective, read_run
from gptune.run_directory.names import EVENTS


def export_recipe(directory: Path) -> Recipe:
    """Write what a run did as a recipe: what an operator set, and centers where the knobs stood.

    The prior center of each phase is the move that was kept last when the phase ended, so that
    the next run heads for it at once. Choices have no center.

    Raises:
        RecipeError: If the directory holds no run.
    """
    lines = _lines(directory)
    opened = next(line.event for line in reversed(lines) if isinstance(line.event, Opened))
    recipe = _with_all_knobs(Recipe.from_dict(opened.recipe), opened)
    if recipe.mode is Mode.REPLAY:  # a recipe cannot say of what
        recipe = replace(recipe, mode=Mode.ACTIVE)
    for line in lines:
        event = line.event
        if isinstance(event, Command) and event.accepted and event.verb == "set":
            recipe = override(recipe, event.arguments["changes"])
    told = {family: msgspec.convert(knob, Knob) for family, knob in opened.knobs.items()}
    choices = {family for family, knob in told.items() if isinstance(knob.space, Categorical)}
    ends = _phase_ends(lines)

    def centered(group: str, mutations: Mapping[str, Mutation]) -> dict[str, Mutation]:
        return {
            name: m if f"{group}.{name}" in choices else _centered(m, f"{group}.{name}", ends)
            for name, m in mutations.items()
        }

    groups = {
        group: Group(
            enabled=knobs.enabled,
            mutations=centered(group, knobs.mutations),
            keys=centered(group, knobs.keys),
        )
        for group, knobs in recipe.actuators.items()
    }
    return replace(recipe, actuators=groups)


def export_schedule(directory: Path) -> dict[str, list[list[Any]]]:
    """Write what a run did as one piecewise constant schedule a knob.

    Returns:
        Family -> ``[step, move]`` pairs: the move in force from that step on [steps], until the
        next; of every knob, whether it moved or not. `gptune.schedule.recorded` makes a factor
        for ``LambdaLR`` of one.

    Raises:
        RecipeError: If the directory holds no run.
    """
    schedule: dict[str, list[list[Any]]] = {}
    for line in _lines(directory):
        for family, knob in line.event.knobs.items() if isinstance(line.event, Opened) else ():
            start = NEUTRAL.get(knob["mutation"]["mode"], knob["base"])
            schedule.setdefault(family, [[0, start]])
    for movement in movements_of(directory):
        pairs = schedule[movement.family]
        if pairs[-1][0] == movement.step:
            pairs.pop()
        pairs.append([movement.step, movement.new])
    return schedule


def _lines(directory: Path) -> list[Line]:
    if not (directory / EVENTS).is_file():
        raise RecipeError(f"run: {str(directory)!r} holds no {EVENTS}; give a run directory")
    lines = effective(read_run(directory))
    if not any(isinstance(line.event, Opened) for line in lines):
        raise RecipeError(
            f"run: the log in {str(directory)!r} is empty; there is nothing to export"
        )
    return lines


def _with_all_knobs(recipe: Recipe, opened: Opened) -> Recipe:
    """Name the knobs that moved without being named, such as values that were handed over."""
    groups = dict(recipe.actuators)
    for family, told in opened.knobs.items():
        knob = msgspec.convert(told, Knob)
        group, _, name = family.partition(".")
        known = groups.get(group, Group())
        if family not in recipe.mutations() and known.enabled:
            keys = {**known.keys, name: _named(knob)}
            groups[group] = replace(known, keys=keys)
    return replace(recipe, actuators=groups)


def _named(knob: Knob) -> Mutation:
    if knob.mutation.bounds is not None or isinstance(knob.space, Categorical):
        return knob.mutation
    return replace(knob.mutation, bounds=(float(knob.space.low), float(knob.space.high)))


def _phase_ends(lines: Iterable[Line]) -> dict[str, dict[str, Scalar]]:
    """Give the moves that were kept last when each phase ended, of the knobs that kept any."""
    kept: dict[str, Scalar] = {}
    ends: dict[str, dict[str, Scalar]] = {}
    for line in lines:
        event = line.event
        stays = isinstance(event, Abandoned) and Reason.KEPT_ON_REJECT in event.reasons
        if isinstance(event, Accepted) or (isinstance(event, Abandoned) and stays):
            kept = kept | {change.family: change.new for change in event.changes}
        ends[line.envelope.phase] = kept
    return ends


def _centered(
    mutation: Mutation, family: str, ends: Mapping[str, Mapping[str, Scalar]]
) -> Mutation:
    kept = {phase: moves[family] for phase, moves in ends.items() if family in moves}
    centers = {phase: float(m) for phase, m in kept.items() if isinstance(m, int | float)}
    fits = centers and not any(isinstance(move, bool) for move in kept.values())
    return replace(mutation, prior_center=centers) if fits else mutation
