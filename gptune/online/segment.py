"""A segment's evidence: what the training since a change showed, against its forecast. Pure."""

from collections.abc import Mapping

from msgspec import Struct

from gptune.configs import Acceptance
from gptune.online.forecast import NORMAL, Forecast, forecast, probability_above
from gptune.records import Change, Evidence, Reading

WINDOW = 8  # newest undisturbed values a forecast rests on; older ones belong to another slope
START = 0.05  # fraction of training after which a short look at a lower rate is not trusted
FREE = 2.0  # deviations that a backup metric may leave its forecast without a penalty


class Track(Struct, frozen=True):
    """The newest values of one metric, oldest first: steps, and values as forecast."""

    steps: tuple[int, ...] = ()
    values: tuple[float, ...] = ()

    def add(self, step: int, value: float) -> "Track":
        """Append one; a step that does not rise replaces the values from there on."""
        kept = sum(1 for earlier in self.steps if earlier < step)
        steps, values = (*self.steps[:kept], step), (*self.values[:kept], value)
        return Track(steps[-WINDOW:], values[-WINDOW:])

    def forecast(self, at: int) -> Forecast | None:
        """Continue the track to a later step."""
        return forecast(self.steps, self.values, at)


def weigh(
    acceptance: Acceptance,
    value: float,
    reference: float,
    outlook: Forecast | None,
    *,
    penalty: float,
) -> Evidence:
    """Turn a value of the objective into evidence.

    Args:
        acceptance: The recipe's section.
        value: The objective now, larger is better [metric units].
        reference: The objective when the segment opened [metric units].
        outlook: The forecast for now; its absence leaves ``reference: last`` alone judgeable.
        penalty: How far the backup metrics left theirs [deviations of the gain].
    """
    if acceptance.reference == "last" or outlook is None:
        deviation = outlook.deviation if outlook else None
        cost = penalty * (deviation or 0.0)
        return Evidence(gain=value - reference, deviation=deviation, penalty=cost)
    gain, cost = value - outlook.value, penalty * outlook.deviation
    surplus = gain - cost - acceptance.epsilon
    return Evidence(
        gain=gain,
        deviation=outlook.deviation,
        penalty=cost,
        probability=probability_above(surplus, outlook.deviation, outlook.freedom),
    )


def backup_penalty(
    tracks: Mapping[str, Track], readings: Mapping[str, Reading], step: int
) -> float:
    """Say how far the backup metrics left their forecasts, beyond what noise explains.

    Returns:
        Sum over the backups of ``max(0, |value - forecast| / deviation - 2)`` [deviations].
    """
    total = 0.0
    for name, track in tracks.items():
        reading, outlook = readings.get(name), track.forecast(step)
        if reading is not None and reading.fault is None and outlook is not None:
            gap = abs(reading.value - outlook.value)
            total += max(0.0, gap / max(outlook.deviation, 1e-300) - FREE)
    return total


def is_late(step: int, total: int | None) -> bool:
    """Say whether training is past its start; an unknown total counts as past."""
    return total is None or step > START * total


def lowers(changes: tuple[Change, ...], rates: tuple[str, ...]) -> bool:
    """Say whether a change lowers one of the learning rates."""
    return any(c.family in rates and c.new < c.old for c in changes)  # type: ignore[operator]


def mad_reach(outlook: Forecast) -> float:
    """The forecast's own uncertainty, as a median absolute deviation [metric units]."""
    return outlook.deviation / NORMAL
