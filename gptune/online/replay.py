"""Making the recorded changes of another run, at their steps."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec.structs import replace

from gptune.configs import Knob, Mode, nearest, typed
from gptune.errors import ActuatorError, RecipeError
from gptune.recipe.recorded import Movement, read_movements, together
from gptune.records import Point, Reason, Scalar
from gptune.safety.blockers import move_faults, standing_faults
from gptune.safety.gate import SafetyState

UNLIMITED = ("human", "replay")  # sources that no largest step holds back


class Score:
    """The groups of movements still to be made, in their order.

    Args:
        movements: Of the recorded run, the oldest first.
    """

    def __init__(self, movements: Iterable[Movement]) -> None:
        self._groups = together(movements)
        self._next, self._at = 0, 0

    @property
    def step(self) -> int | None:
        """The step after which the next group is due [steps]; ``None`` at the end."""
        return self._groups[self._next][0].step if self._next < len(self._groups) else None

    def due(self, step: int) -> list[tuple[Movement, ...]]:
        """Take what is due once ``step`` steps are over: the movements made at once, a group each.

        An earlier step than last time means that an earlier state was loaded, in which all that
        was due by then is made already.
        """
        if step < self._at:
            self._next = sum(group[0].step <= step for group in self._groups)
        taken, self._at = [], step
        while self.step is not None and self.step <= step:
            taken.append(self._groups[self._next])
            self._next += 1
        return taken


def news(group: Iterable[Movement], point: Point) -> dict[str, Scalar]:
    """Give the moves of a group that are not in force already."""
    return {m.family: m.new for m in group if m.new != point[m.family]}


def live_faults(
    group: Iterable[Movement], knobs: Mapping[str, Knob], point: Point, safety: SafetyState
) -> tuple[Reason, ...]:
    """List why a group may not be moved now: the run may have gone another way than the recorded.

    What an operator, a failure or the recipe forbids holds for what was recorded as well.
    """
    faults = [Reason.PAUSED] if safety.paused else []
    for movement in group:
        family = movement.family
        faults += [Reason.QUARANTINED] if family in safety.quarantined else []
        faults += [Reason.PINNED] if family in safety.pinned else []
        found = _faults(movement, knobs[family], point[family])
        faults += [fault for fault in found if fault is not Reason.NO_CHANGE]
    return tuple(dict.fromkeys(faults))


def _faults(movement: Movement, knob: Knob, old: Scalar) -> list[Reason]:
    """List what is wrong with a movement; the way back, and people, are held by no largest step."""
    free = movement.status == "rolled_back" or movement.source in UNLIMITED
    found = standing_faults(knob, None) + move_faults(knob, old, movement.new)
    return [fault for fault in found if not (free and fault is Reason.STEP)]


def read_replay(mode: Mode, source: str | Path | None) -> tuple[Movement, ...]:
    """Read what is to be replayed, if the mode is replay.

    Raises:
        RecipeError: If mode and source do not fit, or the source cannot be read.
    """
    if mode is Mode.REPLAY and source is None:
        raise RecipeError(
            "mode: 'replay' needs replay= beside it; give a run directory, or a file that "
            "gptune export --mutations wrote"
        )
    if mode is not Mode.REPLAY and source is not None:
        raise RecipeError(
            f"replay: needs mode 'replay', got {mode.value!r}; give both, or leave it out"
        )
    if source is None:
        return ()
    if not isinstance(source, str | Path) or "\0" in str(source):
        raise RecipeError(f"replay: must be the path of a run or a file, got {source!r}")
    return read_movements(source)


def check_replay(
    movements: Iterable[Movement], knobs: Mapping[str, Knob], start: Point
) -> tuple[Movement, ...]:
    """Check, before the first step, that every recorded movement can be made here.

    Args:
        movements: Of the recorded run.
        knobs: What is attached.
        start: The moves in force.

    Returns:
        The movements, each move a real number where the knob's are.

    Raises:
        ActuatorError: Naming the knobs that are not there.
        RecipeError: Naming the movement that this recipe does not allow.
    """
    rows = tuple(movements)
    missing = sorted({m.family for m in rows} - knobs.keys())
    if missing:
        raise ActuatorError(
            f"replay: {', '.join(missing)} moved in the recorded run and is not attached here; "
            f"{nearest(missing[0], knobs) if knobs else 'no knob is attached'}"
        )
    steps = [m.step for m in rows]
    if steps != sorted(steps) or min(steps, default=0) < 0 or max(steps, default=0) >= 2**63:
        raise RecipeError("replay: steps must count up from 0; give the rows in their order")
    for group in together(rows):
        if len({m.family for m in group}) < len(group):
            raise RecipeError(
                f"replay: {group[0].id!r} moves a knob twice at step {group[0].step}; "
                "give each movement an id of its own"
            )
    point, checked = dict(start), []
    for row in rows:
        knob, old = knobs[row.family], point[row.family]
        movement = replace(row, old=typed(knob.space, row.old), new=typed(knob.space, row.new))
        why = [fault.value.replace("_", " ") for fault in _faults(movement, knob, old)]
        if movement.old != old:
            why.append(f"it stands at {old!r} then")
        if why:
            raise RecipeError(
                f"replay: {row.family} {row.old!r} -> {row.new!r} at step {row.step} is not "
                f"allowed here ({', '.join(why)}); replay with the recorded run's recipe and knobs"
            )
        point[row.family] = movement.new
        checked.append(movement)
    return tuple(checked)
