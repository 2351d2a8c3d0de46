"""What earlier runs measured, as observations that a new run's surrogate starts with."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from gptune.configs import Knob
from gptune.errors import RecipeError
from gptune.events import Event, Line, LookAhead, Observed, Opened
from gptune.records import Observation, Scalar
from gptune.run_directory.event_log import effective, read_run
from gptune.run_directory.exports import observations
from gptune.run_directory.names import EVENTS
from gptune.safety.blockers import place_faults


class PastRate(msgspec.Struct, frozen=True, kw_only=True):
    """What an earlier run of the same task says of the learning rate.

    Attributes:
        rate: The highest of its schedule, times the multiplier that it was calibrated to [1/step].
        aim: What its calibration aimed at, before anything was compared [1/step].
        value: How it ended, larger is better [metric units].
        start: Its first value [metric units].
    """

    rate: float
    aim: float
    value: float
    start: float


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
        RunDirectoryError: If a log cannot be read.
    """
    found: list[Observation] = []
    for number, run in enumerate(runs):
        if not (Path(run) / EVENTS).is_file():
            raise RecipeError(
                f"search.prior_runs[{number}]: {run!r} holds no {EVENTS}; give run directories"
            )
        found.extend(_told(effective(read_run(Path(run))), knobs, start))
    return found


def prior_rates(runs: Iterable[str], family: str) -> list[PastRate]:
    """Read which learning rate each of the runs was calibrated to, and how it ended.

    Args:
        runs: Run directories; those without a calibration are left out.
        family: The learning rate's.
    """
    found = (_past_rate(effective(read_run(Path(run))), family) for run in runs)
    return [past for past in found if past is not None]


def _past_rate(lines: list[Line], family: str) -> PastRate | None:
    events = [line.event for line in lines]
    looks = [e for e in events if isinstance(e, LookAhead) and e.purpose == "calibration"]
    seen = _seen_outside(events)
    opened = next((e for e in events if isinstance(e, Opened)), None)
    knobs = [e.knobs for e in events if isinstance(e, Observed)]
    rates = [one[family].scheduled for one in knobs if family in one]
    peak = max((rate for rate in rates if isinstance(rate, int | float)), default=0.0)
    if not (looks and seen and opened and peak > 0) or looks[-1].stopped or not looks[-1].chosen:
        return None
    sign = -1.0 if opened.recipe["objective"]["mode"] == "min" else 1.0
    chosen = float(looks[-1].chosen)
    return PastRate(
        rate=peak * chosen,
        aim=peak * (looks[-1].aim or chosen),
        value=sign * seen[-1].metric,  # type: ignore[operator]
        start=sign * seen[0].metric,  # type: ignore[operator]
    )


def _seen_outside(events: Iterable[Event]) -> list[Observed]:
    """List what was measured, but for what a look ahead's trials showed."""
    seen, looking = [], False
    for event in events:
        if isinstance(event, LookAhead):
            looking = not event.chosen  # announced, then told
        if isinstance(event, Observed) and isinstance(event.metric, float) and not looking:
            seen.append(event)
    return seen


def _told(
    lines: list[Line], knobs: Mapping[str, Knob], start: Mapping[str, Scalar]
) -> list[Observation]:
    theirs = _modes(lines)
    if any(
        theirs.get(family, knob.mutation.mode) != knob.mutation.mode
        for family, knob in knobs.items()
    ):
        return []
    told = []
    for row in observations(lines):
        point = {**start, **{f: move for f, move in row["point"].items() if f in start}}
        gain, deviation = row["gain"], row["deviation"]
        if gain is not None and deviation is not None and _fits(point, knobs):
            noise = deviation * deviation  # inf, not OverflowError
            told.append(Observation(point=point, value=gain, noise=noise, is_gain=True))
    return told


def _modes(lines: Iterable[Line]) -> dict[str, str]:
    modes: dict[str, str] = {}
    for line in lines:
        if isinstance(line.event, Opened):
            modes |= {
                f: knob["mutation"].get("mode", "mult") for f, knob in line.event.knobs.items()
            }
    return modes


def _fits(point: Mapping[str, Scalar], knobs: Mapping[str, Knob]) -> bool:
    return not any(place_faults(knob, point[family]) for family, knob in knobs.items())
