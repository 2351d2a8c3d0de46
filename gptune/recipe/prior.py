"""What earlier runs measured, as observations that a new run's surrogate starts with."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from gptune.configs import Knob
from gptune.errors import RecipeError
from gptune.events import Line, Observed, Opened
from gptune.records import Categorical, Integer, Observation, Scalar
from gptune.run_directory.changes import ENDS, Course, advance
from gptune.run_directory.event_log import EVENTS, effective, read_events


def prior_observations(
    runs: Iterable[str], knobs: Mapping[str, Knob], start: Mapping[str, Scalar]
) -> list[Observation]:
    """Read what the runs' proposers were told, the oldest first.

    A knob that a run did not have counts as standing where it stands now; one that moved in
    another mode, or to where it may not go here, makes its observations useless, and they are
    left out.

    Args:
        runs: Run directories.
        knobs: What is attached now.
        start: The moves in force now.

    Raises:
        RecipeError: If one of the directories holds no run.
        EventLogError: If a log is damaged.
    """
    found: list[Observation] = []
    for number, run in enumerate(runs):
        if not (Path(run) / EVENTS).is_file():
            raise RecipeError(
                f"search.prior_runs[{number}]: {run!r} holds no {EVENTS}; give run directories"
            )
        found.extend(_told(effective(read_events(Path(run))), knobs, start))
    return found


def _told(
    lines: Iterable[Line], knobs: Mapping[str, Knob], start: Mapping[str, Scalar]
) -> list[Observation]:
    """List the judged segments, and the stretches without a change: they show the noise."""
    told: list[Observation] = []
    course, modes = Course(), {family: knob.mutation.mode for family, knob in knobs.items()}
    theirs: dict[str, str] = {}
    waiting: Observation | None = None
    for line in lines:
        event = line.event
        if isinstance(event, Opened):
            theirs = {f: knob["mutation"].get("mode", "mult") for f, knob in event.knobs.items()}
        is_end = isinstance(event, ENDS) and waiting is not None
        if is_end or (isinstance(event, Observed) and course.trial is None):
            waiting = _observation(event, start) if isinstance(event, Observed) else waiting
            told.extend([waiting] if waiting is not None else [])
            waiting = None
        elif isinstance(event, Observed):
            waiting = _observation(event, start)
        course = advance(course, line)[0]
    alike = all(theirs.get(family, mode) == mode for family, mode in modes.items())
    return [o for o in told if alike and _fits(o, knobs)]


def _observation(observed: Observed, start: Mapping[str, Scalar]) -> Observation | None:
    evidence = observed.evidence
    if evidence is None or evidence.deviation is None:
        return None
    moves = {f: reading.move for f, reading in observed.knobs.items() if f in start}
    noise = evidence.deviation * evidence.deviation
    point = {**start, **moves}
    return Observation(point=point, value=evidence.gain, noise=noise, is_gain=True)


def _fits(observation: Observation, knobs: Mapping[str, Knob]) -> bool:
    return all(_allows(knob, observation.point[family]) for family, knob in knobs.items())


def _allows(knob: Knob, move: Scalar) -> bool:
    space = knob.space
    if isinstance(space, Categorical):
        return move in space.choices
    kind = int if isinstance(space, Integer) else float
    return isinstance(move, kind) and space.low <= move <= space.high
