"""Making the recorded changes of another run, at their steps."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from gptune.configs import Knob, Mode, nearest
from gptune.errors import ActuatorError, RecipeError
from gptune.recipe.recorded import Movement, read_movements, together
from gptune.records import Reason, Scalar
from gptune.safety.blockers import move_faults, standing_faults

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

    def due(self, step: int) -> list[dict[str, Scalar]]:
        """Take what is due once ``step`` steps are over: family -> new move, a group each.

        An earlier step than last time means that an earlier state was loaded, in which all that
        was due by then is made already.
        """
        if step < self._at:
            self._next = sum(group[0].step <= step for group in self._groups)
        taken, self._at = [], step
        while self.step is not None and self.step <= step:
            taken.append({m.family: m.new for m in self._groups[self._next]})
            self._next += 1
        return taken


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
    return read_movements(source) if source is not None else ()


def check_replay(
    movements: Iterable[Movement], knobs: Mapping[str, Knob], start: Mapping[str, Scalar]
) -> None:
    """Check, before the first step, that every recorded movement can be made here.

    Args:
        movements: Of the recorded run.
        knobs: What is attached.
        start: The moves in force.

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
    if steps != sorted(steps) or min(steps, default=0) < 0:
        raise RecipeError("replay: steps must count up from 0; give the rows in their order")
    point = dict(start)
    for movement in rows:
        knob, old = knobs[movement.family], point[movement.family]
        faults = standing_faults(knob, None) + move_faults(knob, old, movement.new)
        exempt = movement.status != "applied" or movement.source in UNLIMITED
        wrong = [f for f in faults if not (exempt and f is Reason.STEP)]
        if wrong:
            why = ", ".join(fault.value.replace("_", " ") for fault in wrong)
            raise RecipeError(
                f"replay: {movement.family} {old!r} -> {movement.new!r} at step {movement.step} "
                f"is not allowed by this recipe ({why}); replay with the recorded run's recipe"
            )
        point[movement.family] = movement.new
