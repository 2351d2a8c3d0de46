"""Lines, bands and dots as paths of SVG, in a square that the page stretches. Pure.

A figure is a square of `SIDE` units that the page stretches to whatever room there is; strokes keep
their width, and words stand beside it as HTML, so that they keep their size.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gptune.plots.axes import log_ticks, ticks

SIDE = 2000  # units of a figure, each way; finer than any screen shows a panel
MARGIN = 0.04  # of the range, free at each end
FAR = 8.0  # a range is cut where its ends lie beyond so many times that of the middle nine tenths
DECADE = 10.0  # between the ends of an axis, from which on it is logarithmic by itself
HUGE, WIDEST = 1e300, 1e40  # numbers beyond are no measurements; a logarithmic axis has an end
MOST = 1200  # points of a line that are drawn

Place = tuple[float, float]  # in [0, 1] each, from the left and from below
Point = tuple[float, float | None]  # x, and y if it is known


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis: what lies at its ends, and how it runs between them.

    Attributes:
        low: At 0.
        high: At 1, above ``low``.
        log: Whether it is logarithmic; both ends are positive then.
    """

    low: float
    high: float
    log: bool = False

    def share(self, value: float) -> float:
        """Give the place of a value; those beyond the ends lie at them.

        Example:
            >>> Scale(0.25, 4.0, log=True).share(1.0), Scale(0.0, 4.0).share(5.0)
            (0.5, 1.0)
        """
        if self.log:
            if value <= 0:
                return 0.0
            low, high, here = (math.log(v) for v in (self.low, self.high, value))
        else:
            low, high, here = self.low / 2, self.high / 2, value / 2  # their difference is finite
        return min(1.0, max(0.0, (here - low) / (high - low)))

    def ticks(self) -> list[tuple[float, str]]:
        """Give round numbers: their places, and how they are written."""
        is_log = self.log and self.high / DECADE > self.low  # fewer have few round powers
        at, texts = (log_ticks if is_log else ticks)(self.low, self.high)
        values = [10.0**v for v in at] if is_log else at
        written = [_whole(v, text) for v, text in zip(values, texts, strict=True)]
        return [(self.share(v), text) for v, text in zip(values, written, strict=True)]


def _whole(value: float, text: str) -> str:
    """Write a number of steps or trials as such: 20000, not 2e+04."""
    return f"{value:.0f}" if 1000 <= value < 1e6 and value == round(value) else text


def scale_of(values: Iterable[float], *, log: bool | None = None, cut: bool = False) -> Scale:
    """Make an axis on which values can be seen.

    Args:
        values: What shall be drawn; what is not finite is passed over.
        log: Whether it is logarithmic, if all values allow it; by default if they are far apart.
        cut: Whether a few values that lie far from all others may lie beyond an end.

    Example:
        >>> scale_of([1.0, 2.0], log=False)
        Scale(low=0.96, high=2.04, log=False)
    """
    known = sorted(v for v in values if math.isfinite(v) and abs(v) < HUGE)
    if not known:
        return Scale(0.0, 1.0)
    is_log = known[0] > 0 and (known[-1] / DECADE > known[0] if log is None else log)
    if is_log:
        return _log_scale(known[0], known[-1])
    low, high = _middle(known) if cut else (known[0], known[-1])
    room = MARGIN * (high - low) or abs(high) * MARGIN or 1.0
    return Scale(low - room, high + room)


def _log_scale(low: float, high: float) -> Scale:
    low = max(low, high / WIDEST)
    room = (high / low) ** MARGIN if high > 1.01 * low else 1.25
    return Scale(low / room, high * room, log=True)


def _middle(known: Sequence[float]) -> tuple[float, float]:
    """Leave out what lies so far off that nothing else could be seen."""
    edge = len(known) // 20
    low, high = known[edge], known[-1 - edge]
    reach = FAR * (high - low)
    if reach <= 0:
        return known[0], known[-1]
    return max(known[0], low - reach), min(known[-1], high + reach)


def line(points: Iterable[Point], x: Scale, y: Scale) -> str:
    """Draw a line through points; where one is not known it is broken.

    Example:
        >>> unit = Scale(0.0, 1.0)
        >>> line([(0.0, 0.0), (0.5, None), (0.5, 1.0), (1.0, 1.0)], unit, unit)
        'M0 2000M1000 0L2000 0'
    """
    parts, is_down = [], False
    for here, value in points:
        if value is None or not math.isfinite(value):
            is_down = False
            continue
        parts.append(f"{'L' if is_down else 'M'}{_at(x.share(here), y.share(value))}")
        is_down = True
    return "".join(parts)


def band(rows: Sequence[tuple[float, float, float]], x: Scale, y: Scale) -> str:
    """Fill what lies between two lines.

    Args:
        rows: x, the lower end, the upper end.
        x: The axis across.
        y: The axis upwards.
    """
    known = [row for row in rows if all(map(math.isfinite, row))]
    if len(known) < 2:
        return ""
    there = [_at(x.share(here), y.share(high)) for here, _, high in known]
    back = [_at(x.share(here), y.share(low)) for here, low, _ in reversed(known)]
    return "M" + "L".join([*there, *back]) + "Z"


def dot(at: Place) -> str:
    """Draw a dot: a line of no length, whose round ends keep their size.

    Example:
        >>> dot((0.5, 0.5))
        'M1000 1000h0'
    """
    return f"M{_at(*at)}h0"


def thinned(points: Sequence[Point], most: int = MOST) -> list[Point]:
    """Leave out points of a long line so that its peaks stay: the extremes of each stretch.

    Args:
        points: In their order.
        most: How many may stay, about.
    """
    if len(points) <= most:
        return list(points)
    size = math.ceil(len(points) / max(1, most // 4))
    kept: list[Point] = []
    for start in range(0, len(points), size):
        part = range(start, min(start + size, len(points)))
        known = [n for n in part if (value := points[n][1]) is not None and math.isfinite(value)]
        ends = {part[0], part[-1]}
        if known:
            heights = {n: points[n][1] or 0.0 for n in known}
            ends |= {min(known, key=heights.__getitem__), max(known, key=heights.__getitem__)}
        kept += [points[n] for n in sorted(ends)]
    return kept


def _at(x: float, y: float) -> str:
    return f"{round(x * SIDE)} {round((1 - y) * SIDE)}"
