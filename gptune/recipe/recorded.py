"""What a run did to its knobs, one movement after the other: read back to replay it or undo it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from gptune.errors import RecipeError
from gptune.records import Scalar
from gptune.run_directory.event_log import effective, glance, read_run
from gptune.run_directory.exports import mutations
from gptune.run_directory.file_system import FileSystem
from gptune.run_directory.names import EVENTS

MOVING = ("applied", "accepted", "rolled_back", "abandoned", "rollback_failed", "rewind")


class Movement(msgspec.Struct, frozen=True, kw_only=True):
    """One knob went from one move to another.

    Attributes:
        step: Optimizer steps counted before it [steps].
        family: The knob.
        new: Its move from then on.
        old: Its move until then.
        decision: The last decision before it.
        id: The mutation's; movements of one id and status were made together.
        status: applied, or rolled_back for the way back.
        source: Who wanted it: startup | gp | random | fallback | deadline | replay | human.
    """

    step: int
    family: str
    new: Scalar
    old: Scalar
    decision: int
    id: str
    status: Literal["applied", "rolled_back"] = "applied"
    source: str | None = None


def read_movements(path: str | Path) -> tuple[Movement, ...]:
    """Read the movements of a run directory, or of a file that ``gptune export`` wrote.

    Raises:
        RecipeError: If there are none to be read.
        EventLogError: If the run's log is damaged.
        RunDirectoryError: If it cannot be read.
    """
    place = Path(path)
    if place.is_dir():
        if not (place / EVENTS).is_file():
            raise RecipeError(f"replay: {str(path)!r} holds no {EVENTS}; give a run directory")
        return movements_of(place)
    return _read_file(place)


def movements_of(directory: Path, files: FileSystem | None = None) -> tuple[Movement, ...]:
    """Read the movements of a run's log, the oldest first; superseded ones are left out."""
    rows = mutations(effective(read_run(directory, files)))
    return tuple(msgspec.convert(row, Movement) for row in rows)


def own_movements(directory: Path, files: FileSystem) -> tuple[Movement, ...]:
    """Read the movements of the run that asks; fast, for training waits for it."""
    rows = mutations(effective(glance(directory, MOVING, files)))
    return tuple(msgspec.convert(row, Movement) for row in rows)


def point_after(movements: Iterable[Movement], decision: int) -> dict[str, Scalar]:
    """Give the moves in force just before decision ``decision + 1``, of knobs that ever moved."""
    point: dict[str, Scalar] = {}
    for movement in movements:
        point.setdefault(movement.family, movement.old)
        if movement.decision <= decision:
            point[movement.family] = movement.new
    return point


def before_last(movements: Iterable[Movement]) -> dict[str, Scalar]:
    """Give the moves before the last change that is still in force; empty without one.

    A change that leads back to where the one before began undoes it, whoever made it: so one
    rollback after the other goes ever further back.
    """
    standing: list[tuple[str, dict[str, Scalar]]] = []  # ids, and the moves before
    for group in together(movements):
        olds = {movement.family: movement.old for movement in group}
        news = {movement.family: movement.new for movement in group}
        if group[0].status != "applied":
            undone = [olds for ident, olds in standing if ident == group[0].id]
            for before in undone:
                for family in news:
                    before.pop(family, None)
        elif standing and standing[-1][1] == news:
            standing.pop()
        else:
            standing.append((group[0].id, olds))
        standing = [(ident, before) for ident, before in standing if before]
    return standing[-1][1] if standing else {}


def together(movements: Iterable[Movement]) -> list[tuple[Movement, ...]]:
    """Group the movements that were made at once, in their order."""
    groups: list[list[Movement]] = []
    for movement in movements:
        last = groups[-1][0] if groups else None
        mark = (movement.id, movement.status, movement.step)
        if last is not None and (last.id, last.status, last.step) == mark:
            groups[-1].append(movement)
        else:
            groups.append([movement])
    return [tuple(group) for group in groups]


def _read_file(path: Path) -> tuple[Movement, ...]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise RecipeError(
            f"replay: {str(path)!r} cannot be read ({error}); give a run directory, or a file "
            "that gptune export --mutations wrote"
        ) from error
    movements = []
    for number, line in enumerate(lines, start=1):
        try:
            movements.append(msgspec.json.decode(line, type=Movement))
        except msgspec.MsgspecError as error:
            raise RecipeError(
                f"replay: {str(path)!r}, line {number}: {error}; give what gptune export "
                "--mutations wrote"
            ) from error
    return tuple(movements)
